//! Lines for a log: `time=… level=… event=… key=value …` on standard error. What others say stands in quotes, so that it makes no line of its own.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

use edge_report::WallTime;

use crate::progress;
use crate::settings::Settings;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    pub(crate) const NAMES: [(&'static str, Level); 4] = [
        ("info", Level::Info),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("debug", Level::Debug),
    ];

    fn name(self) -> &'static str {
        let mut names = Level::NAMES.iter();
        names
            .find(|(_, level)| *level == self)
            .map_or("", |(name, _)| name)
    }
}

/// What is worse than this, or as bad, is logged.
static MOST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// The one of the settings.
pub(crate) fn level(settings: &Settings) -> Result<Level, String> {
    settings.choice("log-level", &Level::NAMES)
}

pub(crate) fn set(level: Level) {
    MOST.store(level as u8, Ordering::Relaxed);
}

pub(crate) fn line(level: Level, event: &str, details: &[(&str, &dyn Display)]) {
    if level as u8 > MOST.load(Ordering::Relaxed) {
        return;
    }
    let time = WallTime::now().to_sdk_date();
    let time = time.as_ref().map_or("", |time| time.as_str());
    let mut line = format!("time={time} level={} event={event}", level.name());
    for (key, value) in details {
        let value = value.to_string();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if !value.is_empty() && value.chars().all(is_plain) {
            let _ = write!(line, " {key}={value}");
        } else {
            let _ = write!(line, " {key}={value:?}");
        }
    }
    line.push('\n');
    progress::clear();
    // In one piece, if there is anybody.
    let _ = io::stderr().write_all(line.as_bytes());
}

pub(crate) fn error(event: &str, details: &[(&str, &dyn Display)]) {
    line(Level::Error, event, details);
}

pub(crate) fn warn(event: &str, details: &[(&str, &dyn Display)]) {
    line(Level::Warn, event, details);
}

pub(crate) fn info(event: &str, details: &[(&str, &dyn Display)]) {
    line(Level::Info, event, details);
}

pub(crate) fn debug(event: &str, details: &[(&str, &dyn Display)]) {
    line(Level::Debug, event, details);
}
