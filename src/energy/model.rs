//! What the device draws when idle, and what busy cores add: learned while it is metered, used where it is not.
//!
//! Two things rest on it. The ledger keeps the idle baseline apart from active energy, and a device without a working
//! sensor is metered by it. Draw is modelled as `idle + active(busy)`, `busy` being the mean number of busy cores. The
//! idle draw is that of moments of rest, however short, less what the little that ran in them drew; what was known
//! before counts as an observation among these. As long as there was neither, it is the intercept of a line fitted to
//! what was seen. The active draw is remembered for each half core, because a package's first busy core costs another
//! amount than the next (shared caches, clocks, voltage).
//!
//! Floats in here are estimates by nature; amounts that were metered are never computed from them.
//!
//! What always holds: no result is negative or NaN, whatever was observed.

use std::collections::BTreeMap;

/// Busy cores below which an interval says more of the idle draw than of the active one.
const REST: f64 = 0.4;
/// And below this it is quiet, but for the housekeeping of an idle system.
const QUIET: f64 = 0.1;
/// An interval that tells something: below it one sensor refresh or scheduler tick is a large part.
const SHORTEST: f64 = 0.01;
/// Seconds of rest over which the idle draw is averaged: it drifts with temperature, over minutes.
const REST_MEMORY: f64 = 30.0;
/// Seconds of rest that are an observation of their own; shorter ones are a part of one.
const REST_WHOLE: f64 = 0.1;
/// Relative standard deviation of one observation at rest, as long as few have shown it: the sensor's noise, and its
/// refreshes, which do not fall on the interval's ends,
const REST_NOISE: f64 = 0.04;
/// and so many observations it is worth.
const REST_DOUBT: f64 = 3.0;
/// What ran at rest drew other power for a core than what ran else: relative standard deviation.
const SLOPE_OFF: f64 = 0.25;
/// The baseline drifts while something runs: no idle draw is known better.
const DRIFT: f64 = 0.005;
/// Relative standard deviation of an idle draw that is configured or was found by an earlier run.
const KNOWN_OFF: f64 = 0.05;
/// The same of one that a next run should begin with, at most.
const LEARNED_OFF: f64 = 0.03;
/// Seconds from which the line is fitted.
const LINE_ENOUGH: f64 = 0.3;
/// An interval whose draw may bound the idle draw from above: shorter ones are too noisy.
const BOUND: f64 = 0.25;
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
    /// Watts that a busy GPU adds, until one was metered at work.
    pub gpu: f64,
    /// Cores of the device, at least 1.
    pub cores: u32,
    /// `idle` is this device's, not any device's.
    pub known: bool,
}

impl Default for Prior {
    /// A small board: a Raspberry Pi 5 idles near 3 W and adds a little over 1 W for each busy core.
    fn default() -> Self {
        Prior { idle: 3.0, core: 1.2, gpu: 5.0, cores: 4, known: false }
    }
}

/// The mean of observations that are alike, forgetting.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    weight: f64,
    busy: f64,
    watts: f64,
    /// Observations behind it, forgetting alike.
    count: f64,
    /// Mean of the squared deviations of the draw from what the mean and a slope say.
    spread: f64,
}

impl Point {
    fn add(&mut self, busy: f64, watts: f64, weight: f64, memory: f64, slope: f64) {
        let keep = (-weight / memory).exp();
        self.weight = self.weight * keep + weight;
        self.count = self.count * keep + (weight / REST_WHOLE).min(1.0);
        let share = weight / self.weight;
        let off = watts - self.watts - slope * (busy - self.busy);
        self.spread = (1.0 - share) * (self.spread + share * off * off);
        self.busy += share * (busy - self.busy);
        self.watts += share * (watts - self.watts);
    }

    /// Variance of one observation at rest.
    fn variance(&self) -> f64 {
        let assumed = (REST_NOISE * self.watts).powi(2);
        (REST_DOUBT * assumed + self.count * self.spread) / (REST_DOUBT + self.count)
    }

    /// Watts for a busy core.
    fn per_core(&self, idle: f64) -> f64 {
        ((self.watts - idle) / self.busy.max(SHORTEST)).max(0.0)
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
        if self.n < LINE_ENOUGH {
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
    /// What was seen while it was quiet, and nearly so: the draw of what ran has to be taken off, and is known roughly.
    rest: [Point; 2],
    line: Line,
    /// What was seen at work, by half cores.
    active: BTreeMap<u16, Point>,
    least: f64,
}

impl PowerModel {
    /// One that has seen nothing.
    pub fn new(prior: Prior) -> PowerModel {
        let sane = |v: f64| if v.is_finite() && v > 0.0 { v } else { 0.0 };
        let prior = Prior {
            idle: sane(prior.idle),
            core: sane(prior.core),
            gpu: sane(prior.gpu),
            cores: prior.cores.max(1),
            ..prior
        };
        PowerModel {
            prior,
            rest: Default::default(),
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
        if seconds >= BOUND {
            self.least = self.least.min(watts);
        }
        // One long interval is one observation, however long.
        let seconds = seconds.min(1.0);
        let busy = busy.min(f64::from(self.prior.cores));
        self.line.add(busy, watts, seconds);
        if busy < REST {
            let slope = self.per_core(busy);
            self.rest[usize::from(busy >= QUIET)].add(busy, watts, seconds, REST_MEMORY, slope);
        } else {
            self.active.entry(half_cores(busy)).or_default().add(busy, watts, seconds, ACTIVE_MEMORY, 0.0);
        }
    }

    /// Watts when idle.
    pub fn idle(&self) -> f64 {
        self.idle_and_error().0
    }

    /// Standard deviation of [`PowerModel::idle`], in watts.
    pub fn idle_error(&self) -> f64 {
        self.idle_and_error().1
    }

    /// Standard deviation of the draw at rest, in watts, from one tenth of a second to another.
    pub fn idle_noise(&self) -> f64 {
        let best = self.rest.iter().filter_map(|rest| Some((self.told_by(rest)?.1, rest.variance())));
        best.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(REST_NOISE * self.idle(), |(_, variance)| variance.sqrt())
    }

    fn idle_and_error(&self) -> (f64, f64) {
        let known = self.prior.known.then_some((self.prior.idle, KNOWN_OFF * self.prior.idle));
        match (self.at_rest(), known) {
            (Some(seen), None) => seen,
            // Each counts by how well it is known.
            (Some((seen, off)), Some((known, known_off))) => {
                let (a, b) = (off * off, known_off * known_off);
                match a + b {
                    sum if sum > 0.0 => ((seen * b + known * a) / sum, (a * b / sum).sqrt().max(DRIFT * seen)),
                    _ => (seen, off),
                }
            }
            (None, Some((known, off))) => (known.min(self.least), off),
            (None, None) => match self.line.fit(f64::from(self.prior.cores)) {
                // An extrapolation.
                Some((idle, slope)) => (idle.min(self.least), 0.15 * idle + 0.15 * slope),
                None => (self.prior.idle, UNKNOWN * self.prior.idle),
            },
        }
    }

    /// The idle draw and its standard deviation, by what was seen at rest: by those rests that tell it best.
    fn at_rest(&self) -> Option<(f64, f64)> {
        let told = self.rest.iter().filter_map(|rest| self.told_by(rest));
        told.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The draw at rest, less what the cores that were busy meanwhile drew, which is told by the lowest load seen at work.
    fn told_by(&self, rest: &Point) -> Option<(f64, f64)> {
        let Point { weight, busy, watts, count, .. } = *rest;
        if weight <= 0.0 || count <= 0.0 {
            return None;
        }
        // The line through both points, where they are apart.
        let work = self.active.values().next().filter(|work| work.busy >= 2.0 * busy);
        let slope =
            work.map_or(self.prior.core, |work| ((work.watts - watts) / (work.busy - busy).max(SHORTEST)).max(0.0));
        let idle = (watts - slope * busy).max(0.0);
        let others = SLOPE_OFF * slope * busy;
        Some((idle, (rest.variance() / count + others * others + (DRIFT * watts).powi(2)).sqrt()))
    }

    /// Watts that a busy GPU adds, where that was not measured.
    pub fn gpu(&self) -> f64 {
        self.prior.gpu
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
        nearest.map_or(self.prior.core, |(_, point)| point.per_core(self.idle()))
    }

    /// Joules for a second of CPU time, at the load seen most: what a budget is charged before the meter was read.
    pub fn joules_per_cpu_second(&self) -> f64 {
        let most = self.active.values().max_by(|a, b| a.weight.total_cmp(&b.weight));
        most.map_or(self.prior.core, |point| point.per_core(self.idle()))
    }

    /// What was learned, to begin with next time; `None` while that is too little to rely on.
    pub fn learned(&self) -> Option<Prior> {
        let rested = self.at_rest().is_some_and(|(idle, off)| off <= LEARNED_OFF * idle);
        let enough = rested && self.active.values().any(|work| work.weight >= 1.0);
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
        PowerModel::new(Prior { idle: 10.0, core: 1.0, gpu: 5.0, cores: 2, known: false })
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
        let mut m = PowerModel::new(Prior { idle: 2.0, core: 2.4, gpu: 5.0, cores: 2, known: true });
        for _ in 0..100 {
            m.observe(truth(2.0), 2.0, 0.1);
        }
        assert_eq!(m.idle(), 2.0);
        for _ in 0..100 {
            m.observe(2.5, 0.0, 0.1);
        }
        near(m.idle(), 2.5, 0.01);
    }

    /// Requests back to back from the start: 2 s on two cores, then 0.15 s of rest that nobody waits for.
    fn requests(m: &mut PowerModel, count: u32, others: f64) {
        for n in 0..count {
            let noise = 1.0 + 0.04 * f64::from((n * 7) % 5) / 4.0 - 0.02;
            for _ in 0..8 {
                m.observe(truth(1.9 + others), 1.9 + others, 0.25);
            }
            m.observe(truth(others) * noise, others, 0.14);
        }
    }

    #[test]
    fn short_rests_between_requests_tell_the_idle_draw() {
        for others in [0.01, 0.05, 0.1] {
            let mut m = model();
            requests(&mut m, 2, others);
            near(m.idle(), 2.0, 3.0 * m.idle_error());
            assert!(m.idle_error() < 0.1, "after two: {}", m.idle_error());
            requests(&mut m, 10, others);
            // What ran at rest drew 2 W for a core, the line says 2.4.
            near(m.idle(), 2.0, 0.02 + 0.4 * others);
            assert!(m.idle_error() < 0.07, "after twelve: {}", m.idle_error());
            near(m.active(1.9), truth(1.9) - 2.0, 0.1);
        }
    }

    #[test]
    fn others_at_rest_are_taken_off_and_doubted() {
        let mut m = model();
        requests(&mut m, 20, 0.3);
        // The first core draws less than the line through both says.
        near(m.idle(), 2.0, 2.0 * m.idle_error());
        assert!(m.idle_error() > 0.05, "{}", m.idle_error());
        // Always a core and more: no rest.
        let mut m = model();
        requests(&mut m, 20, 1.2);
        assert!(m.idle_error() > 0.2, "{}", m.idle_error());
    }

    #[test]
    fn slow_work_is_not_taken_for_rest() {
        // A model that computes for a third of the time only.
        let mut m = model();
        for n in 0..20 {
            let noise = 1.0 + 0.02 * f64::from(n % 3 - 1);
            for _ in 0..8 {
                m.observe(2.0 + 2.0 * 0.35, 0.35, 0.25);
            }
            m.observe(2.0 * noise, 0.0, 0.14);
        }
        near(m.idle(), 2.0, 0.03);
        assert!(m.idle_error() < 0.03, "{}", m.idle_error());
    }

    #[test]
    fn the_active_draw_is_right_from_the_first_rest_on() {
        let mut m = model();
        for _ in 0..40 {
            m.observe(truth(2.0), 2.0, 0.25);
        }
        m.observe(2.0, 0.0, 0.14);
        near(m.active(2.0), 4.8, 0.01);
        assert!(m.learned().is_none(), "one rest is not enough for a next run");
    }

    #[test]
    fn a_known_idle_draw_and_rests_count_by_how_well_they_are_known() {
        let mut m = PowerModel::new(Prior { idle: 2.0, core: 2.4, gpu: 5.0, cores: 2, known: true });
        m.observe(2.2, 0.0, 0.1);
        assert!((2.05..2.15).contains(&m.idle()) && m.idle_error() < 0.08, "{} {}", m.idle(), m.idle_error());
        for _ in 0..50 {
            m.observe(2.2, 0.0, 0.1);
        }
        near(m.idle(), 2.2, 0.02);
    }

    proptest! {
        #[test]
        fn nothing_observed_makes_it_negative_or_no_number(
            seen in proptest::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..50),
            busy in any::<f64>(),
        ) {
            let mut m = PowerModel::new(Prior { idle: f64::NAN, core: -1.0, gpu: 5.0, cores: 0, known: busy > 1.0 });
            for (watts, busy, seconds) in seen {
                m.observe(watts, busy, seconds);
            }
            for v in [m.idle(), m.idle_error(), m.idle_noise(), m.active(busy), m.joules_per_cpu_second()] {
                prop_assert!(v >= 0.0, "{v}");
            }
        }
    }
}
