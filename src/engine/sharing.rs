//! Requests of one tenant behind one long beginning, such as a system prompt: it is computed once.
//!
//! What has ended is found in [`cells`](super::cells). Here a request *follows* one that still runs: until that one has
//! computed what both begin with it takes no part in steps, and then both hold the same cells. Nothing is saved by
//! computing the same side by side, and it would keep both waiting twice as long.
//!
//! What always holds: a request follows one that was admitted before it, so that there is no circle; one whose source ends
//! keeps what that one has computed, and goes on by itself or behind another.

use std::time::Instant;

use super::cells::common;
use super::llama::Token;
use super::serve::Server;
use super::slots::{Follows, Slot};
use crate::lane::{sharing, Tenant};

impl Server {
    /// Which of the first `before` slots this prompt, of which `have` tokens are there, had best follow, and for how many.
    pub(super) fn source(&self, tenant: Tenant, prompt: &[Token], have: u32, before: usize) -> Option<Follows> {
        if !self.can_trim {
            return None;
        }
        // The logits after its last token are needed.
        let usable = &prompt[..prompt.len().saturating_sub(1)];
        let gain = |slot: &Slot| {
            let shared = common(&slot.tokens, usable) as u32;
            // One that has ended computes no more.
            let shared = if slot.outcome.is_some() { shared.min(slot.computed) } else { shared };
            let tokens = sharing::gains(prompt.len() as u32, shared, slot.computed, have)?;
            Some(Follows { id: slot.id, tokens })
        };
        let all = self.slots[..before].iter().filter(|slot| slot.tenant == tenant).filter_map(gain);
        // Of equals the first, which does not follow any of the others.
        all.rev().max_by_key(|follows| follows.tokens)
    }

    /// Gives those who follow what they wait for, once it is there; finds others for those whose source has ended.
    pub(super) fn follow(&mut self) {
        for i in 0..self.slots.len() {
            while let Some(Follows { id, tokens }) = self.slots[i].follows.filter(|_| self.slots[i].outcome.is_none()) {
                let (before, rest) = self.slots.split_at_mut(i);
                let slot = &mut rest[0];
                let source = before.iter().find(|source| source.id == id);
                let there = source.map_or(0, |source| source.computed.min(tokens));
                if there < tokens && source.is_some_and(|source| source.outcome.is_none()) {
                    break;
                }
                if let Some(source) = source.filter(|_| there > slot.computed) {
                    self.context.drop_sequence(slot.sequence);
                    self.context.share(source.sequence, slot.sequence, there);
                    (slot.cached, slot.computed) = (there, there);
                }
                let slot = &self.slots[i];
                let next = match slot.computed < tokens {
                    true => self.source(slot.tenant, &slot.tokens, slot.computed, i),
                    false => None,
                };
                let slot = &mut self.slots[i];
                slot.follows = next;
                if next.is_none() {
                    slot.started = Instant::now();
                    (self.out)(slot.says_started());
                }
            }
        }
    }
}
