//! Reports over slow, long and broken links, made in user space (tests/host/link). All is 10 times faster than in the field: rates,
//! delays, and the client's timeouts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod alone;
mod link;
mod raw;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::{Client, ClientBuilder, Code, Outcome, SendError};
use link::{Link, link};
use raw::{raw_server, read_until};

const FASTER: u32 = 10;

fn in_field(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds) / FASTER
}

/// Answers each report.
fn server() -> SocketAddr {
    let url = raw_server(|mut stream| {
        thread::spawn(move || {
            while read_until(&mut stream, b"}").ends_with(b"}") {
                let body = r#"{"is_success":true}"#;
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n";
                let _ = stream.write_all((head.to_string() + body).as_bytes());
            }
        });
    });
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// The defaults, faster.
fn builder(to: SocketAddr) -> ClientBuilder {
    Client::builder(&format!("http://{to}"), "project")
        .connect_timeout(in_field(10.0))
        .send_timeout(in_field(15.0))
        .response_timeout(in_field(15.0))
        .total_timeout(in_field(60.0))
        .min_rate(1000 * FASTER)
}

fn report(len: usize) -> Vec<u8> {
    let mut body = vec![b' '; len];
    *body.last_mut().unwrap() = b'}';
    body
}

fn kbit(rate: f64) -> Link {
    Link {
        rate: (rate * 1000.0 / 8.0) as u64 * u64::from(FASTER),
        ..Link::default()
    }
}

fn sends(builder: ClientBuilder, body: &[u8]) -> Result<Outcome, SendError> {
    let mut client = builder.build().unwrap();
    client.send_encoded(body).map(|reply| reply.outcome)
}

/// What an attempt could not get through in time before arrives in one: 64 KB at 8 and 20 kbit/s, 1 MB at 100 kbit/s. On a link below
/// the least rate a long report is given up, and the text says what went out, and of how much.
#[test]
fn long_reports_on_slow_links() {
    let to = server();
    thread::scope(|scope| {
        for (rate, len) in [
            (8.0, 64_000),
            (20.0, 64_000),
            (20.0, 200_000),
            (100.0, 1_000_000),
        ] {
            scope.spawn(move || {
                let (address, counts) = link(to, kbit(rate));
                let result = sends(builder(address), &report(len));
                assert_eq!(result, Ok(Outcome::Accepted), "{len} at {rate} kbit/s");
                // In one attempt.
                assert!(counts.there.load(Ordering::Relaxed) < len as u64 + 1000);
                // With times that do not grow, nothing.
                let (address, _) = link(to, kbit(rate));
                let error = sends(builder(address).min_rate(u32::MAX), &report(len));
                assert_eq!(error.unwrap_err().code(), Code::MayHaveArrived);
            });
        }
        scope.spawn(move || {
            let (address, _) = link(to, kbit(2.4));
            assert_eq!(
                sends(builder(address), &report(3000)),
                Ok(Outcome::Accepted)
            );
            let (address, _) = link(to, kbit(2.4));
            let error = sends(builder(address), &report(64_000)).unwrap_err();
            assert_eq!(error.code(), Code::MayHaveArrived);
            assert!(
                error.to_string().contains("the report has 64000"),
                "{error}"
            );
        });
    });
}

/// RTT from 0.1 to 5 s.
#[test]
fn long_ways() {
    let to = server();
    thread::scope(|scope| {
        for rtt in [0.1, 0.6, 2.0, 5.0] {
            scope.spawn(move || {
                let delay = in_field(rtt) / 2;
                let way = Link {
                    delay,
                    ..kbit(20.0)
                };
                let (address, counts) = link(to, way);
                let mut client = builder(address).build().unwrap();
                for len in [300, 300, 20_000] {
                    let begin = Instant::now();
                    let reply = client.send_encoded(&report(len)).unwrap();
                    assert_eq!(reply.outcome, Outcome::Accepted, "{rtt}");
                    assert!(begin.elapsed() >= 2 * delay);
                }
                assert_eq!(counts.connections.load(Ordering::Relaxed), 1);
            });
        }
    });
}

/// A link that is silent for a while, and comes back within the time or does not; and one that breaks.
#[test]
fn broken_links() {
    let to = server();
    let silent = |seconds| Link {
        stall: Some((5000, in_field(seconds))),
        ..kbit(100.0)
    };
    let (address, _) = link(to, silent(10.0));
    assert_eq!(
        sends(builder(address), &report(20_000)),
        Ok(Outcome::Accepted)
    );
    let (address, _) = link(to, silent(200.0));
    let error = sends(builder(address), &report(20_000)).unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    assert!(error.to_string().contains("timeout"), "{error}");
    let cut = Link {
        cut: Some(10_000),
        ..kbit(100.0)
    };
    let (address, counts) = link(to, cut);
    let error = sends(builder(address), &report(20_000)).unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    assert_eq!(
        counts.connections.load(Ordering::Relaxed),
        1,
        "a fresh one is not tried twice"
    );
    assert_eq!(counts.back.load(Ordering::Relaxed), 0);
}

/// Look-ups by the system, in a process whose names come late, never, or not (shim/names.c): a living connection needs none, an
/// address that was known serves on, and what goes nowhere for it was not sent.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn names_that_come_late_or_never() {
    const THIS: &str = "names_that_come_late_or_never";
    const SOON: Duration = Duration::from_millis(300);
    let place = tempfile::tempdir().unwrap();
    if !alone::is_alone(THIS, |process| {
        process.env("LD_PRELOAD", shim::shim("names", place.path()));
        process.env("SHIM_NAMES", place.path().join("says"));
    }) {
        return;
    }
    let file = std::path::PathBuf::from(std::env::var_os("SHIM_NAMES").unwrap());
    let names = |say: &str| shim::tell(&file, say);
    let client = |at: SocketAddr, longest| {
        let url = format!("http://localhost:{}", at.port());
        let builder = Client::builder(&url, "project").connect_timeout(longest);
        builder.build().unwrap()
    };
    let sends = |client: &mut Client| {
        let reply = client.send_encoded(&report(300));
        reply.map(|reply| reply.outcome)
    };
    let to = server();
    let (address, counts) = link(to, kbit(100.0));
    let cut = Link {
        cut: Some(10_000),
        ..Link::default()
    };
    let accepted = Ok(Outcome::Accepted);

    names("");
    let mut living = client(address, SOON);
    // The doubt may last for 2 s.
    let mut breaks = client(link(to, cut).0, Duration::from_secs(5));
    assert_eq!(sends(&mut living), accepted);
    assert_eq!(sends(&mut breaks), accepted);

    names("hang");
    let mut fresh = client(address, SOON);
    for _ in 0..3 {
        let begin = Instant::now();
        let error = sends(&mut fresh).unwrap_err();
        assert!(begin.elapsed() >= SOON);
        assert_eq!(error.code(), Code::NotSent, "{error}");
        let why = "no address for localhost within 0.";
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(sends(&mut living), accepted);
        assert_eq!(running(), 1, "one that hangs is not begun anew");
    }
    assert_eq!(counts.connections.load(Ordering::Relaxed), 1);

    // A connection that breaks is made again, to the address that was known: while look-ups hang, and while they fail.
    for say in ["hang", "dead"] {
        names(say);
        assert!(breaks.send_encoded(&report(20_000)).is_err());
        assert_eq!(sends(&mut breaks), accepted, "{say}");
    }
    // That is waited for once, and not again before each report on the new connection.
    names("hang");
    assert!(breaks.send_encoded(&report(20_000)).is_err());
    let begin = Instant::now();
    for _ in 0..6 {
        assert_eq!(sends(&mut breaks), accepted);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    names("dead");
    let error = sends(&mut client(address, SOON)).unwrap_err();
    assert_eq!(error.code(), Code::NotSent, "{error}");
    let says = "not sent: no address for localhost: Temporary failure in name resolution";
    assert_eq!(error.to_string(), says);

    // Cancelled, while one hangs: of a name that is not known, and of one that is.
    names("");
    let minute = Duration::from_secs(60);
    let mut known = client(link(to, cut).0, minute);
    assert_eq!(sends(&mut known), accepted);
    names("hang");
    assert!(known.send_encoded(&report(20_000)).is_err());
    for (mut client, hang) in [(known, 1), (client(address, minute), 2)] {
        let waker = client.waker();
        let (error, took) = thread::scope(|scope| {
            let cancels = scope.spawn(|| {
                while running() < hang {
                    thread::sleep(Duration::from_millis(5));
                }
                waker.cancel();
                Instant::now()
            });
            let error = sends(&mut client).unwrap_err();
            (error, cancels.join().unwrap().elapsed())
        });
        // 50 ms; what is more than a busy machine may add comes of something else.
        assert!(took < Duration::from_secs(1), "{took:?}");
        let is_cancelled = error.to_string().contains("cancelled");
        assert!(is_cancelled && error.code() == Code::NotSent, "{error}");
    }

    names("");
    until_none_runs();

    // Late, but in time.
    names("hang");
    let mut patient = client(address, Duration::from_secs(60));
    thread::scope(|scope| {
        scope.spawn(|| {
            while running() == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(SOON);
            names("");
        });
        assert_eq!(sends(&mut patient), accepted);
    });
    assert_eq!(sends(&mut fresh), accepted);
}

/// How many look-ups run.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn running() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm"));
    let names = threads.filter_map(|thread| name(thread.unwrap()).ok());
    names.filter(|name| name == "name look-up\n").count()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn until_none_runs() {
    while running() > 0 {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Somebody at an address, who answers each report with `answer`. Gives the port, and counts the reports.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn someone(ip: &str, port: u16, answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    someone_who(ip, port, move || answer)
}

/// The same, who may change his mind.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn someone_who(
    ip: &str,
    port: u16,
    answer: impl Fn() -> &'static str + Clone + Send + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind((ip, port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (counted, answer) = (counted.clone(), answer.clone());
            thread::spawn(move || {
                while read_until(&mut stream, b"}").ends_with(b"}") {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(answer().as_bytes());
                }
            });
        }
    });
    (port, count)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}";
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const BUSY: &str = "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n";
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PORTAL: &str = "HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>";

/// Names that lead where the file says: once the test is alone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
struct Names(std::path::PathBuf);

#[cfg(all(target_os = "linux", target_env = "gnu"))]
impl Names {
    fn alone(test: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let is_alone = alone::is_alone(test, |process| {
            let libraries = ["names", "suspend"].map(|name| shim::shim(name, place.path()));
            let [names, suspend] = libraries.map(|library| library.display().to_string());
            process.env("LD_PRELOAD", format!("{names}:{suspend}"));
            for (name, file) in [
                ("SHIM_NAMES", "says"),
                ("SHIM_LOOKUPS", "lookups"),
                ("SHIM_SUSPENDED", "seconds"),
            ] {
                process.env(name, place.path().join(file));
            }
        });
        is_alone.then(|| Names(std::env::var_os("SHIM_NAMES").unwrap().into()))
    }

    fn lead_to(&self, addresses: &str) {
        shim::tell(&self.0, addresses);
    }

    /// Since this was asked last.
    fn lookups(&self) -> usize {
        let file = self.0.with_file_name("lookups");
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        lines.lines().count()
    }

    /// The machine was suspended for so many seconds.
    fn suspended(&self, seconds: u32) {
        shim::tell(&self.0.with_file_name("seconds"), &seconds.to_string());
    }

    fn client(port: u16) -> ClientBuilder {
        Client::builder(&format!("http://gateway.example:{port}"), "p").allow_plain_http()
    }
}

/// A service whose name leads elsewhere now, while at the old place somebody still answers: it is looked up again after each answer that may
/// be somebody else's, and a connection that was kept is left.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_service_that_moved_is_found() {
    let Some(names) = Names::alone("a_service_that_moved_is_found") else {
        return;
    };
    for (answer, is_kept) in [
        ("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>", true),
        ("HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>", false),
    ] {
        let (port, before) = someone("127.0.0.2", 0, answer);
        let (_, now) = someone("127.0.0.3", port, ACCEPTED);
        let mut builder = Names::client(port);
        if !is_kept {
            builder = builder.max_idle(Duration::ZERO);
        }
        let mut client = builder.build().unwrap();
        let mut sends = || {
            let reply = client.send_encoded(b"{}").unwrap();
            reply.outcome == Outcome::Accepted
        };
        names.lead_to("127.0.0.2");
        assert!(!sends() && !sends(), "{answer}");
        assert_eq!(names.lookups(), 2, "once for each answer");
        names.lead_to("127.0.0.3");
        assert!(sends() && sends() && sends(), "{answer}");
        assert_eq!(names.lookups(), 1, "{answer}");
        // Its name fails, and so does it: what was found last serves.
        names.lead_to("dead");
        assert!(sends(), "{answer}");
        assert_eq!(before.load(Ordering::Relaxed), 2, "{answer}");
        assert_eq!(now.load(Ordering::Relaxed), 4, "{answer}");
    }
}

/// Each look-up takes longer than a request waits for it, as where the first of two name servers is dead: what it found serves the next one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_slow_name_service_leads_to_a_service_that_moved() {
    let Some(names) = Names::alone("a_slow_name_service_leads_to_a_service_that_moved") else {
        return;
    };
    let (port, _) = someone(
        "127.0.0.2",
        0,
        "HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n",
    );
    let (_, now) = someone("127.0.0.3", port, ACCEPTED);
    let mut client = Names::client(port).build().unwrap();
    let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
    names.lead_to("127.0.0.2");
    assert!(!sends());
    assert_eq!(names.lookups(), 1);
    names.lead_to("hang");
    assert!(!sends());
    names.lead_to("127.0.0.3");
    until_none_runs();
    names.lead_to("hang");
    assert!(sends());
    assert_eq!(now.load(Ordering::Relaxed), 1);
}

/// What was found when nobody waited any more is not used when it is old.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_a_slow_name_service_found_long_ago_is_asked_anew() {
    let Some(names) = Names::alone("what_a_slow_name_service_found_long_ago_is_asked_anew") else {
        return;
    };
    let (port, before) = someone("127.0.0.2", 0, ACCEPTED);
    let (_, now) = someone("127.0.0.3", port, ACCEPTED);
    let builder = Names::client(port).connect_timeout(Duration::from_millis(300));
    names.suspended(0);
    for (asleep, counts) in [(200, [1, 0]), (301, [1, 1])] {
        let mut client = builder.clone().build().unwrap();
        names.lead_to("hang");
        let error = client.send_encoded(b"{}").unwrap_err();
        assert_eq!(error.code(), Code::NotSent, "{error}");
        names.lead_to("127.0.0.2");
        while running() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        names.suspended(asleep);
        names.lead_to("127.0.0.3");
        assert!(client.send_encoded(b"{}").unwrap().is_accepted());
        let seen = [&before, &now].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(seen, counts, "{asleep} s later");
        names.suspended(0);
    }
}

/// Look-ups hang, or fail late, for longer than a call may last: whoever answered badly once, or has an old address, gets what comes next in time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_late_name_service_leaves_a_call_its_time() {
    let Some(names) = Names::alone("a_late_name_service_leaves_a_call_its_time") else {
        return;
    };
    for (idle, is_busy, asleep) in [
        (Duration::from_secs(90), true, 0),
        (Duration::ZERO, true, 0),
        (Duration::ZERO, false, 400),
    ] {
        names.suspended(0);
        let told = Arc::new(AtomicUsize::new(0));
        let (port, _) = someone_who("127.0.0.2", 0, move || {
            match told.fetch_add(1, Ordering::Relaxed) {
                1 | 3 | 6 if is_busy => BUSY,
                _ => ACCEPTED,
            }
        });
        let builder = Names::client(port).total_timeout(Duration::from_millis(1900));
        let mut client = builder.max_idle(idle).build().unwrap();
        let mut sends = || client.send_encoded(b"{}").map(|reply| reply.outcome);
        names.lead_to("127.0.0.2");
        assert_eq!(sends(), Ok(Outcome::Accepted));
        names.lead_to("hang");
        names.suspended(asleep);
        for at in 1..8 {
            if at == 5 {
                names.lead_to("dead");
                until_none_runs();
                names.lead_to("hang");
            }
            let expected = match at {
                1 | 3 | 6 if is_busy => Outcome::TryAgain,
                _ => Outcome::Accepted,
            };
            assert_eq!(sends(), Ok(expected), "{idle:?} {asleep} {at}");
            assert!(running() <= 1);
        }
        names.lead_to("127.0.0.2");
        until_none_runs();
    }
}

/// A name service that hangs is waited for once, however often it is doubted then.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_late_name_service_is_waited_for_once() {
    let Some(names) = Names::alone("a_late_name_service_is_waited_for_once") else {
        return;
    };
    let (port, _) = someone("127.0.0.2", 0, BUSY);
    let mut client = Names::client(port).build().unwrap();
    names.lead_to("127.0.0.2");
    assert!(!client.send_encoded(b"{}").unwrap().is_accepted());
    names.lead_to("hang");
    let began = Instant::now();
    for _ in 0..6 {
        assert!(!client.send_encoded(b"{}").unwrap().is_accepted());
    }
    // For 2 s, with the timeouts that are set.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// What a late look-up found counts no more once the service has answered where it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_was_found_before_the_service_answered_is_outdated() {
    let Some(names) = Names::alone("what_was_found_before_the_service_answered_is_outdated") else {
        return;
    };
    let told = Arc::new(AtomicUsize::new(0));
    let (port, _) = someone_who("127.0.0.2", 0, move || {
        match told.fetch_add(1, Ordering::Relaxed) {
            1 | 4 => BUSY,
            _ => ACCEPTED,
        }
    });
    let (_, stranger) = someone("127.0.0.3", port, PORTAL);
    let mut client = Names::client(port).build().unwrap();
    let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
    names.lead_to("127.0.0.2");
    assert!(sends() && !sends());
    names.lead_to("hang");
    assert!(sends());
    names.lead_to("127.0.0.3");
    until_none_runs();
    names.lead_to("127.0.0.2");
    assert!(sends() && !sends() && sends());
    assert_eq!(stranger.load(Ordering::Relaxed), 0);
}

/// Nor is a success believed that comes before the report is out: the service may have moved then, too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_early_success_is_doubted() {
    use std::io::Read;

    let Some(names) = Names::alone("an_early_success_is_doubted") else {
        return;
    };
    let early = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = early.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in early.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(ACCEPTED.as_bytes());
            kept.push(stream);
        }
    });
    let (_, now) = someone("127.0.0.3", port, ACCEPTED);
    let mut client = Names::client(port).build().unwrap();
    names.lead_to("127.0.0.2");
    let error = client.send_encoded(&report(12 * 1024 * 1024)).unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    names.lead_to("127.0.0.3");
    assert!(client.send_encoded(b"{}").unwrap().is_accepted());
    assert_eq!(now.load(Ordering::Relaxed), 1);
}

/// The name service is wrong from now on, just as the service is busy: the address that served serves again, however little a new one
/// does, and new connections begin with it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_wrong_name_takes_no_way_that_works() {
    let Some(names) = Names::alone("a_wrong_name_takes_no_way_that_works") else {
        return;
    };
    for (wrong, is_busy, seen) in [
        ("127.0.0.3", true, 1),
        ("127.0.0.3", false, 1),
        // Behind the first of these, where nobody is, comes the one that served.
        ("127.0.0.4,127.0.0.3", false, 0),
    ] {
        names.suspended(0);
        let busy = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_it = busy.clone();
        let (port, _) = someone_who("127.0.0.2", 0, move || {
            match is_it.load(Ordering::Relaxed) {
                true => BUSY,
                false => ACCEPTED,
            }
        });
        let (_, portal) = someone("127.0.0.3", port, PORTAL);
        let mut client = Names::client(port).build().unwrap();
        let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
        names.lead_to("127.0.0.2");
        assert!(sends() && sends());
        names.lead_to(wrong);
        // It is asked after a bad answer, or for a new connection, when what is known is old.
        busy.store(is_busy, Ordering::Relaxed);
        names.suspended(if is_busy { 0 } else { 400 });
        let first = [sends(), sends()];
        busy.store(false, Ordering::Relaxed);
        assert_eq!(first, [seen == 0, !is_busy], "{wrong}");
        assert_eq!(portal.load(Ordering::Relaxed), seen, "{wrong}");
        // The way back, whatever the name service says, and for good.
        assert!(sends() && sends(), "{wrong}");
        names.suspended(800);
        assert!(sends() && sends(), "{wrong}");
        assert_eq!(portal.load(Ordering::Relaxed), seen, "{wrong}");
        // A service that moves then is found all the same.
        let (_, moved) = someone("127.0.0.5", port, ACCEPTED);
        names.lead_to("127.0.0.5");
        busy.store(true, Ordering::Relaxed);
        assert!(!sends() && sends() && sends(), "{wrong}");
        assert_eq!(moved.load(Ordering::Relaxed), 2);
    }
}

/// The name service is wrong, each time in another way, and somebody answers at each of these addresses.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn names_that_are_wrong_each_time_take_no_way_that_works() {
    let Some(names) = Names::alone("names_that_are_wrong_each_time_take_no_way_that_works") else {
        return;
    };
    let (port, _) = someone("127.0.0.2", 0, ACCEPTED);
    let mut client = Names::client(port).build().unwrap();
    let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
    names.lead_to("127.0.0.2");
    names.suspended(0);
    assert!(sends());
    let mut wrong = 10..;
    for time in [400, 800] {
        names.suspended(time);
        let answers: Vec<_> = (0..3)
            .map(|_| {
                let address = format!("127.0.0.{}", wrong.next().unwrap());
                let _ = someone(&address, port, PORTAL);
                names.lead_to(&address);
                sends()
            })
            .collect();
        assert_eq!(answers, [false, true, true]);
    }
}

/// The name service is wrong just as the service fails, and who is there gives a reason to stop (a portal redirects, a gateway of somebody else
/// knows no such keys): that is no reason while the address that served has its turn, at once. The reason counts where that one stays away, and
/// three times in a row before it does.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_stranger_stops_nobody() {
    let Some(names) = Names::alone("a_stranger_stops_nobody") else {
        return;
    };
    const REFUSED: &str =
        "HTTP/1.1 400 x\r\ncontent-length: 25\r\n\r\n{\"error_code\":\"DLI.0001\"}";
    for (answer, served, stop, outcome) in [
        (
            ACCEPTED,
            Outcome::Accepted,
            "HTTP/1.1 302 x\r\ncontent-length: 0\r\n\r\n",
            Outcome::Misconfigured,
        ),
        // A refusal is the service's own word as well.
        (
            REFUSED,
            Outcome::Refused,
            "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n",
            Outcome::Credentials,
        ),
    ] {
        let busy = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_it = busy.clone();
        let (port, _) = someone_who("127.0.0.2", 0, move || {
            match is_it.load(Ordering::Relaxed) {
                true => BUSY,
                false => answer,
            }
        });
        let (_, stranger) = someone("127.0.0.3", port, stop);
        names.suspended(0);
        let builder = Names::client(port).max_idle(Duration::ZERO);
        let mut client = builder.build().unwrap();
        let mut sends = || client.send_encoded(b"{}").unwrap().outcome;
        names.lead_to("127.0.0.2");
        assert_eq!(sends(), served);
        names.lead_to("127.0.0.3");
        // Once more after it served again, and the stranger's pause.
        for asleep in [0, 70] {
            names.suspended(asleep);
            busy.store(true, Ordering::Relaxed);
            assert_eq!(sends(), Outcome::TryAgain);
            for _ in 0..3 {
                assert_eq!(sends(), Outcome::NotUnderstood, "{stop}");
                assert_eq!(sends(), Outcome::TryAgain, "{stop}");
            }
            assert_eq!(sends(), outcome, "{stop}");
            busy.store(false, Ordering::Relaxed);
            assert_eq!(sends(), served, "{stop}");
        }
        assert_eq!(stranger.load(Ordering::Relaxed), 8);
        // With no other address known it is believed at once.
        let mut client = Names::client(port).build().unwrap();
        let reply = client.send_encoded(b"{}").unwrap();
        assert_eq!(reply.outcome, outcome, "{stop}");
    }
}

/// Nor does the proxy of somebody else that wants to know who asks.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_strange_proxy_stops_nobody() {
    let Some(names) = Names::alone("a_strange_proxy_stops_nobody") else {
        return;
    };
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let proxy = |listener: std::net::TcpListener, answer: &'static str| {
        let fails = fails.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let fails = fails.clone();
                thread::spawn(move || {
                    read_until(&mut stream, b"\r\n\r\n");
                    let answer = match fails.load(Ordering::Relaxed) {
                        true if answer.starts_with("200") => "502 x",
                        _ => answer,
                    };
                    let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
                    if read_until(&mut stream, b"}").ends_with(b"}") {
                        let _ = stream.write_all(ACCEPTED.as_bytes());
                    }
                });
            }
        });
    };
    let known = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = known.local_addr().unwrap().port();
    let strange = std::net::TcpListener::bind(("127.0.0.3", port)).unwrap();
    proxy(known, "200 OK");
    proxy(strange, "407 x");
    let builder = Client::builder("http://gateway.example", "p").allow_plain_http();
    let builder = builder.proxy(&format!("http://proxy.example:{port}"));
    let mut client = builder.max_idle(Duration::ZERO).build().unwrap();
    let mut sends = || match client.send_encoded(b"{}") {
        Ok(reply) => (!reply.is_accepted()).then_some(Code::MayHaveArrived),
        Err(error) => Some(error.code()),
    };
    names.lead_to("127.0.0.2");
    assert_eq!(sends(), None);
    names.lead_to("127.0.0.3");
    fails.store(true, Ordering::Relaxed);
    for _ in 0..4 {
        assert_eq!(sends(), Some(Code::NotSent));
    }
    fails.store(false, Ordering::Relaxed);
    assert_eq!(sends(), None);
}

/// A busy service keeps the connection over which it served within the last minute, also where its name has another address.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_busy_service_keeps_its_connection_for_a_minute() {
    let Some(names) = Names::alone("a_busy_service_keeps_its_connection_for_a_minute") else {
        return;
    };
    let told = AtomicUsize::new(0);
    let told = Arc::new(told);
    let (port, _) = someone_who("127.0.0.2", 0, move || {
        match told.fetch_add(1, Ordering::Relaxed) {
            0 => ACCEPTED,
            _ => "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
        }
    });
    let (_, other) = someone("127.0.0.3", port, ACCEPTED);
    let mut client = Names::client(port).build().unwrap();
    let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
    names.lead_to("127.0.0.2,127.0.0.3");
    names.suspended(0);
    assert!(sends());
    names.suspended(50);
    assert!(!sends() && !sends());
    assert_eq!(other.load(Ordering::Relaxed), 0);
    names.suspended(61);
    assert!(sends());
    assert_eq!(other.load(Ordering::Relaxed), 1);
}

/// A tunnel leads to where the proxy found the service when it was made: one that answers badly is not used again, unless it was good within
/// the last minute. So a busy service costs no new tunnel for each of its answers.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_tunnel_that_answers_badly_is_made_anew() {
    let Some(time) = Names::alone("a_tunnel_that_answers_badly_is_made_anew") else {
        return;
    };
    let (tell, told) = std::sync::mpsc::channel();
    let proxy = raw_server(move |mut stream| {
        let tell = tell.clone();
        thread::spawn(move || {
            tell.send(()).unwrap();
            read_until(&mut stream, b"\r\n\r\n");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let good = "HTTP/1.1 400 x\r\ncontent-length: 25\r\n\r\n{\"error_code\":\"DLI.0001\"}";
            let bad = "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n";
            for answer in [bad, good, bad, bad, bad, bad] {
                if !read_until(&mut stream, b"}").ends_with(b"}") {
                    return;
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    });
    time.suspended(0);
    let builder = Client::builder("http://gateway.example", "p").proxy(&proxy);
    let builder = builder.max_idle(Duration::from_secs(3600));
    let mut client = builder.allow_plain_http().build().unwrap();
    let mut sends = |expected| {
        let reply = client.send_encoded(b"{}").unwrap();
        assert_eq!(reply.outcome, expected);
    };
    // Bad from the start, and good a while later.
    sends(Outcome::TryAgain);
    time.suspended(59);
    sends(Outcome::Refused);
    time.suspended(110);
    sends(Outcome::TryAgain);
    sends(Outcome::TryAgain);
    assert_eq!(told.try_iter().count(), 1);
    time.suspended(120);
    sends(Outcome::TryAgain);
    assert_eq!(told.try_iter().count(), 0);
    sends(Outcome::TryAgain);
    sends(Outcome::Refused);
    assert_eq!(told.try_iter().count(), 1);
}

/// Addresses do not serve new connections for ever; one that lives needs none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn old_addresses_are_looked_up_for_a_new_connection() {
    let Some(names) = Names::alone("old_addresses_are_looked_up_for_a_new_connection") else {
        return;
    };
    let day = Duration::from_secs(86_400);
    for (idle, lookups) in [(day, 0), (Duration::ZERO, 1)] {
        names.suspended(0);
        let (port, before) = someone("127.0.0.2", 0, ACCEPTED);
        let (_, now) = someone("127.0.0.3", port, ACCEPTED);
        let mut client = Names::client(port).max_idle(idle).build().unwrap();
        let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
        names.lead_to("127.0.0.2");
        assert!(sends() && sends());
        assert_eq!(names.lookups(), 1);
        names.suspended(400);
        // In vain: the old one serves, and is not asked about each time.
        names.lead_to("dead");
        assert!(sends() && sends());
        assert_eq!(names.lookups(), lookups);
        names.suspended(800);
        names.lead_to("127.0.0.3");
        assert!(sends() && sends());
        assert_eq!(names.lookups(), lookups);
        let counts = [before, now].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, if lookups == 0 { [6, 0] } else { [4, 2] });
    }
}

/// Some of a name's addresses take connections and answer badly: the next connection goes to another, also where look-ups fail.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_address_that_answers_badly_is_tried_last() {
    let Some(names) = Names::alone("an_address_that_answers_badly_is_tried_last") else {
        return;
    };
    let all = "127.0.0.2,127.0.0.4,127.0.0.3";
    for then in [all, "dead"] {
        let bad = "HTTP/1.1 502 x\r\ncontent-length: 0\r\n\r\n";
        let (port, _) = someone("127.0.0.2", 0, bad);
        let (_, _) = someone("127.0.0.4", port, bad);
        let (_, good) = someone("127.0.0.3", port, ACCEPTED);
        let builder = Names::client(port).max_idle(Duration::ZERO);
        let mut client = builder.build().unwrap();
        let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
        names.lead_to(all);
        assert!(!sends());
        names.lead_to(then);
        assert!(!sends());
        assert!(sends() && sends(), "{then}");
        assert_eq!(good.load(Ordering::Relaxed), 2);
    }
}

/// A name that leads to somebody else for ever, beside a service that is busy at times: each has its turn once, and again after pauses that grow.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_address_that_never_serves_is_tried_after_pauses_that_grow() {
    const THIS: &str = "an_address_that_never_serves_is_tried_after_pauses_that_grow";
    let Some(names) = Names::alone(THIS) else {
        return;
    };
    let told = Arc::new(AtomicUsize::new(0));
    let has_moved = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let [here, there] = [(); 2].map(|()| has_moved.clone());
    let (port, _) = someone_who("127.0.0.2", 0, move || {
        let is_odd = told.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        match here.load(Ordering::Relaxed) || is_odd {
            true => BUSY,
            false => ACCEPTED,
        }
    });
    let (_, stranger) = someone_who("127.0.0.3", port, move || {
        match there.load(Ordering::Relaxed) {
            true => ACCEPTED,
            false => PORTAL,
        }
    });
    let builder = Names::client(port).max_idle(Duration::ZERO);
    let mut client = builder.build().unwrap();
    let mut sends = || client.send_encoded(b"{}").unwrap().is_accepted();
    names.suspended(0);
    names.lead_to("127.0.0.2");
    assert!(sends());
    names.lead_to("127.0.0.3");
    for (at, tried) in [
        (0, 1),
        (50, 1),
        (70, 2),
        (180, 2),
        (200, 3),
        (430, 3),
        (450, 4),
        // An hour is the longest.
        (10_000, 5),
        (20_000, 6),
        (30_000, 7),
        (33_700, 8),
    ] {
        names.suspended(at);
        for _ in 0..20 {
            sends();
        }
        assert_eq!(stranger.load(Ordering::Relaxed), tried, "at {at} s");
    }
    // As long as the service is where it was: it may move to what was avoided.
    has_moved.store(true, Ordering::Relaxed);
    let found = (0..10).position(|_| sends());
    assert!(found.is_some() && sends());
}

/// An address that takes no connections costs its half of the time once, also beside one that is busy at times.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_dead_address_is_tried_after_the_one_that_answered() {
    let Some(names) = Names::alone("a_dead_address_is_tried_after_the_one_that_answered") else {
        return;
    };
    let dead = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let address = dead.local_addr().unwrap();
    // Until its queue is full: then the system answers no more.
    let soon = Duration::from_millis(500);
    let connects = || std::net::TcpStream::connect_timeout(&address, soon).ok();
    let _queue: Vec<_> = std::iter::from_fn(connects).collect();
    let told = Arc::new(AtomicUsize::new(0));
    let (_, lives) = someone_who("127.0.0.3", address.port(), move || {
        match told.fetch_add(1, Ordering::Relaxed) {
            1 | 3 => BUSY,
            _ => ACCEPTED,
        }
    });
    names.suspended(0);
    names.lead_to("127.0.0.2,127.0.0.3");
    let connect = Duration::from_secs(6);
    let builder = Names::client(address.port()).connect_timeout(connect);
    let mut client = builder.max_idle(Duration::ZERO).build().unwrap();
    let mut took = Vec::new();
    for is_accepted in [true, false, true, false, true] {
        let began = Instant::now();
        let reply = client.send_encoded(b"{}").unwrap();
        assert_eq!(reply.is_accepted(), is_accepted);
        took.push(began.elapsed());
    }
    assert_eq!(lives.load(Ordering::Relaxed), 5);
    assert!(took[0] >= connect / 2 && took[0] < connect, "{took:?}");
    assert!(took[1..].iter().all(|one| *one < connect / 2), "{took:?}");
}
