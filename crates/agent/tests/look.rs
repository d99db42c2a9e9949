//! `status`, `letters`, `resubmit` and `check`.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs;

use common::agent::{Agent, ended, text};
use common::flink::Flink;
use common::{until, wait_for_status};
use edge_report_receiver::{Options, Receiver};
use serde_json::Value;

const JOB: i64 = 1001;

#[test]
fn a_spool_is_looked_at_in_use_and_letters_are_sent_again() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    let path = dir.path();
    let refusing = "status=400,code=DLI.0001@first 1".parse().unwrap();
    let receiver = Receiver::start(Options::new().fault(refusing)).unwrap();
    flink.job(JOB, "edge");
    let more = ["--heartbeat", "0"];
    let agent = Agent::run(path, &flink.url(), &receiver.url(), &more);
    agent.wait_for("event=dead-letter", 1);
    flink.set(JOB, "edge", "FINISHED");
    wait_for_status(&receiver, JOB, "job_finish");
    agent.wait_for("event=delivered", 1);

    // In use.
    let status = ended(path, &["status", "--spool", "spool"]);
    assert!(status.status.success(), "{status:?}");
    let said = text(&status.stdout);
    for line in [
        "submitted 2",
        "delivered 1",
        "refused 1",
        "waiting 0",
        "letters 1",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
    assert!(said.contains("last_reason refused: 400 DLI.0001"), "{said}");
    let letters = text(&ended(path, &["letters", "--spool", "spool"]).stdout);
    let letter: Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["error_code"], "DLI.0001");
    assert_eq!(letter["report"]["jobs"][0]["status"], "job_running");

    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    let before: Vec<_> = names(path);
    let again = text(&ended(path, &["letters", "--spool", "spool"]).stdout);
    assert_eq!(again, letters);
    assert_eq!(names(path), before, "looking wrote something");
    let ticket = letter["ticket"].to_string();
    let none = ended(path, &["resubmit", "999", "--spool", "spool"]);
    assert!(
        text(&none.stderr).contains("there is no dead letter 999"),
        "{none:?}"
    );
    let resubmitted = ended(path, &["resubmit", &ticket, "--spool", "spool"]);
    assert!(text(&resubmitted.stdout).starts_with(&format!("resubmitted {ticket} as ")));
    let before = receiver.accepted().len();
    let _agent = Agent::run(path, &flink.url(), &receiver.url(), &more);
    until("the letter", || receiver.accepted().len() > before);
    let status = text(&ended(path, &["status", "--spool", "spool"]).stdout);
    assert!(status.contains("\nletters 0\n"), "{status}");
}

fn names(dir: &std::path::Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = fs::read_dir(dir.join("spool")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    names.sort();
    names
}

#[test]
fn looking_makes_no_spool() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["status"][..], &["letters"], &["resubmit", "all"]] {
        let ended = ended(dir.path(), &[command, &["--spool", "spool"]].concat());
        assert_eq!(ended.status.code(), Some(2));
        let said = text(&ended.stderr);
        assert!(said.contains("there is no spool spool"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn reports_are_checked_by_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    write(
        "good.json",
        r#"{"jobs":[{"job_id":7,"status":"job_finish","create_time":1591104868201}],"message_id":"1","msg_confirm_topic":"t"}"#,
    );
    write(
        "bad.json",
        "{\"jobs\":[\n {\"status\":\"job_runing\"}],\"message_id\":\"1\"}",
    );
    let good = ended(dir.path(), &["check", "good.json"]);
    assert!(good.status.success() && good.stdout.is_empty(), "{good:?}");
    let bad = ended(dir.path(), &["check", "good.json", "bad.json"]);
    let said = text(&bad.stdout);
    assert!(
        said.contains("bad.json:2:12: ") && said.contains("; likely job_running is meant\n"),
        "{said}"
    );
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("a service would refuse this"));
    let none = ended(dir.path(), &["check"]);
    assert_eq!(none.status.code(), Some(2));
}
