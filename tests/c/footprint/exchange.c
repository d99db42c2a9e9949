/* Reports built, checked and signed, and the answers read: for agents that have a transport and a queue of their own. */
#include "footprint.h"

static char scratch[512];

int work(void) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  if (encode_sample()) return 1;
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  if (CALL(edge_report_check(body, body_len, NULL, 0, &summary, &error)) || summary.warnings != 0) return 2;
  static const char wrong[] = "{\"jobs\":[{\"status\":1,\"metrics\":{\"a\":[[[[]]]]}}]";
  if (CALL(edge_report_check(wrong, sizeof wrong - 1, NULL, 0, &summary, &error)) == EDGE_REPORT_OK) return 3;

  const edge_report_credentials keys = {.struct_size = sizeof keys, .access_key = EDGE_REPORT_STR("AK"), .secret_key = EDGE_REPORT_STR("SK")};
  const edge_report_str url = EDGE_REPORT_STR("https://gateway.example:8443/prefix"), project = EDGE_REPORT_STR("0a1b2c");
  edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
  if (CALL(edge_report_request(url, project, &keys, body, body_len, 1591104868201, scratch, sizeof scratch, &request, &error))) return 4;

  static const char busy[] = "{\"error_code\":\"APIGW.0308\",\"error_msg\":\"later\"}";
  const edge_report_str after = EDGE_REPORT_STR("20"), date = EDGE_REPORT_STR("Tue, 02 Jun 2020 13:34:28 GMT");
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  if (CALL(edge_report_read_reply(503, after, date, busy, sizeof busy - 1, 1591104868201, &reply, &error))) return 5;
  return reply.outcome != EDGE_REPORT_OUTCOME_TRY_AGAIN || reply.retry_after_ms != 20000;
}
