//! What goes in and out of a courier: memory, steps, letters, errors, and how things stand.

use core::fmt;

use crate::code::Code;
use crate::report::EncodeError;
use crate::time::MonoTime;

use super::super::outbox::{Ledger, OutboxError, Ticket};
use super::super::policy::Verdict;
use super::super::reason::Reason;

/// Memory for one report at a time. Arrays and slices have a fixed size; a `Vec` grows (feature `alloc`).
pub trait Scratch {
    /// At least `len` bytes; `None` if that is not to be had.
    fn room(&mut self, len: usize) -> Option<&mut [u8]>;

    /// The most that is ever to be had, as far as that is known.
    fn limit(&self) -> usize {
        usize::MAX
    }
}

impl<const N: usize> Scratch for [u8; N] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= N).then_some(self)
    }

    fn limit(&self) -> usize {
        N
    }
}

impl Scratch for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= self.len()).then_some(self)
    }

    fn limit(&self) -> usize {
        self.len()
    }
}

#[cfg(feature = "alloc")]
impl Scratch for alloc::vec::Vec<u8> {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.len() < len {
            self.try_reserve(len.saturating_sub(self.len())).ok()?;
            self.resize(len, 0);
        }
        Some(self)
    }
}

/// A report to send now.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'c> {
    /// Its name, for [`Courier::settle`](super::Courier::settle).
    pub ticket: Ticket,
    /// Its bytes: the same at every attempt.
    pub body: &'c [u8],
    /// What to add to the wall clock before signing.
    pub clock_offset_ms: i64,
}

/// A report that will not be sent: it was refused or given up.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'c> {
    /// Its name.
    pub ticket: Ticket,
    /// Why.
    pub reason: Reason,
    /// Its bytes.
    pub body: &'c [u8],
}

/// What to do next.
#[derive(Clone, Copy, Debug)]
pub enum Step<'c> {
    /// Send this, then call [`Courier::settle`](super::Courier::settle).
    Send(Parcel<'c>),
    /// Nothing before this many milliseconds have passed, or something is submitted.
    Wait(u64),
    /// Nothing waits.
    Idle,
}

/// Why a call failed; nothing is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl<E: fmt::Display + fmt::Debug> core::error::Error for CourierError<E> {}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What became of all reports so far.
    pub ledger: Ledger,
    /// How many wait.
    pub waiting: u64,
    /// How many of them stepped aside, since only they are answered badly, or cannot be made dead letters yet.
    pub parked: usize,
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
