//! Whose turn it is: which job is reported next, and when there is something to do again.

use super::draft::{Needs, needs_of};
use super::options::Options;
use super::table::{PATIENCE, Slot};
use crate::time::MonoTime;

/// Metrics are there so long after the first request for some.
const PRIMED_MS: u64 = 1_000;
/// Flink fetches metrics anew at most this often, so for so long they are fresh.
const FRESH_MS: u64 = 10_000;

/// How things stand for the next job.
#[derive(Clone, Copy)]
pub(super) struct Turn<'t> {
    pub(super) options: &'t Options<'t>,
    pub(super) now: MonoTime,
    /// Of the last overview.
    pub(super) generation: u32,
    /// Whether Flink can be asked about jobs.
    pub(super) is_up: bool,
    /// How many requests are left until the next overview.
    pub(super) requests: u16,
    /// When metrics were last asked for after a while.
    pub(super) primed: Option<MonoTime>,
    /// Of the draft that is being made.
    pub(super) draft: u32,
}

/// What to do for the next job.
#[derive(Clone, Copy)]
pub(super) enum Pick {
    /// Add this one to the draft.
    Job {
        place: usize,
        is_beat: bool,
        needs: Needs,
    },
    /// Ask for metrics of this one, so that there are some in a second.
    Prime(usize),
}

impl Turn<'_> {
    /// An end that is due, the one that is due longest.
    pub(super) fn ended(&self, slots: &[Slot]) -> Option<Pick> {
        let due = slots.iter().enumerate().filter(|(_, slot)| {
            let is_due = slot.is_dirty() && slot.phase.is_final() && slot.due <= self.now;
            is_due && self.needs_at_end(slot).count() <= self.requests
        });
        let (place, slot) = due.min_by_key(|(_, slot)| slot.due)?;
        Some(Pick::Job {
            place,
            is_beat: false,
            needs: self.needs_at_end(slot),
        })
    }

    fn needs_at_end(&self, slot: &Slot) -> Needs {
        match slot.strikes {
            PATIENCE.. => Needs::default(),
            _ => needs_of(slot, false, self.options),
        }
    }

    /// A change that is due, else a job that is to be reported again. The search begins at `from` and goes round.
    pub(super) fn other(&self, slots: &[Slot], from: usize) -> Option<Pick> {
        let is_known = self.generation > 0;
        let change = |slot: &Slot| is_known && self.is_change(slot);
        let place = round(slots, from, change);
        if let Some((place, slot)) = place {
            let needs = match self.is_up {
                true => needs_of(slot, false, self.options),
                false => Needs::default(),
            };
            return Some(Pick::Job {
                place,
                is_beat: false,
                needs,
            });
        }
        let (place, slot) = round(slots, from, |slot| self.is_beat(slot))?;
        let needs = needs_of(slot, true, self.options);
        let primed = self.primed.map(|primed| self.now.since_ms(primed));
        let (is_late, has_room) = (self.is_late(slot), needs.count() < self.requests);
        match primed {
            _ if !needs.metrics || is_late && !has_room => {}
            Some(PRIMED_MS..FRESH_MS) => {}
            Some(..PRIMED_MS) => return None,
            _ if has_room => return Some(Pick::Prime(place)),
            _ => return None,
        }
        Some(Pick::Job {
            place,
            is_beat: true,
            needs,
        })
    }

    fn is_change(&self, slot: &Slot) -> bool {
        let is_due = slot.is_dirty() && !slot.phase.is_final() && slot.due <= self.now;
        is_due && slot.drafted != self.draft
    }

    /// Whether it is to be reported again: it is known to be there, and nothing else is to be reported of it. It waits for a request that is free, but not for ever.
    fn is_beat(&self, slot: &Slot) -> bool {
        let is_due = self.beats(slot) && slot.next_beat <= self.now && slot.drafted != self.draft;
        is_due
            && (needs_of(slot, true, self.options).count() <= self.requests || self.is_late(slot))
    }

    fn beats(&self, slot: &Slot) -> bool {
        let is_listed = slot.is_taken && slot.seen == self.generation;
        let is_told = slot.phase == slot.reported && !slot.phase.is_final();
        self.options.heartbeat_ms > 0 && self.is_up && is_listed && is_told
    }

    fn is_late(&self, slot: &Slot) -> bool {
        self.late(slot) <= self.now
    }

    fn late(&self, slot: &Slot) -> MonoTime {
        slot.next_beat.plus_ms(self.options.heartbeat_ms >> 1)
    }

    /// When a job wants something, if it is later than now.
    pub(super) fn next(&self, slots: &[Slot]) -> Option<MonoTime> {
        let primed = self.primed.map(|primed| primed.plus_ms(PRIMED_MS));
        let of = |slot: &Slot| match slot.is_dirty() {
            true => [Some(slot.due), None, None],
            false if self.beats(slot) => [Some(slot.next_beat), Some(self.late(slot)), primed],
            false => [None, None, None],
        };
        let times = slots.iter().flat_map(of).flatten();
        times.filter(|&time| time > self.now).min()
    }
}

/// The first slot from `from` on that is so, then from the start.
fn round(slots: &[Slot], from: usize, is: impl Fn(&Slot) -> bool) -> Option<(usize, &Slot)> {
    let mut behind = slots.iter().enumerate().skip(from);
    let mut before = slots.iter().enumerate().take(from);
    behind
        .find(|(_, slot)| is(slot))
        .or_else(|| before.find(|(_, slot)| is(slot)))
}
