//! Which reports newer ones supersede.

use super::outbox::JobKey;

/// How many jobs are looked at, 24 bytes of stack each. Reports of further jobs are kept.
const JOBS: usize = if cfg!(feature = "alloc") { 128 } else { 16 };

/// The newest entry of each job.
#[derive(Debug, Default)]
pub(super) struct Newest(heapless::Vec<Latest, JOBS>);

/// What the newest reports say of one job.
#[derive(Clone, Copy, Debug)]
struct Latest {
    job_id: i64,
    newest: u64,
    newest_final: u64,
}

impl Newest {
    pub(super) fn note(&mut self, key: JobKey, seq: u64) {
        let newest_final = if key.is_final { seq } else { 0 };
        match self.0.iter_mut().find(|l| l.job_id == key.job_id) {
            Some(latest) => {
                latest.newest = latest.newest.max(seq);
                latest.newest_final = latest.newest_final.max(newest_final);
            }
            None => {
                let _ = self.0.push(Latest {
                    job_id: key.job_id,
                    newest: seq,
                    newest_final,
                });
            }
        }
    }

    /// Whether newer entries for this job make this one dispensable: for a final one, newer final ones.
    pub(super) fn supersedes(&self, key: JobKey, seq: u64) -> bool {
        let latest = self.0.iter().find(|l| l.job_id == key.job_id);
        latest.is_some_and(|l| l.newest > seq && (!key.is_final || l.newest_final > seq))
    }
}
