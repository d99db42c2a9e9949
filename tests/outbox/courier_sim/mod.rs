//! A courier in virtual time, and a service that answers as a test says.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edge_report::courier::{
    Cause, Counters, Courier, DeadLetter, Disposition, Event, Forget, JobKeys, Outbox, OutboxError,
    Policy, RamOutbox, Reason, Step, Ticket, Verdict, Waiting, WhenLettersFull,
};
use edge_report::{Code, Job, JobStatus, MonoTime, Outcome, Report, WallTime};

pub(crate) const HOUR: u64 = 3_600_000;
/// What is accepted later than this after a failure proves nothing, and the other way round.
const RIGHT_AFTER_MS: u64 = 60_000;

/// Without a heap the engine remembers of four reports that they were accepted and cannot be noted, and of three that failed, besides three
/// suspects, how often, and when they may come again. More than these begin anew.
pub(crate) const IS_SMALL: bool = cfg!(not(feature = "alloc"));

/// What was accepted comes again, since it could not be noted.
fn is_not_noted(reason: Reason) -> bool {
    let cause = reason.cause;
    matches!(cause, Cause::Failed(Code::OutboxFull | Code::Storage))
}

/// A disk that cannot be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

/// An outbox whose burials can fail.
pub(crate) struct Faulty {
    inner: RamOutbox<&'static mut [u8], Broken>,
    pub(crate) fails: Cell<Option<OutboxError<Broken>>>,
    pub(crate) failed: usize,
    /// What was accepted cannot be noted.
    pub(crate) is_sick: Cell<bool>,
}

impl Faulty {
    fn over(inner: RamOutbox<&'static mut [u8], Broken>) -> Self {
        Faulty {
            inner,
            fails: Cell::new(None),
            failed: 0,
            is_sick: Cell::new(false),
        }
    }
}

pub(crate) fn outbox() -> Faulty {
    outbox_of(1 << 20)
}

pub(crate) fn outbox_of(bytes: usize) -> Faulty {
    Faulty::over(RamOutbox::with_error_type(vec![0; bytes].leak(), bytes))
}

type Done<T> = Result<T, OutboxError<Broken>>;

impl Outbox for Faulty {
    type Error = Broken;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Done<Ticket> {
        self.inner.append(jobs, report, now, wall)
    }
    fn next(&mut self, after: Option<Ticket>) -> Done<Option<Waiting>> {
        self.inner.next(after)
    }
    fn job_keys(&mut self, ticket: Ticket) -> Done<JobKeys> {
        self.inner.job_keys(ticket)
    }
    fn read(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Done<bool> {
        self.inner.read(ticket, buffer)
    }
    fn is_superseded(&mut self, ticket: Ticket) -> Done<bool> {
        self.inner.is_superseded(ticket)
    }
    fn settle(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Done<()> {
        if let (Disposition::Refused(_) | Disposition::Expired(_), Some(error)) =
            (disposition, self.fails.get())
        {
            self.failed += 1;
            return Err(error);
        }
        if disposition == Disposition::Delivered && self.is_sick.get() {
            return Err(OutboxError::Device(Broken));
        }
        self.inner.settle(ticket, disposition, report, when_full)
    }
    fn room_ahead(&self) -> usize {
        self.inner.room_ahead()
    }
    fn pin(&mut self, ticket: Option<Ticket>) {
        self.inner.pin(ticket);
    }
    fn waiting(&self) -> u64 {
        self.inner.waiting()
    }
    fn counters(&self) -> Counters {
        self.inner.counters()
    }
    fn flush(&mut self) -> Done<()> {
        self.inner.flush()
    }
    fn tick(&mut self, now: MonoTime) -> Done<()> {
        self.inner.tick(now)
    }
    fn dead_letter(&mut self, after: Option<Ticket>) -> Done<Option<DeadLetter>> {
        self.inner.dead_letter(after)
    }
    fn find_dead_letter(&mut self, ticket: Ticket) -> Done<Option<DeadLetter>> {
        self.inner.find_dead_letter(ticket)
    }
    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Done<bool> {
        self.inner.read_dead_letter(ticket, buffer)
    }
    fn forget_dead_letters(&mut self, which: Forget) -> Done<()> {
        self.inner.forget_dead_letters(which)
    }
}

/// A report that is sent.
pub(crate) struct Sent {
    pub(crate) ticket: Ticket,
    pub(crate) now: u64,
    pub(crate) clock_offset_ms: i64,
}

pub(crate) fn accepted(_: &Sent) -> Event {
    Event::response(Outcome::Accepted, 200)
}

pub(crate) struct Sim {
    pub(crate) courier: Courier<Faulty, [u8; 2048]>,
    pub(crate) now: u64,
    pub(crate) requests: usize,
    pub(crate) attempts: BTreeMap<Ticket, u32>,
    pub(crate) buried: Vec<(Ticket, Reason)>,
    pub(crate) jobs: Vec<Vec<i64>>,
    /// Those whose jobs cannot all be told.
    untold: BTreeSet<Ticket>,
    /// When each was accepted. One that overtook others is accepted a second time, if one of these is accepted after it.
    pub(crate) accepted: Vec<(Ticket, u64)>,
    /// How long it takes until something comes back that is not from the service.
    pub(crate) failing_takes_ms: u64,
    /// Before then it must not be sent: its last verdict said so.
    not_before: BTreeMap<Ticket, u64>,
    denied: BTreeSet<Ticket>,
    policy: Policy,
    random: u64,
}

impl Sim {
    pub(crate) fn new(policy: Policy, outbox: Faulty, seed: u64) -> Self {
        Sim {
            courier: Courier::new(outbox, [0; 2048], policy, MonoTime::from_ms(0), 0),
            now: 0,
            requests: 0,
            attempts: BTreeMap::new(),
            buried: Vec::new(),
            jobs: Vec::new(),
            untold: BTreeSet::new(),
            accepted: Vec::new(),
            failing_takes_ms: 0,
            not_before: BTreeMap::new(),
            denied: BTreeSet::new(),
            policy,
            random: seed,
        }
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn submit(&mut self, job: i64) -> Ticket {
        self.submit_jobs(&[job])
    }

    pub(crate) fn wake(&mut self) {
        self.courier.wake(MonoTime::from_ms(self.now));
        self.not_before.clear();
    }

    /// The clock went back: times that were told mean nothing any more.
    pub(crate) fn forget_waits(&mut self) {
        self.not_before.clear();
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self) {
        let seed = self.random();
        let none = Courier::new(
            outbox_of(64),
            [0; 2048],
            self.policy,
            MonoTime::from_ms(0),
            0,
        );
        let outbox = std::mem::replace(&mut self.courier, none).into_outbox();
        self.courier = Courier::new(
            outbox,
            [0; 2048],
            self.policy,
            MonoTime::from_ms(self.now),
            seed,
        );
        self.not_before.clear();
    }

    /// A report on these jobs; on one without an id if there is none. A negative one stands for one without.
    pub(crate) fn submit_jobs(&mut self, ids: &[i64]) -> Ticket {
        let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201);
        let named = |id: &i64| match *id {
            ..0 => job,
            id => job.with_job_id(id + 1),
        };
        let mut jobs: Vec<_> = ids.iter().map(named).collect();
        if jobs.is_empty() {
            jobs.push(job);
        }
        let report = Report::new("id", &jobs);
        let ticket = self
            .courier
            .submit(&report, MonoTime::from_ms(self.now), None);
        let is_untold = ids.len() > 16 || (ids.len() > 1 && ids.contains(&-1));
        let ids = ids.iter().copied().filter(|id| *id >= 0);
        self.jobs.push(ids.collect());
        let ticket = ticket.unwrap();
        assert_eq!(ticket.0, self.jobs.len() as u64);
        if is_untold {
            self.untold.insert(ticket);
        }
        ticket
    }

    /// Until nothing waits, or then.
    pub(crate) fn run(&mut self, until: u64, mut answer: impl FnMut(&Sent) -> Event) {
        let (mut began, mut at_once) = (0, 0);
        loop {
            let sent = match self.courier.next(MonoTime::from_ms(self.now)).unwrap() {
                Step::Idle => return,
                Step::Wait(at) => {
                    assert!(at.ms() > self.now);
                    if at.ms() > until {
                        self.now = until.max(self.now);
                        return;
                    }
                    self.now = at.ms();
                    continue;
                }
                Step::Send(outgoing) => Sent {
                    ticket: outgoing.ticket,
                    now: self.now,
                    clock_offset_ms: outgoing.clock_offset_ms,
                },
            };
            let told = self.not_before.get(&sent.ticket).copied().unwrap_or(0);
            assert!(
                self.now >= told
                    || IS_SMALL
                    || self.is_overtaken(sent.ticket)
                    || self.was_denied(sent.ticket),
                "{} is sent before {told}",
                sent.ticket
            );
            self.requests += 1;
            at_once = if self.now == began { at_once + 1 } else { 0 };
            began = self.now;
            assert!(at_once < 10_000, "{} is sent without end", sent.ticket);
            *self.attempts.entry(sent.ticket).or_default() += 1;
            let event = answer(&sent);
            let is_accepted = event.reason.cause == Cause::Response(Outcome::Accepted);
            let is_served = matches!(
                event.reason.cause,
                Cause::Response(Outcome::Accepted | Outcome::Refused)
            );
            self.now += if is_served { 0 } else { self.failing_takes_ms };
            let entropy = self.random();
            let verdict =
                self.courier
                    .settle(sent.ticket, event, MonoTime::from_ms(self.now), entropy);
            let verdict = verdict.unwrap();
            match verdict {
                Verdict::Delivered => self.accepted.push((sent.ticket, self.now)),
                Verdict::Refused(reason) if reason.cause == Cause::Failed(Code::Overtaken) => {
                    // A small set of jobs takes some for others.
                    assert!(
                        IS_SMALL || self.is_overtaken(sent.ticket),
                        "{} is not overtaken",
                        sent.ticket
                    );
                    assert_ne!(event.reason.cause, Cause::Response(Outcome::Accepted));
                    self.buried.push((sent.ticket, reason));
                }
                Verdict::Refused(reason) if self.was_denied(sent.ticket) => {
                    assert_eq!(reason, event.reason);
                    self.buried.push((sent.ticket, reason));
                }
                Verdict::Again { reason, .. }
                    if IS_SMALL && is_accepted && is_not_noted(reason) =>
                {
                    self.accepted.push((sent.ticket, self.now));
                }
                verdict => assert_eq!(verdict.reason(), Some(&event.reason)),
            }
            if let Verdict::Again { at, .. } | Verdict::Held { until: at, .. } = verdict {
                self.not_before.insert(sent.ticket, at.ms());
                let is_held = match event.reason.cause {
                    Cause::Response(outcome) => {
                        matches!(outcome, Outcome::Credentials | Outcome::Misconfigured)
                    }
                    Cause::Failed(code) => !matches!(code, Code::NotSent | Code::MayHaveArrived),
                };
                match is_held {
                    true => self.denied.insert(sent.ticket),
                    false => self.denied.remove(&sent.ticket),
                };
            }
            while let Some(buried) = self.courier.take_dead_letter() {
                self.buried.push(buried);
            }
        }
    }

    /// Whether it was held, and another one was accepted right after.
    fn was_denied(&self, ticket: Ticket) -> bool {
        let last = self.accepted.last();
        self.denied.contains(&ticket)
            && last.is_some_and(|(_, at)| self.now - at <= 4 * RIGHT_AFTER_MS)
    }

    /// Whether a newer report of its jobs was accepted right before, or of the jobs of an older one that shares one with that, and so on.
    fn is_overtaken(&self, ticket: Ticket) -> bool {
        let shares = |one: u64, other: u64| {
            let [its, others] = [one, other].map(|n| &self.jobs[n as usize - 1]);
            let is_any = [one, other].map(|n| self.untold.contains(&Ticket(n)));
            is_any.contains(&true) || its.iter().any(|job| others.contains(job))
        };
        let reaches = |newest: u64| {
            let mut reached = vec![newest];
            let mut next = 0;
            while let Some(from) = reached.get(next).copied() {
                next += 1;
                let older = (1..newest).filter(|n| shares(from, *n));
                let more: Vec<u64> = older.filter(|n| !reached.contains(n)).collect();
                reached.extend(more);
            }
            reached.contains(&ticket.0)
        };
        let recent = self.accepted.iter().rev();
        // Up to four tries, each within that of the one before.
        let mut recent = recent.take_while(|(_, at)| self.now - at <= 4 * RIGHT_AFTER_MS);
        recent.any(|(newest, _)| *newest > ticket && reaches(newest.0))
    }

    /// What was accepted of each job came in order; if an older one came after a newer one, the newer one came again. And all adds up.
    pub(crate) fn check_order(&self) {
        let status = self.courier.status();
        let mut last = BTreeMap::new();
        for (ticket, _) in &self.accepted {
            for job in &self.jobs[ticket.0 as usize - 1] {
                let (_, newest) = last.get(job).copied().unwrap_or((*ticket, *ticket));
                last.insert(*job, (*ticket, newest.max(*ticket)));
            }
        }
        for (job, (last, newest)) in last {
            let is_last = last == newest || status.waiting > 0;
            assert!(is_last, "of job {job} {last} came last, not {newest}");
        }
        let counters = status.counters;
        let settled =
            counters.delivered + counters.refused + counters.superseded + counters.expired;
        assert_eq!(counters.submitted, settled + status.waiting);
        let tickets: BTreeSet<_> = self.accepted.iter().map(|(ticket, _)| ticket).collect();
        let delivered = tickets.len() as u64;
        // One that overtook others may be told as accepted, and wait for what becomes of them.
        assert!(counters.delivered == delivered || status.waiting > 0);
        assert!(counters.delivered <= delivered);
    }

    /// How many came again, since an older one of their job came after them.
    pub(crate) fn repeated(&self) -> usize {
        let tickets: BTreeSet<_> = self.accepted.iter().map(|(ticket, _)| ticket).collect();
        self.accepted.len() - tickets.len()
    }

    pub(crate) fn fail_burials(&mut self, error: Option<OutboxError<Broken>>) {
        self.courier.outbox().fails.set(error);
    }

    pub(crate) fn failed_burials(&self) -> usize {
        self.courier.outbox().failed
    }
}
