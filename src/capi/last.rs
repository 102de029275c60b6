//! The text of the last failure, for each handle and thread.

use std::cell::RefCell;
use std::ffi::{c_char, CString};

use super::ffi::{c_string, guard_or};
use super::handle::{id_of, wattlm_handle};
use crate::error::Error;

/// Failures of `wattlm_open`, which leave no handle.
pub(super) const NO_HANDLE: u64 = 0;

/// Handles that a thread remembers failures of; the oldest is forgotten.
const REMEMBERED: usize = 16;

struct Last {
    handle: u64,
    message: CString,
    param: Option<CString>,
    retry_ms: i64,
}

thread_local! {
    static LAST: RefCell<Vec<Last>> = const { RefCell::new(Vec::new()) };
}

/// Remembers a failure for the calling thread.
pub(super) fn keep(handle: u64, error: Error) {
    let last = Last {
        handle,
        message: c_string(error.message),
        param: error.param.map(c_string),
        retry_ms: error.retry_after.map_or(-1, |wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
    };
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|all| {
        let mut all = all.borrow_mut();
        all.retain(|l| l.handle != handle);
        if all.len() == REMEMBERED {
            all.remove(0);
        }
        all.push(last);
    });
}

fn look<T>(handle: *const wattlm_handle, none: T, what: impl FnOnce(&Last) -> T) -> T {
    let id = id_of(handle);
    let found = LAST.try_with(|all| all.borrow().iter().find(|l| l.handle == id).map(what));
    found.ok().flatten().unwrap_or(none)
}

/// What went wrong: one sentence for a person, about the last call of the calling thread on this handle, its streams
/// and receipts that failed. NULL as the handle: about its last wattlm_open that failed. Never NULL; empty where nothing
/// has failed. A success does not clear it.
///
/// Owner: the library; copy it before the thread's next call.
/// Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_last_error(handle: *const wattlm_handle) -> *const c_char {
    guard_or(c"".as_ptr(), || look(handle, c"".as_ptr(), |last| last.message.as_ptr()))
}

/// The field or argument that was at fault in what wattlm_last_error tells, such as "messages[0].content"; NULL where it
/// was none.
///
/// Owner: the library; copy it before the thread's next call.
/// Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_last_error_param(handle: *const wattlm_handle) -> *const c_char {
    let none = std::ptr::null();
    guard_or(none, || look(handle, none, |last| last.param.as_ref().map_or(none, |p| p.as_ptr())))
}

/// When to try again what wattlm_last_error tells of, in milliseconds from the failure; -1 where nobody said so. A
/// failure that wattlm_status_retryable calls so may be retried without it, after a wait of the program's own.
///
/// Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_retry_after_ms(handle: *const wattlm_handle) -> i64 {
    guard_or(-1, || look(handle, -1, |last| last.retry_ms))
}
