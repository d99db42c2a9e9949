//! Which reports newer ones supersede: an index of jobs.
//!
//! For each job it has two slots: the newest report that says anything of it, and the newest that says something final. A report is
//! needed as long as it stands in a slot. One that stands in none any more is superseded: something newer waits for each of its jobs,
//! and something newer and final where it is final itself.
//!
//! When a report leaves the queue before older ones of its job, its slot is empty, since only a scan of all reports tells who stands there
//! now. Until that scan, or a newer report, the older ones count as needed: nothing is dropped by mistake.
//!
//! With `alloc` it grows with the jobs that wait, whatever the number of reports. Without, it has room for a few jobs: a report with a job
//! that found no room counts as needed, and the room of a job is free again when its last report has left.

#[cfg(feature = "alloc")]
use alloc::collections::BTreeMap;

use super::outbox::JobKey;

/// The reports in the slots of one job; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    newest: u64,
    newest_final: u64,
    /// How many entries wait.
    waiting: u32,
    /// How many of them are final.
    finals: u16,
    /// Whether the report in the slot has a job that found no room.
    newest_is_kept: bool,
    final_is_kept: bool,
}

impl Slots {
    /// Whether it is not known who stands in a slot.
    const fn is_stale(&self) -> bool {
        (self.newest == 0 && self.waiting > 0) || (self.newest_final == 0 && self.finals > 0)
    }
}

/// The newest entries of each job.
#[derive(Debug)]
pub(super) struct Newest {
    jobs: Jobs,
    /// How many jobs are stale.
    stale: u32,
}

impl Newest {
    pub(super) const fn new() -> Self {
        Newest {
            jobs: Jobs::new(),
            stale: 0,
        }
    }

    /// Notes a report that waits, newer than all that are noted. `superseded` is told each one that is not needed any more.
    #[inline(never)]
    pub(super) fn note(&mut self, seq: u64, keys: &[JobKey], mut superseded: impl FnMut(u64)) {
        // First the room, so that each slot can say whether the report is kept.
        let mut is_kept = false;
        for key in keys {
            is_kept |= key.job_id == JobKey::ANY || !self.jobs.make_room(key.job_id);
        }
        for key in keys {
            let mut stale = self.stale;
            let Some(slots) = self.jobs.get_mut(key.job_id) else {
                continue;
            };
            stale = stale.saturating_sub(u32::from(slots.is_stale()));
            slots.waiting = slots.waiting.saturating_add(1);
            slots.finals = slots.finals.saturating_add(u16::from(key.is_final));
            let newest = (slots.newest, slots.newest_is_kept);
            let newest_final = (slots.newest_final, slots.final_is_kept);
            (slots.newest, slots.newest_is_kept) = (seq, is_kept);
            self.stale = stale.saturating_add(u32::from(slots.is_stale()));
            self.replaced(newest, seq, &mut superseded);
            if key.is_final
                && let Some(slots) = self.jobs.get_mut(key.job_id)
            {
                let was_stale = u32::from(slots.is_stale());
                (slots.newest_final, slots.final_is_kept) = (seq, is_kept);
                let is_stale = u32::from(slots.is_stale());
                self.stale = self
                    .stale
                    .saturating_sub(was_stale)
                    .saturating_add(is_stale);
                self.replaced(newest_final, seq, &mut superseded);
            }
        }
    }

    /// A report took a slot from another.
    fn replaced(
        &mut self,
        (old, is_kept): (u64, bool),
        seq: u64,
        superseded: &mut impl FnMut(u64),
    ) {
        if old == seq {
            return;
        }
        self.jobs.hold(seq);
        if old != 0 && self.jobs.release(old) && !is_kept {
            superseded(old);
        }
    }

    /// Whether something newer waits for this entry of a report: for a final one, something final.
    pub(super) fn supersedes(&self, key: JobKey, seq: u64) -> bool {
        self.newest(key) > seq
    }

    /// The newest report for this entry: for a final one, the newest that is final. 0 if it is not known.
    pub(super) fn newest(&self, key: JobKey) -> u64 {
        self.jobs
            .get(key.job_id)
            .map_or(0, |slots| match key.is_final {
                true => slots.newest_final,
                false => slots.newest,
            })
    }

    /// Whether newer reports supersede this one.
    pub(super) fn is_superseded(&self, seq: u64, keys: &[JobKey]) -> bool {
        !keys.is_empty() && keys.iter().all(|key| self.supersedes(*key, seq))
    }

    /// A report that was noted leaves the queue.
    #[inline(never)]
    pub(super) fn forget(&mut self, seq: u64, keys: &[JobKey]) {
        for key in keys {
            let Some(slots) = self.jobs.get_mut(key.job_id) else {
                continue;
            };
            let was_stale = u32::from(slots.is_stale());
            slots.waiting = slots.waiting.saturating_sub(1);
            slots.finals = slots.finals.saturating_sub(u16::from(key.is_final));
            // What was counted too low empties slots early.
            let is_last = slots.waiting == 0;
            let (newest, newest_final) = (slots.newest, slots.newest_final);
            let leaves = |slot: u64| slot != 0 && (slot == seq || is_last);
            if leaves(newest) {
                slots.newest = 0;
            }
            if leaves(newest_final) {
                slots.newest_final = 0;
            }
            let is_stale = u32::from(slots.is_stale() && !is_last);
            self.stale = self
                .stale
                .saturating_sub(was_stale)
                .saturating_add(is_stale);
            for slot in [newest, newest_final] {
                if leaves(slot) {
                    self.jobs.release(slot);
                }
            }
            if is_last {
                self.jobs.remove(key.job_id);
            }
        }
    }

    /// Whether a report left before older ones of its job, so that more may be superseded than is known: [`clear`](Self::clear), then note
    /// all that wait.
    pub(super) const fn is_stale(&self) -> bool {
        self.stale > 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// The slots by job, and how many of them each report stands in.
#[cfg(feature = "alloc")]
#[derive(Debug)]
struct Jobs {
    slots: BTreeMap<i64, Slots>,
    held: BTreeMap<u64, u32>,
}

#[cfg(feature = "alloc")]
impl Jobs {
    const fn new() -> Self {
        Jobs {
            slots: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    fn get(&self, job_id: i64) -> Option<&Slots> {
        self.slots.get(&job_id)
    }

    fn get_mut(&mut self, job_id: i64) -> Option<&mut Slots> {
        self.slots.get_mut(&job_id)
    }

    fn make_room(&mut self, job_id: i64) -> bool {
        self.slots.entry(job_id).or_default();
        true
    }

    fn remove(&mut self, job_id: i64) {
        self.slots.remove(&job_id);
    }

    fn hold(&mut self, seq: u64) {
        let held = self.held.entry(seq).or_default();
        *held = held.saturating_add(1);
    }

    /// Whether it stands in none any more.
    fn release(&mut self, seq: u64) -> bool {
        match self.held.get_mut(&seq) {
            Some(held) if *held > 1 => {
                *held = held.saturating_sub(1);
                false
            }
            _ => {
                self.held.remove(&seq);
                true
            }
        }
    }
}

/// The slots by job: 40 bytes for each.
#[cfg(not(feature = "alloc"))]
#[derive(Debug)]
struct Jobs(heapless::Vec<(i64, Slots), 16>);

#[cfg(not(feature = "alloc"))]
impl Jobs {
    const fn new() -> Self {
        Jobs(heapless::Vec::new())
    }

    fn get(&self, job_id: i64) -> Option<&Slots> {
        let found = self.0.iter().find(|(id, _)| *id == job_id);
        found.map(|(_, slots)| slots)
    }

    fn get_mut(&mut self, job_id: i64) -> Option<&mut Slots> {
        let found = self.0.iter_mut().find(|(id, _)| *id == job_id);
        found.map(|(_, slots)| slots)
    }

    fn make_room(&mut self, job_id: i64) -> bool {
        self.get(job_id).is_some() || self.0.push((job_id, Slots::default())).is_ok()
    }

    fn remove(&mut self, job_id: i64) {
        self.0.retain(|(id, _)| *id != job_id);
    }

    fn hold(&mut self, _: u64) {}

    /// Whether it stands in none any more.
    fn release(&mut self, seq: u64) -> bool {
        let mut slots = self.0.iter();
        !slots.any(|(_, slots)| slots.newest == seq || slots.newest_final == seq)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// A report that waits: its number and its keys.
    type Report = (u64, Vec<JobKey>);

    /// Whether newer ones supersede it, by looking at all of them.
    fn is_superseded(all: &[Report], (seq, keys): &Report) -> bool {
        let newer = || all.iter().filter(|(other, _)| other > seq);
        let covers = |key: &JobKey, other: &JobKey| {
            other.job_id == key.job_id && (other.is_final || !key.is_final)
        };
        !keys.is_empty()
            && keys
                .iter()
                .all(|key| newer().any(|(_, keys)| keys.iter().any(|other| covers(key, other))))
    }

    fn random(state: &mut u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (*state >> 33) % below
        }
    }

    #[test]
    fn it_says_what_looking_at_all_of_them_says() {
        for seed in 0..300u64 {
            let mut state = seed;
            let mut below = random(&mut state);
            let jobs = 1 + below(if cfg!(feature = "alloc") { 40 } else { 16 });
            let mut newest = Newest::new();
            let mut all: Vec<Report> = Vec::new();
            let mut superseded = Vec::new();
            for seq in 1..200 {
                let keys: Vec<_> = (0..below(4))
                    .map(|_| JobKey {
                        job_id: below(jobs) as i64,
                        is_final: below(4) == 0,
                    })
                    .collect();
                newest.note(seq, &keys, |old| superseded.push(old));
                all.push((seq, keys));
                // Mostly in order, sometimes one from the middle, sometimes many.
                for _ in 0..[0, 0, 1, 2, 30][below(5) as usize] {
                    if all.is_empty() {
                        break;
                    }
                    let place = match below(8) {
                        0 => below(all.len() as u64) as usize,
                        _ => 0,
                    };
                    let (seq, keys) = all.remove(place);
                    newest.forget(seq, &keys);
                    superseded.retain(|old| *old != seq);
                }
                let says =
                    |newest: &Newest, report: &Report| newest.is_superseded(report.0, &report.1);
                for report in &all {
                    let truth = is_superseded(&all, report);
                    assert!(truth || !says(&newest, report), "dropped by mistake");
                    if !newest.is_stale() {
                        assert_eq!(says(&newest, report), truth, "seed {seed}, {report:?}");
                    }
                }
                if newest.is_stale() {
                    newest.clear();
                    superseded.clear();
                    for (seq, keys) in &all {
                        newest.note(*seq, keys, |old| superseded.push(old));
                    }
                    assert!(!newest.is_stale());
                }
                // Each was told once.
                let mut told = superseded.clone();
                told.sort_unstable();
                let truth = all.iter().filter(|report| is_superseded(&all, report));
                let truth: Vec<_> = truth.map(|(seq, _)| *seq).collect();
                assert_eq!(told, truth, "seed {seed}");
            }
            for (seq, keys) in &all {
                newest.forget(*seq, keys);
            }
            assert!(!newest.is_stale());
            newest.clear();
        }
    }

    /// More jobs than a fixed table holds.
    #[test]
    fn it_drops_nothing_by_mistake_when_it_is_full() {
        let key = |job_id| JobKey {
            job_id,
            is_final: false,
        };
        let mut newest = Newest::new();
        for seq in 1..=100 {
            newest.note(seq, &[key(seq as i64)], |_| panic!("each is another job"));
        }
        let mut told = Vec::new();
        newest.note(101, &[key(1), key(99)], |old| told.push(old));
        newest.note(102, &[key(1)], |old| told.push(old));
        assert!(
            !newest.is_superseded(101, &[key(1), key(99)]),
            "it is needed for job 99"
        );
        match cfg!(feature = "alloc") {
            true => assert_eq!(told, [1, 99]),
            false => assert_eq!(told, [1]),
        }
        newest.forget(1, &[key(1)]);
        newest.forget(101, &[key(1), key(99)]);
        assert!(!newest.is_superseded(102, &[key(1)]));
    }
}
