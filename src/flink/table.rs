//! The jobs that a watch knows: a table in the caller's memory.
//!
//! # When the cluster lists more jobs than there is room for
//!
//! A job that still runs, or whose end is not reported yet, keeps its slot. Of the others these go, in this order: ended and not listed any more,
//! the oldest first; ended and listed, the oldest first; gone without an end.
//!
//! An ended job that loses its slot while it is still listed must not come back as a new one. So the table remembers a [`Mark`]: of the listed jobs that
//! have no slot, those that ended up to the mark are reported. To keep that true, jobs get slots by rising time of their end, and an ended job
//! leaves only if no listed job without a slot ended before it and is unreported. As soon as there is room for all that are listed, those up to the
//! mark are taken in as reported, and the mark is gone.

use super::jid::Jid;
use super::overview::OverviewJob;
use super::state::{Phase, State};
use crate::time::MonoTime;

/// With so many strikes an end is reported without its details.
pub(super) const PATIENCE: u8 = 12;

/// Room for one job in a [`Watch`](super::Watch). What is in it is the watch's own.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub(super) jid: Jid,
    pub(super) job_id: Option<i64>,
    pub(super) start_time: i64,
    /// When the job got into its state, by the job manager's clock.
    pub(super) state_time: i64,
    pub(super) state: State,
    /// What it is in, after debouncing.
    pub(super) phase: Phase,
    /// What was reported last.
    pub(super) reported: Phase,
    pub(super) is_taken: bool,
    pub(super) has_run: bool,
    pub(super) stop_asked: bool,
    /// How much of the patience with its details is used up.
    pub(super) strikes: u8,
    /// In which overview it was last.
    pub(super) seen: u32,
    /// In which draft it was last.
    pub(super) drafted: u32,
    pub(super) tasks_running: Option<i64>,
    pub(super) tasks_total: Option<i64>,
    pub(super) plan: u64,
    /// When its phase may be reported.
    pub(super) due: MonoTime,
    /// Since when it runs undisturbed, after an exception.
    pub(super) calm_since: Option<MonoTime>,
    /// Its newest exception is known to be old.
    pub(super) is_calm: bool,
    pub(super) next_beat: MonoTime,
}

impl Slot {
    /// Without a job.
    pub const EMPTY: Slot = Slot {
        jid: Jid::from_bytes([0; 16]),
        job_id: None,
        start_time: 0,
        state_time: 0,
        state: State::Unknown,
        phase: Phase::None,
        reported: Phase::None,
        is_taken: false,
        has_run: false,
        stop_asked: false,
        strikes: 0,
        seen: 0,
        drafted: 0,
        tasks_running: None,
        tasks_total: None,
        plan: 0,
        due: MonoTime::from_ms(0),
        calm_since: None,
        is_calm: false,
        next_beat: MonoTime::from_ms(0),
    };

    /// A slot for a job that is not yet looked at.
    pub(super) fn of(jid: Jid, start_time: i64, now: MonoTime) -> Self {
        Slot {
            jid,
            start_time,
            is_taken: true,
            due: now,
            next_beat: now,
            ..Slot::EMPTY
        }
    }

    /// Whether its phase is to be reported.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_taken && self.phase != self.reported && self.phase != Phase::None
    }

    /// Whether it ended, and that is reported.
    pub(super) fn is_done(&self) -> bool {
        self.is_taken && self.phase.is_final() && self.phase == self.reported
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            time: self.state_time,
            jid: self.jid,
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Slot::EMPTY
    }
}

/// When a job ended, and which it was: a place in the order of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) time: i64,
    pub(super) jid: Jid,
}

impl Mark {
    /// Before all others.
    pub(super) const FIRST: Mark = Mark {
        time: i64::MIN,
        jid: Jid::from_bytes([0; 16]),
    };

    pub(super) fn of(job: &OverviewJob<'_>) -> Option<Self> {
        job.state.is_terminal().then_some(Mark {
            time: job.state_time(),
            jid: job.jid,
        })
    }
}

/// The slot of a job. `hint` is where to look first: an overview has its jobs mostly in the order of the one before.
#[inline(never)] // called from many places
pub(super) fn find(slots: &mut [Slot], jid: Jid, hint: usize) -> Option<(usize, &mut Slot)> {
    let is_it = |slot: &Slot| slot.is_taken && slot.jid == jid;
    let place = match slots.get(hint) {
        Some(slot) if is_it(slot) => hint,
        _ => slots.iter().position(is_it)?,
    };
    Some((place, slots.get_mut(place)?))
}

/// Whether a slot can be given away, and how gladly: the less, the rather. The second part is for those of one kind.
fn worth(slot: &Slot, generation: u32, floor: Option<Mark>) -> Option<(u8, Mark)> {
    let is_listed = slot.seen == generation;
    let kind = match (slot.is_taken, slot.is_done(), is_listed) {
        (false, _, _) => 0,
        (true, true, false) => 1,
        (true, true, true) if floor.is_none_or(|floor| slot.mark() < floor) => 2,
        (true, false, false) if !slot.phase.is_final() => 3,
        _ => return None,
    };
    Some((kind, slot.mark()))
}

/// How many slots can be had without giving up one whose job is listed.
pub(super) fn free(slots: &[Slot], generation: u32) -> usize {
    let is_free = |slot: &&Slot| worth(slot, generation, None).is_some_and(|(kind, _)| kind != 2);
    slots.iter().filter(is_free).count()
}

/// A slot for another job. `floor` is the earliest end of a listed job that has no slot and is not reported. If a listed job had to leave, the
/// mark moves up to it.
#[inline(never)]
pub(super) fn make_room<'t>(
    slots: &'t mut [Slot],
    generation: u32,
    floor: Option<Mark>,
    mark: &mut Option<Mark>,
) -> Option<&'t mut Slot> {
    let candidates = slots.iter_mut().filter_map(|slot| {
        let worth = worth(slot, generation, floor)?;
        Some((worth, slot))
    });
    let ((kind, end), slot) = candidates.min_by_key(|(worth, _)| *worth)?;
    if kind == 2 {
        *mark = Some(mark.map_or(end, |mark| mark.max(end)));
    }
    Some(slot)
}

/// The same where none can be had so: the ended one that is youngest leaves, and nothing remembers it. It may be reported once more, under the
/// message id that it had; better than that another is never reported.
pub(super) fn force_room(slots: &mut [Slot]) -> Option<&mut Slot> {
    let done = slots.iter_mut().filter(|slot| slot.is_done());
    done.max_by_key(|slot| slot.mark())
}
