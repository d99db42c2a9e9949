// edge-report for C++17: owners for the handles of edge_report.h, views in, exceptions out. It adds no logic: what each function
// does, what it borrows and when it blocks is said there.
//
// A call that fails throws edge_report::error. With EDGE_REPORT_NO_EXCEPTIONS defined nothing is thrown: calls return a
// [[nodiscard]] edge_report::outcome, which holds the value or the error.
#ifndef EDGE_REPORT_HPP
#define EDGE_REPORT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "edge_report.h"

#ifndef EDGE_REPORT_NO_EXCEPTIONS
#include <exception>
#endif

namespace edge_report {

/// A text for C, which must outlive the view. A string_view without a pointer is an absent text.
inline edge_report_str str(std::string_view text) { return {text.data(), text.size()}; }

/// A text of C.
inline std::string_view view(edge_report_str text) {
  return text.ptr ? std::string_view(text.ptr, text.len) : std::string_view();
}

/// What went wrong: edge_report_error, with a text.
#ifdef EDGE_REPORT_NO_EXCEPTIONS
class error {
#else
class error : public std::exception {
#endif
 public:
  explicit error(const edge_report_error &data = EDGE_REPORT_ERROR_INIT) : data_(data) {
    if (data_.path[0]) text_ += std::string(data_.path) + ": ";
    text_ += edge_report_result_text(data_.code);
    if (data_.detail[0]) text_ += std::string(": ") + data_.detail;
  }
  edge_report_result code() const noexcept { return data_.code; }
  const edge_report_error &data() const noexcept { return data_; }
#ifdef EDGE_REPORT_NO_EXCEPTIONS
  const char *what() const noexcept { return text_.c_str(); }
#else
  const char *what() const noexcept override { return text_.c_str(); }
#endif

 private:
  edge_report_error data_;
  std::string text_;
};

#ifdef EDGE_REPORT_NO_EXCEPTIONS
/// The value of a call, or its error.
template <class T>
class [[nodiscard]] outcome {
 public:
  outcome(T &&value) : value_(std::move(value)) {}
  outcome(const edge_report_error &data) : error_(std::make_unique<edge_report::error>(data)) {}
  explicit operator bool() const noexcept { return !error_; }
  /// Only where there is no error.
  T &operator*() noexcept { return value_; }
  T *operator->() noexcept { return &value_; }
  /// Only where there is one.
  const edge_report::error &failure() const noexcept { return *error_; }

 private:
  T value_{};
  std::unique_ptr<edge_report::error> error_;
};
#else
template <class T>
using outcome = T;
#endif

/// Stands for the value of a call that has none.
struct done {};

namespace detail {
/// Runs a function of C, which writes an error, and gives the value or the error.
template <class T, class Call>
outcome<T> run(T value, Call call) {
  edge_report_error error = EDGE_REPORT_ERROR_INIT;
  if (call(value, &error) == EDGE_REPORT_OK) return outcome<T>(std::move(value));
#ifdef EDGE_REPORT_NO_EXCEPTIONS
  return outcome<T>(error);
#else
  throw edge_report::error(error);
#endif
}

struct free_handle {
  void operator()(edge_report_courier *handle) const noexcept { edge_report_courier_free(handle); }
  void operator()(edge_report_flink *handle) const noexcept { edge_report_flink_free(handle); }
#ifndef EDGE_REPORT_BARE
  void operator()(edge_report_client *handle) const noexcept { edge_report_client_free(handle); }
  void operator()(edge_report_reporter *handle) const noexcept { edge_report_reporter_free(handle); }
#endif
};

#ifndef EDGE_REPORT_BARE
template <class Callable>
void *address_of(Callable &callable) {
  return const_cast<void *>(static_cast<const void *>(std::addressof(callable)));
}

/// Tells a callable, which must outlive it.
template <class Observe>
edge_report_observer observer_of(Observe &observe) {
  edge_report_observer observer = EDGE_REPORT_OBSERVER_INIT;
  observer.user = address_of(observe);
  observer.event = [](void *user, const edge_report_event *event) noexcept { (*static_cast<Observe *>(user))(*event); };
  return observer;
}

/// Calls a callable with an owner of what is only lent.
template <class Use, class Owner, class Handle>
void lend(void *use, Handle *handle) noexcept {
  Owner lent(handle);
  (*static_cast<std::remove_reference_t<Use> *>(use))(lent);
  (void)lent.release();
}
#endif

template <class Handle>
using owner = std::unique_ptr<Handle, free_handle>;

/// Gives a handle to its owner.
template <class T, class Handle, class Make>
outcome<T> own(Make make) {
  return run(T(), [&](T &object, edge_report_error *error) {
    Handle *handle = nullptr;
    edge_report_result result = make(&handle, error);
    if (result == EDGE_REPORT_OK) object = T(handle);
    return result;
  });
}
}  // namespace detail

/// The canonical bytes of a report.
inline outcome<std::string> encode(const edge_report_report &report) {
  return detail::run(std::string(), [&](std::string &body, edge_report_error *error) {
    std::size_t len = 0;
    edge_report_result result = edge_report_encoded_len(&report, &len, error);
    if (result != EDGE_REPORT_OK) return result;
    body.resize(len);
    return edge_report_encode(&report, body.data(), body.size(), &len, error);
  });
}

/// Checks JSON text: its first error is thrown; the first findings of all go to `findings`, and how many there were to `summary`.
inline outcome<done> check(std::string_view text, edge_report_finding *findings = nullptr, std::size_t capacity = 0,
                           edge_report_summary *summary = nullptr) {
  return detail::run(done(), [&](done &, edge_report_error *error) {
    return edge_report_check(text.data(), text.size(), findings, capacity, summary, error);
  });
}

/// A text of a response, decoded.
inline outcome<std::string> unescape(edge_report_str text) {
  return detail::run(std::string(text.len, '\0'), [&](std::string &decoded, edge_report_error *error) {
    std::size_t len = 0;
    edge_report_result result = edge_report_unescape(text, decoded.data(), decoded.size(), &len, error);
    decoded.resize(len);
    return result;
  });
}

/// Reads the response to a report; its texts borrow from `body`. With prefixes of error codes if the service has its own.
inline outcome<edge_report_reply> read_reply(unsigned status, std::string_view retry_after, std::string_view date,
                                             std::string_view body, std::int64_t unix_ms,
                                             const edge_report_str *service_codes = nullptr,
                                             std::size_t service_codes_len = 0) {
  return detail::run(edge_report_reply(EDGE_REPORT_REPLY_INIT), [&](edge_report_reply &reply, edge_report_error *error) {
    return edge_report_read_reply_with(service_codes, service_codes_len, status, str(retry_after), str(date), body.data(),
                                       body.size(), unix_ms, &reply, error);
  });
}

/// Owns an edge_report_courier.
class courier {
 public:
  courier() = default;
  explicit courier(edge_report_courier *handle) : handle_(handle) {}
  /// In the caller's memory, which must outlive it.
  static outcome<courier> in_memory(void *memory, std::size_t size, const edge_report_courier_config &config,
                                    std::uint64_t now_ms, std::uint64_t entropy) {
    return detail::own<courier, edge_report_courier>([&](edge_report_courier **handle, edge_report_error *error) {
      return edge_report_courier_new_ram(memory, size, &config, now_ms, entropy, handle, error);
    });
  }
  /// On a device behind callbacks, with the caller's memory, which must outlive it.
  static outcome<courier> on_storage(const edge_report_storage &live, const edge_report_storage &dead, void *memory,
                                     std::size_t size, const edge_report_courier_config &config, std::uint64_t now_ms,
                                     std::uint64_t entropy) {
    return detail::own<courier, edge_report_courier>([&](edge_report_courier **handle, edge_report_error *error) {
      return edge_report_courier_new_storage(&live, &dead, memory, size, &config, now_ms, entropy, handle, error);
    });
  }
#ifndef EDGE_REPORT_BARE
  /// In a directory.
  static outcome<courier> in_spool(std::string_view dir, const edge_report_courier_config &config = EDGE_REPORT_COURIER_CONFIG_INIT,
                                   const edge_report_spool_options *options = nullptr) {
    return detail::own<courier, edge_report_courier>([&](edge_report_courier **handle, edge_report_error *error) {
      return edge_report_courier_new_spool(str(dir), options, &config, edge_report_monotonic_ms(), edge_report_random(),
                                           handle, error);
    });
  }
#endif
  outcome<std::uint64_t> submit(const edge_report_report &report, std::uint64_t now_ms, std::int64_t unix_ms = 0) {
    return detail::run(std::uint64_t(), [&](std::uint64_t &ticket, edge_report_error *error) {
      return edge_report_courier_submit(get(), &report, now_ms, unix_ms, &ticket, error);
    });
  }
  outcome<std::uint64_t> submit_encoded(std::string_view body, std::uint64_t now_ms, std::int64_t unix_ms = 0) {
    return detail::run(std::uint64_t(), [&](std::uint64_t &ticket, edge_report_error *error) {
      return edge_report_courier_submit_encoded(get(), body.data(), body.size(), now_ms, unix_ms, &ticket, error);
    });
  }
  outcome<edge_report_step> next(std::uint64_t now_ms) {
    return detail::run(edge_report_step(EDGE_REPORT_STEP_INIT), [&](edge_report_step &step, edge_report_error *error) {
      return edge_report_courier_next(get(), now_ms, &step, error);
    });
  }
  /// `reply` counts only with EDGE_REPORT_OK, `failure` only with others.
  outcome<edge_report_verdict> settle(std::uint64_t ticket, edge_report_result result, const edge_report_reply *reply,
                                      std::uint64_t now_ms, std::uint64_t entropy,
                                      const edge_report_error *failure = nullptr) {
    return detail::run(edge_report_verdict(EDGE_REPORT_VERDICT_INIT), [&](edge_report_verdict &verdict, edge_report_error *error) {
      return edge_report_courier_settle(get(), ticket, result, reply, failure, now_ms, entropy, &verdict, error);
    });
  }
  /// A dead letter that no verdict told of: its ticket, which is 0 if there is none, and why.
  outcome<std::pair<std::uint64_t, edge_report_reason>> take_dead_letter() {
    return detail::run(std::pair<std::uint64_t, edge_report_reason>(), [&](auto &buried, edge_report_error *error) {
      return edge_report_courier_take_dead_letter(get(), &buried.first, &buried.second, error);
    });
  }
  outcome<edge_report_courier_state> status() const {
    return detail::run(edge_report_courier_state(EDGE_REPORT_COURIER_STATE_INIT), [&](edge_report_courier_state &state, edge_report_error *error) {
      return edge_report_courier_status(get(), &state, error);
    });
  }
  /// When the oldest report that waits was submitted, or 0.
  outcome<std::int64_t> oldest() {
    return detail::run(std::int64_t(), [&](std::int64_t &unix_ms, edge_report_error *error) {
      return edge_report_courier_oldest(get(), &unix_ms, error);
    });
  }
  outcome<done> wake(std::uint64_t now_ms) {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_courier_wake(get(), now_ms, error); });
  }
  outcome<done> flush() {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_courier_flush(get(), error); });
  }
  outcome<edge_report_letter> dead_letter(std::uint64_t after = 0) {
    return detail::run(edge_report_letter(EDGE_REPORT_LETTER_INIT), [&](edge_report_letter &letter, edge_report_error *error) {
      return edge_report_courier_dead_letter(get(), after, &letter, error);
    });
  }
  outcome<edge_report_letter> find_dead_letter(std::uint64_t ticket) {
    return detail::run(edge_report_letter(EDGE_REPORT_LETTER_INIT), [&](edge_report_letter &letter, edge_report_error *error) {
      return edge_report_courier_find_dead_letter(get(), ticket, &letter, error);
    });
  }
  /// The first of all for the ticket 0.
  outcome<std::uint64_t> resubmit_dead_letter(std::uint64_t ticket, std::uint64_t now_ms, std::int64_t unix_ms = 0) {
    return detail::run(std::uint64_t(), [&](std::uint64_t &again, edge_report_error *error) {
      return edge_report_courier_resubmit_dead_letter(get(), ticket, now_ms, unix_ms, &again, error);
    });
  }
  outcome<done> forget_dead_letter(std::uint64_t ticket) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_courier_forget_dead_letter(get(), ticket, error);
    });
  }
  outcome<done> forget_dead_letters(std::uint64_t up_to) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_courier_forget_dead_letters(get(), up_to, error);
    });
  }
  /// The handle, which stays owned here.
  edge_report_courier *get() const noexcept { return handle_.get(); }
  /// The handle, which is the caller's from here on.
  edge_report_courier *release() noexcept { return handle_.release(); }

 private:
  detail::owner<edge_report_courier> handle_;
};

/// Owns an edge_report_flink.
class flink {
 public:
  flink() = default;
  explicit flink(edge_report_flink *handle) : handle_(handle) {}
  /// In the caller's memory, which must outlive it, as must the texts of the configuration.
  static outcome<flink> in_memory(void *memory, std::size_t size, std::size_t jobs,
                                  const edge_report_flink_config &config = EDGE_REPORT_FLINK_CONFIG_INIT) {
    return detail::own<flink, edge_report_flink>([&](edge_report_flink **handle, edge_report_error *error) {
      return edge_report_flink_new(memory, size, jobs, &config, handle, error);
    });
  }
  /// The bytes of a report are written into the buffer.
  outcome<edge_report_flink_step> next(std::uint64_t now_ms, void *buffer, std::size_t capacity) {
    return detail::run(edge_report_flink_step(EDGE_REPORT_FLINK_STEP_INIT), [&](edge_report_flink_step &step, edge_report_error *error) {
      return edge_report_flink_next(get(), now_ms, buffer, capacity, &step, error);
    });
  }
  /// An error says that the response was of no use: the watch goes on.
  outcome<done> response(unsigned status, std::string_view body, std::uint64_t now_ms) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_flink_response(get(), status, body.data(), body.size(), now_ms, error);
    });
  }
  outcome<done> failed(std::uint64_t now_ms) {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_flink_failed(get(), now_ms, error); });
  }
  outcome<done> reported(bool is_stored) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_flink_reported(get(), is_stored, error);
    });
  }
  /// Whether the job is in the table.
  outcome<bool> stop_asked(std::string_view jid) {
    return detail::run(bool(), [&](bool &is_known, edge_report_error *error) {
      std::uint32_t known = 0;
      edge_report_result result = edge_report_flink_stop_asked(get(), str(jid), &known, error);
      is_known = known != 0;
      return result;
    });
  }
  /// 0 if the job is reported without one.
  outcome<std::int64_t> job_id(std::string_view jid, std::string_view name = {}) const {
    return detail::run(std::int64_t(), [&](std::int64_t &id, edge_report_error *error) {
      return edge_report_flink_job_id(get(), str(jid), str(name), &id, error);
    });
  }
  outcome<std::string> save() {
    return detail::run(std::string(), [&](std::string &table, edge_report_error *error) {
      std::size_t len = 0;
      edge_report_result result = edge_report_flink_save(get(), nullptr, 0, &len, error);
      if (result != EDGE_REPORT_E_BUFFER_TOO_SMALL) return result;
      table.resize(len);
      result = edge_report_flink_save(get(), table.data(), table.size(), &len, error);
      table.resize(len);
      return result;
    });
  }
  outcome<done> restore(std::string_view table, std::uint64_t now_ms) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_flink_restore(get(), table.data(), table.size(), now_ms, error);
    });
  }
  outcome<edge_report_flink_state> status() const {
    return detail::run(edge_report_flink_state(EDGE_REPORT_FLINK_STATE_INIT), [&](edge_report_flink_state &state, edge_report_error *error) {
      return edge_report_flink_status(get(), &state, error);
    });
  }
  /// The handle, which stays owned here.
  edge_report_flink *get() const noexcept { return handle_.get(); }
  /// The handle, which is the caller's from here on.
  edge_report_flink *release() noexcept { return handle_.release(); }

 private:
  detail::owner<edge_report_flink> handle_;
};

#ifndef EDGE_REPORT_BARE
/// Owns an edge_report_client.
class client {
 public:
  client() = default;
  explicit client(edge_report_client *handle) : handle_(handle) {}
  static outcome<client> open(const edge_report_client_config &config) {
    return detail::own<client, edge_report_client>([&](edge_report_client **handle, edge_report_error *error) {
      return edge_report_client_new(&config, handle, error);
    });
  }
  /// The texts of the reply hold until the next call.
  outcome<edge_report_reply> send(const edge_report_report &report) {
    return detail::run(edge_report_reply(EDGE_REPORT_REPLY_INIT), [&](edge_report_reply &reply, edge_report_error *error) {
      return edge_report_client_send(get(), &report, &reply, error);
    });
  }
  outcome<edge_report_reply> send_encoded(std::string_view body) {
    return detail::run(edge_report_reply(EDGE_REPORT_REPLY_INIT), [&](edge_report_reply &reply, edge_report_error *error) {
      return edge_report_client_send_encoded(get(), body.data(), body.size(), &reply, error);
    });
  }
  /// One of EDGE_REPORT_PAUSE_….
  outcome<edge_report_pause> deliver(courier &from, std::uint32_t timeout_ms, const edge_report_lock *lock = nullptr,
                                     const edge_report_observer *observer = nullptr) {
    return detail::run(edge_report_pause(), [&](edge_report_pause &pause, edge_report_error *error) {
      return edge_report_client_deliver(get(), from.get(), lock, timeout_ms, observer, &pause, error);
    });
  }
  /// The same; `observe` takes a `const edge_report_event &`. An exception of its own ends the program.
  template <class Observe>
  outcome<edge_report_pause> deliver_telling(courier &from, std::uint32_t timeout_ms, Observe &&observe,
                                             const edge_report_lock *lock = nullptr) {
    edge_report_observer observer = detail::observer_of(observe);
    return deliver(from, timeout_ms, lock, &observer);
  }
  /// Until it is woken or cancelled, or the time is up; 0: no limit.
  outcome<done> wait(std::uint32_t timeout_ms = 0) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_client_wait(get(), timeout_ms, error);
    });
  }
  /// From any thread.
  outcome<done> wake() const {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_client_wake(get(), error); });
  }
  /// From any thread.
  outcome<done> cancel() const {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_client_cancel(get(), error); });
  }
  outcome<done> set_credentials(const edge_report_credentials &credentials) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_client_set_credentials(get(), &credentials, error);
    });
  }
  outcome<done> set_tls(const edge_report_tls &tls) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_client_set_tls(get(), &tls, error);
    });
  }
  outcome<done> set_known_time(std::int64_t unix_ms) {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_client_set_known_time(get(), unix_ms, error);
    });
  }
  edge_report_client *get() const noexcept { return handle_.get(); }
  edge_report_client *release() noexcept { return handle_.release(); }

 private:
  detail::owner<edge_report_client> handle_;
};

/// Owns an edge_report_reporter, and what it calls.
class reporter {
 public:
  using observer = std::function<void(const edge_report_event &)>;

  reporter() = default;
  reporter(reporter &&) = default;
  /// What was there before is stopped first, since its thread may be in the observer.
  reporter &operator=(reporter &&other) noexcept {
    handle_ = std::move(other.handle_);
    observe_ = std::move(other.observe_);
    return *this;
  }
  /// `observe` is called on the reporter's thread; empty: nobody is told. An exception of its own ends the program. The client and the courier are
  /// taken when it succeeds.
  static outcome<reporter> start(client &&from, courier &&to, observer observe = {}) {
    return detail::run(reporter(), [&](reporter &started, edge_report_error *error) {
      auto kept = std::make_unique<observer>(std::move(observe));
      edge_report_observer told = detail::observer_of(*kept);
      edge_report_reporter *handle = nullptr;
      edge_report_result result = edge_report_reporter_new(from.get(), to.get(), *kept ? &told : nullptr, &handle, error);
      if (result == EDGE_REPORT_OK || result == EDGE_REPORT_E_NO_THREAD) (void)from.release(), (void)to.release();
      started.observe_ = std::move(kept);
      started.handle_.reset(handle);
      return result;
    });
  }
  outcome<std::uint64_t> submit(const edge_report_report &report) const {
    return detail::run(std::uint64_t(), [&](std::uint64_t &ticket, edge_report_error *error) {
      return edge_report_reporter_submit(get(), &report, &ticket, error);
    });
  }
  outcome<std::uint64_t> submit_encoded(std::string_view body) const {
    return detail::run(std::uint64_t(), [&](std::uint64_t &ticket, edge_report_error *error) {
      return edge_report_reporter_submit_encoded(get(), body.data(), body.size(), &ticket, error);
    });
  }
  outcome<edge_report_courier_state> status() const {
    return detail::run(edge_report_courier_state(EDGE_REPORT_COURIER_STATE_INIT),
                       [&](edge_report_courier_state &state, edge_report_error *error) {
                         return edge_report_reporter_status(get(), &state, error);
                       });
  }
  /// EDGE_REPORT_PAUSE_IDLE or EDGE_REPORT_PAUSE_TIME_UP.
  outcome<edge_report_pause> flush(std::uint32_t timeout_ms) const {
    return detail::run(edge_report_pause(), [&](edge_report_pause &pause, edge_report_error *error) {
      return edge_report_reporter_flush(get(), timeout_ms, &pause, error);
    });
  }
  outcome<done> wake() const {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_reporter_wake(get(), error); });
  }
  /// Calls `use` with a `courier &`, which is lent. An exception of its own ends the program.
  template <class Use>
  outcome<done> with_courier(Use &&use) const {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_reporter_with_courier(get(), detail::lend<Use, courier, edge_report_courier>,
                                               detail::address_of(use), error);
    });
  }
  /// Calls `use` with a `client &`, which is lent. An exception of its own ends the program.
  template <class Use>
  outcome<done> with_client(Use &&use) const {
    return detail::run(done(), [&](done &, edge_report_error *error) {
      return edge_report_reporter_with_client(get(), detail::lend<Use, client, edge_report_client>,
                                              detail::address_of(use), error);
    });
  }
  outcome<done> stop() {
    return detail::run(done(), [&](done &, edge_report_error *error) { return edge_report_reporter_stop(get(), error); });
  }
  edge_report_reporter *get() const noexcept { return handle_.get(); }

 private:
  // Outlives the handle, whose thread calls it.
  std::unique_ptr<observer> observe_;
  detail::owner<edge_report_reporter> handle_;
};
#endif

}  // namespace edge_report

#endif  // EDGE_REPORT_HPP
