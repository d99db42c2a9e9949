//! The program at work, until it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::until;

/// What makes it quick, where a test is not about that.
pub const QUICK: [&str; 12] = [
    "--poll",
    "100",
    "--cache",
    "0",
    "--steady",
    "0",
    "--start-spread",
    "0",
    "--min-backoff",
    "10",
    "--max-backoff",
    "50",
];

pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-report-agent"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

/// What it says and how it ends.
pub fn ended(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// `run` from this cluster to this service, with a spool in the directory.
    pub fn run(dir: &Path, flink: &str, url: &str, more: &[&str]) -> Agent {
        let args = [
            &["run", "--flink", flink, "--url", url],
            &["--project-id", "0a1b2c", "--spool", "spool"][..],
            &QUICK,
            more,
        ];
        Agent::spawn(command(dir, &args.concat()), dir)
    }

    pub fn spawn(mut command: Command, dir: &Path) -> Agent {
        let log = dir.join("agent.log");
        let file = File::options().create(true).append(true).open(&log);
        command.stdout(Stdio::null()).stderr(file.unwrap());
        Agent {
            child: command.spawn().unwrap(),
            log,
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its log says this so often.
    pub fn wait_for(&self, said: &str, times: usize) {
        until(said, || self.log().matches(said).count() >= times);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Like a power cut for what it has in memory.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit status, when it ends by itself.
    pub fn wait(mut self) -> Option<i32> {
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
