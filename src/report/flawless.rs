//! The short way of [`check`](super::check): knows a report that this library wrote and that has nothing wrong, in a
//! quarter of the time. Whatever else comes, and be it just as right, goes the long way.

use super::model::JobStatus;
use super::rules;
use crate::json::{StringEnd, string_end};

/// Whether `text` is such a report; if so, whether it has a topic.
pub(super) fn report(text: &[u8]) -> Option<HasTopic> {
    let mut reader = Reader { text, at: 0 };
    reader.literal(b"{\"jobs\":[")?;
    loop {
        reader.job()?;
        match reader.byte()? {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    let has_topic = reader.literal(b",\"msg_confirm_topic\":\"").is_some();
    if has_topic {
        reader.text_to_quote()?.non_empty()?;
    }
    reader.literal(b",\"message_id\":\"")?;
    reader.text_to_quote()?.non_empty()?;
    reader.literal(b"}")?;
    (reader.at == text.len()).then_some(HasTopic(has_topic))
}

pub(super) struct HasTopic(pub(super) bool);

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn job(&mut self) -> Option<()> {
        if self.literal(b"{\"job_id\":").is_some() {
            self.integer(rules::job_id)?;
            self.literal(b",\"status\":\"")?;
        } else {
            self.literal(b"{\"status\":\"")?;
        }
        self.status()?;
        self.literal(b",\"create_time\":")?;
        self.integer(rules::create_time)?;
        if self.literal(b",\"exceptions\":").is_some() {
            self.exceptions()?;
        }
        if self.literal(b",\"metrics\":\"").is_some() {
            self.text_to_quote()?;
        }
        if self.literal(b",\"plan\":\"").is_some() {
            self.text_to_quote()?;
        }
        self.literal(b"}")
    }

    fn exceptions(&mut self) -> Option<()> {
        if self.literal(b"\"").is_some() {
            self.text_to_quote()?;
            return Some(());
        }
        self.literal(b"{\"error_id\":\"")?;
        self.text_to_quote()?;
        self.literal(b",\"error_type\":\"")?;
        self.text_to_quote()?;
        self.literal(b",\"error_cause\":\"")?;
        self.text_to_quote()?;
        self.literal(b",\"exception\":\"")?;
        self.text_to_quote()?;
        self.literal(b",\"error_time\":\"")?;
        let time = self.text_to_quote()?;
        rules::error_time(time.0).is_none().then_some(())?;
        self.literal(b"}")
    }

    fn status(&mut self) -> Option<()> {
        let name = self.text_to_quote()?.0;
        let mut known = JobStatus::KNOWN.iter();
        known
            .any(|status| status.name().as_bytes() == name)
            .then_some(())
    }

    /// An integer that has nothing wrong by `rule`; both of them want one above 0.
    fn integer(&mut self, rule: fn(i64) -> Option<crate::Code>) -> Option<()> {
        let digits = self
            .rest()?
            .iter()
            .map_while(|byte| char::from(*byte).to_digit(10));
        let (mut value, mut count) = (0i64, 0usize);
        // More than any value that a rule lets pass.
        for digit in digits.take(18) {
            (count > 0 || digit > 0).then_some(())?;
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            count = count.wrapping_add(1);
        }
        self.at = self.at.wrapping_add(count);
        rule(value).is_none().then_some(())
    }

    /// The content of a string, from behind its first quote to behind its last.
    #[inline]
    fn text_to_quote(&mut self) -> Option<Content<'a>> {
        let rest = self.rest()?;
        let StringEnd { len, is_ascii, .. } = string_end(rest)?;
        let content = rest.get(..len)?;
        if !is_ascii && core::str::from_utf8(content).is_err() {
            return None;
        }
        self.at = self.at.wrapping_add(len).wrapping_add(1);
        Some(Content(content))
    }

    #[inline]
    fn literal<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        if self.rest()?.first_chunk::<N>()? != literal {
            return None;
        }
        self.at = self.at.wrapping_add(N);
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied();
        self.at = self.at.wrapping_add(1);
        byte
    }

    #[inline]
    fn rest(&self) -> Option<&'a [u8]> {
        self.text.get(self.at..)
    }
}

struct Content<'a>(&'a [u8]);

impl Content<'_> {
    fn non_empty(&self) -> Option<()> {
        (!self.0.is_empty()).then_some(())
    }
}
