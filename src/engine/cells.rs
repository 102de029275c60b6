//! Who holds the key-value cache: cells reserved by running requests, and prefixes kept from finished ones.
//!
//! Pure accounting; the caller makes llama.cpp forget what is evicted here. What always holds: reserved and cached
//! cells together never exceed the cache, so a decode within its reservation always finds room; a prefix is only
//! ever found by the tenant that made it; a sequence is in one place: free, running, or cached.

use super::llama::{SeqId, Token};
use crate::lane::Tenant;

/// A prefix shorter than this share of the prompt is not worth the cached rest it would overwrite.
const MIN_SHARE: usize = 10;

/// The key-value cache's books.
pub struct Cells {
    total: u32,
    reserved: u32,
    free: Vec<SeqId>,
    cached: Vec<Cached>,
    /// Counts releases: the smallest is the least recently used.
    clock: u64,
    /// Whether the model can forget the end of a sequence and keep its beginning.
    can_trim: bool,
}

struct Cached {
    sequence: SeqId,
    tenant: Tenant,
    tokens: Vec<Token>,
    used: u64,
}

/// Tokens with which both begin.
pub fn common(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A request's place in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Its sequence.
    pub sequence: SeqId,
    /// Tokens of the prompt that are there already. The sequence must be trimmed to them.
    pub keep: u32,
    /// Sequences to forget first.
    pub evicted: Vec<SeqId>,
}

impl Cells {
    /// `total` cells, `sequences` sequences.
    pub fn new(total: u32, sequences: u32, can_trim: bool) -> Self {
        Cells {
            total,
            reserved: 0,
            free: (0..sequences as SeqId).rev().collect(),
            cached: Vec::new(),
            clock: 0,
            can_trim,
        }
    }

    /// Finds a place for a prompt and reserves `need` cells for it. A cached prefix is taken if it has more than `beyond`
    /// tokens. `None`: running requests hold too many.
    pub fn admit(&mut self, tenant: Tenant, prompt: &[Token], need: u32, beyond: u32) -> Option<Place> {
        if need > self.total - self.reserved || (self.free.is_empty() && self.cached.is_empty()) {
            return None;
        }
        let longest = self.longest_prefix(tenant, prompt).filter(|&(_, keep)| keep > beyond as usize);
        let (sequence, keep) = match longest {
            Some((i, keep)) => (Some(self.cached.swap_remove(i).sequence), keep),
            None => (None, 0),
        };
        self.reserved += need;
        let mut evicted = self.make_room();
        let sequence = sequence.or_else(|| self.free.pop()).or_else(|| {
            let lru = self.evict_oldest()?;
            evicted.push(lru);
            self.free.pop()
        })?;
        Some(Place { sequence, keep: keep as u32, evicted })
    }

    /// The cached prefix that saves most, and how many tokens of it. The prompt's last token is always left over: its
    /// logits are needed.
    fn longest_prefix(&self, tenant: Tenant, prompt: &[Token]) -> Option<(usize, usize)> {
        let usable = &prompt[..prompt.len().saturating_sub(1)];
        let common = |c: &Cached| {
            let n = common(&c.tokens, usable);
            if self.can_trim || n == c.tokens.len() {
                n
            } else {
                0
            }
        };
        self.cached
            .iter()
            .enumerate()
            .filter(|(_, c)| c.tenant == tenant)
            .map(|(i, c)| (i, common(c)))
            .filter(|&(_, n)| n > 0 && n * MIN_SHARE >= prompt.len())
            .max_by_key(|&(i, n)| (n, self.cached[i].used))
    }

    /// Reserves `more` cells for a running request. `None`: other running requests hold them.
    pub fn grow(&mut self, more: u32) -> Option<Vec<SeqId>> {
        if more > self.total - self.reserved {
            return None;
        }
        self.reserved += more;
        Some(self.make_room())
    }

    /// A request ended: frees its reservation and keeps `tokens`, what its sequence holds, for its tenant. With no
    /// tokens the sequence is free; the caller must have made llama.cpp forget it.
    pub fn release(&mut self, sequence: SeqId, reserved: u32, tenant: Tenant, tokens: Vec<Token>) {
        self.reserved -= reserved;
        if tokens.is_empty() {
            self.free.push(sequence);
        } else {
            self.clock += 1;
            self.cached.push(Cached { sequence, tenant, tokens, used: self.clock });
        }
        debug_assert!(self.held() <= self.total);
    }

    /// Tokens of this prompt that are cached, and worth taking.
    pub fn finds(&self, tenant: Tenant, prompt: &[Token]) -> u32 {
        self.longest_prefix(tenant, prompt).map_or(0, |(_, keep)| keep as u32)
    }

    /// Gives up all cached prefixes.
    pub fn evict_all(&mut self) -> Vec<SeqId> {
        std::iter::from_fn(|| self.evict_oldest()).collect()
    }

    fn held(&self) -> u32 {
        self.reserved + self.cached.iter().map(|c| c.tokens.len() as u32).sum::<u32>()
    }

    fn make_room(&mut self) -> Vec<SeqId> {
        let mut evicted = Vec::new();
        while self.held() > self.total {
            match self.evict_oldest() {
                Some(sequence) => evicted.push(sequence),
                None => break,
            }
        }
        evicted
    }

    fn evict_oldest(&mut self) -> Option<SeqId> {
        let oldest = (0..self.cached.len()).min_by_key(|&i| self.cached[i].used)?;
        let sequence = self.cached.swap_remove(oldest).sequence;
        self.free.push(sequence);
        Some(sequence)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Tenant = Tenant(1);
    const B: Tenant = Tenant(2);

    fn tokens(range: std::ops::Range<i32>) -> Vec<Token> {
        range.collect()
    }

    /// Runs a request that ends with its sequence holding `tokens`.
    fn run(cells: &mut Cells, tenant: Tenant, tokens: Vec<Token>) -> Place {
        let need = tokens.len() as u32;
        let place = cells.admit(tenant, &tokens, need, 0).unwrap();
        cells.release(place.sequence, need, tenant, tokens);
        place
    }

    #[test]
    fn a_prefix_is_found_by_its_tenant_alone_and_without_its_last_token() {
        let mut cells = Cells::new(100, 4, true);
        let first = run(&mut cells, A, tokens(0..20));
        assert_eq!(cells.admit(B, &tokens(0..20), 20, 0).unwrap().keep, 0);
        let again = cells.admit(A, &tokens(0..20), 20, 0).unwrap();
        assert_eq!((again.sequence, again.keep), (first.sequence, 19));
    }

    #[test]
    fn the_longest_wins_and_a_short_one_is_left_alone() {
        let mut cells = Cells::new(1000, 4, true);
        run(&mut cells, A, [tokens(0..5), tokens(500..540)].concat());
        let long = run(&mut cells, A, tokens(0..40));
        assert_eq!(
            cells.admit(A, &tokens(0..60), 60, 0).unwrap(),
            Place { sequence: long.sequence, keep: 40, evicted: vec![] }
        );
        // Five of 60 tokens would cost the other 40 of that entry.
        assert_eq!(cells.admit(A, &tokens(0..60), 60, 0).unwrap().keep, 0);
    }

    #[test]
    fn a_model_that_cannot_trim_continues_a_whole_prefix_or_nothing() {
        let mut cells = Cells::new(100, 4, false);
        run(&mut cells, A, tokens(0..20));
        assert_eq!(cells.admit(A, &tokens(0..15), 15, 0).unwrap().keep, 0);
        assert_eq!(cells.admit(A, &tokens(0..25), 25, 0).unwrap().keep, 20);
    }

    #[test]
    fn the_oldest_prefix_goes_first() {
        let mut cells = Cells::new(100, 8, true);
        let first = run(&mut cells, A, tokens(0..40));
        let second = run(&mut cells, A, tokens(100..140));
        assert_eq!(cells.admit(B, &tokens(200..230), 50, 0).unwrap().evicted, [first.sequence]);
        assert_eq!(cells.grow(30), Some(vec![second.sequence]));
        assert_eq!(cells.grow(30), None);
        assert_eq!(cells.grow(20), Some(vec![]));
    }

    #[test]
    fn a_cached_prefix_stays_where_a_running_request_has_a_longer_one() {
        let mut cells = Cells::new(100, 4, true);
        let first = run(&mut cells, A, tokens(0..20));
        let place = cells.admit(A, &tokens(0..30), 30, 20).unwrap();
        assert!(place.keep == 0 && place.sequence != first.sequence, "{place:?}");
        assert_eq!(cells.admit(A, &tokens(0..30), 30, 19).unwrap().sequence, first.sequence);
    }

    #[test]
    fn running_requests_are_waited_for() {
        let mut cells = Cells::new(100, 4, true);
        let place = cells.admit(A, &tokens(0..10), 60, 0).unwrap();
        assert_eq!(cells.admit(B, &tokens(0..10), 60, 0), None);
        cells.release(place.sequence, 60, A, Vec::new());
        assert!(cells.admit(B, &tokens(0..10), 60, 0).is_some());
    }

    #[test]
    fn a_cached_sequence_makes_way_when_no_other_is_left() {
        let mut cells = Cells::new(100, 1, true);
        let first = run(&mut cells, A, tokens(0..10));
        let second = cells.admit(B, &tokens(0..10), 10, 0).unwrap();
        assert_eq!((second.sequence, second.evicted), (first.sequence, vec![first.sequence]));
        assert_eq!(cells.admit(A, &tokens(0..10), 10, 0), None);
    }

    proptest! {
        #[test]
        fn never_over_the_total_and_every_sequence_in_one_place(
            ops in prop::collection::vec((0u8..4, 0u32..3, 1u32..40, 0i32..3), 1..60),
        ) {
            let mut cells = Cells::new(64, 5, true);
            let mut running: Vec<(SeqId, u32, Tenant, Vec<Token>)> = Vec::new();
            for (op, tenant, need, base) in ops {
                match op {
                    0 | 1 => {
                        let prompt = tokens(base..base + need as i32);
                        if let Some(place) = cells.admit(Tenant(tenant), &prompt, need, 0) {
                            prop_assert!(place.keep < need);
                            prop_assert!(running.iter().all(|r| r.0 != place.sequence));
                            running.push((place.sequence, need, Tenant(tenant), prompt));
                        }
                    }
                    2 if !running.is_empty() => {
                        let (seq, reserved, tenant, held) = running.remove(need as usize % running.len());
                        cells.release(seq, reserved, tenant, if base == 0 { Vec::new() } else { held });
                    }
                    _ => {
                        if let (Some(r), Some(_)) = (running.first_mut(), cells.grow(need)) {
                            r.1 += need;
                        } else if running.is_empty() {
                            // A reservation without an owner would leak.
                            cells.reserved = 0;
                        }
                    }
                }
                prop_assert!(cells.held() <= 64);
                prop_assert_eq!(cells.reserved, running.iter().map(|r| r.1).sum::<u32>());
                let mut all: Vec<SeqId> = cells.free.clone();
                all.extend(cells.cached.iter().map(|c| c.sequence));
                all.extend(running.iter().map(|r| r.0));
                all.sort_unstable();
                prop_assert_eq!(all, (0..5).collect::<Vec<SeqId>>());
            }
        }
    }
}
