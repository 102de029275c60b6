//! What lanes tell the service, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Outcome, Update};
use super::catalog::Prepared;
use super::clients::{loaded, tell_failed};
use super::core::{lane_events, Core, Wish};
use super::lanes::{fault, LaneSlot, Phase};
use super::plans::RequestState;
use super::requests::Ending;
use crate::error::{Code, Error};
use crate::lane::{Finish, FromLane, Gone, LaneId, LaneInfo, RequestId, SequenceState, Step, Usage};
use crate::sched::{Event, Site};

impl Core {
    /// The model's digest was checked on a thread of its own: start a process for it, or not.
    pub(super) fn verified(&mut self, id: LaneId, verified: Result<(), Error>) {
        let now = self.clock.now();
        let held = self.lanes.held();
        let site = self.lanes.by_id.get(&id).map(|slot| slot.site);
        // Its digest, where it has one, is known from now on.
        let loaded = site.filter(|_| verified.is_ok()).and_then(|site| self.to_load(site));
        // It may have been unloaded in the meantime.
        let Some(slot) = self.lanes.by_id.get_mut(&id).filter(|s| s.phase == Phase::Preparing) else { return };
        let prepared = match verified {
            Ok(()) if slot.site.device.is_cpu() || self.gpus.usable(slot.site.device) => {
                let gpu = self.gpus.get(slot.site.device);
                self.catalog.admit(slot.site.variant, gpu, &self.bad_kernels, held)
            }
            Ok(()) => Prepared::Failed(Error::new(
                Code::ModelLoadFailed,
                format!("{}: {} is no longer there", slot.model, self.gpus.name(slot.site.device)),
            )),
            Err(error) => Prepared::Failed(error),
        };
        match prepared {
            Prepared::Ready(config, need) => {
                slot.need = need;
                slot.loaded = loaded;
                slot.phase = Phase::Loading;
                slot.slots = config.slots;
                slot.context = config.n_ctx;
                slot.kv_type = config.kv_type;
                slot.armed(now);
                let events = lane_events(self.tx.clone(), Arc::clone(&slot.backlog.0));
                slot.lane = Some(self.factory.start(id, *config, events));
            }
            Prepared::Blocked(error) => {
                let Some(slot) = self.retire(id) else { return };
                log::info!("{error}");
                self.no_cpu_lane(slot.site, &error);
                self.wishes.insert(slot.site, Wish { watchers: slot.watchers, error: error.clone() });
                self.event(Event::LoadBlocked { lane: id, error });
            }
            Prepared::Failed(error) => {
                let site = slot.site;
                self.no_cpu_lane(site, &error);
                self.load_failed(id, &error);
                self.event(Event::LoadFailed { lane: id, error });
            }
        }
    }

    /// The lane will not come up: tell who watched, forget it.
    pub(super) fn load_failed(&mut self, id: LaneId, error: &Error) {
        log::error!("{error}");
        if let Some(slot) = self.retire(id) {
            tell_failed(slot.watchers, error);
        }
    }

    /// A lane does not come up. Where it is the CPU's, GPUs that wait to be compared with it cannot be.
    fn no_cpu_lane(&mut self, site: Site, why: &Error) {
        if site.device.is_cpu() {
            self.cannot_prove(site.variant, why);
        }
    }

    pub(super) fn retire(&mut self, id: LaneId) -> Option<LaneSlot> {
        self.trust.lane_gone(id);
        self.metering.ledger.lane_gone(id);
        let slot = self.lanes.by_id.remove(&id)?;
        self.prefixes.forget(slot.site);
        // What it has measured is of its own file, which may have been replaced while it had it loaded.
        let stored = self.stored(slot.site);
        self.later.extend(stored);
        let variant = slot.site.variant;
        if self.lanes.of(variant).next().is_none() {
            self.answer_unloads(variant, &Ok(()));
        }
        Some(slot)
    }

    pub(super) fn said(&mut self, id: LaneId, said: FromLane) {
        let now = self.clock.now();
        let Some(slot) = self.lanes.by_id.get_mut(&id) else { return };
        slot.backlog.leave();
        if slot.killed() {
            return;
        }
        if !slot.fits(&said) {
            slot.kill(Gone::Protocol("it spoke out of turn, or of what is not its own".to_owned()), now);
            return;
        }
        slot.heard(now);
        match said {
            FromLane::Loading(progress) => {
                slot.moved(None, now);
                slot.progress = progress;
                let site = slot.site;
                slot.watchers.retain_mut(|w| w.push(Update::Loading(progress)).is_ok());
                self.tell_all(|r| r.site() == site && r.lane.is_none(), |r| r.loading(progress));
            }
            // The first word on it: said before the model, which may be hostile, is read.
            FromLane::Kernels(variant) => {
                slot.cpu_variant.get_or_insert(variant);
            }
            FromLane::Ready(info) => self.ready(id, *info),
            FromLane::LoadFailed(error) => {
                slot.load_failed = true;
                slot.stopping(now);
                log::error!("{error}");
                tell_failed(std::mem::take(&mut slot.watchers), &error);
                self.last_fault = Some(error.message.clone());
                let site = slot.site;
                self.no_cpu_lane(site, &error);
                self.event(Event::LoadFailed { lane: id, error });
            }
            FromLane::Started { id, prompt_tokens, cached_tokens } => {
                // Whoever comes now finds it there, or waits until it is.
                if let Some(request) = self.requests.get(&id) {
                    self.prefixes.learn(request.tenant(), slot.site, &request.outline, prompt_tokens, 0);
                }
                self.tell(id, |r| r.tokenized(prompt_tokens, cached_tokens));
            }
            FromLane::Step(step) => {
                slot.moved(None, now);
                self.step(id, step);
            }
            FromLane::Done { id: request, result, usage } => {
                slot.running.retain(|r| *r != request);
                slot.exporting.retain(|r| *r != request);
                self.done(id, request, result, usage);
            }
            FromLane::Beat { progress } => slot.moved(Some(progress), now),
            FromLane::Log { level, text } if slot.may_log(now) => {
                let level = match level {
                    0 | 1 => log::Level::Error,
                    2 => log::Level::Warn,
                    3 => log::Level::Info,
                    4 => log::Level::Debug,
                    _ => log::Level::Trace,
                };
                log::log!(level, "{}: {text}", slot.model);
            }
            FromLane::Hello { .. } => slot.greeted(),
            // Last words come with the end.
            FromLane::Log { .. } | FromLane::Fatal(_) => {}
            FromLane::Exported { id: request, state, usage } => {
                slot.running.retain(|r| *r != request);
                slot.exporting.retain(|r| *r != request);
                self.exported(request, state, usage);
            }
            FromLane::Probed(answer) => {
                slot.moved(None, now);
                self.probed(id, *answer);
                self.catch_up();
            }
        }
    }

    pub(super) fn ready(&mut self, id: LaneId, info: LaneInfo) {
        // One that was told to stop while it loaded is on its way out.
        let Some(slot) = self.lanes.by_id.get_mut(&id).filter(|s| s.phase == Phase::Loading) else { return };
        log::info!(
            "{} ready in {} ms: {} {}, {} threads, {}",
            slot.model,
            info.load_ms,
            info.device,
            info.kernels,
            info.threads,
            info.sandbox
        );
        if info.synthetic {
            log::warn!("{} is synthetic: its weights are random, it measures speed and says nothing", slot.model);
        }
        self.totals.loads += 1;
        slot.progress = 1.0;
        slot.phase = Phase::Ready;
        slot.context = info.n_ctx;
        slot.info = Some(info);
        let site = slot.site;
        if self.trusted(id, site) {
            self.serve(id);
        }
        self.catch_up();
    }

    /// A lane that came up takes requests from now on.
    pub(super) fn serve(&mut self, id: LaneId) {
        let now = self.clock.now();
        let Some(slot) = self.lanes.by_id.get_mut(&id) else { return };
        slot.phase = Phase::Ready;
        slot.woke = Some(now.since(slot.asked));
        let (site, update) = (slot.site, loaded(slot, now));
        for mut watcher in std::mem::take(&mut slot.watchers) {
            let _ = watcher.push(update.clone());
        }
        let slots = slot.slots;
        self.lane_woke(id);
        // What was known may be of another file, or of none: its digest has become known only now.
        for event in self.stored(site) {
            self.event(event);
        }
        self.event(Event::LaneReady { lane: id, slots });
    }

    /// Tells the scheduler what was said in the middle of something else.
    fn catch_up(&mut self) {
        if !self.later.is_empty() {
            let first = self.later.remove(0);
            self.event(first);
        }
    }

    /// A request's prompt is computed, and what that gave is out of its lane.
    fn exported(&mut self, id: RequestId, state: SequenceState, usage: Usage) {
        let now = self.clock.now();
        let time = Duration::from_micros(usage.handover_us);
        // Also of one that ends before it goes on.
        self.accounting.used(id, usage);
        match self.requests.get_mut(&id) {
            Some(request) => {
                request.lane = None;
                request.state = Some(state);
                request.before = usage;
                // Until it starts on the lane of its answer, which may be full, or have to come up first.
                self.choices.waits(id);
                self.metering.ledger.stopped(id, now);
                self.event(Event::Exported { id, time });
            }
            // It was cancelled: its client has been told.
            None => {
                self.ran(id, None);
                self.event(Event::Finished(id));
            }
        }
    }

    pub(super) fn step(&mut self, lane: LaneId, step: Step) {
        self.charge(lane, &step);
        if let Some(slot) = self.lanes.by_id.get(&lane) {
            self.tallies.step(slot.site, (slot.threads(true), slot.threads(false)), &step);
        }
        self.totals.steps += 1;
        self.totals.step_us = self.totals.step_us.saturating_add(step.us);
        for (id, text) in step.text {
            self.tell(id, |r| r.text(text));
        }
    }

    pub(super) fn done(&mut self, lane: LaneId, id: RequestId, result: Result<Finish, Error>, usage: Usage) {
        let usage = self.requests.get(&id).map_or(usage, |request| usage.after(request.before));
        let t = &mut self.totals;
        t.prompt_tokens += u64::from(usage.prompt_tokens.saturating_sub(usage.cached_tokens));
        t.cached_tokens += u64::from(usage.cached_tokens);
        t.completion_tokens += u64::from(usage.completion_tokens);
        // A background request that has its budget and not its first token waits for more of it.
        let budget = matches!(result, Ok(Finish::Budget)) && self.sched.may_wait_again(id);
        if let Some(request) = self.requests.get_mut(&id).filter(|request| budget && !request.answered) {
            request.start_over();
            // Until there is more in its purse; then it starts anew.
            self.choices.waits(id);
            let now = self.clock.now();
            self.metering.ledger.stopped(id, now);
            return self.event(Event::Stopped(id));
        }
        let limit = if matches!(result, Ok(Finish::Budget)) { self.sched.limit_reason(id) } else { None };
        self.accounting.used(id, usage);
        let mut answer = None;
        // It is not there if it was cancelled: its client has been told.
        if let Some(request) = self.requests.remove(&id) {
            if matches!(result, Ok(Finish::Stop | Finish::Length)) {
                self.predictor.ended(request.variant, usage.completion_tokens);
            }
            let slot = self.lanes.by_id.get(&lane);
            let (info, threads) = (slot.and_then(|s| s.info.as_ref()), slot.map_or(0, |s| s.threads(false)));
            self.predictor.counted(request.variant, request.outline.bytes(), usage.prompt_tokens);
            if let (Some(slot), Ok(_)) = (slot, &result) {
                let (prompt, answer) = (usage.prompt_tokens, usage.completion_tokens);
                self.prefixes.learn(request.tenant(), slot.site, &request.outline, prompt, answer);
            }
            match result {
                Ok(Finish::Cancelled) => {
                    t.cancelled += 1;
                    self.choices.ended(id, RequestState::Cancelled, Code::Cancelled);
                    request.fail(Ending::Cancelled.error());
                }
                Ok(finish) => {
                    t.completed += 1;
                    let choice = request.choice.as_deref();
                    let reason = self.reason(request.variant, choice);
                    let plan = choice.map(|choice| self.plan_receipt(choice, threads));
                    let receipt = request.receipt(usage, info, threads, (reason, plan));
                    let mut outcome = Box::new(Outcome { finish, usage, receipt });
                    outcome.receipt.energy.limit = limit;
                    answer = Some((request, outcome));
                }
                Err(error) => {
                    t.failed += 1;
                    self.choices.ended(id, RequestState::Failed, error.code);
                    request.fail(error);
                }
            }
        }
        self.ran(id, answer);
        self.event(Event::Finished(id));
    }

    /// A lane's process is gone. Its requests end here, or go back to the queue if nobody has seen a token of them.
    pub(super) fn gone(&mut self, id: LaneId, why: &Gone, last_words: Option<&str>) {
        let Some(slot) = self.lanes.by_id.get_mut(&id) else { return };
        let expected = *why == Gone::Clean && slot.phase == Phase::Stopping;
        let load_failed = slot.load_failed;
        let (error, unloaded) = (fault(&slot.model, why, last_words), unloaded(&slot.model));
        if !expected {
            self.totals.worker_faults += 1;
            log::error!("{}", error.message);
            self.last_fault = Some(error.message.clone());
            let illegal = *why == Gone::Signal(nix::sys::signal::Signal::SIGILL as i32);
            if let Some(kernels) = slot.cpu_variant.take().filter(|_| illegal) {
                log::error!("the {kernels} kernels use an instruction this CPU does not run: left out from now on");
                self.bad_kernels.insert(kernels);
            }
        }
        let Some(slot) = self.retire(id) else { return };
        tell_failed(slot.watchers, if expected { &unloaded } else { &error });
        if slot.site.device.is_cpu() && !expected && !load_failed {
            self.ask_cpu_again(slot.site.variant);
        }
        let mut retry = Vec::new();
        for request_id in slot.running {
            let Some(request) = self.requests.get_mut(&request_id) else {
                // Its client has been told; the lane will not say any more that it ended.
                self.ran(request_id, None);
                continue;
            };
            if !request.answered && request.retries == 0 {
                request.start_over();
                request.retries += 1;
                // Until it starts on another lane, or on this one's successor.
                self.choices.waits(request_id);
                self.totals.retried += 1;
                retry.push(request_id);
            } else if let Some(request) = self.requests.remove(&request_id) {
                self.totals.failed += 1;
                self.choices.ended(request_id, RequestState::Failed, error.code);
                request.fail(error.clone());
                self.ran(request_id, None);
            }
        }
        match load_failed {
            false => self.event(Event::LaneGone { lane: id, retry, expected, error }),
            // The scheduler knows.
            true => self.catch_up(),
        }
    }

    /// For a lane that never had a process.
    pub(super) fn lane_is_gone(&mut self, id: LaneId) -> Option<Event> {
        let slot = self.retire(id)?;
        let error = unloaded(&slot.model);
        tell_failed(slot.watchers, &error);
        Some(Event::LaneGone { lane: id, retry: Vec::new(), expected: true, error })
    }
}

pub(super) fn unloaded(model: &str) -> Error {
    Error::new(Code::Cancelled, format!("{model} was unloaded while it loaded"))
}
