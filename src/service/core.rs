//! The service's thread: messages in, the scheduler's actions out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;

use super::accounting::Accounting;
use super::backlog::Backlog;
use super::catalog::Catalog;
use super::choices::Choices;
use super::clients::tell_failed;
use super::cpu::usable_cores;
use super::gpus::GpuWatch;
use super::habits::Habits;
use super::lanes::{LaneSlot, Lanes};
use super::metering::{self, Metering};
use super::plans::RequestState;
use super::predict::Predictor;
use super::prefixes::Prefixes;
use super::profiles::{self, Profiles};
use super::purses::{Clocks, Purses};
use super::requests::{Ending, Request};
use super::rests::Rests;
use super::rules::Rules;
use super::sampler::Sampler;
use super::tallies::Tallies;
use super::trust::Trust;
use super::Msg;
use crate::clock::{Monotonic, Time};
use crate::config::Config;
use crate::error::{Code, Error};
use crate::lane::{EventFn, Gone, Job, LaneEvent, LaneFactory, RequestId, ToLane};
use crate::sched::{self, Action, Event, PurseId, Sched, Site, VariantId};
use crate::service::api::{Sink, Totals, Update};

/// From this on the thread counts as held up (a slow disk, a stopped process): far more than any message takes.
const LATE: Duration = Duration::from_millis(100);

/// Those who asked for a load of which no lane has come up yet: one is still on its way out, or there is no memory.
pub(super) struct Wish {
    pub(super) watchers: Vec<Box<dyn Sink>>,
    /// What they are told if nothing comes of it.
    pub(super) error: Error,
}

pub(super) struct Core {
    pub(super) clock: Monotonic,
    pub(super) sched: Sched,
    pub(super) catalog: Catalog,
    pub(super) rules: Rules,
    /// Purses of which the scheduler was told what the file says.
    pub(super) restored: BTreeSet<PurseId>,
    pub(super) clocks: Clocks,
    pub(super) purses: Purses,
    pub(super) predictor: Predictor,
    pub(super) prefixes: Prefixes,
    pub(super) tallies: Tallies,
    pub(super) profiles: Profiles,
    pub(super) habits: Habits,
    pub(super) rests: Rests,
    pub(super) choices: Choices,
    /// What this machine's processor is.
    pub(super) hardware: String,
    /// Said in the middle of an action, told to the scheduler behind it.
    pub(super) later: Vec<Event>,
    pub(super) factory: Box<dyn LaneFactory>,
    pub(super) lanes: Lanes,
    pub(super) requests: BTreeMap<RequestId, Request>,
    /// Waiting for a lane to be gone.
    pub(super) unload_replies: Vec<(VariantId, super::Reply<Result<(), Error>>)>,
    pub(super) wishes: BTreeMap<Site, Wish>,
    /// CPU variants that died of an illegal instruction here.
    pub(super) bad_kernels: BTreeSet<String>,
    pub(super) gpus: GpuWatch,
    pub(super) trust: Trust,
    pub(super) totals: Totals,
    pub(super) accounting: Accounting,
    pub(super) last_fault: Option<String>,
    pub(super) tx: Sender<Msg>,
    pub(super) stop: Option<Time>,
    pub(super) metering: Metering,
}

impl Core {
    pub fn new(config: Config, factory: Box<dyn LaneFactory>, tx: Sender<Msg>) -> Self {
        let accounting = Accounting::new(&config.paths.state.join("account"));
        let clock = Monotonic::start();
        let sampler = Sampler::start(metering::sensors(&config), clock, tx.clone());
        let sampler = sampler.inspect_err(|e| log::error!("no thread for the meter: {e}; energy is estimated")).ok();
        let metering = Metering::new(&config, usable_cores(&config.paths.sysfs), sampler);
        let clocks = Clocks::read();
        let trust = Trust::open(&config.paths.state);
        let hardware = profiles::hardware(&config);
        Core {
            rules: Rules::new(&config),
            restored: BTreeSet::new(),
            purses: Purses::open(&config.paths.state, clocks.clone()),
            clocks,
            predictor: Predictor::default(),
            prefixes: Prefixes::default(),
            tallies: Tallies::default(),
            profiles: Profiles::new(&config.paths.state),
            habits: Habits::open(&config.paths.state, &hardware),
            rests: Rests::default(),
            choices: Choices::default(),
            hardware,
            later: Vec::new(),
            clock,
            metering,
            sched: Sched::new(limits(&config)),
            catalog: Catalog::new(config),
            factory,
            lanes: Lanes::default(),
            requests: BTreeMap::new(),
            unload_replies: Vec::new(),
            wishes: BTreeMap::new(),
            bad_kernels: BTreeSet::new(),
            gpus: GpuWatch::default(),
            trust,
            totals: Totals::default(),
            accounting,
            last_fault: None,
            tx,
            stop: None,
        }
    }

    pub fn run(mut self, inbox: &Receiver<Msg>) {
        self.restore_budgets();
        self.read_habits();
        self.look_for_gpus(true);
        self.read_profiles();
        for variant in self.catalog.preload() {
            self.event(Event::Load(Site::cpu(variant)));
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
            let now = self.clock.now();
            let late = due.map_or(Duration::ZERO, |due| woken.since(due)) + now.since(woken);
            if late >= LATE {
                self.lanes.excuse(late, now);
            }
            self.timers();
            self.look();
        }
        self.end(inbox);
    }

    /// How often a busy worker beats, and how long it may make no progress.
    pub(super) fn patience(&self) -> (Duration, Duration) {
        let worker = &self.catalog.config().worker;
        (worker.heartbeat.0, worker.stall_timeout.0)
    }

    fn next_wakeup(&self) -> Option<Time> {
        let (heartbeat, stall) = self.patience();
        let dues =
            [self.sched.next_timeout(), self.lanes.next_watch(heartbeat, stall), self.metering.next_due(), self.stop];
        dues.into_iter().flatten().min()
    }

    pub(super) fn timers(&mut self) {
        let now = self.clock.now();
        if self.sched.next_timeout().is_some_and(|t| t <= now) {
            self.event(Event::Tick);
        }
        if self.metering.next_due().is_some_and(|t| t <= now) {
            self.settle_receipts(0);
        }
        let (heartbeat, stall) = self.patience();
        for id in self.lanes.watch(heartbeat, stall, now) {
            log::error!("lane {}: the kernel does not let go of its killed worker; going on without it", id.0);
            self.gone(id, &Gone::Hung, None);
        }
    }

    fn finished(&self) -> bool {
        let idle = self.requests.is_empty() && self.lanes.by_id.is_empty() && self.metering.idle();
        self.stop.is_some_and(|at| idle || at <= self.clock.now())
    }

    /// The last words to whoever still waits. Dropping the lanes kills what runs.
    fn end(mut self, inbox: &Receiver<Msg>) {
        self.settle_all();
        self.account_rest();
        for (_, request) in std::mem::take(&mut self.requests) {
            request.fail(stopping());
        }
        let watchers = std::mem::take(&mut self.lanes.by_id).into_values().flat_map(|l| l.watchers);
        let wishes = std::mem::take(&mut self.wishes).into_values().flat_map(|w| w.watchers);
        let unheard = inbox.try_iter().filter_map(|msg| match msg {
            Msg::Generate { sink, .. } | Msg::Load { sink, .. } => Some(sink),
            _ => None,
        });
        for mut sink in watchers.chain(wishes).chain(unheard) {
            let _ = sink.push(Update::Failed(stopping()));
        }
        self.gpus.end_early();
        for (_, reply) in self.unload_replies.drain(..) {
            reply(Ok(()));
        }
        // After all from which something could be learnt, and after those who wait: a disk may be slow.
        self.keep_profiles_now();
        self.keep_habits_now();
    }

    pub(super) fn message(&mut self, msg: Msg) {
        match msg {
            Msg::Generate { peer, id, request, sink } => self.arrived(peer, id, *request, sink),
            Msg::Cancel { peer, id, reply } => reply(self.cancel(peer, id)),
            Msg::Abandon(id) => self.stop_request(id, Ending::Abandoned),
            Msg::Models(reply) => reply(self.models()),
            Msg::Load { peer, model, sink } => self.load(peer, &model, sink),
            Msg::Unload { peer, model, reply } => self.unload(peer, &model, reply),
            Msg::Status(reply) => {
                self.look_for_gpus_again();
                reply(self.status());
            }
            Msg::Gpus(gpus) => self.gpus_found(gpus),
            Msg::Budget { peer, uid, reply } => reply(self.budget(peer, uid)),
            Msg::Account { peer, query, reply } => reply(self.account(peer, query)),
            Msg::Explain { peer, id, reply } => reply(self.explain(peer, id)),
            Msg::Estimate { peer, request, reply } => self.asked(peer, request, reply),
            Msg::Profiles(reply) => reply(self.profile_reports()),
            Msg::Lane(id, LaneEvent::Said(said)) => self.said(id, said),
            Msg::Lane(id, LaneEvent::Gone { why, last_words }) => self.gone(id, &why, last_words.as_deref()),
            Msg::Verified(id, verified) => self.verified(id, verified),
            Msg::Sampled(sample) => self.sampled(*sample),
            Msg::Reload(config, done) => {
                let limits = limits(&config);
                self.catalog.reload(*config);
                for site in self.lanes.by_id.values().map(|l| l.site).collect::<Vec<_>>() {
                    self.event(Event::IdleUnload { site, after: self.catalog.idle_unload(site.variant) });
                }
                self.event(Event::Limits(limits));
                self.reload_budgets();
                self.look_for_gpus(true);
                self.read_profiles();
                self.meter_anew();
                done(());
            }
            Msg::ShutDown { grace } => {
                self.stop.get_or_insert(self.clock.now() + grace);
                self.event(Event::ShutDown);
                self.gpus.end_early();
            }
        }
    }

    /// Tells the scheduler and does what it says. An action may cause an event at once (a lane that cannot start), so
    /// events queue up here instead of recursing.
    pub(super) fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let appeared = match event {
                Event::Site { site, usable: true } => Some(site),
                _ => None,
            };
            let actions = self.sched.handle(event, self.clock.now());
            if let Some(site) = appeared {
                events.push_back(self.memory(site));
                events.extend(self.stored(site));
            }
            self.keep_purses();
            for action in actions {
                events.extend(self.perform(action));
            }
            if events.is_empty() && self.later.is_empty() {
                self.settle_proofs();
            }
            events.extend(self.later.drain(..));
        }
        self.settle_wishes();
    }

    /// Tells those whose load the scheduler has given up.
    pub(super) fn settle_wishes(&mut self) {
        let given_up: Vec<Site> = self.wishes.keys().copied().filter(|site| !self.sched.is_needed(*site)).collect();
        for Wish { watchers, error } in given_up.iter().filter_map(|site| self.wishes.remove(site)).collect::<Vec<_>>()
        {
            tell_failed(watchers, &error);
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        let now = self.clock.now();
        match action {
            Action::Load { lane, site } => {
                let mut slot = LaneSlot::new(site, self.catalog.name(site.variant), now);
                slot.watchers = self.wishes.remove(&site).map_or_else(Vec::new, |w| w.watchers);
                self.lanes.by_id.insert(lane, slot);
                let waiting = self.requests.values().filter(|r| r.site() == site && r.lane.is_none());
                self.metering.worked = true;
                self.metering.ledger.loading(lane, waiting.map(|r| r.id).min());
                let tx = self.tx.clone();
                let verify = self.catalog.verify(site.variant);
                let thread = super::helpers::spawn(std::thread::Builder::new().name("verify".into()), move || {
                    // Fails only after the service has ended.
                    let _ = tx.send(Msg::Verified(lane, verify()));
                });
                Some(match thread {
                    Ok(_) => Event::IdleUnload { site, after: self.catalog.idle_unload(site.variant) },
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
            Action::Planned { id, choice } => {
                self.choices.planned(id, &choice);
                if let Some(request) = self.requests.get_mut(&id) {
                    request.model = self.catalog.name(choice.plan.variant());
                    request.choice = Some(choice);
                }
                None
            }
            Action::Start { id, lane, export } => {
                let allowance_us = self.allowance(id, lane);
                let (Some(request), Some(slot)) = (self.requests.get_mut(&id), self.lanes.by_id.get_mut(&lane)) else {
                    return Some(Event::Finished(id));
                };
                request.lane = Some(lane);
                request.started.get_or_insert(now);
                self.metering.ledger.started(id, now);
                self.choices.started(id);
                self.metering.worked = true;
                if slot.running.is_empty() {
                    slot.armed(now);
                }
                slot.running.push(id);
                if let Some(l) = &slot.lane {
                    let job = Box::new(Job { allowance_us, ..request.job() });
                    // Whoever starts anew after this has no more of it.
                    l.send(match request.state.take() {
                        _ if export => ToLane::Prefill(job),
                        Some(state) => ToLane::Resume(job, state),
                        None => ToLane::Start(job),
                    });
                }
                slot.exporting.extend(export.then_some(id));
                None
            }
            Action::Refuse { id, error } => {
                if let Some(request) = self.requests.remove(&id) {
                    self.totals.refused += 1;
                    self.choices.ended(id, RequestState::Refused, error.code);
                    request.fail(error);
                }
                self.ended_waiting(id);
                None
            }
            Action::Expire(id) => self.end_request(id, Ending::Expired),
            Action::Allow { id, energy } => {
                self.allow(id, energy);
                None
            }
            Action::Pace { lane, pace } => {
                if let Some(slot) = self.lanes.by_id.get_mut(&lane) {
                    slot.pace = Some(pace);
                    if let Some(l) = &slot.lane {
                        l.send(ToLane::Pace(pace));
                    }
                }
                None
            }
        }
    }
}

/// The scheduler's limits, with the threads that a lane gets where the configuration leaves them open.
fn limits(config: &Config) -> sched::Limits {
    let mut limits = config.limits();
    if limits.threads == 0 {
        limits.threads = usable_cores(&config.paths.sysfs);
    }
    limits
}

/// Where a lane's events go: to us, a bounded number at a time.
pub(super) fn lane_events(tx: Sender<Msg>, backlog: Arc<Backlog>) -> EventFn {
    Arc::new(move |id, event| {
        if matches!(event, LaneEvent::Said(_)) {
            backlog.enter();
        }
        // Fails only after the service has ended, when nobody wants to know.
        let _ = tx.send(Msg::Lane(id, event));
    })
}

pub(super) fn stopping() -> Error {
    Error::new(Code::ShuttingDown, "the daemon is stopping")
}
