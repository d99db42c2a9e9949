//! What a courier stands on: the caller's memory, given out piece by piece, and a device behind callbacks.

use core::ffi::c_void;
use core::fmt;
use core::mem::{MaybeUninit, align_of, size_of};
use core::ptr;

use edge_report::Code;
use edge_report::courier::{Storage, StorageLimits};

use crate::error::{Failure, Place};
use crate::sized::{Room, required};

/// The most segments of one storage.
pub(crate) const MAX_SEGMENTS: usize = 16;

/// What `read` of a storage returns when it fails for a reason that says nothing of what is on the device, and that may pass: a bus that is busy,
/// say, or too many open files. As long as that lasts, whoever asks for the next report gets `EDGE_REPORT_E_STORAGE`. What cannot be read for
/// any other reason is given up after a few tries.
pub const EDGE_REPORT_STORAGE_OUTAGE: i32 = 2147483647;

/// Takes the id and length of a segment; `context` is passed on.
pub type edge_report_storage_each =
    Option<unsafe extern "C" fn(context: *mut c_void, id: u32, len: usize)>;

/// A device where reports wait, such as flash: a few functions, and what to call them with. A courier needs two: one for what waits,
/// one for the dead letters.
///
/// The device keeps segments of bytes, each written from front to back. Each function returns 0, or an error number of the
/// device, which comes back as `device_error` (of these `EDGE_REPORT_STORAGE_OUTAGE` has a meaning). They are called in the course of calls to the
/// courier, by the same thread, and must not call it, throw or longjmp.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_storage {
    /// Its size: begin with `EDGE_REPORT_STORAGE_INIT`.
    pub struct_size: usize,
    /// Passed to each function.
    pub user: *mut c_void,
    /// The length of a segment, unless a report needs a longer one: a multiple of `length_unit`, and no less than a 15th of `max_bytes`.
    pub segment_bytes: usize,
    /// The most bytes of all segments together; two segments at the least, since what supersedes or forgets others is written before they can be
    /// removed. While segments are compacted, there is one more for a moment; and if `length_unit` is less than
    /// `segment_bytes`, two of `length_unit` for notes of what was delivered, when there is no room for anything else.
    pub max_bytes: usize,
    /// A segment that takes the place of others, or has a longer report, may have other lengths, by multiples of this: a block of a file system,
    /// or what a flash erases in one go. A multiple of `write_unit`. 0: `segment_bytes`.
    pub length_unit: usize,
    /// The length of the longest segment there can be; `segment_bytes` at the least. A report that would need a longer one is not taken.
    /// 0: `max_bytes`.
    pub longest_segment: usize,
    /// Everything is written at multiples of this, in multiples of it: 8, 16 or 32. 0: 8. It stays what it was when the first segment was made.
    pub write_unit: u32,
    /// What a byte that was not written reads as: 0x00, or 0xFF as flash does.
    pub blank: u32,
    /// Gives the id and length of each segment there is to `each`, in any order.
    pub list: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            each: edge_report_storage_each,
            context: *mut c_void,
        ) -> i32,
    >,
    /// Makes a segment that reads as all `blank`. When this returns, it survives a power cut. An id is used only once. After an error it
    /// is either not there or all blank.
    pub create: Option<unsafe extern "C" fn(user: *mut c_void, id: u32, len: usize) -> i32>,
    /// Fills `buffer` from `offset` on; never past the end.
    pub read: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            id: u32,
            offset: usize,
            buffer: *mut u8,
            len: usize,
        ) -> i32,
    >,
    /// Writes at `offset`. It and `len` are multiples of `write_unit`, and no byte is written twice. The last bytes of a segment are written
    /// when it is made, the others from front to back. It may reach the device late, in parts and in any order, until `sync`.
    pub write: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            id: u32,
            offset: usize,
            bytes: *const u8,
            len: usize,
        ) -> i32,
    >,
    /// Returns when all that was written to the segment survives a power cut.
    pub sync: Option<unsafe extern "C" fn(user: *mut c_void, id: u32) -> i32>,
    /// Removes a segment, if it is there. When this returns, it stays removed after a power cut.
    pub discard: Option<unsafe extern "C" fn(user: *mut c_void, id: u32) -> i32>,
    /// Of a later version, for tests.
    #[cfg(feature = "test-next")]
    pub next: u64,
}

/// Why a device failed.
pub(crate) trait Device: core::error::Error {
    /// Its number, or 0.
    fn number(&self) -> i32;
}

/// The number that a callback returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceError(i32);

impl fmt::Display for DeviceError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The number is told beside it.
        Ok(())
    }
}

impl core::error::Error for DeviceError {}

impl Device for DeviceError {
    fn number(&self) -> i32 {
        self.0
    }
}

#[cfg(feature = "full")]
impl Device for edge_report::SpoolIoError {
    fn number(&self) -> i32 {
        self.error.raw_os_error().unwrap_or(0)
    }
}

/// A device behind callbacks.
pub(crate) struct Callbacks(edge_report_storage);

// SAFETY: the header says that a courier's thread may be another one each time.
unsafe impl Send for Callbacks {}

impl Callbacks {
    /// # Safety
    /// `table` is readable, and its functions are what they are said to be.
    pub(crate) unsafe fn new(
        table: *const edge_report_storage,
        name: &'static str,
    ) -> Result<Self, Failure> {
        let room = &mut Room::new();
        let mut table = *unsafe { required(table, name, room) }?;
        match table.complete() {
            None => Ok(Callbacks(table)),
            Some((code, member, why)) => {
                let failure = Failure::at(code, Place::Member(name, member));
                Err(failure.with_detail(why))
            }
        }
    }
}

impl edge_report_storage {
    /// Puts the defaults where zeros stand for them. What cannot be used, if anything: the code, the member, and why.
    fn complete(&mut self) -> Option<(Code, &'static str, &'static str)> {
        for (is_null, member) in [
            (self.list.is_none(), "list"),
            (self.create.is_none(), "create"),
            (self.read.is_none(), "read"),
            (self.write.is_none(), "write"),
            (self.sync.is_none(), "sync"),
            (self.discard.is_none(), "discard"),
        ] {
            if is_null {
                return Some((Code::NullPointer, member, ""));
            }
        }
        if self.write_unit == 0 {
            self.write_unit = 8;
        }
        if self.length_unit == 0 {
            self.length_unit = self.segment_bytes;
        }
        if self.longest_segment == 0 {
            self.longest_segment = self.max_bytes;
        }
        let is_multiple = |of: usize, unit: usize| of.checked_rem(unit) == Some(0);
        let most = MAX_SEGMENTS.saturating_sub(1);
        let (member, why) = if !matches!(self.write_unit, 8 | 16 | 32) {
            ("write_unit", "8, 16 or 32")
        } else if !matches!(self.blank, 0 | 0xff) {
            ("blank", "0x00 or 0xFF")
        } else if self.segment_bytes == 0
            || self.segment_bytes.saturating_mul(most) < self.max_bytes
        {
            ("segment_bytes", "a 15th of max_bytes at the least")
        } else if self.max_bytes.checked_div(2) < Some(self.segment_bytes) {
            (
                "max_bytes",
                "two segments at the least: what supersedes or forgets others is written before they can be removed",
            )
        } else if self.length_unit == 0 || !is_multiple(self.length_unit, self.write_unit as usize)
        {
            ("length_unit", "a multiple of write_unit")
        } else if !is_multiple(self.segment_bytes, self.length_unit) {
            ("segment_bytes", "a multiple of length_unit")
        } else if self.longest_segment < self.segment_bytes {
            ("longest_segment", "segment_bytes at the least")
        } else {
            return None;
        };
        Some((Code::OutOfRange, member, why))
    }
}

/// What a callback returned, or nothing if there is none.
fn done(result: Option<i32>) -> Result<(), DeviceError> {
    match result {
        Some(0) => Ok(()),
        other => Err(DeviceError(other.unwrap_or(0))),
    }
}

impl Storage for Callbacks {
    type Error = DeviceError;

    fn list(&mut self, each: &mut dyn FnMut(u32, usize)) -> Result<(), DeviceError> {
        unsafe extern "C" fn forward(context: *mut c_void, id: u32, len: usize) {
            // SAFETY: `context` is `each` below, which lives as long as `list` runs; the callback may call this only meanwhile.
            let each = unsafe { &mut *context.cast::<&mut dyn FnMut(u32, usize)>() };
            each(id, len);
        }
        let mut each = each;
        let context = ptr::from_mut(&mut each).cast();
        // SAFETY: the caller's function with the caller's argument.
        done((self.0.list).map(|f| unsafe { f(self.0.user, Some(forward), context) }))
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits::new(self.0.segment_bytes, self.0.max_bytes)
            .with_length_unit(self.0.length_unit)
            .with_longest_segment(self.0.longest_segment)
            .with_write_unit(self.0.write_unit as usize)
            .with_blank(self.0.blank as u8)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), DeviceError> {
        // SAFETY: the caller's function with the caller's argument.
        done((self.0.create).map(|f| unsafe { f(self.0.user, id, len) }))
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), DeviceError> {
        let (to, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the caller's function with the caller's argument, and `len` bytes that may be written.
        done((self.0.read).map(|f| unsafe { f(self.0.user, id, offset, to, len) }))
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let (from, len) = (bytes.as_ptr(), bytes.len());
        // SAFETY: the caller's function with the caller's argument, and `len` bytes that may be read.
        done((self.0.write).map(|f| unsafe { f(self.0.user, id, offset, from, len) }))
    }

    fn sync(&mut self, id: u32) -> Result<(), DeviceError> {
        // SAFETY: the caller's function with the caller's argument.
        done((self.0.sync).map(|f| unsafe { f(self.0.user, id) }))
    }

    fn discard(&mut self, id: u32) -> Result<(), DeviceError> {
        // SAFETY: the caller's function with the caller's argument.
        done((self.0.discard).map(|f| unsafe { f(self.0.user, id) }))
    }

    fn is_outage(&self, error: &DeviceError) -> bool {
        error.0 == EDGE_REPORT_STORAGE_OUTAGE
    }
}

/// The caller's memory, given out from front to back.
pub(crate) struct Arena {
    at: *mut u8,
    left: usize,
    /// What alignment cost at the front.
    pub(crate) skipped: usize,
}

/// What every place begins at a multiple of.
pub(crate) const ALIGN: usize = 8;

/// The room that a value takes of an arena.
pub(crate) const fn room_of<T>() -> usize {
    const { assert!(align_of::<T>() <= ALIGN) };
    size_of::<T>().next_multiple_of(ALIGN)
}

impl Arena {
    /// # Safety
    /// The memory must be the library's alone as long as anything in it is used.
    pub(crate) unsafe fn new(memory: *mut c_void, len: usize) -> Result<Self, Failure> {
        if memory.is_null() {
            return Err(Failure::at(Code::NullPointer, "memory"));
        }
        if len > isize::MAX as usize {
            return Err(Failure::at(Code::OutOfRange, "memory"));
        }
        let at: *mut u8 = memory.cast();
        let skipped = at.align_offset(ALIGN);
        Ok(Arena {
            at: at.wrapping_add(skipped),
            left: len.saturating_sub(skipped),
            skipped,
        })
    }

    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// `len` bytes, with what they have in them; `None` if there are not so many.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'static mut [u8]> {
        let rounded = len.checked_next_multiple_of(ALIGN)?;
        let at = self.at;
        self.left = self.left.checked_sub(rounded)?;
        self.at = at.wrapping_add(rounded);
        // SAFETY: within the memory that the caller gave to `new`, and given out once: `at` only moves on.
        Some(unsafe { core::slice::from_raw_parts_mut(at, len) })
    }

    /// Room for a value.
    pub(crate) fn room<T>(&mut self) -> Option<&'static mut MaybeUninit<T>> {
        let at: *mut MaybeUninit<T> = self.bytes(room_of::<T>())?.as_mut_ptr().cast();
        // SAFETY: these bytes are given out once; they are enough and aligned (`ALIGN`), and `MaybeUninit` may hold anything.
        Some(unsafe { &mut *at })
    }

    /// A table of so many values, all of them this one.
    pub(crate) fn table<T: Copy>(&mut self, len: usize, value: T) -> Option<&'static mut [T]> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let at: *mut T = self
            .bytes(len.checked_mul(size_of::<T>())?)?
            .as_mut_ptr()
            .cast();
        for index in 0..len {
            // SAFETY: these bytes are given out once; they are enough and aligned (`ALIGN`).
            unsafe { at.wrapping_add(index).write(value) }
        }
        // SAFETY: all of them were written.
        Some(unsafe { core::slice::from_raw_parts_mut(at, len) })
    }

    pub(crate) fn place<T>(&mut self, value: T) -> Option<&'static mut T> {
        self.room().map(|room| room.write(value))
    }
}
