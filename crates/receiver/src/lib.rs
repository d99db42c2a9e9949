//! A receiver of job reports, for tests and for a first try.
//!
//! It takes `POST [/prefix]/v1/{project_id}/edgesrv/job-report`, checks signature and report, keeps each report once, and
//! can be told to fail in the ways that networks, gateways and services do: see [`Fault`]. In a
//! test it runs in the same process, and says afterwards what came:
//!
//! ```
//! use std::time::Duration;
//!
//! use edge_report::{Client, Job, JobStatus, Report};
//! use edge_report_receiver::{Options, Receiver};
//!
//! let receiver = Receiver::start(Options::new().fault("status=503@first 1".parse()?))?;
//!
//! // The agent under test: any program that is told where to report.
//! let mut agent = Client::builder(&receiver.url(), "0a1b2c").build()?;
//! let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
//! agent.send(&Report::new("node-7-000001", &jobs))?; // 503
//! agent.send(&Report::new("node-7-000001", &jobs))?;
//!
//! let accepted = receiver.wait_for(1, Duration::from_secs(10));
//! assert_eq!(accepted[0].message_id, "node-7-000001");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The program `edge-report-receiver` is its command line.
//!
//! From the socket upwards: `accept` takes connections in and `place` bounds them, `tls` and `socket` are what they speak over, `io` lends it to hyper. `serve` runs a
//! connection, `body` reads what is sent, `auth`, `verify` and `classify` look at a request, `commit` and `store` keep what was accepted, `confirm` informs a broker, `look` shows it, `response` words the response,
//! `raw` spoils it where hyper would not.
#![forbid(unsafe_code)]

mod accept;
mod auth;
mod body;
mod classify;
mod commit;
#[cfg(feature = "confirm")]
mod confirm;
mod content;
mod fault;
mod io;
mod look;
mod metrics;
#[cfg(feature = "program")]
mod page;
mod place;
#[doc(hidden)]
pub mod program;
mod raw;
mod response;
mod serve;
mod socket;
mod state;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod verify;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edge_report::WallTime;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

pub use fault::{Fault, InvalidFault};
pub use store::Accepted;

use state::State;
use store::Memory;

/// How a receiver is to behave: by default it listens on a free port of 127.0.0.1, wants no signature, and never fails.
pub struct Options {
    listen: SocketAddr,
    /// AK and SK.
    keys: Option<(String, String)>,
    keys_file: Option<PathBuf>,
    read_token: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<tls::Files>,
    max_connections: usize,
    /// Bytes, for bodies.
    memory: usize,
    faults: Vec<Fault>,
    seed: u64,
    /// None: in memory.
    store: Option<String>,
    record: Option<PathBuf>,
    keep: bool,
    retention: Option<Duration>,
    /// The broker that gets a confirmation of each report.
    #[cfg(feature = "confirm")]
    confirm: Option<confirm::Address>,
    clock: fn() -> i64,
    log: fn(&str),
    /// Gets a line when what the receiver needs fails, and when it works again.
    tell: fn(&str),
}

/// Without keys, tokens and addresses that have passwords.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("keys_file", &self.keys_file)
            .field("faults", &self.faults)
            .field("seed", &self.seed)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: None,
            keys_file: None,
            read_token: None,
            #[cfg(feature = "tls")]
            tls: None,
            max_connections: MAX_CONNECTIONS,
            memory: MEMORY,
            faults: Vec::new(),
            seed: 1,
            store: None,
            record: None,
            keep: true,
            retention: None,
            #[cfg(feature = "confirm")]
            confirm: None,
            clock: || WallTime::now().unix_ms(),
            log: |_| {},
            tell: |_| {},
        }
    }

    /// Where to listen; port 0 is any free one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Options {
        self.listen = address;
        self
    }

    /// Requests must be signed with these keys.
    #[must_use]
    pub fn keys(mut self, ak: impl Into<String>, sk: impl Into<String>) -> Options {
        self.keys = Some((ak.into(), sk.into()));
        self
    }

    /// One more rule of what goes wrong. The rules are tried in order.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Options {
        self.faults.push(fault);
        self
    }

    /// For faults `@random`, which are the same again with the same seed. Default: 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Options {
        self.seed = seed;
        self
    }

    /// Where to keep accepted reports: `sqlite:FILE` (feature `sqlite`), `postgres://...` (feature `postgres`) or `memory`, the default. A report is answered
    /// when it is durable there.
    #[must_use]
    pub fn store(mut self, store: impl Into<String>) -> Options {
        self.store = Some(store.into());
        self
    }

    /// For how long to keep them, at the least, in a database. Default: for ever.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Options {
        self.retention = Some(retention);
        self
    }

    /// In memory: a file to append accepted reports to, a line of JSON each. Those in it already are known.
    #[must_use]
    pub fn record(mut self, file: impl Into<PathBuf>) -> Options {
        self.record = Some(file.into());
        self
    }

    /// In memory: whether to keep accepted reports for [`Receiver::accepted`]. Default: yes.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Options {
        self.keep = keep;
        self
    }

    /// The time, in milliseconds since 1970. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> i64) -> Options {
        self.clock = clock;
        self
    }

    /// Gets a line for each request.
    #[must_use]
    pub fn log(mut self, log: fn(&str)) -> Options {
        self.log = log;
        self
    }
}

impl Options {
    /// Whether a receiver would start with these, as far as can be told without its store and its address.
    fn check(&self) -> std::io::Result<()> {
        auth::Auth::open(self.keys.clone(), self.keys_file.clone())?;
        #[cfg(feature = "tls")]
        self.tls.clone().map(tls::Tls::open).transpose()?;
        store::check(self)
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

/// A receiver at work in a thread of its own, until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    /// Told to end with the requests under way, dropped to end at once.
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens when this returns.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for keys that sign nothing and stores that this was built without; else what the system says of the address, or of the store.
    pub fn start(options: Options) -> std::io::Result<Receiver> {
        let listener =
            TcpListener::bind(options.listen).map_err(|why| named(&why, options.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(options)?);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();

        let serving = Arc::clone(&state);
        let thread = thread::Builder::new().name("receiver".to_owned());
        let thread = thread.spawn(move || {
            let _within = runtime.enter();
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                return;
            };
            // With it go the tasks that are left, and their sockets.
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, accept::serve(listener, serving, stopped));
        })?;
        Ok(Receiver {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://ADDRESS:PORT`, or `https://` with certificates.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.state.is_secure() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// The reports accepted in memory since the start, in order, each once.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        self.memory().map(Memory::accepted).unwrap_or_default()
    }

    /// Waits until `count` reports were accepted, at most for `within`. Gives all that were.
    #[must_use]
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Accepted> {
        let waited = self.memory().map(|memory| memory.wait_for(count, within));
        waited.unwrap_or_default()
    }

    /// Reads keys and certificates again. What cannot be read stays as it was.
    fn reload(&self) -> std::io::Result<()> {
        self.state.reload()
    }

    /// Takes no more connections, and ends when all requests under way are answered, or the time is up.
    fn end(mut self, within: Duration) {
        self.state.ends.store(true, Ordering::Relaxed);
        if let Some(stop) = self.stop.take() {
            // Else the thread has ended already.
            let _ = stop.send(within);
        }
    }

    fn memory(&self) -> Option<&Memory> {
        self.state.memory.as_deref()
    }

    /// Requests of which at least a byte arrived.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests with a report that had been accepted already.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.state.repeats.load(Ordering::Relaxed)
    }

    /// Connections that were opened.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connections at a time, within the 1,024 descriptors that systems give.
const MAX_CONNECTIONS: usize = 960;

/// Bytes that bodies may take.
const MEMORY: usize = 256 * 1024 * 1024;

/// An error that names what it is about.
fn named(why: &std::io::Error, what: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(why.kind(), format!("{what}: {why}"))
}
