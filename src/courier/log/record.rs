//! The bytes of a log: records, and the header of a segment, as docs/log-format.md has them. All numbers are little-endian.

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

use super::super::outbox::{Counters, JobKey, JobKeys};
use super::super::reason::{Cause, Reason, ShortText};
use crate::small;
use crate::time::WallTime;

/// 16 KiB of tables for speed; where there is no `std`, 1 KiB must do.
type Tables = Table<{ small::CHECKSUM_TABLES }>;

static CRC: Crc<u32, Tables> = Crc::<u32, Tables>::new(&CRC_32_ISCSI);

/// A checksum over several parts.
pub(super) struct Checksum(Digest<'static, u32, Tables>);

impl Checksum {
    pub(super) fn new() -> Self {
        Checksum(CRC.digest())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A report: [`Meta`], its job keys, then its bytes.
    Report,
    /// How things stood: a [`Checkpoint`], then the ranges that were settled ahead.
    Checkpoint,
    /// One report is settled: its disposition, and the counter of that disposition. No payload.
    Settled,
    /// A dead letter: [`Meta`], its reason, then its bytes.
    Letter,
    /// Dead letters are forgotten: this one, or all before this record up to it. No payload.
    Forgotten,
    /// The end of a segment that stands for others, and how many reports or letters it has; then a [`Checkpoint`].
    Commit,
    /// What a later version wrote and this one may pass over.
    Other,
}

/// Kinds from here on may be passed over by a reader that does not know them.
const SKIPPABLE: u8 = 0x80;

impl Kind {
    const ALL: [(u8, Kind); 6] = [
        (1, Kind::Report),
        (2, Kind::Checkpoint),
        (3, Kind::Settled),
        (4, Kind::Letter),
        (5, Kind::Forgotten),
        (6, Kind::Commit),
    ];

    fn number(self) -> u8 {
        Kind::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(SKIPPABLE, |(number, _)| *number)
    }

    fn from_number(number: u8) -> Option<Self> {
        if number >= SKIPPABLE {
            return Some(Kind::Other);
        }
        let known = Kind::ALL.iter().find(|(known, _)| *known == number);
        known.map(|(_, kind)| *kind)
    }
}

pub(super) const MAGIC: [u8; 2] = [0x1e, 0x02];
pub(super) const HEADER: usize = 32;
/// Everything begins at a multiple of this at least, and at most of [`MAX_UNIT`]: the storage says.
pub(super) const MIN_UNIT: usize = 8;
pub(super) const MAX_UNIT: usize = 32;

/// Which log a segment belongs to, and which segment it is. All checksums of headers begin with it and with where in the segment they stand,
/// so that nothing that was meant for another place is taken for a record here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) spool: u64,
    pub(super) store: Store,
    pub(super) segment: u32,
}

/// The two logs of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Live = 1,
    Letters = 2,
}

impl Identity {
    fn checksum(&self, offset: usize) -> Checksum {
        let mut seed = [0; 24];
        let mut fields = Fields(&mut seed);
        fields.put(self.spool.to_le_bytes());
        fields.put(self.segment.to_le_bytes());
        fields.put([self.store as u8, 0, 0, 0]);
        fields.put((offset as u64).to_le_bytes());
        let mut checksum = Checksum::new();
        checksum.add(&seed);
        checksum
    }

    /// Puts the checksum of all before them into the last four bytes.
    fn seal(&self, offset: usize, bytes: &mut [u8]) {
        if let Some((body, crc)) = bytes.split_last_chunk_mut() {
            let mut checksum = self.checksum(offset);
            checksum.add(body);
            *crc = checksum.finish().to_le_bytes();
        }
    }

    fn unseal<'b>(&self, offset: usize, bytes: &'b [u8]) -> Option<Taken<'b>> {
        let (body, crc) = bytes.split_last_chunk()?;
        let mut checksum = self.checksum(offset);
        checksum.add(body);
        (checksum.finish() == u32::from_le_bytes(*crc)).then_some(Taken(body))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    /// Of a report how many job keys stand before its bytes; else see [`Settlement`], [`LETTER_EXPIRED`], [`FORGET_UP_TO`], [`NEVER_WAS`].
    pub(super) detail: u8,
    pub(super) len: usize,
    /// The ticket.
    pub(super) seq: u64,
    /// Of a report how many were submitted, it included; of what settles or forgets the counter of that; of a letter its
    /// number; of a commit how many records stand before it.
    pub(super) count: u64,
    /// Of the payload; of what settles the low half of [`Checkpoint::known`], it included.
    pub(super) crc: u32,
    /// It was copied from another segment: so a segment whose headers never became durable is known for one that stands for others.
    pub(super) copied: bool,
}

/// In the byte of the kind: see [`RecordHeader::copied`].
const COPIED: u8 = 0x40;

/// In `detail` of a letter: it expired, and was not refused.
pub(super) const LETTER_EXPIRED: u8 = 1;
/// In `detail` of what forgets: all letters before this record up to that of this ticket.
pub(super) const FORGET_UP_TO: u8 = 1;
/// In `detail` of what forgets a letter: it never was one, since something else became of its report. `count` is how many numbers no letter has.
pub(super) const NEVER_WAS: u8 = 2;

impl RecordHeader {
    /// For a record that stands at `offset` of its segment.
    pub(super) fn encode(&self, identity: &Identity, offset: usize) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut fields = Fields(&mut out);
        fields.put(MAGIC);
        let copied = if self.copied { COPIED } else { 0 };
        fields.put([self.kind.number() | copied, self.detail]);
        fields.put(u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        fields.put(self.seq.to_le_bytes());
        fields.put(self.count.to_le_bytes());
        fields.put(self.crc.to_le_bytes());
        identity.seal(offset, &mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8; HEADER], identity: &Identity, offset: usize) -> Option<Self> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let mut fields = identity.unseal(offset, bytes)?;
        let [_, _] = fields.take()?;
        let [kind, detail] = fields.take()?;
        let header = RecordHeader {
            kind: Kind::from_number(kind & !COPIED)?,
            copied: kind & COPIED != 0,
            detail,
            len: usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?,
            seq: u64::from_le_bytes(fields.take()?),
            count: u64::from_le_bytes(fields.take()?),
            crc: u32::from_le_bytes(fields.take()?),
        };
        (header.prefix() <= header.len).then_some(header)
    }

    /// Where the bytes of a report begin in the payload. (Those of a letter stand after its reason, which says how long it is.)
    pub(super) fn prefix(&self) -> usize {
        match self.kind {
            Kind::Report => META.saturating_add(usize::from(self.detail).saturating_mul(KEY)),
            Kind::Letter => META,
            _ => 0,
        }
    }

    /// Of what settles: [`Checkpoint::known`]. There are no more of them than tickets.
    pub(super) fn known(&self) -> u64 {
        let total = (self.seq & !u64::from(u32::MAX)) | u64::from(self.crc);
        if total <= self.seq {
            total
        } else {
            total.saturating_sub(1 << 32)
        }
    }

    /// How many bytes the report has.
    pub(super) fn body_len(&self) -> usize {
        self.len.saturating_sub(self.prefix())
    }
}

/// What became of a report: in `detail` of what settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settlement {
    /// Which counter counts it.
    pub(super) counter: Counter,
    /// It was the oldest: all up to it are settled.
    pub(super) was_front: bool,
}

const WAS_FRONT: u8 = 0x80;

impl Settlement {
    pub(super) fn detail(self) -> u8 {
        self.counter as u8 | if self.was_front { WAS_FRONT } else { 0 }
    }

    pub(super) fn from_detail(detail: u8) -> Option<Self> {
        let number = detail & !WAS_FRONT;
        let counter = Counter::SETTLED.into_iter().find(|c| *c as u8 == number);
        counter.map(|counter| Settlement {
            counter,
            was_front: detail & WAS_FRONT != 0,
        })
    }
}

/// The counters of a checkpoint, by their place in it. A store of letters has its own four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Submitted = 0,
    Delivered = 1,
    Refused = 2,
    Superseded = 3,
    Expired = 4,
    Corrupt = 5,
    Torn = 6,
}

impl Counter {
    pub(super) const SETTLED: [Counter; 5] = [
        Counter::Delivered,
        Counter::Refused,
        Counter::Superseded,
        Counter::Expired,
        Counter::Corrupt,
    ];
    /// The newest number of a letter. Each number is given out once.
    pub(super) const NUMBERED: Counter = Counter::Submitted;
    /// How many numbers no letter has: its write failed, or its report became something else after all.
    pub(super) const SKIPPED: Counter = Counter::Expired;
    /// How many letters were forgotten,
    pub(super) const FORGOTTEN: Counter = Counter::Delivered;
    /// or lost: dropped for room, or damaged.
    pub(super) const DROPPED: Counter = Counter::Refused;
    /// How many reports were submitted by then: the letters are another place to know that from.
    pub(super) const SUBMITTED_BY_THEN: Counter = Counter::Superseded;
}

const COUNTERS: usize = 7;

/// How things stood when it was written. All of it only grows, so that of several the greatest of each field counts, in whatever order
/// they are read: that is what makes recovery simple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// All tickets up to this are settled.
    pub(super) cursor: u64,
    /// The next ticket.
    pub(super) next_seq: u64,
    /// No ticket from this on was given out.
    pub(super) reserved: u64,
    /// The newest time that is known for sure, in milliseconds since 1970; 0 if there is none.
    pub(super) trusted_ms: u64,
    pub(super) counters: [u64; COUNTERS],
}

impl Checkpoint {
    pub(super) const fn new() -> Self {
        Checkpoint {
            cursor: 0,
            next_seq: 1,
            reserved: 1,
            trusted_ms: 0,
            counters: [0; COUNTERS],
        }
    }

    pub(super) fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, counter: Counter, value: u64) {
        if let Some(place) = self.counters.get_mut(counter as usize) {
            *place = value;
        }
    }

    pub(super) fn add(&mut self, counter: Counter, more: u64) {
        self.set(counter, self.get(counter).saturating_add(more));
    }

    pub(super) fn raise(&mut self, counter: Counter, to: u64) {
        self.set(counter, self.get(counter).max(to));
    }

    /// Takes over what is greater.
    pub(super) fn join(&mut self, other: &Checkpoint) {
        self.cursor = self.cursor.max(other.cursor);
        self.next_seq = self.next_seq.max(other.next_seq);
        self.reserved = self.reserved.max(other.reserved);
        self.trusted_ms = self.trusted_ms.max(other.trusted_ms);
        for (mine, theirs) in self.counters.iter_mut().zip(other.counters) {
            *mine = (*mine).max(theirs);
        }
    }

    /// How many reports are settled.
    pub(super) fn settled(&self) -> u64 {
        let each = Counter::SETTLED.into_iter().map(|c| self.get(c));
        each.fold(0, u64::saturating_add)
    }

    /// How many reports are settled by somebody, and not lost by the storage.
    pub(super) fn known(&self) -> u64 {
        self.settled().saturating_sub(self.get(Counter::Corrupt))
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            submitted: self.get(Counter::Submitted),
            delivered: self.get(Counter::Delivered),
            refused: self.get(Counter::Refused),
            superseded: self.get(Counter::Superseded),
            expired: self.get(Counter::Expired),
            torn: self.get(Counter::Torn),
            corrupt: self.get(Counter::Corrupt),
            ..Counters::NONE
        }
    }

    pub(super) fn encode(&self) -> [u8; CHECKPOINT] {
        let mut out = [0; CHECKPOINT];
        let mut fields = Fields(&mut out);
        for number in [self.cursor, self.next_seq, self.reserved, self.trusted_ms] {
            fields.put(number.to_le_bytes());
        }
        for number in self.counters {
            fields.put(number.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8; CHECKPOINT]) -> Option<Self> {
        let mut fields = Taken(bytes);
        let mut number = || fields.take().map(u64::from_le_bytes);
        let mut this = Checkpoint {
            cursor: number()?,
            next_seq: number()?,
            reserved: number()?,
            trusted_ms: number()?,
            counters: [0; COUNTERS],
        };
        for counter in &mut this.counters {
            *counter = number()?;
        }
        Some(this)
    }
}

pub(super) const CHECKPOINT: usize = 8 * (4 + COUNTERS);

/// Before the job keys of a report, and before the reason of a letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// When it was submitted, by the wall clock.
    pub(super) wall: Option<WallTime>,
    /// Which call of the service it is for. 0 is the job report; there are no others yet.
    pub(super) route: u8,
}

pub(super) const META: usize = 8;

impl Meta {
    pub(super) fn encode(&self) -> [u8; META] {
        let ms = self.wall.map_or(0, |wall| wall.unix_ms());
        // 48 bits: beyond the year 10000, and 0 for what is not known.
        let ms = u64::try_from(ms).unwrap_or(0).min((1 << 48) - 1);
        let [a, b, c, d, e, f, _, _] = ms.to_le_bytes();
        [a, b, c, d, e, f, self.route, 0]
    }

    pub(super) fn decode(bytes: &[u8; META]) -> Self {
        let [a, b, c, d, e, f, route, _] = *bytes;
        let ms = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let wall = i64::try_from(ms).ok().filter(|ms| *ms > 0);
        Meta {
            wall: wall.map(WallTime::from_unix_ms),
            route,
        }
    }
}

/// A job key: its id, which has 63 bits, and in the highest bit whether it is final.
pub(super) const KEY: usize = 8;
const FINAL: u64 = 1 << 63;
/// The most bytes before those of a report.
pub(super) const MAX_PREFIX: usize = META + 16 * KEY;

/// What stands before the bytes of a report. `None` for keys that cannot stand there: such a report has none.
pub(super) fn report_prefix(meta: &Meta, keys: &JobKeys) -> heapless::Vec<u8, MAX_PREFIX> {
    let mut out = heapless::Vec::new();
    // There is room for all of it.
    let _ = out.extend_from_slice(&meta.encode());
    if keys.iter().all(|key| key.job_id > 0) {
        for key in keys {
            let flag = if key.is_final { FINAL } else { 0 };
            let _ = out.extend_from_slice(&(key.job_id.unsigned_abs() | flag).to_le_bytes());
        }
    }
    out
}

pub(super) fn keys_from(bytes: &[u8]) -> JobKeys {
    let (keys, _) = bytes.as_chunks::<KEY>();
    let mut found = JobKeys::new();
    for key in keys {
        let key = u64::from_le_bytes(*key);
        // As many as were written at the most.
        let _ = found.push(JobKey {
            job_id: i64::try_from(key & !FINAL).unwrap_or(0),
            is_final: key & FINAL != 0,
        });
    }
    found
}

/// Before the texts of a reason: its cause, the status, and how long the two texts are.
const REASON: usize = 8;
/// The most bytes before those of a letter.
pub(super) const MAX_LETTER_PREFIX: usize = META + REASON + 256;

/// What stands before the bytes of a letter.
pub(super) fn letter_prefix(meta: &Meta, reason: &Reason) -> heapless::Vec<u8, MAX_LETTER_PREFIX> {
    let mut out = heapless::Vec::new();
    let (code, text) = (reason.error_code.as_str(), reason.text.as_str());
    let [cause, status] = [reason.cause.number(), reason.status].map(u16::to_le_bytes);
    let lens = [code, text].map(|text| u8::try_from(text.len()).unwrap_or(0));
    // There is room for all of it.
    for part in [
        &meta.encode()[..],
        &cause,
        &status,
        &lens,
        &[0, 0],
        code.as_bytes(),
        text.as_bytes(),
    ] {
        let _ = out.extend_from_slice(part);
    }
    out
}

/// Reads [`letter_prefix`]: the reason, and how long the prefix is.
pub(super) fn letter_from(bytes: &[u8]) -> Option<(Reason, usize)> {
    let mut fields = Taken(bytes.get(META..)?);
    let cause = Cause::from_number(u16::from_le_bytes(fields.take()?));
    let status = u16::from_le_bytes(fields.take()?);
    let [code_len, text_len] = fields.take()?.map(usize::from);
    let [_, _] = fields.take()?;
    let (code, rest) = fields.0.split_at_checked(code_len)?;
    let text = rest.get(..text_len)?;
    let reason = Reason {
        // A later version may know more causes.
        cause: cause.unwrap_or(Cause::Failed(crate::Code::MayHaveArrived)),
        status,
        error_code: ShortText::new(core::str::from_utf8(code).unwrap_or_default()),
        text: ShortText::new(core::str::from_utf8(text).unwrap_or_default()),
    };
    let len = META.saturating_add(REASON);
    Some((
        reason,
        len.saturating_add(code_len).saturating_add(text_len),
    ))
}

/// The version of this format.
pub(super) const VERSION: u16 = 2;
const SEGMENT_MAGIC: [u8; 6] = *b"EDGLOG";
/// A segment has its header at its beginning and once more at its end: in different sectors, if it has more than one.
pub(super) const SEGMENT_HEADER: usize = 160;
/// How many segments one can stand for.
pub(super) const SOURCES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) identity: Identity,
    /// No ticket in it is before this,
    pub(super) first: u64,
    /// Which segments it stands for. Named one by one, since neighbours may begin with the same number.
    pub(super) sources: Sources,
    pub(super) checkpoint: Checkpoint,
}

/// The segments that one stands for beside itself: first those whose records it took, then, after a zero, what was left of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(pub(super) [u32; SOURCES]);

impl Sources {
    pub(super) const NONE: Sources = Sources([0; SOURCES]);

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }

    /// Those whose records it took. What else it stands for may go at any time.
    pub(super) fn own(&self) -> impl Iterator<Item = u32> + use<> {
        self.0.into_iter().take_while(|id| *id != 0)
    }
}

/// What the header of a segment is.
pub(super) enum SegmentFront {
    Header(SegmentHeader),
    OtherVersion(u16),
    /// Blank, damaged, or nothing of ours.
    Unknown,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        let mut fields = Fields(&mut out);
        fields.put(SEGMENT_MAGIC);
        fields.put(VERSION.to_le_bytes());
        fields.put(self.identity.spool.to_le_bytes());
        fields.put(self.identity.segment.to_le_bytes());
        fields.put([self.identity.store as u8, 0, 0, 0]);
        fields.put(self.first.to_le_bytes());
        for source in self.sources.0 {
            fields.put(source.to_le_bytes());
        }
        fields.put(self.checkpoint.encode());
        self.identity.seal(0, &mut out);
        out
    }

    /// Reads a header that says itself which spool, store and segment it is of. A later version must keep what says so, and the seal.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> SegmentFront {
        let mut fields = Taken(bytes);
        let version = match (fields.take(), fields.take().map(u16::from_le_bytes)) {
            (Some(SEGMENT_MAGIC), Some(version)) => version,
            _ => return SegmentFront::Unknown,
        };
        if version == 1 && is_version_1(bytes) {
            return SegmentFront::OtherVersion(version);
        }
        let mut read = || {
            let spool = u64::from_le_bytes(fields.take()?);
            let segment = u32::from_le_bytes(fields.take()?);
            let [store, _, _, _] = fields.take()?;
            let store = [Store::Live, Store::Letters]
                .into_iter()
                .find(|known| *known as u8 == store)?;
            let identity = Identity {
                spool,
                store,
                segment,
            };
            identity.unseal(0, bytes)?;
            Some(SegmentHeader {
                identity,
                first: u64::from_le_bytes(fields.take()?),
                sources: {
                    let mut sources = Sources::NONE;
                    for source in &mut sources.0 {
                        *source = u32::from_le_bytes(fields.take()?);
                    }
                    sources
                },
                checkpoint: Checkpoint::decode(&fields.take()?)?,
            })
        };
        match read() {
            Some(header) if version == VERSION => SegmentFront::Header(header),
            Some(_) => SegmentFront::OtherVersion(version),
            None => SegmentFront::Unknown,
        }
    }
}

/// Whether a segment that begins with these bytes may have a header that was cut while it was written, on flash within a byte: each bit is written,
/// or still blank.
pub(super) fn may_be_cut_header(beginning: &[u8], blank: u8) -> bool {
    let whole = SEGMENT_MAGIC.into_iter().chain(VERSION.to_le_bytes());
    let mut pairs = beginning.iter().zip(whole);
    pairs.all(|(byte, own)| (byte ^ own) & (byte ^ blank) == 0)
}

/// The header of the first version had 96 bytes, and a seal without a seed.
fn is_version_1(bytes: &[u8; SEGMENT_HEADER]) -> bool {
    let body = bytes
        .split_first_chunk::<96>()
        .and_then(|(header, _)| header.split_last_chunk());
    body.is_some_and(|(body, crc)| {
        let mut checksum = Checksum::new();
        checksum.add(body);
        checksum.finish() == u32::from_le_bytes(*crc)
    })
}

/// Writes fields one after the other.
struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let room = core::mem::take(&mut self.0);
        if let Some((field, rest)) = room.split_first_chunk_mut() {
            *field = bytes;
            self.0 = rest;
        }
    }
}

/// Reads fields one after the other.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_be_cut_within_a_byte() {
        let whole = SEGMENT_MAGIC.into_iter().chain(VERSION.to_le_bytes());
        for blank in [0x00, 0xff] {
            for bits in 0..=80 {
                let mut left = bits;
                let cut: std::vec::Vec<u8> = whole
                    .clone()
                    .map(|byte| {
                        let written = 0xff_u16 >> 8_u32.saturating_sub(left);
                        left = left.saturating_sub(8);
                        (byte & written as u8) | (blank & !written as u8)
                    })
                    .collect();
                assert!(may_be_cut_header(&cut, blank), "{bits} of {blank}");
            }
            assert!(!may_be_cut_header(b"mine", blank));
            assert!(!may_be_cut_header(&[0x55; 10], blank));
        }
    }
}
