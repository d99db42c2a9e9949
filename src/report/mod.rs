//! What is said: the report, its checks, its canonical bytes.
//!
//! [`Report`] borrows everything and encodes without a heap; [`ReportWriter`] takes one job at a time;
//! [`check`] lists all that is wrong with bytes from anywhere.

mod canonical;
mod check;
mod contract;
mod encode;
mod finding;
mod flawless;
mod model;
#[cfg(feature = "serde")]
mod owned;
mod writer;

pub use canonical::canonical_into;
pub use check::check;
pub(crate) use check::first_error;
pub use contract::MAX_REPORT_BYTES;
#[cfg(test)]
pub(crate) use encode::Sealed;
pub use encode::{Encode, EncodeError, ReportOf};
pub use finding::{Finding, Path, Summary};
pub use model::{ErrorTime, Exceptions, Job, JobException, JobStatus, Report};
#[cfg(feature = "serde")]
pub use owned::{ExceptionsBuf, JobBuf, JobExceptionBuf, ReadError, ReportBuf};
pub use writer::ReportWriter;
