//! The lane's loop: hear, admit, step, tell.
//!
//! Continuous batching: requests join and leave between steps, and every step serves all that run. One thread does
//! it all. What always holds: every `Start` is answered by exactly one `Done`, whatever happens in between; a step
//! never decodes outside its reservations; nothing runs while nobody asks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admit::Waiting;
use super::cells::Cells;
use super::llama::{Batch, Context, Decoded, Model, Token};
use super::mailbox::Mailbox;
use super::pauses::Pauses;
use super::plan::{self, Limits, Work};
use super::ration::Costs;
use super::sampling;
use super::slots::Slot;
use super::template::ChatTemplate;
use super::threads::Threads;
use super::OutFn;
use crate::error::{Code, Error, Result};
use crate::lane::{Finish, FromLane, LaneConfig, Pace, RequestId, Step, StepPart, ToLane, Usage};

/// Cells that an answer without `max_tokens` asks for at a time.
pub(super) const GROWTH: u32 = 256;

/// A long pause is slept in pieces, each of which counts as progress: the watch over the lane must not take it for hung.
const PIECE: Duration = Duration::from_millis(250);

/// Everything a lane needs to serve.
pub struct Server {
    pub model: Arc<Model>,
    pub context: Context,
    pub threads: Threads,
    pub mail: std::rc::Rc<Mailbox>,
    pub out: OutFn,
    pub template: Option<Result<ChatTemplate>>,
    pub cells: Cells,
    pub slots: Vec<Slot>,
    /// Of the configuration.
    pub limits: Limits,
    /// Of the pace.
    chunk: u32,
    pauses: Pauses,
    pub(super) costs: Costs,
    /// Cells of the cache.
    pub n_ctx: u32,
    /// Longest request: the cache, or what the model was trained for.
    pub longest: u32,
    /// Requests that run at once.
    pub n_slots: u32,
    /// The tokens that end an answer.
    pub(super) ends: Vec<Token>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) batch: Batch,
    /// Whether the model can forget the end of a sequence and keep its beginning.
    pub(super) can_trim: bool,
    /// See [`fingerprint`](super::handover::fingerprint).
    pub(super) model_id: u64,
    /// A probe is to be run once what runs has ended; until then nothing more is admitted.
    pub(super) probe_due: bool,
    scratch: sampling::Scratch,
    /// Where the next step begins to serve prompts.
    turn: usize,
    /// State of the generator of seeds for requests without one.
    pub(super) seeds: u64,
}

impl Server {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        config: &LaneConfig,
        model: Arc<Model>,
        context: Context,
        threads: Threads,
        mail: std::rc::Rc<Mailbox>,
        out: OutFn,
        template: Option<Result<ChatTemplate>>,
        sequences: u32,
        seeds: u64,
        model_id: u64,
    ) -> Server {
        let (trained, can_trim) = (model.n_ctx_train(), !model.is_recurrent());
        Server {
            cells: Cells::new(config.n_ctx, sequences, can_trim),
            can_trim,
            slots: Vec::new(),
            limits: Limits {
                chunk: config.prefill_chunk,
                chunk_shared: config.prefill_chunk_shared,
                batch: context.n_batch() as u32,
            },
            chunk: u32::MAX,
            pauses: Pauses::new(),
            costs: Costs::new(model.cell_cost(), config.device.is_gpu()),
            n_ctx: config.n_ctx,
            longest: if trained == 0 { config.n_ctx } else { config.n_ctx.min(trained) },
            n_slots: config.slots,
            ends: model.ends(),
            waiting: VecDeque::new(),
            batch: Batch::default(),
            model_id,
            probe_due: false,
            scratch: sampling::scratch(),
            turn: 0,
            seeds,
            model,
            context,
            threads,
            mail,
            out,
            template,
        }
    }

    /// Serves until told to quit, or until nobody is there to tell.
    pub fn run(mut self) {
        let mut mark = Instant::now();
        while !self.mail.quit() {
            while let Some(msg) = self.mail.next() {
                self.hear(msg);
            }
            self.retire();
            // The probe runs when nothing else does. A lane that always has work would never come to it.
            if !self.probe_due {
                self.admit();
            }
            // A prompt that was in the cache is there already.
            self.follow();
            self.hand_over();
            self.ration();
            self.retire();
            if self.slots.is_empty() && self.probe() {
                // Nobody's time.
                self.costs.wake();
                mark = Instant::now();
            } else if self.slots.is_empty() {
                mark = Instant::now();
                self.mail.wait();
                self.pauses.rested(mark.elapsed());
                self.costs.wake();
                mark = Instant::now();
            } else if let Some(pause) = self.pauses.due() {
                mark = Instant::now();
                self.mail.wait_for(pause.min(PIECE));
                self.pauses.rested(mark.elapsed());
                mark = Instant::now();
            } else {
                self.step();
                self.follow();
                self.hand_over();
                self.retire();
                self.pauses.worked(mark.elapsed());
                mark = Instant::now();
            }
        }
        self.shut_down();
    }

    /// Answers what still runs or waits.
    fn shut_down(&mut self) {
        while let Some(msg) = self.mail.next() {
            self.hear(msg);
        }
        for slot in &mut self.slots {
            slot.end(Ok(Finish::Cancelled));
        }
        self.retire();
        for waiting in std::mem::take(&mut self.waiting) {
            self.done(waiting.job.id, Ok(Finish::Cancelled), Usage::default());
        }
    }

    fn hear(&mut self, msg: ToLane) {
        match msg {
            ToLane::Start(job) => self.take(job.id, |lane| lane.prepare(job)),
            ToLane::Prefill(job) => self.take(job.id, |lane| lane.prepare_prefill(job)),
            ToLane::Resume(job, state) => self.take(job.id, |lane| lane.prepare_resume(job, state)),
            ToLane::Probe => self.probe_due = true,
            ToLane::Cancel(id) => {
                if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id) {
                    slot.end(Ok(Finish::Cancelled));
                } else if let Some(i) = self.waiting.iter().position(|w| w.job.id == id) {
                    self.waiting.remove(i);
                    self.done(id, Ok(Finish::Cancelled), Usage::default());
                }
            }
            ToLane::Pace(Pace { threads, prompt_threads, duty, chunk }) => {
                self.pauses.set(duty);
                self.threads.set(threads, prompt_threads, self.pauses.any(), &mut self.context);
                self.chunk = chunk.max(1);
            }
            ToLane::Allow { id, cpu_us } => {
                if let Some(slot) = self.slots.iter_mut().find(|s| s.id == id) {
                    slot.allowance_us = Some(cpu_us);
                } else if let Some(waiting) = self.waiting.iter_mut().find(|w| w.job.id == id) {
                    waiting.job.allowance_us = Some(cpu_us);
                }
            }
            // The mailbox has noted it; a second `Load` has no meaning.
            ToLane::Quit | ToLane::Load(_) => {}
        }
    }

    /// Queues a request once it is prepared, or says why it is not.
    fn take(&mut self, id: RequestId, prepare: impl FnOnce(&Server) -> Result<Waiting>) {
        let begun = Instant::now();
        match prepare(self) {
            Ok(waiting) => self.waiting.push_back(waiting),
            Err(e) => {
                self.report_refused(id, begun);
                self.done(id, Err(e), Usage::default());
            }
        }
    }

    /// One step of the model over what runs.
    fn step(&mut self) {
        let mut limits = self.limits;
        limits.chunk = limits.chunk.min(self.chunk);
        limits.chunk_shared = limits.chunk_shared.min(self.chunk);
        loop {
            // What has ended (`max_tokens` 0, no room) takes no part, nor does what another one computes.
            let works = |slot: &Slot| slot.outcome.is_none() && slot.follows.is_none() && slot.pending() > 0;
            let live: Vec<usize> = (0..self.slots.len()).filter(|&i| works(&self.slots[i])).collect();
            if live.is_empty() {
                return;
            }
            let work: Vec<Work> = live
                .iter()
                .map(|&i| &self.slots[i])
                .map(|slot| Work { pending: self.costs.affordable(slot), decoding: slot.decoding() })
                .collect();
            let take = plan::step(&work, limits, self.turn);
            let parts: Vec<(usize, u32)> = live.into_iter().zip(take).filter(|&(_, n)| n > 0).collect();
            self.threads.turn(parts.iter().any(|&(i, _)| !self.slots[i].decoding()), &mut self.context);
            let outputs = self.fill(&parts);
            let begun = Instant::now();
            self.mail.step_begins(parts.iter().map(|&(i, _)| self.slots[i].id));
            let measure = self.threads.begin();
            let decoded = self.context.decode(&mut self.batch);
            self.threads.end(measure, &mut self.context);
            self.mail.step_ends();
            match decoded {
                Decoded::Done => {
                    self.turn = self.turn.wrapping_add(1);
                    return self.tell(&parts, &outputs, begun);
                }
                // All of them were cancelled, or the lane ends: the messages are in the mailbox.
                Decoded::Aborted => {
                    self.undo(&parts);
                    return self.tell_lost(&parts, begun);
                }
                Decoded::NoRoom => {
                    // The books say there is room. Trust llama.cpp, and give it all that can be given.
                    for sequence in self.cells.evict_all() {
                        self.context.drop_sequence(sequence);
                    }
                    self.undo(&parts);
                    let prompts: u32 = parts.iter().filter(|&&(i, _)| !self.slots[i].decoding()).map(|&(_, n)| n).sum();
                    if prompts > 1 {
                        limits.chunk = prompts / 2;
                        limits.chunk_shared = limits.chunk;
                    } else if let Some(&(youngest, _)) = parts.last() {
                        self.slots[youngest].end(Err(Error::new(
                            Code::EngineFailed,
                            "the key-value cache has no room left: lower max_tokens, or give the model a larger context",
                        )));
                    }
                }
                Decoded::Failed(status) => {
                    self.undo(&parts);
                    for &(i, _) in &parts {
                        self.slots[i].end(Err(Error::new(
                            Code::EngineFailed,
                            format!("llama.cpp could not compute this step (status {status}); the log says more"),
                        )));
                    }
                    return self.tell_lost(&parts, begun);
                }
            }
        }
    }

    /// Sees to a cell for the token sampled last. `false`: running requests hold them all, so that the context is at
    /// its end for this one.
    fn reserve(&mut self, i: usize) -> bool {
        let slot = &mut self.slots[i];
        let needed = slot.tokens.len() as u32;
        if needed <= slot.reserved {
            return true;
        }
        for more in [GROWTH.min(slot.limit - slot.reserved), needed - slot.reserved] {
            if let Some(evicted) = self.cells.grow(more) {
                slot.reserved += more;
                for sequence in evicted {
                    self.context.drop_sequence(sequence);
                }
                return true;
            }
        }
        false
    }

    /// Puts the step's tokens into the batch; gives the batch's index of each part's last token where its logits are
    /// needed.
    fn fill(&mut self, parts: &[(usize, u32)]) -> Vec<Option<usize>> {
        self.batch.clear();
        let mut outputs = Vec::with_capacity(parts.len());
        for &(i, n) in parts {
            let slot = &self.slots[i];
            let end = slot.computed + n;
            let mut output = None;
            for position in slot.computed..end {
                let last = position + 1 == slot.tokens.len() as u32;
                let index = self.batch.push(slot.tokens[position as usize], position, slot.sequence, last);
                output = last.then_some(index);
            }
            outputs.push(output);
        }
        outputs
    }

    /// Forgets what a step that did not end may have left in the key-value cache.
    fn undo(&mut self, parts: &[(usize, u32)]) {
        for &(i, _) in parts {
            let slot = &mut self.slots[i];
            if !self.context.trim(slot.sequence, slot.computed) {
                self.context.drop_sequence(slot.sequence);
                slot.computed = 0;
            }
        }
    }

    /// Says what a step took that brought nothing: who had it begun pays for it.
    fn tell_lost(&mut self, parts: &[(usize, u32)], begun: Instant) {
        let part = |&(i, n): &(usize, u32)| {
            let slot = &self.slots[i];
            let (prefill, decode) = if slot.decoding() { (0, n) } else { (n, 0) };
            StepPart { id: slot.id, prefill, decode, context: slot.computed + n }
        };
        let parts = parts.iter().map(part).collect();
        self.report(Step { parts, ..Step::default() }, begun);
    }

    /// Samples, and says what the step brought.
    fn tell(&mut self, parts: &[(usize, u32)], outputs: &[Option<usize>], begun: Instant) {
        let mut step = Step::default();
        for (&(i, n), output) in parts.iter().zip(outputs) {
            let slot = &mut self.slots[i];
            let decoding = slot.decoding();
            slot.computed += n;
            let (prefill, decode) = if decoding { (0, n) } else { (n, 0) };
            step.parts.push(StepPart { id: slot.id, prefill, decode, context: slot.computed });
            let Some(index) = *output else { continue };
            let text = match self.context.logits(index) {
                Some(logits) => slot.advance(&self.model, logits, &mut self.scratch, Instant::now()),
                None => Err(Error::new(Code::EngineFailed, "llama.cpp gave no logits for this step")),
            };
            match text {
                Ok(mut text) => {
                    if self.slots[i].outcome.is_none() && !self.reserve(i) {
                        text += &self.slots[i].text.finish();
                        self.slots[i].end(Ok(Finish::Length));
                    }
                    if !text.is_empty() {
                        step.text.push((self.slots[i].id, text));
                    }
                }
                Err(e) => slot.end(Err(e)),
            }
        }
        self.report(step, begun);
    }

    /// Lets go of what has ended; its computed tokens stay for its tenant's next request, and for those that follow it.
    fn retire(&mut self) {
        self.follow();
        let now = Instant::now();
        let mut i = 0;
        while i < self.slots.len() {
            if self.slots[i].outcome.is_none() {
                i += 1;
                continue;
            }
            let mut slot = self.slots.remove(i);
            let usage = slot.usage(now);
            let result = slot.outcome.take().unwrap_or(Ok(Finish::Cancelled));
            if result.is_err() || slot.computed == 0 {
                self.context.drop_sequence(slot.sequence);
                slot.computed = 0;
            }
            slot.tokens.truncate(slot.computed as usize);
            self.cells.release(slot.sequence, slot.reserved, slot.tenant, slot.tokens);
            if !slot.handed_over {
                self.done(slot.id, result, usage);
            }
        }
    }

    pub(super) fn done(&self, id: RequestId, result: Result<Finish>, usage: Usage) {
        (self.out)(FromLane::Done { id, result, usage });
    }
}
