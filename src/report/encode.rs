//! The canonical bytes: compact, members in the order of the contract, absent ones left out.

use core::borrow::Borrow;

use super::contract::{
    HEAD, MAX_REPORT_BYTES, after_jobs, exception_members, given, job_members, report_members,
};
use super::encode_error::EncodeError;
use super::finding::{Finding, Path, Summary};
use super::model::{Envelope, ErrorTime, Exceptions, Job, JobException, Report};
use super::validate::{check_envelope, check_job, valid_envelope, valid_job};
use crate::code::Code;
use crate::json::{Counter, Full, Sink, SliceSink, generic_or_dyn};

/// What can be encoded as a report: [`Report`], [`ReportOf`] and, with feature `serde`, `ReportBuf`.
///
/// Nothing else is: what a client sends and a courier stores was checked.
pub trait Encode: Sealed {
    /// Checks the report and appends its canonical bytes to `sink`, which after an error holds what it held before.
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError>;

    /// How many bytes the canonical form has.
    fn encoded_len(&self) -> usize;

    /// Of each job its id, and whether its status is final: by this a courier knows what a newer report supersedes.
    fn job_keys(&self) -> impl Iterator<Item = (Option<i64>, bool)>;
}

/// Keeps [`Encode`] to the types of this crate.
pub trait Sealed {}

impl Sealed for Report<'_> {}
impl<I> Sealed for ReportOf<'_, I> {}

/// A report whose jobs come from an iterator: from structs of another language or of your own, without a list of [`Job`]s.
///
/// ```
/// use edge_report::json::{Sink, SliceSink};
/// use edge_report::{Encode, Job, JobStatus, ReportOf};
///
/// let running = [99270, 99271];
/// let jobs = running.iter().map(|id| Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(*id));
/// let report = ReportOf::new("5f0c…-1", jobs).with_topic("confirm");
/// let mut buffer = [0; 512];
/// let mut sink = SliceSink::new(&mut buffer);
/// report.encode_into(&mut sink)?;
/// assert_eq!(sink.len(), report.encoded_len());
/// # Ok::<(), edge_report::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReportOf<'a, I> {
    /// See [`Report::jobs`]. A clone of it is run through for each pass, so all of them must give the same jobs.
    pub jobs: I,
    /// See [`Report::msg_confirm_topic`].
    pub msg_confirm_topic: Option<&'a str>,
    /// See [`Report::message_id`].
    pub message_id: &'a str,
}

impl<'a, I: Iterator<Item = Job<'a>> + Clone> Encode for ReportOf<'_, I> {
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        let jobs = self.jobs.clone();
        encode_parts(jobs, self.envelope(), sink)
    }

    fn encoded_len(&self) -> usize {
        len_of_parts(self.jobs.clone(), self.envelope())
    }

    fn job_keys(&self) -> impl Iterator<Item = (Option<i64>, bool)> {
        self.jobs.clone().map(|job| job.key())
    }
}

impl<'a, 'j, I: Iterator<Item = Job<'j>> + Clone> ReportOf<'a, I> {
    /// Gives each error and warning to `emit`, see [`Report::check`].
    pub fn check(&self, emit: impl FnMut(Finding<'static>)) -> Summary {
        check_parts(self.jobs.clone(), self.envelope(), emit)
    }
}

impl<'a, I> ReportOf<'a, I> {
    /// A report without a topic.
    pub const fn new(message_id: &'a str, jobs: I) -> Self {
        ReportOf {
            jobs,
            msg_confirm_topic: None,
            message_id,
        }
    }

    /// With the topic for the confirmation.
    #[must_use]
    pub fn with_topic(mut self, topic: &'a str) -> Self {
        self.msg_confirm_topic = Some(topic);
        self
    }

    fn envelope(&self) -> Envelope<'a> {
        Envelope {
            msg_confirm_topic: self.msg_confirm_topic,
            message_id: self.message_id,
        }
    }
}

impl Encode for Report<'_> {
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        Report::encode_into(self, sink)
    }

    fn encoded_len(&self) -> usize {
        Report::encoded_len(self)
    }

    fn job_keys(&self) -> impl Iterator<Item = (Option<i64>, bool)> {
        self.jobs.iter().map(Job::key)
    }
}

impl<'a> Report<'a> {
    /// Checks the report and writes its canonical bytes to the front of `buffer`.
    ///
    /// A buffer of exactly [`encoded_len`](Self::encoded_len) bytes is enough; with a smaller one the error says that length.
    /// What follows the report in `buffer` means nothing, nor does any of it after an error.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut sink = SliceSink::new(buffer);
        self.encode_into(&mut sink)?;
        Ok(sink.into_written())
    }

    /// Checks the report and appends its canonical bytes to `sink`, which after an error holds what it held before.
    pub fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        encode_parts(self.jobs.iter(), self.envelope(), sink)
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
        len_of_parts(self.jobs.iter(), self.envelope())
    }

    fn envelope(&self) -> Envelope<'a> {
        Envelope {
            msg_confirm_topic: self.msg_confirm_topic,
            message_id: self.message_id,
        }
    }

    /// Gives each error and warning to `emit`, like [`check`](crate::check()) does for bytes.
    pub fn check(&self, emit: impl FnMut(Finding<'static>)) -> Summary {
        check_parts(self.jobs.iter(), self.envelope(), emit)
    }
}

impl Job<'_> {
    /// See [`Encode::job_keys`].
    pub(super) fn key(&self) -> (Option<i64>, bool) {
        (self.job_id, self.status.is_final())
    }
}

/// Encodes a report whose jobs come one by one; a failed one leaves `sink` as it was.
fn encode_parts<'a, S: Sink + ?Sized>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>> + Clone,
    envelope: Envelope<'_>,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let start = sink.len();
    let mut result = generic_or_dyn!(write_checked(jobs.clone(), envelope; &mut *sink));
    if let Err(EncodeError::TooSmall { .. }) = result {
        // What follows may be invalid, which no larger buffer would help.
        let mut counter = Counter::default();
        result = generic_or_dyn!(write_checked(jobs, envelope; &mut counter)).and(Err(
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

fn len_of_parts<'a>(jobs: impl Iterator<Item: Borrow<Job<'a>>>, envelope: Envelope<'_>) -> usize {
    let mut counter = Counter::default();
    // A counter is never full.
    let _ = write_jobs(jobs, &mut counter, |_, _| Ok(()));
    let _ = write_tail(envelope, &mut counter);
    counter.len()
}

fn check_parts<'a>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>> + Clone,
    envelope: Envelope<'_>,
    mut emit: impl FnMut(Finding<'static>),
) -> Summary {
    let mut summary = Summary::default();
    let mut found = |code: Code, path: Path<'static>| {
        summary.count(code.severity());
        emit(Finding {
            code,
            path,
            offset: None,
        });
    };
    let mut count = 0usize;
    for job in jobs.clone() {
        check_job(job.borrow(), count, &mut found);
        count = count.saturating_add(1);
    }
    if count == 0 {
        found(Code::Empty, Path::REPORT.member("jobs"));
    }
    check_envelope(envelope, &mut found);
    if len_of_parts(jobs, envelope) > MAX_REPORT_BYTES {
        found(Code::TooLarge, Path::REPORT);
    }
    summary
}

fn write_checked<'a, S: Sink + ?Sized>(
    jobs: impl Iterator<Item: Borrow<Job<'a>>>,
    envelope: Envelope<'_>,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let start = sink.len();
    let count = write_jobs(jobs, sink, valid_job)?;
    if count == 0 {
        return Err(EncodeError::invalid(
            Code::Empty,
            Path::REPORT.member("jobs"),
        ));
    }
    valid_envelope(envelope)?;
    write_tail(envelope, sink).map_err(too_small)?;
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

/// Writes one job, after a comma unless it is the first.
pub(super) fn write_job<S: Sink + ?Sized>(
    job: &Job<'_>,
    is_first: bool,
    sink: &mut S,
) -> Result<(), Full> {
    generic_or_dyn!(put_job(job, is_first; sink))
}

/// Puts the members of an object by their list, from `$open` in front of the first to the `}` after the last.
macro_rules! put_members {
    (($sink:ident, $open:literal, $object:ident = $from:expr) $($name:ident $need:ident $value:ident,)*) => {{
        let $object { $($name),* } = $from;
        let is_first = true;
        $(
            let is_first = match given!($need $name) {
                Some(value) => {
                    match is_first {
                        true => $sink.put(concat!($open, "\"", stringify!($name), "\":").as_bytes())?,
                        false => $sink.put(concat!(",\"", stringify!($name), "\":").as_bytes())?,
                    }
                    put_value!($value value $sink)?;
                    false
                }
                None => is_first,
            };
        )*
        let _ = is_first;
        $sink.put(b"}")
    }};
}

/// Puts a value of one of the contract's kinds.
macro_rules! put_value {
    (JobId $value:ident $sink:ident) => {
        $sink.put_integer(*$value)
    };
    (CreateTime $value:ident $sink:ident) => {
        $sink.put_integer(*$value)
    };
    (Status $value:ident $sink:ident) => {
        $value.put($sink)
    };
    (Exceptions $value:ident $sink:ident) => {
        put_exceptions($value, $sink)
    };
    (Text $value:ident $sink:ident) => {
        $sink.put_string($value)
    };
    (NonEmptyText $value:ident $sink:ident) => {
        $sink.put_string($value)
    };
    (ErrorTime $value:ident $sink:ident) => {
        put_error_time($value, $sink)
    };
}

fn put_job<S: Sink + ?Sized>(job: &Job<'_>, is_first: bool, sink: &mut S) -> Result<(), Full> {
    if !is_first {
        sink.put(b",")?;
    }
    job_members!(put_members(sink, "{", Job = job))
}

#[inline(always)] // where it is called from is hot
fn put_exceptions<S: Sink + ?Sized>(exceptions: &Exceptions<'_>, sink: &mut S) -> Result<(), Full> {
    match exceptions {
        Exceptions::Text(text) => sink.put_string(text),
        Exceptions::Detail(detail) => {
            exception_members!(put_members(sink, "{", JobException = detail))
        }
    }
}

#[inline(always)] // as above
fn put_error_time<S: Sink + ?Sized>(time: &ErrorTime<'_>, sink: &mut S) -> Result<(), Full> {
    match time {
        ErrorTime::Text(text) => sink.put_string(text),
        ErrorTime::At(time) => {
            // A time out of range was refused before.
            let stamp = time.to_error_time();
            sink.put_string(stamp.as_ref().map_or("", |s| s.as_str()))
        }
    }
}

/// Writes what follows the last job.
pub(super) fn write_tail<S: Sink + ?Sized>(
    envelope: Envelope<'_>,
    sink: &mut S,
) -> Result<(), Full> {
    generic_or_dyn!(put_tail(envelope; sink))
}

fn put_tail<S: Sink + ?Sized>(envelope: Envelope<'_>, sink: &mut S) -> Result<(), Full> {
    report_members!(after_jobs(put_members(sink, "],", Envelope = &envelope)))
}

pub(super) fn within_limit(len: usize) -> Result<(), EncodeError> {
    if len > MAX_REPORT_BYTES {
        return Err(EncodeError::invalid(Code::TooLarge, Path::REPORT));
    }
    Ok(())
}

/// The exact length is counted where the whole is known.
fn too_small(_: Full) -> EncodeError {
    EncodeError::TooSmall { needed: 0 }
}
