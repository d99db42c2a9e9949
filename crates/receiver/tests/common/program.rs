//! The program at work, until it is dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

pub struct Program {
    child: Child,
    url: String,
    log: PathBuf,
}

/// The program with these arguments, in this directory.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-report-receiver"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

/// `check-config` refuses these arguments, says why, and tells no secret.
pub fn assert_refused(dir: &Path, args: &[&str], why: &str) {
    let ended = command(dir, &[&["check-config"], args].concat())
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains(why) && !said.contains("secret"),
        "{args:?}: {said}"
    );
    assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
}

/// The program that reports, `edge-report-agent`.
pub fn agent() -> Command {
    built(&["edge-report-agent"], "-p edge-report-agent")
}

/// A program of the package `examples`.
pub fn example(name: &str) -> Command {
    built(&["examples", name], "-p examples --examples")
}

fn built(place: &[&str], by: &str) -> Command {
    // From target/debug/deps/TEST-HASH to target/debug
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(place);
    assert!(
        path.exists(),
        "{} is not there: run `cargo build {by}` first",
        path.display()
    );
    Command::new(path)
}

impl Program {
    /// On a free port.
    pub fn start(dir: &Path, args: &[&str]) -> Program {
        Program::run(
            command(dir, &[&["--listen", "127.0.0.1:0"], args].concat()),
            dir,
        )
    }

    pub fn run(mut command: Command, dir: &Path) -> Program {
        let log = dir.join("receiver.log");
        command
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (said, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = out.read_line(&mut line);
            let _ = said.send(line);
        });
        let line = line.recv_timeout(PATIENCE).unwrap_or_default();
        let mut program = Program {
            child,
            url: String::new(),
            log,
        };
        let url = line.trim_end().strip_prefix("listening on ");
        program.url = url
            .unwrap_or_else(|| panic!("{line}{}", program.log()))
            .to_owned();
        program
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn host(&self) -> &str {
        self.url.split_once("//").unwrap().1
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Its keys and certificates are read again when this returns.
    pub fn reload(&self) {
        let before = self.log().matches("reload").count();
        self.signal("HUP");
        self.wait_for("reload", before + 1);
    }

    /// Its log says this so often.
    pub fn wait_for(&self, said: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.log().matches(said).count() < times {
            assert!(
                Instant::now() < until,
                "not {times} times `{said}`: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its exit status, when it ends by itself.
    pub fn wait(mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory, in MB.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
