//! TLS by rustls. ureq has a connector of its own for it; this one sees bytes that are left over from one response before the next
//! report goes out, verifies at a time that is never earlier than what is known, and reads a response also after a write failed.

use std::boxed::Box;
use std::fmt;
use std::format;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error::InvalidCertificate, InconsistentKeys, InvalidMessage, RootCertStore, SignatureScheme,
};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, NextTimeout, Transport};
use ureq::{Error, Timeout};
use zeroize::{Zeroize, Zeroizing};

use super::buffers::FixedBuffers;
use super::send_error::{BuildError, unusable};
use super::socket::LOOK;
use super::tls::{Clock, Identity, NO_TLS, host};
use crate::code::Code;
use crate::time::WallTime;

pub(super) type Config = Arc<ClientConfig>;

pub(super) fn build(
    roots: &[CertificateDer<'static>],
    client: Option<Identity<'_>>,
    clock: &Arc<Clock>,
) -> Result<Config, BuildError> {
    let setup = |error: &dyn fmt::Display| BuildError::new(Code::TlsSetup, error.to_string());
    // Not the process's default, which somebody else may have set.
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        inner: WebPkiServerVerifier::builder_with_provider(
            Arc::new(root_store(roots)?),
            provider.clone(),
        )
        .build()
        .map_err(|error| setup(&error))?,
        clock: clock.clone(),
    };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Time(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(match client {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = certified_key(identity)
                .map_err(|detail| BuildError::new(Code::ClientCertificate, detail))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    }))
}

fn root_store(own: &[CertificateDer<'static>]) -> Result<RootCertStore, BuildError> {
    let mut store = RootCertStore::empty();
    if own.is_empty() {
        store.roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
    }
    for root in own {
        store.add(root.clone()).map_err(|error| {
            let detail = format!("not a CA certificate: {}", certificate_trouble(&error));
            BuildError::new(Code::CaCertificate, detail)
        })?;
    }
    Ok(store)
}

/// A key with its chain, which belong together.
fn certified_key(identity: Identity<'_>) -> Result<CertifiedKey, String> {
    let (kind, der) = private_key(identity.key_pem).ok_or("broken PEM text of the private key")?;
    let der = &der[..];
    let key = ring::sign::any_supported_type(&match kind {
        KeyKind::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        KeyKind::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
        KeyKind::Sec1 => PrivateKeyDer::Sec1(der.into()),
    });
    let key = key.map_err(|error| format!("no usable private key: {error}"))?;
    let certified = CertifiedKey::new(identity.chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("the private key does not belong to the certificate".to_string())
        }
        Err(error) => Err(format!(
            "unusable certificate: {}",
            certificate_trouble(&error)
        )),
    }
}

enum KeyKind {
    Pkcs8,
    Pkcs1,
    Sec1,
}

/// The first private key of a PEM text. Readers of PEM leave copies of it in memory that was freed.
fn private_key(pem: &[u8]) -> Option<(KeyKind, Zeroizing<Vec<u8>>)> {
    let pem = core::str::from_utf8(pem).ok()?;
    let (at, label, kind) = [
        ("PRIVATE KEY", KeyKind::Pkcs8),
        ("RSA PRIVATE KEY", KeyKind::Pkcs1),
        ("EC PRIVATE KEY", KeyKind::Sec1),
    ]
    .into_iter()
    .filter_map(|(label, kind)| {
        let begin = format!("-----BEGIN {label}-----");
        let at = pem.find(&begin)?.checked_add(begin.len())?;
        Some((at, label, kind))
    })
    .min_by_key(|(at, ..)| *at)?;
    let (body, _) = pem
        .get(at..)?
        .split_once(&format!("-----END {label}-----"))?;
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    text.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut der = Zeroizing::new(std::vec![0; text.len()]);
    let len = BASE64_STANDARD.decode_slice(&text[..], &mut der).ok()?;
    der.truncate(len);
    Some((kind, der))
}

/// In words that fit a certificate of ours: rustls speaks of the peer's.
fn certificate_trouble(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            // webpki's names of its errors say it well: `UnsupportedCertVersion`.
            match format!("{other:?}") {
                text if text.contains("UnsupportedCertVersion") => {
                    "it is of X.509 version 1 or 2; version 3 is needed".to_string()
                }
                text => text,
            }
        }
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "it is no X.509 certificate of version 3".to_string()
        }
        rustls::Error::InvalidCertificate(error) => format!("{error:?}"),
        error => error.to_string(),
    }
}

/// The time for tickets and certificates. std's may be before 1970, over which rustls' own would panic.
#[derive(Debug)]
struct Time(Arc<Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.latest()))
    }
}

fn unix_time(time: WallTime) -> UnixTime {
    let ms = u64::try_from(time.unix_ms()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_millis(ms))
}

/// webpki's, at the latest time that is known, and should what is shown have expired by then, at earlier ones: see [`Clock`].
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    clock: Arc<Clock>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let at = |time| {
            let inner = &self.inner;
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
        };
        let mut result = at(now);
        if !matches!(
            result,
            Err(InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            ))
        ) {
            return result;
        }
        // From the earliest on, to where one after the other of the chain begins to be valid.
        let mut time = unix_time(self.clock.earliest());
        loop {
            result = at(time);
            match result {
                Err(InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if time < not_before && not_before <= now => time = not_before,
                _ => return result,
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A host that TLS can name.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host).ok().map(|name| name.to_owned())
}

pub(super) fn connect(
    config: &Config,
    details: &ConnectionDetails<'_>,
    inner: Box<dyn Transport>,
) -> Result<Box<dyn Transport>, Error> {
    let wrong = |error: rustls::Error| unusable(Code::Tls, error.to_string());
    let name = server_name(host(details))
        .ok_or_else(|| unusable(Code::UrlHost, "no name that TLS knows".to_string()))?;
    let mut tls = ClientConnection::new(config.clone(), name).map_err(wrong)?;
    let mut records = Records {
        inner,
        only_look: false,
        header: Header::default(),
    };
    tls.complete_io(&mut records).map_err(tls_error)?;
    let config = details.config;
    Ok(Box::new(Secured {
        tls,
        records,
        buffers: FixedBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
    }))
}

/// What rustls calls an I/O error may be its own.
fn tls_error(error: io::Error) -> Error {
    let own = error.get_ref().and_then(|e| e.downcast_ref());
    match own {
        Some(own @ rustls::Error::InvalidCertificate(reason)) => {
            unusable(Code::Tls, dated(reason).unwrap_or_else(|| own.to_string()))
        }
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            unusable(Code::Tls, NO_TLS.to_string())
        }
        Some(own) => unusable(Code::Tls, own.to_string()),
        None => error.into(),
    }
}

/// Whether the other side does not want us. In TLS 1.3 that comes after the handshake; all else that comes then was spoilt on its way,
/// or is the other side's trouble, and may go well the next time.
fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::InsufficientSecurity
    )
}

/// Times for people, instead of seconds since 1970.
fn dated(reason: &CertificateError) -> Option<String> {
    let text = |time: &UnixTime| {
        let ms = i64::try_from(time.as_secs()).ok()?.checked_mul(1000)?;
        let text = WallTime::from_unix_ms(ms).to_error_time()?;
        Some(text.as_str().to_string())
    };
    Some(match reason {
        CertificateError::ExpiredContext { time, not_after } => {
            let (time, end) = (text(time)?, text(not_after)?);
            format!("certificate expired at {end}; verified at {time} UTC")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (time, begin) = (text(time)?, text(not_before)?);
            format!("certificate not valid before {begin}; verified at {time} UTC")
        }
        _ => return None,
    })
}

/// Some four tickets come after a handshake; each takes a few of these.
const LOOKS: u32 = 64;

/// A connection under TLS.
struct Secured {
    tls: ClientConnection,
    records: Records,
    /// Of plaintext.
    buffers: FixedBuffers,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secured").field(&self.records.inner).finish()
    }
}

impl Secured {
    fn write(&mut self, amount: usize) -> Result<(), Error> {
        let mut at = 0;
        while at < amount {
            let part = self.buffers.output().get(at..amount).unwrap_or_default();
            let taken = self.tls.writer().write(part)?;
            at = at.saturating_add(taken);
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.records)?;
        }
        Ok(())
    }

    /// Decrypts what came. Says how much plaintext waits; `None`: nobody will send more.
    fn process(&mut self) -> Result<Option<usize>, Error> {
        match self.tls.process_new_packets() {
            Ok(state) if state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {
                Ok(None)
            }
            Ok(state) => Ok(Some(state.plaintext_bytes_to_read())),
            Err(error) => {
                // The other side should hear of it.
                let _ = self.flush();
                Err(match error {
                    rustls::Error::AlertReceived(alert) if is_about_us(alert) => {
                        unusable(Code::Tls, error.to_string())
                    }
                    error => io::Error::new(ErrorKind::InvalidData, error).into(),
                })
            }
        }
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        self.records.only_look = false;
        let result = self.write(amount);
        // There may be a token in it.
        if let Some(output) = self.buffers.output().get_mut(..amount) {
            output.zeroize();
        }
        result
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.records.only_look = timeout.after == LOOK.after;
        let mut processed = Ok(None);
        loop {
            match self.tls.reader().read(self.buffers.input_append_buf()) {
                Ok(n) => {
                    self.buffers.input_appended(n);
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            // What came in front of a record that is spoilt counts.
            processed?;
            // A refusal to negotiate anew, say; the response to a change of keys goes out with what is sent next. Should that fail, what came is
            // read anyway.
            let _ = self.flush();
            self.tls.read_tls(&mut self.records)?;
            processed = self.process();
        }
    }

    /// Whether it is there, and nothing came that nobody asked for: neither what is decrypted already, nor what is on its way
    /// through rustls, nor what the socket holds. Tickets and the like are TLS' own, and taken in; who sends them without end is not waited for.
    fn is_open(&mut self) -> bool {
        self.records.only_look = true;
        for _ in 0..LOOKS {
            match self.process() {
                Ok(Some(0)) => {}
                _ => return false,
            }
            match self.tls.read_tls(&mut self.records).map_err(Error::from) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(Error::Timeout(Timeout::PerRead)) => return self.records.header.is_between(),
                Err(_) => return false,
            }
        }
        false
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// What is under TLS, as rustls wants it.
struct Records {
    inner: Box<dyn Transport>,
    only_look: bool,
    header: Header,
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inner.buffers().input().is_empty() {
            let timeout = if self.only_look {
                LOOK
            } else {
                NextTimeout::default()
            };
            self.inner.await_input(timeout).map_err(Error::into_io)?;
        }
        let input = self.inner.buffers().input();
        let len = input.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(input) {
            *to = *from;
        }
        self.header.pass(input.get(..len).unwrap_or_default());
        self.inner.buffers().input_consume(len);
        Ok(len)
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// Several records in one system call.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut len = 0;
        let output = self.inner.buffers().output();
        for part in parts {
            let room = output.get_mut(len..).unwrap_or_default();
            let fits = room.len().min(part.len());
            for (to, from) in room.iter_mut().zip(part.iter()) {
                *to = *from;
            }
            len = len.saturating_add(fits);
        }
        self.inner
            .transmit_output(len, NextTimeout::default())
            .map_err(Error::into_io)?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows the headers of records (type, version, length), to know whether one came in part: rustls does not tell.
#[derive(Default)]
struct Header {
    /// Bytes of the header that came.
    seen: u8,
    /// Then, bytes of the record that are to come.
    left: u16,
}

impl Header {
    const LEN: u8 = 5;

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.seen == Self::LEN {
                let skip = bytes.len().min(usize::from(self.left));
                self.left = self
                    .left
                    .saturating_sub(u16::try_from(skip).unwrap_or(self.left));
                bytes = bytes.get(skip..).unwrap_or_default();
            } else {
                self.seen = self.seen.saturating_add(1);
                self.left = self.left.wrapping_shl(8) | u16::from(byte);
                bytes = rest;
            }
            if self.seen == Self::LEN && self.left == 0 {
                *self = Self::default();
            }
        }
    }

    fn is_between(&self) -> bool {
        self.seen == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_in_any_pieces() {
        let record = |len: u16| {
            let mut all = std::vec![23, 3, 3];
            all.extend(len.to_be_bytes());
            all.extend(std::iter::repeat_n(7, usize::from(len)));
            all
        };
        let all = [record(1), record(16_401), record(0), record(300)].concat();
        let ends = [6, 16_412, 16_417, 16_722];
        for piece in [1, 2, 3, 5, 7, 4096] {
            let mut header = Header::default();
            let mut at = 0;
            for part in all.chunks(piece) {
                header.pass(part);
                at += part.len();
                assert_eq!(header.is_between(), ends.contains(&at), "{at}");
            }
        }
    }
}
