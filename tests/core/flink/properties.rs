//! What must hold for any answer, whole, cut, changed or invented, and for any order of calls.
//!
//! The seed is fixed, so that a run repeats. To look further: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=20000`.

use std::collections::BTreeSet;

use edge_report::flink::{
    Details, Failure, Jid, MAX_CAUSE, MAX_JOBS, Metrics, Options, Overview, Plan, Slot, State,
    Step, Watch, read_plan,
};
use edge_report::{Encode, MonoTime, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::cluster::{Cluster, details, exceptions};

fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: cases * default.cases / 256,
        failure_persistence: None,
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1_591_104_868_201),
            given => given,
        },
        ..default
    }
}

/// Answers as Flink gives them.
fn answers() -> Vec<Vec<u8>> {
    let mut cluster = Cluster::default();
    for id in 1..=3 {
        let jid = cluster.submit(id, 1_000);
        cluster.fail(
            jid,
            [State::Running, State::Restarting, State::Failed][id as usize - 1],
            "é \"漢\"",
            2_000,
        );
    }
    let mut answers = vec![cluster.overview(3_000).into_bytes()];
    for run in &cluster.runs {
        answers.extend([details(run).into_bytes(), exceptions(run).into_bytes()]);
    }
    answers
        .push(br#"[{"id":"uptime","value":"2063"},{"id":"numRestarts","value":"NaN"}]"#.to_vec());
    answers.push(br#"{"errors":["a","<Exception on server side:\na.B: c\nCaused by: d.E: f\nEnd of exception on server side>"]}"#.to_vec());
    answers
}

#[derive(Clone, Debug)]
enum Change {
    Cut(Index),
    Put(Index, u8),
    Insert(Index, &'static str),
    Swap(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    const PIECES: &[&str] = &[
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "-1",
        "1e9",
        "\"jobs\":",
        "\\ud800",
        "Caused by: ",
        "\\n",
        "NaN",
        "\u{feff}",
        "9223372036854775808",
    ];
    prop_oneof![
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), select(PIECES)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let len = body.len() + 1;
        match change {
            Change::Cut(at) => body.truncate(at.index(len)),
            Change::Insert(at, piece) => {
                let at = at.index(len);
                body.splice(at..at, piece.bytes());
            }
            _ if body.is_empty() => {}
            Change::Put(at, byte) => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Change::Swap(a, b) => {
                let (a, b) = (a.index(body.len()), b.index(body.len()));
                body.swap(a, b);
            }
        }
    }
    body
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let real = (select(answers()), vec(change(), 0..4));
    let real = real.prop_map(|(body, changes)| changed(body, &changes));
    prop_oneof![8 => real, 1 => vec(any::<u8>(), 0..64)]
}

/// All readers, over any body.
fn read_all(body: &[u8]) {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if let Ok(overview) = Overview::read(body) {
        assert_eq!(overview.jobs().count(), overview.len());
    }
    if let Ok(details) = Details::read(body)
        && let Some(plan) = details.plan
    {
        assert!(
            plan.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(plan).is_ok()
        );
    }
    for failure in [Failure::read(body), Failure::read_errors(body)] {
        let Ok(Some(failure)) = failure else { continue };
        let (mut all, mut some) = ([0; 4096], [0; 50]);
        let cause = failure.cause(&mut all).to_owned();
        assert!(cause.len() <= MAX_CAUSE && !cause.contains('\n'));
        let whole = failure.exception(&mut all).to_owned();
        let cut = failure.exception(&mut some);
        assert!(whole.starts_with(cut) && (cut == whole || cut.len() > 46));
        assert!(failure.stack_trace.to_string().contains(&whole));
    }
    if let Ok(metrics) = Metrics::read(body) {
        for metric in &metrics {
            let number = metric
                .number()
                .map(serde_json::from_str::<serde_json::Number>);
            assert!(number.is_none_or(|number| number.is_ok()));
        }
    }
    let _ = read_plan(body);
    for error in [
        Overview::read(body).err(),
        Details::read(body).err(),
        Failure::read(body).err(),
        Metrics::read(body).err(),
    ] {
        let Some(error) = error else { continue };
        assert!(error.offset() <= body.len() && !error.to_string().is_empty());
        // A place is named for what is no JSON, or else the member.
        assert!(!is_json || error.code().number() >= 20, "{error}");
    }
}

/// An overview as serde_json writes it, members in any order.
fn some_job() -> impl Strategy<Value = Value> {
    let name = "[a-z\"\\\\\u{e9}\n]{0,8}";
    let states = select(&["RUNNING", "FAILED", "FINISHED", "CREATED", "SOMETHING"][..]);
    (any::<u128>(), name, states, 1..i64::MAX, any::<i64>(), any::<Option<i64>>()).prop_map(
        |(jid, name, state, start, end, modified)| {
            json!({"jid": format!("{jid:032x}"), "name": name, "state": state, "start-time": start, "end-time": end,
                "last-modification": modified, "tasks": {"total": 3, "failed": 1}, "new": {"jid": [1, {"jobs": []}]}})
        },
    )
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn any_body(body in body()) {
        read_all(&body);
    }

    #[test]
    fn overviews_as_serde_reads_them(jobs in vec(some_job(), 0..5)) {
        let body = json!({"other": [[]], "jobs": jobs}).to_string();
        let overview = Overview::read(body.as_bytes()).unwrap();
        prop_assert_eq!(overview.len(), jobs.len());
        for (job, expected) in overview.jobs().zip(&jobs) {
            prop_assert_eq!(Some(job.jid), Jid::from_hex(expected["jid"].as_str().unwrap()));
            prop_assert_eq!(job.name.to_string(), expected["name"].as_str().unwrap());
            let known = if expected["state"] == "SOMETHING" { "UNKNOWN" } else { expected["state"].as_str().unwrap() };
            prop_assert_eq!(job.state.name(), known);
            prop_assert_eq!(Some(job.start_time), expected["start-time"].as_i64());
            prop_assert_eq!(job.end_time, expected["end-time"].as_i64().filter(|&time| time > 0));
            prop_assert_eq!(job.last_modification, expected["last-modification"].as_i64().filter(|&time| time > 0));
            prop_assert_eq!(job.tasks_total, Some(3));
        }
    }

    /// However a stack trace is made, the cause is that of the last line that names one.
    #[test]
    fn causes(lines in vec(select(&["\tat a.B.c(B.java:1)", "Caused by: x.Y: z", "\tSuppressed: q.R: s", "\tCaused by: t.U: v", "more text 漢", "Caused by: ", "org.apache.flink.runtime.JobException: Recovery is suppressed by X"][..]), 1..8)) {
        let trace = lines.join("\n");
        let body = json!({"root-exception": trace, "timestamp": 5}).to_string();
        let failure = Failure::read(body.as_bytes()).unwrap().unwrap();
        let mut causes = lines[1..].iter().filter_map(|line| line.strip_prefix("Caused by: "));
        let last = causes.next_back().unwrap_or(lines[0]);
        let (mut buffer, mut all) = ([0; 256], [0; 4096]);
        prop_assert_eq!(failure.cause(&mut buffer), last);
        prop_assert!(trace.ends_with(failure.exception(&mut all)));
    }
}

#[derive(Clone, Debug)]
enum Call {
    Next,
    Later(u64),
    Answer(u16, Vec<u8>),
    /// What a cluster says truly.
    Truth,
    Move(i64, State),
    Failed,
    Reported(bool),
    Anew,
    Stop(i64),
}

fn call() -> impl Strategy<Value = Call> {
    let state = select(
        &[
            State::Running,
            State::Restarting,
            State::Failed,
            State::Finished,
            State::Canceled,
            State::Created,
            State::Suspended,
        ][..],
    );
    prop_oneof![
        4 => Just(Call::Next),
        3 => select(&[1u64, 500, 1_000, 5_000, 30_000, u64::MAX / 4][..]).prop_map(Call::Later),
        2 => (select(&[200u16, 200, 200, 404, 500, 0][..]), body()).prop_map(|(status, body)| Call::Answer(status, body)),
        4 => Just(Call::Truth),
        3 => (1..8i64, state).prop_map(|(id, state)| Call::Move(id, state)),
        1 => Just(Call::Failed),
        3 => prop::bool::weighted(0.8).prop_map(Call::Reported),
        1 => Just(Call::Anew),
        1 => (1..8i64).prop_map(Call::Stop),
    ]
}

proptest! {
    #![proptest_config(config(600))]

    /// Any order of calls: each draft is a valid report, an end is alone in it and stored once, waits are ahead, the budget holds.
    #[test]
    fn any_order_of_calls(
        calls in vec(call(), 1..160),
        slots in 0..12usize,
        texts in select(&[0usize, 100, 700, 5_000][..]),
        requests in 0..8u16,
        plan in select(&[Plan::Never, Plan::WhenNew, Plan::Always][..]),
    ) {
        let options = Options::default().with_requests(requests).with_plan(plan).with_heartbeat_ms(7_000);
        let fresh = || Watch::new(vec![Slot::EMPTY; slots], vec![0; texts], options);
        let (mut watch, mut cluster, mut now) = (fresh(), Cluster::default(), 0u64);
        let mut ends = BTreeSet::new();
        let mut is_true = true;
        let mut requests_since = 0;
        let count = |path: &str, since: &mut u16| *since = if path == "/jobs/overview" { 1 } else { *since + 1 };
        for call in calls {
            let at = MonoTime::from_ms(now);
            match call {
                Call::Later(ms) => now = now.saturating_add(ms),
                Call::Move(id, state) => {
                    let jid = Jid::of_job_id(id);
                    match cluster.runs.iter().any(|run| run.jid == jid) {
                        true if !cluster.run(jid).state.is_terminal() => cluster.fail(jid, state, "x", now % 1_000_000),
                        _ => {
                            cluster.submit(id, now % 1_000_000 + 1);
                        }
                    }
                }
                Call::Next => match watch.next(at) {
                    Step::Wait(until) => prop_assert!(until > at),
                    Step::Get(path) => prop_assert!(path.starts_with("/jobs/")),
                    Step::Report(draft) => {
                        let mut bytes = Vec::new();
                        draft.report().encode_into(&mut bytes).unwrap();
                        let is_valid = check(&bytes, |_| {}).is_valid();
                        prop_assert!(is_valid);
                        let count = draft.jobs().count();
                        prop_assert!((1..=MAX_JOBS).contains(&count) && (count == 1 || !draft.is_final));
                    }
                },
                Call::Truth | Call::Answer(..) => {
                    let (path, is_asked) = match watch.next(at) {
                        Step::Get(path) => (path.to_owned(), true),
                        _ => (String::from("/jobs/overview"), false),
                    };
                    if is_asked {
                        count(&path, &mut requests_since);
                        prop_assert!(requests_since <= requests.max(4));
                    }
                    let (status, body) = match call {
                        Call::Answer(status, body) => {
                            is_true = false;
                            (status, body)
                        }
                        _ => cluster.get(&path, now % 1_000_000).map(|(status, body)| (status, body.into_bytes())).unwrap(),
                    };
                    prop_assert!(watch.response(status, &body, at).is_err() || is_asked);
                }
                Call::Failed => {
                    if let Step::Get(path) = watch.next(at) {
                        count(path, &mut requests_since);
                    }
                    watch.failed(at);
                }
                Call::Reported(is_stored) => {
                    if is_stored && let Step::Report(draft) = watch.next(at) && draft.is_final {
                        let is_new = ends.insert(draft.message_id.to_owned());
                        // Seven jobs and three that answers invent; more, and the youngest end may be told again.
                        prop_assert!(is_new || !is_true || slots < 11, "{} twice", draft.message_id);
                    }
                    watch.reported(is_stored);
                }
                Call::Anew => {
                    let mut kept = vec![0; watch.saved_len()];
                    let len = watch.save(&mut kept).unwrap();
                    watch = fresh();
                    watch.restore(&kept[..len], at).unwrap();
                    requests_since = 0;
                }
                Call::Stop(id) => {
                    watch.stop_asked(Jid::of_job_id(id));
                }
            }
        }
    }
}
