//! Why a report is not delivered: short enough to be kept with it.

use core::fmt::{self, Write};

use crate::code::Code;
use crate::exchange::{Outcome, Reply};
use crate::json::Text;
use crate::small;
use crate::time::WallTime;

/// Text of at most `N` bytes of UTF-8, cut on a character's border. Control characters become spaces, so that it fits into a log line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortText<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> ShortText<N> {
    /// No text.
    pub(super) const EMPTY: Self = ShortText {
        bytes: [0; N],
        len: 0,
    };

    /// As much of `text` as fits.
    pub(super) fn new(text: &str) -> Self {
        let mut this = Self::EMPTY;
        let _ = this.write_str(text);
        this
    }

    /// Appends characters up to the first that does not fit.
    fn fill(&mut self, chars: impl Iterator<Item = char>) {
        for c in chars {
            let c = if c.is_control() { ' ' } else { c };
            let end = usize::from(self.len).saturating_add(c.len_utf8());
            let Some(room) = self.bytes.get_mut(usize::from(self.len)..end) else {
                return;
            };
            let Ok(len) = u8::try_from(end) else { return };
            let mut utf8 = [0; 4];
            for (to, from) in room.iter_mut().zip(c.encode_utf8(&mut utf8).bytes()) {
                *to = from;
            }
            self.len = len;
        }
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whether there is none.
    const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Write for ShortText<N> {
    /// Never fails: what does not fit is left out.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.fill(text.chars());
        Ok(())
    }
}

impl<const N: usize> Default for ShortText<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes kept of an `error_code`.
pub(super) const MAX_ERROR_CODE: usize = 24;
/// Bytes kept of a reason's text; fewer where there is no heap.
pub(super) const MAX_REASON_TEXT: usize = small::REASON_TEXT;

/// What kind of reason it is. There will be no third kind: a response came, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A response came, and means this.
    Response(Outcome),
    /// None came: [`Code::NotSent`], [`Code::MayHaveArrived`], a setting such as [`Code::Tls`] that cannot work; or the report
    /// must not be sent any more, [`Code::Overtaken`].
    Failed(Code),
}

impl Cause {
    /// For storage and other languages: the number of the outcome, or that of the code and 1000.
    pub const fn number(self) -> u16 {
        match self {
            Cause::Response(outcome) => outcome.number() as u16,
            Cause::Failed(code) => code.number().saturating_add(1000),
        }
    }

    /// Reads [`number`](Self::number).
    pub fn from_number(number: u16) -> Option<Self> {
        match number.checked_sub(1000) {
            Some(code) => Code::from_number(code).map(Cause::Failed),
            None => Outcome::ALL
                .iter()
                .copied()
                .find(|outcome| u16::from(outcome.number()) == number)
                .map(Cause::Response),
        }
    }
}

/// Why a report was not delivered by an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reason {
    /// What kind of reason.
    pub cause: Cause,
    /// The HTTP status of the response; 0 if there was none.
    pub status: u16,
    pub(super) error_code: ShortText<MAX_ERROR_CODE>,
    pub(super) text: ShortText<MAX_REASON_TEXT>,
}

impl Reason {
    #[doc(hidden)]
    pub const MAX_ERROR_CODE: usize = MAX_ERROR_CODE;
    #[doc(hidden)]
    pub const MAX_TEXT: usize = MAX_REASON_TEXT;

    /// A response with this status.
    pub const fn response(outcome: Outcome, status: u16) -> Self {
        Reason {
            cause: Cause::Response(outcome),
            status,
            error_code: ShortText::EMPTY,
            text: ShortText::EMPTY,
        }
    }

    /// No response.
    pub const fn failed(code: Code) -> Self {
        Reason {
            cause: Cause::Failed(code),
            status: 0,
            error_code: ShortText::EMPTY,
            text: ShortText::EMPTY,
        }
    }

    /// The response's `error_code`, or its first 24 bytes; empty if it had none.
    pub fn error_code(&self) -> &str {
        self.error_code.as_str()
    }

    /// The response's own words, or those of the system or of TLS, or the first 120 bytes of them (40 without `alloc`), on one line.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// The same with words of its own.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = ShortText::new(text);
        self
    }

    /// The same with an `error_code`.
    #[must_use]
    pub fn with_error_code(mut self, error_code: &str) -> Self {
        self.error_code = ShortText::new(error_code);
        self
    }
}

impl fmt::Display for Reason {
    /// `refused: 400 DLI.0001 the reason`, or `not sent: connection refused`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Response(outcome) => write!(f, "{outcome}: {}", self.status)?,
            Cause::Failed(code) => code.fmt(f)?,
        }
        if !self.error_code.is_empty() {
            write!(f, " {}", self.error_code)?;
        }
        if !self.text.is_empty() {
            let colon = if self.status == 0 { ":" } else { "" };
            write!(f, "{colon} {}", self.text)?;
        }
        Ok(())
    }
}

/// What came back from one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What came, and what was said.
    pub reason: Reason,
    /// What the server asks to wait.
    pub retry_after_ms: Option<u64>,
    /// By how much the server's clock is ahead of this node's, uncorrected.
    pub clock_skew_ms: Option<i64>,
}

impl Event {
    /// No connection: not sent.
    pub const NOT_SENT: Event = Event::failed(Code::NotSent);
    /// It went out, and no whole response came.
    pub const MAY_HAVE_ARRIVED: Event = Event::failed(Code::MayHaveArrived);

    /// A response.
    pub const fn response(outcome: Outcome, status: u16) -> Self {
        Event {
            reason: Reason::response(outcome, status),
            retry_after_ms: None,
            clock_skew_ms: None,
        }
    }

    /// No response: [`Code::NotSent`], [`Code::MayHaveArrived`], or a setting that cannot work.
    pub const fn failed(code: Code) -> Self {
        Event {
            reason: Reason::failed(code),
            retry_after_ms: None,
            clock_skew_ms: None,
        }
    }

    /// The same with words of its own.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.reason = self.reason.with_text(text);
        self
    }

    /// The same with an `error_code`.
    #[must_use]
    pub fn with_error_code(mut self, error_code: &str) -> Self {
        self.reason = self.reason.with_error_code(error_code);
        self
    }

    /// The same with a wait that the server asks for.
    #[must_use]
    pub const fn with_retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same with the difference of the clocks.
    #[must_use]
    pub const fn with_clock_skew_ms(mut self, ms: i64) -> Self {
        self.clock_skew_ms = Some(ms);
        self
    }

    /// From a response that came at `now` by this node's uncorrected clock.
    pub fn from_reply(reply: &Reply<'_>, now: WallTime) -> Self {
        let mut event = Event::response(reply.outcome, reply.status);
        event.retry_after_ms = reply.retry_after_ms(now);
        event.clock_skew_ms = reply.clock_skew_ms(now);
        event.with_words(reply.error_code, reply.error_msg.or(reply.message))
    }

    /// The same with a response's own words, still escaped as JSON has them.
    #[doc(hidden)]
    #[must_use]
    pub fn with_words(mut self, error_code: Option<Text<'_>>, text: Option<Text<'_>>) -> Self {
        for (text, is_code) in [(error_code, true), (text, false)] {
            let chars = text.iter().flat_map(|text| text.chars());
            match is_code {
                true => self.reason.error_code.fill(chars),
                false => self.reason.text.fill(chars),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;
    use crate::exchange::{ReplyHeaders, read_reply};

    #[test]
    fn a_text_is_cut_on_a_character_and_nothing_follows_the_cut() {
        let long = "a".repeat(MAX_REASON_TEXT - 1);
        let body = std::format!(r#"{{"error_code":"DLI.0001","error_msg":"{long}\u4e2db"}}"#);
        let reply = read_reply(400, ReplyHeaders::default(), body.as_bytes());
        let event = Event::from_reply(&reply, WallTime::from_unix_ms(0));
        assert_eq!(event.reason.text.as_str(), long);
        assert_eq!(ShortText::<4>::new("a\nb\u{e9}c").as_str(), "a b");
    }

    #[test]
    fn a_date_outside_of_2020_to_2100_is_none() {
        for (date, is_one) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", false),
            ("Tue, 31 Dec 2019 23:59:59 GMT", false),
            ("Wed, 01 Jan 2020 00:00:00 GMT", true),
            ("Fri, 31 Dec 2100 23:59:59 GMT", true),
            ("Sat, 01 Jan 2101 00:00:00 GMT", false),
            ("Fri, 31 Dec 9999 23:59:59 GMT", false),
        ] {
            let headers = ReplyHeaders::default().with_date(date);
            let reply = read_reply(401, headers, b"");
            let event = Event::from_reply(&reply, WallTime::from_unix_ms(0));
            assert_eq!(event.clock_skew_ms.is_some(), is_one, "{date}");
        }
    }

    #[test]
    fn causes_lead_back_from_their_numbers() {
        for &outcome in Outcome::ALL {
            let cause = Cause::Response(outcome);
            assert_eq!(Cause::from_number(cause.number()), Some(cause));
        }
        for &code in Code::ALL {
            let cause = Cause::Failed(code);
            assert_eq!(Cause::from_number(cause.number()), Some(cause));
        }
        for none in [0, 7, 999, 1000, u16::MAX] {
            assert_eq!(Cause::from_number(none), None);
        }
    }

    #[test]
    fn a_text_is_cut_on_a_border_and_stays_on_its_line() {
        let text = ShortText::<6>::new("ab\n\u{e9}\u{e9}c");
        assert_eq!(text.as_str(), "ab \u{e9}");
        assert_eq!(ShortText::<6>::new("abcdef").as_str(), "abcdef");
        assert!(ShortText::<6>::new("").is_empty());
        let long: String = "x".repeat(300);
        let reason = Reason::failed(Code::NotSent).with_text(&long);
        assert_eq!(reason.text.as_str().len(), MAX_REASON_TEXT);
        let reason = Reason::response(Outcome::Refused, 400)
            .with_error_code("DLI.0001")
            .with_text("no such job");
        assert_eq!(reason.to_string(), "refused: 400 DLI.0001 no such job");
    }
}
