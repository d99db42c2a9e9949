//! How the program ends when it does not end well.

use std::fmt::Display;

/// The exit status, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) why: String,
}

/// Something failed: 1.
pub(crate) fn failed(why: impl Display) -> Failure {
    Failure {
        code: 1,
        why: why.to_string(),
    }
}

/// It is set or used wrongly, or the spool is in use: 2.
pub(crate) fn wrong(why: impl Display) -> Failure {
    Failure {
        code: 2,
        why: why.to_string(),
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        wrong(format!("{why}; see --help"))
    }
}
