//! The coordinator: takes events and keeps the books of requests.
//!
//! Each event is first booked, here or, where it is about a request, in `requests`; then everything is settled (see
//! `settle`): deadlines, starts, lanes that may go, lanes that must come.
//!
//! What always holds: a request is in the books from its arrival to its end, and stands in the line or runs on one
//! lane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::budget::{Book, Gate};
use super::known::Known;
use super::lanes::{Drain, Lanes, Stage};
use super::pace::{Bounds, Pacer, PowerState};
use super::planning::Lost;
use super::queue::Queue;
use super::requests::Request;
use super::{Action, Event, Limits, Site};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId};

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
    pub(super) known: Known,
    /// Counts what happened that plans may depend on.
    pub(super) news: u64,
    /// What was so, and how many waited, when no plan was left to be looked at again.
    pub(super) replanned: (u64, usize),
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
            known: Known::default(),
            news: 0,
            replanned: (0, 0),
            closing: false,
        }
    }

    /// Takes an event and says what is to be done, in this order. A `now` before the latest one counts as the latest.
    /// Events about requests or lanes that are not known (any more) change nothing.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        self.lanes.pass(now.since(self.now));
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
            Event::Site { site, usable } => self.usable(site, usable, &mut out),
            Event::Memory { site, bytes } => self.known.set_memory(site, bytes),
            Event::Habits(habits) => self.accustom(*habits),
            Event::Profile { site, profile } => {
                self.known.set_profile(site, *profile);
                self.news();
            }
            Event::Measured { id, site, measured } => self.measured(id, site, &measured),
            Event::Woke { site, cost } => self.known.woke(site, cost),
            Event::Held { site, watts } => self.known.held(site, watts),
            Event::Exported { id, time } => self.exported(id, time, &mut out),
            Event::Stopped(id) => self.stopped(id, &mut out),
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
            Some(lane) if lane.is_idle() && !self.is_awaited(*site) => self.leaves_at(*site, entry, lane),
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

/// Events about lanes.
impl Sched {
    fn stage(&mut self, id: LaneId) -> Option<Stage> {
        self.lanes.owner(id).and_then(|(_, entry)| entry.lane.as_ref()).map(|lane| lane.stage)
    }

    fn lane_ready(&mut self, id: LaneId, slots: u32) {
        let now = self.now;
        let Some((site, entry)) = self.lanes.owner(id) else { return };
        let Some(lane) = entry.lane.as_mut().filter(|lane| lane.stage == Stage::Loading) else { return };
        lane.stage = Stage::Ready { slots: slots.max(1) };
        entry.slots = Some(slots.max(1));
        lane.used = now;
        entry.wanted = None;
        entry.blocked = None;
        self.lanes.fits(site);
        self.keep(site);
        self.news();
    }

    fn load_blocked(&mut self, id: LaneId, error: Error) {
        match self.stage(id) {
            Some(Stage::Loading) => self.lanes.block(id, error, self.now),
            Some(Stage::Stopping) => drop(self.lanes.remove(id)),
            _ => return,
        }
        self.news();
    }

    fn load_failed(&mut self, id: LaneId, error: &Error, out: &mut Vec<Action>) {
        let stage = self.stage(id);
        if !matches!(stage, Some(Stage::Loading | Stage::Stopping)) {
            return;
        }
        let Some((site, _)) = self.lanes.remove(id) else { return };
        self.known.in_use(site);
        self.news();
        if stage == Some(Stage::Loading) {
            self.lanes.entry(site).fault(site, error, self.now, &self.limits);
            self.leave(site, error, out);
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
        self.known.in_use(site);
        self.news();
        let fault = !expected && lane.stage != Stage::Stopping;
        if fault {
            // Before its requests choose where to go.
            self.lanes.entry(site).fault(site, error, self.now, &self.limits);
        }
        for id in &lane.running {
            let Some(request) = self.requests.get_mut(id) else { continue };
            if let Some(entry) = self.lanes.entries.get_mut(&request.plan.decode) {
                entry.inbound.remove(id);
            }
            if request.withdrawn || !retry.contains(id) {
                self.drop_running(*id);
                continue; // The service has ended it.
            }
            if self.closing {
                self.drop_running(*id);
                out.push(Action::Refuse { id: *id, error: shutting_down() });
            } else if request.place.retried {
                self.drop_running(*id);
                out.push(Action::Refuse { id: *id, error: error.clone() });
            } else {
                self.queue.ended(request.site, &request.place);
                request.place.retried = true;
                request.lane = None;
                self.book.ended(*id);
                self.book.waits(*id, false);
                self.start_anew(*id, Lost::Died(&[site]), out);
            }
        }
        if let Some((entry, until)) =
            self.lanes.get(site).filter(|_| fault).and_then(|entry| Some((entry, entry.quarantine(self.now)?)))
        {
            let error = entry.refusal(site, until, self.now);
            self.leave(site, &error, out);
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
                entry.asked = true;
                lane.drain = lane.drain.filter(|drain| !drain.asked);
            }
            _ => {
                entry.wanted = entry.wanted.or(Some(wish));
                entry.asked = true;
                self.seq += 1;
                entry.pardon();
            }
        }
    }

    pub(super) fn unload(&mut self, site: Site) {
        let drain = Drain { before: self.seq, asked: true, together: false };
        let entry = self.lanes.entry(site);
        entry.wanted = None;
        entry.asked = false;
        if let Some(lane) = &mut entry.lane {
            // Who asks again does not put it off.
            lane.drain = lane.drain.filter(|drain| drain.asked).or(Some(drain));
        }
    }

    fn shut_down(&mut self, out: &mut Vec<Action>) {
        self.closing = true;
        for site in self.queue.sites() {
            let (carried, waiting) = self.queue.clear(site).into_iter().partition::<Vec<_>, _>(|place| place.carries);
            waiting.iter().for_each(|place| self.turn_out(place.id, shutting_down(), out));
            // What has begun may end.
            carried.into_iter().for_each(|place| self.queue.push(site, place));
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

    pub(super) fn finished(&mut self, now: Time) {
        self.mean = (self.mean.saturating_mul(7).saturating_add(now.since(self.last))) / 8;
        self.last = now;
    }

    /// The time in which half of so many requests end: late enough that there is room again, early enough that the
    /// line has not run dry. One second to one minute.
    pub(super) fn to_halve(&self, waiting: usize) -> Duration {
        let half = u32::try_from(waiting.div_ceil(2)).unwrap_or(u32::MAX);
        self.mean.saturating_mul(half).clamp(Duration::from_secs(1), Pace::LONGEST)
    }
}

pub(super) fn shutting_down() -> Error {
    Error::new(Code::ShuttingDown, "The service is stopping; try again when it is back")
}
