//! GET requests to Flink's REST API, or to the proxy in front of it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::http::{HeaderValue, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use crate::settings::Settings;

/// The longest body that is read. Details of 200 stages have 204 KB, exceptions up to 417 KB.
const MOST: u64 = 1 << 20;

/// One cluster, by one connection that is kept.
pub(crate) struct Flink {
    agent: Agent,
    base: String,
    authorization: Option<HeaderValue>,
}

impl Flink {
    /// Reads the files that the settings name; touches no network.
    pub(crate) fn new(settings: &Settings) -> Result<Flink, String> {
        let base = settings.needed("flink")?.trim_end_matches('/').to_owned();
        let is_tls = check_base(&base)?;
        let authorization = authorization(settings)?;
        let is_plain = !is_tls && !settings.has("allow-plain-http") && !is_loopback(&base);
        if authorization.is_some() && is_plain {
            return Err("--flink is http://, where others can read passwords and tokens: give https://, or --allow-plain-http if the network is safe".to_owned());
        }
        let timeout = settings.number("flink-timeout", 1, 10_000)?;
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(timeout)))
            .tls_config(tls(settings)?)
            .http_status_as_error(false)
            // Elsewhere nobody gets the password.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Flink is near; what the environment has is for far hosts.
            .proxy(None)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(Duration::from_secs(60))
            .user_agent(concat!("edge-report-agent/", env!("CARGO_PKG_VERSION")));
        Ok(Flink {
            agent: config.build().new_agent(),
            base,
            authorization,
        })
    }

    /// Status and body of the response; else why there is none, and what to do.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.clone());
        }
        let response = request.call();
        let read = response.and_then(|mut response| {
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(MOST);
            Ok((status, body.read_to_vec()?))
        });
        read.map_err(|why| explain(&why))
    }
}

fn explain(why: &Error) -> String {
    let advice = match why {
        Error::Timeout(_) => "is the cluster busy, or --flink-timeout too short?",
        Error::BodyExceedsLimit(_) => "a response of more than 1 MiB is not read",
        Error::HostNotFound => "is the name in --flink right?",
        Error::Tls(_) | Error::Rustls(_) => "are --flink-ca, --flink-cert and --flink-key right?",
        Error::Io(why) if is_tls(why) => "are --flink-ca, --flink-cert and --flink-key right?",
        _ => "does it listen where --flink says?",
    };
    format!("{why}; {advice}")
}

fn is_tls(why: &std::io::Error) -> bool {
    why.get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Whether it is `https://`.
fn check_base(base: &str) -> Result<bool, String> {
    let wrong = |why| format!("--flink is no URL such as http://127.0.0.1:8081: {why}");
    let url: Uri = base.parse().map_err(|_| wrong("it cannot be read"))?;
    if url.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(wrong(
            "user and password belong into --flink-user and --flink-password",
        ));
    }
    if url.query().is_some() || url.host().is_none_or(str::is_empty) {
        return Err(wrong("it needs a host, and ends with the path"));
    }
    match url.scheme_str() {
        Some("http") => Ok(false),
        Some("https") => Ok(true),
        _ => Err(wrong("it begins neither with http:// nor https://")),
    }
}

fn is_loopback(base: &str) -> bool {
    let url: Uri = base.parse().unwrap_or_default();
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn authorization(settings: &Settings) -> Result<Option<HeaderValue>, String> {
    let get = |name| settings.get(name);
    let text = match (get("flink-user"), get("flink-password"), get("flink-token")) {
        (None, None, None) => return Ok(None),
        (Some(user), Some(password), None) if !user.contains(':') => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        (Some(_), Some(_), None) => return Err("--flink-user has a colon".to_owned()),
        (None, None, Some(token)) => format!("Bearer {token}"),
        _ => {
            return Err(
                "either --flink-user with --flink-password, or --flink-token, or none".to_owned(),
            );
        }
    };
    let mut header = HeaderValue::from_str(&text)
        .map_err(|_| "--flink-token has a character that no header may have".to_owned())?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn tls(settings: &Settings) -> Result<TlsConfig, String> {
    let mut config = TlsConfig::builder();
    if let Some(file) = settings.get("flink-ca") {
        let certificates = certificates("flink-ca", file)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|why| format!("--flink-ca {file}: {why}"))?;
        }
        let certificates = certificates
            .iter()
            .map(|one| Certificate::from_der(one).to_owned());
        config = config.root_certs(RootCerts::from(certificates));
    }
    config = match (settings.get("flink-cert"), settings.get("flink-key")) {
        (None, None) => config,
        (Some(certificate), Some(key)) => config.client_cert(Some(client(certificate, key)?)),
        _ => return Err("--flink-cert and --flink-key go together".to_owned()),
    };
    Ok(config.build())
}

/// ureq would panic over a key that is another's.
fn client(certificate: &str, key: &str) -> Result<ClientCert, String> {
    let chain = certificates("flink-cert", certificate)?;
    let pem = read("flink-key", key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("--flink-key {key}: no private key in PEM, unencrypted"))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions();
    let config = config.map_err(|why| why.to_string())?;
    config
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), private)
        .map_err(|why| format!("--flink-cert {certificate} and --flink-key {key}: {why}"))?;
    let chain: Vec<_> = chain
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    let private = PrivateKey::from_pem(&pem);
    let private = private.map_err(|_| format!("--flink-key {key}: no private key in PEM"))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}

fn certificates(name: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(name, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("--{name} {file}: no certificates in PEM")),
    }
}

/// The content of a file that a setting names.
pub(crate) fn read(name: &str, file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|why| format!("--{name} {file}: {why}"))
}
