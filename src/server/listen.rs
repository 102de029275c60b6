//! The listening socket: our own at a path, or the one systemd passes.
//!
//! Our own is created so that nobody can ever connect under a wrong mode, without touching the process's umask: the
//! mode is set on the descriptor before `bind` (Linux gives the file that mode less the umask), group and full mode
//! are set on the file, and only then does `listen` follow, before which every connect is refused. A lock on the
//! folder keeps two daemons that start at once from removing each other's socket.
//!
//! What always holds: what is not a dead socket is never removed.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AtFlags, Flock, FlockArg};
use nix::sys::socket::{
    bind as sys_bind, getsockname, getsockopt, listen, socket, sockopt, AddressFamily, Backlog, SockFlag, SockType,
    UnixAddr,
};
use nix::sys::stat::{fchmod, fchmodat, FchmodatFlags, Mode};
use nix::unistd::{fchownat, Gid};

/// `sun_path` holds 108 bytes, the last a NUL.
pub const MAX_PATH: usize = 107;

/// Removes the socket's file when dropped, if it is still ours.
#[derive(Debug)]
pub struct Unlink {
    path: PathBuf,
    /// Open only to be compared: as long as it is, no other file can get its inode's number.
    file: File,
}

impl Drop for Unlink {
    fn drop(&mut self) {
        let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
        let (ours, there) = (self.file.metadata().map(inode), std::fs::symlink_metadata(&self.path).map(inode));
        if matches!((ours, there), (Ok(a), Ok(b)) if a == b) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, an absolute path of at most [`MAX_PATH`] bytes, with exactly `mode`'s permission bits and, where
/// given, this group. A socket at which nobody listens any more is replaced.
///
/// # Errors
/// The message says what stands in the way and what to do.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<(UnixListener, Unlink)> {
    let shown = path.display();
    let say = |kind, what: String| Error::new(kind, what);
    if path.as_os_str().len() > MAX_PATH {
        let n = path.as_os_str().len();
        return Err(say(
            ErrorKind::InvalidInput,
            format!(
                "the socket's path has {n} bytes, the system takes at most {MAX_PATH}; choose a shorter one: {shown}"
            ),
        ));
    }
    let (Some(dir), Some(name)) = (path.parent().filter(|d| d.is_absolute()), path.file_name()) else {
        return Err(say(
            ErrorKind::InvalidInput,
            format!("the socket's path must be absolute and name a file: {shown}"),
        ));
    };
    let folder =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(dir).map_err(
            |e| say(e.kind(), format!("cannot open the socket's folder {}: {e}; create it first", dir.display())),
        )?;
    let folder = lock(folder, dir)?;

    remove_stale(path)?;
    let fail = |what: &str, e: nix::errno::Errno| {
        say(io::Error::from(e).kind(), format!("cannot {what} the socket {shown}: {}", e.desc()))
    };
    let mode = Mode::from_bits_truncate(mode & 0o777);
    let fd =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(|e| fail("create", e))?;
    fchmod(&fd, mode).map_err(|e| fail("set the mode of", e))?;
    let address = UnixAddr::new(path).map_err(|e| fail("name", e))?;
    sys_bind(fd.as_raw_fd(), &address).map_err(|e| fail("create", e))?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    // From here on the file is removed again if anything fails.
    let unlink = Unlink { path: path.to_owned(), file };
    if let Some(gid) = group {
        fchownat(&*folder, name, None, Some(Gid::from_raw(gid)), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| fail(&format!("give group {gid} to"), e))?;
    }
    fchmodat(&*folder, name, mode, FchmodatFlags::FollowSymlink).map_err(|e| fail("set the mode of", e))?;
    // The kernel cuts the backlog to net.core.somaxconn.
    listen(&fd, Backlog::MAXCONN).map_err(|e| fail("listen on", e))?;
    Ok((UnixListener::from(fd), unlink))
}

/// Another daemon holds the lock only while it binds; two seconds are plenty.
fn lock(mut folder: File, dir: &Path) -> io::Result<Flock<File>> {
    for _ in 0..40 {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => folder = back,
            Err((_, e)) => return Err(e.into()),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Error::new(ErrorKind::WouldBlock, format!("another program keeps {} locked", dir.display())))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let shown = path.display();
    if !meta.file_type().is_socket() {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("{shown} exists and is not a socket; move it away")));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::AddrInUse, format!("another daemon already listens on {shown}"))),
        Err(e) => Err(Error::new(e.kind(), format!("cannot tell whether another daemon listens on {shown}: {e}"))),
    }
}

/// The listening socket that systemd passes, if it passes one. Call once, early: it takes the descriptor.
///
/// # Errors
/// More than one descriptor, or one that is not a listening Unix stream socket.
pub fn from_systemd() -> io::Result<Option<UnixListener>> {
    let mut fds = sd_notify::listen_fds()?;
    let Some(fd) = fds.next() else { return Ok(None) };
    if fds.len() > 0 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("systemd passes {} sockets, exactly one is expected; keep one ListenStream=", fds.len() + 1),
        ));
    }
    // SAFETY: systemd's protocol gives this process, and nobody else in it, the descriptors from 3 on; `listen_fds`
    // checked that the protocol was meant for this process.
    check_passed(unsafe { OwnedFd::from_raw_fd(fd) }).map(Some)
}

fn check_passed(fd: OwnedFd) -> io::Result<UnixListener> {
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the descriptor that systemd passes is {what}; write ListenStream=/run/wattlm/wattlm.sock"),
        )
    };
    if getsockopt(&fd, sockopt::SockType).map_err(|_| wrong("not a socket"))? != SockType::Stream {
        return Err(wrong("not a stream socket"));
    }
    getsockname::<UnixAddr>(fd.as_raw_fd()).map_err(|_| wrong("not a Unix socket"))?;
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        return Err(wrong("not listening; Accept=yes is not supported"));
    }
    Ok(UnixListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode_of(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn mode_is_exact_and_the_file_goes_with_the_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for mode in [0o600, 0o660, 0o666] {
            let (_listener, guard) = bind(&path, mode, None).unwrap();
            assert_eq!(mode_of(&path), mode);
            UnixStream::connect(&path).unwrap();
            drop(guard);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, guard) = bind(&path, 0o600, None).unwrap();
        assert_eq!(bind(&path, 0o600, None).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        let (_second, second_guard) = bind(&path, 0o600, None).unwrap();
        // The first guard's file is gone; it must not remove its successor's.
        drop(guard);
        assert!(path.exists());
        drop(second_guard);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path, 0o600, None).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(bind(&link, 0o600, None).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn paths_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        assert!(bind(&long, 0o600, None).unwrap_err().to_string().contains("at most 107"));
        assert_eq!(bind(Path::new("relative"), 0o600, None).unwrap_err().kind(), ErrorKind::InvalidInput);
        let missing = dir.path().join("no/such/folder");
        assert!(bind(&missing, 0o600, None).unwrap_err().to_string().contains("create it first"));
    }

    #[test]
    fn two_that_start_at_once_leave_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (stale, guard) = bind(&path, 0o600, None).unwrap();
        drop(stale);
        let bound: Vec<_> = std::thread::scope(|s| {
            let all: Vec<_> = (0..8).map(|_| s.spawn(|| bind(&path, 0o600, None).ok())).collect();
            all.into_iter().filter_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(bound.len(), 1);
        UnixStream::connect(&path).unwrap();
        drop(guard);
    }

    #[test]
    fn what_systemd_passes_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        assert!(check_passed(file.into()).unwrap_err().to_string().contains("not a socket"));
        let (a, _b) = UnixStream::pair().unwrap();
        assert!(check_passed(a.into()).unwrap_err().to_string().contains("not listening"));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(check_passed(tcp.into()).unwrap_err().to_string().contains("not a Unix socket"));
        let unix = UnixListener::bind(dir.path().join("s")).unwrap();
        assert!(check_passed(unix.into()).is_ok());
    }
}
