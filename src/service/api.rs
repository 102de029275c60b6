//! What the service's users see: requests, updates, status. Plain data, no behaviour.
//!
//! `server` turns HTTP into these and back, `capi` the C ABI. They never see lanes or the scheduler.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plans::{PlanReceipt, ProfileStatus};
use crate::energy::account::{By, Day};
use crate::energy::{Quality, Scope};
use crate::error::Error;
use crate::lane::{Finish, GpuInfo, KvType, Prompt, RequestId, Sampling, Usage};
use crate::sched::{Backend, Class, Policy, Supply};
use crate::units::{Microjoules, Microwatts};

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

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why.
    pub finish: Finish,
    /// Counts and times.
    pub usage: Usage,
    /// What it cost and why it ran where it ran.
    pub receipt: Receipt,
}

/// What a request cost and why it ran where it ran. Sent as the response object `wattlm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The request's id, as in `X-Request-Id`.
    pub request: String,
    /// The model and variant that ran, `name:variant`.
    pub model: String,
    /// The device, e.g. `cpu`.
    pub device: String,
    /// The kernels, e.g. `zen4`.
    pub kernels: String,
    /// Threads in use at the end.
    pub threads: u32,
    /// Why it ran there.
    pub reason: String,
    /// How it was planned. `None` where there was nothing to choose from.
    #[serde(default)]
    pub plan: Option<PlanReceipt>,
    /// Seconds waited before it started, loading included.
    pub queue_s: f64,
    /// Seconds of prefill, to the first token.
    pub prefill_s: f64,
    /// Seconds from the first token to the last.
    pub decode_s: f64,
    /// Prompt tokens processed per second (cached ones not counted); 0 where none was.
    pub prefill_tokens_per_s: f64,
    /// Tokens generated per second after the first; 0 where there was only one.
    pub decode_tokens_per_s: f64,
    /// Times it was started again after a worker fault: 0 or 1.
    pub retries: u32,
    /// What it used.
    pub energy: EnergyReceipt,
}

/// The energy of one request, in joules, rounded: a client sees what it used and not what others did meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyReceipt {
    /// All that it is charged: `wake` + `prefill` + `decode`. Idle draw is not in it.
    pub joules: f64,
    /// Half the width of the interval around `joules` that holds the truth in 95 of 100 cases.
    pub error: f64,
    /// Of `joules`: bringing the model up, where this request woke it.
    pub wake: f64,
    /// Of `joules`: the prompt.
    pub prefill: f64,
    /// Of `joules`: the answer.
    pub decode: f64,
    /// What the device would have used without it in the time in which it ran, shared by those that ran. Not in
    /// `joules`.
    pub idle: f64,
    /// `joules` less `wake`, for each token of the answer; 0 where there is none.
    pub joules_per_token: f64,
    /// `measured` where all of it was.
    pub quality: Quality,
    /// What the meter sees.
    pub scope: Scope,
    /// The meter, such as `rapl:package-0`; `model` where there is none.
    pub source: String,
    /// Why it ended early, where its energy was the reason.
    pub limit: Option<String>,
}

impl EnergyReceipt {
    /// Of something that used nothing that was metered.
    pub fn nothing() -> EnergyReceipt {
        EnergyReceipt {
            joules: 0.0,
            error: 0.0,
            wake: 0.0,
            prefill: 0.0,
            decode: 0.0,
            idle: 0.0,
            joules_per_token: 0.0,
            quality: Quality::Estimated,
            scope: Scope::Board,
            source: "model".to_owned(),
            limit: None,
        }
    }
}

/// The energy of the service as a whole since it started, as the ledger splits it: `metered` is exactly
/// `charged + idle + others + shared`. On the wire numbers of joules, named `…_j`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnergyStatus {
    /// The meter, such as `rapl:package-0`; empty where there is none and all of it is estimated.
    pub source: String,
    /// What the meter sees.
    pub scope: Scope,
    /// `measured` while a sensor works.
    pub quality: Quality,
    /// Time between two refreshes of the sensor, in milliseconds; 0 where that is not known.
    pub refresh_ms: f64,
    /// What the meter counted while something ran, and what was estimated where it counted nothing.
    #[serde(rename = "metered_j")]
    pub metered: Microjoules,
    /// Charged to requests: `wake` + `prefill` + `decode`.
    #[serde(rename = "charged_j")]
    pub charged: Microjoules,
    /// What the device would have used anyway in that time.
    #[serde(rename = "idle_j")]
    pub idle: Microjoules,
    /// Other programs'.
    #[serde(rename = "others_j")]
    pub others: Microjoules,
    /// No single request's: the daemon's own, and what is not settled yet, in joules; below 0 while charges wait for
    /// the meter to confirm them.
    #[serde(rename = "shared_j")]
    pub shared: f64,
    /// Of `metered`: estimated, because no sensor worked.
    #[serde(rename = "estimated_j")]
    pub estimated: Microjoules,
    /// Of `shared`: what estimates turned out to be off by once the meter was read, in joules.
    #[serde(rename = "correction_j")]
    pub correction: f64,
    /// Of `charged`: bringing models up.
    #[serde(rename = "wake_j")]
    pub wake: Microjoules,
    /// Of `charged`: prompts.
    #[serde(rename = "prefill_j")]
    pub prefill: Microjoules,
    /// Of `charged`: answers.
    #[serde(rename = "decode_j")]
    pub decode: Microjoules,
    /// Power over the last interval between two samples. `None` while nothing runs: nothing is sampled then. For
    /// administrators.
    pub watts: Option<Microwatts>,
    /// Power that the device draws when nothing runs, as learned. For administrators.
    pub idle_watts: Option<Microwatts>,
}

impl Default for EnergyStatus {
    fn default() -> Self {
        let none = Microjoules::ZERO;
        EnergyStatus {
            source: String::new(),
            scope: Scope::Board,
            quality: Quality::Estimated,
            refresh_ms: 0.0,
            metered: none,
            charged: none,
            idle: none,
            others: none,
            shared: 0.0,
            estimated: none,
            correction: 0.0,
            wake: none,
            prefill: none,
            decode: none,
            watts: None,
            idle_watts: None,
        }
    }
}

impl EnergyStatus {
    /// As everybody may see it: whole joules, rounded down, and no power. Finer sums tell what others do.
    #[must_use]
    pub fn rounded(self) -> EnergyStatus {
        let whole = |j: Microjoules| Microjoules(j.0 - j.0 % 1_000_000);
        EnergyStatus {
            metered: whole(self.metered),
            charged: whole(self.charged),
            idle: whole(self.idle),
            others: whole(self.others),
            shared: self.shared.trunc(),
            estimated: whole(self.estimated),
            correction: self.correction.trunc(),
            wake: whole(self.wake),
            prefill: whole(self.prefill),
            decode: whole(self.decode),
            watts: None,
            idle_watts: None,
            ..self
        }
    }
}

/// Whose lines of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whose {
    /// The asker's.
    #[default]
    Own,
    /// This user's.
    Uid(u32),
    /// Everybody's.
    All,
}

/// A question to the account. Other users' lines are for administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountQuery {
    /// Whose lines.
    pub whose: Whose,
    /// Not what is older.
    pub from: Option<Day>,
    /// Not what is newer.
    pub to: Option<Day>,
    /// One line for each of these.
    pub by: Option<By>,
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

/// A model as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The name to ask for.
    pub name: String,
    /// Its variants; the first is the default.
    pub variants: Vec<VariantInfo>,
    /// Asked for when a request names none.
    pub default: bool,
}

/// A variant as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantInfo {
    /// `model:variant`.
    pub name: String,
    /// GGUF architecture, e.g. `qwen2`.
    pub architecture: String,
    /// Quantization, e.g. `Q4_K_M`.
    pub quantization: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Parameters.
    pub parameters: u64,
    /// Context the model was trained for, in tokens.
    pub context_train: u32,
    /// Context it is served with, in tokens.
    pub context: u32,
    /// It carries a chat template.
    pub chat: bool,
    /// Its weights are random: it measures speed, it does not answer.
    pub synthetic: bool,
    /// Predicted memory when loaded, in bytes.
    pub memory: u64,
    /// sha256 of the file, where known.
    pub sha256: Option<String>,
    /// The digest was compared with the file's content.
    pub verified: bool,
    /// `unloaded`, `loading`, `loaded`, `quarantined`.
    pub state: String,
    /// Modified, seconds since 1970.
    pub created: u64,
    /// Where it lies.
    pub path: PathBuf,
}

/// A lane as administrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// `model:variant`.
    pub model: String,
    /// `loading`, `proving` (on a GPU, that is compared with the CPU first), `ready`, `stopping`.
    pub state: String,
    /// ggml's device.
    pub device: String,
    /// CPU variant and features.
    pub kernels: String,
    /// CPU variants left out because they died here.
    pub excluded_kernels: Vec<String>,
    /// Threads in use.
    pub threads: u32,
    /// Threads that it has.
    #[serde(default)]
    pub threads_max: u32,
    /// The worker's process.
    pub pid: Option<u32>,
    /// Requests running.
    pub running: u32,
    /// Requests it can run at once.
    pub slots: u32,
    /// Context in tokens, shared by the slots.
    pub context: u32,
    /// Element type of the key-value cache.
    pub kv_type: KvType,
    /// What confines the worker.
    pub sandbox: String,
    /// The model's weights are random: it measures speed, it does not answer.
    pub synthetic: bool,
    /// Time it took to load, in milliseconds.
    pub load_ms: u32,
    /// Loading: from 0 to 1.
    pub progress: f32,
}

/// The service as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// wattlm's version.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: f64,
    /// The daemon's process.
    pub pid: u32,
    /// Lanes.
    pub lanes: Vec<LaneStatus>,
    /// Requests waiting.
    pub queued: u32,
    /// Requests running.
    pub running: u32,
    /// Since start.
    pub totals: Totals,
    /// The last worker fault, for people.
    pub last_fault: Option<String>,
    /// Bytes the kernel says are available, the cgroup's limit included.
    pub memory_available: u64,
    /// GPUs.
    #[serde(default)]
    pub gpus: Vec<GpuInfo>,
    /// Why there is none. `None`: there is one, or they are still being looked for.
    #[serde(default)]
    pub no_gpu: Option<String>,
    /// GPUs that are not used for a model, and why.
    #[serde(default)]
    pub distrusted: Vec<String>,
    /// What was used since start.
    #[serde(default)]
    pub energy: EnergyStatus,
    /// What is known of models on devices.
    #[serde(default)]
    pub profiles: Vec<ProfileStatus>,
}

/// What a client may use and has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose it is: `client:NAME` of a `[[client]]`, or `user:UID`.
    pub client: String,
    /// The `[[client]]` in force; none: nothing of its own bounds it.
    pub rule: Option<String>,
    /// The most urgent class it may ask for.
    pub class: Class,
    /// Models it may ask for; empty: all.
    pub models: Vec<String>,
    /// Its requests that run.
    pub running: u32,
    /// How many may at once; none: as many as there are slots.
    pub requests: Option<u32>,
    /// What its requests draw from.
    pub purses: Vec<PurseStanding>,
    /// The table of `[power]` in force.
    pub supply: Supply,
    /// A battery supplies the device.
    pub on_battery: bool,
    /// Its charge, in percent.
    pub battery_percent: Option<f32>,
    /// Why only interactive requests start now, where it is so.
    pub restriction: Option<String>,
    /// The power cap in force, in watts.
    pub cap: Option<Microwatts>,
    /// What the device saves.
    pub policy: Policy,
}

/// A purse as a client sees it; energy in joules. What is the device's is rounded to hundredths of its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurseStanding {
    /// `device_hour`, `device_day` or `client_hour`.
    pub name: String,
    /// What it holds when full.
    pub joules: f64,
    /// What is in it.
    pub left: f64,
    /// Of this, kept for requests that run.
    pub reserved: f64,
    /// What comes back in an hour.
    pub refill_per_hour: f64,
    /// Seconds until it is full if nothing is used.
    pub full_in_s: f64,
}

/// Counters since start; all only grow.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Requests taken.
    pub requests: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended by the client.
    pub cancelled: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Refused before they ran.
    pub refused: u64,
    /// Started again after a worker fault.
    pub retried: u64,
    /// Workers that died or hung.
    pub worker_faults: u64,
    /// Models loaded.
    pub loads: u64,
    /// Prompt tokens processed, cached ones not counted.
    pub prompt_tokens: u64,
    /// Prompt tokens found in the cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Microseconds of engine steps.
    pub step_us: u64,
    /// Engine steps.
    pub steps: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_whole_joules_for_everybody() {
        let j = Microjoules(1_999_999);
        let exact = EnergyStatus { charged: j, idle: j, watts: Some(Microwatts(5)), ..EnergyStatus::default() };
        let value = serde_json::to_value(exact.rounded()).unwrap();
        assert_eq!((&value["charged_j"], &value["idle_j"], &value["watts"]), (&1.0.into(), &1.0.into(), &().into()));
    }
}
