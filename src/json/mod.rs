//! JSON bytes: escaping, integers, and a strict pull scanner. Knows nothing of reports.

mod scan;
mod sink;
mod text;
mod write;

pub use scan::{Error, MAX_DEPTH, Scanner, Token};
pub use sink::{Counter, Full, Sink, SliceSink};
pub use text::{Decoded, Number, Position, Text, position};
pub use write::{write_integer, write_string};
