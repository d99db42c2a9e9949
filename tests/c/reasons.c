/* Why nothing is delivered is told by the courier: reasons CLOSED-URL TLS-URL FILE-OF-ANOTHER-CA
 * SILENT-PORT. Each timeout is the one that was set. */
#include "test.h"

static edge_report_courier *courier;
static edge_report_error error = EDGE_REPORT_ERROR_INIT;

static edge_report_client *client_for(const char *url, const char *ca) {
  edge_report_client *client = NULL;
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  config.base_url = str(url);
  config.project_id = str("p");
  config.ca_certificate = str(ca);
  GIVES(EDGE_REPORT_OK, edge_report_client_new(&config, &client, &error));
  return client;
}

static void has(const char *text, const char *part) {
  if (!CHECK(strstr(text, part) != NULL)) fprintf(stderr, "  \"%s\" has no \"%s\"\n", text, part);
}

/* Delivers for a moment; the state tells what went wrong, and when it goes on. */
static void deliver(edge_report_client *client, edge_report_result code, const char *words) {
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_pause pause = 0;
  OK(edge_report_courier_wake(courier, edge_report_monotonic_ms(), NULL));
  OK(edge_report_client_deliver(client, courier, NULL, 1500, NULL, &pause, &error));
  CHECK(pause == EDGE_REPORT_PAUSE_TIME_UP);
  OK(edge_report_courier_status(courier, &state, NULL));
  CHECK(state.waiting == 1 && state.failures > 0 && state.failure_ticket == 1);
  CHECK(state.failure.code == code && state.failure.outcome == 0 && state.failure.status == 0);
  CHECK(state.has_next_attempt && state.next_attempt_ms >= state.not_before_ms);
  has(state.failure.text, words);
}

/* The same by hand: what send says is what settle keeps. */
static void by_hand(edge_report_client *client, edge_report_result code, const char *words) {
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  uint64_t now = edge_report_monotonic_ms();
  OK(edge_report_courier_wake(courier, now, NULL));
  OK(edge_report_courier_next(courier, now, &step, NULL));
  CHECK(step.kind == EDGE_REPORT_STEP_SEND);
  edge_report_result result = edge_report_client_send_encoded(client, step.body.ptr, step.body.len, &reply, &error);
  GIVES(code, result);
  OK(edge_report_courier_settle(courier, step.ticket, result, &reply, &error, now, 0, &verdict, &error));
  CHECK(verdict.reason.code == code && verdict.at_ms > now);
  has(verdict.reason.text, words);
  CHECK(strncmp(verdict.reason.text, error.detail, strlen(verdict.reason.text)) == 0);
}

/* Against one who takes connections and says nothing: which timeout it was, and that it came in time. */
static void times_out(const char *scheme, const char *port, edge_report_client_config config, uint64_t after_ms, edge_report_result code,
                      const char *words) {
  static char body[4 << 20];
  char url[100];
  edge_report_client *client = NULL;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  snprintf(url, sizeof url, "%s://127.0.0.1:%s", scheme, port);
  config.base_url = str(url);
  config.project_id = str("p");
  OK(edge_report_client_new(&config, &client, &error));
  uint64_t begin = edge_report_monotonic_ms();
  GIVES(code, edge_report_client_send_encoded(client, body, config.send_timeout_ms ? sizeof body : 2, &reply, &error));
  uint64_t took = edge_report_monotonic_ms() - begin;
  CHECK(took >= after_ms && took < after_ms + 400);
  has(error.detail, words);
  edge_report_client_free(client);
}

static void timeouts(const char *port) {
  edge_report_client_config none = EDGE_REPORT_CLIENT_CONFIG_INIT, config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  none.min_rate = UINT32_MAX;
  config = none;
  config.tls_timeout_ms = 300;
  times_out("https", port, config, 300, EDGE_REPORT_E_NOT_SENT, "the TLS handshake did not end within 0.3 s");
  config = none;
  config.send_timeout_ms = 310;
  times_out("http", port, config, 310, EDGE_REPORT_E_MAY_HAVE_ARRIVED, "bytes went out in 0.3 s");
  config = none;
  config.response_timeout_ms = 320;
  times_out("http", port, config, 320, EDGE_REPORT_E_MAY_HAVE_ARRIVED, "no response within 0.3 s");
  config = none;
  config.total_timeout_ms = 330;
  times_out("http", port, config, 330, EDGE_REPORT_E_MAY_HAVE_ARRIVED, "no response within 0.3 s");
  config = none;
  config.response_timeout_ms = 100;
  config.min_rate = 4;
  times_out("http", port, config, 600, EDGE_REPORT_E_MAY_HAVE_ARRIVED, "no response within 0.6 s");
}

int main(int count, char **arguments) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
  static char ca[8192];
  if (count != 5) return 2;
  FILE *file = fopen(arguments[3], "r");
  if (!file || fread(ca, 1, sizeof ca - 1, file) == 0) return 2;
  fclose(file);
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  SAMPLE_REPORT(report);
  config.start_spread_ms = 0;
  config.report_bytes = 512;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, edge_report_monotonic_ms(), 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), 0, NULL, NULL));
  timeouts(arguments[4]);
  edge_report_client *closed = client_for(arguments[1], NULL), *distrustful = client_for(arguments[2], ca);
  deliver(closed, EDGE_REPORT_E_NOT_SENT, "refused");
  by_hand(closed, EDGE_REPORT_E_NOT_SENT, "refused");
  deliver(distrustful, EDGE_REPORT_E_TLS, "UnknownIssuer");
  by_hand(distrustful, EDGE_REPORT_E_TLS, "UnknownIssuer");
  edge_report_client_free(closed);
  edge_report_client_free(distrustful);
  edge_report_courier_free(courier);
  return done("reasons", 30);
}
