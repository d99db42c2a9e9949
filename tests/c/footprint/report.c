/* Reports alone: built in one go and job by job. */
#include "footprint.h"

int work(void) {
  if (encode_sample()) return 1;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  if (CALL(edge_report_encode(&sample, body, 337, &body_len, &error)) != EDGE_REPORT_E_BUFFER_TOO_SMALL) return 2;
  edge_report_writer writer;
  if (CALL(edge_report_writer_init(&writer, body, sizeof body, sample.msg_confirm_topic, sample.message_id, &error))) return 3;
  if (CALL(edge_report_writer_job(&writer, sample.jobs, &error))) return 4;
  return CALL(edge_report_writer_finish(&writer, &body_len, &error)) || body_len != 338;
}
