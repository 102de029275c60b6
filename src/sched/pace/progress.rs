//! What lanes did: steps, tokens and time, prompts apart from answers.

use std::time::Duration;

use crate::lane::Step;

/// What a lane computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Prefill,
    Decode,
}

/// Steps of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// How many.
    pub steps: u32,
    /// Tokens in them.
    pub tokens: u32,
    /// How long they took, pauses left out.
    pub time: Duration,
}

/// What a lane did since this was last told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Steps with prompt tokens in them.
    pub prefill: Work,
    /// Steps in which all generated.
    pub decode: Work,
}

impl Progress {
    /// Counts a step.
    pub fn add(&mut self, step: &Step) {
        let prompts = step.parts.iter().any(|part| part.prefill > 0);
        let tokens = step.parts.iter().fold(0u32, |n, p| n.saturating_add(p.prefill).saturating_add(p.decode));
        let work = if prompts { &mut self.prefill } else { &mut self.decode };
        work.join(&Work { steps: 1, tokens, time: Duration::from_micros(step.us) });
    }

    pub(super) fn join(&mut self, other: &Progress) {
        self.prefill.join(&other.prefill);
        self.decode.join(&other.decode);
    }

    pub(super) fn steps(&self) -> u32 {
        self.prefill.steps.saturating_add(self.decode.steps)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.prefill.time.as_secs_f64() + self.decode.time.as_secs_f64()
    }

    pub(super) fn of(&self, phase: Phase) -> &Work {
        match phase {
            Phase::Prefill => &self.prefill,
            Phase::Decode => &self.decode,
        }
    }

    pub(super) fn phases(&self) -> [(Phase, &Work); 2] {
        [Phase::Prefill, Phase::Decode].map(|phase| (phase, self.of(phase)))
    }
}

impl Work {
    fn join(&mut self, other: &Work) {
        self.steps = self.steps.saturating_add(other.steps);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.time = self.time.saturating_add(other.time);
    }
}
