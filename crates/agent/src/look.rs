//! `status`, `letters`, `resubmit`: what is in a spool.

use std::io::{self, Write};
use std::path::Path;

use edge_report::courier::{Cause, Courier, Reason, Ticket};
use edge_report::{MonoTime, WallTime};
use serde_json::json;

use crate::control::{self, Agent};
use crate::failure::{Failure, failed, wrong};
use crate::progress;
use crate::service::{self, Node};
use crate::settings::Settings;
use crate::snapshot::{self, Log};

/// The spool as it is now, whether a process has it open or not. Nothing is written.
fn look(settings: &Settings) -> Result<Courier<Log, Vec<u8>>, Failure> {
    let dir = existing(settings)?;
    let log = snapshot::take(Path::new(dir));
    let log = log.map_err(|why| {
        failed(format!(
            "the spool {dir} cannot be read: {why}; run this as the user of the agent"
        ))
    })?;
    Ok(Courier::with_policy(log, service::policy(settings, 0)?))
}

/// Looking makes no spool.
fn existing(settings: &Settings) -> Result<&str, Failure> {
    let dir = settings.needed("spool")?;
    match Path::new(dir).is_dir() {
        true => Ok(dir),
        false => Err(wrong(format!(
            "there is no spool {dir}; what does --spool of `run` say?"
        ))),
    }
}

fn say(line: &str) -> Result<(), Failure> {
    // In a message of somebody else there may be anything.
    let line = line.replace(char::is_control, " ");
    progress::clear();
    writeln!(io::stdout(), "{line}").map_err(|why| failed(format!("standard output: {why}")))
}

pub(crate) fn status(settings: &Settings) -> Result<(), Failure> {
    let mut courier = look(settings)?;
    let status = courier.status();
    let all = status.counters;
    let oldest = courier.oldest().map_err(failed)?;
    let now = (MonoTime::now(), WallTime::now().unix_ms());
    let age = oldest.map(|time| now.1.saturating_sub(time.unix_ms()).to_string());
    // Of a process that starts now: why an attempt failed, and when the next one comes, knows only the one that made it.
    let next = status.next_attempt.map(|at| at.since_ms(now.0).to_string());
    let (mut last, mut after) = (None, None);
    while let Some((letter, _)) = courier.dead_letter(after).map_err(failed)? {
        after = Some(letter.ticket);
        last = Some(letter.reason.to_string());
    }
    let foreign = courier.into_outbox().foreign_segments();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    for (name, value) in [
        ("submitted", all.submitted),
        ("delivered", all.delivered),
        ("refused", all.refused),
        ("superseded", all.superseded),
        ("expired", all.expired),
        ("torn", all.torn),
        ("corrupt", all.corrupt),
        ("waiting", status.waiting),
        ("letters", all.letters),
        ("letters_dropped", all.letters_dropped),
        ("foreign", foreign),
    ] {
        say(&format!("{name} {value}"))?;
    }
    say(&format!("last_reason {}", or_none(last)))?;
    say(&format!("next_attempt_ms {}", or_none(next)))?;
    say(&format!("oldest_age_ms {}", or_none(age)))
}

pub(crate) fn letters(settings: &Settings) -> Result<(), Failure> {
    let mut courier = look(settings)?;
    let mut after = None;
    while let Some((letter, report)) = courier.dead_letter(after).map_err(failed)? {
        let Reason { cause, status, .. } = letter.reason;
        let error_code = letter.reason.error_code();
        let reason = match cause {
            // The rest stands in members of its own.
            Cause::Response(outcome) => outcome.name(),
            Cause::Failed(code) => code.text(),
        };
        let reason = match letter.reason.text() {
            "" => reason.to_owned(),
            text => format!("{reason}: {text}"),
        };
        let (reason, status, error_code) = (
            json!(reason),
            json!((status > 0).then_some(status)),
            json!((!error_code.is_empty()).then_some(error_code)),
        );
        let ticket = letter.ticket;
        // The very bytes; control characters can only stand between tokens.
        let report = String::from_utf8_lossy(report);
        say(&format!(
            r#"{{"ticket":{ticket},"reason":{reason},"status":{status},"error_code":{error_code},"report":{report}}}"#
        ))?;
        after = Some(letter.ticket);
    }
    Ok(())
}

pub(crate) fn resubmit(settings: &Settings, which: &str) -> Result<(), Failure> {
    let one = match which {
        "all" => None,
        ticket => Some(Ticket(ticket.parse().map_err(|_| {
            wrong(format!(
                "`{ticket}` is neither a ticket of `letters` nor `all`"
            ))
        })?)),
    };
    let mut spool = Open::by_someone(settings)?;
    let letters = match one {
        Some(letter) => vec![letter],
        None => tickets(settings)?,
    };
    for (left, letter) in (1..=letters.len()).rev().zip(letters) {
        progress::show("dead letters", u64::try_from(left).unwrap_or(u64::MAX));
        match spool.resubmit(letter)? {
            Some(ticket) => say(&format!("resubmitted {letter} as {ticket}"))?,
            None if one.is_some() => {
                return Err(failed(format!(
                    "there is no dead letter {letter}; `letters` shows those there are"
                )));
            }
            // Somebody else was quicker.
            None => {}
        }
    }
    Ok(())
}

/// Of all dead letters.
fn tickets(settings: &Settings) -> Result<Vec<Ticket>, Failure> {
    let mut courier = look(settings)?;
    let mut tickets = Vec::new();
    while let Some((letter, _)) = courier
        .dead_letter(tickets.last().copied())
        .map_err(failed)?
    {
        tickets.push(letter.ticket);
    }
    Ok(tickets)
}

/// A spool that can be written to.
enum Open {
    /// By the agent that runs.
    ByAgent(Agent),
    Here(Box<Node>),
}

impl Open {
    fn by_someone(settings: &Settings) -> Result<Open, Failure> {
        if let Some(agent) = Agent::of(existing(settings)?) {
            return Ok(Open::ByAgent(agent));
        }
        let courier = service::courier(settings, 0)?;
        Ok(Open::Here(Box::new(courier)))
    }

    fn resubmit(&mut self, letter: Ticket) -> Result<Option<Ticket>, Failure> {
        match self {
            Open::ByAgent(agent) => agent.resubmit(letter),
            Open::Here(courier) => control::resubmit(courier, letter)
                .map_err(|why| failed(format!("dead letter {letter}: {why}"))),
        }
    }
}
