//! The blocking HTTP client: one ureq agent, with settings fit for a node that runs for years.

use std::fmt;
use std::format;
use std::io::{self, Read};
use std::string::{String, ToString};
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use bytes::Bytes;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use zeroize::Zeroizing;

use super::builder::{AgentParts, ClientBuilder, Timeouts, scratch_for, service_codes};
use super::lookup::{literal_address, port};
use super::progress::{Phase, Plan, Progress};
use super::resolver::Remembering;
use super::send_error::{BuildError, NotSentKind, SendError, is_unusable};
use super::tls::{Clock, NO_TLS, RELEASED, TlsSettings};
use super::waker::{Bell, Waker, cancelled};
use crate::code::Code;
use crate::exchange::{
    Credentials, Endpoint, MAX_REPLY_BYTES, Outcome, Reply, ReplyHeaders, Request, read_reply_with,
};
use crate::report::{Encode, MAX_REPORT_BYTES};
use crate::time::WallTime;

/// A byte more than a response of the service can have, so that a longer one is not judged by its start.
const LONGEST_ANSWER: u64 = MAX_REPLY_BYTES as u64 + 1;

/// Sends reports, one at a time, over one connection that is kept.
///
/// ```no_run
/// use edge_report::{Client, Credentials, Job, JobStatus, Report};
///
/// let mut client = Client::builder("https://gateway.example", "0a1b2c")
///     .credentials(Credentials::keys("AK", "SK"))
///     .build()?;
/// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
/// let reply = client.send(&Report::new("5f0c…-1", &jobs))?;
/// println!("{reply}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    pub(super) agent: Agent,
    /// To make another agent.
    pub(super) parts: AgentParts,
    pub(super) roots: String,
    pub(super) clock: Arc<Clock>,
    pub(super) progress: Arc<Progress>,
    pub(super) resolver: Remembering,
    pub(super) url: Uri,
    pub(super) base_url: String,
    pub(super) project_id: String,
    pub(super) credentials: Credentials<'static>,
    pub(super) service_codes: Vec<String>,
    pub(super) timeouts: Timeouts,
    pub(super) clock_offset_ms: i64,
    pub(super) scratch: Zeroizing<Vec<u8>>,
    pub(super) body: Vec<u8>,
    pub(super) answer: Vec<u8>,
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
        ClientBuilder::new(base_url, project_id)
    }

    /// Checks a report, encodes it, sends it once and reads the response.
    ///
    /// When a connection kept from before turns out to be closed, it is sent once more on a new one at once:
    /// a receiver drops a repeat by its `message_id`. [`SendError::NotSent`] speaks of both. One that said anything first, be it
    /// `100 Continue`, had seen the report, and is not replaced at once.
    ///
    /// Where a name service leads elsewhere just as the address that served fails, a reason to stop from there (401, a redirect, a certificate that is not
    /// trusted) is passed over three times, as [`Outcome::NotUnderstood`] or [`SendError::NotSent`]: the next call begins with the known address.
    pub fn send(&mut self, report: &impl Encode) -> Result<Reply<'_>, SendError> {
        let mut body = self.take_body();
        body.clear();
        let result = match report.encode_into(&mut body) {
            Ok(()) => self.exchange(&body),
            Err(error) => Err(error.into()),
        };
        self.give_body_back(body);
        self.bell().take_cancelled();
        self.read(result?)
    }

    /// Like [`send`](Self::send), for a report that is encoded: these very bytes are signed and sent, unchecked.
    pub fn send_encoded(&mut self, body: &[u8]) -> Result<Reply<'_>, SendError> {
        let head = self.exchange(body);
        self.bell().take_cancelled();
        self.read(head?)
    }

    /// What wakes or cancels this client from another thread.
    pub fn waker(&self) -> Waker {
        Waker(self.bell().clone())
    }

    /// Sleeps until somebody wakes or cancels it ([`Waker`]), or this long. For a thread that delivers, after
    /// [`Pause::Idle`](super::Pause): whoever submits wakes it. Uses no CPU meanwhile. Time that the machine is suspended counts (Linux), to a minute.
    pub fn wait(&mut self, longest: Option<Duration>) {
        self.bell().sleep(longest);
        self.bell().take_cancelled();
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        self.progress.bell()
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

    /// Trusts others, or shows another certificate, from the next report on: certificates expire. The old connection is closed; no
    /// report fails for it. After an error all stays as it was.
    pub fn set_tls(&mut self, tls: &TlsSettings) -> Result<(), BuildError> {
        let tls = tls.build(&self.clock)?;
        self.roots.clone_from(&tls.roots);
        self.agent = self.parts.agent(tls, &self.progress, &self.resolver);
        Ok(())
    }

    /// It is this late at least: certificates are verified at the latest of this, the release date of this library, and the
    /// system's clock, so that a node that boots in 1970 can deliver. A certificate that has expired by then serves anyway if it has
    /// not by the system's clock, or where that is before the release, by this. From a source that can be trusted, such as an RTC or GNSS.
    /// The system's TLS knows its own clock alone.
    pub fn set_known_time(&mut self, time: WallTime) {
        self.clock.set_known(time);
    }

    /// The client's own buffer, to be given back.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }

    pub(super) fn give_body_back(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    pub(super) fn read(&self, head: Head) -> Result<Reply<'_>, SendError> {
        let headers = ReplyHeaders::default()
            .with_retry_after(head.retry_after.as_ref().and_then(|v| v.to_str().ok()))
            .with_date(head.date.as_ref().and_then(|v| v.to_str().ok()));
        // They were checked when the client was made.
        let codes = service_codes(&self.service_codes).unwrap_or_default();
        let mut reply = read_reply_with(&codes, head.status, headers, &self.answer);
        // Somebody else's, perhaps, where a name service leads just now.
        let stops = matches!(reply.outcome, Outcome::Credentials | Outcome::Misconfigured);
        if stops && self.resolver.excuses(None) {
            reply.outcome = Outcome::NotUnderstood;
        }
        if matches!(reply.outcome, Outcome::Accepted | Outcome::Refused) {
            self.resolver.served();
            self.progress.was_good();
        } else {
            // It may be somebody else's, at a place that the service has left.
            self.resolver.doubt();
            if self.parts.proxy().is_some() && !self.progress.was_good_lately() {
                // Where a tunnel leads was found when it was made.
                self.progress.leave_route();
            }
        }
        Ok(reply)
    }

    /// Sends these bytes, unless it is cancelled.
    pub(super) fn exchange(&mut self, body: &[u8]) -> Result<Head, SendError> {
        if self.bell().is_cancelled() {
            let detail = cancelled().to_string();
            let kind = NotSentKind::Cancelled;
            return Err(SendError::NotSent { kind, detail });
        }
        if body.len() > MAX_REPORT_BYTES {
            return Err(SendError::Misconfigured {
                code: Code::TooLarge,
                detail: format!("{} bytes", body.len()),
            });
        }
        let plan = self.timeouts.plan(body.len());
        match self.attempt(body, plan) {
            Err(failure) if self.progress.is_stale_connection() && is_disconnect(&failure) => {
                let went_out = self.progress.went_anything_out();
                self.attempt(body, plan)
                    .map_err(|failure| self.classify(failure, went_out))
            }
            result => result.map_err(|failure| self.classify(failure, false)),
        }
    }

    /// One request and the bytes of its response.
    fn attempt(&mut self, body: &[u8], plan: Plan) -> Result<Head, Failure> {
        self.progress.begin(body.len(), plan);
        let now = signing_time(WallTime::now().plus_ms(self.clock_offset_ms));
        let endpoint = Endpoint::new(&self.base_url, &self.project_id)
            .map_err(|error| Failure::Unusable(error.code()))?;
        let request = match Request::new(&endpoint, &self.credentials, body, now, &mut self.scratch)
        {
            Ok(request) => request,
            Err(error) => return Err(Failure::Unusable(error.code())),
        };
        let mut call = self.agent.post(self.url.clone());
        for header in request.headers() {
            let value = header_value(header.value, header.is_secret())
                .ok_or(Failure::Unusable(Code::HeaderValue))?;
            call = call.header(header.name, value);
        }
        let (head, body) = call.send(request.body())?.into_parts();
        if self.progress.is_unsent() && head.status.is_success() {
            return Err(Failure::Early(head.status.as_u16()));
        }
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
            Err(_) if counts_without_body(head.status, self.progress.bell()) => self.answer.clear(),
            Err(error) => return Err(Failure::Http(error.into())),
        }
        Ok(Head {
            status: head.status.as_u16(),
            retry_after: header(&head.headers, "retry-after"),
            date: header(&head.headers, "date"),
        })
    }

    /// What a failure means for the report, which may have gone out before this attempt.
    fn classify(&self, failure: Failure, went_out_before: bool) -> SendError {
        let misconfigured = |code, detail| SendError::Misconfigured { code, detail };
        self.resolver.doubt();
        let error = match failure {
            Failure::Unusable(code) => return misconfigured(code, String::new()),
            Failure::Early(status) => {
                let detail = format!("{status} came before the report was sent");
                return SendError::MayHaveArrived { detail };
            }
            Failure::Http(error) => error,
        };
        if let Some((code, detail)) = is_unusable(&error) {
            let detail = match code {
                Code::Tls => self.tls_detail(detail),
                _ => detail.to_string(),
            };
            return misconfigured(code, detail);
        }
        let detail = if self.progress.is_late() {
            self.progress.describe_timeout(&self.place())
        } else {
            self.describe(&error)
        };
        match &error {
            ureq::Error::ConnectProxyFailed(reason)
                if reason.contains("407") && !self.resolver.excuses(None) =>
            {
                misconfigured(Code::Proxy, "the proxy asks for credentials".to_string())
            }
            ureq::Error::RequireHttpsOnly(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::TlsRequired => misconfigured(Code::UrlHost, error.to_string()),
            _ if went_out_before || self.progress.went_anything_out() => {
                SendError::MayHaveArrived { detail }
            }
            _ => SendError::NotSent {
                kind: self.not_sent_kind(),
                detail,
            },
        }
    }

    fn not_sent_kind(&self) -> NotSentKind {
        if self.bell().is_cancelled() {
            return NotSentKind::Cancelled;
        }
        if self.progress.is_late() {
            return NotSentKind::Timeout;
        }
        match self.progress.phase() {
            Phase::Lookup => NotSentKind::Dns,
            Phase::Connect => NotSentKind::Connect,
            Phase::Tls => NotSentKind::Tls,
            Phase::Send | Phase::Response => NotSentKind::Closed,
        }
    }

    /// Where it failed, and why.
    fn describe(&self, error: &ureq::Error) -> String {
        let reason = match error {
            // Without "io: " in front.
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::ConnectProxyFailed(reason) => reason.clone(),
            error => error.to_string(),
        };
        if self.bell().is_cancelled() {
            return reason;
        }
        let place = self.place();
        match (self.progress.phase(), error) {
            (Phase::Lookup, _) => {
                let why = reason.strip_prefix("failed to lookup address information: ");
                format!("no address for {place}: {}", why.unwrap_or(&reason))
            }
            (Phase::Connect, ureq::Error::ConnectProxyFailed(_)) => {
                format!("no connection through {place}: {reason}")
            }
            (Phase::Connect, ureq::Error::Protocol(_)) => {
                let began = self.progress.how_proxy_began();
                let why = match began.starts_with("HTTP/1.") {
                    true => reason,
                    false => format!("its response is not HTTP; it begins \"{began}\""),
                };
                format!("no connection through {place}: {why}")
            }
            (Phase::Connect, _) => format!("no connection to {place}: {reason}"),
            (Phase::Tls, _) => format!("no TLS with {}: {reason}", short_host(&self.url)),
            (_, ureq::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let when = match self.progress.has_response_begun() {
                    true => "within",
                    false => "before",
                };
                format!("the connection closed {when} the response")
            }
            _ => reason,
        }
    }

    /// What is looked up, or connected to: the host of the URL, or the proxy. Without what else stands in their URLs.
    fn place(&self) -> String {
        let (what, uri) = match self.parts.proxy() {
            Some(proxy) => ("the proxy ", proxy.uri()),
            None => ("", &self.url),
        };
        let host = short_host(uri);
        let port = port(uri);
        // One that is an address says it already.
        let tried = self
            .progress
            .tried()
            .filter(|_| literal_address(uri).is_none());
        match (self.progress.phase(), tried) {
            (Phase::Lookup, _) => format!("{what}{host}"),
            (_, Some(address)) => format!("{what}{host}:{port} ({})", address.ip()),
            (_, None) => format!("{what}{host}:{port}"),
        }
    }

    /// Says what was trusted, and what may be wrong with the clock.
    fn tls_detail(&self, reason: &str) -> String {
        if reason == NO_TLS {
            return reason.to_string();
        }
        let about_time = reason.contains("not valid before") || reason.contains("expired");
        let advice = about_time.then(|| self.clock.advice()).flatten();
        let advice = advice.unwrap_or_default();
        format!("{reason}{advice}; trusted are {}", self.roots)
    }
}

/// What is kept of a response beside its body.
pub(super) struct Head {
    status: u16,
    retry_after: Option<HeaderValue>,
    date: Option<HeaderValue>,
}

/// Whether a status counts whose body was cut, or is late: then it does without its reason. Who cancelled it wants no response; but a check of
/// credentials was made, and too many of them lock a key pair.
fn counts_without_body(status: StatusCode, bell: &Bell) -> bool {
    !status.is_success() && (!bell.is_cancelled() || status == StatusCode::UNAUTHORIZED)
}

fn header(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    headers.get(name).cloned()
}

/// A time that a signature can have. If the clock is out of range, the release date: the service denies it, and says what time it is.
fn signing_time(clock: WallTime) -> WallTime {
    match clock.to_sdk_date() {
        Some(_) => clock,
        None => RELEASED,
    }
}

/// A value that is wiped with the request when it is secret, and that no `Debug` of the headers shows. (At the level trace ureq-proto logs the bytes.)
fn header_value(text: &str, is_secret: bool) -> Option<HeaderValue> {
    if !is_secret {
        return HeaderValue::from_str(text).ok();
    }
    let owned = Zeroizing::new(text.as_bytes().to_vec());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(owned)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

enum Failure {
    Unusable(Code),
    /// A success, before the request was out.
    Early(u16),
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

/// A host, so short that a reason has room for what is wrong there.
fn short_host(uri: &Uri) -> String {
    const LONGEST: usize = 40;
    let host = uri.host().unwrap_or_default();
    match host.get(..LONGEST) {
        Some(start) if start.len() < host.len() => format!("{start}…"),
        _ => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::vec;

    use ureq::config::Config;
    use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
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
    fn each_failure_asks_once_again() {
        // Whoever listens there never answers.
        let lookup = dying(2, 0);
        let mut fails = client(&lookup);
        for asked in 1..4 {
            assert!(fails.send_encoded(b"{}").is_err());
            assert_eq!(lookup.asked.load(Ordering::Relaxed), asked);
        }
        for alive in [1, 2] {
            let lookup = dying(alive, 1000);
            let mut client = client(&lookup);
            assert!(client.send_encoded(b"{}").is_ok());
            client.resolver.doubt();
            for _ in 0..5 {
                assert!(client.send_encoded(b"{}").is_ok());
            }
            assert_eq!(lookup.asked.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn what_an_idle_limit_makes_of_a_connection() {
        use io::ErrorKind::{self, *};
        let is_one = |kind: ErrorKind| is_disconnect(&Failure::Http(ureq::Error::Io(kind.into())));
        let all = [
            UnexpectedEof,
            ConnectionReset,
            ConnectionAborted,
            BrokenPipe,
        ];
        assert!(all.into_iter().all(is_one));
        assert!(![TimedOut, InvalidData, Other].into_iter().any(is_one));
    }

    #[test]
    fn an_unknown_name_is_not_sent() {
        let lookup = dying(0, 1);
        let error = client(&lookup).send_encoded(b"{}").unwrap_err();
        let is_right = |error: &SendError| matches!(error, SendError::NotSent { kind, .. } if *kind == NotSentKind::Dns);
        assert!(is_right(&error), "{error}");
        let says = "not sent: no address for gateway.invalid: host not found";
        assert_eq!(error.to_string(), says);
    }

    /// A reason has room for what is wrong, too.
    #[test]
    fn a_long_name_is_cut_in_errors() {
        let host = "a".repeat(60);
        let uri: Uri = format!("https://user:secret@{host}/").parse().unwrap();
        assert_eq!(short_host(&uri), format!("{}…", &host[..40]));
        let uri: Uri = format!("https://{}/", &host[..40]).parse().unwrap();
        assert_eq!(short_host(&uri), host[..40]);
    }

    /// A name service that says what it is told, and from the second time on nothing for as long as it may.
    #[derive(Debug)]
    struct Slow {
        addresses: vec::Vec<SocketAddr>,
        asked: AtomicU32,
    }

    impl Resolver for Slow {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            timeout: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            if self.asked.fetch_add(1, Ordering::Relaxed) > 0 {
                std::thread::sleep(*timeout.after);
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let mut found = self.empty();
            self.addresses
                .iter()
                .for_each(|address| found.push(*address));
            Ok(found)
        }
    }

    fn localhost_at(addresses: vec::Vec<SocketAddr>) -> Client {
        let port = addresses.last().unwrap().port();
        let builder = Client::builder(&format!("http://localhost:{port}"), "p");
        let asked = AtomicU32::new(0);
        builder.build_with(Slow { addresses, asked }).unwrap()
    }

    /// Somebody may have written another address for `localhost` into a hosts file or a name service.
    #[test]
    fn plain_http_goes_to_connected_loopback_addresses_alone() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80));
        let mut client = localhost_at(vec![elsewhere]);
        let error = client.send_encoded(b"{}").unwrap_err();
        assert_eq!(error.code(), Code::PlainHttp);
        assert!(
            error.to_string().contains("localhost is 192.0.2.1"),
            "{error}"
        );
        let mut both = localhost_at(vec![elsewhere, server(1)]);
        assert!(both.send_encoded(b"{}").is_ok());
        let mapped = SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1], server(1).port()));
        assert!(localhost_at(vec![mapped]).send_encoded(b"{}").is_ok());
    }

    /// An address that takes no connections leaves half of the time to those after it.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_first_address_gets_half_of_the_time() {
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        // The queue of those who wait to be taken is full from now on: the system answers nobody.
        rustix::net::listen(&full, 0).unwrap();
        let address = full.local_addr().unwrap();
        let soon = Duration::from_millis(200);
        let connects = || std::net::TcpStream::connect_timeout(&address, soon).ok();
        let queue: Vec<_> = std::iter::from_fn(connects).collect();
        let addresses = vec![address, server(1)];
        let port = addresses[1].port();
        let asked = AtomicU32::new(0);
        let builder = Client::builder(&format!("http://localhost:{port}"), "p")
            .connect_timeout(Duration::from_secs(2));
        let mut client = builder.build_with(Slow { addresses, asked }).unwrap();
        let begin = std::time::Instant::now();
        assert!(client.send_encoded(b"{}").is_ok());
        assert!(begin.elapsed() >= Duration::from_secs(1));
        drop(queue);
    }

    #[test]
    fn secrets_are_marked_and_https_is_all_there_is() {
        for is_secret in [false, true] {
            let value = header_value("AK", is_secret).unwrap();
            assert_eq!(value.is_sensitive(), is_secret);
        }
        for (url, is_https) in [("https://a", true), ("http://127.0.0.1", false)] {
            let client = Client::builder(url, "p").build().unwrap();
            assert_eq!(client.agent.config().https_only(), is_https);
        }
    }

    #[test]
    fn a_slow_name_service_holds_up_nobody_for_long() {
        let mut client = localhost_at(vec![server(10)]);
        assert!(client.send_encoded(b"{}").is_ok());
        client.resolver.doubt();
        let begin = std::time::Instant::now();
        assert!(client.send_encoded(b"{}").is_ok());
        assert!(begin.elapsed().as_millis() < 3000);
    }

    #[test]
    fn a_silent_name_service_is_a_timeout_of_its_own() {
        let slow = Slow {
            addresses: vec![],
            asked: AtomicU32::new(1),
        };
        let builder = Client::builder("https://gateway.invalid", "p");
        let builder = builder.connect_timeout(std::time::Duration::from_millis(200));
        let mut client = builder.build_with(slow).unwrap();
        let error = client.send_encoded(b"{}").unwrap_err();
        assert_eq!(error.code(), Code::NotSent);
        assert!(
            error
                .to_string()
                .contains("no address for gateway.invalid within"),
            "{error}"
        );
    }
}
