//! Flink's states of a job, and what of them is reported.

use core::fmt;

use crate::json::Text;
use crate::report::JobStatus;

macro_rules! states {
    ($($variant:ident $name:literal;)*) => {
        /// The state of a job, in Flink's words.
        ///
        /// | state | reported as |
        /// |---|---|
        /// | `INITIALIZING`, `CREATED` | `job_submitting`; after `RUNNING`: `job_running_exception` |
        /// | `RUNNING` | `job_running`; after an exception once it is steady |
        /// | `RESTARTING`, `FAILING` | `job_running_exception` |
        /// | `FAILED` | `job_running_exception` if it had ever run, else `job_submit_fail` |
        /// | `CANCELLING`, `CANCELED` | `job_canceling`, `job_cancel_success` |
        /// | `FINISHED` | `job_finish`; `job_cancel_success` if the agent asked for the stop |
        /// | `SUSPENDED`, `RECONCILING`, unknown | as before |
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum State {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A name that this library does not know.
            Unknown = 255,
        }

        impl State {
            const ALL: &'static [State] = &[$(State::$variant),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(State::$variant => $name,)*
                    State::Unknown => "UNKNOWN",
                }
            }
        }
    };
}

states! {
    Initializing "INITIALIZING";
    Created "CREATED";
    Running "RUNNING";
    Failing "FAILING";
    Failed "FAILED";
    Cancelling "CANCELLING";
    Canceled "CANCELED";
    Finished "FINISHED";
    Restarting "RESTARTING";
    Suspended "SUSPENDED";
    Reconciling "RECONCILING";
}

/// How many have a name.
pub(super) const STATES: usize = State::ALL.len();

impl State {
    /// The state of this name, known or not.
    pub fn from_name(name: &str) -> Self {
        Self::find(|known| known == name)
    }

    pub(super) fn from_text(text: Text<'_>) -> Self {
        Self::find(|known| text.is(known))
    }

    fn find(is: impl Fn(&str) -> bool) -> Self {
        let mut all = State::ALL.iter();
        let found = all.find(|state| is(state.name()));
        found.copied().unwrap_or(State::Unknown)
    }

    /// Whether the job has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Failed | State::Canceled | State::Finished)
    }

    pub(super) fn from_number(number: u8) -> Self {
        let found = State::ALL.get(usize::from(number));
        found.copied().unwrap_or(State::Unknown)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is reported of a job, before it is known why it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing yet.
    #[default]
    None = 0,
    Submitting = 1,
    Running = 2,
    /// It failed, and Flink starts it again.
    Trouble = 3,
    Canceling = 4,
    Canceled = 5,
    Finished = 6,
    Failed = 7,
}

impl Phase {
    /// `None` for a state that says nothing new: the last phase stays.
    pub(super) const fn of(state: State) -> Option<Phase> {
        Some(match state {
            State::Initializing | State::Created => Phase::Submitting,
            State::Running => Phase::Running,
            State::Restarting | State::Failing => Phase::Trouble,
            State::Cancelling => Phase::Canceling,
            State::Canceled => Phase::Canceled,
            State::Finished => Phase::Finished,
            State::Failed => Phase::Failed,
            State::Suspended | State::Reconciling | State::Unknown => return None,
        })
    }

    pub(super) const fn is_final(self) -> bool {
        matches!(self, Phase::Canceled | Phase::Finished | Phase::Failed)
    }

    pub(super) const fn from_number(number: u8) -> Option<Phase> {
        Some(match number {
            0 => Phase::None,
            1 => Phase::Submitting,
            2 => Phase::Running,
            3 => Phase::Trouble,
            4 => Phase::Canceling,
            5 => Phase::Canceled,
            6 => Phase::Finished,
            7 => Phase::Failed,
            _ => return None,
        })
    }

    /// The status in the report. `has_run` is whether the job ever got as far as running, `stop_asked` whether the agent itself asked it to stop:
    /// a job that is stopped with a savepoint ends as `FINISHED`.
    pub(super) const fn status(self, has_run: bool, stop_asked: bool) -> JobStatus<'static> {
        match (self, has_run, stop_asked) {
            (Phase::None | Phase::Submitting, _, _) => JobStatus::SUBMITTING,
            (Phase::Running, _, _) => JobStatus::RUNNING,
            (Phase::Trouble, _, _) | (Phase::Failed, true, _) => JobStatus::RUNNING_EXCEPTION,
            (Phase::Failed, false, _) => JobStatus::SUBMIT_FAIL,
            (Phase::Canceling, _, _) => JobStatus::CANCELING,
            (Phase::Canceled, _, _) | (Phase::Finished, _, true) => JobStatus::CANCEL_SUCCESS,
            (Phase::Finished, _, false) => JobStatus::FINISH,
        }
    }
}
