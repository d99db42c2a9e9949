/* Wrong use gets a code each time, and never a crash. Also built for the bare library. */
#include "test.h"

static char buffer[512];
static size_t len;
static edge_report_error error = EDGE_REPORT_ERROR_INIT;
static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + EDGE_REPORT_COURIER_SIZE + 7) / 8];

/* The last call failed with this path. */
#define AT(wanted_path) CHECK(strcmp(error.path, wanted_path) == 0)

static edge_report_result encode(const edge_report_report *report) {
  return edge_report_encode(report, buffer, sizeof buffer, &len, &error);
}

static edge_report_courier *courier_in(void *at, size_t size) {
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *courier = NULL;
  config.report_bytes = 512;
  config.start_spread_ms = 0;
  OK(edge_report_courier_new_ram(at, size, &config, 0, 0, &courier, NULL));
  return courier;
}

/* Each text of a report, broken in every way. */
static void texts(void) {
  edge_report_exception detail = EDGE_REPORT_EXCEPTION_INIT;
  SAMPLE_REPORT(report);
  struct {
    edge_report_str *text;
    const char *path;
    int in_detail;
  } members[] = {
      {&report.message_id, "message_id", 0},
      {&report.msg_confirm_topic, "msg_confirm_topic", 0},
      {&report_job.status, "jobs[0].status", 0},
      {&report_job.exceptions, "jobs[0].exceptions", 0},
      {&report_job.metrics, "jobs[0].metrics", 0},
      {&report_job.plan, "jobs[0].plan", 0},
      {&detail.error_id, "jobs[0].exceptions.error_id", 1},
      {&detail.error_type, "jobs[0].exceptions.error_type", 1},
      {&detail.error_cause, "jobs[0].exceptions.error_cause", 1},
      {&detail.exception, "jobs[0].exceptions.exception", 1},
      {&detail.error_time, "jobs[0].exceptions.error_time", 1},
  };
  struct {
    edge_report_str text;
    edge_report_result result;
    size_t offset;
  } broken[] = {
      {{NULL, 5}, EDGE_REPORT_E_NULL_POINTER, EDGE_REPORT_NONE},
      {{NULL, SIZE_MAX}, EDGE_REPORT_E_NULL_POINTER, EDGE_REPORT_NONE},
      {{"x", SIZE_MAX}, EDGE_REPORT_E_OUT_OF_RANGE, EDGE_REPORT_NONE},
      {{"\xff", 1}, EDGE_REPORT_E_JSON_NOT_UTF8, 0},
      {{"ab\xc3", 3}, EDGE_REPORT_E_JSON_NOT_UTF8, 2},
      {{"\xed\xa0\x80", 3}, EDGE_REPORT_E_JSON_NOT_UTF8, 0},
      {{"a\xc0\x80", 3}, EDGE_REPORT_E_JSON_NOT_UTF8, 1},
  };
  edge_report_courier *courier = courier_in(memory, sizeof memory);
  for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
    edge_report_str before = *members[m].text;
    report_job.exception = members[m].in_detail ? &detail : NULL;
    for (size_t b = 0; b < sizeof broken / sizeof broken[0]; b++) {
      *members[m].text = broken[b].text;
      GIVES(broken[b].result, encode(&report));
      AT(members[m].path);
      CHECK(error.offset == broken[b].offset && error.code == broken[b].result);
      GIVES(broken[b].result, edge_report_encoded_len(&report, &len, NULL));
      GIVES(broken[b].result, edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
    }
    *members[m].text = before;
    OK(encode(&report));
  }
  edge_report_courier_free(courier);
  report_job.exceptions = str("text");
  GIVES(EDGE_REPORT_E_CONFLICT, encode(&report));
  AT("jobs[0].exceptions");
}

static void values(void) {
  SAMPLE_REPORT(report);
  report.jobs_len = 0;
  GIVES(EDGE_REPORT_E_EMPTY, encode(&report));
  AT("jobs");
  report.jobs = NULL;
  GIVES(EDGE_REPORT_E_EMPTY, encode(&report));
  report.jobs_len = 2;
  GIVES(EDGE_REPORT_E_NULL_POINTER, encode(&report));
  AT("jobs");
  report.jobs = &report_job;
  report.jobs_len = SIZE_MAX / 2;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, encode(&report));
  report.jobs = (const edge_report_job *)(const void *)((const char *)&report_job + 1);
  report.jobs_len = 1;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, encode(&report));
  report.jobs = &report_job;
  report.message_id = str("");
  GIVES(EDGE_REPORT_E_EMPTY, encode(&report));
  AT("message_id");
  report.message_id = str(NULL);
  GIVES(EDGE_REPORT_E_EMPTY, encode(&report));
  report.message_id = str("1");
  report_job.job_id = -1;
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, encode(&report));
  AT("jobs[0].job_id");
  report_job.job_id = 0;
  OK(encode(&report));
  report_job.create_time = 0;
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, encode(&report));
  AT("jobs[0].create_time");
  report_job.create_time = 1;
  report_job.status = str(NULL);
  GIVES(EDGE_REPORT_E_EMPTY, encode(&report));
  AT("jobs[0].status");
  report_job.status = str("x");
  edge_report_exception detail = EDGE_REPORT_EXCEPTION_INIT;
  detail.error_time_ms = INT64_MIN;
  report_job.exception = &detail;
  GIVES(EDGE_REPORT_E_TIME_OUT_OF_RANGE, encode(&report));
  AT("jobs[0].exceptions.error_time");
}

/* Seconds for milliseconds: stored and sent as they are; edge_report_check tells of them. */
static void likely_mistakes(void) {
  static uint64_t memory[4096];
  edge_report_courier *courier = NULL;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_finding finding = EDGE_REPORT_FINDING_INIT;
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  SAMPLE_REPORT(report);
  report_job.create_time = 1591104868;
  report.msg_confirm_topic = str("topic");
  OK(encode(&report));
  OK(edge_report_courier_new_ram(memory, sizeof memory, NULL, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  OK(edge_report_courier_next(courier, 60000, &step, NULL));
  CHECK(same(step.body, buffer, len));
  OK(edge_report_check(step.body.ptr, step.body.len, &finding, 1, &summary, NULL));
  CHECK(summary.errors == 0 && summary.warnings == 1 && !finding.is_error);
  CHECK(finding.code == EDGE_REPORT_W_LOOKS_LIKE_SECONDS && strcmp(finding.path, "jobs[0].create_time") == 0);
  edge_report_courier_free(courier);
}

/* A status that is not known, and what was probably meant. */
static void suggestions(void) {
  static const struct {
    const char *status, *meant;
  } cases[] = {
      {"running", "job_running"},
      {"JOB_RUNNING", "job_running"},
      {"job_runing", "job_running"},
      {"finished", "job_finish"},
      {"job-cancel-success", "job_cancel_success"},
      {"canceled", NULL},
      {"job_submit_failed", "job_submit_fail"},
      {"x", NULL},
      {"\xe8\xbf\x90\xe8\xa1\x8c", NULL},
      {"something else", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    edge_report_finding findings[2] = {EDGE_REPORT_FINDING_INIT};
    SAMPLE_REPORT(report);
    report_job.status = str(cases[i].status);
    snprintf(about, sizeof about, "%s", cases[i].status);
    OK(encode(&report));
    OK(edge_report_check(buffer, len, findings, 2, NULL, NULL));
    CHECK(findings[0].code == EDGE_REPORT_W_UNKNOWN_STATUS && findings[1].code == 0);
#ifdef EDGE_REPORT_BARE
    CHECK(!findings[0].suggestion.ptr);
#else
    if (!cases[i].meant) CHECK(!findings[0].suggestion.ptr);
    if (cases[i].meant && !CHECK(same(findings[0].suggestion, cases[i].meant, strlen(cases[i].meant))))
      fprintf(stderr, "  %.*s\n", (int)findings[0].suggestion.len, findings[0].suggestion.ptr ? findings[0].suggestion.ptr : "");
#endif
  }
  about[0] = 0;
}

/* Where a result belongs there must be room for one; nothing else was done. */
static void outputs(void) {
  SAMPLE_REPORT(report);
  edge_report_credentials keys = {sizeof keys, EDGE_REPORT_STR("A"), EDGE_REPORT_STR("S"), {NULL, 0}, {NULL, 0}};
  edge_report_signable signable = EDGE_REPORT_SIGNABLE_INIT;
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_writer writer;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_encode(&report, buffer, sizeof buffer, NULL, &error));
  AT("len");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_encode(NULL, buffer, sizeof buffer, &len, &error));
  AT("report");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_encode(&report, NULL, sizeof buffer, &len, &error));
  AT("buffer");
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_encode(&report, buffer, SIZE_MAX, &len, NULL));
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_encode(&report, NULL, 0, &len, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_encoded_len(&report, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_encoded_len(NULL, &len, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_check(NULL, 1, NULL, 0, NULL, &error));
  AT("text");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_check("{}", 2, NULL, 1, NULL, &error));
  AT("findings");
  GIVES(EDGE_REPORT_E_JSON_UNEXPECTED_END, edge_report_check(NULL, 0, NULL, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_init(NULL, buffer, sizeof buffer, str("t"), str("1"), NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_job(NULL, &report_job, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_status(NULL, NULL, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_finish(NULL, &len, NULL));
  OK(edge_report_writer_init(&writer, buffer, sizeof buffer, str("t"), str("1"), NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_job(&writer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_finish(&writer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER,
        edge_report_request(str("http://a"), str("p"), NULL, "", 0, 0, buffer, sizeof buffer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(&signable, &keys, 0, buffer, sizeof buffer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_canonical_request(&signable, &keys, 0, buffer, sizeof buffer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_read_reply(200, str(NULL), str(NULL), "", 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_unescape(str("a"), buffer, sizeof buffer, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, NULL, NULL));
  /* An error that is not aligned is left alone. */
  GIVES(EDGE_REPORT_E_NULL_POINTER,
        edge_report_encoded_len(NULL, &len, (edge_report_error *)(void *)((char *)memory + 1)));
}

static void writers(void) {
  SAMPLE_JOB(job);
  edge_report_writer writer;
  memset(&writer, 0, sizeof writer);
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_writer_job(&writer, &job, &error));
  AT("writer");
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_writer_status(&writer, NULL, NULL, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_writer_finish(&writer, &len, NULL));
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE,
        edge_report_writer_job((edge_report_writer *)(void *)((char *)&writer + 1), &job, NULL));
  /* Each length is either enough or not, and the error tells what is. */
  static const char id[] = "1";
  size_t needed = 0;
  for (size_t room = 0; room <= 200; room++) {
    edge_report_result result = edge_report_writer_init(&writer, buffer, room, str(NULL), str(id), &error);
    if (result != EDGE_REPORT_OK) {
      GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
      CHECK(error.needed > room);
      GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_writer_job(&writer, &job, NULL));
      continue;
    }
    result = edge_report_writer_job(&writer, &job, &error);
    if (result != EDGE_REPORT_OK) {
      GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
      CHECK(error.needed > room);
      needed = error.needed;
      GIVES(EDGE_REPORT_E_EMPTY, edge_report_writer_finish(&writer, &len, NULL));
    } else {
      CHECK(room >= needed);
      OK(edge_report_writer_finish(&writer, &len, NULL));
      CHECK(len == needed);
      OK(edge_report_check(buffer, len, NULL, 0, NULL, NULL));
    }
    GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_writer_finish(&writer, &len, NULL));
  }
  /* Begun twice: the first is dropped. An invalid job leaves what is there. */
  OK(edge_report_writer_init(&writer, buffer, sizeof buffer, str(NULL), str(id), NULL));
  OK(edge_report_writer_job(&writer, &job, NULL));
  OK(edge_report_writer_init(&writer, buffer, sizeof buffer, str(NULL), str(id), NULL));
  OK(edge_report_writer_job(&writer, &job, NULL));
  job.job_id = -1;
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, edge_report_writer_job(&writer, &job, &error));
  AT("jobs[1].job_id");
  job.metrics = view(NULL, 1);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_writer_job(&writer, &job, &error));
  AT("jobs[1].metrics");
  OK(edge_report_writer_finish(&writer, &len, NULL));
  CHECK(len == needed);
  GIVES(EDGE_REPORT_E_EMPTY, edge_report_writer_init(&writer, buffer, sizeof buffer, str(""), str(id), NULL));
  GIVES(EDGE_REPORT_E_EMPTY, edge_report_writer_init(&writer, buffer, sizeof buffer, str("t"), str(NULL), NULL));
}

static void exchanges(void) {
  edge_report_credentials credentials = EDGE_REPORT_CREDENTIALS_INIT;
  edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  struct {
    const char *url, *project;
    edge_report_result result;
    const char *path;
    size_t offset;
  } cases[] = {
      {NULL, "p", EDGE_REPORT_E_NULL_POINTER, "base_url", EDGE_REPORT_NONE},
      {"https://a", NULL, EDGE_REPORT_E_NULL_POINTER, "project_id", EDGE_REPORT_NONE},
      {"", "p", EDGE_REPORT_E_URL_SCHEME, "base_url", 0},
      {"https://\xff", "p", EDGE_REPORT_E_JSON_NOT_UTF8, "base_url", 8},
      {"https://a:0", "p", EDGE_REPORT_E_URL_PORT, "base_url", 10},
      {"https://a?x", "p", EDGE_REPORT_E_URL_QUERY, "base_url", 9},
      {"https://a", "..", EDGE_REPORT_E_PROJECT_ID, "project_id", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    GIVES(cases[i].result, edge_report_request(str(cases[i].url), str(cases[i].project), &credentials, "", 0, 0, buffer,
                                               sizeof buffer, &request, &error));
    AT(cases[i].path);
    CHECK(error.offset == cases[i].offset);
    GIVES(cases[i].result, edge_report_url(str(cases[i].url), str(cases[i].project), buffer, sizeof buffer, &len, NULL));
  }
  credentials.access_key = str("A");
  GIVES(EDGE_REPORT_E_SECRET_KEY,
        edge_report_request(str("http://a"), str("p"), &credentials, "", 0, 0, buffer, sizeof buffer, &request, NULL));
  credentials.secret_key = str("S\n");
  GIVES(EDGE_REPORT_E_SECRET_KEY,
        edge_report_request(str("http://a"), str("p"), &credentials, "", 0, 0, buffer, sizeof buffer, &request, &error));
  AT("credentials.secret_key");
  credentials.secret_key = str("S");
  for (size_t room = 0; room < sizeof buffer; room++) {
    edge_report_result result =
        edge_report_request(str("http://a"), str("p"), &credentials, "", 0, 0, buffer, room, &request, &error);
    if (result == EDGE_REPORT_OK) break;
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
    CHECK(error.needed > room);
  }
  GIVES(EDGE_REPORT_E_TIME_OUT_OF_RANGE, edge_report_request(str("http://a"), str("p"), &credentials, "", 0, INT64_MIN,
                                                             buffer, sizeof buffer, &request, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_request(str("http://a"), str("p"), &credentials, NULL, 1, 0, buffer,
                                                        sizeof buffer, &request, NULL));
  credentials.token = str("t");
  GIVES(EDGE_REPORT_E_CONFLICT,
        edge_report_request(str("http://a"), str("p"), &credentials, "", 0, 0, buffer, sizeof buffer, &request, NULL));

  edge_report_signable signable = EDGE_REPORT_SIGNABLE_INIT;
  edge_report_signature signature = EDGE_REPORT_SIGNATURE_INIT;
  edge_report_header headers[17];
  memset(&headers, 0, sizeof headers);
  credentials.token = str(NULL);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(NULL, &credentials, 0, buffer, sizeof buffer, &signature, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(&signable, NULL, 0, buffer, sizeof buffer, &signature, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, &error));
  AT("method");
  signable.method = str("POST");
  signable.host = str("a");
  signable.path = str("/");
  OK(edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, NULL));
  signable.headers_len = 1;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, &error));
  AT("headers");
  signable.headers = headers;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, NULL));
  headers[0].name = str("X-\n");
  headers[0].value = str("");
  GIVES(EDGE_REPORT_E_HEADER_NAME, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, NULL));
  signable.headers_len = 17;
  GIVES(EDGE_REPORT_E_TOO_MANY, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, &error));
  AT("headers");
  signable.headers_len = 0;
  signable.query = headers;
  signable.query_len = 17;
  GIVES(EDGE_REPORT_E_TOO_MANY, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, &error));
  AT("query");
  credentials = (edge_report_credentials)EDGE_REPORT_CREDENTIALS_INIT;
  GIVES(EDGE_REPORT_E_ACCESS_KEY, edge_report_sign(&signable, &credentials, 0, buffer, sizeof buffer, &signature, NULL));

  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_read_reply(65536, str(NULL), str(NULL), "", 0, 0, &reply, &error));
  AT("status");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_read_reply(200, str(NULL), str(NULL), NULL, 1, 0, &reply, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_read_reply(200, view(NULL, 1), str(NULL), "", 0, 0, &reply, NULL));
  OK(edge_report_read_reply(503, str("\xff"), str("\xff"), "\xff", 1, 0, &reply, NULL));
  CHECK(!reply.has_retry_after && !reply.has_clock_skew);
  edge_report_str codes[9] = {{0}};
#define READ_WITH(codes, len) edge_report_read_reply_with(codes, len, 200, str(NULL), str(NULL), "", 0, 0, &reply, &error)
  GIVES(EDGE_REPORT_E_NULL_POINTER, READ_WITH(NULL, 1));
  AT("service_codes");
  GIVES(EDGE_REPORT_E_NULL_POINTER, READ_WITH(codes, 1));
  AT("service_codes");
  codes[0] = str("\xff");
  GIVES(EDGE_REPORT_E_JSON_NOT_UTF8, READ_WITH(codes, 1));
  AT("service_codes");
  GIVES(EDGE_REPORT_E_SERVICE_CODES, READ_WITH(codes, 9));
  AT("service_codes");
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, READ_WITH(codes, SIZE_MAX));
  OK(READ_WITH(NULL, 0));
  OK(READ_WITH(codes, 0));
  /* What was never JSON decodes to something, within its length. */
  OK(edge_report_unescape(str("a\\"), buffer, 2, &len, NULL));
  OK(edge_report_unescape(str("\\ud800\\u"), buffer, 8, &len, NULL));
  OK(edge_report_unescape(str(NULL), NULL, 0, &len, NULL));
  CHECK(len == 0);
}

static void couriers(void) {
  SAMPLE_REPORT(report);
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *courier = NULL;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  uint64_t ticket;
  config.report_bytes = 512;
  config.start_spread_ms = 0;
  config.report_bytes = 0;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, &error));
  AT("config.report_bytes");
  config.report_bytes = 512;
  config.batch_ms = 100;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, &error));
  AT("config.batch_reports");
  config.batch_ms = 0;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_new_ram(NULL, sizeof memory, &config, 0, 0, &courier, NULL));
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_new_ram(memory, SIZE_MAX, &config, 0, 0, &courier, NULL));
  /* At every length and every alignment: too little, and how much is enough. */
  for (size_t skip = 0; skip < 9; skip++) {
    size_t size = 0;
    while (size + skip <= sizeof memory) {
      edge_report_result result =
          edge_report_courier_new_ram((char *)memory + skip, size, &config, 0, 0, &courier, &error);
      if (result == EDGE_REPORT_OK) break;
      GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
      CHECK(error.needed > size && error.needed <= EDGE_REPORT_COURIER_RAM(512));
      size += error.needed > size + 400 ? 397 : 1;
    }
    CHECK(size == error.needed);
    OK(edge_report_courier_submit(courier, &report, 0, 0, &ticket, NULL));
    edge_report_courier_free(courier);
  }
  struct {
    uint32_t *value;
    uint32_t wrong;
    const char *path;
  } values[] = {
      {&config.refuse_after, 0, "config.refuse_after"},
      {&config.backlog, 2, "config.backlog"},
      {&config.backlog, UINT32_MAX, "config.backlog"},
      {&config.when_letters_full, 2, "config.when_letters_full"},
  };
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    uint32_t before = *values[i].value;
    *values[i].value = values[i].wrong;
    GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, &error));
    AT(values[i].path);
    *values[i].value = before;
  }
  config.report_bytes = SIZE_MAX;
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));

  courier = courier_in(memory, sizeof memory);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_submit(NULL, &report, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_submit(courier, NULL, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_submit_encoded(courier, NULL, 5, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_JSON_UNEXPECTED_END, edge_report_courier_submit_encoded(courier, "{", 1, 0, 0, NULL, &error));
  CHECK(error.offset == 1);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_next(courier, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_STALE_TICKET,
        edge_report_courier_settle(courier, 1, EDGE_REPORT_E_NOT_SENT, NULL, NULL, 0, 0, NULL, &error));
  AT("ticket");
  char big[600];
  memset(big, 'm', sizeof big);
  report_job.metrics = view(big, sizeof big);
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_courier_submit(courier, &report, 0, 0, NULL, &error));
  CHECK(error.needed > 600);
  report_job.metrics = str(NULL);
  OK(edge_report_courier_submit(courier, &report, 0, 0, &ticket, NULL));
  OK(edge_report_courier_next(courier, 0, &step, NULL));
  GIVES(EDGE_REPORT_E_STALE_TICKET,
        edge_report_courier_settle(courier, ticket + 1, EDGE_REPORT_E_NOT_SENT, NULL, NULL, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, NULL, NULL, 0, 0, NULL, &error));
  AT("reply");
  edge_report_result unknown[] = {-1, 9998, 9999, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
    GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_settle(courier, ticket, unknown[i], NULL, NULL, 0, 0, NULL, NULL));
  uint32_t outcomes[] = {0, 7, 256, UINT32_MAX};
  for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
    reply.outcome = outcomes[i];
    GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, &error));
    AT("outcome");
    CHECK(strcmp(edge_report_outcome_name(outcomes[i]), "unknown") == 0);
  }
  reply.outcome = EDGE_REPORT_OUTCOME_ACCEPTED;
  reply.status = 65536;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, NULL));
  reply.status = 200;
  reply.error_code = view(NULL, 1);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, &error));
  AT("error_code");
  reply.error_code = str(NULL);
  reply.message = str("\xff");
  GIVES(EDGE_REPORT_E_JSON_NOT_UTF8, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, &error));
  AT("message");
  reply.message = str(NULL);
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE,
        edge_report_courier_settle(courier, ticket, EDGE_REPORT_E_NOT_SENT, NULL,
                                   (const edge_report_error *)(const void *)((const char *)memory + 1), 0, 0, NULL, &error));
  AT("failure");
  OK(edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_STALE_TICKET, edge_report_courier_settle(courier, ticket, EDGE_REPORT_OK, &reply, NULL, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_status(courier, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_dead_letter(courier, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_find_dead_letter(courier, 1, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_take_dead_letter(courier, NULL, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_oldest(courier, NULL, NULL));
  int64_t oldest = 1;
  OK(edge_report_courier_oldest(courier, &oldest, NULL));
  CHECK(oldest == 0);
  ticket = 1;
  OK(edge_report_courier_take_dead_letter(courier, &ticket, NULL, NULL));
  CHECK(ticket == 0);
  letter.ticket = 1;
  OK(edge_report_courier_find_dead_letter(courier, UINT64_MAX, &letter, NULL));
  CHECK(letter.ticket == 0);
  OK(edge_report_courier_forget_dead_letter(courier, 7, NULL));
  OK(edge_report_courier_dead_letter(courier, 0, &letter, NULL));
  CHECK(letter.ticket == 0 && !letter.body.ptr);
  OK(edge_report_courier_resubmit_dead_letter(courier, 0, 0, 0, &ticket, NULL));
  CHECK(ticket == 0);
  OK(edge_report_courier_forget_dead_letters(courier, UINT64_MAX, NULL));
  OK(edge_report_courier_wake(courier, UINT64_MAX, NULL));
  OK(edge_report_courier_flush(courier, NULL));

  edge_report_courier_free(NULL);
  edge_report_courier_free(courier);
  edge_report_courier_free(courier);
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_submit(courier, &report, 0, 0, NULL, &error));
  AT("courier");
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_next(courier, 0, &step, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_status(courier, &state, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_wake(courier, 0, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_take_dead_letter(courier, &ticket, NULL, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_oldest(courier, &oldest, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_find_dead_letter(courier, 1, &letter, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_forget_dead_letter(courier, 1, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_flush(courier, NULL));
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE,
        edge_report_courier_flush((edge_report_courier *)(void *)((char *)memory + 1), NULL));
  memset(memory, 0, sizeof memory);
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_flush((edge_report_courier *)(void *)memory, NULL));
}

static int32_t never_each(void *user, edge_report_storage_each each, void *context) {
  (void)user, (void)each, (void)context;
  return 0;
}
/* A storage that calls back: the courier whose call it is in refuses it. */
static edge_report_courier *calls_back;
static int32_t never_id(void *user, uint32_t id) {
  (void)user, (void)id;
  if (calls_back) {
    edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
    GIVES(EDGE_REPORT_E_IN_USE, edge_report_courier_flush(calls_back, &error));
    AT("courier");
    GIVES(EDGE_REPORT_E_IN_USE, edge_report_courier_status(calls_back, &state, NULL));
    edge_report_courier_free(calls_back);
    calls_back = NULL;
  }
  return 0;
}
static int syncs;
static int32_t counted_sync(void *user, uint32_t id) {
  syncs++;
  return never_id(user, id);
}
static int32_t never_create(void *user, uint32_t id, size_t size) {
  (void)user, (void)id, (void)size;
  return 0;
}
static int32_t never_read(void *user, uint32_t id, size_t offset, uint8_t *to, size_t size) {
  (void)user, (void)id, (void)offset, (void)to, (void)size;
  return 0;
}
static int32_t never_write(void *user, uint32_t id, size_t offset, const uint8_t *from, size_t size) {
  (void)user, (void)id, (void)offset, (void)from, (void)size;
  return 0;
}

/* Each member that cannot be used is named, with its table. */
static void storage_members(const edge_report_storage *good) {
  struct {
    const char *member;
    edge_report_result result;
  } cases[] = {
      {"list", EDGE_REPORT_E_NULL_POINTER},          {"create", EDGE_REPORT_E_NULL_POINTER},
      {"read", EDGE_REPORT_E_NULL_POINTER},          {"write", EDGE_REPORT_E_NULL_POINTER},
      {"sync", EDGE_REPORT_E_NULL_POINTER},          {"discard", EDGE_REPORT_E_NULL_POINTER},
      {"segment_bytes", EDGE_REPORT_E_OUT_OF_RANGE}, {"segment_bytes", EDGE_REPORT_E_OUT_OF_RANGE},
      {"segment_bytes", EDGE_REPORT_E_OUT_OF_RANGE}, {"segment_bytes", EDGE_REPORT_E_OUT_OF_RANGE},
      {"length_unit", EDGE_REPORT_E_OUT_OF_RANGE},   {"segment_bytes", EDGE_REPORT_E_OUT_OF_RANGE},
      {"length_unit", EDGE_REPORT_E_OUT_OF_RANGE},   {"max_bytes", EDGE_REPORT_E_OUT_OF_RANGE},
      {"max_bytes", EDGE_REPORT_E_OUT_OF_RANGE},     {"longest_segment", EDGE_REPORT_E_OUT_OF_RANGE},
      {"write_unit", EDGE_REPORT_E_OUT_OF_RANGE},    {"write_unit", EDGE_REPORT_E_OUT_OF_RANGE},
      {"write_unit", EDGE_REPORT_E_OUT_OF_RANGE},    {"blank", EDGE_REPORT_E_OUT_OF_RANGE},
      {"blank", EDGE_REPORT_E_OUT_OF_RANGE},         {NULL, EDGE_REPORT_E_STRUCT_SIZE},
      {NULL, EDGE_REPORT_E_STRUCT_SIZE},
  };
  for (size_t broken = 0; broken < sizeof cases / sizeof cases[0]; broken++) {
    edge_report_storage bad = *good;
    edge_report_courier *courier = NULL;
    switch (broken) {
      case 0: bad.list = NULL; break;
      case 1: bad.create = NULL; break;
      case 2: bad.read = NULL; break;
      case 3: bad.write = NULL; break;
      case 4: bad.sync = NULL; break;
      case 5: bad.discard = NULL; break;
      case 6: bad.segment_bytes = 0; break;
      case 7: bad.segment_bytes = 272; break;
      case 8: bad.max_bytes = SIZE_MAX; break;
      case 9: bad.segment_bytes = 520, bad.length_unit = 512; break;
      case 10: bad.segment_bytes = 511; break;
      case 11: bad.length_unit = 1024; break;
      case 12: bad.length_unit = 12; break;
      case 13: bad.max_bytes = 1023; break;
      case 14: bad.max_bytes = 0; break;
      case 15: bad.longest_segment = 504; break;
      case 16: bad.write_unit = 4; break;
      case 17: bad.write_unit = 64; break;
      case 18: bad.write_unit = UINT32_MAX; break;
      case 19: bad.blank = 1; break;
      case 20: bad.blank = 0xff00ff; break;
      case 21: bad.struct_size = 0; break;
      default: bad.struct_size = SIZE_MAX; break;
    }
    for (int is_dead = 0; is_dead < 2; is_dead++) {
      const char *table = is_dead ? "dead" : "live";
      char path[32];
      snprintf(path, sizeof path, "%s%s%s", table, cases[broken].member ? "." : "", cases[broken].member ? cases[broken].member : "");
      snprintf(about, sizeof about, "%s, case %d", path, (int)broken);
      GIVES(cases[broken].result, edge_report_courier_new_storage(is_dead ? good : &bad, is_dead ? &bad : good, memory, sizeof memory,
                                                                  NULL, 0, 0, &courier, &error));
      AT(path);
#ifndef EDGE_REPORT_BARE
      if (cases[broken].result == EDGE_REPORT_E_OUT_OF_RANGE) CHECK(error.detail[0] != '\0');
#endif
      CHECK(courier == NULL);
    }
  }
  about[0] = 0;
}

static void storages(void) {
  edge_report_storage good = EDGE_REPORT_STORAGE_INIT;
  edge_report_courier *courier;
  good.segment_bytes = 512;
  good.max_bytes = 4096;
  good.list = never_each;
  good.create = never_create;
  good.read = never_read;
  good.write = never_write;
  good.sync = counted_sync;
  good.discard = never_id;
  OK(edge_report_courier_new_storage(&good, &good, memory, sizeof memory, NULL, 0, 0, &courier, NULL));
  SAMPLE_REPORT(report);
  calls_back = courier;
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  CHECK(calls_back == NULL);
  OK(edge_report_courier_flush(courier, NULL));
  edge_report_courier_free(courier);
  /* Durable together: when there are so many, after so long, and at the end. */
  edge_report_courier_config batch = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  batch.batch_reports = 2;
  batch.batch_ms = 100;
  OK(edge_report_courier_new_storage(&good, &good, memory, sizeof memory, &batch, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  /* That made a segment. */
  syncs = 0;
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  CHECK(syncs == 1);
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  OK(edge_report_courier_next(courier, 99, &step, NULL));
  CHECK(syncs == 1);
  OK(edge_report_courier_next(courier, 100, &step, NULL));
  CHECK(syncs == 2);
  OK(edge_report_courier_submit(courier, &report, 100, 0, NULL, NULL));
  CHECK(syncs == 2);
  edge_report_courier_free(courier);
  CHECK(syncs > 2);
  edge_report_storage wide = good;
  wide.write_unit = 32;
  wide.length_unit = 256;
  wide.longest_segment = 512;
  wide.blank = 0xff;
  wide.max_bytes = 1024;
  OK(edge_report_courier_new_storage(&wide, &good, memory, sizeof memory, NULL, 0, 0, &courier, NULL));
  edge_report_courier_free(courier);
  storage_members(&good);
  GIVES(EDGE_REPORT_E_NULL_POINTER,
        edge_report_courier_new_storage(NULL, &good, memory, sizeof memory, NULL, 0, 0, &courier, &error));
  AT("live");
  GIVES(EDGE_REPORT_E_NULL_POINTER,
        edge_report_courier_new_storage(&good, NULL, memory, sizeof memory, NULL, 0, 0, &courier, &error));
  AT("dead");
  for (size_t size = 0; size < EDGE_REPORT_COURIER_SIZE; size++) {
    edge_report_result result =
        edge_report_courier_new_storage(&good, &good, memory, size, NULL, 0, 0, &courier, &error);
    if (result == EDGE_REPORT_OK) break;
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
    CHECK(error.needed > size && error.needed <= EDGE_REPORT_COURIER_SIZE);
  }
}

#ifndef EDGE_REPORT_BARE
static void hosts(void) {
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  edge_report_client *client = NULL;
  edge_report_courier *courier = NULL;
  edge_report_spool_options options = EDGE_REPORT_SPOOL_OPTIONS_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_new(NULL, &client, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_new(&config, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_new(&config, &client, &error));
  AT("config.base_url");
  config.base_url = str("https://a:70000");
  config.project_id = str("p");
  GIVES(EDGE_REPORT_E_URL_PORT, edge_report_client_new(&config, &client, &error));
  AT("config.base_url");
  CHECK(error.offset == 10);
  config.base_url = str("http://gateway.example");
  config.project_id = str("a/b");
  GIVES(EDGE_REPORT_E_PROJECT_ID, edge_report_client_new(&config, &client, &error));
  AT("config.project_id");
  CHECK(error.offset == 1);
  config.project_id = str("p\xff");
  GIVES(EDGE_REPORT_E_JSON_NOT_UTF8, edge_report_client_new(&config, &client, &error));
  AT("config.project_id");
  CHECK(error.offset == 1);
  config.project_id = str("p");
  GIVES(EDGE_REPORT_E_PLAIN_HTTP, edge_report_client_new(&config, &client, &error));
  AT("config.base_url");
  edge_report_credentials keys = EDGE_REPORT_CREDENTIALS_INIT;
  keys.access_key = str("AK");
  keys.secret_key = str("SK\n");
  config.credentials = &keys;
  config.allow_plain_http = 1;
  GIVES(EDGE_REPORT_E_SECRET_KEY, edge_report_client_new(&config, &client, &error));
  AT("credentials.secret_key");
  keys.access_key = str(NULL);
  keys.secret_key = str(NULL);
  keys.token = str("a\nb");
  GIVES(EDGE_REPORT_E_TOKEN, edge_report_client_new(&config, &client, &error));
  AT("credentials.token");
  config.credentials = NULL;
  config.allow_plain_http = 2;
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_client_new(&config, &client, &error));
  AT("config.allow_plain_http");
  config.allow_plain_http = 1;
  config.ca_certificate = str("no certificate");
  GIVES(EDGE_REPORT_E_CA_CERTIFICATE, edge_report_client_new(&config, &client, &error));
  AT("config.ca_certificate");
  CHECK(error.detail[0] != '\0');
  config.ca_certificate = str(NULL);
  config.client_key = str("no key");
  GIVES(EDGE_REPORT_E_CLIENT_CERTIFICATE, edge_report_client_new(&config, &client, &error));
  AT("config.client_certificate");
  config.client_key = str(NULL);
  config.proxy = str("no URL");
  GIVES(EDGE_REPORT_E_PROXY, edge_report_client_new(&config, &client, &error));
  AT("config.proxy");
  config.proxy = str(NULL);
  uint32_t *times[] = {&config.connect_timeout_ms, &config.tls_timeout_ms,   &config.send_timeout_ms,
                       &config.response_timeout_ms, &config.total_timeout_ms, &config.max_idle_ms};
  const char *names[] = {"connect", "tls", "send", "response", "total"};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    *times[i] = 86400001;
    GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_client_new(&config, &client, &error));
    CHECK(strncmp(error.path, "config.", 7) == 0 && strstr(error.path, i < 5 ? names[i] : "max_idle_ms"));
    *times[i] = 86400000;
  }
  config.proxy = str("http://127.0.0.1:99999");
  GIVES(EDGE_REPORT_E_PROXY, edge_report_client_new(&config, &client, NULL));
  config.proxy = str(NULL);
  config.min_rate = UINT32_MAX;
  config.known_time_ms = INT64_MIN;
  OK(edge_report_client_new(&config, &client, NULL));
  edge_report_tls tls = EDGE_REPORT_TLS_INIT;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_set_tls(client, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_set_tls(NULL, &tls, NULL));
  OK(edge_report_client_set_tls(client, &tls, NULL));
  tls.ca_certificate = str("/etc/ssl/own.pem");
  GIVES(EDGE_REPORT_E_CA_CERTIFICATE, edge_report_client_set_tls(client, &tls, &error));
  CHECK(strstr(error.detail, "the file's content is wanted"));
  AT("tls.ca_certificate");
  tls.ca_certificate = str(NULL);
  tls.client_certificate = str("no key with it");
  GIVES(EDGE_REPORT_E_CLIENT_CERTIFICATE, edge_report_client_set_tls(client, &tls, &error));
  AT("tls.client_key");
  OK(edge_report_client_set_known_time(client, INT64_MAX, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_set_known_time(NULL, 0, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_send(client, NULL, &reply, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_send_encoded(client, NULL, 1, &reply, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_send_encoded(client, "{}", 2, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_send_encoded(NULL, "{}", 2, &reply, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_deliver(client, NULL, NULL, 0, NULL, NULL, NULL));
  edge_report_lock lock = {sizeof lock, NULL, NULL, NULL};
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_deliver(client, NULL, &lock, 0, NULL, NULL, &error));
  AT("lock");
  edge_report_credentials credentials = EDGE_REPORT_CREDENTIALS_INIT;
  credentials.token = str("two\nlines");
  GIVES(EDGE_REPORT_E_TOKEN, edge_report_client_set_credentials(client, &credentials, &error));
  AT("credentials.token");
  OK(edge_report_client_set_clock_offset(client, INT64_MIN, NULL));
  edge_report_client_free(client);
  edge_report_client_free(NULL);

  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_courier_new_spool(str(NULL), NULL, NULL, 0, 0, &courier, NULL));
  options.max_bytes = 1;
  GIVES(EDGE_REPORT_E_SPOOL_OPTIONS, edge_report_courier_new_spool(str("x"), &options, NULL, 0, 0, &courier, NULL));
  GIVES(EDGE_REPORT_E_STORAGE, edge_report_courier_new_spool(str("no/such/place"), NULL, NULL, 0, 0, &courier, &error));
  CHECK(error.device_error == 2 && strstr(error.detail, "no/such"));
  GIVES(EDGE_REPORT_E_STORAGE, edge_report_courier_new_spool(view("a\0b", 3), NULL, NULL, 0, 0, &courier, NULL));
}
#endif

int main(void) {
  texts();
  values();
  likely_mistakes();
  suggestions();
  outputs();
  writers();
  exchanges();
  couriers();
  storages();
#ifndef EDGE_REPORT_BARE
  hosts();
#endif
  CHECK(strcmp(edge_report_version(), EDGE_REPORT_VERSION) == 0);
  CHECK(strcmp(edge_report_result_name(12345), "Unknown") == 0);
  return done("misuse", 900);
}
