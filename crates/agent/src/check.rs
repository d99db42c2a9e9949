//! `check FILE...`: what is wrong with reports, by line and column.

use std::fs;
use std::io::{self, Read, Write};

use crate::failure::{Failure, failed};

pub(crate) fn check(files: &[String]) -> Result<(), Failure> {
    if files.is_empty() {
        return Err(
            "check needs the names of files with a report each, or - for standard input"
                .to_owned()
                .into(),
        );
    }
    let mut errors = 0usize;
    for file in files {
        let report = read(file).map_err(|why| failed(format!("{file}: {why}")))?;
        let mut lines = String::new();
        let summary = edge_report::check(&report, |finding| {
            let place = edge_report::json::position(&report, finding.offset.unwrap_or_default());
            let (line, column, severity) = (place.line, place.column, finding.severity());
            lines.push_str(&format!("{file}:{line}:{column}: {severity}: {finding}"));
            if let Some(status) = finding.suggestion(&report) {
                lines.push_str(&format!("; likely {status} is meant"));
            }
            lines.push('\n');
        });
        errors = errors.saturating_add(summary.errors);
        let written = io::stdout().write_all(lines.as_bytes());
        written.map_err(|why| failed(format!("standard output: {why}")))?;
    }
    match errors {
        0 => Ok(()),
        _ => Err(failed(format!(
            "{errors} error(s): a service would refuse this"
        ))),
    }
}

fn read(file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file {
        "-" => io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        file => fs::read(file),
    }
}
