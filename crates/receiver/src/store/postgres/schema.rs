//! The schema `edge_report`, made and renewed by whoever starts first.

use std::io;

use tokio_postgres::{Client, Error, Transaction};

use super::super::steps_after;
use super::failed;

/// A step for each version. A step that was published is not changed.
const MIGRATIONS: [&str; 2] = [include_str!("1.sql"), include_str!("2.sql")];

/// Held by who changes tables, so that of several that start at once one does it, and the others find it done. The number is this program's own: `ereport` in
/// ASCII.
const LOCK: i64 = 0x0065_7265_706f_7274;

pub(super) async fn migrate(client: &mut Client) -> io::Result<()> {
    let transaction = client.transaction().await.map_err(failed)?;
    lock(&transaction).await.map_err(failed)?;
    let version = version(&transaction).await.map_err(failed)?;
    let steps = steps_after(u32::try_from(version).unwrap_or_default(), &MIGRATIONS)?;
    let taken = async {
        for step in steps {
            transaction.batch_execute(step).await?;
            transaction
                .batch_execute("UPDATE edge_report.schema_version SET version = version + 1")
                .await?;
        }
        transaction.commit().await
    };
    taken.await.map_err(failed)
}

/// Until the end of the transaction.
pub(super) async fn lock(transaction: &Transaction<'_>) -> Result<(), Error> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&LOCK]).await.map(drop)
}

async fn version(transaction: &Transaction<'_>) -> Result<i32, Error> {
    // Asked before it is made, since who may not make schemas may still use this one.
    let there = "SELECT to_regclass('edge_report.schema_version') IS NOT NULL";
    if !transaction
        .query_one(there, &[])
        .await?
        .try_get::<_, bool>(0)?
    {
        let make = "CREATE SCHEMA IF NOT EXISTS edge_report;
            CREATE TABLE edge_report.schema_version (version integer NOT NULL);
            INSERT INTO edge_report.schema_version VALUES (0)";
        transaction.batch_execute(make).await?;
    }
    let version = "SELECT version FROM edge_report.schema_version";
    transaction.query_one(version, &[]).await?.try_get(0)
}
