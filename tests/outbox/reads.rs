//! A read that fails, whichever: each read of each operation once, of one sector so often that one try fails, or of all until the operation ends.
//! All is well again afterwards, so nothing may be lost, given up or counted wrongly.
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
use std::fmt;
use std::rc::Rc;

use courier_common::Rng;
use edge_report::courier::{
    Disposition, Durability, Forget, JobKey, JobKeys, LogOutbox, Outbox, Reason, Storage,
    StorageLimits, Ticket, WhenLettersFull,
};
use edge_report::{MonoTime, Outcome};

/// Reads that fail at a time: a read, and a second one of its piece twice.
const ONE_TRY: u64 = 3;
const OPERATIONS: usize = 90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unread;

impl std::error::Error for Unread {}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What fails: from this read on, of the sector that is read then, or of all.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Sector(u64),
    Away(u64),
}

#[derive(Default)]
struct Board {
    segments: [BTreeMap<u32, Vec<u8>>; 2],
    reads: u64,
    fault: Option<Fault>,
    bad: Option<(usize, u32, usize)>,
    left: u64,
}

impl Board {
    fn fails(&mut self, side: usize, id: u32, sectors: std::ops::RangeInclusive<usize>) -> bool {
        self.reads += 1;
        match self.fault {
            Some(Fault::Away(from)) => self.reads >= from,
            Some(Fault::Sector(from)) if self.reads >= from && self.left > 0 => {
                let bad = *self.bad.get_or_insert((side, id, *sectors.start()));
                let fails = (bad.0, bad.1) == (side, id) && sectors.contains(&bad.2);
                self.left -= u64::from(fails);
                fails
            }
            _ => false,
        }
    }
}

struct Device {
    board: Rc<RefCell<Board>>,
    side: usize,
    limits: StorageLimits,
}

impl Storage for Device {
    type Error = Unread;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Unread> {
        let board = self.board.borrow();
        let segments = board.segments[self.side].iter();
        segments.for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }
    fn limits(&self) -> StorageLimits {
        self.limits
    }
    fn create(&mut self, id: u32, len: usize) -> Result<(), Unread> {
        self.board.borrow_mut().segments[self.side].insert(id, vec![0; len]);
        Ok(())
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Unread> {
        let mut board = self.board.borrow_mut();
        let end = offset + buffer.len();
        if board.fails(self.side, id, offset / 512..=(end - 1) / 512) {
            return Err(Unread);
        }
        let bytes = board.segments[self.side].get(&id).ok_or(Unread)?;
        buffer.copy_from_slice(&bytes[offset..end]);
        Ok(())
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Unread> {
        let mut board = self.board.borrow_mut();
        let segment = board.segments[self.side].get_mut(&id).unwrap();
        segment[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&mut self, _: u32) -> Result<(), Unread> {
        Ok(())
    }
    fn discard(&mut self, id: u32) -> Result<(), Unread> {
        self.board.borrow_mut().segments[self.side].remove(&id);
        Ok(())
    }
}

type Log = LogOutbox<Device, Device, 40>;

struct World {
    board: Rc<RefCell<Board>>,
    limits: [StorageLimits; 2],
    log: Option<Log>,
    /// What was acknowledged, and its jobs.
    acknowledged: BTreeMap<u64, Vec<(i64, bool)>>,
    submitted: u64,
    /// Delivered or superseded, its letter forgotten, or tried to.
    gone: BTreeSet<u64>,
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let unit = [256, 512, 1024][rng.below(3)];
        let segment = unit * (1024 / unit).max(1 + rng.below(4));
        let mut limits = |least: usize| {
            let total = segment * (least + rng.below(4));
            StorageLimits::new(segment, total).with_length_unit(unit)
        };
        World {
            board: Rc::default(),
            limits: [limits(4), limits(3)],
            log: None,
            acknowledged: BTreeMap::new(),
            submitted: 0,
            gone: BTreeSet::new(),
        }
    }

    fn open(&mut self) {
        self.log = None;
        let device = |side| Device {
            board: self.board.clone(),
            side,
            limits: self.limits[side],
        };
        self.log = Log::open(device(0), device(1), Durability::Each, 7).ok();
    }

    fn step(&mut self, rng: &mut Rng) {
        let [kind, some, other, len] = [100, 10, 5, 300].map(|below| rng.below(below));
        if self.log.is_none() {
            self.open();
        }
        let Some(log) = &mut self.log else {
            return;
        };
        match kind {
            0..52 => {
                let keys: Vec<_> = (0..len % 3)
                    .map(|n| (1 + ((some + 3 * n) % 12) as i64, other == 0))
                    .collect();
                let mut jobs = JobKeys::new();
                for (job_id, is_final) in keys.iter().copied() {
                    jobs.push(JobKey { job_id, is_final }).unwrap();
                }
                self.submitted += 1;
                if let Ok(ticket) =
                    log.append(&jobs, &vec![b'x'; 20 + len], MonoTime::from_ms(0), None)
                {
                    self.acknowledged.insert(ticket.0, keys);
                }
            }
            52..88 => {
                let Ok(Some(mut waiting)) = log.next(None) else {
                    return;
                };
                let ahead = if kind.is_multiple_of(3) { some } else { 0 };
                for _ in 0..ahead {
                    match log.next(Some(waiting.ticket)) {
                        Ok(Some(next)) if log.room_ahead() > 1 => waiting = next,
                        _ => break,
                    }
                }
                let mut bytes = vec![0; waiting.len];
                if log.read(waiting.ticket, &mut bytes) != Ok(true) {
                    return;
                }
                let reason = Reason::response(Outcome::Refused, 400);
                let disposition = match kind {
                    0..76 => Disposition::Delivered,
                    _ => Disposition::Refused(reason),
                };
                let _ = log.settle(waiting.ticket, disposition, &bytes, WhenLettersFull::Hold);
                if kind < 76 {
                    self.gone.insert(waiting.ticket.0);
                }
            }
            88..94 => {
                let letters = letters(log);
                let Some(ticket) = letters.iter().copied().nth(some % letters.len().max(1)) else {
                    return;
                };
                self.gone.insert(ticket);
                let _ = log.forget_dead_letters(Forget::One(Ticket(ticket)));
            }
            94 | 95 => _ = log.flush(),
            96 => _ = log.close(),
            _ => self.open(),
        }
    }

    /// Now, and after a restart.
    fn check(&mut self, what: &str) {
        self.board.borrow_mut().fault = None;
        for _ in 0..2 {
            if self.log.is_none() {
                self.open();
            }
            let log = self.log.as_mut().expect(what);
            let letters = letters(log);
            let mut waits = BTreeSet::new();
            let mut after = None;
            while let Some(waiting) = log.next(after).unwrap() {
                let read = log.read(waiting.ticket, &mut vec![0; waiting.len]);
                assert_eq!(read, Ok(true), "{what}");
                waits.insert(waiting.ticket.0);
                after = Some(waiting.ticket);
            }
            let counters = log.counters();
            assert_eq!(log.waiting(), waits.len() as u64, "{what}: {counters:?}");
            let settled =
                counters.delivered + counters.refused + counters.superseded + counters.expired;
            assert_eq!(
                counters.submitted,
                log.waiting() + settled,
                "{what}: {counters:?}"
            );
            assert!(counters.submitted <= self.submitted, "{what}: {counters:?}");
            let counted = (counters.letters, counters.letters_dropped, counters.corrupt);
            assert_eq!(
                counted,
                (letters.len() as u64, 0, 0),
                "{what}: {counters:?}"
            );
            for (ticket, keys) in &self.acknowledged {
                let is_newer = |key: &(i64, bool)| {
                    let mut later = self
                        .acknowledged
                        .range(ticket + 1..)
                        .flat_map(|(_, keys)| keys);
                    later.any(|(job, is_final)| *job == key.0 && (*is_final || !key.1))
                };
                let is_superseded = !keys.is_empty() && keys.iter().all(is_newer);
                let is_there = waits.contains(ticket) || letters.contains(ticket);
                let is_known = is_there || self.gone.contains(ticket) || is_superseded;
                assert!(is_known, "{what}: {ticket} is lost, {counters:?}");
            }
            self.log = None;
        }
    }
}

fn letters(log: &mut Log) -> BTreeSet<u64> {
    let mut letters = BTreeSet::new();
    let mut after = None;
    while let Ok(Some(letter)) = log.dead_letter(after) {
        after = Some(letter.ticket);
        assert!(letters.insert(letter.ticket.0), "listed twice");
    }
    letters
}

/// Does it all with this fault in one operation. Gives how many reads each took.
fn run(seed: u64, fault: Option<(usize, Fault)>) -> Vec<u64> {
    let mut rng = Rng(seed);
    let mut world = World::new(&mut rng);
    let mut reads = Vec::new();
    for step in 0..OPERATIONS {
        let fault = fault.filter(|(at, _)| *at == step).map(|(_, fault)| fault);
        {
            let mut board = world.board.borrow_mut();
            (board.reads, board.left, board.fault) = (0, ONE_TRY, fault);
        }
        world.step(&mut rng);
        reads.push(world.board.borrow().reads);
        world.board.borrow_mut().fault = None;
    }
    world.check(&format!("seed {seed}, {fault:?}"));
    reads
}

fn fail_each(kind: fn(u64) -> Fault) {
    for seed in 1..=5 {
        let reads = run(seed, None);
        for (at, reads) in reads.into_iter().enumerate().skip(OPERATIONS / 3) {
            for read in (1..=reads).step_by(1 + reads as usize / 16) {
                run(seed, Some((at, kind(read))));
            }
        }
    }
}

#[test]
fn an_error_that_goes_away_costs_nothing_wherever_it_is_met() {
    fail_each(Fault::Sector);
}

#[test]
fn a_device_that_is_away_for_a_while_costs_nothing() {
    fail_each(Fault::Away);
}
