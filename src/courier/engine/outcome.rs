//! What a response means for its report, for the others, and for the node.
//!
//! ```text
//!  response ── accepted ──► it leaves; the circuit closes step by step; a canary counts against suspects
//!     ├── refused ──► it is buried; the others go on
//!     ├── never went out ──► the node backs off
//!     └── doubtful, or a hold ── not at fault yet ──► the node backs off, or holds
//!                            ├── a suspect, 1 time in 4 ──► it alone waits
//!                            └── a suspect ──► it waits, and a canary follows at once
//! ```

use super::super::aside::{Aside, Tried, Waits};
use super::super::outbox::{Disposition, Outbox, Scratch, Ticket};
use super::super::reason::{Cause, Event, Reason};
use super::canary::Trial;
use super::witness::Witness;
use super::{Courier, InFlight, RIGHT_AFTER_MS, Role};
use crate::code::Code;
use crate::exchange::Outcome;
use crate::time::MonoTime;

/// After so many doubtful responses in a row a report is a suspect: one or two happen to any of them.
const DOUBTFUL: u32 = 3;
/// After so many responses in a row that deny the credentials or fault a setting: the first holds everything, and only the one after the hold
/// says more.
pub(super) const DENIED: u32 = 2;
/// More than five checks of credentials that fail in a row lock a key pair for five minutes. So the fifth holds everything, whosever fault it is.
const CHECKS: u32 = 5;
/// In an outage one attempt of so many has a canary, or requests would double.
const CANARY_EVERY: u32 = 4;
/// While others are accepted one attempt of so many has none. Both are drawn: servers that take turns must not be in step with this.
const NO_CANARY: u32 = 4;
/// Only busy services answer at random. Any other response says as much as so many of those.
const NOT_BUSY: u32 = 8;
/// What is due after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The node waits.
    Wait,
    /// It alone waits.
    Others,
    /// It waits, and a canary follows at once.
    Canary,
}

/// Whose fault an event may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The service knows this report.
    Service,
    /// It went out, and what came may be somebody else's.
    Doubtful,
    /// Somebody finds fault with the credentials.
    Denied,
    /// A setting cannot work.
    Hold,
    /// It never went out.
    Network,
}

/// Whether a busy service may say so of a healthy report.
pub(super) const fn is_busy(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Response(Outcome::TryAgain) | Cause::Failed(Code::MayHaveArrived)
    )
}

/// How much a failure speaks against a report.
pub(super) const fn weight(cause: Cause) -> u32 {
    match cause {
        Cause::Failed(Code::NotSent) => 0,
        cause if is_busy(cause) => 1,
        _ => NOT_BUSY,
    }
}

/// Whether it may have arrived.
const fn went_out(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Response(_) | Cause::Failed(Code::MayHaveArrived)
    )
}

impl Kind {
    pub(super) const fn of(cause: Cause) -> Self {
        match cause {
            Cause::Response(Outcome::Accepted | Outcome::Refused) => Kind::Service,
            Cause::Response(Outcome::TryAgain | Outcome::NotUnderstood)
            | Cause::Failed(Code::MayHaveArrived) => Kind::Doubtful,
            Cause::Response(Outcome::Credentials) => Kind::Denied,
            Cause::Failed(Code::NotSent) => Kind::Network,
            Cause::Response(Outcome::Misconfigured) | Cause::Failed(_) => Kind::Hold,
        }
    }
}

/// A number below `end`, that differs from one time to the next even if the random number is always the same.
pub(super) const fn drawn(end: u32, entropy: u64, nth: u32) -> u32 {
    let mixed = (entropy ^ nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
    (mixed.wrapping_mul(end as u64) >> 32) as u32
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    pub(super) fn correct_clock(&mut self, event: &Event) {
        self.clock_offset_ms = event.clock_skew_ms.unwrap_or(self.clock_offset_ms);
        self.clock_corrected = true;
    }

    /// The correction may have been a middlebox's, so what follows goes without it; or by then the system's clock is right.
    pub(super) fn distrust_clock(&mut self, cause: Cause, is_own_wait: bool) {
        let is_denied = Kind::of(cause) == Kind::Denied;
        if is_denied || cause == Cause::Failed(Code::TimeOutOfRange) {
            self.clock_offset_ms = 0;
            // Once for each hold.
            self.clock_corrected &= is_denied && is_own_wait;
        }
    }

    /// Counts an attempt. What is due after it.
    pub(super) fn note(
        &mut self,
        current: &mut InFlight,
        cause: Cause,
        is_way_free: bool,
        now: MonoTime,
        entropy: u64,
    ) -> Then {
        let kind = Kind::of(cause);
        let tried = &mut current.tried;
        if went_out(cause) {
            tried.attempts = tried.attempts.saturating_add(1);
        }
        tried.weight = tried.weight.saturating_add(weight(cause));
        match kind {
            Kind::Doubtful => {
                (tried.doubtful, tried.denied) = (tried.doubtful.saturating_add(1), 0)
            }
            Kind::Denied | Kind::Hold => tried.denied = tried.denied.saturating_add(1),
            _ => {}
        }
        self.denials = self.denials.saturating_add(u32::from(kind == Kind::Denied));
        if self.denials >= CHECKS {
            // Nor once more with another clock.
            (self.denials, self.clock_corrected) = (0, true);
            return Then::Wait;
        }
        if current.role == Role::Overtaken && kind != Kind::Network {
            return Then::Others;
        }
        if !self.is_at_fault(current, cause, is_way_free) {
            return Then::Wait;
        }
        let is_known = current.role == Role::Suspect;
        let may_be_suspect = match current.role {
            Role::Suspect => true,
            Role::Ordinary => self.make_place(now),
            Role::Canary | Role::OwnCanary | Role::Overtaken => false,
        };
        if !may_be_suspect {
            // The places of suspects are taken. One is no reason to keep the others waiting.
            if current.role == Role::Ordinary && is_way_free {
                return Then::Others;
            }
            if current.role == Role::Ordinary {
                self.pass_for_now(current.tried.ticket);
            }
            return Then::Wait;
        }
        current.role = Role::Suspect;
        let every = CANARY_EVERY;
        let nth = current.tried.attempts;
        match self.outage {
            true if drawn(every, entropy, nth) > 0 => Then::Wait,
            false if is_known && drawn(NO_CANARY, entropy, nth) == 0 => Then::Others,
            _ => Then::Canary,
        }
    }

    /// Its turn comes when a suspect has left.
    fn pass_for_now(&mut self, ticket: Ticket) {
        match self.line {
            Some(line) if ticket <= line => self.bad = Some(ticket),
            _ => {
                let mut walk = self.walk;
                if self.pass(&mut walk, ticket).is_ok() {
                    self.walk = walk;
                }
            }
        }
    }

    /// Whether something was accepted right before, and nothing failed since.
    pub(super) fn is_way_free(&self, current: &InFlight) -> bool {
        let since = current.sent_at.since_ms(self.accepted_at);
        !self.outage && self.strikes == 0 && since <= RIGHT_AFTER_MS
    }

    /// Whether it may not be the node's fault. While others are accepted, once is enough.
    fn is_at_fault(&self, current: &InFlight, cause: Cause, is_way_free: bool) -> bool {
        let tried = &current.tried;
        let others_go =
            || !self.outage && self.asides.suspects().any(|aside| aside.tried.counted > 0);
        match Kind::of(cause) {
            Kind::Doubtful => {
                current.role == Role::Suspect || tried.doubtful >= DOUBTFUL || others_go()
            }
            Kind::Denied | Kind::Hold => tried.denied >= DENIED || (went_out(cause) && is_way_free),
            _ => false,
        }
    }

    /// Takes a report out of the queue that was accepted. If the outbox has no room to note that, or fails, the reason.
    pub(super) fn deliver(&mut self, ticket: Ticket) -> Option<Code> {
        let when_full = self.policy.when_letters_full;
        let settled = self
            .outbox
            .settle(ticket, Disposition::Delivered, &[], when_full);
        settled.err().map(|error| error.code())
    }

    /// Takes it out of the queue, and counts the suspect's attempt. If it had to stay in the queue, why, and when it is sent again.
    pub(super) fn accepted(
        &mut self,
        current: &InFlight,
        now: MonoTime,
        entropy: u64,
    ) -> Option<(Code, MonoTime)> {
        let ticket = current.tried.ticket;
        let went_ahead = matches!(current.role, Role::OwnCanary | Role::Overtaken);
        // What cannot be read now is not sent again.
        let _ = self.release(ticket);
        let mut failed = self.take_out(ticket, went_ahead);
        let is_ahead = self.is_ahead(ticket);
        let is_before_line = self.line.is_some_and(|line| ticket <= line);
        let has_passed = current.role == Role::Canary && self.passes > 0;
        if has_passed || (current.role == Role::Ordinary && is_before_line) {
            self.bad = self.bad.filter(|bad| *bad < ticket);
            self.draw_line(Ticket(ticket.0.saturating_sub(1)));
        }
        self.accepted_at = now;
        (self.strikes, self.denials) = (0, 0);
        self.last_failure = None;
        self.clock_corrected = false;
        self.outage = false;
        self.refusals = 0;
        let wait = match self.pace.answered(&self.policy, entropy) {
            // What was overtaken follows at once, or it would prove nothing.
            _ if current.role == Role::Overtaken || is_ahead => 0,
            wait => wait,
        };
        self.arm(now, now.plus_ms(wait));
        self.doubt(current);
        let is_canary = matches!(current.role, Role::Canary | Role::OwnCanary);
        if is_canary {
            let witness = Witness::new(current, is_ahead, now, entropy);
            let is_needed = is_ahead || self.denied_before(&witness).is_some();
            self.witness = is_needed.then_some(witness);
        } else if current.role == Role::Overtaken
            && let Some(witness) = &mut self.witness
        {
            witness.saw(current, now, entropy);
        }
        if !went_ahead {
            self.rounds = 0;
        }
        self.on_trial = None;
        if is_canary && !is_ahead {
            self.count_against_all(current.sent_at, now);
        }
        (self.passes, self.passes_from) = (0, 0);
        // A burial may have made room. If not, it is noted later.
        if failed.is_some() && !went_ahead {
            failed = self.deliver(ticket);
        }
        if let Some(code) = failed.filter(|code| *code != Code::OutboxFull) {
            self.last_failure = Some((ticket, Reason::failed(code)));
        }
        if failed.is_none() || self.hold(ticket, None) {
            self.leave(current);
            return None;
        }
        // It says anyway that the others are at fault, and is sent again later.
        let wait = self.policy.backoff_ms(u32::MAX, entropy);
        let at = now.plus_ms(wait);
        if current.role == Role::Ordinary {
            self.arm(now, at);
        }
        // Neither as a canary nor as one that was overtaken does it come at once, and without end.
        if current.role == Role::Overtaken {
            self.witness = None;
        }
        let tried = Tried::new(ticket, now);
        let rests = Some(at);
        match self.asides.get_mut(ticket) {
            Some(aside) => (aside.tried, aside.due) = (tried, at),
            None => self.tried.put(Tried { rests, ..tried }),
        }
        failed.map(|code| (code, at))
    }

    pub(super) fn refused(
        &mut self,
        current: &InFlight,
        reason: Reason,
        now: MonoTime,
        entropy: u64,
    ) {
        self.clock_corrected = false;
        self.refusals = self.refusals.saturating_add(1);
        if current.role == Role::Canary || current.role == Role::OwnCanary {
            self.on_trial = None;
            // The service is there, whatever it thinks of the suspect.
            self.outage = false;
        }
        if let Some(witness) = &mut self.witness {
            witness.saw(current, now, entropy);
        }
        let recovery = self.pace.answered(&self.policy, entropy);
        let wait = match self.refusals.checked_sub(1) {
            None | Some(0) => 0,
            Some(before) => self.policy.backoff_ms(before, entropy),
        };
        self.arm(now, now.plus_ms(wait.max(recovery)));
        self.bury(current.tried, Waits::Refusal, reason, now);
    }

    /// It is tried again at `at`.
    pub(super) fn failed(
        &mut self,
        current: &InFlight,
        kind: Kind,
        then: Then,
        at: MonoTime,
        reason: Reason,
        now: MonoTime,
    ) {
        let mut current = *current;
        self.walk.turn();
        let tried = &mut current.tried;
        let ticket = tried.ticket;
        let is_own = current.role == Role::OwnCanary;
        match (current.role, then) {
            (Role::Ordinary | Role::Suspect, Then::Canary) => {
                self.on_trial = Some(Trial {
                    suspect: ticket,
                    failed_at: now,
                });
                // What the server asked for is this one's wait, until the canary fails, too.
                self.arm(now, now);
            }
            (Role::Ordinary | Role::Suspect, Then::Others) => {
                self.on_trial = None;
                self.arm(now, now);
                if current.role == Role::Ordinary {
                    tried.rests = Some(at);
                }
            }
            (Role::Ordinary | Role::Suspect, Then::Wait) => {
                self.on_trial = None;
                self.arm(now, at);
            }
            (Role::Canary | Role::OwnCanary, _) if kind != Kind::Network => {
                self.outage = true;
                self.own_is_next = !is_own;
                if is_own {
                    self.rest(ticket, at, reason.status != 0);
                }
                if !is_own {
                    self.bad = Some(ticket);
                    self.passes = match self.passes {
                        u32::MAX => self.passes_from,
                        passes => passes.saturating_mul(2).saturating_add(1),
                    };
                } else {
                    self.rounds = self.rounds.saturating_add(weight(reason.cause));
                }
                self.on_trial = None;
                self.arm(now, at);
            }
            (Role::Canary | Role::OwnCanary | Role::Overtaken, _) => {
                self.on_trial = None;
                self.arm(now, at);
            }
        }
        let is_canary = matches!(current.role, Role::Canary | Role::OwnCanary);
        let has_failed = kind != Kind::Network && (is_canary || then == Then::Canary);
        self.keep(&current, at, reason, u32::from(kind != Kind::Network));
        if let Some(aside) = self.asides.get_mut(ticket) {
            aside.failed_at = has_failed.then_some(now);
        }
    }

    /// It is not tried before `at`, unless it is overtaken.
    pub(super) fn rest(&mut self, ticket: Ticket, at: MonoTime, by_response: bool) {
        self.rests_by_response = by_response || (self.resting.is_some() && self.rests_by_response);
        let (last, until) = self.resting.unwrap_or((ticket, at));
        self.resting = Some((last.max(ticket), until.max(at)));
    }

    /// Remembers a report that is tried again.
    pub(super) fn keep(
        &mut self,
        current: &InFlight,
        due: MonoTime,
        reason: Reason,
        failures: u32,
    ) {
        let tried = current.tried;
        let mut aside = match self.asides.get(tried.ticket) {
            Some(aside) => *aside,
            None => Aside {
                failures: tried.doubtful.saturating_sub(1),
                ..Aside::new(tried, Waits::Attempt, reason)
            },
        };
        (aside.tried, aside.due, aside.reason) = (tried, due, reason);
        aside.failed_at = None;
        aside.failures = aside.failures.saturating_add(failures);
        let is_suspect = current.role == Role::Suspect || self.asides.get(tried.ticket).is_some();
        if !is_suspect || !self.asides.put(aside) {
            self.tried.put(tried);
        }
    }

    /// It left the queue.
    pub(super) fn leave(&mut self, current: &InFlight) {
        self.forget_accepted(current.tried.ticket);
        if self.asides.remove(current.tried.ticket) {
            self.walk = self.walk.anew();
        }
    }

    /// It is not in the queue any more, for whatever reason.
    pub(super) fn gone(&mut self, ticket: Ticket) {
        if self.asides.remove(ticket) {
            self.walk = self.walk.anew();
        }
        self.tried.take(ticket);
        self.forget_accepted(ticket);
    }

    pub(super) fn arm(&mut self, now: MonoTime, not_before: MonoTime) {
        self.armed = now;
        self.not_before = not_before;
    }
}
