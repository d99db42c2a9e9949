//! Signals: SIGHUP to read keys and certificates again, SIGTERM and SIGINT to end.

use std::io;

pub(super) enum Signal {
    #[cfg_attr(
        not(all(unix, feature = "program")),
        expect(dead_code, reason = "never comes")
    )]
    Reload,
    #[cfg_attr(
        not(all(unix, feature = "program")),
        expect(dead_code, reason = "never comes")
    )]
    End,
}

pub(super) use caught::Signals;

#[cfg(all(unix, feature = "program"))]
mod caught {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::runtime::{Builder, Runtime};
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::{Signal, io};

    /// Those that came since it was made.
    pub(in super::super) struct Signals {
        runtime: Runtime,
        reload: Stream,
        ends: [Stream; 2],
    }

    impl Signals {
        pub(in super::super) fn catch() -> io::Result<Signals> {
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

        pub(in super::super) fn wait(&mut self) -> Signal {
            self.runtime.block_on(poll_fn(|cx| {
                if self.ends.iter_mut().any(|end| end.poll_recv(cx).is_ready()) {
                    return Poll::Ready(Signal::End);
                }
                self.reload.poll_recv(cx).map(|_| Signal::Reload)
            }))
        }
    }
}

/// Without the feature `program` they do what the system does.
#[cfg(not(all(unix, feature = "program")))]
mod caught {
    use super::{Signal, io};

    pub(in super::super) struct Signals;

    impl Signals {
        pub(in super::super) fn catch() -> io::Result<Signals> {
            Ok(Signals)
        }

        #[expect(clippy::unused_self, reason = "as with signals")]
        pub(in super::super) fn wait(&mut self) -> Signal {
            loop {
                std::thread::park();
            }
        }
    }
}
