//! A minimal agent: it reports what a job does, and what waits survives kills and power cuts.
//!
//! Bare, it delivers to a receiver inside itself, from a spool that it removes in the end:
//!
//!     cargo run -p examples --example agent
//!
//! To a real endpoint, from a spool that stays; without keys for an endpoint that wants none:
//!
//!     cargo run -p examples --example agent -- http://127.0.0.1:8087 0a1b2c SPOOL-DIRECTORY [AK SK]
//!
//! It ends after some reports, once nothing waits, and shows what became of all reports so far.

use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Policy, entropy};
use edge_report::{
    Client, Credentials, DeliveryEvent, Job, JobStatus, Pause, Report, Reporter, Spool,
    SpoolOptions, WallTime,
};
use edge_report_receiver::{Options, Receiver};

const USAGE: &str = "usage: agent [URL PROJECT-ID SPOOL-DIRECTORY [AK SK]]";

/// What Flink says of a made-up job, poll by poll.
const POLLS: [&str; 9] = [
    "INITIALIZING",
    "CREATED",
    "RUNNING",
    "RUNNING",
    "RESTARTING",
    "RECONCILING",
    "RUNNING",
    "CANCELLING",
    "CANCELED",
];
const BETWEEN_POLLS: Duration = Duration::from_millis(50);
const MINUTE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => {
            let receiver = Receiver::start(Options::new())?;
            let spool = std::env::temp_dir().join(format!("agent-{:016x}", entropy()));
            let result = run(&receiver.url(), "example", &spool, Credentials::None);
            std::fs::remove_dir_all(&spool)?;
            result
        }
        [url, project, spool] => run(url, project, Path::new(spool), Credentials::None),
        [url, project, spool, ak, sk] => {
            let keys = Credentials::keys(ak, sk);
            run(url, project, Path::new(spool), keys)
        }
        _ => Err(USAGE.into()),
    }
}

#[allow(clippy::arithmetic_side_effects, reason = "a clock has a minute left")]
fn run(
    url: &str,
    project_id: &str,
    spool: &Path,
    credentials: Credentials<'_>,
) -> Result<(), Box<dyn Error>> {
    let client = Client::builder(url, project_id)
        .credentials(credentials)
        .build()?;
    // So that there is something to see at once. Many nodes that start together should keep the default.
    let policy = Policy::default().with_start_spread(Duration::ZERO);
    let spool = Spool::open(spool, SpoolOptions::default())?;
    let courier = Courier::with_policy(spool, policy);
    let reporter = Reporter::start(client, courier, |event| match event {
        DeliveryEvent::Delivered { .. } => {}
        trouble => eprintln!("{trouble}"),
    })?;
    watch(|report| {
        reporter.submit(report)?;
        Ok(())
    })?;

    // An agent would go on; this one has seen enough.
    while reporter.flush(Instant::now() + MINUTE)? != Pause::Idle {}
    let status = reporter.status();
    println!("{:?}, {} waiting", status.counters, status.waiting);
    reporter.stop()?;
    Ok(())
}

/// Polls the job, and reports what has changed.
fn watch(
    mut submit: impl FnMut(&Report<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let started = WallTime::now().unix_ms();
    // No other run makes the same ids, whatever its clock says.
    let run = entropy();
    let mut last = None;
    for (number, state) in POLLS.iter().enumerate() {
        let status = status(state).or(last);
        if let Some(status) = status.filter(|_| status != last) {
            let message_id = format!("{run:016x}-{number}");
            let jobs = [Job::new(status, started).with_job_id(99270)];
            submit(&Report::new(&message_id, &jobs))?;
            println!("{message_id}: {status}");
        }
        last = status;
        thread::sleep(BETWEEN_POLLS);
    }
    Ok(())
}

/// What to report for a state of Flink's; `None`: nothing new.
fn status(flink: &str) -> Option<JobStatus<'static>> {
    Some(match flink {
        "INITIALIZING" | "CREATED" => JobStatus::SUBMITTING,
        "RUNNING" => JobStatus::RUNNING,
        "RESTARTING" | "FAILING" => JobStatus::RUNNING_EXCEPTION,
        "CANCELLING" => JobStatus::CANCELING,
        "CANCELED" => JobStatus::CANCEL_SUCCESS,
        "FINISHED" => JobStatus::FINISH,
        _ => return None,
    })
}
