//! How long answers will be, by client and endpoint.
//!
//! Energy and time are linear in the length of an answer, nearly, so that the mean says what a request will take. What
//! a time limit is checked against is a length that few answers exceed. Both come from the last answers of the same
//! client at the same endpoint; before there are any, from a broad guess. An answer that was cut off by its own bound
//! says only that it would have been longer.
//!
//! What always holds: an expected answer has at least one token and at most as many as the request allows; so many
//! clients are remembered and no more ([`CLIENTS`]).

use std::collections::{BTreeMap, VecDeque};

use super::{ClientId, Endpoint};

/// Clients and endpoints that are remembered; beyond, the one that asked least lately is forgotten.
pub(super) const CLIENTS: usize = 256;
/// Answers remembered of each.
pub(super) const ANSWERS: usize = 24;
/// How much less each older answer counts.
const FADE: f64 = 0.93;
/// Lengths of answers of which nothing is known, each as likely as the others: short replies, paragraphs, pages.
const GUESS: [u32; 5] = [24, 60, 120, 240, 500];
/// The guess counts as much as so many answers, and never less than this where none are many.
const GUESS_WEIGHT: f64 = 1.0;
/// Share of answers that are not longer than [`Length::most`].
const MOST: f64 = 0.9;

/// What an answer's length is thought to be, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Length {
    /// On average.
    pub(super) mean: f64,
    /// Nine in ten are not longer.
    pub(super) most: f64,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    tokens: u32,
    /// It may have had so many.
    bound: u32,
}

impl Answer {
    /// What this one would have been with another bound.
    fn with(self, bound: u32) -> f64 {
        // Cut off: it would have gone on, nobody knows for how long.
        let whole = if self.tokens < self.bound { self.tokens } else { self.tokens.saturating_mul(2) };
        f64::from(whole.min(bound))
    }
}

#[derive(Debug, Default)]
struct History {
    answers: VecDeque<Answer>,
    used: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lengths {
    by: BTreeMap<(ClientId, Endpoint), History>,
    /// Counts what was learnt.
    clock: u64,
}

impl Lengths {
    /// The answer to a request of this client that may have at most `bound` tokens.
    pub(super) fn predict(&self, client: ClientId, endpoint: Endpoint, bound: u32) -> Length {
        let bound = bound.max(1);
        let mut points = [(0.0, 0.0); ANSWERS + GUESS.len()];
        let mut n = 0;
        let mut add = |tokens: f64, weight: f64| {
            if let Some(point) = points.get_mut(n) {
                *point = (tokens.max(1.0), weight);
                n += 1;
            }
        };
        for guess in GUESS {
            add(f64::from(guess.min(bound)), GUESS_WEIGHT / GUESS.len() as f64);
        }
        let mut weight = 1.0;
        for answer in self.by.get(&(client, endpoint)).into_iter().flat_map(|history| history.answers.iter().rev()) {
            add(answer.with(bound), weight);
            weight *= FADE;
        }
        let points = &mut points[..n];
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = points.iter().map(|(_, weight)| weight).sum();
        let mean = points.iter().map(|(tokens, weight)| tokens * weight).sum::<f64>() / total;
        let mut below = 0.0;
        let most = points.iter().find(|(_, weight)| {
            below += weight;
            below >= MOST * total
        });
        Length { mean, most: most.map_or(f64::from(bound), |(tokens, _)| *tokens).max(mean) }
    }

    /// An answer that might have had `bound` tokens came to its end.
    pub(super) fn learn(&mut self, client: ClientId, endpoint: Endpoint, tokens: u32, bound: u32) {
        let history = self.history((client, endpoint));
        history.answers.push_back(Answer { tokens: tokens.max(1), bound });
        if history.answers.len() > ANSWERS {
            history.answers.pop_front();
        }
    }

    /// What is remembered of this client, which is used now.
    fn history(&mut self, key: (ClientId, Endpoint)) -> &mut History {
        if self.by.len() >= CLIENTS && !self.by.contains_key(&key) {
            let oldest = self.by.iter().min_by_key(|(_, history)| history.used).map(|(key, _)| *key);
            oldest.map(|oldest| self.by.remove(&oldest));
        }
        self.clock += 1;
        let history = self.by.entry(key).or_default();
        history.used = self.clock;
        history
    }

    /// Whose answers are remembered.
    pub(super) fn keys(&self) -> impl Iterator<Item = (ClientId, Endpoint)> + '_ {
        self.by.keys().copied()
    }

    /// Orders clients by when something was learnt of them last.
    pub(super) fn used(&self, key: (ClientId, Endpoint)) -> Option<u64> {
        self.by.get(&key).map(|history| history.used)
    }

    /// Tokens of the last answers and of their bounds, the oldest first.
    pub(super) fn answers(&self, key: (ClientId, Endpoint)) -> impl Iterator<Item = (u32, u32)> + '_ {
        let answers = self.by.get(&key).into_iter().flat_map(|history| &history.answers);
        answers.map(|answer| (answer.tokens, answer.bound))
    }

    /// An earlier run saw these last. What this one has seen goes before them.
    pub(super) fn restore(&mut self, key: (ClientId, Endpoint), answers: Vec<(u32, u32)>) {
        if !answers.is_empty() && !self.by.contains_key(&key) {
            let answers = answers.into_iter().map(|(tokens, bound)| Answer { tokens, bound });
            self.history(key).answers = answers.collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId(1);

    #[test]
    fn before_the_first_answer_the_bound_says_most() {
        let lengths = Lengths::default();
        assert_eq!(lengths.predict(ONE, Endpoint::Chat, 10), Length { mean: 10.0, most: 10.0 });
        let long = lengths.predict(ONE, Endpoint::Chat, 100_000);
        assert!(long.mean > 100.0 && long.mean < 300.0 && long.most == 500.0, "{long:?}");
        assert_eq!(lengths.predict(ONE, Endpoint::Chat, 0).mean, 1.0);
    }

    #[test]
    fn a_clients_own_answers_decide_and_old_ones_fade() {
        let mut lengths = Lengths::default();
        for i in 0..20 {
            lengths.learn(ONE, Endpoint::Chat, 30 + i % 3, 1_000);
        }
        let short = lengths.predict(ONE, Endpoint::Chat, 1_000);
        assert!(short.mean < 50.0 && short.most <= 40.0f64.max(short.mean), "{short:?}");
        assert!(lengths.predict(ONE, Endpoint::Chat, 8).mean <= 8.0);
        // Others know nothing by that.
        assert!(lengths.predict(ONE, Endpoint::Completion, 1_000).mean > 100.0);
        assert!(lengths.predict(ClientId(2), Endpoint::Chat, 1_000).mean > 100.0);
        for _ in 0..20 {
            lengths.learn(ONE, Endpoint::Chat, 400, 1_000);
        }
        assert!(lengths.predict(ONE, Endpoint::Chat, 1_000).mean > 300.0);
    }

    #[test]
    fn what_was_cut_off_would_have_been_longer() {
        let mut lengths = Lengths::default();
        for _ in 0..20 {
            lengths.learn(ONE, Endpoint::Chat, 64, 64);
        }
        assert!(lengths.predict(ONE, Endpoint::Chat, 64).mean > 60.0);
        assert!(lengths.predict(ONE, Endpoint::Chat, 1_000).mean > 110.0);
    }

    #[test]
    fn many_clients_are_forgotten_in_turn() {
        let mut lengths = Lengths::default();
        for client in 0..1_000 {
            lengths.learn(ClientId(client), Endpoint::Chat, 5, 1_000);
        }
        assert_eq!(lengths.by.len(), CLIENTS);
        assert!(lengths.predict(ClientId(999), Endpoint::Chat, 1_000).mean < 105.0);
    }
}
