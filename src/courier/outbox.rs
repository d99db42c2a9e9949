//! Where reports wait: the trait, and what it is told.

use core::fmt;

use super::reason::Reason;
use crate::code::Code;
use crate::report::{Encode, TakeJob, read_job_keys};
use crate::time::{MonoTime, WallTime};

/// Names one submitted report: its place in the order, counted from 1 and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of every report ever submitted, restarts included.
///
/// `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Stored by `submit`.
    pub submitted: u64,
    /// Accepted by the service.
    pub delivered: u64,
    /// Refused by the service; among the dead letters.
    pub refused: u64,
    /// Dropped since newer reports of all their jobs waited: when the outbox was full, or by [`Backlog::LatestPerJob`](super::Backlog).
    /// That one was accepted and is kept to be sent once more is known to the process alone: after a restart it may count here.
    pub superseded: u64,
    /// Expired by the budgets of the policy; among the dead letters.
    pub expired: u64,
    /// Writes cut short by a crash, found at the next start: reports whose `submit` had not returned. A full outbox may have no room to say
    /// that it counted one, and then counts it again, or forgets it.
    pub torn: u64,
    /// Reports lost because the storage changed or lost their bytes.
    pub corrupt: u64,
    /// Dead letters there are now.
    pub letters: u64,
    /// Dead letters that are gone for good: dropped to make room for newer ones, or lost by the storage.
    pub letters_dropped: u64,
}

impl Counters {
    pub(super) const NONE: Counters = Counters {
        submitted: 0,
        delivered: 0,
        refused: 0,
        superseded: 0,
        expired: 0,
        torn: 0,
        corrupt: 0,
        letters: 0,
        letters_dropped: 0,
    };

    /// Counts a report that is settled.
    pub(super) fn count(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Delivered => &mut self.delivered,
            Disposition::Refused(_) => &mut self.refused,
            Disposition::Expired(_) => &mut self.expired,
            Disposition::Superseded => &mut self.superseded,
            Disposition::Corrupt => &mut self.corrupt,
        };
        *counter = counter.saturating_add(1);
    }
}

/// A report that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Its name.
    pub ticket: Ticket,
    /// How many bytes it has.
    pub len: usize,
    /// When it was submitted, if that is known.
    pub submitted_at: Option<WallTime>,
}

impl Waiting {
    /// One that was not told when it was submitted.
    pub const fn new(ticket: Ticket, len: usize) -> Self {
        Waiting {
            ticket,
            len,
            submitted_at: None,
        }
    }
}

/// What became of a report. There will be no sixth kind within this version: an outbox counts each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was accepted.
    Delivered,
    /// It was refused: it goes to the dead letters.
    Refused(Reason),
    /// It expired: it goes to the dead letters.
    Expired(Reason),
    /// Newer reports of all its jobs wait.
    Superseded,
    /// Its bytes are not what was submitted.
    Corrupt,
}

/// What to do when there is no room for another dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenLettersFull {
    /// Drop the oldest letters, and count them.
    #[default]
    DropOldest,
    /// Drop none: the report stays in the queue, unsent, until somebody made room.
    Hold,
}

/// A report that will not be sent, since it was refused or its budget is spent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its name.
    pub ticket: Ticket,
    /// Why.
    pub reason: Reason,
    /// How many bytes it has.
    pub len: usize,
}

impl DeadLetter {
    /// A report that will not be sent.
    pub const fn new(ticket: Ticket, reason: Reason, len: usize) -> Self {
        DeadLetter {
            ticket,
            reason,
            len,
        }
    }
}

/// Which dead letters to forget. There will be no third kind within this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// This one.
    One(Ticket),
    /// This one, and all that became letters before it.
    UpTo(Ticket),
}

/// Why an outbox failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxError<E> {
    /// There is no room: dropping all that is superseded would free less than one segment. Nothing was stored or dropped.
    Full,
    /// There is no room for another dead letter, and none may be dropped: [`WhenLettersFull::Hold`]. The report stays.
    LettersFull,
    /// The report is larger than the outbox may be, or than its dead letters may be.
    TooLarge,
    /// The storage failed. After a failed `submit` the report may be stored anyway: submit it again with the same `message_id`.
    Device(E),
    /// A part of the storage cannot be read now. After a few such errors in a row it is given up: what is in it counts as corrupt.
    Unreadable,
    /// The log was written in another format, with this number. It was not touched.
    OtherVersion(u16),
    /// There are more segments than this log can keep track of.
    TooManySegments,
}

impl<E> OutboxError<E> {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            OutboxError::Full => Code::OutboxFull,
            OutboxError::LettersFull => Code::LettersFull,
            OutboxError::TooLarge => Code::TooLargeForOutbox,
            OutboxError::Device(_) | OutboxError::Unreadable => Code::Storage,
            OutboxError::OtherVersion(_) => Code::OtherFormat,
            OutboxError::TooManySegments => Code::TooManySegments,
        }
    }
}

impl<E: fmt::Display> fmt::Display for OutboxError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboxError::Device(error) => error.fmt(f),
            OutboxError::OtherVersion(version) => {
                write!(f, "{} (format {version}, not 2)", self.code())
            }
            _ => self.code().fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for OutboxError<E> {
    /// That of the storage's error, whose text is this one's.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            OutboxError::Device(error) => error.source(),
            _ => None,
        }
    }
}

/// One job of a report, as far as newer reports can supersede it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// Its id.
    pub job_id: i64,
    /// Whether its status is a final one.
    pub is_final: bool,
}

impl JobKey {
    /// The id of any job: a report with this key may say something of each, and neither supersedes another nor is superseded.
    pub const ANY: i64 = i64::MAX;
}

const MAX_KEYS: usize = 16;

/// The jobs of a report, [`MAX`](Self::MAX) at the most; a slice of them. None if none of them has an id: then it is of no job that another report is of.
/// [`JobKey::ANY`] alone if not all can be told: some have an id and some have none, or there are more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobKeys(heapless::Vec<JobKey, MAX_KEYS>);

impl JobKeys {
    /// The most jobs of one report that are looked at to supersede it.
    pub const MAX: usize = MAX_KEYS;

    /// Of no job.
    pub const fn new() -> Self {
        JobKeys(heapless::Vec::new())
    }

    /// Perhaps of each job.
    fn any() -> Self {
        let mut keys = Self::new();
        // There is room.
        let _ = keys.push(JobKey {
            job_id: JobKey::ANY,
            is_final: false,
        });
        keys
    }

    /// Adds a job; gives it back if there are as many as there can be.
    pub fn push(&mut self, key: JobKey) -> Result<(), JobKey> {
        self.0.push(key)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl core::ops::Deref for JobKeys {
    type Target = [JobKey];

    fn deref(&self) -> &[JobKey] {
        &self.0
    }
}

impl<'k> IntoIterator for &'k JobKeys {
    type Item = &'k JobKey;
    type IntoIter = core::slice::Iter<'k, JobKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// [`JobKey::ANY`] alone, if there are too many.
impl FromIterator<JobKey> for JobKeys {
    fn from_iter<I: IntoIterator<Item = JobKey>>(all: I) -> Self {
        let mut keys = Self::new();
        for key in all {
            if keys.push(key).is_err() {
                return Self::any();
            }
        }
        keys
    }
}

/// The jobs of a report.
#[inline(never)] // its lists are not on the stack while the report is stored
pub(super) fn keys_of(report: &impl Encode) -> JobKeys {
    gather(|take| {
        let mut jobs = report.job_keys();
        jobs.try_for_each(|(job_id, is_final)| take(job_id, is_final))
    })
}

/// Reads the jobs of an encoded report.
pub(super) fn job_keys(report: &[u8]) -> JobKeys {
    gather(|take| read_job_keys(report, take))
}

/// A key for each job that `each` gives. [`JobKey::ANY`] alone if that ends early, if there are too many, or if some jobs have an id and
/// others have none.
fn gather(each: impl FnOnce(&mut TakeJob<'_>) -> Option<()>) -> JobKeys {
    let mut keys = JobKeys::new();
    let mut has_nameless = false;
    let all = each(&mut |job_id, is_final| match job_id {
        Some(job_id) => keys.push(JobKey { job_id, is_final }).ok(),
        None => {
            has_nameless = true;
            Some(())
        }
    });
    match all {
        Some(()) if keys.is_empty() || !has_nameless => keys,
        _ => JobKeys::any(),
    }
}

/// Memory for one report at a time. Arrays and slices have a fixed size; a `Vec` grows (feature `alloc`).
pub trait Scratch {
    /// At least `len` bytes; `None` if unavailable.
    fn room(&mut self, len: usize) -> Option<&mut [u8]>;

    /// The upper limit, if known.
    fn limit(&self) -> usize {
        usize::MAX
    }
}

impl<const N: usize> Scratch for [u8; N] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= N).then_some(self)
    }

    fn limit(&self) -> usize {
        N
    }
}

impl Scratch for &mut [u8] {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        (len <= self.len()).then_some(self)
    }

    fn limit(&self) -> usize {
        self.len()
    }
}

#[cfg(feature = "alloc")]
impl Scratch for alloc::vec::Vec<u8> {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.len() < len {
            self.try_reserve(len.saturating_sub(self.len())).ok()?;
            self.resize(len, 0);
        }
        Some(self)
    }
}

/// Where reports wait, in the order they were submitted. All of it survives a restart, if the outbox is durable.
///
/// Every operation names its ticket: what was sent is what is settled, whatever happened to the others meanwhile.
///
/// There are [`RamOutbox`](super::RamOutbox), [`LogOutbox`](super::LogOutbox) over any [`Storage`](super::Storage), and `Spool`. A database, say, may be another one:
/// the trait is open, and functions that it gets later have a default.
pub trait Outbox {
    /// Why the storage failed.
    type Error: core::error::Error + 'static;

    /// Stores a report after the others, and returns when it is as durable as this outbox makes things.
    /// When full, superseded reports are dropped first; if that does not help, the error says so and nothing has changed.
    /// One that its dead letters could never hold is [`OutboxError::TooLarge`].
    fn append(
        &mut self,
        jobs: &JobKeys,
        report: &[u8],
        now: MonoTime,
        wall: Option<WallTime>,
    ) -> Result<Ticket, OutboxError<Self::Error>>;

    /// The next report that waits after `after`, by ticket; the oldest of all without. What cannot be read is passed over, and
    /// counted. Following the tickets given by the last calls is cheap.
    fn next(&mut self, after: Option<Ticket>) -> Result<Option<Waiting>, OutboxError<Self::Error>>;

    /// The jobs of a report that waits.
    fn job_keys(&mut self, ticket: Ticket) -> Result<JobKeys, OutboxError<Self::Error>>;

    /// Reads a report that waits into `buffer`, which has at least its length. `false` if it does not wait, or its bytes are not
    /// what was submitted: then it is counted as corrupt, and waits no more.
    fn read(&mut self, ticket: Ticket, buffer: &mut [u8])
    -> Result<bool, OutboxError<Self::Error>>;

    /// Whether newer reports that wait supersede this one.
    fn is_superseded(&mut self, ticket: Ticket) -> Result<bool, OutboxError<Self::Error>>;

    /// Removes a report that waits; one that does not wait any more is left as it is. `report` has its bytes, if the disposition makes it
    /// a dead letter: then that is durable before the report is removed. After an error the report waits.
    fn settle(
        &mut self,
        ticket: Ticket,
        disposition: Disposition,
        report: &[u8],
        when_full: WhenLettersFull,
    ) -> Result<(), OutboxError<Self::Error>>;

    /// How many reports may still be settled before the oldest one is. One that stands right after another such one needs none.
    fn room_ahead(&self) -> usize;

    /// Keeps a report from being dropped as superseded while it is in flight.
    fn pin(&mut self, ticket: Option<Ticket>);

    /// How many reports wait.
    fn waiting(&self) -> u64;

    /// The counters.
    fn counters(&self) -> Counters;

    /// Makes durable all that is not yet.
    fn flush(&mut self) -> Result<(), OutboxError<Self::Error>>;

    /// Makes durable all that is not yet, before a clean end: whoever opens it then knows that nothing is missing. After an error some
    /// reports may be sent again.
    fn close(&mut self) -> Result<(), OutboxError<Self::Error>> {
        self.flush()
    }

    /// Makes durable what waits for a time limit.
    fn tick(&mut self, now: MonoTime) -> Result<(), OutboxError<Self::Error>>;

    /// The dead letter after `after`, in the order in which they became letters; the first without, or if `after` is not there any more.
    fn dead_letter(
        &mut self,
        after: Option<Ticket>,
    ) -> Result<Option<DeadLetter>, OutboxError<Self::Error>>;

    /// The dead letter of this ticket.
    fn find_dead_letter(
        &mut self,
        ticket: Ticket,
    ) -> Result<Option<DeadLetter>, OutboxError<Self::Error>>;

    /// Reads a dead letter into `buffer`, which has at least its length; `false` if it is gone or unreadable.
    fn read_dead_letter(
        &mut self,
        ticket: Ticket,
        buffer: &mut [u8],
    ) -> Result<bool, OutboxError<Self::Error>>;

    /// An error if it is known that this dead letter could not be forgotten now: who is to submit it again asks that first.
    fn may_forget(&mut self, ticket: Ticket) -> Result<(), OutboxError<Self::Error>> {
        let _ = ticket;
        Ok(())
    }

    /// Forgets dead letters, durably; after an error none of them.
    fn forget_dead_letters(&mut self, which: Forget) -> Result<(), OutboxError<Self::Error>>;

    /// The newest time that was noted as known for sure; `None` where that is not kept.
    fn trusted_time(&self) -> Option<WallTime> {
        None
    }

    /// Notes a time that is known for sure, such as that of an accepted response over verified TLS. It is written with what comes next.
    fn note_trusted_time(&mut self, time: WallTime) {
        let _ = time;
    }
}

/// The functions of an outbox that is another one, which an expression names.
macro_rules! forward_outbox {
    ($this:ident => $to:expr, $error:ty) => {
        type Error = $error;

        fn append(&mut $this, jobs: &JobKeys, report: &[u8], now: MonoTime, wall: Option<WallTime>) -> Result<Ticket, OutboxError<$error>> {
            $to.append(jobs, report, now, wall)
        }

        fn next(&mut $this, after: Option<Ticket>) -> Result<Option<Waiting>, OutboxError<$error>> {
            $to.next(after)
        }

        fn job_keys(&mut $this, ticket: Ticket) -> Result<JobKeys, OutboxError<$error>> {
            $to.job_keys(ticket)
        }

        fn read(&mut $this, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, OutboxError<$error>> {
            $to.read(ticket, buffer)
        }

        fn is_superseded(&mut $this, ticket: Ticket) -> Result<bool, OutboxError<$error>> {
            $to.is_superseded(ticket)
        }

        fn settle(&mut $this, ticket: Ticket, disposition: Disposition, report: &[u8], when_full: WhenLettersFull) -> Result<(), OutboxError<$error>> {
            $to.settle(ticket, disposition, report, when_full)
        }

        fn room_ahead(&$this) -> usize {
            $to.room_ahead()
        }

        fn pin(&mut $this, ticket: Option<Ticket>) {
            $to.pin(ticket)
        }

        fn waiting(&$this) -> u64 {
            $to.waiting()
        }

        fn counters(&$this) -> Counters {
            $to.counters()
        }

        fn flush(&mut $this) -> Result<(), OutboxError<$error>> {
            $to.flush()
        }

        fn close(&mut $this) -> Result<(), OutboxError<$error>> {
            $to.close()
        }

        fn tick(&mut $this, now: MonoTime) -> Result<(), OutboxError<$error>> {
            $to.tick(now)
        }

        fn dead_letter(&mut $this, after: Option<Ticket>) -> Result<Option<DeadLetter>, OutboxError<$error>> {
            $to.dead_letter(after)
        }

        fn find_dead_letter(&mut $this, ticket: Ticket) -> Result<Option<DeadLetter>, OutboxError<$error>> {
            $to.find_dead_letter(ticket)
        }

        fn read_dead_letter(&mut $this, ticket: Ticket, buffer: &mut [u8]) -> Result<bool, OutboxError<$error>> {
            $to.read_dead_letter(ticket, buffer)
        }

        fn may_forget(&mut $this, ticket: Ticket) -> Result<(), OutboxError<$error>> {
            $to.may_forget(ticket)
        }

        fn forget_dead_letters(&mut $this, which: Forget) -> Result<(), OutboxError<$error>> {
            $to.forget_dead_letters(which)
        }

        fn trusted_time(&$this) -> Option<WallTime> {
            $to.trusted_time()
        }

        fn note_trusted_time(&mut $this, time: WallTime) {
            $to.note_trusted_time(time)
        }
    };
}
#[cfg_attr(not(feature = "std"), allow(unused_imports))] // of the spool
pub(crate) use forward_outbox;

impl<O: Outbox + ?Sized> Outbox for &mut O {
    forward_outbox!(self => (**self), O::Error);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::courier::{Courier, Policy, RamOutbox};
    use crate::json::{Sink, SliceSink};
    use crate::report::{EncodeError, Job, JobStatus, Report, ReportOf, Sealed};

    #[test]
    fn a_report_tells_the_keys_that_its_bytes_have() {
        let numbered = |n: i64| {
            let name = ["job_running", "job_finish", "of_another"][n as usize % 3];
            Job::new(JobStatus::from_name(name), 1_591_104_868_201).with_job_id(n)
        };
        let nameless = Job::new(JobStatus::FINISH, 1_591_104_868_201);
        for (with_id, without) in [(1, 0), (6, 0), (16, 0), (17, 0), (1, 1), (0, 1), (0, 40)] {
            let jobs = (1..=with_id).map(numbered);
            let report = ReportOf::new("uuid", jobs.chain((0..without).map(|_| nameless)));
            let mut bytes = [0; 4096];
            let mut bytes = SliceSink::new(&mut bytes);
            report.encode_into(&mut bytes).unwrap();
            let keys = job_keys(bytes.written());
            assert_eq!(keys_of(&report), keys, "{with_id} and {without}");
            let jobs: heapless::Vec<Job<'_>, 40> = report.jobs.clone().collect();
            let report = Report::new("uuid", &jobs);
            assert_eq!(keys_of(&report), keys, "{with_id} and {without}");
            #[cfg(feature = "serde")]
            assert_eq!(keys_of(&crate::report::ReportBuf::from(report)), keys);
        }
    }

    /// Says that its job is 7, whatever its bytes say.
    struct OfSeven<'a>(Report<'a>);

    impl Sealed for OfSeven<'_> {}

    impl Encode for OfSeven<'_> {
        fn encode_into<S: Sink + ?Sized>(&self, sink: &mut S) -> Result<(), EncodeError> {
            self.0.encode_into(sink)
        }

        fn encoded_len(&self) -> usize {
            self.0.encoded_len()
        }

        fn job_keys(&self) -> impl Iterator<Item = (Option<i64>, bool)> {
            [(Some(7), false)].into_iter()
        }
    }

    #[test]
    fn a_submitted_report_is_not_read_again() {
        let jobs = [Job::new(JobStatus::FINISH, 1_591_104_868_201).with_job_id(1)];
        let report = OfSeven(Report::new("uuid", &jobs));
        let mut outbox = RamOutbox::new([0; 4096], 4096);
        let mut courier = Courier::new(
            &mut outbox,
            [0; 512],
            Policy::default(),
            MonoTime::from_ms(0),
            0,
        );
        let ticket = courier.submit(&report, MonoTime::from_ms(1), None).unwrap();
        assert_eq!(outbox.job_keys(ticket).unwrap(), keys_of(&report));
    }
}
