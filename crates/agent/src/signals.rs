//! Signals: SIGHUP to read certificates and keys again, SIGTERM and SIGINT to end.

use std::io;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    #[cfg_attr(not(unix), expect(dead_code, reason = "never comes"))]
    Reload,
    #[cfg_attr(not(unix), expect(dead_code, reason = "never comes"))]
    End,
}

pub(crate) use caught::Signals;

#[cfg(unix)]
mod caught {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::runtime::{Builder, Runtime};
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
    use tokio::time::timeout;

    use super::{Duration, Signal, io};

    /// Those that came since it was made.
    pub(crate) struct Signals {
        runtime: Runtime,
        reload: Stream,
        ends: [Stream; 2],
    }

    impl Signals {
        pub(crate) fn catch() -> io::Result<Signals> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let within = runtime.enter();
            let reload = signal(SignalKind::hangup())?;
            let ends = [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ];
            drop(within);
            Ok(Signals {
                runtime,
                reload,
                ends,
            })
        }

        /// The next one, or `None` after this time.
        pub(crate) fn wait(&mut self, longest: Duration) -> Option<Signal> {
            let (reload, ends) = (&mut self.reload, &mut self.ends);
            let next = poll_fn(move |cx| {
                if ends.iter_mut().any(|end| end.poll_recv(cx).is_ready()) {
                    return Poll::Ready(Signal::End);
                }
                reload.poll_recv(cx).map(|_| Signal::Reload)
            });
            self.runtime
                .block_on(async { timeout(longest, next).await.ok() })
        }
    }
}

/// Elsewhere they do what the system does.
#[cfg(not(unix))]
mod caught {
    use super::{Duration, Signal, io};

    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn catch() -> io::Result<Signals> {
            Ok(Signals)
        }

        #[expect(clippy::unused_self, reason = "as with signals")]
        pub(crate) fn wait(&mut self, longest: Duration) -> Option<Signal> {
            std::thread::sleep(longest);
            None
        }
    }
}
