//! The JSON API: what was reported, page by page, and for whom.
#![cfg(all(unix, feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::postgres::Server;
use common::program::Program;
use common::{exchange, post, report};
use edge_report::{Job, JobStatus, ReportBuf};
use serde_json::{Value, json};

const NOW: i64 = 1_780_000_000_000;

fn ask(program: &Program, path: &str, head: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
    let (status, answer) = exchange(program.host(), request.as_bytes());
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(program: &Program, path: &str) -> Value {
    let (status, answer) = ask(program, path, "");
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// One member of each row, over all pages of three rows.
fn all(program: &Program, path: &str, rows: &str, cursor: &str, member: &str) -> Vec<Value> {
    let (mut values, mut next) = (Vec::new(), String::new());
    loop {
        let and = if path.contains('?') { "&" } else { "?" };
        let page = get(program, &format!("{path}{and}limit=3{next}"));
        let page_rows = page[rows].as_array().unwrap();
        assert!(page_rows.len() <= 3);
        values.extend(page_rows.iter().map(|row| row[member].clone()));
        match page["next"].as_str() {
            None => return values,
            Some(from) => {
                next = format!(
                    "&{cursor}={}",
                    from.replace('\'', "%27").replace('<', "%3C")
                )
            }
        }
    }
}

fn shows_what_was_reported(store: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", store]);
    let host = program.host();
    for number in 0..10 {
        let status = if number % 5 == 4 {
            JobStatus::RUNNING_EXCEPTION
        } else {
            JobStatus::RUNNING
        };
        assert_eq!(
            post(
                host,
                "one",
                &report(&format!("r{number}"), number + 1, status, NOW)
            ),
            200
        );
        assert_eq!(
            post(
                host,
                "one",
                &report(&format!("s{number}"), 99, status, NOW + number)
            ),
            200
        );
    }
    let hostile = "<img src=x onerror=alert(1)>";
    let job = Job::new(JobStatus::SUBMIT_FAIL, NOW)
        .with_job_id(7)
        .with_exceptions(edge_report::Exceptions::Text(hostile));
    let hostile_report = ReportBuf::new(hostile)
        .with_topic("t")
        .with_job(job)
        .encode_to_vec()
        .unwrap();
    assert_eq!(post(host, "t%27wo%3C", &hostile_report), 200);

    // Each job once, in order.
    let ids = all(&program, "/api/jobs", "jobs", "after", "job_id");
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99, 7].map(Value::from));
    let ids = |query: &str| {
        all(
            &program,
            &format!("/api/jobs?{query}"),
            "jobs",
            "after",
            "job_id",
        )
    };
    assert_eq!(ids("trouble=1"), [5, 10, 99, 7].map(Value::from));
    assert_eq!(ids("trouble=1&project=one"), [5, 10, 99].map(Value::from));
    assert_eq!(ids("q=ONERROR"), [7].map(Value::from));
    assert_eq!(ids("q=%25"), [0; 0].map(Value::from));
    let job = &get(&program, "/api/jobs?project=t%27wo%3C")["jobs"][0];
    assert_eq!(
        (
            &job["project"],
            &job["status"],
            &job["final"],
            &job["exception"],
            &job["create_time"]
        ),
        (
            &json!("t'wo<"),
            &json!("job_submit_fail"),
            &json!(true),
            &json!(hostile),
            &json!(NOW)
        )
    );

    // Projects by name.
    let projects = get(&program, "/api/projects");
    let projects: Vec<Value> = projects["projects"].as_array().unwrap().clone();
    let counts: Vec<[&Value; 3]> = projects
        .iter()
        .map(|it| [&it["project"], &it["jobs"], &it["in_trouble"]])
        .collect();
    assert_eq!(
        counts,
        [
            [&json!("one"), &json!(11), &json!(3)],
            [&json!("t'wo<"), &json!(1), &json!(1)]
        ]
    );
    assert!(
        projects[0]["received_ms"].as_i64() >= job["received_ms"].as_i64().map(|ms| ms - 60_000)
    );
    let page = get(&program, "/api/projects?limit=1");
    assert_eq!(
        (&page["projects"][0]["project"], &page["next"]),
        (&json!("one"), &json!("one"))
    );
    let page = get(&program, "/api/projects?limit=1&after=one");
    assert_eq!(page["projects"][0]["project"], json!("t'wo<"));

    // How long it is in its state: since the first report that said so, whatever came before.
    let history = get(&program, "/api/jobs/one/99");
    let (last, before) = (&history["history"][0], &history["history"][1]);
    let job = || get(&program, "/api/jobs?project=one&q=99")["jobs"][0].clone();
    assert_eq!(last["status"], json!("job_running_exception"));
    assert_ne!(before["status"], last["status"]);
    assert_eq!(job()["since_ms"], last["received_ms"]);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let again = report("again", 99, JobStatus::RUNNING_EXCEPTION, NOW + 20);
    assert_eq!(post(host, "one", &again), 200);
    assert_eq!(job()["since_ms"], last["received_ms"]);
    assert_ne!(job()["received_ms"], last["received_ms"]);
    let other = report("other", 99, JobStatus::IDLE, NOW + 30);
    assert_eq!(post(host, "one", &other), 200);
    assert_eq!(job()["since_ms"], job()["received_ms"]);

    // The newest first.
    let times = all(
        &program,
        "/api/jobs/one/99",
        "history",
        "before",
        "create_time",
    );
    let newest_first: Vec<Value> = [30, 20]
        .into_iter()
        .chain((0..10).rev())
        .map(|number| json!(NOW + number))
        .collect();
    assert_eq!(times, newest_first);
    let mut names = all(
        &program,
        "/api/reports/one",
        "reports",
        "before",
        "message_id",
    );
    assert_eq!((names.len(), &names[0]), (22, &json!("other")));
    names.sort_by_key(ToString::to_string);
    names.dedup();
    assert_eq!(names.len(), 22);

    // A report as it came.
    let job = &get(&program, "/api/jobs?project=t%27wo%3C")["jobs"][0];
    let name = job["report"].as_str().unwrap();
    let whole = get(&program, &format!("/api/reports/t%27wo%3C/{name}"));
    assert_eq!(
        whole,
        serde_json::from_slice::<Value>(&hostile_report).unwrap()
    );
    // Of its own project alone.
    assert_eq!(
        ask(&program, &format!("/api/reports/one/{name}"), "").0,
        404
    );
    for (path, status) in [
        ("/api/", 404),
        ("/api/jobs/one", 404),
        ("/api/jobs/one/x", 400),
        ("/api/jobs?limit=0", 400),
        ("/api/jobs?limit=1001", 400),
        ("/api/jobs?after=x", 400),
        ("/api/reports/one?before=x", 400),
        ("/api/reports/one/1-%C3%A4", 400),
        // No text of a database has it.
        ("/api/jobs?q=%00", 400),
        ("/api/reports/%00", 400),
    ] {
        assert_eq!(ask(&program, path, "").0, status, "{path}");
    }

    // More of one job in a report than a page has.
    let mut often = ReportBuf::new("often").with_topic("t");
    for number in 0..5 {
        often = often.with_job(Job::new(JobStatus::RUNNING, NOW + number).with_job_id(98));
    }
    assert_eq!(post(host, "one", &often.encode_to_vec().unwrap()), 200);
    let times = all(
        &program,
        "/api/jobs/one/98",
        "history",
        "before",
        "create_time",
    );
    assert_eq!(times, [4, 3, 2, 1, 0].map(|number| json!(NOW + number)));
}

#[test]
fn shows_what_was_reported_to_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    shows_what_was_reported(&format!(
        "sqlite:{}",
        dir.path().join("reports.db").display()
    ));
}

#[test]
fn shows_what_was_reported_to_postgresql() {
    shows_what_was_reported(&Server::start().url());
}

#[test]
fn only_for_who_has_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--read-token", "T-secret"]);
    for path in ["/api/jobs", "/metrics"] {
        assert_eq!(ask(&program, path, "").0, 401);
        assert_eq!(
            ask(&program, path, "Authorization: Bearer wrong\r\n").0,
            401
        );
        assert_eq!(
            ask(&program, path, "Authorization: Bearer T-secret\r\n").0,
            200
        );
    }
    assert_eq!(ask(&program, "/healthz", "").0, 200);
    assert!(!program.log().contains("secret"));

    // Not on a loopback address: without a token nobody looks.
    let args = ["--listen", "0.0.0.0:0", "--store", "memory"];
    let open = Program::run(common::program::command(dir.path(), &args), dir.path());
    let host = open.host().replace("0.0.0.0", "127.0.0.1");
    assert_eq!(
        exchange(&host, b"GET /api/jobs HTTP/1.1\r\nHost: a\r\n\r\n").0,
        401
    );
    assert_eq!(
        exchange(&host, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").0,
        200
    );
    assert!(open.log().contains("no keys"), "{}", open.log());
}

/// A page of somebody else, whose name leads to a loopback address, runs in a browser that can connect to it.
#[test]
fn without_a_token_only_by_address() {
    let dir = tempfile::tempdir().unwrap();
    let get = |program: &Program, path: &str, host: &str, head: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n");
        exchange(program.host(), request.as_bytes()).0
    };
    let open = Program::start(dir.path(), &[]);
    for path in ["/api/jobs", "/metrics"] {
        for host in [
            "127.0.0.1:8087",
            "[::1]:8087",
            "localhost",
            "LOCALHOST:8087",
        ] {
            assert_eq!(get(&open, path, host, ""), 200, "{host}");
        }
        for host in [
            "evil.example:8087",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            assert_eq!(get(&open, path, host, ""), 401, "{host}");
        }
    }
    assert_eq!(
        get(&open, "http://evil.example/api/jobs", "localhost", ""),
        401
    );
    assert_eq!(get(&open, "/healthz", "any.example", ""), 200);
    drop(open);
    let token = Program::start(dir.path(), &["--read-token", "T"]);
    let bearer = "Authorization: Bearer T\r\n";
    assert_eq!(get(&token, "/api/jobs", "any.example", bearer), 200);
}

/// Who asks for much and takes nothing gets no more than there is for who looks; whoever reports notices nothing.
#[test]
fn who_looks_and_does_not_read_takes_little() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "sqlite:reports.db"]);
    let host = program.host();
    let plan = "x".repeat(11 * 1024 * 1024);
    let job = Job::new(JobStatus::RUNNING, NOW)
        .with_job_id(1)
        .with_exceptions(edge_report::Exceptions::Text(&plan));
    let body = ReportBuf::new("large")
        .with_topic("t")
        .with_job(job)
        .encode_to_vec()
        .unwrap();
    assert_eq!(post(host, "one", &body), 200);
    let name = get(&program, "/api/reports/one")["reports"][0]["report"].clone();
    let path = format!("/api/reports/one/{}", name.as_str().unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answers = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // The head, and nothing else: `HTTP/1.1 200`.
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        answers.push((stream, status));
    }
    let count = |status: &[u8; 12]| answers.iter().filter(|(_, got)| got == status).count();
    assert_eq!(count(b"HTTP/1.1 200"), 5);
    assert_eq!(count(b"HTTP/1.1 503"), 15);
    assert_eq!(
        post(host, "one", &report("after", 2, JobStatus::RUNNING, NOW)),
        200
    );
    // They go, and it is there for others.
    drop(answers);
    let mut status = 503;
    for _ in 0..600 {
        status = ask(&program, &path, "").0;
        if status == 200 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(status, 200);
}
