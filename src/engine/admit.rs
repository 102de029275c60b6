//! A request's way in: its prompt's tokens, the check that it can ever run, and its start when there is room.
//!
//! What always holds: a request that is admitted has its cells reserved; requests start in the order they came, so
//! that a large one is not passed over for ever; nothing is shortened silently.

use std::time::Instant;

use super::llama::Token;
use super::prompt::{self, Tokens};
use super::sampling::Sampler;
use super::serve::{Server, GROWTH};
use super::slots::Slot;
use super::text::TextStream;
use crate::error::{Code, Error, Result};
use crate::lane::{Finish, Job, Prompt, SequenceState, Usage};

/// A request that waits for cells.
pub struct Waiting {
    pub job: Box<Job>,
    pub prompt: Vec<Token>,
    /// Most tokens, prompt and answer.
    pub limit: u32,
    /// Cells to reserve at first.
    pub need: u32,
    /// Its prompt is computed for another lane.
    pub export: bool,
    /// Its prompt, computed by another lane.
    pub import: Option<SequenceState>,
}

impl Server {
    /// Tokenizes a request and checks that it can ever run.
    pub(super) fn prepare(&self, job: Box<Job>) -> Result<Waiting> {
        let longest = self.longest;
        let too_long = |message| Err(Error::new(Code::ContextLengthExceeded, message));
        let prompt = match self.tokenize(&job.prompt)? {
            Tokens::All(tokens) => tokens,
            Tokens::TooMany(least) => {
                return too_long(format!(
                    "the prompt has more than {least} tokens and the context holds {longest}, the answer included: \
                     shorten the prompt, or give the model a larger context"
                ));
            }
        };
        let len = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        if len == 0 {
            return Err(Error::new(
                Code::InvalidRequest,
                "the prompt is empty and this model has no token to begin with",
            )
            .at("prompt"));
        }
        if len >= longest {
            return too_long(format!(
                "the prompt has {len} tokens and the context holds {longest}, the answer included: shorten the prompt, \
                 or give the model a larger context"
            ));
        }
        let limit = match job.max_tokens {
            Some(max) if job.strict && len.saturating_add(max) > longest => {
                return too_long(format!(
                    "the prompt's {len} tokens and max_tokens {max} do not fit the context of {longest}: lower \
                     max_tokens to {} or shorten the prompt",
                    longest - len
                ));
            }
            Some(max) => len.saturating_add(max).min(longest),
            None => longest,
        };
        // What the client asked for is reserved at once, so that the answer cannot run out of cells. Otherwise a fair
        // share; more is asked for on the way.
        let need = match job.strict {
            true => limit,
            false => limit.min((len + GROWTH).max(self.n_ctx / self.n_slots.max(1))),
        };
        Ok(Waiting { job, prompt, limit, need, export: false, import: None })
    }

    fn tokenize(&self, prompt: &Prompt) -> Result<Tokens> {
        let most = self.longest as usize;
        let failed = |e| Error::new(Code::InvalidRequest, format!("cannot tokenize the prompt: {e}")).at("prompt");
        match prompt {
            Prompt::Text(text) => prompt::tokenize(&self.model, text, true, false, most).map_err(failed),
            Prompt::Chat(messages) => {
                let template = match &self.template {
                    Some(Ok(template)) => template,
                    Some(Err(e)) => return Err(e.clone()),
                    None => {
                        return Err(Error::new(
                            Code::NoChatTemplate,
                            "this model has no chat template; use /v1/completions",
                        ))
                    }
                };
                let text = template.render(messages)?;
                let mut tokens = prompt::tokenize(&self.model, &text, false, true, most).map_err(failed)?;
                if let Tokens::All(tokens) = &mut tokens {
                    // Many templates write BOS themselves; it belongs there once.
                    if let Some(bos) = self.model.bos().filter(|b| self.model.adds_bos() && tokens.first() != Some(b)) {
                        tokens.insert(0, bos);
                    }
                }
                Ok(tokens)
            }
        }
    }

    /// Starts waiting requests, in order, as far as slots and cells allow.
    pub(super) fn admit(&mut self) {
        while self.slots.len() < self.n_slots as usize {
            let Some(waiting) = self.waiting.front() else { return };
            // What another lane has computed is there as a whole.
            let (tenant, tokens) = (waiting.job.tenant, &waiting.prompt);
            let follows = match waiting.import {
                None => self.source(tenant, tokens, self.cells.finds(tenant, tokens), self.slots.len()),
                Some(_) => None,
            };
            let beyond = follows.map_or(0, |follows| follows.tokens);
            let Some(place) = self.cells.admit(tenant, tokens, waiting.need, beyond) else { return };
            let Some(Waiting { job, prompt, limit, need, export, import }) = self.waiting.pop_front() else { return };
            for sequence in place.evicted {
                self.context.drop_sequence(sequence);
            }
            let mut keep = place.keep;
            if !self.context.trim(place.sequence, keep) {
                self.context.drop_sequence(place.sequence);
                keep = 0;
            }
            let mut handover_us = 0;
            if let Some(state) = &import {
                let begun = Instant::now();
                keep = self.import(place.sequence, &prompt, state);
                handover_us = begun.elapsed().as_micros() as u64;
            }
            self.seeds = self.seeds.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let len = prompt.len() as u32;
            let (n_vocab, seed) = (self.model.n_vocab(), (self.seeds >> 32) as u32);
            let sampler = Sampler::new(&job.sampling, n_vocab, &self.ends, &prompt, limit - len, seed);
            let sampler = match sampler {
                Ok(sampler) => sampler,
                Err(e) => {
                    self.cells.release(place.sequence, need, job.tenant, prompt[..keep as usize].to_vec());
                    self.done(job.id, Err(e), Usage::default());
                    continue;
                }
            };
            let mut slot = Slot {
                id: job.id,
                tenant: job.tenant,
                sequence: place.sequence,
                tokens: prompt,
                prompt_len: len,
                cached: keep,
                computed: keep,
                reserved: need,
                limit,
                export,
                handed_over: false,
                handover_us,
                sampler,
                text: TextStream::new(&job.stop),
                follows,
                started: Instant::now(),
                first_token: None,
                last_token: None,
                allowance_us: job.allowance_us,
                used_us: 0.0,
                decode_us: None,
                outcome: None,
            };
            if limit == len && !export {
                slot.end(Ok(Finish::Length));
            }
            if slot.follows.is_none() {
                (self.out)(slot.says_started());
            }
            self.slots.push(slot);
        }
    }
}
