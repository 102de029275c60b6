//! A connection's byte stream with the limits in time that HTTP itself lacks.
//!
//! It ends a connection that is idle too long, that sends a request's head too slowly, or whose peer takes nothing of
//! an answer for too long. The body's time is the business of `body`.
//!
//! What always holds: no timer runs while a request is being answered and its peer reads.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{sleep, sleep_until, Instant, Sleep};

use super::sink::Queue;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// The first byte of a request's head has come.
    Head,
    /// A request is being read or answered.
    Busy,
}

/// What a connection's stream, its service and its task share. HTTP/1 answers one request at a time.
pub(super) struct State {
    pub phase: Cell<Phase>,
    /// The queue of the request being answered, if it has one.
    pub queue: RefCell<Option<Arc<Queue>>>,
}

impl State {
    pub(super) fn new() -> Rc<State> {
        Rc::new(State { phase: Cell::new(Phase::Idle), queue: RefCell::new(None) })
    }
}

/// Limits in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub idle: Duration,
    pub head: Duration,
    pub write: Duration,
}

/// The stream that hyper reads and writes.
pub(super) struct Io {
    stream: UnixStream,
    state: Rc<State>,
    times: Times,
    /// Since when the connection is idle or its head is under way.
    since: (Phase, Instant),
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl Io {
    pub(super) fn new(stream: UnixStream, state: Rc<State>, times: Times) -> Io {
        Io { stream, state, times, since: (Phase::Idle, Instant::now()), read_timer: None, write_timer: None }
    }

    /// Called when there is nothing to read: `Ready` when it has been so for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.state.phase.get();
        let limit = match phase {
            Phase::Busy => return Poll::Pending,
            Phase::Idle => self.times.idle,
            Phase::Head => self.times.head,
        };
        if self.since.0 != phase {
            self.since = (phase, Instant::now());
        }
        let deadline = self.since.1 + limit;
        let timer = self.read_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        self.read_timer = None;
        Poll::Ready(match phase {
            // Nothing read means the end of the stream: an idle connection closes quietly.
            Phase::Idle => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head came too slowly")),
        })
    }

    fn watch_write<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_timer = None;
            return poll;
        }
        let limit = self.times.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_pending() {
            return self.poll_patience(cx);
        }
        self.read_timer = None;
        if buf.filled().len() > before && self.state.phase.get() == Phase::Idle {
            self.state.phase.set(Phase::Head);
            self.since = (Phase::Head, Instant::now());
        }
        poll
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
