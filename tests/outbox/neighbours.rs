//! What bad reports, and what was wrong for a while, may cost the good ones beside them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod courier_sim;

use std::time::Duration;

use courier_sim::{HOUR, IS_SMALL, Sent, Sim, accepted, outbox, outbox_of};
use edge_report::courier::{Backlog, Event, Policy, Step, Verdict};
use edge_report::{Code, MonoTime, Outcome};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * HOUR;
const OK: Event = Event::response(Outcome::Accepted, 200);
const BUSY: Event = Event::response(Outcome::TryAgain, 503);
const FIREWALL: Event = Event::response(Outcome::NotUnderstood, 403);
const DENIED: Event = Event::response(Outcome::Credentials, 401);
const MOVED: Event = Event::response(Outcome::Misconfigured, 302);

/// Of five jobs, each with a report each `every` ms, the first one's get `event`, whatever happens. How many came of each.
fn beside_a_bad_job(policy: Policy, bytes: usize, every: u64, event: Event) -> [u64; 5] {
    let mut sim = Sim::new(policy, outbox_of(bytes), 7);
    let mut came = [0; 5];
    for round in 1..=8 * HOUR / every {
        for job in 0..5 {
            sim.submit(job);
        }
        sim.run(round * every, |sent| {
            let job = (sent.ticket.0 - 1) as usize % 5;
            if job == 0 {
                return event;
            }
            came[job] += 1;
            accepted(sent)
        });
        sim.now = round * every;
    }
    came
}

#[test]
fn a_job_whose_reports_are_all_bad_starves_nobody() {
    let latest = Policy::default().with_backlog(Backlog::LatestPerJob);
    for event in [MOVED, DENIED, FIREWALL, BUSY] {
        for (policy, bytes) in [(latest, 1 << 20), (Policy::default(), 4096)] {
            for every in [MINUTE, 5 * MINUTE] {
                let came = beside_a_bad_job(policy, bytes, every, event);
                let all = 8 * HOUR / every;
                assert!(
                    came[1..].iter().all(|came| came * 10 >= all * 8),
                    "{event:?}, {:?}, each {every} ms: {came:?} of {all}",
                    policy.backlog
                );
            }
        }
    }
}

/// A report a minute: one in twenty of them is bad, or one in a hundred where they share ten jobs.
#[test]
fn a_stream_with_some_bad_ones_flows() {
    for event in [MOVED, DENIED, FIREWALL, BUSY] {
        for jobs in [0, 10] {
            let mut sim = Sim::new(Policy::default(), outbox_of(1 << 20), 5);
            // Three suspects at a time, an hour each: no more than one in sixty can be judged without a heap.
            let rate = match jobs {
                0 if IS_SMALL => 4,
                0 => 13,
                _ => 3,
            };
            let is_bad = |ticket: u64| ticket.wrapping_mul(0x9e37_79b9) >> 8 & 0xff < rate;
            for minute in 1..=DAY / MINUTE {
                let job = match jobs {
                    0 => -1,
                    _ => (sim.random() % 10) as i64,
                };
                sim.submit(job);
                sim.run(minute * MINUTE, |sent| match is_bad(sent.ticket.0) {
                    true => event,
                    false => accepted(sent),
                });
                sim.now = minute * MINUTE;
            }
            let bad = (1..=DAY / MINUTE).filter(|ticket| is_bad(*ticket)).count() as u64;
            let status = sim.courier.status();
            let (waiting, counters) = (status.waiting, status.counters);
            let good = waiting - (bad - counters.refused);
            // Few checks of credentials may fail, so what waits then comes and goes.
            let most = if event == DENIED { 400 } else { 20 };
            assert!(
                good < most && counters.refused * 3 > bad,
                "{event:?}, {jobs}: {good} good ones wait, {counters:?}, {bad}"
            );
        }
    }
}

/// So many bad ones of jobs whose ids follow each other that the set of jobs is full; ten jobs report each minute.
#[test]
fn a_thousand_jobs_in_front_stop_nobody_for_good() {
    let count = 1_000;
    let mut sim = Sim::new(Policy::default(), outbox_of(1 << 20), 26);
    for job in 0..count {
        sim.submit(1_000 + job);
    }
    for minute in 1..=8 * 60 {
        sim.submit(minute % 10);
        sim.run(minute as u64 * MINUTE, |sent| {
            match sent.ticket.0 <= count as u64 {
                true => FIREWALL,
                false => accepted(sent),
            }
        });
        sim.now = minute as u64 * MINUTE;
    }
    let delivered = sim.courier.status().counters.delivered;
    assert!(delivered > 300, "{delivered} of 480");
    sim.check_order();
}

/// Some of each job's reports crash their handler: six an hour, of ten jobs.
#[test]
fn bad_ones_of_all_jobs_are_buried_as_fast_as_they_come() {
    let mut sim = Sim::new(Policy::default(), outbox_of(1 << 20), 1);
    // Three are judged at a time without a heap, an hour each.
    let rate = if IS_SMALL { 240 } else { 60 };
    let is_bad = |ticket: u64| ticket % rate == 7;
    let every = 10_000;
    for n in 1..=12 * HOUR / every {
        let job = (sim.random() % 10) as i64;
        sim.submit(job);
        sim.run(n * every, |sent| match is_bad(sent.ticket.0) {
            true => BUSY,
            false => accepted(sent),
        });
        sim.now = n * every;
    }
    let waiting = sim.courier.status().waiting;
    assert!(waiting < 600, "{waiting} wait");
}

/// While a part of the service starts anew, the reports of some of ten jobs fail, whatever those in between say; those of the others are served.
#[test]
fn an_outage_for_some_jobs_buries_nothing() {
    for event in [
        BUSY,
        BUSY.with_retry_after_ms(MINUTE),
        Event::MAY_HAVE_ARRIVED,
        FIREWALL,
        MOVED,
        DENIED,
    ] {
        for (down, seed) in [1, 5, 6, 9]
            .into_iter()
            .flat_map(|down| [(down, 0), (down, 1)])
        {
            let mut sim = Sim::new(Policy::default(), outbox(), 100 + seed);
            sim.failing_takes_ms = 3_000;
            let begins = 10 * MINUTE + seed * 37_000;
            for minute in 1..=120 {
                for job in 0..10 {
                    sim.submit(job);
                }
                sim.run(minute * MINUTE, |sent| {
                    let is_down = (begins..begins + 40 * MINUTE).contains(&sent.now);
                    match is_down && sent.ticket.0 % 10 < down {
                        true => event,
                        false => accepted(sent),
                    }
                });
                sim.now = sim.now.max(minute * MINUTE);
            }
            sim.run(sim.now + DAY, accepted);
            let status = sim.courier.status();
            let left = (status.waiting, status.counters.refused);
            assert_eq!(left, (0, 0), "{event:?}: {down} of 10 jobs");
            sim.check_order();
        }
    }
}

/// For a while the oldest report of the only job fails. In the first 20 minutes no newer one goes ahead; then each that does is accepted right
/// before it fails once more.
#[test]
fn an_outage_for_one_report_of_the_only_job_buries_nothing() {
    for event in [BUSY, Event::MAY_HAVE_ARRIVED, FIREWALL, MOVED, DENIED] {
        for seed in 0..5 {
            let mut sim = Sim::new(Policy::default(), outbox(), seed);
            for minute in 0..120 {
                sim.submit(1);
                sim.run(minute * MINUTE, |sent| {
                    let is_down = sent.now < 75 * MINUTE;
                    match is_down && sent.ticket.0 == 1 {
                        true => event,
                        false => accepted(sent),
                    }
                });
                sim.now = sim.now.max(minute * MINUTE);
            }
            sim.run(sim.now + DAY, accepted);
            let status = sim.courier.status();
            let left = (status.waiting, status.counters.refused);
            assert_eq!(left, (0, 0), "{event:?}");
            sim.check_order();
        }
    }
}

/// More than five checks of credentials that fail in a row lock a key pair for five minutes. Some reports are denied, and in the end all.
#[test]
fn few_checks_fail_in_a_row_however_many_reports_are_denied() {
    for (jobs, bad_in) in [(10, 10), (10, 50), (1_000, 2), (1_000, 10), (3, 20)] {
        for seed in 0..10 {
            let mut sim = Sim::new(Policy::default(), outbox_of(1 << 22), seed);
            let is_bad =
                |ticket: u64| ticket.wrapping_mul(0x9e37_79b9) >> 12 & 0xfff < 4096 / bad_in;
            let mut failed = Vec::new();
            for n in 1..=4 * 600 {
                let job = sim.random() % jobs;
                sim.submit(job as i64);
                sim.run(n * 6_000, |sent| {
                    if !is_bad(sent.ticket.0) && sent.now < 3 * HOUR {
                        failed.clear();
                        return accepted(sent);
                    }
                    failed.retain(|at| at + 5 * MINUTE > sent.now);
                    failed.push(sent.now);
                    let at = format!("{jobs} jobs, 1 in {bad_in}, {seed}");
                    assert!(failed.len() <= 5, "{at}: {failed:?}");
                    match seed % 2 {
                        0 => DENIED,
                        _ => DENIED.with_clock_skew_ms(1_200_000 - sent.clock_offset_ms),
                    }
                });
                sim.now = n * 6_000;
            }
        }
    }
}

/// More jobs report than a slow link can carry: each has its turn anyway.
#[test]
fn a_slow_link_serves_every_job() {
    let latest = Policy::default().with_backlog(Backlog::LatestPerJob);
    for is_at_once in [true, false] {
        for (jobs, each, takes) in [
            (15, 30_000, 4_000),
            (20, 10_000, 1_000),
            (60, MINUTE, 2_000),
        ] {
            let mut sim = Sim::new(latest, outbox(), 7);
            let (mut came, mut next) = (vec![0; jobs], 0);
            while sim.now < 6 * HOUR {
                // All in the same moment, or one after the other.
                let due = |n: usize| match is_at_once {
                    true => (n / jobs) as u64 * each,
                    false => n as u64 * each / jobs as u64,
                };
                while due(next) <= sim.now {
                    sim.submit((next % jobs) as i64);
                    next += 1;
                }
                let now = MonoTime::from_ms(sim.now);
                sim.now = match sim.courier.next(now).unwrap() {
                    Step::Send(outgoing) => {
                        let ticket = outgoing.ticket;
                        came[(ticket.0 - 1) as usize % jobs] += 1;
                        let now = MonoTime::from_ms(sim.now + takes);
                        let entropy = sim.random();
                        let settled = sim.courier.settle(ticket, OK, now, entropy);
                        assert_eq!(settled, Ok(Verdict::Delivered));
                        now.ms()
                    }
                    Step::Wait(at) => at.ms().min(due(next)),
                    Step::Idle => due(next),
                };
            }
            let share = 6 * HOUR / takes / jobs as u64;
            let at = format!("{jobs} jobs, at once {is_at_once}");
            assert!(
                came.iter().all(|came| came * 4 > share * 3),
                "{at}: {came:?} of {share}"
            );
        }
    }
}

/// The same, of a process that lives for a minute, and each of its reports takes 2 s.
#[test]
fn who_starts_anew_each_minute_serves_every_job() {
    let latest = Policy::default().with_backlog(Backlog::LatestPerJob);
    let mut sim = Sim::new(latest, outbox(), 7);
    let mut came = [0; 60];
    for minute in 0..6 * 60 {
        sim.now = minute * MINUTE;
        for job in 0..60 {
            sim.submit(job);
        }
        sim.restart();
        while sim.now < (minute + 1) * MINUTE {
            sim.now = match sim.courier.next(MonoTime::from_ms(sim.now)).unwrap() {
                Step::Send(outgoing) => {
                    let ticket = outgoing.ticket;
                    came[(ticket.0 - 1) as usize % 60] += 1;
                    let (now, entropy) = (sim.now + 2_000, sim.random());
                    let settled = sim
                        .courier
                        .settle(ticket, OK, MonoTime::from_ms(now), entropy);
                    assert_eq!(settled, Ok(Verdict::Delivered));
                    now
                }
                Step::Wait(at) => at.ms(),
                Step::Idle => break,
            };
        }
    }
    assert!(came.iter().all(|came| *came > 50), "{came:?}");
}

/// New jobs have ids greater than all before. One comes and ends each 4 s, as long as one report takes: ten that were there before are heard, too.
#[test]
fn new_jobs_on_a_slow_link_starve_no_old_one() {
    let latest = Policy::default().with_backlog(Backlog::LatestPerJob);
    let mut sim = Sim::new(latest, outbox(), 7);
    let mut came = [0; 10];
    for (n, new) in (0..6 * HOUR / 4_000).zip(10i64..) {
        if n % 15 == 0 {
            for job in 0..10 {
                sim.submit(job);
            }
        }
        sim.submit(new);
        if let Step::Send(outgoing) = sim.courier.next(MonoTime::from_ms(sim.now)).unwrap() {
            let ticket = outgoing.ticket;
            if let Some(came) = came.get_mut(sim.jobs[ticket.0 as usize - 1][0] as usize) {
                *came += 1;
            }
            let (now, entropy) = (MonoTime::from_ms(sim.now + 4_000), sim.random());
            let settled = sim.courier.settle(ticket, OK, now, entropy);
            assert_eq!(settled, Ok(Verdict::Delivered));
        }
        sim.now += 4_000;
    }
    assert!(came.iter().all(|came| *came > 10), "{came:?}");
}

/// What was never sent is no attempt.
#[test]
fn what_was_not_sent_spends_no_attempt() {
    let policy = Policy::default().with_max_attempts(3);
    for event in [
        Event::failed(Code::Tls),
        Event::failed(Code::TimeOutOfRange),
        Event::failed(Code::PlainHttp),
        Event::NOT_SENT,
    ] {
        let mut sim = Sim::new(policy, outbox(), 1);
        for job in 0..10 {
            sim.submit(job);
        }
        sim.run(DAY, |_| event);
        sim.run(sim.now + DAY, accepted);
        assert_eq!(sim.courier.status().counters.delivered, 10, "{event:?}");
    }
}

/// Milliseconds in 2026.
const TRUTH: i64 = 1_795_737_600_000;
const YEAR: i64 = 365 * DAY as i64;

/// A gateway that denies what is not signed within 15 minutes of the true time, and says the time. Its clock goes right, the node's is `wrong`.
fn signed(sent: &Sent, wrong: i64) -> Event {
    let now = wrong + sent.clock_offset_ms;
    let time = TRUTH + sent.now as i64 + now;
    if !(0..=253_402_300_799_999).contains(&time) {
        return Event::failed(Code::TimeOutOfRange);
    }
    match now.abs() > 900_000 {
        true => DENIED.with_clock_skew_ms(-wrong),
        false => accepted(sent),
    }
}

/// One that was far off for two hours, was corrected by the gateway's, and was set right then.
#[test]
fn a_clock_that_is_set_right_signs_again() {
    for year in [1900, 1970, 2038, 2080, 2099, 2106, 9990] {
        let mut sim = Sim::new(Policy::default(), outbox(), 1);
        for hour in 1..=3 * 24 {
            sim.submit(hour as i64 % 3);
            sim.run(hour * HOUR, |sent| {
                let is_wrong = i64::from(sent.now < 2 * HOUR);
                signed(sent, is_wrong * (year - 2026) * YEAR)
            });
            sim.now = hour * HOUR;
        }
        let status = sim.courier.status();
        assert_eq!(
            (status.waiting, status.counters.delivered),
            (0, 72),
            "{year}"
        );
    }
}

/// The correction is not trusted for ever, even if no report is tried a second time.
#[test]
fn a_wrong_date_costs_few_reports_with_one_attempt_each() {
    let once = Policy::default().with_max_attempts(1);
    let soon = Policy::default().with_max_time(Duration::from_millis(MINUTE));
    for (policy, takes_ms) in [(once, 0), (once, 61_000), (soon, 61_000)] {
        for portal in [true, false] {
            let mut sim = Sim::new(policy, outbox(), 1);
            sim.failing_takes_ms = takes_ms;
            for hour in 1..=3 * 24 {
                sim.submit(hour as i64 % 3);
                sim.run(hour * HOUR, |sent| {
                    let is_first = sent.now < HOUR;
                    match (is_first, portal) {
                        // Somebody else, whose clock is wrong.
                        (true, true) => DENIED.with_clock_skew_ms(YEAR),
                        // The node has no clock yet.
                        (true, false) => signed(sent, -TRUTH),
                        (false, _) => signed(sent, 0),
                    }
                });
                sim.now = sim.now.max(hour * HOUR);
            }
            let counters = sim.courier.status().counters;
            assert!(counters.expired < 4, "{portal}: {counters:?}");
            assert!(counters.delivered > 67, "{portal}: {counters:?}");
        }
    }
}
