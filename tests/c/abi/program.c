/* A program as it was built with the first header of this SONAME, and runs with every library of it: program SPOOL-DIRECTORY. It is never
 * changed: what it does must go on as it did. It is also linked with a library whose structs have all grown (the feature test-next). */
#include "edge_report-0.1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;
static void check(int holds, const char *what, int line) {
  if (holds) return;
  failed++;
  fprintf(stderr, "program.c:%d: %s\n", line, what);
}
#define CHECK(condition) check((condition) != 0, #condition, __LINE__)
#define OK(call) CHECK((call) == EDGE_REPORT_OK)

/* Each struct has a fence behind it, which the library must not touch. */
#define FENCED(type, name, init)       \
  struct {                             \
    type it;                           \
    unsigned char fence[64];           \
  } name = {init, {0}};                \
  memset(name.fence, 0xa5, sizeof name.fence)
#define WHOLE(name) CHECK(is_whole(name.fence))

static int is_whole(const unsigned char *fence) {
  for (int i = 0; i < 64; i++)
    if (fence[i] != 0xa5) return 0;
  return 1;
}

static int32_t each(void *user, edge_report_storage_each tell, void *context) { return (void)user, (void)tell, (void)context, 0; }
static int32_t with_id(void *user, uint32_t id) { return (void)user, (void)id, 0; }
static int32_t create(void *user, uint32_t id, size_t len) { return (void)user, (void)id, (void)len, 0; }
static int32_t read_at(void *user, uint32_t id, size_t at, uint8_t *to, size_t len) {
  return (void)user, (void)id, (void)at, (void)to, (void)len, 0;
}
static int32_t write_at(void *user, uint32_t id, size_t at, const uint8_t *from, size_t len) {
  return (void)user, (void)id, (void)at, (void)from, (void)len, 0;
}

static void reports(void) {
  FENCED(edge_report_exception, exception, EDGE_REPORT_EXCEPTION_INIT);
  FENCED(edge_report_error, error, EDGE_REPORT_ERROR_INIT);
  FENCED(edge_report_summary, summary, EDGE_REPORT_SUMMARY_INIT);
  edge_report_job jobs[3] = {EDGE_REPORT_JOB_INIT};
  edge_report_finding findings[3] = {EDGE_REPORT_FINDING_INIT};
  edge_report_report report = EDGE_REPORT_REPORT_INIT;
  edge_report_writer writer;
  char body[1024], again[1024];
  size_t len = 0, again_len = 0;
  exception.it.error_id = edge_report_str_of("Agent.51000");
  exception.it.error_time_ms = 1591104868201;
  for (int i = 0; i < 3; i++) {
    jobs[i].job_id = i + 1;
    jobs[i].status = edge_report_str_of(i == 2 ? "running" : EDGE_REPORT_STATUS_RUNNING);
    jobs[i].create_time = i == 1 ? 1591104868 : 1591104868201;
    jobs[i].exception = i == 0 ? &exception.it : NULL;
  }
  report.jobs = jobs;
  report.jobs_len = 3;
  report.message_id = edge_report_str_of("1");
  report.msg_confirm_topic = edge_report_str_of("t");
  OK(edge_report_encode(&report, body, sizeof body, &len, &error.it));
  OK(edge_report_writer_init(&writer, again, sizeof again, report.msg_confirm_topic, report.message_id, NULL));
  for (int i = 0; i < 3; i++) {
    jobs[i].struct_size = sizeof jobs[i];
    OK(edge_report_writer_job(&writer, &jobs[i], NULL));
  }
  OK(edge_report_writer_finish(&writer, &again_len, NULL));
  CHECK(len == again_len && memcmp(body, again, len) == 0);
  OK(edge_report_check(body, len, findings, 3, &summary.it, NULL));
  CHECK(summary.it.errors == 0 && summary.it.warnings == 2);
  CHECK(findings[0].code == EDGE_REPORT_W_LOOKS_LIKE_SECONDS && findings[0].job == 1);
  CHECK(findings[1].code == EDGE_REPORT_W_UNKNOWN_STATUS && findings[1].job == 2 && strcmp(findings[1].path, "jobs[2].status") == 0);
  CHECK(findings[2].code == 0 && findings[2].struct_size == 0);
  jobs[1].job_id = -1;
  CHECK(edge_report_encode(&report, body, sizeof body, &len, &error.it) == EDGE_REPORT_E_NOT_POSITIVE);
  CHECK(error.it.code == EDGE_REPORT_E_NOT_POSITIVE && strcmp(error.it.path, "jobs[1].job_id") == 0 && error.it.detail[0] == 0);
  WHOLE(exception);
  WHOLE(error);
  WHOLE(summary);
}

static void exchanges(void) {
  FENCED(edge_report_credentials, keys, EDGE_REPORT_CREDENTIALS_INIT);
  FENCED(edge_report_http_request, request, EDGE_REPORT_HTTP_REQUEST_INIT);
  FENCED(edge_report_signable, signable, EDGE_REPORT_SIGNABLE_INIT);
  FENCED(edge_report_signature, signature, EDGE_REPORT_SIGNATURE_INIT);
  FENCED(edge_report_reply, reply, EDGE_REPORT_REPLY_INIT);
  static const char text[] = "{\"error_code\":\"DLI.0001\",\"error_msg\":\"no\"}";
  edge_report_str none = {NULL, 0};
  char scratch[1024];
  keys.it.access_key = edge_report_str_of("AK");
  keys.it.secret_key = edge_report_str_of("SK");
  OK(edge_report_request(edge_report_str_of("https://a"), edge_report_str_of("p"), &keys.it, "{}", 2, 1591104868201, scratch, sizeof scratch,
                         &request.it, NULL));
  CHECK(request.it.headers_len == 5 || request.it.headers_len == 4);
  CHECK(request.it.headers[0].name.len == 4 && memcmp(request.it.headers[0].name.ptr, "Host", 4) == 0);
  signable.it.method = edge_report_str_of("GET");
  signable.it.host = edge_report_str_of("a");
  signable.it.path = edge_report_str_of("/");
  OK(edge_report_sign(&signable.it, &keys.it, 1591104868201, scratch, sizeof scratch, &signature.it, NULL));
  CHECK(signature.it.x_sdk_date.len == 16 && signature.it.authorization.len > 64);
  OK(edge_report_read_reply(400, none, none, text, sizeof text - 1, 0, &reply.it, NULL));
  CHECK(reply.it.outcome == EDGE_REPORT_OUTCOME_REFUSED && reply.it.status == 400 && reply.it.error_code.len == 8);
  WHOLE(keys);
  WHOLE(request);
  WHOLE(signable);
  WHOLE(signature);
  WHOLE(reply);
}

/* One report is refused, one is tried again. */
static void deliver(edge_report_courier *courier) {
  FENCED(edge_report_step, step, EDGE_REPORT_STEP_INIT);
  FENCED(edge_report_verdict, verdict, EDGE_REPORT_VERDICT_INIT);
  FENCED(edge_report_letter, letter, EDGE_REPORT_LETTER_INIT);
  FENCED(edge_report_courier_state, state, EDGE_REPORT_COURIER_STATE_INIT);
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_error failure = EDGE_REPORT_ERROR_INIT;
  edge_report_job job = EDGE_REPORT_JOB_INIT;
  edge_report_report report = EDGE_REPORT_REPORT_INIT;
  uint64_t ticket = 0;
  job.status = edge_report_str_of(EDGE_REPORT_STATUS_RUNNING);
  job.create_time = 1591104868201;
  report.jobs = &job;
  report.jobs_len = 1;
  report.message_id = edge_report_str_of("1");
  OK(edge_report_courier_submit(courier, &report, 0, 0, &ticket, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  CHECK(ticket == 1);
  OK(edge_report_courier_next(courier, 0, &step.it, NULL));
  CHECK(step.it.kind == EDGE_REPORT_STEP_SEND && step.it.ticket == 1 && step.it.body.len > 0);
  reply.outcome = EDGE_REPORT_OUTCOME_REFUSED;
  reply.status = 400;
  reply.error_code = edge_report_str_of("DLI.0001");
  OK(edge_report_courier_settle(courier, 1, EDGE_REPORT_OK, &reply, NULL, 0, 0, &verdict.it, NULL));
  CHECK(verdict.it.kind == EDGE_REPORT_VERDICT_REFUSED && strcmp(verdict.it.reason.error_code, "DLI.0001") == 0);
  OK(edge_report_courier_dead_letter(courier, 0, &letter.it, NULL));
  CHECK(letter.it.ticket == 1 && letter.it.reason.status == 400);
  OK(edge_report_courier_next(courier, 1000000, &step.it, NULL));
  CHECK(step.it.kind == EDGE_REPORT_STEP_SEND && step.it.ticket == 2);
  strcpy(failure.detail, "no route");
  OK(edge_report_courier_settle(courier, 2, EDGE_REPORT_E_NOT_SENT, NULL, &failure, 1000000, 0, &verdict.it, NULL));
  CHECK(verdict.it.kind == EDGE_REPORT_VERDICT_AGAIN && strcmp(verdict.it.reason.text, "no route") == 0 && verdict.it.at_ms > 1000000);
  OK(edge_report_courier_status(courier, &state.it, NULL));
  CHECK(state.it.submitted == 2 && state.it.refused == 1 && state.it.waiting == 1 && state.it.letters == 1 && state.it.failure_ticket == 2);
  WHOLE(step);
  WHOLE(verdict);
  WHOLE(letter);
  WHOLE(state);
  edge_report_courier_free(courier);
}

static void couriers(const char *spool) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + EDGE_REPORT_COURIER_SIZE + 7) / 8];
  FENCED(edge_report_courier_config, config, EDGE_REPORT_COURIER_CONFIG_INIT);
  FENCED(edge_report_spool_options, options, EDGE_REPORT_SPOOL_OPTIONS_INIT);
  edge_report_storage storage = EDGE_REPORT_STORAGE_INIT;
  edge_report_courier *courier = NULL;
  config.it.start_spread_ms = 0;
  config.it.report_bytes = 512;
  /* What the header's macros say is enough. */
  OK(edge_report_courier_new_ram(memory, EDGE_REPORT_COURIER_RAM(512), &config.it, 0, 0, &courier, NULL));
  deliver(courier);
  storage.segment_bytes = 512;
  storage.max_bytes = 4096;
  storage.list = each;
  storage.create = create;
  storage.read = read_at;
  storage.write = write_at;
  storage.sync = storage.discard = with_id;
  OK(edge_report_courier_new_storage(&storage, &storage, memory, EDGE_REPORT_COURIER_SIZE + 512, &config.it, 0, 0, &courier, NULL));
  edge_report_courier_free(courier);
  options.it.max_bytes = 1 << 20;
  OK(edge_report_courier_new_spool(edge_report_str_of(spool), &options.it, &config.it, 0, 0, &courier, NULL));
  deliver(courier);
  WHOLE(config);
  WHOLE(options);
}

/* A job that ended, to its report. */
static void watches(void) {
  static uint64_t memory[(EDGE_REPORT_FLINK_MEMORY(2, 4096) + 7) / 8];
  static char body[EDGE_REPORT_FLINK_REPORT(4096)], table[1024];
  static const char overview[] = "{\"jobs\":[{\"jid\":\"000000000000000000000000000183c6\",\"state\":\"FINISHED\",\"start-time\":1,\"end-time\":2}]}";
  static const char details[] = "{\"jid\":\"000000000000000000000000000183c6\",\"state\":\"FINISHED\"}";
  FENCED(edge_report_flink_config, config, EDGE_REPORT_FLINK_CONFIG_INIT);
  FENCED(edge_report_flink_step, step, EDGE_REPORT_FLINK_STEP_INIT);
  FENCED(edge_report_flink_state, state, EDGE_REPORT_FLINK_STATE_INIT);
  edge_report_flink_mapped_job mapped = {EDGE_REPORT_STR("000000000000000000000000000183c6"), 7};
  edge_report_flink *flink = NULL;
  size_t len = 0;
  config.it.mapped = &mapped;
  config.it.mapped_len = 1;
  OK(edge_report_flink_new(memory, sizeof memory, 2, &config.it, &flink, NULL));
  OK(edge_report_flink_next(flink, 0, body, sizeof body, &step.it, NULL));
  CHECK(step.it.kind == EDGE_REPORT_FLINK_STEP_GET && step.it.path.len == 14 && memcmp(step.it.path.ptr, "/jobs/overview", 14) == 0);
  OK(edge_report_flink_response(flink, 200, overview, sizeof overview - 1, 0, NULL));
  OK(edge_report_flink_next(flink, 0, body, sizeof body, &step.it, NULL));
  CHECK(step.it.kind == EDGE_REPORT_FLINK_STEP_WAIT && step.it.wait_ms == 3000);
  OK(edge_report_flink_next(flink, 3000, body, sizeof body, &step.it, NULL));
  OK(edge_report_flink_response(flink, 200, details, sizeof details - 1, 3000, NULL));
  OK(edge_report_flink_next(flink, 3000, body, sizeof body, &step.it, NULL));
  CHECK(step.it.kind == EDGE_REPORT_FLINK_STEP_REPORT && step.it.is_final == 1 && step.it.body.ptr == body && step.it.message_id.len > 0);
  CHECK(memcmp(body, "{\"jobs\":[{\"job_id\":7,\"status\":\"job_finish\"", 41) == 0);
  OK(edge_report_flink_reported(flink, 1, NULL));
  OK(edge_report_flink_save(flink, table, sizeof table, &len, NULL));
  OK(edge_report_flink_status(flink, &state.it, NULL));
  CHECK(state.it.jobs == 1 && state.it.unreported == 0 && state.it.needs_saving == 0 && state.it.is_up == 1 && len > 0 && len <= state.it.saved_len);
  OK(edge_report_flink_restore(flink, table, len, 0, NULL));
  WHOLE(config);
  WHOLE(step);
  WHOLE(state);
  edge_report_flink_free(flink);
}

static void hold(void *user) { ++*(int *)user; }

static void observe(void *user, const edge_report_event *event) {
  CHECK(event->struct_size >= sizeof *event);
  if (event->kind == EDGE_REPORT_EVENT_WAITING) CHECK(event->reason.code == EDGE_REPORT_E_NOT_SENT && event->message_id.len == 1);
  ++*(int *)user;
}

/* Nobody listens there. */
static void clients(void) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(1024) + 7) / 8];
  FENCED(edge_report_client_config, config, EDGE_REPORT_CLIENT_CONFIG_INIT);
  FENCED(edge_report_tls, tls, EDGE_REPORT_TLS_INIT);
  FENCED(edge_report_lock, lock, EDGE_REPORT_LOCK_INIT);
  FENCED(edge_report_observer, observer, EDGE_REPORT_OBSERVER_INIT);
  FENCED(edge_report_courier_state, state, EDGE_REPORT_COURIER_STATE_INIT);
  edge_report_courier_config policy = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_client *client = NULL;
  edge_report_courier *courier = NULL;
  edge_report_reporter *reporter = NULL;
  edge_report_pause pause = 0;
  int holds = 0, events = 0;
  static const char body[] = "{\"jobs\":[{\"status\":\"job_running\",\"create_time\":1591104868201}],\"message_id\":\"1\"}";
  config.it.base_url = edge_report_str_of("http://127.0.0.1:1");
  config.it.project_id = edge_report_str_of("p");
  OK(edge_report_client_new(&config.it, &client, NULL));
  OK(edge_report_client_set_tls(client, &tls.it, NULL));
  policy.start_spread_ms = 0;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &policy, edge_report_monotonic_ms(), 0, &courier, NULL));
  OK(edge_report_courier_submit_encoded(courier, body, sizeof body - 1, edge_report_monotonic_ms(), 0, NULL, NULL));
  lock.it.user = &holds;
  lock.it.lock = lock.it.unlock = hold;
  observer.it.user = &events;
  observer.it.event = observe;
  OK(edge_report_client_deliver(client, courier, &lock.it, 2000, &observer.it, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_TIME_UP && holds > 0 && events > 0);
  OK(edge_report_reporter_new(client, courier, &observer.it, &reporter, NULL));
  OK(edge_report_reporter_status(reporter, &state.it, NULL));
  CHECK(state.it.waiting == 1);
  OK(edge_report_reporter_stop(reporter, NULL));
  edge_report_reporter_free(reporter);
  WHOLE(config);
  WHOLE(tls);
  WHOLE(lock);
  WHOLE(observer);
  WHOLE(state);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  reports();
  exchanges();
  couriers(arguments[1]);
  watches();
  clients();
  printf("abi: %d failed\n", failed);
  return failed != 0;
}
