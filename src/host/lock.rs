//! Who has a spool open: one process at a time.
//!
//! Two locks, for two kinds of programs. `flock` on the directory itself is exact: the system frees it when the process ends, however
//! it does, and no file can be removed to get in. Programs that have no `flock`, in Node for one, go by the file `owner` beside
//! it, which names the process that has the spool open: its id, when it started, and the boot of the machine, so that neither
//! another process with the same id nor one of before a restart is taken for it. docs/spool-directory.md says how it is made and
//! replaced.
//!
//! `flock` belongs to what was opened, and a `fork` shares that: if the child were to unlock, the parent would be without its
//! lock. So only the process that opened the spool unlocks, and removes its `owner`.

use std::fs::TryLockError;
use std::sync::Arc;

use super::directory::Directory;
#[cfg(unix)]
use super::owner::{self, Owner};
use super::spool_error::{SpoolError, SpoolIoError};

/// Keeps other processes out as long as it is there.
#[derive(Debug)]
pub(super) struct Lock {
    directory: Arc<Directory>,
    #[cfg(not(unix))]
    file: std::fs::File,
}

fn refused(directory: &Directory, error: TryLockError, pid: Option<u32>) -> SpoolError {
    match error {
        TryLockError::WouldBlock => SpoolError::Locked {
            dir: directory.path().into(),
            pid,
        },
        TryLockError::Error(error) => SpoolIoError::at("lock", directory.path())(error).into(),
    }
}

/// Elsewhere directories cannot be locked: a file in it is.
#[cfg(not(unix))]
impl Lock {
    pub(super) fn take(directory: Arc<Directory>) -> Result<Self, SpoolError> {
        const NAME: &str = "lock";
        let file = directory
            .create(NAME)
            .or_else(|_| directory.open_file(NAME));
        let file = file.map_err(directory.failed("open", NAME))?;
        file.try_lock()
            .map_err(|error| refused(&directory, error, None))?;
        Ok(Lock { directory, file })
    }
}

#[cfg(not(unix))]
impl Drop for Lock {
    fn drop(&mut self) {
        if self.directory.is_of_this_process() {
            let _ = self.file.unlock();
        }
    }
}

#[cfg(unix)]
impl Lock {
    pub(super) fn take(directory: Arc<Directory>) -> Result<Self, SpoolError> {
        if let Err(error) = directory.handle().try_lock() {
            let running = owner::read(&directory).ok().flatten();
            let running = running.and_then(|text| Owner::parse(&text));
            let pid = running.filter(Owner::runs).map(|owner| owner.pid);
            return Err(refused(&directory, error, pid));
        }
        // From here on an error unlocks.
        let lock = Lock { directory };
        owner::take(&lock.directory)?;
        Ok(lock)
    }
}

#[cfg(unix)]
impl Drop for Lock {
    /// Closing alone would leave the lock to a child process that is about to start another program.
    fn drop(&mut self) {
        if self.directory.is_of_this_process() {
            owner::give_back(&self.directory);
            let _ = self.directory.handle().unlock();
        }
    }
}
