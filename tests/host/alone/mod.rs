//! Tests in a process of their own, for what is the same for a whole process.

use std::process::Command;

/// Runs a test once more, in a process that `prepare` may change. Says whether this is that process.
pub(crate) fn is_alone(test: &str, prepare: impl FnOnce(&mut Command)) -> bool {
    const ALONE: &str = "IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--test-threads=1", "--nocapture"]);
    child.env(ALONE, "");
    prepare(&mut child);
    let output = child.output().unwrap();
    let (said, why) = (&output.stdout, &output.stderr);
    let (said, why) = (String::from_utf8_lossy(said), String::from_utf8_lossy(why));
    assert!(output.status.success(), "{said}\n{why}");
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    false
}
