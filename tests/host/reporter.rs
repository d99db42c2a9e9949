//! `Reporter`, at its border: a real client, a receiver that fails as told, outboxes in memory and on files.
#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod alone;
mod raw;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{
    Backlog, Courier, Durability, LogOutbox, Policy, RamOutbox, Storage, StorageLimits, Ticket,
};
use edge_report::{
    Client, DeliveryEvent, Job, JobStatus, Outcome, Pause, Report, Reporter, Spool, SpoolOptions,
};
use edge_report_receiver::{Options, Receiver};

/// All timeouts are longer, so it is the stop that ends a call; and no machine that runs tests is so slow.
const SOON: Duration = Duration::from_secs(10);

fn eager() -> Policy {
    Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_min_backoff(Duration::from_millis(10))
        .with_max_backoff(Duration::from_millis(50))
        .with_hold(Duration::from_millis(10))
}

fn receiver(faults: &[&str]) -> Receiver {
    let faults = faults.iter().map(|spec| spec.parse().unwrap());
    Receiver::start(faults.fold(Options::new(), Options::fault)).unwrap()
}

fn client(url: &str) -> Client {
    let minute = Duration::from_secs(60);
    Client::builder(url, "p")
        .response_timeout(minute)
        .total_timeout(2 * minute)
        .build()
        .unwrap()
}

fn memory() -> RamOutbox<Vec<u8>> {
    RamOutbox::new(Vec::new(), 1 << 20)
}

fn job() -> [Job<'static>; 1] {
    [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(7)]
}

fn in_time() -> Instant {
    Instant::now() + 6 * SOON
}

/// What was told, in words.
type Told = Arc<Mutex<Vec<String>>>;

fn noting(told: &Told) -> impl FnMut(DeliveryEvent<'_>) + Send + 'static {
    let told = Arc::clone(told);
    move |event| {
        let (what, report) = match event {
            DeliveryEvent::Delivered { report, .. } => ("delivered".to_owned(), report),
            DeliveryEvent::Refused { report, reason, .. } => (format!("refused {reason}"), report),
            DeliveryEvent::Expired { report, reason, .. } => (format!("expired {reason}"), report),
            DeliveryEvent::Waiting { report, reason, .. } => (format!("waiting {reason}"), report),
            DeliveryEvent::Held { report, reason, .. } => (format!("held {reason}"), report),
            DeliveryEvent::Superseded { count } => (format!("superseded {count}"), &b""[..]),
            DeliveryEvent::Failed { error, .. } => (format!("failed {error}"), &b""[..]),
            other => (format!("{other:?}"), &b""[..]),
        };
        let line = match report {
            b"" => what,
            report => format!("{} {what}", id_of(report)),
        };
        told.lock().unwrap().push(line);
    }
}

fn id_of(report: &[u8]) -> String {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap();
    report["message_id"].as_str().unwrap().to_owned()
}

/// Waits until it was told.
#[track_caller]
fn wait_for(told: &Told, what: &str) {
    let began = Instant::now();
    while !told.lock().unwrap().iter().any(|line| line.contains(what)) {
        assert!(began.elapsed() < 3 * SOON, "{:?}", told.lock().unwrap());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_verdict_is_told_with_its_report() {
    let budget = eager().with_max_attempts(1);
    for (faults, policy, expected) in [
        (
            "refuse@first 1",
            eager(),
            "0 refused refused: 200 injected fault, 1 delivered",
        ),
        (
            "status=503@first 1",
            eager(),
            "0 waiting try_again: 503, 0 delivered, 1 delivered",
        ),
        (
            "status=401@first 1",
            eager(),
            "0 held credentials: 401, 0 delivered, 1 delivered",
        ),
        (
            "status=503@first 1",
            budget,
            "0 expired try_again: 503, 1 delivered",
        ),
    ] {
        let receiver = receiver(&[faults]);
        let place = tempfile::tempdir().unwrap();
        let spool = Spool::open(place.path().join("spool"), SpoolOptions::default()).unwrap();
        let courier = Courier::with_policy(spool, policy);
        let told = Told::default();
        let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
        for id in ["0", "1"] {
            reporter.submit(&Report::new(id, &job())).unwrap();
        }
        assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
        let letters = reporter.with_courier(|courier| courier.dead_letter(None).unwrap().is_some());
        assert_eq!(
            letters,
            expected.contains("refused") || expected.contains("expired")
        );
        reporter.stop().unwrap();
        assert_eq!(told.lock().unwrap().join(", "), expected, "{faults}");
    }
}

#[test]
fn what_is_superseded_is_told() {
    let receiver = receiver(&[]);
    let latest = eager().with_backlog(Backlog::LatestPerJob);
    // Before it starts: so all wait when it does.
    let mut courier = Courier::with_policy(memory(), latest);
    for id in ["0", "1", "2"] {
        let now = edge_report::MonoTime::now();
        courier.submit(&Report::new(id, &job()), now, None).unwrap();
    }
    let told = Told::default();
    let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    reporter.stop().unwrap();
    assert_eq!(*told.lock().unwrap(), ["superseded 2", "2 delivered"]);
}

/// Started and stopped again and again, with several submitters, and a receiver that resets connections.
#[test]
fn nothing_is_lost_over_restarts() {
    const STARTS: usize = 6;
    const EACH: usize = 8;
    let receiver = receiver(&["reset-after@every 5", "reset-before@every 7"]);
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("spool");
    let delivered = Arc::new(Mutex::new(BTreeSet::new()));
    let start = || {
        let spool = Spool::open(&dir, SpoolOptions::default()).unwrap();
        let courier = Courier::with_policy(spool, eager());
        let delivered = Arc::clone(&delivered);
        Reporter::start(client(&receiver.url()), courier, move |event| {
            if let DeliveryEvent::Delivered { report, .. } = event {
                delivered.lock().unwrap().insert(id_of(report));
            }
        })
        .unwrap()
    };
    for round in 0..STARTS {
        let reporter = start();
        thread::scope(|scope| {
            for submitter in 0..3 {
                let reporter = &reporter;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let id = format!("{round}-{submitter}-{number}");
                        reporter.submit(&Report::new(&id, &job())).unwrap();
                    }
                });
            }
        });
        match round % 2 {
            0 => reporter.stop().unwrap(),
            _ => drop(reporter),
        }
    }
    let reporter = start();
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    let counters = reporter.status().counters;
    reporter.stop().unwrap();
    let all = STARTS * 3 * EACH;
    assert_eq!(receiver.accepted().len(), all);
    assert_eq!(
        (counters.submitted, counters.delivered),
        (all as u64, all as u64)
    );
    // What was accepted while it was stopped was sent again, so each was told.
    assert_eq!(delivered.lock().unwrap().len(), all);
}

/// Answers nothing.
fn silent() -> (String, mpsc::Receiver<()>) {
    let (came, comes) = mpsc::channel();
    let url = raw::raw_server(move |mut stream| {
        let came = came.clone();
        thread::spawn(move || {
            raw::read_until(&mut stream, b"}");
            let _ = came.send(());
            thread::sleep(Duration::from_secs(300));
        });
    });
    (url, comes)
}

#[test]
fn a_stop_ends_a_send_that_blocks() {
    for is_dropped in [false, true] {
        let (url, comes) = silent();
        let told = Told::default();
        let courier = Courier::with_policy(memory(), eager());
        let reporter = Reporter::start(client(&url), courier, noting(&told)).unwrap();
        reporter.submit(&Report::new("0", &job())).unwrap();
        comes.recv_timeout(SOON).unwrap();
        // It waits for the response by now, or is about to.
        let began = Instant::now();
        match is_dropped {
            true => drop(reporter),
            false => reporter.stop().unwrap(),
        }
        let took = began.elapsed();
        println!("stopped within {took:?}");
        assert!(took < SOON, "{took:?}");
        assert!(told.lock().unwrap().is_empty(), "no verdict was given");
    }
}

/// Whoever waits in `flush` is told of a stop by another thread.
#[test]
fn flush_ends_in_time() {
    let (url, _comes) = silent();
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&url), courier, |_| ()).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    assert_eq!(reporter.flush(soon).unwrap(), Pause::TimeUp);
    assert_eq!(reporter.status().waiting, 1);
}

#[test]
fn an_observer_that_panics_spoils_nothing() {
    let receiver = receiver(&["status=503@every 3"]);
    let told = Told::default();
    let mut note = noting(&told);
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&receiver.url()), courier, move |event| {
        note(event);
        panic!("on purpose");
    })
    .unwrap();
    for number in 0..10 {
        reporter
            .submit(&Report::new(&number.to_string(), &job()))
            .unwrap();
    }
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    let status = reporter.status();
    assert_eq!((status.counters.delivered, status.waiting), (10, 0));
    reporter.stop().unwrap();
    assert_eq!(receiver.accepted().len(), 10);
    let told = told.lock().unwrap();
    let delivered = told.iter().filter(|line| line.ends_with("delivered"));
    assert_eq!(delivered.count(), 10, "{told:?}");
}

/// The observer has the reporter's ticket, and may submit.
#[test]
fn an_observer_may_submit() {
    let receiver = receiver(&[]);
    let (tell, told) = mpsc::channel::<Ticket>();
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&receiver.url()), courier, move |event| {
        if let DeliveryEvent::Delivered { ticket, .. } = event {
            let _ = tell.send(ticket);
        }
    })
    .unwrap();
    let first = reporter.submit(&Report::new("0", &job())).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), first);
    let second = reporter.submit(&Report::new("1", &job())).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), second);
}

/// New credentials come through while a send blocks: the first visit interrupts it. The attempt after that has its time, and no more.
#[test]
fn the_client_can_be_changed_at_any_time() {
    let (url, comes) = silent();
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&url), courier, |_| ()).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    comes.recv_timeout(SOON).unwrap();
    let token = edge_report::Credentials::token("t");
    let began = Instant::now();
    reporter.with_client(|client| {
        let short = Duration::from_secs(1);
        let builder = Client::builder(&url, "p").response_timeout(short);
        *client = builder.build().unwrap();
    });
    assert!(began.elapsed() < SOON);
    // It is sent again.
    comes.recv_timeout(SOON).unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        let set = reporter.with_client(|client| client.set_credentials(&token));
        set.unwrap();
        assert!(began.elapsed() < SOON);
    }
    // The visitor's own call is not what was cancelled.
    let elsewhere = receiver(&[]);
    let reply = reporter.with_client(|client| {
        *client = self::client(&elsewhere.url());
        client
            .send(&Report::new("1", &job()))
            .map(|reply| reply.outcome)
    });
    assert_eq!(reply.unwrap(), Outcome::Accepted);
}

/// While nothing is sent, because of a failure or of wrong credentials, a visit waits for nothing.
#[test]
fn the_client_can_be_changed_while_delivery_waits() {
    let long = Duration::from_secs(300);
    for (fault, what) in [("status=503", "waiting"), ("status=401", "held")] {
        let receiver = receiver(&[fault]);
        let told = Told::default();
        let policy = eager().with_hold(long).with_min_backoff(long);
        let courier = Courier::with_policy(memory(), policy.with_max_backoff(long));
        let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
        reporter.submit(&Report::new("0", &job())).unwrap();
        wait_for(&told, what);
        let began = Instant::now();
        for _ in 0..5 {
            reporter.with_client(|_| ());
        }
        assert!(began.elapsed() < SOON, "{what}");
        assert_eq!(receiver.requests(), 1, "{what}");
    }
}

/// The second comes while the first is there, who changes or uses the client: neither waits for ever.
#[test]
fn several_may_change_the_client() {
    let (nobody, _comes) = silent();
    let receiver = receiver(&[]);
    let uses: [&(dyn Fn(&mut Client) + Sync); 3] = [
        &|_| (),
        &|client| *client = self::client(&receiver.url()),
        &|client| {
            let builder = Client::builder(&nobody, "p").response_timeout(Duration::from_secs(1));
            *client = builder.build().unwrap();
            assert!(client.send(&Report::new("own", &job())).is_err());
        },
    ];
    for first in uses {
        let courier = Courier::with_policy(memory(), eager());
        let reporter = Reporter::start(client(&receiver.url()), courier, |_| ()).unwrap();
        let reporter = Arc::new(reporter);
        let (begins, began) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                reporter.with_client(|client| {
                    begins.send(()).unwrap();
                    first(client);
                    // The thread is told that it may go on, and the second comes, meanwhile.
                    thread::sleep(Duration::from_millis(300));
                });
            });
            began.recv_timeout(SOON).unwrap();
            thread::sleep(Duration::from_millis(100));
            let second = Arc::clone(&reporter);
            thread::spawn(move || {
                second.with_client(|_| ());
                ends.send(()).unwrap();
            });
            ended.recv_timeout(SOON).unwrap();
        });
    }
}

/// Visits come sooner than a report takes, and reports go out all the same.
#[test]
fn visits_without_end_stop_no_delivery() {
    let slow = receiver(&["delay=100"]);
    for pause in [0, 20] {
        let courier = Courier::with_policy(memory(), eager());
        let reporter = Reporter::start(client(&slow.url()), courier, |_| ()).unwrap();
        for number in 0..3 {
            let id = format!("{pause}-{number}");
            reporter.submit(&Report::new(&id, &job())).unwrap();
        }
        let began = Instant::now();
        while reporter.status().waiting > 0 {
            assert!(began.elapsed() < 3 * SOON, "{:?}", reporter.status());
            reporter.with_client(|_| ());
            thread::sleep(Duration::from_millis(pause));
        }
    }
}

/// The first attempt after a visit comes to its end, however soon the next visit is.
#[test]
fn a_visit_interrupts_no_attempt_after_a_visit() {
    let (came, comes) = mpsc::channel();
    let count = AtomicUsize::new(0);
    let url = raw::raw_server(move |mut stream| {
        let is_answered = matches!(count.fetch_add(1, Ordering::Relaxed), 1 | 2);
        let came = came.clone();
        thread::spawn(move || {
            raw::read_until(&mut stream, b"}");
            let _ = came.send(());
            thread::sleep(if is_answered { SOON / 20 } else { 30 * SOON });
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}";
            let _ = stream.write_all(answer.as_bytes());
        });
    });
    let told = Told::default();
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&url), courier, noting(&told)).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    for _ in 0..2 {
        comes.recv_timeout(SOON).unwrap();
        reporter.with_client(|_| ());
    }
    assert_eq!(*told.lock().unwrap(), ["0 delivered"]);
    // Once an attempt has come to its end since, the next is interrupted again.
    reporter.submit(&Report::new("1", &job())).unwrap();
    comes.recv_timeout(SOON).unwrap();
    wait_for(&told, "1 delivered");
    reporter.submit(&Report::new("2", &job())).unwrap();
    comes.recv_timeout(SOON).unwrap();
    let began = Instant::now();
    reporter.with_client(|_| ());
    assert!(began.elapsed() < SOON);
}

/// A program that panics in the client or the courier, and goes on.
#[test]
fn a_visitor_that_panics_spoils_nothing() {
    let panics = |use_it: &mut dyn FnMut()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(use_it));
        assert!(caught.is_err());
    };
    let receiver = receiver(&[]);
    let (url, comes) = silent();
    let courier = Courier::with_policy(memory(), eager());
    let told = Told::default();
    let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    wait_for(&told, "0 delivered");
    // It sleeps by now, or is about to.
    thread::sleep(Duration::from_millis(200));
    panics(&mut || {
        reporter.with_courier(|courier| {
            let now = edge_report::MonoTime::now();
            courier
                .submit(&Report::new("1", &job()), now, None)
                .unwrap();
            panic!("on purpose");
        })
    });
    wait_for(&told, "1 delivered");
    panics(&mut || {
        reporter.with_client(|client| {
            *client = self::client(&url);
            panic!("on purpose");
        })
    });
    reporter.submit(&Report::new("2", &job())).unwrap();
    comes.recv_timeout(SOON).unwrap();
    let began = Instant::now();
    reporter.stop().unwrap();
    assert!(began.elapsed() < SOON);
}

/// Somebody who watches the link says without end that it is back: that ends one wait, and none that the service asked for. Who changed the
/// credentials says it once.
#[test]
fn wakes_without_end_make_few_requests() {
    let long = Duration::from_secs(300);
    let policy = eager().with_hold(long).with_min_backoff(long);
    for (fault, requests) in [
        ("status=503", 2),
        ("status=503,retry-after=60", 1),
        ("status=401", 1),
        ("cut", 2),
    ] {
        let receiver = receiver(&[fault]);
        let told = Told::default();
        let courier = Courier::with_policy(memory(), policy.with_max_backoff(long));
        let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
        reporter.submit(&Report::new("0", &job())).unwrap();
        wait_for(&told, "0 ");
        for _ in 0..100 {
            reporter.wake();
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(receiver.requests(), requests, "{fault}");
        assert_eq!(told.lock().unwrap().len() as u64, requests, "{fault}");
        let token = edge_report::Credentials::token("t");
        let set = reporter.with_client(|client| client.set_credentials(&token));
        set.unwrap();
        for _ in 0..100 {
            reporter.wake();
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(receiver.requests(), requests + 1, "{fault}");
    }
}

/// The time that the machine is suspended counts (tests/shim/suspend.c).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_flush_counts_suspension() {
    let place = tempfile::tempdir().unwrap();
    if !alone::is_alone("a_flush_counts_suspension", |process| {
        process.env("LD_PRELOAD", shim::shim("suspend", place.path()));
        process.env("SHIM_SUSPENDED", place.path().join("seconds"));
    }) {
        return;
    }
    // It looks at the clock once a minute, and whenever an attempt ends.
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client("http://127.0.0.1:9"), courier, |_| ()).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    let (tell, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let file = std::env::var_os("SHIM_SUSPENDED").unwrap();
            // It may not have begun before the first.
            for hours in 1..60 {
                shim::tell(file.as_ref(), &(hours * 7200).to_string());
                if ended.recv_timeout(SOON / 50).is_ok() {
                    return;
                }
            }
            println!("it does not end");
            std::process::exit(1);
        });
        let hour = Instant::now() + Duration::from_secs(3600);
        assert_eq!(reporter.flush(hour).unwrap(), Pause::TimeUp);
        tell.send(()).unwrap();
    });
}

/// The link comes back, and the program says so, while an attempt is stuck: what fails then is tried again at once.
#[test]
fn a_wake_within_an_attempt_is_not_lost() {
    let (url, comes) = silent();
    let long = Duration::from_secs(300);
    let policy = eager().with_min_backoff(long).with_max_backoff(long);
    let courier = Courier::with_policy(memory(), policy);
    let builder = Client::builder(&url, "p").response_timeout(Duration::from_secs(2));
    let told = Told::default();
    let reporter = Reporter::start(builder.build().unwrap(), courier, noting(&told)).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    comes.recv_timeout(SOON).unwrap();
    reporter.wake();
    comes.recv_timeout(SOON).unwrap();
    assert_eq!(told.lock().unwrap().len(), 1);
    // It was for that one.
    assert!(comes.recv_timeout(Duration::from_secs(4)).is_err());
}

/// An observer that has the last handle may drop it.
#[test]
fn an_observer_may_drop_the_reporter() {
    let receiver = receiver(&[]);
    type InMemory = Reporter<RamOutbox<Vec<u8>>>;
    let handle = Arc::new(Mutex::new(None::<InMemory>));
    let (tell, told) = mpsc::channel();
    let courier = Courier::with_policy(memory(), eager());
    let reporter = Reporter::start(client(&receiver.url()), courier, {
        let handle = Arc::clone(&handle);
        move |_| {
            let reporter = handle.lock().unwrap().take();
            drop(reporter);
            tell.send(()).unwrap();
        }
    })
    .unwrap();
    let mut place = handle.lock().unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    *place = Some(reporter);
    drop(place);
    told.recv_timeout(SOON).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_wakes_it_while_nothing_waits() {
    let receiver = receiver(&[]);
    let courier = Courier::with_policy(memory(), eager());
    let (tell, told) = mpsc::channel();
    let reporter = Reporter::start(client(&receiver.url()), courier, move |_| {
        let _ = tell.send(std::fs::read_link("/proc/thread-self").unwrap());
    })
    .unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    let thread = told.recv_timeout(SOON).unwrap();
    // How often it gave up the processor.
    let waits = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", thread.display()));
        let status = status.unwrap();
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    // What it began is over by then.
    thread::sleep(Duration::from_secs(1));
    let before = waits();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(waits(), before);
    drop(reporter);
}

/// Segments in memory that cannot be read for a while; counts its syncs.
struct Disk(BTreeMap<u32, Vec<u8>>, Arc<AtomicBool>, Arc<AtomicUsize>);

impl Storage for Disk {
    type Error = io::Error;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> io::Result<()> {
        self.0.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }
    fn limits(&self) -> StorageLimits {
        StorageLimits::new(1 << 16, 1 << 18)
            .with_length_unit(4096)
            .with_longest_segment(1 << 16)
    }
    fn create(&mut self, id: u32, len: usize) -> io::Result<()> {
        self.0.insert(id, vec![0; len]);
        Ok(())
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("out of order"));
        }
        buffer.copy_from_slice(&self.0[&id][offset..offset + buffer.len()]);
        Ok(())
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let segment = self.0.get_mut(&id).unwrap();
        segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&mut self, _: u32) -> io::Result<()> {
        self.2.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn discard(&mut self, id: u32) -> io::Result<()> {
        self.0.remove(&id);
        Ok(())
    }
}

/// The pause doubles from failure to failure, and begins anew after a success.
#[test]
fn an_outbox_that_fails_is_told_and_tried_again() {
    let receiver = receiver(&[]);
    let is_dead = Arc::new(AtomicBool::new(false));
    let disk = || Disk(BTreeMap::new(), Arc::clone(&is_dead), Arc::default());
    let log = LogOutbox::<_, _, 16>::open(disk(), disk(), Durability::default(), 1).unwrap();
    let mut courier = Courier::with_policy(log, eager());
    let now = edge_report::MonoTime::now();
    courier
        .submit(&Report::new("0", &job()), now, None)
        .unwrap();
    is_dead.store(true, Ordering::Relaxed);
    let (tell, waits) = mpsc::channel();
    let told = Told::default();
    let mut note = noting(&told);
    let reporter = Reporter::start(client(&receiver.url()), courier, move |event| {
        if let DeliveryEvent::Failed { wait, .. } = event {
            let _ = tell.send(wait.as_secs());
        }
        note(event);
    })
    .unwrap();
    let next = || waits.recv_timeout(SOON).unwrap();
    assert_eq!([next(), next(), next()], [1, 2, 4]);
    is_dead.store(false, Ordering::Relaxed);
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    is_dead.store(true, Ordering::Relaxed);
    reporter.submit(&Report::new("1", &job())).unwrap();
    assert_eq!(next(), 1);
    is_dead.store(false, Ordering::Relaxed);
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    reporter.stop().unwrap();
    assert_eq!(told.lock().unwrap().last().unwrap(), "1 delivered");
}

/// A visitor who comes while the thread tells of a failure: that it is to make way does not end what he sends.
#[test]
fn what_is_meant_for_the_thread_ends_no_visit() {
    let receiver = receiver(&[]);
    let is_dead = Arc::new(AtomicBool::new(true));
    let disk = || Disk(BTreeMap::new(), Arc::default(), Arc::default());
    let store = Disk(BTreeMap::new(), Arc::clone(&is_dead), Arc::default());
    is_dead.store(false, Ordering::Relaxed);
    let log = LogOutbox::<_, _, 16>::open(store, disk(), Durability::default(), 1).unwrap();
    let mut courier = Courier::with_policy(log, eager());
    let now = edge_report::MonoTime::now();
    let jobs = job();
    let report = Report::new("0", &jobs);
    courier.submit(&report, now, None).unwrap();
    is_dead.store(true, Ordering::Relaxed);
    let (tell, told) = mpsc::channel();
    let reporter = Reporter::start(client(&receiver.url()), courier, move |event| {
        if matches!(event, DeliveryEvent::Failed { .. }) {
            let _ = tell.send(());
            thread::sleep(Duration::from_millis(300));
        }
    })
    .unwrap();
    told.recv_timeout(SOON).unwrap();
    let outcome = reporter.with_client(|client| {
        let reply = client.send(&Report::new("own", &job()));
        reply.map(|reply| reply.outcome)
    });
    assert_eq!(outcome, Ok(Outcome::Accepted));
}

/// Also when there was nothing to wait for.
#[test]
fn what_is_flushed_is_durable() {
    let receiver = receiver(&[]);
    let syncs = Arc::new(AtomicUsize::new(0));
    let disk = || Disk(BTreeMap::new(), Arc::default(), Arc::clone(&syncs));
    let seldom = Durability::Batch {
        reports: 1000,
        ms: 3_600_000,
    };
    let log = LogOutbox::<_, _, 16>::open(disk(), disk(), seldom, 1).unwrap();
    let told = Told::default();
    let courier = Courier::with_policy(log, eager());
    let reporter = Reporter::start(client(&receiver.url()), courier, noting(&told)).unwrap();
    reporter.submit(&Report::new("0", &job())).unwrap();
    wait_for(&told, "0 delivered");
    let before = syncs.load(Ordering::Relaxed);
    assert_eq!(reporter.flush(in_time()).unwrap(), Pause::Idle);
    assert!(syncs.load(Ordering::Relaxed) > before);
}
