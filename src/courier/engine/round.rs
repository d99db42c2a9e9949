//! Whose turn it is where only the latest of each job is sent.
//!
//! The jobs have their turns one after the other, from the greatest id down. By their places in the queue some would never have their turn on a
//! slow link, since a newer report comes after all others each time, and a job whose reports are bad would have all attempts. Upwards, new jobs,
//! whose ids are greater, could come before all others for ever.
//!
//! Who has the next turn only a walk past all that wait can tell, so each walk notes the next few turns.
//!
//! A report that failed may be superseded before it is tried again. The newer one goes on counting where that ended, or a job that always fails
//! would never have a suspect, and hold up all others each time. If somebody asked for a wait, the newer one waits for its end, too.

use super::super::aside::Walk;
use super::super::outbox::{Outbox, Scratch, Ticket, Waiting};
use super::Courier;
use super::outcome::drawn;
use super::steps::CourierError;
use crate::small;

/// How many turns are noted at once.
pub(super) const TURNS: usize = small::TURNS;

impl<O: Outbox, B: Scratch> Courier<O, B> {
    /// Of those that may go, the one whose job follows that of the one sent last.
    #[inline(never)]
    pub(super) fn in_turn(
        &mut self,
        from: Walk,
        first: Waiting,
    ) -> Result<Waiting, CourierError<O::Error>> {
        let (last, job_of_last) = self.turn;
        let (mut walk, mut next) = (from, Some(first));
        // How far after the last, the nearest first.
        let mut nearest: heapless::Vec<(u32, u64, Ticket), TURNS> = heapless::Vec::new();
        while let Some(waiting) = next {
            let job = self.first_job(waiting.ticket)?;
            let after = match last {
                // Nobody was sent: whoever starts anew all the time must not serve the same ones each time.
                Ticket(0) => drawn(u32::MAX, job_of_last as u64, job as u32).into(),
                _ => (job_of_last as u64)
                    .wrapping_sub(job as u64)
                    .wrapping_sub(1),
            };
            // Of those without an id one has its turn in each round.
            let rounds = nearest.iter().filter(|noted| noted.1 == after).count();
            let mut noted = (rounds as u32, after, waiting.ticket);
            for other in &mut nearest {
                if noted < *other {
                    core::mem::swap(other, &mut noted);
                }
            }
            let _ = nearest.push(noted);
            self.pass(&mut walk, waiting.ticket)?;
            next = self.next_on(&mut walk, &mut None)?;
        }
        self.turns.clear();
        for (_, _, ticket) in nearest.iter().rev() {
            let _ = self.turns.push(*ticket);
        }
        let found = self.turns.pop().unwrap_or(first.ticket);
        if last == Ticket(0) {
            self.turns.clear();
        }
        self.turn = (found, self.first_job(found)?);
        Ok(self.find(found)?.unwrap_or(first))
    }

    /// The next in turn, if that is known: the last one as long as it waits, and then who was noted. They keep their places in the order of their
    /// jobs, since whatever came meanwhile is newer. `None` once one of them waits no more, since then a newer one may have its turn.
    pub(super) fn noted_turn(&mut self) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let (last, _) = self.turn;
        if let Some(waiting) = self.goes_still(last)? {
            return Ok(Some(waiting));
        }
        if let Some(ticket) = self.turns.pop()
            && let Some(waiting) = self.goes_still(ticket)?
        {
            self.turn = (ticket, self.first_job(ticket)?);
            return Ok(Some(waiting));
        }
        self.turns.clear();
        Ok(None)
    }

    fn goes_still(&mut self, ticket: Ticket) -> Result<Option<Waiting>, CourierError<O::Error>> {
        let Some(waiting) = self.find(ticket)? else {
            return Ok(None);
        };
        let is_aside = self.asides.get(ticket).is_some();
        if is_aside || self.is_held(ticket) || self.drop_superseded(ticket)? {
            return Ok(None);
        }
        let may_go = self.may_go(&mut { Walk::START }, ticket, None, &mut None)?;
        Ok(may_go.then_some(waiting))
    }

    #[inline(never)] // its keys must not lie on the stack all the time
    pub(super) fn first_job(&mut self, ticket: Ticket) -> Result<i64, CourierError<O::Error>> {
        let keys = self.outbox.job_keys(ticket)?;
        Ok(keys.first().map_or(0, |key| key.job_id))
    }
}
