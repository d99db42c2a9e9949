//! Bodies, within the memory that all of them may take together: of reports, and of responses to who looks.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::response::Refusal;

/// The gateway takes no larger body.
pub(crate) const MAX_BODY: usize = 12 * 1024 * 1024;

/// A permit of [`Memory`].
const UNIT: usize = 1024;

/// What a report takes beside its body while it is read and stored, in bodies.
const COPIES: usize = 3;

/// What all bodies together may take.
pub(crate) struct Memory(Arc<Semaphore>);

/// A body, and its part of the memory.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

/// A text that is sent, and its part of the memory.
struct Lent {
    text: String,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Memory {
        let permits = bytes.div_euclid(UNIT).min(Semaphore::MAX_PERMITS);
        Memory(Arc::new(Semaphore::new(permits)))
    }

    /// Adds to `held` what a body of so many bytes takes. False when others have it.
    fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
        let wanted = bytes
            .div_euclid(UNIT)
            .saturating_add(1)
            .saturating_mul(COPIES);
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(wanted.saturating_sub(has)).unwrap_or(u32::MAX);
        match (Arc::clone(&self.0).try_acquire_many_owned(more), &mut *held) {
            (Ok(more), Some(held)) => held.merge(more),
            (Ok(more), None) => *held = Some(more),
            (Err(_), _) => return false,
        }
        true
    }

    /// A text to send, which holds its part until it is gone or nobody is there any more to take it. None when others have it.
    pub(crate) fn lend(&self, text: String) -> Option<Bytes> {
        let wanted = text.len().div_euclid(UNIT).saturating_add(1);
        let wanted = u32::try_from(wanted).ok()?;
        let memory = Arc::clone(&self.0).try_acquire_many_owned(wanted).ok()?;
        Some(Bytes::from_owner(Lent {
            text,
            _memory: memory,
        }))
    }

    /// The whole body, if it is not too large.
    pub(crate) async fn read(&self, mut body: Incoming) -> Result<Body, Refusal> {
        if promised(&body) > MAX_BODY {
            return Err(too_large());
        }
        let (mut bytes, mut memory) = (Vec::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|why| {
                let why = format!("the body cannot be read: {why}");
                Refusal::new(StatusCode::BAD_REQUEST, "APIGW.0201", why)
            })?;
            // What is not data is trailers, which nobody needs.
            let data = frame.into_data().unwrap_or_default();
            let length = bytes.len().saturating_add(data.len());
            if length > MAX_BODY {
                return Err(too_large());
            }
            // As it comes: who promises much and sends little takes little.
            if !self.hold(&mut memory, length) {
                return Err(Refusal::busy("too many bodies are under way"));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Body { bytes, memory })
    }
}

/// The least that it will have.
pub(crate) fn promised(body: &Incoming) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

fn too_large() -> Refusal {
    let why = format!("the body is larger than {MAX_BODY} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "APIGW.0201", why)
}
