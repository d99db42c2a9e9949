//! A TLS server behind a link that counts, and two of the clients that send to it.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use edge_report::exchange::{Endpoint, Request};
use edge_report::{Client, Credentials, WallTime};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The link of the tests.
#[allow(dead_code, reason = "here it is neither slow nor broken")]
#[path = "../../../tests/host/link/mod.rs"]
mod link;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "edge-report-bench-bytes COMMAND
  serve CA-FILE                              writes whom to trust to CA-FILE, prints its port; when its input ends it
                                             prints connections, bytes up, bytes down, with tabs between
  ours|ureq CA-FILE PORT REPORTS BETWEEN-MS  sends so many
  curl CA-FILE PORT REPORTS                  prints what `curl --config` sends so many by";

/// A second of the field lasts so long here.
const SECOND: Duration = Duration::from_millis(20);
/// nginx's `keepalive_timeout`.
const SERVER_KEEPS: u32 = 75;
/// The client's `max_idle`, as it is by default.
const WE_KEEP: u32 = 90;
/// ureq's `max_idle_age`, as it is by default.
const UREQ_KEEPS: u32 = 15;

const PROJECT_ID: &str = "0a1b2c";
/// The documented sample.
const REPORT_FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/vectors/workloads/W1.json"
);
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n\
    {\"is_success\":\"true\",\"message\":\"report success\"}";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", ca_file] => serve(ca_file),
        ["ours", ca_file, port, reports, between] => {
            let report = fs::read(REPORT_FILE)?;
            let mut client = Client::builder(&base_url(port), PROJECT_ID)
                .credentials(keys())
                .ca_certificate(&fs::read(ca_file)?)
                .max_idle(SECOND * WE_KEEP)
                .build()?;
            paced(reports, between, || {
                let reply = client.send_encoded(&report)?;
                match reply.outcome {
                    edge_report::Outcome::Accepted => Ok(()),
                    _ => Err(reply.to_string().into()),
                }
            })
        }
        ["ureq", ca_file, port, reports, between] => {
            let ca = Certificate::from_pem(&fs::read(ca_file)?)?;
            let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca]));
            let config = ureq::Agent::config_builder()
                .tls_config(tls.build())
                .max_idle_age(SECOND * UREQ_KEEPS)
                .build();
            let agent = ureq::Agent::new_with_config(config);
            paced(reports, between, || {
                signed(port, |request, url| {
                    let mut call = agent.post(url);
                    for header in request.headers() {
                        call = call.header(header.name, header.value);
                    }
                    let answer = call.send(request.body())?.body_mut().read_to_string()?;
                    answer.ends_with('}').then_some(()).ok_or("cut".into())
                })
            })
        }
        ["curl", ca_file, port, reports] => {
            for number in 0..reports.parse()? {
                if number > 0 {
                    println!("next");
                }
                signed(port, |request, url| {
                    for header in request.headers() {
                        println!("header = \"{}: {}\"", header.name, header.value);
                    }
                    println!("url = \"{url}\"\ncacert = \"{ca_file}\"");
                    println!("silent\nfail\nshow-error\noutput = /dev/null");
                    println!("data-binary = \"@{REPORT_FILE}\"");
                    Ok(())
                })?;
            }
            Ok(())
        }
        _ => Err(HELP.into()),
    }
}

fn base_url(port: &str) -> String {
    format!("https://localhost:{port}")
}

fn keys() -> Credentials<'static> {
    Credentials::keys("EXAMPLEAK", "EXAMPLESK")
}

fn paced(reports: &str, between: &str, mut send: impl FnMut() -> Result<()>) -> Result<()> {
    let between = Duration::from_millis(between.parse()?);
    for number in 0..reports.parse()? {
        if number > 0 {
            thread::sleep(between);
        }
        send()?;
    }
    Ok(())
}

/// The same request for those who cannot sign it.
fn signed(port: &str, use_it: impl FnOnce(&Request<'_>, &str) -> Result<()>) -> Result<()> {
    let report = fs::read(REPORT_FILE)?;
    let base_url = base_url(port);
    let endpoint = Endpoint::new(&base_url, PROJECT_ID)?;
    let (keys, mut scratch) = (keys(), [0; 1024]);
    let request = Request::new(&endpoint, &keys, &report, WallTime::now(), &mut scratch)?;
    use_it(&request, &format!("{base_url}{}", request.path()))
}

fn serve(ca_file: &str) -> Result<()> {
    let (root, config) = server_config()?;
    fs::write(ca_file, root)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, counts) = link::link(listener.local_addr()?, link::Link::default());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || answer(socket, config).ok());
        }
    });
    println!("{}", SocketAddr::port(&address));
    stdin().read_to_end(&mut Vec::new())?;
    let [connections, up, down] = [&counts.connections, &counts.there, &counts.back];
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    println!("{}\t{}\t{}", count(connections), count(up), count(down));
    Ok(())
}

/// A leaf below an intermediate CA, P-256, as most have it. Session tickets as servers in a farm give them.
fn server_config() -> Result<(String, Arc<ServerConfig>)> {
    let authority = |name: &str| -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(params)
    };
    let (root_key, middle_key, key) = (
        KeyPair::generate()?,
        KeyPair::generate()?,
        KeyPair::generate()?,
    );
    let (root, middle) = (authority("root")?, authority("intermediate")?);
    let root_certificate = root.self_signed(&root_key)?;
    let root = Issuer::new(root, root_key);
    let middle_certificate = middle.signed_by(&middle_key, &root)?;
    let middle = Issuer::new(middle, middle_key);
    let leaf = CertificateParams::new(vec!["localhost".to_string()])?.signed_by(&key, &middle)?;
    let chain: Vec<CertificateDer<'static>> =
        vec![leaf.der().clone(), middle_certificate.der().clone()];

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der())?)?;
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok((root_certificate.pem(), Arc::new(config)))
}

/// Answers what comes, and closes when nothing comes for long.
fn answer(socket: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SECOND * SERVER_KEEPS))?;
    let connection = ServerConnection::new(config)?;
    let mut input = BufReader::new(StreamOwned::new(connection, socket));
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            match input.read_line(&mut line) {
                Ok(1..) => {}
                _ => {
                    let stream = input.get_mut();
                    stream.conn.send_close_notify();
                    return Ok(stream.flush()?);
                }
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        input.read_exact(&mut body)?;
        input.get_mut().write_all(ANSWER)?;
    }
}
