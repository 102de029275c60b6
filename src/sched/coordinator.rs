//! The coordinator: takes events and keeps the books of requests.
//!
//! Each event is first booked here, then everything is settled (see `settle`): deadlines, starts, lanes that may go,
//! lanes that must come.
//!
//! What always holds: a request is in the books from its arrival to its end, and stands in the line or runs on one
//! lane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::budget::{Book, Gate};
use super::lanes::{Drain, Lanes, Stage};
use super::pace::{Bounds, Pacer, PowerState};
use super::queue::{Queue, Waiting};
use super::{Action, Arrival, Event, Limits, Plan, Site};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId, Tenant};

/// How far a site is from taking requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// No lane: nobody needs one, or it waits for memory or for a backoff.
    Unloaded,
    /// A lane comes up.
    Loading,
    /// A lane takes requests.
    Ready,
    /// A lane was let go and is not gone yet.
    Stopping,
    /// It failed too often; requests for it are refused.
    Quarantined {
        /// Until then. As of the last event: it may have passed since.
        until: Time,
    },
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) site: Site,
    pub(super) place: Waiting,
    pub(super) deadline: Option<Time>,
    /// Where it runs; `None` while it waits.
    pub(super) lane: Option<LaneId>,
    /// Cancelled while it ran: nobody wants to hear of it any more.
    withdrawn: bool,
}

/// The scheduler. See the [module](super).
#[derive(Debug)]
pub struct Sched {
    pub(super) limits: Limits,
    /// The latest time seen: decisions never go back in time.
    pub(super) now: Time,
    /// Order of arrival of the next request.
    pub(super) seq: u64,
    pub(super) queue: Queue,
    pub(super) lanes: Lanes,
    pub(super) requests: BTreeMap<RequestId, Request>,
    /// Of requests that wait or run and were not told of it yet.
    pub(super) deadlines: BTreeSet<(Time, RequestId)>,
    pub(super) pace: Pace,
    pub(super) book: Book,
    pub(super) pacer: Pacer,
    pub(super) closing: bool,
}

impl Sched {
    /// A scheduler without lanes and requests.
    pub fn new(limits: Limits) -> Self {
        Sched {
            pacer: Pacer::new(&Bounds::default()),
            limits,
            now: Time::ZERO,
            seq: 0,
            queue: Queue::default(),
            lanes: Lanes::default(),
            requests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pace: Pace { mean: Pace::UNMEASURED, last: Time::ZERO },
            book: Book::default(),
            closing: false,
        }
    }

    /// Takes an event and says what is to be done, in this order. A `now` before the latest one counts as the latest.
    /// Events about requests or lanes that are not known (any more) change nothing.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        self.now = self.now.max(now);
        self.book.advance(self.now);
        let mut out = Vec::new();
        match event {
            Event::Arrived(arrival) => self.arrived(arrival, &mut out),
            Event::Cancelled(id) => self.cancelled(id),
            Event::Finished(id) => self.finished(id),
            Event::LaneReady { lane, slots } => self.lane_ready(lane, slots),
            Event::LoadBlocked { lane, error } => self.load_blocked(lane, error),
            Event::LoadFailed { lane, error } => self.load_failed(lane, &error, &mut out),
            Event::LaneGone { lane, retry, expected, error } => {
                self.lane_gone(lane, &BTreeSet::from_iter(retry), expected, &error, &mut out);
            }
            Event::Load(site) => self.load(site),
            Event::Unload(site) => self.unload(site),
            Event::Site { .. } | Event::Profile { .. } | Event::Measured { .. } | Event::Woke { .. } => {}
            Event::Exported { .. } => {}
            Event::Stopped(id) => self.stopped(id),
            Event::Spent { id, more, less } => self.book.spent(id, more, less),
            Event::Settled(id) => self.book.settled(id),
            Event::Progress { lane, done } => self.pacer.progress(lane, &done),
            Event::Power { draw, span } => {
                self.book.supplies.drew(draw);
                self.pacer.power(draw, span, self.now);
            }
            Event::Signals(signals) => self.book.heard(signals),
            Event::Budgets(budgets) => self.book.budgets(budgets),
            Event::Client { client, limits } => self.book.client(client, limits),
            Event::Restored { purse, level } => self.book.restore(purse, level),
            Event::Tick => {}
            Event::IdleUnload { site, after } => self.lanes.entry(site).idle_unload = Some(after),
            Event::Limits(limits) => self.limits = limits,
            Event::ShutDown => self.shut_down(&mut out),
        }
        self.settle(&mut out);
        out
    }

    /// When [`Event::Tick`] is due, unless another event comes first. Always after the last event's time; `None` where
    /// time alone changes nothing, so that an idle service sleeps.
    pub fn next_timeout(&self) -> Option<Time> {
        let lanes = self.lanes.entries.iter().filter_map(|(site, entry)| match &entry.lane {
            Some(lane) if lane.is_idle() && !self.is_eager(*site) => {
                entry.idle_limit(&self.limits).map(|limit| lane.used + limit)
            }
            None if self.is_needed(*site) => Some(entry.not_before).filter(|end| *end > self.now),
            _ => None,
        });
        let heads = self.queue.sites().into_iter().flat_map(|site| self.queue.heads(site));
        let refills = heads.filter_map(|head| match self.book.gate(head.id) {
            Gate::Short { until, .. } => Some(until),
            _ => None,
        });
        lanes.chain(self.deadlines.first().map(|(deadline, _)| *deadline)).chain(refills).min()
    }

    /// What is known of the device's draw, and whether the cap can be kept.
    pub fn power(&self) -> PowerState {
        self.pacer.state()
    }

    /// Requests waiting.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Requests running.
    pub fn running(&self) -> usize {
        self.requests.len() - self.queue.len()
    }

    /// How many requests for the same site stand before this one: more urgent, or as urgent and older. Fairness
    /// between tenants may bring it forward or back. `None` where it does not wait.
    pub fn position(&self, id: RequestId) -> Option<usize> {
        let request = self.requests.get(&id).filter(|request| request.lane.is_none())?;
        Some(self.queue.ahead(request.site, &request.place, self.lifts()))
    }

    /// How far this site is from taking requests.
    pub fn lane_state(&self, site: Site) -> LaneState {
        let Some(entry) = self.lanes.get(site) else { return LaneState::Unloaded };
        match entry.lane.as_ref().map(|lane| lane.stage) {
            Some(Stage::Loading) => LaneState::Loading,
            Some(Stage::Ready { .. }) => LaneState::Ready,
            Some(Stage::Stopping) => LaneState::Stopping,
            None => entry.quarantine(self.now).map_or(LaneState::Unloaded, |until| LaneState::Quarantined { until }),
        }
    }
}

/// Events about requests.
impl Sched {
    fn arrived(&mut self, arrival: Arrival, out: &mut Vec<Action>) {
        let Arrival { id, tenant, class, tokens, deadline, client, .. } = arrival;
        if self.requests.contains_key(&id) {
            return;
        }
        let plan = Plan::on(Site::cpu(arrival.variant()));
        let site = plan.prefill;
        self.book.arrived(&arrival);
        if let Some(error) = self.objection(site, tenant, self.book.gate(id)) {
            self.book.ended(id);
            self.book.settled(id);
            out.push(Action::Refuse { id, error });
            return;
        }
        let place = Waiting { id, tenant, client, class, tokens, arrived: self.now, seq: self.seq, retried: false };
        self.seq += 1;
        self.lanes.entry(site);
        self.queue.push(site, place);
        self.deadlines.extend(deadline.map(|deadline| (deadline, id)));
        self.requests.insert(id, Request { site, place, deadline, lane: None, withdrawn: false });
    }

    /// Why a request cannot be taken, where it cannot.
    fn objection(&self, site: Site, tenant: Tenant, gate: Gate) -> Option<Error> {
        if self.closing {
            return Some(shutting_down());
        }
        let entry = self.lanes.get(site);
        if let Some((entry, until)) = entry.and_then(|entry| Some((entry, entry.quarantine(self.now)?))) {
            return Some(entry.refusal(until, self.now));
        }
        // What starts at once does not wait: a line full of requests for other models is no reason to refuse it.
        let lane = entry.and_then(|entry| entry.lane.as_ref());
        let at_once = gate == Gate::Open && lane.is_some_and(|lane| lane.has_room() && lane.drain.is_none());
        if at_once && !self.is_eager(site) {
            return None;
        }
        // What waits for a budget may wait for hours: it gets half of the line, and what can run has the rest.
        let share = if gate == Gate::Open { 1 } else { 2 };
        let full = |whose: &str, waiting: usize, limit: u32| {
            (waiting >= limit as usize).then(|| {
                let wait = self.pace.to_halve(waiting);
                let message = format!(
                    "{whose}: {waiting} requests wait, and {limit} may; try again in {} s, or send fewer at once",
                    wait.as_secs_f64().ceil()
                );
                Error::new(Code::QueueFull, message).retry_after(wait)
            })
        };
        let (all, own) = (self.limits.queue.div_ceil(share), self.limits.queue_per_tenant.div_ceil(share));
        full("The waiting line is full", self.queue.len(), all)
            .or_else(|| full("Your share of the waiting line is full", self.queue.waiting_of(tenant), own))
    }

    fn cancelled(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.lane.is_some() {
            request.withdrawn = true;
            self.forget_deadline(id);
        } else {
            self.drop_waiting(id);
        }
    }

    fn finished(&mut self, id: RequestId) {
        self.freed(id);
        self.drop_running(id);
    }

    fn stopped(&mut self, id: RequestId) {
        let waits = self.may_wait_again(id);
        self.freed(id);
        let Some(mut request) = self.drop_running(id) else { return };
        if waits && !request.withdrawn {
            request.lane = None;
            self.deadlines.extend(request.deadline.map(|deadline| (deadline, id)));
            self.queue.put_back(request.site, request.place);
            self.book.waits(id, true);
            self.requests.insert(id, request);
        }
    }

    /// A running request's slot is free.
    fn freed(&mut self, id: RequestId) {
        let Some(lane) = self.requests.get(&id).and_then(|request| request.lane) else { return };
        if let Some((_, entry)) = self.lanes.owner(lane) {
            entry.works();
            if let Some(lane) = &mut entry.lane {
                lane.running.remove(&id);
                lane.used = self.now;
            }
        }
        self.pace.finished(self.now);
    }

    fn forget_deadline(&mut self, id: RequestId) {
        if let Some(deadline) = self.requests.get(&id).and_then(|request| request.deadline) {
            self.deadlines.remove(&(deadline, id));
        }
    }

    pub(super) fn drop_waiting(&mut self, id: RequestId) {
        self.forget_deadline(id);
        self.book.ended(id);
        if let Some(request) = self.requests.remove(&id) {
            self.queue.remove(request.site, &request.place);
        }
    }

    fn drop_running(&mut self, id: RequestId) -> Option<Request> {
        // One that waits is no business of a lane's.
        self.requests.get(&id)?.lane?;
        self.forget_deadline(id);
        self.book.ended(id);
        let request = self.requests.remove(&id)?;
        self.queue.ended(request.site, &request.place);
        Some(request)
    }

    pub(super) fn refuse_all(&mut self, site: Site, error: &Error, out: &mut Vec<Action>) {
        for place in self.queue.clear(site) {
            self.forget_deadline(place.id);
            self.book.ended(place.id);
            self.requests.remove(&place.id);
            out.push(Action::Refuse { id: place.id, error: error.clone() });
        }
    }
}

/// Events about lanes.
impl Sched {
    fn stage(&mut self, id: LaneId) -> Option<Stage> {
        self.lanes.owner(id).and_then(|(_, entry)| entry.lane.as_ref()).map(|lane| lane.stage)
    }

    fn lane_ready(&mut self, id: LaneId, slots: u32) {
        let now = self.now;
        let Some((_, entry)) = self.lanes.owner(id) else { return };
        let Some(lane) = entry.lane.as_mut().filter(|lane| lane.stage == Stage::Loading) else { return };
        lane.stage = Stage::Ready { slots: slots.max(1) };
        lane.used = now;
        entry.wanted = None;
        entry.blocked = None;
    }

    fn load_blocked(&mut self, id: LaneId, error: Error) {
        match self.stage(id) {
            Some(Stage::Loading) => self.lanes.block(id, error, self.now),
            Some(Stage::Stopping) => drop(self.lanes.remove(id)),
            _ => {}
        }
    }

    fn load_failed(&mut self, id: LaneId, error: &Error, out: &mut Vec<Action>) {
        let stage = self.stage(id);
        if !matches!(stage, Some(Stage::Loading | Stage::Stopping)) {
            return;
        }
        let Some((site, _)) = self.lanes.remove(id) else { return };
        if stage == Some(Stage::Loading) {
            self.lanes.entry(site).fault(error, self.now, &self.limits);
            self.refuse_all(site, error, out);
        }
    }

    fn lane_gone(
        &mut self,
        id: LaneId,
        retry: &BTreeSet<RequestId>,
        expected: bool,
        error: &Error,
        out: &mut Vec<Action>,
    ) {
        let Some((site, lane)) = self.lanes.remove(id) else { return };
        for id in &lane.running {
            let Some(mut request) = self.drop_running(*id) else { continue };
            if request.withdrawn || !retry.contains(id) {
                continue; // The service has ended it.
            }
            if self.closing {
                out.push(Action::Refuse { id: *id, error: shutting_down() });
            } else if request.place.retried {
                out.push(Action::Refuse { id: *id, error: error.clone() });
            } else {
                request.place.retried = true;
                request.lane = None;
                self.deadlines.extend(request.deadline.map(|deadline| (deadline, *id)));
                self.queue.put_back(site, request.place);
                self.book.waits(*id, false);
                self.requests.insert(*id, request);
            }
        }
        if expected || lane.stage == Stage::Stopping {
            return;
        }
        let now = self.now;
        let entry = self.lanes.entry(site);
        entry.fault(error, now, &self.limits);
        if let Some(until) = entry.quarantine(now) {
            let error = entry.refusal(until, now);
            self.refuse_all(site, &error, out);
        }
    }

    fn load(&mut self, site: Site) {
        if self.closing {
            return;
        }
        let wish = (self.now, self.seq);
        let entry = self.lanes.entry(site);
        match &mut entry.lane {
            Some(lane) if lane.stage != Stage::Stopping => {
                lane.used = wish.0;
                lane.drain = lane.drain.filter(|drain| !drain.asked);
            }
            _ => {
                entry.wanted = entry.wanted.or(Some(wish));
                self.seq += 1;
                entry.pardon();
            }
        }
    }

    fn unload(&mut self, site: Site) {
        let drain = Drain { before: self.seq, asked: true };
        let entry = self.lanes.entry(site);
        entry.wanted = None;
        if let Some(lane) = &mut entry.lane {
            // Who asks again does not put it off.
            lane.drain = lane.drain.filter(|drain| drain.asked).or(Some(drain));
        }
    }

    fn shut_down(&mut self, out: &mut Vec<Action>) {
        self.closing = true;
        for site in self.queue.sites() {
            self.refuse_all(site, &shutting_down(), out);
        }
        self.lanes.entries.values_mut().for_each(|entry| entry.wanted = None);
    }
}

/// How fast requests end, to say when trying again makes sense.
#[derive(Debug)]
pub(super) struct Pace {
    /// Mean time between two ends while something runs.
    mean: Duration,
    pub(super) last: Time,
}

impl Pace {
    /// Assumed until something ended: a short answer of a small model.
    const UNMEASURED: Duration = Duration::from_secs(1);
    /// Nobody is told to wait longer: an estimate that far ahead is worth little.
    const LONGEST: Duration = Duration::from_secs(60);

    fn finished(&mut self, now: Time) {
        self.mean = (self.mean.saturating_mul(7).saturating_add(now.since(self.last))) / 8;
        self.last = now;
    }

    /// The time in which half of so many requests end: late enough that there is room again, early enough that the
    /// line has not run dry. One second to one minute.
    fn to_halve(&self, waiting: usize) -> Duration {
        let half = u32::try_from(waiting.div_ceil(2)).unwrap_or(u32::MAX);
        self.mean.saturating_mul(half).clamp(Duration::from_secs(1), Pace::LONGEST)
    }
}

fn shutting_down() -> Error {
    Error::new(Code::ShuttingDown, "The service is stopping; try again when it is back")
}
