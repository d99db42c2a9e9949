//! Looks names up once, and again only after a failure.
//!
//! ureq asks its resolver before every request, with a thread per look-up. Here a living connection needs neither:
//! with the name service dead, reports go on.

use std::boxed::Box;
use std::net::{IpAddr, SocketAddr};
use std::string::{String, ToString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Remembers the addresses of each host: the endpoint and, at most, a proxy. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Remembering(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    lookup: Box<dyn Resolver>,
    known: Mutex<Vec<(String, ResolvedSocketAddrs)>>,
    doubted: AtomicBool,
}

impl Remembering {
    pub(super) fn new(lookup: impl Resolver) -> Self {
        Remembering(Arc::new(Memory {
            lookup: Box::new(lookup),
            known: Mutex::default(),
            doubted: AtomicBool::new(false),
        }))
    }

    /// Asks again at the next request; if that fails, what is known still serves.
    pub(super) fn doubt(&self) {
        self.0.doubted.store(true, Ordering::Relaxed);
    }
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        if let Some(address) = literal_address(uri) {
            let mut addresses = self.empty();
            addresses.push(address);
            return Ok(addresses);
        }
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.iter().position(|(name, _)| name == key);
        let remembered = place.and_then(|at| known.get(at)).map(|(_, a)| a.clone());
        if let Some(addresses) = &remembered
            && !self.0.doubted.load(Ordering::Relaxed)
        {
            return Ok(addresses.clone());
        }
        match self.0.lookup.resolve(uri, config, timeout) {
            Ok(addresses) => {
                known.retain(|(name, _)| name != key);
                known.push((key.to_string(), addresses.clone()));
                self.0.doubted.store(false, Ordering::Relaxed);
                Ok(addresses)
            }
            Err(error) => remembered.ok_or(error),
        }
    }
}

/// A host that is an address needs no look-up.
fn literal_address(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(host).parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "https" => 443,
        _ => 80,
    };
    Some(SocketAddr::new(
        address,
        uri.port_u16().unwrap_or(default_port),
    ))
}
