//! How fast lanes compute, by phase and threads.
//!
//! Tokens for each second of computing, pauses left out. The speed of a lane changes with the number of requests in a
//! step and the length of their contexts, and then changes alike for all numbers of threads: so what is seen of the
//! number in use is taken for the others, too, until they are tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::draw::Key;
use super::{Phase, Site};
use crate::clock::Time;

/// Computing time over which speeds are averaged, in seconds.
const HORIZON: f64 = 3.0;
/// A number of threads that was not chosen is tried again after this; twice as long after each further try.
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// Tokens per second of computing.
    pub(super) rate: f64,
    /// Computing time behind it, in seconds.
    pub(super) seconds: f64,
    /// Not to be tried again before.
    pub(super) not_before: Time,
    wait: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Speeds {
    by_work: BTreeMap<(Site, Phase), BTreeMap<u32, Speed>>,
}

impl Speeds {
    pub(super) fn get(&self, key: Key) -> Option<&Speed> {
        self.by_work.get(&(key.site, key.phase))?.get(&key.threads)
    }

    /// All that were measured for this work.
    pub(super) fn known(&self, site: Site, phase: Phase) -> impl Iterator<Item = (u32, &Speed)> {
        self.by_work.get(&(site, phase)).into_iter().flatten().map(|(threads, speed)| (*threads, speed))
    }

    /// So many tokens were computed in so many seconds. `usual`: this is the number of threads in use and not a trial,
    /// so that a change holds for the others as well.
    pub(super) fn learn(&mut self, key: Key, tokens: u32, seconds: f64, usual: bool) {
        if tokens == 0 || seconds <= 0.0 {
            return;
        }
        let sample = f64::from(tokens) / seconds;
        let all = self.by_work.entry((key.site, key.phase)).or_default();
        let new = Speed { rate: sample, seconds: 0.0, not_before: Time::ZERO, wait: AGAIN };
        let speed = all.entry(key.threads).or_insert(new);
        let before = *speed;
        speed.rate += (sample - speed.rate) * (seconds / (speed.seconds + seconds).min(HORIZON)).min(1.0);
        speed.seconds += seconds;
        let ratio = speed.rate / before.rate;
        if usual && before.seconds >= 1.0 && ratio.is_finite() {
            all.iter_mut().filter(|(threads, _)| **threads != key.threads).for_each(|(_, other)| other.rate *= ratio);
        }
    }

    /// It is about to be tried (again): what comes now counts for more than what was.
    pub(super) fn retry(&mut self, key: Key) {
        if let Some(speed) = self.by_work.get_mut(&(key.site, key.phase)).and_then(|all| all.get_mut(&key.threads)) {
            speed.seconds = speed.seconds.min(0.2);
        }
    }

    /// A trial of it has ended.
    pub(super) fn tried(&mut self, key: Key, now: Time) {
        if let Some(speed) = self.by_work.get_mut(&(key.site, key.phase)).and_then(|all| all.get_mut(&key.threads)) {
            speed.not_before = now + speed.wait;
            speed.wait = (speed.wait * 2).min(AGAIN_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(threads: u32) -> Key {
        Key { site: Site::cpu(crate::sched::VariantId(0)), threads, phase: Phase::Decode }
    }

    fn rate(speeds: &Speeds, threads: u32) -> f64 {
        speeds.get(key(threads)).map_or(0.0, |speed| speed.rate)
    }

    #[test]
    fn what_changes_the_speed_changes_it_for_all_numbers_of_threads() {
        let mut speeds = Speeds::default();
        speeds.learn(key(1), 10, 1.0, true);
        speeds.learn(key(2), 15, 1.0, false);
        assert_eq!((rate(&speeds, 1), rate(&speeds, 2)), (10.0, 15.0));
        for _ in 0..20 {
            speeds.learn(key(1), 40, 1.0, true);
        }
        assert!((rate(&speeds, 1) - 40.0).abs() < 0.1 && (rate(&speeds, 2) - 60.0).abs() < 0.2, "{speeds:?}");
        // A trial tells of itself alone.
        speeds.retry(key(2));
        speeds.learn(key(2), 80, 1.0, false);
        assert!(rate(&speeds, 2) > 75.0 && rate(&speeds, 1) < 41.0, "{speeds:?}");
    }

    #[test]
    fn nothing_computed_tells_nothing() {
        let mut speeds = Speeds::default();
        speeds.learn(key(1), 0, 1.0, true);
        speeds.learn(key(1), 1, 0.0, true);
        assert!(speeds.get(key(1)).is_none());
    }

    #[test]
    fn trials_become_rare() {
        let mut speeds = Speeds::default();
        speeds.learn(key(1), 10, 1.0, false);
        speeds.tried(key(1), Time::ZERO);
        assert_eq!(speeds.get(key(1)).map(|s| s.not_before), Some(Time::ZERO + AGAIN));
        speeds.tried(key(1), Time::ZERO + AGAIN);
        assert_eq!(speeds.get(key(1)).map(|s| s.not_before), Some(Time::ZERO + AGAIN * 3));
    }
}
