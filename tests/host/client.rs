//! The client against every fault of the receiver, and against the traps of its HTTP library.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

mod raw;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Policy, RamOutbox};
use edge_report::exchange::Keys;
use edge_report::{
    Client, ClientBuilder, Code, Credentials, FairMutex, Job, JobStatus, MonoTime, Outcome, Pause,
    Report, SendError,
};
use edge_report_receiver::{Options, Receiver};
use raw::{raw_server, read_until};

const READ: Duration = Duration::from_millis(800);
const TOTAL: Duration = Duration::from_millis(1800);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(1500);

fn receiver(faults: &[&str]) -> Receiver {
    let faults = faults.iter().map(|spec| spec.parse().unwrap());
    Receiver::start(faults.fold(Options::new(), Options::fault)).unwrap()
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url, "project")
        .connect_timeout(Duration::from_millis(600))
        .send_timeout(READ)
        .response_timeout(READ)
        .total_timeout(TOTAL)
        .min_rate(u32::MAX)
}

fn send(client: &mut Client, message_id: &str) -> Class {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    class(client.send(&Report::new(message_id, &jobs).with_topic("topic")))
}

#[derive(Debug, PartialEq)]
enum Class {
    Reply(Outcome),
    Invalid,
    NotSent,
    MayHaveArrived,
    Misconfigured(Code),
}

fn class(result: Result<edge_report::Reply<'_>, SendError>) -> Class {
    match result {
        Ok(reply) => Class::Reply(reply.outcome),
        Err(SendError::Invalid(_)) => Class::Invalid,
        Err(SendError::NotSent { .. }) => Class::NotSent,
        Err(SendError::MayHaveArrived { .. }) => Class::MayHaveArrived,
        Err(error) => Class::Misconfigured(error.code()),
    }
}

/// One fault, then a normal exchange: outcome, time, how often the first was accepted, and whether its connection serves on.
#[test]
fn every_fault() {
    use Class::{MayHaveArrived, Reply};
    use Outcome::{Accepted, Credentials, Misconfigured, NotUnderstood, Refused, TryAgain};

    const SOON: Duration = Duration::ZERO;
    let kept = true;
    let table = [
        // fault, class, at least, accepted, connection kept
        ("status=400,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        ("status=400,code=DLI.0999", Reply(TryAgain), SOON, 0, kept),
        ("status=400,code=DLI.0019", Reply(TryAgain), SOON, 0, kept),
        ("status=400,code=DLI.10001", Reply(TryAgain), SOON, 0, kept),
        ("status=401", Reply(Credentials), SOON, 0, kept),
        ("status=403", Reply(NotUnderstood), SOON, 0, kept),
        (
            "status=403,code=APIGW.0301",
            Reply(Credentials),
            SOON,
            0,
            kept,
        ),
        ("status=404", Reply(NotUnderstood), SOON, 0, kept),
        ("status=404,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        (
            "status=404,code=APIGW.0101",
            Reply(Misconfigured),
            SOON,
            0,
            kept,
        ),
        ("status=405", Reply(NotUnderstood), SOON, 0, kept),
        ("status=405,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        ("status=408", Reply(TryAgain), SOON, 0, kept),
        ("status=409,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        ("status=413", Reply(NotUnderstood), SOON, 0, kept),
        ("status=413,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        ("status=418", Reply(NotUnderstood), SOON, 0, kept),
        ("status=422", Reply(NotUnderstood), SOON, 0, kept),
        ("status=422,code=DLI.0001", Reply(Refused), SOON, 0, kept),
        (
            "status=200,code=portal",
            Reply(NotUnderstood),
            SOON,
            0,
            kept,
        ),
        ("status=425", Reply(TryAgain), SOON, 0, kept),
        ("status=429,retry-after=2", Reply(TryAgain), SOON, 0, kept),
        ("status=500", Reply(TryAgain), SOON, 0, kept),
        ("status=503", Reply(TryAgain), SOON, 0, kept),
        (
            "redirect=http://127.0.0.1:1/",
            Reply(Misconfigured),
            SOON,
            0,
            kept,
        ),
        ("refuse", Reply(Refused), SOON, 0, kept),
        ("success-string", Reply(Accepted), SOON, 1, kept),
        ("html", Reply(NotUnderstood), SOON, 0, kept),
        ("empty", Reply(NotUnderstood), SOON, 0, kept),
        (
            "delay=100",
            Reply(Accepted),
            Duration::from_millis(100),
            1,
            kept,
        ),
        ("delay=5000", MayHaveArrived, READ, 1, !kept),
        ("drip=1", Reply(Accepted), SOON, 1, kept),
        ("drip=50", MayHaveArrived, READ, 1, !kept),
        ("silent", MayHaveArrived, READ, 1, !kept),
        ("cut", MayHaveArrived, SOON, 1, !kept),
        ("reset-before", MayHaveArrived, SOON, 0, !kept),
        ("reset-after", MayHaveArrived, SOON, 1, !kept),
        ("close-idle", Reply(Accepted), SOON, 1, !kept),
        ("huge", Reply(NotUnderstood), SOON, 1, !kept),
        ("endless-headers", MayHaveArrived, SOON, 1, !kept),
    ];
    for (fault, expected, at_least, accepted, is_kept) in table {
        let receiver = receiver(&[&format!("{fault}@first 1")]);
        let mut client = builder(&receiver.url());
        // What is to be waited for may take its time on a busy machine; what is not ends in time.
        let may_be_late = expected != MayHaveArrived;
        if may_be_late {
            let patience = Duration::from_secs(60);
            client = client.response_timeout(patience).total_timeout(patience);
        }
        let mut client = client.build().unwrap();
        let begin = Instant::now();
        assert_eq!(send(&mut client, "first"), expected, "{fault}");
        let took = begin.elapsed();
        assert!(
            took >= at_least && (may_be_late || took < TOTAL + SLACK),
            "{fault} took {took:?}"
        );
        assert_eq!(
            send(&mut client, "second"),
            Reply(Accepted),
            "after {fault}"
        );
        let first = receiver
            .accepted()
            .iter()
            .filter(|a| a.message_id == "first")
            .count();
        assert_eq!(first, accepted, "{fault}");
        assert_eq!(
            receiver.connections(),
            if is_kept { 1 } else { 2 },
            "{fault}"
        );
    }
}

#[test]
fn retry_advice_and_reasons_reach_the_caller() {
    let receiver = receiver(&["status=429,retry-after=2,code=APIGW.0308"]);
    let mut client = builder(&receiver.url()).build().unwrap();
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let reply = client.send(&Report::new("1", &jobs)).unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(
        reply.retry_after(edge_report::WallTime::now()),
        Some(Duration::from_secs(2))
    );
    assert!(reply.error_code.unwrap().is("APIGW.0308"));
    assert!(reply.date.is_some());
}

/// Memory stays bounded while 64 MiB come in, and while headers come without end.
#[test]
fn giant_answers_cost_no_memory() {
    fn peak_kb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
    let receiver = receiver(&["huge@first 4", "endless-headers@first 4"]);
    let mut client = builder(&receiver.url()).build().unwrap();
    let before = peak_kb();
    for _ in 0..8 {
        assert_ne!(send(&mut client, "1"), Class::Reply(Outcome::Accepted));
    }
    let rise = peak_kb() - before;
    assert!(rise < 32 * 1024, "{rise} KiB more");
}

/// A server that resets a kept connection just as the next report comes: one more try at once, and no second report.
#[test]
fn a_stale_connection_is_replaced_at_once() {
    let lost_before = receiver(&["reset-before@every 2"]);
    let mut client = builder(&lost_before.url()).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::Reply(Outcome::Accepted));
    assert_eq!(send(&mut client, "2"), Class::Reply(Outcome::Accepted));
    assert_eq!((lost_before.connections(), lost_before.repeats()), (2, 0));

    let lost_after = receiver(&["reset-after@every 2"]);
    let mut client = builder(&lost_after.url()).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::Reply(Outcome::Accepted));
    assert_eq!(send(&mut client, "2"), Class::Reply(Outcome::Accepted));
    assert_eq!((lost_after.accepted().len(), lost_after.repeats()), (2, 1));
}

#[test]
fn a_fresh_connection_that_fails_is_not_tried_twice() {
    let receiver = receiver(&["reset-before@first 1"]);
    let mut client = builder(&receiver.url()).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::MayHaveArrived);
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn one_connection_serves_many() {
    let receiver = receiver(&[]);
    let mut client = builder(&receiver.url()).build().unwrap();
    for n in 0..200 {
        assert_eq!(
            send(&mut client, &n.to_string()),
            Class::Reply(Outcome::Accepted)
        );
    }
    assert_eq!(
        (receiver.connections(), receiver.accepted().len()),
        (1, 200)
    );
}

#[test]
fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut client = builder(&format!("http://{free}")).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::NotSent);
}

#[test]
fn a_report_that_breaks_the_contract_stays_here() {
    let receiver = receiver(&[]);
    let mut client = builder(&receiver.url()).build().unwrap();
    let jobs = [Job::new(JobStatus::RUNNING, 0)];
    let error = client.send(&Report::new("1", &jobs)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "jobs[0].create_time: must be greater than 0"
    );
    assert_eq!(receiver.requests(), 0);
    let too_large = vec![b' '; edge_report::MAX_REPORT_BYTES + 1];
    let error = client.send_encoded(&too_large).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(receiver.requests(), 0);
}

/// The largest report there is goes through; a body that the server does not want to read may cost the answer.
#[test]
fn large_bodies() {
    let receiver = receiver(&[]);
    let mut client = Client::builder(&receiver.url(), "project").build().unwrap();
    let plan = "x".repeat(edge_report::MAX_REPORT_BYTES - 200);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_plan(&plan)];
    let report = Report::new("large", &jobs);
    assert_eq!(class(client.send(&report)), Class::Reply(Outcome::Accepted));
    assert_eq!(receiver.accepted()[0].message_id, "large");
}

#[test]
fn signatures_tokens_and_clocks() {
    fn signed(clock: fn() -> i64) -> Receiver {
        Receiver::start(Options::new().keys("AK", "SK").clock(clock)).unwrap()
    }
    const SKEW: i64 = 20 * 60 * 1000;
    let on_time = signed(|| edge_report::WallTime::now().unix_ms());
    let keys = |ak: &'static str, sk: &'static str| Credentials::keys(ak, sk);
    for (credentials, expected) in [
        (keys("AK", "SK"), Outcome::Accepted),
        (keys("AK", "other"), Outcome::Credentials),
        (keys("other", "SK"), Outcome::Credentials),
        (Credentials::None, Outcome::Credentials),
        (Credentials::token("token"), Outcome::Credentials),
        (
            Credentials::Keys(Keys::new("AK", "SK").with_security_token("T")),
            Outcome::Accepted,
        ),
    ] {
        let mut client = builder(&on_time.url())
            .credentials(credentials)
            .build()
            .unwrap();
        assert_eq!(send(&mut client, "1"), Class::Reply(expected));
    }

    let ahead = signed(|| edge_report::WallTime::now().unix_ms() + SKEW);
    let mut client = builder(&ahead.url())
        .credentials(keys("AK", "SK"))
        .build()
        .unwrap();
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let report = Report::new("1", &jobs);
    let reply = client.send(&report).unwrap();
    assert_eq!(reply.outcome, Outcome::Credentials);
    let skew = reply.clock_skew_ms(edge_report::WallTime::now()).unwrap();
    assert!((skew - SKEW).abs() < 3000, "{skew}");
    client.set_clock_offset_ms(skew);
    assert_eq!(class(client.send(&report)), Class::Reply(Outcome::Accepted));

    let mut client = builder(&on_time.url()).build().unwrap();
    assert_eq!(send(&mut client, "2"), Class::Reply(Outcome::Credentials));
    client.set_credentials(&keys("AK", "SK")).unwrap();
    assert_eq!(send(&mut client, "2"), Class::Reply(Outcome::Accepted));
}

#[test]
fn settings_that_cannot_work() {
    let build = |builder: ClientBuilder| builder.build().unwrap_err().code;
    let at = |url: &str| Client::builder(url, "project");
    assert_eq!(build(at("gateway.example")), Code::UrlScheme);
    assert_eq!(build(at("http://gateway.example")), Code::PlainHttp);
    assert_eq!(build(at("https://a:0")), Code::UrlPort);
    assert_eq!(build(Client::builder("https://a", "")), Code::ProjectId);
    assert_eq!(build(at("https://a").proxy("::")), Code::Proxy);
    assert_eq!(
        build(at("https://a").proxy("socks5://127.0.0.1:1")),
        Code::Proxy
    );
    assert_eq!(build(at("https://a").user_agent("a\nb")), Code::UserAgent);
    for prefixes in [&[""][..], &["DLI.", "\n"], &["x"; 9], &[]] {
        let codes = at("https://a").service_codes(prefixes);
        assert_eq!(build(codes), Code::ServiceCodes);
    }
    assert_eq!(
        build(at("https://a").credentials(Credentials::token("a\nb"))),
        Code::Token
    );
    assert_eq!(
        build(at("https://a").credentials(Credentials::keys("", "SK"))),
        Code::AccessKey
    );
    // What ends with a line break comes from a file.
    for secret_key in ["", " ", "SK\n", "SK\r\n", "\tSK", " SK", "SK "] {
        let credentials = Credentials::keys("AK", secret_key);
        assert_eq!(
            build(at("https://a").credentials(credentials)),
            Code::SecretKey,
            "{secret_key:?}"
        );
    }
    assert!(
        at("http://gateway.example")
            .allow_plain_http()
            .build()
            .is_ok()
    );
    let error = at("https://a:0").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the port must be a number from 1 to 65535: byte 10 of the base URL"
    );
}

#[test]
fn no_secret_in_debug() {
    let credentials = Credentials::keys("AK", "secret-key");
    let client = builder("https://a")
        .credentials(credentials)
        .build()
        .unwrap();
    assert!(!format!("{client:?}").contains("secret-key"));
}

/// A proxy in miniature: answers CONNECT with `status`, then passes bytes on.
fn proxy(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:password@{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(
                head.starts_with("CONNECT ") && head.contains("roxy-"),
                "{head}"
            );
            write!(client, "HTTP/1.1 {status}\r\n\r\n").unwrap();
            if !status.starts_with("200") {
                continue;
            }
            let target = head.split(' ').nth(1).unwrap();
            let server = TcpStream::connect(target).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    url
}

#[test]
fn through_a_proxy() {
    let receiver = receiver(&[]);
    let through = |status| {
        builder(&receiver.url())
            .proxy(&proxy(status))
            .allow_plain_http()
            .build()
            .unwrap()
    };
    let mut client = through("200 OK");
    for id in ["1", "2", "3"] {
        assert_eq!(send(&mut client, id), Class::Reply(Outcome::Accepted));
    }
    assert_eq!(receiver.connections(), 1);
    let refused = send(&mut through("407 Proxy Authentication Required"), "4");
    assert_eq!(refused, Class::Misconfigured(Code::Proxy));
    assert_eq!(send(&mut through("503 Busy"), "4"), Class::NotSent);
    assert_eq!(receiver.accepted().len(), 3);
}

fn courier(reports: usize) -> Courier<RamOutbox<Vec<u8>>, Vec<u8>> {
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let outbox = RamOutbox::new(Vec::new(), 1 << 16);
    let mut courier = Courier::new(outbox, Vec::new(), policy, MonoTime::now(), 0);
    for number in 0..reports {
        let id = number.to_string();
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
        let report = Report::new(&id, &jobs);
        courier.submit(&report, MonoTime::now(), None).unwrap();
    }
    courier
}

/// A report that is not sent must not be in flight: the courier's state would say so until somebody delivers again.
#[test]
fn with_the_time_up_nothing_is_put_in_flight() {
    let receiver = receiver(&[]);
    let mut client = builder(&receiver.url()).build().unwrap();
    let mut courier = courier(1);
    let pause = client.deliver(&mut courier, Instant::now(), |_| ());
    assert_eq!(pause.unwrap(), Pause::TimeUp);
    let status = courier.status();
    assert_eq!((status.in_flight, status.waiting), (None, 1));
    assert_eq!(receiver.requests(), 0);
    let later = Instant::now() + Duration::from_secs(20);
    let pause = client.deliver(&mut courier, later, |_| ());
    assert_eq!(pause.unwrap(), Pause::Idle);
    assert_eq!(receiver.accepted().len(), 1);
    let pause = client.deliver(&mut courier, Instant::now(), |_| ());
    assert_eq!(pause.unwrap(), Pause::Idle);
}

/// The second one gets the same report, and its verdict is out already: that is no error.
#[test]
fn two_clients_over_one_courier() {
    let receiver = receiver(&["delay=5"]);
    let courier = FairMutex::new(courier(20));
    let until = Instant::now() + Duration::from_secs(60);
    let deliver = || {
        let mut client = builder(&receiver.url()).build().unwrap();
        client.deliver(&courier, until, |_| ()).unwrap()
    };
    thread::scope(|scope| {
        let both = [scope.spawn(deliver), scope.spawn(deliver)];
        for one in both {
            assert_eq!(one.join().unwrap(), Pause::Idle);
        }
    });
    let accepted = receiver.accepted();
    let ids: Vec<_> = accepted.iter().map(|a| a.message_id.as_str()).collect();
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(ids, expected);
    assert!(receiver.repeats() > 0, "they did not meet");
    let courier = courier.into_inner();
    assert_eq!(courier.status().counters.delivered, 20);
}

#[test]
fn the_request_on_the_wire() {
    let (tell, told) = std::sync::mpsc::channel();
    let url = raw_server(move |mut stream| {
        tell.send(read_until(&mut stream, b"}")).unwrap();
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}");
    });
    let credentials = Credentials::Keys(Keys::new("AK", "SK").with_security_token("T"));
    let mut client = builder(&format!("{url}/prefix"))
        .credentials(credentials)
        .user_agent("agent/1")
        .build()
        .unwrap();
    assert_eq!(send(&mut client, "1"), Class::Reply(Outcome::Accepted));
    let request = String::from_utf8(told.recv().unwrap()).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    assert_eq!(first, "POST /prefix/v1/project/edgesrv/job-report HTTP/1.1");
    let mut names: Vec<_> = lines
        .map(|line| line.split(':').next().unwrap().to_lowercase())
        .collect();
    names.sort();
    // No Expect: an unanswered one costs a second.
    let expected = "authorization content-length content-type host user-agent \
                    x-project-id x-sdk-date x-security-token";
    assert_eq!(names.join(" "), expected);
    let host = url.strip_prefix("http://").unwrap();
    assert!(
        head.to_lowercase()
            .contains(&format!("\r\nhost: {host}\r\n")),
        "{head}"
    );
    assert_eq!(
        body,
        r#"{"jobs":[{"status":"job_running","create_time":1591104868201}],"msg_confirm_topic":"topic","message_id":"1"}"#
    );
}

/// A body that ends with the connection and is cut cannot be told from a whole one, but for its JSON.
#[test]
fn a_cut_body_without_a_length_is_no_acceptance() {
    let url = raw_server(|mut stream| {
        read_until(&mut stream, b"}");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"is_success\":true,\"mess");
    });
    let mut client = builder(&url).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::Reply(Outcome::NotUnderstood));
}

/// A chunked one is whole with its last chunk: what may follow that says nothing of it. Servers close there, and ureq allows it. Cut
/// anywhere before, it is no acceptance, though its JSON be whole.
#[test]
fn a_chunked_body_that_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "8\r\n{\"is_suc\r\nb\r\ncess\":true}\r\n0\r\n\r\n";
    let all = head.len() + body.len();
    let whole = all - "\r\n".len();
    for end in (head.len()..=whole).chain([all]) {
        let url = raw_server(move |mut stream| {
            read_until(&mut stream, b"}");
            let _ = stream.write_all(&(head.to_string() + body).as_bytes()[..end]);
        });
        let mut client = builder(&url).build().unwrap();
        let expected = match end < whole {
            true => Class::MayHaveArrived,
            false => Class::Reply(Outcome::Accepted),
        };
        assert_eq!(send(&mut client, "1"), expected, "{end} of {all}");
    }
}

/// A response that is too long is not judged by its first part.
#[test]
fn a_long_body() {
    let limit = edge_report::exchange::MAX_REPLY_BYTES;
    let accepted = r#"{"is_success":true}"#;
    let refused = r#"{"error_code":"DLI.0001"}"#;
    for (status, start, len, more, expected) in [
        (200, accepted, limit, "", Outcome::Accepted),
        (200, accepted, limit + 1, "", Outcome::NotUnderstood),
        (200, accepted, limit, "<html>", Outcome::NotUnderstood),
        (200, accepted, 10 * limit, "", Outcome::NotUnderstood),
        (400, refused, limit, "", Outcome::Refused),
        (400, refused, limit, "x", Outcome::NotUnderstood),
    ] {
        let body = start.to_string() + &" ".repeat(len - start.len()) + more;
        let answer = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let url = raw_server(move |mut stream| {
            read_until(&mut stream, b"}");
            let _ = stream.write_all(answer.as_bytes());
        });
        let mut client = builder(&url).build().unwrap();
        let class = send(&mut client, "1");
        assert_eq!(
            class,
            Class::Reply(expected),
            "{status}, {} bytes",
            body.len()
        );
    }
}

/// A private deployment with error codes of its own.
#[test]
fn error_codes_that_are_set() {
    use Outcome::{NotUnderstood, Refused};
    for (code, by_default, with_own, with_both) in [
        ("DLI.0001", Refused, NotUnderstood, Refused),
        ("EDGE.x", NotUnderstood, Refused, Refused),
        ("portal", NotUnderstood, NotUnderstood, NotUnderstood),
    ] {
        let receiver = receiver(&[&format!("status=400,code={code}")]);
        let client = || builder(&receiver.url());
        for (builder, expected) in [
            (client(), by_default),
            (client().service_codes(["EDGE."]), with_own),
            (client().service_codes(["DLI.", "EDGE."]), with_both),
        ] {
            let mut client = builder.build().unwrap();
            assert_eq!(send(&mut client, "1"), Class::Reply(expected), "{code}");
        }
    }
}

/// 413 before the body is read: with a small body the answer arrives, with a large one it may be lost, in bounded time.
#[test]
fn an_early_413() {
    let url = raw_server(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream
            .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 25\r\nconnection: close\r\n\r\n{\"error_code\":\"DLI.0001\"}");
    });
    let mut client = builder(&url).build().unwrap();
    assert_eq!(send(&mut client, "1"), Class::Reply(Outcome::Refused));
    let begin = Instant::now();
    let large = vec![b' '; 8 * 1024 * 1024];
    let large = class(client.send_encoded(&large));
    assert!(
        matches!(
            large,
            Class::Reply(Outcome::Refused) | Class::MayHaveArrived
        ),
        "{large:?}"
    );
    assert!(begin.elapsed() < TOTAL + SLACK);
}

/// One that stays open would take the next report for the rest of the first.
#[test]
fn a_connection_with_half_a_report_is_not_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let url = raw_server(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(
                b"HTTP/1.1 413 x\r\ncontent-length: 25\r\n\r\n{\"error_code\":\"DLI.0001\"}",
            );
            // For ever: what is sent once more after the end of a connection must not save the second report.
            loop {
                thread::park();
            }
        });
    });
    let patience = Duration::from_secs(10);
    let builder = builder(&url)
        .send_timeout(patience)
        .response_timeout(patience);
    let mut client = builder.total_timeout(patience).build().unwrap();
    let large = vec![b' '; 12 * 1024 * 1024];
    for _ in 0..2 {
        let result = class(client.send_encoded(&large));
        assert_eq!(result, Class::Reply(Outcome::Refused));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_server_that_does_not_read() {
    let url = raw_server(|stream| {
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(10));
            drop(stream);
        });
    });
    let mut client = builder(&url).build().unwrap();
    let begin = Instant::now();
    let large = vec![b' '; 12 * 1024 * 1024];
    assert_eq!(class(client.send_encoded(&large)), Class::MayHaveArrived);
    assert!(begin.elapsed() >= READ && begin.elapsed() < TOTAL + SLACK);
}

/// Other answers in front of the answer, and none at all.
#[test]
fn odd_servers() {
    for (answer, expected) in [
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}",
            Class::Reply(Outcome::Accepted),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{\"is_success\":true}\r\n0\r\n\r\n",
            Class::Reply(Outcome::Accepted),
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\n{\"is_success\":true}",
            Class::Reply(Outcome::Accepted),
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            Class::Reply(Outcome::NotUnderstood),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{\"is_suc",
            Class::MayHaveArrived,
        ),
        ("SSH-2.0-OpenSSH_9\r\n", Class::MayHaveArrived),
        ("", Class::MayHaveArrived),
    ] {
        let url = raw_server(move |mut stream| {
            read_until(&mut stream, b"}");
            let _ = stream.write_all(answer.as_bytes());
        });
        let mut client = builder(&url).build().unwrap();
        assert_eq!(send(&mut client, "1"), expected, "{answer:?}");
    }
}
