//! The dead letters, in a log: room for another. For it others are dropped, if they may be.

use super::super::outbox::{OutboxError, WhenLettersFull};
use super::ahead::Ahead;
use super::compact::{Keeper, Note, Window};
use super::index::Index;
use super::letters::Letters;
use super::record::{
    CHECKPOINT, Counter, Kind, RecordHeader, SEGMENT_HEADER, SOURCES, SegmentHeader, Sources,
};
use super::segments::{Place, Segment, Segments};
use super::storage::Storage;

/// Segments whose letters were dropped, and that are still there.
type Dropped<const MAX: usize> = heapless::Vec<Segment, MAX>;

impl<S: Storage, const MAX: usize> Letters<S, MAX> {
    /// Discards the oldest segments, if no letter in them is kept.
    pub(super) fn reclaim(&mut self) {
        self.segments.discard_pending();
        while let [first, second, ..] = self.segments.list.as_slice() {
            let (id, live, last) = (first.id, first.live, second.first.saturating_sub(1));
            let before = self.state.cursor;
            // A process was killed after it said so, and before this was discarded.
            let is_said = self.is_noted && before >= last;
            // Without room the header of a new segment says it, or the segment is compacted.
            if live > 0 || !(is_said || self.segments.has_room(self.record_len(CHECKPOINT))) {
                return;
            }
            // What is forgotten must stay so without the records that say it.
            self.state.cursor = before.max(last);
            let said = match is_said {
                true => self.sync(),
                false => self.note(),
            };
            if said.is_err() || self.segments.list.first().is_none_or(|f| f.id != id) {
                return;
            }
            self.forgotten.drop_until(self.state.cursor);
            self.segments.remove(id);
        }
    }

    /// A new segment, whose header says how things stand. Before letters are dropped for it, what is forgotten is left out of others.
    pub(super) fn make_room(
        &mut self,
        records: usize,
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<S::Error>> {
        let needed = self.segments.segment_len(records);
        if !self.is_possible(needed) {
            return Err(OutboxError::TooLarge);
        }
        self.reclaim();
        let mut dropped = Dropped::new();
        let made = self.roll_dropping(records, needed, when_full, &mut dropped);
        let made = match made {
            // How many are gone must be durable before they are.
            Ok(()) if !dropped.is_empty() => self.sync(),
            made => made,
        };
        match made {
            Ok(()) => self.discard_dropped(&mut dropped),
            Err(_) => self.put_back(&mut dropped),
        }
        made
    }

    fn roll_dropping(
        &mut self,
        records: usize,
        needed: usize,
        when_full: WhenLettersFull,
        dropped: &mut Dropped<MAX>,
    ) -> Result<(), OutboxError<S::Error>> {
        let limits = self.segments.storage.limits();
        loop {
            match self.roll(records) {
                Ok(()) => return Ok(()),
                Err(OutboxError::Full) => {}
                // A full device, perhaps: then what is dropped must make room first.
                Err(error) => {
                    let may_drop = when_full == WhenLettersFull::DropOldest
                        && matches!(&error, OutboxError::Device(e) if self.segments.storage.lacks_room(e));
                    if dropped.is_empty() && may_drop && self.segments.list.len() > 1 {
                        self.drop_oldest(dropped);
                    }
                    self.keep_one(dropped);
                    if dropped.is_empty() {
                        return Err(error);
                    }
                    self.discard_dropped(dropped);
                    return self.roll(records);
                }
            }
            let free = limits.total.saturating_sub(self.segments.total());
            let is_enough = free.saturating_add(self.segments.reclaimable()) >= needed
                && self.segments.may_replace();
            if let Some(window) = self.segments.best_window(needed).filter(|_| is_enough) {
                let before = (self.segments.total(), self.segments.list.len());
                if !self.compact_or_spare(window)? {
                    continue;
                }
                if (self.segments.total(), self.segments.list.len()) != before {
                    continue;
                }
            }
            // The open one has no room either, and with those before it perhaps little that is kept.
            let end = self.segments.list.len();
            let mut windows = (1..=end.min(SOURCES)).map(|count| Window {
                first: end.saturating_sub(count),
                count,
            });
            let frees = |window: &Window| {
                let segments = self.segments.window(*window);
                let len = segments
                    .iter()
                    .map(|s| s.len)
                    .fold(0, usize::saturating_add);
                let live = segments
                    .iter()
                    .map(|s| s.live)
                    .fold(0, usize::saturating_add);
                let is_spared = segments.iter().any(|s| s.is_spared);
                !is_spared && self.segments.output_len(live, CHECKPOINT) < len
            };
            if self.segments.is_open
                && self.segments.may_replace()
                && let Some(window) = windows.find(frees)
            {
                self.compact_or_spare(window)?;
                continue;
            }
            // Nothing is lost with one whose letters are all forgotten.
            let first = self.segments.list.first();
            let is_empty = first.is_some_and(|first| first.live == 0);
            let may_drop = is_empty || when_full == WhenLettersFull::DropOldest;
            if !may_drop || !self.drop_oldest(dropped) {
                return Err(OutboxError::LettersFull);
            }
        }
    }

    fn roll(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        let header = SegmentHeader {
            identity: self.segments.identity(0),
            first: self.state.get(Counter::NUMBERED).saturating_add(1),
            sources: Sources::NONE,
            checkpoint: self.state,
        };
        let rolled = self.segments.roll(header, records);
        self.check_unconfirmed(rolled)?;
        self.is_noted = true;
        Ok(())
    }

    /// Takes the oldest segment off the list, and counts its letters as dropped; `false` if there is none.
    fn drop_oldest(&mut self, dropped: &mut Dropped<MAX>) -> bool {
        let Some(first) = self.segments.list.first().copied() else {
            return false;
        };
        let until = match self.segments.list.get(1) {
            Some(second) => second.first.saturating_sub(1),
            None => self.state.get(Counter::NUMBERED),
        };
        let (mut count, mut bytes) = (0u64, 0usize);
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.segments.next_in(&first, offset) {
            let size = self.segments.record_len(header.len);
            offset = place.offset.saturating_add(size);
            // The index has none that a crash has cut.
            let is_whole = cfg!(feature = "alloc") || self.segments.is_whole(place, &header);
            if is_whole && self.is_kept(place, &header) {
                count = count.saturating_add(1);
                bytes = bytes.saturating_add(size);
            }
        }
        self.count = self.count.saturating_sub(count);
        self.state.cursor = self.state.cursor.max(until);
        self.index.forget(until, true);
        self.forgotten.drop_until(self.state.cursor);
        self.segments.take_first();
        if bytes != first.live {
            // Some of them cannot be read any more.
            self.count_letters();
        }
        // Not one more for each: what forgot one of them may have been lost with a bad sector.
        self.count_dropped();
        self.is_noted = false;
        // There were as many segments at the most.
        dropped.push(first).is_ok()
    }

    /// Of all that there were the newest one stays until another is there: how many are forgotten, nothing else tells.
    fn keep_one(&mut self, dropped: &mut Dropped<MAX>) {
        if self.segments.list.is_empty()
            && let Some(newest) = dropped.pop()
        {
            // There is room: it was there before.
            let _ = self.segments.list.push(Segment { live: 0, ..newest });
        }
    }

    /// What is not discarded yet stands in the list, with nothing in it that is kept: [`reclaim`](Self::reclaim) discards it.
    fn put_back(&mut self, dropped: &mut Dropped<MAX>) {
        while let Some(segment) = dropped.pop() {
            // There is room: it was there before, and one was left for what was made since.
            let _ = self.segments.list.insert(0, Segment { live: 0, ..segment });
        }
    }

    fn discard_dropped(&mut self, dropped: &mut Dropped<MAX>) {
        while let Some(segment) = dropped.pop() {
            self.segments.discard(segment.id, segment.len);
        }
    }

    /// `false` if these cannot be read, and stay as they are.
    fn compact_or_spare(&mut self, window: Window) -> Result<bool, OutboxError<S::Error>> {
        match self.compact(window, false) {
            Err(OutboxError::Unreadable) => {
                self.segments.spare(window);
                Ok(false)
            }
            compacted => compacted.map(|()| true),
        }
    }

    pub(super) fn compact(
        &mut self,
        window: Window,
        is_lossy: bool,
    ) -> Result<(), OutboxError<S::Error>> {
        let payload = self.state.encode();
        let note = Note {
            checkpoint: self.state,
            payload: &payload,
            is_lossy,
        };
        self.listed = None;
        let oldest = self.segments.list.first().map_or(0, |first| first.first);
        let mut keeper = LetterKeeper {
            cursor: self.state.cursor,
            forgotten: &self.forgotten,
            index: &mut self.index,
            oldest,
        };
        let compacted = self.segments.compact(window, note, &mut keeper);
        self.index.end_moves(compacted.is_err());
        compacted
    }
}

/// Keeps letters that are not forgotten, and what forgets those that still stand somewhere.
struct LetterKeeper<'l> {
    cursor: u64,
    forgotten: &'l Ahead,
    index: &'l mut Index,
    oldest: u64,
}

impl<S: Storage, const MAX: usize> Keeper<S, MAX> for LetterKeeper<'_> {
    fn keeps(&mut self, _: &mut Segments<S, MAX>, place: Place, header: &RecordHeader) -> bool {
        match header.kind {
            Kind::Letter => {
                header.count > self.cursor
                    && self.forgotten.find(header.count).is_none()
                    && !self.index.lacks(header.count)
                    && self
                        .index
                        .place(header.count)
                        .is_none_or(|known| known == place)
            }
            // Not what could not be made durable: after that error the letter is still there.
            Kind::Forgotten => {
                let is_forgotten =
                    self.forgotten.find(header.seq).is_some() || self.index.lacks(header.seq);
                is_forgotten && header.seq > self.cursor && header.seq >= self.oldest
            }
            _ => false,
        }
    }

    fn moved(&mut self, header: &RecordHeader, to: Place) {
        if header.kind == Kind::Letter {
            self.index.moved(header.count, to);
        }
    }
}
