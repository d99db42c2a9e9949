//! The settings of a client.

use std::time::Duration;

use edge_report::exchange::{Endpoint, ServiceCodes};
use edge_report::{BuildError, Client, ClientBuilder, Code, TlsSettings, WallTime};

use crate::error::{Failure, Place, credential};
use crate::reply::read_service_codes;
use crate::request::{edge_report_credentials, read_credentials};
use crate::types::edge_report_str;

/// The settings of a client. All but the first three may be zeros, which stand for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_client_config {
    /// Its size: begin with `EDGE_REPORT_CLIENT_CONFIG_INIT`.
    pub struct_size: usize,
    /// `https://` or `http://`, host, optional port and path.
    pub base_url: edge_report_str,
    /// The project.
    pub project_id: edge_report_str,
    /// NULL: requests are not signed. Copied; the copy is wiped when the client is freed.
    pub credentials: *const edge_report_credentials,
    /// The prefixes by which the service's own error codes are known: see `edge_report_read_reply_with`.
    pub service_codes: *const edge_report_str,
    /// How many. Default: `DLI.` alone.
    pub service_codes_len: usize,
    /// CA certificates, PEM (one or more) or DER: these are trusted, and no others. Default: the bundled Mozilla roots, or the
    /// system's with its TLS.
    pub ca_certificate: edge_report_str,
    /// Shown to servers that ask for a certificate: PEM. Together with its key.
    pub client_certificate: edge_report_str,
    /// The key to it: PEM, not encrypted. The copy is wiped; what the TLS library keeps of the key is its own.
    pub client_key: edge_report_str,
    /// `http://user:password@host:port`. Default: none.
    pub proxy: edge_report_str,
    /// The `User-Agent` header. Default: `edge-report/` and the version.
    pub user_agent: edge_report_str,
    /// The most that looking up the name may take, and then connecting (to the proxy, if there is one). Default: 10 s. Like all timeouts,
    /// a day at the most.
    pub connect_timeout_ms: u32,
    /// The most a TLS handshake may take. Default: 30 s.
    pub tls_timeout_ms: u32,
    /// The most that sending may take, and what the report's length takes at `min_rate`. Default: 15 s.
    pub send_timeout_ms: u32,
    /// The most that the response may take once the system has the report, and what the report's length takes at `min_rate`. Default: 15 s.
    pub response_timeout_ms: u32,
    /// The most one send may take in all, and what the report's length takes at `min_rate`. Default: 60 s.
    pub total_timeout_ms: u32,
    /// The slowest link that a long report must get through, in bytes a second: 64 KB may take 66 s more than an empty one. Default: 1000.
    pub min_rate: u32,
    /// How long a connection that is not used is kept, a day at the most. Default: 90 s, so that a report a minute needs no new handshake.
    /// Where a firewall forgets connections and says nothing, set less than its limit.
    pub max_idle_ms: u32,
    /// 1 allows `http://` to hosts other than loopback, and through a proxy: tokens and reports go out in the clear. Without it a name such
    /// as `localhost` is believed only when the address that it leads to is a loopback one.
    pub allow_plain_http: u32,
    /// See edge_report_client_set_known_time. Default: the release date of this library.
    pub known_time_ms: i64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Whom to trust, and who the client is: for edge_report_client_set_tls. What is empty is as in edge_report_client_config.
///
/// Not checked is whether a certificate was revoked: no CRL and no OCSP response is asked for or read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_tls {
    /// Its size: begin with `EDGE_REPORT_TLS_INIT`.
    pub struct_size: usize,
    /// CA certificates, PEM (one or more) or DER: these are trusted, and no others.
    pub ca_certificate: edge_report_str,
    /// Shown to servers that ask for a certificate: PEM. Together with its key.
    pub client_certificate: edge_report_str,
    /// The key to it: PEM, not encrypted.
    pub client_key: edge_report_str,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// # Safety
/// All that the config leads to must hold for the call.
pub(crate) unsafe fn build(config: &edge_report_client_config) -> Result<Client, Failure> {
    let of = |member| Place::Member("config", member);
    let base_url = unsafe { config.base_url.required(of("base_url")) }?;
    let project_id = unsafe { config.project_id.required(of("project_id")) }?;
    // For its offset: what the builder tells has none.
    if let Err(error) = Endpoint::new(base_url, project_id) {
        let mut failure = Failure::at(error.code(), member_of(error.code(), "config"));
        failure.offset = error.offset();
        return Err(failure);
    }
    let credentials = unsafe { read_credentials(config.credentials) }?;
    let mut builder = Client::builder(base_url, project_id).credentials(credentials);
    let texts = &mut [""; ServiceCodes::MOST];
    let codes =
        unsafe { read_service_codes(config.service_codes, config.service_codes_len, texts) }?;
    if let Some(codes) = codes {
        builder = builder.service_codes(codes);
    }
    let (ca, chain, key) = (
        config.ca_certificate,
        config.client_certificate,
        config.client_key,
    );
    builder = builder.tls(unsafe { read_tls("config", ca, chain, key) }?);
    if let Some(proxy) = unsafe { config.proxy.text(of("proxy")) }? {
        builder = builder.proxy(proxy);
    }
    if let Some(user_agent) = unsafe { config.user_agent.text(of("user_agent")) }? {
        builder = builder.user_agent(user_agent);
    }
    type Set = fn(ClientBuilder, Duration) -> ClientBuilder;
    let times: [(&str, u32, Set); 6] = [
        (
            "connect_timeout_ms",
            config.connect_timeout_ms,
            ClientBuilder::connect_timeout,
        ),
        (
            "tls_timeout_ms",
            config.tls_timeout_ms,
            ClientBuilder::tls_timeout,
        ),
        (
            "send_timeout_ms",
            config.send_timeout_ms,
            ClientBuilder::send_timeout,
        ),
        (
            "response_timeout_ms",
            config.response_timeout_ms,
            ClientBuilder::response_timeout,
        ),
        (
            "total_timeout_ms",
            config.total_timeout_ms,
            ClientBuilder::total_timeout,
        ),
        ("max_idle_ms", config.max_idle_ms, ClientBuilder::max_idle),
    ];
    for (name, ms, set) in times {
        if ms > DAY_MS {
            return Err(Failure::at(Code::OutOfRange, of(name)).with_detail("a day at the most"));
        }
        if ms != 0 {
            builder = set(builder, Duration::from_millis(u64::from(ms)));
        }
    }
    if config.min_rate != 0 {
        builder = builder.min_rate(config.min_rate);
    }
    if config.known_time_ms != 0 {
        builder = builder.known_time(WallTime::from_unix_ms(config.known_time_ms));
    }
    builder = match config.allow_plain_http {
        0 => builder,
        1 => builder.allow_plain_http(),
        _ => return Err(Failure::at(Code::OutOfRange, of("allow_plain_http"))),
    };
    builder.build().map_err(|error| refused(error, "config"))
}

/// The longest timeout.
const DAY_MS: u32 = 24 * 60 * 60 * 1000;

/// Which setting a builder refuses.
pub(crate) fn refused(error: BuildError, settings: &'static str) -> Failure {
    let mut failure = Failure::at(error.code, member_of(error.code, settings));
    failure.detail = error.detail;
    failure
}

fn member_of(code: Code, settings: &'static str) -> Place {
    let member = match code {
        Code::ProjectId => "project_id",
        Code::UrlScheme
        | Code::UrlHost
        | Code::UrlPort
        | Code::UrlPath
        | Code::UrlUserInfo
        | Code::UrlQuery
        | Code::PlainHttp => "base_url",
        Code::CaCertificate => "ca_certificate",
        Code::ClientCertificate => "client_certificate",
        Code::Proxy => "proxy",
        Code::UserAgent => "user_agent",
        Code::ServiceCodes => "service_codes",
        Code::AccessKey | Code::SecretKey | Code::Token => return credential(code),
        _ => return Place::Name(settings),
    };
    Place::Member(settings, member)
}

/// # Safety
/// The texts must hold for the call.
pub(crate) unsafe fn read_tls(
    settings: &'static str,
    ca: edge_report_str,
    chain: edge_report_str,
    key: edge_report_str,
) -> Result<TlsSettings, Failure> {
    let mut tls = TlsSettings::new();
    let of = |member| Place::Member(settings, member);
    if let Some(ca) = unsafe { ca.bytes(of("ca_certificate")) }? {
        tls = tls.ca_certificate(ca);
    }
    let chain = unsafe { chain.bytes(of("client_certificate")) }?;
    let key = unsafe { key.bytes(of("client_key")) }?;
    match (chain, key) {
        (None, None) => Ok(tls),
        (Some(chain), Some(key)) => Ok(tls.client_certificate(chain, key)),
        (None, Some(_)) => Err(Failure::at(
            Code::ClientCertificate,
            of("client_certificate"),
        )),
        (Some(_), None) => Err(Failure::at(Code::ClientCertificate, of("client_key"))),
    }
}
