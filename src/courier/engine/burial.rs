//! Burials: a report becomes a dead letter, durably, before it leaves the queue. What cannot be buried now waits for it, and is not sent.

use super::super::aside::{Aside, SUSPECTS, Tried, Waits};
use super::super::outbox::{Disposition, Outbox, Scratch, Ticket, Waiting};
use super::super::reason::Reason;
use super::steps::CourierError;
use super::{Courier, read_part};
use crate::time::MonoTime;

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// Makes a dead letter of a report, now or later; `false` if it does not wait any more.
    pub(super) fn bury(
        &mut self,
        tried: Tried,
        waits: Waits,
        reason: Reason,
        now: MonoTime,
    ) -> bool {
        let ticket = tried.ticket;
        let disposition = match waits {
            Waits::Expiry => Disposition::Expired(reason),
            Waits::Refusal | Waits::Attempt => Disposition::Refused(reason),
        };
        let error = match self.bury_now(ticket, disposition) {
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
        self.walk = self.walk.anew();
        self.last_failure = Some((ticket, why(&error)));
        true
    }

    /// `false` if it does not wait.
    pub(super) fn bury_now(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
    ) -> Result<bool, CourierError<O::Error>> {
        let Some(Waiting { len, .. }) = self.find(ticket)? else {
            return Ok(false);
        };
        if !self.load(ticket, len)? {
            return Ok(false);
        }
        let bytes = read_part(&mut self.buffer, len);
        let when_full = self.policy.when_letters_full;
        self.outbox.settle(ticket, disposition, bytes, when_full)?;
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

/// With what the storage says of it, where there is room for so many words: nobody is given the error itself.
fn why<E: core::fmt::Display>(error: &CourierError<E>) -> Reason {
    let reason = Reason::failed(error.code());
    #[cfg(feature = "alloc")]
    if let CourierError::Outbox(super::super::outbox::OutboxError::Device(error)) = error {
        return reason.with_text(&alloc::format!("{error}"));
    }
    reason
}
