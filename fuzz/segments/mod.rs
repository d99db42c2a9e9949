//! Segments from bytes: raw ones, and records with the right checksums in any order.
#![allow(dead_code, reason = "the seeds use a part of it")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crc::{CRC_32_ISCSI, Crc};
use edge_report::courier::{
    Disposition, Durability, Forget, JobKey, JobKeys, LogOutbox, Outbox, OutboxError, Reason,
    Storage, StorageLimits, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome, WallTime};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

pub type Image = BTreeMap<u32, Vec<u8>>;
/// What waits, and the dead letters.
pub type Images = [Image; 2];

pub const SEGMENT: usize = 1024;
/// How much all segments of a side may have.
pub const ROOM: usize = 5 * SEGMENT;
/// How many segments a side may have.
pub const MAX: usize = 8;
/// A segment has its header at its beginning and at its end.
pub const SEGMENT_HEADER: usize = 160;
pub const HEADER: usize = 32;
const META: usize = 8;
const KEY: usize = 8;
const CHECKPOINT: usize = 88;
const REASON: usize = 8;
const SOURCES: usize = 4;
const MAGIC: [u8; 2] = [0x1e, 0x02];
const VERSION: u16 = 2;
const COPIED: u8 = 0x40;

/// The spool that an input has, unless it says another.
const SPOOL: u64 = 0x5001;

/// The kinds of records.
pub mod kind {
    pub const REPORT: u8 = 1;
    pub const CHECKPOINT: u8 = 2;
    pub const SETTLED: u8 = 3;
    pub const LETTER: u8 = 4;
    pub const FORGOTTEN: u8 = 5;
    pub const COMMIT: u8 = 6;
}

/// What an input is made of, by the first byte of each piece.
pub mod piece {
    /// Length, then bytes.
    pub const RAW: u8 = 0;
    /// Side and id, length in 16 bytes, whose it is.
    pub const SEGMENT: u8 = 1;
    /// At which ends, version, the first number, which four segments it stands for, and the 11 numbers of a checkpoint.
    pub const FRONT: u8 = 2;
    /// Kind, detail, ticket, count, what stands for the checksum of what settles, length (two bytes), then the payload.
    pub const RECORD: u8 = 3;
    /// The same with a payload that does not fit its checksum.
    pub const DAMAGED: u8 = 4;
    /// A checkpoint of 11 numbers, and of two ranges that were settled ahead.
    pub const NOTE: u8 = 5;
    /// A gap of so many times 8 bytes.
    pub const GAP: u8 = 6;
    pub const COUNT: u8 = 7;
}

/// Counters and numbers beyond this come to the end of counting.
const MOST: u64 = 1 << 40;

/// Which segment a record is of: all checksums of headers begin with it, and with where they stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    spool: u64,
    store: u8,
    segment: u32,
}

impl Identity {
    fn of(side: usize, id: u32) -> Self {
        Identity {
            spool: SPOOL,
            store: side as u8 + 1,
            segment: id,
        }
    }

    fn checksum(&self, at: usize, bytes: &[u8]) -> u32 {
        let mut seed = [0; 24];
        seed[..8].copy_from_slice(&self.spool.to_le_bytes());
        seed[8..12].copy_from_slice(&self.segment.to_le_bytes());
        seed[12] = self.store;
        seed[16..].copy_from_slice(&(at as u64).to_le_bytes());
        let mut digest = CRC.digest();
        digest.update(&seed);
        digest.update(bytes);
        digest.finalize()
    }

    fn seal(&self, at: usize, bytes: &mut Vec<u8>) {
        let crc = self.checksum(at, bytes);
        bytes.extend(crc.to_le_bytes());
    }

    fn unseal<'b>(&self, at: usize, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (body, crc) = bytes.split_last_chunk()?;
        (self.checksum(at, body) == u32::from_le_bytes(*crc)).then_some(body)
    }
}

/// Reads an input piece by piece; behind its end come zeros.
pub struct Pieces<'a> {
    input: &'a [u8],
}

impl<'a> Pieces<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Pieces { input }
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.input.split_first().unwrap_or((&0, &[]));
        self.input = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.input.split_at(count.min(self.input.len()));
        self.input = rest;
        bytes
    }

    /// Mostly a small one.
    fn number(&mut self) -> u64 {
        match self.byte() {
            RESERVED => 4097,
            252 => u64::from(u32::MAX),
            253 => 1 << 40,
            254 => u64::MAX - 1,
            255 => u64::MAX,
            small => u64::from(small),
        }
    }

    /// What a log wrote by the calls up to a zero, with damage done to it.
    pub fn damaged_log(&mut self) -> Images {
        let calls = self.input.iter().take_while(|byte| **byte != 0).count();
        let mut images = log_of(self.bytes(calls.min(200)));
        self.byte();
        while !self.input.is_empty() {
            let [name, high, low, how, len] = [(); 5].map(|()| self.byte());
            let image = &mut images[usize::from(name >> 7)];
            let nth = usize::from(name & 0x7f) % image.len().max(1);
            let Some(segment) = image.values_mut().nth(nth) else {
                continue;
            };
            let at = usize::from(u16::from_be_bytes([high, low])) % segment.len();
            let part = segment[at..].iter_mut();
            match how % 4 {
                0 => part.take(1).for_each(|byte| *byte ^= len),
                1 => part.take(usize::from(len)).for_each(|byte| *byte = 0),
                2 => part.take(usize::from(len)).for_each(|byte| *byte = how),
                _ => part.for_each(|byte| *byte = 0),
            }
        }
        images
    }

    /// Segments made of any bytes and any records.
    pub fn images(&mut self) -> Images {
        let mut images = Images::default();
        let mut current: Option<(usize, u32, Identity)> = None;
        let mut at = 0;
        while !self.input.is_empty() {
            let piece = self.byte() % piece::COUNT;
            if piece == piece::SEGMENT {
                let (name, len, whose) = (self.byte(), self.byte(), self.byte());
                let (side, id) = (usize::from(name >> 7), u32::from(name & 0x7f));
                images[side].insert(id, vec![0; usize::from(len) * 16]);
                let mut identity = Identity::of(side, id);
                match whose {
                    1 => identity.spool += 1,
                    2 => identity.store ^= 3,
                    3 => identity.segment += 1,
                    _ => {}
                }
                current = Some((side, id, identity));
                at = 0;
                continue;
            }
            let (side, id, identity) = current.unwrap_or((0, 0, Identity::of(0, 0)));
            let mut at_end = Vec::new();
            let bytes = match piece {
                piece::RAW => {
                    let len = usize::from(self.byte());
                    self.bytes(len).to_vec()
                }
                piece::FRONT => {
                    let ends = self.byte() % 3;
                    let front = self.front(&identity);
                    if ends != 1 {
                        at_end.clone_from(&front);
                    }
                    if ends == 2 { Vec::new() } else { front }
                }
                piece::NOTE => {
                    let numbers = (0..15).map(|_| self.number().to_le_bytes());
                    let payload = numbers.collect::<Vec<_>>().concat();
                    record(
                        &identity,
                        at,
                        [kind::CHECKPOINT, 0],
                        [0, 0],
                        crc(&payload),
                        &payload,
                    )
                }
                piece::GAP => {
                    at += usize::from(self.byte()) * 8;
                    continue;
                }
                _ => self.record(&identity, at, piece == piece::DAMAGED),
            };
            let Some(segment) = images[side].get_mut(&id) else {
                continue;
            };
            let end = segment.len().saturating_sub(SEGMENT_HEADER);
            put(segment, end, &at_end);
            put(segment, at, &bytes);
            at += bytes.len();
        }
        images
    }

    fn front(&mut self, identity: &Identity) -> Vec<u8> {
        let version = match self.byte() {
            255 => VERSION + 1,
            _ => VERSION,
        };
        let mut front = Vec::new();
        front.extend(b"EDGLOG");
        front.extend(version.to_le_bytes());
        front.extend(identity.spool.to_le_bytes());
        front.extend(identity.segment.to_le_bytes());
        front.extend([identity.store, 0, 0, 0]);
        front.extend(self.number().to_le_bytes());
        for _ in 0..SOURCES {
            front.extend(u32::from(self.byte()).to_le_bytes());
        }
        for _ in 0..CHECKPOINT / 8 {
            front.extend(self.number().to_le_bytes());
        }
        // Up to the checksum.
        front.resize(SEGMENT_HEADER - 4, 0);
        identity.seal(0, &mut front);
        front
    }

    fn record(&mut self, identity: &Identity, at: usize, damaged: bool) -> Vec<u8> {
        let (first, detail) = (self.byte(), self.byte());
        // The kinds there are, one that is skipped, one that is not known; or a copy of it.
        let number = match first % 8 {
            7 => 0x80,
            known => known,
        };
        let kind = number | if first & 0x80 == 0 { 0 } else { COPIED };
        let numbers = [self.number(), self.number()];
        let settled = self.number() as u32;
        let len = usize::from(self.byte()) + usize::from(self.byte() % 4) * 256;
        let mut payload = self.bytes(len).to_vec();
        payload.resize(len, 0);
        let crc = match number {
            kind::SETTLED => settled,
            _ => crc(&payload).wrapping_add(u32::from(damaged)),
        };
        record(identity, at, [kind, detail], numbers, crc, &payload)
    }
}

/// What stands in an input for the first number that is reserved.
const RESERVED: u8 = 251;

/// As much as there is room for.
fn put(segment: &mut [u8], at: usize, bytes: &[u8]) {
    let room = segment.get_mut(at..).unwrap_or_default();
    room.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
}

fn crc(payload: &[u8]) -> u32 {
    CRC.checksum(payload)
}

fn record(
    identity: &Identity,
    at: usize,
    kind: [u8; 2],
    numbers: [u64; 2],
    crc: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend(MAGIC);
    record.extend(kind);
    record.extend((payload.len() as u32).to_le_bytes());
    record.extend(numbers.map(u64::to_le_bytes).concat());
    record.extend(crc.to_le_bytes());
    identity.seal(at, &mut record);
    record.extend(payload);
    record.resize(record.len().next_multiple_of(8), 0);
    record
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..at + 8].try_into();
    u64::from_le_bytes(bytes.expect("8 bytes"))
}

/// A whole header of a segment: its version, whose it is, the first number, what it stands for, and a checkpoint.
struct Front {
    version: u16,
    identity: Identity,
    first: u64,
    sources: Vec<u8>,
    checkpoint: Vec<u64>,
}

fn fronts(segment: &[u8]) -> impl Iterator<Item = Front> {
    let end = segment.len().checked_sub(SEGMENT_HEADER);
    let places = [end.map(|_| 0), end].into_iter().flatten();
    places.filter_map(|at| {
        let bytes = &segment[at..at + SEGMENT_HEADER];
        let identity = Identity {
            spool: long(bytes, 8),
            segment: long(bytes, 16) as u32,
            store: bytes[20],
        };
        let body = identity.unseal(0, bytes)?;
        body.starts_with(b"EDGLOG").then(|| Front {
            version: u16::from_le_bytes([body[6], body[7]]),
            identity,
            first: long(body, 24),
            sources: body[32..48].iter().step_by(4).copied().collect(),
            checkpoint: (48..136).step_by(8).map(|at| long(body, at)).collect(),
        })
    })
}

pub fn has_front(segment: &[u8]) -> bool {
    fronts(segment).next().is_some()
}

/// Whether a segment says that it is of another version.
pub fn is_newer(segment: &[u8]) -> bool {
    fronts(segment).any(|front| front.version != VERSION)
}

/// A record with a whole header.
struct Record<'a> {
    kind: u8,
    detail: u8,
    seq: u64,
    count: u64,
    crc: u32,
    payload: &'a [u8],
    is_whole: bool,
}

fn record_at<'s>(segment: &'s [u8], at: usize, identity: &Identity) -> Option<Record<'s>> {
    let rest = segment.get(at..)?;
    let header = identity.unseal(at, rest.get(..HEADER)?)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let payload = rest.get(HEADER..)?.get(..word(4) as usize)?;
    (header[..2] == MAGIC).then_some(Record {
        kind: header[2] & !COPIED,
        detail: header[3],
        seq: long(header, 8),
        count: long(header, 16),
        crc: word(24),
        payload,
        is_whole: crc(payload) == word(24),
    })
}

/// All records of a segment, those too that stand within others.
fn records<'s>(segment: &'s [u8], identity: Identity) -> impl Iterator<Item = Record<'s>> {
    let places = (0..segment.len()).step_by(8);
    places.filter_map(move |at| record_at(segment, at, &identity))
}

/// All whole records of one side, whatever spool they are of.
fn whole_records(images: &Images, side: usize) -> impl Iterator<Item = Record<'_>> {
    let all = images.iter().flat_map(BTreeMap::values);
    let spools: BTreeSet<u64> = all
        .flat_map(|s| fronts(s))
        .map(|f| f.identity.spool)
        .collect();
    images[side].iter().flat_map(move |(id, segment)| {
        let identities = spools.clone().into_iter().map(move |spool| Identity {
            spool,
            ..Identity::of(side, *id)
        });
        let records = identities.flat_map(|identity| records(segment, identity));
        records.filter(|record| record.is_whole || record.kind == kind::SETTLED)
    })
}

/// Whether no number is so large that counting ends.
pub fn is_sane(images: &Images) -> bool {
    let all = images.iter().flat_map(BTreeMap::values);
    let in_fronts = all.flat_map(|s| fronts(s));
    let in_fronts = in_fronts.flat_map(|front| [vec![front.first], front.checkpoint].concat());
    let in_records = [0, 1].into_iter().flat_map(|side| {
        whole_records(images, side).flat_map(|record| {
            let is_note = matches!(record.kind, kind::CHECKPOINT | kind::COMMIT);
            let (longs, _) = record.payload.as_chunks::<8>();
            let longs = longs.iter().map(|long| u64::from_le_bytes(*long));
            let longs: Vec<u64> = longs.filter(|_| is_note).collect();
            longs.into_iter().chain([record.seq, record.count])
        })
    });
    in_fronts.chain(in_records).all(|number| number <= MOST)
}

pub fn reports_in(images: &Images) -> BTreeSet<(u64, Vec<u8>)> {
    let reports = whole_records(images, 0).filter(|record| record.kind == kind::REPORT);
    reports
        .filter_map(|r| {
            let prefix = META + usize::from(r.detail) * KEY;
            Some((r.seq, r.payload.get(prefix..)?.to_vec()))
        })
        .collect()
}

pub fn letters_in(images: &Images) -> BTreeSet<(u64, Vec<u8>)> {
    let letters = whole_records(images, 1).filter(|record| record.kind == kind::LETTER);
    letters
        .filter_map(|r| {
            let lens = r.payload.get(META + 4..META + 6)?;
            let texts: usize = lens.iter().map(|len| usize::from(*len)).sum();
            Some((r.seq, r.payload.get(META + REASON + texts..)?.to_vec()))
        })
        .collect()
}

/// The segments of a real log as pieces: as raw bytes, or record by record, so that what is changed keeps its checksum.
pub fn pieces_of(images: &Images, by_record: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (side, image) in images.iter().enumerate() {
        for (id, segment) in image {
            let name = (side as u8) << 7 | *id as u8 & 0x7f;
            out.extend([piece::SEGMENT, name, (segment.len() / 16) as u8, 0]);
            match by_record {
                true => by_records(segment, Identity::of(side, *id), &mut out),
                false => raw(segment, &mut out),
            }
        }
    }
    out
}

fn raw(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.chunks(248) {
        match part.iter().all(|b| *b == 0) {
            true => out.extend([piece::GAP, (part.len() / 8) as u8]),
            false => {
                out.extend([piece::RAW, part.len() as u8]);
                out.extend(part);
            }
        }
    }
}

fn by_records(segment: &[u8], identity: Identity, out: &mut Vec<u8>) {
    let short = |number: u64| number.min(u64::from(RESERVED)) as u8;
    if let Some(front) = fronts(segment).next() {
        out.extend([piece::FRONT, 0, 0]);
        out.push(short(front.first));
        out.extend(front.sources);
        out.extend(front.checkpoint.iter().map(|number| short(*number)));
    }
    for record in records(segment, identity) {
        let (longs, _) = record.payload.as_chunks::<8>();
        if record.kind == kind::CHECKPOINT && record.payload.len() == CHECKPOINT {
            let numbers = longs.iter().map(|long| short(u64::from_le_bytes(*long)));
            out.push(piece::NOTE);
            out.extend(numbers.chain([0; 4]));
            continue;
        }
        let len = record.payload.len();
        out.extend([piece::RECORD, record.kind, record.detail]);
        out.extend([record.seq, record.count, u64::from(record.crc)].map(short));
        out.extend([(len % 256) as u8, (len / 256) as u8]);
        out.extend(record.payload);
    }
}

/// A log as it comes about by calls.
pub fn log_of(calls: &[u8]) -> Images {
    let disks = [Disk::new(Image::new()), Disk::new(Image::new())];
    let open = || {
        let [live, dead] = disks.clone();
        let log = LogOutbox::<_, _, MAX>::open(live, dead, Durability::Each, SPOOL);
        log.expect("it was written so")
    };
    let mut log = open();
    for (number, call) in calls.iter().enumerate() {
        let mut settle = |disposition, passes: usize| {
            let mut found = None;
            for _ in 0..=passes {
                let next = log.next(found).expect("the disk is well");
                found = next.map(|waiting| waiting.ticket).or(found);
            }
            if let Some(ticket) = found {
                let before = Some(Ticket(ticket.0 - 1));
                let waiting = log.next(before).expect("the disk is well");
                let mut bytes = vec![0; waiting.expect("it was there").len];
                assert_eq!(log.read(ticket, &mut bytes), Ok(true));
                log.settle(ticket, disposition, &bytes, WhenLettersFull::DropOldest)
                    .expect("the disk is well");
            }
        };
        let forget = |log: &mut LogOutbox<_, _, MAX>, which: fn(Ticket) -> Forget| {
            let oldest = log.dead_letter(None).expect("the disk is well");
            let second = oldest.and_then(|l| log.dead_letter(Some(l.ticket)).ok().flatten());
            let ticket = second.or(oldest).map_or(Ticket(0), |letter| letter.ticket);
            // Without room for what says so they stay.
            let _ = log.forget_dead_letters(which(ticket));
        };
        match *call {
            b'd' => settle(Disposition::Delivered, 0),
            b'a' => settle(Disposition::Delivered, 2),
            b'r' => settle(Disposition::Refused(refusal()), 0),
            b'x' => settle(Disposition::Expired(refusal()), 1),
            b'F' => forget(&mut log, Forget::One),
            b'U' => forget(&mut log, Forget::UpTo),
            b'C' => {
                let _ = log.close();
                log = open();
            }
            b'c' => log = open(),
            call => {
                let mut jobs = JobKeys::new();
                let key = JobKey {
                    job_id: 1 + number as i64 % 3,
                    is_final: call == b'f',
                };
                if call != b'o' {
                    jobs.push(key).expect("it is the first");
                }
                let bytes = vec![call; if call == b'S' { 500 } else { 40 }];
                let wall = WallTime::from_unix_ms(1_591_104_868_201);
                match log.append(&jobs, &bytes, MonoTime::from_ms(0), Some(wall)) {
                    Ok(_) | Err(OutboxError::Full) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    disks.map(|disk| disk.image())
}

pub fn refusal() -> Reason {
    Reason::response(Outcome::Refused, 400)
        .with_error_code("DLI.0001")
        .with_text("no")
}

/// A disk that does what it is told, and holds the log to its word.
#[derive(Clone, Debug)]
pub struct Disk(Rc<RefCell<Image>>);

impl Disk {
    pub fn new(image: Image) -> Self {
        Disk(Rc::new(RefCell::new(image)))
    }

    pub fn image(&self) -> Image {
        self.0.borrow().clone()
    }
}

/// There is no such segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Missing;

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no such segment")
    }
}

impl std::error::Error for Missing {}

impl Storage for Disk {
    type Error = Missing;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Self::Error> {
        let image = self.0.borrow();
        image.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits::new(SEGMENT, ROOM).with_length_unit(256)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), Self::Error> {
        assert!(len.is_multiple_of(8) && len <= ROOM, "a segment of {len}");
        let old = self.0.borrow_mut().insert(id, vec![0; len]);
        assert!(old.is_none(), "segment {id} is there");
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Self::Error> {
        let image = self.0.borrow();
        let segment = image.get(&id).ok_or(Missing)?;
        let part = segment.get(offset..offset + buffer.len());
        buffer.copy_from_slice(part.expect("reads past the end"));
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(offset.is_multiple_of(8) && bytes.len().is_multiple_of(8));
        let mut image = self.0.borrow_mut();
        let segment = image.get_mut(&id).ok_or(Missing)?;
        let part = segment.get_mut(offset..offset + bytes.len());
        let part = part.expect("writes past the end");
        assert!(part.iter().all(|b| *b == 0), "writes over something");
        part.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, id: u32) -> Result<(), Self::Error> {
        self.0.borrow().get(&id).map(|_| ()).ok_or(Missing)
    }

    fn discard(&mut self, id: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut().remove(&id).map(|_| ()).ok_or(Missing)
    }
}
