//! The reference: what was accepted and is not settled, in order, with its bytes; the dead letters; the ledger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use edge_report::courier::{Durability, Fate, JobKeys, Ledger, Reason, Status};

use crate::courier_common::{Sample, says_more};
use crate::ground::{Found, FoundLetter};
use crate::{Tally, ensure};

type Check = Result<(), String>;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ticket: u64,
    pub(crate) bytes: Arc<[u8]>,
    keys: JobKeys,
    /// Whether a power cut must leave it.
    durable: bool,
    /// Whether there was a moment at which a full outbox was allowed to drop it.
    droppable: bool,
    /// Whether it had its verdict before, which a power cut took.
    repeated: bool,
}

/// One that has its verdict.
#[derive(Debug)]
struct Settled {
    entry: Entry,
    fate: Fate,
    /// Whether the outbox wrote that down.
    written: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) ticket: u64,
    reason: Reason,
    bytes: Arc<[u8]>,
    keys: JobKeys,
}

impl Letter {
    fn is(&self, (ticket, reason, bytes): &FoundLetter) -> bool {
        (self.ticket, self.reason, &*self.bytes) == (*ticket, *reason, &**bytes)
    }
}

#[derive(Debug)]
pub(crate) struct Account {
    durability: Durability,
    pub(crate) waiting: VecDeque<Entry>,
    pub(crate) letters: VecDeque<Letter>,
    /// Those that a power cut may bring back.
    settled: BTreeMap<u64, Settled>,
    /// As it must be, but for the counts of what the outbox decides: superseded, torn, corrupt.
    pub(crate) ledger: Ledger,
    last_letter: u64,
    /// How many of `waiting` are dropped already; which of them shows when they are passed over.
    dropped: u64,
    /// Reports that a power cut took, not yet counted as corrupt.
    holes: u64,
    /// For the tally.
    pushed_out: u64,
    resubmitted: u64,
    lost: u64,
    repeats: u64,
}

impl Account {
    pub(crate) fn new(durability: Durability) -> Self {
        Account {
            durability,
            waiting: VecDeque::new(),
            letters: VecDeque::new(),
            settled: BTreeMap::new(),
            ledger: Ledger::default(),
            last_letter: 0,
            dropped: 0,
            holes: 0,
            pushed_out: 0,
            resubmitted: 0,
            lost: 0,
            repeats: 0,
        }
    }

    /// What `status` must say of the outbox after each call.
    pub(crate) fn check(&mut self, status: &Status) -> Check {
        let Ledger {
            superseded,
            torn,
            corrupt,
            ..
        } = status.ledger;
        let more_lost = corrupt.checked_sub(self.ledger.corrupt);
        self.holes = more_lost
            .and_then(|lost| self.holes.checked_sub(lost))
            .ok_or_else(|| format!("corrupt: {:?} -> {:?}", self.ledger, status.ledger))?;
        let expected = Ledger {
            superseded,
            torn: self.ledger.torn,
            corrupt,
            ..self.ledger
        };
        ensure!(
            status.ledger == expected,
            "the ledger is {:?}, must be {expected:?}",
            status.ledger
        );
        ensure!(superseded >= self.ledger.superseded, "fewer are superseded");
        self.dropped += superseded - self.ledger.superseded;
        self.ledger = Ledger { torn, ..expected };
        let droppable = self.waiting.iter().filter(|entry| entry.droppable).count();
        ensure!(
            self.dropped <= droppable as u64,
            "{} are dropped, {droppable} may be",
            self.dropped
        );
        let waiting = self.waiting.len() as u64 + self.holes - self.dropped;
        ensure!(
            status.waiting == waiting,
            "{} wait, must be {waiting}",
            status.waiting
        );
        let Ledger {
            submitted,
            delivered,
            refused,
            superseded,
            expired,
            torn: _,
            corrupt,
        } = status.ledger;
        let sum = delivered + refused + superseded + expired + corrupt + status.waiting;
        ensure!(submitted == sum, "it does not add up: {status:?}");
        Ok(())
    }

    /// The outbox made room, or tried to.
    pub(crate) fn may_have_dropped(&mut self, superseded_now: u64) {
        if superseded_now > self.ledger.superseded {
            let all: Vec<Entry> = self.waiting.iter().cloned().collect();
            // The oldest may be in flight.
            for (index, entry) in self.waiting.iter_mut().enumerate().skip(1) {
                entry.droppable |= is_covered(entry, all[index + 1..].iter());
            }
        }
    }

    pub(crate) fn next_ticket(&self) -> u64 {
        self.ledger.submitted + 1
    }

    pub(crate) fn submitted(&mut self, sample: &Sample) {
        self.ledger.submitted += 1;
        self.waiting.push_back(Entry {
            ticket: self.ledger.submitted,
            bytes: sample.bytes.clone(),
            keys: sample.keys.clone(),
            durable: self.durability == Durability::Each,
            droppable: false,
            repeated: false,
        });
    }

    /// No more may be lost than agreed.
    pub(crate) fn check_batch(&self) -> Check {
        let unsynced = self.waiting.iter().filter(|entry| !entry.durable).count();
        let most = match self.durability {
            Durability::Each => 1,
            Durability::Batch { reports, .. } => reports as usize,
        };
        ensure!(unsynced < most, "{unsynced} are not synced");
        Ok(())
    }

    /// A report is offered: those before it must have been dropped, and rightly.
    pub(crate) fn offered(&mut self, ticket: u64, bytes: &[u8]) -> Check {
        while let Some(front) = self.waiting.pop_front() {
            if front.ticket == ticket {
                ensure!(*front.bytes == *bytes, "report {ticket}: wrong bytes");
                self.waiting.push_front(front);
                return Ok(());
            }
            ensure!(
                front.droppable && self.dropped > 0,
                "report {} is passed over for {ticket}",
                front.ticket
            );
            self.dropped -= 1;
        }
        Err(format!("report {ticket} is offered, and does not wait"))
    }

    /// The report at the front has its verdict.
    pub(crate) fn settled(&mut self, fate: Fate) {
        let Some(entry) = self.waiting.pop_front() else {
            return;
        };
        match fate {
            Fate::Delivered => self.ledger.delivered += 1,
            Fate::Refused(_) => self.ledger.refused += 1,
            Fate::Expired(_) => self.ledger.expired += 1,
        }
        if let Fate::Refused(reason) | Fate::Expired(reason) = fate {
            // Of one that is settled again the letter is there, or forgotten.
            if !(entry.repeated && entry.ticket <= self.last_letter) {
                self.last_letter = entry.ticket;
                self.letters.push_back(Letter {
                    ticket: entry.ticket,
                    reason,
                    bytes: entry.bytes.clone(),
                    keys: entry.keys.clone(),
                });
            }
        }
        let settled = Settled {
            entry,
            fate,
            written: false,
        };
        self.settled.insert(settled.entry.ticket, settled);
    }

    /// Something was written: what is settled stands there.
    pub(crate) fn written(&mut self) {
        self.settled.values_mut().for_each(|s| s.written = true);
    }

    /// All that was written would survive a power cut.
    pub(crate) fn synced(&mut self) {
        self.settled.retain(|_, settled| !settled.written);
        self.settled
            .values_mut()
            .for_each(|s| s.entry.durable = true);
        self.waiting.iter_mut().for_each(|e| e.durable = true);
    }

    /// The oldest dead letter, as it is submitted again.
    pub(crate) fn oldest_letter(&self) -> Option<Sample> {
        self.letters.front().map(|letter| Sample {
            bytes: letter.bytes.clone(),
            keys: letter.keys.clone(),
        })
    }

    pub(crate) fn resubmit_letter(&mut self) {
        self.letters.pop_front();
        self.resubmitted += 1;
    }

    pub(crate) fn tell(&self, tally: &Tally) {
        Tally::add(&tally.superseded, self.ledger.superseded);
        Tally::add(&tally.expired, self.ledger.expired);
        Tally::add(&tally.letters_pushed_out, self.pushed_out);
        Tally::add(&tally.resubmitted, self.resubmitted);
        Tally::add(&tally.lost_unsynced, self.lost);
        Tally::add(&tally.settled_again, self.repeats);
    }

    pub(crate) fn tickets_come_again(&self) -> bool {
        self.last_letter > self.ledger.submitted
    }

    pub(crate) fn forget_letters(&mut self, until: u64) {
        self.letters.retain(|letter| letter.ticket > until);
    }

    /// The dead letters are these: all, or after one more was put there, the newest of them.
    pub(crate) fn check_letters(&mut self, found: &[FoundLetter], may_lose_oldest: bool) -> Check {
        let gone = self.letters.len().checked_sub(found.len());
        let gone = gone.ok_or_else(|| format!("too many dead letters: {}", found.len()))?;
        ensure!(
            gone == 0 || may_lose_oldest && !found.is_empty(),
            "{gone} dead letters of {:?} are gone",
            self.letters.iter().map(|l| l.ticket).collect::<Vec<_>>()
        );
        self.letters.drain(..gone);
        self.pushed_out += gone as u64;
        let mut pairs = self.letters.iter().zip(found);
        ensure!(
            pairs.all(|(letter, found)| letter.is(found)),
            "wrong dead letters: {:?} are {:?}",
            self.letters.iter().map(|l| l.ticket).collect::<Vec<_>>(),
            found.iter().map(|(t, ..)| t).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// After a restart: what is there must be, what is not there must not.
    pub(crate) fn restarted(&mut self, found: &Found, status: &Status) -> Check {
        let mut waiting = VecDeque::<Entry>::new();
        for (ticket, bytes) in &found.waiting {
            ensure!(
                waiting.back().is_none_or(|last| last.ticket < *ticket),
                "report {ticket} is out of order"
            );
            let known = self.waiting.iter().find(|entry| entry.ticket == *ticket);
            let repeated = || self.settled.get(ticket).map(|settled| &settled.entry);
            let entry = known.or_else(repeated);
            let entry =
                entry.ok_or_else(|| format!("report {ticket} is invented or comes again"))?;
            ensure!(*entry.bytes == **bytes, "report {ticket}: wrong bytes");
            waiting.push_back(Entry {
                durable: true,
                droppable: false,
                repeated: known.is_none() || entry.repeated,
                ..entry.clone()
            });
        }
        let is_there = |ticket| waiting.iter().any(|entry| entry.ticket == ticket);
        let mut unsynced = self.settled.values().filter(|s| !s.entry.durable).count() as u64;
        let mut missing = 0;
        for entry in self.waiting.iter().filter(|entry| !is_there(entry.ticket)) {
            if !entry.durable {
                unsynced += 1;
                continue;
            }
            missing += 1;
            let settled = self.settled.values().map(|settled| &settled.entry);
            ensure!(
                entry.droppable && is_covered(entry, waiting.iter().chain(settled)),
                "report {} is lost",
                entry.ticket
            );
        }
        ensure!(
            missing <= self.dropped,
            "{missing} are gone, {} were dropped",
            self.dropped
        );
        for settled in self.settled.values().filter(|s| s.entry.durable) {
            let ticket = settled.entry.ticket;
            let is_letter = self.letters.iter().any(|letter| letter.ticket == ticket);
            let found_letter = found.letters.iter().any(|letter| letter.0 == ticket);
            ensure!(
                is_there(ticket) || !is_letter || found_letter,
                "refused report {ticket} is lost"
            );
        }
        self.check_ledger_after(found, status, unsynced)?;
        self.lost += self.ledger.submitted - status.ledger.submitted;
        self.repeats += waiting.iter().filter(|entry| entry.repeated).count() as u64;
        self.waiting = waiting;
        self.settled.clear();
        self.ledger = status.ledger;
        (self.dropped, self.holes) = (0, found.holes);
        self.check_letters(&found.letters, false)
    }

    /// Counters may go back by what was not synced, and by no more.
    fn check_ledger_after(&self, found: &Found, status: &Status, unsynced: u64) -> Check {
        let (old, new) = (&self.ledger, &status.ledger);
        let unmarked = |wanted: fn(Fate) -> bool| {
            self.settled.values().filter(|s| wanted(s.fate)).count() as u64
        };
        for (name, old, new, most) in [
            ("submitted", old.submitted, new.submitted, unsynced),
            (
                "delivered",
                old.delivered,
                new.delivered,
                unmarked(|fate| fate == Fate::Delivered),
            ),
            (
                "refused",
                old.refused,
                new.refused,
                unmarked(|fate| matches!(fate, Fate::Refused(_))),
            ),
            (
                "expired",
                old.expired,
                new.expired,
                unmarked(|fate| matches!(fate, Fate::Expired(_))),
            ),
            ("superseded", old.superseded, new.superseded, 0),
        ] {
            ensure!(
                new <= old && old - new <= most,
                "{name} was {old}, is {new}, {most} were not synced"
            );
        }
        // What is missing is counted as it is passed over; of a crash before that was noted it is missing again.
        let (was_lost, is_lost) = (old.corrupt + self.holes, new.corrupt + found.holes);
        ensure!(
            is_lost <= was_lost + unsynced && is_lost + (old.submitted - new.submitted) >= was_lost,
            "corrupt was {was_lost}, is {is_lost}, {unsynced} were not synced"
        );
        ensure!(
            new.torn >= old.torn && new.torn <= old.torn + 1,
            "torn was {}, is {}",
            old.torn,
            new.torn
        );
        ensure!(
            status.waiting == found.waiting.len() as u64 + found.holes,
            "{} wait, {} and {} holes are there",
            status.waiting,
            found.waiting.len(),
            found.holes
        );
        Ok(())
    }
}

/// Whether newer reports say more of each of its jobs.
fn is_covered<'a>(entry: &Entry, others: impl Iterator<Item = &'a Entry> + Clone) -> bool {
    let newer = others.filter(|other| other.ticket > entry.ticket);
    let covered = |key| newer.clone().any(|other| says_more(&other.keys, key));
    !entry.keys.is_empty() && entry.keys.iter().all(covered)
}
