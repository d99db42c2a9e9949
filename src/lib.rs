//! Front page to come.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod code;
pub mod exchange;
pub mod json;
pub mod report;
mod split;
mod time;

pub use code::{Code, Severity};
pub use report::*;
pub use time::{Stamp, WallTime};
