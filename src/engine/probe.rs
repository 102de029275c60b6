//! The probe: a fixed text and some greedy tokens, so that devices can be compared (see [`trust`]).
//!
//! It runs while no request does, on an empty cache, and leaves one.

use super::llama::{Decoded, Token};
use super::serve::Server;
use crate::error::{Code, Error, Result};
use crate::lane::trust::{Choice, Probed, MOST_LOGITS, STEPS};
use crate::lane::FromLane;

/// Long enough that a GPU takes its kernels for matrices, not for vectors; of several kinds, so that few models find all
/// of it improbable.
const TEXT: &str =
    "The harbour lies to the north of the town. In 1874 a lighthouse was built of grey stone, 31 metres \
    high; its lamp was seen from 17 miles away. Question: how much is 12 + 30? Answer: 42. \
    fn main() { let mut sum = 0; for i in 1..=10 { sum += i * i; } println!(\"{sum}\"); } \
    {\"name\": \"kitchen\", \"lights\": [1, 0, 1], \"celsius\": 21.5} Am Morgen ging sie zum Hafen, and then she";

/// Most tokens of it: one prefill step on any lane.
const MOST_PROMPT: usize = 96;

impl Server {
    /// Runs the probe if it was asked for and nothing else is to be done. `false`: there is nothing to do at all.
    pub(super) fn probe(&mut self) -> bool {
        if !std::mem::take(&mut self.probe_due) {
            return false;
        }
        for sequence in self.cells.evict_all() {
            self.context.drop_sequence(sequence);
        }
        self.context.clear();
        let probed = self.run_probe();
        self.context.clear();
        (self.out)(FromLane::Probed(Box::new(probed)));
        true
    }

    fn run_probe(&mut self) -> Result<Probed> {
        let failed = |what: String| Error::new(Code::EngineFailed, format!("the probe failed: {what}"));
        let mut tokens = self.model.tokenize(TEXT, true, false).map_err(failed)?;
        let room = (self.longest as usize).saturating_sub(STEPS).min(self.context.n_batch());
        tokens.truncate(room.min(MOST_PROMPT));
        if tokens.is_empty() {
            return Err(failed("the context is too small for it".into()));
        }
        let mut probed = Probed { prompt_tokens: tokens.len() as u32, ..Probed::default() };
        let mut position = 0;
        while probed.choices.len() < STEPS {
            let first = position == 0;
            let logits = self.compute(&tokens, position).map_err(failed)?;
            if first {
                let every = logits.len().div_ceil(MOST_LOGITS).max(1);
                probed.logits = logits.iter().step_by(every).copied().collect();
            }
            let choice = choose(logits);
            position += tokens.len() as u32;
            tokens = vec![choice.token];
            probed.choices.push(choice);
        }
        Ok(probed)
    }

    /// The logits after these tokens, which continue sequence 0 at `position`.
    fn compute(&mut self, tokens: &[Token], position: u32) -> std::result::Result<&mut [f32], String> {
        self.batch.clear();
        let mut last = 0;
        for (i, (token, position)) in tokens.iter().zip(position..).enumerate() {
            last = self.batch.push(*token, position, 0, i + 1 == tokens.len());
        }
        self.mail.begins(super::GPU_STEP);
        let decoded = self.context.decode(&mut self.batch);
        self.mail.ends();
        match decoded {
            Decoded::Done => self.context.logits(last).ok_or_else(|| "llama.cpp gave no logits".into()),
            other => Err(format!("llama.cpp could not compute it ({other:?})")),
        }
    }
}

/// The two largest.
fn choose(logits: &[f32]) -> Choice {
    let (mut best, mut second) = ((0, f32::NEG_INFINITY), (0, f32::NEG_INFINITY));
    for (&logit, token) in logits.iter().zip(0..) {
        if logit > best.1 {
            second = best;
            best = (token, logit);
        } else if logit > second.1 {
            second = (token, logit);
        }
    }
    let margin = best.1 - second.1;
    Choice { token: best.0, runner_up: second.0, margin: if margin.is_finite() { margin } else { f32::MAX } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_most_likely_and_their_distance() {
        assert_eq!(choose(&[1.0, 4.0, 3.5]), Choice { token: 1, runner_up: 2, margin: 0.5 });
        assert_eq!(choose(&[3.5, 4.0, 1.0]), Choice { token: 1, runner_up: 0, margin: 0.5 });
        assert_eq!(choose(&[4.0, 4.0]).margin, 0.0);
        assert_eq!(choose(&[f32::NAN, 1.0]).token, 1);
    }
}
