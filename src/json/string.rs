//! JSON strings: which bytes need an escape, and what is written in their place.

use super::kernel::plain_run;
use super::sink::{Full, Sink};

/// Appends `text` as a JSON string, run by run: see [`Sink::put_string`].
pub(super) fn put<S: Sink + ?Sized>(text: &[u8], out: &mut S) -> Result<(), Full> {
    out.put(b"\"")?;
    let mut rest = text;
    loop {
        let (plain, special) = rest
            .split_at_checked(plain_run(rest))
            .unwrap_or((rest, &[]));
        out.put(plain)?;
        let Some((&byte, after)) = special.split_first() else {
            return out.put(b"\"");
        };
        put_escape(byte, out)?;
        rest = after;
    }
}

/// Appends one character of a string.
pub(super) fn put_char<S: Sink + ?Sized>(c: char, out: &mut S) -> Result<(), Full> {
    match u8::try_from(c) {
        Ok(byte) if is_special(byte) => put_escape(byte, out),
        _ => out.put(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn put_escape<S: Sink + ?Sized>(byte: u8, out: &mut S) -> Result<(), Full> {
    let (escape, len) = escape(byte);
    out.put(escape.get(..len).unwrap_or_default())
}

/// Whether a byte cannot stand in a JSON string as it is.
pub(super) const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// What stands for a special byte, and how long that is.
pub(super) const fn escape(byte: u8) -> ([u8; 6], usize) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let high = b'0'.wrapping_add(byte >> 4);
            let low = byte & 15;
            let low = low.wrapping_add(if low < 10 { b'0' } else { b'a' - 10 });
            return ([b'\\', b'u', b'0', b'0', high, low], 6);
        }
    };
    ([b'\\', short, 0, 0, 0, 0], 2)
}

/// Where a string ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringEnd {
    /// How many bytes stand in front of its quote.
    pub(crate) len: usize,
    /// Whether there are escapes among them.
    pub(crate) has_escapes: bool,
    /// Whether they are known to be ASCII.
    pub(crate) is_ascii: bool,
    /// Whether their escapes, but for `\u00xx`, are those that [`Sink::put_string`] writes.
    pub(crate) is_canonical: bool,
}

impl Default for StringEnd {
    fn default() -> Self {
        StringEnd {
            len: 0,
            has_escapes: false,
            is_ascii: true,
            is_canonical: true,
        }
    }
}

impl StringEnd {
    /// Takes note of the escape that `bytes` begin with; `None` if it does not stand for one character, as half of a surrogate pair does not.
    pub(super) fn note_escape(&mut self, bytes: &[u8]) -> Option<()> {
        self.has_escapes = true;
        match bytes {
            [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => return Some(()),
            [b'\\', b'/', ..] => {}
            [b'\\', b'u', first, second, third, fourth, ..] => {
                let digits = [first, second, third, fourth];
                let is_high = matches!(second, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F');
                let is_surrogate = matches!(first, b'd' | b'D') && is_high;
                let is_hex = digits.iter().all(|digit| digit.is_ascii_hexdigit());
                (is_hex && !is_surrogate).then_some(())?;
            }
            _ => return None,
        }
        self.is_canonical = false;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::json::{Counter, SliceSink};

    /// A sink that knows only how to put bytes.
    #[derive(Default)]
    struct Plain(Vec<u8>);

    impl Sink for Plain {
        fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
            self.0.put(bytes)
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn room(&self) -> usize {
            usize::MAX
        }
        fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }
    }

    /// Into every kind of sink, with just enough room and with one byte too little.
    fn check(text: &str) {
        let expected = serde_json::to_string(text).unwrap();
        let expected = expected.as_bytes();
        let mut plain = Plain::default();
        plain.put_string(text).unwrap();
        assert_eq!(plain.0, expected);
        let mut grown = Vec::new();
        grown.put_string(text).unwrap();
        assert_eq!(grown, expected);
        let mut counter = Counter::default();
        counter.put_string(text).unwrap();
        assert_eq!(counter.len(), expected.len());
        for (room, fits) in [(0, true), (700, true), (1, false)] {
            let room = (expected.len() + room) - if fits { 0 } else { 2 };
            let mut buffer = std::vec![0; room];
            let mut sink = SliceSink::new(&mut buffer);
            assert_eq!(sink.put_string(text).is_ok(), fits);
            assert!(!fits || sink.written() == expected);
        }
    }

    #[test]
    fn every_byte_at_every_place() {
        for len in 0..200 {
            for place in 0..len {
                let mut text: String = "abcdefghijklmnopqrstuvwxyz"
                    .chars()
                    .cycle()
                    .take(len)
                    .collect();
                text.replace_range(place..=place, ["\"", "\u{1}", "\n"][len % 3]);
                check(&text);
            }
        }
        for place in [0, 7, 15, 16, 31, 40, 63, 64, 90, 127, 128] {
            for byte in 0..128u8 {
                let mut text = "x".repeat(place);
                text.push(char::from(byte));
                text.push_str("é漢😀 tail of it, which is longer than any register");
                check(&text);
                check(&text[place..]);
            }
        }
    }

    #[test]
    fn dense_and_sparse() {
        for len in (0..140).chain([511, 512, 513, 5000]) {
            check(&"\u{1f}".repeat(len));
            check(&"\\".repeat(len));
            check(&"a\"".repeat(len));
            check(&"漢".repeat(len));
            check(&"x".repeat(len));
        }
    }
}
