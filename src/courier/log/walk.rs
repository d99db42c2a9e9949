//! Reading segments: from record to record, past what is damaged.

use super::outbox::LogError;
use super::record::{
    ALIGN, Checksum, HEADER, Kind, MAGIC, RecordHeader, SEGMENT_HEADER, SegmentFront,
    SegmentHeader, padded,
};
use super::segments::{CHUNK, Place, Segment, Segments};
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    pub(super) fn has_record(
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

    /// The same for the segment at this index.
    pub(super) fn read_front_at(
        &mut self,
        index: usize,
    ) -> Result<SegmentFront, LogError<S::Error>> {
        match self.list.get(index).copied() {
            Some(segment) => self.read_front(&segment),
            None => Ok(SegmentFront::Unknown),
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
    pub(super) fn end_of_writing(
        &mut self,
        segment: &Segment,
    ) -> Result<usize, LogError<S::Error>> {
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
}
