//! What touches sockets, files and clocks. Needs `std`. The core decides; what is here gives it time, bytes and a disk.
//!
//! | to … | files |
//! |---|---|
//! | send: one [`Client`], one connection | `client`, `builder`, `send_error`; below it `connection`, `socket`, `resolver`, `tls…`, `progress` |
//! | drive a courier with it | `deliver` |
//! | do so by a thread of its own | `reporter`, `fair` |
//! | keep reports on files | `spool`, `files`, `directory`; one process at a time by `lock`, `owner` |
//! | be woken or ended by another thread | `waker` |
//!
//! One rule for all that waits: nothing polls. A socket waits by `poll` with a descriptor that a [`Waker`] writes to, so that timeouts are exact, a cancelled call ends at
//! once, and an idle process uses no CPU. Only looking a name up cannot be waited for like that, since the system's call blocks: that has a thread of its own (`resolver`).
//!
//! Another for all that fails: a call says *not sent* only if no byte of the report can have arrived, in any attempt of that call.
//!
#![cfg_attr(feature = "_http", doc = "```")]
#![cfg_attr(not(feature = "_http"), doc = "```ignore")]
//! use std::time::{Duration, Instant};
//!
//! use edge_report::courier::{Courier, RamOutbox};
//! use edge_report::{Client, DeliveryEvent, Job, JobStatus, Pause, Report, Reporter};
//!
//! let client = Client::builder("http://127.0.0.1:9", "0a1b2c").build()?;
//! let outbox = RamOutbox::new(Vec::new(), 1 << 20); // or Spool::open(…)?
//! let reporter = Reporter::start(client, Courier::over(outbox), |event| match event {
//!     DeliveryEvent::Delivered { ticket, .. } => println!("{ticket} is there"),
//!     other => eprintln!("{other}"),
//! })?;
//! let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
//! reporter.submit(&Report::new("node-7-000001", &jobs))?;
//!
//! // Nobody listens there, so it waits; a spool would have it still after the next start.
//! let pause = reporter.flush(Instant::now() + Duration::from_millis(10))?;
//! assert_eq!(pause, Pause::TimeUp);
//! assert_eq!(reporter.status().waiting, 1);
//! reporter.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "_http")]
mod buffers;
#[cfg(feature = "_http")]
mod builder;
#[cfg(feature = "_http")]
mod client;
#[cfg(feature = "_http")]
mod connection;
#[cfg(feature = "_http")]
mod deliver;
mod directory;
mod fair;
mod files;
mod lock;
#[cfg(feature = "_http")]
mod lookup;
#[cfg(unix)]
mod owner;
#[cfg(feature = "_http")]
mod progress;
#[cfg(feature = "_http")]
mod reporter;
#[cfg(feature = "_http")]
mod resolver;
#[cfg(feature = "_http")]
mod send_error;
#[cfg(feature = "_http")]
mod socket;
mod spool;
mod spool_error;
#[cfg(feature = "_http")]
mod tls;
#[cfg(feature = "client")]
mod tls_rustls;
#[cfg(feature = "native-tls")]
mod tls_system;
#[cfg(feature = "_http")]
mod waker;

#[cfg(feature = "_http")]
pub use builder::ClientBuilder;
#[cfg(feature = "_http")]
pub use client::Client;
#[cfg(feature = "_http")]
pub use deliver::{Access, DeliveryEvent, Pause};
pub use fair::{FairGuard, FairMutex};
#[cfg(feature = "_http")]
pub use reporter::Reporter;
#[cfg(feature = "_http")]
pub use send_error::{BuildError, NotSentKind, SendError};
pub use spool::{Spool, SpoolOptions};
pub use spool_error::{SpoolError, SpoolIoError};
#[cfg(feature = "_http")]
pub use tls::TlsSettings;
#[cfg(feature = "_http")]
pub use waker::Waker;
