//! The bytes of a log: records, and the header of a segment. All numbers are little-endian.
//!
//! A record is a header of 24 bytes, then its payload, filled up with zeros to a multiple of 8:
//!
//! | bytes | what |
//! |---|---|
//! | 0–1 | 0x1e 0x01, which no JSON text contains |
//! | 2 | kind |
//! | 3 | for a report: how many job keys stand in front of its bytes |
//! | 4–7 | length of the payload |
//! | 8–15 | sequence number |
//! | 16–19 | CRC-32C of the payload |
//! | 20–23 | CRC-32C of bytes 0–19 |

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

use super::super::outbox::{JobKey, JobKeys, Ledger};

/// 16 KiB of tables for speed; where there is no `std`, 1 KiB must do.
type Tables = Table<{ if cfg!(feature = "std") { 16 } else { 1 } }>;

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

fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A report: its job keys, then its bytes.
    Report,
    /// Everything up to the sequence number is settled; the payload is the ledger.
    Mark,
    /// The reports from the sequence number up to the one in the payload were dropped.
    Gone,
    /// A dead letter: its reason in 8 bytes, then its bytes.
    Dead,
    /// The end of a merged segment, which from here on stands for the ones it was merged from.
    Commit,
}

impl Kind {
    const ALL: [(u8, Kind); 5] = [
        (1, Kind::Report),
        (2, Kind::Mark),
        (3, Kind::Gone),
        (4, Kind::Dead),
        (5, Kind::Commit),
    ];

    fn number(self) -> u8 {
        Kind::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(0, |(number, _)| *number)
    }
}

pub(super) const MAGIC: [u8; 2] = [0x1e, 0x01];
pub(super) const HEADER: usize = 24;
/// Everything begins at a multiple of this.
pub(super) const ALIGN: usize = 8;
/// A job key in front of a report: its id, then whether it is final.
pub(super) const KEY: usize = 16;
/// In front of a dead letter's bytes.
pub(super) const REASON: usize = 8;

/// `len`, filled up.
pub(super) const fn padded(len: usize) -> usize {
    len.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

/// What a record takes.
pub(super) const fn record_len(payload: usize) -> usize {
    padded(payload).saturating_add(HEADER)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    pub(super) keys: u8,
    pub(super) len: usize,
    pub(super) seq: u64,
    pub(super) crc: u32,
}

impl RecordHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut fields = Fields(&mut out);
        fields.put(MAGIC);
        fields.put([self.kind.number(), self.keys]);
        fields.put(u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        fields.put(self.seq.to_le_bytes());
        fields.put(self.crc.to_le_bytes());
        seal(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut fields = unseal(bytes)?;
        (fields.take() == Some(MAGIC)).then_some(())?;
        let [kind, keys] = fields.take()?;
        let (_, kind) = Kind::ALL.into_iter().find(|(number, _)| *number == kind)?;
        let len = usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?;
        let seq = u64::from_le_bytes(fields.take()?);
        let crc = u32::from_le_bytes(fields.take()?);
        (usize::from(keys).saturating_mul(KEY) <= len).then_some(())?;
        Some(RecordHeader {
            kind,
            keys,
            len,
            seq,
            crc,
        })
    }

    /// What the whole record takes.
    pub(super) fn record_len(&self) -> usize {
        record_len(self.len)
    }

    /// Where the bytes of a report or dead letter begin in the payload.
    pub(super) fn prefix(&self) -> usize {
        match self.kind {
            Kind::Dead => REASON,
            _ => usize::from(self.keys).saturating_mul(KEY),
        }
    }
}

/// The version of this format. A newer one is refused, not damaged.
pub(super) const VERSION: u16 = 1;
const SEGMENT_MAGIC: [u8; 6] = *b"EDGLOG";
const SEGMENT_COPY: usize = 96;
/// The header of a segment stands there twice, so that no single flipped bit costs it.
pub(super) const SEGMENT_HEADER: usize = 2 * SEGMENT_COPY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The first and last segment that this one stands for: itself, unless it was merged.
    pub(super) from: u32,
    pub(super) to: u32,
    /// The sequence number that comes next when this segment begins.
    pub(super) next_seq: u64,
    /// Everything up to this is settled.
    pub(super) cursor: u64,
    pub(super) ledger: Ledger,
}

/// What the front of a segment is.
pub(super) enum SegmentFront {
    Header(SegmentHeader),
    Newer(u16),
    /// Blank, or nothing of ours.
    Unknown,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut copy = [0; SEGMENT_COPY];
        let mut fields = Fields(&mut copy);
        fields.put(SEGMENT_MAGIC);
        fields.put(VERSION.to_le_bytes());
        fields.put(self.from.to_le_bytes());
        fields.put(self.to.to_le_bytes());
        fields.put(self.next_seq.to_le_bytes());
        fields.put(self.cursor.to_le_bytes());
        fields.put(ledger_bytes(&self.ledger));
        seal(&mut copy);
        let mut out = [0; SEGMENT_HEADER];
        let mut fields = Fields(&mut out);
        fields.put(copy);
        fields.put(copy);
        out
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> SegmentFront {
        let (copies, _) = bytes.as_chunks::<SEGMENT_COPY>();
        let mut newer = None;
        for copy in copies {
            match Self::decode_copy(copy) {
                SegmentFront::Header(header) => return SegmentFront::Header(header),
                SegmentFront::Newer(version) => newer = Some(version),
                SegmentFront::Unknown => {}
            }
        }
        newer.map_or(SegmentFront::Unknown, SegmentFront::Newer)
    }

    fn decode_copy(copy: &[u8; SEGMENT_COPY]) -> SegmentFront {
        let Some(mut fields) = unseal(copy) else {
            return SegmentFront::Unknown;
        };
        let (magic, version) = (fields.take(), fields.take().map(u16::from_le_bytes));
        match (magic, version) {
            (Some(SEGMENT_MAGIC), Some(VERSION)) => {}
            (Some(SEGMENT_MAGIC), Some(version)) => return SegmentFront::Newer(version),
            _ => return SegmentFront::Unknown,
        }
        let mut read = || {
            Some(SegmentHeader {
                from: u32::from_le_bytes(fields.take()?),
                to: u32::from_le_bytes(fields.take()?),
                next_seq: u64::from_le_bytes(fields.take()?),
                cursor: u64::from_le_bytes(fields.take()?),
                ledger: ledger_from(&fields.take()?)?,
            })
        };
        read().map_or(SegmentFront::Unknown, SegmentFront::Header)
    }
}

pub(super) const LEDGER: usize = 48;

/// All counters but `submitted`, which the sequence numbers tell.
pub(super) fn ledger_bytes(ledger: &Ledger) -> [u8; LEDGER] {
    let Ledger {
        submitted: _,
        delivered,
        refused,
        superseded,
        expired,
        torn,
        corrupt,
    } = *ledger;
    let mut out = [0; LEDGER];
    let mut fields = Fields(&mut out);
    for counter in [delivered, refused, superseded, expired, torn, corrupt] {
        fields.put(counter.to_le_bytes());
    }
    out
}

pub(super) fn ledger_from(bytes: &[u8; LEDGER]) -> Option<Ledger> {
    let mut fields = Taken(bytes);
    let mut counter = || fields.take().map(u64::from_le_bytes);
    Some(Ledger {
        submitted: 0,
        delivered: counter()?,
        refused: counter()?,
        superseded: counter()?,
        expired: counter()?,
        torn: counter()?,
        corrupt: counter()?,
    })
}

/// Counters only grow, so the later of two ledgers has the greater ones.
pub(super) fn later(a: &Ledger, b: &Ledger) -> Ledger {
    Ledger {
        submitted: a.submitted.max(b.submitted),
        delivered: a.delivered.max(b.delivered),
        refused: a.refused.max(b.refused),
        superseded: a.superseded.max(b.superseded),
        expired: a.expired.max(b.expired),
        torn: a.torn.max(b.torn),
        corrupt: a.corrupt.max(b.corrupt),
    }
}

pub(super) fn key_bytes(key: &JobKey) -> [u8; KEY] {
    let mut out = [0; KEY];
    let mut fields = Fields(&mut out);
    fields.put(key.job_id.to_le_bytes());
    fields.put([u8::from(key.is_final)]);
    out
}

pub(super) fn keys_from(bytes: &[u8]) -> JobKeys {
    let (keys, _) = bytes.as_chunks::<KEY>();
    let read = |bytes: &[u8; KEY]| {
        let mut fields = Taken(bytes);
        let job_id = i64::from_le_bytes(fields.take()?);
        Some(JobKey {
            job_id,
            is_final: fields.take()? == [1],
        })
    };
    let mut found = JobKeys::new();
    for key in keys.iter().filter_map(read) {
        // As many as were written at the most.
        let _ = found.push(key);
    }
    found
}

/// Writes fields one behind the other.
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

/// Reads fields one behind the other.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

/// Puts the checksum of all before them into the last four bytes.
fn seal(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut() {
        *crc = checksum(body).to_le_bytes();
    }
}

fn unseal(bytes: &[u8]) -> Option<Taken<'_>> {
    let (body, crc) = bytes.split_last_chunk()?;
    (checksum(body) == u32::from_le_bytes(*crc)).then_some(Taken(body))
}
