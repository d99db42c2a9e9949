//! Confirmations at a real broker: each report that is kept is told at least once, and none before.
#![cfg(all(unix, feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::mosquitto::Mosquitto;
use common::postgres::Server;
use common::program::{Program, assert_refused};
use common::{PATIENCE, post};
use edge_report::{Job, JobStatus, ReportBuf};
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck};
use rusqlite::Connection;
use serde_json::json;

const ANYBODY: &str = "allow_anonymous true";

/// A report that wants to be confirmed there.
fn report(message_id: &str, topic: &str) -> Vec<u8> {
    let job = Job::new(JobStatus::RUNNING, 1_780_000_000_000).with_job_id(7);
    let report = ReportBuf::new(message_id).with_topic(topic).with_job(job);
    report.encode_to_vec().unwrap()
}

fn payload(message_id: &str) -> String {
    format!(
        r#"{{"message_id":{},"is_success":true}}"#,
        json!(message_id)
    )
}

fn said(topic: &str, message_id: &str) -> (String, String) {
    (topic.to_owned(), payload(message_id))
}

fn start(dir: &Path, broker: &Mosquitto, more: &[&str]) -> Program {
    let url = format!("mqtt://{}", broker.place());
    Program::start(dir, &[&["--confirm", &url], more].concat())
}

/// Nothing is left of what waited.
fn nothing_waits(file: &Path) {
    let database = Connection::open(file).unwrap();
    let until = Instant::now() + PATIENCE;
    let waiting = || {
        database
            .query_row("SELECT count(*) FROM confirmation", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    while waiting() > 0 {
        assert!(Instant::now() < until, "{} wait", waiting());
        thread::sleep(Duration::from_millis(20));
    }
}

/// The broker is away at first, dies in between, and so does the receiver.
#[test]
fn each_report_is_confirmed_after_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge-report.db");
    let database = file.clone();
    // Whatever the broker is told is in the database then.
    let early = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&early);
    let mut broker = Mosquitto::new(ANYBODY, move |payload| {
        let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
        let kept = "SELECT count(*) FROM report WHERE message_id = ?1";
        let database = Connection::open(&database).unwrap();
        let kept = database.query_row(kept, [payload["message_id"].as_str()], |row| {
            row.get::<_, i64>(0)
        });
        if kept != Ok(1) {
            told.lock().unwrap().push(format!("{payload}: {kept:?}"));
        }
    });
    let mut sent = 0;
    let mut more = |program: &Program, count| {
        for _ in 0..count {
            assert_eq!(
                post(program.host(), "p", &report(&format!("r{sent}"), "a/b")),
                200
            );
            sent += 1;
        }
    };

    let program = start(dir.path(), &broker, &["--quiet"]);
    more(&program, 100);
    program.wait_for("failed confirm", 1);
    assert!(broker.heard().is_empty());
    // SIGKILL between commit and message.
    drop(program);
    let program = start(dir.path(), &broker, &["--quiet"]);
    more(&program, 20);
    broker.start();
    for round in 0..3 {
        // Or it dies with what it has acknowledged, and not passed on.
        broker.hears(120 + 60 * round);
        broker.kill();
        more(&program, 30);
        broker.start();
        more(&program, 30);
    }
    let mut program = program;
    for _ in 0..5 {
        more(&program, 40);
        // In the midst of them.
        drop(program);
        program = start(dir.path(), &broker, &["--quiet"]);
    }
    let heard = broker.hears(500);
    for number in 0..500 {
        let id = format!("r{number}");
        assert!(heard.contains_key(&said("a/b", &id)), "{id}");
    }
    nothing_waits(&file);
    assert_eq!(*early.lock().unwrap(), [""; 0]);
    // What was acknowledged is not told again: what repeats was under way when somebody died.
    let told: usize = heard.values().sum();
    assert!(told < 900, "{told} messages for 500 reports");
}

#[test]
fn what_the_topic_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::started(ANYBODY);
    let program = start(dir.path(), &broker, &[]);
    let long = "x".repeat(4096);
    let longer = "x".repeat(4097);
    // None of these can be published to; the reports are kept all the same.
    let never = [
        "a/+/b",
        "a/#",
        "a\0b",
        "a\nb",
        "$SYS/a",
        "a\u{9f}",
        "a\u{fffe}",
        &longer,
    ];
    for (number, topic) in never.iter().enumerate() {
        let id = format!("never{number}");
        assert_eq!(post(program.host(), "p", &report(&id, topic)), 200);
    }
    let log = program.log();
    assert_eq!(log.matches("not_confirmed=").count(), never.len(), "{log}");
    // Of no topic nothing is said.
    let silent =
        br#"{"jobs":[{"job_id":1,"status":"job_running","create_time":1}],"message_id":"silent"}"#;
    assert_eq!(post(program.host(), "p", silent), 200);
    assert_eq!(post(program.host(), "p", &report(&longer, "a")), 200);

    // Mosquitto closes the connection over one of so many levels. Many of them keep out no other, and are tried again.
    let deep = "/".repeat(300);
    for number in 0..20 {
        let body = report(&format!("deep{number}"), &deep);
        assert_eq!(post(program.host(), "p", &body), 200);
    }
    let fine = [
        "hw/events/messages/dli/message/confirm",
        " ",
        "/",
        "\u{1f600}/é",
        "'; DROP",
        &long,
    ];
    for topic in fine {
        assert_eq!(post(program.host(), "p", &report("fine\0\"\n", topic)), 200);
    }
    let heard = broker.hears(fine.len());
    let wanted = fine.map(|topic| (said(topic, "fine\0\"\n"), 1));
    assert_eq!(heard, wanted.into());
    let database = Connection::open(dir.path().join("edge-report.db")).unwrap();
    let left = || -> (i64, String, i64) {
        let left = "SELECT count(*), max(topic), max(due_ms - received_ms) FROM confirmation";
        let row = database.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        row.unwrap()
    };
    let until = Instant::now() + PATIENCE;
    while left().0 > 20 || left().2 < 5000 {
        assert!(Instant::now() < until, "{:?}", left());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left().1, deep);
}

/// The message that finds the connection gone is not at fault.
#[test]
fn a_broker_that_was_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Mosquitto::started(ANYBODY);
    let program = start(dir.path(), &broker, &["--quiet"]);
    for number in 0..3 {
        let body = report(&format!("r{number}"), "t");
        assert_eq!(post(program.host(), "p", &body), 200);
        broker.hears(number + 1);
        broker.kill();
        broker.start();
    }
    program.wait_for("failed confirm", 2);
    assert!(!program.log().contains("one message"), "{}", program.log());
}

/// A connection at a broker that acknowledges what it likes.
struct Talker {
    stream: TcpStream,
    received: BytesMut,
}

impl Talker {
    fn accept(listener: &TcpListener) -> Talker {
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            if let Ok((stream, _)) = listener.accept() {
                break stream;
            }
            assert!(Instant::now() < until, "nobody connects");
            thread::sleep(Duration::from_millis(20));
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let received = BytesMut::new();
        let mut talker = Talker { stream, received };
        assert!(matches!(talker.read(), Packet::Connect(_)));
        let code = ConnectReturnCode::Success;
        talker.write(&Packet::ConnAck(ConnAck::new(code, false)));
        talker
    }

    /// The next message, by its number and payload.
    fn hears(&mut self) -> (u16, String) {
        match self.read() {
            Packet::Publish(message) => {
                let payload = String::from_utf8(message.payload.to_vec());
                (message.pkid, payload.unwrap())
            }
            packet => panic!("{packet:?}"),
        }
    }

    fn acknowledges(&mut self, numbers: &[u16]) {
        for number in numbers {
            self.write(&Packet::PubAck(PubAck::new(*number)));
        }
    }

    fn read(&mut self) -> Packet {
        loop {
            if let Ok(packet) = Packet::read(&mut self.received, 1 << 20) {
                return packet;
            }
            let mut bytes = [0; 1024];
            let length = self.stream.read(&mut bytes).unwrap();
            assert!(length > 0, "the receiver closed the connection");
            self.received.extend_from_slice(&bytes[..length]);
        }
    }

    fn write(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, 1 << 20).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }
}

/// What is acknowledged twice stands for no other message, and what was never sent for none at all.
#[test]
fn acknowledgements_of_nothing_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge-report.db");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let program = Program::start(dir.path(), &["--confirm", &url, "--quiet"]);
    assert_eq!(post(program.host(), "p", &report("1", "t")), 200);
    let mut broker = Talker::accept(&listener);
    let (first, _) = broker.hears();
    broker.acknowledges(&[first, first]);
    nothing_waits(&file);
    assert_eq!(post(program.host(), "p", &report("2", "t")), 200);
    let (second, _) = broker.hears();
    broker.acknowledges(&[first, second + 500]);
    drop(broker);

    let mut broker = Talker::accept(&listener);
    let (number, said) = broker.hears();
    assert_eq!(said, payload("2"));
    broker.acknowledges(&[number + 500, number]);
    nothing_waits(&file);
    assert!(!program.log().contains("unexpected"), "{}", program.log());
}

/// What stepped aside while the clock was ahead is not put off until then.
#[test]
fn a_message_comes_though_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge-report.db");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let args = ["--confirm", &url, "--quiet"];
    let program = Program::start(dir.path(), &args);
    assert_eq!(post(program.host(), "p", &report("1", "t")), 200);
    let mut broker = Talker::accept(&listener);
    broker.hears();
    drop(broker);
    program.wait_for("one message", 1);
    drop(program);
    // As a clock leaves it that was a year ahead.
    let ahead = "UPDATE confirmation SET due_ms = due_ms + 31536000000, received_ms = received_ms + 31536000000";
    let changed = Connection::open(&file).unwrap().execute(ahead, []);
    assert_eq!(changed, Ok(1));

    let _program = Program::start(dir.path(), &args);
    let mut broker = Talker::accept(&listener);
    let (number, said) = broker.hears();
    assert_eq!(said, payload("1"));
    broker.acknowledges(&[number]);
    nothing_waits(&file);
}

/// Each message goes by one of them, and a repeat is not confirmed again.
#[test]
fn several_receivers_share_what_waits() {
    let server = Server::start();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut broker = Mosquitto::new(ANYBODY, |_| {});
    let (store, url) = (server.url(), format!("mqtt://{}", broker.place()));
    let start = |at: usize| {
        let args = ["--store", &store, "--confirm", &url];
        Program::start(dirs[at].path(), &args)
    };
    let mut programs = [0, 1].map(start);
    for number in 0..300 {
        for program in &programs {
            let body = report(&format!("r{number}"), "t");
            assert_eq!(post(program.host(), "p", &body), 200);
        }
    }
    let waiting = || server.ask::<i64>("SELECT count(*) FROM edge_report.confirmation")[0];
    assert_eq!(waiting(), 300);
    broker.start();
    let heard = broker.hears(300);
    assert!(heard.values().all(|times| *times == 1), "{heard:?}");

    // What one has in its hands when it dies comes by the other, or by the next.
    for round in 0..6 {
        broker.kill();
        for number in 0..100 {
            let body = report(&format!("k{round}-{number}"), "t");
            assert_eq!(post(programs[round % 2].host(), "p", &body), 200);
        }
        broker.start();
        thread::sleep(Duration::from_millis(100 * round as u64));
        programs[round % 2] = start(round % 2);
    }
    broker.hears(900);
    let until = Instant::now() + PATIENCE;
    while waiting() > 0 {
        assert!(Instant::now() < until, "{} wait", waiting());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn by_password_and_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ca = common::ca::Ca::new("broker");
    let (certificate, key) = ca.leaf();
    for (name, content) in [
        ("ca.pem", &ca.pem),
        ("cert.pem", &certificate),
        ("key.pem", &key),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let other = common::ca::Ca::new("other");
    fs::write(dir.path().join("other.pem"), &other.pem).unwrap();
    // `user:p@ss/w`
    let passwords = dir.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args(["user", "p@ss/w"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let broker = Mosquitto::started(&format!(
        "password_file {}\ncertfile {}\nkeyfile {}",
        path("passwords"),
        path("cert.pem"),
        path("key.pem")
    ));
    let place = broker.place();
    let tries = |number: usize, login: &str, ca: &str, why: Option<&str>| {
        let url = format!("mqtts://{login}{place}");
        let own = tempfile::tempdir().unwrap();
        let args = ["--confirm", &url, "--confirm-ca", &path(ca)];
        let program = Program::start(own.path(), &args);
        let id = format!("{number}");
        assert_eq!(post(program.host(), "p", &report(&id, "t")), 200);
        match why {
            None => {
                broker.hears(1);
                assert!(broker.heard().contains_key(&said("t", &id)));
            }
            Some(why) => {
                program.wait_for("failed confirm", 1);
                assert!(program.log().contains(why), "{}", program.log());
            }
        }
        assert!(!program.log().contains("p%40ss") && !program.log().contains("p@ss"));
    };
    tries(0, "user:p%40ss%2Fw@", "other.pem", Some("UnknownIssuer"));
    tries(1, "user:wrong@", "ca.pem", Some("NotAuthorized"));
    tries(2, "", "ca.pem", Some("NotAuthorized"));
    tries(3, "user:p%40ss%2Fw@", "ca.pem", None);

    // Whom to trust is read again on SIGHUP.
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("ca.pem");
    fs::write(&file, &other.pem).unwrap();
    let url = format!("mqtts://user:p%40ss%2Fw@{place}");
    let args = ["--confirm", &url, "--confirm-ca", "ca.pem"];
    let program = Program::start(own.path(), &args);
    assert_eq!(post(program.host(), "p", &report("4", "t")), 200);
    program.wait_for("UnknownIssuer", 1);
    fs::write(&file, &ca.pem).unwrap();
    program.reload();
    assert!(broker.hears(2).contains_key(&said("t", "4")));
}

#[test]
fn what_is_set_wrongly_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [(&[&str], &str); 9] = [
        (
            &["--confirm", "mqtt://h", "--store", "memory"],
            "needs a database",
        ),
        (&["--confirm", "tcp://u:a-secret@h:1883"], "a broker is"),
        (&["--confirm", "mqtt://u:a-secret@h:port"], "a broker is"),
        (&["--confirm", "mqtt://a-secret@h"], "a broker is"),
        (&["--confirm", "mqtt://h:1883/topic"], "a broker is"),
        (&["--confirm", "mqtts://h"], "needs --confirm-ca"),
        (
            &["--confirm", "mqtts://h", "--confirm-ca", "no.pem"],
            "no.pem",
        ),
        (
            &["--confirm", "mqtt://h", "--confirm-ca", "no.pem"],
            "mqtts://",
        ),
        (&["--confirm-ca", "no.pem"], "needs --confirm"),
    ];
    for (args, why) in wrong {
        assert_refused(dir.path(), args, why);
    }
}
