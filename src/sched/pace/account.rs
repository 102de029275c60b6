//! The account of a power cap: what was used beyond it and has to be saved again.
//!
//! A leaky bucket: energy flows in as it is used and out at the cap's rate. As long as the level never exceeds B, *any*
//! time T uses at most cap·T + B, so that an average over 10 s exceeds the cap by at most B/10 s, whichever 10 s it is.
//! The bucket hardly goes below empty: what an idle time saved does not pay for a burst, because a burst that is followed
//! by work at the cap breaks the average of the 10 s that begin with it.

use std::collections::VecDeque;

use crate::clock::Time;

/// The time over which the average must hold, in seconds.
pub(super) const WINDOW: f64 = 10.0;

/// Level below which it does not fall, and above which it does not rise, in seconds of the cap. The first evens out the
/// noise of a sensor. The second is what is repaid at most: a cap that cannot be kept must not stop a lane for minutes
/// once it can.
const LOWEST: f64 = -0.05;
const HIGHEST: f64 = 3.0;

/// Samples kept for the mean. Coarser ones are merged, so that a fast sensor costs no memory.
const SAMPLES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Account {
    /// Joules beyond the cap that were not saved again.
    level: f64,
    /// Ends, seconds and joules of the last samples.
    samples: VecDeque<(Time, f64, f64)>,
}

impl Account {
    /// This was drawn on average (W) for so long (s), until now.
    pub(super) fn add(&mut self, draw: f64, span: f64, cap: Option<f64>, now: Time) {
        match self.samples.back_mut().filter(|last| last.1 + span <= WINDOW / SAMPLES as f64) {
            Some(last) => *last = (now, last.1 + span, last.2 + draw * span),
            None => self.samples.push_back((now, span, draw * span)),
        }
        while self.samples.len() > 1
            && (self.samples.len() > SAMPLES
                || self.samples.front().is_some_and(|first| now.since(first.0).as_secs_f64() >= WINDOW))
        {
            self.samples.pop_front();
        }
        self.flow(draw, span, cap);
    }

    /// So long (s) nothing was measured, and this was drawn (W), as far as is known.
    pub(super) fn flow(&mut self, draw: f64, span: f64, cap: Option<f64>) {
        self.level = match cap {
            Some(cap) => (self.level + (draw - cap) * span).clamp(LOWEST * cap, HIGHEST * cap),
            None => 0.0,
        };
    }

    /// Joules beyond the cap; a little below 0 where less was used.
    pub(super) fn level(&self) -> f64 {
        self.level
    }

    /// Mean draw (W) over the last 10 s of samples.
    pub(super) fn mean(&self) -> Option<f64> {
        let (span, joules) = self.samples.iter().fold((0.0, 0.0), |sum, s| (sum.0 + s.1, sum.1 + s.2));
        (span > 0.0).then(|| joules / span)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The promise above, for what was really used.
        #[test]
        fn no_time_uses_more_than_the_cap_and_the_highest_level(
            draws in prop::collection::vec((0.0f64..9.0, 0.01f64..0.5), 1..200),
        ) {
            let cap = 5.0;
            let mut account = Account::default();
            let mut highest = 0.0f64;
            for (draw, span) in &draws {
                account.add(*draw, *span, Some(cap), Time::ZERO);
                highest = highest.max(account.level());
            }
            if highest >= HIGHEST * cap {
                return Ok(());
            }
            for from in 0..draws.len() {
                let mut beyond = 0.0;
                for (draw, span) in &draws[from..] {
                    beyond += (draw - cap) * span;
                    prop_assert!(beyond <= highest - LOWEST * cap + 1e-9);
                }
            }
        }
    }

    #[test]
    fn the_mean_is_that_of_ten_seconds() {
        let mut account = Account::default();
        let mut now = Time::ZERO;
        for i in 0..4000 {
            now = now + Duration::from_millis(10);
            account.add(if i < 2000 { 9.0 } else { 3.0 }, 0.01, None, now);
        }
        assert_eq!(account.mean().map(|mean| (mean * 1e6).round()), Some(3e6));
        assert!(account.samples.len() <= SAMPLES);
    }
}
