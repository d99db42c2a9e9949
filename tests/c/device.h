/* A storage in memory behind the callbacks, which fails when it is told to. */
#ifndef EDGE_REPORT_TEST_DEVICE_H
#define EDGE_REPORT_TEST_DEVICE_H

#include "test.h"

enum { SEGMENTS = 16, SEGMENT = 1024, EIO_OF_DEVICE = 5 };

struct device {
  struct {
    uint32_t id;
    size_t len;
    uint8_t *bytes;
  } segments[SEGMENTS];
  /* Which calls fail, counted from 0. */
  long call, fail_from, fail_count;
  /* What they return. 0: EIO_OF_DEVICE. */
  int32_t error;
  /* The segment that can be read anyway. */
  uint32_t readable;
  /* Writes are multiples of so many bytes. 0: 8. */
  size_t unit;
};

static inline int32_t device_call(struct device *device) {
  long call = device->call++;
  if (call < device->fail_from || call - device->fail_from >= device->fail_count) return 0;
  return device->error ? device->error : EIO_OF_DEVICE;
}

static inline uint8_t *device_find(struct device *device, uint32_t id, size_t offset, size_t len) {
  for (int i = 0; i < SEGMENTS; i++)
    if (device->segments[i].bytes && device->segments[i].id == id && offset + len <= device->segments[i].len)
      return device->segments[i].bytes + offset;
  CHECK(!"a place that is there");
  return NULL;
}

static inline int32_t device_list(void *user, edge_report_storage_each each, void *context) {
  struct device *device = (struct device *)user;
  for (int i = 0; i < SEGMENTS; i++)
    if (device->segments[i].bytes) each(context, device->segments[i].id, device->segments[i].len);
  return device_call(device);
}

static inline int32_t device_create(void *user, uint32_t id, size_t len) {
  struct device *device = (struct device *)user;
  int32_t failed = device_call(device);
  if (failed) return failed;
  for (int i = 0; i < SEGMENTS; i++)
    if (!device->segments[i].bytes) {
      device->segments[i].id = id;
      device->segments[i].len = len;
      device->segments[i].bytes = (uint8_t *)malloc(len);
      memset(device->segments[i].bytes, 0xff, len);
      return 0;
    }
  return 28;
}

static inline int32_t device_read(void *user, uint32_t id, size_t offset, uint8_t *buffer, size_t len) {
  struct device *device = (struct device *)user;
  int32_t failed = device_call(device);
  if (failed && id != device->readable) return failed;
  uint8_t *from = device_find(device, id, offset, len);
  if (len && from) memcpy(buffer, from, len);
  return 0;
}

static inline int32_t device_write(void *user, uint32_t id, size_t offset, const uint8_t *bytes, size_t len) {
  struct device *device = (struct device *)user;
  int32_t failed = device_call(device);
  if (failed) return failed;
  uint8_t *to = device_find(device, id, offset, len);
  size_t unit = device->unit ? device->unit : 8;
  CHECK(offset % unit == 0 && len % unit == 0);
  for (size_t i = 0; i < len; i++) {
    /* As flash has it: no byte is written twice. */
    CHECK(to[i] == 0xff);
    to[i] = bytes[i];
  }
  return 0;
}

static inline int32_t device_sync(void *user, uint32_t id) {
  (void)id;
  return device_call((struct device *)user);
}

static inline int32_t device_discard(void *user, uint32_t id) {
  struct device *device = (struct device *)user;
  int32_t failed = device_call(device);
  if (failed) return failed;
  for (int i = 0; i < SEGMENTS; i++)
    if (device->segments[i].bytes && device->segments[i].id == id) {
      free(device->segments[i].bytes);
      device->segments[i].bytes = NULL;
    }
  return 0;
}

static inline void device_clear(struct device *device) {
  for (int i = 0; i < SEGMENTS; i++) free(device->segments[i].bytes);
  memset(device, 0, sizeof *device);
}

static inline edge_report_storage device_storage(struct device *device) {
  edge_report_storage storage = EDGE_REPORT_STORAGE_INIT;
  storage.user = device;
  storage.segment_bytes = SEGMENT;
  storage.max_bytes = (SEGMENTS - 1) * SEGMENT;
  storage.write_unit = (uint32_t)device->unit;
  storage.blank = 0xff;
  storage.list = device_list;
  storage.create = device_create;
  storage.read = device_read;
  storage.write = device_write;
  storage.sync = device_sync;
  storage.discard = device_discard;
  return storage;
}

#endif
