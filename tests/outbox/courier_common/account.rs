//! What must be in an outbox after a crash, and whether it is.

use std::collections::{BTreeMap, BTreeSet};

use edge_report::courier::{
    Counters, Disposition, Durability, LogOutbox, Outbox, OutboxError, Reason, StorageLimits,
    Ticket, WhenLettersFull,
};
use edge_report::{JobStatus, MonoTime};

use super::device::{Device, DeviceError, Image, Images, Power};
use super::{Sample, sample, says_more};

pub(crate) const MAX: usize = 16;
pub(crate) type Log = LogOutbox<Device, Device, MAX>;
pub(crate) type Failure = OutboxError<DeviceError>;

/// On what the outbox stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// What erased bytes are.
    pub(crate) blank: u8,
    /// Length of a segment and of all of them: of what waits, of the dead letters.
    pub(crate) limits: [(usize, usize); 2],
    /// What segments that stand for others have multiples of, and what is written in multiples of.
    pub(crate) units: (usize, usize),
    pub(crate) durability: Durability,
    pub(crate) seed: u64,
}

impl Setting {
    pub(crate) fn power(&self) -> Power {
        self.power_on([Image::new(self.blank), Image::new(self.blank)])
    }

    /// With what is there already.
    pub(crate) fn power_on(&self, images: Images) -> Power {
        let limits = self.limits.map(|(segment, total)| {
            StorageLimits::new(segment, total)
                .with_length_unit(self.units.0.min(segment))
                .with_write_unit(self.units.1)
                .with_blank(self.blank)
        });
        Power::on(images, limits)
    }

    pub(crate) fn open(&self, power: &Power) -> Result<Log, Failure> {
        let (live, dead) = power.devices();
        Log::open(live, dead, self.durability, 0x5eed ^ self.seed)
    }
}

pub(crate) const EACH: Setting = Setting {
    name: "each, segments of 2 KiB",
    blank: 0,
    limits: [(2048, 6 * 2048), (2048, 3 * 2048)],
    units: (256, 8),
    durability: Durability::Each,
    seed: 1,
};

pub(crate) const SETTINGS: [Setting; 4] = [
    EACH,
    Setting {
        name: "each, segments of 8 KiB, erased to 0xff, words of 32 bytes",
        blank: 0xff,
        limits: [(8192, 3 * 8192), (4096, 2 * 4096)],
        units: (8192, 32),
        seed: 2,
        ..EACH
    },
    Setting {
        name: "in batches of 5, segments of 2 KiB",
        limits: [(2048, 5 * 2048), (2048, 2 * 2048)],
        units: (2048, 8),
        durability: Durability::Batch {
            reports: 5,
            ms: 3_000,
        },
        seed: 3,
        ..EACH
    },
    Setting {
        name: "in batches of 8, segments of 4 KiB, erased to 0xff, words of 16 bytes",
        blank: 0xff,
        limits: [(4096, 4 * 4096), (2048, 4 * 2048)],
        units: (512, 16),
        durability: Durability::Batch {
            reports: 8,
            ms: 10_000,
        },
        seed: 4,
    },
];

/// What is known of a report.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) sample: Sample,
    /// Whether it must survive.
    pub(crate) durable: bool,
    /// Whether a sync failed before it was durable: it may be lost.
    pub(crate) in_doubt: bool,
    pub(crate) disposition: Option<Disposition>,
    /// A letter was to be written, and that failed or is under way.
    pub(crate) trying: Option<Reason>,
    /// A letter was to be written, and that failed: it may be there or not, whatever became of the report.
    pub(crate) half_buried: Option<Reason>,
    /// Whether something was written since it was settled: a full log may have no room for a record of it.
    pub(crate) fate_written: bool,
    /// Whether it must not come again.
    pub(crate) fate_durable: bool,
}

impl Known {
    pub(crate) fn new(sample: Sample, durable: bool) -> Self {
        Known {
            sample,
            durable,
            in_doubt: false,
            disposition: None,
            trying: None,
            half_buried: None,
            fate_written: false,
            fate_durable: false,
        }
    }
}

/// What is known of an outbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) reports: BTreeMap<u64, Known>,
    /// The dead letters, all durable: why.
    pub(crate) letters: BTreeMap<u64, Reason>,
    /// In which order they died.
    pub(crate) order: Vec<u64>,
    pub(crate) counters: Counters,
    /// The dead letters that may be gone, since somebody wanted them forgotten.
    pub(crate) forgotten: BTreeSet<u64>,
    /// What may be there, since its submit failed.
    pub(crate) maybe: Vec<Sample>,
    /// How many reports are known to be lost that were not synced.
    pub(crate) holes: u64,
    /// How many may count as corrupt.
    pub(crate) corrupt: u64,
    /// Whether the device failed: what was said of it is then not all that counts.
    pub(crate) is_faulty: bool,
}

impl Account {
    /// The bytes that a report must have.
    pub(crate) fn bytes(&self, number: u64, found: &[u8]) -> Option<&[u8]> {
        let known = self.reports.get(&number).map(|known| &known.sample);
        let maybe = || self.maybe.iter().find(|sample| *sample.bytes == *found);
        known.or_else(maybe).map(|sample| &*sample.bytes)
    }
}

pub(crate) fn reason_of(disposition: Option<Disposition>) -> Option<Reason> {
    match disposition {
        Some(Disposition::Refused(reason) | Disposition::Expired(reason)) => Some(reason),
        _ => None,
    }
}

pub(crate) fn settled(counters: &Counters) -> u64 {
    let Counters {
        delivered,
        refused,
        superseded,
        expired,
        corrupt,
        ..
    } = *counters;
    delivered + refused + superseded + expired + corrupt
}

/// What was found behind a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) waiting: BTreeSet<u64>,
    pub(crate) letters: BTreeSet<u64>,
    pub(crate) counters: Counters,
    /// Unsynced ones that are lost.
    pub(crate) holes: u64,
    /// Settled ones that came again.
    pub(crate) repeats: usize,
}

/// Opens and drains what is left of an outbox when the power failed between `before` and `after`.
pub(crate) fn check(
    setting: &Setting,
    images: Images,
    before: &Account,
    after: &Account,
) -> Result<Found, String> {
    let power = setting.power_on(images);
    let mut log = setting
        .open(&power)
        .map_err(|error| format!("does not open: {error}"))?;
    let mut buffer = vec![0; 16384];
    let found = Found {
        letters: check_letters(&mut log, before, after, &mut buffer)?,
        counters: log.counters(),
        ..Found::default()
    };
    let waiting = log.waiting();
    ensure!(
        found.counters.submitted == settled(&found.counters) + waiting,
        "{waiting} wait, {:?}",
        found.counters
    );
    ensure!(
        found.counters.letters == found.letters.len() as u64,
        "{} dead letters, {:?}",
        found.letters.len(),
        found.counters
    );
    let found = drain(&mut log, found, before, after, &mut buffer)?;
    let lost = log.counters().corrupt - found.counters.corrupt;
    ensure!(
        found.waiting.len() as u64 + lost == waiting,
        "{waiting} wait, {} come, {lost} are counted as corrupt",
        found.waiting.len()
    );
    check_losses(setting, &found, lost, before, after)?;
    let found = Found {
        holes: lost,
        ..found
    };
    let end = log.counters();
    ensure!(
        end.submitted == settled(&end) && log.waiting() == 0,
        "drained: {end:?}"
    );

    let last = before.reports.keys().next_back().copied().unwrap_or(0);
    let more = sample(1_000_000, &[(7, JobStatus::FINISH)], 60);
    let ticket = log.append(&more.keys, &more.bytes, MonoTime::from_ms(0), None);
    let ticket = ticket.map_err(|error| format!("takes no more: {error}"))?;
    ensure!(ticket.0 > last, "ticket {ticket} was given out before");
    drop(log);
    let mut log = setting
        .open(&power)
        .map_err(|error| format!("does not open again: {error}"))?;
    let front = log.next(None).map_err(|error| error.to_string())?;
    let front = front.ok_or("what is submitted after a crash is not there")?;
    let is_read = log
        .read(front.ticket, &mut buffer)
        .map_err(|error| error.to_string())?;
    ensure!(
        is_read && front.ticket == ticket && buffer[..front.len] == *more.bytes,
        "what is submitted after a crash is wrong: {front:?}, not {ticket}{}",
        super::failures::dump(&power.images())
    );
    let again = log.counters();
    ensure!(
        // What a device lost that said it was durable may have been delivered before: in doubt it counts as lost.
        (again.corrupt == end.corrupt || after.is_faulty)
            && again.submitted == settled(&again) + log.waiting(),
        "opened again: {again:?}, was {end:?}"
    );
    Ok(found)
}

pub(crate) fn check_letters(
    log: &mut Log,
    before: &Account,
    after: &Account,
    buffer: &mut [u8],
) -> Result<BTreeSet<u64>, String> {
    let mut letters = BTreeSet::new();
    let mut last = None;
    while let Some(letter) = log.dead_letter(last).map_err(|error| error.to_string())? {
        let Ticket(number) = letter.ticket;
        last = Some(letter.ticket);
        let is_read = log
            .read_dead_letter(letter.ticket, buffer)
            .map_err(|error| error.to_string())?;
        ensure!(is_read, "dead letter {number} is not whole");
        let bytes = after.bytes(number, &buffer[..letter.len]);
        let bytes = bytes.ok_or_else(|| format!("dead letter {number} is invented"))?;
        ensure!(
            buffer[..letter.len] == *bytes,
            "dead letter {number}: wrong bytes"
        );
        let tried = |account: &Account| {
            let known = account.reports.get(&number)?;
            known
                .trying
                .or(reason_of(known.disposition))
                .or(known.half_buried)
        };
        let there = before.letters.get(&number).or(after.letters.get(&number));
        let reason = there.copied().or_else(|| tried(after));
        let reason = reason.ok_or_else(|| format!("dead letter {number} comes back"))?;
        ensure!(
            letter.reason == reason,
            "dead letter {number}: wrong reason"
        );
        ensure!(letters.insert(number), "dead letter {number} comes twice");
    }
    let dropped = after.counters.letters_dropped - before.counters.letters_dropped;
    let mut lost = 0;
    for number in before.letters.keys() {
        // Where a sync failed its report may wait instead: that is looked at later.
        let must = after.letters.contains_key(number)
            && !after.forgotten.contains(number)
            && !after.is_faulty;
        ensure!(
            !must || letters.contains(number),
            "dead letter {number} is lost"
        );
        lost += u64::from(!letters.contains(number) && !after.forgotten.contains(number));
    }
    ensure!(
        lost <= dropped || after.is_faulty,
        "{lost} dead letters are gone, {dropped} count as dropped"
    );
    let found = log.counters().letters_dropped;
    ensure!(
        before.counters.letters_dropped <= found && found <= after.counters.letters_dropped
            || after.is_faulty,
        "{found} letters count as dropped"
    );
    Ok(letters)
}

/// Takes all that waits, as delivered.
pub(crate) fn drain(
    log: &mut Log,
    mut found: Found,
    before: &Account,
    after: &Account,
    buffer: &mut [u8],
) -> Result<Found, String> {
    let mut last = 0;
    while let Some(front) = log.next(None).map_err(|error| error.to_string())? {
        let Ticket(number) = front.ticket;
        let again = log.next(None).map_err(|error| error.to_string())?;
        ensure!(
            again == Some(front),
            "the front changes: {front:?}, {again:?}"
        );
        if !log
            .read(front.ticket, &mut buffer[..front.len])
            .map_err(|error| error.to_string())?
        {
            continue;
        }
        ensure!(number > last, "report {number} comes after {last}");
        last = number;
        let bytes = after.bytes(number, &buffer[..front.len]);
        let bytes = bytes.ok_or_else(|| format!("report {number} is invented"))?;
        ensure!(
            buffer[..front.len] == *bytes,
            "report {number}: wrong bytes"
        );
        ensure!(
            !found.letters.contains(&number),
            "report {number} waits, and is a dead letter"
        );
        ensure!(
            !before
                .reports
                .get(&number)
                .is_some_and(|known| known.fate_durable),
            "report {number} comes again though its settling was synced"
        );
        let known = after.reports.get(&number);
        found.repeats += usize::from(known.is_some_and(|known| known.disposition.is_some()));
        found.waiting.insert(number);
        let settled = log.settle(
            front.ticket,
            Disposition::Delivered,
            &[],
            WhenLettersFull::default(),
        );
        settled.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// Whether all that must be there is there.
pub(crate) fn check_losses(
    setting: &Setting,
    found: &Found,
    corrupt: u64,
    before: &Account,
    after: &Account,
) -> Result<(), String> {
    let known_after = |number: &u64| after.reports.get(number);
    let mut missing = 0;
    for (number, known) in &before.reports {
        let is_there = found.waiting.contains(number) || found.letters.contains(number);
        if is_there || !known.durable {
            continue;
        }
        let later = known_after(number);
        if let Some(disposition) = later.and_then(|known| known.disposition) {
            // What a crash took out of the dead letters must come again.
            let kept = disposition == Disposition::Delivered
                || after.forgotten.contains(number)
                || !after.letters.contains_key(number);
            ensure!(
                kept,
                "refused report {number} is neither a dead letter nor waits"
            );
            continue;
        }
        // One whose burial was under way may have been dropped as a letter at once.
        missing += 1;
        let newer = || after.reports.range(number + 1..);
        let maybe = |key| after.maybe.iter().any(|other| says_more(&other.keys, key));
        let covered = known.sample.keys.iter().all(|key| {
            newer().any(|(newer, other)| {
                let counts = found.waiting.contains(newer)
                    || found.letters.contains(newer)
                    || other.disposition.is_some();
                counts && says_more(&other.sample.keys, key)
            }) || maybe(key)
        });
        ensure!(
            !known.sample.keys.is_empty() && covered,
            "report {number} is lost"
        );
    }
    ensure!(
        missing <= found.counters.superseded,
        "{missing} reports are lost, {} count as superseded",
        found.counters.superseded
    );
    let durable = |number| {
        before
            .reports
            .get(number)
            .is_some_and(|known: &Known| known.durable)
    };
    let unsynced = after
        .reports
        .keys()
        .filter(|number| !durable(*number))
        .count() as u64;
    // What failed may be there or not.
    let failed = after.maybe.len() as u64;
    let most = match setting.durability {
        Durability::Each => failed,
        _ => unsynced + before.holes + failed,
    };
    ensure!(
        corrupt <= most && found.counters.corrupt <= before.counters.corrupt + most,
        "{corrupt} count as corrupt, {:?} was {:?}",
        found.counters,
        after.counters
    );
    let Counters {
        submitted,
        delivered,
        refused,
        superseded,
        expired,
        torn,
        ..
    } = found.counters;
    let most = after.counters;
    let trying = after
        .reports
        .values()
        .filter(|known| known.trying.is_some());
    let half_buried = after.reports.values();
    let half_buried = half_buried.filter(|known| known.half_buried.is_some());
    let trying =
        trying.count() as u64 + half_buried.count() as u64 + u64::from(after.is_faulty) * failed;
    ensure!(
        submitted <= most.submitted.max(before.counters.submitted) + failed
            && delivered <= most.delivered
&& refused + expired <= most.refused + most.expired + trying
            && (refused <= most.refused + trying || after.is_faulty)
            // A segment that stands for others counts even if it was not known whether it is whole.
            && (superseded <= most.superseded || after.is_faulty)
&& (expired <= most.expired + trying || after.is_faulty)
            && torn <= before.counters.torn + 1 + unsynced + failed,
        "{:?} though it was {most:?}",
        found.counters
    );
    Ok(())
}
