//! Many reports through a receiver that fails three times out of ten, in every way it can.
//!
//! 10,000 reports; `EDGE_REPORT_SOAK` says another number.
#![cfg(all(target_os = "linux", feature = "client"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod tool_common;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Durability, Policy, entropy};
use edge_report::{Client, Job, JobStatus, MonoTime, Pause, Report, Spool, SpoolOptions, WallTime};
use tool_common::program;

/// In percent; 30 together. None that refuses a report, for that is not a failure.
const FAULTS: [(&str, f64); 22] = [
    ("status=500,code=DLI.0999", 2.0),
    ("status=400,code=DLI.0999", 2.0),
    ("status=503", 2.0),
    ("status=503,retry-after=0", 1.0),
    ("status=503,retry-after-date=0", 1.0),
    ("status=429", 1.0),
    ("status=408", 1.0),
    ("status=401,code=APIGW.0301", 1.0),
    ("status=403,code=DLI.0013", 1.0),
    ("redirect=http://127.0.0.1:1/", 1.0),
    ("html", 1.0),
    ("empty", 1.0),
    ("reset-before", 3.0),
    ("reset-after", 3.0),
    ("cut", 3.0),
    ("close-idle", 2.0),
    ("delay=2", 1.5),
    ("success-string", 1.5),
    // These take their time.
    ("drip=0", 0.4),
    ("endless-headers", 0.4),
    ("huge", 0.1),
    ("silent", 0.02),
];
/// After one of these the client does not know that the report was accepted.
const SPOILED: [&str; 5] = ["reset-after", "cut", "endless-headers", "huge", "silent"];

/// How many wait at the most.
const BACKLOG: u64 = 500;

#[test]
fn a_receiver_that_fails_three_times_out_of_ten() {
    let count = std::env::var("EDGE_REPORT_SOAK").map_or(10_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let receiver = Receiver::start(File::create(&log).unwrap());

    let limits = SpoolOptions::default()
        .with_max_bytes(4 * 1024 * 1024)
        .with_durability(Durability::Batch {
            reports: 100,
            ms: 1000,
        });
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_min_backoff(Duration::ZERO)
        .with_max_backoff(Duration::from_millis(1))
        .with_hold(Duration::from_millis(1));
    let spool = Spool::open(dir.path().join("spool"), limits).unwrap();
    let mut courier = Courier::new(spool, Vec::new(), policy, MonoTime::now(), entropy());
    let timeout = Duration::from_secs(2);
    let mut client = Client::builder(&receiver.url, "project")
        .connect_timeout(timeout)
        .send_timeout(timeout)
        .response_timeout(timeout)
        .total_timeout(timeout)
        .build()
        .unwrap();

    let begin = Instant::now();
    let mut memory_early = 0;
    for number in 0..count {
        let id = format!("m-{number}");
        let metrics = "m".repeat(number % 1000);
        let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)
            .with_job_id(i64::try_from(number % 7 + 1).unwrap())
            .with_metrics(&metrics)];
        courier
            .submit(
                &Report::new(&id, &jobs),
                MonoTime::now(),
                Some(WallTime::now()),
            )
            .unwrap();
        if courier.status().waiting >= BACKLOG || number + 1 == count {
            let in_time = Instant::now() + Duration::from_secs(600);
            assert_eq!(
                client.deliver(&mut courier, in_time, |_| ()).unwrap(),
                Pause::Idle
            );
        }
        if number == count / 5 {
            memory_early = resident_kib();
        }
    }
    let took = begin.elapsed();
    let memory = resident_kib();
    let counters = courier.status().counters;
    drop(receiver);

    let seen = Seen::read(BufReader::new(File::open(&log).unwrap()));
    let Seen {
        requests,
        failed,
        accepted,
        repeats,
        spoiled,
        ..
    } = &seen;
    println!(
        "{count} reports in {took:.1?}: {requests} requests, {repeats} repeats of {spoiled} that may have arrived"
    );
    println!("memory: {memory_early} KiB after a fifth, {memory} KiB in the end");
    println!("{failed:?}");
    assert_eq!(
        (counters.submitted, counters.delivered),
        (count as u64, count as u64),
        "{counters:?}"
    );
    assert_eq!(accepted.len(), count, "each accepted once");
    assert_eq!(seen.unexplained, [""; 0]);
    assert!(repeats <= spoiled);
    assert!(memory < memory_early + 2048, "{memory_early} {memory}");
    let failures: u64 = failed.values().sum();
    let percent = failures as f64 / *requests as f64 * 100.0;
    assert!(
        (27.0..33.0).contains(&percent),
        "{percent} % of the requests failed"
    );
    if count >= 10_000 {
        assert_eq!(failed.len(), FAULTS.len(), "every fault came");
    }
}

/// What the receiver says of the requests.
#[derive(Default)]
struct Seen {
    requests: u64,
    /// By fault.
    failed: BTreeMap<String, u64>,
    accepted: HashSet<String>,
    repeats: u64,
    /// Accepted or repeated, but with an answer that does not say so.
    spoiled: u64,
    /// Repeats of what the client knew to be accepted.
    unexplained: Vec<String>,
}

impl Seen {
    fn read(log: impl BufRead) -> Seen {
        let mut seen = Seen::default();
        let mut unsure = HashSet::new();
        for line in log.lines() {
            let line = line.unwrap();
            let event = line.split_once(" event=").unwrap().1;
            // At the start: that there are no keys.
            if event.starts_with("failed guard ") {
                continue;
            }
            seen.requests += 1;
            let (fault, note) = match event.strip_prefix("fault spec=\"") {
                Some(rest) => rest.split_once('"').unwrap(),
                None => ("", event),
            };
            let note = note.trim_start().trim_start_matches("then=");
            if !fault.is_empty() {
                *seen.failed.entry(fault.to_owned()).or_default() += 1;
            }
            let mut words = note.split(' ');
            let (what, id) = (words.next().unwrap(), words.next().unwrap_or_default());
            match what {
                "accepted" => assert!(seen.accepted.insert(id.to_owned()), "{line}"),
                "repeat" => {
                    seen.repeats += 1;
                    if !unsure.remove(id) {
                        seen.unexplained.push(line.clone());
                    }
                }
                _ => assert_eq!(what, "", "{line}"),
            }
            if !id.is_empty() && SPOILED.contains(&fault) {
                seen.spoiled += 1;
                unsure.insert(id.to_owned());
            }
        }
        seen
    }
}

/// A receiver in a process of its own, so that what it remembers does not count here.
struct Receiver {
    child: Child,
    url: String,
}

impl Receiver {
    fn start(log: File) -> Receiver {
        let mut command = program("edge-report-receiver");
        command.args(["--listen", "127.0.0.1:0", "--seed", "7"]);
        // A rule gets only what those before it leave.
        let mut left = 100.0;
        for (fault, percent) in FAULTS {
            command.args([
                "--fault",
                &format!("{fault}@random {}", percent / left * 100.0),
            ]);
            left -= percent;
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim_end()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Receiver { child, url }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
