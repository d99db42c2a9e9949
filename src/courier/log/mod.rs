//! A log in segments: the outbox over any storage that can append, sync and discard.

mod merge;
mod outbox;
mod ram;
mod record;
mod segments;
mod storage;

pub use outbox::{Durability, LogError, LogOutbox};
pub use ram::{Memory, NoRoom, RamOutbox, RamStorage};
pub use storage::Storage;
