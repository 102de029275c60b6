//! The requests that have not ended: what each waits for and whom it answers.
//!
//! A [`Request`] is made at arrival and consumed by [`Request::finish`] or [`Request::fail`], so that it cannot be
//! answered twice.

use std::time::Duration;

use super::catalog::Resolved;
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{Job, LaneId, LaneInfo, RequestId, SequenceState, Tenant, Usage};
use crate::sched::{Choice, Site, VariantId};
use crate::service::api::{request_name, EnergyReceipt, Generate, Outcome, Peer, Receipt, Sink, SinkClosed, Update};
use crate::service::plans::PlanReceipt;
use crate::service::prefixes::Outline;

/// Why a request ends before its answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By `DELETE` or the like: the client is told.
    Cancelled,
    /// Its deadline passed.
    Expired,
    /// Nobody listens any more.
    Abandoned,
    /// The client reads too slowly.
    Slow,
}

pub(super) struct Request {
    pub id: RequestId,
    pub peer: Peer,
    /// What was asked for.
    pub variant: VariantId,
    /// How it runs or will run.
    pub choice: Option<Box<Choice>>,
    /// `model:variant`.
    pub model: String,
    pub arrived: Time,
    pub started: Option<Time>,
    pub lane: Option<LaneId>,
    /// What another lane has computed of it, until it starts on the one that goes on with it: megabytes.
    pub state: Option<SequenceState>,
    /// What that took.
    pub before: Usage,
    /// Text has gone out: it cannot be started again without the client seeing it.
    pub answered: bool,
    pub retries: u32,
    /// What is asked, in fingerprints.
    pub outline: Outline,
    told_started: bool,
    default_max_tokens: u32,
    spec: Generate,
    sink: Box<dyn Sink>,
}

impl Request {
    pub fn new(
        id: RequestId,
        peer: Peer,
        resolved: Resolved,
        spec: Generate,
        outline: Outline,
        sink: Box<dyn Sink>,
        now: Time,
    ) -> Self {
        Request {
            id,
            peer,
            variant: resolved.variant,
            choice: None,
            model: resolved.name,
            arrived: now,
            started: None,
            lane: None,
            state: None,
            before: Usage::default(),
            answered: false,
            retries: 0,
            outline,
            told_started: false,
            default_max_tokens: resolved.max_tokens,
            spec,
            sink,
        }
    }

    /// It starts anew: what was computed of it is gone, and nothing of it counts.
    pub fn start_over(&mut self) {
        self.lane = None;
        self.state = None;
        self.before = Usage::default();
    }

    pub fn tenant(&self) -> Tenant {
        Tenant(self.peer.uid)
    }

    /// Where it runs first.
    pub fn site(&self) -> Site {
        self.choice.as_ref().map_or(Site::cpu(self.variant), |choice| choice.plan.prefill)
    }

    /// It measures: an administrator chose its lane's threads.
    pub fn calibrates(&self) -> bool {
        self.spec.threads.is_some()
    }

    /// Tokens of its answer, at most: as asked for, or fewer where its plan has to keep something else.
    fn max_tokens(&self) -> u32 {
        let asked = self.spec.max_tokens.unwrap_or(self.default_max_tokens);
        let limit = self.choice.as_ref().and_then(|choice| choice.limit);
        limit.map_or(asked, |limit| limit.clamp(1, asked))
    }

    /// What a lane runs. A copy, because the request may have to run again on another worker.
    pub fn job(&self) -> Job {
        // Then that many tokens are no wish of the client's.
        let shortened = self.choice.as_ref().is_some_and(|choice| choice.limit.is_some());
        Job {
            id: self.id,
            tenant: self.tenant(),
            prompt: self.spec.prompt.clone(),
            sampling: self.spec.sampling.clone(),
            stop: self.spec.stop.clone(),
            max_tokens: Some(self.max_tokens()),
            strict: self.spec.max_tokens.is_some() && !shortened,
            allowance_us: None,
        }
    }

    pub fn loading(&mut self, progress: f32) -> Result<(), SinkClosed> {
        self.sink.push(Update::Loading(progress))
    }

    pub fn tokenized(&mut self, prompt_tokens: u32, cached_tokens: u32) -> Result<(), SinkClosed> {
        if std::mem::replace(&mut self.told_started, true) {
            return Ok(());
        }
        self.sink.push(Update::Started { model: self.model.clone(), prompt_tokens, cached_tokens })
    }

    pub fn text(&mut self, text: String) -> Result<(), SinkClosed> {
        self.answered = true;
        self.outline.answers(&text);
        self.sink.push(Update::Text(text))
    }

    pub fn finish(mut self, outcome: Box<Outcome>) {
        // The client may be gone; it has been answered all the same.
        let _ = self.sink.push(Update::Done(outcome));
    }

    pub fn fail(mut self, error: Error) {
        let _ = self.sink.push(Update::Failed(error));
    }

    pub fn receipt(
        &self,
        usage: Usage,
        lane: Option<&LaneInfo>,
        threads: u32,
        (reason, plan): (String, Option<PlanReceipt>),
    ) -> Receipt {
        let s = |us: u64| us as f64 / 1e6;
        let rate = |tokens: u32, us: u64| if us == 0 { 0.0 } else { f64::from(tokens) / s(us) };
        let queued = self.started.map_or(Duration::ZERO, |t| t.since(self.arrived));
        Receipt {
            request: request_name(self.id),
            model: self.model.clone(),
            device: lane.map_or_else(String::new, |l| l.device.to_lowercase()),
            kernels: lane.map_or_else(String::new, |l| l.cpu_variant.clone()),
            threads,
            reason,
            plan,
            queue_s: queued.as_secs_f64(),
            prefill_s: s(usage.prefill_us),
            decode_s: s(usage.decode_us),
            prefill_tokens_per_s: rate(usage.prompt_tokens.saturating_sub(usage.cached_tokens), usage.prefill_us),
            decode_tokens_per_s: rate(usage.completion_tokens.saturating_sub(1), usage.decode_us),
            retries: self.retries,
            energy: EnergyReceipt::nothing(),
        }
    }
}

impl Ending {
    /// What the client is told.
    pub fn error(self) -> Error {
        match self {
            Ending::Cancelled | Ending::Abandoned => Error::new(Code::Cancelled, "the request was cancelled"),
            Ending::Expired => Error::new(
                Code::DeadlineExceeded,
                "the deadline passed before the answer was complete: allow more time, or ask for fewer tokens",
            ),
            Ending::Slow => Error::new(
                Code::SlowClient,
                "the answer was not read fast enough and its buffer is full: read the stream as it comes",
            ),
        }
    }
}

impl From<SinkClosed> for Ending {
    fn from(closed: SinkClosed) -> Ending {
        match closed {
            SinkClosed::Gone => Ending::Abandoned,
            SinkClosed::Full => Ending::Slow,
        }
    }
}
