//! Where `run` keeps reports: the spool, the thread that delivers from it, and what was reported of which job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_report::courier::{CourierError, OutboxError, Policy, Status};
use edge_report::flink::Draft;
use edge_report::{DeliveryEvent, Pause, ReportBuf, Reporter, SpoolIoError};

use crate::control::Control;
use crate::failure::{Failure, failed};
use crate::settings::Settings;
use crate::signals::{Signal, Signals};
use crate::state::Table;
use crate::{log, progress, service};

/// So often it looks whether an attempt has come to its end.
const TICK: Duration = Duration::from_millis(20);

/// Where reports go, and what was reported.
pub(crate) struct Store {
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) table: Table,
    /// None if there can be none.
    control: Option<Control>,
    /// Dead letters before this run.
    letters: u64,
}

impl Store {
    pub(crate) fn open(settings: &Settings) -> Result<Store, Failure> {
        let client = service::client(settings)?;
        // Many nodes that start together do not come at once.
        let spread = match settings.has("once") {
            true => 0,
            false => Policy::default().start_spread_ms,
        };
        let spool = settings.needed("spool")?;
        let courier = service::courier(settings, spread)?;
        let letters = died(&courier.status());
        let reporter = Reporter::start(client, courier, |event| tell(&event)).map_err(failed)?;
        let reporter = Arc::new(reporter);
        let control = Control::start(spool, &reporter);
        let control = control.map_err(|why| log::warn("control-failed", &[("why", &why)]));
        Ok(Store {
            reporter,
            table: Table::beside(spool),
            control: control.ok(),
            letters,
        })
    }

    /// Whether the report is durable, or can never be.
    pub(crate) fn keep(&self, draft: &Draft<'_>) -> Result<bool, Failure> {
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

    /// What waits is delivered after the next start.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        drop(self.control);
        let reporter = Arc::into_inner(self.reporter);
        reporter.map_or(Ok(()), |it| it.stop().map_err(failed))
    }

    fn show(&self) {
        progress::show("waiting", self.reporter.status().waiting);
    }

    pub(crate) fn end_exchange(&self, until: Instant) {
        let ticket = self.reporter.status().in_flight;
        let is_out = || ticket.is_some() && self.reporter.status().in_flight == ticket;
        while is_out() && Instant::now() < until {
            self.show();
            std::thread::sleep(TICK);
        }
    }

    /// Until nothing waits, the time is up, or a signal comes.
    pub(crate) fn drain(&self, until: Instant, signals: &mut Signals) -> Result<(), Failure> {
        let soon = || {
            Instant::now()
                .checked_add(TICK)
                .map_or(until, |soon| soon.min(until))
        };
        while self.reporter.flush(soon()).map_err(failed)? != Pause::Idle {
            self.show();
            let is_told = signals.wait(Duration::ZERO) == Some(Signal::End);
            if is_told || Instant::now() >= until {
                let waiting = self.reporter.status().waiting;
                return Err(failed(format!(
                    "{waiting} reports still wait in the spool; the next run delivers them"
                )));
            }
        }
        match died(&self.reporter.status()).saturating_sub(self.letters) {
            0 => Ok(()),
            died => Err(failed(format!(
                "{died} reports are dead letters now; `letters` shows why"
            ))),
        }
    }
}

fn died(status: &Status) -> u64 {
    let all = status.counters;
    all.refused.saturating_add(all.expired)
}

/// Whether the spool was removed, so that trying again does not help.
pub(crate) fn is_gone(error: &CourierError<SpoolIoError>) -> bool {
    matches!(error, CourierError::Outbox(OutboxError::Device(error)) if error.is_missing())
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
