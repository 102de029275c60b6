//! How long an idle lane is kept that costs watts to keep, and what part of bringing it up is one request's.
//!
//! The last gaps between requests say how likely the next comes in a given time, and the last requests what the lane
//! would have saved each of them. A lane that is up when a request comes is worth
//! `v = mean of min(saving + u, wake + cells)`: what it saves there and later, but never more than bringing it up then would
//! cost, and computing anew what it held of the prompt.
//! Being up when a request has ended is worth `u = max over τ of P(gap ≤ τ)·v − watts·E[min(gap, τ)]`, and τ is how long it
//! is kept. Both are found by iteration from below. A cold lane is worth its wake for a request that it saves more than
//! `wake − u`: that is the part of the wake which is this request's, the rest is the others' that will find it up.
//!
//! While others run elsewhere no gap has begun. How long that lasts nobody knows, so that no more than what the lane is
//! worth once they are gone goes into keeping it meanwhile: gaps of nothing, of those who came while others were there, do
//! not count then.
//!
//! With few gaps known nothing is foretold, and the classic rule of the ski rental holds: a lane is kept until keeping
//! it has cost as much as bringing it up (A. R. Karlin et al., "Competitive snoopy caching", 1988: never worse than
//! twice the best), and brought up once the savings that were forgone without it, less what keeping it would have cost,
//! would have paid for it.
//!
//! It knows nothing of lanes: numbers in, numbers out. What always holds: `0 ≤ u ≤ v`.

use std::collections::VecDeque;

/// Gaps and savings remembered.
pub(super) const GAPS: usize = 40;
pub(super) const SAVINGS: usize = 16;
/// Seconds and joules beyond which they are none.
pub(super) const LONGEST_GAP: f64 = 1e12;
pub(super) const MOST_SAVED: f64 = 1e9;
/// Shorter than any gap.
const EVER: f64 = -1.0;
/// How much less each older one counts: habits change.
const FADE: f64 = 0.95;
/// The same for savings, which the scheduler's own choices change.
const FADE_SAVINGS: f64 = 0.85;
/// How far one request moves what is thought of a crowd's.
const CROWD_STEP: f64 = 0.15;
/// How much less with each gap it counts that the next one may have no end.
const NEVER: f64 = 0.7;
/// With fewer gaps nothing is foretold.
const FEW: usize = 1;
/// Rounds of the iteration at most, and when it has come to rest.
const ROUNDS: usize = 24;
const REST: f64 = 1e-3;

/// What keeping a lane costs, and bringing it up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Price {
    /// Joules to bring it up.
    pub(super) wake: f64,
    /// Watts to keep it.
    pub(super) hold: f64,
    /// Seconds that it may be kept idle at most.
    pub(super) limit: f64,
}

/// What follows for a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Keep {
    /// Seconds that it is kept after a request.
    pub(super) idle: f64,
    /// Joules that one request has to save for the lane to be brought up: its part of the wake, and what is expected to
    /// be spent on keeping the lane afterwards.
    pub(super) wake: f64,
    pub(super) hold: f64,
    /// How likely the next request finds it up.
    pub(super) stays: f64,
    /// Joules that it is worth to be up once everybody is gone: so much may go into keeping it while others run elsewhere.
    pub(super) worth: f64,
}

/// Gaps between requests for one variant.
#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    recent: VecDeque<f64>,
    /// The same, sorted, each with its weight: sums to what is left by the one that may have no end.
    sorted: Vec<(f64, f64)>,
}

impl Gaps {
    /// So many seconds passed from the end of one request to the next; none where it came before.
    pub(super) fn learn(&mut self, seconds: f64) {
        if !(0.0..LONGEST_GAP).contains(&seconds) {
            return;
        }
        self.recent.push_back(seconds);
        if self.recent.len() > GAPS {
            self.recent.pop_front();
        }
        let mut weight = 1.0;
        self.sorted.clear();
        for gap in self.recent.iter().rev() {
            self.sorted.push((*gap, weight));
            weight *= FADE;
        }
        self.sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        // After the first few, nobody may ever come again.
        let never = NEVER.powi(i32::try_from(self.recent.len()).unwrap_or(i32::MAX));
        let total = never + self.sorted.iter().map(|(_, weight)| weight).sum::<f64>();
        self.sorted.iter_mut().for_each(|(_, weight)| *weight /= total);
    }

    /// The last ones, the oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = f64> + '_ {
        self.recent.iter().copied()
    }

    /// An earlier run saw these last. What this one has seen goes before them.
    pub(super) fn restore(&mut self, gaps: Vec<f64>) {
        if self.recent.is_empty() {
            gaps.into_iter().for_each(|gap| self.learn(gap));
        }
    }

    fn are_few(&self) -> bool {
        self.recent.len() < FEW
    }

    /// How likely the next request comes before the last one is gone.
    pub(super) fn overlaps(&self) -> f64 {
        self.sorted.iter().take_while(|(gap, _)| *gap <= 0.0).map(|(_, weight)| weight).sum::<f64>().min(1.0)
    }

    /// How likely the next request comes within so many seconds; as sure as may be where nothing is known.
    pub(super) fn within(&self, seconds: f64) -> f64 {
        if self.are_few() {
            return 1.0;
        }
        self.sorted.iter().take_while(|(gap, _)| *gap <= seconds).map(|(_, weight)| weight).sum::<f64>().min(1.0)
    }

    /// The best time to keep something for that is worth `value` to the next request and costs `watts`: the time, what
    /// that is worth in all, how likely the next request comes within it, and how long it is kept on average.
    /// `after`: gaps that are longer than this one alone.
    fn best(&self, value: f64, watts: f64, limit: f64, after: f64) -> (f64, f64, f64, f64) {
        let mut best = (0.0, 0.0, 0.0, 0.0);
        let others = self.sorted.iter().take_while(|(gap, _)| *gap <= after).map(|(_, weight)| weight).sum::<f64>();
        let share = 1.0 / (1.0 - others).max(1e-9);
        // Of the gaps up to here: how many, and how long in all.
        let (mut within, mut passed) = (0.0, 0.0);
        for (at, (gap, weight)) in self.sorted.iter().enumerate().filter(|(_, (gap, _))| *gap > after) {
            if *gap > limit {
                break;
            }
            within += weight * share;
            passed += weight * share * gap;
            if self.sorted.get(at + 1).is_some_and(|(next, _)| next == gap) {
                continue;
            }
            let kept = passed + (1.0 - within) * gap;
            let worth = within * value - watts * kept;
            if worth > best.1 {
                best = (*gap, worth, within, kept);
            }
        }
        // A gap a little longer than any that was seen should not find it just gone.
        best.0 = (best.0 * 1.1 + 0.05).min(limit);
        if best.1 <= 0.0 {
            best = (0.0, 0.0, 0.0, 0.0);
        }
        best
    }
}

/// What one lane would have saved.
#[derive(Debug, Clone, Default)]
pub(super) struct Savings {
    /// What it would have saved, and what it holds or would have held of the prompt is worth.
    recent: VecDeque<(f64, f64)>,
    /// Savings forgone while it was not up, less what keeping it would have cost.
    forgone: f64,
    /// What it saves one of a crowd on average of late; none came yet.
    crowd: Option<f64>,
}

/// What a lane saves a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saving {
    /// Joules, as things stand: with the lane up, against all plans without it.
    pub(super) now: f64,
    /// Joules of computing anew what it holds of the prompt, or would hold.
    pub(super) cells: f64,
    /// Joules, were the whole crowd there, or elsewhere.
    pub(super) crowd: f64,
}

impl Savings {
    /// A request would be so many joules cheaper with the lane than without it, `gap` seconds after the last one.
    /// `used`: it is up, or is brought up for this request.
    pub(super) fn learn(&mut self, saving: Saving, gap: f64, used: bool, price: &Price) {
        let Saving { now: saving, cells, crowd } = saving;
        if !saving.is_finite() {
            return;
        }
        if crowd.is_finite() {
            let crowd = crowd.clamp(0.0, MOST_SAVED);
            self.crowd = Some(self.crowd.map_or(crowd, |old| old + CROWD_STEP * (crowd - old)));
        }
        let cells = if cells.is_finite() { cells.clamp(0.0, MOST_SAVED) } else { 0.0 };
        self.recent.push_back((saving.clamp(-MOST_SAVED, MOST_SAVED), cells));
        if self.recent.len() > SAVINGS {
            self.recent.pop_front();
        }
        if used {
            self.forgone = 0.0;
            return;
        }
        let kept = (price.hold * gap.clamp(0.0, 1e9)).min(price.wake);
        self.forgone = (self.forgone + saving - kept).clamp(0.0, 1e9);
    }

    /// What it usually saves one of a crowd, if that is known.
    pub(super) fn of_crowd(&self) -> Option<f64> {
        self.crowd
    }

    /// What it would have saved the last requests, and what it held of their prompts; the oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.recent.iter().copied()
    }

    /// An earlier run saw these last, and this saving one of a crowd. What this one has seen goes before them.
    pub(super) fn restore(&mut self, savings: Vec<(f64, f64)>, crowd: Option<f64>) {
        if self.recent.is_empty() {
            self.recent = savings.into();
            self.crowd = crowd;
        }
    }

    /// What is left of the wake to be earned, once the savings that were forgone are counted.
    pub(super) fn left(&self, wake: f64) -> f64 {
        (wake - self.forgone).max(0.0)
    }

    /// What keeping and bringing up the lane is worth.
    pub(super) fn keep(&self, gaps: &Gaps, price: &Price) -> Keep {
        let Price { wake, hold, limit } = *price;
        if gaps.are_few() || self.recent.is_empty() {
            // What it would save at once is all that is known to be lost with it, and never more than bringing it up.
            let saved = self.recent.iter().map(|(saving, _)| saving.max(0.0)).sum::<f64>();
            let worth = match self.recent.len() {
                0 => wake,
                known => wake.min(saved / known as f64),
            };
            let idle = if hold > 0.0 { (worth / hold).min(limit) } else { limit };
            // Once the forgone savings are the wake's, nothing of it is left to be earned.
            let left = self.left(wake);
            let stays = if idle > 0.0 { 0.5 } else { 0.0 };
            return Keep { idle, wake: left, hold: 0.0, stays, worth };
        }
        let (mut v, mut best) = (0.0, (0.0, 0.0, 0.0, 0.0));
        for _ in 0..ROUNDS {
            best = gaps.best(v, hold, limit, EVER);
            let worth = |(saving, cells): &(f64, f64)| (saving.max(0.0) + best.1).min(wake + cells);
            let mut weight = 1.0;
            let (mut sum, mut all) = (0.0, 0.0);
            for saving in self.recent.iter().rev() {
                sum += weight * worth(saving);
                all += weight;
                weight *= FADE_SAVINGS;
            }
            let next: f64 = sum / all;
            let moved = (next - v).abs();
            v = next;
            if moved <= REST * wake {
                break;
            }
        }
        let (idle, _, within, kept) = best;
        let worth = gaps.best(v, hold, limit, 0.0).1;
        let (own, hold) = ((wake - within * v).max(0.0), hold * kept);
        // Habits that are no longer those of the last gaps: what was forgone is a fact.
        let own = own.min(self.left(wake));
        Keep { idle, wake: own, hold, stays: within, worth }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gaps(all: &[f64]) -> Gaps {
        let mut gaps = Gaps::default();
        all.iter().for_each(|gap| gaps.learn(*gap));
        gaps
    }

    fn saves(now: f64, cells: f64) -> Saving {
        Saving { now, cells, crowd: now }
    }

    fn savings(all: &[f64], price: &Price) -> Savings {
        let mut savings = Savings::default();
        all.iter().for_each(|saving| savings.learn(saves(*saving, 0.0), 0.0, true, price));
        savings
    }

    const PRICE: Price = Price { wake: 20.0, hold: 1.0, limit: 300.0 };

    #[test]
    fn a_dense_stream_keeps_the_lane_and_a_sparse_one_lets_it_go_at_once() {
        let savings = savings(&[8.0; 16], &PRICE);
        let dense = savings.keep(&gaps(&[2.0; 20]), &PRICE);
        assert!(dense.idle >= 2.0 && dense.wake < 0.1 && (dense.hold - 2.0).abs() < 0.01, "{dense:?}");
        let sparse = savings.keep(&gaps(&[60.0; 20]), &PRICE);
        assert_eq!(sparse, Keep { idle: 0.0, wake: 20.0, hold: 0.0, stays: 0.0, worth: 0.0 });
    }

    #[test]
    fn a_lane_is_worth_something_beside_others_where_somebody_comes_soon_after_them() {
        let savings = savings(&[8.0; 16], &PRICE);
        let one_by_one = savings.keep(&gaps(&[2.0; 20]), &PRICE);
        assert!(one_by_one.worth > 4.0, "{one_by_one:?}");
        // Many together, and then nobody for long.
        let mixed: Vec<f64> = (0..20).map(|i| if i % 5 == 4 { 400.0 } else { 0.0 }).collect();
        let crowds = savings.keep(&gaps(&mixed), &PRICE);
        assert!(crowds.stays > 0.5 && crowds.worth == 0.0, "{crowds:?}");
    }

    #[test]
    fn of_bursts_it_outlasts_the_short_gaps_and_not_the_long_ones() {
        let price = Price { wake: 20.0, hold: 1.0, limit: 300.0 };
        let mixed: Vec<f64> = (0..40).map(|i| if i % 5 == 4 { 200.0 } else { 1.0 + 0.01 * f64::from(i) }).collect();
        let keep = savings(&[8.0; 16], &price).keep(&gaps(&mixed), &price);
        assert!(keep.idle > 1.3 && keep.idle < 5.0, "{keep:?}");
        assert!(keep.wake > 0.0 && keep.wake < 20.0, "{keep:?}");
    }

    #[test]
    fn a_lane_that_saves_nothing_is_worth_nothing() {
        let keep = savings(&[-3.0; 16], &PRICE).keep(&gaps(&[2.0; 20]), &PRICE);
        assert_eq!(keep, Keep { idle: 0.0, wake: 20.0, hold: 0.0, stays: 0.0, worth: 0.0 });
    }

    #[test]
    fn one_that_costs_nothing_to_keep_is_kept_as_long_as_it_may_be() {
        let price = Price { hold: 0.0, limit: 100.0, ..PRICE };
        let keep = savings(&[5.0; 16], &price).keep(&gaps(&[90.0; 20]), &price);
        assert!(keep.idle >= 90.0 && keep.idle <= 100.0 && keep.wake < 0.1, "{keep:?}");
    }

    #[test]
    fn what_is_kept_for_some_time_is_found_by_those_who_come_within_it() {
        assert_eq!(gaps(&[]).within(1.0), 1.0);
        let mixed = gaps(&[2.0, 50.0, 2.0, 50.0]);
        assert!(mixed.within(1.0) == 0.0 && (mixed.within(10.0) - 0.5).abs() < 0.1, "{}", mixed.within(10.0));
        assert!(mixed.within(50.0) > 0.9 && mixed.within(50.0) < 1.0, "{}", mixed.within(50.0));
    }

    #[test]
    fn one_gap_is_no_promise_of_another() {
        let (one, many) = (gaps(&[2.0]).within(10.0), gaps(&[2.0; 10]).within(10.0));
        assert!(one > 0.5 && one < 0.7 && many > 0.98, "{one} {many}");
    }

    #[test]
    fn before_the_first_gap_it_is_a_ski_rental() {
        let mut savings = Savings::default();
        let gaps = gaps(&[]);
        assert_eq!(savings.keep(&gaps, &PRICE).idle, 20.0);
        let mut needed = Vec::new();
        for _ in 0..4 {
            needed.push(savings.keep(&gaps, &PRICE).wake);
            savings.learn(saves(8.0, 0.0), 1.0, false, &PRICE);
        }
        assert_eq!(needed, [20.0, 13.0, 6.0, 0.0]);
        savings.learn(saves(8.0, 0.0), 1.0, true, &PRICE);
        assert_eq!(savings.keep(&gaps, &PRICE).wake, 20.0, "it is up: its account begins anew");
    }

    #[test]
    fn before_the_first_gap_it_is_kept_for_no_more_than_it_would_save() {
        assert_eq!(savings(&[5.0; 3], &PRICE).keep(&gaps(&[]), &PRICE).idle, 5.0);
        assert_eq!(savings(&[50.0; 3], &PRICE).keep(&gaps(&[]), &PRICE).idle, 20.0);
        assert_eq!(savings(&[-5.0; 3], &PRICE).keep(&gaps(&[]), &PRICE).idle, 0.0);
    }

    #[test]
    fn what_a_lane_holds_of_prompts_is_worth_more_than_its_wake() {
        let gaps = gaps(&[60.0; 20]);
        let mut savings = Savings::default();
        (0..10).for_each(|_| savings.learn(saves(100.0, 90.0), 60.0, true, &PRICE));
        let keep = savings.keep(&gaps, &PRICE);
        assert!(keep.idle >= 60.0 && keep.wake == 0.0, "{keep:?}");
    }

    /// The cost of a policy over a known sequence, against the best in hindsight.
    #[test]
    fn on_a_stationary_stream_it_is_near_the_best_fixed_idle_time() {
        for mean in [3.0, 10.0, 15.0, 30.0, 100.0] {
            let all: Vec<f64> = (0..400u32)
                .map(|i| -mean * (f64::from(i.wrapping_mul(2_654_435_761) >> 8 & 0xffff) / 65_536.0 + 1e-5).ln())
                .collect();
            let cost = |idle: f64| -> f64 {
                all.iter()
                    .map(|gap| PRICE.hold * gap.min(idle) + if *gap > idle { 8.0f64.min(PRICE.wake) } else { 0.0 })
                    .sum()
            };
            let best = (0..400).map(|i| cost(f64::from(i))).fold(f64::MAX, f64::min);
            // Where it is not kept the request goes without the lane.
            let savings = savings(&[8.0; 16], &PRICE);
            let mut known = gaps(&all[..40]);
            let mut spent = 0.0;
            for gap in &all {
                spent += {
                    let idle = savings.keep(&known, &PRICE).idle;
                    PRICE.hold * gap.min(idle) + if *gap > idle { 8.0 } else { 0.0 }
                };
                known.learn(*gap);
            }
            assert!(spent <= 1.15 * best, "mean gap {mean}: {spent} against {best}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_answer_is_in_range(
            all in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), 0.0f64..1e5], 0..60),
            saved in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1e4f64..1e4], 0..30),
            wake in 0.0f64..1e4, hold in 0.0f64..100.0, limit in 0.0f64..1e6, up in any::<bool>(),
        ) {
            let price = Price { wake, hold, limit };
            let gaps = gaps(&all);
            let mut savings = Savings::default();
            saved.iter().zip(all.iter().cycle()).for_each(|(saving, gap)| savings.learn(saves(*saving, *gap), *gap, up, &price));
            let keep = savings.keep(&gaps, &price);
            prop_assert!(keep.idle >= 0.0 && keep.idle <= limit, "{:?}", keep);
            prop_assert!(keep.wake >= 0.0 && keep.wake <= wake * 1.000001, "{:?}", keep);
            prop_assert!(keep.hold >= 0.0 && keep.hold.is_finite());
        }
    }
}
