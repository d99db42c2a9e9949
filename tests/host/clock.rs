//! Clocks that are wrong and clocks that jump, against the receiver, which verifies dates: delivery goes on, and costs one more
//! request for each jump.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod alone;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod raw;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step};
use edge_report::exchange::{Endpoint, ReplyHeaders, Request, read_reply};
use edge_report::{
    Client, Credentials, Job, JobStatus, MonoTime, Outcome, Pause, Report, WallTime,
};
use edge_report_receiver::{Options, Receiver};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const TEN_YEARS: i64 = 10 * 365 * 24 * 60 * MINUTE;
/// What the receiver's clock says: it stands still.
const TRUTH: i64 = 1_764_000_000_000;
/// A clock of 1970 is so far behind.
const BOOT: i64 = 30 * SECOND - TRUTH;
const REPORTS: usize = 6;

type Small = Courier<RamOutbox<[u8; 8192]>, Vec<u8>>;

fn courier(reports: usize) -> Small {
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let mut courier = Courier::new(
        RamOutbox::new([0; 8192], 8192),
        Vec::new(),
        policy,
        MonoTime::from_ms(0),
        0,
    );
    for number in 0..reports {
        submit(&mut courier, number);
    }
    courier
}

fn submit(courier: &mut Small, number: usize) {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let id = format!("report-{number}");
    courier
        .submit(&Report::new(&id, &jobs), MonoTime::from_ms(0), None)
        .unwrap();
}

fn keys() -> Credentials<'static> {
    Credentials::keys("AK", "SK")
}

fn receiver(clock: fn() -> i64) -> Receiver {
    Receiver::start(Options::new().keys("AK", "SK").clock(clock)).unwrap()
}

/// By how much the node's clock is wrong while each of the reports is sent.
const TABLE: [(&str, [i64; REPORTS], u64); 9] = [
    ("right", [0; REPORTS], 0),
    ("a little wrong", [10 * MINUTE; REPORTS], 0),
    ("boots in 1970", [BOOT; REPORTS], 1),
    ("boots in 1970, is set right", [BOOT, BOOT, 0, 0, 0, 0], 2),
    (
        "steps back ten years",
        [0, 0, 0, -TEN_YEARS, -TEN_YEARS, -TEN_YEARS],
        1,
    ),
    (
        "steps forward ten years",
        [0, 0, TEN_YEARS, TEN_YEARS, TEN_YEARS, TEN_YEARS],
        1,
    ),
    ("there and back", [0, 0, TEN_YEARS, TEN_YEARS, 0, 0], 2),
    (
        "back, then forward",
        [0, -TEN_YEARS, -TEN_YEARS, TEN_YEARS, TEN_YEARS, 0],
        3,
    ),
    (
        "steps each time",
        [0, BOOT, TEN_YEARS, -TEN_YEARS, BOOT, MINUTE],
        5,
    ),
];

#[test]
fn a_wrong_clock_costs_one_request_for_each_step() {
    for (name, errors, corrections) in TABLE {
        let receiver = receiver(|| TRUTH);
        let url = receiver.url();
        let endpoint = Endpoint::new(&url, "project").unwrap();
        let mut courier = courier(REPORTS);
        // Time does not pass: nothing may wait.
        let now = MonoTime::from_ms(1);
        let mut requests = 0;
        while let Step::Send(outgoing) = courier.next(now).unwrap() {
            let ticket = outgoing.ticket;
            let wall = WallTime::from_unix_ms(TRUTH + errors[ticket.0 as usize - 1]);
            let signed_at = wall.plus_ms(outgoing.clock_offset_ms);
            let event = exchange(&endpoint, outgoing.body, signed_at, wall);
            requests += 1;
            let _ = courier.settle(ticket, event, now, 0).unwrap();
        }
        let status = courier.status();
        assert_eq!(
            status.counters.delivered, REPORTS as u64,
            "{name}: {status:?}"
        );
        assert_eq!(requests, REPORTS as u64 + corrections, "{name}");
        assert_eq!(receiver.requests(), requests, "{name}");
        assert_in_order(&receiver, REPORTS);
        let last = errors[REPORTS - 1] + status.clock_offset_ms;
        assert!(
            last.abs() <= 15 * MINUTE,
            "{name}: {last} ms beside the truth"
        );
    }
}

/// One signed request over a connection of its own.
fn exchange(endpoint: &Endpoint<'_>, body: &[u8], signed_at: WallTime, wall: WallTime) -> Event {
    let (credentials, mut scratch) = (keys(), [0; 1024]);
    let request = Request::new(endpoint, &credentials, body, signed_at, &mut scratch).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.path());
    for header in request.headers() {
        head += &format!("{}: {}\r\n", header.name, header.value);
    }
    head += &format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        request.body().len()
    );
    let mut stream = TcpStream::connect(endpoint.authority()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(request.body()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let date = headers
        .clone()
        .find(|(name, _)| name.eq_ignore_ascii_case("date"));
    let headers = ReplyHeaders::default().with_date(date.map(|(_, value)| value));
    Event::from_reply(&read_reply(status, headers, body.as_bytes()), wall)
}

fn assert_in_order(receiver: &Receiver, reports: usize) {
    let accepted = receiver.accepted();
    let ids: Vec<&str> = accepted.iter().map(|a| &*a.message_id).collect();
    let expected: Vec<String> = (0..reports).map(|n| format!("report-{n}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(receiver.repeats(), 0);
}

/// The client has the system's clock: here the receiver's is the one that is elsewhere.
#[test]
fn the_client_corrects_it_too() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let receiver = receiver(|| WallTime::now().unix_ms() + AHEAD.load(Ordering::Relaxed));
    let mut client = Client::builder(&receiver.url(), "project")
        .credentials(keys())
        .build()
        .unwrap();
    let mut courier = courier(0);
    let mut number = 0;
    let mut corrections = 0;
    // As for a node that boots in 1970, steps back, forward, and is right. All of it between 2020 and 2100: no other date counts.
    for (ahead, corrected) in [
        (5 * TEN_YEARS, 1),
        (TEN_YEARS, 1),
        (-TEN_YEARS / 2, 1),
        (0, 1),
        (MINUTE, 0),
    ] {
        AHEAD.store(ahead, Ordering::Relaxed);
        for _ in 0..2 {
            submit(&mut courier, number);
            number += 1;
        }
        let until = Instant::now() + Duration::from_secs(20);
        let pause = client.deliver(&mut courier, until, |_| ()).unwrap();
        assert_eq!(pause, Pause::Idle, "{:?}", courier.status());
        corrections += corrected;
        assert_eq!(
            receiver.requests(),
            number as u64 + corrections,
            "{ahead} ms ahead"
        );
    }
    assert_in_order(&receiver, number);
}

/// Clocks that no date of a signature can have: the response brings the time all the same.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_clock_that_is_out_of_its_mind() {
    const THIS: &str = "a_clock_that_is_out_of_its_mind";
    for clock in ["-5000000", "253402300900"] {
        let place = tempfile::tempdir().unwrap();
        if !alone::is_alone(THIS, |process| {
            process.env("LD_PRELOAD", shim::shim("clock", place.path()));
            process.env("SHIM_CLOCK", clock);
        }) {
            continue;
        }
        assert!(WallTime::now().to_sdk_date().is_none());
        // A server that cannot say what time it is by this clock.
        let (tell, told) = std::sync::mpsc::channel();
        let url = raw::raw_server(move |mut stream| {
            let tell = tell.clone();
            std::thread::spawn(move || {
                loop {
                    let request = raw::read_until(&mut stream, b"}");
                    let Ok(request) = String::from_utf8(request) else {
                        return;
                    };
                    let mut lines = request.lines();
                    let date = lines.find_map(|line| line.strip_prefix("x-sdk-date: "));
                    let Some(date) = date else { return };
                    let answer = match date.starts_with("20300101T") {
                        true => "200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}",
                        false => {
                            "401 x\r\ndate: Tue, 01 Jan 2030 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n"
                        }
                    };
                    tell.send(date.to_owned()).unwrap();
                    let _ = write!(stream, "HTTP/1.1 {answer}");
                }
            });
        });
        let builder = Client::builder(&url, "project");
        let mut client = builder.credentials(keys()).build().unwrap();
        let mut courier = courier(2);
        let until = Instant::now() + Duration::from_secs(20);
        let pause = client.deliver(&mut courier, until, |_| ()).unwrap();
        assert_eq!(pause, Pause::Idle, "{:?}", courier.status());
        assert_eq!(told.try_iter().count(), 3);
        return;
    }
}

/// The clock for waiting should not jump. If it does, nobody waits longer than was meant, and nothing is sent twice.
#[test]
fn a_monotonic_clock_that_jumps() {
    let start = MonoTime::from_ms(TEN_YEARS as u64);
    let failed = Event::response(Outcome::TryAgain, 503).with_retry_after_ms(60_000);
    for (name, jumped, waits) in [
        ("back to zero", MonoTime::from_ms(0), true),
        (
            "back by a second",
            MonoTime::from_ms(start.ms() - 1000),
            true,
        ),
        ("back to where it was", start, true),
        ("forward ten years", start.plus_ms(TEN_YEARS as u64), false),
        (
            "forward to the end of time",
            MonoTime::from_ms(u64::MAX),
            false,
        ),
    ] {
        let mut courier = courier(2);
        let ticket = sent(&mut courier, start).expect(name);
        let _ = courier.settle(ticket, failed, start, 0).unwrap();
        let mut now = jumped;
        match courier.next(now).unwrap() {
            Step::Wait(at) if waits => {
                let ms = at.since_ms(now);
                assert!(ms <= 60_000, "{name}: waits {ms}");
                now = at;
            }
            Step::Send(_) if !waits => {}
            step => panic!("{name}: {step:?}"),
        }
        // One in flight stays the one in flight.
        let ticket = sent(&mut courier, now).expect(name);
        assert_eq!(sent(&mut courier, start), Some(ticket), "{name}");
        let accepted = Event::response(Outcome::Accepted, 200);
        let _ = courier
            .settle(ticket, accepted, MonoTime::from_ms(0), 0)
            .unwrap();
        let next = sent(&mut courier, now).expect(name);
        assert!(next > ticket, "{name}");
        let _ = courier.settle(next, accepted, now, 0).unwrap();
        assert!(
            matches!(courier.next(MonoTime::from_ms(0)).unwrap(), Step::Idle),
            "{name}"
        );
    }
}

fn sent(courier: &mut Small, now: MonoTime) -> Option<edge_report::courier::Ticket> {
    match courier.next(now).unwrap() {
        Step::Send(outgoing) => Some(outgoing.ticket),
        Step::Wait(_) | Step::Idle => None,
    }
}
