//! What a lane takes: seconds and joules, measured.
//!
//! A profile is what is known of one lane: bringing it up, keeping it, and for each number of threads two curves in
//! seconds and two in joules.
//! - Prompt: a + b·n + c·n·depth for n tokens that are computed with `depth` cells before each on average, so that it
//!   is quadratic in the prompt.
//! - Step of an answer: a + b·batch + c·batch·context. The joules are those of the whole step.
//!
//! Every finished request refines it (see `learn`, and `fit`: robust to outliers, slow to forget, quick where something
//! changed). A lane that was never measured is thought to be like another one, see [`Profile::prior`].
//!
//! Joules are those above what the device draws without the lane's work; what keeping the lane resident adds is
//! [`Profile::hold`]. It decides nothing, and it does not know whose lane it is.
//!
//! What always holds: every answer is finite and not negative; a profile has at most [`THREADS`] numbers of threads.

mod fit;
mod learn;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::units::Microjoules;
pub(super) use fit::within;
use fit::{Fit, Row};

/// Numbers of threads that are kept apart. Beyond, the one that was measured least lately goes.
pub const THREADS: usize = 8;

/// Numbers of threads worth a measurement on a device that has so many, the most first: all, up to what is kept apart.
/// Answers are bound by memory from some number on, and one thread more or less than that is a tenth of their joules.
pub fn thread_ladder(most: u32) -> Vec<u32> {
    let few = [1, 2, most / 4, most / 2, most - most / 4];
    let all = most as usize <= THREADS;
    (1..=most).rev().filter(|n| all || *n == most || few.contains(n)).collect()
}

/// What something takes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds.
    pub seconds: f64,
    /// Joules above what the device draws anyway.
    pub joules: f64,
}

impl Cost {
    /// So many times this.
    pub fn times(self, n: f64) -> Cost {
        Cost { seconds: self.seconds * n, joules: self.joules * n }
    }
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
    /// Threads that computed the prompt, where these were others; 0: the same.
    pub prompt_threads: u32,
    /// The prompt, without what the cache had.
    pub prefill: PhaseMeasured,
    /// The answer.
    pub decode: PhaseMeasured,
    /// The joules are measured and not estimated.
    pub metered: bool,
    /// The answer came to its end by itself or by the most tokens that it may have, so that its length says how long
    /// answers are. Not where somebody cancelled it, its budget ended it or its lane died.
    pub ended: bool,
}

impl Measured {
    /// As if all had taken so many times as long, with as many joules more.
    pub(super) fn scaled(&self, factor: f64) -> Measured {
        let factor = if factor.is_finite() { factor.clamp(0.0, 1.0) } else { 1.0 };
        let scaled = |phase: &PhaseMeasured| PhaseMeasured {
            time: phase.time.mul_f64(factor),
            energy: phase.energy.share(factor),
            ..*phase
        };
        Measured { prefill: scaled(&self.prefill), decode: scaled(&self.decode), ..*self }
    }
}

/// How much a measurement agreed with what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// It said nothing.
    Nothing,
    /// It was as expected.
    Expected,
    /// It was far off, and may be an outlier.
    Surprise,
    /// It was the first of its kind.
    First,
    /// It was one of several that were far off to the same side: the lane takes something else now.
    Change,
}

/// Where numbers of threads are compared: a prompt of 256 tokens, and a step behind as many.
const PROMPT: Row = [1.0, 256.0, 256.0 * 127.5];
const ANSWER: Row = [1.0, 1.0, 256.0];

/// Numbers of threads as good as this are equal: the faster one is taken.
const EQUAL: f64 = 1.01;

/// Curves in seconds and joules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair {
    seconds: Fit,
    joules: Option<Fit>,
}

impl Pair {
    fn cost(&self, x: &Row) -> Cost {
        let joules = self.joules.as_ref().map_or(0.0, |fit| fit.predict(x));
        Cost { seconds: self.seconds.predict(x), joules }
    }

    fn doubt(&self, x: &Row) -> f64 {
        self.joules.as_ref().map_or(1.0, |fit| fit.doubt(x))
    }

    fn is_sane(&self) -> bool {
        self.seconds.is_sane() && self.joules.as_ref().is_none_or(Fit::is_sane)
    }
}

/// Curves of one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Curves {
    threads: u32,
    /// Measurements in the profile when this was last measured.
    used: u64,
    prefill: Option<Pair>,
    decode: Option<Pair>,
}

/// What is known of one lane. See the [module](self).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {
    load: Option<Cost>,
    hold: Option<f64>,
    curves: Vec<Curves>,
    /// Measurements so far.
    seen: u64,
}

/// What is known.
impl Profile {
    /// Computing a prompt of `tokens` behind `cached` cells with so many threads, or with the nearest number that was
    /// measured. `None` where none was.
    pub fn prefill(&self, threads: u32, tokens: u32, cached: u32) -> Option<Cost> {
        let pair = self.nearest(threads, |curves| curves.prefill.as_ref())?;
        if tokens == 0 {
            return Some(Cost::default());
        }
        Some(pair.cost(&prefill_row(tokens, cached)))
    }

    /// One step of an answer for `batch` requests with `context` cells each.
    pub fn step(&self, threads: u32, batch: f64, context: f64) -> Option<Cost> {
        let pair = self.nearest(threads, |curves| curves.decode.as_ref())?;
        Some(pair.cost(&step_row(batch, context)))
    }

    /// How far the joules of such a prompt and answer may be wrong, as a standard deviation and a share of them. 1 where
    /// nothing is known.
    /// `threads`: of the prompt and of the answer.
    pub fn doubt(&self, threads: (u32, u32), tokens: u32, cached: u32, context: f64) -> (f64, f64) {
        let prefill = self.nearest(threads.0, |curves| curves.prefill.as_ref());
        let decode = self.nearest(threads.1, |curves| curves.decode.as_ref());
        (
            prefill.map_or(1.0, |pair| pair.doubt(&prefill_row(tokens.max(1), cached))),
            decode.map_or(1.0, |pair| pair.doubt(&step_row(1.0, context))),
        )
    }

    /// Bringing the lane up.
    pub fn load(&self) -> Option<Cost> {
        self.load
    }

    /// What the lane adds to the device's draw while it is resident and idle, in watts.
    pub fn hold(&self) -> Option<f64> {
        self.hold
    }

    /// Prompts and answers were measured.
    pub fn is_measured(&self) -> bool {
        self.curves.iter().any(|curves| curves.prefill.is_some())
            && self.curves.iter().any(|curves| curves.decode.is_some())
    }

    /// Measurements of prompts and of answers, with any number of threads.
    pub fn confidence(&self) -> (u32, u32) {
        let count = |pair: &Option<Pair>| pair.as_ref().map_or(0, |pair| pair.seconds.count());
        let sum = |all: u32, n: u32| all.saturating_add(n);
        (
            self.curves.iter().map(|curves| count(&curves.prefill)).fold(0, sum),
            self.curves.iter().map(|curves| count(&curves.decode)).fold(0, sum),
        )
    }

    /// The numbers of threads of which something is known.
    pub fn threads(&self) -> impl Iterator<Item = u32> + '_ {
        self.curves.iter().map(|curves| curves.threads)
    }

    /// The best number of threads for prompts by the policy, of those that were measured. `None`: there is no choice. All
    /// are compared at the same point of their curves, in the middle of what is measured: far out, where only one of them
    /// was measured, the others are guesses.
    pub fn prompt_threads(&self, policy: Policy) -> Option<u32> {
        self.best_threads(policy, &PROMPT, |curves| curves.prefill.as_ref())
    }

    /// The same for steps of answers for so many requests.
    pub fn answer_threads(&self, policy: Policy, batch: f64) -> Option<u32> {
        self.best_threads(policy, &step_row(batch, ANSWER[2]), |curves| curves.decode.as_ref())
    }

    fn best_threads(&self, policy: Policy, x: &Row, of: impl Fn(&Curves) -> Option<&Pair>) -> Option<u32> {
        let known = || self.curves.iter().filter_map(|curves| Some((curves.threads, of(curves)?.cost(x))));
        let score = |cost: &Cost| match policy {
            Policy::MinEnergy => cost.joules,
            Policy::Balanced => cost.joules * cost.seconds,
            Policy::MaxThroughput => cost.seconds,
        };
        let least = known().map(|(_, cost)| score(&cost)).fold(f64::INFINITY, f64::min);
        let equal = known().filter(|(_, cost)| score(cost) <= EQUAL * least);
        let best = equal.min_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
        best.filter(|_| known().count() > 1).map(|(threads, _)| threads)
    }

    /// Prompts and answers were measured with several numbers of threads each.
    pub fn has_choice(&self) -> bool {
        let prompts = self.curves.iter().filter(|curves| curves.prefill.is_some());
        let answers = self.curves.iter().filter(|curves| curves.decode.is_some());
        prompts.count() > 1 && answers.count() > 1
    }

    /// The number of threads that was measured last.
    pub fn usual_threads(&self) -> Option<u32> {
        self.curves.iter().max_by_key(|curves| curves.used).map(|curves| curves.threads)
    }

    fn nearest<'a>(&'a self, threads: u32, of: impl Fn(&'a Curves) -> Option<&'a Pair>) -> Option<&'a Pair> {
        let known = self.curves.iter().filter_map(|curves| Some((curves, of(curves)?)));
        let far = |curves: &Curves| (curves.threads.abs_diff(threads), u64::MAX - curves.used);
        known.min_by_key(|(curves, _)| far(curves)).map(|(_, pair)| pair)
    }
}

fn prefill_row(tokens: u32, cached: u32) -> Row {
    let n = f64::from(tokens);
    [1.0, n, n * (f64::from(cached) + (n - 1.0) / 2.0)]
}

fn step_row(batch: f64, context: f64) -> Row {
    let (batch, context) = (within(batch, 0.0, 1e3), within(context, 0.0, 1e7));
    [1.0, batch, batch * context]
}

#[cfg(test)]
mod tests;
