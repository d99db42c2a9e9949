#include "footprint.h"

static const edge_report_exception exception = {.struct_size = sizeof exception, .error_id = EDGE_REPORT_STR("Agent.51000"),
                                                .error_type = EDGE_REPORT_STR("JOB_SUBMIT_EXCEPTION"),
                                                .error_cause = EDGE_REPORT_STR("agent_submit_job_exception_error"),
                                                .error_time_ms = 1591104868201};
static const edge_report_job job = {.struct_size = sizeof job, .job_id = 99270,
                                    .status = EDGE_REPORT_STR(EDGE_REPORT_STATUS_SUBMIT_FAIL),
                                    .create_time = 1591104868201,
                                    .exception = &exception};
const edge_report_report sample = {.struct_size = sizeof sample, .jobs = &job,
                                   .jobs_len = 1,
                                   .msg_confirm_topic = EDGE_REPORT_STR("hw/events/messages/dli/message/confirm"),
                                   .message_id = EDGE_REPORT_STR("uuid")};
char body[512];
size_t body_len;

int encode_sample(void) {
  if (CALL(edge_report_encode(&sample, body, sizeof body, &body_len, NULL)) || body_len != 338) return 1;
  return 0;
}
