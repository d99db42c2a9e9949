//! Looks for special bytes in words of eight: the small form, for machines without vectors.

use super::sink::{Sink, SliceSink};
use super::string::{self, StringEnd, escape, is_special};

/// How many bytes at the front of `bytes` stand in a JSON string as they are.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut at = 0usize;
    for &word in words {
        let found = special_bytes(u64::from_le_bytes(word));
        if found != 0 {
            // The lowest mark is exact: borrows only travel upwards from a special byte.
            return at.wrapping_add((found.trailing_zeros() / 8) as usize);
        }
        at = at.wrapping_add(8);
    }
    let special = |&b: &u8| is_special(b);
    at.wrapping_add(tail.iter().position(special).unwrap_or(tail.len()))
}

/// The top bit of each special byte; marks above the lowest one may be false.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    let below_space = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
    let quote = zero(word ^ ONES.wrapping_mul(0x22));
    let backslash = zero(word ^ ONES.wrapping_mul(0x5c));
    (below_space | quote | backslash) & TOPS
}

/// Finds the end of the string whose content begins at `at`; `None` if anything is wrong with it, but for its UTF-8.
pub(crate) fn string_end(text: &[u8], at: usize) -> Option<StringEnd> {
    let bytes = text.get(at..)?;
    let mut end = StringEnd {
        is_ascii: false, // not looked at
        ..StringEnd::default()
    };
    loop {
        let rest = bytes.get(end.len..)?;
        end.len = end.len.wrapping_add(plain_run(rest));
        match bytes.get(end.len)? {
            b'"' => return Some(end),
            b'\\' => end.note_escape(bytes.get(end.len..)?)?,
            _ => return None,
        }
        end.len = end.len.wrapping_add(2);
    }
}

/// By how many bytes `text` grows by its escapes.
pub(super) fn growth(text: &[u8]) -> usize {
    let each = |&byte: &u8| match is_special(byte) {
        true => escape(byte).1.wrapping_sub(1),
        false => 0,
    };
    text.iter().map(each).sum()
}

/// Writes `text` with its quotes to the front of `to`, and says how long that is; `None` if it does not fit.
pub(super) fn fill(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut sink = SliceSink::new(to);
    string::put(text, &mut sink).ok()?;
    Some(sink.len())
}
