//! What a Flink cluster says of its jobs, and what to report of it, without I/O.
//!
//! Two layers. *Readers* make sense of single responses of Flink's REST API, of any version from 1.10 on: [`Overview`], [`Details`], [`Failure`], [`Metrics`],
//! [`read_plan`]. They borrow from the body; a body that is cut, huge or something else is a [`ReadError`] with its place, unknown members do not matter. [`Watch`]
//! is an engine over them, driven by pulling like a [`Courier`](crate::courier::Courier):
//!
//! 1. [`Watch::next`] says what to do: ask Flink for a path, store a report, or wait. Asked again it says the same.
//! 2. [`Watch::response`] takes what came back, [`Watch::failed`] that nothing did; [`Watch::reported`] takes whether a report was stored.
//!
//! ```text
//!                    ┌───────────── every 5 s ─────────────┐
//!                    ▼                                     │
//!  Get(overview) ──► phases ──► whose turn? ──► Get(details …) ──► Report ──► Wait
//!                                   ▲                                │
//!                                   └─────── reported(true) ─────────┘
//! ```
//!
//! # What it holds to
//!
//! - **A change is reported**, and a job that goes on as it was again after a minute, with metrics. Up to [`MAX_JOBS`] go into one report.
//! - **An end is reported once**, in a report of its own with the same bytes each time: its content is what Flink keeps of the ended job, its message id
//!   derives from job, state and time. It waits until Flink's cache has aged ([`Options::cache_ms`]), so that exceptions are those of this end. With
//!   [`Watch::save`] and [`Watch::restore`] that holds over restarts, too; without, a receiver knows the repeat by its message id.
//! - **Silence is no end.** A cluster that does not answer, starts anew or lists nothing leaves all jobs as they were; they are only not reported again.
//! - **Flink is asked at most [`Options::requests`] times** from one overview to the next. A status never waits for a request that is not free: only heartbeats do, for
//!   half their interval, and ends.
//! - **Memory is the caller's**: a table of [`Slot`]s, and a buffer for the texts of one report.
//!
//! How states become statuses stands in [`State`] and in docs/flink.md, what a change is in `cluster`, who leaves a full table in `table`.
//!
//! # One walk
//!
//! ```
//! use edge_report::flink::{Options, Slot, Step, Watch};
//! use edge_report::{Encode, MonoTime};
//!
//! let at = MonoTime::from_ms; // by your clock
//! let mut watch = Watch::new([Slot::EMPTY; 16], [0; 4096], Options::default().with_node("node-7"));
//!
//! let Step::Get(path) = watch.next(at(0)) else { panic!("it begins with a question") };
//! assert_eq!(path, "/jobs/overview"); // ask it of Flink …
//! watch.response(200, br#"{"jobs":[{"jid":"000000000000000000000000000183c6","name":"edge","state":"FAILED",
//!   "start-time":1795401196385,"end-time":1795401197594}]}"#, at(1))?;
//!
//! // What Flink knows of a job may be 3 s old, from before it failed.
//! assert!(matches!(watch.next(at(1)), Step::Wait(until) if until == at(3001)));
//! assert!(matches!(watch.next(at(3001)), Step::Get("/jobs/000000000000000000000000000183c6")));
//! watch.response(200, br#"{"jid":"000000000000000000000000000183c6","state":"FAILED","timestamps":{"RUNNING":1795401196405}}"#, at(3002))?;
//! let Step::Get(path) = watch.next(at(3002)) else { panic!("it needs the exception") };
//! assert_eq!(path, "/jobs/000000000000000000000000000183c6/exceptions?maxExceptions=1");
//! watch.response(200, br#"{"root-exception":"java.lang.IllegalStateException: out of range\n\tat Edge.map(Edge.java:17)"}"#, at(3003))?;
//!
//! let Step::Report(draft) = watch.next(at(3003)) else { panic!("it has all") };
//! assert_eq!(draft.message_id, "node-7-000000000000000000000000000183c6-FAILED-1795401197594");
//! let mut bytes = Vec::new(); // into a courier's `submit`, say
//! draft.report().encode_into(&mut bytes)?;
//! let text = String::from_utf8(bytes)?;
//! assert!(text.starts_with(r#"{"jobs":[{"job_id":99270,"status":"job_running_exception","create_time":1795401196385,"#));
//! assert!(text.contains(r#""error_cause":"java.lang.IllegalStateException: out of range""#));
//! watch.reported(true);
//!
//! // It is stored: so is the table, and the end is not reported again.
//! let mut kept = vec![0; watch.saved_len()];
//! let len = watch.save(&mut kept)?;
//! assert!(matches!(watch.next(at(3004)), Step::Wait(until) if until == at(5001)));
//! let mut next_time = Watch::new([Slot::EMPTY; 16], [0; 4096], Options::default().with_node("node-7"));
//! next_time.restore(&kept[..len], at(0))?;
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod ask;
mod cluster;
mod details;
mod draft;
mod engine;
mod failure;
mod jid;
mod kept;
mod making;
mod metrics;
mod options;
mod overview;
mod read;
mod state;
mod steps;
mod table;
mod turn;
mod watch;

pub use details::{Details, read_plan};
pub use draft::{Draft, DraftJobs, MAX_JOBS};
pub use failure::{Failure, MAX_CAUSE};
pub use jid::{Jid, JidHex, job_id};
pub use kept::NotKept;
pub use metrics::{Metric, Metrics, MetricsIter};
pub use options::{ExceptionsAs, MappedJob, Options, OtherIds, Plan};
pub use overview::{Overview, OverviewJob, OverviewJobs};
pub use read::ReadError;
pub use state::State;
pub use steps::{ResponseError, Step};
pub use table::Slot;
pub use watch::{Watch, WatchStatus};
