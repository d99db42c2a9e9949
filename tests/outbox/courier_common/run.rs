//! Drives an outbox at random, and keeps the account.

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_report::courier::{
    Cause, Counters, Disposition, Durability, Forget, Outbox, OutboxError, Reason, Ticket,
    WhenLettersFull,
};
use edge_report::{Code, JobStatus, MonoTime, Outcome, WallTime};

use super::account::{Account, Failure, Known, Log, Setting, reason_of, settled};
use super::device::{Accesses, Power, Side};
use super::{Rng, Sample, sample, says_more};

/// Drives an outbox and keeps the account.
pub(crate) struct Run {
    pub(crate) setting: Setting,
    pub(crate) power: Power,
    pub(crate) log: Option<Log>,
    pub(crate) now: MonoTime,
    pub(crate) rng: Rng,
    pub(crate) account: Account,
    /// The account before each step, and after the last.
    pub(crate) accounts: Vec<Arc<Account>>,
    pub(crate) number: u64,
    pub(crate) full: usize,
    /// How many letters there was no room for.
    pub(crate) letters_full: usize,
    /// How many writes there were of what waits.
    pub(crate) written: u64,
    pub(crate) unsynced_since: Option<MonoTime>,
    /// Whether the device fails at times. What was settled may then come again.
    pub(crate) is_faulty: bool,
    /// Whether a restart would forget that a sync failed.
    pub(crate) stays_open: bool,
    pub(crate) failed: u64,
}

/// A reason unlike that of another `number`.
pub(crate) fn reason(number: u64) -> Reason {
    match number % 3 {
        0 => Reason::response(Outcome::Refused, 400).with_error_code("DLI.0001"),
        1 => Reason::failed(Code::MayHaveArrived).with_text("timeout"),
        _ => {
            let mut reason = Reason::response(Outcome::TryAgain, 503).with_text("busy");
            reason.cause = Cause::Failed(Code::Overtaken);
            reason
        }
    }
}

impl Run {
    pub(crate) fn new(setting: Setting, power: Power, account: Account, seed: u64) -> Self {
        Run {
            setting,
            power,
            log: None,
            now: MonoTime::from_ms(0),
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
            letters_full: 0,
            written: 0,
            unsynced_since: None,
            is_faulty: false,
            stays_open: false,
            failed: 0,
        }
    }

    /// Before each step.
    pub(crate) fn begin(&mut self) {
        self.now = self.now.plus_ms(self.rng.next() % 400);
        self.power.step(self.accounts.len());
        self.accounts.push(Arc::new(self.account.clone()));
    }

    /// After each step.
    pub(crate) fn end(&mut self) {
        if self.log.is_some() {
            self.check();
        }
        let Accesses { writes, failed, .. } = self.power.accesses();
        if failed > self.failed {
            self.failed = failed;
            let unsynced = self.account.reports.values_mut().filter(|k| !k.durable);
            unsynced.for_each(|known| known.in_doubt = true);
        }
        let written = writes[Side::Live as usize];
        if written > self.written && !self.is_faulty {
            self.written = written;
            for known in self.account.reports.values_mut() {
                known.fate_written = known.disposition.is_some();
            }
        }
        if self.power.is_synced(Side::Live) {
            self.synced();
        }
    }

    fn synced(&mut self) {
        for known in self.account.reports.values_mut() {
            known.durable |= !known.in_doubt;
            known.fate_durable = known.fate_written;
        }
        self.unsynced_since = None;
    }

    /// What the outbox says of itself.
    fn check(&mut self) {
        let log = self.log.as_mut().unwrap();
        let counters = log.counters();

        assert_eq!(
            counters.submitted,
            settled(&counters) + log.waiting(),
            "{counters:?}, {} wait",
            log.waiting()
        );
        let was = std::mem::replace(&mut self.account.counters, counters);
        let (mut last, mut count) = (None, 0);
        while let Some(front) = log.next(last).unwrap() {
            last = Some(front.ticket);
            count += 1;
        }
        // What a failed sync threw away is missed only at the end.
        let waiting = log.waiting();
        assert!(
            waiting == count || self.is_faulty && waiting > count,
            "{waiting} wait, {count} come"
        );
        let known = self.account.corrupt;
        assert!(
            self.is_faulty || counters.corrupt <= known,
            "{counters:?}, was {was:?}"
        );
        let mut now = BTreeMap::new();
        let (mut last, mut count) = (None, 0);
        let mut buffer = vec![0; 16384];
        while let Some(letter) = log.dead_letter(last).unwrap() {
            let number = letter.ticket.0;
            assert!(log.read_dead_letter(letter.ticket, &mut buffer).unwrap());
            let known = &self.account.reports[&number];
            assert_eq!(buffer[..letter.len], *known.sample.bytes);
            let expected = self.account.letters.get(&number).copied();
            let expected = expected
                .or(reason_of(known.disposition))
                .or(known.trying)
                .or(known.half_buried);
            assert_eq!(Some(letter.reason), expected, "letter {number}");
            let place = count;
            count += 1;
            last = Some(letter.ticket);
            if known.disposition.is_none() && !self.account.letters.contains_key(&number) {
                // It is not known to be durable, and its report waits.
                continue;
            }
            assert!(now.insert(number, (place, letter.reason)).is_none());
        }
        assert_eq!(counters.letters, count as u64, "{counters:?}");
        self.account.order = {
            let mut order: Vec<_> = now.iter().map(|(n, (place, _))| (*place, *n)).collect();
            order.sort_unstable();
            order.into_iter().map(|(_, number)| number).collect()
        };
        self.account.letters = now
            .into_iter()
            .map(|(n, (_, reason))| (n, reason))
            .collect();
    }

    pub(crate) fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("it is open")
    }

    /// Without closing it: as after a kill.
    pub(crate) fn open(&mut self) -> Result<(), Failure> {
        self.begin();
        self.log = None;
        let log = self.setting.open(&self.power)?;
        self.log = Some(log);
        self.came_back();
        self.end();
        Ok(())
    }

    /// What waits after a restart: what was settled and not noted may wait again.
    fn came_back(&mut self) {
        let mut last = None;
        let log = self.log.as_mut().unwrap();
        let mut waiting = Vec::new();
        while let Some(front) = log.next(last).unwrap() {
            waiting.push(front.ticket.0);
            last = Some(front.ticket);
        }
        for number in &waiting {
            let Some(known) = self.account.reports.get_mut(number) else {
                // Its submit failed, and it is there anyway.
                continue;
            };
            if let Some(disposition) = known.disposition.take() {
                known.half_buried = reason_of(Some(disposition)).or(known.half_buried);
                assert!(
                    !known.fate_written || self.is_faulty,
                    "report {number} comes again"
                );
            }
        }
        for (number, known) in &mut self.account.reports {
            // A letter that was durable settles its report.
            if known.disposition.is_none() && known.trying.is_some() && !waiting.contains(number) {
                known.disposition = known.trying.take().map(Disposition::Refused);
            }
        }
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
                0 => JobStatus::FINISH,
                1 => JobStatus::RUNNING_EXCEPTION,
                _ => JobStatus::RUNNING,
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
        let result = self.append(&sample);
        self.end();
        result
    }

    fn append(&mut self, sample: &Sample) -> Result<Ticket, Failure> {
        let (now, counters) = (self.now, self.log().counters());
        let wall = Some(WallTime::from_unix_ms(1_600_000_000_000 + now.ms() as i64));
        self.power.was_synced(Side::Live);
        let result = self.log().append(&sample.keys, &sample.bytes, now, wall);
        if self.power.was_synced(Side::Live) {
            // Before what is new was written, perhaps to make room for it.
            self.synced();
        }
        match &result {
            Ok(ticket) => {
                let durable = self.setting.durability == Durability::Each;
                let known = Known::new(sample.clone(), durable);
                let old = self.account.reports.insert(ticket.0, known);
                assert!(old.is_none(), "ticket {ticket} is used twice");
                self.unsynced_since.get_or_insert(now);
                self.check_batch();
            }
            Err(OutboxError::Full) => {
                self.full += 1;
                let mut now = self.log().counters();
                // Others may have been dropped, and it did not help.
                now.superseded = counters.superseded;
                assert_eq!(now, counters, "full, but something changed");
            }
            Err(_) => self.account.maybe.push(sample.clone()),
        }
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

    /// The front, or with some luck one of those after it; and its bytes.
    pub(crate) fn next(&mut self, ahead: bool) -> Result<Option<(Ticket, Vec<u8>)>, Failure> {
        let now = self.now;
        self.log().tick(now)?;
        if let (Durability::Batch { ms, .. }, Some(since)) =
            (self.setting.durability, self.unsynced_since)
        {
            let late = now.since_ms(since) >= ms;
            assert!(
                !late || self.power.is_synced(Side::Live) || self.is_faulty,
                "too long unsynced"
            );
        }
        let passes = if ahead { self.rng.below(6) } else { 0 };
        let mut front = self.log().next(None)?;
        for _ in 0..passes {
            let Some(passed) = front else { break };
            match self.log().next(Some(passed.ticket))? {
                Some(next) if self.log().room_ahead() > 1 => front = Some(next),
                _ => break,
            }
        }
        let Some(front) = front else {
            return Ok(None);
        };
        let mut bytes = vec![0; front.len];
        assert!(self.log().read(front.ticket, &mut bytes)?);
        self.check_report(front.ticket, &bytes, passes == 0);
        Ok(Some((front.ticket, bytes)))
    }

    pub(crate) fn check_report(&mut self, ticket: Ticket, body: &[u8], is_front: bool) {
        if !self.account.reports.contains_key(&ticket.0) {
            // Its submit failed, and it is there anyway.
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
        assert!(known.disposition.is_none(), "report {ticket} comes again");
        if !is_front {
            return;
        }
        // What is passed over was settled before, or is superseded.
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
                known.disposition.is_some() || superseded || known.in_doubt,
                "report {number} is passed over"
            );
        }
    }

    /// Settles the front, or one after it.
    pub(crate) fn settle(&mut self, ahead: bool, kind: Kind) -> Result<bool, Failure> {
        self.begin();
        let result = self.settle_one(ahead, kind);
        self.end();
        result
    }

    fn settle_one(&mut self, ahead: bool, kind: Kind) -> Result<bool, Failure> {
        let Some((ticket, bytes)) = self.next(ahead)? else {
            return Ok(false);
        };
        let reason = reason(ticket.0);
        let disposition = match kind {
            Kind::Deliver => Disposition::Delivered,
            Kind::Refuse => Disposition::Refused(reason),
            Kind::Expire => Disposition::Expired(reason),
        };
        let when_full = match self.rng.chance(50) {
            true => WhenLettersFull::Hold,
            false => WhenLettersFull::DropOldest,
        };
        let dropped = self.log().counters().letters_dropped;
        self.log().pin(Some(ticket));
        let known = self.account.reports.get_mut(&ticket.0).unwrap();
        known.trying = reason_of(Some(disposition));
        self.power.was_synced(Side::Live);
        let result = self.log().settle(ticket, disposition, &bytes, when_full);
        let has_failed = self.power.accesses().failed > self.failed;
        if self.power.was_synced(Side::Live) && !has_failed {
            // Before it was settled: a letter does not outlast its report.
            self.synced();
        }
        self.log().pin(None);
        if when_full == WhenLettersFull::Hold && !self.is_faulty {
            let now = self.log().counters().letters_dropped;
            assert_eq!(now, dropped, "a letter was dropped though none may be");
        }
        match result {
            Ok(()) => {
                let known = self.account.reports.get_mut(&ticket.0).unwrap();
                known.disposition = Some(disposition);
                known.trying = None;
                Ok(true)
            }
            Err(OutboxError::LettersFull) => {
                self.letters_full += 1;
                let known = self.account.reports.get_mut(&ticket.0).unwrap();
                if self.is_faulty {
                    known.half_buried = known.trying.or(known.half_buried);
                }
                Ok(true)
            }
            Err(error) => {
                let known = self.account.reports.get_mut(&ticket.0).unwrap();
                known.half_buried = reason_of(Some(disposition)).or(known.half_buried);
                Err(error)
            }
        }
    }

    pub(crate) fn deliver(&mut self) -> Result<bool, Failure> {
        self.settle(false, Kind::Deliver)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.begin();
        let result = self.log().flush();
        assert!(result.is_err() || self.is_faulty || self.power.is_synced(Side::Live));
        self.end();
        result
    }

    /// Ends it cleanly, and opens it or goes on.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        self.begin();
        let result = self.log().close();
        assert!(result.is_err() || self.is_faulty || self.power.is_synced(Side::Live));
        self.end();
        if result.is_ok() && !self.stays_open && self.rng.chance(50) {
            let last = self.log().counters();
            self.open()?;
            assert!(self.is_faulty || self.log().counters().torn == last.torn);
        }
        result
    }

    /// Submits a dead letter again, and forgets it.
    pub(crate) fn resubmit(&mut self) -> Result<(), Failure> {
        let Some(number) = self.any_letter() else {
            return Ok(());
        };
        let sample = self.account.reports[&number].sample.clone();
        self.begin();
        let dropped = self.log().counters().letters_dropped;
        let result = self.append(&sample).and_then(|_| {
            self.account.forgotten.insert(number);
            self.log().forget_dead_letters(Forget::One(Ticket(number)))
        });
        if !self.is_faulty {
            assert_eq!(self.log().counters().letters_dropped, dropped);
        }
        self.end();
        result
    }

    fn any_letter(&mut self) -> Option<u64> {
        let count = self.account.order.len();
        let place = match self.rng.chance(50) {
            true => 0,
            false => self.rng.below(count),
        };
        self.account.order.get(place).copied()
    }

    pub(crate) fn forget(&mut self) -> Result<(), Failure> {
        let Some(number) = self.any_letter() else {
            return Ok(());
        };
        self.begin();
        let which = match self.rng.chance(70) {
            true => Forget::One(Ticket(number)),
            false => Forget::UpTo(Ticket(number)),
        };
        let place = self
            .account
            .order
            .iter()
            .position(|n| *n == number)
            .unwrap();
        let gone = match which {
            Forget::One(_) => place..place + 1,
            Forget::UpTo(_) => 0..place + 1,
        };
        let gone: Vec<u64> = self.account.order[gone].to_vec();
        let before = self.account.order.len();
        self.account.forgotten.extend(gone.iter().copied());
        let result = self.log().forget_dead_letters(which);
        self.end();
        if result.is_ok() {
            assert!(gone.iter().all(|n| !self.account.letters.contains_key(n)));
            assert_eq!(self.account.order.len(), before - gone.len());
        }
        result
    }

    /// Anything, by the random numbers.
    pub(crate) fn mixed(&mut self, growing: usize) -> Result<(), Failure> {
        if self.rng.chance(growing) {
            return self.submit().map(|_| ());
        }
        match self.rng.below(24) {
            0..=8 => self.deliver().map(|_| ()),
            9..=12 => self.settle(true, Kind::Deliver).map(|_| ()),
            13..=15 => self.settle(false, Kind::Refuse).map(|_| ()),
            16 => self.settle(true, Kind::Refuse).map(|_| ()),
            17 => self.settle(true, Kind::Expire).map(|_| ()),
            18 => self.flush(),
            19 => self.close(),
            20 => self.resubmit(),
            21 => self.forget(),
            _ if self.stays_open => Ok(()),
            _ => self.open(),
        }
    }

    /// The account after the last step.
    pub(crate) fn finish(&mut self) {
        self.accounts.push(Arc::new(self.account.clone()));
    }
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deliver,
    Refuse,
    Expire,
}

pub(crate) fn unless_full(result: Result<(), Failure>) {
    match result {
        Ok(()) | Err(OutboxError::Full) => {}
        Err(error) => panic!("{error}"),
    }
}

/// 220 and more operations: growing, mixed, full, drained to empty, and on again.
pub(crate) fn script(run: &mut Run) {
    run.open().unwrap();
    for _ in 0..12 {
        unless_full(run.submit().map(|_| ()));
    }
    for _ in 0..80 {
        unless_full(run.mixed(45));
    }
    let mut tries = 0;
    while run.full < 6 {
        unless_full(run.submit().map(|_| ()));
        tries += 1;
        assert!(tries < 500, "never full");
    }
    for _ in 0..20 {
        unless_full(run.mixed(30));
    }
    run.open().unwrap();
    while run.deliver().unwrap() {}
    run.open().unwrap();
    for _ in 0..3 {
        let result = run.submit();
        assert!(result.is_ok(), "drained, and {result:?}, {:?}", run.log);
    }
    while run.deliver().unwrap() {}
    while run.accounts.len() < 240 {
        unless_full(run.mixed(50));
    }
    run.finish();
}
