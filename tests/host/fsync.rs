//! What a spool asks of the disk, and when: no report is acknowledged, no file used and no name relied on before it is durable.
//!
//! A power cut cannot be had in a test, and without one nothing looks different when a sync is left out. So a process runs under a
//! preloaded library that writes down each call that matters (shim/record.c), with what the process itself says in between:
//! `call submit`, `done submit`. The order of these lines is what is checked.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod shim;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use edge_report::courier::{Courier, Event, Policy, Step};
use edge_report::{Job, JobStatus, MonoTime, Outcome, Report, Spool, SpoolOptions};
use tempfile::TempDir;

const NOW: MonoTime = MonoTime::from_ms(1000);
const LIMITS: SpoolOptions = SpoolOptions::new()
    .with_max_bytes(64 * 1024)
    .with_segment_bytes(4096)
    .with_dead_letter_bytes(64 * 1024);
/// Somebody who is not root.
const NOBODY: u32 = 65534;

#[test]
fn nothing_is_relied_on_before_it_is_durable() {
    let shim = Shim::new();
    let calls = check(&shim.run(None));
    println!("{calls:?}");
    for (call, at_least) in [
        ("open", 2),
        ("submit", 300),
        ("refuse", 5),
        ("deliver", 100),
        ("flush", 1),
    ] {
        assert!(calls[call] >= at_least, "{call}: {calls:?}");
    }
}

/// A parent that may be passed through, but not read: its name for the directory is made durable all the same, at each start.
#[test]
fn a_parent_that_cannot_be_read() {
    let shim = Shim::new();
    if chown(shim.root(), Some(NOBODY), None).is_err() {
        println!(
            "not run: root may read everything, and this is not root, who could be somebody else"
        );
        return;
    }
    fs::set_permissions(shim.root(), fs::Permissions::from_mode(0o300)).unwrap();
    let trace = shim.run(Some(NOBODY));
    check(&trace);
    assert_eq!(
        trace.iter().filter(|line| *line == "syncfs spool").count(),
        2
    );
}

/// Checks the order of the lines; how often each call was made.
fn check(trace: &[String]) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    let mut disk = Disk::default();
    for (number, line) in trace.iter().enumerate() {
        let (what, names) = line.split_once(' ').unwrap();
        if what == "done" {
            *calls.entry(names.into()).or_default() += 1;
        }
        if let Err(why) = disk.follow(what, names) {
            let before = &trace[number.saturating_sub(20)..=number];
            panic!("line {number}: {why}\n{}", before.join("\n"));
        }
    }
    calls
}

/// What would not survive a power cut.
#[derive(Default)]
struct Disk {
    /// The directory itself, by its name in its parent.
    directory: bool,
    /// Files whose bytes were written since they were synced.
    bytes: BTreeSet<String>,
    /// Segments whose names were made or removed since the directory was synced.
    names: BTreeSet<String>,
    /// Since the last call began.
    written: BTreeSet<String>,
    directory_syncs: u32,
    parent_syncs: u32,
}

impl Disk {
    fn follow(&mut self, what: &str, names: &str) -> Result<(), String> {
        let says = |is_wrong: bool, why: &str| match is_wrong {
            true => Err(format!("{why}: {what} {names}")),
            false => Ok(()),
        };
        let in_spool = |name: &str| name.strip_prefix("spool/").unwrap_or(name).to_owned();
        let name = in_spool(names);
        match (what, names) {
            ("mkdir", "spool") => self.directory = true,
            ("fsync", "spool") => {
                self.names.clear();
                self.directory_syncs += 1;
            }
            ("fsync", ".") | ("syncfs", _) => {
                self.directory = false;
                self.parent_syncs += 1;
            }
            ("create", _) => {
                let is_used = name.ends_with(".new") || name == "owner" || is_spare(&name);
                says(!is_used, "a segment is made under another name first")?;
                says(
                    self.directory && name != "owner",
                    "the directory is not durable",
                )?;
            }
            ("write", _) => {
                says(self.names.contains(&name), "its name is not durable")?;
                self.bytes.insert(name.clone());
                self.written.insert(name);
            }
            ("fsync" | "fdatasync", _) => {
                self.bytes.remove(&name);
            }
            ("rename", _) => {
                let (from, to) = names.split_once(' ').ok_or("a name is missing")?;
                let (from, to) = (in_spool(from), in_spool(to));
                if is_segment(&from) {
                    // It becomes a spare: as if it were removed.
                    self.bytes.remove(&from);
                    self.names.insert(from);
                } else if is_segment(&to) || is_spare(&to) {
                    let is_made = from == format!("{to}.new");
                    says(!is_made && !is_spare(&from), "another name was expected")?;
                    says(is_made && !self.written.contains(&from), "it is empty")?;
                    says(self.bytes.contains(&from), "its bytes are not durable")?;
                    self.names.insert(to);
                }
            }
            ("unlink", _) if is_segment(&name) => {
                self.bytes.remove(&name);
                self.names.insert(name);
            }
            ("unlink", _) => {}
            ("call", _) => {
                self.written.clear();
                (self.directory_syncs, self.parent_syncs) = (0, 0);
            }
            ("done", call) => self.done(call)?,
            _ => return Err(format!("unknown: {what} {names}")),
        }
        Ok(())
    }

    fn done(&mut self, call: &str) -> Result<(), String> {
        if !self.names.is_empty() {
            return Err(format!("names are not durable: {:?}", self.names));
        }
        let wrote = |prefix| {
            let mut segments = self.written.iter().filter(|name| is_segment(name));
            segments.any(|name| name.starts_with(prefix))
        };
        let mut lost = self.bytes.iter().filter(|name| is_segment(name));
        let lost = match call {
            // A start finds what a process left that was cut off.
            "open" if self.directory || self.directory_syncs == 0 || self.parent_syncs == 0 => {
                return Err("the directory, or its own name, is not durable".into());
            }
            "submit" if !wrote("live-") => {
                return Err("nothing was written".into());
            }
            "refuse" if !wrote("dead-") => {
                return Err("no letter was written".into());
            }
            // What only says that others are settled may come later.
            "submit" => lost.find(|name| self.written.contains(*name)),
            "refuse" => lost.find(|name| name.starts_with("dead-")),
            "flush" => lost.next(),
            _ => None,
        };
        lost.map_or(Ok(()), |name| Err(format!("not durable: {name}")))
    }
}

fn is_segment(name: &str) -> bool {
    (name.starts_with("live-") || name.starts_with("dead-")) && name.ends_with(".seg")
}

fn is_spare(name: &str) -> bool {
    name.starts_with("spare-") && !name.ends_with(".new")
}

/// A place for a spool, and the library that watches it.
struct Shim {
    place: TempDir,
}

impl Shim {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        // Somebody else may run the process.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let shim = Shim { place };
        shim::shim("record", shim.place.path());
        fs::create_dir(shim.root()).unwrap();
        fs::write(shim.trace(), "").unwrap();
        fs::set_permissions(shim.trace(), fs::Permissions::from_mode(0o666)).unwrap();
        shim
    }

    fn library(&self) -> PathBuf {
        self.place.path().join("record.so")
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    fn trace(&self) -> PathBuf {
        self.place.path().join("trace")
    }

    /// Runs the script below in a process that is watched; all lines.
    fn run(&self, user: Option<u32>) -> Vec<String> {
        // Somebody else may not reach the place where it was built.
        let program = self.place.path().join("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(program);
        command
            .args(["script", "--exact", "--ignored", "--nocapture"])
            .current_dir(self.place.path())
            .env("LD_PRELOAD", self.library())
            .env("SHIM_ROOT", self.root())
            .env("SHIM_TRACE", self.trace());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        // A program that another test starts right now has the copy open for writing, until it is another program.
        let output = loop {
            match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                output => break output.unwrap(),
            }
        };
        assert!(output.status.success(), "{output:?}");
        let trace = fs::read_to_string(self.trace()).unwrap();
        trace.lines().map(str::to_owned).collect()
    }
}

/// What the process itself says, in the same file.
struct Trace(fs::File);

impl Trace {
    fn mark<T>(&mut self, call: &str, run: impl FnOnce() -> T) -> T {
        writeln!(self.0, "call {call}").unwrap();
        let result = run();
        writeln!(self.0, "done {call}").unwrap();
        result
    }
}

type Node = Courier<Spool, Vec<u8>>;

#[test]
#[ignore = "run by the tests above, in a process of its own"]
fn script() {
    let (Some(root), Some(trace)) = (
        std::env::var_os("SHIM_ROOT"),
        std::env::var_os("SHIM_TRACE"),
    ) else {
        return;
    };
    let dir = Path::new(&root).join("spool");
    let mut trace = Trace(fs::File::options().append(true).open(trace).unwrap());
    let mut node = open(&dir, &mut trace);
    submit_all(&mut node, &mut trace, 0..200);
    let metrics = "m".repeat(20_000);
    let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_metrics(&metrics);
    let large = Report::new("large", std::slice::from_ref(&job));
    trace.mark("submit", || node.submit(&large, NOW, None).unwrap());
    for _ in 0..10 {
        settle(&mut node, &mut trace, "refuse", Outcome::Refused, 400);
    }
    for _ in 0..100 {
        settle(&mut node, &mut trace, "deliver", Outcome::Accepted, 200);
    }
    submit_all(&mut node, &mut trace, 200..250);
    trace.mark("flush", || node.flush().unwrap());
    trace.mark("close", || drop(node));

    let mut node = open(&dir, &mut trace);
    submit_all(&mut node, &mut trace, 250..300);
    while settle(&mut node, &mut trace, "deliver", Outcome::Accepted, 200) {}
    // Far more than there is room for: newer ones supersede older ones.
    let mut superseding = |number: i64| {
        let jobs = [Job::new(JobStatus::RUNNING, 1).with_job_id(number % 5 + 1)];
        let id = number.to_string();
        trace.mark("submit", || {
            node.submit(&Report::new(&id, &jobs), NOW, None).unwrap()
        });
    };
    (0..1500).for_each(&mut superseding);
    trace.mark("close", || drop(node));
}

fn open(dir: &Path, trace: &mut Trace) -> Node {
    let spool = trace.mark("open", || Spool::open(dir, LIMITS).unwrap());
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_min_backoff(Duration::ZERO)
        .with_max_backoff(Duration::ZERO);
    Courier::new(spool, Vec::new(), policy, NOW, 0)
}

fn submit_all(node: &mut Node, trace: &mut Trace, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
        let id = number.to_string();
        trace.mark("submit", || {
            node.submit(&Report::new(&id, &jobs), NOW, None).unwrap()
        });
    }
}

/// Settles the next report; `false` if none waits.
fn settle(node: &mut Node, trace: &mut Trace, call: &str, outcome: Outcome, status: u16) -> bool {
    // After a refusal it waits a little.
    node.wake(NOW);
    let Step::Send(outgoing) = node.next(NOW).unwrap() else {
        return false;
    };
    let ticket = outgoing.ticket;
    let event = Event::response(outcome, status);
    let _ = trace.mark(call, || node.settle(ticket, event, NOW, 0).unwrap());
    true
}
