//! In PostgreSQL, beside any number of other receivers.
//!
//! A batch is one transaction of a few statements over arrays. Whoever enters a report of which another transaction has not said yet what becomes of it waits
//! for that: so a repeat is reported as such only when the report is durable. All take their rows in the same order, so that none waits in a circle.

mod address;
mod columns;
mod months;
mod outbox;
mod read;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::Duration;

use futures_util::future::try_join4;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use super::{Entry, Incoming, Opened, Store};
use address::Address;
use columns::{History, Messages, Newest, Reports};
use months::{Expiry, Month};

/// Longer than any batch takes on a server that works. Then the connection is given up, and agents ask again.
const LONGEST: Duration = Duration::from_secs(20);

/// For each connection. A commit that is not synced would not be durable when it is answered; the timeouts free the rows of who has gone; who waited for another to
/// commit shall see what that has entered.
const SESSION: &str = "
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
    SET statement_timeout = '15s'; SET idle_in_transaction_session_timeout = '15s'; SET search_path = edge_report;
    SET default_transaction_isolation = 'read committed';
";

struct Postgres {
    runtime: Runtime,
    address: Address,
    link: Option<Link>,
}

/// A connection, and what it has prepared.
struct Link {
    client: Client,
    /// Those that have their partitions.
    months: HashSet<Month>,
    expiry: Expiry,
    know: Statement,
    keep: Statement,
    history: Statement,
    renew: Statement,
    confirm: Statement,
}

pub(super) fn open(url: &str) -> io::Result<Opened> {
    let address = Address::read(url)?;
    let store = Postgres::open(&address)?;
    let reader = read::Reader(Postgres::later(&address)?);
    let outbox = outbox::Messages(Postgres::later(&address)?);
    Ok(Opened {
        store: Box::new(store),
        reader: Some(Box::new(reader)),
        outbox: Some(Box::new(outbox)),
        authorities: address.authorities(),
        memory: None,
    })
}

impl Postgres {
    /// Fails when the server cannot be reached: a wrong address shall be reported at the start.
    fn open(address: &Address) -> io::Result<Postgres> {
        let mut postgres = Postgres::later(address)?;
        let renewed = async {
            let mut client = limited(connect(&postgres.address)).await?;
            // With many rows it takes its time.
            schema::migrate(&mut client).await
        };
        postgres.runtime.block_on(renewed)?;
        postgres.with(async |_| Ok(()))?;
        Ok(postgres)
    }

    /// Connects when it is used.
    fn later(address: &Address) -> io::Result<Postgres> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Postgres {
            runtime,
            address: address.clone(),
            link: None,
        })
    }

    /// Does it on the connection, or on a new one after the last was lost.
    fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Link) -> Result<T, tokio_postgres::Error>,
    ) -> io::Result<T> {
        let link = self.link.take().filter(|link| !link.client.is_closed());
        let done = self.runtime.block_on(limited(async {
            let mut link = match link {
                Some(link) => link,
                None => Link::open(&self.address).await?,
            };
            let done = work(&mut link).await.map_err(failed)?;
            Ok((link, done))
        }));
        // After an error the connection is dropped, and with it its transaction.
        let (link, done) = done?;
        self.link = Some(link);
        Ok(done)
    }
}

impl Store for Postgres {
    fn accept(&mut self, batch: &[Incoming]) -> io::Result<Vec<Entry>> {
        self.with(async |link| link.accept(batch).await)
    }

    fn expire(&mut self, before_ms: i64) -> io::Result<bool> {
        self.with(async |link| {
            let Link {
                client,
                expiry,
                months,
                ..
            } = link;
            expiry.step(client, months, before_ms).await
        })
    }
}

impl Link {
    async fn open(address: &Address) -> io::Result<Link> {
        let mut client = connect(address).await?;
        schema::migrate(&mut client).await?;
        Link::prepare(client).await.map_err(failed)
    }

    async fn prepare(client: Client) -> Result<Link, tokio_postgres::Error> {
        client.batch_execute(SESSION).await?;
        let know = client.prepare(
            "INSERT INTO known (project, digest, received_ms) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])
             ON CONFLICT DO NOTHING RETURNING project, digest",
        );
        let know = know.await?;
        let keep = client.prepare(
            "INSERT INTO report (project, received_ms, digest, message_id, topic, body)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[], $5::text[], $6::bytea[])",
        );
        let keep = keep.await?;
        let history = client.prepare(
            "INSERT INTO report_job (project, job_id, received_ms, digest, position, create_time, status)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::int[], $6::bigint[], $7::text[])",
        );
        let history = history.await?;
        // As `JobState::follows` has it.
        let renew = client.prepare(
            "INSERT INTO job AS old (project, job_id, create_time, status, final, exception, received_ms, digest, since_ms)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bool[], $6::text[], $7::bigint[], $8::bytea[], $9::bigint[])
             ON CONFLICT (project, job_id) DO UPDATE SET create_time = excluded.create_time, status = excluded.status,
                 final = excluded.final, exception = excluded.exception, received_ms = excluded.received_ms, digest = excluded.digest,
                 since_ms = CASE excluded.status WHEN old.status THEN old.since_ms ELSE excluded.since_ms END
             WHERE (excluded.create_time, excluded.final) >= (old.create_time, old.final)",
        );
        let renew = renew.await?;
        let confirm = client.prepare(
            "INSERT INTO confirmation (project, digest, received_ms, due_ms, topic, payload)
             SELECT project, digest, received_ms, 0, topic, payload
             FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[], $5::bytea[]) AS new (project, digest, received_ms, topic, payload)
             ON CONFLICT DO NOTHING",
        );
        let confirm = confirm.await?;
        let (months, expiry) = (HashSet::new(), Expiry::default());
        Ok(Link {
            client,
            months,
            expiry,
            know,
            keep,
            history,
            renew,
            confirm,
        })
    }

    async fn accept(&mut self, batch: &[Incoming]) -> Result<Vec<Entry>, tokio_postgres::Error> {
        for report in batch {
            let month = Month::of(report.received_ms);
            if !self.months.contains(&month) {
                month.prepare(&mut self.client).await?;
                self.months.insert(month);
            }
        }
        let transaction = self.client.transaction().await?;

        // In the order of their keys. Of several that are the same the first one is kept, with its time.
        let mut keys: BTreeMap<Key<'_>, i64> = BTreeMap::new();
        for report in batch {
            keys.entry(key(report)).or_insert(report.received_ms);
        }
        let projects: Vec<&str> = keys.keys().map(|key| key.0).collect();
        let digests: Vec<&[u8]> = keys.keys().map(|key| key.1).collect();
        let times: Vec<i64> = keys.values().copied().collect();
        let rows = transaction
            .query(&self.know, &[&projects, &digests, &times])
            .await?;
        let mut new = HashSet::new();
        for row in &rows {
            let key: Key<'_> = (row.try_get(0)?, row.try_get(1)?);
            new.insert(key);
        }
        // The first of several that are the same.
        let entries: Vec<Entry> = batch
            .iter()
            .map(|it| {
                if new.remove(&key(it)) {
                    Entry::New
                } else {
                    Entry::Repeat
                }
            })
            .collect();
        let fresh = batch
            .iter()
            .zip(&entries)
            .filter(|(_, entry)| **entry == Entry::New);
        let fresh: Vec<&Incoming> = fresh.map(|(report, _)| report).collect();
        if !fresh.is_empty() {
            let (reports, history) = (Reports::of(&fresh), History::of(&fresh));
            let (newest, messages) = (Newest::of(&fresh), Messages::of(&fresh));
            let (reports, history) = (reports.columns(), history.columns());
            let newest = newest.columns();
            let confirm = async {
                match &messages {
                    Some(messages) => {
                        transaction
                            .execute(&self.confirm, &messages.columns())
                            .await
                    }
                    None => Ok(0),
                }
            };
            // Sent together: the server does one after the other.
            try_join4(
                transaction.execute(&self.keep, &reports),
                transaction.execute(&self.history, &history),
                transaction.execute(&self.renew, &newest),
                confirm,
            )
            .await?;
        }
        transaction.commit().await?;
        Ok(entries)
    }
}

/// To a database that can keep what comes.
async fn connect(address: &Address) -> io::Result<Client> {
    let client = address.connect().await.map_err(failed)?;
    let encoding = client.query_one("SHOW server_encoding", &[]).await;
    let encoding = encoding.and_then(|row| row.try_get::<_, String>(0));
    match encoding.map_err(failed)?.as_str() {
        // The second takes any bytes as they are.
        "UTF8" | "SQL_ASCII" => Ok(client),
        other => Err(io::Error::other(format!(
            "PostgreSQL: texts of this database are in {other}, which has not all of them: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        ))),
    }
}

/// Whether this is an address, right or not.
pub(super) fn check(url: &str) -> io::Result<()> {
    Address::read(url).map(drop)
}

type Key<'r> = (&'r str, &'r [u8]);

fn key(report: &Incoming) -> Key<'_> {
    (&report.project_id, &report.digest)
}

/// Whatever it waits for, it waits so long at most.
async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL does not answer");
    timeout(LONGEST, work).await.map_err(|_| late())?
}

/// With all that is known of it: the crate's own text is short.
fn failed(why: tokio_postgres::Error) -> io::Error {
    let Some(said) = why.as_db_error() else {
        let cause = std::error::Error::source(&why).map(|cause| format!(": {cause}"));
        return io::Error::other(format!("PostgreSQL: {why}{}", cause.unwrap_or_default()));
    };
    // Class 22 is data that cannot be, 54 is over a limit: the report is at fault.
    let kind = match said.code().code().get(..2) {
        Some("22" | "54") => io::ErrorKind::InvalidData,
        _ if *said.code() == SqlState::DISK_FULL => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(
        kind,
        format!("PostgreSQL: {} ({})", said.message(), said.code().code()),
    )
}
