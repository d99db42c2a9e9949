//! The dead letters, in a log: one more of them, and what makes it durable.

use super::super::outbox::{OutboxError, Ticket, WhenLettersFull};
use super::super::reason::Reason;
use super::compact::Window;
use super::letters::{Letters, Unconfirmed};
use super::record::{CHECKPOINT, Counter, Kind, LETTER_EXPIRED, Meta, NEVER_WAS, letter_prefix};
use super::segments::header_of;
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Letters<S, MAX> {
    /// Keeps a copy of a report. When this returns it is durable.
    pub(super) fn add(
        &mut self,
        seq: u64,
        expired: bool,
        reason: &Reason,
        meta: &Meta,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        if self.find(Ticket(seq)).is_some() {
            // A crash or an error came between this and what settles the report.
            self.sync()?;
            self.unconfirmed.retain(|letter| letter.ticket != seq);
            return Ok(());
        }
        // One whose write failed may be there after all.
        self.withdraw(seq);
        let prefix = letter_prefix(meta, reason);
        let size = self.record_len(prefix.len().saturating_add(report.len()));
        let with_reserve = size.saturating_add(self.reserve());
        let note = match self.is_noted {
            true => 0,
            false => self.record_len(CHECKPOINT),
        };
        if !self.segments.has_room(with_reserve.saturating_add(note)) {
            self.make_room(with_reserve, when_full)?;
        }
        if !self.is_noted {
            self.write_checkpoint()?;
        }
        let number = self.state.get(Counter::NUMBERED).saturating_add(1);
        let detail = if expired { LETTER_EXPIRED } else { 0 };
        let header = header_of(Kind::Letter, detail, seq, number);
        let place = self.segments.end_of_log();
        let written = self.segments.append(header, &prefix, report);
        let durable = match written {
            Ok(_) => self.sync(),
            Err(error) => Err(error),
        };
        // After an error it may be there or not. Its number is used up.
        self.state.set(Counter::NUMBERED, number);
        let is_there = durable.is_ok() || self.segments.is_there(place);
        if is_there {
            self.index.insert(number, seq, place);
            self.count = self.count.saturating_add(1);
            self.segments.count_live(place, size, true);
        } else {
            self.skip();
            // If only the read failed it may be there, and must not be listed.
            self.forget_in_memory(number, false);
        }
        if durable.is_err() {
            self.note_unconfirmed(seq, number, is_there);
        }
        durable
    }

    pub(super) fn sync(&mut self) -> Result<(), OutboxError<S::Error>> {
        let synced = self.segments.sync();
        self.check_unconfirmed(synced)
    }

    /// A sync that fails may throw away letters that were there after one that failed before.
    pub(super) fn check_unconfirmed(
        &mut self,
        synced: Result<(), OutboxError<S::Error>>,
    ) -> Result<(), OutboxError<S::Error>> {
        for index in 0..self.unconfirmed.len() {
            let letter = self.unconfirmed.get(index).filter(|letter| letter.is_there);
            let Some(letter) = letter.filter(|_| synced.is_err()).copied() else {
                continue;
            };
            self.segments.read_failed = false;
            let is_accounted_for =
                self.is_forgotten(letter.number) || self.find(Ticket(letter.ticket)).is_some();
            if is_accounted_for || self.segments.read_failed {
                continue;
            }
            self.count = self.count.saturating_sub(1);
            self.skip();
            self.forget_in_memory(letter.number, false);
            if let Some(letter) = self.unconfirmed.get_mut(index) {
                letter.is_there = false;
            }
        }
        synced
    }

    /// It is not known whether the letter of this report is durable, so the report waits.
    pub(super) fn note_unconfirmed(&mut self, ticket: u64, number: u64, is_there: bool) {
        if self
            .unconfirmed
            .iter()
            .all(|letter| letter.ticket != ticket)
        {
            // Of more than these the letter stays, whatever becomes of the report.
            let _ = self.unconfirmed.push(Unconfirmed {
                ticket,
                number,
                is_there,
            });
        }
    }

    /// What became of a report whose letter could not be made durable is something else: it is no dead letter.
    pub(super) fn withdraw(&mut self, seq: u64) {
        let mut unconfirmed = self.unconfirmed.iter();
        let Some(Unconfirmed { number, .. }) =
            unconfirmed.find(|letter| letter.ticket == seq).copied()
        else {
            return;
        };
        self.unconfirmed.retain(|letter| letter.ticket != seq);
        if let Some(found) = self.find(Ticket(seq))
            && found.header.count == number
        {
            self.count = self.count.saturating_sub(1);
            let size = self.record_len(found.header.len);
            self.segments.count_live(found.place, size, false);
            self.skip();
        }
        self.forget_in_memory(number, false);
        // If that cannot be written a restart may find it again.
        let skipped = self.state.get(Counter::SKIPPED);
        let header = header_of(Kind::Forgotten, NEVER_WAS, number, skipped);
        let has_room = self.segments.has_room(self.record_len(0))
            || self
                .make_room(self.reserve(), WhenLettersFull::Hold)
                .is_ok();
        if has_room && self.segments.append(header, &[], &[]).is_ok() {
            let _ = self.sync();
        }
    }

    /// Makes durable what is not yet.
    pub(super) fn make_durable(&mut self) -> Result<(), OutboxError<S::Error>> {
        if !self.is_loaded() {
            // Nothing was written. To write anew what is known in part would drop the rest.
            return Ok(());
        }
        self.rewrite_unsynced()?;
        self.segments.discard_pending();
        self.sync()
    }

    /// Writes a segment anew whose sync failed: a second sync of it would prove nothing.
    pub(super) fn rewrite_unsynced(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.segments.unsynced_from().is_some() {
            self.segments.discard_pending();
            if let Some(first) = self.segments.list.len().checked_sub(1) {
                let is_lossy = self.copy_patience.is_spent();
                let compacted = self.compact(Window { first, count: 1 }, is_lossy);
                self.copy_patience.told(compacted)?;
                if is_lossy && self.segments.read_failed {
                    // Some were given up.
                    self.count_letters();
                    self.count_dropped();
                }
            }
            self.segments.trust();
        }
        Ok(())
    }

    /// Notes that no ticket from `reserved` on was given out, and how many reports were submitted.
    pub(super) fn note_tickets(
        &mut self,
        reserved: u64,
        submitted: u64,
    ) -> Result<(), OutboxError<S::Error>> {
        if !self.is_loaded() {
            // A new segment would begin before letters that are not known yet.
            return Err(OutboxError::Unreadable);
        }
        // If that fails now, what is written next says it.
        self.raise_reserved(reserved);
        self.state.raise(Counter::SUBMITTED_BY_THEN, submitted);
        self.rewrite_unsynced()?;
        self.note()
    }

    /// Writes how things stand, durably. Drops no letter for that.
    pub(super) fn note(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.segments.has_room(self.record_len(CHECKPOINT)) {
            self.write_checkpoint()?;
        } else {
            // The header of a new segment says it.
            self.make_room(self.reserve(), WhenLettersFull::Hold)?;
        }
        self.sync()
    }

    fn write_checkpoint(&mut self) -> Result<(), OutboxError<S::Error>> {
        let header = header_of(Kind::Checkpoint, 0, 0, 0);
        self.segments.append(header, &self.state.encode(), &[])?;
        self.is_noted = true;
        Ok(())
    }
}
