//! Small files that are there whole or not at all, whenever the power fails.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The path with this at its end.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    // By its components it has no `/` at its end.
    let path: PathBuf = path.components().collect();
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Owner,
    All,
}

/// Replaces the file.
pub(crate) fn replace(path: &Path, content: &[u8], readers: For) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = create(&new, readers)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn create(path: &Path, readers: For) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let mode = match readers {
        For::Owner => 0o600,
        For::All => 0o644,
    };
    // What a crash left; and nothing that somebody else put there is written to.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _: For) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).open(path)
}

#[cfg(unix)]
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Directories cannot be opened there.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
