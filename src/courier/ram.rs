//! An outbox in memory: two queues of records in one piece of memory.
//!
//! ```text
//! | dead letters | free | reports that wait | free |
//! 0           letters  head               tail     capacity
//! ```
//!
//! A record is its sequence number, its length and a tag, then its job keys, then its bytes. What is settled leaves at the head,
//! what comes is put at the tail, and what waits is pushed down when that is worth it.

use core::convert::Infallible;
use core::fmt;
use core::marker::PhantomData;

use super::engine::Scratch;
use super::log::LogError;
use super::newest::Newest;
use super::outbox::{DeadLetter, Fate, Front, JobKey, JobKeys, Ledger, Outbox, Ticket};
use super::policy::Reason;
use crate::json::IS_ROOMY;
use crate::time::MonoTime;

/// In front of each report or letter.
const HEADER: usize = 14;
/// A job key: its id, then whether it is final.
const KEY: usize = 9;

/// An outbox in memory: an array, a slice, or a `Vec` that grows. What is in it is gone when that is.
///
/// A report takes 14 bytes besides its own, and 9 for each of its jobs; all of it may be half of the capacity. When full, reports
/// whose every job has a newer entry are dropped, the oldest first, but never a final state that only others follow. Dead letters take a
/// quarter of the capacity, or the newest of them alone takes more; the oldest make room for the newest.
///
/// `E` is an error that it never gives, for a place where other outboxes may stand: see [`beside`](Self::beside).
#[derive(Debug)]
pub struct RamOutbox<M, E = Infallible> {
    memory: M,
    capacity: usize,
    letters: usize,
    head: usize,
    tail: usize,
    waiting: u64,
    /// Its `submitted` tells the last sequence number.
    ledger: Ledger,
    letters_dropped: u64,
    error: PhantomData<fn() -> E>,
}

impl<M> RamOutbox<M> {
    /// An empty one of so many bytes, which the memory must have or get.
    pub const fn new(memory: M, capacity: usize) -> Self {
        Self::beside(memory, capacity)
    }
}

impl<M, E> RamOutbox<M, E> {
    /// The same, in a place for outboxes that fail with `E`.
    pub const fn beside(memory: M, capacity: usize) -> Self {
        RamOutbox {
            memory,
            capacity,
            letters: 0,
            head: 0,
            tail: 0,
            waiting: 0,
            ledger: Ledger::NONE,
            letters_dropped: 0,
            error: PhantomData,
        }
    }

    /// How many dead letters made room for newer ones.
    pub const fn letters_dropped(&self) -> u64 {
        self.letters_dropped
    }
}

#[derive(Clone, Copy)]
struct Record {
    seq: u64,
    /// Of its bytes.
    len: usize,
    /// Of what waits the count of its job keys, of a letter the number of its reason.
    tag: u16,
}

impl Record {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (seq, rest) = bytes.get(at..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (tag, _) = rest.split_first_chunk()?;
        Some(Record {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len) as usize,
            tag: u16::from_le_bytes(*tag),
        })
    }

    fn write(&self, bytes: &mut [u8], at: usize) -> Option<()> {
        let (seq, rest) = bytes.get_mut(at..)?.split_first_chunk_mut()?;
        let (len, rest) = rest.split_first_chunk_mut()?;
        let (tag, _) = rest.split_first_chunk_mut()?;
        *seq = self.seq.to_le_bytes();
        *len = u32::try_from(self.len).ok()?.to_le_bytes();
        *tag = self.tag.to_le_bytes();
        Some(())
    }

    /// What a letter takes.
    const fn letter_size(&self) -> usize {
        self.len.saturating_add(HEADER)
    }

    const fn keys_size(&self) -> usize {
        KEY.saturating_mul(self.tag as usize)
    }

    /// What a report that waits takes.
    const fn size(&self) -> usize {
        self.letter_size().saturating_add(self.keys_size())
    }

    /// The job keys of a report that waits.
    fn keys<'m>(&self, bytes: &'m [u8], at: usize) -> impl Iterator<Item = JobKey> + use<'m> {
        let keys = part(bytes, at.saturating_add(HEADER), self.keys_size());
        let (keys, _) = keys.as_chunks::<KEY>();
        keys.iter().map(|[id @ .., is_final]| JobKey {
            job_id: i64::from_le_bytes(*id),
            is_final: *is_final != 0,
        })
    }

    #[inline(never)]
    fn is_superseded(&self, bytes: &[u8], at: usize, newest: &Newest) -> bool {
        let mut keys = self.keys(bytes, at);
        self.tag > 0 && keys.all(|key| newest.supersedes(key, self.seq))
    }
}

fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or_default()
}

fn put(bytes: &mut [u8], at: usize, from: &[u8]) -> Option<usize> {
    let end = at.checked_add(from.len())?;
    bytes.get_mut(at..end)?.copy_from_slice(from);
    Some(end)
}

/// Moves `len` bytes down.
fn push_down(bytes: &mut [u8], from: usize, to: usize, len: usize) {
    let end = from.saturating_add(len);
    let shift = from.saturating_sub(to);
    let Some(part) = bytes.get_mut(to..end) else {
        return;
    };
    if !IS_ROOMY {
        // `memmove` has 1.5 KB.
        for place in shift..part.len() {
            let byte = part.get(place).copied();
            if let (Some(byte), Some(to)) = (byte, part.get_mut(place.wrapping_sub(shift))) {
                *to = byte;
            }
        }
    } else if shift <= part.len() {
        part.copy_within(shift.., 0);
    }
}

impl<M: Scratch, E> RamOutbox<M, E> {
    /// What is written so far.
    fn bytes(&mut self) -> &mut [u8] {
        self.memory.room(self.tail).unwrap_or_default()
    }

    fn front_record(&mut self) -> Option<Record> {
        let head = self.head;
        let record = (self.waiting > 0).then(|| Record::read(self.bytes(), head));
        record.flatten()
    }

    /// The first letter that is wanted, and its place.
    fn find_letter(&mut self, wanted: impl Fn(&Record) -> bool) -> Option<(usize, Record)> {
        let mut at = 0;
        while at < self.letters {
            let record = Record::read(self.bytes(), at)?;
            if wanted(&record) {
                return Some((at, record));
            }
            at = at.saturating_add(record.letter_size());
        }
        None
    }

    /// Takes away the letters that stand before `until`.
    fn drop_letters(&mut self, until: usize) {
        let len = self.letters.saturating_sub(until);
        push_down(self.bytes(), until, 0, len);
        self.letters = len;
    }

    /// Makes a letter of the report at the head. It needs no more room there than it had, and all letters together less than half.
    fn bury(&mut self, record: Record, reason: Reason) {
        let at = self.letters;
        let body = self.head.saturating_add(HEADER);
        let body = body.saturating_add(record.keys_size());
        let letter = Record {
            tag: reason.number(),
            ..record
        };
        let bytes = self.bytes();
        push_down(bytes, body, at.saturating_add(HEADER), record.len);
        let _ = letter.write(bytes, at);
        self.letters = at.saturating_add(letter.letter_size());
        let share = self.capacity / 4;
        let mut until = 0;
        while until < at && self.letters.saturating_sub(until) > share {
            let Some(oldest) = Record::read(self.bytes(), until) else {
                break;
            };
            until = until.saturating_add(oldest.letter_size());
            self.letters_dropped = self.letters_dropped.saturating_add(1);
        }
        self.drop_letters(until);
    }

    /// Pushes down what waits.
    fn compact(&mut self) {
        let (head, letters) = (self.head, self.letters);
        let len = self.tail.saturating_sub(head);
        push_down(self.bytes(), head, letters, len);
        self.head = letters;
        self.tail = letters.saturating_add(len);
    }

    /// Whether so many bytes are free at the tail, now or after dropping what is superseded, also by a report to come. If they cannot
    /// be, nothing is dropped.
    fn make_room(&mut self, needed: usize, to_come: &JobKeys) -> bool {
        let waits = self.tail.saturating_sub(self.head);
        let is_short = needed > self.capacity.saturating_sub(self.tail);
        // What is moved then is less than what was settled since.
        if is_short || waits <= self.head.saturating_sub(self.letters) {
            self.compact();
        }
        let fits = needed <= self.capacity.saturating_sub(self.tail);
        (fits || self.drop_superseded(needed, to_come))
            && self.memory.room(self.tail.saturating_add(needed)).is_some()
    }

    #[inline(never)] // its stack is for full outboxes alone
    fn drop_superseded(&mut self, needed: usize, to_come: &JobKeys) -> bool {
        let free = self.capacity.saturating_sub(self.tail);
        let (head, tail, next) = (self.head, self.tail, self.ledger.submitted.wrapping_add(1));
        // More than is needed, so that not each submit has to do this.
        let wanted = needed.max(self.capacity / 8);
        let bytes = self.bytes();
        let mut newest = Newest::default();
        let mut at = head;
        while at < tail
            && let Some(record) = Record::read(bytes, at)
        {
            record
                .keys(bytes, at)
                .for_each(|key| newest.note(key, record.seq));
            at = at.saturating_add(record.size());
        }
        to_come.iter().for_each(|key| newest.note(*key, next));
        let mut to_free = 0usize;
        // The first may be in flight.
        let mut at = head;
        while at < tail
            && let Some(record) = Record::read(bytes, at)
        {
            if at != head && record.is_superseded(bytes, at, &newest) {
                to_free = to_free.saturating_add(record.size());
            }
            at = at.saturating_add(record.size());
        }
        if free.saturating_add(to_free) < needed {
            return false;
        }
        let mut dropped = 0u64;
        let mut freed = free;
        let (mut at, mut to) = (head, head);
        while at < tail
            && let Some(record) = Record::read(bytes, at)
        {
            let size = record.size();
            if at != head && freed < wanted && record.is_superseded(bytes, at, &newest) {
                freed = freed.saturating_add(size);
                dropped = dropped.saturating_add(1);
            } else {
                push_down(bytes, at, to, size);
                to = to.saturating_add(size);
            }
            at = at.saturating_add(size);
        }
        self.tail = to;
        self.waiting = self.waiting.saturating_sub(dropped);
        self.ledger.superseded = self.ledger.superseded.saturating_add(dropped);
        true
    }
}

impl<M: Scratch, E: fmt::Display + fmt::Debug> Outbox for RamOutbox<M, E> {
    type Error = LogError<E>;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        _: MonoTime,
    ) -> Result<Ticket, Self::Error> {
        let record = Record {
            seq: self.ledger.submitted.saturating_add(1),
            len: report.len(),
            tag: u16::try_from(jobs.len()).unwrap_or(0),
        };
        let size = record.size();
        if size > self.capacity / 2 || u32::try_from(size).is_err() {
            return Err(LogError::TooLarge);
        }
        if !self.make_room(size, jobs) {
            return Err(LogError::Full);
        }
        let start = self.tail;
        self.tail = start.saturating_add(size);
        let bytes = self.bytes();
        let _ = record.write(bytes, start);
        let mut at = start.saturating_add(HEADER);
        for key in jobs {
            at = put(bytes, at, &key.job_id.to_le_bytes()).unwrap_or(at);
            at = put(bytes, at, &[u8::from(key.is_final)]).unwrap_or(at);
        }
        let _ = put(bytes, at, report);
        self.waiting = self.waiting.saturating_add(1);
        self.ledger.submitted = record.seq;
        Ok(Ticket(record.seq))
    }

    fn front(&mut self) -> Result<Option<Front>, Self::Error> {
        Ok(self.front_record().map(|record| Front {
            ticket: Ticket(record.seq),
            len: record.len,
        }))
    }

    fn read_front(&mut self, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        let head = self.head;
        Ok(self.front_record().is_some_and(|record| {
            let body = head.saturating_add(HEADER);
            let body = body.saturating_add(record.keys_size());
            put(buffer, 0, part(self.bytes(), body, record.len)).is_some()
        }))
    }

    fn settle_front(&mut self, fate: Fate, _: &[u8]) -> Result<(), Self::Error> {
        let Some(record) = self.front_record() else {
            return Ok(());
        };
        self.ledger.count(fate);
        if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
            self.bury(record, reason);
        }
        self.head = self.head.saturating_add(record.size());
        self.waiting = self.waiting.saturating_sub(1);
        Ok(())
    }

    fn waiting(&self) -> u64 {
        self.waiting
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn tick(&mut self, _: MonoTime) -> Result<(), Self::Error> {
        Ok(())
    }

    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, Self::Error> {
        let after = after.map_or(0, |ticket| ticket.0);
        let letter = self.find_letter(|record| record.seq > after);
        Ok(letter.map(|(_, record)| DeadLetter {
            ticket: Ticket(record.seq),
            reason: Reason::from_number(record.tag),
            len: record.len,
        }))
    }

    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        let letter = self.find_letter(|record| record.seq == ticket.0);
        Ok(letter.is_some_and(|(at, record)| {
            let body = part(self.bytes(), at.saturating_add(HEADER), record.len);
            put(buffer, 0, body).is_some()
        }))
    }

    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error> {
        let kept = self.find_letter(|record| record.seq > ticket.0);
        let until = kept.map_or(self.letters, |(at, _)| at);
        self.drop_letters(until);
        Ok(())
    }
}
