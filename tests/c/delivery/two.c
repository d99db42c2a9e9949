/* Two Rust libraries in one program, each with its own std: both work, and a panic in one is caught in that one. */
#include <stdint.h>
#include <string.h>

#include "edge_report.h"

uint32_t second_sum(uint32_t n);

int main(void) {
  if (second_sum(4) != 10 || second_sum(0) != 0) return 1;
  if (strcmp(edge_report_version(), EDGE_REPORT_VERSION) != 0) return 2;
  /* A client brings in all there is: std, TLS, threads. Nobody listens on port 9 of this machine. */
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  config.base_url = edge_report_str_of("http://127.0.0.1:9");
  config.project_id = edge_report_str_of("0a1b2c");
  edge_report_client *client;
  if (edge_report_client_new(&config, &client, NULL) != EDGE_REPORT_OK) return 3;
  edge_report_job job = EDGE_REPORT_JOB_INIT;
  job.status = edge_report_str_of(EDGE_REPORT_STATUS_RUNNING);
  job.create_time = 1591104868201;
  edge_report_report report = EDGE_REPORT_REPORT_INIT;
  report.jobs = &job;
  report.jobs_len = 1;
  report.message_id = edge_report_str_of("two");
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  edge_report_result result = edge_report_client_send(client, &report, &reply, NULL);
  edge_report_client_free(client);
  if (result != EDGE_REPORT_E_NOT_SENT) return 4;
  return second_sum(5) == 15 ? 0 : 5;
}
