//! What went wrong, as plain data.

use core::ffi::c_char;

use edge_report::courier::{CourierError, OutboxError};
use edge_report::exchange::{EndpointError, RequestError};
use edge_report::{Code, EncodeError, Finding, Path};

use crate::sized::Answer;
use crate::storage::Device;
use crate::types::{EDGE_REPORT_NONE, edge_report_result};

/// Room for a path with its NUL. Longer ones (of unknown keys) are cut.
pub const EDGE_REPORT_PATH_SIZE: usize = 72;
/// Room for a detail with its NUL. Longer ones are cut.
#[cfg(feature = "full")]
pub const EDGE_REPORT_DETAIL_SIZE: usize = 256;
/// Room for a detail with its NUL. Longer ones are cut.
#[cfg(not(feature = "full"))]
pub const EDGE_REPORT_DETAIL_SIZE: usize = 44;

/// What went wrong, where, and why: plain data, to be copied at will. No secret is in it.
///
/// Functions take a pointer to one as their last parameter. It may be NULL; it is written only when the function fails.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_error {
    /// Its size: begin with `EDGE_REPORT_ERROR_INIT`.
    pub struct_size: usize,
    /// The same as the function's result.
    pub code: edge_report_result,
    /// For `EDGE_REPORT_E_STORAGE`: the error number of the operating system, or of the storage's callback. Else 0.
    pub device_error: i32,
    /// For `EDGE_REPORT_E_BUFFER_TOO_SMALL`: how many bytes are enough. Else 0.
    pub needed: usize,
    /// Byte offset into the text that is wrong: the one that was checked, or that `path` names. Else `EDGE_REPORT_NONE`.
    pub offset: usize,
    /// Where in the report (`jobs[3].create_time`), or which parameter or member. Ends with NUL; may be empty.
    pub path: [c_char; EDGE_REPORT_PATH_SIZE],
    /// Human-readable detail. Ends with NUL; may be empty, and the bare build writes none.
    pub detail: [c_char; EDGE_REPORT_DETAIL_SIZE],
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// The place of a failure.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// In a report.
    Path(Path<'static>),
    /// A parameter or member.
    Name(&'static str),
    /// A parameter, and which member of it.
    Member(&'static str, &'static str),
}

/// Why a function fails.
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) place: Place,
    pub(crate) needed: usize,
    pub(crate) offset: usize,
    pub(crate) device_error: i32,
    #[cfg(feature = "full")]
    pub(crate) detail: std::string::String,
}

impl Failure {
    pub(crate) const fn new(code: Code) -> Self {
        Failure {
            code,
            place: Place::Name(""),
            needed: 0,
            offset: EDGE_REPORT_NONE,
            device_error: 0,
            #[cfg(feature = "full")]
            detail: std::string::String::new(),
        }
    }

    pub(crate) fn at(code: Code, place: impl Into<Place>) -> Self {
        Failure {
            place: place.into(),
            ..Failure::new(code)
        }
    }

    /// With human-readable detail; the bare build has none.
    #[cfg(feature = "full")]
    pub(crate) fn with_detail(mut self, detail: &str) -> Self {
        self.detail = detail.into();
        self
    }

    #[cfg(not(feature = "full"))]
    pub(crate) const fn with_detail(self, _: &str) -> Self {
        self
    }

    pub(crate) const fn too_small(needed: usize) -> Self {
        let mut failure = Failure::new(Code::BufferTooSmall);
        failure.needed = needed;
        failure
    }
}

impl Failure {
    /// Writes it where the caller wants it: what is made there takes no stack.
    ///
    /// # Safety
    /// `error` is a place for one.
    pub(crate) unsafe fn write(&self, error: *mut edge_report_error) {
        // SAFETY: the caller has a place for one there, whatever size it says.
        unsafe {
            let size = (*error).struct_size;
            Answer::or_first(error).fill(|error| self.fill(error));
            (*error).struct_size = size;
        }
    }

    fn fill(&self, error: &mut edge_report_error) {
        error.code = crate::guard::number(self.code);
        error.device_error = self.device_error;
        error.needed = self.needed;
        error.offset = self.offset;
        match self.place {
            Place::Path(path) => write_path(&path, &mut error.path),
            Place::Name(name) => write_text(name, &mut error.path),
            Place::Member(name, member) => {
                let mut cut = Cut::over(&mut error.path);
                for part in [name, ".", member] {
                    cut.put(part);
                }
            }
        }
        #[cfg(feature = "full")]
        write_text(&self.detail, &mut error.detail);
    }
}

/// Writes as much of a text as there is room for. The slice is zeros, and its last byte stays zero.
#[inline(never)] // once, not for each text
pub(crate) fn write_text(text: &str, to: &mut [c_char]) {
    Cut::over(to).put(text);
}

pub(crate) fn write_path(path: &Path<'_>, to: &mut [c_char]) {
    let mut cut = Cut::over(to);
    let _ = path.parts(|part| {
        cut.put(part);
        Ok::<(), ()>(())
    });
}

/// Writes as much text as there is room for, in whole characters; what comes after a cut is dropped. The slice is zeros, and its
/// last byte stays zero.
struct Cut<'b>(Option<&'b mut [c_char]>);

impl<'b> Cut<'b> {
    fn over(to: &'b mut [c_char]) -> Self {
        Cut(Some(to))
    }

    fn put(&mut self, text: &str) {
        let Some(to) = self.0.take() else { return };
        let room = to.len().saturating_sub(1);
        let mut len = text.len().min(room);
        while !text.is_char_boundary(len) {
            len = len.saturating_sub(1);
        }
        let bytes = text.bytes().take(len);
        to.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from as c_char);
        if len == text.len() {
            self.0 = to.get_mut(len..);
        }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Failure::new(code)
    }
}

impl From<Finding<'static>> for Failure {
    fn from(finding: Finding<'static>) -> Self {
        let mut failure = Failure::at(finding.code, finding.path);
        failure.offset = finding.offset.unwrap_or(EDGE_REPORT_NONE);
        failure
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Invalid(finding) => finding.into(),
            EncodeError::TooSmall { needed } => Failure::too_small(needed),
            error => error.code().into(),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TooSmall { needed } => Failure::too_small(needed),
            error => Failure::at(error.code(), credential(error.code())),
        }
    }
}

/// Which of the credentials such a code is about, if any.
pub(crate) const fn credential(code: Code) -> Place {
    let member = match code {
        Code::AccessKey => "access_key",
        Code::SecretKey => "secret_key",
        Code::Token => "token",
        _ => return Place::Name(""),
    };
    Place::Member("credentials", member)
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        let name = match error.code() {
            Code::ProjectId => "project_id",
            _ => "base_url",
        };
        let mut failure = Failure::at(error.code(), name);
        failure.offset = error.offset();
        failure
    }
}

impl<E: Device> From<OutboxError<E>> for Failure {
    fn from(error: OutboxError<E>) -> Self {
        let mut failure = Failure::new(error.code());
        if let OutboxError::Device(device) = &error {
            failure.device_error = device.number();
            #[cfg(feature = "full")]
            {
                failure.detail = std::string::ToString::to_string(device);
            }
        }
        failure
    }
}

impl<E: Device> From<CourierError<E>> for Failure {
    fn from(error: CourierError<E>) -> Self {
        match error {
            CourierError::Invalid(error) => error.into(),
            CourierError::Outbox(error) => error.into(),
            CourierError::TooSmall { needed } => Failure::too_small(needed),
            CourierError::StaleTicket => Failure::at(Code::StaleTicket, "ticket"),
            other => Failure::new(other.code()),
        }
    }
}
