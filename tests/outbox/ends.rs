//! Ends and restarts that cost something once: a clean end that was none, damage that was counted twice, dead letters that had no room.
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
use courier_common::device::{DeviceError, Fault, Images, Power, Side, lose_some, lose_unsynced};
use courier_common::sample;
use edge_report::courier::{
    Counters, Courier, Disposition, Durability, Event, Forget, Outbox, OutboxError, Policy,
    RamOutbox, Reason, Step, Ticket, WhenLettersFull,
};
use edge_report::{JobStatus, MonoTime, Outcome, WallTime};
use std::time::Duration;

const REFUSED: Disposition = Disposition::Refused(Reason::response(Outcome::Refused, 400));

fn append(log: &mut Log, number: u64, job: i64) -> Ticket {
    let sample = sample(number, &[(job, JobStatus::RUNNING)], 0);
    let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
    ticket.unwrap()
}

fn settle(log: &mut Log, ticket: Ticket, disposition: Disposition) -> Result<(), Failure> {
    let waiting = log.next(Some(Ticket(ticket.0 - 1))).unwrap().unwrap();
    let mut bytes = vec![0; waiting.len];
    assert!(log.read(ticket, &mut bytes).unwrap());
    log.settle(ticket, disposition, &bytes, WhenLettersFull::Hold)
}

/// With damage where these bytes stand first on this side.
fn damaged(power: &Power, side: Side, bytes: &[u8]) -> Power {
    let mut images: Images = power.images();
    let image = &mut images[side as usize];
    let place = image.lens().into_iter().find_map(|(id, _)| {
        let mut windows = image.bytes(id).windows(bytes.len());
        let at = windows.position(|window| window == bytes);
        at.map(|at| (id, at))
    });
    let (id, at) = place.expect("it stands there");
    image.flip(id, at * 8);
    EACH.power_on(images)
}

#[test]
fn what_is_dropped_after_a_clean_start_stays_dropped() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let old = append(&mut log, 1, 1);
    append(&mut log, 2, 1);
    log.close().unwrap();
    drop(log);
    let mut log = EACH.open(&power).unwrap();
    settle(&mut log, old, Disposition::Superseded).unwrap();
    log.close().unwrap();
    let counters = log.counters();
    drop(log);
    let log = EACH.open(&power).unwrap();
    assert_eq!((log.counters(), log.waiting()), (counters, 1));
}

/// Two reports, of which the second was cut while it was written.
fn cut() -> Power {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    append(&mut log, 1, 1);
    append(&mut log, 2, 2);
    damaged(&power, Side::Live, b"m-2")
}

#[test]
fn a_report_that_was_cut_is_not_submitted_by_a_clean_end() {
    let power = cut();
    let mut log = EACH.open(&power).unwrap();
    let counters = log.counters();
    assert_eq!((counters.submitted, counters.torn), (1, 1));
    log.close().unwrap();
    drop(log);
    assert_eq!(EACH.open(&power).unwrap().counters(), counters);
}

#[test]
fn a_report_that_was_cut_counts_once() {
    let power = cut();
    for _ in 0..3 {
        let mut log = EACH.open(&power).unwrap();
        assert_eq!(log.counters().torn, 1);
        log.flush().unwrap();
    }
}

#[test]
fn a_letter_after_a_forgotten_one_that_rotted_is_kept() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let first = append(&mut log, 1, 1);
    settle(&mut log, first, REFUSED).unwrap();
    log.forget_dead_letters(Forget::UpTo(first)).unwrap();
    drop(log);
    let power = damaged(&power, Side::Dead, b"m-1");
    let mut log = EACH.open(&power).unwrap();
    let second = append(&mut log, 2, 2);
    settle(&mut log, second, REFUSED).unwrap();
    drop(log);
    let mut log = EACH.open(&power).unwrap();
    assert!(log.find_dead_letter(second).unwrap().is_some());
    assert_eq!(log.counters().letters, 1);
}

/// Refuses reports until there is no room for another letter.
fn fill_letters(log: &mut Log, number: &mut u64) -> Ticket {
    loop {
        *number += 1;
        let ticket = append(log, *number, *number as i64);
        match settle(log, ticket, REFUSED) {
            Ok(()) => {}
            Err(OutboxError::LettersFull) => return ticket,
            Err(error) => panic!("{error}"),
        }
        assert!(*number < 1_000, "never full");
    }
}

#[test]
fn an_end_is_clean_when_the_letters_are_full() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let mut number = 0;
    fill_letters(&mut log, &mut number);
    for _ in 0..12 {
        assert_eq!(log.close(), Ok(()));
        number += 1;
        append(&mut log, number, 1);
    }
}

#[test]
fn letters_can_be_forgotten_when_they_are_full_and_then_there_is_room() {
    for one_by_one in [false, true] {
        let power = EACH.power();
        let mut log = EACH.open(&power).unwrap();
        let (mut number, mut last) = (0, None);
        let held = fill_letters(&mut log, &mut number);
        for _ in 0..12 {
            // Each says in the letters, too, which tickets are reserved.
            let _ = log.close();
            number += 1;
            append(&mut log, number, 1);
        }
        while let Some(letter) = log.dead_letter(last).unwrap() {
            last = Some(letter.ticket);
            if one_by_one {
                let forgotten = log.forget_dead_letters(Forget::One(letter.ticket));
                assert_eq!(forgotten, Ok(()));
                last = None;
            }
        }
        if let Some(last) = last {
            assert_eq!(log.forget_dead_letters(Forget::UpTo(last)), Ok(()));
        }
        assert_eq!(log.counters().letters, 0);
        assert_eq!(settle(&mut log, held, REFUSED), Ok(()));
    }
}

#[test]
fn a_suspect_that_was_dropped_meanwhile_is_not_told_of_as_buried() {
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_refuse_after(1);
    let now = MonoTime::from_ms(0);
    let outbox = RamOutbox::<_>::new([0; 1200], 1200);
    let mut courier = Courier::new(outbox, [0; 1024], policy, now, 0);
    let suspect = sample(1, &[(1, JobStatus::RUNNING)], 0);
    let suspect = courier.submit_encoded(&suspect.bytes, now, None).unwrap();
    let canary = sample(2, &[(2, JobStatus::RUNNING)], 0);
    let canary = courier.submit_encoded(&canary.bytes, now, None).unwrap();
    for _ in 0..3 {
        courier.wake(now);
        let Step::Send(outgoing) = courier.next(now).unwrap() else {
            panic!("nothing to send")
        };
        assert_eq!(outgoing.ticket, suspect);
        let doubtful = Event::response(Outcome::NotUnderstood, 403);
        let _ = courier.settle(suspect, doubtful, now, 0).unwrap();
    }
    let mut number = 2;
    while courier.status().counters.superseded == 0 {
        number += 1;
        let newer = sample(number, &[(1, JobStatus::RUNNING)], 60);
        courier.submit_encoded(&newer.bytes, now, None).unwrap();
    }
    courier.wake(now);
    let Step::Send(outgoing) = courier.next(now).unwrap() else {
        panic!("nothing to send")
    };
    assert_eq!(outgoing.ticket, canary);
    let accepted = Event::response(Outcome::Accepted, 200);
    let _ = courier.settle(canary, accepted, now, 0).unwrap();
    assert_eq!(courier.take_dead_letter(), None);
    assert_eq!(courier.status().counters.refused, 0);
}

#[test]
fn when_all_letters_are_forgotten_there_is_room_for_another() {
    let two = Setting {
        limits: [(2048, 6 * 2048), (2048, 2 * 2048)],
        units: (1024, 8),
        ..EACH
    };
    for (setting, ends) in [EACH, two]
        .into_iter()
        .flat_map(|s| (0..6).map(move |n| (s, n)))
    {
        let mut log = setting.open(&setting.power()).unwrap();
        let mut number = 0;
        for round in 0..12 {
            let held = fill_letters(&mut log, &mut number);
            for _ in 0..ends {
                let _ = log.close();
                number += 1;
                let ticket = append(&mut log, number, 1);
                settle(&mut log, ticket, Disposition::Delivered).unwrap();
            }
            // Some one by one, and the others at once.
            let mut last = None;
            for _ in 0..round {
                if let Some(letter) = log.dead_letter(None).unwrap() {
                    let forgotten = log.forget_dead_letters(Forget::One(letter.ticket));
                    assert_eq!(forgotten, Ok(()));
                }
            }
            while let Some(letter) = log.dead_letter(last).unwrap() {
                last = Some(letter.ticket);
            }
            if let Some(last) = last {
                log.forget_dead_letters(Forget::UpTo(last)).unwrap();
            }
            assert_eq!(log.counters().letters, 0);
            let buried = settle(&mut log, held, REFUSED);
            assert_eq!(
                buried,
                Ok(()),
                "{}, {ends} ends, round {round}",
                setting.name
            );
        }
    }
}

#[test]
fn a_durable_report_is_not_dropped_for_one_that_is_not() {
    let setting = Setting {
        durability: Durability::Batch {
            reports: 5,
            ms: 3_000,
        },
        ..EACH
    };
    for seed in 0..64 {
        let power = setting.power();
        let mut log = setting.open(&power).unwrap();
        append(&mut log, 1, 1);
        let old = append(&mut log, 2, 2);
        log.flush().unwrap();
        let newer = sample(3, &[(2, JobStatus::RUNNING)], 700);
        let newer = log.append(&newer.keys, &newer.bytes, MonoTime::from_ms(0), None);
        assert!(log.is_superseded(old).unwrap());
        settle(&mut log, old, Disposition::Superseded).unwrap();
        drop(log);
        let power = setting.power_on(lose_some(&power.images(), seed));
        let mut log = setting.open(&power).unwrap();
        let last = log.next(Some(Ticket(old.0 - 1))).unwrap();
        let last = last.map(|waiting| waiting.ticket);
        assert!(last == Some(old) || last == newer.ok(), "{last:?} is left");
    }
}

#[test]
fn a_letter_does_not_outlast_its_report() {
    let setting = Setting {
        durability: Durability::Batch {
            reports: 100,
            ms: 3_000,
        },
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    append(&mut log, 1, 1);
    let refused = append(&mut log, 2, 2);
    settle(&mut log, refused, REFUSED).unwrap();
    drop(log);
    let power = setting.power_on(lose_unsynced(&power.images()));
    let mut log = setting.open(&power).unwrap();
    let counters = log.counters();
    let counts = (counters.submitted, counters.refused, counters.letters);
    assert_eq!((counts, log.waiting()), ((2, 1, 1), 1));
    assert!(log.find_dead_letter(refused).unwrap().is_some());
}

#[test]
fn what_cannot_be_read_now_is_not_said_to_be_gone() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let first = append(&mut log, 1, 1);
    let second = append(&mut log, 2, 2);
    settle(&mut log, first, REFUSED).unwrap();

    power.make_unreadable(Side::Dead, true);
    let unreadable = Err(OutboxError::Unreadable);
    assert_eq!(log.forget_dead_letters(Forget::One(first)), unreadable);
    assert_eq!(log.forget_dead_letters(Forget::UpTo(first)), unreadable);
    assert!(log.find_dead_letter(first).is_err());
    assert!(log.read_dead_letter(first, &mut [0; 4096]).is_err());
    power.make_unreadable(Side::Dead, false);
    assert!(log.find_dead_letter(first).unwrap().is_some());
    log.forget_dead_letters(Forget::One(first)).unwrap();
    assert!(log.find_dead_letter(first).unwrap().is_none());

    // A refused one becomes a dead letter though its log cannot be read any more.
    let bytes = sample(2, &[(2, JobStatus::RUNNING)], 0).bytes;
    power.make_unreadable(Side::Live, true);
    log.settle(second, REFUSED, &bytes, WhenLettersFull::Hold)
        .unwrap();
    power.make_unreadable(Side::Live, false);
    assert_eq!(log.waiting(), 0);
    drop(log);
    let mut log = EACH.open(&power).unwrap();
    let mut found = vec![0; bytes.len()];
    assert!(log.read_dead_letter(second, &mut found).unwrap());
    assert_eq!((found, log.waiting()), (bytes.to_vec(), 0));
}

#[test]
fn a_time_that_is_known_survives_a_clean_end() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    append(&mut log, 1, 1);
    log.close().unwrap();
    drop(log);
    let mut log = EACH.open(&power).unwrap();
    let time = WallTime::from_unix_ms(1_700_000_000_000);
    log.note_trusted_time(time);
    log.close().unwrap();
    drop(log);
    assert_eq!(EACH.open(&power).unwrap().trusted_time(), Some(time));
}

/// A fault from the next call but `passed` on, of these kinds: creates, writes, syncs, discards.
fn from_call(power: &Power, passed: u64, kinds: [bool; 4]) -> Fault {
    Fault {
        first: power.accesses().calls + passed,
        count: u64::MAX,
        error: DeviceError::Io,
        part: 0,
        kinds,
    }
}

/// A kill anywhere while reports become letters, of which the oldest stays; then a start cannot sync the letters, and lets their reports wait.
#[test]
fn what_waits_again_after_a_kill_is_not_counted_as_settled() {
    for (reports, number) in
        (8..16).flat_map(|reports| (0..80).map(move |number| (reports, number)))
    {
        let power = EACH.power();
        let mut log = EACH.open(&power).unwrap();
        let tickets: Vec<_> = (0..reports)
            .map(|n| append(&mut log, n, n as i64 + 1))
            .collect();
        power.fail(Some(from_call(&power, number, [true; 4])));
        for ticket in &tickets[1..] {
            let _ = settle(&mut log, *ticket, REFUSED);
        }
        drop(log);
        let power = EACH.power_on(power.images());
        power.fail(Some(from_call(&power, 0, [false, false, true, false])));
        let log = EACH.open(&power).unwrap();
        let Counters {
            submitted, refused, ..
        } = log.counters();
        assert_eq!(
            (submitted, refused + log.waiting()),
            (reports, reports),
            "call {number}"
        );
    }
}
