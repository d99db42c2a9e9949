//! What the tests of the courier share: a device that loses power, reports to put on it, random numbers.
#![allow(dead_code, unused_imports, reason = "each test uses a part")]

/// An error, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

pub(crate) mod account;
pub(crate) mod device;
pub(crate) mod failures;
pub(crate) mod run;

use std::sync::Arc;

use edge_report::courier::{JobKey, JobKeys};
use edge_report::{Job, JobStatus, Report};

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    /// `percent` times out of 100.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A report in bytes, and what newer ones can supersede of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) keys: JobKeys,
    /// It has jobs with an id, and not all of its jobs can be told.
    pub(crate) is_untold: bool,
}

/// A report unlike that of any other `number`.
pub(crate) fn with_report<R>(
    number: u64,
    jobs: &[(i64, JobStatus<'_>)],
    padding: usize,
    use_it: impl FnOnce(&Report<'_>) -> R,
) -> R {
    let metrics: String = (0..padding)
        .map(|i| char::from(b'a' + (i % 26) as u8))
        .collect();
    let list: Vec<_> = jobs
        .iter()
        .map(|&(id, status)| {
            let job = Job::new(status, 1_591_104_868_201);
            let job = if id > 0 { job.with_job_id(id) } else { job };
            if padding > 0 {
                job.with_metrics(&metrics)
            } else {
                job
            }
        })
        .collect();
    let message_id = format!("m-{number}");
    use_it(&Report::new(&message_id, &list))
}

/// The bytes are unlike those of any other `number`.
pub(crate) fn sample(number: u64, jobs: &[(i64, JobStatus<'_>)], padding: usize) -> Sample {
    let bytes = with_report(number, jobs, padding, |report| {
        let mut bytes = vec![0; report.encoded_len()];
        report.encode(&mut bytes).unwrap();
        bytes
    });
    let mut keys = JobKeys::new();
    for &(job_id, status) in jobs {
        if job_id <= 0
            || keys
                .push(JobKey {
                    job_id,
                    is_final: status.is_final(),
                })
                .is_err()
        {
            keys.clear();
            break;
        }
    }
    let has_id = jobs.iter().any(|(job_id, _)| *job_id > 0);
    Sample {
        bytes: bytes.into(),
        is_untold: has_id && keys.is_empty(),
        keys,
    }
}

/// Whether a newer report with `newer` says more of this job.
pub(crate) fn says_more(newer: &JobKeys, of: &JobKey) -> bool {
    newer
        .iter()
        .any(|key| key.job_id == of.job_id && (key.is_final || !of.is_final))
}
