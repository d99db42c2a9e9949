//! On a terminal, how much still waits: one line on standard error, until something else is written there.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Wider than any line of it.
const WIDTH: usize = 40;

/// What the line says now. 0: there is none.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// How long to wait before looking again how much waits; for ever, if nobody sees it.
pub(crate) fn tick() -> Duration {
    match io::stderr().is_terminal() {
        true => Duration::from_millis(250),
        false => Duration::MAX,
    }
}

pub(crate) fn show(what: &str, count: u64) {
    if count == 0 {
        clear();
    } else if io::stderr().is_terminal() && SHOWN.swap(count, Ordering::Relaxed) != count {
        let line = format!("{what}: {count}");
        let _ = write!(io::stderr(), "\r{line:<WIDTH$}\r{line}");
    }
}

/// Makes room for another line.
pub(crate) fn clear() {
    if SHOWN.swap(0, Ordering::Relaxed) != 0 {
        let _ = write!(io::stderr(), "\r{:WIDTH$}\r", "");
    }
}
