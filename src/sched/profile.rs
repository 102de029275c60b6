//! What a lane takes: seconds and joules, measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Microjoules;

/// What something takes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds.
    pub seconds: f64,
    /// Joules above what the device draws anyway.
    pub joules: f64,
}

/// What one phase of a request took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PhaseMeasured {
    /// Tokens computed.
    pub tokens: u32,
    /// Cells of context before each of them, on average.
    pub context: u32,
    /// Requests in the same steps, itself included, on average. At least 1.
    pub batch: f32,
    /// Time of the steps that it took part in, pauses left out.
    pub time: Duration,
    /// What it was charged for them.
    pub energy: Microjoules,
}

/// What a request that has ended, or has been handed over, took on one lane.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// Threads that computed.
    pub threads: u32,
    /// The prompt, without what the cache had.
    pub prefill: PhaseMeasured,
    /// The answer.
    pub decode: PhaseMeasured,
    /// The joules are measured and not estimated.
    pub metered: bool,
}

/// What is known of one lane.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {}
