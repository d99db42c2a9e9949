//! Room for a report to come: what waits is moved together, and what newer reports supersede is dropped.

use super::RamOutbox;
use super::record::{Record, push_down};
use crate::courier::newest::Newest;
use crate::courier::outbox::{JobKey, JobKeys, Scratch};

impl<M: Scratch, E> RamOutbox<M, E> {
    /// Pushes down what waits; of that, what `keep` says.
    pub(super) fn compact(&mut self, mut keep: impl FnMut(&[u8], usize, &Record) -> bool) {
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
    pub(super) fn take_newest(&mut self) -> Newest {
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
    pub(super) fn give_newest_back(&mut self, newest: Newest) {
        #[cfg(feature = "alloc")]
        {
            self.newest = Some(newest);
        }
    }

    /// Whether so many bytes are free at the tail, now or after dropping what is superseded, also by a report to come. If they cannot
    /// be, nothing is dropped.
    pub(super) fn make_room(&mut self, needed: usize, to_come: &JobKeys) -> bool {
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
    pub(super) fn drop_superseded(&mut self, needed: usize, to_come: &JobKeys) -> bool {
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
}
