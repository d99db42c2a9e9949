//! The report as agents build it: everything borrowed, nothing copied.

use core::fmt;

use crate::json::{Full, Sink};
use crate::small::IS_ROOMY;
use crate::time::WallTime;

/// One report: what `POST …/edgesrv/job-report` carries.
///
/// ```
/// use edge_report::{Job, JobStatus, Report};
///
/// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(99270)];
/// let report = Report::new("5f0c…-1", &jobs).with_topic("hw/events/messages/dli/message/confirm");
/// let mut buffer = [0; 512];
/// let bytes = report.encode(&mut buffer)?;
/// assert_eq!(bytes.len(), report.encoded_len());
/// # Ok::<(), edge_report::EncodeError>(())
/// ```
///
/// The contract may get members that are optional, so a report is made by [`new`](Self::new) and its fields are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The jobs, one at least.
    pub jobs: &'a [Job<'a>],
    /// Where the service confirms the report on the node's message broker. Older documentation
    /// requires it, newer does not.
    pub msg_confirm_topic: Option<&'a str>,
    /// Names this report over all attempts to send it, so that a receiver can drop a repeat. Not empty.
    pub message_id: &'a str,
}

impl<'a> Report<'a> {
    /// A report without a topic.
    pub const fn new(message_id: &'a str, jobs: &'a [Job<'a>]) -> Self {
        Report {
            jobs,
            msg_confirm_topic: None,
            message_id,
        }
    }

    /// With the topic for the confirmation.
    #[must_use]
    pub const fn with_topic(mut self, topic: &'a str) -> Self {
        self.msg_confirm_topic = Some(topic);
        self
    }
}

/// What one job is doing.
///
/// Made by [`new`](Self::new), like a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job<'a> {
    /// Greater than 0. Over 2147483647 is a warning: some receivers cannot read it.
    pub job_id: Option<i64>,
    /// The state it is in.
    pub status: JobStatus<'a>,
    /// When it was created: milliseconds since 1970-01-01 UTC, greater than 0.
    pub create_time: i64,
    /// What went wrong.
    pub exceptions: Option<Exceptions<'a>>,
    /// In practice JSON text.
    pub metrics: Option<&'a str>,
    /// In practice JSON text.
    pub plan: Option<&'a str>,
}

impl<'a> Job<'a> {
    /// A job with only what is required. An integer as `create_time` is milliseconds since 1970-01-01 UTC.
    pub fn new(status: JobStatus<'a>, create_time: impl Into<WallTime>) -> Self {
        Job {
            job_id: None,
            status,
            create_time: create_time.into().unix_ms(),
            exceptions: None,
            metrics: None,
            plan: None,
        }
    }

    /// With its id.
    #[must_use]
    pub const fn with_job_id(mut self, job_id: i64) -> Self {
        self.job_id = Some(job_id);
        self
    }

    /// With what went wrong.
    #[must_use]
    pub const fn with_exceptions(mut self, exceptions: Exceptions<'a>) -> Self {
        self.exceptions = Some(exceptions);
        self
    }

    /// With its metrics.
    #[must_use]
    pub const fn with_metrics(mut self, metrics: &'a str) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// With its plan.
    #[must_use]
    pub const fn with_plan(mut self, plan: &'a str) -> Self {
        self.plan = Some(plan);
        self
    }
}

macro_rules! job_status {
    ($($constant:ident $variant:ident $name:literal $final:literal;)*) => {
        /// The state of a job. 14 names are known, each a constant; any other can be sent, with a warning.
        ///
        /// One name is one value, wherever it comes from:
        ///
        /// ```
        /// use edge_report::JobStatus;
        ///
        /// assert_eq!(JobStatus::from_name("job_finish"), JobStatus::FINISH);
        /// assert!(JobStatus::FINISH.is_final());
        /// assert!(!JobStatus::from_name("job_on_holiday").is_known());
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct JobStatus<'a>(Name<'a>);

        /// Never `Other` with a known name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        enum Name<'a> {
            $($variant,)*
            Other(&'a str),
        }

        impl JobStatus<'static> {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: Self = JobStatus(Name::$variant);)*

            /// The known ones.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant),*];
        }

        impl<'a> JobStatus<'a> {
            /// The name on the wire.
            #[cfg_attr(not(any(target_pointer_width = "64", feature = "alloc")), inline(never))] // large, and called from many places
            pub const fn name(&self) -> &'a str {
                match self.0 {
                    $(Name::$variant => $name,)*
                    Name::Other(name) => name,
                }
            }

            /// The status of this name, known or not.
            pub fn from_name(name: &'a str) -> Self {
                if !IS_ROOMY {
                    let known = JobStatus::KNOWN.iter().find(|known| known.name() == name);
                    return known.copied().unwrap_or(JobStatus(Name::Other(name)));
                }
                JobStatus(match name {
                    $($name => Name::$variant,)*
                    _ => Name::Other(name),
                })
            }

            /// Appends the name as a JSON string.
            #[inline]
            pub(super) fn put<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), Full> {
                if !IS_ROOMY {
                    return sink.put_string(self.name());
                }
                match self.0 {
                    // The known ones have nothing to escape, and are copies of constant size.
                    $(Name::$variant => sink.put(concat!("\"", $name, "\"").as_bytes()),)*
                    Name::Other(name) => sink.put_string(name),
                }
            }

            /// Whether it is one of [`KNOWN`](Self::KNOWN).
            pub const fn is_known(&self) -> bool {
                !matches!(self.0, Name::Other(_))
            }

            /// Whether the job will not change its state again.
            pub const fn is_final(&self) -> bool {
                match self.0 {
                    $(Name::$variant => $final,)*
                    Name::Other(_) => false,
                }
            }
        }
    };
}

job_status! {
    INIT Init "job_init" false;
    SUBMITTING Submitting "job_submitting" false;
    SUBMIT_FAIL SubmitFail "job_submit_fail" true;
    RUNNING Running "job_running" false;
    RUNNING_EXCEPTION RunningException "job_running_exception" false;
    DOWNLOADING Downloading "job_downloading" false;
    IDLE Idle "job_idle" false;
    CANCELING Canceling "job_canceling" false;
    CANCEL_SUCCESS CancelSuccess "job_cancel_success" true;
    CANCEL_FAIL CancelFail "job_cancel_fail" false;
    SAVEPOINTING Savepointing "job_savepointing" false;
    ARREARAGE_STOPPED ArrearageStopped "job_arrearage_stopped" true;
    ARREARAGE_RECOVERING ArrearageRecovering "job_arrearage_recovering" false;
    FINISH Finish "job_finish" true;
}

impl fmt::Display for JobStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for JobStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

/// What went wrong with a job. The service's table calls for a string, its sample shows an object;
/// both can be sent, by your choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exceptions<'a> {
    /// Sent as a string.
    Text(&'a str),
    /// Sent as an object.
    Detail(JobException<'a>),
}

/// The object form of [`Exceptions`]; all five members are always written.
///
/// Made by [`new`](Self::new), like a [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobException<'a> {
    /// For instance `Agent.51000`.
    pub error_id: &'a str,
    /// For instance `JOB_SUBMIT_EXCEPTION`.
    pub error_type: &'a str,
    /// For instance `agent_submit_job_exception_error`.
    pub error_cause: &'a str,
    /// The stack trace or the like; may be empty.
    pub exception: &'a str,
    /// When it happened.
    pub error_time: ErrorTime<'a>,
}

impl<'a> JobException<'a> {
    /// With an id, a type and a cause.
    pub const fn new(error_id: &'a str, error_type: &'a str, error_cause: &'a str) -> Self {
        JobException {
            error_id,
            error_type,
            error_cause,
            exception: "",
            error_time: ErrorTime::Text(""),
        }
    }

    /// With the stack trace or the like.
    #[must_use]
    pub const fn with_exception(mut self, exception: &'a str) -> Self {
        self.exception = exception;
        self
    }

    /// With the time when it happened, written as `YYYY-MM-DD hh:mm:ss` in UTC. An integer is milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn at(mut self, time: impl Into<WallTime>) -> Self {
        self.error_time = ErrorTime::At(time.into());
        self
    }
}

/// When an exception happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorTime<'a> {
    /// Sent as it is; `YYYY-MM-DD hh:mm:ss` in UTC is what receivers know.
    Text(&'a str),
    /// Written as `YYYY-MM-DD hh:mm:ss` in UTC. The years 1970 to 9999.
    At(WallTime),
}

impl Default for ErrorTime<'_> {
    fn default() -> Self {
        ErrorTime::Text("")
    }
}

/// What follows the jobs of a report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) msg_confirm_topic: Option<&'a str>,
    pub(super) message_id: &'a str,
}
