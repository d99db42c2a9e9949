//! The table as bytes that outlive the process.
//!
//! All numbers are big-endian. A head: `EFW1`, the job manager's clock (8), the mark (1 byte whether there is one,
//! 8 of its time, 16 of its jid). A record for each job: jid (16), `job_id` or 0
//! (8), start (8), time of its state (8), hash of its plan (8), state, phase, what was reported, flags (1 byte each). At the end the hash of all that, 8 bytes.

use core::fmt;

use super::jid::{Jid, hash};
use super::state::{Phase, State};
use super::table::{Mark, Slot, make_room};
use crate::code::Code;
use crate::json::{Full, Sink, SliceSink};
use crate::time::MonoTime;

const MAGIC: &[u8; 4] = b"EFW1";
const HEAD: usize = 4 + 8 + 1 + 8 + 16;
const RECORD: usize = 16 + 8 + 8 + 8 + 8 + 4;
const HASH: usize = 8;

const HAS_RUN: u8 = 1;
const STOP_ASKED: u8 = 2;

/// How many bytes so many jobs take.
pub(super) const fn len_of(jobs: usize) -> usize {
    jobs.saturating_mul(RECORD).saturating_add(HEAD + HASH)
}

/// These bytes are no table that was kept: damaged, cut, or of another version. The watch begins with an empty one. What it then reports again has
/// the message ids that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept;

impl NotKept {
    /// The stable code.
    pub const fn code(&self) -> Code {
        Code::FlinkTable
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

impl core::error::Error for NotKept {}

/// What is kept beside the jobs.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) clock: i64,
    pub(super) mark: Option<Mark>,
}

pub(super) fn write(slots: &[Slot], kept: Kept, out: &mut [u8]) -> Result<usize, Full> {
    let Kept { clock, mark } = kept;
    let mut sink = SliceSink::new(out);
    sink.put(MAGIC)?;
    sink.put(&clock.to_be_bytes())?;
    sink.put(&[u8::from(mark.is_some())])?;
    let end = mark.unwrap_or(Slot::EMPTY.mark());
    sink.put(&end.time.to_be_bytes())?;
    sink.put(&end.jid.to_bytes())?;
    for slot in slots.iter().filter(|slot| slot.is_taken) {
        let flags = if slot.has_run { HAS_RUN } else { 0 };
        let stop = if slot.stop_asked { STOP_ASKED } else { 0 };
        sink.put(&slot.jid.to_bytes())?;
        sink.put(&slot.job_id.unwrap_or(0).to_be_bytes())?;
        sink.put(&slot.start_time.to_be_bytes())?;
        sink.put(&slot.state_time.to_be_bytes())?;
        sink.put(&slot.plan.to_be_bytes())?;
        let (phase, reported) = (slot.phase as u8, slot.reported as u8);
        sink.put(&[slot.state as u8, phase, reported, flags | stop])?;
    }
    let hash = hash(sink.written()).to_be_bytes();
    sink.put(&hash)?;
    Ok(sink.len())
}

/// Fills empty slots. What does not fit leaves as it would have from the table itself.
pub(super) fn read(bytes: &[u8], slots: &mut [Slot], now: MonoTime) -> Result<Kept, NotKept> {
    let (content, sum) = bytes.split_last_chunk::<HASH>().ok_or(NotKept)?;
    let (head, records) = content.split_first_chunk::<HEAD>().ok_or(NotKept)?;
    let is_whole = head.starts_with(MAGIC) && hash(content).to_be_bytes() == *sum;
    let mut head = Fields(head.get(MAGIC.len()..).unwrap_or_default());
    let clock = head.integer().ok_or(NotKept)?;
    let [has_mark] = head.take().ok_or(NotKept)?;
    let end = Mark {
        time: head.integer().ok_or(NotKept)?,
        jid: Jid::from_bytes(head.take().ok_or(NotKept)?),
    };
    let mut mark = (has_mark == 1).then_some(end);
    let records = records.chunks_exact(RECORD);
    if !is_whole || !records.remainder().is_empty() || has_mark > 1 {
        return Err(NotKept);
    }
    for is_done in [false, true] {
        for record in records.clone() {
            let slot = slot_of(record, now).ok_or(NotKept)?;
            if slot.is_done() != is_done {
                continue;
            }
            // All count as listed: what leaves is remembered by the mark.
            if let Some(room) = make_room(slots, slot.seen, None, &mut mark) {
                *room = slot;
            } else if is_done {
                mark = mark.max(Some(slot.mark()));
            }
        }
    }
    Ok(Kept { clock, mark })
}

fn slot_of(record: &[u8], now: MonoTime) -> Option<Slot> {
    let mut fields = Fields(record);
    let jid = Jid::from_bytes(fields.take()?);
    let job_id = fields.integer().filter(|&id| id > 0);
    let mut slot = Slot::of(jid, fields.integer()?, now);
    slot.job_id = job_id;
    slot.state_time = fields.integer()?;
    slot.plan = u64::from_be_bytes(fields.take()?);
    let [state, phase, reported, flags] = fields.take()?;
    slot.state = State::from_number(state);
    slot.phase = Phase::from_number(phase)?;
    slot.reported = Phase::from_number(reported)?;
    slot.has_run = flags & HAS_RUN != 0;
    slot.stop_asked = flags & STOP_ASKED != 0;
    Some(slot)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn integer(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}
