//! Plans: how one request would run, what that would take, and why one was chosen.
//!
//! Plain data, shared with whoever shows it. How plans are found and weighed stands elsewhere in the scheduler.

use std::time::Duration;

use super::site::{Site, VariantId};
use super::Policy;
use crate::units::Microjoules;

/// How one request would run. Threads belong to a lane and not to a request: requests of one batch share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    /// Where its prompt is computed.
    pub prefill: Site,
    /// Where its answer is. Another device than `prefill`'s: the sequence's state is handed over between them. Always
    /// the same variant.
    pub decode: Site,
}

impl Plan {
    /// All on one lane.
    pub fn on(site: Site) -> Plan {
        Plan { prefill: site, decode: site }
    }

    /// Whether the sequence's state is handed over in the middle.
    pub fn is_split(self) -> bool {
        self.prefill != self.decode
    }

    /// What runs.
    pub fn variant(self) -> VariantId {
        self.decode.variant
    }
}

/// What a plan is thought to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forecast {
    /// For a turn.
    pub wait: Duration,
    /// For lanes that have to be loaded.
    pub wake: Duration,
    /// For the prompt.
    pub prefill: Duration,
    /// For moving the sequence's state between lanes.
    pub handover: Duration,
    /// For the answer.
    pub decode: Duration,
    /// Joules for loading lanes, as far as they are this request's.
    pub wake_energy: Microjoules,
    /// Joules for the prompt.
    pub prefill_energy: Microjoules,
    /// Joules for moving the sequence's state.
    pub handover_energy: Microjoules,
    /// Joules for the answer.
    pub decode_energy: Microjoules,
    /// Joules for keeping a lane resident afterwards, as far as they are this request's.
    pub hold_energy: Microjoules,
    /// Bytes of memory that its lanes would take which are not up; 0 also where nobody knows.
    pub memory: u64,
    /// It rests on measurements of these lanes, and not on what others took.
    pub measured: bool,
}

impl Forecast {
    /// Until the first token.
    pub fn ttft(&self) -> Duration {
        self.wait + self.wake + self.prefill + self.handover
    }

    /// Until the last.
    pub fn total(&self) -> Duration {
        self.ttft() + self.decode
    }

    /// All joules.
    pub fn energy(&self) -> Microjoules {
        self.wake_energy + self.prefill_energy + self.handover_energy + self.decode_energy + self.hold_energy
    }
}

/// What decided for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There was nothing to choose from.
    Only,
    /// It is the best of those that are possible, by the policy.
    Best,
    /// The request named the backend.
    Asked,
    /// A better one by the policy would miss the deadline.
    Deadline,
    /// A better one by the policy would send the first token too late.
    Ttft,
    /// A better one by the policy would take more joules than the request may.
    Joules,
    /// A better one by the policy has no memory, is too hot, or has failed too often.
    Unavailable,
    /// No plan keeps what was asked for: this one comes nearest.
    Nearest,
    /// To learn what it takes.
    Explored,
    /// Its first lane died.
    Fault,
}

/// A plan that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// It.
    pub plan: Plan,
    /// What it is thought to take.
    pub forecast: Forecast,
    /// What decided.
    pub reason: Reason,
    /// By which policy.
    pub policy: Policy,
    /// Tokens of answer that were reckoned with.
    pub answer: u32,
    /// The answer may have so many tokens at most, which is fewer than it may have by what was asked for: more would
    /// break a constraint, and the request allows that.
    pub limit: Option<u32>,
    /// The answer is shorter, or the variant a lesser one, than was asked for; the request allows that.
    pub degraded: bool,
    /// The next best, where there was one.
    pub runner_up: Option<(Plan, Forecast)>,
}
