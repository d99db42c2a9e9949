//! What a response means: one of a few outcomes.

use core::fmt::{self, Write};
use core::ops::Range;
use core::time::Duration;

use super::http_date;
use super::service_codes::{ServiceCodes, after};
use crate::json::{Scanner, Text, Token};
use crate::time::WallTime;

/// What became of a report, as far as the response tells. Take one that you do not know for [`NotUnderstood`](Self::NotUnderstood).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Outcome {
    /// The service took it.
    Accepted = 1,
    /// The service will never take it as it is, and says so itself.
    Refused = 2,
    /// A response that is none of the service's, whatever its status: the page of a proxy, a firewall or a captive portal, say.
    /// Not accepted, and not refused; try again.
    NotUnderstood = 3,
    /// The service is in trouble or overloaded; try again.
    TryAgain = 4,
    /// The credentials are wrong, expired, or the clock is: keep the report, hold all sending.
    Credentials = 5,
    /// The endpoint is wrong: it redirects, its gateway knows no such API, or a proxy wants credentials. Keep the report.
    Misconfigured = 6,
}

impl Outcome {
    /// All of them, by rising number.
    pub const ALL: &'static [Outcome] = &[
        Outcome::Accepted,
        Outcome::Refused,
        Outcome::NotUnderstood,
        Outcome::TryAgain,
        Outcome::Credentials,
        Outcome::Misconfigured,
    ];

    /// The stable number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
            Outcome::NotUnderstood => "not_understood",
            Outcome::TryAgain => "try_again",
            Outcome::Credentials => "credentials",
            Outcome::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The headers of a response that matter; none of them by default.
///
/// ```
/// use edge_report::exchange::ReplyHeaders;
///
/// let found = None; // what your HTTP stack has under this name
/// let headers = ReplyHeaders::default().with_retry_after("120").with_date(found);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyHeaders<'a> {
    retry_after: Option<&'a str>,
    date: Option<&'a str>,
}

impl<'a> ReplyHeaders<'a> {
    /// With `Retry-After`, if it is there.
    #[must_use]
    pub fn with_retry_after(mut self, value: impl Into<Option<&'a str>>) -> Self {
        self.retry_after = value.into();
        self
    }

    /// With `Date`, if it is there.
    #[must_use]
    pub fn with_date(mut self, value: impl Into<Option<&'a str>>) -> Self {
        self.date = value.into();
        self
    }
}

/// What `Retry-After` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryAfter {
    /// To wait that many seconds.
    Seconds(u64),
    /// To wait until then, by the server's clock.
    At(WallTime),
}

/// A response, read.
#[derive(Clone, Copy, Debug)]
#[must_use = "a reply may be a refusal: see `is_accepted` and `outcome`"]
#[non_exhaustive]
pub struct Reply<'a> {
    /// What it means.
    pub outcome: Outcome,
    /// The HTTP status.
    pub status: u16,
    /// For instance `DLI.0001` or `APIGW.0301`.
    pub error_code: Option<Text<'a>>,
    /// The service's reason.
    pub error_msg: Option<Text<'a>>,
    /// What the service says beside `is_success`.
    pub message: Option<Text<'a>>,
    /// The gateway's name for the request.
    pub request_id: Option<Text<'a>>,
    retry_after: Option<RetryAfter>,
    /// The server's clock. One outside of the years 2020 to 2100 is wrong itself, and as good as none.
    pub date: Option<WallTime>,
}

impl Reply<'_> {
    /// Whether the service took the report. Otherwise [`outcome`](Self::outcome) says what became of it.
    pub const fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted)
    }

    /// How long the server asks to wait, by `Retry-After`. A date in it counts from the server's own clock where it told that.
    pub fn retry_after(&self, now: WallTime) -> Option<Duration> {
        self.retry_after_ms(now).map(Duration::from_millis)
    }

    /// [`retry_after`](Self::retry_after) in milliseconds, as the other languages have it: small machines divide no 64 bits for it.
    #[doc(hidden)]
    pub fn retry_after_ms(&self, now: WallTime) -> Option<u64> {
        Some(match self.retry_after? {
            RetryAfter::Seconds(seconds) => seconds.saturating_mul(1000),
            RetryAfter::At(then) => {
                let from = self.date.unwrap_or(now).unix_ms();
                u64::try_from(then.unix_ms().saturating_sub(from)).unwrap_or(0)
            }
        })
    }

    /// By how many milliseconds the server's clock is ahead of `now`, below 0 if it is behind; exact to about a second.
    pub fn clock_skew_ms(&self, now: WallTime) -> Option<i64> {
        Some(self.date?.unix_ms().saturating_sub(now.unix_ms()))
    }
}

impl fmt::Display for Reply<'_> {
    /// `refused: 400 DLI.0001 the reason`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.status)?;
        let reason = self.error_msg.or(self.message);
        for text in [self.error_code, reason].into_iter().flatten() {
            if !text.is_empty() {
                f.write_str(" ")?;
                text.chars().try_for_each(|c| write_visible(c, f))?;
            }
        }
        Ok(())
    }
}

/// A server's text goes into logs: no line breaks, no terminal commands.
pub(crate) fn write_visible(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if c.is_control() {
        write!(f, "\\u{:04x}", u32::from(c))
    } else {
        f.write_char(c)
    }
}

/// The most bytes of a body: those of the service have some hundred. A client reads one byte more than that of a longer body, so
/// that it is seen to be too long.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Reads a response, with the service's error codes as they are by default. The body may be cut or anything else.
///
/// Accepted or refused a report is only by the service itself: in a whole JSON object of at most [`MAX_REPLY_BYTES`]. Whoever
/// stands between may say anything with any status: nginx a 400 to a certificate that has expired, an ingress a 404 while its
/// service is deployed anew, a portal a 200.
///
/// | status | body | outcome |
/// |---|---|---|
/// | 2xx | an `error_code` of the service | refused |
/// | 2xx | an `error_code` of somebody else | not understood |
/// | 2xx | `is_success` true or `"true"` | accepted |
/// | 2xx | `is_success` false or `"false"` | refused |
/// | 3xx, 407 | | misconfigured |
/// | 400 | `DLI.0999`, `DLI.0019`, `DLI.10001` | try again |
/// | 404 | `APIG.…`, `APIGW.…`: its gateway has no such API | misconfigured |
/// | 400, 404, 405, 409, 413, 422 | an `error_code` of the service | refused |
/// | 401 | | credentials |
/// | 403 | `DLI.0013`, `DLI.0014`, `DLI.10007`, `DLI.10008`; `APIG.` or `APIGW.` with `0301`, `0302`, `0303` | credentials |
/// | 408, 425, 429, 5xx | | try again |
/// | else, and 2xx, 400 to 422 with any other body | | not understood |
pub fn read_reply<'a>(status: u16, headers: ReplyHeaders<'_>, body: &'a [u8]) -> Reply<'a> {
    read_reply_with(&ServiceCodes::default(), status, headers, body)
}

/// Like [`read_reply`], with the service's error codes as they are set.
pub fn read_reply_with<'a>(
    codes: &ServiceCodes<'_>,
    status: u16,
    headers: ReplyHeaders<'_>,
    body: &'a [u8],
) -> Reply<'a> {
    let mut fields = Fields::default();
    let start = body.get(..MAX_REPLY_BYTES).unwrap_or(body);
    let is_whole = fields.read(start).is_some() && start.len() == body.len();
    Reply {
        outcome: if is_whole {
            outcome(status, fields.error_code, fields.success, codes)
        } else {
            outcome_by_status(status)
        },
        status,
        error_code: fields.error_code,
        error_msg: fields.error_msg,
        message: fields.message,
        request_id: fields.request_id,
        retry_after: headers.retry_after.and_then(parse_retry_after),
        date: headers.date.and_then(parse_date),
    }
}

/// What a response means whose body is a whole JSON object.
fn outcome(
    status: u16,
    error_code: Option<Text<'_>>,
    success: Success,
    codes: &ServiceCodes<'_>,
) -> Outcome {
    let Some(code) = error_code else {
        return match (status, success) {
            (200..=299, Success::Said(true)) => Outcome::Accepted,
            (200..=299, Success::Said(false)) => Outcome::Refused,
            _ => outcome_by_status(status),
        };
    };
    let is_one_of = |known: &[&str]| {
        let is = |known: &&str| after(code, known).is_some_and(|rest| !rest.has_more());
        known.iter().any(is)
    };
    let begins_with = |prefix: &&str| after(code, prefix).is_some_and(|rest| rest.has_more());
    match status {
        400 if is_one_of(&SERVER_TROUBLE) => Outcome::TryAgain,
        403 if is_one_of(&WRONG_CREDENTIALS) => Outcome::Credentials,
        // Before the service's own: whatever is set, a wrong path must bury nothing.
        404 if GATEWAY.iter().any(begins_with) => Outcome::Misconfigured,
        200..=299 | 400 | 404 | 405 | 409 | 413 | 422 if codes.include(code) => Outcome::Refused,
        _ => outcome_by_status(status),
    }
}

/// What a status means, whoever gave it.
fn outcome_by_status(status: u16) -> Outcome {
    match status {
        300..=399 | 407 => Outcome::Misconfigured,
        401 => Outcome::Credentials,
        408 | 425 | 429 | 500..=599 => Outcome::TryAgain,
        _ => Outcome::NotUnderstood,
    }
}

/// Trouble of the server's that comes as a 400.
const SERVER_TROUBLE: [&str; 3] = ["DLI.0999", "DLI.0019", "DLI.10001"];

const WRONG_CREDENTIALS: [&str; 10] = [
    "DLI.0013",
    "DLI.0014",
    "DLI.10007",
    "DLI.10008",
    "APIG.0301",
    "APIG.0302",
    "APIG.0303",
    "APIGW.0301",
    "APIGW.0302",
    "APIGW.0303",
];

/// The gateway before the service.
const GATEWAY: [&str; 2] = ["APIG.", "APIGW."];

/// 2020-01-01 up to 2100-12-31: a clock that tells another time is not one to set ours by.
const PLAUSIBLE_MS: Range<i64> = 1_577_836_800_000..4_133_980_800_000;

fn parse_date(text: &str) -> Option<WallTime> {
    http_date::parse(text.trim_ascii()).filter(|date| PLAUSIBLE_MS.contains(&date.unix_ms()))
}

fn parse_retry_after(text: &str) -> Option<RetryAfter> {
    let text = text.trim_ascii();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX)));
    }
    http_date::parse(text).map(RetryAfter::At)
}

/// What was said about success.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Success {
    /// Nothing.
    #[default]
    Unsaid,
    /// Yes or no.
    Said(bool),
    /// Something else, or both.
    Unclear,
}

/// The members that matter; of a repeated one the first, but those that decide must agree.
#[derive(Default)]
struct Fields<'a> {
    success: Success,
    error_code: Option<Text<'a>>,
    error_msg: Option<Text<'a>>,
    message: Option<Text<'a>>,
    request_id: Option<Text<'a>>,
}

impl<'a> Fields<'a> {
    /// `None` when the body is not one whole JSON object, or its `error_code` is none or contradicts itself.
    /// A text with wrong content (not UTF-8, say) is left out, and the rest is read.
    fn read(&mut self, body: &'a [u8]) -> Option<()> {
        let mut scanner = Scanner::new(body);
        if !matches!(scanner.next_token(), Ok(Some(Token::ObjectStart))) {
            return None;
        }
        loop {
            let key = match scanner.next_token().ok()?? {
                Token::Key(key) => key,
                Token::ObjectEnd => break,
                _ => return None,
            };
            let value = match scanner.next_token() {
                Ok(token) => Some(token?),
                Err(error) if error.is_in_string() => None,
                Err(_) => return None,
            };
            self.member(key, value)?;
            while scanner.depth() > 1 {
                match scanner.next_token() {
                    Err(error) if !error.is_in_string() => return None,
                    _ => {}
                }
            }
        }
        scanner.next_token().ok()?.is_none().then_some(())
    }

    /// Takes a value; `None` is a text with wrong content.
    fn member(&mut self, key: Text<'a>, value: Option<Token<'a>>) -> Option<()> {
        if key.is("is_success") {
            let said = match value {
                Some(Token::Bool(value)) => Success::Said(value),
                Some(Token::String(text)) if text.is("true") => Success::Said(true),
                Some(Token::String(text)) if text.is("false") => Success::Said(false),
                _ => Success::Unclear,
            };
            self.success = match self.success {
                Success::Unsaid => said,
                before if before == said => said,
                _ => Success::Unclear,
            };
            return Some(());
        }
        if key.is("error_code") {
            let text = match value? {
                Token::String(text) => text,
                Token::Null => return Some(()),
                _ => return None,
            };
            return match self.error_code {
                _ if text.is_empty() => Some(()),
                Some(first) => first.chars().eq(text.chars()).then_some(()),
                None => {
                    self.error_code = Some(text);
                    Some(())
                }
            };
        }
        let slot = [
            ("error_msg", &mut self.error_msg),
            ("message", &mut self.message),
            ("request_id", &mut self.request_id),
        ];
        let slot = slot.into_iter().find(|(name, _)| key.is(name));
        if let (Some((_, slot)), Some(Token::String(text))) = (slot, value)
            && !text.is_empty()
        {
            slot.get_or_insert(text);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_hostile_text_stays_on_its_line() {
        let body = br#"{"error_code":"X","error_msg":"a\n\u001b[2Jb"}"#;
        let reply = read_reply(400, ReplyHeaders::default(), body);
        assert_eq!(
            reply.to_string(),
            r"not_understood: 400 X a\u000a\u001b[2Jb"
        );
    }
}
