//! TLS settings, checked before ureq sees them: over some of these it would panic.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use super::client::BuildError;
use crate::code::Code;

/// What the builder was given.
#[derive(Clone, Default)]
pub(super) struct TlsSettings {
    pub(super) ca: Vec<Vec<u8>>,
    /// Certificate chain and key, both PEM.
    pub(super) client: Option<(Vec<u8>, zeroize::Zeroizing<Vec<u8>>)>,
    pub(super) system: bool,
}

/// The settings for ureq, and what to say of the roots in an error.
pub(super) struct Tls {
    pub(super) config: TlsConfig,
    pub(super) roots: String,
}

impl TlsSettings {
    pub(super) fn build(&self) -> Result<Tls, BuildError> {
        let use_system = self.system || !cfg!(feature = "client");
        let (provider, name) = if use_system {
            (TlsProvider::NativeTls, "the system's TLS")
        } else {
            (TlsProvider::Rustls, "rustls")
        };
        let own = self.own_roots(use_system)?;
        let (roots, described) = match (own.len(), use_system) {
            (0, true) => (
                RootCerts::PlatformVerifier,
                format!("the system's roots, by {name}"),
            ),
            (0, false) => (
                RootCerts::WebPki,
                format!("the bundled Mozilla roots, by {name}"),
            ),
            (count, _) => (
                RootCerts::new_with_certs(&own),
                format!("{count} own CA certificate(s) and no others, by {name}"),
            ),
        };
        let builder = TlsConfig::builder()
            .provider(provider)
            .root_certs(roots)
            .client_cert(self.client_cert(use_system)?);
        #[cfg(feature = "client")]
        let builder = builder.unversioned_rustls_crypto_provider(std::sync::Arc::new(
            // Not the process's default, which somebody else may have set.
            rustls::crypto::ring::default_provider(),
        ));
        Ok(Tls {
            config: builder.build(),
            roots: described,
        })
    }

    fn own_roots(&self, use_system: bool) -> Result<Vec<Certificate<'static>>, BuildError> {
        let wrong = |detail: String| BuildError::new(Code::CaCertificate, detail);
        let mut roots = Vec::new();
        for bytes in &self.ca {
            let found = if is_pem(bytes) {
                pem_certificates(bytes).map_err(wrong)?
            } else {
                vec![Certificate::from_der(bytes).to_owned()]
            };
            if found.is_empty() {
                return Err(wrong("the PEM text has no CERTIFICATE in it".to_string()));
            }
            roots.extend(found);
        }
        if !use_system {
            check_roots(&roots).map_err(wrong)?;
        }
        Ok(roots)
    }

    fn client_cert(&self, use_system: bool) -> Result<Option<ClientCert>, BuildError> {
        let Some((chain, key_pem)) = &self.client else {
            return Ok(None);
        };
        let wrong = |detail: String| BuildError::new(Code::ClientCertificate, detail);
        let chain = pem_certificates(chain).map_err(wrong)?;
        if chain.is_empty() {
            return Err(wrong("the PEM text has no CERTIFICATE in it".to_string()));
        }
        if !use_system {
            check_pair(&chain, key_pem).map_err(wrong)?;
        }
        let key = PrivateKey::from_pem(key_pem)
            .map_err(|error| wrong(format!("no usable private key in the PEM text: {error}")))?;
        Ok(Some(ClientCert::new_with_certs(&chain, key)))
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|window| window == b"-----BEGIN")
}

fn pem_certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("broken PEM text: {error}")),
        }
    }
    Ok(found)
}

/// ureq drops unreadable roots without a word.
#[cfg(feature = "client")]
fn check_roots(roots: &[Certificate<'_>]) -> Result<(), String> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        let der = rustls::pki_types::CertificateDer::from(root.der());
        store
            .add(der.into_owned())
            .map_err(|error| format!("not a CA certificate: {error}"))?;
    }
    Ok(())
}

/// A key of another certificate makes ureq panic.
#[cfg(feature = "client")]
fn check_pair(chain: &[Certificate<'_>], key_pem: &[u8]) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| format!("{error}"))?;
    let chain = chain
        .iter()
        .map(|c| CertificateDer::from(c.der()).into_owned())
        .collect();
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map(|_| ())
        .map_err(|error| format!("{error}"))
}

#[cfg(not(feature = "client"))]
fn check_roots(_: &[Certificate<'_>]) -> Result<(), String> {
    Ok(())
}

#[cfg(not(feature = "client"))]
fn check_pair(_: &[Certificate<'_>], _: &[u8]) -> Result<(), String> {
    Ok(())
}
