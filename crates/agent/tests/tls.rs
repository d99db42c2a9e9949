//! Towards Flink: TLS with an own CA, a client certificate, and files that are replaced.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::agent::{Agent, ended, text};
use common::ca::Ca;
use common::flink::Flink;
use common::wait_for_status;
use edge_report_receiver::{Options, Receiver};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

const JOB: i64 = 1001;

/// A cluster behind a proxy that wants a certificate of this CA.
fn behind_proxy(server: &Ca, clients: &Ca) -> Flink {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let (certificate, key) = server.leaf();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier.build().unwrap());
    Flink::secure(config.with_single_cert(chain, key).unwrap())
}

fn write_leaf(dir: &Path, ca: &Ca) {
    let (certificate, key) = ca.leaf();
    fs::write(dir.join("cert.pem"), certificate).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
}

const FILES: [&str; 6] = [
    "--flink-ca",
    "ca.pem",
    "--flink-cert",
    "cert.pem",
    "--flink-key",
    "key.pem",
];

#[test]
fn a_proxy_with_its_own_ca_wants_a_certificate_and_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let (server, clients) = (Ca::new("server"), Ca::new("clients"));
    let flink = behind_proxy(&server, &clients);
    let receiver = Receiver::start(Options::new()).unwrap();
    flink.job(JOB, "edge");
    fs::write(dir.path().join("ca.pem"), &server.pem).unwrap();
    write_leaf(dir.path(), &clients);
    let more = [&FILES[..], &["--flink-token", "T0KEN"]].concat();
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    wait_for_status(&receiver, JOB, "job_running");
    assert_eq!(flink.connections(), 1);
    let head = flink.requests().pop().unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer t0ken\r\n"), "{head}");
    assert!(!agent.log().contains("T0KEN"));
}

#[test]
fn who_is_not_trusted_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (server, other) = (Ca::new("server"), Ca::new("other"));
    let flink = behind_proxy(&server, &server);
    write_leaf(dir.path(), &server);
    fs::write(dir.path().join("ca.pem"), &other.pem).unwrap();
    let url = flink.url();
    let args = [
        "run",
        "--dry-run",
        "--once",
        "--flink",
        &url,
        "--flink-token",
        "T0KEN",
    ];
    let args = [&args[..], &FILES].concat();
    let refused = ended(dir.path(), &args);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("are --flink-ca, --flink-cert and --flink-key right?"),
        "{said}"
    );
    assert!(flink.requests().is_empty());
}

#[test]
fn sighup_takes_other_certificates_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let (server, old, new) = (Ca::new("server"), Ca::new("old"), Ca::new("new"));
    let flink = behind_proxy(&server, &new);
    let receiver = Receiver::start(Options::new().keys("AK", "SK")).unwrap();
    flink.job(JOB, "edge");
    fs::write(dir.path().join("ca.pem"), &server.pem).unwrap();
    fs::write(dir.path().join("agent.toml"), "ak = \"AK\"\nsk = \"old\"\n").unwrap();
    write_leaf(dir.path(), &old);
    let more = [&FILES[..], &["--config", "agent.toml"]].concat();
    let agent = Agent::run(dir.path(), &flink.url(), &receiver.url(), &more);
    agent.wait_for("event=flink-failed", 1);

    // What is wrong leaves all as it was.
    fs::write(dir.path().join("cert.pem"), "").unwrap();
    agent.signal("HUP");
    agent.wait_for("event=reload-failed", 1);
    write_leaf(dir.path(), &new);
    agent.signal("HUP");
    agent.wait_for("event=reloaded", 1);
    agent.wait_for("event=held", 1);
    fs::write(dir.path().join("agent.toml"), "ak = \"AK\"\nsk = \"SK\"\n").unwrap();
    agent.signal("HUP");
    agent.wait_for("event=reloaded", 2);
    wait_for_status(&receiver, JOB, "job_running");
}
