//! A spool as it is at a moment, read into memory: whoever has it open goes on, and nothing that is done with it here reaches the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use edge_report::courier::{Durability, LogOutbox, Storage, StorageLimits, entropy};

/// As many segments as a spool can have.
const MOST: usize = 72;
/// A longer file is no segment.
const LONGEST: u64 = 1 << 30;
/// So often it is read again if it has changed meanwhile. What is then still half written counts as cut short by a crash.
const TRIES: u32 = 5;

pub(crate) type Log = LogOutbox<Segments, Segments, MOST>;

/// Segments in memory.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Segments(BTreeMap<u32, Vec<u8>>);

pub(crate) fn take(dir: &Path) -> Result<Log, String> {
    let mut seen = read(dir)?;
    for _ in 0..TRIES {
        let again = read(dir)?;
        if again == seen {
            break;
        }
        seen = again;
    }
    let (live, dead) = seen;
    Log::open(live, dead, Durability::Each, entropy()).map_err(|why| why.to_string())
}

/// Those of reports that wait, and of dead letters.
fn read(dir: &Path) -> Result<(Segments, Segments), String> {
    let (mut live, mut dead) = (Segments::default(), Segments::default());
    let entries = fs::read_dir(dir).map_err(|why| why.to_string())?;
    for entry in entries {
        let entry = entry.map_err(|why| why.to_string())?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".seg")) else {
            continue;
        };
        let (segments, id) = match name.split_once('-') {
            Some(("live", id)) => (&mut live, id.parse()),
            Some(("dead", id)) => (&mut dead, id.parse()),
            _ => continue,
        };
        let is_long = entry.metadata().is_ok_and(|it| it.len() > LONGEST);
        let (Ok(id), false) = (id, is_long) else {
            continue;
        };
        match fs::read(entry.path()) {
            Ok(bytes) => drop(segments.0.insert(id, bytes)),
            // Discarded since it was listed.
            Err(why) if why.kind() == ErrorKind::NotFound => {}
            Err(why) => return Err(format!("{name}.seg: {why}")),
        }
    }
    Ok((live, dead))
}

impl Segments {
    fn part(&mut self, id: u32, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        let segment = self.0.get_mut(&id);
        let end = offset.saturating_add(len);
        let part = segment.and_then(|bytes| bytes.get_mut(offset..end));
        part.ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Storage for Segments {
    type Error = io::Error;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> io::Result<()> {
        self.0.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
        Ok(())
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits::new(64 * 1024, 64 * 1024 * 1024).with_length_unit(4096)
    }

    fn create(&mut self, id: u32, len: usize) -> io::Result<()> {
        self.0.insert(id, vec![0; len]);
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(self.part(id, offset, buffer.len())?);
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.part(id, offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self, id: u32) -> io::Result<()> {
        self.0.remove(&id);
        Ok(())
    }
}
