//! Looks names up once, and again only after a failure, after a response that may not be the service's, and for a new connection when what
//! is known is old: a service may move, and at its old place somebody else may answer. A name service may be wrong as well, so the address
//! that led to the service last stays one of those that are tried. Another that failed while that one served has its turn again after a pause
//! that grows.
//!
//! ureq asks its resolver before every request, with a thread per look-up. Here a living connection needs neither:
//! with the name service dead, reports go on. Where it is late, a call waits once, for a small part of its time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Vec;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout};

use super::lookup::{LONGEST_TRUST, NameService, literal_address, name_of, some_of};
use super::progress::{Phase, Progress};
use crate::time::MonoTime;

/// The longest that a new look-up may hold up a call for which an address is known.
const LONGEST_DOUBT: Duration = Duration::from_secs(2);
/// And no more than this part of the time that the call has: the service needs the rest.
const SHARE_OF_DOUBT: u32 = 5;
/// So often in a row a stranger's reason to stop is passed over. Less than the service takes failed checks of credentials before it locks a key pair.
const MOST_EXCUSED: u32 = 3;
/// So long an address that failed where another served comes last; each further time twice as long.
const SHORTEST_REST: Duration = Duration::from_secs(60);
/// And no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// After so many failures in a row all have their turns again: the service may have moved to one that rests.
const MOST_FAILURES: u32 = 5;
/// So many addresses that failed are remembered.
const MOST_FAILED: usize = 16;

/// Remembers the addresses of each host: the endpoint and, at most, a proxy. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Remembering(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    progress: Arc<Progress>,
    names: Mutex<Names>,
}

#[derive(Debug)]
struct Names {
    service: NameService,
    known: Vec<Known>,
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
    /// Those that failed, the latest last.
    failed: VecDeque<Failed>,
    /// How many attempts in a row failed.
    failures: u32,
    /// When it was looked up last, also in vain.
    asked_at: MonoTime,
    /// Whether to ask again at the next request.
    doubted: bool,
}

/// An address that failed, which is nobody, somebody else, or the service on a bad day.
#[derive(Debug)]
struct Failed {
    address: SocketAddr,
    /// Whether it failed since the service answered last.
    is_new: bool,
    /// How often the service answered elsewhere then.
    times: u32,
    /// When it did so last.
    rests_from: MonoTime,
}

impl Failed {
    fn rest(&self) -> Duration {
        let Some(doublings) = self.times.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        SHORTEST_REST.saturating_mul(factor).min(LONGEST_REST)
    }

    fn is_resting(&self) -> bool {
        MonoTime::now().since(self.rests_from) < self.rest()
    }
}

impl Known {
    fn new(name: &str, found: &[SocketAddr]) -> Self {
        Known {
            name: name.to_string(),
            addresses: found.to_vec(),
            taken: None,
            served: None,
            excused: 0,
            failed: VecDeque::new(),
            failures: 0,
            asked_at: MonoTime::now(),
            doubted: false,
        }
    }

    /// Takes in what was found. Says whether the name leads elsewhere now: to new addresses, and not to the one that served.
    ///
    /// New ones come first, as a service may have moved. The one that served is next, and never gone: with what the name service has said before and
    /// that served anyway, it stays where it is. After a new one that answered badly it comes first, whatever is newer still: a name
    /// service may be wrong in another way each time.
    fn renew(&mut self, found: &[SocketAddr]) -> bool {
        let mut order = found.to_vec();
        order.retain(|one| !self.addresses.contains(one) && !self.is_resting(*one));
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
        for address in found {
            if !order.contains(address) {
                order.push(*address);
            }
        }
        self.addresses = order;
        has_moved
    }

    fn note_failure(&mut self, address: SocketAddr) {
        match self.failed.iter_mut().find(|one| one.address == address) {
            Some(failed) => failed.is_new = true,
            None => {
                if self.failed.len() >= MOST_FAILED {
                    self.failed.pop_front();
                }
                self.failed.push_back(Failed {
                    address,
                    is_new: true,
                    times: 0,
                    rests_from: MonoTime::default(),
                });
            }
        }
    }

    fn is_resting(&self, address: SocketAddr) -> bool {
        let mut failed = self.failed.iter();
        self.failures < MOST_FAILURES
            && failed.any(|one| one.address == address && one.is_resting())
    }

    fn put_resting_last(&mut self) {
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.sort_by_key(|one| self.is_resting(*one));
        self.addresses = addresses;
    }

    /// See [`Remembering::answered`].
    fn answered(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) {
            return;
        }
        while let Some(&first) = self.addresses.first()
            && first != address
        {
            self.note_failure(first);
            self.addresses.rotate_left(1);
        }
        self.taken = Some(address);
    }

    /// See [`Remembering::served`].
    fn served(&mut self) {
        let Some(taken) = self.taken else {
            return;
        };
        self.served = Some(taken);
        self.excused = 0;
        self.failures = 0;
        self.begin_with(taken);
        self.failed.retain(|one| one.address != taken);
        for failed in self.failed.iter_mut().filter(|one| one.is_new) {
            failed.is_new = false;
            failed.times = failed.times.saturating_add(1);
            failed.rests_from = MonoTime::now();
        }
    }

    /// Begins with this one, and ends with what is in front of it.
    fn begin_with(&mut self, address: SocketAddr) {
        let at = self.addresses.iter().position(|one| *one == address);
        self.addresses.rotate_left(at.unwrap_or_default());
    }

    /// What was tried last comes last, so that each has its turn.
    fn doubt(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if let Some(taken) = self.taken {
            self.begin_with(taken);
            // The one that served may well be the service, and busy.
            if self.taken != self.served {
                self.note_failure(taken);
            }
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
        let is_other = |one: &SocketAddr| Some(*one) != self.taken && !self.is_resting(*one);
        let is_only = !self.addresses.iter().any(is_other);
        is_only || has_served && was_good_lately
    }
}

impl Names {
    fn find(&mut self, name: &str) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| known.name == name)
    }
}

impl Remembering {
    pub(super) fn new(lookup: impl Resolver, progress: Arc<Progress>) -> Self {
        let names = Names {
            service: NameService::new(lookup, progress.bell().clone()),
            known: Vec::new(),
        };
        Remembering(Arc::new(Memory {
            progress,
            names: Mutex::new(names),
        }))
    }

    /// Asks again at the next request; if that fails, what is known still serves. A new connection goes to another address first, and one that
    /// is kept is left for another, unless it was good within the last minute.
    pub(super) fn doubt(&self) {
        self.names().known.iter_mut().for_each(Known::doubt);
    }

    /// The service itself answered: what a look-up found before says nothing against that.
    pub(super) fn served(&self) {
        let mut names = self.names();
        names.service.forget_late();
        names.known.iter_mut().for_each(Known::served);
    }

    /// The addresses for a new connection: those that are known, unless these are old. Those that rest come last.
    pub(super) fn for_connection(
        &self,
        details: &ConnectionDetails<'_>,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = name_of(details.uri);
        let mut names = self.names();
        let Some(known) = names.find(name) else {
            return Ok(details.addrs.clone());
        };
        known.taken = None;
        known.put_resting_last();
        match MonoTime::now().since(known.asked_at) > LONGEST_TRUST {
            true => self.look_up(&mut names, details.uri, details.config),
            false => Ok(some_of(&known.addresses)),
        }
    }

    /// This one took a connection: the next begins with it, and spends no time on those that did not, unless it is [doubted](Self::doubt).
    pub(super) fn answered(&self, address: SocketAddr) {
        for known in &mut self.names().known {
            known.answered(address);
        }
    }

    /// Whether a reason to stop is passed over that this address gave, or without one that of the connection in use: a name service may be wrong just as
    /// the address that served fails, and that one has the next turn. Not for ever, since the service may have moved.
    pub(super) fn excuses(&self, address: Option<SocketAddr>) -> bool {
        let mut names = self.names();
        names.known.iter_mut().any(|known| known.excuses(address))
    }

    pub(super) fn has_served(&self, address: SocketAddr) -> bool {
        let names = self.names();
        names
            .known
            .iter()
            .any(|known| known.served == Some(address))
    }

    fn look_up(
        &self,
        names: &mut Names,
        uri: &Uri,
        config: &Config,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = name_of(uri);
        let Names {
            service,
            known: all,
        } = names;
        let mut known = all.iter_mut().find(|known| known.name == name);
        let progress = &self.0.progress;
        progress.enter(Phase::Lookup);
        let left = progress.left();
        let longest = match &mut known {
            Some(known) => {
                // Once: a connection may live by the time that it fails, and must not wait for another.
                known.doubted = false;
                known.asked_at = MonoTime::now();
                let share = left.checked_div(SHARE_OF_DOUBT).unwrap_or_default();
                // One that was late before goes on beside: what it finds is the next request's.
                match service.was_late() {
                    true => Duration::ZERO,
                    false => share.min(LONGEST_DOUBT),
                }
            }
            None => left,
        };
        let found = service.ask(uri, config, longest);
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
                all.push(Known::new(name, &found));
                Ok(found)
            }
            (Err(Error::Timeout(_)), None) => Err(progress.timeout()),
            (Err(error), None) => Err(error),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut names = self.names();
        match names.find(name) {
            Some(known) if !known.doubted => Ok(some_of(&known.addresses)),
            _ => self.look_up(&mut names, uri, config),
        }
    }
}
