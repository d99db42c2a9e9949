//! A disk of a few megabytes, in memory, which goes with its test.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use edge_report::JobStatus;
use tempfile::TempDir;

use super::{post, report};

pub struct Disk(TempDir);

impl Disk {
    pub fn mount(megabytes: u32) -> Disk {
        let disk = Disk(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        let mounted = mount.arg(disk.path()).output();
        assert!(
            mounted.as_ref().is_ok_and(|ended| ended.status.success()),
            "the tests of a full disk mount a small one: run them as root: {mounted:?}"
        );
        disk
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// From here on nothing on it can grow.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for chunk in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0; chunk]).is_ok() {}
        }
    }

    /// Fills it while this receiver, whose store is on it, takes reports. How many it has answered by 200, and the one after these, which it refused.
    pub fn filled_by(&self, host: &str) -> (i64, Vec<u8>) {
        let long = "x".repeat(10_000);
        let body = |number| report(&format!("{number}{long}"), 7, JobStatus::RUNNING, number);
        for number in 1..=10 {
            assert_eq!(post(host, "p", &body(number)), 200);
        }
        self.fill();
        let refused = (11..)
            .find(|number| post(host, "p", &body(*number)) != 200)
            .unwrap();
        assert_eq!(post(host, "p", &body(refused)), 503);
        (refused - 1, body(refused))
    }

    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
