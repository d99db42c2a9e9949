//! Responses that go out past hyper, because it would not send them like this.

use std::io;
use std::time::Duration;

use hyper::{Response, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::fault::Raw;
use super::socket::Socket;

/// Length of the body that nobody should keep.
const HUGE: usize = 64 * 1024 * 1024;

/// For a client to read the response to a request that was not read.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Whether the connection can take another request afterwards.
#[derive(PartialEq)]
pub(super) enum After {
    Serve,
    Close,
}

/// Sends `response` as `raw` has it. Fails when the client has gone.
pub(super) async fn deliver(
    stream: &mut Socket,
    raw: Raw,
    response: &Response<String>,
) -> io::Result<After> {
    let body = response.body().as_bytes();
    let whole = [head(response, body.len()).as_slice(), body].concat();
    match raw {
        Raw::Huge => huge(stream, response).await?,
        Raw::Drip(pause) => {
            for byte in whole {
                stream.write_all(&[byte]).await?;
                sleep(pause).await;
            }
        }
        Raw::Cut => {
            let sent = whole.len().saturating_sub(body.len().div_ceil(2));
            stream
                .write_all(whole.get(..sent).unwrap_or(&whole))
                .await?;
            return Ok(After::Close);
        }
        Raw::ResetAfter => {
            reset_on_close(stream.tcp());
            return Ok(After::Close);
        }
        Raw::Silent => {
            discard(stream).await?;
            return Ok(After::Close);
        }
        Raw::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            let line = format!("x-endless: {}\r\n", "x".repeat(1000));
            loop {
                stream.write_all(line.as_bytes()).await?;
            }
        }
        Raw::CloseIdle(pause) => {
            stream.write_all(&whole).await?;
            sleep(pause).await;
            return Ok(After::Close);
        }
    }
    Ok(After::Serve)
}

/// Closing `stream` will send RST.
pub(super) fn reset_on_close(stream: &TcpStream) {
    // A socket that is gone already cannot be reset.
    let _ = stream.set_zero_linger();
}

/// Ends the connection so that the client can read the response to a request which was not read to
/// its end: a plain close would send RST and take the response with it.
pub(super) async fn linger(mut stream: Socket) {
    if stream.shutdown().await.is_ok() {
        let _ = tokio::time::timeout(LINGER, discard(&mut stream)).await;
    }
}

/// Reads until the client closes.
async fn discard(stream: &mut Socket) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// A right response, but for its 64 MiB.
async fn huge(stream: &mut Socket, response: &Response<String>) -> io::Result<()> {
    const START: &[u8] = br#"{"is_success":true,"message":""#;
    const END: &[u8] = br#""}"#;
    let filler = vec![b'x'; 64 * 1024];
    stream.write_all(&head(response, HUGE)).await?;
    stream.write_all(START).await?;
    let mut left = HUGE.saturating_sub(START.len()).saturating_sub(END.len());
    while left > 0 {
        let chunk = filler.get(..left).unwrap_or(&filler);
        stream.write_all(chunk).await?;
        left = left.saturating_sub(chunk.len());
    }
    stream.write_all(END).await
}

fn head(response: &Response<String>, length: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(format!("{}: {length}\r\n\r\n", header::CONTENT_LENGTH).into_bytes());
    head
}
