//! Segments from bytes: raw ones, and records with the right checksums in any order.
#![allow(dead_code, reason = "the seeds use a part of it")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crc::{CRC_32_ISCSI, Crc};
use edge_report::MonoTime;
use edge_report::courier::{
    Durability, Fate, JobKey, JobKeys, LogError, LogOutbox, Outbox, Reason, Storage, Ticket,
};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

pub type Image = BTreeMap<u32, Vec<u8>>;
/// What waits, and the dead letters.
pub type Images = [Image; 2];

pub const SEGMENT: usize = 1024;
/// How much all segments of a side may have.
pub const ROOM: usize = 4 * SEGMENT;
const SEGMENT_COPY: usize = 96;
pub const SEGMENT_HEADER: usize = 2 * SEGMENT_COPY;
pub const HEADER: usize = 24;
const KEY: usize = 16;
const REASON: usize = 8;
const MAGIC: [u8; 2] = [0x1e, 0x01];

/// What an input is made of, by the first byte of each piece.
pub mod piece {
    /// Length, then bytes.
    pub const RAW: u8 = 0;
    /// Side and id, length in 16 bytes, what it is blank with.
    pub const SEGMENT: u8 = 1;
    /// Version, first and last segment, and eight numbers.
    pub const FRONT: u8 = 2;
    /// Kind, keys, number, length (two bytes), then the payload.
    pub const RECORD: u8 = 3;
    /// The same with a payload that does not fit its checksum.
    pub const DAMAGED: u8 = 4;
    /// A gap of so many times 8 bytes.
    pub const GAP: u8 = 5;
    pub const COUNT: u8 = 6;
}

/// Counters and numbers beyond this come to the end of counting.
const MOST: u64 = 1 << 40;

/// Reads an input piece by piece; behind its end come zeros.
pub struct Pieces<'a> {
    input: &'a [u8],
    is_sane: bool,
}

impl<'a> Pieces<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Pieces {
            input,
            is_sane: true,
        }
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
        let number = match self.byte() {
            252 => u64::from(u32::MAX),
            253 => 1 << 40,
            254 => u64::MAX - 1,
            255 => u64::MAX,
            small => u64::from(small),
        };
        self.is_sane &= number <= MOST;
        number
    }

    /// Whether no number is so large that counting ends.
    pub fn is_sane(&self) -> bool {
        self.is_sane
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
        let mut current: Option<(usize, u32)> = None;
        let mut at = 0;
        while !self.input.is_empty() {
            let piece = self.byte() % piece::COUNT;
            if piece == piece::SEGMENT {
                let (name, len, blank) = (self.byte(), self.byte(), self.byte());
                let (side, id) = (usize::from(name >> 7), u32::from(name & 0x7f));
                let blank = if blank & 1 == 0 { 0 } else { 0xff };
                images[side].insert(id, vec![blank; usize::from(len) * 16]);
                current = Some((side, id));
                at = 0;
                continue;
            }
            let bytes = match piece {
                piece::RAW => {
                    let len = usize::from(self.byte());
                    self.bytes(len).to_vec()
                }
                piece::FRONT => self.front(),
                piece::GAP => {
                    at += usize::from(self.byte()) * 8;
                    continue;
                }
                _ => self.record(piece == piece::DAMAGED),
            };
            let segment = current.and_then(|(side, id)| images[side].get_mut(&id));
            let Some(segment) = segment else { continue };
            // Cut off at the end.
            let room = segment.get_mut(at..).unwrap_or_default();
            room.iter_mut()
                .zip(&bytes)
                .for_each(|(to, from)| *to = *from);
            at += bytes.len();
        }
        images
    }

    fn front(&mut self) -> Vec<u8> {
        let version = match self.byte() {
            255 => 2u16,
            _ => 1,
        };
        let [from, to] = [self.byte(), self.byte()].map(u32::from);
        let mut copy = Vec::new();
        copy.extend(b"EDGLOG");
        copy.extend(version.to_le_bytes());
        copy.extend(from.to_le_bytes());
        copy.extend(to.to_le_bytes());
        for _ in 0..8 {
            copy.extend(self.number().to_le_bytes());
        }
        // Up to the checksum.
        copy.resize(SEGMENT_COPY - 4, 0);
        seal(&mut copy);
        copy.repeat(2)
    }

    fn record(&mut self, damaged: bool) -> Vec<u8> {
        let (kind, keys) = (self.byte() % 7, self.byte() % 17);
        let seq = self.number();
        let len = usize::from(self.byte()) + usize::from(self.byte() % 4) * 256;
        let mut payload = self.bytes(len).to_vec();
        payload.resize(len, 0);
        let crc = CRC.checksum(&payload).wrapping_add(u32::from(damaged));
        let mut record = Vec::new();
        record.extend(MAGIC);
        record.extend([kind, keys]);
        record.extend((len as u32).to_le_bytes());
        record.extend(seq.to_le_bytes());
        record.extend(crc.to_le_bytes());
        seal(&mut record);
        record.extend(payload);
        record.resize(record.len().next_multiple_of(8), 0);
        record
    }
}

fn seal(bytes: &mut Vec<u8>) {
    let crc = CRC.checksum(bytes);
    bytes.extend(crc.to_le_bytes());
}

fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk()?;
    (CRC.checksum(body) == u32::from_le_bytes(*crc)).then_some(body)
}

/// The headers of a segment that are whole.
fn fronts(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let copies = segment.get(..SEGMENT_HEADER).unwrap_or_default();
    let bodies = copies.chunks_exact(SEGMENT_COPY).filter_map(sealed);
    bodies.filter(|body| body.starts_with(b"EDGLOG"))
}

pub fn has_front(segment: &[u8]) -> bool {
    fronts(segment).next().is_some()
}

/// Whether a segment says that it is of another version.
pub fn is_newer(segment: &[u8]) -> bool {
    fronts(segment).any(|front| front[6..8] != [1, 0])
}

/// A record with a whole header.
struct Record<'a> {
    kind: u8,
    keys: usize,
    seq: u64,
    payload: &'a [u8],
    is_whole: bool,
}

fn record_at(segment: &[u8], at: usize) -> Option<Record<'_>> {
    let rest = segment.get(at..)?;
    let header = sealed(rest.get(..HEADER)?)?;
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let payload = rest.get(HEADER..)?.get(..word(4) as usize)?;
    (header[..2] == MAGIC).then_some(Record {
        kind: header[2],
        keys: usize::from(header[3]),
        seq: u64::from(word(8)) | u64::from(word(12)) << 32,
        payload,
        is_whole: CRC.checksum(payload) == word(16),
    })
}

/// All whole records, those too that stand within others.
fn records(segment: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let places = (0..segment.len()).step_by(8);
    let found = places.filter_map(|at| record_at(segment, at));
    found.filter(|record| record.is_whole)
}

pub fn reports_in(image: &Image) -> BTreeSet<(u64, Vec<u8>)> {
    let records = image.values().flat_map(|segment| records(segment));
    let reports = records.filter(|record| record.kind == 1);
    reports
        .filter_map(|r| Some((r.seq, r.payload.get(r.keys * KEY..)?.to_vec())))
        .collect()
}

pub fn letters_in(image: &Image) -> BTreeSet<(u64, u16, Vec<u8>)> {
    let records = image.values().flat_map(|segment| records(segment));
    let letters = records.filter(|record| record.kind == 4);
    letters
        .filter_map(|r| {
            let reason = u16::from_le_bytes(*r.payload.first_chunk()?);
            Some((r.seq, reason, r.payload.get(REASON..)?.to_vec()))
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
                true => by_records(segment, &mut out),
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

fn by_records(segment: &[u8], out: &mut Vec<u8>) {
    // From and to, then the low bytes of eight numbers.
    out.extend([piece::FRONT, 1, segment[8], segment[12]]);
    out.extend((16..80).step_by(8).map(|at| segment[at]));
    for record in records(segment) {
        let len = record.payload.len();
        let [kind, keys, seq] = [record.kind, record.keys as u8, record.seq as u8];
        out.extend([
            piece::RECORD,
            kind,
            keys,
            seq,
            (len % 256) as u8,
            (len / 256) as u8,
        ]);
        out.extend(record.payload);
    }
}

/// Whether what waits could have come about by writing, crashing and damage. (Merged segments are left to logs that did.)
pub fn is_orderly(image: &Image) -> bool {
    let mut next = 1;
    // A report cut short gives its number to the next.
    let mut cut_short = false;
    for (id, segment) in image {
        if let Some(front) = fronts(segment).next() {
            let word = |at: usize| u32::from_le_bytes(front[at..at + 4].try_into().expect("4"));
            let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
            let (given, cursor) = (long(16), long(24));
            let alone = word(8) == *id && word(12) == *id;
            if given > MOST || !alone || given < next - u64::from(cut_short) || cursor >= given {
                return false;
            }
            (next, cut_short) = (given, false);
        }
        let mut at = SEGMENT_HEADER;
        while at + HEADER <= segment.len() {
            let Some(record) = record_at(segment, at) else {
                at += 8;
                continue;
            };
            at += HEADER + record.payload.len().next_multiple_of(8);
            if record.seq > MOST {
                return false;
            }
            match record.kind {
                1 if record.seq >= next - u64::from(cut_short) => {
                    (next, cut_short) = (record.seq + 1, !record.is_whole);
                }
                2 if !record.is_whole || record.payload.len() != 56 => {}
                2 => {
                    let (counters, _) = record.payload.as_chunks::<8>();
                    if counters.iter().any(|c| u64::from_le_bytes(*c) > MOST) {
                        return false;
                    }
                    let given = *record.payload.last_chunk().expect("it has 56");
                    let given = u64::from_le_bytes(given);
                    if given < next - u64::from(cut_short) || record.seq >= given {
                        return false;
                    }
                    (next, cut_short) = (given, false);
                }
                _ => return false,
            }
        }
    }
    true
}

/// A log as it comes about by calls.
pub fn log_of(calls: &[u8]) -> Images {
    let disks = [Disk::new(Image::new()), Disk::new(Image::new())];
    let open = || {
        let [live, dead] = disks.clone();
        LogOutbox::<_, _, 8>::open(live, dead, Durability::Each).expect("it was written so")
    };
    let mut log = open();
    for (number, call) in calls.iter().enumerate() {
        let mut settle = |fate| {
            if let Some(front) = log.front().expect("the disk is well") {
                let mut bytes = vec![0; front.len];
                assert_eq!(log.read_front(&mut bytes), Ok(true));
                log.settle_front(fate, &bytes).expect("the disk is well");
            }
        };
        match *call {
            b'd' => settle(Fate::Delivered),
            b'r' => settle(Fate::Refused(Reason::Status(400))),
            b'F' => {
                let oldest = log.dead_letter(None).expect("the disk is well");
                let oldest = oldest.map_or(Ticket(0), |letter| letter.ticket);
                log.forget_dead_letters(oldest).expect("the disk is well");
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
                match log.append(&jobs, &bytes, MonoTime(0)) {
                    Ok(_) | Err(LogError::Full) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    disks.map(|disk| disk.image())
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

const MISSING: &str = "there is no such segment";

impl Storage for Disk {
    type Error = &'static str;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Self::Error> {
        let image = self.0.borrow();
        image.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }

    fn limits(&self) -> (usize, usize) {
        (SEGMENT, ROOM)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), Self::Error> {
        assert!(len >= SEGMENT && len.is_multiple_of(8) && len < 16 * SEGMENT);
        let old = self.0.borrow_mut().insert(id, vec![0; len]);
        assert!(old.is_none(), "segment {id} is there");
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Self::Error> {
        let image = self.0.borrow();
        let segment = image.get(&id).ok_or(MISSING)?;
        let part = segment.get(offset..offset + buffer.len());
        buffer.copy_from_slice(part.expect("reads past the end"));
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(offset.is_multiple_of(8) && bytes.len().is_multiple_of(8));
        let mut image = self.0.borrow_mut();
        let segment = image.get_mut(&id).ok_or(MISSING)?;
        let part = segment.get_mut(offset..offset + bytes.len());
        let part = part.expect("writes past the end");
        let is_blank = part.iter().all(|b| *b == 0) || part.iter().all(|b| *b == 0xff);
        assert!(is_blank, "writes over something");
        part.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, id: u32) -> Result<(), Self::Error> {
        self.0.borrow().get(&id).map(|_| ()).ok_or(MISSING)
    }

    fn discard(&mut self, id: u32) -> Result<(), Self::Error> {
        self.0.borrow_mut().remove(&id).map(|_| ()).ok_or(MISSING)
    }
}
