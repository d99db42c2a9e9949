//! `/jobs/overview`: all jobs that the cluster knows.

use super::jid::Jid;
use super::read::{Items, ReadError, Reader, Value};
use super::state::State;
use crate::code::Code;
use crate::json::Text;

/// What `/jobs/overview` says, checked to its end.
///
/// ```
/// use edge_report::flink::{Jid, Overview, State};
///
/// let body = br#"{"jobs":[{"jid":"000000000000000000000000000003e9","name":"edge-stream","start-time":1795401190678,
///   "end-time":-1,"duration":4227,"state":"RUNNING","last-modification":1795401191089,"tasks":{"running":2,"total":2}}]}"#;
/// let overview = Overview::read(body)?;
/// let job = overview.jobs().next().expect("it has one");
/// assert_eq!((job.jid, job.state, job.end_time), (Jid::of_job_id(1001), State::Running, None));
/// assert_eq!(Overview::read(&body[..99]).unwrap_err().to_string(), "the JSON text ends too early (byte 99)");
/// # Ok::<(), edge_report::flink::ReadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Overview<'a> {
    jobs: Items<'a>,
    len: usize,
}

impl<'a> Overview<'a> {
    /// Reads it. Each job must have its id, its state and its start.
    pub fn read(body: &'a [u8]) -> Result<Self, ReadError> {
        let mut overview = Overview {
            jobs: Items::none(),
            len: 0,
        };
        let mut is_there = false;
        Reader::new(body).whole_object(&mut |reader, key, value| {
            if !key.is("jobs") {
                return Ok(());
            }
            is_there = true;
            overview.list(reader, value)
        })?;
        match is_there {
            true => Ok(overview),
            false => Err(Reader::new(body).wrong(Code::Missing, "jobs")),
        }
    }

    #[inline(never)]
    fn list(&mut self, reader: &mut Reader<'a>, value: Value<'a>) -> Result<(), ReadError> {
        let Value::List = value else {
            return Err(reader.wrong(Code::NotAnArray, "jobs"));
        };
        let inside = reader.depth();
        self.jobs = Items::of(reader);
        self.len = 0;
        while let Some(item) = reader.item(inside)? {
            OverviewJob::read(reader, item)?;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }

    /// The jobs, as they stand there.
    pub fn jobs(&self) -> OverviewJobs<'a> {
        OverviewJobs {
            items: self.jobs.clone(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The jobs of an [`Overview`].
#[derive(Clone, Debug)]
pub struct OverviewJobs<'a> {
    items: Items<'a>,
}

impl<'a> Iterator for OverviewJobs<'a> {
    type Item = OverviewJob<'a>;

    fn next(&mut self) -> Option<OverviewJob<'a>> {
        self.items.next(OverviewJob::read)
    }
}

/// One job of an [`Overview`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverviewJob<'a> {
    /// Its id.
    pub jid: Jid,
    /// Its name; empty if there is none.
    pub name: Text<'a>,
    /// Its state.
    pub state: State,
    /// When it was submitted: ms since 1970 by the job manager's clock, like all times here.
    pub start_time: i64,
    /// When it ended.
    pub end_time: Option<i64>,
    /// For how long it has been there, or was.
    pub duration: Option<i64>,
    /// When it, or one of its tasks, was last in another state.
    pub last_modification: Option<i64>,
    /// How many of its tasks run.
    pub tasks_running: Option<i64>,
    /// How many tasks it has.
    pub tasks_total: Option<i64>,
}

impl<'a> OverviewJob<'a> {
    #[inline(never)]
    fn read(reader: &mut Reader<'a>, item: Value<'a>) -> Result<Self, ReadError> {
        let Value::Object = item else {
            return Err(reader.wrong(Code::NotAnObject, "jobs"));
        };
        let missing = |member| reader.wrong(Code::Missing, member);
        let (no_jid, no_state, no_start) =
            (missing("jid"), missing("state"), missing("start-time"));
        let (mut jid, mut state, mut start_time) = (None, None, None);
        let mut job = OverviewJob {
            jid: Jid::default(),
            name: Text::from_raw(""),
            state: State::Unknown,
            start_time: 0,
            end_time: None,
            duration: None,
            last_modification: None,
            tasks_running: None,
            tasks_total: None,
        };
        reader.members(&mut |reader, key, value| {
            if key.is("jid") {
                jid = Some(jid_of(reader, value)?);
            } else if key.is("state") {
                state = Some(state_of(reader, value)?);
            } else if key.is("start-time") {
                let time = value.integer();
                start_time = Some(time.ok_or(reader.wrong(Code::NotAnInteger, "start-time"))?);
            } else if key.is("name") {
                job.name = value.text().unwrap_or(job.name);
            } else if key.is("end-time") {
                job.end_time = time_of(value);
            } else if key.is("duration") {
                job.duration = time_of(value);
            } else if key.is("last-modification") {
                job.last_modification = time_of(value);
            } else if key.is("tasks")
                && let Value::Object = value
            {
                reader.members(&mut |_, key, value| {
                    if key.is("running") {
                        job.tasks_running = value.integer().filter(|&n| n >= 0);
                    } else if key.is("total") {
                        job.tasks_total = value.integer().filter(|&n| n >= 0);
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        job.jid = jid.ok_or(no_jid)?;
        job.state = state.ok_or(no_state)?;
        job.start_time = start_time.ok_or(no_start)?;
        Ok(job)
    }

    /// When it got into its state, as well as that is told.
    pub(super) fn state_time(&self) -> i64 {
        let end = self.end_time.filter(|_| self.state.is_terminal());
        end.or(self.last_modification).unwrap_or(self.start_time)
    }
}

pub(super) fn jid_of(reader: &Reader<'_>, value: Value<'_>) -> Result<Jid, ReadError> {
    let text = value.text().ok_or(reader.wrong(Code::NotAString, "jid"))?;
    Jid::from_text(text).ok_or(reader.wrong(Code::FlinkJobId, "jid"))
}

pub(super) fn state_of(reader: &Reader<'_>, value: Value<'_>) -> Result<State, ReadError> {
    let text = value
        .text()
        .ok_or(reader.wrong(Code::NotAString, "state"))?;
    Ok(State::from_text(text))
}

/// Flink has -1 and 0 for "not yet".
pub(super) fn time_of(value: Value<'_>) -> Option<i64> {
    value.integer().filter(|&time| time > 0)
}
