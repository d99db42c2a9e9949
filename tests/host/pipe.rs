//! `edge-report-agent pipe`, and the loop in `examples/agent.rs`, run as people run them.
#![cfg(feature = "client")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

#[cfg(target_os = "linux")]
mod shim;
mod tool_common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use edge_report::JobStatus;
use edge_report_receiver::{Options, Receiver};
use serde_json::{Value, json};
use tool_common::{
    Account, Ended, Mount, PATIENCE, Tool, example, letters, pipe, place, report, said,
};

fn receiver(faults: &[&str]) -> Receiver {
    let faults = faults.iter().map(|spec| spec.parse().unwrap());
    Receiver::start(faults.fold(Options::new(), Options::fault)).unwrap()
}

/// Where nobody listens, yet: an address that no other test takes.
fn nobody(last: u8) -> SocketAddr {
    let address = SocketAddr::from(([127, 77, 0, last], 0));
    TcpListener::bind(address).unwrap().local_addr().unwrap()
}

fn receiver_at(listen: SocketAddr) -> Receiver {
    faulty_at(listen, &[])
}

fn faulty_at(listen: SocketAddr, faults: &[&str]) -> Receiver {
    let faults = faults.iter().map(|spec| spec.parse().unwrap());
    Receiver::start(faults.fold(Options::new().listen(listen), Options::fault)).unwrap()
}

/// Waits for something that comes to be.
#[track_caller]
fn wait_until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < PATIENCE, "it does not come to be");
        thread::sleep(Duration::from_millis(5));
    }
}

fn plain(message_id: &str) -> String {
    report(message_id, None, JobStatus::RUNNING)
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m-{number}")).collect()
}

fn accepted(receiver: &Receiver) -> Vec<String> {
    let all = receiver.accepted().into_iter();
    all.map(|report| report.message_id).collect()
}

#[track_caller]
fn assert_end(ended: &Ended, code: i32) {
    assert_eq!(
        ended.code,
        Some(code),
        "{:?}\n{}",
        ended.lines,
        ended.errors
    );
}

/// Stores `ids`, and is killed while they wait.
fn store(spool: &Path, ids: &[String]) {
    let url = format!("http://{}", nobody(1));
    let mut tool = Tool::deliver(spool, &url, &[]);
    for id in ids {
        tool.feed(&plain(id));
        assert_eq!(tool.line(), format!("stored {id}"));
    }
    tool.kill();
}

#[test]
fn lines_in_and_lines_out() {
    let (_parent, spool) = place();
    let receiver = receiver(&[]);
    let mut tool = Tool::deliver(&spool, &receiver.url(), &[]);
    tool.feed(&plain("a"));
    tool.feed("");
    tool.feed("no report");
    tool.feed(&format!("  {}\r", plain("two words")));
    tool.feed(r#"{"jobs":[],"message_id":"c"}"#);
    tool.feed(r#"{"jobs":[{"status":"job_running","create_time":0}],"message_id":"","extra":1}"#);
    tool.feed(&plain("line\nbreak é"));
    let mut input = tool.take_input();
    // The last line has no end.
    input.write_all(plain("e").as_bytes()).unwrap();
    drop(input);
    let begin = Instant::now();
    while !tool.has_ended() && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(2));
    }
    let ended = tool.kill();
    assert_end(&ended, 0);
    assert_eq!(ended.errors, "");

    let stored = ["a", "two words", "line break é", "e"];
    assert_eq!(said("stored", &ended.lines), stored);
    assert_eq!(said("delivered", &ended.lines), stored);
    assert_eq!(
        said("invalid", &ended.lines),
        [
            "3 unexpected byte (byte 1)",
            "5 jobs: must not be empty (byte 8)",
            "6 jobs[0].create_time: must be greater than 0 (byte 47)",
        ]
    );
    assert_eq!(ended.lines.len(), 11);
    for id in stored {
        let at = |word: &str| {
            ended
                .lines
                .iter()
                .position(|line| *line == format!("{word} {id}"))
        };
        assert!(at("stored") < at("delivered"), "{:?}", ended.lines);
    }
    let bodies: Vec<_> = receiver
        .accepted()
        .into_iter()
        .map(|report| report.body)
        .collect();
    assert_eq!(bodies[1], plain("two words").into_bytes());
    assert_eq!(receiver.accepted()[2].message_id, "line\nbreak é");
}

#[test]
fn what_is_refused_does_not_stop_the_others() {
    let (_parent, spool) = place();
    let receiver = receiver(&["status=400,code=DLI.0001@every 2"]);
    let mut tool = Tool::deliver(&spool, &receiver.url(), &[]);
    for id in ids(0..4) {
        tool.feed(&plain(&id));
    }
    let ended = tool.finish();
    assert_end(&ended, 0);
    assert_eq!(said("stored", &ended.lines), ids(0..4));
    assert_eq!(said("delivered", &ended.lines), ["m-0", "m-2"]);
    let why = "refused: 400 DLI.0001 injected fault";
    let refused = [format!("m-1 {why}"), format!("m-3 {why}")];
    assert_eq!(said("refused", &ended.lines), refused);
    assert_eq!(accepted(&receiver), ["m-0", "m-2"]);
    let account = Account {
        submitted: 4,
        delivered: 2,
        refused: 2,
        letters: 2,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), account);
}

#[test]
fn each_line_is_out_at_once_while_the_input_goes_on() {
    let (_parent, spool) = place();
    let receiver = receiver(&[]);
    let mut tool = Tool::deliver(&spool, &receiver.url(), &[]);
    for id in ids(0..20) {
        tool.feed(&plain(&id));
        assert_eq!(tool.line(), format!("stored {id}"));
        assert_eq!(tool.line(), format!("delivered {id}"));
    }
    assert!(!tool.has_ended());
    assert_end(&tool.finish(), 0);
}

#[test]
fn a_restart_takes_up_what_waits() {
    let (_parent, spool) = place();
    store(&spool, &ids(0..5));
    let waits = Account {
        submitted: 5,
        waiting: 5,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), waits);
    assert_eq!(Account::of(&spool), waits, "looking changes nothing");

    let receiver = receiver(&[]);
    let mut tool = Tool::deliver(&spool, &receiver.url(), &[]);
    tool.feed(&plain("m-5"));
    let ended = tool.finish();
    assert_end(&ended, 0);
    assert_eq!(said("delivered", &ended.lines), ids(0..6));
    assert_eq!(accepted(&receiver), ids(0..6));
    let done = Account {
        submitted: 6,
        delivered: 6,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), done);
    assert_end(&Tool::deliver(&spool, &receiver.url(), &[]).finish(), 0);
}

#[test]
fn what_waits_goes_over_one_connection() {
    let (_parent, spool) = place();
    store(&spool, &ids(0..50));
    let receiver = receiver(&[]);
    let ended = Tool::deliver(&spool, &receiver.url(), &[]).finish();
    assert_end(&ended, 0);
    assert_eq!(said("delivered", &ended.lines), ids(0..50));
    assert_eq!((receiver.requests(), receiver.connections()), (50, 1));
}

#[test]
fn submitting_does_not_wait_for_deliveries() {
    let (_parent, spool) = place();
    let receiver = receiver(&["delay=1000"]);
    let mut tool = Tool::deliver(&spool, &receiver.url(), &[]);
    tool.feed(&plain("m-0"));
    assert_eq!(tool.line(), "stored m-0");
    thread::sleep(Duration::from_millis(100));
    for id in ids(1..100) {
        tool.feed(&plain(&id));
        assert_eq!(tool.line(), format!("stored {id}"));
    }
    assert_eq!(tool.line(), "delivered m-0");
}

#[test]
fn an_unreachable_service_is_waited_for() {
    let (_parent, spool) = place();
    let address = nobody(2);
    let mut tool = Tool::deliver(&spool, &format!("http://{address}"), &[]);
    for id in ids(0..3) {
        tool.feed(&plain(&id));
        assert_eq!(tool.line(), format!("stored {id}"));
    }
    tool.end_input();
    thread::sleep(Duration::from_millis(200));
    assert!(!tool.has_ended());
    assert_eq!(tool.lines_so_far(), [""; 0]);
    let receiver = receiver_at(address);
    let ended = tool.finish();
    assert_end(&ended, 0);
    assert_eq!(accepted(&receiver), ids(0..3));
    assert!(
        ended.errors.starts_with("m-0: not sent: "),
        "{}",
        ended.errors
    );
    assert!(ended.errors.contains("; again in "), "{}", ended.errors);
}

#[test]
fn a_full_spool_makes_the_input_wait() {
    let (_parent, spool) = place();
    let address = nobody(3);
    let limit = ["--max-bytes", "16384"];
    let mut tool = Tool::deliver(&spool, &format!("http://{address}"), &limit);
    let mut input = tool.take_input();
    let feeder = thread::spawn(move || {
        for id in ids(0..300) {
            writeln!(input, "{}", plain(&id)).unwrap();
        }
    });
    let mut stored = 0;
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(500) {
        let lines = tool.lines_so_far();
        if !lines.is_empty() {
            (stored, last) = (stored + lines.len(), Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!((20..200).contains(&stored), "{stored}");
    let receiver = receiver_at(address);
    feeder.join().unwrap();
    let ended = tool.finish();
    assert_end(&ended, 0);
    assert_eq!(accepted(&receiver), ids(0..300));
    let waits = "waits to be stored: the outbox is full";
    assert_eq!(ended.errors.matches(waits).count(), 1, "{}", ended.errors);
    let done = Account {
        submitted: 300,
        delivered: 300,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), done);
}

#[test]
fn in_a_full_spool_the_newest_state_of_a_job_wins() {
    let (_parent, spool) = place();
    let address = nobody(4);
    let limit = ["--max-bytes", "16384"];
    let mut tool = Tool::deliver(&spool, &format!("http://{address}"), &limit);
    for number in 0..1000 {
        let status = if number == 500 {
            JobStatus::CANCEL_SUCCESS
        } else {
            JobStatus::RUNNING
        };
        tool.feed(&report(&format!("m-{number}"), Some(7), status));
        assert_eq!(tool.line(), format!("stored m-{number}"));
    }
    let receiver = receiver_at(address);
    let ended = tool.finish();
    assert_end(&ended, 0);
    let accepted = accepted(&receiver);
    assert!(accepted.contains(&"m-500".to_owned()), "{accepted:?}");
    assert_eq!(accepted.last().unwrap(), "m-999");
    let delivered = accepted.len() as u64;
    let account = Account {
        submitted: 1000,
        delivered,
        superseded: 1000 - delivered,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), account);
}

#[test]
fn one_process_at_a_time() {
    let (_parent, spool) = place();
    let receiver = receiver(&[]);
    let mut first = Tool::deliver(&spool, &receiver.url(), &[]);
    first.feed(&plain("a"));
    assert_eq!(first.line(), "stored a");
    let path = spool.to_str().unwrap();
    let ended = Tool::deliver(&spool, &receiver.url(), &[]).finish();
    assert_end(&ended, 2);
    let why = "only one process at a time can have it open; end that one first\n";
    let by = format!("is in use by process {}", first.id());
    assert_eq!(
        ended.errors,
        format!("edge-report-agent: the spool {path} {by}: {why}")
    );
    first.kill();
    assert_end(&Tool::deliver(&spool, &receiver.url(), &[]).finish(), 0);
    assert_eq!(accepted(&receiver), ["a"]);
}

#[test]
fn it_signs() {
    let (_parent, spool) = place();
    let receiver = Receiver::start(Options::new().keys("AK", "SK")).unwrap();
    store(&spool, &ids(0..1));
    let wrong = ["--ak", "AK", "--sk", "WRONG-SECRET"];
    let tool = Tool::deliver(&spool, &receiver.url(), &wrong);
    let begin = Instant::now();
    while receiver.requests() == 0 && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(200));
    let ended = tool.kill();
    assert_eq!(receiver.requests(), 1, "it must not lock the keys");
    assert!(
        ended.errors.starts_with("m-0: credentials: 401 APIGW.0301"),
        "{}",
        ended.errors
    );
    assert!(!ended.errors.contains("WRONG"), "{}", ended.errors);

    let right = ["--ak", "AK", "--sk", "SK", "--security-token", "T"];
    let ended = Tool::deliver(&spool, &receiver.url(), &right).finish();
    assert_end(&ended, 0);
    assert_eq!(ended.lines, ["delivered m-0"]);
}

#[test]
fn that_nobody_listens_does_not_stop_it() {
    let (_parent, spool) = place();
    let receiver = receiver(&[]);
    let mut command = pipe();
    command.args(["--spool", spool.to_str().unwrap()]);
    command.args(["--url", &receiver.url(), "--project-id", "project"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    writeln!(input, "{}", plain("m-0")).unwrap();
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    for id in ids(1..5) {
        writeln!(input, "{}", plain(&id)).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(accepted(&receiver), ids(0..5));
}

/// A pipe that nobody reads stops what would write into it. It must not stop delivery, and costs no line that says that a report is stored.
#[test]
fn that_nobody_reads_does_not_stop_it() {
    // Much more than a pipe and the tool hold, and less.
    for (len, count, all_fit) in [(2_000, 1_200, false), (100, 1_200, true)] {
        let (_parent, spool) = place();
        let receiver = receiver(&[]);
        let mut command = pipe();
        command.args(["--spool", spool.to_str().unwrap()]);
        command.args(["--url", &receiver.url(), "--project-id", "project"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let feeder = thread::spawn(move || {
            for number in 0..count {
                let id = format!("{number}-{}", "p".repeat(len));
                writeln!(input, "{}", plain(&id)).unwrap();
            }
        });
        let mut before = (0, Instant::now());
        while before.1.elapsed() < Duration::from_secs(1) {
            if receiver.requests() > before.0 {
                before = (receiver.requests(), Instant::now());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let arrived = accepted(&receiver).len();
        assert_eq!(arrived == count, all_fit, "{arrived} of {count}");
        assert!(arrived * len > 100_000, "{arrived} of {count}");

        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.map(Result::unwrap).collect();
        feeder.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(accepted(&receiver).len(), count);
        assert_eq!(said("stored", &lines).len(), count);
        let omitted = said("omitted", &lines).into_iter();
        let omitted: usize = omitted.map(|n| n.parse::<usize>().unwrap()).sum();
        assert_eq!(said("delivered", &lines).len() + omitted, count);
        assert_eq!(omitted == 0, all_fit);
    }
}

/// A pipe that does not block is full before the first line: what is said waits until it is read.
#[test]
#[cfg(unix)]
fn that_a_pipe_is_full_costs_no_line() {
    let (_parent, spool) = place();
    let receiver = receiver(&[]);
    let (read, mut write) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut full = 0;
    while let Ok(n) = write.write(b"\n") {
        full += n;
    }
    let mut command = pipe();
    command.args(["--spool", spool.to_str().unwrap()]);
    command.args(["--url", &receiver.url(), "--project-id", "project"]);
    let mut child = command.stdin(Stdio::piped()).stdout(write).spawn().unwrap();
    // It holds the other end, too.
    drop(command);
    let ids = ids(0..3);
    let mut input = child.stdin.take().unwrap();
    for id in &ids {
        writeln!(input, "{}", plain(id)).unwrap();
    }
    drop(input);
    wait_until(|| accepted(&receiver).len() == ids.len());
    thread::sleep(Duration::from_millis(300));
    let lines = BufReader::new(read).lines().skip(full);
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(said("stored", &lines), ids);
    assert_eq!(said("delivered", &lines), ids);
}

/// Whatever stands between says it, in whatever words: nothing is burned, and all of it arrives when the service is back.
#[test]
fn what_others_answer_burns_nothing() {
    let answers = [
        "status=404,body=<html><h1>404 Not Found</h1></html>",
        "status=400,body=<html>The SSL certificate error</html>",
        "status=405,body={\"error\":\"no route\"}",
        "status=200,body={\"error_code\":\"portal_login_required\"}",
        "status=413,body=<html>413 Request Entity Too Large</html>",
        "status=404,code=APIGW.0101",
    ];
    for (last, answer) in (10..).zip(answers) {
        let (_parent, spool) = place();
        let address = nobody(last);
        let proxy = faulty_at(address, &[answer]);
        let mut tool = Tool::deliver(&spool, &proxy.url(), &["--hold", "5"]);
        for id in ids(0..20) {
            tool.feed(&plain(&id));
            assert_eq!(tool.line(), format!("stored {id}"));
        }
        tool.end_input();
        wait_until(|| proxy.requests() > 60);
        assert!(!tool.has_ended(), "{answer}");
        assert_eq!(tool.lines_so_far(), [""; 0], "{answer}");
        drop(proxy);
        let service = receiver_at(address);
        let ended = tool.finish();
        assert_end(&ended, 0);
        let mut arrived = accepted(&service);
        let number = |id: &String| id.strip_prefix("m-").unwrap().parse::<usize>().unwrap();
        arrived.sort_unstable_by_key(number);
        assert_eq!(arrived, ids(0..20), "{answer}");
        let status = answer.split([',', '=']).nth(1).unwrap();
        assert!(
            ended.errors.contains(&format!(": {status}")),
            "{}",
            ended.errors
        );
        let account = Account {
            submitted: 20,
            delivered: 20,
            ..Account::default()
        };
        assert_eq!(Account::of(&spool), account, "{answer}");
    }
}

/// A firewall that dislikes one report answers for that one only.
#[test]
#[cfg(target_os = "linux")]
fn one_that_others_prove_bad_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut len) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    len = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; len];
            std::io::Read::read_exact(&mut stream, &mut body).unwrap();
            let is_bad = String::from_utf8(body).unwrap().contains("poison");
            let (status, text) = match is_bad {
                true => ("403 Forbidden", "<html>blocked by rule 17</html>"),
                false => ("200 OK", r#"{"is_success":true}"#),
            };
            let len = text.len();
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            stream.get_mut().write_all(text.as_bytes()).unwrap();
        }
    });
    let (parent, spool) = place();
    let suspended = parent.path().join("suspended");
    let mut command = pipe();
    command.env("LD_PRELOAD", shim::shim("suspend", parent.path()));
    command.env("SHIM_SUSPENDED", &suspended);
    let mut tool = Tool::deliver_as(command, &spool, &url, &[]);
    tool.feed(&plain("poison"));
    let mut lines = Vec::new();
    // Others must come, or nobody knows whose fault it is.
    for id in ids(0..1000) {
        tool.feed(&plain(&id));
        while lines.last() != Some(&format!("delivered {id}")) {
            lines.push(tool.line());
        }
        // What is said of a bad one counts for an hour before it is a dead letter.
        shim::tell(&suspended, "3700");
        if !said("refused", &lines).is_empty() {
            break;
        }
    }
    let ended = tool.finish();
    lines.extend(ended.lines.iter().cloned());
    assert_eq!(ended.code, Some(0), "{lines:?}\n{}", ended.errors);
    let refused = said("refused", &lines);
    assert!(
        refused.len() == 1 && refused[0].starts_with("poison not_understood: 403"),
        "{refused:?}"
    );
    assert!(
        ended.errors.contains("poison: not_understood: 403"),
        "{}",
        ended.errors
    );
    assert_eq!(letters(&spool)[0]["report"]["message_id"], "poison");
}

#[test]
fn letters_are_shown_and_submitted_again() {
    let (_parent, spool) = place();
    let path = spool.to_str().unwrap();
    store(&spool, &ids(0..3));
    assert_eq!(letters(&spool), [Value::Null; 0]);
    let refusing = receiver(&["status=400,code=DLI.0001@first 2", "refuse@first 1"]);
    assert_end(&Tool::deliver(&spool, &refusing.url(), &[]).finish(), 0);
    let letter = |ticket: u64, reason: &str, status: u16, code: Value| {
        let report: Value = serde_json::from_str(&plain(&format!("m-{}", ticket - 1))).unwrap();
        json!({"ticket": ticket, "reason": reason, "status": status, "error_code": code, "report": report})
    };
    let why = "refused: injected fault";
    let all = [
        letter(1, why, 400, json!("DLI.0001")),
        letter(2, why, 400, json!("DLI.0001")),
        letter(3, why, 200, Value::Null),
    ];
    assert_eq!(letters(&spool), all);
    let raw = Tool::start(&["letters", "--spool", path]).finish().lines;
    let members = r#"{"ticket":1,"reason":"refused: injected fault","status":400,"error_code":"DLI.0001","report":"#;
    assert_eq!(raw[0], format!("{members}{}}}", plain("m-0")));
    let status = Tool::start(&["status", "--spool", path]).finish().lines;
    assert_eq!(
        said("last_reason", &status),
        ["refused: 200 injected fault"]
    );
    assert_eq!(said("next_attempt_ms", &status), ["none"]);
    assert_eq!(said("oldest_age_ms", &status), ["none"]);

    // Also while it delivers.
    let busy = Tool::deliver(&spool, &format!("http://{}", nobody(5)), &[]);
    wait_until(|| spool.join("owner").exists());
    assert_eq!(letters(&spool), all);
    busy.kill();

    let resubmit = |which: &str| Tool::start(&["resubmit", which, "--spool", path]).finish();
    let ended = resubmit("2");
    assert_end(&ended, 0);
    let new = said("resubmitted", &ended.lines);
    let (old, new) = new[0].split_once(" as ").unwrap();
    assert!(old == "2" && new.parse::<u64>().unwrap() > 3, "{new}");
    assert_eq!(letters(&spool), [all[0].clone(), all[2].clone()]);
    let status = Tool::start(&["status", "--spool", path]).finish().lines;
    assert_eq!(said("next_attempt_ms", &status), ["0"]);
    let age: u64 = said("oldest_age_ms", &status)[0].parse().unwrap();
    assert!(age < 600_000, "{age}");
    let ended = resubmit("2");
    assert_end(&ended, 1);
    assert!(ended.errors.contains("there is no dead letter 2"));
    assert_end(&resubmit("x"), 2);

    let ended = resubmit("all");
    assert_end(&ended, 0);
    assert_eq!(ended.lines.len(), 2);
    assert_eq!(letters(&spool), [Value::Null; 0]);
    let service = receiver(&[]);
    assert_end(&Tool::deliver(&spool, &service.url(), &[]).finish(), 0);
    assert_eq!(accepted(&service), ["m-1", "m-0", "m-2"]);
    let account = Account {
        submitted: 6,
        delivered: 3,
        refused: 3,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), account);
}

#[test]
fn letters_that_are_full_are_dropped_or_waited_for() {
    let small = ["--max-bytes", "16384"];
    let (_parent, spool) = place();
    let refusing = receiver(&["status=400,code=DLI.0001"]);
    let mut tool = Tool::deliver(
        &spool,
        &refusing.url(),
        &[&small[..], &["--when-letters-full", "hold"]].concat(),
    );
    // The letters fill up first, and then the spool: no more is read.
    let mut input = tool.take_input();
    let feeder = thread::spawn(move || {
        (0..250).all(|fed| {
            thread::sleep(Duration::from_millis(2));
            let line = plain(&format!("m-{fed}"));
            input.write_all(format!("{line}\n").as_bytes()).is_ok()
        })
    });
    tool.wait_for_error("not yet a dead letter, and waits: ");
    assert!(!tool.has_ended());
    let ended = tool.kill();
    let _ = feeder.join();
    let held = Account::of(&spool);
    held.assert_adds_up();
    assert!(
        held.waiting > 0 && held.letters == held.refused && held.letters > 20,
        "{held:?}"
    );
    assert_eq!(held.letters_dropped, 0);

    // Nobody said that they are dead letters, but those that are.
    let letters = letters(&spool);
    assert_eq!(letters.len() as u64, held.letters);
    for id in said("refused", &ended.lines) {
        let (id, _) = id.split_once(' ').unwrap();
        assert!(
            letters
                .iter()
                .any(|letter| letter["report"]["message_id"] == id),
            "{id}"
        );
    }

    let ended = Tool::deliver(
        &spool,
        &refusing.url(),
        &[&small[..], &["--when-letters-full", "drop"]].concat(),
    )
    .finish();
    assert_end(&ended, 0);
    let dropped = Account::of(&spool);
    dropped.assert_adds_up();
    assert_eq!((dropped.waiting, dropped.refused), (0, dropped.submitted));
    assert!(dropped.letters_dropped > 0, "{held:?} {dropped:?}");
    assert_eq!(dropped.letters + dropped.letters_dropped, dropped.refused);
}

/// A refusal that finds no room on the disk: the report waits, and is a dead letter as soon as there is room.
#[test]
fn a_full_disk_keeps_what_is_refused() {
    let Some(disk) = Mount::new("size=512k") else {
        return;
    };
    let spool = disk.0.path().join("spool");
    let limit = ["--max-bytes", "1048576"];
    let url = format!("http://{}", nobody(6));
    let mut tool = Tool::deliver(&spool, &url, &limit);
    for id in ids(0..1000) {
        tool.feed(&plain(&id));
        tool.line();
    }
    tool.kill();
    let ballast = disk.0.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);

    let refusing = receiver(&["status=400,code=DLI.0001"]);
    let mut tool = Tool::deliver(&spool, &refusing.url(), &limit);
    tool.end_input();
    let mut last = (0, Instant::now());
    while last.1.elapsed() < Duration::from_millis(500) {
        if refusing.requests() > last.0 {
            last = (refusing.requests(), Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(
        !tool.has_ended(),
        "what is refused and no dead letter waits"
    );
    assert!(refusing.requests() < 1000, "{}", refusing.requests());
    // It goes on by itself.
    fs::remove_file(ballast).unwrap();
    let ended = tool.finish();
    assert_end(&ended, 0);
    let why = "refused: 400 DLI.0001 injected fault; not yet a dead letter, and waits: ";
    assert!(ended.errors.contains(why), "{}", ended.errors);
    assert_eq!(said("refused", &ended.lines).len(), 1000);
    assert_eq!(
        refusing.requests(),
        1000,
        "what was refused is not sent again"
    );
    let account = Account {
        submitted: 1000,
        refused: 1000,
        letters: 1000,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), account);
    assert_eq!(letters(&spool).len(), 1000);
}

#[test]
fn of_a_backlog_only_the_latest() {
    let (_parent, spool) = place();
    let mut tool = Tool::deliver(&spool, &format!("http://{}", nobody(7)), &[]);
    for number in 0..100 {
        let status = if number == 40 {
            JobStatus::CANCEL_SUCCESS
        } else {
            JobStatus::RUNNING
        };
        tool.feed(&report(
            &format!("m-{number}"),
            Some(number % 5 + 1),
            status,
        ));
        tool.line();
    }
    tool.kill();
    let receiver = receiver(&[]);
    let ended = Tool::deliver(&spool, &receiver.url(), &["--backlog", "latest"]).finish();
    assert_end(&ended, 0);
    // Across jobs the order is nobody's.
    let mut newest = accepted(&receiver);
    newest.sort();
    assert_eq!(newest, ["m-40", "m-95", "m-96", "m-97", "m-98", "m-99"]);
    let account = Account {
        submitted: 100,
        delivered: 6,
        superseded: 94,
        ..Account::default()
    };
    assert_eq!(Account::of(&spool), account);
}

#[test]
fn a_hold_may_be_short_and_codes_may_be_others() {
    let (_parent, spool) = place();
    store(&spool, &ids(0..2));
    let receiver = receiver(&[
        "status=401,code=APIGW.0301@first 2",
        "status=400,code=EDGE.17@first 3",
    ]);
    let options = [
        "--hold",
        "20",
        "--service-code",
        "DLI.",
        "--service-code",
        "EDGE.",
    ];
    let begin = Instant::now();
    let ended = Tool::deliver(&spool, &receiver.url(), &options).finish();
    assert_end(&ended, 0);
    assert!(begin.elapsed() < Duration::from_secs(20));
    let held = "m-0: credentials: 401 APIGW.0301 injected fault; nothing is sent for 2";
    assert!(ended.errors.starts_with(held), "{}", ended.errors);
    let refused = ids(0..2).into_iter();
    let refused: Vec<_> = refused
        .map(|id| format!("{id} refused: 400 EDGE.17 injected fault"))
        .collect();
    // After the second 401 the other one was tried, too.
    let mut said = said("refused", &ended.lines);
    said.sort_unstable();
    assert_eq!(said, refused);

    // Without that it is somebody else's.
    store(&spool, &ids(2..3));
    let ended = Tool::deliver(&spool, &receiver.url(), &[]).finish();
    assert_end(&ended, 0);
    assert_eq!(ended.lines, ["delivered m-2"]);
    assert!(
        ended.errors.starts_with("m-2: not_understood: 400 EDGE.17"),
        "{}",
        ended.errors
    );
}

#[test]
fn help_names_every_option() {
    let ended = Tool::start(&["--help"]).finish();
    assert_end(&ended, 0);
    assert_eq!(ended.errors, "");
    let names = [
        "spool",
        "url",
        "project-id",
        "ak",
        "sk",
        "security-token",
        "token",
        "ca",
        "allow-plain-http",
        "connect-timeout",
        "tls-timeout",
        "send-timeout",
        "response-timeout",
        "total-timeout",
        "min-rate",
        "max-idle",
        "service-code",
        "max-bytes",
        "min-backoff",
        "max-backoff",
        "hold",
        "start-spread",
        "backlog",
        "when-letters-full",
        "help",
    ];
    for name in names {
        let line = ended
            .lines
            .iter()
            .find(|line| line.starts_with(&format!("  --{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {:?}", ended.lines));
        assert!(line.len() > 40, "{line}");
    }
    let commands = ["run", "pipe", "status", "letters", "resubmit", "check"];
    for name in commands {
        let line = format!("  {name} ");
        assert!(ended.lines.iter().any(|it| it.starts_with(&line)), "{name}");
    }
}

#[test]
fn a_start_may_be_put_off() {
    let (_parent, spool) = place();
    store(&spool, &ids(0..1));
    let receiver = receiver(&[]);
    // The chance that it comes within the time this looks is one in some hundred million.
    let mut tool = Tool::deliver(
        &spool,
        &receiver.url(),
        &["--start-spread", "9999999999999"],
    );
    tool.end_input();
    thread::sleep(Duration::from_millis(300));
    assert!(!tool.has_ended());
    assert_eq!(receiver.requests(), 0);
}

#[test]
fn what_cannot_work_is_said() {
    let (parent, spool) = place();
    let file = parent.path().join("file");
    fs::write(&file, "no certificate").unwrap();
    let (file, spool) = (file.to_str().unwrap(), spool.to_str().unwrap());
    let inside = format!("{file}/spool");
    let far = format!("{spool}/not/there");
    let to = |spool| {
        [
            "pipe",
            "--spool",
            spool,
            "--url",
            "https://gateway.example",
            "--project-id",
            "p",
        ]
    };
    let usage = "; see --help";
    let cases: &[(&[&str], &[&str])] = &[
        (&["pipe"], &["--url is needed", usage]),
        (&["--spool"], &["--spool needs a value", usage]),
        (&["--what"], &["there is no option `--what`", usage]),
        (&["status"], &["--spool is needed", usage]),
        (
            &["status", "letters"],
            &["`letters` is one word too many", usage],
        ),
        (&["letters", "--spool", spool], &["there is no spool "]),
        (
            &["resubmit", "1", "--spool", spool],
            &["there is no spool "],
        ),
        (
            &["--spool", spool, "--spool", spool],
            &["--spool stands there twice", usage],
        ),
        (
            &[&to(spool)[..], &["--backlog", "x"]].concat(),
            &["--backlog `x` is none of all, latest", usage],
        ),
        (
            &[&to(spool)[..], &["--service-code", ""]].concat(),
            &["--service-code is empty"],
        ),
        (&["status", "--spool", spool], &["there is no spool "]),
        (
            &["pipe", "--url", "u", "--project-id", "p", "--sk", "SECRET"],
            &["either --ak with --sk", usage],
        ),
        (&["pipe", "--url", "u", "--project-id", "p"], &["base URL"]),
        (
            &[
                "pipe",
                "--spool",
                spool,
                "--url",
                "http://gateway.example",
                "--project-id",
                "p",
            ],
            &["http://"],
        ),
        (
            &[&to(spool)[..], &["--ca", file]].concat(),
            &["certificate"],
        ),
        (
            &[&to(spool)[..], &["--ca", &far]].concat(),
            &["/spool/not/there: No such file"],
        ),
        (
            &[&to(spool)[..], &["--max-bytes", "1G"]].concat(),
            &["--max-bytes `1G` is not a whole number"],
        ),
        (
            &[&to(spool)[..], &["--max-bytes", "1"]].concat(),
            &["--max-bytes `1` is not a whole number from 16384"],
        ),
        (
            &[&to(spool)[..], &["--min-backoff", "-1"]].concat(),
            &["--min-backoff `-1` is not a whole number"],
        ),
        (
            &[&to(spool)[..], &["--send-timeout", "0"]].concat(),
            &["send_timeout: 1 ms to 1 day"],
        ),
        (
            &[&to(spool)[..], &["--tls-timeout", "86400001"]].concat(),
            &["tls_timeout: 1 ms to 1 day"],
        ),
        (
            &[&to(spool)[..], &["--connect-timeout", "1s"]].concat(),
            &["--connect-timeout `1s` is not a whole number"],
        ),
        (
            &[&to(spool)[..], &["--min-rate", "0"]].concat(),
            &["min_rate: 1 byte a second, or more"],
        ),
        (&to(&inside), &["cannot ", "file"]),
        (&to(&far), &["cannot create there in ", "No such file"]),
    ];
    for (args, texts) in cases {
        let ended = Tool::start(args).finish();
        assert_end(&ended, 2);
        assert_eq!(ended.lines, [""; 0]);
        for text in *texts {
            assert!(
                ended.errors.contains(text),
                "{args:?} does not say {text}: {}",
                ended.errors
            );
        }
        assert!(!ended.errors.contains("SECRET"), "{}", ended.errors);
        assert!(!Path::new(spool).exists(), "{args:?} made the spool");
    }
}

#[test]
fn the_agent() {
    let output = example("agent").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(": job_submitting\n"), "{text}");
    assert!(
        text.contains("submitted: 6, delivered: 6, refused: 0,"),
        "{text}"
    );

    let (_parent, spool) = place();
    let receiver = Receiver::start(Options::new().keys("AK", "SK")).unwrap();
    for runs in 1..=2 {
        let mut agent = example("agent");
        agent.args([&receiver.url(), "p", spool.to_str().unwrap(), "AK", "SK"]);
        let output = agent.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let all = 6 * runs;
        assert!(
            text.contains(&format!("submitted: {all}, delivered: {all},")),
            "{text}"
        );
        assert_eq!(receiver.accepted().len(), all);
    }
    let said = example("agent").arg("--help").output().unwrap();
    assert!(!said.status.success());
}
