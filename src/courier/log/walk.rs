//! Reading segments: from record to record, past what is damaged or cannot be read.
//!
//! A header has a checksum of its own, seeded with the name of its segment. So after damage the walk looks at every unit of the
//! storage for the next whole header, and cannot be led astray: neither by a report that has the bytes of a record in it, nor
//! by a sector that belongs elsewhere.

use super::super::outbox::{JobKeys, OutboxError};
use super::record::{
    Checksum, HEADER, Kind, MAGIC, MAX_PREFIX, META, MIN_UNIT, Meta, RecordHeader, SEGMENT_HEADER,
    SegmentFront, SegmentHeader, keys_from,
};
use super::segments::{CHUNK, Place, Segment, Segments};
use super::storage::Storage;

/// What can be unreadable by itself.
const SECTOR: usize = 512;
/// After so many unreadable sectors in a row only each eighth is tried: a dead disk takes its time for each.
const PATIENCE: u32 = 64;

/// After so many errors in a row what cannot be read is given up.
const TRIES: u32 = 4;

/// Some read errors go away, and what is given up does not come back: so a few of them in a row are reported as such first.
#[derive(Debug)]
pub(super) struct Patience(pub(super) u32);

impl Patience {
    pub(super) fn note(&mut self, failed: bool) {
        self.0 = if failed { self.0.saturating_add(1) } else { 0 };
    }

    /// Notes a result, and gives it back.
    pub(super) fn told<E>(
        &mut self,
        result: Result<(), OutboxError<E>>,
    ) -> Result<(), OutboxError<E>> {
        self.note(matches!(result, Err(OutboxError::Unreadable)));
        result
    }

    /// Whether the next error is the last that is reported.
    pub(super) const fn is_spent(&self) -> bool {
        self.0.saturating_add(1) >= TRIES
    }
}

/// Some read errors go away: reads until `failed` says that none was met, or a few times.
pub(super) fn until_read<L, T>(
    log: &mut L,
    failed: fn(&mut L) -> &mut bool,
    read: impl Fn(&mut L) -> T,
) -> T {
    let mut tries = 1;
    loop {
        *failed(log) = false;
        let found = read(log);
        if !*failed(log) || tries >= TRIES {
            return found;
        }
        tries = tries.saturating_add(1);
    }
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// Reads, if need be a second time: some errors are there only once.
    pub(super) fn read_at(
        &mut self,
        id: u32,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), OutboxError<S::Error>> {
        let read = self.storage.read(id, offset, buffer);
        let read = read.or_else(|_| self.storage.read(id, offset, buffer));
        if let Err(error) = &read {
            self.read_failed = true;
            if self.storage.is_outage(error) {
                self.out_at = Some(id);
            }
        }
        read.map_err(OutboxError::Device)
    }

    /// Reads what can be read; the rest is zeros.
    fn read_lossy(&mut self, id: u32, offset: usize, buffer: &mut [u8]) {
        if self.storage.read(id, offset, buffer).is_ok() {
            self.unreadable = 0;
            return;
        }
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let len = SECTOR.saturating_sub(at % SECTOR).min(rest.len());
            let Some((piece, more)) = rest.split_at_mut_checked(len) else {
                return;
            };
            let hopeless = self.unreadable >= PATIENCE && !at.is_multiple_of(8 * SECTOR);
            if !hopeless && self.read_at(id, at, piece).is_ok() {
                self.unreadable = 0;
            } else {
                self.read_failed = true;
                self.unreadable = self.unreadable.saturating_add(1);
                piece.fill(0);
            }
            at = at.saturating_add(len);
            rest = more;
        }
    }

    /// The header of a segment, from either of its ends. `Err` if neither can be read.
    pub(super) fn read_front(
        &mut self,
        id: u32,
        len: usize,
    ) -> Result<SegmentFront, OutboxError<S::Error>> {
        let mut other = None;
        let mut error = None;
        let mut read_one = false;
        let end = len.checked_sub(SEGMENT_HEADER);
        let mut bytes = [0; SEGMENT_HEADER];
        for offset in [end.map(|_| 0), end].into_iter().flatten() {
            match self.read_at(id, offset, &mut bytes) {
                Err(failed) => error = Some(failed),
                Ok(()) => {
                    read_one = true;
                    match SegmentHeader::decode(&bytes) {
                        SegmentFront::Unknown => {}
                        SegmentFront::Header(header) => return Ok(SegmentFront::Header(header)),
                        SegmentFront::OtherVersion(version) => other = Some(version),
                    }
                }
            }
        }
        match (other, error) {
            (Some(version), _) => Ok(SegmentFront::OtherVersion(version)),
            (None, Some(error)) if !read_one => Err(error),
            _ => Ok(SegmentFront::Unknown),
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

    /// The next whole record header at `place` or after it, and its place.
    pub(super) fn next(&mut self, place: Place) -> Option<(Place, RecordHeader)> {
        let mut index = self.list.iter().position(|s| s.id == place.id)?;
        let mut offset = place.offset;
        while let Some(segment) = self.list.get(index).copied() {
            if let Some(found) = self.next_in(&segment, offset) {
                return Some(found);
            }
            index = index.saturating_add(1);
            offset = SEGMENT_HEADER;
        }
        None
    }

    /// The same within one segment.
    pub(super) fn next_in(
        &mut self,
        segment: &Segment,
        offset: usize,
    ) -> Option<(Place, RecordHeader)> {
        let is_open = self.is_open && self.list.last() == Some(segment);
        let end = if is_open { self.write_at } else { segment.len };
        let (offset, header) = self.find_header(segment.id, offset, end)?;
        let place = Place {
            id: segment.id,
            offset,
        };
        Some((place, header))
    }

    /// Where the record after this one may stand.
    pub(super) fn after(&self, place: Place, header: &RecordHeader) -> Place {
        place.plus(self.record_len(header.len))
    }

    /// The first whole record header from `offset` on: right there, unless what stands there is damaged.
    fn find_header(&mut self, id: u32, offset: usize, end: usize) -> Option<(usize, RecordHeader)> {
        if let Some(header) = self.header_at(id, offset, end) {
            return Some((offset, header));
        }
        // The least unit: a report that was cut may end at any.
        let mut at = offset.saturating_add(MIN_UNIT);
        let mut chunk = [0; CHUNK];
        while at.saturating_add(HEADER) <= end {
            let len = CHUNK.min(end.saturating_sub(at));
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.read_lossy(id, at, part);
            let (words, _) = part.as_chunks::<MIN_UNIT>();
            let mut candidates = heapless::Vec::<usize, { CHUNK / MIN_UNIT }>::new();
            for (index, word) in words.iter().enumerate() {
                if word.starts_with(&MAGIC) {
                    let _ = candidates.push(at.saturating_add(index.saturating_mul(MIN_UNIT)));
                }
            }
            for &candidate in &candidates {
                if let Some(header) = self.header_at(id, candidate, end) {
                    return Some((candidate, header));
                }
            }
            at = at.saturating_add(CHUNK);
        }
        None
    }

    pub(super) fn header_at(&mut self, id: u32, offset: usize, end: usize) -> Option<RecordHeader> {
        let mut bytes = [0; HEADER];
        if offset.saturating_add(HEADER) > end {
            return None;
        }
        self.read_lossy(id, offset, &mut bytes);
        let header = RecordHeader::decode(&bytes, &self.identity(id), offset)?;
        let fits = offset.saturating_add(self.record_len(header.len)) <= end;
        fits.then_some(header)
    }

    /// The record with this ticket and of this kind that stands last: a copy that was made after a failed sync is as good.
    pub(super) fn find(&mut self, kind: Kind, seq: u64) -> Option<(Place, RecordHeader)> {
        let index = self.list.iter().rposition(|segment| segment.first <= seq)?;
        let segment = self.list.get(index).copied()?;
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(&segment, offset) {
            if header.kind == kind && header.seq == seq {
                return Some((place, header));
            }
            offset = self.after(place, &header).offset;
        }
        None
    }

    /// Whether a walk counts the record here, and not another one of the same before it. By the order of numbers, as
    /// [`recover`](super::recover) does.
    pub(super) fn is_first(&mut self, place: Place, header: &RecordHeader) -> bool {
        if !self.has_doubles {
            return true;
        }
        let mut at = self.start();
        while let Some((found, other)) = self.next(at) {
            if other.kind == header.kind && other.seq >= header.seq {
                return found == place;
            }
            at = self.after(found, &other);
        }
        true
    }

    /// After the last byte that is not blank.
    pub(super) fn end_of_writing(&mut self, segment: &Segment) -> usize {
        let limit = segment.len.saturating_sub(SEGMENT_HEADER);
        let blank = self.blank();
        let mut end = SEGMENT_HEADER;
        let mut at = SEGMENT_HEADER;
        let mut chunk = [0; CHUNK];
        while at < limit {
            let len = CHUNK.min(limit.saturating_sub(at));
            let part = chunk.get_mut(..len).unwrap_or_default();
            if self.read_at(segment.id, at, part).is_err() {
                // What cannot be read may be written.
                end = at.saturating_add(len);
            } else if let Some(found) = part.iter().rposition(|&b| b != blank) {
                end = at.saturating_add(found).saturating_add(1);
            }
            at = at.saturating_add(CHUNK);
        }
        // The last record may end with blank bytes.
        let mut offset = SEGMENT_HEADER;
        while let Some((at, header)) = self.find_header(segment.id, offset, limit) {
            offset = at.saturating_add(self.record_len(header.len));
        }
        self.padded(end.max(offset)).min(limit)
    }

    /// Whether nothing stands between the headers of a segment.
    pub(super) fn is_blank(&mut self, id: u32, len: usize) -> bool {
        let limit = len.saturating_sub(SEGMENT_HEADER);
        let blank = self.blank();
        let mut chunk = [0; CHUNK];
        let mut at = SEGMENT_HEADER;
        while at < limit {
            let part = chunk.get_mut(..CHUNK.min(limit.saturating_sub(at)));
            let part = part.unwrap_or_default();
            if self.read_at(id, at, part).is_err() || part.iter().any(|&b| b != blank) {
                return false;
            }
            at = at.saturating_add(CHUNK);
        }
        true
    }

    fn blank(&self) -> u8 {
        self.storage.limits().blank
    }

    /// Whether the payload is what was written.
    pub(super) fn is_whole(&mut self, place: Place, header: &RecordHeader) -> bool {
        let mut checksum = Checksum::new();
        let mut chunk = [0; CHUNK];
        let mut done = 0usize;
        while done < header.len {
            let len = CHUNK.min(header.len.saturating_sub(done));
            let part = chunk.get_mut(..len).unwrap_or_default();
            if self.read(place, done, part).is_err() {
                return false;
            }
            checksum.add(part);
            done = done.saturating_add(len);
        }
        checksum.finish() == header.crc
    }

    /// Reads a part of the payload of the record at `place`.
    pub(super) fn read(
        &mut self,
        place: Place,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), OutboxError<S::Error>> {
        let offset = place.offset.saturating_add(HEADER).saturating_add(offset);
        self.read_at(place.id, offset, buffer)
    }

    /// What is kept beside the bytes of a report; nothing if it cannot be read.
    pub(super) fn meta_at(&mut self, place: Place) -> Meta {
        let mut meta = [0; META];
        let read = self.read(place, 0, &mut meta);
        read.map_or(Meta::default(), |()| Meta::decode(&meta))
    }

    /// The job keys of a report; none if they cannot be read.
    pub(super) fn keys_at(&mut self, place: Place, header: &RecordHeader) -> JobKeys {
        let mut bytes = [0; MAX_PREFIX];
        let bytes = bytes.get_mut(META..header.prefix()).unwrap_or_default();
        match self.read(place, META, bytes) {
            Ok(()) => keys_from(bytes),
            Err(_) => JobKeys::new(),
        }
    }

    /// Reads the bytes of a report or letter, which stand after `prefix`; `false` if they are not what was written. An error if nothing
    /// of this storage can be read any more.
    pub(super) fn read_body(
        &mut self,
        place: Place,
        header: &RecordHeader,
        prefix: &mut [u8],
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<S::Error>> {
        let body_len = header.len.saturating_sub(prefix.len());
        let Some(body) = buffer.get_mut(..body_len) else {
            return Ok(false);
        };
        let read = self.read(place, 0, prefix);
        if read
            .and_then(|()| self.read(place, prefix.len(), body))
            .is_err()
        {
            return self.read_anything().map(|()| false);
        }
        let mut checksum = Checksum::new();
        checksum.add(prefix);
        checksum.add(body);
        Ok(checksum.finish() == header.crc)
    }

    /// If something could not be read lately: whether anything of this storage can be. A bad sector costs what is in it, a dead disk or an outage
    /// is an error, and says nothing of what is on it.
    pub(super) fn check_alive(&mut self) -> Result<(), OutboxError<S::Error>> {
        if let Some(id) = self.out_at.take() {
            // Asked once more, it says why.
            let again = self.storage.read(id, 0, &mut [0; MIN_UNIT]);
            return Err(again.map_or_else(OutboxError::Device, |()| OutboxError::Unreadable));
        }
        match self.read_failed {
            true => self.read_anything(),
            false => Ok(()),
        }
    }

    /// Whether what was read since `read_failed` was reset may count: nothing failed, or too often in a row.
    pub(super) fn check_patience(
        &mut self,
        patience: &mut Patience,
    ) -> Result<(), OutboxError<S::Error>> {
        self.check_alive()?;
        let is_spent = patience.is_spent();
        patience.note(self.read_failed);
        if self.read_failed && !is_spent {
            return Err(OutboxError::Unreadable);
        }
        Ok(())
    }

    fn read_anything(&mut self) -> Result<(), OutboxError<S::Error>> {
        let mut result = Ok(());
        for index in 0..self.list.len() {
            let Some(segment) = self.list.get(index).copied() else {
                break;
            };
            let end = segment.len.saturating_sub(SEGMENT_HEADER);
            for offset in [0, end] {
                result = self.read_at(segment.id, offset, &mut [0; MIN_UNIT]);
                if result.is_ok() {
                    return Ok(());
                }
            }
        }
        result
    }

    /// Whether the record at this very place is there and whole.
    pub(super) fn is_there(&mut self, place: Place) -> bool {
        let header = self.header_at(place.id, place.offset, usize::MAX);
        header.is_some_and(|header| self.is_whole(place, &header))
    }
}
