//! Forgetting dead letters, with a heap and without one: where an index tells them apart, and where a few ranges must do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use courier_common::account::{EACH, Log, Setting};
use courier_common::device::{DeviceError, Fault, Power, Side};
use courier_common::sample;
use edge_report::courier::{
    Courier, CourierError, Disposition, Forget, Outbox, OutboxError, Policy, Reason, Ticket,
    WhenLettersFull,
};
use edge_report::{JobStatus, MonoTime, Outcome};

const ROOMY: Setting = Setting {
    limits: [(4096, 8 * 4096), (4096, 4 * 4096)],
    ..EACH
};

/// So many reports become dead letters.
fn bury(log: &mut Log, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        try_bury(log, number).unwrap();
    }
}

fn try_bury(log: &mut Log, number: u64) -> Result<(), OutboxError<DeviceError>> {
    let sample = sample(number, &[(1, JobStatus::RUNNING)], 60);
    let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
    let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
    let when_full = WhenLettersFull::Hold;
    log.settle(ticket.unwrap(), refused, &sample.bytes, when_full)
}

/// Those that can be listed.
fn listed(log: &mut Log) -> Vec<u64> {
    let mut tickets = Vec::new();
    let mut last = None;
    while let Some(letter) = log.dead_letter(last).unwrap() {
        last = Some(letter.ticket);
        tickets.push(letter.ticket.0);
    }
    tickets
}

/// The same, and so many are counted.
fn letters(log: &mut Log) -> Vec<u64> {
    let tickets = listed(log);
    assert_eq!(log.counters().letters, tickets.len() as u64);
    tickets
}

/// There is no room for what forgets letters, and no segment can be made that leaves them out: they stay.
#[test]
fn letters_that_could_not_be_forgotten_stay() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=30);
    power.fail(Some(Fault {
        first: 0,
        count: u64::MAX,
        error: DeviceError::Full,
        part: 0,
        kinds: [true, false, false, false],
    }));
    // Until what is set aside for that is used up.
    let mut forgotten = 0;
    while log
        .forget_dead_letters(Forget::One(Ticket(forgotten + 1)))
        .is_ok()
    {
        forgotten += 1;
    }
    let left: Vec<u64> = (forgotten + 1..=30).collect();
    assert!(left.len() > 10, "{left:?}");
    assert_eq!(letters(&mut log), left);
    for which in [
        Forget::One(Ticket(29)),
        Forget::One(Ticket(forgotten + 1)),
        Forget::UpTo(Ticket(30)),
        Forget::UpTo(Ticket(25)),
        Forget::One(Ticket(28)),
    ] {
        let failed = log.forget_dead_letters(which);
        assert!(failed.is_err(), "{which:?}");
        assert_eq!(letters(&mut log), left, "{which:?}");
    }
    power.fail(None);
    bury(&mut log, 31..=31);
    let left: Vec<u64> = letters(&mut log);
    assert_eq!(left.len() as u64, 31 - forgotten);
    assert_eq!(log.counters().letters_dropped, 0);
    log.close().unwrap();
    drop(log);
    let mut log = ROOMY.open(&power).unwrap();
    assert_eq!(letters(&mut log), left);
    log.forget_dead_letters(Forget::UpTo(Ticket(29))).unwrap();
    assert_eq!(letters(&mut log), left[left.len() - 2..]);
}

/// Letters forgotten here and there, as many as can be remembered: the oldest can be forgotten, and those beside forgotten ones.
#[test]
fn after_some_here_and_there_others_can_be_forgotten() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=30);
    for ticket in (2..=16).step_by(2) {
        log.forget_dead_letters(Forget::One(Ticket(ticket)))
            .unwrap();
    }
    let one_more = log.forget_dead_letters(Forget::One(Ticket(20)));
    let has_heap = cfg!(feature = "alloc");
    match has_heap {
        true => one_more.unwrap(),
        false => assert_eq!(one_more, Err(OutboxError::LettersFull)),
    }
    for ticket in [1, 7, 17, 3] {
        log.forget_dead_letters(Forget::One(Ticket(ticket)))
            .unwrap();
    }
    let gone = |ticket: &u64| {
        [1, 7, 17, 3].contains(ticket)
            || (*ticket <= 16 && ticket.is_multiple_of(2))
            || (*ticket == 20 && has_heap)
    };
    let left: Vec<u64> = (1..=30).filter(|ticket| !gone(ticket)).collect();
    assert_eq!(letters(&mut log), left);
    drop(log);
    let mut log = ROOMY.open(&power).unwrap();
    assert_eq!(letters(&mut log), left);
    for ticket in &left {
        log.forget_dead_letters(Forget::One(Ticket(*ticket)))
            .unwrap();
    }
    assert_eq!(letters(&mut log), Vec::<u64>::new());
    assert_eq!(log.counters().letters_dropped, 0);
}

/// A letter that cannot be forgotten is not submitted again: it would be each time that somebody asks.
#[test]
fn what_cannot_be_forgotten_is_not_submitted_again() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=30);
    for ticket in (2..=16).step_by(2) {
        log.forget_dead_letters(Forget::One(Ticket(ticket)))
            .unwrap();
    }
    let mut courier = Courier::new(log, [0; 4096], Policy::default(), MonoTime::from_ms(0), 1);
    let again = courier.resubmit_dead_letter(Some(Ticket(20)), MonoTime::from_ms(0), None);
    let has_heap = cfg!(feature = "alloc");
    match again {
        Ok(Some(_)) if has_heap => {}
        Err(CourierError::Outbox(OutboxError::LettersFull)) if !has_heap => {
            assert_eq!(courier.status().waiting, 0);
        }
        other => panic!("{other:?}"),
    }
    let letters = courier.status().counters.letters;
    let waiting = courier.status().waiting;
    for done in 1..=letters {
        let again = courier.resubmit_dead_letter(None, MonoTime::from_ms(0), None);
        assert!(again.unwrap().is_some());
        assert_eq!(courier.status().waiting, waiting + done);
    }
    let again = courier.resubmit_dead_letter(None, MonoTime::from_ms(0), None);
    assert_eq!(again.unwrap(), None);
}

/// A kill cuts a letter. It is none, and when its segment makes way for others it is none that is dropped.
#[test]
fn a_cut_letter_counts_nowhere() {
    let setting = Setting {
        limits: [(4096, 8 * 4096), (2048, 3 * 2048)],
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    bury(&mut log, 1..=2);
    let cut = sample(3, &[(1, JobStatus::RUNNING)], 60);
    let ticket = log.append(&cut.keys, &cut.bytes, MonoTime::from_ms(0), None);
    power.fail(Some(Fault {
        first: 0,
        count: u64::MAX,
        error: DeviceError::Io,
        part: 2,
        kinds: [false, true, false, false],
    }));
    let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
    let failed = log.settle(
        ticket.unwrap(),
        refused,
        &cut.bytes,
        WhenLettersFull::DropOldest,
    );
    assert!(failed.is_err());
    drop(log);
    power.fail(None);
    let mut log = setting.open(&power).unwrap();
    assert_eq!(letters(&mut log), [1, 2]);
    let mut number = 4;
    while log.counters().letters_dropped == 0 {
        let sample = sample(number, &[(1, JobStatus::RUNNING)], 60);
        let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
        let when_full = WhenLettersFull::DropOldest;
        log.settle(ticket.unwrap(), refused, &sample.bytes, when_full)
            .unwrap();
        letters(&mut log);
        number += 1;
    }
}

/// Syncs fail from the one after the next `passed` calls on.
fn syncs(power: &Power, passed: u64, part: usize) -> Option<Fault> {
    Some(Fault {
        first: power.accesses().calls + passed,
        count: u64::MAX,
        error: DeviceError::Io,
        part,
        kinds: [false, false, true, false],
    })
}

const LATE: usize = 1;
const THROWN_AWAY: usize = 0;

/// A letter is there although its sync failed, and the next failed sync throws it away, at the next start or in the same process.
#[test]
fn a_letter_that_a_failed_sync_throws_away_is_not_counted() {
    for (others, restarts) in [(0, true), (1, true), (30, false)] {
        let power = ROOMY.power();
        let mut log = ROOMY.open(&power).unwrap();
        bury(&mut log, 1..=others);
        let sample = sample(99, &[(1, JobStatus::RUNNING)], 60);
        let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
        let ticket = ticket.unwrap();
        let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
        let settle =
            |log: &mut Log| log.settle(ticket, refused, &sample.bytes, WhenLettersFull::Hold);
        power.fail(syncs(&power, 0, LATE));
        if !restarts {
            log = ROOMY.open(&power).unwrap();
        }
        assert!(settle(&mut log).is_err());
        if restarts {
            power.fail(syncs(&power, 0, THROWN_AWAY));
            log = ROOMY.open(&power).unwrap();
        } else {
            // There are two segments of letters, both of them to be synced since the start.
            power.fail(syncs(&power, 1, THROWN_AWAY));
            assert!(settle(&mut log).is_err());
        }
        let left = |log: &mut Log| {
            let found = letters(log).len() as u64;
            (found, log.counters().letters_dropped, log.waiting())
        };
        assert_eq!(left(&mut log), (others, 0, 1), "restarts: {restarts}");
        power.fail(None);
        settle(&mut log).unwrap();
        assert_eq!(left(&mut log), (others + 1, 0, 0));
        log.close().unwrap();
        assert_eq!(left(&mut ROOMY.open(&power).unwrap()), (others + 1, 0, 0));
    }
}

/// The write of a letter fails, and what it wrote is there, but cannot be read at that moment.
#[test]
fn a_letter_whose_write_failed_is_not_listed_although_it_is_there() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=1);
    // So short that it is one write.
    let sample = sample(2, &[(1, JobStatus::RUNNING)], 0);
    let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
    let ticket = ticket.unwrap();
    let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
    let settle = |log: &mut Log| log.settle(ticket, refused, &sample.bytes, WhenLettersFull::Hold);
    power.fail(Some(Fault {
        first: 0,
        count: u64::MAX,
        error: DeviceError::Io,
        part: 4,
        kinds: [false, true, false, false],
    }));
    power.make_unreadable(Side::Dead, true);
    assert!(settle(&mut log).is_err());
    power.make_unreadable(Side::Dead, false);
    power.fail(None);
    assert_eq!(letters(&mut log), [1]);
    settle(&mut log).unwrap();
    log.close().unwrap();
    for mut log in [log, ROOMY.open(&power).unwrap()] {
        assert_eq!(letters(&mut log), [1, ticket.0]);
        assert_eq!(log.counters().letters_dropped, 0);
    }
}

/// A sector of a letter cannot be read for a while: however long that is, as soon as it is over as many are counted as are listed.
#[test]
fn as_many_letters_are_counted_as_are_listed() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=8);
    drop(log);
    let [live, mut dead] = power.images();
    dead.spoil(1, 1024..1536);
    for reads in 0..1000 {
        let power = ROOMY.power_on([live.clone(), dead.clone()]);
        power.heals_after(Some(reads));
        let mut log = ROOMY.open(&power).unwrap();
        // It may be over in the midst of a listing.
        listed(&mut log);
        power.heals_after(Some(0));
        let _ = letters(&mut log);
    }
}

/// The header of a letter is damaged after it was counted, and its segment is dropped to make room: what is left is counted.
#[test]
fn a_dropped_letter_that_cannot_be_read_is_counted() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=30);
    power.spoil(Side::Dead, 1, 160..1024);
    let before = log.counters().letters_dropped;
    let mut number = 30;
    while log.counters().letters_dropped == before {
        number += 1;
        let sample = sample(number, &[(1, JobStatus::RUNNING)], 600);
        let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
        let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
        log.settle(
            ticket.unwrap(),
            refused,
            &sample.bytes,
            WhenLettersFull::DropOldest,
        )
        .unwrap();
    }
    let left = letters(&mut log);
    assert_eq!(
        left.len() as u64 + log.counters().letters_dropped,
        number,
        "{:?}",
        log.counters()
    );
}

/// There is no room for what forgets a letter, and a sector of its segment cannot be read: after a few tries what stands there is given up.
#[test]
fn a_letter_beside_an_unreadable_one_can_be_forgotten_in_a_full_log() {
    let setting = Setting {
        limits: [(4096, 8 * 4096), (16384, 16384)],
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    let mut buried = 0;
    loop {
        match try_bury(&mut log, buried + 1) {
            Ok(()) => buried += 1,
            Err(error) => break assert_eq!(error, OutboxError::LettersFull),
        }
    }
    let segments = power.images()[1].lens();
    power.spoil(Side::Dead, segments[0].0, 1024..1536);
    let tickets = listed(&mut log);
    assert!(tickets.len() > 40, "{tickets:?}");
    for ticket in tickets {
        let forget = |log: &mut Log| log.forget_dead_letters(Forget::One(Ticket(ticket)));
        let tries = (0..5).map(|_| forget(&mut log)).find(Result::is_ok);
        assert!(tries.is_some(), "{ticket}");
    }
    assert!(letters(&mut log).is_empty());
    assert!(log.counters().letters_dropped > 0);
    log.close().unwrap();
    let mut log = setting.open(&power).unwrap();
    assert!(letters(&mut log).is_empty());
}

/// A start cannot sync the letters, so a report whose letter is there waits all the same. Another report is lost with its header: that one is corrupt,
/// and did not become the letter.
#[test]
fn a_report_that_waits_although_its_letter_is_there_is_not_counted_as_refused() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=3);
    let waiting: Vec<_> = (4..=7)
        .map(|number| {
            let sample = sample(number, &[(1, JobStatus::RUNNING)], 60);
            let ticket = log.append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None);
            (ticket.unwrap(), sample)
        })
        .collect();
    let (ticket, sample) = &waiting[0];
    // After the letter and its sync: that the report is settled is not written.
    power.fail(Some(Fault {
        first: power.accesses().calls + 2,
        count: u64::MAX,
        error: DeviceError::Io,
        part: 0,
        kinds: [false, true, false, false],
    }));
    let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
    log.settle(*ticket, refused, &sample.bytes, WhenLettersFull::Hold)
        .unwrap();
    drop(log);
    let [mut live, dead] = power.images();
    let lost = &waiting[2].1.bytes;
    let at = live
        .bytes(1)
        .windows(lost.len())
        .position(|w| w == &lost[..]);
    // In the header of that record.
    live.flip(1, (at.unwrap() - 40) * 8);
    let power = ROOMY.power_on([live, dead]);
    power.fail(syncs(&power, 0, LATE));
    let mut log = ROOMY.open(&power).unwrap();
    power.fail(None);
    assert_eq!(log.waiting(), 3);
    let counted = |log: &Log| {
        let counters = log.counters();
        (counters.refused, counters.delivered, counters.corrupt)
    };
    assert_eq!(counted(&log), (3, 0, 1));
    log.settle(*ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
        .unwrap();
    log.close().unwrap();
    for mut log in [log, ROOMY.open(&power).unwrap()] {
        assert_eq!(counted(&log), (3, 1, 1));
        assert_eq!(letters(&mut log), [1, 2, 3]);
        assert_eq!(log.counters().letters_dropped, 0);
    }
}

/// A letter could not be forgotten, since something could not be synced. Others are forgotten then, and none of them is counted as dropped after a restart.
#[test]
fn what_could_not_be_forgotten_makes_no_other_count_as_dropped() {
    let power = ROOMY.power();
    let mut log = ROOMY.open(&power).unwrap();
    bury(&mut log, 1..=30);
    drop(log);
    let images = power.images();
    assert!(images[1].lens().len() > 1);
    let mut failures = 0;
    for passed in 0..12 {
        let power = ROOMY.power_on(images.clone());
        power.fail(syncs(&power, 0, LATE));
        let mut log = ROOMY.open(&power).unwrap();
        power.fail(syncs(&power, passed, LATE).map(|fault| Fault { count: 1, ..fault }));
        let failed = log.forget_dead_letters(Forget::One(Ticket(9))).is_err();
        power.fail(None);
        failures += usize::from(failed);
        log.forget_dead_letters(Forget::UpTo(Ticket(3))).unwrap();
        let left = letters(&mut log);
        assert_eq!(left.contains(&9), failed, "{passed}");
        drop(log);
        let mut log = ROOMY.open(&power).unwrap();
        assert_eq!(letters(&mut log), left, "{passed}");
        assert_eq!(log.counters().letters_dropped, 0, "{passed}");
    }
    assert!(failures > 1, "{failures}");
}
