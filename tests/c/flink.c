/* A watch of a Flink cluster from C: one walk, wrong use, memory and buffers of each size, a table over a restart. Also built for the bare library. The
 * vectors are in vectors.c. */
#include "test.h"

#define JID "000000000000000000000000000183c6"
#define OVERVIEW "{\"jobs\":[{\"jid\":\"" JID "\",\"name\":\"edge\",\"state\":\"FAILED\",\"start-time\":1795401196385,\"end-time\":1795401197594}]}"
#define DETAILS "{\"jid\":\"" JID "\",\"state\":\"FAILED\",\"timestamps\":{\"RUNNING\":1795401196405}}"
#define EXCEPTIONS "{\"root-exception\":\"java.lang.IllegalStateException: out of range\\n\\tat Edge.map(Edge.java:17)\"}"
#define MESSAGE_ID "node-7-" JID "-FAILED-1795401197594"

enum { JOBS = 4, TEXTS = 4096 };
static uint64_t memory[(EDGE_REPORT_FLINK_MEMORY(JOBS, TEXTS) + 7) / 8];
static char buffer[EDGE_REPORT_FLINK_REPORT(TEXTS)];
static edge_report_error error = EDGE_REPORT_ERROR_INIT;
static edge_report_flink_step step = EDGE_REPORT_FLINK_STEP_INIT;

/* The last call failed with this path. */
#define AT(wanted_path) CHECK(strcmp(error.path, wanted_path) == 0)
#define TEXT(view, wanted) CHECK(same(view, wanted, strlen(wanted)))

static edge_report_flink *made(const edge_report_flink_config *config) {
  edge_report_flink *flink = NULL;
  OK(edge_report_flink_new(memory, EDGE_REPORT_FLINK_MEMORY(JOBS, TEXTS), JOBS, config, &flink, &error));
  return flink;
}

static edge_report_result next(edge_report_flink *flink, uint64_t now) {
  return edge_report_flink_next(flink, now, buffer, sizeof buffer, &step, &error);
}

static edge_report_result response(edge_report_flink *flink, uint32_t status, const char *body, uint64_t now) {
  return edge_report_flink_response(flink, status, body, strlen(body), now, &error);
}

/* It asks for this path, and gets this. */
static void asks(edge_report_flink *flink, uint64_t now, const char *path, const char *body) {
  OK(next(flink, now));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_GET);
  TEXT(step.path, path);
  OK(response(flink, 200, body, now));
}

/* A job that failed, up to its report. */
static void walk(edge_report_flink *flink) {
  asks(flink, 0, "/jobs/overview", OVERVIEW);
  OK(next(flink, 1));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_WAIT && step.wait_ms == 2999);
  asks(flink, 3000, "/jobs/" JID, DETAILS);
  asks(flink, 3000, "/jobs/" JID "/exceptions?maxExceptions=1", EXCEPTIONS);
}

static void one_walk(void) {
  static uint64_t saved[64];
  size_t len = 0, saved_len = 0;
  edge_report_flink_state state = EDGE_REPORT_FLINK_STATE_INIT;
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  config.node = str("node-7");
  edge_report_flink *flink = made(&config);
  walk(flink);
  OK(next(flink, 3000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT && step.is_final == 1);
  TEXT(step.message_id, MESSAGE_ID);
  CHECK(step.body.ptr == buffer);
  static const char begins[] = "{\"jobs\":[{\"job_id\":99270,\"status\":\"job_running_exception\",\"create_time\":1795401196385,";
  CHECK(step.body.len > sizeof begins && memcmp(step.body.ptr, begins, sizeof begins - 1) == 0);
  OK(edge_report_check(step.body.ptr, step.body.len, NULL, 0, &summary, NULL));
  len = step.body.len;
  /* Each buffer is either enough or not, and the error tells what is. */
  for (size_t room = 0; room < len; room++) {
    edge_report_flink_step before = step;
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_flink_next(flink, 3000, room ? buffer : NULL, room, &step, &error));
    CHECK(error.needed == len && memcmp(&before, &step, sizeof step) == 0);
  }
  OK(edge_report_flink_next(flink, 3000, buffer, len, &step, &error));
  /* Not stored: it comes again, the same. */
  OK(edge_report_flink_reported(flink, 0, &error));
  OK(next(flink, 3000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_WAIT);
  asks(flink, 5000, "/jobs/overview", OVERVIEW);
  OK(next(flink, 8000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT && step.body.len == len);
  OK(edge_report_flink_status(flink, &state, &error));
  CHECK(state.jobs == 1 && state.unreported == 1 && state.unwatched == 0 && state.is_up == 1);
  OK(edge_report_flink_reported(flink, 1, &error));
  OK(edge_report_flink_status(flink, &state, &error));
  CHECK(state.unreported == 0 && state.needs_saving == 1 && state.saved_len <= sizeof saved);

  for (size_t room = 0; room <= state.saved_len; room++) {
    edge_report_result result = edge_report_flink_save(flink, room ? saved : NULL, room, &saved_len, &error);
    if (result == EDGE_REPORT_OK) break;
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, result);
    CHECK(saved_len == state.saved_len && error.needed == saved_len);
  }
  CHECK(saved_len > 0 && saved_len <= state.saved_len);
  OK(edge_report_flink_status(flink, &state, &error));
  CHECK(state.needs_saving == 0);
  edge_report_flink_free(flink);
  GIVES(EDGE_REPORT_E_NOT_USABLE, next(flink, 9000));
  AT("flink");

  /* After a restart the end is known. */
  flink = made(&config);
  OK(edge_report_flink_restore(flink, saved, saved_len, 0, &error));
  asks(flink, 0, "/jobs/overview", OVERVIEW);
  OK(next(flink, 3000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_WAIT);
  edge_report_flink_free(flink);
  /* A damaged table is none, and the end comes again with the message id that it had. */
  flink = made(&config);
  ((unsigned char *)saved)[20] ^= 1;
  GIVES(EDGE_REPORT_E_FLINK_TABLE, edge_report_flink_restore(flink, saved, saved_len, 0, &error));
  AT("table");
  GIVES(EDGE_REPORT_E_FLINK_TABLE, edge_report_flink_restore(flink, NULL, 0, 0, &error));
  walk(flink);
  OK(next(flink, 3000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT && step.body.len == len);
  TEXT(step.message_id, MESSAGE_ID);
  edge_report_flink_free(flink);
}

static void responses(void) {
  edge_report_flink *flink = made(NULL);
  GIVES(EDGE_REPORT_E_FLINK_NOT_ASKED, response(flink, 200, OVERVIEW, 0));
  OK(edge_report_flink_failed(flink, 0, &error));
  OK(edge_report_flink_reported(flink, 1, &error));
  OK(next(flink, 0));
  GIVES(EDGE_REPORT_E_FLINK_STATUS, response(flink, 503, "{\"errors\":[]}", 0));
  GIVES(EDGE_REPORT_E_FLINK_NOT_ASKED, response(flink, 200, OVERVIEW, 0));
  OK(next(flink, 5000));
  GIVES(EDGE_REPORT_E_FLINK_JOB_ID, response(flink, 200, "{\"jobs\":[{\"jid\":\"7\"}]}", 5000));
  AT("jid");
  CHECK(error.offset == 16);
  OK(next(flink, 10000));
  GIVES(EDGE_REPORT_E_JSON_UNEXPECTED_END, edge_report_flink_response(flink, 200, NULL, 0, 10000, &error));
  CHECK(error.offset == 0);
  OK(next(flink, 15000));
  OK(edge_report_flink_failed(flink, 15000, NULL));
  OK(next(flink, 15000));
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_WAIT && step.wait_ms == 5000);
  OK(next(flink, 20000));
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, response(flink, 65536, "", 20000));
  AT("status");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_response(flink, 200, NULL, 1, 20000, &error));
  AT("body");
  /* Nothing of that was taken for a response. */
  OK(response(flink, 200, "{\"jobs\":[]}", 20000));
  edge_report_flink_free(flink);
}

static void wrong_use(void) {
  edge_report_flink *flink = NULL, *good = made(NULL);
  edge_report_flink_state state = EDGE_REPORT_FLINK_STATE_INIT;
  size_t len = 0;
  int64_t id = 0;
  char jid[EDGE_REPORT_FLINK_JID_SIZE];
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_new(NULL, 9, 1, NULL, &flink, &error));
  AT("memory");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_new(memory, sizeof memory, 1, NULL, NULL, &error));
  AT("flink");
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_flink_new(memory, sizeof memory, 0, NULL, &flink, &error));
  AT("jobs");
  GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_flink_new(memory, sizeof memory, SIZE_MAX, NULL, &flink, &error));
  GIVES(EDGE_REPORT_E_NULL_POINTER, next(NULL, 0));
  AT("flink");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_next(good, 0, buffer, sizeof buffer, NULL, &error));
  AT("step");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_next(good, 0, NULL, 1, &step, &error));
  AT("buffer");
  GIVES(EDGE_REPORT_E_OUT_OF_RANGE, next((edge_report_flink *)(void *)((char *)good + 1), 0));
  GIVES(EDGE_REPORT_E_NULL_POINTER, response(NULL, 200, "", 0));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_failed(NULL, 0, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_reported(NULL, 1, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_stop_asked(NULL, str(JID), NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_stop_asked(good, str(NULL), NULL, &error));
  AT("jid");
  GIVES(EDGE_REPORT_E_FLINK_JOB_ID, edge_report_flink_stop_asked(good, str("183c6"), NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_job_id(NULL, str(JID), str(NULL), &id, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_job_id(good, str(JID), str(NULL), NULL, NULL));
  GIVES(EDGE_REPORT_E_JSON_NOT_UTF8, edge_report_flink_job_id(good, str(JID), str("\xff"), &id, &error));
  AT("name");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_jid(7, NULL, NULL));
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, edge_report_flink_jid(0, jid, &error));
  AT("job_id");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_save(NULL, buffer, 1, &len, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_save(good, buffer, 1, NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_save(good, NULL, 1, &len, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_restore(NULL, buffer, 1, 0, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_restore(good, NULL, 1, 0, &error));
  AT("table");
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_status(NULL, &state, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_status(good, NULL, NULL));
  edge_report_flink_free(NULL);
  edge_report_flink_free(good);
  edge_report_flink_free(good);
  GIVES(EDGE_REPORT_E_NOT_USABLE, response(good, 200, "", 0));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_failed(good, 0, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_reported(good, 1, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_stop_asked(good, str(JID), NULL, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_job_id(good, str(JID), str(NULL), &id, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_save(good, buffer, 1, &len, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_restore(good, "", 0, 0, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_flink_status(good, &state, NULL));
}

static void configurations(void) {
  edge_report_flink *flink = NULL;
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  edge_report_flink_mapped_job mapped = {EDGE_REPORT_STR("edge"), 7};
  struct {
    uint32_t *member;
    uint32_t value;
    const char *path;
  } wrong[] = {
      {&config.requests, 65536, "config.requests"},
      {&config.plan, 3, "config.plan"},
      {&config.other_ids, 3, "config.other_ids"},
      {&config.exceptions_as_text, 2, "config.exceptions_as_text"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    uint32_t before = *wrong[i].member;
    *wrong[i].member = wrong[i].value;
    GIVES(EDGE_REPORT_E_OUT_OF_RANGE, edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error));
    AT(wrong[i].path);
    *wrong[i].member = before;
  }
  config.node = str("\xff");
  GIVES(EDGE_REPORT_E_JSON_NOT_UTF8, edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error));
  AT("config.node");
  config.node = str(NULL);
  config.metrics = view(NULL, 1);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error));
  AT("config.metrics");
  config.metrics = str(NULL);
  config.mapped_len = 1;
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error));
  AT("config.mapped");
  config.mapped = &mapped;
  mapped.job = str(NULL);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error));
  AT("config.mapped.job");
  mapped.job = str("edge");
  /* The table is copied; the least memory is told, at any alignment; nothing behind it is touched. */
  for (size_t skip = 0; skip < 8; skip++) {
    unsigned char *at = (unsigned char *)memory + skip;
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_flink_new(at, 0, JOBS, &config, &flink, &error));
    size_t needed = error.needed;
    CHECK(needed <= EDGE_REPORT_FLINK_MEMORY(JOBS, 0) + sizeof mapped);
    GIVES(EDGE_REPORT_E_BUFFER_TOO_SMALL, edge_report_flink_new(at, needed - 1, JOBS, &config, &flink, &error));
    memset(at + needed, 0xa5, 16);
    OK(edge_report_flink_new(at, needed, JOBS, &config, &flink, &error));
    memset(&mapped, 0xff, sizeof mapped);
    int64_t id = 0;
    OK(edge_report_flink_job_id(flink, str(JID), str("edge"), &id, &error));
    CHECK(id == 7);
    mapped.job = str("edge");
    mapped.job_id = 7;
    /* Without a byte for texts a status is reported all the same. */
    asks(flink, 0, "/jobs/overview", OVERVIEW);
    asks(flink, 3000, "/jobs/" JID, DETAILS);
    asks(flink, 3000, "/jobs/" JID "/exceptions?maxExceptions=1", EXCEPTIONS);
    OK(next(flink, 3000));
    CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT);
    OK(edge_report_flink_reported(flink, 1, &error));
    for (int i = 0; i < 16; i++) CHECK(at[needed + i] == 0xa5);
    edge_report_flink_free(flink);
  }
}

static void ids(void) {
  char jid[EDGE_REPORT_FLINK_JID_SIZE];
  int64_t id = -1;
  uint32_t is_known = 9;
  edge_report_flink *flink = made(NULL);
  OK(edge_report_flink_jid(99270, jid, &error));
  CHECK(strcmp(jid, JID) == 0);
  OK(edge_report_flink_job_id(flink, str(jid), str(NULL), &id, &error));
  CHECK(id == 99270);
  OK(edge_report_flink_job_id(flink, str("86e800e9cadd207fdd53824a4d38f79c"), str("edge"), &id, &error));
  CHECK(id == INT64_C(2508777619210884037));
  /* A stop with a savepoint ends as FINISHED. */
  OK(edge_report_flink_stop_asked(flink, str(JID), &is_known, &error));
  CHECK(is_known == 0);
  asks(flink, 0, "/jobs/overview", "{\"jobs\":[{\"jid\":\"" JID "\",\"name\":\"edge\",\"state\":\"FINISHED\",\"start-time\":1,\"end-time\":9}]}");
  OK(edge_report_flink_stop_asked(flink, str(JID), &is_known, &error));
  CHECK(is_known == 1);
  asks(flink, 3000, "/jobs/" JID, "{\"jid\":\"" JID "\",\"state\":\"FINISHED\"}");
  OK(next(flink, 3000));
  static const char wanted[] = "\"status\":\"job_cancel_success\"";
  buffer[step.body.len] = 0;
  CHECK(step.kind == EDGE_REPORT_FLINK_STEP_REPORT && strstr(buffer, wanted));
  edge_report_flink_free(flink);
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  config.other_ids = EDGE_REPORT_FLINK_IDS_NONE;
  flink = made(&config);
  OK(edge_report_flink_job_id(flink, str("86e800e9cadd207fdd53824a4d38f79c"), str("edge"), &id, &error));
  CHECK(id == 0);
  edge_report_flink_free(flink);
}

int main(void) {
  one_walk();
  responses();
  wrong_use();
  configurations();
  ids();
  return done("flink", 1200);
}
