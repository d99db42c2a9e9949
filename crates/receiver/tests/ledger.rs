//! Both sides of the ledger: agents with spools (`edge-report-agent pipe`), receivers, and a database, all killed by SIGKILL again and again, on a disk that is full now and then. At the end each
//! report that an agent has stored is in the database, once, and there is nothing else; whatever was answered by 200 was there already.
//!
//! A minute with 40 spools, or ten with 200 (`EDGE_REPORT_LONG`). All agents together make [`RATE`] reports a second, and only some of them are alive at a time: two
//! cores carry that with programs that are not optimised, so that what is tested is death and not the length of a queue. `EDGE_REPORT_SEED` repeats the choices of a
//! run. `cargo test --workspace` builds the tool; before this alone say `cargo build -p edge-report-agent`.
#![cfg(all(target_os = "linux", feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use common::disk::Disk;
use common::postgres::Server;
use common::program::agent;
use common::{PATIENCE, report};
use edge_report::JobStatus;
use rusqlite::Connection;

/// Reports a second, made by all agents together, at the most.
const RATE: u64 = 200;

/// Megabytes of the database's disk: several times what comes in ten minutes.
const DISK: u32 = 512;

/// How much is at work, and for how long.
struct Size {
    spools: usize,
    /// Agents that are alive at a time; the reports of the others wait in their spools.
    alive: usize,
    seconds: u64,
}

fn size() -> Size {
    let (spools, alive, seconds) = if std::env::var_os("EDGE_REPORT_LONG").is_some() {
        (200, 24, 600)
    } else {
        (40, 8, 60)
    };
    Size {
        spools,
        alive,
        seconds,
    }
}

/// Reports of a project, by message id: how many rows it has.
type Rows = BTreeMap<String, u64>;

#[test]
fn two_receivers_on_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(DISK);
    let mut server = Server::start_on(&disk);
    let url = server.url();
    let mut round = 0;
    let kept = play(dir.path(), &url, 2, |random| {
        round += 1;
        if round % 3 == 1 {
            disk.fill();
            thread::sleep(Duration::from_millis(500 + random.below(1500)));
            disk.free();
            // It may have ended, without room for its log.
            if server.lives() {
                return;
            }
        }
        server.kill();
        thread::sleep(Duration::from_millis(random.below(1000)));
        server.run();
    });
    assert!(server.log().contains("No space left"), "{}", server.log());
    let rows = |table: &str| -> Rows {
        let names = format!("SELECT project || '/' || message_id FROM edge_report.{table}");
        count(server.ask::<String>(&names))
    };
    assert_same(&kept, &rows("report"));
    // What belongs to a report came with it, and nothing without one.
    let count =
        |what: &str| server.ask::<i64>(&format!("SELECT count(*) FROM edge_report.{what}"))[0];
    let reports = "report JOIN edge_report.known USING (project, digest, received_ms) JOIN edge_report.report_job USING (project, digest, received_ms)";
    assert_eq!(
        [count("known"), count("report_job"), count(reports)],
        [kept.len() as i64; 3]
    );
    let newest = server.ask::<i64>("SELECT count(*) FROM edge_report.job j WHERE create_time = (SELECT max(create_time) FROM edge_report.report_job r WHERE r.project = j.project AND r.job_id = j.job_id)");
    assert_eq!(newest, [count("job")]);
}

#[test]
fn one_receiver_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(DISK);
    let file = disk.path().join("reports.db");
    let kept = play(
        dir.path(),
        &format!("sqlite:{}", file.display()),
        1,
        |random| {
            disk.fill();
            thread::sleep(Duration::from_millis(500 + random.below(1500)));
            disk.free();
        },
    );
    let database = Connection::open(&file).unwrap();
    let ask = |sql: &str| -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(ask("PRAGMA integrity_check"), ["ok"]);
    assert_same(
        &kept,
        &count(ask("SELECT project || '/' || message_id FROM report")),
    );
    assert_same(
        &kept,
        &count(ask(
            "SELECT r.project || '/' || message_id FROM report r JOIN report_job j ON j.report = r.id",
        )),
    );
}

fn count(names: Vec<String>) -> Rows {
    let mut rows = Rows::new();
    for name in names {
        *rows.entry(name).or_default() += 1;
    }
    rows
}

#[track_caller]
fn assert_same(stored: &BTreeSet<String>, rows: &Rows) {
    let some = |names: Vec<&String>| {
        (
            names.len(),
            names.into_iter().take(5).cloned().collect::<Vec<_>>(),
        )
    };
    let lost = some(
        stored
            .iter()
            .filter(|name| !rows.contains_key(*name))
            .collect(),
    );
    let twice = some(
        rows.iter()
            .filter(|(_, count)| **count > 1)
            .map(|(name, _)| name)
            .collect(),
    );
    let foreign = some(rows.keys().filter(|name| !stored.contains(*name)).collect());
    assert!(
        lost.0 + twice.0 + foreign.0 == 0,
        "of {} stored are lost: {lost:?}, twice: {twice:?}, and nobody's: {foreign:?}",
        stored.len()
    );
}

/// Agents report to receivers on this store while all are killed. Gives what agents have stored, as PROJECT/ID.
fn play(
    dir: &Path,
    store: &str,
    receivers: u64,
    mut trouble: impl FnMut(&mut Random),
) -> BTreeSet<String> {
    // Before all of it, if the tool is not there.
    let _ = agent();
    let given = std::env::var("EDGE_REPORT_SEED").ok();
    let seed = given.map_or_else(by_the_clock, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let size = size();
    let until = Instant::now() + Duration::from_secs(size.seconds);
    let over = AtomicBool::new(false);
    let kills = AtomicU64::new(0);
    let ports: Vec<u16> = (0..receivers)
        .map(|_| {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        })
        .collect();
    let mut troubles = 0;
    let stored = thread::scope(|scope| {
        for (number, port) in ports.iter().enumerate() {
            let (over, kills) = (&over, &kills);
            let random = Random(random.next());
            let log = dir.join(format!("receiver-{number}.log"));
            scope.spawn(move || keep_receiving(*port, store, &log, random, until, over, kills));
        }
        let mut crews: Vec<Vec<Agent>> = iter::repeat_with(Vec::new).take(size.alive).collect();
        for number in 0..size.spools {
            crews[number % size.alive].push(Agent {
                project: format!("project-{}", number % 5),
                name: format!("agent-{number}"),
                spool: dir.join(format!("spool-{number}")),
                port: ports[number % ports.len()],
                pause_ms: size.alive as u64 * 1000 / RATE,
                random: Random(random.next()),
                open: BTreeMap::new(),
                stored: BTreeSet::new(),
                next: 0,
            });
        }
        let crews: Vec<_> = crews
            .into_iter()
            .map(|crew| {
                let (random, kills) = (Random(random.next()), &kills);
                scope.spawn(move || live_in_turn(crew, random, until, kills))
            })
            .collect();
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(2000 + random.below(6000)));
            trouble(&mut random);
            troubles += 1;
        }
        let stored: Vec<_> = crews
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        stored
            .into_iter()
            .flat_map(|stored| stored.expect("an agent failed"))
            .collect::<BTreeSet<String>>()
    });
    println!(
        "{} reports in {} spools, {} kills of agents and receivers, {troubles} of the database; EDGE_REPORT_SEED={seed}",
        stored.len(),
        size.spools,
        kills.load(Ordering::Relaxed)
    );
    assert!(stored.len() > 500, "only {} reports", stored.len());
    stored
}

/// A receiver that is killed and started again, as whoever operates it would have it: it does not start while there is no database.
fn keep_receiving(
    port: u16,
    store: &str,
    log: &Path,
    mut random: Random,
    until: Instant,
    over: &AtomicBool,
    kills: &AtomicU64,
) {
    let listen = format!("127.0.0.1:{port}");
    let file = File::options().create(true).append(true).open(log).unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-report-receiver"));
        command.args([
            "--listen", &listen, "--ak", "AK", "--sk", "SK", "--store", store, "--quiet",
        ]);
        for fault in [
            "reset-after@random 2",
            "reset-before@random 1",
            "cut@random 1",
        ] {
            command.args(["--fault", fault]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.try_clone().unwrap());
        child.spawn().unwrap()
    };
    let mut receiver = start();
    let mut death = Instant::now() + Duration::from_millis(random.below(4000));
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        if Instant::now() > death && Instant::now() < until {
            receiver.kill().unwrap();
            kills.fetch_add(1, Ordering::Relaxed);
            death = Instant::now() + Duration::from_millis(200 + random.below(4000));
        }
        if receiver.try_wait().unwrap().is_some() {
            // Without a database it would be a start after the other.
            thread::sleep(Duration::from_millis(200));
            receiver = start();
        }
    }
    receiver.kill().unwrap();
    receiver.wait().unwrap();
}

/// One of these agents at a time, until all that they stored is delivered. Gives what they have stored, as PROJECT/ID.
fn live_in_turn(
    mut crew: Vec<Agent>,
    mut random: Random,
    until: Instant,
    kills: &AtomicU64,
) -> BTreeSet<String> {
    while Instant::now() < until {
        let which = random.below(crew.len() as u64) as usize;
        crew[which].live(until);
        kills.fetch_add(1, Ordering::Relaxed);
    }
    let mut stored = BTreeSet::new();
    for agent in &mut crew {
        agent.end();
        let project = &agent.project;
        stored.extend(agent.stored.iter().map(|id| format!("{project}/{id}")));
    }
    stored
}

struct Agent {
    project: String,
    name: String,
    spool: PathBuf,
    port: u16,
    /// Between its reports, on the average.
    pause_ms: u64,
    random: Random,
    /// What the tool did not say it has stored, to be given to it again.
    open: BTreeMap<String, String>,
    /// As the tool said.
    stored: BTreeSet<String>,
    next: u64,
}

/// The tool at work.
struct Tool {
    child: Child,
    input: ChildStdin,
    /// Its lines, up to the last one that is whole.
    lines: Receiver<String>,
}

impl Agent {
    /// Reports until it is killed.
    fn live(&mut self, until: Instant) {
        let mut tool = self.start();
        let death = Instant::now() + Duration::from_millis(300 + self.random.below(4000));
        while Instant::now() < death.min(until) {
            let (id, line) = self.report();
            let _ = tool.input.write_all(line.as_bytes());
            self.open.insert(id, line);
            thread::sleep(Duration::from_millis(self.random.below(2 * self.pause_ms)));
        }
        tool.child.kill().unwrap();
        tool.child.wait().unwrap();
        for line in tool.lines {
            self.hear(&line);
        }
    }

    /// Has no more to report, and ends by itself when nothing waits any more. However long that takes, it gets rid of one report after the other.
    fn end(&mut self) {
        let mut tool = self.start();
        drop(tool.input);
        loop {
            match tool.lines.recv_timeout(PATIENCE * 3) {
                Ok(line) => self.hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = tool.child.kill();
                    panic!("{} does not get rid of its reports", self.name);
                }
            }
        }
        let status = tool.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
        assert!(self.open.is_empty(), "{} are not stored", self.open.len());
    }

    fn start(&self) -> Tool {
        let mut child = self.command().spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (say, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                let _ = say.send(line.trim_end().to_owned());
                line.clear();
            }
        });
        let mut input = child.stdin.take().unwrap();
        for line in self.open.values() {
            let _ = input.write_all(line.as_bytes());
        }
        Tool {
            child,
            input,
            lines,
        }
    }

    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("stored", id)) => {
                self.open.remove(id);
                self.stored.insert(id.to_owned());
            }
            Some(("delivered" | "omitted", _)) => {}
            _ => panic!("{}: {line}", self.name),
        }
    }

    /// A report on one of three jobs, each newer than the one before.
    fn report(&mut self) -> (String, String) {
        self.next += 1;
        let id = format!("{}-{}", self.name, self.next);
        let number: i64 = self.name.rsplit('-').next().unwrap().parse().unwrap();
        let job = number * 10 + self.random.below(3) as i64 + 1;
        let mut line = report(
            &id,
            job,
            JobStatus::RUNNING,
            1_780_000_000_000 + self.next as i64,
        );
        line.push(b'\n');
        (id, String::from_utf8(line).unwrap())
    }

    fn command(&self) -> Command {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut command = agent();
        command
            .args(["pipe", "--spool"])
            .arg(&self.spool)
            .args([
                "--url",
                &url,
                "--project-id",
                &self.project,
                "--ak",
                "AK",
                "--sk",
                "SK",
            ])
            .args([
                "--min-backoff",
                "20",
                "--max-backoff",
                "300",
                "--hold",
                "300",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }
}

fn by_the_clock() -> u64 {
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap();
    since_1970.as_secs() ^ u64::from(since_1970.subsec_nanos())
}

/// `SplitMix64`
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
