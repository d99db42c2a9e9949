//! Messages that wait for the broker, by a connection of its own. Those that one receiver takes are locked until it has settled them, and the others pass them
//! over: when it dies, its connection and with it the lock ends.

use std::io;

use tokio_postgres::{Client, Error, Row};

use super::super::{Aside, Message, Outbox, Waiting};
use super::Postgres;

pub(in super::super) struct Messages(pub(super) Postgres);

impl Outbox for Messages {
    fn take(&mut self, now_ms: i64, latest_ms: i64, most: u32) -> io::Result<Vec<Waiting>> {
        self.0
            .with(async |link| take(&link.client, now_ms, latest_ms, most).await)
    }

    fn settle(&mut self, published: &[&Waiting], aside: Option<Aside<'_>>) -> io::Result<()> {
        self.0
            .with(async |link| settle(&link.client, published, aside).await)
    }
}

async fn take(
    client: &Client,
    now_ms: i64,
    latest_ms: i64,
    most: u32,
) -> Result<Vec<Waiting>, Error> {
    client.batch_execute("BEGIN").await?;
    let due =
        "SELECT project, digest, received_ms, topic, payload FROM confirmation WHERE due_ms <= $1 OR due_ms > $2
        ORDER BY due_ms, received_ms LIMIT $3 FOR UPDATE SKIP LOCKED";
    let rows = client
        .query(due, &[&now_ms, &latest_ms, &i64::from(most)])
        .await?;
    let waiting = |row: &Row| {
        Ok(Waiting {
            project: row.try_get(0)?,
            digest: row.try_get(1)?,
            received_ms: row.try_get(2)?,
            message: Message {
                topic: row.try_get(3)?,
                payload: row.try_get(4)?,
            },
        })
    };
    rows.iter().map(waiting).collect()
}

async fn settle(
    client: &Client,
    published: &[&Waiting],
    aside: Option<Aside<'_>>,
) -> Result<(), Error> {
    if !published.is_empty() {
        let projects: Vec<&str> = published.iter().map(|it| &*it.project).collect();
        let digests: Vec<&[u8]> = published.iter().map(|it| &*it.digest).collect();
        let remove = "DELETE FROM confirmation USING unnest($1::text[], $2::bytea[]) AS done (project, digest)
            WHERE confirmation.project = done.project AND confirmation.digest = done.digest";
        client.execute(remove, &[&projects, &digests]).await?;
    }
    if let Some(Aside { waiting, due_ms }) = aside {
        let later = "UPDATE confirmation SET due_ms = $3 WHERE project = $1 AND digest = $2";
        client
            .execute(later, &[&waiting.project, &waiting.digest, &due_ms])
            .await?;
    }
    client.batch_execute("COMMIT").await
}
