//! Why a spool does not open, or fails later.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::string::String;

use crate::code::Code;

/// What failed with a file, and on which one.
#[derive(Debug)]
#[non_exhaustive]
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

    /// Whether the file is not there any more: what it held is lost, and trying again does not help.
    pub fn is_missing(&self) -> bool {
        self.error.kind() == io::ErrorKind::NotFound
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
        // Its own text is in this one's.
        self.error.source()
    }
}

/// Why a spool does not open. What is stored in it stays as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpoolError {
    /// A file or directory failed.
    Io(SpoolIoError),
    /// Another process, or another `Spool` in this one, has this directory open.
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, where it is known.
        pid: Option<u32>,
    },
    /// The directory is a symbolic link: whoever may change the link could send the reports elsewhere.
    DirIsLink(PathBuf),
    /// The directory belongs to another user, who could read, change and remove what is in it.
    DirOwner {
        /// The directory.
        dir: PathBuf,
        /// The user it belongs to.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Others than its owner may use the directory.
    DirMode {
        /// The directory.
        dir: PathBuf,
        /// Its permissions, such as 0o755.
        mode: u32,
    },
    /// Others use the directory, which is not for a spool alone: it is sticky, as `/tmp` is, belongs to root, or has other files in it.
    DirShared(PathBuf),
    /// Another version of this library wrote the files.
    Version {
        /// The directory.
        dir: PathBuf,
        /// The version of the format.
        version: u16,
    },
    /// The segments are more than one spool ever makes.
    TooManySegments(PathBuf),
    /// An option is out of range. The text says which one, what was given, and what is needed.
    Options(String),
}

impl SpoolError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            SpoolError::Io(_) => Code::Storage,
            SpoolError::Locked { .. } => Code::SpoolInUse,
            SpoolError::DirIsLink(_)
            | SpoolError::DirOwner { .. }
            | SpoolError::DirMode { .. }
            | SpoolError::DirShared(_) => Code::SpoolDirectory,
            SpoolError::Version { .. } => Code::OtherFormat,
            SpoolError::TooManySegments(_) => Code::TooManySegments,
            SpoolError::Options(_) => Code::SpoolOptions,
        }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = match self {
            SpoolError::Io(error) => return error.fmt(f),
            SpoolError::Options(text) => return f.write_str(text),
            SpoolError::Locked { dir, .. }
            | SpoolError::DirIsLink(dir)
            | SpoolError::DirOwner { dir, .. }
            | SpoolError::DirMode { dir, .. }
            | SpoolError::DirShared(dir)
            | SpoolError::Version { dir, .. }
            | SpoolError::TooManySegments(dir) => dir,
        };
        write!(f, "the spool {} ", dir.display())?;
        match self {
            SpoolError::Locked { pid, .. } => {
                f.write_str("is in use")?;
                match pid {
                    Some(pid) if *pid == std::process::id() => f.write_str(" by this process")?,
                    Some(pid) => write!(f, " by process {pid}")?,
                    None => {}
                }
                f.write_str(": only one process at a time can have it open")
            }
            SpoolError::DirIsLink(_) => {
                f.write_str("is a symbolic link: name the directory that it points to")
            }
            SpoolError::DirOwner { owner, user, .. } => write!(
                f,
                "belongs to user {owner}, and this process runs as user {user}: run it as user {owner}, or chown -R {user} {}",
                InShell(dir)
            ),
            SpoolError::DirMode { mode, .. } => {
                let may = match (mode & 0o055 != 0, mode & 0o022 != 0) {
                    (_, false) => "read",
                    (false, true) => "written",
                    (true, true) => "read and written",
                };
                write!(
                    f,
                    "may be {may} by others than its owner (mode {mode:04o}): chmod 700 {}",
                    InShell(dir)
                )
            }
            SpoolError::DirShared(_) => {
                f.write_str("is a directory that others use, too: name one of its own")
            }
            SpoolError::Version { version, .. } => {
                write!(f, "was written in another format ({version})")
            }
            SpoolError::TooManySegments(_) => f.write_str("has more segments than it ever makes"),
            SpoolError::Io(_) | SpoolError::Options(_) => Ok(()),
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpoolError::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<SpoolIoError> for SpoolError {
    fn from(error: SpoolIoError) -> Self {
        SpoolError::Io(error)
    }
}

/// A path as a shell takes it.
struct InShell<'a>(&'a Path);

impl fmt::Display for InShell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string_lossy();
        let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
        if path.chars().all(plain) {
            return f.write_str(&path);
        }
        write!(f, "'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_fixes_a_directory_can_be_pasted() {
        let text = |dir: &str, mode| {
            let dir = dir.into();
            SpoolError::DirMode { dir, mode }.to_string()
        };
        assert_eq!(
            text("/var/spool/jobs", 0o755),
            "the spool /var/spool/jobs may be read by others than its owner (mode 0755): chmod 700 /var/spool/jobs"
        );
        assert_eq!(
            text("/my spool's", 0o2770),
            r"the spool /my spool's may be read and written by others than its owner (mode 2770): chmod 700 '/my spool'\''s'"
        );
        assert!(text("/a", 0o702).contains("may be written by others"));
        assert!(text("/a", 0o701).contains("may be read by others"));
        let other = SpoolError::DirOwner {
            dir: "/a".into(),
            owner: 7,
            user: 8,
        };
        assert_eq!(
            other.to_string(),
            "the spool /a belongs to user 7, and this process runs as user 8: run it as user 7, or chown -R 8 /a"
        );
        assert_eq!(other.code(), Code::SpoolDirectory);
        let shared = SpoolError::DirShared("/tmp".into());
        assert_eq!(
            shared.to_string(),
            "the spool /tmp is a directory that others use, too: name one of its own"
        );
        assert_eq!(shared.code(), Code::SpoolDirectory);
    }
}
