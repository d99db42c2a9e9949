/* What becomes of reports is told: by a delivery and by a reporter, against a receiver: events URL PROJECT-ID AK SK SPOOL-DIRECTORY. A callback
 * that calls back gets what the header says. */
#include "test.h"
#include <pthread.h>

enum { REPORTS = 40, MOST = 200 };

/* What was told, by whoever tells. */
static struct {
  edge_report_event_kind kind;
  uint64_t ticket, at_ms;
  char message_id[40], line[200];
  edge_report_reason reason;
} told[MOST];
static unsigned tolds;
static edge_report_client *client;
static edge_report_courier *courier;
static edge_report_reporter *reporter;
static int calls_back, cancels, floods;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void copy(char *to, size_t room, edge_report_str text) {
  size_t len = text.len < room ? text.len : room - 1;
  memcpy(to, text.ptr, len);
  to[len] = 0;
}

static void note(const edge_report_event *event) {
  CHECK(event->struct_size == sizeof *event);
  pthread_mutex_lock(&mutex);
  if (tolds < MOST) {
    told[tolds].kind = event->kind;
    told[tolds].ticket = event->ticket;
    told[tolds].at_ms = event->at_ms;
    told[tolds].reason = event->reason;
    copy(told[tolds].message_id, sizeof told[tolds].message_id, event->message_id);
    copy(told[tolds].line, sizeof told[tolds].line, event->line);
    tolds++;
  }
  pthread_mutex_unlock(&mutex);
  CHECK(event->line.len > 0 && (event->ticket == 0 || event->report.ptr[0] == '{'));
}

static edge_report_client *client_for(const char *url, const char *project, const edge_report_credentials *keys) {
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  edge_report_client *made = NULL;
  config.base_url = str(url);
  config.project_id = str(project);
  config.credentials = keys;
  OK(edge_report_client_new(&config, &made, NULL));
  return made;
}

static edge_report_courier *courier_in(void *memory, size_t size) {
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier *made = NULL;
  config.start_spread_ms = 0;
  OK(edge_report_courier_new_ram(memory, size, &config, edge_report_monotonic_ms(), 1, &made, NULL));
  return made;
}

static void submit(const char *id) {
  SAMPLE_REPORT(report);
  report.message_id = str(id);
  OK(edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), 0, NULL, NULL));
}

/* In a delivery: the courier may be used, the client not. */
static void on_delivery(void *user, const edge_report_event *event) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  note(event);
  ++*(int *)user;
  if (cancels) OK(edge_report_client_cancel(client, NULL));
  if (!calls_back) return;
  calls_back = 0;
  OK(edge_report_courier_status(courier, &state, NULL));
  submit("from-the-callback");
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_client_send_encoded(client, "{}", 2, &reply, &error));
  CHECK(strcmp(error.path, "client") == 0);
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_client_deliver(client, courier, NULL, 0, NULL, NULL, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_client_wait(client, 1, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_client_set_credentials(client, NULL, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_new(client, courier, NULL, &reporter, NULL));
  OK(edge_report_client_wake(client, NULL));
  edge_report_courier_free(courier);
  edge_report_client_free(client);
}

static void deliveries(const char *url, const char *project, const edge_report_credentials *keys) {
  static uint64_t memory[8192];
  int count = 0;
  edge_report_observer observer = EDGE_REPORT_OBSERVER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_pause pause = 0;
  courier = courier_in(memory, sizeof memory);
  client = client_for("http://127.0.0.1:1", project, keys);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_client_deliver(client, courier, NULL, 0, &observer, NULL, &error));
  CHECK(strcmp(error.path, "observer.event") == 0);
  observer.user = &count;
  observer.event = on_delivery;

  /* Nobody listens there: it is told why, and when it goes on. */
  submit("first \xc3\xa9");
  uint64_t now = edge_report_monotonic_ms();
  cancels = 1;
  OK(edge_report_client_deliver(client, courier, NULL, 60000, &observer, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_CANCELLED && count == 1 && tolds == 1);
  CHECK(told[0].kind == EDGE_REPORT_EVENT_WAITING && told[0].ticket == 1 && strcmp(told[0].message_id, "first \xc3\xa9") == 0);
  CHECK(told[0].reason.code == EDGE_REPORT_E_NOT_SENT && told[0].reason.status == 0 && strstr(told[0].reason.text, "refused"));
  CHECK(told[0].at_ms >= now && told[0].at_ms <= edge_report_monotonic_ms() + 60000 && strstr(told[0].line, "report 1 waits"));
  edge_report_client_free(client);

  /* Denied, then accepted. */
  edge_report_credentials wrong = *keys;
  wrong.secret_key = str("another");
  client = client_for(url, project, &wrong);
  OK(edge_report_courier_wake(courier, edge_report_monotonic_ms(), NULL));
  OK(edge_report_client_deliver(client, courier, NULL, 60000, &observer, &pause, NULL));
  cancels = 0;
  CHECK(tolds == 2 && told[1].kind == EDGE_REPORT_EVENT_HELD && told[1].reason.outcome == EDGE_REPORT_OUTCOME_CREDENTIALS);
  CHECK(told[1].reason.status >= 400 && told[1].reason.error_code[0] && told[1].at_ms > edge_report_monotonic_ms());
  OK(edge_report_client_set_credentials(client, keys, NULL));
  OK(edge_report_courier_wake(courier, edge_report_monotonic_ms(), NULL));
  calls_back = 1;
  OK(edge_report_client_deliver(client, courier, NULL, 60000, &observer, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_IDLE && !calls_back);
  CHECK(told[2].kind == EDGE_REPORT_EVENT_DELIVERED && told[2].ticket == 1 && told[2].reason.code == 0 && told[2].at_ms == 0);
  /* What was submitted meanwhile may be left to the next one. */
  OK(edge_report_client_deliver(client, courier, NULL, 60000, &observer, &pause, NULL));
  CHECK(tolds == 4 && told[3].ticket == 2 && strcmp(told[3].message_id, "from-the-callback") == 0);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.delivered == 2 && state.waiting == 0);
  edge_report_client_free(client);
  edge_report_courier_free(courier);
}

/* On the reporter's thread: what would wait for it is refused. */
static void on_report(void *user, const edge_report_event *event) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  note(event);
  if (event->kind == EDGE_REPORT_EVENT_DELIVERED) {
    pthread_mutex_lock(&mutex);
    ++*(int *)user;
    pthread_mutex_unlock(&mutex);
  }
  SAMPLE_REPORT(report);
  if (floods) {
    /* Also while it is being stopped. */
    edge_report_result result = edge_report_reporter_submit(reporter, &report, NULL, NULL);
    CHECK(result == EDGE_REPORT_OK || result == EDGE_REPORT_E_NOT_USABLE);
  }
  if (!calls_back) return;
  calls_back = 0;
  report.message_id = str("by the reporter's callback");
  OK(edge_report_reporter_submit(reporter, &report, NULL, NULL));
  OK(edge_report_reporter_status(reporter, &state, NULL));
  OK(edge_report_reporter_wake(reporter, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_flush(reporter, 1000, NULL, &error));
  CHECK(strcmp(error.path, "reporter") == 0);
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_stop(reporter, NULL));
  edge_report_reporter_free(reporter);
}

static void use_courier(void *user, edge_report_courier *lent) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_letter letter = EDGE_REPORT_LETTER_INIT;
  OK(edge_report_courier_status(lent, &state, NULL));
  OK(edge_report_courier_dead_letter(lent, 0, &letter, NULL));
  CHECK(letter.ticket == 0);
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_status(reporter, &state, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_submit_encoded(reporter, "{}", 2, NULL, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_flush(reporter, 1, NULL, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_with_courier(reporter, use_courier, NULL, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_stop(reporter, NULL));
  edge_report_courier_free(lent);
  OK(edge_report_courier_flush(lent, NULL));
  ++*(int *)user;
}

static void use_client(void *user, edge_report_client *lent) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  OK(edge_report_client_set_credentials(lent, (const edge_report_credentials *)user, NULL));
  GIVES(EDGE_REPORT_E_IN_USE, edge_report_reporter_flush(reporter, 1, NULL, NULL));
  OK(edge_report_reporter_status(reporter, &state, NULL));
  edge_report_client_free(lent);
}

static void *submit_some(void *name) {
  for (int i = 0; i < REPORTS; i++) {
    char id[40];
    SAMPLE_REPORT(report);
    snprintf(id, sizeof id, "%s-%d", (const char *)name, i);
    report.message_id = str(id);
    report_job.job_id = i + 1;
    OK(edge_report_reporter_submit(reporter, &report, NULL, NULL));
  }
  return NULL;
}

static void reporters(edge_report_courier *made, const char *url, const char *project, const edge_report_credentials *keys) {
  static const char *const names[] = {"one", "two"};
  pthread_t threads[2];
  int delivered = 0, used = 0;
  edge_report_observer observer = EDGE_REPORT_OBSERVER_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_pause pause = 0;
  edge_report_credentials wrong = *keys;
  SAMPLE_REPORT(report);
  observer.user = &delivered;
  observer.event = on_report;
  tolds = 0;
  wrong.secret_key = str("another");
  client = client_for(url, project, &wrong);
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_reporter_new(NULL, made, &observer, &reporter, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_reporter_new(client, NULL, &observer, &reporter, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_reporter_new(client, made, &observer, NULL, NULL));
  OK(edge_report_reporter_new(client, made, &observer, &reporter, NULL));
  GIVES(EDGE_REPORT_E_NULL_POINTER, edge_report_reporter_with_courier(reporter, NULL, NULL, NULL));
  calls_back = 1;
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, submit_some, (void *)(size_t)names[i]) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  /* All of them wait for credentials. */
  OK(edge_report_reporter_flush(reporter, 100, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_TIME_UP);
  OK(edge_report_reporter_with_client(reporter, use_client, (void *)(size_t)keys, NULL));
  OK(edge_report_reporter_wake(reporter, NULL));
  OK(edge_report_reporter_flush(reporter, 60000, &pause, NULL));
  CHECK(pause == EDGE_REPORT_PAUSE_IDLE);
  OK(edge_report_reporter_with_courier(reporter, use_courier, &used, NULL));
  CHECK(used == 1);
  OK(edge_report_reporter_status(reporter, &state, NULL));
  CHECK(state.waiting == 0 && state.delivered == 2 * REPORTS + 1);
  OK(edge_report_reporter_stop(reporter, NULL));
  CHECK(delivered == 2 * REPORTS + 1 && !calls_back);
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_reporter_submit(reporter, &report, NULL, NULL));
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_reporter_stop(reporter, NULL));
  edge_report_reporter_free(reporter);
  edge_report_reporter_free(NULL);
}

/* Its thread submits without an end while others stop it. */
static void stops(const char *url, const char *project, const edge_report_credentials *keys) {
  static uint64_t memory[32768];
  edge_report_observer observer = EDGE_REPORT_OBSERVER_INIT;
  SAMPLE_REPORT(report);
  int delivered = 0;
  observer.user = &delivered;
  observer.event = on_report;
  floods = 1;
  for (int i = 0; i < 20; i++) {
    client = client_for(url, project, keys);
    courier = courier_in(memory, sizeof memory);
    OK(edge_report_reporter_new(client, courier, &observer, &reporter, NULL));
    OK(edge_report_reporter_submit(reporter, &report, NULL, NULL));
    (void)edge_report_reporter_flush(reporter, 1 + (uint32_t)i, NULL, NULL);
    if (i % 2) OK(edge_report_reporter_stop(reporter, NULL));
    edge_report_reporter_free(reporter);
  }
  floods = 0;
}

int main(int count, char **arguments) {
  static uint64_t memory[32768];
  if (count != 6) return 2;
  edge_report_credentials keys = EDGE_REPORT_CREDENTIALS_INIT;
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  keys.access_key = str(arguments[3]);
  keys.secret_key = str(arguments[4]);
  deliveries(arguments[1], arguments[2], &keys);
  reporters(courier_in(memory, sizeof memory), arguments[1], arguments[2], &keys);
  config.start_spread_ms = 0;
  edge_report_courier *spool = NULL;
  OK(edge_report_courier_new_spool(str(arguments[5]), NULL, &config, edge_report_monotonic_ms(), 1, &spool, NULL));
  reporters(spool, arguments[1], arguments[2], &keys);
  stops(arguments[1], arguments[2], &keys);
  return done("events", 100);
}
