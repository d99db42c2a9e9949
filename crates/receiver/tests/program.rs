//! The program, run as its users run it. With the client: `tests/host/examples.rs`.
#![allow(clippy::unwrap_used)]

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
