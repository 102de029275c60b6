//! Plans of requests as they come, wait, move, are handed over and lose their lanes.
//!
//! A request is planned when it comes. One that stands first in its line is looked at again when something has changed
//! that may matter to it: a lane came up or went, there is room elsewhere, a profile changed. What waits where no lane can
//! be any more moves at once, or is refused where it can go nowhere.
//!
//! What always holds: who waits for a lane is known to the line of that site; who carries a state from another lane is
//! planned no more, and goes on wherever a lane of its variant takes it.

use std::time::Duration;

use super::choose::Chosen;
use super::coordinator::{shutting_down, Sched};
use super::hold::Saving;
use super::lanes::{Lane, Patience, Stage};
use super::profile::within;
use super::queue::Waiting;
use super::{Action, Arrival, Forecast, Measured, Plan, Policy, Profile, Reason, Site};
use crate::error::{Code, Error};
use crate::lane::RequestId;

/// Requests that are looked at again for one event: the rest have their turn with the next, who waits for it longest first.
const LOOKS: usize = 4;
/// A request that waits moves no more often than this for a better plan: forecasts that change with every event must not
/// send it about for ever.
const MOVES: u8 = 6;

/// Sites that a plan does without where there is another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lost<'a> {
    /// None.
    Nothing,
    /// No lane came up there, or can.
    Absent(&'a [Site]),
    /// Its lane died there.
    Died(&'a [Site]),
}

impl<'a> Lost<'a> {
    pub(super) fn sites(self) -> &'a [Site] {
        match self {
            Lost::Nothing => &[],
            Lost::Absent(sites) | Lost::Died(sites) => sites,
        }
    }

    /// Why it runs elsewhere.
    pub(super) fn reason(self) -> Option<Reason> {
        match self {
            Lost::Died(sites) if !sites.is_empty() => Some(Reason::Fault),
            Lost::Absent(sites) if !sites.is_empty() => Some(Reason::Unavailable),
            _ => None,
        }
    }
}

/// Plans.
impl Sched {
    /// What was measured of a lane here, to be kept for the next run.
    pub fn profile(&self, site: Site) -> Option<&Profile> {
        self.known.measured(site).filter(|profile| **profile != Profile::default())
    }

    /// The places where this variant may have a lane, the CPU first.
    pub fn places(&self, variant: super::VariantId) -> Vec<Site> {
        self.known.places(variant).collect()
    }

    /// How a request runs, or will run as things stand.
    pub fn plan(&self, id: RequestId) -> Option<Plan> {
        self.requests.get(&id).map(|request| request.plan)
    }

    /// Something changed that plans may depend on.
    pub(super) fn news(&mut self) {
        self.news += 1;
    }

    /// A request that was taken: what its coming says of the traffic.
    pub(super) fn note_arrival(&mut self, arrival: &Arrival, plan: Plan, answer: u32, savings: &[(Site, Saving)]) {
        let gap = self.known.came(arrival, self.now);
        let ready = |site: Site| {
            let lane = self.lanes.get(site).and_then(|entry| entry.lane.as_ref());
            lane.is_some_and(|lane| matches!(lane.stage, Stage::Ready { .. }))
        };
        let cells = arrival.prompt.saturating_add(answer);
        let there = |id: RequestId| self.requests.contains_key(&id);
        self.known.reuse.came(arrival, plan, cells, ready, there, self.now);
        for (site, saving) in savings {
            let lane = self.lanes.get(*site).and_then(|entry| entry.lane.as_ref());
            let up = lane.is_some_and(|lane| lane.stage != Stage::Stopping);
            let used = up || *site == plan.prefill || *site == plan.decode;
            self.known.saves(*site, *saving, gap, used);
            if lane.is_some_and(Lane::is_idle) {
                self.keep(*site);
            }
        }
    }

    /// Says anew how long the idle lane here is worth its watts.
    pub(super) fn keep(&mut self, site: Site) {
        let limit = self.longest_idle(site);
        let hold = self.known.hold(site);
        let keep = if hold <= 0.0 || self.policy() == Policy::MaxThroughput {
            None
        } else {
            let best = self.known.keep(site, limit);
            let patient = if self.policy() == Policy::Balanced { self.known.load(site).joules / hold } else { 0.0 };
            let time = |seconds: f64| Duration::from_secs_f64(within(seconds.max(patient), 0.0, 1e9));
            Some(Patience { alone: time(best.idle), beside: time(best.worth / hold) })
        };
        self.lanes.entry(site).keep = keep;
    }

    /// A plan is taken for a request that stands in no line.
    pub(super) fn assign(&mut self, id: RequestId, chosen: Chosen, out: &mut Vec<Action>) {
        let Chosen { choice, instead, threads, .. } = chosen;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (plan, old) = (choice.plan, request.plan);
        if request.instead.is_some() {
            // It was to find out what that takes, and will not.
            self.known.in_use(old.prefill);
            self.known.in_use(old.decode);
        }
        for site in [plan.prefill, plan.decode] {
            match instead {
                Some(_) => self.known.explores(site),
                None => self.known.in_use(site),
            }
        }
        if request.planned {
            let before = self.lanes.entry(old.decode);
            before.bound = before.bound.saturating_sub(1);
        }
        self.lanes.entry(plan.decode).bound += 1;
        request.planned = true;
        request.plan = plan;
        request.site = plan.prefill;
        request.instead = instead;
        request.threads = threads;
        let Forecast { prefill, handover, decode, .. } = choice.forecast;
        request.takes = (prefill + handover, decode);
        request.place.work = request.stays();
        request.place.planned = self.news;
        self.lanes.entry(plan.prefill);
        out.push(Action::Planned { id, choice: Box::new(choice) });
    }

    /// Looks again at the plans of those that stand first, where something has changed since.
    pub(super) fn replan(&mut self, out: &mut Vec<Action>) {
        if self.replanned == (self.news, self.queue.len()) {
            return;
        }
        let news = self.news;
        let since = |place: &Waiting| (place.planned, place.seq);
        // News may come faster than all can be looked at: those who were not looked at for longest are first.
        let mut oldest: Vec<(Site, Waiting)> = Vec::with_capacity(LOOKS + 1);
        for site in self.queue.sites() {
            for head in self.queue.heads(site).filter(|head| head.planned < news) {
                let at = oldest.partition_point(|(_, other)| since(other) < since(head));
                if at < LOOKS {
                    oldest.insert(at, (site, *head));
                    oldest.truncate(LOOKS);
                }
            }
        }
        if oldest.is_empty() {
            self.replanned = (news, self.queue.len());
        }
        for (site, place) in oldest {
            self.look_again(site, &place, out);
        }
    }

    fn look_again(&mut self, site: Site, place: &Waiting, out: &mut Vec<Action>) {
        self.queue.planned(site, place, self.news);
        let Some(request) = self.requests.get(&place.id) else { return };
        if place.carries {
            if request.moves >= MOVES {
                return;
            }
            let to = self.landing(&request.arrival, Plan { decode: site, ..request.plan }, None);
            if let Some(to) = to.filter(|to| *to != site) {
                self.queue.remove(request.site, &request.place);
                if let Some(request) = self.requests.get_mut(&place.id) {
                    request.moves += 1;
                }
                self.redirect(place.id, to);
            }
            return;
        }
        let closed =
            self.lanes.get(site).is_some_and(|entry| entry.tight && entry.lane.is_none()) && !self.room_comes();
        if (request.instead.is_some() && !closed) || request.moves >= MOVES {
            return;
        }
        let Ok(chosen) = self.choose(&request.arrival, Lost::Absent(&request.left)) else { return };
        let goes = [chosen.choice.plan.prefill, chosen.choice.plan.decode];
        if goes.iter().any(|site| request.left.contains(site)) || self.resting(chosen.choice.plan).is_some() {
            return;
        }
        if self.is_better(&chosen, &request.arrival, request.plan) {
            self.reassign(place.id, chosen, out);
        }
    }

    /// A request that waits gets another plan.
    fn reassign(&mut self, id: RequestId, chosen: Chosen, out: &mut Vec<Action>) {
        let Some(request) = self.requests.get(&id) else { return };
        self.queue.remove(request.site, &request.place);
        self.assign(id, chosen, out);
        if let Some(request) = self.requests.get_mut(&id) {
            request.moves += 1;
        }
        self.stand(id);
    }

    /// It takes its place in the line of the site where it is next.
    pub(super) fn stand(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        self.queue.push(request.site, request.place);
    }

    /// No lane comes here for now: who waits goes elsewhere, or is refused where there is nowhere else.
    pub(super) fn leave(&mut self, site: Site, error: &Error, out: &mut Vec<Action>) {
        for place in self.queue.clear(site) {
            let Some(request) = self.requests.get_mut(&place.id) else { continue };
            if place.carries {
                let request = &self.requests[&place.id];
                match self.landing(&request.arrival, request.plan, Some(site)) {
                    Some(to) => self.redirect(place.id, to),
                    None => self.turn_out(place.id, error.clone(), out),
                }
                continue;
            }
            if !request.left.contains(&site) {
                request.left.push(site);
            }
            let request = &self.requests[&place.id];
            let chosen = self.choose(&request.arrival, Lost::Absent(&request.left)).ok().filter(|chosen| {
                let plan = chosen.choice.plan;
                let again = request.left.contains(&plan.prefill) || request.left.contains(&plan.decode);
                !again && self.resting(plan).is_none()
            });
            match chosen {
                Some(chosen) => {
                    self.assign(place.id, chosen, out);
                    self.stand(place.id);
                }
                None => self.turn_out(place.id, error.clone(), out),
            }
        }
    }

    /// Nothing is loaded any more: who comes from another lane to one that is not up goes on where one is, or is refused.
    pub(super) fn strand(&mut self, out: &mut Vec<Action>) {
        let down = self.lanes.entries.iter().filter(|(_, entry)| !entry.is_up()).map(|(site, _)| *site);
        for site in down.collect::<Vec<_>>() {
            // Where those go on whose prompt is still computed is seen once it is.
            self.lanes.entry(site).inbound.clear();
            self.leave(site, &shutting_down(), out);
        }
    }

    /// A request that carries its state and stands in no line goes on there.
    fn redirect(&mut self, id: RequestId, to: Site) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.site = to;
        request.place.planned = self.news;
        self.lanes.entry(to);
        self.stand(id);
    }

    /// A running request's state is out of its lane: it goes on elsewhere.
    pub(super) fn exported(&mut self, id: RequestId, time: Duration, out: &mut Vec<Action>) {
        let Some(request) = self.requests.get(&id) else { return };
        if request.lane.is_none() || request.place.carries || !request.plan.is_split() {
            return;
        }
        let (plan, cells) = (request.plan, request.arrival.prompt);
        self.known.moved(plan.variant(), cells, time);
        self.freed(id);
        let withdrawn = self.requests.get(&id).is_some_and(|request| request.withdrawn);
        if withdrawn {
            self.drop_running(id);
            return;
        }
        let Some(request) = self.requests.get_mut(&id) else { return };
        self.queue.ended(request.site, &request.place);
        request.lane = None;
        request.place.carries = true;
        request.place.work = request.stays();
        self.deadlines.extend(request.deadline.map(|deadline| (deadline, id)));
        match self.requests.get(&id).and_then(|request| self.landing(&request.arrival, plan, None)) {
            Some(to) => self.redirect(id, to),
            None if self.closing => self.turn_out(id, shutting_down(), out),
            None => {
                let message = "No lane of this model takes requests any more; try again in a while";
                self.turn_out(id, Error::new(Code::Quarantined, message), out);
            }
        }
    }

    /// A request that ran and stands in no line starts anew, by the best plan that does not need what it `lost`, if there is
    /// another one.
    pub(super) fn start_anew(&mut self, id: RequestId, lost: Lost, out: &mut Vec<Action>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        // What was computed is gone.
        request.place.carries = false;
        self.deadlines.extend(request.deadline.map(|deadline| (deadline, id)));
        let request = &self.requests[&id];
        let taken = request.site;
        let chosen = self.choose(&request.arrival, lost).and_then(|chosen| {
            let plan = chosen.choice.plan;
            self.resting(plan).map_or(Ok(chosen), Err)
        });
        match chosen {
            Ok(chosen) => {
                self.assign(id, chosen, out);
                if let Some(request) = self.requests.get(&id) {
                    self.queue.put_back(taken, request.site, request.place);
                }
            }
            Err(error) => self.turn_out(id, error, out),
        }
    }

    /// A request that stands in no line is refused.
    pub(super) fn turn_out(&mut self, id: RequestId, error: Error, out: &mut Vec<Action>) {
        self.forget_deadline(id);
        self.book.ended(id);
        self.forget(id);
        out.push(Action::Refuse { id, error });
    }

    /// Why a plan cannot be: one of its sites failed too often and is left alone.
    pub(super) fn resting(&self, plan: Plan) -> Option<Error> {
        [plan.prefill, plan.decode].into_iter().find_map(|site| {
            let entry = self.lanes.get(site)?;
            Some(entry.refusal(site, entry.quarantine(self.now)?, self.now))
        })
    }

    /// What a request took on a lane.
    pub(super) fn measured(&mut self, id: RequestId, site: Site, measured: &Measured) {
        if self.known.measure(id, site, measured) {
            self.news();
        }
    }

    /// A lane here can be, or not.
    pub(super) fn usable(&mut self, site: Site, usable: bool, out: &mut Vec<Action>) {
        self.known.set_usable(site, usable);
        self.news();
        if !usable {
            let message = "No device can run this model here any more; `wattlm status` says which devices there are";
            self.leave(site, &Error::new(Code::ModelLoadFailed, message), out);
            self.unload(site);
        } else if let Some(entry) = self.lanes.entries.get_mut(&site) {
            // It was found anew, after a change of drivers, say.
            entry.pardon();
        }
    }

    /// There is room in a lane that nobody waits for: it may be better for who waits elsewhere.
    pub(super) fn note_room(&mut self, site: Site) {
        let lane = self.lanes.get(site).and_then(|entry| entry.lane.as_ref());
        let room = lane.is_some_and(|lane| lane.has_room() && lane.running.is_empty());
        if room && self.queue.waiting_at(site) == 0 && self.queue.len() > 0 {
            self.news();
        }
    }
}

#[cfg(test)]
mod tests;
