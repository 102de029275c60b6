//! What the device draws when idle, and what busy cores add: learned while it is metered, used where it is not.
//!
//! Two things rest on it. The ledger keeps the idle baseline apart from active energy, and a device without a working
//! sensor is metered by it. Draw is modelled as `idle + active(busy)`, `busy` being the mean number of busy cores. The
//! idle draw is the mean over quiet intervals; as long as there was none, the intercept of a line fitted to what was
//! seen. The active draw is remembered for each half core, because a package's first busy core costs another amount
//! than the next (shared caches, clocks, voltage).
//!
//! Floats in here are estimates by nature; amounts that were metered are never computed from them.
//!
//! What always holds: no result is negative or NaN, whatever was observed.

use std::collections::BTreeMap;

/// Busy cores below which an interval counts as quiet: housekeeping of an idle system.
const QUIET: f64 = 0.1;
/// An interval that tells something: below it one sensor refresh or scheduler tick is a large part.
const SHORTEST: f64 = 0.01;
/// Seconds of quiet over which the idle draw is averaged: it drifts with temperature, over minutes.
const QUIET_MEMORY: f64 = 30.0;
/// Seconds of quiet from which their mean is preferred to the fitted line.
const QUIET_ENOUGH: f64 = 0.3;
/// Seconds of activity over which the active draw is averaged: clocks and temperature change it.
const ACTIVE_MEMORY: f64 = 20.0;
/// No device that this runs on draws more: a sensor that says so is wrong.
const MOST: f64 = 1e5;
/// Idle draw as a share of the draw at full load: small boards and laptops lie between a fifth and a half.
const IDLE_SHARE: f64 = 0.35;
/// Relative standard deviation given to what nothing but the built-in figures says.
const UNKNOWN: f64 = 0.5;

/// Where the model starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Watts when idle.
    pub idle: f64,
    /// Watts that a busy core adds.
    pub core: f64,
    /// Cores of the device, at least 1.
    pub cores: u32,
    /// `idle` is this device's, not any device's.
    pub known: bool,
}

impl Default for Prior {
    /// A small board: a Raspberry Pi 5 idles near 3 W and adds a little over 1 W for each busy core.
    fn default() -> Self {
        Prior { idle: 3.0, core: 1.2, cores: 4, known: false }
    }
}

/// A mean that forgets.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    weight: f64,
    mean: f64,
    /// Mean of the squared deviations.
    spread: f64,
    /// Observations behind it, forgetting alike.
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64, memory: f64) {
        let keep = (-weight / memory).exp();
        self.weight = self.weight * keep + weight;
        self.count = self.count * keep + 1.0;
        let share = weight / self.weight;
        let off = value - self.mean;
        self.mean += share * off;
        self.spread = (1.0 - share) * (self.spread + share * off * off);
    }

    /// Standard error of the mean.
    fn error(&self) -> f64 {
        (self.spread / self.count.max(1.0)).sqrt()
    }
}

/// Sums for a line through (busy, draw), forgetting.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64, weight: f64) {
        let keep = (-weight / (4.0 * ACTIVE_MEMORY)).exp();
        for (sum, v) in
            [(&mut self.n, 1.0), (&mut self.x, x), (&mut self.y, y), (&mut self.xx, x * x), (&mut self.xy, x * y)]
        {
            *sum = *sum * keep + v * weight;
        }
    }

    /// Intercept and slope. Where the data spans few loads, they are drawn towards those of a device of so many cores
    /// that draws [`IDLE_SHARE`] of its full draw when idle.
    fn fit(&self, cores: f64) -> Option<(f64, f64)> {
        if self.n < QUIET_ENOUGH {
            return None;
        }
        let (mx, my) = (self.x / self.n, self.y / self.n);
        let spread = (self.xx / self.n - mx * mx).max(0.0);
        let together = self.xy / self.n - mx * my;
        let slope = my / (IDLE_SHARE / (1.0 - IDLE_SHARE) * cores + mx).max(f64::MIN_POSITIVE);
        // As if a load known from elsewhere had varied by a fifth of a core.
        let prior = 0.04;
        let b = ((together + prior * slope) / (spread + prior)).max(0.0);
        Some(((my - b * mx).max(0.0), b))
    }
}

/// The model. See the [module](self).
#[derive(Debug, Clone)]
pub struct PowerModel {
    prior: Prior,
    quiet: Mean,
    line: Line,
    /// By half cores: active watts for one busy core.
    active: BTreeMap<u16, Mean>,
    least: f64,
}

impl PowerModel {
    /// One that has seen nothing.
    pub fn new(prior: Prior) -> PowerModel {
        let sane = |v: f64| if v.is_finite() && v > 0.0 { v } else { 0.0 };
        let prior = Prior { idle: sane(prior.idle), core: sane(prior.core), cores: prior.cores.max(1), ..prior };
        PowerModel {
            prior,
            quiet: Mean::default(),
            line: Line::default(),
            active: BTreeMap::new(),
            least: f64::INFINITY,
        }
    }

    /// A sensor said that the device drew `watts` on average over `seconds` in which `busy` cores were busy.
    pub fn observe(&mut self, watts: f64, busy: f64, seconds: f64) {
        if !((0.0..=MOST).contains(&watts) && busy.is_finite() && busy >= 0.0 && seconds >= SHORTEST) {
            return;
        }
        // One long interval is one observation, however long.
        let seconds = seconds.min(1.0);
        let busy = busy.min(f64::from(self.prior.cores));
        self.least = self.least.min(watts);
        self.line.add(busy, watts, seconds);
        if busy < QUIET {
            let own = self.per_core(QUIET) * busy;
            self.quiet.add((watts - own).max(0.0), seconds, QUIET_MEMORY);
        } else {
            let active = ((watts - self.idle()) / busy).max(0.0);
            self.active.entry(half_cores(busy)).or_default().add(active, seconds, ACTIVE_MEMORY);
        }
    }

    /// Watts when idle.
    pub fn idle(&self) -> f64 {
        if self.quiet.weight >= QUIET_ENOUGH {
            return self.quiet.mean;
        }
        if self.prior.known {
            return self.prior.idle.min(self.least);
        }
        match self.line.fit(f64::from(self.prior.cores)) {
            Some((idle, _)) => idle.min(self.least),
            None => self.prior.idle,
        }
    }

    /// Standard deviation of [`PowerModel::idle`], in watts.
    pub fn idle_error(&self) -> f64 {
        if self.quiet.weight >= QUIET_ENOUGH {
            // Never better than half a percent: the baseline drifts while something runs.
            return self.quiet.error().max(0.005 * self.quiet.mean);
        }
        if self.prior.known {
            return 0.05 * self.prior.idle;
        }
        match self.line.fit(f64::from(self.prior.cores)) {
            // An extrapolation.
            Some((idle, slope)) => 0.15 * idle + 0.15 * slope,
            None => UNKNOWN * self.prior.idle,
        }
    }

    /// Watts that `busy` cores add.
    pub fn active(&self, busy: f64) -> f64 {
        if !(busy.is_finite() && busy > 0.0) {
            return 0.0;
        }
        let busy = busy.min(f64::from(self.prior.cores));
        self.per_core(busy) * busy
    }

    /// Watts for each of `busy` cores: as learned at this load, else at the nearest, else as built in.
    fn per_core(&self, busy: f64) -> f64 {
        let at = half_cores(busy);
        let above = self.active.range(at..).next();
        let below = self.active.range(..at).next_back();
        let nearest = [above, below].into_iter().flatten().min_by_key(|(k, _)| k.abs_diff(at));
        nearest.map_or(self.prior.core, |(_, mean)| mean.mean)
    }

    /// Joules for a second of CPU time, at the load seen most: what a budget is charged before the meter was read.
    pub fn joules_per_cpu_second(&self) -> f64 {
        let most = self.active.values().max_by(|a, b| a.weight.total_cmp(&b.weight));
        most.map_or(self.prior.core, |mean| mean.mean)
    }

    /// What was learned, to begin with next time; `None` while that is too little to rely on.
    pub fn learned(&self) -> Option<Prior> {
        let enough = self.quiet.weight >= QUIET_ENOUGH && self.active.values().any(|m| m.weight >= 1.0);
        let learned = || Prior { idle: self.idle(), core: self.joules_per_cpu_second(), known: true, ..self.prior };
        enough.then(learned)
    }
}

fn half_cores(busy: f64) -> u16 {
    (busy * 2.0).round().clamp(0.0, 4096.0) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model() -> PowerModel {
        PowerModel::new(Prior { idle: 10.0, core: 1.0, cores: 2, known: false })
    }

    /// 2 W idle, 2 W for the first core, 2.8 W for the second.
    fn truth(busy: f64) -> f64 {
        2.0 + 2.0 * busy.min(1.0) + 2.8 * (busy - 1.0).max(0.0)
    }

    fn near(got: f64, wanted: f64, off: f64) {
        assert!((got - wanted).abs() <= off, "{got}, not {wanted} ± {off}");
    }

    #[test]
    fn it_starts_with_what_is_built_in() {
        let m = model();
        assert_eq!((m.idle(), m.active(1.5), m.joules_per_cpu_second()), (10.0, 1.5, 1.0));
        assert!(m.learned().is_none() && m.idle_error() > 1.0);
    }

    #[test]
    fn idle_is_what_quiet_intervals_draw() {
        let mut m = model();
        for n in 0..50 {
            m.observe(truth(0.02) * (1.0 + 0.02 * f64::from(n % 3 - 1)), 0.02, 0.1);
        }
        near(m.idle(), 2.0, 0.05);
        assert!(m.idle_error() < 0.05, "{}", m.idle_error());
        for _ in 0..200 {
            m.observe(truth(2.0), 2.0, 0.1);
        }
        near(m.idle(), 2.0, 0.05);
        near(m.active(2.0), 4.8, 0.1);
        let learned = m.learned().expect("enough was seen");
        near(learned.idle, 2.0, 0.05);
        near(learned.core, 2.4, 0.05);
    }

    #[test]
    fn each_load_has_its_own_draw() {
        let mut m = model();
        for _ in 0..20 {
            m.observe(2.0, 0.0, 0.1);
        }
        for _ in 0..100 {
            m.observe(truth(1.0), 1.0, 0.1);
            m.observe(truth(2.0), 2.0, 0.1);
        }
        near(m.active(1.0), 2.0, 0.05);
        near(m.active(2.0), 4.8, 0.05);
    }

    #[test]
    fn a_device_that_is_never_quiet_is_extrapolated() {
        let mut m = model();
        for n in 0..400 {
            let busy = 0.5 + 0.5 * f64::from(n % 3);
            m.observe(2.0 + 2.0 * busy, busy, 0.1);
        }
        near(m.idle(), 2.0, 0.4);
        assert!(m.idle_error() > 0.2);
    }

    #[test]
    fn a_device_that_is_always_busy_is_taken_for_a_usual_one() {
        let mut m = model();
        for _ in 0..400 {
            m.observe(truth(2.0), 2.0, 0.1);
        }
        near(m.idle(), 2.0, 0.6);
        near(m.active(2.0), 4.8, 0.6);
    }

    #[test]
    fn the_idle_draw_follows_a_change_within_minutes() {
        let mut m = model();
        for _ in 0..600 {
            m.observe(2.0, 0.0, 0.1);
        }
        for _ in 0..900 {
            m.observe(3.0, 0.0, 0.1);
        }
        near(m.idle(), 3.0, 0.1);
    }

    #[test]
    fn a_known_idle_draw_holds_until_the_device_is_seen_quiet() {
        let mut m = PowerModel::new(Prior { idle: 2.0, core: 2.4, cores: 2, known: true });
        for _ in 0..100 {
            m.observe(truth(2.0), 2.0, 0.1);
        }
        assert_eq!(m.idle(), 2.0);
        for _ in 0..100 {
            m.observe(2.5, 0.0, 0.1);
        }
        near(m.idle(), 2.5, 0.01);
    }

    proptest! {
        #[test]
        fn nothing_observed_makes_it_negative_or_no_number(
            seen in proptest::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..50),
            busy in any::<f64>(),
        ) {
            let mut m = PowerModel::new(Prior { idle: f64::NAN, core: -1.0, cores: 0, known: busy > 1.0 });
            for (watts, busy, seconds) in seen {
                m.observe(watts, busy, seconds);
            }
            for v in [m.idle(), m.idle_error(), m.active(busy), m.joules_per_cpu_second()] {
                prop_assert!(v >= 0.0, "{v}");
            }
        }
    }
}
