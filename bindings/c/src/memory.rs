//! Couriers in the caller's memory: how it is cut, and what they stand on.

use core::ffi::c_void;

use edge_report::courier::{Courier, RamStorage, Storage};
use edge_report::{Code, MonoTime};

use crate::courier::{Engine, MemoryCourier, MemoryOutbox, edge_report_courier};
use crate::delivery::{edge_report_courier_config, read_config};
use crate::error::{Failure, edge_report_error};
use crate::guard::guard;
use crate::storage::{
    ALIGN, AnyStorage, Arena, Callbacks, DeviceError, MAX_SEGMENTS, Ram, edge_report_storage,
    room_of,
};
use crate::types::{Output, edge_report_result};

/// Makes a courier whose reports wait in the caller's memory: they are gone when that is. Needs no heap.
///
/// The memory is cut into the courier, room for one report of `report_bytes`, and segments: two for dead letters, and 4 to 16 for
/// what waits. `EDGE_REPORT_COURIER_RAM(report_bytes)` is the least that will do.
///
/// Takes the memory until `edge_report_courier_free`; borrows the rest for the call. Any thread. Does not block.
///
/// @param config  NULL: the defaults.
/// @param now_ms  the monotonic clock: milliseconds since any start.
/// @param entropy a random number.
/// @param courier gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with the least length of memory; or what is wrong with the arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_new_ram(
    memory: *mut c_void,
    memory_len: usize,
    config: *const edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
    courier: *mut *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(courier, "courier")?;
        let config = unsafe { read_config(config) }?;
        let mut arena = unsafe { Arena::new(memory, memory_len) }?;
        let plan = RamPlan::new(arena.left(), config.report_bytes);
        let courier = plan.and_then(|plan| {
            let scratch = arena.bytes(plan.scratch)?;
            let dead = arena.bytes(plan.segment.checked_mul(RamPlan::DEAD)?)?;
            let live = arena.bytes(plan.segment.checked_mul(plan.live)?)?;
            let live = arena.place(Ram(RamStorage::new(live, plan.segment, 1)))?;
            let dead = arena.place(Ram(RamStorage::new(dead, plan.segment, 0)))?;
            Some((live, dead, scratch))
        });
        let Some((live, dead, scratch)) = courier else {
            let needed = RamPlan::least(config.report_bytes).saturating_add(arena.skipped);
            return Err(Failure::too_small(needed));
        };
        let handle = unsafe { place(&mut arena, live, dead, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// Makes a courier whose reports wait on a device behind callbacks, whatever a crash has left there. Needs no heap.
///
/// `EDGE_REPORT_COURIER_SIZE` bytes of the memory are for the courier, the rest is room for one report.
///
/// Takes the memory until `edge_report_courier_free`; copies the two tables, whose `user` must hold as long; borrows the rest for
/// the call. Any thread. Blocks as long as the device does.
///
/// @param live    where reports wait.
/// @param dead    where dead letters are kept; segments of its own.
/// @param config  NULL: the defaults.
/// @param now_ms  the monotonic clock: milliseconds since any start.
/// @param entropy a random number.
/// @param courier gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE with the device's number; EDGE_REPORT_E_NEWER_FORMAT, and nothing was touched;
///         or what is wrong with the arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_new_storage(
    live: *const edge_report_storage,
    dead: *const edge_report_storage,
    memory: *mut c_void,
    memory_len: usize,
    config: *const edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
    courier: *mut *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(courier, "courier")?;
        let config = unsafe { read_config(config) }?;
        let live = unsafe { Callbacks::new(live, "live") }?;
        let dead = unsafe { Callbacks::new(dead, "dead") }?;
        let mut arena = unsafe { Arena::new(memory, memory_len) }?;
        let fixed = COURIER.saturating_add(room_of::<Callbacks>().saturating_mul(2));
        let room = arena.left().saturating_sub(fixed) & !(ALIGN - 1);
        let parts = (arena.left() >= fixed)
            .then(|| Some((arena.place(live)?, arena.place(dead)?, arena.bytes(room)?)));
        let Some((live, dead, scratch)) = parts.flatten() else {
            return Err(Failure::too_small(fixed.saturating_add(arena.skipped)));
        };
        let handle = unsafe { place(&mut arena, live, dead, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// How much memory a courier takes at the most, beside its room for reports.
#[cfg(target_pointer_width = "64")]
pub const EDGE_REPORT_COURIER_SIZE: usize = 2496;
/// How much memory a courier takes at the most, beside its room for reports.
#[cfg(target_pointer_width = "32")]
pub const EDGE_REPORT_COURIER_SIZE: usize = 1824;

const _: () = {
    assert!(RamPlan::OBJECTS <= EDGE_REPORT_COURIER_SIZE);
    assert!(COURIER + 2 * room_of::<Callbacks>() <= EDGE_REPORT_COURIER_SIZE);
};

/// The handle, and what it leads to.
const COURIER: usize = room_of::<edge_report_courier>() + room_of::<MemoryCourier>();

/// How the memory of a courier in memory is cut.
struct RamPlan {
    scratch: usize,
    segment: usize,
    live: usize,
}

impl RamPlan {
    const DEAD: usize = 2;
    /// With fewer, a full outbox could not drop superseded reports.
    const LEAST_LIVE: usize = 4;
    const OBJECTS: usize = COURIER + 2 * room_of::<Ram>();

    /// A segment that holds a report of this length, its job keys, and what a segment has besides.
    const fn least_segment(report_bytes: usize) -> usize {
        let keys = if report_bytes < 512 {
            report_bytes / 2
        } else {
            256
        };
        let bytes = report_bytes
            .saturating_add(keys)
            .saturating_add(304 + ALIGN);
        bytes & !(ALIGN - 1)
    }

    const fn scratch(report_bytes: usize) -> usize {
        report_bytes.saturating_add(ALIGN - 1) & !(ALIGN - 1)
    }

    /// The least memory, if it is aligned.
    const fn least(report_bytes: usize) -> usize {
        Self::least_segment(report_bytes)
            .saturating_mul(Self::DEAD + Self::LEAST_LIVE)
            .saturating_add(Self::scratch(report_bytes))
            .saturating_add(Self::OBJECTS)
    }

    fn new(memory: usize, report_bytes: usize) -> Option<Self> {
        let scratch = Self::scratch(report_bytes);
        let left = memory.checked_sub(scratch)?.checked_sub(Self::OBJECTS)?;
        let share = (left / (MAX_SEGMENTS + Self::DEAD)) & !(ALIGN - 1);
        let segment = share.max(Self::least_segment(report_bytes));
        let count = left.checked_div(segment)?;
        let live = count.checked_sub(Self::DEAD)?.min(MAX_SEGMENTS);
        (live >= Self::LEAST_LIVE).then_some(RamPlan {
            scratch,
            segment,
            live,
        })
    }
}

/// Opens the outbox on two storages and puts the courier into the arena, which has the room.
///
/// # Safety
/// The arena's memory is the courier's alone until it is freed.
unsafe fn place<S: Storage<Error = DeviceError>>(
    arena: &mut Arena,
    live: &'static mut S,
    dead: &'static mut S,
    scratch: &'static mut [u8],
    config: &edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
) -> Result<*mut edge_report_courier, Failure> {
    let (live, dead): (&mut AnyStorage, &mut AnyStorage) = (live, dead);
    let outbox = MemoryOutbox::open(live, dead, config.durability())?;
    let now = MonoTime(now_ms);
    let courier = Courier::new(outbox, scratch, config.policy(), now, entropy);
    let too_small = || Failure::new(Code::BufferTooSmall);
    let engine = Engine::Memory(arena.place(courier).ok_or_else(too_small)?);
    let handle = arena.place(edge_report_courier::new(engine));
    handle.map(core::ptr::from_mut).ok_or_else(too_small)
}
