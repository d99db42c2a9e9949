//! Integers in decimal, eight digits at a time.

use super::sink::{Full, Sink};
use crate::divide::divide;
use crate::small::IS_ROOMY;

const GROUP: u64 = 100_000_000;

/// Appends `value`; see [`Sink::put_integer`].
pub(super) fn put<S: Sink + ?Sized>(value: i64, out: &mut S) -> Result<(), Full> {
    let mut text = [0; MAX_LEN];
    let len = fill(value, &mut text).ok_or(Full)?;
    out.put(text.get(..len).unwrap_or_default())
}

/// As long as an integer can be.
pub(super) const MAX_LEN: usize = 20;

/// Writes `value` to the front of `to`, and says how long that is; `None` if it does not fit.
#[inline]
pub(super) fn fill(value: i64, to: &mut [u8]) -> Option<usize> {
    if !IS_ROOMY {
        return fill_one_by_one(value, to);
    }
    let magnitude = value.unsigned_abs();
    let (high, low) = (magnitude / GROUP, magnitude % GROUP);
    if value < 0 || high >= GROUP {
        return fill_rare(value, to);
    }
    if high == 0 {
        return fill_leading(low, to);
    }
    let len = fill_leading(high, to)?;
    *to.get_mut(len..)?.first_chunk_mut()? = ascii(digits(low));
    Some(len.wrapping_add(8))
}

/// The small form: digit by digit.
#[inline(never)]
fn fill_one_by_one(value: i64, to: &mut [u8]) -> Option<usize> {
    let mut text = [0; MAX_LEN];
    let mut rest = value.unsigned_abs();
    let mut start = text.len();
    for (place, byte) in text.iter_mut().enumerate().rev() {
        let (tens, digit) = divide(rest, 10);
        *byte = b'0'.wrapping_add(digit as u8);
        (start, rest) = (place, tens);
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        start = start.wrapping_sub(1);
        *text.get_mut(start)? = b'-';
    }
    let text = text.get(start..)?;
    to.get_mut(..text.len())?.copy_from_slice(text);
    Some(text.len())
}

/// Below 0 or of more than 16 digits.
#[cold]
#[inline(never)]
fn fill_rare(value: i64, to: &mut [u8]) -> Option<usize> {
    let mut len = 0usize;
    if value < 0 {
        *to.first_mut()? = b'-';
        len = 1;
    }
    let magnitude = value.unsigned_abs();
    let free = to.get_mut(len..)?;
    let high = magnitude / GROUP / GROUP;
    let low = (magnitude % (GROUP * GROUP)) as i64;
    if high == 0 {
        return Some(len.wrapping_add(fill(low, free)?));
    }
    len = len.wrapping_add(fill_leading(high, free)?);
    for group in [magnitude / GROUP % GROUP, magnitude % GROUP] {
        *to.get_mut(len..)?.first_chunk_mut()? = ascii(digits(group));
        len = len.wrapping_add(8);
    }
    Some(len)
}

/// Writes a number of up to eight digits without leading zeros.
#[inline]
fn fill_leading(value: u64, to: &mut [u8]) -> Option<usize> {
    let digits = digits(value);
    // The last digit stays, also when it is zero.
    let zeros = (digits | 1 << 63).trailing_zeros() & !7;
    let len = 8usize.wrapping_sub(zeros as usize / 8);
    let text = ascii(digits.wrapping_shr(zeros));
    // A copy of constant size, which goes beyond what is needed, is the fast one.
    match to.first_chunk_mut() {
        Some(to) => *to = text,
        None => return fill_tightly(text, len, to),
    }
    Some(len)
}

#[cold]
#[inline(never)] // so that the others need not save registers
fn fill_tightly(text: [u8; 8], len: usize, to: &mut [u8]) -> Option<usize> {
    to.get_mut(..len)?.copy_from_slice(text.get(..len)?);
    Some(len)
}

fn ascii(digits: u64) -> [u8; 8] {
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

/// The eight digits of a number below 10^8, one a byte, the first in the lowest.
#[inline]
fn digits(value: u64) -> u64 {
    let value = value as u32;
    // Halves of four digits, then quarters of two, then eight of one: all quotients of a step by one multiplication.
    let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let tens = halves.wrapping_mul(10_486) >> 20 & 0x0000_007f_0000_007f;
    let quarters = tens | halves.wrapping_sub(tens.wrapping_mul(100)) << 16;
    let tens = quarters.wrapping_mul(103) >> 10 & 0x000f_000f_000f_000f;
    tens | quarters.wrapping_sub(tens.wrapping_mul(10)) << 8
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::json::SliceSink;

    fn check(value: i64) {
        let text = value.to_string();
        let mut grown = Vec::new();
        grown.put_integer(value).unwrap();
        assert_eq!(grown, text.as_bytes());
        let mut exact = [0; 20];
        let mut sink = SliceSink::new(&mut exact[..text.len()]);
        sink.put_integer(value).unwrap();
        assert_eq!(sink.written(), text.as_bytes());
        let mut short = SliceSink::new(&mut exact[1..text.len()]);
        assert_eq!(short.put_integer(value), Err(Full));
        let mut small = [0; MAX_LEN];
        assert_eq!(fill_one_by_one(value, &mut small), Some(text.len()));
        assert_eq!(small[..text.len()], *text.as_bytes());
        assert_eq!(fill_one_by_one(value, &mut small[1..text.len()]), None);
    }

    #[test]
    fn as_std_writes_them() {
        check(0);
        let mut power = 1i64;
        while let Some(next) = power.checked_mul(10) {
            for near in [power - 1, power, power + 1, power * 3 + 7, next - 1] {
                check(near);
                check(-near);
            }
            power = next;
        }
        for value in [1_591_104_868_201, i64::MAX, i64::MIN, i64::MAX - 1] {
            check(value);
        }
        // All groups of four digits, in both halves.
        for four in 0..10_000 {
            check(four);
            check(four * 10_000 + 9_999 - four);
        }
    }
}
