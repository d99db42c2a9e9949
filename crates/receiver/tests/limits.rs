//! Clients that are slow, huge or many: bounded memory, and others are served.
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
use std::net::{Shutdown, TcpStream};
use std::thread;

use common::program::Program;
use common::{PATIENCE, exchange, post, report, request, response};
use edge_report::{Client, Job, JobStatus, Report};

fn body(id: &str) -> Vec<u8> {
    report(id, 7, JobStatus::RUNNING, 1_780_000_000_000)
}

fn connect(program: &Program) -> TcpStream {
    let stream = TcpStream::connect(program.host()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn large_heads_and_bodies_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "memory"]);
    let host = program.host();
    let no_more = request(host, "p", &[("X-Long", "")], b"").len();
    for (head, status) in [
        (64 * 1024, 200),
        (64 * 1024 + 1, 431),
        (70_000, 431),
        (100_000, 431),
    ] {
        let long = "x".repeat(head - no_more - 2);
        let body = body("1");
        let large_head = request(host, "p", &[("X-Long", &long)], &body);
        assert_eq!(large_head.len() - body.len(), head);
        assert_eq!(exchange(host, &large_head).0, status, "{head}");
    }
    let many_lines: Vec<(&str, &str)> = (0..200).map(|_| ("X-More", "y")).collect();
    assert_eq!(
        exchange(host, &request(host, "p", &many_lines, &body("1"))).0,
        431
    );

    // Refused by what it promises: nothing of it is awaited.
    let head = |length: &str| {
        format!(
            "POST /v1/p/edgesrv/job-report HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    let large = head("Content-Length: 12582913");
    assert_eq!(exchange(host, large.as_bytes()).0, 413);
    let mut stream = connect(&program);
    stream
        .write_all(head("Transfer-Encoding: chunked").as_bytes())
        .unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 0x10_0000], b"\r\n"].concat();
    for _ in 0..13 {
        // It may close before all has gone.
        let _ = stream.write_all(&chunk);
    }
    assert_eq!(response(&mut stream).0, 413);

    // The largest that may be.
    let mut job = report("large", 7, JobStatus::RUNNING, 1);
    job.resize(12 * 1024 * 1024, b' ');
    assert_eq!(post(host, "p", &job), 200);
}

#[test]
fn who_is_silent_for_longest_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "memory", "--max-connections", "8"]);
    // They say nothing, or half of something.
    let mut silent: Vec<TcpStream> = (0..40).map(|_| connect(&program)).collect();
    for stream in silent.iter_mut().skip(20) {
        let _ = stream.write_all(b"POST /v1/p/edgesrv/job-report HTTP/1.1\r\nContent-");
    }
    for number in 0..20 {
        assert_eq!(post(program.host(), "p", &body(&format!("{number}"))), 200);
    }
    // The first ones were sent away.
    assert!(matches!(silent[0].read(&mut [0; 16]), Ok(0) | Err(_)));
}

#[test]
fn who_is_answered_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(
        dir.path(),
        &["--max-connections", "4", "--fault", "delay=1500@first 4"],
    );
    let mut waiting: Vec<TcpStream> = (0..4).map(|_| connect(&program)).collect();
    for (number, stream) in waiting.iter_mut().enumerate() {
        stream
            .write_all(&request("a", "p", &[], &body(&format!("{number}"))))
            .unwrap();
    }
    program.wait_for("event=fault", 4);
    // Turned away at once, since all places are taken by who is being answered.
    let mut more = connect(&program);
    let _ = more.write_all(&request("a", "p", &[], &body("more")));
    assert!(matches!(more.read(&mut [0; 16]), Ok(0) | Err(_)));
    for stream in &mut waiting {
        assert_eq!(response(stream).0, 200);
    }
}

/// Bodies take memory as they come. When it is used up others are told to come again, and get it when it is free.
#[test]
fn bodies_share_a_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "memory", "--memory", "40"]);
    let half = [b"POST /v1/p/edgesrv/job-report HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12000000\r\n\r\n".as_slice(), &vec![b' '; 1_000_000]].concat();
    let mut slow: Vec<TcpStream> = (0..30).map(|_| connect(&program)).collect();
    let mut turned_away = 0;
    for stream in &mut slow {
        stream.write_all(&half).unwrap();
    }
    for stream in &mut slow {
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(300)))
            .unwrap();
        let mut start = [0; 512];
        if let Ok(length @ 1..) = stream.read(&mut start) {
            let said = String::from_utf8_lossy(&start[..length]).to_ascii_lowercase();
            assert!(
                said.starts_with("http/1.1 503") && said.contains("retry-after: "),
                "{said}"
            );
            turned_away += 1;
        }
    }
    assert!(turned_away >= 15, "{turned_away}");
    assert!(program.rss() < 96, "{} MB", program.rss());
    drop(slow);
    let mut large = body("large");
    large.resize(12_000_000, b' ');
    let until = std::time::Instant::now() + PATIENCE;
    while post(program.host(), "p", &large) != 200 {
        assert!(
            std::time::Instant::now() < until,
            "the memory is not free again"
        );
    }
}

#[test]
fn who_ends_its_own_side_gets_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "memory"]);
    let mut stream = connect(&program);
    stream
        .write_all(&request("a", "p", &[], &body("1")))
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(response(&mut stream).0, 200);
    // Half of a request is none.
    let mut stream = connect(&program);
    stream
        .write_all(&request("a", "p", &[], &body("2"))[..150])
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(
        !rest.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    assert_eq!(post(program.host(), "p", &body("3")), 200);
    assert_eq!(program.log().matches("event=accepted").count(), 2);
}

/// Who asks and asks, and reads no answer, takes no memory for them.
#[test]
fn who_reads_no_answer_is_asked_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &["--store", "memory"]);
    // Each is answered by some 20 KB.
    let asked = b"GET /page/strip.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20_000);
    let mut deaf: Vec<TcpStream> = (0..20).map(|_| connect(&program)).collect();
    for stream in &mut deaf {
        stream.set_nonblocking(true).unwrap();
        let mut rest = &asked[..];
        while let Ok(sent @ 1..) = stream.write(rest) {
            rest = &rest[sent..];
        }
    }
    assert_eq!(post(program.host(), "p", &body("1")), 200);
    assert!(program.rss() < 64, "{} MB", program.rss());
}

/// A byte now and then, of a head or of a body: others have their places, and answers, all the same.
#[test]
fn who_is_slow_keeps_out_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(
        dir.path(),
        &["--store", "memory", "--max-connections", "16"],
    );
    let whole = request("a", "p", &[], &body("slow"));
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut slow: Vec<(TcpStream, usize)> = Vec::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                while slow.len() < 30 {
                    // Half of them are in their bodies already.
                    let mut stream = connect(&program);
                    let sent = if slow.len().is_multiple_of(2) {
                        10
                    } else {
                        whole.len() - 60
                    };
                    let _ = stream.write_all(&whole[..sent]);
                    slow.push((stream, sent));
                }
                slow.retain_mut(|(stream, sent)| {
                    *sent += 1;
                    *sent < whole.len() && stream.write_all(&whole[*sent - 1..*sent]).is_ok()
                });
            }
        });
        let mut agent = Client::builder(program.url(), "p").build().unwrap();
        let jobs = [Job::new(JobStatus::RUNNING, 1_780_000_000_000)];
        for number in 0..50 {
            let until = std::time::Instant::now() + PATIENCE;
            let id = format!("{number}");
            while agent.send(&Report::new(&id, &jobs)).is_err() {
                assert!(
                    std::time::Instant::now() < until,
                    "agents do not get through"
                );
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Thousands that come and stay silent, while agents report.
#[test]
fn floods_of_connections_keep_out_nobody() {
    let attempts = if std::env::var_os("EDGE_REPORT_LONG").is_some() {
        100_000
    } else {
        5_000
    };
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(
        dir.path(),
        &["--store", "memory", "--max-connections", "200"],
    );
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut open = std::collections::VecDeque::new();
            for _ in 0..attempts {
                if let Ok(stream) = TcpStream::connect(program.host()) {
                    open.push_back(stream);
                }
                if open.len() > 400 {
                    open.pop_front();
                }
            }
        });
        // An agent that is pushed out before its first byte came tries again, as agents do.
        let mut agent = Client::builder(program.url(), "p").build().unwrap();
        let jobs = [Job::new(JobStatus::RUNNING, 1_780_000_000_000)];
        let mut number = 0;
        while !flood.is_finished() || number == 0 {
            number += 1;
            let until = std::time::Instant::now() + PATIENCE;
            let id = format!("{number}");
            while agent.send(&Report::new(&id, &jobs)).is_err() {
                assert!(
                    std::time::Instant::now() < until,
                    "agents do not get through"
                );
            }
        }
    });
    assert!(program.rss() < 64, "{} MB", program.rss());
}
