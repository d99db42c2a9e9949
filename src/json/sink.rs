//! Where bytes go: a slice, a `heapless::Vec`, a `Vec`, or nowhere but a counter.

/// The sink has no room for these bytes; it holds what it held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A place that bytes are appended to.
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
}

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
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
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
}

impl<const N: usize> Sink for heapless::Vec<u8, N> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.extend_from_slice(bytes).map_err(|_| Full)
    }
    fn len(&self) -> usize {
        self.as_slice().len()
    }
    fn room(&self) -> usize {
        N.saturating_sub(self.as_slice().len())
    }
    fn truncate(&mut self, len: usize) {
        heapless::Vec::truncate(self, len);
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
}
