//! Requests that have not ended: their books, and the events about them.
//!
//! It does not decide where they run (see `choose` and `planning`) or who is next (see `queue`). What always holds: a request
//! that comes is refused at once or stands in the line, and who leaves the books leaves the line as well.

use std::time::Duration;

use super::budget::Gate;
use super::coordinator::{shutting_down, Sched};
use super::planning::Lost;
use super::queue::Waiting;
use super::{Action, Arrival, Plan, Site};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId, Tenant};

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) arrival: Arrival,
    pub(super) plan: Plan,
    /// It has a plan.
    pub(super) planned: bool,
    /// How often it got a better one while it waited.
    pub(super) moves: u8,
    /// It runs by that to explore; by the best plan it would take so many joules.
    pub(super) instead: Option<f64>,
    /// Threads of its prompt and of its answer, by its plan.
    pub(super) threads: (u32, u32),
    /// How long its prompt and its answer are thought to keep a slot, and, once it runs, until when.
    pub(super) takes: (Duration, Duration),
    pub(super) until: Time,
    /// When it started on its lane, and for how long that had had company by then.
    pub(super) begun: (Time, Duration),
    /// Sites where no lane came up for it.
    pub(super) left: Vec<Site>,
    /// Where it waits or runs.
    pub(super) site: Site,
    pub(super) place: Waiting,
    pub(super) deadline: Option<Time>,
    /// Where it runs; `None` while it waits.
    pub(super) lane: Option<LaneId>,
    /// Cancelled while it ran: nobody wants to hear of it any more.
    pub(super) withdrawn: bool,
}

impl Request {
    /// How long it is thought to keep the slot that it waits for.
    pub(super) fn stays(&self) -> Duration {
        let (prompt, answer) = self.takes;
        match (self.plan.is_split(), self.place.carries) {
            (_, true) => answer,
            (true, false) => prompt,
            (false, false) => prompt + answer,
        }
    }
}

/// Events about requests.
impl Sched {
    pub(super) fn arrived(&mut self, mut arrival: Arrival, out: &mut Vec<Action>) {
        let id = arrival.id;
        if self.requests.contains_key(&id) {
            return;
        }
        let chosen = if self.closing { Err(shutting_down()) } else { self.choose(&arrival, Lost::Nothing) };
        if let Some(choice) = chosen.as_ref().ok().map(|chosen| &chosen.choice).filter(|c| c.forecast.measured) {
            arrival.predicted = choice.forecast.energy();
        }
        self.book.arrived(&arrival);
        let taken = chosen.and_then(|chosen| {
            let plan = chosen.choice.plan;
            self.objection(plan, arrival.tenant, self.book.gate(id)).map_or(Ok(chosen), Err)
        });
        let chosen = match taken {
            Ok(chosen) => chosen,
            Err(error) => {
                self.book.ended(id);
                self.book.settled(id);
                out.push(Action::Refuse { id, error });
                return;
            }
        };
        let (plan, deadline) = (chosen.choice.plan, arrival.deadline);
        self.note_arrival(&arrival, plan, chosen.choice.answer, &chosen.savings);
        let place = Waiting {
            id,
            tenant: arrival.tenant,
            client: arrival.client,
            class: arrival.class,
            tokens: arrival.tokens,
            arrived: self.now,
            seq: self.seq,
            retried: false,
            carries: false,
            work: Duration::ZERO,
            planned: self.news,
        };
        self.seq += 1;
        self.deadlines.extend(deadline.map(|deadline| (deadline, id)));
        let request = Request {
            arrival,
            plan,
            planned: false,
            moves: 0,
            instead: None,
            threads: chosen.threads,
            takes: (Duration::ZERO, Duration::ZERO),
            until: Time::ZERO,
            begun: (Time::ZERO, Duration::ZERO),
            left: Vec::new(),
            site: plan.prefill,
            place,
            deadline,
            lane: None,
            withdrawn: false,
        };
        self.requests.insert(id, request);
        self.assign(id, chosen, out);
        self.stand(id);
    }

    /// Why a request cannot be taken, where it cannot.
    fn objection(&self, plan: Plan, tenant: Tenant, gate: Gate) -> Option<Error> {
        let site = plan.prefill;
        let entry = self.lanes.get(site);
        // Where there is a site that takes requests, the plan is not for one that does not.
        if let Some(error) = self.resting(plan) {
            return Some(error);
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

    pub(super) fn cancelled(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.lane.is_some() {
            request.withdrawn = true;
            self.forget_deadline(id);
        } else {
            self.drop_waiting(id);
        }
    }

    pub(super) fn finished(&mut self, id: RequestId) {
        if self.requests.get(&id).is_some_and(|request| request.lane.is_some()) {
            self.freed(id);
            self.pace.finished(self.now);
            self.drop_running(id);
        }
    }

    pub(super) fn stopped(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let waits = self.may_wait_again(id);
        self.freed(id);
        let withdrawn = self.requests.get(&id).is_none_or(|request| request.withdrawn);
        if !waits || withdrawn {
            self.drop_running(id);
            return;
        }
        let Some(request) = self.requests.get_mut(&id).filter(|request| request.lane.is_some()) else { return };
        self.queue.ended(request.site, &request.place);
        request.lane = None;
        self.book.ended(id);
        self.book.waits(id, true);
        self.start_anew(id, Lost::Nothing, out);
    }

    /// A running request's slot is free.
    pub(super) fn freed(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        let (Some(lane), decode) = (request.lane, request.plan.decode) else { return };
        let begun = request.begun;
        if let Some(entry) = self.lanes.entries.get_mut(&decode) {
            entry.inbound.remove(&id);
        }
        let Some((site, entry)) = self.lanes.owner(lane) else { return };
        entry.works();
        if let Some(lane) = &mut entry.lane {
            lane.running.remove(&id);
            lane.used = self.now;
            let (ran, company) = (self.now.since(begun.0), lane.company.saturating_sub(begun.1));
            self.known.left(id, company.as_secs_f64() / ran.as_secs_f64().max(1e-9));
        }
        self.keep(site);
        self.note_room(site);
    }

    pub(super) fn forget_deadline(&mut self, id: RequestId) {
        if let Some(deadline) = self.requests.get(&id).and_then(|request| request.deadline) {
            self.deadlines.remove(&(deadline, id));
        }
    }

    pub(super) fn drop_waiting(&mut self, id: RequestId) {
        self.forget_deadline(id);
        self.book.ended(id);
        if let Some(request) = self.forget(id) {
            self.queue.remove(request.site, &request.place);
        }
    }

    pub(super) fn drop_running(&mut self, id: RequestId) -> Option<Request> {
        // One that waits is no business of a lane's.
        self.requests.get(&id)?.lane?;
        self.forget_deadline(id);
        self.book.ended(id);
        let request = self.forget(id)?;
        self.queue.ended(request.site, &request.place);
        Some(request)
    }

    /// It is gone for good.
    pub(super) fn forget(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        if let Some(entry) = self.lanes.entries.get_mut(&request.plan.decode) {
            entry.inbound.remove(&id);
            entry.bound = entry.bound.saturating_sub(1);
        }
        self.known.went(&request.arrival, self.now);
        if request.instead.is_some() {
            self.known.in_use(request.plan.prefill);
            self.known.in_use(request.plan.decode);
        }
        Some(request)
    }
}
