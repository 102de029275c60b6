//! The system calls of the worker that have no safe wrapper.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

/// Closes every descriptor above standard error but `keep`.
///
/// # Errors
/// What the kernel says; `ENOSYS` before Linux 5.9, where the descriptors stay open (they are close-on-exec anyway).
pub fn close_all_but(keep: RawFd) -> io::Result<()> {
    let close = |first: RawFd, last: libc::c_uint| -> io::Result<()> {
        let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
        if first > last {
            return Ok(());
        }
        // SAFETY: plain numbers; the caller runs this before anything else in the process owns a descriptor.
        match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    if keep > 3 {
        close(3, libc::c_uint::try_from(keep - 1).map_err(io::Error::other)?)?;
    }
    close(keep.max(2) + 1, libc::c_uint::MAX)
}

/// Ends the process without running exit handlers or destructors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: always safe to call; nothing runs after it.
    unsafe { libc::_exit(status) }
}

/// Any call, with plain numbers, to see whether it is allowed.
#[cfg(test)]
pub fn call(nr: libc::c_long, args: [libc::c_long; 4]) -> io::Result<()> {
    // SAFETY: the tests pass numbers only, never an address, of calls that change nothing in this process's memory.
    match unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3]) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
