//! Segments that go, and in which order: what cannot be discarded yet, and what was given up and must go before others.

use super::record::{Kind, SEGMENT_HEADER};
use super::segments::{GivenUp, Segment, Segments};
use super::storage::Storage;

impl<S: Storage, const MAX: usize> Segments<S, MAX> {
    pub(super) fn discard(&mut self, id: u32, len: usize) {
        if must_stay(id, &self.list, &self.given_up) || self.storage.discard(id).is_err() {
            self.discard_later(id, len);
        }
    }

    pub(super) fn discard_later(&mut self, id: u32, len: usize) {
        // There is room: `create` saw to it.
        let _ = self.pending_discard.push((id, len));
    }

    /// One that is for notes alone, and that a newer one has taken the place of.
    pub(super) fn spent_notes(&self) -> Option<u32> {
        let (_, older) = self.list.split_last()?;
        let spent = older.iter().find(|segment| segment.is_for_notes);
        spent.map(|segment| segment.id)
    }

    /// Makes room for one more segment for notes alone, where there are two: a process was killed after it made one, and before the other was
    /// discarded.
    ///
    /// All that both say was read at the start. The newer one says what the older one does if it has a checkpoint: that was the first to be
    /// written there, with all that was known. So the older one goes, if the newer is durable: a process that was killed may have left
    /// it readable alone. Otherwise the newer one goes, and the older one still says what it did when the newer one was made.
    pub(super) fn remove_one_of_two_for_notes(&mut self) {
        let mut notes = self.list.iter().filter(|segment| segment.is_for_notes);
        let (Some(older), Some(newer)) = (notes.next().copied(), notes.next().copied()) else {
            return;
        };
        let is_whole = self.has_checkpoint(&newer) && self.storage.sync(newer.id).is_ok();
        self.remove(if is_whole { older.id } else { newer.id });
    }

    fn has_checkpoint(&mut self, segment: &Segment) -> bool {
        let mut offset = SEGMENT_HEADER;
        while let Some((place, header)) = self.next_in(segment, offset) {
            if header.kind == Kind::Checkpoint && self.is_whole(place, &header) {
                return true;
            }
            offset = self.after(place, &header).offset;
        }
        false
    }

    /// Removes the last one, if it is for notes alone.
    pub(super) fn remove_notes_at_end(&mut self) -> bool {
        let last = self.list.last().filter(|last| last.is_for_notes);
        let id = last.map(|last| last.id);
        id.is_some_and(|id| {
            self.remove(id);
            true
        })
    }

    /// Whether it was to be discarded, and is still there.
    pub(super) fn is_pending(&self, id: u32) -> bool {
        self.pending_discard.iter().any(|(other, _)| *other == id)
    }

    /// Discards what could not be discarded before, but not what must stay; `false` if something is left.
    pub(super) fn discard_pending(&mut self) -> bool {
        let (storage, list, given_up) = (&mut self.storage, &self.list, &self.given_up);
        self.pending_discard
            .retain(|(id, _)| must_stay(*id, list, given_up) || storage.discard(*id).is_err());
        let (pending, list, partial) = (&self.pending_discard, &self.list, &self.partial);
        self.given_up.retain(|given_up| {
            let id = given_up.id;
            pending.iter().any(|(other, _)| *other == id)
                || list.iter().chain(partial).any(|other| other.id == id)
        });
        self.pending_discard.is_empty()
    }

    /// Takes a segment off the list and discards it. What makes it dispensable must be durable.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(segment) = self.segment_of(id).copied() else {
            return;
        };
        self.drop_partial(segment.id);
        if self.list.last() == Some(&segment) {
            self.close();
        }
        self.list.retain(|other| other.id != id);
        self.discard(id, segment.len);
    }

    /// Takes the first segment off the list, for somebody who discards it later.
    pub(super) fn take_first(&mut self) {
        if let Some(first) = self.list.first().copied() {
            self.drop_partial(first.id);
            if self.list.len() == 1 {
                self.close();
            }
            self.list.retain(|other| other.id != first.id);
        }
    }

    /// A half-made segment whose sources change is of no use.
    pub(super) fn drop_partial(&mut self, source: u32) {
        let partial = self.partial.take_if(|p| p.sources.contains(source));
        if let Some(partial) = partial {
            self.give_up(partial);
        }
    }

    /// What was written does not stand for its sources. If it cannot be discarded it may have a whole commit anyway, or get one when
    /// the device writes late what it could not sync: then the next start discards the sources for it. It says all that they say, so that costs
    /// nothing, but only as long as they say nothing more: they are sealed. Only the last one could be open.
    ///
    /// What was given up goes before those whose records it took, as long as one of them counts: see `must_stay`.
    pub(super) fn give_up(&mut self, output: Segment) {
        self.discard(output.id, output.len);
        if self.is_pending(output.id) {
            self.remember_given_up(&output);
            self.is_open &= !self.is_last_given_up();
        }
    }

    pub(super) fn remember_given_up(&mut self, output: &Segment) {
        if self.given_up.iter().all(|other| other.id != output.id) {
            // There is room, but after a start that found more.
            let _ = self.given_up.push(GivenUp {
                id: output.id,
                sources: output.sources,
            });
        }
    }

    /// Whether something that does not count may be taken for the last segment by the next start.
    pub(super) fn is_last_given_up(&self) -> bool {
        let last = self.list.last().map_or(0, |last| last.id);
        let mut given_up = self.given_up.iter();
        given_up.any(|output| output.sources.contains(last))
    }
}

/// Whether this may be discarded only after others: after one that could not be synced and stands for it; and after what was given up, as long
/// as another of those whose records that took counts. With this one gone the next start would believe that one instead of the others.
fn must_stay(id: u32, list: &[Segment], given_up: &[GivenUp]) -> bool {
    let is_doubted = list.iter().any(|s| s.is_doubted && s.sources.contains(id));
    let splits = |given_up: &GivenUp| {
        let is_other = |own: u32| own != id && list.iter().any(|segment| segment.id == own);
        given_up.sources.own().any(|own| own == id) && given_up.sources.own().any(is_other)
    };
    is_doubted || given_up.iter().any(splits)
}
