//! The front door for programs with threads: a client, a courier, and one thread that brings the two together.
//!
//! ```text
//!  submit ──► courier (under a fair lock) ◄── the thread: deliver ──► client
//!     │                                         ▲        │
//!     └──────────── waker ──────────────────────┘        └──► observer
//! ```
//!
//! The thread sleeps until something is submitted, with no wake-up before. While it has the client, [`State::inside`] is what ends its waits;
//! before it takes the client it looks at what others set under the same lock, so nothing is missed in between.
//!
//! Visitors ([`Reporter::with_client`]) and the thread take turns: a visit interrupts the attempt that is made, but the first attempt after
//! a visit comes to its end ([`State::owed`]). So visits are served soon, and however many there are, reports go out between them.

use std::boxed::Box;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::ToString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{fmt, io};

use super::client::Client;
use super::deliver::{DeliveryEvent, Pause, Untold};
use super::fair::FairMutex;
use super::spool::Spool;
use super::waker::{Deadline, LONGEST_SLEEP, Waker};
use crate::courier::{Courier, CourierError, Outbox, Scratch, Status, Ticket};
use crate::report::Encode;
use crate::time::{MonoTime, WallTime};

/// The first pause after an error of the outbox, and how often it doubles: up to 64 s.
const PAUSE: Duration = Duration::from_secs(1);
const DOUBLINGS: u32 = 6;
/// Of the thread: std's own default. Stated, since std would ask the environment.
const STACK: usize = 2 * 1024 * 1024;

/// Takes reports from any thread, and delivers them by a thread of its own.
///
/// A report is stored when [`submit`](Self::submit) returns; what becomes of it is reported to the observer. While nothing waits, it uses no CPU.
///
/// ```
/// use edge_report::courier::{Courier, RamOutbox};
/// use edge_report::{Client, DeliveryEvent, Job, JobStatus, Report, Reporter};
///
/// let client = Client::builder("https://gateway.example", "0a1b2c").build()?;
/// // Or `Spool::open(…)?`, which survives restarts and power cuts.
/// let courier = Courier::over(RamOutbox::new(Vec::new(), 1 << 20));
/// let reporter = Reporter::start(client, courier, |event| match event {
///     DeliveryEvent::Delivered { ticket, .. } => println!("{ticket} is there"),
///     DeliveryEvent::Refused { ticket, reason, .. } => eprintln!("{ticket}: {reason}"),
///     _ => {}
/// })?;
///
/// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(7)];
/// reporter.submit(&Report::new("5f0c…-1", &jobs))?;
/// assert_eq!(reporter.status().waiting, 1);
/// // What waits in a spool is delivered after the next start.
/// reporter.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The observer
///
/// It runs on the reporter's thread, without a lock: it may submit, and look at the [`status`](Self::status). It must not stop the reporter, nor
/// call [`with_client`](Self::with_client) or [`flush`](Self::flush): these wait for the thread that it is on. The next report waits until it returns.
/// If it panics, nothing is lost, and it gets the next event.
///
/// # In an async program
///
/// `submit` takes as long as the outbox needs to make a report durable: with a spool on a slow card 200 ms, so it belongs into
/// `spawn_blocking` there, or a spool with `Durability::Batch`. The observer can hand events on through any channel whose sender does not block.
pub struct Reporter<O: Outbox = Spool, B: Scratch = Vec<u8>> {
    shared: Arc<Shared<O, B>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<O, B> {
    courier: FairMutex<Courier<O, B>>,
    client: FairMutex<Client>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    /// How many want the client.
    visitors: u32,
    /// Of the client, while the thread has it. Visitors may replace it.
    inside: Option<Waker>,
    /// Since the last visit no attempt has come to its end.
    owed: bool,
    /// The client may be another since the last [`wake`](Reporter::wake).
    was_visited: bool,
    /// Counts what happened, for those who wait until something does.
    happened: u64,
}

impl State {
    /// Whether the thread is to leave the client to somebody else.
    fn is_wanted(&self) -> bool {
        self.is_stopping || self.visitors > 0
    }
}

impl<O: Outbox, B: Scratch> fmt::Debug for Reporter<O, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("state", &*self.shared.state())
            .finish_non_exhaustive()
    }
}

impl<O, B> Reporter<O, B>
where
    O: Outbox + Send + 'static,
    B: Scratch + Send + 'static,
{
    /// Begins to deliver what waits. An error is the system's, if it has no thread; then the courier is dropped, and what is in a spool stays there.
    pub fn start(
        client: Client,
        courier: Courier<O, B>,
        observe: impl FnMut(DeliveryEvent<'_>) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            courier: FairMutex::new(courier),
            client: FairMutex::new(client),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new()
            .name("edge-report".to_string())
            .stack_size(STACK);
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(observe)
        })?;
        Ok(Reporter {
            shared,
            thread: Some(thread),
        })
    }
}

impl<O: Outbox, B: Scratch> Reporter<O, B> {
    /// Checks a report, stores it, and lets the thread deliver it: [`Courier::submit`] with the time of now.
    pub fn submit(&self, report: &impl Encode) -> Result<Ticket, CourierError<O::Error>> {
        self.with_courier(|courier| courier.submit(report, MonoTime::now(), Some(WallTime::now())))
    }

    /// The same for a report that is encoded: these very bytes are sent.
    pub fn submit_encoded(&self, report: &[u8]) -> Result<Ticket, CourierError<O::Error>> {
        self.with_courier(|courier| {
            courier.submit_encoded(report, MonoTime::now(), Some(WallTime::now()))
        })
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        self.shared.courier.lock().status()
    }

    /// Waits until nothing waits for delivery and that is durable, or the time is up, or the reporter is stopped. What has its time to be tried again
    /// after that time is left waiting. Time that the machine is suspended counts (Linux), to a minute.
    pub fn flush(&self, until: Instant) -> Result<Pause, CourierError<O::Error>> {
        let end = Deadline::at(until);
        loop {
            let seen = self.shared.state().happened;
            {
                let mut courier = self.shared.courier.lock();
                if courier.status().waiting == 0 {
                    courier.flush()?;
                    return Ok(Pause::Idle);
                }
            }
            let left = end.left().min(LONGEST_SLEEP);
            if left.is_zero() {
                return Ok(Pause::TimeUp);
            }
            let is_news = |state: &mut State| state.happened == seen && !state.is_stopping;
            let waited =
                (self.shared.changed).wait_timeout_while(self.shared.state(), left, is_news);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping {
                return Ok(Pause::Cancelled);
            }
        }
    }

    /// Tries again at once: the network is back, or somebody changed what was wrong. An attempt that is being made goes on; if it fails without a
    /// response, the next one comes at once, too.
    ///
    /// It may be called for each news of a link: until a report is accepted it ends waits once a minute, and never a hold for denied credentials or a
    /// `Retry-After`. After [`with_client`](Self::with_client), which may have set other credentials, it ends these, too; so does [`Courier::wake`].
    pub fn wake(&self) {
        let was_visited = std::mem::take(&mut self.shared.state().was_visited);
        self.with_courier(|courier| match was_visited {
            true => courier.wake(MonoTime::now()),
            false => courier.link_is_back(MonoTime::now()),
        });
    }

    /// Uses the courier: dead letters, for one. Delivery waits meanwhile, and looks again afterwards. Within it, call no function of the
    /// reporter: each wants the same lock, or waits for the thread, which does. Within [`with_client`](Self::with_client) this one is fine.
    pub fn with_courier<R>(&self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        // Also when it panics.
        let _wakes = Wakes(&self.shared.state);
        use_it(&mut self.shared.courier.lock())
    }

    /// Uses the client, to give it other credentials or certificates. A report that is being sent is interrupted, and sent again afterwards under the same
    /// `message_id`, since it may have arrived. The first attempt after that is not: another visit waits for its end, at the most for the client's
    /// timeouts, so that however often the client is used, reports go out. What a delivery waits for between two attempts never holds up a visit.
    ///
    /// ```no_run
    /// # fn renew(reporter: &edge_report::Reporter) -> Result<(), edge_report::BuildError> {
    /// use edge_report::Credentials;
    ///
    /// reporter.with_client(|client| client.set_credentials(&Credentials::token("new")))?;
    /// // They may have been what everything waited for.
    /// reporter.wake();
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_client<R>(&self, use_it: impl FnOnce(&mut Client) -> R) -> R {
        let shared = &*self.shared;
        let mut state = shared.state();
        state.visitors = state.visitors.saturating_add(1);
        match &state.inside {
            Some(waker) if state.owed => waker.leave(),
            Some(waker) => waker.cancel(),
            None => {}
        }
        drop(state);
        let mut client = shared.client.lock();
        // The thread is not in it any more. What was meant for it must not end what comes now.
        client.bell().forget_ends();
        let mut state = shared.state();
        state.visitors = state.visitors.saturating_sub(1);
        state.owed = true;
        state.was_visited = true;
        drop(state);
        shared.changed.notify_all();
        use_it(&mut client)
    }

    /// Ends the thread, also within a send, and makes durable what is not yet. What waits in a spool is delivered after the next start; what was being
    /// sent is sent again then. Takes 100 ms at the most, and what the observer and the disk take.
    ///
    /// Dropping it does the same, but for errors.
    pub fn stop(mut self) -> Result<(), CourierError<O::Error>> {
        self.end();
        self.shared.courier.lock().close()
    }

    fn end(&mut self) {
        let mut state = self.shared.state();
        state.is_stopping = true;
        if let Some(waker) = &state.inside {
            waker.cancel();
        }
        drop(state);
        self.shared.changed.notify_all();
        let thread = self.thread.take();
        let is_other = |thread: &JoinHandle<()>| thread.thread().id() != thread::current().id();
        if let Some(thread) = thread.filter(is_other) {
            // Its panics are caught.
            let _ = thread.join();
        }
    }
}

impl<O: Outbox, B: Scratch> Drop for Reporter<O, B> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<O, B> Shared<O, B> {
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn happened(&self) {
        let mut state = self.state();
        // Nearly always that is an attempt's end.
        state.owed = false;
        state.happened = state.happened.wrapping_add(1);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until it is the thread's turn; `false` when it is stopped.
    fn goes_on(&self) -> bool {
        let is_ahead = |state: &mut State| state.visitors > 0 && !state.owed && !state.is_stopping;
        let state = self.changed.wait_while(self.state(), is_ahead);
        !state.unwrap_or_else(PoisonError::into_inner).is_stopping
    }

    /// The thread has the client now, unless somebody came meanwhile who goes ahead: he stands after the thread in its line.
    fn enter(&self, client: &Client) -> Option<Inside<'_>> {
        let mut state = self.state();
        let is_owed = state.owed && !state.is_stopping;
        if state.is_wanted() && !is_owed {
            return None;
        }
        client.bell().forget_ends();
        let waker = client.waker();
        if state.is_wanted() {
            waker.leave();
        }
        state.inside = Some(waker);
        Some(Inside(&self.state))
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as the thread has the client.
struct Inside<'a>(&'a Mutex<State>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        locked(self.0).inside = None;
    }
}

/// Lets the thread look again, if it waits.
struct Wakes<'a>(&'a Mutex<State>);

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        if let Some(waker) = &locked(self.0).inside {
            waker.wake();
        }
    }
}

impl<O: Outbox + 'static, B: Scratch> Shared<O, B> {
    /// The thread.
    fn run(&self, mut observe: impl FnMut(DeliveryEvent<'_>)) {
        let mut observe = |event: DeliveryEvent<'_>| {
            // The panic hook has reported it.
            let _ = catch_unwind(AssertUnwindSafe(|| observe(event)));
            self.happened();
        };
        let mut untold = Untold::default();
        let mut failures = 0u32;
        while self.goes_on() {
            let mut client = self.client.lock();
            let Some(_inside) = self.enter(&client) else {
                continue;
            };
            let delivered = catch_unwind(AssertUnwindSafe(|| {
                client.deliver_telling(&self.courier, None, &mut untold, &mut observe)
            }));
            let error: Box<dyn Error> = match delivered {
                Ok(Ok(pause)) => {
                    failures = 0;
                    if pause == Pause::Idle {
                        self.happened();
                        // What a visit rings may have woken the delivery that just ended.
                        if !self.state().is_wanted() {
                            client.wait(None);
                        }
                    }
                    continue;
                }
                Ok(Err(error)) => Box::new(error),
                Err(_) => Box::new(Panicked),
            };
            let wait = PAUSE.saturating_mul(1 << failures);
            failures = failures.saturating_add(1).min(DOUBLINGS);
            let failed = DeliveryEvent::Failed {
                error: &*error,
                wait,
            };
            // A logger may panic, too.
            let _ = catch_unwind(AssertUnwindSafe(|| failed.tell(&mut observe)));
            // Its cancellation may have been taken before the error.
            if !self.state().is_wanted() {
                client.wait(Some(wait));
            }
        }
    }
}

/// A panic within delivery, which is a bug. The panic hook has its message.
#[derive(Debug)]
struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("delivery panicked")
    }
}

impl Error for Panicked {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::courier::RamOutbox;

    /// Between the thread's look and its turn somebody may come, who had nobody to interrupt.
    #[test]
    fn who_came_meanwhile_goes_ahead() {
        let client = Client::builder("http://127.0.0.1:1", "p").build().unwrap();
        let shared = Shared {
            courier: FairMutex::new(Courier::over(RamOutbox::new(Vec::new(), 4096))),
            client: FairMutex::new(client),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        for (visitors, is_stopping, owed, enters) in [
            (0, false, false, true),
            (1, false, false, false),
            (1, false, true, true),
            (0, true, false, false),
            (0, true, true, false),
        ] {
            *shared.state() = State {
                visitors,
                is_stopping,
                owed,
                ..State::default()
            };
            let client = shared.client.lock();
            let inside = shared.enter(&client);
            assert_eq!(inside.is_some(), enters, "{visitors} {is_stopping} {owed}");
            drop(inside);
        }
    }
}
