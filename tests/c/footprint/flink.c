/* A watch of a Flink cluster: a job that failed, up to its report, and a table over a restart. */
#include "footprint.h"

#define JID "000000000000000000000000000183c6"
#define GIVE(answer) edge_report_flink_response(flink, 200, answer, sizeof answer - 1, now, &error)

static uint64_t memory[EDGE_REPORT_FLINK_MEMORY(8, 2048) / 8 + 1];
static char report[2048];
static char table[1024];
static const char overview[] = "{\"jobs\":[{\"jid\":\"" JID "\",\"name\":\"edge\",\"state\":\"FAILED\",\"start-time\":1795401196385,\"end-time\":1795401197594}]}";
static const char details[] = "{\"jid\":\"" JID "\",\"state\":\"FAILED\",\"timestamps\":{\"RUNNING\":1795401196405}}";
static const char exceptions[] = "{\"root-exception\":\"java.lang.IllegalStateException: out of range\\n\\tat Edge.map(Edge.java:17)\"}";

int work(void) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  edge_report_flink_step step = EDGE_REPORT_FLINK_STEP_INIT;
  edge_report_flink_state state = EDGE_REPORT_FLINK_STATE_INIT;
  edge_report_flink *flink;
  char jid[EDGE_REPORT_FLINK_JID_SIZE];
  int64_t id;
  size_t len;
  uint64_t now = 0;
  if (CALL(edge_report_flink_new(memory, sizeof memory, 8, &config, &flink, &error))) return 10;
  for (int asked = 0;; now += step.wait_ms) {
    if (CALL(edge_report_flink_next(flink, now, report, sizeof report, &step, &error))) return 11;
    if (step.kind == EDGE_REPORT_FLINK_STEP_REPORT) break;
    if (step.kind == EDGE_REPORT_FLINK_STEP_WAIT) continue;
    if (asked == 0 && CALL(GIVE(overview))) return 12;
    if (asked == 1 && CALL(GIVE(details))) return 13;
    if (asked == 2 && CALL(GIVE(exceptions))) return 14;
    asked++;
  }
  if (!step.is_final || CALL(edge_report_flink_reported(flink, 1, &error))) return 15;
  if (CALL(edge_report_flink_save(flink, table, sizeof table, &len, &error))) return 16;
  if (CALL(edge_report_flink_restore(flink, table, len, now, &error))) return 17;
  if (CALL(edge_report_flink_failed(flink, now, &error))) return 18;
  if (CALL(edge_report_flink_jid(99270, jid, &error))) return 19;
  if (CALL(edge_report_flink_job_id(flink, edge_report_str_of(jid), edge_report_str_of("edge"), &id, &error)) || id != 99270) return 20;
  if (CALL(edge_report_flink_stop_asked(flink, edge_report_str_of(jid), NULL, &error))) return 21;
  if (CALL(edge_report_flink_status(flink, &state, &error)) || state.jobs != 1) return 22;
  edge_report_flink_free(flink);
  return 0;
}
