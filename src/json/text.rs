//! Strings and numbers as they stand in a JSON text, and places in it.

use core::fmt::{self, Write};

use super::kernel::plain_run;
use super::sink::{Full, Sink};
use super::string::put_char;

/// A checked JSON string, still as it stands between its quotes. Two are equal if they stand for the same text, however it is escaped.
///
/// ```
/// use edge_report::json::Text;
///
/// assert_eq!(Text::from_raw(r"a\/b"), Text::from_raw("a/b"));
/// assert_eq!(Text::from_raw(r"\u00e4"), Text::from_raw("ä"));
/// assert_ne!(Text::from_raw(r"\\u00e4"), Text::from_raw("ä"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(raw: &'a str, escaped: bool) -> Self {
        Text { raw, escaped }
    }

    /// Takes what [`raw`](Self::raw) gave. An escape that is none ends the text.
    pub fn from_raw(raw: &'a str) -> Self {
        Text::new(raw, raw.bytes().any(|b| b == b'\\'))
    }

    /// What stands between the quotes, escapes and all.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The text, if it has no escapes and so needs no decoding.
    pub fn plain(&self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// Whether it stands for nothing.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The characters it stands for, surrogate pairs joined.
    pub fn chars(&self) -> Decoded<'a> {
        Decoded { rest: self.raw }
    }

    /// Whether it stands for `other`.
    pub fn is(&self, other: &str) -> bool {
        if self.escaped {
            self.chars().eq(other.chars())
        } else {
            self.raw == other
        }
    }

    /// Appends the text it stands for, as UTF-8. Never longer than [`raw`](Self::raw).
    pub fn decode<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
        if !self.escaped {
            return out.put(self.raw.as_bytes());
        }
        let before = out.len();
        for c in self.chars() {
            if let Err(full) = out.put(c.encode_utf8(&mut [0; 4]).as_bytes()) {
                out.truncate(before);
                return Err(full);
            }
        }
        Ok(())
    }

    /// Writes it as [`Sink::put_string`] would, without decoding what stands there in that form already.
    pub(crate) fn write_json<S: Sink + ?Sized>(&self, out: &mut S) -> Result<(), Full> {
        out.put(b"\"")?;
        let mut rest = self.raw;
        let mut kept = if self.escaped { 0 } else { rest.len() };
        loop {
            let bytes = rest.as_bytes().get(kept..).unwrap_or_default();
            kept = kept.wrapping_add(plain_run(bytes));
            match rest.as_bytes().get(kept.wrapping_add(1)) {
                None => break,
                Some(b'/' | b'u') => {
                    let (plain, escape) = rest.split_at_checked(kept).unwrap_or((rest, ""));
                    out.put(plain.as_bytes())?;
                    let mut decoded = Decoded { rest: escape };
                    decoded.next().map_or(Ok(()), |c| put_char(c, out))?;
                    (rest, kept) = (decoded.rest, 0);
                }
                // The other escapes have one spelling.
                Some(_) => kept = kept.wrapping_add(2),
            }
        }
        out.put(rest.as_bytes())?;
        out.put(b"\"")
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        match other.plain() {
            Some(other) => self.is(other),
            None => self.chars().eq(other.chars()),
        }
    }
}

impl Eq for Text<'_> {}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

/// The characters of a [`Text`].
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    rest: &'a str,
}

impl Decoded<'_> {
    /// Whether there is another character.
    pub(crate) fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn hex4(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        u32::from_str_radix(digits, 16).ok()
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.take()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.hex4()?;
                if (0xd800..0xdc00).contains(&high) {
                    self.rest = self.rest.strip_prefix("\\u")?;
                    let low = self.hex4()?;
                    let pair = (high & 0x3ff) << 10 | (low & 0x3ff);
                    char::from_u32(pair.wrapping_add(0x1_0000))?
                } else {
                    char::from_u32(high)?
                }
            }
            other => other,
        })
    }
}

impl Iterator for Decoded<'_> {
    type Item = char;

    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // large, and called from many places
    fn next(&mut self) -> Option<char> {
        match self.take()? {
            '\\' => self.escape(),
            c => Some(c),
        }
    }
}

/// A checked JSON number as it stands in the text. Two are equal if they are spelled alike: `1.0` is not `1.00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    raw: &'a str,
    integer: bool,
}

impl<'a> Number<'a> {
    pub(super) fn new(raw: &'a [u8], integer: bool) -> Self {
        // ASCII by the scanner's own check.
        let raw = core::str::from_utf8(raw).unwrap_or_default();
        Number { raw, integer }
    }

    /// The digits as they stand.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether it has neither fraction nor exponent.
    pub fn is_integer(&self) -> bool {
        self.integer
    }

    /// The value of an integer that fits.
    pub fn to_i64(&self) -> Option<i64> {
        if self.integer {
            self.raw.parse().ok()
        } else {
            None
        }
    }
}

/// Line and column, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line; lines end with `\n`.
    pub line: usize,
    /// Column in characters; bytes that are not UTF-8 count one each.
    pub column: usize,
}

/// Line and column of a byte offset; an offset past the end is the end.
pub fn position(text: &[u8], offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let newline = |&b: &u8| b == b'\n';
    let line_start = before
        .iter()
        .rposition(newline)
        .map_or(0, |at| at.saturating_add(1));
    let columns = |chunk: core::str::Utf8Chunk<'_>| {
        chunk
            .valid()
            .chars()
            .count()
            .saturating_add(chunk.invalid().len())
    };
    let line = before.get(line_start..).unwrap_or_default();
    Position {
        line: before
            .iter()
            .filter(|b| newline(b))
            .count()
            .saturating_add(1),
        column: line
            .utf8_chunks()
            .map(columns)
            .sum::<usize>()
            .saturating_add(1),
    }
}
