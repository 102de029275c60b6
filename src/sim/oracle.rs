//! What could have been: fixed plans in hindsight, and the clairvoyant.
//!
//! The clairvoyant knows the true curves, who comes when, and how long every answer will be. For each request it chooses
//! lanes and threads of prompt and answer, for each gap which lanes stay. It plays in the scheduler's world by its rules:
//! it starts who can start and does not make anybody wait for company. Short traces are searched exhaustively; for long
//! ones it is the best that a search finds, which can be reached but may not be the best there is. How far that may be
//! from the truth `bound` says.
//!
//! What counts, in this order: requests that missed their deadline or were not answered, first tokens that came too late,
//! joules above idle. Joules can only be compared at equal numbers of these: for that, as many as the scheduler missed may
//! be missed ([`May`]).

use super::device::{Device, LaneSpec};
use super::outcome::{Fate, Outcome};
use super::script::{Keep, Plans, Script, Way};
use super::trace::{Ask, Trace};
use super::world::World;
use crate::sched::Backend;

/// Runs of a world that an exhaustive search may take.
const EXHAUSTIVE: u64 = 100_000;
/// Runs that a search may take.
const SEARCH: u64 = 60_000;

/// What a run is judged by. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize)]
pub struct Score {
    /// Requests that missed their deadline or were not answered in full.
    pub missed: u32,
    /// Requests whose first token came too late.
    pub late: u32,
    /// Joules above idle.
    pub joules: f64,
}

impl Score {
    /// Of a run.
    pub fn of(outcome: &Outcome, trace: &Trace) -> Score {
        let (mut missed, mut late) = (0, 0);
        for (request, ask) in outcome.requests.iter().zip(&trace.asks) {
            let took = |at: Option<f64>| Some(at? - request.came?);
            let within = |limit: f64, at: Option<f64>| took(at).is_some_and(|took| took <= limit + 1e-6);
            let ended = ask.deadline.is_none_or(|limit| within(limit, request.end));
            missed += u32::from(request.fate != Fate::Answered || !ended);
            late += u32::from(ask.ttft.is_some_and(|limit| !within(limit, request.first)));
        }
        Score { missed, late, joules: outcome.joules.active() }
    }

    /// By more than rounding, where so many may be missed and late.
    pub(super) fn beats(&self, other: &Score, may: May) -> bool {
        let beyond = |s: &Score| (s.missed.saturating_sub(may.missed), s.late.saturating_sub(may.late));
        let joules = self.joules < other.joules - 1e-9 * other.joules.abs();
        beyond(self) < beyond(other) || (beyond(self) == beyond(other) && joules)
    }
}

/// How many requests may be missed, and first tokens late, without that counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct May {
    /// Missed.
    pub missed: u32,
    /// Late.
    pub late: u32,
}

impl From<Score> for May {
    /// As many as there.
    fn from(score: Score) -> May {
        May { missed: score.missed, late: score.late }
    }
}

/// Plans and what comes of them.
#[derive(Debug, Clone)]
pub struct Found {
    /// The plans.
    pub plans: Plans,
    /// What comes of them.
    pub outcome: Outcome,
    /// How good that is.
    pub score: Score,
    /// For people: `cpu`, `cpu→gpu`, `cpu ×2`.
    pub name: String,
}

/// Runs plans.
pub fn run(device: &Device, trace: &Trace, plans: Plans, name: String) -> Found {
    let outcome = World::new(device, trace).run(&mut Script::new(&plans, device, trace));
    let score = Score::of(&outcome, trace);
    Found { plans, outcome, score, name }
}

/// The lanes that may run this request.
fn lanes_for<'a>(device: &'a Device, ask: &'a Ask) -> impl Iterator<Item = usize> + 'a {
    let allowed =
        move |lane: &usize| ask.backend.is_none_or(|b| (device.lanes[*lane].device == 0) == (b == Backend::Cpu));
    device.lanes_of(ask.variant).filter(allowed)
}

/// Numbers of threads of which none is as fast as and no dearer than another, the most frugal first.
fn front(lane: &LaneSpec, cost: impl Fn(u32) -> (f64, f64)) -> Vec<u32> {
    let all: Vec<(u32, (f64, f64))> = (1..=lane.threads()).map(|n| (n, cost(n))).collect();
    let worse = |a: &(f64, f64), b: &(f64, f64)| b.0 <= a.0 && b.1 <= a.1 && b != a;
    let mut best: Vec<_> = all.iter().filter(|(_, a)| !all.iter().any(|(_, b)| worse(a, b))).copied().collect();
    best.sort_by(|a, b| a.1 .1.total_cmp(&b.1 .1));
    best.into_iter().map(|(n, _)| n).collect()
}

/// Threads for prompts and for answers that a clairvoyant would consider.
fn fronts(lane: &LaneSpec) -> (Vec<u32>, Vec<u32>) {
    let prefill = front(lane, |n| {
        let point = lane.point(n);
        (point.token, point.token * (point.prefill_watts + lane.hold_watts))
    });
    let decode = front(lane, |n| {
        let point = lane.point(n);
        (point.step, point.step * (point.decode_watts + lane.hold_watts))
    });
    (prefill, decode)
}

/// Every way to run a request that could be the best; of each pair of lanes the most frugal first.
pub fn ways(device: &Device, ask: &Ask) -> Vec<Way> {
    let mut ways = Vec::new();
    for prefill in lanes_for(device, ask) {
        for decode in lanes_for(device, ask) {
            let (first, second) = (fronts(&device.lanes[prefill]).0, fronts(&device.lanes[decode]).1);
            for a in &first {
                ways.extend(second.iter().map(|b| Way { prefill, decode, threads: (*a, *b) }));
            }
        }
    }
    ways
}

/// The devices of a fixed plan, and the threads of its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Where prompts and answers are computed.
    pub devices: (u8, u8),
    /// Threads of lanes on the CPU.
    pub threads: u32,
}

impl Fixed {
    /// For each request: the lanes on these devices, or, where it may not run there, one where it may.
    fn plans(self, device: &Device, trace: &Trace, keep: Keep) -> Plans {
        let on = |ask: &Ask, place: u8| {
            let found = lanes_for(device, ask).find(|lane| device.lanes[*lane].device == place);
            found.or_else(|| lanes_for(device, ask).next()).unwrap_or(0)
        };
        let way = |ask: &Ask| {
            let (prefill, decode) = (on(ask, self.devices.0), on(ask, self.devices.1));
            Way { prefill, decode, threads: (self.threads, self.threads) }
        };
        Plans { ways: trace.asks.iter().map(way).collect(), hold: vec![false; trace.asks.len()], keep }
    }

    fn name(self, most: u32) -> String {
        let place = |device: u8| match device {
            0 if self.threads < most => format!("cpu ×{}", self.threads),
            0 => "cpu".to_owned(),
            1 => "gpu".to_owned(),
            n => format!("gpu{}", n - 1),
        };
        match self.devices {
            (a, b) if a == b => place(a),
            (a, b) => format!("{}→{}", place(a), place(b)),
        }
    }
}

/// What fixed plans would have brought.
#[derive(Debug, Clone)]
pub struct Hindsight {
    /// Everything on the CPU with all threads, its lane kept until break-even. `None`: there is no such lane.
    pub cpu: Option<Found>,
    /// Everything on the first GPU, likewise.
    pub gpu: Option<Found>,
    /// The best of all fixed plans: devices of prompts and answers, threads, and what is done in gaps.
    pub best: Found,
}

/// Runs all fixed plans.
pub fn hindsight(device: &Device, trace: &Trace, may: May) -> Hindsight {
    let most = device.lanes.iter().filter(|lane| lane.device == 0).map(LaneSpec::threads).max().unwrap_or(1);
    let mut places: Vec<u8> = device.lanes.iter().map(|lane| lane.device).collect();
    places.sort_unstable();
    places.dedup();
    let run_fixed = |fixed: Fixed, keep: Keep| {
        let mut found = run(device, trace, fixed.plans(device, trace, keep), fixed.name(most));
        match keep {
            Keep::Always => found.name += ", lanes stay",
            Keep::Never => found.name += ", lanes go",
            Keep::BreakEven | Keep::Foresight => {}
        }
        found
    };
    let always = |place: u8| {
        let fixed = Fixed { devices: (place, place), threads: most };
        places.contains(&place).then(|| run_fixed(fixed, Keep::BreakEven))
    };
    let mut best: Option<Found> = None;
    for a in &places {
        for b in &places {
            let threads = if *a == 0 || *b == 0 { 1..=most } else { most..=most };
            for n in threads {
                for keep in [Keep::BreakEven, Keep::Always, Keep::Never] {
                    let found = run_fixed(Fixed { devices: (*a, *b), threads: n }, keep);
                    if best.as_ref().is_none_or(|best| found.score.beats(&best.score, may)) {
                        best = Some(found);
                    }
                }
            }
        }
    }
    let (cpu, gpu) = (always(0), places.iter().find(|place| **place > 0).and_then(|place| always(*place)));
    let fallback = || run_fixed(Fixed { devices: (0, 0), threads: most }, Keep::BreakEven);
    Hindsight { cpu, gpu, best: best.unwrap_or_else(fallback) }
}

/// What the clairvoyant found.
#[derive(Debug, Clone)]
pub struct Clairvoyant {
    /// Its plans and what comes of them.
    pub found: Found,
    /// Every combination was tried.
    pub exhaustive: bool,
    /// Worlds that were run for it.
    pub runs: u64,
}

/// Searches for the best. `starts`: plans that are known already; nothing worse than them is found.
pub fn clairvoyant(device: &Device, trace: &Trace, starts: &[Plans], may: May) -> Clairvoyant {
    let holds = |way: &Way| device.lanes[way.prefill].hold_watts > 0.0 || device.lanes[way.decode].hold_watts > 0.0;
    let mut search = Search::new(device, trace, may);
    let first = search.best.plans.clone();
    for plans in starts {
        search.try_plans(plans);
        search.try_plans(&Plans { keep: Keep::Foresight, ..plans.clone() });
    }
    if search.combinations(holds) <= EXHAUSTIVE {
        search.exhaust(holds);
        return Clairvoyant { found: search.best, exhaustive: true, runs: search.runs };
    }
    search.look_around(&first, holds);
    Clairvoyant { found: search.best, exhaustive: false, runs: search.runs }
}

struct Search<'a> {
    device: &'a Device,
    trace: &'a Trace,
    options: Vec<Vec<Way>>,
    may: May,
    best: Found,
    runs: u64,
}

impl<'a> Search<'a> {
    /// Begins with each request's first way.
    fn new(device: &'a Device, trace: &'a Trace, may: May) -> Search<'a> {
        let options: Vec<Vec<Way>> = trace.asks.iter().map(|ask| ways(device, ask)).collect();
        let ways = options.iter().map(|ways| ways[0]).collect();
        let first = Plans { ways, hold: vec![false; options.len()], keep: Keep::Foresight };
        let best = run(device, trace, first, "clairvoyant".to_owned());
        Search { device, trace, options, may, best, runs: 1 }
    }

    fn score(&mut self, plans: &Plans) -> (Score, Outcome) {
        self.runs += 1;
        let outcome = World::new(self.device, self.trace).run(&mut Script::new(plans, self.device, self.trace));
        (Score::of(&outcome, self.trace), outcome)
    }

    fn try_plans(&mut self, plans: &Plans) -> Score {
        let (score, outcome) = self.score(plans);
        if score.beats(&self.best.score, self.may) {
            self.best = Found { plans: plans.clone(), outcome, score, name: "clairvoyant".to_owned() };
        }
        score
    }

    /// How many combinations there are.
    fn combinations(&self, holds: impl Fn(&Way) -> bool) -> u64 {
        let choices = |ways: &Vec<Way>| ways.iter().map(|way| 1 + u64::from(holds(way))).sum::<u64>();
        self.options.iter().map(choices).fold(1, u64::saturating_mul)
    }

    /// Descends from the best known plans, from what is best for each request alone, and from each pair of lanes.
    fn look_around(&mut self, first: &Plans, holds: impl Fn(&Way) -> bool + Copy) {
        let mut begin = vec![self.best.plans.clone(), self.frugal(first)];
        for pair in self.pairs() {
            begin.push(self.all_on(first, pair, 0..first.ways.len()));
        }
        for plans in begin {
            self.descend(Plans { keep: Keep::Foresight, ..plans }, holds);
        }
    }

    /// Tries every combination.
    fn exhaust(&mut self, holds: impl Fn(&Way) -> bool) {
        let choices: Vec<Vec<(Way, bool)>> = self
            .options
            .iter()
            .map(|ways| ways.iter().flat_map(|w| [(*w, false), (*w, true)]).filter(|(w, h)| !h || holds(w)).collect())
            .collect();
        let mut at = vec![0; choices.len()];
        let pick = |at: &[usize]| -> Vec<(Way, bool)> { at.iter().zip(&choices).map(|(i, c)| c[*i]).collect() };
        loop {
            let (ways, hold) = pick(&at).into_iter().unzip();
            self.try_plans(&Plans { ways, hold, keep: Keep::Foresight });
            // The next combination, as a counter counts.
            let Some(digit) = (0..at.len()).find(|i| at[*i] + 1 < choices[*i].len()) else { return };
            at[digit] += 1;
            at[..digit].fill(0);
        }
    }

    /// Pairs of lanes that some request may use.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let mut pairs: Vec<_> = self.options.iter().flatten().map(|way| (way.prefill, way.decode)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// These requests on these lanes, where they may run there.
    fn all_on(&self, plans: &Plans, pair: (usize, usize), which: std::ops::Range<usize>) -> Plans {
        let mut plans = plans.clone();
        for ask in which {
            if let Some(way) = self.options[ask].iter().find(|way| (way.prefill, way.decode) == pair) {
                plans.ways[ask] = *way;
            }
        }
        plans
    }

    /// Each request where it takes least by itself, wake and hold left out.
    fn frugal(&self, plans: &Plans) -> Plans {
        let mut plans = plans.clone();
        for (ask, way) in plans.ways.iter_mut().enumerate() {
            let request = &self.trace.asks[ask];
            let cost = |way: &Way| {
                let (a, b) = (&self.device.lanes[way.prefill], &self.device.lanes[way.decode]);
                let (p, d) = (a.point(way.threads.0), b.point(way.threads.1));
                let cells = f64::from(request.prompt) + f64::from(request.answer) / 2.0;
                let moved = match way.prefill == way.decode {
                    true => 0.0,
                    false => self.device.handover_of(a.variant, request.prompt).1 * self.device.handover.watts,
                };
                a.prefill_seconds(p, request.prompt, 0) * (p.prefill_watts + a.hold_watts)
                    + f64::from(request.answer) * b.step_seconds(d, 1, cells) * (d.decode_watts + b.hold_watts)
                    + moved
            };
            if let Some(best) = self.options[ask].iter().min_by(|a, b| cost(a).total_cmp(&cost(b))) {
                *way = *best;
            }
        }
        plans
    }

    /// Changes one request, one gap or a run of requests at a time, as long as that makes it better.
    fn descend(&mut self, mut plans: Plans, holds: impl Fn(&Way) -> bool) {
        let mut score = self.try_plans(&plans);
        let (count, pairs) = (plans.ways.len(), self.pairs());
        loop {
            let before = score;
            for ask in 0..count {
                for option in 0..self.options[ask].len() {
                    let way = self.options[ask][option];
                    for hold in [false, true] {
                        let (old, held) = (plans.ways[ask], plans.hold[ask]);
                        if (way, hold) == (old, held) || (hold && !holds(&way)) || self.runs >= SEARCH {
                            continue;
                        }
                        (plans.ways[ask], plans.hold[ask]) = (way, hold);
                        let new = self.try_plans(&plans);
                        if new.beats(&score, self.may) {
                            score = new;
                        } else {
                            (plans.ways[ask], plans.hold[ask]) = (old, held);
                        }
                    }
                }
            }
            let mut length = 2;
            while length < 2 * count {
                for begin in (0..count).step_by(length / 2) {
                    for pair in &pairs {
                        let new = self.all_on(&plans, *pair, begin..(begin + length).min(count));
                        if new == plans || self.runs >= SEARCH {
                            continue;
                        }
                        let found = self.try_plans(&new);
                        if found.beats(&score, self.may) {
                            (score, plans) = (found, new);
                        }
                    }
                }
                length *= 2;
            }
            if !score.beats(&before, self.may) || self.runs >= SEARCH {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{device, line, trace};
    use crate::sim::Rng;

    #[test]
    fn a_search_finds_what_trying_everything_finds() {
        let device = device();
        let mut rng = Rng::new(3);
        for round in 0..4 {
            let mut at = 0.0;
            let lines = (0..4).map(|_| {
                at += rng.gap(8.0);
                line(at, rng.length(60.0, 1.5), rng.length(10.0, 1.2))
            });
            let trace = trace(lines.collect(), &device);
            let holds = |way: &Way| way.prefill > 0 || way.decode > 0;
            let mut all = Search::new(&device, &trace, May::default());
            all.exhaust(holds);
            let mut some = Search::new(&device, &trace, May::default());
            let first = some.best.plans.clone();
            some.look_around(&first, holds);
            assert!(some.runs < all.runs, "{} {}", some.runs, all.runs);
            let (found, possible) = (some.best.score.joules, all.best.score.joules);
            assert!(found <= possible * 1.005, "{round}: {found} J found, {possible} J possible");
        }
    }

    #[test]
    fn threads_that_are_slower_and_dearer_than_others_are_left_out() {
        let mut device = device();
        let lane = &mut device.lanes[0];
        // Two threads are faster and dearer for prompts, and worse in both for answers.
        lane.points[1].step = lane.points[0].step * 1.1;
        assert_eq!(fronts(lane), (vec![1, 2], vec![1]));
    }
}
