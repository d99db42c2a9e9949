//! How it ends, and what those see who watch over it.
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

use common::program::{Program, assert_refused, command};
use common::{PATIENCE, exchange, post, report, request, response};
use edge_report::JobStatus;
use rusqlite::Connection;

fn body(id: &str) -> Vec<u8> {
    report(id, 7, JobStatus::RUNNING, 1_780_000_000_000)
}

fn get(program: &Program, path: &str) -> (u16, String) {
    exchange(
        program.host(),
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(),
    )
}

#[test]
fn what_is_under_way_is_answered_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = ["--store", "sqlite:reports.db", "--fault", "delay=700"];
    let program = Program::start(dir.path(), &store);
    let host = program.host().to_owned();
    let connect = || {
        let stream = TcpStream::connect(&host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let (mut idle, mut busy, mut events) = (connect(), connect(), connect());
    events
        .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(events.read(&mut [0; 1024]).unwrap() > 0);
    busy.write_all(&request("a", "p", &[], &body("1"))).unwrap();
    program.wait_for("event=fault", 1);
    program.signal("TERM");
    // Who has nothing under way is let go at once, who has is answered.
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(response(&mut busy).0, 200);
    assert_eq!(busy.read(&mut [0; 16]).unwrap(), 0);
    // Who listens is told, too.
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert_eq!(program.wait(), Some(0));
    assert!(TcpStream::connect(&host).is_err());
    let kept = Connection::open(dir.path().join("reports.db")).unwrap();
    let kept: i64 = kept
        .query_row("SELECT count(*) FROM report", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 1);
}

#[test]
fn health_and_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--ak", "AK", "--sk", "SK-secret"]);
    assert_eq!(get(&program, "/healthz").0, 200);
    // As some load balancers ask.
    let mut stream = TcpStream::connect(program.host()).unwrap();
    let head = b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(post(program.host(), "p", &body("1")), 401);
    let now = edge_report::WallTime::now().unix_ms();
    for _ in 0..2 {
        let signed = common::signed(program.host(), "p", ("AK", "SK-secret"), now, &body("1"));
        assert_eq!(exchange(program.host(), &signed).0, 200);
    }
    let (status, page) = get(&program, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "reports_accepted_total 1",
        "reports_repeated_total 1",
        "requests_refused_total 1",
        "store_up 1",
    ] {
        assert!(
            page.contains(&format!("\nedge_report_receiver_{line}\n")),
            "{line}: {page}"
        );
    }
    assert!(!page.contains("secret"));
    // The default store.
    assert!(dir.path().join("edge-report.db").exists());
}

#[test]
fn settings_from_three_places() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("receiver.toml"),
        "listen = \"127.0.0.1:0\"\nstore = \"sqlite:from-file.db\"\nretention = 30\nak = \"AK\"\nsk = \"from-file\"\nfault = [\"delay=1\", \"delay=2\"]\n",
    )
    .unwrap();
    let mut program = command(
        dir.path(),
        &[
            "--config",
            "receiver.toml",
            "--store",
            "sqlite:from-flag.db",
        ],
    );
    program
        .env("EDGE_REPORT_RECEIVER_SK", "from-environment")
        .env("EDGE_REPORT_RECEIVER_STORE", "memory");
    let program = Program::run(program, dir.path());
    let now = edge_report::WallTime::now().unix_ms();
    let with = |sk| common::signed(program.host(), "p", ("AK", sk), now, &body("1"));
    assert_eq!(exchange(program.host(), &with("from-environment")).0, 200);
    assert_eq!(exchange(program.host(), &with("from-file")).0, 401);
    assert!(dir.path().join("from-flag.db").exists());
    assert!(!dir.path().join("from-file.db").exists());
}

#[test]
fn what_is_set_wrongly_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("wrong.toml"),
        "listen = \"127.0.0.1:0\"\nsk = a-secret\n",
    )
    .unwrap();
    fs::write(dir.path().join("unknown.toml"), "tls_cert = \"a\"\n").unwrap();
    fs::write(dir.path().join("within.toml"), "config = \"a\"\n").unwrap();
    let wrong: [(&[&str], &str); 28] = [
        (
            &["--memory", "39"],
            "--memory `39` is not a whole number from 40",
        ),
        (&["--memory", "256MB"], "--memory `256MB` is not"),
        (&["--retention", "90d"], "--retention `90d` is not"),
        // It would remove all at once.
        (&["--retention", "0"], "from 1"),
        (&["--max-connections", "0"], "from 1"),
        (&["--grace", "-1"], "--grace `-1`"),
        (&["--sk=a-secret"], "go together"),
        (&["--key=a-secret"], "no option `--key`, but `--keys`"),
        (&["--read-token", ""], "--read-token is empty"),
        (
            &["--stor", "sqlite:a.db"],
            "no option `--stor`, but `--store`",
        ),
        (&["chek-config"], "no option `chek-config`"),
        (&["--listen", "8087"], "--listen `8087` is not ADDRESS:PORT"),
        (&["--listen", "localhost:8087"], "a name is no address"),
        (
            &["--config", "within.toml"],
            "`config` belongs on the command line",
        ),
        (&["--nothing"], "no option `--nothing`"),
        (&["--listen"], "needs a value"),
        (&["--listen", "nowhere"], "--listen `nowhere`"),
        (&["--ak", "AK"], "go together"),
        (&["--store", "mysql://u:a-secret@h/d"], "a store is"),
        // Of which nothing would be left.
        (&["--store", "sqlite::memory:"], "`memory`"),
        (&["--store", "sqlite:file:a.db?mode=memory"], "`memory`"),
        (&["--store", "postgres://u:a-secret@h:port/d"], "store: "),
        (
            &["--store", "postgres://u:p@h/d?colour=a-secret"],
            "unknown option `colour`",
        ),
        (&["--store", "postgres://u:a@secret@h/d"], "`%40`"),
        (&["--store", "sqlite:a.db", "--record", "b"], "record"),
        (&["--config", "wrong.toml"], "wrong.toml: line 2: "),
        (
            &["--config", "unknown.toml"],
            "no `tls_cert`, but `tls-cert`",
        ),
        (
            &["--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"],
            "nothing.pem",
        ),
    ];
    for (args, why) in wrong {
        assert_refused(dir.path(), args, why);
    }
    let environment = |name: &str, value: &str| {
        let mut check = command(dir.path(), &["check-config"]);
        let ended = check.env(format!("EDGE_REPORT_RECEIVER_{name}"), value);
        let ended = ended.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!said.contains("secret"), "{name}: {said}");
        (ended.status.code(), said)
    };
    for (name, value, why) in [
        (
            "QUIET",
            "yes",
            "EDGE_REPORT_RECEIVER_QUIET is true or false",
        ),
        // It would be open to all.
        (
            "KEY",
            "a-secret",
            "no `EDGE_REPORT_RECEIVER_KEY`, but `EDGE_REPORT_RECEIVER_KEYS`",
        ),
        ("PORT", "8087", "no `EDGE_REPORT_RECEIVER_PORT`"),
        (
            "LISTEN_ADDRESS",
            "0.0.0.0:1",
            "no `EDGE_REPORT_RECEIVER_LISTEN_ADDRESS`",
        ),
    ] {
        let (status, said) = environment(name, value);
        assert!(status == Some(2) && said.contains(why), "{name}: {said}");
    }
    // What Kubernetes sets for a service of this name.
    for name in ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8087_TCP"] {
        let (status, said) = environment(name, "tcp://10.0.0.1:8087");
        assert_eq!(status, Some(0), "{name}: {said}");
    }
    let right = command(dir.path(), &["check-config", "--store=sqlite:a.db"])
        .output()
        .unwrap();
    assert!(
        right.status.success() && !dir.path().join("a.db").exists(),
        "{right:?}"
    );
}
