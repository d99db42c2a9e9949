//! The three date forms of HTTP (RFC 9110, section 5.6.7), read.

use crate::split::{rsplit_once, split_once};
use crate::time::{WallTime, digits};

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` and its two obsolete forms.
pub(super) fn parse(text: &str) -> Option<WallTime> {
    match split_once(text, b',') {
        Some((_, rest)) => {
            let rest = rest.strip_prefix(" ")?.strip_suffix(" GMT")?;
            let (date, clock) = rsplit_once(rest, b' ')?;
            let separator = if date.bytes().any(|b| b == b'-') {
                b'-'
            } else {
                b' '
            };
            let (day, rest) = split_once(date, separator)?;
            let (month, year) = split_once(rest, separator)?;
            let year = if separator == b'-' {
                short_year(year)?
            } else {
                digits(year, 4)?
            };
            build(year, month, digits(day, 2)?, clock)
        }
        // asctime: Sun Nov  6 08:49:37 1994
        None => {
            let (_, rest) = split_once(text, b' ')?;
            let (month, rest) = split_once(rest, b' ')?;
            let (day, rest) = rest.split_at_checked(2)?;
            let (clock, year) = split_once(rest.strip_prefix(" ")?, b' ')?;
            let day = day.strip_prefix(" ").unwrap_or(day);
            build(digits(year, 4)?, month, digits(day, day.len())?, clock)
        }
    }
}

fn build(year: u16, month: &str, day: u16, clock: &str) -> Option<WallTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (month, _) = (1u16..).zip(MONTHS).find(|(_, name)| *name == month)?;
    let (hour, rest) = split_once(clock, b':')?;
    let (minute, second) = split_once(rest, b':')?;
    let clock = [digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?];
    WallTime::from_parts(year, month, day, clock)
}

/// Two digits of a year: this century up to 69, as POSIX has it.
fn short_year(year: &str) -> Option<u16> {
    let year = digits(year, 2)?;
    year.checked_add(if year < 70 { 2000 } else { 1900 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_of_one_time() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text).unwrap().unix_ms(), 784_111_777_000, "{text}");
        }
        assert!(parse("Wed Nov 16 08:49:37 1994").is_some());
    }

    #[test]
    fn other_texts() {
        for text in [
            "",
            ",",
            "Sun, ",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "1994-11-06T08:49:37Z",
            "é Nov é 6",
            "Sun Nov  6 08:49:37 94",
            "120",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
