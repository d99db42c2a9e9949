//! The examples, run as the documentation and its readers run them.
//!
//! `cargo test --workspace` builds them; before a test alone, say `cargo build -p examples --examples -p edge-report-agent -p edge-report-receiver`.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const SAMPLE: &str = include_str!("../vectors/workloads/W1.json");

/// The program of the package of this name.
const RECEIVER: &str = "edge-report-receiver";
const AGENT: &str = "edge-report-agent";

/// What a machine under load may take for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Scratch {
        let name = format!("examples-{test}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The example `name`, or one of the programs, to be run in this directory.
    fn example<A: AsRef<str>>(&self, name: &str, args: &[A]) -> Command {
        // target/debug/deps/examples-HASH -> target/debug/examples/NAME
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        let build = if [RECEIVER, AGENT].contains(&name) {
            path.push(name);
            format!("cargo build -p {name}")
        } else {
            path.extend(["examples", name]);
            "cargo build -p examples --examples".to_owned()
        };
        path.set_extension(std::env::consts::EXE_EXTENSION);
        assert!(
            path.exists(),
            "{} is not there: run `{build}` first",
            path.display()
        );
        let mut command = Command::new(path);
        command
            .args(args.iter().map(AsRef::as_ref))
            .current_dir(&self.0)
            .stdin(Stdio::null());
        command
    }

    fn quickstart(&self, args: &[&str]) -> Ended {
        Ended::run(self.example("quickstart", args))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that has ended.
struct Ended {
    /// None: killed by a signal.
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn run(mut command: Command) -> Ended {
        let output = command.output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Ended with `code`, and said each of `said` on stdout or stderr.
    #[track_caller]
    fn assert(&self, code: i32, said: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, Some(code), "{all}");
        for text in said {
            assert!(all.contains(text), "does not say `{text}`:\n{all}");
        }
    }
}

/// A receiver at work, until it is dropped.
struct Receiver {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Receiver {
    /// On a free port.
    fn start(scratch: &Scratch, args: &[&str]) -> Receiver {
        let args = [&["--listen", "127.0.0.1:0"], args].concat();
        Receiver::run(scratch, &args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Fails with what it said instead of the line that it listens.
    fn run<A: AsRef<str>>(scratch: &Scratch, args: &[A]) -> Result<Receiver, String> {
        let log = scratch.0.join("receiver.log");
        let mut command = scratch.example(RECEIVER, args);
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
        let mut receiver = Receiver {
            child,
            url: String::new(),
            log,
        };
        let line = line.recv_timeout(PATIENCE).unwrap_or_default();
        let url = line.trim_end().strip_prefix("listening on ");
        let Some(url) = url.filter(|url| url.starts_with("http://")) else {
            return Err(format!("{line}{}", receiver.log()));
        };
        receiver.url = url.to_owned();
        Ok(receiver)
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// What it said on stderr.
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends `body` unsigned, by hand. The status and the body of the answer.
    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n",
            self.address()
        );
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service that accepts one report, without a look at it. Its URL, and what came: head and body.
fn accept_one() -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(SAMPLE.as_bytes()) {
            let len = stream.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&buffer[..len]);
        }
        let body = r#"{"is_success":true}"#;
        let len = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, service)
}

// Documentation

/// Pages whose commands run here. tests/docs.py looks here for who runs them.
const PAGES: [(&str, &str); 3] = [
    ("README.md", include_str!("../../README.md")),
    ("docs/delivery.md", include_str!("../../docs/delivery.md")),
    (
        "crates/receiver/README.md",
        include_str!("../../crates/receiver/README.md"),
    ),
];

/// Their lines that run a program of this repository, in order: its name and arguments. Any other command must be named here.
fn documented_commands() -> Vec<(String, Vec<String>)> {
    let mut commands = Vec::new();
    for (page, text) in PAGES {
        let mut language = None;
        let mut line = String::new();
        for text in text.lines() {
            match (text.trim_start().strip_prefix("```"), language) {
                (Some(tag), None) => language = Some(tag),
                (Some(_), Some(_)) => language = None,
                (None, Some("sh")) => {
                    line.push_str(text);
                    if line.ends_with('\\') {
                        line.pop();
                    } else if !line.trim().is_empty() {
                        commands.push((page, words(&std::mem::take(&mut line))));
                    }
                }
                (None, _) => {}
            }
        }
    }
    let run = ["cargo", "run", "-p"];
    let examples = commands.into_iter().filter_map(|(page, words)| {
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            // This runs under it.
            ["tests/run"] => None,
            [a, b, c, AGENT, "--", ..] if [a, b, c] == run => {
                Some((AGENT.to_owned(), words[5..].to_vec()))
            }
            [RECEIVER, ..] => Some((RECEIVER.to_owned(), words[1..].to_vec())),
            [a, b, c, "examples", "--example", name] if [a, b, c] == run => {
                Some((name.to_owned(), Vec::new()))
            }
            [a, b, c, "examples", "--example", name, "--", ..] if [a, b, c] == run => {
                Some((name.to_owned(), words[7..].to_vec()))
            }
            _ => panic!("{page} has a command that no test knows: {words:?}"),
        }
    });
    examples.collect()
}

/// `line` as a shell splits it. What else a shell would do to it is not known here.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('$' | '`' | '\\', None | Some('"')) => panic!("{c} in: {line}"),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t', None) => words.extend(word.take()),
            ('|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '#' | '~', None) => {
                panic!("{c} in: {line}")
            }
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is not closed: {line}");
    words.extend(word);
    words
}

#[test]
fn words_are_split_like_a_shell_does() {
    assert_eq!(
        words(r#" a  b=c "d 'e' f"'g h'i '' "#),
        ["a", "b=c", "d 'e' fg hi", ""]
    );
}

/// Receivers start, and are stopped; a quickstart to an address talks to the first documented receiver that listens there.
#[test]
fn documented_commands_run() {
    let scratch = Scratch::new("documented");
    let commands = documented_commands();
    let listens_at = |args: &[String]| {
        let listen = args.iter().position(|arg| arg == "--listen").unwrap();
        args[listen + 1].clone()
    };
    let start = |args: &[String]| {
        let begin = Instant::now();
        let receiver = loop {
            match Receiver::run(&scratch, args) {
                Ok(receiver) => break receiver,
                // The page names a port, which another run of these tests may have just now.
                Err(why) if why.contains("in use") && begin.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(why) => panic!("{args:?}: {why}"),
            }
        };
        assert_eq!(receiver.address(), listens_at(args));
        receiver
    };
    let mut names = Vec::new();
    for (name, args) in &commands {
        bring_files(&scratch, args);
        let url = args
            .iter()
            .position(|arg| arg == "--url")
            .map(|url| &args[url + 1]);
        match (name.as_str(), url) {
            (RECEIVER, _) => drop(start(args)),
            ("quickstart", None) => {
                Ended::run(scratch.example(name, args)).assert(0, &["accepted"]);
            }
            ("quickstart", Some(url)) => {
                let address = url.strip_prefix("http://").unwrap();
                let of_receiver = commands
                    .iter()
                    .find(|(name, args)| name == RECEIVER && listens_at(args) == address);
                let (_, receiver_args) = of_receiver.unwrap();
                let _receiver = start(receiver_args);
                Ended::run(scratch.example(name, args)).assert(0, &["accepted: 200"]);
            }
            ("agent", None) => {
                Ended::run(scratch.example(name, args)).assert(0, &["delivered"]);
            }
            // Its input is empty here, so nothing is sent.
            (AGENT, Some(_)) => Ended::run(scratch.example(name, args)).assert(0, &[]),
            (AGENT, None) => {
                Ended::run(scratch.example(name, args)).assert(0, &["submitted 0", "waiting 0"]);
            }
            _ => panic!("an example that no test knows: {name}"),
        }
        names.push(name.as_str());
    }
    assert!(
        names.contains(&RECEIVER) && names.contains(&"quickstart"),
        "{names:?}"
    );
    let recorded = fs::read_to_string(scratch.0.join("reports.jsonl")).unwrap();
    assert_eq!(
        recorded.lines().count(),
        1,
        "as its README says, by --record: {recorded}"
    );
}

/// Copies the files of this repository that `args` name to the same place under `scratch`.
fn bring_files(scratch: &Scratch, args: &[String]) {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for arg in args {
        if Path::new(arg).is_relative() && root.join(arg).is_file() {
            scratch.file(arg, &fs::read_to_string(root.join(arg)).unwrap());
        }
    }
}

// quickstart

#[test]
fn quickstart_sends_the_documented_sample() {
    let scratch = Scratch::new("bare");
    let ended = scratch.quickstart(&[]);
    ended.assert(0, &["canonical bytes (338):\n", "accepted: 200"]);
    assert!(
        ended.out.lines().any(|line| line == SAMPLE),
        "{}",
        ended.out
    );
    assert_eq!(ended.err, "");
}

#[test]
fn quickstart_reads_nothing_from_the_environment() {
    let scratch = Scratch::new("environment");
    let receiver = Receiver::start(&scratch, &[]);
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    let to_receiver = ["--url", &by_name, "--project-id", "p"];
    for args in [&[][..], &to_receiver] {
        let mut command = scratch.example("quickstart", args);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(name, "http://127.0.0.1:1");
            command.env(name.to_lowercase(), "http://127.0.0.1:1");
        }
        command.env("NO_PROXY", "").env("no_proxy", "");
        // No thread can be made with that, for the look-up of a name, say. (Without a URL it has the receiver's threads, too.)
        if !args.is_empty() {
            command.env("RUST_MIN_STACK", (1u64 << 60).to_string());
        }
        Ended::run(command).assert(0, &["accepted: 200"]);
    }
}

#[test]
fn quickstart_signs() {
    let scratch = Scratch::new("keys");
    let receiver = Receiver::start(&scratch, &["--ak", "AK", "--sk", "SK"]);
    let send = |more: &[&str]| {
        let to = ["--url", &receiver.url, "--project-id", "p"];
        scratch.quickstart(&[&to, more].concat())
    };
    send(&["--ak", "AK", "--sk", "SK"]).assert(0, &["accepted: 200"]);
    send(&["--ak", "AK", "--sk", "SK", "--security-token", "T"]).assert(0, &["accepted: 200"]);

    let refused = "not accepted: credentials: 401 APIGW.0301";
    let wrong = send(&["--ak", "AK", "--sk", "WRONG-SECRET"]);
    wrong.assert(1, &[refused, "signature does not fit"]);
    assert!(wrong.err.contains(refused), "on stderr: {}", wrong.err);
    assert!(!format!("{}{}", wrong.out, wrong.err).contains("WRONG-SECRET"));
    send(&["--ak", "OTHER", "--sk", "SK"]).assert(1, &[refused, "access key is not known"]);
    send(&["--token", "T"]).assert(1, &[refused]);
    send(&[]).assert(1, &[refused]);
}

#[test]
fn quickstart_sends_tokens() {
    let scratch = Scratch::new("tokens");
    let head_for = |credentials: &[&str]| {
        let (url, service) = accept_one();
        let to = ["--url", &url, "--project-id", "p"];
        scratch
            .quickstart(&[&to, credentials].concat())
            .assert(0, &["accepted: 200"]);
        service.join().unwrap().to_lowercase()
    };
    let token = head_for(&["--token", "tok-1"]);
    assert!(token.contains("\r\nx-auth-token: tok-1\r\n"), "{token}");
    assert!(!token.contains("\r\nauthorization:"), "{token}");
    let keys = head_for(&["--ak", "A", "--sk", "SECRET", "--security-token", "sts-1"]);
    assert!(keys.contains("\r\nx-security-token: sts-1\r\n"), "{keys}");
    assert!(
        keys.contains("\r\nauthorization: sdk-hmac-sha256 access=a, "),
        "{keys}"
    );
    assert!(
        !keys.contains("secret\r\n") && !keys.contains("=secret"),
        "{keys}"
    );
    let none = head_for(&[]);
    assert!(
        !none.contains("authorization:") && !none.contains("token:"),
        "{none}"
    );
}

#[test]
fn quickstart_sends_a_file() {
    let scratch = Scratch::new("file");
    let good = scratch.file("good.json", &SAMPLE.replace(',', " ,\n\t"));
    let ended = scratch.quickstart(&["--file", "good.json"]);
    ended.assert(0, &[SAMPLE, "accepted: 200"]);
    assert_eq!(ended.err, "");

    let mut from_stdin = scratch.example("quickstart", &["--file", "-"]);
    from_stdin.stdin(File::open(good).unwrap());
    Ended::run(from_stdin).assert(0, &[SAMPLE, "accepted: 200"]);
}

#[test]
fn quickstart_lists_all_findings() {
    let scratch = Scratch::new("findings");
    let doubtful = r#"{
  "jobs": [
    {"status": "作业", "create_time": 1591104868},
    {"job_id": 3000000000, "status": "job_failed", "create_time": 1591104868201}
  ],
  "message_id": "uuid"
}"#;
    scratch.file("doubtful.json", doubtful);
    let ended = scratch.quickstart(&["--file", "doubtful.json"]);
    ended.assert(0, &["accepted: 200"]);
    assert_findings(
        &ended.err,
        &[
            "doubtful.json:1:1: warning: msg_confirm_topic: ",
            "doubtful.json:3:16: warning: jobs[0].status: ",
            "doubtful.json:3:37: warning: jobs[0].create_time: ",
            "doubtful.json:4:16: warning: jobs[1].job_id: ",
            "doubtful.json:4:38: warning: jobs[1].status: ",
        ],
    );

    let wrong = r#"{"jobs": [
  {"job_id": 0, "create_time": "1591104868201", "status": "job_running"},
  {"job_id": 1, "status": "", "create_time": 1591104868201, "extra": 1}
], "msg_confirm_topic": "topic"}"#;
    scratch.file("wrong.json", wrong);
    let ended = scratch.quickstart(&["--file", "wrong.json"]);
    ended.assert(2, &[]);
    assert_eq!(ended.out, "", "nothing is built of it, nothing is sent");
    let (findings, summary) = ended.err.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(summary, "wrong.json: 4 error(s)");
    assert_findings(
        findings,
        &[
            "wrong.json:1:1: error: message_id: ",
            "wrong.json:2:14: error: jobs[0].job_id: ",
            "wrong.json:2:32: error: jobs[0].create_time: ",
            "wrong.json:3:27: error: jobs[1].status: ",
            "wrong.json:3:61: warning: jobs[1].extra: ",
        ],
    );
}

/// One line for each of `expected`, in any order, and no others.
#[track_caller]
fn assert_findings(listed: &str, expected: &[&str]) {
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), expected.len(), "{listed}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} is not {expected}");
    }
}

#[test]
fn quickstart_says_why_not() {
    let scratch = Scratch::new("why");
    let usage = "usage: quickstart";
    let plain_http = "http:// is refused except to loopback";
    for (args, code, said) in [
        ("--wrong", 2, &["unknown argument --wrong", usage][..]),
        ("file.json", 2, &["unknown argument file.json", usage]),
        ("--file", 2, &["--file needs a value", usage]),
        ("--url http://127.0.0.1:1", 2, &["--project-id", usage]),
        ("--project-id p", 2, &["--url", usage]),
        ("--ak AK", 2, &["--sk", usage]),
        ("--sk SECRET", 2, &["--ak", usage]),
        ("--ak AK --sk SECRET --token T", 2, &["--token", usage]),
        ("--file missing.json", 2, &["missing.json: "]),
        ("--ca missing.pem", 2, &["missing.pem: "]),
        (
            "--url gateway.example --project-id p",
            2,
            &["must begin with http"],
        ),
        (
            "--url http://gateway.example --project-id p --ak AK --sk SECRET",
            2,
            &[plain_http],
        ),
        (
            "--url http://127.0.0.1:1 --project-id p",
            1,
            &["not accepted: not sent"],
        ),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let ended = scratch.quickstart(&args);
        ended.assert(code, said);
        assert!(!ended.out.contains("accepted"), "{args:?}: {}", ended.out);
        assert!(
            !format!("{}{}", ended.out, ended.err).contains("SECRET"),
            "{args:?}"
        );
    }
}

/// 0.0.0.0 is no loopback address, and yet leads nowhere else.
#[test]
#[cfg(target_os = "linux")]
fn quickstart_allows_plain_http_by_name() {
    let scratch = Scratch::new("plain");
    let receiver = Receiver::start(&scratch, &[]);
    let url = receiver.url.replace("127.0.0.1", "0.0.0.0");
    let to = ["--url", &url, "--project-id", "p"];
    scratch
        .quickstart(&to)
        .assert(2, &["http:// is refused except to loopback"]);
    let allowed = [&to[..], &["--allow-plain-http"]].concat();
    scratch.quickstart(&allowed).assert(0, &["accepted: 200"]);
}

// receiver

#[test]
fn receiver_says_what_is_wrong() {
    let scratch = Scratch::new("usage");
    let taken = Receiver::start(&scratch, &[]);
    let directory = scratch.0.to_str().unwrap().to_owned();
    for (args, code, said) in [
        (
            &["--wrong"][..],
            2,
            "there is no option `--wrong`; see --help",
        ),
        (&["wrong"], 2, "there is no option `wrong`; see --help"),
        (&["--listen"], 2, "--listen needs a value"),
        (
            &["--listen", "here"],
            2,
            "--listen `here` is not ADDRESS:PORT",
        ),
        (&["--seed", "x"], 2, "--seed `x` is not a whole number"),
        (&["--ak", "AK"], 2, "--ak and --sk go together"),
        (&["--sk", "SECRET"], 2, "--ak and --sk go together"),
        (&["--ak", "AK", "--sk", ""], 2, "--sk is empty"),
        (
            &["--fault", "explode"],
            2,
            "fault `explode`: there is no kind `explode`",
        ),
        (
            &["--fault", "status"],
            2,
            "fault `status`: `status` needs a value",
        ),
        (
            &["--fault", "status=99"],
            2,
            "status `99` is not 200 to 599",
        ),
        (&["--fault", "cut=1"], 2, "`cut` takes no value"),
        (&["--fault", "cut@sometimes"], 2, "`every N`"),
        (&["--fault", "cut@every 0"], 2, "fault `cut@every 0`: "),
        (&["--listen", taken.address()], 1, taken.address()),
        (
            &["--listen", "127.0.0.1:0", "--record", &directory],
            1,
            &directory,
        ),
    ] {
        let ended = Ended::run(scratch.example(RECEIVER, args));
        ended.assert(code, &[said]);
        assert_eq!(ended.out, "", "{args:?}");
        assert_eq!(ended.err.lines().count(), 1, "{args:?}: {}", ended.err);
        assert!(!ended.err.contains("SECRET"), "{args:?}: {}", ended.err);
    }
}

#[test]
fn receiver_refuses_what_breaks_the_contract() {
    let scratch = Scratch::new("refuse");
    let receiver = Receiver::start(&scratch, &["--record", "reports.jsonl"]);
    let path = "/prefix/v1/p/edgesrv/job-report";
    let wrong = SAMPLE.replace("99270", "0").replace("\"uuid\"", "7");
    let (status, answer) = receiver.post(path, &wrong);
    assert_eq!((status, &answer["error_code"]), (400, &json!("DLI.0001")));
    let why = answer["error_msg"].as_str().unwrap();
    assert!(
        why.contains("jobs[0].job_id: must be greater than 0"),
        "{why}"
    );
    assert!(why.contains("message_id: must be a string"), "{why}");

    let (status, answer) = receiver.post(path, "{\"jobs\":");
    let why = answer["error_msg"].as_str().unwrap();
    assert!(
        status == 400 && why.contains("the JSON text ends too early"),
        "{why}"
    );

    let (status, answer) = receiver.post("/v1/p/edgesrv/other", SAMPLE);
    assert_eq!((status, &answer["error_code"]), (404, &json!("APIGW.0101")));
    assert_eq!(fs::read(scratch.0.join("reports.jsonl")).unwrap(), b"");
    assert_eq!(
        receiver.log().matches("refused").count(),
        3,
        "{}",
        receiver.log()
    );
    assert_eq!(receiver.post(path, SAMPLE).0, 200);
}

#[test]
fn receiver_keeps_each_report_once() {
    let scratch = Scratch::new("record");
    let path = "/v1/project%20one/edgesrv/job-report";
    let second = SAMPLE.replace("\"uuid\"", r#""作业 \" \\ 2""#);
    let entries = || -> Vec<Value> {
        let recorded = fs::read_to_string(scratch.0.join("reports.jsonl")).unwrap();
        assert!(
            recorded.is_empty() || recorded.ends_with('\n'),
            "{recorded}"
        );
        recorded
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let args = ["--record", "reports.jsonl"];

    let receiver = Receiver::start(&scratch, &args);
    for body in [SAMPLE, &second.replace(',', ",\n  "), SAMPLE] {
        let (status, answer) = receiver.post(path, body);
        assert_eq!(
            (status, &answer["is_success"]),
            (200, &json!(true)),
            "{answer}"
        );
    }
    let first_entries = entries();
    assert_eq!(first_entries.len(), 2);
    for (entry, report) in first_entries.iter().zip([SAMPLE, &second]) {
        let report: Value = serde_json::from_str(report).unwrap();
        assert_eq!(entry["report"], report);
        assert_eq!(entry["message_id"], report["message_id"]);
        assert_eq!(entry["project_id"], "project one");
        assert!(entry["received_ms"].as_i64().unwrap() > 1_591_104_868_201);
    }
    let repeats = |receiver: &Receiver| receiver.log().matches("repeat").count();
    assert_eq!(repeats(&receiver), 1, "{}", receiver.log());
    drop(receiver);
    #[cfg(unix)]
    {
        let record = fs::metadata(scratch.0.join("reports.jsonl")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&record.permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    let again = Receiver::start(&scratch, &args);
    assert_eq!(again.post(path, &second).0, 200);
    assert_eq!(repeats(&again), 1, "{}", again.log());
    assert_eq!(entries(), first_entries);
    assert_eq!(again.post(path, &SAMPLE.replace("uuid", "uuid-3")).0, 200);
    assert_eq!(entries().len(), 3);
}

#[test]
fn receiver_fails_when_told_to() {
    let scratch = Scratch::new("fault");
    let fault = "status=503,retry-after=1,code=DLI.0999@first 1";
    let receiver = Receiver::start(&scratch, &["--quiet", "--fault", fault]);
    let to = ["--url", &receiver.url, "--project-id", "p"];
    scratch
        .quickstart(&to)
        .assert(1, &["not accepted: ", "503", "DLI.0999"]);
    scratch.quickstart(&to).assert(0, &["accepted: 200"]);
    assert_eq!(receiver.log(), "", "--quiet");
}
