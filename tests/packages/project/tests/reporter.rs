//! Reports from a program with threads, kept on files until a receiver has them.

use std::time::{Duration, Instant};

use edge_report::courier::{Courier, Policy};
use edge_report::{
    Client, DeliveryEvent, Job, JobStatus, Report, Reporter, Spool, SpoolOptions, WallTime,
};
use edge_report_receiver::{Options, Receiver};

#[test]
fn what_a_reporter_takes_arrives() -> Result<(), Box<dyn std::error::Error>> {
    let receiver = Receiver::start(Options::new())?;
    let dir = std::env::temp_dir().join(format!("project-{}", std::process::id()));
    let spool = Spool::open(&dir, SpoolOptions::default())?;
    let at_once = Policy::default().with_start_spread(Duration::ZERO);
    let client = Client::builder(&receiver.url(), "0a1b2c").build()?;
    let (told, delivered) = std::sync::mpsc::channel();
    let courier = Courier::with_policy(spool, at_once);
    let reporter = Reporter::start(client, courier, move |event| {
        if let DeliveryEvent::Delivered { ticket, .. } = event {
            let _ = told.send(ticket);
        }
    })?;

    let jobs = [Job::new(JobStatus::RUNNING, WallTime::now()).with_job_id(99270)];
    let ticket = reporter.submit(&Report::new("node-7-000002", &jobs))?;
    reporter.flush(Instant::now() + Duration::from_secs(30))?;

    assert_eq!(delivered.recv()?, ticket);
    assert_eq!(receiver.accepted()[0].message_id, "node-7-000002");
    drop(reporter);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
