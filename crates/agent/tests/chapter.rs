//! The chapter docs/flink.md, run as its readers run it, but for ports. Before this alone say `cargo build -p edge-report-receiver`.
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
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::agent::{Agent, QUICK, command, ended, text};
use common::ca::Ca;
use common::flink::Flink;

/// tests/docs.py looks here for who runs "docs/flink.md".
const CHAPTER: &str = include_str!("../../../docs/flink.md");

const RECEIVER: &str = "cargo run --release -p edge-report-receiver --features program";
const AGENT: &str = "cargo run --release -p edge-report-agent -- ";

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let parts = CHAPTER.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

/// The receiver's program, and where it listens.
struct Receiving(Child);

impl Receiving {
    fn start(dir: &Path) -> (Receiving, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_edge-report-agent"));
        let program = program.with_file_name("edge-report-receiver");
        assert!(
            program.exists(),
            "run `cargo build -p edge-report-receiver` first"
        );
        let mut command = Command::new(program);
        let command = command.args(["--listen", "127.0.0.1:0"]).current_dir(dir);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap();
        (Receiving(child), url.to_owned())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn its_commands_run() {
    let (dir, flink) = (tempfile::tempdir().unwrap(), Flink::start());
    flink.job(1001, "edge");
    settings(dir.path());
    let (mut receiving, mut agent) = (None, None);
    let mut url = String::new();
    for line in blocks("sh").into_iter().flat_map(str::lines) {
        if line == RECEIVER {
            let (receiver, at) = Receiving::start(dir.path());
            (receiving, url) = (Some(receiver), at);
            continue;
        }
        let Some(args) = line.strip_prefix(AGENT) else {
            panic!("a command that no test knows: {line}");
        };
        let args = args.replace("http://127.0.0.1:8081", &flink.url());
        let args = args.replace("http://127.0.0.1:8087", &url);
        let args: Vec<&str> = args.split(' ').collect();
        if args.contains(&"--url") {
            let command = command(dir.path(), &[&args[..], &QUICK].concat());
            let running = agent.insert(Agent::spawn(command, dir.path()));
            running.wait_for("event=delivered", 1);
        } else {
            let ended = ended(dir.path(), &args);
            assert!(ended.status.success(), "{line}: {ended:?}");
            let said = text(&ended.stdout);
            assert_eq!(said.contains("job_running"), args.contains(&"--dry-run"));
        }
    }
    assert!(receiving.is_some() && agent.is_some());
}

/// The file of settings, and what it names.
fn settings(dir: &Path) {
    let [settings] = blocks("toml")[..] else {
        panic!("one file of settings")
    };
    let ca = Ca::new("flink");
    let (certificate, key) = ca.leaf();
    for (name, content) in [
        ("agent.toml", settings),
        ("flink-ca.pem", &ca.pem),
        ("agent.pem", &certificate),
        ("agent.key", &key),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
}
