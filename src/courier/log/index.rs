//! Where each dead letter stands: with a heap. Without one nothing is known, and a walk finds them.

#[cfg(feature = "alloc")]
use alloc::collections::BTreeMap;
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use super::segments::Place;

#[derive(Clone, Debug)]
pub(super) struct Index {
    /// By number: ticket and place.
    #[cfg(feature = "alloc")]
    letters: BTreeMap<u64, (u64, Place)>,
    /// By ticket: number.
    #[cfg(feature = "alloc")]
    numbers: BTreeMap<u64, u64>,
    /// Which moved, and from where.
    #[cfg(feature = "alloc")]
    moved: Vec<(u64, Place)>,
}

#[cfg(feature = "alloc")]
impl Index {
    pub(super) const fn new() -> Self {
        Index {
            letters: BTreeMap::new(),
            numbers: BTreeMap::new(),
            moved: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, number: u64, ticket: u64, place: Place) {
        self.letters.insert(number, (ticket, place));
        self.numbers.insert(ticket, number);
    }

    /// Whether it is known that there is no such letter.
    pub(super) fn lacks(&self, number: u64) -> bool {
        !self.letters.contains_key(&number)
    }

    pub(super) fn place(&self, number: u64) -> Option<Place> {
        self.letters.get(&number).map(|(_, place)| *place)
    }

    pub(super) fn find(&self, ticket: u64) -> Option<Place> {
        self.numbers
            .get(&ticket)
            .and_then(|number| self.place(*number))
    }

    pub(super) fn forget(&mut self, number: u64, up_to: bool) {
        let kept = match (up_to, number.checked_add(1)) {
            (true, Some(next)) => self.letters.split_off(&next),
            (true, None) => BTreeMap::new(),
            (false, _) => {
                if let Some((ticket, _)) = self.letters.remove(&number) {
                    self.numbers.remove(&ticket);
                }
                return;
            }
        };
        for (ticket, _) in core::mem::replace(&mut self.letters, kept).into_values() {
            self.numbers.remove(&ticket);
        }
    }

    pub(super) fn moved(&mut self, number: u64, to: Place) {
        if let Some((_, place)) = self.letters.get_mut(&number) {
            self.moved.push((number, core::mem::replace(place, to)));
        }
    }

    /// Those that moved stand where they did before, or they stay.
    pub(super) fn end_moves(&mut self, undo: bool) {
        for (number, from) in core::mem::take(&mut self.moved) {
            if let Some((_, place)) = self.letters.get_mut(&number).filter(|_| undo) {
                *place = from;
            }
        }
    }
}

#[cfg(not(feature = "alloc"))]
#[allow(clippy::unused_self)] // in the place of the other
impl Index {
    pub(super) const fn new() -> Self {
        Index {}
    }

    pub(super) fn insert(&mut self, _: u64, _: u64, _: Place) {}

    pub(super) fn lacks(&self, _: u64) -> bool {
        false
    }

    pub(super) fn place(&self, _: u64) -> Option<Place> {
        None
    }

    pub(super) fn forget(&mut self, _: u64, _: bool) {}

    pub(super) fn moved(&mut self, _: u64, _: Place) {}

    pub(super) fn end_moves(&mut self, _: bool) {}
}
