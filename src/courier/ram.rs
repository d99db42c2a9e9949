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
//! `ram/record.rs` says what a record is, `room.rs` how room is made, `letters.rs` what becomes of dead letters.

use core::convert::Infallible;
use core::fmt;
use core::marker::PhantomData;

#[cfg(feature = "alloc")]
use super::newest::Newest;
#[cfg(not(feature = "alloc"))]
use super::outbox::JobKey;
use super::outbox::{
    Counters, DeadLetter, Disposition, Forget, JobKeys, Outbox, OutboxError, Scratch, Ticket,
    Waiting, WhenLettersFull,
};
use crate::time::{MonoTime, WallTime};

mod letters;
mod record;
mod room;

use record::{HEADER, NO_TIME, Record, part, put};

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
