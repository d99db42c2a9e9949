//! The reports that wait, in a log.
//!
//! A report waits from its record on until something says that it is settled: a [`Kind::Settled`] record, a checkpoint whose cursor is at or
//! after it or that has it in a range, or the absence of its record in a segment that stands for the one that had it. All of these
//! only add up, so that recovery may read them in any order and twice ([`recover`](super::recover)).
//!
//! The oldest report that waits is the front. `state.cursor` is right before it; what is settled after it stands in `ahead`.

use core::time::Duration;

use super::super::newest::Newest;
use super::super::outbox::{JobKey, JobKeys, OutboxError, Ticket, Waiting};
use super::ahead::{Ahead, MAX_RANGES, RANGE, Range};
use super::compact::{Keeper, Note, Window};
use super::places::Places;
use super::record::{
    CHECKPOINT, Checkpoint, Counter, KEY, Kind, MAX_PREFIX, META, Meta, RecordHeader,
    SEGMENT_HEADER, SOURCES, SegmentHeader, Settlement, Sources, Store, keys_from, report_prefix,
};
use super::segments::{Place, Segments, header_of};
use super::storage::Storage;
use super::walk::Patience;
use crate::time::{MonoTime, WallTime, ms_of};

/// How many settled reports may be forgotten by a power cut, and so be sent again.
const SETTLED_UNSYNCED: u32 = 64;
/// For so many bytes of a segment one checkpoint is set aside at its end; at least one, and 8 at the most.
const NOTE_EVERY: usize = 4096;
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
    durability: Durability,
    pub(super) state: Checkpoint,
    pub(super) ahead: Ahead,
    pub(super) waiting: u64,
    pub(super) jobs: Newest,
    pub(super) places: Places,
    /// Where to look for the front.
    pub(super) head: Place,
    /// Everything in `state` and `ahead` is written.
    is_noted: bool,
    /// The end of the log right after a checkpoint that says that nothing comes after it.
    pub(super) clean_at: Option<Place>,
    /// How many reports were settled, by the records that say so.
    pub(super) known: u64,
    /// The report in flight.
    pinned: u64,
    /// The last write was cut before the start: that no report has its ticket must be written before the next one.
    pub(super) has_cut: bool,
    walk_patience: Patience,
    read_patience: Patience,
    copy_patience: Patience,
    /// A report left whose jobs could not be read: they must be counted anew.
    is_lost: bool,
    settled_unsynced: u32,
    /// How many reports were settled without room to say so.
    unnoted: u32,
    unsynced: u32,
    unsynced_since: MonoTime,
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
    fn note(&self) -> heapless::Vec<u8, MAX_NOTE> {
        note(&self.state, &self.ahead)
    }
}

fn note(state: &Checkpoint, ahead: &Ahead) -> heapless::Vec<u8, MAX_NOTE> {
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
        if self.has_cut {
            self.has_cut = false;
            // Without room the header of a new segment said it.
            let note = self.segments.record_len(self.note().len());
            self.is_noted |=
                self.segments.has_room(note.saturating_add(with_reserve)) && self.write_note(0);
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
        if self.is_due(now) {
            // If this fails it waits anyway, and is written again before the next one is taken; or it is gone, as far as can be seen.
            let durable = self.sync();
            if durable.is_err() {
                self.uncount_if_gone(seq, size, jobs);
            }
            durable?;
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

    /// The next report that waits after `after`; the front without.
    pub(super) fn next(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<Waiting>, OutboxError<S::Error>> {
        if self.waiting == 0 {
            return Ok(None);
        }
        let Some((place, header)) = self.next_record(after.map(|ticket| ticket.0))? else {
            if after.is_none() {
                // None of them is there any more.
                self.state.add(Counter::Corrupt, self.waiting);
                self.waiting = 0;
                self.is_noted = false;
                self.pass_to(self.state.next_seq.saturating_sub(1));
            }
            return Ok(None);
        };
        self.places.remember(header.seq, place);
        let mut meta = [0; META];
        let meta = self
            .segments
            .read(place, 0, &mut meta)
            .map(|()| Meta::decode(&meta));
        Ok(Some(Waiting {
            ticket: Ticket(header.seq),
            len: header.body_len(),
            submitted_at: meta.ok().and_then(|meta| meta.wall),
        }))
    }

    /// An error if that is not known, since nothing can be read at all.
    #[allow(clippy::type_complexity)] // once
    fn next_record(
        &mut self,
        after: Option<u64>,
    ) -> Result<Option<(Place, RecordHeader)>, OutboxError<S::Error>> {
        let cursor = self.state.cursor;
        let mut after_seq = after.unwrap_or(cursor).max(cursor);
        let start = match after {
            Some(seq) if seq > cursor => self.start_after(seq),
            _ => Some(self.head),
        };
        let mut at = start.unwrap_or(self.segments.start());
        self.segments.read_failed = false;
        loop {
            // A whole range at once, if it is known where it ends.
            if let Some(range) = self.ahead.find(after_seq.saturating_add(1)).copied() {
                after_seq = range.last;
                at = range.end.unwrap_or(at);
            }
            // Where nothing stands any more nothing could be found.
            if self.segments.segment_of(at.id).is_none() {
                at = self.segments.start();
            }
            let Some((place, header)) = self.segments.next(at) else {
                self.check_walk()?;
                return Ok(None);
            };
            at = self.segments.after(place, &header);
            if header.kind != Kind::Report || header.seq <= after_seq {
                continue;
            }
            if self.may_wait(header.seq) {
                self.check_walk()?;
                self.found(after_seq, &header, place);
                return Ok(Some((place, header)));
            }
        }
    }

    /// Whether a walk may count. The whole walk counts as one, however many bad sectors are on its way.
    fn check_walk(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.segments.check_patience(&mut self.walk_patience)
    }

    /// Remembers where the way to the next report led.
    fn found(&mut self, after: u64, header: &RecordHeader, place: Place) {
        if after == self.state.cursor {
            self.head = place;
        }
        self.ahead.ends_at(after, header.seq, place);
    }

    /// Where to look for what comes after this report.
    fn start_after(&mut self, seq: u64) -> Option<Place> {
        if let Some(range) = self.ahead.find(seq)
            && range.end.is_some()
        {
            return range.end;
        }
        if let Some((place, _)) = self.place_of(seq) {
            return Some(place);
        }
        let index = self.segments.list.iter().rposition(|s| s.first <= seq);
        let segment = self.segments.list.get(index.unwrap_or(0))?;
        Some(Place {
            id: segment.id,
            offset: SEGMENT_HEADER,
        })
    }

    /// The record of a report that waits.
    pub(super) fn find(&mut self, seq: u64) -> Option<(Place, RecordHeader)> {
        if !self.may_wait(seq) {
            return None;
        }
        if let Some((place, _)) = self.place_of(seq) {
            let header = self.segments.header_at(place.id, place.offset, usize::MAX);
            if let Some(header) = header.filter(|h| h.kind == Kind::Report && h.seq == seq) {
                return Some((place, header));
            }
        }
        let found = self.segments.find(Kind::Report, seq)?;
        self.places.remember(seq, found.0);
        Some(found)
    }

    /// The place and size of a report, if it is known.
    fn place_of(&mut self, seq: u64) -> Option<(Place, usize)> {
        let (place, size) = self.places.get(seq)?;
        self.segments.segment_of(place.id)?;
        Some((place, size))
    }

    pub(super) fn job_keys(&mut self, seq: u64) -> JobKeys {
        match self.find(seq) {
            Some((place, header)) => self.keys_at(place, &header),
            None => JobKeys::new(),
        }
    }

    /// The keys of a report; none if they cannot be read.
    pub(super) fn keys_at(&mut self, place: Place, header: &RecordHeader) -> JobKeys {
        keys_at(&mut self.segments, place, header)
    }

    /// Reads a report that waits; `false` if it is not there or damaged, and then it waits no more.
    pub(super) fn read(
        &mut self,
        seq: u64,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<S::Error>> {
        let Some((place, header)) = self.find(seq) else {
            return Ok(false);
        };
        let mut prefix = [0; MAX_PREFIX];
        let prefix = prefix.get_mut(..header.prefix()).unwrap_or_default();
        self.segments.read_failed = false;
        if self.segments.read_body(place, &header, prefix, buffer)? {
            self.read_patience.note(false);
            return Ok(true);
        }
        self.segments.check_patience(&mut self.read_patience)?;
        self.settle(seq, Counter::Corrupt)?;
        Ok(false)
    }

    /// Whether newer reports that wait, and are whole, supersede this one.
    pub(super) fn is_superseded(&mut self, seq: u64) -> Result<bool, OutboxError<S::Error>> {
        self.mend_jobs();
        let keys = self.job_keys(seq);
        if !self.jobs.is_superseded(seq, &keys) {
            return Ok(false);
        }
        for key in &keys {
            let newest = self.jobs.newest(*key);
            self.segments.read_failed = false;
            if let Some((place, header)) = self.find(newest)
                && self.segments.is_whole(place, &header)
            {
                continue;
            }
            self.segments.check_patience(&mut self.read_patience)?;
            // A damaged report supersedes nothing.
            // Without room to note that, it is found out again.
            let _ = self.settle(newest, Counter::Corrupt);
            return Ok(false);
        }
        Ok(true)
    }

    /// A report left before older ones of its job: who is newest now tells only a walk.
    fn mend_jobs(&mut self) {
        if !self.jobs.is_stale() && !self.is_lost {
            return;
        }
        self.is_lost = false;
        self.count_waiting();
    }

    /// Walks over all that may wait, and counts them: the reports, their bytes, their jobs.
    pub(super) fn count_waiting(&mut self) -> Waits {
        self.jobs.clear();
        self.places.clear();
        self.segments.list.iter_mut().for_each(|s| s.live = 0);
        let mut waits = Waits::default();
        // The last report that was read.
        let (mut last, mut last_count) = (0, None);
        let mut at = self.segments.start();
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            if header.kind != Kind::Report || header.seq <= last {
                continue;
            }
            let gap = self.gap((last, last_count), (header.seq, header.count));
            waits.lost = waits.lost.saturating_add(gap);
            (last, last_count) = (header.seq, Some(header.count));
            if !self.may_wait(header.seq) {
                continue;
            }
            waits.count = waits.count.saturating_add(1);
            let keys = self.keys_at(place, &header);
            let size = self.segments.record_len(header.len);
            self.segments.count_live(place, size, true);
            self.note_jobs(header.seq, place, size, &keys);
        }
        let submitted = self.state.get(Counter::Submitted);
        let end = (self.state.next_seq, submitted.saturating_add(1));
        waits.lost = waits.lost.saturating_add(self.gap((last, last_count), end));
        waits
    }

    /// How many reports between these two, each by its ticket and its count, should wait and are not there. None if some may stand before the
    /// cursor: then that is not known.
    fn gap(&self, (seq, count): (u64, Option<u64>), (next_seq, next_count): (u64, u64)) -> u64 {
        let Some(count) = count.filter(|_| seq >= self.state.cursor) else {
            return 0;
        };
        let between = next_count.saturating_sub(count).saturating_sub(1);
        let tickets = next_seq.saturating_sub(seq).saturating_sub(1);
        let settled = self.ahead.count_between(seq, next_seq);
        between.min(tickets).saturating_sub(settled)
    }

    /// A report that waits is settled; `false` if it does not wait.
    pub(super) fn settle(
        &mut self,
        seq: u64,
        counter: Counter,
    ) -> Result<bool, OutboxError<S::Error>> {
        if !self.waits(seq) {
            return Ok(false);
        }
        // What cannot be read now is not passed over for this.
        let front = self.next_record(None);
        let was_front = front.is_ok_and(|front| front.is_none_or(|(_, front)| front.seq >= seq));
        let found = self.find(seq);
        let next = self.next_record(Some(seq));
        let is_known = next.is_ok();
        let next = next.unwrap_or(None);
        let until = match &next {
            Some((_, header)) => header.seq.saturating_sub(1),
            None if is_known => self.state.next_seq.saturating_sub(1),
            None => seq,
        };
        if was_front {
            self.pass_to(until);
            match next {
                Some((place, _)) => self.head = place,
                None if is_known => self.head = self.segments.end_of_log(),
                None => {}
            }
        } else {
            let range = Range {
                first: seq,
                last: until,
                end: next.map(|(place, _)| place),
            };
            if !self.ahead.insert(range) {
                return Err(OutboxError::Full);
            }
        }
        match found {
            Some((place, header)) => self.release(place, &header),
            // Its header cannot be read any more, and so its jobs are not known.
            None => self.is_lost = true,
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.state.add(counter, 1);
        let settlement = Settlement { counter, was_front };
        self.write_settled(seq, settlement);
        self.reclaim();
        Ok(true)
    }

    /// The bytes of a report may be freed, and its jobs forget it.
    fn release(&mut self, place: Place, header: &RecordHeader) {
        let keys = self.keys_at(place, header);
        // What is superseded is not counted any more.
        if !self.jobs.is_superseded(header.seq, &keys) {
            let size = self.segments.record_len(header.len);
            self.segments.count_live(place, size, false);
        }
        self.jobs.forget(header.seq, &keys);
        self.places.remove(header.seq);
    }

    /// Moves the cursor on.
    fn pass_to(&mut self, seq: u64) {
        self.state.cursor = self.state.cursor.max(seq);
        self.ahead.drop_until(self.state.cursor);
    }

    /// Without room or with a failing storage that is left for later: a restart then sends some reports again.
    fn write_settled(&mut self, seq: u64, settlement: Settlement) {
        let was_noted = self.is_noted;
        self.is_noted = false;
        self.clean_at = None;
        // Dropped by the thousand, perhaps: what is written next says it.
        if settlement.counter == Counter::Superseded && settlement.was_front {
            return;
        }
        // Without what came before, a mark would count that as lost.
        let has_room = match was_noted {
            true => {
                let mark = self.segments.record_len(0);
                self.segments.has_room(mark.saturating_add(self.reserve()))
            }
            false => self.has_room_beside_reserve(),
        };
        if !has_room {
            self.settle_without_room();
        } else if !was_noted {
            self.is_noted = self.write_note(0);
        } else {
            let header = RecordHeader {
                crc: self.state.known() as u32,
                ..header_of(
                    Kind::Settled,
                    settlement.detail(),
                    seq,
                    self.state.get(settlement.counter),
                )
            };
            self.is_noted = self.segments.append(header, &[], &[]).is_ok();
            self.settled_unsynced = self.settled_unsynced.saturating_add(1);
            if self.settled_unsynced >= SETTLED_UNSYNCED && self.segments.unsynced_from().is_none()
            {
                self.settled_unsynced = 0;
                // A failure is reported by the next submit or flush.
                let _ = self.segments.sync();
            }
        }
    }

    /// The header of a new segment says it all, of a short one at the least. If there can be none, now and then it is said with what is set
    /// aside, so that a full device and many kills do not send the same for ever.
    fn settle_without_room(&mut self) {
        self.unnoted = self.unnoted.saturating_add(1);
        if self.segments.unsynced_from().is_none()
            && (self.roll(0).is_ok() || self.roll_for_notes().is_ok())
        {
            self.unnoted = 0;
        }
        let note = self.segments.record_len(self.note().len());
        if self.unnoted >= SETTLED_UNSYNCED
            && self.segments.has_room(note.saturating_mul(2))
            && self.write_note(0)
        {
            (self.unnoted, self.is_noted) = (0, true);
            // A failure is reported by the next submit or flush.
            let _ = self.segments.sync();
        }
    }

    /// Whether a checkpoint has room without what is set aside for the one that lets a segment go.
    fn has_room_beside_reserve(&self) -> bool {
        let size = self.segments.record_len(self.note().len());
        self.segments.has_room(size.saturating_add(self.reserve()))
    }

    /// Left at the end of each segment for a checkpoint, so that a full log can let go of a segment. Nothing else may use it up.
    fn reserve(&self) -> usize {
        let ranges = self.ahead.len().saturating_add(2).saturating_mul(RANGE);
        let note = self.segments.record_len(CHECKPOINT.saturating_add(ranges));
        let notes = self.segments.storage.limits().segment / NOTE_EVERY;
        note.saturating_mul(notes.clamp(1, 8))
    }

    /// Opens a new segment, whose header says how things stand.
    fn roll(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        if self.waiting == 0 {
            // Of tickets that a restart passed over nothing need be said.
            self.pass_to(self.state.next_seq.saturating_sub(1));
        }
        let with_note = match self.ahead.is_empty() {
            true => records.max(self.reserve()),
            false => records.saturating_add(self.reserve().saturating_mul(2)),
        };
        self.segments.roll(self.header(), with_note)?;
        self.rolled();
        Ok(())
    }

    /// The same with a short one that takes no reports, in room that others do not get.
    fn roll_for_notes(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.segments.remove_one_of_two_for_notes();
        self.segments
            .roll_for_notes(self.header(), self.reserve())?;
        self.rolled();
        Ok(())
    }

    fn header(&self) -> SegmentHeader {
        SegmentHeader {
            identity: self.segments.identity(0),
            first: self.state.next_seq,
            sources: Sources::NONE,
            checkpoint: self.state,
        }
    }

    /// A new segment is open: it says how things stand, and others for notes alone may go.
    fn rolled(&mut self) {
        if self.waiting == 0 {
            self.head = self.segments.end_of_log();
        }
        // By its checkpoint one for notes alone is known to be whole.
        let is_all_said = self.ahead.is_empty() && self.segments.takes_reports();
        self.is_noted = is_all_said || self.write_note(0);
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

    fn write_note(&mut self, detail: u8) -> bool {
        let note = self.note();
        let header = header_of(Kind::Checkpoint, detail, 0, 0);
        self.segments.append(header, &note, &[]).is_ok()
    }

    /// Makes durable how things stand: in a checkpoint, or where there is no room for one, in a new segment, or in the last one written anew.
    pub(super) fn note_durably(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        if !self.is_noted {
            let size = self.segments.record_len(self.note().len());
            self.is_noted = self.segments.has_room(size) && self.write_note(0);
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
        self.is_noted |= self.has_room_beside_reserve() && self.write_note(0);
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
        if self.is_noted && self.has_room_beside_reserve() && self.write_note(CLEAN) {
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
    fn rewrite_unsynced(&mut self) -> Result<(), OutboxError<S::Error>> {
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

    /// Discards the oldest segments, if nothing in them waits. That is made durable first.
    pub(super) fn reclaim(&mut self) {
        self.segments.discard_pending();
        while let [first, second, ..] = self.segments.list.as_slice() {
            let id = first.id;
            let is_over = second.first <= self.state.cursor.saturating_add(1);
            if !is_over || self.note_durably().is_err() {
                return;
            }
            // To write that may have changed the list.
            if self.segments.list.len() < 2 || self.segments.list.first().is_none_or(|f| f.id != id)
            {
                continue;
            }
            self.segments.remove(id);
            self.ahead.forget_places();
            if self.segments.list.iter().all(|s| s.id != self.head.id) {
                self.head = self.segments.start();
            }
        }
    }

    /// Makes room for records of so many bytes: a new segment, after compacting others if need be.
    ///
    /// `Full` is known without reading anything: what all segments have beside what must be kept is counted as it changes. If that is enough
    /// for a segment, as many compactions follow as it takes, each of two segments at the most; [`compact_early`](Self::compact_early) has
    /// taken most of them before.
    fn make_room(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        let limits = self.segments.storage.limits();
        let needed = self.segments.segment_len(records);
        if !self.segments.could_have(needed) {
            return Err(OutboxError::TooLarge);
        }
        self.reclaim();
        loop {
            match self.roll(records) {
                Err(OutboxError::Full) => {}
                rolled => return rolled,
            }
            self.mend_jobs();
            let free = limits.total.saturating_sub(self.segments.total());
            let open = self.segments.open_window();
            let sealed = free.saturating_add(self.segments.reclaimable());
            if sealed >= needed && self.compact_once(needed)? {
                continue;
            }
            // The open one has little that waits, perhaps, and is long.
            if let Some((window, gain)) = open
                && sealed.saturating_add(gain) >= needed
                && self.segments.may_replace()
            {
                self.compact(window, true)?;
                continue;
            }
            // What a crash left takes room, too.
            match self.segments.partial.take() {
                Some(partial) => self.segments.give_up(partial),
                None => return Err(OutboxError::Full),
            }
        }
    }

    /// Compacts while there is still room for some reports of this size, so that no submit has to do all of it.
    fn compact_early(&mut self, size: usize) {
        let limits = self.segments.storage.limits();
        if self.segments.can_create(limits.segment) {
            return;
        }
        let free = limits.total.saturating_sub(self.segments.total());
        let left = self.segments.room_left().checked_div(size).unwrap_or(0);
        let steps = self.segments.list.len().saturating_mul(2);
        let is_enough = free.saturating_add(self.segments.reclaimable()) >= limits.segment;
        if left <= steps && is_enough {
            // A failure comes again when the room is needed, and is told then.
            let _ = self.compact_once(limits.segment);
        }
    }

    /// Compacts the neighbours that free most, for a segment of the length `wanted`; `false` if none frees anything.
    fn compact_once(&mut self, wanted: usize) -> Result<bool, OutboxError<S::Error>> {
        self.segments.discard_pending();
        let Some(window) = self.segments.best_window(wanted) else {
            return Ok(false);
        };
        if !self.segments.may_replace() {
            return Ok(false);
        }
        let before = self.segments.total();
        let count = self.segments.list.len();
        match self.compact(window, true) {
            // These are left as they are; others may do.
            Err(OutboxError::Unreadable) => {
                self.segments.spare(window);
                return Ok(true);
            }
            compacted => compacted?,
        }
        Ok(self.segments.total() < before || self.segments.list.len() < count)
    }

    fn compact(
        &mut self,
        window: Window,
        drops_superseded: bool,
    ) -> Result<(), OutboxError<S::Error>> {
        // What supersedes others must last as long as they.
        if drops_superseded {
            self.sync()?;
        }
        self.segments.read_failed = false;
        let mut keeper = WaitingKeeper {
            cursor: self.state.cursor,
            ahead: &self.ahead,
            jobs: &self.jobs,
            places: &mut self.places,
            pinned: self.pinned,
            drops_superseded,
            dropped: 0,
        };
        keeper.count_dropped(&mut self.segments, window);
        let dropped = keeper.dropped;
        let mut state = self.state;
        state.add(Counter::Superseded, dropped);
        let payload = note(&state, &self.ahead);
        let note = Note {
            checkpoint: state,
            payload: &payload,
            is_lossy: !drops_superseded && self.copy_patience.is_spent(),
        };
        let head = self.head.id;
        let moves_head = self.segments.window(window).iter().any(|s| s.id == head);
        if self.segments.read_failed && drops_superseded {
            return Err(OutboxError::Unreadable);
        }
        // How things stand is said by the last one, or by what stands for it.
        if drops_superseded
            && !self.segments.must_stand_for(window)
            && !self.segments.keeps_any(window, &mut keeper)
        {
            self.drop_window(window, dropped)?;
        } else {
            self.segments.compact(window, note, &mut keeper)?;
            self.state = state;
            self.waiting = self.waiting.saturating_sub(dropped);
            // The commit says it, but that goes when its segment does: what is open must say it, too.
            self.is_noted &= dropped == 0;
            if moves_head {
                let id = self.segments.list.get(window.first).map_or(0, |s| s.id);
                self.head = Place {
                    id,
                    offset: SEGMENT_HEADER,
                };
            }
        }
        self.ahead.forget_places();
        Ok(())
    }

    /// Discards segments of which nothing is kept: how things stand without them is made durable first.
    fn drop_window(&mut self, window: Window, dropped: u64) -> Result<(), OutboxError<S::Error>> {
        // To write that may open a segment and let others go: where these stand in the list then is not known.
        let segments = self.segments.window(window).iter();
        let ids: heapless::Vec<u32, SOURCES> =
            segments.map(|segment| segment.id).take(SOURCES).collect();
        let end = window.first.saturating_add(window.count);
        let [first, next] =
            [window.first, end].map(|index| self.segments.list.get(index).map_or(0, |s| s.first));
        let before = (self.state, self.waiting);
        self.state.add(Counter::Superseded, dropped);
        self.waiting = self.waiting.saturating_sub(dropped);
        self.is_noted = false;
        if let Err(error) = self.note_durably() {
            (self.state, self.waiting) = before;
            return Err(error);
        }
        for id in &ids {
            self.segments.remove(*id);
        }
        if ids.contains(&self.head.id) {
            self.head = self.segments.start();
        }
        if ids.iter().any(|id| self.segments.is_pending(*id)) {
            // What was dropped would wait again after a restart.
            let range = Range {
                first,
                last: next.saturating_sub(1),
                end: None,
            };
            self.is_noted &= !self.ahead.insert(range);
            let _ = self.note_durably();
        }
        Ok(())
    }
}

fn keys_at<S: Storage, const MAX: usize>(
    segments: &mut Segments<S, MAX>,
    place: Place,
    header: &RecordHeader,
) -> JobKeys {
    let mut bytes = [0; MAX_PREFIX];
    let bytes = bytes.get_mut(META..header.prefix()).unwrap_or_default();
    match segments.read(place, META, bytes) {
        Ok(()) => keys_from(bytes),
        Err(_) => JobKeys::new(),
    }
}

/// Keeps the reports that wait, but for those that whole newer ones supersede.
struct WaitingKeeper<'l> {
    cursor: u64,
    ahead: &'l Ahead,
    jobs: &'l Newest,
    places: &'l mut Places,
    pinned: u64,
    drops_superseded: bool,
    dropped: u64,
}

impl WaitingKeeper<'_> {
    fn waits(&self, header: &RecordHeader) -> bool {
        let waits = header.seq > self.cursor && self.ahead.find(header.seq).is_none();
        header.kind == Kind::Report && waits
    }

    fn count_dropped<S: Storage, const MAX: usize>(
        &mut self,
        segments: &mut Segments<S, MAX>,
        window: Window,
    ) {
        for index in window.first..window.first.saturating_add(window.count) {
            let Some(segment) = segments.list.get(index).copied() else {
                return;
            };
            let mut offset = SEGMENT_HEADER;
            while let Some((place, header)) = segments.next_in(&segment, offset) {
                offset = segments.after(place, &header).offset;
                if self.waits(&header) && self.is_superseded(segments, place, &header) {
                    self.dropped = self.dropped.saturating_add(1);
                }
            }
        }
    }

    fn is_superseded<S: Storage, const MAX: usize>(
        &mut self,
        segments: &mut Segments<S, MAX>,
        place: Place,
        header: &RecordHeader,
    ) -> bool {
        if !self.drops_superseded || header.seq == self.pinned {
            return false;
        }
        let keys = keys_at(segments, place, header);
        self.jobs.is_superseded(header.seq, &keys)
            && keys.iter().all(|key| {
                // A damaged report supersedes nothing.
                let newest = self.jobs.newest(*key);
                let found = match self.places.get(newest) {
                    Some((place, _)) => segments
                        .header_at(place.id, place.offset, usize::MAX)
                        .map(|header| (place, header)),
                    None => segments.find(Kind::Report, newest),
                };
                found.is_some_and(|(place, header)| {
                    header.seq == newest && segments.is_whole(place, &header)
                })
            })
    }
}

impl<S: Storage, const MAX: usize> Keeper<S, MAX> for WaitingKeeper<'_> {
    fn keeps(
        &mut self,
        segments: &mut Segments<S, MAX>,
        place: Place,
        header: &RecordHeader,
    ) -> bool {
        self.waits(header) && !self.is_superseded(segments, place, header)
    }

    fn moved(&mut self, header: &RecordHeader, to: Place) {
        self.places.moved(header.seq, to);
    }
}
