//! One connection: admitted or turned away, served, and dropped as soon as its peer is gone.
//!
//! A peer that closes its socket must be noticed even while nothing is read or written, and told apart from one that
//! has only finished sending (`SHUT_WR`) and waits for its answer. On a Unix socket the kernel does tell: `EPOLLHUP`
//! comes only when the peer has closed both directions. A second descriptor of the socket waits for nothing else
//! (an interest in urgent data, which Unix sockets never have, reports hang-ups only).
//!
//! What always holds: dropping a connection's task drops its request's [`body::Ticket`], which tells the service.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{unix::AsyncFd, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::io::{Io, Phase, State, Times};
use super::{answer, peer, route, Backend, ServerConfig, Shared, Stage};
use crate::error::{Code, Error};
use crate::service::Peer;

/// The kernel's share of what waits for a slow reader, in bytes. It doubles the figure for its own bookkeeping.
const SEND_BUFFER: usize = 32 << 10;
/// Connections that are told at the same time that there are too many; further ones are just closed.
const TURNED_AWAY: u32 = 32;
/// A client that was turned away gets this long to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the task of a new connection.
pub(super) fn admit<B: Backend>(shared: &Rc<Shared<B>>, stream: UnixStream, tasks: &mut JoinSet<()>) {
    let config = shared.config.borrow().clone();
    let peer = match peer::peer(&stream, config.admin_gid) {
        Ok(peer) => peer,
        Err(e) => return log::warn!("a connection without credentials was closed: {e}"),
    };
    shared.counts.borrow_mut().accepted_total += 1;
    let refusal = match Seat::take(shared, peer, &config) {
        Ok(seat) => match stream.as_fd().try_clone_to_owned() {
            Ok(watched) => {
                tasks.spawn_local(serve(Rc::clone(shared), stream, watched, peer, config, seat));
                return;
            }
            Err(_) => Error::new(Code::TooManyConnections, "the daemon is out of descriptors; try again later"),
        },
        Err(e) => e,
    };
    let mut counts = shared.counts.borrow_mut();
    counts.refused_total += 1;
    if counts.turned_away < TURNED_AWAY {
        counts.turned_away += 1;
        let shared = Rc::clone(shared);
        tasks.spawn_local(async move {
            let _ = tokio::time::timeout(LINGER, turn_away(stream, refusal)).await;
            shared.counts.borrow_mut().turned_away -= 1;
        });
    }
}

/// A connection's place in the counts.
struct Seat<B> {
    shared: Rc<Shared<B>>,
    uid: u32,
}

impl<B> Seat<B> {
    fn take(shared: &Rc<Shared<B>>, peer: Peer, config: &ServerConfig) -> Result<Seat<B>, Error> {
        let mut counts = shared.counts.borrow_mut();
        let own = counts.by_uid.get(&peer.uid).copied().unwrap_or(0);
        let full = if own >= config.connections_per_uid {
            format!("user {} has {own} connections open, the most one user may have", peer.uid)
        } else if counts.all >= config.connections {
            format!("{} connections are open, the most there may be", counts.all)
        } else {
            counts.all += 1;
            counts.by_uid.insert(peer.uid, own + 1);
            return Ok(Seat { shared: Rc::clone(shared), uid: peer.uid });
        };
        let message = format!("{full}; close some or try again later");
        Err(Error::new(Code::TooManyConnections, message).retry_after(Duration::from_secs(1)))
    }
}

impl<B> Drop for Seat<B> {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.borrow_mut();
        counts.all -= 1;
        if let Some(n) = counts.by_uid.get_mut(&self.uid) {
            *n -= 1;
            if *n == 0 {
                counts.by_uid.remove(&self.uid);
            }
        }
    }
}

async fn serve<B: Backend>(
    shared: Rc<Shared<B>>,
    stream: UnixStream,
    watched: OwnedFd,
    peer: Peer,
    config: ServerConfig,
    _seat: Seat<B>,
) {
    // Deprecated for types whose descriptor may change under it; an OwnedFd's does not, and the successor is unsafe.
    #[allow(deprecated)]
    let hangup = match AsyncFd::with_interest(watched, Interest::PRIORITY) {
        Ok(fd) => fd,
        Err(e) => return log::warn!("a connection could not be watched and was closed: {e}"),
    };
    // Only a bound on memory: a kernel that refuses keeps its default.
    let _ = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER);
    let state = State::new();
    let times = Times { idle: config.idle_time, head: config.header_time, write: config.write_time };
    let io = TokioIo::new(Io::new(stream, Rc::clone(&state), times));

    let header_bytes = config.header_bytes.max(8192);
    let mut stage = shared.stage.clone();
    let context = Rc::new(route::Context { shared: Rc::clone(&shared), peer, config, state: Rc::clone(&state) });
    let service = service_fn(move |request| {
        let context = Rc::clone(&context);
        context.state.phase.set(Phase::Busy);
        async move { Ok::<_, Infallible>(route::answer(context, request).await) }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .max_buf_size(header_bytes)
        .max_header_size(header_bytes)
        // The stream's own limits in time take its place: they tell an idle connection from a slow one.
        .header_read_timeout(None)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    if *stage.borrow_and_update() != Stage::Serving {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            biased;
            served = &mut connection => {
                if let Err(e) = served {
                    log::debug!("connection of uid {}: {e}", peer.uid);
                }
                return;
            }
            _ = hangup.ready(Interest::PRIORITY) => return,
            changed = stage.changed() => match *stage.borrow_and_update() {
                Stage::Serving if changed.is_ok() => {}
                Stage::Serving | Stage::Draining => connection.as_mut().graceful_shutdown(),
                Stage::Ending => {
                    connection.as_mut().graceful_shutdown();
                    if let Some(queue) = state.queue.take() {
                        queue.fail(route::shutting_down());
                    }
                }
            },
        }
    }
}

/// Says why and reads what the client sends meanwhile: closing earlier would cost it the answer.
async fn turn_away(mut stream: UnixStream, error: Error) {
    let body = answer::error(&error).to_string();
    let retry = error.retry_after.map_or(String::new(), |d| format!("retry-after: {}\r\n", route::seconds_up(d)));
    let head = format!(
        "HTTP/1.1 {} Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n",
        error.code.http_status(),
        body.len(),
    );
    if stream.write_all((head + &body).as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut ignored = [0; 1024];
    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
}
