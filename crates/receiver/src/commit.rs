//! Group commit: one thread keeps reports, and takes in one transaction what came while the one before it was under way.
//!
//! So the price of a durable commit is shared by as many requests as there are at the time, and who is alone does not wait for company. A response is sent
//! when its report is durable. What waits is bounded: when the store falls behind, requests are turned away at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::{Entry, Incoming, Store};

/// Reports that wait for the transaction under way: at 10,000/s what comes in some 0.4 s.
const MOST_WAITING: usize = 4096;

/// Reports in a transaction. More gain nothing: a commit is then some microseconds for each.
const MOST_TOGETHER: usize = 512;

/// Bytes of bodies in a transaction, give or take the last one, which bounds what a store copies.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Between looks for reports that have been kept long enough, and between steps of removing them.
const EXPIRY: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);

/// Why a report was not kept.
pub(crate) enum NotKept {
    /// Too many wait.
    Behind,
    /// The store failed.
    Failed(io::Error),
}

/// How the store fares.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) commit_us: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// The last time it was asked.
    pub(crate) failing: AtomicBool,
}

struct Waiting {
    report: Incoming,
    client: Client,
}

struct Client {
    answer: oneshot::Sender<io::Result<Entry>>,
    /// Of the memory for bodies; held until the report is kept, whether or not the client still waits.
    _memory: Option<OwnedSemaphorePermit>,
}

/// The thread that keeps reports. It ends when this is dropped.
pub(crate) struct Committer {
    counts: Arc<Counts>,
    queue: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// `expired` says what came too long ago to be kept; `tell` hears when the store fails, and when it works again.
    pub(crate) fn start(
        store: Box<dyn Store>,
        expired: impl Fn() -> Option<i64> + Send + 'static,
        tell: fn(&str),
    ) -> io::Result<Committer> {
        let (queue, waiting) = mpsc::sync_channel(MOST_WAITING);
        let thread = thread::Builder::new().name("store".to_owned());
        let counts = Arc::new(Counts::default());
        let keeper = Keeper {
            store,
            counts: Arc::clone(&counts),
            tell,
        };
        let thread = thread.spawn(move || keeper.run(&waiting, expired))?;
        Ok(Committer {
            counts,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits until the report is durable.
    pub(crate) async fn keep(
        &self,
        report: Incoming,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<Entry, NotKept> {
        let (answer, answered) = oneshot::channel();
        let client = Client {
            answer,
            _memory: memory,
        };
        let waiting = Waiting { report, client };
        let gone = || NotKept::Failed(io::Error::other("the store has ended"));
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        match queue.try_send(waiting) {
            Ok(()) => answered.await.map_err(|_| gone())?.map_err(NotKept::Failed),
            Err(TrySendError::Full(_)) => Err(NotKept::Behind),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The store in its thread.
struct Keeper {
    store: Box<dyn Store>,
    counts: Arc<Counts>,
    tell: fn(&str),
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Waiting>, expired: impl Fn() -> Option<i64>) {
        let mut look = Instant::now();
        let mut expiry_failed = false;
        loop {
            match queue.recv_timeout(look.saturating_duration_since(Instant::now())) {
                Ok(first) => self.keep(batch(first, queue)),
                // So that it is known when a store that failed is back, though nobody reports.
                Err(RecvTimeoutError::Timeout) => drop(self.accept(&[])),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= look {
                let step = expired().map(|before| self.store.expire(before));
                let more = matches!(step, Some(Ok(true)));
                // A store that fails as a whole was reported.
                let failure = step
                    .and_then(Result::err)
                    .filter(|_| !self.counts.failing.load(Ordering::Relaxed));
                match (expiry_failed, &failure) {
                    (false, Some(why)) => (self.tell)(&format!("failed retention why=\"{why}\"")),
                    (true, None) => (self.tell)("retention works again"),
                    _ => {}
                }
                expiry_failed = failure.is_some();
                let pause = if more { STEP } else { EXPIRY };
                look = now.checked_add(pause).unwrap_or(now);
            }
        }
    }

    fn keep(&mut self, batch: Vec<Waiting>) {
        let (reports, clients): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.report, waiting.client))
            .unzip();
        let kept: Vec<io::Result<Entry>> = match self.accept(&reports) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            // One of them is at fault, and shall not keep out the others.
            Err(why) if why.kind() == io::ErrorKind::InvalidData => {
                let mut alone = |report| {
                    let entries = self.accept(std::slice::from_ref(report))?;
                    let entry = entries.first().copied();
                    entry.ok_or_else(|| io::Error::other("not kept"))
                };
                reports.iter().map(&mut alone).collect()
            }
            Err(why) => {
                let again = || io::Error::new(why.kind(), why.to_string());
                reports.iter().map(|_| Err(again())).collect()
            }
        };
        for (client, kept) in clients.into_iter().zip(kept) {
            // Who has gone asks again.
            let _ = client.answer.send(kept);
        }
    }

    fn accept(&mut self, reports: &[Incoming]) -> io::Result<Vec<Entry>> {
        let began = Instant::now();
        let accepted = self.store.accept(reports);
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let counts = &self.counts;
        let (count, by) = match &accepted {
            Ok(_) => (&counts.commits, u64::from(!reports.is_empty())),
            Err(_) => (&counts.failures, 1),
        };
        count.fetch_add(by, Ordering::Relaxed);
        counts.commit_us.fetch_add(
            us.saturating_mul(u64::from(!reports.is_empty())),
            Ordering::Relaxed,
        );
        let failure = accepted
            .as_ref()
            .err()
            .filter(|why| why.kind() != io::ErrorKind::InvalidData);
        let failed = counts.failing.swap(failure.is_some(), Ordering::Relaxed);
        match (failed, failure) {
            (false, Some(why)) => (self.tell)(&format!("failed store why=\"{why}\"")),
            (true, None) => (self.tell)("store works again"),
            _ => {}
        }
        accepted
    }
}

/// `first`, and what has come since.
fn batch(first: Waiting, queue: &Receiver<Waiting>) -> Vec<Waiting> {
    let mut bytes = first.report.body.len();
    let mut batch = vec![first];
    while batch.len() < MOST_TOGETHER && bytes < MOST_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes = bytes.saturating_add(next.report.body.len());
        batch.push(next);
    }
    batch
}
