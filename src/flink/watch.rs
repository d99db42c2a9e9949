//! The watch: the engine, and the memory that the caller gives it.

use core::fmt;

use super::engine::Engine;
use super::jid::{Jid, job_id};
use super::kept::{self, Kept, NotKept};
use super::options::Options;
use super::steps::{ResponseError, Step};
use super::table::Slot;
use crate::json::Full;
use crate::time::MonoTime;

/// Learns from a Flink cluster what its jobs do, and says what to report. See the [module](super) for the loop.
///
/// `T` is the table, a [`Slot`] for each job: an array, a slice or a `Vec`. `B` is memory for the texts of one report: 4 KB are enough
/// for an end with its exception and metrics; more, for more jobs in a report and for plans (2 to 60 KB each). What has no room is
/// cut or left out; a status is always reported.
///
/// One request is out at a time. Any order of calls leaves it valid.
pub struct Watch<'o, T, B> {
    table: T,
    texts: B,
    engine: Engine<'o>,
}

/// Without what jobs say: it has no place in somebody's log.
impl<T: AsRef<[Slot]>, B> fmt::Debug for Watch<'_, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl<'o, T, B> Watch<'o, T, B>
where
    T: AsRef<[Slot]> + AsMut<[Slot]>,
    B: AsMut<[u8]>,
{
    /// A watch that knows nothing yet. What was in the table is gone.
    pub fn new(mut table: T, texts: B, options: Options<'o>) -> Self {
        table.as_mut().fill(Slot::EMPTY);
        Watch {
            table,
            texts,
            engine: Engine::new(options),
        }
    }

    /// What to do next. Asked again it says the same, until it is told what came of it.
    pub fn next(&mut self, now: MonoTime) -> Step<'_> {
        let (slots, texts) = (self.table.as_mut(), bounded(self.texts.as_mut()));
        self.engine.next(slots, texts, now)
    }

    /// Takes Flink's response to the path that [`next`](Self::next) gave: any status, any body, whole or cut. An error says that it was of no use.
    pub fn response(
        &mut self,
        status: u16,
        body: &[u8],
        now: MonoTime,
    ) -> Result<(), ResponseError> {
        let (slots, texts) = (self.table.as_mut(), bounded(self.texts.as_mut()));
        self.engine.response(slots, texts, status, body, now)
    }

    /// No response came, or one that is too large: the connection, a timeout.
    pub fn failed(&mut self, now: MonoTime) {
        self.engine.failed(self.table.as_mut(), now);
    }

    /// Whether the report that [`next`](Self::next) gave is stored. If not, it comes again after [`poll_ms`](Options::poll_ms): one of an end with
    /// the same bytes, others as things stand then.
    pub fn reported(&mut self, is_stored: bool) {
        self.engine.reported(self.table.as_mut(), is_stored);
    }

    /// The agent itself asked this job to stop: if it ends as `FINISHED`, as with a savepoint, that is
    /// [`JobStatus::CANCEL_SUCCESS`](crate::JobStatus::CANCEL_SUCCESS). `false` if the job is not in the table.
    pub fn stop_asked(&mut self, jid: Jid) -> bool {
        self.engine.stop_asked(self.table.as_mut(), jid)
    }

    /// Takes a table that [`save`](Self::save) gave: what it has is known, and not reported again. For a new watch, before the first
    /// [`next`](Self::next).
    pub fn restore(&mut self, bytes: &[u8], now: MonoTime) -> Result<(), NotKept> {
        let slots = self.table.as_mut();
        slots.fill(Slot::EMPTY);
        let kept = kept::read(bytes, slots, now);
        if kept.is_err() {
            slots.fill(Slot::EMPTY);
        }
        let Kept { clock, mark } = kept?;
        (self.engine.cluster.clock, self.engine.cluster.mark) = (clock, mark);
        Ok(())
    }

    /// Writes the table, so that an end is reported once over restarts, too. Says how long it is; [`saved_len`](Self::saved_len) bytes are enough.
    pub fn save(&mut self, out: &mut [u8]) -> Result<usize, Full> {
        let cluster = &mut self.engine.cluster;
        let (clock, mark) = (cluster.clock, cluster.mark);
        let written = kept::write(self.table.as_ref(), Kept { clock, mark }, out)?;
        cluster.is_changed = false;
        Ok(written)
    }
}

/// Escaped it may be six times as long, and still is a report.
const MOST_TEXTS: usize = 1 << 20;

fn bounded(texts: &mut [u8]) -> &mut [u8] {
    let most = texts.len().min(MOST_TEXTS);
    texts.get_mut(..most).unwrap_or_default()
}

impl<T: AsRef<[Slot]>, B> Watch<'_, T, B> {
    /// How many bytes [`save`](Self::save) writes at the most.
    pub fn saved_len(&self) -> usize {
        kept::len_of(self.table.as_ref().len())
    }

    /// Whether the table has changed since it was saved. Save it when a report is stored: what is forgotten by a crash in between is reported again
    /// under the same message id.
    pub fn needs_saving(&self) -> bool {
        self.engine.cluster.is_changed
    }

    /// The `job_id` under which a job is reported, by the options: see [`job_id`](super::job_id).
    pub fn job_id(&self, jid: Jid, name: &str) -> Option<i64> {
        job_id(&self.engine.options, jid, name)
    }

    /// How things stand.
    pub fn status(&self) -> WatchStatus {
        let slots = self.table.as_ref();
        let count = |is: &dyn Fn(&Slot) -> bool| slots.iter().filter(|slot| is(slot)).count();
        WatchStatus {
            jobs: count(&|slot| slot.is_taken),
            unreported: count(&Slot::is_dirty),
            unwatched: self.engine.cluster.unwatched,
            is_up: self.engine.cluster.is_up,
        }
    }
}

/// How things stand with a [`Watch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStatus {
    /// How many jobs are in the table, ended ones included.
    pub jobs: usize,
    /// How many of them have changed and are not reported yet.
    pub unreported: usize,
    /// How many jobs the cluster lists that have no room in the table and are not reported.
    pub unwatched: u32,
    /// Whether the last overview came.
    pub is_up: bool,
}
