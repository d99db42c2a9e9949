//! The wire contract, written down once: the members of each object, in the order in which they are written, with what they need and what
//! stands in them; the limit; the rules for single values. The sources are the vendor's page and SDKs.
//!
//! Whoever reads or writes reports follows the three lists below. The checker and the canonical form go through them as tables at run time;
//! the writer and the fast path are unrolled from them by the compiler. So a line more in a list is a table's entry at once, and all else has
//! to follow:
//!
//! - The writer takes the struct of the object apart by the names of its list: a member without a field does not compile, nor does
//!   a field that is no member.
//! - A new kind of [`Value`] does not compile before the checker, the fast path and the writer can read, judge and write it.
//! - The owned form does not compile without the fields of the borrowed one. That serde reads and writes them by the same names, in the same order, is
//!   what the tests below see: each text that the lists allow goes through every reader, and comes out of every writer as it was.

use crate::code::Code;
use crate::time::WallTime;

/// The most a report may be long: 12 MiB, the limit of the service's gateway for signed requests.
pub const MAX_REPORT_BYTES: usize = 12 * 1024 * 1024;

/// Calls `$then` with `$with` and the members of a report.
macro_rules! report_members {
    ($then:ident $with:tt) => {
        $then! { $with
            jobs              required Jobs,
            msg_confirm_topic advised  NonEmptyText,
            message_id        required NonEmptyText,
        }
    };
}

/// Calls `$then` with `$with` and the members of a job.
macro_rules! job_members {
    ($then:ident $with:tt) => {
        $then! { $with
            job_id      optional JobId,
            status      required Status,
            create_time required CreateTime,
            exceptions  optional Exceptions,
            metrics     optional Text,
            plan        optional Text,
        }
    };
}

/// Calls `$then` with `$with` and the members of `exceptions` in its object form.
macro_rules! exception_members {
    ($then:ident $with:tt) => {
        $then! { $with
            error_id    required Text,
            error_type  required Text,
            error_cause required Text,
            exception   required Text,
            error_time  required ErrorTime,
        }
    };
}

/// What can stand in a member.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// An array of jobs, one at least.
    Jobs,
    /// An integer, see [`job_id`].
    JobId,
    /// A string, one of [`JobStatus::KNOWN`](super::JobStatus::KNOWN); others are doubtful.
    Status,
    /// An integer, see [`create_time`].
    CreateTime,
    /// A string, or an object with members of its own.
    Exceptions,
    Text,
    NonEmptyText,
    /// A string, see [`error_time`].
    ErrorTime,
}

/// The value of a member, if it is there.
macro_rules! given {
    (required $value:ident) => {
        Some($value)
    };
    (advised $value:ident) => {
        $value
    };
    (optional $value:ident) => {
        $value
    };
}

/// The finding when a member is not there: of an advised one, the warning that older documentation requires it.
macro_rules! if_missing {
    (required) => {
        Some($crate::Code::Missing)
    };
    (advised) => {
        Some($crate::Code::TopicMissing)
    };
    (optional) => {
        None
    };
}

/// A line of the lists.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) if_missing: Option<Code>,
    pub(super) value: Value,
}

macro_rules! table {
    (() $($name:ident $need:ident $value:ident,)*) => {
        [$(Member {
            name: stringify!($name),
            if_missing: if_missing!($need),
            value: Value::$value,
        }),*]
    };
}

pub(super) const REPORT: [Member; 3] = report_members!(table());
pub(super) const JOB: [Member; 6] = job_members!(table());
pub(super) const EXCEPTIONS: [Member; 5] = exception_members!(table());

/// What stands in front of the first job.
pub(super) const HEAD: &str = "{\"jobs\":[";

/// Calls `$then` with `$with` and the members that follow the jobs of a report.
macro_rules! after_jobs {
    (($then:ident $with:tt) jobs required Jobs, $($members:tt)*) => { $then! { $with $($members)* } };
}

pub(super) use {after_jobs, exception_members, given, if_missing, job_members, report_members};

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

#[cfg(test)]
#[cfg(feature = "serde")]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use super::{EXCEPTIONS, JOB, Member, REPORT, Value};
    use crate::code::Severity;
    use crate::report::{
        JobBuf, Report, ReportBuf, ReportWriter, canonical_into, check, fast_path,
    };

    const TEXT: &str = r#""{\"a\":1}""#;

    /// What stands in a member, and in the jobs and exceptions of a report.
    fn value(value: Value, job: &str, exceptions: &str) -> String {
        match value {
            Value::Jobs => format!("[{job},{job}]"),
            Value::JobId => "99270".to_string(),
            Value::Status => r#""job_running""#.to_string(),
            Value::CreateTime => "1591104868201".to_string(),
            Value::Exceptions => exceptions.to_string(),
            Value::Text | Value::NonEmptyText => TEXT.to_string(),
            Value::ErrorTime => r#""2020-06-02 13:34:28""#.to_string(),
        }
    }

    /// The object with each set of its members, and whether all that it needs is there.
    fn objects(members: &[Member], job: &str, exceptions: &str) -> Vec<(String, bool)> {
        let mut objects = vec![];
        for set in 0..1u32 << members.len() {
            let (mut there, mut is_right) = (vec![], true);
            for (n, member) in members.iter().enumerate() {
                if set >> n & 1 == 1 {
                    let value = value(member.value, job, exceptions);
                    there.push(format!("\"{}\":{value}", member.name));
                } else {
                    is_right &= member
                        .if_missing
                        .is_none_or(|code| code.severity() == Severity::Warning);
                }
            }
            objects.push((format!("{{{}}}", there.join(",")), is_right));
        }
        objects
    }

    fn whole(members: &[Member], job: &str, exceptions: &str) -> String {
        let last = objects(members, job, exceptions).pop();
        last.unwrap().0
    }

    /// All readers take it and all writers write it, or none.
    fn all_follow(text: &str, is_right: bool) {
        let wanted = is_right.then_some(text);
        let same = |bytes: Option<Vec<u8>>, by: &str| {
            let written = bytes.map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(written.as_deref(), wanted, "{by}: {text}");
        };
        assert_eq!(
            check(text.as_bytes(), |_| {}).is_valid(),
            is_right,
            "{text}"
        );
        let fast = fast_path::report(text.as_bytes()).is_some_and(|report| report.is_canonical);
        assert_eq!(fast, is_right, "fast path: {text}");
        let mut bytes = vec![];
        let result = canonical_into(format!("{text} ").as_bytes(), &mut bytes);
        same(result.is_ok().then_some(bytes), "canonical");
        let owned = serde_json::from_str::<ReportBuf>(text).ok();
        let owned = owned.as_ref();
        same(owned.map(|o| serde_json::to_vec(o).unwrap()), "serde");
        same(owned.map(|o| o.encode_to_vec().unwrap()), "encoder");
        same(owned.map(by_writer), "writer");
        same(owned.map(by_copy), "copy");
        assert!(owned.is_none_or(|o| o.check(|_| {}).is_valid()), "{text}");
    }

    fn by_writer(report: &ReportBuf) -> Vec<u8> {
        let topic = report.msg_confirm_topic.as_deref();
        let mut writer = ReportWriter::new(vec![], topic, &report.message_id).unwrap();
        for job in &report.jobs {
            writer.job(&job.as_job()).unwrap();
        }
        writer.finish().unwrap()
    }

    /// Borrowed, and owned again.
    fn by_copy(report: &ReportBuf) -> Vec<u8> {
        let jobs: Vec<_> = report.jobs.iter().map(JobBuf::as_job).collect();
        let borrowed = Report {
            jobs: &jobs,
            msg_confirm_topic: report.msg_confirm_topic.as_deref(),
            message_id: &report.message_id,
        };
        serde_json::to_vec(&ReportBuf::from(borrowed)).unwrap()
    }

    #[test]
    fn whoever_reads_or_writes_follows_the_lists() {
        let whole_job = whole(&JOB, "", &whole(&EXCEPTIONS, "", ""));
        for (report, is_right) in objects(&REPORT, &whole_job, "") {
            all_follow(&report, is_right);
        }
        for exceptions in [TEXT, &whole(&EXCEPTIONS, "", "")] {
            for (job, is_right) in objects(&JOB, "", exceptions) {
                all_follow(&whole(&REPORT, &job, ""), is_right);
            }
        }
        for (exceptions, is_right) in objects(&EXCEPTIONS, "", "") {
            all_follow(&whole(&REPORT, &whole(&JOB, "", &exceptions), ""), is_right);
        }
    }
}
