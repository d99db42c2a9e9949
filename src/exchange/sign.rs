//! The signature `SDK-HMAC-SHA256`, over any request.

use core::cmp::Ordering;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::credentials::Keys;
use super::endpoint::write_encoded;
use super::request_error::RequestError;
use crate::code::Code;
use crate::json::{Counter, Full, Sink, SliceSink, generic_or_dyn};
use crate::time::{Stamp, WallTime};

const ALGORITHM: &[u8] = b"SDK-HMAC-SHA256";
const DATE: &str = "X-Sdk-Date";
const SECURITY_TOKEN: &str = "X-Security-Token";
const CONTENT_HASH: &str = "X-Sdk-Content-Sha256";

/// A header. `Debug` hides the values that are secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name, in any case.
    pub name: &'a str,
    /// Its value; spaces at both ends do not count.
    pub value: &'a str,
}

/// A request as it is signed.
///
/// Signed are `Host`, `X-Sdk-Date`, `X-Security-Token` where the keys have one, and all of `headers`
/// but those with a `_` in their name, which gateways drop.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [Header<'a>],
    body: &'a [u8],
}

impl<'a> Signable<'a> {
    /// A request without query, further headers and body: its method (`POST`, `GET`, …), its host with port as the `Host` header has it, and
    /// its path as it is sent, percent-encoded.
    pub const fn new(method: &'a str, host: &'a str, path: &'a str) -> Self {
        Signable {
            method,
            host,
            path,
            query: &[],
            headers: &[],
            body: &[],
        }
    }

    /// With the pairs of the query, not encoded, in any order.
    #[must_use]
    pub const fn with_query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    /// With further headers. If an `X-Sdk-Date` is among them, that date is signed; if an `X-Sdk-Content-Sha256`, its value in the place
    /// of the body's hash, be it a hash or `UNSIGNED-PAYLOAD`.
    #[must_use]
    pub const fn with_headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// With the very bytes that are sent.
    #[must_use]
    pub const fn with_body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }
}

impl Header<'_> {
    /// Whether the value must not be shown: a token, or what proves who asks.
    pub fn is_secret(&self) -> bool {
        const SECRET: [&str; 3] = ["Authorization", "X-Auth-Token", SECURITY_TOKEN];
        SECRET
            .iter()
            .any(|name| name.eq_ignore_ascii_case(self.name))
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.is_secret() { "***" } else { self.value };
        write!(f, "{}: {value}", self.name)
    }
}

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

/// What is signed, checked.
struct Plan<'r> {
    request: &'r Signable<'r>,
    security_token: Option<&'r str>,
    /// What stands for the hash of the body.
    content_hash: Option<&'r str>,
    date: Stamp<16>,
}

impl<'r> Plan<'r> {
    fn new(request: &'r Signable<'r>, keys: &'r Keys<'r>, now: WallTime) -> Result<Self, Code> {
        let has_control = |text: &str| text.bytes().any(|b| b.is_ascii_control());
        if !is_header_name(request.method) || has_control(request.path) {
            return Err(Code::RequestLine);
        }
        if has_control(request.host) {
            return Err(Code::HeaderValue);
        }
        let mut given = None;
        let mut content_hash = None;
        let mut security_token = keys.security_token();
        for (index, header) in request.headers.iter().enumerate() {
            if !is_header_name(header.name) {
                return Err(Code::HeaderName);
            }
            if header
                .value
                .bytes()
                .any(|b| b.is_ascii_control() && b != b'\t')
            {
                return Err(Code::HeaderValue);
            }
            let same = |other: &Header<'_>| other.name.eq_ignore_ascii_case(header.name);
            if same(&Header {
                name: "Host",
                value: "",
            }) || request.headers.iter().take(index).any(same)
            {
                return Err(Code::HeaderTwice);
            }
            if header.name.eq_ignore_ascii_case(DATE) {
                given = Some(header.value.trim_ascii());
            }
            if header.name.eq_ignore_ascii_case(SECURITY_TOKEN) {
                security_token = None;
            }
            if header.name.eq_ignore_ascii_case(CONTENT_HASH) {
                content_hash = Some(header.value.trim_ascii());
            }
        }
        let date = match given {
            None => now.to_sdk_date().ok_or(Code::TimeOutOfRange)?,
            Some(text) => WallTime::from_sdk_date(text)
                .and_then(WallTime::to_sdk_date)
                .ok_or(Code::SignatureDate)?,
        };
        Ok(Plan {
            request,
            security_token,
            content_hash,
            date,
        })
    }

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

    fn write_canonical_request<S: Sink + ?Sized>(
        &self,
        body_hash: &[u8; 32],
        out: &mut S,
    ) -> Result<(), Full> {
        generic_or_dyn!(write_canonical(self, body_hash; out))
    }

    fn write_signed_names<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
        for (index, header) in self.signed_headers().enumerate() {
            if index > 0 {
                out.put(b";")?;
            }
            put_lower(header.name, out)?;
        }
        Ok(())
    }

    /// The signed headers by rising lower-case name: each time the least name above the last one.
    fn signed_headers(&self) -> impl Iterator<Item = Header<'_>> {
        let mut last = None;
        core::iter::from_fn(move || {
            last = self.header_after(last);
            last
        })
    }

    fn header_after<'h>(&'h self, last: Option<Header<'h>>) -> Option<Header<'h>> {
        let mut next = None;
        for index in 0..self.request.headers.len().saturating_add(3) {
            let Some(header) = self.header(index) else {
                continue;
            };
            let after = |other: Header<'_>| compare(other.name, header.name);
            if last.is_none_or(|last| after(last).is_lt())
                && next.is_none_or(|next| after(next).is_gt())
            {
                next = Some(header);
            }
        }
        next
    }

    /// Those that are given, then the three that are added, but what is not signed.
    fn header(&self, index: usize) -> Option<Header<'_>> {
        let (name, value) = match index.checked_sub(self.request.headers.len()) {
            None => {
                let header = self.request.headers.get(index)?;
                let is_signed = !header.name.eq_ignore_ascii_case(DATE)
                    && !header.name.bytes().any(|b| b == b'_');
                return is_signed.then_some(*header);
            }
            Some(0) => ("Host", self.request.host),
            Some(1) => (DATE, self.date.as_str()),
            Some(_) => (SECURITY_TOKEN, self.security_token?),
        };
        Some(Header { name, value })
    }
}

/// How two names stand in lower case.
#[inline(never)]
fn compare(one: &str, other: &str) -> Ordering {
    lower(one).cmp(lower(other))
}

fn write_canonical<S: Sink + ?Sized>(
    plan: &Plan<'_>,
    body_hash: &[u8; 32],
    out: &mut S,
) -> Result<(), Full> {
    out.put(plan.request.method.as_bytes())?;
    out.put(b"\n")?;
    write_canonical_path(plan.request.path, out)?;
    out.put(b"\n")?;
    write_canonical_query(plan.request.query, out)?;
    out.put(b"\n")?;
    for header in plan.signed_headers() {
        put_lower(header.name, out)?;
        out.put(b":")?;
        out.put(header.value.trim_ascii().as_bytes())?;
        out.put(b"\n")?;
    }
    out.put(b"\n")?;
    plan.write_signed_names(out)?;
    out.put(b"\n")?;
    match plan.content_hash {
        Some(given) => out.put(given.as_bytes()),
        None => put_hex(body_hash, out),
    }
}

/// Percent-decodes the path once, encodes each segment, and ends it with `/`.
fn write_canonical_path<S: Sink + ?Sized>(path: &str, out: &mut S) -> Result<(), Full> {
    let mut last = b'/';
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = decode_first(rest) {
        if byte == b'/' {
            out.put(b"/")?;
        } else {
            write_encoded(core::iter::once(byte), out)?;
        }
        last = byte;
        rest = after;
    }
    if last != b'/' || path.is_empty() {
        out.put(b"/")?;
    }
    Ok(())
}

/// The first byte, percent-decoded, and the rest. A `%` without two hex digits stands for itself.
fn decode_first(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (&first, after) = bytes.split_first()?;
    if let (b'%', [high, low, rest @ ..]) = (first, after)
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        return Some((high << 4 | low, rest));
    }
    Some((first, after))
}

/// The pairs by rising raw key, then raw value, then place.
fn write_canonical_query<S: Sink + ?Sized>(
    query: &[(&str, &str)],
    out: &mut S,
) -> Result<(), Full> {
    let mut last = None;
    loop {
        let pairs = query
            .iter()
            .enumerate()
            .map(|(place, &(key, value))| (key, value, place));
        let Some(next) = pairs
            .filter(|&pair| last.is_none_or(|last| last < pair))
            .min()
        else {
            return Ok(());
        };
        if last.is_some() {
            out.put(b"&")?;
        }
        write_encoded(next.0.bytes(), out)?;
        out.put(b"=")?;
        write_encoded(next.1.bytes(), out)?;
        last = Some(next);
    }
}

fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| b.to_ascii_lowercase())
}

fn put_lower<S: Sink + ?Sized>(name: &str, out: &mut S) -> Result<(), Full> {
    lower(name).try_for_each(|byte| out.put(&[byte]))
}

/// A token of RFC 9110.
#[inline(never)]
pub(super) fn is_header_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

/// In lower-case hex.
#[inline(always)] // its stack is more than its code
fn put_hex<S: Sink + ?Sized>(hash: &[u8; 32], out: &mut S) -> Result<(), Full> {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let digit = |n: u8| HEX.get(usize::from(n & 15)).copied().unwrap_or(b'0');
    for byte in hash {
        out.put(&[digit(byte >> 4), digit(*byte)])?;
    }
    Ok(())
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
