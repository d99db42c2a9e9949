//! A client that delivers what waits in a courier.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use edge_report::courier::Courier;
use edge_report::{Access, Code, DeliveryEvent, Pause};

use crate::client::{edge_report_client, open, waker_of};
use crate::courier::{
    Engine, MemoryCourier, SpoolCourier, edge_report_courier, open as open_courier,
};
use crate::error::{Failure, edge_report_error};
use crate::event::{Observer, edge_report_observer};
use crate::guard::{State, guard};
use crate::sized::{Room, given};
use crate::types::{Output, edge_report_result};

/// The caller's own lock, for a courier that other threads submit to. Best one that serves threads in the order in which they ask: with another,
/// a thread that submits without a pause may keep delivery waiting while the disk is slow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_lock {
    /// Its size: begin with `EDGE_REPORT_LOCK_INIT`.
    pub struct_size: usize,
    /// Passed to both.
    pub user: *mut c_void,
    /// Returns when the calling thread has the lock.
    pub lock: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Gives it back.
    pub unlock: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Why delivery paused: one of `EDGE_REPORT_PAUSE_…`.
pub type edge_report_pause = u32;
/// Nothing waits.
pub const EDGE_REPORT_PAUSE_IDLE: u32 = 1;
/// The time is up, and something waits.
pub const EDGE_REPORT_PAUSE_TIME_UP: u32 = 2;
/// edge_report_client_cancel was called.
pub const EDGE_REPORT_PAUSE_CANCELLED: u32 = 3;

/// Delivers what waits in a courier, one report after the other, until nothing waits or the time is up.
///
/// Borrows all arguments for the call; the observer's `user` must hold as long. One thread at a time has the client. The courier is this thread's
/// alone for the call. With `lock` it is so only while the lock is held, which is not while something is sent, so that other threads can submit
/// under the same lock. All times given to this courier must be `edge_report_monotonic_ms()`. Blocks for `timeout_ms`, and the time of one send
/// more, at the most; edge_report_client_cancel ends it.
///
/// @param lock  NULL: no other thread uses the courier.
/// @param observer told of each event, by this thread, without the lock. It may use the courier, under the lock if there is one, and call
///              edge_report_client_wake and _cancel; other calls of the client are EDGE_REPORT_E_IN_USE there. What it submits may be left to the
///              next delivery. NULL: nobody.
/// @param pause why it returned: one of EDGE_REPORT_PAUSE_…; may be NULL.
/// @return EDGE_REPORT_OK, whatever became of the reports: see edge_report_courier_status, whose `failure` tells why something is not
///         delivered. EDGE_REPORT_E_STORAGE and the like: the courier's storage failed; what is stored stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_deliver(
    client: *mut edge_report_client,
    courier: *mut edge_report_courier,
    lock: *const edge_report_lock,
    timeout_ms: u32,
    observer: *const edge_report_observer,
    pause: *mut edge_report_pause,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::optional(pause, "pause")?;
        let observer = unsafe { Observer::new(observer) }?;
        let room = &mut Room::new();
        let lock = unsafe { given(lock, "lock", room) }?.copied();
        if lock.is_some_and(|lock| lock.lock.is_none() || lock.unlock.is_none()) {
            return Err(Failure::at(Code::NullPointer, "lock"));
        }
        let (client_state, client) = unsafe { open(client) }?;
        let (state, lent, which) = {
            let _held = Held::new(lock);
            let (state, engine) = unsafe { open_courier(courier) }?;
            let which = which(engine);
            // SAFETY: checked by `open_courier`; another member than the engine.
            (state, unsafe { &(*courier).lent }, which)
        };
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now);
        let observe = |event: DeliveryEvent<'_>| observer.tell(&event);
        let pause = client_state.run("client", || {
            lent.fetch_add(1, Ordering::Relaxed);
            let _given_back = GivenBack(lent);
            Ok(match which {
                Which::Memory(at) => client.deliver(Locked { at, state, lock }, until, observe)?,
                Which::Spool(at) => client.deliver(Locked { at, state, lock }, until, observe)?,
            })
        })?;
        if let Some(out) = out {
            out.set(pause_number(pause));
        }
        Ok(())
    })
}

pub(crate) const fn pause_number(pause: Pause) -> edge_report_pause {
    match pause {
        Pause::Idle => EDGE_REPORT_PAUSE_IDLE,
        Pause::Cancelled => EDGE_REPORT_PAUSE_CANCELLED,
        _ => EDGE_REPORT_PAUSE_TIME_UP,
    }
}

/// Counts a delivery off when it ends.
struct GivenBack<'a>(&'a AtomicU32);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sleeps until another thread calls edge_report_client_wake or edge_report_client_cancel, or the time is up. For a thread that delivers, after
/// EDGE_REPORT_PAUSE_IDLE: whoever submits wakes it.
///
/// One thread at a time. Blocks for `timeout_ms` at the most.
///
/// @param timeout_ms 0: until it is woken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_wait(
    client: *mut edge_report_client,
    timeout_ms: u32,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let (state, client) = unsafe { open(client) }?;
        let longest = Duration::from_millis(u64::from(timeout_ms));
        state.run("client", || {
            client.wait(Some(longest).filter(|longest| !longest.is_zero()));
            Ok(())
        })
    })
}

/// Something was submitted, or edge_report_courier_wake was called: a delivery of this client that sleeps looks again at once, and
/// edge_report_client_wait returns. If neither runs, the next one begins that way.
///
/// Any thread, also while another has the client, but not while it is freed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_wake(
    client: *const edge_report_client,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        unsafe { waker_of(client) }?.wake();
        Ok(())
    })
}

/// Ends the call of this client that runs, within 100 ms, whatever it waits for of the network or the time: a delivery with
/// EDGE_REPORT_PAUSE_CANCELLED, a send as EDGE_REPORT_E_NOT_SENT or EDGE_REPORT_E_MAY_HAVE_ARRIVED. A delivery whose disk syncs, or that
/// waits for a courier which another thread has locked meanwhile, ends right after. If none runs, the next one ends at once.
///
/// The report that was being delivered stays in flight, and the next delivery begins with it, under the same `message_id`: it may have
/// arrived. What was cancelled is no failure, and counts as no attempt.
///
/// Any thread, also while another has the client, but not while it is freed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_client_cancel(
    client: *const edge_report_client,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        unsafe { waker_of(client) }?.cancel();
        Ok(())
    })
}

/// The engine of a courier, whose type is known from here on.
enum Which {
    Memory(*mut MemoryCourier),
    Spool(*mut SpoolCourier),
}

fn which(engine: &mut Engine) -> Which {
    match engine {
        Engine::Memory(courier) => Which::Memory(&raw mut **courier),
        Engine::Spool(courier) => Which::Spool(&raw mut **courier),
    }
}

/// A courier under the caller's lock, if there is one.
struct Locked<'s, O, B> {
    at: *mut Courier<O, B>,
    state: &'s State,
    lock: Option<edge_report_lock>,
}

impl<O, B> Access<O, B> for Locked<'_, O, B> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        let _held = Held::new(self.lock);
        let _use = self.state.hold();
        // This thread's alone: by its lock, or since the caller said so.
        use_it(unsafe { &mut *self.at })
    }
}

/// The caller's lock, held as long as this lives.
struct Held(Option<edge_report_lock>);

impl Held {
    fn new(lock: Option<edge_report_lock>) -> Self {
        if let Some(edge_report_lock {
            user,
            lock: Some(take),
            ..
        }) = lock
        {
            // SAFETY: the caller's function with the caller's argument, as the header has it.
            unsafe { take(user) }
        }
        Held(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(edge_report_lock {
            user,
            unlock: Some(give),
            ..
        }) = self.0
        {
            // SAFETY: as for `take`, which was called before.
            unsafe { give(user) }
        }
    }
}
