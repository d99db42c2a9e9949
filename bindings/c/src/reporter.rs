//! The reporter: a client, a courier, and a thread that brings the two together.

use core::ffi::c_void;
use std::boxed::Box;
use std::string::ToString;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use std::vec::Vec;

use edge_report::{Code, DeliveryEvent, Reporter, Spool};

use crate::client::{edge_report_client, open as open_client};
use crate::client_deliver::{edge_report_pause, pause_number};
use crate::courier::{AnyOutbox, Taken, edge_report_courier, open as open_courier};
use crate::delivery::edge_report_courier_state;
use crate::error::{Failure, edge_report_error};
use crate::event::{Observer, edge_report_observer};
use crate::guard::{State, guard};
use crate::report::{Source, edge_report_report};
use crate::sized::Answer;
use crate::types::{Output, bytes, edge_report_result, reference};

/// Takes reports from any thread, and delivers them by a thread of its own, which is made for it and ends with it. Opaque.
///
/// A report is stored when edge_report_reporter_submit returns; what becomes of it, the observer is told. While nothing waits, it uses no CPU.
///
/// Its callbacks may call it back, as each says. A call that would have to wait for the thread or the lock that the callback runs under is
/// refused as EDGE_REPORT_E_IN_USE, and does nothing. Not for a child after `fork`.
pub struct edge_report_reporter {
    state: State,
    /// Its own thread may be in a call while another one stops it.
    running: RwLock<Running>,
    inside: Arc<Inside>,
}

enum Running {
    Memory(
        Reporter<&'static mut AnyOutbox, &'static mut [u8]>,
        // In the caller's memory; what it has on the heap is dropped after the reporter.
        *mut AnyOutbox,
    ),
    Spool(Reporter<Spool, Vec<u8>>),
    Ended,
}

/// Which threads are in callbacks, so that none waits for itself.
#[derive(Default)]
struct Inside {
    /// The one that tells events.
    events: OnceLock<ThreadId>,
    courier: Mutex<Option<ThreadId>>,
    client: Mutex<Option<ThreadId>>,
}

/// Runs an expression with the reporter, whichever outbox it has.
macro_rules! with_reporter {
    ($handle:expr, $reporter:ident => $body:expr) => {
        match &*$handle
            .running
            .read()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Running::Memory($reporter, _) => $body,
            Running::Spool($reporter) => $body,
            Running::Ended => Err(Failure::at(Code::NotUsable, "reporter")),
        }
    };
}

/// Begins to deliver what waits in a courier, on a thread of its own.
///
/// Takes the client and the courier, unless one of the arguments is wrong: their handles are not usable after it, and are not to be freed. A
/// courier's memory is the library's until edge_report_reporter_free. All times that the courier was given must be
/// `edge_report_monotonic_ms()`. Borrows `observer` for the call, and copies it; its `user` must hold until the reporter is stopped. One thread
/// at a time has the two. Does not block.
///
/// @param observer told of each event, on the reporter's thread and without a lock. It may call edge_report_reporter_submit, _status, _wake and
///                 _with_courier of this reporter; the others are EDGE_REPORT_E_IN_USE there. NULL: nobody.
/// @param reporter gives the handle; free it with edge_report_reporter_free.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_IN_USE: the client or the courier is in a call, or is lent by another reporter; EDGE_REPORT_E_NO_THREAD:
///         the two are freed, and what is in a spool stays there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_new(
    client: *mut edge_report_client,
    courier: *mut edge_report_courier,
    observer: *const edge_report_observer,
    reporter: *mut *mut edge_report_reporter,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(reporter, "reporter")?;
        let observer = unsafe { Observer::new(observer) }?;
        unsafe {
            open_client(client)?;
            open_courier(courier)?;
            edge_report_client::check_own(client)?;
            edge_report_courier::check_own(courier)?;
        }
        let client = unsafe { edge_report_client::take(client) };
        let inside = Arc::new(Inside::default());
        let observe = {
            let inside = Arc::clone(&inside);
            move |event: DeliveryEvent<'_>| {
                inside.events.get_or_init(|| thread::current().id());
                observer.tell(&event);
            }
        };
        let no_thread = |error: std::io::Error| {
            let mut failure = Failure::new(Code::NoThread);
            failure.device_error = error.raw_os_error().unwrap_or(0);
            failure.with_detail(&error.to_string())
        };
        let running = match unsafe { edge_report_courier::take(courier) } {
            Taken::Memory(courier, outbox) => {
                let started = Reporter::start(client, *courier, observe);
                let started = started.inspect_err(|_| {
                    // SAFETY: the courier, which had it, is dropped.
                    unsafe { core::ptr::drop_in_place(outbox) }
                });
                Running::Memory(started.map_err(no_thread)?, outbox)
            }
            Taken::Spool(courier) => {
                Running::Spool(Reporter::start(client, *courier, observe).map_err(no_thread)?)
            }
        };
        out.set(Box::into_raw(Box::new(edge_report_reporter {
            state: State::ready(),
            running: RwLock::new(running),
            inside,
        })));
        Ok(())
    })
}

/// Checks and encodes a report and stores it, with the time of now; the thread delivers it. Likely mistakes are no errors, as with
/// edge_report_courier_submit.
///
/// Borrows the report for the call. Any thread, also the observer's. Blocks as long as the storage does, and while another thread has the courier.
///
/// @param ticket the report's name, counted from 1; may be NULL.
/// @return what edge_report_courier_submit can give.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_submit(
    reporter: *const edge_report_reporter,
    report: *const edge_report_report,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let handle = unsafe { open(reporter) }?;
        let source = unsafe { Source::new(report) }?;
        let ticket = handle
            .run(|| with_reporter!(handle, reporter => Ok(reporter.submit(&source.report())?)))?;
        if let Some(out) = out {
            out.set(ticket.0);
        }
        Ok(())
    })
}

/// Like `edge_report_reporter_submit`, for a report that is encoded: these very bytes are sent. They are checked.
///
/// Borrows the bytes for the call. Any thread, also the observer's. Blocks as long as the storage does, and while another thread has the courier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_submit_encoded(
    reporter: *const edge_report_reporter,
    body: *const c_void,
    body_len: usize,
    ticket: *mut u64,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(ticket, "ticket")?;
        let handle = unsafe { open(reporter) }?;
        let body = unsafe { bytes(body, body_len, "body") }?;
        let ticket = handle
            .run(|| with_reporter!(handle, reporter => Ok(reporter.submit_encoded(body)?)))?;
        if let Some(out) = out {
            out.set(ticket.0);
        }
        Ok(())
    })
}

/// Tells how things stand.
///
/// Borrows its arguments for the call. Any thread, also the observer's. Blocks while another thread has the courier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_status(
    reporter: *const edge_report_reporter,
    status: *mut edge_report_courier_state,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = unsafe { Answer::new(status, "status") }?;
        let handle = unsafe { open(reporter) }?;
        let status = handle.run(|| with_reporter!(handle, reporter => Ok(reporter.status())))?;
        out.fill(|to| to.fill(&status));
        Ok(())
    })
}

/// Waits until nothing waits for delivery and that is durable, or the time is up. What has its time to be tried again after that time is left
/// waiting.
///
/// Any thread but the observer's, which gets EDGE_REPORT_E_IN_USE. Blocks for `timeout_ms` at the most, and as long as the storage does.
///
/// @param pause why it returned: EDGE_REPORT_PAUSE_IDLE or EDGE_REPORT_PAUSE_TIME_UP; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_flush(
    reporter: *const edge_report_reporter,
    timeout_ms: u32,
    pause: *mut edge_report_pause,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(pause, "pause")?;
        let handle = unsafe { open(reporter) }?;
        let now = Instant::now();
        let until = now
            .checked_add(Duration::from_millis(u64::from(timeout_ms)))
            .unwrap_or(now);
        handle.inside.may_wait()?;
        let pause =
            handle.run(|| with_reporter!(handle, reporter => Ok(reporter.flush(until)?)))?;
        if let Some(out) = out {
            out.set(pause_number(pause));
        }
        Ok(())
    })
}

/// Tries again at once: the network is back, or somebody changed what was wrong. It may be called for each news of a link: until a report is
/// accepted it ends waits once a minute, and never a hold for denied credentials or a `Retry-After`. After edge_report_reporter_with_client it
/// ends these, too; so does edge_report_courier_wake.
///
/// Any thread, also the observer's. Blocks while another thread has the courier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_wake(
    reporter: *const edge_report_reporter,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let handle = unsafe { open(reporter) }?;
        handle.run(|| {
            with_reporter!(handle, reporter => {
                reporter.wake();
                Ok(())
            })
        })
    })
}

/// Calls `use` with the courier, for what a reporter has no function for: dead letters, for one. Delivery waits meanwhile, and looks again
/// afterwards.
///
/// The courier is lent until `use` returns: it is not to be freed or kept. Within `use`, all calls of the reporter are EDGE_REPORT_E_IN_USE;
/// times that the courier is given are `edge_report_monotonic_ms()`. `use` must not throw or longjmp. Any thread, also the observer's.
/// Blocks while another thread has the courier.
///
/// @param user passed to `use`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_with_courier(
    reporter: *const edge_report_reporter,
    r#use: Option<unsafe extern "C" fn(user: *mut c_void, courier: *mut edge_report_courier)>,
    user: *mut c_void,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let handle = unsafe { open(reporter) }?;
        let call = r#use.ok_or(Failure::at(Code::NullPointer, "use"))?;
        handle.run(|| {
            with_reporter!(handle, reporter => reporter.with_courier(|courier| {
                let _inside = Within::new(&handle.inside.courier);
                // SAFETY: lent until the callback returns, when the handle ends.
                let mut lent = unsafe { edge_report_courier::lent(courier) };
                // SAFETY: the caller's function with the caller's argument, as the header has it.
                unsafe { call(user, &raw mut lent) }
                lent.end()
            }))
        })
    })
}

/// Calls `use` with the client, to give it other credentials or certificates. A report that is being sent is interrupted, and sent again
/// afterwards under the same `message_id`, since it may have arrived; that attempt is not interrupted, so that reports go out however often this
/// is called. edge_report_reporter_wake then tries at once what waits for them.
///
/// The client is lent until `use` returns: it is not to be freed or kept. Within `use`, calls of the reporter that wait for delivery are
/// EDGE_REPORT_E_IN_USE. `use` must not throw or longjmp. Any thread but the observer's, which gets EDGE_REPORT_E_IN_USE. Blocks for 100 ms, or
/// until the first attempt after an interruption ends: for the client's timeouts at the most; and what the observer and the storage take.
///
/// @param user passed to `use`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_with_client(
    reporter: *const edge_report_reporter,
    r#use: Option<unsafe extern "C" fn(user: *mut c_void, client: *mut edge_report_client)>,
    user: *mut c_void,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let handle = unsafe { open(reporter) }?;
        let call = r#use.ok_or(Failure::at(Code::NullPointer, "use"))?;
        handle.inside.may_wait()?;
        handle.run(|| {
            with_reporter!(handle, reporter => reporter.with_client(|client| {
                let _inside = Within::new(&handle.inside.client);
                // SAFETY: lent until the callback returns, when the handle ends.
                let mut lent = unsafe { edge_report_client::lent(client) };
                // SAFETY: the caller's function with the caller's argument, as the header has it.
                unsafe { call(user, &raw mut lent) }
                lent.end()
            }))
        })
    })
}

/// Ends the thread, also within a send, and makes durable what is not yet. What waits in a spool is delivered after the next start; what was
/// being sent is sent again then. Nothing is told after it, and the reporter only serves to be freed.
///
/// One thread, while no other is in a call of this reporter; not in one of its callbacks: EDGE_REPORT_E_IN_USE. Blocks for 100 ms at the most, and
/// what the observer and the storage take.
///
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE: it is stopped anyway.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_stop(
    reporter: *mut edge_report_reporter,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let handle = unsafe { open(reporter) }?;
        handle.inside.may_wait()?;
        handle.end()
    })
}

/// Frees a reporter, after edge_report_reporter_stop unless that was called; its errors are lost. The handle is not usable after it. NULL is fine;
/// in a callback of the reporter it does nothing.
///
/// Takes the reporter. One thread, while no other is in a call of it. Blocks as edge_report_reporter_stop does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_reporter_free(reporter: *mut edge_report_reporter) {
    guard(core::ptr::null_mut(), || {
        if reporter.is_null() {
            return Ok(());
        }
        let handle = unsafe { reference(reporter.cast_const(), "reporter") }?;
        handle.inside.may_wait()?;
        let ended = handle.end();
        // SAFETY: made by `Box::into_raw` in `_new`; the caller gives it back, once, and its thread has ended.
        drop(unsafe { Box::from_raw(reporter) });
        ended
    });
}

impl edge_report_reporter {
    /// Runs what takes the courier's lock; a panic makes the reporter unusable.
    fn run<R>(&self, body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
        Inside::is_other(&self.inside.courier)?;
        self.state.run_shared(body)
    }

    fn end(&self) -> Result<(), Failure> {
        self.state.end();
        let running = {
            let mut running = (self.running.write()).unwrap_or_else(PoisonError::into_inner);
            core::mem::replace(&mut *running, Running::Ended)
        };
        // Not under the lock: the thread, for which this waits, may want it.
        match running {
            Running::Memory(reporter, outbox) => {
                let stopped = reporter.stop();
                // SAFETY: the courier, which had it, is dropped.
                unsafe { core::ptr::drop_in_place(outbox) }
                Ok(stopped?)
            }
            Running::Spool(reporter) => Ok(reporter.stop()?),
            Running::Ended => Ok(()),
        }
    }
}

impl Inside {
    /// A thread that waits for delivery must not be one that delivery waits for.
    fn may_wait(&self) -> Result<(), Failure> {
        if self.events.get() == Some(&thread::current().id()) {
            return Err(Failure::at(Code::InUse, "reporter"));
        }
        Self::is_other(&self.courier)?;
        Self::is_other(&self.client)
    }

    fn is_other(inside: &Mutex<Option<ThreadId>>) -> Result<(), Failure> {
        match *locked(inside) == Some(thread::current().id()) {
            true => Err(Failure::at(Code::InUse, "reporter")),
            false => Ok(()),
        }
    }
}

/// As long as this lives, its thread is in a callback.
struct Within<'a>(&'a Mutex<Option<ThreadId>>);

impl<'a> Within<'a> {
    fn new(inside: &'a Mutex<Option<ThreadId>>) -> Self {
        *locked(inside) = Some(thread::current().id());
        Within(inside)
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        *locked(self.0) = None;
    }
}

fn locked(inside: &Mutex<Option<ThreadId>>) -> MutexGuard<'_, Option<ThreadId>> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
/// The reporter is not freed during `'a`.
unsafe fn open<'a>(
    reporter: *const edge_report_reporter,
) -> Result<&'a edge_report_reporter, Failure> {
    let handle = unsafe { reference(reporter, "reporter") }?;
    handle.state.check("reporter")?;
    Ok(handle)
}
