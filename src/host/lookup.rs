//! Look-ups of names, each in a thread, since the system's knows no timeout: who asks waits as long as he wants. One that takes longer
//! goes on beside, and is not begun anew by the next who asks: what it finds is his.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::string::{String, ToString};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{format, io, thread};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::waker::{Bell, cancelled};
use crate::time::MonoTime;

/// So long an address serves new connections without a question.
pub(super) const LONGEST_TRUST: Duration = Duration::from_secs(300);
/// As many as ureq takes.
const MOST_ADDRESSES: usize = 16;
/// Of what is found: one place is kept for the address that served.
const MOST_FOUND: usize = MOST_ADDRESSES - 1;
/// Of the thread that looks up. Stated, since std would ask the environment.
const STACK: usize = 512 * 1024;
/// So soon a look-up is given up when it is cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks one thing at a time.
#[derive(Debug)]
pub(super) struct NameService {
    resolver: Arc<dyn Resolver>,
    bell: Arc<Bell>,
    /// One for which nobody waits any more, also when it has ended.
    late: Option<Running>,
    was_late: bool,
}

impl NameService {
    pub(super) fn new(resolver: impl Resolver, bell: Arc<Bell>) -> Self {
        NameService {
            resolver: Arc::new(resolver),
            bell,
            late: None,
            was_late: false,
        }
    }

    /// Whether it was waited for in vain, and has found nothing since then.
    pub(super) fn was_late(&self) -> bool {
        self.was_late
    }

    /// What a late look-up has found by now is outdated.
    pub(super) fn forget_late(&mut self) {
        if self.late.as_ref().is_some_and(Running::is_over) {
            self.take_late();
        }
    }

    /// What the late look-up found that is over. Where each takes longer than anybody waits, no other ever finds anything.
    fn take_late(&mut self) -> Option<ResolvedSocketAddrs> {
        let late = self.late.take()?;
        let found = late.answer.try_recv().ok()?.ok()?;
        self.was_late = false;
        (MonoTime::now().since(late.begun_at) <= LONGEST_TRUST).then_some(found)
    }

    pub(super) fn ask(
        &mut self,
        uri: &Uri,
        config: &Config,
        longest: Duration,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let asked = Instant::now();
        let is_other = |late: &mut Running| late.name != name_of(uri);
        drop(self.late.take_if(is_other));
        if self.late.as_ref().is_some_and(Running::is_over)
            && let Some(found) = self.take_late()
        {
            return Ok(found);
        }
        let running = match self.late.take() {
            Some(late) => late,
            None => Running::begin(self.resolver.clone(), uri, config, STACK)?,
        };
        loop {
            let left = longest.saturating_sub(asked.elapsed());
            match running.answer.recv_timeout(left.min(LOOK_AGAIN)) {
                Ok(found) => {
                    self.was_late &= found.is_err();
                    return found;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::HostNotFound),
                Err(RecvTimeoutError::Timeout) if self.bell.is_cancelled() => {
                    self.late = Some(running);
                    return Err(cancelled().into());
                }
                Err(RecvTimeoutError::Timeout) if left <= LOOK_AGAIN => {
                    self.late = Some(running);
                    self.was_late = true;
                    return Err(Error::Timeout(Timeout::Resolve));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[derive(Debug)]
struct Running {
    name: String,
    begun_at: MonoTime,
    answer: Receiver<Result<ResolvedSocketAddrs, Error>>,
    thread: JoinHandle<()>,
}

impl Running {
    fn begin(
        resolver: Arc<dyn Resolver>,
        uri: &Uri,
        config: &Config,
        stack: usize,
    ) -> io::Result<Self> {
        let (tell, answer) = sync_channel(1);
        let (asked, config) = (uri.clone(), config.clone());
        let look_up = move || {
            let found = resolver.resolve(&asked, &config, NextTimeout::default());
            // Nobody may wait any more.
            let _ = tell.send(found);
        };
        let thread = thread::Builder::new()
            .name("name look-up".to_string())
            .stack_size(stack);
        match thread.spawn(look_up) {
            Ok(thread) => Ok(Running {
                name: name_of(uri).to_string(),
                begun_at: MonoTime::now(),
                answer,
                thread,
            }),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("no thread for the name look-up: {error}"),
            )),
        }
    }

    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}

/// The system's look-up.
#[derive(Debug)]
pub(super) struct System;

impl Resolver for System {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let mut found = some_of(&[]);
        for address in (host, port(uri)).to_socket_addrs()?.take(MOST_FOUND) {
            found.push(address);
        }
        match found.is_empty() {
            true => Err(Error::HostNotFound),
            false => Ok(found),
        }
    }
}

pub(super) fn some_of(addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
    let mut some = ResolvedSocketAddrs::from_fn(|_| SocketAddr::from(([0; 4], 0)));
    for address in addresses.iter().take(MOST_ADDRESSES) {
        some.push(*address);
    }
    some
}

pub(super) fn name_of(uri: &Uri) -> &str {
    uri.authority().map(|a| a.as_str()).unwrap_or_default()
}

pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    })
}

/// A host that is an address needs no look-up.
pub(super) fn literal_address(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(host).parse().ok()?;
    Some(SocketAddr::new(address, port(uri)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        ureq::Agent::config_builder().build()
    }

    #[test]
    fn a_thread_that_cannot_be_made_is_an_error() {
        let uri = Uri::from_static("http://localhost:1");
        let error = Running::begin(Arc::new(System), &uri, &config(), 1 << 60).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no thread for the name look-up: "),
            "{error}"
        );
    }

    #[test]
    fn the_system_knows_this_machine() {
        let uri = Uri::from_static("http://localhost:7");
        let mut names = NameService::new(System, Arc::new(Bell::new().unwrap()));
        let found = names.ask(&uri, &config(), Duration::from_secs(10)).unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
    }
}
