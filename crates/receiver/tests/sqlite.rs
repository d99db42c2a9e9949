//! What the store on SQLite keeps: HTTP in, the database out.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use common::disk::Disk;
#[cfg(all(unix, feature = "program"))]
use common::program::Program;
use common::{PATIENCE, address, post, report};
use edge_report::{Job, JobStatus, ReportBuf};
use edge_report_receiver::{Options, Receiver};
use rusqlite::Connection;
use rusqlite::types::FromSql;

const NOW: i64 = 1_780_000_000_000;

fn start(file: &Path) -> Receiver {
    let store = format!("sqlite:{}", file.display());
    Receiver::start(Options::new().store(store)).unwrap()
}

fn ask<T: FromSql>(file: &Path, sql: &str) -> Vec<T> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Two names that are no text would become one, and the second report a repeat.
#[test]
fn a_project_is_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = start(&dir.path().join("reports.db"));
    let body = report("a", 7, JobStatus::RUNNING, NOW);
    for (project, status) in [("%ff", 404), ("%fe", 404), ("%c3%a4", 200)] {
        assert_eq!(
            post(&address(&receiver), project, &body),
            status,
            "{project}"
        );
    }
}

#[test]
fn each_report_once_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    for _ in 0..2 {
        let receiver = start(&file);
        let host = address(&receiver);
        for body in [
            report("a", 7, JobStatus::RUNNING, NOW),
            report("b", 7, JobStatus::RUNNING, NOW),
        ] {
            // The same again, and the same from somebody else.
            for project in ["p", "p", "q"] {
                assert_eq!(post(&host, project, &body), 200);
            }
        }
    }
    let ids: Vec<String> = ask(&file, "SELECT project || message_id FROM report ORDER BY 1");
    assert_eq!(ids, ["pa", "pb", "qa", "qb"]);
    let bodies: Vec<Vec<u8>> = ask(
        &file,
        "SELECT body FROM report WHERE project = 'p' ORDER BY message_id",
    );
    assert_eq!(bodies[0], report("a", 7, JobStatus::RUNNING, NOW));
}

/// An agent that has one id for all its reports loses none.
#[test]
fn another_body_is_another_report() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let receiver = start(&file);
    for job in 1..=3 {
        assert_eq!(
            post(
                &address(&receiver),
                "p",
                &report("same", job, JobStatus::RUNNING, NOW)
            ),
            200
        );
    }
    let ids: Vec<String> = ask(&file, "SELECT message_id FROM report");
    assert_eq!(ids, ["same"; 3]);
}

#[test]
fn an_ended_job_stays_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let receiver = start(&file);
    let host = address(&receiver);
    let state = || ask::<String>(&file, "SELECT status || ' ' || create_time FROM job");
    let steps = [
        (JobStatus::RUNNING, NOW, "job_running", NOW),
        (JobStatus::FINISH, NOW, "job_finish", NOW),
        (JobStatus::RUNNING, NOW, "job_finish", NOW),
        (JobStatus::RUNNING, NOW - 1, "job_finish", NOW),
        // It was started again.
        (JobStatus::RUNNING, NOW + 1, "job_running", NOW + 1),
    ];
    for (number, (status, create_time, then, at)) in steps.into_iter().enumerate() {
        assert_eq!(
            post(
                &host,
                "p",
                &report(&format!("{number}"), 7, status, create_time)
            ),
            200
        );
        assert_eq!(state(), [format!("{then} {at}")]);
    }
    assert_eq!(ask::<i64>(&file, "SELECT count(*) FROM report_job"), [5]);
}

#[test]
fn hostile_texts_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let receiver = start(&file);
    let long = "x".repeat(1 << 20);
    for id in [
        "a\u{0}b",
        "'; DROP TABLE report; --",
        "\u{202e}\u{1f600}",
        &long,
    ] {
        assert_eq!(
            post(
                &address(&receiver),
                "p%27%22",
                &report(id, 7, JobStatus::from_name("\u{0}?"), NOW)
            ),
            200
        );
    }
    assert_eq!(
        ask::<i64>(&file, "SELECT count(*) FROM report WHERE project = 'p''\"'"),
        [4]
    );
    assert_eq!(
        ask::<i64>(&file, "SELECT max(length(message_id)) FROM report"),
        [256]
    );
}

#[test]
fn requests_share_commits_and_each_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let receiver = start(&file);
    let host = address(&receiver);
    thread::scope(|scope| {
        for agent in 0..16 {
            let host = &host;
            scope.spawn(move || {
                for number in 0..20 {
                    let body = report(
                        &format!("{agent}-{number}"),
                        agent + 1,
                        JobStatus::RUNNING,
                        NOW + number,
                    );
                    assert_eq!(post(host, "p", &body), 200);
                }
            });
        }
    });
    assert_eq!(ask::<i64>(&file, "SELECT count(*) FROM report"), [320]);
    let newest = format!("SELECT count(*) FROM job WHERE create_time = {}", NOW + 19);
    assert_eq!(ask::<i64>(&file, &newest), [16]);
}

/// While somebody else keeps the store from committing, nothing is answered.
#[test]
fn answered_after_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let receiver = start(&file);
    let blocker = Connection::open(&file).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let answered = scope.spawn(|| {
            post(
                &address(&receiver),
                "p",
                &report("a", 7, JobStatus::RUNNING, NOW),
            )
        });
        thread::sleep(Duration::from_millis(500));
        assert!(!answered.is_finished());
        blocker.execute_batch("COMMIT").unwrap();
        assert_eq!(answered.join().unwrap(), 200);
    });
    assert_eq!(ask::<i64>(&file, "SELECT count(*) FROM report"), [1]);
}

#[test]
fn what_is_old_goes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let store = format!("sqlite:{}", file.display());
    let old = Receiver::start(Options::new().store(&store).clock(|| NOW)).unwrap();
    for job in 1..=3 {
        assert_eq!(
            post(
                &address(&old),
                "p",
                &report("old", job, JobStatus::RUNNING, NOW)
            ),
            200
        );
    }
    drop(old);
    let day_later = Options::new()
        .store(&store)
        .clock(|| NOW + 86_400_001)
        .retention(Duration::from_hours(24));
    let receiver = Receiver::start(day_later).unwrap();
    assert_eq!(
        post(
            &address(&receiver),
            "p",
            &report("new", 3, JobStatus::RUNNING, NOW)
        ),
        200
    );
    let until = Instant::now() + PATIENCE;
    while ask::<i64>(&file, "SELECT count(*) FROM report") != [1] {
        assert!(Instant::now() < until, "the old ones are still there");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ask::<i64>(&file, "SELECT job_id FROM job"), [3]);
    assert_eq!(ask::<i64>(&file, "SELECT job_id FROM report_job"), [3]);
}

/// What came while the clock was ahead stays until its time, and holds nothing else back, however much it is.
#[test]
fn what_is_old_goes_whatever_the_clock_did() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let store = format!("sqlite:{}", file.display());
    let body = |id: &str| report(id, 7, JobStatus::RUNNING, NOW);
    let clocks: [(fn() -> i64, _); 3] = [
        (|| NOW + 300 * 86_400_000, "ahead"),
        (|| NOW, "old"),
        (|| NOW + 86_400_000, "new"),
    ];
    for (clock, id) in clocks {
        let receiver = Receiver::start(Options::new().store(&store).clock(clock)).unwrap();
        for number in 0..if id == "ahead" { 600 } else { 1 } {
            let status = post(&address(&receiver), "p", &body(&format!("{id}{number}")));
            assert_eq!(status, 200);
        }
    }
    let day_later = Options::new()
        .store(&store)
        .clock(|| NOW + 86_400_001)
        .retention(Duration::from_hours(24));
    let _receiver = Receiver::start(day_later).unwrap();
    let until = Instant::now() + PATIENCE;
    let left = "SELECT message_id FROM report WHERE message_id NOT LIKE 'ahead%' ORDER BY 1";
    while ask::<String>(&file, left) != ["new0"] {
        assert!(Instant::now() < until, "the old one is still there");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ask::<i64>(&file, "SELECT count(*) FROM report"), [601]);
}

/// Reports of many jobs go in steps of their own: in between, others are answered.
#[test]
fn what_is_old_goes_in_steps_however_much_is_in_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let store = format!("sqlite:{}", file.display());
    let old = Receiver::start(Options::new().store(&store).clock(|| NOW)).unwrap();
    for id in ["a", "b", "c"] {
        let mut report = ReportBuf::new(id).with_topic("t");
        for job_id in 1..5000 {
            report = report.with_job(Job::new(JobStatus::RUNNING, NOW).with_job_id(job_id));
        }
        let body = report.encode_to_vec().unwrap();
        assert_eq!(post(&address(&old), "p", &body), 200);
    }
    drop(old);
    // The last one takes with it all that goes together with it.
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER stay BEFORE DELETE ON report WHEN old.message_id = 'c'
             BEGIN SELECT RAISE(ABORT, 'it stays'); END",
        )
        .unwrap();
    let day_later = Options::new()
        .store(&store)
        .clock(|| NOW + 86_400_001)
        .retention(Duration::from_hours(24));
    let _receiver = Receiver::start(day_later).unwrap();
    let until = Instant::now() + PATIENCE;
    while ask::<String>(&file, "SELECT message_id FROM report") != ["c"] {
        assert!(Instant::now() < until, "the others are still there");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What is written to a file that has no name any more is gone with the program.
#[cfg(unix)]
#[test]
fn nothing_is_answered_out_of_a_file_that_was_removed() {
    for gone in ["reports.db", "reports.db-wal", "reports.db-shm"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reports.db");
        let body = |id| report(id, 7, JobStatus::RUNNING, NOW);
        let receiver = start(&file);
        let host = address(&receiver);
        assert_eq!(post(&host, "p", &body("a")), 200);
        let (here, there) = (dir.path().join(gone), dir.path().join("elsewhere"));
        std::fs::rename(&here, &there).unwrap();
        assert_eq!(post(&host, "p", &body("b")), 503, "{gone}");
        // Another one of its name.
        std::fs::copy(&there, &here).unwrap();
        assert_eq!(post(&host, "p", &body("b")), 503, "{gone}");
        std::fs::rename(&there, &here).unwrap();
        assert_eq!(post(&host, "p", &body("b")), 200, "{gone}");
        drop(receiver);
        let ids = ask::<String>(&file, "SELECT message_id FROM report ORDER BY 1");
        assert_eq!(ids, ["a", "b"], "{gone}");
    }
}

/// Else a disk would fill though it is set.
#[cfg(all(unix, feature = "program"))]
#[test]
fn retention_that_fails_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge-report.db");
    let store = format!("sqlite:{}", file.display());
    let old = Receiver::start(Options::new().store(&store).clock(|| 1)).unwrap();
    let body = report("old", 7, JobStatus::RUNNING, NOW);
    assert_eq!(post(&address(&old), "p", &body), 200);
    drop(old);
    let own = "CREATE TRIGGER mine BEFORE DELETE ON report BEGIN SELECT RAISE(ABORT, 'these are mine'); END";
    Connection::open(&file).unwrap().execute_batch(own).unwrap();
    let program = Program::start(dir.path(), &["--retention", "1", "--quiet"]);
    program.wait_for("event=failed retention why=\"these are mine", 1);
    let mend = "DROP TRIGGER mine";
    Connection::open(&file)
        .unwrap()
        .execute_batch(mend)
        .unwrap();
    program.wait_for("event=retention works again", 1);
    // Once, though it was tried each second.
    assert_eq!(program.log().matches("failed retention").count(), 1);
}

#[test]
fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    drop(start(&file));
    Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let store = format!("sqlite:{}", file.display());
    let Err(why) = Receiver::start(Options::new().store(store)) else {
        panic!("started")
    };
    assert!(why.to_string().contains("99"), "{why}");
}

/// On a full disk agents are told to come again. What was answered is kept, and when there is room it goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let disk = Disk::mount(1);
    let file = disk.path().join("reports.db");
    let receiver = start(&file);
    let host = address(&receiver);
    let (kept, refused) = disk.filled_by(&host);
    disk.free();
    assert_eq!(post(&host, "p", &refused), 200);
    drop(receiver);
    assert_eq!(ask::<String>(&file, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(ask::<i64>(&file, "SELECT count(*) FROM report"), [kept + 1]);
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let receiver = start(&dir.path().join("reports.db"));
    assert_eq!(
        post(
            &address(&receiver),
            "p",
            &report("a", 7, JobStatus::RUNNING, NOW)
        ),
        200
    );
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{entry:?}"
        );
    }
}

/// A file of the first version, with a job in it.
#[test]
fn an_older_schema_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reports.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(include_str!("../src/store/sqlite/1.sql"))
        .unwrap();
    old.execute_batch("INSERT INTO job VALUES ('p', 7, 1, 'job_running', 0, NULL, 1234, 1); PRAGMA user_version = 1")
        .unwrap();
    drop(old);
    let receiver = start(&file);
    let body = report("a", 7, JobStatus::RUNNING, NOW);
    assert_eq!(post(&address(&receiver), "p", &body), 200);
    let job = "SELECT since_ms || ' ' || create_time FROM job";
    assert_eq!(ask::<String>(&file, job), [format!("1234 {NOW}")]);
    let body = report("b", 7, JobStatus::IDLE, NOW);
    assert_eq!(post(&address(&receiver), "p", &body), 200);
    assert_eq!(
        ask::<i64>(&file, "SELECT since_ms - received_ms FROM job"),
        [0]
    );
}
