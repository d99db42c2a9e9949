//! What was accepted: in memory, and in the record file if there is one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::named;

/// A report that was accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// By the receiver's clock, since 1970.
    pub received_ms: i64,
    /// From the path, percent-decoded.
    pub project_id: String,
    /// From the body.
    pub message_id: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// Whether a report was new.
pub(super) enum Entry {
    New,
    Repeat,
}

pub(super) struct Ledger {
    known: HashSet<String>,
    accepted: Vec<Accepted>,
    keep: bool,
    record: Option<Record>,
}

impl Ledger {
    /// Reads what `record` holds already. Without `keep`, accepted bodies are not kept in memory.
    pub(super) fn open(record: Option<&Path>, keep: bool) -> io::Result<Ledger> {
        let mut known = HashSet::new();
        let record = record
            .map(|path| Record::open(path, &mut known).map_err(|why| named(&why, path.display())));
        Ok(Ledger {
            known,
            accepted: Vec::new(),
            keep,
            record: record.transpose()?,
        })
    }

    /// Takes a report in, unless its message id is known. On an error it is not taken in.
    pub(super) fn enter(&mut self, report: Accepted) -> io::Result<Entry> {
        if self.known.contains(&report.message_id) {
            return Ok(Entry::Repeat);
        }
        if let Some(record) = &mut self.record {
            record.append(&report)?;
        }
        self.known.insert(report.message_id.clone());
        if self.keep {
            self.accepted.push(report);
        }
        Ok(Entry::New)
    }

    pub(super) fn len(&self) -> usize {
        self.accepted.len()
    }

    pub(super) fn accepted(&self) -> Vec<Accepted> {
        self.accepted.clone()
    }
}

/// The record file: a line of compact JSON for each report.
struct Record {
    file: File,
    /// The file does not end with a newline: its last line was not written to the end.
    torn: bool,
}

impl Record {
    /// Adds the message ids in the file to `known`. A line that cannot be read was torn, and is passed over.
    fn open(path: &Path, known: &mut HashSet<String>) -> io::Result<Record> {
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        let mut torn = false;
        while lines.read_until(b'\n', &mut line)? > 0 {
            torn = !line.ends_with(b"\n");
            let entry: Option<Value> = serde_json::from_slice(&line).ok();
            let id = entry.as_ref().and_then(|entry| entry.get("message_id"));
            if let Some(id) = id.and_then(Value::as_str) {
                known.insert(id.to_owned());
            }
            line.clear();
        }
        let mut record = Record { file, torn };
        record.end_torn_line()?;
        Ok(record)
    }

    /// When this returns, the line is with the operating system: it survives the end of this process.
    fn append(&mut self, report: &Accepted) -> io::Result<()> {
        let line = format!(
            "{{\"received_ms\":{},\"project_id\":{},\"message_id\":{},\"report\":{}}}\n",
            report.received_ms,
            json!(report.project_id),
            json!(report.message_id),
            compact(&String::from_utf8_lossy(&report.body)),
        );
        self.end_torn_line()?;
        self.torn = true;
        self.file.write_all(line.as_bytes())?;
        self.torn = false;
        Ok(())
    }

    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        Ok(())
    }
}

/// `json` without the white space between its tokens; nothing else is changed, no number is read.
fn compact(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    let keep = |c: &char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    json.chars().filter(keep).collect()
}
