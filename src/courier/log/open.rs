//! Which segments a log has after a restart, whatever a crash, damage or somebody's files left there.
//!
//! | what is found | what becomes of it |
//! |---|---|
//! | a header of this spool, this store and this very segment | it counts |
//! | no header, and records of this very segment | it counts, unless they are copies of what stands elsewhere: then it is discarded; or, if the header cannot be read now, left alone |
//! | begins with something else than what is left of a header, and has no record | left alone, and counted as foreign |
//! | no header, and nothing between its ends | discarded: it was being made |
//! | no header, no whole record, and an id right after the newest | discarded: its first record was being written |
//! | stands for others that are there, without a valid commit | kept aside, to go on with it |
//! | stands for others of which one whose records it took is gone | it counts: it had a commit, and was damaged later; they are discarded, if it can be synced |
//! | the same, but no commit is to be seen | it counts; they stay |
//! | stands for others that are there, with a valid commit | it counts, and they are discarded |
//! | has nothing newer than a copy that begins before it, and was made after it | left alone, and counted as foreign |
//! | has what a newer copy has, too, that does not name it | the same |
//! | anything else | left alone, and counted as foreign |

use super::super::outbox::OutboxError;
use super::outputs::number_of;
use super::record::{
    MIN_UNIT, SEGMENT_HEADER, SegmentFront, SegmentHeader, Sources, may_be_cut_header,
};
use super::segments::{Segment, Segments};
use super::storage::Storage;

/// How many segments a crash can leave that were being made: one, and those that could not be discarded before.
const TORN: usize = 8;

/// How many spools can be told apart when segments of several lie together.
const SPOOLS: usize = 8;

/// Which spool it is: the one that most of the segments belong to.
#[derive(Debug, Default)]
pub(super) struct Votes(heapless::Vec<(u64, u32), SPOOLS>);

impl Votes {
    fn note(&mut self, spool: u64) {
        match self.0.iter_mut().find(|(id, _)| *id == spool) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => {
                let _ = self.0.push((spool, 1));
            }
        }
    }

    pub(super) fn winner(&self) -> Option<u64> {
        let first = self
            .0
            .iter()
            .max_by_key(|(id, count)| (*count, u64::MAX.wrapping_sub(*id)));
        first.map(|(id, _)| *id)
    }
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// Looks whose segments there are. Changes nothing. An error if nothing of them can be read, or they have another format.
    pub(super) fn survey(&mut self, votes: &mut Votes) -> Result<(), OutboxError<S::Error>> {
        let mut failed = None;
        let mut read = false;
        self.each_found(&mut |this, id, len| {
            match this.read_front(id, len) {
                Ok(SegmentFront::Header(header)) => {
                    read = true;
                    if header.identity.store == this.identity(0).store {
                        votes.note(header.identity.spool);
                    }
                }
                Ok(SegmentFront::OtherVersion(version)) => {
                    return Err(OutboxError::OtherVersion(version));
                }
                Ok(SegmentFront::Unknown) => read = true,
                Err(error) => failed = Some(error),
            }
            Ok(())
        })?;
        match failed {
            Some(error) if !read => Err(error),
            _ => Ok(()),
        }
    }

    /// As before anything was looked at.
    pub(super) fn forget_found(&mut self) {
        self.list.clear();
        self.pending_discard.clear();
        self.given_up.clear();
        self.partial = None;
        self.foreign = 0;
        self.out_at = None;
        self.close();
    }

    /// Takes up the segments of this spool. `Unreadable` if there are some, and none can be read.
    pub(super) fn load(&mut self, spool: u64) -> Result<(), OutboxError<S::Error>> {
        self.spool = spool;
        // What is neither blank nor of anybody.
        let mut torn = heapless::Vec::<(u32, usize), TORN>::new();
        let mut failed = false;
        self.each_found(&mut |this, id, len| {
            this.read_failed = false;
            let front = this.read_front(id, len);
            // No id is used twice. One from the other end of numbers is nobody's.
            if id < u32::MAX / 2 {
                this.next_id = this.next_id.max(id.saturating_add(1));
            }
            let segment = Segment {
                id,
                len,
                first: 0,
                sources: Sources::NONE,
                is_copy: false,
                live: 0,
                is_headless: false,
                is_unsynced: false,
                is_spared: false,
                is_doubted: false,
                is_for_notes: false,
            };
            let is_unknown = matches!(front, Ok(SegmentFront::Unknown));
            let is_unreadable = front.is_err();
            let own = match front {
                Ok(SegmentFront::Header(SegmentHeader {
                    identity,
                    first,
                    sources,
                    ..
                })) => (identity == this.identity(id)).then_some(Segment {
                    first,
                    sources,
                    is_copy: sources != Sources::NONE,
                    ..segment
                }),
                Ok(_)
                    if len <= this.longest()
                        && this.was_being_made(id, len)
                        && this.is_blank(id, len) =>
                {
                    this.discard(id, len);
                    return Ok(());
                }
                // One that is longer than any could be is not looked through.
                _ if len > this.longest() => None,
                _ => this.read_headless(&segment),
            };
            match own {
                Some(own) => {
                    this.next_id = this.next_id.max(id.saturating_add(1));
                    let key = |s: &Segment| (s.first, s.id);
                    let place = this.list.iter().position(|s| key(s) > key(&own));
                    let place = place.unwrap_or(this.list.len());
                    let pushed = this.list.insert(place, own);
                    pushed.map_err(|_| OutboxError::TooManySegments)
                }
                None => {
                    failed |= is_unreadable;
                    this.foreign = this.foreign.saturating_add(1);
                    // What cannot be read now may have anything in it.
                    let is_torn = is_unknown && this.was_being_made(id, len);
                    if is_torn && !core::mem::take(&mut this.read_failed) {
                        // Of more than these the others stay.
                        let _ = torn.push((id, len));
                    }
                    Ok(())
                }
            }
        })?;
        let newest = self.list.iter().map(|s| s.id).max().unwrap_or(0);
        for (id, len) in torn {
            if newest < id && id.saturating_sub(newest) <= TORN as u32 {
                self.foreign = self.foreign.saturating_sub(1);
                self.discard(id, len);
            }
        }
        self.settle_compactions();
        self.leave_what_came_back();
        for index in 0..self.list.len() {
            let segment = self.list.get(index).copied();
            let is_for_notes = segment.is_some_and(|segment| self.is_for_notes(&segment));
            if let Some(segment) = self.list.get_mut(index) {
                (segment.is_for_notes, segment.is_unsynced) = (is_for_notes, true);
            }
        }
        let has_doubted = self.list.iter().any(|s| s.is_doubted);
        self.total_at_open = match has_doubted {
            true => self.total_but_partial(),
            false => self.total_listed(),
        };
        match failed && self.list.is_empty() {
            // Perhaps the disk is away.
            true => Err(OutboxError::Unreadable),
            false => Ok(()),
        }
    }

    /// Whether it may be one that was being made, and is nobody else's: it begins with what is left of a header.
    fn was_being_made(&mut self, id: u32, len: usize) -> bool {
        let mut beginning = [0; MIN_UNIT];
        let beginning = beginning.get_mut(..len.min(MIN_UNIT)).unwrap_or_default();
        let blank = self.storage.limits().blank;
        self.read_at(id, 0, beginning).is_ok() && may_be_cut_header(beginning, blank)
    }

    /// Whether it is short, and has notes alone.
    fn is_for_notes(&mut self, segment: &Segment) -> bool {
        if segment.len >= self.storage.limits().segment
            || segment.is_headless
            || segment.stands_for_others()
        {
            return false;
        }
        self.read_failed = false;
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            if number_of(&header).is_some() {
                return false;
            }
        }
        !self.read_failed
    }

    /// What a segment without a header is, by its records; `None` if it has none.
    ///
    /// One whose headers never became durable has nothing that counts: a segment is used only after a sync of it.
    fn read_headless(&mut self, segment: &Segment) -> Option<Segment> {
        let mut first = 0;
        let (mut found, mut copied) = (false, false);
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            (found, copied) = (true, copied || header.copied);
            if first == 0 {
                first = number_of(&header).unwrap_or(0);
            }
        }
        found.then_some(Segment {
            first,
            is_copy: copied,
            is_headless: true,
            ..*segment
        })
    }

    /// No segment of this log is longer.
    fn longest(&self) -> usize {
        let limits = self.storage.limits();
        // The limits may have been greater once.
        limits.longest_segment.max(limits.total).saturating_mul(4)
    }

    /// Goes on writing to the last segment, if it is one that can be written: after all that is written, however it got there. Says
    /// whether something stands there after the last record.
    pub(super) fn reopen(&mut self) {
        let Some(last) = self.list.last().copied() else {
            return;
        };
        let limits = self.storage.limits();
        let unit = limits.write_unit.max(1);
        if last.stands_for_others()
            || self.is_last_given_up()
            || !last.len.is_multiple_of(unit)
            || last.len < limits.segment
        {
            return;
        }
        self.write_at = self.end_of_writing(&last);
        self.synced_to = SEGMENT_HEADER;
        self.is_open = true;
        // A process that was killed may have left writes that are not durable yet.
        self.dirty = true;
    }

    /// Gives each segment that is found.
    #[allow(clippy::type_complexity)] // once
    fn each_found(
        &mut self,
        each: &mut dyn FnMut(&mut Self, u32, usize) -> Result<(), OutboxError<S::Error>>,
    ) -> Result<(), OutboxError<S::Error>> {
        // A storage cannot be read while it lists: so many at a time, by rising id.
        let mut after = None;
        loop {
            let mut some = heapless::Vec::<(u32, usize), 16>::new();
            let mut note = |id: u32, len: usize| {
                if after.is_some_and(|after| id <= after) {
                    return;
                }
                if some.is_full() && some.last().is_some_and(|(last, _)| id < *last) {
                    some.pop();
                }
                let place = some.iter().position(|(other, _)| id < *other);
                let place = place.unwrap_or(some.len());
                // If it is full of lower ones, its turn comes later.
                let _ = some.insert(place, (id, len));
            };
            self.storage.list(&mut note).map_err(OutboxError::Device)?;
            let Some((last, _)) = some.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (id, len) in some {
                each(self, id, len)?;
            }
        }
    }
}
