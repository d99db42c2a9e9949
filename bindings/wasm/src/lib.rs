//! The modules inside of the npm package: one with functions on bytes and strings and a courier in memory; with the feature `spool`,
//! one with a courier over storage, and nothing else.
//!
//! What has several parts comes back as JSON text, since `JSON.parse` makes objects faster than calls across the border do.
//! All that is decided here is decided by the core; js/ turns it into objects and errors.
#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

mod answer;
pub mod courier;
#[cfg(not(feature = "spool"))]
pub mod exchange;
#[cfg(not(feature = "spool"))]
pub mod flink;
mod members;
#[cfg_attr(not(feature = "spool"), path = "ram.rs")]
#[cfg_attr(feature = "spool", path = "spool.rs")]
pub mod outbox;
#[cfg(not(feature = "spool"))]
pub mod report;
#[cfg(not(feature = "spool"))]
mod request;

/// JavaScript counts milliseconds as floating point.
pub(crate) fn wall(now_ms: f64) -> edge_report::WallTime {
    edge_report::WallTime::from_unix_ms(now_ms as i64)
}

/// Without std: its panic messages would be a third of the module.
#[cfg(target_family = "wasm")]
mod runtime {
    #[global_allocator]
    static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

    /// A trap: JavaScript gets a `RuntimeError`, and the next call a new instance.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        core::arch::wasm32::unreachable()
    }
}
