//! The reports that wait, in a log: checkpoints, new segments, and what makes all of it durable.

use super::super::outbox::OutboxError;
use super::ahead::RANGE;
use super::compact::Window;
use super::live::{CLEAN, Live};
use super::record::{CHECKPOINT, Checkpoint, Kind, SegmentHeader, Sources};
use super::segments::header_of;
use super::storage::Storage;

/// For so many bytes of a segment one checkpoint is set aside at its end; at least one, and 8 at the most.
const NOTE_EVERY: usize = 4096;

impl<S: Storage, const MAX: usize> Live<S, MAX> {
    /// Whether a checkpoint has room without what is set aside for the one that lets a segment go.
    pub(super) fn has_room_beside_reserve(&self) -> bool {
        let size = self.segments.record_len(self.note().len());
        self.segments.has_room(size.saturating_add(self.reserve()))
    }

    /// Left at the end of each segment for a checkpoint, so that a full log can let go of a segment. Nothing else may use it up.
    pub(super) fn reserve(&self) -> usize {
        let ranges = self.ahead.len().saturating_add(2).saturating_mul(RANGE);
        let note = self.segments.record_len(CHECKPOINT.saturating_add(ranges));
        let notes = self.segments.storage.limits().segment / NOTE_EVERY;
        note.saturating_mul(notes.clamp(1, 8))
    }

    /// Opens a new segment, whose header says how things stand.
    pub(super) fn roll(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.pass_unused();
        let with_note = match self.ahead.is_empty() {
            true => records.max(self.reserve()),
            false => records.saturating_add(self.reserve().saturating_mul(2)),
        };
        self.segments.roll(self.header(), with_note)?;
        self.rolled();
        Ok(())
    }

    /// The same with a short one that takes no reports, in room that others do not get.
    pub(super) fn roll_for_notes(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.segments.remove_one_of_two_for_notes();
        self.segments
            .roll_for_notes(self.header(), self.reserve())?;
        self.rolled();
        Ok(())
    }

    /// A header has no ranges. What is settled ahead and not written yet is counted by the checkpoint that follows: without that, after a kill,
    /// it waits again.
    fn header(&self) -> SegmentHeader {
        let checkpoint = match self.ahead.is_empty() {
            true => self.state,
            false => Checkpoint {
                next_seq: self.state.next_seq,
                reserved: self.state.reserved,
                trusted_ms: self.state.trusted_ms,
                ..self.noted
            },
        };
        SegmentHeader {
            identity: self.segments.identity(0),
            first: self.state.next_seq,
            sources: Sources::NONE,
            checkpoint,
        }
    }

    /// A new segment is open: it says how things stand, and others for notes alone may go.
    fn rolled(&mut self) {
        if self.waiting == 0 {
            self.head = self.segments.end_of_log();
        }
        // By its checkpoint one for notes alone is known to be whole.
        let is_all_said = self.ahead.is_empty() && self.segments.takes_reports();
        if is_all_said {
            self.noted = self.state;
        }
        self.is_noted = is_all_said || self.write_checkpoint(0);
        while let Some(id) = self.segments.spent_notes() {
            if !self.is_noted || self.segments.sync().is_err() {
                // There is room for two, so the new one makes way for another try. Others stay: a failure is reported by the next submit
                // or flush.
                if self.segments.remove_notes_at_end() {
                    self.is_noted = false;
                }
                return;
            }
            self.segments.remove(id);
        }
    }

    pub(super) fn write_checkpoint(&mut self, detail: u8) -> bool {
        let note = self.note();
        let header = header_of(Kind::Checkpoint, detail, 0, 0);
        let is_written = self.segments.append(header, &note, &[]).is_ok();
        if is_written {
            self.noted = self.state;
        }
        is_written
    }

    /// Makes durable how things stand: in a checkpoint, or where there is no room for one, in a new segment, or in the last one written anew.
    pub(super) fn note_durably(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        if !self.is_noted {
            let size = self.segments.record_len(self.note().len());
            self.is_noted = self.segments.has_room(size) && self.write_checkpoint(0);
        }
        if !self.is_noted && !self.segments.is_open {
            let rolled = self.roll(0);
            if self.segments.list.is_empty() {
                rolled?;
            }
        }
        if !self.is_noted {
            let _ = self.roll_for_notes();
        }
        if !self.is_noted {
            self.rewrite_last()?;
        }
        self.sync()
    }

    /// Makes durable what is not yet.
    pub(super) fn sync(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.segments.sync()?;
        (self.unsynced, self.settled_unsynced) = (0, 0);
        Ok(())
    }

    /// Makes durable the reports that are not yet.
    pub(super) fn sync_reports(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.unsynced > 0 {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes durable all that is not yet.
    pub(super) fn flush(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.segments.discard_pending();
        // A full log or disk has no room for that: a restart then sends some reports again.
        self.is_noted |= self.has_room_beside_reserve() && self.write_checkpoint(0);
        self.sync()
    }

    /// Whether what is written last says that nothing comes after it.
    pub(super) fn is_clean(&self) -> bool {
        self.clean_at
            .is_some_and(|at| at == self.segments.end_of_log())
    }

    /// Makes durable all that is not yet, and says that nothing comes after it: no ticket is given out that is not known by now.
    pub(super) fn close(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.is_clean() || self.segments.list.is_empty() {
            return self.sync();
        }
        self.flush()?;
        // Now what is set aside may be used.
        self.note_durably()?;
        if self.is_noted && self.has_room_beside_reserve() && self.write_checkpoint(CLEAN) {
            self.sync()?;
            self.clean_at = Some(self.segments.end_of_log());
        }
        Ok(())
    }

    /// No ticket from `reserved` on was given out before this is durable.
    pub(super) fn note_reserved(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.is_noted = false;
        self.note_durably()
    }

    /// Writes a segment anew whose sync failed: a second sync of it would prove nothing. What one for notes alone said is said by the
    /// next one, that takes its place.
    pub(super) fn rewrite_unsynced(&mut self) -> Result<(), OutboxError<S::Error>> {
        match self.segments.unsynced_from() {
            Some(_) if self.segments.takes_reports() => self.rewrite_last(),
            Some(_) => {
                self.segments.close();
                self.set_unnoted();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rewrite_last(&mut self) -> Result<(), OutboxError<S::Error>> {
        let Some(last) = self.segments.list.len().checked_sub(1) else {
            self.segments.trust();
            return Ok(());
        };
        self.segments.discard_pending();
        if !self.segments.may_replace() {
            return Err(OutboxError::Full);
        }
        let window = Window {
            first: last,
            count: 1,
        };
        let compacted = self.compact(window, false);
        self.copy_patience.told(compacted)?;
        self.segments.trust();
        self.is_noted = true;
        (self.unsynced, self.settled_unsynced) = (0, 0);
        Ok(())
    }
}
