//! The canonical request: what is signed, in the one form whose hash both sides make.

use core::cmp::Ordering;

use super::credentials::Keys;
use super::endpoint::write_encoded;
use super::signable::{CONTENT_HASH, DATE, Header, SECURITY_TOKEN, Signable};
use crate::code::Code;
use crate::json::{Full, Sink, generic_or_dyn};
use crate::time::{Stamp, WallTime};

/// What is signed, checked.
pub(super) struct Plan<'r> {
    pub(super) request: &'r Signable<'r>,
    security_token: Option<&'r str>,
    /// What stands for the hash of the body.
    content_hash: Option<&'r str>,
    pub(super) date: Stamp<16>,
}

impl<'r> Plan<'r> {
    pub(super) fn new(
        request: &'r Signable<'r>,
        keys: &'r Keys<'r>,
        now: WallTime,
    ) -> Result<Self, Code> {
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

    pub(super) fn write_canonical_request<S: Sink + ?Sized>(
        &self,
        body_hash: &[u8; 32],
        out: &mut S,
    ) -> Result<(), Full> {
        generic_or_dyn!(write_canonical(self, body_hash; out))
    }

    pub(super) fn write_signed_names<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
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
fn is_header_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

/// In lower-case hex.
#[inline(always)] // its stack is more than its code
pub(super) fn put_hex<S: Sink + ?Sized>(hash: &[u8; 32], out: &mut S) -> Result<(), Full> {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let digit = |n: u8| HEX.get(usize::from(n & 15)).copied().unwrap_or(b'0');
    for byte in hash {
        out.put(&[digit(byte >> 4), digit(*byte)])?;
    }
    Ok(())
}
