//! From CPU time to energy.
//!
//! What always holds: the parts sum to the total; energy never shrinks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cpu::Used;
use crate::options::Options;

pub struct Power {
    idle_w: f64,
    first_w: f64,
    more_w: f64,
    gpu_w: f64,
    card_idle_w: f64,
    noise: Noise,
    /// Joules since the start.
    idle: f64,
    card_idle: f64,
    gpus: f64,
    daemon: f64,
    others: f64,
    workers: BTreeMap<i32, f64>,
}

impl Power {
    pub fn new(o: &Options) -> Power {
        let noise = Noise { size: o.noise, state: o.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, now: 0.0 };
        Power {
            idle_w: o.idle_w,
            first_w: o.first_w,
            more_w: o.more_w,
            gpu_w: o.gpu_w,
            card_idle_w: if o.has("card") { o.card_idle_w } else { 0.0 },
            noise,
            idle: 0.0,
            card_idle: 0.0,
            gpus: 0.0,
            daemon: 0.0,
            others: 0.0,
            workers: BTreeMap::new(),
        }
    }

    /// A tick of length `dt` in which this CPU time was used.
    pub fn advance(&mut self, dt: Duration, used: &Used) {
        let seconds = dt.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let noise = 1.0 + self.noise.step(seconds);
        self.idle += self.idle_w * noise * seconds;
        self.card_idle += self.card_idle_w * noise * seconds;
        for (pid, t) in &used.gpus {
            let joules = self.gpu_w * noise * *t as f64 / 1e9;
            *self.workers.entry(*pid).or_default() += joules;
            self.gpus += joules;
        }
        let nanos = used.workers.values().sum::<u64>() + used.daemon + used.others;
        let busy = nanos as f64 / dt.as_nanos() as f64;
        if nanos == 0 {
            return;
        }
        let active = (self.first_w * busy.min(1.0) + self.more_w * (busy - 1.0).max(0.0)) * noise * seconds;
        let each = active / nanos as f64;
        self.daemon += each * used.daemon as f64;
        self.others += each * used.others as f64;
        for (pid, t) in &used.workers {
            *self.workers.entry(*pid).or_default() += each * *t as f64;
        }
    }

    /// From now on it draws otherwise.
    pub fn change(&mut self, first_w: f64, more_w: f64, gpu_w: f64) {
        (self.first_w, self.more_w, self.gpu_w) = (first_w, more_w, gpu_w);
    }

    pub fn idle(&self) -> f64 {
        self.idle + self.card_idle
    }

    /// Of that, and of what is active, what a card's own sensor sees.
    pub fn card(&self) -> (f64, f64) {
        (self.card_idle, self.gpus)
    }

    pub fn daemon(&self) -> f64 {
        self.daemon
    }

    pub fn others(&self) -> f64 {
        self.others
    }

    pub fn workers(&self) -> &BTreeMap<i32, f64> {
        &self.workers
    }

    /// All but idle.
    pub fn active(&self) -> f64 {
        self.daemon + self.others + self.workers.values().sum::<f64>()
    }

    pub fn total(&self) -> f64 {
        self.idle + self.active()
    }
}

/// Gaussian noise with a memory of half a second, so that it does not average out within a request.
struct Noise {
    size: f64,
    state: u64,
    now: f64,
}

impl Noise {
    fn step(&mut self, seconds: f64) -> f64 {
        let keep = (-seconds / 0.5).exp();
        let new = self.gauss() * self.size;
        self.now = self.now * keep + new * (1.0 - keep * keep).sqrt();
        // A supply never gives power back.
        self.now.clamp(-0.5, 0.5)
    }

    /// Near enough: a sum of twelve even ones has variance 1.
    fn gauss(&mut self) -> f64 {
        let sum: f64 = (0..12)
            .map(|_| {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                (self.state >> 11) as f64 / (1u64 << 53) as f64
            })
            .sum();
        sum - 6.0
    }
}
