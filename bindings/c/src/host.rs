//! What needs std: the spool, and the system's clocks.

use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

use edge_report::courier::Courier;
use edge_report::{MonoTime, Spool, SpoolError, SpoolOptions, WallTime};

use crate::courier::{Engine, edge_report_courier};
use crate::delivery::{edge_report_courier_config, read_config};
use crate::error::{Failure, edge_report_error};
use crate::guard::guard;
use crate::sized::{Room, given};
use crate::storage::Device;
use crate::types::{Output, edge_report_result, edge_report_str};

/// How much room a spool takes. Zeros stand for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_spool_options {
    /// Its size: begin with `EDGE_REPORT_SPOOL_OPTIONS_INIT`.
    pub struct_size: usize,
    /// The most bytes of reports that wait; 16 KiB or more. Default: 64 MiB.
    pub max_bytes: u64,
    /// The bytes of one segment: a 64th to a quarter of `max_bytes`, in steps of 4 KiB. Default: the 64th, but at least 64 KiB
    /// where that is less than the quarter.
    pub segment_bytes: u64,
    /// The most bytes of dead letters; the oldest go first, or see `when_letters_full`. A report that would not fit is not taken. Default:
    /// 16 MiB, which holds the largest report there can be.
    pub dead_letter_bytes: u64,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Makes a courier whose reports wait in a directory: they survive a restart, a kill and a power cut. The directory is made if its
/// parent is there; it is for its owner alone, and one process at a time has it open. One that others may use, that belongs to another
/// user or is a symbolic link is refused; a process forked from the one that opened it gets errors, and does no harm.
///
/// Borrows all arguments for the call. Any thread. Blocks as long as the file system does.
///
/// @param dir     the directory, UTF-8.
/// @param options NULL: the defaults.
/// @param config  NULL: the defaults. Its `report_bytes` does not count here.
/// @param now_ms  the monotonic clock: `edge_report_monotonic_ms()`.
/// @param entropy a random number: `edge_report_random()`.
/// @param courier gives the handle; free it with edge_report_courier_free.
/// @return EDGE_REPORT_OK; EDGE_REPORT_E_SPOOL_IN_USE; EDGE_REPORT_E_SPOOL_DIRECTORY; EDGE_REPORT_E_STORAGE with the system's error number;
///         EDGE_REPORT_E_OTHER_FORMAT; EDGE_REPORT_E_TOO_MANY_SEGMENTS; EDGE_REPORT_E_SPOOL_OPTIONS. What is stored stays as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_report_courier_new_spool(
    dir: edge_report_str,
    options: *const edge_report_spool_options,
    config: *const edge_report_courier_config,
    now_ms: u64,
    entropy: u64,
    courier: *mut *mut edge_report_courier,
    error: *mut edge_report_error,
) -> edge_report_result {
    guard(error, || {
        let out = Output::new(courier, "courier")?;
        let dir = unsafe { dir.required("dir") }?;
        let config = unsafe { read_config(config) }?;
        let mut all = SpoolOptions::default().with_durability(config.durability());
        let room = &mut Room::new();
        if let Some(options) = unsafe { given(options, "options", room) }? {
            let given = |bytes: u64| (bytes != 0).then_some(bytes);
            all.max_bytes = given(options.max_bytes).unwrap_or(all.max_bytes);
            all.segment_bytes = given(options.segment_bytes);
            let dead = given(options.dead_letter_bytes);
            all.dead_letter_bytes = dead.unwrap_or(all.dead_letter_bytes);
        }
        let spool = Spool::open(dir, all)?;
        let now = MonoTime::from_ms(now_ms);
        let engine = Courier::new(spool, Vec::new(), config.policy(), now, entropy);
        let courier = edge_report_courier::new(Engine::Spool(Box::leak(Box::new(engine))));
        out.set(Box::into_raw(Box::new(courier)));
        Ok(())
    })
}

/// The monotonic clock in milliseconds: on Linux since the start of the machine, suspended time included; elsewhere since the first call in
/// this process. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_monotonic_ms() -> u64 {
    MonoTime::now().ms()
}

/// The wall clock: milliseconds since 1970. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_unix_ms() -> i64 {
    WallTime::now().unix_ms()
}

/// A random number for jitter, not for secrets. Any thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn edge_report_random() -> u64 {
    edge_report::courier::entropy()
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        let mut failure = Failure::at(error.code(), "dir");
        if let SpoolError::Io(error) = &error {
            failure.device_error = error.number();
        }
        failure.detail = error.to_string();
        failure
    }
}
