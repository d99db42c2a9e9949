//! A receiver of job reports that anyone can run: `examples/collector.rs` is its command line, and tests run it in their
//! own process.
//!
//! It takes `POST [/prefix]/v1/{project_id}/edgesrv/job-report`, checks signature and report, keeps each report once by
//! its `message_id`, and can be told to fail in the ways that networks, gateways and services do: see [`fault`]. A test
//! reads its rules with `"cut@first 1".parse()` into [`Options::faults`], and asks the [`Receiver`] afterwards what came.
//!
//! From the socket upwards: `io` lends it to hyper, `serve` runs a connection, `judge` and `verify` look at a request,
//! `ledger` keeps what was accepted, `answer` words the answer, `raw` spoils it where hyper would not.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program that includes this uses a part of it"
)]

mod answer;
pub mod fault;
mod io;
mod judge;
mod ledger;
mod raw;
mod serve;
mod state;
mod verify;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edge_report::WallTime;
use edge_report::exchange::Keys;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{LocalSet, spawn_local};

pub use fault::Fault;
pub use ledger::Accepted;

use state::State;

/// How a receiver is to behave.
pub struct Options {
    /// Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// With keys, requests must be signed with them. Default: none.
    pub keys: Option<Keys<'static>>,
    /// Tried in order. Default: none.
    pub faults: Vec<Fault>,
    /// For faults `@random`. Default: 1.
    pub seed: u64,
    /// File to append accepted reports to. Those in it already are known. Default: none.
    pub record: Option<PathBuf>,
    /// Whether to keep accepted reports in memory, for [`Receiver::accepted`]. Default: yes.
    pub keep: bool,
    /// Milliseconds since 1970. Default: the system's clock.
    pub clock: fn() -> i64,
    /// Told a line for each request. Default: nothing happens.
    pub log: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: None,
            faults: Vec::new(),
            seed: 1,
            record: None,
            keep: true,
            clock: || WallTime::now().unix_ms(),
            log: |_| {},
        }
    }
}

/// A receiver at work in a thread of its own, until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens when this returns.
    pub fn start(options: Options) -> std::io::Result<Receiver> {
        let listener =
            TcpListener::bind(options.listen).map_err(|why| named(&why, options.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(options)?);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();

        let serving = Arc::clone(&state);
        let thread = thread::Builder::new().name("receiver".to_owned());
        let thread = thread.spawn(move || {
            let tasks = LocalSet::new();
            tasks.spawn_local(accept(listener, serving));
            // Resolves when its sender is dropped. Then the tasks are dropped, and their sockets with them.
            let _ = tasks.block_on(&runtime, stopped);
        })?;
        Ok(Receiver {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://ADDRESS:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The reports accepted since the start, in order, each message id once.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.ledger().accepted()
    }

    /// Requests of which at least a byte arrived.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests with a message id that had been accepted already.
    pub fn repeats(&self) -> u64 {
        self.state.repeats.load(Ordering::Relaxed)
    }

    /// Connections that were opened.
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

/// Connections at a time: each may bring as much as a body may have. Others wait in the system's queue.
const MOST_CONNECTIONS: usize = 128;

/// An error that names what it is about.
fn named(why: &std::io::Error, what: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(why.kind(), format!("{what}: {why}"))
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                state::count(&state.connections);
                let serving = serve::connection(stream, Arc::clone(&state));
                spawn_local(async move {
                    serving.await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: some will come free.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
