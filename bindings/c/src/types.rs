//! What crosses the border: views of memory, each checked once on its way in.

use core::ffi::{c_char, c_void};
use core::slice;

use edge_report::{Code, Path};

use crate::error::{Failure, Place};

/// 0 (`EDGE_REPORT_OK`), or the number of what is wrong: one of `EDGE_REPORT_E_…` and `EDGE_REPORT_W_…`. Numbers are never reused.
pub type edge_report_result = i32;

/// Success.
pub(crate) const OK: edge_report_result = 0;

/// Stands where there is no offset, no job.
pub const EDGE_REPORT_NONE: usize = usize::MAX;

/// A view of text: UTF-8 unless said otherwise, no NUL at its end. It owns nothing.
///
/// `ptr` NULL with `len` 0 is an absent text, so a struct of zeros has none; a text that is there and empty has another `ptr`.
/// Make one with `EDGE_REPORT_STR("literal")` where it is initialised, or with `edge_report_str_of(pointer)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct edge_report_str {
    /// First byte.
    pub ptr: *const c_char,
    /// Number of bytes.
    pub len: usize,
}

impl edge_report_str {
    pub(crate) const ABSENT: Self = edge_report_str {
        ptr: core::ptr::null(),
        len: 0,
    };

    pub(crate) const fn from_bytes(bytes: &[u8]) -> Self {
        edge_report_str {
            ptr: bytes.as_ptr().cast(),
            len: bytes.len(),
        }
    }

    pub(crate) const fn is_absent(self) -> bool {
        self.ptr.is_null() && self.len == 0
    }

    pub(crate) fn from_option(text: Option<&str>) -> Self {
        text.map_or(Self::ABSENT, |text| Self::from_bytes(text.as_bytes()))
    }

    /// # Safety
    /// The view must hold for `'a`.
    pub(crate) unsafe fn bytes<'a>(
        self,
        place: impl Into<Place>,
    ) -> Result<Option<&'a [u8]>, Failure> {
        if self.is_absent() {
            return Ok(None);
        }
        unsafe { bytes(self.ptr.cast(), self.len, place) }.map(Some)
    }

    /// # Safety
    /// The view must hold for `'a`.
    pub(crate) unsafe fn text<'a>(
        self,
        place: impl Into<Place>,
    ) -> Result<Option<&'a str>, Failure> {
        unsafe { self.text_at(place.into()) }
    }

    #[inline(never)]
    unsafe fn text_at<'a>(self, place: Place) -> Result<Option<&'a str>, Failure> {
        let Some(bytes) = (unsafe { self.bytes(place) })? else {
            return Ok(None);
        };
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let mut failure = Failure::at(Code::JsonNotUtf8, place);
                failure.offset = error.valid_up_to();
                Err(failure)
            }
        }
    }

    /// # Safety
    /// The view must hold for `'a`.
    pub(crate) unsafe fn required<'a>(self, place: impl Into<Place>) -> Result<&'a str, Failure> {
        let place = place.into();
        unsafe { self.text(place) }?.ok_or(Failure::at(Code::NullPointer, place))
    }
}

/// # Safety
/// `len` bytes at `ptr` must hold for `'a`.
pub(crate) unsafe fn bytes<'a>(
    ptr: *const c_void,
    len: usize,
    place: impl Into<Place>,
) -> Result<&'a [u8], Failure> {
    unsafe { array(ptr.cast(), len, place) }
}

/// # Safety
/// `len` values at `ptr` must hold for `'a`.
pub(crate) unsafe fn array<'a, T>(
    ptr: *const T,
    len: usize,
    place: impl Into<Place>,
) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check_pointer::<T>(ptr, len, place)?;
    // SAFETY: checked for NULL, alignment and length; that so many are there is the caller's word.
    Ok(unsafe { slice::from_raw_parts(ptr, len) })
}

/// # Safety
/// `len` bytes at `ptr` must be the caller's alone for `'a`.
pub(crate) unsafe fn buffer<'a>(
    ptr: *mut c_void,
    len: usize,
    place: impl Into<Place>,
) -> Result<&'a mut [u8], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    let ptr: *mut u8 = ptr.cast();
    check_pointer::<u8>(ptr, len, place)?;
    // SAFETY: checked for NULL and length; that so many are there, and the caller's alone, is the caller's word.
    Ok(unsafe { slice::from_raw_parts_mut(ptr, len) })
}

/// # Safety
/// The value at `ptr` must hold for `'a`.
pub(crate) unsafe fn reference<'a, T>(
    ptr: *const T,
    place: impl Into<Place>,
) -> Result<&'a T, Failure> {
    check_pointer::<T>(ptr, 1, place)?;
    // SAFETY: checked for NULL and alignment; that there is a value is the caller's word.
    Ok(unsafe { &*ptr })
}

fn check_pointer<T>(ptr: *const T, len: usize, place: impl Into<Place>) -> Result<(), Failure> {
    let most = (isize::MAX as usize).checked_div(size_of::<T>());
    let code = if ptr.is_null() {
        Code::NullPointer
    } else if !ptr.is_aligned() || most.is_none_or(|most| len > most) {
        Code::OutOfRange
    } else {
        return Ok(());
    };
    Err(Failure::at(code, place))
}

/// A place for a result, checked before anything is done.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    pub(crate) fn new(ptr: *mut T, name: &'static str) -> Result<Self, Failure> {
        check_pointer::<T>(ptr, 1, name)?;
        Ok(Output(ptr))
    }

    /// One that the caller may leave out.
    pub(crate) fn optional(ptr: *mut T, name: &'static str) -> Result<Option<Self>, Failure> {
        if ptr.is_null() {
            return Ok(None);
        }
        Self::new(ptr, name).map(Some)
    }

    pub(crate) fn set(&self, value: T) {
        // What was there means nothing, and may never have been initialised.
        // SAFETY: checked when it was made; that there is a place is the caller's word.
        unsafe { self.0.write(value) }
    }
}

impl From<&'static str> for Place {
    fn from(name: &'static str) -> Self {
        Place::Name(name)
    }
}

impl From<Path<'static>> for Place {
    fn from(path: Path<'static>) -> Self {
        Place::Path(path)
    }
}
