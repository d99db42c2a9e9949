//! The C face of edge-report. Its documentation is `include/edge_report.h`, which cbindgen makes from the comments here.
//!
//! Functions translate types and ownership, and decide nothing: what they do is said in the core.
#![no_std]
// C's names.
#![allow(non_camel_case_types)]
// What callers owe is said once for all functions, at the top of the header.
#![allow(clippy::missing_safety_doc)]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "most blocks only take what the caller lends, as the header says once; those that rest on more say so"
)]

#[cfg(feature = "full")]
extern crate std;

mod guard;
mod layout;
mod sized;

// In the order of the header.

pub mod version;

pub mod types;

pub mod error;

pub mod report;

pub mod writer;

pub mod request;

pub mod reply;

pub mod storage;

pub mod delivery;

pub mod memory;

pub mod courier;

pub mod flink;

pub mod watch;

#[cfg(feature = "full")]
pub mod host;

#[cfg(feature = "_http")]
pub mod client_settings;

#[cfg(feature = "_http")]
pub mod client;

#[cfg(feature = "_http")]
pub mod client_deliver;

#[cfg(feature = "_http")]
pub mod event;

#[cfg(feature = "_http")]
pub mod reporter;

#[cfg(all(feature = "full", feature = "test-panic"))]
pub mod test_panic;

/// The bare build has no panic that could be reached: should one come in, the library does not link, for want of this function.
/// Builds that are not optimised have some; for these there is the feature `panic-handler`, which stops where it is.
#[cfg(not(feature = "full"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "panic-handler")]
    loop {
        core::hint::spin_loop();
    }
    #[cfg(not(feature = "panic-handler"))]
    {
        unsafe extern "C" {
            safe fn a_panic_is_reachable_in_edge_report() -> !;
        }
        a_panic_is_reachable_in_edge_report()
    }
}
