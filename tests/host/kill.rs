//! `edge-report-agent pipe`, killed again and again while it stores and delivers: what it said it has stored arrives.
//!
//! `EDGE_REPORT_KILL_ROUNDS` says how often (200), `EDGE_REPORT_SEED` repeats a run as far as a clock allows.
#![cfg(all(unix, feature = "client"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;
mod tool_common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Policy};
use edge_report::{JobStatus, MonoTime, Spool, SpoolOptions};
use edge_report_receiver::{Options, Receiver};
use serde_json::Value;
use tempfile::TempDir;
use tool_common::{Account, Ended, Mount, Tool, letters, pipe, place, report, said};

/// All of them end in an answer or an error at once, and none in a refusal.
const FAULTS: [&str; 6] = [
    "reset-after@random 6",
    "reset-before@random 6",
    "status=503@random 5",
    "cut@random 5",
    "delay=20@random 5",
    "close-idle@random 3",
];
const JOBS: u64 = 5;

#[test]
fn killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    // Segments of 64 KiB come and go; it does not get full. Some reports are refused.
    let faults = [&FAULTS[..], &["status=422,code=DLI.0001@random 1"]].concat();
    let mut history = History::new(dir.path(), 4 << 20, rounds(), &faults);
    history.run();
    let account = history.end();
    let dead = history.dead_letters();
    history.assert_acknowledged_arrived(|_, number, _| dead.contains(&number));
    let settled = history.record().union(&dead).count() as u64;
    assert_eq!(
        (account.submitted, account.superseded, account.corrupt),
        (settled, 0, 0),
        "{account:?}"
    );
    // One that was refused just before a kill was sent once more.
    assert!(account.refused <= dead.len() as u64, "{account:?}");
}

#[test]
fn killed_while_the_spool_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::new(dir.path(), 128 * 1024, rounds() / 2, &FAULTS);
    let account = while_full(history);
    assert!(account.superseded > 0, "{account:?}");
}

#[test]
fn killed_while_the_disk_is_full() {
    let Some(disk) = Mount::new("size=512k") else {
        return;
    };
    println!("a disk of 512 KiB for a spool of 1 MiB");
    while_full(History::new(disk.0.path(), 1 << 20, rounds() / 2, &FAULTS));
}

/// SIGKILL right before each write to a file of the spool, while every third report is refused. Whatever the tool has said is stored is
/// then accepted, or a whole dead letter, and counted once.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn killed_before_each_write() {
    const REPORTS: usize = 30;
    // So long that a record takes more than one write: a kill may cut it.
    let id_of = |number: usize| format!("{number}-{}", "p".repeat(600));
    let number_of = |id: &str| number_of(id).to_string();
    let dir = tempfile::tempdir().unwrap();
    let library = shim::shim("record", dir.path());
    // Segments of 4 KiB: they come and go.
    let (mut kills, mut repeats, mut dead) = (0, 0, 0);
    for write in 1.. {
        let (_parent, spool) = place();
        let fault = "status=400,code=DLI.0001@every 3".parse().unwrap();
        let receiver = Receiver::start(Options::new().fault(fault)).unwrap();
        let limit = ["--max-bytes", "16384", "--when-letters-full", "hold"];
        let mut command = pipe();
        command
            .env("LD_PRELOAD", &library)
            .env("SHIM_ROOT", &spool)
            .env("SHIM_KILL_AT", write.to_string());
        let mut tool = Tool::deliver_as(command, &spool, &receiver.url(), &limit);
        let mut input = tool.take_input();
        for number in 0..REPORTS {
            // Fails when it is killed.
            let _ = writeln!(
                input,
                "{}",
                report(&id_of(number), None, JobStatus::RUNNING)
            );
        }
        drop(input);
        let first = tool.finish();
        let was_killed = first.code.is_none();
        assert!(was_killed || first.code == Some(0), "{}", first.errors);

        let at = format!("killed before write {write}");
        let second = Tool::deliver(&spool, &receiver.url(), &limit).finish();
        assert_eq!(second.code, Some(0), "{at}: {}", second.errors);
        let account = Account::of(&spool);
        account.assert_adds_up();
        let letters = letters(&spool);
        let of_letter =
            |letter: &Value| number_of(letter["report"]["message_id"].as_str().unwrap());
        let letters: Vec<String> = letters.iter().map(of_letter).collect();
        let accepted = receiver.accepted().into_iter();
        let accepted: Vec<String> = accepted
            .map(|report| number_of(&report.message_id))
            .collect();
        for id in said("stored", &first.lines).into_iter().map(number_of) {
            // Both: accepted just before the kill, and the repeat was refused.
            let places = accepted.iter().chain(&letters);
            let is_there = places.into_iter().any(|place| *place == id);
            assert!(
                is_there,
                "{at}: {id} is lost: {account:?}\n{letters:?}\n{accepted:?}"
            );
        }
        for line in said("refused", &first.lines) {
            let id = number_of(line);
            assert!(letters.contains(&id), "{at}: {id}");
        }
        for id in said("delivered", &first.lines).into_iter().map(number_of) {
            assert!(accepted.contains(&id), "{at}: {id}");
        }
        let Account {
            waiting,
            corrupt,
            letters_dropped,
            foreign,
            expired,
            superseded,
            ..
        } = account;
        assert_eq!(
            [
                waiting,
                corrupt,
                letters_dropped,
                foreign,
                expired,
                superseded
            ],
            [0; 6],
            "{at}"
        );
        assert_eq!(
            (account.letters, account.refused),
            (letters.len() as u64, letters.len() as u64),
            "{at}"
        );
        let both = letters.iter().filter(|id| accepted.contains(id)).count() as u64;
        assert_eq!(account.delivered, accepted.len() as u64 - both, "{at}");
        assert!(both <= 1, "{at}");
        repeats += receiver.repeats();
        dead += letters.len();
        if !was_killed {
            break;
        }
        kills += 1;
    }
    println!("{kills} kills, {dead} dead letters, {repeats} repeats");
    assert!(kills >= 50, "{kills}");
}

fn while_full(mut history: History) -> Account {
    history.growing_rounds = 12;
    history.run();
    let account = history.end();
    history.assert_acknowledged_arrived(History::is_superseded);
    assert!(history.times_full > 0);
    let arrived = history.record().len() as u64;
    // What was delivered just before a kill may count as superseded, where there was no room to note the one before the other.
    let sum = account.delivered + account.superseded;
    assert!(
        (account.delivered..=sum).contains(&arrived),
        "{account:?} {arrived}"
    );
    assert_eq!((account.refused, account.corrupt), (0, 0), "{account:?}");
    account
}

fn rounds() -> u32 {
    std::env::var("EDGE_REPORT_KILL_ROUNDS").map_or(200, |text| text.parse().unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// More comes in than is delivered.
    Growing,
    /// Nothing comes in.
    Draining,
    /// Little comes in, and is delivered at once.
    Empty,
}

/// All that was done to one spool.
struct History {
    rng: Rng,
    spool: PathBuf,
    max_bytes: String,
    /// Not on the small disk.
    elsewhere: TempDir,
    rounds: u32,
    growing_rounds: u32,
    receiver: Option<Receiver>,
    /// By number, all reports that the tool may have read.
    fed: Vec<Fed>,
    /// Numbers of reports that the tool said it has stored, or delivered.
    stored: BTreeSet<usize>,
    delivered: BTreeSet<usize>,
    kills: BTreeMap<&'static str, u32>,
    times_full: u32,
    begin: Instant,
}

struct Fed {
    line: String,
    job: Option<i64>,
    is_final: bool,
}

impl History {
    fn new(dir: &Path, max_bytes: u64, rounds: u32, faults: &[&str]) -> History {
        let seed = std::env::var("EDGE_REPORT_SEED");
        let seed = seed.map_or_else(
            |_| edge_report::courier::entropy(),
            |text| text.parse().unwrap(),
        );
        println!("EDGE_REPORT_SEED={seed}");
        let elsewhere = tempfile::tempdir().unwrap();
        let receiver = receiver(elsewhere.path(), faults, seed);
        History {
            rng: Rng(seed),
            spool: dir.join("spool"),
            max_bytes: max_bytes.to_string(),
            elsewhere,
            rounds,
            growing_rounds: 4,
            receiver: Some(receiver),
            fed: Vec::new(),
            stored: BTreeSet::new(),
            delivered: BTreeSet::new(),
            kills: BTreeMap::new(),
            times_full: 0,
            begin: Instant::now(),
        }
    }

    fn run(&mut self) {
        while self.kills.values().sum::<u32>() < self.rounds {
            for _ in 0..self.growing_rounds {
                self.round(Phase::Growing);
            }
            // Until it comes to its end between two kills.
            while self.round(Phase::Draining) {}
            for _ in 0..3 {
                self.round(Phase::Empty);
            }
        }
    }

    /// Runs the tool and kills it; false if it has ended before.
    fn round(&mut self, phase: Phase) -> bool {
        let (name, count, pause) = match phase {
            Phase::Growing => ("growing", 30 + self.rng.index(300), 0),
            Phase::Draining => ("draining", 0, 0),
            Phase::Empty => ("empty", 20, 8_000),
        };
        let first = self.fed.len();
        let fed: Vec<_> = (0..count).map(|i| self.fed(first + i)).collect();
        let lines: Vec<_> = fed.iter().map(|fed| fed.line.clone()).collect();
        self.fed.extend(fed);
        let mut pauses = Rng(self.rng.next());

        let mut tool = self.start();
        let mut input = tool.take_input();
        let feeder = thread::spawn(move || {
            for line in lines {
                // Fails when the tool is killed.
                if writeln!(input, "{line}").is_err() {
                    return None;
                }
                if pause > 0 {
                    thread::sleep(Duration::from_micros(pauses.below(pause)));
                }
            }
            // Open as long as there are more rounds to come: it shall not end.
            (phase != Phase::Draining).then_some(input)
        });
        let mut lines = Vec::new();
        // Now and then while it starts; else after some time, or as soon as it has said so much.
        let (ms, words) = match (self.rng.below(8), phase) {
            (0, _) => (10, 1),
            (_, Phase::Growing) => (300, 1000),
            (_, Phase::Draining) => (400, 400),
            (_, Phase::Empty) => (150, 40),
        };
        let time = Duration::from_micros(self.rng.below(ms * 1000));
        let words = 1 + self.rng.index(words);
        let begin = Instant::now();
        while begin.elapsed() < time && lines.len() < words && !tool.has_ended() {
            lines.extend(tool.lines_so_far());
            thread::sleep(Duration::from_micros(100));
        }
        let mut ended = tool.kill();
        lines.append(&mut ended.lines);
        drop(feeder.join().unwrap());
        ended.lines = lines;

        self.times_full += u32::from(ended.errors.contains("waits to be stored"));
        let killed = ended.code.is_none();
        self.note(first, &ended);
        if killed {
            *self.kills.entry(name).or_default() += 1;
        } else {
            assert_eq!(
                (ended.code, phase),
                (Some(0), Phase::Draining),
                "{}",
                ended.errors
            );
        }
        killed
    }

    fn start(&self) -> Tool {
        let url = self.receiver.as_ref().unwrap().url();
        Tool::deliver(&self.spool, &url, &["--max-bytes", &self.max_bytes])
    }

    /// Report `number`. Of three, two can be superseded.
    fn fed(&mut self, number: usize) -> Fed {
        let job = self.rng.below(JOBS * 3 / 2);
        let job = (job < JOBS).then(|| i64::try_from(job + 1).unwrap());
        let is_final = self.rng.below(10) == 0;
        let status = if is_final {
            JobStatus::FINISH
        } else {
            JobStatus::RUNNING
        };
        // Mostly short ones.
        let padding = self.rng.index(100) * self.rng.index(50);
        let id = format!("{number}-{}", "p".repeat(padding));
        let line = report(&id, job, status);
        Fed {
            line,
            job,
            is_final,
        }
    }

    /// Takes down what the tool said.
    fn note(&mut self, first: usize, ended: &Ended) {
        let numbers = |word| -> Vec<usize> {
            let ids = said(word, &ended.lines).into_iter();
            ids.map(number_of).collect()
        };
        let stored = numbers("stored");
        let in_order: Vec<_> = (first..first + stored.len()).collect();
        assert_eq!(stored, in_order, "stored in order, without a gap");
        let delivered = numbers("delivered");
        let refused = said("refused", &ended.lines).len();
        assert_eq!(
            stored.len() + delivered.len() + refused,
            ended.lines.len(),
            "{:?}",
            ended.lines
        );
        for number in delivered {
            // What it said before a kill it may say again.
            self.delivered.insert(number);
        }
        self.stored.extend(stored);
        assert!(!ended.errors.contains("panic"), "{}", ended.errors);
    }

    /// Lets the tool deliver in peace, and looks at its account.
    fn end(&mut self) -> Account {
        let killed_for = self.begin.elapsed();
        let before = self.receiver.take().unwrap();
        let (requests, repeats) = (before.requests(), before.repeats());
        drop(before);
        self.receiver = Some(receiver(self.elsewhere.path(), &[], 0));
        let mut tool = self.start();
        // It also takes new ones.
        let first = self.fed.len();
        for number in first..first + 10 {
            let fed = self.fed(number);
            tool.feed(&fed.line);
            self.fed.push(fed);
        }
        let ended = tool.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        self.note(first, &ended);
        assert_eq!(self.stored.last(), Some(&(first + 9)));

        let account = Account::of(&self.spool);
        account.assert_adds_up();
        assert_eq!((account.waiting, account.expired), (0, 0), "{account:?}");
        let record = self.record();
        for number in &self.delivered {
            assert!(record.contains(number), "{number} was not delivered");
        }
        println!(
            "{} kills {:?} in {killed_for:.1?}, {} times full; {} reports acknowledged, {} accepted in {requests} requests \
             with {repeats} repeats; {account:?}",
            self.kills.values().sum::<u32>(),
            self.kills,
            self.times_full,
            self.stored.len(),
            record.len(),
        );
        account
    }

    /// Numbers of the reports that were accepted. Asserts that each is as it was fed, comes once, and behind older ones of its job.
    fn record(&self) -> BTreeSet<usize> {
        let text = fs::read_to_string(record_file(self.elsewhere.path())).unwrap();
        let mut numbers = BTreeSet::new();
        let mut newest = BTreeMap::new();
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let id = entry["message_id"].as_str().unwrap();
            let number = number_of(id);
            let fed: &Fed = &self.fed[number];
            let last = fed.job.and_then(|job| newest.insert(job, number));
            assert!(
                last.is_none_or(|last| last < number),
                "{number} came behind {last:?}"
            );
            assert!(
                line.contains(&format!("\"report\":{}}}", fed.line)),
                "{line}"
            );
            assert!(numbers.insert(number), "{number} came twice");
        }
        numbers
    }

    fn dead_letters(&self) -> BTreeSet<usize> {
        let spool = Spool::open(&self.spool, SpoolOptions::default()).unwrap();
        let mut courier = Courier::new(
            spool,
            Vec::new(),
            Policy::default(),
            MonoTime::from_ms(0),
            0,
        );
        let mut numbers = BTreeSet::new();
        let mut after = None;
        while let Some((letter, report)) = courier.dead_letter(after).unwrap() {
            assert_eq!(letter.reason.status, 422);
            let report: Value = serde_json::from_slice(report).unwrap();
            assert!(numbers.insert(number_of(report["message_id"].as_str().unwrap())));
            after = Some(letter.ticket);
        }
        numbers
    }

    fn assert_acknowledged_arrived(
        &self,
        excused: impl Fn(&History, usize, &BTreeSet<usize>) -> bool,
    ) {
        let record = self.record();
        let missing = self.stored.difference(&record);
        let lost: Vec<_> = missing
            .filter(|&&number| !excused(self, number, &record))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }

    /// Whether newer reports on its job arrived, so that this one could be dropped.
    fn is_superseded(&self, number: usize, record: &BTreeSet<usize>) -> bool {
        let old = &self.fed[number];
        old.job.is_some()
            && record.range(number + 1..).any(|&newer| {
                let newer = &self.fed[newer];
                newer.job == old.job && (newer.is_final || !old.is_final)
            })
    }
}

fn number_of(message_id: &str) -> usize {
    message_id.split('-').next().unwrap().parse().unwrap()
}

fn record_file(dir: &Path) -> PathBuf {
    dir.join("record.jsonl")
}

fn receiver(dir: &Path, faults: &[&str], seed: u64) -> Receiver {
    let options = Options::new()
        .seed(seed)
        .record(record_file(dir))
        .keep(false);
    let faults = faults.iter().map(|spec| spec.parse().unwrap());
    Receiver::start(faults.fold(options, Options::fault)).unwrap()
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }
}
