//! What SQLite tells: readers see the last commit, and keep no writer waiting.

use std::io;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::read::{Answer, Filter, Job, Place, Project, Query, Read, Report, State};
use super::failed;

pub(in super::super) struct Reader(pub(super) Connection);

/// Before a place; without one, all.
const BEFORE: &str =
    "(?3 IS NULL OR r.id < (SELECT id FROM report WHERE project = ?1 AND digest = ?3))";

impl Read for Reader {
    fn read(&mut self, query: &Query) -> io::Result<Answer> {
        self.answer(query).map_err(failed)
    }
}

impl Reader {
    fn answer(&self, query: &Query) -> rusqlite::Result<Answer> {
        Ok(match query {
            Query::Projects {
                statuses,
                after,
                limit,
            } => {
                let mut rows = self.0.prepare(
                    "SELECT project, count(*), count(*) FILTER (WHERE status IN (SELECT value FROM json_each(?1))), max(received_ms)
                     FROM job WHERE ?2 IS NULL OR project > ?2 GROUP BY project ORDER BY project LIMIT ?3",
                )?;
                let statuses = serde_json::json!(statuses).to_string();
                let rows = rows.query_map(params![statuses, after, limit], |row| {
                    Ok(Project {
                        project: row.get(0)?,
                        jobs: row.get(1)?,
                        in_trouble: row.get(2)?,
                        received_ms: row.get(3)?,
                    })
                })?;
                Answer::Projects(rows.collect::<Result<_, _>>()?)
            }
            Query::Jobs(filter) => Answer::Jobs(self.jobs(filter)?),
            Query::History {
                project,
                job_id,
                before,
                limit,
            } => {
                let sql = format!(
                    "SELECT r.received_ms, r.digest, j.position, j.status, j.create_time FROM report_job j JOIN report r ON r.id = j.report
                     WHERE j.project = ?1 AND j.job_id = ?4 AND ({BEFORE} OR (r.digest = ?3 AND j.position < ?5))
                     ORDER BY j.report DESC, position DESC LIMIT ?2"
                );
                let mut rows = self.0.prepare(&sql)?;
                let (before, position) = before
                    .as_ref()
                    .map(|(place, position)| (&place.digest, position))
                    .unzip();
                let params = params![project, limit, before, job_id, position];
                let rows = rows.query_map(params, |row| {
                    Ok(State {
                        place: place(row)?,
                        position: row.get(2)?,
                        status: row.get(3)?,
                        create_time: row.get(4)?,
                    })
                })?;
                Answer::History(rows.collect::<Result<_, _>>()?)
            }
            Query::Reports {
                project,
                before,
                limit,
            } => {
                let sql = format!(
                    "SELECT r.received_ms, r.digest, r.message_id, length(r.body) FROM report r
                     WHERE r.project = ?1 AND {BEFORE} ORDER BY r.id DESC LIMIT ?2"
                );
                let mut rows = self.0.prepare(&sql)?;
                let before = before.as_ref().map(|place| &place.digest);
                let rows = rows.query_map(params![project, limit, before], |row| {
                    Ok(Report {
                        place: place(row)?,
                        message_id: row.get(2)?,
                        bytes: row.get(3)?,
                    })
                })?;
                Answer::Reports(rows.collect::<Result<_, _>>()?)
            }
            Query::Body { project, place } => {
                let sql = "SELECT body FROM report WHERE project = ?1 AND digest = ?2";
                let mut row = self.0.prepare(sql)?;
                let body = row.query_row(params![project, place.digest], |row| {
                    row.get::<_, Vec<u8>>(0)
                });
                Answer::Body(
                    body.optional()?
                        .map(|body| String::from_utf8_lossy(&body).into_owned()),
                )
            }
        })
    }

    fn jobs(&self, filter: &Filter) -> rusqlite::Result<Vec<Job>> {
        let statuses = filter
            .statuses
            .as_ref()
            .map(|statuses| serde_json::json!(statuses).to_string());
        let after = filter.after.as_ref();
        let mut rows = self.0.prepare(
            "SELECT r.received_ms, r.digest, j.project, j.job_id, j.status, j.create_time, j.final, j.exception, j.since_ms
             FROM job j JOIN report r ON r.id = j.report
             WHERE (?1 IS NULL OR j.project = ?1) AND (?2 IS NULL OR (j.project, j.job_id) > (?2, ?3))
                 AND (?4 IS NULL OR j.status IN (SELECT value FROM json_each(?4)))
                 AND (?5 IS NULL OR instr(lower(j.job_id || ' ' || j.status || ' ' || coalesce(j.exception, '')), lower(?5)) > 0)
             ORDER BY j.project, j.job_id LIMIT ?6",
        )?;
        let rows = rows.query_map(
            params![
                filter.project,
                after.map(|after| &after.0),
                after.map(|after| after.1),
                statuses,
                filter.text,
                filter.limit
            ],
            |row| {
                Ok(Job {
                    place: place(row)?,
                    project: row.get(2)?,
                    job_id: row.get(3)?,
                    status: row.get(4)?,
                    create_time: row.get(5)?,
                    is_final: row.get(6)?,
                    exception: row.get(7)?,
                    since_ms: row.get(8)?,
                })
            },
        )?;
        rows.collect()
    }
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        received_ms: row.get(0)?,
        digest: row.get(1)?,
    })
}
