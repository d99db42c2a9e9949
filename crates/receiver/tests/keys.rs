//! Who may report: keys and tokens by project, from a file that is read again.
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
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use common::program::{Program, command};
use common::{exchange, report, request, signed};
use edge_report::{JobStatus, WallTime};
use edge_report_receiver::{Options, Receiver};

const KEYS: &str = "\u{feff}
# who        how    what
one          key    AK1 SK1-secret
one          key    AK2 SK2-secret
two          token  TOKEN2-secret
*            key    AK3 SK3-secret
";

fn start(dir: &Path) -> Program {
    fs::write(dir.join("keys"), KEYS).unwrap();
    Program::start(dir, &["--keys", "keys", "--store", "memory"])
}

fn body(id: &str) -> Vec<u8> {
    report(id, 7, JobStatus::RUNNING, 1_780_000_000_000)
}

fn report_by_key(program: &Program, project: &str, keys: (&str, &str), id: &str) -> u16 {
    let now = WallTime::now().unix_ms();
    exchange(
        program.host(),
        &signed(program.host(), project, keys, now, &body(id)),
    )
    .0
}

fn report_by_token(program: &Program, project: &str, token: &str) -> u16 {
    let headers = [("X-Auth-Token", token)];
    exchange(
        program.host(),
        &request(program.host(), project, &headers, &body("t")),
    )
    .0
}

#[test]
fn each_has_its_project() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    assert_eq!(
        report_by_key(&program, "one", ("AK1", "SK1-secret"), "1"),
        200
    );
    assert_eq!(
        report_by_key(&program, "two", ("AK1", "SK1-secret"), "1"),
        403
    );
    assert_eq!(
        report_by_key(&program, "two", ("AK3", "SK3-secret"), "1"),
        200
    );
    assert_eq!(
        report_by_key(&program, "one", ("AK1", "SK2-secret"), "1"),
        401
    );
    assert_eq!(
        report_by_key(&program, "one", ("AK9", "SK1-secret"), "1"),
        401
    );
    assert_eq!(report_by_token(&program, "two", "TOKEN2-secret"), 200);
    assert_eq!(report_by_token(&program, "one", "TOKEN2-secret"), 403);
    assert_eq!(report_by_token(&program, "two", "TOKEN3-secret"), 401);
    assert_eq!(common::post(program.host(), "one", &body("1")), 401);
    let log = program.log();
    assert!(log.contains("refused") && !log.contains("secret"), "{log}");
}

/// As the service does it: more than five in a row.
#[test]
fn wrong_signatures_lock_their_key_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    for _ in 0..5 {
        assert_eq!(report_by_key(&program, "one", ("AK1", "wrong"), "1"), 401);
    }
    // A right one starts the count anew.
    assert_eq!(
        report_by_key(&program, "one", ("AK1", "SK1-secret"), "1"),
        200
    );
    for _ in 0..6 {
        assert_eq!(report_by_key(&program, "one", ("AK1", "wrong"), "1"), 401);
    }
    assert_eq!(
        report_by_key(&program, "one", ("AK1", "SK1-secret"), "2"),
        401
    );
    assert_eq!(
        report_by_key(&program, "one", ("AK2", "SK2-secret"), "2"),
        200
    );
    assert_eq!(report_by_token(&program, "two", "TOKEN2-secret"), 200);
}

/// The lock lasts 5 minutes, whatever is tried in them.
#[test]
fn a_lock_ends() {
    static NOW: AtomicI64 = AtomicI64::new(1_780_000_000_000);
    let clock = || NOW.load(Ordering::Relaxed);
    let receiver = Receiver::start(Options::new().keys("AK", "SK").clock(clock)).unwrap();
    let host = common::address(&receiver);
    let send = |sk| exchange(&host, &signed(&host, "p", ("AK", sk), clock(), &body("1"))).0;
    for _ in 0..6 {
        assert_eq!(send("wrong"), 401);
    }
    for minutes in 0..5 {
        assert_eq!([send("SK"), send("wrong")], [401, 401], "{minutes} minutes");
        NOW.fetch_add(60_000, Ordering::Relaxed);
    }
    assert_eq!(send("SK"), 200);
    // It begins anew, at the first.
    for _ in 0..5 {
        assert_eq!(send("wrong"), 401);
    }
    assert_eq!(send("SK"), 200);
}

/// A clock that was wrong locks nobody until the day that it showed.
#[test]
fn a_lock_ends_though_the_clock_is_set_back() {
    static NOW: AtomicI64 = AtomicI64::new(4_080_000_000_000);
    let clock = || NOW.load(Ordering::Relaxed);
    let receiver = Receiver::start(Options::new().keys("AK", "SK").clock(clock)).unwrap();
    let host = common::address(&receiver);
    let send = |sk| exchange(&host, &signed(&host, "p", ("AK", sk), clock(), &body("1"))).0;
    for _ in 0..6 {
        assert_eq!(send("wrong"), 401);
    }
    assert_eq!(send("SK"), 401);
    NOW.store(1_780_000_000_000, Ordering::Relaxed);
    assert_eq!(send("SK"), 200);
}

/// What was signed 15 minutes ago is refused, and locks nothing: it may be a copy that somebody else has kept.
#[test]
fn copies_of_old_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let keys = ("AK1", "SK1-secret");
    for minutes in [-16, 16] {
        let then = WallTime::now().unix_ms() + minutes * 60_000;
        let old = signed(program.host(), "one", keys, then, &body("1"));
        for _ in 0..8 {
            assert_eq!(exchange(program.host(), &old).0, 401);
        }
    }
    assert_eq!(report_by_key(&program, "one", keys, "1"), 200);
    // One that is a copy of today is the same report again.
    let now = signed(
        program.host(),
        "one",
        keys,
        WallTime::now().unix_ms(),
        &body("2"),
    );
    assert_eq!(
        [
            exchange(program.host(), &now).0,
            exchange(program.host(), &now).0
        ],
        [200, 200]
    );
    assert_eq!(program.log().matches("event=repeat").count(), 1);
}

#[test]
fn the_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    fs::write(dir.path().join("keys"), "one key AK4 SK4-secret\n").unwrap();
    program.reload();
    assert_eq!(
        report_by_key(&program, "one", ("AK4", "SK4-secret"), "1"),
        200
    );
    assert_eq!(
        report_by_key(&program, "one", ("AK1", "SK1-secret"), "1"),
        401
    );
    // One that cannot be read changes nothing, nor does one that is not written yet.
    fs::write(dir.path().join("keys"), "").unwrap();
    program.reload();
    fs::write(
        dir.path().join("keys"),
        "one key AK5 SK5-secret\none kye AK6 SK6-secret\n",
    )
    .unwrap();
    program.reload();
    assert_eq!(
        report_by_key(&program, "one", ("AK4", "SK4-secret"), "1"),
        200
    );
    assert_eq!(
        report_by_key(&program, "one", ("AK5", "SK5-secret"), "1"),
        401
    );
    let log = program.log();
    assert!(
        log.contains("keys: line 2: ") && !log.contains("secret"),
        "{log}"
    );
}

#[test]
fn a_file_that_is_wrong_is_told_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys"), "# none\n").unwrap();
    let ended = command(dir.path(), &["check-config", "--keys", "keys"])
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("keys: there are no keys"), "{said}");
    for keys in [
        "one key AK1\n",
        "one token a-secret more\n",
        "one key AK1 a-secret\ntwo key AK1 a-secret\n",
    ] {
        fs::write(dir.path().join("keys"), keys).unwrap();
        let ended = command(dir.path(), &["check-config", "--keys", "keys"])
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(
            said.contains("keys: line ") && !said.contains("secret"),
            "{said}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_keys_take_little() {
    let dir = tempfile::tempdir().unwrap();
    let line = |number| format!("{:032x} key AK{number:018} SK{number:038}\n", number / 10);
    let keys: String = (0..100_000).map(line).collect();
    fs::write(dir.path().join("keys"), keys).unwrap();
    let program = Program::start(dir.path(), &["--keys", "keys"]);
    let keys = (format!("AK{:018}", 99_999), format!("SK{:038}", 99_999));
    let project = format!("{:032x}", 9_999);
    assert_eq!(
        report_by_key(&program, &project, (&keys.0, &keys.1), "1"),
        200
    );
    assert!(program.rss() <= 64, "{} MB", program.rss());
    for _ in 0..3 {
        program.reload();
    }
    assert!(
        program.rss() <= 96,
        "{} MB after reading them again",
        program.rss()
    );
}
