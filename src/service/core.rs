//! The service's thread: messages in, the scheduler's actions out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;

use super::backlog::Backlog;
use super::catalog::{Catalog, Prepared};
use super::lanes::{fault, LaneSlot, Lanes, Phase};
use super::requests::{Ending, Request};
use super::Msg;
use crate::clock::{Monotonic, Time};
use crate::config::Config;
use crate::error::{Code, Error};
use crate::lane::{
    EventFn, Finish, FromLane, Gone, LaneEvent, LaneFactory, LaneId, LaneInfo, Prompt, RequestId, Step, ToLane, Usage,
};
use crate::sched::{Action, Arrival, Event, LaneState, Sched, VariantId};
use crate::service::api::{
    Generate, LaneStatus, ModelInfo, Outcome, Peer, Receipt, Sink, SinkClosed, Status, Totals, Update,
};

/// Answer tokens assumed for fairness where a request does not bound them; it is corrected by nothing, so it need only
/// be of the right size.
const ASSUMED_ANSWER: u32 = 256;

/// Bytes of UTF-8 text for one token, for the same estimate.
const BYTES_PER_TOKEN: usize = 4;

/// From this on the thread counts as held up (a slow disk, a stopped process): far more than any message takes.
const LATE: Duration = Duration::from_millis(100);

/// Those who asked for a load of which no lane has come up yet: one is still on its way out, or there is no memory.
struct Wish {
    watchers: Vec<Box<dyn Sink>>,
    /// What they are told if nothing comes of it.
    error: Error,
}

pub(super) struct Core {
    clock: Monotonic,
    sched: Sched,
    catalog: Catalog,
    factory: Box<dyn LaneFactory>,
    lanes: Lanes,
    requests: BTreeMap<RequestId, Request>,
    /// Waiting for a lane to be gone.
    unload_replies: Vec<(VariantId, super::Reply<Result<(), Error>>)>,
    wishes: BTreeMap<VariantId, Wish>,
    /// CPU variants that died of an illegal instruction here.
    bad_kernels: BTreeSet<String>,
    totals: Totals,
    last_fault: Option<String>,
    tx: Sender<Msg>,
    stop: Option<Time>,
}

impl Core {
    pub fn new(config: Config, factory: Box<dyn LaneFactory>, tx: Sender<Msg>) -> Self {
        Core {
            clock: Monotonic::start(),
            sched: Sched::new(config.limits()),
            catalog: Catalog::new(config),
            factory,
            lanes: Lanes::default(),
            requests: BTreeMap::new(),
            unload_replies: Vec::new(),
            wishes: BTreeMap::new(),
            bad_kernels: BTreeSet::new(),
            totals: Totals::default(),
            last_fault: None,
            tx,
            stop: None,
        }
    }

    pub fn run(mut self, inbox: &Receiver<Msg>) {
        for variant in self.catalog.preload() {
            self.event(Event::Load(variant));
        }
        while !self.finished() {
            let due = self.next_wakeup();
            let msg = match due {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inbox.recv_timeout(at.since(self.clock.now())),
            };
            let woken = self.clock.now();
            match msg {
                Ok(msg) => self.message(msg),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let late = due.map_or(Duration::ZERO, |due| woken.since(due)) + self.clock.now().since(woken);
            if late >= LATE {
                self.lanes.excuse(late);
            }
            self.timers();
        }
        self.end(inbox);
    }

    /// How often a busy worker beats, and how long it may make no progress.
    fn patience(&self) -> (Duration, Duration) {
        let worker = &self.catalog.config().worker;
        (worker.heartbeat.0, worker.stall_timeout.0)
    }

    fn next_wakeup(&self) -> Option<Time> {
        let (heartbeat, stall) = self.patience();
        [self.sched.next_timeout(), self.lanes.next_watch(heartbeat, stall), self.stop].into_iter().flatten().min()
    }

    fn timers(&mut self) {
        let now = self.clock.now();
        if self.sched.next_timeout().is_some_and(|t| t <= now) {
            self.event(Event::Tick);
        }
        let (heartbeat, stall) = self.patience();
        for id in self.lanes.watch(heartbeat, stall, now) {
            log::error!("lane {}: the kernel does not let go of its killed worker; going on without it", id.0);
            self.gone(id, &Gone::Hung, None);
        }
    }

    fn finished(&self) -> bool {
        let idle = self.requests.is_empty() && self.lanes.by_id.is_empty();
        self.stop.is_some_and(|at| idle || at <= self.clock.now())
    }

    /// The last words to whoever still waits. Dropping the lanes kills what runs.
    fn end(mut self, inbox: &Receiver<Msg>) {
        let gone = || Error::new(Code::ShuttingDown, "the daemon is stopping");
        for (_, request) in std::mem::take(&mut self.requests) {
            request.fail(gone());
        }
        let watchers = std::mem::take(&mut self.lanes.by_id).into_values().flat_map(|l| l.watchers);
        let wishes = std::mem::take(&mut self.wishes).into_values().flat_map(|w| w.watchers);
        let unheard = inbox.try_iter().filter_map(|msg| match msg {
            Msg::Generate { sink, .. } | Msg::Load { sink, .. } => Some(sink),
            _ => None,
        });
        for mut sink in watchers.chain(wishes).chain(unheard) {
            let _ = sink.push(Update::Failed(gone()));
        }
        for (_, reply) in self.unload_replies.drain(..) {
            reply(Ok(()));
        }
    }

    fn message(&mut self, msg: Msg) {
        match msg {
            Msg::Generate { peer, id, request, sink } => self.arrived(peer, id, *request, sink),
            Msg::Cancel { peer, id, reply } => reply(self.cancel(peer, id)),
            Msg::Abandon(id) => self.stop_request(id, Ending::Abandoned),
            Msg::Models(reply) => reply(self.models()),
            Msg::Load { peer, model, sink } => self.load(peer, &model, sink),
            Msg::Unload { peer, model, reply } => self.unload(peer, &model, reply),
            Msg::Status(reply) => reply(self.status()),
            Msg::Lane(id, LaneEvent::Said(said)) => self.said(id, said),
            Msg::Lane(id, LaneEvent::Gone { why, last_words }) => self.gone(id, &why, last_words.as_deref()),
            Msg::Prepared(id, prepared) => self.prepared(id, *prepared),
            Msg::Reload(config) => {
                let limits = config.limits();
                self.catalog.reload(*config);
                for variant in self.lanes.by_id.values().map(|l| l.variant).collect::<Vec<_>>() {
                    self.event(Event::IdleUnload { variant, after: self.catalog.idle_unload(variant) });
                }
                self.event(Event::Limits(limits));
            }
            Msg::ShutDown { grace } => {
                self.stop.get_or_insert(self.clock.now() + grace);
                self.event(Event::ShutDown);
            }
        }
    }

    /// Tells the scheduler and does what it says. An action may cause an event at once (a lane that cannot start), so
    /// events queue up here instead of recursing.
    fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.sched.handle(event, self.clock.now()) {
                events.extend(self.perform(action));
            }
        }
        self.settle_wishes();
    }

    /// Tells those whose load the scheduler has given up.
    fn settle_wishes(&mut self) {
        let given_up: Vec<VariantId> = self.wishes.keys().copied().filter(|v| !self.sched.is_needed(*v)).collect();
        for Wish { watchers, error } in given_up.iter().filter_map(|v| self.wishes.remove(v)).collect::<Vec<_>>() {
            tell_failed(watchers, &error);
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        let now = self.clock.now();
        match action {
            Action::Load { lane, variant } => {
                let mut slot = LaneSlot::new(variant, self.catalog.name(variant), now);
                slot.watchers = self.wishes.remove(&variant).map_or_else(Vec::new, |w| w.watchers);
                self.lanes.by_id.insert(lane, slot);
                let tx = self.tx.clone();
                let prepare = self.catalog.prepare(variant, &self.bad_kernels, self.lanes.held());
                let thread = std::thread::Builder::new().name("prepare".into()).spawn(move || {
                    // Fails only after the service has ended.
                    let _ = tx.send(Msg::Prepared(lane, Box::new(prepare())));
                });
                Some(match thread {
                    Ok(_) => Event::IdleUnload { variant, after: self.catalog.idle_unload(variant) },
                    Err(e) => {
                        let error = Error::new(Code::ModelLoadFailed, format!("no thread to load the model: {e}"));
                        self.load_failed(lane, &error);
                        Event::LoadFailed { lane, error }
                    }
                })
            }
            Action::Unload(lane) => {
                let slot = self.lanes.by_id.get_mut(&lane)?;
                slot.stopping(now);
                match &slot.lane {
                    Some(l) => {
                        l.send(ToLane::Quit);
                        None
                    }
                    // Still being prepared: there is no process to wait for.
                    None => self.lane_is_gone(lane),
                }
            }
            Action::Start { id, lane } => {
                let (Some(request), Some(slot)) = (self.requests.get_mut(&id), self.lanes.by_id.get_mut(&lane)) else {
                    return Some(Event::Finished(id));
                };
                request.lane = Some(lane);
                request.started.get_or_insert(now);
                if slot.running.is_empty() {
                    slot.armed(now);
                }
                slot.running.push(id);
                if let Some(l) = &slot.lane {
                    l.send(ToLane::Start(Box::new(request.job())));
                }
                None
            }
            Action::Refuse { id, error } => {
                if let Some(request) = self.requests.remove(&id) {
                    self.totals.refused += 1;
                    request.fail(error);
                }
                None
            }
            Action::Expire(id) => self.end_request(id, Ending::Expired),
        }
    }

    // --- clients ---

    fn arrived(&mut self, peer: Peer, id: RequestId, spec: Generate, mut sink: Box<dyn Sink>) {
        self.totals.requests += 1;
        let resolved = match self.catalog.resolve(&spec.model) {
            Ok(r) => r,
            Err(error) => {
                self.totals.refused += 1;
                let _ = sink.push(Update::Failed(error));
                return;
            }
        };
        let prompt_bytes: usize = match &spec.prompt {
            Prompt::Text(t) => t.len(),
            Prompt::Chat(messages) => messages.iter().map(|m| m.content.len()).sum(),
        };
        let prompt_tokens = u32::try_from(prompt_bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
        let class = spec.class;
        let answer_tokens = spec.max_tokens.unwrap_or(ASSUMED_ANSWER).min(ASSUMED_ANSWER);
        let request = Request::new(id, peer, resolved, spec, sink, self.clock.now());
        let arrival = Arrival {
            id,
            tenant: request.tenant(),
            class,
            variant: request.variant,
            tokens: prompt_tokens.saturating_add(answer_tokens).max(1),
            deadline: request.deadline(),
        };
        self.requests.insert(id, request);
        self.event(Event::Arrived(arrival));
    }

    fn cancel(&mut self, peer: Peer, id: RequestId) -> Result<(), Error> {
        let known = self.requests.get(&id).is_some_and(|r| peer.admin || r.peer.uid == peer.uid);
        if !known {
            // The same answer for somebody else's request: ids tell nothing.
            return Err(Error::new(Code::NotFound, "no such request is queued or running"));
        }
        self.stop_request(id, Ending::Cancelled);
        Ok(())
    }

    fn stop_request(&mut self, id: RequestId, ending: Ending) {
        if let Some(event) = self.end_request(id, ending) {
            self.event(event);
        }
    }

    /// Ends a request before its time: its client is told now. Its lane, which may be slow to let go or never do, is
    /// asked to; the slot is free when it has.
    fn end_request(&mut self, id: RequestId, ending: Ending) -> Option<Event> {
        let request = self.requests.remove(&id)?;
        if let Some(lane) = request.lane.and_then(|id| self.lanes.by_id.get(&id)).and_then(|slot| slot.lane.as_ref()) {
            lane.send(ToLane::Cancel(id));
        }
        self.totals.cancelled += 1;
        request.fail(ending.error());
        Some(Event::Cancelled(id))
    }

    fn models(&self) -> Vec<ModelInfo> {
        self.catalog.list(|variant| {
            match self.sched.lane_state(variant) {
                LaneState::Unloaded => "unloaded",
                LaneState::Loading => "loading",
                LaneState::Ready => "loaded",
                LaneState::Stopping => "stopping",
                LaneState::Quarantined { .. } => "quarantined",
            }
            .to_owned()
        })
    }

    fn load(&mut self, peer: Peer, model: &str, mut sink: Box<dyn Sink>) {
        let resolved = match only_admin(peer, "load").and_then(|()| self.catalog.resolve(model)) {
            Ok(r) => r,
            Err(error) => {
                let _ = sink.push(Update::Failed(error));
                return;
            }
        };
        let (variant, name) = (resolved.variant, resolved.name);
        self.event(Event::Load(variant));
        if self.sched.lane_state(variant) != LaneState::Stopping {
            let why = format!("{name} is not unloaded: it was asked for again in the meantime");
            self.answer_unloads(variant, &Err(Error::new(Code::Cancelled, why)));
        }
        let now = self.clock.now();
        match self.lanes.by_id.values_mut().find(|l| l.variant == variant && l.phase != Phase::Stopping) {
            Some(slot) if slot.phase == Phase::Ready => {
                let _ = sink.push(loaded(slot, now));
            }
            Some(slot) => slot.watchers.push(sink),
            None if self.sched.is_needed(variant) => {
                let revoked = || Error::new(Code::Cancelled, format!("{name} was unloaded before it was loaded"));
                let wish =
                    self.wishes.entry(variant).or_insert_with(|| Wish { watchers: Vec::new(), error: revoked() });
                wish.watchers.push(sink);
            }
            None if self.stop.is_some() => {
                let _ = sink.push(Update::Failed(Error::new(Code::ShuttingDown, "the daemon is stopping")));
            }
            None => {
                let error = Error::new(Code::ModelLoadFailed, format!("{name} cannot be loaded now: the log says why"));
                let _ = sink.push(Update::Failed(error));
            }
        }
    }

    fn unload(&mut self, peer: Peer, model: &str, reply: super::Reply<Result<(), Error>>) {
        match only_admin(peer, "unload").and_then(|()| self.catalog.resolve(model)) {
            Err(e) => reply(Err(e)),
            Ok(r) => {
                self.unload_replies.push((r.variant, reply));
                self.event(Event::Unload(r.variant));
                if self.lanes.of(r.variant).is_none() {
                    self.answer_unloads(r.variant, &Ok(()));
                }
            }
        }
    }

    fn answer_unloads(&mut self, variant: VariantId, answer: &Result<(), Error>) {
        let (these, others) = std::mem::take(&mut self.unload_replies).into_iter().partition(|(v, _)| *v == variant);
        self.unload_replies = others;
        let these: Vec<(VariantId, super::Reply<Result<(), Error>>)> = these;
        for (_, reply) in these {
            reply(answer.clone());
        }
    }

    fn status(&self) -> Status {
        let excluded: Vec<String> = self.bad_kernels.iter().cloned().collect();
        let lanes = self.lanes.by_id.values().map(|l| {
            let info = l.info.as_ref();
            LaneStatus {
                model: l.model.clone(),
                state: match l.phase {
                    Phase::Preparing | Phase::Loading => "loading",
                    Phase::Ready => "ready",
                    Phase::Stopping => "stopping",
                }
                .to_owned(),
                device: info.map_or_else(String::new, |i| i.device.clone()),
                kernels: info.map_or_else(String::new, |i| i.kernels.clone()),
                excluded_kernels: excluded.clone(),
                threads: info.map_or(0, |i| i.threads),
                pid: l.lane.as_ref().and_then(|l| l.pid()),
                running: u32::try_from(l.running.len()).unwrap_or(u32::MAX),
                slots: l.slots,
                context: l.context,
                kv_type: l.kv_type,
                sandbox: info.map_or_else(String::new, |i| i.sandbox.clone()),
                synthetic: info.is_some_and(|i| i.synthetic),
                load_ms: info.map_or(0, |i| i.load_ms),
                progress: l.progress,
            }
        });
        Status {
            version: crate::VERSION.to_owned(),
            uptime_s: self.clock.now().since(Time::ZERO).as_secs_f64(),
            pid: std::process::id(),
            lanes: lanes.collect(),
            queued: u32::try_from(self.sched.queued()).unwrap_or(u32::MAX),
            running: u32::try_from(self.sched.running()).unwrap_or(u32::MAX),
            totals: self.totals,
            last_fault: self.last_fault.clone(),
            memory_available: self.catalog.memory_available(),
        }
    }

    // --- lanes ---

    /// The model was checked on its own thread: start a process for it, or not.
    fn prepared(&mut self, id: LaneId, prepared: Prepared) {
        let now = self.clock.now();
        // It may have been unloaded in the meantime.
        let Some(slot) = self.lanes.by_id.get_mut(&id).filter(|s| s.phase == Phase::Preparing) else { return };
        match prepared {
            Prepared::Ready(config, need) => {
                slot.need = need;
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
                self.wishes.insert(slot.variant, Wish { watchers: slot.watchers, error: error.clone() });
                self.event(Event::LoadBlocked { lane: id, error });
            }
            Prepared::Failed(error) => {
                self.load_failed(id, &error);
                self.event(Event::LoadFailed { lane: id, error });
            }
        }
    }

    /// The lane will not come up: tell who watched, forget it.
    fn load_failed(&mut self, id: LaneId, error: &Error) {
        log::error!("{error}");
        if let Some(slot) = self.retire(id) {
            tell_failed(slot.watchers, error);
        }
    }

    fn retire(&mut self, id: LaneId) -> Option<LaneSlot> {
        let slot = self.lanes.by_id.remove(&id)?;
        self.answer_unloads(slot.variant, &Ok(()));
        Some(slot)
    }

    fn said(&mut self, id: LaneId, said: FromLane) {
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
                let variant = slot.variant;
                slot.watchers.retain_mut(|w| w.push(Update::Loading(progress)).is_ok());
                self.tell_all(|r| r.variant == variant && r.lane.is_none(), |r| r.loading(progress));
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
                self.event(Event::LoadFailed { lane: id, error });
            }
            FromLane::Started { id, prompt_tokens, cached_tokens } => {
                self.tell(id, |r| r.tokenized(prompt_tokens, cached_tokens));
            }
            FromLane::Step(step) => {
                slot.moved(None, now);
                self.step(step);
            }
            FromLane::Done { id: request, result, usage } => {
                slot.running.retain(|r| *r != request);
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
        }
    }

    fn ready(&mut self, id: LaneId, info: LaneInfo) {
        let now = self.clock.now();
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
        let update = loaded(slot, now);
        for mut watcher in std::mem::take(&mut slot.watchers) {
            let _ = watcher.push(update.clone());
        }
        let slots = slot.slots;
        self.event(Event::LaneReady { lane: id, slots });
    }

    fn step(&mut self, step: Step) {
        self.totals.steps += 1;
        self.totals.step_us = self.totals.step_us.saturating_add(step.us);
        for (id, text) in step.text {
            self.tell(id, |r| r.text(text));
        }
    }

    fn done(&mut self, lane: LaneId, id: RequestId, result: Result<Finish, Error>, usage: Usage) {
        let t = &mut self.totals;
        t.prompt_tokens += u64::from(usage.prompt_tokens.saturating_sub(usage.cached_tokens));
        t.cached_tokens += u64::from(usage.cached_tokens);
        t.completion_tokens += u64::from(usage.completion_tokens);
        // It is not there if it was cancelled: its client has been told.
        if let Some(request) = self.requests.remove(&id) {
            let info = self.lanes.by_id.get(&lane).and_then(|s| s.info.as_ref());
            match result {
                Ok(Finish::Cancelled) => {
                    t.cancelled += 1;
                    request.fail(Ending::Cancelled.error());
                }
                Ok(finish) => {
                    t.completed += 1;
                    request.finish(finish, usage, info);
                }
                Err(error) => {
                    t.failed += 1;
                    request.fail(error);
                }
            }
        }
        self.event(Event::Finished(id));
    }

    /// A lane's process is gone. Its requests end here, or go back to the queue if nobody has seen a token of them.
    fn gone(&mut self, id: LaneId, why: &Gone, last_words: Option<&str>) {
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
        let mut retry = Vec::new();
        for request_id in slot.running {
            let Some(request) = self.requests.get_mut(&request_id) else { continue };
            request.lane = None;
            if !request.answered && request.retries == 0 {
                request.retries += 1;
                self.totals.retried += 1;
                retry.push(request_id);
            } else if let Some(request) = self.requests.remove(&request_id) {
                self.totals.failed += 1;
                request.fail(error.clone());
            }
        }
        if !load_failed {
            self.event(Event::LaneGone { lane: id, retry, expected, error });
        }
    }

    /// For a lane that never had a process.
    fn lane_is_gone(&mut self, id: LaneId) -> Option<Event> {
        let slot = self.retire(id)?;
        let error = unloaded(&slot.model);
        tell_failed(slot.watchers, &error);
        Some(Event::LaneGone { lane: id, retry: Vec::new(), expected: true, error })
    }

    // --- telling clients ---

    /// Tells one client; one that does not listen ends its request.
    fn tell(&mut self, id: RequestId, what: impl FnOnce(&mut Request) -> Result<(), SinkClosed>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Err(closed) = what(request) {
            self.stop_request(id, closed.into());
        }
    }

    fn tell_all(
        &mut self,
        which: impl Fn(&Request) -> bool,
        mut what: impl FnMut(&mut Request) -> Result<(), SinkClosed>,
    ) {
        let ids: Vec<RequestId> = self.requests.values().filter(|r| which(r)).map(|r| r.id).collect();
        for id in ids {
            self.tell(id, &mut what);
        }
    }
}

/// Where a lane's events go: to us, a bounded number at a time.
fn lane_events(tx: Sender<Msg>, backlog: Arc<Backlog>) -> EventFn {
    Arc::new(move |id, event| {
        if matches!(event, LaneEvent::Said(_)) {
            backlog.enter();
        }
        // Fails only after the service has ended, when nobody wants to know.
        let _ = tx.send(Msg::Lane(id, event));
    })
}

fn tell_failed(watchers: Vec<Box<dyn Sink>>, error: &Error) {
    for mut watcher in watchers {
        let _ = watcher.push(Update::Failed(error.clone()));
    }
}

fn unloaded(model: &str) -> Error {
    Error::new(Code::Cancelled, format!("{model} was unloaded while it loaded"))
}

fn only_admin(peer: Peer, what: &str) -> Result<(), Error> {
    if peer.admin {
        return Ok(());
    }
    Err(Error::new(
        Code::Forbidden,
        format!("only administrators may {what} models: run as root, or join the group named by server.admin_group"),
    ))
}

/// What those who asked for a load are told at its end.
fn loaded(slot: &LaneSlot, now: Time) -> Update {
    let info = slot.info.as_ref();
    Update::Done(Box::new(Outcome {
        finish: Finish::Stop,
        usage: Usage::default(),
        receipt: Receipt {
            request: String::new(),
            model: slot.model.clone(),
            device: info.map_or_else(String::new, |i| i.device.to_lowercase()),
            kernels: info.map_or_else(String::new, |i| i.cpu_variant.clone()),
            threads: info.map_or(0, |i| i.threads),
            reason: "loaded".to_owned(),
            queue_s: now.since(slot.asked).as_secs_f64(),
            prefill_s: 0.0,
            decode_s: 0.0,
            prefill_tokens_per_s: 0.0,
            decode_tokens_per_s: 0.0,
            retries: 0,
        },
    }))
}
