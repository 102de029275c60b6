//! What each request used of the process' CPU time (on a GPU, of the time of its steps), and the end of those that used up their allowance.
//!
//! A request ends *before* the step that would take it beyond its allowance, judged by its last one. A piece of a prompt
//! is made smaller where that keeps it within: what was computed of a prompt stays for its tenant's next request, so it
//! is not lost. So a request overruns by at most one step, or one piece of its prompt where none was measured yet.
//!
//! What always holds: the CPU times of all steps told sum to what the process used while it had work.

use std::time::{Duration, Instant};

use super::governor::Sample;
use super::serve::Server;
use super::slots::Slot;
use crate::lane::{step_weights, tokens_weight, Finish, FromLane, RequestId, Step, StepPart};

/// CPU time of a refused request that is worth telling.
const REFUSAL: Duration = Duration::from_micros(100);

/// What computing costs.
pub(super) struct Costs {
    /// The process' CPU time up to which it was told; on a GPU, the time of all steps.
    told: Duration,
    /// It computes on a GPU, whose work the process' CPU time does not show.
    gpu: bool,
    /// See [`crate::lane::LaneInfo::cell_cost`].
    cell: f32,
    /// CPU time of a token's decoding, of the request that decoded last, in microseconds.
    decode: Option<f64>,
    /// CPU time of a prompt's token without context, in microseconds.
    prefill: Option<f64>,
}

impl Costs {
    pub(super) fn new(cell: f32, gpu: bool) -> Costs {
        Costs { told: if gpu { Duration::ZERO } else { Sample::now().cpu() }, gpu, cell, decode: None, prefill: None }
    }

    /// It has work again: what was used meanwhile is nobody's.
    pub(super) fn wake(&mut self) {
        if !self.gpu {
            self.told = Sample::now().cpu();
        }
    }

    /// Microseconds since it was last told, of which the last step took `step`.
    fn take(&mut self, step: Duration) -> u64 {
        let used = if self.gpu { step } else { Sample::now().cpu().saturating_sub(self.told) };
        let us = used.as_micros() as u64;
        // What is less than a microsecond is told with the next.
        self.told += Duration::from_micros(us);
        us
    }

    /// What this slot's next token costs, as far as is known.
    fn next(&self, slot: &Slot) -> f64 {
        if slot.decoding() {
            slot.decode_us.or(self.decode).unwrap_or(0.0)
        } else {
            self.prefill.unwrap_or(0.0) * tokens_weight(1, slot.computed + 1, self.cell)
        }
    }

    /// How many of its pending tokens this slot may compute at once.
    pub(super) fn affordable(&self, slot: &Slot) -> u32 {
        let pending = slot.pending();
        let (Some(allowance), Some(token), false) = (slot.allowance_us, self.prefill, slot.decoding()) else {
            return pending;
        };
        let each = token * tokens_weight(1, slot.computed + pending, self.cell);
        // `as` saturates; a prompt's last token costs most, and all are counted as that.
        (((allowance as f64 - slot.used_us) / each.max(1e-9)) as u32).clamp(1, pending.max(1))
    }
}

impl Server {
    /// Ends who used up its allowance, or would with the next step.
    pub(super) fn ration(&mut self) {
        let mut step = Step::default();
        for slot in self.slots.iter_mut().filter(|slot| slot.outcome.is_none()) {
            let Some(allowance) = slot.allowance_us.map(|us| us as f64) else { continue };
            if slot.used_us >= allowance || slot.used_us + self.costs.next(slot) > allowance {
                let text = slot.text.finish();
                if !text.is_empty() {
                    step.text.push((slot.id, text));
                }
                slot.end(Ok(Finish::Budget));
            }
        }
        if !step.text.is_empty() {
            (self.out)(FromLane::Step(step));
        }
    }

    /// Says what the step brought and took, and notes whose it was.
    pub(super) fn report(&mut self, mut step: Step, begun: Instant) {
        let elapsed = begun.elapsed();
        step.us = elapsed.as_micros() as u64;
        step.cpu_us = self.costs.take(elapsed);
        step.cpu_end_us = self.costs.told.as_micros() as u64;
        let used = step.cpu_us as f64;
        for (part, share) in step.parts.iter().zip(step_weights(&step.parts, self.costs.cell)) {
            if part.decode > 0 {
                self.costs.decode = Some(used * share);
            }
            if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == part.id) {
                slot.used_us += used * share;
                slot.decode_us = if part.decode > 0 { Some(used * share) } else { slot.decode_us };
            }
        }
        if step.parts.iter().any(|part| part.prefill > 0) {
            let weight = |part: &StepPart| tokens_weight(part.prefill + part.decode, part.context, self.costs.cell);
            self.costs.prefill = Some(used / step.parts.iter().map(weight).sum::<f64>().max(1.0));
        }
        (self.out)(FromLane::Step(step));
    }

    /// A request was refused after its prompt had been tokenized: a long one takes its time, and that is its own.
    pub(super) fn report_refused(&mut self, id: RequestId, begun: Instant) {
        if begun.elapsed() >= REFUSAL {
            let part = StepPart { id, prefill: 0, decode: 0, context: 0 };
            self.report(Step { parts: vec![part], ..Step::default() }, begun);
        }
    }
}
