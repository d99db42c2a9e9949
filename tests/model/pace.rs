//! The reference for time: which verdict an attempt gets, and how long nothing is sent.

use edge_report::courier::{Event, Policy, Reason, Verdict};
use edge_report::{Code, MonoTime, Outcome};

use crate::ensure;

type Check = Result<(), String>;

/// Monotonic time, as far as it went forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) now: MonoTime,
    forward: u64,
    steps_back: u32,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock {
            now: MonoTime(1 << 51),
            forward: 0,
            steps_back: 0,
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.forward += ms;
    }

    pub(crate) fn step_back(&mut self, ms: u64) {
        self.now = MonoTime(self.now.0.saturating_sub(ms));
        self.steps_back += u32::from(ms > 0);
    }

    fn since(&self, earlier: &Clock) -> u64 {
        self.forward - earlier.forward
    }

    pub(crate) fn never_went_back(&self) -> bool {
        self.steps_back == 0
    }

    /// Whether it did not go back since.
    fn is_steady(&self, earlier: &Clock) -> bool {
        self.steps_back == earlier.steps_back
    }
}

/// The attempts of one report since the start.
#[derive(Clone, Copy, Debug)]
struct Tries {
    ticket: u64,
    count: u32,
    first: Clock,
    /// When the first that counts began.
    first_counted: Clock,
}

#[derive(Debug)]
pub(crate) struct Pace {
    policy: Policy,
    pub(crate) failures: u32,
    /// Whether the circuit was open since the last time without a failure.
    was_open: bool,
    pub(crate) offset: i64,
    corrected: bool,
    tries: Option<Tries>,
    /// Nothing is sent for so long after then.
    wait: u64,
    armed: Clock,
}

/// What a verdict must be.
enum Expected {
    Exactly(Verdict),
    Held(Reason),
    Again(Reason, [u64; 2]),
}

impl Pace {
    pub(crate) fn start(
        policy: Policy,
        not_before: MonoTime,
        clock: &Clock,
    ) -> Result<Self, String> {
        let mut pace = Pace {
            policy,
            failures: 0,
            was_open: false,
            offset: 0,
            corrected: false,
            tries: None,
            wait: 0,
            armed: *clock,
        };
        pace.arm(not_before, [0, policy.start_spread_ms], clock)?;
        Ok(pace)
    }

    fn arm(&mut self, at: MonoTime, [least, most]: [u64; 2], clock: &Clock) -> Check {
        self.wait = at.since(clock.now);
        self.armed = *clock;
        ensure!(
            at >= clock.now && (least..=most).contains(&self.wait),
            "a wait of {}, must be {least} to {most}",
            self.wait
        );
        Ok(())
    }

    pub(crate) fn wake(&mut self, clock: &Clock) {
        (self.wait, self.armed) = (0, *clock);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures >= self.policy.open_circuit_after
    }

    /// `next` says to wait.
    pub(crate) fn told_to_wait(&self, ms: u64, clock: &Clock) -> Check {
        let passed = clock.since(&self.armed);
        let (least, most) = match clock.is_steady(&self.armed) {
            true => (
                self.wait.saturating_sub(passed),
                self.wait.saturating_sub(passed),
            ),
            false => (1, self.wait),
        };
        ensure!(
            ms > 0 && (least..=most).contains(&ms),
            "told to wait {ms}, must be {least} to {most}"
        );
        Ok(())
    }

    /// `next` says to send, for the first time since the last verdict.
    pub(crate) fn told_to_send(&mut self, ticket: u64, clock: &Clock) -> Check {
        let passed = clock.since(&self.armed);
        ensure!(
            passed >= self.wait,
            "sent after {passed}, must wait {}",
            self.wait
        );
        let same = self.tries.filter(|tries| tries.ticket == ticket);
        let mut tries = same.unwrap_or(Tries {
            ticket,
            count: 0,
            first: *clock,
            first_counted: *clock,
        });
        if tries.count == 0 {
            tries.first_counted = *clock;
        }
        self.tries = Some(tries);
        Ok(())
    }

    pub(crate) fn settled(
        &mut self,
        event: Event,
        verdict: Verdict,
        clock: &Clock,
        failures_now: u32,
        not_before: MonoTime,
    ) -> Check {
        let mut tries = self.tries.ok_or("nothing is in flight")?;
        let unanswered = matches!(event, Event::NotSent | Event::MayHaveArrived);
        if !(self.is_open() && unanswered) {
            tries.count += 1;
        }
        self.tries = Some(tries);
        let is_answer = matches!(
            event,
            Event::Answered {
                outcome: Outcome::Accepted | Outcome::Refused,
                ..
            }
        );
        if !is_answer {
            self.failures += 1;
            self.was_open |= self.is_open();
        }
        match self.expected(event, clock.now) {
            Expected::Exactly(expected) => {
                ensure!(verdict == expected, "{verdict:?}, must be {expected:?}");
                match is_answer {
                    true => self.answered(failures_now, not_before, clock)?,
                    // The clock is corrected.
                    false => self.arm(not_before, [0, 0], clock)?,
                }
            }
            Expected::Held(expected) => {
                let most = self.policy.hold_ms + self.policy.hold_ms / 10;
                let Verdict::Held { until, reason } = verdict else {
                    return Err(format!("{verdict:?}, must be held"));
                };
                ensure!(reason == expected && until == not_before, "{verdict:?}");
                self.corrected = false;
                self.arm(until, [self.policy.hold_ms, most], clock)?;
            }
            Expected::Again(reason, bounds) => {
                self.again(verdict, reason, bounds, not_before, clock)?
            }
        }
        Ok(())
    }

    /// The network and the service are up: after an open circuit the pace may pick up step by step, else at once.
    fn answered(&mut self, failures_now: u32, not_before: MonoTime, clock: &Clock) -> Check {
        let most = match self.was_open {
            true => self.failures.saturating_sub(1),
            false => 0,
        };
        ensure!(
            failures_now <= most,
            "{failures_now} failures after an answer, {most} at the most"
        );
        self.failures = failures_now;
        self.was_open &= failures_now > 0;
        self.corrected = false;
        let bounds = match failures_now {
            0 => [0, 0],
            _ => self.backoff(),
        };
        self.arm(not_before, bounds, clock)
    }

    fn again(
        &mut self,
        verdict: Verdict,
        reason: Reason,
        bounds: [u64; 2],
        not_before: MonoTime,
        clock: &Clock,
    ) -> Check {
        let tries = self.tries.ok_or("nothing is in flight")?;
        let spent = |most: Option<u64>, used: u64| most.is_some_and(|most| used >= most);
        let attempts_spent = spent(
            self.policy.max_attempts.map(u64::from),
            u64::from(tries.count),
        );
        // An attempt that does not count begins no time, either; on a clock that went back less of it may have passed.
        let may_be_spent = spent(self.policy.max_time_ms, clock.since(&tries.first));
        let is_spent = clock.is_steady(&tries.first_counted)
            && spent(self.policy.max_time_ms, clock.since(&tries.first_counted));
        match verdict {
            Verdict::GaveUp(why) => {
                ensure!(
                    why == reason && (attempts_spent || may_be_spent),
                    "{verdict:?} with budget left: {tries:?}"
                );
                self.arm(not_before, self.backoff(), clock)
            }
            Verdict::Again { at } => {
                ensure!(
                    at == not_before && !attempts_spent && !is_spent,
                    "{verdict:?} with the budget spent: {tries:?}"
                );
                self.arm(at, bounds, clock)
            }
            _ => Err(format!("{verdict:?}, must be tried again or given up")),
        }
    }

    /// Doubled at each failure, from the least to the most.
    fn backoff(&self) -> [u64; 2] {
        let doubled = (0..self.failures.min(63))
            .fold(self.policy.min_backoff_ms, |ms, _| ms.saturating_mul(2));
        let most = doubled.min(self.policy.max_backoff_ms);
        [self.policy.min_backoff_ms.min(most), most]
    }

    fn expected(&mut self, event: Event, now: MonoTime) -> Expected {
        use Expected::{Again, Exactly, Held};
        let failed = |code| Again(Reason::Failed(code), self.backoff());
        match event {
            Event::NotSent => failed(Code::NotSent),
            Event::MayHaveArrived => failed(Code::MayHaveArrived),
            Event::Misconfigured(code) => Held(Reason::Failed(code)),
            Event::Answered {
                outcome,
                status,
                retry_after_ms,
                clock_skew_ms,
            } => {
                let reason = Reason::Status(status);
                match outcome {
                    Outcome::Accepted => Exactly(Verdict::Delivered),
                    Outcome::Refused => Exactly(Verdict::Refused(reason)),
                    Outcome::Misconfigured => Held(reason),
                    Outcome::Credentials => match clock_skew_ms {
                        Some(skew) if !self.corrected && self.is_wrong_by(skew) => {
                            (self.corrected, self.offset) = (true, skew);
                            Exactly(Verdict::Again { at: now })
                        }
                        _ => Held(reason),
                    },
                    Outcome::TryAgain | Outcome::NotUnderstood => {
                        let [least, most] = self.backoff();
                        let asked =
                            retry_after_ms.map_or(0, |ms| ms.min(self.policy.max_retry_after_ms));
                        Again(reason, [least.max(asked), most.max(asked + asked / 10)])
                    }
                }
            }
        }
    }

    fn is_wrong_by(&self, skew: i64) -> bool {
        let error = i128::from(skew) - i128::from(self.offset);
        error.unsigned_abs() > u128::from(self.policy.max_clock_skew_ms)
    }
}
