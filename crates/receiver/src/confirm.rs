//! Confirmations: after its commit each report is confirmed to the message broker, by a message to the `msg_confirm_topic` that it names.
//!
//! No page of the service defines this; the form is this project's own. The message is written in the transaction of its report, and removed when the broker has
//! acknowledged it. So it comes at least once: a broker that was away gets it later, and what a receiver that died had begun is begun again by the next.
//!
//! The broker is looked for when there is something to tell. Brokers may dislike one message (its topic, its size), and say so by closing the connection. So after a
//! failure they go one by one, and the one that fails alone steps aside for a while: it keeps out no other.

mod broker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use crate::store::{Aside, Message, Outbox, Waiting};
pub(crate) use broker::Address;
use broker::Broker;

/// Between looks while nothing waits.
const PAUSE: Duration = Duration::from_millis(250);

/// Between attempts while the broker or the store fails: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// After a message that stepped aside. A broker that dislikes many hears of them all, but not faster than this.
const AFTER_ASIDE: Duration = Duration::from_millis(20);

/// Messages under way, of 28 KB each at the most. Some brokers hold back the acknowledgements after the first for 40 ms (Nagle, and TCP's own delay), so that few
/// together are few in a second.
const MOST_TOGETHER: u32 = 256;

/// For a connection, and for the acknowledgements of all that are under way. Together less than PostgreSQL lets a transaction wait.
const CONNECT: Duration = Duration::from_secs(5);
const ACKNOWLEDGE: Duration = Duration::from_secs(10);

/// A connection that is not used is given up: nothing need be said on it then.
const IDLE: Duration = Duration::from_secs(20);

/// A message that failed alone steps aside for as long as it has waited, within these.
const ASIDE_MS: (i64, i64) = (5_000, 60 * 60 * 1000);

/// Bytes of a topic, for which MQTT would take 65,535, and of an id.
const LONGEST: usize = 4096;

#[derive(Default)]
pub(crate) struct Counts {
    /// Messages that the broker has acknowledged.
    pub(crate) published: AtomicU64,
    /// Reports whose topic cannot be published to.
    pub(crate) skipped: AtomicU64,
    /// Times that the broker, or the store of its messages, failed.
    pub(crate) failures: AtomicU64,
}

/// The message that confirms a report. None: it wants none.
///
/// # Errors
///
/// Why there can be none.
pub(crate) fn message(
    message_id: &str,
    topic: Option<&str>,
) -> Result<Option<Message>, &'static str> {
    let Some(topic) = topic.filter(|topic| !topic.is_empty()) else {
        return Ok(None);
    };
    // Brokers close the connection over control characters, and clients have no business in topics that begin with `$`.
    let not = |c: char| {
        c.is_control()
            || matches!(c, '+' | '#' | '\u{fdd0}'..='\u{fdef}')
            || u32::from(c) & 0xfffe == 0xfffe
    };
    if topic.len() > LONGEST || topic.starts_with('$') || topic.contains(not) {
        return Err("nothing can be published to the topic");
    }
    if message_id.len() > LONGEST {
        return Err("message_id is too long");
    }
    let id = serde_json::Value::from(message_id);
    Ok(Some(Message {
        topic: topic.to_owned(),
        payload: format!(r#"{{"message_id":{id},"is_success":true}}"#).into_bytes(),
    }))
}

/// The thread that publishes. It ends when this is dropped.
pub(crate) struct Confirmer {
    pub(crate) counts: Arc<Counts>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Confirmer {
    pub(crate) fn start(
        outbox: Box<dyn Outbox>,
        address: Address,
        clock: fn() -> i64,
        tell: fn(&str),
    ) -> io::Result<Confirmer> {
        let counts = Arc::new(Counts::default());
        let (end, ended) = mpsc::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut publisher = Publisher {
            outbox,
            address,
            clock,
            runtime,
            broker: None,
            fresh: true,
            most: MOST_TOGETHER,
            used: Instant::now(),
            counts: Arc::clone(&counts),
        };
        let thread = thread::Builder::new().name("confirm".to_owned());
        let thread = thread.spawn(move || {
            let (mut pause, mut retry) = (Duration::ZERO, FIRST_RETRY);
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
                pause = match publisher.step() {
                    Ok(Step::Connected) => Duration::ZERO,
                    Ok(Step::Published) => {
                        retry = FIRST_RETRY;
                        Duration::ZERO
                    }
                    Ok(Step::Idle) => PAUSE,
                    Ok(Step::Aside(why)) => {
                        tell(&format!("failed confirm why=\"one message: {why}\""));
                        AFTER_ASIDE
                    }
                    Err(why) => {
                        publisher.counts.failures.fetch_add(1, Ordering::Relaxed);
                        tell(&format!("failed confirm why=\"{why}\""));
                        let pause = retry;
                        retry = retry.saturating_mul(2).min(LAST_RETRY);
                        pause
                    }
                };
            }
        })?;
        Ok(Confirmer {
            counts,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Confirmer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Step {
    /// Nothing is due.
    Idle,
    Connected,
    Published,
    /// One message failed alone, and the next has its turn.
    Aside(io::Error),
}

struct Publisher {
    outbox: Box<dyn Outbox>,
    address: Address,
    clock: fn() -> i64,
    runtime: Runtime,
    broker: Option<Broker>,
    /// Nothing was published on its connection yet.
    fresh: bool,
    /// Messages that go together.
    most: u32,
    used: Instant,
    counts: Arc<Counts>,
}

impl Publisher {
    /// Publishes some of what waits.
    fn step(&mut self) -> io::Result<Step> {
        if self.used.elapsed() > IDLE {
            self.broker = None;
        }
        let now_ms = (self.clock)();
        // What is due later than any that stepped aside was put off by a clock that has been put back since.
        let latest_ms = now_ms.saturating_add(ASIDE_MS.1);
        let waiting = self.outbox.take(now_ms, latest_ms, self.most)?;
        if waiting.is_empty() {
            self.outbox.settle(&[], None)?;
            return Ok(Step::Idle);
        }
        let Some(broker) = &mut self.broker else {
            // Others may have the messages while this one looks for the broker.
            self.outbox.settle(&[], None)?;
            let connect = limited(CONNECT, Broker::connect(&self.address));
            self.broker = Some(self.runtime.block_on(connect)?);
            (self.fresh, self.used) = (true, Instant::now());
            return Ok(Step::Connected);
        };
        let mut acknowledged = Vec::new();
        let publish = limited(ACKNOWLEDGE, broker.publish(&waiting, &mut acknowledged));
        let done = self.runtime.block_on(publish);
        self.used = Instant::now();
        let published: Vec<&Waiting> = waiting
            .iter()
            .zip(&acknowledged)
            .filter_map(|(waiting, acknowledged)| acknowledged.then_some(waiting))
            .collect();
        // Else the connection may have ended since the last message.
        let alone = match waiting.as_slice() {
            [waiting] if published.is_empty() && self.fresh => Some(waiting),
            _ => None,
        };
        let aside = alone.map(|waiting| Aside {
            waiting,
            due_ms: self.later(waiting),
        });
        self.outbox.settle(&published, aside)?;
        let count = u64::try_from(published.len()).unwrap_or_default();
        self.counts.published.fetch_add(count, Ordering::Relaxed);
        self.most = if done.is_ok() { MOST_TOGETHER } else { 1 };
        self.fresh = false;
        let Err(why) = done else {
            return Ok(Step::Published);
        };
        self.broker = None;
        match alone {
            Some(_) => Ok(Step::Aside(why)),
            None => Err(why),
        }
    }

    fn later(&self, waiting: &Waiting) -> i64 {
        let now_ms = (self.clock)();
        let waited = now_ms.saturating_sub(waiting.received_ms);
        now_ms.saturating_add(waited.clamp(ASIDE_MS.0, ASIDE_MS.1))
    }
}

async fn limited<T>(most: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer");
    timeout(most, work).await.map_err(|_| late())?
}
