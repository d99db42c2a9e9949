//! The outbox on storage: the log of a spool, over functions that JavaScript gives.
//!
//! What they throw would unwind through the log, so they throw nothing: they say [`DONE`] or what failed, and JavaScript remembers why.

use alloc::vec::Vec;
use core::fmt;

use edge_report::Code;
use edge_report::courier::{Courier as Engine, Durability, LogOutbox, Storage, StorageLimits};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::courier::{Courier, mono, read_policy};

pub(crate) type Kept = LogOutbox<Device, Device, MOST>;

/// The most segments of a log, as in a spool of Rust.
const MOST: usize = 72;
/// Alignment is nothing to a file: what the format needs at the least.
const WRITE_UNIT: usize = 8;

/// What the functions say.
const DONE: u8 = 0;
const NO_ROOM: u8 = 2;
const OUTAGE: u8 = 3;

#[wasm_bindgen]
extern "C" {
    /// The segments of one log.
    #[derive(Debug)]
    pub type Segments;

    /// The id and the length of each, one behind the other; nothing if that failed.
    #[wasm_bindgen(method)]
    fn list(this: &Segments) -> Option<Vec<u32>>;
    #[wasm_bindgen(method)]
    fn create(this: &Segments, id: u32, len: u32) -> u8;
    #[wasm_bindgen(method)]
    fn read(this: &Segments, id: u32, offset: u32, buffer: &mut [u8]) -> u8;
    #[wasm_bindgen(method)]
    fn write(this: &Segments, id: u32, offset: u32, bytes: &[u8]) -> u8;
    #[wasm_bindgen(method)]
    fn sync(this: &Segments, id: u32) -> u8;
    #[wasm_bindgen(method)]
    fn discard(this: &Segments, id: u32) -> u8;
}

/// One log's storage.
#[derive(Debug)]
pub(crate) struct Device {
    segments: Segments,
    limits: StorageLimits,
}

/// JavaScript knows why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    lacks_room: bool,
    is_outage: bool,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the storage failed")
    }
}

impl core::error::Error for Failed {}

const FAILED: Failed = Failed {
    lacks_room: false,
    is_outage: false,
};

fn result(said: u8) -> Result<(), Failed> {
    match said {
        DONE => Ok(()),
        said => Err(Failed {
            lacks_room: said == NO_ROOM,
            is_outage: said == OUTAGE,
        }),
    }
}

/// Within a module all lengths have 32 bits.
fn narrow(number: usize) -> Result<u32, Failed> {
    u32::try_from(number).map_err(|_| FAILED)
}

impl Storage for Device {
    type Error = Failed;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Failed> {
        let listed = self.segments.list().ok_or(FAILED)?;
        for [id, len] in listed.as_chunks::<2>().0 {
            each(*id, usize::try_from(*len).unwrap_or(usize::MAX));
        }
        Ok(())
    }
    fn limits(&self) -> StorageLimits {
        self.limits
    }
    fn create(&mut self, id: u32, len: usize) -> Result<(), Failed> {
        result(self.segments.create(id, narrow(len)?))
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Failed> {
        result(self.segments.read(id, narrow(offset)?, buffer))
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Failed> {
        result(self.segments.write(id, narrow(offset)?, bytes))
    }
    fn sync(&mut self, id: u32) -> Result<(), Failed> {
        result(self.segments.sync(id))
    }
    fn discard(&mut self, id: u32) -> Result<(), Failed> {
        result(self.segments.discard(id))
    }
    fn lacks_room(&self, error: &Failed) -> bool {
        error.lacks_room
    }
    fn is_outage(&self, error: &Failed) -> bool {
        error.is_outage
    }
}

#[wasm_bindgen]
impl Courier {
    /// Over two logs, each with its segments and, in `limits`, the bytes of a segment, of the shortest, and of all. With `batch_reports` what
    /// is submitted is made durable together. What is thrown is a code's number.
    #[allow(
        clippy::too_many_arguments,
        reason = "JavaScript's side has names for them"
    )]
    pub fn open(
        live: Segments,
        live_limits: &[u32],
        dead: Segments,
        dead_limits: &[u32],
        batch_reports: Option<u32>,
        batch_ms: f64,
        policy: &str,
        now_ms: f64,
        entropy: u64,
    ) -> Result<Courier, u16> {
        let policy = read_policy(policy).map_err(|_| Code::OutOfRange.number())?;
        let durability = batch_reports.map_or(Durability::Each, |reports| Durability::Batch {
            reports,
            ms: batch_ms as u64,
        });
        let live = device(live, live_limits);
        let dead = device(dead, dead_limits);
        let log =
            Kept::open(live, dead, durability, entropy).map_err(|error| error.code().number())?;
        let engine = Engine::new(log, Vec::new(), policy, mono(now_ms), entropy);
        Ok(Courier(engine))
    }

    /// How many segments are left alone, being of another spool or unreadable.
    pub fn foreign_segments(&self) -> f64 {
        self.0.outbox().foreign_segments() as f64
    }
}

fn device(segments: Segments, limits: &[u32]) -> Device {
    let limit = |index: usize| limits.get(index).map_or(0, |&bytes| bytes as usize);
    Device {
        segments,
        limits: StorageLimits::new(limit(0), limit(2))
            .with_length_unit(limit(1))
            .with_write_unit(WRITE_UNIT),
    }
}
