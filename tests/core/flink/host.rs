//! A host in virtual time: asks the cluster, stores reports, keeps the table.

use edge_report::flink::{Options, Slot, Step, Watch};
use edge_report::{Encode, MonoTime, check};
use serde_json::Value;

use super::cluster::{Answer, Cluster};

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) at: u64,
    pub(crate) message_id: String,
    pub(crate) is_final: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) jobs: Vec<Value>,
}

impl Stored {
    /// `id status`, of each job.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let of = |job: &Value| {
            let status = job["status"].as_str().unwrap();
            format!("{} {}", job["job_id"], status.strip_prefix("job_").unwrap())
        };
        self.jobs.iter().map(of).collect()
    }
}

pub(crate) struct Host<'o> {
    pub(crate) watch: Watch<'o, Vec<Slot>, Vec<u8>>,
    pub(crate) cluster: Cluster,
    pub(crate) now: u64,
    pub(crate) stored: Vec<Stored>,
    /// What was asked, and when.
    pub(crate) asked: Vec<(u64, String)>,
    /// The store is full.
    pub(crate) is_full: bool,
    /// Bytes that were offered and not stored.
    pub(crate) offered: Vec<Vec<u8>>,
    /// How long an answer takes.
    pub(crate) latency: u64,
}

impl<'o> Host<'o> {
    pub(crate) fn new(options: Options<'o>) -> Self {
        Self::sized(options, 16, 8192)
    }

    pub(crate) fn sized(options: Options<'o>, slots: usize, texts: usize) -> Self {
        Host {
            watch: Watch::new(vec![Slot::EMPTY; slots], vec![0; texts], options),
            cluster: Cluster::default(),
            now: 0,
            stored: Vec::new(),
            asked: Vec::new(),
            is_full: false,
            offered: Vec::new(),
            latency: 1,
        }
    }

    pub(crate) fn run_until(&mut self, until: u64) {
        self.run_with(until, |_, _, answer| answer);
    }

    /// Runs, with `twist` between the cluster and the watch.
    pub(crate) fn run_with(
        &mut self,
        until: u64,
        mut twist: impl FnMut(u64, &str, Answer) -> Answer,
    ) {
        let mut steps_at_once = 0;
        loop {
            let now = MonoTime::from_ms(self.now);
            match self.watch.next(now) {
                Step::Wait(at) => {
                    assert!(at.ms() > self.now, "it waits for the past");
                    steps_at_once = 0;
                    if at.ms() > until {
                        self.now = until;
                        return;
                    }
                    self.now = at.ms();
                }
                Step::Get(path) => {
                    let path = path.to_owned();
                    assert!(matches!(self.watch.next(now), Step::Get(again) if again == path));
                    self.asked.push((self.now, path.clone()));
                    let answer = twist(self.now, &path, self.cluster.get(&path, self.now));
                    self.now += self.latency;
                    let now = MonoTime::from_ms(self.now);
                    match answer {
                        Some((status, body)) => {
                            let _ = self.watch.response(status, body.as_bytes(), now);
                        }
                        None => self.watch.failed(now),
                    }
                }
                Step::Report(draft) => {
                    let mut bytes = Vec::new();
                    draft.report().encode_into(&mut bytes).unwrap();
                    assert!(check(&bytes, |_| {}).is_valid());
                    let report: Value = serde_json::from_slice(&bytes).unwrap();
                    assert!(draft.jobs().len() == 1 || !draft.is_final);
                    let stored = Stored {
                        at: self.now,
                        message_id: draft.message_id.to_owned(),
                        is_final: draft.is_final,
                        bytes,
                        jobs: report["jobs"].as_array().unwrap().clone(),
                    };
                    assert_eq!(stored.jobs.len(), draft.jobs().len());
                    match self.is_full {
                        true => self.offered.push(stored.bytes),
                        false => self.stored.push(stored),
                    }
                    self.watch.reported(!self.is_full);
                    steps_at_once += 1;
                    assert!(steps_at_once < 10_000, "it reports without end");
                }
            }
        }
    }

    /// The statuses of all jobs that were stored, each report a list.
    pub(crate) fn told(&self) -> Vec<Vec<String>> {
        self.stored.iter().map(Stored::statuses).collect()
    }

    /// What was stored since it was last asked.
    pub(crate) fn news(&mut self) -> Vec<Stored> {
        std::mem::take(&mut self.stored)
    }

    pub(crate) fn saved(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.watch.saved_len()];
        let len = self.watch.save(&mut bytes).unwrap();
        assert!(!self.watch.needs_saving());
        bytes.truncate(len);
        bytes
    }

    /// The agent starts anew, with the table that was kept.
    pub(crate) fn start_anew(&mut self, options: Options<'o>, kept: &[u8]) {
        let slots = vec![Slot::EMPTY; (self.watch.saved_len() - 45) / 52];
        self.watch = Watch::new(slots, vec![0; 8192], options);
        self.watch
            .restore(kept, MonoTime::from_ms(self.now))
            .unwrap();
    }
}
