//! A log in segments: the outbox over any storage that can append, sync and discard.
//!
//! What it looks like to the byte, and why each thing survives what, is in docs/log-format.md. The files here, from the ground up:
//!
//! | file | what it knows |
//! |---|---|
//! | `storage` | what a device must be able to do |
//! | `record` | bytes: records, headers of segments |
//! | `segments`, `walk`, `open`, `compact` | one log: append, read past damage, take up after a crash, make room |
//! | `ahead`, `places`, `index` | what is kept in memory about the records |
//! | `live`, `recover` | the reports that wait |
//! | `letters` | the dead letters |
//! | `outbox` | both together |

mod ahead;
mod compact;
mod index;
mod letters;
mod letters_add;
mod letters_forget;
mod letters_room;
mod live;
mod live_durable;
mod live_find;
mod live_room;
mod live_settle;
mod open;
mod outbox;
mod places;
mod record;
mod recover;
mod segments;
mod storage;
mod walk;

pub use live::Durability;
pub use outbox::LogOutbox;
pub use storage::{Storage, StorageLimits};
