//! Watches what happens on connections, so that an error can say whether the report may have arrived.

use std::boxed::Box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

/// What one call has done so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    connected: AtomicBool,
    wrote: AtomicBool,
    answered: AtomicBool,
}

impl Trace {
    /// Before a call.
    pub(super) fn begin(&self) {
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
        self.trace.begin();
        self.trace.connected.store(true, Ordering::Relaxed);
        Ok(result?.map(|inner| Watched {
            inner,
            trace: self.trace.clone(),
        }))
    }
}

#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn Transport>,
    trace: Arc<Trace>,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if amount > 0 {
            self.trace.wrote.store(true, Ordering::Relaxed);
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let some = self.inner.await_input(timeout)?;
        if some {
            self.trace.answered.store(true, Ordering::Relaxed);
        }
        Ok(some)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
