//! Where bytes go: a slice, a `Vec`, or nowhere but a counter.

use core::fmt;

use super::{integer, kernel, string};
use crate::code::Code;

/// The sink has no room for these bytes; it holds what it held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Code::BufferTooSmall.fmt(f)
    }
}

impl core::error::Error for Full {}

/// A place that bytes are appended to: implement it for a buffer of your own.
pub trait Sink {
    /// Appends all of `bytes`, or nothing.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full>;

    /// How many bytes it holds.
    fn len(&self) -> usize;

    /// How many more it can hold; `usize::MAX` when it grows.
    fn room(&self) -> usize;

    /// Drops what came after the first `len` bytes.
    fn truncate(&mut self, len: usize);

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `text` as a JSON string with its quotes: `"`, `\` and bytes below 0x20 escaped
    /// (`\b \f \n \r \t`, else `\u00xx` in lower-case hex), all else raw. When full, a part of it may stand there.
    fn put_string(&mut self, text: &str) -> Result<(), Full> {
        string::put(text.as_bytes(), self)
    }

    /// Appends `value` in decimal. When full, a part of it may stand there.
    fn put_integer(&mut self, value: i64) -> Result<(), Full> {
        integer::put(value, self)
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        (**self).put(bytes)
    }
    fn len(&self) -> usize {
        (**self).len()
    }
    fn room(&self) -> usize {
        (**self).room()
    }
    fn truncate(&mut self, len: usize) {
        (**self).truncate(len);
    }
    fn put_string(&mut self, text: &str) -> Result<(), Full> {
        (**self).put_string(text)
    }
    fn put_integer(&mut self, value: i64) -> Result<(), Full> {
        (**self).put_integer(value)
    }
}

/// Calls a function with a sink as its last argument. Where room for code is scarce, one copy of it serves all sinks.
macro_rules! generic_or_dyn {
    ($function:ident($($argument:expr),*; $sink:expr)) => {
        if $crate::small::IS_ROOMY {
            $function($($argument),*, $sink)
        } else {
            let mut sink = $sink;
            let any: &mut dyn $crate::json::Sink = &mut sink;
            $function($($argument),*, any)
        }
    };
}
pub(crate) use generic_or_dyn;

/// A sink over a caller's slice.
#[derive(Debug)]
pub struct SliceSink<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> SliceSink<'b> {
    /// An empty sink over `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        SliceSink { buffer, len: 0 }
    }

    /// Appends what `write` writes to the front of the free part, if it says how much that is.
    #[inline]
    fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<(), Full> {
        let free = self.buffer.get_mut(self.len..).ok_or(Full)?;
        let written = write(free).ok_or(Full)?;
        self.len = self.len.wrapping_add(written);
        Ok(())
    }

    /// What was written.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// What was written, for as long as the buffer lives.
    pub fn into_written(self) -> &'b [u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Sink for SliceSink<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len.checked_add(bytes.len()).ok_or(Full)?;
        self.buffer
            .get_mut(self.len..end)
            .ok_or(Full)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
    fn len(&self) -> usize {
        self.len
    }
    fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.len)
    }
    #[inline]
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
    #[inline]
    fn put_string(&mut self, text: &str) -> Result<(), Full> {
        self.fill(|free| kernel::fill(text.as_bytes(), free))
    }
    #[inline]
    fn put_integer(&mut self, value: i64) -> Result<(), Full> {
        self.fill(|free| integer::fill(value, free))
    }
}

/// How long a text is as a JSON string.
fn quoted_len(text: &str) -> usize {
    let growth = kernel::growth(text.as_bytes());
    text.len().saturating_add(growth).saturating_add(2)
}

/// Counts what would be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter(usize);

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(())
    }
    fn len(&self) -> usize {
        self.0
    }
    fn room(&self) -> usize {
        usize::MAX
    }
    fn truncate(&mut self, len: usize) {
        self.0 = self.0.min(len);
    }
    fn put_string(&mut self, text: &str) -> Result<(), Full> {
        self.0 = self.0.saturating_add(quoted_len(text));
        Ok(())
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.try_reserve(bytes.len()).map_err(|_| Full)?;
        self.extend_from_slice(bytes);
        Ok(())
    }
    fn len(&self) -> usize {
        self.as_slice().len()
    }
    fn room(&self) -> usize {
        usize::MAX
    }
    fn truncate(&mut self, len: usize) {
        alloc::vec::Vec::truncate(self, len);
    }
    fn put_string(&mut self, text: &str) -> Result<(), Full> {
        let write = |free: &mut [u8]| kernel::fill(text.as_bytes(), free);
        // Enough for most, or what there is if that may do; then exactly enough.
        let guess = text.len().saturating_add(text.len() / 4).saturating_add(64);
        let there = self.capacity().saturating_sub(self.as_slice().len());
        let room = match there > text.len().saturating_add(1) {
            true => guess.min(there),
            false => guess,
        };
        fill_vec(self, room, write).or_else(|Full| fill_vec(self, quoted_len(text), write))
    }
    fn put_integer(&mut self, value: i64) -> Result<(), Full> {
        fill_vec(self, integer::MAX_LEN, |free| integer::fill(value, free))
    }
}

/// Appends what `write` writes to the front of `room` bytes, if it says how much that is.
#[cfg(feature = "alloc")]
fn fill_vec(
    vec: &mut alloc::vec::Vec<u8>,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Result<(), Full> {
    vec.try_reserve(room).map_err(|_| Full)?;
    let before = vec.len();
    vec.resize(before.saturating_add(room), 0);
    let written = vec.get_mut(before..).and_then(write);
    vec.truncate(before.saturating_add(written.unwrap_or(0)));
    written.map(|_| ()).ok_or(Full)
}
