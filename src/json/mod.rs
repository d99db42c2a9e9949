//! JSON bytes: escaping, integers, and a strict pull scanner. Knows nothing of reports.

mod integer;
#[cfg_attr(
    any(target_pointer_width = "64", target_feature = "simd128"),
    path = "blocks.rs"
)]
#[cfg_attr(
    not(any(target_pointer_width = "64", target_feature = "simd128")),
    path = "words.rs"
)]
mod kernel;
#[cfg(any(target_pointer_width = "64", target_feature = "simd128"))]
mod masks;
mod scan;
mod sink;
mod string;
mod text;

pub(crate) use kernel::string_end;
pub use scan::{Error, MAX_DEPTH, Scanner, Token};
pub(crate) use sink::with_sink;
pub use sink::{Counter, Full, Sink, SliceSink};
pub use text::{Decoded, Number, Position, Text, position};
