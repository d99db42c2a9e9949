//! What calls of a log cost, and what they leave alone, as the device counts it.
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
use courier_common::device::{Power, lose_unsynced};
use courier_common::sample;
use edge_report::courier::{
    Backlog, Courier, Disposition, Durability, Event, Outbox, OutboxError, Policy, Reason, Step,
    Ticket, WhenLettersFull,
};
use edge_report::{Job, JobStatus, MonoTime, Outcome, Report};

const NOW: MonoTime = MonoTime::from_ms(0);

/// One that nothing supersedes, since its job has no id.
fn append(log: &mut Log, number: u64, padding: usize) -> Result<Ticket, Failure> {
    let sample = sample(number, &[(0, JobStatus::RUNNING)], padding);
    log.append(&sample.keys, &sample.bytes, NOW, None)
}

fn bury(log: &mut Log, ticket: Ticket) {
    let reason = Reason::response(Outcome::Refused, 400);
    let front = log.next(None).unwrap().unwrap();
    assert_eq!(front.ticket, ticket);
    let mut report = vec![0; front.len];
    assert!(log.read(ticket, &mut report).unwrap());
    let when_full = WhenLettersFull::DropOldest;
    log.settle(ticket, Disposition::Refused(reason), &report, when_full)
        .unwrap();
}

#[test]
fn a_full_log_says_so_without_reading() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let stored = (0..).take_while(|n| append(&mut log, *n, 40).is_ok());
    assert!(stored.count() > 20);
    let counts = |power: &Power| (power.accesses().reads, power.accesses().calls);
    let before = counts(&power);
    for number in 0..10 {
        let error = append(&mut log, 1000 + number, 40).unwrap_err();
        assert_eq!(error, OutboxError::Full);
    }
    assert_eq!(counts(&power), before);
}

/// Of a few letters and of hundreds.
#[test]
fn a_letter_is_written_and_found_at_the_same_cost_whatever_their_number() {
    let setting = Setting {
        limits: [(1 << 14, 12 << 14), (1 << 14, 12 << 14)],
        ..EACH
    };
    let [few, many] = [5, 300].map(|count| {
        let power = setting.power();
        let mut log = setting.open(&power).unwrap();
        let mut first = None;
        for number in 0..count {
            let ticket = append(&mut log, number, 40).unwrap();
            bury(&mut log, ticket);
            first.get_or_insert(ticket);
        }
        assert_eq!(log.counters().letters, count);
        let ticket = append(&mut log, count, 40).unwrap();
        let reads = |log: &mut Log, call: &dyn Fn(&mut Log)| {
            let before = power.accesses().reads;
            call(log);
            power.accesses().reads - before
        };
        let first = first.unwrap();
        [
            reads(&mut log, &|log| bury(log, ticket)),
            reads(&mut log, &|log| {
                assert!(log.find_dead_letter(ticket).unwrap().is_some());
            }),
            reads(&mut log, &|log| {
                let found = log.find_dead_letter(first).unwrap().unwrap();
                assert!(
                    log.read_dead_letter(first, &mut vec![0; found.len])
                        .unwrap()
                );
            }),
        ]
    });
    println!("reads: {few:?} of a few, {many:?} of many");
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= few + 2, "{few} of a few, {many} of many");
    }
}

/// What could not become a dead letter would stop all that waits behind it.
#[test]
fn what_could_never_be_a_dead_letter_is_not_stored() {
    let setting = Setting {
        limits: [(8192, 4 * 8192), (2048, 2 * 2048)],
        units: (2048, 8),
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    assert_eq!(append(&mut log, 1, 6000), Err(OutboxError::TooLarge));
    assert_eq!((log.counters().submitted, log.waiting()), (0, 0));
    let ticket = append(&mut log, 2, 2500).unwrap();
    bury(&mut log, ticket);
    assert_eq!(log.counters().letters, 1);
}

/// A ticket names one report for ever, also one that a power cut took before it was durable.
#[test]
fn tickets_go_on_after_restarts() {
    let setting = Setting {
        durability: Durability::Batch {
            reports: 1000,
            ms: 1_000_000,
        },
        ..EACH
    };
    let mut power = setting.power();
    let mut last = 0;
    for round in 0..6 {
        let mut log = setting.open(&power).unwrap();
        for number in 0..3 {
            let ticket = append(&mut log, number, 0).unwrap();
            assert!(ticket.0 > last, "{ticket} after {last}, round {round}");
            last = ticket.0;
        }
        if round % 2 == 0 {
            drop(log);
            power = setting.power_on(lose_unsynced(&power.images()));
        } else {
            log.close().unwrap();
            drop(log);
        }
    }
}

/// When there is no room for another letter the oldest makes way; but not for what only takes one away.
#[test]
fn resubmitting_drops_no_letter() {
    let setting = Setting {
        limits: [(2048, 8 * 2048), (2048, 3 * 2048)],
        ..EACH
    };
    let power = setting.power();
    let policy = Policy::default().with_start_spread(std::time::Duration::ZERO);
    let mut courier = Courier::new(setting.open(&power).unwrap(), [0; 1024], policy, NOW, 0);
    let settle = |courier: &mut Courier<Log, [u8; 1024]>, event| {
        courier.wake(NOW);
        let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
            panic!("nothing waits")
        };
        let ticket = outgoing.ticket;
        let _ = courier.settle(ticket, event, NOW, 0).unwrap();
    };
    for number in 0..60 {
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
        let id = number.to_string();
        courier.submit(&Report::new(&id, &jobs), NOW, None).unwrap();
        settle(&mut courier, Event::response(Outcome::Refused, 400));
    }
    let full = courier.status().counters;
    assert!(full.letters > 10 && full.letters_dropped > 0, "{full:?}");
    let mut letters = Vec::new();
    while let Some((letter, _)) = courier.dead_letter(letters.last().copied()).unwrap() {
        letters.push(letter.ticket);
    }
    // Not from the oldest on, which would be gone first.
    let half = letters.len() / 2;
    letters.rotate_left(half);
    let mut left = full.letters;
    for letter in letters {
        let again = courier.resubmit_dead_letter(Some(letter), NOW, None);
        assert!(again.unwrap().is_some(), "{letter}");
        left -= 1;
        let counters = courier.status().counters;
        let counts = (counters.letters, counters.letters_dropped);
        assert_eq!(counts, (left, full.letters_dropped), "{letter}");
        settle(&mut courier, Event::response(Outcome::Accepted, 200));
    }
    assert_eq!(left, 0);
    drop(courier);
    let counters = setting.open(&power).unwrap().counters();
    let counts = (counters.letters, counters.letters_dropped);
    assert_eq!(counts, (0, full.letters_dropped));
}

/// Finished jobs in front, each with a status that must be kept, and then a job that runs on and on: its older statuses make way.
#[test]
fn a_job_that_runs_on_never_fills_a_log_behind_many_that_are_finished() {
    const FINISHED: u64 = 140;
    let setting = Setting {
        limits: [(4096, 16 * 4096), (4096, 4 * 4096)],
        durability: Durability::Batch {
            reports: 100,
            ms: 1_000_000,
        },
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    let mut submit = |number: u64, job: u64, status| {
        let sample = sample(number, &[(job as i64, status)], 0);
        log.append(&sample.keys, &sample.bytes, NOW, None)
    };
    for job in 1..=FINISHED {
        submit(job, job, JobStatus::FINISH).unwrap();
    }
    for number in 0..20_000 {
        let stored = submit(FINISHED + number, FINISHED + 1, JobStatus::RUNNING);
        assert!(stored.is_ok(), "{stored:?} of status {number}");
    }
    let mut waits = Vec::new();
    while let Some(next) = log.next(waits.last().copied()).unwrap() {
        waits.push(next.ticket);
    }
    let finished: Vec<_> = (1..=FINISHED).map(Ticket).collect();
    assert_eq!(waits[..finished.len()], finished);
    assert_eq!(waits.last(), Some(&Ticket(FINISHED + 20_000)));
    let counters = log.counters();
    assert_eq!(counters.superseded + log.waiting(), FINISHED + 20_000);
}

/// Jobs have their turns by their ids, not by their places in the queue; that is found out for many turns at once.
#[test]
fn a_turn_among_many_jobs_costs_little() {
    const JOBS: i64 = 2_000;
    const SENT: u64 = 500;
    let setting = Setting {
        limits: [(1 << 14, 64 << 14), (1 << 14, 4 << 14)],
        durability: Durability::Batch {
            reports: 1_000,
            ms: 1_000_000,
        },
        ..EACH
    };
    let power = setting.power();
    let policy = Policy::default()
        .with_start_spread(std::time::Duration::ZERO)
        .with_backlog(Backlog::LatestPerJob);
    let mut courier = Courier::new(setting.open(&power).unwrap(), [0; 1024], policy, NOW, 0);
    for job in 1..=JOBS {
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(job)];
        courier.submit(&Report::new("m", &jobs), NOW, None).unwrap();
    }
    let before = power.accesses().reads;
    let mut jobs = Vec::new();
    for _ in 0..SENT {
        let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
            panic!("nothing waits")
        };
        let ticket = outgoing.ticket;
        jobs.push(ticket.0);
        let event = Event::response(Outcome::Accepted, 200);
        let _ = courier.settle(ticket, event, NOW, 0).unwrap();
    }
    let each = (power.accesses().reads - before) / SENT;
    println!("{each} reads for each that is sent of {JOBS}");
    assert!(each < JOBS as u64 / 4, "{each}");
    // From wherever it began, from the greatest id down and round.
    let falls = jobs
        .windows(2)
        .filter(|pair| pair[1] == pair[0] - 1)
        .count() as u64;
    assert!(falls >= SENT - 3, "{jobs:?}");
}
