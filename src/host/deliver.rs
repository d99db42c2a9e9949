//! Drives a courier with the client.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::client::Client;
use super::fair::FairMutex;
use super::send_error::SendError;
use super::tls::Clock;
use super::waker::Deadline;
use crate::courier::{
    Courier, CourierError, Event, Outbox, Reason, Scratch, Step, Ticket, Verdict, entropy,
};
use crate::exchange::Outcome;
use crate::time::{MonoTime, WallTime};

/// Why delivery paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Pause {
    /// Nothing waits.
    Idle,
    /// The time is up, and something waits.
    TimeUp,
    /// Somebody cancelled it: see [`Waker`](super::Waker).
    Cancelled,
}

/// The way to a courier: that one thread has, or that several share under a lock of any kind. Implement it for a lock that is none of these: it is
/// meant to be, and what may be added has a default.
pub trait Access<O, B> {
    /// Runs `use_it` with the courier.
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R;
}

impl<O, B> Access<O, B> for &mut Courier<O, B> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(self)
    }
}

impl<O, B> Access<O, B> for &FairMutex<Courier<O, B>> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(&mut self.lock())
    }
}

/// On a slow disk who submits without a pause keeps all others out: see [`FairMutex`].
impl<O, B> Access<O, B> for &Mutex<Courier<O, B>> {
    fn with<R>(&mut self, use_it: impl FnOnce(&mut Courier<O, B>) -> R) -> R {
        use_it(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a report, or why nothing is sent: for the observer of [`Client::deliver`], or of a `Reporter`.
///
/// `report` has the bytes that were submitted. Whoever knows reports by their [`Ticket`] has it from `submit`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum DeliveryEvent<'e> {
    /// The service has it.
    Delivered {
        /// Its name.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
    },
    /// It will never be taken: it is a dead letter, on stable storage where the outbox has one.
    Refused {
        /// Its name.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
        /// Why.
        reason: Reason,
    },
    /// Its budget in the policy is spent: it is a dead letter, too.
    Expired {
        /// Its name.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
        /// What failed last.
        reason: Reason,
    },
    /// It could not be delivered now, and is tried again.
    Waiting {
        /// Its name.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
        /// How long it waits at the least.
        wait: Duration,
        /// What failed.
        reason: Reason,
    },
    /// Credentials or settings are wrong, or the clock: nothing is sent for so long.
    Held {
        /// The report that was denied; it waits, too.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
        /// How long nothing is sent.
        wait: Duration,
        /// What is wrong.
        reason: Reason,
    },
    /// It will never be taken, but cannot be made a dead letter now. It is not sent meanwhile; once it is a dead letter, `Refused` or `Expired`
    /// says so.
    DeadLetterFailed {
        /// Its name.
        ticket: Ticket,
        /// Its bytes.
        report: &'e [u8],
        /// Why it will not be taken.
        reason: Reason,
        /// Why it cannot be made a dead letter.
        obstacle: Reason,
    },
    /// Reports were dropped since newer ones of all their jobs wait.
    Superseded {
        /// How many since the last event of this kind.
        count: u64,
    },
    /// Reports were lost, as the storage lost or changed their bytes.
    Corrupt {
        /// How many since the last event of this kind.
        count: u64,
    },
    /// A `Reporter` met an error of its outbox, or a panic, and goes on after a pause. Nothing is lost by it.
    Failed {
        /// What failed; a [`CourierError`], unless it was a panic.
        error: &'e (dyn Error + 'static),
        /// The pause.
        wait: Duration,
    },
}

impl fmt::Display for DeliveryEvent<'_> {
    /// A line for a log: `report 7 is a dead letter: refused: 400 DLI.0001 no such job`. Without the report's bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeliveryEvent::Delivered { ticket, .. } => write!(f, "report {ticket} is delivered"),
            DeliveryEvent::Refused { ticket, reason, .. } => {
                write!(f, "report {ticket} is a dead letter: {reason}")
            }
            DeliveryEvent::Expired { ticket, reason, .. } => {
                write!(f, "report {ticket} expired and is a dead letter: {reason}")
            }
            DeliveryEvent::Waiting {
                ticket,
                wait,
                reason,
                ..
            } => write!(f, "report {ticket} waits {wait:?}: {reason}"),
            DeliveryEvent::Held {
                ticket,
                wait,
                reason,
                ..
            } => write!(
                f,
                "report {ticket} is denied, nothing is sent for {wait:?}: {reason}"
            ),
            DeliveryEvent::DeadLetterFailed {
                ticket,
                reason,
                obstacle,
                ..
            } => write!(
                f,
                "report {ticket} cannot be made a dead letter ({obstacle}): {reason}"
            ),
            DeliveryEvent::Superseded { count } => {
                write!(f, "{count} dropped for newer reports of the same jobs")
            }
            DeliveryEvent::Corrupt { count } => write!(f, "{count} lost by the storage"),
            DeliveryEvent::Failed { error, wait } => {
                write!(f, "{error}; delivery goes on after {wait:?}")
            }
        }
    }
}

impl DeliveryEvent<'_> {
    /// A line in the log: what is lost to the service as an error, what waits as a warning. Target `edge_report`; without the report's bytes.
    #[cfg(feature = "log")]
    fn log(&self) {
        let level = match self {
            DeliveryEvent::Delivered { .. } => log::Level::Debug,
            DeliveryEvent::Superseded { .. } => log::Level::Info,
            DeliveryEvent::Waiting { .. } | DeliveryEvent::Held { .. } => log::Level::Warn,
            DeliveryEvent::Refused { .. }
            | DeliveryEvent::Expired { .. }
            | DeliveryEvent::DeadLetterFailed { .. }
            | DeliveryEvent::Corrupt { .. }
            | DeliveryEvent::Failed { .. } => log::Level::Error,
        };
        log::log!(target: "edge_report", level, "{self}");
    }

    #[cfg(not(feature = "log"))]
    const fn log(&self) {}

    /// Tells the observer and the log, in this order: a logger that panics keeps nothing from the observer.
    pub(super) fn tell(self, observe: &mut impl FnMut(DeliveryEvent<'_>)) {
        observe(self);
        self.log();
    }
}

/// What to do outside of the courier.
enum Task {
    Send(Ticket),
    Sleep(Duration),
    Pause(Pause),
}

/// What came back for a report.
struct Done {
    ticket: Ticket,
    event: Event,
    /// The service's time.
    trusted: Option<WallTime>,
    at: MonoTime,
}

impl Done {
    fn settle<O: Outbox, B: Scratch>(
        self,
        courier: &mut Courier<O, B>,
    ) -> Result<Option<Verdict>, CourierError<O::Error>> {
        if let Some(time) = self.trusted {
            courier.note_trusted_time(time);
        }
        match courier.settle(self.ticket, self.event, self.at, entropy()) {
            Ok(verdict) => Ok(Some(verdict)),
            // Somebody else delivered the same report, and got to know what became of it.
            Err(CourierError::StaleTicket) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A report that will not be sent any more.
#[derive(Clone, Copy, Debug)]
struct Doomed {
    ticket: Ticket,
    reason: Reason,
    is_expired: bool,
}

impl Doomed {
    fn event(self, report: &[u8]) -> DeliveryEvent<'_> {
        let (ticket, reason) = (self.ticket, self.reason);
        match self.is_expired {
            true => DeliveryEvent::Expired {
                ticket,
                report,
                reason,
            },
            false => DeliveryEvent::Refused {
                ticket,
                report,
                reason,
            },
        }
    }
}

/// Events that the observer has not had yet. They are gathered while the courier is locked, and reported when it is not.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Superseded and corrupt, as reported so far.
    counts: Option<(u64, u64)>,
    /// Of those that became dead letters by what became of others, the last few.
    buried: Vec<Ticket>,
    /// Not dead letters yet: as many at the most as step aside.
    doomed: Vec<Doomed>,
    /// The verdict over the report that was sent last.
    verdict: Option<(Ticket, Verdict, MonoTime)>,
    /// Why that is no dead letter yet.
    obstacle: Option<Reason>,
    letters: VecDeque<(Doomed, Vec<u8>)>,
    superseded: u64,
    corrupt: u64,
}

impl Untold {
    /// Counts from here on, unless it has begun.
    fn begin<O: Outbox, B: Scratch>(&mut self, courier: &Courier<O, B>) {
        if self.counts.is_none() {
            let counters = courier.status().counters;
            self.counts = Some((counters.superseded, counters.corrupt));
            self.buried = courier.buried().map(|(ticket, _)| ticket).collect();
        }
    }

    fn settled(&mut self, ticket: Ticket, verdict: Verdict, at: MonoTime) {
        let doomed = match verdict {
            Verdict::Refused(reason) => Some((reason, false)),
            Verdict::Expired(reason) => Some((reason, true)),
            _ => None,
        };
        self.doomed
            .extend(doomed.map(|(reason, is_expired)| Doomed {
                ticket,
                reason,
                is_expired,
            }));
        self.verdict = Some((ticket, verdict, at));
    }

    /// What happened in the courier beside the verdict.
    fn gather<O: Outbox, B: Scratch>(&mut self, courier: &mut Courier<O, B>) {
        for (ticket, reason) in courier.buried() {
            if !self.buried.contains(&ticket) {
                self.doomed.push(Doomed {
                    ticket,
                    reason,
                    is_expired: false,
                });
            }
        }
        self.buried.clear();
        self.buried
            .extend(courier.buried().map(|(ticket, _)| ticket));
        let status = courier.status();
        let now = (status.counters.superseded, status.counters.corrupt);
        let before = self.counts.replace(now).unwrap_or(now);
        let since = |now: u64, before: u64| now.saturating_sub(before);
        self.superseded = self.superseded.saturating_add(since(now.0, before.0));
        self.corrupt = self.corrupt.saturating_add(since(now.1, before.1));
        self.obstacle = None;
        let sent = self.verdict.map(|(ticket, ..)| ticket);
        let letters = &mut self.letters;
        let obstacle = &mut self.obstacle;
        self.doomed.retain(|doomed| {
            match courier.find_dead_letter(doomed.ticket) {
                Ok(Some((_, report))) => letters.push_back((*doomed, report.to_vec())),
                Ok(None) if status.aside > 0 => {}
                // The storage lost it; the counters say so.
                Ok(None) => return false,
                // It can be read later.
                Err(_) => {}
            }
            let is_told = letters
                .back()
                .is_some_and(|(told, _)| told.ticket == doomed.ticket);
            if !is_told && sent == Some(doomed.ticket) {
                let failure = status
                    .last_failure
                    .filter(|(ticket, _)| *ticket == doomed.ticket);
                *obstacle = failure.map(|(_, reason)| reason);
            }
            !is_told
        });
    }

    /// Tells all that is known. `sent` has the bytes that were sent last.
    fn tell(&mut self, sent: &[u8], observe: &mut impl FnMut(DeliveryEvent<'_>)) {
        if let Some((ticket, verdict, at)) = self.verdict.take() {
            let report = sent;
            let event = match verdict {
                Verdict::Delivered => Some(DeliveryEvent::Delivered { ticket, report }),
                Verdict::Again { at: until, reason } => Some(DeliveryEvent::Waiting {
                    ticket,
                    report,
                    wait: until.since(at),
                    reason,
                }),
                Verdict::Held { until, reason } => Some(DeliveryEvent::Held {
                    ticket,
                    report,
                    wait: until.since(at),
                    reason,
                }),
                Verdict::Refused(reason) | Verdict::Expired(reason) => {
                    let obstacle = self.obstacle.take();
                    obstacle.map(|obstacle| DeliveryEvent::DeadLetterFailed {
                        ticket,
                        report,
                        reason,
                        obstacle,
                    })
                }
            };
            if let Some(event) = event {
                event.tell(observe);
            }
        }
        // Each is taken first, and no other: an observer or a logger may panic.
        while let Some((doomed, report)) = self.letters.pop_front() {
            doomed.event(&report).tell(observe);
        }
        match std::mem::take(&mut self.superseded) {
            0 => {}
            count => DeliveryEvent::Superseded { count }.tell(observe),
        }
        match std::mem::take(&mut self.corrupt) {
            0 => {}
            count => DeliveryEvent::Corrupt { count }.tell(observe),
        }
    }
}

impl Client {
    /// Delivers what waits, one report after the other over one connection, until nothing waits, the time is up, or it is cancelled. Blocks.
    ///
    /// `courier` is one that this thread has (`&mut Courier`), or one that others submit to, under a lock ([`FairMutex`], [`Mutex`]): then it is
    /// locked between sending, not while. `observe` gets each verdict, in order, and without the lock, so that it may use the courier itself;
    /// the next report waits for it. Pass `|_| ()` to ignore events.
    ///
    /// With the time up before it begins, nothing is sent. While it waits to try again it sleeps, and looks at the clock once a minute, so the time that
    /// the machine is suspended counts, to a minute (Linux). Whoever submits, or calls [`Courier::wake`], calls [`Waker::wake`](super::Waker::wake), too. A refused report that cannot be made a dead letter before it
    /// ends is reported as [`DeadLetterFailed`](DeliveryEvent::DeadLetterFailed), and no more.
    ///
    /// An error is the outbox's. Nothing is lost by it; call it again after a while.
    ///
    /// ```no_run
    /// use std::time::{Duration, Instant};
    ///
    /// use edge_report::courier::Courier;
    /// use edge_report::{Client, DeliveryEvent, Spool};
    ///
    /// # fn deliver(mut client: Client, mut courier: Courier<Spool, Vec<u8>>) -> Result<(), Box<dyn std::error::Error>> {
    /// let until = Instant::now() + Duration::from_secs(10);
    /// let pause = client.deliver(&mut courier, until, |event| match event {
    ///     DeliveryEvent::Delivered { ticket, .. } => println!("{ticket} is there"),
    ///     DeliveryEvent::Refused { ticket, reason, .. } => println!("{ticket}: {reason}"),
    ///     _ => {}
    /// })?;
    /// println!("{pause:?}, {} wait", courier.status().waiting);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliver<O: Outbox, B: Scratch>(
        &mut self,
        courier: impl Access<O, B>,
        until: Instant,
        mut observe: impl FnMut(DeliveryEvent<'_>),
    ) -> Result<Pause, CourierError<O::Error>> {
        let mut untold = Untold::default();
        self.deliver_telling(courier, Some(until), &mut untold, &mut observe)
    }

    /// With what earlier calls had not reported yet; for ever without `until`.
    pub(super) fn deliver_telling<O: Outbox, B: Scratch>(
        &mut self,
        mut courier: impl Access<O, B>,
        until: Option<Instant>,
        untold: &mut Untold,
        observe: &mut impl FnMut(DeliveryEvent<'_>),
    ) -> Result<Pause, CourierError<O::Error>> {
        let trusted = courier.with(|courier| {
            untold.begin(courier);
            courier.trusted_time()
        });
        if let Some(time) = trusted {
            self.clock.learn(time);
        }
        let end = until.map(Deadline::at);
        let mut body = self.take_body();
        // What was sent last, for the observer; the next one is read in the same turn.
        let mut sent = Vec::new();
        let mut done: Option<Done> = None;
        let result = loop {
            let has_tried = done.is_some();
            let is_cancelled =
                self.bell().take_cancelled() || has_tried && self.bell().take_leaving();
            if is_cancelled && done.is_none() {
                break Ok(Pause::Cancelled);
            }
            let left = end.map_or(Duration::MAX, Deadline::left);
            // One turn for both what became of a report and what is next: a turn may take long.
            let task = courier.with(|courier| {
                if let Some(done) = done.take() {
                    let (ticket, at) = (done.ticket, done.at);
                    std::mem::swap(&mut body, &mut sent);
                    if let Some(verdict) = done.settle(courier)? {
                        untold.settled(ticket, verdict, at);
                    }
                }
                let task = self.next_task(courier, is_cancelled, left, &mut body);
                untold.gather(courier);
                task
            });
            untold.tell(&sent, observe);
            match task {
                Err(error) => break Err(error),
                Ok(Task::Pause(pause)) => break Ok(pause),
                Ok(Task::Sleep(_)) if self.bell().take_leaving() => break Ok(Pause::Cancelled),
                Ok(Task::Sleep(wait)) => self.bell().doze(wait),
                Ok(Task::Send(ticket)) => {
                    let (event, trusted) = match self.event_of(&body) {
                        Ok(event) => event,
                        // That says nothing of the report, nor of the link: it stays in flight, and is offered again.
                        Err(_) if self.bell().is_cancelled() => continue,
                        Err(error) => (Event::from(&error), None),
                    };
                    let at = MonoTime::now();
                    done = Some(Done {
                        ticket,
                        event,
                        trusted,
                        at,
                    });
                }
            }
        };
        self.give_body_back(body);
        result
    }

    /// What is next; `body` gets the bytes to send.
    fn next_task<O: Outbox, B: Scratch>(
        &mut self,
        courier: &mut Courier<O, B>,
        is_cancelled: bool,
        left: Duration,
        body: &mut Vec<u8>,
    ) -> Result<Task, CourierError<O::Error>> {
        if is_cancelled {
            return Ok(Task::Pause(Pause::Cancelled));
        }
        // Before anything is put in flight.
        if left.is_zero() {
            return Ok(Task::Pause(match courier.status().waiting {
                0 => Pause::Idle,
                _ => Pause::TimeUp,
            }));
        }
        Ok(match courier.next(MonoTime::now())? {
            Step::Idle => Task::Pause(Pause::Idle),
            Step::Wait(until) => Task::Sleep(until.since(MonoTime::now()).min(left)),
            Step::Send(outgoing) => {
                self.set_clock_offset_ms(outgoing.clock_offset_ms);
                body.clear();
                body.extend_from_slice(outgoing.body);
                Task::Send(outgoing.ticket)
            }
        })
    }

    /// Sends an encoded report once, for [`Courier::settle`]: as a failure also when it was cancelled, which need not be settled.
    pub fn send_for_event(&mut self, body: &[u8]) -> Event {
        let event = self.event_of(body);
        self.bell().take_cancelled();
        event.map_or_else(|error| Event::from(&error), |(event, _)| event)
    }

    /// What was answered, and the service's time, if it can be trusted.
    fn event_of(&mut self, body: &[u8]) -> Result<(Event, Option<WallTime>), SendError> {
        let is_verified = self.url.scheme_str() == Some("https");
        let head = self.exchange(body)?;
        let reply = self.read(head)?;
        let is_sure = is_verified && reply.outcome == Outcome::Accepted;
        let trusted = reply
            .date
            .filter(|date| is_sure && Clock::is_plausible(*date));
        Ok((Event::from_reply(&reply, WallTime::now()), trusted))
    }
}

impl From<&SendError> for Event {
    /// With the error's own words, which have no secrets: `connection refused`, or why a certificate is not trusted.
    fn from(error: &SendError) -> Self {
        let event = Event::failed(error.code());
        match error {
            SendError::Invalid(_) => event,
            SendError::NotSent { detail, .. }
            | SendError::MayHaveArrived { detail }
            | SendError::Misconfigured { detail, .. } => event.with_text(detail),
        }
    }
}
