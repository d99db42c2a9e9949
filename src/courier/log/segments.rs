//! The segments of one log: appending, walking from record to record, and finding the way back after a crash.

use super::outbox::LogError;
use super::record::{
    ALIGN, Checksum, HEADER, Kind, MAGIC, RecordHeader, SEGMENT_HEADER, SegmentFront,
    SegmentHeader, padded, record_len,
};
use super::storage::Storage;

/// Bytes looked at in one go.
const CHUNK: usize = 512;

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
    /// In the order of the log; the last one is written, if `open` is set.
    pub(super) list: heapless::Vec<Segment, MAX>,
    is_open: bool,
    write_at: usize,
    next_id: u32,
    dirty: bool,
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// A log on a storage that has nothing in it.
    pub(super) const fn empty(storage: S) -> Self {
        Segments {
            storage,
            list: heapless::Vec::new(),
            is_open: false,
            write_at: 0,
            next_id: 1,
            dirty: false,
        }
    }

    /// Finds the segments. Changes nothing when one of them is of a newer version.
    pub(super) fn open(storage: S) -> Result<Self, LogError<S::Error>> {
        let mut this = Self::empty(storage);
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
        this.storage.list(&mut each).map_err(LogError::Device)?;
        if too_many {
            return Err(LogError::TooManySegments);
        }
        for segment in &mut found {
            this.next_id = this.next_id.max(segment.id.saturating_add(1));
            if let SegmentFront::Header(header) = this.read_front(segment)? {
                (segment.from, segment.to) = (header.from, header.to);
            }
        }
        this.keep_valid(&in_order(&found))?;
        this.is_open = this.list.last().is_some_and(|last| last.from == last.id);
        // A process that was killed may have left writes that are not durable yet.
        this.dirty = this.is_open;
        // Behind all that is written, however it got there.
        if let (true, Some(last)) = (this.is_open, this.list.last().copied()) {
            this.write_at = last.len;
            this.write_at = this.end_of_writing(&last)?;
        }
        Ok(this)
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
                self.storage.discard(segment.id).map_err(LogError::Device)?;
            }
        }
        Ok(())
    }

    fn has_record(
        &mut self,
        segment: &Segment,
        wanted: impl Fn(Kind) -> bool,
    ) -> Result<bool, LogError<S::Error>> {
        let mut at = SEGMENT_HEADER;
        while let Some((offset, header)) = self.find(segment.id, at, segment.len)? {
            if wanted(header.kind) {
                return Ok(true);
            }
            at = offset.saturating_add(header.record_len());
        }
        Ok(false)
    }

    pub(super) fn read_front(
        &mut self,
        segment: &Segment,
    ) -> Result<SegmentFront, LogError<S::Error>> {
        let mut bytes = [0; SEGMENT_HEADER];
        if segment.len < SEGMENT_HEADER {
            return Ok(SegmentFront::Unknown);
        }
        self.storage
            .read(segment.id, 0, &mut bytes)
            .map_err(LogError::Device)?;
        match SegmentHeader::decode(&bytes) {
            SegmentFront::Newer(version) => Err(LogError::NewerVersion(version)),
            front => Ok(front),
        }
    }

    /// Where the first record may stand.
    pub(super) fn start(&self) -> Place {
        let id = self.list.first().map_or(0, |first| first.id);
        Place {
            id,
            offset: SEGMENT_HEADER,
        }
    }

    /// The next whole record header at `place` or behind it, and its place.
    pub(super) fn next(
        &mut self,
        place: Place,
    ) -> Result<Option<(Place, RecordHeader)>, LogError<S::Error>> {
        let Some(mut index) = self.list.iter().position(|s| s.id == place.id) else {
            return Ok(None);
        };
        let mut offset = place.offset;
        while let Some(segment) = self.list.get(index).copied() {
            let end = self.end(&segment);
            if let Some((offset, header)) = self.find(segment.id, offset, end)? {
                return Ok(Some((
                    Place {
                        id: segment.id,
                        offset,
                    },
                    header,
                )));
            }
            index = index.saturating_add(1);
            offset = SEGMENT_HEADER;
        }
        Ok(None)
    }

    /// How far a segment may be written.
    fn end(&self, segment: &Segment) -> usize {
        let is_written = self.is_open && self.list.last() == Some(segment);
        if is_written {
            self.write_at
        } else {
            segment.len
        }
    }

    /// The first whole record header from `offset` on: right there, unless what stands there is damaged.
    fn find(
        &mut self,
        id: u32,
        offset: usize,
        end: usize,
    ) -> Result<Option<(usize, RecordHeader)>, LogError<S::Error>> {
        if let Some(header) = self.header_at(id, offset, end)? {
            return Ok(Some((offset, header)));
        }
        let mut at = offset.saturating_add(ALIGN);
        let mut chunk = [0; CHUNK];
        while at.saturating_add(HEADER) <= end {
            let len = CHUNK.min(end.saturating_sub(at));
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.storage.read(id, at, part).map_err(LogError::Device)?;
            let (words, _) = part.as_chunks::<ALIGN>();
            let mut candidates = heapless::Vec::<usize, { CHUNK / ALIGN }>::new();
            for (index, word) in words.iter().enumerate() {
                if word.starts_with(&MAGIC) {
                    let _ = candidates.push(at.saturating_add(index.saturating_mul(ALIGN)));
                }
            }
            for &candidate in &candidates {
                if let Some(header) = self.header_at(id, candidate, end)? {
                    return Ok(Some((candidate, header)));
                }
            }
            at = at.saturating_add(CHUNK);
        }
        Ok(None)
    }

    fn header_at(
        &mut self,
        id: u32,
        offset: usize,
        end: usize,
    ) -> Result<Option<RecordHeader>, LogError<S::Error>> {
        let mut bytes = [0; HEADER];
        if offset.saturating_add(HEADER) > end {
            return Ok(None);
        }
        self.storage
            .read(id, offset, &mut bytes)
            .map_err(LogError::Device)?;
        let fits = |h: &RecordHeader| offset.saturating_add(h.record_len()) <= end;
        Ok(RecordHeader::decode(&bytes).filter(fits))
    }

    /// Behind the last byte that is not blank.
    fn end_of_writing(&mut self, segment: &Segment) -> Result<usize, LogError<S::Error>> {
        let mut last = [0];
        let last_byte = segment.len.saturating_sub(1);
        self.storage
            .read(segment.id, last_byte, &mut last)
            .map_err(LogError::Device)?;
        let blank = if last == [0xff] { 0xff } else { 0 };
        let mut end = SEGMENT_HEADER;
        let mut at = SEGMENT_HEADER;
        let mut chunk = [0; CHUNK];
        while at < segment.len {
            let len = CHUNK.min(segment.len.saturating_sub(at));
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.storage
                .read(segment.id, at, part)
                .map_err(LogError::Device)?;
            if let Some(found) = part.iter().rposition(|&b| b != blank) {
                end = at.saturating_add(found).saturating_add(1);
            }
            at = at.saturating_add(CHUNK);
        }
        // The last record may end with blank bytes.
        let mut offset = SEGMENT_HEADER;
        while let Some((at, header)) = self.find(segment.id, offset, segment.len)? {
            offset = at.saturating_add(header.record_len());
        }
        Ok(padded(end.max(offset)).min(segment.len))
    }

    /// Whether the payload is what was written.
    pub(super) fn is_whole(
        &mut self,
        place: Place,
        header: &RecordHeader,
    ) -> Result<bool, LogError<S::Error>> {
        let mut checksum = Checksum::new();
        let mut chunk = [0; CHUNK];
        let mut done = 0usize;
        while done < header.len {
            let len = CHUNK.min(header.len.saturating_sub(done));
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.read(place, done, part)?;
            checksum.add(part);
            done = done.saturating_add(len);
        }
        Ok(checksum.finish() == header.crc)
    }

    /// Reads a part of the payload of the record at `place`.
    pub(super) fn read(
        &mut self,
        place: Place,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), LogError<S::Error>> {
        let offset = place.offset.saturating_add(HEADER).saturating_add(offset);
        self.storage
            .read(place.id, offset, buffer)
            .map_err(LogError::Device)
    }

    /// Reads the bytes of a report or dead letter; `false` if they are not what was written.
    pub(super) fn read_body(
        &mut self,
        place: Place,
        header: &RecordHeader,
        buffer: &mut [u8],
    ) -> Result<bool, LogError<S::Error>> {
        let mut prefix = [0; 256];
        let prefix = prefix.get_mut(..header.prefix()).unwrap_or_default();
        let body_len = header.len.saturating_sub(prefix.len());
        let Some(body) = buffer.get_mut(..body_len) else {
            return Ok(false);
        };
        self.read(place, 0, prefix)?;
        self.read(place, prefix.len(), body)?;
        let mut checksum = Checksum::new();
        checksum.add(prefix);
        checksum.add(body);
        Ok(checksum.finish() == header.crc)
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
        if self.total().saturating_add(len) > most || self.list.is_full() {
            return Err(LogError::Full);
        }
        self.sync()?;
        let id = self.next_id;
        (header.from, header.to) = (id, id);
        let segment = self.create(len, &header)?;
        let _ = self.list.push(segment);
        self.is_open = true;
        self.write_at = SEGMENT_HEADER;
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
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.storage.create(id, len).map_err(LogError::Device)?;
        if let Err(error) = self.storage.write(id, 0, &header.encode()) {
            let _ = self.storage.discard(id);
            return Err(LogError::Device(error));
        }
        Ok(Segment {
            id,
            len,
            from: header.from,
            to: header.to,
        })
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
        let mut chunk = [0; CHUNK];
        let front = chunk
            .len()
            .saturating_sub(HEADER)
            .saturating_sub(prefix.len());
        let (front, rest) = body.split_at_checked(front).unwrap_or((body, &[]));
        let bytes = header.encode();
        let parts = bytes.iter().chain(prefix).chain(front);
        chunk
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = *from);
        let len = padded(
            HEADER
                .saturating_add(prefix.len())
                .saturating_add(front.len()),
        );
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

    /// Whether the record at this very place is there and whole.
    pub(super) fn is_there(&mut self, place: Place) -> Result<bool, LogError<S::Error>> {
        if !self.list.iter().any(|segment| segment.id == place.id) {
            return Ok(false);
        }
        match self.header_at(place.id, place.offset, usize::MAX)? {
            Some(header) => self.is_whole(place, &header),
            None => Ok(false),
        }
    }

    /// Makes durable what is written.
    pub(super) fn sync(&mut self) -> Result<(), LogError<S::Error>> {
        if let (true, Some(last)) = (self.dirty, self.list.last()) {
            self.storage.sync(last.id).map_err(LogError::Device)?;
            self.dirty = false;
        }
        Ok(())
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

    /// Discards the oldest segment, the one that is written too; `false` if there is none, or it stays.
    pub(super) fn discard_oldest(&mut self) -> bool {
        let Some(first) = self.list.first().copied() else {
            return false;
        };
        if self.storage.discard(first.id).is_err() {
            return false;
        }
        self.list.retain(|segment| segment.id != first.id);
        if self.list.is_empty() {
            (self.is_open, self.dirty) = (false, false);
        }
        true
    }

    /// Puts a merged segment in the place of its sources. One that cannot be discarded now is discarded at the next start.
    pub(super) fn replace(&mut self, sources: &[Segment], merged: Segment) {
        let old = self.list.clone();
        self.list.clear();
        for segment in &old {
            if Some(segment) == sources.first() {
                let _ = self.list.push(merged);
            }
            if sources.contains(segment) {
                let _ = self.storage.discard(segment.id);
            } else {
                let _ = self.list.push(*segment);
            }
        }
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

    /// How many bytes all segments have.
    pub(super) fn total(&self) -> usize {
        self.list
            .iter()
            .map(|segment| segment.len)
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
