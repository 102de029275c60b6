//! The system calls of the worker that have no safe wrapper.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags};

/// Closes every descriptor above standard error but `keep`.
///
/// # Errors
/// What the kernel says; `ENOSYS` before Linux 5.9, where the descriptors stay open (they are close-on-exec anyway).
#[cfg(feature = "engine")]
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

/// Descriptors that one message of the kernel's may bring us.
const MOST_AT_ONCE: usize = 4;

/// Sends what it can of `bytes` (not empty) with this descriptor; gives the number of bytes.
///
/// # Errors
/// The socket's.
pub fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let fds = [fd.as_raw_fd()];
    let (bytes, control) = ([io::IoSlice::new(bytes)], [ControlMessage::ScmRights(&fds)]);
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &bytes, &control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            sent => return sent.map_err(io::Error::from),
        }
    }
}

/// Reads bytes from a socket, and keeps the descriptors that come with them. 0 at the end of the stream.
///
/// # Errors
/// The socket's; `InvalidData` where more descriptors came than an honest peer sends.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MOST_AT_ONCE]);
    let mut buf = [io::IoSliceMut::new(buf)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buf, Some(&mut space), flags)?;
    for control in message.cmsgs().map_err(io::Error::from)? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else knows them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a message has"));
    }
    Ok(message.bytes)
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
