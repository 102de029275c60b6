//! What follows from the state as it is: deadlines, starts, lanes that may go, lanes that must come, and how hard
//! they work.
//!
//! It looks at the state only, never at the event, so that no order of events can leave work behind.
//!
//! Memory is shared by time. A site that is blocked first lets idle lanes go, least recently used first. Where
//! all are busy, one lane *drains*: it still serves what waited for it when that was decided and whatever is more
//! urgent than what the blocked site waits with, and nothing less urgent; then it goes. So every turn serves at
//! least what made it necessary, unless something more urgent came, and ageing bounds the wait of the blocked
//! site. Others may load past it for one `ageing`; from then on memory that comes free is kept for it, so that
//! small models cannot keep a large one out.

use std::time::Duration;

use super::budget::Gate;
use super::coordinator::Sched;
use super::lanes::{Drain, Entry, Lane, Stage};
use super::pace::Bounds;
use super::queue::{Lifts, Waiting};
use super::{Action, Class, Limits, Policy, Site};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId};

/// What follows from the state as it is.
impl Sched {
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        self.expire(out);
        self.turn_away(out);
        if self.closing {
            self.strand(out);
        }
        self.replan(out);
        self.forget_needless_blocks();
        loop {
            self.start(out);
            // Others may have come to the head of their lines.
            self.turn_away(out);
            self.let_go(out);
            // Who moves is taken, or has its lane brought up, in the next round. It never moves back.
            if !self.bring_up(out) {
                break;
            }
        }
        // Who starts must know how far it may go, and who gives way must hear of it first.
        let mut allowed = Vec::new();
        self.book.divide(&mut allowed);
        let first = out.iter().position(|action| matches!(action, Action::Start { .. })).unwrap_or(out.len());
        out.splice(first..first, allowed);
        let ready = self.lanes.iter().filter(|(_, lane)| matches!(lane.stage, Stage::Ready { .. }));
        let work = |(site, lane): (Site, &Lane)| (lane.id, site, !lane.running.is_empty(), self.preferred(site, lane));
        let work: Vec<_> = ready.map(work).collect();
        let Limits { threads, duty, .. } = self.limits;
        self.pacer.bound(&Bounds { cap: self.effective_cap(), policy: self.policy(), threads, duty });
        self.pacer.settle(work.into_iter(), self.now, out);
    }

    /// The numbers of threads that the plans of those that run in this lane count on: of each the largest. `None` where
    /// the pacer finds them.
    fn preferred(&self, site: Site, lane: &Lane) -> Option<(u32, u32)> {
        let asked = |id: &RequestId| self.requests.get(id)?.arrival.threads;
        // Of a lane that was measured with nobody knows how many, these are as many as it has.
        let some = |n: u32| if n == 0 { u32::MAX } else { n };
        if let Some(threads) = lane.running.iter().find_map(asked) {
            return Some((some(threads), some(threads)));
        }
        if self.effective_cap().is_some() || self.policy() == Policy::MaxThroughput {
            return None;
        }
        if !site.device.is_cpu() {
            return Some((u32::MAX, u32::MAX));
        }
        self.known.measured(site).filter(|profile| profile.has_choice())?;
        let running = lane.running.iter().filter_map(|id| self.requests.get(id));
        let running = running.map(|request| (some(request.threads.0), some(request.threads.1)));
        running.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    fn expire(&mut self, out: &mut Vec<Action>) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= self.now) {
            self.deadlines.pop_first();
            let Some(request) = self.requests.get(&id) else { continue };
            if request.lane.is_some() {
                out.push(Action::Expire(id));
            } else {
                let waited = self.now.since(request.place.arrived).as_secs_f64();
                let message = format!(
                    "The deadline passed after {waited:.1} s of waiting for a turn; allow more time, or raise the class"
                );
                self.drop_waiting(id);
                out.push(Action::Refuse { id, error: Error::new(Code::DeadlineExceeded, message) });
            }
        }
    }

    /// Refuses who has come to the head of its line and whose budget does not let it start, unless it may wait.
    fn turn_away(&mut self, out: &mut Vec<Action>) {
        if !self.book.bounds_anything() {
            return;
        }
        for site in self.queue.sites() {
            loop {
                let refusal = |head: &Waiting| {
                    let error = self.book.refusal(head.id, head.class, self.book.gate(head.id))?;
                    Some((head.id, error))
                };
                let refused: Vec<_> = self.queue.heads(site).filter_map(refusal).collect();
                if refused.is_empty() {
                    break;
                }
                for (id, error) in refused {
                    self.drop_waiting(id);
                    out.push(Action::Refuse { id, error });
                }
            }
        }
    }

    fn forget_needless_blocks(&mut self) {
        let needless = |site: &Site| !self.is_needed(*site);
        let needless: Vec<Site> = self.lanes.entries.keys().copied().filter(needless).collect();
        for site in needless {
            self.lanes.entry(site).blocked = None;
        }
        if self.lanes.entries.values().all(|entry| entry.blocked.is_none()) {
            for lane in self.lanes.entries.values_mut().filter_map(|entry| entry.lane.as_mut()) {
                lane.drain = lane.drain.filter(|drain| drain.asked);
            }
        }
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        let pressing = self.pressing();
        for site in self.queue.sites() {
            while let Some(place) = self.startable(site, pressing) {
                let Some(lane) = self.lanes.entry(site).lane.as_mut() else { break };
                if self.requests.len() == self.queue.len() {
                    self.pace.last = self.now;
                }
                lane.running.insert(place.id);
                lane.used = self.now;
                let (lane, company) = (lane.id, lane.company);
                self.lanes.entry(site).asked = false;
                self.queue.take(site, &place);
                let export = self.set_off(place.id, lane, company);
                self.book.started(place.id);
                out.push(Action::Start { id: place.id, lane, export });
            }
        }
    }

    /// A request starts on this lane. Says whether it goes on elsewhere once its prompt is computed.
    fn set_off(&mut self, id: RequestId, lane: LaneId, company: Duration) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        request.lane = Some(lane);
        request.until = self.now + request.stays();
        request.begun = (self.now, company);
        if !request.place.carries {
            self.known.starts(&request.arrival, request.instead);
        }
        let export = request.plan.is_split() && !request.place.carries;
        if export {
            self.lanes.entry(request.plan.decode).inbound.insert(id, request.place);
        }
        export
    }

    fn let_go(&mut self, out: &mut Vec<Action>) {
        let pressing = self.pressing();
        let going = self.lanes.iter().filter(|(site, lane)| self.may_go(*site, lane, pressing));
        for site in going.map(|(site, _)| site).collect::<Vec<_>>() {
            self.stop(site, out);
        }
    }

    /// When the lane here, if nothing happens, has been idle for long enough.
    pub(super) fn leaves_at(&self, site: Site, entry: &Entry, lane: &Lane) -> Option<Time> {
        let configured = entry.configured(&self.limits).map(|limit| lane.used + limit);
        let kept =
            entry.keep.filter(|_| !entry.asked).map(|keep| match self.known.quiet_since(site.variant, lane.used) {
                Some(since) => since + keep.alone,
                None => lane.used + keep.alone.max(keep.beside),
            });
        configured.into_iter().chain(kept).min()
    }

    fn may_go(&self, site: Site, lane: &Lane, pressing: Option<Class>) -> bool {
        if lane.stage == Stage::Stopping || !lane.running.is_empty() {
            return false;
        }
        let drained = lane.drain.is_some_and(|drain| drain.asked || pressing.is_some())
            && self.next(site, lane, pressing).is_none()
            && !self.is_expected(site, lane.drain, pressing);
        let leaves = self.lanes.get(site).and_then(|entry| self.leaves_at(site, entry, lane));
        let unused = leaves.is_some_and(|leaves| leaves <= self.now);
        let idle = (self.closing || (unused && lane.is_idle())) && !self.is_awaited(site);
        drained || idle
    }

    /// Brings lanes up, for the most urgent sites first. Says whether requests moved because one cannot come up.
    fn bring_up(&mut self, out: &mut Vec<Action>) -> bool {
        if self.closing {
            return false;
        }
        let lacking =
            self.lanes.entries.iter().filter(|(_, entry)| entry.lane.is_none() && entry.not_before <= self.now);
        let mut lacking: Vec<_> = lacking.filter_map(|(site, _)| Some((self.urgency(*site)?, *site))).collect();
        lacking.sort();
        let mut kept = false;
        for (_, site) in lacking {
            let blocked = self.lanes.get(site).and_then(|entry| entry.blocked.as_ref());
            let (since, again) = blocked.map_or((self.now, true), |blocked| (blocked.since, blocked.again));
            if !again {
                if self.make_room(site, out) {
                    return true;
                }
            } else if !kept {
                let lane = self.lanes.load(site, self.now);
                out.push(Action::Load { lane, site });
            }
            let still_blocked = self.lanes.get(site).is_some_and(|entry| entry.blocked.is_some());
            kept |= still_blocked && since + self.limits.ageing <= self.now;
        }
        false
    }

    /// Memory comes free without anybody having to wait for a busy lane.
    pub(super) fn room_comes(&self) -> bool {
        let goes =
            |site: Site, lane: &Lane| lane.stage == Stage::Stopping || (lane.is_idle() && !self.is_awaited(site));
        self.lanes.iter().any(|(site, lane)| goes(site, lane))
    }

    /// One step towards memory for a blocked site, unless one is being made. Says whether there is none to be made and who
    /// waited has left.
    fn make_room(&mut self, site: Site, out: &mut Vec<Action>) -> bool {
        if self.lanes.iter().any(|(_, lane)| lane.stage == Stage::Stopping) {
            return false;
        }
        let idle = self.lanes.iter().filter(|(other, lane)| lane.is_idle() && !self.is_awaited(*other));
        if let Some((other, _)) = idle.min_by_key(|(_, lane)| (lane.used, lane.id)) {
            self.stop(other, out);
        } else if self.lanes.iter().next().is_none() {
            let blocked = self.lanes.entry(site).blocked.take();
            self.lanes.entry(site).wanted = None;
            if let Some(blocked) = blocked {
                if !site.device.is_cpu() {
                    // Not even alone: others need not give way for it again and again.
                    self.lanes.entry(site).fault(site, &blocked.error, self.now, &self.limits);
                }
                self.leave(site, &blocked.error, out);
            }
            return true;
        } else if self.lanes.iter().all(|(_, lane)| lane.drain.is_none()) {
            // The lane with the least urgent work, then the one that will be idle soonest.
            let ready = self.lanes.iter().filter(|(_, lane)| matches!(lane.stage, Stage::Ready { .. }));
            let rank = |other: Site, lane: &Lane| {
                let class = self.urgency(other).map(|(class, _)| std::cmp::Reverse(class));
                (class, lane.running.len(), lane.id)
            };
            let victim = ready.min_by_key(|(other, lane)| rank(*other, lane)).map(|(other, _)| other);
            let before = self.seq;
            let together = victim.is_some_and(|other| other.variant == site.variant);
            if let Some(lane) = victim.and_then(|other| self.lanes.entry(other).lane.as_mut()) {
                lane.drain = Some(Drain { before, asked: false, together });
            }
        }
        false
    }

    fn stop(&mut self, site: Site, out: &mut Vec<Action>) {
        if let Some(lane) = &mut self.lanes.entry(site).lane {
            lane.stage = Stage::Stopping;
            lane.drain = None;
            out.push(Action::Unload(lane.id));
        }
    }

    /// The request that this site's lane starts next, where there is one and a slot is free.
    fn startable(&self, site: Site, pressing: Option<Class>) -> Option<Waiting> {
        let lane = self.lanes.get(site)?.lane.as_ref().filter(|lane| lane.has_room())?;
        self.next(site, lane, pressing)
    }

    /// The request that this lane would start next, `pressing` being what others wait for memory with.
    fn next(&self, site: Site, lane: &Lane, pressing: Option<Class>) -> Option<Waiting> {
        let turn = |class, place: &Waiting| has_turn(lane.drain, pressing, class, place);
        self.queue.next(site, self.lifts(), |class, place| turn(class, place) && self.is_open(place))
    }

    /// The most urgent class that waits for memory.
    fn pressing(&self) -> Option<Class> {
        let starved = self.lanes.entries.iter().filter(|(_, entry)| entry.starved());
        starved.filter_map(|(site, _)| self.urgency(*site)).min().map(|(class, _)| class)
    }

    fn is_open(&self, place: &Waiting) -> bool {
        self.book.gate(place.id) == Gate::Open
    }

    /// Whether a request waits for this site that its budget lets start.
    pub(super) fn is_eager(&self, site: Site) -> bool {
        self.queue.heads(site).any(|head| self.is_open(head))
    }

    /// Whether a request waits for this site, or comes from another lane to go on here.
    pub(super) fn is_awaited(&self, site: Site) -> bool {
        self.is_eager(site) || self.lanes.get(site).is_some_and(|entry| !entry.inbound.is_empty())
    }

    /// Whether a request comes from another lane that this one still serves before it goes: one that it would start if it
    /// were there.
    fn is_expected(&self, site: Site, drain: Option<Drain>, pressing: Option<Class>) -> bool {
        let lifts = self.lifts();
        let turn = |place: &Waiting| has_turn(drain, pressing, lifts.class(place.class, place.arrived), place);
        self.lanes.get(site).is_some_and(|entry| entry.inbound.values().any(turn))
    }

    /// Whether somebody waits for this site: a request that its budget lets start, or who asked for it to be loaded.
    pub fn is_needed(&self, site: Site) -> bool {
        self.is_awaited(site) || self.lanes.get(site).is_some_and(|entry| entry.wanted.is_some())
    }

    /// Whether a lane comes up here without another one having to go first.
    pub fn is_coming(&self, site: Site) -> bool {
        let entry = self.lanes.get(site);
        // What failed too often comes in minutes, or not at all.
        let comes = |e: &Entry| e.quarantine(self.now).is_none() && e.blocked.as_ref().is_none_or(|b| b.again);
        self.is_needed(site) && entry.is_some_and(|e| e.lane.is_some() || comes(e))
    }

    /// The best class that wants this site, and how long ago it began to. Somebody who wants it loaded counts as a
    /// request of the standard class.
    fn urgency(&self, site: Site) -> Option<(Class, u64)> {
        let wanted = self.lanes.get(site).and_then(|entry| entry.wanted);
        let wish = wanted.map(|(since, seq)| (self.lifts().class(Class::Standard, since), seq));
        let lifts = self.lifts();
        let inbound = self.lanes.get(site).into_iter().flat_map(|entry| entry.inbound.values());
        let inbound = inbound.map(|place| (lifts.class(place.class, place.arrived), place.seq));
        let waiting = self.queue.urgency(site, lifts, |place| self.is_open(place));
        waiting.into_iter().chain(wish).chain(inbound).min()
    }

    pub(super) fn lifts(&self) -> Lifts {
        Lifts::new(self.now, self.limits.ageing)
    }
}

/// Whether a lane that drains still starts this request of such an effective class, `pressing` being what others wait for
/// memory with.
fn has_turn(drain: Option<Drain>, pressing: Option<Class>, class: Class, place: &Waiting) -> bool {
    match (drain, pressing) {
        (Some(Drain { before, asked: true, .. }), _) => place.seq < before,
        (Some(Drain { before, asked: false, together }), Some(urgent)) => {
            class < urgent || (class == urgent && (together || place.seq < before))
        }
        _ => true,
    }
}
