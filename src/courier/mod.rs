//! Delivery until accepted, without I/O: what to do next, when, and what became of it.
//!
//! A [`Courier`] keeps reports in an [`Outbox`] and is driven by pulling:
//!
//! 1. [`Courier::submit`] checks a report, encodes it once and stores it.
//! 2. [`Courier::next`] says what to do: send these bytes, wait, or nothing.
//! 3. [`Courier::settle`] is told what came back, and says what became of the report.
//!
//! It reads no clock, no random number and no socket: these are arguments.

mod engine;
mod log;
mod newest;
mod outbox;
mod policy;
mod ram;

pub use engine::{Courier, CourierError, Letter, Parcel, Scratch, Status, Step};
pub use log::{Durability, LogError, LogOutbox, Storage};
pub use outbox::{DeadLetter, Fate, Front, JobKey, JobKeys, Ledger, Outbox, Ticket};
pub use policy::{Attempt, Event, Policy, Reason, Verdict, decide};
pub use ram::RamOutbox;
