/* What only a library with the feature test-panic can show: a panic becomes a code and poisons its handle. */
#include "test.h"

edge_report_result edge_report_test_panic(edge_report_error *error);
edge_report_result edge_report_test_poison(edge_report_courier *courier, edge_report_error *error);
edge_report_courier_config edge_report_test_defaults(void);
edge_report_flink_config edge_report_test_flink_defaults(void);

int main(void) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  edge_report_courier *courier;
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  edge_report_courier_state state = EDGE_REPORT_COURIER_STATE_INIT;
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  SAMPLE_REPORT(report);
  for (int i = 0; i < 3; i++) {
    GIVES(EDGE_REPORT_E_INTERNAL, edge_report_test_panic(&error));
    CHECK(error.code == EDGE_REPORT_E_INTERNAL && strcmp(error.detail, "a test of the guard") == 0);
    GIVES(EDGE_REPORT_E_INTERNAL, edge_report_test_panic(NULL));
  }
  edge_report_courier_config defaults = edge_report_test_defaults();
  CHECK(config.struct_size == defaults.struct_size && config.min_backoff_ms == defaults.min_backoff_ms);
  CHECK(config.max_backoff_ms == defaults.max_backoff_ms && config.max_retry_after_ms == defaults.max_retry_after_ms);
  CHECK(config.hold_ms == defaults.hold_ms && config.start_spread_ms == defaults.start_spread_ms);
  CHECK(config.max_clock_skew_ms == defaults.max_clock_skew_ms && config.max_time_ms == defaults.max_time_ms);
  CHECK(config.max_attempts == defaults.max_attempts && config.open_circuit_after == defaults.open_circuit_after);
  CHECK(config.batch_reports == defaults.batch_reports && config.batch_ms == defaults.batch_ms);
  CHECK(config.refuse_after == defaults.refuse_after && config.backlog == defaults.backlog);
  CHECK(config.when_letters_full == defaults.when_letters_full && config.report_bytes == defaults.report_bytes);
  edge_report_flink_config asks = EDGE_REPORT_FLINK_CONFIG_INIT, by_default = edge_report_test_flink_defaults();
  CHECK(asks.struct_size == by_default.struct_size && asks.poll_ms == by_default.poll_ms && asks.heartbeat_ms == by_default.heartbeat_ms);
  CHECK(asks.cache_ms == by_default.cache_ms && asks.steady_ms == by_default.steady_ms && asks.requests == by_default.requests);
  CHECK(asks.exception_bytes == by_default.exception_bytes);
  config.report_bytes = 512;
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  GIVES(EDGE_REPORT_E_INTERNAL, edge_report_test_poison(courier, &error));
  CHECK(strcmp(error.detail, "a test of the poison") == 0);
  GIVES(EDGE_REPORT_E_POISONED, edge_report_courier_submit(courier, &report, 0, 0, NULL, &error));
  CHECK(strcmp(error.path, "courier") == 0);
  GIVES(EDGE_REPORT_E_POISONED, edge_report_courier_next(courier, 0, &step, NULL));
  GIVES(EDGE_REPORT_E_POISONED, edge_report_courier_status(courier, &state, NULL));
  GIVES(EDGE_REPORT_E_POISONED, edge_report_test_poison(courier, NULL));
  edge_report_courier_free(courier);
  GIVES(EDGE_REPORT_E_NOT_USABLE, edge_report_courier_next(courier, 0, &step, NULL));
  /* Made anew, it serves again. */
  OK(edge_report_courier_new_ram(memory, sizeof memory, &config, 0, 0, &courier, NULL));
  OK(edge_report_courier_submit(courier, &report, 0, 0, NULL, NULL));
  edge_report_courier_free(courier);
  return done("guard", 20);
}
