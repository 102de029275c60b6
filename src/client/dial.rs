//! Connects to a Unix socket, in bounded time.
//!
//! A connection waits in the listener's backlog until it is accepted, and for room in it where it is full: a daemon
//! that is stopped, or out of descriptors, would hold its clients up for ever. The wait for room is bounded here; that
//! for the answer, by the client's silence.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    connect as connect_to, setsockopt, socket, sockopt, AddressFamily, SockFlag, SockType, UnixAddr,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Code, Error, Result};

/// How long to wait for room in the backlog: it empties as fast as the daemon accepts, which takes microseconds.
const ROOM: Duration = Duration::from_secs(5);

/// Connects.
///
/// # Errors
/// `no_daemon`, `forbidden`, `too_many_connections`.
pub(super) fn connect(path: &Path) -> Result<UnixStream> {
    let shown = path.display();
    let tried = || -> nix::Result<UnixStream> {
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let room = TimeVal::milliseconds(i64::try_from(ROOM.as_millis()).unwrap_or(i64::MAX));
        setsockopt(&fd, sockopt::SendTimeout, &room)?;
        let address = UnixAddr::new(path)?;
        loop {
            match connect_to(fd.as_raw_fd(), &address) {
                Ok(()) => return Ok(UnixStream::from(fd)),
                // A signal's handler ran; the wait for room begins anew.
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    };
    tried().map_err(|e| match e {
        Errno::ENOENT | Errno::ECONNREFUSED => Error::new(
            Code::NoDaemon,
            format!("no daemon listens on {shown}; start one with 'systemctl start wattlm' or 'wattlmd', or name its socket"),
        ),
        Errno::EACCES | Errno::EPERM => Error::new(
            Code::Forbidden,
            format!("you may not open {shown}; join its group ('ls -l {shown}' names it) and log in again"),
        ),
        Errno::EAGAIN => Error::new(
            Code::TooManyConnections,
            format!("the daemon at {shown} takes no connections: it is stopped or out of descriptors; try again later"),
        )
        .retry_after(Duration::from_secs(1)),
        Errno::EMFILE | Errno::ENFILE => Error::new(
            Code::TooManyConnections,
            format!("this program has no descriptor left to connect to {shown}: close some, or raise its limit (ulimit -n)"),
        )
        .retry_after(Duration::from_secs(1)),
        e => Error::new(Code::NoDaemon, format!("cannot connect to {shown}: {}", e.desc())),
    })
}
