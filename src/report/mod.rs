//! What is said: the report, its checks, its canonical bytes.
//!
//! The contract is written down once, in `contract`: which members there are, in which order, and what each may be. All that reads or writes a report follows it:
//!
//! | | from | to |
//! |---|---|---|
//! | [`Report`], [`ReportOf`], [`ReportWriter`], `ReportBuf` | your values | canonical bytes, by [`Encode`] |
//! | [`check()`] | bytes from anywhere | every [`Finding`], with path, offset and code |
//! | [`canonical_into`] | bytes from anywhere | canonical bytes, or the first error |
//!
//! *Canonical* means: one report has one form of bytes. Members stand in the contract's order, without spaces, strings and numbers in their shortest form. So reports can
//! be compared and signed as bytes, whoever wrote them.
//!
//! A finding is an error (the service will not take this) or a warning (legal, but odd: seconds in place of milliseconds, a status that nobody knows). Encoding stops at
//! the first error and tells no warnings. `fast_path` recognises a valid report in this library's own form, at the speed of memory; anything else takes the scanner.
//!
//! ```
//! use edge_report::{Code, Job, JobStatus, Report, canonical_into, check, json::SliceSink};
//!
//! let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(7)];
//! let report = Report::new("node-7-000001", &jobs).with_topic("t");
//! let mut buffer = [0; 256];
//! let bytes = report.encode(&mut buffer)?;
//! assert_eq!(bytes.len(), report.encoded_len());
//!
//! // The same from another hand: other order, spaces, an escape, and seconds.
//! let text = br#"{"message_id": "node-7-00000\u0031", "msg_confirm_topic": "t",
//!   "jobs": [{"status": "job_running", "create_time": 1591104868, "job_id": 7}]}"#;
//! let mut codes = [None; 4];
//! let summary = check(text, |finding| {
//!     let free = codes.iter_mut().find(|code| code.is_none());
//!     free.expect("it has one finding").replace(finding.code);
//! });
//! assert!(summary.is_valid());
//! assert_eq!(codes, [Some(Code::LooksLikeSeconds), None, None, None]);
//!
//! let mut other = [0; 256];
//! let mut sink = SliceSink::new(&mut other);
//! canonical_into(text, &mut sink)?;
//! assert!(sink.written().starts_with(br#"{"jobs":[{"job_id":7,"status":"job_running","create_time":1591104868}]"#));
//! # Ok::<(), edge_report::EncodeError>(())
//! ```

mod canonical;
mod check;
mod contract;
mod encode;
mod encode_error;
mod fast_path;
mod finding;
mod keys;
mod model;
mod nearest;
#[cfg(feature = "serde")]
mod owned;
mod validate;
mod writer;

pub use canonical::canonical_into;
pub use check::check;
pub(crate) use check::first_error;
pub use contract::MAX_REPORT_BYTES;
#[cfg(test)]
pub(crate) use encode::Sealed;
pub use encode::{Encode, ReportOf};
pub use encode_error::EncodeError;
pub use finding::{Finding, Path, Summary};
pub(crate) use keys::{TakeJob, read_job_keys};
pub use model::{ErrorTime, Exceptions, Job, JobException, JobStatus, Report};
#[cfg(feature = "serde")]
pub use owned::{ExceptionsBuf, JobBuf, JobExceptionBuf, ReadError, ReportBuf};
pub use writer::ReportWriter;
