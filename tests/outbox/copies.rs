//! Copies: a report that stands in two places, a copy that is not durable, a second place for what a damaged one said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use std::collections::{BTreeMap, BTreeSet};

use courier_common::account::{EACH, Log, Setting};
use courier_common::device::{DeviceError, Fault, Image, Images, Power, Side, lose_unsynced};
use edge_report::courier::{
    Disposition, Durability, JobKey, JobKeys, Outbox, OutboxError, Reason, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome};

/// From now on these calls fail: to create, write, sync, discard.
fn failing(power: &Power, kinds: [bool; 4], part: usize) -> Fault {
    Fault {
        first: power.accesses().calls,
        count: u64::MAX,
        error: DeviceError::Io,
        part,
        kinds,
    }
}

fn submit(log: &mut Log, job_id: i64) -> Result<u64, OutboxError<DeviceError>> {
    let mut keys = JobKeys::new();
    let key = JobKey {
        job_id,
        is_final: false,
    };
    keys.push(key).unwrap();
    let ticket = log.append(&keys, &[b'r'; 150], MonoTime::from_ms(0), None)?;
    Ok(ticket.0)
}

fn deliver(log: &mut Log, ticket: u64) {
    let (ticket, delivered) = (Ticket(ticket), Disposition::Delivered);
    log.settle(ticket, delivered, &[], WhenLettersFull::Hold)
        .unwrap();
}

/// All that wait, which are as many as it says.
fn waits(log: &mut Log) -> Vec<u64> {
    let mut tickets = Vec::new();
    loop {
        match log.next(tickets.last().copied().map(Ticket)) {
            Ok(Some(next)) => tickets.push(next.ticket.0),
            Ok(None) => break,
            // It may go away: after a few it is given up.
            Err(error) => assert_eq!(error, OutboxError::Unreadable),
        }
    }
    assert_eq!(tickets.len() as u64, log.waiting(), "{tickets:?}");
    tickets
}

/// At a start nothing can be synced: what was not durable is lost, although it can be read. So it is written anew, and the process is killed
/// meanwhile. The same start once more, and then the power fails.
#[test]
fn what_a_failed_sync_lost_is_copied_again() {
    let start = |power: &Power| {
        power.fail(Some(failing(power, [false, false, true, false], 2)));
        let log = EACH.open(power).unwrap();
        power.fail(None);
        log
    };
    for killed_after in 0..30 {
        let power = EACH.power();
        let mut log = EACH.open(&power).unwrap();
        let mut kept: BTreeSet<u64> = (1..8).map(|job| submit(&mut log, job).unwrap()).collect();
        drop(log);
        let power = EACH.power_on(power.images());
        let mut log = start(&power);
        let mut kill = failing(&power, [true; 4], 0);
        kill.first += killed_after;
        power.fail(Some(kill));
        kept.extend(submit(&mut log, 100));
        drop(log);
        let power = EACH.power_on(power.images());
        let mut log = start(&power);
        kept.insert(submit(&mut log, 200).unwrap());
        drop(log);
        let power = EACH.power_on(lose_unsynced(&power.images()));
        let mut log = EACH.open(&power).unwrap();
        let found: BTreeSet<u64> = waits(&mut log).into_iter().collect();
        let lost = &kept - &found;
        assert!(lost.is_empty(), "killed after {killed_after}: {lost:?}");
    }
}

/// A segment that was discarded is there again after the power failed, and what stood for it was written anew since: what it has counts once,
/// whatever becomes of it.
#[test]
fn what_comes_back_counts_once() {
    let setting = Setting {
        limits: [(1024, 8 * 1024), (1024, 4096)],
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    let mut seen = BTreeMap::new();
    let mut came_back = 0;
    for n in 1..120 {
        // Few enough jobs that many are superseded, and some are delivered before others.
        let _ = submit(&mut log, n * n % 23 + 1);
        if n % 5 == 0 {
            let waiting = waits(&mut log);
            deliver(&mut log, waiting[(n as usize * 7) % waiting.len().min(6)]);
        }
        let [live, dead] = power.images();
        for (id, _) in live.lens() {
            seen.insert(id, live.bytes(id).to_vec());
        }
        let is_there = |id: &u32| live.lens().iter().any(|(there, _)| there == id);
        for (id, bytes) in seen.iter().filter(|(id, _)| !is_there(id)).rev().take(8) {
            let mut live = live.clone();
            live.put(*id, bytes.clone());
            let power = setting.power_on([live, dead.clone()]);
            let mut log = setting.open(&power).unwrap();
            for job in 1..24 {
                let _ = submit(&mut log, job);
                waits(&mut log);
            }
            while let Some(front) = log.next(None).unwrap() {
                deliver(&mut log, front.ticket.0);
                waits(&mut log);
            }
            came_back += 1;
        }
    }
    assert!(came_back > 100, "{came_back}");
}

/// A kill left a half-made segment beside those that it was to stand for, one of which is lost: all that are left count, and what stands in two
/// of them counts once.
#[test]
fn what_stands_in_two_segments_counts_once() {
    let power = EACH.power();
    let mut log = EACH.open(&power).unwrap();
    let mut before = power.images();
    let mut tried = 0;
    for n in 1..200 {
        if submit(&mut log, if n % 2 == 0 { 1 } else { 1000 + n }).is_err() {
            break;
        }
        let now = power.images();
        for (id, len) in now[0].lens() {
            let bytes = now[0].bytes(id);
            let sources =
                [32, 36].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
            let [gone, left] = sources;
            let is_new = before[0].lens().iter().all(|(other, _)| *other != id);
            if !is_new || left == 0 {
                continue;
            }
            // Up to any of its records, without its commit.
            let mut records = (160..len - 160).step_by(8);
            let is_record = |at: &usize| bytes[*at..at + 2] == [0x1e, 2];
            for end in records.by_ref().filter(is_record).skip(1) {
                let mut half = bytes.to_vec();
                half[end..len - 160].fill(0);
                let mut live = before[0].clone();
                live.remove(gone);
                live.put(id, half);
                let power = EACH.power_on([live, before[1].clone()]);
                let mut log = EACH.open(&power).unwrap();
                for ticket in waits(&mut log) {
                    // All of them are superseded.
                    let _ = submit(
                        &mut log,
                        if ticket % 2 == 0 {
                            1
                        } else {
                            1000 + ticket as i64
                        },
                    );
                    waits(&mut log);
                }
                tried += 1;
            }
        }
        before = now;
    }
    assert!(tried > 5, "{tried}");
}

/// Both headers of a segment are in bad sectors, and what is between them is not: it is read.
#[test]
fn a_segment_is_read_without_its_headers() {
    let setting = Setting {
        limits: [(4096, 6 * 4096), (4096, 3 * 4096)],
        ..EACH
    };
    let power = setting.power();
    let mut log = setting.open(&power).unwrap();
    let tickets: Vec<u64> = (1..80).map(|job| submit(&mut log, job).unwrap()).collect();
    drop(log);
    let images = power.images();
    let segments = images[0].lens();
    let last = segments[segments.len() - 1].0;
    assert!(segments.len() > 3, "{segments:?}");
    for (id, len) in segments {
        let mut images = images.clone();
        images[0].spoil(id, 0..160);
        images[0].spoil(id, len - 160..len);
        let power = setting.power_on(images);
        let mut log = setting.open(&power).unwrap();
        assert_eq!(log.foreign_segments(), 0);
        assert_eq!(waits(&mut log), tickets, "without the headers of {id}");
        while let Some(front) = log.next(None).unwrap() {
            deliver(&mut log, front.ticket.0);
        }
        let next = submit(&mut log, 100).unwrap();
        assert!(next > tickets[tickets.len() - 1]);
        log.close().unwrap();
        let is_there = power.images()[0].lens().contains(&(id, len));
        // The last one is still written to.
        assert!(!is_there || id == last, "{id} is not freed");
    }
}

/// In batches a power cut takes the newest reports. That their tickets were given out stands in both logs, and one of them is damaged.
#[test]
fn no_ticket_is_given_twice_when_a_reservation_is_damaged() {
    let setting = Setting {
        durability: Durability::Batch {
            reports: 100,
            ms: 1000,
        },
        ..EACH
    };
    for is_closed in [true, false] {
        let power = setting.power();
        let mut log = setting.open(&power).unwrap();
        submit(&mut log, 1).unwrap();
        log.flush().unwrap();
        if is_closed {
            log.close().unwrap();
        }
        drop(log);
        let power = setting.power_on(power.images());
        let mut log = setting.open(&power).unwrap();
        let given = submit(&mut log, 2).unwrap();
        drop(log);
        let images = lose_unsynced(&power.images());
        for side in [Side::Live, Side::Dead] {
            let mut images = images.clone();
            let (id, at) = last_checkpoint(&images[side as usize]);
            images[side as usize].flip(id, (at + 40) * 8);
            let power = setting.power_on(images);
            let mut log = setting.open(&power).unwrap();
            let next = submit(&mut log, 3).unwrap();
            assert!(next > given, "{next} after {given}, damaged: {side:?}");
        }
    }
}

/// The newest checkpoint.
fn last_checkpoint(image: &Image) -> (u32, usize) {
    let (id, len) = *image.lens().last().unwrap();
    let bytes = image.bytes(id);
    let mut places = (160..len - 160).step_by(8);
    let at = places.rfind(|at| bytes[*at..at + 3] == [0x1e, 2, 2]);
    (id, at.expect("there is one"))
}

const REPORT: u8 = 1;
const CHECKPOINT: u8 = 2;
const SETTLED: u8 = 3;

/// Damages the headers of these records: by kind, those of reports and of what settles them by ticket.
fn damage(images: &mut Images, side: Side, kinds: &[u8], ticket: u64) {
    let image = &mut images[side as usize];
    for (id, len) in image.lens() {
        for at in (160..len - 192).step_by(8) {
            let record = &image.bytes(id)[at..at + 16];
            let kind = record[2] & 0x3f;
            let number = u64::from_le_bytes(record[8..].try_into().unwrap());
            let is_meant = kind == CHECKPOINT || number == ticket;
            if record.starts_with(&[0x1e, 2]) && kinds.contains(&kind) && is_meant {
                image.flip(id, (at + 20) * 8);
            }
        }
    }
}

/// One report was delivered before a kill; the next one has a ticket that nobody but its own records and the last reservation tell of.
fn submitted_after_a_kill() -> (Power, Log, u64) {
    let power = EACH.power();
    let first = submit(&mut EACH.open(&power).unwrap(), 1).unwrap();
    let mut log = EACH.open(&power).unwrap();
    deliver(&mut log, first);
    let given = submit(&mut log, 2).unwrap();
    (power, log, given)
}

/// The next report, whose ticket was not given out before, waits; also after a kill.
fn assert_next_waits(images: Images, given: u64) {
    let power = EACH.power_on(images);
    let next = submit(&mut EACH.open(&power).unwrap(), 3).unwrap();
    assert!(next > given, "{next} after {given}");
    assert!(waits(&mut EACH.open(&power).unwrap()).contains(&next));
}

#[test]
fn what_settles_a_report_tells_that_its_ticket_was_given_out() {
    let (power, mut log, given) = submitted_after_a_kill();
    deliver(&mut log, given);
    log.flush().unwrap();
    drop(log);
    let mut images = power.images();
    damage(&mut images, Side::Live, &[REPORT, CHECKPOINT], given);
    damage(&mut images, Side::Dead, &[CHECKPOINT], given);
    assert_next_waits(images, given);
}

#[test]
fn so_does_its_letter() {
    let (power, mut log, given) = submitted_after_a_kill();
    let refused = Disposition::Refused(Reason::response(Outcome::Refused, 400));
    log.settle(Ticket(given), refused, &[b'r'; 150], WhenLettersFull::Hold)
        .unwrap();
    log.flush().unwrap();
    drop(log);
    let mut images = power.images();
    damage(
        &mut images,
        Side::Live,
        &[REPORT, CHECKPOINT, SETTLED],
        given,
    );
    damage(&mut images, Side::Dead, &[CHECKPOINT], given);
    assert_next_waits(images, given);
}

/// A reservation is damaged. Before its report is, too, a start has read that, and the letters say what it knew when something is written there.
#[test]
fn what_one_log_knows_of_tickets_the_other_says() {
    let (power, log, given) = submitted_after_a_kill();
    drop(log);
    let mut images = power.images();
    damage(&mut images, Side::Dead, &[CHECKPOINT], given);
    let power = EACH.power_on(images);
    let mut log = EACH.open(&power).unwrap();
    deliver(&mut log, given);
    log.close().unwrap();
    drop(log);
    let mut images = power.images();
    damage(
        &mut images,
        Side::Live,
        &[REPORT, CHECKPOINT, SETTLED],
        given,
    );
    assert_next_waits(images, given);
}

/// The letters have no room when tickets are reserved, so the other log alone says it, and that is lost later. As soon as there was room again, and a
/// report for each that was taken meanwhile, the letters say it, too.
#[test]
fn a_reservation_that_had_no_room_is_made_up() {
    for taken in 1..=4 {
        let power = EACH.power();
        let mut log = EACH.open(&power).unwrap();
        let creates = failing(&power, [true, false, false, false], 0);
        power.fail(Some(Fault {
            count: 1,
            ..creates
        }));
        let mut given = submit(&mut log, 1).unwrap();
        power.fail(Some(Fault {
            first: creates.first + 2,
            ..creates
        }));
        for job in 2..=taken {
            given = submit(&mut log, job).unwrap();
        }
        power.fail(None);
        for job in 0..taken {
            given = submit(&mut log, 10 + job).unwrap();
        }
        drop(log);
        let mut images = power.images();
        images[Side::Live as usize] = Image::new(EACH.blank);
        assert_next_waits(images, given);
    }
}
