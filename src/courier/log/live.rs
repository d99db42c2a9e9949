//! The reports that wait, in a log.
//!
//! A report waits from its record on until something says that it is settled: a [`Kind::Settled`] record, a checkpoint whose cursor is at or
//! after it or that has it in a range, or the absence of its record in a segment that stands for the one that had it. All of these
//! only add up, so that recovery may read them in any order and twice ([`recover`](super::recover)).
//!
//! The oldest report that waits is the front. `state.cursor` is right before it; what is settled after it stands in `ahead`.

use core::time::Duration;

use super::super::newest::Newest;
use super::super::outbox::{JobKey, JobKeys, OutboxError, Ticket};
use super::ahead::{Ahead, MAX_RANGES, RANGE, Range};
use super::places::Places;
use super::record::{CHECKPOINT, Checkpoint, Counter, KEY, Kind, META, Meta, Store, report_prefix};
use super::segments::{Place, Segments, header_of};
use super::storage::Storage;
use super::walk::Patience;
use crate::time::{MonoTime, WallTime, ms_of};

/// How many tickets are reserved at a time.
pub(super) const RESERVED: u64 = 4096;
/// In `detail` of a checkpoint: nothing was written after it.
pub(super) const CLEAN: u8 = 1;
/// The most bytes of a checkpoint with its ranges.
const MAX_NOTE: usize = CHECKPOINT + MAX_RANGES * RANGE;

/// When reports become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Each before its `submit` returns.
    #[default]
    Each,
    /// Together, when so many or the first of them so long ago were submitted. A power cut may cost them; a killed process does not.
    Batch {
        /// How many.
        reports: u32,
        /// How long, in milliseconds.
        ms: u64,
    },
}

impl Durability {
    /// Together, when there are so many, or after so long.
    pub const fn batch(reports: u32, span: Duration) -> Self {
        let ms = ms_of(span);
        Durability::Batch { reports, ms }
    }
}

/// What a walk over all reports found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// How many wait.
    pub(super) count: u64,
    /// How many should wait, and are not there, but for those that are superseded: the counts of those around have a gap.
    pub(super) lost: u64,
}

#[derive(Debug)]
pub(super) struct Live<S, const MAX: usize> {
    pub(super) segments: Segments<S, MAX>,
    pub(super) durability: Durability,
    pub(super) state: Checkpoint,
    pub(super) ahead: Ahead,
    pub(super) waiting: u64,
    pub(super) jobs: Newest,
    pub(super) places: Places,
    /// Where to look for the front.
    pub(super) head: Place,
    /// Everything in `state` and `ahead` is written.
    pub(super) is_noted: bool,
    /// How things stood when that was so last.
    pub(super) noted: Checkpoint,
    /// The end of the log right after a checkpoint that says that nothing comes after it.
    pub(super) clean_at: Option<Place>,
    /// How many reports were settled, by the records that say so.
    pub(super) known: u64,
    /// The report in flight.
    pub(super) pinned: u64,
    /// The last write was cut before the start: that no report has its ticket must be written before the next one, and durable with it.
    pub(super) has_cut: bool,
    pub(super) walk_patience: Patience,
    pub(super) read_patience: Patience,
    pub(super) copy_patience: Patience,
    /// A report left whose jobs could not be read: they must be counted anew.
    pub(super) is_lost: bool,
    pub(super) settled_unsynced: u32,
    /// How many reports were settled without room to say so.
    pub(super) unnoted: u32,
    pub(super) unsynced: u32,
    pub(super) unsynced_since: MonoTime,
}

impl<S, const MAX: usize> Live<S, MAX> {
    pub(super) const fn new(storage: S, durability: Durability) -> Self {
        Live {
            segments: Segments::new(storage, Store::Live, 1),
            durability,
            state: Checkpoint::new(),
            ahead: Ahead::new(),
            waiting: 0,
            jobs: Newest::new(),
            places: Places::new(),
            head: Place { id: 0, offset: 0 },
            is_noted: true,
            noted: Checkpoint::new(),
            clean_at: None,
            known: 0,
            pinned: 0,
            has_cut: false,
            walk_patience: Patience(0),
            read_patience: Patience(0),
            copy_patience: Patience(0),
            is_lost: false,
            settled_unsynced: 0,
            unnoted: 0,
            unsynced: 0,
            unsynced_since: MonoTime::from_ms(0),
        }
    }

    pub(super) fn pin(&mut self, seq: u64) {
        self.pinned = seq;
    }

    pub(super) fn is_pinned(&self, seq: u64) -> bool {
        self.pinned == seq
    }

    /// Whether it was submitted, and nothing says that it is settled.
    pub(super) fn waits(&self, seq: u64) -> bool {
        self.waiting > 0 && seq < self.state.next_seq && self.may_wait(seq)
    }

    /// Whether nothing says that it is settled.
    pub(super) fn may_wait(&self, seq: u64) -> bool {
        seq > self.state.cursor && self.ahead.find(seq).is_none()
    }

    /// Not everything is written that is to be said.
    pub(super) fn set_unnoted(&mut self) {
        self.is_noted = false;
        self.clean_at = None;
    }

    /// A checkpoint with its ranges.
    pub(super) fn note(&self) -> heapless::Vec<u8, MAX_NOTE> {
        note(&self.state, &self.ahead)
    }
}

pub(super) fn note(state: &Checkpoint, ahead: &Ahead) -> heapless::Vec<u8, MAX_NOTE> {
    let mut out = heapless::Vec::new();
    // There is room for all of it.
    let _ = out.extend_from_slice(&state.encode());
    for range in ahead.iter() {
        let _ = out.extend_from_slice(&range.first.to_le_bytes());
        let _ = out.extend_from_slice(&range.last.to_le_bytes());
    }
    out
}

impl<S: Storage, const MAX: usize> Live<S, MAX> {
    /// Stores a report.
    pub(super) fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, OutboxError<S::Error>> {
        let prefix = report_prefix(&Meta { wall, route: 0 }, jobs);
        let size = self
            .segments
            .record_len(prefix.len().saturating_add(report.len()));
        self.rewrite_unsynced()?;
        let with_reserve = size.saturating_add(self.reserve());
        if self.segments.takes_reports() && self.segments.has_room(with_reserve) {
            self.compact_early(size);
        }
        // To compact may seal the open segment.
        if !self.segments.takes_reports() || !self.segments.has_room(with_reserve) {
            self.make_room(with_reserve)?;
        }
        if self.has_cut && !self.is_noted {
            let note = self.segments.record_len(self.note().len());
            self.is_noted |= self.segments.has_room(note.saturating_add(with_reserve))
                && self.write_checkpoint(0);
        }
        let seq = self.state.next_seq;
        let count = self.state.get(Counter::Submitted).saturating_add(1);
        let keys = u8::try_from(prefix.len().saturating_sub(META) / KEY).unwrap_or(0);
        let header = header_of(Kind::Report, keys, seq, count);
        let place = self.segments.end_of_log();
        let written = self.segments.append(header, &prefix, report);
        // A number is used once, whatever became of the write.
        self.state.next_seq = seq.saturating_add(1);
        if let Err(error) = written {
            // Part of it may be there, and look like a report that waits.
            if self.segments.is_there(place) || !self.burn(seq) {
                self.count(seq, place, size, jobs);
            }
            return Err(error);
        }
        self.count(seq, place, size, jobs);
        // The cut one is told from those that wait by the one after it, if there was no room for a note.
        if self.is_due(now) || self.has_cut {
            // If this fails it waits anyway, and is written again before the next one is taken; or it is gone, as far as can be seen.
            let durable = self.sync();
            if durable.is_err() {
                self.uncount_if_gone(seq, size, jobs);
            }
            durable?;
            self.has_cut = false;
        }
        Ok(Ticket(seq))
    }

    fn uncount_if_gone(&mut self, seq: u64, size: usize, jobs: &JobKeys) {
        let found = self.find(seq);
        if found.is_some_and(|(place, header)| self.segments.is_whole(place, &header))
            || !self.burn(seq)
        {
            return;
        }
        let submitted = self.state.get(Counter::Submitted);
        self.state
            .set(Counter::Submitted, submitted.saturating_sub(1));
        self.waiting = self.waiting.saturating_sub(1);
        let end = self.segments.end_of_log();
        self.segments.count_live(end, size, false);
        self.jobs.forget(seq, jobs);
        self.places.remove(seq);
    }

    /// No report has this ticket; `false` if there is no room to note that.
    fn burn(&mut self, seq: u64) -> bool {
        if seq == self.state.cursor.saturating_add(1) {
            self.pass_to(seq);
            return true;
        }
        self.ahead.insert(Range {
            first: seq,
            last: seq,
            end: None,
        })
    }

    /// A report that was stored waits.
    fn count(&mut self, seq: u64, place: Place, size: usize, jobs: &JobKeys) {
        self.state.add(Counter::Submitted, 1);
        self.waiting = self.waiting.saturating_add(1);
        self.segments.count_live(place, size, true);
        self.note_jobs(seq, place, size, jobs);
    }

    /// Notes what the report says newest, and of others that it supersedes that their bytes may be freed.
    pub(super) fn note_jobs(&mut self, seq: u64, place: Place, size: usize, jobs: &JobKeys) {
        let mut superseded = heapless::Vec::<u64, 32>::new();
        self.places.insert(seq, place, size);
        self.jobs.note(seq, jobs, |old| {
            // Two for each of 16 jobs at the most.
            let _ = superseded.push(old);
        });
        for old in superseded {
            let known = self.place_of(old).filter(|(_, size)| *size > 0);
            let known = known.or_else(|| {
                let (place, header) = self.segments.find(Kind::Report, old)?;
                Some((place, self.segments.record_len(header.len)))
            });
            if let Some((place, size)) = known {
                self.segments.count_live(place, size, false);
            }
            self.places.remove(old);
        }
        if jobs.iter().all(|key| key.job_id == JobKey::ANY) {
            self.places.remove(seq);
        }
    }

    fn is_due(&mut self, now: MonoTime) -> bool {
        match self.durability {
            Durability::Each => true,
            Durability::Batch { reports, .. } => {
                if self.unsynced == 0 {
                    self.unsynced_since = now;
                }
                self.unsynced = self.unsynced.saturating_add(1);
                self.unsynced >= reports
            }
        }
    }

    pub(super) fn tick(&mut self, now: MonoTime) -> Result<(), OutboxError<S::Error>> {
        match self.durability {
            Durability::Batch { ms, .. }
                if self.unsynced > 0 && now.since_ms(self.unsynced_since) >= ms =>
            {
                self.sync()
            }
            _ => Ok(()),
        }
    }

    /// Of tickets that a restart passed over nothing need be said, once nothing waits.
    pub(super) fn pass_unused(&mut self) {
        if self.waiting == 0 {
            self.pass_to(self.state.next_seq.saturating_sub(1));
        }
    }

    /// Moves the cursor on.
    pub(super) fn pass_to(&mut self, seq: u64) {
        self.state.cursor = self.state.cursor.max(seq);
        self.ahead.drop_until(self.state.cursor);
    }
}
