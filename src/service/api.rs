//! What the service's users see: requests, updates, status. Plain data, no behaviour.
//!
//! `server` turns HTTP into these and back, `capi` the C ABI. They never see lanes or the scheduler. Here stand requests and
//! where their updates go; `receipt` is what they come back with, `status` the service, `budget` what a client may use.

mod budget;
mod receipt;
mod status;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use budget::{AccountQuery, Budget, PurseStanding, Whose};
pub use receipt::{EnergyReceipt, Outcome, Receipt};
pub use status::{EnergyStatus, LaneStatus, ModelInfo, Status, Totals, VariantInfo};

use crate::error::Error;
use crate::lane::{Prompt, RequestId, Sampling};
use crate::sched::{Backend, Class, Policy};
use crate::units::Microjoules;

/// Who asks, as the kernel says (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Process; 0 where unknown.
    pub pid: i32,
    /// May load and unload models, cancel other users' requests. Root and the daemon's own user may, and members of
    /// the administrators' group.
    pub admin: bool,
}

/// A request for text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generate {
    /// A model's name, or `model:variant`. Empty: the default model.
    pub model: String,
    /// What the model is given.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Where the answer ends. At most 16, none empty.
    pub stop: Vec<String>,
    /// At most this many tokens. `None`: the configured default.
    pub max_tokens: Option<u32>,
    /// How urgent.
    pub class: Class,
    /// The answer must be complete after this long, or the request ends with `deadline_exceeded`.
    pub deadline: Option<Duration>,
    /// It may use this much energy; then it ends with `length`, and its receipt says so.
    pub max_joules: Option<Microjoules>,
    /// Its first token should be there after this long: a wish for the choice of where it runs.
    pub max_ttft: Option<Duration>,
    /// What to save for it. `None`: as configured.
    pub policy: Option<Policy>,
    /// Where it may run. `None`: anywhere.
    pub backend: Option<Backend>,
    /// A lesser variant, or a shorter answer, will do where nothing else keeps what it asks for.
    pub degrade: bool,
    /// Its lane works with so many threads meanwhile. For measurements, by administrators.
    pub threads: Option<u32>,
}

/// What a client learns of its request, in order. Exactly one [`Update::Done`] or [`Update::Failed`] comes last.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// It waits for the model to load; from 0 to 1.
    Loading(f32),
    /// It runs.
    Started {
        /// The model's canonical name.
        model: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, found in the cache.
        cached_tokens: u32,
    },
    /// Text: one or more whole UTF-8 characters.
    Text(String),
    /// It ended well.
    Done(Box<Outcome>),
    /// It ended with an error.
    Failed(Error),
}

/// Where a request's updates go.
pub trait Sink: Send {
    /// Takes an update. Must not block. `Err` says that the receiver is gone or too slow: the request is cancelled
    /// and nothing more is pushed.
    fn push(&mut self, update: Update) -> Result<(), SinkClosed>;
}

/// Why a sink takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkClosed {
    /// The receiver is gone.
    Gone,
    /// The receiver reads too slowly and its buffer is full.
    Full,
}

/// How the service names a request on the wire: `req-` and the id in hex.
pub fn request_name(id: RequestId) -> String {
    format!("req-{:08x}", id.0)
}

/// The id in a name made by [`request_name`].
pub fn request_id(name: &str) -> Option<RequestId> {
    let hex = name.strip_prefix("req-")?;
    u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() >= 8).map(RequestId)
}
