//! TLS: own CAs, client certificates, and errors that say what was trusted. Certificates are made here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod alone;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "client")]
use edge_report::WallTime;
use edge_report::{
    Client, ClientBuilder, Code, Job, JobStatus, NotSentKind, Outcome, Report, SendError,
    TlsSettings,
};
use edge_report_receiver::{Options, Receiver};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

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

/// The system's may be before 1970, over which rustls panics.
#[derive(Debug)]
struct SomeTime;

impl TimeProvider for SomeTime {
    fn current_time(&self) -> Option<UnixTime> {
        let time = Duration::from_secs(1_800_000_000);
        Some(UnixTime::since_unix_epoch(time))
    }
}

/// With a CA for clients, they must show a certificate of it.
fn server_config(leaf: &Leaf, clients: Option<&Ca>) -> Arc<ServerConfig> {
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
    let config = config.with_single_cert(vec![leaf.der.clone()], leaf.key.clone_key());
    let mut config = config.unwrap();
    config.time_provider = Arc::new(SomeTime);
    Arc::new(config)
}

/// TLS in front of a receiver; with a CA for clients, they must show a certificate of it. Gives the URL.
fn tls(receiver: &Receiver, leaf: &Leaf, clients: Option<&Ca>) -> String {
    let target: SocketAddr = receiver
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(server_config(leaf, clients));
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
                socket.set_nodelay(true).unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut client) = acceptor.accept(socket).await {
                        let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
                        server.set_nodelay(true).unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
    });
    format!("https://localhost:{port}")
}

fn receiver() -> Receiver {
    Receiver::start(Options::new()).unwrap()
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url, "project")
        .connect_timeout(Duration::from_secs(2))
        .send_timeout(Duration::from_secs(2))
        .response_timeout(Duration::from_secs(2))
}

fn send(builder: ClientBuilder) -> Result<Outcome, SendError> {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let mut client = builder.build().unwrap();
    let mut last = Err(SendError::NotSent {
        kind: NotSentKind::Cancelled,
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

/// One that wants a certificate where there is none says so by an alert, which is not lost where it reads on.
#[cfg(feature = "client")]
#[test]
fn a_certificate_that_is_missing_is_a_setting() {
    let ca = Ca::new();
    let config = server_config(&ca.leaf("localhost", |_| {}), Some(&ca));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("https://localhost:{port}");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut server = ServerConnection::new(config.clone()).unwrap();
            assert!(server.complete_io(&mut stream).is_err());
            let _ = server.write_tls(&mut stream);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let error = send(builder(&url).ca_certificate(&ca.der)).unwrap_err();
    assert_eq!(error.code(), Code::Tls, "{error}");
}

/// Names in a certificate that are terminal commands, or look like lines of a log.
#[cfg(feature = "client")]
#[test]
fn what_a_certificate_says_stays_on_its_line() {
    let ca = Ca::new();
    let leaf = ca.leaf("evil\nINFO all is well\u{1b}[2J", |_| {});
    let url = tls(&receiver(), &leaf, None);
    let error = send(builder(&url).ca_certificate(&ca.der)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("INFO all is well"), "{text:?}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
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
    assert_eq!(build(pair(&one.pem, &two.key_pem)), Code::ClientCertificate);
    assert_eq!(
        build(base().ca_certificate(b"garbage")),
        Code::CaCertificate
    );
    assert_eq!(build(base().ca_certificate(b"")), Code::CaCertificate);
}

#[test]
fn a_server_without_tls() {
    let receiver = receiver();
    let url = receiver.url().replace("http://", "https://");
    let error = send(builder(&url)).unwrap_err();
    let is_right = error.code() != Code::Tls
        || error
            .to_string()
            .ends_with(": the server does not speak TLS");
    assert!(is_right, "{error}");
    // At once, and to the letter, where it answers what is no request with a line of HTTP.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = send(builder(&url)).unwrap_err();
    assert_eq!(error.code(), Code::Tls);
    assert!(
        error
            .to_string()
            .ends_with(": the server does not speak TLS"),
        "{error}"
    );
    assert_eq!(receiver.accepted().len(), 0);
}

#[test]
fn a_handshake_that_never_ends_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let builder = builder(&url).tls_timeout(Duration::from_millis(300));
    let mut client = builder.build().unwrap();
    let begin = Instant::now();
    let error = client.send(&Report::new("1", &jobs)).unwrap_err();
    assert_eq!(error.code(), Code::NotSent, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// A name service leads to somebody else first, who has no certificate for the name, or no TLS: the next address has its turn at once. Where
/// none has one, that is said.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_address_that_is_not_trusted_leaves_the_others() {
    let place = tempfile::tempdir().unwrap();
    let is_alone = alone::is_alone(
        "an_address_that_is_not_trusted_leaves_the_others",
        |process| {
            process.env("LD_PRELOAD", shim::shim("names", place.path()));
            process.env("SHIM_NAMES", place.path().join("says"));
        },
    );
    if !is_alone {
        return;
    }
    let lead_to = |addresses: &str| {
        shim::tell(std::env::var_os("SHIM_NAMES").unwrap().as_ref(), addresses);
    };
    let (ca, other) = (Ca::new(), Ca::new());
    let accepted = vec![answer(r#"{"is_success":true}"#, 0)];
    let (url, told) = raw_tls(&ca.leaf("gateway", |_| ()), accepted, Duration::ZERO);
    let port = url.rsplit_once(':').unwrap().1;
    let at = |ip: &str| TcpListener::bind(format!("{ip}:{port}")).unwrap();
    let leaf = other.leaf("gateway", |_| ());
    let (_, untrusted) = raw_tls_at(at("127.0.0.2"), &leaf, vec![], Duration::ZERO);
    let plain = at("127.0.0.3");
    thread::spawn(move || plain.incoming().for_each(drop));
    let url = format!("https://gateway:{port}");
    let send = |client: &mut Client| client.send_encoded(b"{}").map(|reply| reply.outcome);
    for (addresses, is_served) in [
        ("127.0.0.2,127.0.0.1", true),
        ("127.0.0.3,127.0.0.1", true),
        ("127.0.0.3,127.0.0.2,127.0.0.1", true),
        // Nobody is at the last.
        ("127.0.0.2,127.0.0.4", false),
        ("127.0.0.2,127.0.0.3", false),
    ] {
        lead_to(addresses);
        let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
        let result = send(&mut client);
        match is_served {
            true => assert_eq!(result, Ok(Outcome::Accepted), "{addresses}"),
            false => assert_eq!(result.unwrap_err().code(), Code::Tls, "{addresses}"),
        }
    }
    assert_eq!(told.try_iter().count(), 3);
    assert_eq!(untrusted.try_iter().count(), 0);
    // Cancelled while it is at the next, it was cancelled.
    let silent = at("127.0.0.5");
    lead_to("127.0.0.2,127.0.0.5");
    let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
    let waker = client.waker();
    thread::spawn(move || {
        let taken = silent.accept();
        thread::sleep(Duration::from_millis(50));
        waker.cancel();
        thread::sleep(Duration::from_secs(5));
        drop(taken);
    });
    let error = send(&mut client).unwrap_err();
    assert_eq!(error.to_string(), "not sent: cancelled");
    // Nobody is there: where that is stands in the error.
    lead_to("127.0.0.4");
    let error = send(&mut client).unwrap_err();
    let says = format!(
        "not sent: no connection to gateway:{port} (127.0.0.4): Connection refused (os error 111)"
    );
    assert_eq!(error.to_string(), says);
}

/// The name service leads to somebody else, who has no certificate for the name, just as the address that served fails: that one may serve again at
/// any time, so it stops nothing. Where that one stays away, it is said at last.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_wrong_certificate_beside_an_address_that_served_stops_nothing() {
    const THIS: &str = "a_wrong_certificate_beside_an_address_that_served_stops_nothing";
    let place = tempfile::tempdir().unwrap();
    let is_alone = alone::is_alone(THIS, |process| {
        process.env("LD_PRELOAD", shim::shim("names", place.path()));
        process.env("SHIM_NAMES", place.path().join("says"));
    });
    if !is_alone {
        return;
    }
    let lead_to = |addresses: &str| {
        shim::tell(std::env::var_os("SHIM_NAMES").unwrap().as_ref(), addresses);
    };
    let (ca, other) = (Ca::new(), Ca::new());
    let accepted = vec![answer(r#"{"is_success":true}"#, 0)];
    let (url, _told) = raw_tls(&ca.leaf("gateway", |_| ()), accepted, Duration::ZERO);
    let server = url.replace("https://localhost", "127.0.0.1");
    let port = url.rsplit_once(':').unwrap().1;
    let at = |ip: &str| TcpListener::bind(format!("{ip}:{port}")).unwrap();
    let leaf = other.leaf("gateway", |_| ());
    let (_, untrusted) = raw_tls_at(at("127.0.0.2"), &leaf, vec![], Duration::ZERO);
    let (is_away, gate) = (Arc::new(AtomicBool::new(false)), at("127.0.0.3"));
    let (away, is_wrong) = (is_away.clone(), Arc::new(AtomicBool::new(false)));
    let (wrong, is_another) = (format!("127.0.0.2:{port}"), is_wrong.clone());
    thread::spawn(move || {
        for client in gate.incoming().flatten() {
            if away.load(Ordering::Relaxed) {
                continue;
            }
            let server = match is_another.load(Ordering::Relaxed) {
                true => &wrong,
                false => &server,
            };
            let server = std::net::TcpStream::connect(server).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    let fresh = || {
        let builder = builder(&format!("https://gateway:{port}")).ca_certificate(&ca.der);
        builder.max_idle(Duration::ZERO).build().unwrap()
    };
    let mut client = fresh();
    let mut send = || client.send_encoded(b"{}").map(|reply| reply.outcome);
    lead_to("127.0.0.3");
    assert_eq!(send(), Ok(Outcome::Accepted));
    lead_to("127.0.0.2");
    // At the first of these the name has not been asked again.
    for not_sent in [4, 3] {
        is_away.store(true, Ordering::Relaxed);
        let mut last = String::new();
        for _ in 0..not_sent {
            let error = send().unwrap_err();
            assert_eq!(error.code(), Code::NotSent, "{error}");
            last = error.to_string();
        }
        // Of both: one of them is to be fixed.
        for part in ["no TLS with gateway", "(127.0.0.2); where it was: "] {
            assert!(last.contains(part), "{last}");
        }
        let error = send().unwrap_err();
        assert_eq!(error.code(), Code::Tls, "{error}");
        is_away.store(false, Ordering::Relaxed);
        assert_eq!(send(), Ok(Outcome::Accepted));
    }
    // The certificate of the known address is a reason of its own.
    let mut client = fresh();
    let mut send = || client.send_encoded(b"{}").map(|reply| reply.outcome);
    lead_to("127.0.0.3");
    assert_eq!(send(), Ok(Outcome::Accepted));
    is_wrong.store(true, Ordering::Relaxed);
    for leads in ["127.0.0.3", "127.0.0.2"] {
        assert_eq!(send().unwrap_err().code(), Code::Tls, "{leads}");
        lead_to("127.0.0.2");
    }
    assert_eq!(untrusted.try_iter().count(), 0);
}

/// How a record of data begins.
const RECORD: u8 = 23;

/// A server that writes on each connection what `answers` says, after the first request: parts, with gaps between them. Parts of records
/// go out as they are. Then it reads what comes, and counts the requests.
fn raw_tls(leaf: &Leaf, answers: Vec<Vec<u8>>, gap: Duration) -> (String, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    raw_tls_at(listener, leaf, answers, gap)
}

fn raw_tls_at(
    listener: TcpListener,
    leaf: &Leaf,
    answers: Vec<Vec<u8>>,
    gap: Duration,
) -> (String, mpsc::Receiver<usize>) {
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let config = server_config(leaf, None);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let (config, answers, tell) = (config.clone(), answers.clone(), tell.clone());
            thread::spawn(move || {
                let mut socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                let mut connection = ServerConnection::new(config).unwrap();
                let mut stream = Stream::new(&mut connection, &mut socket);
                let mut all = Vec::new();
                let mut part = [0; 4096];
                let mut answered = false;
                while let Ok(n @ 1..) = stream.read(&mut part) {
                    all.extend_from_slice(&part[..n]);
                    if all.ends_with(b"}") {
                        all.clear();
                        for answer in answers.iter().filter(|_| !answered) {
                            let _ = match answer.first() {
                                Some(&RECORD) => stream.sock.write_all(answer),
                                _ => stream.write_all(answer).and_then(|()| stream.flush()),
                            };
                            thread::sleep(gap);
                        }
                        answered = true;
                        tell.send(number).unwrap();
                    }
                }
            });
        }
    });
    (url, told)
}

/// An answer with this body, padded to a length with its head.
fn answer(body: &str, whole: usize) -> Vec<u8> {
    let padded = (0..).find_map(|pad| {
        let len = body.len() + pad;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
        (head.len() + len >= whole).then(|| head + body + &" ".repeat(pad))
    });
    padded.unwrap().into_bytes()
}

/// A second answer, which nobody asked for, is never the answer to the next report: at each alignment of buffers and records, whole
/// or in part, at once or after the first.
#[test]
fn leftovers_are_no_answer() {
    let ca = Ca::new();
    let leaf = ca.leaf("localhost", |_| {});
    let accepted = r#"{"is_success":true}"#;
    let second = answer(r#"{"error_code":"DLI.0001"}"#, 0);
    let second = String::from_utf8(second)
        .unwrap()
        .replace("200", "400")
        .into_bytes();
    let sizes = [16_384, 0, 4096, 32_768, 49_152, 65_536];
    // The system's TLS reads its roots anew for each client.
    let sizes = &sizes[..if cfg!(feature = "client") { 6 } else { 1 }];
    // With `tests/run --long` at some more.
    let reach = match std::env::var_os("EDGE_REPORT_LONG") {
        Some(_) => 40,
        None => 3,
    };
    let around =
        |size: usize| (size.saturating_sub(reach)..=size + reach).chain([size + 10, size + 22]);
    for whole in sizes.iter().copied().flat_map(around) {
        let first = answer(accepted, whole);
        for (number, (parts, gap)) in [
            (vec![[&first[..], &second].concat()], 0),
            (vec![first.clone(), second.clone()], 0),
            (vec![first.clone(), second.clone()], 10),
            (vec![first.clone(), second[..20].to_vec()], 0),
            (vec![first.clone(), vec![RECORD, 3, 3]], 0),
            (vec![first.clone(), vec![RECORD, 3, 3, 0, 40, 1]], 0),
            (vec![first.clone(), vec![RECORD, 3, 3, 0, 1, 0]], 0),
        ]
        .into_iter()
        .enumerate()
        {
            let (url, told) = raw_tls(&leaf, parts, Duration::from_millis(gap));
            let mut client = builder(&url)
                .ca_certificate(&ca.der)
                .response_timeout(Duration::from_secs(5))
                .build()
                .unwrap();
            let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
            let mut connections = Vec::new();
            for id in ["1", "2"] {
                let reply = client.send(&Report::new(id, &jobs));
                let outcome = reply.map(|reply| reply.outcome);
                assert_eq!(outcome, Ok(Outcome::Accepted), "{id} {whole} {number}");
                // All is on its way, that is, here.
                connections.push(told.recv().unwrap());
            }
            assert_eq!(connections, [0, 1], "{whole} {number}");
        }
    }
}

/// A large report to a server that refuses it early: the answer is read from under TLS, too.
#[test]
#[cfg(feature = "client")]
fn an_early_413_over_tls() {
    let ca = Ca::new();
    let config = server_config(&ca.leaf("localhost", |_| {}), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            // Else a reset may overtake the answer.
            socket.set_nodelay(true).unwrap();
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = Stream::new(&mut connection, &mut socket);
            let _ = stream.read(&mut [0; 1024]);
            let body = r#"{"error_code":"DLI.0001"}"#;
            let _ = write!(stream, "HTTP/1.1 413 x\r\ncontent-length: 25\r\n\r\n{body}");
            let _ = stream.flush();
        }
    });
    for _ in 0..5 {
        let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
        let large = vec![b' '; 8 * 1024 * 1024];
        let reply = client.send_encoded(&large).unwrap();
        assert_eq!((reply.status, reply.outcome), (413, Outcome::Refused));
    }
}

/// A new connection of the same client needs no certificates, and no signature: that halves its bytes (docs/measurements/bytes.md).
#[test]
#[cfg(feature = "client")]
fn a_second_handshake_is_a_resumed_one() {
    use tokio_rustls::rustls::HandshakeKind;
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = server_config(&ca.leaf("localhost", |_| {}), None);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = Stream::new(&mut connection, &mut socket);
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&answer(r#"{"is_success":true}"#, 0));
            tell.send(connection.handshake_kind().unwrap()).unwrap();
        }
    });
    let mut client = builder(&format!("https://localhost:{port}"))
        .ca_certificate(&ca.der)
        .max_idle(Duration::ZERO)
        .build()
        .unwrap();
    for kind in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        assert!(client.send_encoded(b"{}").is_ok());
        assert_eq!(told.recv().unwrap(), kind);
    }
}

/// A thousand new certificates, each needed from the next report on: no report fails, and the old one is not shown again.
#[test]
fn certificates_are_replaced_between_two_reports() {
    let receiver = receiver();
    let (ca, other) = (Ca::new(), Ca::new());
    let url = tls(&receiver, &ca.leaf("localhost", |_| {}), Some(&ca));
    let tls_of = |leaf: &Leaf| {
        TlsSettings::new()
            .ca_certificate(&ca.der)
            .client_certificate(leaf.pem.as_bytes(), leaf.key_pem.as_bytes())
    };
    let leaves: Vec<_> = (0..8)
        .map(|n| ca.leaf(&format!("node{n}"), |_| {}))
        .collect();
    let mut client = builder(&url).tls(tls_of(&leaves[0])).build().unwrap();
    let rotations = if cfg!(feature = "client") { 1000 } else { 100 };
    for n in 0..rotations {
        // The roots as well: every other time there is one more.
        let tls = match n % 2 {
            0 => tls_of(&leaves[n % 8]),
            _ => tls_of(&leaves[n % 8]).ca_certificate(&other.der),
        };
        client.set_tls(&tls).unwrap();
        for part in ["a", "b"] {
            let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
            let id = format!("{n}{part}");
            let reply = client.send(&Report::new(&id, &jobs)).unwrap();
            assert_eq!(reply.outcome, Outcome::Accepted);
        }
    }
    assert_eq!(receiver.accepted().len(), 2 * rotations);
    // Each pair went over a connection of its own.
    assert_eq!(receiver.connections(), rotations as u64);

    // Settings that cannot work change nothing.
    let wrong = TlsSettings::new().client_certificate(b"x", b"y");
    assert_eq!(
        client.set_tls(&wrong).unwrap_err().code,
        Code::ClientCertificate
    );
    let reply = client.send_encoded(b"{}");
    assert!(reply.is_ok(), "{reply:?}");
    client
        .set_tls(&tls_of(&leaves[0]).ca_certificate(&other.der))
        .unwrap();
    assert!(client.send_encoded(b"{}").is_ok());
    let others = TlsSettings::new()
        .ca_certificate(&other.der)
        .ca_certificate(&Ca::new().der)
        .ca_certificate(&Ca::new().der);
    client.set_tls(&others).unwrap();
    let error = client.send_encoded(b"{}").unwrap_err();
    assert_eq!(error.code(), Code::Tls);
    // What is trusted now, and not what was.
    let says = "trusted are 3 own CA certificate(s)";
    assert!(error.to_string().contains(says), "{error}");
}

/// A server may ask for new keys at any time: its answer comes under its own, and the next report goes out under the client's.
#[test]
#[cfg(feature = "client")]
fn new_keys_in_front_of_an_answer() {
    let ca = Ca::new();
    let config = server_config(&ca.leaf("localhost", |_| {}), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        let mut part = [0; 4096];
        let mut all = Vec::new();
        loop {
            let mut stream = Stream::new(&mut connection, &mut socket);
            let Ok(n @ 1..) = stream.read(&mut part) else {
                return;
            };
            all.extend_from_slice(&part[..n]);
            if all.ends_with(b"}") {
                all.clear();
                tell.send(()).unwrap();
                connection.refresh_traffic_keys().unwrap();
                let mut stream = Stream::new(&mut connection, &mut socket);
                stream
                    .write_all(&answer(r#"{"is_success":true}"#, 0))
                    .unwrap();
                stream.flush().unwrap();
            }
        }
    });
    let mut client = builder(&format!("https://localhost:{port}"))
        .ca_certificate(&ca.der)
        .build()
        .unwrap();
    for _ in 0..3 {
        let reply = client.send_encoded(b"{}").unwrap();
        assert_eq!(reply.outcome, Outcome::Accepted);
    }
    // On one connection.
    assert_eq!(told.try_iter().count(), 3);
}

/// The same from files that change, in the middle of a delivery that never runs dry: no attempt fails, and nothing is sent twice.
#[test]
#[cfg(feature = "client")]
fn certificates_are_replaced_under_load() {
    use edge_report::courier::{Courier, Policy, RamOutbox};
    use edge_report::{FairMutex, MonoTime};
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    // With `tests/run --long` all of them.
    let rotations = match std::env::var_os("EDGE_REPORT_LONG") {
        Some(_) => 1000,
        None => 200,
    };
    let receiver = receiver();
    let (ca, other) = (Ca::new(), Ca::new());
    let url = tls(&receiver, &ca.leaf("localhost", |_| {}), Some(&ca));
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    let leaves: Vec<_> = (0..8).map(|_| ca.leaf("node", |_| {})).collect();
    let rotate = |n: usize| {
        let roots = [&*ca.pem, &other.pem][..=n % 2].concat();
        fs::write(file("roots"), roots).unwrap();
        fs::write(file("chain"), &leaves[n % 8].pem).unwrap();
        fs::write(file("key"), &leaves[n % 8].key_pem).unwrap();
        let read = |name| fs::read(file(name)).unwrap();
        TlsSettings::new()
            .ca_certificate(&read("roots"))
            .client_certificate(&read("chain"), &read("key"))
    };
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let outbox = RamOutbox::new(vec![0; 1 << 16], 1 << 16);
    let courier = Courier::new(outbox, Vec::new(), policy, MonoTime::now(), 0);
    let courier = FairMutex::new(courier);
    let mut client = builder(&url).tls(rotate(0)).build().unwrap();
    let (waker, is_over) = (client.waker(), AtomicBool::new(false));
    let status = || courier.lock().status();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                while status().waiting > 20 && !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                let id = format!("{number}");
                let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
                let report = Report::new(&id, &jobs);
                let now = MonoTime::now();
                courier.lock().submit(&report, now, None).unwrap();
                waker.wake();
            }
        });
        for n in 1..=rotations {
            client.set_tls(&rotate(n)).unwrap();
            let before = status().counters.delivered;
            while status().counters.delivered == before && status().last_failure.is_none() {
                let until = Instant::now() + Duration::from_millis(2);
                let _ = client.deliver(&courier, until, |_| ()).unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let until = Instant::now() + Duration::from_secs(60);
    let _ = client.deliver(&courier, until, |_| ()).unwrap();
    let status = status();
    assert_eq!((status.waiting, status.last_failure), (0, None));
    let submitted = status.counters.submitted;
    assert_eq!(receiver.accepted().len() as u64, submitted);
    assert_eq!(receiver.requests(), submitted, "no attempt in vain");
    // Each was in use.
    assert!(receiver.connections() >= rotations as u64);
}

/// A self-signed certificate of X.509 version 1, as old tools make them, with its key.
#[cfg(feature = "client")]
const VERSION_1: (&str, &str) = (
    "-----BEGIN CERTIFICATE-----\n\
     MIIBGTCBwQIUDNuTyiF6xTR1oFGLKv+ZmQHTOfYwCgYIKoZIzj0EAwIwDzENMAsG\n\
     A1UEAwwEbm9kZTAgFw0yNjExMjcxMzA1MzFaGA8yMTI2MTEwMzEzMDUzMVowDzEN\n\
     MAsGA1UEAwwEbm9kZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKpNvTHAY/Li\n\
     ajqSDjuf38XuymxJ6EPgkSowx1GOSg3BPUG+fB8ySJyft0foD4OOi5K3uXMMw9iZ\n\
     pcpsUPfKKl0wCgYIKoZIzj0EAwIDRwAwRAIgTMe12lT1tmFjBenVzmrFR1QngNNt\n\
     I8Z05wd493UXpf8CIGZYsrqIbDHPeKZjaEH0q2rZ5q3uCkYWTbQLkVSgGbF3\n\
     -----END CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----\n\
     MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq5/XOoeR3MiRR7Vg\n\
     rhndLolP8xglbHE01Xi3VlJavmShRANCAASqTb0xwGPy4mo6kg47n9/F7spsSehD\n\
     4JEqMMdRjkoNwT1BvnwfMkicn7dH6A+DjouSt7lzDMPYmaXKbFD3yipd\n\
     -----END PRIVATE KEY-----",
);

/// What the text says must be what is wrong with the file.
#[test]
#[cfg(feature = "client")]
fn errors_name_what_is_wrong_with_a_file() {
    let ca = Ca::new();
    let (one, two) = (ca.leaf("one", |_| {}), ca.leaf("two", |_| {}));
    let base = || Client::builder("https://gateway.example", "project");
    let ca_error = |bytes: &[u8]| base().ca_certificate(bytes).build().unwrap_err();
    let pair = |chain: &str, key: &str| {
        let built = base().client_certificate(chain.as_bytes(), key.as_bytes());
        built.build().unwrap_err()
    };
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    for (error, says) in [
        (
            ca_error(b"/etc/ssl/certs/own.pem"),
            "the file's content is wanted, not its name",
        ),
        (ca_error(b""), "the file's content is wanted, not its name"),
        (
            ca_error(b"\x30\x03\x02\x01\x00"),
            "not a CA certificate: it is no X.509 certificate of version 3",
        ),
        (
            ca_error(one.key_pem.as_bytes()),
            "the PEM text has no CERTIFICATE in it",
        ),
        (
            ca_error(b"-----BEGIN CERTIFICATE-----\nx"),
            "broken PEM text",
        ),
        (
            pair(&one.pem, "/etc/node.key"),
            "the file's content is wanted, not its name",
        ),
        (
            pair("/etc/node.pem", &one.key_pem),
            "the file's content is wanted, not its name",
        ),
        (
            pair(&one.pem, &one.pem),
            "the PEM text of the key has no PRIVATE KEY in it",
        ),
        (pair(&one.pem, encrypted), "the private key is encrypted"),
        (pair(&one.pem, legacy), "the private key is encrypted"),
        (
            pair(&one.pem, &two.key_pem),
            "the private key does not belong to the certificate",
        ),
        (pair(VERSION_1.0, VERSION_1.1), "X.509 version 1"),
    ] {
        assert!(error.to_string().contains(says), "{error}: {says}");
        assert!(!error.to_string().contains("peer"), "{error}");
    }
}

/// Certificates that are valid at another time than this: the known time decides, and is never before this release.
#[test]
#[cfg(feature = "client")]
fn certificates_are_verified_at_the_known_time() {
    const DAY: i64 = 86_400_000;
    let receiver = receiver();
    let ca = Ca::new();
    let url = |from: i32, to: i32| {
        let leaf = ca.leaf("localhost", |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        tls(&receiver, &leaf, None)
    };
    let year = |year: i64| WallTime::from_unix_ms((year - 1970) * 365 * DAY + 20 * DAY);
    let with = |url: &str, time: Option<WallTime>| {
        let builder = builder(url).ca_certificate(&ca.der);
        send(match time {
            Some(time) => builder.known_time(time),
            None => builder,
        })
    };
    let (now, later, before) = (url(2020, 2090), url(2091, 2095), url(2000, 2002));
    let accepted = Ok(Outcome::Accepted);
    assert_eq!(with(&now, None), accepted);
    assert_untrusted(
        with(&later, None),
        "not valid before 2091-01-01 00:00:00",
        "1 own",
    );
    assert_eq!(with(&later, Some(year(2093))), accepted);
    // A known time that lies behind changes nothing.
    assert_eq!(with(&now, Some(year(1971))), accepted);
    assert_untrusted(
        with(&before, Some(year(2001))),
        "expired at 2002-01-01 00:00:00",
        "1 own",
    );
    // One that is wrong stops nobody whose clock is right.
    assert_eq!(with(&now, Some(year(2099))), accepted);
    assert_eq!(with(&now, Some(WallTime::from_unix_ms(i64::MAX))), accepted);
    // Between the system's clock and what is known may be the truth.
    assert_eq!(with(&later, Some(year(2099))), accepted);

    let mut client = builder(&later).ca_certificate(&ca.der).build().unwrap();
    assert_eq!(client.send_encoded(b"{}").unwrap_err().code(), Code::Tls);
    client.set_known_time(year(2092));
    assert!(client.send_encoded(b"{}").is_ok());
}

/// What a spool knows of the time serves the next start, and what is accepted over TLS is noted in it.
#[test]
#[cfg(feature = "client")]
fn the_spool_remembers_what_time_it_was() {
    use edge_report::courier::{Courier, Outbox, Policy};
    use edge_report::{MonoTime, Pause, Spool, SpoolOptions};

    let receiver = receiver();
    let ca = Ca::new();
    let (from, to) = (
        rcgen::date_time_ymd(2091, 1, 1),
        rcgen::date_time_ymd(2095, 1, 1),
    );
    let later = ca.leaf("localhost", |params| {
        (params.not_before, params.not_after) = (from, to);
    });
    let later = tls(&receiver, &later, None);
    let now = tls(&receiver, &ca.leaf("localhost", |_| {}), None);
    let place = tempfile::tempdir().unwrap();
    let deliver = |url: &str, known: Option<WallTime>| {
        let mut spool = Spool::open(place.path().join("spool"), SpoolOptions::default()).unwrap();
        if let Some(time) = known {
            spool.note_trusted_time(time);
        }
        let policy = Policy::default().with_start_spread(Duration::ZERO);
        let mut courier = Courier::new(spool, Vec::new(), policy, MonoTime::now(), 0);
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
        courier
            .submit(&Report::new("1", &jobs), MonoTime::now(), None)
            .unwrap();
        let mut client = builder(url).ca_certificate(&ca.der).build().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        let pause = client.deliver(&mut courier, until, |_| ()).unwrap();
        courier.close().unwrap();
        (pause, courier.trusted_time())
    };
    let before = WallTime::now();
    let (pause, time) = deliver(&receiver.url(), None);
    assert_eq!(
        (pause, time),
        (Pause::Idle, None),
        "over plain HTTP nothing is sure"
    );
    let refused = b"HTTP/1.1 400 x\r\ndate: Mon, 30 Nov 2026 10:00:00 GMT\r\ncontent-length: 25\r\n\r\n{\"error_code\":\"DLI.0001\"}";
    let leaf = ca.leaf("localhost", |_| {});
    let (refuses, _told) = raw_tls(&leaf, vec![refused.to_vec()], Duration::ZERO);
    let (pause, time) = deliver(&refuses, None);
    assert_eq!(
        (pause, time),
        (Pause::Idle, None),
        "who does not accept may not be the service"
    );
    let (pause, time) = deliver(&now, None);
    assert_eq!(pause, Pause::Idle);
    let second = WallTime::from_unix_ms(before.unix_ms() - 1000);
    assert!(time.is_some_and(|time| time >= second && time <= WallTime::now()));
    // After a restart; too early for this certificate.
    let (pause, again) = deliver(&later, None);
    assert_eq!((pause, again), (Pause::TimeUp, time));
    let year_2092 = WallTime::from_unix_ms(3_850_000_000_000);
    let (pause, time) = deliver(&later, Some(year_2092));
    assert_eq!((pause, time), (Pause::Idle, Some(year_2092)));
}

/// In a process of its own whose clock is wrong.
#[test]
#[cfg(all(feature = "client", target_os = "linux"))]
fn a_node_with_a_wrong_clock() {
    use std::process::Command;
    const SELF: &str = "a_node_with_a_wrong_clock";
    if std::env::var_os("SHIM_CLOCK").is_some() {
        return deliver_with_this_clock();
    }
    let place = tempfile::tempdir().unwrap();
    let library = shim::shim("clock", place.path());
    // With certificates that expired before this release, that are valid from 2021 to 2090, and from 2091 to 2095.
    let early = "expired at 2022-01-01 00:00:00";
    let late = "not valid before 2091-01-01 00:00:00";
    for (clock, then, now, later) in [
        // 1970, 1900, 2020: before this release, which is what counts.
        ("30", early, "accepted", late),
        ("-2208988800", early, "accepted", late),
        ("1580000000", early, "accepted", late),
        // 2030, 2093, 2099, 9999.
        ("1900000000", early, "accepted", late),
        ("3900000000", early, "expired at 2090-", "accepted"),
        ("4080000000", early, "verified at 2099-", "expired at 2095-"),
        (
            "253402200000",
            early,
            "verified at 9999-",
            "expired at 2095-",
        ),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", SELF, "--nocapture", "--test-threads=1"]);
        child.env("LD_PRELOAD", &library).env("SHIM_CLOCK", clock);
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        for (name, says) in [("then", then), ("now", now), ("later", later)] {
            let line = text
                .lines()
                .find(|line| line.contains(&format!("{name}: ")));
            let is_right = line.is_some_and(|line| line.contains(says));
            assert!(is_right, "{clock}, {name}: {says}: {output:?}");
        }
    }
}

#[cfg(all(feature = "client", target_os = "linux"))]
fn deliver_with_this_clock() {
    use edge_report::courier::Event;

    let ca = Ca::new();
    // The receiver cannot say what time it is before 1970.
    let send = |from: i32, until: i32| {
        let leaf = ca.leaf("localhost", |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        });
        let accepted = answer(r#"{"is_success":true}"#, 0);
        let (url, _told) = raw_tls(&leaf, vec![accepted], Duration::ZERO);
        let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
        match client.send_encoded(b"{}") {
            Ok(reply) if reply.outcome == Outcome::Accepted => "accepted".to_string(),
            Ok(reply) => reply.to_string(),
            // What a courier keeps of it, which is not long.
            Err(error) => Event::from(&error).reason.text().to_string(),
        }
    };
    let is_unset = WallTime::now() < WallTime::from_unix_ms(1_790_000_000_000);
    for (name, from, until) in [
        ("then", 2021, 2022),
        ("now", 2021, 2090),
        ("later", 2091, 2095),
    ] {
        let says = send(from, until);
        // What the clock has to do with it is said where it has.
        let has_advice = says.contains("; set the clock (") && says.contains(')');
        assert_eq!(has_advice, is_unset && says != "accepted", "{says}");
        println!("{name}: {says}");
    }
}

/// A proxy that answers CONNECT, and passes bytes on.
fn proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap();
            let server = TcpStream::connect(target).unwrap();
            write!(client, "HTTP/1.1 200 OK\r\n\r\n").unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                to.set_nodelay(true).unwrap();
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    url
}

#[test]
fn through_a_proxy() {
    let receiver = receiver();
    let ca = Ca::new();
    let url = tls(&receiver, &ca.leaf("localhost", |_| {}), None);
    let through = || builder(&url).proxy(&proxy());
    let result = send(through().ca_certificate(&ca.der));
    assert_eq!(result, Ok(Outcome::Accepted));
    assert_eq!(receiver.connections(), 1);
    assert_untrusted(send(through()), "UnknownIssuer", "roots");
    // The name that counts is the server's.
    let other = tls(&receiver, &ca.leaf("127.0.0.1", |_| {}), None);
    let wrong = builder(&other).proxy(&proxy()).ca_certificate(&ca.der);
    assert_untrusted(send(wrong), "not valid for name", "1 own CA");
}

/// Neither a service that says a wrong time, nor a spool that noted one, stops a node without a clock; nor does it undo what the user
/// knows, or let in what had expired.
#[test]
#[cfg(all(feature = "client", target_os = "linux"))]
fn a_wrong_date_stops_no_node() {
    const SELF: &str = "a_wrong_date_stops_no_node";
    if std::env::var_os("SHIM_CLOCK").is_some() {
        return deliver_after_a_wrong_date();
    }
    let place = tempfile::tempdir().unwrap();
    let library = shim::shim("clock", place.path());
    for clock in ["30", "1800000000"] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", SELF, "--nocapture", "--test-threads=1"]);
        child.env("LD_PRELOAD", &library).env("SHIM_CLOCK", clock);
        let output = child.output().unwrap();
        assert!(output.status.success(), "{clock}: {output:?}");
    }
}

#[cfg(all(feature = "client", target_os = "linux"))]
fn deliver_after_a_wrong_date() {
    use edge_report::courier::{Courier, Outbox, Policy};
    use edge_report::{MonoTime, Pause, Spool, SpoolOptions};

    const YEAR_2028: WallTime = WallTime::from_unix_ms(1_830_000_000_000);
    const YEAR_2092: WallTime = WallTime::from_unix_ms(3_850_000_000_000);
    const YEAR_2099: WallTime = WallTime::from_unix_ms(4_080_000_000_000);
    let ca = Ca::new();
    let place = tempfile::tempdir().unwrap();
    let deliver = |years: (i32, i32), date: &str, noted: Option<WallTime>, told| {
        let leaf = ca.leaf("localhost", |params| {
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        });
        let accepted = format!(
            "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 19\r\n\r\n{{\"is_success\":true}}"
        );
        let (url, _told) = raw_tls(&leaf, vec![accepted.into_bytes()], Duration::ZERO);
        let mut spool = Spool::open(place.path().join("spool"), SpoolOptions::default()).unwrap();
        if let Some(time) = noted {
            spool.note_trusted_time(time);
        }
        let policy = Policy::default()
            .with_start_spread(Duration::ZERO)
            .with_max_backoff(Duration::from_millis(10))
            .with_hold(Duration::from_millis(10));
        let mut courier = Courier::new(spool, Vec::new(), policy, MonoTime::now(), 0);
        if courier.status().waiting == 0 {
            let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
            let report = Report::new("1", &jobs);
            courier.submit(&report, MonoTime::now(), None).unwrap();
        }
        let mut client = builder(&url).ca_certificate(&ca.der);
        if let Some(time) = told {
            client = client.known_time(time);
        }
        let mut client = client.build().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        let pause = client.deliver(&mut courier, until, |_| ()).unwrap();
        courier.close().unwrap();
        (pause, courier.trusted_time())
    };
    let right = "Mon, 30 Nov 2026 10:00:00 GMT";
    let (_, then) = deliver((2021, 2090), right, None, None);
    assert_eq!(then, Some(WallTime::from_unix_ms(1_796_032_800_000)));
    let wrong = "Thu, 01 Jan 2099 10:00:00 GMT";
    for date in [wrong, right, right] {
        let delivered = deliver((2021, 2090), date, None, None);
        assert_eq!(delivered, (Pause::Idle, then), "{date}");
    }
    // Noted all the same, say by a release before: what is valid in between serves as well, what expired does not.
    for (years, noted, told, ends) in [
        ((2021, 2090), Some(YEAR_2099), None, Pause::Idle),
        ((2027, 2090), None, None, Pause::Idle),
        ((2021, 2022), None, None, Pause::TimeUp),
        ((2021, 2090), None, Some(YEAR_2028), Pause::Idle),
    ] {
        let (pause, _) = deliver(years, right, noted, told);
        assert_eq!(pause, ends, "{years:?}, {told:?}");
    }
    // What the user told counts where there is no clock.
    let is_unset = WallTime::now() < then.unwrap().plus_ms(-86_400_000 * 30);
    let (pause, _) = deliver((2021, 2090), right, None, Some(YEAR_2092));
    let ends = if is_unset { Pause::TimeUp } else { Pause::Idle };
    assert_eq!(pause, ends);
}

/// Between a client and a server: spoils what the server says next, when told. Gives the client's URL.
fn spoiler(server: &str, spoil: fn(&mut Vec<u8>)) -> (String, Arc<AtomicBool>) {
    let to = server.replace("https://", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(AtomicBool::new(false));
    let arm = armed.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(&to).unwrap();
            let (mut from, mut there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut there));
            let arm = arm.clone();
            thread::spawn(move || {
                let mut part = vec![0; 4096];
                while let Ok(n @ 1..) = server.read(&mut part) {
                    let mut part = part[..n].to_vec();
                    if arm.swap(false, Ordering::SeqCst) {
                        spoil(&mut part);
                    }
                    let _ = client.write_all(&part);
                }
            });
        }
    });
    (format!("https://localhost:{port}"), armed)
}

/// A record that is spoilt on its way is the link's fault: the report may have arrived, and is sent again soon.
#[test]
fn a_record_that_is_spoilt() {
    let receiver = receiver();
    let ca = Ca::new();
    let server = tls(&receiver, &ca.leaf("localhost", |_| {}), None);
    let flip = |part: &mut Vec<u8>| {
        let last = part.len() - 1;
        part[last] ^= 1;
    };
    let text = |part: &mut Vec<u8>| {
        *part = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_vec();
    };
    for spoil in [flip as fn(&mut Vec<u8>), text] {
        let (url, armed) = spoiler(&server, spoil);
        let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
        assert!(client.send_encoded(b"{}").is_ok());
        armed.store(true, Ordering::SeqCst);
        let error = client.send_encoded(b"{}").unwrap_err();
        assert!(matches!(error, SendError::MayHaveArrived { .. }), "{error}");
        assert!(client.send_encoded(b"{}").is_ok());
    }
}

/// An answer that came with the handshake answers nothing.
#[test]
#[cfg(feature = "client")]
fn an_answer_before_the_request() {
    let ca = Ca::new();
    let mut config = Arc::unwrap_or_clone(server_config(&ca.leaf("localhost", |_| {}), None));
    config.send_half_rtt_data = true;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let mut connection = ServerConnection::new(config).unwrap();
        let accepted = answer(r#"{"is_success":true}"#, 0);
        connection.writer().write_all(&accepted).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        tell.send(all).unwrap();
    });
    let url = format!("https://localhost:{port}");
    let mut client = builder(&url).ca_certificate(&ca.der).build().unwrap();
    let error = client.send_encoded(b"{}").unwrap_err();
    assert!(matches!(error, SendError::NotSent { .. }), "{error}");
    assert!(error.to_string().contains("came before"), "{error}");
    drop(client);
    assert_eq!(told.recv().unwrap(), b"");
}
