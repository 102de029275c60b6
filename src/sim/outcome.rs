//! What comes of a run: joules by cause, and how each request fared.
//!
//! Plain data. Joules are true ones; what a sensor makes of them is the business of `driver`.

/// Joules by cause.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Joules {
    /// Bringing lanes up.
    pub wake: f64,
    /// Prompts.
    pub prefill: f64,
    /// Moving sequences between lanes.
    pub handover: f64,
    /// Answers.
    pub decode: f64,
    /// Lanes that are resident.
    pub hold: f64,
    /// What the device draws anyway.
    pub idle: f64,
}

impl Joules {
    /// All that depends on decisions: everything but the idle draw.
    pub fn active(&self) -> f64 {
        self.wake + self.prefill + self.handover + self.decode + self.hold
    }
}

/// How a request fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It waits or runs.
    #[default]
    Open,
    /// It has its whole answer.
    Answered,
    /// Its deadline passed.
    Expired,
    /// It used up what it might.
    Cut,
    /// It was never run.
    Refused,
}

/// Tokens, times and joules of one phase of a request on one lane, as the daemon's ledger would split them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Phase {
    /// Tokens.
    pub tokens: u32,
    /// Sum of the cells before each.
    pub cells: f64,
    /// Steps.
    pub steps: f64,
    /// Sum of the requests in each.
    pub batch: f64,
    /// Seconds.
    pub seconds: f64,
    /// Joules.
    pub joules: f64,
    /// Sum of the draw of the whole device, in joules: what a sensor's error is a part of.
    pub drawn: f64,
}

/// What a request took on one lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Which.
    pub lane: usize,
    /// Threads of its last step with a prompt in it, and of its last without.
    pub threads: (u32, u32),
    /// Its prompt.
    pub prefill: Phase,
    /// Its answer.
    pub decode: Phase,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// How it fared.
    pub fate: Fate,
    /// When it arrived.
    pub came: Option<f64>,
    /// When its first token came.
    pub first: Option<f64>,
    /// When it ended.
    pub end: Option<f64>,
    /// Tokens of its answer.
    pub tokens: u32,
    /// Where its prompt and its answer were computed.
    pub lanes: (Option<usize>, Option<usize>),
    /// Its state is out of its lane: cells.
    pub(super) moved: Option<u32>,
    /// Joules it was charged with, and what it may use.
    pub(super) spent: f64,
    pub(super) allowed: Option<f64>,
    /// By lane, in order.
    pub taken: Vec<Taken>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// By cause, from the beginning of the trace to the end of the last request.
    pub joules: Joules,
    /// The integral of the device's draw.
    pub drawn: f64,
    /// Seconds to the end of the last request.
    pub end: f64,
    /// In the order of the trace.
    pub requests: Vec<Request>,
    /// How often a lane was brought up.
    pub wakes: u32,
    /// Nothing went on although requests were open; they count as refused.
    pub stuck: bool,
}
