//! The courier's engine against its promises, with whatever a network, a service and those between may do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod courier_sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use courier_sim::{HOUR, IS_SMALL, Sim, accepted, outbox, outbox_of};
use edge_report::courier::{Backlog, Cause, Event, OutboxError, Policy, Step, Ticket};
use edge_report::{Code, MonoTime, Outcome};

/// What all get, or those that are not bad.
#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    Up,
    /// One answer in some.
    Flaky(u64),
    Down(Event),
}

fn event(number: u64) -> Event {
    match number % 8 {
        0 => Event::response(Outcome::TryAgain, 503),
        1 => Event::response(Outcome::NotUnderstood, 404),
        2 => Event::MAY_HAVE_ARRIVED,
        3 => Event::NOT_SENT,
        4 => Event::response(Outcome::Credentials, 401),
        5 => Event::response(Outcome::Credentials, 401).with_clock_skew_ms(7_000_000),
        6 => Event::response(Outcome::Misconfigured, 302),
        _ => Event::response(Outcome::TryAgain, 429).with_retry_after_ms(number % 50 * 2_500),
    }
}

/// What a bad report gets while others are served.
fn bad_event(number: u64) -> Event {
    match number % 5 {
        0 => Event::response(Outcome::TryAgain, 500),
        1 => Event::response(Outcome::NotUnderstood, 403),
        2 => Event::MAY_HAVE_ARRIVED,
        3 => Event::response(Outcome::Credentials, 401),
        _ => Event::response(Outcome::Refused, 400),
    }
}

/// In the hours without a single acceptance or refusal: a wait of 150 s on average, with one canary at every 4th, and the first of them
/// shorter; holds of 300 s, before which a clock may be corrected once; and now and then somebody wakes it.
const REQUESTS_AN_HOUR: usize = 150;

struct Seen {
    bad: BTreeSet<Ticket>,
    /// Requests since something was accepted or refused, by hour.
    quiet: (u64, usize),
}

#[test]
fn promises_hold_whatever_happens() {
    let (mut most, mut slowest) = (0, 0);
    for seed in 0..150u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), seed);
        let mut seen = Seen {
            bad: BTreeSet::new(),
            quiet: (0, 0),
        };
        let jobs = 1 + sim.random() % 8;
        let bad_in = 3 + sim.random() % 40;
        let mut world = World::Up;
        for _ in 0..150 {
            for _ in 0..sim.random() % 6 {
                let ids: Vec<_> = (0..[0, 1, 1, 1, 1, 2, 3][sim.random() as usize % 7])
                    .map(|_| (sim.random() % jobs) as i64)
                    .collect();
                let ticket = sim.submit_jobs(&ids);
                if sim.random().is_multiple_of(bad_in) {
                    seen.bad.insert(ticket);
                }
            }
            let number = sim.random();
            match number % 8 {
                0 | 1 => world = World::Up,
                2 => world = World::Flaky(2 + number / 8 % 30),
                3 => world = World::Down(event(number / 8)),
                4 if (number / 8).is_multiple_of(4) => sim.wake(),
                _ => {}
            }
            let span = [1_000, 60_000, HOUR, 4 * HOUR][sim.random() as usize % 4];
            go(&mut sim, &mut seen, world, span);
            most = most.max(seen.quiet.1);
            sim.check_order();
        }
        // It is over. Bad ones stay bad.
        let mut hours = 0;
        while sim.courier.status().waiting > 0 && hours < 24 * 60 {
            // Something of another job comes now and then.
            sim.submit(1000 + hours);
            go(&mut sim, &mut seen, World::Up, 2 * HOUR);
            hours += 2;
        }
        slowest = slowest.max(hours);
        let status = sim.courier.status();
        assert_eq!(status.waiting, 0, "seed {seed} after {hours} h");
        let refused = status.counters.refused as usize;
        assert!(refused >= seen.bad.len(), "seed {seed}");
        sim.check_order();
    }
    println!(
        "at most {most} requests in an hour in which nobody was served; {slowest} h until all was"
    );
}

fn go(sim: &mut Sim, seen: &mut Seen, world: World, span: u64) {
    let bad = seen.bad.clone();
    let mut number = sim.random();
    let buried = sim.buried.len();
    let served = sim.accepted.len();
    // What was overtaken or denied is tried again right after another one was accepted.
    let last = sim.accepted.last();
    let is_long_ago = last.is_none_or(|(_, at)| at + 4 * 60_000 < sim.now);
    sim.run(sim.now + span, |sent| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let event = match world {
            World::Down(event) => event,
            World::Flaky(each) if (number >> 33).is_multiple_of(each) => event(number >> 40),
            _ if bad.contains(&sent.ticket) => bad_event(sent.ticket.0),
            _ => accepted(sent),
        };
        let is_served = matches!(
            event.reason.cause,
            Cause::Response(Outcome::Accepted | Outcome::Refused)
        );
        let hour = sent.now / HOUR;
        if is_served || seen.quiet.0 != hour {
            seen.quiet = (hour, 0);
        }
        if !is_served {
            seen.quiet.1 += 1;
            assert!(
                seen.quiet.1 <= REQUESTS_AN_HOUR,
                "{} in an hour",
                seen.quiet.1
            );
        }
        event
    });
    if sim.accepted.len() == served && is_long_ago {
        assert_eq!(
            sim.buried.len(),
            buried,
            "buried while nothing was accepted"
        );
    }
}

/// Outages of any kind and length, and not one bad report: each is delivered.
#[test]
fn no_healthy_report_is_lost_to_outages() {
    let (mut repeated, mut outages) = (0, 0);
    for seed in 0..300u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), 1_000_000 + seed);
        let mut seen = Seen {
            bad: BTreeSet::new(),
            quiet: (0, 0),
        };
        let jobs = 1 + sim.random() % 5;
        for _ in 0..100 {
            for _ in 0..sim.random() % 6 {
                let ids: Vec<_> = (0..[1, 1, 1, 2][sim.random() as usize % 4])
                    .map(|_| (sim.random() % jobs) as i64)
                    .collect();
                sim.submit_jobs(&ids);
            }
            let number = sim.random();
            let world = match number % 3 {
                0 => World::Up,
                _ => World::Down(event(number / 3)),
            };
            outages += u32::from(world != World::Up) as usize;
            sim.failing_takes_ms = [0, 0, 10_000, 60_000][sim.random() as usize % 4];
            let span =
                1 + sim.random() % [1_000, 60_000, HOUR, 12 * HOUR][sim.random() as usize % 4];
            go(&mut sim, &mut seen, world, span);
        }
        go(&mut sim, &mut seen, World::Up, 24 * HOUR);
        let status = sim.courier.status();
        assert_eq!(status.waiting, 0);
        assert_eq!(status.counters.refused, 0, "seed {seed}: {:?}", sim.buried);
        sim.check_order();
        repeated += sim.repeated();
    }
    println!("{repeated} reports came again after {outages} outages");
    assert!(repeated * 500 < outages, "{repeated} in {outages} outages");
}

/// A portal answers each report with its page, and takes its time. It goes away in the middle of a report, or between two.
#[test]
fn the_end_of_a_long_outage_of_slow_answers_buries_nothing() {
    let mut repeated = 0;
    for takes_ms in [1_000, 10_000, 90_000] {
        for seed in 0..100u64 {
            let mut sim = Sim::new(Policy::default(), outbox(), 6_000_000 + seed);
            sim.failing_takes_ms = takes_ms;
            let jobs = 1 + (seed % 2) as i64;
            for n in 0..12 {
                sim.submit(n % jobs);
            }
            let event = [FIREWALL, BUSY, Event::MAY_HAVE_ARRIVED][seed as usize % 3];
            let end = 20 * HOUR + sim.random() % (20 * HOUR);
            sim.run(end + 10 * DAY, |sent| match sent.now < end {
                true => event,
                false => accepted(sent),
            });
            assert_eq!(
                counts(&sim),
                (0, 12, 0),
                "{takes_ms}, {seed}: {:?}",
                sim.buried
            );
            sim.check_order();
            repeated += sim.repeated();
        }
    }
    println!("{repeated} reports came again");
    assert!(repeated < 100, "{repeated} came again");
}

/// It is accepted, and the disk cannot note that: it is not sent again, and noted when the disk is well.
#[test]
fn a_sick_disk_sends_nothing_twice() {
    let mut sim = Sim::new(Policy::default(), outbox(), 31);
    let all = if IS_SMALL { 4 } else { 20 };
    for n in 0..all {
        sim.submit(n % 3);
    }
    sim.courier.outbox().is_sick.set(true);
    sim.run(HOUR, accepted);
    let status = sim.courier.status();
    assert_eq!((status.waiting, sim.requests), (all as u64, all as usize));
    let (_, reason) = status.last_failure.unwrap();
    assert_eq!(reason.cause, Cause::Failed(Code::Storage));
    sim.courier.outbox().is_sick.set(false);
    sim.run(2 * HOUR, accepted);
    assert_eq!(
        (counts(&sim), sim.requests),
        ((0, all as u64, 0), all as usize)
    );
}

/// Round robin over some servers, all bad but one, with as many requests as come: whatever the step, both get the good one.
#[test]
fn servers_in_turn_bury_nothing_healthy() {
    for servers in 2..=8 {
        for seed in 0..20u64 {
            let mut sim = Sim::new(Policy::default(), outbox(), 7_000_000 + seed);
            let bad: Vec<bool> = (0..servers).map(|n| n != seed as usize % servers).collect();
            for n in 0..60 {
                sim.submit(n);
            }
            let mut turn = 0;
            sim.run(60 * DAY, |sent| {
                turn += 1;
                match bad[turn % servers] {
                    true => BUSY,
                    false => accepted(sent),
                }
            });
            assert_eq!(
                counts(&sim),
                (0, 60, 0),
                "{servers}, {seed}: {:?}",
                sim.buried
            );
        }
    }
}

/// After an outage one of some servers is back, and requests go to each in turn. One job, and nothing is bad.
#[test]
fn an_outage_that_ends_for_some_servers_buries_nothing() {
    let denied = Event::response(Outcome::Credentials, 401);
    for servers in [2, 3] {
        for (event, hours) in [
            (BUSY, 8),
            (BUSY, 72),
            (FIREWALL, 2),
            (FIREWALL, 100),
            (denied, 3),
        ] {
            for seed in 0..60u64 {
                let mut sim = Sim::new(Policy::default(), outbox(), 8_000_000 + seed);
                for _ in 0..12 {
                    sim.submit(1);
                }
                let end = hours * HOUR + sim.random() % HOUR;
                let mut turn = 0;
                sim.run(end + 20 * DAY, |sent| {
                    turn += 1;
                    match sent.now < end || turn % servers != 0 {
                        true => event,
                        false => accepted(sent),
                    }
                });
                let at = format!("{servers}, {event:?}, {hours} h, {seed}");
                assert_eq!(counts(&sim), (0, 12, 0), "{at}: {:?}", sim.buried);
            }
        }
    }
}

/// After an outage most answers are bad by chance, and not one report. A witness of some jobs is no proof that the older ones are bad.
#[test]
fn an_outage_that_ends_in_chance_buries_nothing() {
    let denied = Event::response(Outcome::Credentials, 401);
    let mut repeated = 0;
    for (event, hours) in [
        (BUSY, 1),
        (BUSY, 72),
        (FIREWALL, 1),
        (FIREWALL, 72),
        (Event::MAY_HAVE_ARRIVED, 24),
        (denied, 24),
    ] {
        for percent in [50, 80, 90, 95] {
            for seed in 0..40u64 {
                let mut sim = Sim::new(Policy::default(), outbox(), 9_000_000 + seed);
                for n in 0..12 {
                    sim.submit(n % (1 + seed as i64 % 3));
                }
                let end = hours * HOUR + sim.random() % HOUR;
                let mut number = sim.random();
                sim.run(end + 40 * DAY, |sent| {
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    match sent.now < end || (number >> 33) % 100 < percent {
                        true => event,
                        false => accepted(sent),
                    }
                });
                let at = format!("{event:?}, {hours} h, {percent} %, {seed}");
                assert_eq!(counts(&sim), (0, 12, 0), "{at}: {:?}", sim.buried);
                sim.check_order();
                repeated += sim.repeated();
            }
        }
    }
    println!("{repeated} reports came again");
}

/// What waits behind the second bad report waits for nobody's suspect. Jobs of the bad ones, then those of what comes each hour.
#[test]
fn bad_ones_of_different_jobs_stop_nobody() {
    let wide: Vec<i64> = (0..20).collect();
    let cases: &[(&[&[i64]], &[i64])] = &[
        (&[&[9], &[0]], &[0]),
        (&[&[], &[0]], &[0]),
        (&[&[0], &[0, 1]], &[1]),
        (&[&[0], &[0, 1], &[1, 2]], &[2]),
        (&[&[0], &[1], &[2]], &[2]),
        (&[&[0], &[1], &[0]], &[1]),
        (&[&[0], &wide], &[3]),
        (&[&[0], &[0, -1]], &[1]),
        (&[&[], &wide], &[50]),
    ];
    let denied = Event::response(Outcome::Credentials, 401);
    for (bad, healthy) in cases {
        for event in [FIREWALL, BUSY, denied] {
            let mut sim = Sim::new(Policy::default(), outbox(), 36);
            for jobs in *bad {
                sim.submit_jobs(jobs);
            }
            let mut hours = 0;
            while hours == 0 || sim.courier.status().waiting > 0 && hours < 24 * 10 {
                hours += 1;
                sim.submit_jobs(healthy);
                finish(&mut sim, HOUR, |t| {
                    (t.0 <= bad.len() as u64).then_some(event)
                });
            }
            let at = format!("{bad:?}, {healthy:?}, {event:?}");
            assert_eq!(counts(&sim), (0, hours, bad.len() as u64), "{at}");
        }
    }
}

/// What went ahead of a report that is dropped as superseded blocks nobody.
#[test]
fn a_backlog_of_the_latest_never_stops() {
    for seed in 0..60u64 {
        let policy = Policy::default().with_backlog(Backlog::LatestPerJob);
        let mut sim = Sim::new(policy, outbox(), 10_000_000 + seed);
        let jobs = 2 + sim.random() % 4;
        let mut bad = BTreeSet::new();
        for hour in 0..24 * 6 {
            let is_up = !sim.random().is_multiple_of(6) || hour > 24 * 5;
            for _ in 0..3 {
                let job = (sim.random() % jobs) as i64;
                let ticket = match sim.random() % 8 {
                    0 => sim.submit_jobs(&(0..20).collect::<Vec<_>>()),
                    _ => sim.submit(job),
                };
                if sim.random().is_multiple_of(12) && hour < 24 * 5 {
                    bad.insert(ticket);
                }
                let until = sim.now + HOUR / 3;
                sim.run(until, |sent| match is_up && !bad.contains(&sent.ticket) {
                    true => accepted(sent),
                    false => FIREWALL,
                });
                // Nothing waits, or there is a time when it goes on.
                let next = sim.courier.next(MonoTime::from_ms(sim.now)).unwrap();
                let is_idle = matches!(next, Step::Idle);
                let waiting = sim.courier.status().waiting;
                assert_eq!(is_idle, waiting == 0, "seed {seed}: {waiting} wait");
                sim.now = until;
            }
        }
        let (waiting, ..) = counts(&sim);
        assert!(waiting < 10, "seed {seed}: {waiting} wait");
    }
}

/// One that was accepted, was to be sent once more, failed, and then a newer one came.
#[test]
fn what_was_delivered_is_not_counted_as_superseded() {
    let policy = Policy::default().with_backlog(Backlog::LatestPerJob);
    let mut sim = Sim::new(policy, outbox(), 77);
    let older = sim.submit_jobs(&[0, 1]);
    let newer = sim.submit(0);
    let mut times = 0;
    sim.run(12 * HOUR, |sent| {
        times += u32::from(sent.ticket == newer);
        match sent.ticket == newer && times == 1 {
            true => accepted(sent),
            false => FIREWALL,
        }
    });
    assert!(times > 1, "it was sent once more");
    sim.submit(0);
    sim.run(24 * HOUR, accepted);
    assert_eq!(counts(&sim).0, 0);
    let counters = sim.courier.status().counters;
    assert_eq!((counters.delivered, counters.superseded), (3, 0));
    assert!(sim.accepted.iter().any(|(ticket, _)| *ticket == older));
    sim.check_order();
}

/// However long an outage is, and however many reports of one job wait.
#[test]
fn a_month_without_an_answer_costs_few_requests_an_hour() {
    let denied = Event::response(Outcome::Credentials, 401);
    for (event, most) in [(FIREWALL, 100), (BUSY, 100), (denied, 60)] {
        let mut sim = Sim::new(Policy::default(), outbox(), 38);
        for _ in 0..100 {
            sim.submit(1);
        }
        let mut worst = 0;
        for hour in 0..24 * 30 {
            let before = sim.requests;
            sim.run((hour + 1) * HOUR, |_| event);
            worst = worst.max(sim.requests - before);
        }
        assert!(worst <= most, "{event:?}: {worst} in an hour");
    }
}

/// More than five checks that fail in a row lock a key pair.
#[test]
fn few_checks_fail_in_a_row() {
    let denied = Event::response(Outcome::Credentials, 401);
    for seed in 0..40 {
        let mut sim = Sim::new(Policy::default(), outbox(), 11_000_000 + seed);
        let bad = 1 + seed % 5;
        for _ in 0..30 {
            sim.submit(1);
        }
        let (mut in_a_row, mut last) = (0, 0);
        for _ in 0..24 * 5 {
            sim.submit(1);
            let until = sim.now + HOUR;
            sim.run(until, |sent| {
                in_a_row = if sent.now - last < 60_000 {
                    in_a_row
                } else {
                    0
                };
                last = sent.now;
                match sent.ticket.0 <= bad {
                    true => {
                        in_a_row += 1;
                        assert!(in_a_row <= 5, "seed {seed}");
                        denied
                    }
                    false => {
                        in_a_row = 0;
                        accepted(sent)
                    }
                }
            });
            sim.now = until;
        }
    }
}

/// One that is denied among those that are answered doubtfully ends no round for good.
#[test]
fn bad_ones_of_different_kinds_in_one_job_end() {
    let denied = Event::response(Outcome::Credentials, 401);
    let hold = Event::response(Outcome::Misconfigured, 302);
    for first in [BUSY, FIREWALL, Event::MAY_HAVE_ARRIVED] {
        for second in [denied, hold] {
            let mut sim = Sim::new(Policy::default(), outbox(), 33);
            for _ in 0..12 {
                sim.submit(1);
            }
            finish(&mut sim, 100 * DAY, |ticket| match ticket.0 {
                1 => Some(first),
                2 => Some(second),
                _ => None,
            });
            assert_eq!(counts(&sim), (0, 10, 2), "{first:?}, {second:?}");
        }
    }
}

/// Somebody in front of the service whose clock is wrong dislikes one report, and says so with a `Date`.
#[test]
fn a_wrong_date_for_one_report_stops_nobody() {
    let mut sim = Sim::new(Policy::default(), outbox(), 34);
    let bad = sim.submit(0);
    let denied = Event::response(Outcome::Credentials, 401);
    for n in 0..24 * 60 {
        sim.submit(1 + n % 5);
        let until = sim.now + 60_000;
        sim.run(until, |sent| match sent.ticket == bad {
            true => denied.with_clock_skew_ms(1_200_000),
            false if sent.clock_offset_ms.abs() < 900_000 => accepted(sent),
            false => denied.with_clock_skew_ms(0),
        });
        sim.now = until;
    }
    let (waiting, delivered, refused) = counts(&sim);
    assert!(
        waiting < 10 && delivered > 1_430,
        "{waiting} wait, {delivered} came, {refused}"
    );
}

/// Reports of another job that the service refuses do not undo what is known of bad ones.
#[test]
fn refusals_of_others_do_not_keep_bad_ones_alive() {
    for event in [FIREWALL, BUSY] {
        let mut sim = Sim::new(Policy::default(), outbox(), 35);
        for _ in 0..12 {
            sim.submit(1);
        }
        let mut hours = 0;
        while sim.jobs.len() < 6 * 24 * 20 && sim.courier.status().counters.delivered < 10 {
            let refused = sim.submit(2);
            let until = sim.now + HOUR / 6;
            sim.run(until, |sent| match sent.ticket {
                Ticket(1 | 2) => event,
                ticket if ticket == refused => Event::response(Outcome::Refused, 400),
                Ticket(3..=12) => accepted(sent),
                _ => Event::response(Outcome::Refused, 400),
            });
            sim.now = until;
            hours += 1;
        }
        let delivered = sim.courier.status().counters.delivered;
        assert_eq!(delivered, 10, "{event:?} after {} h", hours / 6);
    }
}

/// A monotonic clock that goes back far makes no budget longer than it is.
#[test]
fn a_clock_that_goes_back_lengthens_no_budget() {
    for jobs in [1, 3] {
        let policy = Policy::default().with_max_time(Duration::from_millis(DAY));
        let mut sim = Sim::new(policy, outbox(), 32);
        sim.now = 1000 * DAY;
        for n in 0..6 {
            sim.submit(n % jobs);
        }
        sim.run(sim.now + DAY / 2, |_| BUSY);
        assert_eq!(sim.courier.status().waiting, 6);
        sim.now = 10 * DAY;
        sim.forget_waits();
        // The first of a job is given up, then the next begins.
        sim.run(sim.now + 7 * DAY, |_| BUSY);
        assert_eq!(sim.courier.status().counters.expired, 6, "{jobs} jobs");
    }
}

/// The clock goes back while a report is in flight.
#[test]
fn a_clock_that_goes_back_in_flight_lengthens_no_budget() {
    let policy = Policy::default()
        .with_max_time(Duration::from_millis(DAY))
        .with_start_spread(Duration::ZERO);
    for back in [HOUR, 500 * DAY] {
        let mut sim = Sim::new(policy, outbox(), 37);
        sim.now = 1000 * DAY;
        let ticket = sim.submit(1);
        let mut passed = 0;
        while sim.courier.status().waiting > 0 && passed < 10 * DAY {
            match sim.courier.next(MonoTime::from_ms(sim.now)).unwrap() {
                Step::Wait(at) => {
                    passed += at.ms() - sim.now;
                    sim.now = at.ms();
                }
                Step::Send(_) => {
                    sim.now -= back / 1000;
                    let now = MonoTime::from_ms(sim.now);
                    let _ = sim.courier.settle(ticket, BUSY, now, u64::MAX).unwrap();
                }
                Step::Idle => break,
            }
        }
        assert_eq!(sim.courier.status().counters.expired, 1, "{back}");
        assert!(passed < DAY + HOUR, "{back}: given up after {passed}");
    }
}

/// Somebody in front of the service asks for credentials, or elsewhere, after each pause, and lets all others pass. Nothing is bad.
#[test]
fn what_comes_first_after_a_pause_is_not_at_fault() {
    for event in [
        Event::response(Outcome::Credentials, 401),
        Event::response(Outcome::Misconfigured, 302),
        FIREWALL,
    ] {
        for pause in [5_000, 60_000, HOUR / 10] {
            for seed in 0..30u64 {
                let mut sim = Sim::new(Policy::default(), outbox(), 12_000_000 + seed);
                let mut last = 0;
                for n in 0..24 * 10 {
                    for _ in 0..1 + seed % 5 {
                        let job = sim.random() % 4;
                        sim.submit(job as i64);
                    }
                    let until = (n + 1) * HOUR;
                    sim.run(until, |sent| {
                        let is_first = sent.now - last >= pause;
                        last = sent.now;
                        if is_first { event } else { accepted(sent) }
                    });
                    sim.now = until;
                }
                let (_, _, refused) = counts(&sim);
                let at = format!("{event:?}, {pause}, {seed}");
                assert_eq!(refused, 0, "{at}: {:?}", sim.buried);
            }
        }
    }
}

/// Calls in any order, with tickets that were never given: no panic, and nothing is lost.
#[test]
fn any_order_of_calls_leaves_it_valid() {
    for seed in 0..300u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), 2_000_000 + seed);
        let mut now = 0u64;
        for _ in 0..400 {
            let number = sim.random();
            now = match number % 50 {
                0 => number,
                1 => 0,
                _ => now.saturating_add(number / 50 % 400_000),
            };
            let at = MonoTime::from_ms(now);
            sim.now = now;
            match number / 1000 % 12 {
                0..=2 => _ = sim.submit((number / 7 % 4) as i64),
                3..=5 => _ = sim.courier.next(at).unwrap(),
                6..=8 => {
                    let in_flight = sim.courier.status().in_flight;
                    let ticket = in_flight.unwrap_or(Ticket(number % 5));
                    let event = match number % 3 {
                        0 => Event::response(Outcome::Accepted, 200),
                        1 => bad_event(number / 3),
                        _ => event(number / 3),
                    };
                    let said = sim.courier.settle(ticket, event, at, number);
                    assert_eq!(said.is_ok(), in_flight.is_some());
                }
                9 => sim.courier.wake(at),
                10 => {
                    _ = sim
                        .courier
                        .resubmit_dead_letter(None, at, None)
                        .map(|again| {
                            if again.is_some() {
                                sim.jobs.push(Vec::new());
                            }
                        })
                }
                _ => {
                    let error = OutboxError::LettersFull;
                    sim.fail_burials(number.is_multiple_of(2).then_some(error));
                }
            }
            let status = sim.courier.status();
            let counters = status.counters;
            let settled =
                counters.delivered + counters.refused + counters.superseded + counters.expired;
            assert_eq!(counters.submitted, settled + status.waiting);
            assert!(status.aside <= 6);
        }
    }
}

const BUSY: Event = Event::response(Outcome::TryAgain, 503);
const FIREWALL: Event = Event::response(Outcome::NotUnderstood, 403);
const DAY: u64 = 24 * HOUR;

/// Until nothing waits, or so long; those that are bad get this.
fn finish(sim: &mut Sim, span: u64, bad: impl Fn(Ticket) -> Option<Event>) {
    sim.run(sim.now + span, |sent| {
        bad(sent.ticket).unwrap_or_else(|| accepted(sent))
    });
    sim.check_order();
}

fn counts(sim: &Sim) -> (u64, u64, u64) {
    let status = sim.courier.status();
    (
        status.waiting,
        status.counters.delivered,
        status.counters.refused,
    )
}

#[test]
fn a_job_goes_on_however_long_its_bad_report_is_asked_to_wait() {
    for seconds in [0, 3, 120, 3_600] {
        let mut sim = Sim::new(Policy::default(), outbox(), 21);
        for _ in 0..20 {
            sim.submit(1);
        }
        let event = BUSY.with_retry_after_ms(seconds * 1_000);
        finish(&mut sim, 30 * DAY, |ticket| {
            (ticket.0 == 1).then_some(event)
        });
        assert_eq!(counts(&sim), (0, 19, 1), "{seconds} s");
    }
}

#[test]
fn what_is_accepted_long_after_a_failure_proves_nothing() {
    for late in [61_000, HOUR] {
        let policy = Policy::default()
            .with_refuse_after(1)
            .with_min_backoff(Duration::from_millis(2 * HOUR))
            .with_max_backoff(Duration::from_millis(2 * HOUR));
        let mut sim = Sim::new(policy, outbox(), 22);
        sim.submit(1);
        let mut attempts = 0;
        // Down until the third attempt, and up from then on.
        while attempts < 3 {
            sim.run(sim.now + HOUR, |_| {
                attempts += 1;
                BUSY
            });
        }
        sim.now += late;
        sim.submit(2);
        finish(&mut sim, DAY, |_| None);
        assert_eq!(counts(&sim), (0, 2, 0), "{late}");
    }
}

#[test]
fn what_a_suspect_is_asked_to_wait_delays_nobody_else() {
    for (seconds, event) in [(30, BUSY), (600, BUSY), (3_600, FIREWALL)] {
        let mut sim = Sim::new(Policy::default(), outbox(), 23);
        let bad = sim.submit(1);
        let mut attempts = 0;
        let mut slowest = 0;
        for n in 0..2_000 {
            let ticket = sim.submit(2 + n % 5);
            let at = sim.now;
            let accepted_before = sim.accepted.len();
            sim.run(at + 60_000, |sent| {
                if sent.ticket != bad {
                    return accepted(sent);
                }
                attempts += 1;
                match attempts {
                    1 | 2 => event,
                    _ => event.with_retry_after_ms(seconds * 1_000),
                }
            });
            sim.now = at + 60_000;
            if n > 1 {
                let new = &sim.accepted[accepted_before..];
                let (_, when) = new.iter().find(|(t, _)| *t == ticket).unwrap();
                slowest = slowest.max(when - at);
            }
        }
        assert!(slowest < 5_000, "{seconds}: {slowest}");
        assert_eq!(counts(&sim), (0, 2_000, 1), "{seconds}");
    }
}

/// Some have more jobs than are known of one report, or one without an id beside others.
#[test]
fn order_holds_where_the_jobs_cannot_be_told() {
    for seed in 0..60u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), 3_000_000 + seed);
        let mut bad = BTreeSet::new();
        for _ in 0..60 {
            let job = (sim.random() % 5) as i64;
            let wide: Vec<_> = (0..20).collect();
            let ids = match sim.random() % 6 {
                0 => wide,
                1 => vec![job, -1],
                2 => vec![-1, job],
                3 => vec![-1],
                _ => vec![job],
            };
            let ticket = sim.submit_jobs(&ids);
            if sim.random().is_multiple_of(12) {
                bad.insert(ticket);
            }
            let mut number = sim.random();
            let each = 2 + seed % 3;
            sim.run(sim.now + HOUR / 60, |sent| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                match bad.contains(&sent.ticket) || (number >> 33).is_multiple_of(each) {
                    true => FIREWALL,
                    false => accepted(sent),
                }
            });
            sim.check_order();
        }
        for hour in 0..60 * 24 {
            if sim.courier.status().waiting > 0 {
                sim.submit(5 + hour);
                finish(&mut sim, HOUR, |t| bad.contains(&t).then_some(FIREWALL));
            }
        }
        let (waiting, _, refused) = counts(&sim);
        assert_eq!(waiting, 0, "seed {seed}");
        assert!(refused >= bad.len() as u64, "seed {seed}");
    }
}

/// Each answer by chance, or in turn.
#[test]
fn chance_buries_nothing_healthy_and_what_is_bad_ends() {
    let mut most_days = 0;
    for percent in [50, 70, 85, 90] {
        for jobs in [1, 3, 40] {
            for seed in 0..24 {
                let mut sim = Sim::new(Policy::default(), outbox(), 4_000_000 + seed);
                let bad = (seed % 4 == 3).then_some(Ticket(1 + seed % 3));
                for n in 0..40 {
                    sim.submit(n % jobs);
                }
                let mut number = sim.random();
                let mut days = 0;
                while sim.courier.status().waiting > 0 && days < 200 {
                    days += 1;
                    sim.submit((days % jobs as u64) as i64);
                    sim.run(days * DAY, |sent| {
                        number = number
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        match bad == Some(sent.ticket) || (number >> 33) % 100 < percent {
                            true => BUSY,
                            false => accepted(sent),
                        }
                    });
                }
                most_days = days.max(most_days);
                let at = format!("{percent} %, {jobs} jobs, seed {seed}");
                let (waiting, _, refused) = counts(&sim);
                assert_eq!(waiting, 0, "{at}");
                assert_eq!(refused, u64::from(bad.is_some()), "{at}: {:?}", sim.buried);
                sim.check_order();
            }
        }
    }
    println!("{most_days} days at the most");
}

#[test]
fn answers_in_turn_bury_nothing_healthy() {
    for (turns, good) in [(2, 1), (3, 1), (3, 2), (4, 1), (4, 3), (5, 1), (5, 2)] {
        for jobs in [1, 2, 7, 60] {
            let mut sim = Sim::new(Policy::default(), outbox(), 24);
            for n in 0..60 {
                sim.submit(n % jobs);
            }
            let mut turn = 0;
            for minute in 0..10_000 {
                if minute < 2_000 {
                    sim.submit(minute % jobs);
                }
                let until = sim.now + 60_000;
                sim.run(until, |sent| {
                    turn += 1;
                    match turn % turns < turns - good {
                        true => BUSY,
                        false => accepted(sent),
                    }
                });
                sim.now = until;
            }
            assert_eq!(
                counts(&sim),
                (0, 2_060, 0),
                "{good} of {turns}, {jobs} jobs"
            );
        }
    }
}

/// What others wait for is bad, and nobody else can show it.
#[test]
fn bad_ones_that_hold_up_all_others_together_end() {
    let denied = Event::response(Outcome::Credentials, 401);
    // After each that is accepted only a few checks that are denied follow.
    for (event, healthy) in [(FIREWALL, 10), (BUSY, 10), (denied, 40)] {
        for heads in [2, 3] {
            for again in [1, 2] {
                let mut sim = Sim::new(Policy::default(), outbox(), 25);
                let bad = heads * again;
                for n in 0..bad {
                    sim.submit(n % heads);
                }
                let all: Vec<_> = (0..heads).collect();
                for _ in 0..healthy {
                    sim.submit_jobs(&all);
                }
                finish(&mut sim, 200 * DAY, |t| {
                    (t.0 <= bad as u64).then_some(event)
                });
                let at = format!("{event:?}, {heads} heads, {again}");
                assert_eq!(counts(&sim), (0, healthy, bad as u64), "{at}");
                println!("{at}: {} h", sim.now / HOUR);
            }
        }
    }
}

#[test]
fn a_thousand_in_front_do_not_make_a_trickle() {
    // Without a heap a set of jobs has no place for as many of them.
    let bad = if IS_SMALL { 100 } else { 1_000 };
    let mut sim = Sim::new(Policy::default(), outbox(), 26);
    for n in 0..bad {
        sim.submit(1_000 + n);
    }
    let mut hours = 0;
    let mut slow = 0;
    while sim.courier.status().waiting > 0 && hours < 24 * 30 {
        hours += 1;
        let start = sim.now;
        for n in 0..60 {
            let at = start + n * 60_000;
            let ticket = sim.submit((n % 10) as i64);
            sim.run(at + 60_000, |sent| match sent.ticket.0 <= bad as u64 {
                true => FIREWALL,
                false => accepted(sent),
            });
            sim.now = at + 60_000;
            let is_new = |(t, _): &&(Ticket, u64)| *t == ticket;
            let found = sim.accepted.iter().rev().take(200).find(is_new);
            slow += u64::from(found.is_none() && hours > 6);
        }
        sim.check_order();
    }
    let (waiting, delivered, refused) = counts(&sim);
    println!("{hours} h, {slow} of {delivered} later than a minute");
    assert_eq!((waiting, refused), (0, bad as u64));
    let one_in = if IS_SMALL { 10 } else { 30 };
    assert!(slow * one_in < delivered, "{slow} of {delivered} are slow");
    let most = sim.attempts.iter().map(|(t, n)| (*n, *t)).max();
    assert!(most.is_some_and(|(n, _)| n < 200), "{most:?}");
    let (bad, healthy): (Vec<_>, Vec<_>) =
        sim.attempts.iter().partition(|(t, _)| t.0 <= bad as u64);
    let most = if IS_SMALL { 40 } else { 24 };
    let all: u32 = bad.iter().map(|(_, n)| *n).sum();
    assert!(all as usize / bad.len() < most, "{all} attempts");
    assert!(healthy.iter().all(|(_, n)| **n == 1));
}

#[test]
fn budgets_are_exact_for_canaries_too() {
    for jobs in [1, 3, 100] {
        for most in [1, 4, 20] {
            let policy = Policy::default().with_max_attempts(most);
            for event in [BUSY, FIREWALL] {
                let mut sim = Sim::new(policy, outbox(), 27);
                for n in 0..100 {
                    sim.submit(n % jobs);
                }
                sim.run(400 * DAY, |_| event);
                assert_eq!(sim.courier.status().counters.expired, 100);
                let attempts: BTreeSet<_> = sim.attempts.values().copied().collect();
                let least = attempts.first();
                let is_exact = IS_SMALL || attempts.len() == 1;
                assert!(least == Some(&most) && is_exact, "{jobs} jobs, {most}");
            }
        }
        let policy = Policy::default().with_max_time(Duration::from_millis(DAY));
        let mut sim = Sim::new(policy, outbox(), 27);
        for n in 0..60 {
            sim.submit(n % jobs);
        }
        let mut times: BTreeMap<Ticket, Vec<u64>> = BTreeMap::new();
        sim.run(400 * DAY, |sent| {
            times.entry(sent.ticket).or_default().push(sent.now);
            BUSY
        });
        assert_eq!(sim.courier.status().counters.expired, 60);
        for (ticket, times) in times {
            let late = times.iter().filter(|at| *at - times[0] >= DAY).count();
            assert!(late == 1 || IS_SMALL, "{ticket}, {jobs} jobs: {late}");
        }
    }
}

#[test]
fn no_policy_makes_it_send_without_a_pause() {
    let policy = Policy::default()
        .with_min_backoff(Duration::ZERO)
        .with_max_backoff(Duration::ZERO)
        .with_hold(Duration::ZERO)
        .with_start_spread(Duration::ZERO);
    for event in [
        BUSY,
        FIREWALL,
        Event::NOT_SENT,
        Event::response(Outcome::Credentials, 401),
        Event::response(Outcome::Misconfigured, 302),
    ] {
        let mut sim = Sim::new(policy, outbox(), 28);
        for n in 0..10 {
            sim.submit(n);
        }
        sim.run(60_000, |_| event);
        assert!(sim.requests <= 8_000, "{event:?}: {}", sim.requests);
    }
}

/// What was known of suspects is gone: they are found out again, and nobody healthy is lost.
#[test]
fn restarts_lose_and_bury_nothing_healthy() {
    for seed in 0..100u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), 5_000_000 + seed);
        let jobs = 1 + seed % 5;
        let bad = (seed % 3 == 0).then(|| sim.submit(0));
        for n in 0..300 {
            if n < 200 {
                let job = sim.random() % jobs;
                sim.submit(job as i64);
            }
            let number = sim.random();
            let is_up = n > 200 || number.is_multiple_of(3);
            let span = [1_000, 60_000, HOUR, 6 * HOUR][number as usize / 8 % 4];
            let bad_event = |ticket| (bad == Some(ticket)).then_some(FIREWALL);
            sim.run(sim.now + span, |sent| match is_up {
                true => bad_event(sent.ticket).unwrap_or_else(|| accepted(sent)),
                false => event(number / 64),
            });
            if number.is_multiple_of(2) {
                // Now and then amid an attempt.
                let _ = sim.courier.next(MonoTime::from_ms(sim.now)).unwrap();
                sim.restart();
            }
        }
        let mut healthy = 200;
        while sim.courier.status().waiting > 0 && healthy < 240 {
            // One of its job comes now and then.
            sim.submit(0);
            healthy += 1;
            finish(&mut sim, DAY, |t| (bad == Some(t)).then_some(FIREWALL));
        }
        assert_eq!(
            counts(&sim),
            (0, healthy, u64::from(bad.is_some())),
            "{seed}"
        );
    }
}

/// With a budget, and a full outbox that drops what was tried: it goes on when the service is back.
#[test]
fn a_budget_and_a_full_outbox_stop_nothing() {
    let policy = Policy::default().with_max_attempts(1000);
    let mut sim = Sim::new(policy, outbox_of(2048), 29);
    for n in 1..400 {
        sim.submit(7);
        sim.run(n * 30_000, |_| BUSY);
        sim.now = n * 30_000;
    }
    assert!(sim.courier.status().waiting > 0);
    sim.run(sim.now + DAY, accepted);
    assert_eq!(sim.courier.status().waiting, 0);
}

/// With a budget that nothing comes near, bad ones in front stop healthy ones as little as without.
#[test]
fn bad_ones_in_front_and_a_budget_stop_nobody() {
    const HOURS: u64 = 22 * 24;
    for front in [14, 20, 60] {
        let policy = Policy::default()
            .with_max_attempts(u32::MAX)
            .with_max_time(Duration::from_millis(100 * DAY));
        let mut sim = Sim::new(policy, outbox(), 30);
        for n in 0..front + 50 {
            sim.submit(n as i64);
        }
        for hour in 1..=HOURS {
            sim.submit(1000 + hour as i64);
            let until = hour * HOUR;
            sim.run(until, |sent| match sent.ticket.0 <= front {
                true => FIREWALL,
                false => accepted(sent),
            });
            sim.now = until;
        }
        let counters = sim.courier.status().counters;
        assert_eq!(
            (counters.delivered, counters.refused),
            (50 + HOURS, front),
            "{front}"
        );
    }
}

/// An acceptance says nothing of a report that failed long before, also when it proves another one bad that failed just now.
#[test]
fn what_is_accepted_counts_against_those_alone_that_failed_right_before() {
    let policy = Policy::default()
        .with_refuse_after(1)
        .with_max_backoff(Duration::from_millis(1_000));
    let mut sim = Sim::new(policy, outbox(), 24);
    let early = sim.submit(1);
    let mut attempts = 0;
    // Three times, so that it steps aside; then it is asked to wait for an hour.
    sim.run(61_000, |_| {
        attempts += 1;
        match attempts {
            1 | 2 => FIREWALL,
            _ => FIREWALL.with_retry_after_ms(HOUR),
        }
    });
    assert_eq!(attempts, 3);
    sim.now += 120_000;
    let late = sim.submit(2);
    sim.run(sim.now + 1, |_| FIREWALL);
    // From then on failures count for late, and for early from its next one on: an hour later late goes, early another hour later.
    let start = sim.now;
    for n in 1..=240 {
        sim.submit(2 + n);
        sim.run(start + n as u64 * 30_000, |sent| {
            let is_bad =
                sent.ticket == late || (sent.ticket == early && sent.now < start + 3 * HOUR / 2);
            if is_bad { FIREWALL } else { accepted(sent) }
        });
        sim.now = start + n as u64 * 30_000;
    }
    assert_eq!(counts(&sim), (0, 241, 1));
    assert_eq!(sim.buried.len(), 1);
    assert_eq!(sim.buried[0].0, late);
}

/// One that was overtaken failed before and is accepted then: that the older ones failed says nothing either, however often it goes so.
#[test]
fn what_counted_is_taken_back_when_what_was_overtaken_is_accepted() {
    let policy = Policy::default()
        .with_refuse_after(2)
        .with_max_backoff(Duration::from_millis(1_000));
    let mut sim = Sim::new(policy, outbox(), 25);
    let oldest = sim.submit(1);
    for round in 0..30 {
        let middle = sim.submit(1);
        let newest = sim.submit(1);
        let (mut has_failed, mut is_back, mut is_over) = (false, false, false);
        while !is_over {
            assert!(sim.now < 30 * DAY, "round {round}");
            sim.run(sim.now + 5_000, |sent| {
                has_failed |= sent.ticket == middle;
                is_back |= sent.ticket == newest && has_failed;
                let is_served = is_back && !is_over && sent.ticket != oldest;
                is_over |= is_served && sent.ticket == middle;
                if is_served { accepted(sent) } else { BUSY }
            });
        }
        assert_eq!(counts(&sim).2, 0, "round {round}: {oldest} is healthy");
    }
    finish(&mut sim, DAY, |_| None);
    assert_eq!(counts(&sim), (0, 61, 0));
}

/// The attempt right after a correction is the first with the right clock: no reason yet to ask another one, and have one more check fail.
#[test]
fn a_corrected_clock_that_is_denied_again_holds_all() {
    let policy = Policy::default().with_start_spread(Duration::from_millis(0));
    let mut sim = Sim::new(policy, outbox(), 26);
    sim.submit(1);
    sim.submit(2);
    let denied = Event::response(Outcome::Credentials, 401);
    sim.run(policy.hold_ms - 1, |_| denied.with_clock_skew_ms(1_200_000));
    assert_eq!(sim.requests, 2);
}

/// Of the attempts of a bad report one in four is followed by nobody on purpose, and does not count.
#[test]
fn some_attempts_have_no_canary() {
    // Slowly, since it is tried for an hour at the least.
    let policy = Policy::default()
        .with_start_spread(Duration::from_millis(0))
        .with_min_backoff(Duration::from_millis(HOUR / 6))
        .with_max_backoff(Duration::from_millis(HOUR / 6));
    let attempts: Vec<u32> = (0..40)
        .map(|seed| {
            let mut sim = Sim::new(policy, outbox(), 13_000_000 + seed);
            let bad = sim.submit(1);
            for n in 0..600 {
                sim.submit(2 + n);
                sim.run(sim.now + 30_000, |sent| match sent.ticket == bad {
                    true => FIREWALL,
                    false => accepted(sent),
                });
            }
            assert_eq!(counts(&sim), (0, 600, 1));
            sim.attempts[&bad]
        })
        .collect();
    let least = attempts.iter().min().copied().unwrap();
    let sum: u32 = attempts.iter().sum();
    println!("{least} at the least, {sum} in all");
    assert!(least >= 10 && sum > 40 * least + 40, "{attempts:?}");
}
