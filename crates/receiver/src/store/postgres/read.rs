//! What PostgreSQL tells, by a connection of its own.

use std::io;

use tokio_postgres::{Client, Error, Row};

use super::super::read::{Answer, Filter, Job, Place, Project, Query, Read, Report, State};
use super::Postgres;

pub(in super::super) struct Reader(pub(super) Postgres);

impl Read for Reader {
    fn read(&mut self, query: &Query) -> io::Result<Answer> {
        self.0.with(async |link| answer(&link.client, query).await)
    }
}

async fn answer(client: &Client, query: &Query) -> Result<Answer, Error> {
    Ok(match query {
        Query::Projects {
            statuses,
            after,
            limit,
        } => {
            // In the order of a key, so that it ends where the page ends.
            let sql = "SELECT project, count(*), count(*) FILTER (WHERE status = ANY ($1)), max(received_ms) FROM job
                WHERE $2::text IS NULL OR project > $2 GROUP BY project ORDER BY project LIMIT $3";
            let rows = client
                .query(sql, &[statuses, after, &i64::from(*limit)])
                .await?;
            let project = |row: &Row| {
                Ok(Project {
                    project: row.try_get(0)?,
                    jobs: row.try_get(1)?,
                    in_trouble: row.try_get(2)?,
                    received_ms: row.try_get(3)?,
                })
            };
            Answer::Projects(rows.iter().map(project).collect::<Result<_, Error>>()?)
        }
        Query::Jobs(filter) => Answer::Jobs(jobs(client, filter).await?),
        Query::History {
            project,
            job_id,
            before,
            limit,
        } => {
            let (place, position) = before.as_ref().map(|it| (&it.0, it.1)).unzip();
            let (received_ms, digest) = start(place);
            let position = position.unwrap_or_default();
            let sql = "SELECT received_ms, digest, position::bigint, status, create_time FROM report_job
                WHERE project = $1 AND job_id = $2 AND (received_ms, digest, position) < ($3, $4, $5::bigint)
                ORDER BY received_ms DESC, digest DESC, report_job.position DESC LIMIT $6";
            let limit = i64::from(*limit);
            let rows = client
                .query(
                    sql,
                    &[project, job_id, &received_ms, &digest, &position, &limit],
                )
                .await?;
            let state = |row: &Row| {
                Ok(State {
                    place: self::place(row)?,
                    position: row.try_get(2)?,
                    status: row.try_get(3)?,
                    create_time: row.try_get(4)?,
                })
            };
            Answer::History(rows.iter().map(state).collect::<Result<_, Error>>()?)
        }
        Query::Reports {
            project,
            before,
            limit,
        } => {
            let (received_ms, digest) = start(before.as_ref());
            let sql = "SELECT received_ms, digest, message_id, length(body)::bigint FROM report
                WHERE project = $1 AND (received_ms, digest) < ($2, $3) ORDER BY received_ms DESC, digest DESC LIMIT $4";
            let rows = client
                .query(sql, &[project, &received_ms, &digest, &i64::from(*limit)])
                .await?;
            let report = |row: &Row| {
                Ok(Report {
                    place: place(row)?,
                    message_id: row.try_get(2)?,
                    bytes: row.try_get(3)?,
                })
            };
            Answer::Reports(rows.iter().map(report).collect::<Result<_, Error>>()?)
        }
        Query::Body { project, place } => {
            let sql =
                "SELECT body FROM report WHERE project = $1 AND received_ms = $2 AND digest = $3";
            let row = client
                .query_opt(sql, &[project, &place.received_ms, &place.digest])
                .await?;
            let body = row.map(|row| row.try_get::<_, Vec<u8>>(0)).transpose()?;
            Answer::Body(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
        }
    })
}

async fn jobs(client: &Client, filter: &Filter) -> Result<Vec<Job>, Error> {
    let after = filter.after.as_ref();
    let sql = "SELECT received_ms, digest, project, job_id, status, create_time, final, exception, since_ms FROM job
        WHERE ($1::text IS NULL OR project = $1) AND ($2::text IS NULL OR (project, job_id) > ($2, $3::bigint))
            AND ($4::text[] IS NULL OR status = ANY ($4))
            AND ($5::text IS NULL OR position(lower($5) IN lower(concat_ws(' ', job_id, status, exception))) > 0)
        ORDER BY project, job_id LIMIT $6";
    let rows = client
        .query(
            sql,
            &[
                &filter.project,
                &after.map(|after| &after.0),
                &after.map(|after| after.1),
                &filter.statuses,
                &filter.text,
                &i64::from(filter.limit),
            ],
        )
        .await?;
    let job = |row: &Row| {
        Ok(Job {
            place: place(row)?,
            project: row.try_get(2)?,
            job_id: row.try_get(3)?,
            status: row.try_get(4)?,
            create_time: row.try_get(5)?,
            is_final: row.try_get(6)?,
            exception: row.try_get(7)?,
            since_ms: row.try_get(8)?,
        })
    };
    rows.iter().map(job).collect()
}

/// Before this; without it, before all that may be.
fn start(before: Option<&Place>) -> (i64, Vec<u8>) {
    before.map_or((i64::MAX, Vec::new()), |place| {
        (place.received_ms, place.digest.clone())
    })
}

fn place(row: &Row) -> Result<Place, Error> {
    Ok(Place {
        received_ms: row.try_get(0)?,
        digest: row.try_get(1)?,
    })
}
