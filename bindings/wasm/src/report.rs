//! Reports: the checks and the canonical bytes.

use alloc::string::String;
use alloc::vec::Vec;

use edge_report::canonical_into;
use edge_report::json::position;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;

/// Lists all findings: `[[code, path, offset, line, column, suggestion?], …]`.
#[wasm_bindgen]
pub fn check(text: &[u8]) -> String {
    let mut answer = Answer::begin(b'[');
    let mut place = Place::START;
    edge_report::check(text, |finding| {
        let offset = finding.offset.unwrap_or(0).min(text.len());
        place.move_to(text, offset);
        answer.open(None, b'[');
        answer.number(None, finding.code.number());
        answer.shown(None, &finding.path);
        answer.number(None, offset);
        answer.number(None, place.line);
        answer.number(None, place.column);
        if let Some(meant) = finding.suggestion(text) {
            answer.text(None, meant.name());
        }
        answer.close(b']');
    });
    answer.end(b']')
}

/// A place in a text. It moves by what lies between: findings come nearly in order, and a line may be megabytes long.
struct Place {
    offset: usize,
    line: usize,
    column: usize,
}

impl Place {
    const START: Place = Place {
        offset: 0,
        line: 1,
        column: 1,
    };

    fn move_to(&mut self, text: &[u8], offset: usize) {
        let part = |from, to| text.get(from..to).unwrap_or_default();
        if offset >= self.offset {
            let passed = position(part(self.offset, offset), usize::MAX);
            if passed.line > 1 {
                self.column = 1;
            }
            self.line = self.line.saturating_add(passed.line).saturating_sub(1);
            self.column = self.column.saturating_add(passed.column).saturating_sub(1);
        } else {
            let passed = position(part(offset, self.offset), usize::MAX);
            self.line = self.line.saturating_add(1).saturating_sub(passed.line);
            self.column = if passed.line > 1 {
                let newline = part(0, offset).iter().rposition(|&b| b == b'\n');
                let line_start = newline.map_or(0, |at| at.saturating_add(1));
                position(part(line_start, offset), usize::MAX).column
            } else {
                self.column.saturating_add(1).saturating_sub(passed.column)
            };
        }
        self.offset = offset;
    }
}

/// The canonical bytes of a report that is JSON in any form; nothing if it is not valid: `check` tells why.
#[wasm_bindgen]
pub fn encode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    canonical_into(text, &mut bytes).ok()?;
    Some(bytes)
}
