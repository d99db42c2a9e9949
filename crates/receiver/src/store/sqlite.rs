//! In a file of SQLite: one receiver, no server. Each transaction is synced before it is answered (WAL, `synchronous=FULL`).

#[cfg(unix)]
mod files;
mod outbox;
mod read;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use super::{Entry, Incoming, Message, Opened, Store, start};

/// The schema, a step for each version; `user_version` counts those that were taken. A step that was published is not changed.
const MIGRATIONS: [&str; 3] = [
    include_str!("sqlite/1.sql"),
    include_str!("sqlite/2.sql"),
    include_str!("sqlite/3.sql"),
];

/// Rows removed in a transaction, give or take those of the last report: some milliseconds, in which nobody is answered. One report may have a hundred thousand.
const EXPIRED_TOGETHER: usize = 1500;

/// What others that look at the file may hold it for.
const BUSY: Duration = Duration::from_secs(10);

struct Sqlite {
    connection: Connection,
    #[cfg(unix)]
    files: files::Files,
}

pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let told = |why: io::Error| crate::named(&why, path.display());
    let connect = || connect(path).map_err(|why| told(failed(why)));
    let store = Sqlite::open(path)?;
    // Whose tables are there now.
    let reader = connect()?;
    let read_only = reader.pragma_update(None, "query_only", true);
    read_only.map_err(|why| told(failed(why)))?;
    Ok(Opened {
        store: Box::new(store),
        reader: Some(Box::new(read::Reader(reader))),
        outbox: Some(Box::new(outbox::Messages(connect()?))),
        #[cfg(feature = "tls")]
        authorities: None,
        memory: None,
    })
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

impl Sqlite {
    fn open(path: &Path) -> io::Result<Sqlite> {
        let told = |why: io::Error| crate::named(&why, path.display());
        private(path).map_err(told)?;
        let mut connection = connect(path).map_err(|why| told(failed(why)))?;
        migrate(&mut connection).map_err(told)?;
        Ok(Sqlite {
            connection,
            #[cfg(unix)]
            files: files::Files::of(path).map_err(told)?,
        })
    }
}

/// What jobs run here is nobody else's business.
fn private(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn migrate(connection: &mut Connection) -> io::Result<()> {
    // Only one of those that start at once gets past this.
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let step = step.map_err(failed)?;
    let version = step.pragma_query_value(None, "user_version", |row| row.get(0));
    let version: u32 = version.map_err(failed)?;
    for sql in super::steps_after(version, &MIGRATIONS)? {
        step.execute_batch(sql).map_err(failed)?;
    }
    let migrated = step.pragma_update(None, "user_version", MIGRATIONS.len().to_string());
    migrated.and_then(|()| step.commit()).map_err(failed)
}

impl Store for Sqlite {
    fn accept(&mut self, batch: &[Incoming]) -> io::Result<Vec<Entry>> {
        let mut accept = || {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let entries = Writer::of(&transaction)?.enter(batch)?;
            transaction.commit()?;
            Ok(entries)
        };
        let entries = accept().map_err(failed)?;
        #[cfg(unix)]
        self.files.are_there()?;
        Ok(entries)
    }

    fn expire(&mut self, before_ms: i64) -> io::Result<bool> {
        let mut expire = || {
            let first: Option<i64> =
                self.connection
                    .query_row("SELECT min(received_ms) FROM report", [], |row| row.get(0))?;
            if first.is_none_or(|first| first >= before_ms) {
                return Ok(false);
            }
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            expire_some(&transaction, before_ms)?;
            transaction.commit()?;
            Ok(true)
        };
        expire().map_err(failed)
    }
}

/// Removes the oldest reports, each with all that goes with it.
fn expire_some(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<()> {
    let mut oldest = transaction
        .prepare("SELECT id FROM report WHERE received_ms < ?1 ORDER BY received_ms, id LIMIT 1")?;
    let mut removals = [
        "DELETE FROM job WHERE (project, job_id) IN (SELECT project, job_id FROM report_job WHERE report = ?1) AND report = ?1",
        "DELETE FROM report_job WHERE report = ?1",
        "DELETE FROM confirmation WHERE (project, digest) = (SELECT project, digest FROM report WHERE id = ?1)",
        "DELETE FROM report WHERE id = ?1",
    ]
    .into_iter()
    .map(|sql| transaction.prepare(sql))
    .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut removed: usize = 0;
    while removed < EXPIRED_TOGETHER {
        let id = oldest.query_row([before_ms], |row| row.get::<_, i64>(0));
        let Some(id) = id.optional()? else { break };
        for removal in &mut removals {
            removed = removed.saturating_add(removal.execute([id])?);
        }
    }
    Ok(())
}

/// The statements of a batch, each read once.
struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    enter: Statement<'t>,
    history: Statement<'t>,
    renew: Statement<'t>,
    confirm: Statement<'t>,
}

impl<'t> Writer<'t> {
    fn of(transaction: &'t Transaction<'_>) -> rusqlite::Result<Writer<'t>> {
        Ok(Writer {
            transaction,
            enter: transaction.prepare(
                "INSERT INTO report (project, digest, received_ms, message_id, topic, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?,
            history: transaction.prepare(
                "INSERT INTO report_job (project, job_id, report, position, create_time, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            // As `JobState::follows` has it.
            renew: transaction.prepare(
                "INSERT INTO job AS old (project, job_id, create_time, status, final, exception, received_ms, report, since_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?7)
                 ON CONFLICT (project, job_id) DO UPDATE SET create_time = excluded.create_time,
                     status = excluded.status, final = excluded.final, exception = excluded.exception,
                     received_ms = excluded.received_ms, report = excluded.report,
                     since_ms = CASE excluded.status WHEN old.status THEN old.since_ms ELSE excluded.since_ms END
                 WHERE (excluded.create_time, excluded.final) >= (old.create_time, old.final)",
            )?,
            confirm: transaction.prepare(
                "INSERT INTO confirmation (project, digest, received_ms, due_ms, topic, payload) VALUES (?1, ?2, ?3, 0, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?,
        })
    }

    fn enter(&mut self, batch: &[Incoming]) -> rusqlite::Result<Vec<Entry>> {
        batch.iter().map(|report| self.enter_one(report)).collect()
    }

    fn enter_one(&mut self, report: &Incoming) -> rusqlite::Result<Entry> {
        let project = &report.project_id;
        let entered = self.enter.execute(params![
            project,
            report.digest,
            report.received_ms,
            start(&report.message_id),
            report.topic.as_deref().map(start),
            report.body
        ])?;
        if entered == 0 {
            return Ok(Entry::Repeat);
        }
        let id = self.transaction.last_insert_rowid();
        for (position, job) in (0_i64..).zip(&report.jobs) {
            let (create_time, status) = (job.create_time, &job.status);
            self.history.execute(params![
                project,
                job.job_id,
                id,
                position,
                create_time,
                status
            ])?;
            if let Some(job_id) = job.job_id {
                self.renew.execute(params![
                    project,
                    job_id,
                    create_time,
                    status,
                    job.is_final,
                    job.exception,
                    report.received_ms,
                    id
                ])?;
            }
        }
        if let Some(Message { topic, payload }) = &report.confirmation {
            self.confirm.execute(params![
                project,
                report.digest,
                report.received_ms,
                topic,
                payload
            ])?;
        }
        Ok(Entry::New)
    }
}

fn failed(why: rusqlite::Error) -> io::Error {
    let kind = match why.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        // A report that SQLite cannot take.
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            io::ErrorKind::InvalidData
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}
