/* An agent with threads: a reporter takes reports from any of them, delivers by a thread of its own, and tells what becomes of each.
 *
 *     reporter URL PROJECT-ID SPOOL-DIRECTORY [AK SK]
 */
#include <edge_report.h>
#include <inttypes.h>
#include <stdio.h>

static int failed(const char *what, const edge_report_error *error) {
  fprintf(stderr, "%s: %s %s %s\n", what, edge_report_result_text(error->code), error->path, error->detail);
  return 1;
}

/* On the reporter's thread. It may submit; it must not wait for the reporter. */
static void on_event(void *user, const edge_report_event *event) {
  (void)user;
  switch (event->kind) {
    case EDGE_REPORT_EVENT_DELIVERED:
      printf("%.*s is there\n", (int)event->message_id.len, event->message_id.ptr);
      break;
    case EDGE_REPORT_EVENT_HELD: /* somebody must renew the credentials: edge_report_reporter_with_client */
    default: /* also what later versions tell: a line for the log */
      fprintf(stderr, "%.*s\n", (int)event->line.len, event->line.ptr);
  }
}

int main(int count, char **arguments) {
  if (count != 4 && count != 6) {
    fprintf(stderr, "usage: reporter URL PROJECT-ID SPOOL-DIRECTORY [AK SK]\n");
    return 2;
  }
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_credentials keys = EDGE_REPORT_CREDENTIALS_INIT;
  keys.access_key = edge_report_str_of(count == 6 ? arguments[4] : NULL);
  keys.secret_key = edge_report_str_of(count == 6 ? arguments[5] : NULL);
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  config.base_url = edge_report_str_of(arguments[1]);
  config.project_id = edge_report_str_of(arguments[2]);
  config.credentials = &keys;
  edge_report_courier_config policy = EDGE_REPORT_COURIER_CONFIG_INIT;
  policy.start_spread_ms = 0; /* one node alone need not spread its start */
  edge_report_observer observer = EDGE_REPORT_OBSERVER_INIT;
  observer.event = on_event;

  edge_report_client *client;
  edge_report_courier *courier;
  edge_report_reporter *reporter;
  if (edge_report_client_new(&config, &client, &error) != EDGE_REPORT_OK) return failed("client", &error);
  if (edge_report_courier_new_spool(edge_report_str_of(arguments[3]), NULL, &policy, edge_report_monotonic_ms(),
                                    edge_report_random(), &courier, &error) != EDGE_REPORT_OK)
    return failed("spool", &error);
  /* It takes both of them. */
  if (edge_report_reporter_new(client, courier, &observer, &reporter, &error) != EDGE_REPORT_OK)
    return failed("reporter", &error);

  for (int i = 0; i < 3; i++) {
    char id[40];
    snprintf(id, sizeof id, "node-7-%016" PRIx64, edge_report_random());
    edge_report_job job = EDGE_REPORT_JOB_INIT;
    job.job_id = 99270 + i;
    job.status = edge_report_str_of(EDGE_REPORT_STATUS_RUNNING);
    job.create_time = edge_report_unix_ms();
    edge_report_report report = EDGE_REPORT_REPORT_INIT;
    report.jobs = &job;
    report.jobs_len = 1;
    report.message_id = edge_report_str_of(id);
    /* On stable storage when this returns. */
    if (edge_report_reporter_submit(reporter, &report, NULL, &error) != EDGE_REPORT_OK) failed("submit", &error);
  }

  edge_report_pause pause = 0;
  if (edge_report_reporter_flush(reporter, 10000, &pause, &error) != EDGE_REPORT_OK) failed("flush", &error);
  /* What still waits is delivered after the next start. */
  if (edge_report_reporter_stop(reporter, &error) != EDGE_REPORT_OK) failed("stop", &error);
  edge_report_reporter_free(reporter);
  return pause == EDGE_REPORT_PAUSE_IDLE ? 0 : 1;
}
