//! Makes room: writes what must be kept of neighbouring segments into a new one, which takes their place in the order.
//!
//! The argument why no cut and no failure costs anything:
//!
//! 1. All that is copied stays where it is until the new segment is durable, its [`Kind::Commit`] included. One sync does for both: the
//!    commit says how many whole records stand before it, and recovery counts them as long as the sources are there. A commit that
//!    became durable before its records is therefore none.
//! 2. A segment without a valid commit whose sources are there is a *partial* one. The next compaction of the same sources goes on where
//!    it ends, after comparing what it has with them record by record. So progress survives any number of cuts.
//! 3. What is left out was settled, or is superseded by a report that waits: the caller makes that one durable first.
//! 4. Only then are the sources discarded. A crash in between leaves a valid commit beside its sources, and recovery discards these. If one of
//!    them is gone already it is the new segment that counts, even if it cannot be synced at that moment or was damaged since: nobody may
//!    give a report that it left out, and that nothing counts any more. If it could not be synced the others stay as long as it does.
//! 5. Recovery also finds the commit of a segment that was given up because it could not be synced, if it could not be discarded either. So
//!    such a segment must say all that its sources say, for as long as it may be there: nothing more is appended to them
//!    ([`give_up`](Segments::give_up)), and what stands for them later stands for it, too.

use super::super::outbox::OutboxError;
use super::record::{
    CHECKPOINT, Checkpoint, HEADER, Kind, RecordHeader, SEGMENT_HEADER, SOURCES, SegmentHeader,
    Sources,
};
use super::segments::{CHUNK, Place, Segment, Segments, header_of, with_payload};
use super::storage::Storage;

/// Neighbours in the list of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// What the caller knows of the records.
pub(super) trait Keeper<S, const MAX: usize> {
    /// Whether this record must be kept.
    fn keeps(
        &mut self,
        segments: &mut Segments<S, MAX>,
        place: Place,
        header: &RecordHeader,
    ) -> bool;

    /// It stands there from now on, unless there is an error.
    fn moved(&mut self, header: &RecordHeader, to: Place);
}

/// What is written beside the records that are kept.
#[derive(Clone, Copy)]
pub(super) struct Note<'a> {
    pub(super) checkpoint: Checkpoint,
    /// The payload of the commit: the same, and what else must outlast the sources.
    pub(super) payload: &'a [u8],
    /// What cannot be read is given up: it is copied as zeros, and found out by its checksum. Else it is an error.
    pub(super) is_lossy: bool,
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// The length of a segment that stands for others, with records of so many bytes and a commit with a payload of so many.
    pub(super) fn output_len(&self, live: usize, note: usize) -> usize {
        let commit = self.record_len(note);
        let needed = live
            .saturating_add(commit)
            .saturating_add(2 * SEGMENT_HEADER);
        let unit = self.storage.limits().length_unit.max(1);
        let needed = self.padded(needed).checked_next_multiple_of(unit);
        needed.unwrap_or(usize::MAX)
    }

    pub(super) fn window(&self, window: Window) -> &[Segment] {
        let rest = self.list.get(window.first..).unwrap_or_default();
        rest.get(..window.count).unwrap_or_default()
    }

    /// Whether something must stand for these, even if nothing is kept of them: with the last segment, and with what stands for one that is
    /// still there, goes what says that it counts no more.
    pub(super) fn must_stand_for(&self, window: Window) -> bool {
        let has_last = window.first.saturating_add(window.count) >= self.list.len();
        has_last || self.leftovers(window).next().is_some()
    }

    /// What is still there of what these stand for, and of what was to stand for these.
    fn leftovers(&self, window: Window) -> impl Iterator<Item = u32> + '_ {
        let segments = self.window(window);
        let given_up = self.given_up.iter().filter(|given_up| {
            let mut segments = segments.iter();
            segments.any(|segment| given_up.sources.contains(segment.id))
        });
        let given_up =
            given_up.flat_map(|given_up| given_up.sources.0.into_iter().chain([given_up.id]));
        let older = segments.iter().flat_map(|segment| segment.sources.0);
        older.chain(given_up).filter(|id| self.is_pending(*id))
    }

    /// What stands for these stands for them and for what is left of others, which a zero keeps apart. `None` if these are too many.
    fn sources_of(&self, window: Window) -> Option<Sources> {
        // If it is to be given up, too, that must be remembered.
        if self.given_up.is_full() {
            return None;
        }
        let mut sources = [0; SOURCES];
        for (index, segment) in self.window(window).iter().enumerate() {
            *sources.get_mut(index)? = segment.id;
        }
        for id in self.leftovers(window) {
            if !sources.contains(&id) {
                let mut free = sources.iter_mut().filter(|place| **place == 0);
                let (Some(_), Some(last)) = (free.next(), free.next_back()) else {
                    return None;
                };
                *last = id;
            }
        }
        Some(Sources(sources))
    }

    /// The segment that is open, and what compacting it would free, if that is anything. That one for notes alone counts nowhere.
    pub(super) fn open_window(&self) -> Option<(Window, usize)> {
        let frees = self.is_open && self.takes_reports();
        let first = self.list.len().checked_sub(1).filter(|_| frees)?;
        let window = Window { first, count: 1 };
        Some((window, self.gain(window))).filter(|(_, gain)| *gain > 0)
    }

    /// These are not compacted any more.
    pub(super) fn spare(&mut self, window: Window) {
        let some = self.list.iter_mut().skip(window.first).take(window.count);
        some.for_each(|segment| segment.is_spared = true);
    }

    /// What compacting these segments would free.
    fn gain(&self, window: Window) -> usize {
        let segments = self.window(window);
        if segments.iter().any(|segment| segment.is_spared) {
            return 0;
        }
        let sum =
            |of: fn(&Segment) -> usize| segments.iter().map(of).fold(0, usize::saturating_add);
        let (len, live) = (sum(|s| s.len), sum(|s| s.live));
        if self.sources_of(window).is_none() {
            return 0;
        }
        let kept = if live == 0 && !self.must_stand_for(window) {
            0
        } else {
            self.output_len(live, CHECKPOINT)
        };
        len.saturating_sub(kept)
    }

    /// How many neighbours at the most are taken together. Where segments have one length only, it takes many before one is left over.
    fn most_at_once(&self) -> usize {
        let limits = self.storage.limits();
        if limits.length_unit < limits.segment {
            2
        } else {
            SOURCES
        }
    }

    /// How many bytes would be free if only what must be kept were left of the sealed segments. Reads nothing.
    pub(super) fn reclaimable(&self) -> usize {
        let sealed = self.list.len().saturating_sub(usize::from(self.is_open));
        let mut free = 0usize;
        let mut first = 0;
        while first < sealed {
            let left = sealed.saturating_sub(first);
            let counts = 1..=self.most_at_once().min(left);
            let gains = counts.map(|count| (self.gain(Window { first, count }), count));
            // What one frees alone it need not free together with others.
            let best = gains.reduce(|a, b| if b.0 > a.0 { b } else { a });
            let (gain, count) = best.unwrap_or((0, 1));
            let alone = self.gain(Window { first, count: 1 });
            let (gain, count) = if alone > 0 { (alone, 1) } else { (gain, count) };
            free = free.saturating_add(gain);
            first = first.saturating_add(if gain > 0 { count } else { 1 });
        }
        free
    }

    /// The sealed neighbours whose compaction frees most; where bytes are not what a segment of the length `wanted` lacks, those that get one
    /// segment out of two. `None` if none frees anything.
    pub(super) fn best_window(&self, wanted: usize) -> Option<Window> {
        let limits = self.storage.limits();
        let sealed = self.list.len().saturating_sub(usize::from(self.is_open));
        let most = self.most_at_once();
        let short_of_bytes = self.total().saturating_add(wanted) > limits.total;
        let mut best: Option<(usize, Window)> = None;
        for first in 0..sealed {
            for count in 1..=most.min(sealed.saturating_sub(first)) {
                let window = Window { first, count };
                let gain = self.gain(window);
                let lives = self.window(window).iter().map(|s| s.live);
                let output = self.output_len(lives.fold(0, usize::saturating_add), CHECKPOINT);
                // For a moment there is more than there may be: by one segment at most.
                let fits = output <= limits.segment
                    || count == 1
                    || self.total().saturating_add(output) <= limits.total;
                let frees = gain > 0 && (short_of_bytes || count > 1);
                // Of equal ones the first and the shortest.
                if frees && fits && best.is_none_or(|(most, _)| gain > most) {
                    best = Some((gain, window));
                }
            }
        }
        best.map(|(_, window)| window)
    }

    /// Whether any record of these segments is kept.
    pub(super) fn keeps_any(&mut self, window: Window, keeper: &mut dyn Keeper<S, MAX>) -> bool {
        let none = self.each_kept(window, keeper, &mut |_, _, _| Ok(false));
        !none.unwrap_or(false)
    }

    /// Writes what is kept of these segments into a new one, and discards them. The note must count what is left out.
    #[inline(never)] // its stack is for full logs alone
    pub(super) fn compact(
        &mut self,
        window: Window,
        note: Note<'_>,
        keeper: &mut dyn Keeper<S, MAX>,
    ) -> Result<(), OutboxError<S::Error>> {
        let Some(oldest) = self.list.get(window.first).copied() else {
            return Ok(());
        };
        let sources = self.sources_of(window).ok_or(OutboxError::Full)?;
        self.read_failed = false;
        let mut size = 0usize;
        self.each_kept(window, keeper, &mut |this, _, record| {
            size = size.saturating_add(this.record_len(record.len));
            Ok(true)
        })?;
        let len = self.output_len(size, note.payload.len());
        let mut output = None;
        if let Some(partial) = self.partial.take() {
            let same = partial.sources == sources;
            let resumed = same && partial.len >= len;
            let resumed = resumed
                && self
                    .fill(window, &partial, true, note, keeper)
                    .unwrap_or(false);
            match resumed {
                true => {
                    self.given_up.retain(|other| other.id != partial.id);
                    output = Some(partial);
                }
                false => self.give_up(partial),
            }
        }
        let mut output = match output {
            Some(output) => output,
            None => {
                let header = SegmentHeader {
                    identity: self.identity(0),
                    first: oldest.first,
                    // What was given up right now may be there.
                    sources: self.sources_of(window).ok_or(OutboxError::Full)?,
                    checkpoint: note.checkpoint,
                };
                let output = self.create(len, &header)?;
                let filled = self.fill(window, &output, false, note, keeper);
                // What could be read the one time and not the other does not fit.
                let filled = match filled {
                    Err(OutboxError::Full) if self.read_failed => Err(OutboxError::Unreadable),
                    filled => filled,
                };
                filled.inspect_err(|_| self.give_up(output))?;
                output
            }
        };
        let mut offset = SEGMENT_HEADER;
        while let Some((place, record)) = self.next_in(&output, offset) {
            offset = self.after(place, &record).offset;
            keeper.moved(&record, place);
        }
        // Nothing is given up for a disk that is only away, or for an error that goes away.
        let alive = self.check_alive();
        let read = match self.read_failed && !note.is_lossy {
            true => Err(OutboxError::Unreadable),
            false => Ok(()),
        };
        alive.and(read).inspect_err(|_| self.give_up(output))?;
        output.live = size;
        self.replace(window, output);
        Ok(())
    }

    /// Puts a segment in the place of others, and discards these.
    fn replace(&mut self, window: Window, output: Segment) {
        let end = window.first.saturating_add(window.count);
        if self.is_open && end >= self.list.len() {
            self.close();
        }
        for _ in 0..window.count {
            if window.first < self.list.len() {
                let source = self.list.remove(window.first);
                self.discard(source.id, source.len);
            }
        }
        if window.first <= self.list.len() {
            // As many were removed.
            let _ = self.list.insert(window.first, output);
        }
    }

    /// Gives each record of these segments, as long as `each` says so; `false` if it did not.
    #[allow(clippy::type_complexity)] // once
    pub(super) fn each_record(
        &mut self,
        window: Window,
        each: &mut dyn FnMut(
            &mut Self,
            Place,
            &RecordHeader,
        ) -> Result<bool, OutboxError<S::Error>>,
    ) -> Result<bool, OutboxError<S::Error>> {
        for index in window.first..window.first.saturating_add(window.count) {
            let Some(source) = self.list.get(index).copied() else {
                break;
            };
            let mut offset = SEGMENT_HEADER;
            while let Some((place, header)) = self.next_in(&source, offset) {
                offset = self.after(place, &header).offset;
                if !each(self, place, &header)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The same of those that are kept.
    #[allow(clippy::type_complexity)] // once
    fn each_kept(
        &mut self,
        window: Window,
        keeper: &mut dyn Keeper<S, MAX>,
        each: &mut dyn FnMut(
            &mut Self,
            Place,
            &RecordHeader,
        ) -> Result<bool, OutboxError<S::Error>>,
    ) -> Result<bool, OutboxError<S::Error>> {
        self.each_record(window, &mut |this, place, header| {
            Ok(!keeper.keeps(this, place, header) || each(this, place, header)?)
        })
    }

    /// Writes the records, the commit, and makes them durable. With `resumes` it goes on after what a crash left, as far as that is the same;
    /// `false` if there is something else.
    fn fill(
        &mut self,
        window: Window,
        output: &Segment,
        resumes: bool,
        note: Note<'_>,
        keeper: &mut dyn Keeper<S, MAX>,
    ) -> Result<bool, OutboxError<S::Error>> {
        let limit = output.len.saturating_sub(SEGMENT_HEADER);
        let commit_len = self.record_len(note.payload.len());
        let end = if resumes {
            self.end_of_writing(output)
        } else {
            SEGMENT_HEADER
        };
        let (mut at, mut seen) = (end, SEGMENT_HEADER);
        let mut count = 0u64;
        let went = self.each_kept(window, keeper, &mut |this, place, header| {
            if matches!(header.kind, Kind::Report | Kind::Letter) {
                count = count.saturating_add(u64::from(this.is_whole(place, header)));
            }
            if let Some((copy, other)) = this.next_until(output, seen, end) {
                seen = this.after(copy, &other).offset;
                let same = RecordHeader {
                    copied: header.copied,
                    ..other
                } == *header;
                return Ok(same && this.is_whole(copy, &other));
            }
            let to = Place {
                id: output.id,
                offset: at,
            };
            at = at.saturating_add(this.record_len(header.len));
            if at.saturating_add(commit_len) > limit {
                return Ok(false);
            }
            this.copy(place, header, to)?;
            Ok(true)
        })?;
        // More than what is kept now.
        if !went || self.next_until(output, seen, end).is_some() {
            return if resumes {
                Ok(false)
            } else {
                Err(OutboxError::Full)
            };
        }
        if at.saturating_add(commit_len) > limit {
            return if resumes {
                Ok(false)
            } else {
                Err(OutboxError::Full)
            };
        }
        let to = Place {
            id: output.id,
            offset: at,
        };
        let commit = RecordHeader {
            copied: true,
            ..header_of(Kind::Commit, 0, 0, count)
        };
        let commit = with_payload(commit, note.payload, &[]);
        self.write_record(to, &commit, note.payload, &[])?;
        self.storage.sync(output.id).map_err(OutboxError::Device)?;
        Ok(true)
    }

    fn next_until(
        &mut self,
        segment: &Segment,
        offset: usize,
        end: usize,
    ) -> Option<(Place, RecordHeader)> {
        let found = self
            .next_in(segment, offset)
            .filter(|(place, _)| place.offset < end);
        found.filter(|_| offset < end)
    }

    /// Copies a record. Its header is sealed anew, for its new place.
    fn copy(
        &mut self,
        from: Place,
        header: &RecordHeader,
        to: Place,
    ) -> Result<(), OutboxError<S::Error>> {
        let mut chunk = [0; CHUNK];
        let mut filled = HEADER;
        let mut done = 0usize;
        let sealed = RecordHeader {
            copied: true,
            ..*header
        };
        let sealed = sealed.encode(&self.identity(to.id), to.offset);
        if let Some(place) = chunk.first_chunk_mut() {
            *place = sealed;
        }
        let mut at = to.offset;
        loop {
            let len = CHUNK
                .saturating_sub(filled)
                .min(header.len.saturating_sub(done));
            let end = filled.saturating_add(len);
            let part = chunk.get_mut(filled..end).unwrap_or_default();
            if self.read(from, done, part).is_err() {
                chunk.get_mut(filled..end).unwrap_or_default().fill(0);
            }
            done = done.saturating_add(len);
            let padded = self.padded(end).min(CHUNK);
            chunk.get_mut(end..padded).unwrap_or_default().fill(0);
            let part = chunk.get(..padded).unwrap_or_default();
            self.storage
                .write(to.id, at, part)
                .map_err(OutboxError::Device)?;
            at = at.saturating_add(padded);
            filled = 0;
            if done >= header.len {
                return Ok(());
            }
        }
    }

    /// Whether as many whole records stand before the commit of a segment as it says; `None` without one.
    pub(super) fn commit_of(&mut self, segment: &Segment) -> Option<bool> {
        let mut count = 0u64;
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            match header.kind {
                Kind::Commit => {
                    return Some(header.count == count && self.is_whole(place, &header));
                }
                Kind::Report | Kind::Letter if self.is_whole(place, &header) => {
                    count = count.saturating_add(1);
                }
                _ => {}
            }
        }
        None
    }
}
