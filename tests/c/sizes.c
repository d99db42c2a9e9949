/* Structs that begin with their size: one that cannot be is told, with the macro to begin with; one of a newer header is taken as long as what
 * is unknown of it is not set; what is given back is no longer than the caller's. Also built for the bare library. */
#include "test.h"

enum { MORE = 16 };

/* A struct as a newer header has it. */
#define NEWER(type, name)             \
  static struct {                     \
    type known;                       \
    unsigned char more[MORE];         \
  } name

NEWER(edge_report_exception, exception);
NEWER(edge_report_job, job);
NEWER(edge_report_report, report);
NEWER(edge_report_error, error);
NEWER(edge_report_finding, finding);
NEWER(edge_report_summary, summary);
NEWER(edge_report_credentials, keys);
NEWER(edge_report_http_request, request);
NEWER(edge_report_signable, signable);
NEWER(edge_report_signature, signature);
NEWER(edge_report_reply, reply);
NEWER(edge_report_storage, storage);
NEWER(edge_report_courier_config, config);
NEWER(edge_report_step, step);
NEWER(edge_report_verdict, verdict);
NEWER(edge_report_courier_state, state);
NEWER(edge_report_letter, letter);
NEWER(edge_report_flink_config, flink_config);
NEWER(edge_report_flink_step, flink_step);
NEWER(edge_report_flink_state, flink_state);
#ifndef EDGE_REPORT_BARE
NEWER(edge_report_client_config, client_config);
NEWER(edge_report_tls, tls);
NEWER(edge_report_lock, lock);
NEWER(edge_report_observer, observer);
NEWER(edge_report_spool_options, options);
static edge_report_client *client;
static const char *spool;
#endif

static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + EDGE_REPORT_COURIER_SIZE + 7) / 8];
static uint64_t other_memory[sizeof memory / 8];
static uint64_t flink_memory[(EDGE_REPORT_FLINK_MEMORY(1, 8) + 7) / 8];
static edge_report_courier *courier;
static edge_report_flink *flink;
static char buffer[512];
static size_t len;
/* Where the calls tell what is wrong. */
static edge_report_error told = EDGE_REPORT_ERROR_INIT;

static edge_report_result encode(void) { return edge_report_encode(&report.known, buffer, sizeof buffer, &len, &told); }
static edge_report_result with_error(void) { return edge_report_encode(&report.known, buffer, sizeof buffer, &len, &error.known); }
static edge_report_result check(void) { return edge_report_check("{}", 2, &finding.known, 1, &summary.known, &told); }
static edge_report_result make_request(void) {
  return edge_report_request(str("https://a"), str("p"), &keys.known, "", 0, 0, buffer, sizeof buffer, &request.known, &told);
}
static edge_report_result sign(void) {
  return edge_report_sign(&signable.known, &keys.known, 0, buffer, sizeof buffer, &signature.known, &told);
}
static edge_report_result read_reply(void) {
  return edge_report_read_reply(200, str(NULL), str(NULL), "{\"is_success\":true}", 19, 0, &reply.known, &told);
}
static edge_report_result new_ram(void) {
  edge_report_courier *made = NULL;
  edge_report_result result = edge_report_courier_new_ram(other_memory, sizeof other_memory, &config.known, 0, 0, &made, &told);
  edge_report_courier_free(made);
  return result;
}
static edge_report_result next(void) { return edge_report_courier_next(courier, UINT64_MAX, &step.known, &told); }
static edge_report_result settle(void) {
  edge_report_step sent = EDGE_REPORT_STEP_INIT;
  OK(edge_report_courier_next(courier, UINT64_MAX, &sent, NULL));
  reply.known.outcome = EDGE_REPORT_OUTCOME_TRY_AGAIN;
  return edge_report_courier_settle(courier, sent.ticket, EDGE_REPORT_OK, &reply.known, NULL, 0, 0, &verdict.known, &told);
}
static edge_report_result settle_failed(void) {
  edge_report_step sent = EDGE_REPORT_STEP_INIT;
  OK(edge_report_courier_next(courier, UINT64_MAX, &sent, NULL));
  return edge_report_courier_settle(courier, sent.ticket, EDGE_REPORT_E_NOT_SENT, NULL, &error.known, 0, 0, NULL, &told);
}
static edge_report_result status(void) { return edge_report_courier_status(courier, &state.known, &told); }
static edge_report_result find_letter(void) { return edge_report_courier_find_dead_letter(courier, 1, &letter.known, &told); }
static edge_report_result first_letter(void) { return edge_report_courier_dead_letter(courier, 0, &letter.known, &told); }

static edge_report_result new_flink(void) {
  return edge_report_flink_new(flink_memory, sizeof flink_memory, 1, &flink_config.known, &flink, &told);
}
static edge_report_result flink_next(void) { return edge_report_flink_next(flink, 0, buffer, sizeof buffer, &flink_step.known, &told); }
static edge_report_result flink_status(void) { return edge_report_flink_status(flink, &flink_state.known, &told); }

static int32_t none(void *user, edge_report_storage_each each, void *context) { return (void)user, (void)each, (void)context, 0; }
static int32_t id_only(void *user, uint32_t id) { return (void)user, (void)id, 0; }
static int32_t create(void *user, uint32_t id, size_t size) { return (void)user, (void)id, (void)size, 0; }
static int32_t read(void *user, uint32_t id, size_t at, uint8_t *to, size_t size) {
  return (void)user, (void)id, (void)at, (void)to, (void)size, 0;
}
static int32_t write(void *user, uint32_t id, size_t at, const uint8_t *from, size_t size) {
  return (void)user, (void)id, (void)at, (void)from, (void)size, 0;
}
static edge_report_result new_storage(void) {
  edge_report_courier *made = NULL;
  edge_report_storage dead = storage.known;
  dead.struct_size = sizeof dead;
  edge_report_result result =
      edge_report_courier_new_storage(&storage.known, &dead, other_memory, sizeof other_memory, NULL, 0, 0, &made, &told);
  edge_report_courier_free(made);
  return result;
}

#ifndef EDGE_REPORT_BARE
static void hold(void *user) { (void)user; }
static edge_report_result new_client(void) {
  edge_report_client *made = NULL;
  edge_report_result result = edge_report_client_new(&client_config.known, &made, &told);
  edge_report_client_free(made);
  return result;
}
static edge_report_result set_tls(void) { return edge_report_client_set_tls(client, &tls.known, &told); }
static void observe(void *user, const edge_report_event *event) { (void)user, (void)event; }
static edge_report_result deliver(void) {
  return edge_report_client_deliver(client, courier, &lock.known, 0, &observer.known, NULL, &told);
}
static edge_report_result new_spool(void) {
  edge_report_courier *made = NULL;
  edge_report_result result = edge_report_courier_new_spool(str(spool), &options.known, NULL, 0, 0, &made, &told);
  edge_report_courier_free(made);
  return result;
}
#endif

enum direction { IN, OUT };

/* All sizes of one struct in one call, which gives `wanted` if nothing is wrong with the size. */
static void sizes(const char *macro, const char *path, enum direction direction, void *object, size_t size, unsigned char *more,
                  edge_report_result wanted, edge_report_result (*call)(void)) {
  size_t *struct_size = (size_t *)object;
  size_t wrong[] = {0, 1, size - 1, 4097, SIZE_MAX};
  unsigned char before[sizeof(edge_report_courier_state) + sizeof(edge_report_error)];
  snprintf(about, sizeof about, "%s in %s", macro, path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    *struct_size = wrong[i];
    memcpy(before, object, size);
    GIVES(EDGE_REPORT_E_STRUCT_SIZE, call());
    if (object == &error && call == with_error) {
      /* It is told where it is wrong: every header has so much. */
      CHECK(error.known.struct_size == wrong[i] && error.known.code == EDGE_REPORT_E_STRUCT_SIZE);
      told = error.known;
    } else {
      CHECK(memcmp(before, object, size) == 0);
    }
    CHECK(strcmp(told.path, path) == 0 && told.code == EDGE_REPORT_E_STRUCT_SIZE);
#ifndef EDGE_REPORT_BARE
    CHECK(strcmp(told.detail + strlen("begin with "), macro) == 0);
#endif
    told = (edge_report_error)EDGE_REPORT_ERROR_INIT;
  }
  *struct_size = size;
  GIVES(wanted, call());
  *struct_size = size + MORE;
#ifdef EDGE_REPORT_BARE
  /* It is linked with the header that came with it. */
  (void)more, (void)direction;
  GIVES(EDGE_REPORT_E_STRUCT_SIZE, call());
#else
  GIVES(wanted, call());
  CHECK(*struct_size == size + MORE);
  for (int i = 0; i < MORE; i += MORE - 1) {
    more[i] = 1;
    GIVES(direction == IN ? EDGE_REPORT_E_STRUCT_SIZE : wanted, call());
    CHECK(more[i] == 1);
    if (direction == IN) CHECK(strstr(told.detail, "does not know"));
    more[i] = 0;
  }
#endif
  *struct_size = size;
  about[0] = 0;
}

#define SIZES(macro, path, direction, object, wanted, call) \
  sizes(macro, path, direction, &object, sizeof object.known, object.more, wanted, call)

#ifndef EDGE_REPORT_BARE
/* Structs in a row are as far apart as the first one says. */
static void rows(void) {
  struct {
    edge_report_job known;
    unsigned char more[MORE];
  } jobs[3];
  struct {
    edge_report_finding known;
    unsigned char more[MORE];
  } findings[3];
  static const char wrong[] = "{\"jobs\":1,\"message_id\":2,\"x\":3,\"y\":4}";
  edge_report_report all = report.known;
  memset(jobs, 0, sizeof jobs);
  for (int i = 0; i < 3; i++) {
    jobs[i].known = job.known;
    /* Those of the others do not count. */
    jobs[i].known.struct_size = i == 0 ? sizeof jobs[0] : 0;
    jobs[i].known.job_id = i + 1;
  }
  all.jobs = &jobs[0].known;
  all.jobs_len = 3;
  OK(edge_report_encode(&all, buffer, sizeof buffer, &len, &told));
  buffer[len] = 0;
  CHECK(strstr(buffer, "\"job_id\":1,") && strstr(buffer, "\"job_id\":2,") && strstr(buffer, "\"job_id\":3,"));
  jobs[2].known.job_id = -1;
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, edge_report_encode(&all, buffer, sizeof buffer, &len, &told));
  CHECK(strcmp(told.path, "jobs[2].job_id") == 0);
  jobs[2].more[0] = 1;
  GIVES(EDGE_REPORT_E_STRUCT_SIZE, edge_report_encode(&all, buffer, sizeof buffer, &len, &told));
  CHECK(strcmp(told.path, "jobs[2]") == 0);

  memset(findings, 0xaa, sizeof findings);
  findings[0].known.struct_size = sizeof findings[0];
  CHECK(edge_report_check(wrong, sizeof wrong - 1, &findings[0].known, 3, NULL, NULL) != EDGE_REPORT_OK);
  for (int i = 0; i < 3; i++) {
    CHECK(findings[i].known.struct_size == sizeof findings[0] && findings[i].known.code != 0 && findings[i].more[0] == 0xaa);
  }
  CHECK(strcmp(findings[0].known.path, "jobs") == 0 && strcmp(findings[1].known.path, "message_id") == 0);
}

#endif

int main(int count, char **arguments) {
  job.known = (edge_report_job)EDGE_REPORT_JOB_INIT;
  job.known.status = str("job_running");
  job.known.create_time = 1591104868201;
  exception.known = (edge_report_exception)EDGE_REPORT_EXCEPTION_INIT;
  report.known = (edge_report_report)EDGE_REPORT_REPORT_INIT;
  report.known.jobs = &job.known;
  report.known.jobs_len = 1;
  report.known.message_id = str("1");
  error.known = (edge_report_error)EDGE_REPORT_ERROR_INIT;
  finding.known = (edge_report_finding)EDGE_REPORT_FINDING_INIT;
  summary.known = (edge_report_summary)EDGE_REPORT_SUMMARY_INIT;
  keys.known = (edge_report_credentials)EDGE_REPORT_CREDENTIALS_INIT;
  keys.known.access_key = str("AK");
  keys.known.secret_key = str("SK");
  request.known = (edge_report_http_request)EDGE_REPORT_HTTP_REQUEST_INIT;
  signable.known = (edge_report_signable)EDGE_REPORT_SIGNABLE_INIT;
  signable.known.method = str("GET");
  signable.known.host = str("a");
  signable.known.path = str("/");
  signature.known = (edge_report_signature)EDGE_REPORT_SIGNATURE_INIT;
  reply.known = (edge_report_reply)EDGE_REPORT_REPLY_INIT;
  config.known = (edge_report_courier_config)EDGE_REPORT_COURIER_CONFIG_INIT;
  config.known.start_spread_ms = 0;
  storage.known = (edge_report_storage)EDGE_REPORT_STORAGE_INIT;
  storage.known.segment_bytes = 512;
  storage.known.max_bytes = 4096;
  storage.known.list = none;
  storage.known.create = create;
  storage.known.read = read;
  storage.known.write = write;
  storage.known.sync = id_only;
  storage.known.discard = id_only;
  step.known = (edge_report_step)EDGE_REPORT_STEP_INIT;
  verdict.known = (edge_report_verdict)EDGE_REPORT_VERDICT_INIT;
  state.known = (edge_report_courier_state)EDGE_REPORT_COURIER_STATE_INIT;
  letter.known = (edge_report_letter)EDGE_REPORT_LETTER_INIT;
  flink_config.known = (edge_report_flink_config)EDGE_REPORT_FLINK_CONFIG_INIT;
  flink_step.known = (edge_report_flink_step)EDGE_REPORT_FLINK_STEP_INIT;
  flink_state.known = (edge_report_flink_state)EDGE_REPORT_FLINK_STATE_INIT;
  config.known.report_bytes = 512;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config.known, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report.known, 0, 0, NULL, NULL));

  SIZES("EDGE_REPORT_ERROR_INIT", "error", OUT, error, EDGE_REPORT_OK, with_error);
  SIZES("EDGE_REPORT_REPORT_INIT", "report", IN, report, EDGE_REPORT_OK, encode);
  SIZES("EDGE_REPORT_JOB_INIT", "jobs", IN, job, EDGE_REPORT_OK, encode);
  job.known.exception = &exception.known;
  SIZES("EDGE_REPORT_EXCEPTION_INIT", "jobs[0].exceptions", IN, exception, EDGE_REPORT_OK, encode);
  job.known.exception = NULL;
  SIZES("EDGE_REPORT_FINDING_INIT", "findings", OUT, finding, EDGE_REPORT_E_MISSING, check);
  SIZES("EDGE_REPORT_SUMMARY_INIT", "summary", OUT, summary, EDGE_REPORT_E_MISSING, check);
  SIZES("EDGE_REPORT_CREDENTIALS_INIT", "credentials", IN, keys, EDGE_REPORT_OK, make_request);
  SIZES("EDGE_REPORT_CREDENTIALS_INIT", "credentials", IN, keys, EDGE_REPORT_OK, sign);
  SIZES("EDGE_REPORT_HTTP_REQUEST_INIT", "request", OUT, request, EDGE_REPORT_OK, make_request);
  SIZES("EDGE_REPORT_SIGNABLE_INIT", "request", IN, signable, EDGE_REPORT_OK, sign);
  SIZES("EDGE_REPORT_SIGNATURE_INIT", "signature", OUT, signature, EDGE_REPORT_OK, sign);
  SIZES("EDGE_REPORT_REPLY_INIT", "reply", OUT, reply, EDGE_REPORT_OK, read_reply);
  SIZES("EDGE_REPORT_COURIER_CONFIG_INIT", "config", IN, config, EDGE_REPORT_OK, new_ram);
  SIZES("EDGE_REPORT_STORAGE_INIT", "live", IN, storage, EDGE_REPORT_OK, new_storage);
  SIZES("EDGE_REPORT_STEP_INIT", "step", OUT, step, EDGE_REPORT_OK, next);
  SIZES("EDGE_REPORT_VERDICT_INIT", "verdict", OUT, verdict, EDGE_REPORT_OK, settle);
  SIZES("EDGE_REPORT_REPLY_INIT", "reply", IN, reply, EDGE_REPORT_OK, settle);
  SIZES("EDGE_REPORT_ERROR_INIT", "failure", IN, error, EDGE_REPORT_OK, settle_failed);
  SIZES("EDGE_REPORT_COURIER_STATE_INIT", "status", OUT, state, EDGE_REPORT_OK, status);
  SIZES("EDGE_REPORT_LETTER_INIT", "letter", OUT, letter, EDGE_REPORT_OK, find_letter);
  SIZES("EDGE_REPORT_LETTER_INIT", "letter", OUT, letter, EDGE_REPORT_OK, first_letter);
  SIZES("EDGE_REPORT_FLINK_CONFIG_INIT", "config", IN, flink_config, EDGE_REPORT_OK, new_flink);
  SIZES("EDGE_REPORT_FLINK_STEP_INIT", "step", OUT, flink_step, EDGE_REPORT_OK, flink_next);
  SIZES("EDGE_REPORT_FLINK_STATE_INIT", "status", OUT, flink_state, EDGE_REPORT_OK, flink_status);
  edge_report_flink_free(flink);
#ifndef EDGE_REPORT_BARE
  rows();
  if (count != 2) return 2;
  spool = arguments[1];
  client_config.known = (edge_report_client_config)EDGE_REPORT_CLIENT_CONFIG_INIT;
  client_config.known.base_url = str("http://127.0.0.1:9");
  client_config.known.project_id = str("p");
  tls.known = (edge_report_tls)EDGE_REPORT_TLS_INIT;
  lock.known = (edge_report_lock)EDGE_REPORT_LOCK_INIT;
  lock.known.lock = lock.known.unlock = hold;
  observer.known = (edge_report_observer)EDGE_REPORT_OBSERVER_INIT;
  observer.known.event = observe;
  options.known = (edge_report_spool_options)EDGE_REPORT_SPOOL_OPTIONS_INIT;
  OK(edge_report_client_new(&client_config.known, &client, NULL));
  SIZES("EDGE_REPORT_CLIENT_CONFIG_INIT", "config", IN, client_config, EDGE_REPORT_OK, new_client);
  SIZES("EDGE_REPORT_TLS_INIT", "tls", IN, tls, EDGE_REPORT_OK, set_tls);
  SIZES("EDGE_REPORT_LOCK_INIT", "lock", IN, lock, EDGE_REPORT_OK, deliver);
  SIZES("EDGE_REPORT_OBSERVER_INIT", "observer", IN, observer, EDGE_REPORT_OK, deliver);
  SIZES("EDGE_REPORT_SPOOL_OPTIONS_INIT", "options", IN, options, EDGE_REPORT_OK, new_spool);
  edge_report_client_free(client);
#else
  (void)count, (void)arguments;
#endif
  edge_report_courier_free(courier);
  return done("sizes", 350);
}
