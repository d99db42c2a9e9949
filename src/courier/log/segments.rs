//! The segments of one log: which there are, appending to the last of them, making what was written durable.

use super::super::outbox::OutboxError;
use super::record::{
    CHECKPOINT, Checksum, HEADER, Identity, Kind, MAX_PREFIX, MAX_UNIT, MIN_UNIT, RecordHeader,
    SEGMENT_HEADER, SegmentHeader, Sources, Store,
};
use super::storage::Storage;
use crate::json::{Sink, SliceSink};
use crate::small;

/// Bytes looked at in one go. They are on the stack, which is short where there is no heap.
pub(super) const CHUNK: usize = small::CHUNK;
/// What is written of a record in one go: its header and what stands before its body, and of its body what is left.
const FRONT: usize = small::FRONT;
const _: () = assert!(FRONT.is_multiple_of(MAX_UNIT) && FRONT >= HEADER + MAX_PREFIX);

/// Of segments for notes alone: the one in use, and the one that takes its place.
const MOST_FOR_NOTES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) len: usize,
    /// No ticket in it is before this,
    pub(super) first: u64,
    pub(super) sources: Sources,
    /// It has copies of what stood elsewhere.
    pub(super) is_copy: bool,
    /// How many bytes its records have that must be kept.
    pub(super) live: usize,
    /// Neither of its headers can be read.
    pub(super) is_headless: bool,
    /// A process that was killed may have left it readable, and not durable.
    pub(super) is_unsynced: bool,
    /// Some of it could not be read when it was to be compacted: it stays until what is in it is settled.
    pub(super) is_spared: bool,
    /// It could not be synced at the start: what it stands for stays as long as it.
    pub(super) is_doubted: bool,
    /// It is short, and has no report and no letter: only how things stand, and what was settled since.
    pub(super) is_for_notes: bool,
}

impl Segment {
    pub(super) fn stands_for_others(&self) -> bool {
        self.is_copy
    }
}

/// What was to stand for others and does not, although it may have a commit that the next start believes. See
/// [`give_up`](Segments::give_up).
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    pub(super) id: u32,
    pub(super) sources: Sources,
}

/// How many of these there may be at a time. With as many nothing is compacted.
const GIVEN_UP: usize = 4;

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

/// The segments of one log on their storage.
///
/// The last one may be open: it is appended to. `unsynced_from` is the place from which on a failed sync may have lost what was
/// written, although it can still be read and later syncs succeed: it must be written again, elsewhere, before anything else counts as
/// durable.
#[derive(Debug)]
pub(super) struct Segments<S, const MAX: usize> {
    pub(super) storage: S,
    pub(super) spool: u64,
    store: Store,
    /// How many of the `MAX` segments stay free, for what is compacted.
    spare: usize,
    /// By rising ticket.
    pub(super) list: heapless::Vec<Segment, MAX>,
    /// What there was when it was opened: the limits may have been greater before. Without what is to be discarded, or a storage that does
    /// not discard would hold one segment more after each restart.
    pub(super) total_at_open: usize,
    /// To be discarded: the storage would not, so far. Each with its length.
    pub(super) pending_discard: heapless::Vec<(u32, usize), MAX>,
    /// What a crash left of a segment that was to stand for others.
    pub(super) partial: Option<Segment>,
    pub(super) given_up: heapless::Vec<GivenUp, GIVEN_UP>,
    /// How many segments are on the storage that are not of this log. They are left alone.
    pub(super) foreign: u64,
    pub(super) is_open: bool,
    pub(super) write_at: usize,
    pub(super) next_id: u32,
    /// Something was written since the last sync.
    pub(super) dirty: bool,
    /// Up to here the last sync made the open segment durable.
    pub(super) synced_to: usize,
    unsynced_from: Option<Place>,
    /// A report was found in more than one place at the start: where one was found first it counts.
    pub(super) has_doubles: bool,
    /// Pieces in a row that could not be read.
    pub(super) unreadable: u32,
    /// Something could not be read since whoever minds that reset it.
    pub(super) read_failed: bool,
    /// That was an outage, at this segment, and it was not reported yet.
    pub(super) out_at: Option<u32>,
}

impl<S, const MAX: usize> Segments<S, MAX> {
    /// A log on a storage that was not looked at yet.
    pub(super) const fn new(storage: S, store: Store, spare: usize) -> Self {
        Segments {
            storage,
            spool: 0,
            store,
            spare,
            list: heapless::Vec::new(),
            total_at_open: 0,
            pending_discard: heapless::Vec::new(),
            partial: None,
            given_up: heapless::Vec::new(),
            foreign: 0,
            is_open: false,
            write_at: 0,
            next_id: 1,
            dirty: false,
            synced_to: 0,
            unsynced_from: None,
            has_doubles: false,
            unreadable: 0,
            read_failed: false,
            out_at: None,
        }
    }

    pub(super) fn identity(&self, segment: u32) -> Identity {
        Identity {
            spool: self.spool,
            store: self.store,
            segment,
        }
    }

    /// Where the next record goes.
    pub(super) fn end_of_log(&self) -> Place {
        Place {
            id: self.list.last().map_or(0, |last| last.id),
            offset: self.write_at,
        }
    }

    pub(super) fn unsynced_from(&self) -> Option<Place> {
        self.unsynced_from
    }

    /// What was not durable was written again.
    pub(super) fn trust(&mut self) {
        self.unsynced_from = None;
    }

    /// How many segments the storage has of this log.
    fn count(&self) -> usize {
        let partial = usize::from(self.partial.is_some());
        let count = self.list.len().saturating_add(self.pending_discard.len());
        count.saturating_add(partial)
    }

    /// How many bytes they have.
    pub(super) fn total(&self) -> usize {
        let partial = self.partial.map_or(0, |partial| partial.len);
        self.total_but_partial().saturating_add(partial)
    }

    /// The same without the half-made one, which makes way for another. Those for notes alone count nowhere: they must never be what there is
    /// no room for.
    pub(super) fn total_but_partial(&self) -> usize {
        let pending = self.pending_discard.iter().map(|(_, len)| *len);
        pending.fold(self.total_listed(), usize::saturating_add)
    }

    pub(super) fn total_listed(&self) -> usize {
        let listed = self.list.iter().filter(|s| !s.is_for_notes).map(|s| s.len);
        listed.fold(0, usize::saturating_add)
    }

    /// Whether one segment more may be made for a while, to put it in the place of others: if those go, or there is room for what stays.
    ///
    /// There is more than the limit if that was greater once, or if something was written anew where only longer segments can be made. That must
    /// not keep it from being written anew, or the log would be full for good.
    pub(super) fn may_replace(&self) -> bool
    where
        S: Storage,
    {
        let limit = self.storage.limits().total.max(self.total_at_open);
        self.pending_discard.is_empty() || self.total_but_partial() <= limit
    }

    pub(super) fn segment_of(&mut self, id: u32) -> Option<&mut Segment> {
        self.list.iter_mut().find(|segment| segment.id == id)
    }

    /// The record at this place must be kept, or not any more.
    pub(super) fn count_live(&mut self, place: Place, size: usize, lives: bool) {
        if let Some(segment) = self.segment_of(place.id) {
            segment.live = match lives {
                true => segment.live.saturating_add(size),
                false => segment.live.saturating_sub(size),
            };
        }
    }
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// `len`, filled up to what can be written.
    pub(super) fn padded(&self, len: usize) -> usize {
        let unit = self.storage.limits().write_unit.max(MIN_UNIT);
        len.checked_next_multiple_of(unit).unwrap_or(usize::MAX)
    }

    /// What a record with a payload of `len` bytes takes.
    pub(super) fn record_len(&self, len: usize) -> usize {
        self.padded(len).saturating_add(HEADER)
    }

    /// The length of a segment with room for records of so many bytes.
    pub(super) fn segment_len(&self, records: usize) -> usize {
        let limits = self.storage.limits();
        let needed = self.padded(records.saturating_add(2 * SEGMENT_HEADER));
        let unit = limits.length_unit.max(1);
        let needed = needed.checked_next_multiple_of(unit).unwrap_or(usize::MAX);
        needed.max(limits.segment)
    }

    /// Whether a segment of this length can ever be made beside one that has nothing but how things stand.
    pub(super) fn could_have(&self, len: usize) -> bool {
        let limits = self.storage.limits();
        let least = self.output_len(0, CHECKPOINT);
        len <= limits.longest_segment && len.saturating_add(least) <= limits.total
    }

    /// Whether a segment of this length could be made now.
    pub(super) fn can_create(&self, len: usize) -> bool {
        let is_full = self.count().saturating_add(self.spare) >= MAX;
        !is_full && self.total().saturating_add(len) <= self.storage.limits().total
    }

    /// Whether records of so many bytes fit into the segment that is open.
    pub(super) fn has_room(&self, records: usize) -> bool {
        let end = self.write_at.saturating_add(records);
        let last = self.list.last();
        self.is_open && last.is_some_and(|last| end.saturating_add(SEGMENT_HEADER) <= last.len)
    }

    /// Whether what is open is for more than notes.
    pub(super) fn takes_reports(&self) -> bool {
        self.list.last().is_some_and(|last| !last.is_for_notes)
    }

    /// Leaves one unit blank, if there is one.
    pub(super) fn skip_unit(&mut self) {
        if self.is_open {
            let end = self.write_at.saturating_add(self.room_left());
            self.write_at = self.padded(self.write_at.saturating_add(1)).min(end);
        }
    }

    /// How many bytes are left in the segment that is open.
    pub(super) fn room_left(&self) -> usize {
        let len = self.list.last().map_or(0, |last| last.len);
        len.saturating_sub(SEGMENT_HEADER)
            .saturating_sub(self.write_at)
    }

    /// Opens a new segment with room for records of so many bytes.
    pub(super) fn roll(
        &mut self,
        header: SegmentHeader,
        records: usize,
    ) -> Result<(), OutboxError<S::Error>> {
        let len = self.segment_len(records);
        if len > self.storage.limits().longest_segment {
            return Err(OutboxError::TooLarge);
        }
        self.discard_pending();
        if !self.can_create(len) {
            return Err(OutboxError::Full);
        }
        self.open_new(header, len, false)
    }

    /// Opens a short segment for notes alone, of so many bytes at the least: for when there is no room for another. See
    /// [`StorageLimits::length_unit`].
    ///
    /// [`StorageLimits::length_unit`]: super::storage::StorageLimits::length_unit
    pub(super) fn roll_for_notes(
        &mut self,
        header: SegmentHeader,
        records: usize,
    ) -> Result<(), OutboxError<S::Error>> {
        let limits = self.storage.limits();
        let most = limits.segment.saturating_sub(limits.length_unit.max(1));
        let len = self
            .output_len(records.saturating_mul(2), CHECKPOINT)
            .min(most);
        self.discard_pending();
        let others = self.list.iter().filter(|segment| segment.is_for_notes);
        if len < self.output_len(records, 0)
            || others.count() >= MOST_FOR_NOTES
            || self.count().saturating_add(self.spare) >= MAX
        {
            return Err(OutboxError::Full);
        }
        self.open_new(header, len, true)
    }

    fn open_new(
        &mut self,
        mut header: SegmentHeader,
        len: usize,
        is_for_notes: bool,
    ) -> Result<(), OutboxError<S::Error>> {
        self.sync()?;
        header.sources = Sources::NONE;
        let id = self.next_id;
        let made = self.create(len, &header);
        // If it could not be discarded either, it may have a header anyway, and that says that nothing from `first` on stands before it.
        // So nothing more is appended there.
        self.is_open &= !self.is_pending(id);
        let segment = Segment {
            is_for_notes,
            ..made?
        };
        let _ = self.list.push(segment);
        self.is_open = true;
        self.write_at = SEGMENT_HEADER;
        self.synced_to = SEGMENT_HEADER;
        self.dirty = true;
        Ok(())
    }

    /// Makes a segment and writes its header to both of its ends.
    pub(super) fn create(
        &mut self,
        len: usize,
        header: &SegmentHeader,
    ) -> Result<Segment, OutboxError<S::Error>> {
        if self.count() >= MAX || self.next_id == u32::MAX {
            return Err(OutboxError::Full);
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        let segment = Segment {
            id,
            len,
            first: header.first,
            sources: header.sources,
            is_copy: header.sources != Sources::NONE,
            live: 0,
            is_headless: false,
            is_unsynced: false,
            is_spared: false,
            is_doubted: false,
            is_for_notes: false,
        };
        let identity = self.identity(id);
        let bytes = SegmentHeader {
            identity,
            ..*header
        }
        .encode();
        let end = len.saturating_sub(SEGMENT_HEADER);
        // If this fails there is nothing, or something blank that the next start discards; or what has the name is somebody else's.
        self.storage.create(id, len).map_err(OutboxError::Device)?;
        let made = self.storage.write(id, 0, &bytes);
        let made = made.and_then(|()| self.storage.write(id, end, &bytes));
        if made.is_err() {
            self.discard(id, len);
        }
        made.map(|()| segment).map_err(OutboxError::Device)
    }

    /// Appends a record to the open segment, which has room for it.
    pub(super) fn append(
        &mut self,
        header: RecordHeader,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<Place, OutboxError<S::Error>> {
        let place = self.end_of_log();
        let header = with_payload(header, prefix, body);
        if !self.has_room(self.record_len(header.len)) {
            return Err(OutboxError::Full);
        }
        // After an error part of it may be there: that place is not written again.
        self.write_at = self.write_at.saturating_add(self.record_len(header.len));
        self.dirty = true;
        self.write_record(place, &header, prefix, body)?;
        Ok(place)
    }

    /// Writes a record: a small one in one go.
    pub(super) fn write_record(
        &mut self,
        place: Place,
        header: &RecordHeader,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), OutboxError<S::Error>> {
        let header = header.encode(&self.identity(place.id), place.offset);
        let mut writer = Writer {
            segments: self,
            place,
            chunk: [0; FRONT],
            filled: 0,
        };
        for part in [&header[..], prefix, body] {
            writer.put(part)?;
        }
        writer.finish()
    }

    /// Makes durable what was written since the last try.
    pub(super) fn sync(&mut self) -> Result<(), OutboxError<S::Error>> {
        for index in 0..self.list.len() {
            let Some(segment) = self.list.get_mut(index).filter(|s| s.is_unsynced) else {
                continue;
            };
            let id = segment.id;
            if let Err(error) = self.storage.sync(id) {
                // What a second sync says of the last one would prove nothing.
                if self.list.last().is_some_and(|last| last.id == id) {
                    self.unsynced_from.get_or_insert(Place {
                        id,
                        offset: SEGMENT_HEADER,
                    });
                }
                return Err(OutboxError::Device(error));
            }
            segment.is_unsynced = false;
        }
        if let (true, Some(last)) = (self.dirty, self.list.last()) {
            self.dirty = false;
            let synced_to = Place {
                id: last.id,
                offset: self.synced_to,
            };
            match self.storage.sync(last.id) {
                Ok(()) => self.synced_to = self.write_at,
                Err(error) => {
                    self.unsynced_from.get_or_insert(synced_to);
                    return Err(OutboxError::Device(error));
                }
            }
        }
        Ok(())
    }

    /// Nothing more is appended to the last segment.
    pub(super) fn close(&mut self) {
        (self.is_open, self.dirty, self.unsynced_from) = (false, false, None);
    }
}

/// Writes parts one after the other, filled up with zeros at the end.
struct Writer<'s, S, const MAX: usize> {
    segments: &'s mut Segments<S, MAX>,
    place: Place,
    chunk: [u8; FRONT],
    filled: usize,
}

impl<S: Storage, const MAX: usize> Writer<'_, S, MAX> {
    fn put(&mut self, mut part: &[u8]) -> Result<(), OutboxError<S::Error>> {
        while !part.is_empty() {
            // What is long goes as it is, from a unit's border on.
            let whole = if self.filled == 0 {
                part.len().saturating_sub(part.len() % FRONT)
            } else {
                0
            };
            if let Some((whole, rest)) = part.split_at_checked(whole).filter(|(w, _)| !w.is_empty())
            {
                write(&mut self.segments.storage, &mut self.place, whole)?;
                part = rest;
                continue;
            }
            let room = self.chunk.get_mut(self.filled..).unwrap_or_default();
            let (now, rest) = part.split_at_checked(room.len()).unwrap_or((part, &[]));
            let mut sink = SliceSink::new(room);
            // It fits.
            let _ = sink.put(now);
            self.filled = self.filled.saturating_add(now.len());
            part = rest;
            if self.filled == FRONT {
                self.flush(FRONT)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), OutboxError<S::Error>> {
        let len = self.segments.padded(self.filled);
        if let Some(rest) = self.chunk.get_mut(self.filled..len) {
            rest.fill(0);
        }
        match len {
            0 => Ok(()),
            len => self.flush(len),
        }
    }

    fn flush(&mut self, len: usize) -> Result<(), OutboxError<S::Error>> {
        self.filled = 0;
        let bytes = self.chunk.get(..len).unwrap_or_default();
        write(&mut self.segments.storage, &mut self.place, bytes)
    }
}

/// Writes at a place, and moves it on.
fn write<S: Storage>(
    storage: &mut S,
    place: &mut Place,
    bytes: &[u8],
) -> Result<(), OutboxError<S::Error>> {
    let written = storage.write(place.id, place.offset, bytes);
    *place = place.plus(bytes.len());
    written.map_err(OutboxError::Device)
}

/// The header of a record with this payload. What settles has none, and something else in the place of its checksum.
pub(super) fn with_payload(header: RecordHeader, prefix: &[u8], body: &[u8]) -> RecordHeader {
    if header.kind == Kind::Settled {
        return header;
    }
    let mut checksum = Checksum::new();
    checksum.add(prefix);
    checksum.add(body);
    RecordHeader {
        len: prefix.len().saturating_add(body.len()),
        crc: checksum.finish(),
        ..header
    }
}

/// A header whose payload comes later.
pub(super) const fn header_of(kind: Kind, detail: u8, seq: u64, count: u64) -> RecordHeader {
    RecordHeader {
        kind,
        detail,
        len: 0,
        seq,
        count,
        crc: 0,
        copied: false,
    }
}
