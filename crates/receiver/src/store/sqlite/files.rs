//! Whether the files that are open still have their names. SQLite goes on in those that were moved or removed, and nobody would find what is in them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) struct Files(Vec<(PathBuf, Identity)>);

/// The database, its log, and what programs that have it open share.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// Device and inode.
type Identity = (u64, u64);

impl Files {
    /// Of a database that is open.
    pub(super) fn of(path: &Path) -> io::Result<Files> {
        // The others are beside the file itself, not beside a link to it.
        let file = path.canonicalize()?;
        let known = |ending: &&str| {
            let mut path = file.clone().into_os_string();
            path.push(ending);
            let path = PathBuf::from(path);
            identity(&path).map(|identity| (path, identity))
        };
        ENDINGS
            .iter()
            .map(known)
            .collect::<Result<_, _>>()
            .map(Files)
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
