//! At the limits of the process: no descriptor, no thread. Reports wait for better times, and nothing panics.
//!
//! Each in a process of its own, since limits are those of all its threads.
#![cfg(all(feature = "http", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod alone;
mod raw;

use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use alone::is_alone;
use edge_report::courier::{Courier, Policy, RamOutbox};
use edge_report::{Client, Code, Job, JobStatus, MonoTime, Outcome, Pause, Report};
use raw::{raw_server, read_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Answers each report, on one connection after the other. Its address has a name, to be looked up.
fn server() -> String {
    let url = raw_server(|mut stream| {
        while read_until(&mut stream, b"}").ends_with(b"}") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url.replace("127.0.0.1", "localhost")
}

fn client(url: &str, max_idle: Duration) -> Client {
    let builder = Client::builder(url, "p").max_idle(max_idle);
    builder.build().unwrap()
}

fn sends(client: &mut Client) -> Outcome {
    client.send_encoded(b"{}").unwrap().outcome
}

/// Not sent, for this reason.
fn cannot_send(client: &mut Client, why: &str) {
    let error = client.send_encoded(b"{}").unwrap_err();
    assert_eq!(error.code(), Code::NotSent, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

/// A delivery goes on, and says why nothing goes out.
fn keeps_waiting(client: &mut Client, why: &str) {
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let outbox = RamOutbox::new(vec![0; 1 << 12], 1 << 12);
    let mut courier = Courier::new(outbox, Vec::new(), policy, MonoTime::now(), 0);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    courier
        .submit(&Report::new("m", &jobs), MonoTime::now(), None)
        .unwrap();
    let until = Instant::now() + Duration::from_millis(50);
    let pause = client.deliver(&mut courier, until, |_| ()).unwrap();
    let status = courier.status();
    assert_eq!((pause, status.waiting), (Pause::TimeUp, 1));
    let text = format!("{:?}", status.last_failure);
    assert!(text.contains(why), "{text}");
}

fn limit(resource: Resource, at: u64) -> Rlimit {
    let before = getrlimit(resource);
    let current = Some(at);
    setrlimit(resource, Rlimit { current, ..before }).unwrap();
    before
}

#[test]
fn no_descriptor() {
    if !is_alone("no_descriptor", |_| {}) {
        return;
    }
    const WHY: &str = "Too many open files";
    let url = server();
    let mut kept = client(&server(), Duration::from_secs(90));
    let mut fresh = client(&url, Duration::ZERO);
    assert_eq!(sends(&mut kept), Outcome::Accepted);

    let before = limit(Resource::Nofile, 64);
    let mut taken = Vec::new();
    let full = loop {
        match File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => break error,
        }
    };
    assert!(full.to_string().contains(WHY), "{full}");
    assert_eq!(sends(&mut kept), Outcome::Accepted, "needs none");
    cannot_send(&mut fresh, WHY);
    keeps_waiting(&mut fresh, WHY);
    let error = Client::builder(&url, "p").build().unwrap_err();
    assert!(error.to_string().contains(WHY), "{error}");

    drop(taken);
    assert_eq!(sends(&mut fresh), Outcome::Accepted, "as before");
    setrlimit(Resource::Nofile, before).unwrap();
}

#[test]
fn no_thread() {
    if !is_alone("no_thread", |_| {}) {
        return;
    }
    const WHY: &str = "no thread for the name look-up";
    let url = server();
    let mut kept = client(&server(), Duration::from_secs(90));
    let mut fresh = client(&url, Duration::ZERO);
    assert_eq!(sends(&mut kept), Outcome::Accepted);

    // Whoever may go beyond this limit becomes somebody who may not.
    if rustix::process::geteuid().is_root() {
        // SAFETY: a call of the system; it touches no memory.
        assert_eq!(unsafe { libc::setuid(54_321) }, 0);
    }
    let before = limit(Resource::Nproc, 0);
    let full = thread::Builder::new().spawn(|| {});
    assert!(full.is_err(), "the limit does not hold here");
    assert_eq!(sends(&mut kept), Outcome::Accepted, "needs none");
    for _ in 0..3 {
        cannot_send(&mut fresh, WHY);
    }
    keeps_waiting(&mut fresh, WHY);

    setrlimit(Resource::Nproc, before).unwrap();
    assert_eq!(sends(&mut fresh), Outcome::Accepted, "as before");
}
