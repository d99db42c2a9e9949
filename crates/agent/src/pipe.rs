//! `pipe`: reads reports from standard input, a line of JSON each, and delivers them. What it has stored survives kills and power cuts.
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

use std::io::{self, BufRead, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use edge_report::courier::{CourierError, OutboxError};
use edge_report::{
    Client, DeliveryEvent, MonoTime, Pause, ReportBuf, Reporter, SpoolIoError, WallTime,
};

use crate::console::{Console, Lines};
use crate::control::Control;
use crate::failure::{Failure, failed};
use crate::progress;
use crate::service::{self, Node};
use crate::settings::Settings;
use crate::store::is_gone;

/// How long to wait before trying again to store a report, unless one leaves the spool.
const NO_ROOM: Duration = Duration::from_millis(500);

type NodeError = CourierError<SpoolIoError>;

pub(crate) fn pipe(settings: &Settings) -> Result<(), Failure> {
    let client = service::client(settings)?;
    let courier = service::courier(settings, 0)?;
    let console = Console::new();
    let done = deliver_input(client, courier, settings.needed("spool")?, &console);
    // The spool is closed: somebody who does not read this keeps nobody else out.
    console.end();
    done
}

fn deliver_input(
    client: Client,
    courier: Node,
    spool: &str,
    console: &Console,
) -> Result<(), Failure> {
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
    // Until it returns.
    let _control = Control::start(spool, &reporter).map_err(|why| {
        console.errors.say_if_read(why);
    });
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
    let tick = match io::stdin().is_terminal() {
        // Not into what somebody types.
        true => Duration::MAX,
        false => progress::tick(),
    };
    loop {
        match ended.recv_timeout(tick) {
            Err(RecvTimeoutError::Timeout) => show(&reporter),
            end => break end.map_err(failed)??,
        }
    }
    let result = reading.join().map_err(|_| failed("the reader failed"))?;
    show(&reporter);
    while reporter.flush(soon()).map_err(failed)? != Pause::Idle {
        show(&reporter);
        if let Ok(end) = ended.try_recv() {
            end?;
        }
    }
    result
}

fn show(reporter: &Reporter) {
    progress::show("waiting", reporter.status().waiting);
}

/// So often it looks whether the spool is gone, once the input has ended.
#[allow(clippy::arithmetic_side_effects, reason = "a clock has a second left")]
fn soon() -> Instant {
    Instant::now() + progress::tick().min(Duration::from_secs(1))
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

/// Of a report that was checked.
fn message_id(report: &[u8]) -> String {
    let report = ReportBuf::from_json(report).unwrap_or_default();
    report.message_id
}
