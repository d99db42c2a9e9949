//! TCP with exact timeouts, which sees a response also while it sends.
//!
//! std's timeouts of sockets are rounded up by the kernel, by a tenth on some. So the socket never blocks, and waits by `poll`.

use std::boxed::Box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use std::vec::Vec;
use std::{fmt, format};

use rustix::event::PollFlags;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, NextTimeout, Transport, time::Duration,
};
use ureq::{Error, Timeout};
use zeroize::Zeroize;

use super::buffers::FixedBuffers;
use super::progress::Progress;
use super::send_error::unusable;
use crate::code::Code;

/// The most that is read while the other side does not take what is sent.
const MOST_AHEAD: usize = 80 * 1024;

/// For [`Transport::await_input`]: looks, and does not wait.
pub(super) const LOOK: NextTimeout = NextTimeout {
    after: Duration::from_secs(0),
    reason: Timeout::PerRead,
    per_read: None,
    per_write: None,
};

/// A connection. Its timeouts are those of the call, whatever ureq says.
pub(super) struct Socket {
    stream: TcpStream,
    buffers: FixedBuffers,
    /// What came while sending.
    ahead: Vec<u8>,
    /// Whether nothing more can be read ahead: the other side has closed.
    ended: bool,
    progress: Arc<Progress>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.stream).finish()
    }
}

impl Socket {
    /// Connects to the first address that answers; those after it are left. All but the last get half of the time that is left.
    pub(super) fn connect(
        details: &ConnectionDetails<'_>,
        addresses: &mut std::slice::Iter<'_, SocketAddr>,
        loopback_only: bool,
        progress: &Arc<Progress>,
    ) -> Result<(Box<dyn Transport>, SocketAddr), Error> {
        let mut failed = None;
        while let Some(&address) = addresses.next() {
            if loopback_only && !address.ip().to_canonical().is_loopback() {
                failed = failed.or(Some(not_loopback(details, address)));
                continue;
            }
            let left = progress.left();
            let share = match addresses.len() {
                0 => left,
                _ => left.checked_div(2).unwrap_or(left),
            };
            if share.is_zero() {
                return Err(progress.timeout());
            }
            progress.tries(address);
            match connect(address, share, progress) {
                Ok(stream) => return Ok((Self::over(stream, details, progress)?, address)),
                Err(_) if progress.left().is_zero() => return Err(progress.timeout()),
                Err(error) if progress.bell().is_cancelled() => return Err(error.into()),
                Err(error) => failed = Some(error.into()),
            }
        }
        Err(failed.unwrap_or(Error::HostNotFound))
    }

    fn over(
        stream: TcpStream,
        details: &ConnectionDetails<'_>,
        progress: &Arc<Progress>,
    ) -> Result<Box<dyn Transport>, Error> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let config = details.config;
        Ok(Box::new(Socket {
            stream,
            buffers: FixedBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            ahead: Vec::new(),
            ended: false,
            progress: progress.clone(),
        }))
    }

    /// Waits until it can be read, or with `or_write` written. Says whether it can be read.
    fn wait(&self, or_write: bool) -> Result<bool, Error> {
        let mut events = PollFlags::empty();
        // What is not going to be read ahead must not wake.
        if !or_write || !self.ended && self.ahead.len() < MOST_AHEAD {
            events |= PollFlags::IN;
        }
        if or_write {
            events |= PollFlags::OUT;
        }
        let until = self.progress.deadline();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.progress.timeout());
            }
            let bell = self.progress.bell();
            if let Some(ready) = bell.wait_for(&self.stream, events, left)? {
                return Ok(ready.contains(PollFlags::IN));
            }
        }
    }

    /// Takes what is there already.
    fn read_ahead(&mut self) {
        let mut part = [0; 4096];
        while self.ahead.len() < MOST_AHEAD {
            match (&self.stream).read(&mut part) {
                Ok(n) if n > 0 => self.ahead.extend(part.iter().take(n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    fn write(&mut self, amount: usize) -> Result<(), Error> {
        let mut at = 0;
        while at < amount {
            let output = self.buffers.output().get(at..amount).unwrap_or_default();
            match (&self.stream).write(output) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(n) => {
                    at = at.saturating_add(n);
                    self.progress.went_out(n);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        if self.wait(true)? {
                            self.read_ahead();
                        }
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(())
    }
}

/// One that can be cancelled.
#[cfg(unix)]
fn connect(
    address: SocketAddr,
    longest: std::time::Duration,
    progress: &Progress,
) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, connect, sockopt::socket_error};
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let stream = TcpStream::from(socket(family)?);
    stream.set_nonblocking(true)?;
    match connect(&stream, &address) {
        Ok(()) => return Ok(stream),
        Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let began = Instant::now();
    loop {
        let left = longest.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let ready = progress.bell().wait_for(&stream, PollFlags::OUT, left)?;
        if ready.is_some() {
            socket_error(&stream)??;
            return Ok(stream);
        }
    }
}

/// One that no program inherits that another thread starts meanwhile.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn socket(family: rustix::net::AddressFamily) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::net::{SocketFlags, SocketType, socket_with};
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// There it takes two calls.
#[cfg(all(unix, target_vendor = "apple"))]
fn socket(family: rustix::net::AddressFamily) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

#[cfg(not(unix))]
fn connect(
    address: SocketAddr,
    longest: std::time::Duration,
    _: &Progress,
) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, longest)
}

fn not_loopback(details: &ConnectionDetails<'_>, address: SocketAddr) -> Error {
    let host = details.uri.host().unwrap_or_default();
    unusable(Code::PlainHttp, format!("{host} is {}", address.ip()))
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let result = self.write(amount);
        // There may be a token in it.
        if let Some(output) = self.buffers.output().get_mut(..amount) {
            output.zeroize();
        }
        result
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let room = self.buffers.input_append_buf();
        if !self.ahead.is_empty() {
            let len = self.ahead.len().min(room.len());
            for (to, from) in room.iter_mut().zip(self.ahead.drain(..len)) {
                *to = from;
            }
            self.buffers.input_appended(len);
            return Ok(true);
        }
        let only_look = timeout.after == LOOK.after;
        loop {
            if !only_look {
                self.wait(false)?;
            }
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(n) => {
                    self.buffers.input_appended(n);
                    return Ok(n > 0);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock if only_look => {
                        return Err(Error::Timeout(LOOK.reason));
                    }
                    ErrorKind::WouldBlock => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Whether it is there, and nothing came that nobody asked for.
    fn is_open(&mut self) -> bool {
        if !self.ahead.is_empty() || !self.buffers.input().is_empty() {
            return false;
        }
        let looked = self.stream.peek(&mut [0]);
        looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::waker::Bell;
    use super::*;

    #[test]
    fn what_was_read_ahead_is_left_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let bell = Arc::new(Bell::new().unwrap());
        let mut socket = Socket {
            stream,
            buffers: FixedBuffers::new(64, 64),
            ahead: Vec::new(),
            ended: false,
            progress: Arc::new(Progress::new(bell)),
        };
        assert!(socket.is_open());
        socket.ahead.push(b'H');
        assert!(!socket.is_open());
    }

    /// The longest answer, where the system itself holds little of it: who reads on only when all of it is written would wait for ever.
    #[cfg(unix)]
    #[test]
    fn a_whole_answer_is_read_while_the_other_side_does_not_read() {
        use super::super::connection::MAX_ANSWER_HEADER;
        use super::super::progress::{Phase, Plan};
        use crate::exchange::MAX_REPLY_BYTES;
        use rustix::net::{AddressFamily, connect, sockopt};
        const BODY: usize = 16 << 20;
        let answer = std::vec![b'H'; MAX_ANSWER_HEADER + MAX_REPLY_BYTES];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::from(super::socket(AddressFamily::INET).unwrap());
        sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
        connect(&stream, &address).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        sockopt::set_socket_send_buffer_size(&other, 4096).unwrap();
        let other = std::thread::spawn(move || {
            other.write_all(&answer).unwrap();
            std::io::copy(&mut other.take(BODY as u64), &mut std::io::sink()).unwrap()
        });
        stream.set_nonblocking(true).unwrap();
        let bell = Arc::new(Bell::new().unwrap());
        let progress = Arc::new(Progress::new(bell));
        let long = std::time::Duration::from_secs(60);
        progress.begin(
            BODY,
            Plan {
                connect: long,
                tls: long,
                send: long,
                response: long,
                until: Instant::now() + long,
            },
        );
        progress.enter(Phase::Send);
        let mut socket = Socket {
            stream,
            buffers: FixedBuffers::new(64, BODY),
            ahead: Vec::new(),
            ended: false,
            progress,
        };
        socket.transmit_output(BODY, LOOK).unwrap();
        assert_eq!(other.join().unwrap(), BODY as u64);
    }
}
