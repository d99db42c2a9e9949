//! Which segments a log has after a restart, whatever a crash, damage or somebody's files left there.
//!
//! | what is found | what becomes of it |
//! |---|---|
//! | a header of this spool, this store and this very segment | it counts |
//! | no header, and records of this very segment | it counts, unless they are copies of what stands elsewhere: then it is discarded |
//! | no header, and nothing between its ends | discarded: it was being made |
//! | no header, no whole record, and an id right after the newest | discarded: its first record was being written |
//! | stands for others that are there, without a valid commit | kept aside, to go on with it |
//! | stands for others of which one whose records it took is gone | it counts: it had a commit, and was damaged later; they are discarded, if it can be synced |
//! | the same, but no commit is to be seen | it counts; they stay |
//! | stands for others that are there, with a valid commit | it counts, and they are discarded |
//! | has nothing newer than a copy that begins before it, and was made after it | left alone, and counted as foreign |
//! | anything else | left alone, and counted as foreign |

use super::super::outbox::OutboxError;
use super::record::{Kind, RecordHeader, SEGMENT_HEADER, SegmentFront, SegmentHeader, Sources};
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

/// Of a report its ticket, of a letter its number.
const fn number_of(header: &RecordHeader) -> Option<u64> {
    match header.kind {
        Kind::Report => Some(header.seq),
        Kind::Letter => Some(header.count),
        _ => None,
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
                Ok(_) if len <= this.longest() && this.is_blank(id, len) => {
                    this.discard(id, len);
                    return Ok(());
                }
                // One that is longer than any could be is not looked through, and one that cannot be read now is left alone.
                Err(_) => {
                    failed = true;
                    None
                }
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
                    this.foreign = this.foreign.saturating_add(1);
                    // What cannot be read now may have anything in it.
                    if is_unknown && !core::mem::take(&mut this.read_failed) {
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

    /// Whether it is short, and surely has notes alone.
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
        let mut number = None;
        let (mut found, mut copied) = (false, false);
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            (found, copied) = (true, copied || header.copied);
            match header.kind {
                Kind::Report => _ = number.get_or_insert(header.seq),
                Kind::Letter => _ = number.get_or_insert(header.count),
                _ => {}
            }
        }
        let first = number.unwrap_or(0);
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

    /// Of segments that stand for others, and those: one or the other counts.
    fn settle_compactions(&mut self) {
        // By rising id: one that stands for others may itself be one of the others.
        let mut done = 0;
        while let Some(output) = self.next_output(done) {
            done = output.id;
            let is_source = |s: &Segment| output.sources.contains(s.id);
            if output.is_headless {
                if output.first == 0 || self.is_elsewhere(&output) {
                    self.list.retain(|s| s.id != output.id);
                    self.discard(output.id, output.len);
                }
                continue;
            }
            if !self.list.iter().any(is_source) {
                continue;
            }
            // A process that was killed may have left it readable, and not durable. Read after that: a sync that fails may throw it away.
            let is_synced = self.storage.sync(output.id).is_ok();
            self.read_failed = false;
            let commit = self.commit_of(&output);
            let has_commit = commit == Some(true);
            if has_commit && is_synced {
                while let Some(source) = self.list.iter().copied().find(is_source) {
                    self.list.retain(|s| s.id != source.id);
                    self.discard(source.id, source.len);
                }
                continue;
            }
            // Those whose records it took are discarded only behind a commit: so with one of them gone there was one, whatever became of it.
            // What was left of others goes at any time. It may have a commit then, and of its records what the power spared.
            let is_gone = |id: u32| self.list.iter().all(|s| s.id != id);
            let counts = output.sources.own().any(is_gone) && self.has_records_of_its_own(&output);
            // Then it counts instead of those that are left: they would give again what it left out. If it could not be synced they stay as
            // long as it does: if one was lost in another way it may not be durable, and a second sync would prove nothing.
            if counts && commit.is_some() {
                if let Some(segment) = self.segment_of(output.id) {
                    segment.is_doubted = !is_synced;
                }
                while let Some(source) = self.list.iter().copied().find(is_source) {
                    self.list.retain(|s| s.id != source.id);
                    self.discard_later(source.id, source.len);
                }
                self.discard_pending();
                continue;
            }
            // One that could not be read or synced now may be believed by the next start: until then they get nothing more.
            if has_commit || self.read_failed {
                self.remember_given_up(&output);
            }
            // Without any trace of a commit it may have been half-made when one of them was lost: then the others have more than it.
            if counts {
                continue;
            }
            self.list.retain(|s| s.id != output.id);
            if let Some(other) = self.partial.replace(output) {
                self.give_up(other);
            }
        }
    }

    /// A segment may be there again after a power failure, if it was not durable yet that it was discarded. What stood for it may be gone by
    /// then, since something else stands for that, and does not name it. If that begins before it, it is out of order, and hides what follows
    /// there.
    ///
    /// Otherwise numbers rise from segment to segment, and nothing stands in the midst of what a copy has. It is left alone: when the copy is
    /// gone all of it is settled, and it goes, too.
    fn leave_what_came_back(&mut self) {
        let mut done = 0;
        while let Some(copy) = self.next_output(done) {
            done = copy.id;
            let may_be_within = |s: &Segment, newest: u64| {
                let is_older = s.id < copy.id && !copy.sources.contains(s.id);
                is_older && s.first > copy.first && s.first <= newest
            };
            if copy.is_headless || !self.list.iter().any(|s| may_be_within(s, u64::MAX)) {
                continue;
            }
            let newest = self.newest_in(&copy);
            let mut after = (0, 0);
            while let Some(other) = self
                .list
                .iter()
                .copied()
                .find(|s| (s.first, s.id) > after && may_be_within(s, newest))
            {
                after = (other.first, other.id);
                self.read_failed = false;
                // What follows its end is not hidden.
                let is_within = self.newest_in(&other) < newest && !self.read_failed;
                if is_within && self.commit_of(&copy) == Some(true) {
                    self.list.retain(|s| s.id != other.id);
                    self.foreign = self.foreign.saturating_add(1);
                }
            }
        }
    }

    /// The greatest number of a report or letter in this segment; 0 if it has none.
    fn newest_in(&mut self, segment: &Segment) -> u64 {
        let mut newest = 0;
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            newest = newest.max(number_of(&header).unwrap_or(0));
        }
        newest
    }

    /// Whether the first report or letter of this segment stands in another one, too.
    fn is_elsewhere(&mut self, output: &Segment) -> bool {
        for index in 0..self.list.len() {
            let Some(other) = self.list.get(index).copied() else {
                break;
            };
            if other.id >= output.id || other.first > output.first {
                continue;
            }
            if self.has_number(&other, output.first) {
                return true;
            }
        }
        false
    }

    /// Whether this segment has a report or letter that stands in none of its sources that are there.
    fn has_records_of_its_own(&mut self, output: &Segment) -> bool {
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(output, offset) {
            offset = self.after(place, &header).offset;
            let Some(number) = number_of(&header) else {
                continue;
            };
            let is_there = output.sources.0.into_iter().any(|id| {
                let source = self.segment_of(id).copied();
                source.is_some_and(|source| self.has_number(&source, number))
            });
            if !is_there {
                return true;
            }
        }
        false
    }

    /// Whether the report or letter of this number stands in this segment.
    fn has_number(&mut self, segment: &Segment, number: u64) -> bool {
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            if number_of(&header) == Some(number) {
                return true;
            }
        }
        false
    }

    fn next_output(&self, after: u32) -> Option<Segment> {
        let outputs = self
            .list
            .iter()
            .filter(|s| s.stands_for_others() && s.id > after);
        outputs.min_by_key(|s| s.id).copied()
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
