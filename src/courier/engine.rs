//! The engine that every host drives the same way.

use core::fmt;

use super::log::LogError;
use super::outbox::{DeadLetter, Fate, Ledger, Outbox, Ticket, job_keys};
use super::policy::{Attempt, Event, Policy, Reason, Verdict, decide, within};
use crate::code::{Code, Severity};
use crate::json::SliceSink;
use crate::report::{Encode, EncodeError, check};
use crate::time::MonoTime;

/// Memory for one report at a time. Arrays and slices have a fixed size; a `Vec` grows (feature `alloc`).
pub trait Scratch {
    /// At least `len` bytes; `None` if that is not to be had.
    fn room(&mut self, len: usize) -> Option<&mut [u8]>;
}

impl<const N: usize> Scratch for [u8; N] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= N).then_some(self)
    }
}

impl Scratch for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= self.len()).then_some(self)
    }
}

#[cfg(feature = "alloc")]
impl Scratch for alloc::vec::Vec<u8> {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.len() < len {
            self.try_reserve(len.saturating_sub(self.len())).ok()?;
            self.resize(len, 0);
        }
        Some(self)
    }
}

/// A report to send now.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'c> {
    /// Its name, for [`Courier::settle`].
    pub ticket: Ticket,
    /// Its bytes: the same at every attempt.
    pub body: &'c [u8],
    /// What to add to the wall clock before signing.
    pub clock_offset_ms: i64,
}

/// A report that will not be sent: it was refused or given up.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'c> {
    /// Its name.
    pub ticket: Ticket,
    /// Why.
    pub reason: Reason,
    /// Its bytes.
    pub body: &'c [u8],
}

/// What to do next.
#[derive(Clone, Copy, Debug)]
pub enum Step<'c> {
    /// Send this, then call [`Courier::settle`].
    Send(Parcel<'c>),
    /// Nothing before this many milliseconds have passed, or something is submitted.
    Wait(u64),
    /// Nothing waits.
    Idle,
}

/// Why a call failed; nothing is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CourierError<E> {
    /// The report breaks the contract, or the memory for it is too small.
    Invalid(EncodeError),
    /// The outbox failed, or is full.
    Outbox(E),
    /// This ticket is not in flight: its verdict is out already.
    StaleTicket,
    /// The memory for one report is too small for one that waits.
    TooSmall {
        /// In bytes.
        needed: usize,
    },
}

impl<E> CourierError<LogError<E>> {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            CourierError::Invalid(error) => error.code(),
            CourierError::Outbox(error) => error.code(),
            CourierError::StaleTicket => Code::StaleTicket,
            CourierError::TooSmall { .. } => Code::BufferTooSmall,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CourierError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CourierError::Invalid(error) => error.fmt(f),
            CourierError::Outbox(error) => error.fmt(f),
            CourierError::StaleTicket => Code::StaleTicket.fmt(f),
            CourierError::TooSmall { needed } => {
                write!(f, "{}; {needed} bytes are needed", Code::BufferTooSmall)
            }
        }
    }
}

impl<E: fmt::Display + fmt::Debug> core::error::Error for CourierError<E> {}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What became of all reports so far.
    pub ledger: Ledger,
    /// How many wait.
    pub waiting: u64,
    /// The one in flight.
    pub in_flight: Option<Ticket>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether so many failed in a row that the network or service counts as down: one probe at a time goes out.
    pub circuit_open: bool,
    /// When the next attempt may come.
    pub not_before: MonoTime,
    /// The correction of the wall clock in use.
    pub clock_offset_ms: i64,
    /// The verdict given last.
    pub last: Option<(Ticket, Verdict)>,
}

/// Keeps reports in an outbox and says what to do with them.
///
/// At most one report is in flight. Order is by submission, waiting by monotonic time. Any order of calls leaves it valid.
///
/// ```
/// use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step, Verdict};
/// use edge_report::{Job, JobStatus, MonoTime, Outcome, Report};
///
/// let outbox = RamOutbox::new([0; 4096], 4096);
/// let policy = Policy { start_spread_ms: 0, ..Policy::default() };
/// let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime(0), 0);
///
/// let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201).with_job_id(7)];
/// let ticket = courier.submit(&Report::new("5f0c…-1", &jobs), MonoTime(0))?;
///
/// let Step::Send(parcel) = courier.next(MonoTime(1))? else { panic!() };
/// assert_eq!(parcel.ticket, ticket);
/// // … send parcel.body; say the network is down …
/// let verdict = courier.settle(ticket, Event::NotSent, MonoTime(2), 0)?;
/// assert_eq!(verdict, Verdict::Again { at: MonoTime(1002) });
/// assert!(matches!(courier.next(MonoTime(2))?, Step::Wait(1000)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Courier<O, B> {
    outbox: O,
    buffer: B,
    policy: Policy,
    /// The report at the front, when it was offered already.
    current: Option<Current>,
    failures: u32,
    /// Since the circuit was open: `failures` goes back step by step.
    recovering: bool,
    /// Set at `armed`: the two together survive a clock that goes back all the same.
    not_before: MonoTime,
    armed: MonoTime,
    clock_offset_ms: i64,
    clock_corrected: bool,
    last: Option<(Ticket, Verdict)>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    ticket: Ticket,
    len: usize,
    /// Whether the buffer holds its bytes.
    loaded: bool,
    in_flight: bool,
    attempts: u32,
    first: MonoTime,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// A courier over an outbox, with memory for one report. `entropy` is a random number.
    pub fn new(outbox: O, buffer: B, policy: Policy, now: MonoTime, entropy: u64) -> Self {
        Courier {
            outbox,
            buffer,
            policy,
            current: None,
            failures: 0,
            recovering: false,
            not_before: now.plus_ms(within(policy.start_spread_ms, entropy)),
            armed: now,
            clock_offset_ms: 0,
            clock_corrected: false,
            last: None,
        }
    }

    /// Checks and encodes a report and stores it. When this returns, the report is as durable as the outbox makes things.
    pub fn submit(
        &mut self,
        report: &impl Encode,
        now: MonoTime,
    ) -> Result<Ticket, CourierError<O::Error>> {
        self.unload();
        let len = report.encoded_len();
        let buffer = self
            .buffer
            .room(len)
            .ok_or(CourierError::TooSmall { needed: len })?;
        let mut sink = SliceSink::new(buffer);
        report
            .encode_into(&mut sink)
            .map_err(CourierError::Invalid)?;
        let bytes = sink.into_written();
        self.outbox
            .append(&job_keys(bytes), bytes, now)
            .map_err(CourierError::Outbox)
    }

    /// Stores a report that is encoded: these very bytes are sent. Errors of [`check`](crate::check) are refused.
    pub fn submit_encoded(
        &mut self,
        report: &[u8],
        now: MonoTime,
    ) -> Result<Ticket, CourierError<O::Error>> {
        let mut first = None;
        check(report, |finding| {
            if finding.severity() == Severity::Error && first.is_none() {
                first = Some(finding.without_text());
            }
        });
        if let Some(finding) = first {
            return Err(CourierError::Invalid(EncodeError::Invalid(finding)));
        }
        self.outbox
            .append(&job_keys(report), report, now)
            .map_err(CourierError::Outbox)
    }

    /// What to do next. Calling it again changes nothing: the same report is offered until its [`settle`](Self::settle).
    pub fn next(&mut self, now: MonoTime) -> Result<Step<'_>, CourierError<O::Error>> {
        // What fails to become durable is said by the next submit or flush; it must not stop delivery.
        let _ = self.outbox.tick(now);
        let in_flight = self.current.is_some_and(|current| current.in_flight);
        if !in_flight {
            let Some(_) = self.front(now)? else {
                return Ok(Step::Idle);
            };
            let wait = self.wait(now);
            if wait > 0 {
                return Ok(Step::Wait(wait));
            }
        }
        self.load(now)
    }

    /// Tells what came back for the report in flight. `entropy` is a random number, new each time.
    pub fn settle(
        &mut self,
        ticket: Ticket,
        event: Event,
        now: MonoTime,
        entropy: u64,
    ) -> Result<Verdict, CourierError<O::Error>> {
        let mut current = match self.current {
            Some(current) if current.ticket == ticket && current.in_flight => current,
            _ => return Err(CourierError::StaleTicket),
        };
        let circuit_was_open = self.circuit_open();
        if is_failure(event) {
            self.failures = self.failures.saturating_add(1);
            self.recovering |= self.circuit_open();
        }
        let unanswered = matches!(event, Event::NotSent | Event::MayHaveArrived);
        if !(circuit_was_open && unanswered) {
            current.attempts = current.attempts.saturating_add(1);
        }
        let attempt = Attempt {
            count: current.attempts,
            failures: self.failures,
            first: current.first,
            may_correct_clock: !self.clock_corrected,
            clock_offset_ms: self.clock_offset_ms,
        };
        let verdict = decide(event, &attempt, now, entropy, &self.policy);
        let fate = match verdict {
            Verdict::Delivered => Some(Fate::Delivered),
            Verdict::Refused(reason) => Some(Fate::Refused(reason)),
            Verdict::GaveUp(reason) => Some(Fate::Expired(reason)),
            Verdict::Again { .. } | Verdict::Held { .. } => None,
        };
        if let Some(fate) = fate {
            self.bury(&current, fate)?;
        }
        match verdict {
            // Both are answers: the network and the service are up, the credentials good.
            Verdict::Delivered | Verdict::Refused(_) => {
                self.clock_corrected = false;
                let wait = self.recover(entropy);
                self.arm(now, now.plus_ms(wait));
            }
            Verdict::GaveUp(_) => {
                let wait = self.policy.backoff_ms(self.failures, entropy);
                self.arm(now, now.plus_ms(wait));
            }
            Verdict::Again { at } => self.arm(now, at),
            Verdict::Held { until, .. } => {
                // By then the clock may be another one.
                self.clock_corrected = false;
                self.arm(now, until);
            }
        }
        if let (
            Verdict::Again { .. },
            Event::Answered {
                clock_skew_ms: Some(skew),
                outcome,
                ..
            },
        ) = (verdict, event)
            && outcome == crate::Outcome::Credentials
        {
            self.clock_offset_ms = skew;
            self.clock_corrected = true;
        }
        current.in_flight = false;
        self.current = fate.is_none().then_some(current);
        self.last = Some((ticket, verdict));
        Ok(verdict)
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        Status {
            ledger: self.outbox.ledger(),
            waiting: self.outbox.waiting(),
            in_flight: self.current.filter(|c| c.in_flight).map(|c| c.ticket),
            failures: self.failures,
            circuit_open: self.circuit_open(),
            not_before: self.not_before,
            clock_offset_ms: self.clock_offset_ms,
            last: self.last,
        }
    }

    /// Lets the next attempt come at once: the network is back, or somebody changed the credentials.
    pub fn wake(&mut self, now: MonoTime) {
        self.arm(now, now);
    }

    /// Makes durable all that is not yet.
    pub fn flush(&mut self) -> Result<(), CourierError<O::Error>> {
        self.outbox.flush().map_err(CourierError::Outbox)
    }

    /// The oldest dead letter behind `after`, and its bytes; the oldest of all without.
    pub fn dead_letter(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<Letter<'_>>, CourierError<O::Error>> {
        self.unload();
        let mut after = after;
        loop {
            let letter = self
                .outbox
                .dead_letter(after)
                .map_err(CourierError::Outbox)?;
            let Some(letter) = letter else {
                return Ok(None);
            };
            if self.read_letter(&letter)? {
                let DeadLetter {
                    ticket,
                    reason,
                    len,
                } = letter;
                let body = self.buffer.room(len).and_then(|b| b.get(..len));
                return Ok(body.map(|body| Letter {
                    ticket,
                    reason,
                    body,
                }));
            }
            after = Some(letter.ticket);
        }
    }

    /// Submits the oldest dead letter again, as a new report with the same bytes, and forgets the letter.
    /// `None` if there is none.
    pub fn resubmit_dead_letter(
        &mut self,
        now: MonoTime,
    ) -> Result<Option<Ticket>, CourierError<O::Error>> {
        let Some(Letter {
            ticket: letter,
            body,
            ..
        }) = self.dead_letter(None)?
        else {
            return Ok(None);
        };
        let len = body.len();
        let bytes = self
            .buffer
            .room(len)
            .and_then(|b| b.get(..len))
            .unwrap_or_default();
        let ticket = self.outbox.append(&job_keys(bytes), bytes, now);
        let ticket = ticket.map_err(CourierError::Outbox)?;
        self.outbox
            .forget_dead_letters(letter)
            .map_err(CourierError::Outbox)?;
        Ok(Some(ticket))
    }

    /// Forgets the dead letters up to and with `ticket`.
    pub fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), CourierError<O::Error>> {
        self.outbox
            .forget_dead_letters(ticket)
            .map_err(CourierError::Outbox)
    }

    /// The outbox.
    pub fn outbox(&self) -> &O {
        &self.outbox
    }

    /// Gives the outbox back.
    pub fn into_outbox(self) -> O {
        self.outbox
    }

    fn circuit_open(&self) -> bool {
        self.failures >= self.policy.open_circuit_after
    }

    /// After an answer: how long to wait before the next report. After an open circuit each answer takes back one doubling
    /// only, or a fleet whose link is back would send all that waits at once.
    fn recover(&mut self, entropy: u64) -> u64 {
        self.failures = match self.recovering {
            true => self.failures.min(self.policy.doublings()).saturating_sub(1),
            false => 0,
        };
        self.recovering = self.failures > 0;
        match self.recovering {
            true => self.policy.backoff_ms(self.failures, entropy),
            false => 0,
        }
    }

    fn arm(&mut self, now: MonoTime, not_before: MonoTime) {
        self.armed = now;
        self.not_before = not_before;
    }

    /// How long to wait. A clock that went back waits no longer than was meant.
    fn wait(&mut self, now: MonoTime) -> u64 {
        if now < self.armed {
            let meant = self.not_before.since(self.armed);
            self.arm(now, now.plus_ms(meant));
        }
        self.not_before.since(now)
    }

    /// The report at the front, whose attempts are counted as long as it stays there.
    fn front(&mut self, now: MonoTime) -> Result<Option<Current>, CourierError<O::Error>> {
        let front = self.outbox.front().map_err(CourierError::Outbox)?;
        self.current = front.map(|front| match self.current {
            Some(current) if current.ticket == front.ticket => current,
            _ => Current {
                ticket: front.ticket,
                len: front.len,
                loaded: false,
                in_flight: false,
                attempts: 0,
                first: now,
            },
        });
        Ok(self.current)
    }

    /// Reads the report at the front into the buffer, unless it is there, and puts it in flight.
    fn load(&mut self, now: MonoTime) -> Result<Step<'_>, CourierError<O::Error>> {
        loop {
            let Some(current) = self.current else {
                return Ok(Step::Idle);
            };
            let needed = current.len;
            let room = self.buffer.room(needed).and_then(|b| b.get_mut(..needed));
            let bytes = room.ok_or(CourierError::TooSmall { needed })?;
            if current.loaded
                || self
                    .outbox
                    .read_front(bytes)
                    .map_err(CourierError::Outbox)?
            {
                break;
            }
            // It turned out to be unreadable, and is counted: the next one.
            self.current = None;
            self.front(now)?;
        }
        let Some(current) = &mut self.current else {
            return Ok(Step::Idle);
        };
        if current.attempts == 0 && !current.in_flight {
            current.first = now;
        }
        current.loaded = true;
        current.in_flight = true;
        let (ticket, len) = (current.ticket, current.len);
        let body = self
            .buffer
            .room(len)
            .and_then(|b| b.get(..len))
            .unwrap_or_default();
        Ok(Step::Send(Parcel {
            ticket,
            body,
            clock_offset_ms: self.clock_offset_ms,
        }))
    }

    /// Removes the report at the front. For the dead letters its bytes are needed.
    fn bury(&mut self, current: &Current, fate: Fate) -> Result<(), CourierError<O::Error>> {
        let needed = match fate {
            Fate::Delivered => 0,
            Fate::Refused(_) | Fate::Expired(_) => current.len,
        };
        let room = self.buffer.room(needed).and_then(|b| b.get_mut(..needed));
        let bytes = room.ok_or(CourierError::TooSmall { needed })?;
        if needed > 0 && !current.loaded {
            let loaded = self
                .outbox
                .read_front(bytes)
                .map_err(CourierError::Outbox)?;
            if !loaded {
                return Ok(());
            }
        }
        self.outbox
            .settle_front(fate, bytes)
            .map_err(CourierError::Outbox)
    }

    fn read_letter(&mut self, letter: &DeadLetter) -> Result<bool, CourierError<O::Error>> {
        let needed = letter.len;
        let room = self.buffer.room(needed).and_then(|b| b.get_mut(..needed));
        let bytes = room.ok_or(CourierError::TooSmall { needed })?;
        self.outbox
            .read_dead_letter(letter.ticket, bytes)
            .map_err(CourierError::Outbox)
    }

    /// The buffer is used for something else.
    fn unload(&mut self) {
        if let Some(current) = &mut self.current {
            current.loaded = false;
        }
    }
}

fn is_failure(event: Event) -> bool {
    use crate::Outcome::{Credentials, Misconfigured, NotUnderstood, TryAgain};
    match event {
        Event::Answered { outcome, .. } => {
            matches!(
                outcome,
                TryAgain | NotUnderstood | Credentials | Misconfigured
            )
        }
        Event::NotSent | Event::MayHaveArrived | Event::Misconfigured(_) => true,
    }
}
