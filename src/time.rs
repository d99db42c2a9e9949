//! Wall-clock time as the wire writes it. The core never reads a clock: hosts pass time in.

use core::fmt;
use core::time::Duration;

use crate::divide::divide;
use crate::split::split_once;
use time::{Date, Month, Time, UtcDateTime};

/// A point of wall-clock time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// For signatures and texts only: nothing waits by it, since it may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// From milliseconds since 1970.
    pub const fn from_unix_ms(ms: i64) -> Self {
        WallTime(ms)
    }

    /// Milliseconds since 1970.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// What the system's clock says.
    #[cfg(feature = "std")]
    pub fn now() -> Self {
        std::time::SystemTime::now().into()
    }

    /// This time moved by `ms`, as a clock correction does.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        WallTime(self.0.saturating_add(ms))
    }

    /// `20200602T133428Z`, the form of `X-Sdk-Date`; `None` outside of the years 1970 to 9999.
    pub fn to_sdk_date(self) -> Option<Stamp<16>> {
        let [c, e, y, a, m, n, d, t, h, i, j, k, s, u] = self.digits()?;
        Some(Stamp([
            c, e, y, a, m, n, d, t, b'T', h, i, j, k, s, u, b'Z',
        ]))
    }

    /// `2020-06-02 13:34:28`, the form of `error_time`; `None` outside of the years 1970 to 9999.
    pub fn to_error_time(self) -> Option<Stamp<19>> {
        let [c, e, y, a, m, n, d, t, h, i, j, k, s, u] = self.digits()?;
        Some(Stamp([
            c, e, y, a, b'-', m, n, b'-', d, t, b' ', h, i, b':', j, k, b':', s, u,
        ]))
    }

    /// Reads the form of [`to_sdk_date`](Self::to_sdk_date).
    pub fn from_sdk_date(text: &str) -> Option<Self> {
        let (date, clock) = split_once(text.strip_suffix("Z")?, b'T')?;
        let (year, month_day) = date.split_at_checked(4)?;
        let (month, day) = month_day.split_at_checked(2)?;
        let (hour, minute_second) = clock.split_at_checked(2)?;
        let (minute, second) = minute_second.split_at_checked(2)?;
        Self::from_parts(
            digits(year, 4)?,
            digits(month, 2)?,
            digits(day, 2)?,
            [digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?],
        )
    }

    /// From calendar and clock in UTC; a leap second counts as the second before it.
    pub(crate) fn from_parts(year: u16, month: u16, day: u16, clock: [u16; 3]) -> Option<Self> {
        let byte = |n: u16| u8::try_from(n).ok();
        let [hour, minute, second] = clock;
        let month = Month::try_from(byte(month)?).ok()?;
        let date = Date::from_calendar_date(i32::from(year), month, byte(day)?).ok()?;
        let second = if second == 60 { 59 } else { second };
        let time = Time::from_hms(byte(hour)?, byte(minute)?, byte(second)?).ok()?;
        let at = UtcDateTime::new(date, time);
        at.unix_timestamp().checked_mul(1000).map(WallTime)
    }

    /// The 14 digits of year, month, day, hour, minute, second.
    fn digits(self) -> Option<[u8; 14]> {
        if self.0 < 0 {
            return None;
        }
        let (seconds, _) = divide(self.0.unsigned_abs(), 1000);
        let (half_days, second) = divide(seconds, 43_200);
        let days = i32::try_from(half_days / 2).ok()?;
        let date = Date::from_julian_day(days.checked_add(JULIAN_DAY_OF_1970)?).ok()?;
        let year = u16::try_from(date.year()).ok()?;
        let [c, e] = two_digits(u8::try_from(year / 100).ok()?);
        let [y, a] = two_digits(u8::try_from(year % 100).ok()?);
        let [m, n] = two_digits(u8::from(date.month()));
        let [d, t] = two_digits(date.day());
        let afternoon = if half_days % 2 == 1 { 12 } else { 0 };
        let (minute, second) = (second / 60, second % 60);
        let [h, i] = two_digits(((minute / 60) as u8).wrapping_add(afternoon));
        let [j, k] = two_digits((minute % 60) as u8);
        let [s, u] = two_digits(second as u8);
        Some([c, e, y, a, m, n, d, t, h, i, j, k, s, u])
    }
}

/// Milliseconds since 1970-01-01 UTC, as Flink and the wire have them.
impl From<i64> for WallTime {
    fn from(ms: i64) -> Self {
        WallTime(ms)
    }
}

#[cfg(feature = "std")]
impl From<std::time::SystemTime> for WallTime {
    fn from(time: std::time::SystemTime) -> Self {
        use std::time::{Duration, UNIX_EPOCH};
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        WallTime(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => ms(before.duration()).saturating_neg(),
        })
    }
}

const JULIAN_DAY_OF_1970: i32 = 2_440_588;

/// A point of monotonic time: milliseconds since some start, such as the boot. Never goes back; all waiting is by it.
///
/// Its arithmetic saturates at the start and at 2^64 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(u64);

impl MonoTime {
    /// So many milliseconds after the start.
    pub const fn from_ms(ms: u64) -> Self {
        MonoTime(ms)
    }

    /// Milliseconds since the start.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Milliseconds since the start of the machine (Linux, Android), the time that it was suspended included, so that no wait lasts longer
    /// for a sleep; elsewhere since the first call in this process.
    #[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
    pub fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let ms = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        MonoTime(seconds.saturating_mul(1000).saturating_add(ms))
    }

    /// Milliseconds since the first call in this process.
    #[cfg(all(feature = "std", not(any(target_os = "linux", target_os = "android"))))]
    pub fn now() -> Self {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        let ms = START.get_or_init(Instant::now).elapsed().as_millis();
        MonoTime(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// This time, so much later; what is less than a millisecond does not count.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        self.plus_ms(ms_of(span))
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub const fn since(self, earlier: MonoTime) -> Duration {
        Duration::from_millis(self.since_ms(earlier))
    }

    /// Like [`plus`](Self::plus), in milliseconds: of a `Duration`, small machines notice the divisions.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        MonoTime(self.0.saturating_add(ms))
    }

    pub(crate) const fn minus_ms(self, ms: u64) -> Self {
        MonoTime(self.0.saturating_sub(ms))
    }

    /// Like [`since`](Self::since), in milliseconds.
    pub const fn since_ms(self, earlier: MonoTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// From the span since the start.
impl From<Duration> for MonoTime {
    fn from(since_start: Duration) -> Self {
        MonoTime(ms_of(since_start))
    }
}

/// In whole milliseconds; more than there can be counts as the most.
pub(crate) const fn ms_of(span: Duration) -> u64 {
    let seconds = span.as_secs().saturating_mul(1000);
    seconds.saturating_add(span.subsec_millis() as u64)
}

/// `n` below 100 as two ASCII digits.
#[cfg_attr(not(target_pointer_width = "64"), inline(never))]
fn two_digits(n: u8) -> [u8; 2] {
    [b'0'.wrapping_add(n / 10 % 10), b'0'.wrapping_add(n % 10)]
}

/// A number of exactly `count` ASCII digits.
pub(crate) fn digits(text: &str, count: usize) -> Option<u16> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    text.parse().ok()
}

/// A time written as `N` ASCII bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp<const N: usize>([u8; N]);

impl<const N: usize> Stamp<N> {
    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Stamp<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Stamp<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_documentation() {
        let at = WallTime::from_unix_ms(1_591_104_868_201);
        assert_eq!(at.to_error_time().unwrap().as_str(), "2020-06-02 13:34:28");
        assert_eq!(at.to_sdk_date().unwrap().as_str(), "20200602T133428Z");
        assert_eq!(
            WallTime::from_sdk_date("20200602T133428Z")
                .unwrap()
                .unix_ms(),
            1_591_104_868_000
        );
    }

    #[test]
    fn the_ends_of_the_range() {
        let last = 253_402_300_799_999;
        assert_eq!(
            WallTime::from_unix_ms(last)
                .to_error_time()
                .unwrap()
                .as_str(),
            "9999-12-31 23:59:59"
        );
        for ms in [-1, i64::MIN, last + 1, i64::MAX] {
            assert_eq!(WallTime::from_unix_ms(ms).to_sdk_date(), None, "{ms}");
        }
        assert!(WallTime::from_unix_ms(0).to_sdk_date().is_some());
    }

    #[test]
    fn bad_sdk_dates() {
        for text in [
            "",
            "20200602T133428",
            "20200602133428Z",
            "2020060ZT133428Z",
            "20200230T000000Z",
            "20200602T133428ZZ",
            "20200602T1334281Z",
            "+0200602T133428Z",
            "é0602T133428Z",
        ] {
            assert_eq!(WallTime::from_sdk_date(text), None, "{text}");
        }
    }
}
