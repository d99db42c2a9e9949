//! What the engine remembers of reports that failed: suspects that stepped aside, and how often others were tried.

use super::outbox::{JobKey, JobKeys, Ticket};
use super::reason::Reason;
use crate::small;
use crate::time::MonoTime;

/// How many suspects there may be. Other bad reports are passed over until one of them has left, or rests. 200 bytes each; with `alloc` 300.
pub(super) const SUSPECTS: usize = small::SUSPECTS;
/// One more for whatever is in flight: it may be refused, and its burial fail.
const SLOTS: usize = SUSPECTS + 1;
/// How many reports are remembered that were tried and are neither suspects nor in flight. Of more than these the oldest against whom nothing
/// counts is forgotten, and gets some attempts more.
const TRIED: usize = small::TRIED;

/// What is accepted later than this after a failure proves nothing, and what fails later than this after an acceptance.
pub(super) const RIGHT_AFTER_MS: u64 = 60_000;

/// If there is no place for so long, it is tried anyway.
const REST_MS: u64 = 3_600_000;

/// For so long at the least responses must count against a report: a part of the service, or of those before it, may start anew or be set up
/// wrongly, for some jobs alone.
const LASTS_MS: u64 = 3_600_000;

/// How often a report was tried since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) ticket: Ticket,
    /// How often it went out.
    pub(super) attempts: u32,
    /// Responses in a row that may be somebody else's, or none.
    pub(super) doubtful: u32,
    /// Responses in a row that find fault with the credentials or a setting.
    pub(super) denied: u32,
    /// How much speaks against it.
    pub(super) weight: u32,
    /// Attempts that another report proved to be its own fault.
    pub(super) counted: u32,
    /// How often those failed that were accepted in the end, since the first that counts.
    pub(super) missed: u32,
    /// Its attempts before that one.
    pub(super) before: u32,
    /// When that one was counted.
    pub(super) since: MonoTime,
    /// When it was tried first.
    pub(super) first: MonoTime,
    /// It may be at fault, and others have the places of suspects: it rests until there is one for it, and is not tried before then.
    pub(super) rests: Option<MonoTime>,
}

/// For whom there is a place among the suspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// For nobody.
    None,
    /// A suspect would rest instead: for those against whom nothing counts, or who are judged as soon as they fail.
    Another,
    /// For anybody.
    Free,
}

impl Tried {
    pub(super) const fn new(ticket: Ticket, now: MonoTime) -> Self {
        Tried {
            ticket,
            attempts: 0,
            doubtful: 0,
            denied: 0,
            weight: 0,
            counted: 0,
            missed: 0,
            before: 0,
            since: now,
            first: now,
            rests: None,
        }
    }

    /// From then on it can be judged: what counts against it has lasted for long enough.
    fn judged_at(&self) -> MonoTime {
        self.since.plus_ms(LASTS_MS)
    }

    pub(super) fn lasts(&self, now: MonoTime) -> bool {
        self.judged_at() <= now
    }

    /// When it may be tried that rests.
    fn woken_at(&self, place: Place) -> Option<MonoTime> {
        let rests = self.rests?;
        Some(match place {
            Place::None => rests.plus_ms(REST_MS),
            Place::Another if self.counted > 0 => rests.max(self.judged_at()),
            Place::Another | Place::Free => rests,
        })
    }
}

/// What an aside report waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// To be tried again.
    Attempt,
    /// To become a dead letter that was refused; the last try failed.
    Refusal,
    /// To become one that expired.
    Expiry,
}

/// A report that stepped aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    pub(super) tried: Tried,
    pub(super) waits: Waits,
    /// When it failed last, with a canary to follow or as one, until that says something of it.
    pub(super) failed_at: Option<MonoTime>,
    /// Whether its own canary may be of any job.
    pub(super) of_any: bool,
    /// Failures in a row, for its own back-off.
    pub(super) failures: u32,
    /// Not before then.
    pub(super) due: MonoTime,
    /// Somebody who answered wants it to be left alone until then: so no newer report of its jobs is sent instead.
    pub(super) is_asked: bool,
    /// What its last attempt got.
    pub(super) reason: Reason,
}

impl Aside {
    pub(super) const fn new(tried: Tried, waits: Waits, reason: Reason) -> Self {
        Aside {
            tried,
            waits,
            failed_at: None,
            of_any: false,
            failures: 0,
            due: tried.first,
            is_asked: false,
            reason,
        }
    }

    /// Whether it failed right before then, and nothing was said of that yet.
    pub(super) fn failed_right_before(&self, at: MonoTime) -> bool {
        let failed = self.failed_at;
        failed.is_some_and(|failed| at.since_ms(failed) <= RIGHT_AFTER_MS)
    }
}

/// The reports that stepped aside, in no order.
#[derive(Debug)]
pub(super) struct Asides([Option<Aside>; SLOTS]);

impl Asides {
    pub(super) const fn new() -> Self {
        Asides([None; SLOTS])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Aside> {
        self.0.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Aside> {
        self.0.iter_mut().flatten()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Aside> {
        self.iter().find(|aside| aside.tried.ticket == ticket)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Aside> {
        self.iter_mut().find(|aside| aside.tried.ticket == ticket)
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = &Aside> {
        self.iter().filter(|aside| aside.waits == Waits::Attempt)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.iter().any(Option::is_none)
    }

    /// Puts a report aside, or what is newly known of one; `false` without room.
    pub(super) fn put(&mut self, aside: Aside) -> bool {
        let ticket = aside.tried.ticket;
        if let Some(known) = self.get_mut(ticket) {
            *known = aside;
            return true;
        }
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        free.map(|slot| *slot = Some(aside)).is_some()
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let is_it = |slot: &&mut Option<Aside>| {
            slot.as_ref()
                .is_some_and(|aside| aside.tried.ticket == ticket)
        };
        let slot = self.0.iter_mut().find(is_it);
        slot.map(|slot| *slot = None).is_some()
    }
}

#[cfg(feature = "alloc")]
type TriedList = alloc::vec::Vec<Tried>;
#[cfg(not(feature = "alloc"))]
type TriedList = heapless::Vec<Tried, TRIED>;

/// The last reports that were tried and may be tried again, the oldest first.
#[derive(Debug)]
pub(super) struct Memory(TriedList);

impl Memory {
    pub(super) const fn new() -> Self {
        Memory(TriedList::new())
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Tried> {
        self.0.iter().find(|tried| tried.ticket == ticket)
    }

    pub(super) fn rests(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_some_and(|tried| tried.rests.is_some())
    }

    /// Wakes those that rested long enough; `true` if there were some.
    pub(super) fn wake(&mut self, now: MonoTime) -> bool {
        let mut some = false;
        for tried in &mut self.0 {
            if tried.woken_at(Place::None).is_some_and(|at| at <= now) {
                (tried.rests, some) = (None, true);
            }
        }
        some
    }

    /// Wakes the oldest of those that may be tried again; `true` if there was one.
    pub(super) fn wake_oldest(&mut self, place: Place, now: MonoTime) -> bool {
        let may = |tried: &&mut Tried| tried.woken_at(place).is_some_and(|at| at <= now);
        let oldest = self
            .0
            .iter_mut()
            .filter(may)
            .min_by_key(|tried| tried.ticket);
        oldest.map(|tried| tried.rests = None).is_some()
    }

    /// When the first of them may be tried, or is tried anyway.
    pub(super) fn first_rested(&self, place: Place) -> Option<MonoTime> {
        self.0
            .iter()
            .filter_map(|tried| tried.woken_at(place))
            .min()
    }

    /// Whether a suspect may rest here: one place stays for who fails next.
    pub(super) fn has_room(&self) -> bool {
        let counted = self.0.iter().filter(|tried| tried.counted > 0);
        counted.count().saturating_add(1) < TRIED
    }

    /// Whether it failed the last time.
    pub(super) fn has_failed(&self, ticket: Ticket) -> bool {
        self.get(ticket)
            .is_some_and(|tried| tried.doubtful > 0 || tried.denied > 0)
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Tried> {
        let found = self.get(ticket).copied();
        if found.is_some() {
            self.0.retain(|tried| tried.ticket != ticket);
        }
        found
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tried> {
        self.0.iter_mut()
    }

    pub(super) fn put(&mut self, tried: Tried) {
        self.take(tried.ticket);
        if self.0.len() >= TRIED {
            // What counts against a report took long to find out.
            let fresh = self.0.iter().find(|tried| tried.counted == 0);
            let forgotten = fresh.or(self.0.last()).map(|tried| tried.ticket);
            self.0.retain(|tried| Some(tried.ticket) != forgotten);
        }
        #[cfg(feature = "alloc")]
        self.0.push(tried);
        // There is room.
        #[cfg(not(feature = "alloc"))]
        let _ = self.0.push(tried);
    }
}

/// Of how many jobs it is remembered that their last report failed.
const FAILED_JOBS: usize = if cfg!(feature = "alloc") { 64 } else { 2 };

/// Jobs whose last report failed until a newer one superseded it, and how often in a row: for the newer one that goes on.
#[derive(Debug)]
pub(super) struct FailedJobs(heapless::Vec<(i64, u32), FAILED_JOBS>);

impl FailedJobs {
    pub(super) const fn new() -> Self {
        FailedJobs(heapless::Vec::new())
    }

    /// Of too many the oldest is forgotten.
    pub(super) fn put(&mut self, job_id: i64, doubtful: u32) {
        self.take(job_id);
        if self.0.is_full()
            && let Some((oldest, _)) = self.0.first().copied()
        {
            self.take(oldest);
        }
        let _ = self.0.push((job_id, doubtful));
    }

    /// 0 if it did not fail.
    pub(super) fn take(&mut self, job_id: i64) -> u32 {
        let found = self.0.iter().find(|(id, _)| *id == job_id).copied();
        self.0.retain(|(id, _)| *id != job_id);
        found.map_or(0, |(_, doubtful)| doubtful)
    }
}

/// Words of the set of jobs.
const WORDS: usize = small::JOB_SET_WORDS;
/// So many bits are half of it: of the jobs that are not in the set every other one seems to be.
const CROWDED: u32 = (WORDS as u32).saturating_mul(32);
/// Then there is room for twice the jobs, and more.
const FEW: u32 = CROWDED >> 2;

/// A set of jobs that may say of one that it is in it though it is not, but never the other way round: then a report waits a little
/// longer, and none overtakes another. 1 KiB, without `alloc` 128 bytes.
///
/// However many jobs stay behind, it does not fill up: where they are too many, one walk looks at a [`Part`] of all jobs, the next one at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobSet {
    words: [u64; WORDS],
    /// A job that cannot be told is in it, so any may be.
    has_any: bool,
    part: Part,
}

impl JobSet {
    pub(super) const EMPTY: Self = JobSet::of(Part::ALL);

    const fn of(part: Part) -> Self {
        JobSet {
            words: [0; WORDS],
            has_any: false,
            part,
        }
    }

    /// The word and the bit of a job. Ids that follow each other fall on places that differ.
    const fn place(job_id: i64) -> (usize, u64) {
        let mixed = (job_id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let word = (mixed >> 6) as usize & (WORDS - 1);
        (word, 1 << (mixed & 63))
    }

    pub(super) fn add(&mut self, keys: &JobKeys) {
        for key in keys {
            self.has_any |= key.job_id == JobKey::ANY;
            let (word, bit) = Self::place(key.job_id);
            if self.part.has(key.job_id)
                && let Some(word) = self.words.get_mut(word)
            {
                *word |= bit;
            }
        }
    }

    pub(super) fn has_one_of(&self, keys: &JobKeys) -> bool {
        keys.iter().any(|key| {
            if self.has_any {
                return true;
            }
            if key.job_id == JobKey::ANY {
                return self.part != Part::ALL || self.words.iter().any(|word| *word != 0);
            }
            let (word, bit) = Self::place(key.job_id);
            let word = self.words.get(word).copied().unwrap_or(u64::MAX);
            word & bit != 0 || !self.part.has(key.job_id)
        })
    }
}

/// The jobs that a walk looks at: one in `2^halvings`. Reports of others have their turn in other walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    halvings: u32,
    nth: u32,
}

impl Part {
    const ALL: Self = Part {
        halvings: 0,
        nth: 0,
    };
    /// Enough for as many jobs as there are tickets.
    const MOST_HALVINGS: u32 = 24;

    /// Each part has its turn in each round; two jobs that are in two parts in one round may be in one in another.
    const fn has(self, job_id: i64) -> bool {
        if self.halvings == 0 {
            return true;
        }
        let round = self.nth.wrapping_shr(self.halvings) as u64;
        let mixed = (job_id as u64 ^ round << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        (mixed as u32 ^ self.nth).trailing_zeros() >= self.halvings
    }

    const fn next(self, halvings: u32) -> Self {
        match halvings {
            0 => Part::ALL,
            _ => Part {
                halvings,
                nth: self.nth.wrapping_add(1),
            },
        }
    }
}

/// Whether each job of the one is among those of the other.
pub(super) fn covers(other: &JobKeys, one: &JobKeys) -> bool {
    let is_in_other = |id| id != JobKey::ANY && other.iter().any(|key| key.job_id == id);
    one.iter().all(|key| is_in_other(key.job_id))
}

/// Whether two reports have a job in common, or may have one.
pub(super) fn share(one: &JobKeys, other: &JobKeys) -> bool {
    let is_same = |id: i64, other: i64| id == other || id == JobKey::ANY || other == JobKey::ANY;
    let in_other = |id| other.iter().any(|key| is_same(id, key.job_id));
    one.iter().any(|key| in_other(key.job_id))
}

/// How far the queue was walked, and the jobs of the reports that were passed over on the way and still wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) after: Option<Ticket>,
    pub(super) jobs: JobSet,
}

impl Walk {
    pub(super) const START: Self = Walk {
        after: None,
        jobs: JobSet::EMPTY,
    };

    /// From the start, by the same part of the jobs.
    pub(super) const fn anew(&self) -> Self {
        Walk {
            after: None,
            jobs: JobSet::of(self.jobs.part),
        }
    }

    /// This one came to its end. Another one, from the start: by a smaller part if too many stay behind, by a larger one if few of this one do.
    pub(super) fn by_another_part(&self) -> Option<Self> {
        let part = self.jobs.part;
        let bits = self.jobs.words.iter().map(|word| word.count_ones());
        let bits = bits.fold(0, u32::saturating_add);
        let halvings = match bits {
            CROWDED.. if part.halvings < Part::MOST_HALVINGS => part.halvings.saturating_add(1),
            bits if bits < FEW => part.halvings.saturating_sub(1),
            _ => part.halvings,
        };
        let walk = Walk {
            after: None,
            jobs: JobSet::of(part.next(halvings)),
        };
        (halvings != part.halvings).then_some(walk)
    }

    /// From the start by the next part, if it is not of all jobs.
    pub(super) fn turn(&mut self) {
        let part = self.jobs.part;
        if part != Part::ALL {
            self.jobs.part = part.next(part.halvings);
            *self = self.anew();
        }
    }

    /// Passes over a report that stays.
    pub(super) fn pass(&mut self, ticket: Ticket, keys: &JobKeys) {
        self.jobs.add(keys);
        self.after = Some(ticket);
    }
}
