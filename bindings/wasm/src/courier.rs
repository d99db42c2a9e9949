//! The courier, over the outbox of this module: in memory, or on storage with the feature `spool`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use edge_report::courier::{
    Backlog, Cause, Courier as Engine, CourierError, Event, Outbox, Policy, Reason, Step, Ticket,
    Verdict, WhenLettersFull,
};
use edge_report::json::Token;
use edge_report::{Code, MonoTime, Outcome};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;
use crate::members::{members, whole};
use crate::outbox::Kept;
use crate::wall;

type Error = CourierError<<Kept as Outbox>::Error>;

/// What answers and events take.
const SPARE_ROOM: usize = 16 * 1024;

/// The first member of a policy that it cannot have.
#[wasm_bindgen]
pub fn wrong_in_policy(policy: &str) -> Option<String> {
    read_policy(policy).err()
}

/// Keeps reports and says what to do with them. `now_ms` is monotonic, `wall_ms` since 1970; `entropy` is a random number.
#[wasm_bindgen]
pub struct Courier(pub(crate) Engine<Kept, Vec<u8>>);

#[wasm_bindgen]
impl Courier {
    /// Whether so many bytes can be taken in: what does not fit into memory would end this module.
    pub fn has_room(&self, len: usize) -> bool {
        // The bytes as they come, and once more in the outbox.
        let needed = len.saturating_mul(2).saturating_add(SPARE_ROOM);
        Vec::<u8>::new().try_reserve_exact(needed).is_ok()
    }

    /// Stores a report that is encoded: `{"ticket"}`.
    pub fn submit(&mut self, report: &[u8], now_ms: f64, wall_ms: f64) -> String {
        let submitted = self
            .0
            .submit_encoded(report, mono(now_ms), Some(wall(wall_ms)));
        match submitted {
            Ok(ticket) => ticket_only(ticket),
            Err(error) => failed(&error),
        }
    }

    /// What to do next: `{"step": "send", "ticket", "clockOffsetMs"}`, `{"step": "wait", "ms"}` or `{"step": "idle"}`.
    pub fn next(&mut self, now_ms: f64) -> String {
        let mut answer = Answer::begin(b'{');
        match self.0.next(mono(now_ms)) {
            Err(error) => return failed(&error),
            Ok(Step::Idle) => answer.text("step", "idle"),
            Ok(Step::Wait(until)) => {
                answer.text("step", "wait");
                answer.number("ms", until.since_ms(mono(now_ms)));
            }
            Ok(Step::Send(outgoing)) => {
                answer.text("step", "send");
                answer.number("ticket", outgoing.ticket.0);
                answer.number("clockOffsetMs", outgoing.clock_offset_ms);
            }
        }
        answer.end(b'}')
    }

    /// The bytes of the report that `next` says to send.
    pub fn body(&mut self, now_ms: f64) -> Option<Vec<u8>> {
        match self.0.next(mono(now_ms)) {
            Ok(Step::Send(outgoing)) => copied(outgoing.body),
            _ => None,
        }
    }

    /// Tells what came back: an outcome's members, or `{"code", "text"}` of an error. Gives the verdict.
    pub fn settle(&mut self, ticket: f64, event: &str, now_ms: f64, entropy: u64) -> String {
        let Some(event) = read_event(event) else {
            return Answer::error(Code::OutOfRange).end(b'}');
        };
        match self
            .0
            .settle(Ticket(ticket as u64), event, mono(now_ms), entropy)
        {
            Err(error) => failed(&error),
            Ok(verdict) => {
                let mut answer = Answer::begin(b'{');
                put_verdict(&mut answer, &verdict);
                answer.end(b'}')
            }
        }
    }

    /// A report that became a dead letter since another one was accepted: `{"ticket", "reason"}`, or `{}`.
    pub fn take_dead_letter(&mut self) -> String {
        let mut answer = Answer::begin(b'{');
        if let Some((ticket, reason)) = self.0.take_dead_letter() {
            put_ticket_and_reason(&mut answer, ticket, &reason);
        }
        answer.end(b'}')
    }

    /// How things stand.
    pub fn status(&mut self) -> String {
        let status = self.0.status();
        let mut answer = Answer::begin(b'{');
        for (name, count) in [
            ("submitted", status.counters.submitted),
            ("delivered", status.counters.delivered),
            ("refused", status.counters.refused),
            ("superseded", status.counters.superseded),
            ("expired", status.counters.expired),
            ("corrupt", status.counters.corrupt),
            ("letters", status.counters.letters),
            ("lettersDropped", status.counters.letters_dropped),
            ("waiting", status.waiting),
            ("failures", u64::from(status.failures)),
            ("notBefore", status.not_before.ms()),
        ] {
            answer.number(name, count);
        }
        answer.number("aside", status.aside);
        answer.number("clockOffsetMs", status.clock_offset_ms);
        answer.flag("circuitOpen", status.circuit_open);
        if let Some(at) = status.next_attempt {
            answer.number("nextAttempt", at.ms());
        }
        if let Ok(Some(submitted_at)) = self.0.oldest() {
            answer.number("oldest", submitted_at.unix_ms());
        }
        if let Some(ticket) = status.in_flight {
            answer.number("inFlight", ticket.0);
        }
        if let Some((ticket, verdict)) = status.last {
            answer.open("last", b'{');
            answer.number("ticket", ticket.0);
            put_verdict(&mut answer, &verdict);
            answer.close(b'}');
        }
        if let Some((ticket, reason)) = status.last_failure {
            answer.open("lastFailure", b'{');
            put_ticket_and_reason(&mut answer, ticket, &reason);
            answer.close(b'}');
        }
        answer.end(b'}')
    }

    /// Lets the next attempt come at once.
    pub fn wake(&mut self, now_ms: f64) {
        self.0.wake(mono(now_ms));
    }

    /// The same for who knows of the link alone: once a minute, and against no hold.
    pub fn link_is_back(&mut self, now_ms: f64) {
        self.0.link_is_back(mono(now_ms));
    }

    /// The tickets of all that waits, in the order of submission; `None` if they cannot be read.
    pub fn waiting_tickets(&mut self) -> Option<Vec<f64>> {
        let mut tickets = Vec::new();
        let mut after = None;
        while let Some(waiting) = self.0.next_waiting(after).ok()? {
            tickets.try_reserve(1).ok()?;
            tickets.push(waiting.ticket.0 as f64);
            after = Some(waiting.ticket);
        }
        Some(tickets)
    }

    /// The report that waits next after `after`, the first of all without: `{"ticket", "submittedAt"}`, or `{}`.
    pub fn next_waiting(&mut self, after: Option<f64>) -> String {
        let mut answer = Answer::begin(b'{');
        match self.0.next_waiting(after.map(|after| Ticket(after as u64))) {
            Err(error) => return failed(&error),
            Ok(None) => {}
            Ok(Some(waiting)) => {
                answer.number("ticket", waiting.ticket.0);
                if let Some(at) = waiting.submitted_at {
                    answer.number("submittedAt", at.unix_ms());
                }
            }
        }
        answer.end(b'}')
    }

    /// The bytes of the report that waits with this ticket.
    pub fn waiting_body(&mut self, ticket: f64) -> Option<Vec<u8>> {
        let found = self.0.find_waiting(Ticket(ticket as u64)).ok().flatten();
        found.and_then(|(_, report)| copied(report))
    }

    /// Makes durable what is not yet, before a clean end.
    pub fn close(&mut self) -> String {
        done(self.0.close())
    }

    /// The dead letter that died next after `after`, the first of all without: `{"ticket", "reason"}`, or `{}`.
    pub fn dead_letter(&mut self, after: Option<f64>) -> String {
        let mut answer = Answer::begin(b'{');
        match self.0.dead_letter(after.map(|after| Ticket(after as u64))) {
            Err(error) => return failed(&error),
            Ok(None) => {}
            Ok(Some((letter, _))) => {
                put_ticket_and_reason(&mut answer, letter.ticket, &letter.reason);
            }
        }
        answer.end(b'}')
    }

    /// The bytes of the dead letter of this ticket.
    pub fn dead_letter_body(&mut self, ticket: f64) -> Option<Vec<u8>> {
        let letter = self.0.find_dead_letter(Ticket(ticket as u64));
        letter.ok().flatten().and_then(|(_, report)| copied(report))
    }

    /// Submits the dead letter of this ticket again, the first of all without: `{"ticket"}`, or `{}` if it is not there.
    pub fn resubmit_dead_letter(
        &mut self,
        ticket: Option<f64>,
        now_ms: f64,
        wall_ms: f64,
    ) -> String {
        let ticket = ticket.map(|ticket| Ticket(ticket as u64));
        let submitted = self
            .0
            .resubmit_dead_letter(ticket, mono(now_ms), Some(wall(wall_ms)));
        match submitted {
            Ok(Some(ticket)) => ticket_only(ticket),
            Ok(None) => "{}".into(),
            Err(error) => failed(&error),
        }
    }

    /// Forgets the dead letter of this ticket, and all that died before it if `up_to`.
    pub fn forget_dead_letters(&mut self, ticket: f64, up_to: bool) -> String {
        let ticket = Ticket(ticket as u64);
        let forgotten = match up_to {
            true => self.0.forget_dead_letters(ticket),
            false => self.0.forget_dead_letter(ticket),
        };
        done(forgotten)
    }
}

pub(crate) fn mono(now_ms: f64) -> MonoTime {
    MonoTime::from_ms(now_ms as u64)
}

/// The policy, or the name of the first member that it cannot have.
pub(crate) fn read_policy(json: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    let mut wrong = None;
    members(json, |key, value| {
        let number = whole(value);
        let small = number.and_then(|n| u32::try_from(n).ok());
        let set = |slot: &mut u64| number.map(|n| *slot = n).is_some();
        let is = |name: &str| matches!(value, Token::String(text) if text.is(name));
        let is_good = match key.raw() {
            "minBackoffMs" => set(&mut policy.min_backoff_ms),
            "maxBackoffMs" => set(&mut policy.max_backoff_ms),
            "maxRetryAfterMs" => set(&mut policy.max_retry_after_ms),
            "holdMs" => set(&mut policy.hold_ms),
            "startSpreadMs" => set(&mut policy.start_spread_ms),
            "maxClockSkewMs" => set(&mut policy.max_clock_skew_ms),
            "openCircuitAfter" => small.map(|n| policy.open_circuit_after = n).is_some(),
            "maxAttempts" => small.map(|n| policy.max_attempts = Some(n)).is_some(),
            "maxTimeMs" => number.map(|n| policy.max_time_ms = Some(n)).is_some(),
            "refuseAfter" => small.map(|n| policy.refuse_after = n).is_some(),
            "backlog" => {
                policy.backlog = match is("latest") {
                    true => Backlog::LatestPerJob,
                    false => Backlog::KeepAll,
                };
                is("latest") || is("all")
            }
            "whenLettersFull" => {
                policy.when_letters_full = match is("hold") {
                    true => WhenLettersFull::Hold,
                    false => WhenLettersFull::DropOldest,
                };
                is("hold") || is("drop-oldest")
            }
            _ => false,
        };
        if !is_good && wrong.is_none() {
            wrong = Some(key.to_string());
        }
    });
    wrong.map_or(Ok(policy), Err)
}

fn read_event(json: &str) -> Option<Event> {
    let (mut outcome, mut status, mut code) = (None, None, None);
    // Its reason comes at the end.
    let mut event = Event::NOT_SENT;
    let (mut error_code, mut text) = (String::new(), String::new());
    members(json, |key, value| match (key.raw(), value) {
        ("outcome", Token::String(name)) => {
            outcome = Outcome::ALL
                .iter()
                .copied()
                .find(|outcome| name.is(outcome.name()));
        }
        ("status", value) => status = whole(value).and_then(|n| u16::try_from(n).ok()),
        ("retryAfterMs", Token::Number(number)) => {
            // Over 64 bits, or with an exponent: more than any policy honours.
            event.retry_after_ms =
                Some(whole(value).unwrap_or(u64::MAX)).filter(|_| !number.raw().starts_with('-'));
        }
        ("clockSkewMs", Token::Number(number)) => event.clock_skew_ms = number.to_i64(),
        ("code", value) => {
            code = whole(value)
                .and_then(|n| u16::try_from(n).ok())
                .and_then(Code::from_number);
        }
        ("errorCode", Token::String(said)) => error_code = said.to_string(),
        ("text", Token::String(said)) => text = said.to_string(),
        _ => {}
    });
    event.reason = match (outcome, status, code) {
        (Some(outcome), Some(status), _) => Reason::response(outcome, status),
        (None, _, Some(code)) => Reason::failed(code),
        _ => return None,
    };
    Some(event.with_error_code(&error_code).with_text(&text))
}

fn ticket_only(ticket: Ticket) -> String {
    let mut answer = Answer::begin(b'{');
    answer.number("ticket", ticket.0);
    answer.end(b'}')
}

fn put_verdict(answer: &mut Answer, verdict: &Verdict) {
    let (name, time) = match verdict {
        Verdict::Delivered => ("delivered", None),
        Verdict::Held { until, .. } => ("held", Some(("until", until))),
        Verdict::Refused(_) => ("refused", None),
        Verdict::Expired(_) => ("expired", None),
        Verdict::Again { at, .. } => ("again", Some(("at", at))),
        _ => ("again", None),
    };
    answer.text("verdict", name);
    if let Some((name, time)) = time {
        answer.number(name, time.ms());
    }
    if let Some(reason) = verdict.reason() {
        put_reason(answer, reason);
    }
}

fn put_ticket_and_reason(answer: &mut Answer, ticket: Ticket, reason: &Reason) {
    answer.number("ticket", ticket.0);
    put_reason(answer, reason);
}

/// `"reason": {"outcome" or "code", "status", "errorCode", "text"}`, the code as a number; what there is of the others.
fn put_reason(answer: &mut Answer, reason: &Reason) {
    answer.open("reason", b'{');
    match reason.cause {
        Cause::Response(outcome) => answer.text("outcome", outcome.name()),
        Cause::Failed(code) => answer.number("code", code.number()),
    }
    if reason.status != 0 {
        answer.number("status", reason.status);
    }
    let texts = [("errorCode", reason.error_code()), ("text", reason.text())];
    for (name, text) in texts {
        if !text.is_empty() {
            answer.text(name, text);
        }
    }
    answer.close(b'}');
}

/// `None` where memory has no room for it.
fn copied(report: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(report.len()).ok()?;
    bytes.extend_from_slice(report);
    Some(bytes)
}

fn done(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "{}".into(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> String {
    Answer::error(error.code()).end(b'}')
}
