//! What can be chosen of a watch, and why the defaults are what they are.

/// How a [`Watch`](super::Watch) asks and reports. Made by `default()`, then set.
///
/// Spans are milliseconds. All texts are the caller's, so that nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options<'o> {
    /// From an overview's response to the next overview: 5 s ([`POLL_MS`](Self::POLL_MS)); less than 100 ms is 100 ms.
    pub poll_ms: u64,
    /// How many requests go to Flink in that time at the most, the overview included: 20 ([`REQUESTS`](Self::REQUESTS)); less than 4 is 4.
    pub requests: u16,
    /// A job that goes on as it was is reported again after a minute ([`HEARTBEAT_MS`](Self::HEARTBEAT_MS)); 0: never. Less than
    /// `poll_ms` is as much as that.
    pub heartbeat_ms: u64,
    /// Details are asked for when a change is this old: 3 s ([`CACHE_MS`](Self::CACHE_MS)).
    pub cache_ms: u64,
    /// A job that had an exception is running again when nothing has happened to it for 10 s ([`STEADY_MS`](Self::STEADY_MS)).
    pub steady_ms: u64,
    /// How many bytes of a stack trace are reported: 2,048 ([`EXCEPTION_BYTES`](Self::EXCEPTION_BYTES)).
    pub exception_bytes: usize,
    /// The metrics of a job, separated by commas: [`METRICS`](Self::METRICS). Of more than 400 bytes the rest is left out; empty: no metrics at all.
    pub metrics: &'o str,
    /// When a job's plan is reported.
    pub plan: Plan,
    /// Whether exceptions are an object or a string, see [`Exceptions`](crate::Exceptions).
    pub exceptions: ExceptionsAs,
    /// Which `job_id` stands for which job of Flink's.
    pub mapped: &'o [MappedJob<'o>],
    /// The `job_id` of those that are not mapped, and whose id is no integer either.
    pub other_ids: OtherIds,
    /// What message ids begin with: `flink`. Of more than 64 bytes the rest is left out. Where several nodes report to one project, give each its own.
    pub node: &'o str,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options::DEFAULT
    }
}

impl Options<'static> {
    /// The defaults, for constants.
    pub const DEFAULT: Self = Options {
        poll_ms: Self::POLL_MS,
        requests: Self::REQUESTS,
        heartbeat_ms: Self::HEARTBEAT_MS,
        cache_ms: Self::CACHE_MS,
        steady_ms: Self::STEADY_MS,
        exception_bytes: Self::EXCEPTION_BYTES,
        metrics: Self::METRICS,
        plan: Plan::WhenNew,
        exceptions: ExceptionsAs::Object,
        mapped: &[],
        other_ids: OtherIds::Hash63,
        node: Self::NODE,
    };

    /// Short enough that people see what they did, and a job manager spends about 1 ms on a request.
    pub const POLL_MS: u64 = 5_000;
    /// Four a second. 1 for the overview, 2 for a job that failed, 3 for a heartbeat with everything.
    pub const REQUESTS: u16 = 20;
    /// Receivers call a job lost after some minutes.
    pub const HEARTBEAT_MS: u64 = 60_000;
    /// Flink keeps what it says of a job for `web.refresh-interval`, 3 s by default. Right after a failure that is the state before it.
    pub const CACHE_MS: u64 = 3_000;
    /// Longer than the usual delays between restarts, so that a job that fails again and again is not running in between.
    pub const STEADY_MS: u64 = 10_000;
    /// A user's own frames stand at the top.
    pub const EXCEPTION_BYTES: usize = 2_048;
    /// What tells whether a job is well: that it goes on, starts again, and keeps its checkpoints.
    pub const METRICS: &'static str = "uptime,downtime,numRestarts,totalNumberOfCheckpoints,numberOfCompletedCheckpoints,numberOfFailedCheckpoints,lastCheckpointDuration,lastCheckpointSize";
    /// See [`node`](Self::node).
    pub const NODE: &'static str = "flink";
}

macro_rules! setters {
    ($($setter:ident $field:ident: $type:ty;)*) => {
        impl<'o> Options<'o> {
            $(
                #[doc = concat!("With [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub const fn $setter(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_poll_ms poll_ms: u64;
    with_requests requests: u16;
    with_heartbeat_ms heartbeat_ms: u64;
    with_cache_ms cache_ms: u64;
    with_steady_ms steady_ms: u64;
    with_exception_bytes exception_bytes: usize;
    with_metrics metrics: &'o str;
    with_plan plan: Plan;
    with_exceptions exceptions: ExceptionsAs;
    with_mapped mapped: &'o [MappedJob<'o>];
    with_other_ids other_ids: OtherIds;
    with_node node: &'o str;
}

/// When a job's plan is reported: it has 2 to 60 KB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// Never.
    Never,
    /// Once, when the job runs, and again when it has changed. Not with a final status, whose bytes depend on nothing that was reported before.
    #[default]
    WhenNew,
    /// With each report that has details of the job, the final one included. For receivers and backlogs that keep only the latest report of a job.
    Always,
}

/// The form of exceptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExceptionsAs {
    /// `error_id`, `error_type`, `error_cause`, `exception`, `error_time`.
    #[default]
    Object,
    /// The text of the exception alone.
    Text,
}

/// A `job_id` given by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedJob<'o> {
    /// The job's name in Flink, or its id in 32 hex digits.
    pub job: &'o str,
    /// What it is reported as. 0 or less: without an id.
    pub job_id: i64,
}

/// What becomes of an id that is no integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherIds {
    /// A hash of it, of 63 bits.
    #[default]
    Hash63,
    /// A hash of it, of 31 bits, for receivers that read no more. So is an integer of more bits.
    Hash31,
    /// None: no report of that job supersedes another.
    None,
}
