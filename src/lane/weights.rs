//! How a step's cost is split over its parts.
//!
//! Pure. The engine splits CPU time by it where a request has an allowance, the ledger joules: they must not disagree.
//!
//! A token costs the model's matrices once, 2 floating-point operations for each parameter, and attention to each cell
//! it sees, 4·n_embd operations per layer (n_embd multiplications and additions each for the scores and for the values;
//! Kaplan et al., "Scaling laws for neural language models", arXiv 2001.08361, table 1). A token that sees c cells
//! therefore costs 1 + c·k, k = 2·n_embd·n_layer / parameters, in units of a token without context. Reading the weights
//! from memory, which decides the time of a small batch, is the same for all tokens of a step and is shared alike.

use super::StepPart;

/// k for a model with this many parameters: what a cell of context adds to the cost of a token, in tokens without
/// context. 0 to 1; 1/4096 where the shape is not known, which is about that of a model of 0.5 to 1 billion parameters.
pub fn cell_cost(n_embd: u64, n_layer: u64, parameters: u64) -> f32 {
    if n_embd == 0 || n_layer == 0 || parameters == 0 {
        return 1.0 / 4096.0;
    }
    (2.0 * n_embd as f32 * n_layer as f32 / parameters as f32).min(1.0)
}

/// What each part weighs in the step, as shares that sum to 1 (none for no parts): n tokens with c cells occupied after
/// the step see c - (n - 1)/2 cells on average and weigh n·(1 + k·(c - (n - 1)/2)). Parts that have no tokens get
/// nothing, unless none has any: then they share alike.
///
/// `cell_cost` is the lane's [`LaneInfo::cell_cost`](super::LaneInfo::cell_cost); what is no number, or negative,
/// counts as 0.
pub fn step_weights(parts: &[StepPart], cell_cost: f32) -> Vec<f64> {
    let weights: Vec<f64> =
        parts.iter().map(|p| tokens_weight(p.prefill.saturating_add(p.decode), p.context, cell_cost)).collect();
    let sum: f64 = weights.iter().sum();
    if sum > 0.0 {
        weights.into_iter().map(|w| w / sum).collect()
    } else {
        vec![1.0 / parts.len().max(1) as f64; parts.len()]
    }
}

/// The weight of `tokens` tokens after which `context` cells are occupied, in tokens without context.
pub fn tokens_weight(tokens: u32, context: u32, cell_cost: f32) -> f64 {
    let k = if cell_cost > 0.0 { f64::from(cell_cost.min(1.0)) } else { 0.0 };
    let n = f64::from(tokens);
    n * (1.0 + k * (f64::from(context) - (n - 1.0) / 2.0).max(0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lane::RequestId;

    fn part(prefill: u32, decode: u32, context: u32) -> StepPart {
        StepPart { id: RequestId(1), prefill, decode, context }
    }

    #[test]
    fn tokens_without_context_weigh_alike_and_context_adds_to_it() {
        assert_eq!(step_weights(&[part(3, 0, 3), part(0, 1, 9)], 0.0), [0.75, 0.25]);
        // 1 + 4095/4096 + 1/4096 = 2 against 1 + 1/4096.
        let weights = step_weights(&[part(0, 1, 4096), part(0, 1, 1)], 1.0 / 4096.0);
        assert!((weights[0] / weights[1] - 2.0).abs() < 1e-3, "{weights:?}");
    }

    #[test]
    fn a_chunk_weighs_as_much_as_its_tokens_one_by_one() {
        let k = cell_cost(896, 24, 494_000_000);
        let one_by_one: f64 = (101..=164).map(|context| tokens_weight(1, context, k)).sum();
        assert!((tokens_weight(64, 164, k) / one_by_one - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_constant_is_that_of_the_models_shape() {
        // Qwen2.5-0.5B: 896 wide, 24 layers.
        assert!((1.0 / cell_cost(896, 24, 494_000_000) - 11_486.0).abs() < 1.0);
        assert_eq!(cell_cost(0, 24, 1), 1.0 / 4096.0);
    }

    #[test]
    fn those_without_tokens_share_only_where_nobody_has_any() {
        assert!(step_weights(&[], 0.1).is_empty());
        assert_eq!(step_weights(&[part(0, 0, 5), part(0, 0, 0)], 0.1), [0.5, 0.5]);
        assert_eq!(step_weights(&[part(0, 0, 5), part(1, 0, 1)], 0.1), [0.0, 1.0]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one(
            parts in prop::collection::vec((any::<u16>(), 0u32..2, any::<u32>()), 1..20), k in any::<f32>(),
        ) {
            let parts: Vec<StepPart> = parts.into_iter().map(|(p, d, c)| part(u32::from(p), d, c)).collect();
            let weights = step_weights(&parts, k);
            prop_assert!(weights.iter().all(|w| (0.0..=1.0).contains(w)), "{:?}", weights);
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
