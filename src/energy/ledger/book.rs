//! From readings to energy: what the meter says of an interval, split over idle draw, lanes, daemon and others.
//!
//! Where the meter says nothing, the model does, and it is marked; where the meter counted on meanwhile, what the model
//! was off by is booked when that is known.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lane::Segment;
use super::{nanos, CpuUse, Ledger};
use crate::clock::Time;
use crate::energy::meter::Reading;
use crate::energy::model::PowerModel;
use crate::lane::LaneId;
use crate::units::Microjoules;

/// The model learns from at least this much time at once: the kernel counts the machine's CPU time in ticks of 10 ms.
const LESSON: f64 = 0.25;
/// But from a rest between two requests as soon as it is over, if it was so long: there may be no longer ones.
const SHORT_LESSON: f64 = 0.05;
/// Workers rest while they use less CPU time than this share of it.
const REST: f64 = 0.05;
/// Active energy of an interval with less CPU time than this share of it goes to the baseline: there is nobody to
/// charge it to.
const NOBODY: f64 = 0.002;
/// So long after its work a card's clocks are still high: it does not rest yet.
const SETTLES: Duration = Duration::from_millis(1_000);
/// What GPUs' drivers may use of the CPU time of an interval that tells what CPUs draw.
const SOME: f64 = 0.05;
/// What a split between programs by CPU time may be off by, as a share of the smaller part: cores differ in what they
/// draw by what they compute and who else does.
const SPLIT_OFF: f64 = 0.25;
/// What a modelled amount may be off by.
const MODEL_OFF: f64 = 0.4;
/// Of an interval's work, what a GPU must have done for its draw to be told by it.
const ALONE: f64 = 0.9;
/// How long a deviation of the idle draw from its mean lasts, in seconds.
const NOISE_MEMORY: f64 = 0.5;
/// Readings that are kept for a sensor that lags behind.
const HISTORY: usize = 600;

/// What the meter said of an interval, in microjoules.
#[derive(Debug, Clone, Copy)]
struct Measured {
    all: u64,
    /// Of that, what cards' own sensors said, where they stand beside others.
    cards: Option<u64>,
}

/// Active energy that is split by weights.
#[derive(Debug, Clone, Copy, Default)]
struct Pot {
    /// Microjoules.
    energy: u64,
    weight: u64,
    /// What the idle draw that was taken off may be off by; and its noise, in squares.
    off: f64,
    noise: f64,
}

impl Pot {
    /// What is left of this energy without its idle part.
    fn new(energy: u64, idle: u64, weight: u64, model: &PowerModel, seconds: f64) -> Pot {
        let known: f64 = if idle < energy && idle > 0 { 1.0 } else { 0.0 };
        Pot {
            energy: energy - idle,
            weight,
            off: known * 2.0 * model.idle_error() * seconds * 1e6,
            noise: known * (2.0 * model.idle_noise() * 1e6).powi(2) * 2.0 * NOISE_MEMORY * seconds,
        }
    }

    /// So much of it, and the rest, each with weights of its own.
    fn split(self, energy: u64, weight: u64, rest: u64) -> (Pot, Pot) {
        let energy = energy.min(self.energy);
        let share = self.share(energy);
        let part =
            |energy, weight, share: f64| Pot { energy, weight, off: self.off * share, noise: self.noise * share };
        (part(energy, weight, share), part(self.energy - energy, rest, 1.0 - share))
    }

    fn part(&self, weight: u64) -> u64 {
        (u128::from(self.energy) * u128::from(weight)).checked_div(u128::from(self.weight)).unwrap_or(0) as u64
    }

    /// The share of it that so much energy is.
    fn share(&self, energy: u64) -> f64 {
        if self.energy > 0 {
            energy as f64 / self.energy as f64
        } else {
            0.0
        }
    }
}

impl Ledger {
    /// A reading of the meter, and the CPU time used when it was taken.
    pub fn sampled(&mut self, reading: Reading, cpu: CpuUse) {
        self.history.push_back((reading.at, cpu));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        let Some((from, _)) = &self.booked else {
            // The first: nothing is known of what was before.
            self.count(reading);
            self.turned = self.turned.max(reading.at);
            let start = self.history.pop_back();
            if let Some((_, cpu)) = &start {
                self.wake_up(reading, cpu.busy);
            }
            self.booked = start;
            self.history.clear();
            return;
        };
        let from = *from;
        match (reading.total, self.meter) {
            (None, _) => {
                let energy = self.book(from, reading.at, None);
                if let Some((_, modelled)) = &mut self.meter {
                    *modelled = modelled.saturating_add(energy);
                }
            }
            // A sensor that came, or came back without having counted: from here on it counts.
            (Some(_), None) => {
                self.book(from, reading.at, None);
                self.count(reading);
            }
            (Some(_), Some((_, modelled))) if modelled > 0 && !reading.bridged => {
                self.book(from, reading.at, None);
                self.count(reading);
            }
            (Some(total), Some((before, 0))) => {
                let upto = reading.fresh.min(reading.at);
                let energy = total.saturating_sub(before);
                if upto > from {
                    let cards = reading.cards.zip(self.of_cards).map(|(now, before)| now.saturating_sub(before).0);
                    self.book(from, upto, Some(Measured { all: energy.0, cards: cards.map(|c| c.min(energy.0)) }));
                    self.count(reading);
                } else if energy > Microjoules::ZERO {
                    // The sensor says more, and that it is old: nobody's in particular.
                    self.correct(i64::try_from(energy.0).unwrap_or(i64::MAX));
                    self.totals.metered += energy;
                    self.count(reading);
                }
            }
            // It counted on while it could not be read: now it is known what that was.
            (Some(total), Some((before, modelled))) => {
                let booked = self.book(from, reading.at, None).saturating_add(modelled);
                let off = i128::from(total.saturating_sub(before).0) - i128::from(booked);
                let off = off.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
                self.correct(off);
                self.totals.metered = Microjoules(self.totals.metered.0.saturating_add_signed(off));
                self.count(reading);
            }
        }
    }

    /// Up to here the meter's totals are booked.
    fn count(&mut self, reading: Reading) {
        self.meter = reading.total.map(|total| (total, 0));
        self.of_cards = reading.cards;
    }

    /// Books the energy from one time to another: `measured`, or what the model says. Gives the energy.
    fn book(&mut self, from: Time, to: Time, measured: Option<Measured>) -> u64 {
        let Some((_, before)) = self.booked.take() else { return 0 };
        let now = self.used_at(from, &before, to);
        let seconds = to.since(from).as_secs_f64();
        let own = now.own.saturating_sub(before.own);
        let steps = |now: &BTreeMap<LaneId, Duration>,
                     before: &BTreeMap<LaneId, Duration>|
         -> Vec<(LaneId, u64, u64)> {
            let step =
                |(id, to): (&LaneId, &Duration)| (*id, nanos(before.get(id).copied().unwrap_or_default()), nanos(*to));
            now.iter().map(step).collect()
        };
        let mut lanes = steps(&now.lanes, &before.lanes);
        let by_lanes = lanes.iter().map(|(_, a, b)| b.saturating_sub(*a)).sum::<u64>();
        // What a GPU did is not seen in its worker's CPU time.
        let (drivers, on_cpus): (Vec<_>, Vec<_>) = lanes.drain(..).partition(|(id, _, _)| now.gpus.contains_key(id));
        lanes = on_cpus;
        let drivers: BTreeMap<LaneId, u64> = drivers.into_iter().map(|(id, a, b)| (id, b.saturating_sub(a))).collect();
        let mut gpus = steps(&now.gpus, &before.gpus);
        gpus.retain(|(id, _, _)| before.gpus.contains_key(id) || self.lanes.contains_key(id));
        let ours = nanos(own) + by_lanes;
        self.known += Duration::from_nanos(ours);
        // Ticks make the machine's count run ahead and behind of the exact ones; only what is new at its highest counts.
        let foreign = now.busy.saturating_sub(self.known).max(self.foreign);
        let others = nanos(foreign - self.foreign);
        self.foreign = foreign;
        let all = ours.saturating_add(others);
        let busy = if seconds > 0.0 { all as f64 / 1e9 / seconds } else { 0.0 };

        // In the CPU time that takes as much energy, so that all can be compared.
        let core = self.rate().max(f64::MIN_POSITIVE);
        let weigh = |(id, a, b): &(LaneId, u64, u64)| {
            let rate = self.lanes.get(id).map_or(0.0, |l| l.rate_alone(self.model.gpu() / 1e3));
            ((b.saturating_sub(*a) as f64 * rate / core) as u64).max(u64::from(b > a))
        };
        let heavy: Vec<u64> = gpus.iter().map(weigh).collect();
        let by_gpus = heavy.iter().fold(0u64, |sum, w| sum.saturating_add(*w));

        // What cards' own sensors said, which see nothing of the processor.
        let of_cards = measured.and_then(|m| if self.cards { Some(m.all) } else { m.cards });
        // What that takes is then modelled beside it, unless other sensors said it.
        let beside = self.cards && measured.is_some();
        let modelled = || {
            let gpus = by_gpus as f64 * core;
            Microjoules::from_f64((self.idle_watts() + self.model.active(busy)) * seconds).0.saturating_add(gpus as u64)
        };
        let on_lanes = lanes.iter().map(|(_, a, b)| b.saturating_sub(*a)).sum::<u64>();
        let on_cpus = nanos(own).saturating_add(on_lanes).saturating_add(others);
        let idle_of = |watts: f64, nobody: bool, energy: u64| match nobody {
            true => energy,
            false => Microjoules::from_f64(watts * seconds).0.min(energy),
        };
        let nobody = (all as f64) < NOBODY * seconds * 1e9;
        let (cpu_pot, driver_pot, gpu_pot, energy, idle) = match of_cards {
            // The CPU time of a GPU's worker is in what its GPU takes.
            None => {
                let energy = measured.map_or_else(modelled, |m| m.all);
                let idle = idle_of(self.idle_watts(), by_gpus == 0 && nobody, energy);
                let weight = on_cpus.saturating_add(by_gpus);
                let pot = Pot::new(energy, idle, weight, &self.model, seconds);
                (pot, Pot::default(), pot, energy, idle)
            }
            Some(cards) => {
                let worked = gpus.iter().any(|(_, a, b)| b > a);
                let works = self.model.active(on_cpus as f64 / 1e9 / seconds.max(1e-9)) * seconds;
                let works = Microjoules::from_f64(works).0;
                let (cpus, rests, model) = if beside {
                    (works, 0, &self.model)
                } else {
                    let cpus = measured.map_or(0, |m| m.all).saturating_sub(cards);
                    (cpus, idle_of(self.model.idle(), nobody, cpus), &self.card)
                };
                let rest = idle_of(model.idle(), !worked, cards);
                let active = Pot::new(cpus, rests, 0, &self.model, seconds);
                // The processor's sensor sees GPUs' workers, too. They wait busily, which draws less than to compute: theirs
                // is what is left by those who draw what they draw when no GPU works.
                let waits = drivers.values().fold(0u64, |sum, t| sum.saturating_add(*t));
                let others = if worked && waits > 0 && !beside { works } else { u64::MAX };
                let (cpu_pot, driver_pot) = active.split(others, on_cpus, waits);
                let gpu_pot = Pot::new(cards, rest, by_gpus, model, seconds);
                (cpu_pot, driver_pot, gpu_pot, cpus.saturating_add(cards), rests + rest)
            }
        };
        let apart = of_cards.is_some();
        let to_others = cpu_pot.part(others);
        let weight = on_cpus.saturating_add(by_gpus);
        let alone = (apart || by_gpus as f64 >= ALONE * weight as f64) && heavy.len() == 1;
        let by_cpu = lanes.iter().map(|(id, a, b)| (*id, *a, *b, (cpu_pot.part(b.saturating_sub(*a)), 0, 0), false));
        let by_gpu = gpus.iter().zip(&heavy).map(|((id, a, b), w)| {
            let waits = drivers.get(id).copied().unwrap_or(0);
            (*id, *a, *b, (0, driver_pot.part(waits), gpu_pot.part(*w)), alone)
        });
        let shares: Vec<_> = by_cpu.chain(by_gpu).collect();
        let mut left = (energy - idle).saturating_sub(to_others);
        for (id, a, b, (of_cpu, of_driver, of_gpu), alone) in shares {
            let estimated = measured.is_none() || (beside && of_cpu > 0);
            // Weights beyond all measure do not sum.
            let share = of_cpu.saturating_add(of_driver).saturating_add(of_gpu).min(left);
            left -= share;
            let beside_others = if apart { of_cpu + of_driver } else { share };
            let of = [(cpu_pot, of_cpu), (driver_pot, of_driver), (gpu_pot, of_gpu)];
            let sum = |off: fn(&Pot) -> f64| of.iter().map(|(pot, part)| off(pot) * pot.share(*part)).sum::<f64>();
            let off = [
                sum(|pot| pot.off),
                if beside { 0.0 } else { SPLIT_OFF * beside_others.min(to_others) as f64 },
                if estimated { MODEL_OFF * share as f64 } else { 0.0 },
                sum(|pot| pot.noise),
            ];
            // Shared, until a step claims it.
            self.share(share);
            let watts = share as f64 / 1e6 / seconds.max(1e-9);
            let segment = Segment { to: b, energy: share, off, estimated, watts };
            if let Some(l) = self.lanes.get_mut(&id) {
                if alone && measured.is_some() {
                    l.seen_alone(b.saturating_sub(a), share);
                }
                let off = l.known(a, segment);
                self.totals.correction = self.totals.correction.saturating_add(off);
                self.settle(id);
            }
        }
        // The daemon's own, and what the divisions left over.
        self.share(left);
        self.totals.metered += Microjoules(energy);
        self.totals.idle += Microjoules(idle);
        self.totals.others += Microjoules(to_others);
        let worked = gpus.iter().map(|(_, a, b)| b.saturating_sub(*a)).fold(0u64, u64::saturating_add);
        // What a driver does beside steps, but for signs of life.
        let waits = drivers.values().fold(0u64, |sum, t| sum.saturating_add(*t)) as f64;
        let settled = !self.searched && self.worked.is_none_or(|last| last + SETTLES <= from);
        self.rested = settled && worked == 0;
        if worked > 0 {
            self.worked = Some(to);
        }
        let untold = worked > 0 || (apart && waits > (SOME * all as f64).max(NOBODY * seconds * 1e9));
        match (measured, of_cards) {
            (None, _) => self.totals.estimated += Microjoules(energy),
            (_, Some(cards)) if beside => {
                self.totals.estimated += Microjoules(energy - cards);
                // It rests, whatever the processor does.
                match worked == 0 && settled {
                    true => self.learn(cards as f64 / 1e6, 0.0, 0.0, seconds),
                    false => self.unseen = Default::default(),
                }
            }
            (_, cards) => {
                // How much CPUs draw cannot be told beside a GPU at work, whose worker may draw otherwise.
                match untold {
                    false => {
                        let joules = (energy - cards.unwrap_or(0)) as f64 / 1e6;
                        self.learn(joules, all as f64 / 1e9, by_lanes as f64 / 1e9, seconds);
                    }
                    true => self.unseen = Default::default(),
                }
                if let Some(cards) = cards {
                    // A driver that computes is at work, be it beside what requests asked for.
                    let busy = (worked as f64).max(waits) / 1e9;
                    if settled || busy > 0.0 {
                        self.unseen_cards.add(cards as f64 / 1e6, busy, seconds);
                    }
                    if let Some(lesson) = self.unseen_cards.take(LESSON) {
                        lesson.tell(&mut self.card);
                    }
                }
            }
        }
        if seconds > 0.0 {
            self.watts = Some(energy as f64 / 1e6 / seconds);
        }
        while self.history.front().is_some_and(|(at, _)| *at <= to) {
            self.history.pop_front();
        }
        self.booked = Some((to, now));
        energy
    }

    /// The first reading after a pause: what others used meanwhile is not of the time to come, and what the device drew
    /// meanwhile tells what it draws when idle, if the sensor went on counting.
    fn wake_up(&mut self, reading: Reading, busy: Duration) {
        self.foreign = self.foreign.max(busy.saturating_sub(self.known));
        let Some((since, before, total, cards)) = self.paused.take().filter(|_| reading.bridged) else { return };
        let Some(joules) = reading.total.map(|now| now.saturating_sub(total).as_f64()) else { return };
        let cards = reading.cards.zip(cards).map(|(now, before)| now.saturating_sub(before).as_f64());
        let joules = joules - cards.unwrap_or(0.0);
        let seconds = reading.fresh.min(reading.at).since(since).as_secs_f64();
        if seconds >= LESSON {
            let busy = if self.cards { 0.0 } else { busy.saturating_sub(before).as_secs_f64() / seconds };
            self.model.observe(joules / seconds, busy, seconds);
            if let Some(joules) = cards {
                self.card.observe(joules / seconds, 0.0, seconds);
            }
        }
    }

    /// What rests say is kept apart from what work says: a mean of both says little of either.
    fn learn(&mut self, joules: f64, cpu: f64, by_lanes: f64, seconds: f64) {
        let [rest, work] = &mut self.unseen;
        let resting = by_lanes < REST * seconds;
        let ended = (!resting).then(|| rest.take(SHORT_LESSON)).flatten();
        let lesson = if resting { rest } else { work };
        lesson.add(joules, cpu, seconds);
        for lesson in [ended, lesson.take(LESSON)].into_iter().flatten() {
            lesson.tell(&mut self.model);
        }
    }

    /// The CPU time used up to `to`, between readings along a straight line.
    fn used_at(&self, from: Time, before: &CpuUse, to: Time) -> CpuUse {
        let (mut at, mut low) = (from, before);
        for (time, cpu) in &self.history {
            if *time < to {
                (at, low) = (*time, cpu);
                continue;
            }
            let share = to.since(at).as_secs_f64() / time.since(at).as_secs_f64().max(1e-9);
            let mix = |a: Duration, b: Duration| a + b.saturating_sub(a).mul_f64(share.clamp(0.0, 1.0));
            let each = |low: &BTreeMap<LaneId, Duration>, high: &BTreeMap<LaneId, Duration>| {
                high.iter().map(|(id, b)| (*id, mix(low.get(id).copied().unwrap_or_default(), *b))).collect()
            };
            return CpuUse {
                busy: mix(low.busy, cpu.busy),
                own: mix(low.own, cpu.own),
                lanes: each(&low.lanes, &cpu.lanes),
                gpus: each(&low.gpus, &cpu.gpus),
            };
        }
        low.clone()
    }
}
