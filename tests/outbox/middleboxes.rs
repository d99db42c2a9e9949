//! Answers that are somebody else's: of proxies, firewalls, portals and gateways, and of a service that is down or falls over one report.
//!
//! In virtual time, with the default policy, over an outbox in memory. While nothing is accepted, nothing is buried; a report that only it
//! is answered badly steps aside, and others go on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod courier_sim;

use std::collections::BTreeSet;
use std::time::Duration;

use courier_sim::{HOUR, Sent, Sim, accepted, outbox, outbox_of};
use edge_report::courier::{
    Backlog, Cause, Event, Outbox, OutboxError, Policy, Ticket, WhenLettersFull,
};
use edge_report::exchange::{ReplyHeaders, read_reply};
use edge_report::{Code, Outcome, WallTime};

const NGINX_404: &str = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx/1.24.0</center>\r\n</body>\r\n</html>\r\n";
const NGINX_400: &str = "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The SSL certificate error</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const NGINX_413: &str = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const NGINX_502: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const PORTAL: &str = "<!DOCTYPE html><html><head><title>Login</title></head><body><form action=\"/login\" method=\"post\"></form></body></html>";
const FIREWALL: &str = "<html><body><h1>Request blocked</h1><p>Your request was blocked by the security policy. Incident 8571923.</p></body></html>";

/// Name, status, `Retry-After`, body.
const ANSWERS: [(&str, u16, Option<&str>, &str); 40] = [
    ("nginx knows no such host", 404, None, NGINX_404),
    (
        "nginx, a client certificate that expired",
        400,
        None,
        NGINX_400,
    ),
    ("nginx, too large", 413, None, NGINX_413),
    ("nginx, the service is down", 502, None, NGINX_502),
    (
        "an ingress during a redeployment",
        404,
        None,
        "default backend - 404",
    ),
    (
        "an ingress without endpoints",
        503,
        None,
        "no healthy upstream",
    ),
    (
        "a mesh",
        503,
        None,
        "upstream connect error or disconnect/reset before headers",
    ),
    ("a captive portal's page", 200, None, PORTAL),
    (
        "a captive portal's JSON",
        200,
        None,
        r#"{"error_code":"portal_login_required"}"#,
    ),
    (
        "a captive portal that says yes",
        200,
        None,
        r#"{"error_code":"PORTAL.1","is_success":true}"#,
    ),
    ("a captive portal's status", 511, None, PORTAL),
    ("a captive portal redirects", 302, None, ""),
    (
        "a moved permanently",
        301,
        None,
        "<a href=\"https://elsewhere/\">Moved Permanently</a>",
    ),
    ("a temporary redirect", 307, None, ""),
    ("a firewall", 403, None, FIREWALL),
    ("a firewall's JSON", 403, None, r#"{"error":"forbidden"}"#),
    (
        "another API's permission",
        403,
        None,
        r#"{"error_code":"IAM.0002","error_msg":"no"}"#,
    ),
    (
        "a proxy wants a password",
        407,
        None,
        "<h1>Proxy Authentication Required</h1>",
    ),
    ("a limit", 429, None, ""),
    ("a limit without a wait", 429, Some("0"), ""),
    (
        "a limit with a huge wait",
        429,
        Some("99999999999999999999"),
        "",
    ),
    (
        "a limit with a date long ago",
        429,
        Some("Tue, 02 Jun 2020 13:36:28 GMT"),
        "",
    ),
    ("maintenance", 503, Some("120"), "<h1>Maintenance</h1>"),
    ("nothing at all", 200, None, ""),
    ("no content", 204, None, ""),
    ("accepted for later by somebody", 202, None, "queued"),
    ("cut JSON", 200, None, r#"{"is_success":tr"#),
    (
        "JSON with something behind it",
        200,
        None,
        r#"{"is_success":true}<!-- cached -->"#,
    ),
    ("JSON of somebody else", 200, None, r#"{"status":"ok"}"#),
    (
        "the gateway has no such API",
        404,
        None,
        r#"{"error_msg":"The API does not exist","error_code":"APIGW.0101","request_id":"a"}"#,
    ),
    (
        "the old gateway has no such API",
        404,
        None,
        r#"{"error_code":"APIG.0101"}"#,
    ),
    (
        "a method not allowed",
        405,
        None,
        "<h1>405 Not Allowed</h1>",
    ),
    ("a conflict of somebody's", 409, None, "{}"),
    (
        "an entity of somebody's",
        422,
        None,
        r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
    ),
    (
        "JSON without a code",
        400,
        None,
        r#"{"message":"Bad Request"}"#,
    ),
    (
        "trouble under 400",
        400,
        None,
        r#"{"error_code":"DLI.0999","error_msg":"internal"}"#,
    ),
    (
        "an internal error",
        500,
        None,
        r#"{"error_code":"DLI.0001","error_msg":"null"}"#,
    ),
    (
        "a gateway's timeout",
        504,
        None,
        "<h1>504 Gateway Time-out</h1>",
    ),
    ("a request's timeout", 408, None, ""),
    ("a teapot", 418, None, "short and stout"),
];

fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Event {
    let headers = ReplyHeaders::default().with_retry_after(retry_after);
    let now = WallTime::from_unix_ms(1_700_000_000_000);
    Event::from_reply(&read_reply(status, headers, body.as_bytes()), now)
}

/// The greatest wait is 300 s, and waits are spread evenly from 1 s on, so after the first minutes 86,400 / 150.5 = 574 of them fit into a
/// day, plus or minus 14; at every 4th one canary goes with the suspect, which makes 718. Where all wait for one job, after some hours a
/// round of its reports goes at times: 1,187 in all. 100 are for chance and for the beginning.
const A_DAY: usize = 1_300;

fn a_day_of(name: &str, event: Event, jobs: i64) {
    let mut sim = Sim::new(Policy::default(), outbox(), 1);
    for n in 0..1000 {
        sim.submit(1 + n % jobs);
    }
    sim.run(24 * HOUR, |_| event);
    let status = sim.courier.status();
    assert_eq!(status.waiting, 1000, "{name}");
    assert_eq!(
        status.counters.refused + status.counters.expired,
        0,
        "{name}"
    );
    assert!(
        (20..=A_DAY).contains(&sim.requests),
        "{name}: {} requests",
        sim.requests
    );
    let (_, reason) = status.last_failure.unwrap();
    assert_eq!(reason.status, event.reason.status, "{name}");
    assert!(status.next_attempt.is_some());

    // It is over, and nobody helps. At most the greatest wait that was asked for, and then faster with each answer.
    let over = sim.now;
    sim.run(over + 3 * HOUR, accepted);
    let status = sim.courier.status();
    assert_eq!(
        (status.waiting, status.counters.delivered),
        (0, 1000),
        "{name}"
    );
    assert_eq!(status.last_failure, None);
    assert!(
        sim.now - over < 2 * HOUR,
        "{name}: {} s",
        (sim.now - over) / 1000
    );
    sim.check_order();
}

#[test]
fn a_day_of_each_answer_buries_nothing() {
    for (name, status, retry_after, body) in ANSWERS {
        let event = answer(status, retry_after, body);
        assert_ne!(
            event.reason.cause,
            Cause::Response(Outcome::Accepted),
            "{name}"
        );
        assert_ne!(
            event.reason.cause,
            Cause::Response(Outcome::Refused),
            "{name}"
        );
        a_day_of(name, event, 7);
        a_day_of(name, event, 1);
        a_day_of(name, event, 1000);
    }
}

#[test]
fn a_day_without_an_answer_buries_nothing() {
    for event in [
        Event::NOT_SENT,
        Event::MAY_HAVE_ARRIVED,
        Event::failed(Code::Tls),
        answer(401, None, ""),
        answer(403, None, r#"{"error_code":"APIGW.0301"}"#),
    ] {
        for jobs in [1, 7, 1000] {
            let mut event = event;
            event.reason.status = 0;
            a_day_of("no answer", event, jobs);
        }
    }
}

/// Answers that come for some reports only, and how many attempts it takes at the least: what comes before it is a suspect, and 8 that count.
fn poisons() -> [(&'static str, Event, u32); 6] {
    [
        ("a firewall", answer(403, None, FIREWALL), 10),
        ("a handler that crashes", answer(500, None, ""), 10),
        ("a proxy's limit", answer(413, None, NGINX_413), 10),
        ("a timeout", Event::MAY_HAVE_ARRIVED, 10),
        (
            "a handler that is asked to wait for",
            answer(503, Some("1"), ""),
            10,
        ),
        ("credentials", answer(401, None, ""), 9),
    ]
}

#[test]
fn poison_among_healthy_ones_is_buried_and_stops_nobody() {
    for (name, event, attempts) in poisons() {
        for (place, has_own_job) in [0, 1, 50, 99]
            .into_iter()
            .zip([true, false].into_iter().cycle())
        {
            let at = format!("{name} at {place}");
            let mut sim = Sim::new(Policy::default(), outbox(), 2);
            let poison = Ticket(1 + place);
            for n in 0..100 {
                sim.submit(if n == place && has_own_job {
                    100
                } else {
                    n as i64 % 10
                });
            }
            let answers = |sent: &Sent| match sent.ticket == poison {
                true => event,
                false => accepted(sent),
            };
            // New ones come all the time.
            for n in 0..1000 {
                sim.submit(n % 10);
                sim.run(sim.now + 5_000, answers);
            }
            let status = sim.courier.status();
            let counters = status.counters;
            assert_eq!(
                (status.waiting, counters.delivered, counters.refused),
                (0, 1099, 1),
                "{at}"
            );
            // Each of the others went out once.
            let went_out = sim.attempts[&poison];
            assert_eq!(sim.requests, 1099 + went_out as usize, "{at}");
            sim.check_order();
            let (letter, _) = sim.courier.find_dead_letter(poison).unwrap().unwrap();
            let reason = letter.reason;
            assert_eq!(sim.buried, [(poison, reason)], "{at}");
            // For an hour at the least. What is denied is tried again, up to four times, after each canary.
            let most = if name == "credentials" { 60 } else { 40 };
            println!("{at}: {went_out} attempts");
            assert!((attempts..=most).contains(&went_out), "{at}: {went_out}");
            assert_eq!(reason, event.reason, "{at}");
        }
    }
}

#[test]
fn fifty_in_front_stop_nobody_for_good() {
    for (name, event, _) in poisons() {
        for jobs in [1000, 60, 7] {
            let mut sim = Sim::new(Policy::default(), outbox(), 3);
            for n in 0..300 {
                sim.submit(1 + n % jobs);
            }
            let answers = |sent: &Sent| match sent.ticket.0 <= 50 {
                true => event,
                false => accepted(sent),
            };
            let mut hours = 0;
            while sim.courier.status().waiting > 0 && hours < 24 * 40 {
                // Something new comes all the time.
                for n in 0..4 {
                    sim.submit(1 + (n + hours as i64) % jobs);
                    sim.run(sim.now + HOUR / 4, answers);
                }
                hours += 1;
            }
            let status = sim.courier.status();
            let healthy = 250 + 4 * hours;
            println!("{name}, {jobs} jobs: {hours} h, {} requests", sim.requests);
            assert_eq!(status.counters.delivered, healthy, "{name}, {jobs} jobs");
            assert_eq!(status.counters.refused, 50, "{name}, {jobs} jobs");
            sim.check_order();
        }
    }
}

/// The next of its own job shows whose fault it is, and the older one can never be sent after it.
#[test]
fn where_only_its_own_jobs_wait_the_older_one_goes_when_the_newer_is_accepted() {
    for (name, event, _) in poisons() {
        for bad in [1, 2, 7, 12] {
            let mut sim = Sim::new(Policy::default(), outbox(), 4);
            for _ in 0..30 {
                sim.submit(1);
            }
            let answers = |sent: &Sent| match sent.ticket.0 <= bad {
                true => event,
                false => accepted(sent),
            };
            // Only a few are tried after each that is accepted, so there must be more of these.
            for _ in 0..24 * 30 {
                if sim.courier.status().waiting > 0 {
                    sim.submit(1);
                }
                sim.run(sim.now + HOUR, answers);
            }
            let status = sim.courier.status();
            println!(
                "{name}, {bad}: {} requests, {} h",
                sim.requests,
                sim.now / HOUR
            );
            assert_eq!(status.waiting, 0, "{name}, {bad}");
            assert_eq!(status.counters.refused, bad, "{name}, {bad}");
            sim.check_order();
            let (letter, _) = sim.courier.find_dead_letter(Ticket(1)).unwrap().unwrap();
            let overtaken = {
                let mut reason = event.reason;
                reason.cause = Cause::Failed(Code::Overtaken);
                reason
            };
            assert_eq!(letter.reason, overtaken, "{name}");
        }
    }
}

#[test]
fn a_report_that_waits_alone_waits() {
    let mut sim = Sim::new(Policy::default(), outbox(), 5);
    sim.submit(1);
    sim.run(24 * HOUR, |_| answer(500, None, ""));
    assert!(sim.requests <= A_DAY);
    assert_eq!(sim.courier.status().waiting, 1);
    // Others that come show whose fault it is, where it was tried right before.
    for n in 0..60 {
        sim.submit(2 + n);
        let before = sim.requests;
        sim.run(sim.now + HOUR / 4, |sent| match sent.ticket.0 {
            1 => answer(500, None, ""),
            _ => accepted(sent),
        });
        assert!(sim.requests > before);
    }
    assert_eq!(sim.courier.status().counters.refused, 1);
}

#[test]
fn refusals_in_a_row_are_spaced_and_one_acceptance_ends_that() {
    let refusal = answer(400, None, r#"{"error_code":"DLI.0001","error_msg":"no"}"#);
    let mut sim = Sim::new(Policy::default(), outbox(), 6);
    for n in 0..1000 {
        sim.submit(n);
    }
    sim.run(24 * HOUR, |_| refusal);
    let refused = sim.courier.status().counters.refused;
    assert!(
        (400..=A_DAY as u64).contains(&refused),
        "{refused} in a day"
    );
    assert_eq!(sim.courier.status().counters.refused, refused);

    // Every second one is refused: as fast as they come.
    let mut sim = Sim::new(
        Policy::default().with_start_spread(Duration::ZERO),
        outbox(),
        6,
    );
    for n in 0..1000 {
        sim.submit(n);
    }
    sim.run(1, |sent| {
        if sent.ticket.0.is_multiple_of(2) {
            refusal
        } else {
            accepted(sent)
        }
    });
    assert_eq!(sim.courier.status().waiting, 0);
    assert_eq!(sim.courier.status().counters.refused, 500);
}

#[test]
fn budgets_win_whatever_is_wrong() {
    let limited = Policy::default().with_max_attempts(3);
    for event in [
        answer(403, None, FIREWALL),
        answer(401, None, ""),
        answer(302, None, ""),
        answer(503, None, ""),
        Event::MAY_HAVE_ARRIVED,
    ] {
        let mut sim = Sim::new(limited, outbox(), 7);
        for n in 0..20 {
            sim.submit(n % 3);
        }
        sim.run(100 * 24 * HOUR, |_| event);
        let counters = sim.courier.status().counters;
        assert_eq!(counters.expired, 20, "{event:?}");
        assert!(
            sim.attempts.values().all(|&n| n == 3),
            "{event:?}: {:?}",
            sim.attempts
        );
    }
    // What never went out does not count.
    for event in [Event::NOT_SENT, Event::failed(Code::Tls)] {
        let mut sim = Sim::new(limited, outbox(), 7);
        sim.submit(1);
        sim.run(24 * HOUR, |_| event);
        assert_eq!(sim.courier.status().counters.expired, 0);
    }
    let hour = Policy::default().with_max_time(Duration::from_millis(HOUR));
    for event in [
        answer(401, None, ""),
        Event::NOT_SENT,
        answer(503, None, ""),
    ] {
        let mut sim = Sim::new(hour, outbox(), 7);
        sim.submit(1);
        sim.run(2 * HOUR, |_| event);
        assert_eq!(sim.courier.status().counters.expired, 1, "{event:?}");
    }
}

#[test]
fn a_burial_that_fails_loses_nothing_and_stops_nobody() {
    let refusal = answer(422, None, r#"{"error_code":"DLI.0001"}"#);
    for error in [
        OutboxError::LettersFull,
        OutboxError::Device(courier_sim::Broken),
    ] {
        let mut sim = Sim::new(Policy::default(), outbox(), 8);
        sim.fail_burials(Some(error));
        for n in 0..100 {
            sim.submit(n % 20);
        }
        let answers = |sent: &Sent| match sent.ticket.0 {
            3 | 30 => refusal,
            _ => accepted(sent),
        };
        sim.run(HOUR, answers);
        let status = sim.courier.status();
        assert_eq!(
            (status.waiting, status.aside),
            (2, 2),
            "the others went on, those of their jobs, too"
        );
        assert_eq!(status.counters.delivered, 98);
        assert_eq!(sim.attempts[&Ticket(3)], 1, "it is not sent again");
        sim.fail_burials(None);
        sim.run(2 * HOUR, answers);
        let status = sim.courier.status();
        assert_eq!(
            (
                status.waiting,
                status.counters.refused,
                status.counters.letters
            ),
            (0, 2, 2)
        );
        assert!(sim.courier.find_dead_letter(Ticket(30)).unwrap().is_some());
        // Tries grow rare.
        assert!(sim.failed_burials() < 100, "{}", sim.failed_burials());

        // More than can wait for it: nothing is sent any more.
        let mut sim = Sim::new(Policy::default(), outbox(), 8);
        sim.fail_burials(Some(error));
        for n in 0..100 {
            sim.submit(n);
        }
        sim.run(24 * HOUR, |_| refusal);
        let status = sim.courier.status();
        let most = if cfg!(feature = "alloc") { 6 } else { 4 };
        assert_eq!((status.waiting, sim.requests), (100, most));
        let (_, reason) = status.last_failure.unwrap();
        assert_eq!(reason.cause, Cause::Failed(error.code()));
        assert!(status.next_attempt.is_some());
        sim.fail_burials(None);
        sim.run(48 * HOUR, accepted);
        let counters = sim.courier.status().counters;
        assert_eq!(
            (counters.refused, counters.delivered),
            (most as u64, 100 - most as u64)
        );
    }
}

#[test]
fn letters_that_are_held_stop_their_own_reports_only() {
    let refusal = answer(422, None, r#"{"error_code":"DLI.0001"}"#);
    let policy = Policy::default().with_when_letters_full(WhenLettersFull::Hold);
    let mut sim = Sim::new(policy, outbox_of(4096), 9);
    for n in 0..12 {
        sim.submit(n);
        sim.run(sim.now + HOUR, |_| refusal);
    }
    let status = sim.courier.status();
    assert_eq!(status.counters.letters_dropped, 0);
    assert_eq!(status.counters.letters + status.waiting, 12);
    assert!(status.waiting > 2 && status.counters.letters > 2);
    sim.courier.forget_dead_letters(Ticket(4)).unwrap();
    sim.wake();
    sim.run(sim.now + HOUR, accepted);
    assert!(sim.courier.status().counters.refused >= 8);
}

#[test]
fn the_newest_of_each_job_comes_first_with_latest_per_job() {
    let policy = Policy::default()
        .with_backlog(Backlog::LatestPerJob)
        .with_start_spread(Duration::ZERO);
    // Without an index each report is compared with those behind it.
    let count = if cfg!(feature = "alloc") {
        100_000
    } else {
        2_000
    };
    let mut sim = Sim::new(policy, outbox_of(32 << 20), 10);
    for n in 0..count {
        sim.submit(n % 10);
    }
    let start = std::time::Instant::now();
    sim.run(1, accepted);
    assert!(start.elapsed().as_secs() < 20);
    let counters = sim.courier.status().counters;
    assert_eq!(
        (counters.superseded, counters.delivered),
        (count as u64 - 10, 10)
    );
    let sent: BTreeSet<_> = sim.attempts.keys().map(|ticket| ticket.0).collect();
    assert!(sent.into_iter().eq(count as u64 - 9..=count as u64));
}

#[test]
fn the_first_hold_tries_the_systems_own_clock_again() {
    // A middlebox's date once set a correction; the service itself tells none.
    let skewed = |ms| Event::response(Outcome::Credentials, 401).with_clock_skew_ms(ms);
    let mut sim = Sim::new(Policy::default(), outbox(), 11);
    sim.submit(1);
    let mut answers = vec![
        skewed(40 * 24 * 3_600_000),
        Event::response(Outcome::Credentials, 401),
    ];
    answers.reverse();
    let mut offsets = Vec::new();
    sim.run(HOUR, |sent| {
        offsets.push(sent.clock_offset_ms);
        answers.pop().unwrap_or_else(|| accepted(sent))
    });
    assert_eq!(offsets, [0, 40 * 24 * 3_600_000, 0]);
    assert_eq!(sim.courier.outbox().waiting(), 0);
}

#[test]
fn a_hold_for_one_report_holds_nobody_else_for_good() {
    for event in [
        answer(302, None, ""),
        answer(407, None, ""),
        answer(404, None, r#"{"error_code":"APIG.0101"}"#),
        Event::failed(Code::Tls),
    ] {
        let mut sim = Sim::new(Policy::default(), outbox(), 3);
        for n in 0..100 {
            sim.submit(n);
        }
        for minute in 1..180 {
            sim.run(minute * 60_000, |sent| match sent.ticket.0 {
                1 => event,
                _ => accepted(sent),
            });
            sim.now = minute * 60_000;
            sim.submit(1_000);
        }
        let counters = sim.courier.status().counters;
        assert_eq!(
            (counters.delivered, counters.refused),
            (277, 1),
            "{event:?}"
        );
        let (_, when) = sim.accepted[98];
        assert!(when < HOUR / 2, "{event:?}: {when}");
        let expected = (Ticket(1), event.reason);
        assert_eq!(sim.buried, [expected], "{event:?}");
    }
}

#[test]
fn what_is_given_up_leaves_its_wait_behind() {
    for (most, event, least) in [
        (1, answer(401, None, ""), 300_000),
        (1, answer(302, None, ""), 300_000),
        (1, answer(429, Some("3600"), ""), 3_600_000),
        (2, answer(429, Some("3600"), ""), 3_600_000),
    ] {
        let limited = Policy::default().with_max_attempts(most);
        let mut sim = Sim::new(limited, outbox(), 3);
        for n in 0..100 {
            sim.submit(n);
        }
        let mut times = Vec::new();
        sim.run(9 * HOUR, |sent| {
            times.push(sent.now);
            event
        });
        assert!(times.len() > 5);
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= least, "{event:?}: {times:?}");
        }
    }
}

#[test]
fn few_requests_come_at_once_however_long_nothing_is_accepted() {
    for (event, most) in [
        (answer(401, None, ""), 2),
        (answer(401, None, "").with_clock_skew_ms(9_000_000), 3),
        (answer(302, None, ""), 2),
        (answer(503, None, ""), 14),
    ] {
        for jobs in [1, 2, 10] {
            let mut sim = Sim::new(Policy::default(), outbox(), 3);
            for n in 0..300 {
                sim.submit(n % jobs);
            }
            let mut times = Vec::new();
            sim.run(40 * 24 * HOUR, |sent| {
                times.push(sent.now);
                event
            });
            // The first few follow each other within seconds, too.
            let times: Vec<_> = times.into_iter().filter(|&at| at > HOUR).collect();
            for window in times.windows(most + 1) {
                let took = window[most] - window[0];
                assert!(took > 500, "{event:?}, {jobs} jobs: {window:?}");
            }
        }
    }
}
