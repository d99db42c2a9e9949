/* A system that gives no thread: no_thread SPOOL-DIRECTORY. What needs one says so, and nothing is lost by it. */
#include "test.h"
#include <errno.h>
#include <pthread.h>

static unsigned refused;

/* In the place of the system's, for the library in this program too. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  (void)thread, (void)attributes, (void)start, (void)argument;
  refused++;
  return EAGAIN;
}

static edge_report_client *new_client(const char *url) {
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  edge_report_client *client = NULL;
  config.base_url = str(url);
  config.project_id = str("p");
  config.allow_plain_http = 1;
  OK(edge_report_client_new(&config, &client, NULL));
  return client;
}

static edge_report_courier *new_spool(const char *directory) {
  edge_report_courier *courier = NULL;
  OK(edge_report_courier_new_spool(str(directory), NULL, NULL, edge_report_monotonic_ms(), 1, &courier, NULL));
  return courier;
}

/* The courier and its client are freed, which valgrind sees. */
static void no_reporter(edge_report_courier *courier) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_reporter *reporter = NULL;
  unsigned before = refused;
  GIVES(EDGE_REPORT_E_NO_THREAD, edge_report_reporter_new(new_client("http://127.0.0.1:9"), courier, NULL, &reporter, &error));
  CHECK(refused == before + 1 && !reporter);
  CHECK(error.code == EDGE_REPORT_E_NO_THREAD && error.device_error == EAGAIN && error.detail[0]);
}

int main(int count, char **arguments) {
  static uint64_t memory[8192];
  edge_report_courier *courier = NULL;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  SAMPLE_REPORT(report);
  if (count < 2) return 2;

  OK(edge_report_courier_new_ram(memory, sizeof memory, NULL, edge_report_monotonic_ms(), 1, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), 0, NULL, NULL));
  no_reporter(courier);

  courier = new_spool(arguments[1]);
  OK(edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), 0, NULL, NULL));
  no_reporter(courier);
  courier = new_spool(arguments[1]);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.waiting == 1);
  edge_report_courier_free(courier);

  /* A name is looked up on a thread; one more call meets the same, not a handle that is spoilt. */
  edge_report_client *client = new_client("http://gateway.invalid");
  for (int turn = 0; turn < 2; turn++) {
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    GIVES(EDGE_REPORT_E_NOT_SENT, edge_report_client_send(client, &report, &reply, &error));
    CHECK(strstr(error.detail, "no thread"));
  }
  edge_report_client_free(client);
  return done("no_thread", 20);
}
