//! Which reports were settled before the oldest that waits.

use super::segments::Place;
use crate::small;

/// How many ranges are kept; fewer where there is no heap.
pub(super) const MAX_RANGES: usize = small::RANGES;
/// What a range takes in a checkpoint.
pub(super) const RANGE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Where to look for the next report after it, if that is known.
    pub(super) end: Option<Place>,
}

/// Ranges of tickets, by rising ticket, with a report that waits between any two.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead(heapless::Vec<Range, MAX_RANGES>);

impl Ahead {
    pub(super) const fn new() -> Self {
        Ahead(heapless::Vec::new())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn room(&self) -> usize {
        MAX_RANGES.saturating_sub(self.0.len())
    }

    /// The range that this ticket is in.
    pub(super) fn find(&self, seq: u64) -> Option<&Range> {
        self.0.iter().find(|r| r.first <= seq && seq <= r.last)
    }

    /// How many tickets between these two are in a range.
    pub(super) fn count_between(&self, one: u64, other: u64) -> u64 {
        let inside = |range: &Range| {
            let (first, last) = (
                range.first.max(one.saturating_add(1)),
                range.last.min(other.saturating_sub(1)),
            );
            last.saturating_add(1).saturating_sub(first)
        };
        self.0.iter().map(inside).fold(0, u64::saturating_add)
    }

    /// Nothing waits between the range that ends with `last` and the report `next`, which stands there.
    pub(super) fn ends_at(&mut self, last: u64, next: u64, place: Place) {
        if let Some(range) = self.0.iter_mut().find(|range| range.last == last) {
            range.last = next.saturating_sub(1).max(last);
            range.end = Some(place);
        }
    }

    /// Whether there is room for one more ticket: in a range of its own, or in one that it adjoins.
    pub(super) fn takes(&self, seq: u64) -> bool {
        let adjoins =
            |r: &Range| r.first <= seq.saturating_add(1) && seq <= r.last.saturating_add(1);
        self.room() > 0 || self.0.iter().any(adjoins)
    }

    /// Adds a range; what overlaps or adjoins becomes one. `false` if there is no room.
    pub(super) fn insert(&mut self, range: Range) -> bool {
        let mut whole = range;
        let touches = |other: &Range, whole: &Range| {
            other.first <= whole.last.saturating_add(1)
                && whole.first <= other.last.saturating_add(1)
        };
        while let Some(index) = self.0.iter().position(|other| touches(other, &whole)) {
            let other = self.0.remove(index);
            if other.last > whole.last {
                (whole.last, whole.end) = (other.last, other.end);
            }
            whole.first = whole.first.min(other.first);
        }
        if self.0.push(whole).is_err() {
            return false;
        }
        // To its place. `insert` has a panic that the compiler does not see through.
        let mut end = self.0.len();
        while let Some([.., before, last]) = self.0.get_mut(..end)
            && last.first < before.first
        {
            core::mem::swap(before, last);
            end = end.saturating_sub(1);
        }
        true
    }

    /// Forgets what is settled anyway: all up to the cursor.
    pub(super) fn drop_until(&mut self, cursor: u64) {
        self.0.retain(|range| range.last > cursor);
    }

    /// What is known of places is not true any more.
    pub(super) fn forget_places(&mut self) {
        for range in &mut self.0 {
            range.end = None;
        }
    }
}
