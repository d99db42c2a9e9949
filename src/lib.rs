//! Tells a cloud service what the Flink jobs on an edge node are doing, by `POST /v1/{project_id}/edgesrv/job-report`: builds,
//! checks, signs and delivers reports, and loses none on the way.
//!
//! The core is `no_std`, has no `unsafe`, needs no heap, never panics and does no I/O: clock, random numbers and transport are yours.
//! Over it stand, with `std`, a blocking HTTP client and a queue on files.
//!
//! # With a transport of your own
//!
//! A report is encoded into a buffer, its request is signed, and the response is read. This needs no feature:
//!
//! ```
//! use edge_report::exchange::{Credentials, Endpoint, ReplyHeaders, Request, read_reply};
//! use edge_report::{Job, JobStatus, Report, WallTime};
//!
//! # /// What your HTTP stack does.
//! # fn send(request: &Request<'_>) -> (u16, &'static [u8]) {
//! #     assert_eq!((request.method(), request.headers().len()), ("POST", 5));
//! #     (200, br#"{"is_success":"true"}"#)
//! # }
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let now = WallTime::from_unix_ms(1_591_104_868_201); // by your clock
//! let jobs = [Job::new(JobStatus::RUNNING, now).with_job_id(99270)];
//! let mut buffer = [0; 1024];
//! let body = Report::new("node-7-000001", &jobs).encode(&mut buffer)?;
//!
//! let endpoint = Endpoint::new("https://gateway.example", "0a1b2c")?;
//! let credentials = Credentials::keys("AK", "SK");
//! let mut scratch = [0; 512];
//! let request = Request::new(&endpoint, &credentials, body, now, &mut scratch)?;
//!
//! let (status, body) = send(&request);
//! let reply = read_reply(status, ReplyHeaders::default(), body);
//! assert!(reply.is_accepted());
//! # Ok(())
//! # }
//! ```
//!
//! [`courier`] drives such a transport until the service has the report, over memory ([`courier::RamOutbox`]) or flash
//! ([`courier::LogOutbox`]).
//!
//! # With the client and a queue on files
//!
//! What is submitted survives a restart, a kill and a power cut, and is sent until the service has it (features `std` and `client`):
//!
#![cfg_attr(feature = "client", doc = "```no_run")]
#![cfg_attr(not(feature = "client"), doc = "```ignore")]
//! use std::time::{Duration, Instant};
//!
//! use edge_report::courier::Courier;
//! use edge_report::{Client, Credentials, Job, JobStatus, Report, Reporter, Spool, SpoolOptions, WallTime};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::builder("https://gateway.example", "0a1b2c")
//!         .credentials(Credentials::keys("AK", "SK"))
//!         .build()?;
//!     let spool = Spool::open("/var/spool/edge-report", SpoolOptions::default())?;
//!     let reporter = Reporter::start(client, Courier::over(spool), |event| eprintln!("{event}"))?;
//!
//!     let jobs = [Job::new(JobStatus::RUNNING, WallTime::now()).with_job_id(99270)];
//!     reporter.submit(&Report::new("node-7-000001", &jobs))?;
//!     let _ = reporter.flush(Instant::now() + Duration::from_secs(60))?;
//!     Ok(())
//! }
//! ```
//!
//! The client blocks. In async code, run it on a thread of its own (`spawn_blocking`), or use the core with the HTTP stack you have.
//!
//! # Which type do I need?
//!
//! | to … | use |
//! |---|---|
//! | say what jobs do | [`Report`] and [`Job`], borrowed; `ReportBuf`, owned, with serde |
//! | encode jobs one by one, or from structs of your own | [`ReportWriter`]; [`ReportOf`] |
//! | check a report that is JSON | [`check()`]; [`canonical_into`] for its canonical bytes |
//! | make, sign and read an exchange | [`exchange::Request`], [`exchange::sign`], [`exchange::read_reply`] |
//! | send once | `Client::send` |
//! | deliver until accepted | [`courier::Courier`] over `Spool` (files), [`courier::RamOutbox`] (memory) or [`courier::LogOutbox`] (flash) |
//! | have it delivered by a thread of its own | `Reporter` |
//! | drive a courier | `Client::deliver`, or [`courier::Courier::next`] and [`settle`](courier::Courier::settle) with a transport of your own |
//! | learn from a Flink cluster what to report | `flink::Watch`, and the readers beside it |
//! | know what went wrong | [`Code`]: one table of numbers for all errors and findings, the same in C and JavaScript |
//!
//! # Features
//!
//! | feature | adds | needs |
//! |---|---|---|
//! | none | all of `json`, reports, `exchange` and `courier`, on borrowed data and in your buffers | `core` |
//! | `flink` | readers of Flink's REST responses, and a watch over a cluster | `core` |
//! | `alloc` | growable buffers, credentials that own their secrets | `alloc` |
//! | `serde` (default) | `ReportBuf`: the owned report, read and written by serde | `alloc` |
//! | `std` (default) | the system's clock, `Spool` | `std` |
//! | `client` (default) | `Client` on ureq, with TLS by rustls and Mozilla's roots | `std` |
//! | `native-tls` | `Client` with the system's TLS and roots: instead of `client`, or beside it and chosen by `ClientBuilder::system_tls` | `std` |
//! | `log` | what becomes of reports, written to the `log` facade | `std` |
//! | `simd` | long strings escaped by AVX2 or AVX-512 where the machine has them, in a crate with `unsafe` | `std`, x86-64 |
//!
//! Features only add. Without the default ones: `edge-report = { version = "0.1", default-features = false }`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(all(
    feature = "_http",
    not(any(feature = "client", feature = "native-tls"))
))]
compile_error!("the feature `_http` is not for use alone: enable `client` or `native-tls`");

mod code;
pub mod courier;
mod divide;
pub mod exchange;
#[cfg(feature = "flink")]
pub mod flink;
#[cfg(feature = "std")]
mod host;
pub mod json;
mod report;
mod small;
mod split;
mod time;

pub use code::{Code, Severity};
#[doc(no_inline)]
pub use exchange::{Credentials, Outcome, Reply};
#[cfg(feature = "_http")]
pub use host::{
    Access, BuildError, Client, ClientBuilder, DeliveryEvent, NotSentKind, Pause, Reporter,
    SendError, TlsSettings, Waker,
};
#[cfg(feature = "std")]
pub use host::{FairGuard, FairMutex, Spool, SpoolError, SpoolIoError, SpoolOptions};
pub use report::{
    Encode, EncodeError, ErrorTime, Exceptions, Finding, Job, JobException, JobStatus,
    MAX_REPORT_BYTES, Path, Report, ReportOf, ReportWriter, Summary, canonical_into, check,
};
#[cfg(feature = "serde")]
pub use report::{ExceptionsBuf, JobBuf, JobExceptionBuf, ReadError, ReportBuf};
pub use time::{MonoTime, Stamp, WallTime};

/// Compiles and runs the Rust of the README and of the pages that follow it.
#[cfg(all(doctest, feature = "client"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/rust.md")]
    struct Rust;
    #[doc = include_str!("../docs/bare-metal.md")]
    struct BareMetal;
    #[cfg(feature = "flink")]
    #[doc = include_str!("../docs/flink.md")]
    struct Flink;
}
