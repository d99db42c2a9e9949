//! What a courier is told and what it says, as plain data.

use core::ffi::c_char;

use edge_report::courier::{
    Backlog, Cause, DeadLetter, Durability, Event, Policy, Reason, Status, Step, Verdict,
    WhenLettersFull,
};
use edge_report::json::Text;
use edge_report::{Code, MonoTime, WallTime};

use crate::error::{Failure, Place, edge_report_error, write_text};
use crate::guard::number;
use crate::reply::{edge_report_outcome, edge_report_reply};
use crate::sized::{Room, given, required};
use crate::types::{OK, edge_report_result, edge_report_str};
use crate::version::{code_from, outcome_from};

/// What is sent of a backlog: one of `EDGE_REPORT_BACKLOG_…`.
pub type edge_report_backlog = u32;
/// All reports.
pub const EDGE_REPORT_BACKLOG_KEEP_ALL: u32 = 0;
/// Those that say the newest of some job: what newer waiting reports supersede is dropped before it is sent, so that after an outage each job
/// is current at once. A final status yields only to a final one.
pub const EDGE_REPORT_BACKLOG_LATEST_PER_JOB: u32 = 1;

/// What to do when there is no room for another dead letter: one of `EDGE_REPORT_LETTERS_…`.
pub type edge_report_letters_full = u32;
/// Drop the oldest letters, and count them.
pub const EDGE_REPORT_LETTERS_DROP_OLDEST: u32 = 0;
/// Drop none: the report stays in the queue, unsent, until somebody made room.
pub const EDGE_REPORT_LETTERS_HOLD: u32 = 1;

/// When to try again, when to stop, and when what is stored is durable. EDGE_REPORT_COURIER_CONFIG_INIT has the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_courier_config {
    /// Its size: begin with `EDGE_REPORT_COURIER_CONFIG_INIT`.
    pub struct_size: usize,
    /// The shortest wait after a failure; less than 10 ms counts as 10 ms. Default: 1 s.
    pub min_backoff_ms: u64,
    /// The longest wait after a failure; less than 10 ms counts as 10 ms. Default: 300 s.
    pub max_backoff_ms: u64,
    /// The longest `Retry-After` that is honoured, and at random up to a tenth more. Default: 1 h.
    pub max_retry_after_ms: u64,
    /// How long all sending is held when the credentials or the endpoint are wrong, and at random up to a tenth more; less than 10 ms counts as 10 ms. Default: 300 s.
    pub hold_ms: u64,
    /// The first attempt after the start comes at random within this time. Default: 30 s.
    pub start_spread_ms: u64,
    /// A clock that differs from the server's by more is corrected when credentials fail. Default: 60 s.
    pub max_clock_skew_ms: u64,
    /// How long one report is tried before it expires, from its first attempt since the start. Default: 0, without an end.
    pub max_time_ms: u64,
    /// How often one report is sent since the start before it expires, whatever comes back. Default: 0, without an end.
    pub max_attempts: u32,
    /// After how many failures in a row the circuit counts as open: once the service is back, what waited then goes out step by step, within
    /// half a minute. Default: 5.
    pub open_circuit_after: u32,
    /// 0, the default: a report is durable when its `submit` returns. Else reports are made durable together, once so many were submitted.
    pub batch_reports: u32,
    /// Or once the first of them was submitted so long ago; a power cut before that may cost them. Only together with `batch_reports`.
    pub batch_ms: u32,
    /// A report whose responses may be somebody else's (a firewall's 403, a proxy's 413, a server's 500) is refused after so many attempts,
    /// each followed by another report that was accepted, and after an hour of them at the least; where others fail, too, after more. 1 or more.
    /// Default: 8.
    pub refuse_after: u32,
    /// Default: EDGE_REPORT_BACKLOG_KEEP_ALL.
    pub backlog: edge_report_backlog,
    /// Default: EDGE_REPORT_LETTERS_DROP_OLDEST.
    pub when_letters_full: edge_report_letters_full,
    /// For a courier in memory alone: the most bytes of one report, greater than 0. Default: 1024.
    pub report_bytes: usize,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// What to do: one of `EDGE_REPORT_STEP_…`.
pub type edge_report_step_kind = u32;
/// Send the body, then call `edge_report_courier_settle`.
pub const EDGE_REPORT_STEP_SEND: u32 = 1;
/// Nothing before `wait_ms` have passed, or something is submitted.
pub const EDGE_REPORT_STEP_WAIT: u32 = 2;
/// Nothing waits.
pub const EDGE_REPORT_STEP_IDLE: u32 = 3;

/// What to do next.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_step {
    /// Its size: begin with `EDGE_REPORT_STEP_INIT`.
    pub struct_size: usize,
    /// Which of the following count.
    pub kind: edge_report_step_kind,
    /// SEND: the report's name, for `edge_report_courier_settle`.
    pub ticket: u64,
    /// SEND: its bytes, the same at every attempt. Borrowed from the courier until the next call with it.
    pub body: edge_report_str,
    /// SEND: what to add to the wall clock before signing.
    pub clock_offset_ms: i64,
    /// WAIT: how long.
    pub wait_ms: u64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// What became of a report: one of `EDGE_REPORT_VERDICT_…`, or 0.
pub type edge_report_verdict_kind = u32;
/// It arrived. One that went ahead of older reports of its jobs comes once more if one of these arrives after it.
pub const EDGE_REPORT_VERDICT_DELIVERED: u32 = 1;
/// It will never be taken: among the dead letters now. Refused by the service; or, as EDGE_REPORT_E_OVERTAKEN, it failed time and again, the
/// last time right after a newer report of its jobs was accepted.
pub const EDGE_REPORT_VERDICT_REFUSED: u32 = 2;
/// It is tried again, not before `at_ms`.
pub const EDGE_REPORT_VERDICT_AGAIN: u32 = 3;
/// Credentials or settings are wrong: nothing is sent before `at_ms`.
pub const EDGE_REPORT_VERDICT_HELD: u32 = 4;
/// Its budget is spent: among the dead letters now.
pub const EDGE_REPORT_VERDICT_EXPIRED: u32 = 5;

/// Room for an `error_code` with its NUL. Longer ones are cut.
pub const EDGE_REPORT_ERROR_CODE_SIZE: usize = 28;
/// Room for the text of a reason with its NUL. Longer ones are cut; the bare build keeps 40 bytes.
pub const EDGE_REPORT_REASON_TEXT_SIZE: usize = 124;
const _: () = assert!(Reason::MAX_ERROR_CODE < EDGE_REPORT_ERROR_CODE_SIZE);
const _: () = assert!(Reason::MAX_TEXT < EDGE_REPORT_REASON_TEXT_SIZE);

/// Why a report was not delivered: plain data, to be copied at will. Texts are UTF-8 without control characters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_reason {
    /// What the response means; 0 if there was none.
    pub outcome: edge_report_outcome,
    /// Why there was no response, such as EDGE_REPORT_E_NOT_SENT or EDGE_REPORT_E_TLS; or EDGE_REPORT_E_OVERTAKEN, since a newer report
    /// of the same job was accepted. 0 if there was one.
    pub code: edge_report_result,
    /// The HTTP status of the response; 0 if there was none.
    pub status: u32,
    /// The response's `error_code`. Ends with NUL; may be empty.
    pub error_code: [c_char; EDGE_REPORT_ERROR_CODE_SIZE],
    /// The response's own words, or those of the system or of TLS. Ends with NUL; may be empty.
    pub text: [c_char; EDGE_REPORT_REASON_TEXT_SIZE],
}

/// What became of a report after an attempt, and why.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_verdict {
    /// Its size: begin with `EDGE_REPORT_VERDICT_INIT`.
    pub struct_size: usize,
    /// What.
    pub kind: edge_report_verdict_kind,
    /// Why; all zeros for DELIVERED.
    pub reason: edge_report_reason,
    /// AGAIN, HELD: by the monotonic clock.
    pub at_ms: u64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// How things stand. `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + `waiting`, restarts included.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_courier_state {
    /// Its size: begin with `EDGE_REPORT_COURIER_STATE_INIT`.
    pub struct_size: usize,
    /// Stored.
    pub submitted: u64,
    /// Accepted by the service.
    pub delivered: u64,
    /// Refused by the service: made dead letters, which may have been forgotten or sent again since.
    pub refused: u64,
    /// Dropped since newer reports of all their jobs waited: when the outbox was full, or by EDGE_REPORT_BACKLOG_LATEST_PER_JOB.
    pub superseded: u64,
    /// Their budget was spent; among the dead letters.
    pub expired: u64,
    /// Lost because the storage changed or lost their bytes.
    pub corrupt: u64,
    /// Not counted above: writes cut short by a crash, whose `submit` had not returned.
    pub torn: u64,
    /// How many wait.
    pub waiting: u64,
    /// Dead letters there are now.
    pub letters: u64,
    /// Dead letters that are gone for good: dropped to make room for newer ones, or lost by the storage.
    pub letters_dropped: u64,
    /// The ticket in flight, or 0.
    pub in_flight: u64,
    /// Nothing is sent before then, by the monotonic clock.
    pub not_before_ms: u64,
    /// When something is sent next, as far as was known at the last call, if `has_next_attempt` is not 0.
    pub next_attempt_ms: u64,
    /// The correction of the wall clock in use.
    pub clock_offset_ms: i64,
    /// The ticket of the verdict given last, or 0.
    pub last_ticket: u64,
    /// The ticket of the last failure since something was accepted, or 0.
    pub failure_ticket: u64,
    /// Whether `next_attempt_ms` counts: not while something is in flight, or nothing waits.
    pub has_next_attempt: u32,
    /// The kind of the verdict given last, or 0.
    pub last_kind: edge_report_verdict_kind,
    /// How many of those that wait stepped aside, since only they get bad responses, or cannot be made dead letters yet.
    pub aside: u32,
    /// Failures in a row.
    pub failures: u32,
    /// 1 when so many failed in a row that the network or service counts as down, else 0.
    pub circuit_open: u32,
    /// Why the last failure was one, or why a report could not be made a dead letter; all zeros if `failure_ticket` is 0.
    pub failure: edge_report_reason,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// A report that will not be sent: it was refused, or expired.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_letter {
    /// Its size: begin with `EDGE_REPORT_LETTER_INIT`.
    pub struct_size: usize,
    /// Its name; 0 if there is no such letter.
    pub ticket: u64,
    /// Its bytes. Borrowed from the courier until the next call with it.
    pub body: edge_report_str,
    /// Why.
    pub reason: edge_report_reason,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// # Safety
/// See [`given`].
pub(crate) unsafe fn read_config(
    config: *const edge_report_courier_config,
) -> Result<edge_report_courier_config, Failure> {
    let room = &mut Room::over(defaults);
    let config = unsafe { given(config, "config", room) }?
        .copied()
        .unwrap_or(defaults());
    let wrong = if config.refuse_after == 0 {
        "refuse_after"
    } else if config.report_bytes == 0 {
        "report_bytes"
    } else if config.batch_reports == 0 && config.batch_ms != 0 {
        "batch_reports"
    } else if config.backlog > EDGE_REPORT_BACKLOG_LATEST_PER_JOB {
        "backlog"
    } else if config.when_letters_full > EDGE_REPORT_LETTERS_HOLD {
        "when_letters_full"
    } else {
        return Ok(config);
    };
    Err(Failure::at(
        Code::OutOfRange,
        Place::Member("config", wrong),
    ))
}

/// The same as EDGE_REPORT_COURIER_CONFIG_INIT, which ./header writes.
pub(crate) fn defaults() -> edge_report_courier_config {
    let policy = Policy::default();
    edge_report_courier_config {
        struct_size: size_of::<edge_report_courier_config>(),
        min_backoff_ms: policy.min_backoff_ms,
        max_backoff_ms: policy.max_backoff_ms,
        max_retry_after_ms: policy.max_retry_after_ms,
        hold_ms: policy.hold_ms,
        start_spread_ms: policy.start_spread_ms,
        max_clock_skew_ms: policy.max_clock_skew_ms,
        max_time_ms: policy.max_time_ms.unwrap_or(0),
        max_attempts: policy.max_attempts.unwrap_or(0),
        open_circuit_after: policy.open_circuit_after,
        batch_reports: 0,
        batch_ms: 0,
        refuse_after: policy.refuse_after,
        backlog: EDGE_REPORT_BACKLOG_KEEP_ALL,
        when_letters_full: EDGE_REPORT_LETTERS_DROP_OLDEST,
        report_bytes: 1024,
        #[cfg(feature = "test-next")]
        next: 0,
    }
}

impl edge_report_courier_config {
    pub(crate) fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.min_backoff_ms = self.min_backoff_ms;
        policy.max_backoff_ms = self.max_backoff_ms;
        policy.max_retry_after_ms = self.max_retry_after_ms;
        policy.hold_ms = self.hold_ms;
        policy.open_circuit_after = self.open_circuit_after;
        policy.max_attempts = (self.max_attempts != 0).then_some(self.max_attempts);
        policy.max_time_ms = (self.max_time_ms != 0).then_some(self.max_time_ms);
        policy.refuse_after = self.refuse_after;
        policy.backlog = match self.backlog {
            EDGE_REPORT_BACKLOG_KEEP_ALL => Backlog::KeepAll,
            _ => Backlog::LatestPerJob,
        };
        policy.when_letters_full = match self.when_letters_full {
            EDGE_REPORT_LETTERS_DROP_OLDEST => WhenLettersFull::DropOldest,
            _ => WhenLettersFull::Hold,
        };
        policy.start_spread_ms = self.start_spread_ms;
        policy.max_clock_skew_ms = self.max_clock_skew_ms;
        policy
    }

    pub(crate) fn durability(&self) -> Durability {
        match self.batch_reports {
            0 => Durability::Each,
            reports => Durability::Batch {
                reports,
                ms: u64::from(self.batch_ms),
            },
        }
    }
}

/// A wall-clock time of C; 0 stands for none.
pub(crate) fn wall(unix_ms: i64) -> Option<WallTime> {
    (unix_ms != 0).then_some(WallTime::from_unix_ms(unix_ms))
}

/// # Safety
/// `reply` is readable if it counts, with its texts; `failure` is readable unless NULL.
pub(crate) unsafe fn read_event(
    result: edge_report_result,
    reply: *const edge_report_reply,
    failure: *const edge_report_error,
) -> Result<Event, Failure> {
    if result != OK {
        let code = code_from(result).ok_or(Failure::at(Code::OutOfRange, "result"))?;
        let mut event = Event::failed(code);
        let room = &mut Room::new();
        if let Some(failure) = unsafe { given(failure, "failure", room) }? {
            event = event.with_text(text_of(&failure.detail));
        }
        return Ok(event);
    }
    let room = &mut Room::new();
    let reply = unsafe { required(reply, "reply", room) }?;
    let outcome = outcome_from(reply.outcome);
    let status = u16::try_from(reply.status);
    let mut event = Event::response(
        outcome.ok_or(Failure::at(Code::OutOfRange, "outcome"))?,
        status.map_err(|_| Failure::at(Code::OutOfRange, "status"))?,
    );
    event.retry_after_ms = (reply.has_retry_after != 0).then_some(reply.retry_after_ms);
    event.clock_skew_ms = (reply.has_clock_skew != 0).then_some(reply.clock_skew_ms);
    let (words, name) = match reply.error_msg.is_absent() {
        true => (reply.message, "message"),
        false => (reply.error_msg, "error_msg"),
    };
    let error_code = unsafe { reply.error_code.text("error_code") }?;
    let words = unsafe { words.text(name) }?;
    Ok(event.with_words(error_code.map(Text::from_raw), words.map(Text::from_raw)))
}

/// What stands before the NUL, as far as it is UTF-8.
fn text_of(text: &[c_char]) -> &str {
    // SAFETY: the same bytes under another type: `c_char` is `i8` or `u8`.
    let bytes = unsafe { core::slice::from_raw_parts(text.as_ptr().cast::<u8>(), text.len()) };
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let chunk = bytes.utf8_chunks().next();
    chunk.map_or("", |chunk| chunk.valid())
}

impl edge_report_step {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, step: Step<'_>, now: MonoTime) {
        match step {
            Step::Idle => self.kind = EDGE_REPORT_STEP_IDLE,
            Step::Wait(until) => {
                self.kind = EDGE_REPORT_STEP_WAIT;
                self.wait_ms = until.since_ms(now);
            }
            Step::Send(outgoing) => {
                self.kind = EDGE_REPORT_STEP_SEND;
                self.ticket = outgoing.ticket.0;
                self.body = edge_report_str::from_bytes(outgoing.body);
                self.clock_offset_ms = outgoing.clock_offset_ms;
            }
        }
    }
}

impl edge_report_reason {
    pub(crate) fn of(reason: &Reason) -> Self {
        // SAFETY: plain data, which may be all zeros.
        let mut this: Self = unsafe { core::mem::zeroed() };
        this.fill(reason);
        this
    }

    /// Fills one in that is all zeros.
    #[inline(never)] // once, not in each function
    pub(crate) fn fill(&mut self, reason: &Reason) {
        match reason.cause {
            Cause::Response(outcome) => self.outcome = u32::from(outcome.number()),
            Cause::Failed(code) => self.code = number(code),
        }
        self.status = u32::from(reason.status);
        write_text(reason.error_code(), &mut self.error_code);
        write_text(reason.text(), &mut self.text);
    }
}

const fn kind_of(verdict: &Verdict) -> edge_report_verdict_kind {
    match verdict {
        Verdict::Delivered => EDGE_REPORT_VERDICT_DELIVERED,
        Verdict::Refused(_) => EDGE_REPORT_VERDICT_REFUSED,
        Verdict::Held { .. } => EDGE_REPORT_VERDICT_HELD,
        Verdict::Expired(_) => EDGE_REPORT_VERDICT_EXPIRED,
        _ => EDGE_REPORT_VERDICT_AGAIN,
    }
}

// In their places: what is made there takes no stack.

impl edge_report_verdict {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, verdict: &Verdict) {
        self.kind = kind_of(verdict);
        if let Verdict::Again { at, .. } | Verdict::Held { until: at, .. } = verdict {
            self.at_ms = at.ms();
        }
        if let Some(reason) = verdict.reason() {
            self.reason.fill(reason);
        }
    }
}

impl edge_report_courier_state {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, status: &Status) {
        let counters = &status.counters;
        self.submitted = counters.submitted;
        self.delivered = counters.delivered;
        self.refused = counters.refused;
        self.superseded = counters.superseded;
        self.expired = counters.expired;
        self.corrupt = counters.corrupt;
        self.torn = counters.torn;
        self.waiting = status.waiting;
        self.letters = counters.letters;
        self.letters_dropped = counters.letters_dropped;
        self.in_flight = status.in_flight.map_or(0, |ticket| ticket.0);
        self.not_before_ms = status.not_before.ms();
        if let Some(at) = status.next_attempt {
            self.next_attempt_ms = at.ms();
            self.has_next_attempt = 1;
        }
        self.clock_offset_ms = status.clock_offset_ms;
        if let Some((ticket, verdict)) = &status.last {
            self.last_ticket = ticket.0;
            self.last_kind = kind_of(verdict);
        }
        self.aside = u32::try_from(status.aside).unwrap_or(u32::MAX);
        self.failures = status.failures;
        self.circuit_open = u32::from(status.circuit_open);
        if let Some((ticket, reason)) = &status.last_failure {
            self.failure_ticket = ticket.0;
            self.failure.fill(reason);
        }
    }
}

impl edge_report_letter {
    /// Fills one in that is all zeros.
    #[inline(never)] // as above
    pub(crate) fn fill(&mut self, letter: Option<(DeadLetter, &[u8])>) {
        if let Some((letter, report)) = letter {
            self.ticket = letter.ticket.0;
            self.body = edge_report_str::from_bytes(report);
            self.reason.fill(&letter.reason);
        }
    }
}
