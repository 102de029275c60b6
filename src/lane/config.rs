//! What a lane is brought up with, how hard it works, and what it found when it came up. Plain data.
//!
//! It chooses nothing: `service` fills it in from the configuration, the scheduler says the pace.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Device;

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
    /// A busy lane sends [`FromLane::Beat`](super::FromLane::Beat) at least this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// Whether the worker confines itself once the model is mapped. Off only for debugging.
    pub sandbox: bool,
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
    /// What a cell of context adds to the cost of a token, in tokens without context: see [`step_weights`](super::step_weights). 0 to 1.
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
