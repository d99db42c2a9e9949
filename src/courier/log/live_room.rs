//! The reports that wait, in a log: room for another.

use super::super::newest::Newest;
use super::super::outbox::OutboxError;
use super::ahead::{Ahead, Range};
use super::compact::{Keeper, Note, Window};
use super::live::{Live, note};
use super::places::Places;
use super::record::{Counter, Kind, RecordHeader, SEGMENT_HEADER, SOURCES};
use super::segments::{Place, Segments};
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Live<S, MAX> {
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
    pub(super) fn make_room(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        let limits = self.segments.storage.limits();
        let needed = self.segments.segment_len(records);
        if !self.segments.could_have(needed) {
            return Err(OutboxError::TooLarge);
        }
        self.pass_unused();
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
                // It cannot be left as it is, as others are. But nothing is given up for that: what cannot be read must not matter any more.
                let gives_up = self.waiting == 0 && self.copy_patience.is_spent();
                let compacted = self.compact(window, !gives_up);
                self.copy_patience.told(compacted)?;
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
    pub(super) fn compact_early(&mut self, size: usize) {
        let limits = self.segments.storage.limits();
        if self.segments.can_create(limits.segment) {
            return;
        }
        let free = limits.total.saturating_sub(self.segments.total());
        let left = self.segments.room_left().checked_div(size).unwrap_or(0);
        let steps = self.segments.list.len().saturating_mul(2);
        let is_enough = free.saturating_add(self.segments.reclaimable()) >= limits.segment;
        if left <= steps && is_enough {
            // A failure comes again when the room is needed, and is reported then.
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

    pub(super) fn compact(
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
        };
        let mut dropped = 0u64;
        self.segments
            .each_record(window, &mut |segments, place, header| {
                let is_dropped = keeper.waits(segments, place, header)
                    && keeper.is_superseded(segments, place, header);
                dropped = dropped.saturating_add(u64::from(is_dropped));
                Ok(true)
            })?;
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
        // How things stand is said by the last one, or by what stands for it.
        let is_dropped = drops_superseded
            && !self.segments.must_stand_for(window)
            && !self.segments.keeps_any(window, &mut keeper);
        // What could not be read may have to be kept.
        if self.segments.read_failed && drops_superseded {
            return Err(OutboxError::Unreadable);
        }
        if is_dropped {
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

/// Keeps the reports that wait, but for those that whole newer ones supersede.
struct WaitingKeeper<'l> {
    cursor: u64,
    ahead: &'l Ahead,
    jobs: &'l Newest,
    places: &'l mut Places,
    pinned: u64,
    drops_superseded: bool,
}

impl WaitingKeeper<'_> {
    fn waits<S: Storage, const MAX: usize>(
        &self,
        segments: &mut Segments<S, MAX>,
        place: Place,
        header: &RecordHeader,
    ) -> bool {
        let waits = header.seq > self.cursor && self.ahead.find(header.seq).is_none();
        header.kind == Kind::Report && waits && segments.is_first(place, header)
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
        let keys = segments.keys_at(place, header);
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
        self.waits(segments, place, header) && !self.is_superseded(segments, place, header)
    }

    fn moved(&mut self, header: &RecordHeader, to: Place) {
        self.places.moved(header.seq, to);
    }
}
