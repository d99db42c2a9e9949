//! Which segments a log has after a restart, whatever a crash, damage or somebody's files left there.
//!
//! | what is found | what becomes of it |
//! |---|---|
//! | a header of this spool, this store and this very segment | it counts |
//! | both headers damaged, and records of this very segment | it counts |
//! | both headers damaged, and nothing between them | discarded: it was being made |
//! | stands for others that are there, without a valid commit | kept aside, to go on with it |
//! | stands for others that are there, with a valid commit | it counts, and they are discarded |
//! | anything else | left alone, and counted as foreign |

use super::super::outbox::OutboxError;
use super::record::{SEGMENT_HEADER, SegmentFront, SegmentHeader};
use super::segments::{Segment, Segments};
use super::storage::Storage;

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
        let first = self.0.iter().max_by_key(|(id, count)| (*count, u64::MAX.wrapping_sub(*id)));
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

    /// Takes up the segments of this spool.
    pub(super) fn load(&mut self, spool: u64) -> Result<(), OutboxError<S::Error>> {
        self.spool = spool;
        self.each_found(&mut |this, id, len| {
            let front = this.read_front(id, len);
            let segment = Segment {
                id,
                len,
                first: 0,
                last: 0,
                live: 0,
            };
            let own = match front {
                Ok(SegmentFront::Header(SegmentHeader {
                    identity,
                    first,
                    last,
                    ..
                })) => (identity == this.identity(id)).then_some(Segment {
                    first,
                    last,
                    ..segment
                }),
                Ok(_) if this.is_blank(id, len) => {
                    this.discard(id, len);
                    return Ok(());
                }
                _ => {
                    let record = this.next_in(&segment, SEGMENT_HEADER);
                    record.map(|(_, header)| Segment {
                        first: this.number(&header),
                        ..segment
                    })
                }
            };
            match own.filter(|own| own.len <= this.longest()) {
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
                    Ok(())
                }
            }
        })?;
        self.settle_compactions();
        Ok(())
    }

    /// No segment of this log is longer: what is, is not looked through.
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
            let is_source = |s: &Segment| {
                s.id < output.id && output.first <= s.first && s.first <= output.last
            };
            if !self.list.iter().any(is_source) {
                continue;
            }
            if self.has_commit(&output) {
                while let Some(source) = self.list.iter().copied().find(is_source) {
                    self.list.retain(|s| s.id != source.id);
                    self.discard(source.id, source.len);
                }
                continue;
            }
            self.list.retain(|s| s.id != output.id);
            if let Some(other) = self.partial.replace(output) {
                self.discard(other.id, other.len);
            }
        }
    }

    fn next_output(&self, after: u32) -> Option<Segment> {
        let outputs = self.list.iter().filter(|s| s.stands_for_others() && s.id > after);
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
        if last.stands_for_others() || last.len % unit != 0 || last.len < limits.segment {
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
