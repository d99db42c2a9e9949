//! The module inside of the npm package: functions on bytes and strings, and a courier in memory.
//!
//! What has several parts comes back as JSON text, since `JSON.parse` makes objects faster than calls across the border do.
//! All that is decided here is decided by the core; js/ turns it into objects and errors.
#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

mod answer;
pub mod courier;
pub mod exchange;
pub mod report;
mod request;

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
