//! The reference for time: which verdict an attempt gets, and how long nothing is sent.
//!
//! Verdicts, the correction of the clock and the budgets are exact. Of waits there are bounds only: whether a suspect's own back-off counts
//! or that of the node, and whether a canary follows at once, is up to the engine. What it promises whatever it decides: nothing is sent
//! before `not_before`, that honours what the server asks, a failure without a canary waits as long as the verdict says, and a
//! suspect is not tried again before its own time unless something else failed since then.

use std::collections::BTreeMap;

use edge_report::courier::{Backlog, Cause, Event, Policy, Reason, Status, Verdict};
use edge_report::{Code, MonoTime, Outcome};

use crate::ensure;

type Check = Result<(), String>;

/// No wait is shorter.
const FLOOR: u64 = 10;

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
            now: MonoTime::from_ms(1 << 51),
            forward: 0,
            steps_back: 0,
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.forward += ms;
    }

    pub(crate) fn step_back(&mut self, ms: u64) {
        self.now = MonoTime::from_ms(self.now.ms().saturating_sub(ms));
        self.steps_back += u32::from(ms > 0);
    }

    pub(crate) fn since(&self, earlier: &Clock) -> u64 {
        self.forward - earlier.forward
    }

    pub(crate) fn never_went_back(&self) -> bool {
        self.steps_back == 0
    }

    /// Whether it did not go back since.
    pub(crate) fn is_steady(&self, earlier: &Clock) -> bool {
        self.steps_back == earlier.steps_back
    }
}

/// The attempts of one report since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    /// How often it went out.
    pub(crate) count: u32,
    /// How often anything came of it.
    events: u32,
    first: MonoTime,
    /// When it failed last, and why.
    pub(crate) failed: Option<(Clock, Reason)>,
    /// Not again before so long after that, as long as nothing else fails.
    own_wait: Option<u64>,
}

/// Whose fault an event may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Service,
    Doubtful,
    Denied,
    Hold,
    Network,
}

/// Whether somebody finds fault with the credentials or a setting.
pub(crate) fn is_denied(reason: &Reason) -> bool {
    matches!(kind_of(reason), Kind::Denied | Kind::Hold)
}

fn kind(event: &Event) -> Kind {
    kind_of(&event.reason)
}

fn kind_of(reason: &Reason) -> Kind {
    match reason.cause {
        Cause::Response(Outcome::Accepted | Outcome::Refused) => Kind::Service,
        Cause::Response(Outcome::TryAgain | Outcome::NotUnderstood) => Kind::Doubtful,
        Cause::Response(Outcome::Credentials) => Kind::Denied,
        Cause::Response(Outcome::Misconfigured) => Kind::Hold,
        Cause::Response(other) => panic!("{other} is new"),
        Cause::Failed(Code::MayHaveArrived) => Kind::Doubtful,
        Cause::Failed(Code::NotSent) => Kind::Network,
        Cause::Failed(_) => Kind::Hold,
    }
}

/// Where a report stands among those of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    InOrder,
    /// An older one waits.
    Ahead,
    /// A newer one was accepted right before.
    Overtaken,
}

#[derive(Debug)]
pub(crate) struct Timing {
    policy: Policy,
    failures: u32,
    /// Refusals since something was accepted.
    refusals: u32,
    /// Whether the circuit may have been open since the last time without a failure.
    was_open: bool,
    /// The last that counted was an answer of the service.
    was_answered: bool,
    /// How many failures without an answer may be tried again within 50 ms.
    strays: u32,
    pub(crate) offset: i64,
    corrected: bool,
    /// Checks of credentials that failed since something was accepted, or since five did.
    denials: u32,
    tries: BTreeMap<u64, Tries>,
    /// Nothing is sent for so long after then.
    wait: u64,
    armed: Clock,
    /// When what is in flight was sent.
    sent: Option<MonoTime>,
    /// Somebody said that the link is back while that was going on.
    was_woken: bool,
    /// The last that was settled was accepted, but for what never went out.
    is_way_free: bool,
}

impl Timing {
    pub(crate) fn start(
        policy: Policy,
        not_before: MonoTime,
        clock: &Clock,
    ) -> Result<Self, String> {
        let mut timing = Timing {
            policy,
            failures: 0,
            refusals: 0,
            was_open: false,
            was_answered: false,
            strays: 0,
            offset: 0,
            corrected: false,
            denials: 0,
            tries: BTreeMap::new(),
            wait: 0,
            armed: *clock,
            sent: None,
            was_woken: false,
            is_way_free: false,
        };
        timing.arm(not_before, [0, policy.start_spread_ms], clock)?;
        Ok(timing)
    }

    fn arm(&mut self, at: MonoTime, [least, most]: [u64; 2], clock: &Clock) -> Check {
        self.wait = at.since_ms(clock.now);
        self.armed = *clock;
        ensure!(
            at >= clock.now && (least..=most).contains(&self.wait),
            "a wait of {}, must be {least} to {most}",
            self.wait
        );
        Ok(())
    }

    /// A clock that went back since it was looked at: what passed before counts.
    pub(crate) fn look(&mut self, clock: &Clock) {
        let latest = self.sent.unwrap_or(clock.now).max(self.armed.now);
        let back = latest.since_ms(clock.now);
        let set_back = |at: &mut MonoTime| *at = MonoTime::from_ms(at.ms().saturating_sub(back));
        self.tries.values_mut().for_each(|t| set_back(&mut t.first));
        set_back(&mut self.armed.now);
        self.sent.iter_mut().for_each(set_back);
    }

    pub(crate) fn wake(&mut self, clock: &Clock) {
        self.was_woken = self.sent.is_some();
        (self.wait, self.armed) = (0, *clock);
        (self.failures, self.strays) = (0, 0);
        (self.was_open, self.was_answered) = (false, false);
        self.forget_own_waits();
    }

    fn forget_own_waits(&mut self) {
        self.tries.values_mut().for_each(|t| t.own_wait = None);
    }

    pub(crate) fn check(&self, status: &Status) -> Check {
        ensure!(
            status.failures == self.failures
                && status.circuit_open == (self.failures >= self.policy.open_circuit_after)
                && status.clock_offset_ms == self.offset,
            "{status:?}, must be {self:?}"
        );
        Ok(())
    }

    pub(crate) fn tries(&self, ticket: u64) -> Option<&Tries> {
        self.tries.get(&ticket)
    }

    /// `next` says to wait.
    pub(crate) fn told_to_wait(&self, ms: u64, aside: usize, clock: &Clock) -> Check {
        let left = self.wait.saturating_sub(clock.since(&self.armed));
        let tenth_more = |ms: u64| ms.saturating_add(ms / 10);
        let longest = [
            self.policy.max_backoff_ms.max(FLOOR),
            tenth_more(self.policy.max_retry_after_ms),
            tenth_more(self.policy.hold_ms.max(FLOOR)),
        ];
        let longest = longest.into_iter().fold(1, u64::max);
        let (least, most) = match (clock.is_steady(&self.armed), left) {
            // For somebody's own time.
            (true, 0) if aside > 0 => (1, longest),
            (true, left) => (left, left),
            (false, _) => (1, longest.max(self.wait)),
        };
        ensure!(
            ms > 0 && (least..=most).contains(&ms),
            "told to wait {ms}, must be {least} to {most}, {aside} stepped aside"
        );
        Ok(())
    }

    /// `next` says to send, for the first time since the last verdict.
    pub(crate) fn told_to_send(&mut self, ticket: u64, is_overtaken: bool, clock: &Clock) -> Check {
        self.sent = Some(clock.now);
        let passed = clock.since(&self.armed);
        ensure!(
            passed >= self.wait,
            "sent after {passed}, must wait {}",
            self.wait
        );
        let tries = self.tries.entry(ticket).or_insert(Tries {
            count: 0,
            events: 0,
            first: clock.now,
            failed: None,
            own_wait: None,
        });
        if let (Some((failed, _)), Some(wait)) = (&tries.failed, tries.own_wait) {
            let passed = clock.since(failed);
            ensure!(
                passed >= wait || is_overtaken || !clock.is_steady(failed),
                "{ticket} is sent {passed} after it failed, must wait {wait}"
            );
        }
        Ok(())
    }

    pub(crate) fn settled(
        &mut self,
        ticket: u64,
        place: Place,
        event: &Event,
        verdict: Verdict,
        clock: &Clock,
        status: &Status,
    ) -> Check {
        self.sent = None;
        let kind = kind(event);
        let tries = self.tries.get_mut(&ticket).ok_or("nothing is in flight")?;
        tries.events += 1;
        let went_out = matches!(
            event.reason.cause,
            Cause::Response(_) | Cause::Failed(Code::MayHaveArrived)
        );
        tries.count += u32::from(went_out);
        if kind == Kind::Service {
            self.was_woken = false;
            return self.answered(event, place, verdict, clock, status);
        }
        tries.failed = Some((*clock, event.reason));
        let tries = *tries;
        if std::mem::take(&mut self.was_woken)
            && event.reason.status == 0
            && let Verdict::Again { at, reason } = verdict
        {
            // It was stuck when somebody said that the link is back.
            ensure!(
                reason == event.reason && at == clock.now && status.not_before == at,
                "{verdict:?}, must be tried again at once"
            );
            ensure!(!self.is_spent(&tries, at), "{verdict:?} after {tries:?}");
            self.is_way_free &= kind == Kind::Network;
            self.wake(clock);
            return Ok(());
        }
        let is_busy = matches!(
            event.reason.cause,
            Cause::Response(Outcome::TryAgain | Outcome::NotUnderstood)
        );
        // One that answers so right after an outage is asked for no more until the greatest wait is over.
        let most = match self.was_open && self.was_answered && is_busy {
            true => self.failures.max(self.doublings()),
            false => self.failures,
        };
        let is_counted = status.failures != self.failures;
        let is_unanswered =
            kind == Kind::Network || event.reason.cause == Cause::Failed(Code::MayHaveArrived);
        let may_be_stray = is_unanswered && self.strays > 0 && !self.was_open;
        if is_counted {
            self.strays = if may_be_stray { self.strays - 1 } else { 0 };
            self.was_answered = false;
        }
        let counts = most + 1;
        ensure!(
            status.failures == counts || kind != Kind::Network && status.failures == self.failures,
            "{} failures, were {}",
            status.failures,
            self.failures
        );
        let is_way_free = self.is_way_free;
        self.is_way_free &= kind == Kind::Network;
        self.denials += u32::from(kind == Kind::Denied);
        // A sixth in a row would lock the key pair.
        let is_fifth = self.denials == 5;
        self.denials %= 5;
        self.failures = status.failures;
        if is_counted {
            self.was_open |= self.failures >= self.policy.open_circuit_after;
        }
        self.forget_own_waits();

        let is_spent = self.is_spent(&tries, clock.now);
        let not_before = status.not_before;
        let expired = matches!(verdict, Verdict::Expired(_));
        if place == Place::Overtaken
            && !is_counted
            && kind != Kind::Network
            && let Verdict::Again { at, reason } = verdict
            && at == not_before
            && (10..=50).contains(&at.since_ms(clock.now))
        {
            // Once more, before that says anything.
            ensure!(reason == event.reason, "{verdict:?}");
            self.distrust_clock(&event.reason, true);
            return self.arm(not_before, [10, 50], clock);
        }
        if place == Place::Overtaken
            && let Verdict::Refused(reason) = verdict
        {
            let wanted = {
                let mut reason = event.reason;
                reason.cause = Cause::Failed(Code::Overtaken);
                reason
            };
            let is_denied = matches!(kind, Kind::Denied | Kind::Hold) && reason == event.reason;
            let is_right = kind != Kind::Network && (reason == wanted || is_denied);
            ensure!(is_right, "{verdict:?}");
            return self.arm(not_before, [0, 0], clock);
        }
        ensure!(
            verdict.reason() == Some(&event.reason),
            "{verdict:?}: another reason"
        );
        ensure!(expired == is_spent, "{verdict:?} after {tries:?}");
        if kind == Kind::Denied
            && !is_fifth
            && !self.corrected
            && let Some(skew) = event.clock_skew_ms
            && self.is_wrong_by(skew)
        {
            (self.corrected, self.offset) = (true, skew);
            let at = clock.now;
            ensure!(
                expired || matches!(verdict, Verdict::Again { at: told, .. } if told == at),
                "{verdict:?}, must be tried again at once"
            );
            return self.arm(not_before, [0, 0], clock);
        }
        let asked = event.retry_after_ms.unwrap_or(0);
        let asked = asked.min(self.policy.max_retry_after_ms);
        let asked = [asked, asked + asked / 10];
        let bounds = match kind {
            Kind::Denied | Kind::Hold => {
                let hold = self.policy.hold_ms.max(FLOOR);
                let or_asked = |[least, most]: [u64; 2]| [least.max(asked[0]), most.max(asked[1])];
                let holds = or_asked([hold, hold + hold / 10]);
                let is_alone = is_way_free && went_out && !is_counted && !expired;
                let told = match verdict {
                    Verdict::Held { until, .. } => until.since_ms(clock.now),
                    _ => 0,
                };
                match is_alone && !(holds[0]..=holds[1]).contains(&told) {
                    // Others were accepted right before: a back-off, for it alone.
                    true => or_asked(self.own_backoff(ticket, tries.events)),
                    false => holds,
                }
            }
            _ => {
                let failures = match kind {
                    // Those of the node, or its own.
                    Kind::Doubtful if !expired => self.failures.max(tries.events),
                    _ => self.failures,
                };
                let [least, most] = self.own_backoff(ticket, failures);
                let least = if may_be_stray { FLOOR } else { least };
                [least.max(asked[0]), most.max(asked[1])]
            }
        };
        let at = match (kind, verdict) {
            (_, Verdict::Expired(_)) => {
                self.distrust_clock(&event.reason, !is_counted);
                return self.arm(not_before, bounds, clock);
            }
            (Kind::Doubtful | Kind::Network, Verdict::Again { at, .. }) => at,
            (Kind::Denied | Kind::Hold, Verdict::Held { until, .. }) => until,
            _ => return Err(format!("{verdict:?} after {event:?}")),
        };
        self.arm(at, bounds, clock)?;
        self.distrust_clock(&event.reason, not_before != at);
        if not_before == at {
            // It may not be the node that waits, but then it waits anyway.
        } else if kind != Kind::Network {
            // It waits alone, or a canary follows: at once, or in a long round after the least wait.
            let [_, most] = self.backoff(0);
            self.arm(not_before, [0, most], clock)?;
        } else {
            return Err(format!("{not_before:?} is not {at:?}"));
        }
        if place != Place::Ahead
            && let Some(tries) = self.tries.get_mut(&ticket)
        {
            tries.own_wait = Some(at.since_ms(clock.now));
        }
        Ok(())
    }

    /// Where the latest of each job is sent, a report may go on counting where those ended that it superseded.
    fn own_backoff(&self, ticket: u64, failures: u32) -> [u64; 2] {
        let older = self.tries.range(..ticket).map(|(_, older)| older.events);
        let inherited = match self.policy.backlog {
            Backlog::KeepAll => 0,
            _ => older.sum(),
        };
        let [least, _] = self.backoff(failures);
        let [_, most] = self.backoff(failures.saturating_add(inherited));
        [least, most]
    }

    /// After somebody denied what was signed by it, or nothing could be signed by it, the system's clock is tried again.
    fn distrust_clock(&mut self, reason: &Reason, is_own_wait: bool) {
        let is_denied = kind_of(reason) == Kind::Denied;
        if is_denied || reason.cause == Cause::Failed(Code::TimeOutOfRange) {
            self.offset = 0;
            // Once for each hold: a canary that follows at once corrects nothing.
            self.corrected &= is_denied && is_own_wait;
        }
    }

    /// The network and the service are up: after an open circuit the pace may pick up step by step, else at once.
    fn answered(
        &mut self,
        event: &Event,
        place: Place,
        verdict: Verdict,
        clock: &Clock,
        status: &Status,
    ) -> Check {
        let most = match self.was_open {
            true => self.failures.min(self.doublings()) / 2,
            false => 0,
        };
        let failures = status.failures;
        ensure!(
            failures <= most,
            "{failures} failures after an answer, {most} at the most"
        );
        self.failures = failures;
        self.was_open &= failures > 0;
        (self.was_answered, self.strays) = (true, 2);
        self.corrected = false;
        let mut bounds = match failures {
            0 => [0, 0],
            // What is overtaken may follow at once.
            _ if verdict == Verdict::Delivered && place != Place::InOrder => {
                [0, self.backoff(failures)[1]]
            }
            _ => self.backoff(failures),
        };
        if event.reason.cause == Cause::Response(Outcome::Accepted) {
            (self.is_way_free, self.denials) = (true, 0);
            ensure!(verdict == Verdict::Delivered, "{verdict:?} when accepted");
            self.refusals = 0;
        } else {
            ensure!(
                verdict == Verdict::Refused(event.reason),
                "{verdict:?} when refused"
            );
            self.refusals += 1;
            if self.refusals > 1 {
                let [least, most] = self.backoff(self.refusals - 1);
                bounds = [bounds[0].max(least), bounds[1].max(most)];
            }
        }
        self.arm(status.not_before, bounds, clock)
    }

    fn is_spent(&self, tries: &Tries, now: MonoTime) -> bool {
        let policy = &self.policy;
        policy.max_attempts.is_some_and(|most| tries.count >= most)
            || policy
                .max_time_ms
                .is_some_and(|most| now.since_ms(tries.first) >= most)
    }

    /// How often the least wait doubles until it is the most.
    fn doublings(&self) -> u32 {
        let [_, most] = self.backoff(63);
        let reached = (0..64).find(|failures| self.backoff(*failures)[1] == most);
        reached.unwrap_or(0)
    }

    /// Doubled at each failure, from the least to the most.
    fn backoff(&self, failures: u32) -> [u64; 2] {
        let least = self.policy.min_backoff_ms.max(FLOOR);
        let most = self.policy.max_backoff_ms.max(FLOOR);
        let doubled = (0..failures.min(63)).fold(least, |ms, _| ms.saturating_mul(2));
        [least.min(most), doubled.min(most)]
    }

    fn is_wrong_by(&self, skew: i64) -> bool {
        let error = i128::from(skew) - i128::from(self.offset);
        error.unsigned_abs() > u128::from(self.policy.max_clock_skew_ms)
    }
}
