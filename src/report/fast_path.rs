//! The fast path: recognises a valid report in this library's own layout, in a fraction of the time; anything else takes the scanner.

use super::contract::{
    self, HEAD, MAX_REPORT_BYTES, Value, after_jobs, exception_members, if_missing, job_members,
    report_members,
};
use super::model::JobStatus;
use crate::code::{Code, Severity};
use crate::json::string_end;
use crate::small::IS_ROOMY;

/// A report with nothing wrong.
pub(super) struct Recognised {
    /// The advised member that is not there, if any.
    pub(super) missing: Option<(Code, &'static str)>,
    /// Whether it is byte for byte what `canonical_into` makes of it.
    pub(super) is_canonical: bool,
}

/// Reads a report in this library's form, with nothing wrong; `None` if `text` is anything else.
pub(super) fn report(text: &[u8]) -> Option<Recognised> {
    (IS_ROOMY && text.len() <= MAX_REPORT_BYTES).then_some(())?;
    let mut reader = Reader {
        text,
        at: 0,
        missing: None,
        is_canonical: true,
    };
    reader.literal(HEAD)?;
    loop {
        reader.job()?;
        match reader.byte()? {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    reader.after_jobs()?;
    (reader.at == text.len()).then_some(Recognised {
        missing: reader.missing,
        is_canonical: reader.is_canonical,
    })
}

/// Reads the members of an object by their list, from `$open` in front of the first to the `}` after the last.
macro_rules! read_members {
    (($reader:ident, $open:literal) $($name:ident $need:ident $value:ident,)*) => {{
        let is_first = true;
        $(
            let key = match is_first {
                true => $reader.literal(concat!($open, "\"", stringify!($name), "\":")),
                false => $reader.literal(concat!(",\"", stringify!($name), "\":")),
            };
            if key.is_some() {
                $reader.value(Value::$value)?;
            } else if let Some(code) = if_missing!($need) {
                $reader.lacks(code, stringify!($name))?;
            }
            let is_first = is_first && key.is_none();
        )*
        let _ = is_first;
        $reader.literal("}")
    }};
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    missing: Option<(Code, &'static str)>,
    is_canonical: bool,
}

impl<'a> Reader<'a> {
    fn job(&mut self) -> Option<()> {
        job_members!(read_members(self, "{"))
    }

    fn after_jobs(&mut self) -> Option<()> {
        report_members!(after_jobs(read_members(self, ",")))
    }

    #[inline(always)] // each member knows its kind
    fn value(&mut self, value: Value) -> Option<()> {
        match value {
            // Only a report has any.
            Value::Jobs => None,
            Value::JobId => self.integer(contract::job_id),
            Value::Status => self.text(is_known),
            Value::CreateTime => self.integer(contract::create_time),
            Value::Exceptions => self.exceptions(),
            Value::Text => self.text(|_| true),
            Value::NonEmptyText => self.text(|text| !text.is_empty()),
            Value::ErrorTime => self.text(|text| contract::error_time(text).is_none()),
        }
    }

    fn exceptions(&mut self) -> Option<()> {
        if self.rest()?.first() == Some(&b'"') {
            return self.text(|_| true);
        }
        exception_members!(read_members(self, "{"))
    }

    #[inline]
    fn text(&mut self, is_right: impl FnOnce(&[u8]) -> bool) -> Option<()> {
        self.literal("\"")?;
        is_right(self.string()?).then_some(())
    }

    /// One advised member may be missing, which is worth a warning.
    #[inline]
    fn lacks(&mut self, code: Code, name: &'static str) -> Option<()> {
        let is_allowed = code.severity() == Severity::Warning && self.missing.is_none();
        self.missing = Some((code, name));
        is_allowed.then_some(())
    }

    /// An integer that has nothing wrong by `rule`; both of them want one above 0.
    fn integer(&mut self, rule: fn(i64) -> Option<Code>) -> Option<()> {
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

    /// The content of a string, from after its first quote to after its last.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let end = string_end(self.text, self.at)?;
        let content = self.rest()?.get(..end.len)?;
        if !end.is_ascii && core::str::from_utf8(content).is_err() {
            return None;
        }
        self.is_canonical &= end.is_canonical;
        self.at = self.at.wrapping_add(end.len).wrapping_add(1);
        Some(content)
    }

    #[inline]
    fn literal(&mut self, literal: &str) -> Option<()> {
        if !self.rest()?.starts_with(literal.as_bytes()) {
            return None;
        }
        self.at = self.at.wrapping_add(literal.len());
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

fn is_known(status: &[u8]) -> bool {
    let mut known = JobStatus::KNOWN.iter();
    known.any(|known| known.name().as_bytes() == status)
}
