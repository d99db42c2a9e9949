/*
 * edge-report without an operating system: builds, checks and signs the documented sample report, then delivers it over a
 * transport that fails first, is answered 503 next, and accepted in the end. All memory is the caller's, its clock too.
 */
#include "board.h"
#include "edge_report.h"

static uint64_t clock_ms;                        /* monotonic; a board has a timer for this */
static const int64_t start_ms = 1591104868000;   /* 2020-06-02 13:34:28 UTC; a board has it from its real-time clock or by NTP */
static uint32_t deepest;                         /* of the stack */

static uint64_t memory[EDGE_REPORT_COURIER_RAM(512) / 8 + 1];
static char scratch[512];

static int failed(const char *what, const edge_report_error *error) {
  board_print(what);
  board_print(": ");
  board_print(error->path);
  board_print(" ");
  board_print(edge_report_result_text(error->code));
  board_print("\n");
  return 1;
}

static void print_str(edge_report_str text) { board_print_bytes(text.ptr, text.len); }

/* Measures how deep the stack was used since the last paint. */
static void measure(void) {
  uint32_t used = board_stack_used();
  if (used > deepest) deepest = used;
  board_stack_paint();
}

/* Where a board would talk to its network. This one is scripted: what comes back at each attempt. */
static edge_report_result transport(int attempt, edge_report_reply *reply) {
  static const char busy[] = "{\"error_code\":\"APIGW.0308\",\"error_msg\":\"later\"}", accepted[] = "{\"is_success\":\"true\"}";
  const edge_report_str none = {NULL, 0}, after = EDGE_REPORT_STR("20");
  int64_t now = start_ms + (int64_t)clock_ms;
  if (attempt == 1) return EDGE_REPORT_E_NOT_SENT;
  if (attempt == 2) return edge_report_read_reply(503, after, none, busy, sizeof busy - 1, now, reply, NULL);
  return edge_report_read_reply(200, none, none, accepted, sizeof accepted - 1, now, reply, NULL);
}

static int deliver(edge_report_courier *courier) {
  static const char *const verdicts[] = {"none", "delivered", "refused", "again", "held", "expired"};
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  for (int attempt = 1;;) {
    edge_report_step step = EDGE_REPORT_STEP_INIT;
    if (edge_report_courier_next(courier, clock_ms, &step, &error)) return failed("next", &error);
    measure();
    if (step.kind == EDGE_REPORT_STEP_IDLE) return 0;
    if (step.kind == EDGE_REPORT_STEP_WAIT) {
      clock_ms += step.wait_ms;
      continue;
    }
    const edge_report_credentials keys = {.struct_size = sizeof keys, .access_key = EDGE_REPORT_STR("EXAMPLEAK"), .secret_key = EDGE_REPORT_STR("EXAMPLESK")};
    const edge_report_str url = EDGE_REPORT_STR("https://gateway.example"), project = EDGE_REPORT_STR("0a1b2c");
    edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
    if (edge_report_request(url, project, &keys, step.body.ptr, step.body.len, start_ms + (int64_t)clock_ms + step.clock_offset_ms,
                            scratch, sizeof scratch, &request, &error))
      return failed("request", &error);
    measure();
    for (size_t i = 0; attempt == 1 && i < request.headers_len; i++) {
      print_str(request.headers[i].name);
      board_print(": ");
      print_str(request.headers[i].value);
      board_print("\n");
    }
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
    edge_report_result result = transport(attempt++, &reply);
    measure();
    /* The random number spreads the attempts of many nodes; a board has a generator for it. */
    if (edge_report_courier_settle(courier, step.ticket, result, &reply, NULL, clock_ms, 42, &verdict, &error))
      return failed("settle", &error);
    measure();
    board_print(verdicts[verdict.kind]);
    /* Why: what failed or the error_code of the response, and its words. */
    if (verdict.kind != EDGE_REPORT_VERDICT_DELIVERED) {
      board_print(" ");
      board_print(verdict.reason.code ? edge_report_result_text(verdict.reason.code) : verdict.reason.error_code);
      board_print(" ");
      board_print(verdict.reason.text);
    }
    board_print("\n");
  }
}

int main(void) {
  board_stack_paint();
  const edge_report_exception exception = {.struct_size = sizeof exception, .error_id = EDGE_REPORT_STR("Agent.51000"),
                                           .error_type = EDGE_REPORT_STR("JOB_SUBMIT_EXCEPTION"),
                                           .error_cause = EDGE_REPORT_STR("agent_submit_job_exception_error"),
                                           .error_time_ms = 1591104868201};
  const edge_report_job job = {.struct_size = sizeof job, .job_id = 99270,
                               .status = EDGE_REPORT_STR(EDGE_REPORT_STATUS_SUBMIT_FAIL),
                               .create_time = 1591104868201,
                               .exception = &exception};
  const edge_report_report report = {.struct_size = sizeof report, .jobs = &job,
                                     .jobs_len = 1,
                                     .msg_confirm_topic = EDGE_REPORT_STR("hw/events/messages/dli/message/confirm"),
                                     .message_id = EDGE_REPORT_STR("uuid")};
  static char body[512];
  size_t len;
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  if (edge_report_encode(&report, body, sizeof body, &len, &error)) return failed("encode", &error);
  measure();
  board_print_bytes(body, len);
  board_print("\n");

  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  if (edge_report_check(body, len, NULL, 0, &summary, &error)) return failed("check", &error);
  measure();

  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  config.report_bytes = 512;
  edge_report_courier *courier;
  if (edge_report_courier_new_ram(memory, sizeof memory, &config, clock_ms, 7, &courier, &error)) return failed("courier", &error);
  measure();
  if (edge_report_courier_submit(courier, &report, clock_ms, start_ms + (int64_t)clock_ms, NULL, &error)) return failed("submit", &error);
  measure();
  if (deliver(courier)) return 1;

  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  if (edge_report_courier_status(courier, &state, &error)) return failed("status", &error);
  edge_report_courier_free(courier);
  measure();
  board_print("delivered ");
  board_print_number((uint32_t)state.delivered);
  board_print(" of ");
  board_print_number((uint32_t)state.submitted);
  board_print("\nstack ");
  board_print_number(deepest);
  board_print("\nflash ");
  board_print_number(board_flash_size());
  board_print("\nstatic ");
  board_print_number(board_static_size());
  board_print("\n");
  return state.delivered == 1 ? 0 : 1;
}
