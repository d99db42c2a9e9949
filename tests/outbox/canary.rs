//! Canaries over a log, which has room for only so many reports that are settled ahead of others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use courier_common::device::{Device, Image, Power};
use edge_report::courier::{
    Cause, Courier, Durability, Event, LogOutbox, Policy, RamOutbox, Step, StorageLimits, Ticket,
    Verdict,
};
use edge_report::{Code, Job, JobStatus, MonoTime, Outcome, Report};
use std::time::Duration;

const HOUR: u64 = 3_600_000;

fn log() -> LogOutbox<Device, Device, 300> {
    let limits = StorageLimits::new(4096, 1 << 20).with_length_unit(512);
    let power = Power::on([Image::new(0), Image::new(0)], [limits, limits]);
    let (live, dead) = power.devices();
    LogOutbox::open(live, dead, Durability::Each, 7).unwrap()
}

/// Each `step`th of so many is bad, all of other jobs, and a good one comes each hour. After how many hours all of the first are settled, and
/// how many were sent again though they had been accepted.
fn hours(step: u64, total: u64) -> (u64, usize) {
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let mut courier = Courier::new(log(), [0; 1024], policy, MonoTime::from_ms(0), 0);
    let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201);
    let submit = |courier: &mut Courier<_, _>, n: u64, now| {
        let jobs = [job.with_job_id(1 + i64::try_from(n).unwrap())];
        let report = Report::new("m", &jobs);
        courier
            .submit(&report, MonoTime::from_ms(now), None)
            .unwrap()
    };
    for n in 0..total {
        submit(&mut courier, n, 0);
    }
    let is_bad = |ticket: Ticket| ticket.0 <= total && ticket.0 % step == 1;
    let (mut now, mut hour, mut sent, mut twice) = (0, 0, 0u64, 0);
    while courier.status().waiting > 0 {
        assert!(hour < 60 * 24, "stopped: {:?}", courier.status());
        if now / HOUR > hour {
            hour = now / HOUR;
            submit(&mut courier, total + hour, now);
        }
        let ticket = match courier.next(MonoTime::from_ms(now)).unwrap() {
            Step::Idle => break,
            Step::Wait(at) => {
                now = at.ms().min(now + HOUR);
                continue;
            }
            Step::Send(outgoing) => outgoing.ticket,
        };
        sent += 1;
        let event = match is_bad(ticket) {
            true => Event::response(Outcome::NotUnderstood, 403),
            false => Event::response(Outcome::Accepted, 200),
        };
        let entropy = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let verdict = courier.settle(ticket, event, MonoTime::from_ms(now), entropy);
        if let Verdict::Again { reason, .. } = verdict.unwrap()
            && !is_bad(ticket)
        {
            assert_eq!(reason.cause, Cause::Failed(Code::OutboxFull));
            twice += 1;
        }
    }
    let counters = courier.status().counters;
    assert_eq!(counters.refused, total.div_ceil(step));
    assert_eq!(counters.delivered, total + hour - counters.refused);
    (hour, twice)
}

#[test]
fn a_log_without_room_delivers_all_the_same() {
    for (step, total) in [(2, 20), (3, 40), (2, 200), (5, 300)] {
        let (hours, twice) = hours(step, total);
        println!("each {step}th of {total} is bad: {hours} h, {twice} sent again");
    }
}

/// The first report of the only job is bad, and the host calls so seldom.
fn alone(event: Event, poll: u64) -> u64 {
    let memory = vec![0; 1 << 16].leak();
    let outbox = RamOutbox::new(memory, 1 << 16);
    let mut courier = Courier::new(
        outbox,
        [0; 1024],
        Policy::default(),
        MonoTime::from_ms(0),
        0,
    );
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(1)];
    for _ in 0..30 {
        let report = Report::new("m", &jobs);
        courier.submit(&report, MonoTime::from_ms(0), None).unwrap();
    }
    let (mut now, mut sent) = (0, 0u64);
    while courier.status().waiting > 0 && now < 100 * HOUR {
        let ticket = match courier.next(MonoTime::from_ms(now)).unwrap() {
            Step::Idle => break,
            Step::Wait(at) => {
                now = at.ms().max(now + poll);
                continue;
            }
            Step::Send(outgoing) => outgoing.ticket,
        };
        sent += 1;
        let event = match ticket.0 {
            1 => event,
            _ => Event::response(Outcome::Accepted, 200),
        };
        let entropy = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let settled = courier.settle(ticket, event, MonoTime::from_ms(now), entropy);
        let _ = settled.unwrap();
        now += poll;
    }
    courier.status().counters.delivered
}

#[test]
fn one_bad_report_of_the_only_job_does_not_stop_a_host_that_calls_seldom() {
    let busy = Event::response(Outcome::TryAgain, 503);
    for poll in [1_000, 3_000, 10_000, 55_000] {
        assert_eq!(alone(busy, poll), 29, "{poll}");
    }
}
