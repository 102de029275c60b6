//! A lane: one variant of a model, loaded on one device, answering requests in one continuous batch.
//!
//! This module holds what `service` and a lane say to each other ([`ToLane`], [`FromLane`]) and the trait that
//! hides where the lane runs ([`Lane`]): a worker process in the daemon, a thread in direct mode. It holds no
//! behaviour but how a step's cost is split ([`step_weights`]). The same enums travel over the worker's socketpair,
//! encoded by `worker::ipc`.
//!
//! What always holds: a lane answers every accepted [`ToLane::Start`] with exactly one [`FromLane::Done`] ([`ToLane::Prefill`]
//! with that or one [`FromLane::Exported`]), or it dies, which its owner learns as [`LaneEvent::Gone`], once, as the last
//! event of that lane.

mod device;
mod parcel;
pub mod sharing;
pub mod trust;

mod weights;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use device::{Device, GpuId, GpuInfo, Gpus, GPU_MODULES};
pub use parcel::{Carries, Parcel};

use serde::{Deserialize, Serialize};

use crate::error::Error;
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

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// The participant's name, for templates that use it.
    pub name: Option<String>,
}

/// What the model is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Rendered by the model's own chat template, then tokenized with special tokens recognised.
    Chat(Vec<Message>),
    /// Tokenized as it stands; text that looks like a special token is plain text. BOS is added where the model
    /// asks for it.
    Text(String),
}

/// How the next token is chosen. Fields that are `None` leave the stage out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy. Range 0 to 2.
    pub temperature: f32,
    /// Nucleus: keep the smallest set of tokens whose probability is at least this. Range (0, 1].
    pub top_p: Option<f32>,
    /// Keep this many most likely tokens. At least 1.
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this share of the most likely one. Range [0, 1].
    pub min_p: Option<f32>,
    /// Subtracted from a token's logit once for each time it occurred in the answer. Range -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it occurred in the answer. Range -2 to 2.
    pub presence_penalty: f32,
    /// Divides (positive) or multiplies (negative) the logits of tokens seen in the last 64. 1 is off. Range (0, 4].
    pub repeat_penalty: f32,
    /// The same seed on the same device with the same prompt gives the same text. `None` draws one.
    pub seed: Option<u32>,
    /// Added to the logits of these tokens. Range -100 to 100.
    pub logit_bias: Vec<(i32, f32)>,
    /// Never choose a token that ends the generation: it goes on to `max_tokens`. For measurements.
    pub ignore_eos: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_p: None,
            top_k: None,
            min_p: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_penalty: 1.0,
            seed: None,
            logit_bias: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// One request as a lane runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Chosen by the service.
    pub id: RequestId,
    /// Whose prefix cache it may use.
    pub tenant: Tenant,
    /// What the model is given.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Generation ends before the first of these would appear in the answer. At most 16, none empty.
    pub stop: Vec<String>,
    /// At most this many tokens are generated. `None`: to the end of the context.
    pub max_tokens: Option<u32>,
    /// The client named `max_tokens`: a prompt that leaves no room for them is refused. Else what fits is generated.
    pub strict: bool,
    /// It ends with [`Finish::Budget`] before the step after which it would have used this much of the lane's CPU time
    /// in microseconds. `None`: it is not bounded.
    pub allowance_us: Option<u64>,
}

/// How hard a lane works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Threads of a step in which all generate. At least 1; more than [`LaneConfig::threads`] means these.
    pub threads: u32,
    /// Threads of a step with a piece of a prompt in it, likewise: prompts are bound by computing, answers by memory.
    pub prompt_threads: u32,
    /// Share of the time in which it computes, in thousandths: it pauses after each step. 1 to 1000.
    pub duty: u32,
    /// Largest prefill chunk: bounds how long it draws power in one go. At least 1; more than
    /// [`LaneConfig::prefill_chunk`] means that.
    pub chunk: u32,
}

/// Element type of the key-value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 16-bit floats.
    #[default]
    F16,
    /// 8-bit blocks, a little over half of F16's memory.
    Q8_0,
    /// 4-bit blocks, a little over a quarter of F16's memory.
    Q4_0,
}

impl KvType {
    /// Bytes for one block of [`KvType::block_len`] elements, as ggml lays them out.
    pub const fn block_bytes(self) -> u64 {
        match self {
            KvType::F16 => 2,
            KvType::Q8_0 => 34,
            KvType::Q4_0 => 18,
        }
    }

    /// Elements in a block.
    pub const fn block_len(self) -> u64 {
        match self {
            KvType::F16 => 1,
            KvType::Q8_0 | KvType::Q4_0 => 32,
        }
    }
}

/// Everything a lane needs to come up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneConfig {
    /// The GGUF file.
    pub model: PathBuf,
    /// Where it computes.
    pub device: Device,
    /// Where ggml's backend modules lie. Nothing else is searched.
    pub backends_dir: PathBuf,
    /// CPU variants (`zen4`, `armv8.2_2`, …) that must not be used: they died here before.
    pub excluded_cpu_variants: Vec<String>,
    /// Cells of the key-value cache, shared by all slots. At least 64.
    pub n_ctx: u32,
    /// Requests that run at once. 1 to 64.
    pub slots: u32,
    /// Largest prefill chunk in tokens.
    pub prefill_chunk: u32,
    /// Largest prefill chunk while other requests are generating: bounds the pause they see.
    pub prefill_chunk_shared: u32,
    /// Threads. 1 to 256.
    pub threads: u32,
    /// CPUs the threads may run on; empty: wherever the scheduler puts them.
    pub cpus: Vec<u32>,
    /// Key and value cache element type.
    pub kv_type: KvType,
    /// Lock the weights in memory.
    pub mlock: bool,
    /// A busy lane sends [`FromLane::Beat`] at least this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// Whether the worker confines itself once the model is mapped. Off only for debugging.
    pub sandbox: bool,
}

/// What the service says to a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToLane {
    /// Come up. The first message, sent once.
    Load(Box<LaneConfig>),
    /// Run this request. Never more at once than [`LaneConfig::slots`].
    Start(Box<Job>),
    /// Run the probe of [`trust`] as soon as what runs has ended; what came later waits for it. Answered by
    /// [`FromLane::Probed`].
    Probe,
    /// Compute this request's prompt but its last token, and hand the sequence's state over. Answered by
    /// [`FromLane::Exported`], or by `Done` where it comes to nothing.
    Prefill(Box<Job>),
    /// Run this request, of which another lane of the same model has computed the prompt. Where the state does not fit
    /// this lane, the prompt is computed here.
    Resume(Box<Job>, SequenceState),
    /// End this request within one step. Answered by `Done` with [`Finish::Cancelled`], unless it ended before.
    Cancel(RequestId),
    /// Work like this from the next step on.
    Pace(Pace),
    /// From now on this request may use so much CPU time in all, as [`Job::allowance_us`].
    Allow {
        /// Which.
        id: RequestId,
        /// Microseconds of CPU time since its start.
        cpu_us: u64,
    },
    /// End everything and exit.
    Quit,
}

/// The state of a sequence: what is computed of a prompt, on its way from one lane to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequenceState {
    /// Stands for the model's file and the key-value cache's type: a lane takes a state only from one with the same.
    pub model: u64,
    /// Tokens that are computed: the prompt's but the last, whose logits the receiver needs.
    pub tokens: u32,
    /// Stands for these tokens.
    pub tokens_hash: u64,
    /// Bytes of `memory`.
    pub bytes: u64,
    /// llama.cpp's state, in a sealed memory file.
    pub memory: Parcel,
}

impl Carries for ToLane {
    fn parcel(&self) -> Option<&Parcel> {
        match self {
            ToLane::Resume(_, state) => Some(&state.memory),
            _ => None,
        }
    }

    fn parcel_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            ToLane::Resume(_, state) => Some(&mut state.memory),
            _ => None,
        }
    }
}

impl Carries for FromLane {
    fn parcel(&self) -> Option<&Parcel> {
        match self {
            FromLane::Exported { state, .. } => Some(&state.memory),
            _ => None,
        }
    }

    fn parcel_mut(&mut self) -> Option<&mut Parcel> {
        match self {
            FromLane::Exported { state, .. } => Some(&mut state.memory),
            _ => None,
        }
    }
}

/// What a lane found when it came up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneInfo {
    /// Cells of the key-value cache: no request can be longer.
    pub n_ctx: u32,
    /// Context the model was trained for.
    pub n_ctx_train: u32,
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// Where it computes: `CPU`, `gpu0`, …
    pub device: String,
    /// The kernels that run: the CPU variant and its features, e.g. `zen4 (AVX512, AVX512_VNNI, …)`; on a GPU the backend
    /// and what the driver calls it, and then those of the CPU.
    pub kernels: String,
    /// The CPU variant alone, e.g. `zen4`.
    pub cpu_variant: String,
    /// Threads in use.
    pub threads: u32,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// What a cell of context adds to the cost of a token, in tokens without context: see [`step_weights`]. 0 to 1.
    pub cell_cost: f32,
    /// Time from start to ready, in milliseconds.
    pub load_ms: u32,
    /// The model carries a chat template that compiles.
    pub chat: bool,
    /// The model's metadata says that its weights are synthetic.
    pub synthetic: bool,
    /// What confines the worker, e.g. `landlock v4, seccomp`.
    pub sandbox: String,
}

/// Why a request ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its answer, or a stop string appeared.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// Its energy was used up: `max_joules`, or a budget. Clients see `length`; the receipt says why.
    Budget,
    /// It was cancelled.
    Cancelled,
}

/// Counts and times of one request, as the lane saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that were already in the key-value cache.
    pub cached_tokens: u32,
    /// Tokens generated, the end-of-generation token not included.
    pub completion_tokens: u32,
    /// From start to the first token, in microseconds.
    pub prefill_us: u64,
    /// From the first token to the last, in microseconds.
    pub decode_us: u64,
    /// Microseconds for giving the sequence's state out of the lane or taking it in. Part of neither of the others.
    pub handover_us: u64,
}

impl Usage {
    /// What a request took whose prompt another lane had computed `before`, and whose state was moved. What was moved is no
    /// cached prompt: it was computed for this request. Where the state was of no use, so that the prompt was computed twice, the
    /// second time counts.
    pub fn after(self, before: Usage) -> Usage {
        if before.prompt_tokens == 0 {
            return self;
        }
        let moved = self.cached_tokens >= before.prompt_tokens.saturating_sub(1);
        Usage {
            cached_tokens: if moved { before.cached_tokens.min(self.cached_tokens) } else { self.cached_tokens },
            prefill_us: self.prefill_us.saturating_add(before.prefill_us),
            handover_us: self.handover_us.saturating_add(before.handover_us),
            ..self
        }
    }
}

/// A request's part in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// Which request.
    pub id: RequestId,
    /// Prompt tokens processed in this step.
    pub prefill: u32,
    /// Tokens decoded in this step (0 or 1).
    pub decode: u32,
    /// Cells of the key-value cache the request occupies after the step.
    pub context: u32,
}

/// One engine step: who took part, how long it took, and the text that came out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Step {
    /// Duration in microseconds.
    pub us: u64,
    /// CPU time that the lane's process used since the step before, or since it became busy, in microseconds. On a GPU, how
    /// long the step took: the CPU does not show what a GPU does.
    pub cpu_us: u64,
    /// The lane's clock at its end, in microseconds: CPU time since the process was started; on a GPU, `cpu_us` of all
    /// steps since it came up. 0 where it is not known.
    pub cpu_end_us: u64,
    /// Who took part. A step that was broken off because all of it was cancelled, or that failed, is told as well:
    /// somebody has to pay for it. A part without tokens is a prompt that was refused after it had been tokenized.
    pub parts: Vec<StepPart>,
    /// Text to send on, whole UTF-8 characters only.
    pub text: Vec<(RequestId, String)>,
}

/// What a lane says to the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromLane {
    /// The child is up. The first message: it bounds what follows.
    Hello {
        /// Must equal ours, or the binary was replaced under us.
        version: String,
    },
    /// Loading, from 0 to 1.
    Loading(f32),
    /// The CPU variant that was loaded, before its first computation: should it die of an illegal instruction, this is
    /// the one to leave out.
    Kernels(String),
    /// The model is mapped and the lane takes requests.
    Ready(Box<LaneInfo>),
    /// The model could not be loaded. The lane exits.
    LoadFailed(Error),
    /// The request's prompt is tokenized and it runs.
    Started {
        /// Which.
        id: RequestId,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, found in the cache.
        cached_tokens: u32,
    },
    /// One step was made.
    Step(Step),
    /// The request ended. The last message about it.
    Done {
        /// Which.
        id: RequestId,
        /// How, or why not.
        result: Result<Finish, Error>,
        /// What it took.
        usage: Usage,
    },
    /// The prompt of a [`ToLane::Prefill`] is computed: its state. The last message about the request from this lane.
    Exported {
        /// Which.
        id: RequestId,
        /// What [`ToLane::Resume`] wants.
        state: SequenceState,
        /// What it took: a prompt, and no tokens.
        usage: Usage,
    },
    /// The answer to [`ToLane::Probe`], or why there is none.
    Probed(Box<Result<trust::Probed, Error>>),
    /// Alive. Sent while busy; `progress` grows as long as the engine computes.
    Beat {
        /// Grows with every graph node or step.
        progress: u64,
    },
    /// A line for the daemon's log: level as in the `log` crate (1 error to 5 trace).
    Log {
        /// 1 to 5.
        level: u8,
        /// The line.
        text: String,
    },
    /// The last words of an engine that is about to abort.
    Fatal(String),
}

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
