//! In memory, and in the record file if there is one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Entry, Incoming, Store};
use crate::named;

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

/// Reports in memory, shared between the thread that keeps them and who looks at them.
pub(crate) struct Memory {
    ledger: Mutex<Ledger>,
    /// Told of each report in the ledger.
    accepted: Condvar,
}

impl Memory {
    /// Reads what `record` holds already. Without `keep`, accepted bodies are not kept in memory.
    pub(crate) fn open(record: Option<&Path>, keep: bool) -> io::Result<Memory> {
        let mut known = HashSet::new();
        let record = record
            .map(|path| Record::open(path, &mut known).map_err(|why| named(&why, path.display())));
        Ok(Memory {
            ledger: Mutex::new(Ledger {
                known,
                accepted: Vec::new(),
                keep,
                record: record.transpose()?,
            }),
            accepted: Condvar::new(),
        })
    }

    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.ledger().accepted.clone()
    }

    /// All that was accepted when there are `count`, or the time is up.
    pub(crate) fn wait_for(&self, count: usize, within: Duration) -> Vec<Accepted> {
        let too_few = |ledger: &mut Ledger| ledger.accepted.len() < count;
        let waited = self
            .accepted
            .wait_timeout_while(self.ledger(), within, too_few);
        let (ledger, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ledger.accepted.clone()
    }

    /// A panic elsewhere leaves nothing half-done in here.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports in memory are kept until the end.
impl Store for Arc<Memory> {
    fn accept(&mut self, batch: &[Incoming]) -> io::Result<Vec<Entry>> {
        let mut ledger = self.ledger();
        let entries = batch.iter().map(|report| ledger.enter(report)).collect();
        self.accepted.notify_all();
        entries
    }

    fn expire(&mut self, _before_ms: i64) -> io::Result<bool> {
        Ok(false)
    }
}

/// What tells a report from others: so many bytes for each, however long it is.
type Key = [u8; 32];

fn key(project_id: &str, digest: &[u8; 32]) -> Key {
    let project_id = Sha256::digest(project_id.as_bytes());
    Sha256::new()
        .chain_update(project_id)
        .chain_update(digest)
        .finalize()
        .into()
}

struct Ledger {
    known: HashSet<Key>,
    accepted: Vec<Accepted>,
    keep: bool,
    record: Option<Record>,
}

impl Ledger {
    /// Takes a report in, unless it is known. On an error it is not taken in.
    fn enter(&mut self, report: &Incoming) -> io::Result<Entry> {
        let line = self.record.as_ref().map(|_| compact(&report.body));
        // What the next start reads from the record, which has no white space.
        let digest = match &line {
            Some(line) => Sha256::digest(line).into(),
            None => report.digest,
        };
        let key = key(&report.project_id, &digest);
        if self.known.contains(&key) {
            return Ok(Entry::Repeat);
        }
        if let (Some(record), Some(line)) = (&mut self.record, &line) {
            record.append(report, line)?;
        }
        self.known.insert(key);
        if self.keep {
            self.accepted.push(Accepted {
                received_ms: report.received_ms,
                project_id: report.project_id.clone(),
                message_id: report.message_id.clone(),
                body: report.body.clone(),
            });
        }
        Ok(Entry::New)
    }
}

/// The record file: a line of compact JSON for each report.
struct Record {
    file: File,
    /// The file does not end with a newline: its last line was not written to the end.
    torn: bool,
}

impl Record {
    /// Adds the reports in the file to `known`. A line that cannot be read was torn, and is passed over.
    fn open(path: &Path, known: &mut HashSet<Key>) -> io::Result<Record> {
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
            known.extend(recorded(&line));
            line.clear();
        }
        let mut record = Record { file, torn };
        record.end_torn_line()?;
        Ok(record)
    }

    /// When this returns, the line is with the operating system: it survives the end of this process.
    fn append(&mut self, report: &Incoming, body: &str) -> io::Result<()> {
        let line = format!(
            "{{\"received_ms\":{},\"project_id\":{},\"message_id\":{},\"report\":{body}}}\n",
            report.received_ms,
            json!(report.project_id),
            json!(report.message_id),
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

/// The key of the report in a line of the record.
fn recorded(line: &[u8]) -> Option<Key> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    let project_id = entry.get("project_id")?.as_str()?;
    // Its own bytes, which a value read from them need not give back. In strings quotation marks are escaped.
    let line = std::str::from_utf8(line).ok()?;
    let (_, report) = line.split_once(r#","report":"#)?;
    let report = report.trim_end().strip_suffix('}')?;
    Some(key(project_id, &Sha256::digest(report).into()))
}

/// `json` without the white space between its tokens; nothing else is changed, no number is read.
fn compact(json: &[u8]) -> String {
    let json = String::from_utf8_lossy(json);
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
