//! What the device draws: without us, and what a lane adds while it computes.
//!
//! draw = base + Σ share·watts: `base` is the device without the lanes' work, others' programs included; `watts` is what
//! a lane adds with so many threads in a phase, `share` the part of the time in which it computed. A Kalman filter
//! follows them (R. E. Kalman, "A new approach to linear filtering and prediction problems", 1960): base may walk
//! quickly, because programs come and go, and watts slowly, because they are properties of the device. Because base is
//! followed, a controller that divides what the cap leaves by `watts` has no lasting error, whatever `watts` is worth.
//!
//! A sample that misses by far more than noise (another program started) is believed at once.

use super::{Phase, Site};

/// What draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) site: Site,
    pub(super) threads: u32,
    pub(super) phase: Phase,
}

/// One measurement.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    /// Who computed, and in which share of the time.
    pub(super) shares: &'a [(Key, f64)],
    /// Mean draw (W).
    pub(super) draw: f64,
    /// For so long (s).
    pub(super) span: f64,
    /// How wrong the shares may be, as a standard deviation of the draw they predict (W).
    pub(super) blur: f64,
}

/// Noise of a sensor's sample of 100 ms, as a share of what it shows: assumed at first, and the bounds of what is
/// learnt.
const NOISE: f64 = 0.02;
const NOISE_MIN: f64 = 0.004;
const NOISE_MAX: f64 = 0.1;
/// How much of the noise's variance the base may walk in 100 ms. Little: while a lane works evenly, nothing tells its
/// watts from the base, and a base that walks easily would drift away with them. Others' load comes in steps.
const BASE_WALK: f64 = 0.003;
/// How much the watts of a lane change in a second, as a share: temperature, clock, length of the context.
const WATTS_WALK: f64 = 0.003;
/// A sample this many standard deviations off is a change of load, not noise; so are several that are off by less on the
/// same side, their sum forgotten at this rate.
const JUMP: f64 = 4.0;
const FORGET: f64 = 0.7;
/// How far the watts are doubted then, as a share of what the sample is off.
const DOUBT: f64 = 0.25;
/// How many watts are kept apart. Beyond, those unused longest go.
const KEYS: usize = 24;
/// Shares below this say nothing about watts.
const SHARE: f64 = 0.005;

#[derive(Debug)]
pub(super) struct Draw {
    /// Of `x[i + 1]`, those used last at the end.
    keys: Vec<Key>,
    /// The base, then the keys' watts. Empty until the first sample.
    x: Vec<f64>,
    /// Their covariance, a row each.
    p: Vec<Vec<f64>>,
    /// Variance of a sample of 100 ms, as a share of the draw's square.
    noise: f64,
    /// By how much the last samples were off, in standard deviations.
    off: f64,
}

impl Draw {
    pub(super) fn new() -> Draw {
        Draw { keys: Vec::new(), x: Vec::new(), p: Vec::new(), noise: NOISE * NOISE, off: 0.0 }
    }

    /// The draw without the lanes' work (W).
    pub(super) fn base(&self) -> Option<f64> {
        self.x.first().copied()
    }

    /// What this adds (W), guessed from its likes where it was never measured.
    pub(super) fn watts(&self, key: Key) -> Option<f64> {
        self.guess(key).map(|(watts, _)| watts)
    }

    /// Whether this was measured well enough to compare with others.
    pub(super) fn is_known(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// Mean and standard deviation.
    fn guess(&self, key: Key) -> Option<(f64, f64)> {
        if let Some(i) = self.keys.iter().position(|k| *k == key) {
            return Some((self.x[i + 1], self.p[i + 1][i + 1].sqrt()));
        }
        let by_threads = |k: &Key| f64::from(key.threads) / f64::from(k.threads.max(1));
        let other = |fits: &dyn Fn(&Key) -> bool| {
            let likes = self.keys.iter().enumerate().filter(|(_, k)| fits(k));
            let nearest = likes.min_by_key(|(_, k)| k.threads.abs_diff(key.threads));
            nearest.map(|(i, k)| (self.x[i + 1], by_threads(k)))
        };
        let same = other(&|k| k.site == key.site && k.phase == key.phase);
        let (watts, ratio) = same
            .or_else(|| other(&|k| k.site == key.site))
            .or_else(|| other(&|k| k.phase == key.phase))
            .or_else(|| other(&|_| true))?;
        Some((watts * ratio, 0.5 * watts * ratio))
    }

    pub(super) fn learn(&mut self, sample: &Sample) {
        let Sample { draw, span, .. } = *sample;
        let shares: Vec<(Key, f64)> = sample.shares.iter().copied().filter(|(_, share)| *share >= SHARE).collect();
        let busy: f64 = shares.iter().map(|(_, share)| share).sum();
        if self.x.is_empty() {
            // Half of it may be the lanes' where they compute; the other samples will tell.
            let (base, sd) = if shares.is_empty() { (draw, NOISE * draw) } else { (draw / 2.0, draw / 2.0) };
            self.x = vec![base];
            self.p = vec![vec![sd * sd]];
        }
        for (key, _) in &shares {
            self.place(*key, (draw - self.x[0]).max(0.3 * draw) / busy.max(SHARE));
        }
        let mut h = vec![0.0; self.x.len()];
        h[0] = 1.0;
        for (key, share) in &shares {
            if let Some(i) = self.keys.iter().position(|k| k == key) {
                h[i + 1] = *share;
                self.p[i + 1][i + 1] += (WATTS_WALK * self.x[i + 1]).powi(2) * span;
            }
        }
        let tenths = span / 0.1;
        let noise = self.noise * draw * draw;
        self.p[0][0] += BASE_WALK * noise * tenths.min(50.0);
        let own = noise / tenths.clamp(0.2, 20.0);
        let r = own + sample.blur.powi(2);
        let missed = draw - dot(&h, &self.x);
        let mut ph: Vec<f64> = self.p.iter().map(|row| dot(row, &h)).collect();
        let mut s = dot(&h, &ph) + r;
        let surprise = missed * missed / s.max(f64::MIN_POSITIVE);
        self.off = FORGET * self.off + missed / s.max(f64::MIN_POSITIVE).sqrt();
        // The sum's own standard deviation is 1/sqrt(1 - FORGET^2).
        if surprise > JUMP * JUMP || self.off.powi(2) * (1.0 - FORGET * FORGET) > JUMP * JUMP {
            self.off = 0.0;
            // Most likely others' load; where it is not, the watts must be able to follow in the end.
            for (i, share) in h.iter().enumerate() {
                let doubt = if i == 0 { missed } else { DOUBT * missed * share };
                self.p[i][i] += doubt * doubt;
            }
            ph = self.p.iter().map(|row| dot(row, &h)).collect();
            s = dot(&h, &ph) + r;
        } else if sample.blur < 0.5 * noise.sqrt() {
            let seen = (self.noise * surprise).clamp(NOISE_MIN.powi(2), NOISE_MAX.powi(2));
            self.noise += 0.02 * (seen - self.noise);
        }
        if !(s > 0.0 && s.is_finite()) {
            return;
        }
        // Shares that are wrong by chance would make the watts look smaller than they are, as errors in the variable do
        // to any regression, so that such samples hardly count for watts that are known better than that.
        let counts = |i: usize| match i {
            0 => 1.0,
            _ => (self.p[i][i] * h[i] * h[i] / sample.blur.powi(2).max(f64::MIN_POSITIVE)).max(own / r).min(1.0),
        };
        let gain: Vec<f64> = (0..self.x.len()).map(|i| ph[i] / s * counts(i)).collect();
        for i in 0..self.x.len() {
            self.x[i] += gain[i] * missed;
            for j in 0..self.x.len() {
                self.p[i][j] += gain[i] * gain[j] * s - gain[i] * ph[j] - ph[i] * gain[j];
            }
        }
        // What rounding and bad guesses may do to it.
        self.x[0] = self.x[0].max(0.0);
        for i in 0..self.x.len() {
            if i > 0 {
                self.x[i] = self.x[i].max(1e-3);
            }
            self.p[i][i] = self.p[i][i].max((1e-3 * self.x[i]).powi(2)).max(1e-12);
        }
    }

    /// Makes a place for this key, with what can be guessed of it, else with `watts` or nothing.
    fn place(&mut self, key: Key, watts: f64) {
        if self.keys.contains(&key) {
            return;
        }
        let (mean, sd) = self.guess(key).unwrap_or((watts, watts));
        if self.keys.len() >= KEYS {
            self.keys.remove(0);
            self.x.remove(1);
            self.p.remove(1);
            for row in &mut self.p {
                row.remove(1);
            }
        }
        self.keys.push(key);
        self.x.push(mean);
        self.p.iter_mut().for_each(|row| row.push(0.0));
        let mut row = vec![0.0; self.x.len()];
        row[self.x.len() - 1] = sd * sd;
        self.p.push(row);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(threads: u32) -> Key {
        Key { site: Site::cpu(crate::sched::VariantId(0)), threads, phase: Phase::Decode }
    }

    /// Alternates up and down by 2 %.
    fn feed(model: &mut Draw, shares: &[(Key, f64)], draw: f64, samples: usize) {
        for i in 0..samples {
            let draw = draw * if i % 2 == 0 { 1.02 } else { 0.98 };
            model.learn(&Sample { shares, draw, span: 0.1, blur: 0.0 });
        }
    }

    fn close(a: Option<f64>, b: f64, by: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() <= by)
    }

    #[test]
    fn idle_and_busy_samples_tell_base_and_watts() {
        let mut model = Draw::new();
        feed(&mut model, &[], 2.0, 10);
        feed(&mut model, &[(key(1), 1.0)], 4.0, 20);
        feed(&mut model, &[(key(2), 0.5)], 4.4, 20);
        assert!(close(model.base(), 2.0, 0.1), "{model:?}");
        assert!(close(model.watts(key(1)), 2.0, 0.15) && close(model.watts(key(2)), 4.8, 0.3), "{model:?}");
    }

    #[test]
    fn without_an_idle_time_different_shares_tell_them_apart() {
        let mut model = Draw::new();
        for _ in 0..10 {
            feed(&mut model, &[(key(2), 0.9)], 2.0 + 0.9 * 4.8, 4);
            feed(&mut model, &[(key(2), 0.3)], 2.0 + 0.3 * 4.8, 4);
        }
        assert!(close(model.base(), 2.0, 0.4) && close(model.watts(key(2)), 4.8, 0.6), "{model:?}");
    }

    #[test]
    fn anothers_load_moves_the_base_within_two_samples() {
        let mut model = Draw::new();
        feed(&mut model, &[], 2.0, 10);
        feed(&mut model, &[(key(1), 1.0)], 4.0, 50);
        let watts = model.watts(key(1));
        feed(&mut model, &[(key(1), 1.0)], 6.0, 2);
        assert!(close(model.base(), 4.0, 0.3), "{model:?}");
        assert!(close(watts, 2.0, 0.15) && close(model.watts(key(1)), 2.0, 0.2), "{model:?}");
    }

    #[test]
    fn what_was_never_measured_is_guessed_from_its_likes() {
        let mut model = Draw::new();
        assert_eq!(model.watts(key(1)), None);
        feed(&mut model, &[], 2.0, 10);
        feed(&mut model, &[(key(4), 1.0)], 10.0, 20);
        assert!(close(model.watts(key(2)), 4.0, 0.3));
        let prefill = Key { phase: Phase::Prefill, ..key(4) };
        assert!(close(model.watts(prefill), 8.0, 0.6));
    }

    #[test]
    fn many_keys_are_forgotten_in_turn() {
        let mut model = Draw::new();
        for threads in 1..100 {
            feed(&mut model, &[(key(threads), 0.5)], 5.0, 2);
        }
        assert_eq!((model.keys.len(), model.x.len(), model.p.len()), (KEYS, KEYS + 1, KEYS + 1));
        assert!(model.p.iter().all(|row| row.len() == KEYS + 1));
    }
}
