//! What is encoded and checked, as every peer sees it: through serde, borrowed.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// W1 a documented sample · W2 a heartbeat · W3 100 jobs with metrics · W4 a stack trace · W5 a plan · W6 Chinese text · W7 100,000 small jobs.
pub const NAMES: [&str; 7] = ["W1", "W2", "W3", "W4", "W5", "W6", "W7"];

/// The most jobs of [`jobs`] that surely fit into one report.
pub const JOBS_PER_REPORT: usize = 100_000;

/// The canonical bytes of a workload.
pub fn bytes(name: &str) -> Option<Vec<u8>> {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/vectors/workloads/", $name)).to_vec()
        };
    }
    Some(match name {
        "W1" => file!("W1.json"),
        "W2" => file!("W2.json"),
        "W3" => file!("W3.json"),
        "W4" => file!("W4.json"),
        "W5" => file!("W5.json"),
        "W6" => file!("W6.json"),
        "W7" => jobs(0, JOBS_PER_REPORT),
        _ => return None,
    })
}

/// A report of `count` small jobs, the ids and times of which rise from job to job.
pub fn jobs(first: usize, count: usize) -> Vec<u8> {
    let mut text = b"{\"jobs\":[".to_vec();
    for n in first..first + count {
        let comma = if n == first { "" } else { "," };
        let (id, time) = (n + 1, 1_591_104_868_201 + 1000 * n as u64);
        let (records, bytes) = (n * 7919 % 1_000_000, n * 104_729 % 100_000_000);
        write!(
            text,
            r#"{comma}{{"job_id":{id},"status":"job_running","create_time":{time},"metrics":"{{\"records\":{records},\"bytes\":{bytes}}}"}}"#
        )
        .expect("memory takes all");
    }
    text.extend_from_slice(br#"],"message_id":"0190163d-8694-739b-aea5-966c26f8ad91"}"#);
    text
}

#[derive(Serialize, Deserialize)]
pub struct Report<'a> {
    #[serde(borrow)]
    pub jobs: Vec<Job<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_confirm_topic: Option<Text<'a>>,
    pub message_id: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub struct Job<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<i64>,
    #[serde(borrow)]
    pub status: Text<'a>,
    pub create_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<Exceptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Exceptions<'a> {
    Text(Text<'a>),
    Detail(Detail<'a>),
}

#[derive(Serialize, Deserialize)]
pub struct Detail<'a> {
    #[serde(borrow)]
    pub error_id: Text<'a>,
    pub error_type: Text<'a>,
    pub error_cause: Text<'a>,
    pub exception: Text<'a>,
    pub error_time: Text<'a>,
}

/// Borrowed where nothing is escaped, also inside of an `Option`.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

fn text<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    text.as_ref().map(|text| &*text.0)
}

impl<'de: 'a, 'a> Deserialize<'de> for Exceptions<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrDetail)
    }
}

/// Without the buffer of `#[serde(untagged)]`.
struct TextOrDetail;

impl<'de> Visitor<'de> for TextOrDetail {
    type Value = Exceptions<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an object")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Exceptions::Text(Text(text.into())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Exceptions::Text(Text(text.to_owned().into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Detail::deserialize(MapAccessDeserializer::new(map)).map(Exceptions::Detail)
    }
}

impl<'a> Report<'a> {
    pub fn read(bytes: &'a [u8]) -> Self {
        serde_json::from_slice(bytes).expect("a workload is a report")
    }

    /// Each part as its length, a line break, its bytes and a line break; an absent one as `-` and a line break. In this order:
    /// topic, message id, number of jobs; of each job: id, status, time, exceptions as text, the five parts of exceptions as an
    /// object, metrics, plan.
    pub fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |part: Option<&str>| match part {
            Some(text) => out.extend_from_slice(format!("{}\n{text}\n", text.len()).as_bytes()),
            None => out.extend_from_slice(b"-\n"),
        };
        put(text(&self.msg_confirm_topic));
        put(Some(&self.message_id.0));
        put(Some(&self.jobs.len().to_string()));
        for job in &self.jobs {
            put(job.job_id.map(|id| id.to_string()).as_deref());
            put(Some(&job.status.0));
            put(Some(&job.create_time.to_string()));
            let (plain, detail) = match &job.exceptions {
                None => (None, None),
                Some(Exceptions::Text(text)) => (Some(&*text.0), None),
                Some(Exceptions::Detail(detail)) => (None, Some(detail)),
            };
            put(plain);
            put(detail.map(|d| &*d.error_id.0));
            put(detail.map(|d| &*d.error_type.0));
            put(detail.map(|d| &*d.error_cause.0));
            put(detail.map(|d| &*d.exception.0));
            put(detail.map(|d| &*d.error_time.0));
            put(text(&job.metrics));
            put(text(&job.plan));
        }
        out
    }

    /// The jobs, for [`ours`](Self::ours).
    pub fn our_jobs(&self) -> Vec<edge_report::Job<'_>> {
        self.jobs.iter().map(Job::ours).collect()
    }

    pub fn ours<'r>(&'r self, jobs: &'r [edge_report::Job<'r>]) -> edge_report::Report<'r> {
        let mut ours = edge_report::Report::new(&self.message_id.0, jobs);
        ours.msg_confirm_topic = text(&self.msg_confirm_topic);
        ours
    }
}

impl Job<'_> {
    fn ours(&self) -> edge_report::Job<'_> {
        let status = edge_report::JobStatus::from_name(&self.status.0);
        let mut ours = edge_report::Job::new(status, self.create_time);
        ours.job_id = self.job_id;
        ours.exceptions = self.exceptions.as_ref().map(Exceptions::ours);
        ours.metrics = text(&self.metrics);
        ours.plan = text(&self.plan);
        ours
    }
}

impl Exceptions<'_> {
    fn ours(&self) -> edge_report::Exceptions<'_> {
        match self {
            Exceptions::Text(text) => edge_report::Exceptions::Text(&text.0),
            Exceptions::Detail(detail) => {
                let (id, kind) = (&detail.error_id.0, &detail.error_type.0);
                let mut ours = edge_report::JobException::new(id, kind, &detail.error_cause.0);
                ours.exception = &detail.exception.0;
                ours.error_time = edge_report::ErrorTime::Text(&detail.error_time.0);
                edge_report::Exceptions::Detail(ours)
            }
        }
    }
}
