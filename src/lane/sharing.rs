//! When a request had best wait for another one that computes what both prompts begin with: a rule for lanes, and for the
//! simulator's. Pure.

/// A wait saves so many tokens at least, and this part of the prompt: less may well fit one step together.
const LEAST: u32 = 32;
const PART: u32 = 4;

/// How many tokens a prompt of `len` had best take from a request that begins with the same `shared` tokens, of which it has
/// computed `computed`. `have`: what is there without it.
pub fn gains(len: u32, shared: u32, computed: u32, have: u32) -> Option<u32> {
    let there = shared.min(computed);
    let worth_a_wait = there.max(have).saturating_add(LEAST.max(len / PART));
    if shared >= worth_a_wait {
        Some(shared)
    } else {
        Some(there).filter(|there| *there > have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_only_what_is_long_is_waited_for() {
        assert_eq!(gains(100, 0, 0, 0), None);
        assert_eq!(gains(100, 3, 50, 0), Some(3));
        assert_eq!(gains(100, 60, 0, 0), Some(60));
        assert_eq!(gains(100, 60, 59, 0), Some(59));
        // The beginning of any chat.
        assert_eq!(gains(20, 5, 0, 0), None);
        assert_eq!(gains(1000, 60, 0, 0), None);
        assert_eq!(gains(1000, 60, 40, 0), Some(40));
        // Of a request that has ended there is nearly as much.
        assert_eq!(gains(100, 60, 0, 50), None);
        assert_eq!(gains(100, 60, 50, 50), None);
        assert_eq!(gains(100, 90, 0, 50), Some(90));
    }
}
