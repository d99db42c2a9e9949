//! The dead letters, in a log of their own.
//!
//! Letters are numbered in the order in which they died, from 1, in `count` of their records; a segment's `first` is such a number. What forgets
//! one names its number. With a heap there is an index of the letters by number and by ticket; without, a walk finds them.
//!
//! A letter is durable before its report leaves the queue, so after a crash both may be there: then the letter counts, see
//! [`LogOutbox::open`](super::LogOutbox::open).

use super::super::outbox::{DeadLetter, Forget, OutboxError, Ticket, WhenLettersFull};
use super::super::reason::Reason;
use super::ahead::{Ahead, Range};
use super::compact::{Keeper, Note, Window};
use super::index::Index;
use super::record::{
    CHECKPOINT, Checkpoint, Counter, FORGET_UP_TO, Kind, LETTER_EXPIRED, MAX_LETTER_PREFIX, Meta,
    NEVER_WAS, RecordHeader, SEGMENT_HEADER, SOURCES, SegmentFront, SegmentHeader, Sources, Store,
    letter_from, letter_prefix,
};
use super::segments::{Place, Segment, Segments, header_of};
use super::storage::Storage;
use super::walk::{Patience, until_read};

/// Left at the end of each segment for what forgets its letters, and for a checkpoint.
const FORGETS: usize = 8;
/// As many as a courier tries at a time.
const HALF_BURIED: usize = 8;

#[derive(Debug)]
pub(super) struct Letters<S, const MAX: usize> {
    pub(super) segments: Segments<S, MAX>,
    pub(super) state: Checkpoint,
    index: Index,
    /// What was forgotten after `state.cursor`. With a heap the index says it.
    forgotten: Ahead,
    /// How many there are.
    pub(super) count: u64,
    half_buried: heapless::Vec<HalfBuried, HALF_BURIED>,
    /// `state` is written, but for what the records say.
    is_noted: bool,
    /// The newest number that a checkpoint counts.
    noted: u64,
    copy_patience: Patience,
    forget_patience: Patience,
    /// The one listed last, and where it stands.
    listed: Option<(Ticket, Place)>,
    /// They were read. If that failed it is tried again when one is to be written.
    is_loaded: bool,
    /// Those that were read at the start are durable.
    pub(super) are_durable: bool,
}

/// A report whose letter could not be made durable: it waits.
#[derive(Clone, Copy, Debug)]
struct HalfBuried {
    ticket: u64,
    number: u64,
    /// The letter is there, and counts.
    is_there: bool,
}

/// Segments whose letters were dropped, and that are still there.
type Dropped<const MAX: usize> = heapless::Vec<Segment, MAX>;

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
            half_buried: heapless::Vec::new(),
            is_noted: true,
            noted: 0,
            copy_patience: Patience(0),
            forget_patience: Patience(0),
            listed: None,
            is_loaded: false,
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

    fn is_forgotten(&self, number: u64) -> bool {
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
        self.segments.list.clear();
        self.segments.foreign = 0;
        self.segments.load(spool)?;
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
        self.is_loaded = true;
        self.segments.skip_unit();
        Ok(())
    }

    fn join(&mut self, checkpoint: &Checkpoint) {
        self.state.join(checkpoint);
        self.noted = self.noted.max(checkpoint.get(Counter::BURIED));
    }

    /// How many letters there were ever.
    pub(super) fn buried(&self) -> u64 {
        let skipped = self.state.get(Counter::SKIPPED);
        self.state.get(Counter::BURIED).saturating_sub(skipped)
    }

    /// So many reports became letters: what is neither there nor forgotten was dropped or lost.
    pub(super) fn balance(&mut self, reports: u64) {
        let skipped = self.state.get(Counter::SKIPPED);
        let numbers = reports.saturating_add(skipped);
        self.state.raise(Counter::BURIED, numbers);
        self.count_dropped();
    }

    fn count_dropped(&mut self) {
        let forgotten = self.state.get(Counter::FORGOTTEN);
        let known = self.count.saturating_add(forgotten);
        let dropped = self.buried().saturating_sub(known);
        self.state.set(Counter::DROPPED, dropped);
    }

    /// The letter that a crash cut while it was written, before any checkpoint counted its number.
    pub(super) fn skip_cut(&mut self, number: u64) {
        if number > self.noted {
            self.skip();
        }
    }

    /// No letter has one of the numbers.
    fn skip(&mut self) {
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

    fn read_records(&mut self) {
        let mut newest = 0;
        let mut at = self.segments.start();
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            match header.kind {
                Kind::Letter => {
                    self.state.raise(Counter::BURIED, header.count);
                    if header.count > newest && self.segments.is_whole(place, &header) {
                        newest = header.count;
                        self.index.insert(header.count, header.seq, place);
                    }
                }
                Kind::Forgotten => {
                    // It was there, even if it cannot be read any more.
                    self.state.raise(Counter::BURIED, header.seq);
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

    fn count_letters(&mut self) {
        self.segments.list.iter_mut().for_each(|s| s.live = 0);
        self.count = 0;
        let mut at = self.segments.start();
        while let Some(found) = self.next_from(at) {
            at = self.segments.after(found.place, &found.header);
            self.count = self.count.saturating_add(1);
            let size = self.segments.record_len(found.header.len);
            self.segments.count_live(found.place, size, true);
        }
    }

    /// The next whole letter at this place or after it.
    fn next_from(&mut self, mut at: Place) -> Option<Found> {
        while let Some((place, header)) = self.segments.next(at) {
            at = self.segments.after(place, &header);
            if self.is_kept(place, &header) && self.segments.is_whole(place, &header) {
                return Some(Found { place, header });
            }
        }
        None
    }

    fn is_kept(&self, place: Place, header: &RecordHeader) -> bool {
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
    fn is_possible(&self, len: usize) -> bool {
        let limits = self.segments.storage.limits();
        len <= limits.longest_segment && len <= limits.total
    }

    fn record_len(&self, payload: usize) -> usize {
        self.segments.record_len(payload)
    }

    fn reserve(&self) -> usize {
        let forgets = self.record_len(0).saturating_mul(FORGETS);
        forgets.saturating_add(self.record_len(CHECKPOINT))
    }

    /// Keeps a copy of a report. When this returns it is durable.
    pub(super) fn bury(
        &mut self,
        seq: u64,
        expired: bool,
        reason: &Reason,
        meta: &Meta,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        if self.find(Ticket(seq)).is_some() {
            // A crash or an error came between this and what settles the report.
            self.sync()?;
            self.half_buried.retain(|half| half.ticket != seq);
            return Ok(());
        }
        // One whose write failed may be there after all.
        self.unearth(seq);
        let prefix = letter_prefix(meta, reason);
        let size = self.record_len(prefix.len().saturating_add(report.len()));
        let with_reserve = size.saturating_add(self.reserve());
        let note = match self.is_noted {
            true => 0,
            false => self.record_len(CHECKPOINT),
        };
        if !self.segments.has_room(with_reserve.saturating_add(note)) {
            self.make_room(with_reserve, when_full)?;
        }
        if !self.is_noted {
            self.write_note()?;
        }
        let number = self.state.get(Counter::BURIED).saturating_add(1);
        let detail = if expired { LETTER_EXPIRED } else { 0 };
        let header = header_of(Kind::Letter, detail, seq, number);
        let place = self.segments.end_of_log();
        let written = self.segments.append(header, &prefix, report);
        let durable = match written {
            Ok(_) => self.sync(),
            Err(error) => Err(error),
        };
        // After an error it may be there or not. Its number is used up.
        self.state.set(Counter::BURIED, number);
        let is_there = durable.is_ok() || self.segments.is_there(place);
        if is_there {
            self.index.insert(number, seq, place);
            self.count = self.count.saturating_add(1);
            self.segments.count_live(place, size, true);
        } else {
            self.skip();
            // If only the read failed it may be there, and must not be listed.
            self.forget_in_memory(number, false);
        }
        if durable.is_err() {
            self.note_half_buried(seq, number, is_there);
        }
        durable
    }

    fn sync(&mut self) -> Result<(), OutboxError<S::Error>> {
        let synced = self.segments.sync();
        self.check_half_buried(synced)
    }

    /// A sync that fails may throw away letters that were there after one that failed before.
    fn check_half_buried(
        &mut self,
        synced: Result<(), OutboxError<S::Error>>,
    ) -> Result<(), OutboxError<S::Error>> {
        for index in 0..self.half_buried.len() {
            let half = self.half_buried.get(index).filter(|half| half.is_there);
            let Some(half) = half.filter(|_| synced.is_err()).copied() else {
                continue;
            };
            self.segments.read_failed = false;
            let is_accounted_for =
                self.is_forgotten(half.number) || self.find(Ticket(half.ticket)).is_some();
            if is_accounted_for || self.segments.read_failed {
                continue;
            }
            self.count = self.count.saturating_sub(1);
            self.skip();
            self.forget_in_memory(half.number, false);
            if let Some(half) = self.half_buried.get_mut(index) {
                half.is_there = false;
            }
        }
        synced
    }

    /// It is not known whether the letter of this report is durable, so the report waits.
    pub(super) fn note_half_buried(&mut self, ticket: u64, number: u64, is_there: bool) {
        if self.half_buried.iter().all(|half| half.ticket != ticket) {
            // Of more than these the letter stays, whatever becomes of the report.
            let _ = self.half_buried.push(HalfBuried {
                ticket,
                number,
                is_there,
            });
        }
    }

    /// What became of a report whose letter could not be made durable is something else: it is no dead letter.
    pub(super) fn unearth(&mut self, seq: u64) {
        let mut half_buried = self.half_buried.iter();
        let Some(HalfBuried { number, .. }) = half_buried.find(|half| half.ticket == seq).copied()
        else {
            return;
        };
        self.half_buried.retain(|half| half.ticket != seq);
        if let Some(found) = self.find(Ticket(seq))
            && found.header.count == number
        {
            self.count = self.count.saturating_sub(1);
            let size = self.record_len(found.header.len);
            self.segments.count_live(found.place, size, false);
            self.skip();
        }
        self.forget_in_memory(number, false);
        // If that cannot be written a restart may find it again.
        let skipped = self.state.get(Counter::SKIPPED);
        let header = header_of(Kind::Forgotten, NEVER_WAS, number, skipped);
        let has_room = self.segments.has_room(self.record_len(0))
            || self
                .make_room(self.reserve(), WhenLettersFull::Hold)
                .is_ok();
        if has_room && self.segments.append(header, &[], &[]).is_ok() {
            let _ = self.sync();
        }
    }

    /// Makes durable what is not yet.
    pub(super) fn make_durable(&mut self) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.segments.discard_pending();
        self.sync()
    }

    /// Writes a segment anew whose sync failed: a second sync of it would prove nothing.
    fn rewrite_unsynced(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.segments.unsynced_from().is_some() {
            self.segments.discard_pending();
            if let Some(first) = self.segments.list.len().checked_sub(1) {
                let is_lossy = self.copy_patience.is_spent();
                let compacted = self.compact(Window { first, count: 1 }, is_lossy);
                self.copy_patience.told(compacted)?;
                if is_lossy && self.segments.read_failed {
                    // Some were given up.
                    self.count_letters();
                    self.count_dropped();
                }
            }
            self.segments.trust();
        }
        Ok(())
    }

    /// Notes that no ticket from `reserved` on was given out, and how many reports were submitted.
    pub(super) fn note_tickets(
        &mut self,
        reserved: u64,
        submitted: u64,
    ) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        self.state.reserved = self.state.reserved.max(reserved);
        self.state.raise(Counter::SUBMITTED_BY_THEN, submitted);
        self.note()
    }

    /// Writes how things stand, durably. Drops no letter for that.
    fn note(&mut self) -> Result<(), OutboxError<S::Error>> {
        if self.segments.has_room(self.record_len(CHECKPOINT)) {
            self.write_note()?;
        } else {
            // The header of a new segment says it.
            self.make_room(self.reserve(), WhenLettersFull::Hold)?;
        }
        self.sync()
    }

    fn write_note(&mut self) -> Result<(), OutboxError<S::Error>> {
        let header = header_of(Kind::Checkpoint, 0, 0, 0);
        self.segments.append(header, &self.state.encode(), &[])?;
        self.is_noted = true;
        Ok(())
    }

    /// A letter, and its place in the listing: the one after `after`; the first without, or if `after` is not there.
    pub(super) fn next(&mut self, after: Option<Ticket>) -> Option<Found> {
        let mut at = self.segments.start();
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

    /// Forgets letters, durably; after an error none of them.
    pub(super) fn forget(&mut self, which: Forget) -> Result<(), OutboxError<S::Error>> {
        self.rewrite_unsynced()?;
        let (ticket, up_to) = match which {
            Forget::One(ticket) => (ticket, false),
            Forget::UpTo(ticket) => (ticket, true),
        };
        if self.look_up(ticket)?.is_none() {
            return Ok(());
        }
        // That may move letters.
        let full = !self.segments.has_room(self.record_len(0))
            && self
                .make_room(self.reserve(), WhenLettersFull::Hold)
                .is_err();
        let Some(found) = self.look_up(ticket)? else {
            return Ok(());
        };
        let number = found.header.count;
        // The same of the oldest, but that it takes no range.
        let up_to = up_to || self.is_oldest(number);
        if !up_to {
            self.check_room_to_forget(number)?;
        }
        let mut forgotten = 0u64;
        let mut freed = heapless::Vec::<(u32, usize), MAX>::new();
        let mut goes = |found: &Found, size: usize| {
            forgotten = forgotten.saturating_add(1);
            match freed.iter_mut().find(|(id, _)| *id == found.place.id) {
                Some((_, bytes)) => *bytes = bytes.saturating_add(size),
                // As many as there are segments.
                None => _ = freed.push((found.place.id, size)),
            }
        };
        goes(&found, self.record_len(found.header.len));
        self.segments.read_failed = false;
        if up_to {
            let mut at = self.segments.start();
            while let Some(next) = self.next_from(at)
                && next.header.count < number
            {
                at = self.segments.after(next.place, &next.header);
                goes(&next, self.record_len(next.header.len));
            }
            // Those that cannot be read are forgotten, too, and must be counted.
            self.segments.check_patience(&mut self.forget_patience)?;
        }
        let has_unread = self.segments.read_failed;
        let total = self.state.get(Counter::FORGOTTEN).saturating_add(forgotten);
        let detail = if up_to { FORGET_UP_TO } else { 0 };
        let header = header_of(Kind::Forgotten, detail, number, total);
        if !full {
            let place = self.segments.end_of_log();
            let written = self.segments.append(header, &[], &[]);
            // What is there in spite of an error is there after a restart, too.
            if !self.segments.is_there(place) {
                written?;
            }
            self.sync()?;
        }
        // What is left out must be forgotten before, and stays if that fails.
        let before = full.then(|| (self.state, self.index.clone(), self.forgotten.clone()));
        self.state.set(Counter::FORGOTTEN, total);
        self.forget_in_memory(number, up_to);
        if let Some(before) = before
            && let Err(error) = self.leave_out(found.place.id, up_to)
        {
            (self.state, self.index, self.forgotten) = before;
            return Err(error);
        }
        self.count = self.count.saturating_sub(forgotten);
        for (id, bytes) in freed {
            let place = Place { id, offset: 0 };
            self.segments.count_live(place, bytes, false);
        }
        if has_unread {
            // Some were given up.
            self.count_letters();
            self.count_dropped();
        }
        self.reclaim();
        Ok(())
    }

    /// An error if this letter cannot be forgotten, for want of memory to remember it.
    pub(super) fn may_forget(&mut self, ticket: Ticket) -> Result<(), OutboxError<S::Error>> {
        if cfg!(feature = "alloc") {
            return Ok(());
        }
        let Some(found) = self.look_up(ticket)? else {
            return Ok(());
        };
        let number = found.header.count;
        match self.is_oldest(number) {
            true => Ok(()),
            false => self.check_room_to_forget(number),
        }
    }

    /// Whether it is known that no letter stands before this one. With a heap nobody needs to know.
    fn is_oldest(&mut self, number: u64) -> bool {
        if cfg!(feature = "alloc") {
            return false;
        }
        self.segments.read_failed = false;
        let oldest = self.next_from(self.segments.start());
        oldest.is_some_and(|oldest| oldest.header.count >= number) && !self.segments.read_failed
    }

    fn check_room_to_forget(&self, number: u64) -> Result<(), OutboxError<S::Error>> {
        match cfg!(feature = "alloc") || self.forgotten.takes(number) {
            true => Ok(()),
            false => Err(OutboxError::LettersFull),
        }
    }

    /// Without room to say that letters are forgotten, they are left out of their segment, or what is written anew says it.
    fn leave_out(&mut self, id: u32, up_to: bool) -> Result<(), OutboxError<S::Error>> {
        let last = self.segments.list.len().saturating_sub(1);
        let own = self.segments.list.iter().position(|s| s.id == id);
        let first = if up_to { last } else { own.unwrap_or(last) };
        if !self.segments.may_replace() {
            return Err(OutboxError::LettersFull);
        }
        self.compact(Window { first, count: 1 }, false)
    }

    fn forget_in_memory(&mut self, number: u64, up_to: bool) {
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

    /// Discards the oldest segments, if no letter in them is kept.
    fn reclaim(&mut self) {
        self.segments.discard_pending();
        while let [first, second, ..] = self.segments.list.as_slice() {
            let (id, live, last) = (first.id, first.live, second.first.saturating_sub(1));
            let before = self.state.cursor;
            // A process was killed after it said so, and before this was discarded.
            let is_said = self.is_noted && before >= last;
            // Without room the header of a new segment says it, or the segment is compacted.
            if live > 0 || !(is_said || self.segments.has_room(self.record_len(CHECKPOINT))) {
                return;
            }
            // What is forgotten must stay so without the records that say it.
            self.state.cursor = before.max(last);
            let said = match is_said {
                true => self.sync(),
                false => self.note(),
            };
            if said.is_err() || self.segments.list.first().is_none_or(|f| f.id != id) {
                return;
            }
            self.forgotten.drop_until(self.state.cursor);
            self.segments.remove(id);
        }
    }

    /// A new segment, whose header says how things stand. Before letters are dropped for it, what is forgotten is left out of others.
    fn make_room(
        &mut self,
        records: usize,
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<S::Error>> {
        let needed = self.segments.segment_len(records);
        if !self.is_possible(needed) {
            return Err(OutboxError::TooLarge);
        }
        self.reclaim();
        let mut dropped = Dropped::new();
        let made = self.roll_dropping(records, needed, when_full, &mut dropped);
        let made = match made {
            // How many are gone must be durable before they are.
            Ok(()) if !dropped.is_empty() => self.sync(),
            made => made,
        };
        match made {
            Ok(()) => self.discard_dropped(&mut dropped),
            Err(_) => self.put_back(&mut dropped),
        }
        made
    }

    fn roll_dropping(
        &mut self,
        records: usize,
        needed: usize,
        when_full: WhenLettersFull,
        dropped: &mut Dropped<MAX>,
    ) -> Result<(), OutboxError<S::Error>> {
        let limits = self.segments.storage.limits();
        loop {
            match self.roll(records) {
                Ok(()) => return Ok(()),
                Err(OutboxError::Full) => {}
                // A full device, perhaps: then what is dropped must make room first.
                Err(error) => {
                    let may_drop = when_full == WhenLettersFull::DropOldest
                        && matches!(&error, OutboxError::Device(e) if self.segments.storage.lacks_room(e));
                    if dropped.is_empty() && may_drop && self.segments.list.len() > 1 {
                        self.drop_oldest(dropped);
                    }
                    self.keep_one(dropped);
                    if dropped.is_empty() {
                        return Err(error);
                    }
                    self.discard_dropped(dropped);
                    return self.roll(records);
                }
            }
            let free = limits.total.saturating_sub(self.segments.total());
            let is_enough = free.saturating_add(self.segments.reclaimable()) >= needed
                && self.segments.may_replace();
            if let Some(window) = self.segments.best_window(needed).filter(|_| is_enough) {
                let before = (self.segments.total(), self.segments.list.len());
                if !self.compact_or_spare(window)? {
                    continue;
                }
                if (self.segments.total(), self.segments.list.len()) != before {
                    continue;
                }
            }
            // The open one has no room either, and with those before it perhaps little that is kept.
            let end = self.segments.list.len();
            let mut windows = (1..=end.min(SOURCES)).map(|count| Window {
                first: end.saturating_sub(count),
                count,
            });
            let frees = |window: &Window| {
                let segments = self.segments.window(*window);
                let len = segments
                    .iter()
                    .map(|s| s.len)
                    .fold(0, usize::saturating_add);
                let live = segments
                    .iter()
                    .map(|s| s.live)
                    .fold(0, usize::saturating_add);
                let is_spared = segments.iter().any(|s| s.is_spared);
                !is_spared && self.segments.output_len(live, CHECKPOINT) < len
            };
            if self.segments.is_open
                && self.segments.may_replace()
                && let Some(window) = windows.find(frees)
            {
                self.compact_or_spare(window)?;
                continue;
            }
            // Nothing is lost with one whose letters are all forgotten.
            let first = self.segments.list.first();
            let is_empty = first.is_some_and(|first| first.live == 0);
            let may_drop = is_empty || when_full == WhenLettersFull::DropOldest;
            if !may_drop || !self.drop_oldest(dropped) {
                return Err(OutboxError::LettersFull);
            }
        }
    }

    fn roll(&mut self, records: usize) -> Result<(), OutboxError<S::Error>> {
        let header = SegmentHeader {
            identity: self.segments.identity(0),
            first: self.state.get(Counter::BURIED).saturating_add(1),
            sources: Sources::NONE,
            checkpoint: self.state,
        };
        let rolled = self.segments.roll(header, records);
        self.check_half_buried(rolled)?;
        self.is_noted = true;
        Ok(())
    }

    /// Takes the oldest segment off the list, and counts its letters as dropped; `false` if there is none.
    fn drop_oldest(&mut self, dropped: &mut Dropped<MAX>) -> bool {
        let Some(first) = self.segments.list.first().copied() else {
            return false;
        };
        let until = match self.segments.list.get(1) {
            Some(second) => second.first.saturating_sub(1),
            None => self.state.get(Counter::BURIED),
        };
        let mut count = 0u64;
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.segments.next_in(&first, offset) {
            offset = self.segments.after(place, &header).offset;
            // The index has none that a crash has cut.
            let is_whole = cfg!(feature = "alloc") || self.segments.is_whole(place, &header);
            if is_whole && self.is_kept(place, &header) {
                count = count.saturating_add(1);
            }
        }
        self.count = self.count.saturating_sub(count);
        // Not one more for each: what forgot one of them may have been lost with a bad sector.
        self.count_dropped();
        self.state.cursor = self.state.cursor.max(until);
        self.index.forget(until, true);
        self.forgotten.drop_until(self.state.cursor);
        self.segments.take_first();
        self.is_noted = false;
        // There were as many segments at the most.
        dropped.push(first).is_ok()
    }

    /// Of all that there were the newest one stays until another is there: how many are forgotten, nothing else tells.
    fn keep_one(&mut self, dropped: &mut Dropped<MAX>) {
        if self.segments.list.is_empty()
            && let Some(newest) = dropped.pop()
        {
            // There is room: it was there before.
            let _ = self.segments.list.push(Segment { live: 0, ..newest });
        }
    }

    /// What is not discarded yet stands in the list, with nothing in it that is kept: [`reclaim`](Self::reclaim) discards it.
    fn put_back(&mut self, dropped: &mut Dropped<MAX>) {
        while let Some(segment) = dropped.pop() {
            // There is room: it was there before, and one was left for what was made since.
            let _ = self.segments.list.insert(0, Segment { live: 0, ..segment });
        }
    }

    fn discard_dropped(&mut self, dropped: &mut Dropped<MAX>) {
        while let Some(segment) = dropped.pop() {
            self.segments.discard(segment.id, segment.len);
        }
    }

    /// `false` if these cannot be read, and stay as they are.
    fn compact_or_spare(&mut self, window: Window) -> Result<bool, OutboxError<S::Error>> {
        match self.compact(window, false) {
            Err(OutboxError::Unreadable) => {
                self.segments.spare(window);
                Ok(false)
            }
            compacted => compacted.map(|()| true),
        }
    }

    fn compact(&mut self, window: Window, is_lossy: bool) -> Result<(), OutboxError<S::Error>> {
        let payload = self.state.encode();
        let note = Note {
            checkpoint: self.state,
            payload: &payload,
            is_lossy,
        };
        self.listed = None;
        let oldest = self.segments.list.first().map_or(0, |first| first.first);
        let mut keeper = LetterKeeper {
            cursor: self.state.cursor,
            forgotten: &self.forgotten,
            index: &mut self.index,
            oldest,
        };
        self.segments.compact(window, note, &mut keeper)
    }
}

/// Keeps letters that are not forgotten, and what forgets those that still stand somewhere.
struct LetterKeeper<'l> {
    cursor: u64,
    forgotten: &'l Ahead,
    index: &'l mut Index,
    oldest: u64,
}

impl<S: Storage, const MAX: usize> Keeper<S, MAX> for LetterKeeper<'_> {
    fn keeps(&mut self, _: &mut Segments<S, MAX>, place: Place, header: &RecordHeader) -> bool {
        match header.kind {
            Kind::Letter => {
                header.count > self.cursor
                    && self.forgotten.find(header.count).is_none()
                    && !self.index.lacks(header.count)
                    && self
                        .index
                        .place(header.count)
                        .is_none_or(|known| known == place)
            }
            // Not what could not be made durable: after that error the letter is still there.
            Kind::Forgotten => {
                let is_forgotten =
                    self.forgotten.find(header.seq).is_some() || self.index.lacks(header.seq);
                is_forgotten && header.seq > self.cursor && header.seq >= self.oldest
            }
            _ => false,
        }
    }

    fn moved(&mut self, header: &RecordHeader, to: Place) {
        if header.kind == Kind::Letter {
            self.index.moved(header.count, to);
        }
    }
}
