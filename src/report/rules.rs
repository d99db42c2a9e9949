//! What the contract says of single values, for reports in memory and for reports as bytes alike.

use crate::code::Code;
use crate::split::split_once;
use crate::time::{WallTime, digits};

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
pub(super) fn error_time(chars: impl Iterator<Item = char>) -> Option<Code> {
    let mut text = heapless::String::<19>::new();
    let fits = chars.into_iter().all(|c| text.push(c).is_ok());
    match fits.then(|| parse_error_time(&text)) {
        Some(Some(_)) => None,
        _ => Some(Code::ErrorTimeForm),
    }
}

fn parse_error_time(text: &str) -> Option<WallTime> {
    let (date, clock) = split_once(text, b' ')?;
    let (year, month_day) = split_once(date, b'-')?;
    let (month, day) = split_once(month_day, b'-')?;
    let (hour, minute_second) = split_once(clock, b':')?;
    let (minute, second) = split_once(minute_second, b':')?;
    WallTime::from_parts(
        digits(year, 4)?,
        digits(month, 2)?,
        digits(day, 2)?,
        [digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?],
    )
}
