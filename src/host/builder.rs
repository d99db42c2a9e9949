//! The settings of a client, and their checks.

use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver;
use ureq::{Agent, Proxy, ProxyProtocol};
use zeroize::Zeroizing;

use super::client::Client;
use super::connection::{MAX_ANSWER_HEADER, Watching};
use super::lookup::System;
use super::progress::{Plan, Progress};
use super::resolver::Remembering;
use super::send_error::BuildError;
use super::tls::{Clock, Tls, TlsSettings};
use super::waker::Bell;
use crate::code::Code;
use crate::exchange::{Credentials, Endpoint, Request, RequestError, ServiceCodes};
use crate::time::WallTime;

const INPUT_BUFFER: usize = 16 * 1024;
/// Nearly all bodies go out in one write, after one for the head.
const OUTPUT_BUFFER: usize = 64 * 1024;
/// Upper limit of all timeouts; more is probably another unit.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of a [`Client`]. Nothing is read from the environment.
#[must_use]
#[derive(Clone)]
pub struct ClientBuilder {
    base_url: String,
    project_id: String,
    credentials: Credentials<'static>,
    service_codes: Vec<String>,
    tls: TlsSettings,
    known_time: Option<WallTime>,
    proxy: Option<Zeroizing<String>>,
    timeouts: Timeouts,
    max_idle: Duration,
    user_agent: String,
    allow_plain_http: bool,
}

/// Without secrets: no key, token, private key, nor what a proxy's URL says.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &self.base_url)
            .field("project_id", &self.project_id)
            .field("credentials", &self.credentials)
            .field("service_codes", &self.service_codes)
            .field("known_time", &self.known_time)
            .field("has_proxy", &self.proxy.is_some())
            .field("timeouts", &self.timeouts)
            .field("max_idle", &self.max_idle)
            .field("user_agent", &self.user_agent)
            .field("allow_plain_http", &self.allow_plain_http)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(super) fn new(base_url: &str, project_id: &str) -> Self {
        ClientBuilder {
            base_url: base_url.to_string(),
            project_id: project_id.to_string(),
            credentials: Credentials::None,
            service_codes: ServiceCodes::default()
                .prefixes()
                .map(ToString::to_string)
                .collect(),
            tls: TlsSettings::default(),
            known_time: None,
            proxy: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(10),
                tls: Duration::from_secs(30),
                send: Duration::from_secs(15),
                response: Duration::from_secs(15),
                total: Duration::from_secs(60),
                min_rate: 1000,
            },
            max_idle: Duration::from_secs(90),
            user_agent: concat!("edge-report/", env!("CARGO_PKG_VERSION")).to_string(),
            allow_plain_http: false,
        }
    }

    /// Who asks. Default: nobody. Copied, and wiped when the client is dropped.
    pub fn credentials(mut self, credentials: Credentials<'_>) -> Self {
        self.credentials = credentials.to_owned();
        self
    }

    /// The prefixes by which the service's own error codes are known, 1 to 8: see [`ServiceCodes`]. Default: `DLI.`
    pub fn service_codes(mut self, prefixes: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let owned = |prefix: &str| prefix.to_string();
        self.service_codes = prefixes.into_iter().map(|p| owned(p.as_ref())).collect();
        self
    }

    /// Whom to trust, and who we are. Default: the bundled Mozilla roots with rustls, the system's roots with the system's TLS.
    /// While the client is in use, [`Client::set_tls`] replaces them.
    pub fn tls(mut self, tls: TlsSettings) -> Self {
        self.tls = tls;
        self
    }

    /// [`TlsSettings::ca_certificate`].
    pub fn ca_certificate(mut self, pem_or_der: &[u8]) -> Self {
        self.tls = self.tls.ca_certificate(pem_or_der);
        self
    }

    /// [`TlsSettings::client_certificate`].
    pub fn client_certificate(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Self {
        self.tls = self.tls.client_certificate(chain_pem, key_pem);
        self
    }

    /// Uses the system's TLS also where rustls is built in. Unlike rustls, it verifies at the system's time alone, and the response of
    /// a server that does not read a long report to its end may be lost.
    #[cfg(feature = "native-tls")]
    pub fn system_tls(mut self) -> Self {
        self.tls = self.tls.system_tls();
        self
    }

    /// [`Client::set_known_time`].
    pub fn known_time(mut self, time: WallTime) -> Self {
        self.known_time = Some(time);
        self
    }

    /// Goes through an HTTP proxy: `http://user:password@host:port`, with `/`, `?` and `#` in user and password percent-encoded. Default: none. Plain HTTP through a proxy has to be allowed by
    /// [`allow_plain_http`](Self::allow_plain_http), also for loopback addresses: the proxy reads along.
    pub fn proxy(mut self, url: &str) -> Self {
        self.proxy = Some(url.to_string().into());
        self
    }

    /// The most a look-up, and then a connection, through a proxy where there is one, may take. Default: 10 s. Like all timeouts,
    /// from a millisecond to a day.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// The most a TLS handshake may take. Default: 30 s, for 6 KB at 2.4 kbit/s.
    pub fn tls_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.tls = timeout;
        self
    }

    /// The most that sending may take, and what the report's length takes at [`min_rate`](Self::min_rate). Default: 15 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.send = timeout;
        self
    }

    /// The most that the response may take from when the report is handed to the system, which may take long to send it: so what the
    /// report's length takes at [`min_rate`](Self::min_rate) comes on top. Default: 15 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.response = timeout;
        self
    }

    /// The most one `send` may take in all, and what the report's length takes at [`min_rate`](Self::min_rate). Default: 60 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.total = timeout;
        self
    }

    /// The slowest link that a long report must get through, in bytes a second: 64 KB may take 66 s more than an empty one.
    /// Default: 1,000. On faster links a greater one finds out sooner that nothing goes.
    pub fn min_rate(mut self, bytes_per_second: u32) -> Self {
        self.timeouts.min_rate = bytes_per_second;
        self
    }

    /// How long a connection that is not used is kept; zero: not at all. Default: 90 s, so that a report a minute needs no new
    /// handshake, which costs more bytes than the report. One that the other side closed meanwhile is replaced at once; where
    /// a firewall forgets connections and says nothing, set less than its limit.
    pub fn max_idle(mut self, time: Duration) -> Self {
        self.max_idle = time;
        self
    }

    /// The `User-Agent` header. Default: `edge-report/` and the version.
    pub fn user_agent(mut self, text: &str) -> Self {
        self.user_agent = text.to_string();
        self
    }

    /// Allows `http://` to hosts other than loopback, and through a proxy: tokens and reports go out in the clear. Without it a name
    /// such as `localhost` is believed only when the address that it leads to is a loopback one.
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// Checks all settings and makes the client. Touches no network.
    pub fn build(self) -> Result<Client, BuildError> {
        self.build_with(System)
    }

    pub(super) fn build_with(self, lookup: impl Resolver) -> Result<Client, BuildError> {
        let endpoint = Endpoint::new(&self.base_url, &self.project_id)?;
        let is_https = endpoint.is_https();
        let proxy = self
            .proxy
            .as_ref()
            .map(|url| parse_proxy(url))
            .transpose()?;
        if !is_https && !self.allow_plain_http {
            if !endpoint.is_loopback() {
                return Err(Code::PlainHttp.into());
            }
            if proxy.is_some() {
                let detail = "a proxy reads along";
                return Err(BuildError::new(Code::PlainHttp, detail.to_string()));
            }
        }
        self.timeouts.check()?;
        check_duration("max_idle", self.max_idle, Duration::ZERO)?;
        if !self
            .user_agent
            .bytes()
            .all(|b| b.is_ascii_graphic() || b == b' ')
        {
            return Err(Code::UserAgent.into());
        }
        service_codes(&self.service_codes)?;
        let mut url = Vec::new();
        let _ = endpoint.write_url(&mut url);
        let url = Uri::try_from(url)
            .map_err(|error| BuildError::new(Code::UrlHost, error.to_string()))?;
        let scratch = scratch_for(&endpoint, &self.credentials)?;
        let clock = Arc::new(Clock::new());
        if let Some(time) = self.known_time {
            clock.set_known(time);
        }
        let tls = self.tls.build(&clock)?;
        let bell = Arc::new(Bell::new()?);
        let progress = Arc::new(Progress::new(bell));
        let resolver = Remembering::new(lookup, progress.clone());
        let parts = AgentParts {
            is_https,
            loopback_only: !self.allow_plain_http,
            proxy,
            max_idle: self.max_idle,
            user_agent: self.user_agent,
        };
        Ok(Client {
            roots: tls.roots.clone(),
            agent: parts.agent(tls, &progress, &resolver),
            parts,
            clock,
            progress,
            resolver,
            url,
            credentials: self.credentials,
            service_codes: self.service_codes,
            timeouts: self.timeouts,
            clock_offset_ms: 0,
            scratch,
            body: Vec::new(),
            answer: Vec::new(),
            base_url: self.base_url,
            project_id: self.project_id,
        })
    }
}

/// What an agent is made of, but TLS.
pub(super) struct AgentParts {
    is_https: bool,
    loopback_only: bool,
    proxy: Option<Proxy>,
    max_idle: Duration,
    user_agent: String,
}

impl AgentParts {
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// An agent without timeouts: those are kept by what is below it.
    pub(super) fn agent(
        &self,
        tls: Tls,
        progress: &Arc<Progress>,
        resolver: &Remembering,
    ) -> Agent {
        let kept = usize::from(!self.max_idle.is_zero());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(self.is_https)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(self.proxy.clone())
            .max_response_header_size(MAX_ANSWER_HEADER)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(kept)
            .max_idle_connections_per_host(kept)
            .max_idle_age(self.max_idle)
            .user_agent(self.user_agent.clone())
            // Nobody needs these, and each costs bytes a report.
            .accept("")
            .accept_encoding("")
            .build();
        let connector = Watching::new(
            progress.clone(),
            resolver.clone(),
            tls,
            self.loopback_only,
            self.max_idle,
        );
        Agent::with_parts(config, connector, resolver.clone())
    }
}

/// How long what may take, for an empty body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    connect: Duration,
    tls: Duration,
    send: Duration,
    response: Duration,
    total: Duration,
    /// Bytes a second.
    min_rate: u32,
}

impl Timeouts {
    fn check(&self) -> Result<(), BuildError> {
        let least = Duration::from_millis(1);
        for (name, time) in [
            ("connect_timeout", self.connect),
            ("tls_timeout", self.tls),
            ("send_timeout", self.send),
            ("response_timeout", self.response),
            ("total_timeout", self.total),
        ] {
            check_duration(name, time, least)?;
        }
        if self.min_rate == 0 {
            let detail = "min_rate: 1 byte a second, or more";
            return Err(BuildError::new(Code::OutOfRange, detail.to_string()));
        }
        Ok(())
    }

    /// For a body of this length, from now on.
    pub(super) fn plan(&self, body_len: usize) -> Plan {
        let ms = u64::try_from(body_len)
            .unwrap_or(u64::MAX)
            .saturating_mul(1000)
            .div_ceil(u64::from(self.min_rate.max(1)));
        let for_body = Duration::from_millis(ms);
        let now = Instant::now();
        let total = self.total.saturating_add(for_body);
        Plan {
            connect: self.connect,
            tls: self.tls,
            send: self.send.saturating_add(for_body),
            response: self.response.saturating_add(for_body),
            until: now.checked_add(total).unwrap_or(now),
        }
    }
}

fn check_duration(name: &str, time: Duration, least: Duration) -> Result<(), BuildError> {
    if (least..=DAY).contains(&time) {
        return Ok(());
    }
    let from = if least.is_zero() { "0" } else { "1 ms" };
    let detail = format!("{name}: {from} to 1 day");
    Err(BuildError::new(Code::OutOfRange, detail))
}

pub(super) fn service_codes(prefixes: &[String]) -> Result<ServiceCodes<'_>, Code> {
    ServiceCodes::new(prefixes.iter().map(String::as_str))
}

/// Room for path and signature, whose lengths stay the same from request to request.
pub(super) fn scratch_for(
    endpoint: &Endpoint<'_>,
    credentials: &Credentials<'_>,
) -> Result<Zeroizing<Vec<u8>>, BuildError> {
    let any_time = WallTime::from_unix_ms(0);
    match Request::new(endpoint, credentials, b"", any_time, &mut []) {
        Err(RequestError::TooSmall { needed }) => Ok(vec![0; needed].into()),
        Err(RequestError::Unusable(code)) => Err(code.into()),
        Ok(_) => Ok(Zeroizing::default()),
    }
}

fn parse_proxy(url: &str) -> Result<Proxy, BuildError> {
    // The URL may hold a password, so it is not shown.
    let wrong = |detail: &str| BuildError::new(Code::Proxy, detail.to_string());
    let schemes = "only http:// and https:// proxies";
    // ureq takes any port, and goes to another one then.
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, behind) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    if behind.contains('@') {
        return Err(wrong(
            "in user and password write / as %2F, ? as %3F, # as %23",
        ));
    }
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Endpoint::new(&format!("{scheme}://{authority}"), "proxy").map_err(|error| {
        match error.code() {
            Code::UrlScheme => wrong(schemes),
            Code::UrlPort => wrong(error.code().text()),
            _ => wrong("its host cannot be used"),
        }
    })?;
    let proxy = Proxy::new(url).map_err(|error| wrong(&error.to_string()))?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        _ => Err(wrong(schemes)),
    }
}
