//! TLS of the system: OpenSSL, SChannel or Secure Transport.
//!
//! It reads no more than it was asked for, so that what is left over is in the socket or said by `buffered_read_size`. It verifies
//! at the system's time alone, and after a write that failed nothing can be read.

use std::boxed::Box;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::string::ToString;
use std::sync::{Arc, Mutex, PoisonError};

use native_tls::{Certificate, HandshakeError, TlsConnector, TlsStream};
use rustls_pki_types::CertificateDer;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, NextTimeout, Transport};
use zeroize::Zeroize;

use super::buffers::FixedBuffers;
use super::progress::Progress;
use super::send_error::{BuildError, unusable};
use super::tls::{Identity, NO_TLS, host};
use crate::code::Code;

pub(super) type Config = Arc<TlsConnector>;

pub(super) fn build(
    roots: &[CertificateDer<'static>],
    client: Option<Identity<'_>>,
) -> Result<Config, BuildError> {
    let wrong = |code, error: native_tls::Error| BuildError::new(code, error.to_string());
    let mut builder = TlsConnector::builder();
    builder.disable_built_in_roots(!roots.is_empty());
    for root in roots {
        let root = Certificate::from_der(root).map_err(|e| wrong(Code::CaCertificate, e))?;
        builder.add_root_certificate(root);
    }
    let has_client = client.is_some();
    if let Some(identity) = client {
        let identity = native_tls::Identity::from_pkcs8(identity.chain_pem, identity.key_pem)
            .map_err(|error| wrong(Code::ClientCertificate, error))?;
        builder.identity(identity);
    }
    let code = if has_client {
        // A key of another certificate.
        Code::ClientCertificate
    } else {
        Code::TlsSetup
    };
    builder.build().map(Arc::new).map_err(|e| wrong(code, e))
}

pub(super) fn connect(
    config: &Config,
    details: &ConnectionDetails<'_>,
    inner: Box<dyn Transport>,
    progress: &Arc<Progress>,
) -> Result<Box<dyn Transport>, Error> {
    let lost = Lost::default();
    let records = Records {
        inner,
        lost: lost.clone(),
    };
    let stream =
        config
            .connect(host(details), records)
            .map_err(|error| match (lost.take(), error) {
                (Some(error), _) => error,
                (None, HandshakeError::Failure(error)) => match error.to_string() {
                    // OpenSSL's words for it.
                    text if text.contains("wrong version number") => {
                        unusable(Code::Tls, NO_TLS.to_string())
                    }
                    text => unusable(Code::Tls, text),
                },
                (None, HandshakeError::WouldBlock(_)) => progress.timeout(),
            })?;
    let config = details.config;
    Ok(Box::new(Secured {
        stream,
        lost,
        is_wanted: false,
        buffers: FixedBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
    }))
}

/// A connection under TLS.
struct Secured {
    stream: TlsStream<Records>,
    lost: Lost,
    /// Whether anything was said to us: in TLS 1.3 a certificate of ours is refused after the handshake.
    is_wanted: bool,
    /// Of plaintext.
    buffers: FixedBuffers,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.stream.get_ref().inner;
        f.debug_tuple("Secured").field(inner).finish()
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.output().get_mut(..amount).unwrap_or_default();
        let result = self.stream.write_all(output);
        // There may be a token in it.
        output.zeroize();
        result.map_err(|error| self.lost.take().unwrap_or_else(|| error.into()))
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let read = self.stream.read(self.buffers.input_append_buf());
        match (read, self.lost.take()) {
            (Ok(0) | Err(_), Some(error)) => Err(error),
            // Spoilt on its way, and may go well the next time.
            (Err(error), None) if self.is_wanted => Err(error.into()),
            (Err(error), None) => Err(unusable(Code::Tls, error.to_string())),
            (Ok(n), _) => {
                self.is_wanted |= n > 0;
                self.buffers.input_appended(n);
                Ok(n > 0)
            }
        }
    }

    fn is_open(&mut self) -> bool {
        matches!(self.stream.buffered_read_size(), Ok(0)) && self.stream.get_mut().inner.is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The error under TLS, which the library replaces by one of its own.
#[derive(Clone, Default)]
struct Lost(Arc<Mutex<Option<Error>>>);

impl Lost {
    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: Error) -> io::Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the connection below TLS failed")
    }
}

/// What is under TLS, as the library wants it.
struct Records {
    inner: Box<dyn Transport>,
    lost: Lost,
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inner.buffers().input().is_empty() {
            match self.inner.await_input(NextTimeout::default()) {
                Ok(true) => {}
                Ok(false) => {
                    // Only where the library calls it an error as well does this count.
                    let _ = self
                        .lost
                        .keep(io::Error::from(ErrorKind::UnexpectedEof).into());
                }
                Err(error) => return Err(self.lost.keep(error)),
            }
        }
        let input = self.inner.buffers().input();
        let len = input.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(input) {
            *to = *from;
        }
        self.inner.buffers().input_consume(len);
        Ok(len)
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let output = self.inner.buffers().output();
        let len = output.len().min(bytes.len());
        for (to, from) in output.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.inner
            .transmit_output(len, NextTimeout::default())
            .map_err(|error| self.lost.keep(error))?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
