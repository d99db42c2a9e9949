//! Delivery until accepted: the handle, and the engine behind it.

use core::ffi::c_void;

use edge_report::courier::{
    Courier, Durability, Event, Letter, LogOutbox, Policy, RamStorage, Reason, Step, Ticket,
    Verdict,
};
use edge_report::{Code, MonoTime};

use crate::error::{Failure, edge_report_error};
use crate::exchange::edge_report_reply;
use crate::guard::{State, guard, number};
use crate::report::{Source, edge_report_report};
use crate::storage::{
    ALIGN, AnyStorage, Arena, Callbacks, MAX_SEGMENTS, Ram, edge_report_storage, room_of,
};
use crate::types::{OK, Output, bytes, edge_report_result, edge_report_str, reference, sized};
use crate::version::{code_from, outcome_from};

/// Keeps reports and says what to do with them, until they are delivered. Opaque.
///
/// At most one report is in flight. Order is by submission, waiting by monotonic time. Any order of calls leaves it valid.
pub struct edge_report_courier {
    state: State,
    engine: Engine,
}

type MemoryOutbox = LogOutbox<&'static mut AnyStorage, &'static mut AnyStorage, MAX_SEGMENTS>;

pub(crate) type MemoryCourier = Courier<MemoryOutbox, &'static mut [u8]>;
#[cfg(feature = "full")]
pub(crate) type SpoolCourier = Courier<edge_report::Spool, std::vec::Vec<u8>>;

pub(crate) enum Engine {
    /// In the caller's memory, beside the handle.
    Memory(&'static mut MemoryCourier),
    #[cfg(feature = "full")]
    Spool(std::boxed::Box<SpoolCourier>),
}

/// Runs an expression with the engine, whichever outbox it has.
macro_rules! with_engine {
    ($engine:expr, $courier:ident => $body:expr) => {
        match $engine {
            Engine::Memory($courier) => $body,
            #[cfg(feature = "full")]
            Engine::Spool($courier) => $body,
        }
    };
}

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

/// Makes a courier whose reports wait in the caller's memory: they are gone when that is. Needs no heap.
///
/// The memory is cut into the courier, room for one report of `report_bytes`, and segments: two for dead letters, and 4 to 16 for
/// what waits. `EDGE_REPORT_COURIER_RAM(report_bytes)` is the least that will do.
///
/// Takes the memory until `edge_report_courier_free`; borrows the rest for the call. Any thread. Does not block.
///
/// @param config  NULL: the defaults.
/// @param now_ms  the monotonic clock: milliseconds since any start.
/// @param entropy a random number.
/// @param courier gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with the least length of memory; or what is wrong with the arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_new_ram(
    memory: *mut c_void,
    memory_len: usize,
    config: *const edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
    courier: *mut *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(courier, "courier")?;
        let config = unsafe { read_config(config) }?;
        let mut arena = unsafe { Arena::new(memory, memory_len) }?;
        let plan = RamPlan::new(arena.left(), config.report_bytes);
        let courier = plan.and_then(|plan| {
            let scratch = arena.bytes(plan.scratch)?;
            let dead = arena.bytes(plan.segment.checked_mul(RamPlan::DEAD)?)?;
            let live = arena.bytes(plan.segment.checked_mul(plan.live)?)?;
            let live = arena.place(Ram(RamStorage::new(live, plan.segment, 1)))?;
            let dead = arena.place(Ram(RamStorage::new(dead, plan.segment, 0)))?;
            Some((live, dead, scratch))
        });
        let Some((live, dead, scratch)) = courier else {
            let needed = RamPlan::least(config.report_bytes).saturating_add(arena.skipped);
            return Err(Failure::too_small(needed));
        };
        let handle = unsafe { place(&mut arena, live, dead, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// Makes a courier whose reports wait on a device behind callbacks, whatever a crash has left there. Needs no heap.
///
/// `EDGE_REPORT_COURIER_SIZE` bytes of the memory are for the courier, the rest is room for one report.
///
/// Takes the memory until `edge_report_courier_free`; copies the two tables, whose `user` must hold as long; borrows the rest for
/// the call. Any thread. Blocks as long as the device does.
///
/// @param live    where reports wait.
/// @param dead    where dead letters are kept; segments of its own.
/// @param config  NULL: the defaults.
/// @param now_ms  the monotonic clock: milliseconds since any start.
/// @param entropy a random number.
/// @param courier gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE with the device's number; EDGE_REPORT_E_NEWER_FORMAT, and nothing was touched;
///         or what is wrong with the arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_new_storage(
    live: *const edge_report_storage,
    dead: *const edge_report_storage,
    memory: *mut c_void,
    memory_len: usize,
    config: *const edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
    courier: *mut *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(courier, "courier")?;
        let config = unsafe { read_config(config) }?;
        let live = unsafe { Callbacks::new(live, "live") }?;
        let dead = unsafe { Callbacks::new(dead, "dead") }?;
        let mut arena = unsafe { Arena::new(memory, memory_len) }?;
        let fixed = COURIER.saturating_add(room_of::<Callbacks>().saturating_mul(2));
        let room = arena.left().saturating_sub(fixed) & !(ALIGN - 1);
        let parts = (arena.left() >= fixed)
            .then(|| Some((arena.place(live)?, arena.place(dead)?, arena.bytes(room)?)));
        let Some((live, dead, scratch)) = parts.flatten() else {
            return Err(Failure::too_small(fixed.saturating_add(arena.skipped)));
        };
        let handle = unsafe { place(&mut arena, live, dead, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// Frees a courier: makes durable what is not yet, and gives its memory back. The handle is not usable after it. NULL is fine.
///
/// Takes the courier. One thread at a time. Blocks as long as its storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_free(courier: *mut edge_report_courier) {
    guard(core::ptr::null_mut(), || {
        if courier.is_null() {
            return Ok(());
        }
        let state = unsafe { &reference(courier.cast_const(), "courier")?.state };
        let usable = state.check("courier");
        if let Err(failure) = &usable
            && failure.code != Code::Poisoned
        {
            return Ok(());
        }
        state.end();
        if usable.is_ok() {
            let _ = with_engine!(unsafe { &mut (*courier).engine }, c => c.flush().map_err(|_| ()));
        }
        #[cfg(feature = "full")]
        if let Engine::Spool(_) = unsafe { &(*courier).engine } {
            drop(unsafe { std::boxed::Box::from_raw(courier) });
        }
        Ok(())
    });
}

/// Checks and encodes a report and stores it. When this returns, the report is as durable as the courier makes things.
///
/// Borrows the report for the call. One thread at a time. Blocks as long as the storage does.
///
/// @param ticket the report's name, counted from 1; may be NULL.
/// @return EDGE_REPORT_OK; what is wrong with the report; EDGE_REPORT_E_OUTBOX_FULL when only reports that must be kept are left;
///         EDGE_REPORT_E_OUTBOX_TOO_SMALL or EDGE_REPORT_E_BUFFER_TOO_SMALL when it can never fit; EDGE_REPORT_E_STORAGE: it may be
///         stored all the same, so submit it again with the same message_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_submit(
    courier: *mut edge_report_courier,
    report: *const edge_report_report,
    now_ms: u64,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let (state, engine) = unsafe { open(courier) }?;
        let source = unsafe { Source::new(report) }?;
        let ticket = state.run("courier", || {
            Ok(with_engine!(engine, c => c.submit(&source.report(), MonoTime(now_ms))?))
        })?;
        if let Some(out) = out {
            out.set(ticket.0);
        }
        Ok(())
    })
}

/// Like `edge_report_courier_submit`, for a report that is encoded: these very bytes are sent. They are checked.
///
/// Borrows the bytes for the call. One thread at a time. Blocks as long as the storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_submit_encoded(
    courier: *mut edge_report_courier,
    body: *const c_void,
    body_len: usize,
    now_ms: u64,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let (state, engine) = unsafe { open(courier) }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let ticket = state.run("courier", || {
            Ok(with_engine!(engine, c => c.submit_encoded(body, MonoTime(now_ms))?))
        })?;
        if let Some(out) = out {
            out.set(ticket.0);
        }
        Ok(())
    })
}

/// Says what to do next. Calling it again changes nothing: the same report is offered until `edge_report_courier_settle`.
///
/// The step's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
/// does.
///
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL if the room for one report is too small for one that waits;
///         EDGE_REPORT_E_STORAGE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_next(
    courier: *mut edge_report_courier,
    now_ms: u64,
    step: *mut edge_report_step,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(step, "step")?;
        let (state, engine) = unsafe { open(courier) }?;
        let step = state.run("courier", || {
            Ok(with_engine!(engine, c => step_for_c(c.next(MonoTime(now_ms))?)))
        })?;
        out.set(step);
        Ok(())
    })
}

/// Tells what came back for the report in flight, and says what becomes of it.
///
/// Borrows `reply` for the call. One thread at a time. Blocks as long as the storage does.
///
/// @param result  EDGE_REPORT_OK: an answer came, see `reply`. EDGE_REPORT_E_NOT_SENT: surely not sent.
///                EDGE_REPORT_E_MAY_HAVE_ARRIVED: it went out, and no whole answer came. Any other: it cannot work as configured,
///                such as EDGE_REPORT_E_TLS. The result of `edge_report_client_send` can be passed on.
/// @param reply   counts only with EDGE_REPORT_OK; else it may be NULL.
/// @param entropy a random number, new each time.
/// @param verdict may be NULL.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STALE_TICKET if it is not in flight; EDGE_REPORT_E_STORAGE: settle again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_settle(
    courier: *mut edge_report_courier,
    ticket: u64,
    result: edge_report_result,
    reply: *const edge_report_reply,
    now_ms: u64,
    entropy: u64,
    verdict: *mut edge_report_verdict,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(verdict, "verdict")?;
        let (state, engine) = unsafe { open(courier) }?;
        let event = unsafe { read_event(result, reply) }?;
        let verdict = state.run("courier", || {
            let (ticket, now) = (Ticket(ticket), MonoTime(now_ms));
            Ok(with_engine!(engine, c => c.settle(ticket, event, now, entropy)?))
        })?;
        if let Some(out) = out {
            out.set(verdict_for_c(verdict));
        }
        Ok(())
    })
}

/// Tells how things stand.
///
/// Borrows its arguments for the call. Threads may share the courier for it. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_status(
    courier: *const edge_report_courier,
    status: *mut edge_report_courier_state,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(status, "status")?;
        let courier = unsafe { reference(courier, "courier") }?;
        courier.state.check("courier")?;
        let status = with_engine!(&courier.engine, c => c.status());
        let ledger = status.ledger;
        out.set(edge_report_courier_state {
            submitted: ledger.submitted,
            delivered: ledger.delivered,
            refused: ledger.refused,
            superseded: ledger.superseded,
            expired: ledger.expired,
            corrupt: ledger.corrupt,
            torn: ledger.torn,
            waiting: status.waiting,
            in_flight: status.in_flight.map_or(0, |ticket| ticket.0),
            not_before_ms: status.not_before.0,
            clock_offset_ms: status.clock_offset_ms,
            last_ticket: status.last.map_or(0, |(ticket, _)| ticket.0),
            last: status
                .last
                .map_or(NO_VERDICT, |(_, verdict)| verdict_for_c(verdict)),
            failures: status.failures,
            circuit_open: u32::from(status.circuit_open),
        });
        Ok(())
    })
}

/// Lets the next attempt come at once: the network is back, or somebody changed the credentials.
///
/// One thread at a time. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_wake(
    courier: *mut edge_report_courier,
    now_ms: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => c.wake(MonoTime(now_ms)));
            Ok(())
        })
    })
}

/// Makes durable all that is not yet.
///
/// One thread at a time. Blocks as long as the storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_flush(
    courier: *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => c.flush()?);
            Ok(())
        })
    })
}

/// Gives the oldest dead letter behind the one with ticket `after`; with 0 the oldest of all. If there is none, its ticket is 0.
///
/// The letter's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
/// does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_dead_letter(
    courier: *mut edge_report_courier,
    after: u64,
    letter: *mut edge_report_letter,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(letter, "letter")?;
        let (state, engine) = unsafe { open(courier) }?;
        let letter = state.run("courier", || {
            let after = (after != 0).then_some(Ticket(after));
            Ok(with_engine!(engine, c => letter_for_c(c.dead_letter(after)?)))
        })?;
        out.set(letter);
        Ok(())
    })
}

/// Submits the oldest dead letter again, as a new report with the same bytes, and forgets the letter.
///
/// One thread at a time. Blocks as long as the storage does.
///
/// @param ticket the name of the new report, or 0 if there was no dead letter; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_resubmit_dead_letter(
    courier: *mut edge_report_courier,
    now_ms: u64,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let (state, engine) = unsafe { open(courier) }?;
        let ticket = state.run("courier", || {
            Ok(with_engine!(engine, c => c.resubmit_dead_letter(MonoTime(now_ms))?))
        })?;
        if let Some(out) = out {
            out.set(ticket.map_or(0, |ticket| ticket.0));
        }
        Ok(())
    })
}

/// Forgets the dead letters up to and with the one of this ticket.
///
/// One thread at a time. Blocks as long as the storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_forget_dead_letters(
    courier: *mut edge_report_courier,
    ticket: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => c.forget_dead_letters(Ticket(ticket))?);
            Ok(())
        })
    })
}

impl edge_report_courier {
    pub(crate) const fn new(engine: Engine) -> Self {
        edge_report_courier {
            state: State::ready(),
            engine,
        }
    }
}

/// The state beside the engine, so that a panic in the engine can be noted.
///
/// # Safety
/// The courier is the caller's alone for `'a`.
pub(crate) unsafe fn open<'a>(
    courier: *mut edge_report_courier,
) -> Result<(&'a State, &'a mut Engine), Failure> {
    unsafe { reference::<State>(courier.cast(), "courier") }?;
    if !courier.is_aligned() {
        return Err(Failure::at(Code::OutOfRange, "courier"));
    }
    let state = unsafe { &(*courier).state };
    state.check("courier")?;
    Ok((state, unsafe { &mut (*courier).engine }))
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

/// How much memory a courier takes at the most, beside its room for reports.
#[cfg(target_pointer_width = "64")]
pub const EDGE_REPORT_COURIER_SIZE: usize = 1700;
/// How much memory a courier takes at the most, beside its room for reports.
#[cfg(target_pointer_width = "32")]
pub const EDGE_REPORT_COURIER_SIZE: usize = 1312;

const _: () = {
    assert!(RamPlan::OBJECTS <= EDGE_REPORT_COURIER_SIZE);
    assert!(COURIER + 2 * room_of::<Callbacks>() <= EDGE_REPORT_COURIER_SIZE);
};

/// The handle, and what it leads to.
const COURIER: usize = room_of::<edge_report_courier>() + room_of::<MemoryCourier>();

/// How the memory of a courier in memory is cut.
struct RamPlan {
    scratch: usize,
    segment: usize,
    live: usize,
}

impl RamPlan {
    const DEAD: usize = 2;
    /// With fewer, a full outbox could not drop superseded reports.
    const LEAST_LIVE: usize = 4;
    const OBJECTS: usize = COURIER + 2 * room_of::<Ram>();

    /// A segment that holds a report of this length, its job keys, and what a segment has besides.
    const fn least_segment(report_bytes: usize) -> usize {
        let keys = if report_bytes < 512 {
            report_bytes / 2
        } else {
            256
        };
        let bytes = report_bytes
            .saturating_add(keys)
            .saturating_add(304 + ALIGN);
        bytes & !(ALIGN - 1)
    }

    const fn scratch(report_bytes: usize) -> usize {
        report_bytes.saturating_add(ALIGN - 1) & !(ALIGN - 1)
    }

    /// The least memory, if it is aligned.
    const fn least(report_bytes: usize) -> usize {
        Self::least_segment(report_bytes)
            .saturating_mul(Self::DEAD + Self::LEAST_LIVE)
            .saturating_add(Self::scratch(report_bytes))
            .saturating_add(Self::OBJECTS)
    }

    fn new(memory: usize, report_bytes: usize) -> Option<Self> {
        let scratch = Self::scratch(report_bytes);
        let left = memory.checked_sub(scratch)?.checked_sub(Self::OBJECTS)?;
        let share = (left / (MAX_SEGMENTS + Self::DEAD)) & !(ALIGN - 1);
        let segment = share.max(Self::least_segment(report_bytes));
        let count = left.checked_div(segment)?;
        let live = count.checked_sub(Self::DEAD)?.min(MAX_SEGMENTS);
        (live >= Self::LEAST_LIVE).then_some(RamPlan {
            scratch,
            segment,
            live,
        })
    }
}

/// Opens the outbox on two storages and puts the courier into the arena, which has the room.
///
/// # Safety
/// The arena's memory is the courier's alone until it is freed.
unsafe fn place<S: edge_report::courier::Storage<Error = crate::storage::DeviceError>>(
    arena: &mut Arena,
    live: &'static mut S,
    dead: &'static mut S,
    scratch: &'static mut [u8],
    config: &edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
) -> Result<*mut edge_report_courier, Failure> {
    let (live, dead): (&mut AnyStorage, &mut AnyStorage) = (live, dead);
    let outbox = MemoryOutbox::open(live, dead, config.durability())?;
    let now = MonoTime(now_ms);
    let courier = Courier::new(outbox, scratch, config.policy(), now, entropy);
    let too_small = || Failure::new(Code::BufferTooSmall);
    let engine = Engine::Memory(arena.place(courier).ok_or_else(too_small)?);
    let handle = arena.place(edge_report_courier::new(engine));
    handle.map(core::ptr::from_mut).ok_or_else(too_small)
}

/// # Safety
/// `reply` is readable if it counts.
unsafe fn read_event(
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

fn step_for_c(step: Step<'_>) -> edge_report_step {
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

const NO_VERDICT: edge_report_verdict = edge_report_verdict {
    kind: 0,
    status: 0,
    code: 0,
    reserved: 0,
    at_ms: 0,
};

fn verdict_for_c(verdict: Verdict) -> edge_report_verdict {
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

fn letter_for_c(letter: Option<Letter<'_>>) -> edge_report_letter {
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
