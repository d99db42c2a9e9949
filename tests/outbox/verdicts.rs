//! Runs tests/vectors/courier.json: what a courier says, step by step, in all languages.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use edge_report::courier::{
    Cause, Courier, CourierError, Event, Policy, RamOutbox, Reason, Step, Ticket, Verdict,
};
use edge_report::{Code, Job, JobStatus, MonoTime, Outcome, Report};
use serde_json::Value;

type Small = Courier<RamOutbox<[u8; 4096]>, [u8; 512]>;

#[test]
fn vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/courier.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for case in cases {
        let policy = policy(&case["policy"]);
        let outbox = RamOutbox::new([0; 4096], 4096);
        let mut courier = Courier::new(outbox, [0; 512], policy, MonoTime::from_ms(0), u64::MAX);
        for step in case["steps"].as_array().unwrap() {
            run(&mut courier, step, &format!("{}: {step}", case["name"]));
        }
    }
}

/// A number, as such or as a string.
fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::Null => None,
        Value::String(text) => text.parse().ok(),
        value => value.to_string().parse().ok(),
    }
}

fn policy(changes: &Value) -> Policy {
    let mut policy = Policy::default();
    for (name, value) in changes.as_object().unwrap() {
        let ms = number(value).unwrap();
        match name.as_str() {
            "min_backoff_ms" => policy.min_backoff_ms = ms,
            "max_backoff_ms" => policy.max_backoff_ms = ms,
            "hold_ms" => policy.hold_ms = ms,
            "start_spread_ms" => policy.start_spread_ms = ms,
            "refuse_after" => policy.refuse_after = number(value).unwrap(),
            "max_attempts" => policy.max_attempts = Some(number(value).unwrap()),
            "max_time_ms" => policy.max_time_ms = Some(ms),
            other => panic!("{other}"),
        }
    }
    policy
}

fn run(courier: &mut Small, step: &Value, at: &str) {
    let now = MonoTime::from_ms(number(&step["now"]).unwrap_or(0));
    let ticket = number(&step["ticket"]).map(Ticket);
    let reason = number(&step["reason"]);
    match step["do"].as_str().unwrap() {
        "submit" => {
            let job_id = number(&step["job_id"]).unwrap_or(99270);
            let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(job_id)];
            let submitted = courier.submit(&Report::new("m", &jobs), now, None).unwrap();
            assert_eq!(Some(submitted), ticket, "{at}");
        }
        "next" => match courier.next(now).unwrap() {
            Step::Send(outgoing) => {
                assert_eq!(number(&step["send"]), Some(outgoing.ticket.0), "{at}");
                let offset = number(&step["clock_offset_ms"]);
                assert_eq!(offset, Some(outgoing.clock_offset_ms), "{at}");
            }
            Step::Wait(until) => {
                let ms = until.since_ms(now);
                assert_eq!(number(&step["wait"]), Some(ms), "{at}");
            }
            Step::Idle => assert_eq!(step["idle"], true, "{at}"),
        },
        "settle" => {
            let entropy = number(&step["entropy"]).unwrap();
            match courier.settle(ticket.unwrap(), event(step), now, entropy) {
                Ok(verdict) => check(&verdict, step, reason, at),
                Err(error) => {
                    assert_eq!(error, CourierError::StaleTicket, "{at}");
                    let code = Some(Code::StaleTicket.number());
                    assert_eq!(number(&step["error"]), code, "{at}");
                }
            }
        }
        "wake" => courier.wake(now),
        "dead_letter" => {
            let after = number(&step["after"]).filter(|&after| after != 0);
            let letter = courier.dead_letter(after.map(Ticket)).unwrap();
            let found = letter.map(|(letter, _)| (letter.ticket, number_of(&letter.reason)));
            let wanted = ticket.filter(|ticket| ticket.0 != 0);
            assert_eq!(found, wanted.zip(reason), "{at}");
        }
        "resubmit_dead_letter" => {
            let again = courier.resubmit_dead_letter(None, now, None).unwrap();
            assert_eq!(again, ticket, "{at}");
        }
        "forget_dead_letters" => courier.forget_dead_letters(ticket.unwrap()).unwrap(),
        "status" => {
            let status = courier.status();
            for (name, value) in [
                ("submitted", status.counters.submitted),
                ("delivered", status.counters.delivered),
                ("refused", status.counters.refused),
                ("expired", status.counters.expired),
                ("waiting", status.waiting),
            ] {
                assert_eq!(number(&step[name]), Some(value), "{at}: {name}");
            }
            if let Some(aside) = number::<usize>(&step["aside"]) {
                assert_eq!(status.aside, aside, "{at}");
            }
        }
        other => panic!("{other}"),
    }
}

fn event(step: &Value) -> Event {
    let mut event = match number(&step["failure"]) {
        Some(failure) => Event::failed(Code::from_number(failure).unwrap()),
        None => {
            let named = |outcome: &Outcome| outcome.name() == step["outcome"].as_str().unwrap();
            let outcome = Outcome::ALL.iter().copied().find(named).unwrap();
            Event::response(outcome, number(&step["status"]).unwrap())
        }
    };
    event.retry_after_ms = number(&step["retry_after_ms"]);
    event.clock_skew_ms = number(&step["clock_skew_ms"]);
    event
}

/// As the file writes a reason.
fn number_of(reason: &Reason) -> u16 {
    match reason.cause {
        Cause::Response(_) => reason.status,
        Cause::Failed(code) => 1000 + code.number(),
    }
}

fn check(verdict: &Verdict, step: &Value, reason: Option<u16>, at: &str) {
    let (name, then) = match verdict {
        Verdict::Delivered => ("delivered", None),
        Verdict::Refused(_) => ("refused", None),
        Verdict::Again { at, .. } => ("again", Some(at.ms())),
        Verdict::Held { until, .. } => ("held", Some(until.ms())),
        Verdict::Expired(_) => ("expired", None),
        other => panic!("{other:?}"),
    };
    assert_eq!(Some(name), step["verdict"].as_str(), "{at}: {verdict:?}");
    assert_eq!(then, number(&step["at_ms"]), "{at}");
    assert_eq!(verdict.reason().map(number_of), reason, "{at}");
}
