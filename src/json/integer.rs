//! Integers in decimal, eight digits at a time.

use super::IS_ROOMY;
use super::sink::{Full, Sink};
use crate::divide::divide;

const GROUP: u64 = 100_000_000;

/// Appends `value`; see [`Sink::put_integer`].
#[inline]
pub(super) fn put<S: Sink + ?Sized>(value: i64, out: &mut S) -> Result<(), Full> {
    if !IS_ROOMY {
        return out.put(one_by_one(value, &mut [0; 20]));
    }
    if value < 0 {
        out.put(b"-")?;
    }
    let value = value.unsigned_abs();
    let (high, low) = (value / GROUP, value % GROUP);
    if high == 0 {
        return put_leading(low, out);
    }
    if high < GROUP {
        put_leading(high, out)?;
    } else {
        put_leading(high / GROUP, out)?;
        out.put(&ascii(digits(high % GROUP)))?;
    }
    out.put(&ascii(digits(low)))
}

/// The small form: digit by digit.
#[inline(never)]
fn one_by_one(value: i64, text: &mut [u8; 20]) -> &[u8] {
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
        if let Some(sign) = text.get_mut(start) {
            *sign = b'-';
        }
    }
    text.get(start..).unwrap_or_default()
}

/// Without leading zeros.
#[inline]
fn put_leading<S: Sink + ?Sized>(value: u64, out: &mut S) -> Result<(), Full> {
    let digits = digits(value);
    // The last digit stays, also when it is zero.
    let zeros = (digits | 1 << 63).trailing_zeros() & !7;
    let count = 8usize.wrapping_sub(zeros as usize / 8);
    let text = ascii(digits.wrapping_shr(zeros));
    // A copy of constant size, cut to what it should be, is faster than one of any size.
    let len = out.len().saturating_add(count);
    match out.put(&text) {
        Ok(()) => {
            out.truncate(len);
            Ok(())
        }
        Err(Full) => out.put(text.get(..count).unwrap_or_default()),
    }
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
        assert_eq!(one_by_one(value, &mut [0; 20]), text.as_bytes());
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
