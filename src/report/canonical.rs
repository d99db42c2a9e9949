//! The canonical bytes of a report that is JSON already, in one pass and without a heap.

use super::check::first_error;
use super::contract::{EXCEPTIONS, HEAD, JOB, Member, REPORT};
use super::encode_error::EncodeError;
use super::fast_path;
use crate::json::{Counter, Full, Scanner, Sink, Token};

/// Checks a report that is JSON in any form and appends its canonical bytes to `sink`, which after an error holds what it held
/// before. Warnings pass; unknown keys are dropped. Never longer than `text`.
///
/// ```
/// let text = br#"{ "message_id": "\u0031", "jobs": [{"create_time": 1591104868201, "status": "job_running"}] }"#;
/// let mut buffer = [0; 128];
/// let mut sink = edge_report::json::SliceSink::new(&mut buffer);
/// edge_report::canonical_into(text, &mut sink)?;
/// assert_eq!(sink.written(), br#"{"jobs":[{"status":"job_running","create_time":1591104868201}],"message_id":"1"}"#);
/// # Ok::<(), edge_report::EncodeError>(())
/// ```
pub fn canonical_into<S: Sink + ?Sized>(text: &[u8], sink: &mut S) -> Result<(), EncodeError> {
    if let Some(report) = fast_path::report(text)
        && report.is_canonical
    {
        let needed = text.len();
        let put = sink.put(text);
        return put.map_err(|Full| EncodeError::TooSmall { needed });
    }
    if let Some(finding) = first_error(text) {
        return Err(EncodeError::Invalid(finding.without_text()));
    }
    let before = sink.len();
    if write_report(text, sink).is_err() {
        sink.truncate(before);
        let mut counter = Counter::default();
        // A counter is never full.
        let _ = write_report(text, &mut counter);
        return Err(EncodeError::TooSmall {
            needed: counter.len(),
        });
    }
    Ok(())
}

/// The values of an object's known members, in the order of the contract; of an object or array its first token.
type Found<'a, const N: usize> = [Option<Token<'a>>; N];

/// Writes a text that was found valid: whatever else comes is not there.
fn write_report<S: Sink + ?Sized>(text: &[u8], sink: &mut S) -> Result<(), Full> {
    let mut scanner = Scanner::new(text);
    next(&mut scanner);
    sink.put(HEAD.as_bytes())?;
    let mut written = Ok(());
    // The jobs come first wherever they stand, and what stands in front of them waits.
    let found = read_members(&mut scanner, &REPORT, |scanner| {
        written = write_jobs(scanner, sink);
    });
    written?;
    sink.put(b"]")?;
    let after_jobs = REPORT.iter().zip(found).skip(1);
    for (member, value) in after_jobs {
        if let Some(value) = value {
            write_member(b",", member, value, sink)?;
        }
    }
    sink.put(b"}")
}

fn write_jobs<S: Sink + ?Sized>(scanner: &mut Scanner<'_>, sink: &mut S) -> Result<(), Full> {
    let mut separator: &[u8] = b"";
    while let Some(Token::ObjectStart) = next(scanner) {
        sink.put(separator)?;
        separator = b",";
        let mut exceptions = [None; EXCEPTIONS.len()];
        let job = read_members(scanner, &JOB, |scanner| {
            exceptions = read_members(scanner, &EXCEPTIONS, |_| {});
        });
        write_members(&JOB, job, sink, |sink| {
            write_members(&EXCEPTIONS, exceptions, sink, |_| Ok(()))
        })?;
    }
    Ok(())
}

/// Reads the members of an object, from after its `{` to its `}`. `inside` reads the one that is an object or array itself.
fn read_members<'a, const N: usize>(
    scanner: &mut Scanner<'a>,
    members: &[Member; N],
    mut inside: impl FnMut(&mut Scanner<'a>),
) -> Found<'a, N> {
    let mut found = [None; N];
    while let Some(Token::Key(key)) = next(scanner) {
        let mut slots = members.iter().zip(&mut found);
        let Some((_, slot)) = slots.find(|(member, _)| key.is(member.name)) else {
            let _ = scanner.skip_value();
            continue;
        };
        *slot = next(scanner);
        if let Some(Token::ObjectStart | Token::ArrayStart) = slot {
            inside(scanner);
        }
    }
    found
}

fn write_members<const N: usize, S: Sink + ?Sized>(
    members: &[Member; N],
    found: Found<'_, N>,
    sink: &mut S,
    inside: impl Fn(&mut S) -> Result<(), Full>,
) -> Result<(), Full> {
    let mut separator: &[u8] = b"{";
    for (member, value) in members.iter().zip(found) {
        let Some(value) = value else { continue };
        write_member(separator, member, value, sink)?;
        if value == Token::ObjectStart {
            inside(sink)?;
        }
        separator = b",";
    }
    sink.put(b"}")
}

fn write_member<S: Sink + ?Sized>(
    separator: &[u8],
    member: &Member,
    value: Token<'_>,
    sink: &mut S,
) -> Result<(), Full> {
    sink.put(separator)?;
    sink.put(b"\"")?;
    sink.put(member.name.as_bytes())?;
    sink.put(b"\":")?;
    match value {
        Token::String(text) => text.write_json(sink),
        // A positive integer has one spelling in JSON.
        Token::Number(number) => sink.put(number.raw().as_bytes()),
        _ => Ok(()),
    }
}

fn next<'a>(scanner: &mut Scanner<'a>) -> Option<Token<'a>> {
    scanner.next_token().ok().flatten()
}
