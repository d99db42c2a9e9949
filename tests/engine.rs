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

use courier_sim::{HOUR, Sim, accepted, outbox};
use edge_report::courier::{Cause, Event, OutboxError, Policy, Ticket};
use edge_report::{MonoTime, Outcome};

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
        0 => Event::answered(Outcome::TryAgain, 503),
        1 => Event::answered(Outcome::NotUnderstood, 404),
        2 => Event::MAY_HAVE_ARRIVED,
        3 => Event::NOT_SENT,
        4 => Event::answered(Outcome::Credentials, 401),
        5 => Event::answered(Outcome::Credentials, 401).with_clock_skew_ms(7_000_000),
        6 => Event::answered(Outcome::Misconfigured, 302),
        _ => Event::answered(Outcome::TryAgain, 429).with_retry_after_ms(number % 50 * 2_500),
    }
}

/// What a bad report gets while others are served.
fn bad_event(number: u64) -> Event {
    match number % 5 {
        0 => Event::answered(Outcome::TryAgain, 500),
        1 => Event::answered(Outcome::NotUnderstood, 403),
        2 => Event::MAY_HAVE_ARRIVED,
        3 => Event::answered(Outcome::Credentials, 401),
        _ => Event::answered(Outcome::Refused, 400),
    }
}

/// In the hours without a single acceptance or refusal: a wait of 150 s on average, with one canary at every 4th, and the first of them
/// shorter; holds of 300 s, before which a clock may be corrected once; and now and then somebody wakes it.
const REQUESTS_AN_HOUR: usize = 150;

struct Seen {
    newest_accepted: BTreeMap<i64, Ticket>,
    bad: BTreeSet<Ticket>,
    /// Requests since something was accepted or refused, by hour.
    quiet: (u64, usize),
}

impl Seen {
    fn sent(&mut self, sim_jobs: &[Vec<i64>], ticket: Ticket) {
        for job in &sim_jobs[ticket.0 as usize - 1] {
            let newest = self.newest_accepted.get(job);
            assert!(
                newest.is_none_or(|newest| *newest < ticket),
                "{ticket} is overtaken"
            );
        }
    }
}

#[test]
fn promises_hold_whatever_happens() {
    let (mut most, mut slowest) = (0, 0);
    for seed in 0..400u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), seed);
        let mut seen = Seen {
            newest_accepted: BTreeMap::new(),
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
                4 if (number / 8).is_multiple_of(4) => sim.courier.wake(MonoTime(sim.now)),
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
        let refused = status.ledger.refused as usize;
        assert!(refused >= seen.bad.len(), "seed {seed}");
        sim.check_order();
    }
    println!(
        "at most {most} requests in an hour in which nobody was served; {slowest} h until all was"
    );
}

fn go(sim: &mut Sim, seen: &mut Seen, world: World, span: u64) {
    let jobs = sim.jobs.clone();
    let bad = seen.bad.clone();
    let mut number = sim.random();
    let buried = sim.buried.len();
    let served = sim.accepted.len();
    sim.run(sim.now + span, |sent| {
        seen.sent(&jobs, sent.ticket);
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
            Cause::Answered(Outcome::Accepted | Outcome::Refused)
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
        } else if event.reason.cause == Cause::Answered(Outcome::Accepted) {
            for job in &jobs[sent.ticket.0 as usize - 1] {
                seen.newest_accepted.insert(*job, sent.ticket);
            }
        }
        event
    });
    if sim.accepted.len() == served {
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
    for seed in 0..300u64 {
        let mut sim = Sim::new(Policy::default(), outbox(), 1_000_000 + seed);
        let mut seen = Seen {
            newest_accepted: BTreeMap::new(),
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
            let span =
                1 + sim.random() % [1_000, 60_000, HOUR, 12 * HOUR][sim.random() as usize % 4];
            go(&mut sim, &mut seen, world, span);
        }
        go(&mut sim, &mut seen, World::Up, 24 * HOUR);
        let status = sim.courier.status();
        assert_eq!(status.waiting, 0);
        assert_eq!(status.ledger.refused, 0, "seed {seed}: {:?}", sim.buried);
        sim.check_order();
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
            let at = MonoTime(now);
            sim.now = now;
            match number / 1000 % 12 {
                0..=2 => _ = sim.submit((number / 7 % 4) as i64),
                3..=5 => _ = sim.courier.next(at).unwrap(),
                6..=8 => {
                    let in_flight = sim.courier.status().in_flight;
                    let ticket = in_flight.unwrap_or(Ticket(number % 5));
                    let event = match number % 3 {
                        0 => Event::answered(Outcome::Accepted, 200),
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
            let ledger = status.ledger;
            let settled = ledger.delivered + ledger.refused + ledger.superseded + ledger.expired;
            assert_eq!(ledger.submitted, settled + status.waiting);
            assert!(status.parked <= 6);
        }
    }
}
