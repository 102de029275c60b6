//! The service as it is: models, lanes, counters, and its energy as a whole. Plain data.
//!
//! It knows nobody's requests. What always holds: what everybody may see of the energy ([`EnergyStatus::rounded`]) is whole
//! joules and no power.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::energy::{Quality, Scope};
use crate::lane::{GpuInfo, KvType};
use crate::service::ProfileStatus;
use crate::units::{Microjoules, Microwatts};

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
