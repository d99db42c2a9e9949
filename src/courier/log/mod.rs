//! A log in segments: the outbox over any storage that can append, sync and discard.

mod letters;
mod merge;
mod outbox;
mod record;
mod recover;
mod segments;
mod storage;
mod walk;

pub use outbox::{Durability, LogError, LogOutbox};
pub use storage::Storage;
