//! Libraries to preload into a process (LD_PRELOAD), which change what the system says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library of shim/NAME.c, compiled in this place.
pub(crate) fn shim(name: &str, place: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("shim/{name}.c"));
    let library = place.join(format!("{name}.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]);
    let status = compiler.args([&library, &source]).arg("-ldl").status();
    let needs = "this test needs a C compiler (apt-get install gcc libc6-dev)";
    assert!(status.is_ok_and(|status| status.success()), "{needs}");
    library
}

/// Tells a library that reads `file`: never half of it, nor nothing for a moment.
#[allow(dead_code)] // not by each test
pub(crate) fn tell(file: &Path, say: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, say).unwrap();
    std::fs::rename(new, file).unwrap();
}
