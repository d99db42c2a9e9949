//! The same rows into the same tables, by statements of the same kind, without a receiver.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

use crate::load;

pub struct Bare {
    runtime: Runtime,
    client: Client,
}

const KNOW: &str = "INSERT INTO edge_report.known SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[]) ON CONFLICT DO NOTHING";
const KEEP: &str = "INSERT INTO edge_report.report SELECT p, t, d, m, 'hw/events/messages/dli/message/confirm', b
    FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[], $5::bytea[]) AS r (p, d, t, m, b)";
const HISTORY: &str = "INSERT INTO edge_report.report_job SELECT p, j, t, d, 0, c, 'job_submit_fail'
    FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[]) AS r (p, d, t, j, c)";
const RENEW: &str = "INSERT INTO edge_report.job AS old SELECT p, j, c, 'job_submit_fail', true, 'JOB_SUBMIT_EXCEPTION agent_submit_job_exception_error', t, d, t
    FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[]) AS r (p, d, t, j, c)
    ON CONFLICT (project, job_id) DO UPDATE SET create_time = excluded.create_time, status = excluded.status, final = excluded.final,
        exception = excluded.exception, received_ms = excluded.received_ms, digest = excluded.digest,
        since_ms = CASE excluded.status WHEN old.status THEN old.since_ms ELSE excluded.since_ms END
    WHERE (excluded.create_time, excluded.final) >= (old.create_time, old.final)";

impl Bare {
    pub fn connect(url: &str) -> Bare {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls)
                .await
                .expect("PostgreSQL");
            tokio::spawn(connection);
            client
        });
        Bare { runtime, client }
    }

    /// So many reports, so many in a transaction: how long all took, and each.
    pub fn insert(&self, reports: usize, batch: usize, run: &str) -> (Duration, Vec<Duration>) {
        let bodies: Vec<Vec<u8>> = (0..reports).map(|number| load::body(run, number)).collect();
        self.runtime.block_on(async {
            let client = &self.client;
            let mut statements = Vec::new();
            for sql in [KNOW, KEEP, HISTORY, RENEW] {
                statements.push(client.prepare(sql).await.expect("a statement"));
            }
            let (began, mut latencies) = (Instant::now(), Vec::new());
            for (start, bodies) in (0..).step_by(batch).zip(bodies.chunks(batch)) {
                let began = Instant::now();
                let numbers: Vec<usize> = (start..start + bodies.len()).collect();
                let projects: Vec<String> = numbers
                    .iter()
                    .map(|number| format!("{:032x}", number % 1000 / 10))
                    .collect();
                let digests: Vec<Vec<u8>> = bodies
                    .iter()
                    .map(|body| Sha256::digest(body).to_vec())
                    .collect();
                let now = i64::try_from(
                    std::time::UNIX_EPOCH
                        .elapsed()
                        .expect("a clock")
                        .as_millis(),
                )
                .expect("a time");
                let times = vec![now; bodies.len()];
                let ids: Vec<String> = numbers
                    .iter()
                    .map(|number| format!("{run}-{number}"))
                    .collect();
                let jobs: Vec<i64> = numbers
                    .iter()
                    .map(|number| *number as i64 % 10_000 + 1)
                    .collect();
                let created: Vec<i64> = numbers
                    .iter()
                    .map(|number| 1_591_104_868_201 + *number as i64)
                    .collect();
                client.batch_execute("BEGIN").await.expect("a transaction");
                client
                    .execute(&statements[0], &[&projects, &digests, &times])
                    .await
                    .expect("rows");
                client
                    .execute(
                        &statements[1],
                        &[&projects, &digests, &times, &ids, &bodies],
                    )
                    .await
                    .expect("rows");
                client
                    .execute(
                        &statements[2],
                        &[&projects, &digests, &times, &jobs, &created],
                    )
                    .await
                    .expect("rows");
                client
                    .execute(
                        &statements[3],
                        &[&projects, &digests, &times, &jobs, &created],
                    )
                    .await
                    .expect("rows");
                client.batch_execute("COMMIT").await.expect("a commit");
                latencies.push(began.elapsed());
            }
            (began.elapsed(), latencies)
        })
    }

    pub fn megabytes_per_million(&self) -> i64 {
        let size = "SELECT (sum(pg_total_relation_size(oid)) / (SELECT count(*) FROM edge_report.report))::bigint
            FROM pg_class WHERE relnamespace = 'edge_report'::regnamespace AND relkind = 'r'";
        let row = self
            .runtime
            .block_on(self.client.query_one(size, &[]))
            .expect("a size");
        row.get(0)
    }
}
