//! TLS settings, and what is made of them. Everything in them is checked before a connection is tried.

use std::boxed::Box;
use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::vec::Vec;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, Transport};
use zeroize::Zeroizing;

use super::progress::Progress;
use super::send_error::BuildError;
#[cfg(feature = "client")]
use super::tls_rustls as built_in;
#[cfg(feature = "native-tls")]
use super::tls_system as of_system;
use crate::code::Code;
use crate::time::WallTime;

/// When this release was made: what is verified is never verified at an earlier time.
pub(super) const RELEASED: WallTime = WallTime::from_unix_ms(1_795_737_600_000); // 2026-11-27

/// What TLS makes of a response that is none of TLS.
pub(super) const NO_TLS: &str = "the server does not speak TLS";

/// Whom to trust, and who we are. For [`ClientBuilder::tls`](super::ClientBuilder::tls), and for
/// [`Client::set_tls`](super::Client::set_tls), which replaces it while the client is in use.
///
/// Not checked is whether a certificate was revoked: no CRL and no OCSP response is asked for or read. Short-lived certificates, or
/// CA certificates of your own that you replace, are the cure.
#[must_use]
#[derive(Clone, Default)]
pub struct TlsSettings {
    ca: Vec<Vec<u8>>,
    /// Certificate chain and key, both PEM.
    client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    system: bool,
}

/// Without key and certificates.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("ca_certificates", &self.ca.len())
            .field("has_client_certificate", &self.client.is_some())
            .field("system", &self.system)
            .finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// The bundled Mozilla roots with rustls, the system's roots with the system's TLS; no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these CA certificates, PEM (one or more) or DER, and no others. May be called again for more.
    pub fn ca_certificate(mut self, pem_or_der: &[u8]) -> Self {
        self.ca.push(pem_or_der.to_vec());
        self
    }

    /// Shows this certificate to servers that ask for one: chain and key as PEM (key: PKCS#8, PKCS#1 or SEC1, not encrypted; the
    /// system's TLS takes PKCS#8). The copies made here are wiped; what the TLS library keeps of the key is its own.
    pub fn client_certificate(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Self {
        self.client = Some((chain_pem.to_vec(), key_pem.to_vec().into()));
        self
    }

    /// Uses the system's TLS also where rustls is built in. See [`ClientBuilder::system_tls`](super::ClientBuilder::system_tls).
    #[cfg(feature = "native-tls")]
    pub fn system_tls(mut self) -> Self {
        self.system = true;
        self
    }

    pub(super) fn is_system(&self) -> bool {
        self.system || !cfg!(feature = "client")
    }

    pub(super) fn build(&self, clock: &Arc<Clock>) -> Result<Tls, BuildError> {
        let own = self.own_roots()?;
        let client = self.client_certificate_parts()?;
        let use_system = self.is_system();
        let name = if use_system {
            "the system's TLS"
        } else {
            "rustls"
        };
        let roots = match (own.len(), use_system) {
            (0, true) => format!("the system's roots, by {name}"),
            (0, false) => format!("the bundled Mozilla roots, by {name}"),
            (count, _) => format!("{count} own CA certificate(s) and no others, by {name}"),
        };
        let engine = Engine::build(use_system, &own, client, clock)?;
        Ok(Tls { engine, roots })
    }

    fn own_roots(&self) -> Result<Vec<CertificateDer<'static>>, BuildError> {
        let wrong = |detail: String| BuildError::new(Code::CaCertificate, detail);
        let mut roots = Vec::new();
        for bytes in &self.ca {
            if is_pem(bytes) {
                roots.extend(pem_certificates(bytes).map_err(wrong)?);
            } else if bytes.first() == Some(&DER_SEQUENCE) {
                roots.push(CertificateDer::from(bytes.clone()));
            } else {
                let text = "neither PEM nor DER: the file's content is wanted, not its name";
                return Err(wrong(text.to_string()));
            }
        }
        Ok(roots)
    }

    fn client_certificate_parts(&self) -> Result<Option<Identity<'_>>, BuildError> {
        let Some((chain_pem, key_pem)) = &self.client else {
            return Ok(None);
        };
        let wrong = |detail: String| BuildError::new(Code::ClientCertificate, detail);
        let chain = pem_certificates(chain_pem).map_err(wrong)?;
        if contains(key_pem, "ENCRYPTED") {
            let text = "the private key is encrypted: give it decrypted, as `openssl pkey` does";
            return Err(wrong(text.to_string()));
        }
        if !contains(key_pem, "PRIVATE KEY-----") {
            let text = if is_pem(key_pem) {
                "the PEM text of the key has no PRIVATE KEY in it"
            } else {
                "the key is no PEM text: the file's content is wanted, not its name"
            };
            return Err(wrong(text.to_string()));
        }
        Ok(Some(Identity {
            chain,
            chain_pem,
            key_pem,
        }))
    }
}

/// What every certificate in DER begins with.
const DER_SEQUENCE: u8 = 0x30;

/// Who we are: in both forms, since one library takes the one and the other the other.
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "the chain as DER"))]
#[cfg_attr(
    not(feature = "native-tls"),
    allow(dead_code, reason = "the chain as PEM")
)]
pub(super) struct Identity<'a> {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) chain_pem: &'a [u8],
    pub(super) key_pem: &'a [u8],
}

fn is_pem(bytes: &[u8]) -> bool {
    contains(bytes, "-----BEGIN")
}

fn contains(bytes: &[u8], what: &str) -> bool {
    let mut windows = bytes.windows(what.len());
    windows.any(|window| window == what.as_bytes())
}

/// One or more.
fn pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("broken PEM text: {error}"))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let text = if is_pem(pem) {
        "the PEM text has no CERTIFICATE in it"
    } else {
        "no PEM text: the file's content is wanted, not its name"
    };
    Err(text.to_string())
}

/// Settings that were checked, ready for connections.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    engine: Engine,
    /// Says what roots are in use, for errors.
    pub(super) roots: String,
}

#[derive(Clone, Debug)]
enum Engine {
    #[cfg(feature = "client")]
    BuiltIn(built_in::Config),
    #[cfg(feature = "native-tls")]
    System(of_system::Config),
}

impl Engine {
    #[cfg_attr(not(feature = "client"), allow(unused_variables, reason = "the clock"))]
    fn build(
        use_system: bool,
        roots: &[CertificateDer<'static>],
        client: Option<Identity<'_>>,
        clock: &Arc<Clock>,
    ) -> Result<Self, BuildError> {
        #[cfg(feature = "native-tls")]
        if use_system {
            return of_system::build(roots, client).map(Engine::System);
        }
        #[cfg(feature = "client")]
        if !use_system {
            return built_in::build(roots, client, clock).map(Engine::BuiltIn);
        }
        Err(Code::TlsSetup.into())
    }
}

impl Tls {
    /// Whether one may look for input without harm where none is.
    pub(super) fn can_look(&self) -> bool {
        match self.engine {
            #[cfg(feature = "client")]
            Engine::BuiltIn(_) => true,
            #[cfg(feature = "native-tls")]
            Engine::System(_) => false,
        }
    }

    /// TLS with the host of the URL over a connection.
    #[cfg_attr(
        not(feature = "native-tls"),
        allow(unused_variables, reason = "progress")
    )]
    pub(super) fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        inner: Box<dyn Transport>,
        progress: &Arc<Progress>,
    ) -> Result<Box<dyn Transport>, Error> {
        match &self.engine {
            #[cfg(feature = "client")]
            Engine::BuiltIn(config) => built_in::connect(config, details, inner),
            #[cfg(feature = "native-tls")]
            Engine::System(config) => of_system::connect(config, details, inner, progress),
        }
    }
}

/// The host of the URL, an IPv6 address without its brackets.
pub(super) fn host<'d>(details: &ConnectionDetails<'d>) -> &'d str {
    let host = details.uri.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host)
}

/// The latest `Date` that is believed: no release is in use for 20 years.
const LATEST: WallTime = RELEASED.plus_ms(20 * 365 * 86_400_000);

/// What is known of the time.
///
/// Beside the system's clock that is what the user told, and what the service said. Either may be wrong, so neither decides alone: it
/// may be any time from [`earliest`](Self::earliest) to [`latest`](Self::latest), and a certificate serves that is valid at one of
/// them. Thus what the service says only ever lets more certificates in, and one wrong `Date` stops nobody: a certificate has expired
/// when it has by the clock that the machine's owner answers for, and is not valid yet when it is not by any.
///
/// What that costs: to a node without a clock, which was told no time either, whoever has the key of a certificate that expired
/// after this release may pass for the service. That it learned better cannot be held against him: then a single wrong response could
/// stop the node for ever.
#[derive(Debug)]
pub(super) struct Clock {
    told_ms: AtomicI64,
    learned_ms: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock {
            told_ms: AtomicI64::new(RELEASED.unix_ms()),
            learned_ms: AtomicI64::new(RELEASED.unix_ms()),
        }
    }

    /// It is this late at least, by the user.
    pub(super) fn set_known(&self, time: WallTime) {
        let at_least = time.max(RELEASED).unix_ms();
        self.told_ms.store(at_least, Ordering::Relaxed);
    }

    /// It is this late at least, by the service.
    pub(super) fn learn(&self, time: WallTime) {
        self.learned_ms.fetch_max(time.unix_ms(), Ordering::Relaxed);
    }

    /// Whether a service may say so.
    pub(super) fn is_plausible(time: WallTime) -> bool {
        time <= LATEST
    }

    /// What the system says, or before this release what the user told; where he told nothing, this release.
    #[cfg(feature = "client")]
    pub(super) fn earliest(&self) -> WallTime {
        match WallTime::now() {
            now if now >= RELEASED => now,
            _ => WallTime::from_unix_ms(self.told_ms.load(Ordering::Relaxed)),
        }
    }

    #[cfg(feature = "client")]
    pub(super) fn latest(&self) -> WallTime {
        [&self.told_ms, &self.learned_ms]
            .map(|ms| WallTime::from_unix_ms(ms.load(Ordering::Relaxed)))
            .into_iter()
            .fold(WallTime::now(), WallTime::max)
    }

    /// What to add to an error about a certificate's time.
    pub(super) fn advice(&self) -> Option<String> {
        let now = WallTime::now();
        if now >= RELEASED {
            return None;
        }
        // Short, so that a reason holds it beside what is wrong with the certificate.
        let now = now.to_error_time();
        Some(match now.as_ref().and_then(|now| now.as_str().get(..10)) {
            Some(date) => format!("; set the clock (says {date})"),
            None => "; set the clock (unset)".to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The date of the newest release, as in `## 1.2.3 - 2027-01-31`.
    fn newest_release(changelog: &str) -> Option<&str> {
        let headings = changelog.lines().filter(|line| line.starts_with("## "));
        headings
            .filter_map(|heading| heading.split_once(" - "))
            .map(|(_, date)| date.trim())
            .next()
    }

    /// One that is forgotten sends nodes without a clock back to the release before.
    #[test]
    fn the_release_date_moves_with_releases() {
        let stamp = RELEASED.to_error_time().unwrap();
        let released = &stamp.as_str()[.."2027-01-31".len()];
        if let Some(newest) = newest_release(include_str!("../../CHANGELOG.md")) {
            assert!(
                newest <= released,
                "set RELEASED to {newest}, as CHANGELOG.md has it"
            );
        }
        let changelog = "## Unreleased\n\n## 0.2.0 - 2027-01-31\n\n## 0.1.0 - 2026-12-01\n";
        assert_eq!(newest_release(changelog), Some("2027-01-31"));
        assert_eq!(newest_release("## Unreleased\n"), None);
    }

    #[test]
    fn the_clock_never_runs_behind_what_is_known() {
        assert!(WallTime::now() > RELEASED.plus_ms(-2 * 86_400_000));
    }

    #[test]
    #[cfg(feature = "client")]
    fn what_is_learned_only_rises_and_never_is_the_earliest() {
        let clock = Clock::new();
        let (year_2090, year_2095) = (
            WallTime::from_unix_ms(3_786_912_000_000),
            WallTime::from_unix_ms(3_944_678_400_000),
        );
        clock.learn(year_2095);
        clock.learn(year_2090);
        clock.set_known(year_2090);
        assert_eq!(clock.latest(), year_2095);
        assert!(clock.earliest() < year_2090);
        // What the user told, he may correct.
        let clock = Clock::new();
        clock.set_known(year_2095);
        clock.set_known(year_2090);
        assert_eq!(clock.latest(), year_2090);
        assert!(Clock::is_plausible(RELEASED) && !Clock::is_plausible(year_2090));
    }
}
