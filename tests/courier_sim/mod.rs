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
use std::collections::BTreeMap;
use std::fmt;

use edge_report::courier::{
    Courier, DeadLetter, Event, Fate, Forget, JobKeys, Ledger, Outbox, OutboxError, Policy,
    RamOutbox, Reason, Step, Ticket, Verdict, Waiting, WhenLettersFull,
};
use edge_report::{Job, JobStatus, MonoTime, Outcome, Report, WallTime};

pub(crate) const HOUR: u64 = 3_600_000;

/// A disk that cannot be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

/// An outbox whose burials can fail.
pub(crate) struct Faulty {
    inner: RamOutbox<&'static mut [u8], Broken>,
    pub(crate) fails: Cell<Option<OutboxError<Broken>>>,
    pub(crate) failed: usize,
}

impl Faulty {
    fn over(inner: RamOutbox<&'static mut [u8], Broken>) -> Self {
        Faulty {
            inner,
            fails: Cell::new(None),
            failed: 0,
        }
    }
}

pub(crate) fn outbox() -> Faulty {
    outbox_of(1 << 20)
}

pub(crate) fn outbox_of(bytes: usize) -> Faulty {
    Faulty::over(RamOutbox::beside(vec![0; bytes].leak(), bytes))
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
        fate: Fate,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Done<()> {
        if let (Fate::Refused(_) | Fate::Expired(_), Some(error)) = (fate, self.fails.get()) {
            self.failed += 1;
            return Err(error);
        }
        self.inner.settle(ticket, fate, report, when_full)
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
    fn ledger(&self) -> Ledger {
        self.inner.ledger()
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
    Event::answered(Outcome::Accepted, 200)
}

pub(crate) struct Sim {
    pub(crate) courier: Courier<Faulty, [u8; 2048]>,
    pub(crate) now: u64,
    pub(crate) requests: usize,
    pub(crate) attempts: BTreeMap<Ticket, u32>,
    pub(crate) buried: Vec<(Ticket, Reason)>,
    pub(crate) jobs: Vec<Vec<i64>>,
    /// When each was accepted.
    pub(crate) accepted: Vec<(Ticket, u64)>,
    /// Before then it must not be sent: its last verdict said so.
    not_before: BTreeMap<Ticket, u64>,
    policy: Policy,
    random: u64,
}

impl Sim {
    pub(crate) fn new(policy: Policy, outbox: Faulty, seed: u64) -> Self {
        Sim {
            courier: Courier::new(outbox, [0; 2048], policy, MonoTime(0), 0),
            now: 0,
            requests: 0,
            attempts: BTreeMap::new(),
            buried: Vec::new(),
            jobs: Vec::new(),
            accepted: Vec::new(),
            not_before: BTreeMap::new(),
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
        self.courier.wake(MonoTime(self.now));
        self.not_before.clear();
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self) {
        let seed = self.random();
        let none = Courier::new(outbox_of(64), [0; 2048], self.policy, MonoTime(0), 0);
        let outbox = std::mem::replace(&mut self.courier, none).into_outbox();
        self.courier = Courier::new(outbox, [0; 2048], self.policy, MonoTime(self.now), seed);
        self.not_before.clear();
    }

    /// A report on these jobs; on one without an id if there is none. A negative one stands for one without.
    pub(crate) fn submit_jobs(&mut self, ids: &[i64]) -> Ticket {
        let job = Job::new(JobStatus::Running, 1_591_104_868_201);
        let named = |id: &i64| match *id {
            ..0 => job,
            id => job.with_job_id(id + 1),
        };
        let mut jobs: Vec<_> = ids.iter().map(named).collect();
        if jobs.is_empty() {
            jobs.push(job);
        }
        let report = Report::new("id", &jobs);
        let ticket = self.courier.submit(&report, MonoTime(self.now), None);
        let ids = ids.iter().copied().filter(|id| *id >= 0);
        self.jobs.push(ids.collect());
        assert_eq!(ticket.unwrap().0, self.jobs.len() as u64);
        Ticket(self.jobs.len() as u64)
    }

    /// Until nothing waits, or then.
    pub(crate) fn run(&mut self, until: u64, mut answer: impl FnMut(&Sent) -> Event) {
        loop {
            let sent = match self.courier.next(MonoTime(self.now)).unwrap() {
                Step::Idle => return,
                Step::Wait(ms) => {
                    assert!(ms > 0);
                    if self.now + ms > until {
                        self.now = until.max(self.now);
                        return;
                    }
                    self.now += ms;
                    continue;
                }
                Step::Send(parcel) => Sent {
                    ticket: parcel.ticket,
                    now: self.now,
                    clock_offset_ms: parcel.clock_offset_ms,
                },
            };
            let told = self.not_before.get(&sent.ticket).copied().unwrap_or(0);
            assert!(self.now >= told, "{} is sent before {told}", sent.ticket);
            self.requests += 1;
            *self.attempts.entry(sent.ticket).or_default() += 1;
            let event = answer(&sent);
            let entropy = self.random();
            let verdict = self
                .courier
                .settle(sent.ticket, event, MonoTime(self.now), entropy);
            let verdict = verdict.unwrap();
            match verdict {
                Verdict::Delivered => self.accepted.push((sent.ticket, self.now)),
                verdict => assert_eq!(verdict.reason(), Some(&event.reason)),
            }
            if let Verdict::Again { at, .. } | Verdict::Held { until: at, .. } = verdict {
                self.not_before.insert(sent.ticket, at.0);
            }
            while let Some(buried) = self.courier.take_buried() {
                self.buried.push(buried);
            }
        }
    }

    /// What was accepted of each job came in order, and all adds up.
    pub(crate) fn check_order(&self) {
        let mut last = BTreeMap::new();
        for (ticket, _) in &self.accepted {
            for job in &self.jobs[ticket.0 as usize - 1] {
                if let Some(before) = last.insert(*job, *ticket) {
                    assert!(before <= *ticket, "{ticket} after {before}");
                }
            }
        }
        let status = self.courier.status();
        let ledger = status.ledger;
        let settled = ledger.delivered + ledger.refused + ledger.superseded + ledger.expired;
        assert_eq!(ledger.submitted, settled + status.waiting);
        assert_eq!(ledger.delivered, self.accepted.len() as u64);
    }

    pub(crate) fn fail_burials(&mut self, error: Option<OutboxError<Broken>>) {
        self.courier.outbox().fails.set(error);
    }

    pub(crate) fn failed_burials(&self) -> usize {
        self.courier.outbox().failed
    }
}
