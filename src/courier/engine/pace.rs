//! How fast the node may send: failures in a row, and what a response takes back of them.
//!
//! | what happens | what follows |
//! |---|---|
//! | the first and second failure without a response right after something was answered | once more within 50 ms: links and servers drop single connections all the time |
//! | any other failure | twice the greatest wait of the one before, a random time within it |
//! | [`open_circuit_after`](Policy::open_circuit_after) failures in a row | the circuit is open: from now on it *recovers* until all is taken back |
//! | a response, while it recovers | half of the doublings are taken back, and the next report waits that long |
//! | a response of a busy service right after that | the greatest wait: others of the fleet come back, too |
//! | news of the link | one attempt at once; if it gets a response, all is taken back |
//! | a response otherwise | the next report follows at once |
//!
//! Two forces pull here. A fleet whose link is back must not send all that waits at once: with these rules 100,000 agents ask their receiver for
//! less than 1.5 times what it can take (`tests/outbox/fleet.rs`, docs/measurements/fleet.md). And a link that is there for two minutes in half an hour must deliver
//! what waits: halving the doublings takes three responses to full speed, taking one back at a time took eight.

use super::super::policy::Policy;
use super::super::reason::Cause;
use crate::code::Code;
use crate::exchange::Outcome;

/// So many failures may be one of those that come and go.
const STRAYS: u32 = 2;

#[derive(Debug)]
pub(super) struct Pace {
    /// Failures in a row, less what responses took back.
    pub(super) failures: u32,
    /// Since the circuit was open.
    is_recovering: bool,
    /// The last one was answered by the service.
    was_answered: bool,
    /// How many of the next failures may be strays.
    strays: u32,
    /// The link is said to be back, and nothing was tried since.
    is_news: bool,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Pace {
            failures: 0,
            is_recovering: false,
            was_answered: false,
            strays: 0,
            is_news: false,
        }
    }

    pub(super) const fn is_open(&self, policy: &Policy) -> bool {
        self.failures >= policy.open_circuit_after
    }

    /// Counts a failure of the node. Whether it may be one of those that come and go.
    pub(super) fn failed(&mut self, cause: Cause, policy: &Policy) -> bool {
        let is_busy = matches!(
            cause,
            Cause::Response(Outcome::TryAgain | Outcome::NotUnderstood)
        );
        if self.is_recovering && self.was_answered && is_busy {
            self.failures = self.failures.max(policy.doublings());
        }
        self.failures = self.failures.saturating_add(1);
        self.is_recovering |= self.is_open(policy);
        let is_unanswered = matches!(cause, Cause::Failed(Code::NotSent | Code::MayHaveArrived));
        let is_stray = is_unanswered && self.strays > 0 && !self.is_recovering;
        self.strays = match is_stray {
            true => self.strays.saturating_sub(1),
            false => 0,
        };
        (self.was_answered, self.is_news) = (false, false);
        is_stray
    }

    /// The service answered: how long the next report waits.
    pub(super) fn answered(&mut self, policy: &Policy, entropy: u64) -> u64 {
        let is_recovering = self.is_recovering && !self.is_news;
        self.failures = match is_recovering {
            true => self.failures.min(policy.doublings()) >> 1,
            false => 0,
        };
        self.is_recovering = self.failures > 0;
        (self.was_answered, self.strays) = (true, STRAYS);
        self.is_news = false;
        match self.is_recovering {
            true => policy.backoff_ms(self.failures, entropy),
            false => 0,
        }
    }

    /// Nothing that failed before counts.
    pub(super) fn wake(&mut self) {
        *self = Self::new();
    }

    /// So says somebody who may say so often: if the next attempt gets a response, nothing that failed before counts.
    pub(super) fn link_is_back(&mut self) {
        self.is_news = true;
    }
}
