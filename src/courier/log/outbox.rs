//! The outbox over two logs: one for what waits, one for the dead letters.

use super::super::outbox::{
    Counters, DeadLetter, Disposition, Forget, JobKeys, Outbox, OutboxError, Ticket, Waiting,
    WhenLettersFull,
};
use super::letters::Letters;
use super::live::{Durability, Live, RESERVED};
use super::open::Votes;
use super::record::{Counter, LETTER_EXPIRED, Meta, RecordHeader};
use super::recover::Finished;
use super::storage::Storage;
use crate::time::{MonoTime, WallTime};

/// An outbox over two logs. `MAX` is the most segments of each, one more than a full log has: compacting needs it.
///
/// When full, the reports whose every job has a newer entry are dropped, but for final states that only non-final ones follow.
#[derive(Debug)]
pub struct LogOutbox<L, D, const MAX: usize> {
    live: Live<L, MAX>,
    letters: Letters<D, MAX>,
    /// Tickets below `live.state.reserved` may be given out.
    is_reserved: bool,
    /// So many were since the letters could not be told; 0 if they say it.
    untold: u32,
    /// Something was written since it was opened. Who only looks leaves things as they are.
    is_touched: bool,
}

impl<L, D, const MAX: usize> LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    /// Opens the logs on two storages, whatever a crash has left there. `entropy` is a random number: it names the spool when it is new.
    ///
    /// Dead letters that cannot be read now stop nothing: it is tried again when one is to be written.
    pub fn open(
        live: L,
        dead: D,
        durability: Durability,
        entropy: u64,
    ) -> Result<Self, OutboxError<L::Error>> {
        let mut this = Self::unopened(live, dead, durability);
        this.reopen(entropy)?;
        Ok(this)
    }

    /// Not open yet, for a place where it is to stay: [`reopen`](Self::reopen) there takes less stack than [`open`](Self::open).
    pub fn unopened(live: L, dead: D, durability: Durability) -> Self {
        LogOutbox {
            live: Live::new(live, durability),
            letters: Letters::new(dead),
            is_reserved: false,
            untold: 0,
            is_touched: false,
        }
    }

    /// Opens one that was made [`unopened`](Self::unopened), once, before anything else.
    pub fn reopen(&mut self, entropy: u64) -> Result<(), OutboxError<L::Error>> {
        let this = self;
        let mut votes = Votes::default();
        this.live.segments.survey(&mut votes)?;
        // Letters that cannot be read now are looked at again later.
        let surveyed = this.letters.segments.survey(&mut votes);
        if let Err(error @ OutboxError::OtherVersion(_)) = surveyed {
            return Err(error);
        }
        this.letters.was_tried = surveyed.is_err();
        let spool = votes.winner().unwrap_or(entropy | 1);
        this.live.segments.load(spool)?;
        let loaded = surveyed.and_then(|()| this.letters.load(spool));
        if let Err(error @ OutboxError::TooManySegments) = loaded {
            return Err(error);
        }
        this.live.state.reserved = this.letters.state.reserved;
        let submitted = this.letters.state.get(Counter::SUBMITTED_BY_THEN);
        this.live.state.raise(Counter::Submitted, submitted);
        // A disk that is away says nothing of what is on it.
        this.live.recover(loaded.is_ok());
        this.live.segments.check_alive()?;
        this.letters.raise_reserved(this.live.state.reserved);
        this.settle_before_counting();
        this.live.segments.check_alive()?;
        this.balance_letters();
        this.is_reserved =
            !this.live.is_clean() && this.live.state.next_seq < this.live.state.reserved;
        // If it cannot be made durable now, the next flush tries again.
        let _ = this.live.sync();
        Ok(())
    }

    /// Reports whose letter is there do not wait: a crash came after the letter was durable and before its report was settled. `settle` settles one;
    /// `false` if it cannot, and then it waits. Gives how many wait although their letter is there.
    fn settle_by_letters(
        &mut self,
        settle: &mut dyn FnMut(&mut Self, &RecordHeader) -> bool,
    ) -> u64 {
        let mut unsettled = 0u64;
        let mut at = self.letters.segments.start();
        while let Some((found, is_whole)) = self.letters.next_written(at) {
            let header = found.header;
            at = self.letters.segments.after(found.place, &header);
            if !self.live.may_wait(header.seq) {
                // Something else became of its report after the cut.
                if !is_whole && self.letters.is_cut(&found) {
                    self.letters.skip_cut(header.count);
                }
                continue;
            }
            if !is_whole {
                self.letters.skip_cut(header.count);
            } else if !self.letters.are_durable || !settle(self, &header) {
                self.letters
                    .note_unconfirmed(header.seq, header.count, true);
                let waits = self.live.find(header.seq).is_some();
                unsettled = unsettled.saturating_add(u64::from(waits));
            }
        }
        unsettled
    }

    /// At the start, before what waits is counted.
    fn settle_before_counting(&mut self) {
        let mut finished = Finished::default();
        let unsettled = self.settle_by_letters(&mut |this, header| {
            if this.live.settle_by_letter(header.seq) {
                let is_expired = u64::from(header.detail == LETTER_EXPIRED);
                finished.expired = finished.expired.saturating_add(is_expired);
                finished.all = finished.all.saturating_add(1);
            }
            true
        });
        // What waits was neither refused nor expired so far.
        let settled = self.letters.ever().saturating_sub(unsettled);
        self.live.balance(settled, finished);
    }

    /// The same for letters that could not be read at the start. What is in flight goes on as it is.
    fn settle_after_counting(&mut self) {
        self.settle_by_letters(&mut |this, header| {
            let counter = match header.detail {
                LETTER_EXPIRED => Counter::Expired,
                _ => Counter::Refused,
            };
            !this.live.is_pinned(header.seq) && this.live.settle(header.seq, counter).is_ok()
        });
    }

    /// Counts the letters that are lost: as many reports became letters as were refused or expired.
    fn balance_letters(&mut self) {
        if self.letters.is_loaded() {
            let state = &self.live.state;
            let refused = state.get(Counter::Refused);
            self.letters
                .balance(refused.saturating_add(state.get(Counter::Expired)));
        }
    }

    /// How many segments were found at the start that are not of this spool, or cannot be read. They were left alone.
    pub fn foreign_segments(&self) -> u64 {
        let letters = self.letters.segments.foreign;
        self.live.segments.foreign.saturating_add(letters)
    }

    /// Sees to it that the next ticket is one that was not given out before, whatever becomes of the segments of what waits.
    fn reserve(&mut self) -> Result<(), OutboxError<L::Error>> {
        if self.untold > 0 {
            self.untold = self.untold.saturating_add(1);
            // Now and then, since on a full device it takes its time.
            if self.untold.is_power_of_two() && self.tell_letters().is_ok() {
                self.untold = 0;
            }
        }
        if self.is_reserved && self.live.state.next_seq < self.live.state.reserved {
            return Ok(());
        }
        // If that fails, the other log must do.
        let _ = self.load_letters();
        let state = &mut self.live.state;
        let before = state.reserved;
        // More than ever before: whoever opens it sees that tickets were given out after it was closed.
        state.reserved = state.next_seq.max(before).saturating_add(RESERVED);
        let told = self.tell_letters();
        self.untold = u32::from(told.is_err());
        // The other log is as good, as long as it is there. It says so, too, where reports are not durable before they have their ticket: nothing
        // else would tell of those that a power cut took.
        if told.is_err() || self.live.durability != Durability::Each {
            let also = self.live.note_reserved();
            told.or(also).inspect_err(|_| {
                self.live.state.reserved = before;
            })?;
        }
        self.is_reserved = true;
        Ok(())
    }

    /// Says in the letters which tickets may be given out, and how many reports were submitted.
    fn tell_letters(&mut self) -> Result<(), OutboxError<L::Error>> {
        let state = &self.live.state;
        let (reserved, submitted) = (state.reserved, state.get(Counter::Submitted));
        self.letters.note_tickets(reserved, submitted)
    }

    /// Letters that could not be read when it was opened are read now.
    fn load_letters(&mut self) -> Result<(), OutboxError<L::Error>> {
        if self.letters.is_loaded() {
            return Ok(());
        }
        self.letters.load(self.live.segments.spool)?;
        let (state, letters) = (&mut self.live.state, &self.letters.state);
        if state.reserved < letters.reserved {
            // They know of tickets that were given out.
            state.next_seq = state.next_seq.max(letters.reserved);
            state.reserved = letters.reserved;
            self.is_reserved = false;
        }
        self.letters.raise_reserved(state.reserved);
        self.settle_after_counting();
        self.balance_letters();
        Ok(())
    }
}

impl<L, D, const MAX: usize> Outbox for LogOutbox<L, D, MAX>
where
    L: Storage,
    D: Storage<Error = L::Error>,
{
    type Error = L::Error;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, OutboxError<L::Error>> {
        if !self.letters.could_hold(report.len()) {
            return Err(OutboxError::TooLarge);
        }
        self.is_touched = true;
        self.reserve()?;
        self.live.append(jobs, report, now, wall)
    }

    fn next(&mut self, after: Option<Ticket>) -> Result<Option<Waiting>, OutboxError<L::Error>> {
        if after.is_none() {
            // They may say that the front is a dead letter. While they cannot be read, what waits goes on.
            let _ = self.load_letters();
        }
        self.live.next(after)
    }

    fn job_keys(&mut self, ticket: Ticket) -> Result<JobKeys, OutboxError<L::Error>> {
        Ok(self.live.job_keys(ticket.0))
    }

    fn read(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, OutboxError<L::Error>> {
        self.live.read(ticket.0, buffer)
    }

    fn is_superseded(&mut self, ticket: Ticket) -> Result<bool, OutboxError<L::Error>> {
        self.live.is_superseded(ticket.0)
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<L::Error>> {
        self.is_touched = true;
        let (counter, reason) = match disposition {
            Disposition::Delivered => (Counter::Delivered, None),
            Disposition::Superseded => {
                // What supersedes it must last as long as it would have.
                self.live.sync_reports()?;
                (Counter::Superseded, None)
            }
            Disposition::Corrupt => (Counter::Corrupt, None),
            Disposition::Refused(reason) => (Counter::Refused, Some(reason)),
            Disposition::Expired(reason) => (Counter::Expired, Some(reason)),
        };
        if let Some(reason) = reason {
            if !self.live.waits(ticket.0) {
                return Ok(());
            }
            self.load_letters()?;
            // The letter must not outlast what it is of, and what counts it.
            self.live.sync_reports()?;
            // Its bytes are here, even if the log cannot read them any more.
            let found = self.live.find(ticket.0);
            let meta = found.map_or(Meta::default(), |(place, _)| {
                self.live.segments.meta_at(place)
            });
            let expired = counter == Counter::Expired;
            self.letters
                .add(ticket.0, expired, &reason, &meta, report, when_full)?;
        } else {
            self.letters.withdraw(ticket.0);
        }
        self.live.settle(ticket.0, counter).map(|_| ())
    }

    fn room_ahead(&self) -> usize {
        self.live.ahead.room()
    }

    fn pin(&mut self, ticket: Option<Ticket>) {
        self.live.pin(ticket.map_or(0, |ticket| ticket.0));
    }

    fn waiting(&self) -> u64 {
        self.live.waiting
    }

    fn counters(&self) -> Counters {
        Counters {
            letters: self.letters.count,
            letters_dropped: self.letters.dropped(),
            ..self.live.state.counters()
        }
    }

    fn flush(&mut self) -> Result<(), OutboxError<L::Error>> {
        self.live.flush()?;
        self.letters.make_durable()
    }

    fn close(&mut self) -> Result<(), OutboxError<L::Error>> {
        if !self.is_touched {
            return Ok(());
        }
        let was_clean = self.live.is_clean();
        self.live.close()?;
        self.is_reserved = false;
        if was_clean {
            return self.letters.make_durable();
        }
        // If there is no room for that, the other log says it.
        self.tell_letters().or_else(|_| self.letters.make_durable())
    }

    fn tick(&mut self, now: MonoTime) -> Result<(), OutboxError<L::Error>> {
        self.live.tick(now)
    }

    fn dead_letter(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<DeadLetter>, OutboxError<L::Error>> {
        self.load_letters()?;
        let mut after = after;
        while let Some(found) = self.letters.next(after) {
            if let Some(letter) = self.letters.describe(&found) {
                return Ok(Some(letter));
            }
            after = Some(Ticket(found.header.seq));
        }
        Ok(None)
    }

    fn find_dead_letter(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<DeadLetter>, OutboxError<L::Error>> {
        self.load_letters()?;
        let found = self.letters.look_up(ticket)?;
        Ok(found.and_then(|found| self.letters.describe(&found)))
    }

    fn read_dead_letter(
        &mut self,
        ticket: Ticket,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<L::Error>> {
        self.load_letters()?;
        self.letters.read(ticket, buffer)
    }

    fn may_forget(&mut self, ticket: Ticket) -> Result<(), OutboxError<L::Error>> {
        self.load_letters()?;
        self.letters.may_forget(ticket)
    }

    fn forget_dead_letters(&mut self, which: Forget) -> Result<(), OutboxError<L::Error>> {
        self.is_touched = true;
        self.load_letters()?;
        // That its report is settled must not hang on the letter alone.
        self.live.flush()?;
        if !self.live.is_noted {
            // There was no room but what is set aside. Without any its report is sent again after a restart.
            let _ = self.live.note_durably();
        }
        self.letters.forget(which)
    }

    fn trusted_time(&self) -> Option<WallTime> {
        let ms = i64::try_from(self.live.state.trusted_ms).ok();
        ms.filter(|ms| *ms > 0).map(WallTime::from_unix_ms)
    }

    fn note_trusted_time(&mut self, time: WallTime) {
        let ms = u64::try_from(time.unix_ms()).unwrap_or(0);
        if ms > self.live.state.trusted_ms {
            self.is_touched = true;
            self.live.state.trusted_ms = ms;
            self.live.set_unnoted();
        }
    }
}
