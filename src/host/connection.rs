//! Watches what happens on connections, so that an error can say whether the report may have arrived; and spares system calls.

use std::boxed::Box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration as StdDuration;
use std::vec::Vec;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport, time::Duration,
};

/// What one call has done so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    connected: AtomicBool,
    wrote: AtomicBool,
    answered: AtomicBool,
    body_len: AtomicUsize,
}

impl Trace {
    /// Before a call with a body of so many bytes.
    pub(super) fn begin(&self, body_len: usize) {
        self.body_len.store(body_len, Ordering::Relaxed);
        self.reset();
    }

    fn reset(&self) {
        self.connected.store(false, Ordering::Relaxed);
        self.wrote.store(false, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Whether any byte of the request went out.
    pub(super) fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// Whether the request went out on a connection kept from before, and no byte came back.
    pub(super) fn stale_connection(&self) -> bool {
        self.wrote()
            && !self.connected.load(Ordering::Relaxed)
            && !self.answered.load(Ordering::Relaxed)
    }
}

/// ureq's own connections, watched.
#[derive(Debug)]
pub(super) struct Watching {
    inner: DefaultConnector,
    trace: Arc<Trace>,
}

impl Watching {
    pub(super) fn new(trace: Arc<Trace>) -> Self {
        Watching {
            inner: DefaultConnector::new(),
            trace,
        }
    }
}

impl Connector<()> for Watching {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Watched>, Error> {
        let result = self.inner.connect(details, chained);
        // A proxy's CONNECT went through here as well: that was not the report.
        self.trace.reset();
        self.trace.connected.store(true, Ordering::Relaxed);
        Ok(result?.map(|inner| Watched {
            inner,
            trace: self.trace.clone(),
            held: Vec::new(),
            just_read: false,
        }))
    }
}

#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn Transport>,
    trace: Arc<Trace>,
    /// The head of a request, until its body comes: both go out in one write.
    held: Vec<u8>,
    /// Whether the last thing done was to read.
    just_read: bool,
}

impl Watched {
    /// Whether these are a head whose body fits behind it.
    fn is_to_be_held(&mut self, amount: usize) -> bool {
        let body_len = self.trace.body_len.load(Ordering::Relaxed);
        let room = self.inner.buffers().output().len();
        self.held.is_empty()
            && !self.trace.wrote()
            && body_len > 0
            && amount.saturating_add(body_len) <= room
    }

    /// Puts what was held in front of the `amount` bytes that are to go out, and says how many these are then.
    fn with_held(&mut self, amount: usize) -> usize {
        let output = self.inner.buffers().output();
        let whole = amount.saturating_add(self.held.len());
        if let Some(output) = output.get_mut(..whole) {
            output.rotate_right(self.held.len());
            if let Some(front) = output.get_mut(..self.held.len()) {
                front.copy_from_slice(&self.held);
            }
        }
        self.held.clear();
        whole
    }
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.just_read = false;
        if amount > 0 && self.is_to_be_held(amount) {
            let output = self.inner.buffers().output();
            self.held
                .extend_from_slice(output.get(..amount).unwrap_or_default());
            return Ok(());
        }
        let amount = self.with_held(amount);
        if amount > 0 {
            self.trace.wrote.store(true, Ordering::Relaxed);
        }
        self.inner.transmit_output(amount, rounded(timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.held.is_empty() {
            self.transmit_output(0, timeout)?;
        }
        let some = self.inner.await_input(rounded(timeout))?;
        if some {
            self.trace.answered.store(true, Ordering::Relaxed);
        }
        self.just_read = true;
        Ok(some)
    }

    /// Asked after each answer and before each request. Looking costs three system calls, so it is done for the latter.
    fn is_open(&mut self) -> bool {
        std::mem::take(&mut self.just_read) || self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A time-out that is the same from one call to the next, so that the socket need not be told: longer by less than a sixteenth.
fn rounded(mut timeout: NextTimeout) -> NextTimeout {
    if let Duration::Exact(after) = timeout.after {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        if let Some(step) = (ms / 16).checked_ilog2().map(|log| 1u64 << log) {
            let ms = ms.div_ceil(step).saturating_mul(step);
            timeout.after = Duration::Exact(StdDuration::from_millis(ms));
        }
    }
    timeout
}
