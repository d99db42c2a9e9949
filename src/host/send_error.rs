//! Why there is no response, and why a client cannot be made.

use std::boxed::Box;
use std::fmt;
use std::format;
use std::io;
use std::string::String;

use crate::code::Code;
use crate::exchange::{EndpointError, write_visible};
use crate::report::EncodeError;

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The report breaks the contract; nothing was sent.
    Invalid(EncodeError),
    /// No byte of the report left this machine, in no attempt of this call. Try again later.
    NotSent {
        /// How far it got.
        kind: NotSentKind,
        /// Human-readable detail.
        detail: String,
    },
    /// The report went out, wholly or in part, and no whole response came back. Send it again with the same `message_id`.
    MayHaveArrived {
        /// Human-readable detail.
        detail: String,
    },
    /// It will not work before somebody changes a setting, here or on the server. Keep the report.
    Misconfigured {
        /// What is wrong.
        code: Code,
        /// Human-readable detail.
        detail: String,
    },
}

/// What a call was at that sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotSentKind {
    /// The name service gave no address.
    Dns,
    /// Nobody took the connection, or the proxy did not make one.
    Connect,
    /// The connection broke within the TLS handshake. What would fail again the same way is [`SendError::Misconfigured`].
    Tls,
    /// The connection broke before it took a byte of the report.
    Closed,
    /// One of the client's timeouts ended it.
    Timeout,
    /// [`Waker::cancel`](super::Waker::cancel) ended it.
    Cancelled,
}

impl SendError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            SendError::Invalid(error) => error.code(),
            SendError::NotSent { .. } => Code::NotSent,
            SendError::MayHaveArrived { .. } => Code::MayHaveArrived,
            SendError::Misconfigured { code, .. } => *code,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            SendError::Invalid(error) => return error.fmt(f),
            SendError::NotSent { detail, .. }
            | SendError::MayHaveArrived { detail }
            | SendError::Misconfigured { detail, .. } => detail,
        };
        write_with_detail(f, self.code(), detail)
    }
}

impl core::error::Error for SendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // Whose text is this one's.
            SendError::Invalid(error) => error.source(),
            _ => None,
        }
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        SendError::Invalid(error)
    }
}

fn write_with_detail(f: &mut fmt::Formatter<'_>, code: Code, detail: &str) -> fmt::Result {
    match detail {
        "" => write!(f, "{code}"),
        detail => {
            write!(f, "{code}: ")?;
            // What others chose, such as the names in a certificate.
            detail.chars().try_for_each(|c| write_visible(c, f))
        }
    }
}

/// Why a client cannot be made as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildError {
    /// What is wrong.
    pub code: Code,
    /// Human-readable detail; may be empty.
    pub detail: String,
}

impl BuildError {
    pub(super) fn new(code: Code, detail: String) -> Self {
        BuildError { code, detail }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_detail(f, self.code, &self.detail)
    }
}

impl core::error::Error for BuildError {}

impl From<Code> for BuildError {
    fn from(code: Code) -> Self {
        BuildError::new(code, String::new())
    }
}

impl From<EndpointError> for BuildError {
    fn from(error: EndpointError) -> Self {
        let what = if error.code() == Code::ProjectId {
            "project id"
        } else {
            "base URL"
        };
        BuildError::new(
            error.code(),
            format!("byte {} of the {what}", error.offset()),
        )
    }
}

/// A setting that turns out wrong only when a connection is made.
#[derive(Debug)]
struct Unusable {
    code: Code,
    detail: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_detail(f, self.code, &self.detail)
    }
}

impl core::error::Error for Unusable {}

pub(super) fn unusable(code: Code, detail: String) -> ureq::Error {
    ureq::Error::Other(Box::new(Unusable { code, detail }))
}

/// What [`unusable`] was told, also when the error went through an I/O error on its way.
pub(super) fn is_unusable(error: &ureq::Error) -> Option<(Code, &str)> {
    let inner = match error {
        ureq::Error::Other(inner) => inner.downcast_ref::<Unusable>(),
        ureq::Error::Io(error) => inner_of(error).and_then(is_unusable_inside),
        _ => None,
    }?;
    Some((inner.code, &inner.detail))
}

fn inner_of(error: &io::Error) -> Option<&ureq::Error> {
    error.get_ref()?.downcast_ref::<ureq::Error>()
}

fn is_unusable_inside(error: &ureq::Error) -> Option<&Unusable> {
    match error {
        ureq::Error::Other(inner) => inner.downcast_ref::<Unusable>(),
        _ => None,
    }
}
