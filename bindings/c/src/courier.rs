//! Delivery until accepted: the handle, and the engine in it.

use core::ffi::c_void;
#[cfg(feature = "_http")]
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
#[cfg(feature = "full")]
use std::boxed::Box;

use edge_report::courier::{Courier, Outbox, Ticket};
use edge_report::{Code, MonoTime};

use crate::delivery::{
    edge_report_courier_state, edge_report_letter, edge_report_reason, edge_report_step,
    edge_report_verdict, read_event, wall,
};
use crate::error::{Failure, edge_report_error};
use crate::guard::{State, guard};
use crate::reply::edge_report_reply;
use crate::report::{Source, edge_report_report};
use crate::sized::Answer;
use crate::storage::DeviceError;
use crate::types::{Output, bytes, edge_report_result, reference};

/// Keeps reports and says what to do with them, until they are delivered. Opaque.
///
/// At most one report is in flight. Order is by submission for each job, waiting by monotonic time. Any order of calls leaves it valid.
///
/// Responses that may be somebody else's (a proxy's, a firewall's, a portal's) refuse nothing: a report that gets them time and again steps aside
/// while others go on, and is a dead letter only after `refuse_after` attempts, each followed by another report that was accepted. While
/// nothing is accepted, nothing becomes a dead letter but by `max_attempts` and `max_time_ms`.
pub struct edge_report_courier {
    state: State,
    /// By how many it cannot be freed: deliveries that run, a reporter that lends it.
    #[cfg(feature = "_http")]
    pub(crate) lent: AtomicU32,
    engine: Engine,
}

/// Behind a table of functions: only the kinds of outbox that a program makes are linked into it.
pub(crate) type AnyOutbox = dyn Outbox<Error = DeviceError> + Send;

pub(crate) type MemoryCourier = Courier<&'static mut AnyOutbox, &'static mut [u8]>;
#[cfg(feature = "full")]
pub(crate) type SpoolCourier = Courier<edge_report::Spool, std::vec::Vec<u8>>;

pub(crate) enum Engine {
    /// In the caller's memory, beside the handle.
    Memory(&'static mut MemoryCourier),
    /// On the heap.
    #[cfg(feature = "full")]
    Spool(&'static mut SpoolCourier),
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

/// Frees a courier: makes durable what is not yet, and gives its memory back. The handle is not usable after it. NULL is fine; within a call of
/// the courier, a delivery from it, or while a reporter lends it, it does nothing.
///
/// Takes the courier. One thread at a time. Blocks as long as its storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_free(courier: *mut edge_report_courier) {
    guard(core::ptr::null_mut(), || {
        if courier.is_null() {
            return Ok(());
        }
        #[cfg(feature = "_http")]
        unsafe { edge_report_courier::check_own(courier) }?;
        let state = unsafe { &reference(courier.cast_const(), "courier")?.state };
        let usable = state.check("courier");
        if let Err(failure) = &usable
            && failure.code != Code::Poisoned
        {
            return Ok(());
        }
        state.end();
        if usable.is_ok() {
            let _ = with_engine!(unsafe { &mut (*courier).engine }, c => c.close().map_err(|_| ()));
        }
        // What they have on the heap. The bare build has none.
        #[cfg(feature = "full")]
        match unsafe { &mut (*courier).engine } {
            // SAFETY: the engine is read once, and the handle has ended: nobody reads it again. The outbox stands in the caller's memory, which outlives it.
            Engine::Memory(engine) => unsafe {
                let outbox: *mut AnyOutbox = core::ptr::read(&raw const **engine).into_outbox();
                core::ptr::drop_in_place(outbox);
            },
            // SAFETY: both made by `Box::into_raw` in host.rs; the handle has ended, so this happens once.
            Engine::Spool(engine) => unsafe {
                drop(Box::from_raw(&raw mut **engine));
                drop(Box::from_raw(courier));
            },
        }
        Ok(())
    });
}

/// Checks and encodes a report and stores it. When this returns, the report is as durable as the courier makes things. Likely mistakes, such as
/// seconds for milliseconds, are stored and sent as they are: only edge_report_check tells them.
///
/// Borrows the report for the call. One thread at a time. Blocks as long as the storage does.
///
/// @param unix_ms the wall clock, for the age of what waits (edge_report_courier_oldest); 0 if it is not known.
/// @param ticket  the report's name, counted from 1; may be NULL.
/// @return EDGE_REPORT_OK; what is wrong with the report; EDGE_REPORT_E_OUTBOX_FULL when only reports that must be kept are left;
///         EDGE_REPORT_E_TOO_LARGE_FOR_OUTBOX or EDGE_REPORT_E_BUFFER_TOO_SMALL when it can never fit, also not as a dead letter;
///         EDGE_REPORT_E_STORAGE: it may be stored anyway, so submit it again with the same message_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_submit(
    courier: *mut edge_report_courier,
    report: *const edge_report_report,
    now_ms: u64,
    unix_ms: i64,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let (state, engine) = unsafe { open(courier) }?;
        let source = unsafe { Source::new(report) }?;
        let ticket = state.run("courier", || {
            Ok(with_engine!(engine, c => c.submit(&source.report(), MonoTime::from_ms(now_ms), wall(unix_ms))?))
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
    unix_ms: i64,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let (state, engine) = unsafe { open(courier) }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let ticket = state.run("courier", || {
            Ok(with_engine!(engine, c => c.submit_encoded(body, MonoTime::from_ms(now_ms), wall(unix_ms))?))
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
        let out = unsafe { Answer::new(step, "step") }?;
        let (state, engine) = unsafe { open(courier) }?;
        let now = MonoTime::from_ms(now_ms);
        state.run("courier", || {
            with_engine!(engine, c => {
                let step = c.next(now)?;
                out.fill(|to| to.fill(step, now));
            });
            Ok(())
        })
    })
}

/// Tells what came back for the report in flight, and says what becomes of it.
///
/// Borrows `reply`, its texts and `failure` for the call, and copies of the texts what the reason keeps. One thread at a time. Blocks as
/// long as the storage does.
///
/// A report that cannot be made a dead letter now (no room, a failing storage) is not sent any more, and that is tried again: see `aside`
/// and `failure` of edge_report_courier_state.
///
/// @param result  EDGE_REPORT_OK: a response came, see `reply`. EDGE_REPORT_E_NOT_SENT: not sent.
///                EDGE_REPORT_E_MAY_HAVE_ARRIVED: it went out, and no whole response came. Any other: it cannot work as configured,
///                such as EDGE_REPORT_E_TLS. The result of `edge_report_client_send` can be passed on.
/// @param reply   counts only with EDGE_REPORT_OK; else it may be NULL. Its texts count, too: they must hold, or be absent.
/// @param failure counts only without a reply: what went wrong, as edge_report_client_send wrote it, or with a `detail` of your own. Nothing
///                else of it is read. May be NULL.
/// @param entropy a random number, new each time.
/// @param verdict may be NULL.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STALE_TICKET if it is not in flight; EDGE_REPORT_E_STORAGE: settle again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_settle(
    courier: *mut edge_report_courier,
    ticket: u64,
    result: edge_report_result,
    reply: *const edge_report_reply,
    failure: *const edge_report_error,
    now_ms: u64,
    entropy: u64,
    verdict: *mut edge_report_verdict,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::optional(verdict, "verdict") }?;
        let (state, engine) = unsafe { open(courier) }?;
        let event = unsafe { read_event(result, reply, failure) }?;
        let verdict = state.run("courier", || {
            let (ticket, now) = (Ticket(ticket), MonoTime::from_ms(now_ms));
            Ok(with_engine!(engine, c => c.settle(ticket, event, now, entropy)?))
        })?;
        if let Some(out) = out {
            out.fill(|to| to.fill(&verdict));
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
        let out = unsafe { Answer::new(status, "status") }?;
        let courier = unsafe { reference(courier, "courier") }?;
        courier.state.check("courier")?;
        let status = with_engine!(&courier.engine, c => c.status());
        out.fill(|to| to.fill(&status));
        Ok(())
    })
}

/// Tells of a report that became a dead letter when another one was settled, so that no edge_report_courier_settle of its own said so: it failed
/// time and again while others were accepted. Each is told once; the last few are kept.
///
/// One thread at a time. Does not block.
///
/// @param ticket its name; 0 if there is none.
/// @param reason why; may be NULL, and is written only if there is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_take_dead_letter(
    courier: *mut edge_report_courier,
    ticket: *mut u64,
    reason: *mut edge_report_reason,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(ticket, "ticket")?;
        let reason = Output::optional(reason, "reason")?;
        let (state, engine) = unsafe { open(courier) }?;
        let buried = state.run("courier", || {
            Ok(with_engine!(engine, c => c.take_dead_letter()))
        })?;
        if let (Some((_, why)), Some(reason)) = (&buried, reason) {
            reason.set(edge_report_reason::of(why));
        }
        out.set(buried.map_or(0, |(ticket, _)| ticket.0));
        Ok(())
    })
}

/// Tells when the oldest report that waits was submitted.
///
/// One thread at a time. Blocks as long as the storage does.
///
/// @param unix_ms what its submit was given; 0 if that was nothing, or nothing waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_oldest(
    courier: *mut edge_report_courier,
    unix_ms: *mut i64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(unix_ms, "unix_ms")?;
        let (state, engine) = unsafe { open(courier) }?;
        let oldest = state.run("courier", || Ok(with_engine!(engine, c => c.oldest()?)))?;
        out.set(oldest.map_or(0, |at| at.unix_ms()));
        Ok(())
    })
}

/// Lets the next attempt come at once, and what waits after it: the network is back, somebody changed the credentials, or made room for dead
/// letters. Failures so far count no more.
///
/// Each call does so, however often: it ends a hold for denied credentials and a `Retry-After`, too. For news of a link, which may come often, there
/// is edge_report_reporter_wake, which does not. Where many nodes learn of that in the same moment, spread the calls.
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
            with_engine!(engine, c => c.wake(MonoTime::from_ms(now_ms)));
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

/// Gives the dead letter after the one with ticket `after`, in the order in which they became letters; with 0, or if that is not there any
/// more, the first of all. If there is none, its ticket is 0.
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
        let out = unsafe { Answer::new(letter, "letter") }?;
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            let after = (after != 0).then_some(Ticket(after));
            with_engine!(engine, c => {
                let letter = c.dead_letter(after)?;
                out.fill(|to| to.fill(letter));
            });
            Ok(())
        })
    })
}

/// Gives the dead letter of this ticket. If there is none, its ticket is 0.
///
/// The letter's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
/// does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_find_dead_letter(
    courier: *mut edge_report_courier,
    ticket: u64,
    letter: *mut edge_report_letter,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(letter, "letter") }?;
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => {
                let letter = c.find_dead_letter(Ticket(ticket))?;
                out.fill(|to| to.fill(letter));
            });
            Ok(())
        })
    })
}

/// Submits a dead letter again, as a new report with the same bytes, and forgets the letter.
///
/// One thread at a time. Blocks as long as the storage does.
///
/// @param ticket  which; 0: the first of all.
/// @param unix_ms as with edge_report_courier_submit.
/// @param again   the name of the new report, or 0 if there was no such letter; may be NULL.
/// @return what edge_report_courier_submit can give; unless it is EDGE_REPORT_OK the letter stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_resubmit_dead_letter(
    courier: *mut edge_report_courier,
    ticket: u64,
    now_ms: u64,
    unix_ms: i64,
    again: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(again, "again")?;
        let (state, engine) = unsafe { open(courier) }?;
        let again = state.run("courier", || {
            let ticket = (ticket != 0).then_some(Ticket(ticket));
            let (now, wall) = (MonoTime::from_ms(now_ms), wall(unix_ms));
            Ok(with_engine!(engine, c => c.resubmit_dead_letter(ticket, now, wall)?))
        })?;
        if let Some(out) = out {
            out.set(again.map_or(0, |ticket| ticket.0));
        }
        Ok(())
    })
}

/// Forgets the dead letter of this ticket, if it is there.
///
/// One thread at a time. Blocks as long as the storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_forget_dead_letter(
    courier: *mut edge_report_courier,
    ticket: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => c.forget_dead_letter(Ticket(ticket))?);
            Ok(())
        })
    })
}

/// Forgets the dead letter of this ticket, and all that became letters before it; nothing if it is not there.
///
/// One thread at a time. Blocks as long as the storage does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_forget_dead_letters(
    courier: *mut edge_report_courier,
    up_to: u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, engine) = unsafe { open(courier) }?;
        state.run("courier", || {
            with_engine!(engine, c => c.forget_dead_letters(Ticket(up_to))?);
            Ok(())
        })
    })
}

impl edge_report_courier {
    pub(crate) const fn new(engine: Engine) -> Self {
        edge_report_courier {
            state: State::ready(),
            #[cfg(feature = "_http")]
            lent: AtomicU32::new(0),
            engine,
        }
    }
}

#[cfg(feature = "_http")]
impl edge_report_courier {
    /// Checks that nobody else needs it.
    ///
    /// # Safety
    /// The courier is readable, unless it is NULL or not aligned.
    pub(crate) unsafe fn check_own(courier: *const Self) -> Result<(), Failure> {
        match unsafe { reference(courier, "courier") }?.lent.load(Relaxed) {
            0 => Ok(()),
            _ => Err(Failure::at(Code::InUse, "courier")),
        }
    }

    /// A handle to a courier that somebody else has. It lives no longer than the loan.
    ///
    /// # Safety
    /// The handle is ended before the loan is.
    pub(crate) unsafe fn lent<C: Lend + 'static>(courier: &mut C) -> Self {
        // SAFETY: the caller's word.
        let handle = Self::new(unsafe { &mut *core::ptr::from_mut(courier) }.engine());
        handle.lent.store(1, Relaxed);
        handle
    }

    /// Ends a loan; an error if it cannot be used any more.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        let usable = self.state.check("courier");
        self.state.end();
        usable
    }

    /// Takes the courier out of its handle, which ends.
    ///
    /// # Safety
    /// The handle is usable, and not lent.
    pub(crate) unsafe fn take(courier: *mut Self) -> Taken {
        // SAFETY: the handle ends here: nobody reads it again. What is on the heap was made by `Box::into_raw` in host.rs; the outbox stands in the
        // caller's memory, which is the library's until the reporter is freed.
        unsafe {
            (*courier).state.end();
            match &mut (*courier).engine {
                Engine::Memory(engine) => {
                    let courier = core::ptr::read(&raw const **engine);
                    // The reference that it has, as a pointer.
                    let outbox = core::ptr::from_ref(courier.outbox());
                    let outbox = outbox.cast::<*mut AnyOutbox>().read();
                    Taken::Memory(Box::new(courier), outbox)
                }
                Engine::Spool(engine) => {
                    let engine = Box::from_raw(&raw mut **engine);
                    drop(Box::from_raw(courier));
                    Taken::Spool(engine)
                }
            }
        }
    }
}

/// A courier without its handle.
#[cfg(feature = "_http")]
pub(crate) enum Taken {
    /// And where its outbox is, which is to be dropped after it.
    Memory(Box<MemoryCourier>, *mut AnyOutbox),
    Spool(Box<SpoolCourier>),
}

/// A courier that can stand in a handle for a while.
#[cfg(feature = "_http")]
pub(crate) trait Lend {
    fn engine(&'static mut self) -> Engine;
}

#[cfg(feature = "_http")]
impl Lend for MemoryCourier {
    fn engine(&'static mut self) -> Engine {
        Engine::Memory(self)
    }
}

#[cfg(feature = "_http")]
impl Lend for SpoolCourier {
    fn engine(&'static mut self) -> Engine {
        Engine::Spool(self)
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
    // SAFETY: checked above for NULL and alignment, and the caller's alone.
    let state = unsafe { &(*courier).state };
    state.check("courier")?;
    // SAFETY: as above; another member than `state`.
    Ok((state, unsafe { &mut (*courier).engine }))
}
