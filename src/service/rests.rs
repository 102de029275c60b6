//! What a lane adds to the device's draw while it is resident and idle: a GPU that holds a model does not sleep. Pure.
//!
//! The device's draw while nothing works is kept apart by which GPU lanes are resident; the difference to none of them is
//! what holding one costs. A lane on the CPU is memory that draws nothing more.
//!
//! What always holds: nothing is said of a lane before the device was seen at rest with it alone and without any.

use std::collections::{BTreeMap, BTreeSet};

use crate::sched::Site;

/// Less than this says nothing yet, in seconds.
const LEAST: f64 = 1.0;
/// What was seen longer ago counts for less: seconds that are remembered.
const HORIZON: f64 = 60.0;
/// What changes by less is no news: as a share, and in watts.
const NEWS: (f64, f64) = (0.05, 0.02);

#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    watts: f64,
    seconds: f64,
}

impl Mean {
    fn add(&mut self, watts: f64, seconds: f64) {
        self.seconds = (self.seconds + seconds).min(HORIZON);
        self.watts += (watts - self.watts) * (seconds / self.seconds).clamp(0.0, 1.0);
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Rests {
    none: Mean,
    with: BTreeMap<Site, Mean>,
    told: BTreeMap<Site, f64>,
}

impl Rests {
    /// Nothing worked for so many seconds, in which the device drew so many watts with these GPU lanes resident. Gives
    /// what that says of lanes: watts that holding them adds.
    pub fn rested(&mut self, resident: &BTreeSet<Site>, watts: f64, seconds: f64) -> Vec<(Site, f64)> {
        if !(watts.is_finite() && seconds > 0.0) {
            return Vec::new();
        }
        let mut sites = resident.iter();
        match (sites.next(), sites.next()) {
            (None, _) => self.none.add(watts, seconds),
            (Some(one), None) => self.with.entry(*one).or_default().add(watts, seconds),
            // Which of them it is nobody can tell.
            _ => return Vec::new(),
        }
        if self.none.seconds < LEAST {
            return Vec::new();
        }
        let mut news = Vec::new();
        for (site, mean) in self.with.iter().filter(|(_, mean)| mean.seconds >= LEAST) {
            let hold = (mean.watts - self.none.watts).max(0.0);
            let told = self.told.get(site).copied();
            if told.is_none_or(|told| (hold - told).abs() > NEWS.1 + NEWS.0 * told) {
                news.push((*site, hold));
            }
        }
        self.told.extend(news.iter().copied());
        news
    }

    /// Other sensors are in use: what was seen says nothing any more.
    pub fn forget(&mut self) {
        *self = Rests::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::{DeviceId, VariantId};

    fn gpu(n: u8) -> Site {
        Site { variant: VariantId(0), device: DeviceId(n) }
    }

    #[test]
    fn holding_a_lane_costs_what_the_device_draws_more() {
        let mut rests = Rests::default();
        let (none, one) = (BTreeSet::new(), BTreeSet::from([gpu(1)]));
        assert_eq!(rests.rested(&one, 5.0, 2.0), [], "nothing to compare with");
        assert_eq!(rests.rested(&none, 2.0, 0.5), [], "too little");
        assert_eq!(rests.rested(&none, 2.0, 0.6), [(gpu(1), 3.0)]);
        assert_eq!(rests.rested(&one, 5.05, 2.0), [], "no news");
        assert_eq!(rests.rested(&BTreeSet::from([gpu(1), gpu(2)]), 9.0, 10.0), []);
        // It is not bound to what it first was.
        let mut last = 3.0;
        for _ in 0..100 {
            last = rests.rested(&one, 8.0, 2.0).last().map_or(last, |(_, watts)| *watts);
        }
        assert!((last - 6.0).abs() < 0.5, "{last}");
        assert_eq!(rests.rested(&one, f64::NAN, 2.0), []);
        rests.forget();
        assert_eq!(rests.rested(&one, 1.0, 2.0), []);
    }

    #[test]
    fn a_device_that_draws_less_with_it_holds_it_for_nothing() {
        let mut rests = Rests::default();
        rests.rested(&BTreeSet::new(), 2.0, 5.0);
        assert_eq!(rests.rested(&BTreeSet::from([gpu(1)]), 1.9, 5.0), [(gpu(1), 0.0)]);
    }
}
