//! The core takes nothing from the heap, from a heartbeat to 100,000 jobs. The counter counts this thread's
//! allocations; what a test needs itself is allocated outside of what is measured.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use allocation_counter::measure;
use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step};
use edge_report::exchange::{
    Credentials, Endpoint, Header, Keys, Outcome, ReplyHeaders, Request, Signable,
    canonical_request, read_reply, sign,
};
use edge_report::json::{Scanner, SliceSink};
use edge_report::{
    Job, JobBuf, JobStatus, MonoTime, Report, ReportBuf, ReportWriter, WallTime, check,
};

/// What `run` gives back; it must not allocate.
#[track_caller]
fn no_heap<T>(what: &str, name: &str, run: impl FnOnce() -> T) -> T {
    let mut result = None;
    let info = measure(|| result = Some(black_box(run())));
    assert_eq!(info.count_total, 0, "{what} of {name}: {info:?}");
    result.unwrap()
}

fn workload(name: &str) -> Vec<u8> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join(format!("../vectors/workloads/{name}.json"))).unwrap()
}

/// W7: 100,000 jobs with rising ids and times and two numbers of metrics each.
fn many_jobs() -> Vec<u8> {
    let mut text = String::from("{\"jobs\":[");
    for n in 0..100_000u64 {
        let comma = if n == 0 { "" } else { "," };
        let (id, time) = (100_000 + n, 1_591_104_868_201 + n);
        let (lag, rate) = (1_000 + n % 9_000, 10_000 + n * 7 % 90_000);
        write!(
            text,
            r#"{comma}{{"job_id":{id},"status":"job_running","create_time":{time},"metrics":"{{\"lagMs\":{lag},\"recordsOut\":{rate}}}"}}"#
        )
        .unwrap();
    }
    text += "],\"msg_confirm_topic\":\"hw/events/messages/dli/message/confirm\",\"message_id\":\"uuid\"}";
    text.into_bytes()
}

fn workloads() -> impl Iterator<Item = (String, Vec<u8>)> {
    let small = (1..=6).map(|n| format!("W{n}"));
    let small = small.map(|name| (name.clone(), workload(&name)));
    small.chain([("W7".to_owned(), many_jobs())])
}

#[test]
fn the_counter_counts() {
    let count = |run: &dyn Fn()| measure(run).count_total;
    assert_eq!(count(&|| ()), 0);
    assert_eq!(count(&|| drop(black_box(Box::new(1)))), 1);
    assert!(
        count(&|| drop(black_box(
            (0..1000).collect::<std::collections::VecDeque<_>>()
        ))) > 0
    );
    let growing = || {
        let mut bytes = Vec::new();
        (0..100u8).for_each(|b| bytes.push(black_box(b)));
        drop(black_box(bytes));
    };
    assert!(count(&growing) > 1);
    let report = ReportBuf::from_json(&workload("W1")).unwrap();
    assert_eq!(
        count(&|| drop(black_box(report.encode_to_vec().unwrap()))),
        1
    );
    let caught = std::panic::catch_unwind(|| no_heap("boxing", "1", || Box::new(1)));
    assert!(caught.is_err());
}

#[test]
fn workload_7_is_what_it_is_said_to_be() {
    let text = many_jobs();
    assert!(
        (11_800_000..12_000_000).contains(&text.len()),
        "{}",
        text.len()
    );
    let mut findings = 0;
    assert!(check(&text, |_| findings += 1).is_valid());
    assert_eq!(findings, 0);
}

#[test]
fn reading_and_writing() {
    for (name, text) in workloads() {
        let summary = no_heap("check", &name, || {
            check(&text, |finding| _ = black_box(finding))
        });
        assert!(summary.is_valid(), "{name}");
        let tokens = no_heap("scanning", &name, || {
            let mut scanner = Scanner::new(&text);
            std::iter::from_fn(|| scanner.next_token().unwrap()).count()
        });
        assert!(tokens > 10, "{name}");

        let owned = ReportBuf::from_json(&text).unwrap();
        let jobs: Vec<_> = owned.jobs.iter().map(JobBuf::as_job).collect();
        let mut report = Report::new(&owned.message_id, &jobs);
        report.msg_confirm_topic = owned.msg_confirm_topic.as_deref();
        let mut buffer = vec![0; text.len()];
        assert_eq!(
            no_heap("encoded_len", &name, || report.encoded_len()),
            text.len()
        );
        no_heap("Report::check", &name, || {
            report.check(|finding| _ = black_box(finding))
        });
        let encoded = no_heap("encode", &name, || report.encode(&mut buffer).unwrap());
        assert!(encoded == text, "{name}");
        let half = text.len() / 2;
        no_heap("encode into too little", &name, || {
            report.encode(&mut buffer[..half]).unwrap_err()
        });

        let topic = report.msg_confirm_topic;
        let written = no_heap("ReportWriter over a slice", &name, || {
            let writer = ReportWriter::over(&mut buffer, topic, report.message_id).unwrap();
            write_all(writer, &report).into_written()
        });
        assert!(written == text, "{name}");
    }
}

fn write_all<'m, S: edge_report::json::Sink>(
    mut writer: ReportWriter<'m, S>,
    report: &Report<'m>,
) -> S {
    for job in report.jobs {
        writer.job(job).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn one_exchange() {
    let now = WallTime::from_unix_ms(1_591_104_868_201);
    let keys = Keys::new("EXAMPLEAK", "EXAMPLESK").with_security_token("EXAMPLE-TOKEN");
    let credentials = [
        Credentials::None,
        Credentials::token("EXAMPLE-TOKEN"),
        Credentials::Keys(keys.clone()),
    ];
    let headers = ["Content-Type", "X-Project-Id", "User-Agent", "Accept"];
    let headers = headers.map(|name| Header { name, value: "a b" });
    for (name, body) in workloads() {
        let mut scratch = [0; 600];
        no_heap("Request::new", &name, || {
            let endpoint = Endpoint::new("https://gateway.example:8443/dli/", "項目").unwrap();
            for credentials in &credentials {
                let request = Request::new(&endpoint, credentials, &body, now, &mut scratch);
                black_box(request.unwrap().headers().len());
            }
            Request::new(&endpoint, &credentials[2], b"", now, &mut [])
                .map(drop)
                .unwrap_err()
        });
        let signable = Signable::new(
            "POST",
            "gateway.example",
            "/v1/%E9%A0%85/edgesrv/job-report",
        )
        .with_query(&[("b", "2"), ("a", "1")])
        .with_headers(&headers)
        .with_body(&body);
        no_heap("sign", &name, || {
            sign(&signable, &keys, now, &mut scratch)
                .unwrap()
                .x_sdk_date()
                .len()
        });
        no_heap("canonical_request", &name, || {
            canonical_request(&signable, &keys, now, &mut SliceSink::new(&mut scratch)).unwrap();
        });
        // An answer may be anything, even a report.
        no_heap("read_reply", &name, || {
            let headers = ReplyHeaders::default()
                .with_retry_after("Tue, 02 Jun 2020 13:36:28 GMT")
                .with_date("Tuesday, 02-Jun-20 13:36:28 GMT");
            let reply = read_reply(400, headers, &body);
            (reply.retry_after(now), reply.clock_skew_ms(now))
        });
    }
    no_heap("read_reply", "an acceptance", || {
        let body = br#"{"is_success":"tr\u0075e","message":"\u4efb\u52a1"}"#;
        read_reply(200, ReplyHeaders::default(), body).outcome
    });
}

/// Until it is full, drops what is superseded and refuses what it has no room for. Its index of jobs is all that it takes from the heap.
#[test]
fn a_courier_in_memory() {
    let mut superseded = 0;
    let info = measure(|| {
        let policy = Policy::default().with_start_spread(Duration::ZERO);
        let outbox = RamOutbox::new([0; 4096], 4096);
        let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime::from_ms(0), 0);
        for n in 0..2_000u16 {
            let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201);
            let jobs = [job.with_job_id(1 + i64::from(n % 7))];
            let report = Report::new("id", &jobs).with_topic("topic");
            courier.submit(&report, MonoTime::from_ms(0), None).unwrap();
            if n % 3 == 0
                && let Step::Send(outgoing) = courier.next(MonoTime::from_ms(u64::from(n))).unwrap()
            {
                let ticket = outgoing.ticket;
                let event = match n % 2 {
                    0 => Event::response(Outcome::Accepted, 200),
                    _ => Event::response(Outcome::Refused, 400),
                };
                let _ = courier
                    .settle(ticket, event, MonoTime::from_ms(0), 0)
                    .unwrap();
            }
            if n % 100 == 0 {
                courier
                    .resubmit_dead_letter(None, MonoTime::from_ms(0), None)
                    .unwrap();
            }
        }
        superseded = courier.status().counters.superseded;
    });
    assert!(superseded > 1_000);
    // Seven jobs, and as many reports that are the newest of one.
    assert!(info.bytes_max < 2_000, "{info:?}");
}
