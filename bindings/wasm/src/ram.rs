//! The outbox in memory.

use alloc::vec::Vec;

use edge_report::courier::{Courier as Engine, RamOutbox};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::courier::{Courier, mono, read_policy};

pub(crate) type Kept = RamOutbox<Vec<u8>>;

/// The least outbox.
const LEAST: usize = 16 * 1024;

#[wasm_bindgen]
impl Courier {
    /// With room for `capacity` bytes of reports and dead letters, taken as it is needed. `None` if the policy has a member that it
    /// cannot have, or the capacity is too small.
    pub fn open(capacity: f64, policy: &str, now_ms: f64, entropy: u64) -> Option<Courier> {
        let capacity = capacity as usize;
        let policy = read_policy(policy).ok()?;
        if capacity < LEAST {
            return None;
        }
        let outbox = RamOutbox::new(Vec::new(), capacity);
        let engine = Engine::new(outbox, Vec::new(), policy, mono(now_ms), entropy);
        Some(Courier(engine))
    }
}
