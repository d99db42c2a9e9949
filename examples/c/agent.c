/* A minimal agent: reports wait in a spool, which survives kills and power cuts, until the service has accepted them.
 *
 *     agent URL PROJECT-ID SPOOL-DIRECTORY [AK SK]
 *
 * Real agents give each report a message_id that is never used again, and repeat the two steps for ever.
 */
#include <edge_report.h>
#include <inttypes.h>
#include <stdio.h>

static int failed(const char *what, const edge_report_error *error) {
  fprintf(stderr, "%s: %s %s %s\n", what, edge_report_result_text(error->code), error->path, error->detail);
  return 1;
}

int main(int count, char **arguments) {
  if (count != 4 && count != 6) {
    fprintf(stderr, "usage: agent URL PROJECT-ID SPOOL-DIRECTORY [AK SK]\n");
    return 2;
  }
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_credentials keys = {
      .struct_size = sizeof keys,
      .access_key = edge_report_str_of(count == 6 ? arguments[4] : NULL),
      .secret_key = edge_report_str_of(count == 6 ? arguments[5] : NULL),
  };
  edge_report_client_config config = {
      .struct_size = sizeof config,
      .base_url = edge_report_str_of(arguments[1]),
      .project_id = edge_report_str_of(arguments[2]),
      .credentials = &keys,
  };
  edge_report_client *client;
  if (edge_report_client_new(&config, &client, &error) != EDGE_REPORT_OK) return failed("client", &error);

  edge_report_courier_config policy = EDGE_REPORT_COURIER_CONFIG_INIT;
  policy.start_spread_ms = 0; /* one node alone need not spread its start */
  edge_report_courier *courier;
  if (edge_report_courier_new_spool(edge_report_str_of(arguments[3]), NULL, &policy, edge_report_monotonic_ms(),
                                    edge_report_random(), &courier, &error) != EDGE_REPORT_OK)
    return failed("spool", &error);

  const char *states[] = {EDGE_REPORT_STATUS_SUBMITTING, EDGE_REPORT_STATUS_RUNNING, EDGE_REPORT_STATUS_FINISH};
  for (int i = 0; i < 3; i++) {
    char id[40];
    snprintf(id, sizeof id, "node-7-%016" PRIx64, edge_report_random());
    edge_report_job job = {
        .struct_size = sizeof job,
        .job_id = 99270, .status = edge_report_str_of(states[i]), .create_time = edge_report_unix_ms()};
    edge_report_report report = {.struct_size = sizeof report, .jobs = &job, .jobs_len = 1, .message_id = edge_report_str_of(id)};
    /* On stable storage when this returns. */
    if (edge_report_courier_submit(courier, &report, edge_report_monotonic_ms(), edge_report_unix_ms(), NULL, &error) != EDGE_REPORT_OK)
      failed("submit", &error);
  }

  edge_report_pause pause = 0;
  if (edge_report_client_deliver(client, courier, NULL, 10000, NULL, &pause, &error) != EDGE_REPORT_OK)
    failed("deliver", &error);
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_courier_status(courier, &state, NULL);
  printf("delivered %" PRIu64 ", refused %" PRIu64 ", waiting %" PRIu64 "\n", state.delivered, state.refused, state.waiting);
  if (state.failure_ticket != 0)
    fprintf(stderr, "last failure: %s %" PRIu32 " %s %s\n", edge_report_result_text(state.failure.code), state.failure.status,
            state.failure.error_code, state.failure.text);

  edge_report_courier_free(courier);
  edge_report_client_free(client);
  return pause == EDGE_REPORT_PAUSE_IDLE ? 0 : 1;
}
