//! Any order of calls, of time, of clocks and of power cuts, against a simple model of what a courier must do.
//!
//! The seed is fixed, so that a run repeats. To look further: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=20000`.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod account;
#[path = "../courier_common/mod.rs"]
mod courier_common;
mod driver;
mod ground;
mod pace;

use std::cell::Cell;

use edge_report::courier::{Durability, Event, Policy};
use edge_report::{Code, JobStatus, Outcome};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

use driver::Driver;
use ground::{Board, End, Ram};

/// Fails the case with a text.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

/// What a report says: job and status of each entry, and how much it is padded.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) jobs: Vec<(i64, JobStatus<'static>)>,
    pub(crate) padding: usize,
}

/// What is done next.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Submit(Content),
    SubmitEncoded(Content),
    SubmitInvalid,
    Next,
    /// Of the one in flight, if there is one.
    Settle(Event, u64),
    /// Of the oldest, at once.
    Attempt(Event, u64),
    /// With a ticket so far from the one in flight.
    SettleStale(i64),
    Pass(u64),
    /// The monotonic clock goes back, which it should not.
    StepBack(u64),
    Wake,
    Flush,
    ReadLetters,
    Resubmit,
    /// The oldest so many dead letters.
    Forget(usize),
    Restart(End, u64),
}

/// How often what the sequences are for came about.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) full: Cell<u64>,
    pub(crate) superseded: Cell<u64>,
    pub(crate) expired: Cell<u64>,
    pub(crate) letters_pushed_out: Cell<u64>,
    pub(crate) resubmitted: Cell<u64>,
    pub(crate) lost_unsynced: Cell<u64>,
    pub(crate) settled_again: Cell<u64>,
    pub(crate) clock_corrected: Cell<u64>,
}

impl Tally {
    pub(crate) fn add(counter: &Cell<u64>, count: u64) {
        counter.set(counter.get() + count);
    }

    fn has_seen_all(&self) -> bool {
        let Tally {
            full,
            superseded,
            expired,
            letters_pushed_out,
            resubmitted,
            lost_unsynced,
            settled_again,
            clock_corrected,
        } = self;
        [
            full,
            superseded,
            expired,
            letters_pushed_out,
            resubmitted,
            lost_unsynced,
            settled_again,
            clock_corrected,
        ]
        .iter()
        .all(|count| count.get() > 0)
    }
}

/// On what the courier stands.
#[derive(Clone, Copy, Debug)]
enum Setting {
    Ram(usize),
    Log {
        blank: u8,
        limits: [(usize, usize); 2],
        durability: Durability,
    },
}

const BATCH: Durability = Durability::Batch {
    reports: 5,
    ms: 3_000,
};

const SETTINGS: [Setting; 6] = [
    Setting::Ram(1_500),
    Setting::Ram(6_000),
    Setting::Log {
        blank: 0,
        limits: [(1024, 4 * 1024), (1024, 2 * 1024)],
        durability: Durability::Each,
    },
    Setting::Log {
        blank: 0xff,
        limits: [(2048, 3 * 2048), (1024, 3 * 1024)],
        durability: Durability::Each,
    },
    Setting::Log {
        blank: 0,
        limits: [(1024, 4 * 1024), (1024, 2 * 1024)],
        durability: BATCH,
    },
    Setting::Log {
        blank: 0xff,
        limits: [(4096, 2 * 4096), (2048, 2 * 2048)],
        durability: BATCH,
    },
];

fn content() -> impl Strategy<Value = Content> {
    let status = prop_oneof![
        4 => Just(JobStatus::Running),
        1 => Just(JobStatus::RunningException),
        1 => Just(JobStatus::Finish),
    ];
    // Some change often, some come once, some have no id and are never superseded.
    let id = prop_oneof![8 => 1..4i64, 2 => 10..60i64, 1 => Just(0)];
    let padding = prop_oneof![6 => Just(0usize), 2 => 1..150usize, 1 => 150..350usize];
    let jobs = prop_oneof![6 => vec((id.clone(), status.clone()), 1), 1 => vec((id, status), 2..3)];
    (jobs, padding).prop_map(|(jobs, padding)| Content {
        padding: padding / jobs.len(),
        jobs,
    })
}

fn event() -> impl Strategy<Value = Event> {
    const YEARS: i64 = 10 * 365 * 86_400_000;
    let skew = option::of(prop_oneof![
        select(
            &[
                0,
                30_000,
                -60_000,
                60_001,
                YEARS,
                -YEARS,
                i64::MIN,
                i64::MAX
            ][..]
        ),
        any::<i64>()
    ]);
    let retry_after = option::weighted(
        0.4,
        prop_oneof![0..20_000u64, select(&[3_600_000, u64::MAX][..])],
    );
    let answered = |outcome: BoxedStrategy<(Outcome, u16)>| {
        (outcome, retry_after.clone(), skew.clone()).prop_map(|(answer, retry_after, skew)| {
            Event::Answered {
                outcome: answer.0,
                status: answer.1,
                retry_after_ms: retry_after,
                clock_skew_ms: skew,
            }
        })
    };
    prop_oneof![
        6 => answered(Just((Outcome::Accepted, 200)).boxed()),
        5 => answered(Just((Outcome::Refused, 400)).boxed()),
        6 => answered(select(&[
            (Outcome::TryAgain, 503),
            (Outcome::NotUnderstood, 200),
            (Outcome::Credentials, 401),
            (Outcome::Misconfigured, 302),
        ][..]).boxed()),
        2 => Just(Event::NotSent),
        2 => Just(Event::MayHaveArrived),
        1 => Just(Event::Misconfigured(Code::Tls)),
    ]
}

fn entropy() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]
}

/// One call, of submissions so many and of attempts so many.
fn op(submissions: u32, attempts: u32) -> impl Strategy<Value = Op> {
    let pass = prop_oneof![
        2 => 0..2_000u64,
        3 => 2_000..400_000u64,
        1 => select(&[3_960_000, 1 << 40, 1 << 50][..]),
    ];
    let end = prop_oneof![
        Just(End::Drop),
        Just(End::PowerLosesAll),
        any::<u64>().prop_map(End::PowerLosesSome),
    ];
    prop_oneof![
        submissions => content().prop_map(Op::Submit),
        submissions => content().prop_map(Op::SubmitEncoded),
        1 => Just(Op::SubmitInvalid),
        8 => Just(Op::Next),
        8 => (event(), entropy()).prop_map(|(event, entropy)| Op::Settle(event, entropy)),
        attempts => (event(), entropy()).prop_map(|(event, entropy)| Op::Attempt(event, entropy)),
        2 => (-3..4i64).prop_map(Op::SettleStale),
        6 => pass.clone().prop_map(Op::Pass),
        1 => pass.prop_map(Op::StepBack),
        2 => Just(Op::Wake),
        2 => Just(Op::Flush),
        2 => Just(Op::ReadLetters),
        2 => Just(Op::Resubmit),
        1 => (0..4usize).prop_map(Op::Forget),
        3 => (end, entropy()).prop_map(|(end, entropy)| Op::Restart(end, entropy)),
    ]
}

/// Some growing, some draining.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let stretch = prop_oneof![
        vec(op(20, 2), 1..40),
        vec(op(10, 20), 1..60),
        vec(op(2, 30), 1..40),
    ];
    vec(stretch, 1..5).prop_map(|stretches| stretches.concat())
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        select(&[0, 100, 1_000][..]),
        select(&[50, 1_000, 300_000][..]),
        select(&[0, 5_000, 3_600_000][..]),
        select(&[1_000, 300_000][..]),
        0..6u32,
        option::weighted(0.3, 1..4u32),
        option::weighted(0.3, select(&[0, 1, 60_000][..])),
        select(&[0, 0, 30_000][..]),
    )
        .prop_map(
            |(min, max, most_asked, hold, open, max_attempts, max_time_ms, spread)| Policy {
                min_backoff_ms: min,
                max_backoff_ms: max,
                max_retry_after_ms: most_asked,
                hold_ms: hold,
                open_circuit_after: open,
                max_attempts,
                max_time_ms,
                start_spread_ms: spread,
                max_clock_skew_ms: 60_000,
            },
        )
}

fn run(setting: Setting, policy: Policy, ops: &[Op], tally: &Tally) -> Result<(), String> {
    match setting {
        Setting::Ram(capacity) => Driver::new(Ram(capacity), policy)?.run(ops, tally),
        Setting::Log {
            blank,
            limits,
            durability,
        } => Driver::new(Board::new(blank, limits, durability), policy)?.run(ops, tally),
    }
}

/// So many cases, unless the environment asks for more than the usual 256.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: cases * default.cases / 256,
        failure_persistence: None,
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1_591_104_868_201),
            given => given,
        },
        max_shrink_iters: 20_000,
        ..default
    }
}

#[test]
fn any_order_of_calls() {
    let tally = Tally::default();
    let cases = (select(&SETTINGS[..]), policy(), ops());
    let outcome = TestRunner::new(config(2_000)).run(&cases, |(setting, policy, ops)| {
        run(setting, policy, &ops, &tally).map_err(TestCaseError::fail)
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{tally:?}");
    assert!(tally.has_seen_all(), "something never happened: {tally:?}");
}
