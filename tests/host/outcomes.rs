//! What the client says became of a report, at the borders: two attempts, early answers, timeouts, addresses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]
#![cfg(feature = "http")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod alone;
mod raw;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use edge_report::{Client, ClientBuilder, Code, NotSentKind, Outcome, SendError};
use raw::{raw_server, read_until};

const ACCEPTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}";
const TOO_LARGE: &str = "HTTP/1.1 413 x\r\ncontent-length: 25\r\n\r\n{\"error_code\":\"DLI.0001\"}";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url, "project").min_rate(u32::MAX)
}

fn client(url: &str) -> Client {
    builder(url).build().unwrap()
}

fn outcome(client: &mut Client, body: &[u8]) -> Result<Outcome, SendError> {
    client.send_encoded(body).map(|reply| reply.outcome)
}

/// Answers the first request; reads the second whole, then closes the connection, and the port before it.
fn closes_after_the_second() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_until(&mut stream, b"1}");
        stream.write_all(ACCEPTED.as_bytes()).unwrap();
        let second = read_until(&mut stream, b"2}");
        drop(listener);
        tell.send(second).unwrap();
        drop(stream);
    });
    (url, told)
}

/// The first attempt arrived on a kept connection; that the second is refused says nothing of it.
#[test]
fn what_arrived_first_is_not_called_unsent_by_a_second_attempt() {
    let (url, told) = closes_after_the_second();
    let mut client = client(&url);
    assert_eq!(outcome(&mut client, b"{1}"), Ok(Outcome::Accepted));
    let second = outcome(&mut client, b"{2}").unwrap_err();
    assert!(told.recv().unwrap().ends_with(b"{2}"), "it arrived");
    assert_eq!(second.code(), Code::MayHaveArrived, "{second}");
    let third = outcome(&mut client, b"{3}").unwrap_err();
    assert_eq!(third.code(), Code::NotSent, "{third}");
}

/// Writes `answer` when the head came, and reads no more. Then `after`.
fn answers_early(answer: &'static str, after: fn(TcpStream)) -> String {
    raw_server(move |mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(answer.as_bytes());
        after(stream);
    })
}

/// With unread bytes in the socket, so that it resets the connection.
fn close(stream: TcpStream) {
    drop(stream);
}

fn keep_silent(stream: TcpStream) {
    thread::spawn(move || {
        thread::sleep(ms(5000));
        drop(stream);
    });
}

/// As nginx does: reads what comes, and throws it away.
fn drain(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn an_early_refusal_is_read_whatever_the_server_does_then() {
    let large = vec![b' '; 8 * 1024 * 1024];
    for (after, name) in [
        (close as fn(TcpStream), "close"),
        (keep_silent, "silent"),
        (drain, "drain"),
    ] {
        for _ in 0..5 {
            let url = answers_early(TOO_LARGE, after);
            let mut client = builder(&url).send_timeout(ms(400)).build().unwrap();
            let result = outcome(&mut client, &large);
            assert_eq!(result, Ok(Outcome::Refused), "{name}");
        }
    }
}

/// Nothing is spent on a body that nobody reads any more.
#[test]
fn after_an_early_refusal_the_rest_is_not_sent() {
    let (tell, told) = channel();
    let url = raw_server(move |mut stream| {
        let mut got = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(TOO_LARGE.as_bytes()).unwrap();
        let mut part = vec![0; 1 << 16];
        while let Ok(n @ 1..) = stream.read(&mut part) {
            // A link of some MB/s.
            thread::sleep(ms(1));
            got += n;
        }
        tell.send(got).unwrap();
    });
    let large = vec![b' '; 12 * 1024 * 1024];
    let mut client = client(&url);
    assert_eq!(outcome(&mut client, &large), Ok(Outcome::Refused));
    drop(client);
    let got = told.recv().unwrap();
    assert!(got < large.len() / 2, "{got} bytes came");
}

#[test]
fn an_early_success_is_no_acceptance() {
    let large = vec![b' '; 8 * 1024 * 1024];
    for after in [close, keep_silent, drain] {
        let url = answers_early(ACCEPTED, after);
        let mut client = builder(&url).send_timeout(ms(400)).build().unwrap();
        let error = outcome(&mut client, &large).unwrap_err();
        assert_eq!(error.code(), Code::MayHaveArrived);
        assert!(error.to_string().contains("200 came before"), "{error}");
    }
}

/// Answers in front of the answer are neither it nor an early one.
#[test]
fn interim_responses_are_passed_over() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\nX-Request-Id: 7\r\n\r\n",
        "HTTP/1.0 100 Continue\r\nServer: x\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ] {
        for (len, early) in [
            (2, false),
            (8 * 1024 * 1024, true),
            (8 * 1024 * 1024, false),
        ] {
            let url = raw_server(move |mut stream| {
                if early {
                    // In the middle of the request.
                    let _ = stream.read(&mut [0; 4096]);
                    for part in interim.as_bytes().chunks(9) {
                        stream.write_all(part).unwrap();
                        thread::sleep(ms(2));
                    }
                }
                read_until(&mut stream, b"}");
                let rest = if early {
                    ACCEPTED.to_string()
                } else {
                    interim.to_string() + ACCEPTED
                };
                for part in rest.as_bytes().chunks(13) {
                    stream.write_all(part).unwrap();
                    thread::sleep(ms(1));
                }
            });
            let mut body = vec![b' '; len];
            *body.last_mut().unwrap() = b'}';
            let result = outcome(&mut client(&url), &body);
            assert_eq!(result, Ok(Outcome::Accepted), "{interim:?} {len} {early}");
        }
    }
}

/// Many of them at once, and the last in two parts, in the middle of the request.
#[test]
fn many_interim_responses_at_once_are_passed_over() {
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    for many in [100, 220, 240, 280, 310, 400, 630] {
        let url = raw_server(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let (part, rest) = INTERIM.split_at(10);
            let all = INTERIM.repeat(many) + part;
            stream.write_all(all.as_bytes()).unwrap();
            read_until(&mut stream, b"}");
            let rest = rest.to_string() + ACCEPTED;
            stream.write_all(rest.as_bytes()).unwrap();
        });
        let mut body = vec![b' '; 8 * 1024 * 1024];
        *body.last_mut().unwrap() = b'}';
        let result = outcome(&mut client(&url), &body);
        assert_eq!(result, Ok(Outcome::Accepted), "{many}");
    }
}

/// Each timeout by itself, with its text, and none later than said.
#[test]
fn each_timeout_says_what_it_met() {
    let silent = raw_server(keep_silent);
    let never_ends = raw_server(|mut stream| {
        read_until(&mut stream, b"}");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_");
        keep_silent(stream);
    });
    let begun = raw_server(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 413 Pay");
        keep_silent(stream);
    });
    let interim = raw_server(|mut stream| {
        read_until(&mut stream, b"}");
        let _ = stream.write_all(b"HTTP/1.1 102 x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        keep_silent(stream);
    });
    let no_tls = silent.replace("http:", "https:");
    let large = vec![b' '; 12 * 1024 * 1024];
    for (url, body, set, at, code, says) in [
        (
            &silent,
            &large[..],
            (|b| b.send_timeout(ms(430))) as fn(ClientBuilder) -> ClientBuilder,
            430,
            Code::MayHaveArrived,
            "bytes went out in 0.4 s, ",
        ),
        (
            &silent,
            b"{}",
            |b| b.response_timeout(ms(515)),
            515,
            Code::MayHaveArrived,
            "no response within 0.5 s after ",
        ),
        (
            &never_ends,
            b"{}",
            |b| b.response_timeout(ms(500)),
            500,
            Code::MayHaveArrived,
            "timeout within the response: 44 bytes of it came",
        ),
        (
            &interim,
            b"{}",
            |b| b.response_timeout(ms(515)),
            515,
            Code::MayHaveArrived,
            "no response within 0.5 s after ",
        ),
        // What the system took need not be there.
        (
            &begun,
            &large[..400_000],
            |b| b.response_timeout(ms(500)),
            500,
            Code::MayHaveArrived,
            " went out",
        ),
        (
            &no_tls,
            b"{}",
            |b| b.tls_timeout(ms(430)),
            430,
            Code::NotSent,
            "the TLS handshake did not end within 0.4 s",
        ),
        (
            &silent,
            b"{}",
            |b| b.total_timeout(ms(2100)),
            2100,
            Code::MayHaveArrived,
            "no response within 2.1 s",
        ),
        (
            &begun,
            &large[..],
            |b| b.response_timeout(ms(500)),
            500,
            Code::MayHaveArrived,
            " went out before",
        ),
    ] {
        // A busy machine is late by itself, at times; the kernel's own timeouts of sockets come 40 to 200 ms late each time.
        let mut last = String::new();
        let in_time = (0..20).any(|_| {
            let mut client = set(builder(url)).build().unwrap();
            let sleeps = thread::spawn(move || {
                let begin = Instant::now();
                thread::sleep(ms(at));
                begin.elapsed() - ms(at)
            });
            let begin = Instant::now();
            let error = outcome(&mut client, body).unwrap_err();
            let took = begin.elapsed();
            let late = sleeps.join().unwrap();
            assert_eq!(error.code(), code, "{error}");
            last = format!("{error}: {took:?}");
            let has_rate = last.contains(" bytes/s; the report has ");
            assert!(has_rate || !says.contains("no response"), "{error}");
            assert!(took >= ms(at), "{says}: {took:?}");
            // How late it was stands in the text, too.
            last.contains(says) && took < ms(at + 30) + late
        });
        assert!(in_time, "{says}, and not {last}");
    }
}

/// A server that takes `rate` bytes a second, and answers when all came.
fn slow(rate: usize, len: usize) -> String {
    raw_server(move |mut stream| {
        let mut part = vec![0; rate / 20];
        for _ in 0..len.div_ceil(part.len()) {
            if stream.read_exact(&mut part).is_err() {
                return;
            }
            thread::sleep(ms(50));
        }
        // The head's share.
        let _ = stream.read(&mut part);
        let _ = stream.write_all(ACCEPTED.as_bytes());
    })
}

/// What the system took at once is on its way for as long as what it did not: both times grow with the length.
#[test]
fn timeouts_grow_with_the_length() {
    let body = vec![b' '; 400_000];
    let with = |rate| {
        builder(&slow(250_000, body.len()))
            .send_timeout(ms(300))
            .response_timeout(ms(300))
            .total_timeout(ms(700))
            .min_rate(rate)
    };
    let mut client = with(u32::MAX).build().unwrap();
    let error = outcome(&mut client, &body).unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    let mut client = with(200_000).build().unwrap();
    assert_eq!(outcome(&mut client, &body), Ok(Outcome::Accepted));
}

/// The same where the system does not take all at once: the time to send grows, too.
#[test]
fn the_time_to_send_grows_with_the_length() {
    let mut body = vec![b' '; 12 * 1024 * 1024];
    *body.last_mut().unwrap() = b'}';
    for (rate, expected) in [
        (u32::MAX, Err(Code::MayHaveArrived)),
        (500_000, Ok(Outcome::Accepted)),
    ] {
        let url = raw_server(|mut stream| {
            thread::sleep(ms(1000));
            if read_until(&mut stream, b"}").ends_with(b"}") {
                let _ = stream.write_all(ACCEPTED.as_bytes());
            }
        });
        let builder = builder(&url).send_timeout(ms(300)).min_rate(rate);
        let mut client = builder.build().unwrap();
        let result = outcome(&mut client, &body);
        assert_eq!(result.map_err(|error| error.code()), expected, "{rate}");
    }
}

/// What went over a kept connection is sent once more when that ends, within the same time.
#[test]
fn the_second_attempt_has_the_time_that_is_left() {
    let (tell, told) = channel();
    let url = raw_server(move |mut stream| {
        tell.send(()).unwrap();
        thread::spawn(move || {
            read_until(&mut stream, b"1}");
            stream.write_all(ACCEPTED.as_bytes()).unwrap();
            // On the connection that comes then nothing but this report arrives.
            read_until(&mut stream, b"2}");
            thread::sleep(ms(2000));
        });
    });
    let builder = builder(&url).total_timeout(ms(3000));
    let mut client = builder.build().unwrap();
    assert_eq!(outcome(&mut client, b"{1}"), Ok(Outcome::Accepted));
    let begin = Instant::now();
    let error = outcome(&mut client, b"{2}").unwrap_err();
    let took = begin.elapsed();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    assert_eq!(told.try_iter().count(), 2, "{error}");
    assert!(took >= ms(3000) && took < ms(4500), "{took:?}");
}

#[test]
fn timeouts_that_make_no_sense() {
    const DAY: Duration = Duration::from_secs(86_400);
    type Set = fn(ClientBuilder, Duration) -> ClientBuilder;
    let all: [(&str, Set); 5] = [
        ("connect_timeout", ClientBuilder::connect_timeout),
        ("tls_timeout", ClientBuilder::tls_timeout),
        ("send_timeout", ClientBuilder::send_timeout),
        ("response_timeout", ClientBuilder::response_timeout),
        ("total_timeout", ClientBuilder::total_timeout),
    ];
    let base = || Client::builder("https://a", "project");
    for (name, set) in all {
        for wrong in [
            Duration::ZERO,
            ms(1) - Duration::from_nanos(1),
            DAY + ms(1),
            Duration::MAX,
        ] {
            let error = set(base(), wrong).build().unwrap_err();
            assert_eq!(error.code, Code::OutOfRange);
            assert_eq!(error.detail, format!("{name}: 1 ms to 1 day"));
        }
        for right in [ms(1), DAY] {
            assert!(set(base(), right).build().is_ok());
        }
    }
    assert_eq!(
        base().min_rate(0).build().unwrap_err().code,
        Code::OutOfRange
    );
    assert!(base().min_rate(1).build().is_ok());
    let error = base().max_idle(DAY + ms(1)).build().unwrap_err();
    assert_eq!(error.code, Code::OutOfRange);
    assert!(base().max_idle(Duration::ZERO).build().is_ok());
}

/// Counts connections; answers each request.
fn counting() -> (String, Receiver<()>) {
    let (tell, told) = channel();
    let url = raw_server(move |mut stream| {
        tell.send(()).unwrap();
        thread::spawn(move || {
            while read_until(&mut stream, b"}").ends_with(b"}") {
                let _ = stream.write_all(ACCEPTED.as_bytes());
            }
        });
    });
    (url, told)
}

#[test]
fn an_idle_connection_is_kept_as_long_as_is_set() {
    for (idle, connections) in [(None, 1), (Some(ms(300)), 2), (Some(Duration::ZERO), 3)] {
        let (url, told) = counting();
        let mut builder = builder(&url);
        if let Some(idle) = idle {
            builder = builder.max_idle(idle);
        }
        let mut client = builder.build().unwrap();
        for wait in [0, 0, 600] {
            thread::sleep(ms(wait));
            assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
        }
        assert_eq!(told.try_iter().count(), connections, "{idle:?}");
    }
}

/// 90 s by default, by the clock that goes on while the machine is suspended (tests/shim/suspend.c): a connection of before is not used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_connection_that_was_suspended_for_long_is_not_used_again() {
    const THIS: &str = "a_connection_that_was_suspended_for_long_is_not_used_again";
    let place = tempfile::tempdir().unwrap();
    if !alone::is_alone(THIS, |process| {
        process.env("LD_PRELOAD", shim::shim("suspend", place.path()));
        process.env("SHIM_SUSPENDED", place.path().join("seconds"));
    }) {
        return;
    }
    let file = std::env::var_os("SHIM_SUSPENDED").unwrap();
    let (url, told) = counting();
    let mut client = client(&url);
    let began = edge_report::MonoTime::now();
    let mut made = 0;
    // Since the start, in all.
    for (suspended, connections) in [(0, 1), (80, 1), (175, 2), (250, 2)] {
        shim::tell(file.as_ref(), &suspended.to_string());
        let passed = edge_report::MonoTime::now().since_ms(began);
        assert!(passed >= suspended * 1000, "{passed} ms passed");
        assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
        made += told.try_iter().count();
        assert_eq!(made, connections, "suspended for {suspended} s");
    }
}

/// A second answer that comes with the first, or later, answers nothing.
#[test]
fn leftovers_are_no_answer() {
    for gap in [0, 30] {
        let (tell, told) = channel();
        let url = raw_server(move |mut stream| {
            let tell = tell.clone();
            thread::spawn(move || {
                tell.send(()).unwrap();
                read_until(&mut stream, b"}");
                stream.write_all(ACCEPTED.as_bytes()).unwrap();
                thread::sleep(ms(gap));
                stream.write_all(ACCEPTED.as_bytes()).unwrap();
                read_until(&mut stream, b"}");
            });
        });
        let mut client = client(&url);
        for _ in 0..3 {
            assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
            thread::sleep(ms(60));
        }
        assert_eq!(told.try_iter().count(), 3);
    }
}

/// What a proxy writes behind its 200 is no answer to the request that follows.
#[test]
fn a_proxy_answers_nothing_before_the_request() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"is_success\":true}";
    let proxy = raw_server(move |mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{ok}");
        stream.write_all(answer.as_bytes()).unwrap();
        thread::sleep(ms(300));
        close(stream);
    });
    let through = builder("http://gateway.invalid:80")
        .proxy(&proxy)
        .allow_plain_http()
        .build();
    let mut client = through.unwrap();
    for _ in 0..20 {
        let error = outcome(&mut client, b"{}").unwrap_err();
        assert!(matches!(error, SendError::NotSent { .. }), "{error}");
    }
}

/// A name is as good as where it leads. Of this machine's own, one leads to itself and to loopback addresses.
#[test]
fn plain_http_goes_to_loopback_alone() {
    let (url, told) = counting();
    let port = url.rsplit(':').next().unwrap();
    let mut client = client(&format!("http://localhost:{port}"));
    assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
    assert_eq!(told.try_iter().count(), 1);
    for name in [
        "127.0.0.08",
        "127.0.0.09",
        "127.1",
        "localhost.",
        "gateway.example",
    ] {
        let error = builder(&format!("http://{name}:{port}")).build();
        assert_eq!(error.unwrap_err().code, Code::PlainHttp, "{name}");
    }
}

/// `http://localhost` through a proxy puts tokens on the way to that proxy.
#[test]
fn plain_http_and_a_proxy_must_be_allowed_together() {
    let (_, told) = counting();
    let proxy = "http://127.0.0.1:9";
    let error = builder("http://127.0.0.1:1").proxy(proxy).build();
    assert_eq!(error.unwrap_err().code, Code::PlainHttp);
    assert!(builder("https://127.0.0.1:1").proxy(proxy).build().is_ok());
    let allowed = builder("http://127.0.0.1:1").proxy(proxy);
    assert!(allowed.allow_plain_http().build().is_ok());
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn proxies_that_cannot_work() {
    for proxy in [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:",
        "http://127.0.0.1:-1",
        "http://user:pass@127.0.0.1:65536",
        "http://user:80@127.0.0.1:",
        "http://[::1]:",
        "http://[::1]:x",
        "http://127.0.0.1:1/@proxy.example:3128",
        "http://127.0.0.1:1?@proxy.example:3128",
        "http://127.0.0.1:1#@proxy.example:3128",
        "http://user:pa/ss@proxy.example:3128",
        "http://:80",
        "http://",
        "",
        "socks5://127.0.0.1:1",
        "ftp://127.0.0.1:1",
    ] {
        let built = builder("https://a").proxy(proxy).build();
        assert_eq!(built.err().map(|e| e.code), Some(Code::Proxy), "{proxy}");
    }
    for proxy in [
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://127.0.0.1:65535/",
        "http://user:pass@proxy.example:3128",
        "http://user:p%40:ss@[::1]:3128",
        "http://user:p%2Fs%3Fs%23@proxy.example:3128",
        "http://[::1]",
        "https://proxy.example:443",
        "proxy.example:3128",
    ] {
        let built = builder("https://a").proxy(proxy).build();
        assert!(built.is_ok(), "{proxy}: {:?}", built.err());
    }
}

/// A name service that is silent takes no longer than a connection may.
#[test]
fn addresses_are_tried_in_turn() {
    let (url, _told) = counting();
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    // `localhost` is ::1 as well on many machines, where nobody listens.
    let mut client = client(&format!("http://localhost:{}", address.port()));
    assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
}

/// Interim answers without end, while a long body goes out: the timeouts hold all the same.
#[test]
fn interim_answers_without_end_end_with_the_timeout() {
    let url = raw_server(|mut stream| {
        thread::spawn(move || {
            let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
            let mut part = vec![0; 30_000];
            // Not before the request.
            let _ = stream.read(&mut part);
            // Reads a little, so that the next part of the body goes out.
            while stream.write_all(flood.as_bytes()).is_ok() {
                stream.set_nonblocking(true).unwrap();
                let _ = stream.read(&mut part);
                stream.set_nonblocking(false).unwrap();
            }
        });
    });
    let (tell, told) = channel();
    thread::spawn(move || {
        let builder = builder(&url)
            .send_timeout(ms(500))
            .response_timeout(ms(500));
        let mut client = builder.total_timeout(ms(1000)).build().unwrap();
        let result = outcome(&mut client, &vec![b' '; 4_000_000]);
        tell.send(result.map_err(|error| error.code())).unwrap();
    });
    let result = told.recv_timeout(ms(30_000)).unwrap();
    assert_eq!(result, Err(Code::MayHaveArrived));
}

/// A refusal whose framing is cut is no whole answer of the service.
#[test]
fn a_refusal_that_is_cut_buries_nothing() {
    let body = "{\"error_code\":\"DLI.0001\"}";
    for framing in [
        format!("content-length: 100\r\n\r\n{body}"),
        format!("transfer-encoding: chunked\r\n\r\n19\r\n{body}\r\n"),
        format!("transfer-encoding: chunked\r\n\r\n19\r\n{body}\r\nzz\r\n"),
    ] {
        let answer = format!("HTTP/1.1 400 x\r\n{framing}");
        let url = raw_server({
            let answer = answer.clone();
            move |mut stream| {
                read_until(&mut stream, b"}");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let result = outcome(&mut client(&url), b"{}");
        assert_eq!(result, Ok(Outcome::NotUnderstood), "{answer}");
    }
}

/// Status and headers of an error count without its reason, also where its body is late: what they ask for is heard.
#[test]
fn an_error_whose_body_never_comes_counts() {
    for (status, expected) in [
        (401, Outcome::Credentials),
        (403, Outcome::NotUnderstood),
        (407, Outcome::Misconfigured),
        (503, Outcome::TryAgain),
    ] {
        let url = raw_server(move |mut stream| {
            read_until(&mut stream, b"}");
            let head =
                format!("HTTP/1.1 {status} x\r\nRetry-After: 77\r\ncontent-length: 60\r\n\r\n");
            let _ = stream.write_all((head + "{\"error_code\":\"DLI.0001").as_bytes());
            keep_silent(stream);
        });
        let builder = builder(&url).response_timeout(ms(300));
        let mut client = builder.build().unwrap();
        let reply = client.send_encoded(b"{}").unwrap();
        assert_eq!((reply.outcome, reply.status), (expected, status));
        let asks = reply.retry_after(edge_report::WallTime::now());
        assert_eq!(asks, Some(Duration::from_secs(77)));
    }
}

/// It says what is to be done with such a password, and nothing of it.
#[test]
fn a_proxy_password_with_a_slash() {
    let built = builder("https://a").proxy("http://admin:pa/ss@proxy.example:3128");
    let error = built.build().unwrap_err().to_string();
    assert!(error.contains("/ as %2F"), "{error}");
    assert!(!error.contains("ss@") && !error.contains("pa/"), "{error}");
}

/// Several long reports over one connection, with something in front of each answer or not: what was seen of one says nothing of the next.
#[test]
fn long_reports_on_a_kept_connection() {
    for interim in ["", "HTTP/1.1 103 x\r\nVia: x\r\n\r\n"] {
        let (tell, told) = channel();
        let url = raw_server(move |mut stream| {
            tell.send(()).unwrap();
            thread::spawn(move || {
                while read_until(&mut stream, b"}").ends_with(b"}") {
                    let _ = stream.write_all((interim.to_string() + ACCEPTED).as_bytes());
                }
            });
        });
        let mut client = client(&url);
        let mut body = vec![b' '; 3_000_000];
        *body.last_mut().unwrap() = b'}';
        for _ in 0..3 {
            assert_eq!(outcome(&mut client, &body), Ok(Outcome::Accepted));
        }
        assert_eq!(told.try_iter().count(), 1, "{interim}");
    }
}

/// A kept connection that said anything before it ended had seen the report: it is not sent again at once.
#[test]
fn a_kept_connection_that_spoke_is_not_replaced_at_once() {
    for said in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 2"] {
        let (tell, told) = channel();
        let url = raw_server(move |mut stream| {
            tell.send(()).unwrap();
            thread::spawn(move || {
                read_until(&mut stream, b"}");
                stream.write_all(ACCEPTED.as_bytes()).unwrap();
                read_until(&mut stream, b"}");
                let _ = stream.write_all(said.as_bytes());
            });
        });
        let mut client = client(&url);
        assert_eq!(outcome(&mut client, b"{}"), Ok(Outcome::Accepted));
        let error = outcome(&mut client, b"{}").unwrap_err();
        assert_eq!(error.code(), Code::MayHaveArrived, "{said}: {error}");
        assert_eq!(told.try_iter().count(), 1, "{said}");
    }
}

/// The time to send is over, but an answer has begun; then the connection ends: that is no timeout.
#[test]
fn an_end_after_a_timeout_is_an_end() {
    let url = raw_server(|mut stream| {
        // The first part wakes the sender, who fills the system's buffers then; the second finds him waiting for room alone.
        for part in ["HTTP/1.", "1 413 Pay"] {
            thread::sleep(ms(300));
            let _ = stream.write_all(part.as_bytes());
        }
        thread::spawn(move || {
            thread::sleep(ms(1500));
            drop(stream);
        });
    });
    let builder = builder(&url).send_timeout(ms(1000));
    let mut client = builder.response_timeout(ms(30_000)).build().unwrap();
    let error = outcome(&mut client, &vec![b' '; 12 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived, "{error}");
    assert!(!error.to_string().contains("timeout"), "{error}");
}

/// What went out before the wait for the response went slowly, too.
#[test]
fn the_rate_of_a_timeout_counts_the_sending() {
    let url = raw_server(|mut stream| {
        thread::spawn(move || {
            thread::sleep(ms(1500));
            read_until(&mut stream, b"}");
            keep_silent(stream);
        });
    });
    let mut body = vec![b' '; 12 * 1024 * 1024];
    *body.last_mut().unwrap() = b'}';
    let builder = builder(&url).response_timeout(ms(300));
    let mut client = builder.build().unwrap();
    let began = Instant::now();
    let error = outcome(&mut client, &body).unwrap_err().to_string();
    let took = began.elapsed().as_millis();
    let rate = error.split(" bytes/s").next().unwrap();
    let rate: u128 = rate.rsplit(' ').next().unwrap().parse().unwrap();
    let overall = body.len() as u128 * 1000 / took;
    assert!(rate < 2 * overall, "{error}, within {took} ms");
}

/// Which host, at which address, through which proxy: without what stands in its URL for the proxy alone.
#[test]
fn errors_say_where_it_failed() {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let closes = |answer: &'static str| {
        raw_server(move |mut stream| {
            read_until(&mut stream, b"}");
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Both);
        })
    };
    let asks = raw_server(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let _ = stream.write_all(b"HTTP/1.1 502 Bad\r\n\r\n");
    });
    let asks_at = asks.strip_prefix("http://").unwrap();
    let says = |builder: ClientBuilder| {
        let error = outcome(&mut builder.build().unwrap(), b"{}").unwrap_err();
        error.to_string()
    };
    let (port, proxy) = (free(), free());
    let through = |proxy: &str| {
        let builder = Client::builder("https://gateway.example", "project");
        says(builder.proxy(&format!("http://user:p4ssword@{proxy}")))
    };
    for (said, expected) in [
        (
            says(builder(&format!("https://127.0.0.1:{port}"))),
            format!(
                "not sent: no connection to 127.0.0.1:{port}: Connection refused (os error 111)"
            ),
        ),
        (
            says(builder(&format!("http://[::1]:{port}"))),
            format!("not sent: no connection to [::1]:{port}: "),
        ),
        (
            through(&format!("127.0.0.1:{proxy}")),
            format!(
                "not sent: no connection to the proxy 127.0.0.1:{proxy}: Connection refused (os error 111)"
            ),
        ),
        (
            through(asks_at),
            format!(
                "not sent: no connection through the proxy {asks_at}: proxy server responded 502"
            ),
        ),
        (
            says(builder(&closes(""))),
            "may have arrived: the connection closed before the response".to_string(),
        ),
        (
            says(builder(&closes(
                "HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_",
            ))),
            "may have arrived: the connection closed within the response".to_string(),
        ),
    ] {
        assert!(said.starts_with(&expected), "{said}, and not {expected}");
        assert!(
            !said.contains("p4ssword") && !said.chars().any(char::is_control),
            "{said}"
        );
    }
}

/// One comes whole and the next in part, of every length, while the body goes out.
#[test]
fn interim_responses_come_in_parts_while_a_body_goes_out() {
    for (whole, part) in [
        (6300, 911),
        (6000, 2000),
        (4000, 4000),
        (8000, 8000),
        (500, 7000),
    ] {
        let url = raw_server(move |mut stream| {
            thread::spawn(move || {
                let interim = |len| {
                    format!(
                        "HTTP/1.1 100 Continue\r\nx: {}\r\n\r\n",
                        "7".repeat(len - 30)
                    )
                };
                let (first, second) = (interim(whole), interim(part + 100));
                let mut some = vec![0; 1 << 20];
                let _ = stream.read(&mut some);
                let _ = stream.write_all(first.as_bytes());
                let _ = stream.write_all(&second.as_bytes()[..part]);
                // The client has read that before it wrote the end.
                read_until(&mut stream, b"}");
                let _ = stream.write_all(&second.as_bytes()[part..]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"is_success\":true}",
                );
            });
        });
        let mut large = vec![b' '; 12 * 1024 * 1024];
        large.push(b'}');
        large.remove(0);
        let result = outcome(&mut client(&url), &large);
        assert_eq!(result, Ok(Outcome::Accepted), "{whole} and {part}");
    }
}

/// An interim response without end is given up as such, long before the timeout, and is no connection that closed.
#[test]
fn an_interim_head_without_end_is_given_up() {
    let url = raw_server(|mut stream| {
        thread::spawn(move || {
            read_until(&mut stream, b"}");
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n");
            while stream.write_all(b"x: 7\r\n").is_ok() {}
        });
    });
    let error = outcome(&mut client(&url), b"{}").unwrap_err();
    assert_eq!(error.code(), Code::MayHaveArrived);
    let text = error.to_string();
    assert!(
        !text.contains("closed") && !text.contains("timeout"),
        "{text}"
    );
}

/// What listens at the proxy's port is none, or speaks TLS: its first bytes are shown, safely, and no more.
#[test]
fn a_proxy_that_speaks_no_http_is_named() {
    for (answer, shown) in [
        (&b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"[..], "SSH-2.0-OpenSSH_"),
        (b"\x15\x03\x01\x00\x02\x02F", r"\x15\x03\x01\x00\x02\x02F"),
        (b"\x1b[2J\"\r\n", r#"\x1b[2J\"\r\n"#),
    ] {
        let proxy = raw_server(move |mut stream| {
            read_until(&mut stream, b"\r\n\r\n");
            let _ = stream.write_all(answer);
            thread::spawn(move || read_until(&mut stream, b"}"));
        });
        let at = proxy.strip_prefix("http://").unwrap();
        let builder = Client::builder("https://gateway.example", "project");
        let mut client = builder.proxy(&proxy).build().unwrap();
        let error = outcome(&mut client, b"{}").unwrap_err();
        let says = format!(
            "not sent: no connection through the proxy {at}: its response is not HTTP; it begins \"{shown}\""
        );
        assert_eq!(error.to_string(), says);
        let is_connect =
            matches!(&error, SendError::NotSent { kind, .. } if *kind == NotSentKind::Connect);
        assert!(is_connect, "{error:?}");
    }
}

/// A server that reads nothing and answers without end costs no memory.
#[test]
fn no_more_is_taken_in_than_an_answer_has() {
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let url = raw_server(move |mut stream| {
        let counted = counted.clone();
        thread::spawn(move || {
            let _ = stream.read(&mut [0; 1024]);
            thread::sleep(ms(300));
            let _ = stream.write_all(b"HTTP/1.1 413 x\r\ncontent-length: 999999999999\r\n\r\n");
            while let Ok(len) = stream.write(&[b' '; 65_536]) {
                counted.fetch_add(len, Ordering::Relaxed);
            }
        });
    });
    let large = vec![b' '; 12 * 1024 * 1024];
    let mut client = builder(&url).send_timeout(ms(2000)).build().unwrap();
    assert_eq!(outcome(&mut client, &large), Ok(Outcome::NotUnderstood));
    // What the system holds for both is some megabytes.
    let written = written.load(Ordering::Relaxed);
    assert!(written < 32 << 20, "{written} bytes");
}
