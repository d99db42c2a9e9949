//! `resubmit` while an agent has the spool open.
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
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use common::agent::{Agent, QUICK, command, ended, text};
use common::flink::Flink;
use common::{until, wait_for_status};
use edge_report_receiver::{Options, Receiver};

const JOBS: [i64; 3] = [1001, 1002, 1003];

/// An agent beside a cluster and a service that refuses its first reports.
struct Stage {
    dir: tempfile::TempDir,
    flink: Flink,
    receiver: Receiver,
    agent: Option<Agent>,
    starts: usize,
}

impl Stage {
    /// With a dead letter for each job.
    fn set() -> Stage {
        let refusing = "status=400,code=DLI.0001@first 3".parse().unwrap();
        let mut stage = Stage {
            dir: tempfile::tempdir().unwrap(),
            flink: Flink::start(),
            receiver: Receiver::start(Options::new().fault(refusing)).unwrap(),
            agent: None,
            starts: 0,
        };
        stage.start();
        for (before, job) in JOBS.into_iter().enumerate() {
            stage.flink.job(job, "edge");
            stage.agent().wait_for("event=dead-letter", before + 1);
        }
        stage
    }

    fn start(&mut self) {
        let (flink, url) = (self.flink.url(), self.receiver.url());
        let agent = Agent::run(self.dir.path(), &flink, &url, &["--heartbeat", "0"]);
        self.starts += 1;
        agent.wait_for("event=started", self.starts);
        self.agent = Some(agent);
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    fn says(&self, command: &[&str]) -> String {
        let ended = ended(self.dir.path(), &[command, &["--spool", "spool"]].concat());
        assert!(ended.status.success(), "{ended:?}");
        text(&ended.stdout)
    }

    /// What it says of each letter.
    fn resubmits_all(&self) {
        let said = self.says(&["resubmit", "all"]);
        assert_eq!(said.lines().count(), JOBS.len(), "{said}");
        for line in said.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["resubmitted", letter, "as", ticket] = words[..] else {
                panic!("{line}");
            };
            assert!(letter.parse::<u64>().unwrap() < ticket.parse().unwrap());
        }
        for job in JOBS {
            wait_for_status(&self.receiver, job, "job_running");
        }
        assert_eq!(self.says(&["letters"]), "");
    }
}

fn socket(dir: &Path) -> std::path::PathBuf {
    dir.join("spool/owner.control")
}

#[test]
fn letters_are_sent_again_by_the_agent_that_runs() {
    let stage = Stage::set();
    let found = fs::metadata(socket(stage.dir.path())).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    stage.resubmits_all();
    assert_eq!(stage.says(&["resubmit", "all"]), "");
    let none = ended(stage.dir.path(), &["resubmit", "999", "--spool", "spool"]);
    assert_eq!(none.status.code(), Some(1));
    let said = text(&none.stderr);
    assert!(said.contains("there is no dead letter 999"), "{said}");
    // It goes on.
    stage.flink.set(JOBS[0], "edge", "FINISHED");
    wait_for_status(&stage.receiver, JOBS[0], "job_finish");
    stage.agent().signal("TERM");
    assert_eq!(stage.agent.unwrap().wait(), Some(0));
    assert!(!socket(stage.dir.path()).exists());
}

#[test]
fn what_an_agent_that_was_killed_left_is_in_nobodys_way() {
    let mut stage = Stage::set();
    stage.agent.take().unwrap().kill();
    assert!(socket(stage.dir.path()).exists());
    // It does not make the directory one that is not a spool's alone.
    let spool = stage.dir.path().join("spool");
    let mode = |mode| fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o755);
    let open = ended(stage.dir.path(), &["resubmit", "all", "--spool", "spool"]);
    let said = text(&open.stderr);
    assert!(said.contains("chmod 700 "), "{said}");
    mode(0o700);
    // Without an agent, and with the next one.
    let letter = stage.says(&["letters"]);
    let letter: serde_json::Value = serde_json::from_str(letter.lines().next().unwrap()).unwrap();
    let said = stage.says(&["resubmit", &letter["ticket"].to_string()]);
    assert!(said.starts_with("resubmitted "), "{said}");
    stage.start();
    let said = stage.says(&["resubmit", "all"]);
    assert_eq!(said.lines().count(), JOBS.len() - 1, "{said}");
    for job in JOBS {
        wait_for_status(&stage.receiver, job, "job_running");
    }
}

#[test]
fn a_file_of_somebody_else_stays() {
    let mut stage = Stage::set();
    stage.agent.take().unwrap().kill();
    fs::remove_file(socket(stage.dir.path())).unwrap();
    fs::write(socket(stage.dir.path()), "mine").unwrap();
    stage.start();
    assert!(stage.agent().log().contains("event=control-failed"));
    let busy = ended(stage.dir.path(), &["resubmit", "all", "--spool", "spool"]);
    assert_eq!(busy.status.code(), Some(2));
    let said = text(&busy.stderr);
    assert!(said.contains("end that one first"), "{said}");
    stage.agent().signal("TERM");
    assert_eq!(stage.agent.unwrap().wait(), Some(0));
    assert_eq!(fs::read(socket(stage.dir.path())).unwrap(), b"mine");
}

#[test]
fn garbage_and_silence_stop_nothing() {
    let stage = Stage::set();
    let connect = || UnixStream::connect(socket(stage.dir.path())).unwrap();
    let silent: Vec<UnixStream> = (0..3).map(|_| connect()).collect();
    for garbage in [
        &b"\n"[..],
        b"resubmit\n",
        b"resubmit -1\n",
        b"resubmit 18446744073709551616\n",
        b"resubmit 1 2\n",
        b"\xff\xfe\n",
    ] {
        let mut stream = connect();
        stream.write_all(garbage).unwrap();
        let mut said = String::new();
        // It says so, or nothing.
        let _ = stream.read_to_string(&mut said);
        assert!(said.is_empty() || said.starts_with("failed: "), "{said}");
    }
    // It may go away before the end.
    let _ = connect().write_all(&[b'a'; 1 << 20]);
    // Reports go out meanwhile.
    stage.flink.set(JOBS[0], "edge", "FINISHED");
    wait_for_status(&stage.receiver, JOBS[0], "job_finish");
    let said = stage.says(&["resubmit", "all"]);
    assert_eq!(said.lines().count(), JOBS.len(), "{said}");
    drop(silent);
}

#[test]
fn pipe_sends_letters_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let refusing = "status=400,code=DLI.0001@first 1".parse().unwrap();
    let receiver = Receiver::start(Options::new().fault(refusing)).unwrap();
    let url = receiver.url();
    let args = [
        &["pipe", "--spool", "spool", "--url", &url][..],
        &["--project-id", "0a1b2c"],
        &QUICK[6..],
    ];
    let mut command = command(dir.path(), &args.concat());
    let mut pipe = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = pipe.stdin.take().unwrap();
    let mut lines = BufReader::new(pipe.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    writeln!(input, r#"{{"jobs":[{{"job_id":7,"status":"job_finish","create_time":1591104868201}}],"message_id":"1","msg_confirm_topic":"t"}}"#).unwrap();
    assert_eq!(next(), "stored 1");
    assert!(next().starts_with("refused 1 "));
    let said = ended(dir.path(), &["resubmit", "all", "--spool", "spool"]);
    assert!(text(&said.stdout).starts_with("resubmitted "), "{said:?}");
    assert_eq!(next(), "delivered 1");
    drop(input);
    assert!(pipe.wait().unwrap().success());
    assert!(!socket(dir.path()).exists());
    until("the report", || receiver.accepted().len() == 1);
}

#[test]
fn who_listens_instead_of_an_agent_writes_nothing_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("spool")).unwrap();
    let listener = UnixListener::bind(socket(dir.path())).unwrap();
    let answers = thread::spawn(move || {
        // The first only sees whether somebody listens.
        let (_seen, (mut asked, _)) = (listener.accept().unwrap(), listener.accept().unwrap());
        let mut request = String::new();
        BufReader::new(&asked).read_line(&mut request).unwrap();
        asked.write_all(b"failed: \x1b[2Jgone\n").unwrap();
    });
    let lied = ended(dir.path(), &["resubmit", "1", "--spool", "spool"]);
    answers.join().unwrap();
    assert_eq!(lied.status.code(), Some(1));
    let said = text(&lied.stderr);
    assert!(said.contains("gone") && !said.contains('\x1b'), "{said:?}");
}
