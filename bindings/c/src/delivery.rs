//! What a courier is told and what it says, as plain data.

use edge_report::courier::{Durability, Event, Letter, Policy, Reason, Step, Verdict};
use edge_report::{Code, MonoTime};

use crate::error::Failure;
use crate::exchange::edge_report_reply;
use crate::guard::{guard, number};
use crate::types::{OK, Output, edge_report_result, edge_report_str, reference, sized};
use crate::version::{code_from, outcome_from};

/// When to try again, when to stop, and when what is stored is durable. Begin with `edge_report_courier_config_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_courier_config {
    /// `sizeof(edge_report_courier_config)`.
    pub struct_size: usize,
    /// The least wait after a failure. Default: 1 s.
    pub min_backoff_ms: u64,
    /// The most wait after a failure. Default: 300 s.
    pub max_backoff_ms: u64,
    /// The most of a `Retry-After` that is honoured. Default: 1 h.
    pub max_retry_after_ms: u64,
    /// How long all sending is held when the credentials or the endpoint are wrong. Default: 300 s.
    pub hold_ms: u64,
    /// The first attempt after the start comes at random within this time. Default: 30 s.
    pub start_spread_ms: u64,
    /// A clock that differs from the server's by more is corrected when credentials fail. Default: 60 s.
    pub max_clock_skew_ms: u64,
    /// How long one report is tried before it is given up. Default: 0, until it is delivered.
    pub max_time_ms: u64,
    /// How often one report is tried before it is given up. Default: 0, until it is delivered.
    pub max_attempts: u32,
    /// After how many failures in a row the circuit counts as open. Default: 5.
    pub open_circuit_after: u32,
    /// When a submitted report is durable: 0 (default), before its `submit` returns; else together, when so many were submitted,
    pub batch_reports: u32,
    /// or the first of them so long ago. A power cut may cost these.
    pub batch_ms: u32,
    /// For a courier in memory alone: the most bytes of one report. Default: 1024.
    pub report_bytes: usize,
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
    /// Which of the following count.
    pub kind: edge_report_step_kind,
    /// 0.
    pub reserved: u32,
    /// SEND: the report's name, for `edge_report_courier_settle`.
    pub ticket: u64,
    /// SEND: its bytes, the same at every attempt. Borrowed from the courier until the next call with it.
    pub body: edge_report_str,
    /// SEND: what to add to the wall clock before signing.
    pub clock_offset_ms: i64,
    /// WAIT: how long.
    pub wait_ms: u64,
}

/// What became of a report: one of `EDGE_REPORT_VERDICT_…`, or 0.
pub type edge_report_verdict_kind = u32;
/// It arrived.
pub const EDGE_REPORT_VERDICT_DELIVERED: u32 = 1;
/// It will never be taken: among the dead letters now.
pub const EDGE_REPORT_VERDICT_REFUSED: u32 = 2;
/// It is tried again, not before `at_ms`.
pub const EDGE_REPORT_VERDICT_AGAIN: u32 = 3;
/// Credentials or settings are wrong: nothing is sent before `at_ms`.
pub const EDGE_REPORT_VERDICT_HELD: u32 = 4;
/// Its budget is spent: among the dead letters now.
pub const EDGE_REPORT_VERDICT_GAVE_UP: u32 = 5;

/// What became of a report after an attempt, and why.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_verdict {
    /// What.
    pub kind: edge_report_verdict_kind,
    /// The HTTP status that is the reason, or 0.
    pub status: u32,
    /// The failure that is the reason, or 0.
    pub code: edge_report_result,
    /// 0.
    pub reserved: u32,
    /// AGAIN, HELD: by the monotonic clock.
    pub at_ms: u64,
}

/// How things stand. `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + `waiting`, restarts included.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_courier_state {
    /// Stored.
    pub submitted: u64,
    /// Accepted by the service.
    pub delivered: u64,
    /// Refused by the service; among the dead letters.
    pub refused: u64,
    /// Dropped when the outbox was full, since newer reports say more.
    pub superseded: u64,
    /// Given up; among the dead letters.
    pub expired: u64,
    /// Lost because the storage changed their bytes.
    pub corrupt: u64,
    /// Not counted above: writes cut short by a crash, whose `submit` had not returned.
    pub torn: u64,
    /// How many wait.
    pub waiting: u64,
    /// The ticket in flight, or 0.
    pub in_flight: u64,
    /// When the next attempt may come, by the monotonic clock.
    pub not_before_ms: u64,
    /// The correction of the wall clock in use.
    pub clock_offset_ms: i64,
    /// The ticket of the verdict given last, or 0.
    pub last_ticket: u64,
    /// That verdict.
    pub last: edge_report_verdict,
    /// Failures in a row.
    pub failures: u32,
    /// 1 when so many failed in a row that the network or service counts as down, else 0.
    pub circuit_open: u32,
}

/// A report that will not be sent: it was refused or given up.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_letter {
    /// Its name; 0 if there is no such letter.
    pub ticket: u64,
    /// The HTTP status that is the reason, or 0.
    pub status: u32,
    /// The failure that is the reason, or 0.
    pub code: edge_report_result,
    /// Its bytes. Borrowed from the courier until the next call with it.
    pub body: edge_report_str,
}

/// Fills in the defaults, `struct_size` too.
///
/// Borrows `config` for the call. Any thread. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_config_init(
    config: *mut edge_report_courier_config,
) -> edge_report_result {
    guard(core::ptr::null_mut(), || {
        Output::new(config, "config")?.set(defaults());
        Ok(())
    })
}

/// # Safety
/// See [`sized`].
pub(crate) unsafe fn read_config(
    config: *const edge_report_courier_config,
) -> Result<edge_report_courier_config, Failure> {
    Ok(unsafe { sized(config, "config") }?
        .copied()
        .unwrap_or(defaults()))
}

fn defaults() -> edge_report_courier_config {
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
        report_bytes: 1024,
    }
}

impl edge_report_courier_config {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            min_backoff_ms: self.min_backoff_ms,
            max_backoff_ms: self.max_backoff_ms,
            max_retry_after_ms: self.max_retry_after_ms,
            hold_ms: self.hold_ms,
            open_circuit_after: self.open_circuit_after,
            max_attempts: (self.max_attempts != 0).then_some(self.max_attempts),
            max_time_ms: (self.max_time_ms != 0).then_some(self.max_time_ms),
            start_spread_ms: self.start_spread_ms,
            max_clock_skew_ms: self.max_clock_skew_ms,
        }
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

/// # Safety
/// `reply` is readable if it counts.
pub(crate) unsafe fn read_event(
    result: edge_report_result,
    reply: *const edge_report_reply,
) -> Result<Event, Failure> {
    if result != OK {
        return match code_from(result) {
            Some(Code::NotSent) => Ok(Event::NotSent),
            Some(Code::MayHaveArrived) => Ok(Event::MayHaveArrived),
            Some(code) => Ok(Event::Misconfigured(code)),
            None => Err(Failure::at(Code::OutOfRange, "result")),
        };
    }
    let reply = unsafe { reference(reply, "reply") }?;
    let outcome = outcome_from(reply.outcome);
    let status = u16::try_from(reply.status);
    Ok(Event::Answered {
        outcome: outcome.ok_or(Failure::at(Code::OutOfRange, "outcome"))?,
        status: status.map_err(|_| Failure::at(Code::OutOfRange, "status"))?,
        retry_after_ms: (reply.has_retry_after != 0).then_some(reply.retry_after_ms),
        clock_skew_ms: (reply.has_clock_skew != 0).then_some(reply.clock_skew_ms),
    })
}

pub(crate) fn step_for_c(step: Step<'_>) -> edge_report_step {
    let mut this = edge_report_step {
        kind: EDGE_REPORT_STEP_IDLE,
        reserved: 0,
        ticket: 0,
        body: edge_report_str::ABSENT,
        clock_offset_ms: 0,
        wait_ms: 0,
    };
    match step {
        Step::Idle => {}
        Step::Wait(ms) => {
            this.kind = EDGE_REPORT_STEP_WAIT;
            this.wait_ms = ms;
        }
        Step::Send(parcel) => {
            this.kind = EDGE_REPORT_STEP_SEND;
            this.ticket = parcel.ticket.0;
            this.body = edge_report_str::from_bytes(parcel.body);
            this.clock_offset_ms = parcel.clock_offset_ms;
        }
    }
    this
}

#[inline(never)] // once, not in each function
pub(crate) fn verdict_for_c(verdict: Verdict) -> edge_report_verdict {
    let (kind, reason, at) = match verdict {
        Verdict::Delivered => (EDGE_REPORT_VERDICT_DELIVERED, None, MonoTime(0)),
        Verdict::Refused(reason) => (EDGE_REPORT_VERDICT_REFUSED, Some(reason), MonoTime(0)),
        Verdict::Again { at } => (EDGE_REPORT_VERDICT_AGAIN, None, at),
        Verdict::Held { until, reason } => (EDGE_REPORT_VERDICT_HELD, Some(reason), until),
        Verdict::GaveUp(reason) => (EDGE_REPORT_VERDICT_GAVE_UP, Some(reason), MonoTime(0)),
    };
    let (status, code) = reason.map_or((0, 0), reason_for_c);
    edge_report_verdict {
        kind,
        status,
        code,
        reserved: 0,
        at_ms: at.0,
    }
}

pub(crate) fn letter_for_c(letter: Option<Letter<'_>>) -> edge_report_letter {
    let (status, code) = letter.map_or((0, 0), |letter| reason_for_c(letter.reason));
    edge_report_letter {
        ticket: letter.map_or(0, |letter| letter.ticket.0),
        status,
        code,
        body: letter.map_or(edge_report_str::ABSENT, |letter| {
            edge_report_str::from_bytes(letter.body)
        }),
    }
}

fn reason_for_c(reason: Reason) -> (u32, edge_report_result) {
    match reason {
        Reason::Status(status) => (u32::from(status), OK),
        Reason::Failed(code) => (0, number(code)),
    }
}
