//! Segments as files in one directory.

use std::ffi::OsStr;
use std::fmt;
use std::format;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::vec;
use std::vec::Vec;

use crate::courier::Storage;

/// What failed with a file, and on which one.
#[derive(Debug)]
pub struct SpoolIoError {
    /// What was tried: `write`, for example.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

impl SpoolIoError {
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| SpoolIoError {
            action,
            path: path.into(),
            error,
        }
    }
}

impl fmt::Display for SpoolIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.action)?;
        match (
            self.path.file_name().and_then(OsStr::to_str),
            self.path.parent(),
        ) {
            (Some(name), Some(dir)) if dir != Path::new("") => {
                write!(f, "{name} in {}", dir.display())?
            }
            _ => self.path.display().fmt(f)?,
        }
        write!(f, ": {}", self.error)
    }
}

impl std::error::Error for SpoolIoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Bytes written at a time to a new segment.
const FILL: usize = 64 * 1024;

/// How many files are kept open: the one written to, and the one read.
const HANDLES: usize = 2;

/// The segments are the files `PREFIX-00000001.seg` and so on; all others are left alone.
#[derive(Debug)]
pub(super) struct FileStorage {
    dir: PathBuf,
    prefix: &'static str,
    segment_bytes: usize,
    max_bytes: usize,
    /// The one used last comes first.
    handles: Vec<(u32, File)>,
    ahead: Ahead,
}

/// A log is read in small pieces, one behind the other: what follows the one read last is kept.
#[derive(Debug, Default)]
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
        dir: &Path,
        prefix: &'static str,
        segment_bytes: usize,
        max_bytes: usize,
    ) -> Self {
        FileStorage {
            dir: dir.into(),
            prefix,
            segment_bytes,
            max_bytes,
            handles: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    /// Removes what a crash left of segments that were being made.
    pub(super) fn remove_leftovers(dir: &Path, prefix: &str) -> Result<(), SpoolIoError> {
        for_each_name(dir, |name| match name.strip_suffix(".new") {
            Some(segment) if segment_id(segment, prefix).is_some() => {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(SpoolIoError::at("remove", &path))
            }
            _ => Ok(()),
        })
    }

    fn path(&self, id: u32) -> PathBuf {
        self.dir.join(format!("{}-{id:08}.seg", self.prefix))
    }

    fn with(
        &mut self,
        id: u32,
        action: &'static str,
        run: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), SpoolIoError> {
        let result = self.handle(id).and_then(run);
        result.map_err(|error| SpoolIoError {
            action,
            path: self.path(id),
            error,
        })
    }

    fn handle(&mut self, id: u32) -> io::Result<&File> {
        let place = match self.handles.iter().position(|(open, _)| *open == id) {
            Some(place) => place,
            None => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(self.path(id))?;
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
    fn blank(path: &Path, len: usize) -> Result<File, SpoolIoError> {
        let mut file = private(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true),
        )
        .open(path)
        .map_err(SpoolIoError::at("create", path))?;
        // Zeros written for real: blocks that are only set aside cost metadata at each append.
        let zeros = vec![0; len.min(FILL)];
        let mut left = len;
        while left > 0 {
            let part = zeros.get(..left).unwrap_or(&zeros);
            io::Write::write_all(&mut file, part).map_err(SpoolIoError::at("fill", path))?;
            left = left.saturating_sub(part.len());
        }
        file.sync_all().map_err(SpoolIoError::at("sync", path))?;
        Ok(file)
    }
}

impl Storage for FileStorage {
    type Error = SpoolIoError;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), SpoolIoError> {
        for_each_name(&self.dir, |name| {
            let Some(id) = segment_id(name, self.prefix) else {
                return Ok(());
            };
            let path = self.dir.join(name);
            let found = fs::symlink_metadata(&path).map_err(SpoolIoError::at("read", &path))?;
            if !found.is_file() {
                let error = io::Error::other("it is not a file");
                return Err(SpoolIoError {
                    action: "use",
                    path,
                    error,
                });
            }
            let len = usize::try_from(found.len())
                .map_err(|_| SpoolIoError::at("use", &path)(io::ErrorKind::FileTooLarge.into()))?;
            each(id, len);
            Ok(())
        })
    }

    fn limits(&self) -> (usize, usize) {
        (self.segment_bytes, self.max_bytes)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), SpoolIoError> {
        self.ahead.forget(id, 0);
        let path = self.path(id);
        let new = path.with_extension("seg.new");
        let made = Self::blank(&new, len).and_then(|file| {
            fs::rename(&new, &path).map_err(SpoolIoError::at("rename", &new))?;
            Ok(file)
        });
        let file = made.inspect_err(|_| {
            // The first error says more than one of this would.
            let _ = fs::remove_file(&new);
        })?;
        sync_dir(&self.dir).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
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

    fn sync(&mut self, id: u32) -> Result<(), SpoolIoError> {
        self.with(id, "sync", File::sync_data)
    }

    fn discard(&mut self, id: u32) -> Result<(), SpoolIoError> {
        self.ahead.forget(id, 0);
        self.handles.retain(|(open, _)| *open != id);
        let path = self.path(id);
        match fs::remove_file(&path) {
            // Removed before, by a call that failed later on.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(SpoolIoError::at("remove", &path))?,
        }
        sync_dir(&self.dir)
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

fn for_each_name(
    dir: &Path,
    mut each: impl FnMut(&str) -> Result<(), SpoolIoError>,
) -> Result<(), SpoolIoError> {
    let names: io::Result<Vec<_>> = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    });
    let names = names.map_err(SpoolIoError::at("list", dir))?;
    names
        .iter()
        .filter_map(|name| name.to_str())
        .try_for_each(&mut each)
}

/// For the owner alone.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes names that were added or removed survive a power cut.
#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> Result<(), SpoolIoError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(SpoolIoError::at("sync", dir))
}

/// Elsewhere a directory cannot be opened, and its names are durable by themselves.
#[cfg(not(unix))]
pub(super) fn sync_dir(_: &Path) -> Result<(), SpoolIoError> {
    Ok(())
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
    use std::string::ToString;

    fn list(storage: &mut FileStorage) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        storage.list(&mut |id, len| all.push((id, len))).unwrap();
        all.sort_unstable();
        all
    }

    #[test]
    fn segments_are_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = FileStorage::new(dir.path(), "live", 4096, 65536);
        assert_eq!(storage.limits(), (4096, 65536));
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
        assert_eq!(
            list(&mut FileStorage::new(dir.path(), "dead", 4096, 65536)),
            []
        );

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
                "live-4294967295.seg"
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
        let dir = tempfile::tempdir().unwrap();
        let mut storage = FileStorage::new(dir.path(), "live", 4096, 65536);
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
            error.starts_with("cannot create live-00000006.seg.new in "),
            "{error}"
        );
        fs::create_dir(dir.path().join("live-00000007.seg")).unwrap();
        let error = storage.create(7, 4096).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot rename live-00000007.seg.new in "),
            "{error}"
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
}
