//! The watch of a Flink cluster. It stays in an instance of its own, whose end gives back all that it has.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use edge_report::Encode;
use edge_report::flink::{
    ExceptionsAs, Jid, MappedJob, Options, OtherIds, Plan, ResponseError, Slot, Step, Watch,
};
use edge_report::json::Token;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;
use crate::courier::mono;
use crate::members::{members, whole};

/// The first member of the options that it cannot have.
#[wasm_bindgen]
pub fn wrong_in_flink(options: &str) -> Option<String> {
    read_options(options, &[]).err()
}

/// The id to submit a job to Flink with, for a `job_id`.
#[wasm_bindgen]
pub fn flink_jid(job_id: i64) -> String {
    Jid::of_job_id(job_id).to_string()
}

/// Says what to ask of Flink and what to report. `now_ms` is monotonic.
#[wasm_bindgen]
pub struct FlinkWatch(Watch<'static, Vec<Slot>, Vec<u8>>);

#[wasm_bindgen]
impl FlinkWatch {
    /// With room for so many jobs and bytes of texts; `mapped` is an object with a `job_id` for each name or id of Flink's. `None` if there is no memory, or the options have a member
    /// that they cannot have.
    pub fn open(jobs: u32, text_bytes: u32, options: &str, mapped: &str) -> Option<FlinkWatch> {
        let slots = filled(Slot::EMPTY, jobs)?;
        let texts = filled(0, text_bytes)?;
        let mut table = Vec::new();
        members(mapped, |job, id| {
            if let Token::Number(number) = id {
                let job = leak(job.to_string());
                let job_id = number.to_i64().unwrap_or(0);
                table.push(MappedJob { job, job_id });
            }
        });
        let options = read_options(options, Vec::leak(table)).ok()?;
        Some(FlinkWatch(Watch::new(slots, texts, options)))
    }

    /// Whether so many bytes can be taken in: what does not fit into memory would end this module.
    pub fn has_room(&self, len: usize) -> bool {
        Vec::<u8>::new().try_reserve_exact(len).is_ok()
    }

    /// What to do next: `{"step": "get", "path"}`, `{"step": "report", "messageId", "isFinal"}` or `{"step": "wait", "ms"}`.
    pub fn next(&mut self, now_ms: f64) -> String {
        let mut answer = Answer::begin(b'{');
        match self.0.next(mono(now_ms)) {
            Step::Get(path) => {
                answer.text("step", "get");
                answer.text("path", path);
            }
            Step::Report(draft) => {
                answer.text("step", "report");
                answer.text("messageId", draft.message_id);
                answer.flag("isFinal", draft.is_final);
            }
            Step::Wait(until) => {
                answer.text("step", "wait");
                answer.number("ms", until.since_ms(mono(now_ms)));
            }
        }
        answer.end(b'}')
    }

    /// The bytes of the report that `next` says to store.
    pub fn report(&mut self, now_ms: f64) -> Option<Vec<u8>> {
        let Step::Report(draft) = self.0.next(mono(now_ms)) else {
            return None;
        };
        let mut bytes = Vec::new();
        let report = draft.report();
        bytes.try_reserve_exact(report.encoded_len()).ok()?;
        report.encode_into(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Takes a response: `{}`, or why it was of no use.
    pub fn response(&mut self, status: u16, body: &[u8], now_ms: f64) -> String {
        let Err(error) = self.0.response(status, body, mono(now_ms)) else {
            return "{}".into();
        };
        let mut answer = Answer::error(error.code());
        if let ResponseError::Body(error) = error {
            if !error.member().is_empty() {
                answer.text("path", error.member());
            }
            answer.number("offset", error.offset() as u64);
        }
        answer.end(b'}')
    }

    /// No response came.
    pub fn failed(&mut self, now_ms: f64) {
        self.0.failed(mono(now_ms));
    }

    /// Whether the report is stored.
    pub fn reported(&mut self, is_stored: bool) {
        self.0.reported(is_stored);
    }

    /// The agent itself asked this job to stop: whether it is in the table; nothing if that is no id.
    pub fn stop_asked(&mut self, jid: &str) -> Option<bool> {
        Some(self.0.stop_asked(Jid::from_hex(jid)?))
    }

    /// The `job_id` of a job, 0 for none; nothing if that is no id.
    pub fn job_id(&self, jid: &str, name: &str) -> Option<i64> {
        Some(self.0.job_id(Jid::from_hex(jid)?, name).unwrap_or(0))
    }

    /// The table.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        let len = u32::try_from(self.0.saved_len()).ok()?;
        let mut bytes = filled(0, len)?;
        let written = self.0.save(&mut bytes).ok()?;
        bytes.truncate(written);
        Some(bytes)
    }

    /// Takes a table: `{}`, or why it is none.
    pub fn restore(&mut self, table: &[u8], now_ms: f64) -> String {
        match self.0.restore(table, mono(now_ms)) {
            Ok(()) => "{}".into(),
            Err(error) => Answer::error(error.code()).end(b'}'),
        }
    }

    /// How things stand.
    pub fn status(&self) -> String {
        let status = self.0.status();
        let mut answer = Answer::begin(b'{');
        answer.number("jobs", status.jobs as u64);
        answer.number("unreported", status.unreported as u64);
        answer.number("unwatched", status.unwatched);
        answer.flag("isUp", status.is_up);
        answer.flag("needsSaving", self.0.needs_saving());
        answer.end(b'}')
    }
}

/// `None` where memory has no room for so many.
fn filled<T: Copy>(value: T, len: u32) -> Option<Vec<T>> {
    let len = usize::try_from(len).ok()?;
    let mut all = Vec::new();
    all.try_reserve_exact(len).ok()?;
    all.resize(len, value);
    Some(all)
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// The options, or the name of the first member that they cannot have.
fn read_options(
    json: &str,
    mapped: &'static [MappedJob<'static>],
) -> Result<Options<'static>, String> {
    let mut options = Options::DEFAULT.with_mapped(mapped);
    let mut wrong = None;
    members(json, |key, value| {
        let number = whole(value);
        let set = |slot: &mut u64| number.map(|n| *slot = n).is_some();
        let is = |name: &str| matches!(value, Token::String(text) if text.is(name));
        let text = match value {
            Token::String(text) => Some(text),
            _ => None,
        };
        let put =
            |slot: &mut &'static str| text.map(|text| *slot = leak(text.to_string())).is_some();
        let is_good = match key.raw() {
            "pollMs" => set(&mut options.poll_ms),
            "heartbeatMs" => set(&mut options.heartbeat_ms),
            "cacheMs" => set(&mut options.cache_ms),
            "steadyMs" => set(&mut options.steady_ms),
            "requests" => {
                let small = number.and_then(|n| u16::try_from(n).ok());
                small.map(|n| options.requests = n).is_some()
            }
            "exceptionBytes" => {
                let small = number.and_then(|n| usize::try_from(n).ok());
                small.map(|n| options.exception_bytes = n).is_some()
            }
            "metrics" => put(&mut options.metrics),
            "node" => put(&mut options.node),
            "plan" => {
                options.plan = match () {
                    () if is("never") => Plan::Never,
                    () if is("always") => Plan::Always,
                    () => Plan::WhenNew,
                };
                is("when-new") || options.plan != Plan::WhenNew
            }
            "exceptions" => {
                options.exceptions = match is("text") {
                    true => ExceptionsAs::Text,
                    false => ExceptionsAs::Object,
                };
                is("text") || is("object")
            }
            "otherIds" => {
                options.other_ids = match () {
                    () if is("hash31") => OtherIds::Hash31,
                    () if is("none") => OtherIds::None,
                    () => OtherIds::Hash63,
                };
                is("hash63") || options.other_ids != OtherIds::Hash63
            }
            _ => false,
        };
        if !is_good && wrong.is_none() {
            wrong = Some(key.to_string());
        }
    });
    wrong.map_or(Ok(options), Err)
}
