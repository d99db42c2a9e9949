//! Looking at what is stored: by a connection and a thread of its own, so that nobody who reports waits for it.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Questions that wait; with more, who asks has to come again.
const MOST_WAITING: usize = 64;

/// Where a report stands among those of its project, and its name for who looks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) received_ms: i64,
    pub(crate) digest: Vec<u8>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.received_ms)?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (received_ms, digest) = text.rsplit_once('-').ok_or(())?;
        let byte = |at: usize| {
            digest
                .get(at..at.checked_add(2)?)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let digest: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
        let received_ms = received_ms.parse().map_err(drop)?;
        Ok(Place {
            received_ms,
            digest: digest.ok_or(())?,
        })
    }
}

pub(crate) enum Query {
    /// By name. Of those that have jobs.
    Projects {
        /// Those in which a job counts as in trouble.
        statuses: Vec<String>,
        after: Option<String>,
        limit: u32,
    },
    /// In the order of project and job id.
    Jobs(Filter),
    /// The newest first, as the other two.
    History {
        project: String,
        job_id: i64,
        /// A report, and a job's position in it: one report may say more than one thing of a job.
        before: Option<(Place, i64)>,
        limit: u32,
    },
    Reports {
        project: String,
        before: Option<Place>,
        limit: u32,
    },
    Body {
        project: String,
        place: Place,
    },
}

impl Query {
    pub(crate) fn limit(&self) -> u32 {
        match self {
            Query::Jobs(Filter { limit, .. })
            | Query::Projects { limit, .. }
            | Query::History { limit, .. }
            | Query::Reports { limit, .. } => *limit,
            Query::Body { .. } => 1,
        }
    }
}

/// Which jobs. None: any.
pub(crate) struct Filter {
    pub(crate) project: Option<String>,
    pub(crate) statuses: Option<Vec<String>>,
    /// In its id, status or exception.
    pub(crate) text: Option<String>,
    pub(crate) after: Option<(String, i64)>,
    pub(crate) limit: u32,
}

pub(crate) enum Answer {
    Projects(Vec<Project>),
    Jobs(Vec<Job>),
    History(Vec<State>),
    Reports(Vec<Report>),
    Body(Option<String>),
}

pub(crate) struct Project {
    pub(crate) project: String,
    pub(crate) jobs: i64,
    pub(crate) in_trouble: i64,
    /// When the last report on one of them came.
    pub(crate) received_ms: i64,
}

pub(crate) struct Job {
    pub(crate) project: String,
    pub(crate) job_id: i64,
    pub(crate) status: String,
    pub(crate) create_time: i64,
    pub(crate) is_final: bool,
    /// When the first report came that said this status, with no other after it.
    pub(crate) since_ms: i64,
    pub(crate) exception: Option<String>,
    pub(crate) place: Place,
}

pub(crate) struct State {
    pub(crate) position: i64,
    pub(crate) status: String,
    pub(crate) create_time: i64,
    pub(crate) place: Place,
}

pub(crate) struct Report {
    pub(crate) message_id: String,
    pub(crate) bytes: i64,
    pub(crate) place: Place,
}

/// A store that can be looked at.
pub(crate) trait Read: Send {
    fn read(&mut self, query: &Query) -> io::Result<Answer>;
}

struct Question {
    query: Query,
    answer: oneshot::Sender<io::Result<Answer>>,
}

/// The thread that looks. It ends when this is dropped.
pub(crate) struct Reader {
    queue: Option<SyncSender<Question>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn start(mut store: Box<dyn Read>) -> io::Result<Reader> {
        let (queue, questions) = mpsc::sync_channel::<Question>(MOST_WAITING);
        let thread = thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || {
            for Question { query, answer } in questions {
                // Who has gone does not want to know.
                if !answer.is_closed() {
                    let _ = answer.send(store.read(&query));
                }
            }
        })?;
        Ok(Reader {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Or why not.
    pub(crate) async fn ask(&self, query: Query) -> Result<Answer, String> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or("the reader has ended")?;
        let asked = queue.try_send(Question { query, answer });
        asked.map_err(|_| "too many look at the same time")?;
        let answer = answered.await.map_err(|_| "the reader has ended")?;
        answer.map_err(|why| format!("the store failed: {why}"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
