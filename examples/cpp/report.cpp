// Builds a report, checks it and prints it; with a URL and a project id, sends it too.
//
//     report [URL PROJECT-ID [AK SK]]
#include <edge_report.hpp>
#include <iostream>

int main(int count, char **arguments) try {
  edge_report_job job = EDGE_REPORT_JOB_INIT;
  job.job_id = 99270;
  job.status = edge_report::str(EDGE_REPORT_STATUS_RUNNING);
  job.create_time = 1591104868201;
  edge_report_report report = EDGE_REPORT_REPORT_INIT;
  report.jobs = &job;
  report.jobs_len = 1;
  report.msg_confirm_topic = edge_report::str("confirm");
  report.message_id = edge_report::str("node-7-000001");

  std::string body = edge_report::encode(report);
  edge_report::check(body);
  std::cout << body << '\n';
  if (count < 3) return 0;

  edge_report_credentials keys = EDGE_REPORT_CREDENTIALS_INIT;
  if (count == 5) {
    keys.access_key = edge_report::str(arguments[3]);
    keys.secret_key = edge_report::str(arguments[4]);
  }
  edge_report_client_config config = EDGE_REPORT_CLIENT_CONFIG_INIT;
  config.base_url = edge_report::str(arguments[1]);
  config.project_id = edge_report::str(arguments[2]);
  config.credentials = &keys;
  auto client = edge_report::client::open(config);
  edge_report_reply reply = client.send(report);
  std::cout << edge_report_outcome_name(reply.outcome) << ' ' << reply.status << '\n';
  return reply.outcome == EDGE_REPORT_OUTCOME_ACCEPTED ? 0 : 1;
} catch (const edge_report::error &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
