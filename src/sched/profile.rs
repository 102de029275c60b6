//! What a lane takes: seconds and joules, measured.
//!
//! A profile is what is known of one lane: bringing it up, keeping it, and for each number of threads two curves in
//! seconds and two in joules.
//! - Prompt: a + b·n + c·n·depth for n tokens that are computed with `depth` cells before each on average, so that it
//!   is quadratic in the prompt.
//! - Step of an answer: a + b·batch + c·batch·context. The joules are those of the whole step.
//!
//! Every finished request refines it (see `fit`: robust to outliers, slow to forget, quick where something changed). A
//! lane that was never measured is thought to be like another one, see [`Profile::prior`].
//!
//! Joules are those above what the device draws without the lane's work; what keeping the lane resident adds is
//! [`Profile::hold`]. It decides nothing, and it does not know whose lane it is.
//!
//! What always holds: every answer is finite and not negative; a profile has at most [`THREADS`] numbers of threads.

mod fit;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::units::Microjoules;
pub(super) use fit::within;
use fit::{Fit, Heard, Row, Shape};

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

/// A prompt's fixed cost is about that of some tokens, and attention costs as much as the weights at some thousands of
/// cells: what is assumed while one point of the curve is known.
const PREFILL: Shape = Shape { theta: [8.0, 1.0, 1.0 / 4000.0], doubt: [1.0, 0.4, 1.0] };
/// Weights are read once for a step, and each request in it adds a part.
const DECODE: Shape = Shape { theta: [1.0, 0.3, 0.3 / 2000.0], doubt: [0.4, 1.0, 1.0] };

/// Where numbers of threads are compared: a prompt of 256 tokens, and a step behind as many.
const PROMPT: Row = [1.0, 256.0, 256.0 * 127.5];
const ANSWER: Row = [1.0, 1.0, 256.0];

/// Requests in a step from which on it is mixed.
const MIXED_FROM: f64 = 1.2;

/// A step boundary and a sensor's refresh blur what a phase took by about this, in seconds.
const EDGE: f64 = 0.002;
const EDGE_METERED: f64 = 0.03;
/// What took so many times as long is told by its joules.
const SHARP: f64 = 10.0;
/// Beyond the usual error, as a share: joules that were estimated, and phases that were mixed with others'.
const ESTIMATED: f64 = 0.2;
const MIXED: f64 = 0.12;
/// The time of a step is that of everything in it, so that a batch's says less.
const MIXED_TIME: f64 = 0.25;
/// Measurements of a curve from which on a change of it is one of the lane.
const SETTLED: u32 = 5;
/// Numbers of threads as good as this are equal: the faster one is taken.
const EQUAL: f64 = 1.01;
/// No lane lives to see more measurements: their order is told by their number.
const SEEN: u64 = 1 << 48;
/// How far a measured load or hold moves what is known.
const APPROACH: f64 = 0.3;

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

/// What is learnt.
impl Profile {
    /// A request took this.
    pub fn learn(&mut self, measured: &Measured) -> News {
        let Measured { threads, prompt_threads, prefill, decode, metered, .. } = measured;
        let prompt_threads = if *prompt_threads == 0 { threads } else { prompt_threads };
        let mut news = News::Nothing;
        let batch = within(f64::from(prefill.batch), 1.0, 1e3);
        if let Some((seconds, joules)) = sample(prefill) {
            let n = f64::from(prefill.tokens);
            let x = [1.0, n, n * f64::from(prefill.context)];
            let mixed = batch > MIXED_FROM;
            let point = Point { x, seconds, joules, time: seconds, mixed, metered: *metered };
            let (heard, ratio) = learn(&mut self.curves_of(*prompt_threads).prefill, &PREFILL, &PROMPT, &point);
            news = news.max(heard);
            self.follow(*prompt_threads, ratio, |curves| curves.prefill.as_mut());
        }
        if let Some((seconds, joules)) = sample(decode) {
            let (n, batch) = (f64::from(decode.tokens), within(f64::from(decode.batch), 1.0, 1e3));
            let point = Point {
                x: step_row(batch, f64::from(decode.context)),
                seconds: seconds / n,
                // Its part of the step's: the others in the batch were charged alike.
                joules: joules.map(|joules| joules / n * batch),
                time: seconds,
                mixed: batch > MIXED_FROM,
                metered: *metered,
            };
            let (heard, ratio) = learn(&mut self.curves_of(*threads).decode, &DECODE, &ANSWER, &point);
            news = news.max(heard);
            self.follow(*threads, ratio, |curves| curves.decode.as_mut());
        }
        news
    }

    /// What changes a lane's speed or draw changes it for all numbers of threads.
    fn follow(&mut self, threads: u32, by: Cost, of: impl Fn(&mut Curves) -> Option<&mut Pair>) {
        for pair in self.curves.iter_mut().filter(|curves| curves.threads != threads).filter_map(of) {
            pair.seconds.scale(by.seconds);
            pair.joules.iter_mut().for_each(|fit| fit.scale(by.joules));
        }
    }

    /// Bringing it up took this.
    pub fn woke(&mut self, cost: Cost) {
        if !(is_amount(cost.seconds) && is_amount(cost.joules)) {
            return;
        }
        let toward = |old: f64, new: f64| old + APPROACH * (new - old);
        self.load = Some(self.load.map_or(cost, |old| Cost {
            seconds: toward(old.seconds, cost.seconds),
            joules: toward(old.joules, cost.joules),
        }));
    }

    /// Keeping it resident was seen to add so many watts.
    pub fn held(&mut self, watts: f64) {
        if is_amount(watts) {
            self.hold = Some(self.hold.map_or(watts, |old| old + APPROACH * (watts - old)));
        }
    }

    /// Another lane of the device changed what it takes; perhaps this one did as well.
    pub fn suspect(&mut self) {
        for pair in self.curves.iter_mut().flat_map(|curves| [&mut curves.prefill, &mut curves.decode]).flatten() {
            pair.seconds.suspect();
            pair.joules.iter_mut().for_each(Fit::suspect);
        }
    }

    /// What a lane that was never measured is thought to take, by what this one does: prompts and answers so many times
    /// as long and with so many times the joules. Nothing of it is trusted.
    pub fn prior(&self, prefill: Cost, decode: Cost) -> Profile {
        let scaled = |pair: &Pair, by: Cost| Pair {
            seconds: pair.seconds.scaled(by.seconds),
            joules: pair.joules.as_ref().map(|fit| fit.scaled(by.joules)),
        };
        let usual = self.usual_threads().unwrap_or(0);
        let of = |by: Cost, pair: Option<&Pair>| pair.map(|pair| scaled(pair, by));
        let curves = Curves {
            threads: usual,
            used: 0,
            prefill: of(prefill, self.nearest(usual, |curves| curves.prefill.as_ref())),
            decode: of(decode, self.nearest(usual, |curves| curves.decode.as_ref())),
        };
        Profile { load: self.load, hold: None, curves: vec![curves], seen: 0 }
    }

    /// What was read from a file can be used: all figures are finite and in range.
    pub fn is_sane(&self) -> bool {
        let load = self.load.is_none_or(|load| is_amount(load.seconds) && is_amount(load.joules));
        let pairs = self.curves.iter().flat_map(|curves| [&curves.prefill, &curves.decode]).flatten();
        let others = |at: usize| self.curves.iter().skip(at + 1);
        let twice = |(at, one): (usize, &Curves)| others(at).any(|other| other.threads == one.threads);
        load && self.hold.is_none_or(is_amount)
            && self.curves.len() <= THREADS
            && self.seen <= SEEN
            && self.curves.iter().all(|curves| curves.used <= self.seen)
            && !self.curves.iter().enumerate().any(twice)
            && pairs.into_iter().all(Pair::is_sane)
    }

    fn curves_of(&mut self, threads: u32) -> &mut Curves {
        self.seen = self.seen.saturating_add(1);
        let at = match self.curves.iter().position(|curves| curves.threads == threads) {
            Some(at) => at,
            None => {
                if self.curves.len() >= THREADS {
                    let oldest = self.curves.iter().enumerate().min_by_key(|(_, curves)| curves.used);
                    if let Some((at, _)) = oldest {
                        self.curves.swap_remove(at);
                    }
                }
                self.curves.push(Curves { threads, used: 0, prefill: None, decode: None });
                self.curves.len() - 1
            }
        };
        let curves = &mut self.curves[at];
        curves.used = self.seen;
        curves
    }
}

/// One point of a curve.
struct Point {
    x: Row,
    seconds: f64,
    joules: Option<f64>,
    /// How long was measured.
    time: f64,
    mixed: bool,
    metered: bool,
}

/// Also says by which factors it changed what is known of the usual point.
fn learn(pair: &mut Option<Pair>, shape: &Shape, usual: &Row, point: &Point) -> (News, Cost) {
    let mut ratio = Cost { seconds: 1.0, joules: 1.0 };
    // `expected`: so many times as much as was measured. An error of so many seconds is a share of the longer of both, or
    // something short would never tell that something long was thought of it.
    let blur = |edge: f64, mixed: f64, more: f64, expected: f64| {
        let mixed = if point.mixed { mixed } else { 0.0 };
        let time = point.time * within(expected, 1.0, 1e3);
        ((edge / time).min(1.0).powi(2) + mixed.powi(2) + more * more).sqrt()
    };
    let Some(pair) = pair else {
        let Some(seconds) = Fit::begin(shape, &point.x, point.seconds) else { return (News::Nothing, ratio) };
        *pair = Some(Pair { seconds, joules: point.joules.and_then(|joules| Fit::begin(shape, &point.x, joules)) });
        return (News::First, ratio);
    };
    // A curve of one or two points is still found, and not changed.
    let settled = pair.seconds.count() >= SETTLED;
    let before = pair.cost(usual);
    // The steps of a batch take as long as everything in them, and nobody knows whose part is how long; the joules are told
    // apart, where it took long enough that they are worth something.
    let at = pair.cost(&point.x);
    let sharp = point.metered && point.time >= SHARP * EDGE_METERED;
    let seconds = match point.joules {
        Some(joules) if point.mixed && sharp && at.joules > 0.0 => joules / at.joules * at.seconds,
        _ => point.seconds,
    };
    let expected = at.seconds / seconds;
    let mut heard = pair.seconds.learn(&point.x, seconds, blur(EDGE, MIXED_TIME, 0.0, expected));
    if let Some(joules) = point.joules {
        let estimated = if point.metered { 0.0 } else { ESTIMATED };
        let energy = blur(EDGE_METERED, MIXED, estimated, at.joules / joules);
        match &mut pair.joules {
            Some(fit) => heard = heard.max(fit.learn(&point.x, joules, energy)),
            none => *none = Fit::begin(shape, &point.x, joules),
        }
    }
    if settled {
        let after = pair.cost(usual);
        ratio.seconds = after.seconds / before.seconds.max(f64::MIN_POSITIVE);
        ratio.joules = if before.joules > 0.0 { after.joules / before.joules } else { 1.0 };
    }
    let news = match heard {
        Heard::Nothing => News::Nothing,
        Heard::Expected => News::Expected,
        Heard::Surprise => News::Surprise,
        Heard::Change => News::Change,
    };
    (news, ratio)
}

/// Seconds and joules of a phase, where it says something.
fn sample(phase: &PhaseMeasured) -> Option<(f64, Option<f64>)> {
    let (seconds, joules) = (phase.time.as_secs_f64(), phase.energy.as_f64());
    (phase.tokens > 0 && seconds > 0.0).then_some((seconds, (joules > 0.0).then_some(joules)))
}

fn prefill_row(tokens: u32, cached: u32) -> Row {
    let n = f64::from(tokens);
    [1.0, n, n * (f64::from(cached) + (n - 1.0) / 2.0)]
}

fn step_row(batch: f64, context: f64) -> Row {
    let (batch, context) = (within(batch, 0.0, 1e3), within(context, 0.0, 1e7));
    [1.0, batch, batch * context]
}

fn is_amount(v: f64) -> bool {
    (0.0..1e12).contains(&v)
}

#[cfg(test)]
mod tests;
