//! Where accepted reports are kept.
//!
//! A [`Store`] takes reports in batches, each in one transaction: what it said `Ok` to survives a power cut. It is called by one thread alone, `commit`'s.
//!
//! A report is the same as another when project and body are, byte for byte. The body has the `message_id` in it, so a report that is sent again is kept
//! once, and an agent that gives all its reports one id loses none.

#![cfg_attr(
    not(all(feature = "confirm", any(feature = "sqlite", feature = "postgres"))),
    allow(dead_code, reason = "what only databases keep of a report")
)]

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod read;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::io;
use std::sync::Arc;

use edge_report::{ExceptionsBuf, JobStatus, ReportBuf};
use sha2::{Digest, Sha256};

use crate::Options;
#[cfg(feature = "tls")]
use crate::tls::Authorities;

pub use memory::Accepted;
pub(crate) use memory::Memory;
use read::Read;

/// Characters of a text that are kept beside the body, to be shown and found: the body has all of it.
const SHOWN: usize = 256;

/// Whether a report was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    New,
    Repeat,
}

/// One place that keeps reports.
pub(crate) trait Store: Send {
    /// Takes reports in, all or none, and says of each whether it was new.
    ///
    /// # Errors
    ///
    /// `InvalidData` when it is one of the reports that cannot be kept; anything else is the store's trouble.
    fn accept(&mut self, batch: &[Incoming]) -> io::Result<Vec<Entry>>;

    /// Removes some of the reports that came before this time. Whether more are left to remove.
    fn expire(&mut self, before_ms: i64) -> io::Result<bool>;
}

/// A report that was checked, and is to be kept.
pub(crate) struct Incoming {
    pub(crate) received_ms: i64,
    pub(crate) project_id: String,
    pub(crate) digest: [u8; 32],
    pub(crate) message_id: String,
    pub(crate) topic: Option<String>,
    pub(crate) jobs: Vec<JobState>,
    pub(crate) body: Vec<u8>,
    /// To be published once the report is durable.
    pub(crate) confirmation: Option<Message>,
}

/// What goes to the message broker.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// A message that waits in the database, written in the transaction of its report.
pub(crate) struct Waiting {
    pub(crate) project: String,
    pub(crate) digest: Vec<u8>,
    pub(crate) received_ms: i64,
    pub(crate) message: Message,
}

/// The messages that wait, removed when the broker has taken them. Whoever dies in between leaves them to the others.
pub(crate) trait Outbox: Send {
    /// Some that are due by now, or later than `latest_ms`; the oldest first. Nobody else gets them until they are settled.
    fn take(&mut self, now_ms: i64, latest_ms: i64, most: u32) -> io::Result<Vec<Waiting>>;

    /// Removes those that were `published`, puts one off if it is to step aside, and gives back the others.
    fn settle(&mut self, published: &[&Waiting], aside: Option<Aside<'_>>) -> io::Result<()>;
}

/// A message that shall not be due before that time.
pub(crate) struct Aside<'w> {
    pub(crate) waiting: &'w Waiting,
    pub(crate) due_ms: i64,
}

/// What a report says of one job.
#[derive(Clone, Debug)]
pub(crate) struct JobState {
    pub(crate) job_id: Option<i64>,
    pub(crate) create_time: i64,
    pub(crate) status: String,
    pub(crate) is_final: bool,
    /// The start of it.
    pub(crate) exception: Option<String>,
}

impl Incoming {
    pub(crate) fn new(
        received_ms: i64,
        project_id: String,
        report: ReportBuf,
        body: Vec<u8>,
    ) -> Incoming {
        let jobs = report.jobs.into_iter().map(|job| JobState {
            job_id: job.job_id,
            create_time: job.create_time,
            is_final: JobStatus::from_name(&job.status).is_final(),
            status: start(&job.status),
            exception: job.exceptions.map(|exceptions| match exceptions {
                ExceptionsBuf::Detail(it) if it.exception.is_empty() => {
                    start(&format!("{} {}", it.error_type, it.error_cause))
                }
                ExceptionsBuf::Detail(it) => start(&it.exception),
                ExceptionsBuf::Text(text) => start(&text),
                _ => String::new(),
            }),
        });
        Incoming {
            received_ms,
            project_id,
            digest: Sha256::digest(&body).into(),
            jobs: jobs.collect(),
            message_id: report.message_id,
            topic: report.msg_confirm_topic,
            body,
            confirmation: None,
        }
    }
}

#[cfg(feature = "postgres")]
impl JobState {
    /// Whether this is the job's state, though it was in state `old`. A job that has ended does not come back to life, but for a later run of it.
    fn follows(&self, old: &JobState) -> bool {
        (self.create_time, self.is_final) >= (old.create_time, old.is_final)
    }
}

/// The start of a text, fit for a column. Databases keep no NUL in texts.
fn start(text: &str) -> String {
    let fit = |c| if c == '\0' { '\u{fffd}' } else { c };
    text.chars().take(SHOWN).map(fit).collect()
}

/// The steps of a schema that a database of this version has not taken.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn steps_after<'s>(version: u32, steps: &'s [&'s str]) -> io::Result<&'s [&'s str]> {
    let taken = usize::try_from(version).unwrap_or(usize::MAX);
    steps.get(taken..).ok_or_else(|| {
        let known = steps.len();
        io::Error::other(format!(
            "the schema has version {version}, this program knows {known}: a newer one was here"
        ))
    })
}

/// A store at work.
pub(crate) struct Opened {
    pub(crate) store: Box<dyn Store>,
    /// To look at it, while it takes in others.
    pub(crate) reader: Option<Box<dyn Read>>,
    /// What waits for the message broker.
    pub(crate) outbox: Option<Box<dyn Outbox>>,
    /// Who may sign the database's certificate.
    #[cfg(feature = "tls")]
    pub(crate) authorities: Option<Arc<Authorities>>,
    /// What is in memory can be looked at by who tests.
    pub(crate) memory: Option<Arc<Memory>>,
}

/// Opens the store of these options.
pub(crate) fn open(options: &Options) -> io::Result<Opened> {
    check(options)?;
    let database_at = options.store.as_deref().filter(|place| *place != "memory");
    if let Some(place) = database_at {
        return database(place);
    }
    let memory = Memory::open(options.record.as_deref(), options.keep)?;
    let memory = Arc::new(memory);
    Ok(Opened {
        store: Box::new(Arc::clone(&memory)),
        reader: None,
        outbox: None,
        #[cfg(feature = "tls")]
        authorities: None,
        memory: Some(memory),
    })
}

/// Whether there is such a store; it is not opened.
pub(crate) fn check(options: &Options) -> io::Result<()> {
    match options.store.as_deref() {
        #[cfg(feature = "confirm")]
        None | Some("memory") if options.confirm.is_some() => {
            Err(invalid("--confirm needs a database as its --store"))
        }
        None | Some("memory") => Ok(()),
        Some(_) if options.record.is_some() => {
            Err(invalid("a record belongs to the store `memory`"))
        }
        Some(place) => match kind(place) {
            #[cfg(feature = "postgres")]
            ("postgres" | "postgresql", _) => postgres::check(place),
            // What SQLite would not take for the name of a file.
            #[cfg(feature = "sqlite")]
            ("sqlite", file) if file == ":memory:" || file.starts_with("file:") => Err(invalid(
                "in sqlite:FILE stands the name of a file; what shall keep nothing is `memory`",
            )),
            #[cfg(feature = "sqlite")]
            ("sqlite", file) if !file.is_empty() => Ok(()),
            _ => Err(none(place)),
        },
    }
}

fn database(place: &str) -> io::Result<Opened> {
    match kind(place) {
        #[cfg(feature = "sqlite")]
        ("sqlite", file) if !file.is_empty() => sqlite::open(file.as_ref()),
        #[cfg(feature = "postgres")]
        ("postgres" | "postgresql", _) => postgres::open(place),
        _ => Err(none(place)),
    }
}

fn kind(place: &str) -> (&str, &str) {
    place.split_once(':').unwrap_or_default()
}

/// There is no store of this kind. It is not shown as it stands, since it may have a password in it.
fn none(place: &str) -> io::Error {
    let (kind, rest) = kind(place);
    invalid(&match kind {
        "sqlite" | "postgres" | "postgresql" if !rest.is_empty() => {
            format!("this was built without the feature `{kind}`")
        }
        _ => "a store is `memory`, `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`"
            .to_owned(),
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
