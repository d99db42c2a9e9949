/* Builds the documented sample report, checks it, and prints its canonical bytes. Needs no heap, no clock, no network. */
#include <edge_report.h>
#include <stdio.h>

int main(void) {
  edge_report_exception exception = {
      .struct_size = sizeof exception,
      .error_id = EDGE_REPORT_STR("Agent.51000"),
      .error_type = EDGE_REPORT_STR("JOB_SUBMIT_EXCEPTION"),
      .error_cause = EDGE_REPORT_STR("agent_submit_job_exception_error"),
      .error_time_ms = 1591104868201,
  };
  edge_report_job job = {
      .struct_size = sizeof job,
      .job_id = 99270,
      .status = EDGE_REPORT_STR(EDGE_REPORT_STATUS_SUBMIT_FAIL),
      .create_time = 1591104868201,
      .exception = &exception,
  };
  edge_report_report report = {
      .struct_size = sizeof report,
      .jobs = &job,
      .jobs_len = 1,
      .msg_confirm_topic = EDGE_REPORT_STR("hw/events/messages/dli/message/confirm"),
      .message_id = EDGE_REPORT_STR("uuid"),
  };

  char body[512];
  size_t len;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  if (edge_report_encode(&report, body, sizeof body, &len, &error) != EDGE_REPORT_OK) {
    fprintf(stderr, "%s: %s\n", error.path, edge_report_result_text(error.code));
    return 1;
  }

  /* The same check reads JSON from anywhere, and lists all that is wrong or doubtful in it. */
  edge_report_finding findings[8] = {EDGE_REPORT_FINDING_INIT};
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  edge_report_result result = edge_report_check(body, len, findings, 8, &summary, NULL);
  for (size_t i = 0; i < summary.errors + summary.warnings && i < 8; i++)
    fprintf(stderr, "%s: %s (byte %zu)\n", findings[i].path, edge_report_result_text(findings[i].code), findings[i].offset);

  printf("%.*s\n", (int)len, body);
  return result == EDGE_REPORT_OK ? 0 : 1;
}
