//! Certificates: read at the start, and again when they were renewed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
#[cfg(any(feature = "confirm", feature = "postgres"))]
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use crate::named;

/// Where the certificates are.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Who signs the certificates that clients must have.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What was made of files, and is made again when they were renewed.
pub(crate) struct Reloaded<F, C> {
    files: F,
    read: fn(&F) -> io::Result<Arc<C>>,
    config: RwLock<Arc<C>>,
}

/// For who is connected to.
pub(crate) type Tls = Reloaded<Files, ServerConfig>;

/// For who connects to a server whose certificate is signed by one of those in this file.
pub(crate) type Authorities = Reloaded<PathBuf, ClientConfig>;

impl<F, C> Reloaded<F, C> {
    fn of(files: F, read: fn(&F) -> io::Result<Arc<C>>) -> io::Result<Self> {
        let config = RwLock::new(read(&files)?);
        Ok(Reloaded {
            files,
            read,
            config,
        })
    }

    /// On an error what was read before stays.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let config = (self.read)(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn config(&self) -> Arc<C> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config)
    }
}

impl Tls {
    pub(crate) fn open(files: Files) -> io::Result<Tls> {
        Reloaded::of(files, serving)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config())
    }
}

#[cfg(any(feature = "confirm", feature = "postgres"))]
impl Authorities {
    pub(crate) fn open(file: PathBuf) -> io::Result<Authorities> {
        Reloaded::of(file, |file| trusting(file))
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config())
    }
}

fn serving(files: &Files) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(roots(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = verifier.build().map_err(|why| invalid(file, &why))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|why| match why {
        pem::Error::NoItemsFound => invalid(
            &files.key,
            &"there is no private key in it that is not encrypted",
        ),
        why => invalid(&files.key, &why),
    })?;
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|why| match why {
        Error::InconsistentKeys(_) => {
            invalid(&files.key, &"this is not the key of the certificate")
        }
        why => invalid(&files.certificate, &why),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(any(feature = "confirm", feature = "postgres"))]
fn trusting(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let config = builder.with_root_certificates(roots(ca)?);
    Ok(Arc::new(config.with_no_client_auth()))
}

fn roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in certificates(file)? {
        roots.add(root).map_err(|why| invalid(file, &why))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|why| invalid(file, &why))?;
    if certificates.is_empty() {
        return Err(invalid(file, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn invalid(file: &Path, why: &dyn std::fmt::Display) -> io::Error {
    let why = io::Error::new(io::ErrorKind::InvalidInput, why.to_string());
    named(&why, file.display())
}
