//! The vectors that Rust, C and JavaScript share: real answers of four versions of Flink, and what must become of them.

use std::collections::BTreeMap;
use std::path::Path;

use edge_report::flink::{
    Details, Failure, Metrics, Options, Overview, Plan, ReadError, Slot, State, Step, Watch,
    read_plan,
};
use edge_report::{Encode, MonoTime};
use serde::Deserialize;
use serde_json::{Value, json};

fn bytes_of(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/flink");
    std::fs::read(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A body: of a file, perhaps cut, or written out.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    file: Option<String>,
    cut: Option<usize>,
    text: Option<String>,
    #[serde(default = "ok")]
    status: u16,
}

fn ok() -> u16 {
    200
}

impl Body {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = match (&self.file, &self.text) {
            (Some(file), None) => bytes_of(file),
            (None, Some(text)) => text.clone().into_bytes(),
            _ => panic!("a body is a file or a text"),
        };
        bytes.truncate(self.cut.unwrap_or(usize::MAX));
        bytes
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReaderFile {
    #[serde(rename = "what")]
    _what: Vec<String>,
    cases: Vec<ReaderCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReaderCase {
    name: String,
    reader: String,
    body: Body,
    gives: Value,
}

fn read(reader: &str, body: &[u8]) -> Result<Value, ReadError> {
    let (mut cause, mut exception) = ([0; 512], [0; 2048]);
    let mut failed = |failure: Option<Failure<'_>>| match failure {
        None => Value::Null,
        Some(failure) => json!({
            "cause": failure.cause(&mut cause),
            "exception": failure.exception(&mut exception),
            "time": failure.time,
        }),
    };
    Ok(match reader {
        "overview" => {
            let overview = Overview::read(body)?;
            assert_eq!(overview.len(), overview.jobs().count());
            let jobs = overview.jobs().map(|job| {
                json!([
                    job.jid.to_hex().as_str(),
                    job.name.to_string(),
                    job.state.name(),
                    job.start_time,
                    job.end_time,
                    job.duration,
                    job.last_modification,
                    job.tasks_running,
                    job.tasks_total
                ])
            });
            jobs.collect()
        }
        "details" => {
            let details = Details::read(body)?;
            json!({
                "jid": details.jid.to_hex().as_str(), "name": details.name.to_string(), "state": details.state.name(), "start_time": details.start_time,
                "running_since": details.timestamp(State::Running), "read_records": details.read_records, "write_records": details.write_records,
                "plan_bytes": details.plan.map(str::len),
            })
        }
        "plan" => json!(read_plan(body)?),
        "exceptions" => failed(Failure::read(body)?),
        "errors" => failed(Failure::read_errors(body)?),
        "metrics" => {
            let metrics = Metrics::read(body)?;
            let value = |metric: edge_report::flink::Metric<'_>| {
                json!([
                    metric.id.to_string(),
                    metric.value.map(|value| value.to_string()),
                    metric.number()
                ])
            };
            metrics.iter().map(value).collect()
        }
        other => panic!("no reader {other}"),
    })
}

#[test]
fn readers() {
    let file: ReaderFile = serde_json::from_slice(&bytes_of("readers.json")).unwrap();
    for case in &file.cases {
        let given = match read(&case.reader, &case.body.bytes()) {
            Ok(value) => value,
            Err(error) => {
                json!({"error": error.code().name(), "member": error.member(), "offset": error.offset()})
            }
        };
        assert_eq!(given, case.gives, "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchFile {
    #[serde(rename = "what")]
    _what: Vec<String>,
    cases: Vec<WatchCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchCase {
    name: String,
    #[serde(default)]
    options: OptionsOf,
    phases: Vec<Phase>,
    until: u64,
    events: Vec<Event>,
}

/// What is not there is as it is by default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionsOf {
    poll_ms: Option<u64>,
    heartbeat_ms: Option<u64>,
    exception_bytes: Option<usize>,
    metrics: Option<String>,
    plan: Option<String>,
    node: Option<String>,
}

/// From then on, Flink answers so; to paths that are not there with 404 and nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    from: u64,
    answers: BTreeMap<String, Body>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, untagged)]
enum Event {
    Get { at: u64, get: String },
    Report { at: u64, report: String },
}

#[test]
fn watches() {
    let file: WatchFile = serde_json::from_slice(&bytes_of("watch.json")).unwrap();
    for case in &file.cases {
        assert_eq!(events_of(case), case.events, "{}", case.name);
    }
}

fn events_of(case: &WatchCase) -> Vec<Event> {
    let chosen = &case.options;
    let mut options = Options::default();
    options.poll_ms = chosen.poll_ms.unwrap_or(options.poll_ms);
    options.heartbeat_ms = chosen.heartbeat_ms.unwrap_or(options.heartbeat_ms);
    options.exception_bytes = chosen.exception_bytes.unwrap_or(options.exception_bytes);
    options.metrics = chosen.metrics.as_deref().unwrap_or(options.metrics);
    options.node = chosen.node.as_deref().unwrap_or(options.node);
    options.plan = match chosen.plan.as_deref() {
        None => options.plan,
        Some("never") => Plan::Never,
        Some("always") => Plan::Always,
        Some(other) => panic!("no plan {other}"),
    };
    let mut watch = Watch::new([Slot::EMPTY; 16], vec![0; 16_384], options);
    let (mut at, mut events) = (0, Vec::new());
    while at <= case.until {
        let now = MonoTime::from_ms(at);
        match watch.next(now) {
            Step::Wait(until) => at = until.ms(),
            Step::Get(path) => {
                let get = path.to_owned();
                let phase = case.phases.iter().rfind(|phase| phase.from <= at).unwrap();
                let (status, body) = match phase.answers.get(path) {
                    Some(body) => (body.status, body.bytes()),
                    None => (404, Vec::new()),
                };
                let _ = watch.response(status, &body, now);
                events.push(Event::Get { at, get });
            }
            Step::Report(draft) => {
                let mut bytes = Vec::new();
                draft.report().encode_into(&mut bytes).unwrap();
                watch.reported(true);
                let report = String::from_utf8(bytes).unwrap();
                events.push(Event::Report { at, report });
            }
        }
    }
    events
}
