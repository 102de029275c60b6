//! From readings to energy: what the meter says of an interval, split over idle draw, lanes, daemon and others.
//!
//! Where the meter says nothing, the model does, and it is marked; where the meter counted on meanwhile, what the model
//! was off by is booked when that is known.

use std::time::Duration;

use super::lane::Segment;
use super::{nanos, CpuUse, Ledger};
use crate::clock::Time;
use crate::energy::meter::Reading;
use crate::lane::LaneId;
use crate::units::Microjoules;

/// The model learns from at least this much time at once: the kernel counts the machine's CPU time in ticks of 10 ms.
const LESSON: f64 = 0.25;
/// Active energy of an interval with less CPU time than this share of it goes to the baseline: there is nobody to
/// charge it to.
const NOBODY: f64 = 0.002;
/// What a split between programs by CPU time may be off by, as a share of the smaller part: cores differ in what they
/// draw by what they compute and who else does.
const SPLIT_OFF: f64 = 0.25;
/// What a modelled amount may be off by.
const MODEL_OFF: f64 = 0.4;
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
        let lanes: Vec<(LaneId, u64, u64)> = now
            .lanes
            .iter()
            .map(|(id, cpu)| (*id, nanos(before.lanes.get(id).copied().unwrap_or_default()), nanos(*cpu)))
            .collect();
        let ours = nanos(own) + lanes.iter().map(|(_, a, b)| b.saturating_sub(*a)).sum::<u64>();
        self.known += Duration::from_nanos(ours);
        // Ticks make the machine's count run ahead and behind of the exact ones; only what is new at its highest counts.
        let foreign = now.busy.saturating_sub(self.known).max(self.foreign);
        let others = nanos(foreign - self.foreign);
        self.foreign = foreign;
        let all = ours.saturating_add(others);
        let busy = if seconds > 0.0 { all as f64 / 1e9 / seconds } else { 0.0 };

        let idle_watts = self.model.idle();
        let energy =
            measured.unwrap_or_else(|| Microjoules::from_f64((idle_watts + self.model.active(busy)) * seconds).0);
        let mut idle = Microjoules::from_f64(idle_watts * seconds).0.min(energy);
        if (all as f64) < NOBODY * seconds * 1e9 {
            idle = energy;
        }
        let active = energy - idle;
        let part = |cpu: u64| (u128::from(active) * u128::from(cpu)).checked_div(u128::from(all)).unwrap_or(0) as u64;
        let to_others = part(others);
        let idle_off = 2.0 * self.model.idle_error() * seconds * 1e6;
        let mut left = active - to_others;
        for (id, a, b) in lanes {
            let share = part(b.saturating_sub(a));
            left -= share;
            let of_all = if active > 0 { share as f64 / active as f64 } else { 0.0 };
            let off = [
                if idle < energy { idle_off * of_all } else { 0.0 },
                SPLIT_OFF * share.min(to_others) as f64,
                if measured.is_none() { MODEL_OFF * share as f64 } else { 0.0 },
            ];
            // Shared, until a step claims it.
            self.share(share);
            let watts = share as f64 / 1e6 / seconds.max(1e-9);
            let segment = Segment { to: b, energy: share, off, estimated: measured.is_none(), watts };
            if let Some(l) = self.lanes.get_mut(&id) {
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
            self.learn(energy as f64 / 1e6, all as f64 / 1e9, seconds);
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

    fn learn(&mut self, joules: f64, cpu: f64, seconds: f64) {
        self.unseen = (self.unseen.0 + joules, self.unseen.1 + cpu, self.unseen.2 + seconds);
        let (joules, cpu, seconds) = self.unseen;
        if seconds >= LESSON {
            self.model.observe(joules / seconds, cpu / seconds, seconds);
            self.unseen = (0.0, 0.0, 0.0);
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
            let lanes = cpu
                .lanes
                .iter()
                .map(|(id, b)| (*id, mix(low.lanes.get(id).copied().unwrap_or_default(), *b)))
                .collect();
            return CpuUse { busy: mix(low.busy, cpu.busy), own: mix(low.own, cpu.own), lanes };
        }
        low.clone()
    }
}
