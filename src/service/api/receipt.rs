//! What a request comes back with: how it ended, its receipt and its energy. Plain data.
//!
//! It reckons nothing: `accounting` fills it in.

use serde::{Deserialize, Serialize};

use crate::energy::{Quality, Scope};
use crate::lane::{Finish, Usage};
use crate::service::PlanReceipt;

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
