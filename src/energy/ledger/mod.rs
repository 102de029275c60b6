//! The ledger: splits what the meter said over the requests that ran, so that the parts always sum to the whole.
//!
//! Of each interval between two readings the idle baseline is taken off; the rest, the active energy, is split by CPU
//! time between the lanes' workers, the daemon itself and all other programs. A lane's part is laid out along its
//! worker's CPU time (`lane`), on which each engine step has its place, and is split over the requests of a step by
//! their tokens, weighted with their context. What no step claims is shared. `book` does the former, this file the latter.
//! docs/energy.md has the formulas.
//!
//! It reads no clock and no file: samples come from outside. Before a step's energy is known it is charged by
//! prediction, so that a budget is never behind by more than a step; the measurement corrects it.
//!
//! What graphics cards' own sensors say is split over the lanes on GPUs alone, and the rest of what the meter says by CPU
//! time. Where it has no other sensors, what CPUs take is modelled and added to it.
//!
//! What always holds: `metered` is exactly `idle + charged + others + shared`; a request is charged for steps that it
//! took part in, for a lane that was brought up for it, and for nothing else; once [`Ledger::finish`] has said what a
//! request used, that does not change.

mod book;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::lane::{Lane, PartEnergy};
use super::model::{PowerModel, Prior};
use super::Quality;
use crate::clock::Time;
use crate::lane::{LaneId, RequestId, StepPart};
use crate::units::{Microjoules, Microwatts};

/// CPU time that was used up to one moment. All of it only grows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CpuUse {
    /// By the whole machine, all CPUs together.
    pub busy: Duration,
    /// By this process.
    pub own: Duration,
    /// By each lane's worker, since it was started.
    pub lanes: BTreeMap<LaneId, Duration>,
    /// The clocks of lanes on GPUs: what their load took of the CPU, and the time of their steps. Such a lane's energy is
    /// laid out along this, and goes by it.
    pub gpus: BTreeMap<LaneId, Duration>,
}

/// What a request is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A lane was brought up for it.
    Wake,
    /// Its prompt.
    Prefill,
    /// Its answer.
    Decode,
}

/// What a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// For lanes that were brought up for it.
    pub wake: Microjoules,
    /// For its prompt.
    pub prefill: Microjoules,
    /// For its answer.
    pub decode: Microjoules,
    /// Of all these, what was modelled and not measured.
    pub estimated: Microjoules,
    /// Half the width of an interval that holds the truth in 95 of 100 cases.
    pub error: Microjoules,
    /// Its share of the idle draw while it ran. Not charged.
    pub idle: Microjoules,
}

impl Charge {
    /// All that is charged.
    pub fn total(&self) -> Microjoules {
        self.wake + self.prefill + self.decode
    }

    /// Whether all of it was measured.
    pub fn quality(&self) -> Quality {
        match self.estimated {
            Microjoules::ZERO => Quality::Measured,
            _ => Quality::Estimated,
        }
    }
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// What the meter said, and the model where it said nothing.
    pub metered: Microjoules,
    /// The idle baseline.
    pub idle: Microjoules,
    /// Charged to requests: `wake + prefill + decode`.
    pub charged: Microjoules,
    /// Other programs'.
    pub others: Microjoules,
    /// The daemon's own, what workers did for no request, what is not settled yet, and corrections, in microjoules.
    /// Charges that the meter has yet to confirm, and corrections, may make it less than nothing.
    pub shared: i64,
    /// Of `metered`, what was modelled.
    pub estimated: Microjoules,
    /// Of `shared`: what charges made before the meter was read, and outages, turned out to be off by.
    pub correction: i64,
    /// Of `charged`.
    pub wake: Microjoules,
    /// Of `charged`.
    pub prefill: Microjoules,
    /// Of `charged`.
    pub decode: Microjoules,
}

/// News of what a request used: more, or less than was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which.
    pub id: RequestId,
    /// More.
    pub more: Microjoules,
    /// Less.
    pub less: Microjoules,
}

/// What an amount may be off by, by cause: in microjoules, which add up, the idle baseline, other programs, and what was
/// modelled; at last the noise of the baseline, in squares of microjoules, because it evens out.
type Off = [f64; 4];

/// The books of one request.
#[derive(Debug, Default)]
struct Entry {
    phases: [u64; 3],
    estimated: u64,
    off: Off,
    /// At its edges: the sensor's refreshes do not end where its steps do.
    edge: f64,
    running: Option<f64>,
    idle: f64,
    /// Wakes of lanes for it that are not booked yet.
    wakes: u32,
    /// What the scheduler was told of.
    told: u64,
    /// CPU time of its parts of steps since it was last started, in nanoseconds.
    cpu: f64,
    /// It has ended; what is still to come is booked and told to nobody but the scheduler.
    ended: bool,
}

/// Intervals that the model learns from together.
#[derive(Debug, Clone, Copy, Default)]
struct Lesson {
    joules: f64,
    /// Seconds of CPU time.
    cpu: f64,
    seconds: f64,
}

impl Lesson {
    fn add(&mut self, joules: f64, cpu: f64, seconds: f64) {
        (self.joules, self.cpu, self.seconds) = (self.joules + joules, self.cpu + cpu, self.seconds + seconds);
    }

    /// Mean watts and busy cores.
    fn tell(&self, model: &mut PowerModel) {
        model.observe(self.joules / self.seconds, self.cpu / self.seconds, self.seconds);
    }

    /// All of it, where it is long enough.
    fn take(&mut self, least: f64) -> Option<Lesson> {
        (self.seconds >= least).then(|| std::mem::take(self))
    }
}

/// The ledger. See the [module](self).
#[derive(Debug)]
pub struct Ledger {
    model: PowerModel,
    /// The meter sees graphics cards, and nothing of the processor.
    cards: bool,
    /// What cards draw, where their own sensors stand beside others.
    card: PowerModel,
    /// They do, and the last total of theirs.
    of_cards: Option<Microjoules>,
    /// Up to here energy is booked, with the CPU time used up to there.
    booked: Option<(Time, CpuUse)>,
    /// Readings since, with what was used at each.
    history: VecDeque<(Time, CpuUse)>,
    /// The last total that the meter said, and what was modelled since.
    meter: Option<(Microjoules, u64)>,
    lanes: BTreeMap<LaneId, Lane>,
    entries: BTreeMap<RequestId, Entry>,
    totals: Totals,
    /// CPU time that programs other than ours were seen to use: the highest, as the kernel counts it in ticks.
    foreign: Duration,
    known: Duration,
    /// What the model has yet to be shown: of rest, and of work.
    unseen: [Lesson; 2],
    unseen_cards: Lesson,
    /// When a GPU last worked.
    worked: Option<Time>,
    /// None had for a while in the last interval.
    rested: bool,
    /// Somebody looks for GPUs.
    searched: bool,
    /// Since when nothing is read, with the machine's CPU time and the meter's totals then.
    paused: Option<(Time, Duration, Microjoules, Option<Microjoules>)>,
    /// Seconds that a request which always ran would have been given of the idle draw: grows by dt / running.
    turn: f64,
    turned: Time,
    watts: Option<f64>,
    spent: Vec<Spent>,
    gone: Vec<(RequestId, Charge)>,
}

/// What a good sensor may be off by.
const NOISE: f64 = 0.005;
/// A card of which nothing was seen.
const CARD: Prior = Prior { idle: 0.0, core: 0.0, gpu: 0.0, cores: 1, known: false };

impl Ledger {
    /// Empty books.
    pub fn new(model: PowerModel) -> Ledger {
        Ledger {
            model,
            cards: false,
            card: PowerModel::new(CARD),
            of_cards: None,
            booked: None,
            history: VecDeque::new(),
            meter: None,
            lanes: BTreeMap::new(),
            entries: BTreeMap::new(),
            totals: Totals::default(),
            foreign: Duration::ZERO,
            known: Duration::ZERO,
            unseen: Default::default(),
            unseen_cards: Lesson::default(),
            worked: None,
            rested: false,
            searched: false,
            paused: None,
            turn: 0.0,
            turned: Time::ZERO,
            watts: None,
            spent: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// What the device draws, without what cards' own sensors see of it.
    pub fn model(&self) -> &PowerModel {
        &self.model
    }

    /// Watts that are drawn when idle, cards' own among them.
    pub fn idle_watts(&self) -> f64 {
        self.model.idle() + if self.of_cards.is_some() { self.card.idle() } else { 0.0 }
    }

    /// Microjoules for a microsecond of this lane's CPU time.
    pub fn rate_of(&self, lane: LaneId) -> f64 {
        self.lanes.get(&lane).map_or(self.rate(), |l| l.rate(self.rate())) * 1e3
    }

    /// Other sensors are in use: what the device draws is learned anew.
    pub fn relearn(&mut self, model: PowerModel) {
        self.model = model;
        self.card = PowerModel::new(CARD);
        (self.unseen, self.unseen_cards) = Default::default();
        (self.paused, self.of_cards) = (None, None);
    }

    /// Whether the meter's sensors are graphics cards' alone. What they say is then that of lanes on GPUs, and what the
    /// processor takes is modelled and added.
    pub fn sees_cards_alone(&mut self, cards: bool) {
        self.cards = cards;
    }

    /// How much of this lane's CPU time a request may still use if it may use this much energy in all.
    pub fn cpu_left(&self, id: RequestId, lane: LaneId, energy: Microjoules) -> Duration {
        let used = self.entries.get(&id).map_or(0, |e| e.told);
        let left = energy.0.saturating_sub(used) as f64;
        Duration::from_micros((left / self.rate_of(lane).max(1e-6)) as u64)
    }

    /// How much of its lane's CPU time it has used since it was last started.
    pub fn cpu_used(&self, id: RequestId) -> Duration {
        self.entries.get(&id).map_or(Duration::ZERO, |e| Duration::from_nanos(e.cpu as u64))
    }

    /// GPUs are looked for, or were until now: their drivers wake them for that.
    pub fn gpus_searched(&mut self, searched: bool, now: Time) {
        if self.searched && !searched {
            self.worked = self.worked.max(Some(now));
        }
        self.searched = searched;
    }

    /// In the interval that was booked last, GPUs had not worked, and not for a while before.
    pub fn gpus_rest(&self) -> bool {
        self.rested
    }

    /// Up to here energy is booked.
    pub fn booked_to(&self) -> Option<Time> {
        self.booked.as_ref().map(|(at, _)| *at)
    }

    /// No reading comes for a while: what is used until the next one is not metered.
    pub fn pause(&mut self) {
        let meter = self.meter.take().filter(|(_, modelled)| *modelled == 0);
        let of_cards = self.of_cards;
        self.paused = self.booked.take().zip(meter).map(|((at, cpu), (total, _))| (at, cpu.busy, total, of_cards));
        self.history.clear();
        (self.unseen, self.unseen_cards) = Default::default();
        self.watts = None;
    }

    /// Sums since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The mean draw of the last interval that was booked.
    pub fn watts(&self) -> Option<Microwatts> {
        self.watts.map(Microwatts::from_f64)
    }

    /// News for the scheduler, in order.
    pub fn take_spent(&mut self) -> Vec<Spent> {
        std::mem::take(&mut self.spent)
    }

    /// Requests whose energy became final since this was last asked: they have ended, and nothing of theirs is unsettled.
    /// What they used may be more than [`Ledger::finish`] said: a lane that came up for them later.
    pub fn take_settled(&mut self) -> Vec<(RequestId, Charge)> {
        std::mem::take(&mut self.gone)
    }

    /// What bringing lanes up took, whoever was charged for it: those of which that became known since this was last asked.
    pub fn take_woken(&mut self) -> Vec<(LaneId, Microjoules)> {
        let woken = |(id, lane): (&LaneId, &mut Lane)| Some((*id, Microjoules(lane.take_woke()?)));
        self.lanes.iter_mut().filter_map(woken).collect()
    }

    /// A lane is being brought up, for this request or for nobody in particular.
    pub fn loading(&mut self, lane: LaneId, by: Option<RequestId>) {
        if let Some(id) = by {
            self.entries.entry(id).or_default().wakes += 1;
        }
        self.lanes.insert(lane, Lane::new(by));
    }

    /// It is up: all its worker used until now, `cpu`, was for that. `cell_cost` is what it says of its model.
    pub fn ready(&mut self, lane: LaneId, cpu: Duration, cell_cost: f32) {
        let rate = self.rate();
        let Some(l) = self.lanes.get_mut(&lane) else { return };
        if let Some((id, predicted)) = l.woken(nanos(cpu), cell_cost, rate) {
            self.tell(id, predicted, 0);
        }
        self.settle(lane);
    }

    /// It is gone; what its steps were charged by prediction stays.
    pub fn lane_gone(&mut self, lane: LaneId) {
        let Some(mut l) = self.lanes.remove(&lane) else { return };
        let parts = l.end(self.rate());
        self.book_settled(parts);
        if let Some(entry) = l.waker().and_then(|id| self.entries.get_mut(&id)) {
            entry.wakes = entry.wakes.saturating_sub(1);
        }
        self.close_ended();
    }

    /// A request runs from now on.
    pub fn started(&mut self, id: RequestId, now: Time) {
        self.turn_to(now);
        let entry = self.entries.entry(id).or_default();
        (entry.running, entry.cpu) = (Some(self.turn), 0.0);
    }

    /// A lane's worker made a step: it had used `cpu` up to its end.
    pub fn step(&mut self, lane: LaneId, cpu: Duration, parts: &[StepPart]) {
        let rate = self.rate();
        let Some(l) = self.lanes.get_mut(&lane) else { return };
        for told in l.step(nanos(cpu), parts, rate) {
            if let Some(entry) = self.entries.get_mut(&told.id) {
                entry.cpu += told.cpu;
            }
            self.tell(told.id, told.predicted, 0);
        }
        self.settle(lane);
    }

    /// A request does not run any more: from now on it has no share of the idle draw.
    pub fn stopped(&mut self, id: RequestId, now: Time) {
        self.turn_to(now);
        let (turn, idle) = (self.turn, self.idle_watts());
        if let Some(entry) = self.entries.get_mut(&id) {
            if let Some(since) = entry.running.take() {
                entry.idle += (turn - since) * idle;
            }
        }
    }

    /// What a request used, for good: steps that the meter has not reached are charged by prediction. Zero for one
    /// that never ran.
    pub fn finish(&mut self, id: RequestId, refresh: Duration, now: Time) -> Charge {
        self.stopped(id, now);
        let with: Vec<LaneId> = self.lanes.iter().filter(|(_, l)| l.holds(id)).map(|(lane, _)| *lane).collect();
        let rate = self.rate();
        for lane in with {
            if let Some(l) = self.lanes.get_mut(&lane) {
                let parts = l.advance(id, rate);
                self.book_settled(parts);
            }
        }
        let charge = self.charge(id, refresh);
        match self.entries.get_mut(&id) {
            Some(entry) => entry.ended = true,
            None => self.gone.push((id, Charge::default())),
        }
        self.close_ended();
        charge
    }

    fn charge(&self, id: RequestId, refresh: Duration) -> Charge {
        let Some(entry) = self.entries.get(&id) else { return Charge::default() };
        let [wake, prefill, decode] = entry.phases.map(Microjoules);
        // The edges are independent of the rest and of each other; what was off all along adds up.
        let edges = entry.edge * refresh.as_secs_f64() * 1e6 / std::f64::consts::SQRT_2;
        let noise = NOISE * (wake + prefill + decode).0 as f64;
        let [idle, others, modelled, evened] = entry.off;
        let all = [idle, others, modelled, edges, noise].iter().map(|v| v * v).sum::<f64>() + evened;
        Charge {
            wake,
            prefill,
            decode,
            estimated: Microjoules(entry.estimated),
            error: Microjoules(all.sqrt().round() as u64),
            idle: Microjoules::from_f64(entry.idle),
        }
    }

    /// Forgets those that ended and for whom nothing is to come.
    fn close_ended(&mut self) {
        let lanes = &self.lanes;
        let done = |id: &RequestId, e: &Entry| e.ended && e.wakes == 0 && !lanes.values().any(|l| l.holds(*id));
        let closed: Vec<RequestId> = self.entries.iter().filter(|(id, e)| done(id, e)).map(|(id, _)| *id).collect();
        for id in closed {
            let charge = self.charge(id, Duration::ZERO);
            self.entries.remove(&id);
            self.gone.push((id, charge));
        }
    }

    fn settle(&mut self, lane: LaneId) {
        if let Some(l) = self.lanes.get_mut(&lane) {
            let parts = l.settle();
            self.book_settled(parts);
        }
    }

    fn book_settled(&mut self, parts: Vec<PartEnergy>) {
        for part in parts {
            // Of a request that is not known (any more) it stays shared.
            let Some(entry) = self.entries.get_mut(&part.id) else { continue };
            entry.phases[part.phase as usize] += part.energy;
            if part.estimated {
                entry.estimated += part.energy;
            }
            for (sum, off) in entry.off.iter_mut().zip(part.off) {
                *sum += off;
            }
            entry.edge = entry.edge.max(part.watts);
            if part.phase == Phase::Wake {
                entry.wakes = entry.wakes.saturating_sub(1);
            }
            let energy = Microjoules(part.energy);
            self.totals.charged += energy;
            self.totals.shared = self.totals.shared.saturating_sub(i64::try_from(part.energy).unwrap_or(i64::MAX));
            match part.phase {
                Phase::Wake => self.totals.wake += energy,
                Phase::Prefill => self.totals.prefill += energy,
                Phase::Decode => self.totals.decode += energy,
            }
            self.tell(part.id, part.energy.saturating_sub(part.predicted), part.predicted.saturating_sub(part.energy));
        }
        self.close_ended();
    }

    /// Of a request that is not known nothing is told, and of none less than it was told of.
    fn tell(&mut self, id: RequestId, more: u64, less: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let less = less.min(entry.told.saturating_add(more));
        if more == less {
            return;
        }
        entry.told = entry.told.saturating_add(more) - less;
        let (more, less) = (Microjoules(more), Microjoules(less));
        match self.spent.last_mut().filter(|s| s.id == id) {
            Some(last) => {
                last.more += more;
                last.less += less;
            }
            None => self.spent.push(Spent { id, more, less }),
        }
    }

    fn share(&mut self, energy: u64) {
        self.totals.shared = self.totals.shared.saturating_add(i64::try_from(energy).unwrap_or(i64::MAX));
    }

    fn correct(&mut self, off: i64) {
        self.totals.shared = self.totals.shared.saturating_add(off);
        self.totals.correction = self.totals.correction.saturating_add(off);
    }

    /// Microjoules for a nanosecond of CPU time, before a lane has its own.
    fn rate(&self) -> f64 {
        self.model.joules_per_cpu_second() / 1e3
    }

    fn turn_to(&mut self, now: Time) {
        let running = self.entries.values().filter(|e| e.running.is_some()).count();
        if running > 0 {
            self.turn += now.since(self.turned).as_secs_f64() / running as f64;
        }
        self.turned = self.turned.max(now);
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
