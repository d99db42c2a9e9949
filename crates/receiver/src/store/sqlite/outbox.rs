//! Messages that wait for the broker, by a connection of its own: while it publishes nobody who reports waits.

use std::io;

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::super::{Aside, Message, Outbox, Waiting};
use super::failed;

/// One receiver has the file, so that what it takes needs no lock.
pub(in super::super) struct Messages(pub(super) Connection);

impl Outbox for Messages {
    fn take(&mut self, now_ms: i64, latest_ms: i64, most: u32) -> io::Result<Vec<Waiting>> {
        let take = || {
            let mut due = self.0.prepare(
                "SELECT project, digest, received_ms, topic, payload FROM confirmation WHERE due_ms <= ?1 OR due_ms > ?2
                 ORDER BY due_ms, received_ms LIMIT ?3",
            )?;
            let waiting = |row: &Row<'_>| {
                Ok(Waiting {
                    project: row.get(0)?,
                    digest: row.get(1)?,
                    received_ms: row.get(2)?,
                    message: Message {
                        topic: row.get(3)?,
                        payload: row.get(4)?,
                    },
                })
            };
            due.query_map(params![now_ms, latest_ms, most], waiting)?
                .collect::<Result<_, _>>()
        };
        take().map_err(failed)
    }

    fn settle(&mut self, published: &[&Waiting], aside: Option<Aside<'_>>) -> io::Result<()> {
        if published.is_empty() && aside.is_none() {
            return Ok(());
        }
        let mut settle = || {
            let transaction = self
                .0
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut remove = transaction
                .prepare("DELETE FROM confirmation WHERE project = ?1 AND digest = ?2")?;
            for it in published {
                remove.execute(params![it.project, it.digest])?;
            }
            drop(remove);
            if let Some(Aside { waiting, due_ms }) = aside {
                let later =
                    "UPDATE confirmation SET due_ms = ?3 WHERE project = ?1 AND digest = ?2";
                transaction.execute(later, params![waiting.project, waiting.digest, due_ms])?;
            }
            transaction.commit()
        };
        settle().map_err(failed)
    }
}
