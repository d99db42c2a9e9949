//! A log in which nothing waits takes whatever a new one takes: on the smallest devices, after any fillings, restarts and power cuts.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use courier_common::account::{EACH, Failure, Log, Setting};
use courier_common::device::{DeviceError, Fault, Images, Power, lose_some};
use courier_common::{Rng, Sample, sample};
use edge_report::courier::{
    Disposition, Durability, Outbox, OutboxError, Reason, Ticket, WhenLettersFull,
};
use edge_report::{JobStatus, MonoTime, Outcome};

/// Length of a segment, how many there are, and what lengths are multiples of.
const DEVICES: [(usize, usize, usize); 8] = [
    (1024, 2, 1024),
    (1024, 2, 256),
    (1024, 3, 1024),
    (2048, 2, 2048),
    (2048, 3, 256),
    (2048, 4, 2048),
    (4096, 2, 4096),
    (8192, 3, 8192),
];

struct World {
    setting: Setting,
    power: Power,
    log: Option<Log>,
    rng: Rng,
    number: u64,
    fillings: usize,
    /// Calls of the device fail now and then, in every way.
    has_faults: bool,
}

impl World {
    fn new(
        device: (usize, usize, usize),
        durability: Durability,
        seed: u64,
        has_faults: bool,
    ) -> Self {
        let (segment, count, unit) = device;
        let setting = Setting {
            limits: [(segment, count * segment), (2048, 3 * 2048)],
            units: (unit, 8),
            durability,
            seed,
            ..EACH
        };
        let power = setting.power();
        World {
            log: Some(setting.open(&power).unwrap()),
            setting,
            power,
            rng: Rng(seed),
            number: 0,
            fillings: 0,
            has_faults,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    /// A process that is killed, or a device whose power is cut.
    fn restart(&mut self) {
        self.log = None;
        if self.rng.chance(50) {
            let images = lose_some(&self.power.images(), self.rng.next());
            self.power = self.setting.power_on(images);
        }
        if let Ok(log) = self.setting.open(&self.power) {
            self.log = Some(log);
        } else {
            self.heal();
            self.log = Some(self.setting.open(&self.power).unwrap());
        }
    }

    /// Some of the next calls fail.
    fn fail(&mut self) {
        if !self.has_faults || self.rng.chance(85) {
            return;
        }
        let all = self.rng.chance(30);
        let kind = self.rng.below(3);
        self.power.fail(Some(Fault {
            first: self.power.accesses().calls + self.rng.next() % 8,
            count: 1 + self.rng.next() % 6,
            error: DeviceError::Io,
            part: self.rng.below(4),
            kinds: [0, 0, 1, 2].map(|other| all || other == kind),
        }));
    }

    fn heal(&self) {
        self.power.fail(None);
    }

    fn sample(&mut self, jobs: usize, padding: usize) -> Sample {
        self.number += 1;
        let job = 1 + i64::try_from(self.rng.below(jobs)).unwrap();
        let padding = self.rng.below(padding);
        sample(self.number, &[(job, JobStatus::RUNNING)], padding)
    }

    fn append(&mut self, sample: &Sample) -> Result<Ticket, Failure> {
        self.log()
            .append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None)
    }

    fn fill(&mut self, longest: usize) {
        let (jobs, padding) = (1 + self.rng.below(80), 1 + self.rng.below(longest));
        for _ in 0..self.rng.below(60) {
            if self.rng.chance(3) {
                self.restart();
            }
            self.fail();
            let sample = self.sample(jobs, padding);
            match self.append(&sample) {
                Ok(_) | Err(OutboxError::TooLarge) => {}
                Err(OutboxError::Device(_)) if self.has_faults => {}
                Err(OutboxError::Full) => {
                    self.fillings += 1;
                    assert!(
                        self.has_faults || self.log().waiting() > 0,
                        "full, and nothing waits"
                    );
                    return;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// Settles all: in order, or with some at the front left for later.
    fn drain(&mut self) {
        let (mut after, mut failed) = (None, 0);
        loop {
            if self.rng.chance(5) {
                self.restart();
            }
            let Some(next) = self.log().next(after).unwrap() else {
                if after.take().is_none() {
                    return;
                }
                continue;
            };
            self.fail();
            let mut bytes = vec![0; next.len];
            let is_whole = self.log().read(next.ticket, &mut bytes).unwrap();
            let disposition = match self.rng.below(10) {
                _ if !is_whole => Disposition::Corrupt,
                0 => Disposition::Refused(Reason::response(Outcome::Refused, 400)),
                1 => Disposition::Superseded,
                _ => Disposition::Delivered,
            };
            let when_full = WhenLettersFull::DropOldest;
            match self
                .log()
                .settle(next.ticket, disposition, &bytes, when_full)
            {
                // One that no letter can hold.
                Err(OutboxError::TooLarge) => self
                    .log()
                    .settle(next.ticket, Disposition::Delivered, &bytes, when_full)
                    .unwrap(),
                // What it could not discard it has no room for.
                Err(OutboxError::Device(_) | OutboxError::Full | OutboxError::LettersFull)
                    if self.has_faults =>
                {
                    self.heal();
                    failed += 1;
                    assert!(failed < 100, "nothing is settled any more");
                }
                settled => settled.unwrap(),
            }
            after = self.rng.chance(30).then_some(next.ticket);
        }
    }
}

/// Fills and drains each device again and again, and gives how often it was full.
fn fill_and_drain(has_faults: bool) -> usize {
    let batch = Durability::Batch {
        reports: 5,
        ms: 3_000,
    };
    let mut fillings = 0;
    for device in DEVICES {
        for (durability, seeds) in [(Durability::Each, 0..8), (batch, 8..16)] {
            for seed in seeds {
                let mut world = World::new(device, durability, seed, has_faults);
                let longest = device.0 * device.1 - 200;
                for round in 0..30 {
                    world.fill(longest);
                    world.drain();
                    world.heal();
                    let sample = world.sample(1, longest);
                    let fresh = world.setting.power();
                    let mut fresh = world.setting.open(&fresh).unwrap();
                    let taken =
                        fresh.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
                    if taken.is_ok()
                        && let Err(error) = world.append(&sample)
                    {
                        panic!("{device:?}, {durability:?}, {seed}, round {round}: {error:?}");
                    }
                }
                fillings += world.fillings;
            }
        }
    }
    fillings
}

#[test]
fn an_empty_log_takes_what_a_new_one_takes() {
    let fillings = fill_and_drain(false);
    assert!(fillings > 1_000, "{fillings}");
}

#[test]
fn so_does_one_whose_device_failed_now_and_then() {
    let fillings = fill_and_drain(true);
    assert!(fillings > 1_000, "{fillings}");
}

/// Delivers all that waits, then submits: `Err` says that the log is full although nothing waits.
fn drain_and_append(log: &mut Log) -> Result<Ticket, Failure> {
    while let Some(next) = log.next(None)? {
        log.settle(
            next.ticket,
            Disposition::Delivered,
            &[],
            WhenLettersFull::Hold,
        )?;
    }
    let sample = sample(0, &[(1, JobStatus::RUNNING)], 0);
    log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None)
}

fn fill_with(log: &mut Log, padding: usize) {
    for number in 1.. {
        let job = i64::try_from(number).unwrap();
        let sample = sample(number, &[(job, JobStatus::RUNNING)], padding);
        if let Err(error) = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None) {
            assert_eq!(error, OutboxError::Full);
            return;
        }
    }
}

/// Delivers each that comes right after one that waits on.
fn deliver_every_other(log: &mut Log) {
    let mut after = None;
    while let Some(next) = log.next(after).unwrap() {
        after = Some(next.ticket);
        if let Some(other) = log.next(after).unwrap().filter(|_| log.room_ahead() > 1) {
            log.settle(
                other.ticket,
                Disposition::Delivered,
                &[],
                WhenLettersFull::Hold,
            )
            .unwrap();
        }
    }
}

/// The limits are lower than they were, and segments have one length only now: what is written anew may get longer.
#[test]
fn a_log_with_more_than_it_may_have_now_takes_reports_again() {
    let former = Setting {
        limits: [(1024, 8 * 1024), (2048, 3 * 2048)],
        ..EACH
    };
    for (count, padding) in (3..6).flat_map(|count| (0..200).map(move |padding| (count, padding))) {
        let power = former.power();
        let mut log = former.open(&power).unwrap();
        fill_with(&mut log, padding);
        drop(log);
        let setting = Setting {
            limits: [(1024, count * 1024), (2048, 3 * 2048)],
            units: (1024, 8),
            ..former
        };
        let power = setting.power_on(power.images());
        let mut log = setting.open(&power).unwrap();
        deliver_every_other(&mut log);
        let _ = log.close();
        let taken = drain_and_append(&mut log);
        assert!(taken.is_ok(), "{count}, {padding}: {taken:?}");
        log.close().unwrap();
    }
}

/// One segment, which is full.
fn full_segment(setting: &Setting) -> Images {
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    let mut images = power.images();
    for number in 1.. {
        let sample = sample(number, &[(1, JobStatus::RUNNING)], 60);
        log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None)
            .unwrap();
        if power.images()[0].lens().len() > 1 {
            break;
        }
        images = power.images();
    }
    images
}

/// The limits are lower than the only segment is long, segments have one length only, and a sector of it cannot be read: once nothing waits, what comes is taken.
#[test]
fn a_long_open_segment_with_an_unreadable_sector_makes_way() {
    let former = Setting {
        limits: [(8192, 4 * 8192), (2048, 3 * 2048)],
        ..EACH
    };
    let [mut live, dead] = full_segment(&former);
    let setting = Setting {
        limits: [(1024, 4 * 1024), (2048, 3 * 2048)],
        units: (1024, 8),
        ..former
    };
    live.spoil(1, 1024..1536);
    let power = setting.power_on([live, dead]);
    let mut log = setting.open(&power).unwrap();
    // Each of the two gives up after a few: to read what waits, and to write it anew.
    let taken = (0..10).map(|_| drain_and_append(&mut log));
    let taken: Vec<_> = taken.take_while(Result::is_err).collect();
    assert!(taken.len() < 10, "{taken:?}");
    log.close().unwrap();
    let mut log = setting.open(&power).unwrap();
    assert_eq!(log.waiting(), 1);
    drain_and_append(&mut log).unwrap();
}

/// A long segment with a bad sector is there beside one for notes alone when the process is killed. At the next start nothing in it waits any more, and it
/// makes way at once.
#[test]
fn what_a_start_passes_over_keeps_no_segment() {
    let former = Setting {
        limits: [(8192, 4 * 8192), (2048, 3 * 2048)],
        ..EACH
    };
    let setting = Setting {
        limits: [(2048, 4 * 1024), (2048, 3 * 2048)],
        ..former
    };
    let [mut live, dead] = full_segment(&former);
    live.spoil(1, 1024..1536);
    let drained = |log: &mut Log| {
        let mut taken = (0..100).map(|_| drain_and_append(log));
        taken.find(|taken| taken != &Err(OutboxError::Unreadable))
    };
    for passed in 0..100 {
        let power = setting.power_on([live.clone(), dead.clone()]);
        let mut log = setting.open(&power).unwrap();
        power.fail(Some(Fault {
            first: power.accesses().calls + passed,
            count: u64::MAX,
            error: DeviceError::Io,
            part: 0,
            kinds: [true; 4],
        }));
        let _ = drained(&mut log);
        drop(log);
        power.fail(None);
        let mut log = setting.open(&power).unwrap();
        let taken = drained(&mut log);
        assert!(matches!(taken, Some(Ok(_))), "{passed}: {taken:?}");
    }
}
