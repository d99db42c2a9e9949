//! The outbox on files: reports wait through restarts, crashes and power cuts.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::files::{FileStorage, SpoolIoError, private, sync_dir};
use crate::courier::{
    DeadLetter, Durability, Fate, Front, JobKeys, Ledger, LogError, LogOutbox, Outbox, Ticket,
};
use crate::time::MonoTime;

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
pub struct Limits {
    /// The most bytes of reports that wait; 16 KiB or more. Default: 64 MiB.
    pub max_bytes: u64,
    /// The bytes of one segment; a report that needs more gets a larger one. A 64th to a quarter of `max_bytes`, in steps of 4 KiB.
    /// Default: `None`, the 64th, but at least 64 KiB where that is less than the quarter.
    pub segment_bytes: Option<u64>,
    /// The most bytes of dead letters, with segments by the same rule; the oldest go first. Default: 4 MiB.
    pub dead_letter_bytes: u64,
    /// When a submitted report is on stable storage. Default: before `submit` returns.
    pub durability: Durability,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_bytes: 64 * 1024 * 1024,
            segment_bytes: None,
            dead_letter_bytes: 4 * 1024 * 1024,
            durability: Durability::Each,
        }
    }
}

/// Why a spool does not open. What is stored in it stays as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpoolError {
    /// A file or directory failed.
    Io(SpoolIoError),
    /// Another process, or another `Spool` in this one, has this directory open.
    Locked(PathBuf),
    /// A newer version of this library wrote the files.
    Version {
        /// The directory.
        dir: PathBuf,
        /// The version of the format.
        version: u16,
    },
    /// The segments are more than one spool ever makes.
    TooManySegments(PathBuf),
    /// These limits do not fit together.
    Limits(&'static str),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Io(error) => error.fmt(f),
            SpoolError::Locked(dir) => {
                write!(
                    f,
                    "the spool {} is in use: only one process at a time can have it open",
                    dir.display()
                )
            }
            SpoolError::Version { dir, version } => {
                write!(
                    f,
                    "the spool {} was written by a newer version (format {version})",
                    dir.display()
                )
            }
            SpoolError::TooManySegments(dir) => {
                write!(
                    f,
                    "the spool {} has more than {MOST} segments",
                    dir.display()
                )
            }
            SpoolError::Limits(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpoolError::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<SpoolIoError> for SpoolError {
    fn from(error: SpoolIoError) -> Self {
        SpoolError::Io(error)
    }
}

/// An outbox in a directory.
///
/// What [`Courier::submit`](crate::courier::Courier::submit) accepted is there again after a restart, a kill or a power cut:
///
/// ```
/// use edge_report::courier::{Courier, Policy};
/// use edge_report::{Job, JobStatus, Limits, MonoTime, Report, Spool};
///
/// let dir = std::env::temp_dir().join(format!("spool-{}", std::process::id()));
/// let spool = Spool::open(&dir, Limits::default())?;
/// let mut courier = Courier::new(spool, Vec::new(), Policy::default(), MonoTime(0), 0);
///
/// let jobs = [Job::new(JobStatus::Running, 1_591_104_868_201).with_job_id(7)];
/// courier.submit(&Report::new("5f0c…-1", &jobs), MonoTime(0))?;
/// drop(courier);
///
/// let spool = Spool::open(&dir, Limits::default())?;
/// let courier = Courier::new(spool, Vec::new(), Policy::default(), MonoTime(0), 0);
/// assert_eq!(courier.status().waiting, 1);
/// # drop(courier);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Files and directory are for the owner alone. One process at a time has it open. When the disk is full, `submit` says so;
/// what is stored can be delivered, and once there is room again `submit` works again.
#[derive(Debug)]
pub struct Spool {
    log: Log,
    /// Locked as long as it is open.
    _lock: File,
}

impl Spool {
    /// Opens the spool in a directory, and makes the directory if its parent is there.
    pub fn open(dir: impl AsRef<Path>, limits: Limits) -> Result<Self, SpoolError> {
        let dir = dir.as_ref();
        // The process may change its directory later.
        let dir = std::path::absolute(dir).map_err(SpoolIoError::at("find", dir))?;
        let live = storage(&dir, LIVE, limits.max_bytes, limits.segment_bytes)?;
        let dead = storage(&dir, DEAD, limits.dead_letter_bytes, None)?;
        make_dir(&dir)?;
        let lock = lock(&dir)?;
        let log = Log::open(live, dead, limits.durability).map_err(|error| match error {
            LogError::Device(error) => SpoolError::Io(error),
            LogError::NewerVersion(version) => SpoolError::Version {
                dir: dir.clone(),
                version,
            },
            _ => SpoolError::TooManySegments(dir.clone()),
        })?;
        // Only now: files of a newer version are left alone.
        FileStorage::remove_leftovers(&dir, LIVE)?;
        FileStorage::remove_leftovers(&dir, DEAD)?;
        Ok(Spool { log, _lock: lock })
    }
}

/// Makes durable what may be, so that less is sent again after a restart.
impl Drop for Spool {
    fn drop(&mut self) {
        let _ = self.log.flush();
    }
}

impl Outbox for Spool {
    type Error = LogError<SpoolIoError>;

    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
    ) -> Result<Ticket, Self::Error> {
        self.log.append(jobs, report, now)
    }

    fn front(&mut self) -> Result<Option<Front>, Self::Error> {
        self.log.front()
    }

    fn read_front(&mut self, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        self.log.read_front(buffer)
    }

    fn settle_front(&mut self, fate: Fate, buffer: &[u8]) -> Result<(), Self::Error> {
        self.log.settle_front(fate, buffer)
    }

    fn waiting(&self) -> u64 {
        self.log.waiting()
    }

    fn ledger(&self) -> Ledger {
        self.log.ledger()
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.log.flush()
    }

    fn tick(&mut self, now: MonoTime) -> Result<(), Self::Error> {
        self.log.tick(now)
    }

    fn dead_letter(&mut self, after: Option<Ticket>) -> Result<Option<DeadLetter>, Self::Error> {
        self.log.dead_letter(after)
    }

    fn read_dead_letter(&mut self, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, Self::Error> {
        self.log.read_dead_letter(ticket, buffer)
    }

    fn forget_dead_letters(&mut self, ticket: Ticket) -> Result<(), Self::Error> {
        self.log.forget_dead_letters(ticket)
    }
}

fn storage(
    dir: &Path,
    prefix: &'static str,
    max_bytes: u64,
    segment_bytes: Option<u64>,
) -> Result<FileStorage, SpoolError> {
    let quarter = (max_bytes / FEWEST) & !(BLOCK - 1);
    let in_blocks = |bytes: u64| bytes.div_ceil(BLOCK).saturating_mul(BLOCK);
    let share = max_bytes.div_ceil(FULL);
    let segment = in_blocks(segment_bytes.unwrap_or_else(|| share.max(SMALL).min(quarter)));
    if quarter == 0 {
        return Err(SpoolError::Limits(
            "a spool and its dead letters need 16 KiB each, or more",
        ));
    }
    if segment < share || segment > quarter {
        return Err(SpoolError::Limits(
            "a segment must have at least a 64th and at most a quarter of the spool's bytes",
        ));
    }
    match (usize::try_from(segment), usize::try_from(max_bytes)) {
        (Ok(segment), Ok(max)) => Ok(FileStorage::new(dir, prefix, segment, max)),
        _ => Err(SpoolError::Limits(
            "this machine cannot address so large a spool",
        )),
    }
}

fn make_dir(dir: &Path) -> Result<(), SpoolIoError> {
    if dir.exists() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(SpoolIoError::at("create", dir))?;
    dir.parent().map_or(Ok(()), sync_dir)
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let file = private(
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false),
    )
    .open(&path)
    .map_err(SpoolIoError::at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::Locked(dir.into())),
        Err(TryLockError::Error(error)) => Err(SpoolIoError::at("lock", &path)(error).into()),
    }
}
