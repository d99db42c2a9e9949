//! The reports that wait, in a log: which is next, where one stands, which others supersede it.

use super::super::outbox::{JobKeys, OutboxError, Ticket, Waiting};
use super::live::{Live, Waits};
use super::record::{Counter, Kind, MAX_PREFIX, RecordHeader, SEGMENT_HEADER};
use super::segments::Place;
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Live<S, MAX> {
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
        Ok(Some(Waiting {
            ticket: Ticket(header.seq),
            len: header.body_len(),
            submitted_at: self.segments.meta_at(place).wall,
        }))
    }

    /// An error if that is not known, since nothing can be read at all.
    #[allow(clippy::type_complexity)] // once
    pub(super) fn next_record(
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
    pub(super) fn place_of(&mut self, seq: u64) -> Option<(Place, usize)> {
        let (place, size) = self.places.get(seq)?;
        self.segments.segment_of(place.id)?;
        Some((place, size))
    }

    pub(super) fn job_keys(&mut self, seq: u64) -> JobKeys {
        match self.find(seq) {
            Some((place, header)) => self.segments.keys_at(place, &header),
            None => JobKeys::new(),
        }
    }

    /// Reads a report that waits; `false` if it is not there or damaged, and then it waits no more.
    pub(super) fn read(
        &mut self,
        seq: u64,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<S::Error>> {
        self.segments.read_failed = false;
        let Some((place, header)) = self.find(seq) else {
            if self.may_wait(seq) {
                self.segments.check_patience(&mut self.read_patience)?;
            }
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
    pub(super) fn mend_jobs(&mut self) {
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
            let keys = self.segments.keys_at(place, &header);
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
}
