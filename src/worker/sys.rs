//! The system calls of the worker that have no safe wrapper.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};

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

/// Descriptors that one message of the kernel's may bring us. An honest peer sends one.
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
/// Not by `nix`, which tells nothing of the descriptors of a message that was cut off: they would stay open for ever.
///
/// # Errors
/// The socket's; `InvalidData` where more descriptors came than an honest peer sends, or this process may have no more:
/// those that did come are closed.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    // Aligned as the headers in it are, with room for one with `MOST_AT_ONCE` descriptors and a little more. What finds no
    // room the kernel closes itself.
    let mut control = [0u64; 8];
    let mut bytes = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: numbers and pointers, for which zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut bytes, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: `message` names two buffers of ours, as long as it says, that outlive the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let brought = descriptors(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 || brought.len() > MOST_AT_ONCE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a message has"));
    }
    fds.extend(brought);
    Ok(got)
}

/// All descriptors of a message that was just received, cut off or not. Call it once for a message.
#[allow(clippy::unnecessary_cast)]
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    // SAFETY: the kernel has filled the control buffer of `message`, which is aligned, and says how far: within that the
    // headers that CMSG_* find are whole, and so is the data that each announces. The descriptors were made for us by
    // this message, and nobody else knows them.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = at.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                let bytes = (header.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let each = (0..bytes / size_of::<RawFd>()).map(|i| data.add(i).read_unaligned());
                all.extend(each.map(|fd| OwnedFd::from_raw_fd(fd)));
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
    all
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

    use super::*;

    /// A message with so many copies of a pipe's writing end, of which the sender then has none any more.
    fn send_copies(socket: &UnixStream, copies: usize) -> OwnedFd {
        let (reading, writing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let fds = vec![writing.as_raw_fd(); copies];
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(socket.as_raw_fd(), &[io::IoSlice::new(b"x")], &control, MsgFlags::empty(), None).unwrap();
        reading
    }

    /// Whether nobody has the other end. A process that another test starts has it until it executes its program.
    fn is_closed(reading: &OwnedFd, ms: u16) -> bool {
        poll(&mut [PollFd::new(reading.as_fd(), PollFlags::POLLIN)], PollTimeout::from(ms)).unwrap() == 1
    }

    #[test]
    fn descriptors_that_nobody_expects_are_closed_however_many_come() {
        for copies in [MOST_AT_ONCE + 1, 100, 253] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let reading = send_copies(&theirs, copies);
            let mut fds = VecDeque::new();
            let error = receive(ours.as_fd(), &mut [0; 8], &mut fds).unwrap_err();
            assert_eq!((error.kind(), fds.len()), (io::ErrorKind::InvalidData, 0));
            assert!(is_closed(&reading, 20_000), "of {copies} some are still open");
        }
    }

    #[test]
    fn descriptors_that_are_expected_are_kept() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let reading = send_copies(&theirs, MOST_AT_ONCE);
        let mut fds = VecDeque::new();
        assert_eq!(receive(ours.as_fd(), &mut [0; 8], &mut fds).unwrap(), 1);
        assert_eq!(fds.len(), MOST_AT_ONCE);
        fds.truncate(1);
        assert!(!is_closed(&reading, 0));
        drop(fds);
        assert!(is_closed(&reading, 20_000));
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut [0; 8], &mut VecDeque::new()).unwrap(), 0);
    }
}
