//! A request as it is signed.

use core::fmt;

pub(super) const DATE: &str = "X-Sdk-Date";
pub(super) const SECURITY_TOKEN: &str = "X-Security-Token";
pub(super) const CONTENT_HASH: &str = "X-Sdk-Content-Sha256";

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
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [Header<'a>],
    pub(super) body: &'a [u8],
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
