//! Binds scheduler, models and lanes: the one place that performs actions.
//!
//! The service is a thread with an inbox. Its users (`server`, later `capi`) hold a [`Handle`], put messages in, and
//! get updates through the [`Sink`] of each request. The thread never waits for a client or a lane: clients have
//! bounded buffers, lanes have their own threads. Of files it reads the kernel's, and the headers of new models when it
//! is told to reload; a model's digest is compared on a thread of its own. With nothing to do it sleeps without a timer.
//!
//! What always holds: every request gets exactly one last update, whatever its worker does; a worker can neither
//! answer another lane's requests nor hold up the thread.

mod accounting;
mod api;
mod arrivals;
mod backlog;
mod budget;
mod catalog;
mod choices;
mod clients;
mod core;
mod cpu;
mod curves;
mod explain;
mod gpus;
mod habits;
mod helpers;
mod keep;
mod lanes;
mod learned;
mod metering;
mod plans;
mod predict;
mod prefixes;
mod profiles;
mod purses;
mod reports;
mod requests;
mod rests;
mod rules;
mod sampler;
mod tallies;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use api::*;
pub use plans::*;

use crate::config::Config;
use crate::energy::account::Report;
use crate::error::{Code, Error};
use crate::lane::{Gpus, LaneEvent, LaneFactory, LaneId, RequestId};

/// An answer that comes once, from the service's thread; must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// What the thread is told.
enum Msg {
    Generate { peer: Peer, id: RequestId, request: Box<Generate>, sink: Box<dyn Sink> },
    Cancel { peer: Peer, id: RequestId, reply: Reply<Result<(), Error>> },
    Abandon(RequestId),
    Models(Reply<Vec<ModelInfo>>),
    Load { peer: Peer, model: String, sink: Box<dyn Sink> },
    Unload { peer: Peer, model: String, reply: Reply<Result<(), Error>> },
    Status(Reply<Status>),
    Budget { peer: Peer, uid: Option<u32>, reply: Reply<Result<Budget, Error>> },
    Account { peer: Peer, query: AccountQuery, reply: Reply<Result<Report, Error>> },
    Explain { peer: Peer, id: RequestId, reply: Reply<Result<RequestReport, Error>> },
    Estimate { peer: Peer, request: Box<Generate>, reply: Reply<Result<EstimateReport, Error>> },
    Profiles(Reply<Vec<ProfileReport>>),
    Lane(LaneId, LaneEvent),
    Verified(LaneId, Result<(), Error>),
    Sampled(Box<sampler::Sample>),
    Gpus(Gpus),
    Reload(Box<Config>, Reply<()>),
    ShutDown { grace: Duration },
}

/// A way to reach the service. Cheap to clone; usable from any thread. Once the service has ended, requests fail with
/// `shutting_down` and replies are dropped unanswered.
#[derive(Clone)]
pub struct Handle {
    tx: Sender<Msg>,
    next_id: Arc<AtomicU64>,
}

impl Handle {
    /// Takes a request. Its updates go to `sink`; a refusal too, as [`Update::Failed`].
    pub fn generate(&self, peer: Peer, request: Generate, sink: Box<dyn Sink>) -> RequestId {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let msg = Msg::Generate { peer, id, request: Box::new(request), sink };
        if let Err(e) = self.tx.send(msg) {
            if let Msg::Generate { mut sink, .. } = e.0 {
                let _ = sink.push(Update::Failed(Error::new(Code::ShuttingDown, "the service has ended")));
            }
        }
        id
    }

    /// Cancels a request. `not_found` where it does not run or belongs to somebody else.
    pub fn cancel(&self, peer: Peer, id: RequestId, reply: Reply<Result<(), Error>>) {
        self.tell(Msg::Cancel { peer, id, reply });
    }

    /// The receiver of this request is gone: end it, tell nobody.
    pub fn abandon(&self, id: RequestId) {
        self.tell(Msg::Abandon(id));
    }

    /// The registered models.
    pub fn models(&self, reply: Reply<Vec<ModelInfo>>) {
        self.tell(Msg::Models(reply));
    }

    /// Loads a model and keeps it until its idle time or [`Handle::unload`]. Progress and the end go to `sink`:
    /// `Loading`, then `Done` or `Failed`. `forbidden` unless the peer is an administrator.
    pub fn load(&self, peer: Peer, model: String, sink: Box<dyn Sink>) {
        self.tell(Msg::Load { peer, model, sink });
    }

    /// Lets a model go as soon as its requests have ended; the reply comes when it is gone. `forbidden` unless the
    /// peer is an administrator.
    pub fn unload(&self, peer: Peer, model: String, reply: Reply<Result<(), Error>>) {
        self.tell(Msg::Unload { peer, model, reply });
    }

    /// How it is.
    pub fn status(&self, reply: Reply<Status>) {
        self.tell(Msg::Status(reply));
    }

    /// The peer's energy budgets, or another user's: `forbidden` unless the peer is an administrator.
    pub fn budget(&self, peer: Peer, uid: Option<u32>, reply: Reply<Result<Budget, Error>>) {
        self.tell(Msg::Budget { peer, uid, reply });
    }

    /// What the account says, rounded unless the peer is an administrator. `forbidden` where it asks for others' lines
    /// and is none.
    pub fn account(&self, peer: Peer, query: AccountQuery, reply: Reply<Result<Report, Error>>) {
        self.tell(Msg::Account { peer, query, reply });
    }

    /// How one of the last requests ran, and why there. `not_found` where it is not known (any more) or somebody else's.
    pub fn explain(&self, peer: Peer, id: RequestId, reply: Reply<Result<RequestReport, Error>>) {
        self.tell(Msg::Explain { peer, id, reply });
    }

    /// What a request would take, without running it.
    pub fn estimate(&self, peer: Peer, request: Generate, reply: Reply<Result<EstimateReport, Error>>) {
        self.tell(Msg::Estimate { peer, request: Box::new(request), reply });
    }

    /// What is known of models on devices.
    pub fn profiles(&self, reply: Reply<Vec<ProfileReport>>) {
        self.tell(Msg::Profiles(reply));
    }

    /// Replaces the configuration and scans the model folders again; the reply comes when that is done. Running lanes
    /// keep what they were started with.
    pub fn reload(&self, config: Config, reply: Reply<()>) {
        self.tell(Msg::Reload(Box::new(config), reply));
    }

    /// Ends the service: queued requests are refused, running ones get `grace` to end, then everything is stopped.
    /// [`Service::join`] waits for it.
    pub fn shut_down(&self, grace: Duration) {
        self.tell(Msg::ShutDown { grace });
    }

    fn tell(&self, msg: Msg) {
        // A service that has ended answers nobody: the reply is dropped, which its waiter sees.
        let _ = self.tx.send(msg);
    }
}

/// The models that a service with this configuration would serve, for programs that find none running. Reads the
/// headers of all files.
pub fn list_models(config: Config) -> Vec<ModelInfo> {
    catalog::Catalog::new(config).list(|_| "unloaded".to_owned())
}

/// The running service.
pub struct Service {
    handle: Handle,
    thread: JoinHandle<()>,
    helpers: Arc<helpers::Helpers>,
}

impl Service {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(config: Config, factory: Box<dyn LaneFactory>) -> std::io::Result<Service> {
        let (tx, rx) = channel();
        // Ids of one run do not come again in the next, unless the clock is set back meanwhile, so that a log line or a
        // late DELETE means one request.
        let next_id = Arc::new(AtomicU64::new(crate::clock::unix_seconds() << 20));
        let handle = Handle { tx: tx.clone(), next_id };
        let helpers = Arc::new(helpers::Helpers::default());
        let theirs = Arc::clone(&helpers);
        let thread = thread::Builder::new().name("service".into()).spawn(move || {
            helpers::enter(theirs);
            core::Core::new(config, factory, tx).run(&rx);
        })?;
        Ok(Service { handle, thread, helpers })
    }

    /// A way to reach it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until it has ended. Returns `false` if its thread panicked.
    pub fn join(self) -> bool {
        drop(self.handle);
        self.thread.join().is_ok()
    }

    /// As [`Service::join`], and until the threads that it had for slow things have ended, for which it waits at most
    /// this long more. Returns `false` if its thread panicked, or if some of them hang.
    pub fn join_all(self, limit: Duration) -> bool {
        let helpers = Arc::clone(&self.helpers);
        let clean = self.join();
        helpers.join(limit) && clean
    }
}
