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

impl Ledger {
    /// A reading of the meter, and the CPU time used when it was taken.
    pub fn sampled(&mut self, reading: Reading, cpu: CpuUse) {
        self.history.push_back((reading.at, cpu));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        let Some((from, _)) = &self.booked else {
            // The first: nothing is known of what was before.
            self.meter = reading.total.map(|total| (total, 0));
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
            (Some(total), None) => {
                self.book(from, reading.at, None);
                self.meter = Some((total, 0));
            }
            (Some(total), Some((_, modelled))) if modelled > 0 && !reading.bridged => {
                self.book(from, reading.at, None);
                self.meter = Some((total, 0));
            }
            (Some(total), Some((before, 0))) => {
                let upto = reading.fresh.min(reading.at);
                let energy = total.saturating_sub(before);
                if upto > from {
                    self.book(from, upto, Some(energy.0));
                    self.meter = Some((total, 0));
                } else if energy > Microjoules::ZERO {
                    // The sensor says more, and that it is old: nobody's in particular.
                    self.correct(i64::try_from(energy.0).unwrap_or(i64::MAX));
                    self.totals.metered += energy;
                    self.meter = Some((total, 0));
                }
            }
            // It counted on while it could not be read: now it is known what that was.
            (Some(total), Some((before, modelled))) => {
                let booked = self.book(from, reading.at, None).saturating_add(modelled);
                let off = i128::from(total.saturating_sub(before).0) - i128::from(booked);
                let off = off.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
                self.correct(off);
                self.totals.metered = Microjoules(self.totals.metered.0.saturating_add_signed(off));
                self.meter = Some((total, 0));
            }
        }
    }

    /// Books the energy from one time to another: `measured`, or what the model says. Gives the energy.
    fn book(&mut self, from: Time, to: Time, measured: Option<u64>) -> u64 {
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
        lanes.retain(|(id, _, _)| !now.gpus.contains_key(id));
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

        let idle_watts = self.model.idle();
        let modelled = || {
            let gpus = by_gpus as f64 * core;
            Microjoules::from_f64((idle_watts + self.model.active(busy)) * seconds).0.saturating_add(gpus as u64)
        };
        // The CPU time of a GPU's worker is in what its GPU takes.
        let on_cpu = lanes.iter().map(|(_, a, b)| b.saturating_sub(*a)).sum::<u64>();
        let on_cpus = nanos(own).saturating_add(on_cpu).saturating_add(others);
        // A card's own sensor sees nothing of the processor: what that takes is modelled beside it.
        let apart = self.cards && measured.is_some();
        let of_cpus = match apart {
            true => Microjoules::from_f64(self.model.active(on_cpus as f64 / 1e9 / seconds.max(1e-9)) * seconds).0,
            false => 0,
        };
        let seen = measured.unwrap_or_else(modelled);
        let energy = seen.saturating_add(of_cpus);
        let mut idle = Microjoules::from_f64(idle_watts * seconds).0.min(seen);
        if by_gpus == 0 && (apart || (all as f64) < NOBODY * seconds * 1e9) {
            idle = seen;
        }
        let active = energy - idle;
        let weight = on_cpus.saturating_add(by_gpus);
        // What is split by CPU time, and what by the time that GPUs worked: with its weight.
        let (cpu_pot, gpu_pot) =
            if apart { ((of_cpus, on_cpus), (seen - idle, by_gpus)) } else { ((active, weight), (active, weight)) };
        let part = |(energy, weight): (u64, u64), w: u64| {
            (u128::from(energy) * u128::from(w)).checked_div(u128::from(weight)).unwrap_or(0) as u64
        };
        let to_others = part(cpu_pot, others);
        let alone = (apart || by_gpus as f64 >= ALONE * weight as f64) && heavy.len() == 1;
        let shares: Vec<_> = lanes
            .iter()
            .map(|(id, a, b)| (*id, *a, *b, part(cpu_pot, b.saturating_sub(*a)), (false, apart)))
            .chain(gpus.iter().zip(&heavy).map(|((id, a, b), w)| (*id, *a, *b, part(gpu_pot, *w), (alone, false))))
            .collect();
        let idle_off = 2.0 * self.model.idle_error() * seconds * 1e6;
        let noise = (2.0 * self.model.idle_noise() * 1e6).powi(2) * 2.0 * NOISE_MEMORY * seconds;
        let mut left = active.saturating_sub(to_others);
        for (id, a, b, share, (alone, beside)) in shares {
            let estimated = measured.is_none() || beside;
            // Weights beyond all measure do not sum.
            let share = share.min(left);
            left -= share;
            let of_all = if active > 0 { share as f64 / active as f64 } else { 0.0 };
            let off = [
                if idle < energy { idle_off * of_all } else { 0.0 },
                if apart { 0.0 } else { SPLIT_OFF * share.min(to_others) as f64 },
                if estimated { MODEL_OFF * share as f64 } else { 0.0 },
                if idle < energy { noise * of_all } else { 0.0 },
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
        if measured.is_none() {
            self.totals.estimated += Microjoules(energy);
        } else {
            self.totals.estimated += Microjoules(of_cpus);
            // How much CPUs draw cannot be told beside a GPU at work.
            if gpus.iter().any(|(_, a, b)| b > a) {
                self.unseen = Default::default();
            } else if apart {
                // It rests, whatever the processor does.
                self.learn(seen as f64 / 1e6, 0.0, 0.0, seconds);
            } else {
                self.learn(energy as f64 / 1e6, all as f64 / 1e9, by_lanes as f64 / 1e9, seconds);
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
        let Some((since, before, total)) = self.paused.take().filter(|_| reading.bridged) else { return };
        let Some(joules) = reading.total.map(|now| now.saturating_sub(total).as_f64()) else { return };
        let seconds = reading.fresh.min(reading.at).since(since).as_secs_f64();
        if seconds >= LESSON {
            let busy = if self.cards { 0.0 } else { busy.saturating_sub(before).as_secs_f64() / seconds };
            self.model.observe(joules / seconds, busy, seconds);
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
            self.model.observe(lesson.joules / lesson.seconds, lesson.cpu / lesson.seconds, lesson.seconds);
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
