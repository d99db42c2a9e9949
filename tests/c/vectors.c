/* Runs the vectors that Rust, C and JavaScript share. Reads the stream that vectors.py writes. */
#include "test.h"

static void *fresh(size_t len) {
  void *memory = malloc(len ? len : 1);
  if (!memory) exit(2);
  return memory;
}

/* Everything is kept to the end: cases are few, and views stay valid. */
static void *kept[1 << 20];
static size_t kept_len;

static void *keep(size_t len) {
  if (kept_len == sizeof kept / sizeof kept[0]) exit(2);
  return kept[kept_len++] = fresh(len);
}

static void drop_all(void) {
  while (kept_len) free(kept[--kept_len]);
}

static void read_bytes(void *to, size_t len) {
  if (fread(to, 1, len, stdin) != len) {
    fprintf(stderr, "the stream of vectors ends early\n");
    exit(2);
  }
}

static uint64_t number(void) {
  unsigned char bytes[8];
  uint64_t value = 0;
  read_bytes(bytes, 8);
  for (int i = 8; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

static edge_report_str text(void) {
  uint64_t len = number();
  if (len == UINT64_MAX) return str(NULL);
  char *bytes = keep((size_t)len);
  read_bytes(bytes, (size_t)len);
  return view(bytes, (size_t)len);
}

static int is(edge_report_str wanted, const char *got) { return same(wanted, got, strlen(got)); }

/* A path that is cut ends with whole characters. */
static int is_path(edge_report_str wanted, const char *path) {
  size_t len = strlen(path);
  if (wanted.len < EDGE_REPORT_PATH_SIZE) return same(wanted, path, len);
  return len >= EDGE_REPORT_PATH_SIZE - 4 && len < EDGE_REPORT_PATH_SIZE && memcmp(path, wanted.ptr, len) == 0;
}

static void code(edge_report_str name) {
  edge_report_result result = (edge_report_result)number();
  CHECK(is(name, edge_report_result_name(result)));
  CHECK(is(text(), edge_report_result_text(result)));
}

static void outcome(edge_report_str name) { CHECK(is(name, edge_report_outcome_name((edge_report_outcome)number()))); }

struct wanted {
  edge_report_result code;
  uint32_t is_error;
  size_t offset;
  edge_report_str path;
};

static void check_findings(void) {
  edge_report_str given = text();
  size_t count = (size_t)number(), errors = 0, first = SIZE_MAX;
  struct wanted *wanted = keep(count * sizeof *wanted);
  for (size_t i = 0; i < count; i++) {
    wanted[i].code = (edge_report_result)number();
    wanted[i].is_error = (uint32_t)number();
    wanted[i].offset = (size_t)number();
    wanted[i].path = text();
    errors += wanted[i].is_error;
    if (wanted[i].is_error && first == SIZE_MAX) first = i;
  }
  size_t rooms[] = {0, 1, count, count + 2};
  for (size_t r = 0; r < 4; r++) {
    size_t room = rooms[r];
    edge_report_finding *found = fresh(room * sizeof *found);
    if (room > 0) found->struct_size = sizeof *found;
    edge_report_summary summary = {sizeof summary, SIZE_MAX, SIZE_MAX};
    edge_report_error error = EDGE_REPORT_ERROR_INIT;
    edge_report_result result = edge_report_check(given.ptr, given.len, found, room, &summary, &error);
    GIVES(errors ? wanted[first].code : EDGE_REPORT_OK, result);
    CHECK(summary.errors == errors && summary.errors + summary.warnings == count);
    CHECK(error.code == result);
    if (errors) {
      CHECK(error.offset == wanted[first].offset);
      /* The name of an unknown key is left out of errors. */
      size_t len = strlen(error.path);
      CHECK(len <= wanted[first].path.len && memcmp(error.path, wanted[first].path.ptr, len) == 0);
    }
    for (size_t i = 0; i < room && i < count; i++) {
      CHECK(found[i].code == wanted[i].code && found[i].is_error == wanted[i].is_error);
      CHECK(found[i].offset == wanted[i].offset);
      if (!CHECK(is_path(wanted[i].path, found[i].path))) fprintf(stderr, "  %s\n", found[i].path);
      size_t job = EDGE_REPORT_NONE;
      if (strncmp(found[i].path, "jobs[", 5) == 0) job = (size_t)strtoull(found[i].path + 5, NULL, 10);
      CHECK(found[i].job == job);
    }
    free(found);
  }
}

static edge_report_report read_report(void) {
  edge_report_report report = EDGE_REPORT_REPORT_INIT;
  report.msg_confirm_topic = text();
  report.message_id = text();
  report.jobs_len = (size_t)number();
  edge_report_job *jobs = keep(report.jobs_len * sizeof *jobs);
  for (size_t i = 0; i < report.jobs_len; i++) {
    jobs[i].struct_size = sizeof *jobs;
    jobs[i].job_id = (int64_t)number();
    jobs[i].status = text();
    jobs[i].create_time = (int64_t)number();
    jobs[i].exceptions = text();
    int has_detail = number() != 0;
    edge_report_exception *detail = keep(sizeof *detail);
    detail->struct_size = sizeof *detail;
    detail->error_id = text();
    detail->error_type = text();
    detail->error_cause = text();
    detail->exception = text();
    detail->error_time = text();
    detail->error_time_ms = 0;
    jobs[i].exception = has_detail ? detail : NULL;
    jobs[i].metrics = text();
    jobs[i].plan = text();
  }
  report.jobs = jobs;
  return report;
}

static void encode_into(const edge_report_report *report, edge_report_str canonical, size_t room) {
  /* Of exactly this size, so that a sanitizer or valgrind sees what is written behind it. */
  char *buffer = fresh(room);
  size_t len = 12345;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_result result = edge_report_encode(report, buffer, room, &len, &error);
  if (room >= canonical.len) {
    OK(result);
    CHECK(same(canonical, buffer, len));
  } else {
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
    CHECK(len == canonical.len && error.needed == canonical.len);
  }
  free(buffer);
}

static void encode_by_writer(const edge_report_report *report, edge_report_str canonical) {
  char *buffer = fresh(canonical.len);
  edge_report_writer writer;
  size_t jobs, len;
  OK(edge_report_writer_init(&writer, buffer, canonical.len, report->msg_confirm_topic, report->message_id, NULL));
  for (size_t i = 0; i < report->jobs_len; i++) OK(edge_report_writer_job(&writer, &report->jobs[i], NULL));
  OK(edge_report_writer_status(&writer, &jobs, &len, NULL));
  CHECK(jobs == report->jobs_len && len == canonical.len);
  OK(edge_report_writer_finish(&writer, &len, NULL));
  CHECK(same(canonical, buffer, len));
  free(buffer);
}

/* Through a courier and out again: what is sent is what was encoded. */
static void encode_by_courier(const edge_report_report *report, edge_report_str canonical) {
  size_t size = EDGE_REPORT_COURIER_RAM(canonical.len);
  void *memory = fresh(size);
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *courier;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  uint64_t ticket;
  config.start_spread_ms = 0;
  config.report_bytes = canonical.len;
  OK(edge_report_courier_new_ram(memory, size, &config, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, report, 0, 0, &ticket, NULL));
  OK(edge_report_courier_next(courier, 0, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_STEP_SEND && step.ticket == ticket && same(canonical, step.body.ptr, step.body.len));
  OK(edge_report_courier_submit_encoded(courier, canonical.ptr, canonical.len, 0, 0, &ticket, NULL));
  CHECK(ticket == 2);
  edge_report_courier_free(courier);
  free(memory);
}

static void encode(void) {
  edge_report_str canonical = text();
  edge_report_report report = read_report();
  size_t len;
  OK(edge_report_encoded_len(&report, &len, NULL));
  CHECK(len == canonical.len);
  encode_into(&report, canonical, canonical.len);
  encode_into(&report, canonical, canonical.len + 1);
  for (size_t room = canonical.len < 400 ? 0 : canonical.len - 1; room < canonical.len; room++)
    encode_into(&report, canonical, room);
  encode_by_writer(&report, canonical);
  encode_by_courier(&report, canonical);
}

static void check_text(edge_report_str wanted, edge_report_str got) {
  if (!wanted.ptr) {
    CHECK(!got.ptr);
    return;
  }
  char *buffer = fresh(got.len);
  size_t len;
  OK(edge_report_unescape(got, buffer, got.len, &len, NULL));
  CHECK(same(wanted, buffer, len));
  if (len > 0) GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_unescape(got, buffer, len - 1, &len, NULL));
  CHECK(len <= got.len);
  free(buffer);
}

static edge_report_str *prefixes(size_t *count) {
  *count = (size_t)number();
  edge_report_str *codes = keep(*count * sizeof *codes);
  for (size_t i = 0; i < *count; i++) codes[i] = text();
  return codes;
}

static void reply(void) {
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  size_t count;
  edge_report_str *codes = prefixes(&count);
  uint32_t status = (uint32_t)number();
  edge_report_str retry_after = text(), date = text(), body = text();
  int64_t now = (int64_t)number();
  OK(edge_report_read_reply_with(codes, count, status, retry_after, date, body.ptr, body.len, now, &reply, NULL));
  if (count == 0) {
    edge_report_reply same_reply = EDGE_REPORT_REPLY_INIT;
    OK(edge_report_read_reply(status, retry_after, date, body.ptr, body.len, now, &same_reply, NULL));
    CHECK(same_reply.outcome == reply.outcome && same_reply.error_code.ptr == reply.error_code.ptr);
  }
  CHECK(reply.status == status);
  CHECK(is(text(), edge_report_outcome_name(reply.outcome)));
  check_text(text(), reply.error_code);
  check_text(text(), reply.error_msg);
  check_text(text(), reply.message);
  check_text(text(), reply.request_id);
  CHECK(reply.has_retry_after == number());
  CHECK(reply.retry_after_ms == number());
  CHECK(reply.has_clock_skew == number());
  CHECK(reply.clock_skew_ms == (int64_t)number());
}

static void statuses(edge_report_str outcome) {
  uint32_t from = (uint32_t)number(), to = (uint32_t)number();
  edge_report_str body = text();
  for (uint32_t status = from; status <= to; status++) {
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    OK(edge_report_read_reply(status, str(NULL), str(NULL), body.ptr, body.len, 0, &reply, NULL));
    CHECK(is(outcome, edge_report_outcome_name(reply.outcome)));
  }
}

static void unusable_codes(void) {
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  size_t count;
  edge_report_str *codes = prefixes(&count);
  GIVES(EDGE_REPORT_E_SERVICE_CODES,
        edge_report_read_reply_with(codes, count, 200, str(NULL), str(NULL), "", 0, 0, &reply, &error));
  CHECK(strcmp(error.path, "service_codes") == 0);
#ifndef EDGE_REPORT_BARE
  edge_report_client *client = NULL;
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  config.base_url = str("https://gateway.example");
  config.project_id = str("p");
  config.service_codes = codes;
  config.service_codes_len = count;
  GIVES(EDGE_REPORT_E_SERVICE_CODES, edge_report_client_new(&config, &client, NULL));
  codes[0] = str("EDGE.");
  config.service_codes_len = 1;
  OK(edge_report_client_new(&config, &client, NULL));
  edge_report_client_free(client);
#endif
}

static edge_report_header *read_pairs(size_t *count) {
  *count = (size_t)number();
  edge_report_header *pairs = keep(*count * sizeof *pairs);
  for (size_t i = 0; i < *count; i++) {
    pairs[i].name = text();
    pairs[i].value = text();
  }
  return pairs;
}

static void sign(void) {
  edge_report_credentials keys = EDGE_REPORT_CREDENTIALS_INIT;
  edge_report_signable request = EDGE_REPORT_SIGNABLE_INIT;
  edge_report_signature signature = EDGE_REPORT_SIGNATURE_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  keys.access_key = text();
  keys.secret_key = text();
  keys.security_token = text();
  keys.token = str(NULL);
  request.method = text();
  request.host = text();
  request.path = text();
  request.body = text();
  request.query = read_pairs(&request.query_len);
  request.headers = read_pairs(&request.headers_len);
  int64_t now = (int64_t)number();
  edge_report_str date = text(), authorization = text(), canonical = text();

  size_t needed = date.len + authorization.len;
  for (size_t room = 0; room <= needed; room++) {
    char *buffer = fresh(room);
    edge_report_result result = edge_report_sign(&request, &keys, now, buffer, room, &signature, &error);
    if (room < needed) {
      GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
      CHECK(error.needed == needed);
    } else {
      OK(result);
      CHECK(same(date, signature.x_sdk_date.ptr, signature.x_sdk_date.len));
      CHECK(same(authorization, signature.authorization.ptr, signature.authorization.len));
    }
    free(buffer);
  }
  char *buffer = fresh(canonical.len);
  size_t len = 0;
  OK(edge_report_canonical_request(&request, &keys, now, buffer, canonical.len, &len, NULL));
  CHECK(same(canonical, buffer, len));
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL,
        edge_report_canonical_request(&request, &keys, now, buffer, canonical.len - 1, &len, NULL));
  CHECK(len == canonical.len);
  free(buffer);
}

/* The request of what a vendor's program sent: the same path, and the signature of its parts. */
static void endpoint(void) {
  edge_report_str base_url = text(), project_id = text(), path = text();
  uint64_t result = number(), offset = number();
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  char whole[400];
  size_t len = 0;
  GIVES((edge_report_result)result, edge_report_url(base_url, project_id, whole, sizeof whole, &len, &error));
  if (result == EDGE_REPORT_OK) {
    CHECK(len > path.len && same(path, whole + len - path.len, path.len));
  } else {
    CHECK(error.offset == offset);
  }
}

static void request(void) {
  edge_report_str host = text(), project_id = text(), path = text(), body = text();
  edge_report_credentials keys = {sizeof keys, EDGE_REPORT_STR("EXAMPLEAK"), EDGE_REPORT_STR("EXAMPLESK"), {NULL, 0}, {NULL, 0}};
  edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  char url[200];
  snprintf(url, sizeof url, "http://%.*s", (int)host.len, host.ptr);
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL,
        edge_report_request(str(url), project_id, &keys, body.ptr, body.len, 1591104868201, NULL, 0, &request, &error));
  char *scratch = fresh(error.needed);
  OK(edge_report_request(str(url), project_id, &keys, body.ptr, body.len, 1591104868201, scratch, error.needed, &request, NULL));
  CHECK(same(str("POST"), request.method.ptr, request.method.len));
  CHECK(same(path, request.path.ptr, request.path.len));
  CHECK(request.headers_len == 5);
  CHECK(same(host, request.headers[0].value.ptr, request.headers[0].value.len));

  char whole[400], wanted[400];
  size_t url_len = 0;
  int wanted_len = snprintf(wanted, sizeof wanted, "%s%.*s", url, (int)path.len, path.ptr);
  for (size_t room = 0; room <= (size_t)wanted_len; room++) {
    GIVES(room < (size_t)wanted_len ? EDGE_REPORT_E_BUFFER_TOO_SMALL : EDGE_REPORT_OK,
          edge_report_url(str(url), project_id, whole, room, &url_len, NULL));
    CHECK(url_len == (size_t)wanted_len);
  }
  CHECK(same(str(wanted), whole, url_len));

  edge_report_signable signable = EDGE_REPORT_SIGNABLE_INIT;
  edge_report_signature signature = EDGE_REPORT_SIGNATURE_INIT;
  char buffer[512];
  signable.method = request.method;
  signable.host = host;
  signable.path = path;
  signable.body = body;
  signable.headers = &request.headers[1];
  signable.headers_len = 2;
  OK(edge_report_sign(&signable, &keys, 1591104868201, buffer, sizeof buffer, &signature, NULL));
  edge_report_str authorization = request.headers[4].value;
  CHECK(same(signature.authorization, authorization.ptr, authorization.len));
  free(scratch);
}

enum { SUBMIT, NEXT, SETTLE, WAKE, DEAD_LETTER, RESUBMIT, FORGET, STATUS };

/* As courier.json counts reasons: the HTTP status, or 1000 and a code. */
static uint64_t reason(const edge_report_reason *reason) { return reason->code ? 1000 + (uint64_t)reason->code : reason->status; }

static void courier_step(edge_report_courier *courier) {
  uint64_t what = number(), kind = number(), now = number(), ticket = number(), job_id = number(), after = number(), send = number();
  uint64_t wait = number(), offset = number(), entropy = number(), failure = number();
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  reply.status = (uint32_t)number();
  reply.outcome = (edge_report_outcome)number();
  reply.has_retry_after = (uint32_t)number();
  reply.retry_after_ms = number();
  reply.has_clock_skew = (uint32_t)number();
  reply.clock_skew_ms = (int64_t)number();
  uint64_t verdict_kind = number(), error = number(), why = number(), at = number();
  uint64_t submitted = number(), delivered = number(), refused = number(), expired = number(), waiting = number();
  uint64_t has_aside = number(), aside = number();
  SAMPLE_REPORT(report);
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  uint64_t got = 0;
  switch (what) {
    case SUBMIT:
      if (job_id) report_job.job_id = (int64_t)job_id;
      OK(edge_report_courier_submit(courier, &report, now, 0, &got, NULL));
      CHECK(got == ticket);
      break;
    case NEXT:
      OK(edge_report_courier_next(courier, now, &step, NULL));
      CHECK(step.kind == kind && step.ticket == send && step.wait_ms == wait);
      CHECK(step.clock_offset_ms == (int64_t)offset);
      break;
    case SETTLE:
      verdict = (edge_report_verdict)EDGE_REPORT_VERDICT_INIT;
      GIVES((edge_report_result)error, edge_report_courier_settle(courier, ticket, (edge_report_result)failure,
                                                                  failure ? NULL : &reply, NULL, now, entropy, &verdict, NULL));
      CHECK(verdict.kind == verdict_kind && verdict.at_ms == at);
      OK(edge_report_courier_status(courier, &state, NULL));
      if (verdict_kind > EDGE_REPORT_VERDICT_DELIVERED)
        CHECK(state.failure_ticket == ticket && memcmp(&state.failure, &verdict.reason, sizeof verdict.reason) == 0);
      CHECK(reason(&verdict.reason) == why);
      break;
    case WAKE: OK(edge_report_courier_wake(courier, now, NULL)); break;
    case DEAD_LETTER:
      OK(edge_report_courier_dead_letter(courier, after, &letter, NULL));
      CHECK(letter.ticket == ticket && reason(&letter.reason) == why);
      break;
    case RESUBMIT:
      OK(edge_report_courier_resubmit_dead_letter(courier, 0, now, 0, &got, NULL));
      CHECK(got == ticket);
      break;
    case FORGET: OK(edge_report_courier_forget_dead_letters(courier, ticket, NULL)); break;
    case STATUS:
      OK(edge_report_courier_status(courier, &state, NULL));
      CHECK(state.submitted == submitted && state.delivered == delivered && state.refused == refused);
      CHECK(state.expired == expired && state.waiting == waiting);
      if (has_aside) CHECK(state.aside == aside);
      break;
    default: CHECK(!"a known step");
  }
}

static void courier(void) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *courier;
  uint64_t *times[] = {&config.min_backoff_ms, &config.max_backoff_ms, &config.hold_ms, &config.start_spread_ms};
  for (size_t i = 0; i < 7; i++) {
    uint64_t given = number(), value = number();
    if (!given) continue;
    if (i < 4) *times[i] = value;
    else if (i == 4) config.max_attempts = (uint32_t)value;
    else if (i == 5) config.max_time_ms = value;
    else config.refuse_after = (uint32_t)value;
  }
  config.report_bytes = 512;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, UINT64_MAX, &courier, NULL));
  for (uint64_t steps = number(); steps > 0; steps--) courier_step(courier);
  edge_report_courier_free(courier);
}

struct answer {
  uint64_t from;
  edge_report_str path;
  uint32_t status;
  edge_report_str body;
};

/* What Flink answers at some time; 404 and nothing to what is not there. */
static struct answer answer_to(const struct answer *answers, size_t len, uint64_t now, edge_report_str path) {
  struct answer found = {0, {NULL, 0}, 404, {NULL, 0}};
  for (size_t i = 0; i < len; i++) {
    if (answers[i].from > now) break;
    if (answers[i].from != found.from) found = (struct answer){answers[i].from, {NULL, 0}, 404, {NULL, 0}};
    if (same(answers[i].path, path.ptr, path.len)) found = answers[i];
  }
  return found;
}

/* Its bytes into a buffer of just their length. */
static void check_draft(edge_report_flink *flink, uint64_t now, edge_report_str wanted) {
  edge_report_flink_step step = EDGE_REPORT_FLINK_STEP_INIT;
  char *buffer = fresh(wanted.len);
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_flink_next(flink, now, buffer, wanted.len - 1, &step, NULL));
  OK(edge_report_flink_next(flink, now, buffer, wanted.len, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT && same(wanted, step.body.ptr, step.body.len));
  free(buffer);
}

static void watch(void) {
  enum { JOBS = 16, TEXTS = 16384, MOST = 100 };
  static uint64_t memory[EDGE_REPORT_FLINK_MEMORY(JOBS, TEXTS) / 8];
  static char buffer[EDGE_REPORT_FLINK_REPORT(TEXTS)];
  static struct answer answers[MOST];
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  uint64_t has_poll = number(), poll_ms = number(), has_heartbeat = number(), heartbeat_ms = number(), has_bytes = number(), bytes = number();
  if (has_poll) config.poll_ms = poll_ms;
  if (has_heartbeat) config.heartbeat_ms = heartbeat_ms;
  if (has_bytes) config.exception_bytes = (size_t)bytes;
  config.metrics = text();
  config.node = text();
  config.plan = (edge_report_flink_plan)number();
  uint64_t until = number(), now = 0;
  size_t len = 0;
  for (uint64_t phases = number(); phases > 0; phases--) {
    uint64_t from = number();
    for (uint64_t count = number(); count > 0; count--) {
      if (len == MOST) exit(2);
      answers[len].from = from;
      answers[len].path = text();
      answers[len].status = (uint32_t)number();
      answers[len++].body = text();
    }
  }
  edge_report_flink *flink;
  edge_report_flink_step step = EDGE_REPORT_FLINK_STEP_INIT;
  OK(edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, NULL));
  for (uint64_t events = number(); events > 0; events--) {
    uint64_t at = number(), is_report = number();
    edge_report_str wanted = text();
    OK(edge_report_flink_next(flink, now, buffer, sizeof buffer, &step, NULL));
    if (step.kind == EDGE_REPORT_FLINK_STEP_WAIT) {
      now += step.wait_ms;
      OK(edge_report_flink_next(flink, now, buffer, sizeof buffer, &step, NULL));
    }
    CHECK(now == at && step.kind == (is_report ? EDGE_REPORT_FLINK_STEP_REPORT : EDGE_REPORT_FLINK_STEP_GET));
    edge_report_str got = is_report ? step.body : step.path;
    CHECK(same(wanted, got.ptr, got.len));
    if (step.kind == EDGE_REPORT_FLINK_STEP_REPORT) {
      check_draft(flink, now, wanted);
      OK(edge_report_flink_reported(flink, 1, NULL));
    } else {
      struct answer answer = answer_to(answers, len, now, step.path);
      (void)edge_report_flink_response(flink, answer.status, answer.body.ptr, answer.body.len, now, NULL);
    }
  }
  OK(edge_report_flink_next(flink, now, buffer, sizeof buffer, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_WAIT && now + step.wait_ms > until);
  edge_report_flink_free(flink);
}

int main(void) {
  unsigned counts[128] = {0};
  for (;;) {
    char kind;
    read_bytes(&kind, 1);
    if (kind == 'Z') break;
    edge_report_str name = text();
    snprintf(about, sizeof about, "%c %.*s", kind, (int)name.len, name.ptr);
    counts[kind & 127]++;
    switch (kind) {
      case 'N': code(name); break;
      case 'O': outcome(name); break;
      case 'C': check_findings(); break;
      case 'E': encode(); break;
      case 'R': reply(); break;
      case 'S': statuses(name); break;
      case 'B': unusable_codes(); break;
      case 'A': sign(); break;
      case 'U': endpoint(); break;
      case 'P': request(); break;
      case 'V': courier(); break;
      case 'F': watch(); break;
      default: fprintf(stderr, "unknown record %c\n", kind); return 2;
    }
    drop_all();
  }
  about[0] = 0;
  CHECK(counts['N'] >= 69 && counts['O'] == 6 && counts['C'] >= 255 && counts['E'] >= 60);
  CHECK(counts['R'] >= 460 && counts['S'] >= 140 && counts['B'] >= 8 && counts['A'] >= 19 && counts['U'] >= 35 && counts['P'] >= 8 && counts['V'] >= 40);
  CHECK(counts['F'] >= 9);
  return done("vectors", 20000);
}
