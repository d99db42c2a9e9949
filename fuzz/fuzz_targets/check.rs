//! Any bytes: what checks valid is read, and written again is valid; what does not is not read.
#![no_main]

use edge_report::{Code, ReportBuf, canonical_into, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut findings = Vec::new();
    let summary = check(text, |finding| findings.push(finding));
    assert_eq!(summary.total(), findings.len());
    for finding in &findings {
        assert!(finding.offset.is_some_and(|offset| offset <= text.len()));
        assert!(!finding.to_string().is_empty());
    }
    // Behind a space no short way is taken.
    let mut long_way = Vec::new();
    let spaced = [b" ", text].concat();
    assert_eq!(check(&spaced, |finding| long_way.push(finding)), summary);
    for finding in &mut long_way {
        finding.offset = finding.offset.map(|offset| offset - 1);
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        // At the beginning alone it has a name.
        assert_eq!(findings[0].code, Code::JsonByteOrderMark);
    } else {
        assert_eq!(long_way, findings);
    }

    let mut canonical = Vec::new();
    let written = canonical_into(text, &mut canonical);
    let mut by_long_way = Vec::new();
    let _ = canonical_into(&spaced, &mut by_long_way);
    assert_eq!(by_long_way, canonical);
    match ReportBuf::from_json(text) {
        Err(error) => {
            let first = findings.iter().find(|f| f.severity().name() == "error");
            assert_eq!(first.map(|f| f.code), Some(error.code()), "{error}");
            assert_eq!(written.map_err(|error| error.code()), Err(error.code()));
        }
        Ok(report) => {
            assert!(summary.is_valid());
            let bytes = report.encode_to_vec().expect("valid");
            assert_eq!(canonical, bytes);
            assert!(check(&bytes, |_| {}).is_valid());
            assert_eq!(ReportBuf::from_json(&bytes).expect("valid"), report);
        }
    }
});
