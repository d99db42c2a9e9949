//! No panic crosses the border: it becomes a code, and poisons its handle.

use core::sync::atomic::{AtomicU32, Ordering};

use edge_report::Code;

use crate::error::{Failure, edge_report_error};
use crate::sized::Growing;
use crate::types::{OK, edge_report_result};

/// Runs the body of a function, and says how it went: by the result, and in `error` unless that is NULL.
pub(crate) fn guard(
    error: *mut edge_report_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> edge_report_result {
    let wrong = size_of_error(error);
    if wrong != OK {
        return wrong;
    }
    match catch(body) {
        Ok(()) => OK,
        Err(failure) => tell(error, &failure),
    }
}

/// What is wrong with the size of an error. One that is not there, or cannot be written, is left alone.
#[inline(never)] // once, not in each function
fn size_of_error(error: *mut edge_report_error) -> edge_report_result {
    // SAFETY: not NULL, aligned, and the caller's place for one.
    if can_be_told(error) && !edge_report_error::KIND.can_have(unsafe { (*error).struct_size }) {
        return tell(error, &edge_report_error::KIND.wrong_size("error".into()));
    }
    OK
}

fn can_be_told(error: *const edge_report_error) -> bool {
    !error.is_null() && error.is_aligned()
}

#[inline(never)] // once, not in each function
fn tell(error: *mut edge_report_error, failure: &Failure) -> edge_report_result {
    if can_be_told(error) {
        // SAFETY: not NULL, aligned, and the caller's place for one.
        unsafe { failure.write(error) }
    }
    number(failure.code)
}

pub(crate) const fn number(code: Code) -> edge_report_result {
    code.number() as edge_report_result
}

#[cfg(feature = "full")]
pub(crate) fn catch<R>(body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    use std::boxed::Box;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
    use std::string::String;
    use std::sync::Once;

    // A library prints nothing. The hook is that of this library's own copy of std.
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| set_hook(Box::new(|_| {})));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let mut failure = Failure::new(Code::Internal);
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        failure.detail = text.unwrap_or_default().into();
        Err(failure)
    })
}

/// The bare build has no panic that could be reached.
#[cfg(not(feature = "full"))]
pub(crate) fn catch<R>(body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    body()
}

/// Whether a handle can be used. What was never initialised, or was freed in memory that is still there, is told apart on a best
/// effort: its first word is none of these.
#[repr(transparent)]
pub(crate) struct State(AtomicU32);

impl State {
    const READY: u32 = 0xed9e_0001;
    const POISONED: u32 = 0xed9e_0002;
    const ENDED: u32 = 0xed9e_0003;
    const IN_USE: u32 = 0xed9e_0004;

    pub(crate) const fn ready() -> Self {
        State(AtomicU32::new(Self::READY))
    }

    pub(crate) fn check(&self, name: &'static str) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            Self::READY => Ok(()),
            Self::POISONED => Err(Failure::at(Code::Poisoned, name)),
            Self::IN_USE => Err(Failure::at(Code::InUse, name)),
            _ => Err(Failure::at(Code::NotUsable, name)),
        }
    }

    pub(crate) fn end(&self) {
        self.0.store(Self::ENDED, Ordering::Relaxed);
    }

    /// Runs `body`, and refuses others meanwhile: those that a callback makes, and, as far as that can be seen, those of other threads. A
    /// panic in it makes the handle unusable.
    pub(crate) fn run<R>(
        &self,
        name: &'static str,
        body: impl FnOnce() -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.check(name)?;
        self.0.store(Self::IN_USE, Ordering::Relaxed);
        let result = catch(body);
        self.0.store(
            match &result {
                Err(failure) if failure.code == Code::Internal => Self::POISONED,
                _ => Self::READY,
            },
            Ordering::Relaxed,
        );
        result
    }

    /// The same for a handle that threads share: it refuses nobody.
    #[cfg(feature = "_http")]
    pub(crate) fn run_shared<R>(
        &self,
        body: impl FnOnce() -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let result = catch(body);
        if let Err(failure) = &result
            && failure.code == Code::Internal
        {
            self.0.store(Self::POISONED, Ordering::Relaxed);
        }
        result
    }

    /// Refuses others as long as the result lives; a panic meanwhile makes the handle unusable.
    #[cfg(feature = "_http")]
    pub(crate) fn hold(&self) -> Use<'_> {
        Use(self, self.0.swap(Self::IN_USE, Ordering::Relaxed))
    }
}

/// As long as this lives, a handle is in use.
#[cfg(feature = "_http")]
pub(crate) struct Use<'a>(&'a State, u32);

#[cfg(feature = "_http")]
impl Drop for Use<'_> {
    fn drop(&mut self) {
        let after = match std::thread::panicking() {
            true => State::POISONED,
            false => self.1,
        };
        self.0.0.store(after, Ordering::Relaxed);
    }
}
