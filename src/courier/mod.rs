//! Delivery until accepted, without I/O: what to do next, when, and what became of it.
//!
//! A [`Courier`] keeps reports in an [`Outbox`] and is driven by pulling:
//!
//! 1. [`Courier::submit`] checks a report, encodes it once and stores it. Its [`Ticket`] is its name from then on.
//! 2. [`Courier::next`] says what to do: send these bytes, wait until then, or nothing. Asked again it says the same.
//! 3. [`Courier::settle`] is told what came back ([`Event`]), and says what became of the report ([`Verdict`]), with the reason.
//!
//! ```text
//!  submit ──► waiting ── next ──► in flight ── settle ─┬─ Delivered ─────────► gone
//!                ▲                                     ├─ Refused, Expired ───► dead letter
//!                └──── later: Again, Held ─────────────┘
//! ```
//!
//! It reads no clock, no random number and no socket: these are arguments. So a test replays years in a second, and whoever has no threads and no
//! heap drives it the same way as `Client::deliver` does. One report is in flight at a time.
//!
//! The parts: `engine` decides whose turn it is, and what a response to one report says of the others; `policy` has its table, a pure function over a [`Policy`]; [`RamOutbox`] and
//! [`LogOutbox`] keep the bytes, the latter over any [`Storage`]. An outbox of your own (a database, say) needs [`Outbox`] alone.
//!
//! ```
//! use core::time::Duration;
//!
//! use edge_report::courier::{Courier, Event, Policy, RamOutbox, Step, Verdict};
//! use edge_report::exchange::Outcome;
//! use edge_report::{Job, JobStatus, MonoTime, Report};
//!
//! let (now, entropy) = (MonoTime::from_ms(0), 4); // by your clock and your source of random numbers
//! let outbox = RamOutbox::new([0; 1024], 1024);
//! // Else the first attempt comes at random within 30 s: nodes that boot together do not begin at once.
//! let policy = Policy::default().with_start_spread(Duration::ZERO);
//! let mut courier = Courier::new(outbox, [0; 256], policy, now, entropy);
//! let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(7)];
//! let ticket = courier.submit(&Report::new("node-7-000001", &jobs), now, None)?;
//!
//! let Step::Send(outgoing) = courier.next(now)? else { panic!("it is time") };
//! assert_eq!(outgoing.ticket, ticket); // send outgoing.body …
//!
//! // … and nothing could be sent: it waits, and the next attempt is put off.
//! let verdict = courier.settle(ticket, Event::NOT_SENT, now, entropy)?;
//! let Verdict::Again { at, .. } = verdict else { panic!("it is tried again") };
//! assert!(matches!(courier.next(at)?, Step::Send(_)));
//! let verdict = courier.settle(ticket, Event::response(Outcome::Accepted, 200), at, entropy)?;
//! assert_eq!(verdict, Verdict::Delivered);
//! assert!(matches!(courier.next(at)?, Step::Idle));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

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

pub use engine::{Courier, CourierError, Outgoing, Status, Step};
#[cfg(feature = "std")]
pub use entropy::entropy;
pub use log::{Durability, LogOutbox, Storage, StorageLimits};
#[cfg(feature = "std")]
pub(crate) use outbox::forward_outbox;
pub use outbox::{
    Counters, DeadLetter, Disposition, Forget, JobKey, JobKeys, Outbox, OutboxError, Scratch,
    Ticket, Waiting, WhenLettersFull,
};
pub use policy::{Backlog, Policy, Verdict};
pub use ram::RamOutbox;
pub use reason::{Cause, Event, Reason};
