//! Waits that another thread ends, and what they cost meanwhile.
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
#[cfg(target_os = "linux")]
mod tool_common;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Policy, RamOutbox};
use edge_report::{Client, FairMutex, Job, JobStatus, MonoTime, Pause, Report, SendError};

/// All timeouts are longer, so it is the cancelling that ends a call; and no machine that runs tests is so slow.
const SOON: Duration = Duration::from_secs(5);

type Node = Courier<RamOutbox<Vec<u8>>, Vec<u8>>;

/// Takes connections, and says nothing; or one that takes none any more.
fn silent(takes: bool) -> (SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    if takes {
        thread::spawn(move || {
            let all: Vec<_> = listener.incoming().collect();
            drop(all);
        });
        return (address, Vec::new());
    }
    // Until its queue is full: then the system answers no more.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        waiting.push(stream);
        assert!(waiting.len() < 5_000, "the queue has no end");
    }
    thread::spawn(move || {
        let _listener = listener;
        thread::sleep(Duration::from_secs(600));
    });
    (address, waiting)
}

fn client(url: &str) -> Client {
    let minute = Duration::from_secs(60);
    Client::builder(url, "p")
        .connect_timeout(minute)
        .tls_timeout(minute)
        .send_timeout(minute)
        .response_timeout(minute)
        .total_timeout(2 * minute)
        .build()
        .unwrap()
}

fn courier(policy: Policy) -> Node {
    let outbox = RamOutbox::new(vec![0; 1 << 16], 1 << 16);
    Courier::new(outbox, Vec::new(), policy, MonoTime::now(), 0)
}

fn submit(courier: &mut Node) {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let report = Report::new("m", &jobs);
    courier.submit(&report, MonoTime::now(), None).unwrap();
}

fn eager() -> Policy {
    Policy::default().with_start_spread(Duration::ZERO)
}

/// Cancels it a little later, and says how long it took from then on.
fn cancelled<R>(client: &mut Client, call: impl FnOnce(&mut Client) -> R) -> (R, Duration) {
    let waker = client.waker();
    let wait = Duration::from_millis(300);
    let began = Instant::now();
    let cancels = thread::spawn(move || {
        thread::sleep(wait);
        waker.cancel();
    });
    let result = call(client);
    let took = began.elapsed();
    cancels.join().unwrap();
    assert!(took >= wait, "it ended before: {took:?}");
    (result, took - wait)
}

#[test]
fn a_call_ends_whatever_it_waits_for() {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    let report = Report::new("m", &jobs);
    for (scheme, takes, phase) in [
        ("http", false, "a connection"),
        ("https", true, "a handshake"),
        ("http", true, "a response"),
    ] {
        if scheme == "https" && !cfg!(any(feature = "client", feature = "native-tls")) {
            continue;
        }
        let (address, _waiting) = silent(takes);
        let mut client = client(&format!("{scheme}://{address}"));
        let (result, took) = cancelled(&mut client, |client| client.send(&report).map(drop));
        println!("waiting for {phase}: {took:?}");
        assert!(took < SOON, "{phase}: {took:?}");
        let error = result.unwrap_err();
        let is_right = match phase {
            "a response" => matches!(error, SendError::MayHaveArrived { .. }),
            _ => matches!(error, SendError::NotSent { .. }),
        };
        assert!(
            is_right && error.to_string().contains("cancelled"),
            "{phase}: {error}"
        );

        // A delivery says why it ends, and the report waits.
        // It costs neither an attempt nor a wait.
        let mut node = courier(eager().with_max_attempts(1));
        submit(&mut node);
        let until = Instant::now() + Duration::from_secs(600);
        for _ in 0..2 {
            let (pause, took) = cancelled(&mut client, |client| {
                client.deliver(&mut node, until, |_| ())
            });
            assert_eq!(pause.unwrap(), Pause::Cancelled, "{phase}");
            assert!(took < SOON, "{phase}: {took:?}");
            let status = node.status();
            assert_eq!((status.waiting, status.failures), (1, 0), "{phase}");
            assert!(status.in_flight.is_some() && status.last_failure.is_none());
        }
    }
}

/// Answers with this, and a body that does not end.
fn begins(head: &'static str) -> String {
    raw::raw_server(move |mut stream| {
        thread::spawn(move || {
            raw::read_until(&mut stream, b"}");
            let answer =
                format!("HTTP/1.1 {head}\r\ncontent-length: 60\r\n\r\n{{\"error_code\":\"DLI");
            stream.write_all(answer.as_bytes()).unwrap();
            raw::read_until(&mut stream, b"}");
        });
    })
}

/// The head of a bad answer came, and not yet its body: what is cancelled then is no attempt, either.
#[test]
fn a_call_ends_within_an_answer() {
    for head in ["400 x", "503 x", "200 OK"] {
        let mut client = client(&begins(head));
        let mut node = courier(eager().with_max_attempts(1));
        submit(&mut node);
        let until = Instant::now() + Duration::from_secs(600);
        let (pause, took) = cancelled(&mut client, |client| {
            client.deliver(&mut node, until, |event| panic!("{event}"))
        });
        assert_eq!(pause.unwrap(), Pause::Cancelled, "{head}");
        assert!(took < SOON, "{head}: {took:?}");
        let status = node.status();
        assert!(status.in_flight.is_some() && status.last_failure.is_none());
        let (result, _) = cancelled(&mut client, |client| client.send_encoded(b"{}").map(drop));
        let error = result.unwrap_err();
        assert!(matches!(error, SendError::MayHaveArrived { .. }), "{error}");
    }
}

/// A check of credentials that failed has failed, also where the rest was cancelled: too many of them lock a key pair.
#[test]
fn a_denial_counts_though_it_is_cancelled() {
    let url = begins("401 x");
    // A busy machine may have cancelled it before the head came.
    let is_told = (0..20).any(|_| {
        let mut client = client(&url);
        let mut node = courier(eager());
        submit(&mut node);
        let until = Instant::now() + Duration::from_secs(600);
        let mut told = Vec::new();
        let (pause, took) = cancelled(&mut client, |client| {
            client.deliver(&mut node, until, |event| told.push(event.to_string()))
        });
        assert_eq!(pause.unwrap(), Pause::Cancelled);
        assert!(took < SOON, "{took:?}");
        assert_eq!(node.status().waiting, 1);
        told.iter().any(|event| event.contains(" is denied"))
    });
    assert!(is_told);
}

/// Runs a test alone, on a machine that can be suspended, and on which a minute of sleep is over in half a second (shim/suspend.c). Gives what
/// says for how long it was suspended so far.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn on_a_laptop(test: &str) -> Option<impl Fn(u32) + Sync> {
    let place = tempfile::tempdir().unwrap();
    let is_alone = alone::is_alone(test, |process| {
        process.env("LD_PRELOAD", shim::shim("suspend", place.path()));
        process.env("SHIM_SUSPENDED", place.path().join("seconds"));
        process.env("SHIM_SLEEPS", "120");
    });
    is_alone.then_some(|seconds: u32| {
        let file = std::env::var_os("SHIM_SUSPENDED").unwrap();
        shim::tell(file.as_ref(), &seconds.to_string());
    })
}

/// A wait over a time that the machine is suspended is over a minute later at the most.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_wait_counts_suspension() {
    let Some(suspended) = on_a_laptop("a_wait_counts_suspension") else {
        return;
    };
    let mut client = client("http://127.0.0.1:9");
    let slow = eager().with_min_backoff(Duration::from_millis(300_000));
    let mut node = courier(slow);
    submit(&mut node);
    let hours = Duration::from_secs(4 * 3600);
    let waits: [&mut dyn FnMut(); 2] = [&mut || client.wait(Some(hours)), &mut || {
        let mut client = self::client("http://127.0.0.1:9");
        let pause = client.deliver(&mut node, Instant::now() + hours, |_| ());
        assert_eq!(pause.unwrap(), Pause::TimeUp);
    }];
    for wait in waits {
        let suspended = &suspended;
        suspended(0);
        let (tell, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                // It may not have begun before the first.
                for times in 1..5 {
                    thread::sleep(Duration::from_millis(200));
                    suspended(times * 5 * 3600);
                    if told.recv_timeout(SOON).is_ok() {
                        return;
                    }
                }
                println!("it does not end");
                std::process::exit(1);
            });
            wait();
            tell.send(()).unwrap();
        });
    }
}

/// A long report that nobody reads: the write blocks, also behind an answer that has begun.
#[test]
fn a_write_that_blocks_ends() {
    use std::io::Read;
    for says in ["", "HTTP/1.1 413 x\r\n", "HTTP/1.1 102 x\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let keep = |mut stream: TcpStream| {
                let _ = stream.read(&mut [0; 4096]);
                // Long enough that the rest waits in a write.
                thread::sleep(Duration::from_millis(150));
                let _ = stream.write_all(says.as_bytes());
                stream
            };
            let all: Vec<_> = listener
                .incoming()
                .map(|stream| keep(stream.unwrap()))
                .collect();
            drop(all);
        });
        let mut client = client(&url);
        let body = vec![b' '; 12_000_000];
        for _ in 0..2 {
            let (result, took) =
                cancelled(&mut client, |client| client.send_encoded(&body).map(drop));
            let error = result.unwrap_err();
            assert!(matches!(error, SendError::MayHaveArrived { .. }), "{error}");
            assert!(error.to_string().contains("cancelled"), "{says}: {error}");
            assert!(took < SOON, "{says}: {took:?}");
        }
    }
}

#[test]
fn a_delivery_that_backs_off_and_one_that_idles_are_woken() {
    let mut client = client("http://127.0.0.1:9");
    let slow = eager().with_min_backoff(Duration::from_millis(300_000));
    let node = FairMutex::new(courier(slow));
    submit(&mut node.lock());
    let waker = client.waker();
    let until = Instant::now() + Duration::from_secs(600);
    thread::scope(|scope| {
        let delivery = scope.spawn(|| client.deliver(&node, until, |_| ()));
        let attempts = || node.lock().status().failures;
        let failed = |least| {
            let began = Instant::now();
            while attempts() < least {
                assert!(began.elapsed() < SOON, "{} failures", attempts());
                thread::sleep(Duration::from_millis(5));
            }
        };
        failed(1);
        // What failed before is forgotten, and the next attempt comes at once.
        node.lock().wake(MonoTime::now());
        assert_eq!(attempts(), 0);
        waker.wake();
        failed(1);
        waker.cancel();
        assert_eq!(delivery.join().unwrap().unwrap(), Pause::Cancelled);
    });
    // A ring that came before is not lost.
    waker.wake();
    client.wait(None);
    let (_, took) = cancelled(&mut client, |client| client.wait(None));
    assert!(took < SOON, "{took:?}");
    // And is over then.
    let began = Instant::now();
    client.wait(Some(Duration::from_millis(50)));
    assert!(began.elapsed() >= Duration::from_millis(50));
}

/// How often a thread gave up the processor by itself: each wait does once, and each time it is woken for nothing once more.
#[cfg(target_os = "linux")]
fn waits_of(thread: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
fn waits() -> u64 {
    waits_of("/proc/thread-self".as_ref())
}

/// How long is counted: with `tests/run --long` a minute.
#[cfg(target_os = "linux")]
fn span() -> Duration {
    Duration::from_secs(match std::env::var_os("EDGE_REPORT_LONG") {
        Some(_) => 60,
        None => 4,
    })
}

/// Idle, and in an outage: it sleeps, and nothing wakes it.
#[cfg(target_os = "linux")]
#[test]
fn waiting_costs_no_wake_ups() {
    let span = span();
    let mut client = client("http://127.0.0.1:9");
    let before = waits();
    client.wait(Some(span));
    let idle = waits() - before;
    assert!(idle <= 3, "woken {idle} times while idle");

    let slow = eager().with_min_backoff(Duration::from_millis(300_000));
    let mut node = courier(slow);
    submit(&mut node);
    // The attempt that fails, and its back-off.
    let pause = client
        .deliver(&mut node, Instant::now() + Duration::from_secs(1), |_| ())
        .unwrap();
    assert_eq!((pause, node.status().failures), (Pause::TimeUp, 1));
    let before = waits();
    let began = Instant::now();
    let pause = client.deliver(&mut node, began + span, |_| ()).unwrap();
    assert_eq!(pause, Pause::TimeUp);
    // Not by the minute that it sleeps at the most.
    assert!(began.elapsed() < span + 6 * SOON, "{:?}", began.elapsed());
    let outage = waits() - before;
    assert!(outage <= 3, "woken {outage} times in an outage");
}

/// What was woken for nothing sleeps on: a bell that is not silenced would ring without end.
#[cfg(target_os = "linux")]
#[test]
fn a_ring_is_heard_once() {
    let (address, _waiting) = silent(true);
    let mut client = Client::builder(&format!("http://{address}"), "p")
        .response_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let waker = client.waker();
    let before = cpu();
    waker.wake();
    let error = client.send_encoded(b"{}").unwrap_err();
    assert!(matches!(error, SendError::MayHaveArrived { .. }), "{error}");
    // The first returns at once, for what was meant for it.
    waker.wake();
    client.wait(None);
    client.wait(Some(Duration::from_secs(2)));
    let used = cpu() - before;
    assert!(used < Duration::from_millis(100), "{used:?}");
}

/// What this thread used, as the scheduler counts it.
#[cfg(target_os = "linux")]
fn cpu() -> Duration {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let used = counts.split_whitespace().next().unwrap();
    Duration::from_nanos(used.parse().unwrap())
}

/// The tool, too, with all its threads: before there is a report, and while one waits.
#[cfg(target_os = "linux")]
#[test]
fn the_tool_sleeps() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let place = tempfile::tempdir().unwrap();
    let mut tool = tool_common::pipe();
    tool.arg("--spool").arg(place.path().join("spool"));
    tool.args(["--url", "http://127.0.0.1:9", "--project-id", "p"]);
    tool.args(["--min-backoff", "300000"]);
    tool.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.stdout(Stdio::null()).spawn().unwrap();
    let threads = format!("/proc/{}/task", tool.id());
    let waits = || -> u64 {
        let threads = std::fs::read_dir(&threads).unwrap();
        threads
            .map(|thread| waits_of(&thread.unwrap().path()))
            .sum()
    };
    let woken = |most: u64| {
        // What it began is over by then.
        thread::sleep(Duration::from_secs(1));
        let before = waits();
        thread::sleep(span());
        let woken = waits() - before;
        assert!(woken <= most, "woken {woken} times");
    };
    woken(0);
    let input = tool.stdin.as_mut().unwrap();
    let report = tool_common::report("m", None, JobStatus::RUNNING);
    writeln!(input, "{report}").unwrap();
    let mut failure = String::new();
    let mut errors = BufReader::new(tool.stderr.as_mut().unwrap());
    errors.read_line(&mut failure).unwrap();
    assert!(failure.contains("again in"), "{failure}");
    woken(3);
    tool.kill().unwrap();
    tool.wait().unwrap();
}
