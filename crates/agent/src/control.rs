//! Whoever has the spool open does for others what needs the spool: a socket in its directory, which is its owner's alone.
//!
//! A request for each connection, a line each way:
//!
//!     resubmit TICKET      resubmitted TICKET as TICKET
//!                          none
//!                          failed: WHY
//!
//! A thread of its own serves one connection after the other, each for a bounded time. What an agent that was killed left is replaced: who has the
//! spool's lock is alone.

pub(crate) use socket::{Agent, Control};

use edge_report::courier::{CourierError, Ticket};
use edge_report::{MonoTime, SpoolIoError, WallTime};

use crate::service::Node;

/// Lets a dead letter wait as a new report, which is durable then. None: there is no such letter.
pub(crate) fn resubmit(
    courier: &mut Node,
    letter: Ticket,
) -> Result<Option<Ticket>, CourierError<SpoolIoError>> {
    let (now, wall) = (MonoTime::now(), Some(WallTime::now()));
    let ticket = courier.resubmit_dead_letter(Some(letter), now, wall)?;
    courier.flush()?;
    Ok(ticket)
}

#[cfg(unix)]
mod socket {
    use std::fs::{self, Permissions};
    use std::io::{self, ErrorKind, Read, Write};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use edge_report::Reporter;
    use edge_report::courier::Ticket;

    use crate::failure::{Failure, failed};

    /// For a request, and for the response to be taken: nobody else is served meanwhile.
    const SERVED: Duration = Duration::from_secs(2);
    /// For a response: disks may be slow, and others come first.
    const PATIENCE: Duration = Duration::from_secs(60);
    const LONGEST_REQUEST: usize = 64;
    const LONGEST_RESPONSE: usize = 16 * 1024;

    /// Beside `owner`, as whose file it counts where a spool looks whether its directory is its own alone.
    fn path(spool: &str) -> PathBuf {
        Path::new(spool).join("owner.control")
    }

    /// The socket, until it is dropped.
    pub(crate) struct Control {
        path: PathBuf,
        served: Arc<Served>,
    }

    /// None when it ends.
    struct Served(Mutex<Option<Arc<Reporter>>>);

    impl Served {
        fn lock(&self) -> MutexGuard<'_, Option<Arc<Reporter>>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Control {
        /// Of the spool from which this one delivers.
        pub(crate) fn start(spool: &str, reporter: &Arc<Reporter>) -> Result<Control, String> {
            let path = path(spool);
            let listener = listen(&path).map_err(|why| format!("{}: {why}", path.display()))?;
            let served = Arc::new(Served(Mutex::new(Some(Arc::clone(reporter)))));
            thread::spawn({
                let served = Arc::clone(&served);
                move || served.serve_all(&listener)
            });
            Ok(Control { path, served })
        }
    }

    impl Drop for Control {
        /// The request that is served comes to its end.
        fn drop(&mut self) {
            *self.served.lock() = None;
            // So that the thread sees it.
            let _ = UnixStream::connect(&self.path);
            let _ = fs::remove_file(&self.path);
        }
    }

    fn listen(path: &Path) -> io::Result<UnixListener> {
        let found = fs::symlink_metadata(path);
        if found.is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    impl Served {
        fn serve_all(&self, listener: &UnixListener) {
            for stream in listener.incoming() {
                if self.lock().is_none() {
                    return;
                }
                match stream {
                    // Whoever goes away, or says nothing, gets nothing.
                    Ok(stream) => drop(self.serve(stream)),
                    // The process can open no more files, for one.
                    Err(_) => thread::sleep(SERVED),
                }
            }
        }

        fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
            let request = read_line(&mut stream, LONGEST_REQUEST, SERVED)?;
            let response = self.response(&request).replace(char::is_control, " ");
            stream.set_write_timeout(Some(SERVED))?;
            stream.write_all(format!("{response}\n").as_bytes())
        }

        fn response(&self, request: &str) -> String {
            let letter = request.strip_prefix("resubmit ");
            let Some(letter) = letter.and_then(|letter| letter.parse().ok()) else {
                return "failed: the request is no `resubmit TICKET`".to_owned();
            };
            let Some(reporter) = &*self.lock() else {
                return "failed: the agent ends".to_owned();
            };
            let letter = Ticket(letter);
            let done = reporter.with_courier(|courier| super::resubmit(courier, letter));
            match done {
                Ok(Some(ticket)) => format!("resubmitted {letter} as {ticket}"),
                Ok(None) => "none".to_owned(),
                Err(why) => format!("failed: {why}"),
            }
        }
    }

    /// Without its end.
    fn read_line(stream: &mut UnixStream, longest: usize, time: Duration) -> io::Result<String> {
        let end = Instant::now().checked_add(time);
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < longest {
            let left = end.map_or(time, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut byte) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte == *b"\n" => {
                    return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
                }
                Ok(_) => line.extend(byte),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    /// The one that has a spool open.
    pub(crate) struct Agent(PathBuf);

    impl Agent {
        /// If there is one that listens.
        pub(crate) fn of(spool: &str) -> Option<Agent> {
            let path = path(spool);
            UnixStream::connect(&path).ok().map(|_| Agent(path))
        }

        /// As [`super::resubmit`].
        pub(crate) fn resubmit(&self, letter: Ticket) -> Result<Option<Ticket>, Failure> {
            let response = self.ask(&format!("resubmit {letter}\n")).map_err(|why| {
                failed(format!(
                    "the agent at {} does not answer: {why}; say this again",
                    self.0.display()
                ))
            })?;
            if response == "none" {
                return Ok(None);
            }
            let ticket = response.strip_prefix(&format!("resubmitted {letter} as "));
            let ticket = ticket.and_then(|ticket| ticket.parse().ok()).map(Ticket);
            let why = response.strip_prefix("failed: ").unwrap_or(&response);
            ticket
                .map(Some)
                .ok_or_else(|| failed(format!("dead letter {letter}: {why}")))
        }

        fn ask(&self, request: &str) -> io::Result<String> {
            let mut stream = UnixStream::connect(&self.0)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            read_line(&mut stream, LONGEST_RESPONSE, PATIENCE)
        }
    }
}

/// Elsewhere nobody listens.
#[cfg(not(unix))]
mod socket {
    use std::sync::Arc;

    use edge_report::Reporter;
    use edge_report::courier::Ticket;

    use crate::failure::Failure;

    pub(crate) struct Control;

    impl Control {
        #[expect(clippy::unnecessary_wraps, reason = "as with sockets")]
        pub(crate) fn start(_: &str, _: &Arc<Reporter>) -> Result<Control, String> {
            Ok(Control)
        }
    }

    pub(crate) enum Agent {}

    impl Agent {
        pub(crate) fn of(_: &str) -> Option<Agent> {
            None
        }

        pub(crate) fn resubmit(&self, _: Ticket) -> Result<Option<Ticket>, Failure> {
            match *self {}
        }
    }
}
