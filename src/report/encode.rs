//! The canonical bytes: compact, members in the order of the contract, absent ones left out.

use core::borrow::Borrow;
use core::fmt;

use super::contract::{self, HEAD, MAX_REPORT_BYTES};
use super::finding::{Finding, Path, Summary};
use super::model::{ErrorTime, Exceptions, Job, JobException, JobStatus, Report};
use crate::code::{Code, Severity};
use crate::json::{Counter, Full, IS_ROOMY, Sink, SliceSink, with_sink};
use crate::time::WallTime;

/// Why a report was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What can be encoded as a report.
pub trait Encode {
    /// Checks the report and appends its canonical bytes to `sink`, which after an error holds what it held before.
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError>;

    /// How many bytes the canonical form has.
    fn encoded_len(&self) -> usize;
}

/// A report whose jobs come from an iterator: from structs of another language or of your own, without a list of [`Job`]s.
///
/// ```
/// use edge_report::{Encode, Job, JobStatus, ReportOf};
///
/// let running = [99270, 99271];
/// let jobs = running.iter().map(|id| Job::new(JobStatus::Running, 1_591_104_868_201).with_job_id(*id));
/// let report = ReportOf { jobs, msg_confirm_topic: None, message_id: "5f0c…-1" };
/// let mut bytes = Vec::new();
/// report.encode_into(&mut bytes)?;
/// assert_eq!(bytes.len(), report.encoded_len());
/// # Ok::<(), edge_report::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReportOf<'a, I> {
    /// See [`Report::jobs`]. Run through more than once.
    pub jobs: I,
    /// See [`Report::msg_confirm_topic`].
    pub msg_confirm_topic: Option<&'a str>,
    /// See [`Report::message_id`].
    pub message_id: &'a str,
}

impl<'a, I: Iterator<Item = Job<'a>> + Clone> Encode for ReportOf<'_, I> {
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        let jobs = self.jobs.clone();
        encode_parts(jobs, self.msg_confirm_topic, self.message_id, sink)
    }

    fn encoded_len(&self) -> usize {
        let jobs = self.jobs.clone();
        len_of_parts(jobs, self.msg_confirm_topic, self.message_id)
    }
}

impl Encode for Report<'_> {
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        Report::encode_into(self, sink)
    }

    fn encoded_len(&self) -> usize {
        Report::encoded_len(self)
    }
}

impl<'a> Report<'a> {
    /// Checks the report and writes its canonical bytes to the front of `buffer`.
    ///
    /// A buffer of exactly [`encoded_len`](Self::encoded_len) bytes is enough; with a smaller one the error says that length.
    /// What stands behind the report in `buffer` means nothing, nor does any of it after an error.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut sink = SliceSink::new(buffer);
        self.encode_into(&mut sink)?;
        Ok(sink.into_written())
    }

    /// Checks the report and appends its canonical bytes to `sink`, which after an error holds what it held before.
    pub fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        let jobs = self.jobs.iter();
        encode_parts(jobs, self.msg_confirm_topic, self.message_id, sink)
    }

    /// Checks the report and gives its canonical bytes.
    #[cfg(feature = "alloc")]
    pub fn encode_to_vec(&self) -> Result<alloc::vec::Vec<u8>, EncodeError> {
        let mut bytes = alloc::vec![0; self.encoded_len()];
        self.encode(&mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        let jobs = self.jobs.iter();
        len_of_parts(jobs, self.msg_confirm_topic, self.message_id)
    }

    /// Gives each error and warning to `emit`, like [`check`](crate::check) does for bytes.
    pub fn check(&self, mut emit: impl FnMut(Finding<'static>)) -> Summary {
        let mut summary = Summary::default();
        let mut found = |code: Code, path: Path<'static>| {
            summary.count(code.severity());
            emit(Finding {
                code,
                path,
                offset: None,
            });
        };
        if self.jobs.is_empty() {
            found(Code::Empty, Path::REPORT.member("jobs"));
        }
        for (index, job) in self.jobs.iter().enumerate() {
            check_job(job, index, &mut found);
        }
        check_envelope(self.msg_confirm_topic, self.message_id, &mut found);
        if self.encoded_len() > MAX_REPORT_BYTES {
            found(Code::TooLarge, Path::REPORT);
        }
        summary
    }
}

/// Encodes a report whose jobs come one by one; a failed one leaves `sink` as it was.
fn encode_parts<'a, S: Sink + ?Sized>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>> + Clone,
    topic: Option<&str>,
    message_id: &str,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let start = sink.len();
    let mut result = with_sink!(write_checked(jobs.clone(), topic, message_id; &mut *sink));
    if let Err(EncodeError::TooSmall { .. }) = result {
        // What comes behind may be invalid, which no larger buffer would help.
        let mut counter = Counter::default();
        result = with_sink!(write_checked(jobs, topic, message_id; &mut counter)).and(Err(
            EncodeError::TooSmall {
                needed: counter.len(),
            },
        ));
    }
    if result.is_err() {
        sink.truncate(start);
    }
    result
}

fn len_of_parts<'a>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>>,
    topic: Option<&str>,
    message_id: &str,
) -> usize {
    let mut counter = Counter::default();
    // A counter is never full.
    let _ = write_jobs(jobs, &mut counter, |_, _| Ok(()));
    let _ = write_tail(topic, message_id, &mut counter);
    counter.len()
}

fn write_checked<'a, S: Sink + ?Sized>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>>,
    topic: Option<&str>,
    message_id: &str,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let start = sink.len();
    let count = write_jobs(jobs, sink, valid_job)?;
    if count == 0 {
        return Err(invalid(Code::Empty, Path::REPORT.member("jobs")));
    }
    valid_envelope(topic, message_id)?;
    write_tail(topic, message_id, sink).map_err(too_small)?;
    within_limit(sink.len().saturating_sub(start))
}

fn write_jobs<'a, S: Sink + ?Sized>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>>,
    sink: &mut S,
    validate: impl Fn(&Job<'_>, usize) -> Result<(), EncodeError>,
) -> Result<usize, EncodeError> {
    sink.put(HEAD.as_bytes()).map_err(too_small)?;
    let mut count = 0usize;
    for job in jobs {
        let job = job.borrow();
        validate(job, count)?;
        write_job(job, count == 0, sink).map_err(too_small)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Writes one job, behind a comma unless it is the first.
pub(super) fn write_job<S: Sink + ?Sized>(
    job: &Job<'_>,
    is_first: bool,
    sink: &mut S,
) -> Result<(), Full> {
    with_sink!(put_job(job, is_first; sink))
}

fn put_job<S: Sink + ?Sized>(job: &Job<'_>, is_first: bool, sink: &mut S) -> Result<(), Full> {
    if !is_first {
        sink.put(b",")?;
    }
    if let Some(id) = job.job_id {
        sink.put(b"{\"job_id\":")?;
        sink.put_integer(id)?;
        sink.put(b",\"status\":")?;
    } else {
        sink.put(b"{\"status\":")?;
    }
    job.status.put(sink)?;
    sink.put(b",\"create_time\":")?;
    sink.put_integer(job.create_time)?;
    match job.exceptions {
        None => {}
        Some(Exceptions::Text(text)) => {
            sink.put(b",\"exceptions\":")?;
            sink.put_string(text)?;
        }
        Some(Exceptions::Detail(detail)) => write_exception(&detail, sink)?,
    }
    if let Some(metrics) = job.metrics {
        sink.put(b",\"metrics\":")?;
        sink.put_string(metrics)?;
    }
    if let Some(plan) = job.plan {
        sink.put(b",\"plan\":")?;
        sink.put_string(plan)?;
    }
    sink.put(b"}")
}

#[inline]
fn write_exception<S: Sink + ?Sized>(detail: &JobException<'_>, sink: &mut S) -> Result<(), Full> {
    sink.put(b",\"exceptions\":{\"error_id\":")?;
    sink.put_string(detail.error_id)?;
    sink.put(b",\"error_type\":")?;
    sink.put_string(detail.error_type)?;
    sink.put(b",\"error_cause\":")?;
    sink.put_string(detail.error_cause)?;
    sink.put(b",\"exception\":")?;
    sink.put_string(detail.exception)?;
    sink.put(b",\"error_time\":")?;
    match detail.error_time {
        ErrorTime::Text(text) => sink.put_string(text)?,
        ErrorTime::UnixMs(ms) => {
            // A time out of range was refused before.
            let stamp = WallTime::from_unix_ms(ms).to_error_time();
            sink.put_string(stamp.as_ref().map_or("", |s| s.as_str()))?;
        }
    }
    sink.put(b"}")
}

/// Writes what stands behind the last job.
pub(super) fn write_tail<S: Sink + ?Sized>(
    topic: Option<&str>,
    message_id: &str,
    sink: &mut S,
) -> Result<(), Full> {
    with_sink!(put_tail(topic, message_id; sink))
}

fn put_tail<S: Sink + ?Sized>(
    topic: Option<&str>,
    message_id: &str,
    sink: &mut S,
) -> Result<(), Full> {
    if let Some(topic) = topic {
        sink.put(b"],\"msg_confirm_topic\":")?;
        sink.put_string(topic)?;
        sink.put(b",\"message_id\":")?;
    } else {
        sink.put(b"],\"message_id\":")?;
    }
    sink.put_string(message_id)?;
    sink.put(b"}")
}

pub(super) fn within_limit(len: usize) -> Result<(), EncodeError> {
    if len > MAX_REPORT_BYTES {
        return Err(invalid(Code::TooLarge, Path::REPORT));
    }
    Ok(())
}

#[inline]
pub(super) fn valid_job(job: &Job<'_>, index: usize) -> Result<(), EncodeError> {
    if IS_ROOMY && is_flawless(job) {
        return Ok(());
    }
    first_error(|found| check_job(job, index, found))
}

pub(super) fn valid_envelope(topic: Option<&str>, message_id: &str) -> Result<(), EncodeError> {
    if topic != Some("") && !message_id.is_empty() {
        return Ok(());
    }
    first_error(|found| check_envelope(topic, message_id, found))
}

#[cold]
fn first_error(check: impl FnOnce(&mut dyn FnMut(Code, Path<'static>))) -> Result<(), EncodeError> {
    let mut first = None;
    check(&mut |code, path| {
        if code.severity() == Severity::Error {
            first = first.or(Some(invalid(code, path)));
        }
    });
    first.map_or(Ok(()), Err)
}

const fn invalid(code: Code, path: Path<'static>) -> EncodeError {
    EncodeError::Invalid(Finding {
        code,
        path,
        offset: None,
    })
}

/// The exact length is counted where the whole is known.
fn too_small(_: Full) -> EncodeError {
    EncodeError::TooSmall { needed: 0 }
}

/// Gives what is wrong with a job to `found`.
fn check_job(job: &Job<'_>, index: usize, found: &mut dyn FnMut(Code, Path<'static>)) {
    let path = Path::of_job(index);
    let places = [
        path.member("job_id"),
        path.member("status"),
        path.member("create_time"),
        path.exceptions().member("error_time"),
    ];
    for (code, place) in job_codes(job).into_iter().zip(places) {
        if let Some(code) = code {
            found(code, place);
        }
    }
}

fn is_flawless(job: &Job<'_>) -> bool {
    job_codes(job) == [None; 4]
}

/// What is wrong with the id, the status, the creation time and the time of the exception.
#[inline]
fn job_codes(job: &Job<'_>) -> [Option<Code>; 4] {
    let status = match job.status {
        JobStatus::Other("") => Some(Code::Empty),
        JobStatus::Other(name) => match JobStatus::from_name(name) {
            JobStatus::Other(_) => Some(Code::UnknownStatus),
            _ => None,
        },
        _ => None,
    };
    let error_time = match job.exceptions {
        Some(Exceptions::Detail(detail)) => match detail.error_time {
            ErrorTime::Text(text) => contract::error_time(text.as_bytes()),
            ErrorTime::UnixMs(ms) => match WallTime::from_unix_ms(ms).to_error_time() {
                Some(_) => None,
                None => Some(Code::TimeOutOfRange),
            },
        },
        _ => None,
    };
    let job_id = job.job_id.and_then(contract::job_id);
    [
        job_id,
        status,
        contract::create_time(job.create_time),
        error_time,
    ]
}

fn check_envelope(
    topic: Option<&str>,
    message_id: &str,
    found: &mut dyn FnMut(Code, Path<'static>),
) {
    let topic_code = match topic {
        None => Some(Code::TopicMissing),
        Some("") => Some(Code::Empty),
        Some(_) => None,
    };
    if let Some(code) = topic_code {
        found(code, Path::REPORT.member("msg_confirm_topic"));
    }
    if message_id.is_empty() {
        found(Code::Empty, Path::REPORT.member("message_id"));
    }
}
