//! Who is at the other end of a connection, as the kernel says.
//!
//! Uid, gid and pid come from `SO_PEERCRED`, the groups from `SO_PEERGROUPS`: both were fixed when the client
//! connected and cannot be forged by it. The user database is not asked: it may block, and it would give a process in
//! a container the groups of the host's user with the same number.
//!
//! What always holds: a peer whose credentials cannot be read is no peer.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::service::Peer;

/// Reads the peer's credentials. It is an administrator if it is root, the daemon's own user, or in `admin_gid`.
pub(super) fn peer(socket: &impl AsFd, admin_gid: Option<u32>) -> io::Result<Peer> {
    let cred = getsockopt(socket, sockopt::PeerCredentials)?;
    let (uid, gid) = (cred.uid(), cred.gid());
    let admin = uid == 0
        || uid == geteuid().as_raw()
        || admin_gid.is_some_and(|admin| gid == admin || groups(socket).is_ok_and(|g| g.contains(&admin)));
    Ok(Peer { uid, gid, pid: cred.pid(), admin })
}

/// The peer's supplementary groups when it connected.
fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    // Most users are in a handful of groups; the kernel says how many when it is not enough (at most 65536).
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * 4).map_err(io::Error::other)?;
        // SAFETY: `groups` is writable for `bytes` bytes, `bytes` outlives the call, and gid_t is a u32.
        let rc = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        let needed = bytes as usize / 4;
        if rc == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn own_process_is_seen_as_it_is() {
        let (a, _b) = UnixStream::pair().unwrap();
        let p = peer(&a, None).unwrap();
        assert_eq!(p.uid, geteuid().as_raw());
        assert_eq!(p.pid, std::process::id() as i32);
        assert!(p.admin, "the daemon's own user is an administrator");
    }

    #[test]
    fn groups_are_those_of_the_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let mut seen = groups(&a).unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        seen.sort_unstable();
        own.sort_unstable();
        assert_eq!(seen, own);
    }
}
