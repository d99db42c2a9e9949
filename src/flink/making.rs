//! The draft in the making: what Flink answers about its jobs becomes their texts.

use super::details::Details;
use super::draft::{Item, MAX_JOBS, Span};
use super::failure::{Failure, MAX_CAUSE, fill};
use super::jid::hash;
use super::metrics::Metrics;
use super::options::{Options, Plan};
use super::state::Phase;
use crate::json::{Full, Sink, SliceSink};
use crate::split::split_once;

/// The text of a job has no room beside those before it: the job goes into the next draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

#[derive(Debug)]
pub(super) struct Making {
    pub(super) items: heapless::Vec<Item, MAX_JOBS>,
    /// How much of the texts is taken.
    used: usize,
    /// No job is added any more.
    pub(super) is_closed: bool,
}

impl Making {
    pub(super) const NEW: Making = Making {
        items: heapless::Vec::new(),
        used: 0,
        is_closed: false,
    };

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.used = 0;
        self.is_closed = false;
    }

    pub(super) fn is_final(&self) -> bool {
        let first = self.items.first();
        first.is_some_and(|item| item.phase.is_final())
    }

    /// Where the next text begins.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// The job that is being asked about.
    pub(super) fn current(&mut self) -> Option<&mut Item> {
        self.items.last_mut()
    }

    /// Takes the last job out again.
    pub(super) fn drop_last(&mut self) {
        if let Some(item) = self.items.pop() {
            self.used = item.texts;
        }
        self.is_closed = true;
    }

    fn is_alone(&self) -> bool {
        self.items.len() == 1
    }

    /// Takes the counts and, if it is wanted, the plan.
    pub(super) fn take_details(
        &mut self,
        details: &Details<'_>,
        options: &Options<'_>,
        texts: &mut [u8],
    ) -> Result<(), NoRoom> {
        let (is_alone, used) = (self.is_alone(), self.used);
        let Some(item) = self.items.last_mut() else {
            return Ok(());
        };
        // Else what the overview showed of it counts.
        if item.phase == Phase::Failed && details.has_timestamps() {
            item.has_run = details.has_run();
        }
        item.records = (details.read_records, details.write_records);
        let Some(plan) = details.plan else {
            return Ok(());
        };
        let hash = hash(plan.as_bytes()).max(1);
        let is_wanted = match options.plan {
            Plan::Never => false,
            Plan::WhenNew => !item.phase.is_final() && hash != item.plan_hash,
            Plan::Always => true,
        };
        if !is_wanted {
            return Ok(());
        }
        let free = texts.get_mut(used..).unwrap_or_default();
        match free.get_mut(..plan.len()) {
            Some(room) => room.copy_from_slice(plan.as_bytes()),
            // Left out for good if it would not even fit alone.
            None if is_alone => {
                item.plan_hash = hash;
                return Ok(());
            }
            None => return Err(NoRoom),
        }
        item.plan = Some(Span::new(used, plan.len()));
        item.plan_hash = hash;
        self.used = used.saturating_add(plan.len());
        Ok(())
    }

    /// Takes what failed: at most [`MAX_CAUSE`] bytes of the cause, then so many as are chosen of the stack trace.
    pub(super) fn take_failure(
        &mut self,
        failure: &Failure<'_>,
        options: &Options<'_>,
        texts: &mut [u8],
    ) -> Result<(), NoRoom> {
        let (is_alone, used) = (self.is_alone(), self.used);
        let free = texts.get_mut(used..).unwrap_or_default();
        if !is_alone && free.len() < MAX_CAUSE.saturating_add(options.exception_bytes) {
            return Err(NoRoom);
        }
        let cause = Span::new(used, failure.cause(free).len());
        let used = used.saturating_add(cause.len);
        let free = texts.get_mut(used..).unwrap_or_default();
        let most = free.len().min(options.exception_bytes);
        let exception = failure.exception(free.get_mut(..most).unwrap_or_default());
        let exception = Span::new(used, exception.len());
        self.used = used.saturating_add(exception.len);
        if let Some(item) = self.items.last_mut() {
            item.set_failure(cause, exception, failure.time);
        }
        Ok(())
    }

    /// Writes the metrics: those that were chosen, in that order, then what is known without them.
    pub(super) fn take_metrics(
        &mut self,
        metrics: Option<&Metrics<'_>>,
        options: &Options<'_>,
        texts: &mut [u8],
    ) -> Result<(), NoRoom> {
        let (is_alone, used) = (self.is_alone(), self.used);
        let Some(item) = self.items.last_mut() else {
            return Ok(());
        };
        let mut sink = SliceSink::new(texts.get_mut(used..).unwrap_or_default());
        match write_metrics(item, metrics, options, &mut sink) {
            Ok(()) => {
                item.metrics = Some(Span::new(used, sink.len()));
                self.used = used.saturating_add(sink.len());
                Ok(())
            }
            // Left out if they would not even fit alone.
            Err(Full) if is_alone => Ok(()),
            Err(Full) => Err(NoRoom),
        }
    }
}

fn write_metrics(
    item: &Item,
    metrics: Option<&Metrics<'_>>,
    options: &Options<'_>,
    sink: &mut SliceSink<'_>,
) -> Result<(), Full> {
    let mut separator: &[u8] = b"{";
    let mut name = |name: &str, sink: &mut SliceSink<'_>| {
        sink.put(separator)?;
        separator = b",";
        sink.put_string(name)?;
        sink.put(b":")
    };
    if let Some(metrics) = metrics {
        for id in names(options.metrics) {
            if let Some(number) = metrics.number(id) {
                name(id, sink)?;
                sink.put(number.as_bytes())?;
            }
        }
    }
    let duration = item.state_time.saturating_sub(item.start_time).max(0);
    let is_final = item.phase.is_final();
    let known = [
        ("duration", is_final.then_some(duration)),
        ("read-records", item.records.0),
        ("write-records", item.records.1),
        ("tasks-running", item.tasks.0.filter(|_| !is_final)),
        ("tasks-total", item.tasks.1.filter(|_| !is_final)),
    ];
    for (id, number) in known {
        if let Some(number) = number {
            name(id, sink)?;
            sink.put_integer(number)?;
        }
    }
    match sink.is_empty() {
        true => sink.put(b"{}"),
        false => sink.put(b"}"),
    }
}

/// The names in a list with commas.
pub(super) fn names(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    core::iter::from_fn(move || {
        while !rest.is_empty() {
            let (name, behind) = split_once(rest, b',').unwrap_or((rest, ""));
            rest = behind;
            let name = name.trim_ascii();
            if !name.is_empty() {
                return Some(name);
            }
        }
        None
    })
}

/// The same text, cut between two characters.
pub(super) fn cut<'b>(text: &str, buffer: &'b mut [u8]) -> &'b str {
    fill(text.chars(), buffer)
}
