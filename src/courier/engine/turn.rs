//! Whose turn it is.
//!
//! # Order
//!
//! Reports of one job arrive in order, so who goes ahead of a report that stays behind must share no job with it, nor with another that
//! stays behind. A walk through the queue keeps the set of their jobs ([`Walk`]). A report whose jobs cannot all be told
//! ([`JobKey::ANY`](super::super::JobKey)) shares with all that have any; one whose jobs have no ids shares with none.
//!
//! Where only the latest of each job is sent, the jobs have their turns ([`round`](super::round)). Else it is the oldest's.
//!
//! # Many bad reports
//!
//! More of them than suspects can be known are passed over, and have their turn when a suspect has left. If a canary far down the queue was accepted, there
//! is a *line* before it: with as many suspects as can be known only those after the line go ahead, and in a few steps, each in the middle
//! between the line and the last that is known to be bad, the line comes to where the bad ones end.
//!
//! The set of jobs that stay behind has a fixed size. Where it would be full, and nobody could go, walks look at a part of the jobs, and after
//! each failure at the next part.

use super::super::aside::{Place, SUSPECTS, Tried, Waits, Walk, share};
use super::super::outbox::{Disposition, Outbox, Scratch, Ticket, Waiting};
use super::super::policy::Backlog;
use super::canary::Failed;
use super::steps::CourierError;
use super::{Courier, InFlight, KEPT_FOR_CANARIES, RIGHT_AFTER_MS, Role, Woken};
use crate::time::MonoTime;

/// So often a walk begins anew by another part of the jobs at the most, before something else happens.
pub(super) const PARTS: u32 = 32;

/// What to do while nothing is in flight.
pub(super) enum Choice {
    Send(InFlight),
    Wait(u64),
    Idle,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// Whose turn it is.
    pub(super) fn choose(&mut self, now: MonoTime) -> Result<Choice, CourierError<O::Error>> {
        loop {
            let waiting = self.outbox.waiting();
            let choice = self.choose_once(now)?;
            // What was dropped on the way as superseded may have stood before others.
            if matches!(choice, Choice::Send(_)) || self.outbox.waiting() == waiting {
                return Ok(choice);
            }
        }
    }

    #[inline(never)]
    fn choose_once(&mut self, now: MonoTime) -> Result<Choice, CourierError<O::Error>> {
        if self.outbox.waiting() == 0 {
            return Ok(Choice::Idle);
        }
        let wait = self.wait(now);
        if wait > 0 {
            return Ok(Choice::Wait(wait));
        }
        self.bury_again(now);
        self.note_accepted();
        if self.resting.is_some_and(|(_, until)| until <= now) {
            self.resting = None;
            self.walk = self.walk.anew();
        }
        if self.tried.wake(now) {
            self.walk = self.walk.anew();
        }
        if let Some(witness) = self.witness
            && let Some(overtaken) = self.overtaken(witness, now)?
        {
            return Ok(Choice::Send(self.chosen(overtaken, Role::Overtaken, now)));
        }
        if self.outbox.waiting() == 0 {
            return Ok(Choice::Idle);
        }
        // What is accepted much later may only mean that the service is back.
        let trial = self.on_trial;
        self.on_trial = trial.filter(|trial| now.since_ms(trial.failed_at) <= RIGHT_AFTER_MS);
        if let Some(trial) = self.on_trial
            && let Some(canary) = self.canary(trial, now)?
        {
            return Ok(Choice::Send(canary));
        }
        while let Some(suspect) = self.due(now) {
            if let Some(waiting) = self.still_waits(suspect, now)? {
                return Ok(Choice::Send(InFlight {
                    tried: waiting.1,
                    len: waiting.0.len,
                    role: Role::Suspect,
                    sent_at: now,
                    woken: Woken::Nothing,
                }));
            }
            self.gone(suspect);
        }
        let suspects = self.asides.suspects().count();
        let stopped = (suspects > 0 && self.outage) || !self.asides.has_room();
        let kept = if suspects > 0 { KEPT_FOR_CANARIES } else { 0 };
        let is_short = self.outbox.room_ahead() <= kept;
        if !stopped
            && let Some(waiting) = self.ordinary(is_short, now)?
            && (!is_short || self.needs_no_room(waiting.ticket)?)
        {
            return Ok(Choice::Send(self.chosen(waiting, Role::Ordinary, now)));
        }
        let rested = self.resting.map(|(_, until)| until);
        let place = match stopped {
            true => Place::None,
            false => self.place(now),
        };
        let first_due = self.asides.iter().map(|aside| aside.due);
        let first_due = first_due
            .chain(rested)
            .chain(self.tried.first_rested(place))
            .min();
        Ok(match first_due {
            Some(due) => Choice::Wait(due.since_ms(now).max(1)),
            None if self.count_held() == 0 => Choice::Idle,
            None => Choice::Wait(self.policy.backoff_ms(0, 0)),
        })
    }

    /// The suspect to try now: the oldest of those whose time has come.
    pub(super) fn due(&self, now: MonoTime) -> Option<Ticket> {
        let due = self.asides.suspects().filter(|aside| aside.due <= now);
        due.map(|aside| aside.tried.ticket).min()
    }

    /// A suspect, unless it was superseded meanwhile.
    pub(super) fn still_waits(
        &mut self,
        ticket: Ticket,
        now: MonoTime,
    ) -> Result<Option<(Waiting, Tried)>, CourierError<O::Error>> {
        let Some(waiting) = self.find(ticket)? else {
            return Ok(None);
        };
        let is_due = self
            .asides
            .get(ticket)
            .is_some_and(|aside| aside.due <= now);
        if (is_due || !self.is_left_alone(ticket)) && self.drop_superseded(ticket)? {
            return Ok(None);
        }
        let tried = self.asides.get(ticket).map(|aside| aside.tried);
        Ok(tried.map(|tried| (waiting, tried)))
    }

    pub(super) fn chosen(&mut self, waiting: Waiting, role: Role, now: MonoTime) -> InFlight {
        let known = self.asides.get(waiting.ticket).map(|aside| aside.tried);
        let tried = known.or_else(|| self.tried.take(waiting.ticket));
        let tried = tried.unwrap_or_else(|| Tried {
            doubtful: self.failed_before(waiting.ticket),
            ..Tried::new(waiting.ticket, now)
        });
        InFlight {
            tried: Tried {
                rests: None,
                ..tried
            },
            len: waiting.len,
            role,
            sent_at: now,
            woken: Woken::Nothing,
        }
    }

    /// Whether somebody asked for that, until it is due.
    fn is_left_alone(&self, ticket: Ticket) -> bool {
        let aside = self.asides.get(ticket);
        aside.is_some_and(|aside| aside.is_asked && aside.waits == Waits::Attempt)
    }

    /// Whether one suspect more can be known.
    fn place(&self, now: MonoTime) -> Place {
        match self.asides.has_room() {
            true if self.asides.suspects().count() < SUSPECTS => Place::Free,
            _ if self.may_rest(now).is_some() => Place::Another,
            _ => Place::None,
        }
    }

    /// The suspect that can as well rest: all that is missing is the time.
    fn may_rest(&self, now: MonoTime) -> Option<Ticket> {
        let suspects = self.asides.suspects().map(|aside| &aside.tried);
        let known = suspects.filter(|tried| self.is_to_rest(tried, now));
        let last = known.max_by_key(|tried| tried.since);
        last.filter(|_| self.tried.has_room())
            .map(|tried| tried.ticket)
    }

    /// Makes place for one suspect more; `false` if all are needed.
    pub(super) fn make_place(&mut self, now: MonoTime) -> bool {
        let place = self.place(now);
        if place == Place::Another
            && let Some(ticket) = self.may_rest(now)
            && let Some(aside) = self.asides.get(ticket).copied()
        {
            self.asides.remove(ticket);
            self.tried.put(Tried {
                rests: Some(aside.due),
                ..aside.tried
            });
        }
        place != Place::None
    }

    /// What is known of a report that is not in flight.
    pub(super) fn tried(&self, ticket: Ticket) -> Option<&Tried> {
        let aside = self.asides.get(ticket).map(|aside| &aside.tried);
        aside.or_else(|| self.tried.get(ticket))
    }

    /// Whether it must be known of each report how often it was tried.
    pub(super) const fn has_budget(&self) -> bool {
        self.policy.max_attempts.is_some() || self.policy.max_time_ms.is_some()
    }

    /// The next report whose turn it is, past those that stepped aside.
    fn ordinary(
        &mut self,
        is_short: bool,
        now: MonoTime,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        if self.has_budget() {
            self.walk = self.walk.anew();
        }
        let place = self.place(now);
        let is_full = place == Place::None;
        let has_woken = !is_full && self.tried.wake_oldest(place, now);
        if has_woken || (!is_full && self.line.is_some()) {
            // Those before the line have their turn.
            self.walk = self.walk.anew();
        }
        if is_full && let Some(found) = self.between()? {
            return Ok(Some(found));
        }
        let line = self.line.filter(|_| is_full);
        let is_in_turn =
            self.policy.backlog == Backlog::LatestPerJob && line.is_none() && !is_short;
        if is_in_turn && let Some(found) = self.noted_turn()? {
            return Ok(Some(found));
        }
        let mut walk = self.walk;
        let mut found = self.next_behind(&mut walk, line)?;
        for _ in 0..PARTS {
            if found.is_some() || !self.goes_on(&mut walk) {
                break;
            }
            found = self.next_behind(&mut walk, line)?;
        }
        self.walk = walk;
        if !is_full && found.is_none_or(|found| self.line.is_some_and(|line| found.ticket > line)) {
            (self.line, self.bad) = (None, None);
        }
        match found {
            Some(first) if is_in_turn => self.in_turn(walk, first).map(Some),
            found => Ok(found),
        }
    }

    /// A walk came to its end. Whether it goes on from the start, by another part of the jobs.
    pub(super) fn goes_on(&mut self, walk: &mut Walk) -> bool {
        let Some(other) = walk.by_another_part() else {
            return false;
        };
        (self.walk, *walk) = (other, other);
        true
    }

    /// The one in the middle between the last that is known to be bad and the line: in a few steps the line is where the bad ones end.
    pub(super) fn between(&mut self) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let (Some(bad), Some(line)) = (self.bad, self.line)
            && line.0 > bad.0.saturating_add(1)
        {
            let middle = Ticket(bad.0.midpoint(line.0));
            let found = self.next_behind(&mut { self.walk.anew() }, Some(middle))?;
            if let Some(found) = found.filter(|found| found.ticket <= line) {
                return Ok(Some(found));
            }
            self.draw_line(middle);
        }
        self.bad = None;
        Ok(None)
    }

    pub(super) fn draw_line(&mut self, line: Ticket) {
        self.line = Some(line);
        self.walk = self.walk.anew();
    }

    /// Walks on to the next report after the place `after` that shares no job with those that stay behind.
    pub(super) fn next_behind(
        &mut self,
        walk: &mut Walk,
        after: Option<Ticket>,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let Some(found) = self.next_on(walk, &mut None)? {
            if after.is_none_or(|after| found.ticket > after) {
                return Ok(Some(found));
            }
            self.pass(walk, found.ticket)?;
        }
        Ok(None)
    }

    /// Walks on to the next report that shares no job with those that stay behind.
    ///
    /// Or, for a suspect that failed, to the next that may be its own canary: then the suspect does not count among those that stay behind.
    #[inline(never)]
    pub(super) fn next_on(
        &mut self,
        walk: &mut Walk,
        failed: &mut Option<Failed<'_>>,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let Some(waiting) = self.outbox.next(walk.after)? {
            let ticket = waiting.ticket;
            let waits = self.asides.get(ticket).map(|aside| aside.waits);
            if self.is_held(ticket) {
                match failed.is_none() && self.is_ahead(ticket) {
                    true => self.pass(walk, ticket)?,
                    false => walk.after = Some(ticket),
                }
            } else if !self.is_left_alone(ticket) && self.drop_superseded(ticket)? {
                if waits.is_some() {
                    // Its jobs are free.
                    *walk = walk.anew();
                }
            } else if self.may_go(walk, ticket, waits, failed)? {
                return Ok(Some(waiting));
            }
        }
        Ok(None)
    }

    /// Whether it is this one's turn; if not, it is passed over.
    #[inline(never)] // its keys must not lie on the stack all the time
    pub(super) fn may_go(
        &mut self,
        walk: &mut Walk,
        ticket: Ticket,
        waits: Option<Waits>,
        failed: &mut Option<Failed<'_>>,
    ) -> Result<bool, CourierError<O::Error>> {
        if waits.is_some_and(|waits| waits != Waits::Attempt) {
            walk.after = Some(ticket);
            return Ok(false);
        }
        let keys = self.outbox.job_keys(ticket)?;
        let is_free = !walk.jobs.has_one_of(&keys);
        let may_go = match failed {
            None => {
                let rests = self.resting.is_some_and(|(last, _)| ticket <= last);
                let rests = rests || self.tried.rests(ticket);
                waits.is_none() && !rests
            }
            Some(failed) => {
                failed.is_blocked |= !is_free;
                if ticket == failed.suspect && is_free {
                    walk.after = Some(ticket);
                    return Ok(false);
                }
                let tried = self.tried.get(ticket);
                let rests = tried.is_some_and(|tried| tried.rests > Some(failed.now));
                let follows = match failed.own {
                    Some(own) => {
                        waits.is_none() && (share(own, &keys) || failed.ahead.has_one_of(&keys))
                    }
                    None => self.asides.get(ticket).is_none_or(|a| a.due <= failed.now),
                };
                follows && !rests
            }
        };
        if !is_free || !may_go {
            walk.pass(ticket, &keys);
            return Ok(false);
        }
        Ok(true)
    }

    /// Drops a report that newer ones supersede, if the policy says so. Whether it did.
    #[inline(never)]
    pub(super) fn drop_superseded(
        &mut self,
        ticket: Ticket,
    ) -> Result<bool, CourierError<O::Error>> {
        if self.policy.backlog == Backlog::KeepAll || !self.outbox.is_superseded(ticket)? {
            return Ok(false);
        }
        let when_full = self.policy.when_letters_full;
        let disposition = match self.was_accepted(ticket) {
            true => Disposition::Delivered,
            false => Disposition::Superseded,
        };
        let failed = self.tried(ticket).map_or(0, |tried| tried.doubtful);
        if failed > 0 {
            let job = self.first_job(ticket)?;
            self.failed_jobs.put(job, failed);
        }
        self.outbox.settle(ticket, disposition, &[], when_full)?;
        self.gone(ticket);
        Ok(true)
    }

    /// How often in a row the reports failed that this one superseded.
    #[inline(never)] // as above
    fn failed_before(&mut self, ticket: Ticket) -> u32 {
        let job = self.first_job(ticket);
        job.map_or(0, |job| self.failed_jobs.take(job))
    }

    /// Whether it is the oldest, or stands right beside one that is settled.
    pub(super) fn needs_no_room(&mut self, ticket: Ticket) -> Result<bool, CourierError<O::Error>> {
        let Some(before) = ticket.0.checked_sub(2).map(Ticket) else {
            return Ok(true);
        };
        let is_it = |found: Option<Waiting>| found.is_none_or(|found| found.ticket >= ticket);
        if is_it(self.outbox.next(None)?) || is_it(self.outbox.next(Some(before))?) {
            return Ok(true);
        }
        let next = self.outbox.next(Some(ticket))?;
        Ok(next.is_some_and(|next| next.ticket.0 > ticket.0.saturating_add(1)))
    }

    #[inline(never)] // as above
    pub(super) fn pass(
        &mut self,
        walk: &mut Walk,
        ticket: Ticket,
    ) -> Result<(), CourierError<O::Error>> {
        walk.pass(ticket, &self.outbox.job_keys(ticket)?);
        Ok(())
    }

    /// How long to wait.
    pub(super) fn wait(&mut self, now: MonoTime) -> u64 {
        self.see_clock(now);
        self.not_before.since_ms(now)
    }

    /// A clock that went back waits no longer than was meant, and counts what has passed.
    pub(super) fn see_clock(&mut self, now: MonoTime) {
        let sent_at = self.current.map(|current| current.sent_at);
        let latest = sent_at.unwrap_or(now).max(self.armed);
        let back = latest.since_ms(now);
        if back == 0 {
            return;
        }
        let set_back = |at: &mut MonoTime| *at = at.minus_ms(back);
        for aside in self.asides.iter_mut() {
            set_back(&mut aside.due);
            aside.failed_at.iter_mut().for_each(set_back);
            set_back(&mut aside.tried.first);
            set_back(&mut aside.tried.since);
        }
        for tried in self.tried.iter_mut() {
            set_back(&mut tried.first);
            set_back(&mut tried.since);
            tried.rests.iter_mut().for_each(set_back);
        }
        if let Some(current) = &mut self.current {
            set_back(&mut current.sent_at);
            set_back(&mut current.tried.first);
            set_back(&mut current.tried.since);
        }
        if let Some(trial) = &mut self.on_trial {
            set_back(&mut trial.failed_at);
        }
        if let Some(witness) = &mut self.witness {
            set_back(&mut witness.seen_at);
        }
        if let Some((_, until)) = &mut self.resting {
            set_back(until);
        }
        set_back(&mut self.accepted_at);
        self.back_at.iter_mut().for_each(set_back);
        set_back(&mut self.not_before);
        set_back(&mut self.armed);
    }
}
