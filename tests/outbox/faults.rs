//! The outbox on a device that fails for a while, or for good, and then loses power.
//!
//! Every call of a run fails in turn, in each way; after it the power fails at some moments, and what is left must add up.
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

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use courier_common::account::{Account, Failure, SETTINGS, Setting, check};
use courier_common::device::{DeviceError, Fault, Images, Model, Power, Side};
use courier_common::ensure;
use courier_common::failures::{Failures, dump, guarded, in_threads};
use courier_common::run::Run;
use edge_report::courier::{Outbox, OutboxError};

/// While the device fails, errors are what is expected; but only its own.
fn unless_broken(result: Result<(), Failure>) {
    match result {
        Ok(()) | Err(OutboxError::Full | OutboxError::LettersFull | OutboxError::Device(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Grows, drains and grows; then the device is well again, and all goes on by itself.
fn script(run: &mut Run, fault: Option<Fault>) -> Result<(), String> {
    run.is_faulty = true;
    run.account.is_faulty = true;
    run.stays_open = fault.is_some_and(|fault| fault.kinds[2] && fault.part >= 2);
    run.open().map_err(|error| error.to_string())?;
    run.power.fail(fault);
    for _ in 0..8 {
        unless_broken(run.submit().map(|_| ()));
    }
    for _ in 0..40 {
        unless_broken(run.mixed(50));
    }
    run.power.fail(None);
    for _ in 0..6 {
        match run.mixed(40) {
            Ok(()) | Err(OutboxError::Full) => {}
            Err(error) => return Err(format!("the device is well again, and {error}")),
        }
    }
    run.flush()
        .map_err(|error| format!("well again: {error}"))?;
    ensure!(
        run.power.is_synced(Side::Live),
        "flushed, and not synced: {:?}",
        run.log
    );
    while run
        .deliver()
        .map_err(|error| format!("well again: {error}"))?
    {}
    let waiting = run.log().waiting();
    ensure!(waiting == 0, "drained, and {waiting} wait");
    run.submit()
        .map_err(|error| format!("drained, and {error}"))?;
    run.finish();
    Ok(())
}

fn calls(setting: &Setting) -> u64 {
    let mut run = Run::new(*setting, setting.power(), Account::default(), setting.seed);
    script(&mut run, None).unwrap();
    run.power.accesses().calls
}

/// The ways to fail, at any call.
fn ways() -> Vec<Fault> {
    let mut ways = Vec::new();
    for count in [1, 3, u64::MAX] {
        for part in [0, 1, 2, 4] {
            for kinds in [
                [true, true, false, false],
                [false, false, true, false],
                [false, false, false, true],
                [true; 4],
            ] {
                // Of a discard nothing can be left.
                if kinds == [false, false, false, true] && part > 0 {
                    continue;
                }
                ways.push(Fault {
                    first: 0,
                    count,
                    error: DeviceError::Io,
                    part,
                    kinds,
                });
            }
        }
    }
    ways
}

/// Cuts the power at some moments of a run and checks what is left; how many states that made.
fn cut(
    setting: &Setting,
    run: &mut Run,
    seed: Option<usize>,
    failures: &Failures,
    place: &str,
) -> usize {
    let mut states = 0;
    let every = every();
    for (number, cut) in run.power.cuts().iter().enumerate() {
        if seed.is_some_and(|seed| !(number + seed).is_multiple_of(every)) {
            continue;
        }
        let (before, after) = (&run.accounts[cut.step], &run.accounts[cut.step + 1]);
        cut.states(1, &mut |model: Model, images: Images| {
            if model == Model::Torn {
                return;
            }
            states += 1;
            let copy = images.clone();
            if let Err(failure) = guarded(|| check(setting, images, before, after)) {
                failures.note(&failure, || {
                    format!(
                        "{place}; cut in step {}, {model:?}, {}{}",
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

/// The power is cut at one of so many moments of a run. `EDGE_REPORT_EVERY=1` cuts at each.
fn every() -> usize {
    std::env::var("EDGE_REPORT_EVERY").map_or(47, |n| n.parse().unwrap())
}

/// `EDGE_REPORT_FAULT=0,12,1,2,1101` tries one: of which setting, the first call that fails, how many (0: all from there on), the part,
/// the kinds of calls.
fn only() -> Option<(usize, Fault)> {
    let given = std::env::var("EDGE_REPORT_FAULT").ok()?;
    let numbers: Vec<u64> = given.split(',').map(|n| n.parse().unwrap()).collect();
    let kind = |digit: u64| numbers[4] / digit % 10 == 1;
    let fault = Fault {
        first: numbers[1],
        count: if numbers[2] == 0 {
            u64::MAX
        } else {
            numbers[2]
        },
        error: DeviceError::Io,
        part: numbers[3] as usize,
        kinds: [kind(1000), kind(100), kind(10), kind(1)],
    };
    Some((numbers[0] as usize, fault))
}

/// Tries one fault, and cuts the power at every moment.
fn try_one(setting: Setting, fault: Fault) {
    let power = setting.power();
    power.record();
    let mut run = Run::new(setting, power, Account::default(), setting.seed);
    script(&mut run, Some(fault)).unwrap();
    let failures = Failures::default();
    cut(&setting, &mut run, None, &failures, "here");
    failures.end();
}

#[test]
fn a_device_that_fails_loses_nothing_and_is_used_on() {
    if let Some((setting, fault)) = only() {
        return try_one(SETTINGS[setting], fault);
    }
    let start = Instant::now();
    let failures = Failures::default();
    let (runs, states) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // `EDGE_REPORT_FAULTS=10` tries ten scripts instead of one.
    let scripts = std::env::var("EDGE_REPORT_FAULTS").map_or(1, |n| n.parse().unwrap());
    for (setting, script_seed) in SETTINGS
        .iter()
        .flat_map(|setting| (0..scripts).map(move |n: u64| (setting, setting.seed + 100 * n)))
    {
        let setting = Setting {
            seed: script_seed,
            ..*setting
        };
        let mut faults = Vec::new();
        for first in 0..calls(&setting) {
            faults.extend(ways().into_iter().map(|way| Fault { first, ..way }));
        }
        in_threads(&faults, |index, fault| {
            let power: Power = setting.power();
            power.record();
            let mut run = Run::new(setting, power, Account::default(), setting.seed);
            let place = format!("{}, {fault:?}", setting.name);
            if let Err(failure) = guarded(|| script(&mut run, Some(*fault))) {
                failures.note(&failure, || place.clone());
                return;
            }
            runs.fetch_add(1, Ordering::Relaxed);
            let cut = cut(&setting, &mut run, Some(index), &failures, &place);
            states.fetch_add(cut, Ordering::Relaxed);
        });
    }
    println!(
        "faults: {runs:?} runs, {states:?} power cuts, {:?}",
        start.elapsed()
    );
    failures.end();
    assert!(states.into_inner() >= 20_000);
}
