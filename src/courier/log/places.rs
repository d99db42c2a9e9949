//! Where the reports stand that are asked for: those that say the newest of a job, and the ones that were found last.

#[cfg(feature = "alloc")]
use alloc::collections::BTreeMap;

use super::segments::Place;

/// How many of those found last are remembered.
const RECENT: usize = 8;

#[derive(Debug)]
pub(super) struct Places {
    /// By ticket: place and size. Bounded by the jobs, not by the reports. Without a heap a walk over one segment finds them.
    #[cfg(feature = "alloc")]
    newest: BTreeMap<u64, (Place, usize)>,
    recent: heapless::Deque<(u64, Place), RECENT>,
}

impl Places {
    pub(super) const fn new() -> Self {
        Places {
            #[cfg(feature = "alloc")]
            newest: BTreeMap::new(),
            recent: heapless::Deque::new(),
        }
    }

    /// A report that says the newest of some job.
    #[cfg_attr(not(feature = "alloc"), allow(clippy::unused_self))]
    pub(super) fn insert(&mut self, seq: u64, place: Place, size: usize) {
        #[cfg(feature = "alloc")]
        self.newest.insert(seq, (place, size));
        #[cfg(not(feature = "alloc"))]
        let _ = (seq, place, size);
    }

    /// It was found there.
    pub(super) fn remember(&mut self, seq: u64, place: Place) {
        if self.recent.iter().any(|(other, _)| *other == seq) {
            return;
        }
        if self.recent.is_full() {
            self.recent.pop_front();
        }
        let _ = self.recent.push_back((seq, place));
    }

    /// Its place, and its size, 0 if that is not known.
    pub(super) fn get(&self, seq: u64) -> Option<(Place, usize)> {
        #[cfg(feature = "alloc")]
        if let Some(found) = self.newest.get(&seq) {
            return Some(*found);
        }
        let found = self.recent.iter().find(|(other, _)| *other == seq);
        found.map(|(_, place)| (*place, 0))
    }

    pub(super) fn remove(&mut self, seq: u64) {
        #[cfg(feature = "alloc")]
        self.newest.remove(&seq);
        if let Some((other, _)) = self.recent.iter_mut().find(|(other, _)| *other == seq) {
            // No report has this ticket.
            *other = 0;
        }
    }

    /// It stands there now.
    pub(super) fn moved(&mut self, seq: u64, to: Place) {
        #[cfg(feature = "alloc")]
        if let Some((place, _)) = self.newest.get_mut(&seq) {
            *place = to;
        }
        for (_, place) in self.recent.iter_mut().filter(|(other, _)| *other == seq) {
            *place = to;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
