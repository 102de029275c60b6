//! Binds scheduler and lanes: the one place that performs actions.
//!
//! A [`Service`] is a thread with an inbox. Users (`server`, `capi`) hold a [`Handle`], put messages in, and get
//! updates through the [`Sink`] of each request. It never blocks on a client, a lane or a file that a client names.

mod api;

pub use api::*;

use crate::error::Error;
use crate::lane::RequestId;

/// A way to reach the service. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Handle {}

/// An answer that comes once, from the service's thread; must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

#[allow(unused_variables, missing_docs)]
impl Handle {
    /// Takes a request. Its updates go to `sink`; a refusal too, as [`Update::Failed`].
    pub fn generate(&self, peer: Peer, request: Generate, sink: Box<dyn Sink>) -> RequestId {
        todo!()
    }

    /// Cancels a request. `not_found` where it does not run or belongs to somebody else.
    pub fn cancel(&self, peer: Peer, id: RequestId, reply: Reply<Result<(), Error>>) {
        todo!()
    }

    /// The receiver of this request is gone: end it, tell nobody.
    pub fn abandon(&self, id: RequestId) {
        todo!()
    }

    /// The registered models.
    pub fn models(&self, reply: Reply<Vec<ModelInfo>>) {
        todo!()
    }

    /// Loads a model and keeps it until its idle time or [`Handle::unload`]. Progress and the end go to `sink`:
    /// `Loading`, then `Done` or `Failed`.
    pub fn load(&self, peer: Peer, model: String, sink: Box<dyn Sink>) {
        todo!()
    }

    /// Lets a model go as soon as its requests have ended; the reply comes when it is gone.
    pub fn unload(&self, peer: Peer, model: String, reply: Reply<Result<(), Error>>) {
        todo!()
    }

    /// How it is.
    pub fn status(&self, reply: Reply<Status>) {
        todo!()
    }
}
