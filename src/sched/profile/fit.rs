//! One measured quantity over three regressors, followed as it changes.
//!
//! y = Σ θᵢ·xᵢ with every θᵢ ≥ 0. A Kalman filter on θ (R. E. Kalman, "A new approach to linear filtering and
//! prediction problems", 1960) in relative errors, because what is measured is right to some percent and not to some
//! joules. θ may walk a little with each measurement, so that old ones are forgotten slowly.
//!
//! A measurement far off is taken for an outlier and moves θ no further than one that is just believable (P. J. Huber,
//! "Robust estimation of a location parameter", 1964). Several in a row that are off to the same side are no outliers:
//! then everything is scaled by what they are off, and doubted.
//!
//! What always holds: all figures are finite, and a prediction is positive where any regressor is.

use serde::{Deserialize, Serialize};

/// What a measurement is of: three numbers, none negative.
pub(super) type Row = [f64; 3];

/// Relative error of a measurement, assumed at first, and the bounds of what is learnt.
const NOISE: f64 = 0.05;
const NOISE_MIN: f64 = 0.01;
const NOISE_MAX: f64 = 0.3;
/// How far θ walks with each measurement, as a share. A hundred measurements forget what was before.
const WALK: f64 = 0.01;
/// A coefficient counts as at least this share of the prediction where it walks: one that is 0 must be able to grow.
const LEAST: f64 = 0.1;
/// No coefficient is doubted by more than this, as a share of the prediction or of itself.
const DOUBT_MAX: f64 = 1.0;
/// From this many standard deviations on a measurement moves no further.
const CLIP: f64 = 2.5;
/// It is a surprise from here on, and never below a few percent.
const SURPRISE: f64 = 3.0;
const SURPRISE_LEAST: f64 = 0.08;
/// This many surprises to the same side are a change; fewer where they are gross.
const STREAK: u8 = 3;
const GROSS: f64 = 6.0;
const GROSS_STREAK: u8 = 2;
/// How far θ is doubted after a change, as a share.
const CHANGED: f64 = 0.25;
/// No prediction is less: its square must be a number.
const LITTLE: f64 = 1e-15;
/// Measurements that are counted: nothing depends on how many more there were.
const COUNTED: u32 = 1 << 20;
/// A factor by which a measurement may be off at most; beyond it says no more.
const FACTOR: f64 = 100.0;

/// What a measurement was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing that can be learnt from.
    Nothing,
    /// As expected, or nearly.
    Expected,
    /// Far off.
    Surprise,
    /// So far off, and so often, that something has changed.
    Change,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fit {
    theta: Row,
    /// Covariance of θ.
    cov: [Row; 3],
    /// Variance of a measurement's relative error.
    noise: f64,
    /// Measurements, as far as they count.
    count: u32,
    /// Surprises in a row, to which side, and the sum of their logarithms.
    streak: u8,
    gross: u8,
    off: f64,
}

/// How the coefficients are related where nothing is measured but one sum of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Their ratio.
    pub(super) theta: Row,
    /// How far each is doubted, as a share of itself.
    pub(super) doubt: Row,
}

impl Fit {
    /// From a first measurement.
    pub(super) fn begin(shape: &Shape, x: &Row, y: f64) -> Option<Fit> {
        let whole = dot(&shape.theta, x);
        if !(is_row(x) && is_positive(y) && is_positive(whole)) {
            return None;
        }
        let theta = shape.theta.map(|t| t * y / whole);
        if !theta.iter().all(|t| t.is_finite()) {
            return None;
        }
        let mut cov = [[0.0; 3]; 3];
        for i in 0..3 {
            cov[i][i] = (shape.doubt[i] * theta[i]).powi(2);
        }
        let mut fit = Fit { theta, cov, noise: NOISE * NOISE, count: 0, streak: 0, gross: 0, off: 0.0 };
        fit.learn(x, y, 0.0);
        Some(fit)
    }

    /// The same, all of it larger by this factor and hardly trusted: what something else is thought to take.
    pub(super) fn scaled(&self, factor: f64) -> Fit {
        let factor = if is_positive(factor) { factor.clamp(1.0 / FACTOR, FACTOR) } else { 1.0 };
        let theta = self.theta.map(|t| t * factor);
        let mut cov = [[0.0; 3]; 3];
        for i in 0..3 {
            cov[i][i] = (0.5 * theta[i]).powi(2);
        }
        Fit { theta, cov, noise: NOISE * NOISE, count: 0, streak: 0, gross: 0, off: 0.0 }
    }

    /// All of it by this factor.
    pub(super) fn scale(&mut self, factor: f64) {
        if !(is_positive(factor) && (1.0 / FACTOR..=FACTOR).contains(&factor)) {
            return;
        }
        let theta = self.theta.map(|t| t * factor);
        let cov = self.cov.map(|row| row.map(|v| v * factor * factor));
        if theta.iter().all(|t| (0.0..1e20).contains(t)) && cov.iter().flatten().all(|v| v.abs() < 1e40) {
            (self.theta, self.cov) = (theta, cov);
        }
    }

    pub(super) fn predict(&self, x: &Row) -> f64 {
        dot(&self.theta, x).max(LITTLE)
    }

    /// Standard deviation of the prediction itself, as a share of it. A single measurement's is more.
    pub(super) fn doubt(&self, x: &Row) -> f64 {
        let p = self.predict(x);
        (quadratic(&self.cov, x).sqrt() / p).min(1.0)
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Something else has changed, and perhaps this with it.
    pub(super) fn suspect(&mut self) {
        self.widen(CHANGED);
    }

    /// One more measurement, whose own relative error is thought to be `blur` beyond the usual.
    pub(super) fn learn(&mut self, x: &Row, y: f64, blur: f64) -> Heard {
        if !(is_row(x) && is_positive(y) && blur.is_finite()) {
            return Heard::Nothing;
        }
        let p = self.predict(x);
        let y = within(y, p / FACTOR, p * FACTOR);
        self.walk(x, p);
        let own = self.noise + blur * blur;
        let spread = quadratic(&self.cov, x) / (p * p) + own;
        let sd = spread.sqrt();
        if !sd.is_finite() {
            return Heard::Nothing;
        }
        let (ratio, log) = (y / p - 1.0, (y / p).ln());
        let heard = self.hear(log, sd);
        if heard == Heard::Change {
            return self.change(x, y);
        }
        let missed = within(ratio, -CLIP * sd, CLIP * sd);
        if heard == Heard::Expected {
            let seen = (ratio * ratio - (spread - own)).clamp(NOISE_MIN.powi(2), NOISE_MAX.powi(2));
            let seen = (seen - blur * blur).max(NOISE_MIN.powi(2));
            let step = (1.0 / (f64::from(self.count) + 4.0)).max(0.04);
            self.noise += step * (seen - self.noise);
        }
        self.update(x, p, missed, spread);
        self.count = self.count.saturating_add(1).min(COUNTED);
        heard
    }

    fn hear(&mut self, log: f64, sd: f64) -> Heard {
        if log.abs() < (SURPRISE * sd).max(SURPRISE_LEAST) {
            (self.streak, self.gross, self.off) = (0, 0, 0.0);
            return Heard::Expected;
        }
        if self.off * log < 0.0 {
            (self.streak, self.gross, self.off) = (0, 0, 0.0);
        }
        self.streak = self.streak.saturating_add(1);
        self.gross = self.gross.saturating_add(u8::from(log.abs() >= (GROSS * sd).max(2.0 * SURPRISE_LEAST)));
        self.off += log;
        if self.streak >= STREAK || self.gross >= GROSS_STREAK {
            Heard::Change
        } else {
            Heard::Surprise
        }
    }

    /// All coefficients are scaled by what the last measurements were off.
    fn change(&mut self, x: &Row, y: f64) -> Heard {
        // Those before have moved θ a little: the last one says what holds now, the mean keeps its noise out.
        let (mean, last) = (self.off / f64::from(self.streak.max(1)), (y / self.predict(x)).ln());
        self.scale(((mean + last) / 2.0).exp().clamp(1.0 / FACTOR, FACTOR));
        (self.streak, self.gross, self.off) = (0, 0, 0.0);
        self.widen(CHANGED);
        let p = self.predict(x);
        let spread = quadratic(&self.cov, x) / (p * p) + self.noise;
        let limit = CLIP * spread.sqrt();
        self.update(x, p, within(y / p - 1.0, -limit, limit), spread);
        self.count = self.count.saturating_add(1).min(COUNTED);
        Heard::Change
    }

    fn update(&mut self, x: &Row, p: f64, missed: f64, spread: f64) {
        let px = self.cov.map(|row| dot(&row, x));
        let s = spread * p * p;
        if !(is_positive(s) && missed.is_finite()) {
            return;
        }
        let gain = px.map(|v| v / s);
        let (theta, cov) = (self.theta, self.cov);
        for i in 0..3 {
            self.theta[i] = (theta[i] + gain[i] * missed * p).max(0.0);
            for j in 0..3 {
                self.cov[i][j] = cov[i][j] - gain[i] * px[j];
            }
        }
        for i in 0..3 {
            self.cov[i][i] = self.cov[i][i].max(0.0);
        }
        let finite = self.theta.iter().all(|t| *t < 1e20) && self.cov.iter().flatten().all(|v| v.abs() < 1e40);
        if !finite || dot(&self.theta, x) <= 0.0 {
            (self.theta, self.cov) = (theta, cov);
        }
    }

    fn walk(&mut self, x: &Row, p: f64) {
        for (i, &part) in x.iter().enumerate() {
            let share = if part > 0.0 { LEAST * p / part } else { 0.0 };
            let size = self.theta[i].max(share);
            self.cov[i][i] += (WALK * size).powi(2);
            let most = (DOUBT_MAX * size).powi(2);
            if part > 0.0 && self.cov[i][i] > most {
                // Row and column alike, or it would be no covariance any more.
                let shrink = (most / self.cov[i][i]).sqrt();
                for j in 0..3 {
                    self.cov[i][j] *= shrink;
                    self.cov[j][i] *= shrink;
                }
            }
        }
    }

    fn widen(&mut self, share: f64) {
        for i in 0..3 {
            self.cov[i][i] += (share * self.theta[i]).powi(2);
        }
    }

    /// What was read from a file can be used: nothing in it that could not have been learnt.
    pub(super) fn is_sane(&self) -> bool {
        // No measurement is off by more than this, and fewer than a streak are remembered.
        let most = f64::from(STREAK) * FACTOR.ln();
        self.theta.iter().all(|t| (0.0..1e20).contains(t))
            && self.cov.iter().flatten().all(|v| v.abs() < 1e40)
            && (0..3).all(|i| self.cov[i][i] >= 0.0)
            && (NOISE_MIN * NOISE_MIN..=NOISE_MAX * NOISE_MAX).contains(&self.noise)
            && self.off.abs() <= most
            && self.count <= COUNTED
            && self.streak < STREAK
            && self.gross < GROSS_STREAK
            && self.gross <= self.streak
    }
}

fn dot(a: &Row, b: &Row) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// xᵀ·m·x, never negative.
fn quadratic(m: &[Row; 3], x: &Row) -> f64 {
    dot(&m.map(|row| dot(&row, x)), x).max(0.0)
}

/// `v`, or the nearer bound; what is no number becomes the lower one. Never panics, whatever the bounds are.
pub(in crate::sched) fn within(v: f64, low: f64, high: f64) -> f64 {
    if v >= low {
        if v <= high {
            v
        } else {
            high
        }
    } else {
        low
    }
}

fn is_positive(v: f64) -> bool {
    v.is_finite() && v > 0.0
}

fn is_row(x: &Row) -> bool {
    x.iter().all(|v| v.is_finite() && *v >= 0.0 && *v < 1e12) && x.iter().any(|v| *v > 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: Shape = Shape { theta: [8.0, 1.0, 1.0 / 4000.0], doubt: [1.0, 0.5, 1.0] };

    /// Numbers that look random and are not.
    fn noise(i: u64) -> f64 {
        let mut z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((z >> 11) as f64 / (1u64 << 53) as f64) * 2.0 - 1.0
    }

    fn row(n: f64) -> Row {
        [1.0, n, n * n / 2.0]
    }

    fn truth(n: f64) -> f64 {
        0.05 + 0.01 * n + 2e-6 * n * n / 2.0
    }

    fn learnt(steps: u64) -> Fit {
        let mut fit = Fit::begin(&SHAPE, &row(100.0), truth(100.0)).unwrap();
        for i in 0..steps {
            let n = 20.0 + 980.0 * noise(i).abs();
            fit.learn(&row(n), truth(n) * (1.0 + 0.05 * noise(i + 1000)), 0.0);
        }
        fit
    }

    #[test]
    fn a_curve_is_found_from_noisy_points() {
        let fit = learnt(40);
        for n in [20.0, 100.0, 500.0, 1000.0] {
            let off = fit.predict(&row(n)) / truth(n) - 1.0;
            assert!(off.abs() < 0.05, "{n}: {off} {fit:?}");
        }
    }

    #[test]
    fn one_wild_point_moves_little_and_a_changed_device_is_followed_at_once() {
        let mut fit = learnt(40);
        let before = fit.predict(&row(300.0));
        assert_eq!(fit.learn(&row(300.0), before * 10.0, 0.0), Heard::Surprise);
        assert!((fit.predict(&row(300.0)) / before - 1.0).abs() < 0.1);
        assert_eq!(fit.learn(&row(300.0), before, 0.0), Heard::Expected);
        // Twice as slow from now on.
        let heard: Vec<Heard> = (0..3).map(|i| fit.learn(&row(200.0), 2.0 * truth(200.0 + i as f64), 0.0)).collect();
        assert!(heard.contains(&Heard::Change), "{heard:?}");
        for n in [50.0, 200.0, 900.0] {
            let off = fit.predict(&row(n)) / (2.0 * truth(n)) - 1.0;
            assert!(off.abs() < 0.15, "{n}: {off}");
        }
    }

    #[test]
    fn slow_drift_is_followed_without_surprise() {
        let mut fit = learnt(40);
        let mut heard = Heard::Nothing;
        for i in 0..200 {
            let slower = 1.0 + i as f64 / 200.0;
            let n = 20.0 + 980.0 * noise(i).abs();
            heard = heard.max(fit.learn(&row(n), slower * truth(n) * (1.0 + 0.03 * noise(i + 7)), 0.0));
        }
        let off = fit.predict(&row(300.0)) / (2.0 * truth(300.0)) - 1.0;
        assert!(off.abs() < 0.08, "{off}");
        assert!(heard < Heard::Change);
    }

    #[test]
    fn what_was_never_measured_is_doubted() {
        let mut fit = Fit::begin(&SHAPE, &row(20.0), truth(20.0)).unwrap();
        for i in 0..30 {
            fit.learn(&row(20.0), truth(20.0) * (1.0 + 0.02 * noise(i)), 0.0);
        }
        assert!(fit.doubt(&row(20.0)) < 0.05, "{}", fit.doubt(&row(20.0)));
        assert!(fit.doubt(&row(1000.0)) > 0.15, "{}", fit.doubt(&row(1000.0)));
        assert!(fit.scaled(2.0).doubt(&row(20.0)) > 0.2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_makes_it_insane(points in prop::collection::vec(
            (0.0f64..1e6, prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), Just(-1.0), Just(1e-300), Just(1e300), 1e-6f64..1e6], 0.0f64..2.0),
            1..100,
        )) {
            let mut fit = Fit::begin(&SHAPE, &row(10.0), 1.0).unwrap();
            for (n, y, blur) in points {
                fit.learn(&row(n), y, blur);
                if y == 0.0 {
                    fit.suspect();
                }
                prop_assert!(fit.theta.iter().chain(fit.cov.iter().flatten()).all(|v| v.is_finite()), "{fit:?}");
                let p = fit.predict(&row(100.0));
                prop_assert!(p.is_finite() && p > 0.0);
                prop_assert!((0.0..=1.0).contains(&fit.doubt(&row(100.0))));
            }
        }
    }
}
