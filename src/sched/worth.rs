//! What a lane that holds the cells of a client's last request is worth to the requests that go on from there.
//!
//! A conversation goes on with a certain probability. The next request finds the cells where the lane is still up, and
//! pays for its new tokens alone; or it computes everything anew, where that is best in the long run: a lane that keeps
//! what it holds may be dear the first time and cheap for all that follow. With `s` the probability that there is a next
//! request, `p` that a lane is up then, `f` what a request takes that finds its cells there, and `w` what one by a way takes
//! that finds nothing, the joules of a conversation that goes on with and without cells are
//!
//! ```text
//! without = min over ways of (w + s·with(lanes of the way)),   with(lane) = p·min(f + s·with(lane), without) + (1 − p)·without
//! ```
//!
//! which is a ski rental with what is known of the odds: looked at one request ahead only, each of them would be cheapest
//! on a lane that forgets, for ever.
//!
//! It knows nothing of lanes: numbers in, numbers out. What always holds: `0 ≤ worth`, and it is finite.

/// Rounds of the iteration. What a way costs is always counted in full, so that the first rounds tell most of it.
const ROUNDS: usize = 8;
/// No conversation is thought to go on more surely than this.
const SUREST: f64 = 0.92;

/// A lane that may hold the cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    /// How likely it is still up when the next request comes.
    pub(super) stays: f64,
    /// Joules of a request that finds its cells here.
    pub(super) found: f64,
}

/// How a request may run that finds nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anew {
    /// Its joules.
    pub(super) joules: f64,
    /// Which lanes hold its cells afterwards: that of the prompt and that of the answer.
    pub(super) holds: (usize, usize),
}

/// By lane, the joules that later requests are thought to save because it holds the cells of this one. `again`: how likely
/// there is a next request.
pub(super) fn worth(again: f64, holders: &[Holder], ways: &[Anew]) -> Vec<f64> {
    let again = if again.is_finite() { again.clamp(0.0, SUREST) } else { 0.0 };
    let least = ways.iter().map(|way| way.joules).filter(|joules| joules.is_finite()).fold(f64::INFINITY, f64::min);
    if !least.is_finite() || again <= 0.0 {
        return vec![0.0; holders.len()];
    }
    let with = |holder: &Holder, without: f64| {
        let stays = if holder.stays.is_finite() { holder.stays.clamp(0.0, 1.0) } else { 0.0 };
        let goes_on = (stays * holder.found + (1.0 - stays) * without) / (1.0 - again * stays);
        if goes_on < without {
            goes_on
        } else {
            without
        }
    };
    let mut without = least.max(0.0) / (1.0 - again);
    for _ in 0..ROUNDS {
        let after = |at: usize| holders.get(at).map_or(without, |holder| with(holder, without));
        let through = |way: &Anew| way.joules + again * after(way.holds.0).min(after(way.holds.1));
        without = ways.iter().map(through).filter(|joules| joules.is_finite()).fold(without, f64::min).max(0.0);
    }
    holders.iter().map(|holder| (again * (without - with(holder, without))).clamp(0.0, 1e9)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prompts are twice as dear on the first lane, which stays; the second goes after each request.
    const HOLDERS: [Holder; 2] = [Holder { stays: 1.0, found: 3.0 }, Holder { stays: 0.0, found: 3.0 }];
    const WAYS: [Anew; 2] = [Anew { joules: 63.0, holds: (0, 0) }, Anew { joules: 33.0, holds: (1, 1) }];

    /// What the first request of a conversation is thought to take, by way.
    fn scores(again: f64) -> [f64; 2] {
        let worth = worth(again, &HOLDERS, &WAYS);
        [WAYS[0].joules - worth[0], WAYS[1].joules - worth[1]]
    }

    #[test]
    fn a_lane_that_keeps_what_it_holds_is_worth_a_dear_beginning_where_conversations_are_long() {
        let [keeps, forgets] = scores(0.85);
        assert!(keeps < forgets, "{keeps} {forgets}");
        let [keeps, forgets] = scores(0.3);
        assert!(keeps > forgets, "{keeps} {forgets}");
    }

    #[test]
    fn cells_are_worth_what_the_next_request_saves_where_nothing_is_kept_anyway() {
        let holders = [Holder { stays: 1.0, found: 1.0 }];
        let ways = [Anew { joules: 11.0, holds: (0, 0) }];
        // Computed anew once, they are there as well.
        assert!((worth(0.5, &holders, &ways)[0] - 5.0).abs() < 0.1, "{:?}", worth(0.5, &holders, &ways));
        assert_eq!(worth(0.0, &holders, &ways), [0.0]);
    }

    #[test]
    fn a_lane_that_goes_is_worth_nothing_for_what_it_holds() {
        assert_eq!(worth(0.8, &HOLDERS, &WAYS)[1], 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_answer_is_finite(
            again in prop_oneof![Just(f64::NAN), -1.0f64..2.0],
            lanes in prop::collection::vec((-0.5f64..1.5, prop_oneof![Just(f64::INFINITY), 0.0f64..1e6]), 0..4),
            ways in prop::collection::vec((prop_oneof![Just(f64::NAN), 0.0f64..1e6], 0usize..5, 0usize..5), 0..6),
        ) {
            let lanes: Vec<Holder> = lanes.into_iter().map(|(stays, found)| Holder { stays, found }).collect();
            let ways: Vec<Anew> = ways.into_iter().map(|(joules, a, b)| Anew { joules, holds: (a, b) }).collect();
            let all = worth(again, &lanes, &ways);
            prop_assert_eq!(all.len(), lanes.len());
            prop_assert!(all.iter().all(|worth| worth.is_finite() && *worth >= 0.0), "{:?}", all);
        }
    }
}
