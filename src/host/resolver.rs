//! Looks names up once, and again only after a failure, after a response that may not be the service's, and for a new connection when what
//! is known is old: a service may move, and at its old place somebody else may answer. A name service may be wrong as well, so the address
//! that led to the service last stays one of those that are tried.
//!
//! ureq asks its resolver before every request, with a thread per look-up. Here a living connection needs neither:
//! with the name service dead, reports go on.

use std::boxed::Box;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::string::{String, ToString};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{format, thread};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout, time};
use ureq::{Error, Timeout};

use super::progress::{Phase, Progress};
use super::waker::{Bell, cancelled};
use crate::time::MonoTime;

/// The longest that a new look-up may hold up a call for which an address is known.
const LONGEST_DOUBT: Duration = Duration::from_secs(2);
/// So long an address serves new connections without a question.
const LONGEST_TRUST: Duration = Duration::from_secs(300);
/// Of the thread that looks up. Stated, since std would ask the environment.
const STACK: usize = 512 * 1024;
/// So soon a look-up is given up when it is cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// As many as ureq takes.
const MOST_ADDRESSES: usize = 16;
/// So often in a row a stranger's reason to stop is passed over. Less than the service takes failed checks of credentials before it locks a key pair.
const MOST_EXCUSED: u32 = 3;
/// Of what is found: one place is kept for the address that served.
const MOST_FOUND: usize = MOST_ADDRESSES - 1;

/// Remembers the addresses of each host: the endpoint and, at most, a proxy. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Remembering(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    lookup: Box<dyn Resolver>,
    progress: Arc<Progress>,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    name: String,
    /// In the order in which they are tried. Beside those that the name service named last, the one that served.
    addresses: Vec<SocketAddr>,
    /// The one that the connection in use goes to.
    taken: Option<SocketAddr>,
    /// The one that led to the service last: a name service may be wrong, for a while or for ever.
    served: Option<SocketAddr>,
    /// How often since then a reason to stop was passed over.
    excused: u32,
    /// When it was looked up last, also in vain.
    asked_at: MonoTime,
    /// Whether to ask again at the next request.
    doubted: bool,
}

impl Known {
    /// Takes in what was found. Says whether the name leads elsewhere now: to new addresses, and not to the one that served.
    ///
    /// New ones come first, as a service may have moved. The one that served is next, and never gone: with what the name service has said before and
    /// that served anyway, it stays where it is. After a new one that answered badly it comes first, whatever is newer still: a name
    /// service may be wrong in another way each time.
    fn renew(&mut self, found: &[SocketAddr]) -> bool {
        let mut order = found.to_vec();
        order.retain(|address| !self.addresses.contains(address));
        let lost = self.served.filter(|served| !found.contains(served));
        let has_moved = lost.is_some() && !order.is_empty();
        if has_moved {
            let is_its_turn = self.taken.is_some() && self.taken != self.served;
            let at = usize::from(!is_its_turn);
            order.splice(at..at, lost);
        }
        for address in &self.addresses {
            if found.contains(address) || lost == Some(*address) && !has_moved {
                order.push(*address);
            }
        }
        self.addresses = order;
        has_moved
    }

    /// Begins with this one, and ends with what is in front of it.
    fn begin_with(&mut self, address: SocketAddr) {
        let at = self.addresses.iter().position(|one| *one == address);
        self.addresses.rotate_left(at.unwrap_or_default());
    }

    /// What was tried last comes last, so that each has its turn.
    fn doubt(&mut self) {
        if let Some(taken) = self.taken {
            self.begin_with(taken);
        }
        let is_any = usize::from(!self.addresses.is_empty());
        self.addresses.rotate_left(is_any);
        self.doubted = true;
    }

    /// See [`Remembering::excuses`].
    fn excuses(&mut self, address: Option<SocketAddr>) -> bool {
        let from = address.filter(|one| self.addresses.contains(one));
        let from = from.or(self.taken.filter(|_| address.is_none()));
        let is_stranger = from.is_some() && self.served.is_some() && from != self.served;
        self.excused = self.excused.saturating_add(u32::from(is_stranger));
        is_stranger && self.excused <= MOST_EXCUSED
    }

    /// Whether a connection that is kept is used again, though it is doubted: where there is no other way, or it was good a moment ago.
    fn is_kept(&self, was_good_lately: bool) -> bool {
        let has_served = self.taken.is_some() && self.taken == self.served;
        let is_only = self.addresses.iter().all(|one| Some(*one) == self.taken);
        is_only || has_served && was_good_lately
    }
}

impl Remembering {
    pub(super) fn new(lookup: impl Resolver, progress: Arc<Progress>) -> Self {
        Remembering(Arc::new(Memory {
            lookup: Box::new(lookup),
            progress,
            known: Mutex::default(),
        }))
    }

    /// Asks again at the next request; if that fails, what is known still serves. A new connection goes to another address first, and one that
    /// is kept is left for another, unless it was good within the last minute.
    pub(super) fn doubt(&self) {
        self.known().iter_mut().for_each(Known::doubt);
    }

    /// The service itself answered.
    pub(super) fn served(&self) {
        for known in self.known().iter_mut() {
            if let Some(taken) = known.taken {
                known.served = Some(taken);
                known.excused = 0;
                known.begin_with(taken);
            }
        }
    }

    /// The addresses for a new connection: those that are known, unless these are old.
    pub(super) fn for_connection(
        &self,
        details: &ConnectionDetails<'_>,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = name_of(details.uri);
        let mut all = self.known();
        let Some(known) = all.iter_mut().find(|known| known.name == name) else {
            return Ok(details.addrs.clone());
        };
        known.taken = None;
        match MonoTime::now().since(known.asked_at) > LONGEST_TRUST {
            true => self.look_up(&mut all, details.uri, details.config),
            false => Ok(some_of(&known.addresses)),
        }
    }

    /// This one took a connection: the next begins with it, and spends no time on those that did not, unless it is [doubted](Self::doubt).
    pub(super) fn answered(&self, address: SocketAddr) {
        for known in self.known().iter_mut() {
            if known.addresses.contains(&address) {
                known.taken = Some(address);
                known.begin_with(address);
            }
        }
    }

    /// Whether a reason to stop is passed over that this address gave, or without one that of the connection in use: a name service may be wrong just as
    /// the address that served fails, and that one has the next turn. Not for ever, since the service may have moved.
    pub(super) fn excuses(&self, address: Option<SocketAddr>) -> bool {
        let mut all = self.known();
        all.iter_mut().any(|known| known.excuses(address))
    }

    pub(super) fn has_served(&self, address: SocketAddr) -> bool {
        let all = self.known();
        all.iter().any(|known| known.served == Some(address))
    }

    fn look_up(
        &self,
        all: &mut Vec<Known>,
        uri: &Uri,
        config: &Config,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = name_of(uri);
        let mut known = all.iter_mut().find(|known| known.name == name);
        let progress = &self.0.progress;
        progress.enter(Phase::Lookup);
        let longest = match &mut known {
            Some(known) => {
                // Once: a connection may live by the time that it fails, and must not wait for another.
                known.doubted = false;
                known.asked_at = MonoTime::now();
                LONGEST_DOUBT
            }
            None => Duration::MAX,
        };
        let timeout = NextTimeout {
            after: time::Duration::Exact(progress.left().min(longest)),
            ..NextTimeout::default()
        };
        let found = self.0.lookup.resolve(uri, config, timeout);
        match (found, known) {
            (Err(error), _) if progress.bell().is_cancelled() => Err(error),
            (found, Some(known)) => {
                let has_moved = found.is_ok_and(|found| known.renew(&found));
                if has_moved || !known.is_kept(progress.was_good_lately()) {
                    progress.leave_route();
                }
                Ok(some_of(&known.addresses))
            }
            (Ok(found), None) => {
                all.push(Known {
                    name: name.to_string(),
                    addresses: found.to_vec(),
                    taken: None,
                    served: None,
                    excused: 0,
                    asked_at: MonoTime::now(),
                    doubted: false,
                });
                Ok(found)
            }
            (Err(Error::Timeout(_)), None) => Err(progress.timeout()),
            (Err(error), None) => Err(error),
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(address) = literal_address(uri) {
            return Ok(some_of(&[address]));
        }
        let name = name_of(uri);
        let mut known = self.known();
        match known.iter().find(|known| known.name == name) {
            Some(known) if !known.doubted => Ok(some_of(&known.addresses)),
            _ => self.look_up(&mut known, uri, config),
        }
    }
}

fn some_of(addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
    let mut some = ResolvedSocketAddrs::from_fn(|_| SocketAddr::from(([0; 4], 0)));
    for address in addresses.iter().take(MOST_ADDRESSES) {
        some.push(*address);
    }
    some
}

fn name_of(uri: &Uri) -> &str {
    uri.authority().map(|a| a.as_str()).unwrap_or_default()
}

/// The system's look-up, which knows no timeout: so it has a thread, and who asks waits as long as he wants. A look-up that takes
/// longer is not begun anew by the next who asks, and what it finds is his.
#[derive(Debug)]
pub(super) struct System {
    bell: Arc<Bell>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    name: String,
    begun_at: MonoTime,
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
    thread: JoinHandle<()>,
}

impl Running {
    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What it found when nobody waited any more. Where each look-up takes longer than that, no other ever finds anything.
    fn late_answer(&self) -> Option<Vec<SocketAddr>> {
        let is_young = MonoTime::now().since(self.begun_at) <= LONGEST_TRUST;
        let found = self.answer.try_recv().ok()?.ok()?;
        (is_young && !found.is_empty()).then_some(found)
    }

    fn begin(name: String, stack: usize) -> io::Result<Self> {
        let (tell, answer) = sync_channel(1);
        let asked = name.clone();
        let look_up = move || {
            let found = asked
                .to_socket_addrs()
                .map(|all| all.take(MOST_FOUND).collect());
            // Nobody may wait any more.
            let _ = tell.send(found);
        };
        let thread = thread::Builder::new()
            .name("name look-up".to_string())
            .stack_size(stack);
        match thread.spawn(look_up) {
            Ok(thread) => Ok(Running {
                name,
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
}

impl System {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        System {
            bell,
            running: Mutex::default(),
        }
    }
}

impl Resolver for System {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let name = format!("{host}:{}", port(uri));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match running.take().filter(|begun| begun.name == name) {
            Some(begun) if !begun.is_over() => begun,
            over => match over.and_then(|over| over.late_answer()) {
                Some(found) => return Ok(some_of(&found)),
                None => Running::begin(name, STACK)?,
            },
        };
        let asked = Instant::now();
        let found = loop {
            let left = timeout.after.saturating_sub(asked.elapsed());
            match begun.answer.recv_timeout(left.min(LOOK_AGAIN)) {
                Ok(found) => break found?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::HostNotFound),
                Err(RecvTimeoutError::Timeout) if self.bell.is_cancelled() => {
                    *running = Some(begun);
                    return Err(cancelled().into());
                }
                Err(RecvTimeoutError::Timeout) if left <= LOOK_AGAIN => {
                    *running = Some(begun);
                    return Err(Error::Timeout(Timeout::Resolve));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        if found.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(some_of(&found))
    }
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

    #[test]
    fn a_thread_that_cannot_be_made_is_an_error() {
        let error = Running::begin("localhost:1".to_string(), 1 << 60).unwrap_err();
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
        let timeout = NextTimeout {
            after: time::Duration::from_secs(10),
            ..NextTimeout::default()
        };
        let config = ureq::Agent::config_builder().build();
        let found = System::new(Arc::new(Bell::new().unwrap()))
            .resolve(&uri, &config, timeout)
            .unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
    }
}
