//! TLS: own CAs, client certificates, and errors that say what was trusted. Certificates are made here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

#[path = "../examples/receiver/mod.rs"]
mod receiver;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use edge_report::{Client, ClientBuilder, Code, Job, JobStatus, Outcome, Report, SendError};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use receiver::{Options, Receiver};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A CA of our own.
struct Ca {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

struct Leaf {
    pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With rcgen's one default name for all, OpenSSL takes a leaf for self-signed.
        // It finds a CA by name, too: no two may have the same.
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("own CA {number}"));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Ca {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// TLS in front of a receiver; with a CA for clients, they must show a certificate of it. Gives the URL.
fn tls(receiver: &Receiver, leaf: &Leaf, clients: Option<&Ca>) -> String {
    let target: SocketAddr = receiver
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der.clone().into()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = config
        .with_single_cert(vec![leaf.der.clone()], leaf.key.clone_key())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut client) = acceptor.accept(socket).await {
                        let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
    });
    format!("https://localhost:{port}")
}

fn receiver() -> Receiver {
    Receiver::start(Options::default()).unwrap()
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url, "project")
        .connect_timeout(Duration::from_secs(2))
        .read_timeout(Duration::from_secs(2))
}

fn send(builder: ClientBuilder) -> Result<Outcome, SendError> {
    let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201)];
    let mut client = builder.build().unwrap();
    let mut last = Err(SendError::NotSent {
        detail: String::new(),
    });
    for id in ["1", "2"] {
        last = client
            .send(&Report::new(id, &jobs))
            .map(|reply| reply.outcome);
    }
    last
}

/// The error must be about TLS and say what was trusted.
fn assert_untrusted(result: Result<Outcome, SendError>, reason: &str, trusted: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::Tls, "{error}");
    let text = error.to_string();
    if cfg!(feature = "client") {
        assert!(text.contains(reason), "{text}");
    }
    assert!(text.contains(trusted), "{text}");
}

#[test]
fn own_ca_as_pem_or_der() {
    let receiver = receiver();
    let (ca, other) = (Ca::new(), Ca::new());
    let url = tls(&receiver, &ca.leaf("localhost", |_| {}), None);
    assert_eq!(
        send(builder(&url).ca_certificate(ca.pem.as_bytes())),
        Ok(Outcome::Accepted)
    );
    assert_eq!(
        receiver.connections(),
        1,
        "TLS connections are kept as well"
    );
    assert_eq!(
        send(builder(&url).ca_certificate(&ca.der)),
        Ok(Outcome::Accepted)
    );
    let both = format!("{}{}", other.pem, ca.pem);
    assert_eq!(
        send(builder(&url).ca_certificate(both.as_bytes())),
        Ok(Outcome::Accepted)
    );

    let default_roots = if cfg!(feature = "client") {
        "the bundled Mozilla roots"
    } else {
        "the system's roots"
    };
    assert_untrusted(send(builder(&url)), "UnknownIssuer", default_roots);
    let own = "1 own CA certificate(s) and no others";
    assert_untrusted(send(builder(&url).ca_certificate(&other.der)), "", own);
}

#[test]
fn certificates_of_another_name_or_time() {
    let receiver = receiver();
    let ca = Ca::new();
    let named = ca.leaf("gateway.example", |_| {});
    let url = tls(&receiver, &named, None);
    let result = send(builder(&url).ca_certificate(&ca.der));
    assert_untrusted(result, "not valid for name", "1 own CA");

    let expired = ca.leaf("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let url = tls(&receiver, &expired, None);
    let result = send(builder(&url).ca_certificate(&ca.der));
    assert_untrusted(result, "expired", "1 own CA");
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn client_certificates() {
    let receiver = receiver();
    let (ca, other) = (Ca::new(), Ca::new());
    let url = tls(&receiver, &ca.leaf("localhost", |_| {}), Some(&ca));
    let with = |leaf: &Leaf| {
        builder(&url)
            .ca_certificate(&ca.der)
            .client_certificate(leaf.pem.as_bytes(), leaf.key_pem.as_bytes())
    };
    let (good, foreign) = (ca.leaf("node", |_| {}), other.leaf("node", |_| {}));
    assert_eq!(send(with(&good)), Ok(Outcome::Accepted));
    assert_eq!(receiver.accepted().len(), 2);
    let refused = |result: Result<Outcome, SendError>| {
        let error = result.unwrap_err();
        // Told by an alert, which may come after the report went out, or be lost with the connection.
        assert_ne!(error.code(), Code::NotSent, "{error}");
    };
    refused(send(with(&foreign)));
    refused(send(builder(&url).ca_certificate(&ca.der)));
    assert_eq!(receiver.accepted().len(), 2);
}

/// Errors when the client is made, where ureq would panic at the first connection.
#[test]
fn settings_that_cannot_work() {
    let ca = Ca::new();
    let (one, two) = (ca.leaf("one", |_| {}), ca.leaf("two", |_| {}));
    let build = |builder: ClientBuilder| builder.build().unwrap_err().code;
    let base = || Client::builder("https://gateway.example", "project");
    let pair = |chain: &str, key: &str| base().client_certificate(chain.as_bytes(), key.as_bytes());
    assert_eq!(build(pair("", &one.key_pem)), Code::ClientCertificate);
    assert_eq!(build(pair(&one.pem, "")), Code::ClientCertificate);
    assert_eq!(build(pair(&one.pem, "garbage")), Code::ClientCertificate);
    assert_eq!(
        build(pair(&one.key_pem, &one.key_pem)),
        Code::ClientCertificate
    );
    assert_eq!(
        build(base().ca_certificate(one.key_pem.as_bytes())),
        Code::CaCertificate
    );
    assert_eq!(
        build(base().ca_certificate(b"-----BEGIN CERTIFICATE-----\nx")),
        Code::CaCertificate
    );
    if cfg!(feature = "client") {
        assert_eq!(build(pair(&one.pem, &two.key_pem)), Code::ClientCertificate);
        assert_eq!(
            build(base().ca_certificate(b"garbage")),
            Code::CaCertificate
        );
        assert_eq!(build(base().ca_certificate(b"")), Code::CaCertificate);
    }
}

#[test]
fn a_server_without_tls() {
    let receiver = receiver();
    let url = receiver.url().replace("http://", "https://");
    let error = send(builder(&url)).unwrap_err();
    assert!(
        matches!(
            error,
            SendError::Misconfigured { .. } | SendError::NotSent { .. }
        ),
        "{error}"
    );
    assert_eq!(receiver.accepted().len(), 0);
}

#[test]
fn a_handshake_that_never_ends_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201)];
    let builder = builder(&url).connect_timeout(Duration::from_millis(300));
    let mut client = builder.build().unwrap();
    let begin = Instant::now();
    let error = client.send(&Report::new("1", &jobs)).unwrap_err();
    assert_eq!(error.code(), Code::NotSent, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}
