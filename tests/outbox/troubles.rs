//! Trouble of a device that goes away, and trouble that comes in pairs: each test is one story that cost something once.
//!
//! The device is another than that of `courier_common`: it has bad sectors that heal after so many reads, a segment that cannot be discarded,
//! and times at which all calls fail.
#![cfg(feature = "alloc")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod courier_common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use courier_common::Rng;
use edge_report::courier::{
    Disposition, Durability, Forget, JobKey, JobKeys, LogOutbox, Outbox, OutboxError, Reason,
    Storage, StorageLimits, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Err1(&'static str);
impl std::fmt::Display for Err1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Err1 {}

const NO_ROOM: Err1 = Err1("no room");
const OUT: Err1 = Err1("out");

#[derive(Clone, Default)]
struct Seg {
    durable: Vec<u8>,
    view: Vec<u8>,
}

struct Board {
    segs: [BTreeMap<u32, Seg>; 2],
    limits: [StorageLimits; 2],
    rng: Rng,
    /// The power fails before the call of this number.
    dies_at: u64,
    calls: u64,
    dead: bool,
    /// Of ten thousand reads so many fail.
    read_fails: [usize; 2],
    /// Every call fails until then.
    away_until: u64,
    /// After so many reads none works for a while, and no sync, which says nothing of what is there.
    out_after: [u64; 2],
    /// Of hundred: writes, syncs, discards, creates.
    fails: [usize; 4],
    /// Failed syncs: thrown away or written later.
    sync_throws: bool,
    /// Bad ranges, and how many reads of each still fail.
    bad: Vec<(usize, u32, usize, usize, u32)>,
    used: [BTreeSet<u32>; 2],
    /// Cannot be discarded.
    stuck: Option<(usize, u32)>,
    /// For all segments of a side.
    room: [usize; 2],
}

impl Board {
    fn bytes(&self, side: usize) -> usize {
        self.segs[side].values().map(|s| s.view.len()).sum()
    }

    fn tick(&mut self) -> Result<(), Err1> {
        self.calls += 1;
        if self.calls >= self.dies_at {
            self.dead = true;
        }
        if self.dead {
            return Err(Err1("no power"));
        }
        Ok(())
    }
    fn away(&self) -> bool {
        self.calls < self.away_until
    }
}

#[derive(Clone)]
struct Dev(Rc<RefCell<Board>>, usize);
impl std::fmt::Debug for Dev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dev")
    }
}

impl Storage for Dev {
    type Error = Err1;
    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Err1> {
        let b = self.0.borrow();
        if b.dead {
            return Err(Err1("no power"));
        }
        for (id, s) in b.segs[self.1].iter().rev() {
            each(*id, s.view.len());
        }
        Ok(())
    }
    fn limits(&self) -> StorageLimits {
        self.0.borrow().limits[self.1]
    }
    fn create(&mut self, id: u32, len: usize) -> Result<(), Err1> {
        let b = &mut *self.0.borrow_mut();
        b.tick()?;
        assert!(b.used[self.1].insert(id), "id {id} used twice");
        if b.away() || b.rng.below(100) < b.fails[3] {
            return Err(Err1("create"));
        }
        if b.bytes(self.1) + len > b.room[self.1] {
            return Err(NO_ROOM);
        }
        let blank = b.limits[self.1].blank;
        let v = vec![blank; len];
        b.segs[self.1].insert(
            id,
            Seg {
                durable: v.clone(),
                view: v,
            },
        );
        Ok(())
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Err1> {
        let b = &mut *self.0.borrow_mut();
        if b.dead {
            return Err(Err1("no power"));
        }
        if b.away() {
            b.calls += 1;
            return Err(Err1("read away"));
        }
        if b.out_after[self.1] == 0 {
            return Err(OUT);
        }
        b.out_after[self.1] -= 1;
        if b.rng.below(10000) < b.read_fails[self.1] {
            return Err(Err1("read"));
        }
        let end = offset + buffer.len();
        for (side, bid, from, to, left) in &mut b.bad {
            if *side == self.1 && *bid == id && offset < *to && *from < end && *left > 0 {
                *left = left.saturating_sub(u32::from(*left != u32::MAX));
                return Err(Err1("bad"));
            }
        }
        let s = b.segs[self.1].get(&id).ok_or(Err1("gone"))?;
        assert!(
            end <= s.view.len(),
            "READ PAST THE END {offset}..{end} of {} {id} with {}",
            ["live", "dead"][self.1],
            s.view.len()
        );
        buffer.copy_from_slice(&s.view[offset..end]);
        Ok(())
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Err1> {
        let b = &mut *self.0.borrow_mut();
        b.tick()?;
        let fails = b.away() || b.rng.below(100) < b.fails[0];
        let blank = b.limits[self.1].blank;
        let unit = b.limits[self.1].write_unit;
        let parts = b.rng.below(5);
        let s = b.segs[self.1].get_mut(&id).ok_or(Err1("gone"))?;
        assert!(
            offset + bytes.len() <= s.view.len(),
            "PAST THE END: write {} at {offset} of {id} with {}",
            bytes.len(),
            s.view.len()
        );
        assert!(
            s.view[offset..offset + bytes.len()]
                .iter()
                .all(|x| *x == blank),
            "written twice"
        );
        assert!(offset.is_multiple_of(unit) && bytes.len().is_multiple_of(unit));
        let n = if fails {
            bytes.len() * parts / 4
        } else {
            bytes.len()
        };
        s.view[offset..offset + n].copy_from_slice(&bytes[..n]);
        if fails { Err(Err1("write")) } else { Ok(()) }
    }
    fn sync(&mut self, id: u32) -> Result<(), Err1> {
        let b = &mut *self.0.borrow_mut();
        b.tick()?;
        if b.out_after[self.1] == 0 {
            return Err(OUT);
        }
        let fails = b.away() || b.rng.below(100) < b.fails[1];
        let throws = b.sync_throws;
        let s = b.segs[self.1].get_mut(&id).ok_or(Err1("gone"))?;
        if fails {
            if throws {
                s.view = s.durable.clone();
            }
            return Err(Err1("sync"));
        }
        s.durable = s.view.clone();
        Ok(())
    }
    fn discard(&mut self, id: u32) -> Result<(), Err1> {
        let b = &mut *self.0.borrow_mut();
        b.tick()?;
        if b.away() || b.stuck == Some((self.1, id)) || b.rng.below(100) < b.fails[2] {
            return Err(Err1("discard"));
        }
        b.segs[self.1].remove(&id);
        Ok(())
    }
    fn lacks_room(&self, error: &Err1) -> bool {
        *error == NO_ROOM
    }
    fn is_outage(&self, error: &Err1) -> bool {
        *error == OUT
    }
}

const MAX: usize = 16;
type Log = LogOutbox<Dev, Dev, MAX>;
type E = OutboxError<Err1>;

#[derive(Clone, Copy, Debug)]
struct Config {
    seg: usize,
    total: usize,
    dead_seg: usize,
    dead_total: usize,
    unit: usize,
    write: usize,
    blank: u8,
    batch: bool,
}

const CONFIGS: [Config; 4] = [
    Config {
        seg: 1024,
        total: 8 * 1024,
        dead_seg: 1024,
        dead_total: 4096,
        unit: 256,
        write: 8,
        blank: 0,
        batch: false,
    },
    Config {
        seg: 2048,
        total: 6 * 2048,
        dead_seg: 2048,
        dead_total: 3 * 2048,
        unit: 2048,
        write: 32,
        blank: 0xff,
        batch: false,
    },
    Config {
        seg: 2048,
        total: 5 * 2048,
        dead_seg: 1024,
        dead_total: 4 * 1024,
        unit: 512,
        write: 8,
        blank: 0,
        batch: true,
    },
    Config {
        seg: 1024,
        total: 4 * 1024,
        dead_seg: 1024,
        dead_total: 3 * 1024,
        unit: 1024,
        write: 16,
        blank: 0,
        batch: false,
    },
];

fn board(c: &Config, seed: u64) -> Rc<RefCell<Board>> {
    let l = |segment, total| {
        StorageLimits::new(segment, total)
            .with_length_unit(c.unit.min(segment))
            .with_write_unit(c.write)
            .with_blank(c.blank)
    };
    Rc::new(RefCell::new(Board {
        segs: Default::default(),
        limits: [l(c.seg, c.total), l(c.dead_seg, c.dead_total)],
        rng: Rng(seed ^ 0xdead),
        dies_at: u64::MAX,
        calls: 0,
        dead: false,
        read_fails: [0; 2],
        away_until: 0,
        out_after: [u64::MAX; 2],
        fails: [0; 4],
        sync_throws: false,
        bad: Vec::new(),
        used: Default::default(),
        stuck: None,
        room: [usize::MAX; 2],
    }))
}

fn open(b: &Rc<RefCell<Board>>, c: &Config) -> Result<Log, E> {
    for side in 0..2 {
        let b = &mut *b.borrow_mut();
        b.used[side] = b.segs[side].keys().copied().collect();
    }
    let durability = if c.batch {
        Durability::Batch {
            reports: 4,
            ms: 1000,
        }
    } else {
        Durability::Each
    };
    Log::open(Dev(b.clone(), 0), Dev(b.clone(), 1), durability, 77)
}

/// The power comes back: of what was not synced each sector (and once in a while half of one) is there or not.
fn power(b: &Rc<RefCell<Board>>, lose: bool) {
    let b = &mut *b.borrow_mut();
    b.dead = false;
    b.dies_at = u64::MAX;
    if !lose {
        return;
    }
    let mode = b.rng.below(4);
    for side in &mut b.segs {
        for s in side.values_mut() {
            for from in (0..s.view.len()).step_by(512) {
                let to = (from + 512).min(s.view.len());
                if s.view[from..to] == s.durable[from..to] {
                    continue;
                }
                let keep = match mode {
                    0 => 0,
                    1 => 4,
                    _ => b.rng.below(6),
                };
                let cut = match keep {
                    0 | 5 => 0,
                    4 => to - from,
                    n => (to - from) * n / 4,
                };
                s.durable[from..from + cut].copy_from_slice(&s.view[from..from + cut]);
            }
            s.view = s.durable.clone();
        }
    }
}

const REASON: Reason = Reason::response(Outcome::Refused, 400);

fn key(job_id: i64) -> JobKeys {
    let mut k = JobKeys::new();
    k.push(JobKey {
        job_id,
        is_final: false,
    })
    .unwrap();
    k
}
fn put(log: &mut Log, n: u8, job: i64, len: usize) -> Ticket {
    log.append(&key(job), &vec![n; len], MonoTime::from_ms(0), None)
        .unwrap()
}
/// Where these bytes stand.
fn place(b: &Rc<RefCell<Board>>, side: usize, bytes: &[u8]) -> (u32, usize) {
    let b = b.borrow();
    b.segs[side]
        .iter()
        .find_map(|(id, s)| {
            s.view
                .windows(bytes.len())
                .position(|w| w == bytes)
                .map(|at| (*id, at))
        })
        .expect("it stands there")
}
fn spoil(b: &Rc<RefCell<Board>>, side: usize, bytes: &[u8], reads: u32) {
    let (id, at) = place(b, side, bytes);
    // Not that of the header.
    let from = (at + 511) & !511;
    b.borrow_mut().bad.push((side, id, from, from + 512, reads));
}
fn all(log: &mut Log) -> Vec<u64> {
    let mut v = vec![];
    let mut after = None;
    let mut tries = 0;
    loop {
        match log.next(after) {
            Ok(Some(w)) => {
                after = Some(w.ticket);
                v.push(w.ticket.0);
            }
            Ok(None) => return v,
            Err(_) if tries < 20 => tries += 1,
            Err(e) => panic!("{e}"),
        }
    }
}
const BIG: Config = Config {
    seg: 4096,
    total: 8 * 4096,
    dead_seg: 4096,
    dead_total: 8 * 4096,
    unit: 512,
    write: 8,
    blank: 0,
    batch: false,
};

/// A sector that cannot be read for a moment.
#[test]
fn a_report_outlasts_a_read_error_that_goes_away() {
    let mut lost = vec![];
    for reads in 1..8 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        put(&mut log, 1, 1, 600);
        let t = put(&mut log, 2, 2, 1500);
        put(&mut log, 3, 3, 600);
        spoil(&b, 0, &[2; 1000], reads);
        let mut buffer = vec![0; 1500];
        let mut got = false;
        for _ in 0..20 {
            got |= log.read(t, &mut buffer).unwrap_or(false);
        }
        if !got || log.counters().corrupt > 0 {
            lost.push((reads, log.counters().corrupt));
        }
    }
    assert!(
        lost.is_empty(),
        "four tries, two reads each; (failing reads, corrupt): {lost:?}"
    );
}

/// The newest of a job cannot be read for a moment, while it is asked whether it supersedes another.
#[test]
fn what_supersedes_another_outlasts_one() {
    let mut lost = vec![];
    for reads in 1..8 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        let old = put(&mut log, 1, 1, 600);
        let newest = put(&mut log, 2, 1, 1500);
        put(&mut log, 3, 3, 600);
        spoil(&b, 0, &[2; 1000], reads);
        let _ = log.is_superseded(old);
        let there = all(&mut log);
        if !there.contains(&newest.0) {
            lost.push((reads, log.counters().corrupt));
        }
    }
    assert!(
        lost.is_empty(),
        "four tries, two reads each; (failing reads, corrupt): {lost:?}"
    );
}

/// A segment is written anew after a failed sync, and some of it cannot be read for a moment.
#[test]
fn what_is_written_anew_outlasts_one() {
    let mut lost = vec![];
    for reads in 1..8 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        put(&mut log, 1, 1, 600);
        let t = put(&mut log, 2, 2, 1500);
        b.borrow_mut().fails[1] = 100;
        assert!(
            log.append(&key(9), &[9; 20], MonoTime::from_ms(0), None)
                .is_err()
        );
        b.borrow_mut().fails[1] = 0;
        spoil(&b, 0, &[2; 1000], reads);
        for _ in 0..5 {
            if log.flush().is_ok() {
                break;
            }
        }
        log.flush().unwrap();
        b.borrow_mut().bad.clear();
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        let mut buffer = vec![0; 1500];
        if log.read(t, &mut buffer) != Ok(true) {
            lost.push((reads, log.counters().corrupt));
        }
    }
    assert!(
        lost.is_empty(),
        "four tries, two reads each; (failing reads, corrupt): {lost:?}"
    );
}

/// The same for a dead letter.
#[test]
fn a_dead_letter_that_is_written_anew_outlasts_one() {
    let mut lost = vec![];
    for reads in 1..8 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        let t = put(&mut log, 2, 2, 1500);
        log.settle(
            t,
            Disposition::Refused(REASON),
            &[2; 1500],
            WhenLettersFull::Hold,
        )
        .unwrap();
        let u = put(&mut log, 3, 2, 100);
        b.borrow_mut().fails[1] = 100;
        assert!(
            log.settle(
                u,
                Disposition::Refused(REASON),
                &[3; 100],
                WhenLettersFull::Hold
            )
            .is_err()
        );
        b.borrow_mut().fails[1] = 0;
        spoil(&b, 1, &[2; 1000], reads);
        for _ in 0..5 {
            if log
                .settle(
                    u,
                    Disposition::Refused(REASON),
                    &[3; 100],
                    WhenLettersFull::Hold,
                )
                .is_ok()
            {
                break;
            }
        }
        log.settle(
            u,
            Disposition::Refused(REASON),
            &[3; 100],
            WhenLettersFull::Hold,
        )
        .unwrap();
        b.borrow_mut().bad.clear();
        let count = log.counters().letters;
        let mut n = 0;
        let mut after = None;
        while let Some(l) = log.dead_letter(after).unwrap() {
            n += 1;
            after = Some(l.ticket);
        }
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        if log.find_dead_letter(t).unwrap().is_none() {
            lost.push((
                reads,
                format!(
                    "counters says {count} letters, {n} listed; after a restart {:?}",
                    log.counters()
                ),
            ));
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

/// Eight reports wait, and where the fourth stands so many reads fail while it opens; `None` if it does not.
fn opened_on_a_bad_sector(reads: u32) -> Option<(Rc<RefCell<Board>>, Log)> {
    let b = board(&BIG, 1);
    let mut log = open(&b, &BIG).unwrap();
    for n in 1..=8 {
        put(&mut log, n, n as i64, 300);
    }
    drop(log);
    let (id, at) = place(&b, 0, &[4; 200]);
    let from = at & !511;
    b.borrow_mut().bad.push((0, id, from, from + 512, reads));
    let log = open(&b, &BIG).ok()?;
    b.borrow_mut().bad.clear();
    Some((b, log))
}

/// Reads fail for a moment while it opens.
#[test]
fn what_is_opened_outlasts_one() {
    let mut odd = vec![];
    for reads in 1..40 {
        let Some((_, mut log)) = opened_on_a_bad_sector(reads) else {
            continue;
        };
        let (wait, corrupt) = (log.waiting(), log.counters().corrupt);
        let mut delivered = 0;
        while let Some(w) = log.next(None).unwrap() {
            let mut buffer = vec![0; w.len];
            if !log.read(w.ticket, &mut buffer).unwrap() {
                break;
            }
            log.settle(w.ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                .unwrap();
            delivered += 1;
        }
        let end = log.counters();
        if delivered != 8 || end.corrupt > 0 {
            odd.push(format!("{reads} failing reads: {wait} wait, {corrupt} corrupt; {delivered} of 8 delivered, then nothing waits: {end:?}"));
        }
    }
    for o in odd.iter().take(5) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{} of 39", odd.len());
}

/// The same, and then a submit whose write fails.
#[test]
fn a_failed_write_passes_over_no_report() {
    let mut odd = vec![];
    for reads in 1..40 {
        let Some((b, mut log)) = opened_on_a_bad_sector(reads) else {
            continue;
        };
        let mut seen = BTreeSet::new();
        // Acknowledged.
        let more = put(&mut log, 21, 21, 100);
        while let Some(w) = log.next(None).unwrap() {
            seen.insert(w.ticket.0);
            log.settle(w.ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                .unwrap();
        }
        b.borrow_mut().fails[0] = 100;
        // Nothing of it arrives.
        let mut seed = 0;
        loop {
            let mut r = Rng(seed);
            r.next();
            if r.below(5) == 0 {
                break;
            }
            seed += 1;
        }
        b.borrow_mut().rng = Rng(seed);
        assert!(
            log.append(&key(20), &[20; 100], MonoTime::from_ms(0), None)
                .is_err()
        );
        b.borrow_mut().fails[0] = 0;
        log.flush().unwrap();
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        seen.extend(all(&mut log));
        if (1..=8).chain([more.0]).any(|t| !seen.contains(&t)) {
            odd.push(format!(
                "{reads} failing reads: seen {seen:?}; {:?}",
                log.counters()
            ));
        }
    }
    for o in odd.iter().take(5) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{} of 39", odd.len());
}

/// The last letter cannot be read for a moment at the start: the next one must not get its number.
#[test]
fn no_letter_gets_the_number_of_one_that_cannot_be_read() {
    let mut odd = vec![];
    for (reads, closes) in (1..60).flat_map(|n| [(n, false), (n, true)]) {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        for n in 1..=2 {
            let t = put(&mut log, n, n as i64, 700);
            log.settle(
                t,
                Disposition::Refused(REASON),
                &vec![n; 700],
                WhenLettersFull::Hold,
            )
            .unwrap();
        }
        let c = put(&mut log, 3, 3, 100);
        if closes {
            log.close().unwrap();
        }
        drop(log);
        spoil(&b, 1, &[2; 500], reads);
        let Ok(mut log) = open(&b, &BIG) else {
            continue;
        };
        b.borrow_mut().bad.clear();
        let at_open = log.counters();
        log.settle(
            c,
            Disposition::Refused(REASON),
            &[3; 100],
            WhenLettersFull::Hold,
        )
        .unwrap();
        log.close().unwrap();
        let before = log.counters();
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        if log.find_dead_letter(c).unwrap().is_none() {
            odd.push(format!("closed {closes}, {reads} failing reads: the letter of {c} is gone. At the start {at_open:?}, closed with {before:?}, opened again {:?}", log.counters()));
        }
    }
    for o in odd.iter().take(3) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{} of 118", odd.len());
}

/// The last letter is damaged: `refused` and `expired` tell how many there were.
#[test]
fn letters_that_are_lost_at_the_end_are_counted() {
    let b = board(&BIG, 1);
    let mut log = open(&b, &BIG).unwrap();
    for n in 1..=3 {
        let t = put(&mut log, n, n as i64, 700);
        log.settle(
            t,
            Disposition::Refused(REASON),
            &vec![n; 700],
            WhenLettersFull::Hold,
        )
        .unwrap();
    }
    log.close().unwrap();
    drop(log);
    spoil(&b, 1, &[3; 500], u32::MAX);
    let log = open(&b, &BIG).unwrap();
    let l = log.counters();
    assert_eq!(
        l.refused + l.expired,
        l.letters + l.letters_dropped,
        "{l:?}"
    );
}

/// The longest report there may be is delivered, and then another is taken.
#[test]
fn after_the_longest_report_others_are_taken() {
    let mut odd = vec![];
    for c in [BIG, CONFIGS[0], CONFIGS[1], CONFIGS[3]] {
        for less in (0..4000).step_by(64) {
            for used in [false, true] {
                let c = Config {
                    dead_total: c.total * 4,
                    dead_seg: c.dead_seg,
                    ..c
                };
                let b = board(&c, 1);
                let mut log = open(&b, &c).unwrap();
                if used {
                    let t = put(&mut log, 1, 1, 100);
                    log.settle(t, Disposition::Delivered, &[], WhenLettersFull::Hold)
                        .unwrap();
                }
                let Some(len) = c.total.checked_sub(less) else {
                    continue;
                };
                match log.append(&key(2), &vec![2; len], MonoTime::from_ms(0), None) {
                    Ok(t) => {
                        log.settle(t, Disposition::Delivered, &[], WhenLettersFull::Hold)
                            .unwrap();
                        let next = log.append(&key(3), &[3; 200], MonoTime::from_ms(0), None);
                        if next.is_err() {
                            odd.push(format!("total {} used {used}: one of {len} was delivered, nothing waits, one of 200: {next:?}", c.total));
                        }
                        drop(log);
                        let mut log = open(&b, &c).unwrap();
                        let next = log.append(&key(3), &[3; 200], MonoTime::from_ms(0), None);
                        if next.is_err() {
                            odd.push(format!(
                                "total {} used {used}:  and after a restart: {next:?}",
                                c.total
                            ));
                        }
                    }
                    Err(OutboxError::TooLarge) => {}
                    Err(e) => odd.push(format!(
                        "total {} used {used}: empty, and one of {len} is {e:?}, not TooLarge",
                        c.total
                    )),
                }
            }
        }
    }
    for o in odd.iter().take(400).step_by(1 + odd.len() / 16) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{}", odd.len());
}

/// Without room for another letter, and while no segment can be made, the oldest are dropped.
#[test]
fn dropped_letters_are_counted_after_a_crash() {
    let c = CONFIGS[3];
    let b = board(&c, 1);
    let mut log = open(&b, &c).unwrap();
    let mut buried = vec![];
    for n in 1..=30 {
        let t = put(&mut log, n, n as i64, 200);
        if log
            .settle(
                t,
                Disposition::Refused(REASON),
                &[n; 200],
                WhenLettersFull::Hold,
            )
            .is_err()
        {
            // Full. Now the oldest may go; the making of a segment fails twice, and then the power does.
            b.borrow_mut().fails = [0, 0, 0, 100];
            assert!(
                log.settle(
                    t,
                    Disposition::Refused(REASON),
                    &[n; 200],
                    WhenLettersFull::DropOldest
                )
                .is_err()
            );
            break;
        }
        buried.push(t.0);
    }
    b.borrow_mut().fails = [0; 4];
    drop(log);
    power(&b, true);
    let log = open(&b, &c).unwrap();
    let l = log.counters();
    let counted = l.letters + l.letters_dropped;
    assert_eq!(counted, buried.len() as u64, "{l:?}");
}

/// In a full log the last segment was written anew, since a sync failed, and nothing waits in it any more. To make room how things stand must
/// be written somewhere that stays.
#[test]
fn how_things_stand_is_not_discarded() {
    let mut odd = vec![];
    let n: u64 = std::env::var("SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(400);
    for (seed, dies) in (0..n).flat_map(|seed| (1..26).map(move |d| (seed, d))) {
        let c = [CONFIGS[0], CONFIGS[1], CONFIGS[3]][seed as usize % 3];
        let c = Config {
            total: c.seg * (3 + seed as usize / 3 % 4),
            ..c
        };
        let b = board(&c, seed);
        let mut log = open(&b, &c).unwrap();
        let mut r = Rng(seed);
        let mut n = 0u64;
        let mut submit = |log: &mut Log, r: &mut Rng| {
            n += 1;
            let len = 20 + r.below(250);
            log.append(
                &key(1000 + n as i64),
                &vec![n as u8 | 1; len],
                MonoTime::from_ms(0),
                None,
            )
        };
        // Full.
        let mut k = 0;
        while submit(&mut log, &mut r).is_ok() {
            k += 1;
            if k > 300 {
                break;
            }
        }
        log.flush().unwrap();
        // One sync fails.
        b.borrow_mut().fails[1] = 100;
        let w = log.next(None).unwrap().unwrap();
        log.settle(w.ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
            .unwrap();
        let failed = log.flush().is_err();
        b.borrow_mut().fails[1] = 0;
        if !failed {
            continue;
        }
        // Then the newest are delivered, the oldest not: a suspect stands aside.
        let waiting = all(&mut log);
        let keep = waiting.len().saturating_sub(1 + r.below(8)).max(1);
        for t in waiting.iter().skip(keep) {
            if log
                .settle(
                    Ticket(*t),
                    Disposition::Delivered,
                    &[],
                    WhenLettersFull::Hold,
                )
                .is_err()
            {
                break;
            }
            if r.chance(30) {
                let _ = submit(&mut log, &mut r);
            }
        }
        let (before, wait) = (log.counters(), all(&mut log));
        // The power fails at one of the calls of a submit.
        let calls = b.borrow().calls;
        b.borrow_mut().dies_at = calls + dies;
        let _ = submit(&mut log, &mut r);
        drop(log);
        power(&b, true);
        let mut log = open(&b, &c).unwrap();
        let (after, wait_after) = (log.counters(), all(&mut log));
        // That some wait again is documented for a full log.
        if after.corrupt > 0 {
            odd.push(format!("seed {seed}, power fails at call {dies} of a submit: it was {before:?}, {} wait; opened again {after:?}, {} wait", wait.len(), wait_after.len()));
        }
    }
    for o in odd.iter().take(6) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{} of {}", odd.len(), n * 25);
}

/// One bad sector has the record that a report was delivered ahead of the oldest, and another report: that one is lost, and the first waits
/// again.
#[test]
fn a_lost_report_never_counts_as_delivered() {
    let mut odd = vec![];
    for first in (20..600).step_by(16) {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        for n in 1..=4 {
            put(&mut log, n, n as i64, first);
        }
        log.settle(
            Ticket(2),
            Disposition::Delivered,
            &[2; 600][..first],
            WhenLettersFull::Hold,
        )
        .unwrap();
        put(&mut log, 5, 5, 100);
        put(&mut log, 6, 6, 600);
        put(&mut log, 7, 7, 600);
        log.settle(
            Ticket(4),
            Disposition::Delivered,
            &[],
            WhenLettersFull::Hold,
        )
        .unwrap();
        log.flush().unwrap();
        let sound = log.counters();
        drop(log);
        // The sector of report 5.
        let (id, at) = place(&b, 0, &[5; 100]);
        b.borrow_mut()
            .bad
            .push((0, id, at & !511, (at & !511) + 512, u32::MAX));
        let mut log = open(&b, &BIG).unwrap();
        let there = all(&mut log);
        let l = log.counters();
        let lost = [1u64, 3, 5, 6, 7]
            .iter()
            .filter(|t| !there.contains(t))
            .count() as u64;
        // The one whose record is lost is sent again, and stands in the counters for one that is lost.
        let again = u64::from(there.contains(&2));
        if l.corrupt + again < lost {
            odd.push(format!("lost {lost}, wait {there:?}: {l:?}, was {sound:?}"));
        }
    }
    for o in odd.iter().take(4) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{}", odd.len());
}

/// One segment cannot be discarded. What stands for it is compacted itself.
#[test]
fn a_segment_that_cannot_be_discarded_does_not_come_back() {
    let mut odd = vec![];
    let mut runs = 0;
    for seed in 0..90 {
        for stuck in 1..20u32 {
            let c = Config {
                batch: false,
                ..[CONFIGS[0], CONFIGS[1], CONFIGS[3]][seed as usize % 3]
            };
            let b = board(&c, seed);
            b.borrow_mut().stuck = Some((0, stuck));
            let mut log = open(&b, &c).unwrap();
            let mut r = Rng(seed);
            let mut delivered = vec![];
            for n in 0..90u64 {
                let job = 1 + r.below(9) as i64;
                let len = 20 + r.below(200);
                let _ = log.append(&key(job), &vec![n as u8; len], MonoTime::from_ms(0), None);
                if r.chance(25)
                    && let Some(w) = log.next(None).unwrap()
                {
                    delivered.push(w.ticket.0);
                    log.settle(w.ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                        .unwrap();
                }
            }
            log.flush().unwrap();
            let (before, wait) = (log.counters(), all(&mut log));
            drop(log);
            runs += 1;
            let mut log = open(&b, &c).unwrap();
            let (after, wait_after) = (log.counters(), all(&mut log));
            let back: Vec<u64> = wait_after
                .iter()
                .copied()
                .filter(|t| !wait.contains(t))
                .collect();
            // That delivered ones come again is documented for a full log; that dropped ones do, and count less others as delivered, is not.
            if back.iter().any(|t| !delivered.contains(t)) {
                odd.push(format!("seed {seed}, segment {stuck}: it was {before:?}, {} wait; opened again {after:?}, {} wait, back: {back:?}", wait.len(), wait_after.len()));
            }
        }
    }
    for o in odd.iter().take(6) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{} of {runs}", odd.len());
}

/// The write of a letter fails but arrives, and it cannot be read at that moment: the next one must not get its number.
#[test]
fn no_letter_gets_the_number_of_one_whose_write_failed() {
    let b = board(&BIG, 1);
    let mut log = open(&b, &BIG).unwrap();
    let first = put(&mut log, 7, 7, 100);
    log.settle(
        first,
        Disposition::Refused(REASON),
        &[7; 100],
        WhenLettersFull::Hold,
    )
    .unwrap();
    let a = put(&mut log, 1, 1, 100);
    let c = put(&mut log, 2, 2, 100);
    // The device is away for a moment; what is written to it arrives.
    let mut tries = 0;
    loop {
        tries += 1;
        let (calls, seed) = (b.borrow().calls, tries);
        let _ = calls;
        // `parts` of the write is random: one that arrives whole.
        b.borrow_mut().rng = Rng(seed);
        let mut r = Rng(seed);
        if r.below(5) == 4 {
            break;
        }
    }
    let calls = b.borrow().calls;
    b.borrow_mut().away_until = calls + 40;
    assert!(
        log.settle(
            a,
            Disposition::Refused(REASON),
            &[1; 100],
            WhenLettersFull::Hold
        )
        .is_err()
    );
    b.borrow_mut().away_until = 0;
    // Then another one is refused, and A is delivered or refused again.
    log.settle(
        c,
        Disposition::Refused(REASON),
        &[2; 100],
        WhenLettersFull::Hold,
    )
    .unwrap();
    log.settle(a, Disposition::Delivered, &[], WhenLettersFull::Hold)
        .unwrap();
    log.flush().unwrap();
    let before = log.counters();
    drop(log);
    let mut log = open(&b, &BIG).unwrap();
    let after = log.counters();
    let found = log.find_dead_letter(c).unwrap();
    assert!(
        found.is_some(),
        "the dead letter of {c} is gone, that of the delivered {a} is {}; {before:?}, after a restart {after:?}",
        if log.find_dead_letter(a).unwrap().is_some() {
            "there"
        } else {
            "not there"
        }
    );
}

/// Letters that cannot be read at the start and can later: no report is delivered and a dead letter, too.
#[test]
fn letters_that_are_read_late_settle_their_reports() {
    let b = board(&BIG, 1);
    let mut log = open(&b, &BIG).unwrap();
    let a = put(&mut log, 1, 1, 100);
    put(&mut log, 2, 2, 100);
    let before: Vec<Seg> = b.borrow().segs[0].values().cloned().collect();
    log.settle(
        a,
        Disposition::Refused(REASON),
        &[1; 100],
        WhenLettersFull::Hold,
    )
    .unwrap();
    drop(log);
    // The power fails after the letter is durable, and before the record in what waits is.
    for (s, old) in b.borrow_mut().segs[0].values_mut().zip(before) {
        *s = Seg {
            view: old.durable.clone(),
            durable: old.durable,
        };
    }
    // The letters cannot be read at the start.
    let ids: Vec<_> = b.borrow().segs[1]
        .iter()
        .map(|(id, s)| (*id, s.view.len()))
        .collect();
    for (id, len) in ids {
        b.borrow_mut().bad.push((1, id, 0, len, u32::MAX));
    }
    let mut log = open(&b, &BIG).unwrap();
    b.borrow_mut().bad.clear();
    let front = log.next(None).unwrap().unwrap();
    assert_eq!(front.ticket, Ticket(2), "the other is a dead letter");
    assert!(log.find_dead_letter(a).unwrap().is_some());
    let counters = log.counters();
    assert_eq!(
        (counters.refused, counters.letters, log.waiting()),
        (1, 1, 1)
    );
    drop(log);
    assert_eq!(open(&b, &BIG).unwrap().counters(), counters);
}

/// A segment stands for two; one of the two was discarded, the other not yet; then it gets one bad sector.
#[test]
fn a_bad_sector_where_one_source_is_left_costs_what_is_in_it() {
    let c = Config {
        seg: 2048,
        total: 6 * 2048,
        dead_seg: 2048,
        dead_total: 6 * 2048,
        unit: 512,
        write: 8,
        blank: 0,
        batch: false,
    };
    let b = board(&c, 1);
    let mut log = open(&b, &c).unwrap();
    // Some that stay, among others that newer ones supersede.
    let mut keep = vec![];
    let mut n = 0u8;
    let mut old: BTreeMap<u32, Seg> = BTreeMap::new();
    let mut done = None;
    for _ in 0..200 {
        n += 1;
        let own = n.is_multiple_of(3) && keep.len() < 12;
        if own {
            keep.push(put(&mut log, n, 100 + n as i64, 280).0);
        } else {
            put(&mut log, n, 1, 280);
        }
        let now = b.borrow().segs[0].clone();
        // A segment that stands for two or more.
        let output = now
            .iter()
            .find(|(id, s)| !old.contains_key(id) && s.view[36..40] != [0; 4]);
        if let Some((id, s)) = output {
            let source = |at: usize| u32::from_le_bytes(s.view[at..at + 4].try_into().unwrap());
            done = Some((*id, [source(32), source(36)], old.clone(), now.clone()));
            break;
        }
        old = now;
    }
    let (output, sources, old, now) = done.expect("it compacts two");
    drop(log);
    let try_it = |damage: bool, back: &[u32]| {
        let mut segs = now.clone();
        for id in back {
            segs.insert(*id, old[id].clone());
        }
        let b = board(&c, 1);
        b.borrow_mut().segs[0] = segs;
        if damage {
            // The last bytes of the payload of its first report.
            let b = &mut *b.borrow_mut();
            b.bad.push((0, output, 512, 1024, u32::MAX));
        }
        let mut log = open(&b, &c).unwrap();
        let there = {
            let mut v = vec![];
            for t in all(&mut log) {
                let mut buf = vec![0; 280];
                if log.read(Ticket(t), &mut buf).unwrap_or(false) {
                    v.push(t);
                }
            }
            v
        };
        let lost: Vec<u64> = keep
            .iter()
            .copied()
            .filter(|t| !there.contains(t))
            .collect();
        (lost, log.counters())
    };
    let sound = try_it(false, &[]);
    let bad = try_it(true, &[]);
    let both = try_it(true, &sources);
    let one = try_it(true, &sources[1..]);
    let other = try_it(true, &sources[..1]);
    eprintln!(
        "output {output} of {sources:?}; lost: sound {sound:?}\n bad sector alone {bad:?}\n with both sources {both:?}\n the second left {one:?}\n the first left {other:?}"
    );
    assert!(
        one.0.iter().chain(&other.0).all(|t| bad.0.contains(t)),
        "one bad sector costs what was in a source that is gone"
    );
}

/// Some writes of a submit fail that compacts ahead of time: whatever becomes of the open segment, nothing is written past its end or over what
/// stands there (the device says so), and what is acknowledged is there at once.
#[test]
fn a_failed_write_makes_no_other_go_past_the_end() {
    for seed in 0..1500 {
        let b = board(&CONFIGS[0], seed);
        let mut log = open(&b, &CONFIGS[0]).unwrap();
        let mut r = Rng(seed);
        let (jobs, longest, fails_at) = (1 + r.below(8), 50 + r.below(300), 20 + r.below(100));
        for n in 0..fails_at + 6 {
            b.borrow_mut().fails[0] = if n == fails_at { 30 } else { 0 };
            let job = 1 + r.below(jobs) as i64;
            let bytes = vec![n as u8 | 1; 20 + r.below(longest)];
            let Ok(ticket) = log.append(&key(job), &bytes, MonoTime::from_ms(0), None) else {
                continue;
            };
            let mut found = vec![0; bytes.len()];
            let is_read = log.read(ticket, &mut found).unwrap();
            assert!(is_read && found == bytes, "seed {seed}, {ticket}");
            assert!(all(&mut log).contains(&ticket.0), "seed {seed}, {ticket}");
        }
    }
}

/// Letters are read again while that may help, when the log is opened, too.
#[test]
fn a_letter_outlasts_read_errors_at_the_start() {
    for reads in 1..12 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        for n in 1..=3 {
            let ticket = put(&mut log, n, i64::from(n), 900);
            log.settle(
                ticket,
                Disposition::Refused(REASON),
                &[n; 900],
                WhenLettersFull::Hold,
            )
            .unwrap();
        }
        let other = put(&mut log, 4, 4, 100);
        log.close().unwrap();
        drop(log);
        let (id, at) = place(&b, 1, &[2; 800]);
        let sector = (at + 511) & !511;
        b.borrow_mut()
            .bad
            .push((1, id, sector, sector + 512, reads));
        let mut log = open(&b, &BIG).unwrap();
        b.borrow_mut().bad.clear();
        assert!(
            log.find_dead_letter(Ticket(2)).unwrap().is_some(),
            "{reads}"
        );
        // A sync fails once, so the letters are written anew.
        b.borrow_mut().fails[1] = 100;
        let _ = log.settle(
            other,
            Disposition::Refused(REASON),
            &[4; 100],
            WhenLettersFull::Hold,
        );
        b.borrow_mut().fails[1] = 0;
        let _ = log.settle(
            other,
            Disposition::Refused(REASON),
            &[4; 100],
            WhenLettersFull::Hold,
        );
        log.close().unwrap();
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        assert!(
            log.find_dead_letter(Ticket(2)).unwrap().is_some(),
            "{reads}"
        );
    }
}

/// Of full letters: to make room for what forgets one may move it.
#[test]
fn a_forgotten_letter_stays_forgotten() {
    let mut forgotten = 0;
    for config in CONFIGS {
        let config = Config {
            batch: false,
            ..config
        };
        for seed in 0..60 {
            let b = board(&config, seed);
            let mut log = open(&b, &config).unwrap();
            let mut rng = Rng(seed);
            for n in 0..80u8 {
                let len = 20 + rng.below(config.dead_seg / 3);
                let keys = key(i64::from(n) + 1);
                let Ok(ticket) = log.append(&keys, &vec![7; len], MonoTime::from_ms(0), None)
                else {
                    break;
                };
                let bytes = vec![7; len];
                let refused = Disposition::Refused(REASON);
                let buried = log.settle(ticket, refused, &bytes, WhenLettersFull::Hold);
                if buried.is_err() {
                    log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                        .unwrap();
                }
                if rng.below(5) >= 2 {
                    continue;
                }
                let (mut letters, mut last) = (Vec::new(), None);
                while let Some(letter) = log.dead_letter(last).unwrap() {
                    last = Some(letter.ticket);
                    letters.push(letter.ticket);
                }
                let Some(one) = letters.get(rng.below(letters.len().max(1))).copied() else {
                    continue;
                };
                if log.forget_dead_letters(Forget::One(one)).is_err() {
                    continue;
                }
                forgotten += 1;
                drop(log);
                log = open(&b, &config).unwrap();
                let again = log.find_dead_letter(one).unwrap();
                assert!(again.is_none(), "{one} is there again, seed {seed}, {n}");
            }
        }
    }
    assert!(forgotten > 1_000, "{forgotten}");
}

/// A log that is full, with room for no segment but two short ones.
fn full(config: &Config) -> (Rc<RefCell<Board>>, Log) {
    let b = board(config, 1);
    let mut log = open(&b, config).unwrap();
    for n in 1..=200 {
        let added = log.append(&key(n), &[n as u8; 100], MonoTime::from_ms(0), None);
        if added.is_err() {
            break;
        }
    }
    log.flush().unwrap();
    let room = [0, 1].map(|side| b.borrow().bytes(side) + 2 * config.unit.next_multiple_of(1024));
    b.borrow_mut().room = room;
    (b, log)
}

/// A few are delivered, and then the process is killed, again and again; the log is full, and so is the device, perhaps.
#[test]
fn a_few_at_a_time_leave_a_full_log() {
    for (config, is_device_full) in [
        (CONFIGS[0], true),
        (CONFIGS[0], false),
        (CONFIGS[2], true),
        (BIG, true),
    ] {
        let (b, mut log) = full(&config);
        if !is_device_full {
            b.borrow_mut().room = [usize::MAX; 2];
        }
        let mut waits = all(&mut log);
        assert!(waits.len() > 12, "{waits:?}");
        while !waits.is_empty() {
            for ticket in waits.drain(..waits.len().min(3)) {
                let ticket = Ticket(ticket);
                log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                    .unwrap();
            }
            log = open(&b, &config).unwrap();
            assert_eq!(all(&mut log), waits, "{config:?}");
        }
        // All of it is free again.
        for n in 0..8 {
            put(&mut log, n, 7, 100);
        }
    }
}

/// Wherever a run on a full device is cut, the next ones note what they deliver.
#[test]
fn a_cut_anywhere_keeps_no_note_out() {
    for (config, loses) in [CONFIGS[0], CONFIGS[2], BIG]
        .into_iter()
        .flat_map(|config| [(config, false), (config, true)])
    {
        let few = |log: &mut Log, count: usize| {
            let waits = all(log);
            for ticket in waits.iter().take(count) {
                let _ = log.settle(
                    Ticket(*ticket),
                    Disposition::Delivered,
                    &[],
                    WhenLettersFull::Hold,
                );
            }
            waits.first().copied()
        };
        for call in 1.. {
            let (b, _) = full(&config);
            for _ in 0..2 {
                few(&mut open(&b, &config).unwrap(), 3);
            }
            let dies_at = b.borrow().calls + call;
            b.borrow_mut().dies_at = dies_at;
            let opened = open(&b, &config);
            let is_cut = b.borrow().dead;
            if let (Ok(mut log), false) = (opened, is_cut) {
                few(&mut log, 3);
            }
            let was_cut = b.borrow().dead;
            power(&b, loses);
            let mut front = None;
            for _ in 0..3 {
                let next = few(&mut open(&b, &config).unwrap(), 2);
                assert!(next > front, "{next:?} again, call {call}, {config:?}");
                front = next;
            }
            if !was_cut {
                break;
            }
        }
    }
}

/// A sync fails once while the device is full: what is delivered after that is noted, by this run and by later ones.
#[test]
fn a_failed_sync_keeps_no_note_out() {
    for (config, throws) in [CONFIGS[0], CONFIGS[2], BIG]
        .into_iter()
        .flat_map(|config| [(config, false), (config, true)])
    {
        for failing in 0..8 {
            let (b, mut log) = full(&config);
            b.borrow_mut().sync_throws = throws;
            let mut waits = all(&mut log);
            for run in 0..3 {
                for (nth, ticket) in waits.drain(..8).enumerate() {
                    b.borrow_mut().fails[1] = if run == 1 && nth == failing { 100 } else { 0 };
                    let settled = log.settle(
                        Ticket(ticket),
                        Disposition::Delivered,
                        &[],
                        WhenLettersFull::Hold,
                    );
                    assert_eq!(settled, Ok(()));
                }
                b.borrow_mut().fails[1] = 0;
                log.flush().unwrap();
                log = open(&b, &config).unwrap();
                assert_eq!(all(&mut log), waits, "settle {failing}, {config:?}");
            }
        }
    }
}

/// No segment can be made at all: then a clean end is one only if nothing is sent again.
#[test]
fn an_end_is_clean_only_if_all_is_noted() {
    for config in [CONFIGS[0], CONFIGS[1], CONFIGS[3], BIG] {
        let (b, mut log) = full(&config);
        b.borrow_mut().room = [0; 2];
        let mut is_told = false;
        for _ in 0..40 {
            let front = log.next(None).unwrap().unwrap();
            log.settle(
                front.ticket,
                Disposition::Delivered,
                &[],
                WhenLettersFull::Hold,
            )
            .unwrap();
            let (is_clean, waits) = (log.close().is_ok(), all(&mut log));
            is_told |= !is_clean;
            log = open(&b, &config).unwrap();
            let again = all(&mut log).len() - waits.len();
            assert!(again == 0 || !is_clean, "{again} again, {config:?}");
            if !is_clean || waits.len() < 2 {
                break;
            }
        }
        assert!(is_told || config.seg > 2048, "{config:?}");
    }
}

/// Letters of 200 bytes, until they take so many bytes; how many.
fn bury_until(b: &Rc<RefCell<Board>>, log: &mut Log, bytes: usize) -> u64 {
    let mut count = 0;
    while b.borrow().bytes(1) < bytes {
        bury(log, 7, WhenLettersFull::Hold).unwrap();
        count += 1;
    }
    count
}

fn bury(log: &mut Log, n: u8, when_full: WhenLettersFull) -> Result<(), E> {
    let ticket = put(log, n, i64::from(n), 200);
    let buried = log.settle(ticket, Disposition::Refused(REASON), &[n; 200], when_full);
    if buried.is_err() {
        log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
            .unwrap();
    }
    buried
}

/// There is no room for letters on the device, though they have not all that they may have.
#[test]
fn the_oldest_letters_make_room_on_a_full_device() {
    for when_full in [WhenLettersFull::Hold, WhenLettersFull::DropOldest] {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        let mut buried = bury_until(&b, &mut log, 3 * BIG.dead_seg);
        let room = b.borrow().bytes(1);
        b.borrow_mut().room[1] = room;
        let mut result = Ok(());
        for _ in 0..40 {
            result = bury(&mut log, 8, when_full);
            buried += u64::from(result.is_ok());
        }
        let counters = log.counters();
        let drops = when_full == WhenLettersFull::DropOldest;
        assert_eq!(
            (result.is_ok(), counters.letters_dropped > 0),
            (drops, drops)
        );
        assert_eq!(counters.letters + counters.letters_dropped, buried);
        drop(log);
        assert_eq!(open(&b, &BIG).unwrap().counters(), counters);

        // For another error none is dropped.
        let mut log = open(&b, &BIG).unwrap();
        let more: Vec<_> = (0..20).map(|n| put(&mut log, 9, n, 200)).collect();
        let dropped = log.counters().letters_dropped;
        b.borrow_mut().fails[3] = 100;
        let refused = Disposition::Refused(REASON);
        let mut more = more.into_iter();
        assert!(more.any(|ticket| log.settle(ticket, refused, &[9; 200], when_full).is_err()));
        assert_eq!(log.counters().letters_dropped, dropped);
    }
}

/// A large letter takes the room of all others, and then its segment cannot be made.
#[test]
fn forgotten_letters_stay_counted_when_all_others_are_dropped() {
    let config = CONFIGS[3];
    for forgotten in 0..4 {
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        let mut buried = bury_until(&b, &mut log, config.dead_total);
        for _ in 0..forgotten {
            let first = log.dead_letter(None).unwrap().unwrap();
            log.forget_dead_letters(Forget::One(first.ticket)).unwrap();
        }
        let large = put(&mut log, 9, 9, 2000);
        b.borrow_mut().fails[3] = 100;
        let drops = WhenLettersFull::DropOldest;
        let refused = Disposition::Refused(REASON);
        assert!(log.settle(large, refused, &[9; 2000], drops).is_err());
        b.borrow_mut().fails[3] = 0;
        for again in [false, true] {
            if again {
                log = open(&b, &config).unwrap();
                log.settle(large, refused, &[9; 2000], drops).unwrap();
                buried += 1;
            }
            let counters = log.counters();
            let counted = counters.letters + counters.letters_dropped + forgotten;
            assert_eq!(counted, buried, "{forgotten} forgotten, {counters:?}");
        }
    }
}

/// Full logs of which the oldest letters are dropped, and kills: what was dropped stays counted, and each refused report has one letter.
#[test]
fn dropped_letters_stay_counted_after_a_kill() {
    let mut odd = vec![];
    let mut dropped = 0;
    for seed in 0..200 {
        let config = CONFIGS[seed as usize % 4];
        let b = board(&config, seed);
        let mut log = open(&b, &config).unwrap();
        let mut rng = Rng(seed);
        let mut forgotten = 0;
        for n in 0..150u64 {
            let (job, len) = (n as i64 + 1, 20 + rng.below(config.dead_seg / 3));
            let _ = log.append(&key(job), &vec![7; len], MonoTime::from_ms(0), None);
            let at = rng.below(4);
            let waits = all(&mut log);
            match rng.below(8) {
                0..=3 => {
                    let Some(ticket) = waits.get(at.min(waits.len().saturating_sub(1))) else {
                        continue;
                    };
                    let mut bytes = vec![0; config.total];
                    let ticket = Ticket(*ticket);
                    let Some(w) = log.next(Some(Ticket(ticket.0 - 1))).unwrap() else {
                        continue;
                    };
                    log.read(ticket, &mut bytes[..w.len]).unwrap();
                    let drops = WhenLettersFull::DropOldest;
                    let _ =
                        log.settle(ticket, Disposition::Refused(REASON), &bytes[..w.len], drops);
                }
                4 => {
                    if let Some(ticket) = waits.first() {
                        let disposition = Disposition::Delivered;
                        let _ =
                            log.settle(Ticket(*ticket), disposition, &[], WhenLettersFull::Hold);
                    }
                }
                5 if rng.chance(30) => {
                    if let Some(letter) = log.dead_letter(None).unwrap() {
                        let one = Forget::One(letter.ticket);
                        forgotten += u64::from(log.forget_dead_letters(one).is_ok());
                    }
                }
                6 => {
                    let (before, waits) = (log.counters(), all(&mut log).len());
                    log = open(&b, &config).unwrap();
                    let after = log.counters();
                    let sum = after.letters + after.letters_dropped + forgotten;
                    // What had no room to be noted is made up for by sending the report again, and then it has two letters; short segments
                    // have room for all.
                    let is_right =
                        sum == after.refused || sum > after.refused && config.unit == config.seg;
                    if !is_right || after.letters_dropped < before.letters_dropped {
                        odd.push(format!("seed {seed}, {n}: {before:?} {waits}, then {after:?} {}, forgotten {forgotten}", log.waiting()));
                    }
                }
                _ => {}
            }
        }
        dropped += log.counters().letters_dropped;
    }
    for o in odd.iter().take(8) {
        eprintln!("{o}");
    }
    assert!(odd.is_empty(), "{}", odd.len());
    assert!(dropped > 1_000, "{dropped}");
}

/// For a short while a device syncs nothing and discards nothing, so that what was to stand for the open segment stays there, whole: the
/// next start believes it. Reports of 60 bytes, of which all that are open but one were delivered.
#[test]
fn what_is_given_up_stands_for_nothing_that_came_later() {
    let (mut lost, mut given_up) = (vec![], 0);
    for config in [CONFIGS[0], CONFIGS[1], CONFIGS[2], CONFIGS[3], BIG] {
        let config = Config {
            batch: false,
            ..config
        };
        for (small, big) in [20, 60, 100]
            .into_iter()
            .flat_map(|small| [300, 600, 1200].map(|big| (small, big)))
        {
            let b = board(&config, 1);
            let mut log = open(&b, &config).unwrap();
            let newest = || b.borrow().segs[0].keys().last().copied();
            let mut open_ones = vec![];
            for n in 1.. {
                let is_full = b.borrow().bytes(0) >= config.total;
                if is_full && open_ones.len() > config.seg / 300 {
                    break;
                }
                let before = newest();
                let Ok(ticket) = log.append(&key(n), &[1; 60], MonoTime::from_ms(0), None) else {
                    break;
                };
                if before != newest() {
                    open_ones.clear();
                }
                open_ones.push(ticket);
            }
            for ticket in &open_ones[1..] {
                let _ = log.settle(*ticket, Disposition::Delivered, &[], WhenLettersFull::Hold);
            }
            log.flush().unwrap();
            b.borrow_mut().fails = [0, 100, 100, 0];
            let failed = log.append(&key(1000), &vec![2; big], MonoTime::from_ms(0), None);
            b.borrow_mut().fails = [0; 4];
            given_up += u32::from(matches!(failed, Err(OutboxError::Device(_))));
            let added = log.append(&key(1001), &vec![3; small], MonoTime::from_ms(0), None);
            drop(log);
            let there = all(&mut open(&b, &config).unwrap());
            if added.is_ok_and(|ticket| !there.contains(&ticket.0)) {
                lost.push((config, small, big));
            }
        }
    }
    assert!(lost.is_empty(), "{}: {:?}", lost.len(), lost.first());
    assert!(given_up > 20, "{given_up}");
}

/// A device syncs nothing, so that what is written anew is given up, twice, and discards the first of the two alone. Then the power fails, and
/// spares of the second all but one sector, with a report that nobody was told is stored: a commit that never was durable stands beside
/// what it was to stand for, and something that it names is gone.
#[test]
fn what_is_given_up_does_not_count_when_another_is_gone() {
    let build = || {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        let told: BTreeSet<u64> = (1..8).map(|n| put(&mut log, n, n.into(), 300).0).collect();
        let source = *b.borrow().segs[0].keys().last().unwrap();
        for fails in [[0, 100, 0, 0], [0, 100, 100, 0], [0, 100, 100, 0]] {
            b.borrow_mut().fails = fails;
            let failed = log.append(&key(8), &[8; 60], MonoTime::from_ms(0), None);
            assert!(matches!(failed, Err(OutboxError::Device(_))));
        }
        let output = *b.borrow().segs[0].keys().last().unwrap();
        b.borrow_mut().fails = [0, 100, 0, 0];
        b.borrow_mut().stuck = Some((0, output));
        assert!(
            log.append(&key(9), &[9; 60], MonoTime::from_ms(0), None)
                .is_err()
        );
        let left: Vec<u32> = b.borrow().segs[0].keys().copied().collect();
        assert_eq!(left, [source, output]);
        b.borrow_mut().fails = [0; 4];
        (b, told, output)
    };
    let len = {
        let (b, _, output) = build();
        b.borrow().segs[0][&output].view.len()
    };
    for sector in (0..len).step_by(512) {
        let (b, told, output) = build();
        for (id, seg) in &mut b.borrow_mut().segs[0] {
            if *id == output {
                let mut spared = seg.view.clone();
                spared[sector..sector + 512].fill(0);
                seg.durable = spared;
            }
            seg.view = seg.durable.clone();
        }
        for _ in 0..2 {
            let mut log = open(&b, &BIG).unwrap();
            let waits: BTreeSet<u64> = all(&mut log).into_iter().collect();
            assert!(waits.is_superset(&told), "{waits:?} without {sector}");
            b.borrow_mut().stuck = None;
            log.close().unwrap();
        }
    }
}

/// What happens between the moment at which something is given up, and the one at which the older of those that it was to stand for goes.
#[derive(Clone, Copy, Debug)]
enum Since {
    Nothing,
    /// Something else is given up.
    Another,
    /// A start that can sync nothing, and so takes it for half-made.
    Start,
}

/// A device syncs and discards nothing for a while, so that what was to stand for two is given up and stays. All in the older of these is
/// delivered, and then the power fails, and spares of what was given up all but one sector: it does not count instead of the newer one.
#[test]
fn what_is_given_up_does_not_count_when_the_older_of_two_is_settled() {
    for since in [Since::Nothing, Since::Another, Since::Start] {
        older_of_two_is_settled(since);
    }
}

fn older_of_two_is_settled(since: Since) {
    let config = Config {
        seg: 2048,
        // With room for what is given up.
        total: 7 * 2048 - 256,
        ..BIG
    };
    let named = |seg: &Seg, at: usize| u32::from_le_bytes(seg.view[at..at + 4].try_into().unwrap());
    let mut given_up = 0;
    for bad in 1..100 {
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        let mut told = BTreeSet::new();
        for n in 1..=bad {
            if n == bad {
                b.borrow_mut().fails = [0, 100, 100, 0];
            }
            // Two of three are superseded.
            let job = if n % 3 == 0 { 100 + i64::from(n) } else { 1 };
            let ticket = log.append(&key(job), &[n; 200], MonoTime::from_ms(0), None);
            told.extend(ticket.ok().filter(|_| job > 1));
        }
        let now = b.borrow().segs[0].clone();
        let both = |seg: &Seg| [32, 36].map(|at| now.get(&named(seg, at)));
        let Some((output, seg)) = now
            .iter()
            .find(|(_, seg)| both(seg).iter().all(Option::is_some))
        else {
            continue;
        };
        let newer = &now[&named(seg, 36)];
        given_up += 1;
        match since {
            Since::Nothing => {}
            Since::Another => {
                for n in 101..104 {
                    let _ = log.append(&key(n), &[1; 60], MonoTime::from_ms(0), None);
                }
            }
            Since::Start => {
                b.borrow_mut().fails = [0, 100, 0, 0];
                drop(log);
                log = open(&b, &config).unwrap();
            }
        }
        b.borrow_mut().fails = [0; 4];
        b.borrow_mut().stuck = Some((0, *output));
        let first = u64::from_le_bytes(newer.view[24..32].try_into().unwrap());
        while let Some(front) = log.next(None).unwrap().filter(|w| w.ticket.0 < first) {
            let settled = log.settle(
                front.ticket,
                Disposition::Delivered,
                &[],
                WhenLettersFull::Hold,
            );
            settled.unwrap();
            told.remove(&front.ticket);
        }
        drop(log);
        let now = b.borrow().segs[0].clone();
        for sector in (0..seg.view.len()).step_by(512) {
            let b = board(&config, 1);
            b.borrow_mut().segs[0] = now.clone();
            if let Some(seg) = b.borrow_mut().segs[0].get_mut(output) {
                seg.view[sector..sector + 512].fill(0);
                seg.durable = seg.view.clone();
            }
            let mut log = open(&b, &config).unwrap();
            let waits = all(&mut log);
            let is_there = |ticket: &Ticket| waits.contains(&ticket.0);
            assert!(
                told.iter().all(is_there),
                "{waits:?} without {sector} of {output}, {since:?}, {bad}: {told:?}"
            );
        }
    }
    assert!(given_up > 0, "none is given up");
}

/// The same for dead letters.
#[test]
fn letters_that_are_given_up_stand_for_no_later_ones() {
    let (mut lost, mut given_up) = (vec![], 0);
    for config in [CONFIGS[0], CONFIGS[2], BIG] {
        for (most, big) in (2..18).flat_map(|most| [300, 600, 1200].map(|big| (most, big))) {
            let b = board(&config, 1);
            let mut log = open(&b, &config).unwrap();
            let refuse = |log: &mut Log, len, fails| {
                let ticket = put(log, 7, 1, len);
                let disposition = Disposition::Refused(REASON);
                b.borrow_mut().fails = fails;
                let done = log.settle(ticket, disposition, &vec![7; len], WhenLettersFull::Hold);
                b.borrow_mut().fails = [0; 4];
                if done.is_err() {
                    let _ = log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold);
                }
                done.map(|()| ticket)
            };
            let mut open_ones = vec![];
            let mut last = 0;
            while let Ok(ticket) = refuse(&mut log, 60, [0; 4]) {
                let id = *b.borrow().segs[1].keys().last().unwrap();
                if id != last {
                    (last, open_ones) = (id, vec![]);
                }
                open_ones.push(ticket);
                let is_full = b.borrow().bytes(1) >= config.dead_total;
                if is_full && open_ones.len() >= most {
                    break;
                }
            }
            for ticket in &open_ones[1..] {
                let _ = log.forget_dead_letters(Forget::One(*ticket));
            }
            let failed = refuse(&mut log, big, [0, 100, 100, 0]);
            given_up += u32::from(matches!(failed, Err(OutboxError::Device(_))));
            let added = refuse(&mut log, 20, [0; 4]);
            drop(log);
            let mut log = open(&b, &config).unwrap();
            if added.is_ok_and(|ticket| log.find_dead_letter(ticket).unwrap().is_none()) {
                lost.push((config, most, big));
            }
        }
    }
    assert!(lost.is_empty(), "{}: {:?}", lost.len(), lost.first());
    assert!(given_up > 5, "{given_up}");
}

/// The segments grow, so that one without a report is taken for notes alone. Where it stands before one that is dropped, to note that lets it
/// go, too.
#[test]
fn what_goes_before_it_moves_no_other_to_where_one_is_dropped() {
    let config = Config {
        total: 64 * 1024,
        dead_total: 64 * 1024,
        ..CONFIGS[0]
    };
    let mut told = 0;
    for len in (100..600).step_by(8) {
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        let deliver = |log: &mut Log, ticket| {
            let disposition = Disposition::Delivered;
            log.settle(ticket, disposition, &[], WhenLettersFull::Hold)
                .unwrap();
        };
        let oldest = put(&mut log, 1, 1, 60);
        let fills = put(&mut log, 2, 2, len);
        let before = b.borrow().segs[0].len();
        deliver(&mut log, fills);
        // It has notes alone.
        if (before, b.borrow().segs[0].len()) != (1, 2) {
            continue;
        }
        let long = put(&mut log, 3, 3, 5000);
        let newest = put(&mut log, 4, 4, 300);
        deliver(&mut log, long);
        log.flush().unwrap();
        drop(log);
        let (total, limits) = (b.borrow().bytes(0) + 512, b.borrow().limits[0]);
        b.borrow_mut().limits[0] = StorageLimits::new(4096, total)
            .with_length_unit(limits.length_unit)
            .with_write_unit(limits.write_unit)
            .with_blank(limits.blank);
        let mut log = open(&b, &config).unwrap();
        let added = put(&mut log, 5, 5, 200);
        for _ in 0..2 {
            let waits = all(&mut log);
            assert_eq!(waits, [oldest, newest, added].map(|t| t.0), "{len}");
            log = open(&b, &config).unwrap();
        }
        told += 1;
    }
    assert!(told > 0, "{told}");
}

/// The header of a new segment is there although its write failed, and the segment cannot be discarded. What is submitted then, and is short
/// enough for the old one, must not be taken for a report of the new one.
#[test]
fn what_follows_a_segment_made_in_vain_is_found() {
    let mut made = 0;
    for seed in 0..100 {
        let config = Config {
            batch: false,
            ..CONFIGS[seed as usize % 4]
        };
        let b = board(&config, seed);
        let mut log = open(&b, &config).unwrap();
        put(&mut log, 1, 1, 100);
        b.borrow_mut().fails = [100, 0, 100, 0];
        let long = log.append(&key(2), &vec![2; config.seg], MonoTime::from_ms(0), None);
        b.borrow_mut().fails = [0; 4];
        made += u32::from(long.is_err() && b.borrow().segs[0].len() > 1);
        let short = put(&mut log, 3, 3, 20);
        drop(log);
        let mut log = open(&b, &config).unwrap();
        let oldest = all(&mut log)[0];
        log.settle(
            Ticket(oldest),
            Disposition::Delivered,
            &[],
            WhenLettersFull::Hold,
        )
        .unwrap();
        let mut bytes = [0; 20];
        assert_eq!(log.read(short, &mut bytes), Ok(true), "seed {seed}");
        log.flush().unwrap();
        drop(log);
        let mut log = open(&b, &config).unwrap();
        assert_eq!(all(&mut log), [short.0], "seed {seed}");
    }
    assert!(made > 50, "{made}");
}

/// A letter cannot be synced, its report is delivered after all, and the process is killed meanwhile. Nothing was dropped.
#[test]
fn a_letter_that_never_was_is_not_counted_as_dropped() {
    let mut odd = vec![];
    let cases = [CONFIGS[0], CONFIGS[3], BIG]
        .into_iter()
        .flat_map(|config| [false, true].map(|throws| (config, throws)));
    for (config, throws) in cases {
        for calls in 1..14 {
            let b = board(&config, 1);
            let mut log = open(&b, &config).unwrap();
            bury(&mut log, 1, WhenLettersFull::Hold).unwrap();
            let ticket = put(&mut log, 2, 2, 100);
            let refused = Disposition::Refused(REASON);
            b.borrow_mut().fails = [0, 100, 0, 0];
            b.borrow_mut().sync_throws = throws;
            log.settle(ticket, refused, &[2; 100], WhenLettersFull::Hold)
                .unwrap_err();
            b.borrow_mut().fails = [0; 4];
            let dies_at = b.borrow().calls + calls;
            b.borrow_mut().dies_at = dies_at;
            let _ = log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold);
            drop(log);
            power(&b, false);
            let counters = open(&b, &config).unwrap().counters();
            if counters.letters != counters.refused || counters.letters_dropped > 0 {
                odd.push((config.seg, throws, calls, counters));
            }
        }
    }
    assert!(odd.is_empty(), "{}: {:?}", odd.len(), odd.first());
}

/// What forgets a letter cannot be written or synced: it is an error and the letter stays, or it is forgotten, and counted.
#[test]
fn what_forgets_a_letter_counts_if_it_is_there() {
    let mut odd = vec![];
    for seed in 0..200 {
        let config = [CONFIGS[0], CONFIGS[3], BIG][seed as usize % 3];
        let b = board(&config, seed);
        let mut log = open(&b, &config).unwrap();
        let letters: Vec<_> = (1..4)
            .map(|n| {
                let ticket = put(&mut log, n, i64::from(n), 60);
                let disposition = Disposition::Refused(REASON);
                log.settle(ticket, disposition, &[n; 60], WhenLettersFull::Hold)
                    .unwrap();
                ticket
            })
            .collect();
        log.flush().unwrap();
        b.borrow_mut().sync_throws = seed % 2 == 0;
        b.borrow_mut().fails = if seed % 4 < 2 {
            [100, 0, 0, 0]
        } else {
            [0, 100, 0, 0]
        };
        let one = |log: &mut Log, n: usize| log.forget_dead_letters(Forget::One(letters[n]));
        let failed = u64::from(one(&mut log, 1).is_ok());
        b.borrow_mut().fails = [0; 4];
        let forgotten = failed + u64::from(seed % 3 > 0 && one(&mut log, 2).is_ok());
        if seed % 5 > 0 {
            put(&mut log, 9, 9, 60);
            log.flush().unwrap();
        }
        let before = log.counters();
        drop(log);
        let after = open(&b, &config).unwrap().counters();
        // If nothing wrote it anew, the kernel has it.
        let is_right = after.letters == 3 - forgotten || after.letters == 2 - forgotten;
        if !is_right || after.letters_dropped > 0 || before.letters_dropped > 0 {
            odd.push((seed, failed, before, after));
        }
    }
    assert!(odd.is_empty(), "{}: {:?}", odd.len(), odd.first());
}

/// The newest report cannot be read for a moment at the start, or never more: nobody may take that for a write that was cut.
#[test]
fn the_newest_report_outlasts_one_at_the_start() {
    for reads in (0..40).chain([u32::MAX]) {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        put(&mut log, 1, 1, 300);
        put(&mut log, 2, 2, 1300);
        drop(log);
        spoil(&b, 0, &[2; 1300], reads);
        let mut log = open(&b, &BIG).unwrap();
        if reads != u32::MAX {
            b.borrow_mut().bad.clear();
        }
        let counters = log.counters();
        let seen = (
            counters.submitted,
            log.waiting(),
            counters.torn,
            counters.corrupt,
        );
        assert_eq!(seen, (2, 2, 0, 0), "{reads} failing reads");
        put(&mut log, 3, 3, 100);
        log.close().unwrap();
        drop(log);
        let mut log = open(&b, &BIG).unwrap();
        let mut read = vec![];
        for ticket in all(&mut log) {
            let mut buffer = vec![0; 1300];
            let mut tries = 0;
            let is_whole = loop {
                match log.read(Ticket(ticket), &mut buffer) {
                    Err(OutboxError::Unreadable) if tries < 4 => tries += 1,
                    is_whole => break is_whole.unwrap(),
                }
            };
            if is_whole {
                read.push(buffer[0]);
            }
        }
        let counters = log.counters();
        let lost = u64::from(reads == u32::MAX);
        let all = if lost > 0 { vec![1, 3] } else { vec![1, 2, 3] };
        assert_eq!(read, all, "{reads} failing reads");
        assert_eq!((counters.submitted, counters.torn), (3, 0), "{reads}");
        assert_eq!(counters.corrupt, lost, "{reads} failing reads");
    }
}

/// The newest report was cut, and that cannot be read for a moment at the start: what the first look takes it for does not stay.
#[test]
fn a_cut_report_is_found_to_be_one_after_a_read_error() {
    for reads in 0..40 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        put(&mut log, 1, 1, 300);
        put(&mut log, 2, 2, 1300);
        drop(log);
        let (id, at) = place(&b, 0, &[2; 1300]);
        spoil(&b, 0, &[2; 1300], reads);
        if let Some(seg) = b.borrow_mut().segs[0].get_mut(&id) {
            seg.view[at + 700..at + 1300].fill(0);
            seg.durable = seg.view.clone();
        }
        let log = open(&b, &BIG).unwrap();
        let counters = log.counters();
        let seen = (
            counters.submitted,
            log.waiting(),
            counters.torn,
            counters.corrupt,
        );
        // After more errors than are tried it may be one that is not cut.
        let expected = match reads < 12 {
            true => (1, 1, 1, 0),
            false => (2, 2, 0, 0),
        };
        assert_eq!(seen, expected, "{reads} failing reads");
    }
}

/// A kill left a segment that stands for two, and the newer of these; the older one was discarded.
struct Half {
    now: BTreeMap<u32, Seg>,
    output: u32,
    left: u32,
    config: Config,
    /// What waits, but for what newer ones supersede.
    keep: BTreeSet<u64>,
}

impl Half {
    fn new() -> Self {
        let config = Config {
            seg: 2048,
            total: 6 * 2048,
            dead_seg: 2048,
            dead_total: 6 * 2048,
            ..BIG
        };
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        let mut keep = BTreeSet::new();
        let mut old = BTreeMap::new();
        for n in 1..200 {
            // Each second one is superseded.
            if n % 2 != 0 {
                keep.insert(put(&mut log, n, 100 + i64::from(n), 200).0);
            } else {
                put(&mut log, n, 1, 200);
            }
            let now = b.borrow().segs[0].clone();
            let output = now
                .iter()
                .find(|(id, seg)| !old.contains_key(*id) && seg.view[36..40] != [0; 4]);
            if let Some((&output, seg)) = output {
                let left = u32::from_le_bytes(seg.view[36..40].try_into().unwrap());
                let mut now = now.clone();
                let source: &Seg = &old[&left];
                now.insert(left, source.clone());
                return Half {
                    now,
                    output,
                    left,
                    config,
                    keep,
                };
            }
            old = now;
        }
        panic!("it compacts two");
    }

    fn board(&self) -> Rc<RefCell<Board>> {
        let b = board(&self.config, 1);
        b.borrow_mut().segs[0] = self.now.clone();
        b
    }

    /// What stands in the one that is left.
    fn left(&self) -> BTreeSet<u64> {
        let bytes = &self.now[&self.left].view;
        let places = (0..bytes.len() - 32).step_by(8);
        let reports = places.filter(|at| bytes[*at..at + 3] == [0x1e, 2, 1]);
        let ticket = |at: usize| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
        reports.map(ticket).collect()
    }

    /// With damage in its commit.
    fn board_with_bad_commit(&self) -> Rc<RefCell<Board>> {
        let b = self.board();
        if let Some(seg) = b.borrow_mut().segs[0].get_mut(&self.output) {
            let mut places = (0..seg.view.len()).step_by(8);
            let at = places.find(|at| seg.view[*at..at + 3] == [0x1e, 2, 0x46]);
            let at = at.expect("it has a commit");
            seg.view[at + 40] ^= 1;
            seg.durable = seg.view.clone();
        }
        b
    }
}

/// Whatever it is asked, it gives the same reports, and as many as it counts.
fn agrees(log: &mut Log) -> BTreeSet<u64> {
    let waits = all(log);
    assert_eq!(waits.len() as u64, log.waiting());
    for after in (0..=waits.last().copied().unwrap_or(0)).rev() {
        let next = log.next(Some(Ticket(after))).unwrap();
        let expected = waits.iter().find(|ticket| **ticket > after);
        assert_eq!(
            next.map(|next| next.ticket.0),
            expected.copied(),
            "after {after}"
        );
    }
    waits.into_iter().collect()
}

/// After that kill the segment that stands for two cannot be synced at the next start, or is damaged.
#[test]
fn what_was_left_out_does_not_come_again() {
    let half = Half::new();
    for (b, fails) in [(half.board(), 100), (half.board_with_bad_commit(), 0)] {
        b.borrow_mut().fails[1] = fails;
        let mut log = open(&b, &half.config).unwrap();
        b.borrow_mut().fails[1] = 0;
        let waits = agrees(&mut log);
        assert!(waits.is_superset(&half.keep));
        let again = &waits & &half.left();
        assert!(half.keep.is_superset(&again));
        log.flush().unwrap();
        drop(log);
        let mut log = open(&b, &half.config).unwrap();
        let is_there = b.borrow().segs[0].contains_key(&half.left);
        assert!(!is_there, "what another stands for is never discarded");
        assert!(agrees(&mut log).is_superset(&half.keep));
    }
}

/// The same, but that the one that is gone was lost in another way, before the segment that stands for it was durable. What a failed sync was to
/// make durable is thrown away, or seems to be there.
#[test]
fn nothing_is_discarded_for_what_is_not_durable() {
    let half = Half::new();
    let must_wait = &half.keep & &half.left();
    for throws in [false, true] {
        let b = half.board();
        if let Some(seg) = b.borrow_mut().segs[0].get_mut(&half.output) {
            seg.durable = vec![0; seg.view.len()];
        }
        b.borrow_mut().sync_throws = throws;
        b.borrow_mut().fails[1] = 100;
        let mut log = open(&b, &half.config).unwrap();
        let waits: BTreeSet<u64> = all(&mut log).into_iter().collect();
        assert!(waits.is_superset(&must_wait));
        for n in 1..20 {
            let _ = log.append(&key(500), &[n; 200], MonoTime::from_ms(0), None);
            let _ = log.flush();
        }
        drop(log);
        // The power fails.
        for seg in b.borrow_mut().segs[0].values_mut() {
            seg.view = seg.durable.clone();
        }
        b.borrow_mut().fails[1] = 0;
        let mut log = open(&b, &half.config).unwrap();
        let waits: BTreeSet<u64> = all(&mut log).into_iter().collect();
        assert!(waits.is_superset(&must_wait));
    }
}

/// The same kill, and then both headers of the segment that stands for two are lost, so that it counts beside the one that is left: a way
/// that led through a segment that goes is found anew.
#[test]
fn no_way_leads_through_a_segment_that_is_gone() {
    let half = Half::new();
    for ahead in 1..12 {
        let b = half.board();
        if let Some(seg) = b.borrow_mut().segs[0].get_mut(&half.output) {
            let end = seg.view.len() - 160;
            seg.view[..160].fill(0);
            seg.view[end..].fill(0);
            seg.durable = seg.view.clone();
        }
        let mut log = open(&b, &half.config).unwrap();
        let before = log.counters().corrupt;
        let ticket = all(&mut log)[ahead];
        let settle = |log: &mut Log, ticket: u64| {
            let ticket = Ticket(ticket);
            log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                .unwrap();
        };
        settle(&mut log, ticket);
        let mut seen = BTreeSet::from([ticket]);
        // Some come twice, and are not counted so: those at the end wait for the next start.
        for _ in 0..2 {
            while let Some(front) = log.next(None).unwrap() {
                seen.insert(front.ticket.0);
                settle(&mut log, front.ticket.0);
            }
            assert_eq!(log.counters().corrupt, before, "ahead: {ticket}");
            drop(log);
            log = open(&b, &half.config).unwrap();
        }
        assert!(seen.is_superset(&half.keep), "ahead: {ticket}");
    }
}

/// All letters up to one are forgotten while one of them cannot be read for a moment, or never more: they count as forgotten, or as lost.
#[test]
fn letters_that_cannot_be_read_are_counted_when_they_are_forgotten() {
    for reads in (1..12).chain([u32::MAX]) {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        for n in 1..=4 {
            let ticket = put(&mut log, n, i64::from(n), 900);
            let refused = Disposition::Refused(REASON);
            log.settle(ticket, refused, &[n; 900], WhenLettersFull::Hold)
                .unwrap();
        }
        spoil(&b, 1, &[2; 900], reads);
        let mut tries = 0;
        while let Err(error) = log.forget_dead_letters(Forget::UpTo(Ticket(3))) {
            assert_eq!(error, OutboxError::Unreadable);
            tries += 1;
            assert!(tries < 4, "{reads} failing reads");
        }
        let counters = log.counters();
        // Two for each of four tries.
        let lost = u64::from(reads >= 8);
        let seen = (counters.letters, counters.letters_dropped);
        assert_eq!(seen, (1, lost), "{reads} failing reads");
        let left = log.dead_letter(None).unwrap().unwrap();
        assert_eq!(left.ticket, Ticket(4));
        assert_eq!(log.dead_letter(Some(left.ticket)).unwrap(), None);
    }
}

/// The power is cut while a letter is written, its report is delivered after all, and the process is killed. Nothing was dropped.
#[test]
fn a_letter_that_was_cut_is_not_counted_as_dropped() {
    let mut odd = vec![];
    let mut cut = 0;
    for seed in 0..300 {
        let b = board(&BIG, seed);
        let mut log = open(&b, &BIG).unwrap();
        bury(&mut log, 1, WhenLettersFull::Hold).unwrap();
        bury(&mut log, 3, WhenLettersFull::Hold).unwrap();
        let first = log.dead_letter(None).unwrap().unwrap().ticket;
        log.forget_dead_letters(Forget::One(first)).unwrap();
        let ticket = put(&mut log, 2, 2, 1400);
        let dies_at = b.borrow().calls + 1 + seed % 4;
        b.borrow_mut().dies_at = dies_at;
        let _ = log.settle(
            ticket,
            Disposition::Refused(REASON),
            &[2; 1400],
            WhenLettersFull::Hold,
        );
        drop(log);
        power(&b, true);
        let mut log = open(&b, &BIG).unwrap();
        cut += u64::from(log.waiting() > 0);
        let _ = log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold);
        drop(log);
        let counters = open(&b, &BIG).unwrap().counters();
        if counters.letters + 1 != counters.refused
            || counters.letters_dropped + counters.corrupt > 0
        {
            odd.push((seed, counters));
        }
    }
    assert!(cut > 20, "{cut}");
    assert!(odd.is_empty(), "{}: {:?}", odd.len(), odd.first());
}

/// A kill comes after a letter is durable and before its report is settled; then there is hardly room to say so, and the letter is forgotten.
#[test]
fn what_is_known_by_a_letter_alone_is_noted_before_that_is_forgotten() {
    let mut odd = vec![];
    for (config, len) in [CONFIGS[0], CONFIGS[1], CONFIGS[3]]
        .into_iter()
        .flat_map(|config| (8..600).step_by(8).map(move |len| (config, len)))
    {
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        let first = put(&mut log, 1, 1, 60);
        let ticket = put(&mut log, 2, 2, 60);
        // The letter is written and synced.
        let dies_at = b.borrow().calls + 3;
        b.borrow_mut().dies_at = dies_at;
        let _ = log.settle(
            ticket,
            Disposition::Refused(REASON),
            &[2; 60],
            WhenLettersFull::Hold,
        );
        drop(log);
        power(&b, false);
        let mut log = open(&b, &config).unwrap();
        if log.counters().letters == 0 {
            continue;
        }
        put(&mut log, 3, 3, len);
        log.forget_dead_letters(Forget::One(ticket)).unwrap();
        drop(log);
        power(&b, true);
        let mut log = open(&b, &config).unwrap();
        let waits = all(&mut log);
        if waits.contains(&ticket.0) || !waits.contains(&first.0) {
            odd.push((config.seg, len, waits, log.counters()));
        }
    }
    assert!(odd.is_empty(), "{}: {:?}", odd.len(), odd.first());
}

/// The power fails, and a segment that was discarded is there again, since that was not durable yet. What stood for it was written anew, too,
/// and so nothing names it any more.
#[test]
fn a_segment_that_comes_back_hides_no_report() {
    let config = CONFIGS[0];
    let b = board(&config, 1);
    let mut log = open(&b, &config).unwrap();
    let mut waits = BTreeSet::new();
    // Each segment as it was when it was seen last.
    let mut seen = BTreeMap::new();
    let mut came_back = 0;
    for n in 1..200 {
        match log.append(&key(n), &[n as u8; 60], MonoTime::from_ms(0), None) {
            Ok(ticket) => _ = waits.insert(ticket.0),
            Err(error) => assert_eq!(error, OutboxError::Full),
        }
        // Three of four are delivered, but not the oldest ones.
        if waits.len() > 20 {
            let nth = b.borrow_mut().rng.below(16) + 2;
            let ticket = waits.iter().copied().nth(nth).unwrap();
            if ticket % 4 != 0 {
                let ticket = Ticket(ticket);
                log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                    .unwrap();
                waits.remove(&ticket.0);
            }
        }
        let now = b.borrow().segs.clone();
        seen.extend(now[0].clone());
        for (id, seg) in seen.iter().filter(|(id, _)| !now[0].contains_key(id)) {
            let b = board(&config, 1);
            b.borrow_mut().segs = now.clone();
            b.borrow_mut().segs[0].insert(*id, seg.clone());
            let mut log = open(&b, &config).unwrap();
            let mut missing = waits.clone();
            while let Some(front) = log.next(None).unwrap() {
                missing.remove(&front.ticket.0);
                log.settle(
                    front.ticket,
                    Disposition::Delivered,
                    &[],
                    WhenLettersFull::Hold,
                )
                .unwrap();
            }
            assert!(missing.is_empty(), "{missing:?} with {id} after {n}");
            came_back += 1;
        }
    }
    assert!(came_back > 100, "{came_back}");
}

/// The power fails twice: first it cuts a report, and then what is not durable of the one after it is lost, but not what comes after that.
#[test]
fn a_cut_report_is_not_taken_for_the_one_after_it() {
    let config = Config { batch: true, ..BIG };
    // Wherever in a segment that is.
    for fill in (100..3000).step_by(8) {
        let b = board(&config, 1);
        // Of these bytes, and so many before them, what was synced is there, and all of the others.
        let power_fails = |bytes: &[u8], before: usize| {
            let (id, at) = place(&b, 0, bytes);
            let mut b = b.borrow_mut();
            let seg = b.segs[0].get_mut(&id).unwrap();
            let range = at - before..at + bytes.len();
            seg.view[range.clone()].copy_from_slice(&seg.durable[range]);
            seg.durable = seg.view.clone();
        };
        let mut log = open(&b, &config).unwrap();
        put(&mut log, 1, 1, fill);
        log.flush().unwrap();
        let cut = put(&mut log, 2, 2, 300);
        drop(log);
        power_fails(&[2; 300], 0);
        let mut log = open(&b, &config).unwrap();
        assert_eq!(log.counters().torn, 1);
        put(&mut log, 3, 3, 60);
        put(&mut log, 4, 4, 60);
        drop(log);
        // With its header, its time and its job.
        power_fails(&[3; 60], 32 + 8 + 8);
        let mut log = open(&b, &config).unwrap();
        assert!(!all(&mut log).contains(&cut.0), "after {fill} bytes");
        assert_eq!(log.counters().submitted, 3);
    }
}

/// Tickets of the dead letters.
fn letters(log: &mut Log) -> Vec<u64> {
    let mut found = Vec::new();
    let mut after = None;
    while let Some(letter) = log.dead_letter(after).unwrap() {
        after = Some(letter.ticket);
        found.push(letter.ticket.0);
    }
    found
}

/// No letter can be read at the start, and a report is taken: what is written of that is no reason to leave the letters alone later.
#[test]
fn letters_outlast_an_outage_at_the_start() {
    for sync_throws in [false, true] {
        let config = BIG;
        let b = board(&config, 1);
        let mut log = open(&b, &config).unwrap();
        for n in 1..=5 {
            bury(&mut log, n, WhenLettersFull::Hold).unwrap();
        }
        drop(log);
        b.borrow_mut().out_after[1] = 0;
        let mut log = open(&b, &config).unwrap();
        let first = put(&mut log, 6, 6, 60);
        // A sync may fail meanwhile, too.
        b.borrow_mut().sync_throws = sync_throws;
        b.borrow_mut().fails[1] = 100;
        let _ = log.flush();
        b.borrow_mut().fails[1] = 0;
        let _ = log.flush();
        b.borrow_mut().out_after[1] = u64::MAX;
        let mut expected = letters(&mut log);
        assert_eq!(expected.len(), 5, "{:?}", log.counters());
        let settle = |log: &mut Log| {
            let refused = Disposition::Refused(REASON);
            log.settle(first, refused, &[6; 60], WhenLettersFull::Hold)
        };
        // The letter's segment is written anew.
        b.borrow_mut().fails[1] = 100;
        let _ = settle(&mut log);
        b.borrow_mut().fails[1] = 0;
        settle(&mut log).unwrap();
        expected.push(first.0);
        assert_eq!(letters(&mut log), expected);
        drop(log);
        let mut log = open(&b, &config).unwrap();
        assert_eq!(letters(&mut log), expected, "{:?}", log.counters());
    }
}

/// The outage begins anywhere while the log is opened, where a segment stands for two of which one is gone: nothing is discarded meanwhile.
#[test]
fn nothing_is_decided_in_an_outage() {
    let config = CONFIGS[0];
    let mut states = 0;
    for stuck in 1..12 {
        let b = board(&config, u64::from(stuck));
        b.borrow_mut().stuck = Some((0, stuck));
        let mut log = open(&b, &config).unwrap();
        for n in 1..80 {
            if log.append(&key(n), &[n as u8; 60], MonoTime::from_ms(0), None)
                == Err(OutboxError::Full)
            {
                break;
            }
            let waits = all(&mut log);
            if waits.len() > 14 {
                let ticket = Ticket(waits[b.borrow_mut().rng.below(waits.len() - 4)]);
                log.settle(ticket, Disposition::Delivered, &[], WhenLettersFull::Hold)
                    .unwrap();
            }
            if stands_for_what_is_gone_and(&b, stuck) {
                break;
            }
        }
        if !stands_for_what_is_gone_and(&b, stuck) {
            continue;
        }
        states += 1;
        let waits = all(&mut log);
        drop(log);
        b.borrow_mut().stuck = None;
        let now = b.borrow().segs.clone();
        for reads in 0.. {
            b.borrow_mut().segs = now.clone();
            b.borrow_mut().out_after[0] = reads;
            let _ = open(&b, &config);
            let was_out = b.borrow().out_after[0] == 0;
            b.borrow_mut().out_after[0] = u64::MAX;
            let found = all(&mut open(&b, &config).unwrap());
            assert_eq!(found, waits, "after {reads} reads, {stuck} is left");
            if !was_out {
                break;
            }
        }
    }
    assert!(states > 0);
}

/// Whether a segment stands for this one, and for another that is gone.
fn stands_for_what_is_gone_and(b: &Rc<RefCell<Board>>, one: u32) -> bool {
    let segs = &b.borrow().segs[0];
    segs.contains_key(&one)
        && segs.values().any(|seg| {
            let (ids, _) = seg.view[32..48].as_chunks();
            let ids: Vec<u32> = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
            let is_gone = |id: &u32| *id != 0 && !segs.contains_key(id);
            ids.contains(&one) && ids.iter().any(is_gone)
        })
}

/// What cannot be read for a moment is not said to wait no more.
#[test]
fn a_report_whose_header_cannot_be_read_waits() {
    for reads in 1..20 {
        let b = board(&BIG, 1);
        let mut log = open(&b, &BIG).unwrap();
        put(&mut log, 1, 1, 700);
        let ticket = put(&mut log, 2, 2, 700);
        let mut buffer = [0; 700];
        // That of the second one.
        let (id, at) = place(&b, 0, &[2; 100]);
        let sector = at / 512 * 512;
        b.borrow_mut()
            .bad
            .push((0, id, sector, sector + 512, reads));
        assert_ne!(log.read(ticket, &mut buffer), Ok(false), "{reads}");
        b.borrow_mut().bad.clear();
        assert_eq!(log.read(ticket, &mut buffer), Ok(true), "{reads}");
        assert_eq!(buffer, [2; 700]);
    }
}
