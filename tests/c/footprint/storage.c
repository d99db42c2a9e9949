/* The same as whole.c over a storage behind callbacks, here slots of memory that are like flash: blank is 0xFF. */
#include "footprint.h"

enum { SLOTS = 9, SLOT = 2048 };

struct slots {
  uint32_t ids[SLOTS]; /* 0: free */
  uint8_t bytes[SLOTS][SLOT];
};

/* Behind the memory that the board is kept to: it stands for flash. */
static struct slots *const all_slots = (struct slots *)0x20100000;
static uint64_t memory[(EDGE_REPORT_COURIER_SIZE + 512) / 8 + 1];

static int find(const struct slots *slots, uint32_t id) {
  for (int i = 0; i < SLOTS; i++)
    if (slots->ids[i] == id) return i;
  return -1;
}

static int32_t list(void *user, edge_report_storage_each each, void *context) {
  const struct slots *slots = user;
  for (int i = 0; i < SLOTS; i++)
    if (slots->ids[i]) each(context, slots->ids[i], SLOT);
  return 0;
}

static int32_t create(void *user, uint32_t id, size_t len) {
  struct slots *slots = user;
  int at = find(slots, 0);
  if (at < 0 || len > SLOT) return 1;
  for (int i = 0; i < SLOT; i++) slots->bytes[at][i] = 0xff;
  slots->ids[at] = id;
  return 0;
}

static int32_t read(void *user, uint32_t id, size_t offset, uint8_t *buffer, size_t len) {
  const struct slots *slots = user;
  int at = find(slots, id);
  if (at < 0 || offset + len > SLOT) return 2;
  for (size_t i = 0; i < len; i++) buffer[i] = slots->bytes[at][offset + i];
  return 0;
}

static int32_t write(void *user, uint32_t id, size_t offset, const uint8_t *bytes, size_t len) {
  struct slots *slots = user;
  int at = find(slots, id);
  if (at < 0 || offset + len > SLOT) return 3;
  for (size_t i = 0; i < len; i++) {
    uint8_t *to = &slots->bytes[at][offset + i];
    if (*to != 0xff) return 4; /* written twice */
    *to = bytes[i];
  }
  return 0;
}

static int32_t sync(void *user, uint32_t id) { return (void)user, (void)id, 0; }

static int32_t discard(void *user, uint32_t id) {
  struct slots *slots = user;
  int at = find(slots, id);
  if (at >= 0) slots->ids[at] = 0;
  return 0;
}

/* Made twice: the second time over what the first has left. */
static edge_report_result make_on_storage(edge_report_courier **courier) {
  static const edge_report_storage slots = {.struct_size = sizeof slots,
                                            .segment_bytes = SLOT,
                                            .max_bytes = (SLOTS - 1) * SLOT,
                                            .longest_segment = SLOT,
                                            .blank = 0xff,
                                            .list = list,
                                            .create = create,
                                            .read = read,
                                            .write = write,
                                            .sync = sync,
                                            .discard = discard};
  edge_report_storage live = slots, dead = slots;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < SLOTS; k++) all_slots[i].ids[k] = 0;
  live.user = &all_slots[0];
  dead.user = &all_slots[1];
  for (int i = 0; i < 2; i++) {
    if (CALL(edge_report_courier_new_storage(&live, &dead, memory, sizeof memory, NULL, 0, 7, courier, &error))) return error.code;
    for (int k = 0; i == 0 && k < 6; k++)
      if (CALL(edge_report_courier_submit(*courier, &sample, 0, 0, NULL, &error))) return error.code;
    if (i == 0) edge_report_courier_free(*courier);
  }
  return EDGE_REPORT_OK;
}

#define MAKE_COURIER make_on_storage
#include "whole.c"
