//! The program, run as its users run it. With the client: `tests/host/examples.rs`.
#![allow(clippy::unwrap_used)]

#[cfg(all(unix, feature = "program"))]
mod common;

use std::process::Command;

#[test]
fn helps() {
    let ended = Command::new(env!("CARGO_BIN_EXE_edge-report-receiver"))
        .arg("--help")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), &ended.stderr);
    assert!(ended.status.success() && err.is_empty(), "{ended:?}");
    let options = [
        "--listen", "--ak", "--sk", "--record", "--fault", "--seed", "--quiet", "--help",
    ];
    for said in [&options[..], &["status=CODE", "reset-after", "WHEN"]].concat() {
        assert!(out.contains(said), "does not say `{said}`:\n{out}");
    }
}

/// What is no text may be a secret with a slip of the pen.
#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_not_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let ended = Command::new(env!("CARGO_BIN_EXE_edge-report-receiver"))
        .args(["check-config", "--ak", "AK", "--sk"])
        .arg(OsStr::from_bytes(b"secret\xff"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("is not Unicode"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(ended.status.code(), Some(2), "{said}");
}

/// The command line comes before the file, also where it switches something off.
#[cfg(all(unix, feature = "program"))]
#[test]
fn off_on_the_command_line_comes_before_on_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("receiver.toml"), "quiet = true\n").unwrap();
    let body = common::report("m", 1, edge_report::JobStatus::RUNNING, 1_780_000_000_000);
    for (more, is_told) in [(&[][..], false), (&["--quiet=false"][..], true)] {
        let args = [&["--store", "memory", "--config", "receiver.toml"], more].concat();
        let program = common::program::Program::start(dir.path(), &args);
        assert_eq!(common::post(program.host(), "p", &body), 200);
        if is_told {
            program.wait_for("accepted", 1);
        } else {
            assert!(!program.log().contains("accepted"), "{}", program.log());
        }
    }
}
