//! How a profile learns: what a request took becomes a point of two curves, with the error that it may have.
//!
//! It says how much a point is worth; `fit` moves the curve. What always holds: what is no amount changes nothing.

use super::fit::{within, Fit, Heard, Row, Shape};
use super::{step_row, Cost, Curves, Measured, News, Pair, PhaseMeasured, Profile, ANSWER, PROMPT, THREADS};

/// A prompt's fixed cost is about that of some tokens, and attention costs as much as the weights at some thousands of
/// cells: what is assumed while one point of the curve is known.
const PREFILL: Shape = Shape { theta: [8.0, 1.0, 1.0 / 4000.0], doubt: [1.0, 0.4, 1.0] };
/// Weights are read once for a step, and each request in it adds a part.
const DECODE: Shape = Shape { theta: [1.0, 0.3, 0.3 / 2000.0], doubt: [0.4, 1.0, 1.0] };

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
/// No lane lives to see more measurements: their order is told by their number.
const SEEN: u64 = 1 << 48;
/// How far a measured load or hold moves what is known.
const APPROACH: f64 = 0.3;

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

fn is_amount(v: f64) -> bool {
    (0.0..1e12).contains(&v)
}
