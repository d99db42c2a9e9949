//! Reports from plain structs, and checks of reports that are bytes.

use core::ffi::{c_char, c_void};

use edge_report::json::SliceSink;
use edge_report::{
    Code, Encode, ErrorTime, Exceptions, Finding, Job, JobException, JobStatus, Path, ReportOf,
    Severity, WallTime, check,
};

use crate::error::{EDGE_REPORT_PATH_SIZE, Failure, edge_report_error, write_path};
use crate::guard::{guard, number};
use crate::sized::{Answer, Room, Row, given, required};
use crate::types::{EDGE_REPORT_NONE, Output, buffer, bytes, edge_report_result, edge_report_str};

/// The object form of a job's exceptions. All five members are always sent; absent texts are sent empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_exception {
    /// Its size: begin with `EDGE_REPORT_EXCEPTION_INIT`.
    pub struct_size: usize,
    /// For instance `Agent.51000`.
    pub error_id: edge_report_str,
    /// For instance `JOB_SUBMIT_EXCEPTION`.
    pub error_type: edge_report_str,
    /// For instance `agent_submit_job_exception_error`.
    pub error_cause: edge_report_str,
    /// The stack trace or the like.
    pub exception: edge_report_str,
    /// When it happened, sent as it is: `YYYY-MM-DD hh:mm:ss` in UTC. Absent: `error_time_ms` counts.
    pub error_time: edge_report_str,
    /// When it happened, in milliseconds since 1970 (years 1970 to 9999). 0: not known, sent empty.
    pub error_time_ms: i64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// What one job is doing. Zeros stand for what is absent; `status` and `create_time` are required.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_job {
    /// Its size: begin with `EDGE_REPORT_JOB_INIT`.
    pub struct_size: usize,
    /// Greater than 0; 0 stands for none. Over 2147483647 some receivers cannot read it.
    pub job_id: i64,
    /// Its state: one of `EDGE_REPORT_STATUS_…`, or any other name: it is sent as it is, and edge_report_check warns of it.
    pub status: edge_report_str,
    /// When it was created: milliseconds since 1970, greater than 0. Seconds (`time(NULL)`) are sent as they are: edge_report_check warns of
    /// them, as EDGE_REPORT_W_LOOKS_LIKE_SECONDS; encoding and submitting do not.
    pub create_time: i64,
    /// What went wrong, sent as a string. Not together with `exception`.
    pub exceptions: edge_report_str,
    /// What went wrong, sent as an object; or NULL.
    pub exception: *const edge_report_exception,
    /// In practice JSON text, sent as a string.
    pub metrics: edge_report_str,
    /// In practice JSON text, sent as a string.
    pub plan: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// One report: what `POST …/edgesrv/job-report` carries.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_report {
    /// Its size: begin with `EDGE_REPORT_REPORT_INIT`.
    pub struct_size: usize,
    /// The jobs.
    pub jobs: *const edge_report_job,
    /// How many; one at least.
    pub jobs_len: usize,
    /// Where the service confirms the report on the node's message broker. Older documentation requires it.
    pub msg_confirm_topic: edge_report_str,
    /// Names the report over all attempts to send it, so that a receiver can drop a repeat. Required.
    pub message_id: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// One thing that is wrong or doubtful in a checked text. Plain data.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_finding {
    /// Its size: begin with `EDGE_REPORT_FINDING_INIT`.
    pub struct_size: usize,
    /// What: one of `EDGE_REPORT_E_…` (breaks the contract) or `EDGE_REPORT_W_…` (a likely mistake).
    pub code: edge_report_result,
    /// 1 if it breaks the contract, 0 if it is a likely mistake.
    pub is_error: u32,
    /// Where: byte offset into the text.
    pub offset: usize,
    /// Index of the job it is about, or `EDGE_REPORT_NONE`.
    pub job: usize,
    /// Where: `jobs[3].create_time`. Ends with NUL; empty for the report as a whole.
    pub path: [c_char; EDGE_REPORT_PATH_SIZE],
    /// For EDGE_REPORT_W_UNKNOWN_STATUS: the known name that was probably meant; absent if none is near, and in the bare build. Static.
    pub suggestion: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// How many findings a check had.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_summary {
    /// Its size: begin with `EDGE_REPORT_SUMMARY_INIT`.
    pub struct_size: usize,
    /// How many break the contract.
    pub errors: usize,
    /// How many are likely mistakes.
    pub warnings: usize,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Checks a report and writes its canonical bytes to the front of a buffer. Likely mistakes, such as seconds for milliseconds, are no
/// errors: edge_report_check of these bytes lists them, and is worth its while wherever reports are first made.
///
/// A buffer of exactly `edge_report_encoded_len` bytes is enough. The bytes have no NUL at their end.
///
/// Borrows all arguments for the call. Any thread. Does not block.
///
/// @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed. Required.
/// @return EDGE_REPORT_OK, or the report's first error, with its path. Then the content of the buffer means nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_encode(
    report: *const edge_report_report,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let source = unsafe { Source::new(report) }?;
        let buffer = unsafe { self::buffer(buffer, capacity, "buffer") }?;
        let mut sink = SliceSink::new(buffer);
        match source.report().encode_into(&mut sink) {
            Ok(()) => {
                len.set(sink.written().len());
                Ok(())
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.code == Code::BufferTooSmall {
                    len.set(failure.needed);
                }
                Err(failure)
            }
        }
    })
}

/// Tells how many bytes `edge_report_encode` writes.
///
/// Borrows all arguments for the call. Any thread. Does not block.
///
/// @return EDGE_REPORT_OK, or what makes the structs unreadable; other errors of the report are found by edge_report_encode.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_encoded_len(
    report: *const edge_report_report,
    len: *mut usize,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let len = Output::new(len, "len")?;
        let source = unsafe { Source::new(report) }?;
        len.set(source.report().encoded_len());
        Ok(())
    })
}

/// Checks a report that is JSON text, from anywhere, and lists all that is wrong or doubtful in it, in one pass.
///
/// Borrows all arguments for the call; the findings borrow nothing. Any thread. Does not block.
///
/// @param text     JSON, `text_len` bytes; it need not be UTF-8, since that is checked, too.
/// @param findings room for `capacity` findings, or NULL with 0. The first ones are kept.
/// @param summary  how many findings there were in all; or NULL. It and the findings are written whenever the text was
///                 checked, also when it has errors.
/// @return EDGE_REPORT_OK if the text has no errors (it may have warnings); else its first error, with path and offset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_check(
    text: *const c_void,
    text_len: usize,
    findings: *mut edge_report_finding,
    capacity: usize,
    summary: *mut edge_report_summary,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let summary = unsafe { Answer::optional(summary, "summary") }?;
        let text = unsafe { bytes(text, text_len, "text") }?;
        let findings = match capacity {
            0 => None,
            _ => Some(unsafe { Answer::row(findings, capacity, "findings") }?),
        };
        let mut kept = 0usize;
        let mut first = None;
        let counts = check(text, |finding| {
            if let Some(findings) = findings.as_ref().filter(|_| kept < capacity) {
                findings.at(kept).fill(|to| {
                    to.fill(&finding);
                    if cfg!(feature = "full") {
                        let meant = finding.suggestion(text).map(|status| status.name());
                        to.suggestion = edge_report_str::from_option(meant);
                    }
                });
                kept = kept.saturating_add(1);
            }
            if first.is_none() && finding.severity() == Severity::Error {
                first = Some(finding.without_text());
            }
        });
        if let Some(summary) = summary {
            summary.fill(|to| {
                to.errors = counts.errors;
                to.warnings = counts.warnings;
            });
        }
        first.map_or(Ok(()), |finding| Err(finding.into()))
    })
}

impl edge_report_finding {
    /// Fills one in that is all zeros.
    fn fill(&mut self, finding: &Finding<'_>) {
        self.code = number(finding.code);
        self.is_error = u32::from(finding.severity() == Severity::Error);
        self.offset = finding.offset.unwrap_or(EDGE_REPORT_NONE);
        self.job = finding.path.job().unwrap_or(EDGE_REPORT_NONE);
        write_path(&finding.path, &mut self.path);
    }
}

/// A report in C's structs, all of whose views are checked.
pub(crate) struct Source<'a> {
    jobs: Row<'a, edge_report_job>,
    msg_confirm_topic: Option<&'a str>,
    message_id: &'a str,
}

impl<'a> Source<'a> {
    /// # Safety
    /// All of the report must hold for `'a`.
    pub(crate) unsafe fn new(report: *const edge_report_report) -> Result<Self, Failure> {
        let mut room = Room::new();
        let report = unsafe { required(report, "report", &mut room) }?;
        let path = Path::REPORT.member("jobs");
        let jobs: Row<'_, edge_report_job> =
            unsafe { Row::new(report.jobs, report.jobs_len, path) }?;
        let mut index = 0usize;
        while let Some(job) = jobs.get(index, &mut Room::new()) {
            jobs.check(index, Path::of_job(index))?;
            unsafe { checked_job(job, index) }?;
            index = index.saturating_add(1);
        }
        let (topic, id) = unsafe { envelope(report.msg_confirm_topic, report.message_id) }?;
        Ok(Source {
            jobs,
            msg_confirm_topic: topic,
            message_id: id,
        })
    }

    pub(crate) fn report(&self) -> ReportOf<'a, impl Iterator<Item = Job<'a>> + Clone + use<'a>> {
        // All of them were checked.
        let trusted = |text: edge_report_str, _: &_, _: &_| {
            let bytes = unsafe { text.bytes("") }.ok().flatten();
            // SAFETY: `Source::new` has checked all texts.
            bytes.map(|bytes| unsafe { core::str::from_utf8_unchecked(bytes) })
        };
        let jobs = self.jobs;
        let read = move |index: usize| {
            let room = &mut Room::new();
            let job = jobs.get(index, room)?;
            if cfg!(feature = "full") {
                let room = &mut Room::new();
                let detail = unsafe { given(job.exception, "", room) }.ok()?;
                Some(read_job(job, detail, 0, trusted))
            } else {
                // For want of room the same code once more.
                unsafe { checked_job(job, 0) }.ok()
            }
        };
        let mut report = ReportOf::new(self.message_id, (0..jobs.len).filter_map(read));
        report.msg_confirm_topic = self.msg_confirm_topic;
        report
    }
}

/// An absent message id is an empty one, which the core refuses.
///
/// # Safety
/// The views must hold for `'a`.
pub(crate) unsafe fn envelope<'a>(
    topic: edge_report_str,
    message_id: edge_report_str,
) -> Result<(Option<&'a str>, &'a str), Failure> {
    let topic = unsafe { topic.text(Path::REPORT.member("msg_confirm_topic")) }?;
    let id = unsafe { message_id.text(Path::REPORT.member("message_id")) }?;
    Ok((topic, id.unwrap_or_default()))
}

/// # Safety
/// The views must hold for `'a`.
#[inline(never)]
pub(crate) unsafe fn checked_job<'a>(
    job: &edge_report_job,
    index: usize,
) -> Result<Job<'a>, Failure> {
    let exceptions = Path::of_job(index).member("exceptions");
    let room = &mut Room::new();
    let detail = unsafe { given(job.exception, exceptions, room) }?;
    let mut first = None;
    let mut checked = |text: edge_report_str, path: &Path<'static>, name: &'static str| {
        let text = unsafe { text.text(path.member(name)) };
        text.unwrap_or_else(|failure| {
            first.get_or_insert(failure);
            None
        })
    };
    // By a pointer, or all of it would stand there nine times.
    let checked: &mut dyn FnMut(_, &_, _) -> _ = &mut checked;
    let read = read_job(job, detail, index, checked);
    if detail.is_some() && !job.exceptions.is_absent() {
        first.get_or_insert(Failure::at(Code::Conflict, exceptions));
    }
    first.map_or(Ok(read), Err)
}

#[inline(never)] // so that it is one
fn read_job<'a>(
    job: &edge_report_job,
    detail: Option<&edge_report_exception>,
    index: usize,
    mut text: impl FnMut(edge_report_str, &Path<'static>, &'static str) -> Option<&'a str>,
) -> Job<'a> {
    let path = Path::of_job(index);
    let fields = [
        (job.exceptions, "exceptions"),
        (job.status, "status"),
        (job.metrics, "metrics"),
        (job.plan, "plan"),
    ];
    let [plain, status, metrics, plan] = fields.map(|(view, name)| text(view, &path, name));
    let exceptions = match detail {
        None => plain.map(Exceptions::Text),
        Some(detail) => {
            let path = path.exceptions();
            let fields = [
                (detail.error_id, "error_id"),
                (detail.error_type, "error_type"),
                (detail.error_cause, "error_cause"),
                (detail.exception, "exception"),
                (detail.error_time, "error_time"),
            ];
            let [id, kind, cause, exception, time] =
                fields.map(|(view, name)| text(view, &path, name));
            let (id, kind) = (id.unwrap_or_default(), kind.unwrap_or_default());
            let mut read = JobException::new(id, kind, cause.unwrap_or_default());
            read.exception = exception.unwrap_or_default();
            read.error_time = match time {
                None if detail.error_time_ms != 0 => {
                    ErrorTime::At(WallTime::from_unix_ms(detail.error_time_ms))
                }
                time => ErrorTime::Text(time.unwrap_or_default()),
            };
            Some(Exceptions::Detail(read))
        }
    };
    let status = JobStatus::from_name(status.unwrap_or_default());
    let mut read = Job::new(status, job.create_time);
    read.job_id = (job.job_id != 0).then_some(job.job_id);
    read.exceptions = exceptions;
    read.metrics = metrics;
    read.plan = plan;
    read
}
