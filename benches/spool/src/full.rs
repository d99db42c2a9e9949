//! What a submit costs when the spool is full: how long it takes, and what it asks of the storage.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use edge_report::courier::{
    Durability, JobKey, JobKeys, LogOutbox, Outbox, OutboxError, Storage, StorageLimits,
};
use edge_report::{MonoTime, Spool, SpoolOptions};

use crate::{REPORT, Result, device, report};

const TOTAL: usize = 64 << 20;
const SEGMENT: usize = 1 << 20;

/// What comes in: the number of a report leads to its jobs.
type Mix = (&'static str, fn(u64) -> JobKeys);

const MIXES: [Mix; 4] = [
    ("statuses of 100 jobs", |number| running(number % 100 + 1)),
    ("statuses of 20,000 jobs", |number| {
        running(number % 20_000 + 1)
    }),
    (
        "4 of 10 statuses of one job, 6 that stay",
        |number| match number % 10 {
            0..4 => running(7),
            _ => JobKeys::new(),
        },
    ),
    ("all of them stay", |_| JobKeys::new()),
];

fn running(job: u64) -> JobKeys {
    let job_id = i64::try_from(job).unwrap_or(1);
    let key = JobKey {
        job_id,
        is_final: false,
    };
    [key].into_iter().collect()
}

pub(crate) fn run(dir: &Path, part: usize) -> Result<()> {
    let (total, submits) = (TOTAL / part, 50_000 / part);
    println!(
        "Submits of {REPORT} bytes to a full spool of {} MiB on {}; each durable; in µs\n",
        total >> 20,
        device::describe(dir)
    );
    println!("| what comes in | taken | p50 | p99 | p99.9 | most | full | p50 | p99.9 | most |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for mix in MIXES {
        timed(&dir.join("full"), mix, total, submits)?;
    }
    println!(
        "\nWhat they ask of the storage, segments of {} KiB\n",
        SEGMENT / part >> 10
    );
    println!(
        "| what comes in | taken | most bytes read | most bytes written | most syncs | most segments read, written | mean bytes read, written, syncs | full | most reads |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for mix in MIXES {
        counted(mix, total, SEGMENT / part, submits)?;
    }
    println!();
    Ok(())
}

fn timed(dir: &Path, (name, keys): Mix, total: usize, submits: usize) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let place = dir.join("spool");
    let limits = SpoolOptions::default()
        .with_max_bytes(total as u64)
        .with_durability(Durability::Each);
    let mut spool = Spool::open(&place, limits)?;
    let report = report();
    let mut number = 0;
    let mut submit = |spool: &mut Spool| {
        let begin = Instant::now();
        let result = spool.append(&keys(number), &report, MonoTime::from_ms(0), None);
        number += 1;
        match result {
            Ok(_) => Ok((true, begin.elapsed())),
            Err(OutboxError::Full) => Ok((false, begin.elapsed())),
            Err(error) => Err(error),
        }
    };
    // As much as would fill it, or until it says so.
    for _ in 0..total / REPORT {
        if !submit(&mut spool)?.0 {
            break;
        }
    }
    let (mut taken, mut full) = (Vec::new(), Vec::new());
    for _ in 0..submits {
        match submit(&mut spool)? {
            (true, time) => taken.push(time),
            (false, time) => full.push(time),
        }
    }
    taken.sort_unstable();
    full.sort_unstable();
    let at = |times: &[Duration], share: f64| {
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1)));
        time.map_or("-".into(), |time| {
            format!("{:.0}", time.as_secs_f64() * 1e6)
        })
    };
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        taken.len(),
        at(&taken, 0.5),
        at(&taken, 0.99),
        at(&taken, 0.999),
        at(&taken, 1.0),
        full.len(),
        at(&full, 0.5),
        at(&full, 0.999),
        at(&full, 1.0),
    );
    drop(spool);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// What was asked of a storage.
#[derive(Default)]
struct Asked {
    reads: u64,
    read: u64,
    written: u64,
    syncs: u64,
    segments_read: BTreeSet<u32>,
    segments_written: BTreeSet<u32>,
}

/// Segments in memory.
struct Memory {
    segments: BTreeMap<u32, Vec<u8>>,
    limits: StorageLimits,
    asked: Rc<RefCell<Asked>>,
}

impl Storage for Memory {
    type Error = Infallible;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> std::result::Result<(), Infallible> {
        self.segments
            .iter()
            .for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }

    fn limits(&self) -> StorageLimits {
        self.limits
    }

    fn create(&mut self, id: u32, len: usize) -> std::result::Result<(), Infallible> {
        self.segments.insert(id, vec![0; len]);
        Ok(())
    }

    fn read(
        &mut self,
        id: u32,
        offset: usize,
        buffer: &mut [u8],
    ) -> std::result::Result<(), Infallible> {
        let mut asked = self.asked.borrow_mut();
        asked.reads += 1;
        asked.read += buffer.len() as u64;
        asked.segments_read.insert(id);
        let bytes = &self.segments[&id][offset..offset + buffer.len()];
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write(
        &mut self,
        id: u32,
        offset: usize,
        bytes: &[u8],
    ) -> std::result::Result<(), Infallible> {
        let mut asked = self.asked.borrow_mut();
        asked.written += bytes.len() as u64;
        asked.segments_written.insert(id);
        if let Some(segment) = self.segments.get_mut(&id) {
            segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self, _: u32) -> std::result::Result<(), Infallible> {
        self.asked.borrow_mut().syncs += 1;
        Ok(())
    }

    fn discard(&mut self, id: u32) -> std::result::Result<(), Infallible> {
        self.segments.remove(&id);
        Ok(())
    }
}

fn counted((name, keys): Mix, total: usize, segment: usize, submits: usize) -> Result<()> {
    let asked = Rc::<RefCell<Asked>>::default();
    let memory = |total| Memory {
        segments: BTreeMap::new(),
        limits: StorageLimits::new(segment, total).with_length_unit(4096),
        asked: asked.clone(),
    };
    let (live, dead) = (memory(total), memory(total / 4));
    let mut log = LogOutbox::<_, _, 72>::open(live, dead, Durability::Each, 1)?;
    let report = report();
    let (mut taken, mut full) = (Vec::new(), Vec::new());
    for number in 0..(total / REPORT + submits) as u64 {
        asked.take();
        let result = log.append(&keys(number), &report, MonoTime::from_ms(0), None);
        let asked = asked.take();
        let is_measured = number >= (total / REPORT) as u64;
        match result {
            Ok(_) if is_measured => taken.push(asked),
            Err(OutboxError::Full) if is_measured => full.push(asked),
            Ok(_) | Err(OutboxError::Full) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let most = |all: &[Asked], what: fn(&Asked) -> u64| all.iter().map(what).max().unwrap_or(0);
    let mean = |what: fn(&Asked) -> u64| {
        let sum: u64 = taken.iter().map(what).sum();
        sum as f64 / taken.len().max(1) as f64
    };
    println!(
        "| {name} | {} | {} | {} | {} | {}, {} | {:.0}, {:.0}, {:.2} | {} | {} |",
        taken.len(),
        most(&taken, |a| a.read),
        most(&taken, |a| a.written),
        most(&taken, |a| a.syncs),
        most(&taken, |a| a.segments_read.len() as u64),
        most(&taken, |a| a.segments_written.len() as u64),
        mean(|a| a.read),
        mean(|a| a.written),
        mean(|a| a.syncs),
        full.len(),
        most(&full, |a| a.reads),
    );
    Ok(())
}
