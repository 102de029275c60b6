//! One lane's energy, laid out along the CPU time of its worker.
//!
//! The meter says how much energy a stretch of the worker's CPU time took ([`Segment`]); the engine says which stretch
//! each step took. Where both are known, a step is settled: its energy is split over its parts by their weights. Both
//! clocks are the kernel's count of one process' CPU time, so that nothing has to be aligned. CPU time between two
//! steps (admitting, tokenizing, sampling) belongs to the step that follows.
//!
//! What always holds: no stretch is given out twice; parts get all of their step's energy, to the microjoule.

use std::collections::VecDeque;

use super::{Off, Phase};
use crate::lane::{cell_cost, step_weights, RequestId, StepPart};

/// Energy of a stretch of CPU time, from the end of the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Its end, in nanoseconds of CPU time since the worker's start.
    pub(super) to: u64,
    /// Microjoules.
    pub(super) energy: u64,
    /// What `energy` may be off by, see [`super::Off`].
    pub(super) off: Off,
    /// It was modelled.
    pub(super) estimated: bool,
    /// The lane's mean draw meanwhile.
    pub(super) watts: f64,
}

#[derive(Debug)]
struct Part {
    id: RequestId,
    phase: Phase,
    weight: f64,
    /// What was said of it before it was known.
    predicted: u64,
}

#[derive(Debug)]
struct Step {
    to: u64,
    parts: Vec<Part>,
    /// It was the lane's coming up.
    wake: bool,
}

/// A part of a step that has just been made.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) id: RequestId,
    /// Microjoules, until more is known.
    pub(super) predicted: u64,
    /// Nanoseconds of CPU time.
    pub(super) cpu: f64,
}

/// A part's energy.
#[derive(Debug)]
pub(super) struct PartEnergy {
    pub(super) id: RequestId,
    pub(super) phase: Phase,
    pub(super) energy: u64,
    pub(super) predicted: u64,
    pub(super) off: Off,
    pub(super) estimated: bool,
    pub(super) watts: f64,
}

/// What is known of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Who is charged for bringing it up, as long as that is not booked.
    waker: Option<RequestId>,
    /// What a cell of context adds to the cost of a token.
    cell_cost: f32,
    /// The CPU time whose energy is known.
    known: u64,
    /// The CPU time whose energy was given out. Beyond `known` where it was charged before it was known.
    given: u64,
    segments: VecDeque<Segment>,
    steps: VecDeque<Step>,
    /// The CPU time that steps were told for.
    claimed: u64,
    /// Charged before it was known: from `known` to `given`, this much.
    ahead: u64,
    /// Microjoules for a nanosecond of CPU time, as last seen.
    rate: Option<f64>,
    /// The same, as last seen while hardly anything else ran.
    alone: Option<f64>,
    watts: f64,
    /// What bringing it up took, once that is measured.
    woke: Option<u64>,
}

/// CPU time over which a rate means something: far more than a tick's worth of noise.
const RATE_FROM: u64 = 2_000_000;

/// The least that a GPU at work is thought to draw, as a share of what one is thought to before anything is known.
const LEAST_ALONE: f64 = 0.1;

impl Lane {
    pub(super) fn new(waker: Option<RequestId>) -> Lane {
        Lane {
            waker,
            cell_cost: cell_cost(0, 0, 0),
            known: 0,
            given: 0,
            segments: VecDeque::new(),
            steps: VecDeque::new(),
            claimed: 0,
            ahead: 0,
            rate: None,
            alone: None,
            watts: 0.0,
            woke: None,
        }
    }

    /// Who still has to be charged for bringing it up.
    pub(super) fn waker(&self) -> Option<RequestId> {
        self.waker
    }

    /// Whether something is still to be charged to this request.
    pub(super) fn holds(&self, id: RequestId) -> bool {
        self.waker == Some(id) || self.steps.iter().any(|s| s.parts.iter().any(|p| p.id == id))
    }

    /// What bringing it up took, in microjoules; told once, when it is known.
    pub(super) fn take_woke(&mut self) -> Option<u64> {
        self.woke.take()
    }

    /// Joules for a second of CPU time are microjoules for a microsecond; this is for a nanosecond.
    pub(super) fn rate(&self, otherwise: f64) -> f64 {
        self.rate.unwrap_or(otherwise)
    }

    /// Microjoules for a nanosecond of its clock while it runs alone. Never so little that it would have no part in what
    /// is drawn from then on, and the rate would stay so: a GPU that uploads and compiles draws little more than one at rest.
    pub(super) fn rate_alone(&self, otherwise: f64) -> f64 {
        self.alone.map_or(otherwise, |rate| rate.max(LEAST_ALONE * otherwise))
    }

    /// So much energy in so much of its clock, while hardly anything else ran.
    pub(super) fn seen_alone(&mut self, length: u64, energy: u64) {
        if length >= RATE_FROM {
            let rate = energy as f64 / length as f64;
            self.alone = Some(self.alone.map_or(rate, |old| 0.7 * old + 0.3 * rate));
        }
    }

    /// It is up, and all of its CPU time until now was for that.
    pub(super) fn woken(&mut self, cpu: u64, cell_cost: f32, otherwise: f64) -> Option<(RequestId, u64)> {
        self.cell_cost = cell_cost;
        let waker = self.waker.take();
        let predicted = (cpu as f64 * self.rate(otherwise)).round() as u64;
        let parts = waker.map(|id| Part { id, phase: Phase::Wake, weight: 1.0, predicted });
        self.steps.push_back(Step { to: cpu.max(self.claimed), parts: parts.into_iter().collect(), wake: true });
        self.claimed = self.claimed.max(cpu);
        waker.map(|id| (id, predicted))
    }

    /// A step ended when `cpu` had been used. Gives what its parts are charged until more is known.
    pub(super) fn step(&mut self, cpu: u64, parts: &[StepPart], otherwise: f64) -> Vec<Told> {
        let to = cpu.max(self.claimed);
        let cpu = (to - self.claimed) as f64;
        let predicted = cpu * self.rate(otherwise);
        self.claimed = to;
        let weights = step_weights(parts, self.cell_cost);
        let mut told = Vec::with_capacity(parts.len());
        let part = |(part, share): (&StepPart, f64)| {
            let phase = if part.prefill > 0 { Phase::Prefill } else { Phase::Decode };
            let predicted = (predicted * share).round() as u64;
            told.push(Told { id: part.id, predicted, cpu: cpu * share });
            Part { id: part.id, phase, weight: share, predicted }
        };
        let parts = parts.iter().zip(weights).map(part).collect();
        self.steps.push_back(Step { to, parts, wake: false });
        told
    }

    /// The energy of its CPU time from `from` to the segment's end. Gives what was charged wrongly for CPU time whose
    /// energy was not known then: positive where it was too little.
    pub(super) fn known(&mut self, from: u64, mut segment: Segment) -> i64 {
        let from = from.max(self.known);
        if segment.to <= from {
            return 0;
        }
        let length = segment.to - from;
        if length >= RATE_FROM {
            let rate = segment.energy as f64 / length as f64;
            self.rate = Some(self.rate.map_or(rate, |old| 0.5 * old + 0.5 * rate));
            self.watts = segment.watts;
        }
        let mut off = 0;
        if self.given > from {
            // A part of it, or all, was charged already.
            let early = self.given.min(segment.to) - from;
            let energy = scale(segment.energy, early, length);
            let ahead = scale(self.ahead, early, self.given - from);
            self.ahead -= ahead;
            off = i64::try_from(energy).unwrap_or(i64::MAX).saturating_sub(i64::try_from(ahead).unwrap_or(i64::MAX));
            segment.energy -= energy;
            segment.off = segment.off.map(|v| v * (length - early) as f64 / length as f64);
        }
        self.known = segment.to;
        if self.known > self.given {
            self.segments.push_back(segment);
        }
        off
    }

    /// Gives out what is known of the steps that were told.
    pub(super) fn settle(&mut self) -> Vec<PartEnergy> {
        let mut parts = Vec::new();
        while self.steps.front().is_some_and(|s| s.to <= self.known.max(self.given)) {
            let Some(step) = self.steps.pop_front() else { break };
            let piece = self.take(step.to);
            if step.wake {
                self.woke = Some(piece.energy);
            }
            split(&step, &piece, &mut parts);
        }
        parts
    }

    /// The same, and every step up to the last one of this request by what it is likely to have taken.
    pub(super) fn advance(&mut self, id: RequestId, otherwise: f64) -> Vec<PartEnergy> {
        let mut parts = self.settle();
        let Some(last) = self.steps.iter().rposition(|s| s.parts.iter().any(|p| p.id == id)) else { return parts };
        self.give_ahead(last + 1, otherwise, &mut parts);
        parts
    }

    /// It is gone: what was told and is not known stays as it was predicted.
    pub(super) fn end(&mut self, otherwise: f64) -> Vec<PartEnergy> {
        let mut parts = self.settle();
        self.give_ahead(self.steps.len(), otherwise, &mut parts);
        parts
    }

    fn give_ahead(&mut self, steps: usize, otherwise: f64, parts: &mut Vec<PartEnergy>) {
        let rate = self.rate(otherwise);
        for step in self.steps.drain(..steps).collect::<Vec<_>>() {
            let mut piece = self.take(step.to.min(self.known));
            let rest = step.to.saturating_sub(self.given);
            let energy = (rest as f64 * rate).round() as u64;
            self.given = self.given.max(step.to);
            self.ahead = self.ahead.saturating_add(energy);
            piece.energy = piece.energy.saturating_add(energy);
            // What is charged ahead of the meter is a refresh's worth at most: the edges account for it.
            piece.watts = self.watts;
            if step.wake {
                self.woke = Some(piece.energy);
            }
            split(&step, &piece, parts);
        }
    }

    /// Takes the energy up to this CPU time out of the segments.
    fn take(&mut self, to: u64) -> Segment {
        let mut sum = Segment { to, energy: 0, off: Off::default(), estimated: false, watts: self.watts };
        while self.given < to {
            let Some(segment) = self.segments.front_mut() else { break };
            let upto = to.min(segment.to);
            let (part, length) = (upto.saturating_sub(self.given), segment.to.saturating_sub(self.given).max(1));
            let energy = scale(segment.energy, part, length);
            let share = part as f64 / length as f64;
            sum.energy += energy;
            sum.estimated |= segment.estimated && energy > 0;
            sum.watts = segment.watts;
            segment.energy -= energy;
            for (sum, off) in sum.off.iter_mut().zip(&mut segment.off) {
                *sum += *off * share;
                *off *= 1.0 - share;
            }
            self.given = upto;
            if upto == segment.to {
                self.segments.pop_front();
            }
        }
        sum
    }
}

/// `part` of `whole`, of this amount.
fn scale(amount: u64, part: u64, whole: u64) -> u64 {
    (u128::from(amount) * u128::from(part)).checked_div(u128::from(whole)).unwrap_or(0).min(u128::from(amount)) as u64
}

/// A step's energy over its parts; the last gets what rounding left.
fn split(step: &Step, piece: &Segment, parts: &mut Vec<PartEnergy>) {
    let all: f64 = step.parts.iter().map(|p| p.weight).sum();
    let mut left = piece.energy;
    for (n, part) in step.parts.iter().enumerate() {
        let share = if all > 0.0 { part.weight / all } else { 1.0 / step.parts.len() as f64 };
        let last = n + 1 == step.parts.len();
        let energy = if last { left } else { ((piece.energy as f64 * share).round() as u64).min(left) };
        left -= energy;
        parts.push(PartEnergy {
            id: part.id,
            phase: part.phase,
            energy,
            predicted: part.predicted,
            off: piece.off.map(|v| v * share),
            estimated: piece.estimated,
            watts: piece.watts * share,
        });
    }
}
