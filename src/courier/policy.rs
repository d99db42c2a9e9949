//! What a response or an error means for the report, and when to try again: one pure function.

use core::time::Duration;

use super::outbox::WhenLettersFull;
use super::reason::{Cause, Event, Reason};
use crate::code::Code;
use crate::divide::divide;
use crate::exchange::Outcome;
use crate::time::{MonoTime, ms_of};

/// What is waited at the least after a failure or for a hold, whatever the policy says.
const FLOOR_MS: u64 = 10;

/// After a failure that may be one of those that come and go; up to 40 ms more.
const STRAY_MS: u64 = 10;

/// When to try again, and when to stop trying.
///
/// ```
/// use core::time::Duration;
///
/// use edge_report::courier::{Backlog, Policy};
///
/// let policy = Policy::default()
///     .with_max_backoff(Duration::from_secs(60))
///     .with_backlog(Backlog::LatestPerJob);
/// assert_eq!(policy.max_backoff_ms, 60_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The least wait after a failure; less than 10 ms counts as 10 ms. Default: 1 s.
    pub min_backoff_ms: u64,
    /// The most wait after a failure; less than 10 ms counts as 10 ms. Default: 300 s.
    pub max_backoff_ms: u64,
    /// The most of a `Retry-After` that is honoured, and at random up to a tenth more. Default: 1 h.
    pub max_retry_after_ms: u64,
    /// How long all sending is held when the credentials or the endpoint are wrong, and at random up to a tenth more; less than 10 ms counts
    /// as 10 ms. Default: 300 s, since the service locks a key pair for that long after more than five failed checks.
    pub hold_ms: u64,
    /// After how many failures in a row the circuit counts as open. Once the service is back, each response then takes back half of the doublings,
    /// and the next report waits that long: what waited begins to flow within a minute, not at once; a busy service's response meanwhile (503)
    /// leads to the greatest wait. Default: 5.
    pub open_circuit_after: u32,
    /// How often one report is sent since the start before it expires, whatever came back and whatever else is wrong; what was not sent
    /// (no connection, a certificate that is not trusted) does not count, and neither does what was sent before a restart, or cancelled. Attempts are
    /// remembered of 1,024 reports that failed (with no heap of 3): of more the oldest begin anew, and go out a little more often. Default: `None`.
    pub max_attempts: Option<u32>,
    /// How long one report is tried before it expires, from its first attempt since the start, waits and holds included. Default: `None`.
    pub max_time_ms: Option<u64>,
    /// A report that gets responses that may be from something else (a firewall's 403, a proxy's 413, a handler's 500) is refused after so many
    /// attempts, each followed by another report that was accepted, and after an hour of them at the least; where others fail, too, after more. Where only newer reports of its own jobs wait, one of these is tried after 4 times so many
    /// attempts, of which a response that is not like a busy service's (not 408, 425, 429, 5xx, or none) counts for 8. If it is accepted, the
    /// older one is tried again at once, and each time that it fails counts. Default: 8.
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
#[non_exhaustive]
pub enum Backlog {
    /// All of them.
    #[default]
    KeepAll,
    /// Those that say the newest of some job: what newer waiting reports supersede is dropped before it is sent, so that after an outage
    /// each job is current at once. A final status yields only to a final one. Jobs have their turns one after the other, so that a slow link
    /// serves all of them.
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
            refuse_after: 8,
            backlog: Backlog::KeepAll,
            when_letters_full: WhenLettersFull::DropOldest,
            start_spread_ms: 30_000,
            max_clock_skew_ms: 60_000,
        }
    }
}

impl Policy {
    /// Sets [`min_backoff_ms`](Self::min_backoff_ms).
    #[must_use]
    pub const fn with_min_backoff(mut self, span: Duration) -> Self {
        self.min_backoff_ms = ms_of(span);
        self
    }

    /// Sets [`max_backoff_ms`](Self::max_backoff_ms).
    #[must_use]
    pub const fn with_max_backoff(mut self, span: Duration) -> Self {
        self.max_backoff_ms = ms_of(span);
        self
    }

    /// Sets [`max_retry_after_ms`](Self::max_retry_after_ms).
    #[must_use]
    pub const fn with_max_retry_after(mut self, span: Duration) -> Self {
        self.max_retry_after_ms = ms_of(span);
        self
    }

    /// Sets [`hold_ms`](Self::hold_ms).
    #[must_use]
    pub const fn with_hold(mut self, span: Duration) -> Self {
        self.hold_ms = ms_of(span);
        self
    }

    /// Sets [`open_circuit_after`](Self::open_circuit_after).
    #[must_use]
    pub const fn with_open_circuit_after(mut self, count: u32) -> Self {
        self.open_circuit_after = count;
        self
    }

    /// Sets [`max_attempts`](Self::max_attempts).
    #[must_use]
    pub const fn with_max_attempts(mut self, count: u32) -> Self {
        self.max_attempts = Some(count);
        self
    }

    /// Sets [`max_time_ms`](Self::max_time_ms).
    #[must_use]
    pub const fn with_max_time(mut self, span: Duration) -> Self {
        self.max_time_ms = Some(ms_of(span));
        self
    }

    /// Sets [`refuse_after`](Self::refuse_after).
    #[must_use]
    pub const fn with_refuse_after(mut self, count: u32) -> Self {
        self.refuse_after = count;
        self
    }

    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub const fn with_backlog(mut self, backlog: Backlog) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets [`when_letters_full`](Self::when_letters_full).
    #[must_use]
    pub const fn with_when_letters_full(mut self, when_letters_full: WhenLettersFull) -> Self {
        self.when_letters_full = when_letters_full;
        self
    }

    /// Sets [`start_spread_ms`](Self::start_spread_ms).
    #[must_use]
    pub const fn with_start_spread(mut self, span: Duration) -> Self {
        self.start_spread_ms = ms_of(span);
        self
    }

    /// Sets [`max_clock_skew_ms`](Self::max_clock_skew_ms).
    #[must_use]
    pub const fn with_max_clock_skew(mut self, span: Duration) -> Self {
        self.max_clock_skew_ms = ms_of(span);
        self
    }

    /// The wait after the `failures`-th failure in a row: at random from the least wait to twice, four times, eight times … it,
    /// up to the most (full jitter above a floor).
    pub fn backoff(&self, failures: u32, entropy: u64) -> Duration {
        Duration::from_millis(self.backoff_ms(failures, entropy))
    }

    #[inline(never)] // large on 32-bit machines, and called from many places
    pub(super) fn backoff_ms(&self, failures: u32, entropy: u64) -> u64 {
        let doubled = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        let (least, longest) = self.bounds_ms();
        let most = least.saturating_mul(doubled).min(longest);
        let least = least.min(longest);
        let spread = most.saturating_sub(least);
        least.saturating_add(within(spread, entropy))
    }

    fn bounds_ms(&self) -> (u64, u64) {
        let at_least = |ms: u64| ms.max(FLOOR_MS);
        (at_least(self.min_backoff_ms), at_least(self.max_backoff_ms))
    }

    /// How often the least wait doubles until it reaches the most.
    pub(super) fn doublings(&self) -> u32 {
        let (least, most) = self.bounds_ms();
        let doublings = least.leading_zeros().checked_sub(most.leading_zeros());
        match doublings {
            Some(count) => {
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

/// What becomes of a report after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// It arrived. One that went ahead of older reports of its jobs waits until it is clear what becomes of them, and comes once more if one of
    /// these arrives after it: the service hears the newest last.
    Delivered,
    /// It will never be taken: it goes to the dead letters. Refused by the service, or, as [`Code::Overtaken`], by somebody else, time and
    /// again, each time right after a newer report of its jobs was accepted.
    Refused(Reason),
    /// It is tried again, not before then.
    Again {
        /// When.
        at: MonoTime,
        /// What failed.
        reason: Reason,
    },
    /// Credentials or settings are wrong: it is not sent before then, unless another report is accepted right after it was denied. Then it is
    /// tried again at once, and is refused with this reason if that goes wrong after [`Policy::refuse_after`] of them.
    Held {
        /// Until when.
        until: MonoTime,
        /// What is wrong.
        reason: Reason,
    },
    /// Its budget is spent: it goes to the dead letters.
    Expired(Reason),
}

impl Verdict {
    /// Why it is not delivered.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Verdict::Delivered => None,
            Verdict::Refused(reason)
            | Verdict::Again { reason, .. }
            | Verdict::Held { reason, .. }
            | Verdict::Expired(reason) => Some(reason),
        }
    }
}

/// What is known of the report and its node when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// How often this report went out, this attempt included.
    pub count: u32,
    /// Failures in a row, this one included if it is one: of any report, or of this one alone where it stepped aside.
    pub failures: u32,
    /// Whether the failure may be one of those that come and go: right after a response, and without one.
    pub is_stray: bool,
    /// Whether others were accepted right before: then what holds all others holds it for a back-off alone.
    pub is_alone: bool,
    /// When this report was tried first.
    pub first: MonoTime,
    /// Whether the clock may be corrected for one more try at once.
    pub may_correct_clock: bool,
    /// The correction in use.
    pub clock_offset_ms: i64,
}

/// The table of decisions, from the top.
///
/// | what came back | verdict |
/// |---|---|
/// | accepted | delivered |
/// | refused | refused |
/// | anything else, with the budget of attempts or time spent | expired |
/// | credentials, and the clock differs | again at once, with the clock corrected; only once until a report is accepted or a hold has passed |
/// | credentials, misconfigured; no response, for a setting that cannot work | held; not before `Retry-After` |
/// | not sent, may have arrived, right after a response | again, within 50 ms |
/// | try again, not understood, not sent, may have arrived | again, after a back-off; not before `Retry-After` |
pub(super) fn decide(
    event: &Event,
    attempt: &Attempt,
    now: MonoTime,
    entropy: u64,
    policy: &Policy,
) -> Verdict {
    let reason = event.reason;
    match reason.cause {
        Cause::Response(Outcome::Accepted) => return Verdict::Delivered,
        Cause::Response(Outcome::Refused) => return Verdict::Refused(reason),
        _ => {}
    }
    let attempts_spent = policy
        .max_attempts
        .is_some_and(|most| attempt.count >= most);
    let time_spent = policy
        .max_time_ms
        .is_some_and(|most| now.since_ms(attempt.first) >= most);
    if attempts_spent || time_spent {
        return Verdict::Expired(reason);
    }
    wait_after(event, attempt, now, entropy, policy)
}

/// The rest of the table: what a failure asks for, whatever the budget of its report.
pub(super) fn wait_after(
    event: &Event,
    attempt: &Attempt,
    now: MonoTime,
    entropy: u64,
    policy: &Policy,
) -> Verdict {
    let reason = event.reason;
    let asked = asked_ms(event, entropy, policy);
    if reason.cause == Cause::Response(Outcome::Credentials)
        && attempt.may_correct_clock
        && differs(event.clock_skew_ms, attempt, policy)
    {
        return Verdict::Again { at: now, reason };
    }
    if holds(reason.cause) {
        let hold = policy.hold_ms.max(FLOOR_MS);
        let spread = within(divide(hold, 10).0, entropy);
        let hold = match attempt.is_alone {
            true => policy.backoff_ms(attempt.failures, entropy),
            false => hold.saturating_add(spread),
        };
        return Verdict::Held {
            until: now.plus_ms(hold.max(asked)),
            reason,
        };
    }
    let backoff = match attempt.is_stray {
        true => policy.backoff_ms(0, 0).min(stray_ms(entropy)),
        false => policy.backoff_ms(attempt.failures, entropy),
    };
    Verdict::Again {
        at: now.plus_ms(backoff.max(asked)),
        reason,
    }
}

/// How long the server asks to wait, as far as that is honoured; at random up to a tenth more.
fn asked_ms(event: &Event, entropy: u64, policy: &Policy) -> u64 {
    let asked = event.retry_after_ms.unwrap_or(0);
    let asked = asked.min(policy.max_retry_after_ms);
    asked.saturating_add(within(divide(asked, 10).0, entropy))
}

/// How long to wait after a failure that may be one of those that come and go.
pub(super) fn stray_ms(entropy: u64) -> u64 {
    STRAY_MS.saturating_add(within(40, entropy))
}

/// Whether nobody can be served as it is.
pub(super) const fn holds(cause: Cause) -> bool {
    match cause {
        Cause::Response(outcome) => {
            matches!(outcome, Outcome::Credentials | Outcome::Misconfigured)
        }
        Cause::Failed(code) => !matches!(code, Code::NotSent | Code::MayHaveArrived),
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
        refuse_after: 8,
        backlog: Backlog::KeepAll,
        when_letters_full: WhenLettersFull::DropOldest,
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
    fn the_table() {
        let now = MonoTime::from_ms(10_000);
        let attempt = Attempt {
            count: 1,
            failures: 1,
            is_stray: false,
            is_alone: false,
            first: MonoTime::from_ms(0),
            may_correct_clock: true,
            clock_offset_ms: 0,
        };
        let answered = Event::response;
        let after = |ms| answered(Outcome::TryAgain, 503).with_retry_after_ms(ms);
        let skewed = |ms| answered(Outcome::Credentials, 401).with_clock_skew_ms(ms);
        let (least, most) = (0, u64::MAX);
        let again = |event: Event, ms: u64| Verdict::Again {
            at: MonoTime::from_ms(10_000 + ms),
            reason: event.reason,
        };
        let held_for = |event: Event, ms: u64| Verdict::Held {
            until: MonoTime::from_ms(10_000 + ms),
            reason: event.reason,
        };
        let held = |event| held_for(event, 300_000);
        let decide = |event: Event, attempt: &Attempt, entropy, policy: &Policy| {
            decide(&event, attempt, now, entropy, policy)
        };
        let accepted = answered(Outcome::Accepted, 200);
        assert_eq!(
            decide(accepted, &attempt, least, &POLICY),
            Verdict::Delivered
        );
        let refused = answered(Outcome::Refused, 400).with_error_code("DLI.0001");
        assert_eq!(
            decide(refused, &attempt, least, &POLICY),
            Verdict::Refused(refused.reason)
        );
        let not_understood = answered(Outcome::NotUnderstood, 403).with_text("go away");
        for (event, entropy, ms) in [
            (answered(Outcome::TryAgain, 503), least, 1000),
            (answered(Outcome::TryAgain, 503), most, 2000),
            (not_understood, most, 2000),
            (Event::NOT_SENT, least, 1000),
            (Event::MAY_HAVE_ARRIVED, most, 2000),
            (after(0), most, 2000),
            (after(60_000), least, 60_000),
            (after(60_000), most, 66_000),
            (after(u64::MAX), most, 3_960_000),
            (skewed(-60_001), least, 0),
            (skewed(i64::MIN), least, 0),
        ] {
            let verdict = decide(event, &attempt, entropy, &POLICY);
            assert_eq!(verdict, again(event, ms), "{event:?}");
            assert_eq!(verdict.reason(), Some(&event.reason));
        }
        for event in [
            answered(Outcome::Credentials, 401),
            skewed(60_000),
            answered(Outcome::Misconfigured, 302),
            Event::failed(Code::Tls).with_text("the certificate expired"),
        ] {
            let verdict = decide(event, &attempt, least, &POLICY);
            assert_eq!(verdict, held(event), "{event:?}");
        }
        let moved = answered(Outcome::Misconfigured, 302);
        for (asked, ms) in [(0, 300_000), (600_000, 600_000), (u64::MAX, 3_600_000)] {
            for event in [answered(Outcome::Credentials, 401), moved] {
                let event = event.with_retry_after_ms(asked);
                let verdict = decide(event, &attempt, least, &POLICY);
                assert_eq!(verdict, held_for(event, ms), "{event:?}");
            }
        }
        let corrected = Attempt {
            may_correct_clock: false,
            ..attempt
        };
        let verdict = decide(skewed(i64::MAX), &corrected, least, &POLICY);
        assert_eq!(verdict, held(skewed(i64::MAX)));

        let twice = Policy {
            max_attempts: Some(2),
            ..POLICY
        };
        let second = Attempt {
            count: 2,
            ..attempt
        };
        let soon = Policy {
            max_time_ms: Some(10_000),
            ..POLICY
        };
        let later = Attempt {
            first: MonoTime::from_ms(1),
            ..attempt
        };
        // Whatever came back, and whatever else is wrong.
        for event in [
            Event::NOT_SENT,
            Event::MAY_HAVE_ARRIVED,
            not_understood,
            answered(Outcome::Credentials, 401),
            skewed(i64::MIN),
            answered(Outcome::Misconfigured, 302),
            Event::failed(Code::Tls),
        ] {
            let expired = Verdict::Expired(event.reason);
            assert_eq!(decide(event, &second, least, &twice), expired);
            assert_ne!(decide(event, &attempt, least, &twice), expired);
            assert_eq!(decide(event, &attempt, least, &soon), expired);
            assert_ne!(decide(event, &later, least, &soon), expired);
        }
        assert_eq!(decide(accepted, &second, least, &twice), Verdict::Delivered);
    }
}
