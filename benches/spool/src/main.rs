//! Compares the spool with plain appending and with other stores, in one run, and prints Markdown tables.

mod device;
mod full;
mod outage;
mod stores;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use device::Device;
use stores::{ABSENT, PEERS, Peer, Result, Store, fresh};

/// Bytes of one report.
pub(crate) const REPORT: usize = 400;
const BATCH: usize = 32;
/// What waits when a store is opened again.
const BACKLOG: usize = 100_000;

const HELP: &str = "edge-report-bench-spool [--dir DIR] [--counted DIR] [--rounds N] [--quick]
  --dir DIR      where the stores are timed; default: the directory for temporary files
  --counted DIR  where the writes to the device are counted; best a file system that nobody else uses. Default: not counted
  --rounds N     default: 15
  --quick        3 rounds, and a tenth of the rest, to see that it works
  --full         only: what a submit costs when the spool is full
  --outage       only: how long what waited during an outage takes";

struct Options {
    dir: PathBuf,
    counted: Option<PathBuf>,
    rounds: usize,
    /// What is filled and counted is divided by this.
    part: usize,
    /// This instead of the comparison.
    only: Option<fn(&Path, usize) -> Result<()>>,
}

fn main() -> Result<()> {
    let options = options()?;
    for name in ABSENT {
        println!("{name}: not built in (feature `{name}`), so not compared\n");
    }
    let dir = fresh(&options.dir, &format!("spool-bench-{}", std::process::id()))?;
    let timed = match options.only {
        Some(run) => run(&dir, options.part),
        None => timed(&dir, &options).and_then(|()| reopened(&dir, &options)),
    };
    std::fs::remove_dir_all(&dir)?;
    timed?;
    match &options.counted {
        _ if options.only.is_some() => Ok(()),
        Some(dir) => counted(dir, &options),
        None => {
            println!("Writes to the device: not counted, for want of --counted");
            Ok(())
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        dir: std::env::temp_dir(),
        counted: None,
        rounds: 15,
        part: 1,
        only: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| format!("{arg} needs a value\n{HELP}"))
        };
        match arg.as_str() {
            "--dir" => options.dir = value()?.into(),
            "--counted" => options.counted = Some(value()?.into()),
            "--rounds" => options.rounds = value()?.parse()?,
            "--quick" => (options.rounds, options.part) = (3, 10),
            "--full" => options.only = Some(full::run),
            "--outage" => options.only = Some(outage::run),
            _ => return Err(HELP.into()),
        }
    }
    Ok(options)
}

/// A report of exactly [`REPORT`] bytes.
fn report() -> Vec<u8> {
    let mut bytes = br#"{"message_id":"0190163d-8694-739b-aea5-966c26f8ad91","jobs":[{"job_id":99270,"status":"job_running","create_time":1591104868201,"metrics":""#.to_vec();
    let end = br#""}]}"#;
    bytes.resize(REPORT - end.len(), b'7');
    bytes.extend_from_slice(end);
    bytes
}

/// Per round.
#[derive(Default)]
struct Times {
    each: Vec<Duration>,
    batched: Vec<Duration>,
    drained: Vec<Duration>,
}

/// Each round is a number of short turns of every store, so that what else the machine does meets them all.
const TURNS: usize = 20;

fn timed(dir: &Path, options: &Options) -> Result<()> {
    let (each, batches) = (100, 25);
    let rounds = options.rounds;
    let turns = TURNS * (rounds + 1);
    let report = report();
    let batch = [report.as_slice(); BATCH];
    let total = each.max(batches * BATCH) * turns;
    let open = |peer: &Peer, batch: usize| {
        let name = peer.name.replace(|c: char| !c.is_alphanumeric(), "_");
        (peer.open)(&fresh(dir, &format!("{name}-{batch}"))?, batch, total)
    };
    let mut stores = Vec::new();
    for peer in PEERS {
        stores.push((open(peer, 1)?, open(peer, BATCH)?, Times::default()));
    }
    for turn in 0..turns {
        for index in 0..stores.len() {
            // Nobody always comes behind the same one.
            let index = (index + turn) % stores.len();
            let (single, batched, times) = &mut stores[index];
            let each_time = time(|| (0..each).try_for_each(|_| single.append(&[&report])))?;
            let batched_time = time(|| (0..batches).try_for_each(|_| batched.append(&batch)))?;
            let drained_time = time(|| drain(batched.as_mut(), batches * BATCH))?;
            drain(single.as_mut(), each)?;
            // The first round warms up.
            if let Some(round) = (turn / TURNS).checked_sub(1) {
                add(&mut times.each, round, each_time);
                add(&mut times.batched, round, batched_time);
                add(&mut times.drained, round, drained_time);
            }
        }
    }
    println!(
        "Reports of {REPORT} bytes per second, medians of {rounds} interleaved rounds on {}; in brackets: of the limit, in the same round\n",
        device::describe(&options.dir)
    );
    println!("| store | each durable | {BATCH} durable together | read and removed |");
    println!("|---|---|---|---|");
    let limit = &stores[0].2;
    for (peer, (_, _, times)) in PEERS.iter().zip(&stores) {
        println!(
            "| {} | {} | {} | {} |",
            peer.name,
            rate(&times.each, &limit.each, TURNS * each),
            rate(&times.batched, &limit.batched, TURNS * batches * BATCH),
            rate(&times.drained, &limit.drained, TURNS * batches * BATCH),
        );
    }
    println!();
    Ok(())
}

fn add(times: &mut Vec<Duration>, round: usize, time: Duration) {
    times.resize(times.len().max(round + 1), Duration::ZERO);
    times[round] += time;
}

fn time(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

fn drain(store: &mut dyn Store, count: usize) -> Result<()> {
    let mut left = count;
    while left > 0 {
        match store.drain()? {
            0 => return Err(format!("{left} reports are missing").into()),
            drained => left -= drained,
        }
    }
    Ok(())
}

fn rate(times: &[Duration], limit: &[Duration], count: usize) -> String {
    let ratios = times
        .iter()
        .zip(limit)
        .map(|(own, limit)| limit.as_secs_f64() / own.as_secs_f64());
    let seconds = median(times.iter().map(Duration::as_secs_f64));
    format!("{:.0} ({:.2})", count as f64 / seconds, median(ratios))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From opening until the oldest report is read.
fn reopened(dir: &Path, options: &Options) -> Result<()> {
    let backlog = BACKLOG / options.part;
    let report = report();
    let batch = [report.as_slice(); 1000];
    println!(
        "Opened again with {backlog} reports waiting, until the oldest is read; files in the page cache, median of 5\n"
    );
    println!("| store | ms |");
    println!("|---|---|");
    for peer in PEERS {
        let dir = fresh(dir, "reopened")?;
        let open = || (peer.open)(&dir, batch.len(), backlog);
        let mut store = open()?;
        (0..backlog / batch.len()).try_for_each(|_| store.append(&batch))?;
        drop(store);
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(time(|| match open()?.front()? {
                REPORT => Ok(()),
                len => Err(format!("{} gave {len} bytes back", peer.name).into()),
            })?);
        }
        println!(
            "| {} | {:.1} |",
            peer.name,
            1000.0 * median(times.iter().map(Duration::as_secs_f64))
        );
    }
    println!();
    Ok(())
}

/// What reaches the device, from making the store to the last report, and all that the file system wrote late.
fn counted(parent: &Path, options: &Options) -> Result<()> {
    let Some(device) = Device::of(parent)? else {
        println!(
            "Writes to the device: not counted, {} is on none of /proc/diskstats",
            parent.display()
        );
        return Ok(());
    };
    let report = report();
    let batch = [report.as_slice(); BATCH];
    let (each, batches) = (20_000 / options.part, 1000 / options.part);
    println!(
        "Counted by the kernel (/proc/diskstats) on {}, per report, the making of the store and its files included\n",
        device::describe(parent)
    );
    println!("| store | KB, each durable | flushes | KB, {BATCH} together | flushes |");
    println!("|---|---|---|---|---|");
    for peer in PEERS {
        let mut cells = String::new();
        for (size, count) in [(1, each), (BATCH, batches)] {
            let dir = fresh(parent, "counted")?;
            let before = device.written(parent)?;
            let mut store = (peer.open)(&dir, size, size * count)?;
            (0..count).try_for_each(|_| store.append(&batch[..size]))?;
            drop(store);
            let after = device.written(parent)?;
            let reports = (size * count) as f64;
            let kilobytes = (after.bytes - before.bytes) as f64 / 1000.0 / reports;
            let flushes = (after.flushes - before.flushes) as f64 / reports;
            cells += &format!(" {kilobytes:.2} | {flushes:.3} |");
        }
        println!("| {} |{cells}", peer.name);
    }
    std::fs::remove_dir_all(parent.join("counted"))?;
    Ok(())
}
