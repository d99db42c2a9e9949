//! The spool on real files.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

#[cfg(target_os = "linux")]
mod alone;
mod mount;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod shim;

use edge_report::courier::{Counters, Ticket};
use edge_report::courier::{
    Courier, CourierError, Disposition, Durability, Event, JobKeys, Outbox, OutboxError, Policy,
    RamOutbox, Reason, Step, WhenLettersFull,
};
use edge_report::{
    Code, Job, JobStatus, MonoTime, Outcome, Report, Spool, SpoolError, SpoolOptions,
};
use mount::Mount;
use tempfile::TempDir;

type Node = Courier<Spool, Vec<u8>>;
type Failure = CourierError<<Spool as Outbox>::Error>;

const NOW: MonoTime = MonoTime::from_ms(1000);

/// Some segments of 4 KiB, some 35 reports in each.
const SMALL: SpoolOptions = SpoolOptions::new()
    .with_max_bytes(64 * 1024)
    .with_segment_bytes(4096)
    .with_dead_letter_bytes(64 * 1024);

fn place() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("spool");
    (parent, dir)
}

/// In memory where there is such a place: for what takes many syncs.
fn quick_place() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let dir = parent.path().join("spool");
    (parent, dir)
}

fn node(spool: Spool) -> Node {
    let policy = Policy::default()
        .with_start_spread(Duration::ZERO)
        .with_min_backoff(Duration::ZERO)
        .with_max_backoff(Duration::ZERO);
    Courier::new(spool, Vec::new(), policy, NOW, 0)
}

fn open(dir: &Path, limits: SpoolOptions) -> Node {
    node(Spool::open(dir, limits).unwrap())
}

/// Why it does not open, as people read it.
fn refusal(dir: &Path) -> String {
    Spool::open(dir, SMALL).unwrap_err().to_string()
}

/// A report that nothing supersedes, since its job has no id.
fn submit(node: &mut Node, message_id: &str) -> Result<Ticket, Failure> {
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201)];
    node.submit(&Report::new(message_id, &jobs), NOW, None)
}

fn submit_all(node: &mut Node, message_ids: std::ops::Range<usize>) {
    for number in message_ids {
        submit(node, &number.to_string()).unwrap();
    }
}

fn answered(outcome: Outcome, status: u16) -> Event {
    Event::response(outcome, status)
}

fn message_id(body: &[u8]) -> String {
    let report: serde_json::Value = serde_json::from_slice(body).unwrap();
    report["message_id"].as_str().unwrap().to_owned()
}

/// Delivers the next report, and says which one it was.
fn settle(node: &mut Node, event: Event) -> Option<String> {
    // Refusals in a row have waits between them.
    node.wake(NOW);
    let Step::Send(outgoing) = node.next(NOW).unwrap() else {
        return None;
    };
    let (ticket, id) = (outgoing.ticket, message_id(outgoing.body));
    let _ = node.settle(ticket, event, NOW, 0).unwrap();
    Some(id)
}

fn deliver(node: &mut Node) -> Option<String> {
    settle(node, answered(Outcome::Accepted, 200))
}

fn drain(node: &mut Node) -> Vec<String> {
    std::iter::from_fn(|| deliver(node)).collect()
}

fn numbers(range: impl IntoIterator<Item = usize>) -> Vec<String> {
    range.into_iter().map(|number| number.to_string()).collect()
}

fn counters([submitted, delivered, refused, letters]: [u64; 4]) -> Counters {
    let mut counters = Counters::default();
    counters.submitted = submitted;
    counters.delivered = delivered;
    counters.refused = refused;
    counters.letters = letters;
    counters
}

/// What the counters promise.
fn assert_adds_up(node: &Node) {
    let status = node.status();
    let Counters {
        submitted,
        delivered,
        refused,
        superseded,
        expired,
        corrupt,
        ..
    } = status.counters;
    assert_eq!(
        submitted,
        delivered + refused + superseded + expired + corrupt + status.waiting,
        "{status:?}"
    );
}

/// The segments of a kind, in order.
fn segments(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    });
    found.sort_unstable();
    found
}

fn bytes_of(paths: &[PathBuf]) -> u64 {
    paths
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum()
}

/// Name and bytes of all files.
fn contents(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| (file.file_name(), fs::read(file.path()).unwrap()))
        .collect()
}

#[test]
#[cfg(unix)]
fn everything_is_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let (_parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..100);
    settle(&mut node, answered(Outcome::Refused, 400)).unwrap();
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let names = |prefix| segments(&dir, prefix).len();
    assert!(
        names("live-") > 2 && names("dead-") == 1 && names("owner") == 1,
        "{files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    drop(node);
    assert_eq!(segments(&dir, "owner").len(), 0);
}

#[test]
#[cfg(unix)]
fn a_directory_that_others_may_use_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    let before = contents(&dir);
    let chmod = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    for (mode, may) in [
        (0o770, "read and written"),
        (0o720, "written"),
        (0o755, "read"),
    ] {
        chmod(mode);
        let error = Spool::open(&dir, SMALL).unwrap_err();
        assert_eq!(error.code(), Code::SpoolDirectory);
        let text = format!(
            "the spool {dir} may be {may} by others than its owner (mode {mode:04o}): chmod 700 {dir}",
            dir = dir.display()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(contents(&dir), before);
    }
    // What the error says helps.
    let text = refusal(&dir);
    let (_, mend) = text.rsplit_once(": ").unwrap();
    let shell = Command::new("sh").args(["-c", mend]).status().unwrap();
    assert!(shell.success());
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
}

#[test]
#[cfg(unix)]
fn a_directory_of_somebody_else_is_refused() {
    use std::os::unix::fs::{chown, symlink};
    let (parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    let link = parent.path().join("link");
    symlink(&dir, &link).unwrap();
    // A link that ends in a slash is a link, too.
    for link in [link.clone(), link.join(""), link.join(".")] {
        let error = Spool::open(&link, SMALL).unwrap_err();
        assert_eq!(error.code(), Code::SpoolDirectory, "{error}");
        let text = error.to_string();
        assert!(
            text.ends_with("is a symbolic link: name the directory that it points to"),
            "{text}"
        );
    }
    // Only root can give it away.
    if chown(&dir, Some(65534), None).is_ok() {
        let error = Spool::open(&dir, SMALL).unwrap_err();
        assert_eq!(error.code(), Code::SpoolDirectory);
        let text = format!(
            "the spool {dir} belongs to user 65534, and this process runs as user 0: run it as user 65534, or chown -R 0 {dir}",
            dir = dir.display()
        );
        assert_eq!(error.to_string(), text);
        chown(&dir, Some(0), None).unwrap();
        let segment = segments(&dir, "live-").remove(0);
        chown(&segment, Some(65534), None).unwrap();
        let text = refusal(&dir);
        assert!(text.ends_with("it is a file of user 65534"), "{text}");
        chown(&segment, Some(0), None).unwrap();
    }
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
}

/// As somebody could have put them there before the directory was closed to others.
#[test]
#[cfg(unix)]
fn planted_links_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let (parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..3);
    let victim = parent.path().join("victim");
    fs::write(&victim, "theirs").unwrap();
    for id in 2..40 {
        symlink(&victim, dir.join(format!("live-{id:08}.seg.new"))).unwrap();
    }
    submit_all(&mut node, 3..200);
    assert!(
        segments(&dir, "live-0")
            .iter()
            .all(|path| !path.ends_with(".seg") || path.is_file())
    );
    drop(node);
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..200));
    assert!(
        segments(&dir, "live-0")
            .iter()
            .all(|path| !path.is_symlink())
    );

    for (name, link) in [
        ("live-00000099.seg", true),
        ("dead-00000099.seg", false),
        ("owner", true),
    ] {
        let path = dir.join(name);
        let what = if link {
            symlink(&victim, &path).unwrap();
            "a symbolic link"
        } else {
            fs::hard_link(&victim, &path).unwrap();
            "a file with other names, too (hard links)"
        };
        let text = format!("cannot use {name} in {}: it is {what}", dir.display());
        assert_eq!(refusal(&dir), text);
        fs::remove_file(&path).unwrap();
    }
    // A link to where nothing is makes nothing there.
    let nowhere = parent.path().join("nowhere");
    symlink(&nowhere, dir.join("owner")).unwrap();
    refusal(&dir);
    fs::remove_file(dir.join("owner")).unwrap();
    open(&dir, SMALL);
    assert!(!nowhere.exists());
    assert_eq!(fs::read(&victim).unwrap(), b"theirs");
}

#[test]
fn one_process_at_a_time() {
    let (_parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..3);
    let error = Spool::open(&dir, SMALL).unwrap_err();
    assert!(
        matches!(&error, SpoolError::Locked { dir: found, .. } if *found == dir),
        "{error:?}"
    );
    let text = |by: &str| {
        format!(
            "the spool {} is in use{by}: only one process at a time can have it open",
            dir.display()
        )
    };
    if cfg!(unix) {
        assert_eq!(error.to_string(), text(" by this process"));
        let process = format!(" by process {}", std::process::id());
        assert_eq!(child("open", &dir), text(&process));
        // Removing a file lets nobody in.
        fs::remove_file(dir.join("owner")).unwrap();
        assert_eq!(child("open", &dir), text(""));
        // Not even one that calls itself the owner.
        fs::write(dir.join("owner"), "{\"pid\":0}").unwrap();
        assert_eq!(child("open", &dir), text(""));
    }

    submit_all(&mut node, 3..5);
    drop(node);
    assert_eq!(child("open", &dir), "5 wait");
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..5));
}

/// A program without `flock` that follows docs/spool-directory.md.
#[test]
#[cfg(target_os = "linux")]
fn another_kind_of_program_keeps_it_out() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = other.id();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let owner = serde_json::json!({
        "pid": pid,
        "start_time": fields.split(' ').nth(19).unwrap().parse::<u64>().unwrap(),
        "boot_id": fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim(),
    });
    fs::write(dir.join("owner"), owner.to_string()).unwrap();
    let text = format!(
        "the spool {} is in use by process {pid}: only one process at a time can have it open",
        dir.display()
    );
    for _ in 0..2 {
        assert_eq!(refusal(&dir), text);
    }
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
    assert_eq!(segments(&dir, "owner").len(), 0);
}

#[test]
#[cfg(unix)]
fn a_forked_child_does_no_harm() {
    let (_parent, dir) = place();
    assert_eq!(child("fork", &dir), "done");
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..6));
}

#[test]
#[cfg(unix)]
fn what_vanished_is_no_acknowledgement() {
    // The segment that is written: removed, away from the directory, another in its place.
    let replace = |path: &Path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    };
    let ways: [&dyn Fn(&Path); 3] = [
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::rename(path, path.with_extension("old")).unwrap(),
        &replace,
    ];
    for vanish in ways {
        let (_parent, dir) = place();
        let mut node = open(&dir, SMALL);
        submit_all(&mut node, 0..3);
        vanish(&segments(&dir, "live-").pop().unwrap());
        let error = submit(&mut node, "3").unwrap_err();
        let CourierError::Outbox(OutboxError::Device(io)) = &error else {
            panic!("{error}");
        };
        assert!(io.is_missing(), "{error}");
    }

    // All of it.
    let (parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..3);
    fs::remove_dir_all(&dir).unwrap();
    for _ in 0..100 {
        submit(&mut node, "3").unwrap_err();
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn a_file_of_absurd_length_is_left_alone() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    let absurd = dir.join("live-00000077.seg");
    let file = fs::File::create_new(&absurd).unwrap();
    if file.set_len(8 << 30).is_err() {
        println!("not run: no room for a file of 8 GiB with nothing in it");
        return;
    }
    drop(file);
    let begin = Instant::now();
    let spool = Spool::open(&dir, SMALL).unwrap();
    assert!(begin.elapsed().as_millis() < 1000, "{:?}", begin.elapsed());
    assert_eq!(spool.foreign_files(), std::slice::from_ref(&absurd));
    assert_eq!(drain(&mut node(spool)), numbers(0..3));
    assert_eq!(fs::metadata(&absurd).unwrap().len(), 8 << 30);
}

#[test]
fn a_killed_process_leaves_no_lock() {
    let (_parent, dir) = place();
    assert_eq!(child("abort", &dir), "3 wait");
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
}

/// For a while the process can open no file: however often it looks for the next report meanwhile, nothing is given up.
#[cfg(target_os = "linux")]
#[test]
fn too_many_open_files_cost_no_report() {
    let (_parent, dir) = place();
    assert_eq!(
        child("run out of files", &dir),
        "200 of 200 in order, 0 corrupt"
    );
}

#[test]
fn all_of_it_is_there_after_a_restart() {
    let (_parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..100);
    for expected in 0..30 {
        assert_eq!(deliver(&mut node), Some(expected.to_string()));
    }
    for (number, status) in [(30, 400), (31, 413)] {
        let refused = settle(&mut node, answered(Outcome::Refused, status));
        assert_eq!(refused, Some(number.to_string()));
    }
    let before = (node.status().counters, node.status().waiting);
    assert_eq!(before, (counters([100, 30, 2, 2]), 68));
    drop(node);

    for round in 0..3 {
        let mut node = open(&dir, SMALL);
        assert_eq!(
            (node.status().counters, node.status().waiting),
            before,
            "{round}"
        );
        let (letter, report) = node.dead_letter(None).unwrap().unwrap();
        let first = letter.ticket;
        assert_eq!(
            (first, letter.reason),
            (Ticket(31), Reason::response(Outcome::Refused, 400))
        );
        assert_eq!(message_id(report), "30");
        let (letter, report) = node.dead_letter(Some(first)).unwrap().unwrap();
        let second = letter.ticket;
        assert_eq!(
            (second, letter.reason),
            (Ticket(32), Reason::response(Outcome::Refused, 413))
        );
        assert_eq!(message_id(report), "31");
        assert!(node.dead_letter(Some(second)).unwrap().is_none());
    }

    let mut node = open(&dir, SMALL);
    assert_eq!(submit(&mut node, "100").unwrap(), Ticket(101));
    assert_eq!(
        node.resubmit_dead_letter(None, NOW, None).unwrap(),
        Some(Ticket(102))
    );
    drop(node);
    let mut node = open(&dir, SMALL);
    assert_eq!(drain(&mut node), numbers((32..101).chain([30])));
    assert_eq!(
        node.dead_letter(None).unwrap().unwrap().0.ticket,
        Ticket(32)
    );
    assert_adds_up(&node);
    drop(node);
    let node = open(&dir, SMALL);
    assert_eq!(node.status().counters, counters([102, 100, 2, 1]));
    assert_eq!(
        segments(&dir, "live-").len(),
        1,
        "what is delivered is reclaimed"
    );
}

#[test]
fn limits_may_change_between_starts() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SpoolOptions::default()), 0..200);
    let mut smaller = SMALL.with_max_bytes(16 * 1024);
    smaller.segment_bytes = None;
    let mut node = open(&dir, smaller);
    assert_eq!(node.outbox().foreign_segments(), 0);
    assert_eq!(node.status().waiting, 200);
    let first = segments(&dir, "live-");
    // The segment in use has 1 MiB.
    submit_all(&mut node, 200..300);
    assert_eq!(segments(&dir, "live-"), first);
    drop(node);
    let mut node = open(
        &dir,
        SMALL.with_max_bytes(1 << 20).with_segment_bytes(128 * 1024),
    );
    submit_all(&mut node, 300..400);
    assert_eq!(drain(&mut node), numbers(0..400));
}

#[test]
fn limits_that_do_not_fit_are_refused() {
    let (_parent, dir) = place();
    for (limits, allowed) in [
        (SpoolOptions::default(), true),
        (SpoolOptions::default().with_max_bytes(16 * 1024), true),
        (SpoolOptions::default().with_max_bytes(16 * 1024 - 1), false),
        (SpoolOptions::default().with_max_bytes(0), false),
        (SpoolOptions::default().with_dead_letter_bytes(0), false),
        (
            SpoolOptions::default().with_dead_letter_bytes(16 * 1024),
            true,
        ),
        (SpoolOptions::default().with_segment_bytes(1 << 20), true),
        (
            SpoolOptions::default().with_segment_bytes((1 << 20) - 4096),
            false,
        ),
        (SpoolOptions::default().with_segment_bytes(16 << 20), true),
        (
            SpoolOptions::default().with_segment_bytes((16 << 20) + 1),
            false,
        ),
        (SMALL.with_segment_bytes(0), false),
        (SMALL.with_segment_bytes(1), true),
        (SMALL.with_segment_bytes(u64::MAX), false),
        (
            SMALL.with_max_bytes(u64::MAX).with_segment_bytes(u64::MAX),
            false,
        ),
    ] {
        match Spool::open(&dir, limits) {
            Ok(_) => assert!(allowed, "{limits:?}"),
            Err(error) => assert!(
                !allowed && matches!(error, SpoolError::Options(_)),
                "{limits:?}: {error}"
            ),
        }
    }
}

#[test]
fn what_an_option_lacks_is_said() {
    let (_parent, dir) = place();
    for (options, text) in [
        (
            SpoolOptions::new().with_max_bytes(100),
            "max_bytes is 100; 16384 or more is needed",
        ),
        (
            SpoolOptions::new().with_dead_letter_bytes(16_383),
            "dead_letter_bytes is 16383; 16384 or more is needed",
        ),
        (
            SpoolOptions::new().with_segment_bytes(5000),
            "segment_bytes is 5000; 1048576 to 16777216, a 64th to a quarter of max_bytes, is needed",
        ),
    ] {
        let error = Spool::open(&dir, options).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_report_larger_than_a_segment_gets_a_larger_one() {
    let (_parent, dir) = place();
    let mut node = open(&dir, SMALL);
    let metrics = "m".repeat(20_000);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_metrics(&metrics)];
    node.submit(&Report::new("large", &jobs), NOW, None)
        .unwrap();
    submit_all(&mut node, 0..3);
    let metrics = "m".repeat(65_536);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_metrics(&metrics)];
    let refused = node.submit(&Report::new("too large", &jobs), NOW, None);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the report is larger than the outbox"
    );
    assert!(bytes_of(&segments(&dir, "live-")) < 32 * 1024);
    drop(node);
    assert_eq!(drain(&mut open(&dir, SMALL)), ["large", "0", "1", "2"]);
}

#[test]
fn a_missing_parent_is_named() {
    let (_parent, dir) = place();
    let error = refusal(&dir.join("a"));
    let text = format!(
        "cannot create a in {}: No such file or directory (os error 2)",
        dir.display()
    );
    assert_eq!(error, text);
    assert!(!dir.exists());
    assert!(
        refusal(Path::new("")).starts_with("cannot find : "),
        "{}",
        refusal(Path::new(""))
    );
}

#[test]
fn a_file_in_place_of_the_directory_is_named() {
    let (_parent, dir) = place();
    fs::write(&dir, "mine").unwrap();
    let text = format!(
        "cannot open spool in {}: Not a directory (os error 20)",
        dir.parent().unwrap().display()
    );
    assert_eq!(refusal(&dir), text);
    assert_eq!(fs::read(&dir).unwrap(), b"mine");
}

#[test]
fn a_directory_without_permission_is_named() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    // The kernel's own directory refuses even root.
    #[cfg(target_os = "linux")]
    {
        let error = refusal(Path::new("/proc/sys/spool"));
        assert!(
            error.starts_with("cannot create spool in /proc/sys: "),
            "{error}"
        );
    }
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
}

#[test]
fn a_read_only_file_system_is_named() {
    let Some(disk) = mount_alone("size=1m") else {
        return;
    };
    let dir = disk.0.path().join("spool");
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..3);
    drop(node);
    disk.run("mount", &["-o", "remount,ro"]);
    let before = contents(&dir);
    let text = format!(
        "cannot create owner in {}: Read-only file system (os error 30)",
        dir.display()
    );
    assert_eq!(refusal(&dir), text);
    assert_eq!(contents(&dir), before);
    disk.run("mount", &["-o", "remount,rw"]);
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..3));
}

#[test]
fn a_directory_in_place_of_a_segment_is_named() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..100);
    let before = contents(&dir);
    for segment in segments(&dir, "live-") {
        let (name, away) = (
            segment.file_name().unwrap().to_str().unwrap(),
            dir.join("away"),
        );
        fs::rename(&segment, &away).unwrap();
        fs::create_dir(&segment).unwrap();
        let text = format!("cannot use {name} in {}: it is not a file", dir.display());
        assert_eq!(refusal(&dir), text);
        fs::remove_dir(&segment).unwrap();
        fs::rename(&away, &segment).unwrap();
        assert_eq!(contents(&dir), before);
    }
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(0..100));
}

/// Whatever is cut off: it opens, the rest is there in order, the counters adds up, and it goes on.
#[test]
fn a_segment_cut_short_costs_what_was_cut_off() {
    const REPORTS: usize = 100;
    let (_parent, dir) = quick_place();
    submit_all(&mut open(&dir, SMALL), 0..REPORTS);
    let before = contents(&dir);
    let paths = segments(&dir, "live-");
    assert!(paths.len() > 2);
    for (index, path) in paths.iter().enumerate() {
        for len in (0..4096).step_by(if index == 1 { 61 } else { 509 }) {
            for file in segments(&dir, "") {
                fs::remove_file(file).unwrap();
            }
            for (name, bytes) in &before {
                fs::write(dir.join(name), bytes).unwrap();
            }
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(len)
                .unwrap();
            // What stands whole in the files, in the order of their names.
            let kept: Vec<_> = numbers(0..REPORTS)
                .into_iter()
                .filter(|id| {
                    let id = format!("\"{id}\"");
                    let whole = |bytes: &[u8]| {
                        bytes
                            .windows(id.len())
                            .position(|part| part == id.as_bytes())
                    };
                    paths
                        .iter()
                        .any(|file| whole(&fs::read(file).unwrap()).is_some())
                })
                .collect();
            let at = format!("{path:?} cut to {len}");

            let mut node = open(&dir, SMALL);
            submit(&mut node, "new").expect(&at);
            assert_adds_up(&node);
            drop(node);
            let mut node = open(&dir, SMALL);
            let mut delivered = drain(&mut node);
            assert_eq!(delivered.pop().as_deref(), Some("new"), "{at}");
            assert_adds_up(&node);
            // The report at the cut is lost, though its name may stand in front of it.
            let lost = kept.iter().filter(|id| !delivered.contains(id)).count();
            assert!(lost <= 1, "{at}: {kept:?} {delivered:?}");
            assert!(
                delivered.iter().all(|id| kept.contains(id)),
                "{at}: {kept:?} {delivered:?}"
            );
            assert!(
                delivered.is_sorted_by_key(|id| id.parse::<usize>().unwrap()),
                "{at}: {delivered:?}"
            );
            let counters = node.status().counters;
            assert_eq!(counters.delivered, delivered.len() as u64 + 1, "{at}");
        }
    }
}

#[test]
fn files_of_others_are_left_alone_and_leftovers_are_removed() {
    let (_parent, dir) = place();
    submit_all(&mut open(&dir, SMALL), 0..3);
    let foreign = [
        "notes.txt",
        "live-1.seg",
        "live-00000009.seg.bak",
        "alive-00000009.seg",
        "live-00000009",
        "other.new",
        "live-x.seg.new",
    ];
    for name in foreign {
        fs::write(dir.join(name), "mine").unwrap();
    }
    fs::create_dir(dir.join("backup")).unwrap();
    let leftovers = ["live-00000009.seg.new", "dead-00000001.seg.new"].map(|name| dir.join(name));
    for path in &leftovers {
        fs::write(path, [0; 512]).unwrap();
    }
    let mut node = open(&dir, SMALL);
    assert!(leftovers.iter().all(|path| !path.exists()));
    assert_eq!(drain(&mut node), numbers(0..3));
    drop(node);
    for name in foreign {
        assert_eq!(fs::read(dir.join(name)).unwrap(), b"mine", "{name}");
    }
    assert!(dir.join("backup").is_dir());
}

/// Bytes of a segment's header: it stands at the beginning and once more at the end.
const HEADER: usize = 160;

/// Makes both headers of a segment those of another version of the format.
fn of_version(version: u16, bytes: &mut [u8]) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let last = bytes.len() - HEADER;
    for at in [0, last] {
        let header = &mut bytes[at..at + HEADER];
        header[6..8].copy_from_slice(&version.to_le_bytes());
        if version == 1 {
            // It had 96 bytes.
            let sum = crc.checksum(&header[..92]);
            header[92..96].copy_from_slice(&sum.to_le_bytes());
            continue;
        }
        // The checksum begins with which segment it is of which log.
        let mut digest = crc.digest();
        digest.update(&header[8..20]);
        digest.update(&header[20..24]);
        // Where a record stands; 0 for a header.
        digest.update(&[0; 8]);
        digest.update(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&digest.finalize().to_le_bytes());
    }
}

#[test]
fn another_format_is_refused_and_not_touched() {
    let (_parent, dir) = place();
    let mut node = open(&dir, SMALL);
    submit_all(&mut node, 0..100);
    settle(&mut node, answered(Outcome::Refused, 400)).unwrap();
    drop(node);
    fs::write(dir.join("live-00000099.seg.new"), "leftover").unwrap();
    let original = contents(&dir);
    for path in [segments(&dir, "live-0"), segments(&dir, "dead-")].concat() {
        if path.extension().unwrap() == "new" {
            continue;
        }
        for other in [1, 3] {
            let mut bytes = fs::read(&path).unwrap();
            of_version(other, &mut bytes);
            fs::write(&path, bytes).unwrap();
            let before = contents(&dir);
            let error = Spool::open(&dir, SMALL).map(drop).unwrap_err();
            assert!(
                matches!(&error, SpoolError::Version { version, .. } if *version == other),
                "{path:?}: {error:?}"
            );
            let text = format!(
                "the spool {} was written in another format ({other})",
                dir.display()
            );
            assert_eq!(error.to_string(), text);
            assert_eq!(contents(&dir), before);
            fs::write(&path, &original[path.file_name().unwrap()]).unwrap();
        }
        // So it is the version that is refused.
        let mut bytes = fs::read(&path).unwrap();
        of_version(2, &mut bytes);
        assert_eq!(bytes, original[path.file_name().unwrap()]);
    }
    assert_eq!(drain(&mut open(&dir, SMALL)), numbers(1..100));
}

/// A disk of 256 KiB for a spool of 1 MiB.
#[test]
fn a_full_disk_is_said_and_overcome() {
    let Some(disk) = mount_alone("size=256k") else {
        return;
    };
    let dir = disk.0.path().join("spool");
    let limits = SMALL.with_max_bytes(1 << 20).with_segment_bytes(32 * 1024);
    let mut node = open(&dir, limits);
    let mut next = 0;
    for round in 0..3 {
        // Twice it is opened again while the disk is full.
        let (first, mut failures) = (node.status().waiting, 0);
        while failures < 3 {
            match submit(&mut node, &next.to_string()) {
                Ok(_) => next += 1,
                Err(error) => {
                    failures += 1;
                    let text = error.to_string();
                    assert!(
                        matches!(error, CourierError::Outbox(OutboxError::Device(_))),
                        "{text}"
                    );
                    assert!(text.starts_with("cannot fill live-"), "{text}");
                    assert!(
                        text.ends_with("No space left on device (os error 28)"),
                        "{text}"
                    );
                    assert!(
                        segments(&dir, "")
                            .iter()
                            .all(|path| path.extension().is_none_or(|e| e != "new"))
                    );
                }
            }
        }
        assert!(node.status().waiting > first + 500, "{:?}", node.status());
        if round > 0 {
            drop(node);
            node = open(&dir, limits);
        }
        assert_adds_up(&node);
        let waiting = usize::try_from(node.status().waiting).unwrap();
        // One is refused: there may be no room for it among the dead letters, and it must not stop the others.
        let refused = settle(&mut node, answered(Outcome::Refused, 400));
        assert_eq!(refused, Some((next - waiting).to_string()));
        assert_eq!(drain(&mut node), numbers(next - waiting + 1..next));
        assert_adds_up(&node);
        assert_eq!(node.status().counters.corrupt, 0);
    }
    println!("{next} reports through a disk of 256 KiB, filled three times");
}

/// What is delivered is noted also when the disk and the segment in use are full: a restart sends some of it again, not all.
#[test]
fn progress_on_a_full_disk_survives_a_kill() {
    let Some(disk) = mount_alone("size=256k") else {
        return;
    };
    let dir = disk.0.path().join("spool");
    let mut node = open(&dir, LARGER);
    let mut stored = 0;
    while submit(&mut node, &stored.to_string()).is_ok() {
        stored += 1;
    }
    drop(node);
    let mut waits = stored;
    for _ in 0..3 {
        assert_eq!(child("deliver", &dir), "200 delivered");
        let now = usize::try_from(open(&dir, LARGER).status().waiting).unwrap();
        // As many as may be forgotten, and one more segment's worth.
        assert!(
            now + 100 <= waits,
            "{now} wait of {waits}, and 200 more were delivered"
        );
        waits = now;
    }
}

/// Whatever gets free on the disk somebody else takes at once, and each run delivers a few: all is delivered, and nothing twice.
#[test]
fn a_few_at_a_time_leave_a_full_disk() {
    for task in ["deliver 20", "deliver 20 and be killed"] {
        let Some(disk) = mount_alone("size=256k") else {
            return;
        };
        let mut others = File::create(disk.0.path().join("others")).unwrap();
        let mut take_all = || while others.write_all(&[7; 4096]).is_ok() {};
        let dir = disk.0.path().join("spool");
        let mut node = open(&dir, LARGER);
        let mut stored = 0;
        while submit(&mut node, &stored.to_string()).is_ok() {
            stored += 1;
        }
        take_all();
        drop(node);
        let mut waits = stored as u64;
        while waits > 0 {
            child(task, &dir);
            take_all();
            waits = waits.saturating_sub(20);
            let now = open(&dir, LARGER).status().waiting;
            assert_eq!(now, waits, "{task}, {stored} stored");
        }
        // What was freed is for others, and what they free is for reports.
        let mut node = open(&dir, LARGER);
        assert!(submit(&mut node, "more").is_err());
        others.set_len(0).unwrap();
        submit(&mut node, "more").unwrap();
        assert_eq!(drain(&mut node), ["more"]);
        assert_adds_up(&node);
        assert!(bytes_of(&segments(&dir, "live-")) <= 2 * 32 * 1024);
        println!("{stored} reports, twenty at a time: {task}");
    }
}

/// A spool that has filled a disk, of which others took what was left over, and what has the names of others.
fn on_a_full_disk(disk: &Mount, limits: SpoolOptions) -> (PathBuf, PathBuf) {
    let (dir, others) = (disk.0.path().join("spool"), disk.0.path().join("others"));
    let mut node = open(&dir, limits);
    (0..).find(|n| submit(&mut node, &n.to_string()).is_err());
    File::create(&others).unwrap();
    (dir, others)
}

fn take_all(others: &Path) {
    let mut others = File::options().append(true).open(others).unwrap();
    while others.write_all(&[7; 4096]).is_ok() {}
}

/// Runs deliver a few reports each, and are killed: each must begin where the one before ended.
fn assert_none_is_sent_again(dir: &Path, others: &Path, runs: usize, what: &str) {
    let mut next = None;
    for _ in 0..runs {
        take_all(others);
        let said = child("deliver 20 and be killed", dir);
        let first: usize = said.parse().unwrap();
        assert!(
            next.is_none_or(|next| next == first),
            "{first} after {next:?}, {what}"
        );
        next = Some(first + 20);
    }
}

/// On a disk of which others take whatever gets free each call fails once, or is the last one before a kill: later runs note what they deliver.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn no_fault_loses_a_spare() {
    let Some(disk) = mount_alone("size=256k") else {
        return;
    };
    let (dir, others) = on_a_full_disk(&disk, LARGER);
    assert_none_is_sent_again(&dir, &others, 2, "at first");
    let files = contents(&dir);
    let place = tempfile::tempdir().unwrap();
    let library = shim::shim("fault", place.path());
    for kills in [true, false] {
        for at in 1.. {
            File::create(&others).unwrap();
            contents(&dir)
                .keys()
                .for_each(|name| fs::remove_file(dir.join(name)).unwrap());
            files
                .iter()
                .for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
            take_all(&others);
            let mut faulty = task("deliver 20 and be killed", &dir);
            faulty
                .env("LD_PRELOAD", &library)
                .env("SHIM_ROOT", &dir)
                .env("SHIM_OTHERS", &others)
                .env("SHIM_AT", at.to_string());
            if kills {
                faulty.env("SHIM_KILLS", "1");
            }
            let output = faulty.output().unwrap();
            let what = format!("call {at}, {}", if kills { "killed" } else { "failed" });
            assert_none_is_sent_again(&dir, &others, 3, &what);
            // All of the calls were hit, when one run was not killed by it.
            if kills && String::from_utf8_lossy(&output.stdout).contains("says: ") || at == 60 {
                println!("{at} calls");
                break;
            }
        }
    }
}

/// Spares are mended, whatever somebody did to them, and whatever limits they were made for; what is none is left alone.
#[test]
#[cfg(unix)]
fn spares_are_mended_and_others_left_alone() {
    let mut larger_later = LARGER.with_max_bytes(16 * 1024);
    larger_later.segment_bytes = None;
    type Spoil = fn(&Path, &Path);
    let spoils: [(&str, SpoolOptions, Spoil); 8] = [
        ("larger limits", larger_later, |_, _| {}),
        ("link", LARGER, |spare, others| {
            fs::remove_file(spare).unwrap();
            std::os::unix::fs::symlink(others, spare).unwrap();
        }),
        ("directory", LARGER, |spare, _| {
            fs::remove_file(spare).unwrap();
            fs::create_dir(spare).unwrap();
        }),
        ("empty", LARGER, |spare, _| fs::write(spare, []).unwrap()),
        ("longer", LARGER, |spare, _| {
            fs::write(spare, [0; 8192]).unwrap()
        }),
        ("other bytes", LARGER, |spare, _| {
            fs::write(spare, [7; 4096]).unwrap()
        }),
        ("hard link", LARGER, |spare, others| {
            fs::hard_link(spare, others.with_file_name("twin")).unwrap();
        }),
        ("directory", LARGER, |spare, _| {
            fs::create_dir(spare.with_extension("new")).unwrap();
        }),
    ];
    for (what, before, spoil) in spoils {
        for name in ["spare-live-1", "spare-live-2"] {
            let Some(disk) = mount_alone("size=256k") else {
                return;
            };
            let (dir, others) = on_a_full_disk(&disk, before);
            spoil(&dir.join(name), &others);
            let kept = others.with_file_name("twin");
            let twin = fs::read(&kept).ok();
            let mut node = open(&dir, LARGER);
            (1000..).find(|n| submit(&mut node, &n.to_string()).is_err());
            drop(node);
            if what == "larger limits" {
                // The names have a gap after the few from before.
                (0..6).for_each(|_| _ = child("deliver 20 and be killed", &dir));
            }
            assert_none_is_sent_again(&dir, &others, 5, &format!("{what}, {name}"));
            assert_eq!(fs::read(&kept).ok(), twin);
            assert!(fs::read(&others).unwrap().iter().all(|byte| *byte == 7));
        }
    }
}

/// There is room for one segment, and no more.
#[test]
fn the_only_segment_of_a_full_disk_is_used_again() {
    let Some(disk) = mount_alone("size=256k") else {
        return;
    };
    let mut others = File::create(disk.0.path().join("others")).unwrap();
    let dir = disk.0.path().join("spool");
    let mut node = open(&dir, LARGER);
    submit(&mut node, "0").unwrap();
    while others.write_all(&[7; 4096]).is_ok() {}
    for round in 0..20 {
        let mut stored = 0;
        while submit(&mut node, "1").is_ok() {
            stored += 1;
        }
        assert!(stored > 100, "{stored} in round {round}");
        drain(&mut node);
        if round % 2 == 0 {
            node.close().unwrap();
            drop(node);
            node = open(&dir, LARGER);
        }
    }
    assert_adds_up(&node);
}

/// Larger than the small disk.
const LARGER: SpoolOptions = SMALL.with_max_bytes(1 << 20).with_segment_bytes(32 * 1024);

#[test]
fn the_bound_is_kept() {
    let (_parent, dir) = quick_place();
    let limits = SpoolOptions::new()
        .with_max_bytes(256 * 1024)
        .with_segment_bytes(16 * 1024)
        .with_dead_letter_bytes(64 * 1024)
        .with_durability(Durability::batch(100, Duration::from_secs(1)));
    let most = limits.max_bytes + limits.segment_bytes.unwrap();
    let mut node = open(&dir, limits);
    let (mut largest, mut largest_dead, mut full) = (0, 0, 0u32);
    for number in 0..20_000u32 {
        let id = number.to_string();
        // Some can be superseded, some cannot.
        let job = Job::new(JobStatus::RUNNING, 1_591_104_868_201);
        let jobs = [if number % 3 == 0 {
            job
        } else {
            job.with_job_id(i64::from(number % 5) + 1)
        }];
        let report = Report::new(&id, &jobs);
        while let Err(error) = node.submit(&report, NOW, None) {
            assert_eq!(error.to_string(), "the outbox is full");
            full += 1;
            for _ in 0..=number % 300 {
                let refuse = number % 7 == 0;
                let event = if refuse {
                    answered(Outcome::Refused, 400)
                } else {
                    answered(Outcome::Accepted, 200)
                };
                settle(&mut node, event);
            }
        }
        largest = largest.max(bytes_of(&segments(&dir, "live-")));
        largest_dead = largest_dead.max(bytes_of(&segments(&dir, "dead-")));
        if number % 1000 == 999 {
            assert_adds_up(&node);
            drop(node);
            node = open(&dir, limits);
            assert_adds_up(&node);
        }
    }
    assert!(
        (limits.max_bytes / 2..=most).contains(&largest),
        "{largest}"
    );
    assert!(
        (1..=limits.dead_letter_bytes).contains(&largest_dead),
        "{largest_dead}"
    );
    drain(&mut node);
    assert_adds_up(&node);
    let counters = node.status().counters;
    assert!(
        full > 10 && counters.superseded > 1000 && counters.refused > 100,
        "{counters:?}"
    );
    println!(
        "20,000 reports, {full} times full: {largest} bytes at the most, {largest_dead} of dead letters; {counters:?}"
    );
}

#[test]
fn memory_at_start_does_not_grow_with_what_waits() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (_parent, dir) = quick_place();
    let limits = batched().with_max_bytes(256 << 20);
    let metrics = "m".repeat(16 * 1024);
    let jobs = [Job::new(JobStatus::RUNNING, 1_591_104_868_201).with_metrics(&metrics)];
    let peak = |backlog: usize| {
        let mut node = open(&dir, limits);
        while bytes_of(&segments(&dir, "live-")) < backlog as u64 {
            node.submit(&Report::new("5f0c", &jobs), NOW, None).unwrap();
        }
        drop(node);
        child("peak", &dir).parse::<usize>().unwrap()
    };
    let (small, large) = (peak(1 << 20), peak(64 << 20));
    println!(
        "peak memory of a process that opens a spool of 1 MiB: {small} KiB, of 64 MiB: {large} KiB"
    );
    assert!(large < small + 512, "{small} {large}");
}

#[test]
fn opening_with_100_000_waiting_is_quick() {
    let (_parent, dir) = place();
    let mut node = open(&dir, batched());
    submit_all(&mut node, 0..100_000);
    drop(node);
    let begin = Instant::now();
    let mut node = open(&dir, batched());
    let opened = begin.elapsed();
    let begin = Instant::now();
    assert_eq!(deliver(&mut node).as_deref(), Some("0"));
    println!(
        "100,000 waiting: opened in {opened:?}, the first one delivered {:?} later",
        begin.elapsed()
    );
    assert_eq!(node.status().waiting, 99_999);
}

fn batched() -> SpoolOptions {
    SpoolOptions::default().with_durability(Durability::Batch {
        reports: 1000,
        ms: 1000,
    })
}

/// Runs one of the tasks in [`task_of_a_child`] in another process; what it says.
fn child(name: &str, dir: &Path) -> String {
    let output = task(name, dir).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text
        .split_once("says: ")
        .map(|(_, rest)| rest.lines().next().unwrap());
    said.unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn task(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "task_of_a_child",
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env("SPOOL_TASK", name).env("SPOOL_DIR", dir);
    command
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn task_of_a_child() {
    let (Ok(task), Some(dir)) = (std::env::var("SPOOL_TASK"), std::env::var_os("SPOOL_DIR")) else {
        return;
    };
    let limits = if task == "peak" {
        batched().with_max_bytes(256 << 20)
    } else if task.starts_with("deliver") {
        LARGER
    } else {
        SMALL
    };
    let mut node = match Spool::open(dir, limits) {
        Ok(spool) => node(spool),
        Err(error) => return println!("says: {error}"),
    };
    match task.as_str() {
        "open" => println!("says: {} wait", node.status().waiting),
        #[cfg(unix)]
        "fork" => fork(
            node,
            &std::env::var_os("SPOOL_DIR").map(PathBuf::from).unwrap(),
        ),
        "deliver" => {
            (0..200).for_each(|_| assert!(deliver(&mut node).is_some()));
            println!("says: 200 delivered");
            std::process::abort();
        }
        "deliver 20" | "deliver 20 and be killed" => {
            let first = deliver(&mut node);
            (1..20).for_each(|_| _ = deliver(&mut node));
            println!("says: {}", first.unwrap_or_default());
            if task != "deliver 20" {
                std::process::abort();
            }
            node.close().unwrap();
        }
        #[cfg(target_os = "linux")]
        "run out of files" => {
            use rustix::process::{Resource, getrlimit, setrlimit};
            submit_all(&mut node, 0..200);
            let mut limit = getrlimit(Resource::Nofile);
            limit.current = Some(64);
            setrlimit(Resource::Nofile, limit).unwrap();
            let open_another = || File::open("/dev/null").ok();
            let held: Vec<File> = std::iter::from_fn(open_another).collect();
            for _ in 0..20 {
                if let Ok(Step::Send(outgoing)) = node.next(NOW) {
                    let ticket = outgoing.ticket;
                    let _ = node.settle(ticket, Event::failed(Code::NotSent), NOW, 0);
                }
                node.wake(NOW);
            }
            drop(held);
            let sent = drain(&mut node);
            let is_sorted = sent == numbers(0..200);
            let order = if is_sorted { "in" } else { "out of" };
            let corrupt = node.status().counters.corrupt;
            println!(
                "says: {} of 200 {order} order, {corrupt} corrupt",
                sent.len()
            );
        }
        "abort" => {
            submit_all(&mut node, 0..3);
            println!("says: {} wait", node.status().waiting);
            std::process::abort();
        }
        _ => {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .unwrap();
            println!("says: {}", line.trim().strip_suffix(" kB").unwrap());
        }
    }
}

/// The child of a fork uses its copy of a spool, and drops it.
#[cfg(unix)]
fn fork(mut node: Node, dir: &Path) {
    submit_all(&mut node, 0..3);
    let owner = || fs::read(dir.join("owner")).unwrap();
    let before = owner();
    let node = std::cell::Cell::new(Some(node));
    let pid = forked(|| {
        let mut copy = node.take().unwrap();
        let text = "of which this one is a fork: open the spool after the fork";
        let refused = submit(&mut copy, "from the child");
        let refused = refused.is_err_and(|error| error.to_string().contains(text));
        drop(copy);
        refused
    });
    assert_ended_well(pid);
    let mut node = node.take().unwrap();
    assert_eq!(owner(), before);
    let (text, by) = (child("open", dir), std::process::id());
    assert!(
        text.contains(&format!(" is in use by process {by}: ")),
        "{text}"
    );
    // Without the file the lock on the directory still holds.
    fs::remove_file(dir.join("owner")).unwrap();
    let text = child("open", dir);
    assert!(text.contains(" is in use: "), "{text}");
    submit_all(&mut node, 3..5);

    // A child that goes on when the spool is closed does not keep the lock.
    let pid = forked(|| {
        std::thread::sleep(std::time::Duration::from_secs(3));
        true
    });
    drop(node);
    assert_eq!(child("open", dir), "5 wait");
    submit_all(&mut open(dir, SMALL), 5..6);
    assert_ended_well(pid);
    println!("says: done");
}

/// Runs something in a fork of this process; which process that is.
#[cfg(unix)]
fn forked(run: impl FnOnce() -> bool) -> i32 {
    // SAFETY: only this thread goes on in the child. It needs no lock that another one may have held, and ends there.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let went_well = run();
        // SAFETY: ends the child at once, without what the test harness would do at its end.
        unsafe { libc::_exit(i32::from(!went_well)) };
    }
    assert!(pid > 0);
    pid
}

#[cfg(unix)]
fn assert_ended_well(pid: i32) {
    let mut status = 0;
    // SAFETY: the status has a place.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((ended, status), (pid, 0));
}

/// Runs the test in a process of its own. What is removed on a full disk gives its room back when nobody has it open any more, and a
/// program that another test starts has all that is open here until it begins to run.
/// `None` in the process of others, too.
fn mount_alone(options: &str) -> Option<Mount> {
    #[cfg(target_os = "linux")]
    if std::env::var_os("EDGE_REPORT_NO_MOUNT").is_none()
        && let Some(test) = std::thread::current().name().filter(|name| *name != "main")
        && !alone::is_alone(test, |_| {})
    {
        return None;
    }
    Mount::new(options)
}

/// Nothing waits, so there is room, whatever was there before.
#[test]
fn a_spool_from_which_all_was_delivered_takes_reports_again() {
    let megabyte = |max_bytes| SpoolOptions::default().with_max_bytes(max_bytes);
    let large = (1 << 20) - 40_000;
    // The limits at first and later; the lengths of reports, each delivered before the next one.
    for (before, after, lens) in [
        (1 << 20, 1 << 20, vec![large, 40_000]),
        (1 << 20, 1 << 20, vec![100, large]),
        (
            64 << 20,
            1 << 20,
            [100].into_iter().chain([30_000; 200]).collect(),
        ),
    ] {
        let (_parent, dir) = quick_place();
        let mut limits = megabyte(before);
        for (number, len) in lens.into_iter().enumerate() {
            // Sometimes over a restart.
            let mut spool = Spool::open(&dir, limits).unwrap();
            for _ in 0..2 {
                let bytes = vec![7; len];
                let stored = spool.append(&JobKeys::new(), &bytes, NOW, None);
                let ticket = stored.unwrap_or_else(|error| panic!("report {number}: {error}"));
                let disposition = Disposition::Delivered;
                spool
                    .settle(ticket, disposition, &[], WhenLettersFull::Hold)
                    .unwrap();
                assert_eq!(spool.waiting(), 0);
            }
            limits = megabyte(after);
        }
    }
}

#[test]
fn no_report_stands_in_a_debug_text() {
    let (_parent, dir) = quick_place();
    let secret = "node-7-of-a-customer";
    let seen = |text: String| {
        assert!(
            !text.contains(secret) && !text.contains("110, 111, 100, 101"),
            "{text}"
        )
    };
    let mut node = open(&dir, SMALL);
    submit(&mut node, secret).unwrap();
    assert!(matches!(node.next(NOW).unwrap(), Step::Send(_)));
    seen(format!("{node:?}"));
    drop(node);
    let ram = RamOutbox::new(Vec::new(), 4096);
    let mut node = Courier::new(ram, Vec::new(), Policy::default(), NOW, 0);
    let jobs = [Job::new(JobStatus::RUNNING, 1)];
    node.submit(&Report::new(secret, &jobs), NOW, None).unwrap();
    node.wake(NOW);
    assert!(matches!(node.next(NOW).unwrap(), Step::Send(_)));
    seen(format!("{node:?}"));
}
