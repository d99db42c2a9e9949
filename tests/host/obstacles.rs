//! What stands in a spool's way for a while: permissions that are taken from it, and things that have the names of its files. While it lasts each
//! error names a file and the reason; afterwards all goes on by itself, and nothing that was acknowledged is lost.
#![cfg(target_os = "linux")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge_report::courier::{Courier, Event, Policy, Step};
use edge_report::{Job, JobStatus, MonoTime, Outcome, Report, Spool, SpoolOptions};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;

type Node = Courier<Spool, Vec<u8>>;

const NOW: MonoTime = MonoTime::from_ms(1000);
/// Segments of 4 KiB, some 35 reports in each.
const SMALL: SpoolOptions = SpoolOptions::new()
    .with_max_bytes(64 * 1024)
    .with_segment_bytes(4096)
    .with_dead_letter_bytes(64 * 1024);

/// A spool in use, and what is known of its reports.
struct Used {
    _parent: TempDir,
    dir: PathBuf,
    node: Node,
    submitted: u32,
    /// Acknowledged, and not settled.
    waiting: BTreeSet<String>,
    errors: Vec<String>,
}

fn open(dir: &Path) -> Node {
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_min_backoff(Duration::ZERO)
        .with_max_backoff(Duration::ZERO);
    Courier::new(Spool::open(dir, SMALL).unwrap(), Vec::new(), policy, NOW, 0)
}

fn message_id(body: &[u8]) -> String {
    let report: serde_json::Value = serde_json::from_slice(body).unwrap();
    report["message_id"].as_str().unwrap().to_owned()
}

impl Used {
    /// With reports in several segments, and some letters.
    fn new() -> Self {
        // In memory where there is such a place: it takes many syncs.
        let parent = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let parent = parent.unwrap();
        let dir = parent.path().join("spool");
        let mut used = Used {
            node: open(&dir),
            dir,
            _parent: parent,
            submitted: 0,
            waiting: BTreeSet::new(),
            errors: Vec::new(),
        };
        used.submit(150);
        used.settle(3, Outcome::Refused, 400);
        assert_eq!(used.errors, [""; 0]);
        used
    }

    fn submit(&mut self, count: u32) {
        for _ in 0..count {
            let id = self.submitted.to_string();
            self.submitted += 1;
            let jobs = [Job::new(JobStatus::RUNNING, 1)];
            match self.node.submit(&Report::new(&id, &jobs), NOW, None) {
                Ok(_) => _ = self.waiting.insert(id),
                Err(error) => self.errors.push(error.to_string()),
            }
        }
    }

    fn settle(&mut self, count: u32, outcome: Outcome, status: u16) {
        for _ in 0..count {
            self.node.wake(NOW);
            let (ticket, id) = match self.node.next(NOW) {
                Ok(Step::Send(outgoing)) => (outgoing.ticket, message_id(outgoing.body)),
                Ok(_) => continue,
                Err(error) => {
                    self.errors.push(error.to_string());
                    continue;
                }
            };
            match self
                .node
                .settle(ticket, Event::response(outcome, status), NOW, 0)
            {
                Ok(_) => _ = self.waiting.remove(&id),
                Err(error) => self.errors.push(error.to_string()),
            }
        }
    }

    /// A bit of all that a spool does.
    fn use_it(&mut self) {
        for _ in 0..8 {
            self.submit(10);
            self.settle(10, Outcome::Accepted, 200);
            self.settle(2, Outcome::Refused, 400);
            let flushed = self.node.flush().map_err(|error| error.to_string());
            self.errors.extend(flushed.err());
            let letter = self.node.dead_letter(None).map(|_| ());
            self.errors
                .extend(letter.map_err(|error| error.to_string()).err());
        }
    }

    /// It ends while something stands in its way; the next start says why it is refused, or goes on.
    fn end(&mut self) {
        let other = open(&self.dir.with_file_name("other"));
        drop(std::mem::replace(&mut self.node, other));
        let refused = Spool::open(&self.dir, SMALL).err();
        self.errors.extend(refused.map(|error| error.to_string()));
    }

    /// What stood in the way is gone: all that waits is delivered.
    fn recover(mut self, has_ended: bool) {
        self.errors.clear();
        if has_ended {
            self.node = open(&self.dir);
        }
        self.submit(50);
        while self.node.status().waiting > 0 {
            let before = self.node.status().waiting;
            self.settle(50, Outcome::Accepted, 200);
            assert!(self.node.status().waiting < before, "{:?}", self.errors);
        }
        assert_eq!(self.errors, [""; 0], "afterwards");
        assert_eq!(self.waiting, BTreeSet::new(), "{:?}", self.node.status());
        let counters = self.node.status().counters;
        let lost = (counters.corrupt, counters.letters_dropped);
        assert_eq!(lost, (0, 0), "{counters:?}");
    }

    /// There were errors, and each says what could not be done, with which file of the spool, and why.
    fn assert_told(&self, reasons: &[&str]) {
        assert!(!self.errors.is_empty());
        for error in &self.errors {
            let parent = self.dir.parent().unwrap().to_string_lossy();
            let is_named = error.contains(&*parent);
            let is_told = reasons.iter().any(|reason| error.ends_with(reason));
            assert!(
                error.starts_with("cannot ") && is_named && is_told,
                "{error}"
            );
        }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|e| e == "seg"))
            .collect()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Root may do anything, unless it lays that aside, in this thread.
fn lay_aside_what_root_may() {
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
}

#[test]
fn permissions_that_are_taken_for_a_while() {
    lay_aside_what_root_may();
    for ends in [false, true] {
        for (of_dir, of_files) in [
            (0o000, 0o600),
            (0o500, 0o600),
            (0o700, 0o000),
            (0o700, 0o400),
        ] {
            let mut used = Used::new();
            used.segments()
                .iter()
                .for_each(|path| set_mode(path, of_files));
            set_mode(&used.dir, of_dir);
            used.use_it();
            if ends {
                used.end();
            }
            used.assert_told(&["Permission denied (os error 13)"]);
            set_mode(&used.dir, 0o700);
            used.segments()
                .iter()
                .for_each(|path| set_mode(path, 0o600));
            used.recover(ends);
        }
    }
}

/// Somebody makes a backup of links, as some programs do, and removes it later.
#[test]
fn files_that_have_other_names_for_a_while() {
    for ends in [false, true] {
        let mut used = Used::new();
        let backup = used.dir.with_file_name("backup");
        fs::create_dir(&backup).unwrap();
        for path in used.segments() {
            fs::hard_link(&path, backup.join(path.file_name().unwrap())).unwrap();
        }
        used.use_it();
        if ends {
            used.end();
        }
        used.assert_told(&["it is a file with other names, too (hard links)"]);
        fs::remove_dir_all(&backup).unwrap();
        used.recover(ends);
    }
}

type Make = fn(&Path);

/// What may stand in the place of a file.
const OTHERS: [(&str, Make); 5] = [
    ("directory", |path| fs::create_dir(path).unwrap()),
    ("pipe", |path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }),
    ("socket", |path| drop(UnixListener::bind(path).unwrap())),
    ("link", |path| symlink("../victim", path).unwrap()),
    ("file", |path| fs::write(path, "mine").unwrap()),
];

fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
}

#[test]
fn segments_that_are_moved_away_and_back() {
    for (_, make) in &OTHERS[..4] {
        let mut used = Used::new();
        let away = used.dir.with_file_name("away");
        fs::create_dir(&away).unwrap();
        let segments = used.segments();
        for path in &segments {
            fs::rename(path, away.join(path.file_name().unwrap())).unwrap();
            make(path);
        }
        used.use_it();
        let replaced = "it was removed or replaced while it was open";
        used.assert_told(&[replaced, "it is not a file", "it is a symbolic link"]);
        for path in &segments {
            remove(path);
            fs::rename(away.join(path.file_name().unwrap()), path).unwrap();
        }
        used.recover(false);
    }
}

/// Others have the names of the next segments. They stay as they are; what is made takes another name.
#[test]
fn names_that_are_taken() {
    for (what, make) in OTHERS {
        for ends in [false, true] {
            let mut used = Used::new();
            let victim = used.dir.with_file_name("victim");
            fs::write(&victim, "theirs").unwrap();
            let ids = (2..30).flat_map(|id| ["live", "dead"].map(|prefix| (prefix, id)));
            let paths = ids.map(|(prefix, id)| used.dir.join(format!("{prefix}-{id:08}.seg")));
            let taken: Vec<_> = paths.filter(|path| !path.exists()).collect();
            taken.iter().for_each(|path| make(path));
            used.use_it();
            used.assert_told(&["entity already exists"]);
            if ends {
                used.end();
            }
            for path in &taken {
                let kind = fs::symlink_metadata(path).expect(what).file_type();
                let is_theirs = !kind.is_file() || fs::read(path).unwrap() == b"mine";
                assert!(is_theirs, "{what}, {}", path.display());
                remove(path);
            }
            assert_eq!(fs::read(&victim).unwrap(), b"theirs");
            used.recover(ends);
        }
    }
}

/// A refused report that cannot become a dead letter waits; the state says which file is at fault, since no call fails.
#[test]
fn letters_that_cannot_be_written() {
    let mut used = Used::new();
    let is_letters = |path: &PathBuf| path.to_string_lossy().contains("dead-");
    let letters = used.segments().into_iter().find(is_letters).unwrap();
    let away = used.dir.with_file_name("away");
    fs::rename(&letters, &away).unwrap();
    fs::create_dir(&letters).unwrap();
    used.settle(1, Outcome::Refused, 400);
    assert_eq!(used.errors, [""; 0]);
    let (_, reason) = used.node.status().last_failure.unwrap();
    let name = letters.file_name().unwrap().to_string_lossy();
    let text = reason.text();
    let replaced = "it was removed or replaced while it was open";
    assert!(
        text.contains(&*name) && text.ends_with(replaced),
        "{reason}"
    );
    fs::remove_dir(&letters).unwrap();
    fs::rename(&away, &letters).unwrap();
    used.recover(false);
}

/// A name that something cannot be made under at once: it is said, and another one is taken later.
#[test]
fn directories_with_the_names_of_what_is_in_the_making() {
    let mut used = Used::new();
    let paths = (2..30).map(|id| used.dir.join(format!("live-{id:08}.seg.new")));
    let taken: Vec<_> = paths.collect();
    taken.iter().for_each(|path| fs::create_dir(path).unwrap());
    used.use_it();
    used.assert_told(&["Is a directory (os error 21)"]);
    taken.iter().for_each(|path| fs::remove_dir(path).unwrap());
    used.recover(false);
}

#[test]
fn a_path_that_is_too_long_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let longest = parent.path().join("n".repeat(255));
    drop(open(&longest));
    for path in [
        parent.path().join("n".repeat(256)),
        longest.join("n/".repeat(2100)),
    ] {
        let error = Spool::open(&path, SMALL).unwrap_err().to_string();
        let reason = "File name too long (os error 36)";
        assert!(
            error.starts_with("cannot create ") && error.ends_with(reason),
            "{error}"
        );
    }
}
