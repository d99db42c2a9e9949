//! What is written about the state: which job was reported how (`SPOOL.jobs`), and how things stand (`--metrics-file`).

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use edge_report::MonoTime;
use edge_report::courier::Status;
use edge_report::flink::{Slot, Watch, WatchStatus};

use crate::files::{self, For};
use crate::log;

pub(crate) type Jobs<'s> = Watch<'s, Vec<Slot>, Vec<u8>>;

/// The table of the watch, so that an end is reported once over restarts.
pub(crate) struct Table {
    path: PathBuf,
    is_behind: bool,
}

impl Table {
    pub(crate) fn beside(spool: &str) -> Table {
        Table {
            path: files::beside(Path::new(spool), ".jobs"),
            is_behind: false,
        }
    }

    pub(crate) fn restore(&self, watch: &mut Jobs<'_>) -> Result<(), String> {
        let kept = match fs::read(&self.path) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
            kept => kept.map_err(|why| format!("{}: {why}", self.path.display()))?,
        };
        if let Err(why) = watch.restore(&kept, MonoTime::now()) {
            let what = "some ends are reported again, with the message ids that they had";
            let file = self.path.display();
            log::warn(
                "jobs-file",
                &[("file", &file), ("why", &why), ("so", &what)],
            );
        }
        Ok(())
    }

    /// What is forgotten by a crash before this is reported again under the same message id.
    pub(crate) fn save(&mut self, watch: &mut Jobs<'_>) {
        if !watch.needs_saving() && !self.is_behind {
            return;
        }
        let mut kept = vec![0; watch.saved_len()];
        let len = watch.save(&mut kept).unwrap_or_default();
        let saved = files::replace(&self.path, kept.get(..len).unwrap_or_default(), For::Owner);
        self.is_behind = saved.is_err();
        if let Err(why) = saved {
            let file = self.path.display();
            log::warn("jobs-file", &[("file", &file), ("why", &why)]);
        }
    }
}

/// What was asked of Flink.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
}

/// How things stand, for Prometheus' node exporter.
pub(crate) struct MetricsFile {
    path: PathBuf,
    is_well: bool,
}

impl MetricsFile {
    pub(crate) fn new(path: &str) -> MetricsFile {
        MetricsFile {
            path: path.into(),
            is_well: true,
        }
    }

    pub(crate) fn write(&mut self, jobs: WatchStatus, asked: Asked, status: Option<Status>) {
        let text = metrics(jobs, asked, status);
        let written = files::replace(&self.path, text.as_bytes(), For::All);
        if let (Err(why), true) = (&written, self.is_well) {
            let file = self.path.display();
            log::warn("metrics-file", &[("file", &file), ("why", why)]);
        }
        self.is_well = written.is_ok();
    }
}

fn metrics(jobs: WatchStatus, asked: Asked, status: Option<Status>) -> String {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mut rows = vec![
        (
            "flink_up",
            "gauge",
            u64::from(jobs.is_up),
            "Whether Flink answered the last time.",
        ),
        (
            "flink_requests_total",
            "counter",
            asked.requests,
            "Requests to Flink since the start.",
        ),
        (
            "flink_failures_total",
            "counter",
            asked.failures,
            "Requests without a response of use.",
        ),
        (
            "jobs",
            "gauge",
            count(jobs.jobs),
            "Jobs that are watched, ended ones included.",
        ),
        (
            "jobs_unreported",
            "gauge",
            count(jobs.unreported),
            "Jobs with a change that is not stored yet.",
        ),
        (
            "jobs_unwatched",
            "gauge",
            u64::from(jobs.unwatched),
            "Jobs without room: raise --max-jobs.",
        ),
    ];
    if let Some(status) = status {
        let all = status.counters;
        rows.extend([
            (
                "waiting",
                "gauge",
                status.waiting,
                "Reports that wait in the spool.",
            ),
            (
                "submitted_total",
                "counter",
                all.submitted,
                "Reports stored.",
            ),
            (
                "delivered_total",
                "counter",
                all.delivered,
                "Reports accepted by the service.",
            ),
            (
                "refused_total",
                "counter",
                all.refused,
                "Reports refused by the service.",
            ),
            (
                "expired_total",
                "counter",
                all.expired,
                "Reports that became too old.",
            ),
            (
                "superseded_total",
                "counter",
                all.superseded,
                "Reports dropped for newer ones.",
            ),
            (
                "corrupt_total",
                "counter",
                all.corrupt,
                "Reports lost by the storage.",
            ),
            (
                "dead_letters",
                "gauge",
                all.letters,
                "Dead letters there are.",
            ),
            (
                "dead_letters_dropped_total",
                "counter",
                all.letters_dropped,
                "Dead letters gone for good.",
            ),
            (
                "failures",
                "gauge",
                u64::from(status.failures),
                "Failed attempts in a row.",
            ),
        ]);
    }
    let mut text = String::new();
    for (name, kind, value, help) in rows {
        let name = format!("edge_report_agent_{name}");
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    }
    text
}
