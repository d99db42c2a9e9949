//! A tokio socket as hyper wants it, with a word of its own when a request begins to arrive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// Lends the socket to hyper; it stays with the caller when hyper is done.
pub(super) struct Wire<'a, F> {
    pub(super) socket: &'a mut Socket,
    /// Whether to look for bytes before they are read: what is not read is answered by RST when the socket closes.
    pub(super) peeks: bool,
    /// Called when there are bytes; after an error hyper gets none of them.
    pub(super) arrives: F,
}

impl<F: FnMut() -> io::Result<()> + Unpin> Read for Wire<'_, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let mut first = [0];
        if wire.peeks
            && ready!(
                wire.socket
                    .tcp()
                    .poll_peek(cx, &mut ReadBuf::new(&mut first))
            )? > 0
        {
            (wire.arrives)()?;
        }
        // hyper's buffer may be uninitialised: without `unsafe` it is filled from another one.
        let mut chunk = [0; 16 * 1024];
        let mut chunk = ReadBuf::new(&mut chunk);
        let mut chunk = chunk.take(buffer.remaining());
        ready!(Pin::new(&mut *wire.socket).poll_read(cx, &mut chunk))?;
        if !chunk.filled().is_empty() {
            (wire.arrives)()?;
        }
        buffer.put_slice(chunk.filled());
        Poll::Ready(Ok(()))
    }
}

impl<F: Unpin> Write for Wire<'_, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().socket).poll_flush(cx)
    }

    /// How the connection ends is the caller's choice.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
