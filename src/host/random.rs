//! Random numbers for jitter.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A random number for jitter, not for secrets.
pub fn random() -> u64 {
    // Keyed anew each time by the operating system's random numbers.
    RandomState::new().build_hasher().finish()
}
