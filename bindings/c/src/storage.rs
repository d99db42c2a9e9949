//! What a courier stands on: the caller's memory, given out piece by piece, and a device behind callbacks.

use core::ffi::c_void;
use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr;

use edge_report::Code;
use edge_report::courier::Storage;

use crate::error::Failure;
use crate::types::sized;

/// The most segments of one storage.
pub(crate) const MAX_SEGMENTS: usize = 16;

/// Takes the id and length of a segment; `context` is passed on.
pub type edge_report_storage_each =
    Option<unsafe extern "C" fn(context: *mut c_void, id: u32, len: usize)>;

/// A device where reports wait, such as flash: a few functions, and what to call them with. A courier needs two: one for what waits,
/// one for the dead letters.
///
/// The device keeps segments of bytes, each written from front to back. Each function returns 0, or an error number of the
/// device, which comes back as `device_error`. They are called in the course of calls to the courier, by the same thread, and
/// must not call it, throw or longjmp.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_storage {
    /// `sizeof(edge_report_storage)`.
    pub struct_size: usize,
    /// Passed to each function.
    pub user: *mut c_void,
    /// The length of a segment, unless a report needs a longer one: a multiple of 8, and no less than a 15th of `max_bytes`.
    pub segment_bytes: usize,
    /// What all segments together may have. While superseded reports are dropped, there is one more for a moment.
    pub max_bytes: usize,
    /// Gives the id and length of each segment there is to `each`, in any order.
    pub list: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            each: edge_report_storage_each,
            context: *mut c_void,
        ) -> i32,
    >,
    /// Makes a segment that reads as all 0x00 or all 0xFF. When this returns, it survives a power cut. An id is used only once.
    /// After an error it is either not there or all blank.
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
    /// Writes at `offset`. It and `len` are multiples of 8, and no byte is written twice. It may reach the device late, in parts
    /// and in any order, until `sync`.
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
    /// Removes a segment. When this returns, it stays removed after a power cut.
    pub discard: Option<unsafe extern "C" fn(user: *mut c_void, id: u32) -> i32>,
}

/// Why a device failed.
pub(crate) trait Device: fmt::Display {
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

impl Callbacks {
    /// # Safety
    /// `table` is readable, and its functions are what they are said to be.
    pub(crate) unsafe fn new(
        table: *const edge_report_storage,
        name: &'static str,
    ) -> Result<Self, Failure> {
        let null = Failure::at(Code::NullPointer, name);
        let Some(table) = (unsafe { sized(table, name) })? else {
            return Err(null);
        };
        let all = table.list.is_some()
            && table.create.is_some()
            && table.read.is_some()
            && table.write.is_some()
            && table.sync.is_some()
            && table.discard.is_some();
        if !all {
            return Err(null);
        }
        let most = MAX_SEGMENTS.saturating_sub(1);
        let enough = table.segment_bytes.saturating_mul(most) >= table.max_bytes;
        if !enough || table.segment_bytes == 0 || table.segment_bytes % 8 != 0 {
            return Err(Failure::at(Code::OutOfRange, "segment_bytes"));
        }
        Ok(Callbacks(*table))
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
            let each = unsafe { &mut *context.cast::<&mut dyn FnMut(u32, usize)>() };
            each(id, len);
        }
        let mut each = each;
        let context = ptr::from_mut(&mut each).cast();
        done((self.0.list).map(|f| unsafe { f(self.0.user, Some(forward), context) }))
    }

    fn limits(&self) -> (usize, usize) {
        (self.0.segment_bytes, self.0.max_bytes)
    }

    fn create(&mut self, id: u32, len: usize) -> Result<(), DeviceError> {
        done((self.0.create).map(|f| unsafe { f(self.0.user, id, len) }))
    }

    fn read(&mut self, id: u32, offset: usize, buffer: &mut [u8]) -> Result<(), DeviceError> {
        let (to, len) = (buffer.as_mut_ptr(), buffer.len());
        done((self.0.read).map(|f| unsafe { f(self.0.user, id, offset, to, len) }))
    }

    fn write(&mut self, id: u32, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let (from, len) = (bytes.as_ptr(), bytes.len());
        done((self.0.write).map(|f| unsafe { f(self.0.user, id, offset, from, len) }))
    }

    fn sync(&mut self, id: u32) -> Result<(), DeviceError> {
        done((self.0.sync).map(|f| unsafe { f(self.0.user, id) }))
    }

    fn discard(&mut self, id: u32) -> Result<(), DeviceError> {
        done((self.0.discard).map(|f| unsafe { f(self.0.user, id) }))
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
        Some(unsafe { core::slice::from_raw_parts_mut(at, len) })
    }

    pub(crate) fn place<T>(&mut self, value: T) -> Option<&'static mut T> {
        let at: *mut T = self.bytes(room_of::<T>())?.as_mut_ptr().cast();
        unsafe {
            at.write(value);
            Some(&mut *at)
        }
    }
}
