//! Checks a report that is bytes: all findings in one pass, without heap.

use super::contract::{self, EXCEPTIONS, JOB, MAX_REPORT_BYTES, Member, REPORT, Value};
use super::fast_path;
use super::finding::{Finding, Path, Summary};
use super::model::JobStatus;
use crate::code::{Code, Severity};
use crate::json::{Number, Scanner, Sink, SliceSink, Text, Token};
use crate::small::IS_ROOMY;

/// Checks a report as JSON bytes and gives each finding to `emit`, in the order they are found.
///
/// Wrong values do not end the check, nor does a string with wrong content; a text that is not JSON ends it at that byte.
/// A second key of the same name is an error; of unknown keys the first 16 are remembered for that, while their object is open.
///
/// ```
/// let text = br#"{"jobs":[{"status":"job_running","create_time":0}],"message_id":"1"}"#;
/// let mut lines = Vec::new();
/// let summary = edge_report::check(text, |finding| lines.push(finding.to_string()));
/// assert_eq!((summary.errors, summary.warnings), (1, 1));
/// assert_eq!(lines[0], "jobs[0].create_time: must be greater than 0 (byte 47)");
/// ```
pub fn check<'a>(text: &'a [u8], emit: impl FnMut(Finding<'a>)) -> Summary {
    let mut checker = Checker {
        scanner: Scanner::new(text),
        emit,
        summary: Summary::default(),
        unknown: heapless::Vec::new(),
    };
    if text.len() > MAX_REPORT_BYTES {
        checker.found(Code::TooLarge, Path::REPORT, MAX_REPORT_BYTES);
    } else if let Some(report) = fast_path::report(text) {
        if let Some((code, name)) = report.missing {
            checker.found(code, Path::REPORT.member(name), 0);
        }
        return checker.summary;
    }
    // Where the JSON ends early, the finding says so.
    let _ = checker.report();
    checker.summary
}

/// The first error, if there is one.
pub(crate) fn first_error(text: &[u8]) -> Option<Finding<'_>> {
    let mut first = None;
    check(text, |finding| {
        if first.is_none() && finding.severity() == Severity::Error {
            first = Some(finding);
        }
    });
    first
}

/// The checker remembers in a word which members it has seen.
const _: () = assert!(REPORT.len() < 32 && JOB.len() < 32 && EXCEPTIONS.len() < 32);

/// How many unknown keys of the open objects are remembered to see repeats.
const UNKNOWN_KEYS: usize = 16;

/// The text is not JSON from here on.
struct Stop;

/// A step of the text that can still be read.
enum Step<'a> {
    Token(Token<'a>),
    /// A string or key with wrong content, already found.
    SpoiltString,
}

struct Checker<'a, F> {
    scanner: Scanner<'a>,
    emit: F,
    summary: Summary,
    unknown: heapless::Vec<Text<'a>, UNKNOWN_KEYS>,
}

impl<'a, F: FnMut(Finding<'a>)> Checker<'a, F> {
    fn report(&mut self) -> Result<(), Stop> {
        let step = self.step(Path::REPORT)?;
        match step {
            Step::Token(Token::ObjectStart) => self.object(Path::REPORT, &REPORT)?,
            step => self.wrong_type(step, Code::NotAnObject, Path::REPORT)?,
        }
        // Nothing may follow.
        self.step(Path::REPORT).map(|_| ())
    }

    /// The members of an object, from after its `{` to its `}`.
    fn object(&mut self, place: Path<'a>, members: &'static [Member]) -> Result<(), Stop> {
        let start = self.scanner.token_offset();
        let mut seen = 0u32;
        let outside = self.unknown.len();
        loop {
            let key = match self.step(place)? {
                Step::Token(Token::Key(key)) => key,
                Step::Token(_) => break,
                Step::SpoiltString => {
                    self.skip(place)?;
                    continue;
                }
            };
            let key_at = self.scanner.token_offset();
            let known = (0u32..)
                .zip(members)
                .find(|(_, member)| key.is(member.name));
            if let Some((index, member)) = known {
                let path = place.member(member.name);
                let bit = 1u32.wrapping_shl(index);
                if seen & bit != 0 {
                    self.found(Code::DuplicateKey, path, key_at);
                }
                seen |= bit;
                self.value(member.value, path)?;
            } else {
                let path = place.member(key.raw());
                let mut others = self.unknown.iter().skip(outside);
                if others.any(|other| other.chars().eq(key.chars())) {
                    self.found(Code::DuplicateKey, path, key_at);
                } else {
                    self.found(Code::UnknownKey, path, key_at);
                    let _ = self.unknown.push(key);
                }
                self.skip(path)?;
            }
        }
        self.unknown.truncate(outside);
        for (index, member) in (0u32..).zip(members) {
            if let Some(code) = member.if_missing
                && seen & 1u32.wrapping_shl(index) == 0
            {
                self.found(code, place.member(member.name), start);
            }
        }
        Ok(())
    }

    fn value(&mut self, value: Value, path: Path<'a>) -> Result<(), Stop> {
        let step = self.step(path)?;
        let token = match step {
            Step::Token(token) => token,
            Step::SpoiltString => return Ok(()),
        };
        match (value, token) {
            (Value::Jobs, Token::ArrayStart) => return self.jobs(path),
            (Value::Exceptions, Token::ObjectStart) => {
                return self.object(path.exceptions(), &EXCEPTIONS);
            }
            (Value::JobId, Token::Number(number)) => self.integer(number, contract::job_id, path),
            (Value::CreateTime, Token::Number(number)) => {
                self.integer(number, contract::create_time, path);
            }
            (Value::Status, Token::String(text)) => self.status(text, path),
            (Value::NonEmptyText, Token::String(text)) => {
                self.found_if(text.is_empty().then_some(Code::Empty), path);
            }
            (Value::ErrorTime, Token::String(text)) => self.error_time(text, path),
            (Value::Text | Value::Exceptions, Token::String(_)) => {}
            (value, _) => {
                let code = match value {
                    Value::Jobs => Code::NotAnArray,
                    Value::JobId | Value::CreateTime => Code::NotAnInteger,
                    Value::Exceptions => Code::NotAStringOrObject,
                    Value::Status | Value::Text | Value::NonEmptyText | Value::ErrorTime => {
                        Code::NotAString
                    }
                };
                return self.wrong_type(step, code, path);
            }
        }
        Ok(())
    }

    fn jobs(&mut self, path: Path<'a>) -> Result<(), Stop> {
        let start = self.scanner.token_offset();
        for index in 0.. {
            let job = Path::of_job(index);
            match self.step(job)? {
                Step::Token(Token::ArrayEnd) => {
                    if index == 0 {
                        self.found(Code::Empty, path, start);
                    }
                    break;
                }
                Step::Token(Token::ObjectStart) => self.object(job, &JOB)?,
                step => self.wrong_type(step, Code::NotAnObject, job)?,
            }
        }
        Ok(())
    }

    fn integer(&mut self, number: Number<'a>, rule: fn(i64) -> Option<Code>, path: Path<'a>) {
        let code = match number.to_i64() {
            Some(value) => rule(value),
            None if number.is_integer() => Some(Code::IntegerOutOfRange),
            None => Some(Code::NotAnInteger),
        };
        self.found_if(code, path);
    }

    fn status(&mut self, text: Text<'a>, path: Path<'a>) {
        let known = match text.plain() {
            Some(name) if IS_ROOMY => JobStatus::from_name(name).is_known(),
            _ => JobStatus::KNOWN.iter().any(|status| text.is(status.name())),
        };
        let code = match known {
            true => None,
            false if text.is_empty() => Some(Code::Empty),
            false => Some(Code::UnknownStatus),
        };
        self.found_if(code, path);
    }

    #[inline(never)] // keeps its frame off the stack of nested objects
    fn error_time(&mut self, text: Text<'a>, path: Path<'a>) {
        // Longer than any right one, and so a wrong one.
        let mut decoded = [0; 20];
        let mut decoded = SliceSink::new(&mut decoded);
        let _ = text
            .chars()
            .try_for_each(|c| decoded.put(c.encode_utf8(&mut [0; 4]).as_bytes()));
        self.found_if(contract::error_time(decoded.written()), path);
    }

    fn wrong_type(&mut self, step: Step<'a>, code: Code, path: Path<'a>) -> Result<(), Stop> {
        if let Step::Token(_) = step {
            self.found(code, path, self.scanner.token_offset());
        }
        self.pass(step, path)
    }

    /// Reads past a value nobody asked for.
    fn skip(&mut self, path: Path<'a>) -> Result<(), Stop> {
        let step = self.step(path)?;
        self.pass(step, path)
    }

    /// Reads past the rest of the value that begins with `step`.
    fn pass(&mut self, step: Step<'a>, path: Path<'a>) -> Result<(), Stop> {
        if let Step::Token(Token::ObjectStart | Token::ArrayStart) = step {
            let inside = self.scanner.depth();
            while self.scanner.depth() >= inside {
                self.step(path)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, path: Path<'a>) -> Result<Step<'a>, Stop> {
        match self.scanner.next_token() {
            Ok(Some(token)) => Ok(Step::Token(token)),
            Ok(None) => Err(Stop),
            Err(error) => {
                self.found(error.code(), path, error.offset());
                if error.is_in_string() {
                    Ok(Step::SpoiltString)
                } else {
                    Err(Stop)
                }
            }
        }
    }

    fn found_if(&mut self, code: Option<Code>, path: Path<'a>) {
        if let Some(code) = code {
            self.found(code, path, self.scanner.token_offset());
        }
    }

    fn found(&mut self, code: Code, path: Path<'a>, offset: usize) {
        self.summary.count(code.severity());
        (self.emit)(Finding {
            code,
            path,
            offset: Some(offset),
        });
    }
}
