//! `run`: the watch asks Flink, and what it has to report goes into the spool, from which a thread delivers it.
//!
//! ```text
//!  Flink ◄── GET ── the loop ── report ──► spool ──► the reporter's thread ──► service
//!                      │ ▲
//!          SPOOL.jobs ◄┘ └── signals
//! ```

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use edge_report::courier::{CourierError, OutboxError, Status};
use edge_report::flink::{Draft, Slot, Step, Watch};
use edge_report::{DeliveryEvent, Encode, MonoTime, Pause, ReportBuf, Reporter, SpoolIoError};

use crate::failure::{Failure, failed};
use crate::flink::Flink;
use crate::log;
use crate::notify::notify;
use crate::settings::Settings;
use crate::signals::{Signal, Signals};
use crate::state::{Asked, Jobs, MetricsFile, Table};
use crate::{options, service};

/// The texts of one report: plans have 2 to 60 KB.
const TEXTS: usize = 128 * 1024;
/// So often it looks whether an attempt has come to its end.
const TICK: Duration = Duration::from_millis(20);

/// Whether `run` would start with these settings, as far as can be told without Flink, service and spool.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let mapped = options::mapped(settings)?;
    options::options(settings, &mapped)?;
    options::slots(settings)?;
    grace(settings)?;
    Flink::new(settings)?;
    for (name, file) in [
        ("metrics-file", settings.get("metrics-file")),
        ("spool", settings.get("spool")),
    ] {
        let parent = file.and_then(|file| Path::new(file).parent());
        if let Some(parent) = parent.filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
            let parent = parent.display();
            return Err(format!("--{name}: there is no directory {parent}; make it first").into());
        }
    }
    if !settings.has("dry-run") {
        settings.needed("spool")?;
        service::client(settings)?;
        service::limits(settings)?;
        service::policy(settings)?;
    }
    Ok(())
}

pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    check(settings)?;
    // Before anybody can know that it is there, since a signal would end it.
    let mut signals = Signals::catch().map_err(failed)?;
    let mapped = options::mapped(settings)?;
    let table = vec![Slot::EMPTY; options::slots(settings)?];
    let watch = Watch::new(table, vec![0; TEXTS], options::options(settings, &mapped)?);
    let store = match settings.has("dry-run") {
        true => None,
        false => Some(Store::open(settings)?),
    };
    let mut agent = Agent {
        watch,
        flink: Flink::new(settings)?,
        is_up: true,
        asked: Asked::default(),
        store,
        metrics: settings.get("metrics-file").map(MetricsFile::new),
        once: settings.has("once"),
    };
    if let Some(store) = &agent.store {
        store.table.restore(&mut agent.watch)?;
    }
    notify("READY=1");
    let flink = settings.needed("flink")?;
    log::info("started", &[("flink", &flink)]);
    let ended = agent.work(&mut signals);
    notify("STOPPING=1");
    let stopped = agent.stop(grace(settings)?);
    log::info("ended", &[]);
    ended.and(stopped)
}

fn grace(settings: &Settings) -> Result<Duration, String> {
    service::ms(settings, "grace", 60_000)
}

/// Where reports go, and what was reported.
struct Store {
    reporter: Reporter,
    table: Table,
    /// Dead letters before this run.
    letters: u64,
}

impl Store {
    fn open(settings: &Settings) -> Result<Store, Failure> {
        let client = service::client(settings)?;
        let courier = service::courier(settings)?;
        let letters = died(&courier.status());
        let reporter = Reporter::start(client, courier, |event| tell(&event)).map_err(failed)?;
        Ok(Store {
            reporter,
            table: Table::beside(settings.needed("spool")?),
            letters,
        })
    }

    /// Whether the report is durable, or can never be.
    fn keep(&self, draft: &Draft<'_>) -> Result<bool, Failure> {
        let id = draft.message_id;
        let why = match self.reporter.submit(&draft.report()) {
            Ok(_) => {
                log::info("stored", &[("report", &id), ("final", &draft.is_final)]);
                return Ok(true);
            }
            Err(why) => why,
        };
        match why {
            CourierError::Invalid(_) | CourierError::Outbox(OutboxError::TooLarge) => {
                log::error("lost", &[("report", &id), ("why", &why)]);
                Ok(true)
            }
            why if is_gone(&why) => Err(failed(why)),
            why => {
                log::warn("not-stored", &[("report", &id), ("why", &why)]);
                Ok(false)
            }
        }
    }
}

fn died(status: &Status) -> u64 {
    let all = status.counters;
    all.refused.saturating_add(all.expired)
}

/// Whether the spool was removed, so that trying again does not help.
fn is_gone(error: &CourierError<SpoolIoError>) -> bool {
    matches!(error, CourierError::Outbox(OutboxError::Device(error)) if error.is_missing())
}

struct Agent<'s> {
    watch: Jobs<'s>,
    flink: Flink,
    /// Whether the last overview came.
    is_up: bool,
    asked: Asked,
    /// None: reports are printed.
    store: Option<Store>,
    metrics: Option<MetricsFile>,
    once: bool,
}

impl Agent<'_> {
    /// Until it is told to end, or has looked once.
    fn work(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let mut wait = Duration::ZERO;
        loop {
            match signals.wait(wait) {
                Some(Signal::End) => return Ok(()),
                Some(Signal::Reload) => self.reload(),
                None => {}
            }
            wait = Duration::ZERO;
            let now = MonoTime::now();
            match self.watch.next(now) {
                Step::Get(path) => {
                    let response = self.flink.get(path);
                    let path = path.to_owned();
                    self.take(&path, response);
                }
                Step::Report(draft) => {
                    let is_kept = match &self.store {
                        Some(store) => store.keep(&draft)?,
                        None => print(&draft)?,
                    };
                    self.watch.reported(is_kept);
                    if let Some(store) = &mut self.store {
                        store.table.save(&mut self.watch);
                    }
                }
                Step::Wait(until) => {
                    wait = until.since(now);
                    self.show();
                    let status = self.watch.status();
                    if self.once && !status.is_up {
                        return Err(failed("Flink was asked once, and did not answer well"));
                    }
                    if self.once && status.unreported == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take(&mut self, path: &str, response: Result<(u16, Vec<u8>), String>) {
        self.asked.requests = self.asked.requests.saturating_add(1);
        let now = MonoTime::now();
        let why = match response {
            Ok((status, body)) => {
                let taken = self.watch.response(status, &body, now);
                taken.err().map(|why| why.to_string())
            }
            Err(why) => {
                self.watch.failed(now);
                Some(why)
            }
        };
        if why.is_some() {
            self.asked.failures = self.asked.failures.saturating_add(1);
        }
        let was_up = std::mem::replace(&mut self.is_up, self.watch.status().is_up);
        match why {
            // Once for each time that it is away.
            Some(why) if !was_up => log::debug("flink-failed", &[("path", &path), ("why", &why)]),
            Some(why) => log::warn("flink-failed", &[("path", &path), ("why", &why)]),
            None if self.is_up && !was_up => log::info("flink-is-back", &[]),
            None => {}
        }
    }

    /// For whoever watches the agent.
    fn show(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            let status = self.store.as_ref().map(|store| store.reporter.status());
            metrics.write(self.watch.status(), self.asked, status);
        }
    }

    /// Takes other addresses, credentials, certificates and keys. What is wrong leaves all as it was.
    fn reload(&mut self) {
        let read = || {
            let settings = Settings::read(env::args_os().skip(1))?;
            let client = match &self.store {
                Some(_) => Some(service::client(&settings)?),
                None => None,
            };
            Ok((Flink::new(&settings)?, client))
        };
        let read: Result<_, String> = read();
        match read {
            Ok((flink, client)) => {
                self.flink = flink;
                if let (Some(store), Some(new)) = (&self.store, client) {
                    store.reporter.with_client(|client| *client = new);
                    store.reporter.wake();
                }
                log::info("reloaded", &[]);
            }
            Err(why) => log::error(
                "reload-failed",
                &[("why", &why), ("so", &"all stays as it was")],
            ),
        }
    }

    /// After the exchange that is under way; having looked once, when nothing waits any more.
    fn stop(mut self, grace: Duration) -> Result<(), Failure> {
        if let Some(store) = &mut self.store {
            store.table.save(&mut self.watch);
        }
        let until = Instant::now().checked_add(grace);
        let until = until.unwrap_or_else(Instant::now);
        let drained = self.drain(until);
        self.show();
        let Some(store) = self.store else {
            return Ok(());
        };
        store.reporter.stop().map_err(failed)?;
        drained
    }

    fn drain(&self, until: Instant) -> Result<(), Failure> {
        let Some(Store {
            reporter, letters, ..
        }) = &self.store
        else {
            return Ok(());
        };
        if self.once {
            if reporter.flush(until).map_err(failed)? != Pause::Idle {
                let waiting = reporter.status().waiting;
                return Err(failed(format!(
                    "{waiting} reports still wait in the spool; the next run delivers them"
                )));
            }
            let died = died(&reporter.status()).saturating_sub(*letters);
            if died > 0 {
                return Err(failed(format!(
                    "{died} reports are dead letters now; `letters` shows why"
                )));
            }
            return Ok(());
        }
        let ticket = reporter.status().in_flight;
        while ticket.is_some() && reporter.status().in_flight == ticket && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

/// A line of JSON.
fn print(draft: &Draft<'_>) -> Result<bool, Failure> {
    let mut line = Vec::new();
    if let Err(why) = draft.report().encode_into(&mut line) {
        log::error("lost", &[("report", &draft.message_id), ("why", &why)]);
        return Ok(true);
    }
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)
        .and_then(|()| out.flush())
        .map_err(|why| failed(format!("standard output: {why}")))?;
    Ok(true)
}

/// What became of a report.
fn tell(event: &DeliveryEvent<'_>) {
    let id = |report: &[u8]| ReportBuf::from_json(report).unwrap_or_default().message_id;
    match event {
        DeliveryEvent::Delivered { report, .. } => {
            log::info("delivered", &[("report", &id(report))]);
        }
        DeliveryEvent::Refused { report, reason, .. }
        | DeliveryEvent::Expired { report, reason, .. } => {
            log::error("dead-letter", &[("report", &id(report)), ("why", reason)]);
        }
        DeliveryEvent::Waiting {
            report,
            wait,
            reason,
            ..
        } => {
            let ms = wait.as_millis();
            log::warn(
                "waiting",
                &[("report", &id(report)), ("ms", &ms), ("why", reason)],
            );
        }
        DeliveryEvent::Held {
            report,
            wait,
            reason,
            ..
        } => {
            let ms = wait.as_millis();
            log::warn(
                "held",
                &[("report", &id(report)), ("ms", &ms), ("why", reason)],
            );
        }
        DeliveryEvent::Failed { .. }
        | DeliveryEvent::DeadLetterFailed { .. }
        | DeliveryEvent::Corrupt { .. } => {
            log::error("delivery", &[("why", event)]);
        }
        other => log::info("delivery", &[("what", other)]),
    }
}
