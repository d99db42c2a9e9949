//! The outbox on a device that rots: bits that flip, sectors that read as zeros or as they once were, or cannot be read; segments that are
//! gone, doubled, cut short, or of another outbox. Each costs the records in it at the most, and the counters add up.
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

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use courier_common::account::{Account, EACH, Found, Log, Setting, check, reason_of, settled};
use courier_common::device::{DeviceError, Images, Side, keep_unsynced};
use courier_common::failures::{Failures, dump, guarded, in_threads};
use courier_common::run::{Kind, Run, unless_full};
use courier_common::{ensure, sample};
use edge_report::courier::{Disposition, Outbox, OutboxError, Ticket, Waiting, WhenLettersFull};
use edge_report::{JobStatus, MonoTime};

/// Some segments: what waits, what is settled, dead letters; and the run that made them.
fn filled(setting: Setting, closes: bool) -> Run {
    let mut run = Run::new(setting, setting.power(), Account::default(), setting.seed);
    run.open().unwrap();
    let mut number = 0;
    let mut some = |run: &mut Run, count: usize| {
        for _ in 0..count {
            number += 1;
            let jobs = [
                (number, JobStatus::RUNNING),
                (number + 100, JobStatus::FINISH),
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
        run.settle(false, Kind::Refuse).unwrap();
    }
    some(&mut run, 5);
    run.deliver().unwrap();
    run.settle(true, Kind::Deliver).unwrap();
    some(&mut run, 1);
    if closes {
        run.log().close().unwrap();
        run.log = None;
    }
    run
}

/// Segments that stand for others, and what is left of reports that were dropped.
fn compacted(fulls: usize) -> Run {
    let mut run = Run::new(EACH, EACH.power(), Account::default(), EACH.seed);
    run.open().unwrap();
    while run.full < fulls || run.account.counters.superseded < 4 {
        unless_full(run.mixed(80));
        if fulls == 0 && run.account.counters.superseded >= 4 {
            break;
        }
    }
    run
}

/// The front; what cannot be read is asked for a few times.
fn front(log: &mut Log) -> Result<Option<Waiting>, String> {
    for _ in 0..4 {
        match log.next(None) {
            Err(OutboxError::Unreadable) => {}
            front => return front.map_err(|error| error.to_string()),
        }
    }
    Err("it stays unreadable".to_owned())
}

/// Reads a report; the same.
fn read(log: &mut Log, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, String> {
    for _ in 0..4 {
        match log.read(ticket, buffer) {
            Err(OutboxError::Unreadable) => {}
            read => return read.map_err(|error| error.to_string()),
        }
    }
    Err("it stays unreadable".to_owned())
}

/// What damage may cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Reports and letters.
    records: usize,
    /// Whether nothing is left that could tell how many there were.
    is_silent: bool,
}

/// Opens, drains and uses a damaged outbox. Gives how many came again.
fn check_rot(
    setting: &Setting,
    images: Images,
    heals_after: Option<u32>,
    sound: &Found,
    account: &Account,
    cost: Cost,
) -> Result<usize, String> {
    let power = setting.power_on(images);
    power.heals_after(heals_after);
    let error = |error: OutboxError<DeviceError>| error.to_string();
    let mut buffer = vec![0; 16384];
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
                Some(letter.reason) == reason_of(known.disposition),
                "dead letter: wrong reason"
            );
            ensure!(letters.insert(letter.ticket.0), "a dead letter comes twice");
        }
    }
    let (counters, waiting) = (log.counters(), log.waiting());
    ensure!(
        counters.submitted == settled(&counters) + waiting,
        "{waiting} wait, {counters:?}"
    );
    let mut seen = BTreeSet::new();
    while let Some(front) = front(&mut log)? {
        if read(&mut log, front.ticket, &mut buffer[..front.len])? {
            let known = account
                .reports
                .get(&front.ticket.0)
                .ok_or("an invented report")?;
            let same = buffer[..front.len] == *known.sample.bytes;
            ensure!(same, "report {}: wrong bytes", front.ticket);
            ensure!(seen.last() < Some(&front.ticket.0), "out of order");
            seen.insert(front.ticket.0);
            let settled = log.settle(
                front.ticket,
                Disposition::Delivered,
                &[],
                WhenLettersFull::default(),
            );
            settled.map_err(error)?;
        }
    }
    let counters = log.counters();
    ensure!(
        counters.submitted == settled(&counters) && log.waiting() == 0,
        "drained: {counters:?}"
    );
    let lost = sound.waiting.difference(&seen).count();
    ensure!(lost <= cost.records, "{lost} reports are lost");
    let all = lost + sound.letters.difference(&letters).count();
    ensure!(
        all <= cost.records,
        "{all} reports and dead letters are lost"
    );
    let counted = counters.corrupt + counters.torn - sound.counters.corrupt - sound.counters.torn;
    ensure!(
        cost.is_silent || counted >= lost as u64,
        "{lost} reports are lost, {counted} count as that: {counters:?}"
    );
    let back = letters.difference(&sound.letters).count();
    ensure!(
        back <= cost.records,
        "{back} forgotten dead letters come back"
    );
    // It goes on, and what it stores then survives.
    let mut more = BTreeSet::new();
    for number in 0..3 {
        let sample = sample(
            1_000_000 + number,
            &[(number as i64, JobStatus::FINISH)],
            60,
        );
        let ticket = log
            .append(&sample.keys, &sample.bytes, MonoTime::from_ms(0), None)
            .map_err(error)?;
        let given = account.reports.keys().next_back().unwrap();
        ensure!(ticket.0 > *given, "ticket {ticket} was given out before");
        more.insert((ticket.0, sample.bytes.to_vec()));
    }
    drop(log);
    let mut log = setting.open(&power).map_err(error)?;
    let counters = log.counters();
    ensure!(
        counters.submitted == settled(&counters) + log.waiting(),
        "opened again: {counters:?}"
    );
    while let Some(front) = front(&mut log)? {
        if read(&mut log, front.ticket, &mut buffer[..front.len])? {
            let is_new = more.remove(&(front.ticket.0, buffer[..front.len].to_vec()));
            ensure!(
                is_new || seen.contains(&front.ticket.0) || heals_after.is_some(),
                "report {} comes again",
                front.ticket
            );
            let settled = log.settle(
                front.ticket,
                Disposition::Delivered,
                &[],
                WhenLettersFull::default(),
            );
            settled.map_err(error)?;
        }
    }
    ensure!(
        more.is_empty(),
        "{} reports submitted later are lost",
        more.len()
    );
    Ok(seen.difference(&sound.waiting).count())
}

/// What is done to a device.
struct Damage {
    place: String,
    images: Images,
    heals_after: Option<u32>,
    cost: Cost,
}

/// Tries each damage to a device on which a run ended.
fn try_all(
    setting: &Setting,
    run: &Run,
    failures: &Failures,
    damages: impl Fn(&Images, usize) -> Option<Damage> + Sync,
) -> usize {
    let account = &run.account;
    let images = keep_unsynced(&run.power.images());
    let sound = check(setting, images.clone(), account, account).expect("it is sound");
    let tried = AtomicUsize::new(0);
    let repeats = AtomicUsize::new(0);
    let numbers: Vec<usize> = (0..4).collect();
    // In threads, each a quarter.
    in_threads(&numbers, |_, &number| {
        let mut index = number;
        while let Some(damage) = damages(&images, index) {
            index += numbers.len();
            tried.fetch_add(1, Ordering::Relaxed);
            let copy = damage.images.clone();
            let Damage {
                place,
                images,
                heals_after,
                cost,
            } = damage;
            match guarded(|| check_rot(setting, images, heals_after, &sound, account, cost)) {
                Ok(again) => {
                    repeats.fetch_max(again, Ordering::Relaxed);
                }
                Err(failure) => failures.note(&failure, || {
                    format!("{}, {place}{}", setting.name, dump(&copy))
                }),
            }
        }
    });
    println!(
        "{}: {} wait, {} dead letters, {tried:?} tried, {repeats:?} repeats at the most",
        setting.name,
        sound.waiting.len(),
        sound.letters.len(),
    );
    tried.into_inner()
}

const SMALL: Setting = Setting {
    name: "segments of 1 KiB",
    limits: [(1024, 12 * 1024), (1024, 4 * 1024)],
    ..EACH
};

const ERASED: Setting = Setting {
    name: "segments of 2 KiB, erased to 0xff, words of 32 bytes",
    blank: 0xff,
    limits: [(2048, 6 * 2048), (1024, 4096)],
    units: (1024, 32),
    ..EACH
};

/// On what is tried: and whether it was closed.
fn runs() -> Vec<(Setting, Run, bool)> {
    let mut runs = vec![
        (SMALL, filled(SMALL, true), true),
        (SMALL, filled(SMALL, false), false),
        (ERASED, filled(ERASED, true), true),
    ];
    runs.extend([0, 4].map(|fulls| (EACH, compacted(fulls), false)));
    runs
}

/// Whether it is the newest segment of what waits.
fn is_last(images: &Images, side: Side, id: u32) -> bool {
    let live = &images[Side::Live as usize];
    // Its header says of which ticket it has the first.
    let first = |id: u32| u64::from_le_bytes(live.bytes(id)[24..32].try_into().unwrap());
    let last = live.lens().into_iter().max_by_key(|(id, _)| first(*id));
    side == Side::Live && last.map(|(id, _)| id) == Some(id)
}

fn segments(images: &Images) -> Vec<(Side, u32, usize)> {
    let mut all = Vec::new();
    for side in [Side::Live, Side::Dead] {
        let lens = images[side as usize].lens();
        all.extend(lens.into_iter().map(|(id, len)| (side, id, len)));
    }
    all
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let start = Instant::now();
    let failures = Failures::default();
    let flip = |step: usize| {
        move |images: &Images, index: usize| {
            let mut bit = index * step;
            for (side, id, len) in segments(images) {
                if bit < len * 8 {
                    let mut images = images.clone();
                    images[side as usize].flip(id, bit);
                    return Some(Damage {
                        place: format!("{side:?} {id}, byte {}, bit {}", bit / 8, bit % 8),
                        images,
                        heals_after: None,
                        cost: Cost {
                            records: 1,
                            is_silent: false,
                        },
                    });
                }
                bit -= len * 8;
            }
            None
        }
    };
    let mut total = 0;
    for (setting, closes) in [(SMALL, true), (SMALL, false), (ERASED, true)] {
        let run = filled(setting, closes);
        total += try_all(&setting, &run, &failures, flip(1));
    }
    for fulls in [0, 4] {
        total += try_all(&EACH, &compacted(fulls), &failures, flip(3));
    }
    println!("bit rot: {total} flips in {:?}", start.elapsed());
    failures.end();
}

/// How many records a range of bytes touches.
fn records_in(bytes: &[u8], from: usize, to: usize) -> usize {
    let mut count = 0;
    let mut at = 160;
    while at + 32 <= bytes.len() {
        if bytes[at..at + 2] == [0x1e, 2] {
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            if at < to && from < at + 32 + len {
                count += 1;
            }
        }
        at += 8;
    }
    count
}

#[test]
fn a_bad_sector_costs_the_records_in_it() {
    let start = Instant::now();
    let failures = Failures::default();
    let sector = |size: usize, kind: usize, closed: bool| {
        move |images: &Images, index: usize| {
            let mut sectors = Vec::new();
            for (side, id, len) in segments(images) {
                sectors.extend((0..len).step_by(size).map(|at| (side, id, at, len)));
            }
            let &(side, id, from, len) = sectors.get(index)?;
            let to = (from + size).min(len);
            let is_silent = !closed && is_last(images, side, id);
            let mut images = images.clone();
            let image = &mut images[side as usize];
            let mut bytes = image.bytes(id).to_vec();
            let records = records_in(&bytes, from, to);
            let mut heals_after = None;
            match kind {
                0 => bytes[from..to].fill(0),
                // As it was before the last write to it.
                1 => {
                    let half = from + (to - from) / 2;
                    bytes[half..to].fill(image.blank());
                }
                // As another sector.
                2 => {
                    let other = bytes[..to - from].to_vec();
                    bytes[from..to].copy_from_slice(&other);
                }
                3 => image.spoil(id, from..to),
                _ => {
                    image.spoil(id, from..to);
                    heals_after = Some(1);
                }
            }
            if kind < 3 {
                image.put(id, bytes);
            }
            let records = if kind == 4 { 0 } else { records };
            Some(Damage {
                place: format!("{side:?} {id}, bytes {from} to {to}, kind {kind}"),
                images,
                heals_after,
                cost: Cost { records, is_silent },
            })
        }
    };
    let mut total = 0;
    for (setting, run, closed) in &runs() {
        for size in [512, 4096] {
            for kind in 0..5 {
                total += try_all(setting, run, &failures, sector(size, kind, *closed));
            }
        }
    }
    println!("bad sectors: {total} in {:?}", start.elapsed());
    failures.end();
}

/// A write that went astray: the walk must not take what it finds there for newer records, or for copies.
#[test]
fn a_sector_of_another_place_costs_the_records_in_it() {
    const SECTOR: usize = 512;
    let failures = Failures::default();
    let astray = |closed: bool| {
        move |images: &Images, index: usize| {
            let mut pairs = Vec::new();
            for (side, id, len) in segments(images) {
                // Whole ones.
                let sectors = || (0..len / SECTOR).map(|sector| sector * SECTOR);
                let others = |to| sectors().filter(move |from| *from != to);
                pairs.extend(
                    sectors().flat_map(|to| others(to).map(move |from| (side, id, to, from))),
                );
            }
            let &(side, id, to, from) = pairs.get(index)?;
            let is_silent = !closed && is_last(images, side, id);
            let mut images = images.clone();
            let image = &mut images[side as usize];
            let mut bytes = image.bytes(id).to_vec();
            let records = records_in(&bytes, to, to + SECTOR);
            bytes.copy_within(from..from + SECTOR, to);
            image.put(id, bytes);
            Some(Damage {
                place: format!("{side:?} {id}, bytes {from} at {to}"),
                images,
                heals_after: None,
                cost: Cost { records, is_silent },
            })
        }
    };
    let mut total = 0;
    for (setting, run, closed) in &runs() {
        total += try_all(setting, run, &failures, astray(*closed));
    }
    println!("sectors of another place: {total}");
    failures.end();
}

#[test]
fn strange_segments_cost_no_others() {
    let failures = Failures::default();
    let foreign = {
        let setting = Setting { seed: 99, ..EACH };
        let run = filled(setting, true);
        run.power.images()
    };
    let strange = |closed: bool| {
        let foreign = foreign.clone();
        move |images: &Images, index: usize| {
            let all = segments(images);
            let &(side, id, len) = all.get(index / 7)?;
            let is_silent = !closed && is_last(images, side, id);
            let mut images = images.clone();
            let image = &mut images[side as usize];
            let bytes = image.bytes(id).to_vec();
            let records = records_in(&bytes, 0, len);
            let free = image.lens().iter().map(|(id, _)| *id).max().unwrap() + 1;
            let (what, records) = match index % 7 {
                0 => {
                    image.remove(id);
                    ("is gone", records)
                }
                1 => {
                    image.put(free, bytes);
                    ("is doubled", 0)
                }
                2 => {
                    image.put(u32::MAX, bytes);
                    ("is doubled at the end of numbers", 0)
                }
                3 => {
                    let cut = (len / 2) & !7;
                    image.put(id, bytes[..cut].to_vec());
                    ("is cut", records)
                }
                4 => {
                    image.put(id, bytes[..len / 2 + 3].to_vec());
                    ("is cut at an odd byte", records)
                }
                5 => {
                    let (_, other) = foreign[side as usize].lens()[0];
                    let other_id = foreign[side as usize].lens()[0].0;
                    let _ = other;
                    let bytes = foreign[side as usize].bytes(other_id).to_vec();
                    image.put(free, bytes);
                    ("has another outbox beside it", 0)
                }
                _ => {
                    let other = bytes.iter().map(|b| b.wrapping_mul(31) ^ 0x5a).collect();
                    image.put(free + 100, other);
                    ("has something else beside it", 0)
                }
            };
            Some(Damage {
                place: format!("{side:?} {id} {what}"),
                images,
                heals_after: None,
                cost: Cost { records, is_silent },
            })
        }
    };
    let mut total = 0;
    for (setting, run, closed) in &runs() {
        total += try_all(setting, run, &failures, strange(*closed));
    }
    println!("strange segments: {total}");
    failures.end();
}

/// The first sector of a segment that stands for others, which are gone: what was copied there and stands after it is found all the same.
#[test]
fn a_compacted_segment_without_its_first_sector_costs_the_records_in_it() {
    let run = compacted(4);
    let failures = Failures::default();
    let tried = try_all(&EACH, &run, &failures, |images, index| {
        let live = &images[Side::Live as usize];
        let mut copied = live
            .lens()
            .into_iter()
            .filter(|(id, _)| live.bytes(*id)[32..48].iter().any(|byte| *byte != 0));
        let (id, len) = copied.nth(index)?;
        let mut bytes = live.bytes(id).to_vec();
        let records = records_in(&bytes, 0, 512);
        assert!(records < records_in(&bytes, 0, len));
        bytes[..512].fill(0);
        let is_silent = is_last(images, Side::Live, id);
        let mut images = images.clone();
        images[Side::Live as usize].put(id, bytes);
        Some(Damage {
            place: format!("segment {id}, without its first sector"),
            images,
            heals_after: None,
            cost: Cost { records, is_silent },
        })
    });
    assert!(tried > 0, "no segment stands for others");
    failures.end();
}
