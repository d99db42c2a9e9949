//! The blocking HTTP client: one ureq agent, made once, with settings fit for a node that runs for years.

use std::fmt;
use std::format;
use std::io::{self, Read};
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use ureq::http::{HeaderMap, HeaderValue, Uri};
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::{Agent, Proxy, ProxyProtocol};

use super::connection::{Trace, Watching};
use super::resolver::Remembering;
use super::tls::TlsSettings;
use crate::code::Code;
use crate::exchange::{
    Credentials, Endpoint, EndpointError, MAX_REPLY_BYTES, Reply, ReplyHeaders, Request,
    RequestError, ServiceCodes, read_reply_with,
};
use crate::report::{Encode, EncodeError, MAX_REPORT_BYTES};
use crate::time::WallTime;

/// A byte more than what can be an answer of the service, so that a longer one is not judged by its start.
const LONGEST_ANSWER: u64 = MAX_REPLY_BYTES as u64 + 1;
const MAX_ANSWER_HEADER: usize = 8 * 1024;
const INPUT_BUFFER: usize = 16 * 1024;
/// Nearly all bodies go out in one write, behind one for the head.
const OUTPUT_BUFFER: usize = 64 * 1024;
/// Below the idle limits of common servers and firewalls.
const MAX_IDLE: Duration = Duration::from_secs(12);

/// Sends reports, one at a time, over one connection that is kept.
///
/// ```no_run
/// use edge_report::{Client, Credentials, Job, JobStatus, Report};
///
/// let mut client = Client::builder("https://gateway.example", "0a1b2c")
///     .credentials(Credentials::keys("AK", "SK"))
///     .build()?;
/// let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201)];
/// let reply = client.send(&Report::new("5f0c…-1", &jobs))?;
/// println!("{reply}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    agent: Agent,
    trace: Arc<Trace>,
    resolver: Remembering,
    url: Uri,
    base_url: String,
    project_id: String,
    credentials: Credentials<'static>,
    service_codes: Vec<String>,
    /// Says what roots were in use, for TLS errors.
    roots: String,
    total_timeout: Duration,
    clock_offset_ms: i64,
    scratch: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.base_url)
            .field("project_id", &self.project_id)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client for an endpoint: a base URL with optional port and path prefix, and a project id.
    pub fn builder(base_url: &str, project_id: &str) -> ClientBuilder {
        ClientBuilder {
            base_url: base_url.to_string(),
            project_id: project_id.to_string(),
            credentials: Credentials::None,
            service_codes: ServiceCodes::default()
                .prefixes()
                .map(ToString::to_string)
                .collect(),
            tls: TlsSettings::default(),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(30),
            user_agent: concat!("edge-report/", env!("CARGO_PKG_VERSION")).to_string(),
            allow_plain_http: false,
        }
    }

    /// Checks a report, encodes it, sends it once and reads the answer.
    ///
    /// When a connection kept from before turns out to be closed, it is sent once more on a new one at once:
    /// a receiver drops a repeat by its `message_id`.
    pub fn send(&mut self, report: &impl Encode) -> Result<Reply<'_>, SendError> {
        let mut body = self.take_body();
        body.clear();
        let result = match report.encode_into(&mut body) {
            Ok(()) => self.exchange(&body),
            Err(error) => Err(error.into()),
        };
        self.give_body_back(body);
        self.read(result?)
    }

    /// Like [`send`](Self::send), for a report that is encoded: these very bytes are signed and sent, unchecked.
    pub fn send_encoded(&mut self, body: &[u8]) -> Result<Reply<'_>, SendError> {
        let head = self.exchange(body)?;
        self.read(head)
    }

    /// Signs with a clock that is ahead of the system's by `ms`: see [`Reply::clock_skew_ms`].
    pub fn set_clock_offset_ms(&mut self, ms: i64) {
        self.clock_offset_ms = ms;
    }

    /// Sends from now on with other credentials: tokens live 24 hours.
    pub fn set_credentials(&mut self, credentials: &Credentials<'_>) -> Result<(), BuildError> {
        let endpoint = Endpoint::new(&self.base_url, &self.project_id)?;
        self.scratch = scratch_for(&endpoint, credentials)?;
        self.credentials = credentials.to_owned();
        Ok(())
    }

    /// The client's own buffer, to be given back.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }

    pub(super) fn give_body_back(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    fn read(&self, head: Head) -> Result<Reply<'_>, SendError> {
        let headers = ReplyHeaders {
            retry_after: head.retry_after.as_ref().and_then(|v| v.to_str().ok()),
            date: head.date.as_ref().and_then(|v| v.to_str().ok()),
        };
        // They were checked when the client was made.
        let codes = service_codes(&self.service_codes).unwrap_or_default();
        Ok(read_reply_with(&codes, head.status, headers, &self.answer))
    }

    fn exchange(&mut self, body: &[u8]) -> Result<Head, SendError> {
        if body.len() > MAX_REPORT_BYTES {
            return Err(SendError::Misconfigured {
                code: Code::TooLarge,
                detail: format!("{} bytes", body.len()),
            });
        }
        let begin = Instant::now();
        match self.attempt(body, self.total_timeout) {
            Err(error) if self.trace.stale_connection() && is_disconnect(&error) => {
                let left = self.total_timeout.saturating_sub(begin.elapsed());
                self.attempt(body, left).map_err(|error| self.judge(error))
            }
            result => result.map_err(|error| self.judge(error)),
        }
    }

    /// One request and the bytes of its answer.
    fn attempt(&mut self, body: &[u8], timeout: Duration) -> Result<Head, Failure> {
        self.trace.begin(body.len());
        let now = WallTime::now().plus_ms(self.clock_offset_ms);
        let endpoint = Endpoint::new(&self.base_url, &self.project_id)
            .map_err(|error| Failure::Unusable(error.code))?;
        let request = match Request::new(&endpoint, &self.credentials, body, now, &mut self.scratch)
        {
            Ok(request) => request,
            Err(error) => return Err(Failure::Unusable(error.code())),
        };
        let mut call = self.agent.post(self.url.clone());
        if timeout < self.total_timeout {
            call = call.config().timeout_global(Some(timeout)).build();
        }
        for header in &request.headers {
            let mut value = HeaderValue::from_bytes(header.value.as_bytes())
                .map_err(|_| Failure::Unusable(Code::HeaderValue))?;
            // Keeps it out of ureq's log.
            value.set_sensitive(header.is_secret());
            call = call.header(header.name, value);
        }
        let (head, body) = call.send(request.body)?.into_parts();
        // A body not read to its end costs the connection; one that is too long is worth that.
        let mut reader = body
            .into_with_config()
            .limit(u64::MAX)
            .reader()
            .take(LONGEST_ANSWER);
        self.answer.clear();
        let read = reader.read_to_end(&mut self.answer);
        match read {
            Ok(_) => {}
            // The status counts without its reason, which is then cut and decides nothing.
            Err(_) if !head.status.is_success() => {}
            Err(error) => return Err(Failure::Http(error.into())),
        }
        Ok(Head {
            status: head.status.as_u16(),
            retry_after: header(&head.headers, "retry-after"),
            date: header(&head.headers, "date"),
        })
    }

    /// What an error means for the report.
    fn judge(&self, failure: Failure) -> SendError {
        let error = match failure {
            Failure::Unusable(code) => {
                return SendError::Misconfigured {
                    code,
                    detail: String::new(),
                };
            }
            Failure::Http(error) => error,
        };
        self.resolver.doubt();
        let misconfigured = |code, detail| SendError::Misconfigured { code, detail };
        if let Some(reason) = tls_reason(&error) {
            return misconfigured(Code::Tls, format!("{reason}; trusted are {}", self.roots));
        }
        match &error {
            ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
                misconfigured(Code::Proxy, "the proxy asks for credentials".to_string())
            }
            ureq::Error::RequireHttpsOnly(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::TlsRequired => misconfigured(Code::UrlHost, error.to_string()),
            _ if self.trace.wrote() => SendError::MayHaveArrived {
                detail: describe(&error),
            },
            _ => SendError::NotSent {
                detail: describe(&error),
            },
        }
    }
}

/// What is kept of an answer beside its body.
struct Head {
    status: u16,
    retry_after: Option<HeaderValue>,
    date: Option<HeaderValue>,
}

fn header(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    headers.get(name).cloned()
}

enum Failure {
    Unusable(Code),
    Http(ureq::Error),
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Failure::Http(error)
    }
}

/// The kinds of end that a server's idle limit makes.
fn is_disconnect(failure: &Failure) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match failure {
        Failure::Http(ureq::Error::Io(error)) => {
            matches!(
                error.kind(),
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            )
        }
        _ => false,
    }
}

/// The reason when the TLS layer itself is what failed.
fn tls_reason(error: &ureq::Error) -> Option<String> {
    match error {
        #[cfg(feature = "client")]
        ureq::Error::Rustls(error) => Some(error.to_string()),
        #[cfg(feature = "client")]
        ureq::Error::Io(error) => {
            let inner = error.get_ref()?;
            inner
                .downcast_ref::<rustls::Error>()
                .map(|error| error.to_string())
        }
        #[cfg(feature = "native-tls")]
        ureq::Error::NativeTls(error) => Some(error.to_string()),
        #[cfg(feature = "native-tls")]
        ureq::Error::Der(error) => Some(error.to_string()),
        ureq::Error::Tls(reason) => Some(reason.to_string()),
        ureq::Error::Pem(error) => Some(format!("{error:?}")),
        _ => None,
    }
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(which) => format!("time-out: {which}"),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The report breaks the contract; nothing was sent.
    Invalid(EncodeError),
    /// No byte of the report left this machine. Try again later.
    NotSent {
        /// For people.
        detail: String,
    },
    /// The report went out, wholly or in part, and no whole answer came back. Send it again with the same `message_id`.
    MayHaveArrived {
        /// For people.
        detail: String,
    },
    /// It will not work before somebody changes a setting, here or on the server. Keep the report.
    Misconfigured {
        /// What is wrong.
        code: Code,
        /// For people.
        detail: String,
    },
}

impl SendError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            SendError::Invalid(error) => error.code(),
            SendError::NotSent { .. } => Code::NotSent,
            SendError::MayHaveArrived { .. } => Code::MayHaveArrived,
            SendError::Misconfigured { code, .. } => *code,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            SendError::Invalid(error) => return error.fmt(f),
            SendError::NotSent { detail }
            | SendError::MayHaveArrived { detail }
            | SendError::Misconfigured { detail, .. } => detail,
        };
        write_with_detail(f, self.code(), detail)
    }
}

impl core::error::Error for SendError {}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        SendError::Invalid(error)
    }
}

fn write_with_detail(f: &mut fmt::Formatter<'_>, code: Code, detail: &str) -> fmt::Result {
    match detail {
        "" => write!(f, "{code}"),
        detail => write!(f, "{code}: {detail}"),
    }
}

/// Why a client cannot be made as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// What is wrong.
    pub code: Code,
    /// For people; may be empty.
    pub detail: String,
}

impl BuildError {
    pub(super) fn new(code: Code, detail: String) -> Self {
        BuildError { code, detail }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_detail(f, self.code, &self.detail)
    }
}

impl core::error::Error for BuildError {}

impl From<Code> for BuildError {
    fn from(code: Code) -> Self {
        BuildError::new(code, String::new())
    }
}

impl From<EndpointError> for BuildError {
    fn from(error: EndpointError) -> Self {
        let what = if error.code == Code::ProjectId {
            "project id"
        } else {
            "base URL"
        };
        BuildError::new(error.code, format!("byte {} of the {what}", error.offset))
    }
}

fn service_codes(prefixes: &[String]) -> Result<ServiceCodes<'_>, Code> {
    ServiceCodes::new(prefixes.iter().map(String::as_str))
}

/// Room for path and signature, whose lengths stay the same from request to request.
fn scratch_for(
    endpoint: &Endpoint<'_>,
    credentials: &Credentials<'_>,
) -> Result<Vec<u8>, BuildError> {
    let any_time = WallTime::from_unix_ms(0);
    match Request::new(endpoint, credentials, b"", any_time, &mut []) {
        Err(RequestError::TooSmall { needed }) => Ok(vec![0; needed]),
        Err(RequestError::Unusable(code)) => Err(code.into()),
        Ok(_) => Ok(Vec::new()),
    }
}

fn parse_proxy(url: &str) -> Result<Proxy, BuildError> {
    let wrong = |detail: &str| BuildError::new(Code::Proxy, detail.to_string());
    // The URL may hold a password, so it is not shown.
    let proxy = Proxy::new(url).map_err(|error| wrong(&error.to_string()))?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(proxy),
        _ => Err(wrong("only http:// and https:// proxies")),
    }
}

/// The settings of a [`Client`]. Nothing is read from the environment.
#[must_use]
#[derive(Clone)]
pub struct ClientBuilder {
    base_url: String,
    project_id: String,
    credentials: Credentials<'static>,
    service_codes: Vec<String>,
    tls: TlsSettings,
    proxy: Option<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
    total_timeout: Duration,
    user_agent: String,
    allow_plain_http: bool,
}

impl ClientBuilder {
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

    /// Trusts these CA certificates, PEM (one or more) or DER, and no others. May be called again for more.
    /// Default: the bundled Mozilla roots with rustls, the system's roots with the system's TLS.
    pub fn ca_certificate(mut self, pem_or_der: &[u8]) -> Self {
        self.tls.ca.push(pem_or_der.to_vec());
        self
    }

    /// Shows this certificate to servers that ask for one: chain and key as PEM (key: PKCS#8, PKCS#1 or SEC1; the system's TLS
    /// takes PKCS#8).
    pub fn client_certificate(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Self {
        self.tls.client = Some((chain_pem.to_vec(), key_pem.to_vec().into()));
        self
    }

    /// Uses the system's TLS also where rustls is built in.
    #[cfg(feature = "native-tls")]
    pub fn system_tls(mut self) -> Self {
        self.tls.system = true;
        self
    }

    /// Goes through an HTTP proxy: `http://user:password@host:port`. Default: none.
    pub fn proxy(mut self, url: &str) -> Self {
        self.proxy = Some(url.to_string());
        self
    }

    /// The most a look-up, and then a connection with its TLS handshake, may take. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The most that sending the body, waiting for the answer, and reading its body may take each. Default: 15 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// The most one `send` may take. Default: 30 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// The `User-Agent` header. Default: `edge-report/` and the version.
    pub fn user_agent(mut self, text: &str) -> Self {
        self.user_agent = text.to_string();
        self
    }

    /// Allows `http://` to hosts other than loopback: tokens and reports go out in the clear.
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// Checks all settings and makes the client. Touches no network.
    pub fn build(self) -> Result<Client, BuildError> {
        self.build_with(DefaultResolver::default())
    }

    fn build_with(self, lookup: impl Resolver) -> Result<Client, BuildError> {
        let endpoint = Endpoint::new(&self.base_url, &self.project_id)?;
        let is_https = endpoint.is_https();
        if !is_https && !self.allow_plain_http && !endpoint.is_loopback() {
            return Err(Code::PlainHttp.into());
        }
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
        let tls = self.tls.build()?;
        let proxy = self.proxy.as_deref().map(parse_proxy).transpose()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(is_https)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .tls_config(tls.config)
            .timeout_resolve(Some(self.connect_timeout))
            .timeout_connect(Some(self.connect_timeout))
            .timeout_send_body(Some(self.read_timeout))
            .timeout_recv_response(Some(self.read_timeout))
            .timeout_recv_body(Some(self.read_timeout))
            .timeout_global(Some(self.total_timeout))
            .max_response_header_size(MAX_ANSWER_HEADER)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE)
            .user_agent(self.user_agent)
            .accept("application/json")
            .accept_encoding("identity")
            .build();
        let trace = Arc::new(Trace::default());
        let resolver = Remembering::new(lookup);
        let agent = Agent::with_parts(config, Watching::new(trace.clone()), resolver.clone());
        Ok(Client {
            agent,
            trace,
            resolver,
            url,
            credentials: self.credentials,
            service_codes: self.service_codes,
            roots: tls.roots,
            total_timeout: self.total_timeout,
            clock_offset_ms: 0,
            scratch,
            body: Vec::new(),
            answer: Vec::new(),
            base_url: self.base_url,
            project_id: self.project_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicU32, Ordering};

    use ureq::config::Config;
    use ureq::unversioned::resolver::ResolvedSocketAddrs;
    use ureq::unversioned::transport::NextTimeout;

    use super::*;

    /// A name service that answers `alive` times and then is dead.
    #[derive(Clone, Debug)]
    struct Dying {
        address: SocketAddr,
        asked: Arc<AtomicU32>,
        alive: u32,
    }

    impl Resolver for Dying {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            if self.asked.fetch_add(1, Ordering::Relaxed) >= self.alive {
                return Err(ureq::Error::HostNotFound);
            }
            let mut found = self.empty();
            found.push(self.address);
            Ok(found)
        }
    }

    /// Answers `per_connection` requests on each connection, then closes it without a word.
    fn server(per_connection: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                for _ in 0..per_connection {
                    let mut length = 0;
                    let mut line = String::new();
                    while reader.read_line(&mut line).unwrap_or(0) > 2 {
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if reader.read_exact(&mut body).is_err() || length == 0 {
                        break;
                    }
                    let answer = "{\"is_success\":true}";
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        answer.len()
                    );
                    let _ = reader.get_mut().write_all((head + answer).as_bytes());
                }
            }
        });
        address
    }

    fn client(lookup: &Dying) -> Client {
        let url = format!("http://gateway.invalid:{}", lookup.address.port());
        let builder = Client::builder(&url, "p").allow_plain_http();
        builder.build_with(lookup.clone()).unwrap()
    }

    fn dying(alive: u32, per_connection: usize) -> Dying {
        Dying {
            address: server(per_connection),
            asked: Arc::default(),
            alive,
        }
    }

    #[test]
    fn one_lookup_serves_all_and_a_dead_name_service_stops_nothing() {
        let lookup = dying(1, 1000);
        let mut client = client(&lookup);
        for _ in 0..100 {
            let reply = client.send_encoded(b"{}").unwrap();
            assert_eq!(reply.outcome, crate::Outcome::Accepted);
        }
        assert_eq!(lookup.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_new_connection_is_made_with_the_remembered_address() {
        // Each connection serves one request: every second send meets a closed one.
        let lookup = dying(1, 1);
        let mut client = client(&lookup);
        for _ in 0..10 {
            assert!(client.send_encoded(b"{}").is_ok());
        }
        client.resolver.doubt();
        assert!(
            client.send_encoded(b"{}").is_ok(),
            "asked again in vain, the old one serves"
        );
        assert_eq!(lookup.asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_unknown_name_is_surely_not_sent() {
        let lookup = dying(0, 1);
        let error = client(&lookup).send_encoded(b"{}").unwrap_err();
        assert!(matches!(error, SendError::NotSent { .. }), "{error}");
    }
}
