//! A log in segments: the outbox over any storage that can append, sync and discard.
//!
//! What it looks like to the byte, and what survives what, is in docs/log-format.md.
//!
//! # The idea
//!
//! Nothing is written twice. What waits is what was appended, less what later records say of it: all up to the *cursor* is settled, and beyond it
//! single tickets and ranges that are settled *ahead*. A [`Checkpoint`](record::Checkpoint) says all of that, with the counters. Everything in one only
//! grows, so recovery takes the greatest of each number, in any order, and as often as it likes: a copy, an older segment that came back and a
//! record that is read twice do no harm.
//!
//! There are two logs, each on a storage of its own. What waits is in the *live* one, dead letters are in *letters*. A letter is durable before its report is
//! settled; after a crash in between both are there, and the letter counts.
//!
//! # The states of a segment
//!
//! ```text
//!   blank ──header──► open ──full──► sealed ──nothing in it is kept──► to be discarded ──► gone
//!                      │               │                                   ▲
//!                      └── compacted ──┴── once the output is durable ─────┘
//!
//!   output:  half-made ──records, commit, one sync──► counts instead of its sources, as a sealed one
//!                │
//!                └── cannot be synced ──► given up: to be discarded, before its sources are
//! ```
//!
//! - One that is *for notes alone* is short, and takes no report. It is made when the device has no room for more.
//! - A *half-made* output that a crash left (`partial`) is kept aside, and the next compaction of the same sources goes on with it.
//! - A *doubted* output counts although it could not be synced at the start, since a source of it is gone. What else it stands for stays as long as it.
//! - What was *given up* and cannot be discarded may still be believed by the next start. So its sources are sealed, and whatever takes their
//!   place stands for it, too.
//! - After a failed sync what it was to make durable is written anew, into another segment: a second sync would prove nothing.
//!
//! # The states of a record
//!
//! A report is *cut* if its write did not end: its checksum is wrong, and the next record has the same count. It is *whole*, then *durable* with the next
//! sync, and only then acknowledged. It *waits* until something says that it is *settled*. It may be *superseded* meanwhile: its bytes count as free, and a
//! compaction leaves it out and counts it. A letter is likewise cut, *unconfirmed* while no sync of it has succeeded, and then there until it is *forgotten*.
//!
//! # One walk
//!
//! Reports 1, 2 and 3 are appended to segment 1, each with a sync. Report 2 is delivered first: a record says "2, delivered", and it is settled ahead. Then 1
//! is: the record says that it was the oldest, so the cursor is 2. Segment 1 is full, and 4 begins segment 2, whose header is a checkpoint with
//! the cursor 2. When 3 is delivered the cursor passes the end of segment 1: that is made durable in segment 2, and segment 1 is discarded.
//!
//! Had 3 stayed when room was short, segment 1 would have been compacted: segment 3 is made, names 1 as its source, gets a copy of report 3 and a
//! commit, is synced, takes the place of 1 in the list, and 1 is discarded. A power cut before the sync leaves segment 3 half-made beside 1,
//! and 1 counts; one after it leaves both, and the commit says that 3 counts.
//!
//! # The files, from the ground up
//!
//! | file | what it knows |
//! |---|---|
//! | `storage` | what a device must be able to do |
//! | `record` | bytes: records, headers of segments |
//! | `segments`, `discard`, `walk`, `compact`, `open`, `outputs` | one log: append, let go, read past damage, write anew what is kept, take up after a crash |
//! | `ahead`, `places`, `index` | what is kept in memory about the records |
//! | `live`, `live_find`, `live_settle`, `live_durable`, `live_room`, `recover` | the reports that wait |
//! | `letters`, `letters_add`, `letters_forget`, `letters_room` | the dead letters |
//! | `outbox` | both together |

mod ahead;
mod compact;
mod discard;
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
mod outputs;
mod places;
mod record;
mod recover;
mod segments;
mod storage;
mod walk;

pub use live::Durability;
pub use outbox::LogOutbox;
pub use storage::{Storage, StorageLimits};
