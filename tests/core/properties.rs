//! What must hold for every report, every text and every buffer. serde_json is the judge of what is JSON.
//!
//! The seed is fixed, so that a run repeats. To look further: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=20000`.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

use edge_report::exchange::{
    Credentials, Endpoint, Header, Keys, Outcome, ReplyHeaders, Request, RequestError, Signable,
    canonical_request, read_reply, sign,
};
use edge_report::json::{Error, Position, Scanner, Sink, SliceSink, Token, position};
use edge_report::{
    Code, EncodeError, ErrorTime, ExceptionsBuf, Job, JobBuf, JobException, JobStatus, Report,
    ReportBuf, ReportWriter, WallTime, canonical_into, check,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// So many cases, unless the environment asks for more than the usual 256.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: cases * default.cases / 256,
        failure_persistence: None,
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1_591_104_868_201),
            given => given,
        },
        ..default
    }
}

// --- reports -----------------------------------------------------------------

fn character() -> impl Strategy<Value = char> {
    #[rustfmt::skip]
    const NASTY: &[char] = &[
        '\0', '\u{1}', '\u{8}', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{1f}', '"', '\\', '/', '\u{7f}',
        '\u{80}', '\u{2028}', '\u{feff}', '\u{ffff}', 'é', '漢', '😀', '\u{10ffff}',
    ];
    prop_oneof![2 => select(NASTY), 2 => proptest::char::range(' ', '~'), 1 => any::<char>()]
}

fn text() -> impl Strategy<Value = String> {
    vec(character(), 0..24).prop_map(String::from_iter)
}

fn some_text() -> impl Strategy<Value = String> {
    vec(character(), 1..24).prop_map(String::from_iter)
}

fn positive() -> impl Strategy<Value = i64> {
    prop_oneof![
        1..=1000i64,
        99_999_999_990..=100_000_000_010i64,
        1..=i64::MAX
    ]
}

fn status_name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(JobStatus::KNOWN).prop_map(|s| s.name().to_owned()),
        some_text()
    ]
}

fn error_time() -> impl Strategy<Value = String> {
    let stamp = (0..=253_402_300_799_999i64).prop_map(|ms| {
        WallTime::from_unix_ms(ms)
            .to_error_time()
            .unwrap()
            .to_string()
    });
    prop_oneof![stamp, text()]
}

fn exceptions() -> impl Strategy<Value = ExceptionsBuf> {
    let detail = (text(), text(), text(), text(), error_time()).prop_map(
        |(error_id, error_type, error_cause, exception, error_time)| {
            let mut detail = JobException::new(&error_id, &error_type, &error_cause);
            detail.exception = &exception;
            detail.error_time = ErrorTime::Text(&error_time);
            ExceptionsBuf::Detail(detail.into())
        },
    );
    prop_oneof![text().prop_map(ExceptionsBuf::Text), detail]
}

fn job_of(
    number: impl Strategy<Value = i64> + Clone,
    status: impl Strategy<Value = String>,
) -> impl Strategy<Value = JobBuf> {
    let texts = (option::of(text()), option::of(text()));
    (
        option::of(number.clone()),
        status,
        number,
        option::of(exceptions()),
        texts,
    )
        .prop_map(
            |(job_id, status, create_time, exceptions, (metrics, plan))| {
                let mut job = JobBuf::from(Job::new(JobStatus::from_name(&status), create_time));
                job.job_id = job_id;
                job.exceptions = exceptions;
                job.metrics = metrics;
                job.plan = plan;
                job
            },
        )
}

fn report_of(
    jobs: impl Strategy<Value = Vec<JobBuf>>,
    text: impl Strategy<Value = String> + Clone,
) -> impl Strategy<Value = ReportBuf> {
    (jobs, option::of(text.clone()), text).prop_map(|(jobs, msg_confirm_topic, message_id)| {
        let mut report = ReportBuf::new(message_id);
        report.jobs = jobs;
        report.msg_confirm_topic = msg_confirm_topic;
        report
    })
}

fn borrowed<'a>(report: &'a ReportBuf, jobs: &'a [Job<'a>]) -> Report<'a> {
    let mut borrowed = Report::new(&report.message_id, jobs);
    borrowed.msg_confirm_topic = report.msg_confirm_topic.as_deref();
    borrowed
}

fn valid_job() -> impl Strategy<Value = JobBuf> {
    job_of(positive().boxed(), status_name())
}

fn valid_report() -> impl Strategy<Value = ReportBuf> {
    report_of(vec(valid_job(), 1..4), some_text().boxed())
}

fn any_job() -> impl Strategy<Value = JobBuf> {
    let number = prop_oneof![3 => positive(), 1 => Just(0), 1 => any::<i64>()];
    job_of(
        number.boxed(),
        prop_oneof![4 => status_name(), 1 => Just(String::new())],
    )
}

fn any_report() -> impl Strategy<Value = ReportBuf> {
    report_of(vec(any_job(), 0..4), text().boxed())
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_valid_report_goes_round(report in valid_report()) {
        let bytes = report.encode_to_vec().unwrap();
        prop_assert_eq!(bytes.len(), report.encoded_len());
        prop_assert_eq!(&serde_json::to_vec(&report).unwrap(), &bytes);
        prop_assert_eq!(&serde_json::from_slice::<ReportBuf>(&bytes).unwrap(), &report);
        prop_assert_eq!(&ReportBuf::from_json(&bytes).unwrap(), &report);
        let jobs: Vec<_> = report.jobs.iter().map(JobBuf::as_job).collect();
        prop_assert_eq!(&ReportBuf::from(borrowed(&report, &jobs)), &report);
        prop_assert_eq!(&borrowed(&report, &jobs).encode_to_vec().unwrap(), &bytes);
    }

    /// What is wrong with a report is wrong with its bytes, in the same places and words, and nothing else is.
    #[test]
    fn findings_are_the_same_in_memory_and_in_bytes(report in any_report()) {
        let mut in_memory = Vec::new();
        let summary = report.check(|f| in_memory.push((f.path.to_string(), f.code)));
        let bytes = serde_json::to_vec(&report).unwrap();
        let mut of_bytes = Vec::new();
        prop_assert_eq!(check(&bytes, |f| of_bytes.push((f.path.to_string(), f.code))), summary);
        for found in [&mut in_memory, &mut of_bytes] {
            found.sort_by_key(|(path, code)| (path.clone(), code.number()));
        }
        prop_assert_eq!(in_memory, of_bytes);

        match report.encode_to_vec() {
            Ok(encoded) => {
                prop_assert!(summary.is_valid());
                prop_assert_eq!(encoded, bytes);
            }
            Err(error) => {
                let read = ReportBuf::from_json(&bytes).unwrap_err();
                prop_assert_eq!(error.code(), read.code());
                let EncodeError::Invalid(finding) = error else { panic!("{error}") };
                prop_assert_eq!(finding.path.to_string(), read.path());
            }
        }
    }
}

// --- buffers -----------------------------------------------------------------

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn encoding_into_every_length(report in report_of(vec(valid_job(), 1..3), some_text().boxed())) {
        let bytes = report.encode_to_vec().unwrap();
        let needed = bytes.len();
        let jobs: Vec<_> = report.jobs.iter().map(JobBuf::as_job).collect();
        let report = borrowed(&report, &jobs);
        let mut buffer = vec![0; needed + 1];
        for room in 0..=needed + 1 {
            let encoded = report.encode(&mut buffer[..room]);
            if room < needed {
                prop_assert_eq!(encoded, Err(EncodeError::TooSmall { needed }));
            } else {
                prop_assert_eq!(encoded.unwrap(), &bytes);
            }
            // A sink holds what it held.
            let mut sink = SliceSink::new(&mut buffer[..room]);
            if sink.put(b"xy").is_ok() && report.encode_into(&mut sink).is_err() {
                prop_assert_eq!(sink.written(), b"xy");
                prop_assert!(room < needed + 2);
            }
        }
    }

    #[test]
    fn writing_into_every_length(report in report_of(vec(valid_job(), 1..4), some_text().boxed())) {
        let topic = report.msg_confirm_topic.as_deref();
        let whole = report.encoded_len();
        // What the report has with its first jobs only, and with none.
        let part = |jobs: usize| {
            let mut part = report.clone();
            part.jobs.truncate(jobs);
            part
        };
        let lengths: Vec<usize> = (0..=report.jobs.len()).map(|n| part(n).encoded_len()).collect();
        let mut buffer = vec![0; whole + 1];
        for room in 0..=whole + 1 {
            let mut writer = match ReportWriter::over(&mut buffer[..room], topic, &report.message_id) {
                Ok(writer) => writer,
                Err(error) => {
                    prop_assert_eq!(error, EncodeError::TooSmall { needed: lengths[0] });
                    prop_assert!(room < lengths[0]);
                    continue;
                }
            };
            prop_assert!(room >= lengths[0]);
            for (index, job) in report.jobs.iter().enumerate() {
                let before = writer.encoded_len();
                prop_assert_eq!(before, lengths[index]);
                let needed = lengths[index + 1];
                if room >= needed {
                    prop_assert_eq!(writer.job(&job.as_job()), Ok(()));
                    continue;
                }
                let too_small = Err(EncodeError::TooSmall { needed });
                prop_assert_eq!(writer.job(&job.as_job()), too_small);
                prop_assert_eq!(writer.encoded_len(), before);
                break;
            }
            let count = writer.jobs();
            match writer.finish() {
                Ok(sink) => prop_assert_eq!(sink.written(), part(count).encode_to_vec().unwrap()),
                Err(error) => {
                    prop_assert_eq!(count, 0);
                    prop_assert_eq!(error.code(), Code::Empty);
                }
            }
        }
    }

    /// Jobs that are refused, whatever for, leave no trace.
    #[test]
    fn a_writer_holds_what_it_took(
        jobs in vec(any_job(), 0..12),
        room in 0..1500usize,
        topic in option::of(some_text()),
        message_id in some_text(),
    ) {
        let mut buffer = vec![0; room];
        if let Ok(mut writer) = ReportWriter::over(&mut buffer, topic.as_deref(), &message_id) {
            let mut taken = Vec::new();
            for job in &jobs {
                let length = writer.encoded_len();
                match writer.job(&job.as_job()) {
                    Ok(()) => taken.push(job.clone()),
                    Err(EncodeError::TooSmall { needed }) => prop_assert!(needed > room),
                    Err(EncodeError::Invalid(finding)) => {
                        prop_assert_eq!(finding.path.job(), Some(taken.len()));
                        prop_assert_eq!(writer.encoded_len(), length);
                    }
                    Err(other) => panic!("{other}"),
                }
                prop_assert_eq!(writer.jobs(), taken.len());
            }
            let mut wanted = ReportBuf::new(message_id.clone());
            wanted.jobs = taken;
            wanted.msg_confirm_topic = topic.clone();
            match writer.finish() {
                Ok(sink) => prop_assert_eq!(sink.written(), wanted.encode_to_vec().unwrap()),
                Err(_) => prop_assert!(wanted.jobs.is_empty()),
            }
        }
    }

    #[test]
    fn requests_and_signatures_in_every_length(
        project_id in "[a-z0-9é /%]{0,6}[a-z]",
        prefix in "(/[a-z]{1,5}){0,2}/?",
        kind in 0..4usize,
        names in proptest::collection::hash_set("[a-zA-Z][a-zA-Z0-9_-]{0,7}", 0..4),
        value in "[ -~]{0,12}",
        query in vec((text(), text()), 0..3),
        body in vec(any::<u8>(), 0..80),
    ) {
        let url = format!("https://gateway.example{prefix}");
        let endpoint = match Endpoint::new(&url, &project_id) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                prop_assert_eq!(error.code(), Code::ProjectId);
                return Ok(());
            }
        };
        let temporary = Keys::new("EXAMPLEAK", "EXAMPLESK").with_security_token("t+/=");
        let credentials = [
            Credentials::None,
            Credentials::token("token"),
            Credentials::keys("EXAMPLEAK", "EXAMPLESK"),
            Credentials::Keys(temporary.clone()),
        ];
        let now = WallTime::from_unix_ms(1_591_104_868_201);
        let make = |scratch: &mut [u8]| {
            let request = Request::new(&endpoint, &credentials[kind], &body, now, scratch)?;
            Ok((request.path().to_owned(), request.headers().iter().map(|h| h.value.to_owned()).collect()))
        };
        every_length(make)?;

        let query: Vec<_> = query.iter().map(|(k, v)| (&**k, &**v)).collect();
        let headers: Vec<_> = names.iter().map(|name| Header { name, value: &value }).collect();
        let signable = Signable::new("POST", endpoint.authority(), "/x").with_query(&query).with_headers(&headers);
        let signable = signable.with_body(&body);
        let make = |buffer: &mut [u8]| {
            let signature = sign(&signable, &temporary, now, buffer)?;
            Ok((signature.x_sdk_date().to_owned(), vec![signature.authorization().to_owned()]))
        };
        // Names that differ in case only are one header.
        let mut lower: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
        lower.sort();
        lower.dedup();
        if lower.len() < names.len() || lower.iter().any(|name| name == "host") {
            prop_assert_eq!(make(&mut []), Err(RequestError::Unusable(Code::HeaderTwice)));
            return Ok(());
        }
        every_length(make)?;
        every_length(|buffer| {
            let mut sink = SliceSink::new(buffer);
            canonical_request(&signable, &temporary, now, &mut sink)?;
            Ok((String::from_utf8(sink.written().to_vec()).unwrap(), Vec::new()))
        })?;
    }
}

type Made = Result<(String, Vec<String>), RequestError>;

/// One length is said to be enough: it is, and each one below is not.
fn every_length(make: impl Fn(&mut [u8]) -> Made) -> Result<(), TestCaseError> {
    let Err(RequestError::TooSmall { needed }) = make(&mut []) else {
        panic!("made of nothing");
    };
    let mut buffer = vec![0; needed + 40];
    let whole = make(&mut buffer);
    prop_assert!(whole.is_ok());
    // Around the ends and with strides between: hashing at every length takes long.
    let rooms = (0..needed)
        .step_by(11)
        .chain(needed.saturating_sub(3)..needed + 2);
    for room in rooms {
        let too_small = Err(RequestError::TooSmall { needed });
        let wanted = if room < needed { &too_small } else { &whole };
        prop_assert_eq!(
            &make(&mut buffer[..room]),
            wanted,
            "room for {} of {}",
            room,
            needed
        );
    }
    Ok(())
}

// --- texts -------------------------------------------------------------------

/// Pieces of JSON, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "\t\r ", "null", "true", "false", "nul", "0",
        "-0", "1", "-1", "01", "1.", ".5", "1.5", "-0.0", "1e5", "1E+2", "1e-3", "1e", "-", "+1",
        "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
        "18446744073709551616", "\"\"", "\"a\"", "\"\\n\\\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"",
        "\"\\ude00\"", "\"\\x\"", "\"\\u00\"", "\"\u{1}\"", "\"k\":", "\"jobs\":[",
        "\"status\":\"job_running\"", "\"job_id\":", "/", "//", "NaN", "\u{feff}", "é", "\u{7f}",
    ];
    select(PIECES).prop_map(String::from)
}

/// A JSON string in one of its many spellings.
fn spelled() -> impl Strategy<Value = String> {
    vec((character(), 0..3u8), 0..8).prop_map(|characters| {
        let mut out = String::from("\"");
        for (c, way) in characters {
            match (way, c) {
                (0, '/') => out.push_str("\\/"),
                (0 | 1, '"' | '\\') => out.extend(['\\', c]),
                (0, _) | (_, '\0'..=' ' | '"' | '\\') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out += &format!("\\u{unit:04x}");
                    }
                }
                _ => out.push(c),
            }
        }
        out + "\""
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
    ]
}

/// A JSON text with whitespace of all kinds.
fn document() -> impl Strategy<Value = String> {
    let word = select(vec!["null", "true", "false", "{}", "[]"]).prop_map(String::from);
    let leaf = prop_oneof![spelled(), number(), word];
    let space = "[ \t\r\n]{0,2}";
    let padded = (space, leaf, space).prop_map(|(a, value, b)| a + &value + &b);
    padded.prop_recursive(6, 48, 6, move |inner| {
        let member = (space, spelled(), space, inner.clone());
        let member = member.prop_map(|(a, key, b, value)| a + &key + &b + ":" + &value);
        prop_oneof![
            vec(inner, 1..6).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 1..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn one_of(words: &'static str) -> impl Strategy<Value = String> {
    select(words.split(' ').collect::<Vec<_>>()).prop_map(String::from)
}

fn sometimes(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => text]
}

/// Members with the right names and all kinds of values, each with a comma in front.
fn members(keys: &'static str) -> impl Strategy<Value = String> {
    let value = prop_oneof![
        2 => piece(),
        2 => spelled(),
        2 => positive().prop_map(|n| n.to_string()),
        1 => number(),
        1 => Just("\"2020-06-02 13:34:28\"".to_owned()),
        1 => document(),
    ];
    let member = (one_of(keys), value).prop_map(|(key, value)| format!(",\"{key}\":{value}"));
    vec(member, 0..3).prop_map(|members| members.concat())
}

/// A report that is right but for some members.
fn report_like() -> impl Strategy<Value = String> {
    let more = members("error_id error_type error_cause exception error_time x");
    let exceptions = sometimes(more).prop_map(|more| {
        let texts = r#""error_type":"","error_cause":"","exception":"","error_time":"""#;
        format!(r#","exceptions":{{"error_id":"",{texts}{more}}}"#)
    });
    let more = members(r"job_id job\u005fid exceptions metrics plan x \u0078");
    let job = (sometimes(exceptions), sometimes(more)).prop_map(|(exceptions, more)| {
        format!(r#"{{"status":"job_idle","create_time":1591104868201{exceptions}{more}}}"#)
    });
    let more = members("jobs message_id x a-b");
    (vec(job, 0..3), sometimes(more)).prop_map(|(jobs, more)| {
        let jobs = jobs.join(",");
        format!(r#"{{"jobs":[{jobs}],"msg_confirm_topic":"t","message_id":"m"{more}}}"#)
    })
}

/// Answers with the right names.
fn reply_like() -> impl Strategy<Value = String> {
    let keys = r"is_success is_success is\u005fsuccess error_code message error_msg request_id x";
    let values = r#"true true false "true" "false" "tr\u0075e" null "" 1 "DLI.0001" "DLI.\u0030999" "DLI.x" "portal" [true] {"is_success":true} "\ud800""#;
    let member = (one_of(keys), one_of(values)).prop_map(|(k, v)| format!("\"{k}\":{v}"));
    vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index),
    Drop(Index),
    Put(Index, u8),
    Insert(Index, String),
    Repeat(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || any::<Index>();
    let byte = prop_oneof![
        select(&b"{}[]:,\"\\0123456789eE+-. u\xff\x80\xe9\x00\n"[..]),
        any::<u8>()
    ];
    prop_oneof![
        1 => at().prop_map(Edit::Cut),
        2 => at().prop_map(Edit::Drop),
        4 => (at(), byte).prop_map(|(at, byte)| Edit::Put(at, byte)),
        3 => (at(), piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
    ]
}

fn edited((text, edits): (String, Vec<Edit>)) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for edit in edits {
        let place = |at: Index| at.index(bytes.len().max(1)).min(bytes.len());
        match edit {
            Edit::Cut(at) => bytes.truncate(place(at)),
            Edit::Drop(at) if !bytes.is_empty() => drop(bytes.remove(place(at))),
            Edit::Put(at, byte) if !bytes.is_empty() => {
                let at = place(at);
                bytes[at] = byte;
            }
            Edit::Insert(at, piece) => {
                let at = place(at);
                bytes.splice(at..at, piece.into_bytes());
            }
            Edit::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, part);
            }
            Edit::Drop(_) | Edit::Put(..) => {}
        }
    }
    bytes
}

fn report_json(report: &ReportBuf) -> String {
    String::from_utf8(report.encode_to_vec().unwrap()).unwrap()
}

/// Bytes that are JSON, nearly, or not at all.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let soup = vec(piece(), 0..16).prop_map(|pieces| pieces.concat());
    let whole = prop_oneof![3 => document(), 2 => report_like(), 1 => reply_like(), 2 => soup];
    prop_oneof![
        8 => (whole, vec(edit(), 0..3)).prop_map(edited),
        1 => vec(any::<u8>(), 0..64),
    ]
}

/// What a text says, in order.
#[derive(Debug, PartialEq)]
enum Event {
    Open,
    Close,
    Key(String),
    Text(String),
    Integer(i64),
    /// serde_json takes `-0` for a float.
    MinusZero,
    OtherNumber,
    Bool(bool),
    Null,
}

fn scan(text: &[u8]) -> Result<Vec<Event>, Error> {
    let mut scanner = Scanner::new(text);
    let (mut events, mut open) = (Vec::new(), Vec::new());
    loop {
        let before = scanner.clone();
        let Some(token) = scanner.next_token()? else {
            assert_eq!((scanner.depth(), scanner.offset()), (0, text.len()));
            return Ok(events);
        };
        assert!(scanner.token_offset() < scanner.offset() && scanner.offset() <= text.len());
        if let Token::ObjectStart | Token::ArrayStart = token {
            open.push((before, scanner.clone()));
        }
        events.push(match token {
            Token::ObjectStart | Token::ArrayStart => Event::Open,
            Token::ObjectEnd | Token::ArrayEnd => {
                // Both short cuts end where reading on does.
                let (mut outside, mut inside) = open.pop().unwrap();
                outside.skip_value()?;
                inside.leave(scanner.depth())?;
                let here = (scanner.offset(), scanner.depth());
                assert_eq!((outside.offset(), outside.depth()), here);
                assert_eq!((inside.offset(), inside.depth()), here);
                Event::Close
            }
            Token::Key(text) => Event::Key(text.chars().collect()),
            Token::String(text) => {
                let decoded: String = text.chars().collect();
                assert!(decoded.len() <= text.raw().len() && text.is(&decoded));
                assert_eq!(text.plain().is_some(), !text.raw().contains('\\'));
                let mut buffer = vec![0; decoded.len()];
                text.decode(&mut SliceSink::new(&mut buffer)).unwrap();
                assert_eq!(buffer, decoded.as_bytes());
                if let Some((_, shorter)) = buffer.split_last_mut() {
                    let mut sink = SliceSink::new(shorter);
                    text.decode(&mut sink).unwrap_err();
                    assert!(sink.is_empty());
                }
                Event::Text(decoded)
            }
            Token::Number(number) => {
                let value: f64 = number.raw().parse().unwrap();
                let integer = number.raw().parse::<i128>().ok();
                let wanted = integer.filter(|_| number.is_integer());
                assert_eq!(number.to_i64(), wanted.and_then(|n| n.try_into().ok()));
                match number.to_i64() {
                    _ if value == 0.0 && value.is_sign_negative() => Event::MinusZero,
                    Some(value) => Event::Integer(value),
                    None => Event::OtherNumber,
                }
            }
            Token::Bool(value) => Event::Bool(value),
            Token::Null => Event::Null,
        });
    }
}

/// What serde_json makes of a text; `None` where it stops for a limit of its own.
fn judge(text: &[u8]) -> Option<Result<Vec<Event>, serde_json::Error>> {
    let mut events = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let result = Recorder(&mut events)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match result {
        Ok(()) => Some(Ok(events)),
        Err(error) => {
            let words = error.to_string();
            let own = ["number out of range", "recursion limit exceeded"];
            (!own.iter().any(|own| words.starts_with(own))).then_some(Err(error))
        }
    }
}

struct Recorder<'e>(&'e mut Vec<Event>);

impl<'de> DeserializeSeed<'de> for Recorder<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Recorder<'_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push(Event::Bool(value));
        Ok(())
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(Event::Integer(value));
        Ok(())
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0
            .push(i64::try_from(value).map_or(Event::OtherNumber, Event::Integer));
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        let minus_zero = value == 0.0 && value.is_sign_negative();
        self.0.push(if minus_zero {
            Event::MinusZero
        } else {
            Event::OtherNumber
        });
        Ok(())
    }
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.push(Event::Text(value.into()));
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push(Event::Null);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.push(Event::Open);
        while seq.next_element_seed(Recorder(self.0))?.is_some() {}
        self.0.push(Event::Close);
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.push(Event::Open);
        while let Some(key) = map.next_key()? {
            self.0.push(Event::Key(key));
            map.next_value_seed(Recorder(self.0))?;
        }
        self.0.push(Event::Close);
        Ok(())
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn the_scanner_takes_what_serde_json_takes(text in bytes()) {
        let ours = scan(&text);
        match judge(&text) {
            Some(Ok(events)) => prop_assert_eq!(ours, Ok(events)),
            Some(Err(error)) => prop_assert!(ours.is_err(), "{}", error),
            None => {}
        }
    }

    #[test]
    fn the_scanner_takes_every_document(text in document()) {
        let Some(Ok(events)) = judge(text.as_bytes()) else { return Err(TestCaseError::reject("a limit")) };
        prop_assert_eq!(scan(text.as_bytes()), Ok(events));
    }

    #[test]
    fn what_checks_valid_is_read_and_stays_valid(text in prop_oneof![
        2 => report_like().prop_map(String::into_bytes),
        1 => (report_like(), vec(edit(), 0..3)).prop_map(edited),
        1 => bytes(),
    ]) {
        let mut offsets = Vec::new();
        let summary = check(&text, |finding| offsets.push(finding.offset.unwrap()));
        prop_assert_eq!(offsets.len(), summary.total());
        prop_assert!(offsets.iter().all(|&offset| offset <= text.len()));
        let read = ReportBuf::from_json(&text);
        prop_assert_eq!(summary.is_valid(), read.is_ok(), "{:?}", read);
        let mut canonical = Vec::new();
        prop_assert_eq!(canonical_into(&text, &mut canonical).is_ok(), read.is_ok());
        if let Ok(report) = read {
            let bytes = report.encode_to_vec().unwrap();
            prop_assert_eq!(&canonical, &bytes);
            let again = check(&bytes, |_| {});
            prop_assert!(again.is_valid());
            prop_assert_eq!(ReportBuf::from_json(&bytes).unwrap(), report);
            prop_assert!(scan(&text).is_ok());
        }
    }

    /// A report in the library's own form, whole or spoilt, is judged as it is behind a space, where no short way is taken.
    #[test]
    fn the_short_way_finds_what_the_long_way_finds(report in valid_report(), edits in vec(edit(), 0..3)) {
        let text = edited((report_json(&report), edits));
        let spaced = [b" ", &text[..]].concat();
        let (mut short, mut long) = (Vec::new(), Vec::new());
        let summary = check(&text, |found| short.push((found.code, found.path.to_string(), found.offset.unwrap())));
        let same = check(&spaced, |found| long.push((found.code, found.path.to_string(), found.offset.unwrap() - 1)));
        prop_assert_eq!(short, long);
        prop_assert_eq!(summary, same);
        let canonical = |text: &[u8]| {
            let mut bytes = Vec::new();
            canonical_into(text, &mut bytes).map(|()| bytes).map_err(|error| error.code())
        };
        prop_assert_eq!(canonical(&text), canonical(&spaced));
    }

    /// No report is taken for accepted or refused that was not, whatever the response.
    #[test]
    fn acceptance_is_said_in_so_many_words(text in prop_oneof![
        2 => reply_like().prop_map(String::into_bytes),
        1 => (reply_like(), vec(edit(), 0..3)).prop_map(edited),
    ]) {
        let outcome = read_reply(200, ReplyHeaders::default(), &text).outcome;
        let of_refusal = read_reply(400, ReplyHeaders::default(), &text).outcome;
        let Some(Ok(events)) = judge(&text) else {
            // Spoilt texts beside the members that decide are left out.
            let spoilt = scan(&text).is_err_and(|error| error.is_in_string());
            prop_assert!(spoilt || outcome == Outcome::NotUnderstood);
            prop_assert!(spoilt || of_refusal == Outcome::NotUnderstood);
            return Ok(());
        };
        // The members of the outermost object, in order.
        let (mut said, mut depth) = (Vec::new(), 0);
        for pair in events.windows(2) {
            match &pair[0] {
                Event::Open => depth += 1,
                Event::Close => depth -= 1,
                Event::Key(key) if depth == 1 => said.push((key.as_str(), &pair[1])),
                _ => {}
            }
        }
        let values = |wanted: &str| -> Vec<&Event> {
            said.iter().filter(|(key, _)| *key == wanted).map(|(_, value)| *value).collect()
        };
        let is_object = text.trim_ascii_start().starts_with(b"{");
        let is_text = |value: &Event, text: &str| matches!(value, Event::Text(t) if t == text);
        let yes = |value: &&Event| **value == Event::Bool(true) || is_text(value, "true");
        let no = |value: &&Event| **value == Event::Bool(false) || is_text(value, "false");
        let (success, errors) = (values("is_success"), values("error_code"));
        let (all_yes, all_no) = (success.iter().all(yes), success.iter().all(no));
        let readable = errors.iter().all(|v| matches!(v, Event::Text(_) | Event::Null));
        let mut codes = errors.iter().filter_map(|value| match value {
            Event::Text(code) if !code.is_empty() => Some(code),
            _ => None,
        });
        let code = codes.next();
        let agree = codes.all(|other| Some(other) == code);
        let digits = code.and_then(|code| code.strip_prefix("DLI."));
        let ours = digits.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        let wanted = match code {
            _ if !is_object || !readable || !agree => Outcome::NotUnderstood,
            Some(_) if ours => Outcome::Refused,
            None if all_yes && !success.is_empty() => Outcome::Accepted,
            None if all_no && !success.is_empty() => Outcome::Refused,
            _ => Outcome::NotUnderstood,
        };
        prop_assert_eq!(outcome, wanted);
        let wanted = match code.map(|code| code.as_str()) {
            Some("DLI.0999" | "DLI.0019" | "DLI.10001") if wanted == Outcome::Refused => Outcome::TryAgain,
            Some(_) => wanted,
            None => Outcome::NotUnderstood,
        };
        prop_assert_eq!(of_refusal, wanted);
    }

    #[test]
    fn nothing_panics(
        text in bytes(),
        status in any::<u16>(),
        words in (text(), text(), "[A-Za-z]{3},? [0-9]{1,2}[ -][A-Z][a-z]{2}[ -][0-9:]{2,9}( [0-9:]{8})?( GMT)?"),
        offset in 0..200usize,
        ms in any::<i64>(),
    ) {
        // A scanner that is read on after each fault comes to an end.
        let mut scanner = Scanner::new(&text);
        let mut steps = 0;
        loop {
            steps += 1;
            prop_assert!(steps <= 2 * text.len() + 2);
            match scanner.next_token() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.is_in_string() => prop_assert!(error.offset() <= text.len()),
                Err(error) => {
                    prop_assert_eq!(scanner.next_token(), Err(error));
                    break;
                }
            }
        }
        let Position { line, column } = position(&text, offset);
        let before = &text[..offset.min(text.len())];
        prop_assert_eq!(line, before.iter().filter(|&&b| b == b'\n').count() + 1);
        prop_assert!((1..=before.len() + 1).contains(&column));

        let now = WallTime::from_unix_ms(ms);
        for (retry_after, date) in [(&words.0, &words.2), (&words.2, &words.1)] {
            let headers = ReplyHeaders::default().with_retry_after(&**retry_after).with_date(&**date);
            let reply = read_reply(status, headers, &text);
            let _ = (reply.retry_after(now), reply.clock_skew_ms(now), reply.to_string());
            prop_assert!(reply.outcome != Outcome::Accepted || (200..300).contains(&status));
        }
        for words in [&words.0, &words.1, &words.2] {
            if let Some(at) = WallTime::from_sdk_date(words) {
                let again = at.to_sdk_date().unwrap();
                prop_assert_eq!(again.as_str(), words.as_str());
            }
        }
        let _ = now.to_error_time().map(|stamp| stamp.to_string());
    }

    #[test]
    fn an_endpoint_is_refused_or_clean(
        url in prop_oneof![
            text(),
            "https?://[a-z0-9.:@\\[\\]%é-]{0,12}[/a-z0-9.%?# é-]{0,16}",
            "https?://[a-z]{1,5}(:[0-9]{1,5})?(/[a-z.%0-9]{0,4}){0,3}",
        ],
        project_id in prop_oneof![1 => text(), 3 => "[a-z0-9./ %é]{0,8}", 3 => "[a-z0-9]{1,8}"],
    ) {
        match Endpoint::new(&url, &project_id) {
            Err(error) => {
                let of = if error.code() == Code::ProjectId { &project_id } else { &url };
                prop_assert!(error.offset() <= of.len() && of.is_char_boundary(error.offset()));
            }
            Ok(endpoint) => {
                let mut path = Vec::new();
                endpoint.write_path(&mut path).unwrap();
                let path = String::from_utf8(path).unwrap();
                prop_assert!(path.starts_with('/') && path.ends_with("/edgesrv/job-report"));
                let clean = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&b);
                prop_assert!(path.bytes().all(clean), "{}", path);
                prop_assert!(!path.split('/').any(|part| part == "." || part == ".."), "{}", path);
                let mut whole = Vec::new();
                endpoint.write_url(&mut whole).unwrap();
                let scheme = if endpoint.is_https() { "https" } else { "http" };
                let wanted = format!("{scheme}://{}{path}", endpoint.authority());
                prop_assert_eq!(String::from_utf8(whole).unwrap(), wanted);
                prop_assert!(endpoint.authority().starts_with(endpoint.host()));
                prop_assert!(endpoint.authority().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(endpoint.port() != 0);
                prop_assert_eq!(endpoint.project_id(), &project_id);
            }
        }
    }
}
