//! What links that come and go let through, in virtual time. `tests/outbox/fleet.rs` has the other side: what a fleet asks of its receiver.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod courier_sim;

use courier_sim::{HOUR, Sim, accepted, outbox};
use edge_report::courier::{Backlog, Event, Policy, Step};
use edge_report::{MonoTime, Outcome};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// How much of what was submitted before the last contact is delivered after a day of one report a minute. The link is up for `up` in each `every`;
/// if it is not, it is silent, and an attempt takes 10 s to find out.
fn delivered(up: u64, every: u64, wakes: bool, seed: u64) -> f64 {
    let mut sim = Sim::new(Policy::default(), outbox(), seed);
    sim.failing_takes_ms = 10 * SECOND;
    let shift = sim.random() % every;
    let is_up = |now: u64| (now + shift) % every < up;
    let mut was_up = false;
    for minute in 0..24 * 60 {
        sim.submit(1);
        let until = (minute + 1) * MINUTE;
        while sim.now < until {
            let up_now = is_up(sim.now);
            if wakes && up_now && !was_up {
                sim.wake();
            }
            was_up = up_now;
            let next = sim.now + SECOND;
            sim.run(next, |sent| match is_up(sent.now) {
                true => accepted(sent),
                false => Event::NOT_SENT,
            });
            sim.now = sim.now.max(next);
        }
    }
    let day = 24 * HOUR;
    let last_up = (0..day)
        .rev()
        .step_by(SECOND as usize)
        .find(|now| is_up(*now));
    let due = (last_up.unwrap() / MINUTE + 1).min(24 * 60);
    sim.accepted.len() as f64 / due as f64
}

/// The least and the mean of some days, in percent.
fn days(up: u64, every: u64, wakes: bool) -> (f64, f64) {
    let days: Vec<f64> = (0..10)
        .map(|seed| delivered(up * SECOND, every * SECOND, wakes, seed))
        .collect();
    let least = days.iter().copied().fold(1.0, f64::min);
    (100.0 * least, 10.0 * days.iter().sum::<f64>())
}

#[test]
fn links_that_come_and_go_deliver() {
    println!("| the link is up | of each | what tells of the link | delivered, mean | least |");
    println!("|---|---|---|---|---|");
    for (up, every) in [
        (180, 1080),
        (120, 1080),
        (120, 1800),
        (30, 120),
        (10, 600),
        (5, 900),
    ] {
        let is_long = up >= 120 || every == 120;
        for wakes in [false, true] {
            let (least, mean) = days(up, every, wakes);
            let told = if wakes { "`wake()`" } else { "nobody" };
            println!("| {up} s | {every} s | {told} | {mean:.1} % | {least:.1} % |");
            assert!(
                mean >= 95.0 || !(is_long || wakes),
                "{up} of {every}, {told}"
            );
        }
    }
}

#[test]
fn single_resets_cost_little() {
    println!("| resets | delivered of 30,000 at 50/s |");
    println!("|---|---|");
    for percent in [0, 1, 5, 10] {
        let mut sim = Sim::new(Policy::default(), outbox(), 5);
        let mut number = 7u64;
        sim.courier.wake(edge_report::MonoTime::from_ms(0));
        for tick in 0..30_000u64 {
            sim.submit(1);
            let until = tick * 20;
            sim.run(until, |sent| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                match (number >> 33) % 100 < percent {
                    true => Event::MAY_HAVE_ARRIVED,
                    false => accepted(sent),
                }
            });
            sim.now = sim.now.max(until);
        }
        let delivered = sim.accepted.len();
        println!("| {percent} % | {delivered} |");
        assert!(delivered >= 24_000, "{percent} %: {delivered}");
    }
}

/// An attempt that was stuck fails, and meanwhile the link came back: with the credentials of reports that were denied that has nothing to do.
#[test]
fn news_of_a_link_during_an_attempt_ends_no_wait_of_what_was_denied() {
    let denied = Event::response(Outcome::Credentials, 401);
    let moved = Event::response(Outcome::Misconfigured, 302);
    for (bad, event, by_news) in [
        (1, denied, true),
        (1, denied, false),
        (8, moved, true),
        (8, moved, false),
    ] {
        let mut sim = Sim::new(Policy::default(), outbox(), 6);
        sim.submit(0);
        // More than can be suspects, and good ones after each.
        for job in 1..=bad {
            sim.submit(job);
            for good in 1..=3 {
                sim.submit(100 * job + good);
            }
        }
        sim.run(MINUTE, |sent| match sent.ticket.0 % 4 {
            2 => event,
            _ => accepted(sent),
        });
        assert_eq!(sim.courier.status().waiting, bad as u64);
        let stuck = sim.submit(50);
        let mut at = MonoTime::from_ms(sim.now);
        loop {
            match sim.courier.next(at).unwrap() {
                Step::Send(outgoing) if outgoing.ticket == stuck => break,
                Step::Send(outgoing) => {
                    let ticket = outgoing.ticket;
                    let _ = sim.courier.settle(ticket, event, at, 0).unwrap();
                }
                Step::Wait(until) => at = until,
                Step::Idle => panic!("it waits"),
            }
        }
        match by_news {
            true => sim.courier.link_is_back(at),
            false => sim.courier.wake(at),
        }
        let _ = sim.courier.settle(stuck, Event::NOT_SENT, at, 0).unwrap();
        let Step::Send(next) = sim.courier.next(at).unwrap() else {
            panic!("the link is back")
        };
        assert_eq!(next.ticket == stuck, by_news, "{bad}");
    }
}

/// Somebody fails for one job, and asks to be left alone: that delays this job, though each report of it is superseded before it is tried again.
#[test]
fn what_is_asked_for_one_job_delays_no_other() {
    const JOBS: u64 = 10;
    let asked = 10 * MINUTE;
    let busy = Event::response(Outcome::TryAgain, 503).with_retry_after_ms(asked);
    let policy = Policy::default().with_backlog(Backlog::LatestPerJob);
    let mut sim = Sim::new(policy, outbox(), 12);
    let mut times = Vec::new();
    for minute in 1..=360 {
        for job in 0..JOBS as i64 {
            sim.submit(job);
        }
        sim.run(minute * MINUTE, |sent| match sent.ticket.0 % JOBS {
            1 => {
                times.push(sent.now);
                busy
            }
            _ => accepted(sent),
        });
        sim.now = minute * MINUTE;
    }
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= asked, "{times:?}");
    }
    // Twice it holds all, since nobody knows yet that it is one job alone.
    let delivered = sim.accepted.len();
    println!("{delivered} of others, {} tries", times.len());
    assert!(delivered > 330 * 9, "{delivered}");
    assert!(times.len() > 20, "{times:?}");
    sim.check_order();
}

/// Bad ones, more than can be suspects, each with a wait that it was asked for. Somebody says each second that the link is back.
#[test]
fn news_of_a_link_ends_no_wait_that_was_asked_for() {
    const ASKED: u64 = 20 * MINUTE;
    for response in [
        Event::response(Outcome::TryAgain, 503),
        Event::response(Outcome::NotUnderstood, 403),
    ] {
        let mut sim = Sim::new(Policy::default(), outbox(), 7);
        let mut bad = std::collections::BTreeMap::new();
        for minute in 1..=8 * 60 {
            if minute > 10 && minute % 5 == 0 && bad.len() < 8 {
                bad.insert(sim.submit(1_000 + minute as i64), None);
            }
            sim.submit(minute as i64 % 7);
            while sim.now < minute * MINUTE {
                sim.courier.link_is_back(MonoTime::from_ms(sim.now));
                let next = sim.now + SECOND;
                sim.run(next, |sent| {
                    let Some(last) = bad.get_mut(&sent.ticket) else {
                        return accepted(sent);
                    };
                    let waited = last.map_or(ASKED, |last| sent.now - last);
                    assert!(waited >= ASKED, "{} after {waited} ms", sent.ticket);
                    *last = Some(sent.now);
                    response.with_retry_after_ms(ASKED)
                });
                sim.now = sim.now.max(next);
            }
        }
    }
}

/// In an outage somebody says each minute that the link is back: each time there is one attempt more, and no new series of them.
#[test]
fn news_of_a_link_in_an_outage_ask_little() {
    for event in [
        Event::NOT_SENT,
        Event::MAY_HAVE_ARRIVED,
        Event::response(Outcome::TryAgain, 503),
    ] {
        let mut sim = Sim::new(Policy::default(), outbox(), 7);
        for job in 0..10 {
            sim.submit(job);
        }
        let mut before = 0;
        for hour in 0..6 {
            for minute in 1..=60 {
                sim.courier.link_is_back(MonoTime::from_ms(sim.now));
                sim.forget_waits();
                sim.run(hour * HOUR + minute * MINUTE, |_| event);
            }
            let requests = sim.requests - before;
            before = sim.requests;
            assert!(requests <= 100, "{event:?}: {requests} in an hour");
        }
        // Once it is true, all goes at once.
        sim.courier.link_is_back(MonoTime::from_ms(sim.now));
        sim.forget_waits();
        if event == Event::NOT_SENT {
            sim.run(sim.now + SECOND, accepted);
            assert_eq!(sim.courier.status().waiting, 0);
        }
    }
}
