//! The canary: another report, sent right after one failed, that shows whose fault that was.
//!
//! It follows at once, whatever wait the suspect was asked for: that is the suspect's own, until the canary is asked for one, too. If it is accepted
//! more than [`RIGHT_AFTER_MS`](super::RIGHT_AFTER_MS) after the failure it proves nothing: the service may only be back. It counts against all
//! suspects that failed within that time, but those that were denied are tried again first ([`witness`](super::witness)). In an outage canaries are
//! the 1st report of those that may go, then the 2nd, 4th, 8th … and the last, so that many bad ones in a row are passed in a few steps.
//!
//! Where responses are a matter of chance, a healthy report fails right before a canary is accepted as often as the other way round. So what counts is
//! weighed against how often those failed that were accepted in the end (`is_proven`). And while others are accepted one attempt in
//! four, drawn at random, has no canary, so that services that answer well and badly in turn never give one of the two all bad turns.
//!
//! # When only reports of its own jobs wait
//!
//! Then nobody may go ahead of it, and the next of these is the canary. But the older report must not reach the service after a newer one. So it
//! must have failed [`OWN_JOB`] times `refuse_after` times first; a response that no busy service gives counts for
//! [`NOT_BUSY`](super::outcome) of them. After most outages the older one is tried first, that way. If the canary is accepted, it is a *witness*
//! ([`witness`](super::witness)), and what it overtook is tried again. When all newer ones went ahead, and no other comes within an hour, or no more
//! can be remembered, the last of them is sent again as canary.
//!
//! If canaries fail, too, the next go past more and more reports that are not sent, so in the end past however many bad ones; in an outage one goes
//! past them all, too, and what it overtook is tried again anyway. Those that were tried rest until the verdict of each says so; those
//! that were denied lately are passed, since checks of credentials that fail in a row lock a key pair. Where those that would follow stand
//! after bad reports of other jobs, all reports may follow, in their order.

use super::super::aside::{Aside, JobSet, SUSPECTS, Tried, Waits, Walk};
use super::super::outbox::{JobKeys, Outbox, Scratch, Ticket, Waiting};
use super::outcome::DENIED;
use super::steps::CourierError;
use super::turn::PARTS;
use super::{Courier, HELD, InFlight, KEPT_FOR_CANARIES, Role};
use crate::time::MonoTime;

/// `refuse_after` times so many failures, and a newer report of the same job may be tried: after an hour of an outage, so that the older one is
/// heard first after all shorter ones.
const OWN_JOB: u32 = 4;
/// So many times that, where reports of other jobs may be canaries.
const BESIDE_OTHERS: u32 = 4;
/// When nothing was accepted for so many of the longest waits, nobody new may come.
const QUIET: u64 = 4;

/// A suspect that waits for what a canary says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) suspect: Ticket,
    pub(super) failed_at: MonoTime,
}

/// A suspect whose own canary is looked for.
pub(super) struct Failed<'k> {
    pub(super) suspect: Ticket,
    /// Its jobs, if only reports of these may follow.
    pub(super) own: Option<&'k JobKeys>,
    /// The jobs of those that went ahead of it before.
    pub(super) ahead: &'k JobSet,
    /// Some come after others that stay.
    pub(super) is_blocked: bool,
    pub(super) now: MonoTime,
}

/// Whom the own canary goes past, unsent.
#[derive(Clone, Copy)]
struct Past {
    count: u32,
    /// And then those that were denied lately.
    denied: bool,
}

/// The own canary.
#[derive(Default)]
struct Found {
    next: Option<Waiting>,
    passed: u32,
    /// Some come after others that stay.
    is_blocked: bool,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// The next report of the suspect's own jobs, or of any, past so many of these, and then past those that were denied lately.
    #[inline(never)] // its keys must not lie on the stack all the time
    fn own_canary(
        &mut self,
        suspect: Ticket,
        of_any: bool,
        past: Past,
        now: MonoTime,
    ) -> Result<Found, CourierError<O::Error>> {
        let own = self.outbox.job_keys(suspect)?;
        let mut ahead = JobSet::EMPTY;
        self.add_ahead(&mut ahead)?;
        let mut failed = Some(Failed {
            suspect,
            own: (!of_any).then_some(&own),
            ahead: &ahead,
            is_blocked: false,
            now,
        });
        let mut found = Found::default();
        let mut walk = self.walk.anew();
        while let Some(next) = self.next_on(&mut walk, &mut failed)? {
            if found.passed >= past.count && !(past.denied && self.was_denied(next.ticket)) {
                found.next = Some(next);
                break;
            }
            // As if it were not there.
            walk.after = Some(next.ticket);
            found.passed = found.passed.saturating_add(1);
        }
        found.is_blocked = failed.is_some_and(|failed| failed.is_blocked);
        Ok(found)
    }

    /// The report that shows whether the suspect is at fault, or everybody.
    #[inline(never)]
    pub(super) fn canary(
        &mut self,
        trial: Trial,
        now: MonoTime,
    ) -> Result<Option<InFlight>, CourierError<O::Error>> {
        let suspect = trial.suspect;
        if self.still_waits(suspect, now)?.is_none() {
            // Or the newer one that supersedes it would be its canary.
            self.gone(suspect);
        }
        let aside = self.asides.suspects();
        let aside = aside.filter(|aside| aside.tried.ticket == suspect).copied();
        let Some(aside) = { aside }.next() else {
            self.on_trial = None;
            return Ok(None);
        };
        if !self.asides.has_room() {
            return Ok(None);
        }
        let mut walk = self.walk.anew();
        let mut first = self.next_behind(&mut walk, self.line)?;
        for _ in 0..PARTS {
            if first.is_some() || !self.goes_on(&mut walk) {
                break;
            }
            first = self.next_behind(&mut walk, self.line)?;
        }
        // Those before the line may be bad, and then it looks like an outage. So somebody new is waited for.
        let waited =
            now.since_ms(self.accepted_at) >= self.policy.max_backoff_ms.saturating_mul(QUIET);
        if first.is_none() && self.line.is_some() && (self.outage || waited) {
            (self.line, self.bad) = (None, None);
            walk = self.walk.anew();
            first = self.next_on(&mut walk, &mut None)?;
        }
        let is_alone = first.is_none();
        let own_is_next = is_alone || self.own_is_next;
        // The service is not there, or it is clear by now that one may go ahead.
        let is_in_doubt = self.outage || waited || (is_alone && self.has_ahead());
        if self.may_be_overtaken(&aside, is_alone)
            && is_in_doubt
            && own_is_next
            && let Some(found) = self.deep_canary(&aside, now)?
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

    /// A newer report of its jobs may show that it is bad: it failed often, more so where others could show that, and the last ones do not rest.
    fn may_be_overtaken(&self, aside: &Aside, is_alone: bool) -> bool {
        let needed = match is_alone {
            true => self.enough(),
            false => self.enough().saturating_mul(BESIDE_OTHERS),
        };
        aside.tried.weight >= needed && self.resting.is_none()
    }

    /// How much must speak against a report before a newer one of its jobs is tried.
    pub(super) fn enough(&self) -> u32 {
        self.policy.refuse_after.max(1).saturating_mul(OWN_JOB)
    }

    /// The canary of the suspect's own jobs, the deeper in the queue the more of them failed. Where nobody can be, since other reports that fail
    /// stand before them, all others may.
    fn deep_canary(
        &mut self,
        aside: &Aside,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        if self.count_held() >= HELD {
            // No other can go ahead and be remembered.
            return self.take_back_ahead();
        }
        let (suspect, mut of_any) = (aside.tried.ticket, aside.of_any);
        let past = Past {
            count: self.depth(),
            denied: true,
        };
        let mut found = self.own_canary(suspect, of_any, past, now)?;
        if found.next.is_none()
            && found.is_blocked
            && !of_any
            && let Some(aside) = self.asides.get_mut(suspect)
        {
            aside.of_any = true;
            self.rounds = 0;
            of_any = true;
            found = self.own_canary(suspect, of_any, past, now)?;
        }
        if found.next.is_none() && aside.tried.lasts(now) {
            found.next = self.take_back_ahead()?;
        }
        if found.next.is_none()
            && let Some(count) = aside.tried.attempts.checked_rem(found.passed)
        {
            // There are not so many, or all were denied: each in its turn.
            let past = Past {
                count,
                denied: false,
            };
            found = self.own_canary(suspect, of_any, past, now)?;
        }
        Ok(found.next)
    }

    fn was_denied(&self, ticket: Ticket) -> bool {
        let tried = self.tried(ticket);
        tried.is_some_and(|tried| tried.denied >= DENIED)
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
        let mut parts = 0;
        while passed < self.passes {
            self.pass(&mut walk, found.ticket)?;
            let mut next = self.next_on(&mut walk, &mut None)?;
            if next.is_none() && parts < PARTS && self.goes_on(&mut walk) {
                (passed, parts) = (0, parts.saturating_add(1));
                next = self.next_behind(&mut walk, self.line)?;
            }
            let Some(next) = next else {
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

    /// How many reports a canary of the suspect's own jobs goes past.
    pub(super) fn depth(&self) -> u32 {
        self.rounds.checked_div(self.enough()).unwrap_or(0)
    }

    /// A canary was accepted: it counts against each suspect that failed right before.
    pub(super) fn count_against_all(&mut self, sent_at: MonoTime, now: MonoTime) {
        let failed = |aside: &Aside| aside.tried.denied == 0 && aside.failed_right_before(sent_at);
        for _ in 0..SUSPECTS {
            let Some(suspect) = self.asides.suspects().find(|aside| failed(aside)) else {
                return;
            };
            self.count_against(suspect.tried.ticket, now);
        }
    }

    fn count_against(&mut self, suspect: Ticket, now: MonoTime) {
        let Some(aside) = self.asides.get_mut(suspect) else {
            return;
        };
        aside.failed_at = None;
        let (mut tried, reason) = (aside.tried, aside.reason);
        let is_bad = self.is_bad_by_one_more(&mut tried, now);
        if let Some(aside) = self.asides.get_mut(suspect) {
            aside.tried = tried;
        }
        // It may have been dropped as superseded meanwhile.
        if is_bad && self.bury(tried, Waits::Refusal, reason, now) {
            self.tell_buried(suspect, reason);
        }
    }

    /// One more attempt counts against it. Whether it is bad: it is proven, and has been for long enough.
    pub(super) fn is_bad_by_one_more(&self, tried: &mut Tried, now: MonoTime) -> bool {
        if tried.counted == 0 {
            (tried.before, tried.missed) = (tried.attempts.saturating_sub(1), 0);
            tried.since = now;
        }
        tried.counted = tried.counted.saturating_add(1);
        self.is_proven(tried) && tried.lasts(now)
    }

    /// Whether so many attempts count against it that it is bad, and not the way.
    ///
    /// `counted` others were accepted, and these failed `missed` times before, so a part `f` of what is sent fails for no fault of its own. Were
    /// this one healthy, `n` attempts of its own all failed with the probability f^n, less than e^(-n (1 - f)). So n (1 - f) must be 3
    /// `refuse_after` times f. What was before the first that counts tells of an outage.
    pub(super) fn is_proven(&self, tried: &Tried) -> bool {
        let refuse_after = self.policy.refuse_after;
        let needed = tried.missed.saturating_mul(refuse_after.saturating_mul(3));
        let own = tried.attempts.saturating_sub(tried.before);
        tried.counted >= refuse_after && own.saturating_mul(tried.counted) >= needed
    }

    /// Whether nothing new can be found out of it now.
    pub(super) fn is_to_rest(&self, tried: &Tried, now: MonoTime) -> bool {
        self.is_proven(tried) && !tried.lasts(now)
    }
}
