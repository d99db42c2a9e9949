//! The segments of one log: appending, walking from record to record, and finding the way back after a crash.

use super::outbox::{LogError, MAX_KEY_BYTES};
use super::record::{
    ALIGN, Checksum, HEADER, Kind, RecordHeader, SEGMENT_HEADER, SegmentFront, SegmentHeader,
    padded, record_len,
};
use super::storage::Storage;
use crate::json::{Sink, SliceSink};

/// Bytes looked at in one go. They are on the stack, which is short where there is no heap.
pub(super) const CHUNK: usize = if cfg!(feature = "alloc") { 512 } else { 64 };
/// What is written of a record in one go: its header and job keys, and of its body what is left.
const FRONT: usize = if cfg!(feature = "alloc") {
    512
} else {
    HEADER + MAX_KEY_BYTES
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) len: usize,
    /// The segments it stands for: itself, unless it was merged.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u32,
    pub(super) offset: usize,
}

impl Place {
    pub(super) const fn plus(self, bytes: usize) -> Self {
        Place {
            id: self.id,
            offset: self.offset.saturating_add(bytes),
        }
    }
}

#[derive(Debug)]
pub(super) struct Segments<S, const MAX: usize> {
    pub(super) storage: S,
    /// How many of the `MAX` segments stay free, for what is merged.
    spare: usize,
    /// In the order of the log; the last one is written, if it `is_open`.
    pub(super) list: heapless::Vec<Segment, MAX>,
    /// To be discarded: the storage would not, so far.
    doomed: heapless::Vec<Segment, MAX>,
    pub(super) is_open: bool,
    pub(super) write_at: usize,
    next_id: u32,
    /// Something was written since the last sync.
    dirty: bool,
    /// Up to here the last sync made the open segment durable.
    synced_to: usize,
    /// From here on a failed sync may have lost what was written, though it can still be read and later syncs succeed:
    /// it must be written again, elsewhere.
    suspect: Option<Place>,
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// A log on a storage that has nothing in it.
    pub(super) const fn empty(storage: S, spare: usize) -> Self {
        Segments {
            storage,
            spare,
            list: heapless::Vec::new(),
            doomed: heapless::Vec::new(),
            is_open: false,
            write_at: 0,
            next_id: 1,
            dirty: false,
            synced_to: 0,
            suspect: None,
        }
    }

    /// Finds the segments there are. Changes nothing when one of them is of a newer version.
    pub(super) fn open(&mut self) -> Result<(), LogError<S::Error>> {
        let mut found = heapless::Vec::<Segment, MAX>::new();
        let mut too_many = false;
        let mut each = |id: u32, len: usize| {
            too_many |= found
                .push(Segment {
                    id,
                    len,
                    from: id,
                    to: id,
                })
                .is_err();
        };
        self.storage.list(&mut each).map_err(LogError::Device)?;
        if too_many {
            return Err(LogError::TooManySegments);
        }
        for segment in &mut found {
            self.next_id = self.next_id.max(segment.id.saturating_add(1));
            if let SegmentFront::Header(header) = self.read_front(segment)? {
                (segment.from, segment.to) = (header.from, header.to);
            }
        }
        self.keep_valid(&in_order(&found))?;
        self.is_open = self.list.last().is_some_and(|last| last.from == last.id);
        // A process that was killed may have left writes that are not durable yet.
        self.dirty = self.is_open;
        // Behind all that is written, however it got there.
        if let (true, Some(last)) = (self.is_open, self.list.last().copied()) {
            self.write_at = last.len;
            self.write_at = self.end_of_writing(&last)?;
            self.synced_to = SEGMENT_HEADER;
        }
        Ok(())
    }

    /// Drops what a crash left over: blank segments, merged ones without an end, and what merged ones stand for.
    fn keep_valid(&mut self, found: &[Segment]) -> Result<(), LogError<S::Error>> {
        let mut committed = heapless::Vec::<Segment, MAX>::new();
        for segment in found.iter().filter(|s| s.from != s.id) {
            if self.has_record(segment, |kind| kind == Kind::Commit)? {
                let _ = committed.push(*segment);
            }
        }
        for segment in found {
            let is_merged = segment.from != segment.id;
            let replaced = committed.iter().any(|merged| {
                merged.from <= segment.from && segment.to <= merged.to && segment.id < merged.id
            });
            let known = matches!(self.read_front(segment)?, SegmentFront::Header(_));
            let keep = if is_merged {
                committed.contains(segment) && !replaced
            } else {
                !replaced && (known || self.has_record(segment, |_| true)?)
            };
            if keep {
                let _ = self.list.push(*segment);
            } else {
                self.discard(*segment);
            }
        }
        Ok(())
    }

    /// Whether a record of this payload fits into the segment that is written.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        let end = self.write_at.saturating_add(record_len(payload));
        self.is_open && self.list.last().is_some_and(|last| end <= last.len)
    }

    /// Begins a new segment with room for a record of this payload.
    pub(super) fn roll(
        &mut self,
        mut header: SegmentHeader,
        payload: usize,
    ) -> Result<(), LogError<S::Error>> {
        let len = self.segment_len(payload);
        let (_, most) = self.storage.limits();
        self.discard_doomed();
        let is_full = self.count().saturating_add(self.spare) >= MAX;
        if is_full || self.total().saturating_add(len) > most {
            return Err(LogError::Full);
        }
        self.sync()?;
        let id = self.next_id;
        (header.from, header.to) = (id, id);
        let segment = self.create(len, &header)?;
        let _ = self.list.push(segment);
        self.is_open = true;
        self.write_at = SEGMENT_HEADER;
        self.synced_to = SEGMENT_HEADER;
        self.dirty = true;
        Ok(())
    }

    fn segment_len(&self, payload: usize) -> usize {
        let (least, _) = self.storage.limits();
        let needed = SEGMENT_HEADER.saturating_add(record_len(payload));
        padded(needed).max(least)
    }

    /// Makes a segment and writes its header.
    pub(super) fn create(
        &mut self,
        len: usize,
        header: &SegmentHeader,
    ) -> Result<Segment, LogError<S::Error>> {
        if self.count() >= MAX {
            return Err(LogError::Full);
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        let segment = Segment {
            id,
            len,
            from: header.from,
            to: header.to,
        };
        let made = self.storage.create(id, len);
        let made = made.and_then(|()| self.storage.write(id, 0, &header.encode()));
        if made.is_err() {
            self.discard(segment);
        }
        made.map(|()| segment).map_err(LogError::Device)
    }

    /// Appends a record to the segment that is written. `prefix` has a multiple of 8 bytes.
    pub(super) fn append(
        &mut self,
        kind: Kind,
        seq: u64,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), LogError<S::Error>> {
        let Some(segment) = self.list.last().copied() else {
            return Err(LogError::Full);
        };
        let place = Place {
            id: segment.id,
            offset: self.write_at,
        };
        let header = header_of(kind, seq, prefix, body);
        // After an error part of it may be there: that place is not written again.
        self.write_at = self.write_at.saturating_add(header.record_len());
        self.dirty = true;
        self.write_record(place, &header, prefix, body)
    }

    /// Writes a record: a small one in one go.
    pub(super) fn write_record(
        &mut self,
        place: Place,
        header: &RecordHeader,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), LogError<S::Error>> {
        let mut chunk = [0; FRONT];
        let front = chunk
            .len()
            .saturating_sub(HEADER)
            .saturating_sub(prefix.len());
        let (front, rest) = body.split_at_checked(front).unwrap_or((body, &[]));
        let mut sink = SliceSink::new(&mut chunk);
        for part in [&header.encode()[..], prefix, front] {
            // The three have room.
            let _ = sink.put(part);
        }
        let len = padded(sink.len());
        let (whole, tail) = rest.as_chunks::<ALIGN>();
        let mut last = [0; ALIGN];
        last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        let last = if tail.is_empty() { &[][..] } else { &last[..] };
        let mut offset = place.offset;
        for part in [
            chunk.get(..len).unwrap_or_default(),
            whole.as_flattened(),
            last,
        ] {
            if !part.is_empty() {
                let written = self.storage.write(place.id, offset, part);
                written.map_err(LogError::Device)?;
                offset = offset.saturating_add(part.len());
            }
        }
        Ok(())
    }

    /// Where the next record goes.
    pub(super) fn end_of_log(&self) -> Place {
        Place {
            id: self.list.last().map_or(0, |last| last.id),
            offset: self.write_at,
        }
    }

    /// Makes durable what was written since the last try.
    pub(super) fn sync(&mut self) -> Result<(), LogError<S::Error>> {
        if let (true, Some(last)) = (self.dirty, self.list.last()) {
            self.dirty = false;
            let synced_to = Place {
                id: last.id,
                offset: self.synced_to,
            };
            match self.storage.sync(last.id) {
                Ok(()) => self.synced_to = self.write_at,
                Err(error) => {
                    self.suspect.get_or_insert(synced_to);
                    return Err(LogError::Device(error));
                }
            }
        }
        Ok(())
    }

    pub(super) fn suspect(&self) -> Option<Place> {
        self.suspect
    }

    /// What was suspect was written again.
    pub(super) fn trust(&mut self) {
        self.suspect = None;
    }

    pub(super) fn discard(&mut self, segment: Segment) {
        if self.storage.discard(segment.id).is_err() {
            // There is room: `create` saw to it.
            let _ = self.doomed.push(segment);
        }
    }

    /// Discards what could not be discarded before; `false` if something is left.
    pub(super) fn discard_doomed(&mut self) -> bool {
        let storage = &mut self.storage;
        self.doomed
            .retain(|segment| storage.discard(segment.id).is_err());
        self.doomed.is_empty()
    }

    /// Discards the segments in front of the one with this id. What cannot be discarded stays for another time.
    pub(super) fn discard_before(&mut self, id: u32) {
        while let Some(first) = self.list.first().copied() {
            let last = self.list.len() == 1;
            if first.id == id || last || !self.list.iter().any(|s| s.id == id) {
                return;
            }
            // What says that its reports are settled must last longer than it.
            if self.sync().is_err() || self.storage.discard(first.id).is_err() {
                return;
            }
            self.list.retain(|segment| segment.id != first.id);
        }
    }

    /// Discards the oldest segment, the one that is written too; `false` if there is none.
    pub(super) fn discard_oldest(&mut self) -> Result<bool, LogError<S::Error>> {
        let Some(first) = self.list.first().copied() else {
            return Ok(false);
        };
        self.storage.discard(first.id).map_err(LogError::Device)?;
        self.list.retain(|segment| segment.id != first.id);
        if self.list.is_empty() {
            (self.is_open, self.dirty, self.suspect) = (false, false, None);
        }
        Ok(true)
    }

    /// Takes back what [`roll`](Self::roll) did.
    pub(super) fn discard_newest(&mut self) {
        if let Some(last) = self.list.pop() {
            self.discard(last);
            (self.is_open, self.dirty) = (false, false);
        }
    }

    /// Puts a merged segment in the place of its sources.
    pub(super) fn replace(&mut self, sources: &[Segment], merged: Segment) {
        if self.list.last() == sources.last() {
            (self.is_open, self.dirty, self.suspect) = (false, false, None);
        }
        for source in sources {
            self.discard(*source);
        }
        if let Some(first) = self.list.iter_mut().find(|s| sources.first() == Some(s)) {
            *first = merged;
        }
        self.list.retain(|segment| !sources.contains(segment));
    }

    /// Appends a copy of a record to the segment that is written.
    pub(super) fn append_copy(
        &mut self,
        from: Place,
        header: &RecordHeader,
    ) -> Result<(), LogError<S::Error>> {
        let to = self.end_of_log();
        self.write_at = self.write_at.saturating_add(header.record_len());
        self.dirty = true;
        self.copy(from, header, to)
    }

    /// Copies a record as it is.
    pub(super) fn copy(
        &mut self,
        from: Place,
        header: &RecordHeader,
        to: Place,
    ) -> Result<(), LogError<S::Error>> {
        let mut chunk = [0; CHUNK];
        let mut done = 0usize;
        while done < header.record_len() {
            let len = CHUNK.min(header.record_len().saturating_sub(done));
            let part = chunk.get_mut(..len).unwrap_or_default();
            let (read, write) = (from.plus(done).offset, to.plus(done).offset);
            self.storage
                .read(from.id, read, part)
                .map_err(LogError::Device)?;
            self.storage
                .write(to.id, write, part)
                .map_err(LogError::Device)?;
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// Whether something is written behind the last record, which ends at `tail`.
    pub(super) fn is_written_behind(&self, tail: Place) -> bool {
        let last = self.list.last().map_or(0, |last| last.id);
        let end = if tail.id == last {
            tail.offset
        } else {
            SEGMENT_HEADER
        };
        self.is_open && self.write_at > end
    }

    /// How many segments the storage has.
    fn count(&self) -> usize {
        self.list.len().saturating_add(self.doomed.len())
    }

    /// How many bytes all segments have.
    pub(super) fn total(&self) -> usize {
        let all = self.list.iter().chain(&self.doomed);
        all.map(|segment| segment.len)
            .fold(0, usize::saturating_add)
    }
}

/// By place in the log. (The sorts of core can panic on an inconsistent order, so that a panic would be linked.)
fn in_order<const MAX: usize>(found: &heapless::Vec<Segment, MAX>) -> heapless::Vec<Segment, MAX> {
    let mut sorted = heapless::Vec::<Segment, MAX>::new();
    let key = |s: &Segment| (s.from, s.id);
    while let Some(next) = found
        .iter()
        .filter(|s| sorted.last().is_none_or(|last| key(last) < key(s)))
        .min_by_key(|s| key(s))
    {
        if sorted.push(*next).is_err() {
            break;
        }
    }
    sorted
}

pub(super) fn header_of(kind: Kind, seq: u64, prefix: &[u8], body: &[u8]) -> RecordHeader {
    let mut checksum = Checksum::new();
    checksum.add(prefix);
    checksum.add(body);
    let keys = match kind {
        Kind::Report => u8::try_from(prefix.len() / super::record::KEY).unwrap_or(0),
        _ => 0,
    };
    RecordHeader {
        kind,
        keys,
        len: prefix.len().saturating_add(body.len()),
        seq,
        crc: checksum.finish(),
    }
}
