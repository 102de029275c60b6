//! A purse: energy that may be used, and comes back with time.
//!
//! A token bucket of whole microjoules: it holds at most what its period gives back, and gets that back evenly, on the
//! time it is told. It knows nothing of requests.
//!
//! What always holds: it is never fuller than its size; time that goes back changes nothing; no rounding is lost,
//! however often it is looked at.

use std::time::Duration;

use crate::clock::Time;
use crate::units::Microjoules;

/// No purse is larger: sums of what is in some of them and what is owed to them must not overflow.
const MOST: u64 = 1 << 60;

#[derive(Debug, Clone)]
pub(super) struct Purse {
    /// What it holds at most, and gets back in each `period`. At least 1.
    size: u64,
    period: u64,
    /// May be negative: the last step used more than there was.
    level: i64,
    /// Of the next microjoule, in parts of `period`.
    rest: u128,
    at: Time,
    /// The configuration in force bounds this purse. Off, it is neither asked nor charged, but still fills, so that
    /// turning it off and on (the charger comes and goes) does not make it fuller.
    pub(super) on: bool,
}

impl Purse {
    /// A full one.
    pub(super) fn new(size: Microjoules, period: Duration, now: Time) -> Purse {
        let size = size.0.clamp(1, MOST);
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        Purse { size, period, level: as_level(size), rest: 0, at: now, on: true }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// What is in it, at the time of the last [`Purse::advance`]. Negative: owed.
    pub(super) fn level(&self) -> i64 {
        self.level
    }

    pub(super) fn is_full(&self) -> bool {
        self.level >= as_level(self.size)
    }

    /// What time has brought since.
    pub(super) fn advance(&mut self, now: Time) {
        let ns = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        let parts = (u128::from(self.size) * ns).saturating_add(self.rest);
        let period = u128::from(self.period);
        self.rest = parts % period;
        self.put(i64::try_from(parts / period).unwrap_or(i64::MAX));
    }

    /// From now on it holds this much at most; what is in it stays, as far as it fits.
    pub(super) fn resize(&mut self, size: Microjoules) {
        self.size = size.0.clamp(1, MOST);
        self.put(0);
    }

    /// It holds this much.
    pub(super) fn set(&mut self, level: i64) {
        self.level = level;
        self.rest = 0;
        self.put(0);
    }

    /// Energy was used, or less than was said before.
    pub(super) fn charge(&mut self, more: Microjoules, less: Microjoules) {
        self.level = self.level.saturating_sub(i64::try_from(more.0).unwrap_or(i64::MAX));
        self.put(i64::try_from(less.0).unwrap_or(i64::MAX));
    }

    fn put(&mut self, energy: i64) {
        self.level = self.level.saturating_add(energy);
        if self.is_full() {
            self.level = as_level(self.size);
            self.rest = 0;
        }
    }

    /// When it will hold `need`, if nothing is used; its own time where it does. `need` counts as the size at most.
    pub(super) fn reaches(&self, need: u64) -> Time {
        let missing = i128::from(need.min(self.size)) - i128::from(self.level);
        let Ok(missing) = u128::try_from(missing) else { return self.at };
        if missing == 0 {
            return self.at;
        }
        let parts = (missing * u128::from(self.period)).saturating_sub(self.rest);
        let ns = parts.div_ceil(u128::from(self.size));
        self.at + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

fn as_level(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_used_comes_back_within_the_period_and_no_more() {
        let mut purse = Purse::new(Microjoules(3_600), HOUR, at(0));
        purse.charge(Microjoules(3_600), Microjoules(0));
        assert_eq!(purse.level(), 0);
        assert_eq!(purse.reaches(10), at(10));
        purse.advance(at(10));
        assert_eq!(purse.level(), 10);
        purse.advance(at(20_000));
        assert_eq!(purse.level(), 3_600);
        // What a full purse was not given is not kept for later.
        purse.charge(Microjoules(100), Microjoules(0));
        purse.advance(at(20_001));
        assert_eq!(purse.level(), 3_501);
    }

    #[test]
    fn a_debt_is_paid_first_and_a_correction_goes_back() {
        let mut purse = Purse::new(Microjoules(3_600), HOUR, at(0));
        purse.charge(Microjoules(3_610), Microjoules(0));
        assert_eq!((purse.level(), purse.reaches(0)), (-10, at(10)));
        purse.charge(Microjoules(0), Microjoules(30));
        assert_eq!(purse.level(), 20);
        purse.charge(Microjoules(0), Microjoules(u64::MAX));
        assert_eq!(purse.level(), 3_600);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing() {
        let mut purse = Purse::new(Microjoules(3_600), HOUR, at(1_000));
        purse.charge(Microjoules(1_000), Microjoules(0));
        for t in [0, 999, 1_000, 5, 1_000] {
            purse.advance(at(t));
            assert_eq!(purse.level(), 2_600);
        }
        purse.advance(at(1_001));
        assert_eq!(purse.level(), 2_601);
    }

    #[test]
    fn another_size_keeps_what_is_in_it() {
        let mut purse = Purse::new(Microjoules(1_000), HOUR, at(0));
        purse.resize(Microjoules(100));
        assert_eq!(purse.level(), 100);
        purse.resize(Microjoules(1_000));
        assert_eq!(purse.level(), 100, "a smaller size and back does not fill it");
    }

    proptest! {
        #[test]
        fn looking_often_changes_nothing_and_the_time_told_is_right(
            size in 1u64..=9_000_000_000_000_000,
            used in any::<u64>(),
            looks in prop::collection::vec(0u64..100_000_000_000, 0..20),
            need in any::<u64>(),
        ) {
            let mut often = Purse::new(Microjoules(size), HOUR, Time::ZERO);
            often.charge(Microjoules(used % (2 * size)), Microjoules(0));
            let mut once = often.clone();
            let mut now = Time::ZERO;
            for step in looks {
                now = now + Duration::from_nanos(step);
                often.advance(now);
            }
            once.advance(now);
            prop_assert_eq!((often.level(), often.rest), (once.level(), once.rest));
            let due = once.reaches(need);
            let need = need.min(size) as i64;
            if once.level() >= need {
                prop_assert_eq!(due, now);
            } else {
                let mut early = once.clone();
                early.advance(Time(due.0 - 1));
                prop_assert!(early.level() < need);
                once.advance(due);
                prop_assert!(once.level() >= need);
            }
        }
    }
}
