//! The spool, the limit and its peers behind one trait: each keeps reports in the order they came, and gives them back.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use edge_report::courier::{
    Disposition, Durability, JobKey, JobKeys, Outbox, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Spool, SpoolOptions};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Removals become durable together, so many at a time: what a power cut may bring back.
pub(crate) const REMOVED_TOGETHER: usize = 64;

pub(crate) trait Store {
    /// Stores these reports behind the others; durable when it returns.
    fn append(&mut self, reports: &[&[u8]]) -> Result<()>;

    /// Reads and removes the oldest reports, one after the other, up to [`REMOVED_TOGETHER`]; how many there were.
    fn drain(&mut self) -> Result<usize>;

    /// Reads the oldest report; its length.
    fn front(&mut self) -> Result<usize>;
}

/// A kind of store: how it is called, and how it is opened in a directory for batches of this size and this many reports.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) open: fn(&Path, usize, usize) -> Result<Box<dyn Store>>,
}

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "preallocated file (limit)",
        open: Plain::open_box,
    },
    Peer {
        name: "edge-report spool",
        open: OurSpool::open_box,
    },
    #[cfg(feature = "queue-file")]
    Peer {
        name: "queue-file 2",
        open: queue_file::Queue::open_box,
    },
    #[cfg(feature = "redb")]
    Peer {
        name: "redb 4",
        open: redb_table::Table::open_box,
    },
    #[cfg(feature = "sqlite")]
    Peer {
        name: "SQLite (WAL, FULL)",
        open: sqlite::Sqlite::open_box,
    },
];

pub(crate) const ABSENT: &[&str] = &[
    #[cfg(not(feature = "queue-file"))]
    "queue-file",
    #[cfg(not(feature = "redb"))]
    "redb",
    #[cfg(not(feature = "sqlite"))]
    "sqlite",
];

/// The least that can be done: a file filled with zeros beforehand, one write per report, one fdatasync per batch.
/// It does not know its own end after a restart.
struct Plain {
    file: File,
    cursor: File,
    len: usize,
    written: u64,
    read: u64,
    buffer: Vec<u8>,
}

impl Plain {
    fn open_box(dir: &Path, _: usize, reports: usize) -> Result<Box<dyn Store>> {
        let len = crate::REPORT;
        let file = |name: &str, bytes: usize| -> Result<File> {
            let path = dir.join(name);
            if !path.exists() {
                fs::write(&path, vec![0; bytes])?;
            }
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        Ok(Box::new(Plain {
            file: file("plain", reports * len)?,
            cursor: file("cursor", 8)?,
            len,
            written: 0,
            read: 0,
            buffer: vec![0; len],
        }))
    }
}

impl Store for Plain {
    fn append(&mut self, reports: &[&[u8]]) -> Result<()> {
        for report in reports {
            self.file
                .write_all_at(report, self.written * self.len as u64)?;
            self.written += 1;
        }
        Ok(self.file.sync_data()?)
    }

    fn drain(&mut self) -> Result<usize> {
        let count = (self.written - self.read).min(REMOVED_TOGETHER as u64);
        for _ in 0..count {
            self.front()?;
            self.read += 1;
            self.cursor.write_all_at(&self.read.to_le_bytes(), 0)?;
        }
        self.cursor.sync_data()?;
        Ok(count as usize)
    }

    fn front(&mut self) -> Result<usize> {
        self.file
            .read_exact_at(&mut self.buffer, self.read * self.len as u64)?;
        Ok(self.buffer.len())
    }
}

/// The outbox under [`edge_report::courier::Courier`]: what a submit costs behind checking and encoding.
struct OurSpool {
    spool: Spool,
    keys: JobKeys,
    buffer: Vec<u8>,
}

impl OurSpool {
    fn open_box(dir: &Path, batch: usize, _: usize) -> Result<Box<dyn Store>> {
        let durability = match batch {
            1 => Durability::Each,
            reports => Durability::Batch {
                reports: u32::try_from(reports)?,
                ms: u64::MAX,
            },
        };
        let spool = Spool::open(dir, SpoolOptions::default().with_durability(durability))?;
        let keys = [JobKey {
            job_id: 99_270,
            is_final: false,
        }]
        .into_iter()
        .collect();
        Ok(Box::new(OurSpool {
            spool,
            keys,
            buffer: vec![0; crate::REPORT],
        }))
    }

    fn read(&mut self) -> Result<Option<(Ticket, usize)>> {
        let Some(front) = self.spool.next(None)? else {
            return Ok(None);
        };
        let buffer = &mut self.buffer[..front.len];
        let whole = self.spool.read(front.ticket, buffer)?;
        whole
            .then_some(Some((front.ticket, front.len)))
            .ok_or_else(|| "damaged".into())
    }
}

impl Store for OurSpool {
    fn append(&mut self, reports: &[&[u8]]) -> Result<()> {
        for report in reports {
            self.spool
                .append(&self.keys, report, MonoTime::from_ms(0), None)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<usize> {
        for count in 0..REMOVED_TOGETHER {
            let Some((ticket, _)) = self.read()? else {
                return Ok(count);
            };
            let when_full = WhenLettersFull::DropOldest;
            self.spool
                .settle(ticket, Disposition::Delivered, &[], when_full)?;
        }
        Ok(REMOVED_TOGETHER)
    }

    fn front(&mut self) -> Result<usize> {
        let front = self.read()?;
        front.map(|(_, len)| len).ok_or_else(|| "empty".into())
    }
}

#[cfg(feature = "queue-file")]
mod queue_file {
    use super::*;

    pub(super) struct Queue {
        queue: ::queue_file::QueueFile,
        buffer: Vec<u8>,
    }

    impl Queue {
        pub(super) fn open_box(dir: &Path, _: usize, reports: usize) -> Result<Box<dyn Store>> {
            // With room for all, so that it need not grow.
            let capacity = (reports * (crate::REPORT + 64)) as u64;
            let queue = ::queue_file::QueueFile::with_capacity(dir.join("queue"), capacity)?;
            Ok(Box::new(Queue {
                queue,
                buffer: Vec::new(),
            }))
        }
    }

    impl Store for Queue {
        fn append(&mut self, reports: &[&[u8]]) -> Result<()> {
            self.queue.set_sync_writes(true);
            match reports {
                [report] => self.queue.add(report)?,
                reports => self.queue.add_n(reports)?,
            }
            Ok(())
        }

        fn drain(&mut self) -> Result<usize> {
            self.queue.set_sync_writes(false);
            let mut count = 0;
            while count < REMOVED_TOGETHER && self.queue.peek_into(&mut self.buffer)? {
                self.queue.remove()?;
                count += 1;
            }
            self.queue.sync_all()?;
            Ok(count)
        }

        fn front(&mut self) -> Result<usize> {
            self.queue.peek_into(&mut self.buffer)?;
            Ok(self.buffer.len())
        }
    }
}

#[cfg(feature = "redb")]
mod redb_table {
    use super::*;
    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

    const REPORTS: TableDefinition<u64, &[u8]> = TableDefinition::new("reports");

    pub(super) struct Table {
        database: Database,
        next: u64,
    }

    impl Table {
        pub(super) fn open_box(dir: &Path, _: usize, _: usize) -> Result<Box<dyn Store>> {
            let database = Database::create(dir.join("redb"))?;
            let write = database.begin_write()?;
            let next = match write.open_table(REPORTS)?.last()? {
                Some((key, _)) => key.value() + 1,
                None => 0,
            };
            write.commit()?;
            Ok(Box::new(Table { database, next }))
        }
    }

    impl Store for Table {
        fn append(&mut self, reports: &[&[u8]]) -> Result<()> {
            let write = self.database.begin_write()?;
            let mut table = write.open_table(REPORTS)?;
            for report in reports {
                table.insert(self.next, *report)?;
                self.next += 1;
            }
            drop(table);
            Ok(write.commit()?)
        }

        fn drain(&mut self) -> Result<usize> {
            let write = self.database.begin_write()?;
            let mut table = write.open_table(REPORTS)?;
            let mut count = 0;
            while count < REMOVED_TOGETHER && table.pop_first()?.is_some() {
                count += 1;
            }
            drop(table);
            write.commit()?;
            Ok(count)
        }

        fn front(&mut self) -> Result<usize> {
            let table = self.database.begin_read()?.open_table(REPORTS)?;
            let first = table.first()?;
            Ok(first.map_or(0, |(_, report)| report.value().len()))
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use rusqlite::Connection;

    pub(super) struct Sqlite {
        connection: Connection,
    }

    const FIRST: &str = "SELECT id, body FROM reports ORDER BY id LIMIT 1";

    impl Sqlite {
        pub(super) fn open_box(dir: &Path, _: usize, _: usize) -> Result<Box<dyn Store>> {
            let connection = Connection::open(dir.join("sqlite"))?;
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE IF NOT EXISTS reports (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
            )?;
            Ok(Box::new(Sqlite { connection }))
        }

        fn first(connection: &Connection) -> Result<Option<(i64, usize)>> {
            let mut select = connection.prepare_cached(FIRST)?;
            let mut rows = select.query([])?;
            Ok(match rows.next()? {
                Some(row) => Some((row.get(0)?, row.get_ref(1)?.as_blob()?.len())),
                None => None,
            })
        }
    }

    impl Store for Sqlite {
        fn append(&mut self, reports: &[&[u8]]) -> Result<()> {
            let transaction = self.connection.transaction()?;
            for report in reports {
                transaction
                    .prepare_cached("INSERT INTO reports (body) VALUES (?1)")?
                    .execute([report])?;
            }
            Ok(transaction.commit()?)
        }

        fn drain(&mut self) -> Result<usize> {
            let transaction = self.connection.transaction()?;
            let mut count = 0;
            while count < REMOVED_TOGETHER {
                let Some((id, _)) = Self::first(&transaction)? else {
                    break;
                };
                transaction
                    .prepare_cached("DELETE FROM reports WHERE id = ?1")?
                    .execute([id])?;
                count += 1;
            }
            transaction.commit()?;
            Ok(count)
        }

        fn front(&mut self) -> Result<usize> {
            Ok(Self::first(&self.connection)?.map_or(0, |(_, len)| len))
        }
    }
}

/// A directory of its own below another.
pub(crate) fn fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    let dir = parent.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}
