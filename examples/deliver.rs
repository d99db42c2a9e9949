//! Reads reports from standard input, a line of JSON each, and delivers them. What it has stored survives kills and power cuts.
//!
//!     cargo run -p examples --example deliver -- --spool DIR --url https://gateway.example --project-id 0a1b2c --ak AK --sk SK
//!
//! It answers on standard output, a line each:
//!
//!     stored MESSAGE_ID            on stable storage: whoever wrote it may forget it
//!     delivered MESSAGE_ID         the service has it
//!     refused MESSAGE_ID REASON    it will not be sent any more; it is a dead letter, on stable storage, too
//!     invalid LINE FINDING         the report on this line breaks the contract, and is not stored
//!     omitted COUNT                so many lines `delivered` and `refused` did not come, since nobody read the others
//!
//! At the end of the input it goes on until nothing waits. Started again after a kill, it takes up what waits: the report
//! that was under way is sent again, and the receiver drops the repeat by its `message_id`. When the spool or the disk is
//! full, it stops reading until there is room. Trouble on the way stands on standard error: what failed, and when it is tried again.
//!
//! Delivery waits for nobody who reads these lines. `stored` and `invalid` always come, so when they are not read, it reads no
//! more lines itself.
//!
//! `--status`, `--letters` and `--resubmit` look at a spool that no other process has open, or change it, and end. `--help` says more.
//!
//! Ends 0: nothing waits any more; with one of these, it is done, whatever waits. 1: spool or input failed, or there is no such dead
//! letter. 2: usage, settings, or the spool is in use.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use edge_report::courier::{
    Backlog, Cause, Courier, CourierError, Outbox, OutboxError, Policy, Reason, Step, Ticket,
    Verdict, WhenLettersFull,
};
use edge_report::exchange::Keys;
use edge_report::{
    Client, ClientBuilder, Credentials, FairMutex, Limits, MonoTime, ReportBuf, Spool,
    SpoolIoError, Waker,
};
use edge_report::{WallTime, random};
use serde_json::json;

const USAGE: &str = "usage: deliver --spool DIR --url URL --project-id ID [OPTIONS]
       deliver --spool DIR --status | --letters | --resubmit TICKET|all";

/// An argument: its name, what follows it, and what it does.
type Argument = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const ARGUMENTS: &[Argument] = &[
    ("--spool", "DIR", "where reports wait; made if its parent is there, for its owner alone"),
    ("--url", "URL", "the service's base URL"),
    ("--project-id", "ID", "the project in the URL's path"),
    ("--ak", "AK", "sign with this access key"),
    ("--sk", "SK", "and this secret key"),
    ("--security-token", "T", "of temporary keys"),
    ("--token", "T", "send this token instead of a signature"),
    ("--ca", "FILE", "trust these authorities (PEM or DER), and no others"),
    ("--allow-plain-http", "", "http:// also to other machines"),
    ("--connect-timeout", "MS", "the most a look-up, and then a connection, may take (10,000)"),
    ("--tls-timeout", "MS", "the most a TLS handshake may take (30,000)"),
    ("--send-timeout", "MS", "the most sending may take, and what a report's length takes at --min-rate (15,000)"),
    ("--response-timeout", "MS", "the most a response may take, and the same (15,000)"),
    ("--total-timeout", "MS", "the most an attempt may take in all, and the same (60,000)"),
    ("--min-rate", "N", "the slowest link that long reports must get through, in bytes a second (1,000)"),
    ("--max-idle", "MS", "how long a connection that is not used is kept (90,000)"),
    ("--service-code", "PREFIX", "how the service's own error codes begin, for another service than DLI; may be given 8 times"),
    ("--max-bytes", "N", "the most bytes of reports that wait (64 MiB)"),
    ("--min-backoff", "MS", "the least wait after a failure (1,000)"),
    ("--max-backoff", "MS", "the most (300,000)"),
    ("--hold", "MS", "how long nothing is sent when credentials or settings are wrong, and up to a tenth more (300,000)"),
    ("--start-spread", "MS", "the first attempt comes at random within this time (0)"),
    ("--backlog", "latest|all", "latest: send only the newest report of each job that waits (all)"),
    ("--when-letters-full", "drop|hold", "drop the oldest dead letter, or keep what is refused waiting (drop)"),
    ("--status", "", "show what became of all reports so far, and end"),
    ("--letters", "", "show the dead letters, a line of JSON each, and end"),
    ("--resubmit", "TICKET|all", "let a dead letter wait as a new report, and end"),
    ("--help", "", "show this, and end"),
];

/// How long to wait before trying again to store a report, unless one leaves the spool.
const NO_ROOM: Duration = Duration::from_millis(500);
/// Bytes of lines that nobody has read yet.
const UNREAD: usize = 1 << 20;

fn main() -> ExitCode {
    let console = Console::new();
    let done = Arguments::parse(std::env::args().skip(1)).and_then(|given| run(&given, &console));
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            why.lines().for_each(|line| console.errors.say(line.into()));
            ExitCode::from(code)
        }
    };
    // The spool is closed: somebody who does not read this keeps nobody else out.
    console.end();
    code
}

/// How it ends, and why.
type Failure = (u8, String);

/// Spool or input failed.
fn failed(error: impl ToString) -> Failure {
    (1, error.to_string())
}

/// Usage or settings are wrong, or the spool is in use.
fn wrong(error: impl ToString) -> Failure {
    (2, error.to_string())
}

fn run(given: &Arguments, console: &Console) -> Result<(), Failure> {
    match given.task()? {
        "--help" => {
            let help = help();
            help.lines().for_each(|line| console.lines.say(line.into()));
            Ok(())
        }
        "--status" => show_status(given, console),
        "--letters" => show_letters(given, console),
        "--resubmit" => resubmit(given, console),
        _ => {
            let client = given.client()?;
            let courier = given.courier()?;
            deliver_input(client, courier, given.policy()?, console)
        }
    }
}

type Node = Courier<Spool, Vec<u8>>;
type NodeError = CourierError<SpoolIoError>;

// Deliver.

/// What the thread that reads and the one that delivers share.
struct Shared {
    /// The two take turns, also while the disk is slow.
    state: FairMutex<State>,
    /// For when a report came, or the end of the input.
    deliverer: Waker,
    lines: Arc<Lines>,
    errors: Arc<Lines>,
}

struct State {
    courier: Node,
    input_ended: bool,
    /// Reports that will not be sent, and may not be dead letters yet.
    refused: Vec<(Ticket, Reason)>,
}

fn deliver_input(
    mut client: Client,
    courier: Node,
    policy: Policy,
    console: &Console,
) -> Result<(), Failure> {
    let shared = Arc::new(Shared {
        state: FairMutex::new(State {
            courier,
            input_ended: false,
            refused: Vec::new(),
        }),
        deliverer: client.waker(),
        lines: Arc::clone(&console.lines),
        errors: Arc::clone(&console.errors),
    });
    let reader = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let result = read(&shared);
            shared.state.lock().input_ended = true;
            shared.deliverer.wake();
            result
        }
    });
    // If this fails, the reader, who may wait for a line, ends with the process.
    deliver(&shared, &mut client, &policy, reader.thread()).map_err(failed)?;
    reader.join().map_err(|_| failed("the reader failed"))?
}

/// Stores what comes from standard input.
fn read(shared: &Shared) -> Result<(), Failure> {
    let mut told = String::new();
    for (number, line) in (1u64..).zip(io::stdin().lock().split(b'\n')) {
        let line = line.map_err(|error| failed(format!("standard input: {error}")))?;
        let report = line.trim_ascii();
        if report.is_empty() {
            continue;
        }
        let stored = format!("stored {}", message_id(report));
        // Here it waits until somebody reads, so that it need not with the courier under lock.
        shared.lines.reserve(stored.len());
        let mut state = shared.state.lock();
        let answer = loop {
            let now = (MonoTime::now(), Some(WallTime::now()));
            let error = match state.courier.submit_encoded(report, now.0, now.1) {
                Ok(_) => break stored,
                Err(error) => error,
            };
            match error {
                CourierError::Invalid(_) | CourierError::Outbox(OutboxError::TooLarge) => {
                    break format!("invalid {number} {error}");
                }
                error if is_gone(&error) => return Err(failed(error)),
                error => {
                    let why = error.to_string();
                    if told != why {
                        let line = format!("line {number} waits to be stored: {why}");
                        shared.errors.say_if_read(line);
                        told = why;
                    }
                }
            }
            drop(state);
            thread::park_timeout(NO_ROOM);
            state = shared.state.lock();
        };
        // Before it can be delivered.
        shared.lines.say(answer);
        drop(state);
        shared.deliverer.wake();
    }
    Ok(())
}

/// Whether the spool was removed, so that trying again does not help.
fn is_gone(error: &NodeError) -> bool {
    matches!(error, CourierError::Outbox(OutboxError::Device(error)) if error.is_missing())
}

/// Delivers until the input has ended and nothing waits. Who reads may wait for room.
fn deliver(
    shared: &Shared,
    client: &mut Client,
    policy: &Policy,
    reader: &Thread,
) -> Result<(), NodeError> {
    let mut failures = 0u32;
    loop {
        // A disk that fails may be well again later; what is stored stays.
        match deliver_some(shared, client, reader, &mut failures) {
            Ok(true) => failures = 0,
            Ok(false) => return shared.state.lock().courier.flush(),
            Err(error) if is_gone(&error) => return Err(error),
            Err(error) => {
                failures = failures.saturating_add(1);
                let ms = policy.backoff_ms(failures, random());
                let line = format!("the spool: {error}; again in {ms} ms");
                shared.errors.say_if_read(line);
                thread::sleep(Duration::from_millis(ms));
            }
        }
    }
}

/// What can be sent now, and one wait; `false` if there is nothing more to do.
fn deliver_some(
    shared: &Shared,
    client: &mut Client,
    reader: &Thread,
    failures: &mut u32,
) -> Result<bool, NodeError> {
    let mut body = Vec::new();
    let mut guard = shared.state.lock();
    loop {
        // 1. What to do next.
        let state = &mut *guard;
        let ticket = match state.courier.next(MonoTime::now())? {
            Step::Send(parcel) => {
                body.clear();
                body.extend_from_slice(parcel.body);
                client.set_clock_offset_ms(parcel.clock_offset_ms);
                parcel.ticket
            }
            Step::Wait(ms) => {
                tell_refused(state, &shared.lines)?;
                // A minute at the most: while the machine is suspended no time passes here.
                let wait = Duration::from_millis(ms.min(60_000));
                drop(guard);
                client.wait(Some(wait));
                return Ok(true);
            }
            Step::Idle => {
                tell_refused(state, &shared.lines)?;
                if state.input_ended {
                    return Ok(false);
                }
                drop(guard);
                client.wait(None);
                return Ok(true);
            }
        };
        drop(guard);

        // 2. Send it. Others may submit meanwhile.
        let event = client.send_for_event(&body);

        // 3. What became of it; and, in the same turn, what is next: a turn may take long.
        let now = MonoTime::now();
        guard = shared.state.lock();
        let state = &mut *guard;
        let verdict = state.courier.settle(ticket, event, now, random())?;
        let trouble = match verdict {
            Verdict::Delivered => {
                let line = format!("delivered {}", message_id(&body));
                shared.lines.say_if_read(line);
                None
            }
            Verdict::Refused(reason) | Verdict::GaveUp(reason) => {
                state.refused.push((ticket, reason));
                let failure = state.courier.status().last_failure;
                let failure = failure.filter(|failure| *failure != (ticket, reason));
                failure.map(|(_, why)| format!("{reason}; not yet a dead letter, and waits: {why}"))
            }
            Verdict::Again { at, reason } => {
                Some(format!("{reason}; again in {} ms", at.since(now)))
            }
            Verdict::Held { until, reason } => {
                let ms = until.since(now);
                Some(format!("{reason}; nothing is sent for {ms} ms"))
            }
        };
        // Others may have been buried by what became of this one.
        while let Some(buried) = state.courier.take_buried() {
            state.refused.push(buried);
        }
        tell_refused(state, &shared.lines)?;
        *failures = 0;
        reader.unpark();
        if let Some(trouble) = trouble {
            let line = format!("{}: {trouble}", message_id(&body));
            shared.errors.say_if_read(line);
        }
    }
}

/// Tells of those that are dead letters by now.
fn tell_refused(state: &mut State, lines: &Lines) -> Result<(), NodeError> {
    let mut index = 0;
    let are_parked = state.courier.status().parked > 0;
    while let Some(&(ticket, reason)) = state.refused.get(index) {
        match state.courier.find_dead_letter(ticket)? {
            Some(letter) => {
                let id = message_id(letter.body);
                lines.say_if_read(format!("refused {id} {reason}"));
            }
            None if are_parked => {
                index = index.saturating_add(1);
                continue;
            }
            // The storage lost it; the counters say so.
            None => {}
        }
        state.refused.remove(index);
    }
    Ok(())
}

/// Of a report that was checked.
fn message_id(report: &[u8]) -> String {
    let report = ReportBuf::from_json(report).unwrap_or_default();
    report.message_id
}

// Look, and end.

fn show_status(given: &Arguments, console: &Console) -> Result<(), Failure> {
    let mut courier = given.courier_of_existing()?;
    let status = courier.status();
    let ledger = status.ledger;
    let oldest = courier.oldest().map_err(failed)?;
    let mut spool = courier.into_outbox();
    // Of the reasons only those of dead letters outlive a process.
    let mut last = None;
    while let Some(letter) = spool
        .dead_letter(last.as_ref().map(|(ticket, _)| *ticket))
        .map_err(failed)?
    {
        last = Some((letter.ticket, letter.reason));
    }
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    let now = (MonoTime::now(), WallTime::now().unix_ms());
    let next = status.next_attempt.map(|at| at.since(now.0).to_string());
    let age = oldest.map(|time| now.1.saturating_sub(time.unix_ms()).to_string());
    for (name, value) in [
        ("submitted", ledger.submitted.to_string()),
        ("delivered", ledger.delivered.to_string()),
        ("refused", ledger.refused.to_string()),
        ("superseded", ledger.superseded.to_string()),
        ("expired", ledger.expired.to_string()),
        ("torn", ledger.torn.to_string()),
        ("corrupt", ledger.corrupt.to_string()),
        ("waiting", status.waiting.to_string()),
        ("letters", ledger.letters.to_string()),
        ("letters_dropped", ledger.letters_dropped.to_string()),
        ("foreign", spool.foreign_segments().to_string()),
        (
            "last_reason",
            or_none(last.map(|(_, reason)| reason.to_string())),
        ),
        ("next_attempt_ms", or_none(next)),
        ("oldest_age_ms", or_none(age)),
    ] {
        console.lines.say(format!("{name} {value}"));
    }
    Ok(())
}

fn show_letters(given: &Arguments, console: &Console) -> Result<(), Failure> {
    let mut courier = given.courier_of_existing()?;
    let mut after = None;
    while let Some(letter) = courier.dead_letter(after).map_err(failed)? {
        let Reason { cause, status, .. } = letter.reason;
        let error_code = letter.reason.error_code.as_str();
        let reason = match cause {
            // The rest stands in members of its own.
            Cause::Answered(outcome) => outcome.name(),
            Cause::Failed(code) => code.text(),
        };
        let reason = match letter.reason.text.as_str() {
            "" => reason.to_owned(),
            text => format!("{reason}: {text}"),
        };
        let (reason, status, error_code) = (
            json!(reason),
            json!((status > 0).then_some(status)),
            json!((!error_code.is_empty()).then_some(error_code)),
        );
        // The very bytes; line breaks can only stand between tokens.
        let report = String::from_utf8_lossy(letter.body).replace(['\n', '\r'], " ");
        let ticket = letter.ticket;
        let line = format!(
            r#"{{"ticket":{ticket},"reason":{reason},"status":{status},"error_code":{error_code},"report":{report}}}"#
        );
        console.lines.reserve(line.len());
        console.lines.say(line);
        after = Some(letter.ticket);
    }
    Ok(())
}

fn resubmit(given: &Arguments, console: &Console) -> Result<(), Failure> {
    let which = given.get("--resubmit").unwrap_or_default();
    let wanted: Option<u64> = match which {
        "all" => None,
        _ => Some(number("--resubmit", Some(which), 0)?),
    };
    let mut courier = given.courier_of_existing()?;
    let mut tickets: Vec<Ticket> = wanted.map(Ticket).into_iter().collect();
    if wanted.is_none() {
        let mut spool = courier.into_outbox();
        while let Some(letter) = spool.dead_letter(tickets.last().copied()).map_err(failed)? {
            tickets.push(letter.ticket);
        }
        let policy = given.policy()?;
        courier = Courier::new(spool, Vec::new(), policy, MonoTime::now(), random());
    }
    for letter in tickets {
        let now = (MonoTime::now(), Some(WallTime::now()));
        let ticket = courier.resubmit_dead_letter(Some(letter), now.0, now.1);
        match ticket.map_err(|error| failed(format!("dead letter {letter}: {error}")))? {
            Some(ticket) => {
                let line = format!("resubmitted {letter} as {ticket}");
                console.lines.reserve(line.len());
                console.lines.say(line);
            }
            None => return Err(failed(format!("there is no dead letter {letter}"))),
        }
    }
    courier.flush().map_err(failed)
}

fn help() -> String {
    let mut text = format!("{USAGE}\n\n");
    for (name, value, what) in ARGUMENTS {
        let argument = format!("{name} {value}");
        text.push_str(&format!("  {argument:<29}  {what}\n"));
    }
    text.push_str(
        "\nReports come on standard input, a line of JSON each; what became of each stands on standard output: stored, delivered,\n\
         refused, invalid. In brackets: what is taken without the option. Why an attempt failed knows only the process that made it: what --status\n\
         calls last_reason is that of the newest dead letter, and next_attempt_ms is when a process that starts now would try.\n\
         Ends 0: nothing waits any more; with --status, --letters or --resubmit: it is done. 1: spool or input failed, or there is no such\n\
         dead letter. 2: usage, settings, or the spool is in use.",
    );
    text
}

// Arguments.

/// Those that were given, in order.
struct Arguments(Vec<(&'static str, String)>);

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut all = Arguments(Vec::new());
        while let Some(name) = given.next() {
            let known = ARGUMENTS.iter().find(|(known, ..)| *known == name);
            let Some(&(name, value, _)) = known else {
                return Err(misused(format!("unknown argument {name}")));
            };
            if all.has(name) && name != "--service-code" {
                return Err(misused(format!("{name} is given twice")));
            }
            let value = match value {
                "" => String::new(),
                _ => given
                    .next()
                    .ok_or_else(|| misused(format!("{name} needs a value")))?,
            };
            all.0.push((name, value));
        }
        Ok(all)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.0.iter().filter(move |(given, _)| *given == name);
        given.map(|(_, value)| value.as_str())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| misused(format!("{name} is needed")))
    }

    /// What to do; empty: deliver.
    fn task(&self) -> Result<&'static str, Failure> {
        if self.has("--help") {
            return Ok("--help");
        }
        let tasks = ["--status", "--letters", "--resubmit"];
        let mut given = tasks.into_iter().filter(|task| self.has(task));
        match (given.next(), given.next()) {
            (Some(one), Some(other)) => Err(misused(format!("either {one} or {other}"))),
            (task, _) => Ok(task.unwrap_or_default()),
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        let url = self.required("--url")?;
        let project_id = self.required("--project-id")?;
        let mut builder = Client::builder(url, project_id).credentials(self.credentials()?);
        if let Some(file) = self.get("--ca") {
            let ca = std::fs::read(file).map_err(|error| wrong(format!("{file}: {error}")))?;
            builder = builder.ca_certificate(&ca);
        }
        if self.has("--allow-plain-http") {
            builder = builder.allow_plain_http();
        }
        type Set = fn(ClientBuilder, Duration) -> ClientBuilder;
        let times: [(&str, Set); 6] = [
            ("--connect-timeout", ClientBuilder::connect_timeout),
            ("--tls-timeout", ClientBuilder::tls_timeout),
            ("--send-timeout", ClientBuilder::send_timeout),
            ("--response-timeout", ClientBuilder::response_timeout),
            ("--total-timeout", ClientBuilder::total_timeout),
            ("--max-idle", ClientBuilder::max_idle),
        ];
        for (name, set) in times {
            if let Some(ms) = self.get(name) {
                let ms = number(name, Some(ms), 0)?;
                builder = set(builder, Duration::from_millis(ms));
            }
        }
        if let Some(rate) = self.get("--min-rate") {
            let rate = number("--min-rate", Some(rate), 0)?;
            builder = builder.min_rate(u32::try_from(rate).unwrap_or(u32::MAX));
        }
        if self.has("--service-code") {
            builder = builder.service_codes(self.all("--service-code"));
        }
        builder.build().map_err(wrong)
    }

    fn credentials(&self) -> Result<Credentials<'_>, Failure> {
        let keys = (self.get("--ak"), self.get("--sk"), self.get("--token"));
        match (keys, self.get("--security-token")) {
            ((Some(ak), Some(sk), None), None) => Ok(Credentials::keys(ak, sk)),
            ((Some(ak), Some(sk), None), Some(token)) => Ok(Credentials::Keys(
                Keys::new(ak, sk).with_security_token(token),
            )),
            ((None, None, Some(token)), None) => Ok(Credentials::token(token)),
            ((None, None, None), None) => Ok(Credentials::None),
            _ => Err(misused(
                "either --ak with --sk (and --security-token), or --token, or none",
            )),
        }
    }

    fn policy(&self) -> Result<Policy, Failure> {
        let default = Policy::default();
        let ms = |name, default| number(name, self.get(name), default);
        Ok(Policy {
            min_backoff_ms: ms("--min-backoff", default.min_backoff_ms)?,
            max_backoff_ms: ms("--max-backoff", default.max_backoff_ms)?,
            hold_ms: ms("--hold", default.hold_ms)?,
            start_spread_ms: ms("--start-spread", 0)?,
            backlog: match self.get("--backlog") {
                None | Some("all") => Backlog::KeepAll,
                Some("latest") => Backlog::LatestPerJob,
                Some(_) => return Err(misused("--backlog is latest or all")),
            },
            when_letters_full: match self.get("--when-letters-full") {
                None | Some("drop") => WhenLettersFull::DropOldest,
                Some("hold") => WhenLettersFull::Hold,
                Some(_) => return Err(misused("--when-letters-full is drop or hold")),
            },
            ..default
        })
    }

    fn courier(&self) -> Result<Node, Failure> {
        let mut limits = Limits::default();
        let max_bytes = self.get("--max-bytes");
        limits.max_bytes = number("--max-bytes", max_bytes, limits.max_bytes)?;
        limits.dead_letter_bytes = limits.dead_letter_bytes.min(limits.max_bytes);
        let policy = self.policy()?;
        let spool = Spool::open(self.required("--spool")?, limits).map_err(wrong)?;
        let now = MonoTime::now();
        Ok(Courier::new(spool, Vec::new(), policy, now, random()))
    }

    /// Looking makes no spool.
    fn courier_of_existing(&self) -> Result<Node, Failure> {
        let dir = self.required("--spool")?;
        match Path::new(dir).exists() {
            true => self.courier(),
            false => Err(wrong(format!("there is no spool {dir}"))),
        }
    }
}

fn misused(why: impl ToString) -> Failure {
    wrong(format!("{}\n{USAGE}\n--help says more", why.to_string()))
}

fn number(name: &str, text: Option<&str>, default: u64) -> Result<u64, Failure> {
    let parsed = text.map_or(Ok(default), str::parse);
    parsed.map_err(|error| wrong(format!("{name} {}: {error}", text.unwrap_or_default())))
}

// Lines for whoever reads them.

/// Standard output and standard error. Each is written by a thread of its own, so that nobody who has something to say waits for a
/// reader.
struct Console {
    lines: Arc<Lines>,
    errors: Arc<Lines>,
    writers: [JoinHandle<()>; 2],
}

impl Console {
    fn new() -> Self {
        let (lines, errors) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let writer = |lines: &Arc<Lines>, out: fn(&[u8]) -> io::Result<()>| {
            let lines = Arc::clone(lines);
            thread::spawn(move || lines.write_all(out))
        };
        let writers = [
            writer(&lines, |text| write_all(io::stdout().lock(), text)),
            writer(&errors, |text| write_all(io::stderr(), text)),
        ];
        Console {
            lines,
            errors,
            writers,
        }
    }

    /// Waits until all is read, or nobody listens any more.
    fn end(self) {
        for lines in [&self.lines, &self.errors] {
            lines.lock().ended = true;
            lines.changed.notify_all();
        }
        for writer in self.writers {
            let _ = writer.join();
        }
    }
}

/// Also to a pipe that does not block, as whoever started this may have made it: that it is full now does not mean that nobody reads.
fn write_all(mut out: impl Write, mut text: &[u8]) -> io::Result<()> {
    loop {
        let is_out = text.is_empty();
        let result = if is_out {
            out.flush()
        } else {
            let written = out.write(text);
            written.map(|n| text = text.get(n..).unwrap_or_default())
        };
        match result {
            Ok(()) if is_out => return Ok(()),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Lines that wait to be read: [`UNREAD`] bytes, or one that is longer.
#[derive(Default)]
struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    omitted: u64,
    ended: bool,
}

impl Queue {
    fn has_room(&self, len: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(len) <= UNREAD
    }

    fn push(&mut self, line: String) {
        if self.omitted > 0 {
            let omitted = std::mem::take(&mut self.omitted);
            self.push(format!("omitted {omitted}"));
        }
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a line of one thread.
    fn reserve(&self, len: usize) {
        let mut queue = self.lock();
        while !queue.has_room(len) {
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says a line; it never waits.
    fn say(&self, line: String) {
        self.lock().push(line);
        self.changed.notify_all();
    }

    /// Says a line, if there is room for it.
    fn say_if_read(&self, line: String) {
        let mut queue = self.lock();
        if queue.has_room(line.len()) {
            queue.push(line);
        } else {
            queue.omitted = queue.omitted.saturating_add(1);
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes until the end. When nobody listens any more, what comes is dropped: reports are delivered all the same.
    fn write_all(&self, write: impl Fn(&[u8]) -> io::Result<()>) {
        loop {
            let mut queue = self.lock();
            while queue.lines.is_empty() && !queue.ended {
                let woken = self.changed.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
            }
            if queue.omitted > 0 {
                let omitted = std::mem::take(&mut queue.omitted);
                queue.push(format!("omitted {omitted}"));
            }
            let lines = std::mem::take(&mut queue.lines);
            queue.bytes = 0;
            let ended = queue.ended;
            drop(queue);
            self.changed.notify_all();
            // In one piece, so that no other line gets into it.
            let mut text = String::new();
            for line in lines {
                text.push_str(&line.replace(char::is_control, " "));
                text.push('\n');
            }
            let _ = write(text.as_bytes());
            if ended && self.lock().lines.is_empty() {
                return;
            }
        }
    }
}
