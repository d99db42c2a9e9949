//! What is wrong with a report that is typed: each member by its line of the contract. What is JSON, `check.rs` checks.

use super::contract::{
    self, after_jobs, exception_members, given, if_missing, job_members, report_members,
};
use super::encode_error::EncodeError;
use super::finding::Path;
use super::model::{Envelope, ErrorTime, Exceptions, Job, JobException, JobStatus};
use crate::code::{Code, Severity};

pub(super) fn valid_job(job: &Job<'_>, index: usize) -> Result<(), EncodeError> {
    let mut first = Ok(());
    check_job(job, index, &mut |code, path| {
        keep_error(&mut first, code, path)
    });
    first
}

pub(super) fn valid_envelope(envelope: Envelope<'_>) -> Result<(), EncodeError> {
    let mut first = Ok(());
    check_envelope(envelope, &mut |code, path| {
        keep_error(&mut first, code, path)
    });
    first
}

/// Keeps the first error, and no warning.
#[inline]
fn keep_error(first: &mut Result<(), EncodeError>, code: Code, path: Path<'static>) {
    if first.is_ok() && code.severity() == Severity::Error {
        *first = Err(EncodeError::invalid(code, path));
    }
}

/// Gives what is wrong with the members of an object, by their list, to `$found`.
macro_rules! check_members {
    (($found:ident, $path:ident, $object:ident = $from:expr) $($name:ident $need:ident $value:ident,)*) => {{
        let $object { $($name),* } = $from;
        $(
            let code: Option<Code> = match given!($need $name) {
                Some(value) => check_value!($value value),
                None => if_missing!($need),
            };
            if let Some(code) = code {
                $found(code, $path.member(stringify!($name)));
            }
        )*
    }};
}

/// What is wrong with a value of one of the contract's kinds.
macro_rules! check_value {
    (JobId $value:ident) => {
        contract::job_id(*$value)
    };
    (CreateTime $value:ident) => {
        contract::create_time(*$value)
    };
    (Status $value:ident) => {
        check_status(*$value)
    };
    (NonEmptyText $value:ident) => {
        $value.is_empty().then_some(Code::Empty)
    };
    (ErrorTime $value:ident) => {
        check_error_time(*$value)
    };
    (Text $value:ident) => {{
        let _ = $value;
        None
    }};
    // Its object form is checked on its own.
    (Exceptions $value:ident) => {{
        let _ = $value;
        None
    }};
}

/// Gives what is wrong with a job to `found`.
#[inline]
pub(super) fn check_job<F>(job: &Job<'_>, index: usize, found: &mut F)
where
    F: FnMut(Code, Path<'static>) + ?Sized,
{
    let path = Path::of_job(index);
    job_members!(check_members(found, path, Job = job));
    if let Some(Exceptions::Detail(detail)) = &job.exceptions {
        let path = path.exceptions();
        exception_members!(check_members(found, path, JobException = detail));
    }
}

fn check_status(status: JobStatus<'_>) -> Option<Code> {
    match status.name() {
        _ if status.is_known() => None,
        "" => Some(Code::Empty),
        _ => Some(Code::UnknownStatus),
    }
}

fn check_error_time(time: ErrorTime<'_>) -> Option<Code> {
    match time {
        ErrorTime::Text(text) => contract::error_time(text.as_bytes()),
        ErrorTime::At(time) => match time.to_error_time() {
            Some(_) => None,
            None => Some(Code::TimeOutOfRange),
        },
    }
}

#[inline]
pub(super) fn check_envelope<F>(envelope: Envelope<'_>, found: &mut F)
where
    F: FnMut(Code, Path<'static>) + ?Sized,
{
    let path = Path::REPORT;
    report_members!(after_jobs(check_members(found, path, Envelope = &envelope)));
}
