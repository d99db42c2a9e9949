//! Reports as arrays, one for each column: a statement takes any number of rows.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use super::super::{Incoming, JobState, start};

type Column<'c> = &'c (dyn ToSql + Sync);

/// Rows of the table `report`.
#[derive(Default)]
pub(super) struct Reports<'r> {
    project: Vec<&'r str>,
    received_ms: Vec<i64>,
    digest: Vec<&'r [u8]>,
    message_id: Vec<String>,
    topic: Vec<Option<String>>,
    body: Vec<&'r [u8]>,
}

impl<'r> Reports<'r> {
    pub(super) fn of(reports: &[&'r Incoming]) -> Reports<'r> {
        let mut rows = Reports::default();
        for report in reports {
            rows.project.push(&report.project_id);
            rows.received_ms.push(report.received_ms);
            rows.digest.push(&report.digest);
            rows.message_id.push(start(&report.message_id));
            rows.topic.push(report.topic.as_deref().map(start));
            rows.body.push(&report.body);
        }
        rows
    }

    /// In the order of the statement's parameters.
    pub(super) fn columns(&self) -> [Column<'_>; 6] {
        [
            &self.project,
            &self.received_ms,
            &self.digest,
            &self.message_id,
            &self.topic,
            &self.body,
        ]
    }
}

/// Rows of the table `report_job`.
#[derive(Default)]
pub(super) struct History<'r> {
    project: Vec<&'r str>,
    job_id: Vec<i64>,
    received_ms: Vec<i64>,
    digest: Vec<&'r [u8]>,
    position: Vec<i32>,
    create_time: Vec<i64>,
    status: Vec<&'r str>,
}

impl<'r> History<'r> {
    pub(super) fn of(reports: &[&'r Incoming]) -> History<'r> {
        let mut rows = History::default();
        for report in reports {
            for (position, job) in (0..).zip(&report.jobs) {
                rows.project.push(&report.project_id);
                rows.job_id.push(job.job_id.unwrap_or(0));
                rows.received_ms.push(report.received_ms);
                rows.digest.push(&report.digest);
                rows.position.push(position);
                rows.create_time.push(job.create_time);
                rows.status.push(&job.status);
            }
        }
        rows
    }

    /// In the order of the statement's parameters.
    pub(super) fn columns(&self) -> [Column<'_>; 7] {
        [
            &self.project,
            &self.job_id,
            &self.received_ms,
            &self.digest,
            &self.position,
            &self.create_time,
            &self.status,
        ]
    }
}

/// Rows of the table `job`: the newest state that these reports have of each job, in the order of their keys.
#[derive(Default)]
pub(super) struct Newest<'r> {
    project: Vec<&'r str>,
    job_id: Vec<i64>,
    create_time: Vec<i64>,
    status: Vec<&'r str>,
    is_final: Vec<bool>,
    exception: Vec<Option<&'r str>>,
    received_ms: Vec<i64>,
    digest: Vec<&'r [u8]>,
    since_ms: Vec<i64>,
}

/// A job's newest state in a batch, the report that said it, and since when it is in that state as far as the batch knows.
#[derive(Clone, Copy)]
struct State<'r> {
    job: &'r JobState,
    report: &'r Incoming,
    since_ms: i64,
}

impl<'r> Newest<'r> {
    pub(super) fn of(reports: &[&'r Incoming]) -> Newest<'r> {
        let mut newest: BTreeMap<(&str, i64), State<'r>> = BTreeMap::new();
        for report in reports {
            for job in &report.jobs {
                let Some(job_id) = job.job_id else { continue };
                let mut state = State {
                    job,
                    report,
                    since_ms: report.received_ms,
                };
                newest
                    .entry((&report.project_id, job_id))
                    .and_modify(|old| {
                        if old.job.status == job.status {
                            state.since_ms = old.since_ms;
                        }
                        if job.follows(old.job) {
                            *old = state;
                        }
                    })
                    .or_insert(state);
            }
        }
        let mut rows = Newest::default();
        for (
            (project, job_id),
            State {
                job,
                report,
                since_ms,
            },
        ) in newest
        {
            rows.project.push(project);
            rows.job_id.push(job_id);
            rows.create_time.push(job.create_time);
            rows.status.push(&job.status);
            rows.is_final.push(job.is_final);
            rows.exception.push(job.exception.as_deref());
            rows.received_ms.push(report.received_ms);
            rows.digest.push(&report.digest);
            rows.since_ms.push(since_ms);
        }
        rows
    }

    /// In the order of the statement's parameters.
    pub(super) fn columns(&self) -> [Column<'_>; 9] {
        [
            &self.project,
            &self.job_id,
            &self.create_time,
            &self.status,
            &self.is_final,
            &self.exception,
            &self.received_ms,
            &self.digest,
            &self.since_ms,
        ]
    }
}

/// Rows of the table `confirmation`.
#[derive(Default)]
pub(super) struct Messages<'r> {
    project: Vec<&'r str>,
    digest: Vec<&'r [u8]>,
    received_ms: Vec<i64>,
    topic: Vec<&'r str>,
    payload: Vec<&'r [u8]>,
}

impl<'r> Messages<'r> {
    /// None: no report is to be confirmed.
    pub(super) fn of(reports: &[&'r Incoming]) -> Option<Messages<'r>> {
        let mut rows = Messages::default();
        for report in reports {
            let Some(message) = &report.confirmation else {
                continue;
            };
            rows.project.push(&report.project_id);
            rows.digest.push(&report.digest);
            rows.received_ms.push(report.received_ms);
            rows.topic.push(&message.topic);
            rows.payload.push(&message.payload);
        }
        (!rows.project.is_empty()).then_some(rows)
    }

    /// In the order of the statement's parameters.
    pub(super) fn columns(&self) -> [Column<'_>; 5] {
        [
            &self.project,
            &self.digest,
            &self.received_ms,
            &self.topic,
            &self.payload,
        ]
    }
}
