//! The canary: another report, sent right after one failed, that shows whose fault that was.
//!
//! It follows at once, whatever wait the suspect was asked for: that is the suspect's own, until the canary is asked for one, too. If it is accepted
//! more than [`RIGHT_AFTER_MS`] after the failure it proves nothing: the service may only be back. It counts against all suspects that failed within
//! that time. In an outage canaries are the 1st report of those that may go, then the 2nd, 4th, 8th … and the last, so that many bad ones in a
//! row are passed in a few steps.
//!
//! Where answers are a matter of chance, a healthy report fails right before a canary is accepted as often as the other way round. So a suspect
//! is buried after [`Policy::refuse_after`](super::super::Policy::refuse_after) attempts that count only if it also failed 3 times that often for
//! each canary that failed for one that was accepted. And while others are accepted one attempt in four, drawn at random, has no canary, so that
//! services that answer well and badly in turn never give one of the two all bad turns.
//!
//! # When only reports of its own jobs wait
//!
//! Then nobody may go ahead of it, and the next of these is the canary. But the older report must not reach the service after a newer one. So it
//! must have failed [`OWN_JOB`] times `refuse_after` times first; an answer that no busy service gives counts for
//! [`NOT_BUSY`](super::outcome) of them. After most outages the older one is tried first, that way.
//!
//! If the canary is accepted, either the older report is bad, or the outage ended between the two. So the canary becomes the *witness*
//! ([`Witness`]): it stays in the queue, and what it overtook is tried again, at once, in its order: all older reports that share a job with
//! it, or with one of these. What fails `refuse_after` times now, right after the witness was accepted, is a dead letter
//! ([`Code::Overtaken`](crate::Code::Overtaken)). Is it accepted, then nothing was wrong with it, and the witness is sent a second time at the
//! end, so that the service hears the newest last.
//!
//! If the canary fails, too, the round may go on with the report after it, but only when as much speaks against each that was tried before. So a
//! round grows by one at a time, without a bound; long ones come more seldom. Those that were tried rest until the verdict of each says so. Where
//! those that would follow stand behind bad reports of other jobs, the rounds take all reports in their order. Checks of credentials that fail in
//! a row lock a key pair: for a suspect that was denied only the last of a round is tried, and after another one that is denied the round goes on
//! when the hold is over.

use super::super::aside::{Aside, JobSet, SUSPECTS, Waits, Walk};
use super::super::outbox::{JobKeys, Outbox, Ticket, Waiting};
use super::steps::{CourierError, Scratch};
use super::{Courier, InFlight, KEPT_FOR_CANARIES, RIGHT_AFTER_MS, Role};
use crate::time::MonoTime;

/// `refuse_after` times so many failures, and a newer report of the same job may be tried. A service that answers 1 of 10 at random fails
/// 128 times in a row with a probability of 2 in a million.
const OWN_JOB: u32 = 16;
/// When nothing was accepted for so many of the longest waits, nobody new may come.
const QUIET: u64 = 4;

/// A suspect that waits for what a canary says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) suspect: Ticket,
    /// When it failed, or the last canary of this round.
    pub(super) failed_at: MonoTime,
    /// Whether it was denied: then one canary follows, and no more.
    pub(super) is_denied: bool,
}

/// A report of the suspect's own jobs that was accepted, while it is found out what that says of the older ones. It still waits in the outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    pub(super) ticket: Ticket,
    /// The last one that failed in its round: these and no others may be buried for it.
    pub(super) last: Ticket,
    /// When anything was accepted last.
    pub(super) seen_at: MonoTime,
    /// An older one was accepted after it, so it must be sent again: the service must hear the newest last.
    pub(super) is_repeated: bool,
    /// The one that failed last since then, and how often in a row.
    pub(super) failing: Option<(Ticket, u32)>,
}

/// A suspect whose round it is.
pub(super) struct Failed<'k> {
    pub(super) suspect: Ticket,
    /// Its jobs, if only reports of these may follow.
    pub(super) own: Option<&'k JobKeys>,
    /// Some reports stand behind others that stay.
    pub(super) is_blocked: bool,
    pub(super) now: MonoTime,
}

/// The canaries that followed one failure of a suspect.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// How many.
    pub(super) canaries: u32,
    /// How many more may follow in this one.
    pub(super) left: u32,
    /// The last of the suspect's own jobs that failed in this one.
    pub(super) after: Option<Ticket>,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// The next report that may follow in the suspect's round: of its own jobs, or of any. And whether some stand behind others that fail.
    #[inline(never)] // as above
    pub(super) fn own_canary(
        &mut self,
        suspect: Ticket,
        of_any: bool,
        now: MonoTime,
    ) -> Result<(Option<Waiting>, bool), CourierError<O::Error>> {
        let own = self.outbox.job_keys(suspect)?;
        let mut failed = Some(Failed {
            suspect,
            own: (!of_any).then_some(&own),
            is_blocked: false,
            now,
        });
        let found = self.next_on(&mut { Walk::START }, &mut failed)?;
        Ok((found, failed.is_some_and(|failed| failed.is_blocked)))
    }

    /// The report that shows whether the suspect is at fault, or everybody.
    #[inline(never)]
    pub(super) fn canary(
        &mut self,
        trial: Trial,
        now: MonoTime,
    ) -> Result<Option<InFlight>, CourierError<O::Error>> {
        let suspect = trial.suspect;
        let aside = self.asides.suspects();
        let aside = aside.filter(|aside| aside.tried.ticket == suspect).copied();
        let Some(aside) = { aside }.next() else {
            self.on_trial = None;
            return Ok(None);
        };
        if !self.asides.has_room() {
            return Ok(None);
        }
        let mut walk = Walk::START;
        let mut first = self.next_behind(&mut walk, self.line)?;
        // Those before the line may be bad, and then it looks like an outage. So somebody new is waited for.
        let waited =
            now.since(self.accepted_at) >= self.policy.max_backoff_ms.saturating_mul(QUIET);
        if first.is_none() && self.line.is_some() && (self.outage || waited) {
            (self.line, self.bad) = (None, None);
            walk = Walk::START;
            first = self.next_on(&mut walk, &mut None)?;
        }
        let own_is_next = self.own_is_next || self.round.after.is_some();
        if self.may_be_overtaken(&aside)
            && (self.outage || waited)
            && (first.is_none() || own_is_next)
            && let Some(found) = self.next_in_round(&aside, trial, now)?
        {
            return Ok(Some(self.chosen(found, Role::OwnCanary, now)));
        }
        let Some(first) = first else {
            return Ok(None);
        };
        let is_short = self.outbox.room_ahead() <= KEPT_FOR_CANARIES;
        let found = match is_short && self.passes == 0 {
            true => self.without_room(walk, first)?,
            false => None,
        };
        let found = match found {
            Some(found) => found,
            None => self.pass_over(walk, first)?,
        };
        Ok(Some(self.chosen(found, Role::Canary, now)))
    }

    /// A newer report of its jobs may show that it is bad: it failed often, and is not resting after a round.
    pub(super) fn may_be_overtaken(&self, aside: &Aside) -> bool {
        let is_due = self.round.after.is_some() || self.resting.is_none();
        aside.tried.weight >= self.enough() && is_due
    }

    /// The oldest report that the witness overtook, to be tried right now. `None` if there is none any more, and the witness has left, or is sent
    /// again.
    pub(super) fn overtaken(
        &mut self,
        witness: Witness,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        if now.since(witness.seen_at) > RIGHT_AFTER_MS {
            // What fails now may fail for another reason.
            self.witness = None;
            return Ok(None);
        }
        let jobs = self.jobs_overtaken(witness.ticket)?;
        let mut walked = None;
        while let Some(waiting) = self.outbox.next(walked)?
            && waiting.ticket < witness.ticket
        {
            let ticket = waiting.ticket;
            walked = Some(ticket);
            let aside = self.asides.get(ticket);
            let is_to_be_buried = aside.is_some_and(|aside| aside.waits != Waits::Attempt);
            if is_to_be_buried
                || self.unnoted.contains(&ticket)
                || !self.has_one_of(&jobs, ticket)?
                || self.drop_superseded(ticket)?
            {
                continue;
            }
            return Ok(Some(waiting));
        }
        self.witness = None;
        if !witness.is_repeated {
            self.take_out(witness.ticket);
        }
        Ok(None)
    }

    /// The jobs of a report, of all older ones that share one with it, of those that share one with these, and so on: none of them may reach the
    /// service after it.
    #[inline(never)] // as above
    fn jobs_overtaken(&mut self, newest: Ticket) -> Result<JobSet, CourierError<O::Error>> {
        let mut jobs = JobSet::EMPTY;
        jobs.add(&self.outbox.job_keys(newest)?);
        loop {
            let before = jobs;
            let mut walked = None;
            while let Some(Waiting { ticket, .. }) = self.outbox.next(walked)?
                && ticket < newest
            {
                walked = Some(ticket);
                let keys = self.outbox.job_keys(ticket)?;
                if jobs.has_one_of(&keys) {
                    jobs.add(&keys);
                }
            }
            if jobs == before {
                return Ok(jobs);
            }
        }
    }

    #[inline(never)] // as above
    fn has_one_of(
        &mut self,
        jobs: &JobSet,
        ticket: Ticket,
    ) -> Result<bool, CourierError<O::Error>> {
        Ok(jobs.has_one_of(&self.outbox.job_keys(ticket)?))
    }

    /// How much must speak against a report before a newer one of its jobs is tried.
    pub(super) fn enough(&self) -> u32 {
        self.policy.refuse_after.max(1).saturating_mul(OWN_JOB)
    }

    /// Who follows in the suspect's round. Where nobody of its own jobs can, since other reports that fail stand before them, all others may.
    pub(super) fn next_in_round(
        &mut self,
        aside: &Aside,
        trial: Trial,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let (suspect, of_any) = (trial.suspect, aside.of_any);
        let (mut found, mut is_blocked) = self.own_canary(suspect, of_any, now)?;
        if trial.is_denied {
            for _ in 0..self.depth(suspect) {
                let Some(passed) = found else { break };
                self.round.after = Some(passed.ticket);
                (found, is_blocked) = self.own_canary(suspect, of_any, now)?;
            }
        }
        if found.is_none()
            && is_blocked
            && !of_any
            && let Some(aside) = self.asides.get_mut(suspect)
        {
            // From the next round on.
            (aside.of_any, aside.rounds) = (true, 0);
        }
        Ok(found)
    }

    /// The first that may be a canary, needs no room in the outbox, and did not fail lately.
    #[inline(never)]
    pub(super) fn without_room(
        &mut self,
        mut walk: Walk,
        first: Waiting,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let mut found = Some(first);
        while let Some(waiting) = found {
            let ticket = waiting.ticket;
            if !self.tried.has_failed(ticket) && self.needs_no_room(ticket)? {
                return Ok(Some(waiting));
            }
            self.pass(&mut walk, ticket)?;
            found = self.next_on(&mut walk, &mut None)?;
        }
        Ok(None)
    }

    /// From the first report that may be a canary on to the one whose turn it is.
    #[inline(never)]
    pub(super) fn pass_over(
        &mut self,
        from: Walk,
        first: Waiting,
    ) -> Result<Waiting, CourierError<O::Error>> {
        let mut walk = from;
        let mut found = first;
        let mut passed = 0u32;
        while passed < self.passes {
            self.pass(&mut walk, found.ticket)?;
            let Some(next) = self.next_on(&mut walk, &mut None)? else {
                // There are not so many: the last, and then from another place each time, so that in the end each was one.
                let place = self.passes_from.saturating_add(2);
                self.passes_from = if place > passed { 0 } else { place };
                self.passes = u32::MAX;
                self.line = None;
                break;
            };
            found = next;
            passed = passed.saturating_add(1);
        }
        Ok(found)
    }

    /// How many canaries of the suspect's own jobs may follow the first of a round.
    pub(super) fn depth(&self, suspect: Ticket) -> u32 {
        let rounds = self.asides.get(suspect).map_or(0, |aside| aside.rounds);
        rounds.checked_div(self.enough()).unwrap_or(0)
    }

    /// A canary was accepted: it counts against each suspect that failed right before.
    pub(super) fn count_against_all(&mut self, sent_at: MonoTime, now: MonoTime) {
        let failed = |aside: &Aside| {
            let failed = aside.failed_at;
            failed.is_some_and(|failed| sent_at.since(failed) <= RIGHT_AFTER_MS)
        };
        for _ in 0..SUSPECTS {
            let Some(suspect) = self.asides.suspects().find(|aside| failed(aside)) else {
                return;
            };
            self.count_against(suspect.tried.ticket, now);
        }
    }

    pub(super) fn count_against(&mut self, suspect: Ticket, now: MonoTime) {
        let Some(aside) = self.asides.get_mut(suspect) else {
            return;
        };
        aside.failed_at = None;
        aside.counted = aside.counted.saturating_add(1);
        let Aside {
            tried,
            waits,
            counted,
            missed,
            reason,
            ..
        } = *aside;
        // By chance it fails, and another one right after it does not, at most every second time. The more of the others fail, the more often it
        // must have.
        let refuse_after = self.policy.refuse_after;
        let needed = missed.saturating_mul(refuse_after.saturating_mul(3));
        let is_proven = counted >= refuse_after && tried.attempts.saturating_mul(counted) >= needed;
        if waits == Waits::Attempt && is_proven {
            // It may have been dropped as superseded meanwhile.
            if self.bury(tried, Waits::Refusal, reason, now) {
                self.tell_buried(suspect, reason);
            }
        }
    }
}
