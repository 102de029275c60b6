//! What goes into one step: a token of every request that generates, and pieces of prompts.
//!
//! Pure. A prompt is cut into chunks so that those who generate are not kept waiting longer than one chunk takes;
//! with nobody generating, chunks are large, because large ones are cheaper per token.

/// What a running request has yet to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Tokens that are not in the key-value cache. At least 1.
    pub pending: u32,
    /// Its prompt is done: `pending` is 1, the token sampled last.
    pub decoding: bool,
}

/// The lane's limits, in tokens.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Prompt tokens in a step in which nobody generates.
    pub chunk: u32,
    /// Prompt tokens in a step in which someone does.
    pub chunk_shared: u32,
    /// All tokens in a step.
    pub batch: u32,
}

/// How many tokens of each request go into the step. The prompt at or after index `first` is served first; move it on
/// by one each step, so that no long prompt holds up a short one.
pub fn step(work: &[Work], limits: Limits, first: usize) -> Vec<u32> {
    let mut take = vec![0; work.len()];
    let mut room = limits.batch;
    for (take, _) in take.iter_mut().zip(work).filter(|(_, w)| w.decoding) {
        *take = room.min(1);
        room -= *take;
    }
    let shared = work.iter().any(|w| w.decoding);
    let mut room = room.min(if shared { limits.chunk_shared } else { limits.chunk }.max(1));
    for i in (0..work.len()).map(|k| (first + k) % work.len()).filter(|&i| !work[i].decoding) {
        take[i] = work[i].pending.min(room);
        room -= take[i];
    }
    take
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { chunk: 100, chunk_shared: 10, batch: 108 };

    fn prefill(pending: u32) -> Work {
        Work { pending, decoding: false }
    }

    const DECODE: Work = Work { pending: 1, decoding: true };

    #[test]
    fn alone_a_prompt_gets_the_large_chunk() {
        assert_eq!(step(&[prefill(250)], LIMITS, 0), [100]);
        assert_eq!(step(&[prefill(30), prefill(250)], LIMITS, 0), [30, 70]);
    }

    #[test]
    fn beside_others_a_small_one() {
        assert_eq!(step(&[prefill(250), DECODE, DECODE], LIMITS, 0), [10, 1, 1]);
    }

    #[test]
    fn prompts_take_turns() {
        let work = [prefill(250), DECODE, prefill(250)];
        assert_eq!(step(&work, LIMITS, 0), [10, 1, 0]);
        assert_eq!(step(&work, LIMITS, 1), [0, 1, 10]);
        assert_eq!(step(&work, LIMITS, 2), [0, 1, 10]);
        assert_eq!(step(&work, LIMITS, 3), [10, 1, 0]);
    }

    proptest! {
        #[test]
        fn no_limit_is_exceeded_and_something_is_done(
            work in prop::collection::vec((1u32..300, any::<bool>()), 1..16),
            chunk in 0u32..200, chunk_shared in 0u32..50, batch in 1u32..300, first in 0usize..100,
        ) {
            let work: Vec<Work> =
                work.into_iter().map(|(n, d)| Work { pending: if d { 1 } else { n }, decoding: d }).collect();
            let take = step(&work, Limits { chunk, chunk_shared, batch }, first);
            prop_assert!(take.iter().sum::<u32>() <= batch);
            prop_assert!(take.iter().sum::<u32>() >= 1);
            prop_assert!(take.iter().zip(&work).all(|(t, w)| *t <= w.pending));
            let prompts: u32 = take.iter().zip(&work).filter(|(_, w)| !w.decoding).map(|(t, _)| *t).sum();
            let shared = work.iter().any(|w| w.decoding);
            let most = if shared { chunk_shared } else { chunk };
            prop_assert!(prompts <= most.max(1));
        }
    }
}
