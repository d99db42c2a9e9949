//! Reads reports from standard input, a line of JSON each, and delivers them. What it has stored survives kills and power cuts.
//!
//!     cargo run --example deliver -- --spool DIR --url https://gateway.example --project-id 0a1b2c --ak AK --sk SK
//!
//! It answers on standard output, a line each:
//!
//!     stored MESSAGE_ID            on stable storage: whoever wrote it may forget it
//!     delivered MESSAGE_ID         the service has it
//!     refused MESSAGE_ID REASON    the service will never take it; kept among the dead letters
//!     invalid LINE FINDING         the report on this line breaks the contract, and is not stored
//!
//! At the end of the input it goes on until nothing waits. Started again after a kill, it takes up what waits: the report
//! that was under way is sent again, and the receiver drops the repeat by its `message_id`. When the spool or the disk is
//! full, it stops reading until there is room. Trouble on the way stands on standard error.
//!
//! With `--status` it shows what became of all reports so far, and ends.
//!
//! Ends 0: nothing waits. 1: spool or input failed. 2: usage, settings, or the spool is in use.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use edge_report::courier::{Courier, CourierError, Event, LogError, Policy, Step, Verdict};
use edge_report::exchange::Keys;
use edge_report::{Client, Credentials, Limits, MonoTime, ReportBuf, Spool, SpoolIoError};
use edge_report::{WallTime, random};

const USAGE: &str = "usage: deliver --spool DIR [--max-bytes N] --status
       deliver --spool DIR [--max-bytes N] --url URL --project-id ID [--ak AK --sk SK [--security-token T] | --token T]
               [--ca FILE] [--allow-plain-http] [--min-backoff MS] [--max-backoff MS] [--start-spread MS]";

/// How long to wait before trying again to store a report.
const NO_ROOM: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let ready = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        if arguments.status {
            return show_status(&arguments).map(|()| None);
        }
        let client = arguments.client()?;
        let courier = arguments.courier()?;
        Ok(Some((client, courier)))
    });
    let (code, why) = match ready {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some((client, courier))) => match run(client, courier) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(why) => (1, why),
        },
        Err(why) => (2, why),
    };
    complain(&why);
    ExitCode::from(code)
}

type Node = Courier<Spool, Vec<u8>>;

/// What the thread that reads and the one that delivers share.
struct Shared {
    state: Mutex<State>,
    /// A report came, or the end of the input.
    news: Condvar,
}

struct State {
    courier: Node,
    input_ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(mut client: Client, courier: Node) -> Result<(), String> {
    let state = State {
        courier,
        input_ended: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        news: Condvar::new(),
    });
    let reader = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let result = read(&shared);
            shared.lock().input_ended = true;
            shared.news.notify_one();
            result
        }
    });
    // If this fails, the reader, who may wait for a line, ends with the process.
    deliver(&shared, &mut client).map_err(|error| error.to_string())?;
    let read = reader.join().map_err(|_| "the reader failed")?;
    read.map_err(|error| format!("standard input: {error}"))
}

/// Stores what comes from standard input.
fn read(shared: &Shared) -> io::Result<()> {
    let mut told = false;
    for (number, line) in (1u64..).zip(io::stdin().lock().split(b'\n')) {
        let line = line?;
        let report = line.trim_ascii();
        if report.is_empty() {
            continue;
        }
        loop {
            let mut state = shared.lock();
            match state.courier.submit_encoded(report, MonoTime::now()) {
                Ok(_) => {
                    // Before it can be delivered.
                    say(&format!("stored {}", message_id(report)));
                    shared.news.notify_one();
                    break;
                }
                Err(
                    error @ (CourierError::Invalid(_) | CourierError::Outbox(LogError::TooLarge)),
                ) => {
                    say(&format!("invalid {number} {error}"));
                    break;
                }
                Err(error) => {
                    drop(state);
                    if !told {
                        complain(&format!("line {number} waits to be stored: {error}"));
                        told = true;
                    }
                    thread::sleep(NO_ROOM);
                }
            }
        }
    }
    Ok(())
}

/// Delivers until the input has ended and nothing waits.
fn deliver(
    shared: &Shared,
    client: &mut Client,
) -> Result<(), CourierError<LogError<SpoolIoError>>> {
    let mut body = Vec::new();
    loop {
        // 1. What to do next.
        let mut guard = shared.lock();
        let state = &mut *guard;
        let ticket = match state.courier.next(MonoTime::now())? {
            Step::Send(parcel) => {
                body.clear();
                body.extend_from_slice(parcel.body);
                client.set_clock_offset_ms(parcel.clock_offset_ms);
                parcel.ticket
            }
            Step::Wait(ms) => {
                drop(shared.news.wait_timeout(guard, Duration::from_millis(ms)));
                continue;
            }
            Step::Idle if state.input_ended => return state.courier.flush(),
            Step::Idle => {
                drop(shared.news.wait(guard));
                continue;
            }
        };
        drop(guard);

        // 2. Send it. Others may submit meanwhile.
        let (event, answer) = match client.send_encoded(&body) {
            Ok(reply) => (
                Event::from_reply(&reply, WallTime::now()),
                reply.to_string(),
            ),
            Err(error) => (Event::from(&error), error.to_string()),
        };

        // 3. What became of it.
        let now = MonoTime::now();
        let verdict = shared.lock().courier.settle(ticket, event, now, random())?;
        let id = message_id(&body);
        match verdict {
            Verdict::Delivered => say(&format!("delivered {id}")),
            Verdict::Refused(_) | Verdict::GaveUp(_) => say(&format!("refused {id} {answer}")),
            Verdict::Again { at: then } | Verdict::Held { until: then, .. } => {
                let ms = then.since(now);
                complain(&format!("{id}: {answer}; again in {ms} ms"));
            }
        }
    }
}

/// Of a report that was checked.
fn message_id(report: &[u8]) -> String {
    let report = ReportBuf::from_json(report).unwrap_or_default();
    report.message_id
}

/// One line on standard output. That nobody listens there must not keep reports from being delivered.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.replace(char::is_control, " "));
    let _ = out.flush();
}

/// On standard error, if there is one.
fn complain(line: &str) {
    // In one piece, so that no other line gets into it.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn show_status(arguments: &Arguments) -> Result<(), String> {
    let dir = arguments.spool()?;
    if !std::path::Path::new(dir).exists() {
        return Err(format!("there is no spool {dir}"));
    }
    let status = arguments.courier()?.status();
    let ledger = status.ledger;
    for (name, value) in [
        ("submitted", ledger.submitted),
        ("delivered", ledger.delivered),
        ("refused", ledger.refused),
        ("superseded", ledger.superseded),
        ("expired", ledger.expired),
        ("torn", ledger.torn),
        ("corrupt", ledger.corrupt),
        ("waiting", status.waiting),
    ] {
        say(&format!("{name} {value}"));
    }
    Ok(())
}

#[derive(Default)]
struct Arguments {
    spool: Option<String>,
    max_bytes: Option<String>,
    status: bool,
    url: Option<String>,
    project_id: Option<String>,
    ak: Option<String>,
    sk: Option<String>,
    security_token: Option<String>,
    token: Option<String>,
    ca: Option<String>,
    allow_plain_http: bool,
    min_backoff: Option<String>,
    max_backoff: Option<String>,
    start_spread: Option<String>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut all = Arguments::default();
        while let Some(name) = given.next() {
            let slot = match name.as_str() {
                "--spool" => &mut all.spool,
                "--max-bytes" => &mut all.max_bytes,
                "--url" => &mut all.url,
                "--project-id" => &mut all.project_id,
                "--ak" => &mut all.ak,
                "--sk" => &mut all.sk,
                "--security-token" => &mut all.security_token,
                "--token" => &mut all.token,
                "--ca" => &mut all.ca,
                "--min-backoff" => &mut all.min_backoff,
                "--max-backoff" => &mut all.max_backoff,
                "--start-spread" => &mut all.start_spread,
                "--allow-plain-http" => {
                    all.allow_plain_http = true;
                    continue;
                }
                "--status" => {
                    all.status = true;
                    continue;
                }
                _ => return Err(format!("unknown argument {name}\n{USAGE}")),
            };
            let value = given.next();
            *slot = Some(value.ok_or(format!("{name} needs a value\n{USAGE}"))?);
        }
        Ok(all)
    }

    fn spool(&self) -> Result<&str, String> {
        required("--spool", self.spool.as_deref())
    }

    fn client(&self) -> Result<Client, String> {
        let url = required("--url", self.url.as_deref())?;
        let project_id = required("--project-id", self.project_id.as_deref())?;
        let mut builder = Client::builder(url, project_id).credentials(self.credentials()?);
        if let Some(file) = &self.ca {
            let ca = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            builder = builder.ca_certificate(&ca);
        }
        if self.allow_plain_http {
            builder = builder.allow_plain_http();
        }
        builder.build().map_err(|error| error.to_string())
    }

    fn credentials(&self) -> Result<Credentials<'_>, String> {
        match (&self.ak, &self.sk, &self.token) {
            (Some(ak), Some(sk), None) => Ok(Credentials::Keys(match &self.security_token {
                Some(token) => Keys::new(ak, sk).with_security_token(token),
                None => Keys::new(ak, sk),
            })),
            (None, None, Some(token)) => Ok(Credentials::token(token)),
            (None, None, None) => Ok(Credentials::None),
            _ => Err(format!(
                "either --ak with --sk, or --token, or none\n{USAGE}"
            )),
        }
    }

    fn courier(&self) -> Result<Node, String> {
        let mut limits = Limits::default();
        limits.max_bytes = number("--max-bytes", &self.max_bytes, limits.max_bytes)?;
        limits.dead_letter_bytes = limits.dead_letter_bytes.min(limits.max_bytes);
        let mut policy = Policy::default();
        let backoff = (policy.min_backoff_ms, policy.max_backoff_ms);
        policy.min_backoff_ms = number("--min-backoff", &self.min_backoff, backoff.0)?;
        policy.max_backoff_ms = number("--max-backoff", &self.max_backoff, backoff.1)?;
        policy.start_spread_ms = number("--start-spread", &self.start_spread, 0)?;
        let spool = Spool::open(self.spool()?, limits).map_err(|error| error.to_string())?;
        let now = MonoTime::now();
        Ok(Courier::new(spool, Vec::new(), policy, now, random()))
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value.ok_or(format!("{name} is needed\n{USAGE}"))
}

fn number(name: &str, text: &Option<String>, default: u64) -> Result<u64, String> {
    match text {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|error| format!("{name} {text}: {error}")),
    }
}
