//! Several threads over one courier, on a disk that is slow.
#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod raw;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tool_common;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Durability, LogOutbox, Policy, Storage, StorageLimits};
use edge_report::{Client, FairMutex, Job, JobStatus, MonoTime, Pause, Report};
use raw::{raw_server, read_until};

/// As an SD card, ten times faster.
const SYNC: Duration = Duration::from_millis(20);
const SUBMITTERS: usize = 3;
/// What one submitter submits, and the least that the others do meanwhile: with turns it is the same, but for one that the machine
/// holds up. A delivery waits for its server as well.
const SUBMITTED: u64 = 40;
const LEAST_SUBMITTED: u64 = 30;
const LEAST_DELIVERED: u64 = 10;

/// Segments in memory, which take long to be durable.
#[derive(Default)]
struct SlowDisk(BTreeMap<u32, Vec<u8>>);

impl Storage for SlowDisk {
    type Error = Infallible;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Infallible> {
        self.0.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }
    fn limits(&self) -> StorageLimits {
        StorageLimits::new(1 << 18, 1 << 20)
            .with_length_unit(4096)
            .with_longest_segment(1 << 18)
    }
    fn create(&mut self, id: u32, len: usize) -> Result<(), Infallible> {
        self.0.insert(id, vec![0; len]);
        Ok(())
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Infallible> {
        buffer.copy_from_slice(&self.0[&id][offset..offset + buffer.len()]);
        Ok(())
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        let segment = self.0.get_mut(&id).unwrap();
        segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&mut self, _: u32) -> Result<(), Infallible> {
        thread::sleep(SYNC);
        Ok(())
    }
    fn discard(&mut self, id: u32) -> Result<(), Infallible> {
        self.0.remove(&id);
        Ok(())
    }
}

/// Answers each report.
fn server() -> String {
    raw_server(|mut stream| {
        thread::spawn(move || {
            while read_until(&mut stream, b"}").ends_with(b"}") {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}";
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    })
}

/// Submitters that make no pause, and a delivery.
#[test]
fn a_slow_sync_starves_nobody() {
    type Log = LogOutbox<SlowDisk, SlowDisk, 16>;
    let disk = SlowDisk::default;
    let log = Log::open(disk(), disk(), Durability::default(), 1).unwrap();
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let courier = Courier::new(log, Vec::new(), policy, MonoTime::now(), 0);
    let courier = FairMutex::new(courier);
    let mut client = Client::builder(&server(), "p").build().unwrap();
    let waker = client.waker();
    let submitted = [const { AtomicU64::new(0) }; SUBMITTERS];
    let is_over = AtomicBool::new(false);
    let delivered = AtomicU64::new(0);
    thread::scope(|scope| {
        for (submitter, submitted) in submitted.iter().enumerate() {
            let (courier, waker) = (&courier, &waker);
            let (is_over, delivered) = (&is_over, &delivered);
            scope.spawn(move || {
                let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
                while !is_over.load(Ordering::Relaxed) {
                    let number = submitted.load(Ordering::Relaxed);
                    let id = format!("{submitter}-{number}");
                    let report = Report::new(&id, &jobs);
                    let mut turn = courier.lock();
                    turn.submit(&report, MonoTime::now(), None).unwrap();
                    if number + 1 == SUBMITTED && !is_over.swap(true, Ordering::Relaxed) {
                        let so_far = turn.status().counters.delivered;
                        delivered.store(so_far, Ordering::Relaxed);
                    }
                    drop(turn);
                    submitted.store(number + 1, Ordering::Relaxed);
                    waker.wake();
                }
                waker.cancel();
            });
        }
        while !is_over.load(Ordering::Relaxed) {
            let until = Instant::now() + Duration::from_secs(60);
            if client.deliver(&courier, until, |_| ()).unwrap() == Pause::Idle {
                client.wait(None);
            }
        }
    });
    let submitted = submitted.map(AtomicU64::into_inner);
    let delivered = delivered.into_inner();
    println!("submitted {submitted:?}, delivered {delivered}");
    assert!(submitted.iter().all(|number| *number >= LEAST_SUBMITTED));
    assert!(delivered >= LEAST_DELIVERED);
}

/// The same of the tool: it delivers about as many as it stores.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_tool_delivers_while_it_stores() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use tool_common::{pipe, report};

    const STORED: usize = 100;
    let place = tempfile::tempdir().unwrap();
    let mut tool = pipe();
    tool.arg("--spool").arg(place.path().join("spool"));
    tool.args(["--url", &server(), "--project-id", "p"]);
    tool.env("LD_PRELOAD", shim::shim("slow", place.path()));
    tool.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tool = tool.spawn().unwrap();
    let mut input = tool.stdin.take().unwrap();
    let lines = BufReader::new(tool.stdout.take().unwrap()).lines();
    thread::spawn(move || {
        // It is killed before it has read all.
        for number in 0..10 * STORED {
            let line = report(&number.to_string(), None, JobStatus::RUNNING);
            if writeln!(input, "{line}").is_err() {
                return;
            }
        }
    });
    let (mut stored, mut delivered) = (0, 0);
    for line in lines.map(Result::unwrap) {
        stored += usize::from(line.starts_with("stored "));
        delivered += usize::from(line.starts_with("delivered "));
        if stored == STORED {
            break;
        }
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    println!("stored {stored}, delivered {delivered}");
    assert!(stored == STORED && delivered >= STORED / 2);
}
