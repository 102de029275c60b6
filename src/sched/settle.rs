//! What follows from the state as it is: deadlines, starts, lanes that may go, lanes that must come.
//!
//! It looks at the state only, never at the event, so that no order of events can leave work behind.
//!
//! Memory is shared by time. A variant that is blocked first lets idle lanes go, least recently used first. Where
//! all are busy, one lane *drains*: it still serves what waited for it when that was decided and whatever is more
//! urgent than what the blocked variant waits with, and nothing less urgent; then it goes. So every turn serves at
//! least what made it necessary, unless something more urgent came, and ageing bounds the wait of the blocked
//! variant. Others may load past it for one `ageing`; from then on memory that comes free is kept for it, so that
//! small models cannot keep a large one out.

use super::coordinator::Sched;
use super::lanes::{Drain, Lane, Stage};
use super::queue::{Lifts, Waiting};
use super::{Action, Class, VariantId};
use crate::error::{Code, Error};

/// What follows from the state as it is.
impl Sched {
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        self.expire(out);
        self.forget_needless_blocks();
        self.start(out);
        self.let_go(out);
        self.bring_up(out);
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

    fn forget_needless_blocks(&mut self) {
        for (variant, entry) in &mut self.lanes.entries {
            if entry.wanted.is_none() && self.queue.waiting(*variant) == 0 {
                entry.blocked = None;
            }
        }
        if self.lanes.entries.values().all(|entry| entry.blocked.is_none()) {
            for lane in self.lanes.entries.values_mut().filter_map(|entry| entry.lane.as_mut()) {
                lane.drain = lane.drain.filter(|drain| drain.asked);
            }
        }
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        let pressing = self.pressing();
        for variant in self.queue.variants() {
            while let Some(place) = self.startable(variant, pressing) {
                let Some(lane) = self.lanes.entry(variant).lane.as_mut() else { break };
                if self.requests.len() == self.queue.len() {
                    self.pace.last = self.now;
                }
                lane.running.insert(place.id);
                lane.used = self.now;
                self.queue.take(variant, &place);
                if let Some(request) = self.requests.get_mut(&place.id) {
                    request.lane = Some(lane.id);
                }
                out.push(Action::Start { id: place.id, lane: lane.id });
            }
        }
    }

    fn let_go(&mut self, out: &mut Vec<Action>) {
        let pressing = self.pressing();
        let going = self.lanes.iter().filter(|(variant, lane)| self.may_go(*variant, lane, pressing));
        for variant in going.map(|(variant, _)| variant).collect::<Vec<_>>() {
            self.stop(variant, out);
        }
    }

    fn may_go(&self, variant: VariantId, lane: &Lane, pressing: Option<Class>) -> bool {
        if lane.stage == Stage::Stopping || !lane.running.is_empty() {
            return false;
        }
        let drained = lane.drain.is_some_and(|drain| drain.asked || pressing.is_some())
            && self.next(variant, lane, pressing).is_none();
        let limit = self.lanes.get(variant).and_then(|entry| entry.idle_limit(&self.limits));
        let unused = limit.is_some_and(|limit| lane.used + limit <= self.now);
        self.closing || drained || (unused && lane.is_idle() && self.queue.waiting(variant) == 0)
    }

    /// Brings lanes up, for the most urgent variants first.
    fn bring_up(&mut self, out: &mut Vec<Action>) {
        let lacking =
            self.lanes.entries.iter().filter(|(_, entry)| entry.lane.is_none() && entry.not_before <= self.now);
        let mut lacking: Vec<_> =
            lacking.filter_map(|(variant, _)| Some((self.urgency(*variant)?, *variant))).collect();
        lacking.sort();
        let mut kept = false;
        for (_, variant) in lacking {
            let blocked = self.lanes.get(variant).and_then(|entry| entry.blocked.as_ref());
            let (since, again) = blocked.map_or((self.now, true), |blocked| (blocked.since, blocked.again));
            if !again {
                self.make_room(variant, out);
            } else if !kept {
                let lane = self.lanes.load(variant, self.now);
                out.push(Action::Load { lane, variant });
            }
            let still_blocked = self.lanes.get(variant).is_some_and(|entry| entry.blocked.is_some());
            kept |= still_blocked && since + self.limits.ageing <= self.now;
        }
    }

    /// One step towards memory for a blocked variant, unless one is being made.
    fn make_room(&mut self, variant: VariantId, out: &mut Vec<Action>) {
        if self.lanes.iter().any(|(_, lane)| lane.stage == Stage::Stopping) {
            return;
        }
        let idle = self.lanes.iter().filter(|(other, lane)| lane.is_idle() && self.queue.waiting(*other) == 0);
        if let Some((other, _)) = idle.min_by_key(|(_, lane)| (lane.used, lane.id)) {
            self.stop(other, out);
        } else if self.lanes.iter().next().is_none() {
            let blocked = self.lanes.entry(variant).blocked.take();
            self.lanes.entry(variant).wanted = None;
            if let Some(blocked) = blocked {
                self.refuse_all(variant, &blocked.error, out);
            }
        } else if self.lanes.iter().all(|(_, lane)| lane.drain.is_none()) {
            // The lane with the least urgent work, then the one that will be idle soonest.
            let ready = self.lanes.iter().filter(|(_, lane)| matches!(lane.stage, Stage::Ready { .. }));
            let rank = |other: VariantId, lane: &Lane| {
                let class = self.urgency(other).map(|(class, _)| std::cmp::Reverse(class));
                (class, lane.running.len(), lane.id)
            };
            let victim = ready.min_by_key(|(other, lane)| rank(*other, lane)).map(|(other, _)| other);
            let before = self.seq;
            if let Some(lane) = victim.and_then(|other| self.lanes.entry(other).lane.as_mut()) {
                lane.drain = Some(Drain { before, asked: false });
            }
        }
    }

    fn stop(&mut self, variant: VariantId, out: &mut Vec<Action>) {
        if let Some(lane) = &mut self.lanes.entry(variant).lane {
            lane.stage = Stage::Stopping;
            lane.drain = None;
            out.push(Action::Unload(lane.id));
        }
    }

    /// The request that this variant's lane starts next, where there is one and a slot is free.
    fn startable(&self, variant: VariantId, pressing: Option<Class>) -> Option<Waiting> {
        let lane = self.lanes.get(variant)?.lane.as_ref().filter(|lane| lane.has_room())?;
        self.next(variant, lane, pressing)
    }

    /// The request that this lane would start next, `pressing` being what others wait for memory with.
    fn next(&self, variant: VariantId, lane: &Lane, pressing: Option<Class>) -> Option<Waiting> {
        self.queue.next(variant, self.lifts(), |class, seq| match (lane.drain, pressing) {
            (Some(Drain { before, asked: true }), _) => seq < before,
            (Some(Drain { before, asked: false }), Some(urgent)) => class < urgent || (class == urgent && seq < before),
            _ => true,
        })
    }

    /// The most urgent class that waits for memory.
    fn pressing(&self) -> Option<Class> {
        let starved = self.lanes.entries.iter().filter(|(_, entry)| entry.starved());
        starved.filter_map(|(variant, _)| self.urgency(*variant)).min().map(|(class, _)| class)
    }

    /// Whether somebody waits for this variant: a request, or who asked for it to be loaded.
    pub fn is_needed(&self, variant: VariantId) -> bool {
        self.queue.waiting(variant) > 0 || self.lanes.get(variant).is_some_and(|entry| entry.wanted.is_some())
    }

    /// The best class that wants this variant, and how long ago it began to. Somebody who wants it loaded counts as a
    /// request of the standard class.
    fn urgency(&self, variant: VariantId) -> Option<(Class, u64)> {
        let wanted = self.lanes.get(variant).and_then(|entry| entry.wanted);
        let wish = wanted.map(|(since, seq)| (self.lifts().class(Class::Standard, since), seq));
        self.queue.urgency(variant, self.lifts()).into_iter().chain(wish).min()
    }

    pub(super) fn lifts(&self) -> Lifts {
        Lifts::new(self.now, self.limits.ageing)
    }
}
