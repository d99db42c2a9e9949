//! Reports: the checks and the canonical bytes.

use alloc::string::String;
use alloc::vec::Vec;

use edge_report::canonical_into;
use edge_report::json::position;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;

/// Lists all findings: `[[code, path, offset, line, column], …]`.
#[wasm_bindgen]
pub fn check(text: &[u8]) -> String {
    let mut answer = Answer::begin(b'[');
    // Findings come nearly in order: lines are counted from the last one on.
    let (mut line, mut line_start) = (1usize, 0usize);
    edge_report::check(text, |finding| {
        let offset = finding.offset.unwrap_or(0).min(text.len());
        let before = if offset < line_start {
            (line, line_start) = (1, 0);
            text.get(..offset)
        } else {
            text.get(line_start..offset)
        };
        let place = position(before.unwrap_or_default(), usize::MAX);
        line = line.saturating_add(place.line).saturating_sub(1);
        let newline = before.unwrap_or_default().iter().rposition(|&b| b == b'\n');
        line_start = line_start.saturating_add(newline.map_or(0, |at| at.saturating_add(1)));
        answer.open(None, b'[');
        answer.number(None, finding.code.number());
        answer.shown(None, &finding.path);
        answer.number(None, finding.offset.unwrap_or(0));
        answer.number(None, line);
        answer.number(None, place.column);
        answer.close(b']');
    });
    answer.end(b']')
}

/// The canonical bytes of a report that is JSON in any form; nothing if it is not valid: `check` tells why.
#[wasm_bindgen]
pub fn encode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    canonical_into(text, &mut bytes).ok()?;
    Some(bytes)
}
