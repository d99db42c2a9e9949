//! Why a request is not made or signed.

use core::fmt;

use crate::code::Code;

/// Why a request was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Something given cannot be used.
    Unusable(Code),
    /// The buffer is too small; exactly `needed` bytes are enough.
    TooSmall {
        /// In bytes.
        needed: usize,
    },
}

impl RequestError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            RequestError::Unusable(code) => *code,
            RequestError::TooSmall { .. } => Code::BufferTooSmall,
        }
    }
}

impl From<Code> for RequestError {
    fn from(code: Code) -> Self {
        RequestError::Unusable(code)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Unusable(code) => code.fmt(f),
            RequestError::TooSmall { needed } => {
                write!(f, "{}; {needed} bytes are needed", Code::BufferTooSmall)
            }
        }
    }
}

impl core::error::Error for RequestError {}
