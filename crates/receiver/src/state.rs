//! What all connections share: rules, keys, clock, counters and the store.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge_report::exchange::{Credentials, Keys};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode, header};

use super::answer::{self, Refusal};
use super::commit::{Committer, NotKept};
use super::fault::{Fault, Faults};
use super::store::{self, Entry, Incoming, Memory};
use super::verify;
use super::{Options, judge};

pub(super) struct State {
    /// AK and SK.
    keys: Option<(String, String)>,
    clock: fn() -> i64,
    log: fn(&str),
    faults: Mutex<Faults>,
    committer: Committer,
    /// What was accepted, where it is kept in memory.
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) connections: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) repeats: AtomicU64,
}

/// A request that begins to arrive, and what is to befall it.
pub(super) struct Arrival {
    /// From 1.
    pub(super) number: u64,
    pub(super) fault: Option<Fault>,
}

impl State {
    pub(super) fn new(options: Options) -> io::Result<State> {
        if let Some((ak, sk)) = &options.keys {
            let checked = Credentials::Keys(Keys::new(ak, sk)).check();
            checked.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why.to_string()))?;
        }
        let opened = store::open(&options)?;
        let (clock, retention) = (options.clock, options.retention);
        let expired = move || {
            let kept_ms = i64::try_from(retention?.as_millis()).ok()?;
            clock().checked_sub(kept_ms)
        };
        Ok(State {
            committer: Committer::start(opened.store, expired)?,
            memory: opened.memory,
            faults: Mutex::new(Faults::new(options.faults, options.seed)),
            keys: options.keys,
            clock: options.clock,
            log: options.log,
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
        })
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arrival {
            number: count(&self.requests),
            fault: lock(&self.faults).pick(),
        }
    }

    /// Accepts the report or knows it already, then says so in a line for the log.
    pub(super) async fn judge(&self, head: &Parts, body: Vec<u8>) -> Result<String, Refusal> {
        let received_ms = self.now_ms();
        let project_id = judge::project_id(&head.method, head.uri.path())?;
        if let Some((ak, sk)) = &self.keys {
            verify::signature(&Keys::new(ak, sk), head, &body, received_ms)?;
        }
        judge::content_type(&head.headers)?;
        let report = judge::report(&body)?;
        let shown = answer::shown(&report.message_id);
        let jobs = report.jobs.len();
        let report = Incoming::new(received_ms, project_id, report, body);
        match self.committer.keep(report, None).await {
            Ok(Entry::New) => Ok(format!("accepted {shown} {jobs} jobs")),
            Ok(Entry::Repeat) => {
                count(&self.repeats);
                Ok(format!("repeat {shown}"))
            }
            Err(NotKept::Behind) => Err(Refusal::busy("too many reports wait to be stored")),
            Err(NotKept::Failed(why)) if why.kind() == io::ErrorKind::InvalidData => {
                let why = format!("the report cannot be stored: {why}");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Err(Refusal::new(status, "DLI.0999", why))
            }
            Err(NotKept::Failed(why)) => Err(Refusal::busy(format!("the store failed: {why}"))),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// `answer` with the date by the receiver's clock.
    pub(super) fn dated(&self, mut answer: Response<String>) -> Response<String> {
        let date = answer::date(self.now_ms());
        answer.headers_mut().insert(header::DATE, date);
        answer
    }

    /// One line for a request: its fault, what became of it, or both.
    pub(super) fn log(&self, fault: Option<&Fault>, note: &str) {
        match fault {
            None => (self.log)(note),
            Some(fault) if note.is_empty() => (self.log)(&format!("fault {}", fault.name)),
            Some(fault) => (self.log)(&format!("fault {}: {note}", fault.name)),
        }
    }
}

/// The count after this one.
pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

/// A panic elsewhere leaves nothing half-done in here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
