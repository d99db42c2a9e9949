//! What a log needs of a device: a few functions that a file system or a flash driver can give.

/// What the segments of a storage may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// What all segments together may have. There may be one more for a while that takes the place of others, another one after a sync failed,
    /// and two short ones for notes.
    pub total: usize,
    /// Everything is written at multiples of this, in multiples of it: 8, 16 or 32.
    pub write_unit: usize,
    /// What a byte reads as that was not written: 0x00 or 0xFF.
    pub blank: u8,
}

impl StorageLimits {
    /// All segments of one length, but for a report that needs a longer one; written by units of 8, onto zeros.
    pub const fn new(segment: usize, total: usize) -> Self {
        StorageLimits {
            segment,
            length_unit: segment,
            longest_segment: total,
            total,
            write_unit: 8,
            blank: 0,
        }
    }

    /// The same with this [`length_unit`](Self::length_unit).
    #[must_use]
    pub const fn with_length_unit(mut self, bytes: usize) -> Self {
        self.length_unit = bytes;
        self
    }

    /// The same with this [`longest_segment`](Self::longest_segment).
    #[must_use]
    pub const fn with_longest_segment(mut self, bytes: usize) -> Self {
        self.longest_segment = bytes;
        self
    }

    /// The same with this [`write_unit`](Self::write_unit).
    #[must_use]
    pub const fn with_write_unit(mut self, bytes: usize) -> Self {
        self.write_unit = bytes;
        self
    }

    /// The same with this [`blank`](Self::blank).
    #[must_use]
    pub const fn with_blank(mut self, byte: u8) -> Self {
        self.blank = byte;
        self
    }
}

/// Segments of bytes, each written from front to back, but for its last bytes.
///
/// A log has two of these: one for what waits, one for the dead letters. Here they are in memory; on flash a segment may be some erase blocks.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::io::{Error, ErrorKind};
///
/// use edge_report::courier::{Durability, LogOutbox, Outbox, Storage, StorageLimits};
///
/// #[derive(Default)]
/// struct Memory(BTreeMap<u32, Vec<u8>>);
///
/// impl Memory {
///     fn part(&mut self, id: u32, offset: usize, len: usize) -> Result<&mut [u8], Error> {
///         let segment = self.0.get_mut(&id);
///         let part = segment.and_then(|bytes| bytes.get_mut(offset..offset + len));
///         part.ok_or_else(|| ErrorKind::NotFound.into())
///     }
/// }
///
/// impl Storage for Memory {
///     type Error = Error;
///
///     fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), Error> {
///         self.0.iter().for_each(|(id, bytes)| each(*id, bytes.len()));
///         Ok(())
///     }
///     fn limits(&self) -> StorageLimits {
///         StorageLimits::new(4096, 65_536).with_length_unit(512).with_blank(0xff)
///     }
///     fn create(&mut self, id: u32, len: usize) -> Result<(), Error> {
///         self.0.insert(id, vec![0xff; len]);
///         Ok(())
///     }
///     fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), Error> {
///         buffer.copy_from_slice(self.part(id, offset, buffer.len())?);
///         Ok(())
///     }
///     fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), Error> {
///         self.part(id, offset, bytes.len())?.copy_from_slice(bytes);
///         Ok(())
///     }
///     fn sync(&mut self, _: u32) -> Result<(), Error> {
///         Ok(()) // here a flash driver waits until all is written
///     }
///     fn discard(&mut self, id: u32) -> Result<(), Error> {
///         self.0.remove(&id);
///         Ok(())
///     }
/// }
///
/// let (live, dead) = (Memory::default(), Memory::default());
/// let log = LogOutbox::<_, _, 20>::open(live, dead, Durability::Each, 7)?;
/// assert_eq!(log.waiting(), 0);
/// # Ok::<(), edge_report::courier::OutboxError<Error>>(())
/// ```
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

    /// Whether reading failed for a reason that says nothing of what is on the device, and that may pass: too many open files, say, or a permission that is missing. What cannot
    /// be read for any other one is given up after a few tries.
    fn is_outage(&self, error: &Self::Error) -> bool {
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
    fn is_outage(&self, error: &Self::Error) -> bool {
        (**self).is_outage(error)
    }
}
