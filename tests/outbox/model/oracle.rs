//! The reference: what was accepted and is not settled, in order, with its bytes; the dead letters; the counters.

use std::collections::BTreeMap;

use edge_report::courier::{
    Cause, Counters, Disposition, Durability, JobKeys, Outbox, Reason, Status, WhenLettersFull,
};
use edge_report::{Code, WallTime};

use crate::backend::{End, Found, FoundLetter, Shared};
use crate::courier_common::{Sample, says_more};
use crate::{Tally, ensure};

type Check = Result<(), String>;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) sample: Sample,
    pub(crate) wall: WallTime,
    /// Whether a power cut must leave it.
    durable: bool,
    /// Whether it had its verdict before, which a power cut took.
    repeated: bool,
    /// What it is to be buried as.
    pub(crate) doomed: Option<Doom>,
    /// Newer reports that waited when it was dropped.
    newer: Vec<(u64, JobKeys)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    disposition: Disposition,
    /// Of more than a few the reason is not told.
    is_told: bool,
}

/// One that left the queue.
#[derive(Debug)]
struct Settled {
    entry: Entry,
    disposition: Disposition,
    /// Whether the outbox wrote that down.
    written: bool,
    /// Only the next checkpoint says it: it was dropped, or a restart knows it by its letter.
    unnoted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) ticket: u64,
    reason: Reason,
    pub(crate) entry: Entry,
}

impl Letter {
    fn is(&self, (ticket, reason, bytes): &FoundLetter) -> bool {
        (self.ticket, self.reason, &*self.entry.sample.bytes) == (*ticket, *reason, &**bytes)
    }
}

#[derive(Debug)]
pub(crate) struct Oracle {
    durability: Durability,
    when_full: WhenLettersFull,
    is_memory: bool,
    pub(crate) waiting: BTreeMap<u64, Entry>,
    /// In the order of death.
    pub(crate) letters: Vec<Letter>,
    /// Those that a power cut may bring back.
    settled: BTreeMap<u64, Settled>,
    pub(crate) counters: Counters,
    /// The last ticket given out, and whether the next one is the one after it.
    last: u64,
    is_next_known: bool,
    /// For the tally.
    told: [u64; TOLD],
}

/// What is counted for the tally.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    PushedOut,
    Resubmitted,
    Lost,
    Repeats,
    BuriedLate,
    Overtaken,
    AtFault,
    Jumps,
    CleanEnds,
    Held,
}
const TOLD: usize = 10;

impl Oracle {
    pub(crate) fn new(durability: Durability, when_full: WhenLettersFull, is_memory: bool) -> Self {
        Oracle {
            durability,
            when_full,
            is_memory,
            waiting: BTreeMap::new(),
            letters: Vec::new(),
            settled: BTreeMap::new(),
            counters: Counters::default(),
            last: 0,
            is_next_known: true,
            told: [0; TOLD],
        }
    }

    pub(crate) fn count(&mut self, what: Told, more: u64) {
        self.told[what as usize] += more;
    }

    /// What must hold after each call. What the outbox and the engine did by themselves, they are asked for: what was dropped since newer
    /// reports say more, and what was buried.
    pub(crate) fn check<O: Outbox>(
        &mut self,
        status: &Status,
        outbox: &Shared<O>,
        in_flight: Option<u64>,
    ) -> Check {
        let (old, new) = (self.counters, status.counters);
        let mut expected = new;
        expected.submitted = old.submitted;
        expected.delivered = old.delivered;
        expected.torn = old.torn;
        expected.corrupt = old.corrupt;
        ensure!(
            new == expected,
            "the counters are {new:?}, must be {expected:?}"
        );
        let more = |new: u64, old: u64| {
            let more = new.checked_sub(old);
            more.ok_or_else(|| format!("less than before: {old} -> {new}"))
        };
        let superseded = more(new.superseded, old.superseded)?;
        let refused = more(new.refused, old.refused)?;
        let expired = more(new.expired, old.expired)?;
        let dropped = more(new.letters_dropped, old.letters_dropped)?;
        let mut at_once_dropped = 0;
        if refused + expired + dropped > 0 || new.letters != self.letters.len() as u64 {
            let found = outbox.letters().map_err(|error| error.to_string())?;
            at_once_dropped = self.buried(&found, [refused, expired], dropped)?;
        }
        if superseded + at_once_dropped > 0 {
            self.find_gone(outbox, superseded, at_once_dropped, in_flight)?;
        }
        self.counters = new;
        ensure!(
            new.letters == self.letters.len() as u64,
            "{} letters, must be {}",
            new.letters,
            self.letters.len()
        );
        let waiting = self.waiting.len() as u64;
        ensure!(
            status.waiting == waiting,
            "{} wait, must be {waiting}",
            status.waiting
        );
        let doomed = self.waiting.values().filter(|e| e.doomed.is_some()).count();
        ensure!(
            doomed <= status.aside,
            "{doomed} are to be buried, {} are known",
            status.aside
        );
        adds_up(status)
    }

    /// New letters, all of them of what was to be buried. Gives how many were dropped at once for the next.
    fn buried(
        &mut self,
        found: &[FoundLetter],
        [refused, expired]: [u64; 2],
        dropped: u64,
    ) -> Result<u64, String> {
        let first = found.first().map(|(ticket, ..)| *ticket);
        let known = self.letters.iter().position(|l| Some(l.ticket) == first);
        let known = known.unwrap_or(self.letters.len());
        let stay = self.letters.len() - known;
        ensure!(found.len() >= stay, "dead letters are gone from the middle");
        let (old, new) = found.split_at(stay);
        let pairs = self.letters[known..].iter().zip(old);
        for (letter, found) in pairs {
            ensure!(letter.is(found), "{letter:?} is now {found:?}");
        }
        let buried = refused + expired;
        let at_once = buried.checked_sub(new.len() as u64);
        let at_once =
            at_once.ok_or_else(|| format!("{} new letters, {buried} buried", new.len()))?;
        ensure!(
            known as u64 + at_once == dropped,
            "{known} letters are gone, {dropped} count as dropped"
        );
        ensure!(
            dropped == 0 || self.when_full == WhenLettersFull::DropOldest,
            "{dropped} letters are dropped, and none may be"
        );
        self.count(Told::PushedOut, dropped);
        self.letters.drain(..known);
        let mut counts = [0; 2];
        for (ticket, reason, bytes) in new {
            let entry = self.waiting.remove(ticket);
            let entry = entry.ok_or_else(|| format!("{ticket} is buried, and does not wait"))?;
            let doom = entry.doomed;
            let doom = doom.ok_or_else(|| format!("{ticket} is buried, and nobody said so"))?;
            let (counter, wanted) = match doom.disposition {
                Disposition::Refused(reason) => (0, reason),
                Disposition::Expired(reason) => (1, reason),
                _ => return Err(format!("{ticket} is a letter, {doom:?}")),
            };
            counts[counter] += 1;
            let cut = wanted.with_text("");
            let cut_short = cut.with_error_code("");
            let is_right = *reason == wanted
                || !doom.is_told && reason.cause == wanted.cause
                || self.is_memory && (*reason == cut || *reason == cut_short);
            ensure!(is_right, "{ticket}: {reason:?}, must be {wanted:?}");
            ensure!(
                **bytes == *entry.sample.bytes,
                "letter {ticket}: wrong bytes"
            );
            self.letters.push(Letter {
                ticket: *ticket,
                reason: *reason,
                entry: entry.clone(),
            });
            self.leave(*ticket, entry, doom.disposition);
        }
        ensure!(
            counts[0] <= refused && counts[1] <= expired,
            "{refused} count as refused, {expired} as given up: {counts:?}"
        );
        Ok(at_once)
    }

    fn leave(&mut self, ticket: u64, mut entry: Entry, disposition: Disposition) {
        entry.doomed = None;
        let settled = Settled {
            entry,
            disposition,
            written: false,
            unnoted: disposition == Disposition::Superseded,
        };
        self.settled.insert(ticket, settled);
    }

    /// Some left without a trace: dropped as superseded, or buried and dropped as letters at once.
    fn find_gone<O: Outbox>(
        &mut self,
        outbox: &Shared<O>,
        mut superseded: u64,
        mut buried: u64,
        in_flight: Option<u64>,
    ) -> Check {
        let there = outbox.waiting_tickets().map_err(|e| e.to_string())?;
        let known = &self.waiting;
        let unknown = there.iter().find(|ticket| !known.contains_key(ticket));
        ensure!(unknown.is_none(), "{unknown:?} waits, and is not known");
        let gone: Vec<u64> = (known.keys().copied())
            .filter(|ticket| !there.contains(ticket))
            .collect();
        ensure!(
            gone.len() as u64 == superseded + buried,
            "{gone:?} are gone, {superseded} count as superseded, {buried} as buried"
        );
        // Nothing that came after them is gone yet.
        for ticket in gone {
            let Some(mut entry) = self.waiting.remove(&ticket) else {
                continue;
            };
            let newer = self.waiting.range(ticket + 1..);
            entry.newer = newer.map(|(t, e)| (*t, e.sample.keys.clone())).collect();
            let is_covered = covers(&entry, |_| true);
            let doom = entry.doomed.map(|doom| doom.disposition);
            let disposition = match doom {
                Some(disposition) if buried > 0 => {
                    buried -= 1;
                    disposition
                }
                _ => {
                    ensure!(
                        is_covered && superseded > 0 && in_flight != Some(ticket),
                        "report {ticket} is gone"
                    );
                    superseded -= 1;
                    Disposition::Superseded
                }
            };
            self.leave(ticket, entry, disposition);
        }
        Ok(())
    }

    /// All that waits, in full.
    pub(crate) fn check_found(&self, found: &Found) -> Check {
        let waiting = found.waiting.iter().map(|(t, bytes)| (*t, &bytes[..]));
        let mine = self.waiting.iter().map(|(t, e)| (*t, &*e.sample.bytes));
        ensure!(
            waiting.eq(mine),
            "{:?} wait, must be {:?}",
            found.waiting.iter().map(|(t, _)| t).collect::<Vec<_>>(),
            self.waiting.keys().collect::<Vec<_>>()
        );
        self.check_letters(&found.letters)
    }

    pub(crate) fn check_letters(&self, found: &[FoundLetter]) -> Check {
        let mut pairs = self.letters.iter().zip(found);
        ensure!(
            self.letters.len() == found.len() && pairs.all(|(letter, found)| letter.is(found)),
            "the dead letters are {:?}, must be {:?}",
            found.iter().map(|(t, ..)| t).collect::<Vec<_>>(),
            self.letters.iter().map(|l| l.ticket).collect::<Vec<_>>()
        );
        Ok(())
    }

    pub(crate) fn submitted(&mut self, ticket: u64, sample: &Sample, wall: WallTime) -> Check {
        let next = self.last + 1;
        ensure!(
            ticket == next || ticket > next && !self.is_next_known,
            "ticket {ticket}, must be {next}"
        );
        self.count(Told::Jumps, u64::from(ticket > next));
        (self.last, self.is_next_known) = (ticket, true);
        self.counters.submitted += 1;
        let entry = Entry {
            sample: sample.clone(),
            wall,
            durable: self.durability == Durability::Each,
            repeated: false,
            doomed: None,
            newer: Vec::new(),
        };
        self.waiting.insert(ticket, entry);
        Ok(())
    }

    /// No more may be lost than agreed.
    pub(crate) fn check_batch(&self) -> Check {
        let unsynced = self.waiting.values().filter(|e| !e.durable).count();
        let most = match self.durability {
            Durability::Each => 1,
            Durability::Batch { reports, .. } => reports as usize,
            other => return Err(format!("{other:?}")),
        };
        ensure!(unsynced < most, "{unsynced} are not synced");
        Ok(())
    }

    /// Older reports that wait, share a job with this one, and are not to be buried.
    pub(crate) fn elders(&self, ticket: u64) -> Vec<u64> {
        let Some(entry) = self.waiting.get(&ticket) else {
            return Vec::new();
        };
        let older = self.waiting.range(..ticket);
        let older = older.filter(|(_, e)| e.doomed.is_none() && shares(entry, e));
        older.map(|(ticket, _)| *ticket).collect()
    }

    /// Those of `others` that share a job with this one, or with one of these, and so on.
    pub(crate) fn reached<'o>(
        &self,
        ticket: u64,
        others: impl Iterator<Item = &'o u64> + Clone,
    ) -> Vec<u64> {
        let mut reached = vec![ticket];
        let mut next = 0;
        while let Some(from) = reached.get(next).and_then(|from| self.waiting.get(from)) {
            next += 1;
            let more = others.clone().filter(|other| {
                let other = self.waiting.get(other);
                other.is_some_and(|other| shares(from, other))
            });
            let more: Vec<u64> = more.filter(|o| !reached.contains(o)).copied().collect();
            reached.extend(more);
        }
        reached
    }

    /// Whether each job of the one is in the other.
    pub(crate) fn is_covered(&self, one: u64, other: u64) -> bool {
        let (Some(one), Some(other)) = (self.waiting.get(&one), self.waiting.get(&other)) else {
            return false;
        };
        let mut ids = one.sample.keys.iter().map(|key| key.job_id);
        let others = &other.sample.keys;
        !one.sample.is_untold && ids.all(|id| others.iter().any(|key| key.job_id == id))
    }

    /// A report is offered.
    pub(crate) fn offered(&self, ticket: u64, bytes: &[u8]) -> Check {
        let entry = self.waiting.get(&ticket);
        let entry = entry.ok_or_else(|| format!("{ticket} is offered, and does not wait"))?;
        ensure!(*entry.sample.bytes == *bytes, "{ticket}: wrong bytes");
        ensure!(entry.doomed.is_none(), "{ticket} is sent, and to be buried");
        Ok(())
    }

    pub(crate) fn delivered(&mut self, ticket: u64) {
        if let Some(entry) = self.waiting.remove(&ticket) {
            self.counters.delivered += 1;
            self.leave(ticket, entry, Disposition::Delivered);
        }
    }

    /// A report is to be buried, or is by now.
    pub(crate) fn doomed(&mut self, ticket: u64, disposition: Disposition, is_told: bool) -> Check {
        let entry = self.waiting.get_mut(&ticket);
        let entry = entry.ok_or_else(|| format!("{ticket} is buried, and does not wait"))?;
        ensure!(
            entry.doomed.is_none(),
            "{ticket} is {disposition:?}, was {:?}",
            entry.doomed
        );
        entry.doomed = Some(Doom {
            disposition,
            is_told,
        });
        Ok(())
    }

    /// Something was written: what is settled stands there.
    pub(crate) fn written(&mut self) {
        for settled in self.settled.values_mut() {
            settled.written |= !settled.unnoted;
        }
    }

    /// Every report would survive a power cut.
    pub(crate) fn reports_synced(&mut self) {
        self.settled
            .values_mut()
            .for_each(|s| s.entry.durable = true);
        self.waiting.values_mut().for_each(|e| e.durable = true);
    }

    /// All that was written would survive a power cut.
    pub(crate) fn synced(&mut self) {
        self.settled.retain(|_, settled| !settled.written);
        self.reports_synced();
        self.letters.iter_mut().for_each(|l| l.entry.durable = true);
    }

    /// Everything is said and synced.
    pub(crate) fn flushed(&mut self) {
        self.settled.clear();
        self.synced();
    }

    pub(crate) fn tell(&self, tally: &Tally) {
        Tally::add(&tally.superseded, self.counters.superseded);
        Tally::add(&tally.expired, self.counters.expired);
        for (counter, what) in [
            (&tally.letters_pushed_out, Told::PushedOut),
            (&tally.resubmitted, Told::Resubmitted),
            (&tally.lost_unsynced, Told::Lost),
            (&tally.settled_again, Told::Repeats),
            (&tally.buried_late, Told::BuriedLate),
            (&tally.overtaken, Told::Overtaken),
            (&tally.at_fault, Told::AtFault),
            (&tally.jumps, Told::Jumps),
            (&tally.clean_ends, Told::CleanEnds),
            (&tally.held, Told::Held),
        ] {
            Tally::add(counter, self.told[what as usize]);
        }
    }

    /// After a restart: what is there must be, what is not there must not.
    pub(crate) fn restarted(&mut self, found: &Found, status: &Status, end: End) -> Check {
        let mut waiting = BTreeMap::<u64, Entry>::new();
        for (ticket, bytes) in &found.waiting {
            let last = waiting.keys().next_back();
            ensure!(last < Some(ticket), "report {ticket} is out of order");
            let known = self.waiting.get(ticket);
            let repeated = || self.settled.get(ticket).map(|settled| &settled.entry);
            let entry = known.or_else(repeated);
            let entry =
                entry.ok_or_else(|| format!("report {ticket} is invented or comes again"))?;
            ensure!(
                *entry.sample.bytes == **bytes,
                "report {ticket}: wrong bytes"
            );
            let entry = Entry {
                durable: true,
                repeated: known.is_none() || entry.repeated,
                doomed: None,
                ..entry.clone()
            };
            waiting.insert(*ticket, entry);
        }
        let mut unsynced = 0;
        for (ticket, entry) in &self.waiting {
            unsynced += u64::from(!entry.durable);
            ensure!(
                waiting.contains_key(ticket) || !entry.durable,
                "report {ticket} is lost"
            );
        }
        for (ticket, settled) in &self.settled {
            unsynced += u64::from(!settled.entry.durable);
            if settled.disposition != Disposition::Superseded
                || !settled.entry.durable
                || waiting.contains_key(ticket)
            {
                continue;
            }
            // What said more of its jobs is not lost either.
            let is_lost = |newer| {
                let entry = self.waiting.get(&newer);
                entry.is_some_and(|e| !e.durable) && !waiting.contains_key(&newer)
            };
            ensure!(
                covers(&settled.entry, |newer| !is_lost(newer)),
                "superseded report {ticket} is lost, and so is what supersedes it"
            );
        }
        self.check_letters(&found.letters)?;
        self.check_counters_after(status, unsynced)?;
        let is_same = waiting.keys().eq(self.waiting.keys());
        if end == End::Closed && is_same {
            self.count(Told::CleanEnds, 1);
            ensure!(
                status.counters == self.counters,
                "closed, and {:?} is {:?}",
                self.counters,
                status.counters
            );
        }
        let repeats = waiting.values().filter(|entry| entry.repeated).count();
        self.count(
            Told::Lost,
            self.counters
                .submitted
                .saturating_sub(status.counters.submitted),
        );
        self.count(Told::Repeats, repeats as u64);
        self.is_next_known = false;
        self.settled.retain(|ticket, settled| {
            (settled.unnoted, settled.written) = (true, false);
            settled.entry.durable = true;
            let mut letters = found.letters.iter();
            !waiting.contains_key(ticket) && letters.any(|l| l.0 == *ticket)
        });
        self.waiting = waiting;
        self.counters = status.counters;
        adds_up(status)
    }

    /// Of a restart that leaves the outbox as it is.
    pub(crate) fn forget_verdicts(&mut self) {
        self.waiting.values_mut().for_each(|e| e.doomed = None);
    }

    /// Counters may go back by what was not synced, and by no more.
    fn check_counters_after(&self, status: &Status, unsynced: u64) -> Check {
        let (old, new) = (&self.counters, &status.counters);
        ensure!(
            new.submitted <= old.submitted && old.submitted - new.submitted <= unsynced,
            "submitted was {}, is {}, {unsynced} were not synced",
            old.submitted,
            new.submitted
        );
        // Of what was settled or submitted and not synced it may be known how many there were, and not what became of each.
        let most = self.settled.len() as u64 + unsynced;
        for (name, old, new) in [
            ("delivered", old.delivered, new.delivered),
            ("refused", old.refused, new.refused),
            ("expired", old.expired, new.expired),
            ("superseded", old.superseded, new.superseded),
        ] {
            ensure!(
                old.abs_diff(new) <= most,
                "{name} was {old}, is {new}, {most} were not synced"
            );
        }
        // What is missing counts as never submitted, or as corrupt.
        ensure!(
            new.corrupt <= old.corrupt + most
                && new.corrupt + (old.submitted - new.submitted) >= old.corrupt,
            "corrupt was {}, is {}, {unsynced} were not synced",
            old.corrupt,
            new.corrupt
        );
        // What was cut may itself not have been durable, and is then gone with its count.
        ensure!(
            new.torn + 1 >= old.torn && new.torn <= old.torn + 1,
            "torn was {}, is {}",
            old.torn,
            new.torn
        );
        ensure!(
            new.letters == old.letters && new.letters_dropped == old.letters_dropped,
            "the letters were {old:?}, are {new:?}"
        );
        Ok(())
    }
}

/// Whether two have a job in common, or may have one.
fn shares(one: &Entry, other: &Entry) -> bool {
    let (own, other) = (&one.sample, &other.sample);
    let has_jobs = |sample: &Sample| sample.is_untold || !sample.keys.is_empty();
    let is_any = (own.is_untold && has_jobs(other)) || (other.is_untold && has_jobs(own));
    let mut ids = other.keys.iter().map(|key| key.job_id);
    is_any || ids.any(|id| own.keys.iter().any(|key| key.job_id == id))
}

/// Whether newer reports say more of each job of one that was dropped.
fn covers(entry: &Entry, counts: impl Fn(u64) -> bool) -> bool {
    let newer = entry.newer.iter().filter(|(ticket, _)| counts(*ticket));
    let covered = |key| newer.clone().any(|(_, keys)| says_more(keys, key));
    !entry.sample.keys.is_empty() && entry.sample.keys.iter().all(covered)
}

fn adds_up(status: &Status) -> Check {
    let Counters {
        submitted,
        delivered,
        refused,
        superseded,
        expired,
        corrupt,
        ..
    } = status.counters;
    let sum = delivered + refused + superseded + expired + corrupt + status.waiting;
    ensure!(submitted == sum, "it does not add up: {status:?}");
    Ok(())
}

/// Whether a reason says that a newer report of the job was accepted.
pub(crate) fn says_overtaken(reason: &Reason) -> bool {
    reason.cause == Cause::Failed(Code::Overtaken)
}

/// When the report of this number was submitted.
pub(crate) fn wall_of(number: u64) -> WallTime {
    WallTime::from_unix_ms(1_600_000_000_000 + number as i64 * 1_000)
}
