//! After an outage: how soon each job is current, and how soon nothing waits.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Backlog, Courier, Durability, Policy};
use edge_report::{Client, Job, JobStatus, MonoTime, Pause, Report, Spool, SpoolOptions};

use crate::{Result, device, median};

const REPORTS: usize = 100_000;
const JOBS: usize = 100;
const ROUNDS: usize = 5;

pub(crate) fn run(dir: &Path, part: usize) -> Result<()> {
    let reports = REPORTS / part;
    println!(
        "{reports} reports on {JOBS} jobs wait on {}, and are sent over one connection of this machine\n",
        device::describe(dir)
    );
    println!(
        "| backlog | requests | bytes, of all | each job is current after | nothing waits after | of sending alone |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, backlog) in [
        ("KeepAll", Backlog::KeepAll),
        ("LatestPerJob", Backlog::LatestPerJob),
    ] {
        // What else the machine does meets both, round by round.
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let alone = alone(reports)?;
            let dir = dir.join(format!("{name}-{round}"));
            rounds.push((alone, waited(&dir, backlog, reports)?));
        }
        let of = |what: &dyn Fn(&(Duration, Waited)) -> f64| median(rounds.iter().map(what));
        println!(
            "| {name} | {} | {:.2} % | {:.3} s | {:.2} s | {:.2} |",
            of(&|(_, waited)| waited.requests as f64),
            of(&|(_, waited)| waited.share * 100.0),
            of(&|(_, waited)| waited.current.as_secs_f64()),
            of(&|(_, waited)| waited.drained.as_secs_f64()),
            of(&|(alone, waited)| alone.as_secs_f64() / waited.drained.as_secs_f64()),
        );
    }
    println!("\nMedians of {ROUNDS} rounds\n");
    Ok(())
}

struct Waited {
    requests: usize,
    /// Of the bytes that waited.
    share: f64,
    current: Duration,
    drained: Duration,
}

fn waited(dir: &Path, backlog: Backlog, reports: usize) -> Result<Waited> {
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_backlog(backlog);
    let limits =
        SpoolOptions::default().with_durability(Durability::batch(1000, Duration::from_secs(1)));
    let spool = Spool::open(dir, limits)?;
    let mut courier = Courier::with_policy(spool, policy);
    let mut bytes = 0;
    for number in 0..reports {
        with_report(number, |report| {
            bytes += report.encoded_len();
            courier.submit(report, MonoTime::now(), None).map(drop)
        })?;
    }
    courier.flush()?;
    let (url, seen) = server(reports)?;
    let mut client = Client::builder(&url, "project").build()?;
    let begin = Instant::now();
    let pause = client.deliver(&mut courier, begin + Duration::from_secs(600), |_| ())?;
    let drained = begin.elapsed();
    if pause != Pause::Idle {
        return Err(format!("not all arrived: {:?}", courier.status()).into());
    }
    drop(client);
    let seen = seen.recv()?;
    let current = seen.current.ok_or("a job is not current")?;
    drop(courier);
    std::fs::remove_dir_all(dir)?;
    Ok(Waited {
        requests: seen.requests,
        share: seen.bytes as f64 / bytes as f64,
        current: current.duration_since(begin),
        drained,
    })
}

/// Report `number`.
fn with_report<T>(number: usize, run: impl FnOnce(&Report<'_>) -> T) -> T {
    let id = format!("0190163d-8694-739b-aea5-{number:012}");
    let metrics = "7".repeat(200);
    let job_id = i64::try_from(number % JOBS + 1).unwrap_or(1);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)
        .with_job_id(job_id)
        .with_metrics(&metrics)];
    run(&Report::new(&id, &jobs).with_topic("topic"))
}

/// The same requests without a courier.
fn alone(reports: usize) -> Result<Duration> {
    let (url, _seen) = server(reports)?;
    let mut client = Client::builder(&url, "project").build()?;
    let mut time = Duration::ZERO;
    for number in 0..reports {
        let mut buffer = vec![0; 1024];
        let body = with_report(number, |report| {
            report.encode(&mut buffer).map(<[u8]>::to_vec)
        })?;
        let begin = Instant::now();
        let reply = client.send_encoded(&body)?;
        if reply.outcome != edge_report::Outcome::Accepted {
            return Err(reply.to_string().into());
        }
        time += begin.elapsed();
    }
    Ok(time)
}

struct Seen {
    requests: usize,
    bytes: usize,
    /// When the newest report of each job had come.
    current: Option<Instant>,
}

/// Accepts whatever comes over one connection; tells what that was when it ends.
fn server(reports: usize) -> Result<(String, mpsc::Receiver<Seen>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            let mut stream = BufReader::new(stream);
            let mut seen = Seen {
                requests: 0,
                bytes: 0,
                current: None,
            };
            let mut newest: BTreeSet<String> = (reports - JOBS..reports)
                .map(|number| format!("{number:012}\"}}"))
                .collect();
            let mut body = Vec::new();
            while serve(&mut stream, &mut body).is_some() {
                seen.requests += 1;
                seen.bytes += body.len();
                let end = body.len().saturating_sub(14);
                newest.remove(&*String::from_utf8_lossy(&body[end..]));
                if newest.is_empty() && seen.current.is_none() {
                    seen.current = Some(Instant::now());
                }
            }
            let _ = tell.send(seen);
        }
    });
    Ok((url, told))
}

/// One request and its answer.
fn serve(stream: &mut BufReader<std::net::TcpStream>, body: &mut Vec<u8>) -> Option<()> {
    const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"is_success\":true}";
    let (mut line, mut len) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
    }
    body.resize(len, 0);
    stream.read_exact(body).ok()?;
    stream.get_mut().write_all(ACCEPTED).ok()
}
