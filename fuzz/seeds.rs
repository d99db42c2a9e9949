//! Writes the shared vectors as a first corpus: `seeds VECTORS CORPUS`.

// The coverage hooks, which every program built with these flags needs.
use libfuzzer_sys as _;
#[path = "segments/mod.rs"]
mod segments;

use std::path::Path;

use segments::{log_of, pieces_of};

use serde_json::Value;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut directory = || arguments.next().expect("usage: seeds VECTORS CORPUS");
    let (vectors, corpus) = (directory(), directory());
    let (vectors, corpus) = (Path::new(&vectors), Path::new(&corpus));
    for case in cases(vectors, "json.json", "cases") {
        write(corpus, "scanner", &case, &bytes(&case, "text"));
    }
    for case in cases(vectors, "reports.json", "reports") {
        let text = bytes(&case, "input");
        write(corpus, "check", &case, &text);
        write(corpus, "scanner", &case, &text);
        write(corpus, "strings", &case, &text);
        // Not read as a report there, but full of its words.
        write(corpus, "encode", &case, &text);
    }
    for case in cases(vectors, "replies.json", "replies") {
        let header = |name: &str| {
            case["headers"][name]
                .as_str()
                .unwrap_or_default()
                .as_bytes()
        };
        let status = case["status"].as_u64().and_then(|n| u16::try_from(n).ok());
        let status = status.expect("a status").to_le_bytes();
        let body = bytes(&case, "body");
        let parts = [
            &status,
            header("retry_after"),
            b"\0",
            header("date"),
            b"\0",
            &body,
        ];
        write(corpus, "reply", &case, &parts.concat());
    }
    for case in cases(vectors, "sign.json", "vectors") {
        write(
            corpus,
            "endpoint",
            &case,
            case["canonical_request"].to_string().as_bytes(),
        );
    }
    // Each answer for all readers, then as the only one that a watch gets.
    for case in cases(vectors, "flink/readers.json", "cases") {
        let body = &case["body"];
        let text = match body["file"].as_str() {
            Some(file) => std::fs::read(vectors.join("flink").join(file)).expect(file),
            None => bytes(body, "text"),
        };
        let name = case["name"].as_str().expect("a name").replace('/', " ");
        for (form, head) in [("readers", &[0][..]), ("watch", &[1, 3, 0])] {
            let case = serde_json::json!({ "name": format!("{name}-{form}") });
            write(corpus, "flink", &case, &[head, &text].concat());
        }
    }
    for (name, calls) in LOGS {
        let images = log_of(calls.as_bytes());
        for (form, head, bytes) in [
            ("calls", 0x60, calls.as_bytes().to_vec()),
            ("raw", 0x62, pieces_of(&images, false)),
            ("records", 0x62, pieces_of(&images, true)),
        ] {
            let case = serde_json::json!({ "name": format!("{name}-{form}") });
            write(corpus, "segments", &case, &[&[head], &bytes[..]].concat());
        }
    }
}

/// Logs by calls: s and S submit a short and a long report on one of three jobs, f one that ends its job, o one on no job;
/// d delivers the oldest, a the third; r refuses the oldest, x gives up the second; F forgets the second dead letter, U all up to it;
/// c crashes, C closes.
const LOGS: [(&str, &str); 10] = [
    ("short", "ss"),
    ("settled", "sssddss"),
    ("ahead", "sssssaass"),
    ("refused", "sosrrxs"),
    ("forgotten", "ssssrrrFrUs"),
    ("rolled", "SSsSdds"),
    ("merged", "ofsssssssssssssssssssssssssssssssss"),
    (
        "merged-twice",
        "osssfssssssssssssssssssssssssssssssssdddssssSSSsssssssssss",
    ),
    ("crashed", "sssdcsrcSSdcs"),
    ("closed", "sssdCsrCSSdCs"),
];

fn cases(vectors: &Path, file: &str, list: &str) -> Vec<Value> {
    let text = std::fs::read(vectors.join(file)).expect(file);
    let mut whole: Value = serde_json::from_slice(&text).expect(file);
    match whole[list].take() {
        Value::Array(cases) => cases,
        _ => panic!("{file} has no list {list}"),
    }
}

/// The input of a case; of those that are not written out nothing.
fn bytes(case: &Value, text: &str) -> Vec<u8> {
    match (case[text].as_str(), case["hex"].as_str()) {
        (Some(text), _) => text.into(),
        (_, Some(hex)) => (hex.as_bytes().chunks(2))
            .map(|pair| {
                str::from_utf8(pair)
                    .ok()
                    .and_then(|p| u8::from_str_radix(p, 16).ok())
            })
            .collect::<Option<_>>()
            .expect("hex"),
        _ => Vec::new(),
    }
}

fn write(corpus: &Path, target: &str, case: &Value, bytes: &[u8]) {
    let directory = corpus.join(target);
    std::fs::create_dir_all(&directory).expect("a directory for the corpus");
    let name = case["name"].as_str().expect("a name");
    std::fs::write(directory.join(name), bytes).expect("room on the disk");
}
