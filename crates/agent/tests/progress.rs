//! How much waits is shown on a terminal, and nowhere else.
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
use std::path::Path;
use std::process::{Command, Stdio};

use common::agent::{QUICK, text};
use common::flink::Flink;
use edge_report_receiver::{Options, Receiver};

/// The program between an input and a terminal, or only a pipe.
const TERMINAL: &str =
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
const SHELL: &str = r#"exec "$@" <input"#;

fn said(dir: &Path, is_terminal: bool, args: &[&str]) -> String {
    let python = ["python3", "-c", TERMINAL];
    let shell = [
        "sh",
        "-c",
        SHELL,
        "sh",
        env!("CARGO_BIN_EXE_edge-report-agent"),
    ];
    let words: Vec<&str> = match is_terminal {
        true => [&python[..], &shell, args].concat(),
        false => [&shell[..], args].concat(),
    };
    let mut command = Command::new(words[0]);
    let command = command.args(&words[1..]).current_dir(dir);
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    text(&ended.stdout) + &text(&ended.stderr)
}

#[test]
fn what_waits_is_shown_on_a_terminal_alone() {
    for is_terminal in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let report = |id: u32| {
            format!(
                "{{\"jobs\":[{{\"job_id\":{id},\"status\":\"job_finish\",\"create_time\":1591104868201}}],\"message_id\":\"{id}\",\"msg_confirm_topic\":\"t\"}}\n"
            )
        };
        fs::write(path.join("input"), (1..=3).map(report).collect::<String>()).unwrap();
        // Nothing is refused before it can be seen.
        let held = "status=503,retry-after=2@first 2".parse().unwrap();
        let refused = "status=400,code=DLI.0001".parse().unwrap();
        let receiver = Receiver::start(Options::new().fault(held).fault(refused)).unwrap();
        let url = receiver.url();
        let to = ["--project-id", "0a1b2c", "--spool", "spool", "--url", &url];
        let said_by = |command: &[&str]| said(path, is_terminal, command);
        let piped = said_by(&[&["pipe"], &to[..], &QUICK[6..]].concat());
        let resubmitted = said_by(&["resubmit", "all", "--spool", "spool"]);
        assert_eq!(piped.contains("\rwaiting: 3"), is_terminal, "{piped:?}");
        assert_eq!(
            resubmitted.contains("\rdead letters: 3"),
            is_terminal,
            "{resubmitted:?}"
        );
        for said in [piped, resubmitted] {
            // What is there to be read stands in lines of its own.
            let lines = said.lines().map(|line| line.rsplit('\r').next().unwrap());
            let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            let known = ["stored ", "refused ", "resubmitted "];
            let told = lines
                .iter()
                .filter(|line| known.iter().any(|it| line.starts_with(it)));
            assert!(told.count() >= 3, "{said:?}");
            assert!(is_terminal || !said.contains('\r'), "{said:?}");
        }
    }
}

#[test]
fn so_is_what_waits_at_the_end() {
    for is_terminal in [true, false] {
        let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
        flink.job(1001, "edge");
        fs::write(dir.path().join("input"), "").unwrap();
        let held = "status=503,retry-after=2@first 1".parse().unwrap();
        let receiver = Receiver::start(Options::new().fault(held)).unwrap();
        let (cluster, url) = (flink.url(), receiver.url());
        let args = [
            &["run", "--once", "--flink", &cluster, "--url", &url][..],
            &["--project-id", "0a1b2c", "--spool", "spool"],
            &QUICK,
        ];
        let said = said(dir.path(), is_terminal, &args.concat());
        assert_eq!(said.contains("\rwaiting: 1"), is_terminal, "{said:?}");
        assert!(said.contains("event=delivered"), "{said:?}");
        assert!(is_terminal || !said.contains('\r'), "{said:?}");
    }
}
