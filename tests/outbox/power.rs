//! The outbox on a device that loses power.
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

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use courier_common::account::{Account, Found, Known, SETTINGS, Setting, check, reason_of};
use courier_common::device::{Cut, Images, Model};
use courier_common::failures::{Failures, dump, guarded, in_threads};
use courier_common::run::{Run, script, unless_full};
use edge_report::courier::Disposition;

#[derive(Debug, Default)]
struct Tally {
    states: BTreeMap<Model, usize>,
    repeats: usize,
    second: usize,
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
    account
        .reports
        .retain(|number, _| stored(number) || found.letters.contains(number));
    for (number, known) in &mut account.reports {
        let is_there = found.waiting.contains(number);
        known.durable = is_there;
        known.fate_written = !is_there;
        known.fate_durable = !is_there;
        if is_there || found.letters.contains(number) {
            known.trying = None;
        }
        known.disposition = match known.disposition {
            _ if is_there => None,
            // Superseded or never stored: not to come again.
            None => Some(Disposition::Delivered),
            disposition => disposition,
        };
    }
    let reason = |number| {
        let letter = before.letters.get(number).or(known.letters.get(number));
        let tried = || known.reports.get(number).and_then(|known| known.trying);
        let disposition = || reason_of(known.reports.get(number)?.disposition);
        letter.copied().or_else(tried).or_else(disposition).unwrap()
    };
    account.letters = found.letters.iter().map(|n| (*n, reason(n))).collect();
    account.order = found.letters.iter().copied().collect();
    account.counters = found.counters;
    account.corrupt = found.counters.corrupt + found.holes;
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
    let power = setting.power_on(images.clone());
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
    let accesses = run.power.accesses();
    let steps = run.accounts.len() - 1;
    assert!(steps >= 200, "only {steps} operations");
    assert!(run.account.counters.superseded > 0 && run.account.counters.refused > 0);
    for (most, (segment, all)) in accesses.most.iter().zip(setting.limits) {
        // One segment more for a while; a long report has a longer one.
        let longest = segment.max(accesses.longest);
        assert!(*most <= all + longest, "{most} bytes in use, {all} allowed");
    }
    println!(
        "{}: {steps} operations, {} cut points, {accesses:?}",
        setting.name,
        cuts.len()
    );
    println!("  {:?}", run.account.counters);
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
    // `EDGE_REPORT_SETTING=2` tries one of them alone.
    let only = std::env::var("EDGE_REPORT_SETTING")
        .ok()
        .and_then(|n| n.parse().ok());
    for (_, setting) in SETTINGS
        .iter()
        .enumerate()
        .filter(|(n, _)| only.is_none_or(|only: usize| only == *n))
    {
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
    assert!(only.is_some() || total >= 300_000, "{total} states");
}
