//! The signature `SDK-HMAC-SHA256`, over any request.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::canonical_request::{Plan, put_hex};
use super::credentials::Keys;
use super::request_error::RequestError;
use super::signable::Signable;
use crate::json::{Counter, Full, Sink, SliceSink};
use crate::time::WallTime;

const ALGORITHM: &[u8] = b"SDK-HMAC-SHA256";

/// What signing adds to a request: two headers, three for temporary keys.
#[derive(Clone, Copy)]
#[must_use]
pub struct Signature<'b> {
    date: &'b str,
    authorization: &'b str,
}

impl fmt::Debug for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature")
            .field("date", &self.date)
            .finish_non_exhaustive()
    }
}

impl<'b> Signature<'b> {
    /// The value of `X-Sdk-Date`.
    pub fn x_sdk_date(&self) -> &'b str {
        self.date
    }

    /// The value of `Authorization`.
    pub fn authorization(&self) -> &'b str {
        self.authorization
    }
}

/// Signs a request at a time; `X-Sdk-Date` must be within 15 minutes of the server's clock.
/// Both values are written to the front of `buffer`; if it is too small, the error says how many bytes are enough.
///
/// ```
/// use edge_report::WallTime;
/// use edge_report::exchange::{Header, Keys, Signable, sign};
///
/// let headers = [Header { name: "Content-Type", value: "application/json" }];
/// let request = Signable::new("GET", "gateway.example", "/v1.0/0a1b2c/jobs")
///     .with_query(&[("page-size", "100")])
///     .with_headers(&headers);
/// let mut buffer = [0; 256];
/// let signature = sign(&request, &Keys::new("AK", "SK"), WallTime::from_unix_ms(1_591_104_868_201), &mut buffer)?;
/// assert_eq!(signature.x_sdk_date(), "20200602T133428Z");
/// assert!(signature.authorization().starts_with("SDK-HMAC-SHA256 Access=AK, SignedHeaders=content-type;host;x-sdk-date, "));
/// # Ok::<(), edge_report::exchange::RequestError>(())
/// ```
///
/// Temporary keys: send their security token as `X-Security-Token`, it is signed with the rest.
pub fn sign<'b>(
    request: &Signable<'_>,
    keys: &Keys<'_>,
    now: WallTime,
    buffer: &'b mut [u8],
) -> Result<Signature<'b>, RequestError> {
    keys.check()?;
    let plan = Plan::new(request, keys, now)?;
    let mut sink = SliceSink::new(buffer);
    if plan.write_signature(keys, &mut sink).is_err() {
        let mut counter = Counter::default();
        let _ = plan.write_signature(keys, &mut counter);
        return Err(RequestError::TooSmall {
            needed: counter.len(),
        });
    }
    // ASCII, since its parts are; the date comes first.
    let text = core::str::from_utf8(sink.into_written()).unwrap_or_default();
    let (date, authorization) = text
        .split_at_checked(plan.date.as_str().len())
        .unwrap_or_default();
    Ok(Signature {
        date,
        authorization,
    })
}

/// Appends the canonical request, whose hash is signed: what to compare when a server calls a signature wrong.
/// It has the security token in it, and no key.
pub fn canonical_request<S: Sink + ?Sized>(
    request: &Signable<'_>,
    keys: &Keys<'_>,
    now: WallTime,
    out: &mut S,
) -> Result<(), RequestError> {
    let plan = Plan::new(request, keys, now)?;
    let before = out.len();
    let body_hash = digest(request.body);
    if plan.write_canonical_request(&body_hash, out).is_err() {
        out.truncate(before);
        let mut counter = Counter::default();
        let _ = plan.write_canonical_request(&body_hash, &mut counter);
        return Err(RequestError::TooSmall {
            needed: counter.len(),
        });
    }
    Ok(())
}

impl Plan<'_> {
    /// Date and authorization, one after the other.
    fn write_signature<S: Sink + ?Sized>(&self, keys: &Keys<'_>, out: &mut S) -> Result<(), Full> {
        out.put(self.date.as_str().as_bytes())?;
        out.put(ALGORITHM)?;
        out.put(b" Access=")?;
        out.put(keys.access_key().as_bytes())?;
        out.put(b", SignedHeaders=")?;
        self.write_signed_names(out)?;
        out.put(b", Signature=")?;
        put_hex(&self.signature(keys), out)
    }

    #[inline(never)] // for its stack
    fn signature(&self, keys: &Keys<'_>) -> [u8; 32] {
        let mut hash = digest(self.request.body);
        hash = self.request_hash(&hash);
        let mut request = [0; 64];
        let mut request = SliceSink::new(&mut request);
        let _ = put_hex(&hash, &mut request);
        let date = self.date.as_str().as_bytes();
        let text: [&[u8]; 5] = [ALGORITHM, b"\n", date, b"\n", request.written()];
        authenticate(keys.secret_key().as_bytes(), &text)
    }

    #[inline(never)] // for its stack
    fn request_hash(&self, body_hash: &[u8; 32]) -> [u8; 32] {
        let mut hash = Hash(Sha256::new());
        let _ = self.write_canonical_request(body_hash, &mut hash);
        hash.0.finalize_reset().into()
    }
}

#[inline(never)] // for its stack
fn authenticate(key: &[u8], text: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    text.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[inline(never)] // for its stack
fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    // In place, for its stack.
    hash.finalize_reset().into()
}

/// A hash as the end of what is written.
struct Hash(Sha256);

impl Sink for Hash {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0.update(bytes);
        Ok(())
    }
    // Nothing asks a hash for these.
    fn len(&self) -> usize {
        0
    }
    fn room(&self) -> usize {
        usize::MAX
    }
    fn truncate(&mut self, _: usize) {}
}
