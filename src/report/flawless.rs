//! A short way for what this library wrote itself: knows a report in its form that has nothing wrong, in a fraction of the time.
//! Whatever else comes, and be it just as right, goes the long way.

use super::encode::MAX_REPORT_BYTES;
use super::model::JobStatus;
use super::rules;
use crate::json::{IS_ROOMY, string_end};

/// A report with nothing wrong.
pub(super) struct Flawless {
    pub(super) has_topic: bool,
    /// Whether it is byte for byte what `canonical_into` makes of it.
    pub(super) is_canonical: bool,
}

/// Reads a report in this library's form, with nothing wrong; `None` if `text` is anything else.
pub(super) fn report(text: &[u8]) -> Option<Flawless> {
    (IS_ROOMY && text.len() <= MAX_REPORT_BYTES).then_some(())?;
    let mut reader = Reader {
        text,
        at: 0,
        is_canonical: true,
    };
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
        reader.string()?.non_empty()?;
    }
    reader.literal(b",\"message_id\":\"")?;
    reader.string()?.non_empty()?;
    reader.literal(b"}")?;
    (reader.at == text.len()).then_some(Flawless {
        has_topic,
        is_canonical: reader.is_canonical,
    })
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    is_canonical: bool,
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
            self.string()?;
        }
        if self.literal(b",\"plan\":\"").is_some() {
            self.string()?;
        }
        self.literal(b"}")
    }

    fn exceptions(&mut self) -> Option<()> {
        if self.literal(b"\"").is_some() {
            self.string()?;
            return Some(());
        }
        self.literal(b"{\"error_id\":\"")?;
        self.string()?;
        self.literal(b",\"error_type\":\"")?;
        self.string()?;
        self.literal(b",\"error_cause\":\"")?;
        self.string()?;
        self.literal(b",\"exception\":\"")?;
        self.string()?;
        self.literal(b",\"error_time\":\"")?;
        let time = self.string()?;
        rules::error_time(time.0).is_none().then_some(())?;
        self.literal(b"}")
    }

    fn status(&mut self) -> Option<()> {
        let name = self.string()?.0;
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
    fn string(&mut self) -> Option<Content<'a>> {
        let end = string_end(self.text, self.at)?;
        let content = self.rest()?.get(..end.len)?;
        if !end.is_ascii && core::str::from_utf8(content).is_err() {
            return None;
        }
        self.is_canonical &= end.is_canonical;
        self.at = self.at.wrapping_add(end.len).wrapping_add(1);
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
