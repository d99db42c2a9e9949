//! A report in the making: its jobs, and their texts in the caller's memory.

use core::fmt;
use core::slice;

use super::jid::Jid;
use super::options::{ExceptionsAs, Options, Plan};
use super::state::{Phase, State};
use super::table::Slot;
use crate::report::{Exceptions, Job, JobException, JobStatus, ReportOf};
use crate::time::WallTime;

/// The most jobs of one report.
pub const MAX_JOBS: usize = 16;

/// A report to store now.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Draft<'w> {
    /// Names this report. That of a final status derives from job, state and time: after a restart the same end has the same name.
    pub message_id: &'w str,
    /// Whether it says that a job has ended; then it is about this job alone. A job that failed has ended, too, though its status is
    /// [`JobStatus::RUNNING_EXCEPTION`].
    pub is_final: bool,
    pub(super) items: &'w [Item],
    pub(super) texts: &'w [u8],
    pub(super) form: ExceptionsAs,
}

/// Without what the jobs say: it has no place in somebody's log.
impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("message_id", &self.message_id)
            .field("is_final", &self.is_final)
            .field("jobs", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl<'w> Draft<'w> {
    /// The jobs: 1 to [`MAX_JOBS`].
    pub fn jobs(&self) -> DraftJobs<'w> {
        DraftJobs {
            items: self.items.iter(),
            texts: self.texts,
            form: self.form,
        }
    }

    /// The report, to be encoded or submitted.
    pub fn report(&self) -> ReportOf<'w, DraftJobs<'w>> {
        ReportOf::new(self.message_id, self.jobs())
    }
}

/// The jobs of a [`Draft`].
#[derive(Clone)]
pub struct DraftJobs<'w> {
    items: slice::Iter<'w, Item>,
    texts: &'w [u8],
    form: ExceptionsAs,
}

impl fmt::Debug for DraftJobs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DraftJobs")
            .field("left", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl<'w> Iterator for DraftJobs<'w> {
    type Item = Job<'w>;

    fn next(&mut self) -> Option<Job<'w>> {
        Some(self.items.next()?.job(self.texts, self.form))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for DraftJobs<'_> {}

/// What is still to be asked about a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) details: bool,
    pub(super) metrics: bool,
    pub(super) exceptions: bool,
}

impl Needs {
    pub(super) fn count(self) -> u16 {
        let all = [self.details, self.metrics, self.exceptions];
        all.into_iter().map(u16::from).fold(0, u16::saturating_add)
    }
}

/// A text among those of the draft.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: usize,
    pub(super) len: usize,
}

/// One job of a draft. It stands for itself: whatever becomes of the slot meanwhile, the draft stays as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) slot: usize,
    pub(super) jid: Jid,
    job_id: Option<i64>,
    pub(super) start_time: i64,
    pub(super) state: State,
    pub(super) state_time: i64,
    pub(super) phase: Phase,
    pub(super) has_run: bool,
    stop_asked: bool,
    pub(super) tasks: (Option<i64>, Option<i64>),
    pub(super) records: (Option<i64>, Option<i64>),
    /// Whether it only says that the job is still there.
    pub(super) is_beat: bool,
    pub(super) needs: Needs,
    /// Where its texts begin.
    pub(super) texts: usize,
    failed_at: i64,
    failure: Option<(Span, Span)>,
    pub(super) metrics: Option<Span>,
    pub(super) plan: Option<Span>,
    /// The hash of the plan that was last reported, with this report.
    pub(super) plan_hash: u64,
}

impl Item {
    pub(super) fn of(slot: &Slot, place: usize, is_beat: bool, needs: Needs, texts: usize) -> Self {
        Item {
            slot: place,
            jid: slot.jid,
            job_id: slot.job_id,
            start_time: slot.start_time,
            state: slot.state,
            state_time: slot.state_time,
            phase: slot.phase,
            has_run: slot.has_run,
            stop_asked: slot.stop_asked,
            tasks: (slot.tasks_running, slot.tasks_total),
            records: (None, None),
            is_beat,
            needs,
            texts,
            failed_at: slot.state_time,
            failure: None,
            metrics: None,
            plan: None,
            plan_hash: slot.plan,
        }
    }

    pub(super) fn set_failure(&mut self, cause: Span, exception: Span, time: Option<i64>) {
        self.failure = Some((cause, exception));
        self.failed_at = time.unwrap_or(self.failed_at);
    }

    fn job<'w>(&self, texts: &'w [u8], form: ExceptionsAs) -> Job<'w> {
        let status = self.phase.status(self.has_run, self.stop_asked);
        let mut job = Job::new(status, self.start_time);
        job.job_id = self.job_id;
        job.metrics = self.metrics.map(|span| span.of(texts));
        job.plan = self.plan.map(|span| span.of(texts));
        job.exceptions = self.failure.map(|(cause, exception)| {
            let (cause, exception) = (cause.of(texts), exception.of(texts));
            match form {
                ExceptionsAs::Object => {
                    Exceptions::Detail(self.exception(status, cause, exception))
                }
                ExceptionsAs::Text => Exceptions::Text(exception),
            }
        });
        job
    }

    fn exception<'w>(
        &self,
        status: JobStatus<'_>,
        cause: &'w str,
        exception: &'w str,
    ) -> JobException<'w> {
        // Documented is only what a failed submission has.
        let (id, kind) = match self.phase {
            _ if status == JobStatus::SUBMIT_FAIL => ("Agent.51000", "JOB_SUBMIT_EXCEPTION"),
            Phase::Failed => ("Flink.FAILED", "JOB_RUNNING_EXCEPTION"),
            _ => ("Flink.RESTARTING", "JOB_RUNNING_EXCEPTION"),
        };
        let detail = JobException::new(id, kind, cause).with_exception(exception);
        // The contract has no times outside of the years 1970 to 9999.
        match WallTime::from_unix_ms(self.failed_at).to_error_time() {
            Some(_) => detail.at(self.failed_at),
            None => detail,
        }
    }
}

impl Span {
    /// The text that was put at `start`.
    pub(super) const fn new(start: usize, len: usize) -> Self {
        Span { start, len }
    }

    fn of(self, texts: &[u8]) -> &str {
        let end = self.start.saturating_add(self.len);
        let text = texts.get(self.start..end).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// What a job needs to be asked for its phase, its first report, or its heartbeat.
pub(super) fn needs_of(slot: &Slot, is_beat: bool, options: &Options<'_>) -> Needs {
    let has_metrics = !options.metrics.is_empty();
    let is_failed = slot.phase == Phase::Failed;
    let is_new = slot.plan == 0 && slot.phase == Phase::Running;
    let wants_plan = match options.plan {
        Plan::Never => false,
        Plan::WhenNew => !slot.phase.is_final() && (is_new || is_beat),
        Plan::Always => slot.phase.is_final() || slot.phase == Phase::Running || is_beat,
    };
    let wants_metrics = has_metrics && (slot.phase.is_final() || is_beat);
    Needs {
        details: wants_plan || wants_metrics || is_failed,
        metrics: has_metrics && is_beat,
        exceptions: is_failed || slot.phase == Phase::Trouble,
    }
}
