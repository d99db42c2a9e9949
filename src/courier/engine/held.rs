//! Reports that were accepted and are still in the outbox. They are sent again for two reasons alone.
//!
//! Most wait for room: the outbox cannot note them yet, or fails. The others went ahead of an older report of their jobs, which was tried before
//! and failed. If that one is accepted after all, the service heard an older state last, so they are sent once more. So is
//! the newest, when nothing else is there to show that the older one is bad. If that is buried, they leave.
//! While they are held, nobody overtakes them, but with the suspect they stand behind. Of those that are sent once more it stays known, as long as
//! there is a place, that they were accepted: what supersedes one then makes it delivered, not superseded.
//!
//! Of those that went ahead the newest is enough: an older one leaves whose jobs are all in a newer one.

use super::super::aside::{JobSet, Waits, covers};
use super::super::outbox::{Outbox, Scratch, Ticket, Waiting};
use super::Courier;
use super::steps::CourierError;
use crate::code::Code;

/// Accepted, and still in the outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) ticket: Ticket,
    /// An older report that waits and shares a job with it.
    pub(super) behind: Option<Ticket>,
    /// It is sent once more, like any other.
    pub(super) again: bool,
}

impl<O: Outbox, B: Scratch> Courier<O, B> {
    pub(super) fn is_held(&self, ticket: Ticket) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.ticket == ticket && !held.again)
    }

    /// Whether it was accepted before, and is sent once more.
    pub(super) fn was_accepted(&self, ticket: Ticket) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.ticket == ticket && held.again)
    }

    /// How many of them are not sent.
    pub(super) fn count_held(&self) -> usize {
        self.held.iter().filter(|held| !held.again).count()
    }

    /// Holds one that was accepted; `false` without room.
    pub(super) fn hold(&mut self, ticket: Ticket, behind: Option<Ticket>) -> bool {
        self.forget_accepted(ticket);
        if self.held.is_full()
            && let Some(other) = self.held.iter().find(|held| held.again)
        {
            let other = other.ticket;
            self.forget_accepted(other);
        }
        let held = Held {
            ticket,
            behind,
            again: false,
        };
        self.held.push(held).is_ok()
    }

    fn send_again(&mut self, ticket: Ticket) {
        let mut held = self.held.iter_mut();
        if let Some(held) = held.find(|held| held.ticket == ticket) {
            (held.behind, held.again) = (None, true);
        }
    }

    /// It left the queue.
    pub(super) fn forget_accepted(&mut self, ticket: Ticket) {
        self.held
            .retain(|held| held.ticket != ticket || !held.again);
    }

    /// Held, and if what it went ahead of is accepted, it is sent again.
    pub(super) fn is_ahead(&self, ticket: Ticket) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.ticket == ticket && held.behind.is_some())
    }

    pub(super) fn has_ahead(&self) -> bool {
        self.held.iter().any(|held| held.behind.is_some())
    }

    /// The newest that went ahead, to be sent again.
    pub(super) fn take_back_ahead(&mut self) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let ahead = self.held.iter().filter(|held| held.behind.is_some());
        let Some(newest) = ahead.map(|held| held.ticket).max() else {
            return Ok(None);
        };
        let found = self.find(newest)?;
        self.send_again(newest);
        Ok(found)
    }

    pub(super) fn is_to_be_buried(&self, ticket: Ticket) -> bool {
        let aside = self.asides.get(ticket);
        aside.is_some_and(|aside| aside.waits != Waits::Attempt)
    }

    /// A report, if it waits.
    pub(super) fn find(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let before = ticket.0.checked_sub(1).map(Ticket);
        let found = self.outbox.next(before)?;
        Ok(found.filter(|found| found.ticket == ticket))
    }

    /// Takes an accepted report out of the outbox, or holds it. If neither can be done, why: then it is sent again.
    pub(super) fn take_out(&mut self, ticket: Ticket, may_be_ahead: bool) -> Option<Code> {
        let behind = match may_be_ahead {
            true => self.older_of(ticket).ok().flatten(),
            false => None,
        };
        if behind.is_some() {
            let is_covered = self.drop_covered(ticket);
            if !is_covered.unwrap_or(false) {
                let is_held = self.hold(ticket, behind);
                return (!is_held).then_some(Code::OutboxFull);
            }
        }
        self.deliver(ticket)
    }

    /// Takes out what was held for lack of room, or stands behind nobody any more.
    pub(super) fn note_accepted(&mut self) {
        for _ in 0..self.held.len() {
            let Some(mut held) = self.held.first().copied() else {
                return;
            };
            self.held.remove(0);
            if held.again {
                let _ = self.held.push(held);
                continue;
            }
            // Of what cannot be read now it is not known.
            let went_ahead = held.behind.is_some();
            held.behind = self.still_behind(held).unwrap_or(held.behind);
            if held.behind.is_some() || self.deliver(held.ticket).is_some() {
                let _ = self.held.push(held);
            }
            if went_ahead && held.behind.is_none() {
                // Its jobs are free.
                self.walk = self.walk.anew();
            }
        }
    }

    fn still_behind(&mut self, held: Held) -> Result<Option<Ticket>, CourierError<O::Error>> {
        let Some(behind) = held.behind else {
            return Ok(None);
        };
        if self.find(behind)?.is_some() && !self.is_to_be_buried(behind) {
            return Ok(Some(behind));
        }
        self.older_of(held.ticket)
    }

    /// The oldest report that waits to be sent, is older than this one, and shares a job with it.
    fn older_of(&mut self, ticket: Ticket) -> Result<Option<Ticket>, CourierError<O::Error>> {
        let mut jobs = JobSet::EMPTY;
        self.add_jobs(&mut jobs, ticket)?;
        let mut walked = None;
        while let Some(older) = self.next_of(&jobs, walked, ticket)? {
            walked = Some(older.ticket);
            if !self.is_to_be_buried(older.ticket) {
                return Ok(walked);
            }
        }
        Ok(None)
    }

    /// The first report after the place `after` and before `end` that has one of these jobs.
    pub(super) fn next_of(
        &mut self,
        jobs: &JobSet,
        mut after: Option<Ticket>,
        end: Ticket,
    ) -> Result<Option<Waiting>, CourierError<O::Error>> {
        while let Some(found) = self.outbox.next(after)?
            && found.ticket < end
        {
            if self.has_one_of(jobs, found.ticket)? {
                return Ok(Some(found));
            }
            after = Some(found.ticket);
        }
        Ok(None)
    }

    /// Whether all its jobs are in a newer one that is held. Older ones that are held leave with the next that are noted, if all theirs are in it.
    fn drop_covered(&mut self, ticket: Ticket) -> Result<bool, CourierError<O::Error>> {
        for place in 0..self.held.len() {
            let ahead = self.held.get(place).filter(|held| held.behind.is_some());
            let Some(other) = ahead.map(|held| held.ticket) else {
                continue;
            };
            if other > ticket && self.is_covered(ticket, other)? {
                return Ok(true);
            }
            if other < ticket
                && self.is_covered(other, ticket)?
                && let Some(held) = self.held.get_mut(place)
            {
                held.behind = None;
            }
        }
        Ok(false)
    }

    #[inline(never)] // its keys must not lie on the stack all the time
    fn is_covered(&mut self, one: Ticket, by: Ticket) -> Result<bool, CourierError<O::Error>> {
        let by = self.outbox.job_keys(by)?;
        Ok(covers(&by, &self.outbox.job_keys(one)?))
    }

    /// Adds the jobs of those that went ahead.
    pub(super) fn add_ahead(&mut self, jobs: &mut JobSet) -> Result<(), CourierError<O::Error>> {
        for place in 0..self.held.len() {
            let ahead = self.held.get(place).filter(|held| held.behind.is_some());
            if let Some(ticket) = ahead.map(|held| held.ticket) {
                self.add_jobs(jobs, ticket)?;
            }
        }
        Ok(())
    }

    #[inline(never)] // as above
    pub(super) fn add_jobs(
        &mut self,
        jobs: &mut JobSet,
        ticket: Ticket,
    ) -> Result<(), CourierError<O::Error>> {
        jobs.add(&self.outbox.job_keys(ticket)?);
        Ok(())
    }

    #[inline(never)] // as above
    pub(super) fn has_one_of(
        &mut self,
        jobs: &JobSet,
        ticket: Ticket,
    ) -> Result<bool, CourierError<O::Error>> {
        Ok(jobs.has_one_of(&self.outbox.job_keys(ticket)?))
    }

    /// This one was accepted: those that went ahead of it are sent again, and those that share a job with one of these.
    pub(super) fn release(&mut self, ticket: Ticket) -> Result<(), CourierError<O::Error>> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut jobs = JobSet::EMPTY;
        self.add_jobs(&mut jobs, ticket)?;
        loop {
            let mut released = None;
            for place in 0..self.held.len() {
                let ahead = |held: &&Held| held.behind.is_some() && held.ticket > ticket;
                let ahead = self.held.get(place).filter(ahead);
                if let Some(ahead) = ahead.map(|held| held.ticket)
                    && self.has_one_of(&jobs, ahead)?
                {
                    released = Some(ahead);
                }
            }
            let Some(released) = released else {
                return Ok(());
            };
            self.add_jobs(&mut jobs, released)?;
            self.send_again(released);
            self.walk = self.walk.anew();
        }
    }
}
