//! The owned report, with serde: whatever it writes equals the canonical bytes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::first_error;
use super::encode::{Encode, ReportOf, Sealed};
use super::encode_error::EncodeError;
use super::finding::{Finding, Summary};
use super::model::{ErrorTime, Exceptions, Job, JobException, JobStatus, Report};
use crate::code::Code;
use crate::json::Sink;

/// An owned [`Report`], read and written by serde.
///
/// ```
/// use edge_report::{Job, JobStatus, ReportBuf};
///
/// let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(99270);
/// let mut report = ReportBuf::new("5f0c…-1").with_topic("confirm").with_job(job);
/// report.jobs[0].metrics = Some("{}".into());
///
/// let bytes = report.encode_to_vec()?;
/// assert_eq!(ReportBuf::from_json(&bytes)?, report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Whatever serde reads it from, only encoding it checks it. [`from_json`](Self::from_json) checks first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportBuf {
    /// See [`Report::jobs`].
    pub jobs: Vec<JobBuf>,
    /// See [`Report::msg_confirm_topic`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_confirm_topic: Option<String>,
    /// See [`Report::message_id`].
    pub message_id: String,
}

/// An owned [`Job`], made from one. The status is a name: see [`JobStatus::from_name`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobBuf {
    /// See [`Job::job_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<i64>,
    /// See [`Job::status`].
    pub status: String,
    /// See [`Job::create_time`].
    pub create_time: i64,
    /// See [`Job::exceptions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<ExceptionsBuf>,
    /// See [`Job::metrics`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// See [`Job::plan`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// Owned [`Exceptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExceptionsBuf {
    /// A string.
    Text(String),
    /// An object.
    Detail(JobExceptionBuf),
}

/// An owned [`JobException`], made from one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobExceptionBuf {
    /// See [`JobException::error_id`].
    pub error_id: String,
    /// See [`JobException::error_type`].
    pub error_type: String,
    /// See [`JobException::error_cause`].
    pub error_cause: String,
    /// See [`JobException::exception`].
    pub exception: String,
    /// `YYYY-MM-DD hh:mm:ss` in UTC.
    pub error_time: String,
}

/// Why bytes were not read as a report: its first error. [`check`](crate::check()) lists all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    code: Code,
    path: String,
    offset: Option<usize>,
    text: String,
}

impl ReadError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Where in the report, for instance `jobs[3].create_time`; empty for the report as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where in the bytes.
    pub const fn offset(&self) -> Option<usize> {
        self.offset
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for ReadError {}

impl From<Finding<'_>> for ReadError {
    fn from(finding: Finding<'_>) -> Self {
        ReadError {
            code: finding.code,
            path: alloc::format!("{}", finding.path),
            offset: finding.offset,
            text: alloc::format!("{finding}"),
        }
    }
}

impl ReportBuf {
    /// A report without a topic, and without the one job that it needs at least.
    pub fn new(message_id: impl Into<String>) -> Self {
        ReportBuf {
            jobs: Vec::new(),
            msg_confirm_topic: None,
            message_id: message_id.into(),
        }
    }

    /// With the topic for the confirmation.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.msg_confirm_topic = Some(topic.into());
        self
    }

    /// With one job more: a [`Job`] or a [`JobBuf`].
    #[must_use]
    pub fn with_job(mut self, job: impl Into<JobBuf>) -> Self {
        self.jobs.push(job.into());
        self
    }

    /// Checks `text` and reads it. Warnings pass; unknown keys are dropped.
    pub fn from_json(text: &[u8]) -> Result<Self, ReadError> {
        if let Some(finding) = first_error(text) {
            return Err(finding.into());
        }
        serde_json::from_slice(text).map_err(|error| ReadError {
            code: Code::JsonUnexpectedByte,
            path: String::new(),
            offset: None,
            text: alloc::format!("{error}"),
        })
    }

    /// Checks the report and gives its canonical bytes.
    pub fn encode_to_vec(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes the canonical form has.
    pub fn encoded_len(&self) -> usize {
        self.as_report_of().encoded_len()
    }

    fn as_report_of(&self) -> ReportOf<'_, impl Iterator<Item = Job<'_>> + Clone> {
        ReportOf {
            jobs: self.jobs.iter().map(JobBuf::as_job),
            msg_confirm_topic: self.msg_confirm_topic.as_deref(),
            message_id: &self.message_id,
        }
    }

    /// Gives each error and warning to `emit`, see [`Report::check`].
    pub fn check(&self, emit: impl FnMut(Finding<'static>)) -> Summary {
        self.as_report_of().check(emit)
    }
}

impl Sealed for ReportBuf {}

impl Encode for ReportBuf {
    fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
        self.as_report_of().encode_into(sink)
    }

    fn encoded_len(&self) -> usize {
        self.as_report_of().encoded_len()
    }

    fn job_keys(&self) -> impl Iterator<Item = (Option<i64>, bool)> {
        self.jobs.iter().map(|job| job.as_job().key())
    }
}

impl JobBuf {
    /// Borrows it.
    pub fn as_job(&self) -> Job<'_> {
        Job {
            job_id: self.job_id,
            status: JobStatus::from_name(&self.status),
            create_time: self.create_time,
            exceptions: self.exceptions.as_ref().map(ExceptionsBuf::as_exceptions),
            metrics: self.metrics.as_deref(),
            plan: self.plan.as_deref(),
        }
    }
}

impl ExceptionsBuf {
    fn as_exceptions(&self) -> Exceptions<'_> {
        match self {
            ExceptionsBuf::Text(text) => Exceptions::Text(text),
            ExceptionsBuf::Detail(detail) => Exceptions::Detail(detail.as_exception()),
        }
    }
}

impl JobExceptionBuf {
    fn as_exception(&self) -> JobException<'_> {
        JobException {
            error_id: &self.error_id,
            error_type: &self.error_type,
            error_cause: &self.error_cause,
            exception: &self.exception,
            error_time: ErrorTime::Text(&self.error_time),
        }
    }
}

impl From<Report<'_>> for ReportBuf {
    fn from(report: Report<'_>) -> Self {
        ReportBuf {
            jobs: report.jobs.iter().copied().map(JobBuf::from).collect(),
            msg_confirm_topic: report.msg_confirm_topic.map(String::from),
            message_id: report.message_id.into(),
        }
    }
}

impl From<Job<'_>> for JobBuf {
    fn from(job: Job<'_>) -> Self {
        JobBuf {
            job_id: job.job_id,
            status: job.status.name().into(),
            create_time: job.create_time,
            exceptions: job.exceptions.map(ExceptionsBuf::from),
            metrics: job.metrics.map(String::from),
            plan: job.plan.map(String::from),
        }
    }
}

impl From<Exceptions<'_>> for ExceptionsBuf {
    fn from(exceptions: Exceptions<'_>) -> Self {
        match exceptions {
            Exceptions::Text(text) => ExceptionsBuf::Text(text.into()),
            Exceptions::Detail(detail) => ExceptionsBuf::Detail(detail.into()),
        }
    }
}

impl From<JobException<'_>> for JobExceptionBuf {
    /// A stamp out of range becomes an empty text.
    fn from(detail: JobException<'_>) -> Self {
        JobExceptionBuf {
            error_id: detail.error_id.into(),
            error_type: detail.error_type.into(),
            error_cause: detail.error_cause.into(),
            exception: detail.exception.into(),
            error_time: match detail.error_time {
                ErrorTime::Text(text) => text.into(),
                ErrorTime::At(time) => {
                    let stamp = time.to_error_time();
                    stamp.map_or_else(String::new, |stamp| stamp.as_str().into())
                }
            },
        }
    }
}

impl Serialize for ExceptionsBuf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ExceptionsBuf::Text(text) => text.serialize(serializer),
            ExceptionsBuf::Detail(detail) => detail.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ExceptionsBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrObject)
    }
}

/// Keeps the error's place, which `#[serde(untagged)]` would lose.
struct StringOrObject;

impl<'de> Visitor<'de> for StringOrObject {
    type Value = ExceptionsBuf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an object")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(ExceptionsBuf::Text(text.into()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(ExceptionsBuf::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        JobExceptionBuf::deserialize(MapAccessDeserializer::new(map)).map(ExceptionsBuf::Detail)
    }
}
