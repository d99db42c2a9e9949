//! The outbox on files: reports wait through restarts, crashes and power cuts.

use std::format;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::Vec;

use super::directory::Directory;
use super::files::FileStorage;
use super::lock::Lock;
use super::spool_error::{SpoolError, SpoolIoError};
use crate::courier::{
    Counters, DeadLetter, Disposition, Durability, Forget, JobKeys, LogOutbox, Outbox, OutboxError,
    Ticket, Waiting, WhenLettersFull, entropy, forward_outbox,
};
use crate::time::{MonoTime, WallTime};

/// The most segments of a kind. A spool that is full has [`FULL`] of them; the others are for what is in the making.
const MOST: usize = 72;
const FULL: u64 = 64;
/// A full spool has at least so many: it frees its room segment by segment.
const FEWEST: u64 = 4;
const BLOCK: u64 = 4096;
const SMALL: u64 = 64 * 1024;
const LIVE: &str = "live";
const DEAD: &str = "dead";

type Log = LogOutbox<FileStorage, FileStorage, MOST>;

/// How much room a [`Spool`] takes, and when what it stores is durable.
///
/// The room is taken in segments, each made of zeros at first, so that a disk that gets full later does not lose what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// The most bytes of reports that wait; 16 KiB or more. Beside it there are 8 KiB for notes on a full disk, and for a while one segment more.
    /// Default: 64 MiB.
    pub max_bytes: u64,
    /// The bytes of one segment; a report that needs more gets a larger one. A 64th to a quarter of `max_bytes`, in steps of 4 KiB.
    /// Default: `None`, the 64th, but at least 64 KiB where that is less than the quarter.
    pub segment_bytes: Option<u64>,
    /// The most bytes of dead letters, with segments by the same rule; the oldest go first. A report that would not fit is not
    /// taken. Default: 16 MiB, which holds the largest report there can be, of 12 MiB.
    pub dead_letter_bytes: u64,
    /// When a submitted report is on stable storage. Default: before `submit` returns.
    pub durability: Durability,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SpoolOptions {
    /// The defaults.
    pub const fn new() -> Self {
        SpoolOptions {
            max_bytes: 64 * 1024 * 1024,
            segment_bytes: None,
            dead_letter_bytes: 16 * 1024 * 1024,
            durability: Durability::Each,
        }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`segment_bytes`](Self::segment_bytes).
    #[must_use]
    pub const fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Sets [`dead_letter_bytes`](Self::dead_letter_bytes).
    #[must_use]
    pub const fn with_dead_letter_bytes(mut self, bytes: u64) -> Self {
        self.dead_letter_bytes = bytes;
        self
    }

    /// Sets [`durability`](Self::durability).
    #[must_use]
    pub const fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// An outbox in a directory.
///
/// What [`Courier::submit`](crate::courier::Courier::submit) accepted is there again after a restart, a kill or a power cut:
///
/// ```
/// use edge_report::courier::Courier;
/// use edge_report::{Job, JobStatus, MonoTime, Report, Spool, SpoolOptions};
///
/// let dir = std::env::temp_dir().join(format!("spool-{}", std::process::id()));
/// let spool = Spool::open(&dir, SpoolOptions::default())?;
/// let mut courier = Courier::over(spool);
///
/// let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_job_id(7)];
/// courier.submit(&Report::new("5f0c…-1", &jobs), MonoTime::now(), None)?;
/// drop(courier);
///
/// let spool = Spool::open(&dir, SpoolOptions::default())?;
/// let courier = Courier::over(spool);
/// assert_eq!(courier.status().waiting, 1);
/// # drop(courier);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Files and directory are for the owner alone: a directory that others may use, that belongs to somebody else or is a symbolic link
/// is refused, and the error says what fixes it. One process at a time has it open; a process that was forked from it gets errors,
/// and does no harm. When the disk is full, `submit` says so; what is stored can be delivered, and is not sent again, as some room is kept
/// to note it; once there is room again `submit` works again. When the directory or the file that is written to is removed, `submit` fails, too; with [`Durability::Batch`] what
/// syncs next.
#[derive(Debug)]
pub struct Spool {
    log: Log,
    directory: Arc<Directory>,
    foreign: Vec<PathBuf>,
    /// Freed last.
    _lock: Lock,
}

impl Spool {
    /// Opens the spool in a directory, and makes the directory if its parent is there.
    pub fn open(dir: impl AsRef<Path>, options: SpoolOptions) -> Result<Self, SpoolError> {
        let (live, dead) = (
            Room::of("max_bytes", options.max_bytes, options.segment_bytes)?,
            Room::of("dead_letter_bytes", options.dead_letter_bytes, None)?,
        );
        let dir = dir.as_ref();
        // The process may change its directory later. By its components it has no `/` at its end, which would follow a link.
        let dir = std::path::absolute(dir).map_err(SpoolIoError::at("find", dir))?;
        let dir: PathBuf = dir.components().collect();
        let directory = Arc::new(Directory::open(&dir)?);
        let lock = Lock::take(directory.clone())?;
        // A process that was cut off may have made or removed files, and nobody has synced that yet.
        directory.sync().map_err(SpoolIoError::at("sync", &dir))?;
        let storage = |room: &Room, prefix| {
            FileStorage::new(directory.clone(), prefix, room.segment, room.total)
        };
        let (live, dead) = (storage(&live, LIVE), storage(&dead, DEAD));
        let mut foreign = Vec::new();
        for storage in [&live, &dead] {
            let names = storage.foreign()?;
            foreign.extend(names.iter().map(|name| dir.join(name)));
        }
        let log = Log::open(live, dead, options.durability, entropy());
        let log = log.map_err(|error| match error {
            OutboxError::Device(error) => SpoolError::Io(error),
            OutboxError::OtherVersion(version) => SpoolError::Version {
                dir: dir.clone(),
                version,
            },
            OutboxError::TooManySegments => SpoolError::TooManySegments(dir.clone()),
            _ => SpoolIoError::at("read", &dir)(io::Error::other("no segment can be read")).into(),
        })?;
        // Only now: files of another version are left alone.
        FileStorage::remove_leftovers(&directory, LIVE)?;
        FileStorage::remove_leftovers(&directory, DEAD)?;
        Ok(Spool {
            log,
            directory,
            foreign,
            _lock: lock,
        })
    }

    /// Files in the directory that have the name of a segment, and cannot be one, as they are longer than any. They are left alone.
    pub fn foreign_files(&self) -> &[PathBuf] {
        &self.foreign
    }

    /// How many segments are left alone: these files, and those that are of another spool or cannot be read.
    pub fn foreign_segments(&self) -> u64 {
        let files = u64::try_from(self.foreign.len()).unwrap_or(u64::MAX);
        self.log.foreign_segments().saturating_add(files)
    }
}

/// Makes durable what may be, so that less is sent again after a restart.
impl Drop for Spool {
    fn drop(&mut self) {
        if self.directory.is_of_this_process() {
            let _ = self.log.close();
        }
    }
}

impl Outbox for Spool {
    forward_outbox!(self => self.log, SpoolIoError);
}

/// The room of one kind of segments, in bytes.
struct Room {
    segment: usize,
    total: usize,
}

impl Room {
    /// `name` is the option that `max_bytes` is given by.
    fn of(name: &str, max_bytes: u64, segment_bytes: Option<u64>) -> Result<Self, SpoolError> {
        let quarter = (max_bytes / FEWEST) & !(BLOCK - 1);
        let share = max_bytes.div_ceil(FULL);
        let given = segment_bytes.unwrap_or_else(|| share.max(SMALL).min(quarter));
        let segment = given.div_ceil(BLOCK).saturating_mul(BLOCK);
        let wrong = |name, given, needed| {
            SpoolError::Options(format!("{name} is {given}; {needed} is needed"))
        };
        if quarter == 0 {
            let needed = format!("{} or more", FEWEST * BLOCK);
            return Err(wrong(name, max_bytes, needed));
        }
        if segment < share || segment > quarter {
            let needed = format!("{share} to {quarter}, a 64th to a quarter of max_bytes,");
            return Err(wrong("segment_bytes", given, needed));
        }
        match (usize::try_from(segment), usize::try_from(max_bytes)) {
            (Ok(segment), Ok(total)) => Ok(Room { segment, total }),
            _ => {
                let needed = format!("{} or less, what this machine can address,", usize::MAX);
                Err(wrong(name, max_bytes, needed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::courier::{Courier, Event, Policy, Step, Storage, StorageLimits};
    use crate::exchange::Outcome;
    use crate::host::directory::temporary;
    use crate::report::{Job, JobStatus, Report};
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::rc::Rc;
    use std::string::{String, ToString};
    use std::time::Duration;
    use std::vec::Vec;

    /// What was asked of the files, and which of it fails.
    #[derive(Debug, Default)]
    struct Watch {
        operations: usize,
        /// Whether reading is an operation, too.
        reads_count: bool,
        failing: Range<usize>,
        failed: usize,
        /// What the system says of it: EIO, ENOSPC.
        error: i32,
        syncs: usize,
        writes: usize,
        bytes: BTreeMap<(&'static str, u32), usize>,
        most_bytes: usize,
    }

    impl Watch {
        fn operation(&mut self, action: &'static str) -> Result<(), SpoolIoError> {
            let fails = self.failing.contains(&self.operations);
            self.operations += 1;
            self.failed += usize::from(fails);
            let error = || {
                let error = io::Error::from_raw_os_error(self.error);
                SpoolIoError::at(action, Path::new("disk"))(error)
            };
            if fails { Err(error()) } else { Ok(()) }
        }
    }

    #[derive(Debug)]
    struct Watched {
        files: FileStorage,
        kind: &'static str,
        watch: Rc<RefCell<Watch>>,
    }

    impl Storage for Watched {
        type Error = SpoolIoError;

        fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), SpoolIoError> {
            self.files.list(each)
        }

        fn limits(&self) -> StorageLimits {
            self.files.limits()
        }

        fn create(&mut self, id: u32, len: usize) -> Result<(), SpoolIoError> {
            let mut watch = self.watch.borrow_mut();
            watch.operation("create")?;
            watch.bytes.insert((self.kind, id), len);
            let live = watch.bytes.iter().filter(|((kind, _), _)| *kind == LIVE);
            watch.most_bytes = watch.most_bytes.max(live.map(|(_, len)| len).sum());
            self.files.create(id, len)
        }

        fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), SpoolIoError> {
            let mut watch = self.watch.borrow_mut();
            if watch.reads_count {
                watch.operation("read")?;
            }
            self.files.read(id, offset, buffer)
        }

        fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), SpoolIoError> {
            let mut watch = self.watch.borrow_mut();
            watch.writes += 1;
            let result = watch.operation("write");
            // A failed write may leave its first half.
            let len = if result.is_ok() {
                bytes.len()
            } else {
                bytes.len() / 2
            };
            self.files.write(id, offset, &bytes[..len])?;
            result
        }

        fn sync(&mut self, id: u32) -> Result<(), SpoolIoError> {
            let mut watch = self.watch.borrow_mut();
            watch.syncs += 1;
            watch.operation("sync")?;
            self.files.sync(id)
        }

        fn discard(&mut self, id: u32) -> Result<(), SpoolIoError> {
            let mut watch = self.watch.borrow_mut();
            watch.operation("remove")?;
            watch.bytes.remove(&(self.kind, id));
            self.files.discard(id)
        }
    }

    type Node = Courier<LogOutbox<Watched, Watched, MOST>, Vec<u8>>;

    const NOW: MonoTime = MonoTime::from_ms(0);

    fn open(
        dir: &Path,
        watch: &Rc<RefCell<Watch>>,
        max_bytes: usize,
        durability: Durability,
    ) -> Node {
        let directory = Arc::new(Directory::open(dir).unwrap());
        let watched = |kind| Watched {
            files: FileStorage::new(directory.clone(), kind, 4096, max_bytes),
            kind,
            watch: watch.clone(),
        };
        let log = LogOutbox::open(watched(LIVE), watched(DEAD), durability, 1).unwrap();
        let policy = Policy::default().with_start_spread(Duration::ZERO);
        Courier::new(log, Vec::new(), policy, NOW, 0)
    }

    fn submit(node: &mut Node, message_id: &str) -> Result<Ticket, String> {
        let metrics = "m".repeat(400);
        let jobs = [Job::new(JobStatus::RUNNING, 1).with_metrics(&metrics)];
        node.submit(&Report::new(message_id, &jobs), NOW, None)
            .map_err(|error| error.to_string())
    }

    /// Settles the oldest report; its name.
    fn settle(node: &mut Node, outcome: Outcome, status: u16) -> Result<Option<String>, String> {
        let (ticket, body) = match node.next(NOW) {
            Ok(Step::Send(outgoing)) => (outgoing.ticket, outgoing.body),
            Ok(_) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let id = message_id(body);
        let event = Event::response(outcome, status);
        let _ = node
            .settle(ticket, event, NOW, 0)
            .map_err(|error| error.to_string())?;
        Ok(Some(id))
    }

    fn deliver(node: &mut Node) -> Option<String> {
        settle(node, Outcome::Accepted, 200).unwrap()
    }

    /// Delivers all that waits, with nobody's help: time passes, and what was refused becomes a dead letter meanwhile.
    fn drain(node: &mut Node, at: &str) -> Vec<String> {
        let mut now = NOW;
        let mut delivered = Vec::new();
        for _ in 0..1000 {
            let ticket = match node.next(now).expect(at) {
                Step::Send(outgoing) => {
                    delivered.push(message_id(outgoing.body));
                    outgoing.ticket
                }
                Step::Wait(at) => {
                    now = at;
                    continue;
                }
                Step::Idle => return delivered,
            };
            let accepted = Event::response(Outcome::Accepted, 200);
            let _ = node.settle(ticket, accepted, now, 0).expect(at);
        }
        panic!("{at}: it does not come to an end: {:?}", node.status());
    }

    fn message_id(report: &[u8]) -> String {
        let report: serde_json::Value = serde_json::from_slice(report).unwrap();
        report["message_id"].as_str().unwrap().to_string()
    }

    /// Names of the dead letters.
    fn letters(node: &mut Node, at: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let mut after = None;
        while let Some((letter, report)) = node.dead_letter(after).expect(at) {
            after = Some(letter.ticket);
            ids.push(message_id(report));
        }
        ids
    }

    #[test]
    fn one_sync_for_each_report() {
        let dir = temporary();
        let watch = Rc::default();
        let mut node = open(dir.path(), &watch, 1 << 20, Durability::Each);
        submit(&mut node, "0").unwrap();
        let count = |node: &mut Node, run: &mut dyn FnMut(&mut Node)| {
            *watch.borrow_mut() = Watch::default();
            run(node);
            (watch.borrow().syncs, watch.borrow().writes)
        };
        let mut ten =
            |node: &mut Node| (0..10).for_each(|n| assert!(submit(node, &n.to_string()).is_ok()));
        let (syncs, writes) = count(&mut node, &mut ten);
        assert_eq!(syncs, 10);
        assert!(writes <= 40, "{writes}");
        let mut eleven = |node: &mut Node| (0..11).for_each(|_| assert!(deliver(node).is_some()));
        let (syncs, _) = count(&mut node, &mut eleven);
        assert!(syncs <= 2, "{syncs} to deliver: a restart may send again");
        let mut many =
            |node: &mut Node| (0..300).for_each(|n| assert!(submit(node, &n.to_string()).is_ok()));
        let (syncs, _) = count(&mut node, &mut many);
        let segments = watch.borrow().bytes.len();
        assert!(
            (300..=300 + segments).contains(&syncs),
            "{syncs} with {segments} new segments"
        );
    }

    #[test]
    fn the_bound_is_kept_at_every_moment() {
        let dir = temporary();
        let watch = Rc::default();
        let durability = Durability::Batch {
            reports: 100,
            ms: 1000,
        };
        let mut node = open(dir.path(), &watch, 65536, durability);
        for number in 0..3000i64 {
            let id = number.to_string();
            let job = Job::new(JobStatus::RUNNING, 1);
            let jobs = [if number % 4 == 0 {
                job
            } else {
                job.with_job_id(number % 7 + 1)
            }];
            while node.submit(&Report::new(&id, &jobs), NOW, None).is_err() {
                deliver(&mut node).unwrap();
            }
        }
        assert!(node.status().counters.superseded > 100);
        let most = watch.borrow().most_bytes;
        // A segment for a while, and one for notes.
        assert!((65536..=65536 + 4096 + 2048).contains(&most), "{most}");
    }

    /// Submits, delivers and refuses; notes what was accepted, what was settled, and what of that was refused.
    fn script(
        node: &mut Node,
        may_stop: bool,
        accepted: &mut Vec<String>,
        settled: &mut Vec<String>,
        refusals: &mut Vec<String>,
    ) {
        for number in 0..30u32 {
            let id = number.to_string();
            if submit(node, &id).is_ok() {
                accepted.push(id);
            }
            if number % 3 == 0 {
                let refused = number % 9 == 0;
                let (outcome, status) = if refused {
                    (Outcome::Refused, 400)
                } else {
                    (Outcome::Accepted, 200)
                };
                match settle(node, outcome, status) {
                    Ok(id) => {
                        refusals.extend(id.clone().filter(|_| refused));
                        settled.extend(id);
                    }
                    Err(error) => assert!(may_stop, "{error}"),
                }
            }
        }
    }

    /// Which of `accepted` are not in `settled`. Asserts that the others are in order.
    fn lost<'a>(accepted: &'a [String], settled: &[String], at: &str) -> Vec<&'a str> {
        let mut rest = settled.iter();
        let is_there = |id: &&String| settled.contains(*id);
        for id in accepted.iter().filter(is_there) {
            assert!(
                rest.any(|settled| settled == id),
                "{at}: {id} is late: {accepted:?} {settled:?}"
            );
        }
        let lost = accepted.iter().filter(|id| !is_there(id));
        lost.map(String::as_str).collect()
    }

    fn assert_adds_up(node: &Node, at: &str) {
        let Counters {
            submitted,
            delivered,
            refused,
            superseded,
            expired,
            corrupt,
            ..
        } = node.status().counters;
        let sum = delivered + refused + superseded + expired + corrupt + node.status().waiting;
        assert_eq!(submitted, sum, "{at}: {:?}", node.status());
    }

    /// Reports are submitted and settled while the disk fails from some operation on; then it is well again.
    fn disturb(error: i32, reads_count: bool, cases: &[(usize, bool)]) {
        let start = |failing| {
            let (dir, watch) = (temporary(), Rc::<RefCell<Watch>>::default());
            let node = open(dir.path(), &watch, 65536, Durability::Each);
            *watch.borrow_mut() = Watch {
                reads_count,
                failing,
                error,
                ..Watch::default()
            };
            (dir, watch, node)
        };
        let undisturbed = {
            let (_dir, watch, mut node) = start(0..0);
            let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
            script(&mut node, false, &mut a, &mut b, &mut c);
            watch.borrow().operations
        };
        let (mut errors, mut lost_at_all) = (0, 0);
        for first in 0..undisturbed {
            for &(count, again) in cases {
                let at =
                    std::format!("{count} errors from operation {first} on, opened again: {again}");
                let (dir, watch, mut node) = start(first..first.saturating_add(count));
                let (mut accepted, mut settled) = (Vec::new(), Vec::new());
                let mut refused = Vec::new();
                script(
                    &mut node,
                    reads_count,
                    &mut accepted,
                    &mut settled,
                    &mut refused,
                );
                assert_adds_up(&node, &at);
                errors += watch.borrow().failed;
                let not_accepted = 30 - u32::try_from(accepted.len()).unwrap();

                let in_script = settled.clone();

                // The disk is well again.
                watch.borrow_mut().failing = 0..0;
                if again {
                    drop(node);
                    node = open(dir.path(), &watch, 65536, Durability::Each);
                    assert_adds_up(&node, &at);
                    // What was settled while the disk failed may come again.
                    accepted.retain(|id| !settled.contains(id));
                    settled.clear();
                }
                for id in ["100", "101"] {
                    submit(&mut node, id).expect(&at);
                    accepted.push(id.to_string());
                }
                let delivered = drain(&mut node, &at);
                settled.extend(delivered.iter().cloned());
                let lost = lost(&accepted, &settled, &at);
                // What was refused is a dead letter, if only after a while, or was sent again after a start.
                let letters = letters(&mut node, &at);
                let is_letter = |id: &&String| letters.contains(*id);
                // Whose record could not be read when it was to be buried is sent again.
                let twice = |id: &String| in_script.iter().filter(|other| *other == id).count() > 1;
                let is_delivered = |id: &&String| {
                    let is_again = again || reads_count;
                    is_again && (delivered.contains(*id) || twice(id))
                };
                let both = |id: &&String| is_letter(id) && is_delivered(id);
                assert_eq!(refused.iter().find(both), None, "{at}");
                let neither = |id: &&String| !is_letter(id) && !is_delivered(id);
                let gone = refused.iter().filter(neither).count() + lost.len();
                let gone = gone as u64;
                assert_adds_up(&node, &at);
                let status = node.status();
                assert_eq!((status.waiting, status.aside), (0, 0), "{at}");
                let Counters {
                    corrupt,
                    refused,
                    letters_dropped,
                    ..
                } = status.counters;
                // What could not be read counts as gone; what was not acknowledged may be there in part.
                let may_be_lost = if reads_count { corrupt } else { 0 };
                assert!(gone <= may_be_lost, "{at}: {lost:?} {status:?}");
                assert!(
                    corrupt <= u64::from(not_accepted) + gone,
                    "{at}: {status:?}"
                );
                lost_at_all += gone;
                assert_eq!(letters_dropped, 0, "{at}");
                assert_eq!(refused, letters.len() as u64, "{at}: {status:?}");
            }
        }
        std::println!(
            "{undisturbed} operations, {errors} errors, {lost_at_all} reports unreadable"
        );
    }

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    #[test]
    fn what_cannot_be_written_costs_no_report() {
        for error in [EIO, ENOSPC] {
            disturb(
                error,
                false,
                &[(1, false), (1, true), (30, false), (usize::MAX, true)],
            );
        }
    }

    /// Nothing can be read for a while: that says nothing of what waits.
    #[test]
    fn a_dead_disk_is_an_error_and_costs_nothing() {
        for opened_again in [false, true] {
            let (dir, watch) = (temporary(), Rc::<RefCell<Watch>>::default());
            let mut node = open(dir.path(), &watch, 65536, Durability::Each);
            for number in 0..10 {
                submit(&mut node, &number.to_string()).unwrap();
            }
            *watch.borrow_mut() = Watch {
                reads_count: true,
                failing: 0..usize::MAX,
                error: EIO,
                ..Watch::default()
            };
            for _ in 0..3 {
                assert!(node.next(NOW).is_err(), "{:?}", node.status());
                assert_eq!(node.status().waiting, 10);
            }
            watch.borrow_mut().failing = 0..0;
            if opened_again {
                drop(node);
                node = open(dir.path(), &watch, 65536, Durability::Each);
            }
            assert_eq!(drain(&mut node, "").len(), 10);
        }
    }

    #[test]
    fn a_disk_that_stops_for_a_while_costs_what_could_not_be_read() {
        disturb(
            EIO,
            true,
            &[
                (1, false),
                (7, true),
                (usize::MAX, false),
                (usize::MAX, true),
            ],
        );
    }
}
