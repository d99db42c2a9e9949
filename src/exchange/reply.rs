//! What an answer means: a closed set of outcomes.

use core::fmt::{self, Write};

use super::http_date;
use crate::json::{Scanner, Text, Token};
use crate::time::WallTime;

/// What became of a report, as far as the answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// The service took it.
    Accepted = 1,
    /// The service will never take it as it is.
    Refused = 2,
    /// An answer in the 200s that is no answer of this service, such as a captive portal's page, or a status
    /// that has no meaning here. Not accepted; try again.
    NotUnderstood = 3,
    /// The service is in trouble or overloaded; try again.
    TryAgain = 4,
    /// The credentials are wrong, expired, or the clock is: keep the report, hold all sending.
    Credentials = 5,
    /// The endpoint is wrong: it redirects, or a proxy wants credentials. Keep the report.
    Misconfigured = 6,
}

impl Outcome {
    /// All of them, by rising number.
    pub const ALL: [Outcome; 6] = [
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

/// The headers of an answer that matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyHeaders<'a> {
    /// `Retry-After`
    pub retry_after: Option<&'a str>,
    /// `Date`
    pub date: Option<&'a str>,
}

/// What `Retry-After` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// To wait that many seconds.
    Seconds(u64),
    /// To wait until then, by the server's clock.
    At(WallTime),
}

/// An answer, read.
#[derive(Clone, Copy, Debug)]
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
    /// When to try again.
    pub retry_after: Option<RetryAfter>,
    /// The server's clock.
    pub date: Option<WallTime>,
}

impl Reply<'_> {
    /// How many milliseconds the server asks to wait. A date counts from the server's own clock where it told it.
    pub fn retry_after_ms(&self, now: WallTime) -> Option<u64> {
        Some(match self.retry_after? {
            RetryAfter::Seconds(seconds) => seconds.saturating_mul(1000),
            RetryAfter::At(then) => {
                let from = self.date.unwrap_or(now).unix_ms();
                u64::try_from(then.unix_ms().saturating_sub(from)).unwrap_or(0)
            }
        })
    }

    /// By how many milliseconds the server's clock is ahead of `now`; exact to about a second.
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
fn write_visible(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if c.is_control() {
        write!(f, "\\u{:04x}", u32::from(c))
    } else {
        f.write_char(c)
    }
}

/// Reads an answer. The body may be cut or anything else: what is not a whole JSON object is no acceptance.
///
/// | status | body | outcome |
/// |---|---|---|
/// | 2xx | `is_success` true or `"true"` | accepted |
/// | 2xx | `is_success` false or `"false"`, or an `error_code` | refused |
/// | 2xx | anything else | not understood |
/// | 3xx, 407 | | misconfigured |
/// | 400 | `DLI.0999`, `DLI.0019`, `DLI.10001` | try again |
/// | 400, 404, 405, 413, 422 | | refused |
/// | 401, 403 | | credentials |
/// | 408, 425, 429, 5xx | | try again |
/// | else | | not understood |
pub fn read_reply<'a>(status: u16, headers: ReplyHeaders<'_>, body: &'a [u8]) -> Reply<'a> {
    let mut fields = Fields::default();
    let is_whole = fields.read(body).is_some();
    let server_trouble = |code: Text<'_>| {
        ["DLI.0999", "DLI.0019", "DLI.10001"]
            .iter()
            .any(|known| code.is(known))
    };
    let outcome = match status {
        200..=299 if !is_whole => Outcome::NotUnderstood,
        200..=299 => match (fields.error_code, fields.is_success) {
            (Some(_), _) | (None, Some(false)) => Outcome::Refused,
            (None, Some(true)) => Outcome::Accepted,
            (None, None) => Outcome::NotUnderstood,
        },
        300..=399 | 407 => Outcome::Misconfigured,
        400 if fields.error_code.is_some_and(server_trouble) => Outcome::TryAgain,
        400 | 404 | 405 | 413 | 422 => Outcome::Refused,
        401 | 403 => Outcome::Credentials,
        408 | 425 | 429 | 500..=599 => Outcome::TryAgain,
        _ => Outcome::NotUnderstood,
    };
    Reply {
        outcome,
        status,
        error_code: fields.error_code,
        error_msg: fields.error_msg,
        message: fields.message,
        request_id: fields.request_id,
        retry_after: headers.retry_after.and_then(parse_retry_after),
        date: headers.date.map(str::trim_ascii).and_then(http_date::parse),
    }
}

fn parse_retry_after(text: &str) -> Option<RetryAfter> {
    let text = text.trim_ascii();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX)));
    }
    http_date::parse(text).map(RetryAfter::At)
}

fn decides(key: Text<'_>) -> bool {
    key.is("is_success") || key.is("error_code")
}

/// The members that matter; of a repeated one the first, but a repeated `is_success` must agree.
#[derive(Default)]
struct Fields<'a> {
    is_success: Option<bool>,
    error_code: Option<Text<'a>>,
    error_msg: Option<Text<'a>>,
    message: Option<Text<'a>>,
    request_id: Option<Text<'a>>,
}

impl<'a> Fields<'a> {
    /// `None` when the body is not one whole JSON object, or contradicts itself.
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
                Ok(token) => token?,
                // These two decide, so they must be readable.
                Err(error) if error.is_in_string() && !decides(key) => continue,
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

    fn member(&mut self, key: Text<'a>, value: Token<'a>) -> Option<()> {
        if key.is("is_success") {
            let value = match value {
                Token::Bool(value) => value,
                Token::String(text) if text.is("true") => true,
                Token::String(text) if text.is("false") => false,
                _ => return None,
            };
            return (*self.is_success.get_or_insert(value) == value).then_some(());
        }
        if key.is("error_code") && !matches!(value, Token::String(_) | Token::Null) {
            return None;
        }
        let slot = [
            ("error_code", &mut self.error_code),
            ("error_msg", &mut self.error_msg),
            ("message", &mut self.message),
            ("request_id", &mut self.request_id),
        ];
        let slot = slot.into_iter().find(|(name, _)| key.is(name));
        if let (Some((_, slot)), Token::String(text)) = (slot, value)
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
        assert_eq!(reply.to_string(), r"refused: 400 X a\u000a\u001b[2Jb");
    }
}
