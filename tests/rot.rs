//! The outbox on a device that rots: every single bit flipped costs one report at the most.
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

use courier_common::account::{Account, EACH, Found, Setting, check, reason_of, settled};
use courier_common::device::{DeviceError, Images, Power, Side, keep_unsynced};
use courier_common::failures::{Failures, dump, guarded, in_threads};
use courier_common::run::{Run, answered, unless_full};
use courier_common::{ensure, sample};
use edge_report::courier::{Fate, LogError, Outbox};
use edge_report::{JobStatus, MonoTime, Outcome};

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
