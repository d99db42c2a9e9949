//! The outbox on a device that loses power, and on one that rots.
//!
//! A scripted run is recorded once, with the state of the device at every moment at which the power can fail. From each
//! of them all states are made that could be left, and each is opened and drained.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use courier_common::device::{
    Cut, Device, DeviceError, Image, Images, Model, Power, Side, keep_unsynced,
};
use courier_common::{Rng, Sample, sample, says_more};
use edge_report::courier::{
    Courier, CourierError, Durability, Event, Fate, Ledger, LogError, LogOutbox, Outbox, Policy,
    Reason, Step, Ticket, Verdict,
};
use edge_report::{JobStatus, MonoTime, Outcome};

const MAX: usize = 8;
type Log = LogOutbox<Device, Device, MAX>;
type Failure = CourierError<LogError<DeviceError>>;

/// On what the outbox stands.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    /// What erased bytes are.
    blank: u8,
    /// Length of a segment and of all of them: of what waits, of the dead letters.
    limits: [(usize, usize); 2],
    durability: Durability,
    seed: u64,
}

impl Setting {
    fn power(&self) -> Power {
        Power::on(
            [Image::new(self.blank), Image::new(self.blank)],
            self.limits,
        )
    }

    fn open(&self, power: &Power) -> Result<Log, LogError<DeviceError>> {
        let (live, dead) = power.devices();
        Log::open(live, dead, self.durability)
    }
}

const EACH: Setting = Setting {
    name: "each, segments of 1 KiB",
    blank: 0,
    limits: [(1024, 6 * 1024), (1024, 3 * 1024)],
    durability: Durability::Each,
    seed: 1,
};

const SETTINGS: [Setting; 4] = [
    EACH,
    Setting {
        name: "each, segments of 8 KiB, erased to 0xff",
        blank: 0xff,
        limits: [(8192, 3 * 8192), (4096, 8192)],
        seed: 2,
        ..EACH
    },
    Setting {
        name: "in batches of 5, segments of 2 KiB",
        limits: [(2048, 5 * 2048), (2048, 2 * 2048)],
        durability: Durability::Batch {
            reports: 5,
            ms: 3_000,
        },
        seed: 3,
        ..EACH
    },
    Setting {
        name: "in batches of 8, segments of 4 KiB, erased to 0xff",
        blank: 0xff,
        limits: [(4096, 4 * 4096), (1024, 4 * 1024)],
        durability: Durability::Batch {
            reports: 8,
            ms: 10_000,
        },
        seed: 4,
    },
];

/// What is known of a report.
#[derive(Clone, Debug)]
struct Known {
    sample: Sample,
    /// Whether it must survive.
    durable: bool,
    fate: Option<Fate>,
    /// Whether something was written since it was settled: a full log may have no room for a mark.
    fate_written: bool,
    /// Whether it must not come again.
    fate_durable: bool,
}

impl Known {
    fn new(sample: Sample, durable: bool) -> Self {
        Known {
            sample,
            durable,
            fate: None,
            fate_written: false,
            fate_durable: false,
        }
    }
}

/// What is known of an outbox.
#[derive(Clone, Debug, Default)]
struct Account {
    reports: BTreeMap<u64, Known>,
    /// The dead letters: why, and whether they must survive.
    letters: BTreeMap<u64, (Reason, bool)>,
    ledger: Ledger,
    /// What may be there, since its submit failed.
    maybe: Vec<Sample>,
    /// How many reports are known to be lost that were not synced.
    holes: u64,
}

impl Account {
    /// The bytes that a report must have.
    fn bytes(&self, number: u64, found: &[u8]) -> Option<&[u8]> {
        let known = self.reports.get(&number).map(|known| &known.sample);
        let maybe = || self.maybe.iter().find(|sample| *sample.bytes == *found);
        known.or_else(maybe).map(|sample| &*sample.bytes)
    }
}

fn reason_of(fate: Option<Fate>) -> Option<Reason> {
    match fate {
        Some(Fate::Refused(reason) | Fate::Expired(reason)) => Some(reason),
        Some(Fate::Delivered) | None => None,
    }
}

fn settled(ledger: &Ledger) -> u64 {
    let Ledger {
        submitted: _,
        delivered,
        refused,
        superseded,
        expired,
        torn: _,
        corrupt,
    } = *ledger;
    delivered + refused + superseded + expired + corrupt
}

/// What was found behind a crash.
#[derive(Clone, Debug, Default)]
struct Found {
    waiting: BTreeSet<u64>,
    letters: BTreeSet<u64>,
    ledger: Ledger,
    /// Unsynced ones that are lost.
    holes: u64,
    /// Settled ones that came again.
    repeats: usize,
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

/// Opens and drains what is left of an outbox when the power failed between `before` and `after`.
fn check(
    setting: &Setting,
    images: Images,
    before: &Account,
    after: &Account,
) -> Result<Found, String> {
    let power = Power::on(images, setting.limits);
    let mut log = setting
        .open(&power)
        .map_err(|error| format!("does not open: {error}"))?;
    let mut buffer = vec![0; 8192];
    let found = Found {
        letters: check_letters(&mut log, before, after, &mut buffer)?,
        ledger: log.ledger(),
        ..Found::default()
    };
    let waiting = log.waiting();
    let found = drain(&mut log, found, before, after, &mut buffer)?;
    let lost = log.ledger().corrupt - found.ledger.corrupt;
    ensure!(
        found.waiting.len() as u64 + lost == waiting,
        "{waiting} wait, {} come, {lost} are counted as corrupt",
        found.waiting.len()
    );
    check_losses(setting, &found, lost, before, after)?;
    let found = Found {
        holes: lost,
        ..found
    };
    ensure!(
        found.ledger.submitted == settled(&found.ledger) + waiting,
        "{waiting} wait, {:?}",
        found.ledger
    );
    let end = log.ledger();
    ensure!(
        end.submitted == settled(&end) && log.waiting() == 0,
        "drained: {end:?}"
    );

    let mut kept = before.reports.iter().filter(|(_, known)| known.durable);
    let last = kept.next_back().map_or(0, |(number, _)| *number);
    let more = sample(1_000_000, &[(7, JobStatus::Finish)], 60);
    let ticket = log.append(&more.keys, &more.bytes, MonoTime(0));
    let ticket = ticket.map_err(|error| format!("takes no more: {error}"))?;
    ensure!(ticket.0 > last, "ticket {ticket} was used before");
    loop {
        let front = log.front().map_err(|error| error.to_string())?;
        let front = front.ok_or("what is submitted after a crash is not there")?;
        if log
            .read_front(&mut buffer)
            .map_err(|error| error.to_string())?
        {
            let same = front.ticket == ticket && buffer[..front.len] == *more.bytes;
            ensure!(same, "what is submitted after a crash is wrong");
            break;
        }
    }
    Ok(found)
}

fn check_letters(
    log: &mut Log,
    before: &Account,
    after: &Account,
    buffer: &mut [u8],
) -> Result<BTreeSet<u64>, String> {
    let mut letters = BTreeSet::new();
    let mut last = None;
    while let Some(letter) = log.dead_letter(last).map_err(|error| error.to_string())? {
        let Ticket(number) = letter.ticket;
        ensure!(
            last < Some(letter.ticket),
            "dead letter {number} is out of order"
        );
        last = Some(letter.ticket);
        if !log
            .read_dead_letter(letter.ticket, buffer)
            .map_err(|error| error.to_string())?
        {
            continue;
        }
        let bytes = after.bytes(number, &buffer[..letter.len]);
        let bytes = bytes.ok_or_else(|| format!("dead letter {number} is invented"))?;
        let there = before.letters.get(&number).or(after.letters.get(&number));
        let (reason, _) = there.ok_or_else(|| format!("dead letter {number} comes back"))?;
        ensure!(
            letter.reason == *reason,
            "dead letter {number}: wrong reason"
        );
        ensure!(
            buffer[..letter.len] == *bytes,
            "dead letter {number}: wrong bytes"
        );
        letters.insert(number);
    }
    for (number, (_, durable)) in &before.letters {
        let must = *durable && after.letters.contains_key(number);
        ensure!(
            !must || letters.contains(number),
            "dead letter {number} is lost"
        );
    }
    Ok(letters)
}

/// Takes all that waits, as delivered.
fn drain(
    log: &mut Log,
    mut found: Found,
    before: &Account,
    after: &Account,
    buffer: &mut [u8],
) -> Result<Found, String> {
    let mut last = 0;
    while let Some(front) = log.front().map_err(|error| error.to_string())? {
        let Ticket(number) = front.ticket;
        let again = log.front().map_err(|error| error.to_string())?;
        ensure!(
            again == Some(front),
            "the front changes: {front:?}, {again:?}"
        );
        if !log
            .read_front(&mut buffer[..front.len])
            .map_err(|error| error.to_string())?
        {
            continue;
        }
        ensure!(number > last, "report {number} comes after {last}");
        last = number;
        let bytes = after.bytes(number, &buffer[..front.len]);
        let bytes = bytes.ok_or_else(|| format!("report {number} is invented"))?;
        ensure!(
            buffer[..front.len] == *bytes,
            "report {number}: wrong bytes"
        );
        ensure!(
            !before
                .reports
                .get(&number)
                .is_some_and(|known| known.fate_durable),
            "report {number} comes again though its settling was synced"
        );
        let known = after.reports.get(&number);
        found.repeats += usize::from(known.is_some_and(|known| known.fate.is_some()));
        found.waiting.insert(number);
        let settled = log.settle_front(Fate::Delivered, &buffer[..front.len]);
        settled.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// Whether all that must be there is there.
fn check_losses(
    setting: &Setting,
    found: &Found,
    corrupt: u64,
    before: &Account,
    after: &Account,
) -> Result<(), String> {
    let fate = |number: &u64| after.reports.get(number).and_then(|known| known.fate);
    let mut missing = 0;
    for (number, known) in &before.reports {
        if found.waiting.contains(number) || !known.durable {
            continue;
        }
        if let Some(fate) = fate(number) {
            // What a crash took out of the dead letters must come again.
            let letter = before.letters.contains_key(number) || after.letters.contains_key(number);
            let is_dead = fate != Fate::Delivered && after.letters.contains_key(number);
            ensure!(
                !letter || !is_dead || found.letters.contains(number),
                "refused report {number} is neither a dead letter nor waits"
            );
            continue;
        }
        missing += 1;
        let newer = || after.reports.range(number + 1..);
        let covered = known.sample.keys.iter().all(|key| {
            newer().any(|(newer, other)| {
                let counts = found.waiting.contains(newer) || other.fate.is_some();
                counts && says_more(&other.sample.keys, key)
            })
        });
        ensure!(
            !known.sample.keys.is_empty() && covered,
            "report {number} is lost"
        );
    }
    ensure!(
        missing <= found.ledger.superseded,
        "{missing} reports are lost, {} count as superseded",
        found.ledger.superseded
    );
    let durable = |number| {
        before
            .reports
            .get(number)
            .is_some_and(|known: &Known| known.durable)
    };
    let unsynced = after
        .reports
        .keys()
        .filter(|number| !durable(*number))
        .count() as u64;
    let most = match setting.durability {
        Durability::Each => 0,
        Durability::Batch { .. } => unsynced + before.holes,
    };
    ensure!(
        corrupt <= most && found.ledger.corrupt <= before.ledger.corrupt + most,
        "{corrupt} count as corrupt, {:?}",
        found.ledger
    );
    let Ledger {
        submitted,
        delivered,
        refused,
        superseded,
        expired,
        torn,
        corrupt: _,
    } = found.ledger;
    let most = after.ledger;
    ensure!(
        submitted <= most.submitted.max(before.ledger.submitted)
            && delivered <= most.delivered
            && refused <= most.refused
            && superseded <= most.superseded
            && expired <= most.expired
            && torn <= before.ledger.torn + 1 + unsynced,
        "{:?} though it was {most:?}",
        found.ledger
    );
    Ok(())
}

/// Drives an outbox and keeps the account.
struct Run {
    setting: Setting,
    power: Power,
    courier: Option<Courier<Log, Vec<u8>>>,
    now: MonoTime,
    rng: Rng,
    account: Account,
    /// The account before each step, and after the last.
    accounts: Vec<Arc<Account>>,
    number: u64,
    full: usize,
    /// How many writes there were of what waits.
    written: u64,
    /// How many came again without a crash: a full log had no room for a mark.
    repeats: usize,
    /// The one in flight.
    in_flight: Option<(Ticket, Sample)>,
    unsynced_since: Option<MonoTime>,
}

const POLICY: Policy = Policy {
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

fn answered(outcome: Outcome, status: u16) -> Event {
    Event::Answered {
        outcome,
        status,
        retry_after_ms: None,
        clock_skew_ms: None,
    }
}

impl Run {
    fn new(setting: Setting, power: Power, account: Account, seed: u64) -> Self {
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
        }
    }

    /// Before each step.
    fn begin(&mut self) {
        self.power.step(self.accounts.len());
        self.accounts.push(Arc::new(self.account.clone()));
    }

    /// After each step.
    fn end(&mut self) {
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
        let written = self.power.counters().writes[Side::Live as usize];
        if written > self.written {
            self.written = written;
            for known in self.account.reports.values_mut() {
                known.fate_written = known.fate.is_some();
            }
        }
        if self.power.is_synced(Side::Live) {
            for known in self.account.reports.values_mut() {
                known.durable = true;
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

    fn courier(&mut self) -> &mut Courier<Log, Vec<u8>> {
        self.courier.as_mut().expect("it is open")
    }

    fn open(&mut self) -> Result<(), LogError<DeviceError>> {
        self.begin();
        self.in_flight = None;
        self.courier = None;
        let log = self.setting.open(&self.power)?;
        self.courier = Some(Courier::new(log, Vec::new(), POLICY, self.now, 0));
        self.end();
        Ok(())
    }

    fn any_sample(&mut self) -> Sample {
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

    fn submit(&mut self) -> Result<Ticket, Failure> {
        let sample = self.any_sample();
        self.submit_this(sample)
    }

    fn submit_this(&mut self, sample: Sample) -> Result<Ticket, Failure> {
        self.begin();
        let (now, ledger) = (self.now, self.courier().status().ledger);
        let result = self.courier().submit_encoded(&sample.bytes, now);
        match &result {
            Ok(ticket) => {
                let durable = self.setting.durability == Durability::Each;
                let known = Known::new(sample, durable);
                let old = self.account.reports.insert(ticket.0, known);
                assert!(old.is_none(), "ticket {ticket} is used twice");
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
    fn check_batch(&mut self) {
        if let Durability::Batch { reports, .. } = self.setting.durability
            && !self.power.is_synced(Side::Live)
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

    fn next(&mut self) -> Result<Option<Ticket>, Failure> {
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
                !late || self.power.is_synced(Side::Live),
                "too long unsynced"
            );
        }
        self.end();
        Ok(self.in_flight.as_ref().map(|(ticket, _)| *ticket))
    }

    fn check_parcel(&mut self, ticket: Ticket, body: &[u8]) {
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
        let reports = &self.account.reports;
        for (number, known) in reports.range(..ticket.0) {
            let newer = || reports.range(number + 1..);
            let says = |key| newer().any(|(_, other)| says_more(&other.sample.keys, key));
            let keys = &known.sample.keys;
            let superseded = !keys.is_empty() && keys.iter().all(says);
            assert!(
                known.fate.is_some() || superseded,
                "report {number} is passed over"
            );
        }
        self.in_flight = Some((ticket, sample));
    }

    fn settle(&mut self, event: Event) -> Result<Option<Verdict>, Failure> {
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

    fn deliver(&mut self) -> Result<Option<Verdict>, Failure> {
        self.next()?;
        self.settle(answered(Outcome::Accepted, 200))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.begin();
        let result = self.courier().flush();
        assert!(result.is_err() || self.power.is_synced(Side::Live));
        self.end();
        result
    }

    fn resubmit(&mut self) -> Result<(), Failure> {
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
            Err(_) => self.account.maybe.extend(sample),
        }
        self.end();
        result.map(|_| ())
    }

    fn forget(&mut self) -> Result<(), Failure> {
        let Some(oldest) = self.account.letters.keys().next().copied() else {
            return Ok(());
        };
        self.begin();
        let result = self.courier().forget_dead_letters(Ticket(oldest));
        self.end();
        result
    }

    /// Anything, by the random numbers.
    fn mixed(&mut self, growing: usize) -> Result<(), Failure> {
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
            _ => self.open().map_err(CourierError::Outbox),
        }
    }

    /// The account after the last step.
    fn finish(&mut self) {
        self.accounts.push(Arc::new(self.account.clone()));
    }
}

fn unless_full(result: Result<(), Failure>) {
    match result {
        Ok(()) | Err(CourierError::Outbox(LogError::Full)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// 200 and more operations: growing, mixed, full, drained to empty, and on again.
fn script(run: &mut Run) {
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

#[derive(Debug, Default)]
struct Tally {
    states: BTreeMap<Model, usize>,
    repeats: usize,
    second: usize,
}

/// The first failures are told, the rest counted.
#[derive(Default)]
struct Failures(Mutex<(usize, BTreeMap<String, String>)>);

impl Failures {
    fn note(&self, failure: &str, place: impl Fn() -> String) {
        let kind: String = failure.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut failures = self.0.lock().unwrap();
        failures.0 += 1;
        failures
            .1
            .entry(kind)
            .or_insert_with(|| format!("{failure}: {}", place()));
    }

    fn end(self) {
        let (count, kinds) = self.0.into_inner().unwrap();
        assert_eq!(
            count,
            0,
            "failed states:\n{:#?}",
            kinds.values().collect::<Vec<_>>()
        );
    }
}

fn dump(images: &Images) -> String {
    let mut out = String::new();
    if std::env::var("H6DUMP").is_err() {
        return out;
    }
    for (side, image) in images.iter().enumerate() {
        for (id, len) in image.lens() {
            let bytes = image.bytes(id);
            let n = |o: usize| u32::from_le_bytes(bytes[o..o + 4].try_into().unwrap());
            let head = if &bytes[..6] == b"EDGLOG" {
                format!("{}..{} next {} cursor {}", n(8), n(12), n(16), n(24))
            } else {
                "no header".into()
            };
            out += &format!("\n   {side}/{id} {len}: {head}:");
            for o in (192..len - 24).step_by(8) {
                if bytes[o..o + 2] == [0x1e, 1] {
                    out += &format!(
                        " {}@{o}+{} {}",
                        ["", "R", "M", "G", "D", "C"][bytes[o + 2] as usize],
                        n(o + 4),
                        n(o + 8)
                    );
                    if bytes[o + 2] == 3 {
                        out += &format!("-{}", n(o + 24));
                    }
                }
            }
        }
    }
    out
}

/// A panic is a failure like the others.
fn guarded<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a panic").to_owned())
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Gives each cut to one of several threads.
fn in_threads<T: Sync>(items: &[T], each: impl Fn(usize, &T) + Sync) {
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                while let Some(item) = items.get(taken.fetch_add(1, Ordering::Relaxed)) {
                    each(taken.load(Ordering::Relaxed), item);
                }
            });
        }
    });
}

/// The account of a recovered outbox: what is there is there for good.
fn account_after(found: &Found, before: &Account, known: &Account) -> Account {
    let mut account = known.clone();
    // What was not stored gives its ticket to the next.
    let durable = |number: &u64| {
        before
            .reports
            .get(number)
            .is_some_and(|known: &Known| known.durable)
    };
    let stored = |number: &u64| durable(number) || found.waiting.contains(number);
    account.reports.retain(|number, _| stored(number));
    for (number, known) in &mut account.reports {
        let is_there = found.waiting.contains(number);
        known.durable = is_there;
        known.fate_written = !is_there;
        known.fate_durable = !is_there;
        known.fate = match known.fate {
            _ if is_there => None,
            // Superseded or never stored: not to come again.
            None => Some(Fate::Delivered),
            fate => fate,
        };
    }
    let reason = |number| {
        let letter = before.letters.get(number).or(known.letters.get(number));
        letter.map_or(Reason::Status(0), |(reason, _)| *reason)
    };
    let letters = found
        .letters
        .iter()
        .map(|number| (*number, (reason(number), true)));
    account.letters = letters.collect();
    account.ledger = found.ledger;
    account.holes = found.holes;
    account
}

/// The power fails again while the outbox recovers from a crash, and a little later.
fn crash_again(
    setting: &Setting,
    images: &Images,
    found: &Found,
    before: &Account,
    known: &Account,
    seed: u64,
    failures: &Failures,
) -> usize {
    let account = account_after(found, before, known);
    let power = Power::on(images.clone(), setting.limits);
    power.record();
    let mut run = Run::new(*setting, power, account, seed);
    run.open().unwrap();
    unless_full(run.submit().map(|_| ()));
    run.deliver().unwrap();
    unless_full(run.submit().map(|_| ()));
    run.finish();
    let mut states = 0;
    for cut in run.power.cuts() {
        let (before, after) = (&run.accounts[cut.step], &run.accounts[cut.step + 1]);
        let mut number = 0;
        cut.states(1, &mut |model, images| {
            number += 1;
            // Of the torn ones a sample.
            if model == Model::Torn && !(number + seed).is_multiple_of(16) {
                return;
            }
            states += 1;
            let copy = images.clone();
            if let Err(failure) = guarded(|| check(setting, images, before, after)) {
                failures.note(&format!("second crash: {failure}"), || {
                    format!(
                        "{}, step {}, {model:?}, {}{}",
                        setting.name,
                        cut.step,
                        cut.call(),
                        dump(&copy)
                    )
                });
            }
        });
    }
    states
}

fn power_cuts(setting: &Setting, failures: &Failures) -> Tally {
    let power = setting.power();
    power.record();
    let mut run = Run::new(*setting, power, Account::default(), setting.seed);
    script(&mut run);
    let cuts = run.power.cuts();
    let counters = run.power.counters();
    let steps = run.accounts.len() - 1;
    assert!(steps >= 200, "only {steps} operations");
    assert!(run.account.ledger.superseded > 0 && run.account.ledger.refused > 0);
    for (most, (segment, all)) in counters.most.iter().zip(setting.limits) {
        assert!(*most <= all + segment, "{most} bytes in use, {all} allowed");
    }
    println!(
        "{}: {steps} operations, {} cut points, {counters:?}",
        setting.name,
        cuts.len()
    );
    println!("  {:?}", run.account.ledger);
    let accounts = run.accounts;

    let tally = Mutex::new(Tally::default());
    in_threads(&cuts, |index, cut: &Cut| {
        let (before, after) = (&accounts[cut.step], &accounts[cut.step + 1]);
        let mut here = Tally::default();
        let mut number = index;
        cut.states(6, &mut |model, images| {
            number += 1;
            *here.states.entry(model).or_default() += 1;
            let copy = images.clone();
            let result = guarded(|| {
                let found = check(setting, images.clone(), before, after)?;
                here.repeats = here.repeats.max(found.repeats);
                if number % 400 == 0 {
                    let seed = number as u64;
                    here.second +=
                        crash_again(setting, &images, &found, before, after, seed, failures);
                }
                Ok(())
            });
            if let Err(failure) = result {
                failures.note(&failure, || {
                    format!(
                        "{}, step {}, {model:?}, {}{}",
                        setting.name,
                        cut.step,
                        cut.call(),
                        dump(&copy)
                    )
                });
            }
        });
        let mut tally = tally.lock().unwrap();
        for (model, states) in here.states {
            *tally.states.entry(model).or_default() += states;
        }
        tally.repeats = tally.repeats.max(here.repeats);
        tally.second += here.second;
    });
    tally.into_inner().unwrap()
}

#[test]
fn power_cuts_lose_nothing() {
    let start = Instant::now();
    let failures = Failures::default();
    let mut total = 0;
    for setting in &SETTINGS {
        let tally = power_cuts(setting, &failures);
        println!(
            "  states {:?}, repeats {} at the most",
            tally.states, tally.repeats
        );
        println!(
            "  second crash: {} states, {:?}",
            tally.second,
            start.elapsed()
        );
        total += tally.states.values().sum::<usize>() + tally.second;
    }
    println!("power cuts: {total} states in {:?}", start.elapsed());
    failures.end();
    assert!(total >= 100_000, "{total} states");
}

/// Some segments: what waits, what is settled, dead letters; and the run that made them.
fn filled(setting: Setting) -> Run {
    let mut run = Run::new(setting, setting.power(), Account::default(), setting.seed);
    run.open().unwrap();
    let mut number = 0;
    let mut some = |run: &mut Run, count: usize| {
        for _ in 0..count {
            number += 1;
            let jobs = [
                (number, JobStatus::Running),
                (number + 100, JobStatus::Finish),
            ];
            let jobs = &jobs[..1 + number as usize % 2];
            let sample = sample(number as u64, jobs, 20 * (number as usize % 4));
            run.submit_this(sample).unwrap();
        }
    };
    some(&mut run, 8);
    run.deliver().unwrap();
    run.deliver().unwrap();
    for _ in 0..3 {
        run.next().unwrap();
        run.settle(answered(Outcome::Refused, 422)).unwrap();
    }
    some(&mut run, 5);
    run.deliver().unwrap();
    some(&mut run, 1);
    run
}

/// Opens, drains and uses an outbox with a flipped bit.
fn check_rot(
    setting: &Setting,
    images: Images,
    sound: &Found,
    account: &Account,
) -> Result<usize, String> {
    let power = Power::on(images, setting.limits);
    let error = |error: LogError<DeviceError>| error.to_string();
    let mut buffer = vec![0; 8192];
    let mut log = setting.open(&power).map_err(error)?;
    let mut letters = BTreeSet::new();
    let mut last = None;
    while let Some(letter) = log.dead_letter(last).map_err(error)? {
        last = Some(letter.ticket);
        if log
            .read_dead_letter(letter.ticket, &mut buffer)
            .map_err(error)?
        {
            let known = account
                .reports
                .get(&letter.ticket.0)
                .ok_or("an invented dead letter")?;
            let same = buffer[..letter.len] == *known.sample.bytes;
            ensure!(same, "dead letter {}: wrong bytes", letter.ticket);
            ensure!(
                Some(letter.reason) == reason_of(known.fate),
                "dead letter: wrong reason"
            );
            letters.insert(letter.ticket.0);
        }
    }
    let (ledger, waiting) = (log.ledger(), log.waiting());
    ensure!(
        ledger.submitted == settled(&ledger) + waiting,
        "{waiting} wait, {ledger:?}"
    );
    let mut seen = BTreeSet::new();
    while let Some(front) = log.front().map_err(error)? {
        if log.read_front(&mut buffer[..front.len]).map_err(error)? {
            let known = account
                .reports
                .get(&front.ticket.0)
                .ok_or("an invented report")?;
            let same = buffer[..front.len] == *known.sample.bytes;
            ensure!(same, "report {}: wrong bytes", front.ticket);
            ensure!(seen.last() < Some(&front.ticket.0), "out of order");
            seen.insert(front.ticket.0);
            log.settle_front(Fate::Delivered, &[]).map_err(error)?;
        }
    }
    let ledger = log.ledger();
    ensure!(
        ledger.submitted == settled(&ledger) && log.waiting() == 0,
        "drained: {ledger:?}"
    );
    let lost = sound.waiting.difference(&seen).count();
    ensure!(lost <= 1, "{lost} reports are lost");
    let lost = lost + sound.letters.difference(&letters).count();
    ensure!(lost <= 1, "{lost} reports and dead letters are lost");
    let back = letters.difference(&sound.letters).count();
    ensure!(back == 0, "{back} forgotten dead letters come back");
    // It goes on, and what it stores then survives.
    let mut more = BTreeSet::new();
    for number in 0..3 {
        let sample = sample(
            1_000_000 + number,
            &[(number as i64, JobStatus::Finish)],
            60,
        );
        let ticket = log
            .append(&sample.keys, &sample.bytes, MonoTime(0))
            .map_err(error)?;
        more.insert((ticket.0, sample.bytes.to_vec()));
    }
    drop(log);
    let mut log = setting.open(&power).map_err(error)?;
    while let Some(front) = log.front().map_err(error)? {
        if log.read_front(&mut buffer[..front.len]).map_err(error)? {
            let is_new = more.remove(&(front.ticket.0, buffer[..front.len].to_vec()));
            ensure!(
                is_new || seen.contains(&front.ticket.0),
                "report {} comes again",
                front.ticket
            );
            log.settle_front(Fate::Delivered, &[]).map_err(error)?;
        }
    }
    ensure!(
        more.is_empty(),
        "{} reports submitted later are lost",
        more.len()
    );
    Ok(seen.difference(&sound.waiting).count())
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let start = Instant::now();
    let failures = Failures::default();
    let small = Setting {
        limits: [(512, 12 * 512), (512, 4 * 512)],
        ..EACH
    };
    let small = Setting {
        name: "segments of 512 bytes",
        ..small
    };
    let erased = Setting {
        name: "segments of 2 KiB, erased to 0xff",
        blank: 0xff,
        ..EACH
    };
    let erased = Setting {
        limits: [(2048, 4 * 2048), (512, 2048)],
        ..erased
    };
    let mut total = 0;
    for setting in [small, erased] {
        let run = filled(setting);
        total += rot(&setting, &run.power.images(), &run.account, 1, &failures);
    }
    // With segments that were merged, and what is left of reports that were dropped.
    let mut run = Run::new(EACH, EACH.power(), Account::default(), EACH.seed);
    run.open().unwrap();
    let mut images = None;
    while run.full < 4 || run.account.ledger.superseded < 4 {
        unless_full(run.mixed(80));
        if run.account.ledger.superseded >= 4 {
            images.get_or_insert_with(|| (run.power.images(), run.account.clone()));
        }
    }
    let (images, account) = images.expect("something was superseded");
    total += rot(&EACH, &images, &account, 3, &failures);
    total += rot(&EACH, &run.power.images(), &run.account, 3, &failures);
    println!("bit rot: {total} flips in {:?}", start.elapsed());
    failures.end();
}

fn rot(
    setting: &Setting,
    images: &Images,
    account: &Account,
    step: usize,
    failures: &Failures,
) -> usize {
    let images = keep_unsynced(images);
    let sound = check(setting, images.clone(), account, account).expect("it is sound");
    let mut flips = Vec::new();
    for side in [Side::Live, Side::Dead] {
        for (id, len) in images[side as usize].lens() {
            flips.extend((0..len * 8).step_by(step).map(|bit| (side, id, bit)));
        }
    }
    let repeats = AtomicUsize::new(0);
    in_threads(&flips, |_, &(side, id, bit)| {
        let mut images = images.clone();
        images[side as usize].flip(id, bit);
        let copy = images.clone();
        match guarded(|| check_rot(setting, images, &sound, account)) {
            Ok(again) => {
                repeats.fetch_max(again, Ordering::Relaxed);
            }
            Err(failure) => failures.note(&failure, || {
                let (byte, bit) = (bit / 8, bit % 8);
                format!(
                    "{}, {side:?} {id}, byte {byte}, bit {bit}{}",
                    setting.name,
                    dump(&copy)
                )
            }),
        }
    });
    println!(
        "{}: {} wait, {} dead letters, {} flips, {repeats:?} repeats at the most",
        setting.name,
        sound.waiting.len(),
        sound.letters.len(),
        flips.len()
    );
    flips.len()
}
