/* One thread submits while another delivers, under the caller's lock, against a receiver: shared URL PROJECT-ID AK SK */
#define _POSIX_C_SOURCE 200809L
#include "test.h"
#include <pthread.h>
#include <time.h>

enum { REPORTS = 60 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static edge_report_courier *courier;
/* How deep the lock is held, and how often it was taken. */
static int held, taken;

static void take(void *user) {
  pthread_mutex_lock((pthread_mutex_t *)user);
  held++;
  taken++;
}

static void give(void *user) {
  held--;
  pthread_mutex_unlock((pthread_mutex_t *)user);
}

static edge_report_client *client;

static void *cancel_later(void *wrong) {
  nanosleep(&(struct timespec){0, 50000000}, NULL);
  *(int *)wrong += edge_report_client_cancel(client, NULL) != EDGE_REPORT_OK;
  return NULL;
}

static void *submit_all(void *wrong) {
  for (int i = 0; i < REPORTS; i++) {
    char id[32];
    SAMPLE_REPORT(report);
    snprintf(id, sizeof id, "shared-%d", i);
    report.message_id = str(id);
    report_job.job_id = i + 1;
    take(&mutex);
    edge_report_result result = edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), edge_report_unix_ms(), NULL, NULL);
    give(&mutex);
    *(int *)wrong += result != EDGE_REPORT_OK;
    *(int *)wrong += edge_report_client_wake(client, NULL) != EDGE_REPORT_OK;
  }
  return NULL;
}

int main(int count, char **arguments) {
  static char memory[1 << 18];
  if (count != 5) return 2;
  edge_report_credentials keys = {sizeof keys, str(arguments[3]), str(arguments[4]), {NULL, 0}, {NULL, 0}};
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  edge_report_courier_config policy = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_lock lock = {sizeof lock, &mutex, take, give};
  pthread_t thread;
  int wrong = 0, rounds = 0;
  config.base_url = str(arguments[1]);
  config.project_id = str(arguments[2]);
  config.credentials = &keys;
  OK(edge_report_client_new(&config, &client, NULL));
  policy.start_spread_ms = 0;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &policy, edge_report_monotonic_ms(), 0, &courier, NULL));
  CHECK(pthread_create(&thread, NULL, submit_all, &wrong) == 0);
  do {
    edge_report_pause pause = 0;
    OK(edge_report_client_deliver(client, courier, &lock, 120000, NULL, &pause, NULL));
    CHECK(pause == EDGE_REPORT_PAUSE_IDLE);
    take(&mutex);
    OK(edge_report_courier_status(courier, &state, NULL));
    give(&mutex);
    /* Whoever submits wakes it; nobody does after the last one. */
    if (state.delivered < REPORTS) OK(edge_report_client_wait(client, 1000, NULL));
  } while (state.delivered < REPORTS && rounds++ < 20000 && failures == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(wrong == 0 && held == 0 && taken > 2 * REPORTS);
  CHECK(state.submitted == REPORTS && state.delivered == REPORTS && state.waiting == 0);

  /* Without an end, but for another thread; and one that comes before the call. */
  CHECK(pthread_create(&thread, NULL, cancel_later, &wrong) == 0);
  OK(edge_report_client_wait(client, 0, NULL));
  CHECK(pthread_join(thread, NULL) == 0 && wrong == 0);
  edge_report_pause pause = 0;
  OK(edge_report_client_cancel(client, NULL));
  OK(edge_report_client_deliver(client, courier, &lock, 10000, NULL, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_CANCELLED);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_cancel(NULL, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_wake(NULL, NULL));

  /* One by one, and what a send leaves for settle. */
  SAMPLE_REPORT(report);
  OK(edge_report_client_send(client, &report, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_ACCEPTED && reply.status == 200);
  OK(edge_report_client_send_encoded(client, "{}", 2, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_REFUSED && reply.error_code.len > 0);
  report_job.job_id = -1;
  GIVES(EDGE_REPORT_E_NOT_POSITIVE, edge_report_client_send(client, &report, &reply, NULL));
  keys.secret_key = str("another");
  OK(edge_report_client_set_credentials(client, &keys, NULL));
  report_job.job_id = 1;
  OK(edge_report_client_send(client, &report, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_CREDENTIALS && reply.has_clock_skew);
  keys.secret_key = str(arguments[4]);
  OK(edge_report_client_set_credentials(client, &keys, NULL));
  OK(edge_report_client_send(client, &report, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_ACCEPTED);
  OK(edge_report_client_set_credentials(client, NULL, NULL));
  OK(edge_report_client_send(client, &report, &reply, NULL));
  CHECK(reply.outcome == EDGE_REPORT_OUTCOME_CREDENTIALS);
  edge_report_courier_free(courier);
  edge_report_client_free(client);
  return done("shared", 15);
}
