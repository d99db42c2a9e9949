//! The courier over an outbox in memory: what is dropped when it is full, dead letters, and order.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use edge_report::courier::{
    Courier, CourierError, Event, OutboxError, Policy, RamOutbox, Reason, Step, Ticket, Verdict,
};
use edge_report::{Job, JobStatus, MonoTime, Outcome, Report};
use std::time::Duration;

const T: i64 = 1_591_104_868_201;
const NOW: MonoTime = MonoTime::from_ms(0);
fn policy() -> Policy {
    Policy::default().with_start_spread(Duration::ZERO)
}

type Small = Courier<RamOutbox<[u8; 4096]>, [u8; 1024]>;

fn courier() -> Small {
    let outbox = RamOutbox::new([0; 4096], 4096);
    Courier::new(outbox, [0; 1024], policy(), NOW, 0)
}

fn answered(outcome: Outcome, status: u16) -> Event {
    Event::response(outcome, status)
}

fn refused(status: u16) -> Reason {
    Reason::response(Outcome::Refused, status)
}

/// Submits a report on one job; its message id tells job, status and number.
fn submit(courier: &mut Small, id: &str, job_id: i64, status: JobStatus<'_>) -> Result<Ticket, ()> {
    let jobs = [Job::new(status, T).with_job_id(job_id)];
    match courier.submit(&Report::new(id, &jobs), NOW, None) {
        Ok(ticket) => Ok(ticket),
        Err(CourierError::Outbox(OutboxError::Full)) => Err(()),
        Err(error) => panic!("{error}"),
    }
}

/// Delivers all that waits; gives the message ids in order.
fn drain(courier: &mut Small) -> Vec<String> {
    let mut ids = Vec::new();
    while let Step::Send(outgoing) = courier.next(NOW).unwrap() {
        let report = edge_report::ReportBuf::from_json(outgoing.body).unwrap();
        ids.push(report.message_id);
        let ticket = outgoing.ticket;
        let _ = courier
            .settle(ticket, answered(Outcome::Accepted, 200), NOW, 0)
            .unwrap();
    }
    let status = courier.status();
    let counters = status.counters;
    assert_eq!(
        counters.submitted,
        counters.delivered
            + counters.refused
            + counters.superseded
            + counters.expired
            + counters.corrupt
    );
    assert_eq!(status.waiting, 0);
    ids
}

#[test]
fn thousands_go_through_a_small_one() {
    let mut courier = courier();
    for n in 0..5000 {
        submit(&mut courier, &n.to_string(), 1, JobStatus::RUNNING).unwrap();
        if n % 7 == 0 {
            drain(&mut courier);
        }
    }
    drain(&mut courier);
    assert_eq!(courier.status().counters.delivered, 5000);
}

#[test]
fn when_full_the_newest_status_of_each_job_stays() {
    let mut courier = courier();
    for n in 0..1000 {
        submit(&mut courier, &format!("{n}"), 1 + n % 3, JobStatus::RUNNING).unwrap();
    }
    let ids: Vec<u32> = drain(&mut courier)
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    assert!(ids.is_sorted());
    assert_eq!(ids[ids.len() - 3..], [997, 998, 999]);
    let counters = courier.status().counters;
    assert_eq!(counters.superseded + counters.delivered, 1000);
    assert!(counters.superseded > 900);
}

#[test]
fn a_final_status_outlives_those_that_are_not() {
    let mut courier = courier();
    submit(&mut courier, "head", 9, JobStatus::RUNNING).unwrap();
    submit(&mut courier, "finished", 1, JobStatus::FINISH).unwrap();
    submit(&mut courier, "first", 2, JobStatus::RUNNING).unwrap();
    for n in 0..300 {
        submit(&mut courier, &n.to_string(), 1 + n % 2, JobStatus::RUNNING).unwrap();
    }
    submit(&mut courier, "finished again", 1, JobStatus::FINISH).unwrap();
    for n in 0..300 {
        submit(&mut courier, &n.to_string(), 2, JobStatus::RUNNING).unwrap();
    }
    let ids = drain(&mut courier);
    assert!(!ids.contains(&"first".into()));
    assert!(ids.contains(&"finished again".into()));
    assert!(
        !ids.contains(&"finished".into()),
        "a newer final one took its place"
    );
}

#[test]
fn reports_without_a_newer_one_fill_it_and_nothing_is_lost() {
    let mut courier = courier();
    let mut stored = Vec::new();
    for n in 0.. {
        // Each job once, every third without an id.
        let jobs = [match n % 3 {
            0 => Job::new(JobStatus::RUNNING, T),
            _ => Job::new(JobStatus::RUNNING, T).with_job_id(1 + n),
        }];
        let id = n.to_string();
        match courier.submit(&Report::new(&id, &jobs), NOW, None) {
            Ok(_) => stored.push(id),
            Err(CourierError::Outbox(OutboxError::Full)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored.len() > 10);
    assert_eq!(courier.status().waiting, stored.len() as u64);
    assert_eq!(drain(&mut courier), stored);
    submit(&mut courier, "again", 1, JobStatus::RUNNING).unwrap();
    assert_eq!(drain(&mut courier), ["again"]);
}

#[test]
fn refused_reports_go_to_the_dead_letters_and_delay_nothing() {
    let mut courier = courier();
    submit(&mut courier, "poison", 1, JobStatus::RUNNING).unwrap();
    submit(&mut courier, "good", 2, JobStatus::RUNNING).unwrap();
    let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
        panic!()
    };
    let (ticket, body) = (outgoing.ticket, outgoing.body.to_vec());
    let verdict = courier
        .settle(ticket, answered(Outcome::Refused, 400), NOW, 0)
        .unwrap();
    assert_eq!(verdict, Verdict::Refused(refused(400)));
    assert_eq!(drain(&mut courier), ["good"]);

    let (letter, report) = courier.dead_letter(None).unwrap().unwrap();
    assert_eq!((letter.ticket, letter.reason), (ticket, refused(400)));
    assert_eq!(report, body);
    assert!(courier.dead_letter(Some(ticket)).unwrap().is_none());

    let again = courier
        .resubmit_dead_letter(None, NOW, None)
        .unwrap()
        .unwrap();
    assert!(again > ticket);
    assert!(courier.dead_letter(None).unwrap().is_none());
    assert_eq!(drain(&mut courier), ["poison"]);
    let counters = courier.status().counters;
    assert_eq!(
        (counters.submitted, counters.delivered, counters.refused),
        (3, 2, 1)
    );
}

#[test]
fn dead_letters_are_bounded_and_the_newest_stay() {
    let mut courier = courier();
    for n in 0..500 {
        submit(&mut courier, &n.to_string(), 1 + n, JobStatus::RUNNING).unwrap();
        // Refusals in a row have waits between them.
        courier.wake(NOW);
        let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
            panic!()
        };
        let ticket = outgoing.ticket;
        let _ = courier
            .settle(ticket, answered(Outcome::Refused, 422), NOW, 0)
            .unwrap();
    }
    assert_eq!(courier.status().counters.refused, 500);
    let mut letters = Vec::new();
    let mut after = None;
    while let Some((letter, _)) = courier.dead_letter(after).unwrap() {
        after = Some(letter.ticket);
        letters.push(letter.ticket.0);
    }
    assert!(letters.len() > 3 && letters.is_sorted());
    assert_eq!(*letters.last().unwrap(), 500);
    courier.forget_dead_letters(Ticket(letters[1])).unwrap();
    assert_eq!(
        courier.dead_letter(None).unwrap().unwrap().0.ticket.0,
        letters[2]
    );
    courier
        .forget_dead_letters(Ticket(*letters.last().unwrap()))
        .unwrap();
    assert_eq!(courier.status().counters.letters, 0);
    assert!(courier.dead_letter(None).unwrap().is_none());
    submit(&mut courier, "last", 1, JobStatus::RUNNING).unwrap();
    courier.wake(NOW);
    let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
        panic!()
    };
    let ticket = outgoing.ticket;
    let _ = courier
        .settle(ticket, answered(Outcome::Refused, 422), NOW, 0)
        .unwrap();
    assert_eq!(courier.dead_letter(None).unwrap().unwrap().0.ticket, ticket);
}

#[test]
fn next_is_idempotent_and_stale_tickets_are_errors() {
    let mut courier = courier();
    let ticket = submit(&mut courier, "1", 1, JobStatus::RUNNING).unwrap();
    let stale = courier.settle(ticket, Event::NOT_SENT, NOW, 0).unwrap_err();
    assert_eq!(stale, CourierError::StaleTicket, "it was not offered yet");
    for _ in 0..3 {
        let Step::Send(outgoing) = courier.next(NOW).unwrap() else {
            panic!()
        };
        assert_eq!(outgoing.ticket, ticket);
        // Submitting uses the same memory.
        submit(&mut courier, "2", 2, JobStatus::RUNNING).unwrap();
    }
    assert_eq!(courier.status().in_flight, Some(ticket));
    let _ = courier
        .settle(ticket, answered(Outcome::Accepted, 200), NOW, 0)
        .unwrap();
    let stale = courier.settle(ticket, answered(Outcome::Accepted, 200), NOW, 0);
    assert_eq!(stale.unwrap_err(), CourierError::StaleTicket);
    assert_eq!(drain(&mut courier).len(), 3);
}

/// Settles what is offered next, at its earliest; how long it had to wait before.
fn settle_next(courier: &mut Small, now: &mut MonoTime, event: Event) -> u64 {
    let mut waited = 0;
    loop {
        let ticket = match courier.next(*now).unwrap() {
            Step::Wait(at) => {
                waited += at.since_ms(*now);
                *now = at;
                continue;
            }
            Step::Send(outgoing) => outgoing.ticket,
            Step::Idle => panic!("nothing waits"),
        };
        let _ = courier.settle(ticket, event, *now, u64::MAX).unwrap();
        return waited;
    }
}

#[test]
fn after_an_open_circuit_each_answer_takes_back_half_of_the_doublings() {
    let accepted = answered(Outcome::Accepted, 200);
    for (failures, waits) in [
        (4, &[16_000, 0, 0][..]),
        (5, &[32_000, 4_000, 2_000, 0, 0]),
        (1000, &[300_000, 16_000, 4_000, 2_000, 0]),
    ] {
        let mut courier = courier();
        let mut now = NOW;
        for n in 0..12 {
            submit(&mut courier, &n.to_string(), 1, JobStatus::RUNNING).unwrap();
        }
        for _ in 0..failures {
            settle_next(&mut courier, &mut now, Event::NOT_SENT);
        }
        assert_eq!(courier.status().circuit_open, failures >= 5);
        let waited: Vec<_> = waits
            .iter()
            .map(|_| settle_next(&mut courier, &mut now, accepted))
            .collect();
        assert_eq!(waited, waits, "after {failures} failures");
    }
}

#[test]
fn what_came_before_says_how_long_a_failure_waits() {
    let accepted = answered(Outcome::Accepted, 200);
    let busy = answered(Outcome::TryAgain, 503);
    let lost = Event::NOT_SENT;
    // Five in a row open the circuit.
    let opens = [0, 2_000, 4_000, 8_000, 16_000].map(|waited| (waited, lost));
    let cases = [
        // Two may come and go, and no third.
        (
            &[][..],
            &[
                (0, accepted),
                (0, lost),
                (50, lost),
                (50, lost),
                (8_000, accepted),
            ][..],
        ),
        // Somebody who answers is there.
        (
            &[],
            &[(0, accepted), (0, busy), (2_000, accepted), (0, accepted)],
        ),
        // None comes and goes while the circuit closes.
        (
            &opens,
            &[(32_000, accepted), (4_000, lost), (8_000, accepted)],
        ),
        // Others of the fleet come back, too.
        (
            &opens,
            &[(32_000, accepted), (4_000, busy), (300_000, accepted)],
        ),
        // That is known only after an answer.
        (&opens, &[(32_000, busy), (64_000, accepted)]),
    ];
    for (before, after) in cases {
        let mut courier = courier();
        let mut now = NOW;
        for n in 0..5 {
            submit(&mut courier, &n.to_string(), 1, JobStatus::RUNNING).unwrap();
        }
        for (step, (wait, event)) in before.iter().chain(after).enumerate() {
            let waited = settle_next(&mut courier, &mut now, *event);
            assert_eq!(waited, *wait, "step {step} of {before:?}, {after:?}");
        }
    }
}

/// Says that the link is back. Whether a report is sent then; the event comes 10 ms later.
fn sends_at_news(courier: &mut Small, ms: u64, event: Event) -> bool {
    let now = MonoTime::from_ms(ms);
    courier.link_is_back(now);
    let ticket = match courier.next(now).unwrap() {
        Step::Send(outgoing) => outgoing.ticket,
        Step::Wait(_) => return false,
        Step::Idle => panic!("nothing waits"),
    };
    let _ = courier.settle(ticket, event, now.plus_ms(10), 0).unwrap();
    true
}

#[test]
fn news_of_a_link_ends_one_wait_a_minute_and_no_hold() {
    let hour = Duration::from_secs(3600);
    let policy = policy().with_hold(hour).with_min_backoff(hour);
    let policy = policy.with_max_backoff(hour);
    let accepted = answered(Outcome::Accepted, 200);
    let busy = answered(Outcome::TryAgain, 503);
    let mut asks = busy;
    asks.retry_after_ms = Some(3_600_000);
    let denied = answered(Outcome::Credentials, 401);
    for (event, is_ended) in [
        (Event::NOT_SENT, true),
        (busy, true),
        (asks, false),
        (denied, false),
    ] {
        let outbox = RamOutbox::new([0; 4096], 4096);
        let mut courier = Courier::new(outbox, [0; 1024], policy, NOW, 0);
        for n in 0..2 {
            submit(&mut courier, &n.to_string(), 1, JobStatus::RUNNING).unwrap();
        }
        assert!(sends_at_news(&mut courier, 0, event));
        assert!(!sends_at_news(&mut courier, 20, event), "{event:?}");
        assert!(!sends_at_news(&mut courier, 59_999, event), "{event:?}");
        let sends = sends_at_news(&mut courier, 60_000, accepted);
        assert_eq!(sends, is_ended, "{event:?}");
        if is_ended {
            // Something was accepted since, so the next news counts before the minute is over.
            settle_next(&mut courier, &mut MonoTime::from_ms(60_020), busy);
            assert!(sends_at_news(&mut courier, 60_040, busy), "{event:?}");
            assert!(!sends_at_news(&mut courier, 60_060, busy), "{event:?}");
        }
    }
}

#[test]
fn news_of_a_link_sends_no_suspect() {
    let mut courier = courier();
    let mut now = NOW;
    for job_id in 1..=3 {
        submit(&mut courier, "m", job_id, JobStatus::RUNNING).unwrap();
    }
    for _ in 0..3 {
        settle_next(&mut courier, &mut now, answered(Outcome::TryAgain, 503));
    }
    for _ in 0..2 {
        settle_next(&mut courier, &mut now, answered(Outcome::Accepted, 200));
    }
    assert_eq!(courier.status().aside, 1);
    courier.link_is_back(now);
    assert!(matches!(courier.next(now), Ok(Step::Wait(_))));
    courier.wake(now);
    assert!(matches!(courier.next(now), Ok(Step::Send(_))));
}

#[test]
fn too_large_or_too_little_memory() {
    let plan = "x".repeat(2000);
    let jobs = [Job::new(JobStatus::RUNNING, T).with_plan(&plan)];
    let report = Report::new("1", &jobs);
    let error = courier().submit(&report, NOW, None).unwrap_err();
    assert_eq!(
        error,
        CourierError::TooSmall {
            needed: report.encoded_len()
        }
    );
    let mut encoded = vec![0; report.encoded_len()];
    report.encode(&mut encoded).unwrap();
    // It could be stored, and not be sent.
    let mut fixed = courier();
    let error = fixed.submit_encoded(&encoded[..], NOW, None).unwrap_err();
    let needed = encoded.len();
    assert_eq!(error, CourierError::TooSmall { needed });
    assert_eq!(fixed.status().counters.submitted, 0);
    let outbox = RamOutbox::new([0; 4096], 4096);
    let mut roomy = Courier::new(outbox, Vec::new(), policy(), NOW, 0);
    assert!(matches!(
        roomy.submit(&report, NOW, None),
        Err(CourierError::Outbox(_))
    ));
    assert_eq!(roomy.status().waiting, 0);
    let error = roomy.submit_encoded(b"{}", NOW, None).unwrap_err();
    assert_eq!(error.to_string(), "jobs: required, and missing (byte 0)");
}
