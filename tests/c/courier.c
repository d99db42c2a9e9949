/* The courier over memory, over callbacks, and over a spool. Also built for the bare library. */
#include "device.h"

#include <limits.h>

static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
/* For couriers over a device. */
static uint64_t device_memory[(EDGE_REPORT_COURIER_SIZE + 512 + 7) / 8];
static edge_report_error error = EDGE_REPORT_ERROR_INIT;

static edge_report_courier_config config_without_spread(void) {
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
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
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
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
  edge_report_courier_state s = EDGE_REPORT_COURIER_STATE_INIT;
  OK(edge_report_courier_status(courier, &s, NULL));
  CHECK(s.submitted == s.delivered + s.refused + s.superseded + s.expired + s.corrupt + s.waiting);
}

static void dead_letters(edge_report_courier *courier) {
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_result result;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
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
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_result result;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  dead_letters(courier);
  edge_report_courier_free(courier);

  /* Full: what newer reports supersede goes, the rest stays and is said. */
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  for (int i = 0; i < 100; i++) OK(submit(courier, i, EDGE_REPORT_STATUS_RUNNING, 7));
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
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
static void on_a_failing_device(int dead_fails, size_t unit, long at_least) {
  edge_report_courier_config config = config_without_spread();
  long calls = 0;
  for (long first = -1; first < calls; first++) {
    for (int again = 0; again < 2; again++) {
      struct device live, dead;
      memset(&live, 0, sizeof live);
      memset(&dead, 0, sizeof dead);
      live.unit = dead.unit = unit;
      struct device *sick = dead_fails ? &dead : &live;
      edge_report_storage live_storage = device_storage(&live), dead_storage = device_storage(&dead);
      edge_report_courier *courier;
      edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
      edge_report_result result;
      int accepted[16], count = 0, settled[32], settled_count = 0;
      snprintf(about, sizeof about, "call %ld of %s fails, unit %d, again %d", first, dead_fails ? "dead" : "live", (int)unit, again);
      OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, &config, 0, 1, &courier, NULL));
      sick->call = 0;
      sick->fail_from = first;
      sick->fail_count = first < 0 ? 0 : 1;
      for (int i = 0; i < 12; i++) {
        result = submit(courier, i, EDGE_REPORT_STATUS_RUNNING, 7 + i);
        if (result == EDGE_REPORT_OK) accepted[count++] = i;
        else if (CHECK(result == EDGE_REPORT_E_STORAGE)) CHECK(error.device_error == EIO_OF_DEVICE);
        if (i % 3 == 0) {
          int id = settle_next(courier, i == 6 ? 400 : 200, 0, &verdict, &result);
          if (id >= 0 && result == EDGE_REPORT_OK) settled[settled_count++] = id;
        }
      }
      if (first < 0) calls = sick->call;
      sick->fail_count = 0;
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
  CHECK(calls > at_least);
}

/* Letters: listed in the order of death, found, submitted again and forgotten, one by one and up to one. */
static void letters(edge_report_courier *courier) {
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  uint64_t ticket, order[8];
  int count = 0;
  for (int i = 1; i <= 5; i++) OK(submit(courier, i, EDGE_REPORT_STATUS_RUNNING, i));
  /* The third dies first, since the first two were answered by somebody else and are tried later. */
  uint64_t now = 0;
  for (int died = 0; died < 5;) {
    edge_report_step step = EDGE_REPORT_STEP_INIT;
    OK(edge_report_courier_next(courier, now, &step, NULL));
    if (step.kind == EDGE_REPORT_STEP_WAIT) {
      now += step.wait_ms;
      continue;
    }
    if (!CHECK(step.kind == EDGE_REPORT_STEP_SEND)) return;
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    const char *no = "{\"error_code\":\"DLI.0001\",\"error_msg\":\"no\"}";
    int is_doubtful = step.ticket <= 2 && died < 3;
    OK(edge_report_read_reply(is_doubtful ? 500 : 422, str(NULL), str(NULL), no, is_doubtful ? 0 : strlen(no), 0, &reply, NULL));
    OK(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 0, &verdict, NULL));
    if (!is_doubtful) order[died++] = step.ticket;
    if (++count > 200) break;
  }
  CHECK(order[0] == 3);
  uint64_t after = 0;
  for (int i = 0; i < 5; i++) {
    OK(edge_report_courier_dead_letter(courier, after, &letter, NULL));
    CHECK(letter.ticket == order[i] && letter.body.len > 50);
    CHECK(is_reason(&letter.reason, EDGE_REPORT_OUTCOME_REFUSED, 0, 422, "DLI.0001", "no"));
    after = letter.ticket;
  }
  OK(edge_report_courier_dead_letter(courier, after, &letter, NULL));
  CHECK(letter.ticket == 0 && !letter.body.ptr && letter.reason.outcome == 0);
  OK(edge_report_courier_find_dead_letter(courier, 4, &letter, NULL));
  CHECK(letter.ticket == 4 && letter.reason.status == 422);
  /* One in the middle goes again; it is not there any more, and another one with its name is not found. */
  OK(edge_report_courier_resubmit_dead_letter(courier, 4, now, 0, &ticket, NULL));
  CHECK(ticket == 6);
  OK(edge_report_courier_find_dead_letter(courier, 4, &letter, NULL));
  CHECK(letter.ticket == 0);
  OK(edge_report_courier_resubmit_dead_letter(courier, 4, now, 0, &ticket, NULL));
  CHECK(ticket == 0);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.letters == 4 && state.waiting == 1 && state.letters_dropped == 0);
  OK(edge_report_courier_forget_dead_letter(courier, order[1] == 4 ? order[2] : order[1], NULL));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.letters == 3);
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == order[0]);
  OK(edge_report_courier_forget_dead_letters(courier, order[3], NULL));
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == order[4]);
  OK(edge_report_courier_dead_letter(courier, letter.ticket, &letter, NULL));
  CHECK(letter.ticket == 0);
  OK(edge_report_courier_forget_dead_letters(courier, 4, NULL));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.letters == 1 && state.letters_dropped == 0);
  check_sum(courier);
}

/* What a proxy says refuses nothing, and what was said is told. */
static void middlebox(edge_report_courier *courier) {
  static const char page[] = "<html><h1>Not Found</h1></html>";
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  uint64_t now = 0, ticket;
  int requests = 0;
  for (int i = 0; i < 20; i++) OK(submit(courier, i, EDGE_REPORT_STATUS_RUNNING, i + 1));
  OK(edge_report_read_reply(404, str(NULL), str(NULL), page, sizeof page - 1, 0, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD);
  while (now < 24 * 3600 * 1000ull) {
    OK(edge_report_courier_next(courier, now, &step, NULL));
    if (step.kind == EDGE_REPORT_STEP_WAIT) {
      now += step.wait_ms;
      continue;
    }
    if (!CHECK(step.kind == EDGE_REPORT_STEP_SEND)) return;
    OK(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, UINT64_MAX, &verdict, NULL));
    CHECK(verdict.kind == EDGE_REPORT_VERDICT_AGAIN);
    CHECK(is_reason(&verdict.reason, EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD, 0, 404, "", ""));
    if (!CHECK(requests++ < 1000)) return;
  }
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.waiting == 20 && state.refused == 0 && state.expired == 0 && state.letters == 0 && state.circuit_open);
  CHECK(state.failure.status == 404 && state.failure_ticket != 0 && state.has_next_attempt && state.aside > 0);
  /* The way is free: all is delivered, and nobody was buried. */
  for (int delivered = 0; delivered < 20;) {
    OK(edge_report_courier_next(courier, now, &step, NULL));
    now += step.wait_ms;
    if (step.kind == EDGE_REPORT_STEP_WAIT) continue;
    if (!CHECK(step.kind == EDGE_REPORT_STEP_SEND)) return;
    OK(edge_report_read_reply(200, str(NULL), str(NULL), "{\"is_success\":true}", 19, 0, &reply, NULL));
    OK(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 0, &verdict, NULL));
    delivered++;
  }
  OK(edge_report_courier_take_dead_letter(courier, &ticket, NULL, NULL));
  CHECK(ticket == 0);
  check_sum(courier);
}

/* A report that only it is answered badly steps aside, and is buried when others were accepted right after it, often enough. */
static void poison(edge_report_courier *courier) {
  static const char busy[] = "{\"error_code\":\"APIG.0101\",\"error_msg\":\"backend\\u0020failed\"}";
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_reason reason;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  uint64_t now = 0, ticket = 0;
  int attempts = 0, healthy = 0, was_aside = 0;
  OK(submit(courier, 1, EDGE_REPORT_STATUS_RUNNING, 1));
  for (int round = 0; round < 20000 && ticket == 0; round++) {
    /* Something else always waits. What a busy service may say counts for an hour before it buries. */
    OK(edge_report_courier_status(courier, &state, NULL));
    if (state.waiting == 1) OK(submit(courier, 2 + round, EDGE_REPORT_STATUS_RUNNING, 2));
    OK(edge_report_courier_next(courier, now, &step, NULL));
    now += step.wait_ms + 1000;
    if (step.kind == EDGE_REPORT_STEP_WAIT) continue;
    if (!CHECK(step.kind == EDGE_REPORT_STEP_SEND)) return;
    int is_poison = step.ticket == 1;
    const char *text = is_poison ? busy : "{\"is_success\":true}";
    OK(edge_report_read_reply(is_poison ? 500 : 200, str(NULL), str(NULL), text, strlen(text), 0, &reply, NULL));
    OK(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 0, &verdict, NULL));
    attempts += is_poison;
    healthy += !is_poison;
    OK(edge_report_courier_status(courier, &state, NULL));
    was_aside |= state.aside == 1;
    OK(edge_report_courier_take_dead_letter(courier, &ticket, &reason, NULL));
  }
  CHECK(ticket == 1 && attempts >= 3 && healthy >= 3 && was_aside);
  CHECK(is_reason(&reason, EDGE_REPORT_OUTCOME_TRY_AGAIN, 0, 500, "APIG.0101", "backend failed"));
  OK(edge_report_courier_find_dead_letter(courier, 1, &letter, NULL));
  CHECK(letter.ticket == 1 && memcmp(&letter.reason, &reason, sizeof reason) == 0);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.refused == 1 && state.letters == 1 && state.aside == 0);
  check_sum(courier);
}

/* Only the newest of each job is sent. */
static void latest(edge_report_courier *courier) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_result result;
  OK(submit(courier, 1, EDGE_REPORT_STATUS_RUNNING, 1));
  OK(submit(courier, 2, EDGE_REPORT_STATUS_RUNNING, 2));
  OK(submit(courier, 3, EDGE_REPORT_STATUS_RUNNING, 1));
  OK(submit(courier, 4, EDGE_REPORT_STATUS_FINISH, 2));
  OK(submit(courier, 5, EDGE_REPORT_STATUS_RUNNING, 2));
  /* Those of one job in order; across jobs the order is nobody's. */
  unsigned sent = 0;
  for (int i = 0; i < 3; i++) {
    int ticket = settle_next(courier, 200, 0, &verdict, &result);
    CHECK(ticket >= 3 && ticket <= 5 && (ticket != 5 || (sent & (1u << 4)) != 0));
    sent |= 1u << (unsigned)(ticket & 7);
  }
  CHECK(sent == 0x38);
  CHECK(settle_next(courier, 200, 0, &verdict, &result) == -1);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.superseded == 2 && state.delivered == 3 && state.waiting == 0);
  check_sum(courier);
}

/* With no room for another letter the report stays, unsent, and that is said; with room it is buried. */
static void hold(edge_report_courier *courier) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  uint64_t now = 0;
  int id = 0;
  static const char no[] = "{\"error_code\":\"DLI.0001\"}";
  OK(edge_report_read_reply(400, str(NULL), str(NULL), no, sizeof no - 1, 0, &reply, NULL));
  do {
    id++;
    OK(submit(courier, id, EDGE_REPORT_STATUS_RUNNING, id));
    for (;;) {
      OK(edge_report_courier_next(courier, now, &step, NULL));
      if (step.kind != EDGE_REPORT_STEP_WAIT) break;
      now += step.wait_ms;
    }
    if (!CHECK(step.kind == EDGE_REPORT_STEP_SEND)) return;
    OK(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 0, &verdict, NULL));
    CHECK(verdict.kind == EDGE_REPORT_VERDICT_REFUSED);
    OK(edge_report_courier_status(courier, &state, NULL));
  } while (state.aside == 0 && id < 200);
  CHECK(state.aside == 1 && state.waiting == 1 && state.letters == state.refused && state.letters_dropped == 0);
  CHECK(state.failure.code == EDGE_REPORT_E_LETTERS_FULL && state.failure_ticket == state.submitted);
  OK(edge_report_courier_next(courier, now, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_STEP_WAIT);
  /* Somebody made room. */
  uint64_t held = state.submitted, letters = state.letters;
  for (uint64_t i = 0; i < letters; i++) {
    OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
    CHECK(letter.ticket != 0);
    OK(edge_report_courier_forget_dead_letter(courier, letter.ticket, NULL));
  }
  OK(edge_report_courier_wake(courier, now, NULL));
  OK(edge_report_courier_next(courier, now, &step, NULL));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.aside == 0 && state.waiting == 0 && state.letters == 1 && state.letters_dropped == 0);
  OK(edge_report_courier_find_dead_letter(courier, held, &letter, NULL));
  CHECK(letter.ticket == held && letter.reason.status == 400);
  check_sum(courier);
}

/* Without a response, the words of the caller's error are kept, as far as they are text. */
static void words(edge_report_courier *courier) {
  edge_report_error failure = EDGE_REPORT_ERROR_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  OK(submit(courier, 1, EDGE_REPORT_STATUS_RUNNING, 1));
  OK(edge_report_courier_next(courier, 0, &step, NULL));
  memset(failure.path, 'x', sizeof failure.path + sizeof failure.detail);
  strcpy(failure.detail, "connect:\nrefused");
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_E_NOT_SENT, NULL, &failure, 0, 0, &verdict, NULL));
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_AGAIN && verdict.at_ms == 1000);
  CHECK(is_reason(&verdict.reason, 0, EDGE_REPORT_E_NOT_SENT, 0, "", "connect: refused"));
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.failure_ticket == 1 && memcmp(&state.failure, &verdict.reason, sizeof verdict.reason) == 0);
  OK(edge_report_courier_next(courier, 1000, &step, NULL));
  strcpy(failure.detail, "no \xff text");
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_E_TLS, NULL, &failure, 1000, 0, &verdict, NULL));
  CHECK(verdict.kind == EDGE_REPORT_VERDICT_HELD && is_reason(&verdict.reason, 0, EDGE_REPORT_E_TLS, 0, "", "no "));
  OK(edge_report_courier_next(courier, verdict.at_ms, &step, NULL));
  /* Never ended, and longer than what is kept. */
  memset(failure.path, 'y', sizeof failure.path + sizeof failure.detail);
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_E_MAY_HAVE_ARRIVED, NULL, &failure, verdict.at_ms, 0, &verdict, NULL));
  size_t kept = strlen(verdict.reason.text);
  CHECK(kept >= 40 && kept < EDGE_REPORT_REASON_TEXT_SIZE && verdict.reason.text[0] == 'y');
  /* A text of a response is cut on a character, and what comes behind the cut is not put there. */
  static const char wide[] = "{\"error_code\":\"DLI.\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9a\\u00e9b\"}";
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  OK(edge_report_courier_next(courier, verdict.at_ms, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_STEP_SEND);
  OK(edge_report_read_reply(503, str(NULL), str(NULL), wide, sizeof wide - 1, 0, &reply, NULL));
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_OK, &reply, NULL, verdict.at_ms, 0, &verdict, NULL));
  if (!CHECK(strlen(verdict.reason.error_code) == 24)) fprintf(stderr, "  %s\n", verdict.reason.error_code);
  OK(edge_report_courier_next(courier, verdict.at_ms, &step, NULL));
  static const char cut[] = "{\"error_code\":\"DLI.4567890123456789012\\u20acab\"}";
  OK(edge_report_read_reply(503, str(NULL), str(NULL), cut, sizeof cut - 1, 0, &reply, NULL));
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_OK, &reply, NULL, verdict.at_ms, 0, &verdict, NULL));
  CHECK(strcmp(verdict.reason.error_code, "DLI.4567890123456789012") == 0);
}

/* Each of these in memory, and over a device of each write unit. */
static void everywhere(void (*test)(edge_report_courier *), const edge_report_courier_config *config, int segments) {
  static uint64_t large[(EDGE_REPORT_COURIER_RAM(512) + 16384) / 8];
  edge_report_courier *courier;
  snprintf(about, sizeof about, "in memory");
  OK(edge_report_courier_new_ram(large, sizeof large, config, 0, 0, &courier, NULL));
  test(courier);
  edge_report_courier_free(courier);
  for (size_t unit = 8; unit <= 32; unit *= 2) {
    struct device live, dead;
    memset(&live, 0, sizeof live);
    memset(&dead, 0, sizeof dead);
    live.unit = dead.unit = unit;
    edge_report_storage live_storage = device_storage(&live), dead_storage = device_storage(&dead);
    dead_storage.max_bytes = (size_t)segments * SEGMENT;
    snprintf(about, sizeof about, "over a device, unit %d", (int)unit);
    OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, config, 0, 1, &courier, NULL));
    test(courier);
    edge_report_courier_free(courier);
    device_clear(&live);
    device_clear(&dead);
  }
  about[0] = 0;
}

static void rules(void) {
  edge_report_courier_config config = config_without_spread();
  everywhere(letters, &config, 15);
  everywhere(middlebox, &config, 15);
  everywhere(poison, &config, 15);
  everywhere(words, &config, 15);
  config.refuse_after = 3;
  everywhere(poison, &config, 15);
  config.backlog = EDGE_REPORT_BACKLOG_LATEST_PER_JOB;
  everywhere(latest, &config, 15);
  config.backlog = EDGE_REPORT_BACKLOG_KEEP_ALL;
  config.when_letters_full = EDGE_REPORT_LETTERS_HOLD;
  everywhere(hold, &config, 2);
}

/* The least room there may be: newer reports take the place of older ones, and none is lost that nothing supersedes. */
static void in_two_segments(void) {
  edge_report_courier_config config = config_without_spread();
  edge_report_courier *courier;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_result result;
  struct device live, dead;
  memset(&live, 0, sizeof live);
  memset(&dead, 0, sizeof dead);
  edge_report_storage live_storage = device_storage(&live), dead_storage = device_storage(&dead);
  live_storage.max_bytes = 2 * SEGMENT;
  OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, &config, 0, 1, &courier, NULL));
  int last = 0;
  for (int i = 1; i <= 100; i++)
    if (submit(courier, i, EDGE_REPORT_STATUS_RUNNING, 7) == EDGE_REPORT_OK) last = i;
  CHECK(last == 100);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.superseded > 50 && state.waiting > 0);
  int got = -1, next;
  while ((next = settle_next(courier, 200, 0, &verdict, &result)) >= 0) got = next;
  CHECK(got == 100);
  check_sum(courier);
  edge_report_courier_free(courier);
  device_clear(&live);
  device_clear(&dead);
}

/* However often the next report is asked for while all but the newest segment cannot be read: nothing is given up. */
static void in_an_outage(void) {
  edge_report_courier_config config = config_without_spread();
  edge_report_courier *courier;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_result result;
  struct device live, dead;
  memset(&live, 0, sizeof live);
  memset(&dead, 0, sizeof dead);
  edge_report_storage live_storage = device_storage(&live), dead_storage = device_storage(&dead);
  OK(edge_report_courier_new_storage(&live_storage, &dead_storage, device_memory, sizeof device_memory, &config, 0, 1, &courier, NULL));
  for (int i = 1; i <= 20; i++) OK(submit(courier, i, EDGE_REPORT_STATUS_RUNNING, i));
  live.error = EDGE_REPORT_STORAGE_OUTAGE;
  for (int i = 0; i < SEGMENTS; i++)
    if (live.segments[i].bytes && live.segments[i].id > live.readable) live.readable = live.segments[i].id;
  live.fail_from = 0;
  live.fail_count = LONG_MAX;
  for (int i = 0; i < 20; i++) {
    edge_report_step step = EDGE_REPORT_STEP_INIT;
    CHECK(edge_report_courier_next(courier, 0, &step, &error) == EDGE_REPORT_E_STORAGE);
  }
  live.fail_count = 0;
  int got = 0;
  for (int i = 0; i < 25; i++) {
    int next = settle_next(courier, 200, 0, &verdict, &result);
    if (next < 0) continue;
    OK(result);
    CHECK(next == ++got);
  }
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(got == 20 && state.corrupt == 0);
  check_sum(courier);
  edge_report_courier_free(courier);
  device_clear(&live);
  device_clear(&dead);
}

#ifndef EDGE_REPORT_BARE
static void on_a_spool(const char *dir) {
  edge_report_courier_config config = config_without_spread();
  edge_report_courier *courier, *second;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
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
  on_a_failing_device(0, 8, 50);
  on_a_failing_device(0, 32, 50);
  on_a_failing_device(1, 16, 4);
  rules();
  in_two_segments();
  in_an_outage();
#ifndef EDGE_REPORT_BARE
  if (count != 2) return 2;
  on_a_spool(arguments[1]);
#else
  (void)count, (void)arguments;
#endif
  return done("courier", 1000);
}
