//! What the store on PostgreSQL keeps: HTTP in, the database out.
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
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::ca::Ca;
#[cfg(target_os = "linux")]
use common::disk::Disk;
use common::postgres::Server;
use common::program::Program;
use common::{PATIENCE, address, post, report};
use edge_report::JobStatus;
use edge_report_receiver::{Options, Receiver};

const NOW: i64 = 1_780_000_000_000;
const DAY: i64 = 86_400_000;

fn start(server: &Server) -> Receiver {
    Receiver::start(Options::new().store(server.url())).unwrap()
}

/// All in one, since a server takes a while to start: what one test does is in a project of its own.
#[test]
fn keeps_reports() {
    let server = Server::start();
    an_older_schema_is_renewed(&server);
    several_start_at_once(&server);
    each_report_once_among_several(&server);
    answered_after_the_commit(&server);
    the_same_twice_in_a_commit(&server);
    the_same_to_two_under_any_isolation(&server);
    only_in_an_encoding_of_all_texts(&server);
    who_renews_the_tables_has_time(&server);
    an_ended_job_stays_ended(&server);
    hostile_texts_are_kept(&server);
    one_that_cannot_be_kept_keeps_out_no_other(&server);
    every_key_begins_with_the_project(&server);
    a_newer_schema_is_left_alone(&server);
}

/// One of the first version, with a job in it, which a receiver of that version may still use.
fn an_older_schema_is_renewed(server: &Server) {
    let first = include_str!("../src/store/postgres/1.sql");
    let version = "CREATE SCHEMA edge_report; CREATE TABLE edge_report.schema_version AS SELECT 1 AS version;";
    let job = |id: i64| {
        format!("INSERT INTO edge_report.job (project, job_id, create_time, status, final, received_ms, digest)
            VALUES ('p', {id}, 1, 'job_running', false, 1234, '')")
    };
    server.execute(&[version, first, &job(7)].concat());
    let receiver = start(server);
    server.execute(&job(8));
    for id in [7, 8] {
        let body = report("a", id, JobStatus::RUNNING, NOW);
        assert_eq!(post(&address(&receiver), "p", &body), 200);
    }
    let since = "SELECT since_ms FROM edge_report.job ORDER BY job_id";
    let since = server.ask::<i64>(since);
    assert!(since[0] == 1234 && since[1] > NOW, "{since:?}");
    drop(receiver);
    server.execute("DROP SCHEMA edge_report CASCADE");
}

fn several_start_at_once(server: &Server) {
    thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start(server))).collect();
        for (number, start) in starts.into_iter().enumerate() {
            let receiver = start.join().unwrap();
            assert_eq!(
                post(
                    &address(&receiver),
                    "starts",
                    &report(&format!("{number}"), 7, JobStatus::RUNNING, NOW)
                ),
                200
            );
        }
    });
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report WHERE project = 'starts'"),
        [4]
    );
    assert_eq!(
        server.ask::<i32>("SELECT version FROM edge_report.schema_version"),
        [2]
    );
}

fn each_report_once_among_several(server: &Server) {
    let receivers = [start(server), start(server)];
    // The same reports to both at the same time, some of each agent's of the same jobs.
    thread::scope(|scope| {
        for agent in 0..8 {
            let receivers = &receivers;
            scope.spawn(move || {
                for number in 0..25 {
                    let body = report(
                        &format!("{number}"),
                        number % 5 + 1,
                        JobStatus::RUNNING,
                        NOW + number,
                    );
                    assert_eq!(post(&address(&receivers[agent % 2]), "once", &body), 200);
                }
            });
        }
    });
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report WHERE project = 'once'"),
        [25]
    );
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.known WHERE project = 'once'"),
        [25]
    );
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report_job WHERE project = 'once'"),
        [25]
    );
    let newest = server.ask::<i64>(
        "SELECT create_time FROM edge_report.job WHERE project = 'once' ORDER BY job_id",
    );
    assert_eq!(newest, [20, 21, 22, 23, 24].map(|number| NOW + number));
    // Another body is another report, though of the same id.
    for job in 1..=3 {
        assert_eq!(
            post(
                &address(&receivers[0]),
                "same",
                &report("same", job, JobStatus::RUNNING, NOW)
            ),
            200
        );
    }
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report WHERE project = 'same'"),
        [3]
    );
    let body = server.ask::<Vec<u8>>("SELECT body FROM edge_report.report r JOIN edge_report.job j USING (project, digest) WHERE project = 'same' AND job_id = 2");
    assert_eq!(body, [report("same", 2, JobStatus::RUNNING, NOW)]);
}

/// While somebody else keeps the store from its last statement, nothing is answered.
fn answered_after_the_commit(server: &Server) {
    let receiver = start(server);
    let blocker = server.session();
    blocker.execute("BEGIN; LOCK TABLE edge_report.job IN SHARE MODE");
    thread::scope(|scope| {
        let body = report("a", 7, JobStatus::RUNNING, NOW);
        let answered = scope.spawn(move || post(&address(&receiver), "blocked", &body));
        thread::sleep(Duration::from_millis(500));
        assert!(!answered.is_finished());
        blocker.execute("COMMIT");
        assert_eq!(answered.join().unwrap(), 200);
    });
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.job WHERE project = 'blocked'"),
        [1]
    );
}

/// An agent that was cut off comes again before its first request was committed.
fn the_same_twice_in_a_commit(server: &Server) {
    let receiver = start(server);
    let host = address(&receiver);
    let blocker = server.session();
    blocker.execute("BEGIN; LOCK TABLE edge_report.job IN SHARE MODE");
    thread::scope(|scope| {
        // The first of them waits for the lock, the others for it.
        for id in ["first", "same", "same", "same"] {
            let host = &host;
            scope.spawn(move || {
                let body = report(id, 7, JobStatus::RUNNING, NOW);
                assert_eq!(post(host, "twice", &body), 200);
            });
            thread::sleep(Duration::from_millis(150));
        }
        blocker.execute("COMMIT");
    });
    let kept = "SELECT message_id FROM edge_report.report JOIN edge_report.known USING (project, digest, received_ms)
        JOIN edge_report.report_job USING (project, digest, received_ms) WHERE project = 'twice' ORDER BY 1";
    assert_eq!(server.ask::<String>(kept), ["first", "same"]);
}

/// A database may want more of transactions than this needs, and would turn away one of those that enter the same report.
fn the_same_to_two_under_any_isolation(server: &Server) {
    server.execute("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'");
    let receivers = [start(server), start(server)];
    let blocker = server.session();
    blocker
        .execute("BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE edge_report.job IN SHARE MODE");
    thread::scope(|scope| {
        // The first waits for the lock, and the second for the first.
        for receiver in &receivers {
            scope.spawn(|| {
                let body = report("a", 7, JobStatus::RUNNING, NOW);
                assert_eq!(post(&address(receiver), "isolated", &body), 200);
            });
            thread::sleep(Duration::from_millis(300));
        }
        blocker.execute("COMMIT");
    });
    let kept = "SELECT count(*) FROM edge_report.report WHERE project = 'isolated'";
    assert_eq!(server.ask::<i64>(kept), [1]);
    server.execute("ALTER DATABASE postgres RESET default_transaction_isolation");
}

fn only_in_an_encoding_of_all_texts(server: &Server) {
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let url = server.url().replace(":5432/postgres", ":5432/latin");
    let Err(why) = Receiver::start(Options::new().store(url)) else {
        panic!("started")
    };
    let why = why.to_string();
    assert!(
        why.contains("LATIN1") && why.contains("ENCODING 'UTF8'"),
        "{why}"
    );
}

/// With many rows it takes longer than any batch may.
fn who_renews_the_tables_has_time(server: &Server) {
    let renewing = server.session();
    renewing.execute("BEGIN; LOCK TABLE edge_report.schema_version");
    thread::scope(|scope| {
        let started = scope.spawn(|| Receiver::start(Options::new().store(server.url())));
        thread::sleep(Duration::from_secs(21));
        renewing.execute("COMMIT");
        assert!(started.join().unwrap().is_ok());
    });
}

fn an_ended_job_stays_ended(server: &Server) {
    let receiver = start(server);
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
                &address(&receiver),
                "ends",
                &report(&format!("{number}"), 7, status, create_time)
            ),
            200
        );
        let state = server.ask::<String>(
            "SELECT status || ' ' || create_time FROM edge_report.job WHERE project = 'ends'",
        );
        assert_eq!(state, [format!("{then} {at}")]);
    }
}

fn hostile_texts_are_kept(server: &Server) {
    let receiver = start(server);
    let long = "x".repeat(1 << 20);
    for id in [
        "a\u{0}b",
        "'; DROP TABLE report; --",
        "\u{202e}\u{1f600}",
        &long,
    ] {
        let body = report(id, 7, JobStatus::from_name("\u{0}?"), NOW);
        assert_eq!(post(&address(&receiver), "p%27%22", &body), 200);
    }
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report WHERE project = 'p''\"'"),
        [4]
    );
    assert_eq!(
        server.ask::<i32>("SELECT max(length(message_id)) FROM edge_report.report"),
        [256]
    );
    // What no key can hold is refused, and is no trouble of the store.
    for project in ["%00", "a%0ab", &"x".repeat(3000)] {
        assert_eq!(
            post(
                &address(&receiver),
                project,
                &report("a", 7, JobStatus::RUNNING, NOW)
            ),
            404
        );
    }
}

fn one_that_cannot_be_kept_keeps_out_no_other(server: &Server) {
    // As a limit of the database would.
    server.execute("ALTER TABLE edge_report.report ADD CONSTRAINT odd CHECK (CASE WHEN message_id = 'odd' THEN 1 / (length(project) - length(project)) ELSE 1 END = 1)");
    let receiver = start(server);
    thread::scope(|scope| {
        for agent in 0..8 {
            let receiver = &receiver;
            scope.spawn(move || {
                for number in 0..10 {
                    let odd = agent == 0;
                    let id = if odd {
                        "odd".to_owned()
                    } else {
                        format!("{agent}-{number}")
                    };
                    let status = post(
                        &address(receiver),
                        "odd",
                        &report(&id, number + 1, JobStatus::RUNNING, NOW),
                    );
                    assert_eq!(status, if odd { 500 } else { 200 });
                }
            });
        }
    });
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report WHERE project = 'odd'"),
        [70]
    );
    server.execute("ALTER TABLE edge_report.report DROP CONSTRAINT odd");
}

fn every_key_begins_with_the_project(server: &Server) {
    let others = "SELECT i.indrelid::regclass::text FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
        WHERE t.relnamespace = 'edge_report'::regnamespace AND i.indisunique AND a.attname <> 'project'";
    assert_eq!(server.ask::<String>(others), [""; 0]);
}

fn a_newer_schema_is_left_alone(server: &Server) {
    server.execute("UPDATE edge_report.schema_version SET version = 99");
    let Err(why) = Receiver::start(Options::new().store(server.url())) else {
        panic!("started")
    };
    assert!(why.to_string().contains("99"), "{why}");
    server.execute("UPDATE edge_report.schema_version SET version = 2");
}

#[test]
fn what_is_old_goes_by_months() {
    let server = Server::start();
    // 2026-05-28, 2026-07-27 and 2026-09-25
    for (number, days) in [0, 60, 120].into_iter().enumerate() {
        let clock: fn() -> i64 = [|| NOW, || NOW + 60 * DAY, || NOW + 120 * DAY][number];
        let receiver = Receiver::start(Options::new().store(server.url()).clock(clock)).unwrap();
        for job in 1..=3 {
            let body = report(&format!("{days}"), 10 * days + job, JobStatus::RUNNING, NOW);
            assert_eq!(post(&address(&receiver), "p", &body), 200);
        }
    }
    let months = "SELECT relname::text FROM pg_class WHERE relname ~ '^report_[0-9]' AND relkind = 'r' ORDER BY 1";
    assert_eq!(
        server.ask::<String>(months),
        ["report_2026_05", "report_2026_07", "report_2026_09"]
    );
    let kept = Duration::from_hours(24 * 30);
    let receiver = Receiver::start(
        Options::new()
            .store(server.url())
            .clock(|| NOW + 125 * DAY)
            .retention(kept),
    )
    .unwrap();
    let until = Instant::now() + PATIENCE * 3;
    while server.ask::<String>(months) != ["report_2026_09"] {
        assert!(Instant::now() < until, "old months are still there");
        thread::sleep(Duration::from_millis(200));
    }
    for table in ["known", "report", "report_job", "job"] {
        let count = format!("SELECT count(*) FROM edge_report.{table}");
        assert_eq!(server.ask::<i64>(&count), [3], "{table}");
    }
    // Of what has gone nothing is known.
    assert_eq!(
        post(
            &address(&receiver),
            "p",
            &report("0", 1, JobStatus::RUNNING, NOW)
        ),
        200
    );
    assert_eq!(
        server.ask::<i64>("SELECT count(*) FROM edge_report.report"),
        [4]
    );
}

/// What is kept while the clock is wrong goes as a whole, too: nothing stays known of which there is no row.
#[test]
fn what_is_old_goes_whatever_the_clock_did() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOW);
    let server = Server::start();
    let options = || {
        let options = Options::new().store(server.url());
        options.clock(|| CLOCK.load(Ordering::Relaxed))
    };
    let kept = Duration::from_hours(24 * 30);
    let other = Receiver::start(options()).unwrap();
    let receiver = Receiver::start(options().retention(kept)).unwrap();
    let body = report("a", 7, JobStatus::RUNNING, NOW);
    let rows =
        |table: &str| server.ask::<i64>(&format!("SELECT count(*) FROM edge_report.{table}"));
    for receiver in [&receiver, &receiver, &other, &other] {
        CLOCK.store(NOW, Ordering::Relaxed);
        // The other one has to find out that the month has gone.
        if post(&address(receiver), "p", &body) != 200 {
            assert!(ptr::eq(receiver, &raw const other));
            assert_eq!(post(&address(receiver), "p", &body), 200);
        }
        assert_eq!([rows("known"), rows("report")], [[1], [1]]);
        CLOCK.store(NOW + 125 * DAY, Ordering::Relaxed);
        let until = Instant::now() + PATIENCE;
        while rows("report") != [0] {
            assert!(Instant::now() < until, "it is still there");
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(rows("known"), [0]);
    }
}

#[test]
fn lives_through_the_end_of_the_server() {
    let mut server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", &server.url(), "--quiet"]);
    let host = program.host();
    assert_eq!(
        post(host, "p", &report("1", 7, JobStatus::RUNNING, NOW)),
        200
    );
    server.kill();
    let body = report("2", 7, JobStatus::RUNNING, NOW);
    let request = common::request(host, "p", &[], &body);
    let (status, answer) = common::exchange(host, &request);
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("retry-after: "),
        "{answer}"
    );
    server.run();
    let until = Instant::now() + PATIENCE;
    while post(host, "p", &body) != 200 {
        assert!(Instant::now() < until, "it does not come back");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        server.ask::<String>("SELECT message_id FROM edge_report.report ORDER BY 1"),
        ["1", "2"]
    );
    // Told once each, also when no request is.
    program.wait_for("event=store works again", 1);
    assert_eq!(program.log().matches("event=failed store").count(), 1);
}

/// As `a_full_disk_loses_nothing` on SQLite, but that it may have to be started again: without room for its log PostgreSQL ends.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let disk = Disk::mount(256);
    let mut server = Server::start_on(&disk);
    let receiver = start(&server);
    let host = address(&receiver);
    let (kept, refused) = disk.filled_by(&host);
    assert!(server.log().contains("No space left"), "{}", server.log());
    disk.free();
    server.kill();
    server.run();
    let until = Instant::now() + PATIENCE;
    while post(&host, "p", &refused) != 200 {
        assert!(Instant::now() < until, "it does not come back");
        thread::sleep(Duration::from_millis(50));
    }
    let rows = server.ask::<i64>("SELECT count(*) FROM edge_report.report");
    assert_eq!(rows, [kept + 1]);
}

#[test]
fn over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, other] = ["database", "other"].map(Ca::new);
    let (certificate, key) = ca.leaf();
    let server = Server::start_tls(&certificate, &key);
    for (name, content) in [
        ("ca.pem", &ca.pem),
        ("other.pem", &other.pem),
        ("nothing.pem", &String::new()),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let url = |host: &str, query: &str| {
        let query = query.replace("FILE", dir.path().to_str().unwrap());
        format!(
            "postgres://postgres@{host}:{}/postgres?{query}",
            server.port()
        )
    };
    let whole = "sslmode=verify-full&sslrootcert=FILE/ca.pem&connect_timeout=10";
    let receiver = Receiver::start(Options::new().store(url("127.0.0.1", whole))).unwrap();
    let body = report("a", 7, JobStatus::RUNNING, NOW);
    assert_eq!(post(&address(&receiver), "p", &body), 200);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'edge-report-receiver'";
    assert!(server.ask::<i64>(encrypted)[0] > 0);

    for (host, query, why) in [
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=FILE/other.pem",
            "UnknownIssuer",
        ),
        // Not the name in the certificate.
        ("localhost", whole, "not valid for name"),
        // This server wants TLS.
        ("127.0.0.1", "sslmode=disable", "no pg_hba.conf entry"),
        ("127.0.0.1", "", "no pg_hba.conf entry"),
        ("127.0.0.1", "sslmode=require", "sslmode is `verify-full`"),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=FILE/ca.pem",
            "sslmode is `verify-full`",
        ),
        ("127.0.0.1", "sslmode=verify-full", "needs sslrootcert"),
        ("127.0.0.1", "sslrootcert=FILE/ca.pem", "sslrootcert is for"),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=FILE/no.pem",
            "no.pem",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=FILE/nothing.pem",
            "no certificate in it",
        ),
    ] {
        let started = Receiver::start(Options::new().store(url(host, query)));
        let Err(said) = started else {
            panic!("{query}: started")
        };
        assert!(said.to_string().contains(why), "{query}: {said}");
    }
    // One that speaks no TLS.
    let plain = Server::start();
    let url = plain.url()
        + "?sslmode=verify-full&sslrootcert="
        + dir.path().join("ca.pem").to_str().unwrap();
    assert!(Receiver::start(Options::new().store(url)).is_err());
}

/// Who signs the database's certificate is read again on SIGHUP, as all certificates are, and used for the next connection.
#[test]
fn who_signs_for_the_database_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, other] = ["database", "other"].map(Ca::new);
    let (certificate, key) = ca.leaf();
    let mut server = Server::start_tls(&certificate, &key);
    let file = dir.path().join("ca.pem");
    fs::write(&file, &ca.pem).unwrap();
    let store = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={}",
        server.port(),
        file.display()
    );
    let program = Program::start(dir.path(), &["--store", &store, "--quiet"]);
    let body = report("a", 7, JobStatus::RUNNING, NOW);
    assert_eq!(post(program.host(), "p", &body), 200);
    fs::write(&file, &other.pem).unwrap();
    program.reload();
    // The connection that is there stays.
    assert_eq!(post(program.host(), "p", &body), 200);
    server.kill();
    server.run();
    let request = common::request(program.host(), "p", &[], &body);
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, said) = common::exchange(program.host(), &request);
        assert_eq!(status, 503, "{said}");
        // Else it had not noticed yet that the server has gone.
        if said.contains("UnknownIssuer") {
            break;
        }
        assert!(Instant::now() < until, "{said}");
    }
    // What cannot be read changes nothing.
    fs::write(&file, &ca.pem).unwrap();
    program.reload();
    fs::write(&file, "no certificate").unwrap();
    program.reload();
    let failed = "event=failed reload";
    assert_eq!(program.log().matches(failed).count(), 1);
    assert_eq!(post(program.host(), "p", &body), 200);
}
