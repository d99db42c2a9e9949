//! Random numbers for jitter, where there is a system to ask.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A random number for `entropy` arguments. For jitter, not for secrets.
pub fn entropy() -> u64 {
    // Keyed anew each time by the operating system's random numbers.
    RandomState::new().build_hasher().finish()
}
