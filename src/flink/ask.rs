//! What Flink is asked, and the paths of that.

use core::fmt::{self, Write};

use super::jid::Jid;
use super::making::names;

const METRICS_ROOM: usize = 400;

/// The longest there can be.
pub(super) type Path = heapless::String<{ METRICS_ROOM + 64 }>;

/// What Flink is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Overview,
    Prime,
    /// Of the job that the draft in the making has last.
    Details,
    Metrics,
    Exceptions,
}

impl Ask {
    pub(super) fn put_path(self, jid: Jid, metrics: &str, path: &mut Path) {
        path.clear();
        // There is room for all that fits into METRICS_ROOM.
        if self == Ask::Overview {
            let _ = path.push_str("/jobs/overview");
            return;
        }
        for part in ["/jobs/", jid.to_hex().as_str()] {
            let _ = path.push_str(part);
        }
        match self {
            Ask::Overview | Ask::Details => {}
            Ask::Exceptions => {
                let _ = path.push_str("/exceptions?maxExceptions=1");
            }
            Ask::Prime | Ask::Metrics => {
                let _ = path.push_str("/metrics?get=");
                push_names(path, metrics);
            }
        }
    }
}

/// The names of metrics as they stand in a query, as many as fit.
fn push_names(path: &mut Path, list: &str) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
    let mut room = METRICS_ROOM;
    for name in names(list) {
        let widths = name.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 });
        let width = widths.fold(1, usize::saturating_add);
        let Some(left) = room.checked_sub(width) else {
            return;
        };
        let comma = if room == METRICS_ROOM { "" } else { "," };
        room = left;
        let _ = path.push_str(comma);
        for byte in name.bytes() {
            let _ = match is_plain(byte) {
                true => path.push(char::from(byte)).map_err(|_| fmt::Error),
                false => write!(path, "%{byte:02X}"),
            };
        }
    }
}
