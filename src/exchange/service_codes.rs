//! Whose error code it is.

use core::fmt;

use crate::code::Code;
use crate::json::{Decoded, Text};

/// The prefixes by which the service's own error codes are known: default `DLI.`, for `DLI.0001`.
///
/// Proxies, gateways and portals on the way refuse requests, too, some of them in JSON. They know nothing of the report, so only an
/// `error_code` of the service makes a refusal final. A private deployment may have codes of its own.
///
/// A code is the service's when it is one of these prefixes and at least one character more; after `DLI.`, digits and nothing else.
///
/// ```
/// use edge_report::exchange::{Outcome, ReplyHeaders, ServiceCodes, read_reply, read_reply_with};
///
/// let body = br#"{"error_code":"EDGE.17","error_msg":"no such job"}"#;
/// assert_eq!(read_reply(400, ReplyHeaders::default(), body).outcome, Outcome::NotUnderstood);
///
/// let codes = ServiceCodes::new(["DLI.", "EDGE."])?;
/// assert_eq!(read_reply_with(&codes, 400, ReplyHeaders::default(), body).outcome, Outcome::Refused);
/// # Ok::<(), edge_report::Code>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServiceCodes<'a> {
    /// The first ones; the rest are empty.
    prefixes: [&'a str; ServiceCodes::MOST],
}

impl<'a> ServiceCodes<'a> {
    /// The most prefixes.
    pub const MOST: usize = 8;

    /// With these prefixes, 1 to [`MOST`](Self::MOST), each of printable ASCII and not empty; else [`Code::ServiceCodes`].
    pub fn new(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self, Code> {
        let mut this = ServiceCodes {
            prefixes: [""; ServiceCodes::MOST],
        };
        let mut slots = this.prefixes.iter_mut();
        for prefix in prefixes {
            let is_usable = prefix.bytes().all(|b| matches!(b, b' '..=b'~'));
            match slots.next() {
                Some(slot) if is_usable && !prefix.is_empty() => *slot = prefix,
                _ => return Err(Code::ServiceCodes),
            }
        }
        match this.prefixes {
            ["", ..] => Err(Code::ServiceCodes),
            _ => Ok(this),
        }
    }

    /// The prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = &'a str> {
        let given = |prefix: &&str| !prefix.is_empty();
        self.prefixes.into_iter().take_while(given)
    }

    /// Whether an error code is the service's.
    pub(super) fn include(&self, code: Text<'_>) -> bool {
        self.prefixes().any(|prefix| {
            after(code, prefix).is_some_and(|mut rest| {
                rest.has_more() && (prefix != DEFAULT || rest.all(|c| c.is_ascii_digit()))
            })
        })
    }
}

const DEFAULT: &str = "DLI.";

/// What comes in `code` after a prefix, which is ASCII.
#[inline(never)] // so that decoding stands there once
pub(super) fn after<'t>(code: Text<'t>, prefix: &str) -> Option<Decoded<'t>> {
    let mut rest = code.chars();
    for b in prefix.bytes() {
        if rest.next() != Some(char::from(b)) {
            return None;
        }
    }
    Some(rest)
}

impl Default for ServiceCodes<'_> {
    fn default() -> Self {
        ServiceCodes {
            prefixes: [DEFAULT, "", "", "", "", "", "", ""],
        }
    }
}

impl fmt::Debug for ServiceCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.prefixes()).finish()
    }
}
