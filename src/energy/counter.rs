//! From the values of one sensor to energy: differences of a counter, or power integrated over time.
//!
//! Pure: values and times come from outside. A counter's difference is unwrapped by its range. Power is integrated on
//! monotonic time, which stands still while the device sleeps, and only up to the sensor's last refresh: what it shows is
//! of the time before that, and what it will show is not known. A sensor that averages over its refresh shows the mean of
//! it; of another the mean of two values in a row is taken, which are trapezoids. What cannot be is a [`Fault`] and never an
//! amount: a difference that would take more power than the sensor can see, a step back that is no wrap, a value that
//! has not moved although it should have.
//!
//! What always holds: amounts are never negative; after a fault the next value is only a new start, unless
//! [`Tracker::bridge`] finds that the counter went on meanwhile.

use std::time::Duration;

use super::sources::{Fault, Kind, Spec};
use crate::clock::Time;
use crate::units::Microjoules;

/// A counter may show at once what it gathered, and two clocks are read one after the other.
const SLACK: Duration = Duration::from_millis(50);
/// Readings of a sensor that shows power may be this many refreshes apart; further apart they say little of what was
/// between them.
const WATCHED: u32 = 10;
/// The same, at least: a device at rest is looked at once a minute.
const WATCHED_LEAST: Duration = Duration::from_secs(90);
/// A counter that never rests has stood still for too long after this many refreshes,
const RESTLESS: u32 = 30;
/// and this time;
const RESTLESS_LEAST: Duration = Duration::from_secs(3);
/// any other sensor, whose value may well be the same twice, after this many,
const CALM: u32 = 100;
/// and this time, in which the device worked:
const CALM_LEAST: Duration = Duration::from_secs(30);
/// one core was busy for this share of it.
const BUSY: f64 = 0.25;
/// Refreshes from which one mean is made.
const WINDOW: u32 = 8;

/// When a value was read.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the monotonic clock.
    pub at: Time,
    /// How long the device has slept so far.
    pub asleep: Duration,
}

/// The time between two refreshes of a sensor, from when its value is seen to change.
#[derive(Debug, Clone)]
pub struct Refresh {
    prior: Duration,
    best: Option<Duration>,
    first: Option<Time>,
    gaps: u32,
}

impl Refresh {
    /// With what the sensor's documentation says, until it is measured.
    pub fn new(prior: Duration) -> Refresh {
        Refresh { prior, best: None, first: None, gaps: 0 }
    }

    /// The value was seen to have changed. The mean over some changes is at most too long: a change may go unseen, or
    /// leave the value as it was; so the shortest mean is the best.
    pub fn changed(&mut self, at: Time) {
        let Some(first) = self.first else {
            self.first = Some(at);
            return;
        };
        self.gaps += 1;
        if self.gaps == WINDOW {
            self.conclude(first, at);
        }
    }

    /// Makes do with fewer changes, at the end of a measurement.
    pub fn conclude_at(&mut self, last: Time) {
        if let Some(first) = self.first.filter(|_| self.gaps > 0) {
            self.conclude(first, last);
        }
        self.first = None;
        self.gaps = 0;
    }

    fn conclude(&mut self, first: Time, last: Time) {
        let mean = last.since(first) / self.gaps.max(1);
        self.best = Some(self.best.map_or(mean, |b| b.min(mean)));
        self.first = Some(last);
        self.gaps = 0;
    }

    /// Nobody looked for a while.
    fn interrupted(&mut self) {
        self.first = None;
        self.gaps = 0;
    }

    /// The best that is known.
    pub fn get(&self) -> Duration {
        self.best.unwrap_or(self.prior)
    }

    /// What was measured.
    pub fn measured(&self) -> Option<Duration> {
        self.best
    }
}

/// The latest good value.
#[derive(Debug, Clone, Copy)]
struct Seen {
    raw: u64,
    when: Moment,
    /// When this value was first seen.
    since: Time,
}

/// Follows one sensor.
#[derive(Debug, Clone)]
pub struct Tracker {
    kind: Kind,
    /// In microwatts.
    limit: u64,
    restless: bool,
    averages: bool,
    refresh: Refresh,
    seen: Option<Seen>,
    /// Up to when energy was told.
    fresh: Time,
    /// Of integrated power what is less than a microjoule, in nanoseconds times twice microwatts.
    rest: u128,
    /// When a value began to look frozen, and the CPU time spent by then.
    suspicion: Option<(Time, Duration)>,
}

impl Tracker {
    /// For the sensor that this describes.
    pub fn new(spec: &Spec) -> Tracker {
        Tracker {
            kind: spec.kind,
            limit: spec.limit.0,
            restless: spec.restless,
            averages: spec.averages,
            refresh: Refresh::new(spec.refresh),
            seen: None,
            fresh: Time::ZERO,
            rest: 0,
            suspicion: None,
        }
    }

    /// Its refresh interval.
    pub fn refresh(&self) -> &Refresh {
        &self.refresh
    }

    /// The same, for who measures it otherwise.
    pub fn refresh_mut(&mut self) -> &mut Refresh {
        &mut self.refresh
    }

    /// Up to when energy was told: the sensor's last refresh, as far as is known.
    pub fn fresh(&self) -> Time {
        self.fresh
    }

    /// A counter may be left alone for this long without anything being lost; `None`: for ever. Integrated power
    /// needs somebody to look.
    pub fn patience(&self) -> Option<Duration> {
        match self.kind {
            Kind::Counter { range: None } => None,
            Kind::Counter { range: Some(range) } => {
                Some(Duration::from_micros((u128::from(range) * 1_000_000 / u128::from(self.limit.max(1))) as u64))
            }
            Kind::Power => Some((self.refresh.get() * WATCHED).max(WATCHED_LEAST)),
        }
    }

    /// The energy since the last value. `None` for the first value: from here on it counts.
    ///
    /// # Errors
    /// What is wrong with the value. The next one is for [`Tracker::bridge`].
    pub fn next(
        &mut self,
        raw: u64,
        now: Moment,
        busy: impl FnOnce() -> Duration,
    ) -> Result<Option<Microjoules>, Fault> {
        if self.kind == Kind::Power && raw > self.limit {
            return Err(Fault::Garbage(format!("{} W, more than it can carry", raw / 1_000_000)));
        }
        let Some(seen) = self.seen else {
            self.start(raw, now);
            return Ok(None);
        };
        let slept = now.asleep.saturating_sub(seen.when.asleep);
        if slept > SLACK {
            return Err(Fault::Slept);
        }
        let gap = now.at.since(seen.when.at);
        if self.patience().is_some_and(|p| gap > p) {
            return Err(Fault::Unwatched);
        }
        let told = self.fresh;
        let difference = self.difference(seen, raw, now)?;
        let refresh = self.refresh.get();
        if raw == seen.raw {
            self.watch_for_frost(seen.since, now.at, busy)?;
            // A sensor at rest is refreshed all the same; one that cannot rest was not.
            if !self.restless {
                self.advance(back(now.at, refresh));
            }
            self.seen = Some(Seen { when: now, ..seen });
        } else {
            self.suspicion = None;
            self.refresh.changed(now.at);
            // It changed at some time since the last look, and not longer ago than a refresh takes.
            self.advance(back(now.at, refresh.min(gap) / 2));
            self.seen = Some(Seen { raw, when: now, since: now.at });
        }
        let energy = match self.kind {
            Kind::Power => self.integrate(seen.raw, raw, self.fresh.since(told), refresh),
            Kind::Counter { .. } => difference,
        };
        Ok(Some(Microjoules(energy)))
    }

    /// Since when the value has been this; `None`: it is another.
    pub fn unmoved(&self, raw: u64, now: Time) -> Option<Duration> {
        self.seen.filter(|seen| seen.raw == raw).map(|seen| now.since(seen.since))
    }

    /// The first value after an outage: what was used meanwhile, if the counter went on, the device was awake, and that
    /// can be told. Either way it counts from here on.
    pub fn bridge(&mut self, raw: u64, now: Moment) -> Option<Microjoules> {
        let energy = self.seen.and_then(|seen| match self.kind {
            Kind::Power => None,
            Kind::Counter { .. } => {
                let slept = now.asleep.saturating_sub(seen.when.asleep) > SLACK;
                let told = self.patience().is_none_or(|p| now.at.since(seen.when.at) <= p);
                (told && !slept).then(|| self.difference(seen, raw, now).ok()).flatten()
            }
        });
        self.start(raw, now);
        energy.map(Microjoules)
    }

    fn start(&mut self, raw: u64, now: Moment) {
        self.seen = Some(Seen { raw, when: now, since: now.at });
        self.rest = 0;
        self.suspicion = None;
        self.refresh.interrupted();
        self.advance(now.at);
    }

    fn advance(&mut self, to: Time) {
        self.fresh = self.fresh.max(to);
    }

    /// Power over this time, in microjoules: the value `after` holds for the last refresh in it.
    fn integrate(&mut self, before: u64, after: u64, time: Duration, refresh: Duration) -> u64 {
        // Twice the energy, in microwatts times nanoseconds.
        const UNIT: u128 = 2 * 1_000_000_000;
        let (both, after) = (u128::from(before) + u128::from(after), 2 * u128::from(after));
        let last = time.min(refresh);
        let own = if self.averages { after } else { both };
        let area = own * last.as_nanos() + both * (time - last).as_nanos() + self.rest;
        self.rest = area % UNIT;
        u64::try_from(area / UNIT).unwrap_or(u64::MAX)
    }

    fn difference(&self, seen: Seen, raw: u64, now: Moment) -> Result<u64, Fault> {
        let Kind::Counter { range } = self.kind else { return Ok(0) };
        // The counter may hold back what it gathered since its last refresh.
        let away = now.at.since(seen.since) + now.asleep.saturating_sub(seen.when.asleep);
        let possible = u128::from(self.limit) * (away + self.refresh.get() + SLACK).as_nanos() / 1_000_000_000;
        let plausible = |uj: u64| u128::from(uj) <= possible;
        if let Some(range) = range.filter(|range| raw > *range) {
            return Err(Fault::Garbage(format!("{raw}, beyond its range of {range}")));
        }
        if raw >= seen.raw {
            let uj = raw - seen.raw;
            return Some(uj).filter(|uj| plausible(*uj)).ok_or_else(|| {
                let watts = u128::from(uj) * 1000 / away.as_nanos().max(1);
                Fault::Garbage(format!("a jump of {} J, {watts} W", uj / 1_000_000))
            });
        }
        // Its last value is `range`, the next 0.
        let wrapped = range.and_then(|r| (r.checked_sub(seen.raw)?).checked_add(raw)?.checked_add(1));
        wrapped.filter(|uj| plausible(*uj)).ok_or(Fault::WentBack)
    }

    /// A value that should have moved and has not.
    fn watch_for_frost(&mut self, since: Time, now: Time, busy: impl FnOnce() -> Duration) -> Result<(), Fault> {
        let (times, least) = if self.restless { (RESTLESS, RESTLESS_LEAST) } else { (CALM, CALM_LEAST) };
        let allowed = (self.refresh.get() * times).max(least);
        let still = now.since(since);
        if self.restless {
            return if still > allowed { Err(Fault::Frozen(still)) } else { Ok(()) };
        }
        match self.suspicion {
            None if still > allowed / 2 => self.suspicion = Some((now, busy())),
            Some((from, before)) if now.since(from) >= allowed / 2 => {
                let (by_now, time) = (busy(), now.since(from));
                if by_now.saturating_sub(before).as_secs_f64() > BUSY * time.as_secs_f64() {
                    return Err(Fault::Frozen(still));
                }
                // It had a reason to rest.
                self.suspicion = Some((now, by_now));
            }
            _ => {}
        }
        Ok(())
    }
}

/// This long before.
fn back(at: Time, by: Duration) -> Time {
    Time(at.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
