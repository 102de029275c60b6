//! HTTP on the Unix socket: OpenAI's API for apps, a few calls of our own for administrators.
//!
//! The server bounds, parses and answers; what to run where is decided by the service behind [`Backend`]. It runs on
//! the calling thread, so that an idle daemon sleeps in one `epoll_wait` without a timer.
//!
//! What always holds: nothing a client sends or fails to read stalls another client; memory held for a client is
//! bounded by [`ServerConfig`]; a client that goes away takes its request with it.

mod account;
mod answer;
mod body;
mod conn;
mod fields;
mod io;
mod json;
mod listen;
mod metrics;
mod openai;
mod peer;
mod route;
mod sink;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

pub use listen::{bind, from_systemd, Unlink, MAX_PATH};
pub use openai::{parse, Ask, Endpoint};

use crate::energy::account::Report;
use crate::error::Error;
use crate::lane::RequestId;
use crate::service::{
    AccountQuery, Budget, EstimateReport, Generate, Handle, ModelInfo, Peer, ProfileReport, Reply, RequestReport, Sink,
    Status,
};

/// What answers. The calls and their promises are those of [`Handle`].
#[allow(missing_docs)]
pub trait Backend: Clone + 'static {
    fn generate(&self, peer: Peer, request: Generate, sink: Box<dyn Sink>) -> RequestId;
    fn cancel(&self, peer: Peer, id: RequestId, reply: Reply<Result<(), Error>>);
    fn abandon(&self, id: RequestId);
    fn models(&self, reply: Reply<Vec<ModelInfo>>);
    fn load(&self, peer: Peer, model: String, sink: Box<dyn Sink>);
    fn unload(&self, peer: Peer, model: String, reply: Reply<Result<(), Error>>);
    fn status(&self, reply: Reply<Status>);
    fn budget(&self, peer: Peer, uid: Option<u32>, reply: Reply<Result<Budget, Error>>);
    fn account(&self, peer: Peer, query: AccountQuery, reply: Reply<Result<Report, Error>>);
    fn explain(&self, peer: Peer, id: RequestId, reply: Reply<Result<RequestReport, Error>>);
    fn estimate(&self, peer: Peer, request: Generate, reply: Reply<Result<EstimateReport, Error>>);
    fn profiles(&self, reply: Reply<Vec<ProfileReport>>);
}

impl Backend for Handle {
    fn generate(&self, peer: Peer, request: Generate, sink: Box<dyn Sink>) -> RequestId {
        Handle::generate(self, peer, request, sink)
    }
    fn cancel(&self, peer: Peer, id: RequestId, reply: Reply<Result<(), Error>>) {
        Handle::cancel(self, peer, id, reply)
    }
    fn abandon(&self, id: RequestId) {
        Handle::abandon(self, id)
    }
    fn models(&self, reply: Reply<Vec<ModelInfo>>) {
        Handle::models(self, reply)
    }
    fn load(&self, peer: Peer, model: String, sink: Box<dyn Sink>) {
        Handle::load(self, peer, model, sink)
    }
    fn unload(&self, peer: Peer, model: String, reply: Reply<Result<(), Error>>) {
        Handle::unload(self, peer, model, reply)
    }
    fn status(&self, reply: Reply<Status>) {
        Handle::status(self, reply)
    }
    fn budget(&self, peer: Peer, uid: Option<u32>, reply: Reply<Result<Budget, Error>>) {
        Handle::budget(self, peer, uid, reply)
    }
    fn account(&self, peer: Peer, query: AccountQuery, reply: Reply<Result<Report, Error>>) {
        Handle::account(self, peer, query, reply)
    }
    fn explain(&self, peer: Peer, id: RequestId, reply: Reply<Result<RequestReport, Error>>) {
        Handle::explain(self, peer, id, reply)
    }
    fn estimate(&self, peer: Peer, request: Generate, reply: Reply<Result<EstimateReport, Error>>) {
        Handle::estimate(self, peer, request, reply)
    }
    fn profiles(&self, reply: Reply<Vec<ProfileReport>>) {
        Handle::profiles(self, reply)
    }
}

/// The server's limits. A connection keeps those it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Connections at once, in all. Each takes two descriptors.
    pub connections: u32,
    /// Connections at once of one uid.
    pub connections_per_uid: u32,
    /// A request's line and headers, in bytes. At least 8192.
    pub header_bytes: usize,
    /// From the first byte of a request's head to its last.
    pub header_time: Duration,
    /// A request's body, in bytes.
    pub body_bytes: usize,
    /// From the end of the head to the end of the body.
    pub body_time: Duration,
    /// Nested arrays and objects in a body. At most 100.
    pub json_depth: u32,
    /// A connection without a request is closed after this.
    pub idle_time: Duration,
    /// Text of a stream that waits for its reader, in bytes; beyond it the request is cancelled.
    pub write_buffer: usize,
    /// A reader that takes nothing for this long is disconnected.
    pub write_time: Duration,
    /// An answer that is not streamed, in bytes of text.
    pub answer_bytes: usize,
    /// A stream's head waits this long for an early error, which then is a plain HTTP error.
    pub head_hold: Duration,
    /// A silent stream gets a comment this often.
    pub keepalive: Duration,
    /// Running requests get this long to end when the daemon stops.
    pub shutdown_time: Duration,
    /// Members of this group are administrators.
    pub admin_gid: Option<u32>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            connections: 256,
            connections_per_uid: 64,
            header_bytes: 16 << 10,
            header_time: Duration::from_secs(2),
            // A prompt of 128k tokens has about half of this.
            body_bytes: 1 << 20,
            body_time: Duration::from_secs(10),
            json_depth: 32,
            idle_time: Duration::from_secs(60),
            write_buffer: 64 << 10,
            write_time: Duration::from_secs(30),
            answer_bytes: 4 << 20,
            head_hold: Duration::from_secs(1),
            keepalive: Duration::from_secs(5),
            shutdown_time: Duration::from_secs(5),
            admin_gid: None,
        }
    }
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No new requests; those that run may end.
    Draining,
    /// What still runs is ended with `shutting_down`.
    Ending,
}

/// What all connections share.
struct Shared<B> {
    backend: B,
    config: watch::Receiver<ServerConfig>,
    stage: watch::Receiver<Stage>,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    all: u32,
    by_uid: HashMap<u32, u32>,
    /// Connections that are being told that there are too many.
    turned_away: u32,
    /// Connections ever accepted, and of these refused.
    accepted_total: u64,
    refused_total: u64,
}

/// After [`Stage::Ending`] the last words get this long to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Out of descriptors or memory: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `shutdown` is ready and the running requests have ended or [`ServerConfig::shutdown_time`] is over.
/// Runs on the calling thread. A changed `config` applies to connections that are accepted later.
///
/// # Errors
/// The runtime could not be built, or the listener is not usable.
pub fn run<B: Backend>(
    listener: UnixListener,
    backend: B,
    config: watch::Receiver<ServerConfig>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    run_at(Entrance::Listener(listener), backend, config, shutdown)
}

/// Where connections come from.
pub enum Entrance {
    /// A listening socket.
    Listener(UnixListener),
    /// Somebody in this process hands them over. When nobody is left to do so, those that are there are served on.
    Handed(mpsc::UnboundedReceiver<UnixStream>),
}

/// As [`run`], for connections from anywhere.
///
/// # Errors
/// As [`run`].
pub fn run_at<B: Backend>(
    entrance: Entrance,
    backend: B,
    config: watch::Receiver<ServerConfig>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (stage, stage_seen) = watch::channel(Stage::Serving);
    let shared = Rc::new(Shared { backend, config, stage: stage_seen, counts: RefCell::default() });
    LocalSet::new().block_on(&runtime, serve(entrance, shared, stage, shutdown))
}

/// An [`Entrance`] that can be waited at.
enum Door {
    Listener(tokio::net::UnixListener),
    Handed(mpsc::UnboundedReceiver<UnixStream>),
}

impl Door {
    async fn accept(&mut self) -> std::io::Result<tokio::net::UnixStream> {
        match self {
            Door::Listener(listener) => listener.accept().await.map(|(stream, _)| stream),
            Door::Handed(streams) => match streams.recv().await {
                Some(stream) => {
                    stream.set_nonblocking(true)?;
                    tokio::net::UnixStream::from_std(stream)
                }
                None => std::future::pending().await,
            },
        }
    }
}

async fn serve<B: Backend>(
    entrance: Entrance,
    shared: Rc<Shared<B>>,
    stage: watch::Sender<Stage>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let mut door = match entrance {
        Entrance::Listener(listener) => {
            listener.set_nonblocking(true)?;
            Door::Listener(tokio::net::UnixListener::from_std(listener)?)
        }
        Entrance::Handed(streams) => Door::Handed(streams),
    };
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut complained = false;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = door.accept() => match accepted {
                Ok(stream) => {
                    complained = false;
                    conn::admit(&shared, stream, &mut connections);
                }
                Err(e) => {
                    // Connections wait in the listener's backlog meanwhile. One line for each such time.
                    if !std::mem::replace(&mut complained, true) {
                        log::error!("cannot accept connections: {e}; raise LimitNOFILE= or lower the connection limits");
                    }
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            },
            Some(ended) = connections.join_next() => report(ended),
        }
    }
    drop(door);
    let patience = shared.config.borrow().shutdown_time;
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    let mut drain = std::pin::pin!(drain);
    let _ = stage.send(Stage::Draining);
    if tokio::time::timeout(patience, &mut drain).await.is_err() {
        let _ = stage.send(Stage::Ending);
        let _ = tokio::time::timeout(LAST_WORDS, drain).await;
    }
    Ok(())
}

/// A connection's task that panicked is a defect; the others live on.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        log::error!("a connection's task failed: {e}");
    }
}
