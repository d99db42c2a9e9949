//! Tells a cloud service what the Flink jobs on an edge node are doing: builds, checks, signs and sends reports for
//! `POST /v1/{project_id}/edgesrv/job-report`.
//!
//! - [`Report`], [`ReportWriter`] and [`check()`]: what is said, checked and encoded without a heap. `ReportBuf` is the
//!   owned form, with serde.
//! - [`exchange`]: one HTTP exchange without I/O: endpoint, signed request, and what the answer means.
//! - [`courier`]: delivery until accepted, without I/O: a queue that survives restarts, back-off, dead letters.
//! - `Client` sends over a blocking HTTP client and drives a courier; `Spool` keeps what waits on files.
//! - [`json`]: the JSON bytes under it.
//!
//! | feature | adds | needs |
//! |---|---|---|
//! | none | all of `json`, `report`, `exchange` and `courier` on borrowed data and caller's buffers | `core` |
//! | `alloc` | growable buffers, `ReportBuf`, serde | `alloc` |
//! | `std` (default) | the system's clock, `Spool` | `std` |
//! | `client` (default) | `Client` with rustls | `std` |
//! | `native-tls` | `Client` with the system's TLS | `std` |
//! | `log` | what becomes of reports, told to the `log` facade | `std` |
//! | `simd` | long strings escaped by AVX2 or AVX-512, in a crate of its own | `std` |
//!
//! The core is `no_std`, has no unsafe code, allocates nothing and never panics.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod code;
pub mod courier;
mod divide;
pub mod exchange;
#[cfg(feature = "std")]
mod host;
pub mod json;
pub mod report;
mod small;
mod split;
mod time;

pub use code::{Code, Severity};
pub use exchange::{Credentials, Outcome, Reply};
#[cfg(feature = "http")]
pub use host::{
    Access, BuildError, Client, ClientBuilder, DeliveryEvent, NotSentKind, Pause, Reporter,
    SendError, TlsSettings, Waker,
};
#[cfg(feature = "std")]
pub use host::{FairGuard, FairMutex, Spool, SpoolError, SpoolIoError, SpoolOptions};
pub use report::*;
pub use time::{MonoTime, Stamp, WallTime};

/// Compiles and runs the code blocks of the README.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
