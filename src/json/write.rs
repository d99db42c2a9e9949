//! Writing JSON strings and integers.

use super::sink::{Full, Sink};

/// Writes `text` as a JSON string with its quotes: `"`, `\` and bytes below 0x20 escaped
/// (`\b \f \n \r \t`, else `\u00xx` in lower-case hex), all else raw.
pub fn write_string<S: Sink + ?Sized>(text: &str, out: &mut S) -> Result<(), Full> {
    out.put(b"\"")?;
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest
            .split_at_checked(plain_run(rest))
            .unwrap_or((rest, &[]));
        out.put(plain)?;
        let Some((&byte, after)) = special.split_first() else {
            return out.put(b"\"");
        };
        write_escape(byte, out)?;
        rest = after;
    }
}

/// Writes `value` in decimal.
pub fn write_integer<S: Sink + ?Sized>(value: i64, out: &mut S) -> Result<(), Full> {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut left = value.unsigned_abs();
    for slot in digits.iter_mut().rev() {
        *slot = b'0'.wrapping_add((left % 10) as u8);
        start = start.wrapping_sub(1);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.put(b"-")?;
    }
    out.put(digits.get(start..).unwrap_or_default())
}

/// Writes one character of a string.
pub(super) fn write_char<S: Sink + ?Sized>(c: char, out: &mut S) -> Result<(), Full> {
    match u8::try_from(c) {
        Ok(byte) if byte < 0x20 || byte == b'"' || byte == b'\\' => write_escape(byte, out),
        _ => out.put(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn write_escape<S: Sink + ?Sized>(byte: u8, out: &mut S) -> Result<(), Full> {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let short = match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        0x08 => b"\\b",
        0x0c => b"\\f",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        _ => {
            let high = b'0'.wrapping_add(byte >> 4);
            let low = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
            return out.put(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.put(short)
}

/// How many bytes at the front of `bytes` stand in a JSON string as they are.
///
/// Looks at eight bytes in one word: a byte is special if it is below 0x20, `"` or `\`.
#[inline]
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
    let special = |&b: &u8| b < 0x20 || b == b'"' || b == b'\\';
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

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn written(write: impl Fn(&mut heapless::Vec<u8, 256>) -> Result<(), Full>) -> String {
        let mut out = heapless::Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn integers() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            -10,
            99,
            100,
            1_591_104_868_201,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(written(|out| write_integer(value, out)), value.to_string());
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_word() {
        for place in 0..20 {
            for byte in 0..128u8 {
                let mut text = "x".repeat(place);
                text.push(char::from(byte));
                text.push_str("é漢😀 tail of it");
                let ours = written(|out| write_string(&text, out));
                assert_eq!(ours, serde_json::to_string(&text).unwrap());
            }
        }
    }
}
