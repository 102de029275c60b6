//! A decider without a scheduler: every request has its plan before the trace begins.
//!
//! Fixed plans and the clairvoyant run like this, in the same world and by the same rules as the scheduler: more urgent
//! classes first, then first come, first served; who can start starts; who misses its deadline is ended. What it decides
//! beside plans is which lanes stay resident in a gap ([`Keep`]).

use super::device::Device;
use super::lane::State;
use super::outcome::Fate;
use super::trace::Trace;
use super::world::{Decider, Do, Happened, World};

/// How one request runs: lanes for its prompt and its answer, and threads for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// Where its prompt is computed.
    pub prefill: usize,
    /// Where its answer is.
    pub decode: usize,
    /// Threads for the one and for the other.
    pub threads: (u32, u32),
}

/// Which lanes stay when they have nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All, always.
    Always,
    /// None.
    Never,
    /// Each until its holding has cost as much as its loading (never at most twice what a clairvoyant pays).
    BreakEven,
    /// Each whose next use comes before that, which only a clairvoyant knows; and that of each request marked here, until
    /// that request comes.
    Foresight,
}

/// A plan for every request of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Plans {
    /// By request.
    pub ways: Vec<Way>,
    /// By request: with [`Keep::Foresight`], its lanes stay until it comes.
    pub hold: Vec<bool>,
    /// For the gaps.
    pub keep: Keep,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Script<'a> {
    plans: &'a Plans,
    /// Who waits, by lane; those whose state is out of another lane first.
    waiting: Vec<Vec<usize>>,
    /// Slots in use.
    running: Vec<u32>,
    /// Lanes that somebody waits for and that do not fit.
    blocked: Vec<usize>,
    /// By lane: when it is let go.
    leave: Vec<f64>,
    deadlines: Vec<(f64, usize)>,
    /// Each request runs on this lane.
    on: Vec<Option<usize>>,
}

impl<'a> Script<'a> {
    /// For a trace on a device.
    pub fn new(plans: &'a Plans, device: &Device, trace: &Trace) -> Script<'a> {
        let lanes = device.lanes.len();
        Script {
            plans,
            waiting: vec![Vec::new(); lanes],
            running: vec![0; lanes],
            blocked: Vec::new(),
            leave: vec![f64::INFINITY; lanes],
            deadlines: Vec::new(),
            on: vec![None; trace.asks.len()],
        }
    }

    fn queue(&mut self, ask: usize, lane: usize, world: &World<'_>) {
        let moved = |ask: usize| world.requests[ask].moved.is_none();
        let rank = |ask: usize| (moved(ask), world.ask(ask).class, world.requests[ask].came, ask);
        let line = &mut self.waiting[lane];
        let at = line.partition_point(|other| rank(*other) < rank(ask));
        line.insert(at, ask);
    }

    /// Somebody will need this lane.
    fn want(&mut self, lane: usize, world: &World<'_>, out: &mut Vec<Do>) {
        self.leave[lane] = f64::INFINITY;
        if world.lanes[lane].state == State::Cold {
            out.push(Do::Load(lane));
        }
    }

    /// Starts who can, on a lane that takes requests.
    fn start(&mut self, lane: usize, world: &World<'_>, out: &mut Vec<Do>) {
        if world.lanes[lane].state != State::Ready {
            return;
        }
        while self.running[lane] < world.device.lanes[lane].slots && !self.waiting[lane].is_empty() {
            let ask = self.waiting[lane].remove(0);
            let way = self.plans.ways[ask];
            let export = way.prefill != way.decode && world.requests[ask].moved.is_none();
            self.running[lane] += 1;
            self.on[ask] = Some(lane);
            self.leave[lane] = f64::INFINITY;
            out.push(Do::Start { ask, lane, export, threads: way.threads });
        }
        if self.running[lane] == 0 {
            self.idle(lane, world, out);
        }
    }

    /// A lane has nothing to do: does it stay?
    fn idle(&mut self, lane: usize, world: &World<'_>, out: &mut Vec<Do>) {
        let spec = &world.device.lanes[lane];
        let worth = if spec.hold_watts > 0.0 { spec.load_joules() / spec.hold_watts } else { f64::INFINITY };
        let stay = match self.plans.keep {
            _ if self.needed(lane, world) => f64::INFINITY,
            Keep::Always => f64::INFINITY,
            Keep::Never => 0.0,
            Keep::BreakEven => worth,
            Keep::Foresight => self.foresee(lane, worth, world),
        };
        let stay = stay.min(world.device.idle_unload.unwrap_or(f64::INFINITY));
        if stay <= 0.0 {
            out.push(Do::Unload(lane));
        } else {
            self.leave[lane] = world.now + stay;
        }
    }

    fn uses(&self, ask: usize, lane: usize) -> bool {
        let way = self.plans.ways[ask];
        way.prefill == lane || way.decode == lane
    }

    /// Somebody is on the way to this lane.
    fn needed(&self, lane: usize, world: &World<'_>) -> bool {
        let coming = |ask: usize| {
            let way = self.plans.ways[ask];
            // Who is in this lane or behind it needs it no more.
            let behind = world.requests[ask].moved.is_some() && way.decode != lane;
            let done = behind || self.on[ask].is_some_and(|on| on == way.decode || on == lane);
            world.requests[ask].fate == Fate::Open && self.uses(ask, lane) && !done
        };
        (0..world.requests.len()).filter(|ask| world.has_come(*ask)).any(coming)
    }

    /// Seconds for which a lane stays: to its next use, or not at all.
    fn foresee(&self, lane: usize, worth: f64, world: &World<'_>) -> f64 {
        let comes = |ask: usize| (world.comes(ask), ask);
        let next = (0..world.requests.len()).filter(|ask| !world.has_come(*ask) && self.uses(*ask, lane)).map(comes);
        match next.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((at, ask)) if self.plans.hold[ask] || at - world.now <= worth => f64::INFINITY,
            _ => 0.0,
        }
    }

    /// A lane that others wait for in vain goes if it has nothing to do.
    fn make_room(&mut self, world: &World<'_>, out: &mut Vec<Do>) {
        let stopping = world.lanes.iter().any(|lane| matches!(lane.state, State::Stopping { .. }));
        if self.blocked.is_empty() || stopping {
            return;
        }
        let idle = |lane: &usize| {
            world.lanes[*lane].state == State::Ready && self.running[*lane] == 0 && self.waiting[*lane].is_empty()
        };
        if let Some(lane) = (0..world.lanes.len()).find(idle) {
            out.push(Do::Unload(lane));
        } else if world.lanes.iter().all(|lane| lane.state == State::Cold) {
            let again = std::mem::take(&mut self.blocked);
            out.extend(again.into_iter().map(Do::Load));
        }
    }

    /// Somebody who waited is gone: lanes that were there for it may have nothing to do.
    fn abandoned(&mut self, world: &World<'_>, out: &mut Vec<Do>) {
        for lane in 0..self.waiting.len() {
            let idle = self.running[lane] == 0 && self.waiting[lane].is_empty();
            if idle && world.lanes[lane].state == State::Ready && self.leave[lane] == f64::INFINITY {
                self.idle(lane, world, out);
            }
        }
    }

    fn left(&mut self, ask: usize) -> Option<usize> {
        let lane = self.on[ask].take()?;
        self.running[lane] -= 1;
        Some(lane)
    }

    fn expire(&mut self, world: &World<'_>, out: &mut Vec<Do>) {
        while let Some((_, ask)) = self.deadlines.first().copied().filter(|(at, _)| *at <= world.now) {
            self.deadlines.remove(0);
            if world.requests[ask].fate != Fate::Open {
                continue;
            }
            if self.on[ask].is_some() {
                out.push(Do::Expire(ask));
            } else {
                self.waiting.iter_mut().for_each(|line| line.retain(|other| *other != ask));
                self.on[ask] = None;
                out.push(Do::Refuse(ask));
                self.abandoned(world, out);
            }
        }
    }
}

impl Decider for Script<'_> {
    fn happened(&mut self, what: Happened, world: &World<'_>, out: &mut Vec<Do>) {
        match what {
            Happened::Arrived(ask) => {
                let way = self.plans.ways[ask];
                if let Some(deadline) = world.ask(ask).deadline.map(|after| world.now + after) {
                    let at = self.deadlines.partition_point(|other| other.0 <= deadline);
                    self.deadlines.insert(at, (deadline, ask));
                }
                self.queue(ask, way.prefill, world);
                self.want(way.prefill, world, out);
                if way.decode != way.prefill {
                    self.want(way.decode, world, out);
                }
                self.start(way.prefill, world, out);
            }
            Happened::Ready(lane) => self.start(lane, world, out),
            Happened::Blocked(lane) => {
                if !self.blocked.contains(&lane) {
                    self.blocked.push(lane);
                }
                self.make_room(world, out);
            }
            Happened::Gone(lane) => {
                let mut again = std::mem::take(&mut self.blocked);
                if !self.waiting[lane].is_empty() && !again.contains(&lane) {
                    again.push(lane);
                }
                out.extend(again.into_iter().map(Do::Load));
            }
            Happened::Exported(ask) => {
                let from = self.left(ask);
                let to = self.plans.ways[ask].decode;
                self.queue(ask, to, world);
                self.want(to, world, out);
                from.into_iter().for_each(|lane| self.start(lane, world, out));
                self.start(to, world, out);
                self.make_room(world, out);
            }
            Happened::Finished(ask) => {
                if let Some(lane) = self.left(ask) {
                    self.start(lane, world, out);
                }
                self.make_room(world, out);
            }
            Happened::Tick => {
                self.expire(world, out);
                for lane in 0..self.leave.len() {
                    if self.leave[lane] <= world.now {
                        self.leave[lane] = f64::INFINITY;
                        if self.running[lane] == 0 && self.waiting[lane].is_empty() {
                            out.push(Do::Unload(lane));
                        }
                    }
                }
            }
            Happened::Sample(..) => {}
        }
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn timeout(&self) -> Option<f64> {
        let leave = self.leave.iter().copied().fold(f64::INFINITY, f64::min);
        let first = self.deadlines.first().map_or(f64::INFINITY, |(at, _)| *at);
        Some(leave.min(first)).filter(|at| at.is_finite())
    }
}
