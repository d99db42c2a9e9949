/* Eight threads share what the header says may be shared. Run by helgrind, which sees races. */
#include "test.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 50 };

static struct {
  const edge_report_report *report;
  const edge_report_courier *courier;
  const edge_report_writer *writer;
  const edge_report_credentials *keys;
  char canonical[512];
  size_t len;
} shared;

/* Each thread has checks of its own, since counting is not what is tested. */
static void *hammer(void *result) {
  long wrong = 0;
  for (int round = 0; round < ROUNDS; round++) {
    char buffer[512];
    size_t len = 0, jobs = 0;
    edge_report_finding findings[2] = {EDGE_REPORT_FINDING_INIT};
    edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
    edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
    edge_report_signature signature = EDGE_REPORT_SIGNATURE_INIT;
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
    edge_report_error error = EDGE_REPORT_ERROR_INIT;
    wrong += edge_report_encode(shared.report, buffer, sizeof buffer, &len, &error) != EDGE_REPORT_OK;
    wrong += len != shared.len || memcmp(buffer, shared.canonical, len) != 0;
    wrong += edge_report_encoded_len(shared.report, &len, NULL) != EDGE_REPORT_OK;
    wrong += edge_report_check(shared.canonical, shared.len, findings, 2, &summary, NULL) != EDGE_REPORT_OK;
    wrong += edge_report_request(str("https://a"), str("p"), shared.keys, shared.canonical, shared.len, 1591104868201,
                                 buffer, sizeof buffer, &request, NULL) != EDGE_REPORT_OK;
    edge_report_signable signable = EDGE_REPORT_SIGNABLE_INIT;
    signable.method = str("GET");
    signable.host = str("a");
    signable.path = str("/");
    wrong += edge_report_sign(&signable, shared.keys, 0, buffer, sizeof buffer, &signature, NULL) != EDGE_REPORT_OK;
    wrong += edge_report_read_reply(200, str("1"), str(NULL), "{\"is_success\":true}", 19, 0, &reply, NULL) != EDGE_REPORT_OK;
    wrong += reply.outcome != EDGE_REPORT_OUTCOME_ACCEPTED;
    wrong += edge_report_courier_status(shared.courier, &state, NULL) != EDGE_REPORT_OK;
    wrong += state.waiting != 1;
    wrong += edge_report_writer_status(shared.writer, &jobs, &len, NULL) != EDGE_REPORT_OK;
    wrong += jobs != 1;
    wrong += edge_report_encode(shared.report, buffer, 3, &len, &error) != EDGE_REPORT_E_BUFFER_TOO_SMALL;
    wrong += strcmp(edge_report_result_name(error.code), "BufferTooSmall") != 0;
  }
  *(long *)result = wrong;
  return NULL;
}

int main(void) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
  static char buffer[512];
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *courier;
  edge_report_writer writer;
  edge_report_credentials keys = {sizeof keys, EDGE_REPORT_STR("AK"), EDGE_REPORT_STR("SK"), EDGE_REPORT_STR("token"), {NULL, 0}};
  SAMPLE_REPORT(report);
  config.report_bytes = 512;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  OK(edge_report_writer_init(&writer, buffer, sizeof buffer, str(NULL), str("1"), NULL));
  OK(edge_report_writer_job(&writer, &report_job, NULL));
  OK(edge_report_encode(&report, shared.canonical, sizeof shared.canonical, &shared.len, NULL));
  shared.report = &report;
  shared.courier = courier;
  shared.writer = &writer;
  shared.keys = &keys;

  /* What the CPU can do is looked up once, by atomics, which helgrind takes for races. */
  edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
  char scratch[512];
  OK(edge_report_request(str("https://a"), str("p"), &keys, "", 0, 0, scratch, sizeof scratch, &request, NULL));

  pthread_t threads[THREADS];
  long wrong[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, hammer, &wrong[i]) == 0);
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(wrong[i] == 0);
  }
  edge_report_courier_free(courier);
  return done("threads", 24);
}
