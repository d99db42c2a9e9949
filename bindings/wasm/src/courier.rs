//! The courier, over an outbox in memory.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::convert::Infallible;

use edge_report::courier::{
    Courier as Engine, CourierError, Event, LogError, Policy, RamOutbox, Reason, Step, Ticket,
    Verdict,
};
use edge_report::json::Token;
use edge_report::{Code, MonoTime, Outcome};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;
use crate::request::{members, whole};

type Error = CourierError<LogError<Infallible>>;

/// The least outbox.
const LEAST: usize = 16 * 1024;

/// The first member of a policy that it cannot have.
#[wasm_bindgen]
pub fn wrong_in_policy(policy: &str) -> Option<String> {
    read_policy(policy).err()
}

/// Keeps reports and says what to do with them. Times are monotonic milliseconds, entropy is a random number.
#[wasm_bindgen]
pub struct Courier(Engine<RamOutbox<Vec<u8>>, Vec<u8>>);

#[wasm_bindgen]
impl Courier {
    /// With room for `capacity` bytes of reports and dead letters, taken as it is needed. `None` if the policy has a member that it
    /// cannot have, or the capacity is too small.
    pub fn open(capacity: f64, policy: &str, now_ms: f64, entropy: u64) -> Option<Courier> {
        let capacity = capacity as usize;
        let policy = read_policy(policy).ok()?;
        if capacity < LEAST {
            return None;
        }
        let outbox = RamOutbox::new(Vec::new(), capacity);
        Some(Courier(Engine::new(
            outbox,
            Vec::new(),
            policy,
            mono(now_ms),
            entropy,
        )))
    }

    /// Stores a report that is encoded: `{"ticket"}`.
    pub fn submit(&mut self, report: &[u8], now_ms: f64) -> String {
        match self.0.submit_encoded(report, mono(now_ms)) {
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
            Ok(Step::Wait(ms)) => {
                answer.text("step", "wait");
                answer.number("ms", ms);
            }
            Ok(Step::Send(parcel)) => {
                answer.text("step", "send");
                answer.number("ticket", parcel.ticket.0);
                answer.number("clockOffsetMs", parcel.clock_offset_ms);
            }
        }
        answer.end(b'}')
    }

    /// The bytes of the report that `next` says to send.
    pub fn body(&mut self, now_ms: f64) -> Option<Vec<u8>> {
        match self.0.next(mono(now_ms)) {
            Ok(Step::Send(parcel)) => Some(parcel.body.into()),
            _ => None,
        }
    }

    /// Tells what came back: an outcome's members, or `{"code"}` of an error. Gives the verdict.
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
                put_verdict(&mut answer, verdict);
                answer.end(b'}')
            }
        }
    }

    /// How things stand.
    pub fn status(&self) -> String {
        let status = self.0.status();
        let mut answer = Answer::begin(b'{');
        for (name, count) in [
            ("submitted", status.ledger.submitted),
            ("delivered", status.ledger.delivered),
            ("refused", status.ledger.refused),
            ("superseded", status.ledger.superseded),
            ("expired", status.ledger.expired),
            ("waiting", status.waiting),
            ("failures", u64::from(status.failures)),
            ("notBefore", status.not_before.0),
        ] {
            answer.number(name, count);
        }
        answer.number("clockOffsetMs", status.clock_offset_ms);
        answer.flag("circuitOpen", status.circuit_open);
        if let Some(ticket) = status.in_flight {
            answer.number("inFlight", ticket.0);
        }
        if let Some((ticket, verdict)) = status.last {
            answer.open("last", b'{');
            answer.number("ticket", ticket.0);
            put_verdict(&mut answer, verdict);
            answer.close(b'}');
        }
        answer.end(b'}')
    }

    /// Lets the next attempt come at once.
    pub fn wake(&mut self, now_ms: f64) {
        self.0.wake(mono(now_ms));
    }

    /// The oldest dead letter behind the ticket `after`, 0 for the oldest of all: `{"ticket", "reason"}`, or `{}`.
    pub fn dead_letter(&mut self, after: f64) -> String {
        let mut answer = Answer::begin(b'{');
        match self.0.dead_letter(Some(Ticket(after as u64))) {
            Err(error) => return failed(&error),
            Ok(None) => {}
            Ok(Some(letter)) => {
                answer.number("ticket", letter.ticket.0);
                put_reason(&mut answer, letter.reason);
            }
        }
        answer.end(b'}')
    }

    /// The bytes of that dead letter.
    pub fn dead_letter_body(&mut self, after: f64) -> Option<Vec<u8>> {
        let letter = self.0.dead_letter(Some(Ticket(after as u64)));
        letter.ok().flatten().map(|letter| letter.body.into())
    }

    /// Submits the oldest dead letter again: `{"ticket"}`, or `{}` if there is none.
    pub fn resubmit_dead_letter(&mut self, now_ms: f64) -> String {
        match self.0.resubmit_dead_letter(mono(now_ms)) {
            Ok(Some(ticket)) => ticket_only(ticket),
            Ok(None) => "{}".into(),
            Err(error) => failed(&error),
        }
    }

    /// Forgets the dead letters up to and with a ticket.
    pub fn forget_dead_letters(&mut self, ticket: f64) -> String {
        match self.0.forget_dead_letters(Ticket(ticket as u64)) {
            Ok(()) => "{}".into(),
            Err(error) => failed(&error),
        }
    }
}

fn mono(now_ms: f64) -> MonoTime {
    MonoTime(now_ms as u64)
}

/// The policy, or the name of the first member that it cannot have.
fn read_policy(json: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    let mut wrong = None;
    members(json, |key, value| {
        let number = whole(value);
        let small = number.and_then(|n| u32::try_from(n).ok());
        let set = |slot: &mut u64| number.map(|n| *slot = n).is_some();
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
            _ => false,
        };
        if !is_good && wrong.is_none() {
            wrong = Some(key.to_string());
        }
    });
    wrong.map_or(Ok(policy), Err)
}

fn read_event(json: &str) -> Option<Event> {
    let (mut outcome, mut status, mut retry_after_ms, mut clock_skew_ms, mut code) =
        (None, None, None, None, None);
    members(json, |key, value| match (key.raw(), value) {
        ("outcome", Token::String(name)) => {
            outcome = Outcome::ALL
                .into_iter()
                .find(|outcome| name.is(outcome.name()));
        }
        ("status", value) => status = whole(value).and_then(|n| u16::try_from(n).ok()),
        ("retryAfterMs", Token::Number(number)) => {
            // Over 64 bits, or with an exponent: more than any policy honours.
            retry_after_ms =
                Some(whole(value).unwrap_or(u64::MAX)).filter(|_| !number.raw().starts_with('-'));
        }
        ("clockSkewMs", Token::Number(number)) => clock_skew_ms = number.to_i64(),
        ("code", value) => {
            code = whole(value)
                .and_then(|n| u16::try_from(n).ok())
                .and_then(Code::from_number);
        }
        _ => {}
    });
    match (outcome, status, code) {
        (Some(outcome), Some(status), _) => Some(Event::Answered {
            outcome,
            status,
            retry_after_ms,
            clock_skew_ms,
        }),
        (None, _, Some(Code::NotSent)) => Some(Event::NotSent),
        (None, _, Some(Code::MayHaveArrived)) => Some(Event::MayHaveArrived),
        (None, _, Some(code)) => Some(Event::Misconfigured(code)),
        _ => None,
    }
}

fn ticket_only(ticket: Ticket) -> String {
    let mut answer = Answer::begin(b'{');
    answer.number("ticket", ticket.0);
    answer.end(b'}')
}

fn put_verdict(answer: &mut Answer, verdict: Verdict) {
    let reason = match verdict {
        Verdict::Delivered => {
            answer.text("verdict", "delivered");
            None
        }
        Verdict::Again { at } => {
            answer.text("verdict", "again");
            answer.number("at", at.0);
            None
        }
        Verdict::Held { until, reason } => {
            answer.text("verdict", "held");
            answer.number("until", until.0);
            Some(reason)
        }
        Verdict::Refused(reason) => {
            answer.text("verdict", "refused");
            Some(reason)
        }
        Verdict::GaveUp(reason) => {
            answer.text("verdict", "gave_up");
            Some(reason)
        }
    };
    if let Some(reason) = reason {
        put_reason(answer, reason);
    }
}

/// `"reason": {"status"}` or `"reason": {"code"}`, the code as a number.
fn put_reason(answer: &mut Answer, reason: Reason) {
    answer.open("reason", b'{');
    match reason {
        Reason::Status(status) => answer.number("status", status),
        Reason::Failed(code) => answer.number("code", code.number()),
    }
    answer.close(b'}');
}

fn failed(error: &Error) -> String {
    Answer::error(error.code()).end(b'}')
}
