//! The engine that every host drives the same way.
//!
//! # Whose fault is it?
//!
//! Between this node and the service stand others: proxies, firewalls, portals, gateways. What they say looks like answers, and the service
//! itself may fail over one report (a handler that crashes on it) or over all (it is down). An answer alone does not tell which. So events are
//! of four kinds:
//!
//! - *service*: accepted, or refused in the service's own words. It knows this report.
//! - *doubtful*: it went out, and what came back may be somebody else's (503, 403 of a firewall, 413 of a proxy, a portal's page, nothing).
//! - *hold*: the credentials or the settings are wrong, so nobody can be served. Or somebody else says so of this report alone, as a canary shows.
//! - *network*: it never went out.
//!
//! A doubtful answer says nothing until another report was tried right after it, the *canary*. Is the canary accepted, then the way is free,
//! the service is there, and the report itself is at fault: that attempt *counts* against it. Is the canary's answer doubtful, too, then it is an
//! *outage*, and nothing counts: while nothing is accepted, nothing is buried. A canary follows at once, whatever wait the suspect was asked for:
//! that is the suspect's own, until the canary is asked for one, too. One that is accepted more than [`ROUND_MS`] after the suspect was sent proves
//! nothing: the service may only be back. It counts against all suspects that failed within that time.
//!
//! Where answers are a matter of chance, a healthy report fails right before a canary is accepted as often as the other way round. So a suspect
//! is buried after [`Policy::refuse_after`] attempts that count only if it also failed 3 times that often for each canary that failed for one that
//! was accepted. And while others are accepted each 4th attempt has no canary, so that services that answer well and badly in turn never give
//! one of the two all bad turns.
//!
//! # The states of a report
//!
//! ```text
//!            3 doubtful answers (1 while others are accepted),
//!            or another hold after a hold
//!  waiting ────────────────────────────────────────────► suspect ── accepted ──► delivered
//!     │                                                     │
//!     │ accepted          8 of its attempts count, or it failed very often and a newer one of its job was accepted
//!     ▼                                                     ▼
//!  delivered        refused, or its budget spent ──► to be buried ──► dead letter
//! ```
//!
//! A suspect steps aside and is tried again at its own time, by its own back-off, while the others go on. At most [`SUSPECTS`] are known. More bad
//! reports are passed over, and have their turn when a suspect has left. If a canary far behind was accepted, there is a *line* before it: with as
//! many suspects as can be known only those behind the line go ahead, and in a few steps, each in the middle between the line and the last that is
//! known to be bad, the line comes to where the bad ones end. A report is *to be buried* while it cannot be made a dead letter (no
//! room, a sick disk): it is not sent, and the burial is tried again.
//!
//! # Order
//!
//! Reports of one job arrive in order, so who goes ahead of a report that stays behind must share no job with it, nor with another that
//! stays behind. A walk through the queue keeps the set of their jobs ([`Walk`]). A report whose jobs cannot all be told ([`JobKey::ANY`](super::JobKey))
//! shares with all that have any; one whose jobs have no ids shares with none.
//!
//! Where nobody may go ahead, since only reports of the suspect's own jobs wait, the next of these is the canary. If it is accepted the older one can
//! never be sent any more: it is a dead letter at once, as [`Code::Overtaken`]. Nothing but its own failures can tell then whether it is bad, so it
//! must have failed [`OWN_JOB`] times `refuse_after` times before, a last time right then; an answer that no busy service gives counts
//! for [`NOT_BUSY`] of them. So after an outage the older one is always tried first.
//!
//! If the next one fails, too, the round may go on with the one after it, but only when as much speaks against each that was tried before. So a round
//! grows by one at a time, without a bound; long ones come more seldom. Those that were tried rest until the verdict of each says so. Where those that
//! would follow stand behind bad reports of other jobs, the rounds take all reports in their order. Checks of credentials that fail in a row lock a
//! key pair: then only the last of a round is tried.
//!
//! # Restarts, and several deliverers
//!
//! What is known of suspects is gone after a restart, and so are attempts and times of budgets: all begins anew, and costs a few attempts more. With
//! several deliverers one attempt may go out twice; the first result counts, and a stale one changes nothing.
//!
//! # The state of the node
//!
//! - *going*: each report is sent as soon as the one before it is settled.
//! - *backing off*: nobody is sent before `not_before`. After a failure, a hold, and between refusals in a row without an acceptance among them.
//! - *outage*: the last canary failed. The oldest suspect whose time has come is tried once for each back-off, with a canary at every 4th ([`CANARY_EVERY`]);
//!   nobody else is sent. Which canary: the 1st of those that may go, then the 2nd, 4th, 8th … and the last, so that many bad reports in a row are
//!   passed in a few steps.
//!
//! # One walk
//!
//! Reports 1 to 9 wait, each of another job, and a firewall dislikes 2. Report 1 is accepted. 2 gets 403 three times, with back-offs between, and is
//! a suspect. At once 3 is sent as canary, and accepted: one attempt counts. 4 to 9 follow at full speed. When its own back-off is over, 2 is sent and
//! gets 403, the next that waits is the canary, and so on; after the 8th that counts, 2 is a dead letter with the firewall's words as its
//! reason. Had the answer been 403 to everything, 3 had been an outage's proof, and 2 would still be the first when it ends.
//!
//! # An outbox without room
//!
//! An outbox may note only so many reports as settled ahead of others ([`Outbox::room_ahead`]). When few of these places are left, ordinary reports
//! go ahead and canaries are chosen only where that needs none, right beside one that is settled. If nobody stands there, the canary is
//! remembered as accepted ([`UNNOTED`] of them), is not sent again, and is noted as soon as burials have made room. What is beyond that, or
//! remembered when the process ends, is sent again ([`Code::OutboxFull`]): twice is better than never.

use core::fmt;

use super::aside::{Aside, Asides, Memory, SUSPECTS, Tried, Waits, Walk, share};
use super::outbox::{
    DeadLetter, Fate, Forget, JobKeys, Ledger, Outbox, OutboxError, Ticket, Waiting, job_keys,
};
use super::policy::{Attempt, Backlog, Policy, Verdict, decide, wait_after, within};
use super::reason::{Cause, Event, Reason};
use crate::code::{Code, Severity};
use crate::exchange::Outcome;
use crate::json::SliceSink;
use crate::report::{Encode, EncodeError, check};
use crate::time::{MonoTime, WallTime};

/// After so many doubtful answers in a row a report is a suspect: one or two happen to any of them.
const DOUBTFUL: u32 = 3;
/// After so many answers in a row that deny the credentials or fault a setting: the first holds everything, and only the one after the hold
/// says more.
const DENIED: u32 = 2;
/// In an outage one wait of so many has a canary, or requests would double.
const CANARY_EVERY: u32 = 4;
/// A canary of the suspect's own jobs follows at once, or the service may have come back between the two.
const RIGHT_BEFORE_MS: u64 = 2_000;
/// Other canaries, and those that follow in a round, within this time. So do the first ones of a host that is always late, after twice the attempts.
const ROUND_MS: u64 = 60_000;
/// [`Policy::refuse_after`] times so many failures, and a newer report of the same job may be tried. A service that answers 1 of 10 at random fails
/// 128 times in a row with a probability of 2 in a million.
const OWN_JOB: u32 = 16;
/// Only busy services answer at random. Any other answer says as much as so many of those.
const NOT_BUSY: u32 = 8;
/// When nothing was accepted for so many of the longest waits, nobody new may come.
const QUIET: u64 = 4;
/// So many canaries of a round go out at once, and the next after the least wait.
const AT_ONCE: u32 = 12;
/// Places that the outbox has for reports settled ahead of others, and that are kept for canaries.
const KEPT_FOR_CANARIES: usize = if cfg!(feature = "alloc") { 8 } else { 2 };
/// How many accepted reports may wait for room to note that; more of them are sent again.
const UNNOTED: usize = if cfg!(feature = "alloc") { 32 } else { 4 };
/// How many buried suspects are kept for [`Courier::take_buried`].
const BURIED: usize = if cfg!(feature = "alloc") { SUSPECTS } else { 1 };

/// Memory for one report at a time. Arrays and slices have a fixed size; a `Vec` grows (feature `alloc`).
pub trait Scratch {
    /// At least `len` bytes; `None` if that is not to be had.
    fn room(&mut self, len: usize) -> Option<&mut [u8]>;

    /// The most that is ever to be had, as far as that is known.
    fn limit(&self) -> usize {
        usize::MAX
    }
}

impl<const N: usize> Scratch for [u8; N] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= N).then_some(self)
    }

    fn limit(&self) -> usize {
        N
    }
}

impl Scratch for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= self.len()).then_some(self)
    }

    fn limit(&self) -> usize {
        self.len()
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
    Outbox(OutboxError<E>),
    /// This ticket is not in flight: its verdict is out already.
    StaleTicket,
    /// The memory for one report is too small for this one, or for one that waits.
    TooSmall {
        /// In bytes.
        needed: usize,
    },
}

impl<E> CourierError<E> {
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

impl<E> From<OutboxError<E>> for CourierError<E> {
    fn from(error: OutboxError<E>) -> Self {
        CourierError::Outbox(error)
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
    /// How many of them stepped aside, since only they are answered badly, or cannot be made dead letters yet.
    pub parked: usize,
    /// The one in flight.
    pub in_flight: Option<Ticket>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether so many failed in a row that the network or service counts as down: one probe at a time goes out.
    pub circuit_open: bool,
    /// Nothing is sent before then.
    pub not_before: MonoTime,
    /// When something is sent next, as far as was known at the last call; `None` while something is in flight, or nothing waits.
    pub next_attempt: Option<MonoTime>,
    /// The correction of the wall clock in use.
    pub clock_offset_ms: i64,
    /// The verdict given last.
    pub last: Option<(Ticket, Verdict)>,
    /// Why something was not delivered, or could not be made a dead letter; the last of these since something was accepted.
    pub last_failure: Option<(Ticket, Reason)>,
}

/// Keeps reports in an outbox and says what to do with them.
///
/// At most one report is in flight, so there is one deliverer: a second one is offered the same report again, and the later of the two
/// [`settle`](Self::settle) finds [`CourierError::StaleTicket`]. Order is by submission for each job, waiting by monotonic time. Any order of calls
/// leaves it valid.
///
/// ```
/// use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step, Verdict};
/// use edge_report::{Job, JobStatus, MonoTime, Outcome, Report};
///
/// let outbox = RamOutbox::new([0; 4096], 4096);
/// let policy = Policy { start_spread_ms: 0, ..Policy::default() };
/// let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime(0), 0);
///
/// let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201).with_job_id(99270)];
/// let report = Report::new("9f1c-0001", &jobs).with_topic("topic");
/// let ticket = courier.submit(&report, MonoTime(1), None)?;
///
/// let Step::Send(parcel) = courier.next(MonoTime(1))? else { unreachable!() };
/// assert_eq!(parcel.ticket, ticket);
/// // The network is down:
/// let event = Event::NOT_SENT.with_text("connection refused");
/// let verdict = courier.settle(ticket, event, MonoTime(2), 0)?;
/// assert_eq!(verdict, Verdict::Again { at: MonoTime(1002), reason: event.reason });
/// assert!(matches!(courier.next(MonoTime(2))?, Step::Wait(1000)));
///
/// let Step::Send(parcel) = courier.next(MonoTime(1002))? else { unreachable!() };
/// let verdict = courier.settle(ticket, Event::answered(Outcome::Accepted, 200), MonoTime(1003), 0)?;
/// assert_eq!(verdict, Verdict::Delivered);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Courier<O, B> {
    outbox: O,
    buffer: B,
    policy: Policy,
    /// Whose bytes the buffer has.
    loaded: Option<Ticket>,
    current: Option<InFlight>,
    asides: Asides,
    tried: Memory,
    /// How far ordinary reports went past those aside.
    walk: Walk,
    on_trial: Option<Trial>,
    /// The last canary failed.
    outage: bool,
    /// Waits without a canary since the last one.
    waits: u32,
    /// How many that may go are passed over to find a canary, and where that began.
    passes: u32,
    passes_from: u32,
    round: Round,
    /// Those of the last round are not sent before then; with them all up to the last of them, so that none need be remembered.
    resting: Option<(Ticket, MonoTime)>,
    /// A canary behind this one was accepted, and those up to it were passed over. While as many are suspects as can be known, only those behind it
    /// go ahead.
    line: Option<Ticket>,
    /// One before the line that failed; between the two there may be healthy ones.
    bad: Option<Ticket>,
    /// When anything was accepted last.
    accepted_at: MonoTime,
    /// Accepted, and the outbox has no room to note it.
    unnoted: heapless::Vec<Ticket, UNNOTED>,
    /// Whether the next canary in this outage is one of the suspect's own jobs, if there is one.
    own_is_next: bool,
    failures: u32,
    /// Refusals since something was accepted.
    refusals: u32,
    /// Since the circuit was open: `failures` goes back step by step.
    recovering: bool,
    /// Set at `armed`: the two together survive a clock that goes back all the same.
    not_before: MonoTime,
    armed: MonoTime,
    next_attempt: MonoTime,
    clock_offset_ms: i64,
    clock_corrected: bool,
    last: Option<(Ticket, Verdict)>,
    last_failure: Option<(Ticket, Reason)>,
    buried: [Option<(Ticket, Reason)>; BURIED],
}

/// Without the bytes of the report in the buffer: they have no place in somebody's log.
impl<O: fmt::Debug, B> fmt::Debug for Courier<O, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("outbox", &self.outbox)
            .field("policy", &self.policy)
            .field("failures", &self.failures)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    tried: Tried,
    len: usize,
    role: Role,
    sent_at: MonoTime,
}

/// As what a report is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is its turn.
    Ordinary,
    Suspect,
    Canary,
    /// A canary that older reports of its jobs made way for.
    OwnCanary,
}

/// What is due after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The node waits.
    Wait,
    /// It alone waits.
    Others,
    /// It waits, and a canary follows at once.
    Canary,
}

/// A suspect that waits for what a canary says of it.
#[derive(Clone, Copy, Debug)]
struct Trial {
    suspect: Ticket,
    /// When it was sent last, or the last canary of this round.
    sent_at: MonoTime,
    /// Whether it was denied: then one canary follows, and no more.
    is_denied: bool,
    /// No canary waited when it failed.
    is_late: bool,
}

/// A suspect whose round it is.
struct Failed<'k> {
    suspect: Ticket,
    /// Its jobs, if only reports of these may follow.
    own: Option<&'k JobKeys>,
    /// Some reports stand behind others that stay.
    is_blocked: bool,
    now: MonoTime,
}

/// The canaries that followed one failure of a suspect.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// How many.
    canaries: u32,
    /// How many more may follow in this one.
    left: u32,
    /// The last of the suspect's own jobs that failed in this one.
    after: Option<Ticket>,
}

/// What to do while nothing is in flight.
enum Choice {
    Send(InFlight),
    Wait(u64),
    Idle,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// A courier over an outbox, with memory for one report. `entropy` is a random number.
    pub fn new(outbox: O, buffer: B, policy: Policy, now: MonoTime, entropy: u64) -> Self {
        let not_before = now.plus_ms(within(policy.start_spread_ms, entropy));
        Courier {
            outbox,
            buffer,
            policy,
            loaded: None,
            current: None,
            asides: Asides::new(),
            tried: Memory::new(),
            walk: Walk::START,
            on_trial: None,
            outage: false,
            waits: 0,
            passes: 0,
            passes_from: 0,
            round: Round::default(),
            resting: None,
            line: None,
            bad: None,
            accepted_at: now,
            unnoted: heapless::Vec::new(),
            own_is_next: false,
            failures: 0,
            refusals: 0,
            recovering: false,
            not_before,
            armed: now,
            next_attempt: not_before,
            clock_offset_ms: 0,
            clock_corrected: false,
            last: None,
            last_failure: None,
            buried: [None; BURIED],
        }
    }

    /// Checks and encodes a report and stores it. When this returns, the report is as durable as the outbox makes things. `wall` tells later
    /// how old it is.
    pub fn submit(
        &mut self,
        report: &impl Encode,
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, CourierError<O::Error>> {
        self.loaded = None;
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
        Ok(self.outbox.append(&job_keys(bytes), bytes, now, wall)?)
    }

    /// Stores a report that is encoded: these very bytes are sent. Errors of [`check`](crate::check) are refused, and so is one for which
    /// there is no memory to send it.
    pub fn submit_encoded(
        &mut self,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
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
        if self.buffer.room(report.len()).is_none() {
            return Err(CourierError::TooSmall {
                needed: report.len(),
            });
        }
        Ok(self.outbox.append(&job_keys(report), report, now, wall)?)
    }

    /// What to do next. Calling it again changes nothing: the same report is offered until its [`settle`](Self::settle).
    pub fn next(&mut self, now: MonoTime) -> Result<Step<'_>, CourierError<O::Error>> {
        // What fails to become durable is said by the next submit or flush; it must not stop delivery.
        let _ = self.outbox.tick(now);
        loop {
            let current = match self.current {
                Some(current) => current,
                None => match self.choose(now)? {
                    Choice::Send(chosen) => chosen,
                    Choice::Wait(ms) => {
                        self.next_attempt = now.plus_ms(ms);
                        return Ok(Step::Wait(ms));
                    }
                    Choice::Idle => return Ok(Step::Idle),
                },
            };
            match self.load(current.tried.ticket, current.len) {
                Ok(true) => {
                    self.outbox.pin(Some(current.tried.ticket));
                    self.current = Some(current);
                    return Ok(self.parcel(current));
                }
                Ok(false) => {}
                Err(error) => {
                    if self.current.is_none() && current.role != Role::Suspect {
                        self.tried.put(current.tried);
                    }
                    return Err(error);
                }
            }
            // It turned out to be unreadable, and is counted: another one.
            self.current = None;
            self.gone(current.tried.ticket);
        }
    }

    /// Tells what came back for the report in flight. `entropy` is a random number, new each time.
    ///
    /// A report that cannot be made a dead letter yet is not lost, and not sent any more: its verdict is out, and its burial is tried again.
    pub fn settle(
        &mut self,
        ticket: Ticket,
        event: Event,
        now: MonoTime,
        entropy: u64,
    ) -> Result<Verdict, CourierError<O::Error>> {
        let mut current = match self.current {
            Some(current) if current.tried.ticket == ticket => current,
            _ => return Err(CourierError::StaleTicket),
        };
        let kind = Kind::of(event.reason.cause);
        let then = self.note(&mut current, kind, event.reason.cause);
        let is_own_wait = then != Then::Wait;
        let round_goes_on =
            current.role == Role::OwnCanary && kind == Kind::Doubtful && self.round.left > 0;
        // One that fails with a canary to follow, or in the middle of a round, is no failure of the node yet.
        if kind != Kind::Service && !is_own_wait && !round_goes_on {
            self.failures = self.failures.saturating_add(1);
            self.recovering |= self.circuit_open();
        }
        let tried = current.tried;
        let attempt = Attempt {
            count: tried.attempts,
            failures: match (is_own_wait, self.asides.get(ticket)) {
                (false, _) => self.failures,
                (true, Some(aside)) => aside.failures.saturating_add(1),
                (true, None) => tried.doubtful.max(1),
            },
            first: tried.first,
            may_correct_clock: !self.clock_corrected,
            clock_offset_ms: self.clock_offset_ms,
        };
        let mut verdict = decide(&event, &attempt, now, entropy, &self.policy);
        if let Some(reason) = verdict.reason() {
            self.last_failure = Some((ticket, *reason));
        }
        match verdict {
            Verdict::Delivered => {
                if !self.accepted(&current, now, entropy)? {
                    let reason = Reason::failed(Code::OutboxFull);
                    let at = self.not_before;
                    verdict = Verdict::Again { at, reason };
                    self.last_failure = Some((ticket, reason));
                }
            }
            Verdict::Refused(reason) => self.refused(&current, reason, now, entropy),
            Verdict::GaveUp(reason) => {
                self.on_trial = None;
                self.outage |=
                    kind == Kind::Doubtful && current.role != Role::Ordinary && !is_own_wait;
                // What it asked for holds for those that follow.
                let others = Attempt {
                    failures: self.failures,
                    ..attempt
                };
                match wait_after(&event, &others, now, entropy, &self.policy) {
                    Verdict::Again { at, .. } if kind == Kind::Denied => {
                        self.correct_clock(&event);
                        self.arm(now, at);
                    }
                    Verdict::Again { at, .. } | Verdict::Held { until: at, .. } => {
                        self.arm(now, at);
                    }
                    _ => {}
                }
                self.bury(tried, Waits::Expiry, reason, now);
            }
            Verdict::Again { at, reason } if kind == Kind::Denied => {
                // The clock differs: once more, at once.
                self.correct_clock(&event);
                current.tried.denied = current.tried.denied.saturating_sub(1);
                self.arm(now, at);
                self.keep(&current, at, reason, 0);
            }
            Verdict::Again { at, reason } | Verdict::Held { until: at, reason } => {
                // A canary is sent with the same clock as its suspect, and corrects it no more: once for each hold.
                if kind == Kind::Denied && !is_own_wait {
                    // By then the system's clock may be right, or the correction may have been a middlebox's.
                    self.clock_offset_ms = 0;
                    self.clock_corrected = false;
                }
                self.failed(&current, kind, then, at, reason, now);
            }
        }
        self.outbox.pin(None);
        self.current = None;
        self.next_attempt = self.not_before;
        self.last = Some((ticket, verdict));
        Ok(verdict)
    }

    fn correct_clock(&mut self, event: &Event) {
        self.clock_offset_ms = event.clock_skew_ms.unwrap_or(self.clock_offset_ms);
        self.clock_corrected = true;
    }

    /// A suspect that became a dead letter since another report was accepted, and why: none of its own [`settle`](Self::settle) says so.
    /// The last few are kept.
    pub fn take_buried(&mut self) -> Option<(Ticket, Reason)> {
        let slot = self.buried.iter_mut().find(|slot| slot.is_some());
        slot.and_then(Option::take)
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let in_flight = self.current.map(|current| current.tried.ticket);
        let waiting = self.outbox.waiting();
        Status {
            ledger: self.outbox.ledger(),
            waiting,
            parked: self.asides.iter().count(),
            in_flight,
            failures: self.failures,
            circuit_open: self.circuit_open(),
            not_before: self.not_before,
            next_attempt: (waiting > 0 && in_flight.is_none()).then_some(self.next_attempt),
            clock_offset_ms: self.clock_offset_ms,
            last: self.last,
            last_failure: self.last_failure,
        }
    }

    /// When the oldest report that waits was submitted, if that was told.
    pub fn oldest(&mut self) -> Result<Option<WallTime>, CourierError<O::Error>> {
        let oldest = self.outbox.next(None)?;
        Ok(oldest.and_then(|oldest| oldest.submitted_at))
    }

    /// Lets the next attempt come at once: the network is back, somebody changed the credentials, or made room for dead letters.
    pub fn wake(&mut self, now: MonoTime) {
        self.arm(now, now);
        self.next_attempt = now;
        self.resting = None;
        self.walk = Walk::START;
        for aside in self.asides.iter_mut() {
            aside.due = now;
        }
    }

    /// Makes durable all that is not yet, before a clean end. Going on afterwards is fine.
    pub fn close(&mut self) -> Result<(), CourierError<O::Error>> {
        Ok(self.outbox.close()?)
    }

    /// Makes durable all that is not yet.
    pub fn flush(&mut self) -> Result<(), CourierError<O::Error>> {
        Ok(self.outbox.flush()?)
    }

    /// The dead letter that died next after `after`, and its bytes; the first of all without.
    pub fn dead_letter(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<Letter<'_>>, CourierError<O::Error>> {
        let mut after = after;
        while let Some(letter) = self.outbox.dead_letter(after)? {
            if self.load_letter(&letter)? {
                return Ok(Some(self.letter(letter)));
            }
            after = Some(letter.ticket);
        }
        Ok(None)
    }

    /// The dead letter of this ticket, and its bytes.
    pub fn find_dead_letter(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<Letter<'_>>, CourierError<O::Error>> {
        match self.outbox.find_dead_letter(ticket)? {
            Some(letter) if self.load_letter(&letter)? => Ok(Some(self.letter(letter))),
            _ => Ok(None),
        }
    }

    /// Submits a dead letter again, as a new report with the same bytes, and forgets the letter. Without a ticket it is the first.
    /// `None` if it is not there.
    pub fn resubmit_dead_letter(
        &mut self,
        ticket: Option<Ticket>,
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Option<Ticket>, CourierError<O::Error>> {
        let letter = match ticket {
            Some(ticket) => self.find_dead_letter(ticket)?,
            None => self.dead_letter(None)?,
        };
        let Some(Letter {
            ticket: letter,
            body,
            ..
        }) = letter
        else {
            return Ok(None);
        };
        let len = body.len();
        let bytes = read_part(&mut self.buffer, len);
        let ticket = self.outbox.append(&job_keys(bytes), bytes, now, wall)?;
        self.forget_dead_letter(letter)?;
        Ok(Some(ticket))
    }

    /// Forgets a dead letter.
    pub fn forget_dead_letter(&mut self, ticket: Ticket) -> Result<(), CourierError<O::Error>> {
        Ok(self.outbox.forget_dead_letters(Forget::One(ticket))?)
    }

    /// Forgets a dead letter, and all that died before it.
    pub fn forget_dead_letters(&mut self, up_to: Ticket) -> Result<(), CourierError<O::Error>> {
        Ok(self.outbox.forget_dead_letters(Forget::UpTo(up_to))?)
    }

    /// The outbox.
    pub fn outbox(&self) -> &O {
        &self.outbox
    }

    /// Gives the outbox back.
    pub fn into_outbox(self) -> O {
        self.outbox
    }

    // What to send.

    /// Whose turn it is.
    #[inline(never)]
    fn choose(&mut self, now: MonoTime) -> Result<Choice, CourierError<O::Error>> {
        if self.outbox.waiting() == 0 {
            return Ok(Choice::Idle);
        }
        let wait = self.wait(now);
        if wait > 0 {
            return Ok(Choice::Wait(wait));
        }
        self.bury_again(now);
        self.note_accepted();
        if self.resting.is_some_and(|(_, until)| until <= now) {
            self.resting = None;
            self.walk = Walk::START;
        }
        // What is accepted much later may only mean that the service is back.
        let trial = self.on_trial;
        self.on_trial = trial.filter(|trial| now.since(trial.sent_at) <= ROUND_MS);
        if let Some(trial) = self.on_trial
            && let Some(canary) = self.canary(trial, now)?
        {
            return Ok(Choice::Send(canary));
        }
        if let Some(trial) = &mut self.on_trial {
            trial.is_late = true;
        }
        while let Some(suspect) = self.due(now) {
            if let Some(waiting) = self.still_waits(suspect)? {
                return Ok(Choice::Send(InFlight {
                    tried: waiting.1,
                    len: waiting.0.len,
                    role: Role::Suspect,
                    sent_at: now,
                }));
            }
            self.gone(suspect);
        }
        let suspects = self.asides.suspects().count();
        let stopped = (suspects > 0 && self.outage) || !self.asides.has_room();
        let kept = if suspects > 0 { KEPT_FOR_CANARIES } else { 0 };
        let is_short = self.outbox.room_ahead() <= kept;
        if !stopped
            && let Some(waiting) = self.ordinary()?
            && (!is_short || self.needs_no_room(waiting.ticket)?)
        {
            return Ok(Choice::Send(self.chosen(waiting, Role::Ordinary, now)));
        }
        let rested = self.resting.map(|(_, until)| until);
        let first_due = self.asides.iter().map(|aside| aside.due);
        let first_due = first_due.chain(rested).min();
        Ok(match first_due {
            Some(due) => Choice::Wait(due.since(now).max(1)),
            None if self.unnoted.is_empty() => Choice::Idle,
            None => Choice::Wait(self.policy.backoff_ms(0, 0)),
        })
    }

    /// The suspect to try now: the oldest of those whose time has come.
    fn due(&self, now: MonoTime) -> Option<Ticket> {
        let due = self.asides.suspects().filter(|aside| aside.due <= now);
        due.map(|aside| aside.tried.ticket).min()
    }

    /// A suspect, unless it was superseded meanwhile.
    fn still_waits(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<(Waiting, Tried)>, CourierError<O::Error>> {
        let before = ticket.0.checked_sub(1).map(Ticket);
        let found = self.outbox.next(before)?;
        let Some(waiting) = found.filter(|found| found.ticket == ticket) else {
            return Ok(None);
        };
        if self.drop_superseded(ticket)? {
            return Ok(None);
        }
        let tried = self.asides.get(ticket).map(|aside| aside.tried);
        Ok(tried.map(|tried| (waiting, tried)))
    }

    fn chosen(&mut self, waiting: Waiting, role: Role, now: MonoTime) -> InFlight {
        let known = self.asides.get(waiting.ticket).map(|aside| aside.tried);
        let tried = known.or_else(|| self.tried.take(waiting.ticket));
        InFlight {
            tried: tried.unwrap_or(Tried::new(waiting.ticket, now)),
            len: waiting.len,
            role,
            sent_at: now,
        }
    }

    /// Whether it must be known of each report how often it was tried.
    const fn has_budget(&self) -> bool {
        self.policy.max_attempts.is_some() || self.policy.max_time_ms.is_some()
    }

    /// The next report whose turn it is, past those that stepped aside.
    fn ordinary(&mut self) -> Result<Option<Waiting>, CourierError<O::Error>> {
        if self.has_budget() {
            self.walk = Walk::START;
        }
        let is_full = self.asides.suspects().count() >= SUSPECTS;
        if is_full && let Some(found) = self.between()? {
            return Ok(Some(found));
        }
        let line = self.line.filter(|_| is_full);
        let mut walk = self.walk;
        let found = self.next_behind(&mut walk, line)?;
        self.walk = walk;
        if !is_full && found.is_none_or(|found| self.line.is_some_and(|line| found.ticket > line)) {
            (self.line, self.bad) = (None, None);
        }
        Ok(found)
    }

    /// The one in the middle between the last that is known to be bad and the line: in a few steps the line is where the bad ones end.
    fn between(&mut self) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let (Some(bad), Some(line)) = (self.bad, self.line)
            && line.0 > bad.0.saturating_add(1)
        {
            let middle = Ticket(bad.0.midpoint(line.0));
            let found = self.next_behind(&mut { Walk::START }, Some(middle))?;
            if let Some(found) = found.filter(|found| found.ticket <= line) {
                return Ok(Some(found));
            }
            self.draw_line(middle);
        }
        self.bad = None;
        Ok(None)
    }

    fn draw_line(&mut self, line: Ticket) {
        self.line = Some(line);
        self.walk = Walk::START;
    }

    /// Walks on to the next report behind `after` that shares no job with those that stay behind.
    fn next_behind(
        &mut self,
        walk: &mut Walk,
        after: Option<Ticket>,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let Some(found) = self.next_on(walk, &mut None)? {
            if after.is_none_or(|after| found.ticket > after) {
                return Ok(Some(found));
            }
            self.pass(walk, found.ticket)?;
        }
        Ok(None)
    }

    /// Walks on to the next report that shares no job with those that stay behind.
    ///
    /// Or, for a suspect that failed, to the next that may follow in its round: then neither the suspect nor those that were tried in this
    /// round count among those that stay behind.
    #[inline(never)]
    fn next_on(
        &mut self,
        walk: &mut Walk,
        failed: &mut Option<Failed<'_>>,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let Some(waiting) = self.outbox.next(walk.after)? {
            let ticket = waiting.ticket;
            let waits = self.asides.get(ticket).map(|aside| aside.waits);
            if self.unnoted.contains(&ticket) {
                walk.after = Some(ticket);
            } else if self.drop_superseded(ticket)? {
                if waits.is_some() {
                    // Its jobs are free.
                    *walk = Walk::START;
                }
            } else if self.may_go(walk, ticket, waits, failed)? {
                return Ok(Some(waiting));
            }
        }
        Ok(None)
    }

    /// Whether it is this one's turn; if not, it is passed over.
    #[inline(never)] // its keys must not lie on the stack all the time
    fn may_go(
        &mut self,
        walk: &mut Walk,
        ticket: Ticket,
        waits: Option<Waits>,
        failed: &mut Option<Failed<'_>>,
    ) -> Result<bool, CourierError<O::Error>> {
        if waits.is_some_and(|waits| waits != Waits::Attempt) {
            walk.after = Some(ticket);
            return Ok(false);
        }
        let keys = self.outbox.job_keys(ticket)?;
        let is_free = !walk.jobs.has_one_of(&keys);
        let (is_tried, may_follow) = match failed {
            None => {
                let rests = self.resting.is_some_and(|(last, _)| ticket <= last);
                (false, waits.is_none() && !rests)
            }
            Some(failed) => {
                let is_due = self.asides.get(ticket).is_none_or(|a| a.due <= failed.now);
                let is_tried = self.round.after.is_some_and(|after| ticket <= after);
                let may_follow = match failed.own {
                    Some(own) => waits.is_none() && share(own, &keys),
                    None => is_due || is_tried,
                };
                failed.is_blocked |= !is_free;
                let is_it = ticket == failed.suspect;
                (is_it || (is_tried && may_follow), may_follow)
            }
        };
        if is_tried && is_free {
            walk.after = Some(ticket);
            return Ok(false);
        }
        if !is_free || !may_follow {
            walk.pass(ticket, &keys);
            return Ok(false);
        }
        Ok(true)
    }

    /// The next report that may follow in the suspect's round: of its own jobs, or of any. And whether some stand behind others that fail.
    #[inline(never)] // as above
    fn own_canary(
        &mut self,
        suspect: Ticket,
        of_any: bool,
        now: MonoTime,
    ) -> Result<(Option<Waiting>, bool), CourierError<O::Error>> {
        let own = self.outbox.job_keys(suspect)?;
        let mut failed = Some(Failed {
            suspect,
            own: (!of_any).then_some(&own),
            is_blocked: false,
            now,
        });
        let found = self.next_on(&mut { Walk::START }, &mut failed)?;
        Ok((found, failed.is_some_and(|failed| failed.is_blocked)))
    }

    #[inline(never)] // as above
    fn shares_with(
        &mut self,
        ticket: Ticket,
        keys: &JobKeys,
    ) -> Result<bool, CourierError<O::Error>> {
        Ok(share(&self.outbox.job_keys(ticket)?, keys))
    }

    /// Drops a report that newer ones supersede, if the policy says so. Whether it did.
    #[inline(never)]
    fn drop_superseded(&mut self, ticket: Ticket) -> Result<bool, CourierError<O::Error>> {
        if self.policy.backlog == Backlog::KeepAll || !self.outbox.is_superseded(ticket)? {
            return Ok(false);
        }
        let when_full = self.policy.when_letters_full;
        self.outbox
            .settle(ticket, Fate::Superseded, &[], when_full)?;
        self.gone(ticket);
        Ok(true)
    }

    /// The report that shows whether the suspect is at fault, or everybody.
    #[inline(never)]
    fn canary(
        &mut self,
        trial: Trial,
        now: MonoTime,
    ) -> Result<Option<InFlight>, CourierError<O::Error>> {
        let suspect = trial.suspect;
        let aside = self.asides.suspects();
        let aside = aside.filter(|aside| aside.tried.ticket == suspect).copied();
        let Some(aside) = { aside }.next() else {
            self.on_trial = None;
            return Ok(None);
        };
        if !self.asides.has_room() {
            return Ok(None);
        }
        let mut walk = Walk::START;
        let mut first = self.next_behind(&mut walk, self.line)?;
        // Those before the line may be bad, and then it looks like an outage. So somebody new is waited for.
        let waited =
            now.since(self.accepted_at) >= self.policy.max_backoff_ms.saturating_mul(QUIET);
        if first.is_none() && self.line.is_some() && (self.outage || waited) {
            (self.line, self.bad) = (None, None);
            walk = Walk::START;
            first = self.next_on(&mut walk, &mut None)?;
        }
        let own_is_next = self.own_is_next || self.round.after.is_some();
        if self.may_be_overtaken(&aside, trial, now)
            && (self.outage || waited)
            && (first.is_none() || own_is_next)
            && let Some(found) = self.next_in_round(&aside, trial, now)?
        {
            return Ok(Some(self.chosen(found, Role::OwnCanary, now)));
        }
        let Some(first) = first else {
            return Ok(None);
        };
        let is_short = self.outbox.room_ahead() <= KEPT_FOR_CANARIES;
        let found = match is_short && self.passes == 0 {
            true => self.without_room(walk, first)?,
            false => None,
        };
        let found = match found {
            Some(found) => found,
            None => self.pass_over(walk, first)?,
        };
        Ok(Some(self.chosen(found, Role::Canary, now)))
    }

    /// An older report is lost if a newer one of its jobs is accepted, so it must have had its chances, the last of them right now.
    fn may_be_overtaken(&self, aside: &Aside, trial: Trial, now: MonoTime) -> bool {
        let enough = self.enough();
        let is_patient = aside.tried.weight >= enough.saturating_mul(2);
        let most = match self.round.after {
            None if !is_patient => RIGHT_BEFORE_MS,
            _ => ROUND_MS,
        };
        let is_due = self.round.after.is_some() || self.resting.is_none();
        let is_at_once = is_due && !trial.is_late;
        aside.tried.weight >= enough && is_at_once && now.since(trial.sent_at) <= most
    }

    /// How much must speak against a report before a newer one of its jobs is tried.
    fn enough(&self) -> u32 {
        self.policy.refuse_after.max(1).saturating_mul(OWN_JOB)
    }

    /// Who follows in the suspect's round. Where nobody of its own jobs can, since other reports that fail stand before them, all others may.
    fn next_in_round(
        &mut self,
        aside: &Aside,
        trial: Trial,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let (suspect, of_any) = (trial.suspect, aside.of_any);
        let (mut found, mut is_blocked) = self.own_canary(suspect, of_any, now)?;
        if trial.is_denied {
            for _ in 0..self.depth(suspect) {
                let Some(passed) = found else { break };
                self.round.after = Some(passed.ticket);
                (found, is_blocked) = self.own_canary(suspect, of_any, now)?;
            }
        }
        if found.is_none()
            && is_blocked
            && !of_any
            && let Some(aside) = self.asides.get_mut(suspect)
        {
            // From the next round on.
            (aside.of_any, aside.rounds) = (true, 0);
        }
        Ok(found)
    }

    /// The first that may be a canary, needs no room in the outbox, and did not fail lately.
    #[inline(never)]
    fn without_room(
        &mut self,
        mut walk: Walk,
        first: Waiting,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let mut found = Some(first);
        while let Some(waiting) = found {
            let ticket = waiting.ticket;
            if !self.tried.has_failed(ticket) && self.needs_no_room(ticket)? {
                return Ok(Some(waiting));
            }
            self.pass(&mut walk, ticket)?;
            found = self.next_on(&mut walk, &mut None)?;
        }
        Ok(None)
    }

    /// Whether it is the oldest, or stands right beside one that is settled.
    fn needs_no_room(&mut self, ticket: Ticket) -> Result<bool, CourierError<O::Error>> {
        let Some(before) = ticket.0.checked_sub(2).map(Ticket) else {
            return Ok(true);
        };
        let is_it = |found: Option<Waiting>| found.is_none_or(|found| found.ticket >= ticket);
        if is_it(self.outbox.next(None)?) || is_it(self.outbox.next(Some(before))?) {
            return Ok(true);
        }
        let next = self.outbox.next(Some(ticket))?;
        Ok(next.is_some_and(|next| next.ticket.0 > ticket.0.saturating_add(1)))
    }

    /// From the first report that may be a canary on to the one whose turn it is.
    #[inline(never)]
    fn pass_over(&mut self, from: Walk, first: Waiting) -> Result<Waiting, CourierError<O::Error>> {
        let mut walk = from;
        let mut found = first;
        let mut passed = 0u32;
        while passed < self.passes {
            self.pass(&mut walk, found.ticket)?;
            let Some(next) = self.next_on(&mut walk, &mut None)? else {
                // There are not so many: the last, and then from another place each time, so that in the end each was one.
                let place = self.passes_from.saturating_add(2);
                self.passes_from = if place > passed { 0 } else { place };
                self.passes = u32::MAX;
                self.line = None;
                break;
            };
            found = next;
            passed = passed.saturating_add(1);
        }
        Ok(found)
    }

    #[inline(never)] // as above
    fn pass(&mut self, walk: &mut Walk, ticket: Ticket) -> Result<(), CourierError<O::Error>> {
        walk.pass(ticket, &self.outbox.job_keys(ticket)?);
        Ok(())
    }

    fn parcel(&mut self, current: InFlight) -> Step<'_> {
        Step::Send(Parcel {
            ticket: current.tried.ticket,
            body: read_part(&mut self.buffer, current.len),
            clock_offset_ms: self.clock_offset_ms,
        })
    }

    // What came back.

    /// Counts an attempt. What is due after it.
    fn note(&mut self, current: &mut InFlight, kind: Kind, cause: Cause) -> Then {
        let tried = &mut current.tried;
        if kind != Kind::Network {
            tried.attempts = tried.attempts.saturating_add(1);
        }
        tried.weight = tried.weight.saturating_add(weight(cause));
        match kind {
            Kind::Doubtful => {
                (tried.doubtful, tried.denied) = (tried.doubtful.saturating_add(1), 0)
            }
            Kind::Denied | Kind::Hold => tried.denied = tried.denied.saturating_add(1),
            _ => {}
        }
        if !self.is_at_fault(current, kind) {
            return Then::Wait;
        }
        let is_known = current.role == Role::Suspect;
        let may_be_suspect = match current.role {
            Role::Suspect => true,
            Role::Ordinary => self.asides.suspects().count() < SUSPECTS && self.asides.has_room(),
            Role::Canary | Role::OwnCanary => false,
        };
        if !may_be_suspect {
            return Then::Wait;
        }
        current.role = Role::Suspect;
        let every = CANARY_EVERY.max(self.round.canaries.checked_div(3).unwrap_or(0));
        match self.outage {
            true if self.waits.saturating_add(1) < every => Then::Wait,
            false if is_known && current.tried.attempts & 3 == 1 => Then::Others,
            _ => Then::Canary,
        }
    }

    /// Whether it may not be the node's fault. While others are accepted, once is enough.
    fn is_at_fault(&self, current: &InFlight, kind: Kind) -> bool {
        let tried = &current.tried;
        let others_go = || !self.outage && self.asides.suspects().any(|aside| aside.counted > 0);
        match kind {
            Kind::Doubtful => {
                current.role == Role::Suspect || tried.doubtful >= DOUBTFUL || others_go()
            }
            Kind::Denied | Kind::Hold => tried.denied >= DENIED,
            _ => false,
        }
    }

    /// How many canaries of the suspect's own jobs may follow the first of a round.
    fn depth(&self, suspect: Ticket) -> u32 {
        let rounds = self.asides.get(suspect).map_or(0, |aside| aside.rounds);
        rounds.checked_div(self.enough()).unwrap_or(0)
    }

    /// Takes a report out of the queue that was accepted; `false` if the outbox has no room to note that.
    fn deliver(&mut self, ticket: Ticket) -> Result<bool, CourierError<O::Error>> {
        let when_full = self.policy.when_letters_full;
        match self.outbox.settle(ticket, Fate::Delivered, &[], when_full) {
            Err(OutboxError::Full) => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }

    /// Buries those that must not be sent any more, takes it out of the queue, and counts the suspect's attempt. `false` if it had to stay in the
    /// queue.
    fn accepted(
        &mut self,
        current: &InFlight,
        now: MonoTime,
        entropy: u64,
    ) -> Result<bool, CourierError<O::Error>> {
        let ticket = current.tried.ticket;
        if current.role == Role::OwnCanary {
            self.bury_overtaken(ticket, now)?;
        }
        let mut is_noted = self.deliver(ticket)?;
        let is_before_line = self.line.is_some_and(|line| ticket <= line);
        let has_passed = current.role == Role::Canary && self.passes > 0;
        if has_passed || (current.role == Role::Ordinary && is_before_line) {
            self.bad = self.bad.filter(|bad| *bad < ticket);
            self.draw_line(Ticket(ticket.0.saturating_sub(1)));
        }
        self.accepted_at = now;
        self.last_failure = None;
        self.clock_corrected = false;
        self.outage = false;
        self.waits = 0;
        self.refusals = 0;
        self.round = Round::default();
        let wait = self.recover(entropy);
        self.arm(now, now.plus_ms(wait));
        self.on_trial = None;
        if current.role == Role::Canary || current.role == Role::OwnCanary {
            self.count_against_all(current.sent_at, now);
        }
        (self.passes, self.passes_from) = (0, 0);
        // A burial may have made room. If not, it is noted later.
        is_noted = is_noted || matches!(self.deliver(ticket), Ok(true));
        is_noted = is_noted || self.unnoted.push(ticket).is_ok();
        if is_noted {
            self.leave(current);
            return Ok(true);
        }
        // It says all the same that the others are at fault, and is sent again later.
        let wait = self.policy.backoff_ms(u32::MAX, entropy);
        let at = now.plus_ms(wait);
        if current.role == Role::Ordinary {
            self.arm(now, at);
        }
        let tried = Tried::new(ticket, now);
        match self.asides.get_mut(ticket) {
            Some(aside) => (aside.tried, aside.due) = (tried, at),
            None => self.tried.put(tried),
        }
        Ok(false)
    }

    /// A canary was accepted: it counts against each suspect that failed right before.
    fn count_against_all(&mut self, sent_at: MonoTime, now: MonoTime) {
        let failed = |aside: &Aside| {
            let failed = aside.failed_at;
            failed.is_some_and(|failed| sent_at.since(failed) <= ROUND_MS)
        };
        for _ in 0..SUSPECTS {
            let Some(suspect) = self.asides.suspects().find(|aside| failed(aside)) else {
                return;
            };
            self.count_against(suspect.tried.ticket, now);
        }
    }

    fn count_against(&mut self, suspect: Ticket, now: MonoTime) {
        let Some(aside) = self.asides.get_mut(suspect) else {
            return;
        };
        aside.failed_at = None;
        aside.counted = aside.counted.saturating_add(1);
        let Aside {
            tried,
            waits,
            counted,
            missed,
            reason,
            ..
        } = *aside;
        // By chance it fails, and another one right after it does not, at most every second time. The more of the others fail, the more often it
        // must have.
        let refuse_after = self.policy.refuse_after;
        let needed = missed.saturating_mul(refuse_after.saturating_mul(3));
        let is_proven = counted >= refuse_after && tried.attempts.saturating_mul(counted) >= needed;
        if waits == Waits::Attempt && is_proven {
            // It may have been dropped as superseded meanwhile.
            if self.bury(tried, Waits::Refusal, reason, now) {
                self.tell_buried(suspect, reason);
            }
        }
    }

    /// All that is older than an accepted report and shares a job with it: the suspect, and what was tried in its round. Each failed often, and right
    /// before.
    #[inline(never)]
    fn bury_overtaken(
        &mut self,
        accepted: Ticket,
        now: MonoTime,
    ) -> Result<(), CourierError<O::Error>> {
        let keys = self.outbox.job_keys(accepted)?;
        let mut walked = None;
        while let Some(Waiting { ticket, .. }) = self.outbox.next(walked)?
            && ticket < accepted
        {
            walked = Some(ticket);
            let aside = self.asides.get(ticket).copied();
            let is_to_be_buried = aside.is_some_and(|aside| aside.waits != Waits::Attempt);
            let is_gone = is_to_be_buried || self.unnoted.contains(&ticket);
            if is_gone || !self.shares_with(ticket, &keys)? {
                continue;
            }
            let mut reason = Reason::failed(Code::Overtaken);
            if let Some(aside) = aside {
                reason = aside.reason;
                reason.cause = Cause::Failed(Code::Overtaken);
            }
            if aside.is_some() || self.asides.has_room() {
                let known = aside.map(|aside| aside.tried);
                let tried = known.or_else(|| self.tried.take(ticket));
                let tried = tried.unwrap_or(Tried::new(ticket, now));
                self.bury(tried, Waits::Refusal, reason, now);
            } else {
                // It has no place to wait for its burial: without that, the newer one stays in flight.
                self.bury_now(ticket, Fate::Refused(reason))?;
                self.gone(ticket);
            }
            self.tell_buried(ticket, reason);
        }
        Ok(())
    }

    /// Notes what was accepted while the outbox had no room for that.
    fn note_accepted(&mut self) {
        for _ in 0..self.unnoted.len() {
            let Some(ticket) = self.unnoted.first().copied() else {
                return;
            };
            self.unnoted.remove(0);
            if !matches!(self.deliver(ticket), Ok(true)) {
                let _ = self.unnoted.push(ticket);
            }
        }
    }

    fn refused(&mut self, current: &InFlight, reason: Reason, now: MonoTime, entropy: u64) {
        self.clock_corrected = false;
        self.refusals = self.refusals.saturating_add(1);
        if current.role == Role::Canary || current.role == Role::OwnCanary {
            self.on_trial = None;
            // The service is there, whatever it thinks of the suspect.
            self.outage = false;
        }
        let recovery = self.recover(entropy);
        let wait = match self.refusals.checked_sub(1) {
            None | Some(0) => 0,
            Some(before) => self.policy.backoff_ms(before, entropy),
        };
        self.arm(now, now.plus_ms(wait.max(recovery)));
        self.bury(current.tried, Waits::Refusal, reason, now);
    }

    /// It is tried again at `at`.
    fn failed(
        &mut self,
        current: &InFlight,
        kind: Kind,
        then: Then,
        at: MonoTime,
        reason: Reason,
        now: MonoTime,
    ) {
        let ticket = current.tried.ticket;
        let is_own = current.role == Role::OwnCanary;
        match (current.role, then) {
            (Role::Ordinary | Role::Suspect, Then::Canary) => {
                self.on_trial = Some(Trial {
                    suspect: ticket,
                    sent_at: current.sent_at,
                    is_denied: kind != Kind::Doubtful,
                    is_late: false,
                });
                self.waits = 0;
                self.round = Round {
                    canaries: 0,
                    left: match kind {
                        Kind::Doubtful => self.depth(ticket),
                        _ => 0,
                    },
                    after: None,
                };
                // What the server asked for is this one's wait, until the canary fails, too.
                self.arm(now, now);
            }
            (Role::Ordinary | Role::Suspect, Then::Others) => {
                self.on_trial = None;
                self.arm(now, now);
            }
            (Role::Ordinary | Role::Suspect, Then::Wait) => {
                self.on_trial = None;
                self.waits = self.waits.saturating_add(u32::from(kind != Kind::Network));
                self.arm(now, at);
                if current.role == Role::Ordinary
                    && self.is_at_fault(current, kind)
                    && let Ok(keys) = self.outbox.job_keys(ticket)
                {
                    // Too many are known already: its turn comes when one of them has left.
                    match self.line {
                        Some(line) if ticket <= line => self.bad = Some(ticket),
                        _ => self.walk.pass(ticket, &keys),
                    }
                }
            }
            (Role::Canary | Role::OwnCanary, _) if kind != Kind::Network => {
                self.outage = true;
                self.round.canaries = self.round.canaries.saturating_add(1);
                self.own_is_next = !is_own;
                if is_own {
                    let (last, until) = self.resting.unwrap_or((ticket, at));
                    self.resting = Some((last.max(ticket), until.max(at)));
                }
                if !is_own {
                    self.bad = Some(ticket);
                    for aside in self.asides.iter_mut() {
                        let failed = aside.failed_at.take();
                        aside.missed = aside.missed.saturating_add(u32::from(failed.is_some()));
                    }
                    self.passes = match self.passes {
                        u32::MAX => self.passes_from,
                        passes => passes.saturating_mul(2).saturating_add(1),
                    };
                } else if self.round.left == 0
                    && let Some(Trial { suspect, .. }) = self.on_trial
                    && let Some(aside) = self.asides.get_mut(suspect)
                {
                    aside.rounds = aside.rounds.saturating_add(weight(reason.cause));
                }
                if is_own && kind == Kind::Doubtful && self.round.left > 0 {
                    self.round.left = self.round.left.saturating_sub(1);
                    self.round.after = Some(ticket);
                    if let Some(trial) = &mut self.on_trial {
                        trial.sent_at = current.sent_at;
                    }
                    let wait = match self.round.canaries % AT_ONCE {
                        0 => self.policy.backoff_ms(0, 0),
                        _ => 0,
                    };
                    self.arm(now, now.plus_ms(wait));
                } else {
                    self.on_trial = None;
                    self.arm(now, at);
                }
            }
            (Role::Canary | Role::OwnCanary, _) => {
                self.on_trial = None;
                self.arm(now, at);
            }
        }
        self.keep(current, at, reason, u32::from(kind != Kind::Network));
    }

    /// Remembers a report that is tried again.
    fn keep(&mut self, current: &InFlight, due: MonoTime, reason: Reason, failures: u32) {
        let tried = current.tried;
        let mut aside = match self.asides.get(tried.ticket) {
            Some(aside) => *aside,
            None => Aside {
                failures: tried.doubtful.saturating_sub(1),
                ..Aside::new(tried, Waits::Attempt, reason)
            },
        };
        (aside.tried, aside.due, aside.reason) = (tried, due, reason);
        let is_on_trial = |trial: &Trial| trial.suspect == tried.ticket;
        aside.failed_at = self.on_trial.filter(is_on_trial).map(|trial| trial.sent_at);
        aside.failures = aside.failures.saturating_add(failures);
        let is_suspect = current.role == Role::Suspect || self.asides.get(tried.ticket).is_some();
        if !is_suspect || !self.asides.put(aside) {
            self.tried.put(tried);
        }
    }

    /// It left the queue.
    fn leave(&mut self, current: &InFlight) {
        if self.asides.remove(current.tried.ticket) {
            self.walk = Walk::START;
        }
    }

    /// It is not in the queue any more, for whatever reason.
    fn gone(&mut self, ticket: Ticket) {
        if self.asides.remove(ticket) {
            self.walk = Walk::START;
        }
        self.tried.take(ticket);
        // Who follows in a round is counted from the oldest on.
        self.asides.iter_mut().for_each(|aside| aside.rounds = 0);
    }

    // Burials.

    /// Makes a dead letter of a report, now or later; `false` if it does not wait any more.
    fn bury(&mut self, tried: Tried, waits: Waits, reason: Reason, now: MonoTime) -> bool {
        let ticket = tried.ticket;
        let fate = match waits {
            Waits::Expiry => Fate::Expired(reason),
            Waits::Refusal | Waits::Attempt => Fate::Refused(reason),
        };
        let error = match self.bury_now(ticket, fate) {
            Ok(was_there) => {
                self.gone(ticket);
                return was_there;
            }
            Err(error) => error,
        };
        let failures = match self.asides.get(ticket) {
            Some(aside) if aside.waits == waits => aside.failures.saturating_add(1),
            _ => 1,
        };
        let wait = self.policy.backoff_ms(failures, u64::MAX);
        self.asides.put(Aside {
            failures,
            due: now.plus_ms(wait),
            ..Aside::new(tried, waits, reason)
        });
        // Its jobs are free.
        self.walk = Walk::START;
        self.last_failure = Some((ticket, Reason::failed(error.code())));
        true
    }

    /// `false` if it does not wait.
    fn bury_now(&mut self, ticket: Ticket, fate: Fate) -> Result<bool, CourierError<O::Error>> {
        let before = ticket.0.checked_sub(1).map(Ticket);
        let found = self.outbox.next(before)?;
        let Some(Waiting { len, .. }) = found.filter(|found| found.ticket == ticket) else {
            return Ok(false);
        };
        if !self.load(ticket, len)? {
            return Ok(false);
        }
        let bytes = read_part(&mut self.buffer, len);
        let when_full = self.policy.when_letters_full;
        self.outbox.settle(ticket, fate, bytes, when_full)?;
        Ok(true)
    }

    /// Tries the burials again whose time has come.
    fn bury_again(&mut self, now: MonoTime) {
        for _ in 0..=SUSPECTS {
            let due = |aside: &&Aside| aside.waits != Waits::Attempt && aside.due <= now;
            let Some(aside) = self.asides.iter().find(due).copied() else {
                break;
            };
            self.bury(aside.tried, aside.waits, aside.reason, now);
        }
    }

    fn tell_buried(&mut self, ticket: Ticket, reason: Reason) {
        // Behind the others, and the first of too many is gone.
        let mut moved = Some((ticket, reason));
        for slot in self.buried.iter_mut().rev() {
            core::mem::swap(slot, &mut moved);
        }
    }

    // Time.

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
            for aside in self.asides.iter_mut() {
                aside.due = now.plus_ms(aside.due.since(self.armed));
            }
            self.accepted_at = self.accepted_at.min(now);
            if let Some((_, until)) = &mut self.resting {
                *until = now.plus_ms(until.since(self.armed));
            }
            let meant = self.not_before.since(self.armed);
            self.arm(now, now.plus_ms(meant));
        }
        self.not_before.since(now)
    }

    // The buffer.

    /// Reads a report that waits into the buffer, unless it is there; `false` if it does not wait.
    fn load(&mut self, ticket: Ticket, needed: usize) -> Result<bool, CourierError<O::Error>> {
        if self.loaded == Some(ticket) {
            return Ok(true);
        }
        self.loaded = None;
        let room = self.buffer.room(needed).and_then(|b| b.get_mut(..needed));
        let bytes = room.ok_or(CourierError::TooSmall { needed })?;
        let is_there = self.outbox.read(ticket, bytes)?;
        self.loaded = is_there.then_some(ticket);
        Ok(is_there)
    }

    fn load_letter(&mut self, letter: &DeadLetter) -> Result<bool, CourierError<O::Error>> {
        self.loaded = None;
        let needed = letter.len;
        let room = self.buffer.room(needed).and_then(|b| b.get_mut(..needed));
        let bytes = room.ok_or(CourierError::TooSmall { needed })?;
        Ok(self.outbox.read_dead_letter(letter.ticket, bytes)?)
    }

    fn letter(&mut self, letter: DeadLetter) -> Letter<'_> {
        Letter {
            ticket: letter.ticket,
            reason: letter.reason,
            body: read_part(&mut self.buffer, letter.len),
        }
    }
}

/// What the buffer has of a report.
fn read_part<B: Scratch>(buffer: &mut B, len: usize) -> &[u8] {
    let bytes = buffer.room(len).and_then(|b| b.get(..len));
    bytes.unwrap_or_default()
}

/// Whose fault an event may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The service knows this report.
    Service,
    /// It went out, and what came may be somebody else's.
    Doubtful,
    /// Somebody finds fault with the credentials.
    Denied,
    /// A setting cannot work.
    Hold,
    /// It never went out.
    Network,
}

/// How much a failure speaks against a report.
const fn weight(cause: Cause) -> u32 {
    match cause {
        Cause::Answered(Outcome::TryAgain) | Cause::Failed(Code::MayHaveArrived) => 1,
        Cause::Failed(Code::NotSent) => 0,
        _ => NOT_BUSY,
    }
}

impl Kind {
    const fn of(cause: Cause) -> Self {
        match cause {
            Cause::Answered(Outcome::Accepted | Outcome::Refused) => Kind::Service,
            Cause::Answered(Outcome::TryAgain | Outcome::NotUnderstood)
            | Cause::Failed(Code::MayHaveArrived) => Kind::Doubtful,
            Cause::Answered(Outcome::Credentials) => Kind::Denied,
            Cause::Failed(Code::NotSent) => Kind::Network,
            Cause::Answered(Outcome::Misconfigured) | Cause::Failed(_) => Kind::Hold,
        }
    }
}
