//! The last requests and how they were planned, for whoever asks why.
//!
//! What always holds: at most [`KEPT`] are remembered, the latest; a client is told of its own.

use std::collections::{BTreeMap, VecDeque};

use super::api::{request_name, Outcome, Peer};
use super::core::Core;
use super::explain::Names;
use super::plans::{PlanReceipt, RequestReport, RequestState};
use crate::clock::unix_seconds;
use crate::error::{Code, Error};
use crate::lane::RequestId;
use crate::sched::{Choice, VariantId};

/// Requests remembered.
pub(super) const KEPT: usize = 1024;

#[derive(Debug)]
struct Record {
    uid: u32,
    created: u64,
    /// What was asked for.
    variant: VariantId,
    state: RequestState,
    error: Option<Code>,
    choice: Option<Box<Choice>>,
    changes: u32,
    outcome: Option<Box<Outcome>>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Choices {
    by_id: BTreeMap<RequestId, Record>,
    order: VecDeque<RequestId>,
}

impl Choices {
    pub fn arrived(&mut self, id: RequestId, uid: u32, variant: VariantId) {
        let record = Record {
            uid,
            created: unix_seconds(),
            variant,
            state: RequestState::Waiting,
            error: None,
            choice: None,
            changes: 0,
            outcome: None,
        };
        if self.by_id.insert(id, record).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }

    pub fn planned(&mut self, id: RequestId, choice: &Choice) {
        let Some(record) = self.by_id.get_mut(&id) else { return };
        let same = |before: &Choice| before.plan == choice.plan && before.reason == choice.reason;
        if record.choice.as_deref().is_some_and(|before| !same(before)) {
            record.changes += 1;
        }
        record.choice = Some(Box::new(choice.clone()));
    }

    /// It ran, and waits again.
    pub fn waits(&mut self, id: RequestId) {
        self.set(id, RequestState::Waiting, None);
    }

    pub fn started(&mut self, id: RequestId) {
        self.set(id, RequestState::Running, None);
    }

    /// It ended, but not well.
    pub fn ended(&mut self, id: RequestId, state: RequestState, error: Code) {
        self.set(id, state, Some(error));
    }

    /// It ended well.
    pub fn completed(&mut self, id: RequestId, outcome: &Outcome) {
        self.set(id, RequestState::Completed, None);
        if let Some(record) = self.by_id.get_mut(&id) {
            record.outcome = Some(Box::new(outcome.clone()));
        }
    }

    fn set(&mut self, id: RequestId, state: RequestState, error: Option<Code>) {
        if let Some(record) = self.by_id.get_mut(&id) {
            (record.state, record.error) = (state, error);
        }
    }
}

impl Core {
    /// Calls `f` with how things are called, for a request that asks for this variant.
    pub(super) fn named<T>(&self, asked: VariantId, f: impl FnOnce(&Names<'_>) -> T) -> T {
        let device = |id| self.gpus.name(id);
        let variant = |id| self.catalog.name(id);
        f(&Names { device: &device, variant: &variant, asked })
    }

    /// Why a request runs where it runs, and what that was thought to take.
    pub(super) fn reason(&self, asked: VariantId, choice: Option<&Choice>) -> String {
        match choice {
            Some(choice) => self.named(asked, |names| names.reason(choice)),
            None => "the only lane of this model".to_owned(),
        }
    }

    pub(super) fn plan_receipt(&self, choice: &Choice, threads: u32) -> PlanReceipt {
        let (joules, seconds) = super::explain::totals(&choice.forecast);
        PlanReceipt {
            prefill: self.gpus.name(choice.plan.prefill.device),
            decode: self.gpus.name(choice.plan.decode.device),
            threads,
            joules,
            seconds,
        }
    }

    /// One of the last requests. `not_found` for somebody else's, as for one that never was: ids tell nothing.
    pub(super) fn explain(&self, peer: Peer, id: RequestId) -> Result<RequestReport, Error> {
        let record = self.choices.by_id.get(&id).filter(|record| peer.admin || record.uid == peer.uid);
        let record = record.ok_or_else(|| {
            let message = format!("no such request is among the last {KEPT}, or it is not yours");
            Error::new(Code::NotFound, message)
        })?;
        let choice = record.choice.as_deref();
        let report = |names: &Names<'_>| RequestReport {
            request: request_name(id),
            uid: record.uid,
            created: record.created,
            model: (names.variant)(record.variant),
            state: record.state,
            error: record.error.map(|code| code.name().to_owned()),
            policy: choice.map(|choice| choice.policy),
            reason: choice.map_or_else(String::new, |choice| names.reason(choice)),
            degraded: choice.is_some_and(|choice| choice.degraded),
            answer: choice.map_or(0, |choice| choice.answer),
            plan: choice.map(|choice| names.report(&choice.plan, &choice.forecast)),
            runner_up: choice.and_then(|choice| choice.runner_up.as_ref()).map(|(plan, f)| names.report(plan, f)),
            changes: record.changes,
            outcome: record.outcome.as_deref().cloned(),
        };
        Ok(self.named(record.variant, report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut choices = Choices::default();
        for id in 0..KEPT as u64 + 10 {
            choices.arrived(RequestId(id), 1, VariantId(0));
        }
        assert_eq!((choices.by_id.len(), choices.order.len()), (KEPT, KEPT));
        assert!(!choices.by_id.contains_key(&RequestId(9)) && choices.by_id.contains_key(&RequestId(10)));
        // What is said of one that is forgotten is heard by nobody.
        choices.started(RequestId(0));
        choices.ended(RequestId(10), RequestState::Failed, Code::WorkerLost);
        assert_eq!(choices.by_id[&RequestId(10)].error, Some(Code::WorkerLost));
    }
}
