//! What the contract says of single values, for reports in memory and for reports as bytes alike.

use crate::code::Code;
use crate::time::WallTime;

pub(super) fn job_id(value: i64) -> Option<Code> {
    match value {
        ..=0 => Some(Code::NotPositive),
        0x8000_0000.. => Some(Code::JobIdOverInt32),
        _ => None,
    }
}

/// Milliseconds of the years 1973 to 5138 lie between 10^11 and 10^14; seconds of today lie below,
/// microseconds above.
pub(super) fn create_time(value: i64) -> Option<Code> {
    match value {
        ..=0 => Some(Code::NotPositive),
        1..100_000_000_000 => Some(Code::LooksLikeSeconds),
        100_000_000_000_000.. => Some(Code::LooksLikeMicroseconds),
        _ => None,
    }
}

/// `YYYY-MM-DD hh:mm:ss` with a day that exists.
pub(super) fn error_time(text: &[u8]) -> Option<Code> {
    match parse_error_time(text) {
        Some(_) => None,
        None => Some(Code::ErrorTimeForm),
    }
}

fn parse_error_time(text: &[u8]) -> Option<WallTime> {
    let text = <&[u8; 19]>::try_from(text).ok()?;
    let [
        c,
        e,
        y,
        a,
        b'-',
        m,
        n,
        b'-',
        d,
        t,
        b' ',
        h,
        i,
        b':',
        j,
        k,
        b':',
        s,
        u,
    ] = *text
    else {
        return None;
    };
    let year = two_digits(c, e)?
        .wrapping_mul(100)
        .wrapping_add(two_digits(y, a)?);
    let clock = [two_digits(h, i)?, two_digits(j, k)?, two_digits(s, u)?];
    WallTime::from_parts(year, two_digits(m, n)?, two_digits(d, t)?, clock)
}

fn two_digits(tens: u8, ones: u8) -> Option<u16> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(
        u16::from(tens)
            .wrapping_mul(10)
            .wrapping_add(u16::from(ones)),
    )
}
