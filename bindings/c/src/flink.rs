//! What a Flink watch is told and what it says, as plain data; and job ids.

use core::ffi::c_char;

use edge_report::flink::{
    ExceptionsAs, Jid, MappedJob, Options, OtherIds, Plan, Step, WatchStatus,
};
use edge_report::{Code, MonoTime};

use crate::error::{Failure, Place, edge_report_error, write_text};
use crate::guard::guard;
use crate::sized::{Room, given};
use crate::types::{Output, array, edge_report_result, edge_report_str};

/// When a job's plan is reported: one of `EDGE_REPORT_FLINK_PLAN_…`. It has 2 to 60 KB.
pub type edge_report_flink_plan = u32;
/// Once, when the job runs, and again when it has changed.
pub const EDGE_REPORT_FLINK_PLAN_WHEN_NEW: u32 = 0;
/// Never.
pub const EDGE_REPORT_FLINK_PLAN_NEVER: u32 = 1;
/// With each report that has details of the job. For receivers and backlogs that keep only the latest report of a job.
pub const EDGE_REPORT_FLINK_PLAN_ALWAYS: u32 = 2;

/// What becomes of a Flink id that is no integer and not mapped: one of `EDGE_REPORT_FLINK_IDS_…`.
pub type edge_report_flink_ids = u32;
/// A `job_id` that is a hash of it, of 63 bits.
pub const EDGE_REPORT_FLINK_IDS_HASH63: u32 = 0;
/// A hash of 31 bits, for receivers that read no more. So is an integer of more bits.
pub const EDGE_REPORT_FLINK_IDS_HASH31: u32 = 1;
/// No `job_id`: no report of that job supersedes another.
pub const EDGE_REPORT_FLINK_IDS_NONE: u32 = 2;

/// A `job_id` given by hand.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_flink_mapped_job {
    /// The job's name in Flink, or its id in 32 hex digits.
    pub job: edge_report_str,
    /// What it is reported as. 0 or less: without an id.
    pub job_id: i64,
}

/// How a watch asks and reports. EDGE_REPORT_FLINK_CONFIG_INIT has the defaults; docs/flink.md says why they are what they are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_flink_config {
    /// Its size: begin with `EDGE_REPORT_FLINK_CONFIG_INIT`.
    pub struct_size: usize,
    /// From an overview's response to the next overview; less than 100 ms is 100 ms. Default: 5 s.
    pub poll_ms: u64,
    /// A job that goes on as it was is reported again after so long; 0: never; less than `poll_ms` is as much as that. Default: 60 s.
    pub heartbeat_ms: u64,
    /// Details are asked for when a change is this old: for so long Flink answers from a cache. Default: 3 s.
    pub cache_ms: u64,
    /// A job that had an exception is running again when nothing has happened to it for so long. Default: 10 s.
    pub steady_ms: u64,
    /// How many requests go to Flink within `poll_ms`, the overview included; 65535 at most, less than 4 is 4. Default: 20.
    pub requests: u32,
    /// Default: EDGE_REPORT_FLINK_PLAN_WHEN_NEW.
    pub plan: edge_report_flink_plan,
    /// Default: EDGE_REPORT_FLINK_IDS_HASH63.
    pub other_ids: edge_report_flink_ids,
    /// 1: exceptions are reported as a string. Default: 0, as an object.
    pub exceptions_as_text: u32,
    /// How many bytes of a stack trace are reported. Default: 2048.
    pub exception_bytes: usize,
    /// The metrics of a job, separated by commas; of more than 400 bytes the rest is left out. Empty: no metrics at all. Absent: the default, how
    /// long it runs, its restarts and its checkpoints.
    pub metrics: edge_report_str,
    /// What message ids begin with; of more than 64 bytes the rest is left out. Where several nodes report to one project, give each its own.
    /// Absent: `flink`.
    pub node: edge_report_str,
    /// Which `job_id` stands for which job of Flink's; may be NULL.
    pub mapped: *const edge_report_flink_mapped_job,
    /// How many.
    pub mapped_len: usize,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// What to do: one of `EDGE_REPORT_FLINK_STEP_…`.
pub type edge_report_flink_step_kind = u32;
/// Ask Flink for `path`, then call `edge_report_flink_response` or `edge_report_flink_failed`.
pub const EDGE_REPORT_FLINK_STEP_GET: u32 = 1;
/// Store the report, as by edge_report_reporter_submit_encoded, then call `edge_report_flink_reported`.
pub const EDGE_REPORT_FLINK_STEP_REPORT: u32 = 2;
/// Nothing before `wait_ms` have passed.
pub const EDGE_REPORT_FLINK_STEP_WAIT: u32 = 3;

/// What to do next with Flink.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_flink_step {
    /// Its size: begin with `EDGE_REPORT_FLINK_STEP_INIT`.
    pub struct_size: usize,
    /// Which of the following count.
    pub kind: edge_report_flink_step_kind,
    /// REPORT: 1 if it says that a job has ended; then it is about this job alone. Else 0.
    pub is_final: u32,
    /// GET: path and query, to be put behind Flink's address. Borrowed from the watch until the next call with it.
    pub path: edge_report_str,
    /// REPORT: its bytes, at the front of the buffer.
    pub body: edge_report_str,
    /// REPORT: its name. That of an end derives from job, state and time: after a restart it is the same. Borrowed like `path`.
    pub message_id: edge_report_str,
    /// WAIT: how long.
    pub wait_ms: u64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// How things stand with a watch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_flink_state {
    /// Its size: begin with `EDGE_REPORT_FLINK_STATE_INIT`.
    pub struct_size: usize,
    /// How many jobs are in the table, ended ones included.
    pub jobs: usize,
    /// How many of them have changed and are not reported yet.
    pub unreported: usize,
    /// How many bytes `edge_report_flink_save` writes at the most.
    pub saved_len: usize,
    /// How many jobs the cluster lists that have no room in the table and are not reported.
    pub unwatched: u32,
    /// 1 if the last overview came, else 0.
    pub is_up: u32,
    /// 1 if the table has changed since it was saved, else 0.
    pub needs_saving: u32,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Room for a Flink job id in hex, with its NUL.
pub const EDGE_REPORT_FLINK_JID_SIZE: usize = 33;

/// Writes the id to submit a job to Flink with, so that it is reported under this `job_id`: the integer in 32 hex digits, and a NUL.
///
/// Any thread. Does not block.
///
/// @param job_id greater than 0.
/// @param jid    room for EDGE_REPORT_FLINK_JID_SIZE bytes.
/// @return EDGE_REPORT_OK, or EDGE_REPORT_E_NOT_POSITIVE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_flink_jid(
    job_id: i64,
    jid: *mut c_char,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(jid.cast::<[c_char; EDGE_REPORT_FLINK_JID_SIZE]>(), "jid")?;
        if job_id <= 0 {
            return Err(Failure::at(Code::NotPositive, "job_id"));
        }
        let mut text = [0; EDGE_REPORT_FLINK_JID_SIZE];
        write_text(Jid::of_job_id(job_id).to_hex().as_str(), &mut text);
        out.set(text);
        Ok(())
    })
}

/// # Safety
/// The view must hold for the call.
pub(crate) unsafe fn read_jid(jid: edge_report_str) -> Result<Jid, Failure> {
    let text = unsafe { jid.required("jid") }?;
    Jid::from_hex(text).ok_or(Failure::at(Code::FlinkJobId, "jid"))
}

/// # Safety
/// See [`given`].
pub(crate) unsafe fn read_config(
    config: *const edge_report_flink_config,
) -> Result<edge_report_flink_config, Failure> {
    let room = &mut Room::over(defaults);
    let config = unsafe { given(config, "config", room) }?;
    let config = config.copied().unwrap_or(defaults());
    let wrong = if config.requests > u32::from(u16::MAX) {
        "requests"
    } else if config.plan > EDGE_REPORT_FLINK_PLAN_ALWAYS {
        "plan"
    } else if config.other_ids > EDGE_REPORT_FLINK_IDS_NONE {
        "other_ids"
    } else if config.exceptions_as_text > 1 {
        "exceptions_as_text"
    } else {
        return Ok(config);
    };
    Err(Failure::at(Code::OutOfRange, member(wrong)))
}

const fn member(name: &'static str) -> Place {
    Place::Member("config", name)
}

/// The same as EDGE_REPORT_FLINK_CONFIG_INIT, which ./header writes.
pub(crate) fn defaults() -> edge_report_flink_config {
    let options = Options::DEFAULT;
    edge_report_flink_config {
        struct_size: size_of::<edge_report_flink_config>(),
        poll_ms: options.poll_ms,
        heartbeat_ms: options.heartbeat_ms,
        cache_ms: options.cache_ms,
        steady_ms: options.steady_ms,
        requests: u32::from(options.requests),
        plan: EDGE_REPORT_FLINK_PLAN_WHEN_NEW,
        other_ids: EDGE_REPORT_FLINK_IDS_HASH63,
        exceptions_as_text: 0,
        exception_bytes: options.exception_bytes,
        metrics: edge_report_str::ABSENT,
        node: edge_report_str::ABSENT,
        mapped: core::ptr::null(),
        mapped_len: 0,
        #[cfg(feature = "test-next")]
        next: 0,
    }
}

impl edge_report_flink_config {
    /// # Safety
    /// The table must hold for `'a`.
    pub(crate) unsafe fn mapped<'a>(&self) -> Result<&'a [edge_report_flink_mapped_job], Failure> {
        unsafe { array(self.mapped, self.mapped_len, member("mapped")) }
    }

    /// # Safety
    /// The texts must hold for `'a`.
    pub(crate) unsafe fn options<'a>(
        &self,
        mapped: &'a [MappedJob<'a>],
    ) -> Result<Options<'a>, Failure> {
        let mut options: Options<'a> = Options::DEFAULT;
        options.poll_ms = self.poll_ms;
        options.heartbeat_ms = self.heartbeat_ms;
        options.cache_ms = self.cache_ms;
        options.steady_ms = self.steady_ms;
        options.requests = u16::try_from(self.requests).unwrap_or(u16::MAX);
        options.exception_bytes = self.exception_bytes;
        options.mapped = mapped;
        if let Some(metrics) = unsafe { self.metrics.text(member("metrics")) }? {
            options.metrics = metrics;
        }
        if let Some(node) = unsafe { self.node.text(member("node")) }? {
            options.node = node;
        }
        options.plan = match self.plan {
            EDGE_REPORT_FLINK_PLAN_NEVER => Plan::Never,
            EDGE_REPORT_FLINK_PLAN_ALWAYS => Plan::Always,
            _ => Plan::WhenNew,
        };
        options.other_ids = match self.other_ids {
            EDGE_REPORT_FLINK_IDS_HASH31 => OtherIds::Hash31,
            EDGE_REPORT_FLINK_IDS_NONE => OtherIds::None,
            _ => OtherIds::Hash63,
        };
        options.exceptions = match self.exceptions_as_text {
            0 => ExceptionsAs::Object,
            _ => ExceptionsAs::Text,
        };
        Ok(options)
    }
}

impl edge_report_flink_mapped_job {
    /// # Safety
    /// The text must hold for `'a`.
    pub(crate) unsafe fn read<'a>(&self) -> Result<MappedJob<'a>, Failure> {
        let place = Place::Member("config.mapped", "job");
        let job = unsafe { self.job.required(place) }?;
        let job_id = self.job_id;
        Ok(MappedJob { job, job_id })
    }
}

impl edge_report_flink_step {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, step: Step<'_>, body: &[u8], now: MonoTime) {
        match step {
            Step::Get(path) => {
                self.kind = EDGE_REPORT_FLINK_STEP_GET;
                self.path = edge_report_str::from_bytes(path.as_bytes());
            }
            Step::Report(draft) => {
                self.kind = EDGE_REPORT_FLINK_STEP_REPORT;
                self.is_final = u32::from(draft.is_final);
                self.body = edge_report_str::from_bytes(body);
                self.message_id = edge_report_str::from_bytes(draft.message_id.as_bytes());
            }
            Step::Wait(until) => {
                self.kind = EDGE_REPORT_FLINK_STEP_WAIT;
                self.wait_ms = until.since_ms(now);
            }
        }
    }
}

impl edge_report_flink_state {
    /// Fills one in that is all zeros.
    pub(crate) fn fill(&mut self, status: WatchStatus, saved_len: usize, needs_saving: bool) {
        self.jobs = status.jobs;
        self.unreported = status.unreported;
        self.saved_len = saved_len;
        self.unwatched = status.unwatched;
        self.is_up = u32::from(status.is_up);
        self.needs_saving = u32::from(needs_saving);
    }
}
