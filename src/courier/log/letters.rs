//! The dead letters, in a log of their own.
//!
//! Letters are numbered in the order in which they died, from 1, in `count` of their records; a segment's `first` is such a number. What forgets
//! one names its number. With a heap there is an index of the letters by number and by ticket; without, a walk finds them.
//!
//! A letter is durable before its report leaves the queue, so after a crash both may be there: then the letter counts, see
//! [`LogOutbox::open`](super::LogOutbox::open).

use super::super::outbox::{DeadLetter, OutboxError, Ticket};
use super::ahead::{Ahead, Range};
use super::index::Index;
use super::record::{
    CHECKPOINT, Checkpoint, Counter, FORGET_UP_TO, Kind, MAX_LETTER_PREFIX, NEVER_WAS,
    RecordHeader, SegmentFront, Store, letter_from,
};
use super::segments::{Place, Segments};
use super::storage::Storage;
use super::walk::{Patience, until_read};

/// Left at the end of each segment for what forgets its letters, and for a checkpoint.
const FORGETS: usize = 8;
/// As many as a courier tries at a time.
const UNCONFIRMED: usize = 8;

#[derive(Debug)]
pub(super) struct Letters<S, const MAX: usize> {
    pub(super) segments: Segments<S, MAX>,
    pub(super) state: Checkpoint,
    pub(super) index: Index,
    /// What was forgotten after `state.cursor`. With a heap the index says it.
    pub(super) forgotten: Ahead,
    /// How many there are.
    pub(super) count: u64,
    pub(super) unconfirmed: heapless::Vec<Unconfirmed, UNCONFIRMED>,
    /// `state` is written, but for what the records say.
    pub(super) is_noted: bool,
    /// The newest number that a checkpoint counts.
    pub(super) noted: u64,
    /// That failed once.
    pub(super) was_tried: bool,
    pub(super) copy_patience: Patience,
    pub(super) forget_patience: Patience,
    /// The one listed last, and where it stands.
    pub(super) listed: Option<(Ticket, Place)>,
    /// They were read. If that failed it is tried again when one is to be written.
    pub(super) is_loaded: bool,
    /// Some could not be read when they were counted.
    pub(super) has_unread: bool,
    /// Those that were read at the start are durable.
    pub(super) are_durable: bool,
}

/// A report whose letter could not be made durable: it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unconfirmed {
    pub(super) ticket: u64,
    pub(super) number: u64,
    /// The letter is there, and counts.
    pub(super) is_there: bool,
}

/// A letter that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) header: RecordHeader,
}

impl<S, const MAX: usize> Letters<S, MAX> {
    pub(super) const fn new(storage: S) -> Self {
        Letters {
            segments: Segments::new(storage, Store::Letters, 1),
            state: Checkpoint::new(),
            index: Index::new(),
            forgotten: Ahead::new(),
            count: 0,
            unconfirmed: heapless::Vec::new(),
            is_noted: true,
            noted: 0,
            was_tried: false,
            copy_patience: Patience(0),
            forget_patience: Patience(0),
            listed: None,
            is_loaded: false,
            has_unread: false,
            are_durable: false,
        }
    }

    /// How many are gone for good, but for those that were forgotten.
    pub(super) fn dropped(&self) -> u64 {
        self.state.get(Counter::DROPPED)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    pub(super) fn is_forgotten(&self, number: u64) -> bool {
        number <= self.state.cursor
            || self.forgotten.find(number).is_some()
            || self.index.lacks(number)
    }
}

impl<S: Storage, const MAX: usize> Letters<S, MAX> {
    /// Finds the letters there are.
    pub(super) fn load(&mut self, spool: u64) -> Result<(), OutboxError<S::Error>> {
        if self.is_loaded {
            return Ok(());
        }
        self.segments.forget_found();
        // What stays unreadable is given up, or no letter could be kept any more.
        let is_given_up = core::mem::replace(&mut self.was_tried, true);
        match self.segments.load(spool) {
            Err(OutboxError::Unreadable) if is_given_up && self.segments.out_at.is_none() => {}
            loaded => loaded?,
        }
        self.segments.reopen();
        // What a killed process wrote may not be durable yet. Read after that: a sync that fails may throw it away.
        self.are_durable = self.segments.sync().is_ok();
        for index in 0..self.segments.list.len() {
            let Some(segment) = self.segments.list.get(index).copied() else {
                break;
            };
            if let Ok(SegmentFront::Header(header)) =
                self.segments.read_front(segment.id, segment.len)
            {
                self.join(&header.checkpoint);
            }
        }
        until_read(
            self,
            |this| &mut this.segments.read_failed,
            Self::read_records,
        );
        let is_given_up = is_given_up && self.segments.out_at.is_none();
        let alive = self.segments.check_alive();
        if !is_given_up {
            alive?;
        }
        self.is_loaded = true;
        self.segments.skip_unit();
        Ok(())
    }

    fn join(&mut self, checkpoint: &Checkpoint) {
        self.state.join(checkpoint);
        self.noted = self.noted.max(checkpoint.get(Counter::NUMBERED));
    }

    /// No ticket from `reserved` on was given out: whatever is written next says it.
    pub(super) fn raise_reserved(&mut self, reserved: u64) {
        self.state.reserved = self.state.reserved.max(reserved);
    }

    /// How many letters there were ever.
    pub(super) fn ever(&self) -> u64 {
        let skipped = self.state.get(Counter::SKIPPED);
        self.state.get(Counter::NUMBERED).saturating_sub(skipped)
    }

    /// So many reports became letters: what is neither there nor forgotten was dropped or lost.
    pub(super) fn balance(&mut self, reports: u64) {
        let skipped = self.state.get(Counter::SKIPPED);
        let numbers = reports.saturating_add(skipped);
        self.state.raise(Counter::NUMBERED, numbers);
        self.count_dropped();
    }

    pub(super) fn count_dropped(&mut self) {
        let forgotten = self.state.get(Counter::FORGOTTEN);
        let known = self.count.saturating_add(forgotten);
        let dropped = self.ever().saturating_sub(known);
        self.state.set(Counter::DROPPED, dropped);
    }

    /// The letter that a crash cut while it was written, before any checkpoint counted its number.
    pub(super) fn skip_cut(&mut self, number: u64) {
        if number > self.noted {
            self.skip();
        }
    }

    /// No letter has one of the numbers.
    pub(super) fn skip(&mut self) {
        self.state.add(Counter::SKIPPED, 1);
        self.is_noted = false;
    }

    /// The next letter at this place or after it that was not forgotten, and whether it is whole.
    pub(super) fn next_written(&mut self, mut at: Place) -> Option<(Found, bool)> {
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            if header.kind != Kind::Letter
                || header.count <= self.state.cursor
                || self.forgotten.find(header.count).is_some()
            {
                continue;
            }
            let is_whole = self.is_kept(place, &header) && self.segments.is_whole(place, &header);
            if is_whole || self.index.place(header.count).is_none() {
                return Some((Found { place, header }, is_whole));
            }
        }
        None
    }

    /// Whether the bytes of a letter that no checkpoint counts are not what was written: one that is forgotten has them.
    pub(super) fn is_cut(&mut self, found: &Found) -> bool {
        self.segments.read_failed = false;
        found.header.count > self.noted
            && !self.segments.is_whole(found.place, &found.header)
            && !self.segments.read_failed
    }

    fn read_records(&mut self) {
        let mut newest = 0;
        let mut at = self.segments.start();
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            match header.kind {
                Kind::Letter => {
                    self.state.raise(Counter::NUMBERED, header.count);
                    self.raise_reserved(header.seq.saturating_add(1));
                    if header.count > newest && self.segments.is_whole(place, &header) {
                        newest = header.count;
                        self.index.insert(header.count, header.seq, place);
                    }
                }
                Kind::Forgotten => {
                    // It was there, even if it cannot be read any more.
                    self.state.raise(Counter::NUMBERED, header.seq);
                    self.forget_in_memory(header.seq, header.detail == FORGET_UP_TO);
                    // In one record with what it balances, or a cut between two would leave one that was dropped.
                    let counter = match header.detail {
                        NEVER_WAS => Counter::SKIPPED,
                        _ => Counter::FORGOTTEN,
                    };
                    self.state.raise(counter, header.count);
                }
                Kind::Checkpoint | Kind::Commit => {
                    let mut state = [0; CHECKPOINT];
                    let read = self.segments.read(place, 0, &mut state).is_ok();
                    if read && header.len >= CHECKPOINT && self.segments.is_whole(place, &header) {
                        let state = Checkpoint::decode(&state);
                        state.iter().for_each(|state| self.join(state));
                    }
                }
                _ => {}
            }
        }
        self.count_letters();
    }

    pub(super) fn forget_in_memory(&mut self, number: u64, up_to: bool) {
        self.index.forget(number, up_to);
        if up_to {
            self.state.cursor = self.state.cursor.max(number);
        } else if !cfg!(feature = "alloc") {
            let range = Range {
                first: number,
                last: number,
                end: None,
            };
            let _ = self.forgotten.insert(range);
        }
        // What adjoins it needs no range any more.
        let next = self.state.cursor.saturating_add(1);
        if let Some(range) = self.forgotten.find(next) {
            self.state.cursor = range.last;
        }
        self.forgotten.drop_until(self.state.cursor);
    }

    pub(super) fn count_letters(&mut self) {
        self.segments.list.iter_mut().for_each(|s| s.live = 0);
        self.count = 0;
        let failed = core::mem::take(&mut self.segments.read_failed);
        let mut at = self.segments.start();
        while let Some(found) = self.next_from(at) {
            at = self.segments.after(found.place, &found.header);
            self.count = self.count.saturating_add(1);
            let size = self.segments.record_len(found.header.len);
            self.segments.count_live(found.place, size, true);
        }
        self.has_unread = self.segments.read_failed;
        self.segments.read_failed |= failed;
    }

    /// The next whole letter at this place or after it.
    pub(super) fn next_from(&mut self, mut at: Place) -> Option<Found> {
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            if self.is_kept(place, &header) && self.segments.is_whole(place, &header) {
                return Some(Found { place, header });
            }
        }
        None
    }

    pub(super) fn is_kept(&self, place: Place, header: &RecordHeader) -> bool {
        header.kind == Kind::Letter
            && !self.is_forgotten(header.count)
            && self
                .index
                .place(header.count)
                .is_none_or(|known| known == place)
    }

    /// Whether a report of this length could ever be kept.
    pub(super) fn could_hold(&self, report: usize) -> bool {
        let record = self.record_len(MAX_LETTER_PREFIX.saturating_add(report));
        let needed = record.saturating_add(self.reserve());
        self.is_possible(self.segments.segment_len(needed))
    }

    /// Whether there can be a segment of this length: the last one makes way for it, too.
    pub(super) fn is_possible(&self, len: usize) -> bool {
        let limits = self.segments.storage.limits();
        len <= limits.longest_segment && len <= limits.total
    }

    pub(super) fn record_len(&self, payload: usize) -> usize {
        self.segments.record_len(payload)
    }

    pub(super) fn reserve(&self) -> usize {
        let forgets = self.record_len(0).saturating_mul(FORGETS);
        forgets.saturating_add(self.record_len(CHECKPOINT))
    }

    /// A letter, and its place in the listing: the one after `after`; the first without, or if `after` is not there.
    pub(super) fn next(&mut self, after: Option<Ticket>) -> Option<Found> {
        let mut at = self.segments.start();
        if after.is_none() && self.has_unread {
            // What is found from now on must have been counted.
            self.count_letters();
            self.count_dropped();
        }
        if let Some(after) = after {
            match self.listed {
                Some((ticket, place)) if ticket == after && self.has_segment(place) => at = place,
                _ => {
                    if let Some(found) = self.find(after) {
                        at = self.segments.after(found.place, &found.header);
                    }
                }
            }
        }
        let found = self.next_from(at)?;
        let end = self.segments.after(found.place, &found.header);
        self.listed = Some((Ticket(found.header.seq), end));
        Some(found)
    }

    fn has_segment(&self, place: Place) -> bool {
        self.segments.list.iter().any(|s| s.id == place.id)
    }

    /// The letter of this ticket.
    pub(super) fn find(&mut self, ticket: Ticket) -> Option<Found> {
        #[cfg(feature = "alloc")]
        {
            let place = self.index.find(ticket.0)?;
            let header = self
                .segments
                .header_at(place.id, place.offset, usize::MAX)?;
            let is_it = header.kind == Kind::Letter && header.seq == ticket.0;
            (is_it && self.segments.is_whole(place, &header)).then_some(Found { place, header })
        }
        #[cfg(not(feature = "alloc"))]
        {
            let mut at = self.segments.start();
            loop {
                let found = self.next_from(at)?;
                if found.header.seq == ticket.0 {
                    return Some(found);
                }
                at = self.segments.after(found.place, &found.header);
            }
        }
    }

    /// The same, but that it cannot be read now is an error.
    pub(super) fn look_up(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<Found>, OutboxError<S::Error>> {
        self.segments.read_failed = false;
        let found = self.find(ticket);
        if found.is_none() && self.segments.read_failed {
            return Err(OutboxError::Unreadable);
        }
        Ok(found)
    }

    /// What a letter says.
    pub(super) fn describe(&mut self, found: &Found) -> Option<DeadLetter> {
        let mut bytes = [0; MAX_LETTER_PREFIX];
        let len = bytes.len().min(found.header.len);
        let bytes = bytes.get_mut(..len)?;
        self.segments.read(found.place, 0, bytes).ok()?;
        let (reason, prefix) = letter_from(bytes)?;
        Some(DeadLetter {
            ticket: Ticket(found.header.seq),
            reason,
            len: found.header.len.saturating_sub(prefix),
        })
    }

    pub(super) fn read(
        &mut self,
        ticket: Ticket,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<S::Error>> {
        let Some(found) = self.look_up(ticket)? else {
            return Ok(false);
        };
        let Some(letter) = self.describe(&found) else {
            return Ok(false);
        };
        let mut prefix = [0; MAX_LETTER_PREFIX];
        let len = found.header.len.saturating_sub(letter.len);
        let prefix = prefix.get_mut(..len).unwrap_or_default();
        self.segments
            .read_body(found.place, &found.header, prefix, buffer)
    }
}
