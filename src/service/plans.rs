//! Plans, estimates and profiles as the service's users see them. Plain data.
//!
//! Joules of a single request are coarse here as in receipts; what a profile says is an average over many.

use serde::{Deserialize, Serialize};

use super::api::Outcome;
use crate::sched::Policy;

/// The plan of a request that ran, in its receipt: where, and what it was thought to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReceipt {
    /// The device of its prompt: `cpu`, `gpu0`, …
    pub prefill: String,
    /// The device of its answer.
    pub decode: String,
    /// Threads of the lane that answered.
    pub threads: u32,
    /// Joules it was thought to take.
    pub joules: f64,
    /// Seconds it was thought to take, waiting included.
    pub seconds: f64,
}

/// Parts of a forecast: seconds or joules.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Parts {
    /// Waiting for a turn (seconds), or keeping a lane afterwards (joules).
    pub around: f64,
    /// Bringing lanes up.
    pub wake: f64,
    /// The prompt.
    pub prefill: f64,
    /// Moving the sequence's state between devices.
    pub handover: f64,
    /// The answer.
    pub decode: f64,
}

/// A plan and what it is thought to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// `model:variant`.
    pub model: String,
    /// The device of the prompt: `cpu`, `gpu0`, …
    pub prefill: String,
    /// The device of the answer.
    pub decode: String,
    /// Seconds until the first token.
    pub ttft_s: f64,
    /// Seconds until the last.
    pub seconds: f64,
    /// Joules in all.
    pub joules: f64,
    /// Bytes of memory that lanes would take which are not loaded.
    pub memory: u64,
    /// It rests on measurements of these lanes.
    pub measured: bool,
    /// Of `seconds`; `around` is waiting for a turn.
    pub time: Parts,
    /// Of `joules`; `around` is keeping a lane resident afterwards.
    pub energy: Parts,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// It waits for its turn, its model or its budget.
    Waiting,
    /// It runs.
    Running,
    /// It ended well.
    Completed,
    /// It was refused before it ran.
    Refused,
    /// It was cancelled, or its deadline passed.
    Cancelled,
    /// It ended with an error.
    Failed,
}

/// One of the last requests: how it ran and why there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestReport {
    /// Its name, as in `X-Request-Id`.
    pub request: String,
    /// Who asked.
    pub uid: u32,
    /// When, in seconds since 1970.
    pub created: u64,
    /// `model:variant` that was asked for.
    pub model: String,
    /// How far it is.
    pub state: RequestState,
    /// The error's code, where it ended with one.
    pub error: Option<String>,
    /// What was saved. `None` where it was never planned.
    pub policy: Option<Policy>,
    /// Why it ran where it ran, in a sentence.
    pub reason: String,
    /// The answer is shorter, or the variant a lesser one, than was asked for.
    pub degraded: bool,
    /// Tokens of answer that were reckoned with.
    pub answer: u32,
    /// How it ran, or will run.
    pub plan: Option<PlanReport>,
    /// The next best plan.
    pub runner_up: Option<PlanReport>,
    /// How often it was planned anew.
    pub changes: u32,
    /// What it took. `None` where it has not ended well.
    pub outcome: Option<Outcome>,
}

/// Tokens of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of the prompt, by its length in bytes.
    pub prompt: u32,
    /// Of these, probably in the chosen lane's cache.
    pub cached: u32,
    /// Of the answer, by what this client's answers had.
    pub answer: u32,
    /// Of the answer, at most.
    pub max_answer: u32,
}

/// What a request would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EstimateReport {
    /// `model:variant` that was asked for.
    pub model: String,
    /// Tokens.
    pub tokens: Tokens,
    /// Seconds until the first token.
    pub ttft_s: f64,
    /// Seconds until the last.
    pub seconds: f64,
    /// Joules.
    pub joules: f64,
    /// Bytes of memory that would be taken in addition.
    pub memory: u64,
    /// What is saved.
    pub policy: Policy,
    /// Why it would run there.
    pub reason: String,
    /// The answer would be shorter, or the variant a lesser one, than was asked for.
    pub degraded: bool,
    /// It rests on measurements.
    pub measured: bool,
    /// How it would run.
    pub plan: PlanReport,
    /// What else it could do, best first.
    pub alternatives: Vec<PlanReport>,
}

/// Seconds and joules.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CostReport {
    /// Seconds.
    pub seconds: f64,
    /// Joules above what the device draws anyway.
    pub joules: f64,
}

/// What a prompt of some length takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PromptPoint {
    /// Its tokens.
    pub tokens: u32,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Joules for each of them.
    pub joules_per_token: f64,
}

/// What answers take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerPoint {
    /// Requests at once.
    pub batch: u32,
    /// Cells of context of each.
    pub context: u32,
    /// Tokens per second of all of them together.
    pub tokens_per_s: f64,
    /// Joules for each token.
    pub joules_per_token: f64,
}

/// Curves with one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadsReport {
    /// Threads.
    pub threads: u32,
    /// Prompts by their length.
    pub prefill: Vec<PromptPoint>,
    /// Answers by company and context.
    pub decode: Vec<AnswerPoint>,
}

/// What is known of a model on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// `model:variant`.
    pub model: String,
    /// `cpu`, `gpu0`, …
    pub device: String,
    /// What the device is.
    pub hardware: String,
    /// The joules come from a sensor.
    pub metered: bool,
    /// Prompts and answers that were measured.
    pub prompts: u32,
    /// Of these, answers.
    pub answers: u32,
    /// When it was last calibrated, in seconds since 1970; `None`: never, it was learnt by the way.
    pub calibrated: Option<u64>,
    /// When it was last written to the disk.
    pub saved: Option<u64>,
    /// Bringing it up.
    pub load: Option<CostReport>,
    /// Watts that keeping it resident adds.
    pub hold_watts: Option<f64>,
    /// Tokens of context that it is served with.
    pub context: u32,
    /// Requests that it runs at once.
    pub slots: u32,
    /// Curves, by number of threads.
    pub threads: Vec<ThreadsReport>,
}

/// The same in the status, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// `model:variant`.
    pub model: String,
    /// `cpu`, `gpu0`, …
    pub device: String,
    /// Prompts that were measured.
    pub prompts: u32,
    /// Answers that were measured.
    pub answers: u32,
    /// When it was last calibrated, in seconds since 1970.
    pub calibrated: Option<u64>,
}
