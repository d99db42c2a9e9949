//! Structs that begin with their size, so that they can grow: in the eyes of another header they have fewer members at their end than
//! this library knows, or more.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use edge_report::Code;

use crate::error::{Failure, Place};

/// A struct that begins with its size.
///
/// # Safety
/// It is `repr(C)` and plain data, its first member is that `usize`, and it may be all zeros.
pub(crate) unsafe trait Growing: Copy {
    const KIND: &'static Kind;
}

/// What is known of such a struct.
pub(crate) struct Kind {
    #[cfg(feature = "full")]
    pub(crate) name: &'static str,
    /// Its size in the first header of this SONAME: no header has less.
    pub(crate) first: usize,
    /// Its size here.
    pub(crate) known: usize,
    pub(crate) align: usize,
}

/// No struct will ever be longer; what was never initialised often seems to be.
const MOST: usize = 4096;

// Each of these is there once, not for each struct.
impl Kind {
    /// The bare library is linked with the header that came with it: its sizes are the same, and room is dear.
    pub(crate) const fn can_have(&self, size: usize) -> bool {
        if cfg!(feature = "full") {
            size >= self.first && size <= MOST
        } else {
            size == self.known
        }
    }

    /// A size that it cannot have.
    pub(crate) fn wrong_size(&self, place: Place) -> Failure {
        let failure = Failure::at(Code::StructSize, place);
        #[cfg(feature = "full")]
        let failure = failure.with_detail(&std::format!(
            "begin with {}_INIT",
            self.name.to_uppercase()
        ));
        failure
    }

    /// The size that the caller's struct says it has.
    ///
    /// # Safety
    /// `at` is readable, unless it is NULL or not aligned.
    #[inline(never)]
    unsafe fn size(&self, at: *const usize, place: Place) -> Result<usize, Failure> {
        if at.is_null() {
            return Err(Failure::at(Code::NullPointer, place));
        }
        if at.addr() & self.align.wrapping_sub(1) != 0 {
            return Err(Failure::at(Code::OutOfRange, place));
        }
        // SAFETY: the caller's word.
        let size = unsafe { *at };
        match self.can_have(size) {
            true => Ok(size),
            false => Err(self.wrong_size(place)),
        }
    }

    /// The same for one that the caller has filled in. What this library does not know of it must be zeros: it cannot do what it does not know.
    ///
    /// # Safety
    /// As many bytes as it says are readable.
    #[inline(never)]
    unsafe fn given(&self, at: *const usize, place: Place) -> Result<usize, Failure> {
        // SAFETY: the caller's word.
        unsafe {
            let size = self.size(at, place)?;
            self.knows_all(at, size, place)?;
            Ok(size)
        }
    }

    /// # Safety
    /// `size` bytes at `at` are readable.
    unsafe fn knows_all(&self, at: *const usize, size: usize, place: Place) -> Result<(), Failure> {
        if !cfg!(feature = "full") {
            return Ok(());
        }
        let at: *const u8 = at.cast();
        for offset in self.known..size {
            // SAFETY: within the struct.
            if unsafe { *at.wrapping_add(offset) } != 0 {
                return Err(Failure::at(Code::StructSize, place).with_detail(
                    "a member that this version of the library does not know is set",
                ));
            }
        }
        Ok(())
    }

    /// Checks that so many of them in a row, as far apart as this, end before memory does.
    #[inline(never)]
    fn can_be_many(&self, len: usize, step: usize, place: Place) -> Result<(), Failure> {
        let fits = len
            .checked_mul(step)
            .is_some_and(|bytes| isize::try_from(bytes).is_ok());
        match fits && step & self.align.wrapping_sub(1) == 0 {
            true => Ok(()),
            false => Err(Failure::at(Code::OutOfRange, place)),
        }
    }
}

/// Where a struct of an older header is made a whole one.
pub(crate) struct Room<T>(MaybeUninit<T>);

impl<T: Growing> Room<T> {
    /// With zeros for what an older header does not have.
    pub(crate) fn new() -> Self {
        // SAFETY: it may be all zeros.
        Self::over(|| unsafe { core::mem::zeroed() })
    }

    /// With what `rest` has for what an older header does not have.
    pub(crate) fn over(rest: impl FnOnce() -> T) -> Self {
        Room(match const { T::KIND.first == size_of::<T>() } {
            true => MaybeUninit::uninit(),
            false => MaybeUninit::new(rest()),
        })
    }

    /// The members that both sides know, over the rest.
    ///
    /// # Safety
    /// `size` bytes at `at`, the first of all headers at the least, are readable and aligned as long as the result is used.
    unsafe fn whole(&mut self, at: *const T, size: usize) -> &T {
        if const { T::KIND.first == size_of::<T>() } || size >= size_of::<T>() {
            // SAFETY: so much is there.
            return unsafe { &*at };
        }
        // SAFETY: initialised when it was made; so much is there, and less than `T` has.
        unsafe {
            let to = self.0.as_mut_ptr();
            core::ptr::copy_nonoverlapping(at.cast::<u8>(), to.cast::<u8>(), size);
            &*to
        }
    }
}

/// What the caller has filled in; nothing for NULL.
///
/// # Safety
/// As many bytes as it says hold as long as the result is used.
pub(crate) unsafe fn given<T: Growing>(
    ptr: *const T,
    place: impl Into<Place>,
    room: &mut Room<T>,
) -> Result<Option<&T>, Failure> {
    if ptr.is_null() {
        return Ok(None);
    }
    unsafe { required(ptr, place, room) }.map(Some)
}

/// What the caller has filled in.
///
/// # Safety
/// As many bytes as it says hold as long as the result is used.
pub(crate) unsafe fn required<T: Growing>(
    ptr: *const T,
    place: impl Into<Place>,
    room: &mut Room<T>,
) -> Result<&T, Failure> {
    // SAFETY: checked by `given`; that there is a struct is the caller's word.
    unsafe {
        let size = T::KIND.given(ptr.cast(), place.into())?;
        Ok(room.whole(ptr, size))
    }
}

/// Structs in a row, as far apart as the first one says.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a, T> {
    at: *const T,
    pub(crate) len: usize,
    step: usize,
    lent: PhantomData<&'a T>,
}

impl<T: Growing> Row<'_, T> {
    /// # Safety
    /// `len` structs at `at` hold as long as this is used.
    pub(crate) unsafe fn new(
        at: *const T,
        len: usize,
        place: impl Into<Place>,
    ) -> Result<Self, Failure> {
        let mut step = 0;
        if len > 0 {
            let place = place.into();
            // SAFETY: that there is a struct is the caller's word.
            step = unsafe { T::KIND.size(at.cast(), place) }?;
            T::KIND.can_be_many(len, step, place)?;
        }
        if !cfg!(feature = "full") {
            step = size_of::<T>();
        }
        Ok(Row {
            at,
            len,
            step,
            lent: PhantomData,
        })
    }

    /// One of them; or nothing, if the index is too large.
    pub(crate) fn get<'r>(&self, index: usize, room: &'r mut Room<T>) -> Option<&'r T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: there are `len` of them, as `new` was told.
        Some(unsafe { room.whole(self.place_of(index), self.step) })
    }

    /// Checks that one of them has no more than is known here.
    pub(crate) fn check(&self, index: usize, place: impl Into<Place>) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { T::KIND.knows_all(self.place_of(index).cast(), self.step, place.into()) }
    }

    fn place_of(&self, index: usize) -> *const T {
        // Never past the end: see `new`.
        self.at.wrapping_byte_add(index.wrapping_mul(self.step))
    }
}

/// A place for a struct that is given back: checked before anything is done. What is beyond the caller's members is left out, and what
/// this library does not know is left as it is.
pub(crate) struct Answer<T> {
    at: *mut T,
    size: usize,
}

impl<T: Growing> Answer<T> {
    /// # Safety
    /// As many bytes as it says are the library's alone for the call.
    pub(crate) unsafe fn new(at: *mut T, name: &'static str) -> Result<Self, Failure> {
        // SAFETY: that there is a struct is the caller's word.
        let size = unsafe { T::KIND.size(at.cast_const().cast(), name.into()) }?;
        Ok(Answer { at, size })
    }

    /// One that the caller may leave out.
    ///
    /// # Safety
    /// As many bytes as it says are the library's alone for the call.
    pub(crate) unsafe fn optional(at: *mut T, name: &'static str) -> Result<Option<Self>, Failure> {
        if at.is_null() {
            return Ok(None);
        }
        unsafe { Self::new(at, name) }.map(Some)
    }

    /// A place whatever it says its size is: every header has so much as the first.
    pub(crate) unsafe fn or_first(at: *mut T) -> Self {
        // SAFETY: the caller has a place for one there.
        let size = unsafe { *at.cast::<usize>() };
        let is_known = T::KIND.can_have(size);
        Answer {
            at,
            size: if is_known { size } else { T::KIND.first },
        }
    }

    /// Places in a row, as far apart as the first one says, to be written one by one.
    ///
    /// # Safety
    /// `len` structs at `at` are the library's alone for the call.
    pub(crate) unsafe fn row(at: *mut T, len: usize, name: &'static str) -> Result<Self, Failure> {
        let first = unsafe { Self::new(at, name) }?;
        T::KIND.can_be_many(len, first.size, name.into())?;
        Ok(first)
    }

    /// The place of that index.
    pub(crate) const fn at(&self, index: usize) -> Self {
        Answer {
            at: self.at.wrapping_byte_add(index.wrapping_mul(self.size)),
            size: self.size,
        }
    }

    /// Fills in a struct that is all zeros; where it is to be, since what is made there takes no stack.
    pub(crate) fn fill(self, fill: impl FnOnce(&mut T)) {
        if const { T::KIND.first == size_of::<T>() } || self.size >= size_of::<T>() {
            // SAFETY: checked when it was made; it may be all zeros.
            fill(unsafe {
                self.at.write_bytes(0, 1);
                &mut *self.at
            });
        } else {
            // SAFETY: it may be all zeros; so much is there, and less than `T` has.
            unsafe {
                let mut all: T = core::mem::zeroed();
                fill(&mut all);
                let from = (&raw const all).cast::<u8>();
                core::ptr::copy_nonoverlapping(from, self.at.cast::<u8>(), self.size);
            }
        }
        // SAFETY: its first member.
        unsafe { self.at.cast::<usize>().write(self.size) }
    }
}
