//! JSON bytes: escaping, integers, and a strict pull scanner. Knows nothing of reports.
//!
//! # Reading
//!
//! [`Scanner`] gives one [`Token`] after the other, as RFC 8259 has them and nothing else. It borrows from the text: a [`Text`] is a string as it stands
//! there, escapes and all, and is decoded by whoever needs that. It keeps one bit for each open array or object, 128 at the most ([`MAX_DEPTH`]), so
//! it needs no heap and no recursion. Two things it leaves to its caller: keys that come twice, and what the values mean. An error names its byte, and
//! [`position`] makes line and column of that.
//!
//! # Writing
//!
//! A [`Sink`] takes bytes, in one piece or not at all: [`SliceSink`] into a buffer, [`Counter`] only their number, with feature `alloc` also a `Vec`. Strings and integers
//! are written in one canonical form each. Where a string needs no escape is found by words, by blocks or by vectors, whatever the machine is
//! good at (`kernel`, `masks`); all of them give the same bytes.
//!
//! ```
//! use edge_report::json::{Scanner, Sink, SliceSink, Token, position};
//!
//! let text = br#"{"name": "a\u0062", "count": 7}"#;
//! let mut scanner = Scanner::new(text);
//! assert_eq!(scanner.next_token()?, Some(Token::ObjectStart));
//! let mut buffer = [0; 16];
//! let mut sink = SliceSink::new(&mut buffer);
//! while let Some(token) = scanner.next_token()? {
//!     match token {
//!         Token::String(text) => text.decode(&mut sink).expect("it has room"),
//!         Token::Number(number) => assert_eq!(number.to_i64(), Some(7)),
//!         _ => {}
//!     }
//! }
//! assert_eq!(sink.written(), b"ab");
//!
//! let text = b"[\n x]";
//! let mut scanner = Scanner::new(text);
//! scanner.next_token()?;
//! let error = scanner.next_token().expect_err("no value begins with x");
//! let place = position(text, error.offset());
//! assert_eq!((place.line, place.column), (2, 2));
//! # Ok::<(), edge_report::json::Error>(())
//! ```

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
pub(crate) use sink::generic_or_dyn;
pub use sink::{Counter, Full, Sink, SliceSink};
pub use text::{Decoded, Number, Position, Text, position};
