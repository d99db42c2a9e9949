//! Where reports wait: the trait, and what it is told.

use core::fmt;

use super::policy::Reason;
use crate::json::{Scanner, Token};
use crate::report::JobStatus;
use crate::time::MonoTime;

/// Names one submitted report: its place in the order, counted from 1 and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of every report ever submitted, restarts included.
///
/// `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Stored by `submit`.
    pub submitted: u64,
    /// Accepted by the service.
    pub delivered: u64,
    /// Refused by the service; among the dead letters.
    pub refused: u64,
    /// Dropped when the outbox was full, since newer reports say more.
    pub superseded: u64,
    /// Given up within the budgets of the policy; among the dead letters.
    pub expired: u64,
    /// Writes cut short by a crash, found at the next start: reports whose `submit` had not returned.
    pub torn: u64,
    /// Reports lost because the storage changed their bytes.
    pub corrupt: u64,
}

impl Ledger {
    pub(super) const NONE: Ledger = Ledger {
        submitted: 0,
        delivered: 0,
        refused: 0,
        superseded: 0,
        expired: 0,
        torn: 0,
        corrupt: 0,
    };

    /// Counts a report that is settled.
    pub(super) fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Refused(_) => &mut self.refused,
            Fate::Expired(_) => &mut self.expired,
        };
        *counter = counter.saturating_add(1);
    }
}

/// The oldest report that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Its name.
    pub ticket: Ticket,
    /// How many bytes it has.
    pub len: usize,
}

/// What became of the oldest report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was accepted.
    Delivered,
    /// It was refused: it goes to the dead letters.
    Refused(Reason),
    /// It was given up: it goes to the dead letters.
    Expired(Reason),
}

/// A report that will not be sent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name.
    pub ticket: Ticket,
    /// Why.
    pub reason: Reason,
    /// How many bytes it has.
    pub len: usize,
}

/// One job of a report, as far as newer reports can supersede it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// Its id.
    pub job_id: i64,
    /// Whether its status is a final one.
    pub is_final: bool,
}

/// The most jobs of one report that are looked at to supersede it.
const MAX_KEYS: usize = 16;

/// The jobs of a report; none if it must never be superseded (a job without id, or more than 16 of them).
pub type JobKeys = heapless::Vec<JobKey, MAX_KEYS>;

/// Reads the jobs of an encoded report.
pub(super) fn job_keys(report: &[u8]) -> JobKeys {
    read_keys(report).unwrap_or_default()
}

fn read_keys(report: &[u8]) -> Option<JobKeys> {
    let mut keys = JobKeys::new();
    let mut scanner = Scanner::new(report);
    let mut in_jobs = false;
    let mut job_id = None;
    let mut is_final = false;
    let mut member = None;
    while let Some(token) = scanner.next_token().ok()? {
        let depth = scanner.depth();
        match token {
            Token::Key(key) if depth == 1 => in_jobs = key.is("jobs"),
            Token::Key(key) if depth == 3 && in_jobs => member = Some(key),
            Token::ObjectStart if depth == 3 && in_jobs => (job_id, is_final) = (None, false),
            Token::ObjectEnd if depth == 2 && in_jobs => {
                keys.push(JobKey {
                    job_id: job_id?,
                    is_final,
                })
                .ok()?;
            }
            Token::Number(number) if depth == 3 && member.is_some_and(|m| m.is("job_id")) => {
                job_id = number.to_i64();
            }
            Token::String(text) if depth == 3 && member.is_some_and(|m| m.is("status")) => {
                is_final = JobStatus::KNOWN
                    .iter()
                    .any(|s| s.is_final() && text.is(s.name()));
            }
            _ => {}
        }
    }
    Some(keys)
}

/// Where reports wait, in the order they were submitted. All of it survives a restart, if the outbox is durable.
pub trait Outbox {
    /// Why it failed.
    type Error: fmt::Display + fmt::Debug;

    /// Stores a report behind the others, and returns when it is as durable as this outbox makes things.
    /// When full, superseded reports are dropped first; if that does not help, the error says so and nothing has changed.
    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
    ) -> Result<Ticket, Self::Error>;

    /// The oldest report that waits. What cannot be read is passed over, and counted.
    fn front(&mut self) -> Result<Option<Front>, Self::Error>;

    /// Reads the report that [`front`](Self::front) told into `buffer`, which has at least its length.
    /// `false` if it turns out to be unreadable: ask `front` again.
    fn read_front(&mut self, buffer: &mut [u8]) -> Result<bool, Self::Error>;

    /// Removes the oldest report. `buffer` has its bytes, for the dead letters.
    fn settle_front(&mut self, fate: Fate, buffer: &[u8]) -> Result<(), Self::Error>;

    /// How many reports wait.
    fn waiting(&self) -> u64;

    /// The counters.
    fn ledger(&self) -> Ledger;

    /// Makes durable all that is not yet.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Makes durable what waits for a time limit.
    fn tick(&mut self, now: MonoTime) -> Result<(), Self::Error>;

    /// The oldest dead letter behind `after`; the oldest of all without.
    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, Self::Error>;

    /// Reads a dead letter into `buffer`, which has at least its length; `false` if it is gone or unreadable.
    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error>;

    /// Forgets the dead letters up to and with `ticket`.
    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error>;
}

impl<O: Outbox + ?Sized> Outbox for &mut O {
    type Error = O::Error;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
    ) -> Result<Ticket, Self::Error> {
        (**self).append(jobs, report, now)
    }
    fn front(&mut self) -> Result<Option<Front>, Self::Error> {
        (**self).front()
    }
    fn read_front(&mut self, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        (**self).read_front(buffer)
    }
    fn settle_front(&mut self, fate: Fate, buffer: &[u8]) -> Result<(), Self::Error> {
        (**self).settle_front(fate, buffer)
    }
    fn waiting(&self) -> u64 {
        (**self).waiting()
    }
    fn ledger(&self) -> Ledger {
        (**self).ledger()
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        (**self).flush()
    }
    fn tick(&mut self, now: MonoTime) -> Result<(), Self::Error> {
        (**self).tick(now)
    }
    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, Self::Error> {
        (**self).dead_letter(after)
    }
    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        (**self).read_dead_letter(ticket, buffer)
    }
    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error> {
        (**self).forget_dead_letters(ticket)
    }
}
