//! Makes connections, and watches what happens on them, so that an error can say whether the report may have arrived.

use std::boxed::Box;
use std::format;
use std::io;
use std::net::SocketAddr;
use std::string::ToString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::vec::Vec;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, Transport,
};
use zeroize::{Zeroize, Zeroizing};

use super::progress::{Phase, Progress};
use super::resolver::Remembering;
use super::send_error::is_unusable;
use super::socket::{LOOK, Socket};
use super::tls::Tls;
use crate::time::MonoTime;

/// Longer heads of responses are not read.
pub(super) const MAX_ANSWER_HEADER: usize = 8 * 1024;

/// Connections by TCP, through a proxy where one is set, with TLS where the URL asks for it.
#[derive(Debug)]
pub(super) struct Watching {
    progress: Arc<Progress>,
    resolver: Remembering,
    tls: Tls,
    /// Whether plain HTTP may go to loopback addresses alone.
    loopback_only: bool,
    /// Whether the connection being made is that to the proxy.
    to_proxy: AtomicBool,
    max_idle: Duration,
}

impl Watching {
    pub(super) fn new(
        progress: Arc<Progress>,
        resolver: Remembering,
        tls: Tls,
        loopback_only: bool,
        max_idle: Duration,
    ) -> Self {
        Watching {
            progress,
            resolver,
            tls,
            loopback_only,
            to_proxy: AtomicBool::new(false),
            max_idle,
        }
    }

    /// ureq's CONNECT, which comes back here for the connection to the proxy.
    fn through_proxy(&self, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, Error> {
        self.to_proxy.store(true, Ordering::Relaxed);
        let tunnel = ConnectProxyConnector::default().connect(details, None::<()>);
        self.to_proxy.store(false, Ordering::Relaxed);
        match tunnel? {
            Some(tunnel) => Ok(tunnel.boxed()),
            None => Err(Error::ConnectionFailed),
        }
    }

    /// TCP, and TLS where the URL asks for it, with the first address that does both: a name service may lead to somebody else, who has no
    /// certificate for the name. Nothing of the report has gone out by then.
    fn reach(
        &self,
        details: &ConnectionDetails<'_>,
        loopback_only: bool,
    ) -> Result<Box<dyn Transport>, Error> {
        let addresses = self.resolver.for_connection(details)?;
        let mut addresses = addresses.iter();
        // Which a human must know of.
        let mut distrusted = None;
        let mut failed = None;
        loop {
            self.progress.enter(Phase::Connect);
            let connected = Socket::connect(details, &mut addresses, loopback_only, &self.progress);
            let mut at = None;
            let secured = connected.and_then(|(socket, address)| {
                at = Some(address);
                self.resolver.answered(address);
                self.secured(details, socket)
            });
            match secured {
                Err(error) if self.progress.bell().is_cancelled() => return Err(error),
                Err(error) if is_unusable(&error).is_none() => failed = Some(error),
                Err(error) => {
                    let has_served = at.is_some_and(|at| self.resolver.has_served(at));
                    if has_served || distrusted.is_none() {
                        distrusted = Some((at, error));
                    }
                }
                secured => return secured,
            }
            if addresses.len() == 0 {
                return Err(self.unreached(distrusted, failed));
            }
        }
    }

    /// Why none of the addresses serves.
    fn unreached(
        &self,
        distrusted: Option<(Option<SocketAddr>, Error)>,
        failed: Option<Error>,
    ) -> Error {
        let failed = failed.unwrap_or(Error::HostNotFound);
        match distrusted {
            Some((Some(at), error)) if self.resolver.excuses(Some(at)) => {
                if !self.to_proxy.load(Ordering::Relaxed) {
                    self.progress.enter(Phase::Tls);
                }
                let distrust = is_unusable(&error).map_or("", |(_, detail)| detail);
                let failed = match failed {
                    Error::Timeout(_) => "timeout".to_string(),
                    Error::Io(error) => error.to_string(),
                    error => error.to_string(),
                };
                let text = format!("{distrust} ({}); where it was: {failed}", at.ip());
                io::Error::other(text).into()
            }
            Some((_, error)) => error,
            None => failed,
        }
    }

    fn secured(
        &self,
        details: &ConnectionDetails<'_>,
        inner: Box<dyn Transport>,
    ) -> Result<Box<dyn Transport>, Error> {
        if !details.needs_tls() {
            return Ok(inner);
        }
        // With a proxy it belongs to the connection.
        if !self.to_proxy.load(Ordering::Relaxed) {
            self.progress.enter(Phase::Tls);
        }
        self.tls.connect(details, inner, &self.progress)
    }
}

impl Connector<()> for Watching {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        if self.to_proxy.load(Ordering::Relaxed) {
            let inner = self.reach(details, false)?;
            let progress = self.progress.clone();
            return Ok(Some(Box::new(ToProxy { inner, progress })));
        }
        let inner = match details.config.proxy() {
            Some(_) => self.secured(details, self.through_proxy(details)?)?,
            None => {
                let loopback_only = self.loopback_only && !details.needs_tls();
                self.reach(details, loopback_only)?
            }
        };
        let looks_while_sending = self.tls.can_look() || !details.needs_tls();
        self.progress.was_good();
        let progress = self.progress.clone();
        let watched = Watched::new(inner, progress, looks_while_sending, self.max_idle);
        Ok(Some(Box::new(watched)))
    }
}

/// A connection to a proxy: keeps how the response to CONNECT begins, for an error.
#[derive(Debug)]
struct ToProxy {
    inner: Box<dyn Transport>,
    progress: Arc<Progress>,
}

impl Transport for ToProxy {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let some = self.inner.await_input(timeout)?;
        self.progress.proxy_said(self.inner.buffers().input());
        Ok(some)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// How many parts of interim responses are read between two parts of a body.
const MAX_LOOKS: u32 = 16;

#[derive(Debug)]
struct Watched {
    inner: Box<dyn Transport>,
    progress: Arc<Progress>,
    /// Whether looking for a response between two parts of a body harms nothing.
    looks_while_sending: bool,
    /// The head of a request, until its body comes: both go out in one write.
    held: Zeroizing<Vec<u8>>,
    /// Whether what came while sending was handed on.
    shown: bool,
    /// Whether the head of the final response has begun.
    answered: bool,
    /// Whether the other side may wait for the rest of a body.
    spoilt: bool,
    /// Whether the last thing done was to read.
    just_read: bool,
    /// No request went over it yet.
    is_new: bool,
    used_at: MonoTime,
    /// [`Progress::route`] when it was made.
    route: u32,
    /// Older ones are not used again. ureq knows that, too, by a clock that stands still while the machine is suspended.
    max_idle: Duration,
}

impl Watched {
    fn new(
        inner: Box<dyn Transport>,
        progress: Arc<Progress>,
        looks_while_sending: bool,
        max_idle: Duration,
    ) -> Self {
        let route = progress.route();
        Watched {
            inner,
            progress,
            looks_while_sending,
            held: Zeroizing::default(),
            shown: false,
            answered: false,
            spoilt: false,
            just_read: false,
            is_new: true,
            used_at: MonoTime::now(),
            route,
            max_idle,
        }
    }

    /// Begins with a head: keeps it if its body fits after it.
    fn begin(&mut self, amount: usize) -> bool {
        self.progress.enter(Phase::Send);
        self.shown = false;
        self.answered = false;
        let body_len = self.progress.body_len();
        let output = self.inner.buffers().output();
        let fits = amount.saturating_add(body_len) <= output.len();
        if fits && body_len > 0 {
            let head = output.get_mut(..amount).unwrap_or_default();
            self.held.extend_from_slice(head);
            head.zeroize();
        }
        !self.held.is_empty()
    }

    /// That nothing came yet: a proxy, or whoever listens there, may say more than it was asked, under TLS 1.3 together with the
    /// handshake. That is the response to no report.
    fn look_before_first(&mut self) -> Result<(), Error> {
        let is_quiet = match self.inner.is_tls() {
            false => self.inner.is_open(),
            true if !self.looks_while_sending => true,
            // Tickets may be on their way, in part; only plaintext is a response.
            true => match self.inner.await_input(LOOK) {
                Ok(_) => false,
                Err(Error::Timeout(_)) => true,
                Err(error) => return Err(error),
            },
        };
        if is_quiet {
            return Ok(());
        }
        Err(io::Error::other("a response came before the request, or an end").into())
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
        self.held.zeroize();
        whole
    }

    /// Whether a final response has begun to come: nobody reads the rest of the body then.
    fn is_answered(&mut self) -> bool {
        // No more than some at a time: interim responses may come without end, and timeouts are minded elsewhere.
        for _ in 0..MAX_LOOKS {
            if self.pass_over_interim() {
                return true;
            }
            if !matches!(self.read(LOOK), Ok(true)) {
                return false;
            }
        }
        false
    }

    fn read(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let some = self.inner.await_input(timeout)?;
        let after = self.inner.buffers().input().len();
        self.progress.came_back(after.saturating_sub(before));
        Ok(some && after > before)
    }

    /// Takes away interim responses in front of the final one, such as `100 Continue`; ureq takes some for errors. Says whether the final one has
    /// begun to come.
    fn pass_over_interim(&mut self) -> bool {
        while !self.answered {
            let buffers = self.inner.buffers();
            match what_came(buffers.input()) {
                Came::Interim(len) => {
                    buffers.input_consume(len);
                    self.progress.was_interim(len);
                }
                Came::Part if buffers.input().len() <= MAX_ANSWER_HEADER => return false,
                // One without end is ureq's to refuse.
                Came::Part | Came::Final => self.answered = true,
            }
        }
        true
    }

    /// Hands a part of the body, or head and body, to the connection.
    fn transmit(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.progress.is_unsent() {
            return Ok(());
        }
        let is_first = !self.progress.went_anything_out();
        if self.looks_while_sending && !is_first && self.is_answered() {
            self.leave_unsent();
            return Ok(());
        }
        let result = self.inner.transmit_output(amount, timeout);
        // 413, say, from a server that does not read on. Who cancelled it wants no response any more.
        if result.is_err()
            && !self.progress.bell().is_cancelled()
            && self.looks_while_sending
            && self.progress.went_anything_out()
            && self.is_answered()
        {
            self.leave_unsent();
            return Ok(());
        }
        result
    }

    fn leave_unsent(&mut self) {
        self.spoilt = true;
        self.progress.set_unsent();
    }
}

/// What stands at the start of an input.
enum Came {
    /// A whole interim response, of this length.
    Interim(usize),
    /// Not enough to tell.
    Part,
    Final,
}

fn what_came(input: &[u8]) -> Came {
    const START: &[u8] = b"HTTP/1.1 1";
    let is_like = |&(at, (&a, &b)): &(usize, (&u8, &u8))| a == b || at == b"HTTP/1.".len();
    let alike = input.iter().zip(START).enumerate().take_while(is_like);
    match alike.count() {
        // Nobody asked for 101, so it ends nothing.
        len if len == START.len() => {
            let end = input.windows(4).position(|end| end == b"\r\n\r\n");
            end.map_or(Came::Part, |at| Came::Interim(at.saturating_add(4)))
        }
        len if len == input.len() => Came::Part,
        _ => Came::Final,
    }
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.just_read = false;
        if amount == 0 && self.held.is_empty() {
            return Ok(());
        }
        if self.progress.phase() != Phase::Send {
            // A kept one was looked at just before.
            if std::mem::take(&mut self.is_new)
                && let Err(error) = self.look_before_first()
            {
                // There may be a token in it, which nobody else wipes now.
                let output = self.inner.buffers().output();
                output.get_mut(..amount).unwrap_or_default().zeroize();
                return Err(error);
            }
            if self.begin(amount) {
                return Ok(());
            }
        }
        let amount = self.with_held(amount);
        self.transmit(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.held.is_empty() {
            self.transmit_output(0, timeout)?;
        }
        if self.progress.phase() != Phase::Response {
            self.progress.enter(Phase::Response);
        }
        // What came while sending was seen by nobody yet.
        if !std::mem::replace(&mut self.shown, true) && self.answered {
            return Ok(true);
        }
        self.just_read = true;
        loop {
            if !self.read(timeout)? {
                return Ok(false);
            }
            if self.pass_over_interim() {
                return Ok(true);
            }
        }
    }

    /// Asked after each response and before each request. Looking costs a system call, so it is done for the latter.
    fn is_open(&mut self) -> bool {
        if std::mem::take(&mut self.just_read) {
            self.used_at = MonoTime::now();
            return !self.spoilt;
        }
        let idle = MonoTime::now().since(self.used_at);
        let leads_there = self.route == self.progress.route();
        !self.spoilt && leads_there && idle <= self.max_idle && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffers::FixedBuffers;
    use super::super::waker::{Bell, Waker};
    use super::*;

    /// One whose other side speaks first, and does not read.
    #[derive(Debug)]
    struct Rude(FixedBuffers);

    impl Transport for Rude {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.0
        }

        fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
            let answer = b"HTTP/1.1 413 x";
            self.0.input_append_buf()[..answer.len()].copy_from_slice(answer);
            self.0.input_appended(answer.len());
            Err(Error::ConnectionFailed)
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            false
        }
    }

    fn watched(bell: &Arc<Bell>) -> Watched {
        let inner = Box::new(Rude(FixedBuffers::new(64, 64)));
        let progress = Arc::new(Progress::new(bell.clone()));
        Watched::new(inner, progress, true, Duration::from_secs(60))
    }

    #[test]
    fn a_head_that_is_not_sent_is_wiped() {
        let mut watched = watched(&Arc::new(Bell::new().unwrap()));
        watched.buffers().output()[..5].copy_from_slice(b"token");
        assert!(watched.transmit_output(5, LOOK).is_err());
        assert_eq!(watched.buffers().output()[..5], [0; 5]);
    }

    #[test]
    fn an_answer_excuses_a_write_that_fails_but_not_one_that_is_cancelled() {
        let bell = Arc::new(Bell::new().unwrap());
        for is_cancelled in [false, true] {
            if is_cancelled {
                Waker(bell.clone()).cancel();
            }
            let mut watched = watched(&bell);
            watched.progress.enter(Phase::Send);
            watched.progress.went_out(1);
            let result = watched.transmit_output(1, LOOK);
            assert_eq!(result.is_err(), is_cancelled);
        }
    }
}
