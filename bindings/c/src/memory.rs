//! Couriers in the caller's memory: how it is cut, and what they stand on.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use edge_report::courier::{Courier, Durability, LogOutbox, RamOutbox};
use edge_report::{Code, MonoTime};

use crate::courier::{AnyOutbox, Engine, MemoryCourier, edge_report_courier};
use crate::delivery::{edge_report_courier_config, read_config};
use crate::error::{Failure, edge_report_error};
use crate::guard::guard;
use crate::storage::{
    ALIGN, Arena, Callbacks, DeviceError, MAX_SEGMENTS, edge_report_storage, room_of,
};
use crate::types::{Output, edge_report_result};

/// Makes a courier whose reports wait in the caller's memory: they are lost with it. The bare build needs no heap; the full one keeps an
/// index of the jobs there, once the memory was full.
///
/// `EDGE_REPORT_COURIER_RAM(report_bytes)` is always enough, and little more than the minimum: the courier, room for one report of
/// `report_bytes`, and for four that wait or are dead letters. All memory beyond that is room for more of them.
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
        let needed = least_ram(config.report_bytes);
        let room = arena.left().checked_sub(needed).and_then(|more| {
            let scratch = arena.bytes(config.report_bytes)?;
            // All that is left but for what is placed after it.
            let reports =
                arena.bytes(reports_of(config.report_bytes).checked_add(more)? & !(ALIGN - 1))?;
            Some((scratch, reports))
        });
        let Some((scratch, reports)) = room else {
            return Err(Failure::too_small(needed.saturating_add(arena.skipped)));
        };
        let capacity = reports.len();
        let outbox = arena
            .place(Ram::with_error_type(reports, capacity))
            .map(|outbox| outbox as &mut AnyOutbox);
        let handle = unsafe { place(&mut arena, outbox, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// Makes a courier whose reports wait on a device behind callbacks, whatever a crash has left there. The bare build needs no heap; the full one
/// keeps indexes of reports, jobs and letters there.
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
/// @param entropy a random number, best one of all 64 bits: it also names a new storage, so that segments of another are told apart.
/// @param courier gives the handle, which is in the memory.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE with the device's number; EDGE_REPORT_E_OTHER_FORMAT, and nothing was touched;
///         EDGE_REPORT_E_TOO_MANY_SEGMENTS; or what is wrong with the arguments: `path` names the member, such as `live.create`.
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
        let fixed = COURIER.saturating_add(room_of::<Log>());
        let room = arena.left().saturating_sub(fixed) & !(ALIGN - 1);
        let scratch = (arena.left() >= fixed).then(|| arena.bytes(room)).flatten();
        let Some(scratch) = scratch else {
            return Err(Failure::too_small(fixed.saturating_add(arena.skipped)));
        };
        let outbox = arena.room().ok_or(Failure::new(Code::BufferTooSmall))?;
        let outbox = open_log(outbox, live, dead, config.durability(), entropy)?;
        let outbox = Some(outbox as &mut AnyOutbox);
        let handle = unsafe { place(&mut arena, outbox, scratch, &config, now_ms, entropy) }?;
        out.set(handle);
        Ok(())
    })
}

/// How much memory a courier over callbacks takes at the most, beside its room for reports.
#[cfg(feature = "full")]
pub const EDGE_REPORT_COURIER_SIZE: usize = 16384;
/// How much memory a courier over callbacks takes at the most, beside its room for reports.
#[cfg(all(not(feature = "full"), target_pointer_width = "64"))]
pub const EDGE_REPORT_COURIER_SIZE: usize = 7168;
/// How much memory a courier over callbacks takes at the most, beside its room for reports.
#[cfg(all(not(feature = "full"), target_pointer_width = "32"))]
pub const EDGE_REPORT_COURIER_SIZE: usize = 6400;
/// How much memory a courier in memory takes at the most, beside five times the length of a report.
#[cfg(feature = "full")]
pub const EDGE_REPORT_COURIER_RAM_SIZE: usize = 8192;
/// How much memory a courier in memory takes at the most, beside five times the length of a report.
#[cfg(all(not(feature = "full"), target_pointer_width = "64"))]
pub const EDGE_REPORT_COURIER_RAM_SIZE: usize = 3136;
/// How much memory a courier in memory takes at the most, beside five times the length of a report.
#[cfg(all(not(feature = "full"), target_pointer_width = "32"))]
pub const EDGE_REPORT_COURIER_RAM_SIZE: usize = 3008;

const _: () = {
    assert!(COURIER + room_of::<Log>() <= EDGE_REPORT_COURIER_SIZE);
    // Wherever it begins, however long a report is.
    assert!(least_ram(1) + 2 * (ALIGN - 1) <= EDGE_REPORT_COURIER_RAM_SIZE + 5);
};

type Ram = RamOutbox<&'static mut [u8], DeviceError>;
type Log = LogOutbox<Callbacks, Callbacks, MAX_SEGMENTS>;

/// The handle, and what it leads to.
const COURIER: usize = room_of::<edge_report_courier>() + room_of::<MemoryCourier>();

/// So many reports of the greatest length: one in flight, one that waits, one to come, one dead letter.
const REPORTS: usize = 4;

/// What an outbox in memory has at the least. With 16 jobs, a report takes 166 bytes more than its own.
const fn reports_of(report_bytes: usize) -> usize {
    report_bytes.saturating_add(168).saturating_mul(REPORTS)
}

/// The least memory, if it is aligned.
const fn least_ram(report_bytes: usize) -> usize {
    let scratch = report_bytes.saturating_add(ALIGN - 1) & !(ALIGN - 1);
    reports_of(report_bytes)
        .saturating_add(scratch)
        .saturating_add(COURIER)
        .saturating_add(room_of::<Ram>())
        .saturating_add(ALIGN - 1)
        & !(ALIGN - 1)
}

/// Opens the log where it is to stay: there is none of it on the stack.
#[inline(never)]
fn open_log(
    place: &'static mut MaybeUninit<Log>,
    live: Callbacks,
    dead: Callbacks,
    durability: Durability,
    entropy: u64,
) -> Result<&'static mut Log, Failure> {
    #[inline(never)]
    fn make(
        place: &mut MaybeUninit<Log>,
        live: Callbacks,
        dead: Callbacks,
        durability: Durability,
    ) {
        place.write(Log::unopened(live, dead, durability));
    }
    make(place, live, dead, durability);
    // SAFETY: `make` has written it.
    let log = unsafe { place.assume_init_mut() };
    if let Err(error) = log.reopen(entropy) {
        // What it has on the heap by now.
        // SAFETY: it is initialised, and nobody uses it after this.
        unsafe { core::ptr::drop_in_place(log) };
        return Err(error.into());
    }
    Ok(log)
}

/// Puts the courier into the arena, which has the room.
///
/// # Safety
/// The arena's memory is the courier's alone until it is freed.
unsafe fn place(
    arena: &mut Arena,
    outbox: Option<&'static mut AnyOutbox>,
    scratch: &'static mut [u8],
    config: &edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
) -> Result<*mut edge_report_courier, Failure> {
    let too_small = || Failure::new(Code::BufferTooSmall);
    let outbox = outbox.ok_or_else(too_small)?;
    let courier = Courier::new(
        outbox,
        scratch,
        config.policy(),
        MonoTime::from_ms(now_ms),
        entropy,
    );
    let engine = Engine::Memory(arena.place(courier).ok_or_else(too_small)?);
    let handle = arena.place(edge_report_courier::new(engine));
    handle.map(core::ptr::from_mut).ok_or_else(too_small)
}
