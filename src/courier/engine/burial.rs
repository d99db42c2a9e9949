//! Burials: a report becomes a dead letter, durably, before it leaves the queue. What cannot be buried now waits for it, and is not sent.

use super::super::aside::{Aside, SUSPECTS, Tried, Waits, Walk};
use super::super::outbox::{Fate, Outbox, Ticket, Waiting};
use super::super::reason::{Cause, Reason};
use super::canary::Witness;
use super::steps::{CourierError, Scratch};
use super::{Courier, RIGHT_AFTER_MS, read_part};
use crate::code::Code;
use crate::time::MonoTime;

/// So many checks of credentials that fail in a row lock no key pair yet.
const CHECKS: u32 = 4;

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// One that the witness overtook failed: whether it is tried once more before that says anything. Servers that take turns, and some of them
    /// bad, answer one well and the next badly; only what fails each time is at fault. A key pair is locked by checks that fail in a row.
    pub(super) fn is_tried_again(&mut self, ticket: Ticket, is_denied: bool) -> bool {
        let most = if is_denied { CHECKS } else { u32::MAX };
        let needed = self.policy.refuse_after.min(most);
        let Some(witness) = &mut self.witness else {
            return false;
        };
        let before = witness.failing.filter(|(other, _)| *other == ticket);
        let count = before.map_or(1, |(_, count)| count.saturating_add(1));
        witness.failing = Some((ticket, count));
        count < needed
    }

    /// One that the witness overtook failed, right after the witness was accepted: it is at fault, and a newer report of its jobs is known to the
    /// service. It becomes a dead letter; `None` if that cannot be done, nor wait to be done.
    pub(super) fn bury_overtaken(
        &mut self,
        tried: Tried,
        reason: Reason,
        now: MonoTime,
    ) -> Option<Reason> {
        let ticket = tried.ticket;
        let is_right_after = |witness: &Witness| {
            ticket <= witness.last && now.since(witness.seen_at) <= RIGHT_AFTER_MS
        };
        if !self.witness.as_ref().is_some_and(is_right_after) {
            return None;
        }
        let reason = Reason {
            cause: Cause::Failed(Code::Overtaken),
            ..reason
        };
        let has_place = self.asides.get(ticket).is_some() || self.asides.has_room();
        if !has_place && self.bury_now(ticket, Fate::Refused(reason)).is_err() {
            return None;
        }
        self.bury(tried, Waits::Refusal, reason, now);
        Some(reason)
    }

    /// Makes a dead letter of a report, now or later; `false` if it does not wait any more.
    pub(super) fn bury(
        &mut self,
        tried: Tried,
        waits: Waits,
        reason: Reason,
        now: MonoTime,
    ) -> bool {
        let ticket = tried.ticket;
        let fate = match waits {
            Waits::Expiry => Fate::Expired(reason),
            Waits::Refusal | Waits::Attempt => Fate::Refused(reason),
        };
        let error = match self.bury_now(ticket, fate) {
            Ok(was_there) => {
                self.gone(ticket);
                return was_there;
            }
            Err(error) => error,
        };
        let failures = match self.asides.get(ticket) {
            Some(aside) if aside.waits == waits => aside.failures.saturating_add(1),
            _ => 1,
        };
        let wait = self.policy.backoff_ms(failures, u64::MAX);
        self.asides.put(Aside {
            failures,
            due: now.plus_ms(wait),
            ..Aside::new(tried, waits, reason)
        });
        // Its jobs are free.
        self.walk = Walk::START;
        self.last_failure = Some((ticket, Reason::failed(error.code())));
        true
    }

    /// `false` if it does not wait.
    pub(super) fn bury_now(
        &mut self,
        ticket: Ticket,
        fate: Fate,
    ) -> Result<bool, CourierError<O::Error>> {
        let before = ticket.0.checked_sub(1).map(Ticket);
        let found = self.outbox.next(before)?;
        let Some(Waiting { len, .. }) = found.filter(|found| found.ticket == ticket) else {
            return Ok(false);
        };
        if !self.load(ticket, len)? {
            return Ok(false);
        }
        let bytes = read_part(&mut self.buffer, len);
        let when_full = self.policy.when_letters_full;
        self.outbox.settle(ticket, fate, bytes, when_full)?;
        Ok(true)
    }

    /// Tries the burials again whose time has come.
    pub(super) fn bury_again(&mut self, now: MonoTime) {
        for _ in 0..=SUSPECTS {
            let due = |aside: &&Aside| aside.waits != Waits::Attempt && aside.due <= now;
            let Some(aside) = self.asides.iter().find(due).copied() else {
                break;
            };
            self.bury(aside.tried, aside.waits, aside.reason, now);
        }
    }

    pub(super) fn tell_buried(&mut self, ticket: Ticket, reason: Reason) {
        // Behind the others, and the first of too many is gone.
        let mut moved = Some((ticket, reason));
        for slot in self.buried.iter_mut().rev() {
            core::mem::swap(slot, &mut moved);
        }
    }
}
