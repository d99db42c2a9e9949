//! The engine that every host drives the same way.
//!
//! # Whose fault is it?
//!
//! Between this node and the service stand others: proxies, firewalls, portals, gateways. What they say looks like responses, and the service
//! itself may fail over one report (a handler that crashes on it) or over all (it is down). A response alone does not tell which. So events are
//! of four kinds:
//!
//! - *service*: accepted, or refused in the service's own words. It knows this report.
//! - *doubtful*: it went out, and what came back may be somebody else's (503, 403 of a firewall, 413 of a proxy, a portal's page, nothing).
//! - *hold*: the credentials or the settings are wrong, so nobody can be served. Or somebody else says so of this report alone, as a canary shows.
//! - *network*: it never went out.
//!
//! A doubtful response says nothing until another report was tried right after it, the *canary* ([`canary`]). Is the canary accepted, then the
//! way is free, the service is there, and the report itself is at fault: that attempt *counts* against it. Is the canary's response doubtful, too,
//! then it is an *outage*, and nothing counts: while nothing is accepted, nothing is buried.
//!
//! # The states of a report
//!
//! ```text
//!            3 doubtful responses (1 while others are accepted),
//!            or another hold after a hold (the first right after others were accepted)
//!  waiting ────────────────────────────────────────────► suspect ── accepted ──► delivered
//!     │                                                     │
//!     │ accepted                                            │ 8 of its attempts count, or more where others failed, too; for an hour
//!     ▼                                                     ▼
//!  delivered        refused, or its budget spent ──► to be buried ──► dead letter
//! ```
//!
//! A suspect steps aside and is tried again at its own time, by its own back-off, while the others go on ([`turn`]). At most [`SUSPECTS`](small::SUSPECTS) are known;
//! who would be one more rests until one of them has left. One that is proven bad, and only has to wait for its hour, makes place and rests itself. Where only newer reports of its own jobs wait, one of these goes ahead ([`witness`]), and
//! stays known until it is clear what becomes of the older one ([`held`]). A report is *to be buried* while it cannot be made a dead letter (no room,
//! a sick disk): it is not sent, and the burial is tried again ([`burial`]).
//!
//! # The states of the node
//!
//! - *going*: each report is sent as soon as the one before it is settled.
//! - *backing off*: nobody is sent before `not_before`. After a failure, a hold, and between refusals in a row without an acceptance among them.
//! - *outage*: the last canary failed. The oldest suspect whose time has come is tried once for each back-off, one time in four with a canary;
//!   nobody else is sent.
//!
//! # One walk
//!
//! Reports 1 to 9 wait, each of another job, and a firewall dislikes 2. Report 1 is accepted. 2 gets 403 three times, with back-offs between, and is
//! a suspect. At once 3 is sent as canary, and accepted: one attempt counts. 4 to 9 follow at full speed. When its own back-off is over, 2 is sent
//! and gets 403, the next that waits is the canary, and so on; when 8 count and an hour is over, 2 is a dead letter with the firewall's words as its reason.
//! Had the response been 403 to everything, 3 had been an outage's proof, and 2 would still be the first when it ends.
//!
//! # Restarts, and several deliverers
//!
//! What is known of suspects is gone after a restart, and so are attempts and times of budgets: all begins anew, and costs a few attempts more. With
//! several deliverers one attempt may go out twice; the first result counts, and a stale one changes nothing.
//!
//! # An outbox without room
//!
//! An outbox may note only so many reports as settled ahead of others ([`Outbox::room_ahead`]). When few of these places are left, ordinary reports
//! go ahead and canaries are chosen only where that needs none, right beside one that is settled. If nobody stands there, the canary is
//! remembered as accepted ([`HELD`] of them), is not sent again, and is noted as soon as burials have made room. What is beyond that, or
//! remembered when the process ends, is sent again ([`Code::OutboxFull`]): twice is better than never.

mod burial;
mod canary;
mod held;
mod outcome;
mod pace;
mod round;
mod steps;
mod turn;
mod witness;

use core::fmt;

use super::aside::{Asides, FailedJobs, Memory, RIGHT_AFTER_MS, Tried, Waits, Walk};
use super::outbox::{DeadLetter, Forget, Outbox, Scratch, Ticket, Waiting, job_keys, keys_of};
use super::policy::{Attempt, Policy, Verdict, decide, wait_after, within};
use super::reason::{Event, Reason};
use crate::json::SliceSink;
use crate::report::{Encode, EncodeError, first_error};
use crate::small;
use crate::time::{MonoTime, WallTime};

use canary::Trial;
use held::Held;
use outcome::{Kind, Then};
use pace::Pace;
use round::TURNS;
pub use steps::{CourierError, Outgoing, Status, Step};
use turn::Choice;
use witness::Witness;

/// Places that the outbox has for reports settled ahead of others, and that are kept for canaries.
const KEPT_FOR_CANARIES: usize = small::KEPT_FOR_CANARIES;
/// How many accepted reports may stay in the outbox ([`held`]); more of them are sent again.
const HELD: usize = small::HELD;
/// Certificates do not mind an hour.
const TRUSTED_EVERY_MS: i64 = 3_600_000;
/// So long the link counts as back, unless something is accepted: whoever watches a bad link may say so without end.
const BACK_FOR_MS: u64 = 60_000;
/// How many buried suspects are kept for [`Courier::take_dead_letter`].
const BURIED: usize = small::BURIED;

/// Keeps reports in an outbox and says what to do with them.
///
/// At most one report is in flight, so there is one deliverer: a second one is offered the same report again, and the later of the two
/// [`settle`](Self::settle) finds [`CourierError::StaleTicket`]. Order is by submission for each job, waiting by monotonic time. Any order of calls
/// leaves it valid.
///
/// ```
/// use core::time::Duration;
///
/// use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step, Verdict};
/// use edge_report::{Job, JobStatus, MonoTime, Outcome, Report};
///
/// let outbox = RamOutbox::new([0; 4096], 4096);
/// let policy = Policy::default().with_start_spread(Duration::ZERO);
/// let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime::from_ms(0), 0);
///
/// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(99270)];
/// let report = Report::new("9f1c-0001", &jobs).with_topic("topic");
/// let ticket = courier.submit(&report, MonoTime::from_ms(1), None)?;
///
/// let Step::Send(outgoing) = courier.next(MonoTime::from_ms(1))? else { unreachable!() };
/// assert_eq!(outgoing.ticket, ticket);
/// // The network is down:
/// let event = Event::NOT_SENT.with_text("connection refused");
/// let verdict = courier.settle(ticket, event, MonoTime::from_ms(2), 0)?;
/// assert_eq!(verdict, Verdict::Again { at: MonoTime::from_ms(1002), reason: event.reason });
/// assert!(matches!(courier.next(MonoTime::from_ms(2))?, Step::Wait(at) if at == MonoTime::from_ms(1002)));
///
/// let Step::Send(outgoing) = courier.next(MonoTime::from_ms(1002))? else { unreachable!() };
/// let verdict = courier.settle(ticket, Event::response(Outcome::Accepted, 200), MonoTime::from_ms(1003), 0)?;
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
    failed_jobs: FailedJobs,
    /// How far ordinary reports went past those aside.
    walk: Walk,
    on_trial: Option<Trial>,
    witness: Option<Witness>,
    /// The last canary failed.
    outage: bool,
    /// How many that may go are passed over to find a canary, and where that began.
    passes: u32,
    passes_from: u32,
    /// How much spoke against canaries of suspects' own jobs, since one was accepted that went ahead of nobody.
    rounds: u32,
    /// The last canaries of a suspect's own jobs are not sent before then; with them all up to the last of them, so that none need be remembered.
    resting: Option<(Ticket, MonoTime)>,
    /// One of them got a response.
    rests_by_response: bool,
    /// A canary after this one was accepted, and those up to it were passed over. While as many are suspects as can be known, only those after it
    /// go ahead.
    line: Option<Ticket>,
    /// One before the line that failed; between the two there may be healthy ones.
    bad: Option<Ticket>,
    /// When anything was accepted last.
    accepted_at: MonoTime,
    /// Responses since then that were neither; 1 before anything was.
    strikes: u32,
    /// Checks of credentials that failed since then, or since so many failed that all was held.
    denials: u32,
    /// The ordinary report that was sent last while only the latest of each job are, and its job; before the first a random number.
    turn: (Ticket, i64),
    /// Who has the turns after that, as far as it is known; the next one last.
    turns: heapless::Vec<Ticket, TURNS>,
    /// Accepted, and still in the outbox.
    held: heapless::Vec<Held, HELD>,
    /// Whether the next canary in this outage is one of the suspect's own jobs, if there is one.
    own_is_next: bool,
    pace: Pace,
    /// Refusals since something was accepted.
    refusals: u32,
    /// Set at `armed`: the two together survive even a clock that goes back.
    not_before: MonoTime,
    armed: MonoTime,
    /// Somebody who answered wants to be left alone until then.
    is_asked: bool,
    /// When the link was said to be back, and that was believed.
    back_at: Option<MonoTime>,
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
            .field("failures", &self.pace.failures)
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
    /// What ended waits meanwhile.
    woken: Woken,
}

/// What ended waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Woken {
    Nothing,
    /// News of the link: what somebody who answered asked for has nothing to do with that.
    Link,
    /// [`Courier::wake`].
    All,
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
    /// One of these, once more, right after that was accepted.
    Overtaken,
}

#[cfg(feature = "std")]
impl<O: Outbox> Courier<O, alloc::vec::Vec<u8>> {
    /// A courier over an outbox, by the default [`Policy`], with the system's clock and a buffer that grows.
    pub fn over(outbox: O) -> Self {
        Self::with_policy(outbox, Policy::default())
    }

    /// Like [`over`](Self::over), by another policy.
    pub fn with_policy(outbox: O, policy: Policy) -> Self {
        let (now, entropy) = (MonoTime::now(), super::entropy::entropy());
        Self::new(outbox, alloc::vec::Vec::new(), policy, now, entropy)
    }
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
            failed_jobs: FailedJobs::new(),
            walk: Walk::START,
            on_trial: None,
            witness: None,
            outage: false,
            passes: 0,
            passes_from: 0,
            rounds: 0,
            resting: None,
            rests_by_response: false,
            line: None,
            bad: None,
            accepted_at: now,
            strikes: 1,
            denials: 0,
            turn: (Ticket(0), entropy as i64),
            turns: heapless::Vec::new(),
            held: heapless::Vec::new(),
            own_is_next: false,
            pace: Pace::new(),
            refusals: 0,
            not_before,
            armed: now,
            is_asked: false,
            back_at: None,
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
        Ok(self.outbox.append(&keys_of(report), bytes, now, wall)?)
    }

    /// Stores a report that is encoded: these very bytes are sent. Errors of [`check`](crate::check()) are refused, and so is one for which
    /// there is no memory to send it.
    pub fn submit_encoded(
        &mut self,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, CourierError<O::Error>> {
        if let Some(finding) = first_error(report) {
            let finding = finding.without_text();
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
                        return Ok(Step::Wait(self.next_attempt));
                    }
                    Choice::Idle => return Ok(Step::Idle),
                },
            };
            match self.load(current.tried.ticket, current.len) {
                Ok(true) => {
                    self.outbox.pin(Some(current.tried.ticket));
                    self.current = Some(current);
                    return Ok(self.outgoing(current));
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
        if self.current.is_some_and(|c| c.tried.ticket == ticket) {
            self.see_clock(now);
        }
        let mut current = match self.current {
            Some(current) if current.tried.ticket == ticket => current,
            _ => return Err(CourierError::StaleTicket),
        };
        let kind = Kind::of(event.reason.cause);
        let is_way_free = self.is_way_free(&current);
        if kind != Kind::Service && kind != Kind::Network {
            self.strikes = self.strikes.saturating_add(1);
        }
        let then = self.note(&mut current, event.reason.cause, is_way_free, now, entropy);
        let is_own_wait = then != Then::Wait;
        // One that fails with a canary to follow is no failure of the node yet.
        let is_failure = kind != Kind::Service && !is_own_wait;
        let is_stray = is_failure && self.pace.failed(event.reason.cause, &self.policy);
        let tried = current.tried;
        let attempt = Attempt {
            count: tried.attempts,
            failures: match (is_own_wait, self.asides.get(ticket)) {
                (false, _) => self.pace.failures,
                (true, Some(aside)) => aside.failures.saturating_add(1),
                (true, None) => tried.doubtful.max(1),
            },
            is_stray,
            // Checks of credentials that fail too often lock a key pair, whatever is accepted between.
            is_alone: is_own_wait && is_way_free && kind != Kind::Denied,
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
                if let Some((code, at)) = self.accepted(&current, now, entropy) {
                    let reason = Reason::failed(code);
                    verdict = Verdict::Again { at, reason };
                    self.last_failure = Some((ticket, reason));
                }
            }
            Verdict::Refused(reason) => self.refused(&current, reason, now, entropy),
            Verdict::Expired(reason) => {
                self.on_trial = None;
                self.outage |=
                    kind == Kind::Doubtful && current.role != Role::Ordinary && !is_own_wait;
                // What it asked for holds for those that follow.
                let others = Attempt {
                    failures: self.pace.failures,
                    is_alone: false,
                    ..attempt
                };
                match wait_after(&event, &others, now, entropy, &self.policy) {
                    Verdict::Again { at, .. } if kind == Kind::Denied => {
                        self.correct_clock(&event);
                        self.arm(now, at);
                    }
                    Verdict::Again { at, .. } | Verdict::Held { until: at, .. } => {
                        self.distrust_clock(event.reason.cause, is_own_wait);
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
                self.distrust_clock(event.reason.cause, is_own_wait);
                if current.role == Role::Overtaken && is_own_wait {
                    verdict = self.overtaken_failed(current, kind, verdict, now, entropy);
                } else {
                    self.failed(&current, kind, then, at, reason, now);
                }
            }
        }
        self.is_asked = kind == Kind::Denied || event.retry_after_ms.is_some();
        if let Some(aside) = self.asides.get_mut(ticket) {
            aside.is_asked = event.retry_after_ms.is_some();
        }
        self.outbox.pin(None);
        self.current = None;
        if let Verdict::Again { at, .. } = &mut verdict
            && current.woken != Woken::Nothing
            && event.reason.status == 0
        {
            // It was stuck before; the link may be back.
            self.end_waits(now, current.woken);
            *at = now;
        }
        self.note_accepted();
        self.next_attempt = self.not_before;
        self.last = Some((ticket, verdict));
        Ok(verdict)
    }

    /// A suspect that became a dead letter since another report was accepted, and why: none of its own [`settle`](Self::settle) says so.
    /// The last few are kept.
    pub fn take_dead_letter(&mut self) -> Option<(Ticket, Reason)> {
        let slot = self.buried.iter_mut().find(|slot| slot.is_some());
        slot.and_then(Option::take)
    }

    /// The same, and leaves them there.
    #[cfg(feature = "_http")]
    pub(crate) fn buried(&self) -> impl Iterator<Item = (Ticket, Reason)> {
        self.buried.iter().flatten().copied()
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let in_flight = self.current.map(|current| current.tried.ticket);
        let waiting = self.outbox.waiting();
        Status {
            counters: self.outbox.counters(),
            waiting,
            aside: self.asides.iter().count(),
            in_flight,
            failures: self.pace.failures,
            circuit_open: self.pace.is_open(&self.policy),
            not_before: self.not_before,
            next_attempt: (waiting > 0 && in_flight.is_none()).then_some(self.next_attempt),
            clock_offset_ms: self.clock_offset_ms,
            last: self.last,
            last_failure: self.last_failure,
        }
    }

    /// The newest time that was noted as known for sure, also before a restart; `None` where the outbox keeps none.
    pub fn trusted_time(&self) -> Option<WallTime> {
        self.outbox.trusted_time()
    }

    /// Notes a time that is known for sure, such as the `Date` of an accepted response over verified TLS: a node without a clock begins with
    /// it after the next restart. Noted once an hour, and written with what comes next. `Client::deliver` does it.
    pub fn note_trusted_time(&mut self, time: WallTime) {
        let known = self.outbox.trusted_time();
        if known.is_none_or(|known| time >= known.plus_ms(TRUSTED_EVERY_MS)) {
            self.outbox.note_trusted_time(time);
        }
    }

    /// When the oldest report that waits was submitted, if that is known.
    pub fn oldest(&mut self) -> Result<Option<WallTime>, CourierError<O::Error>> {
        let oldest = self.outbox.next(None)?;
        Ok(oldest.and_then(|oldest| oldest.submitted_at))
    }

    /// Lets the next attempt come at once, and what waits after it: the network is back, somebody changed the credentials, or made room for dead
    /// letters. Failures so far count no more. An attempt that is being made goes on; if it fails without a response, the next one comes at
    /// once, too, unless it holds.
    ///
    /// Each call does so, however often: it ends a hold for denied credentials and a `Retry-After`, too. For news of a link, which may come often, a
    /// reporter has a `wake` that does not. Where many nodes learn of that in the same moment, spread the calls.
    pub fn wake(&mut self, now: MonoTime) {
        self.end_waits(now, Woken::All);
    }

    fn end_waits(&mut self, now: MonoTime, by: Woken) {
        let is_all = by == Woken::All;
        self.arm(now, now);
        self.next_attempt = now;
        // Those that rest failed while others were accepted: that was not the link.
        if is_all {
            self.pace.wake();
            self.tried.iter_mut().for_each(|tried| tried.rests = None);
        } else {
            self.pace.link_is_back();
        }
        self.resting = self.resting.filter(|_| self.rests_by_response && !is_all);
        self.walk = self.walk.anew();
        for aside in self.asides.iter_mut() {
            if is_all || aside.reason.status == 0 {
                aside.due = now;
            }
        }
        if let Some(current) = &mut self.current {
            current.woken = current.woken.max(by);
        }
    }

    /// [`wake`](Self::wake) for who knows of the link alone, and may say so often. It ends no hold for denied credentials and no `Retry-After`: with
    /// these the link has nothing to do. Otherwise once a minute, or once for each report that was accepted. For reporters, here and in JavaScript.
    #[doc(hidden)]
    pub fn link_is_back(&mut self, now: MonoTime) {
        let is_held = self.is_asked && now < self.not_before;
        let is_news = self.back_at.is_none_or(|back_at| {
            self.accepted_at > back_at || now.since_ms(back_at) >= BACK_FOR_MS
        });
        if is_news && !is_held {
            self.back_at = Some(now);
            self.end_waits(now, Woken::Link);
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

    /// What waits next after `after`, in the order of submission; the first of all without.
    ///
    /// ```
    /// use edge_report::courier::{Courier, Policy, RamOutbox};
    /// use edge_report::{Job, JobStatus, MonoTime, Report};
    ///
    /// let now = MonoTime::from_ms(0);
    /// let mut courier = Courier::new(RamOutbox::new([0; 4096], 4096), [0; 512], Policy::default(), now, 0);
    /// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    /// for id in ["a", "b"] {
    ///     courier.submit(&Report::new(id, &jobs), now, None)?;
    /// }
    /// let mut after = None;
    /// let mut bytes = 0;
    /// while let Some(waiting) = courier.next_waiting(after)? {
    ///     let (_, report) = courier.find_waiting(waiting.ticket)?.expect("it waits");
    ///     bytes += report.len();
    ///     after = Some(waiting.ticket);
    /// }
    /// assert_eq!(bytes, 2 * br#"{"jobs":[{"status":"job_running","create_time":1591104868201}],"message_id":"a"}"#.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_waiting(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        Ok(self.outbox.next(after)?)
    }

    /// The report that waits with this ticket, and its bytes.
    pub fn find_waiting(&mut self, ticket: Ticket) -> FoundWaiting<'_, O::Error> {
        let before = ticket.0.checked_sub(1).map(Ticket);
        match self.outbox.next(before)? {
            Some(waiting) if waiting.ticket == ticket && self.load(ticket, waiting.len)? => {
                Ok(Some((waiting, read_part(&mut self.buffer, waiting.len))))
            }
            _ => Ok(None),
        }
    }

    /// The dead letter after `after`, in the order in which they became letters, and its bytes; the first of all without.
    pub fn dead_letter(&mut self, after: Option<Ticket>) -> FoundLetter<'_, O::Error> {
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
    pub fn find_dead_letter(&mut self, ticket: Ticket) -> FoundLetter<'_, O::Error> {
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
        let Some((letter, _)) = letter else {
            return Ok(None);
        };
        // A letter that stays would be submitted again and again.
        self.outbox.may_forget(letter.ticket)?;
        let bytes = read_part(&mut self.buffer, letter.len);
        let ticket = self.outbox.append(&job_keys(bytes), bytes, now, wall)?;
        self.forget_dead_letter(letter.ticket)?;
        Ok(Some(ticket))
    }

    /// Forgets a dead letter.
    pub fn forget_dead_letter(&mut self, ticket: Ticket) -> Result<(), CourierError<O::Error>> {
        Ok(self.outbox.forget_dead_letters(Forget::One(ticket))?)
    }

    /// Forgets a dead letter, and all that became letters before it.
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

    fn outgoing(&mut self, current: InFlight) -> Step<'_> {
        Step::Send(Outgoing {
            ticket: current.tried.ticket,
            body: read_part(&mut self.buffer, current.len),
            clock_offset_ms: self.clock_offset_ms,
        })
    }

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

    fn letter(&mut self, letter: DeadLetter) -> (DeadLetter, &[u8]) {
        let len = letter.len;
        (letter, read_part(&mut self.buffer, len))
    }
}

/// A report that waits, and its bytes.
type FoundWaiting<'c, E> = Result<Option<(Waiting, &'c [u8])>, CourierError<E>>;

/// A dead letter and its bytes.
type FoundLetter<'c, E> = Result<Option<(DeadLetter, &'c [u8])>, CourierError<E>>;

/// What the buffer has of a report.
fn read_part<B: Scratch>(buffer: &mut B, len: usize) -> &[u8] {
    let bytes = buffer.room(len).and_then(|b| b.get(..len));
    bytes.unwrap_or_default()
}
