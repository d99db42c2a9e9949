//! After a restart: of segments that stand for others and those others, which count. No report or letter may count twice, and none be lost between them.

use core::cmp::Ordering;

use super::record::{Kind, RecordHeader, SEGMENT_HEADER};
use super::segments::{Segment, Segments};
use super::storage::Storage;

/// Of a report its ticket, of a letter its number.
pub(super) const fn number_of(header: &RecordHeader) -> Option<u64> {
    match header.kind {
        Kind::Report => Some(header.seq),
        Kind::Letter => Some(header.count),
        _ => None,
    }
}

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    /// Of segments that stand for others, and those: one or the other counts. While nothing can be read that stays open, and it is an error to
    /// go on (`out_at`).
    pub(super) fn settle_compactions(&mut self) {
        // By rising id: one that stands for others may itself be one of the others.
        let mut done = 0;
        while self.out_at.is_none()
            && let Some(output) = self.next_output(done)
        {
            done = output.id;
            let is_source = |s: &Segment| output.sources.contains(s.id);
            if output.is_headless {
                if output.first == 0 || self.is_elsewhere(&output) {
                    match self.read_front(output.id, output.len) {
                        Ok(_) => {
                            self.list.retain(|s| s.id != output.id);
                            self.discard(output.id, output.len);
                        }
                        // What cannot be read now may be read later.
                        Err(_) => self.leave_alone(output.id),
                    }
                }
                continue;
            }
            if !self.list.iter().any(is_source) {
                continue;
            }
            // A process that was killed may have left it readable, and not durable. Read after that: a sync that fails may throw it away.
            let synced = self.storage.sync(output.id);
            let is_synced = synced.is_ok();
            let is_out = synced.is_err_and(|error| self.storage.is_outage(&error));
            self.out_at = is_out.then_some(output.id);
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
            // Those whose records it took are discarded only after a commit: so with one of them gone there was one, whatever became of it.
            // What was left of others goes at any time. It may have a commit then, and of its records what the power spared.
            let is_gone = |id: u32| self.list.iter().all(|s| s.id != id);
            let counts = output.sources.own().any(is_gone) && self.has_records_of_its_own(&output);
            if self.check_alive().is_err() {
                self.out_at = Some(output.id);
                return;
            }
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
            // What a failed sync threw away can still be read, and a later sync of what comes after it would prove nothing.
            let given_up = match is_synced {
                true => self.partial.replace(output),
                false => Some(output),
            };
            if let Some(given_up) = given_up {
                self.give_up(given_up);
            }
        }
    }

    /// A segment may be there again after a power failure, if it was not durable yet that it was discarded. What stood for it may be gone by
    /// then, since something else stands for that, and does not name it. If that begins before it, it is out of order, and hides what follows
    /// there.
    ///
    /// Otherwise numbers rise from segment to segment, and nothing stands in the midst of what a copy has. It is left alone: when the copy is
    /// gone all of it is settled, and it goes, too.
    pub(super) fn leave_what_came_back(&mut self) {
        let mut done = 0;
        while let Some(copy) = self.next_output(done) {
            done = copy.id;
            let may_be_within = |s: &Segment, newest: u64| {
                let is_older = s.id < copy.id && !copy.sources.contains(s.id);
                is_older && s.first >= copy.first && s.first <= newest
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
                // What follows its end is not hidden, and what has notes alone may stand before it, but not in its midst.
                let last = self.newest_in(&other);
                let is_within = match last {
                    0 => copy.first < other.first,
                    _ => copy.first <= last && last < newest,
                };
                if is_within && !self.read_failed && self.commit_of(&copy) == Some(true) {
                    self.leave_alone(other.id);
                }
            }
        }
    }

    /// The same of what came back and has what a newer copy has, too, wherever it stands: numbers are used once, so that copy stands for it.
    /// Whether any was left alone. Only who read all records knows that it is worth a look.
    pub(super) fn leave_doubles(&mut self) -> bool {
        let before = self.list.len();
        let mut done = 0;
        while let Some(copy) = self.next_output(done) {
            done = copy.id;
            let mut older = 0;
            while let Some(other) = self.next_by_id(|s| s.id > older && s.id < copy.id) {
                older = other.id;
                if !copy.is_headless
                    && !copy.sources.contains(other.id)
                    && self.share_a_number(&copy, &other)
                    && self.commit_of(&copy) == Some(true)
                {
                    self.leave_alone(other.id);
                }
            }
        }
        self.list.len() < before
    }

    fn leave_alone(&mut self, id: u32) {
        self.list.retain(|segment| segment.id != id);
        self.foreign = self.foreign.saturating_add(1);
    }

    /// The next report or letter of this segment, by its number, and where what follows it may stand.
    fn next_number(&mut self, segment: &Segment, mut offset: usize) -> Option<(u64, usize)> {
        while let Some((place, header)) = self.next_in(segment, offset) {
            offset = self.after(place, &header).offset;
            if let Some(number) = number_of(&header) {
                return Some((number, offset));
            }
        }
        None
    }

    /// The greatest number of a report or letter in this segment; 0 if it has none.
    fn newest_in(&mut self, segment: &Segment) -> u64 {
        let (mut newest, mut at) = (0, SEGMENT_HEADER);
        while let Some((number, end)) = self.next_number(segment, at) {
            (newest, at) = (newest.max(number), end);
        }
        newest
    }

    /// Whether the report or letter of this number stands in this segment.
    fn has_number(&mut self, segment: &Segment, wanted: u64) -> bool {
        let mut at = SEGMENT_HEADER;
        while let Some((number, end)) = self.next_number(segment, at) {
            if number == wanted {
                return true;
            }
            at = end;
        }
        false
    }

    /// Whether some report or letter stands in both. In each their numbers rise.
    fn share_a_number(&mut self, one: &Segment, other: &Segment) -> bool {
        let mut mine = self.next_number(one, SEGMENT_HEADER);
        let mut theirs = self.next_number(other, SEGMENT_HEADER);
        while let (Some((my_number, my_end)), Some((their_number, their_end))) = (mine, theirs) {
            match my_number.cmp(&their_number) {
                Ordering::Less => mine = self.next_number(one, my_end),
                Ordering::Greater => theirs = self.next_number(other, their_end),
                Ordering::Equal => return true,
            }
        }
        false
    }

    /// Whether the first report or letter of this segment stands in another one, too.
    fn is_elsewhere(&mut self, output: &Segment) -> bool {
        for index in 0..self.list.len() {
            let Some(other) = self.list.get(index).copied() else {
                break;
            };
            let may_have = other.id < output.id && other.first <= output.first;
            if may_have && self.has_number(&other, output.first) {
                return true;
            }
        }
        false
    }

    /// Whether this segment has a report or letter that stands in none of its sources that are there.
    fn has_records_of_its_own(&mut self, output: &Segment) -> bool {
        let mut at = SEGMENT_HEADER;
        while let Some((number, end)) = self.next_number(output, at) {
            at = end;
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

    fn next_output(&self, after: u32) -> Option<Segment> {
        self.next_by_id(|s| s.stands_for_others() && s.id > after)
    }

    fn next_by_id(&self, is_meant: impl Fn(&Segment) -> bool) -> Option<Segment> {
        let meant = self.list.iter().filter(|segment| is_meant(segment));
        meant.min_by_key(|segment| segment.id).copied()
    }
}
