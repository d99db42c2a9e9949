//! Why a report was not encoded.

use core::fmt;

use super::finding::{Finding, Path};
use crate::code::Code;

/// Why a report was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It breaks the contract; this is the first error.
    Invalid(Finding<'static>),
    /// The buffer is too small; exactly `needed` bytes are enough.
    TooSmall {
        /// In bytes.
        needed: usize,
    },
}

impl EncodeError {
    pub(super) const fn invalid(code: Code, path: Path<'static>) -> Self {
        EncodeError::Invalid(Finding {
            code,
            path,
            offset: None,
        })
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            EncodeError::Invalid(finding) => finding.code,
            EncodeError::TooSmall { .. } => Code::BufferTooSmall,
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Invalid(finding) => finding.fmt(f),
            EncodeError::TooSmall { needed } => {
                write!(f, "{}; {needed} bytes are needed", Code::BufferTooSmall)
            }
        }
    }
}

impl core::error::Error for EncodeError {}
