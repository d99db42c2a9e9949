//! Delivery until accepted, without I/O: what to do next, when, and what became of it.
//!
//! A [`Courier`] keeps reports in an [`Outbox`] and is driven by pulling:
//!
//! 1. [`Courier::submit`] checks a report, encodes it once and stores it.
//! 2. [`Courier::next`] says what to do: send these bytes, wait, or nothing.
//! 3. [`Courier::settle`] is told what came back, and says what became of the report.
//!
//! It reads no clock, no random number and no socket: these are arguments.

mod aside;
mod engine;
#[cfg(feature = "std")]
mod entropy;
mod log;
mod newest;
mod outbox;
mod policy;
mod ram;
mod reason;

pub use engine::{Courier, CourierError, Parcel, Status, Step};
#[cfg(feature = "std")]
pub use entropy::entropy;
pub use log::{Durability, LogOutbox, Storage, StorageLimits};
#[cfg(feature = "std")]
pub(crate) use outbox::forward_outbox;
pub use outbox::{
    DeadLetter, Fate, Forget, JobKey, JobKeys, Ledger, Outbox, OutboxError, Scratch, Ticket,
    Waiting, WhenLettersFull,
};
pub use policy::{Attempt, Backlog, Policy, Verdict, decide};
pub use ram::RamOutbox;
pub use reason::{Cause, Event, MAX_ERROR_CODE, MAX_REASON_TEXT, Reason, ShortText};
