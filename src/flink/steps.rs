//! What goes in and out of a watch: steps, and why a response was of no use.

use core::fmt;

use super::draft::Draft;
use super::read::ReadError;
use crate::code::Code;
use crate::time::MonoTime;

/// What to do next.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Step<'w> {
    /// Ask Flink for this path, then call [`Watch::response`](super::Watch::response) or [`Watch::failed`](super::Watch::failed).
    Get(&'w str),
    /// Store this report, then call [`Watch::reported`](super::Watch::reported).
    Report(Draft<'w>),
    /// Nothing before then.
    Wait(MonoTime),
}

/// Why a response was of no use. The watch goes on; this is for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// The status is none of 200 to 299. [`Failure::read_errors`](super::Failure::read_errors) reads what Flink says in such a body.
    Status(u16),
    /// The body is not what was asked for.
    Body(ReadError),
    /// It is about another job, or another run of it.
    OtherJob,
    /// Nothing was asked.
    NotAsked,
}

impl ResponseError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            ResponseError::Status(_) => Code::FlinkStatus,
            ResponseError::Body(error) => error.code(),
            ResponseError::OtherJob => Code::FlinkOtherJob,
            ResponseError::NotAsked => Code::FlinkNotAsked,
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::Status(status) => write!(f, "{}: {status}", self.code()),
            ResponseError::Body(error) => error.fmt(f),
            ResponseError::OtherJob | ResponseError::NotAsked => self.code().fmt(f),
        }
    }
}

impl core::error::Error for ResponseError {}

impl From<ReadError> for ResponseError {
    fn from(error: ReadError) -> Self {
        ResponseError::Body(error)
    }
}
