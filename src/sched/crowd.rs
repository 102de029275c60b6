//! How many requests there are together, and how many more are thought to come before these are gone.
//!
//! A crowd is everybody from when there was nobody until there is nobody again. The next one is thought to be like the
//! last ones, so that its first request is planned as one of many: what lanes take is shared by all, and a lane that is
//! cheap for one alone may be the dear one for all together.
//!
//! It knows nothing of lanes: numbers in, numbers out.

/// How far one crowd moves what is thought of the next.
const STEP: f64 = 0.3;
/// More are never there at a time: lines are bounded.
pub(super) const MOST_THERE: f64 = 1e6;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    there: usize,
    /// How many came since there was nobody, and how many were there at a time at most.
    came: (f64, f64),
    /// Both on average of late; 0: not known.
    usual: (f64, f64),
}

impl Crowd {
    /// Who is there.
    pub(super) fn there(&self) -> usize {
        self.there
    }

    /// How many usually come, and are there at a time at most, where that is known.
    pub(super) fn usual(&self) -> Option<(f64, f64)> {
        Some(self.usual).filter(|(came, _)| *came > 0.0)
    }

    /// That was usual in an earlier run. What this one has seen goes before it.
    pub(super) fn restore(&mut self, usual: Option<(f64, f64)>) {
        if self.usual().is_none() {
            self.usual = usual.unwrap_or_default();
        }
    }

    /// One more came.
    pub(super) fn comes(&mut self) {
        if self.there == 0 {
            self.came = (0.0, 0.0);
        }
        self.there += 1;
        self.came = (self.came.0 + 1.0, self.came.1.max(self.there as f64));
    }

    /// One is gone.
    pub(super) fn goes(&mut self) {
        self.there = self.there.saturating_sub(1);
        if self.there == 0 && self.came.0 > 0.0 {
            let toward = |old: f64, new: f64| if old > 0.0 { old + STEP * (new - old) } else { new };
            self.usual = (toward(self.usual.0, self.came.0), toward(self.usual.1, self.came.1));
        }
    }

    /// Others than one request that are there, or are thought to come before it is gone. `counted`: it came already.
    pub(super) fn others(&self, counted: bool) -> f64 {
        let own = f64::from(u8::from(counted));
        let there = (self.there as f64 - own).max(0.0);
        let came = if self.there > 0 { self.came.0 } else { 0.0 };
        let more = (self.usual.0 - came - 1.0 + own).max(0.0);
        there.max((there + more).min(self.usual.1 - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_crowd_is_thought_to_be_one_of_as_many_as_last_time() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.others(false), 0.0, "nothing is known");
        for _ in 0..3 {
            (0..8).for_each(|_| crowd.comes());
            assert_eq!(crowd.others(true), 7.0);
            (0..8).for_each(|_| crowd.goes());
        }
        assert_eq!(crowd.others(false), 7.0);
        crowd.comes();
        assert_eq!(crowd.others(true), 7.0);
        // All have come: nobody is waited for at the end.
        (0..7).for_each(|_| crowd.comes());
        (0..6).for_each(|_| crowd.goes());
        assert_eq!((crowd.there(), crowd.others(true)), (2, 1.0));
    }

    #[test]
    fn many_one_after_another_are_no_crowd() {
        let mut crowd = Crowd::default();
        for _ in 0..20 {
            crowd.comes();
            assert_eq!(crowd.others(true), 0.0);
            crowd.goes();
        }
        // Each comes just before the last is gone.
        crowd.comes();
        for _ in 0..20 {
            crowd.comes();
            crowd.goes();
        }
        crowd.goes();
        assert!(crowd.others(false) <= 1.0, "{crowd:?}");
    }
}
