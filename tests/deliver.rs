//! The tool `examples/deliver.rs`, and the loop in `examples/agent.rs`, run as people run them.
#![cfg(feature = "client")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod deliver_common;
#[path = "../examples/receiver/mod.rs"]
mod receiver;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use deliver_common::{Account, Ended, PATIENCE, Tool, example, place, report, said};
use edge_report::JobStatus::{CancelSuccess, Running};
use edge_report::exchange::Keys;
use receiver::{Options, Receiver};

fn receiver(faults: &[&str]) -> Receiver {
    Receiver::start(Options {
        faults: faults.iter().map(|spec| spec.parse().unwrap()).collect(),
        ..Options::default()
    })
    .unwrap()
}

/// Where nobody listens, yet: an address that no other test takes.
fn nobody(last: u8) -> SocketAddr {
    let address = SocketAddr::from(([127, 77, 0, last], 0));
    TcpListener::bind(address).unwrap().local_addr().unwrap()
}

fn receiver_at(listen: SocketAddr) -> Receiver {
    let options = Options {
        listen,
        ..Options::default()
    };
    Receiver::start(options).unwrap()
}

fn plain(message_id: &str) -> String {
    report(message_id, None, Running)
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
            "3 this byte cannot stand here in JSON (byte 1)",
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
        ended.errors.starts_with("m-0: surely not sent: "),
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
            CancelSuccess
        } else {
            Running
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
    for second in [
        Tool::deliver(&spool, &receiver.url(), &[]),
        Tool::start(&["--spool", path, "--status"]),
    ] {
        let ended = second.finish();
        assert_end(&ended, 2);
        let why = "is in use: only one process at a time can have it open\n";
        assert_eq!(ended.errors, format!("the spool {path} {why}"));
    }
    first.kill();
    assert_end(&Tool::deliver(&spool, &receiver.url(), &[]).finish(), 0);
    assert_eq!(accepted(&receiver), ["a"]);
}

#[test]
fn it_signs() {
    let (_parent, spool) = place();
    let options = Options {
        keys: Some(Keys::new("AK", "SK")),
        ..Options::default()
    };
    let receiver = Receiver::start(options).unwrap();
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
    let mut command = example("deliver");
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
            "--spool",
            spool,
            "--url",
            "https://gateway.example",
            "--project-id",
            "p",
        ]
    };
    let usage = "\nusage: deliver --spool DIR";
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["--url is needed", usage]),
        (&["--spool"], &["--spool needs a value", usage]),
        (&["--what"], &["unknown argument --what", usage]),
        (&["--status"], &["--spool is needed", usage]),
        (&["--spool", spool, "--status"], &["there is no spool "]),
        (
            &["--url", "u", "--project-id", "p", "--sk", "SECRET"],
            &["either --ak with --sk", usage],
        ),
        (&["--url", "u", "--project-id", "p"], &["base URL"]),
        (
            &[
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
            &["--max-bytes 1G: invalid digit"],
        ),
        (
            &[&to(spool)[..], &["--max-bytes", "1"]].concat(),
            &["need 16 KiB each"],
        ),
        (
            &[&to(spool)[..], &["--min-backoff", "-1"]].concat(),
            &["--min-backoff -1: invalid digit"],
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
    let options = Options {
        keys: Some(Keys::new("AK", "SK")),
        ..Options::default()
    };
    let receiver = Receiver::start(options).unwrap();
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
