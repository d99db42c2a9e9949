/* All of it: reports built, checked and signed, queued in memory and delivered, with a full queue and a refused report. */
#include "footprint.h"

static char scratch[512];
static uint64_t now;

#ifndef MAKE_COURIER /* storage.c has its own */
#define MAKE_COURIER make_in_memory
static uint64_t memory[EDGE_REPORT_COURIER_RAM(512) / 8 + 1];

static edge_report_result make_in_memory(edge_report_courier **courier) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  config.report_bytes = 512;
  return CALL(edge_report_courier_new_ram(memory, sizeof memory, &config, now, 7, courier, &error));
}
#endif

/* Offers what is due, signs it, and tells the courier that this answer came. */
static int answer(edge_report_courier *courier, uint32_t status, const char *text, uint32_t verdict_wanted) {
  const edge_report_credentials keys = {.struct_size = sizeof keys, .access_key = EDGE_REPORT_STR("AK"), .secret_key = EDGE_REPORT_STR("SK")};
  const edge_report_str url = EDGE_REPORT_STR("https://gateway.example"), project = EDGE_REPORT_STR("0a1b2c"), none = {NULL, 0};
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  for (;; now += step.wait_ms) {
    if (CALL(edge_report_courier_next(courier, now, &step, &error))) return 1;
    if (step.kind != EDGE_REPORT_STEP_WAIT) break;
  }
  if (step.kind != EDGE_REPORT_STEP_SEND) return 2;
  edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
  if (CALL(edge_report_request(url, project, &keys, step.body.ptr, step.body.len, 1591104868201, scratch, sizeof scratch, &request, &error)))
    return 3;
  edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
  if (CALL(edge_report_read_reply(status, none, none, text, edge_report_str_of(text).len, 1591104868201, &reply, &error))) return 4;
  edge_report_verdict verdict = EDGE_REPORT_VERDICT_INIT;
  if (CALL(edge_report_courier_settle(courier, step.ticket, EDGE_REPORT_OK, &reply, NULL, now, 42, &verdict, &error))) return 5;
  return verdict.kind == verdict_wanted ? 0 : 6;
}

int work(void) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  if (encode_sample() || CALL(edge_report_check(body, body_len, NULL, 0, &summary, &error))) return 10;

  edge_report_courier *courier;
  if (MAKE_COURIER(&courier)) return 11;
  /* Over and over: from some report on, older ones of the same job are dropped for it, and what is left is merged. */
  for (int i = 0; i < 40; i++) {
    if (CALL(edge_report_courier_submit(courier, &sample, now, 0, NULL, &error))) return 12;
  }
  if (answer(courier, 503, "", EDGE_REPORT_VERDICT_AGAIN)) return 13;
  if (answer(courier, 400, "{\"error_code\":\"DLI.0001\",\"error_msg\":\"no\"}", EDGE_REPORT_VERDICT_REFUSED)) return 14;
  if (answer(courier, 200, "{\"is_success\":true}", EDGE_REPORT_VERDICT_DELIVERED)) return 15;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  if (CALL(edge_report_courier_status(courier, &state, &error))) return 16;
  if (state.delivered != 1 || state.refused != 1 || state.superseded == 0) return 17;
  edge_report_courier_free(courier);
  return 0;
}
