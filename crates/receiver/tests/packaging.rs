//! The container file and the unit for systemd, as far as they can be followed without either: what they name is there, and the program starts as they start it.
#![cfg(all(target_os = "linux", feature = "program"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a panic is how a test fails"
)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::program::Program;
use common::{post, report};
use edge_report::JobStatus;

const CONTAINER: &str = include_str!("../packaging/Containerfile");
const UNIT: &str = include_str!("../packaging/edge-report-receiver.service");

/// What stands after these words, at the beginning of a line: of each such line.
fn all<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
    let rests = text.lines().filter_map(|line| line.strip_prefix(begin));
    rests.map(str::trim).collect()
}

#[track_caller]
fn one<'t>(text: &'t str, begin: &str) -> &'t str {
    let [rest] = all(text, begin)[..] else {
        panic!("not one line that begins with `{begin}`")
    };
    rest
}

/// The value of an option in a line of a shell.
fn option<'t>(line: &'t str, name: &str) -> &'t str {
    let mut words = line.split_whitespace();
    words.find(|word| *word == name);
    words.next().unwrap()
}

/// Stages of the container file: the one that builds, and the one that runs.
fn stages() -> [String; 2] {
    let stages: Vec<&str> = CONTAINER.split("\nFROM ").skip(1).collect();
    let [build, run] = stages[..] else {
        panic!("not two stages")
    };
    [format!("FROM {build}"), format!("FROM {run}")]
}

/// The executable file of the container, as an absolute path.
fn entry(run: &str) -> String {
    let entry: Vec<String> = serde_json::from_str(one(run, "ENTRYPOINT ")).unwrap();
    let [path] = &entry[..] else {
        panic!("{entry:?}")
    };
    path.clone()
}

#[test]
fn what_the_container_file_names_is_there() {
    let [build, run] = stages();
    let podman = one(CONTAINER, "# podman ");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    assert!(podman.starts_with("build ") && podman.ends_with(" ."));
    let itself = fs::read_to_string(repository.join(option(podman, "-f")));
    assert_eq!(itself.unwrap(), CONTAINER);

    // The command that builds, with features that there are.
    let runs = all(&build, "RUN ");
    let cargo = runs.iter().find(|run| run.starts_with("cargo ")).unwrap();
    assert!(cargo.starts_with("cargo build --release --locked "));
    assert!(repository.join("Cargo.lock").exists());
    assert_eq!(option(cargo, "-p"), env!("CARGO_PKG_NAME"));
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    assert!(
        manifest["features"]
            .get(option(cargo, "--features"))
            .is_some()
    );

    // What it makes is what is copied, and what is started.
    let program = Path::new(env!("CARGO_BIN_EXE_edge-report-receiver"));
    let name = program.file_name().unwrap().to_str().unwrap();
    let source = one(&build, "WORKDIR ");
    assert_eq!(one(&build, "COPY . "), source);
    let copied = format!("--from=build {source}/target/release/{name} ");
    let place = one(&run, &format!("COPY {copied}"));
    assert_eq!(entry(&run), format!("{place}{name}"));
    assert!(place.ends_with('/') && one(UNIT, "ExecStart=").starts_with(&entry(&run)));

    // The same system in both, and its user and directory.
    assert!(build.contains("-bookworm AS build\n") && run.contains("-debian12\n"));
    let (user, data) = (one(&run, "USER "), one(&run, "VOLUME "));
    assert!(cargo.ends_with(&format!(" && mkdir {data}")));
    one(
        &run,
        &format!("COPY --from=build --chown={user} {data} {data}"),
    );
    assert_eq!(one(&run, "WORKDIR "), data);
    let listen = one(&run, "ENV EDGE_REPORT_RECEIVER_LISTEN=");
    assert_eq!(listen, format!("0.0.0.0:{}", one(&run, "EXPOSE ")));
}

/// `cc` of distroless has these.
#[test]
fn the_program_needs_little_of_the_system() {
    let ended = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_edge-report-receiver"))
        .output();
    let said = String::from_utf8(ended.unwrap().stdout).unwrap();
    let has = ["linux-vdso", "libc.", "libm.", "libgcc_s.", "ld-linux"];
    for line in said.lines() {
        let library = line.split_whitespace().next().unwrap_or_default();
        let name = library.rsplit('/').next().unwrap();
        assert!(has.iter().any(|has| name.starts_with(has)), "{line}");
    }
    assert!(said.contains("libc."), "{said}");
}

/// But for the port.
#[test]
fn it_starts_as_in_the_container() {
    let [_, run] = stages();
    let dir = tempfile::tempdir().unwrap();
    let root = |path: &str| dir.path().join(path.trim_start_matches('/'));
    let program = root(&entry(&run));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_edge-report-receiver"), &program).unwrap();
    let data = root(one(&run, "VOLUME "));
    fs::create_dir(&data).unwrap();
    let mut command = Command::new(program);
    command.current_dir(root(one(&run, "WORKDIR "))).env_clear();
    for variable in all(&run, "ENV ") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value.replace(":8087", ":0"));
    }
    // Whoever is not root is such a user already.
    let mut owner = fs::metadata(&data).unwrap().uid();
    if owner == 0 {
        let (uid, gid) = one(&run, "USER ").split_once(':').unwrap();
        let [uid, gid] = [uid, gid].map(|id| id.parse().unwrap());
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        chown(&data, Some(uid), Some(gid)).unwrap();
        command.uid(uid).gid(gid);
        owner = uid;
    }
    assert_ne!(owner, 0);
    let receiver = Program::run(command, dir.path());
    let body = report("1", 7, JobStatus::RUNNING, 1_780_000_000_000);
    assert_eq!(post(receiver.host(), "p", &body), 200);
    receiver.signal(one(&run, "STOPSIGNAL SIG"));
    assert_eq!(receiver.wait(), Some(0));
    let file = fs::metadata(data.join("edge-report.db")).unwrap();
    assert_eq!(file.uid(), owner);
}

#[test]
fn the_options_of_the_unit_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let start = one(UNIT, "ExecStart=");
    let file = option(start, "--config");
    fs::write(dir.path().join("receiver.toml"), "quiet = true\n").unwrap();
    let own = start.replace(file, "receiver.toml");
    let words: Vec<&str> = own.split_whitespace().skip(1).collect();
    let check = [&["check-config"], &words[..]].concat();
    let checked = common::program::command(dir.path(), &check).output();
    assert!(checked.as_ref().unwrap().status.success(), "{checked:?}");
    let state = one(UNIT, "StateDirectory=");
    assert!(one(UNIT, "WorkingDirectory=").ends_with(state));
}
