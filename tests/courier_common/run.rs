//! Drives an outbox at random, and keeps the account.

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_report::courier::{
    Courier, CourierError, Durability, Event, Fate, Ledger, LogError, Policy, Step, Ticket, Verdict,
};
use edge_report::{JobStatus, MonoTime, Outcome};

use super::account::{Account, Failure, Known, Log, Setting, reason_of, settled};
use super::device::{Counters, DeviceError, Power, Side};
use super::{Rng, Sample, sample, says_more};

/// Drives an outbox and keeps the account.
pub(crate) struct Run {
    pub(crate) setting: Setting,
    pub(crate) power: Power,
    pub(crate) courier: Option<Courier<Log, Vec<u8>>>,
    pub(crate) now: MonoTime,
    pub(crate) rng: Rng,
    pub(crate) account: Account,
    /// The account before each step, and after the last.
    pub(crate) accounts: Vec<Arc<Account>>,
    pub(crate) number: u64,
    pub(crate) full: usize,
    /// How many writes there were of what waits.
    pub(crate) written: u64,
    /// How many came again without a crash: a full log had no room for a mark.
    pub(crate) repeats: usize,
    /// The one in flight.
    pub(crate) in_flight: Option<(Ticket, Sample)>,
    pub(crate) unsynced_since: Option<MonoTime>,
    /// Whether the device fails at times. What was settled may then come again.
    pub(crate) is_faulty: bool,
    /// Whether a restart would forget that a sync failed.
    pub(crate) stays_open: bool,
    pub(crate) failed: u64,
}

pub(crate) const POLICY: Policy = Policy {
    min_backoff_ms: 100,
    max_backoff_ms: 1_000,
    max_retry_after_ms: 10_000,
    hold_ms: 1_000,
    open_circuit_after: 5,
    max_attempts: Some(3),
    max_time_ms: None,
    start_spread_ms: 0,
    max_clock_skew_ms: 60_000,
};

pub(crate) fn answered(outcome: Outcome, status: u16) -> Event {
    Event::Answered {
        outcome,
        status,
        retry_after_ms: None,
        clock_skew_ms: None,
    }
}

impl Run {
    pub(crate) fn new(setting: Setting, power: Power, account: Account, seed: u64) -> Self {
        Run {
            setting,
            power,
            courier: None,
            now: MonoTime(0),
            rng: Rng(seed),
            number: account
                .reports
                .keys()
                .next_back()
                .copied()
                .unwrap_or_default()
                + 2_000_000,
            account,
            accounts: Vec::new(),
            full: 0,
            written: 0,
            repeats: 0,
            in_flight: None,
            unsynced_since: None,
            is_faulty: false,
            stays_open: false,
            failed: 0,
        }
    }

    /// Before each step.
    pub(crate) fn begin(&mut self) {
        self.power.step(self.accounts.len());
        self.accounts.push(Arc::new(self.account.clone()));
    }

    /// After each step.
    pub(crate) fn end(&mut self) {
        if let Some(courier) = &mut self.courier {
            let status = courier.status();
            self.account.ledger = status.ledger;
            let ledger = status.ledger;
            assert_eq!(
                ledger.submitted,
                settled(&ledger) + status.waiting,
                "{status:?}"
            );
            let letters = &mut self.account.letters;
            let mut now = BTreeMap::new();
            let mut last = None;
            while let Some(letter) = courier.dead_letter(last).unwrap() {
                let known = &self.account.reports[&letter.ticket.0];
                let new = || (reason_of(known.fate).expect("it is dead"), false);
                let (reason, durable) = letters.get(&letter.ticket.0).copied().unwrap_or_else(new);
                assert_eq!(letter.reason, reason);
                assert_eq!(letter.body, &*known.sample.bytes);
                now.insert(letter.ticket.0, (reason, durable));
                last = Some(letter.ticket);
            }
            *letters = now;
        }
        let Counters { writes, failed, .. } = self.power.counters();
        if failed > self.failed {
            self.failed = failed;
            let unsynced = self.account.reports.values_mut().filter(|k| !k.durable);
            unsynced.for_each(|known| known.in_doubt = true);
        }
        let written = writes[Side::Live as usize];
        if written > self.written && !self.is_faulty {
            self.written = written;
            for known in self.account.reports.values_mut() {
                known.fate_written = known.fate.is_some();
            }
        }
        if self.power.is_synced(Side::Live) {
            for known in self.account.reports.values_mut() {
                known.durable |= !known.in_doubt;
                known.fate_durable = known.fate_written;
            }
            self.unsynced_since = None;
        }
        if self.power.is_synced(Side::Dead) {
            self.account
                .letters
                .values_mut()
                .for_each(|(_, durable)| *durable = true);
        }
    }

    pub(crate) fn courier(&mut self) -> &mut Courier<Log, Vec<u8>> {
        self.courier.as_mut().expect("it is open")
    }

    pub(crate) fn open(&mut self) -> Result<(), LogError<DeviceError>> {
        self.begin();
        self.in_flight = None;
        self.courier = None;
        let log = self.setting.open(&self.power)?;
        self.courier = Some(Courier::new(log, Vec::new(), POLICY, self.now, 0));
        self.end();
        Ok(())
    }

    pub(crate) fn any_sample(&mut self) -> Sample {
        self.number += 1;
        let rng = &mut self.rng;
        let count = match rng.below(10) {
            0 => 3,
            1 | 2 => 2,
            _ => 1,
        };
        let mut jobs = Vec::new();
        for _ in 0..count {
            let status = match rng.below(6) {
                0 => JobStatus::Finish,
                1 => JobStatus::RunningException,
                _ => JobStatus::Running,
            };
            // Some change often, some come once, some have no id and are never superseded.
            let id = match rng.below(20) {
                0..=9 => 1 + rng.below(4) as i64,
                10 | 11 => 0,
                _ => 10 + rng.below(60) as i64,
            };
            jobs.push((id, status));
        }
        let (segment, _) = self.setting.limits[Side::Live as usize];
        let padding = match rng.below(40) {
            // One that needs a segment of its own.
            0 => segment.min(2048) / count,
            1 => segment.min(2048) / 2 / count,
            2..=9 => 50 + rng.below(150),
            _ => 0,
        };
        sample(self.number, &jobs, padding)
    }

    pub(crate) fn submit(&mut self) -> Result<Ticket, Failure> {
        let sample = self.any_sample();
        self.submit_this(sample)
    }

    pub(crate) fn submit_this(&mut self, sample: Sample) -> Result<Ticket, Failure> {
        self.begin();
        let (now, ledger) = (self.now, self.courier().status().ledger);
        let result = self.courier().submit_encoded(&sample.bytes, now);
        match &result {
            Ok(ticket) => {
                let durable = self.setting.durability == Durability::Each;
                let known = Known::new(sample, durable);
                let old = self.account.reports.insert(ticket.0, known);
                assert!(
                    old.is_none_or(|old| old.in_doubt),
                    "ticket {ticket} is used twice"
                );
                self.unsynced_since.get_or_insert(now);
                self.check_batch();
            }
            Err(CourierError::Outbox(LogError::Full)) => {
                self.full += 1;
                let now = self.courier().status().ledger;
                // Others may have been dropped, and it did not help.
                let superseded = now.superseded;
                assert_eq!(
                    now,
                    Ledger {
                        superseded,
                        ..ledger
                    },
                    "full, but something changed"
                );
            }
            Err(_) => self.account.maybe.push(sample),
        }
        self.end();
        result
    }

    /// No more may be lost than agreed.
    pub(crate) fn check_batch(&mut self) {
        if let Durability::Batch { reports, .. } = self.setting.durability
            && !self.power.is_synced(Side::Live)
            && !self.is_faulty
        {
            let unsynced = self
                .account
                .reports
                .values()
                .filter(|known| !known.durable)
                .count();
            assert!(unsynced < reports as usize, "{unsynced} are not synced");
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Ticket>, Failure> {
        self.begin();
        loop {
            let now = self.now;
            let wait = match self.courier().next(now)? {
                Step::Send(parcel) => {
                    let (ticket, body) = (parcel.ticket, parcel.body.to_vec());
                    self.check_parcel(ticket, &body);
                    break;
                }
                Step::Wait(ms) => ms,
                Step::Idle => {
                    assert!(self.in_flight.is_none());
                    break;
                }
            };
            self.now = self.now.plus_ms(wait);
        }
        if let (Durability::Batch { ms, .. }, Some(since)) =
            (self.setting.durability, self.unsynced_since)
        {
            let late = self.now.since(since) >= ms;
            assert!(
                !late || self.power.is_synced(Side::Live) || self.is_faulty,
                "too long unsynced"
            );
        }
        self.end();
        Ok(self.in_flight.as_ref().map(|(ticket, _)| *ticket))
    }

    pub(crate) fn check_parcel(&mut self, ticket: Ticket, body: &[u8]) {
        if !self.account.reports.contains_key(&ticket.0) {
            // Its submit failed, and it is there all the same.
            let mut maybe = self.account.maybe.iter();
            let sample = maybe.find(|sample| *sample.bytes == *body);
            let sample = sample.expect("it is invented").clone();
            self.account
                .reports
                .insert(ticket.0, Known::new(sample, false));
        }
        let known = self.account.reports.get_mut(&ticket.0).unwrap();
        let sample = known.sample.clone();
        assert_eq!(body, &*sample.bytes, "report {ticket}: wrong bytes");
        if known.fate.take().is_some() {
            assert!(!known.fate_written, "report {ticket} comes again");
            self.repeats += 1;
        }
        if let Some((before, _)) = self.in_flight {
            assert_eq!(before, ticket, "two in flight");
        }
        // What is passed over was superseded.
        let Account { reports, maybe, .. } = &self.account;
        for (number, known) in reports.range(..ticket.0) {
            let newer = || reports.range(number + 1..);
            let says = |key| {
                newer().any(|(_, other)| says_more(&other.sample.keys, key))
                    || maybe.iter().any(|other| says_more(&other.keys, key))
            };
            let keys = &known.sample.keys;
            let superseded = !keys.is_empty() && keys.iter().all(says);
            assert!(
                known.fate.is_some() || superseded || known.in_doubt,
                "report {number} is passed over"
            );
        }
        self.in_flight = Some((ticket, sample));
    }

    pub(crate) fn settle(&mut self, event: Event) -> Result<Option<Verdict>, Failure> {
        let Some((ticket, _)) = self.in_flight else {
            return Ok(None);
        };
        self.begin();
        let (now, entropy) = (self.now, self.rng.next());
        let verdict = self.courier().settle(ticket, event, now, entropy)?;
        let fate = match verdict {
            Verdict::Delivered => Some(Fate::Delivered),
            Verdict::Refused(reason) => Some(Fate::Refused(reason)),
            Verdict::GaveUp(reason) => Some(Fate::Expired(reason)),
            Verdict::Again { .. } | Verdict::Held { .. } => None,
        };
        self.account.reports.get_mut(&ticket.0).unwrap().fate = fate;
        self.in_flight = None;
        self.end();
        Ok(Some(verdict))
    }

    pub(crate) fn deliver(&mut self) -> Result<Option<Verdict>, Failure> {
        self.next()?;
        self.settle(answered(Outcome::Accepted, 200))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.begin();
        let result = self.courier().flush();
        assert!(result.is_err() || self.is_faulty || self.power.is_synced(Side::Live));
        self.end();
        result
    }

    pub(crate) fn resubmit(&mut self) -> Result<(), Failure> {
        self.begin();
        let now = self.now;
        let oldest = self.account.letters.keys().next().copied();
        let result = self.courier().resubmit_dead_letter(now);
        let sample = oldest.map(|oldest| self.account.reports[&oldest].sample.clone());
        match result {
            Ok(Some(ticket)) => {
                let durable = self.setting.durability == Durability::Each;
                let known = Known::new(sample.unwrap(), durable);
                self.account.reports.insert(ticket.0, known);
                self.unsynced_since.get_or_insert(now);
            }
            Ok(None) => assert!(sample.is_none(), "a dead letter is gone"),
            Err(_) => {
                self.account.maybe.extend(sample);
                self.account.forgotten.extend(oldest);
            }
        }
        self.end();
        result.map(|_| ())
    }

    pub(crate) fn forget(&mut self) -> Result<(), Failure> {
        let Some(oldest) = self.account.letters.keys().next().copied() else {
            return Ok(());
        };
        self.begin();
        let result = self.courier().forget_dead_letters(Ticket(oldest));
        if result.is_err() {
            self.account.forgotten.insert(oldest);
        }
        self.end();
        result
    }

    /// Anything, by the random numbers.
    pub(crate) fn mixed(&mut self, growing: usize) -> Result<(), Failure> {
        if self.rng.chance(growing) {
            return self.submit().map(|_| ());
        }
        match self.rng.below(20) {
            0..=9 => self.deliver().map(|_| ()),
            10..=12 => {
                self.next()?;
                self.settle(answered(Outcome::Refused, 400)).map(|_| ())
            }
            13..=15 => {
                self.next()?;
                self.settle(Event::NotSent).map(|_| ())
            }
            16 => self.flush(),
            17 => self.resubmit(),
            18 => self.forget(),
            _ if self.stays_open => Ok(()),
            _ => self.open().map_err(CourierError::Outbox),
        }
    }

    /// The account after the last step.
    pub(crate) fn finish(&mut self) {
        self.accounts.push(Arc::new(self.account.clone()));
    }
}

pub(crate) fn unless_full(result: Result<(), Failure>) {
    match result {
        Ok(()) | Err(CourierError::Outbox(LogError::Full)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// 200 and more operations: growing, mixed, full, drained to empty, and on again.
pub(crate) fn script(run: &mut Run) {
    run.open().unwrap();
    for _ in 0..12 {
        unless_full(run.submit().map(|_| ()));
    }
    for _ in 0..60 {
        unless_full(run.mixed(45));
    }
    let mut tries = 0;
    while run.full < 6 {
        unless_full(run.submit().map(|_| ()));
        tries += 1;
        assert!(tries < 500, "never full");
    }
    for _ in 0..10 {
        unless_full(run.mixed(30));
    }
    run.open().unwrap();
    while run.deliver().unwrap().is_some() {}
    run.open().unwrap();
    for _ in 0..3 {
        run.submit().unwrap();
    }
    while run.deliver().unwrap().is_some() {}
    while run.accounts.len() < 220 {
        unless_full(run.mixed(50));
    }
    run.finish();
}
