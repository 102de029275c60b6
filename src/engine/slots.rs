//! A slot: one running request, from its prompt's tokens to its last.
//!
//! It knows what is computed, what is sampled and what is sent; it calls nothing of llama.cpp but its sampler.

use std::time::Instant;

use super::llama::{Model, SeqId, Token};
use super::sampling::{Sampler, Scratch};
use super::text::TextStream;
use crate::error::Result;
use crate::lane::{Finish, FromLane, RequestId, Tenant, Usage};

/// Another request computes so many tokens with which this one's prompt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    pub id: RequestId,
    pub tokens: u32,
}

/// A running request.
pub struct Slot {
    pub id: RequestId,
    pub tenant: Tenant,
    pub sequence: SeqId,
    /// The prompt and what was generated.
    pub tokens: Vec<Token>,
    pub prompt_len: u32,
    /// Of the prompt, found in the cache.
    pub cached: u32,
    /// Tokens in the key-value cache: a prefix of `tokens`.
    pub computed: u32,
    /// Cells reserved.
    pub reserved: u32,
    /// `tokens` never grows beyond this.
    pub limit: u32,
    /// Only its prompt is computed, but the last token, and handed over.
    pub export: bool,
    /// That was done: its end has been told.
    pub handed_over: bool,
    /// Time that giving its state out, or taking it in, took.
    pub handover_us: u64,
    pub sampler: Sampler,
    pub text: TextStream,
    /// Where the beginning of its prompt comes from; until then it takes no part.
    pub follows: Option<Follows>,
    pub started: Instant,
    pub first_token: Option<Instant>,
    pub last_token: Option<Instant>,
    /// CPU time it may use, in microseconds; `None`: any.
    pub allowance_us: Option<u64>,
    /// CPU time it used.
    pub used_us: f64,
    /// CPU time of its last decoded token.
    pub decode_us: Option<f64>,
    /// Set when it ended; it takes no further part.
    pub outcome: Option<Result<Finish>>,
}

impl Slot {
    /// Tokens that are to be computed and are not in the key-value cache.
    pub fn pending(&self) -> u32 {
        (self.tokens.len() as u32 - self.computed).saturating_sub(u32::from(self.export))
    }

    /// Whether the prompt is done.
    pub fn decoding(&self) -> bool {
        self.tokens.len() as u32 > self.prompt_len
    }

    /// It has begun.
    pub fn says_started(&self) -> FromLane {
        FromLane::Started { id: self.id, prompt_tokens: self.prompt_len, cached_tokens: self.cached }
    }

    /// Ends it; the first end counts.
    pub fn end(&mut self, outcome: Result<Finish>) {
        self.outcome.get_or_insert(outcome);
    }

    /// Samples the next token from the logits after the last one; gives the text that may be sent. May end the slot.
    pub fn advance(
        &mut self,
        model: &Model,
        logits: &mut [f32],
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<String> {
        let token = self.sampler.sample(logits, scratch)?;
        self.first_token.get_or_insert(now);
        if model.is_eog(token) {
            self.end(Ok(Finish::Stop));
            return Ok(self.text.finish());
        }
        self.last_token = Some(now);
        self.tokens.push(token);
        let mut bytes = Vec::new();
        model.piece(token, &mut bytes);
        let mut text = self.text.push(&bytes);
        if self.text.stopped() {
            self.end(Ok(Finish::Stop));
        } else if self.tokens.len() as u32 >= self.limit {
            text += &self.text.finish();
            self.end(Ok(Finish::Length));
        }
        Ok(text)
    }

    /// Counts and times so far.
    pub fn usage(&self, now: Instant) -> Usage {
        let us = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as u64;
        Usage {
            prompt_tokens: self.prompt_len,
            cached_tokens: self.cached,
            completion_tokens: self.tokens.len() as u32 - self.prompt_len,
            prefill_us: us(self.started, self.first_token.unwrap_or(now)),
            decode_us: self.first_token.zip(self.last_token).map_or(0, |(first, last)| us(first, last)),
            handover_us: self.handover_us,
        }
    }
}
