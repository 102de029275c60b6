//! The world: requests arrive, lanes load, compute and go, energy is used. Virtual time; no threads, no clock.
//!
//! It plays what is around the scheduler: service, lanes and the device itself. A [`Decider`] is told what happened and
//! answers what to do; the world does it as the daemon would. Lanes batch like the engine: between two steps requests
//! join and leave; a step holds a token of every answer and pieces of prompts. Equal steps (nobody joins, nobody
//! leaves) are not made one by one: their time is a sum with a closed form (see `segment`).
//!
//! What always holds: time never goes back; the joules by cause sum to the integral of the device's draw; a request
//! ends once; equal decisions give equal worlds.

use std::collections::BTreeSet;

use super::device::Device;
use super::lane::{Lane, Run, Stage, State};
use super::outcome::{Fate, Joules, Outcome, Request};
use super::trace::{Ask, Trace};

/// Between two looks at the meter while something runs, in seconds, as the daemon's `energy.interval`.
const SAMPLE: f64 = 0.1;
/// The meter is looked at for so long after the last work.
const TAIL: f64 = 1.2;
/// A worker is gone so long after it was told to go.
const STOPPING: f64 = 0.05;
/// Who keeps to the cap by pauses works at least in this share of the time, as under the scheduler.
pub(super) const LEAST: f64 = crate::sched::FLOOR as f64 / 1000.0;
/// A decider that finds so much to do at one point of time will not stop.
const TICKS: u32 = 10_000;
/// After so many seconds in which requests wait, lanes come and go, and nothing is computed, nothing will be.
const PATIENCE: f64 = 3600.0;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happened {
    /// This request arrived.
    Arrived(usize),
    /// This lane came up.
    Ready(usize),
    /// This lane cannot come up: others hold the memory.
    Blocked(usize),
    /// This lane is gone.
    Gone(usize),
    /// This request ended on its lane, which has a free slot.
    Finished(usize),
    /// The state of this request is out of its lane, which has a free slot.
    Exported(usize),
    /// The time that the decider asked for has come.
    Tick,
    /// The device drew so many watts on average in so many seconds.
    Sample(f64, f64),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Do {
    /// Bring this lane up.
    Load(usize),
    /// Let this lane go.
    Unload(usize),
    /// Run a request on a lane.
    Start {
        /// Which.
        ask: usize,
        /// Where.
        lane: usize,
        /// Take its state out when its prompt is computed.
        export: bool,
        /// Threads for its prompt and for its answer, where no pace says otherwise; of those who share a step, the most.
        threads: (u32, u32),
    },
    /// End a request that does not run.
    Refuse(usize),
    /// End a request that runs: its deadline has passed.
    Expire(usize),
    /// End a request that runs once it has used so many joules.
    Allow(usize, f64),
    /// How a lane works.
    Pace {
        /// Which.
        lane: usize,
        /// Threads for steps with prompts in them, and for those without.
        threads: (u32, u32),
        /// Share of the time in which it computes.
        duty: f64,
        /// Tokens of prompts in a step at most.
        chunk: u32,
    },
}

/// Who decides.
pub trait Decider {
    /// Is told what happened and says what to do.
    fn happened(&mut self, what: Happened, world: &World<'_>, out: &mut Vec<Do>);
    /// When it wants a [`Happened::Tick`].
    fn timeout(&self) -> Option<f64>;
    /// Whether it wants [`Happened::Sample`].
    fn samples(&self) -> bool {
        false
    }
    /// Whether it says nothing of the device's cap, so that lanes pause by themselves as much as that takes.
    fn is_paced(&self) -> bool {
        false
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct World<'a> {
    /// On what.
    pub device: &'a Device,
    /// Who asks.
    pub trace: &'a Trace,
    /// Seconds since the beginning.
    pub now: f64,
    /// As in [`Device::lanes`].
    pub lanes: Vec<Lane>,
    /// As in [`Trace::asks`].
    pub requests: Vec<Request>,
    pub(super) joules: Joules,
    pub(super) drawn: f64,
    pub(super) temperature: f64,
    pub(super) throttled: bool,
    /// Who comes next, and when: the bits of seconds, whose order is theirs.
    coming: BTreeSet<(u64, usize)>,
    /// Who comes once a request has ended, by that one.
    followers: Vec<Option<usize>>,
    open: usize,
    wakes: u32,
    /// Draw and time at the last sample; when the next is due, and when they end.
    sampled: (f64, f64),
    sample_due: Option<f64>,
    busy_until: f64,
    /// When a lane last began to compute, or a request arrived.
    pub(super) computed: f64,
    /// Lanes that compute, as bits.
    computing: u64,
    /// Lanes keep to the cap by themselves; what it last left to each.
    paced: bool,
    left: Option<f64>,
}

impl<'a> World<'a> {
    /// Nothing is loaded, nothing has arrived.
    pub fn new(device: &'a Device, trace: &'a Trace) -> World<'a> {
        World {
            now: 0.0,
            lanes: device.lanes.iter().map(|_| Lane::new(trace.sessions)).collect(),
            requests: vec![Request::default(); trace.asks.len()],
            joules: Joules::default(),
            drawn: 0.0,
            temperature: device.heat.map_or(0.0, |heat| heat.ambient + heat.degrees_per_watt * device.idle_watts),
            throttled: false,
            coming: BTreeSet::new(),
            followers: vec![None; trace.asks.len()],
            open: trace.asks.len(),
            wakes: 0,
            sampled: (0.0, 0.0),
            sample_due: None,
            busy_until: f64::NEG_INFINITY,
            computed: 0.0,
            computing: 0,
            paced: false,
            left: None,
            device,
            trace,
        }
    }

    /// When a request arrives that has not arrived yet, as far as can be known: not before then.
    pub fn comes(&self, ask: usize) -> f64 {
        let Ask { at, after, .. } = self.trace.asks[ask];
        after.map_or(at, |(before, pause)| at.max(self.requests[before].end.unwrap_or(self.now) + pause))
    }

    /// Whether it has arrived.
    pub fn has_come(&self, ask: usize) -> bool {
        self.requests[ask].came.is_some()
    }

    fn expect(&mut self, ask: usize) {
        self.coming.insert((self.comes(ask).to_bits(), ask));
    }

    /// The request as the trace has it.
    pub fn ask(&self, ask: usize) -> &'a Ask {
        &self.trace.asks[ask]
    }

    /// Bytes that lanes hold.
    pub fn memory(&self) -> u64 {
        let held = self.lanes.iter().zip(&self.device.lanes).filter(|(lane, _)| lane.state != State::Cold);
        held.map(|(_, spec)| spec.memory).sum()
    }

    /// Runs until every request has ended.
    pub fn run(mut self, decider: &mut impl Decider) -> Outcome {
        let (mut out, mut news) = (Vec::new(), Vec::new());
        let samples = decider.samples();
        self.paced = decider.is_paced();
        let (mut ticks, mut stuck) = (0, false);
        for (index, ask) in self.trace.asks.iter().enumerate() {
            match ask.after {
                Some((before, _)) => self.followers[before] = Some(index),
                None => self.expect(index),
            }
        }
        'time: while self.open > 0 {
            let timeout = decider.timeout().map_or(f64::INFINITY, |at| at.max(self.now));
            let arrival = self.coming.first().map_or(f64::INFINITY, |(at, _)| f64::from_bits(*at));
            let sample = self.sample_due.unwrap_or(f64::INFINITY);
            let lane = self.lanes.iter().map(Lane::due).fold(f64::INFINITY, f64::min);
            let next = lane.min(arrival).min(timeout).min(sample);
            ticks = if next > self.now { 0 } else { ticks + 1 };
            let idle = if arrival.is_finite() { 0.0 } else { self.now - self.computed };
            if next == f64::INFINITY || ticks > TICKS || idle > PATIENCE + self.longest_load() {
                stuck = true;
                break;
            }
            self.advance(next);
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].due() <= self.now {
                    self.lane_due(lane, &mut news);
                }
            }
            if arrival <= self.now {
                if let Some((_, ask)) = self.coming.pop_first() {
                    self.requests[ask].came = Some(self.now);
                    self.computed = self.now;
                    news.push(Happened::Arrived(ask));
                }
            }
            if sample <= self.now {
                news.push(self.sample());
            }
            if news.is_empty() && timeout <= self.now {
                news.push(Happened::Tick);
            }
            loop {
                let mut told = 0;
                while let Some(what) = news.get(told).copied() {
                    told += 1;
                    ticks += 1;
                    if ticks > TICKS {
                        stuck = true;
                        break 'time;
                    }
                    decider.happened(what, &self, &mut out);
                    for action in out.drain(..) {
                        self.perform(action, &mut news);
                    }
                }
                news.clear();
                self.go_on();
                if samples {
                    self.watch(&mut news);
                }
                if news.is_empty() {
                    break;
                }
            }
        }
        for request in &mut self.requests {
            if request.fate == Fate::Open {
                request.fate = Fate::Refused;
                request.end = Some(self.now);
            }
        }
        Outcome {
            joules: self.joules,
            drawn: self.drawn,
            end: self.now,
            requests: self.requests,
            wakes: self.wakes,
            stuck,
        }
    }

    /// What the device draws now.
    pub fn watts(&self) -> f64 {
        let lanes = self.lanes.iter().zip(&self.device.lanes).map(|(lane, spec)| lane.watts(spec));
        self.device.idle_watts + lanes.sum::<f64>()
    }

    /// Lets time pass; the draw does not change meanwhile.
    fn advance(&mut self, to: f64) {
        let span = to - self.now;
        if span <= 0.0 {
            return;
        }
        let watts = self.watts();
        self.drawn += watts * span;
        self.joules.idle += self.device.idle_watts * span;
        for (lane, spec) in self.lanes.iter().zip(&self.device.lanes) {
            match lane.state {
                State::Cold => {}
                State::Loading { .. } => self.joules.wake += spec.load_watts * span,
                State::Ready | State::Stopping { .. } => self.joules.hold += spec.hold_watts * span,
            }
        }
        if let Some(heat) = self.device.heat {
            let end = heat.ambient + heat.degrees_per_watt * watts;
            self.temperature = end + (self.temperature - end) * (-span / heat.seconds).exp();
            let line = if self.throttled { heat.resume } else { heat.limit };
            self.throttled = self.temperature >= line;
        }
        self.now = to;
    }

    fn longest_load(&self) -> f64 {
        self.device.lanes.iter().map(|spec| spec.load_seconds).fold(0.0, f64::max)
    }

    fn lane_due(&mut self, index: usize, news: &mut Vec<Happened>) {
        let lane = &mut self.lanes[index];
        match lane.state {
            State::Loading { .. } => {
                lane.state = State::Ready;
                news.push(Happened::Ready(index));
            }
            State::Stopping { .. } => {
                *lane = Lane::new(self.trace.sessions);
                news.push(Happened::Gone(index));
            }
            _ => self.segment_ends(index, news),
        }
    }

    fn perform(&mut self, action: Do, news: &mut Vec<Happened>) {
        match action {
            Do::Load(lane) if self.lanes[lane].state == State::Cold => {
                let spec = &self.device.lanes[lane];
                if self.memory() + spec.memory > self.device.memory {
                    news.push(Happened::Blocked(lane));
                } else {
                    self.wakes += 1;
                    self.lanes[lane].state = State::Loading { since: self.now, until: self.now + spec.load_seconds };
                }
            }
            Do::Unload(lane) if self.lanes[lane].running.is_empty() => {
                if matches!(self.lanes[lane].state, State::Ready | State::Loading { .. }) {
                    self.lanes[lane].state = State::Stopping { until: self.now + STOPPING };
                }
            }
            Do::Start { ask, lane, export, threads } => self.start(ask, lane, export, threads),
            Do::Refuse(ask) => self.end(ask, Fate::Refused),
            Do::Expire(ask) => {
                for index in 0..self.lanes.len() {
                    let Some(run) = self.lanes[index].running.iter_mut().find(|run| run.ask == ask) else { continue };
                    run.ends = Some(Fate::Expired);
                    match self.lanes[index].segment {
                        Some(_) => self.cut(index),
                        None => self.retire(index, news),
                    }
                }
            }
            Do::Allow(ask, joules) => self.requests[ask].allowed = Some(joules),
            Do::Pace { lane, threads, duty, chunk } => {
                self.lanes[lane].pace = Some((threads, duty.clamp(0.001, 1.0), chunk.max(1)));
                self.cut(lane);
            }
            Do::Load(_) | Do::Unload(_) => {}
        }
    }

    fn start(&mut self, ask: usize, lane: usize, export: bool, threads: (u32, u32)) {
        let request = &mut self.requests[ask];
        let spec = self.trace.asks[ask].session;
        let (prompt, answer) = (self.trace.asks[ask].prompt, self.trace.asks[ask].answer);
        if request.fate != Fate::Open || self.lanes[lane].state != State::Ready {
            return;
        }
        let held = spec.map_or(0, |(session, shared)| self.lanes[lane].held[session].min(shared)).min(prompt - 1);
        let run = match request.moved.take() {
            Some(cells) => {
                request.lanes.1 = Some(lane);
                Run::new(ask, Stage::Import, 0, cells, answer, false, threads)
            }
            None => {
                request.lanes = (Some(lane), (!export).then_some(lane));
                let follows = self.source(lane, ask, held, self.lanes[lane].running.len());
                Run::new(ask, Stage::Prompt, prompt - held, held, answer, export, threads).following(follows)
            }
        };
        self.lanes[lane].running.push(run);
        self.cut(lane);
    }

    pub(super) fn end(&mut self, ask: usize, fate: Fate) {
        let request = &mut self.requests[ask];
        if request.fate == Fate::Open {
            request.fate = fate;
            request.end = Some(self.now);
            self.open -= 1;
            if let Some(next) = self.followers[ask] {
                self.expect(next);
            }
        }
    }

    /// Lanes that have something to do begin it.
    fn go_on(&mut self) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            if lane.state == State::Ready && lane.segment.is_none() && !lane.running.is_empty() {
                self.begin(index);
            }
        }
        if self.device.contention > 0.0 {
            let bits = self.lanes.iter().enumerate().filter(|(_, lane)| lane.segment.is_some());
            let computing = bits.fold(0, |bits, (index, _)| bits | 1u64 << (index % 64));
            if computing != self.computing {
                self.computing = computing;
                // Who computes beside others, or no longer, is slower or faster from the next step on.
                (0..self.lanes.len()).for_each(|index| self.cut(index));
            }
        }
        let left = self.leaves();
        if left != self.left {
            self.left = left;
            (0..self.lanes.len()).for_each(|index| self.cut(index));
        }
    }

    /// Watts that the cap leaves to each lane with work, where lanes keep to it by themselves.
    pub(super) fn leaves(&self) -> Option<f64> {
        let cap = self.device.cap.filter(|_| self.paced)?;
        let there = self.lanes.iter().zip(&self.device.lanes).map(|(lane, spec)| match lane.state {
            State::Cold => 0.0,
            State::Loading { .. } => spec.load_watts,
            State::Ready | State::Stopping { .. } => spec.hold_watts,
        });
        let works = |lane: &&Lane| lane.state == State::Ready && !lane.running.is_empty();
        let works = self.lanes.iter().filter(works).count().max(1) as f64;
        Some((cap - self.device.idle_watts - there.sum::<f64>()).max(0.0) / works)
    }

    /// What every step takes longer now, and draws more.
    pub(super) fn stretch(&self, lane: usize) -> (f64, f64) {
        let (mut time, mut watts) = (1.0, 1.0);
        if self.device.contention > 0.0 {
            let others = self.lanes.iter().enumerate().any(|(i, other)| i != lane && other.segment.is_some());
            time *= 1.0 + if others { self.device.contention } else { 0.0 };
        }
        if let Some(heat) = self.device.heat.filter(|_| self.throttled) {
            (time, watts) = (time * heat.slower, watts * heat.watts);
        }
        if let Some(drift) = self.device.drift {
            let (sine, cosine) = (self.now / drift.period * std::f64::consts::TAU).sin_cos();
            (time, watts) = (time * (1.0 + drift.time * sine), watts * (1.0 + drift.watts * cosine));
        }
        (time, watts)
    }

    /// Where what a step takes changes with time, how far equal steps are reckoned at once, in seconds.
    pub(super) fn horizon(&self) -> f64 {
        let heat = self.device.heat.map_or(f64::INFINITY, |heat| heat.seconds / 20.0);
        self.device.drift.map_or(heat, |drift| heat.min(drift.period / 50.0))
    }

    fn sample(&mut self) -> Happened {
        let (drawn, at) = self.sampled;
        let span = self.now - at;
        self.sampled = (self.drawn, self.now);
        self.sample_due = (self.now < self.busy_until).then_some(self.now + SAMPLE);
        Happened::Sample((self.drawn - drawn) / span.max(1e-9), span)
    }

    /// Begins to look at the meter when something begins to run.
    fn watch(&mut self, news: &mut Vec<Happened>) {
        let busy = |lane: &Lane| lane.segment.is_some() || matches!(lane.state, State::Loading { .. });
        if self.lanes.iter().any(busy) {
            self.busy_until = self.now + TAIL;
            if self.sample_due.is_none() {
                if self.now > self.sampled.1 {
                    news.push(self.sample());
                }
                self.sample_due = Some(self.now + SAMPLE);
            }
        }
    }
}
