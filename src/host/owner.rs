//! The file `owner`: which process has a spool open, for programs that have no `flock`. docs/spool-directory.md is its contract.

use rustix::process::{Pid, test_kill_process};
use std::fs;
use std::io::{self, Read, Write};
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;
use std::{process, thread};

use super::directory::Directory;
use super::spool_error::SpoolError;
use crate::json::{Scanner, Sink, Token};

const NAME: &str = "owner";
const STALE: &str = "owner.stale";
/// More than any owner file has.
const LONGEST: u64 = 1024;
/// An owner file without its text is looked at again: somebody may be writing it. If nothing comes, its writer was cut off.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Somebody else may replace the owner while this process does.
const TRIES: u32 = 100;

/// A process, so that it is not taken for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: u32,
    /// In ticks since boot, where the system tells.
    start_time: Option<u64>,
    /// Of the machine, where the system tells.
    boot_id: Option<String>,
}

impl Owner {
    fn this() -> Self {
        let pid = process::id();
        Owner {
            pid,
            start_time: start_time(pid).unwrap_or(None),
            boot_id: boot_id(),
        }
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let Ok(Some(Token::ObjectStart)) = scanner.next_token() else {
            return None;
        };
        let (mut pid, mut start_time, mut boot_id) = (None, None, None);
        while let Token::Key(key) = scanner.next_token().ok()?? {
            let value = scanner.next_token().ok()??;
            match value {
                Token::Number(number) if key.is("pid") => pid = Some(number.raw().parse().ok()?),
                Token::Number(number) if key.is("start_time") => {
                    start_time = Some(number.raw().parse().ok()?);
                }
                Token::String(text) if key.is("boot_id") => boot_id = Some(text.to_string()),
                // What a newer writer may add.
                _ => scanner.leave(1).ok()?,
            }
        }
        let is_whole = scanner.next_token().ok()?.is_none();
        is_whole.then_some(Owner {
            pid: pid?,
            start_time,
            boot_id,
        })
    }

    fn text(&self) -> Vec<u8> {
        let pid = self.pid;
        let start_time = self.start_time.map(|ticks| ticks.to_string());
        let start_time = start_time.as_deref().unwrap_or("null");
        let text = std::format!("{{\"pid\":{pid},\"start_time\":{start_time},\"boot_id\":");
        let mut text = text.into_bytes();
        // A `Vec` is full only when the heap is.
        let _ = match &self.boot_id {
            Some(id) => text.put_string(id),
            None => text.put(b"null"),
        };
        text.extend(b"}\n");
        text
    }

    /// Whether this very process runs.
    pub(super) fn runs(&self) -> bool {
        if differ(&self.boot_id, &boot_id()) {
            return false;
        }
        start_time(self.pid).is_some_and(|start| !differ(&self.start_time, &start))
    }
}

/// What is not known is no difference.
fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_string())
}

/// `None` if there is no such process; within it, when it started, where the system tells.
fn start_time(pid: u32) -> Option<Option<u64>> {
    let told = cfg!(any(target_os = "linux", target_os = "android"))
        .then(|| fs::read_to_string(std::format!("/proc/{pid}/stat")).ok())
        .flatten();
    match told {
        // It holds files and locks no more, though its parent has not asked for it yet.
        Some(stat) if has_ended(&stat).unwrap_or(false) => None,
        Some(stat) => Some(parse_start_time(&stat)),
        // There is no /proc, or no such process.
        None => is_there(pid).then_some(None),
    }
}

/// What stands after the name of the program, which may have spaces and brackets of its own.
fn after_name(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    stat.rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace())
}

/// A zombie, or dead.
fn has_ended(stat: &str) -> Option<bool> {
    let state = after_name(stat)?.next()?;
    Some(matches!(state, "Z" | "X" | "x"))
}

/// The 22nd field; the state is the third.
fn parse_start_time(stat: &str) -> Option<u64> {
    after_name(stat)?.nth(19)?.parse().ok()
}

fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return false;
    };
    // Others' processes are there, too.
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// The text of the owner file, if there is one.
pub(super) fn read(directory: &Directory) -> io::Result<Option<Vec<u8>>> {
    read_file(directory, NAME)
}

fn read_file(directory: &Directory, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    match directory.open_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(LONGEST).read_to_end(&mut text)?,
    };
    Ok(Some(text))
}

fn locked(directory: &Directory, pid: Option<u32>) -> SpoolError {
    SpoolError::Locked {
        dir: directory.path().into(),
        pid,
    }
}

/// Writes the owner file, unless another process that runs has one there.
pub(super) fn take(directory: &Directory) -> Result<(), SpoolError> {
    let this = Owner::this();
    let mut looks = LOOKS;
    for _ in 0..TRIES {
        match write(directory, &this) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // What waits on a full disk must be delivered to make room; `flock` is held.
            Err(error) if is_full(&error) => return Ok(()),
            done => return Ok(done.map_err(directory.failed("create", NAME))?),
        }
        let found = read(directory).map_err(directory.failed("use", NAME))?;
        let Some(text) = found else { continue };
        match Owner::parse(&text) {
            // A spool that was leaked, or this program started anew in the same process.
            Some(owner) if owner == this => {}
            Some(owner) if owner.runs() => return Err(locked(directory, Some(owner.pid))),
            None if looks > 0 => {
                looks = looks.saturating_sub(1);
                thread::sleep(BETWEEN_LOOKS);
                continue;
            }
            _ => {}
        }
        if !put_aside(directory, &text).map_err(directory.failed("replace", NAME))? {
            return Err(locked(directory, None));
        }
    }
    Err(locked(directory, None))
}

fn write(directory: &Directory, this: &Owner) -> io::Result<()> {
    let mut file = directory.create(NAME)?;
    file.write_all(&this.text()).inspect_err(|_| {
        let _ = directory.remove(NAME);
    })
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), QuotaExceeded | StorageFull)
}

/// Removes a stale owner; `false` if somebody else was quicker, and had written a new one.
///
/// Removing it by its name could remove that new one. What is renamed can be looked at, and only one can rename it.
fn put_aside(directory: &Directory, text: &[u8]) -> io::Result<bool> {
    match directory.rename(NAME, STALE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        renamed => renamed?,
    }
    let is_stale = read_file(directory, STALE)?.is_none_or(|found| found == text);
    if !is_stale && !directory.has(NAME)? {
        directory.rename(STALE, NAME)?;
    } else {
        directory.remove(STALE)?;
    }
    Ok(is_stale)
}

/// Removes this process' owner file.
pub(super) fn give_back(directory: &Directory) {
    let found = read(directory).ok().flatten();
    let is_own = found.is_some_and(|text| Owner::parse(&text) == Some(Owner::this()));
    if is_own {
        let _ = directory.remove(NAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::directory::temporary;
    use crate::host::lock::Lock;
    use std::path::Path;
    use std::sync::Arc;

    fn directory() -> (tempfile::TempDir, Arc<Directory>) {
        let dir = temporary();
        let directory = Directory::open(dir.path()).unwrap();
        (dir, Arc::new(directory))
    }

    fn put(dir: &Path, text: &[u8]) {
        fs::write(dir.join(NAME), text).unwrap();
    }

    fn there(dir: &Path) -> Option<Owner> {
        Owner::parse(&fs::read(dir.join(NAME)).ok()?)
    }

    #[test]
    fn the_owner_is_named_as_long_as_it_is_open() {
        let (dir, directory) = directory();
        let lock = Lock::take(directory).unwrap();
        let owner = there(dir.path()).unwrap();
        assert_eq!(owner.pid, process::id());
        assert!(owner.runs());
        if cfg!(target_os = "linux") {
            assert!(owner.start_time.unwrap() > 0 && owner.boot_id.unwrap().len() == 36);
        }
        drop(lock);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_process_that_runs_keeps_others_out() {
        let (dir, directory) = directory();
        let mut child = process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let running = Owner {
            pid,
            start_time: start_time(pid).unwrap(),
            boot_id: boot_id(),
        };
        put(dir.path(), &running.text());
        let unknown = std::format!("{{\"pid\":{pid},\"more\":1}}");
        for text in [&running.text()[..], unknown.as_bytes()] {
            put(dir.path(), text);
            let error = Lock::take(directory.clone()).unwrap_err();
            assert!(
                matches!(error, SpoolError::Locked { pid: Some(found), .. } if found == pid),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains(&std::format!("is in use by process {pid}: "))
            );
            assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), text);
        }
        let mut stale = std::vec![
            b"".to_vec(),
            b"{\"pid\":".to_vec(),
            b"{\"pid\":0}".to_vec(),
            b"{\"pid\":4294967295}".to_vec(),
            b"x".repeat(5000),
            Owner::this().text(),
        ];
        if cfg!(target_os = "linux") {
            let earlier = running.start_time.map(|time| time - 1);
            let other_start = Owner {
                start_time: earlier,
                ..running.clone()
            };
            let other_boot = Owner {
                boot_id: Some("0".into()),
                ..running.clone()
            };
            stale.extend([other_start.text(), other_boot.text()]);
        }
        child.kill().unwrap();
        // It is a zombie until it is waited for.
        let begin = std::time::Instant::now();
        while running.runs() && begin.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
        stale.push(running.text());
        for text in &stale {
            put(dir.path(), text);
            let lock = Lock::take(directory.clone());
            let _lock = lock.unwrap_or_else(|error| panic!("{error}: {text:?}"));
            assert_eq!(there(dir.path()), Some(Owner::this()));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        child.wait().unwrap();
        put(dir.path(), &running.text());
        Lock::take(directory).unwrap();
    }

    #[test]
    fn removing_a_file_lets_nobody_in() {
        let (dir, directory) = directory();
        let lock = Lock::take(directory).unwrap();
        let again = || Lock::take(Arc::new(Directory::open(dir.path()).unwrap()));
        let error = again().unwrap_err().to_string();
        assert!(error.contains("is in use by this process: "), "{error}");
        fs::remove_file(dir.path().join(NAME)).unwrap();
        let error = again().unwrap_err();
        assert!(
            matches!(error, SpoolError::Locked { pid: None, .. }),
            "{error}"
        );
        // What somebody else puts there is not removed.
        put(dir.path(), b"{\"pid\":1}");
        drop(lock);
        assert_eq!(there(dir.path()).unwrap().pid, 1);
    }

    #[test]
    fn an_owner_that_was_replaced_meanwhile_stays() {
        let (dir, directory) = directory();
        put(dir.path(), b"new");
        assert!(!put_aside(&directory, b"old").unwrap());
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), b"new");
        assert!(put_aside(&directory, b"new").unwrap());
        assert!(put_aside(&directory, b"new").unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_with_spaces_and_brackets() {
        let stat = "42 (a) Z (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(has_ended(stat), Some(false));
        assert_eq!(parse_start_time(stat), Some(98765));
        assert_eq!(has_ended("42 (a) Z 1"), Some(true));
        assert_eq!(has_ended("42"), None);
    }
}
