//! What reached a disk, by the kernel's own count.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::stores::Result;

/// A line of /proc/diskstats.
pub(crate) struct Device {
    major: u64,
    minor: u64,
}

pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) flushes: u64,
}

impl Device {
    /// The one under this directory.
    pub(crate) fn of(dir: &Path) -> Result<Option<Self>> {
        // As glibc packs it.
        let dev = fs::metadata(dir)?.dev();
        let device = Device {
            major: (dev >> 8) & 0xfff,
            minor: (dev & 0xff) | ((dev >> 12) & 0xf_ff00),
        };
        Ok(device.fields()?.map(|_| device))
    }

    /// So far, with all that is still to be written.
    pub(crate) fn written(&self, dir: &Path) -> Result<Written> {
        if !Command::new("sync").arg("-f").arg(dir).status()?.success() {
            return Err("sync failed".into());
        }
        let fields = self.fields()?.ok_or("the device is gone")?;
        let field = |index: usize| {
            fields
                .get(index)
                .copied()
                .ok_or("an old kernel: it counts no flushes")
        };
        Ok(Written {
            bytes: field(6)? * 512,
            flushes: field(15)?,
        })
    }

    /// The numbers behind the name.
    fn fields(&self) -> Result<Option<Vec<u64>>> {
        let stats = fs::read_to_string("/proc/diskstats")?;
        let own = stats.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let device = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (device == (self.major, self.minor))
                .then(|| words.skip(1).filter_map(|n| n.parse().ok()).collect())
        });
        Ok(own)
    }
}

/// File system and device of a directory.
pub(crate) fn describe(dir: &Path) -> String {
    let output = Command::new("df")
        .arg("--output=fstype,source")
        .arg(dir)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let words: Vec<String> = text
        .unwrap_or_default()
        .lines()
        .last()
        .into_iter()
        .flat_map(|line| {
            line.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .collect();
    match words.as_slice() {
        [fs, source] => format!("{fs} on {source}"),
        _ => dir.display().to_string(),
    }
}
