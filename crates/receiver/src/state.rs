//! What all connections share: rules, keys, clock, counters and the store.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::request::Parts;
use hyper::{Response, StatusCode, header};

use super::auth::{Auth, Pass};
use super::body::{self, Body};
use super::commit::{Committer, Counts, NotKept};
#[cfg(feature = "confirm")]
use super::confirm::{self, Confirmer};
use super::fault::{Fault, Faults};
use super::look::{self, Guard};
use super::response::{self, Refusal};
use super::store::read::Reader;
use super::store::{self, Entry, Incoming, Memory};
#[cfg(feature = "tls")]
use super::tls::{Authorities, Tls};
use super::{Options, classify};

pub(super) struct State {
    auth: Auth,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
    /// Who may sign the certificates of the database and of the broker.
    #[cfg(feature = "tls")]
    authorities: Vec<Arc<Authorities>>,
    pub(super) max_connections: usize,
    pub(super) bodies: body::Memory,
    /// For who looks: reports come first.
    pub(super) views: body::Memory,
    clock: fn() -> i64,
    log: fn(&str),
    faults: Option<Mutex<Faults>>,
    committer: Committer,
    #[cfg(feature = "confirm")]
    pub(super) confirmer: Option<Confirmer>,
    pub(super) reader: Option<Reader>,
    pub(super) guard: Guard,
    /// What was accepted, where it is kept in memory.
    pub(super) memory: Option<Arc<Memory>>,
    /// No more than what is under way is to be answered.
    pub(super) ends: AtomicBool,
    pub(super) connections: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) repeats: AtomicU64,
    /// For what is wrong with them (4xx), and because of us (5xx).
    pub(super) refused: [AtomicU64; 2],
}

/// A request whose head is right.
pub(super) struct Admitted {
    at_ms: i64,
    project_id: String,
    pass: Pass,
}

/// A request that begins to arrive, and what is to befall it.
pub(super) struct Arrival {
    /// From 1.
    pub(super) number: u64,
    pub(super) fault: Option<Fault>,
}

impl State {
    pub(super) fn new(options: Options) -> io::Result<State> {
        let auth = Auth::open(options.keys.clone(), options.keys_file.clone())?;
        #[cfg(feature = "tls")]
        let tls = options.tls.clone().map(Tls::open).transpose()?;
        let opened = store::open(&options)?;
        let (clock, retention) = (options.clock, options.retention);
        let expired = move || {
            let kept_ms = i64::try_from(retention?.as_millis()).ok()?;
            clock().checked_sub(kept_ms)
        };
        #[cfg(feature = "tls")]
        let authorities = opened.authorities.into_iter();
        #[cfg(feature = "confirm")]
        let authorities = {
            let broker = options.confirm.as_ref();
            authorities.chain(broker.and_then(confirm::Address::authorities))
        };
        #[cfg(feature = "confirm")]
        let confirmer = options.confirm.zip(opened.outbox);
        #[cfg(feature = "confirm")]
        let confirmer = confirmer
            .map(|(broker, outbox)| Confirmer::start(outbox, broker, clock, options.tell))
            .transpose()?;
        Ok(State {
            #[cfg(feature = "confirm")]
            confirmer,
            committer: Committer::start(opened.store, expired, options.tell)?,
            reader: opened.reader.map(Reader::start).transpose()?,
            guard: Guard::new(
                options.read_token.as_deref(),
                options.listen.ip().is_loopback(),
            ),
            memory: opened.memory,
            auth,
            #[cfg(feature = "tls")]
            tls,
            #[cfg(feature = "tls")]
            authorities: authorities.collect(),
            max_connections: options.max_connections,
            bodies: body::Memory::new(options.memory),
            views: body::Memory::new(look::MEMORY),
            faults: (!options.faults.is_empty())
                .then(|| Mutex::new(Faults::new(options.faults, options.seed))),
            clock: options.clock,
            log: options.log,
            ends: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            refused: Default::default(),
        })
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arrival {
            number: count(&self.requests),
            fault: self.faults.as_ref().and_then(|faults| lock(faults).pick()),
        }
    }

    pub(super) fn has_faults(&self) -> bool {
        self.faults.is_some()
    }

    #[cfg(feature = "tls")]
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "as with TLS")]
    pub(super) fn is_secure(&self) -> bool {
        false
    }

    /// Reads certificates and keys again. Each that cannot be read stays as it was.
    pub(super) fn reload(&self) -> io::Result<()> {
        let read = [self.auth.reload()].into_iter();
        #[cfg(feature = "tls")]
        let read = read
            .chain(self.tls.iter().map(Tls::reload))
            .chain(self.authorities.iter().map(|it| it.reload()));
        let failed: Vec<String> = read
            .filter_map(Result::err)
            .map(|why| why.to_string())
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            failed.join("; "),
        ))
    }

    pub(super) fn counts(&self) -> &Counts {
        self.committer.counts()
    }

    /// What can be said before the body has come.
    pub(super) fn admit(&self, head: &Parts) -> Result<Admitted, Refusal> {
        let at_ms = self.now_ms();
        let project_id = classify::project_id(&head.method, head.uri.path())?;
        let pass = self.auth.admit(head, &project_id, at_ms)?;
        classify::content_type(&head.headers)?;
        Ok(Admitted {
            at_ms,
            project_id,
            pass,
        })
    }

    /// Accepts the report or knows it already, then says so in a line for the log.
    pub(super) async fn accept(
        &self,
        admitted: Admitted,
        head: &Parts,
        body: Body,
    ) -> Result<String, Refusal> {
        let Admitted {
            at_ms,
            project_id,
            pass,
        } = admitted;
        let Body { bytes, memory } = body;
        self.auth.verify(&pass, head, &bytes, at_ms)?;
        let report = classify::report(&bytes)?;
        let shown = response::shown(&report.message_id);
        let jobs = report.jobs.len();
        let mut report = Incoming::new(self.now_ms(), project_id, report, bytes);
        let not_confirmed = self.to_confirm(&mut report).err();
        match self.committer.keep(report, memory).await {
            Ok(Entry::New) => {
                count(&self.accepted);
                let not_confirmed =
                    not_confirmed.map_or(String::new(), |why| format!(" not_confirmed=\"{why}\""));
                Ok(format!(
                    "accepted message_id=\"{shown}\" jobs={jobs}{not_confirmed}"
                ))
            }
            Ok(Entry::Repeat) => {
                count(&self.repeats);
                Ok(format!("repeat message_id=\"{shown}\""))
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

    /// Adds what is to be confirmed to the broker, or says why that cannot be.
    #[cfg(feature = "confirm")]
    fn to_confirm(&self, report: &mut Incoming) -> Result<(), &'static str> {
        if let Some(confirmer) = &self.confirmer {
            let message = confirm::message(&report.message_id, report.topic.as_deref());
            report.confirmation = message.inspect_err(|_| {
                count(&confirmer.counts.skipped);
            })?;
        }
        Ok(())
    }

    #[cfg(not(feature = "confirm"))]
    #[expect(clippy::unused_self, reason = "as with a broker")]
    fn to_confirm(&self, _report: &mut Incoming) -> Result<(), &'static str> {
        Ok(())
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// `response` with the date by the receiver's clock.
    pub(super) fn dated<B>(&self, mut response: Response<B>) -> Response<B> {
        let date = response::date(self.now_ms());
        response.headers_mut().insert(header::DATE, date);
        response
    }

    /// Counts the refusal, and tells the log.
    pub(super) fn refused(&self, fault: Option<&Fault>, refusal: &Refusal) {
        let [clients, ours] = &self.refused;
        count(if refusal.status.is_server_error() {
            ours
        } else {
            clients
        });
        self.log(fault, &refusal.to_string());
    }

    /// One line for a request: its fault, what became of it, or both.
    pub(super) fn log(&self, fault: Option<&Fault>, note: &str) {
        match fault {
            None => (self.log)(note),
            Some(fault) if note.is_empty() => {
                (self.log)(&format!("fault spec=\"{}\"", response::shown(&fault.name)))
            }
            Some(fault) => (self.log)(&format!(
                "fault spec=\"{}\" then={note}",
                response::shown(&fault.name)
            )),
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
