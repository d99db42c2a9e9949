//! Writes a report job by job, for agents that cannot hold all jobs at once.

use super::contract::HEAD;
use super::encode::{within_limit, write_job, write_tail};
use super::encode_error::EncodeError;
use super::finding::{Finding, Path};
use super::model::{Envelope, Job};
use super::validate::{valid_envelope, valid_job};
use crate::code::Code;
use crate::json::{Counter, Sink, SliceSink};

/// Writes a report job by job. The room for its end is set aside at the start, so that
/// [`finish`](Self::finish) always fits.
///
/// ```
/// use edge_report::{Job, JobStatus, ReportWriter};
///
/// let mut buffer = [0; 256];
/// let mut writer = ReportWriter::over(&mut buffer, Some("confirm"), "5f0c…-2")?;
/// for id in 1.. {
///     let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(id);
///     if writer.job(&job).is_err() {
///         break; // full: this job goes into the next report
///     }
/// }
/// assert_eq!(writer.jobs(), 2);
/// let bytes = writer.finish()?.into_written();
/// assert!(edge_report::check(bytes, |_| {}).is_valid());
/// # Ok::<(), edge_report::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct ReportWriter<'m, S> {
    sink: S,
    start: usize,
    jobs: usize,
    envelope: Envelope<'m>,
    tail_len: usize,
}

impl<'m, 'b> ReportWriter<'m, SliceSink<'b>> {
    /// Begins a report in `buffer`.
    pub fn over(
        buffer: &'b mut [u8],
        topic: Option<&'m str>,
        message_id: &'m str,
    ) -> Result<Self, EncodeError> {
        Self::new(SliceSink::new(buffer), topic, message_id)
    }
}

impl<'m, S: Sink> ReportWriter<'m, S> {
    /// Begins a report in `sink`, after what it holds.
    pub fn new(
        mut sink: S,
        topic: Option<&'m str>,
        message_id: &'m str,
    ) -> Result<Self, EncodeError> {
        let envelope = Envelope {
            msg_confirm_topic: topic,
            message_id,
        };
        valid_envelope(envelope)?;
        let mut tail = Counter::default();
        let _ = write_tail(envelope, &mut tail);
        let needed = HEAD.len().saturating_add(tail.len());
        within_limit(needed)?;
        let start = sink.len();
        if sink.room() < needed || sink.put(HEAD.as_bytes()).is_err() {
            return Err(EncodeError::TooSmall { needed });
        }
        Ok(ReportWriter {
            sink,
            start,
            jobs: 0,
            envelope,
            tail_len: tail.len(),
        })
    }

    /// Adds a job. One that is invalid or does not fit leaves what was written before intact;
    /// when it does not fit, the error says how many bytes the report would need with it.
    pub fn job(&mut self, job: &Job<'_>) -> Result<(), EncodeError> {
        valid_job(job, self.jobs)?;
        let before = self.sink.len();
        let result = self.put_job(job);
        match result {
            Ok(()) => self.jobs = self.jobs.saturating_add(1),
            Err(_) => self.sink.truncate(before),
        }
        result
    }

    /// How many jobs are written.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// How many bytes the report has if it ends here.
    pub fn encoded_len(&self) -> usize {
        let written = self.sink.len().saturating_sub(self.start);
        written.saturating_add(self.tail_len)
    }

    /// Ends the report and gives the sink back. Without a job there is nothing to report, which is an error.
    pub fn finish(mut self) -> Result<S, EncodeError> {
        if self.jobs == 0 {
            return Err(EncodeError::Invalid(Finding {
                code: Code::Empty,
                path: Path::REPORT.member("jobs"),
                offset: None,
            }));
        }
        match write_tail(self.envelope, &mut self.sink) {
            Ok(()) => Ok(self.sink),
            // Only a heap that has run out gets here.
            Err(_) => Err(EncodeError::TooSmall {
                needed: self.encoded_len(),
            }),
        }
    }

    fn put_job(&mut self, job: &Job<'_>) -> Result<(), EncodeError> {
        let is_first = self.jobs == 0;
        let before = self.encoded_len();
        let fits = write_job(job, is_first, &mut self.sink).is_ok();
        if fits && self.sink.room() >= self.tail_len {
            return within_limit(self.encoded_len());
        }
        let mut counter = Counter::default();
        let _ = write_job(job, is_first, &mut counter);
        let needed = before.saturating_add(counter.len());
        within_limit(needed)?;
        Err(EncodeError::TooSmall { needed })
    }
}
