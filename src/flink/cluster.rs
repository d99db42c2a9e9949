//! What an overview says of the jobs in the table: which are new, which changed, and what does not count.
//!
//! A poll sees single moments. So a change is not what the last two overviews differ in, but a *phase* that each job is in, and which only
//! evidence ends:
//!
//! ```text
//!              ┌────────────────────── steady for 10 s ──────────────────┐
//!              ▼                                                         │
//!  submitting ──► running ──── RESTARTING, FAILING ──────────────────► trouble
//!      │             │                                                   │
//!      └─────────────┴──► canceling ──► canceled, finished, failed ◄─────┘
//! ```
//!
//! - *Trouble* stays until the job has run for [`steady_ms`](super::Options::steady_ms) without a change to it or its tasks, or a heartbeat finds that its newest
//!   exception is that old: a job that fails twice a second is in trouble, not running in between.
//! - An end stays. What an old response says afterwards of the same run does not count, unless the job's details deny the end, too.
//! - An overview that is older than what is known, by the job manager's clock, does not count, but for the third in a row: then the clock was set back.
//! - The same id with another start is another run. It waits until the end of the one before is reported.
//! - A state that says nothing (`SUSPENDED`, `RECONCILING`, one that is unknown) changes nothing. Nor does it that a job is not listed.

use super::jid::map;
use super::options::Options;
use super::overview::{Overview, OverviewJob};
use super::state::{Phase, State};
use super::table::{Mark, PATIENCE, Slot, find, force_room, free, make_room};
use crate::time::MonoTime;

/// How many jobs of each kind get slots at one overview, when there are too few.
const ADMITTED: usize = 8;
/// So often in a row an earlier clock must be seen.
const SURE: u8 = 3;

#[derive(Debug)]
pub(super) struct Cluster {
    /// Counts overviews; 0 before the first.
    pub(super) generation: u32,
    /// Whether the last one came.
    pub(super) is_up: bool,
    /// The job manager's clock at the last one, as far as it can be told.
    pub(super) clock: i64,
    /// In how many overviews in a row it was earlier than that.
    earlier: u8,
    pub(super) mark: Option<Mark>,
    /// How many listed jobs have no slot.
    pub(super) unwatched: u32,
    /// Whether the table has what should outlive this process.
    pub(super) is_changed: bool,
}

impl Cluster {
    pub(super) const NEW: Cluster = Cluster {
        generation: 0,
        is_up: false,
        clock: 0,
        earlier: 0,
        mark: None,
        unwatched: 0,
        is_changed: false,
    };

    #[inline(never)]
    pub(super) fn observe(
        &mut self,
        slots: &mut [Slot],
        overview: &Overview<'_>,
        options: &Options<'_>,
        now: MonoTime,
    ) {
        self.is_up = true;
        if self.is_old(overview) {
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        let (mut hint, mut unknown) = (0, 0usize);
        for job in listed(overview) {
            match find(slots, job.jid, hint) {
                Some((place, slot)) => {
                    hint = place.saturating_add(1);
                    self.update(slot, &job, options, now);
                }
                None => unknown = unknown.saturating_add(1),
            }
        }
        self.unwatched = 0;
        if unknown == 0 {
            return;
        }
        if unknown <= free(slots, self.generation) {
            self.admit_all(slots, overview, options, now);
        } else {
            self.admit_some(slots, overview, options, now);
        }
    }

    /// Whether an overview is older than what is known: a proxy's, say. The third in a row is believed: then the clock was set back, which makes
    /// the mark worthless.
    fn is_old(&mut self, overview: &Overview<'_>) -> bool {
        let clock = |job: OverviewJob<'_>| match job.duration {
            Some(duration) if !job.state.is_terminal() => job.start_time.saturating_add(duration),
            _ => job.state_time(),
        };
        let Some(clock) = listed(overview).map(clock).max() else {
            return false;
        };
        if clock < self.clock {
            self.earlier = self.earlier.saturating_add(1);
            if self.earlier < SURE {
                return true;
            }
            self.mark = self.mark.filter(|mark| mark.time <= clock);
        }
        (self.clock, self.earlier) = (clock, 0);
        false
    }

    /// There is room for all that are listed.
    fn admit_all(
        &mut self,
        slots: &mut [Slot],
        overview: &Overview<'_>,
        options: &Options<'_>,
        now: MonoTime,
    ) {
        let mut hint = 0;
        for job in listed(overview) {
            if let Some((place, _)) = find(slots, job.jid, hint) {
                hint = place.saturating_add(1);
                continue;
            }
            let is_reported = Mark::of(&job).is_some_and(|end| Some(end) <= self.mark);
            // None that is listed need leave.
            let floor = Some(Mark::FIRST);
            if let Some(slot) = make_room(slots, self.generation, floor, &mut self.mark) {
                self.admit(slot, &job, options, now);
                if is_reported {
                    slot.reported = slot.phase;
                }
            }
        }
    }

    /// There is not: some of those that ended, the oldest first, then some that have not.
    #[inline(never)]
    fn admit_some(
        &mut self,
        slots: &mut [Slot],
        overview: &Overview<'_>,
        options: &Options<'_>,
        now: MonoTime,
    ) {
        let mut ends = Ends::default();
        let mut ended = 0u32;
        for job in listed(overview) {
            if let Some(end) = Mark::of(&job)
                && Some(end) > self.mark
                && find(slots, end.jid, 0).is_none()
            {
                ended = ended.saturating_add(1);
                ends.insert(end);
            }
        }
        let mut admitted = 0u32;
        for place in 0..ADMITTED {
            let (Some(end), next) = (ends.get(place), ends.get(place.saturating_add(1))) else {
                break;
            };
            let is_it = |job: &OverviewJob<'_>| job.jid == end.jid && job.state.is_terminal();
            let Some(job) = listed(overview).find(is_it) else {
                continue;
            };
            if find(slots, end.jid, 0).is_some() {
                continue; // listed twice
            }
            let slot = match make_room(slots, self.generation, next, &mut self.mark) {
                Some(slot) => slot,
                None => match force_room(slots) {
                    Some(slot) => slot,
                    None => break,
                },
            };
            self.admit(slot, &job, options, now);
            admitted = admitted.saturating_add(1);
        }
        let first_left = ends.get(usize::try_from(admitted).unwrap_or(ADMITTED));
        let (mut others, mut room) = (0u32, ADMITTED);
        for job in listed(overview) {
            if job.state.is_terminal() || find(slots, job.jid, 0).is_some() {
                continue;
            }
            let slot = match room {
                0 => None,
                _ => make_room(slots, self.generation, first_left, &mut self.mark),
            };
            match slot {
                Some(slot) => self.admit(slot, &job, options, now),
                None => others = others.saturating_add(1),
            }
            room = room.saturating_sub(1);
        }
        self.unwatched = ended.saturating_sub(admitted).saturating_add(others);
    }

    fn admit(
        &mut self,
        slot: &mut Slot,
        job: &OverviewJob<'_>,
        options: &Options<'_>,
        now: MonoTime,
    ) {
        *slot = Slot::of(job.jid, job.start_time, now);
        self.update(slot, job, options, now);
    }

    #[inline(never)]
    fn update(
        &mut self,
        slot: &mut Slot,
        job: &OverviewJob<'_>,
        options: &Options<'_>,
        now: MonoTime,
    ) {
        if slot.seen == self.generation {
            return; // listed twice
        }
        slot.seen = self.generation;
        if !is_this_run(slot, job, now) {
            return;
        }
        slot.seen = self.generation;
        slot.job_id = map(options, job.jid, |name| job.name.is(name));
        (slot.tasks_running, slot.tasks_total) = (job.tasks_running, job.tasks_total);
        // Flink itself gives no tasks to a job that it could not start.
        slot.has_run |= match job.state {
            State::Running | State::Restarting => true,
            State::Failed => job.tasks_total.is_some_and(|total| total > 0),
            _ => false,
        };
        let Some(phase) = Phase::of(job.state) else {
            return;
        };
        let is_withdrawn = slot.strikes > 0 && !slot.is_done();
        if slot.phase.is_final() && (slot.is_done() || !phase.is_final()) && !is_withdrawn {
            return;
        }
        let phase = debounced(slot, job, phase, options, now);
        slot.state = job.state;
        slot.state_time = job.state_time();
        if phase == slot.phase {
            return;
        }
        slot.phase = phase;
        slot.strikes = 0;
        slot.due = match phase.is_final() || phase == Phase::Trouble {
            true => now.plus_ms(options.cache_ms),
            false => now,
        };
        self.is_changed = true;
    }
}

/// Those that can be reported: the contract wants a time of creation.
fn listed<'a>(overview: &Overview<'a>) -> impl Iterator<Item = OverviewJob<'a>> + use<'a> {
    overview.jobs().filter(|job| job.start_time > 0)
}

/// Whether a line is about the run in the slot, or about a new one, which then takes the slot.
fn is_this_run(slot: &mut Slot, job: &OverviewJob<'_>, now: MonoTime) -> bool {
    if job.start_time == slot.start_time {
        return true;
    }
    if slot.phase.is_final() && slot.is_dirty() {
        // Flink has forgotten the details of this end: there is nothing to wait for.
        slot.strikes = PATIENCE;
        return false;
    }
    *slot = Slot::of(job.jid, job.start_time, now);
    true
}

/// The phase that a job is in, now that Flink says this.
fn debounced(
    slot: &mut Slot,
    job: &OverviewJob<'_>,
    phase: Phase,
    options: &Options<'_>,
    now: MonoTime,
) -> Phase {
    let (calm_since, is_calm) = (slot.calm_since.take(), slot.is_calm);
    slot.is_calm = false;
    match (slot.phase, phase) {
        // Waiting for resources, between two attempts.
        (Phase::Running | Phase::Trouble, Phase::Submitting) => Phase::Trouble,
        // Its newest exception is old: what changes since then are tasks that come and go, as in a batch.
        (Phase::Trouble, Phase::Running) if is_calm => Phase::Running,
        (Phase::Trouble, Phase::Running) => match calm_since {
            Some(since) if slot.state_time == job.state_time() => {
                if now.since_ms(since) >= options.steady_ms {
                    return Phase::Running;
                }
                slot.calm_since = Some(since);
                Phase::Trouble
            }
            _ => {
                slot.calm_since = Some(now);
                Phase::Trouble
            }
        },
        _ => phase,
    }
}

/// The earliest ends, and one more: the first that is left.
#[derive(Default)]
struct Ends([Option<Mark>; ADMITTED + 1]);

impl Ends {
    fn insert(&mut self, end: Mark) {
        let mut carried = Some(end);
        for place in &mut self.0 {
            if place.is_none_or(|there| carried.is_some_and(|end| end < there)) {
                core::mem::swap(place, &mut carried);
            }
            if carried.is_none() {
                return;
            }
        }
    }

    fn get(&self, place: usize) -> Option<Mark> {
        self.0.get(place).copied().flatten()
    }
}
