/* A panic becomes a code and poisons its handle. Needs a library with the feature test-panic. */
#include "test.h"

edge_report_result edge_report_test_panic(edge_report_error *error);
edge_report_result edge_report_test_poison(edge_report_courier *courier, edge_report_error *error);

int main(void) {
  static uint64_t memory[(EDGE_REPORT_COURIER_RAM(512) + 7) / 8];
  edge_report_error error;
  edge_report_courier *courier;
  edge_report_courier_config config;
  edge_report_courier_state state;
  edge_report_step step;
  SAMPLE_REPORT(report);
  for (int i = 0; i < 3; i++) {
    memset(&error, 0, sizeof error);
    GIVES(EDGE_REPORT_E_INTERNAL, edge_report_test_panic(&error));
    CHECK(error.code == EDGE_REPORT_E_INTERNAL && strcmp(error.detail, "a test of the guard") == 0);
    GIVES(EDGE_REPORT_E_INTERNAL, edge_report_test_panic(NULL));
  }
  OK(edge_report_courier_config_init(&config));
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
