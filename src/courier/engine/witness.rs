//! The witness: a canary that was accepted, and what becomes of those of its jobs that it overtook, or that were denied right before.
//!
//! Somebody who asks for credentials after each pause denies whatever comes first, which is the suspect after each hold, and never the canary
//! right after it. So a suspect that was denied is tried again right after the canary, and only if it fails there, too, that counts.
//!
//! Of those that were overtaken, either they are bad, or the outage ended between them and the witness. So they are tried again, at once, in their
//! order: all older reports that share a job with it, or with one of these.
//!
//! ```text
//!  witness accepted ──► the oldest is tried, 1 to 4 times as drawn ── fails each time ──► that counts; 8 that count: dead letter
//!                       ▲      │                                                       │
//!                       │      └ accepted ──► it was the outage, or chance: what counted│against the older ones for this witness is taken back
//!                       └──────────────────────── the next one ◄───────────────────────┘
//! ```
//!
//! It ends when none is left, after [`AT_ONCE`] failures (checks that are denied in a row lock a key pair, so each is [`DENIED`] of these), or when
//! the next try does not come within [`RIGHT_AFTER_MS`]. So `refuse_after` witnesses show that a report is bad, by the same sum as canaries of other
//! jobs; it is a dead letter then ([`Code::Overtaken`]). If it is accepted, the witness is sent a second time, so that the service hears the newest
//! last ([`held`](super::held)).

use super::super::aside::{Aside, JobSet, Tried, Waits};
use super::super::outbox::{Disposition, Outbox, Scratch, Ticket, Waiting};
use super::super::policy::{Verdict, stray_ms};
use super::super::reason::{Cause, Reason};
use super::outcome::{Kind, drawn};
use super::steps::CourierError;
use super::{Courier, InFlight, RIGHT_AFTER_MS, Role};
use crate::code::Code;
use crate::time::MonoTime;

/// Each is tried at most so often. Servers that take turns answer well and badly by turns; whoever draws how many attempts lie between two canaries
/// is in step with none of them.
const AGAIN: u32 = 4;
/// So many failures follow one witness.
const AT_ONCE: u32 = 24;
/// One that is denied is so many of them.
const DENIED: u32 = AT_ONCE / AGAIN;

/// A report of the suspect's own jobs that was accepted, while what it overtook is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    ticket: Ticket,
    /// It went ahead of reports of its own jobs. If not, those are tried again that were denied right before.
    pub(super) is_ahead: bool,
    /// When anything was accepted last, or what is tried again failed.
    pub(super) seen_at: MonoTime,
    /// The last of the older ones that failed as often as was drawn.
    after: Option<Ticket>,
    /// How often the next one must fail.
    tries: u32,
    /// How many failures may follow.
    left: u32,
}

/// What follows a failure.
enum Next {
    /// The same once more.
    Again,
    /// It counts, and the next is tried.
    Counts,
    Over,
}

impl Witness {
    pub(super) fn new(current: &InFlight, is_ahead: bool, now: MonoTime, entropy: u64) -> Self {
        Witness {
            ticket: current.tried.ticket,
            is_ahead,
            seen_at: now,
            after: None,
            tries: tries(current, entropy),
            left: AT_ONCE,
        }
    }

    /// One that it overtook was served.
    pub(super) fn saw(&mut self, current: &InFlight, now: MonoTime, entropy: u64) {
        (self.seen_at, self.tries) = (now, tries(current, entropy));
    }

    fn failed(&mut self, current: &InFlight, kind: Kind, now: MonoTime, entropy: u64) -> Next {
        let cost = if kind == Kind::Doubtful { 1 } else { DENIED };
        self.left = self.left.saturating_sub(cost);
        self.tries = self.tries.saturating_sub(1);
        if self.tries == 0 {
            self.after = Some(current.tried.ticket);
            self.tries = tries(current, entropy);
            return Next::Counts;
        }
        match self.left {
            0 => Next::Over,
            _ => {
                // A host may call seldom.
                self.seen_at = now;
                Next::Again
            }
        }
    }
}

/// How often what a witness overtook must fail before that counts.
fn tries(current: &InFlight, entropy: u64) -> u32 {
    drawn(AGAIN, entropy, current.tried.attempts).saturating_add(1)
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// The oldest report that the witness overtook, to be tried right now. `None` if there is none any more.
    pub(super) fn overtaken(
        &mut self,
        witness: Witness,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        // What fails later may fail for another reason.
        let is_right_after = witness.left > 0 && now.since_ms(witness.seen_at) <= RIGHT_AFTER_MS;
        if is_right_after && !witness.is_ahead {
            while let Some(ticket) = self.denied_before(&witness) {
                if let Some((waiting, _)) = self.still_waits(ticket, now)? {
                    return Ok(Some(waiting));
                }
                self.gone(ticket);
            }
        } else if is_right_after {
            let jobs = self.jobs_overtaken(witness.ticket)?;
            let mut walked = witness.after;
            while let Some(waiting) = self.next_of(&jobs, walked, witness.ticket)? {
                let ticket = waiting.ticket;
                walked = Some(ticket);
                let is_settled = self.is_to_be_buried(ticket) || self.is_held(ticket);
                let is_known = self.tried(ticket);
                let is_known = is_known.is_some_and(|tried| self.is_to_rest(tried, now));
                if !is_settled && !is_known && !self.drop_superseded(ticket)? {
                    return Ok(Some(waiting));
                }
            }
        }
        self.witness = None;
        Ok(None)
    }

    /// The oldest suspect that was denied right before the witness was accepted.
    pub(super) fn denied_before(&self, witness: &Witness) -> Option<Ticket> {
        let is_it = |aside: &&Aside| {
            aside.tried.denied > 0
                && aside.failed_right_before(witness.seen_at)
                && Some(aside.tried.ticket) > witness.after
        };
        let denied = self.asides.suspects().filter(is_it);
        denied.map(|aside| aside.tried.ticket).min()
    }

    /// The jobs of a report, of all older ones that share one with it, of those that share one with these, and so on: none of them may reach the
    /// service after it.
    #[inline(never)] // as above
    fn jobs_overtaken(&mut self, newest: Ticket) -> Result<JobSet, CourierError<O::Error>> {
        let mut jobs = JobSet::EMPTY;
        self.add_jobs(&mut jobs, newest)?;
        loop {
            let before = jobs;
            let mut walked = None;
            while let Some(older) = self.next_of(&jobs, walked, newest)? {
                walked = Some(older.ticket);
                self.add_jobs(&mut jobs, older.ticket)?;
            }
            if jobs == before {
                return Ok(jobs);
            }
        }
    }

    /// One that the witness overtook failed, right after the witness was accepted.
    pub(super) fn overtaken_failed(
        &mut self,
        mut current: InFlight,
        kind: Kind,
        verdict: Verdict,
        now: MonoTime,
        entropy: u64,
    ) -> Verdict {
        let (Verdict::Again { at, reason } | Verdict::Held { until: at, reason }) = verdict else {
            return verdict;
        };
        let ticket = current.tried.ticket;
        let is_ahead = self.witness.is_some_and(|witness| witness.is_ahead);
        let next = self.witness.as_mut();
        let next = next.map_or(Next::Over, |witness| {
            witness.failed(&current, kind, now, entropy)
        });
        if matches!(next, Next::Again) {
            let at = now.plus_ms(stray_ms(entropy));
            self.arm(now, at);
            self.keep(&current, at, reason, 1);
            if let Some(aside) = self.asides.get_mut(ticket) {
                aside.failed_at = Some(now);
            }
            return Verdict::Again { at, reason };
        }
        self.arm(now, now);
        if matches!(next, Next::Counts)
            && self.is_bad_by_one_more(&mut current.tried, now)
            && let Some(overtaken) = self.bury_overtaken(current.tried, is_ahead, reason, now)
        {
            self.last_failure = Some((ticket, overtaken));
            return Verdict::Refused(overtaken);
        }
        // It rests until its own time.
        if self.asides.get(ticket).is_none() {
            self.rest(ticket, at, true);
        }
        self.keep(&current, at, reason, 1);
        verdict
    }

    /// One that witnesses overtook failed right after each of them: it becomes a dead letter. `None` if that cannot be done, nor wait to be done.
    fn bury_overtaken(
        &mut self,
        tried: Tried,
        is_overtaken: bool,
        mut reason: Reason,
        now: MonoTime,
    ) -> Option<Reason> {
        let ticket = tried.ticket;
        if is_overtaken {
            reason.cause = Cause::Failed(Code::Overtaken);
        }
        let has_place = self.asides.get(ticket).is_some() || self.asides.has_room();
        if !has_place && self.bury_now(ticket, Disposition::Refused(reason)).is_err() {
            return None;
        }
        self.bury(tried, Waits::Refusal, reason, now);
        Some(reason)
    }

    /// This one was accepted, and failed before through no fault of its own: others may have, too. What a witness overtook was even accepted right
    /// after it failed: what counted against older ones for that witness counts no more.
    pub(super) fn doubt(&mut self, accepted: &InFlight) {
        let failures = accepted.tried.attempts.saturating_sub(1);
        let ticket = accepted.tried.ticket;
        let is_overtaken = accepted.role == Role::Overtaken && failures > 0;
        let doubt = |tried: &mut Tried| {
            tried.missed = tried.missed.saturating_add(failures);
            let is_older = is_overtaken && tried.ticket < ticket;
            tried.counted = tried.counted.saturating_sub(u32::from(is_older));
        };
        let asides = self.asides.iter_mut().map(|aside| &mut aside.tried);
        asides.chain(self.tried.iter_mut()).for_each(doubt);
    }
}
