//! What a log needs of a device: a few functions that a file system or a flash driver can give.

/// What the segments of a storage may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// The length of a segment, unless a report needs a longer one. A multiple of `write_unit`.
    pub segment: usize,
    /// A segment that takes the place of others may be shorter or longer, by multiples of this: a block of a file system, or what a flash
    /// erases in one go. `segment` itself is such a multiple.
    ///
    /// If it is less than `segment`, short segments are made for notes of what was delivered when there is no room for anything else. A storage
    /// whose room somebody else may use up should keep room for two of this length, or the same reports are sent again after each restart
    /// on a full disk.
    pub length_unit: usize,
    /// The length of the longest segment there can be.
    pub longest_segment: usize,
    /// What all segments together may have. There may be one more for a while that takes the place of others, and two short ones for notes.
    pub total: usize,
    /// Everything is written at multiples of this, in multiples of it: 8, 16 or 32.
    pub write_unit: usize,
    /// What a byte reads as that was not written: 0x00 or 0xFF.
    pub blank: u8,
}

/// Segments of bytes, each written from front to back, but for its last bytes.
///
/// A log has two of these: one for what waits, one for the dead letters.
pub trait Storage {
    /// Why the device failed.
    type Error: core::error::Error + 'static;

    /// Gives the id and length of each segment there is, in any order.
    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Self::Error>;

    /// What its segments may be. Always the same.
    fn limits(&self) -> StorageLimits;

    /// Makes a segment that reads as all [`StorageLimits::blank`]. When this returns it survives a power cut, and its room is set aside.
    /// An id is used only once. After an error it is either not there or all blank.
    fn create(&mut self, id: u32, len: usize) -> Result<(), Self::Error>;

    /// Fills `buffer` from `offset` on; never past the end.
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes at `offset`; both it and the length are multiples of [`StorageLimits::write_unit`]. No byte is written twice. The last
    /// bytes of a segment are written when it is made, the others from front to back.
    /// It may reach the device late, in parts and in any order, until [`sync`](Self::sync).
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Returns when all that was written to the segment survives a power cut.
    fn sync(&mut self, id: u32) -> Result<(), Self::Error>;

    /// Removes a segment, if it is there. When this returns it stays removed after a power cut.
    fn discard(&mut self, id: u32) -> Result<(), Self::Error>;

    /// Whether there was no room for a segment, so that it may help to discard another. Dead letters are dropped for no other error.
    fn lacks_room(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

impl<S: Storage + ?Sized> Storage for &mut S {
    type Error = S::Error;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Self::Error> {
        (**self).list(each)
    }
    fn limits(&self) -> StorageLimits {
        (**self).limits()
    }
    fn create(&mut self, id: u32, len: usize) -> Result<(), Self::Error> {
        (**self).create(id, len)
    }
    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read(id, offset, buffer)
    }
    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        (**self).write(id, offset, bytes)
    }
    fn sync(&mut self, id: u32) -> Result<(), Self::Error> {
        (**self).sync(id)
    }
    fn discard(&mut self, id: u32) -> Result<(), Self::Error> {
        (**self).discard(id)
    }
    fn lacks_room(&self, error: &Self::Error) -> bool {
        (**self).lacks_room(error)
    }
}
