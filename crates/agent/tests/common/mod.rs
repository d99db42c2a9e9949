//! A cluster that does as it is told, and the program as its users run it.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

pub mod agent;
// The receiver's tests have the same authority.
#[path = "../../../receiver/tests/common/ca.rs"]
pub mod ca;
pub mod flink;

use std::thread;
use std::time::{Duration, Instant};

use edge_report::ReportBuf;
use edge_report_receiver::{Accepted, Receiver};

/// What a machine under load may take for anything here.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what happens elsewhere.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it does not come: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The statuses that were reported of a job, in order, without those that only say that it goes on.
pub fn statuses(accepted: &[Accepted], job_id: i64) -> Vec<String> {
    let reports = accepted
        .iter()
        .map(|accepted| ReportBuf::from_json(&accepted.body).unwrap());
    let jobs = reports.flat_map(|report| report.jobs);
    let mut statuses: Vec<String> = jobs
        .filter(|job| job.job_id == Some(job_id))
        .map(|job| job.status)
        .collect();
    statuses.dedup();
    statuses
}

/// Waits until the last status of a job is this one.
pub fn wait_for_status(receiver: &Receiver, job_id: i64, status: &str) -> Vec<String> {
    until(&format!("{job_id} {status}"), || {
        let all = statuses(&receiver.accepted(), job_id);
        all.last().is_some_and(|last| last == status)
    });
    statuses(&receiver.accepted(), job_id)
}
