//! Secrets are not in this process' memory after the client is dropped.
#![allow(
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(all(feature = "client", target_os = "linux"))]

mod alone;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use edge_report::exchange::Keys;
use edge_report::{Client, Credentials};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is looked for, never in memory as it is.
struct Needle(Vec<u8>);

const MASK: u8 = 0xa5;

impl Needle {
    fn of(secret: &[u8]) -> Self {
        Needle(secret.iter().map(|b| b ^ MASK).collect())
    }

    /// As letters that can stand in a header. Whoever gets it wipes it.
    fn random() -> Self {
        let mut bytes = [0; 40];
        File::open("/dev/urandom")
            .unwrap()
            .read_exact(&mut bytes)
            .unwrap();
        Needle(bytes.iter().map(|b| (b'a' + b % 26) ^ MASK).collect())
    }

    /// Within a longer text: the ends of what was freed are written over first.
    fn secret(&self) -> String {
        let mut text = String::with_capacity(2100);
        text.extend(std::iter::repeat_n('x', 1000));
        text.extend(self.0.iter().map(|b| char::from(b ^ MASK)));
        text.extend(std::iter::repeat_n('x', 1000));
        text
    }

    /// How often it is in memory that can be written.
    fn count(&self) -> usize {
        // While one looks, there are copies of what others look for.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = File::open("/proc/self/mem").unwrap();
        let mut part = vec![0; 1 << 20];
        let own = part.as_ptr() as u64;
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut count = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (range, _) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let (mut from, to) = (address(from), address(to));
            while from < to {
                let len = part.len().min((to - from) as usize);
                if memory.read_exact_at(&mut part[..len], from).is_err() {
                    break;
                }
                // Not what was read here before.
                let (start, end) = (
                    own.max(from),
                    (own + part.len() as u64).min(from + len as u64),
                );
                if start < end {
                    part[(start - from) as usize..(end - from) as usize].fill(0);
                }
                let first = self.0[0] ^ MASK;
                let mut rest = &part[..len];
                while let Some(at) = rest.iter().position(|b| *b == first) {
                    rest = &rest[at..];
                    let here = rest.iter().zip(&self.0);
                    if rest.len() >= self.0.len() && here.clone().all(|(a, b)| a ^ MASK == *b) {
                        count += 1;
                    }
                    rest = &rest[1..];
                }
                // Once more what may begin at the end.
                let step = if from + len as u64 == to {
                    len
                } else {
                    len - self.0.len() + 1
                };
                from += step as u64;
            }
        }
        part.fill(0);
        std::hint::black_box(&part);
        count
    }
}

fn wipe(text: String) {
    let mut bytes = text.into_bytes();
    bytes.fill(0);
    std::hint::black_box(&bytes);
}

/// Answers each request, and forgets it.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    url
}

fn answer(mut stream: impl Read + Write) {
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut part) {
        let is_end = part[..n].ends_with(b"}");
        part.fill(0);
        std::hint::black_box(&part);
        if is_end {
            let body = "{\"is_success\":true}";
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 19";
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    }
}

/// The same over TLS, elsewhere: what it decrypts is not to be found here. Killed when it is dropped.
struct TlsServer(Child);

impl TlsServer {
    fn start(place: &Path) -> (TlsServer, String) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["serve_tls", "--exact", "--ignored", "--nocapture"]);
        let child = child.env("PLACE", place).stdout(Stdio::piped()).spawn();
        let mut server = TlsServer(child.unwrap());
        let said = BufReader::new(server.0.stdout.take().unwrap());
        let mut lines = said.lines().map(Result::unwrap);
        let port = lines.find_map(|line| Some(line.split_once("port ")?.1.to_string()));
        (server, format!("https://localhost:{}", port.unwrap()))
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Called by the tests below.
#[test]
#[ignore = "no test by itself"]
fn serve_tls() {
    let place = PathBuf::from(std::env::var_os("PLACE").unwrap());
    let params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(place.join("ca.pem"), certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    for stream in listener.incoming() {
        let connection = ServerConnection::new(config.clone()).unwrap();
        answer(StreamOwned::new(connection, stream.unwrap()));
    }
}

#[test]
fn keys_and_tokens() {
    forgets_keys_and_tokens(&server(), b"");
}

#[test]
fn keys_and_tokens_over_tls() {
    let place = tempfile::tempdir().unwrap();
    let (_server, url) = TlsServer::start(place.path());
    let ca = fs::read(place.path().join("ca.pem")).unwrap();
    forgets_keys_and_tokens(&url, &ca);
}

fn forgets_keys_and_tokens(url: &str, ca: &[u8]) {
    let kinds: [fn(&str) -> Credentials<'_>; 3] = [
        |secret| Credentials::token(secret),
        |secret| Credentials::keys("AK", secret),
        |secret| Credentials::Keys(Keys::new("AK", "SK").with_security_token(secret)),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let needle = Needle::random();
        let secret = needle.secret();
        let mut builder = Client::builder(url, "p").credentials(kind(&secret));
        if !ca.is_empty() {
            builder = builder.ca_certificate(ca);
        }
        let mut client = builder.build().unwrap();
        client.set_credentials(&kind(&secret)).unwrap();
        wipe(secret);
        let mut large = vec![b' '; 200_000];
        large.push(b'}');
        for body in [&large[..], b"{}", b"{}"] {
            assert!(client.send_encoded(body).is_ok());
        }
        assert_eq!(needle.count(), 1, "{number}: what the client keeps");
        drop(client);
        assert_eq!(needle.count(), 0, "{number}");
    }
}

/// As the TLS library takes it: what that keeps is in a form of its own.
#[test]
fn the_client_key() {
    let place = tempfile::tempdir().unwrap();
    // Made elsewhere, so that what makes it leaves nothing here.
    let made = Command::new(std::env::current_exe().unwrap())
        .args(["make_a_key", "--exact", "--ignored"])
        .env("PLACE", place.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| {
        let file = File::open(place.path().join(name)).unwrap();
        let mut text = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap()
    };
    let chain = read("chain.pem");
    let key = read("key.pem");
    let der = read("key.hex");
    // From the middle of both, where the number is.
    let second_line = key.lines().nth(1).unwrap();
    let base64 = Needle::of(&second_line.as_bytes()[second_line.len() - 24..]);
    let hex = |at: usize| u8::from_str_radix(&der[at..at + 2], 16).unwrap();
    let mut number: Vec<u8> = (36..60).map(|n| hex(2 * n)).collect();
    let binary = Needle::of(&number);
    number.fill(0);
    std::hint::black_box(&number);
    wipe(der);
    let builder = Client::builder("https://a", "p");
    let builder = builder.client_certificate(chain.as_bytes(), key.as_bytes());
    wipe(key);
    assert!(base64.count() > 0, "the builder has it");
    let client = builder.build().unwrap();
    assert_eq!((base64.count(), binary.count()), (0, 0));
    drop(client);
    assert_eq!((base64.count(), binary.count()), (0, 0));
}

/// Called by the test above.
#[test]
#[ignore = "no test by itself"]
fn make_a_key() {
    let place = std::path::PathBuf::from(std::env::var_os("PLACE").unwrap());
    let params = rcgen::CertificateParams::new(vec!["node".to_string()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let hex: String = key
        .serialize_der()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    fs::write(place.join("chain.pem"), certificate.pem()).unwrap();
    fs::write(place.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(place.join("key.hex"), hex).unwrap();
}

/// A logger for all that is logged by anybody. Apart from that stand the bytes that ureq-proto writes, which it logs at the level trace:
/// SECURITY.md says so.
#[test]
fn a_logger_gets_no_secrets() {
    struct Logger;
    static SAID: Mutex<String> = Mutex::new(String::new());
    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if record.level() < log::Level::Trace || !record.target().starts_with("ureq_proto") {
                let mut said = SAID.lock().unwrap();
                said.push_str(&format!("{}\n", record.args()));
            }
        }
        fn flush(&self) {}
    }
    if !alone::is_alone("a_logger_gets_no_secrets", |_| {}) {
        return;
    }
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let url = server();
    let keys = Keys::new("some-access-key", "some-secret-key").with_security_token("some-token");
    for credentials in [Credentials::token("other-token"), Credentials::Keys(keys)] {
        let builder = Client::builder(&url, "p").credentials(credentials);
        assert!(builder.build().unwrap().send_encoded(b"{}").is_ok());
    }
    let said = SAID.lock().unwrap();
    assert!(said.contains("POST"), "{said}");
    for secret in ["some-", "other-token", "SDK-HMAC-SHA256", "Signature="] {
        assert!(!said.contains(secret), "{said}");
    }
}
