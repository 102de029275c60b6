//! The scheduler against what could have been, for one device and trace, and for many by chance.

use serde::Serialize;

use super::bound::bound;
use super::device::Device;
use super::driver::{play, Options, Played};
use super::oracle::{clairvoyant, hindsight, May, Score};
use super::outcome::Fate;
use super::random::{random_device, random_trace, trace, Shape, BEFORE};
use super::report::{regret, Percentiles, Summary};
use super::rng::Rng;
use super::script::{Keep, Plans, Way};
use super::trace::Trace;
use crate::sched::Reason;

/// The scheduler's run and what it is measured by. Regrets are parts: 0.03 is 3 % more joules above idle.
#[derive(Debug, Clone, Serialize)]
pub struct Contest {
    /// The device's name.
    pub device: String,
    /// The scheduler.
    pub scheduler: Summary,
    /// Joules above idle of the calibration before; in no other figure.
    pub calibration_joules: f64,
    /// Requests that the scheduler lived through before; in no other figure either.
    pub lived: usize,
    /// How many requests were planned for which reason.
    pub reasons: std::collections::BTreeMap<String, u32>,
    /// What forecasts of joules were off by, in the middle and in 95 of a hundred, as parts of what was used.
    pub forecast_error: Option<Percentiles>,
    /// Everything on the CPU.
    pub always_cpu: Option<Summary>,
    /// Everything on the GPU.
    pub always_gpu: Option<Summary>,
    /// The best fixed plan in hindsight.
    pub best_fixed: Summary,
    /// The clairvoyant, where it was asked for. It missed no more than the scheduler.
    pub clairvoyant: Option<Summary>,
    /// The fewest requests that a clairvoyant has to miss, and first tokens that are late then, whatever joules that
    /// takes; where it was asked for.
    pub fewest: Option<(u32, u32)>,
    /// Every combination was tried for it.
    pub exhaustive: bool,
    /// Worlds that were run for it.
    pub runs: u64,
    /// Joules above idle that every decider needs, where the clairvoyant was asked for.
    pub lower_bound: Option<f64>,
    /// Regrets.
    pub regret: Regrets,
}

/// See [`Contest`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Regrets {
    /// Against everything on the CPU.
    pub always_cpu: Option<f64>,
    /// Against everything on the GPU.
    pub always_gpu: Option<f64>,
    /// Against the best fixed plan.
    pub best_fixed: Option<f64>,
    /// Against the clairvoyant.
    pub clairvoyant: Option<f64>,
}

/// Runs the scheduler and what it is measured by.
pub fn contest(device: &Device, trace: &Trace, options: Options<'_>, oracle: bool) -> Contest {
    let played = play(device, trace, options);
    let own = Score::of(&played.outcome, trace);
    let fixed = hindsight(device, trace, own.into());
    let summary = |found: &super::Found| Summary::new(&found.name, &found.outcome, device, trace);
    let scheduler = Summary::new("scheduler", &played.outcome, device, trace);
    let (always_cpu, always_gpu) = (fixed.cpu.as_ref().map(summary), fixed.gpu.as_ref().map(summary));
    let best_fixed = summary(&fixed.best);
    let (mut best, mut fewest, mut exhaustive, mut runs, mut lower_bound) = (None, None, false, 0, None);
    if oracle {
        let mut starts = vec![fixed.best.plans.clone()];
        starts.extend(fixed.cpu.iter().chain(&fixed.gpu).map(|found| found.plans.clone()));
        starts.push(replay(&played, &fixed.best.plans));
        let found = clairvoyant(device, trace, &starts, own.into());
        (exhaustive, runs) = (found.exhaustive, found.runs);
        fewest = Some((own.missed, own.late));
        if (own.missed, own.late) > (0, 0) {
            let strict = clairvoyant(device, trace, &starts, May::default());
            let least = (strict.found.score.missed, strict.found.score.late);
            fewest = fewest.min(Some(least));
            runs += strict.runs;
        }
        // What the scheduler did can be done, should it be better than all that was found.
        let (outcome, name) = match own.beats(&found.found.score, own.into()) {
            true => (&played.outcome, "clairvoyant (as the scheduler)"),
            false => (&found.found.outcome, "clairvoyant"),
        };
        let answers = outcome.requests.iter().zip(&trace.asks);
        let missed = own.missed > 0 || outcome.requests.iter().any(|request| request.fate != Fate::Answered);
        // Where requests are missed, another decider may miss others: those with a deadline are left out.
        let must: Vec<bool> = answers.map(|(_, ask)| !missed || ask.deadline.is_none()).collect();
        lower_bound = Some(bound(device, trace, &must));
        best = Some(Summary::new(name, outcome, device, trace));
    }
    let regret = Regrets {
        always_cpu: always_cpu.as_ref().and_then(|other| regret(&scheduler, other)),
        always_gpu: always_gpu.as_ref().and_then(|other| regret(&scheduler, other)),
        best_fixed: regret(&scheduler, &best_fixed),
        clairvoyant: best.as_ref().and_then(|other| regret(&scheduler, other)),
    };
    Contest {
        device: device.name.clone(),
        calibration_joules: played.calibration,
        lived: options.history.map_or(0, |history| history.asks.len()),
        reasons: reasons(&played),
        forecast_error: forecast_error(&played),
        scheduler,
        always_cpu,
        always_gpu,
        best_fixed,
        clairvoyant: best,
        fewest,
        exhaustive,
        runs,
        lower_bound,
        regret,
    }
}

/// The plans by which requests ran; `other` for those that did not.
fn replay(played: &Played, other: &Plans) -> Plans {
    let ways = played.outcome.requests.iter().zip(&other.ways).map(|(request, other)| match request.lanes {
        (Some(prefill), Some(decode)) => {
            let used =
                |lane: usize| request.taken.iter().find(|taken| taken.lane == lane).map_or((1, 1), |t| t.threads);
            Way { prefill, decode, threads: (used(prefill).0.max(1), used(decode).1.max(1)) }
        }
        _ => *other,
    });
    Plans { ways: ways.collect(), hold: other.hold.clone(), keep: Keep::BreakEven }
}

fn reasons(played: &Played) -> std::collections::BTreeMap<String, u32> {
    let mut reasons = std::collections::BTreeMap::new();
    for planned in played.planned.iter().flatten() {
        let name = serde_json::to_value(planned.reason).ok().and_then(|name| name.as_str().map(str::to_owned));
        *reasons.entry(name.unwrap_or_default()).or_default() += 1;
    }
    reasons
}

/// Prompts and answers alone: what a load or a gap costs cannot be told apart by request.
fn forecast_error(played: &Played) -> Option<Percentiles> {
    let pairs = played.outcome.requests.iter().zip(&played.planned);
    let off = pairs.filter_map(|(request, planned)| {
        let planned = planned.filter(|p| request.fate == Fate::Answered && p.reason != Reason::Explored)?;
        let expected = (planned.forecast.prefill_energy + planned.forecast.decode_energy).as_f64();
        (request.spent > 0.0).then(|| (expected / request.spent - 1.0).abs())
    });
    Percentiles::of(off.collect())
}

/// What many pairs by chance came to.
#[derive(Debug, Clone, Serialize)]
pub struct Chances {
    /// Pairs.
    pub pairs: u32,
    /// Numbers of the pairs in which the scheduler left requests waiting for ever.
    pub stuck: Vec<u32>,
    /// Pairs in which the scheduler missed more requests, or more first tokens were late, than had to be.
    pub more_missed: u32,
    /// Regret against the clairvoyant: percentiles.
    pub regret: Option<Percentiles>,
    /// The mean.
    pub mean: f64,
    /// The worst, and the number of its pair.
    pub worst: Option<(f64, u32)>,
    /// Pairs over 3 % and over 8 %.
    pub over: (u32, u32),
    /// Regret against the best fixed plan, and pairs over 1 %.
    pub fixed: Option<Percentiles>,
    /// Pairs that are more than 1 % worse than the best fixed plan.
    pub fixed_over: u32,
    /// What the clairvoyant takes beyond the lower bound.
    pub gap: Option<Percentiles>,
}

/// A pair by chance, and what the trace is made from.
pub fn pair(seed: u64, number: u32) -> (Device, Shape, Trace) {
    let mut rng = Rng::new(seed).apart(u64::from(number) + 1);
    loop {
        let device = random_device(&mut rng, format!("random-{seed}-{number}"));
        let (shape, lines) = random_trace(&mut rng);
        let lines: Vec<_> = lines.into_iter().enumerate().collect();
        if let Ok(trace) = Trace::new(&lines, &device) {
            return (device, shape, trace);
        }
    }
}

/// Another trace of that shape, as the days before the pair's own may have been.
pub fn day_before(seed: u64, number: u32, device: &Device, shape: Shape) -> Option<Trace> {
    let mut rng = Rng::new(seed).apart(u64::from(number) + 1).apart(BEFORE);
    let lines: Vec<_> = trace(shape, &mut rng).into_iter().enumerate().collect();
    Trace::new(&lines, device).ok()
}

/// Sums up contests of pairs by chance.
pub fn chances(contests: &[Contest]) -> Chances {
    let more = |c: &&Contest| c.fewest.is_some_and(|fewest| (c.scheduler.missed, c.scheduler.late) > fewest);
    let regrets: Vec<(f64, u32)> =
        (0..).zip(contests).filter_map(|(number, c)| Some((c.regret.clairvoyant?, number))).collect();
    let over = |limit: f64| u32::try_from(regrets.iter().filter(|(r, _)| *r > limit).count()).unwrap_or(u32::MAX);
    let fixed: Vec<f64> = contests.iter().filter_map(|c| c.regret.best_fixed).collect();
    let gap = contests.iter().filter_map(|c| Some(c.clairvoyant.as_ref()?.active_joules / c.lower_bound? - 1.0));
    let values: Vec<f64> = regrets.iter().map(|(regret, _)| *regret).collect();
    Chances {
        pairs: u32::try_from(contests.len()).unwrap_or(u32::MAX),
        stuck: (0..).zip(contests).filter(|(_, c)| c.scheduler.stuck).map(|(number, _)| number).collect(),
        more_missed: u32::try_from(contests.iter().filter(more).count()).unwrap_or(u32::MAX),
        mean: values.iter().sum::<f64>() / (values.len() as f64).max(1.0),
        regret: Percentiles::of(values),
        worst: regrets.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)),
        over: (over(0.03), over(0.08)),
        fixed_over: u32::try_from(fixed.iter().filter(|r| **r > 0.01).count()).unwrap_or(u32::MAX),
        fixed: Percentiles::of(fixed),
        gap: Percentiles::of(gap.collect()),
    }
}
