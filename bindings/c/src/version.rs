//! Which version this is, and the names of numbers.

use core::ffi::{CStr, c_char};

use edge_report::{Code, Outcome};

use crate::reply::edge_report_outcome;
use crate::types::{OK, edge_report_result};

/// The version of the library in use, as `EDGE_REPORT_VERSION` is that of this header. Static, ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The name of an outcome, such as `try_again`; `unknown` for a number that is none. Static, ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_outcome_name(outcome: edge_report_outcome) -> *const c_char {
    let name = match outcome_from(outcome) {
        Some(Outcome::Accepted) => c"accepted",
        Some(Outcome::Refused) => c"refused",
        Some(Outcome::NotUnderstood) => c"not_understood",
        Some(Outcome::TryAgain) => c"try_again",
        Some(Outcome::Credentials) => c"credentials",
        Some(Outcome::Misconfigured) => c"misconfigured",
        _ => c"unknown",
    };
    // A new one needs its line above.
    const _: () = assert!(Outcome::ALL.len() == 6);
    name.as_ptr()
}

/// The name of a result, such as `BufferTooSmall`; `Ok` for 0 and `Unknown` for a number that is none. Static, ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_result_name(result: edge_report_result) -> *const c_char {
    let name = match (result, code_from(result)) {
        (OK, _) => c"Ok",
        (_, Some(code)) => code.c_name(),
        (_, None) => c"Unknown",
    };
    name.as_ptr()
}

/// A result in one line for people. Static, ends with NUL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_result_text(result: edge_report_result) -> *const c_char {
    let text = match (result, code_from(result)) {
        (OK, _) => c"success",
        (_, Some(code)) => code.c_text(),
        (_, None) => c"a number that this version does not know",
    };
    text.as_ptr()
}

pub(crate) fn code_from(result: edge_report_result) -> Option<Code> {
    u16::try_from(result).ok().and_then(Code::from_number)
}

pub(crate) fn outcome_from(number: edge_report_outcome) -> Option<Outcome> {
    let is = |outcome: &Outcome| u32::from(outcome.number()) == number;
    Outcome::ALL.iter().copied().find(is)
}
