// The C++ wrapper, with exceptions and without: values, errors, ownership.
#include <atomic>
#include <edge_report.hpp>

#include "test.h"

alignas(8) static char memory[EDGE_REPORT_COURIER_RAM(512)];

#ifdef EDGE_REPORT_NO_EXCEPTIONS
#define VALUE(call) (*(call))
// Checks that a call fails with a code.
#define FAILS(wanted, text, call)                                  \
  do {                                                             \
    auto result = (call);                                          \
    if (CHECK(!result)) {                                          \
      CHECK(result.failure().code() == (wanted));                  \
      CHECK(std::string_view(result.failure().what()) == (text));  \
    }                                                              \
  } while (0)
#else
#define VALUE(call) (call)
#define FAILS(wanted, text, call)                                  \
  do {                                                             \
    try {                                                          \
      (void)(call);                                                \
      CHECK(!"it throws");                                         \
    } catch (const std::exception &caught) {                       \
      auto &error = dynamic_cast<const edge_report::error &>(caught); \
      CHECK(error.code() == (wanted));                             \
      CHECK(std::string_view(error.what()) == (text));             \
    }                                                              \
  } while (0)
#endif

int main() {
  SAMPLE_REPORT(report);
  auto encoded = edge_report::encode(report);
  std::string body = VALUE(encoded);
  CHECK(body == R"({"jobs":[{"job_id":99270,"status":"job_running","create_time":1591104868201}],)"
                R"("msg_confirm_topic":"confirm","message_id":"node-7-000001"})");
  edge_report_summary summary = EDGE_REPORT_SUMMARY_INIT;
  auto checked = edge_report::check(body, nullptr, 0, &summary);
  (void)checked;
  CHECK(summary.errors == 0 && summary.warnings == 0);
  FAILS(EDGE_REPORT_E_JSON_UNEXPECTED_END, "the JSON text ends too early", edge_report::check("{"));
  report_job.job_id = -1;
  FAILS(EDGE_REPORT_E_NOT_POSITIVE, "jobs[0].job_id: must be greater than 0", edge_report::encode(report));
  report_job.job_id = 7;
  auto decoded = edge_report::unescape(edge_report::str("a\\u00e9\\n"));
  CHECK(VALUE(decoded) == "a\xc3\xa9\n");
  CHECK(edge_report::view(edge_report_str{nullptr, 0}).data() == nullptr);

  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  config.start_spread_ms = 0;
  config.report_bytes = 512;
  FAILS(EDGE_REPORT_E_BUFFER_TOO_SMALL, "the buffer is too small", edge_report::courier::in_memory(memory, 10, config, 0, 0));
  auto made = edge_report::courier::in_memory(memory, sizeof memory, config, 0, 0);
  edge_report::courier courier = std::move(VALUE(made));
  CHECK(VALUE(made).get() == nullptr && courier.get() != nullptr);
  auto ticket = courier.submit(report, 0, 1591104868201);
  CHECK(VALUE(ticket) == 1);
  auto second = courier.submit_encoded(body, 0);
  CHECK(VALUE(second) == 2);
  auto step = courier.next(0);
  CHECK(VALUE(step).kind == EDGE_REPORT_STEP_SEND);
  auto reply = edge_report::read_reply(400, {}, {}, R"({"error_code":"DLI.0001"})", 0);
  CHECK(edge_report::view(VALUE(reply).error_code) == "DLI.0001");
  const edge_report_str codes[] = {edge_report::str("EDGE.")};
  auto other = edge_report::read_reply(400, {}, {}, R"({"error_code":"DLI.0001"})", 0, codes, 1);
  CHECK(VALUE(other).outcome == EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD);
  auto own = edge_report::read_reply(400, {}, {}, R"({"error_code":"EDGE.x"})", 0, codes, 1);
  CHECK(VALUE(own).outcome == EDGE_REPORT_OUTCOME_REFUSED);
  auto oldest = courier.oldest();
  CHECK(VALUE(oldest) == 1591104868201);
  auto verdict = courier.settle(VALUE(step).ticket, EDGE_REPORT_OK, &VALUE(reply), 0, 0);
  CHECK(VALUE(verdict).kind == EDGE_REPORT_VERDICT_REFUSED);
  CHECK(std::string_view(VALUE(verdict).reason.error_code) == "DLI.0001");
  auto buried = courier.take_dead_letter();
  CHECK(VALUE(buried).first == 0);
  auto found = courier.find_dead_letter(1);
  CHECK(VALUE(found).ticket == 1 && VALUE(found).reason.status == 400);
  auto letter = courier.dead_letter();
  CHECK(VALUE(letter).ticket == 1);
  auto again = courier.resubmit_dead_letter(1, 0);
  CHECK(VALUE(again) == 3);
  auto one = courier.forget_dead_letter(1);
  auto forgotten = courier.forget_dead_letters(3);
  auto woken = courier.wake(0);
  auto flushed = courier.flush();
  (void)one, (void)forgotten, (void)woken, (void)flushed;
  auto state = std::as_const(courier).status();
  CHECK(VALUE(state).waiting == 2 && VALUE(state).refused == 1);
  FAILS(EDGE_REPORT_E_STALE_TICKET, "ticket: this ticket is not in flight",
        courier.settle(9, EDGE_REPORT_E_NOT_SENT, nullptr, 0, 0));

  // A watch of a Flink cluster.
  alignas(8) static char flink_memory[EDGE_REPORT_FLINK_MEMORY(2, 4096)];
  static const char jid[] = "000000000000000000000000000183c6";
  char draft[1024];
  FAILS(EDGE_REPORT_E_OUT_OF_RANGE, "jobs: value out of range", edge_report::flink::in_memory(flink_memory, sizeof flink_memory, 0));
  auto watch = edge_report::flink::in_memory(flink_memory, sizeof flink_memory, 2);
  edge_report::flink flink = std::move(VALUE(watch));
  CHECK(VALUE(watch).get() == nullptr && flink.get() != nullptr);
  auto asked = flink.next(0, draft, sizeof draft);
  CHECK(VALUE(asked).kind == EDGE_REPORT_FLINK_STEP_GET && edge_report::view(VALUE(asked).path) == "/jobs/overview");
  auto nothing = flink.failed(0);
  auto asked_again = flink.next(5000, draft, sizeof draft);
  FAILS(EDGE_REPORT_E_FLINK_STATUS, "Flink answered with an error", flink.response(503, "", 5000));
  auto asked_last = flink.next(10000, draft, sizeof draft);
  auto overview = flink.response(200, R"({"jobs":[{"jid":"000000000000000000000000000183c6","state":"CANCELED","start-time":1,"end-time":2}]})", 10000);
  (void)nothing, (void)asked_again, (void)asked_last, (void)overview;
  auto known = flink.stop_asked(jid);
  CHECK(VALUE(known));
  auto mapped = std::as_const(flink).job_id(jid);
  CHECK(VALUE(mapped) == 99270);
  auto kept = flink.save();
  auto refused = flink.reported(false);
  auto watched = std::as_const(flink).status();
  CHECK(VALUE(watched).jobs == 1 && VALUE(watched).needs_saving == 0);
  auto restored = flink.restore(VALUE(kept), 10000);
  (void)refused, (void)VALUE(restored);
  FAILS(EDGE_REPORT_E_FLINK_TABLE, "table: not a table of jobs that was kept, or a damaged one", flink.restore("EFW1", 10000));

  edge_report_client_config settings = EDGE_REPORT_CLIENT_CONFIG_INIT;
  FAILS(EDGE_REPORT_E_NULL_POINTER, "config.base_url: NULL where none is allowed", edge_report::client::open(settings));
  // Nobody listens there.
  settings.base_url = edge_report::str("http://127.0.0.1:1");
  settings.project_id = edge_report::str("p");
  auto opened = edge_report::client::open(settings);
  edge_report::client client = std::move(VALUE(opened));
#ifdef EDGE_REPORT_NO_EXCEPTIONS
  auto sent = client.send(report);
  CHECK(!sent && sent.failure().code() == EDGE_REPORT_E_NOT_SENT);
#else
  try {
    client.send(report);
    CHECK(!"it throws");
  } catch (const edge_report::error &error) {
    CHECK(error.code() == EDGE_REPORT_E_NOT_SENT);
  }
#endif
  edge_report_tls tls = EDGE_REPORT_TLS_INIT;
  tls.ca_certificate = edge_report::str("no certificate");
  FAILS(EDGE_REPORT_E_CA_CERTIFICATE,
        "tls.ca_certificate: no usable CA certificate: neither PEM nor DER: the file's content is wanted, not its name", client.set_tls(tls));
  auto timed = client.set_known_time(1795737600000);
  (void)VALUE(timed);
  auto paused = client.deliver(courier, 0);
  CHECK(VALUE(paused) == EDGE_REPORT_PAUSE_TIME_UP);

  // By the thread of a reporter.
  static char room[EDGE_REPORT_COURIER_RAM(512)];
  auto another = edge_report::courier::in_memory(room, sizeof room, config, edge_report_monotonic_ms(), 0);
  unsigned told = 0;
  auto delivered = client.deliver_telling(VALUE(another), 0, [&](const edge_report_event &) { told++; });
  CHECK(VALUE(delivered) == EDGE_REPORT_PAUSE_IDLE && told == 0);
  FAILS(EDGE_REPORT_E_NULL_POINTER, "client: NULL where none is allowed",
        edge_report::reporter::start(edge_report::client(), std::move(VALUE(another))));
  std::atomic<unsigned> events{0};
  auto started = edge_report::reporter::start(std::move(client), std::move(VALUE(another)), [&](const edge_report_event &event) {
    if (event.kind == EDGE_REPORT_EVENT_WAITING) events++;
  });
  edge_report::reporter reporter;
  reporter = std::move(VALUE(started));
  CHECK(client.get() == nullptr && VALUE(another).get() == nullptr);
  auto reported = reporter.submit(report);
  auto bytes = reporter.submit_encoded(body);
  CHECK(VALUE(reported) == 1 && VALUE(bytes) == 2);
  auto left = reporter.flush(100);
  CHECK(VALUE(left) == EDGE_REPORT_PAUSE_TIME_UP);
  std::uint64_t waiting = 0;
  auto lent = reporter.with_courier([&](edge_report::courier &inner) {
    auto inner_state = inner.status();
    waiting = VALUE(inner_state).waiting;
  });
  auto changed = reporter.with_client([](edge_report::client &inner) { (void)inner.set_known_time(1795737600000); });
  auto roused = reporter.wake();
  (void)lent, (void)changed, (void)roused;
  auto standing = reporter.status();
  CHECK(waiting == 2 && VALUE(standing).waiting == 2);
  auto stopped = reporter.stop();
  (void)VALUE(stopped);
  CHECK(events > 0);
  FAILS(EDGE_REPORT_E_NOT_USABLE, "reporter: not initialised, ended, or freed", reporter.status());
  return done("wrapper", 35);
}
