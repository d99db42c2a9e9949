//! Where reports go: a base URL and a project id.

use core::fmt;

use crate::code::Code;
use crate::json::{Full, Sink};
use crate::split::{rsplit_once, split_once};

/// What follows the project id.
const PATH_END: &str = "/edgesrv/job-report";

/// A base URL with a project id, both checked.
///
/// ```
/// use edge_report::exchange::Endpoint;
/// use edge_report::json::SliceSink;
///
/// let endpoint = Endpoint::new("https://gateway.example:8443/dli/", "0a1b2c")?;
/// assert_eq!(endpoint.authority(), "gateway.example:8443");
/// let mut buffer = [0; 64];
/// let mut path = SliceSink::new(&mut buffer);
/// endpoint.write_path(&mut path)?;
/// assert_eq!(path.written(), b"/dli/v1/0a1b2c/edgesrv/job-report");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    is_https: bool,
    authority: &'a str,
    host: &'a str,
    port: Option<u16>,
    prefix: &'a str,
    project_id: &'a str,
}

/// Why a base URL or project id cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointError {
    code: Code,
    offset: usize,
}

impl EndpointError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Byte offset into the base URL, or into the project id for [`Code::ProjectId`].
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.code, self.offset)
    }
}

impl core::error::Error for EndpointError {}

impl<'a> Endpoint<'a> {
    /// Reads a base URL: `http://` or `https://`, host, optional port, optional path prefix.
    /// What of a project id needs it is percent-encoded; control characters, `/` and `\`, also percent-encoded already, are refused in
    /// it, and so are `.` and `..`. In the prefix, `\`, `%2F`, `%5C`, `.` and `..` are refused: servers, proxies and the signature would
    /// each see another path.
    pub fn new(base_url: &'a str, project_id: &'a str) -> Result<Self, EndpointError> {
        let (is_https, rest) = if let Some(rest) = strip_ignoring_case(base_url, "https://") {
            (true, rest)
        } else if let Some(rest) = strip_ignoring_case(base_url, "http://") {
            (false, rest)
        } else {
            return Err(EndpointError {
                code: Code::UrlScheme,
                offset: 0,
            });
        };
        let at = |part: &str, inside: usize| {
            // All parts are slices of the base URL.
            let start = (part.as_ptr() as usize).wrapping_sub(base_url.as_ptr() as usize);
            start.saturating_add(inside)
        };
        let authority_len = position(rest, b"/?#").unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(authority_len).unwrap_or((rest, ""));
        if let Some(sign) = position(authority, b"@") {
            return Err(EndpointError {
                code: Code::UrlUserInfo,
                offset: at(authority, sign),
            });
        }
        if let Some(mark) = position(path, b"?#") {
            return Err(EndpointError {
                code: Code::UrlQuery,
                offset: at(path, mark),
            });
        }
        let (host, port) = split_port(authority);
        if !is_host(host) {
            return Err(EndpointError {
                code: Code::UrlHost,
                offset: at(host, 0),
            });
        }
        let port = match port {
            None => None,
            Some(digits) => match parse_port(digits) {
                Some(port) => Some(port),
                None => {
                    return Err(EndpointError {
                        code: Code::UrlPort,
                        offset: at(digits, 0),
                    });
                }
            },
        };
        let prefix = without_slashes(path);
        // The whole URL of the call, pasted as its base: its path would come twice.
        if let Some(base) = prefix.strip_suffix(PATH_END) {
            return Err(EndpointError {
                code: Code::UrlEndpoint,
                offset: at(base, base.len()),
            });
        }
        if let Some(wrong) = first_wrong_in_path(prefix) {
            return Err(EndpointError {
                code: Code::UrlPath,
                offset: at(prefix, wrong),
            });
        }
        if let Some(offset) = first_wrong_in_project_id(project_id) {
            return Err(EndpointError {
                code: Code::ProjectId,
                offset,
            });
        }
        Ok(Endpoint {
            is_https,
            authority,
            host,
            port,
            prefix,
            project_id,
        })
    }

    /// Whether it is reached over TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// Host with port, as in the URL: the value of the `Host` header.
    pub const fn authority(&self) -> &'a str {
        self.authority
    }

    /// The host; an IPv6 address in its brackets.
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The port: as in the URL, else 443 or 80.
    pub const fn port(&self) -> u16 {
        match (self.port, self.is_https) {
            (Some(port), _) => port,
            (None, true) => 443,
            (None, false) => 80,
        }
    }

    /// The project id, as given.
    pub const fn project_id(&self) -> &'a str {
        self.project_id
    }

    /// Whether the host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || is_loopback_v4(self.host)
            || matches!(self.host, "[::1]" | "[0:0:0:0:0:0:0:1]")
    }

    /// Appends the path of the request, percent-encoded.
    pub fn write_path<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
        out.put(self.prefix.as_bytes())?;
        out.put(b"/v1/")?;
        write_encoded(self.project_id.bytes(), out)?;
        out.put(PATH_END.as_bytes())
    }

    /// Appends the whole URL.
    pub fn write_url<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
        out.put(if self.is_https {
            b"https://"
        } else {
            b"http://"
        })?;
        out.put(self.authority.as_bytes())?;
        self.write_path(out)
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters, with upper-case hex.
pub(super) fn write_encoded<S: Sink + ?Sized>(
    bytes: impl Iterator<Item = u8>,
    out: &mut S,
) -> Result<(), Full> {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |n: u8| HEX.get(usize::from(n & 15)).copied().unwrap_or(b'0');
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.put(&[byte])?;
        } else {
            out.put(&[b'%', digit(byte >> 4), digit(byte)])?;
        }
    }
    Ok(())
}

fn strip_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[inline(never)]
fn position(text: &str, any_of: &[u8]) -> Option<usize> {
    text.bytes().position(|b| any_of.contains(&b))
}

fn without_slashes(mut path: &str) -> &str {
    while let Some(shorter) = path.strip_suffix("/") {
        path = shorter;
    }
    path
}

/// Host and what follows its colon; an IPv6 address has colons inside of its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match rsplit_once(authority, b':') {
        Some((host, port)) if !port.ends_with("]") => (host, Some(port)),
        _ => (authority, None),
    }
}

/// `127.` and three more numbers: what is no address is a name, and a name leads anywhere.
fn is_loopback_v4(host: &str) -> bool {
    let mut parts = 1;
    let mut rest = host;
    while let Some((number, after)) = split_once(rest, b'.') {
        if !is_octet(number) {
            return false;
        }
        parts = u32::saturating_add(parts, 1);
        rest = after;
    }
    parts == 4 && is_octet(rest) && host.starts_with("127.")
}

fn is_octet(text: &str) -> bool {
    // With a zero in front it is octal to some, and a name to others.
    let digits =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with("0"));
    digits && text.parse::<u8>().is_ok()
}

/// `.` or `..` in any spelling.
fn is_dots(segment: &str) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while let Some(after) = rest
        .strip_prefix(".")
        .or_else(|| strip_ignoring_case(rest, "%2e"))
    {
        dots = u32::saturating_add(dots, 1);
        rest = after;
    }
    rest.is_empty() && (1..=2).contains(&dots)
}

fn parse_port(digits: &str) -> Option<u16> {
    // A sign would parse.
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&port| all_digits && port != 0)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix("[") {
        let allowed = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
        let is_v6 =
            |a: &str| a.bytes().all(allowed) && a.bytes().filter(|&b| b == b':').count() > 1;
        return address.strip_suffix("]").is_some_and(is_v6);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(allowed)
}

/// A path of RFC 3986 without `.` and `..`, which servers and signatures see differently.
fn first_wrong_in_path(path: &str) -> Option<usize> {
    if let Some(at) = encoded_separator(path) {
        return Some(at);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b);
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, after) if allowed(byte) => after,
            _ => return Some(path.len().saturating_sub(rest.len())),
        };
    }
    let mut segments = path;
    while let Some((_, after)) = split_once(segments, b'/') {
        let segment = split_once(after, b'/').map_or(after, |(segment, _)| segment);
        if is_dots(segment) {
            return Some(path.len().saturating_sub(after.len()));
        }
        segments = after;
    }
    None
}

fn first_wrong_in_project_id(id: &str) -> Option<usize> {
    // The id is a header value too, and servers trim those.
    if matches!(id, "" | "." | "..") || id.trim_ascii() != id {
        return Some(0);
    }
    let wrong = |b: u8| b.is_ascii_control() || matches!(b, b'/' | b'\\');
    id.bytes().position(wrong).or_else(|| encoded_separator(id))
}

/// The place of a `/` or `\` that is percent-encoded: what decodes it twice, or before it splits, sees other segments.
fn encoded_separator(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(3)
        .position(|w| w.eq_ignore_ascii_case(b"%2f") || w.eq_ignore_ascii_case(b"%5c"))
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::json::SliceSink;

    #[test]
    fn urls() {
        for (url, authority, port, path) in [
            (
                "https://a.example",
                "a.example",
                443,
                "/v1/p/edgesrv/job-report",
            ),
            (
                "http://a.example/",
                "a.example",
                80,
                "/v1/p/edgesrv/job-report",
            ),
            (
                "HTTPS://A-b.example:8443",
                "A-b.example:8443",
                8443,
                "/v1/p/edgesrv/job-report",
            ),
            (
                "http://[::1]:80/x/y//",
                "[::1]:80",
                80,
                "/x/y/v1/p/edgesrv/job-report",
            ),
            (
                "http://127.0.0.1/%41b",
                "127.0.0.1",
                80,
                "/%41b/v1/p/edgesrv/job-report",
            ),
        ] {
            let endpoint = Endpoint::new(url, "p").unwrap();
            assert_eq!((endpoint.authority(), endpoint.port()), (authority, port));
            let mut written = [0; 128];
            let mut written = SliceSink::new(&mut written);
            endpoint.write_path(&mut written).unwrap();
            assert_eq!(written.written(), path.as_bytes());
        }
    }

    #[test]
    fn wrong_urls() {
        for (url, code, offset) in [
            ("", Code::UrlScheme, 0),
            ("ftp://a", Code::UrlScheme, 0),
            ("https:/a", Code::UrlScheme, 0),
            ("https://", Code::UrlHost, 8),
            ("https:///x", Code::UrlHost, 8),
            ("https://a b", Code::UrlHost, 8),
            ("https://é.example", Code::UrlHost, 8),
            ("https://[::1", Code::UrlHost, 8),
            ("https://::1/", Code::UrlHost, 8),
            ("https://a:", Code::UrlPort, 10),
            ("https://a:0", Code::UrlPort, 10),
            ("https://a:65536", Code::UrlPort, 10),
            ("https://a:+80", Code::UrlPort, 10),
            ("https://u:p@a", Code::UrlUserInfo, 11),
            ("https://a/x?y=1", Code::UrlQuery, 11),
            ("https://a#x", Code::UrlQuery, 9),
            ("https://a/x y", Code::UrlPath, 11),
            ("https://a/%4", Code::UrlPath, 10),
            ("https://a/x/../y", Code::UrlPath, 12),
        ] {
            let error = Endpoint::new(url, "p").unwrap_err();
            assert_eq!((error.code, error.offset), (code, offset), "{url}");
        }
        for (id, offset) in [
            ("", 0),
            (".", 0),
            ("..", 0),
            (" a", 0),
            ("a ", 0),
            ("a\nb", 1),
            ("a\u{7f}", 1),
        ] {
            let error = Endpoint::new("https://a", id).unwrap_err();
            assert_eq!(
                (error.code, error.offset),
                (Code::ProjectId, offset),
                "{id:?}"
            );
        }
        assert_eq!(
            Endpoint::new("https://a:x", "p").unwrap_err().to_string(),
            "the port must be a number from 1 to 65535 (byte 10)"
        );
    }

    #[test]
    fn loopback() {
        for (url, is_loopback) in [
            ("http://localhost:1", true),
            ("http://LOCALHOST", true),
            ("http://127.255.0.1", true),
            ("http://[::1]:9", true),
            ("http://localhost.example", false),
            ("http://128.0.0.1", false),
            ("http://[::2]", false),
        ] {
            assert_eq!(
                Endpoint::new(url, "p").unwrap().is_loopback(),
                is_loopback,
                "{url}"
            );
        }
    }
}
