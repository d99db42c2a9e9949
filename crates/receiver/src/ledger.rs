//! What was accepted: in memory, and in the record file if there is one.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
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

/// The message ids that came: so many bytes for each, however long it is.
#[derive(Default)]
struct Known {
    hashers: [RandomState; 2],
    ids: HashSet<[u64; 2]>,
}

impl Known {
    fn hash(&self, id: &str) -> [u64; 2] {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(id))
    }

    fn contains(&self, id: &str) -> bool {
        self.ids.contains(&self.hash(id))
    }

    fn insert(&mut self, id: &str) {
        self.ids.insert(self.hash(id));
    }
}

pub(super) struct Ledger {
    known: Known,
    accepted: Vec<Accepted>,
    keep: bool,
    record: Option<Record>,
}

impl Ledger {
    /// Reads what `record` holds already. Without `keep`, accepted bodies are not kept in memory.
    pub(super) fn open(record: Option<&Path>, keep: bool) -> io::Result<Ledger> {
        let mut known = Known::default();
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
        self.known.insert(&report.message_id);
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
    fn open(path: &Path, known: &mut Known) -> io::Result<Record> {
        let mut options = File::options();
        options.create(true).append(true).read(true);
        // What jobs run here is nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        let mut torn = false;
        while lines.read_until(b'\n', &mut line)? > 0 {
            torn = !line.ends_with(b"\n");
            let entry: Option<Value> = serde_json::from_slice(&line).ok();
            let id = entry.as_ref().and_then(|entry| entry.get("message_id"));
            if let Some(id) = id.and_then(Value::as_str) {
                known.insert(id);
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
