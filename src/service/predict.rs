//! How much energy a request will take, from what its model took before, and how many tokens a text has. Pure.
//!
//! Energy is linear in tokens, with one figure for the prompt's and one for the answer's; both move towards what was
//! measured. A model that has answered nothing yet is taken to need [`ANSWER`]. A prediction need not be good: it is
//! what a purse keeps for a request that runs, and what is used is charged as measured.

use std::collections::BTreeMap;

use crate::sched::VariantId;
use crate::units::Microjoules;

/// Joules for a token of an answer, until measured: a model of about a billion parameters on a small board.
const ANSWER: f64 = 0.05;
/// Joules for a token of a prompt: several are computed for each read of the weights.
const PROMPT: f64 = 0.01;
/// How far a measurement moves a figure: some ten requests decide.
const STEP: f64 = 0.2;
/// Tokens of an answer of which nothing is known but that it is not bounded.
const LENGTH: f64 = 256.0;
/// An answer may be this many times as long as the mean before its reservation is too small.
const MARGIN: f64 = 2.0;

/// Bytes of UTF-8 text for one token, until counted.
const BYTES: f64 = 4.0;
/// A shorter text says little of others: a template's own tokens are most of it.
const TEXT: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Learned {
    prompt: f64,
    answer: f64,
    length: f64,
    bytes: f64,
}

impl Default for Learned {
    fn default() -> Self {
        Learned { prompt: PROMPT, answer: ANSWER, length: LENGTH / MARGIN, bytes: BYTES }
    }
}

/// What is known of each variant.
#[derive(Debug, Default)]
pub(super) struct Predictor {
    variants: BTreeMap<VariantId, Learned>,
}

impl Predictor {
    /// For a prompt of about this many tokens and an answer of at most `max_tokens`.
    pub fn predict(&self, variant: VariantId, prompt: u32, max_tokens: u32) -> Microjoules {
        let learned = self.variants.get(&variant).copied().unwrap_or_default();
        let answer = f64::from(max_tokens.max(1)).min(learned.length * MARGIN);
        Microjoules::from_f64(f64::from(prompt) * learned.prompt + answer * learned.answer)
    }

    /// Tokens that a prompt of so many bytes has, about.
    pub fn tokens(&self, variant: VariantId, bytes: usize) -> u32 {
        let learned = self.variants.get(&variant).copied().unwrap_or_default();
        // `as` saturates.
        (bytes as f64 / learned.bytes) as u32
    }

    /// A prompt of so many bytes had so many tokens.
    pub fn counted(&mut self, variant: VariantId, bytes: usize, tokens: u32) {
        if bytes >= TEXT && tokens > 0 {
            let learned = self.variants.entry(variant).or_default();
            // A token has at least a byte, but for a template's own; and no language has them much longer than this.
            approach(&mut learned.bytes, (bytes as f64 / f64::from(tokens)).clamp(0.5, 16.0));
        }
    }

    /// A request ended after an answer of so many tokens.
    pub fn ended(&mut self, variant: VariantId, tokens: u32) {
        let learned = self.variants.entry(variant).or_default();
        approach(&mut learned.length, f64::from(tokens.max(1)));
    }

    /// A request used this much for its prompt (tokens from the cache not counted) and its answer.
    pub fn learn(&mut self, variant: VariantId, prompt: (u32, Microjoules), answer: (u32, Microjoules)) {
        let learned = self.variants.entry(variant).or_default();
        for (figure, (tokens, energy)) in [(&mut learned.prompt, prompt), (&mut learned.answer, answer)] {
            if tokens > 0 {
                approach(figure, energy.as_f64() / f64::from(tokens));
            }
        }
    }
}

fn approach(figure: &mut f64, measured: f64) {
    *figure += (measured - *figure) * STEP;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_and_then_foretold() {
        let mut predictor = Predictor::default();
        let v = VariantId(0);
        assert_eq!((predictor.tokens(v, 400), predictor.tokens(v, 0)), (100, 0));
        for _ in 0..100 {
            predictor.counted(v, 200, 100);
            predictor.counted(v, 8, 40);
            predictor.counted(v, 100, 0);
        }
        assert!((198..=201).contains(&predictor.tokens(v, 400)), "{}", predictor.tokens(v, 400));
        assert_eq!(predictor.tokens(VariantId(1), 400), 100);
    }

    #[test]
    fn a_prediction_starts_somewhere_and_approaches_what_is_measured() {
        let mut predictor = Predictor::default();
        let v = VariantId(0);
        assert_eq!(predictor.predict(v, 0, 10), Microjoules::from_f64(0.5));
        assert_eq!(
            predictor.predict(v, 0, u32::MAX),
            Microjoules::from_f64(256.0 * 0.05),
            "a huge wish is no prediction"
        );
        for _ in 0..100 {
            predictor.learn(v, (100, Microjoules::from_f64(0.1)), (50, Microjoules::from_f64(10.0)));
            predictor.ended(v, 50);
        }
        let predicted = predictor.predict(v, 200, 1_000).as_f64();
        assert!((predicted - (0.2 + 100.0 * 0.2)).abs() < 0.01, "{predicted}");
        // Another model is not known by that, and nothing at all teaches nothing.
        assert_eq!(predictor.predict(VariantId(1), 0, 10), Microjoules::from_f64(0.5));
        predictor.learn(v, (0, Microjoules(5)), (0, Microjoules(5)));
        assert_eq!(predictor.predict(v, 200, 1_000).as_f64(), predicted);
    }
}
