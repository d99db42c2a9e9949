//! TLS in front: certificates that are renewed, and clients that must have one.
#![cfg(all(unix, feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use common::PATIENCE;
use common::ca::Ca;
use common::program::Program;
use edge_report::{Client, Credentials, Job, JobStatus, Outcome, Report};

fn serve_by(ca: &Ca, dir: &Path) {
    let (certificate, key) = ca.leaf();
    fs::write(dir.join("cert.pem"), certificate).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
}

const ARGS: [&str; 8] = [
    "--tls-cert",
    "cert.pem",
    "--tls-key",
    "key.pem",
    "--ak",
    "AK",
    "--sk",
    "SK",
];

/// Whether a report is accepted from who trusts this CA, and has this certificate.
fn reports(program: &Program, ca: &Ca, own: Option<&(String, String)>) -> bool {
    let mut client = Client::builder(program.url(), "p")
        .credentials(Credentials::keys("AK", "SK"))
        .ca_certificate(ca.pem.as_bytes())
        .total_timeout(PATIENCE);
    if let Some((certificate, key)) = own {
        client = client.client_certificate(certificate.as_bytes(), key.as_bytes());
    }
    let jobs = [Job::new(JobStatus::RUNNING, 1_780_000_000_000)];
    let mut client = client.build().unwrap();
    let sent = client.send(&Report::new("1", &jobs));
    sent.is_ok_and(|reply| matches!(reply.outcome, Outcome::Accepted))
}

#[test]
fn certificates_are_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    serve_by(&old, dir.path());
    let program = Program::start(dir.path(), &ARGS);
    assert!(program.url().starts_with("https://"));
    assert!(reports(&program, &old, None));
    assert!(!reports(&program, &new, None));
    serve_by(&new, dir.path());
    program.reload();
    assert!(reports(&program, &new, None));
    assert!(!reports(&program, &old, None));
    // What cannot be read changes nothing.
    fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    program.reload();
    assert!(reports(&program, &new, None));
    assert!(program.log().contains("failed reload"), "{}", program.log());
}

/// Who mends the first one would else take the second one for read.
#[test]
fn each_file_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    serve_by(&Ca::new("server"), dir.path());
    let keys = dir.path().join("keys");
    fs::write(&keys, "* token TOKEN").unwrap();
    let program = Program::start(dir.path(), &[&ARGS[..], &["--keys", "keys"]].concat());
    fs::write(keys, "").unwrap();
    fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    program.reload();
    let log = program.log();
    assert!(
        log.contains("keys: ") && log.contains("cert.pem: "),
        "{log}"
    );
}

#[test]
fn clients_show_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (server, clients, others) = (Ca::new("server"), Ca::new("clients"), Ca::new("others"));
    serve_by(&server, dir.path());
    fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
    let program = Program::start(
        dir.path(),
        &[&ARGS[..], &["--client-ca", "clients.pem"]].concat(),
    );
    assert!(reports(&program, &server, Some(&clients.leaf())));
    assert!(!reports(&program, &server, Some(&others.leaf())));
    assert!(!reports(&program, &server, None));
    // Whom to trust is read again, too.
    fs::write(dir.path().join("clients.pem"), &others.pem).unwrap();
    program.reload();
    assert!(reports(&program, &server, Some(&others.leaf())));
    assert!(!reports(&program, &server, Some(&clients.leaf())));
}

#[test]
fn who_speaks_no_tls_keeps_out_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    serve_by(&ca, dir.path());
    let program = Program::start(
        dir.path(),
        &[&ARGS[..], &["--max-connections", "4"]].concat(),
    );
    let mut plain = TcpStream::connect(program.host()).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain
        .write_all(&common::request("a", "p", &[], b"{}"))
        .unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let _silent: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(program.host()).unwrap())
        .collect();
    assert!(reports(&program, &ca, None));
}

#[test]
fn what_is_no_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    serve_by(&ca, dir.path());
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (key, why) in [
        (
            ca.leaf().1.as_str(),
            "key.pem: this is not the key of the certificate",
        ),
        (
            encrypted,
            "key.pem: there is no private key in it that is not encrypted",
        ),
    ] {
        fs::write(dir.path().join("key.pem"), key).unwrap();
        let args = [&["check-config"], &ARGS[..]].concat();
        let ended = common::program::command(dir.path(), &args)
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains(why), "{said}");
    }
}
