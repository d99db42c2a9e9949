//! Whether the files that are open still have their names. SQLite goes on in those that were moved or removed, and nobody would find what is in them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) struct Files([(PathBuf, Identity); 2]);

/// Device and inode.
type Identity = (u64, u64);

impl Files {
    /// Of a database that is open: its file, and the log beside it.
    pub(super) fn of(path: &Path) -> io::Result<Files> {
        // The log is beside the file itself, not beside a link to it.
        let file = path.canonicalize()?;
        let mut log = file.clone().into_os_string();
        log.push("-wal");
        let known = |path: PathBuf| identity(&path).map(|identity| (path, identity));
        Ok(Files([known(file)?, known(log.into())?]))
    }

    pub(super) fn are_there(&self) -> io::Result<()> {
        for (path, was) in &self.0 {
            if identity(path).ok() != Some(*was) {
                let why = format!(
                    "{} is not the file that was opened: put that back, or start the receiver again",
                    path.display()
                );
                return Err(io::Error::other(why));
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}
