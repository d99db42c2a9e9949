//! What the tests of `edge-report-agent pipe` share: the tool at work, and lines for it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program that includes this uses a part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use edge_report::{Job, JobStatus, Report};
use serde_json::Value;

/// What a machine under load may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The example `name`.
pub fn example(name: &str) -> Command {
    built(&["examples", name], "-p examples --examples")
}

/// The agent, to be told what to do.
pub fn agent() -> Command {
    program("edge-report-agent")
}

/// The agent with the reports of others, from standard input.
pub fn pipe() -> Command {
    let mut command = agent();
    command.arg("pipe");
    command
}

/// The program of the package `name`.
pub fn program(name: &str) -> Command {
    built(&[name], &format!("-p {name}"))
}

fn built(place: &[&str], by: &str) -> Command {
    // From target/debug/deps/TEST-HASH to target/debug
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(place);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    let missing = format!("run `cargo build {by}` first");
    assert!(path.exists(), "{} is not there: {missing}", path.display());
    Command::new(path)
}

/// A line for the tool: a report on one job. Without a job id nothing supersedes it.
pub fn report(message_id: &str, job_id: Option<i64>, status: JobStatus<'_>) -> String {
    let job = Job::new(status, 1_591_104_868_201);
    let jobs = [job_id.map_or(job, |id| job.with_job_id(id))];
    let bytes = Report::new(message_id, &jobs).with_topic("topic");
    let mut room = vec![0; bytes.encoded_len()];
    String::from_utf8(bytes.encode(&mut room).unwrap().to_vec()).unwrap()
}

/// The tool at work; killed when it is dropped.
pub struct Tool {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    errors: Option<JoinHandle<()>>,
    /// What it wrote to its standard error up to now.
    errors_so_far: Arc<Mutex<Vec<u8>>>,
}

/// The tool when it has ended.
pub struct Ended {
    /// `None`: killed.
    pub code: Option<i32>,
    /// What it wrote to its standard output that was not taken yet, in whole lines.
    pub lines: Vec<String>,
    /// What it wrote to its standard error.
    pub errors: String,
}

impl Tool {
    pub fn start(args: &[&str]) -> Tool {
        Tool::start_as(agent(), args)
    }

    /// With an environment of its own, say.
    pub fn start_as(mut command: Command, args: &[&str]) -> Tool {
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, lines) = mpsc::channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            // A line that a kill cut short was not said.
            while out.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                line.pop();
                if said.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        let mut err = child.stderr.take().unwrap();
        let errors_so_far = Arc::new(Mutex::new(Vec::new()));
        let all = errors_so_far.clone();
        let errors = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(len @ 1..) = err.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..len]);
            }
        });
        Tool {
            input: child.stdin.take(),
            child,
            lines,
            errors: Some(errors),
            errors_so_far,
        }
    }

    /// At work on `spool`, delivering to `url` without much waiting.
    pub fn deliver(spool: &Path, url: &str, more: &[&str]) -> Tool {
        Tool::deliver_as(pipe(), spool, url, more)
    }

    pub fn deliver_as(command: Command, spool: &Path, url: &str, more: &[&str]) -> Tool {
        let spool = spool.to_str().unwrap();
        let usual = ["--spool", spool, "--url", url, "--project-id", "project"];
        let quick = ["--min-backoff", "1", "--max-backoff", "8"];
        Tool::start_as(command, &[&usual[..], &quick, more].concat())
    }

    pub fn feed(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }

    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// For another thread to feed it.
    pub fn take_input(&mut self) -> ChildStdin {
        self.input.take().unwrap()
    }

    /// The next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => {
                let _ = self.child.kill();
                panic!("it says nothing more: {}", self.all_errors());
            }
        }
    }

    /// The lines up to now.
    pub fn lines_so_far(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL, wherever it is.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Waits for its end, without more input.
    pub fn finish(mut self) -> Ended {
        self.end_input();
        let begin = Instant::now();
        while !self.has_ended() {
            if begin.elapsed() > PATIENCE {
                let ended = self.kill();
                panic!("it does not end: {:?}\n{}", ended.lines, ended.errors);
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.wait()
    }

    fn wait(&mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        Ended {
            code,
            lines: self.lines.iter().collect(),
            errors: self.all_errors(),
        }
    }

    fn errors_so_far(&self) -> String {
        String::from_utf8_lossy(&self.errors_so_far.lock().unwrap()).into_owned()
    }

    /// When it has ended.
    fn all_errors(&mut self) -> String {
        self.errors.take().unwrap().join().unwrap();
        self.errors_so_far()
    }

    /// Waits until it has said this on its standard error.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) {
        let begin = Instant::now();
        while !self.errors_so_far().contains(text) {
            assert!(begin.elapsed() < PATIENCE, "{}", self.errors_so_far());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rest of each line that begins with `word`.
pub fn said<'l>(word: &str, lines: &'l [String]) -> Vec<&'l str> {
    let rest = |line: &'l String| line.strip_prefix(word)?.strip_prefix(' ');
    lines.iter().filter_map(rest).collect()
}

/// What `status` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub submitted: u64,
    pub delivered: u64,
    pub refused: u64,
    pub superseded: u64,
    pub expired: u64,
    pub torn: u64,
    pub corrupt: u64,
    pub waiting: u64,
    pub letters: u64,
    pub letters_dropped: u64,
    pub foreign: u64,
}

impl Account {
    pub fn of(spool: &Path) -> Account {
        let tool = Tool::start(&["status", "--spool", spool.to_str().unwrap()]);
        let ended = tool.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        let mut lines = ended.lines.iter();
        let mut next = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name));
            let value = value.and_then(|value| value.strip_prefix(' ')?.parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {:?}", ended.lines))
        };
        Account {
            submitted: next("submitted"),
            delivered: next("delivered"),
            refused: next("refused"),
            superseded: next("superseded"),
            expired: next("expired"),
            torn: next("torn"),
            corrupt: next("corrupt"),
            waiting: next("waiting"),
            letters: next("letters"),
            letters_dropped: next("letters_dropped"),
            foreign: next("foreign"),
        }
    }

    #[track_caller]
    pub fn assert_adds_up(&self) {
        let known = self.delivered + self.refused + self.superseded + self.expired + self.corrupt;
        assert_eq!(self.submitted, known + self.waiting, "{self:?}");
    }
}

/// What `letters` says.
pub fn letters(spool: &Path) -> Vec<Value> {
    let ended = Tool::start(&["letters", "--spool", spool.to_str().unwrap()]).finish();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let lines = ended.lines.iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A spool that does not exist yet, in a directory that goes with it.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let spool = parent.path().join("spool");
    (parent, spool)
}

#[path = "../mount/mod.rs"]
mod mount;
#[allow(unused_imports, reason = "as above")]
pub use mount::Mount;
