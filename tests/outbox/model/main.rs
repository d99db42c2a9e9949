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

mod backend;
#[path = "../courier_common/mod.rs"]
mod courier_common;
mod driver;
mod oracle;
mod timing;

use std::cell::Cell;

use edge_report::courier::{Backlog, Durability, Event, Policy, StorageLimits, WhenLettersFull};
use edge_report::{Code, JobStatus, Outcome};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

use backend::{Board, End, Ram};
use driver::Driver;

pub(crate) use courier_common::ensure;

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
    Close,
    /// At all there is.
    Look,
    /// One of the dead letters, or the first.
    Resubmit(Option<usize>),
    /// One of the dead letters, or all up to it.
    Forget {
        nth: usize,
        up_to: bool,
    },
    /// So many attempts, with the waits between them, of which the first are in an outage. Reports of a bad job get `bad_event`.
    Serve {
        bad: i64,
        bad_event: Event,
        outage: u32,
        count: u32,
        entropy: u64,
    },
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
    pub(crate) buried_late: Cell<u64>,
    pub(crate) overtaken: Cell<u64>,
    pub(crate) at_fault: Cell<u64>,
    pub(crate) jumps: Cell<u64>,
    pub(crate) clean_ends: Cell<u64>,
    pub(crate) held: Cell<u64>,
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
            buried_late,
            overtaken,
            at_fault,
            jumps,
            clean_ends,
            held,
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
            buried_late,
            overtaken,
            at_fault,
            jumps,
            clean_ends,
            held,
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
        limits: [StorageLimits; 2],
        durability: Durability,
    },
}

const BATCH: Durability = Durability::Batch {
    reports: 5,
    ms: 3_000,
};

/// Segments of so many bytes, all of them of so many, in multiples of a unit, written in multiples of another.
const fn limits(segment: usize, total: usize, units: (usize, usize), blank: u8) -> StorageLimits {
    StorageLimits::new(segment, total)
        .with_length_unit(units.0)
        .with_write_unit(units.1)
        .with_blank(blank)
}

const SETTINGS: [Setting; 7] = [
    Setting::Ram(2_000),
    Setting::Ram(6_000),
    Setting::Log {
        limits: [
            limits(2048, 6 * 2048, (256, 8), 0),
            limits(2048, 3 * 2048, (256, 8), 0),
        ],
        durability: Durability::Each,
    },
    Setting::Log {
        limits: [
            limits(4096, 3 * 4096, (4096, 32), 0xff),
            limits(4096, 2 * 4096, (4096, 32), 0xff),
        ],
        durability: Durability::Each,
    },
    Setting::Log {
        limits: [
            limits(1024, 6 * 1024, (1024, 8), 0),
            limits(2048, 2 * 2048, (1024, 8), 0),
        ],
        durability: Durability::Each,
    },
    Setting::Log {
        limits: [
            limits(2048, 5 * 2048, (2048, 8), 0),
            limits(2048, 2 * 2048, (2048, 8), 0),
        ],
        durability: BATCH,
    },
    Setting::Log {
        limits: [
            limits(4096, 4 * 4096, (512, 16), 0xff),
            limits(2048, 4 * 2048, (512, 16), 0xff),
        ],
        durability: BATCH,
    },
];

fn content() -> impl Strategy<Value = Content> {
    let status = prop_oneof![
        4 => Just(JobStatus::RUNNING),
        1 => Just(JobStatus::RUNNING_EXCEPTION),
        1 => Just(JobStatus::FINISH),
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
            let mut event = Event::response(answer.0, answer.1);
            event.retry_after_ms = retry_after;
            event.clock_skew_ms = skew;
            event
        })
    };
    prop_oneof![
        6 => answered(Just((Outcome::Accepted, 200)).boxed()),
        5 => answered(Just((Outcome::Refused, 400)).boxed())
            .prop_map(|event| event.with_error_code("DLI.0001").with_text("no such job")),
        6 => answered(select(&[
            (Outcome::TryAgain, 503),
            (Outcome::NotUnderstood, 200),
            (Outcome::Credentials, 401),
            (Outcome::Misconfigured, 302),
        ][..]).boxed()),
        2 => Just(Event::NOT_SENT.with_text("connection refused")),
        2 => Just(Event::MAY_HAVE_ARRIVED),
        1 => Just(Event::failed(Code::Tls)),
    ]
}

/// What others than the service say of one report.
fn bad_event() -> impl Strategy<Value = Event> {
    select(vec![
        Event::response(Outcome::NotUnderstood, 403),
        Event::response(Outcome::TryAgain, 500),
        Event::response(Outcome::Credentials, 401),
        Event::MAY_HAVE_ARRIVED,
        Event::response(Outcome::TryAgain, 503).with_retry_after_ms(1_500),
        Event::response(Outcome::Refused, 400),
    ])
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
        Just(End::Closed),
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
        1 => Just(Op::Close),
        2 => Just(Op::Look),
        2 => option::of(0..8usize).prop_map(Op::Resubmit),
        2 => (0..8usize, any::<bool>()).prop_map(|(nth, up_to)| Op::Forget { nth, up_to }),
        3 => (1..4i64, bad_event(), prop_oneof![2 => Just(0), 1 => 0..12u32], 1..40u32, entropy())
            .prop_map(|(bad, bad_event, outage, count, entropy)| Op::Serve {
                bad,
                bad_event,
                outage,
                count,
                entropy,
            }),
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
    let waits = (
        select(&[0, 100, 1_000][..]),
        select(&[50, 1_000, 300_000][..]),
        select(&[0, 5_000, 3_600_000][..]),
        select(&[1_000, 300_000][..]),
        0..6u32,
    );
    let given = (
        waits,
        option::weighted(0.3, 1..4u32),
        option::weighted(0.3, select(&[0, 1, 60_000][..])),
        select(&[0, 0, 30_000][..]),
        select(&[1, 2, 3, 8][..]),
        select(&[Backlog::KeepAll, Backlog::LatestPerJob][..]),
        select(&[WhenLettersFull::DropOldest, WhenLettersFull::Hold][..]),
    );
    given.prop_map(
        |(
            (min, max, most_asked, hold, open),
            max_attempts,
            max_time_ms,
            spread,
            refuse_after,
            backlog,
            when_letters_full,
        )| {
            let mut policy = Policy::default();
            policy.min_backoff_ms = min;
            policy.max_backoff_ms = max;
            policy.max_retry_after_ms = most_asked;
            policy.hold_ms = hold;
            policy.open_circuit_after = open;
            policy.max_attempts = max_attempts;
            policy.max_time_ms = max_time_ms;
            policy.start_spread_ms = spread;
            policy.refuse_after = refuse_after;
            policy.backlog = backlog;
            policy.when_letters_full = when_letters_full;
            policy
        },
    )
}

fn run(setting: Setting, policy: Policy, ops: &[Op], tally: &Tally) -> Result<(), String> {
    match setting {
        Setting::Ram(capacity) => Driver::new(Ram(capacity), policy)?.run(ops, tally),
        Setting::Log { limits, durability } => {
            Driver::new(Board::new(limits, durability), policy)?.run(ops, tally)
        }
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
