//! A file system of a test's own, to fill or to take away.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::process::Command;

/// What a test says that cannot have one.
const NEEDS_MOUNT: &str = "this test needs to mount a file system: run it as root, or by `unshare --map-root-user --mount`; or leave all such tests out with EDGE_REPORT_NO_MOUNT=1";

/// A file system in memory.
pub struct Mount(pub tempfile::TempDir);

impl Mount {
    /// `None` where there is none, and where somebody says so: that a test is left out is nothing to find out from its silence.
    pub fn new(options: &str) -> Option<Self> {
        if !cfg!(target_os = "linux") || std::env::var_os("EDGE_REPORT_NO_MOUNT").is_some() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        assert!(is_mounted, "{NEEDS_MOUNT}");
        Some(Mount(dir))
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let status = Command::new(program)
            .args(args)
            .arg(self.0.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
