//! Runs the vectors that Rust, C and JavaScript share, and the table of requests.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

fn path_of(name: &str) -> PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../vectors").join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    let path = path_of(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&bytes_of(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn unhex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// Runs each case, and tells all that fail.
fn run<C>(cases: &[C], at_least: usize, name: impl Fn(&C) -> &str, case: impl Fn(&C)) {
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let failed: Vec<&str> = (cases.iter())
        .filter(|c| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(c)));
            result
                .inspect_err(|_| eprintln!("^ in case {}\n", name(c)))
                .is_err()
        })
        .map(&name)
        .collect();
    let (count, of) = (failed.len(), cases.len());
    assert!(
        failed.is_empty(),
        "{count} of {of} cases failed: {failed:#?}"
    );
}

mod json {
    use super::*;
    use edge_report::json::{Error, Scanner, Token};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "what")]
        _what: String,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        name: String,
        text: Option<String>,
        hex: Option<String>,
        repeat: Option<String>,
        times: Option<usize>,
        accept: bool,
        offset: Option<usize>,
        decoded: Option<String>,
    }

    fn strings(text: &[u8]) -> Result<Vec<String>, Error> {
        let mut scanner = Scanner::new(text);
        let mut found = Vec::new();
        while let Some(token) = scanner.next_token()? {
            if let Token::String(text) = token {
                let mut decoded = Vec::new();
                text.decode(&mut decoded).unwrap();
                let decoded = String::from_utf8(decoded).unwrap();
                assert_eq!(text.chars().collect::<String>(), decoded);
                assert_eq!(text.to_string(), decoded);
                assert!(text.is(&decoded));
                assert_eq!(text.is_empty(), decoded.is_empty());
                found.push(decoded);
            }
        }
        assert_eq!((scanner.depth(), scanner.offset()), (0, text.len()));
        Ok(found)
    }

    #[test]
    fn vectors() {
        let file: File = load("json.json");
        run(
            &file.cases,
            950,
            |c| &c.name,
            |case| {
                let text = match (&case.text, &case.hex, &case.repeat) {
                    (Some(text), None, None) => text.clone().into_bytes(),
                    (None, Some(hex), None) => unhex(hex),
                    (None, None, Some(repeat)) => repeat.repeat(case.times.unwrap()).into_bytes(),
                    _ => panic!("one input, not several"),
                };
                let result = strings(&text);
                assert_eq!(result.is_ok(), case.accept, "{result:?}");
                match result {
                    Ok(found) => {
                        if let Some(decoded) = &case.decoded {
                            assert_eq!(found, [decoded.as_str()]);
                        }
                    }
                    Err(error) => {
                        if let Some(offset) = case.offset {
                            assert_eq!(error.offset(), offset, "{error}");
                        }
                        assert!(error.offset() <= text.len());
                    }
                }
            },
        );
    }
}

mod reports {
    use super::*;
    use edge_report::json::{Sink, SliceSink};
    use edge_report::{
        Code, EncodeError, Finding, JobBuf, Report, ReportBuf, ReportWriter, canonical_into, check,
    };

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "what")]
        _what: String,
        reports: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        name: String,
        input: Option<String>,
        hex: Option<String>,
        file: Option<String>,
        parts: Option<Vec<(String, usize)>>,
        findings: Vec<Found>,
        canonical: Option<String>,
        #[serde(default)]
        canonical_same_as_input: bool,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Found {
        path: String,
        offset: usize,
        code: u16,
        name: String,
        severity: String,
    }

    impl From<Finding<'_>> for Found {
        fn from(finding: Finding<'_>) -> Self {
            Found {
                path: finding.path.to_string(),
                offset: finding.offset.unwrap(),
                code: finding.code.number(),
                name: finding.code.name().into(),
                severity: finding.severity().name().into(),
            }
        }
    }

    fn text_of(case: &Case) -> Vec<u8> {
        match (&case.input, &case.hex, &case.file, &case.parts) {
            (Some(input), None, None, None) => input.clone().into_bytes(),
            (None, Some(hex), None, None) => unhex(hex),
            (None, None, Some(file), None) => bytes_of(file),
            (None, None, None, Some(parts)) => {
                let part = |(text, times): &(String, usize)| text.repeat(*times);
                parts.iter().map(part).collect::<String>().into_bytes()
            }
            _ => panic!("one input, not several"),
        }
    }

    #[test]
    fn vectors() {
        let file: File = load("reports.json");
        run(
            &file.reports,
            260,
            |c| &c.name,
            |case| {
                let text = text_of(case);
                findings(case, &text);
                let canonical = case.canonical.as_deref().map(str::as_bytes);
                let same = case.canonical_same_as_input.then_some(&text[..]);
                match (
                    case.findings.iter().find(|f| f.severity == "error"),
                    canonical.or(same),
                ) {
                    (Some(first), None) => refused(first, &text),
                    (None, Some(canonical)) => encoded(case, &text, canonical),
                    _ => {
                        panic!("canonical bytes are there for what is valid, and for nothing else")
                    }
                }
            },
        );
    }

    fn findings(case: &Case, text: &[u8]) {
        let mut found = Vec::new();
        let summary = check(text, |finding| {
            found.push(Found::from(finding));
            without_text(&finding);
        });
        assert_eq!(found, case.findings);
        let errors = case
            .findings
            .iter()
            .filter(|f| f.severity == "error")
            .count();
        assert_eq!((summary.errors, summary.total()), (errors, found.len()));
        assert_eq!(summary.is_valid(), errors == 0);
    }

    /// What outlives the text keeps all but the names of unknown keys.
    fn without_text(finding: &Finding<'_>) {
        const KNOWN: &str = "jobs msg_confirm_topic message_id job_id status create_time exceptions metrics plan \
                             error_id error_type error_cause exception error_time";
        let kept = finding.without_text();
        assert_eq!((kept.code, kept.offset), (finding.code, finding.offset));
        let (short, whole) = (kept.path.to_string(), finding.path.to_string());
        match finding.path.key() {
            Some(key) if KNOWN.split(' ').all(|known| known != key) => {
                assert!(whole.starts_with(&short) && short.len() < whole.len());
            }
            _ => assert_eq!(short, whole),
        }
    }

    fn refused(first: &Found, text: &[u8]) {
        let error = ReportBuf::from_json(text).unwrap_err();
        let place = (error.code().number(), error.path(), error.offset());
        assert_eq!(place, (first.code, &*first.path, Some(first.offset)));
        let mut out = b"what was there".to_vec();
        let Err(EncodeError::Invalid(finding)) = canonical_into(text, &mut out) else {
            panic!("encoded all the same");
        };
        let place = (finding.code.number(), finding.offset);
        assert_eq!(
            (place, &*out),
            ((first.code, Some(first.offset)), &b"what was there"[..])
        );
        // In memory, what a value must be is refused in the same words.
        let of_values = [Code::Empty, Code::NotPositive].map(Code::number);
        if of_values.contains(&first.code)
            && let Ok(report) = serde_json::from_slice::<ReportBuf>(text)
        {
            let Err(EncodeError::Invalid(finding)) = report.encode_to_vec() else {
                panic!("encoded all the same");
            };
            let place = (finding.code.number(), finding.path.to_string());
            assert_eq!(place, (first.code, first.path.clone()));
        }
    }

    fn encoded(case: &Case, text: &[u8], canonical: &[u8]) {
        let owned = ReportBuf::from_json(text).unwrap();
        same(&owned.encode_to_vec().unwrap(), canonical);
        same(&serde_json::to_vec(&owned).unwrap(), canonical);
        assert_eq!(owned.encoded_len(), canonical.len());

        let mut out = b"what was there".to_vec();
        canonical_into(text, &mut out).unwrap();
        same(out.strip_prefix(b"what was there").unwrap(), canonical);
        let needed = canonical.len();
        let mut buffer = vec![0xa5; needed - 1];
        let mut sink = SliceSink::new(&mut buffer);
        let too_small = canonical_into(text, &mut sink);
        assert_eq!(
            (too_small, sink.len()),
            (Err(EncodeError::TooSmall { needed }), 0)
        );

        let jobs: Vec<_> = owned.jobs.iter().map(JobBuf::as_job).collect();
        let mut report = Report::new(&owned.message_id, &jobs);
        report.msg_confirm_topic = owned.msg_confirm_topic.as_deref();
        assert_eq!(report.encoded_len(), canonical.len());
        let mut buffer = vec![0xa5; canonical.len() + 1];
        same(
            report.encode(&mut buffer[..canonical.len()]).unwrap(),
            canonical,
        );
        same(report.encode(&mut buffer).unwrap(), canonical);
        same(&report.encode_to_vec().unwrap(), canonical);
        let too_small = report.encode(&mut buffer[..canonical.len() - 1]);
        let needed = canonical.len();
        assert_eq!(too_small, Err(EncodeError::TooSmall { needed }));
        assert_eq!(ReportBuf::from(report), owned);

        let mut buffer = vec![0xa5; canonical.len()];
        let writer = ReportWriter::over(&mut buffer, report.msg_confirm_topic, report.message_id);
        same(write_jobs(writer, &report).into_written(), canonical);
        let before = b"what was there".to_vec();
        let writer = ReportWriter::new(before, report.msg_confirm_topic, report.message_id);
        same(
            write_jobs(writer, &report)
                .strip_prefix(b"what was there")
                .unwrap(),
            canonical,
        );

        // The same findings in memory, but for unknown keys, and with the topic in front of the id.
        let mut of_bytes: Vec<_> = (case.findings.iter())
            .filter(|f| f.code != Code::UnknownKey.number())
            .map(|f| (f.path.clone(), f.code))
            .collect();
        let mut in_memory = Vec::new();
        report.check(|f| in_memory.push((f.path.to_string(), f.code.number())));
        of_bytes.sort();
        in_memory.sort();
        assert_eq!(in_memory, of_bytes);

        // Canonical bytes are a fixed point, and valid.
        assert_eq!(ReportBuf::from_json(canonical).unwrap(), owned);
    }

    fn write_jobs<S: Sink>(
        writer: Result<ReportWriter<'_, S>, EncodeError>,
        report: &Report<'_>,
    ) -> S {
        let mut writer = writer.unwrap();
        for job in report.jobs {
            writer.job(job).unwrap();
        }
        assert_eq!(writer.jobs(), report.jobs.len());
        assert_eq!(writer.encoded_len(), report.encoded_len());
        writer.finish().unwrap()
    }

    /// `assert_eq`, fit for people and for megabytes.
    fn same(ours: &[u8], wanted: &[u8]) {
        if ours != wanted {
            let at = ours.iter().zip(wanted).position(|(a, b)| a != b);
            let at = at.unwrap_or(ours.len().min(wanted.len()));
            let shown = |bytes: &[u8]| {
                let end = bytes.len().min(at + 40);
                String::from_utf8_lossy(&bytes[at.saturating_sub(40)..end]).into_owned()
            };
            panic!(
                "differs at byte {at}:\n  ours   {}\n  wanted {}",
                shown(ours),
                shown(wanted)
            );
        }
    }

    #[test]
    fn the_sample_has_338_bytes() {
        assert_eq!(bytes_of("workloads/W1.json").len(), 338);
    }
}

mod codes {
    use super::*;
    use edge_report::exchange::Outcome;
    use edge_report::{Code, JobStatus};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "what")]
        _what: String,
        codes: Vec<CodeEntry>,
        outcomes: Vec<OutcomeEntry>,
        statuses: Vec<StatusEntry>,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct CodeEntry {
        number: u16,
        name: String,
        severity: String,
        text: String,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OutcomeEntry {
        number: u8,
        name: String,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct StatusEntry {
        name: String,
        r#final: bool,
    }

    /// Entry by entry, since a list of them all is hard to read.
    fn equal<T: PartialEq + std::fmt::Debug>(wanted: &[T], ours: impl IntoIterator<Item = T>) {
        let ours: Vec<T> = ours.into_iter().collect();
        for (wanted, ours) in wanted.iter().zip(&ours) {
            assert_eq!(ours, wanted, "(ours left, the file right)");
        }
        assert_eq!(
            ours.len(),
            wanted.len(),
            "the file and the library differ in length"
        );
    }

    #[test]
    fn vectors() {
        let file: File = load("codes.json");
        assert!(file.codes.len() >= 53);
        let entry = |code: &Code| CodeEntry {
            number: code.number(),
            name: code.name().into(),
            severity: code.severity().to_string(),
            text: code.text().into(),
        };
        equal(&file.codes, Code::ALL.iter().map(entry));
        for entry in &file.codes {
            let code = Code::from_number(entry.number).unwrap();
            let shown = (format!("{code:?}"), code.to_string());
            assert_eq!(shown, (entry.name.clone(), entry.text.clone()));
        }
        let known = |number: &u16| Code::from_number(*number).is_some();
        assert_eq!((0..=u16::MAX).filter(known).count(), file.codes.len());

        let entry = |outcome: Outcome| OutcomeEntry {
            number: outcome.number(),
            name: outcome.to_string(),
        };
        equal(&file.outcomes, Outcome::ALL.iter().copied().map(entry));
        let entry = |status: JobStatus<'_>| StatusEntry {
            name: status.name().into(),
            r#final: status.is_final(),
        };
        equal(&file.statuses, JobStatus::KNOWN.iter().copied().map(entry));
        for entry in &file.statuses {
            let status = JobStatus::from_name(&entry.name);
            assert!(JobStatus::KNOWN.contains(&status), "{status}");
        }
    }
}

mod replies {
    use super::*;
    use edge_report::exchange::{ReplyHeaders, ServiceCodes, read_reply, read_reply_with};
    use edge_report::{Code, WallTime};
    use std::time::Duration;

    const NOW_MS: i64 = 1_591_104_868_000;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "what")]
        _what: String,
        replies: Vec<Case>,
        classes: Vec<Class>,
        unusable_service_codes: Vec<Vec<String>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        name: String,
        status: u16,
        #[serde(default)]
        headers: Headers,
        body: Option<String>,
        hex: Option<String>,
        parts: Option<Vec<(String, usize)>>,
        service_codes: Option<Vec<String>>,
        outcome: String,
        error_code: Option<String>,
        error_msg: Option<String>,
        message: Option<String>,
        request_id: Option<String>,
        retry_after_ms: Option<BigNumber>,
        clock_skew_ms: Option<i64>,
        now_ms: Option<i64>,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Headers {
        retry_after: Option<String>,
        date: Option<String>,
    }

    #[derive(Deserialize)]
    struct Class {
        from: u16,
        to: u16,
        #[serde(default)]
        body: String,
        outcome: String,
    }

    /// JavaScript has no exact numbers over 2^53.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum BigNumber {
        Number(u64),
        Text(String),
    }

    #[test]
    fn vectors() {
        let file: File = load("replies.json");
        run(
            &file.replies,
            460,
            |c| &c.name,
            |case| {
                let body = match (&case.body, &case.hex, &case.parts) {
                    (Some(body), None, None) => Cow::Borrowed(body.as_bytes()),
                    (None, Some(hex), None) => Cow::Owned(unhex(hex)),
                    (None, None, Some(parts)) => Cow::Owned(
                        parts
                            .iter()
                            .flat_map(|(text, times)| text.repeat(*times).into_bytes())
                            .collect(),
                    ),
                    _ => panic!("one body"),
                };
                let headers = ReplyHeaders::default()
                    .with_retry_after(case.headers.retry_after.as_deref())
                    .with_date(case.headers.date.as_deref());
                let now = WallTime::from_unix_ms(case.now_ms.unwrap_or(NOW_MS));
                let reply = match &case.service_codes {
                    None => read_reply(case.status, headers, &body),
                    Some(prefixes) => {
                        let codes = ServiceCodes::new(prefixes.iter().map(String::as_str)).unwrap();
                        assert!(codes.prefixes().eq(prefixes));
                        read_reply_with(&codes, case.status, headers, &body)
                    }
                };
                assert_eq!(reply.outcome.name(), case.outcome);
                assert_eq!(reply.status, case.status);
                for (member, ours, wanted) in [
                    ("error_code", reply.error_code, &case.error_code),
                    ("error_msg", reply.error_msg, &case.error_msg),
                    ("message", reply.message, &case.message),
                    ("request_id", reply.request_id, &case.request_id),
                ] {
                    assert_eq!(ours.map(|text| text.to_string()), *wanted, "{member}");
                }
                let wanted = case.retry_after_ms.as_ref().map(|number| match number {
                    BigNumber::Number(number) => *number,
                    BigNumber::Text(text) => text.parse().unwrap(),
                });
                let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                assert_eq!(reply.retry_after(now).map(ms), wanted);
                assert_eq!(reply.clock_skew_ms(now), case.clock_skew_ms);
                let line = reply.to_string();
                let start = format!("{}: {}", case.outcome, case.status);
                assert!(line.starts_with(&start), "{line}");
                let parts = [
                    &case.error_code,
                    if case.error_msg.is_some() {
                        &case.error_msg
                    } else {
                        &case.message
                    },
                ];
                let whole = parts
                    .into_iter()
                    .flatten()
                    .flat_map(|part| [' '].into_iter().chain(part.chars()))
                    .fold(start, |line, c| {
                        // A server's text stays on its line.
                        if c.is_control() {
                            line + &format!("\\u{:04x}", u32::from(c))
                        } else {
                            line + &c.to_string()
                        }
                    });
                assert_eq!(line, whole);
            },
        );
        assert!(file.classes.len() >= 140);
        let mut statuses = 0;
        for class in &file.classes {
            for status in class.from..=class.to {
                let reply = read_reply(status, ReplyHeaders::default(), class.body.as_bytes());
                let of = format!("status {status}, body {}", class.body);
                assert_eq!(reply.outcome.name(), class.outcome, "{of}");
                statuses += 1;
            }
        }
        assert!(statuses >= 8000, "only {statuses} statuses");

        assert!(file.unusable_service_codes.len() >= 8);
        let empty = Vec::new();
        for prefixes in file.unusable_service_codes.iter().chain([&empty]) {
            let codes = ServiceCodes::new(prefixes.iter().map(String::as_str));
            assert_eq!(codes, Err(Code::ServiceCodes), "{prefixes:?}");
        }
        let default = ServiceCodes::default();
        assert_eq!(ServiceCodes::new(["DLI."]), Ok(default));
        assert_eq!(format!("{default:?}"), r#"["DLI."]"#);
    }
}

mod signatures {
    use super::*;
    use edge_report::exchange::{
        Endpoint, Header, Keys, RequestError, Signable, canonical_request, sign,
    };
    use edge_report::{ReportBuf, WallTime};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "what")]
        _what: String,
        vectors: Vec<Case>,
    }

    // What is not read here is what the signature was made from, for people and for other implementations.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        ak: String,
        sk: String,
        method: String,
        host: String,
        path: String,
        query: Vec<(String, String)>,
        headers: Vec<(String, serde_json::Value)>,
        now: String,
        body: Option<String>,
        signed_headers: String,
        canonical_request: String,
        string_to_sign: String,
        signature: String,
        authorization: String,
    }

    #[test]
    fn vectors() {
        let file: File = load("sign.json");
        run(
            &file.vectors,
            19,
            |c| &c.name,
            |case| {
                let values: Vec<String> = (case.headers.iter())
                    .map(|(_, value)| {
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), String::from)
                    })
                    .collect();
                let headers: Vec<Header<'_>> = (case.headers.iter().zip(&values))
                    .map(|((name, _), value)| Header { name, value })
                    .collect();
                let query: Vec<(&str, &str)> =
                    case.query.iter().map(|(k, v)| (&**k, &**v)).collect();
                let request = Signable::new(&case.method, &case.host, &case.path)
                    .with_query(&query)
                    .with_headers(&headers)
                    .with_body(case.body.as_deref().unwrap_or_default().as_bytes());
                let now = WallTime::from_sdk_date(&case.now).unwrap();
                signs(&request, &Keys::new(&case.ak, &case.sk), now, case);
                // The security token may come with the keys instead.
                let is_token = |h: &&Header<'_>| h.name == "X-Security-Token";
                if let Some(token) = headers.iter().find(is_token) {
                    let others: Vec<_> = headers.iter().filter(|h| !is_token(h)).copied().collect();
                    let request = request.with_headers(&others);
                    let keys = Keys::new(&case.ak, &case.sk).with_security_token(token.value);
                    signs(&request, &keys, now, case);
                }
                // Order does not matter.
                let backwards: Vec<_> = headers.iter().rev().copied().collect();
                let query: Vec<_> = query.iter().rev().copied().collect();
                let request = request.with_headers(&backwards).with_query(&query);
                signs(&request, &Keys::new(&case.ak, &case.sk), now, case);
            },
        );
        assert!(
            file.vectors
                .iter()
                .any(|c| c.headers.iter().any(|(_, value)| value.is_number()))
        );
        assert!(
            file.vectors
                .iter()
                .any(|c| c.headers.iter().any(|(name, _)| name == "x-sdk-date"))
        );
    }

    fn signs(request: &Signable<'_>, keys: &Keys<'_>, now: WallTime, case: &Case) {
        let mut canonical = b"before".to_vec();
        canonical_request(request, keys, now, &mut canonical).unwrap();
        assert_eq!(
            str::from_utf8(&canonical).unwrap(),
            format!("before{}", case.canonical_request)
        );

        let date = case.string_to_sign.lines().nth(1).unwrap();
        let needed = date.len() + case.authorization.len();
        let mut buffer = vec![0xa5; needed + 1];
        let error = sign(request, keys, now, &mut buffer[..needed - 1]).unwrap_err();
        assert_eq!(error, RequestError::TooSmall { needed });
        for room in [needed, needed + 1] {
            let signature = sign(request, keys, now, &mut buffer[..room]).unwrap();
            assert_eq!(signature.authorization(), case.authorization);
            assert_eq!(signature.x_sdk_date(), date);
        }
        assert!(
            case.authorization
                .ends_with(&format!("Signature={}", case.signature))
        );
        assert!(
            case.authorization
                .contains(&format!("SignedHeaders={},", case.signed_headers))
        );
    }

    /// A request as it went over the wire.
    struct Capture<'a> {
        path: &'a str,
        headers: Vec<Header<'a>>,
        body: &'a [u8],
    }

    fn parse(bytes: &[u8]) -> Capture<'_> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        // The SDK signs header values as UTF-8, and puts these bytes on the wire.
        let head = str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let path = lines.next().unwrap().strip_prefix("POST ").unwrap();
        let header = |line: &'_ str| line.find(": ").unwrap_or_else(|| panic!("{line}"));
        Capture {
            path: path.strip_suffix(" HTTP/1.1").unwrap(),
            headers: lines
                .map(|line| (line, header(line)))
                .map(|(line, at)| Header {
                    name: &line[..at],
                    value: &line[at + 2..],
                })
                .collect(),
            body: &bytes[end + 4..],
        }
    }

    impl<'a> Capture<'a> {
        fn header(&self, name: &str) -> Option<&'a str> {
            let found = self
                .headers
                .iter()
                .find(|h| h.name.eq_ignore_ascii_case(name));
            found.map(|h| h.value)
        }
    }

    #[test]
    fn captures() {
        let directory = std::fs::read_dir(path_of("captures")).unwrap();
        let mut names: Vec<String> = (directory.map(|entry| entry.unwrap().file_name()))
            .map(|name| format!("captures/{}", name.into_string().unwrap()))
            .filter(|name| name.ends_with(".http"))
            .collect();
        names.sort();
        run(&names, 9, |name| name, |name| capture(&bytes_of(name)));
    }

    fn capture(bytes: &[u8]) {
        let capture = parse(bytes);
        let length = capture.header("Content-Length").unwrap();
        assert_eq!(length, capture.body.len().to_string());
        let authorization = capture.header("Authorization").unwrap();
        let (_, rest) = authorization.split_once("SignedHeaders=").unwrap();
        let signed: Vec<&str> = rest.split_once(',').unwrap().0.split(';').collect();
        let headers: Vec<Header<'_>> = (capture.headers.iter())
            .filter(|h| signed.contains(&&*h.name.to_lowercase()) && h.name != "Host")
            .copied()
            .collect();
        let request = Signable::new("POST", capture.header("Host").unwrap(), capture.path)
            .with_headers(&headers)
            .with_body(capture.body);
        // The date of the capture is among its headers, so the clock does not matter.
        let (keys, now) = (
            Keys::new("EXAMPLEAK", "EXAMPLESK"),
            WallTime::from_unix_ms(0),
        );
        let mut buffer = [0; 512];
        let signature = sign(&request, &keys, now, &mut buffer).unwrap();
        assert_eq!(signature.authorization(), authorization);

        // With a name that has a `_` among them, which is sent but not signed, all the same.
        if let Some(value) = capture.header("X_Under") {
            let mut headers = headers.clone();
            headers.push(Header {
                name: "X_Under",
                value,
            });
            let request = request.with_headers(&headers);
            let signature = sign(&request, &keys, now, &mut buffer).unwrap();
            assert_eq!(signature.authorization(), authorization);
        }

        // The path comes from the project id.
        let base = format!("http://{}", capture.header("Host").unwrap());
        let project_id = capture.header("X-Project-Id").unwrap();
        match Endpoint::new(&base, project_id) {
            Ok(endpoint) => {
                let mut path = Vec::new();
                endpoint.write_path(&mut path).unwrap();
                assert_eq!(str::from_utf8(&path).unwrap(), capture.path);
            }
            // The vendor's SDK sends it all the same.
            Err(error) => assert!(project_id.contains('/'), "{error}"),
        }

        // The body is read, and says the same in canonical bytes.
        let report = ReportBuf::from_json(capture.body).unwrap();
        let value = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        assert_eq!(value(&report.encode_to_vec().unwrap()), value(capture.body));
    }
}

mod requests {
    use super::{Deserialize, load, run};
    use edge_report::exchange::{
        Credentials, Endpoint, Header, Keys, Request, RequestError, Secret, Signable, sign,
    };
    use edge_report::{Code, WallTime};

    const SECRET_KEY: &str = "sk-5ecre7-0f-keys";
    const TOKEN: &str = "t0ken-0f-24-h0urs";
    const SECURITY_TOKEN: &str = "secur1ty-t0ken/+==";
    const BODY: &[u8] = b"{\"jobs\":[]}";

    fn now() -> WallTime {
        WallTime::from_unix_ms(1_591_104_868_201)
    }

    fn all_credentials() -> [(&'static str, Credentials<'static>); 4] {
        let keys = Keys::new("EXAMPLEAK", SECRET_KEY);
        let temporary = keys.clone().with_security_token(SECURITY_TOKEN);
        [
            ("none", Credentials::None),
            ("token", Credentials::token(TOKEN)),
            ("keys", Credentials::Keys(keys)),
            ("temporary keys", Credentials::Keys(temporary)),
        ]
    }

    #[test]
    fn headers_of_each_kind() {
        let base = [
            ("Host", "gateway.example:8443"),
            ("Content-Type", "application/json"),
            ("X-Project-Id", "a b+é%"),
        ];
        let date = ("X-Sdk-Date", "20200602T133428Z");
        let endpoint = Endpoint::new("https://gateway.example:8443/dli/", "a b+é%").unwrap();
        for (name, credentials) in all_credentials() {
            let more: &[(&str, &str)] = match name {
                "none" => &[],
                "token" => &[("X-Auth-Token", TOKEN)],
                "keys" => &[date],
                _ => &[date, ("X-Security-Token", SECURITY_TOKEN)],
            };
            for credentials in [&credentials, &credentials.to_owned()] {
                let mut scratch = [0; 600];
                let request =
                    Request::new(&endpoint, credentials, BODY, now(), &mut scratch).unwrap();
                assert_eq!(request.method(), "POST");
                assert_eq!(
                    request.path(),
                    "/dli/v1/a%20b%2B%C3%A9%25/edgesrv/job-report"
                );
                assert_eq!(request.body(), BODY);
                let (authorization, others): (Vec<Header<'_>>, Vec<Header<'_>>) = request
                    .headers()
                    .iter()
                    .copied()
                    .partition(|h| h.name == "Authorization");
                let others: Vec<_> = others.iter().map(|h| (h.name, h.value)).collect();
                assert_eq!(others, [&base[..], more].concat(), "{name}");

                let Credentials::Keys(keys) = credentials else {
                    assert_eq!(authorization, [], "{name}");
                    continue;
                };
                // The whole is what signing its parts gives.
                let headers = [1, 2].map(|i| Header {
                    name: base[i].0,
                    value: base[i].1,
                });
                let signable = Signable::new("POST", base[0].1, request.path())
                    .with_headers(&headers)
                    .with_body(BODY);
                let mut buffer = [0; 400];
                let signature = sign(&signable, keys, now(), &mut buffer).unwrap();
                let [header] = authorization[..] else {
                    panic!("{name}")
                };
                assert_eq!(header.value, signature.authorization(), "{name}");
            }
        }
    }

    #[test]
    fn scratch_of_every_length() {
        for (url, project_id) in [
            ("https://gateway.example", "0a1b2c"),
            ("http://[::1]:8080/a/prefix/", "項目 1"),
        ] {
            let endpoint = Endpoint::new(url, project_id).unwrap();
            for (name, credentials) in all_credentials() {
                let make = |scratch: &mut [u8]| {
                    let request = Request::new(&endpoint, &credentials, BODY, now(), scratch);
                    request.map(|r| (r.path().to_owned(), format!("{:?}", r.headers())))
                };
                let Err(RequestError::TooSmall { needed }) = make(&mut []) else {
                    panic!("{name}: made of nothing");
                };
                assert!(needed <= 512 + 3 * project_id.len(), "{name}: {needed}");
                let whole = make(&mut vec![0; needed + 64]).unwrap();
                for room in 0..needed + 3 {
                    let made = make(&mut vec![0xa5; room]);
                    if room < needed {
                        assert_eq!(
                            made,
                            Err(RequestError::TooSmall { needed }),
                            "{name} {room}"
                        );
                    } else {
                        assert_eq!(made.as_ref(), Ok(&whole), "{name} {room}");
                    }
                }
            }
        }
    }

    #[derive(Deserialize)]
    struct Place {
        base_url: String,
        project_id: String,
        #[serde(default)]
        path: String,
        #[serde(default)]
        code: String,
        #[serde(default)]
        offset: usize,
    }

    #[derive(Deserialize)]
    struct Places {
        right: Vec<Place>,
        wrong: Vec<Place>,
    }

    #[test]
    fn endpoints() {
        let Places { right, wrong } = load("endpoints.json");
        run(
            &right,
            5,
            |p| &p.base_url,
            |place| {
                let endpoint = Endpoint::new(&place.base_url, &place.project_id).unwrap();
                let mut path = Vec::new();
                endpoint.write_path(&mut path).unwrap();
                assert_eq!(String::from_utf8(path).unwrap(), place.path);
            },
        );
        run(
            &wrong,
            30,
            |p| &p.base_url,
            |place| {
                let error = Endpoint::new(&place.base_url, &place.project_id).unwrap_err();
                let found = (format!("{:?}", error.code()), error.offset());
                assert_eq!(
                    found,
                    (place.code.clone(), place.offset),
                    "{}",
                    place.project_id
                );
            },
        );
    }

    /// A browser's `fetch` and many proxies take `%2e` for a dot: they would ask for another path than the signed one.
    #[test]
    fn dots_in_any_spelling() {
        for (path, offset) in [
            ("/.", 10),
            ("/x/../y", 12),
            ("/%2e", 10),
            ("/%2E%2e/x", 10),
            ("/x/.%2e", 12),
            ("/%2e./", 10),
        ] {
            let url = format!("https://a{path}");
            let error = Endpoint::new(&url, "p").unwrap_err();
            assert_eq!(
                (error.code(), error.offset()),
                (Code::UrlPath, offset),
                "{url}"
            );
        }
        for path in ["/...", "/.x", "/x.%2e", "/%2ex", "/a.b/"] {
            Endpoint::new(&format!("https://a{path}"), "p").unwrap();
        }
    }

    /// What is no address is a name, and a name leads anywhere.
    #[test]
    fn plain_http_is_for_addresses_of_this_machine() {
        for (host, is_loopback) in [
            ("localhost", true),
            ("LocalHost", true),
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("127.1.2.3.4.5", false),
            ("127.0.0.256", false),
            ("127.0.0.08", false),
            ("127.0.0.00", false),
            ("127.000.0.1", false),
            ("127.0.0.0", true),
            ("127..0.1", false),
            ("127.", false),
            ("127.0.0.1.example", false),
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("localhost.example", false),
            ("[::2]", false),
            ("[::]", false),
        ] {
            let url = format!("http://{host}:8080");
            let endpoint = Endpoint::new(&url, "p").unwrap();
            assert_eq!(endpoint.is_loopback(), is_loopback, "{host}");
        }
    }

    #[test]
    fn what_cannot_be_sent() {
        let endpoint = Endpoint::new("https://gateway.example", "p").unwrap();
        let keys = |access_key, secret_key| Credentials::keys(access_key, secret_key);
        let temporary = |token| Credentials::Keys(Keys::new("AK", "SK").with_security_token(token));
        let (early, late) = (WallTime::from_unix_ms(-1), WallTime::from_unix_ms(i64::MAX));
        for (name, credentials, now, code) in [
            ("no token", Credentials::token(""), now(), Code::Token),
            (
                "line break in the token",
                Credentials::token("a\r\nX: y"),
                now(),
                Code::Token,
            ),
            (
                "token not ASCII",
                Credentials::token("é"),
                now(),
                Code::Token,
            ),
            (
                "space before the token",
                Credentials::token(" a"),
                now(),
                Code::Token,
            ),
            ("no access key", keys("", "SK"), now(), Code::AccessKey),
            (
                "comma in the access key",
                keys("A,K", "SK"),
                now(),
                Code::AccessKey,
            ),
            (
                "space in the access key",
                keys("A K", "SK"),
                now(),
                Code::AccessKey,
            ),
            (
                "line break in the access key",
                keys("AK\n", "SK"),
                now(),
                Code::AccessKey,
            ),
            ("no secret key", keys("AK", ""), now(), Code::SecretKey),
            ("no security token", temporary(""), now(), Code::Token),
            (
                "NUL in the security token",
                temporary("a\0"),
                now(),
                Code::Token,
            ),
            (
                "a clock before 1970",
                keys("AK", "SK"),
                early,
                Code::TimeOutOfRange,
            ),
            (
                "a clock after 9999",
                keys("AK", "SK"),
                late,
                Code::TimeOutOfRange,
            ),
        ] {
            // What no buffer helps is told first.
            for room in [0, 40, 512] {
                let mut scratch = vec![0; room];
                let made = Request::new(&endpoint, &credentials, BODY, now, &mut scratch);
                let error = made.map(|_| ()).unwrap_err();
                assert_eq!(error, RequestError::Unusable(code), "{name}");
                assert_eq!(error.to_string(), code.text());
            }
        }
        // Only signing needs a clock.
        let mut scratch = [0; 100];
        for credentials in [Credentials::None, Credentials::token("t")] {
            Request::new(&endpoint, &credentials, BODY, early, &mut scratch).unwrap();
        }
    }

    #[test]
    fn headers_that_cannot_be_signed() {
        let header = |name, value| Header { name, value };
        for (name, headers, code) in [
            ("empty name", vec![header("", "v")], Code::HeaderName),
            (
                "space in a name",
                vec![header("a b", "v")],
                Code::HeaderName,
            ),
            ("colon in a name", vec![header("a:", "v")], Code::HeaderName),
            ("name not ASCII", vec![header("é", "v")], Code::HeaderName),
            (
                "line break in a value",
                vec![header("a", "v\r\nb: c")],
                Code::HeaderValue,
            ),
            ("NUL in a value", vec![header("a", "\0")], Code::HeaderValue),
            (
                "host given twice",
                vec![header("hOST", "v")],
                Code::HeaderTwice,
            ),
            (
                "a name twice",
                vec![header("a", "v"), header("A", "w")],
                Code::HeaderTwice,
            ),
            (
                "a date of another form",
                vec![header("x-sdk-date", "today")],
                Code::SignatureDate,
            ),
            (
                "a date that is not",
                vec![header("X-Sdk-Date", "20200230T000000Z")],
                Code::SignatureDate,
            ),
            (
                "an empty date",
                vec![header("X-Sdk-Date", "")],
                Code::SignatureDate,
            ),
        ] {
            let request = Signable::new("POST", "h", "/").with_headers(&headers);
            for room in [0, 512] {
                let mut buffer = vec![0; room];
                let error = sign(&request, &Keys::new("AK", "SK"), now(), &mut buffer).unwrap_err();
                assert_eq!(error, RequestError::Unusable(code), "{name}");
            }
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let endpoint = Endpoint::new("https://gateway.example", "p").unwrap();
        let (mut shown, mut signatures) = (Vec::new(), Vec::new());
        let mut show = |what: &dyn std::fmt::Debug| {
            shown.push(format!("{what:?}"));
            shown.push(format!("{what:#?}"));
        };
        for (_, credentials) in all_credentials() {
            show(&credentials);
            show(&credentials.to_owned());
            show(&credentials.check());
            if let Credentials::Keys(keys) = &credentials {
                show(keys);
            }
            let mut scratch = [0; 512];
            let request = Request::new(&endpoint, &credentials, BODY, now(), &mut scratch).unwrap();
            show(&request);
            let mut lower_case = Vec::new();
            for header in request.headers() {
                show(header);
                let name = header.name.to_lowercase();
                if let Some((_, signature)) = header.value.split_once("Signature=") {
                    signatures.push(signature.to_owned());
                }
                let secrets = ["authorization", "x-auth-token", "x-security-token"];
                assert_eq!(header.is_secret(), secrets.contains(&&*name), "{name}");
                lower_case.push((name, header.value));
            }
            let headers: Vec<_> = (lower_case.iter())
                .map(|(name, value)| Header { name, value })
                .collect();
            let signable = Signable::new("POST", "h", "/")
                .with_headers(&headers)
                .with_body(BODY);
            show(&signable);
            let headers: Vec<_> = headers
                .iter()
                .filter(|h| h.name != "host")
                .copied()
                .collect();
            let signable = signable.with_headers(&headers);
            let mut buffer = [0; 512];
            let signature =
                sign(&signable, &Keys::new("AK", SECRET_KEY), now(), &mut buffer).unwrap();
            show(&signature);
            let (_, text) = signature.authorization().split_once("Signature=").unwrap();
            signatures.push(text.to_owned());
        }
        show(&Secret::borrowed(TOKEN));
        // What is wrong with a secret does not show it either.
        let wrong = format!("{SECRET_KEY}\n");
        let mut scratch = [0; 512];
        for credentials in [
            Credentials::token(&wrong),
            Credentials::keys(&wrong, SECRET_KEY),
        ] {
            let error =
                Request::new(&endpoint, &credentials, BODY, now(), &mut scratch).unwrap_err();
            show(&error);
            show(&error.to_string());
        }
        assert_eq!(signatures.len(), 6);
        assert!(signatures.iter().all(|s| s.len() == 64));
        let secrets = [SECRET_KEY, TOKEN, SECURITY_TOKEN].map(String::from);
        for text in &shown {
            for secret in secrets.iter().chain(&signatures) {
                assert!(!text.contains(secret.as_str()), "{secret} shows in {text}");
            }
        }
        // The test would see it.
        let open = Header {
            name: "X-Project-Id",
            value: TOKEN,
        };
        assert!(format!("{open:?}").contains(TOKEN));
    }
}
