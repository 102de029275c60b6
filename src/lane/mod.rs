//! A lane: one variant of a model, loaded on one device, answering requests in one continuous batch.
//!
//! This module holds what `service` and a lane say to each other ([`ToLane`], [`FromLane`]: `message`, with `job` and
//! `config`) and the trait that hides where the lane runs ([`Lane`]): a worker process in the daemon, a thread in direct
//! mode. It holds no behaviour but how a step's cost is split ([`step_weights`]). The same enums travel over the worker's
//! socketpair, encoded by `worker::ipc`.
//!
//! What always holds: a lane answers every accepted [`ToLane::Start`] with exactly one [`FromLane::Done`] ([`ToLane::Prefill`]
//! with that or one [`FromLane::Exported`]), or it dies, which its owner learns as [`LaneEvent::Gone`], once, as the last
//! event of that lane.

mod config;
mod device;
mod job;
mod message;
mod parcel;
pub mod sharing;
pub mod trust;

mod weights;

use std::sync::Arc;
use std::time::Duration;

pub use config::{KvType, LaneConfig, LaneInfo, Pace};
pub use device::{Device, GpuId, GpuInfo, Gpus, GPU_MODULES};
pub use job::{Finish, Job, Message, Prompt, Sampling, Usage};
pub use message::{FromLane, SequenceState, Step, StepPart, ToLane};
pub use parcel::{Carries, Parcel};

use serde::{Deserialize, Serialize};

pub use weights::{cell_cost, step_weights, tokens_weight};

/// Names one request for as long as the service lives. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Names one lane instance. A lane that is loaded again gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneId(pub u64);

/// Whose key-value prefixes may be shared: requests of one tenant see each other's cached prompts, others never.
/// In the daemon this is the peer's uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tenant(pub u32);

/// Why a lane is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// It exited after [`ToLane::Quit`] or [`FromLane::LoadFailed`].
    Clean,
    /// It was killed by this signal.
    Signal(i32),
    /// It exited with this status on its own.
    Exit(i32),
    /// It stopped answering and was killed.
    Hung,
    /// It broke the protocol and was killed.
    Protocol(String),
    /// It could not be started.
    Spawn(String),
}

/// What the owner of a lane learns from it, in order.
#[derive(Debug)]
pub enum LaneEvent {
    /// It said this.
    Said(FromLane),
    /// It is gone: reaped, nothing of it is left. The last event.
    Gone {
        /// Why.
        why: Gone,
        /// Its last words, if it had any.
        last_words: Option<String>,
    },
}

/// Where a lane's events go. Called from a thread of the lane's, which it holds up while its owner lags behind;
/// [`LaneEvent::Gone`] is never held up.
pub type EventFn = Arc<dyn Fn(LaneId, LaneEvent) + Send + Sync>;

/// A running lane. Dropping it kills it; [`LaneEvent::Gone`] still follows.
pub trait Lane: Send {
    /// Queues a message. Never blocks; what cannot be delivered is lost with the lane, and `Gone` follows.
    fn send(&self, msg: ToLane);
    /// Ends it at once, without its cooperation. `why` becomes the reason in [`LaneEvent::Gone`].
    fn kill(&self, why: Gone);
    /// The process, where it is one.
    fn pid(&self) -> Option<u32>;
    /// Where its CPU time can be read.
    fn cpu(&self) -> Option<CpuClock> {
        self.pid().and_then(|pid| i32::try_from(pid).ok()).map(CpuClock::Process)
    }
}

/// What counts a lane's CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuClock {
    /// A process of its own.
    Process(i32),
    /// This process, less what it had used when the lane began. Whatever else runs in it counts as the lane's.
    Inside(Duration),
}

/// Brings lanes up.
pub trait LaneFactory: Send {
    /// What finds the GPUs on which it could start lanes, given the folder of backend modules. Slow; runs elsewhere and
    /// ends within a bounded time, whatever a driver does.
    fn gpus(&self) -> Box<dyn FnOnce(&std::path::Path) -> Gpus + Send> {
        Box::new(|_| Gpus::none("this program starts no lanes on GPUs"))
    }

    /// Starts a lane and sends it [`ToLane::Load`]. Does not wait for it. A failure to start is told by
    /// [`LaneEvent::Gone`], like any other.
    fn start(&self, id: LaneId, config: LaneConfig, events: EventFn) -> Box<dyn Lane>;
}
