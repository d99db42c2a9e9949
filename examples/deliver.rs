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
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use edge_report::courier::{
    Backlog, Cause, Courier, CourierError, Outbox, OutboxError, Policy, Reason, Ticket,
    WhenLettersFull,
};
use edge_report::exchange::Keys;
use edge_report::{
    Client, ClientBuilder, Credentials, DeliveryEvent, MonoTime, Pause, ReportBuf, Reporter, Spool,
    SpoolIoError, SpoolOptions, WallTime,
};
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
            deliver_input(client, courier, console)
        }
    }
}

type Node = Courier<Spool, Vec<u8>>;
type NodeError = CourierError<SpoolIoError>;

// Deliver.

fn deliver_input(client: Client, courier: Node, console: &Console) -> Result<(), Failure> {
    let reader = Arc::new(OnceLock::<Thread>::new());
    let (end, ended) = mpsc::channel();
    let observer = Observer {
        lines: Arc::clone(&console.lines),
        errors: Arc::clone(&console.errors),
        reader: Arc::clone(&reader),
        end: end.clone(),
    };
    let reporter = Reporter::start(client, courier, move |event| observer.tell(event));
    let reporter = Arc::new(reporter.map_err(failed)?);
    let reading = thread::spawn({
        let (reporter, lines, errors) = (
            Arc::clone(&reporter),
            Arc::clone(&console.lines),
            Arc::clone(&console.errors),
        );
        move || {
            let _ = reader.set(thread::current());
            let result = read(&reporter, &lines, &errors);
            let _ = end.send(Ok(()));
            result
        }
    });
    // If the spool is gone, the reader, who may wait for a line, ends with the process.
    ended.recv().map_err(failed)??;
    let result = reading.join().map_err(|_| failed("the reader failed"))?;
    while reporter.flush(soon()).map_err(failed)? != Pause::Idle {
        if let Ok(end) = ended.try_recv() {
            end?;
        }
    }
    result
}

/// So often it looks whether the spool is gone, once the input has ended.
#[allow(clippy::arithmetic_side_effects, reason = "a clock has a second left")]
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

/// Tells what becomes of reports.
struct Observer {
    lines: Arc<Lines>,
    errors: Arc<Lines>,
    /// It may wait for room.
    reader: Arc<OnceLock<Thread>>,
    end: Sender<Result<(), Failure>>,
}

impl Observer {
    fn tell(&self, event: DeliveryEvent<'_>) {
        let trouble = match event {
            DeliveryEvent::Delivered { report, .. } => {
                let line = format!("delivered {}", message_id(report));
                self.lines.say_if_read(line);
                None
            }
            DeliveryEvent::Refused { report, reason, .. }
            | DeliveryEvent::Expired { report, reason, .. } => {
                let line = format!("refused {} {reason}", message_id(report));
                self.lines.say_if_read(line);
                None
            }
            DeliveryEvent::Waiting {
                report,
                wait,
                reason,
                ..
            } => {
                let ms = wait.as_millis();
                Some(format!(
                    "{}: {reason}; again in {ms} ms",
                    message_id(report)
                ))
            }
            DeliveryEvent::Held {
                report,
                wait,
                reason,
                ..
            } => {
                let (id, ms) = (message_id(report), wait.as_millis());
                Some(format!("{id}: {reason}; nothing is sent for {ms} ms"))
            }
            DeliveryEvent::DeadLetterFailed {
                report,
                reason,
                obstacle,
                ..
            } => {
                let id = message_id(report);
                let line = format!("{id}: {reason}; not yet a dead letter, and waits: {obstacle}");
                Some(line)
            }
            // A disk that fails may be well again later; what is stored stays.
            DeliveryEvent::Failed { error, wait } => {
                if error.downcast_ref().is_some_and(is_gone) {
                    let _ = self.end.send(Err(failed(error)));
                }
                let ms = wait.as_millis();
                Some(format!("the spool: {error}; again in {ms} ms"))
            }
            _ => None,
        };
        if let Some(line) = trouble {
            self.errors.say_if_read(line);
        }
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

/// Stores what comes from standard input.
fn read(reporter: &Reporter, lines: &Lines, errors: &Lines) -> Result<(), Failure> {
    let mut told = String::new();
    for (number, line) in (1u64..).zip(io::stdin().lock().split(b'\n')) {
        let line = line.map_err(|error| failed(format!("standard input: {error}")))?;
        let report = line.trim_ascii();
        if report.is_empty() {
            continue;
        }
        let stored = format!("stored {}", message_id(report));
        // Here it waits until somebody reads, so that it need not with the courier under lock.
        lines.reserve(stored.len());
        let answer = loop {
            // Said before it can be delivered.
            let stored = reporter.with_courier(|courier| {
                let now = (MonoTime::now(), Some(WallTime::now()));
                let ticket = courier.submit_encoded(report, now.0, now.1)?;
                lines.say(stored.clone());
                Ok(ticket)
            });
            let error: NodeError = match stored {
                Ok(_) => break None,
                Err(error) => error,
            };
            match error {
                CourierError::Invalid(_) | CourierError::Outbox(OutboxError::TooLarge) => {
                    break Some(format!("invalid {number} {error}"));
                }
                error if is_gone(&error) => return Err(failed(error)),
                error => {
                    let why = error.to_string();
                    if told != why {
                        let line = format!("line {number} waits to be stored: {why}");
                        errors.say_if_read(line);
                        told = why;
                    }
                }
            }
            thread::park_timeout(NO_ROOM);
        };
        if let Some(answer) = answer {
            lines.say(answer);
        }
    }
    Ok(())
}

/// Whether the spool was removed, so that trying again does not help.
fn is_gone(error: &NodeError) -> bool {
    matches!(error, CourierError::Outbox(OutboxError::Device(error)) if error.is_missing())
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
    let counters = status.counters;
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
    let next = status.next_attempt.map(|at| at.since_ms(now.0).to_string());
    let age = oldest.map(|time| now.1.saturating_sub(time.unix_ms()).to_string());
    for (name, value) in [
        ("submitted", counters.submitted.to_string()),
        ("delivered", counters.delivered.to_string()),
        ("refused", counters.refused.to_string()),
        ("superseded", counters.superseded.to_string()),
        ("expired", counters.expired.to_string()),
        ("torn", counters.torn.to_string()),
        ("corrupt", counters.corrupt.to_string()),
        ("waiting", status.waiting.to_string()),
        ("letters", counters.letters.to_string()),
        ("letters_dropped", counters.letters_dropped.to_string()),
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
        // The very bytes; line breaks can only stand between tokens.
        let report = String::from_utf8_lossy(report).replace(['\n', '\r'], " ");
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
        courier = Courier::with_policy(spool, policy);
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
        Ok(default
            .with_min_backoff(Duration::from_millis(ms(
                "--min-backoff",
                default.min_backoff_ms,
            )?))
            .with_max_backoff(Duration::from_millis(ms(
                "--max-backoff",
                default.max_backoff_ms,
            )?))
            .with_hold(Duration::from_millis(ms("--hold", default.hold_ms)?))
            .with_start_spread(Duration::from_millis(ms("--start-spread", 0)?))
            .with_backlog(match self.get("--backlog") {
                None | Some("all") => Backlog::KeepAll,
                Some("latest") => Backlog::LatestPerJob,
                Some(_) => return Err(misused("--backlog is latest or all")),
            })
            .with_when_letters_full(match self.get("--when-letters-full") {
                None | Some("drop") => WhenLettersFull::DropOldest,
                Some("hold") => WhenLettersFull::Hold,
                Some(_) => return Err(misused("--when-letters-full is drop or hold")),
            }))
    }

    fn courier(&self) -> Result<Node, Failure> {
        let mut limits = SpoolOptions::default();
        let max_bytes = self.get("--max-bytes");
        limits.max_bytes = number("--max-bytes", max_bytes, limits.max_bytes)?;
        limits.dead_letter_bytes = limits.dead_letter_bytes.min(limits.max_bytes);
        let policy = self.policy()?;
        let spool = Spool::open(self.required("--spool")?, limits).map_err(wrong)?;
        Ok(Courier::with_policy(spool, policy))
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

    /// Writes until the end. When nobody listens any more, what comes is dropped: reports are delivered anyway.
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
