//! Ends waits from another thread.
//!
//! Whoever waits, for a socket or for a time, waits by `poll` for the *ear* of a pair of sockets as well; ringing writes a byte into the other
//! end. What is meant stands in two flags, so that no ring is lost: it is set before the byte is written, and looked at before the wait.

use std::format;
use std::io::{self, Read, Write};
#[cfg(not(unix))]
use std::net::{TcpListener, TcpStream as End};
#[cfg(unix)]
use std::os::unix::net::UnixStream as End;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::send_error::BuildError;
use crate::code::Code;
use crate::time::MonoTime;

/// How long a sleep lasts at the most before the clock is looked at again: what waits by `poll` does not count the time that the
/// machine was suspended.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// When something ends, the time included that the machine is suspended from now on. std's clock stands still meanwhile (Linux).
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    until: Instant,
    at: MonoTime,
}

impl Deadline {
    pub(super) fn at(until: Instant) -> Self {
        let left = until.saturating_duration_since(Instant::now());
        // Not before: these are whole milliseconds.
        let at = MonoTime::now().plus(left).plus_ms(2);
        Deadline { until, at }
    }

    pub(super) fn left(self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.min(self.at.since(MonoTime::now()))
    }
}

/// Wakes a [`Client`](super::Client) that delivers or waits, from any thread. Clones wake the same client.
///
/// ```no_run
/// use std::time::Duration;
///
/// use edge_report::Client;
///
/// let mut client = Client::builder("https://gateway.example", "0a1b2c").build()?;
/// let waker = client.waker();
/// std::thread::spawn(move || {
///     std::thread::sleep(Duration::from_secs(3600));
///     waker.cancel();
/// });
/// // Until then.
/// client.wait(None);
/// # Ok::<(), edge_report::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Waker(pub(super) Arc<Bell>);

impl Waker {
    /// Something was submitted, or [`Courier::wake`](crate::courier::Courier::wake) was called: a delivery that sleeps looks again at once, a
    /// [`wait`](super::Client::wait) returns. If none does, the next one begins that way. An attempt that is being made goes on; whether
    /// what comes after it waits, [`Courier::wake`](crate::courier::Courier::wake) says. Does not block.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::SeqCst);
        self.0.ring();
    }

    /// Ends the call that runs, within 100 ms, whatever it waits for of the network or the time: a send as not sent or as perhaps arrived,
    /// a delivery with [`Pause::Cancelled`](super::Pause). A delivery that is in its outbox, or waits for a courier that another thread
    /// has locked, ends right after: a slow disk may take long. If none runs, the next one ends at once. Does not block.
    ///
    /// The report that was being delivered stays in flight: the next delivery begins with it, under the same `message_id`, since it may have
    /// arrived. What was cancelled is no failure, and counts as no attempt ([`max_attempts`](crate::courier::Policy::max_attempts)); but a 401
    /// that had begun to come is one, and holds.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.ring();
    }

    /// Ends a delivery, but not within an attempt: after the one that it is at, or when it would wait.
    pub(super) fn leave(&self) {
        self.0.leaving.store(true, Ordering::SeqCst);
        self.wake();
    }
}

/// What a client and its sockets know of the [`Waker`].
#[derive(Debug)]
pub(super) struct Bell {
    woken: AtomicBool,
    cancelled: AtomicBool,
    leaving: AtomicBool,
    rope: End,
    ear: End,
}

impl Bell {
    pub(super) fn new() -> Result<Self, BuildError> {
        let ends = pair().and_then(|(rope, ear)| {
            rope.set_nonblocking(true)?;
            ear.set_nonblocking(true)?;
            Ok((rope, ear))
        });
        let (rope, ear) = ends.map_err(|error| {
            BuildError::new(
                Code::NotSent,
                format!("no descriptor to be woken by: {error}"),
            )
        })?;
        Ok(Bell {
            woken: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            rope,
            ear,
        })
    }

    fn ring(&self) {
        // One that is full rings already.
        let _ = (&self.rope).write(&[1]);
    }

    fn silence(&self) {
        let mut heard = [0; 64];
        while matches!((&self.ear).read(&mut heard), Ok(n) if n == heard.len()) {}
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether it was, until now.
    pub(super) fn take_cancelled(&self) -> bool {
        self.cancelled.swap(false, Ordering::SeqCst)
    }

    /// Whether [`Waker::leave`] was called, until now.
    pub(super) fn take_leaving(&self) -> bool {
        self.leaving.swap(false, Ordering::SeqCst)
    }

    /// What was meant for a call that is over ends none that comes.
    pub(super) fn forget_ends(&self) {
        self.take_cancelled();
        self.take_leaving();
    }

    /// Waits for a socket: what it is ready for; `None` when the time is over, or for nothing. An error when it is cancelled, also if
    /// it was before, and another wait has heard the bell.
    pub(super) fn wait_for(
        &self,
        socket: &impl rustix::fd::AsFd,
        events: PollFlags,
        left: Duration,
    ) -> io::Result<Option<PollFlags>> {
        if self.is_cancelled() {
            return Err(cancelled());
        }
        let left = Timespec::try_from(left).ok();
        let mut ready = [
            PollFd::new(socket, events),
            PollFd::new(&self.ear, PollFlags::IN),
        ];
        match poll(&mut ready, left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let [socket, ear] = ready.map(|ready| ready.revents());
        if !ear.is_empty() {
            self.silence();
            if self.is_cancelled() {
                return Err(cancelled());
            }
        }
        Ok((!socket.is_empty()).then_some(socket))
    }

    /// Sleeps until it is woken or cancelled, or a minute or this long.
    pub(super) fn doze(&self, longest: Duration) {
        self.sleep(Some(longest.min(LONGEST_SLEEP)));
    }

    /// Sleeps until it is woken or cancelled, or the time is over.
    pub(super) fn sleep(&self, longest: Option<Duration>) {
        let end = longest.and_then(|longest| Instant::now().checked_add(longest));
        let end = end.map(Deadline::at);
        loop {
            if self.woken.swap(false, Ordering::SeqCst) || self.is_cancelled() {
                return;
            }
            let left = end.map(Deadline::left);
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let left = left.and_then(|left| Timespec::try_from(left.min(LONGEST_SLEEP)).ok());
            let mut ear = [PollFd::new(&self.ear, PollFlags::IN)];
            match poll(&mut ear, left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.silence(),
                // Nobody can be heard any more; better than a loop without a pause.
                Err(_) => return std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}

/// The error of what was cancelled.
pub(super) fn cancelled() -> io::Error {
    io::Error::other("cancelled")
}

#[cfg(unix)]
fn pair() -> io::Result<(End, End)> {
    End::pair()
}

#[cfg(not(unix))]
fn pair() -> io::Result<(End, End)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let rope = End::connect(listener.local_addr()?)?;
    loop {
        let (ear, from) = listener.accept()?;
        if from == rope.local_addr()? {
            return Ok((rope, ear));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One wait hears the bell, and there may be another before the call ends.
    #[test]
    fn what_was_cancelled_waits_no_more() {
        let bell = Arc::new(Bell::new().unwrap());
        Waker(bell.clone()).cancel();
        bell.silence();
        let (silent, _other) = pair().unwrap();
        let minute = Duration::from_secs(60);
        let waited = bell.wait_for(&silent, PollFlags::IN, minute);
        assert!(waited.is_err());
    }
}
