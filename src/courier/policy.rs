//! What an answer or an error means for the report, and when to try again: one pure function.

use core::fmt;

use crate::code::Code;
use crate::divide::divide;
use crate::exchange::{Outcome, Reply};
use crate::time::{MonoTime, WallTime};

/// When to try again, and when to stop trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The least wait after a failure. Default: 1 s.
    pub min_backoff_ms: u64,
    /// The most wait after a failure. Default: 300 s.
    pub max_backoff_ms: u64,
    /// The most of a `Retry-After` that is honoured. Default: 1 h.
    pub max_retry_after_ms: u64,
    /// How long all sending is held when the credentials or the endpoint are wrong. Default: 300 s, since the service locks
    /// a key pair for that long after more than five failed checks.
    pub hold_ms: u64,
    /// After how many failures in a row the circuit counts as open: one probe goes out for each back-off, and one without an
    /// answer is not counted against its report, since the network is down. Once it is back, each answer halves the back-off, and
    /// the next report waits that long: what waited goes out within a few minutes, not at once. Default: 5.
    pub open_circuit_after: u32,
    /// How often one report is sent before it is given up, whatever came back; what never went out does not count. Default: `None`.
    pub max_attempts: Option<u32>,
    /// How long one report is tried before it is given up, from its first attempt since the start. Default: `None`.
    pub max_time_ms: Option<u64>,
    /// A report that gets answers which may be somebody else's (a firewall's 403, a proxy's 413, a handler's 500) is refused after so many
    /// attempts, each followed by another report that was accepted. Default: 8.
    pub refuse_after: u32,
    /// What is sent of a backlog. Default: all of it.
    pub backlog: Backlog,
    /// What to do when there is no room for another dead letter. Default: drop the oldest, and count them.
    pub when_letters_full: WhenLettersFull,
    /// The first attempt after the start comes at random within this time, so that many nodes do not come at once. Default: 30 s.
    pub start_spread_ms: u64,
    /// A clock that differs from the server's by more is corrected when credentials fail. Default: 60 s.
    pub max_clock_skew_ms: u64,
}

/// What is sent of the reports that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backlog {
    /// All of them.
    #[default]
    KeepAll,
    /// Those that say the newest of some job: what newer waiting reports supersede is dropped before it is sent, so that after an outage
    /// each job is current at once. A final status yields only to a final one.
    LatestPerJob,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            min_backoff_ms: 1_000,
            max_backoff_ms: 300_000,
            max_retry_after_ms: 3_600_000,
            hold_ms: 300_000,
            open_circuit_after: 5,
            max_attempts: None,
            max_time_ms: None,
            start_spread_ms: 30_000,
            max_clock_skew_ms: 60_000,
        }
    }
}

impl Policy {
    /// The wait after the `failures`-th failure in a row: at random from the least wait to twice, four times, eight times … it,
    /// up to the most (full jitter above a floor).
    pub fn backoff_ms(&self, failures: u32, entropy: u64) -> u64 {
        let doubled = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        let most = self
            .min_backoff_ms
            .saturating_mul(doubled)
            .min(self.max_backoff_ms);
        let spread = most.saturating_sub(self.min_backoff_ms);
        self.min_backoff_ms
            .min(self.max_backoff_ms)
            .saturating_add(within(spread, entropy))
    }

    /// How often the least wait doubles until it reaches the most.
    pub(super) fn doublings(&self) -> u32 {
        let (least, most) = (self.min_backoff_ms, self.max_backoff_ms);
        let doublings = least.leading_zeros().checked_sub(most.leading_zeros());
        match doublings {
            Some(count) if least > 0 => {
                let reached = least.wrapping_shl(count) <= most;
                count.saturating_add(u32::from(reached))
            }
            _ => 0,
        }
    }
}

/// A number from 0 to `most`, by `entropy`.
#[inline(never)] // large on 32-bit machines
pub(super) fn within(most: u64, entropy: u64) -> u64 {
    // The high half of the product spreads evenly, where a remainder would not.
    let product = u128::from(entropy).wrapping_mul(u128::from(most).wrapping_add(1));
    u64::try_from(product >> 64).unwrap_or(most)
}

/// What came back from one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An answer.
    Answered {
        /// What it means.
        outcome: Outcome,
        /// Its HTTP status.
        status: u16,
        /// What the server asks to wait.
        retry_after_ms: Option<u64>,
        /// By how much the server's clock is ahead of this node's, uncorrected.
        clock_skew_ms: Option<i64>,
    },
    /// No connection: surely not sent.
    NotSent,
    /// It went out, and no whole answer came.
    MayHaveArrived,
    /// It cannot work as configured: TLS, URL, proxy.
    Misconfigured(Code),
}

impl Event {
    /// From an answer that came at `now` by this node's uncorrected clock.
    pub fn from_reply(reply: &Reply<'_>, now: WallTime) -> Self {
        Event::Answered {
            outcome: reply.outcome,
            status: reply.status,
            retry_after_ms: reply.retry_after_ms(now),
            clock_skew_ms: reply.clock_skew_ms(now),
        }
    }
}

/// Why a report is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The service answered so, with this HTTP status.
    Status(u16),
    /// The last attempt ended so.
    Failed(Code),
}

impl Reason {
    /// For storage and other languages: the status, or 1000 and the code's number.
    pub const fn number(self) -> u16 {
        match self {
            Reason::Status(status) => status,
            Reason::Failed(code) => code.number().saturating_add(1000),
        }
    }

    /// Reads [`number`](Self::number).
    pub fn from_number(number: u16) -> Self {
        match number.checked_sub(1000).and_then(Code::from_number) {
            Some(code) => Reason::Failed(code),
            None => Reason::Status(number),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Status(status) => write!(f, "answered with status {status}"),
            Reason::Failed(code) => code.fmt(f),
        }
    }
}

/// What becomes of a report after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It will never be taken: among the dead letters now.
    Refused(Reason),
    /// It is tried again, not before then.
    Again {
        /// When.
        at: MonoTime,
    },
    /// Credentials or settings are wrong: nothing is sent before then.
    Held {
        /// Until when.
        until: MonoTime,
        /// What is wrong.
        reason: Reason,
    },
    /// Its budget is spent: among the dead letters now.
    GaveUp(Reason),
}

/// What is known of the report and its node when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How often this report was tried, this attempt included.
    pub count: u32,
    /// Failures in a row, of any report, this one included if it is one.
    pub failures: u32,
    /// When this report was tried first.
    pub first: MonoTime,
    /// Whether the clock may be corrected for one more try at once.
    pub may_correct_clock: bool,
    /// The correction in use.
    pub clock_offset_ms: i64,
}

/// The table of decisions.
///
/// | what came back | verdict |
/// |---|---|
/// | accepted | delivered |
/// | refused | refused |
/// | try again, not understood, not sent, may have arrived | again, after a back-off; not before `Retry-After` |
/// | the same, with the budget of attempts or time spent | gave up |
/// | credentials, and the clock differs | again at once, with the clock corrected; only once until a report is accepted |
/// | credentials, misconfigured | held |
pub fn decide(
    event: Event,
    attempt: &Attempt,
    now: MonoTime,
    entropy: u64,
    policy: &Policy,
) -> Verdict {
    use Outcome::{Accepted, Credentials, Misconfigured, NotUnderstood, Refused, TryAgain};
    let held = |reason| {
        let hold = policy
            .hold_ms
            .saturating_add(within(divide(policy.hold_ms, 10).0, entropy));
        Verdict::Held {
            until: now.plus_ms(hold),
            reason,
        }
    };
    let (reason, retry_after_ms) = match event {
        Event::Answered {
            outcome,
            status,
            retry_after_ms,
            clock_skew_ms,
        } => {
            let reason = Reason::Status(status);
            match outcome {
                Accepted => return Verdict::Delivered,
                Refused => return Verdict::Refused(reason),
                Credentials
                    if attempt.may_correct_clock && differs(clock_skew_ms, attempt, policy) =>
                {
                    return Verdict::Again { at: now };
                }
                Credentials | Misconfigured => return held(reason),
                TryAgain | NotUnderstood => (reason, retry_after_ms),
            }
        }
        Event::Misconfigured(code) => return held(Reason::Failed(code)),
        Event::NotSent => (Reason::Failed(Code::NotSent), None),
        Event::MayHaveArrived => (Reason::Failed(Code::MayHaveArrived), None),
    };
    let attempts_spent = policy
        .max_attempts
        .is_some_and(|most| attempt.count >= most);
    let time_spent = policy
        .max_time_ms
        .is_some_and(|most| now.since(attempt.first) >= most);
    if attempts_spent || time_spent {
        return Verdict::GaveUp(reason);
    }
    let backoff = policy.backoff_ms(attempt.failures, entropy);
    let wait = match retry_after_ms {
        None => backoff,
        Some(asked) => {
            let asked = asked.min(policy.max_retry_after_ms);
            backoff.max(asked.saturating_add(within(divide(asked, 10).0, entropy)))
        }
    };
    Verdict::Again {
        at: now.plus_ms(wait),
    }
}

fn differs(clock_skew_ms: Option<i64>, attempt: &Attempt, policy: &Policy) -> bool {
    let error = |skew: i64| skew.saturating_sub(attempt.clock_offset_ms).unsigned_abs();
    clock_skew_ms.is_some_and(|skew| error(skew) > policy.max_clock_skew_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        min_backoff_ms: 1_000,
        max_backoff_ms: 300_000,
        max_retry_after_ms: 3_600_000,
        hold_ms: 300_000,
        open_circuit_after: 5,
        max_attempts: None,
        max_time_ms: None,
        start_spread_ms: 30_000,
        max_clock_skew_ms: 60_000,
    };

    #[test]
    fn the_documented_defaults() {
        assert_eq!(Policy::default(), POLICY);
    }

    #[test]
    fn backoff_stays_within_its_bounds_at_every_attempt() {
        for failures in (0..100).chain([1000, u32::MAX - 1, u32::MAX]) {
            let most = 1000u64
                .saturating_mul(1u64.checked_shl(failures).unwrap_or(u64::MAX))
                .min(300_000);
            assert_eq!(POLICY.backoff_ms(failures, 0), 1000);
            assert_eq!(POLICY.backoff_ms(failures, u64::MAX), most);
            for entropy in [1, 1 << 32, 1 << 63, u64::MAX / 3] {
                assert!((1000..=most).contains(&POLICY.backoff_ms(failures, entropy)));
            }
        }
        let odd = Policy {
            min_backoff_ms: 500,
            max_backoff_ms: 100,
            ..POLICY
        };
        assert_eq!(
            odd.backoff_ms(3, u64::MAX),
            100,
            "the most wins over the least"
        );
        let huge = Policy {
            min_backoff_ms: u64::MAX,
            max_backoff_ms: u64::MAX,
            ..POLICY
        };
        assert_eq!(huge.backoff_ms(u32::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn jitter_is_even() {
        let mut counts = [0u32; 10];
        for step in 0..10_000u64 {
            counts[within(9, step.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&n| (900..1100).contains(&n)),
            "{counts:?}"
        );
    }

    #[test]
    fn reasons_lead_back_from_their_numbers() {
        for reason in [
            Reason::Status(400),
            Reason::Status(999),
            Reason::Failed(Code::NotSent),
        ] {
            assert_eq!(Reason::from_number(reason.number()), reason);
        }
    }

    #[test]
    fn the_table() {
        let now = MonoTime(10_000);
        let attempt = Attempt {
            count: 1,
            failures: 1,
            first: MonoTime(0),
            may_correct_clock: true,
            clock_offset_ms: 0,
        };
        let answered = |outcome, status| Event::Answered {
            outcome,
            status,
            retry_after_ms: None,
            clock_skew_ms: None,
        };
        let after = |retry_after_ms| Event::Answered {
            outcome: Outcome::TryAgain,
            status: 503,
            retry_after_ms: Some(retry_after_ms),
            clock_skew_ms: None,
        };
        let skewed = |clock_skew_ms| Event::Answered {
            outcome: Outcome::Credentials,
            status: 401,
            retry_after_ms: None,
            clock_skew_ms: Some(clock_skew_ms),
        };
        let at = |ms: u64| Verdict::Again {
            at: MonoTime(10_000 + ms),
        };
        let held = |reason| Verdict::Held {
            until: MonoTime(310_000),
            reason,
        };
        let (least, most) = (0, u64::MAX);
        for (event, entropy, verdict) in [
            (answered(Outcome::Accepted, 200), least, Verdict::Delivered),
            (
                answered(Outcome::Refused, 400),
                least,
                Verdict::Refused(Reason::Status(400)),
            ),
            (answered(Outcome::TryAgain, 503), least, at(1000)),
            (answered(Outcome::TryAgain, 503), most, at(2000)),
            (answered(Outcome::NotUnderstood, 200), most, at(2000)),
            (Event::NotSent, least, at(1000)),
            (Event::MayHaveArrived, most, at(2000)),
            (after(0), most, at(2000)),
            (after(60_000), least, at(60_000)),
            (after(60_000), most, at(66_000)),
            (after(u64::MAX), most, at(3_960_000)),
            (
                answered(Outcome::Credentials, 401),
                least,
                held(Reason::Status(401)),
            ),
            (skewed(60_000), least, held(Reason::Status(401))),
            (skewed(-60_001), least, at(0)),
            (skewed(i64::MIN), least, at(0)),
            (
                answered(Outcome::Misconfigured, 302),
                least,
                held(Reason::Status(302)),
            ),
            (
                Event::Misconfigured(Code::Tls),
                least,
                held(Reason::Failed(Code::Tls)),
            ),
        ] {
            assert_eq!(
                decide(event, &attempt, now, entropy, &POLICY),
                verdict,
                "{event:?}"
            );
        }
        let corrected = Attempt {
            may_correct_clock: false,
            ..attempt
        };
        assert_eq!(
            decide(skewed(i64::MAX), &corrected, now, least, &POLICY),
            held(Reason::Status(401))
        );

        let twice = Policy {
            max_attempts: Some(2),
            ..POLICY
        };
        assert_eq!(
            decide(Event::NotSent, &attempt, now, least, &twice),
            at(1000)
        );
        let second = Attempt {
            count: 2,
            ..attempt
        };
        let gave_up = Verdict::GaveUp(Reason::Failed(Code::NotSent));
        assert_eq!(decide(Event::NotSent, &second, now, least, &twice), gave_up);
        let soon = Policy {
            max_time_ms: Some(10_000),
            ..POLICY
        };
        assert_eq!(decide(Event::NotSent, &attempt, now, least, &soon), gave_up);
        let later = Attempt {
            first: MonoTime(1),
            ..attempt
        };
        assert_eq!(decide(Event::NotSent, &later, now, least, &soon), at(1000));
    }
}
