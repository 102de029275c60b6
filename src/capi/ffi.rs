//! What every entry does with C's arguments, and what keeps panics in.

use std::ffi::{c_char, CStr, CString};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::last;
use super::status::{wattlm_status, WATTLM_OK};
use crate::error::{Code, Error, Result};

/// Runs an entry that answers with a status. What goes wrong is kept for `wattlm_last_error` of the handle `id`.
pub(super) fn guard(id: u64, body: impl FnOnce() -> Result<()>) -> wattlm_status {
    // Unwind safety: whatever a panic left half done is behind a mutex that is then poisoned or belongs to an object
    // that says `internal` from then on.
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return WATTLM_OK,
        Ok(Err(error)) => error,
        Err(_) => Error::new(Code::Internal, "a defect of libwattlm was caught; please report what you called"),
    };
    let status = i32::from(error.code.number());
    // Losing the text to a second panic is better than losing the program.
    let _ = catch_unwind(AssertUnwindSafe(|| last::keep(id, error)));
    status
}

/// Runs an entry that answers with something else.
pub(super) fn guard_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// What `wattlm_last_error` says of an argument.
pub(super) fn bad(name: &str, what: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("{name} {what}")).at(name)
}

/// A string that must be there.
///
/// # Safety
/// `ptr` is NULL or a NUL-terminated string that lives as long as `'a`.
pub(super) unsafe fn text<'a>(ptr: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: as promised by the caller.
    unsafe { optional_text(ptr, name) }?.ok_or_else(|| bad(name, "is NULL"))
}

/// A string that may be NULL.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional_text<'a>(ptr: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if ptr.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller promises the rest.
    let bytes = unsafe { CStr::from_ptr(ptr) };
    bytes.to_str().map(Some).map_err(|e| bad(name, &format!("is not UTF-8 from byte {} on", e.valid_up_to())))
}

/// An array that must be there unless it is empty.
///
/// # Safety
/// `ptr` is NULL or the first of `count` elements that live as long as `'a`.
pub(super) unsafe fn array<'a, T>(ptr: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if ptr.is_null() {
        return Err(bad(name, "is NULL though its count is not 0"));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(bad(name, "has an impossible count"));
    }
    // SAFETY: not NULL, within the address space, and the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(ptr, count) })
}

/// Where an entry leaves its result.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Leaves it.
    pub(super) fn set(&self, value: T) {
        // SAFETY: `out` was promised a place for a `T`, which is plain data.
        unsafe { self.0.write(value) }
    }
}

/// A place for a result, emptied at once, so that it never keeps what was there before a failure.
///
/// # Safety
/// `ptr` is NULL or points to a place for a `T`, initialised or not, during the call.
pub(super) unsafe fn out<T>(ptr: *mut T, name: &str, empty: T) -> Result<Out<T>> {
    if ptr.is_null() {
        return Err(bad(name, "is NULL"));
    }
    let place = Out(ptr);
    place.set(empty);
    Ok(place)
}

/// A place for a result that the caller may not want.
///
/// # Safety
/// As [`out`].
pub(super) unsafe fn optional_out<T>(ptr: *mut T, empty: T) -> Option<Out<T>> {
    if ptr.is_null() {
        return None;
    }
    let place = Out(ptr);
    place.set(empty);
    Some(place)
}

/// Options that a program may fill in as an older or a newer header declares them.
///
/// # Safety
/// The type is `repr(C)` plain data, valid with all bytes zero, and begins with its `usize` of `struct_size`.
pub(super) unsafe trait Versioned: Copy {}

/// No header will ever declare options this long: `struct_size` was not set.
const MAX_STRUCT: usize = 4096;

/// Reads options as the kernel reads its callers' structs (`copy_struct_from_user`): what an older header does not have
/// is zero, which means the default; what a newer one adds is accepted as long as it is zero. NULL is all zero.
///
/// # Safety
/// `ptr` is NULL or points to a `size_t` with the number of bytes that are readable from there on.
pub(super) unsafe fn options<T: Versioned>(ptr: *const T, name: &str) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    if !ptr.is_null() {
        // SAFETY: the caller promises a `size_t` there.
        let size = unsafe { ptr.cast::<usize>().read_unaligned() };
        if !(size_of::<usize>()..=MAX_STRUCT).contains(&size) {
            let what = "is not the struct's size: zero the struct, then set struct_size to sizeof of it";
            return Err(bad(&format!("{name}.struct_size"), what));
        }
        let known = size.min(size_of::<T>());
        // SAFETY: `size` bytes are readable, `size_of::<T>()` are writable, and they do not overlap.
        let tail = unsafe {
            ptr.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known);
            std::slice::from_raw_parts(ptr.cast::<u8>().add(known), size - known)
        };
        if tail.iter().any(|b| *b != 0) {
            let what = "sets something that this libwattlm is too old to know; use the library of that header";
            return Err(Error::new(Code::UnsupportedField, format!("{name} {what}")).at(name));
        }
    }
    // SAFETY: zero is valid for `T`, and so is what a caller writes into plain data.
    Ok(unsafe { value.assume_init() })
}

/// A string for C. What a NUL would cut off is not cut off silently: NULs become U+FFFD.
pub(super) fn c_string(text: impl Into<String>) -> CString {
    let text = text.into();
    CString::new(text).unwrap_or_else(|e| {
        let bytes = e.into_vec();
        CString::new(String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}")).unwrap_or_default()
    })
}
