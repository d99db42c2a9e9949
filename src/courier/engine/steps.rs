//! What goes in and out of a courier: steps, errors, and how things stand.

use core::fmt;

use crate::code::Code;
use crate::report::EncodeError;
use crate::time::MonoTime;

use super::super::outbox::{Counters, OutboxError, Ticket};
use super::super::policy::Verdict;
use super::super::reason::Reason;

/// A report to send now.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outgoing<'c> {
    /// Its name, for [`Courier::settle`](super::Courier::settle).
    pub ticket: Ticket,
    /// Its bytes: the same at every attempt.
    pub body: &'c [u8],
    /// What to add to the wall clock before signing.
    pub clock_offset_ms: i64,
}

/// What to do next. There will be no fourth kind within this version.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Step<'c> {
    /// Send this, then call [`Courier::settle`](super::Courier::settle).
    Send(Outgoing<'c>),
    /// Nothing before then, unless something is submitted.
    Wait(MonoTime),
    /// Nothing waits.
    Idle,
}

/// Why a call failed; nothing is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CourierError<E> {
    /// The report breaks the contract, or the memory for it is too small.
    Invalid(EncodeError),
    /// The outbox failed, or is full.
    Outbox(OutboxError<E>),
    /// This ticket is not in flight: its verdict is out already.
    StaleTicket,
    /// The memory for one report is too small for this one, or for one that waits.
    TooSmall {
        /// In bytes.
        needed: usize,
    },
}

impl<E> CourierError<E> {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            CourierError::Invalid(error) => error.code(),
            CourierError::Outbox(error) => error.code(),
            CourierError::StaleTicket => Code::StaleTicket,
            CourierError::TooSmall { .. } => Code::BufferTooSmall,
        }
    }
}

impl<E> From<OutboxError<E>> for CourierError<E> {
    fn from(error: OutboxError<E>) -> Self {
        CourierError::Outbox(error)
    }
}

impl<E: fmt::Display> fmt::Display for CourierError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CourierError::Invalid(error) => error.fmt(f),
            CourierError::Outbox(error) => error.fmt(f),
            CourierError::StaleTicket => Code::StaleTicket.fmt(f),
            CourierError::TooSmall { needed } => {
                write!(f, "{}; {needed} bytes are needed", Code::BufferTooSmall)
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for CourierError<E> {
    /// Of what it is about: its own text says that already.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            CourierError::Invalid(error) => error.source(),
            CourierError::Outbox(error) => error.source(),
            CourierError::StaleTicket | CourierError::TooSmall { .. } => None,
        }
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What became of all reports so far.
    pub counters: Counters,
    /// How many wait.
    pub waiting: u64,
    /// How many of them stepped aside, since only they are answered badly, or cannot be made dead letters yet.
    pub aside: usize,
    /// The one in flight.
    pub in_flight: Option<Ticket>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether so many failed in a row that the network or service counts as down: one probe at a time goes out.
    pub circuit_open: bool,
    /// Nothing is sent before then.
    pub not_before: MonoTime,
    /// When something is sent next, as far as was known at the last call; `None` while something is in flight, or nothing waits.
    pub next_attempt: Option<MonoTime>,
    /// The correction of the wall clock in use.
    pub clock_offset_ms: i64,
    /// The verdict given last.
    pub last: Option<(Ticket, Verdict)>,
    /// Why something was not delivered, or could not be made a dead letter; the last of these since something was accepted.
    pub last_failure: Option<(Ticket, Reason)>,
}
