//! Where the server is, and whether the way there is encrypted.

use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Stream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::classify::percent_decoded;
use crate::tls::Authorities;

#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    tls: Option<Tls>,
}

impl Address {
    /// As libpq has it, but for TLS: with `sslmode=verify-full&sslrootcert=FILE` the server must show a certificate for its name. What encrypts for whoever answers
    /// (`require`, `verify-ca`) is refused.
    pub(super) fn read(url: &str) -> io::Result<Address> {
        let invalid =
            |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("store: {why}"));
        let (place, parameters) = parts(url);
        if place.matches('@').count() > 1 {
            return Err(invalid("an `@` in a user or password is written `%40`"));
        }
        let (mut mode, mut root, mut others) = (None, None, Vec::new());
        for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(percent_decoded(value)),
                Some(("sslrootcert", value)) => root = Some(percent_decoded(value)),
                _ => others.push(parameter),
            }
        }
        let tls = match (mode.as_deref(), root) {
            (Some("verify-full"), Some(root)) => {
                Some(Tls(Arc::new(Authorities::open(root.into())?)))
            }
            (Some("verify-full"), None) => {
                return Err(invalid(
                    "sslmode=verify-full needs sslrootcert=FILE: who signs the server's certificate",
                ));
            }
            (None | Some("disable" | "allow" | "prefer"), None) => None,
            (None | Some("disable" | "allow" | "prefer"), Some(_)) => {
                return Err(invalid("sslrootcert is for sslmode=verify-full"));
            }
            (Some("require" | "verify-ca"), _) => {
                return Err(invalid(
                    "sslmode is `verify-full` or `disable` here: the others would also trust somebody else's server",
                ));
            }
            (Some(_), _) => return Err(invalid("sslmode is `verify-full` or `disable`")),
        };
        let url = format!("{place}?{}", others.join("&"));
        let mut config = Config::from_str(&url).map_err(|why| {
            let cause = std::error::Error::source(&why).map(|cause| format!(": {cause}"));
            invalid(&format!("{why}{}", cause.unwrap_or_default()))
        })?;
        config.ssl_mode(if tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        if config.get_application_name().is_none() {
            config.application_name("edge-report-receiver");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        Ok(Address { config, tls })
    }

    /// Who may sign the server's certificate.
    pub(super) fn authorities(&self) -> Option<Arc<Authorities>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.0))
    }

    /// The connection ends with its client.
    pub(super) async fn connect(&self) -> Result<Client, Error> {
        let Some(tls) = &self.tls else {
            let (client, connection) = self.config.connect(NoTls).await?;
            tokio::spawn(connection);
            return Ok(client);
        };
        let (client, connection) = self.config.connect(tls.clone()).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Before and after the `?`; a password may have one.
fn parts(url: &str) -> (&str, &str) {
    let login = url.find('@').unwrap_or(0);
    let (login, place) = url.split_at_checked(login).unwrap_or(("", url));
    match place.split_once('?') {
        None => (url, ""),
        Some((place, parameters)) => {
            let length = login.len().saturating_add(place.len());
            (url.get(..length).unwrap_or(url), parameters)
        }
    }
}

/// TLS as tokio-postgres wants it.
#[derive(Clone)]
struct Tls(Arc<Authorities>);

struct Handshake(TlsConnector, ServerName<'static>);

struct Encrypted<S>(Stream<S>);

type Shaking<S> = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake(self.0.connector(), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Shaking<S>;

    fn connect(self, stream: S) -> Shaking<S> {
        Box::pin(async move { Ok(Encrypted(self.0.connect(self.1, stream).await?)) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    /// The server was verified already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
