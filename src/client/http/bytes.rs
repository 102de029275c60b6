//! Bytes to and from the connection, and what was read and is not used yet.
//!
//! It knows no HTTP. What always holds: it waits no longer than it may, be that until a time that was given or for as long as
//! the other side may be silent.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{send as send_bytes, MsgFlags};

use super::{lost, Response};
use crate::error::{Code, Error, Result};

const READ: usize = 16 << 10;

impl Response {
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// At least one and at most `max` bytes.
    pub(super) fn take(&mut self, max: u64, until: Option<Instant>) -> Result<Vec<u8>> {
        if self.buffered().is_empty() && !self.fill(until)? {
            return Err(lost());
        }
        let n = usize::try_from(max).unwrap_or(usize::MAX).min(self.buffered().len());
        let part = self.buffered()[..n].to_vec();
        self.at += n;
        Ok(part)
    }

    /// Reads more into the buffer; `false` at the connection's end.
    pub(super) fn fill(&mut self, until: Option<Instant>) -> Result<bool> {
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        // The room is made once and not for each token.
        if self.buffer.len() < self.end + READ {
            self.buffer.resize(self.end + READ, 0);
        }
        let silence = self.silence.map(|s| self.heard + s);
        let result = loop {
            if std::mem::take(&mut self.drained) {
                if let Err(e) = wait(&self.stream, PollFlags::POLLIN, earlier(until, silence)) {
                    self.drained = true;
                    break Err(e);
                }
            }
            match (&*self.stream).read(&mut self.buffer[self.end..]) {
                Ok(n) => break Ok(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(_) => break Err(lost()),
            }
        };
        if let Ok(n) = result {
            self.drained = n > 0 && n < self.buffer.len() - self.end;
            self.end += n;
        }
        self.heard = if result.is_ok() { Instant::now() } else { self.heard };
        result.map(|n| n > 0)
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            // A library must not raise SIGPIPE in a program that has not asked for it.
            match send_bytes(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    wait(&self.stream, PollFlags::POLLOUT, self.silence.map(|s| Instant::now() + s))?;
                }
                Err(_) => return Err(lost()),
            }
        }
        Ok(())
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// Waits until the socket is ready or the time is over.
fn wait(stream: &UnixStream, what: PollFlags, until: Option<Instant>) -> Result<()> {
    loop {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(t) => {
                let left = t.saturating_duration_since(Instant::now());
                // Rounded up, so that the last fraction of a millisecond does not spin.
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(stream.as_fd(), what)], timeout) {
            Ok(1..) => return Ok(()),
            Ok(_) if until.is_some_and(|t| Instant::now() >= t) => {
                return Err(Error::new(Code::RequestTimeout, "the daemon was silent for too long; is it overloaded?"));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::new(Code::Internal, format!("cannot wait for the daemon: {e}"))),
        }
    }
}
