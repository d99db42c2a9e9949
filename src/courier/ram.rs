//! An outbox in memory: two queues of records in one piece of memory.
//!
//! ```text
//! | dead letters | free | reports that wait, and gaps among them | free |
//! 0           letters  head                                    tail     capacity
//! ```
//!
//! What comes is put at the tail; what is settled leaves a gap, which at the head is free at once. What waits is pushed down when less
//! is moved by that than was settled since, so that each byte moves a few times at most. A walk that meets gaps makes one of neighbours, so
//! that the next walk steps over them at once.
//!
//! A record that waits is its sequence number (0: a gap), its length, the count of its job keys and when it was submitted, then its keys,
//! then its bytes. A letter is its sequence number, its length, the number of its reason's cause, the status and the lengths of two texts,
//! then these texts, then its bytes. Without texts it needs less than the report had, so a letter always finds room where its report was.

use core::convert::Infallible;
use core::fmt;
use core::marker::PhantomData;

use super::newest::Newest;
use super::outbox::{
    Counters, DeadLetter, Disposition, Forget, JobKey, JobKeys, Outbox, OutboxError, Scratch,
    Ticket, Waiting, WhenLettersFull,
};
use super::reason::{Cause, Reason, ShortText};
use crate::code::Code;
use crate::small::IS_ROOMY;
use crate::time::{MonoTime, WallTime};

/// In front of each report.
const HEADER: usize = 22;
/// In front of each letter.
const LETTER: usize = 18;
/// A job key: its id, then whether it is final.
const KEY: usize = 9;
/// No time was told.
const NO_TIME: i64 = i64::MIN;

/// An outbox in memory: an array, a slice, or a `Vec` that grows. Its contents are lost with the memory.
///
/// A report takes 22 bytes besides its own, and 9 for each of its jobs; all of it may be half of the capacity. When full, reports
/// whose every job has a newer entry are dropped, the oldest first, but never a final status that only others follow. Dead letters take a
/// quarter of the capacity, or the newest of them alone takes more, up to a half: then without the texts of its reason, if need be. The oldest
/// make room for the newest, or are held.
///
/// With `alloc` it has an index of the jobs that wait, from the first time that it is full. Without, it looks at 16 jobs at a time
/// when it is full, and keeps the reports of others.
///
/// `E` is an error that it never gives, for a place where other outboxes may stand: see [`with_error_type`](Self::with_error_type).
pub struct RamOutbox<M, E = Infallible> {
    memory: M,
    capacity: usize,
    letters: usize,
    head: usize,
    tail: usize,
    /// How much of what is between head and tail is gaps.
    gaps: usize,
    waiting: u64,
    /// Its `submitted` tells the last sequence number.
    counters: Counters,
    pinned: u64,
    /// A report and its place: the last that was found.
    found: (u64, usize),
    /// The same of a letter.
    found_letter: (u64, usize),
    #[cfg(feature = "alloc")]
    newest: Option<Newest>,
    error: PhantomData<fn() -> E>,
}

/// Without the bytes of the reports: they have no place in somebody's log.
impl<M, E> fmt::Debug for RamOutbox<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamOutbox")
            .field("capacity", &self.capacity)
            .field("waiting", &self.waiting)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<M> RamOutbox<M> {
    /// An empty one of so many bytes. An array or a slice that has less sets the limit.
    pub const fn new(memory: M, capacity: usize) -> Self {
        Self::with_error_type(memory, capacity)
    }
}

impl<M, E> RamOutbox<M, E> {
    /// The same, in a place for outboxes that fail with `E`.
    pub const fn with_error_type(memory: M, capacity: usize) -> Self {
        RamOutbox {
            memory,
            capacity,
            letters: 0,
            head: 0,
            tail: 0,
            gaps: 0,
            waiting: 0,
            counters: Counters::NONE,
            pinned: 0,
            found: (0, 0),
            found_letter: (0, 0),
            #[cfg(feature = "alloc")]
            newest: None,
            error: PhantomData,
        }
    }
}

/// A report that waits, or a gap.
#[derive(Clone, Copy)]
struct Record {
    seq: u64,
    /// Of its bytes.
    len: usize,
    /// How many jobs it has.
    keys: u16,
    submitted_at: i64,
}

impl Record {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (seq, rest) = bytes.get(at..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (keys, rest) = rest.split_first_chunk()?;
        let (submitted_at, _) = rest.split_first_chunk()?;
        Some(Record {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len) as usize,
            keys: u16::from_le_bytes(*keys),
            submitted_at: i64::from_le_bytes(*submitted_at),
        })
    }

    fn write(&self, bytes: &mut [u8], at: usize) -> Option<()> {
        let (seq, rest) = bytes.get_mut(at..)?.split_first_chunk_mut()?;
        let (len, rest) = rest.split_first_chunk_mut()?;
        let (keys, rest) = rest.split_first_chunk_mut()?;
        let (submitted_at, _) = rest.split_first_chunk_mut()?;
        *seq = self.seq.to_le_bytes();
        *len = u32::try_from(self.len).ok()?.to_le_bytes();
        *keys = self.keys.to_le_bytes();
        *submitted_at = self.submitted_at.to_le_bytes();
        Some(())
    }

    const fn is_gap(&self) -> bool {
        self.seq == 0
    }

    const fn keys_size(&self) -> usize {
        KEY.saturating_mul(self.keys as usize)
    }

    /// What comes before its bytes.
    const fn body(&self) -> usize {
        HEADER.saturating_add(self.keys_size())
    }

    const fn size(&self) -> usize {
        self.body().saturating_add(self.len)
    }

    /// Its job keys, as they lie there.
    fn keys<'m>(&self, bytes: &'m [u8], at: usize) -> impl Iterator<Item = JobKey> + use<'m> {
        let keys = part(bytes, at.saturating_add(HEADER), self.keys_size());
        let (keys, _) = keys.as_chunks::<KEY>();
        keys.iter().map(|[id @ .., is_final]| JobKey {
            job_id: i64::from_le_bytes(*id),
            is_final: *is_final != 0,
        })
    }

    #[inline(never)] // for the stack of a full outbox
    fn note_in(&self, newest: &mut Newest, bytes: &[u8], at: usize) {
        newest.note(self.seq, &self.job_keys(bytes, at), |_| ());
    }

    #[inline(never)] // as above
    fn forget_in(&self, newest: &mut Newest, bytes: &[u8], at: usize) {
        newest.forget(self.seq, &self.job_keys(bytes, at));
    }

    fn job_keys(&self, bytes: &[u8], at: usize) -> JobKeys {
        let mut all = JobKeys::new();
        for key in self.keys(bytes, at) {
            // There are no more than fit.
            let _ = all.push(key);
        }
        all
    }
}

/// A dead letter.
#[derive(Clone, Copy)]
struct LetterRecord {
    seq: u64,
    len: usize,
    cause: u16,
    status: u16,
    error_code: u8,
    text: u8,
}

impl LetterRecord {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (seq, rest) = bytes.get(at..)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (cause, rest) = rest.split_first_chunk()?;
        let (status, rest) = rest.split_first_chunk()?;
        let ([error_code, text], _) = rest.split_first_chunk()?;
        Some(LetterRecord {
            seq: u64::from_le_bytes(*seq),
            len: u32::from_le_bytes(*len) as usize,
            cause: u16::from_le_bytes(*cause),
            status: u16::from_le_bytes(*status),
            error_code: *error_code,
            text: *text,
        })
    }

    fn write(&self, bytes: &mut [u8], at: usize) -> Option<()> {
        let (seq, rest) = bytes.get_mut(at..)?.split_first_chunk_mut()?;
        let (len, rest) = rest.split_first_chunk_mut()?;
        let (cause, rest) = rest.split_first_chunk_mut()?;
        let (status, rest) = rest.split_first_chunk_mut()?;
        let (texts, _) = rest.split_first_chunk_mut()?;
        *seq = self.seq.to_le_bytes();
        *len = u32::try_from(self.len).ok()?.to_le_bytes();
        *cause = self.cause.to_le_bytes();
        *status = self.status.to_le_bytes();
        *texts = [self.error_code, self.text];
        Some(())
    }

    /// What comes before its bytes.
    const fn body(&self) -> usize {
        let texts = (self.error_code as usize).saturating_add(self.text as usize);
        LETTER.saturating_add(texts)
    }

    const fn size(&self) -> usize {
        self.body().saturating_add(self.len)
    }

    fn reason(&self, bytes: &[u8], at: usize) -> Reason {
        let at = at.saturating_add(LETTER);
        let (error_code, text) = (usize::from(self.error_code), usize::from(self.text));
        let read = |at, len| core::str::from_utf8(part(bytes, at, len)).unwrap_or_default();
        Reason {
            cause: Cause::from_number(self.cause).unwrap_or(Cause::Failed(Code::Internal)),
            status: self.status,
            error_code: ShortText::new(read(at, error_code)),
            text: ShortText::new(read(at.saturating_add(error_code), text)),
        }
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

/// Moves `len` bytes up by `shift`.
fn push_up(bytes: &mut [u8], from: usize, len: usize, shift: usize) {
    let end = from.saturating_add(len).saturating_add(shift);
    let Some(part) = bytes.get_mut(from..end) else {
        return;
    };
    if !IS_ROOMY {
        for place in (0..len).rev() {
            let byte = part.get(place).copied();
            if let (Some(byte), Some(to)) = (byte, part.get_mut(place.wrapping_add(shift))) {
                *to = byte;
            }
        }
    } else if len <= part.len() {
        part.copy_within(..len, part.len().saturating_sub(len));
    }
}

impl<M: Scratch, E> RamOutbox<M, E> {
    /// What is written so far.
    fn bytes(&mut self) -> &mut [u8] {
        self.memory.room(self.tail).unwrap_or_default()
    }

    fn capacity(&self) -> usize {
        self.capacity.min(self.memory.limit())
    }

    /// What the reports that wait take.
    const fn live(&self) -> usize {
        let all = self.tail.saturating_sub(self.head);
        all.saturating_sub(self.gaps)
    }

    /// The first record at or after a place that waits. Gaps before it become one.
    fn record_from(&mut self, at: usize) -> Option<(usize, Record)> {
        let tail = self.tail;
        let bytes = self.bytes();
        let mut at = at;
        let mut gap: Option<(usize, Record)> = None;
        while at < tail {
            let record = Record::read(bytes, at)?;
            if !record.is_gap() {
                return Some((at, record));
            }
            let size = record.size();
            gap = match gap {
                None => Some((at, record)),
                Some((start, mut gap)) => {
                    gap.len = gap.len.saturating_add(size);
                    // One longer than can be written stays as it is.
                    gap.write(bytes, start).map(|()| (start, gap))
                }
            };
            at = at.saturating_add(size);
        }
        None
    }

    /// The first that waits with a greater number.
    fn record_after(&mut self, seq: u64) -> Option<(usize, Record)> {
        let (found, place) = self.found;
        let mut at = match found != 0 && found <= seq && place >= self.head {
            true => place,
            false => self.head,
        };
        while let Some((place, record)) = self.record_from(at) {
            if record.seq > seq {
                self.found = (record.seq, place);
                return Some((place, record));
            }
            at = place.saturating_add(record.size());
        }
        None
    }

    fn record(&mut self, ticket: Ticket) -> Option<(usize, Record)> {
        let before = ticket.0.checked_sub(1)?;
        // The last that was found is often this one.
        let (found, at) = self.found;
        if found == ticket.0
            && at >= self.head
            && let Some(record) = Record::read(self.bytes(), at)
            && record.seq == found
        {
            return Some((at, record));
        }
        let (at, record) = self.record_after(before)?;
        (record.seq == ticket.0).then_some((at, record))
    }

    /// Makes a gap of a report.
    fn remove(&mut self, at: usize, record: Record) {
        let size = record.size();
        #[cfg(feature = "alloc")]
        if self.newest.is_some() {
            let keys = record.job_keys(self.bytes(), at);
            if let Some(newest) = &mut self.newest {
                newest.forget(record.seq, &keys);
            }
        }
        let gap = Record {
            seq: 0,
            len: size.saturating_sub(HEADER),
            keys: 0,
            submitted_at: 0,
        };
        let _ = gap.write(self.bytes(), at);
        self.gaps = self.gaps.saturating_add(size);
        self.waiting = self.waiting.saturating_sub(1);
        if at == self.head {
            let next = self.record_from(at).map_or(self.tail, |(next, _)| next);
            self.gaps = self.gaps.saturating_sub(next.saturating_sub(at));
            self.head = next;
        }
    }

    /// Pushes down what waits; of that, what `keep` says.
    fn compact(&mut self, mut keep: impl FnMut(&[u8], usize, &Record) -> bool) {
        let (mut at, mut to, tail) = (self.head, self.letters, self.tail);
        let bytes = self.bytes();
        while at < tail
            && let Some(record) = Record::read(bytes, at)
        {
            let size = record.size();
            if !record.is_gap() && keep(bytes, at, &record) {
                push_down(bytes, at, to, size);
                to = to.saturating_add(size);
            }
            at = at.saturating_add(size);
        }
        (self.head, self.tail, self.gaps) = (self.letters, to, 0);
        self.found = (0, 0);
    }

    /// An index of what waits.
    fn take_newest(&mut self) -> Newest {
        #[cfg(feature = "alloc")]
        if let Some(newest) = self.newest.take_if(|newest| !newest.is_stale()) {
            return newest;
        }
        let mut newest = Newest::new();
        let mut at = self.head;
        while let Some((place, record)) = self.record_from(at) {
            record.note_in(&mut newest, self.bytes(), place);
            at = place.saturating_add(record.size());
        }
        newest
    }

    #[cfg_attr(not(feature = "alloc"), allow(unused_variables, clippy::unused_self))]
    fn give_newest_back(&mut self, newest: Newest) {
        #[cfg(feature = "alloc")]
        {
            self.newest = Some(newest);
        }
    }

    /// Whether so many bytes are free at the tail, now or after dropping what is superseded, also by a report to come. If they cannot
    /// be, nothing is dropped.
    fn make_room(&mut self, needed: usize, to_come: &JobKeys) -> bool {
        let is_short = needed > self.capacity().saturating_sub(self.tail);
        let settled = self.head.saturating_sub(self.letters);
        // What is moved then is less than what was settled since.
        if is_short || self.live() <= settled.saturating_add(self.gaps) {
            self.compact(|_, _, _| true);
        }
        let fits = needed <= self.capacity().saturating_sub(self.tail);
        (fits || self.drop_superseded(needed, to_come))
            && self.memory.room(self.tail.saturating_add(needed)).is_some()
    }

    #[inline(never)] // its stack is for full outboxes alone
    fn drop_superseded(&mut self, needed: usize, to_come: &JobKeys) -> bool {
        let free = self.capacity().saturating_sub(self.tail);
        // More than is needed, so that not each submit has to do this.
        let wanted = needed.max(self.capacity() / 8);
        let mut newest = self.take_newest();
        let pinned = self.pinned;
        let is_superseded = |newest: &Newest, bytes: &[u8], at: usize, record: &Record| {
            let by_that = |key: JobKey| {
                let mut same = to_come.iter().filter(|new| new.job_id == key.job_id);
                key.job_id != JobKey::ANY && same.any(|new| new.is_final || !key.is_final)
            };
            let mut keys = record.keys(bytes, at);
            record.keys > 0
                && record.seq != pinned
                && keys.all(|key| newest.supersedes(key, record.seq) || by_that(key))
        };
        let mut to_free = 0usize;
        let mut at = self.head;
        while free.saturating_add(to_free) < needed
            && let Some((place, record)) = self.record_from(at)
        {
            if is_superseded(&newest, self.bytes(), place, &record) {
                to_free = to_free.saturating_add(record.size());
            }
            at = place.saturating_add(record.size());
        }
        if free.saturating_add(to_free) < needed {
            self.give_newest_back(newest);
            return false;
        }
        let mut dropped = 0u64;
        let mut freed = free;
        self.compact(|bytes, at, record| {
            if freed >= wanted {
                return true;
            }
            let drops = is_superseded(&newest, bytes, at, record);
            if drops {
                record.forget_in(&mut newest, bytes, at);
                freed = freed.saturating_add(record.size());
                dropped = dropped.saturating_add(1);
            }
            !drops
        });
        self.give_newest_back(newest);
        self.waiting = self.waiting.saturating_sub(dropped);
        self.counters.superseded = self.counters.superseded.saturating_add(dropped);
        true
    }

    fn letter_from(&mut self, at: usize) -> Option<LetterRecord> {
        let is_there = at < self.letters;
        let letter = is_there.then(|| LetterRecord::read(self.bytes(), at));
        letter.flatten()
    }

    fn letter(&mut self, ticket: Ticket) -> Option<(usize, LetterRecord)> {
        let (found, place) = self.found_letter;
        let mut at = match found == ticket.0 {
            true => place,
            false => 0,
        };
        while let Some(letter) = self.letter_from(at) {
            if letter.seq == ticket.0 {
                self.found_letter = (letter.seq, at);
                return Some((at, letter));
            }
            at = at.saturating_add(letter.size());
        }
        None
    }

    /// Takes away the letters from one place until another.
    fn take_letters_away(&mut self, from: usize, until: usize) {
        let mut at = from;
        let mut gone = 0u64;
        while at < until
            && let Some(letter) = self.letter_from(at)
        {
            gone = gone.saturating_add(1);
            at = at.saturating_add(letter.size());
        }
        let rest = self.letters.saturating_sub(at);
        push_down(self.bytes(), at, from, rest);
        self.letters = from.saturating_add(rest);
        self.found_letter = (0, 0);
        self.counters.letters = self.counters.letters.saturating_sub(gone);
    }

    /// Makes a letter of a report; `false` without room, and then nothing has changed.
    fn bury(
        &mut self,
        (at, record): (usize, Record),
        reason: &Reason,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> bool {
        let share = self.capacity() / 4;
        let (error_code, text) = (reason.error_code.as_str(), reason.text.as_str());
        let mut letter = LetterRecord {
            seq: record.seq,
            len: report.len(),
            cause: reason.cause.number(),
            status: reason.status,
            error_code: u8::try_from(error_code.len()).unwrap_or(0),
            text: u8::try_from(text.len()).unwrap_or(0),
        };
        // How many make room.
        let mut until = 0;
        let too_many = |until: usize, size: usize, letters: usize| {
            until < letters && letters.saturating_sub(until).saturating_add(size) > share
        };
        while too_many(until, letter.size(), self.letters) {
            if when_full == WhenLettersFull::Hold {
                return false;
            }
            let oldest = self.letter_from(until);
            until = oldest.map_or(self.letters, |oldest| until.saturating_add(oldest.size()));
        }
        let live = self.live().saturating_sub(record.size());
        let taken = self.letters.saturating_sub(until).saturating_add(live);
        let free = self.capacity().saturating_sub(taken);
        // The other half is for a report as long as that of the letter.
        let most = free.min(self.capacity() / 2);
        if letter.size() > most {
            letter.text = 0;
        }
        if letter.size() > most {
            letter.error_code = 0;
        }
        let size = letter.size();
        if size > free || self.memory.room(taken.saturating_add(size)).is_none() {
            return false;
        }
        let before = self.counters.letters;
        if until > 0 {
            self.take_letters_away(0, until);
        }
        let dropped = before.saturating_sub(self.counters.letters);
        self.counters.letters_dropped = self.counters.letters_dropped.saturating_add(dropped);
        self.remove(at, record);
        if self.head.saturating_sub(self.letters) < size {
            self.compact(|_, _, _| true);
            // For some letters more, so that not each has to do this.
            let more = share.saturating_sub(self.letters);
            let more = more.min(self.capacity().saturating_sub(self.tail));
            let more = match self.memory.room(self.tail.saturating_add(more)) {
                Some(_) => more.max(size),
                None => size,
            };
            let (from, len) = (self.head, self.tail.saturating_sub(self.head));
            self.head = from.saturating_add(more);
            self.tail = self.tail.saturating_add(more);
            push_up(self.bytes(), from, len, more);
        }
        let at = self.letters;
        let bytes = self.bytes();
        let _ = letter.write(bytes, at);
        let mut to = at.saturating_add(LETTER);
        for (text, len) in [(error_code, letter.error_code), (text, letter.text)] {
            if len > 0 {
                to = put(bytes, to, text.as_bytes()).unwrap_or(to);
            }
        }
        let _ = put(bytes, to, report);
        self.letters = at.saturating_add(size);
        self.counters.letters = self.counters.letters.saturating_add(1);
        true
    }
}

impl<M: Scratch, E: core::error::Error + 'static> Outbox for RamOutbox<M, E> {
    type Error = E;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        _: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, OutboxError<E>> {
        let record = Record {
            seq: self.counters.submitted.saturating_add(1),
            len: report.len(),
            keys: u16::try_from(jobs.len()).unwrap_or(0),
            submitted_at: wall.map_or(NO_TIME, WallTime::unix_ms),
        };
        let size = record.size();
        if size > self.capacity() / 2 || u32::try_from(size).is_err() {
            return Err(OutboxError::TooLarge);
        }
        if !self.make_room(size, jobs) {
            return Err(OutboxError::Full);
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
        self.counters.submitted = record.seq;
        #[cfg(feature = "alloc")]
        if let Some(newest) = &mut self.newest {
            newest.note(record.seq, jobs, |_| ());
        }
        Ok(Ticket(record.seq))
    }

    fn next(&mut self, after: Option<Ticket>) -> Result<Option<Waiting>, OutboxError<E>> {
        let found = self.record_after(after.map_or(0, |ticket| ticket.0));
        Ok(found.map(|(_, record)| Waiting {
            ticket: Ticket(record.seq),
            len: record.len,
            submitted_at: (record.submitted_at != NO_TIME)
                .then_some(WallTime::from_unix_ms(record.submitted_at)),
        }))
    }

    fn job_keys(&mut self, ticket: Ticket) -> Result<JobKeys, OutboxError<E>> {
        let found = self.record(ticket);
        Ok(match found {
            Some((at, record)) => record.job_keys(self.bytes(), at),
            None => JobKeys::new(),
        })
    }

    fn read(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, OutboxError<E>> {
        let found = self.record(ticket);
        Ok(found.is_some_and(|(at, record)| {
            let body = at.saturating_add(record.body());
            put(buffer, 0, part(self.bytes(), body, record.len)).is_some()
        }))
    }

    #[cfg(feature = "alloc")]
    fn is_superseded(&mut self, ticket: Ticket) -> Result<bool, OutboxError<E>> {
        let Some((at, record)) = self.record(ticket) else {
            return Ok(false);
        };
        let newest = self.take_newest();
        let keys = record.job_keys(self.bytes(), at);
        let is_superseded = newest.is_superseded(ticket.0, &keys);
        self.give_newest_back(newest);
        Ok(is_superseded)
    }

    #[cfg(not(feature = "alloc"))]
    fn is_superseded(&mut self, ticket: Ticket) -> Result<bool, OutboxError<E>> {
        let Some((at, record)) = self.record(ticket) else {
            return Ok(false);
        };
        let tail = self.tail;
        let bytes = self.bytes();
        let says_more = |key: JobKey| {
            let mut at = at.saturating_add(record.size());
            while key.job_id != JobKey::ANY
                && at < tail
                && let Some(newer) = Record::read(bytes, at)
            {
                let mut same = newer.keys(bytes, at).filter(|new| new.job_id == key.job_id);
                if same.any(|new| new.is_final || !key.is_final) {
                    return true;
                }
                at = at.saturating_add(newer.size());
            }
            false
        };
        Ok(record.keys > 0 && record.keys(bytes, at).all(says_more))
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<E>> {
        let Some(found) = self.record(ticket) else {
            return Ok(());
        };
        match &disposition {
            Disposition::Refused(reason) | Disposition::Expired(reason) => {
                if !self.bury(found, reason, report, when_full) {
                    return Err(OutboxError::LettersFull);
                }
            }
            Disposition::Delivered | Disposition::Superseded | Disposition::Corrupt => {
                self.remove(found.0, found.1)
            }
        }
        self.counters.count(disposition);
        Ok(())
    }

    fn room_ahead(&self) -> usize {
        usize::MAX
    }

    fn pin(&mut self, ticket: Option<Ticket>) {
        self.pinned = ticket.map_or(0, |ticket| ticket.0);
    }

    fn waiting(&self) -> u64 {
        self.waiting
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn flush(&mut self) -> Result<(), OutboxError<E>> {
        Ok(())
    }

    fn tick(&mut self, _: MonoTime) -> Result<(), OutboxError<E>> {
        Ok(())
    }

    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, OutboxError<E>> {
        let after = after.and_then(|after| self.letter(after));
        let at = after.map_or(0, |(at, letter)| at.saturating_add(letter.size()));
        let Some(letter) = self.letter_from(at) else {
            return Ok(None);
        };
        self.found_letter = (letter.seq, at);
        Ok(Some(DeadLetter {
            ticket: Ticket(letter.seq),
            reason: letter.reason(self.bytes(), at),
            len: letter.len,
        }))
    }

    fn find_dead_letter(&mut self, ticket: Ticket) -> Result<Option<DeadLetter>, OutboxError<E>> {
        let found = self.letter(ticket);
        Ok(found.map(|(at, letter)| DeadLetter {
            ticket,
            reason: letter.reason(self.bytes(), at),
            len: letter.len,
        }))
    }

    fn read_dead_letter(
        &mut self,
        ticket: Ticket,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<E>> {
        let found = self.letter(ticket);
        Ok(found.is_some_and(|(at, letter)| {
            let body = at.saturating_add(letter.body());
            put(buffer, 0, part(self.bytes(), body, letter.len)).is_some()
        }))
    }

    fn forget_dead_letters(&mut self, which: Forget) -> Result<(), OutboxError<E>> {
        let (Forget::One(ticket) | Forget::UpTo(ticket)) = which;
        if let Some((at, letter)) = self.letter(ticket) {
            let from = if which == Forget::One(ticket) { at } else { 0 };
            self.take_letters_away(from, at.saturating_add(letter.size()));
        }
        Ok(())
    }
}
