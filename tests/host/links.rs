//! Reports over slow, long and broken links, made in user space (tests/host/link). All is 10 times faster than in the field: rates,
//! delays, and the client's time-outs.
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
use std::sync::atomic::Ordering;
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
    assert!(error.to_string().contains("time-out"), "{error}");
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
    use std::fs;

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
    let names = |say: &str| {
        // Never half of it.
        fs::write(file.with_extension("new"), say).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
    };
    let lookups = || {
        let threads = fs::read_dir("/proc/self/task").unwrap();
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
        let names = threads.filter_map(|thread| name(thread.unwrap()).ok());
        names.filter(|name| name == "name look-up\n").count()
    };
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
        let why = "no address from the name service within 0.";
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(sends(&mut living), accepted);
        assert_eq!(lookups(), 1, "one that hangs is not begun anew");
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
                while lookups() < hang {
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
    while lookups() > 0 {
        thread::sleep(Duration::from_millis(5));
    }

    // Late, but in time.
    names("hang");
    let mut patient = client(address, Duration::from_secs(60));
    thread::scope(|scope| {
        scope.spawn(|| {
            while lookups() == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(SOON);
            names("");
        });
        assert_eq!(sends(&mut patient), accepted);
    });
    assert_eq!(sends(&mut fresh), accepted);
}
