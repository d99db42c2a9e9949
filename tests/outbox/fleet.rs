//! A fleet of agents and one receiver, in virtual time: what happens to the receiver when a lost link or the power comes back.
//!
//! Each agent is a [`Courier`] as it is, over an outbox that only counts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use edge_report::courier::{
    Counters, Courier, DeadLetter, Disposition, Event, Forget, JobKeys, Outbox, OutboxError,
    Policy, Step, Ticket, Waiting, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome, WallTime};

/// What the default policy may ask of the receiver in any one second, in capacities, once the link is back.
const PEAK: f64 = 1.5;

const AGENTS: usize = 100_000;
/// Requests that the receiver takes per second; it answers 503 to the others. All at once would be 50 times that.
const AGENTS_PER_CAPACITY: usize = 50;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
/// Each agent submits a report so often, at its own moment: 100,000 of them make 278 a second.
const INTERVAL: u64 = 360 * SECOND;
/// What waits at each agent when the link is back.
const BACKLOG: u64 = 10;
/// What it submits from then on.
const MORE: u64 = 2;

/// All agents together.
struct Scenario {
    name: &'static str,
    /// What waits when they start.
    waiting: u64,
    /// When their reports begin.
    reports_from: u64,
    /// When the link is there.
    link_from: u64,
    /// They start at random within this time.
    start_within: u64,
}

const LINK: Scenario = Scenario {
    name: "the link is back after 1 h",
    waiting: 0,
    reports_from: 0,
    link_from: HOUR,
    start_within: 1,
};

const BOOT_WITHOUT_LINK: Scenario = Scenario {
    name: "all boot within 1 s, the link is back 1 h later",
    waiting: BACKLOG,
    reports_from: HOUR,
    link_from: HOUR,
    start_within: SECOND,
};

const BOOT: Scenario = Scenario {
    name: "all boot within 1 s, the link is there",
    waiting: BACKLOG,
    reports_from: 0,
    link_from: 0,
    start_within: SECOND,
};

#[derive(Clone, Copy, PartialEq)]
enum Waits {
    /// The default policy.
    Default,
    /// Plain exponential back-off: the same without its randomness, and all at once after an answer.
    WithoutJitter,
}

/// Counts reports instead of keeping them, and gets new ones as time goes by.
struct Counter {
    at_start: u64,
    from: u64,
    to_come: u64,
    submitted: u64,
    /// The oldest that waits is the one after this.
    front: u64,
    /// Delivered behind that one.
    ahead: Vec<u64>,
}

impl Counter {
    fn submitted_at(&self, now: u64) -> u64 {
        let since = now.checked_sub(self.from);
        let come = since.map_or(0, |since| since / INTERVAL + 1);
        self.at_start + come.min(self.to_come)
    }

    fn delivered(&self) -> u64 {
        self.front + self.ahead.len() as u64
    }

    /// When the next one comes.
    fn next_at(&self) -> Option<u64> {
        let come = self.submitted - self.at_start;
        (come < self.to_come).then(|| self.from + come * INTERVAL)
    }
}

type Done<T> = Result<T, OutboxError<Infallible>>;

impl Outbox for Counter {
    type Error = Infallible;

    fn append(&mut self, _: &JobKeys, _: &[u8], _: MonoTime, _: Option<WallTime>) -> Done<Ticket> {
        panic!("reports come by themselves")
    }

    fn next(&mut self, after: Option<Ticket>) -> Done<Option<Waiting>> {
        let after = after.map_or(self.front, |after| after.0.max(self.front));
        let found = (after + 1..=self.submitted).find(|number| !self.ahead.contains(number));
        Ok(found.map(|number| Waiting::new(Ticket(number), 0)))
    }

    /// Each is of another job.
    fn job_keys(&mut self, _: Ticket) -> Done<JobKeys> {
        Ok(JobKeys::new())
    }

    fn read(&mut self, _: Ticket, _: &mut [u8]) -> Done<bool> {
        Ok(true)
    }

    fn is_superseded(&mut self, _: Ticket) -> Done<bool> {
        Ok(false)
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
        _: &[u8],
        _: WhenLettersFull,
    ) -> Done<()> {
        assert_eq!(disposition, Disposition::Delivered);
        self.ahead.push(ticket.0);
        while let Some(place) = self.ahead.iter().position(|n| *n == self.front + 1) {
            self.ahead.swap_remove(place);
            self.front += 1;
        }
        Ok(())
    }

    fn room_ahead(&self) -> usize {
        usize::MAX
    }

    fn pin(&mut self, _: Option<Ticket>) {}

    fn waiting(&self) -> u64 {
        self.submitted - self.delivered()
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        counters.submitted = self.submitted;
        counters.delivered = self.delivered();
        counters
    }

    fn flush(&mut self) -> Done<()> {
        Ok(())
    }

    fn tick(&mut self, now: MonoTime) -> Done<()> {
        self.submitted = self.submitted_at(now.ms());
        Ok(())
    }

    fn dead_letter(&mut self, _: Option<Ticket>) -> Done<Option<DeadLetter>> {
        Ok(None)
    }

    fn find_dead_letter(&mut self, _: Ticket) -> Done<Option<DeadLetter>> {
        Ok(None)
    }

    fn read_dead_letter(&mut self, _: Ticket, _: &mut [u8]) -> Done<bool> {
        Ok(false)
    }

    fn forget_dead_letters(&mut self, _: Forget) -> Done<()> {
        Ok(())
    }
}

/// Who is due when, to the millisecond: a wheel of lists, since each agent waits for one thing at a time.
struct Wheel {
    now: u64,
    first: Vec<usize>,
    next: Vec<usize>,
    waiting: usize,
}

const NOBODY: usize = usize::MAX;
/// Longer than any wait, but for a first report to come.
const TURN: u64 = 1 << 19;

impl Wheel {
    fn new(agents: usize) -> Self {
        Wheel {
            now: 0,
            first: vec![NOBODY; TURN as usize],
            next: vec![NOBODY; agents],
            waiting: 0,
        }
    }

    fn add(&mut self, agent: usize, at: u64) {
        let at = at.clamp(self.now, self.now + TURN - 1);
        let slot = &mut self.first[(at % TURN) as usize];
        self.next[agent] = std::mem::replace(slot, agent);
        self.waiting += 1;
    }

    fn pop(&mut self) -> Option<(u64, usize)> {
        self.waiting = self.waiting.checked_sub(1)?;
        loop {
            let slot = &mut self.first[(self.now % TURN) as usize];
            if *slot != NOBODY {
                let agent = *slot;
                *slot = self.next[agent];
                return Some((self.now, agent));
            }
            self.now += 1;
        }
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

struct Agent {
    courier: Courier<Counter, [u8; 0]>,
    in_flight: Option<(Ticket, Event)>,
    /// How many waited when the link came back.
    backlog: u64,
}

/// What it came to.
struct Measured {
    agents: usize,
    /// The most requests in one second, in capacities.
    peak: f64,
    /// Seconds until so much of what had waited was delivered.
    half: u64,
    most: u64,
    all: u64,
    /// Requests per report.
    requests: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} | {} s | {} s | {} s | {:.2}",
            self.peak, self.half, self.most, self.all, self.requests
        )
    }
}

fn simulate(scenario: &Scenario, agents: usize, waits: Waits) -> Measured {
    let mut rng = Rng(2026);
    let entropy = |rng: &mut Rng| match (waits, rng.next()) {
        (Waits::Default, number) => number,
        (Waits::WithoutJitter, _) => u64::MAX,
    };
    let policy = match waits {
        Waits::Default => Policy::default(),
        Waits::WithoutJitter => Policy::default()
            .with_start_spread(Duration::ZERO)
            .with_open_circuit_after(u32::MAX),
    };
    let mut wheel = Wheel::new(agents);
    let mut fleet: Vec<Agent> = (0..agents)
        .map(|agent| {
            let start = rng.below(scenario.start_within);
            let outbox = Counter {
                at_start: scenario.waiting,
                from: scenario.reports_from + rng.below(INTERVAL),
                to_come: BACKLOG - scenario.waiting + MORE,
                submitted: 0,
                front: 0,
                ahead: Vec::new(),
            };
            let backlog = outbox.submitted_at(scenario.link_from);
            wheel.add(agent, start);
            Agent {
                courier: Courier::new(
                    outbox,
                    [],
                    policy,
                    MonoTime::from_ms(start),
                    entropy(&mut rng),
                ),
                in_flight: None,
                backlog,
            }
        })
        .collect();

    let capacity = agents / AGENTS_PER_CAPACITY;
    // By second since the link is there.
    let mut load: Vec<usize> = Vec::new();
    let mut drained: Vec<u64> = Vec::new();
    while let Some((now, number)) = wheel.pop() {
        let agent = &mut fleet[number];
        let second = (now.saturating_sub(scenario.link_from) / SECOND) as usize;
        load.resize(load.len().max(second + 1), 0);
        drained.resize(load.len(), 0);

        if let Some((ticket, event)) = agent.in_flight.take() {
            let before = agent.courier.outbox().delivered();
            let courier = &mut agent.courier;
            let _ = courier
                .settle(ticket, event, MonoTime::from_ms(now), entropy(&mut rng))
                .unwrap();
            let after = courier.outbox().delivered().min(agent.backlog);
            drained[second] += after.saturating_sub(before);
        }
        let due = match agent.courier.next(MonoTime::from_ms(now)).unwrap() {
            Step::Wait(at) => Some(at.ms()),
            Step::Idle => agent.courier.outbox().next_at(),
            Step::Send(outgoing) => {
                let mut answer =
                    |outcome, status| (Event::response(outcome, status), 20 + rng.below(60));
                let (event, after) = if now < scenario.link_from {
                    (Event::NOT_SENT, 5)
                } else {
                    load[second] += 1;
                    if load[second] <= capacity {
                        answer(Outcome::Accepted, 200)
                    } else {
                        answer(Outcome::TryAgain, 503)
                    }
                };
                agent.in_flight = Some((outgoing.ticket, event));
                Some(now + after)
            }
        };
        if let Some(due) = due {
            wheel.add(number, due);
        }
    }

    let total = (BACKLOG + MORE) * agents as u64;
    let delivered: u64 = fleet.iter().map(|a| a.courier.outbox().delivered()).sum();
    assert_eq!(delivered, total, "everything is delivered");
    let backlog: u64 = fleet.iter().map(|agent| agent.backlog).sum();
    let until = |percent: u64| {
        let mut sum = 0;
        let second = drained.iter().position(|count| {
            sum += count;
            sum * 100 >= backlog * percent
        });
        second.unwrap() as u64 + 1
    };
    Measured {
        agents,
        peak: *load.iter().max().unwrap() as f64 / capacity as f64,
        half: until(50),
        most: until(99),
        all: until(100),
        requests: load.iter().sum::<usize>() as f64 / total as f64,
    }
}

fn row(scenario: &Scenario, agents: usize, waits: Waits) -> Measured {
    let measured = simulate(scenario, agents, waits);
    let waits = match waits {
        Waits::Default => "default",
        Waits::WithoutJitter => "without jitter",
    };
    println!(
        "| {} | {} | {waits} | {measured} |",
        scenario.name, measured.agents
    );
    measured
}

/// `FLEET=100000` for the whole fleet in every row, as in `docs/measurements/fleet.md`; else only where it counts.
#[test]
fn a_fleet_that_comes_back_does_not_run_its_receiver_over() {
    let others: usize = match std::env::var("FLEET") {
        Ok(agents) => agents.parse().unwrap(),
        Err(_) => AGENTS / 10,
    };
    println!();
    println!(
        "| what happens | agents | waits | peak load / capacity | half delivered | 99 % | all | requests per report |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let back = row(&LINK, AGENTS, Waits::Default);
    let plain = row(&LINK, others, Waits::WithoutJitter);
    let booted = row(&BOOT_WITHOUT_LINK, others, Waits::Default);
    let lockstep = row(&BOOT_WITHOUT_LINK, others, Waits::WithoutJitter);
    row(&BOOT, others, Waits::Default);
    row(&BOOT, others, Waits::WithoutJitter);

    assert!(back.peak <= PEAK, "peak {:.2}", back.peak);
    // Fewer agents are less even.
    assert!(booted.peak <= PEAK + 0.3, "peak {:.2}", booted.peak);
    assert!(plain.peak > back.peak);
    assert!(lockstep.peak > 10.0 * booted.peak);
}
