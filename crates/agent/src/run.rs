//! `run`: the watch asks Flink, and what it has to report goes into the spool, from which a thread delivers it.
//!
//! ```text
//!  Flink ◄── GET ── the loop ── report ──► spool ──► the reporter's thread ──► service
//!                      │ ▲
//!          SPOOL.jobs ◄┘ └── signals
//! ```

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use edge_report::flink::{Draft, Slot, Step, Watch};
use edge_report::{Encode, MonoTime};

use crate::failure::{Failure, failed};
use crate::flink::Flink;
use crate::log;
use crate::notify::notify;
use crate::settings::Settings;
use crate::signals::{Signal, Signals};
use crate::state::{Asked, Jobs, MetricsFile};
use crate::store::Store;
use crate::{options, service};

/// The texts of one report: plans have 2 to 60 KB.
const TEXTS: usize = 128 * 1024;
/// What is wrong with jobs for which the table is too small.
const UNWATCHED: &str = "have no room and are not reported; raise --max-jobs";

/// Whether `run` would start with these settings, as far as can be told without Flink, service and spool.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let mapped = options::mapped(settings)?;
    options::options(settings, &mapped)?;
    options::slots(settings)?;
    grace(settings)?;
    log::level(settings)?;
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
    if let Some(file) = settings.get("metrics-file")
        && !may_be_replaced(Path::new(file))
    {
        let why = "is no file that can be replaced: neither empty nor with metrics in it";
        return Err(format!("--metrics-file {file} {why}").into());
    }
    if !settings.has("dry-run") {
        settings.needed("spool")?;
        service::client(settings)?;
        service::limits(settings)?;
        service::policy(settings, 0)?;
    }
    Ok(())
}

/// For metrics. As root anything could be, also /dev/null; and by a slip of the pen the file of settings.
fn may_be_replaced(file: &Path) -> bool {
    let Ok(found) = fs::metadata(file) else {
        return true;
    };
    let mut beginning = Vec::new();
    let mut read = || {
        let file = fs::File::open(file)?;
        file.take(6).read_to_end(&mut beginning)
    };
    found.is_file() && read().is_ok() && (beginning.is_empty() || beginning == b"# HELP")
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
        has_room: true,
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
    let stopped = agent.stop(&ended, grace(settings)?, &mut signals);
    log::info("ended", &[]);
    ended?;
    stopped
}

/// Why it ends.
enum End {
    /// By a signal.
    Told,
    /// It has looked once.
    Looked,
}

fn grace(settings: &Settings) -> Result<Duration, String> {
    service::ms(settings, "grace", 60_000)
}

struct Agent<'s> {
    watch: Jobs<'s>,
    flink: Flink,
    /// Whether the last overview came.
    is_up: bool,
    /// Whether each job that the cluster lists is watched.
    has_room: bool,
    asked: Asked,
    /// None: reports are printed.
    store: Option<Store>,
    metrics: Option<MetricsFile>,
    once: bool,
}

impl Agent<'_> {
    /// Until it is told to end, or has looked once.
    fn work(&mut self, signals: &mut Signals) -> Result<End, Failure> {
        let mut wait = Duration::ZERO;
        loop {
            match signals.wait(wait) {
                Some(Signal::End) => return Ok(End::Told),
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
                    if self.once && !is_kept {
                        let why = "a report could not be stored; make room, and say this again";
                        return Err(failed(why));
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
                        return match status.unwatched {
                            0 => Ok(End::Looked),
                            jobs => Err(failed(format!("{jobs} jobs {UNWATCHED}"))),
                        };
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
        let jobs = self.watch.status().unwatched;
        let had_room = std::mem::replace(&mut self.has_room, jobs == 0);
        if had_room && !self.has_room {
            log::warn("jobs-unwatched", &[("jobs", &jobs), ("why", &UNWATCHED)]);
        }
        if let Some(metrics) = &mut self.metrics {
            let status = self.store.as_ref().map(|store| store.reporter.status());
            metrics.write(self.watch.status(), self.asked, status);
        }
    }

    /// Takes other addresses, credentials, certificates and keys. What is wrong leaves all as it was.
    fn reload(&mut self) {
        let read = || {
            let settings = Settings::read(env::args_os().skip(1))?;
            // Else the next start would fail over what is accepted here.
            check(&settings).map_err(|failure| failure.why)?;
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

    /// Told to, after the exchange that is under way; having looked once, when nothing waits any more, also if Flink is away.
    fn stop(
        mut self,
        ended: &Result<End, Failure>,
        grace: Duration,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        if let Some(store) = &mut self.store {
            store.table.save(&mut self.watch);
        }
        let until = Instant::now().checked_add(grace);
        let until = until.unwrap_or_else(Instant::now);
        let mut drained = Ok(());
        if let Some(store) = &self.store {
            let is_told = matches!(ended, Ok(End::Told));
            if is_told {
                store.end_exchange(until);
            }
            if self.once {
                let until = if is_told { Instant::now() } else { until };
                drained = store.drain(until, signals);
            }
        }
        self.show();
        if let Some(store) = self.store {
            store.stop()?;
        }
        drained
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
