//! The directory of a spool: held open, for its owner alone.
//!
//! Reports are secrets of a kind, and whoever may change them may also lose them. So a directory is used only if nobody but this
//! process' user can reach into it, and then by its descriptor, never again by its path: a path that is swapped for another directory
//! or a link later on leads nowhere. Names in it are never followed when they are links. A file is made only where none is, and one
//! that is there is opened only if it is a plain file of this user with one name, so that no write ends up in somebody else's file.
//!
//! A `fork` gives the child the same directory with the same lock. Only the process that opened it writes ([`Directory::check_process`]).

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::vec::Vec;

use super::spool_error::{SpoolError, SpoolIoError};

/// A directory that only this user can reach.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    #[cfg(unix)]
    dir: File,
    /// The process that opened it.
    opener: u32,
}

impl Directory {
    /// Makes the directory, if only its parent is there, and opens it.
    pub(super) fn open(path: &Path) -> Result<Self, SpoolError> {
        match make(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(SpoolIoError::at("create", path))?,
        }
        let directory = Directory::hold(path)?;
        // At each start: the one that made it may have been cut off right after.
        directory
            .sync_parent()
            .map_err(SpoolIoError::at("sync", path.parent().unwrap_or(path)))?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the process that opened it, and not a fork of that one.
    pub(super) fn is_of_this_process(&self) -> bool {
        process::id() == self.opener
    }

    /// Keeps a fork out: two writers with a lock in common would overwrite each other.
    pub(super) fn check_process(&self) -> io::Result<()> {
        if self.is_of_this_process() {
            return Ok(());
        }
        Err(io::Error::other(std::format!(
            "it was opened by process {}, of which this one is a fork: open the spool after the fork",
            self.opener
        )))
    }

    /// An error with a file in it.
    pub(super) fn failed<'a>(
        &'a self,
        action: &'static str,
        name: &'a str,
    ) -> impl FnOnce(io::Error) -> SpoolIoError + 'a {
        move |error| SpoolIoError::at(action, &self.path.join(name))(error)
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
    use rustix::io::Errno;
    use rustix::process::geteuid;
    use std::os::unix::ffi::OsStrExt;

    const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
    /// Waits for nothing: a pipe in place of a file would.
    const CAREFUL: OFlags = OFlags::NOFOLLOW
        .union(OFlags::CLOEXEC)
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY);
    const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

    pub(super) fn make(path: &Path) -> io::Result<()> {
        Ok(fs::mkdir(path, Mode::RWXU)?)
    }

    impl Directory {
        pub(super) fn hold(path: &Path) -> Result<Self, SpoolError> {
            let found = fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            let dir = File::from(found.map_err(|error| match path.is_symlink() {
                true => SpoolError::DirIsLink(path.into()),
                false => SpoolIoError::at("open", path)(error.into()).into(),
            })?);
            let found =
                fs::fstat(&dir).map_err(|error| SpoolIoError::at("open", path)(error.into()))?;
            let directory = Directory {
                path: path.into(),
                dir,
                opener: process::id(),
            };
            let (owner, user) = (found.st_uid, geteuid().as_raw());
            let mode = Mode::from_raw_mode(found.st_mode);
            if owner == user && !mode.intersects(Mode::RWXG | Mode::RWXO) {
                return Ok(directory);
            }
            let dir = path.into();
            let is_roots = owner == 0 && owner != user;
            // To give such a directory to this user alone would harm the others.
            if mode.contains(Mode::SVTX) || is_roots || directory.has_others_files() {
                return Err(SpoolError::DirShared(dir));
            }
            if owner != user {
                return Err(SpoolError::DirOwner { dir, owner, user });
            }
            #[allow(clippy::useless_conversion, reason = "it has 16 bits on some systems")]
            let mode = u32::from(mode.as_raw_mode());
            Err(SpoolError::DirMode { dir, mode })
        }

        /// Whether anything in it is not a spool's, or that cannot be told.
        fn has_others_files(&self) -> bool {
            let is_ours = |name: OsString| {
                let name = name.to_string_lossy();
                let begins = ["live-", "dead-", "spare-", "owner"];
                begins.iter().any(|begin| name.starts_with(begin))
            };
            let names = self.names();
            names.map_or(true, |names| !names.into_iter().all(is_ours))
        }

        /// Makes the directory's own name survive a power cut.
        pub(super) fn sync_parent(&self) -> io::Result<()> {
            match fs::openat(&self.dir, "..", DIRECTORY, Mode::empty()) {
                Ok(parent) => File::from(parent).sync_all(),
                // A parent that may be passed through, but not read, cannot be opened: then all of its file system is synced.
                #[cfg(any(target_os = "linux", target_os = "android"))]
                Err(Errno::ACCESS) => Ok(fs::syncfs(&self.dir)?),
                Err(error) => Err(error.into()),
            }
        }

        /// Makes names that were added or removed survive a power cut.
        pub(in super::super) fn sync(&self) -> io::Result<()> {
            self.dir.sync_all()
        }

        /// The descriptor, to lock.
        pub(in super::super) fn handle(&self) -> &File {
            &self.dir
        }

        pub(in super::super) fn names(&self) -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in fs::Dir::read_from(&self.dir)? {
                let entry = entry?;
                let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    names.push(name.into());
                }
            }
            Ok(names)
        }

        /// Makes a file for its owner alone where there is none.
        pub(in super::super) fn create(&self, name: &str) -> io::Result<File> {
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | CAREFUL;
            Ok(fs::openat(&self.dir, name, new, PRIVATE)?.into())
        }

        /// Opens a file that is nobody else's.
        pub(in super::super) fn open_file(&self, name: &str) -> io::Result<File> {
            let opened = fs::openat(&self.dir, name, OFlags::RDWR | CAREFUL, Mode::empty());
            // What it is says more than that it cannot be opened.
            let file = opened.map_err(|error| self.len(name).err().unwrap_or(error.into()))?;
            let file = File::from(file);
            check(&fs::fstat(&file)?)?;
            Ok(file)
        }

        /// The length of a file that is nobody else's.
        pub(in super::super) fn len(&self, name: &str) -> io::Result<u64> {
            let found = fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            check(&found)?;
            Ok(u64::try_from(found.st_size).unwrap_or(u64::MAX))
        }

        /// Whether there is anything of this name.
        pub(in super::super) fn has(&self, name: &str) -> io::Result<bool> {
            match fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(false),
                found => found.map(|_| true).map_err(io::Error::from),
            }
        }

        /// Replaces what is there.
        pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            Ok(fs::renameat(&self.dir, from, &self.dir, to)?)
        }

        /// Removes a file, or a link instead of what it points to.
        pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
            Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
        }

        /// An error, if the open file has its name no more: what is written to it nobody finds at the next start.
        pub(in super::super) fn check_there(&self, name: &str, file: &File) -> io::Result<()> {
            let opened = fs::fstat(file)?;
            match fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) => {
                    Ok(())
                }
                Ok(_) | Err(Errno::NOENT) => {
                    let error = "it was removed or replaced while it was open";
                    Err(io::Error::new(io::ErrorKind::NotFound, error))
                }
                Err(error) => Err(error.into()),
            }
        }
    }

    fn check(found: &Stat) -> io::Result<()> {
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(is("a symbolic link")),
            _ => return Err(is("not a file")),
        }
        if found.st_uid != geteuid().as_raw() {
            return Err(is(&std::format!("a file of user {}", found.st_uid)));
        }
        // One that was removed since is noticed when it is synced.
        if found.st_nlink > 1 {
            return Err(is("a file with other names, too (hard links)"));
        }
        Ok(())
    }

    fn is(what: &str) -> io::Error {
        io::Error::other(std::format!("it is {what}"))
    }
}

#[cfg(unix)]
use unix::make;

/// Where there are no owners, modes and descriptors of directories: by path, and as safe as the place is.
#[cfg(not(unix))]
mod other {
    use super::*;
    use std::fs::{self, OpenOptions};

    pub(super) fn make(path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    impl Directory {
        pub(super) fn hold(path: &Path) -> Result<Self, SpoolError> {
            fs::read_dir(path).map_err(SpoolIoError::at("open", path))?;
            Ok(Directory {
                path: path.into(),
                opener: process::id(),
            })
        }

        /// A directory cannot be synced, and its names are durable by themselves.
        pub(super) fn sync_parent(&self) -> io::Result<()> {
            Ok(())
        }

        pub(in super::super) fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        pub(in super::super) fn names(&self) -> io::Result<Vec<OsString>> {
            let entries = fs::read_dir(&self.path)?;
            entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect()
        }

        pub(in super::super) fn create(&self, name: &str) -> io::Result<File> {
            let mut new = OpenOptions::new();
            new.read(true).write(true).create_new(true);
            new.open(self.path.join(name))
        }

        pub(in super::super) fn open_file(&self, name: &str) -> io::Result<File> {
            self.len(name)?;
            let mut there = OpenOptions::new();
            there.read(true).write(true).open(self.path.join(name))
        }

        pub(in super::super) fn len(&self, name: &str) -> io::Result<u64> {
            let found = fs::symlink_metadata(self.path.join(name))?;
            if !found.is_file() {
                return Err(io::Error::other("it is not a file"));
            }
            Ok(found.len())
        }

        pub(in super::super) fn has(&self, name: &str) -> io::Result<bool> {
            self.path.join(name).try_exists()
        }

        pub(in super::super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            fs::rename(self.path.join(from), self.path.join(to))
        }

        pub(in super::super) fn remove(&self, name: &str) -> io::Result<()> {
            fs::remove_file(self.path.join(name))
        }

        /// Files that are open cannot be removed, or the system does not tell.
        #[allow(clippy::unused_self, reason = "in the place of the other")]
        pub(in super::super) fn check_there(&self, _: &str, _: &File) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(not(unix))]
use other::make;

/// A place for a spool. In memory where there is such a place: thousands of syncs take their time.
#[cfg(test)]
pub(super) fn temporary() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    #[cfg(unix)]
    {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path(), private).unwrap();
    }
    dir
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::string::{String, ToString};

    fn place() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        (parent, path)
    }

    fn refusal(path: &Path) -> String {
        Directory::open(path).unwrap_err().to_string()
    }

    #[test]
    fn it_is_made_and_opened_for_its_owner_alone() {
        let (_parent, path) = place();
        Directory::open(&path).unwrap();
        Directory::open(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o700);
        for wrong in [0o750, 0o701, 0o720, 0o777, 0o2710] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let error = Directory::open(&path).unwrap_err();
            assert!(
                matches!(error, SpoolError::DirMode { mode, .. } if mode == wrong),
                "{error}"
            );
            assert_eq!(mode(), wrong, "it is not changed behind anybody's back");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2700)).unwrap();
        Directory::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_use_is_not_to_be_taken_from_them() {
        let (parent, path) = place();
        let advice = "is a directory that others use, too: name one of its own";
        let set_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        Directory::open(&path).unwrap();
        // Sticky, as /tmp is.
        set_mode(0o1777);
        assert!(refusal(&path).ends_with(advice));
        fs::write(path.join("notes.txt"), "of others").unwrap();
        set_mode(0o755);
        assert!(refusal(&path).ends_with(advice));
        assert!(refusal(Path::new("/")).ends_with(advice));
        // A spool's own files are no others'.
        fs::rename(path.join("notes.txt"), path.join("live-00000001.seg")).unwrap();
        assert!(refusal(&path).contains("chmod 700 "));
        // One that is nobody else's may have anything in it.
        fs::write(path.join("notes.txt"), "mine").unwrap();
        set_mode(0o700);
        Directory::open(&path).unwrap();
        drop(parent);
    }

    #[test]
    fn what_it_is_not() {
        let (parent, path) = place();
        Directory::open(&path).unwrap();
        let link = parent.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(
            refusal(&link).ends_with("is a symbolic link: name the directory that it points to")
        );
        symlink("nowhere", parent.path().join("dangling")).unwrap();
        let error = Directory::open(&parent.path().join("dangling")).unwrap_err();
        assert!(matches!(error, SpoolError::DirIsLink(_)), "{error}");
        assert!(!parent.path().join("nowhere").exists());
        fs::write(parent.path().join("file"), "mine").unwrap();
        assert!(refusal(&parent.path().join("file")).contains("Not a directory"));
    }

    #[test]
    fn a_path_that_is_swapped_redirects_nothing() {
        let (parent, path) = place();
        let directory = Directory::open(&path).unwrap();
        let (moved, trap) = (parent.path().join("moved"), parent.path().join("trap"));
        fs::create_dir(&trap).unwrap();
        fs::rename(&path, &moved).unwrap();
        symlink(&trap, &path).unwrap();
        directory.create("a").unwrap();
        directory.rename("a", "b").unwrap();
        directory.create("c").unwrap();
        directory.remove("c").unwrap();
        directory.sync().unwrap();
        assert_eq!(directory.names().unwrap(), ["b"]);
        assert!(directory.has("b").unwrap() && !directory.has("a").unwrap());
        assert!(moved.join("b").is_file());
        assert_eq!(fs::read_dir(&trap).unwrap().count(), 0);
    }

    #[test]
    fn files_are_made_where_there_is_nothing() {
        let (parent, path) = place();
        let directory = Directory::open(&path).unwrap();
        directory.create("new").unwrap();
        assert_eq!(
            fs::metadata(path.join("new")).unwrap().mode() & 0o7777,
            0o600
        );
        let victim = parent.path().join("victim");
        symlink(&victim, path.join("link")).unwrap();
        for name in ["new", "link"] {
            let error = directory.create(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(!victim.exists());
    }

    #[test]
    fn files_of_others_are_not_opened() {
        let (parent, path) = place();
        let directory = Directory::open(&path).unwrap();
        let victim = parent.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, path.join("link")).unwrap();
        fs::hard_link(&victim, path.join("twin")).unwrap();
        fs::create_dir(path.join("dir")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for (name, text) in [
            ("link", "it is a symbolic link"),
            ("twin", "it is a file with other names, too (hard links)"),
            ("dir", "it is not a file"),
            ("pipe", "it is not a file"),
        ] {
            assert_eq!(directory.len(name).unwrap_err().to_string(), text, "{name}");
            let error = directory.open_file(name).unwrap_err();
            // A directory cannot be opened for writing anyway.
            assert!(
                error.to_string() == text || error.kind() == io::ErrorKind::IsADirectory,
                "{name}: {error}"
            );
        }
        fs::write(path.join("own"), "mine").unwrap();
        assert_eq!(directory.len("own").unwrap(), 4);
        let file = directory.open_file("own").unwrap();
        directory.check_there("own", &file).unwrap();
        directory.remove("own").unwrap();
        assert_eq!(
            directory.check_there("own", &file).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            directory.open_file("own").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        // Only root can give a file away.
        if std::os::unix::fs::chown(&victim, Some(65534), None).is_ok() {
            fs::remove_file(path.join("twin")).unwrap();
            fs::rename(&victim, path.join("given")).unwrap();
            let text = "it is a file of user 65534";
            assert_eq!(directory.len("given").unwrap_err().to_string(), text);
            assert_eq!(directory.open_file("given").unwrap_err().to_string(), text);
        }
    }
}
