/* The courier over memory, over callbacks, and over a spool. Also built for the bare library. */
#include "device.h"

#include <limits.h>

static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
/* For couriers over a device. */
static uint64_t device_memory[(EDGE_REPORT_COURIER_SIZE + 512 + 7) / 8];
static edge_report_error error;

static edge_report_courier_config config_without_spread(void) {
  edge_report_courier_config config;
  OK(edge_report_courier_config_init(&config));
  config.start_spread_ms = 0;
  config.report_bytes = 512;
  return config;
}

static edge_report_result submit(edge_report_courier *courier, int id, const char *status, int64_t job_id) {
  char name[32];
  SAMPLE_REPORT(report);
  snprintf(name, sizeof name, "m-%d", id);
  report.message_id = str(name);
  report_job.status = str(status);
  report_job.job_id = job_id;
  return edge_report_courier_submit(courier, &report, 0, id + 1, NULL, &error);
}

static int is_reason(const edge_report_reason *reason, edge_report_outcome outcome, edge_report_result code, uint32_t status,
                     const char *error_code, const char *text) {
  return reason->outcome == outcome && reason->code == code && reason->status == status &&
         strcmp(reason->error_code, error_code) == 0 && strcmp(reason->text, text) == 0;
}

/* Settles the next report with a status; its number, or -1 when none is offered. */
static int settle_next(edge_report_courier *courier, uint32_t status, uint64_t now, edge_report_verdict *verdict,
                       edge_report_result *result) {
  edge_report_step step;
  edge_report_reply reply;
  *result = edge_report_courier_next(courier, now, &step, &error);
  if (*result != EDGE_REPORT_OK || step.kind != EDGE_REPORT_STEP_SEND) return -1;
  static const char id[] = "\"message_id\":\"m-";
  char body[512] = {0};
  memcpy(body, step.body.ptr, step.body.len < 511 ? step.body.len : 511);
  const char *at = strstr(body, id);
  int number = at ? atoi(at + sizeof id - 1) : -1;
  const char *answer = status == 200 ? "{\"is_success\":true}" : "{\"error_code\":\"DLI.0001\",\"error_msg\":\"no\\u0020such\\u0020job\"}";
  OK(edge_report_read_reply(status, str(NULL), str(NULL), answer, strlen(answer), 0, &reply, NULL));
  *result = edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 0, verdict, &error);
  return number;
}

static void check_sum(const edge_report_courier *courier) {
  edge_report_courier_state s;
  OK(edge_report_courier_status(courier, &s, NULL));
  CHECK(s.submitted == s.delivered + s.refused + s.superseded + s.expired + s.corrupt + s.waiting);
}

static void dead_letters(edge_report_courier *courier) {
  edge_report_verdict verdict;
  edge_report_result result;
  edge_report_letter letter;
  edge_report_courier_state state;
  uint64_t ticket;
  OK(submit(courier, 1, EDGE_REPORT_STATUS_RUNNING, 1));
  OK(submit(courier, 2, EDGE_REPORT_STATUS_RUNNING, 2));
  CHECK(settle_next(courier, 400, 0, &verdict, &result) == 1);
  OK(result);
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_REFUSED && is_reason(&verdict.reason, EDGE_REPORT_OUTCOME_REFUSED, 0, 400, "DLI.0001", "no such job"));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.refused == 1 && state.waiting == 1 && state.last_ticket == 1);
  CHECK(state.last_kind == EDGE_REPORT_VERDICT_REFUSED && state.letters == 1 && state.letters_dropped == 0);
  CHECK(state.failure_ticket == 1 && memcmp(&state.failure, &verdict.reason, sizeof state.failure) == 0);
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == 1 && letter.body.len > 50);
  CHECK(is_reason(&letter.reason, EDGE_REPORT_OUTCOME_REFUSED, 0, 400, "DLI.0001", "no such job"));
  OK(edge_report_check(letter.body.ptr, letter.body.len, NULL, 0, NULL, NULL));
  OK(edge_report_courier_dead_letter(courier, 1, &letter, NULL));
  CHECK(letter.ticket == 0);
  OK(edge_report_courier_resubmit_dead_letter(courier, 0, 0, 9, &ticket, NULL));
  CHECK(ticket == 3);
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == 0);
  CHECK(settle_next(courier, 503, 0, &verdict, &result) == 2);
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_AGAIN && verdict.at_ms == 1000);
  CHECK(is_reason(&verdict.reason, EDGE_REPORT_OUTCOME_TRY_AGAIN, 0, 503, "DLI.0001", "no such job"));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.has_next_attempt && state.next_attempt_ms == 1000 && state.not_before_ms == 1000 && state.failures == 1);
  CHECK(settle_next(courier, 200, 999, &verdict, &result) == -1);
  OK(edge_report_courier_wake(courier, 999, NULL));
  CHECK(settle_next(courier, 401, 999, &verdict, &result) == 2);
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_HELD && verdict.reason.status == 401 && verdict.at_ms == 300999);
  CHECK(settle_next(courier, 200, 300999, &verdict, &result) == 2);
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_DELIVERED);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.failure_ticket == 0 && state.failure.outcome == 0 && state.failure.text[0] == 0);
  int64_t oldest;
  OK(edge_report_courier_oldest(courier, &oldest, NULL));
  CHECK(oldest == 9);
  CHECK(settle_next(courier, 404, 300999, &verdict, &result) == 1);
  OK(edge_report_courier_forget_dead_letters(courier, 3, NULL));
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == 0);
  check_sum(courier);
}

static void in_memory(void) {
  edge_report_courier_config config = config_without_spread();
  edge_report_courier *courier;
  edge_report_verdict verdict;
  edge_report_result result;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  dead_letters(courier);
  edge_report_courier_free(courier);

  /* Full: what newer reports supersede goes, the rest stays and is said. */
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  for (int i = 0; i < 100; i++) OK(submit(courier, i, EDGE_REPORT_STATUS_RUNNING, 7));
  edge_report_courier_state state;
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.superseded > 50 && state.waiting > 0);
  check_sum(courier);
  int count = 0;
  while (submit(courier, 1000 + count, EDGE_REPORT_STATUS_FINISH, 1000 + count) == EDGE_REPORT_OK) count++;
  CHECK(error.code == EDGE_REPORT_E_OUTBOX_FULL && count > 1);
  int last = -1, kept = 0;
  for (;;) {
    int id = settle_next(courier, 200, 0, &verdict, &result);
    OK(result);
    if (id < 0) break;
    CHECK(id > last);
    kept += id >= 1000;
    last = id;
  }
  CHECK(kept == count);
  check_sum(courier);
  OK(submit(courier, 1, EDGE_REPORT_STATUS_RUNNING, 7));
  edge_report_courier_free(courier);
}

/* What was accepted before, while and after a device failed is delivered, in order, also by a courier that opens it anew. */
static void on_a_failing_device(void) {
  edge_report_courier_config config = config_without_spread();
  long calls = 0;
  for (long first = -1; first < calls; first++) {
    for (int again = 0; again < 2; again++) {
      struct device live, dead;
      memset(&live, 0, sizeof live);
      memset(&dead, 0, sizeof dead);
      edge_report_storage live_storage = device_storage(&live), dead_storage = device_storage(&dead);
      edge_report_courier *courier;
      edge_report_verdict verdict;
      edge_report_result result;
      int accepted[16], count = 0, settled[32], settled_count = 0;
      snprintf(about, sizeof about, "call %ld fails, again %d", first, again);
      OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, &config, 0, 1, &courier, NULL));
      live.call = 0;
      live.fail_from = first;
      live.fail_count = first < 0 ? 0 : 1;
      for (int i = 0; i < 12; i++) {
        result = submit(courier, i, EDGE_REPORT_STATUS_RUNNING, 7 + i);
        if (result == EDGE_REPORT_OK) accepted[count++] = i;
        else if (CHECK(result == EDGE_REPORT_E_STORAGE)) CHECK(error.device_error == EIO_OF_DEVICE);
        if (i % 3 == 0) {
          int id = settle_next(courier, i == 6 ? 400 : 200, 0, &verdict, &result);
          if (id >= 0 && result == EDGE_REPORT_OK) settled[settled_count++] = id;
        }
      }
      if (first < 0) calls = live.call;
      live.fail_count = 0;
      check_sum(courier);
      if (again) {
        /* As after a crash: nothing reaches the device any more. */
        live.fail_from = dead.fail_from = 0;
        live.fail_count = dead.fail_count = LONG_MAX;
        edge_report_courier_free(courier);
        live.fail_count = dead.fail_count = 0;
        memset(device_memory, 0xa5, sizeof device_memory);
        OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, &config, 0, 1, &courier, NULL));
        check_sum(courier);
      }
      for (;;) {
        int id = settle_next(courier, 200, 0, &verdict, &result);
        OK(result);
        if (id < 0 || settled_count == 32) break;
        settled[settled_count++] = id;
      }
      for (int i = 0; i < count; i++) {
        int found = 0;
        for (int s = 0; s < settled_count; s++) found |= settled[s] == accepted[i];
        CHECK(found);
      }
      edge_report_courier_free(courier);
      device_clear(&live);
      device_clear(&dead);
    }
  }
  about[0] = 0;
  CHECK(calls > 50);
}

#ifndef EDGE_REPORT_BARE
static void on_a_spool(const char *dir) {
  edge_report_courier_config config = config_without_spread();
  edge_report_courier *courier, *second;
  edge_report_courier_state state;
  edge_report_verdict verdict;
  edge_report_result result;
  OK(edge_report_courier_new_spool(str(dir), NULL, &config, 0, 0, &courier, &error));
  GIVES(EDGE_REPORT_E_SPOOL_IN_USE, edge_report_courier_new_spool(str(dir), NULL, &config, 0, 0, &second, &error));
  CHECK(strstr(error.detail, "only one process at a time"));
  dead_letters(courier);
  OK(submit(courier, 9, EDGE_REPORT_STATUS_RUNNING, 1));
  edge_report_courier_free(courier);
  OK(edge_report_courier_new_spool(str(dir), NULL, &config, 0, 0, &courier, NULL));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.waiting == 1 && state.submitted == 4);
  CHECK(settle_next(courier, 200, 0, &verdict, &result) == 9);
  edge_report_courier_free(courier);
}
#endif

int main(int count, char **arguments) {
  in_memory();
  on_a_failing_device();
#ifndef EDGE_REPORT_BARE
  if (count != 2) return 2;
  on_a_spool(arguments[1]);
#else
  (void)count, (void)arguments;
#endif
  return done("courier", 1000);
}
