//! Segments as files in one directory.
//!
//! A disk that is full because of others must not keep a log from noting what was delivered, or it would send the same reports after each
//! start. So beside the segments lie [`SPARES`] short files of zeros, and when the disk is full a short segment is one of these, renamed. When it
//! is discarded it becomes a spare again, as does any other segment while one is missing: what it had is free for others only then.

use std::fmt;
use std::format;
use std::fs::File;
use std::io;
use std::string::String;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::directory::Directory;
use super::spool_error::SpoolIoError;
use crate::courier::{Storage, StorageLimits};

/// Bytes written at a time to a new segment.
const FILL: usize = 64 * 1024;

/// How many files are kept open: the one written to, and the one read.
const HANDLES: usize = 2;

/// What a file system gives in one piece.
const BLOCK: usize = 4096;
/// Alignment is nothing to a file: what the format needs at the least.
const WRITE_UNIT: usize = 8;

/// One for the segment that has notes alone, and one for what takes its place before that is discarded.
const SPARES: usize = 2;
/// Whatever the limits are: no segment for notes needs more, and what is longer than it needs takes no more room.
const SPARE: usize = BLOCK;
/// How many names there are for spares, as something else may have one.
const NAMES: usize = 2 * SPARES;
/// Where a segment's header has the ids of those that it stands for.
const SOURCES_AT: usize = 32;
const SOURCES_LEN: usize = 16;

/// A spool may have had larger limits before; a longer file than this, and than all of the spool, never was a segment. A length
/// that went wrong must not keep a start busy: such a file is not read, and stays.
const LONGEST: u64 = 1 << 30;

/// The segments are the files `PREFIX-00000001.seg` and so on; all others are left alone.
pub(super) struct FileStorage {
    directory: Arc<Directory>,
    prefix: &'static str,
    segment_bytes: usize,
    max_bytes: usize,
    /// The one used last comes first.
    handles: Vec<(u32, File)>,
    ahead: Ahead,
}

/// Without the bytes of reports that were read: they have no place in somebody's log.
impl fmt::Debug for FileStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStorage")
            .field("directory", &self.directory)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A log is read in small pieces, one after the other: what follows the one read last is kept.
#[derive(Default)]
struct Ahead {
    id: u32,
    offset: usize,
    bytes: Vec<u8>,
}

const AHEAD: usize = 4096;

impl Ahead {
    /// Fills `buffer`; `false` if not all of it is here.
    fn copy(&self, id: u32, offset: usize, buffer: &mut [u8]) -> bool {
        let from = offset.checked_sub(self.offset).filter(|_| id == self.id);
        let kept = from.and_then(|from| self.bytes.get(from..)?.get(..buffer.len()));
        kept.map(|kept| buffer.copy_from_slice(kept)).is_some()
    }

    /// Forgets what is written anew.
    fn forget(&mut self, id: u32, offset: usize) {
        if id == self.id {
            self.bytes.truncate(offset.saturating_sub(self.offset));
        }
    }
}

impl FileStorage {
    pub(super) fn new(
        directory: Arc<Directory>,
        prefix: &'static str,
        segment_bytes: usize,
        max_bytes: usize,
    ) -> Self {
        FileStorage {
            directory,
            prefix,
            segment_bytes,
            max_bytes,
            handles: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    /// Removes what a crash left of segments that were being made, or discarded. The directory was synced since.
    pub(super) fn remove_leftovers(
        directory: &Directory,
        prefix: &str,
    ) -> Result<(), SpoolIoError> {
        for name in names(directory)? {
            let made = name.strip_suffix(NEW);
            if made.is_some_and(|made| segment_id(made, prefix).is_some()) {
                directory
                    .remove(&name)
                    .map_err(directory.failed("remove", &name))?;
            }
        }
        Self::cut_spares(directory, prefix);
        Ok(())
    }

    /// Files with the name of a segment that are none, being longer than any.
    pub(super) fn foreign(&self) -> Result<Vec<String>, SpoolIoError> {
        let mut foreign = Vec::new();
        self.for_each_segment(|_, len, name| {
            if self.segment_len(len).is_none() {
                foreign.push(name.into());
            }
        })?;
        Ok(foreign)
    }

    fn for_each_segment(&self, mut each: impl FnMut(u32, u64, &str)) -> Result<(), SpoolIoError> {
        for name in names(&self.directory)? {
            if let Some(id) = segment_id(&name, self.prefix) {
                let len = self.directory.len(&name);
                each(id, len.map_err(self.directory.failed("use", &name))?, &name);
            }
        }
        Ok(())
    }

    /// The length of a file, if it may be a segment.
    fn segment_len(&self, len: u64) -> Option<usize> {
        let longest = position(self.limits().longest_segment).max(LONGEST);
        usize::try_from(len).ok().filter(|_| len <= longest)
    }

    fn name(&self, id: u32) -> String {
        format!("{}-{id:08}.seg", self.prefix)
    }

    fn with(
        &mut self,
        id: u32,
        action: &'static str,
        run: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), SpoolIoError> {
        let result = self.handle(id).and_then(run);
        result.map_err(self.directory.failed(action, &self.name(id)))
    }

    fn handle(&mut self, id: u32) -> io::Result<&File> {
        self.directory.check_process()?;
        let place = match self.handles.iter().position(|(open, _)| *open == id) {
            Some(place) => place,
            None => {
                let file = self.directory.open_file(&self.name(id))?;
                self.handles.truncate(HANDLES - 1);
                self.handles.push((id, file));
                self.handles.len().saturating_sub(1)
            }
        };
        if let Some(used) = self.handles.get_mut(..=place) {
            used.rotate_right(1);
        }
        self.handles
            .first()
            .map(|(_, file)| file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes a blank file that survives a power cut, but for its name.
    fn blank(directory: &Directory, name: &str, len: usize) -> Result<File, SpoolIoError> {
        match directory.remove(name) {
            // What is there is left over from a call that failed.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(directory.failed("remove", name)(error));
            }
            _ => {}
        }
        let file = directory
            .create(name)
            .map_err(directory.failed("create", name))?;
        Self::fill(directory, name, &file, len)?;
        Ok(file)
    }

    /// Zeros written for real: blocks that are only set aside cost metadata at each append.
    fn fill(
        directory: &Directory,
        name: &str,
        mut file: &File,
        len: usize,
    ) -> Result<(), SpoolIoError> {
        let zeros = vec![0; len.min(FILL)];
        let mut left = len;
        while left > 0 {
            let part = zeros.get(..left).unwrap_or(&zeros);
            io::Write::write_all(&mut file, part).map_err(directory.failed("fill", name))?;
            left = left.saturating_sub(part.len());
        }
        file.sync_all().map_err(directory.failed("sync", name))
    }

    /// Makes a segment in room that is free.
    fn make(&self, name: &str, len: usize) -> Result<File, SpoolIoError> {
        let (directory, new) = (&self.directory, format!("{name}{NEW}"));
        let made = self.make_spares().and_then(|()| {
            let file = Self::blank(directory, &new, len)?;
            let named = Self::name_it(directory, &new, name, |directory| directory.remove(name));
            named.map(|()| file)
        });
        made.inspect_err(|_| {
            // The first error says more than one of this would.
            let _ = directory.remove(&new);
        })
    }

    /// Makes the spares that are missing, and fills up those that are short: what a process left that was killed here, or somebody who cut
    /// one. Their names survive a power cut when the directory is synced.
    fn make_spares(&self) -> Result<(), SpoolIoError> {
        let directory = &self.directory;
        for (name, len) in self.missing_spares("") {
            let file = match len {
                None => directory.create(&name),
                Some(_) => directory.open_file(&name),
            };
            let file = file.map_err(directory.failed("create", &name))?;
            Self::fill(directory, &name, &file, SPARE).inspect_err(|_| {
                if len.is_none() {
                    let _ = directory.remove(&name);
                }
            })?;
        }
        Ok(())
    }

    /// Makes a short segment of a spare; `None` if that cannot be.
    ///
    /// It stays a spare until it is whole: whatever fails before that, or a kill, takes nothing from it but its length.
    fn use_spare(&self, name: &str, len: usize) -> Option<File> {
        let is_short = len <= SPARE && len < self.segment_bytes;
        let mut spares = spares(&self.directory, self.prefix).filter(|_| is_short);
        spares.find_map(|(spare, found)| {
            found?;
            let file = self.directory.open_file(&spare).ok()?;
            // In room that it has. Whatever stood there, a segment is blank at first.
            file.set_len(position(len).min(file.metadata().ok()?.len()))
                .ok()?;
            Self::fill(&self.directory, &spare, &file, len).ok()?;
            let named = Self::name_it(&self.directory, &spare, name, |directory| {
                directory.rename(name, &spare)
            });
            named.ok().map(|()| file)
        })
    }

    /// Makes a missing spare of a segment that nobody needs any more, or removes that.
    ///
    /// It is a spare as soon as it has the name, whatever is in it and however long it is: so neither an error nor a kill loses it.
    fn turn_to_spare(&self, name: &str) -> Result<(), SpoolIoError> {
        let directory = &self.directory;
        // What is not a file of this user alone becomes none.
        let is_ours = directory.len(name).is_ok();
        match self.missing_spares(name).pop().filter(|_| is_ours) {
            Some((spare, _)) => directory
                .rename(name, &spare)
                .map_err(directory.failed("rename", name)),
            None => match directory.remove(name) {
                // Removed before, by a call that failed later on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(directory.failed("remove", name)),
            },
        }
    }

    /// Frees what spares have too much. That they are spares must be durable, or they are found under other names with less in them.
    fn cut_spares(directory: &Directory, prefix: &str) {
        for (name, len) in spares(directory, prefix) {
            if len.is_some_and(|len| len > position(SPARE)) {
                // If this fails they are cut later.
                let _ = directory
                    .open_file(&name)
                    .and_then(|file| file.set_len(position(SPARE)));
            }
        }
    }

    /// The spares that are to be made, or filled up: those come first. One of two counts as there while the newest segment, but for this one,
    /// has notes alone: it will be a spare again.
    fn missing_spares(&self, but: &str) -> Vec<(String, Option<u64>)> {
        let needed = SPARES.saturating_sub(usize::from(self.is_spare_in_use(but)));
        let is_whole = |len: Option<u64>| len.is_some_and(|len| len >= position(SPARE));
        let (whole, mut missing): (Vec<_>, Vec<_>) = spares(&self.directory, self.prefix)
            .take(SPARES)
            .partition(|(_, len)| is_whole(*len));
        missing.sort_by_key(|(_, len)| len.is_none());
        missing.truncate(needed.saturating_sub(whole.len()));
        missing
    }

    /// Whether the newest segment but this one has notes alone: it is short, and stands for no others.
    fn is_spare_in_use(&self, but: &str) -> bool {
        let names = names(&self.directory).unwrap_or_default();
        let others = names.into_iter().filter(|name| name != but);
        let segments = others.filter_map(|name| Some((segment_id(&name, self.prefix)?, name)));
        segments.max().is_some_and(|(_, name)| {
            let len = self.directory.len(&name).ok();
            let mut sources = [1; SOURCES_LEN];
            let read = self.directory.open_file(&name);
            let read = read.and_then(|file| read_at(&file, &mut sources, SOURCES_AT));
            len == Some(position(self.limits().length_unit))
                && read.is_ok()
                && sources == [0; SOURCES_LEN]
        })
    }

    /// Gives a blank file its name, where nothing has it; takes it back if that is not durable.
    fn name_it(
        directory: &Directory,
        new: &str,
        name: &str,
        take_back: impl FnOnce(&Directory) -> io::Result<()>,
    ) -> Result<(), SpoolIoError> {
        let is_taken = directory
            .has(name)
            .map_err(directory.failed("create", name))?;
        if is_taken {
            let error = io::ErrorKind::AlreadyExists.into();
            return Err(directory.failed("create", name)(error));
        }
        directory
            .rename(new, name)
            .map_err(directory.failed("rename", new))?;
        sync(directory).inspect_err(|_| {
            // If that fails, too, the next start discards it, as it is blank.
            let _ = take_back(directory);
        })
    }
}

/// What a segment is called while it is being made.
const NEW: &str = ".new";

impl Storage for FileStorage {
    type Error = SpoolIoError;

    /// A file that is too long to be a segment is left out ([`FileStorage::foreign`]); its id is taken.
    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), SpoolIoError> {
        self.for_each_segment(|id, len, _| {
            if let Some(len) = self.segment_len(len) {
                each(id, len);
            }
        })
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits {
            segment: self.segment_bytes,
            // Less than a segment: those for notes alone are short.
            length_unit: BLOCK.min(self.segment_bytes / 2),
            longest_segment: self.max_bytes,
            total: self.max_bytes,
            write_unit: WRITE_UNIT,
            blank: 0,
        }
    }

    /// Where something has the name of this segment the error is [`io::ErrorKind::AlreadyExists`], and that stays as it is.
    fn create(&mut self, id: u32, len: usize) -> Result<(), SpoolIoError> {
        self.ahead.forget(id, 0);
        let (name, directory) = (self.name(id), &self.directory);
        directory
            .check_process()
            .map_err(directory.failed("create", &name))?;
        let made = self.make(&name, len);
        let file = made.or_else(|error| self.use_spare(&name, len).ok_or(error))?;
        self.handles.truncate(HANDLES - 1);
        self.handles.insert(0, (id, file));
        Ok(())
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), SpoolIoError> {
        if self.ahead.copy(id, offset, buffer) {
            return Ok(());
        }
        let mut bytes = core::mem::take(&mut self.ahead).bytes;
        self.with(id, "read", |file| {
            bytes.resize(AHEAD, 0);
            // If that fails, what is asked for may still be readable.
            let len = read_some_at(file, &mut bytes, offset).unwrap_or(0);
            bytes.truncate(len);
            match bytes.get(..buffer.len()) {
                Some(read) => buffer.copy_from_slice(read),
                None => read_at(file, buffer, offset)?,
            }
            Ok(())
        })?;
        self.ahead = Ahead { id, offset, bytes };
        Ok(())
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), SpoolIoError> {
        self.ahead.forget(id, offset);
        self.with(id, "write", |file| write_at(file, bytes, offset))
    }

    /// A file that was removed or replaced meanwhile keeps nothing: [`SpoolIoError::is_missing`], as it is when one is opened that is not there.
    fn sync(&mut self, id: u32) -> Result<(), SpoolIoError> {
        let (directory, name) = (self.directory.clone(), self.name(id));
        let synced = self.with(id, "sync", |file| {
            file.sync_data()?;
            directory.check_there(&name, file)
        });
        synced.inspect_err(|error| {
            if error.is_missing() {
                self.close(id);
            }
        })
    }

    fn discard(&mut self, id: u32) -> Result<(), SpoolIoError> {
        self.close(id);
        let (name, directory) = (self.name(id), &self.directory);
        directory
            .check_process()
            .map_err(directory.failed("remove", &name))?;
        // After an error it is tried again: without spares the same reports would be sent again after each start.
        self.turn_to_spare(&name)?;
        sync(directory)?;
        Self::cut_spares(directory, self.prefix);
        Ok(())
    }

    fn lacks_room(&self, error: &SpoolIoError) -> bool {
        let kind = error.error.kind();
        matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    fn is_outage(&self, error: &SpoolIoError) -> bool {
        is_outage(&error.error)
    }
}

impl FileStorage {
    fn close(&mut self, id: u32) {
        self.ahead.forget(id, 0);
        self.handles.retain(|(open, _)| *open != id);
    }
}

/// The id in a segment's name; `None` if it is not one, or not written as `FileStorage::path` does.
fn segment_id(name: &str, prefix: &str) -> Option<u32> {
    let digits = name
        .strip_prefix(prefix)?
        .strip_prefix('-')?
        .strip_suffix(".seg")?;
    let id = digits.parse().ok()?;
    (format!("{id:08}") == digits).then_some(id)
}

/// The spares there are or may be, with the length of those that are there. What else has such a name is left alone.
fn spares(directory: &Directory, prefix: &str) -> impl Iterator<Item = (String, Option<u64>)> {
    (1..=NAMES).filter_map(move |number| {
        let name = format!("spare-{prefix}-{number}");
        match directory.len(&name) {
            Ok(len) => Some((name, Some(len))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some((name, None)),
            Err(_) => None,
        }
    })
}

fn names(directory: &Directory) -> Result<Vec<String>, SpoolIoError> {
    let names = directory
        .names()
        .map_err(SpoolIoError::at("list", directory.path()))?;
    // Names that are not UTF-8 are others'.
    let ours = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(ours.collect())
}

/// Whether a file cannot be opened now, whatever is in it: for want of something, for want of permission, or since it is not to be touched as long as it
/// is a link or has other names.
#[cfg(unix)]
fn is_outage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => true,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => true,
        Some(_) => false,
        // `Directory` says so.
        None => error.kind() == io::ErrorKind::Other,
    }
}

#[cfg(not(unix))]
fn is_outage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Makes names that were added or removed survive a power cut.
fn sync(directory: &Directory) -> Result<(), SpoolIoError> {
    directory
        .sync()
        .map_err(SpoolIoError::at("sync", directory.path()))
}

#[cfg(unix)]
fn read_some_at(file: &File, buffer: &mut [u8], offset: usize) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position(offset))
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: usize) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, position(offset))
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: usize) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position(offset))
}

#[cfg(not(unix))]
fn read_some_at(mut file: &File, buffer: &mut [u8], offset: usize) -> io::Result<usize> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(position(offset)))?;
    io::Read::read(&mut file, buffer)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, buffer: &mut [u8], offset: usize) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(position(offset)))?;
    io::Read::read_exact(&mut file, buffer)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], offset: usize) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(position(offset)))?;
    io::Write::write_all(&mut file, bytes)
}

fn position(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::directory::temporary;
    use std::fs;
    use std::path::Path;
    use std::string::ToString;

    fn live(dir: &Path) -> FileStorage {
        let directory = Arc::new(Directory::open(dir).unwrap());
        FileStorage::new(directory, "live", 4096, 65536)
    }

    fn list(storage: &mut FileStorage) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        storage.list(&mut |id, len| all.push((id, len))).unwrap();
        all.sort_unstable();
        all
    }

    #[test]
    fn segments_are_files() {
        let dir = temporary();
        let mut storage = live(dir.path());
        let limits = StorageLimits {
            segment: 4096,
            length_unit: 2048,
            longest_segment: 65536,
            total: 65536,
            write_unit: 8,
            blank: 0,
        };
        assert_eq!(storage.limits(), limits);
        for id in [7, 1, 123_456_789, u32::MAX] {
            storage.create(id, 8192).unwrap();
            storage.write(id, 8, &id.to_le_bytes().repeat(2)).unwrap();
            storage.sync(id).unwrap();
        }
        assert_eq!(storage.handles.len(), HANDLES);
        for id in [1, 7, u32::MAX, 123_456_789] {
            let mut bytes = [0xa5; 24];
            storage.read(id, 0, &mut bytes).unwrap();
            let id = id.to_le_bytes();
            assert_eq!(bytes.to_vec(), [&[0; 8][..], &id, &id, &[0; 8]].concat());
        }
        storage.discard(123_456_789).unwrap();
        storage.discard(123_456_789).unwrap();
        assert_eq!(list(&mut storage), [(1, 8192), (7, 8192), (u32::MAX, 8192)]);
        let mut dead = FileStorage::new(storage.directory.clone(), "dead", 4096, 65536);
        assert_eq!(list(&mut dead), []);

        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "live-00000001.seg",
                "live-00000007.seg",
                "live-4294967295.seg",
                "spare-live-1",
                "spare-live-2"
            ]
        );
    }

    #[test]
    fn other_names_are_not_segments() {
        assert_eq!(segment_id("live-00000012.seg", "live"), Some(12));
        for name in [
            "live-12.seg",
            "live-000000012.seg",
            "live-+0000012.seg",
            "live-00000012.seg.new",
            "live-00000012",
            "dead-00000012.seg",
            "live-99999999999.seg",
            "live-.seg",
            "xlive-00000012.seg",
            "",
        ] {
            assert_eq!(segment_id(name, "live"), None, "{name}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let dir = temporary();
        let mut storage = live(dir.path());
        let place = dir.path().display();
        let cases = [
            storage
                .read(3, 0, &mut [0; 8])
                .map_err(|e| (e, "read live-00000003.seg")),
            storage
                .write(4, 0, &[0; 8])
                .map_err(|e| (e, "write live-00000004.seg")),
            storage.sync(5).map_err(|e| (e, "sync live-00000005.seg")),
        ];
        for case in cases {
            let (error, tried) = case.unwrap_err();
            let text = format!("cannot {tried} in {place}: No such file or directory (os error 2)");
            assert_eq!(error.to_string(), text);
        }
        fs::create_dir(dir.path().join("live-00000006.seg.new")).unwrap();
        let error = storage.create(6, 4096).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot remove live-00000006.seg.new in "),
            "{error}"
        );
        fs::create_dir(dir.path().join("live-00000007.seg")).unwrap();
        let error = storage.create(7, 4096).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::AlreadyExists);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot create live-00000007.seg in "),
            "{text}"
        );
        assert!(!dir.path().join("live-00000007.seg.new").exists());
        let error = storage.list(&mut |_, _| {}).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("cannot use live-00000007.seg in {place}: it is not a file")
        );
        assert_eq!(
            SpoolIoError::at("open", Path::new("spool"))(io::ErrorKind::NotFound.into())
                .to_string(),
            "cannot open spool: entity not found"
        );
    }
    #[test]
    fn a_segment_is_made_where_nothing_is() {
        let dir = temporary();
        let mut storage = live(dir.path());
        let path = |name: &str| dir.path().join(name);
        storage.create(1, 4096).unwrap();
        storage.write(1, 0, &[7; 8]).unwrap();
        let again = storage.create(1, 8192).unwrap_err();
        assert_eq!(again.error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path("live-00000001.seg")).unwrap()[..8], [7; 8]);
        // What a call that failed left over is made anew.
        fs::write(path("live-00000002.seg.new"), [7; 9000]).unwrap();
        storage.create(2, 4096).unwrap();
        assert_eq!(fs::read(path("live-00000002.seg")).unwrap(), [0; 4096]);
        assert!(!path("live-00000002.seg.new").exists());
    }

    #[test]
    #[cfg(unix)]
    fn planted_links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let dir = temporary();
        let mut storage = live(&dir.path().join("spool"));
        let path = |name: &str| dir.path().join("spool").join(name);
        let victim = dir.path().join("victim");
        fs::write(&victim, [7; 4096]).unwrap();
        let untouched = || assert_eq!(fs::read(&victim).unwrap(), [7; 4096]);

        // It is removed, and not what it points to.
        symlink(&victim, path("live-00000001.seg.new")).unwrap();
        storage.create(1, 4096).unwrap();
        untouched();
        assert!(
            fs::symlink_metadata(path("live-00000001.seg"))
                .unwrap()
                .is_file()
        );
        symlink(&victim, path("live-00000002.seg.new")).unwrap();
        FileStorage::remove_leftovers(&storage.directory, "live").unwrap();
        assert!(!path("live-00000002.seg.new").is_symlink());
        untouched();

        symlink(&victim, path("live-00000003.seg")).unwrap();
        let texts = |error: SpoolIoError| error.error.to_string();
        let link = "it is a symbolic link";
        assert_eq!(texts(storage.list(&mut |_, _| {}).unwrap_err()), link);
        assert_eq!(texts(storage.write(3, 0, &[0; 8]).unwrap_err()), link);
        assert_eq!(texts(storage.read(3, 0, &mut [0; 8]).unwrap_err()), link);
        let taken = storage.create(3, 4096).unwrap_err();
        assert_eq!(taken.error.kind(), io::ErrorKind::AlreadyExists);
        storage.discard(3).unwrap();
        untouched();

        fs::hard_link(&victim, path("live-00000004.seg")).unwrap();
        let twin = "it is a file with other names, too (hard links)";
        assert_eq!(texts(storage.list(&mut |_, _| {}).unwrap_err()), twin);
        assert_eq!(texts(storage.write(4, 0, &[0; 8]).unwrap_err()), twin);
        untouched();
    }

    /// Neither is a write to a removed file taken for a durable one, nor does it fail for a reason that may pass.
    #[test]
    #[cfg(unix)]
    fn what_vanished_is_missing() {
        let dir = temporary();
        let spool = dir.path().join("spool");
        let mut storage = live(&spool);
        for id in 1..=2 {
            storage.create(id, 4096).unwrap();
        }
        fs::remove_file(spool.join("live-00000001.seg")).unwrap();
        storage.write(1, 0, &[7; 8]).unwrap();
        let error = storage.sync(1).unwrap_err();
        assert!(error.is_missing(), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("it was removed or replaced while it was open"),
            "{error}"
        );
        // From then on.
        assert!(storage.write(1, 8, &[7; 8]).unwrap_err().is_missing());
        assert!(storage.sync(1).unwrap_err().is_missing());
        assert!(storage.read(1, 0, &mut [0; 8]).unwrap_err().is_missing());
        storage.discard(1).unwrap();
        storage.write(2, 0, &[7; 8]).unwrap();
        storage.sync(2).unwrap();

        fs::remove_dir_all(&spool).unwrap();
        storage.write(2, 8, &[7; 8]).unwrap();
        assert!(storage.sync(2).unwrap_err().is_missing());
        assert!(storage.create(3, 4096).unwrap_err().is_missing());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    #[cfg(unix)]
    fn a_length_that_went_wrong_is_no_segment() {
        let dir = temporary();
        let mut storage = live(dir.path());
        let sparse = |name: &str, len| {
            let file = File::create_new(dir.path().join(name)).unwrap();
            // Not all file systems have room for its length.
            file.set_len(len).is_ok()
        };
        // As long as other limits may have made it.
        assert!(sparse("live-00000001.seg", LONGEST));
        if !sparse("live-00000002.seg", 8 << 30) || !sparse("live-00000003.seg", 1 << 42) {
            return;
        }
        assert_eq!(list(&mut storage), [(1, 1 << 30)]);
        let mut foreign = storage.foreign().unwrap();
        foreign.sort_unstable();
        assert_eq!(foreign, ["live-00000002.seg", "live-00000003.seg"]);
        let taken = storage.create(2, 4096).unwrap_err();
        assert_eq!(taken.error.kind(), io::ErrorKind::AlreadyExists);
    }
}
