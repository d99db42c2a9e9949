//! Any answers of Flink. First byte even: the rest is one body, for all readers. Odd: a watch in any state of affairs: a byte a step, and the answers to
//! what it asks are made of the input, or are the input's rest.
#![no_main]

use edge_report::flink::{
    Details, Failure, Jid, MAX_CAUSE, Metrics, Options, Overview, Plan, Slot, Step, Watch,
    read_plan,
};
use edge_report::{Encode, MonoTime, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((kind, body)) if kind % 2 == 0 => read(body),
    Some((_, calls)) => watch(calls),
    None => {}
});

fn read(body: &[u8]) {
    let is_json = serde_json::from_slice::<serde_json::Value>(body).is_ok();
    if let Ok(overview) = Overview::read(body) {
        assert_eq!(overview.jobs().count(), overview.len());
    }
    if let Ok(Details {
        plan: Some(plan), ..
    }) = Details::read(body)
    {
        assert!(plan.starts_with('{'));
        assert!(!is_json || serde_json::from_str::<serde_json::Value>(plan).is_ok());
    }
    let _ = read_plan(body);
    for failure in [Failure::read(body), Failure::read_errors(body)] {
        if let Ok(Some(failure)) = failure {
            let (mut all, mut some) = (vec![0; body.len()], [0; 50]);
            assert!(failure.cause(&mut all).len() <= MAX_CAUSE);
            let whole = failure.exception(&mut all).to_owned();
            assert!(whole.starts_with(failure.exception(&mut some)));
        }
    }
    if let Ok(metrics) = Metrics::read(body) {
        for metric in &metrics {
            let number = metric.number().map(serde_json::from_str::<f64>);
            assert!(number.is_none_or(|number| number.is_ok()
                || number.is_err_and(|error| error.to_string().contains("range"))));
        }
    }
    for error in [
        Overview::read(body).err(),
        Details::read(body).err(),
        Metrics::read(body).err(),
    ] {
        assert!(
            error.is_none_or(|error| error.offset() <= body.len() && !error.to_string().is_empty())
        );
    }
}

fn watch(calls: &[u8]) {
    let (mut rest, mut now) = (calls, 0u64);
    let byte = |rest: &mut &[u8]| {
        let (&first, behind) = rest.split_first()?;
        *rest = behind;
        Some(first)
    };
    let Some(shape) = byte(&mut rest) else { return };
    let options = Options::default()
        .with_requests(u16::from(shape >> 5))
        .with_heartbeat_ms(u64::from(shape & 1) * 7_000)
        .with_plan(if shape & 2 == 0 {
            Plan::Always
        } else {
            Plan::WhenNew
        });
    let slots = usize::from(shape >> 2 & 7);
    let fresh = || Watch::new(vec![Slot::EMPTY; slots], vec![0; 600], options);
    let mut watch = fresh();
    let mut offered: Option<Vec<u8>> = None;
    let mut requests = 0;
    while let Some(call) = byte(&mut rest) {
        let at = MonoTime::from_ms(now);
        match watch.next(at) {
            Step::Wait(until) => {
                assert!(until > at);
                match call % 4 {
                    0 => now = until.ms(),
                    1 => now += 700,
                    2 => {
                        let mut kept = vec![0; watch.saved_len()];
                        let len = watch.save(&mut kept).expect("room");
                        watch = fresh();
                        watch.restore(&kept[..len], at).expect("what was kept");
                        requests = 0;
                        offered = None;
                    }
                    _ => {
                        watch.stop_asked(Jid::of_job_id(i64::from(call >> 4)));
                        let _ = watch.response(200, b"{}", at);
                        let _ = fresh().restore(rest, at);
                    }
                }
            }
            Step::Get(path) => {
                requests = if path == "/jobs/overview" {
                    1
                } else {
                    requests + 1
                };
                assert!(requests <= options.requests.max(4));
                let path = path.to_owned();
                match call % 4 {
                    0 => {
                        let _ = watch.response(200, rest, at);
                    }
                    1 => watch.failed(at),
                    _ => {
                        let seed = [byte(&mut rest), byte(&mut rest), byte(&mut rest)]
                            .map(Option::unwrap_or_default);
                        let body = made(&path, seed);
                        assert!(watch.response(200, body.as_bytes(), at).is_ok());
                    }
                }
            }
            Step::Report(draft) => {
                let mut bytes = Vec::new();
                draft
                    .report()
                    .encode_into(&mut bytes)
                    .expect("a valid report");
                assert!(check(&bytes, |_| {}).is_valid());
                let is_stored = call % 4 > 0;
                if draft.is_final {
                    // What was offered and not stored is offered again as it was.
                    let before = offered.take();
                    assert!(before.is_none_or(|before| before == bytes));
                    offered = (!is_stored).then_some(bytes);
                }
                watch.reported(is_stored);
                if !is_stored {
                    now += 1;
                }
            }
        }
    }
}

/// A sound answer to any path.
fn made(path: &str, [first, second, third]: [u8; 3]) -> String {
    const STATES: [&str; 8] = [
        "CREATED",
        "RUNNING",
        "RESTARTING",
        "FAILED",
        "FINISHED",
        "CANCELED",
        "CANCELLING",
        "SUSPENDED",
    ];
    let state = |bits: u8| STATES[usize::from(bits & 7)];
    if path == "/jobs/overview" {
        let job = |bits: u8, start: u8| {
            let (jid, start) = (bits >> 3 & 15, 1_795_400_000_000u64 + u64::from(start & 3));
            format!(
                r#"{{"jid":"{jid:032x}","state":"{}","start-time":{start},"duration":{first},"last-modification":{}}}"#,
                state(bits),
                start + u64::from(third)
            )
        };
        return format!(
            r#"{{"jobs":[{},{}]}}"#,
            job(first, third),
            job(second, third >> 2)
        );
    }
    if path.contains("/metrics") {
        return format!(r#"[{{"id":"uptime","value":"{first}"}}]"#);
    }
    if path.contains("/exceptions") {
        return format!(
            r#"{{"root-exception":"a.B: {first}\nCaused by: c.D: {second}","timestamp":{third}}}"#
        );
    }
    format!(
        r#"{{"jid":"{}","state":"{}","plan":{{"n":{second}}}}}"#,
        &path[6..38],
        state(first)
    )
}
