//! Plays the service and the world against [`Sched`]: bytes become operations, every answer is checked.
//!
//! Shared by the property tests and the fuzz target. It keeps its own books, simpler than the scheduler's, and
//! panics where an action breaks a promise of the [module](super) or where work would be left lying for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Action, Arrival, Backend, Budgets, Candidate, Class, ClientHabits, ClientId, ClientLimits, Cost, DeviceId,
    Endpoint, Event, Habits, LaneState, Limits, Measured, PhaseMeasured, Plan, Policy, Power, Profile, Progress,
    PurseId, Sched, Share, Site, SiteHabits, VariantHabits, VariantId, Work,
};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId, Tenant};
use crate::signals::Signals;
use crate::units::{Microjoules, Microwatts};

/// Runs the operations that `bytes` describe, then lets everything come to rest. Gives all actions in their order, and how
/// many events they follow from.
///
/// # Panics
/// Where the scheduler breaks a promise.
pub fn drive(bytes: &[u8]) -> (Vec<Action>, u64) {
    let mut input = Input(bytes);
    let mut world = World::new(&mut input);
    while !input.0.is_empty() {
        world.operate(&mut input);
    }
    world.come_to_rest();
    (world.log, world.told)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// Below `n`; 0 at the end of the input.
    fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn limits(&mut self) -> Limits {
        Limits {
            queue: [0, 1, 8, 64][self.below(4)],
            queue_per_tenant: [1, 4, 64][self.below(3)],
            idle_unload: [None, Some(0), Some(3_000), Some(60_000)][self.below(4)].map(Duration::from_millis),
            ageing: Duration::from_millis([0, 500, 20_000][self.below(3)]),
            backoff_first: Duration::from_millis([0, 50][self.below(2)]),
            backoff_max: Duration::from_millis([100, 10_000][self.below(2)]),
            faults_to_quarantine: [0, 1, 3, 5][self.below(4)],
            quarantine: Duration::from_secs([0, 60][self.below(2)]),
            threads: [0, 1, 2, 256][self.below(4)],
            duty: [1000, 1, 0, u32::MAX][self.below(4)],
            explore: [50, 0, 1000][self.below(3)],
        }
    }
}

impl Input<'_> {
    fn energy(&mut self) -> Option<Microjoules> {
        [None, Some(1_000_000), Some(5_000_000), Some(100_000_000), Some(u64::MAX)][self.below(5)].map(Microjoules)
    }

    fn power(&mut self) -> Power {
        Power {
            cap: [None, Some(Microwatts(5_000_000))][self.below(2)],
            joules_per_hour: self.energy(),
            joules_per_day: self.energy(),
            battery_floor: [None, Some(15)][self.below(2)],
            thermal_limit: [None, Some(80)][self.below(2)],
            ..Power::default()
        }
    }

    fn signals(&mut self) -> Signals {
        Signals {
            on_battery: self.one_in(2),
            battery_percent: [None, Some(5.0), Some(16.0), Some(90.0), Some(f32::NAN)][self.below(5)],
            temperature: [None, Some(40.0), Some(78.0), Some(95.0)][self.below(4)],
            ..Signals::default()
        }
    }
}

impl Input<'_> {
    fn site(&mut self) -> Site {
        Site { variant: VariantId(self.below(4) as u32), device: DeviceId(self.below(3) as u8) }
    }

    fn phase(&mut self) -> PhaseMeasured {
        PhaseMeasured {
            tokens: [0, 1, 40, 1_000, u32::MAX][self.below(5)],
            context: [0, 100, u32::MAX][self.below(3)],
            batch: [1.0, 2.5, f32::NAN][self.below(3)],
            time: Duration::from_millis([0, 3, 900, 70_000, u64::MAX][self.below(5)]),
            energy: Microjoules([0, 1_000, 900_000, 80_000_000, u64::MAX][self.below(5)]),
        }
    }

    fn measured(&mut self) -> Measured {
        let [prefill, decode] = [self.phase(), self.phase()];
        let threads = self.below(3) as u32;
        Measured {
            threads,
            prompt_threads: self.below(3) as u32,
            prefill,
            decode,
            metered: self.one_in(2),
            ended: self.one_in(2),
        }
    }

    fn cost(&mut self) -> Cost {
        let amount = [0.0, 0.5, 30.0, f64::NAN, -1.0, 1e300];
        Cost { seconds: amount[self.below(6)], joules: amount[self.below(6)] }
    }
}

impl Input<'_> {
    fn figure(&mut self) -> f64 {
        [0.0, 0.5, 1.0, 40.0, 1e9, f64::INFINITY, f64::NAN, -0.3, -1e300][self.below(9)]
    }

    /// As a file may have them that somebody wrote.
    fn habits(&mut self) -> Habits {
        let mut habits = Habits { off: self.figure(), contention: Some(self.figure()), ..Habits::default() };
        for _ in 0..self.below(3) {
            let share = Share { share: self.figure(), part: self.figure(), sure: self.figure(), grows: self.figure() };
            habits.clients.push(ClientHabits {
                client: ClientId(self.below(3) as u32),
                endpoint: [Endpoint::Chat, Endpoint::Completion][self.below(2)],
                answers: vec![([0, 1, 40, u32::MAX][self.below(4)], [0, 40, u32::MAX][self.below(3)]); self.below(30)],
                share: Some(share),
            });
            habits.variants.push(VariantHabits {
                variant: self.site().variant,
                gaps: vec![self.figure(); self.below(60)],
                crowd: Some((self.figure(), self.figure())),
                moves: Some(self.figure()),
            });
            let savings = vec![(self.figure(), self.figure()); self.below(20)];
            let crowd = Some(self.figure());
            habits.sites.push(SiteHabits { site: self.site(), savings, crowd });
        }
        habits
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Its prompt is computed, and its state is on the way to another lane.
    Carried,
    Running {
        lane: LaneId,
        expired: bool,
        withdrawn: bool,
        export: bool,
    },
    Ended,
}

impl State {
    fn waits(self) -> bool {
        matches!(self, State::Waiting | State::Carried)
    }

    /// It has started, as far as budgets go.
    fn spends(self) -> bool {
        matches!(self, State::Running { .. } | State::Carried)
    }
}

#[derive(Debug)]
struct Known {
    arrival: Arrival,
    state: State,
    lost: u32,
    /// Times it was stopped by its budget and waited again.
    stopped: u32,
    /// What it may use in all, as it was told for this run.
    allowed: Option<u64>,
    /// What it has used in all.
    spent: u64,
    /// What it used beyond what it was allowed, in all.
    over: u64,
    settled: bool,
    plan: Option<Plan>,
}

#[derive(Debug)]
struct ModelLane {
    site: Site,
    slots: Option<usize>,
    stopping: bool,
}

struct World {
    sched: Sched,
    now: Time,
    limits: Limits,
    /// Lanes that fit into memory at once.
    room: usize,
    requests: BTreeMap<RequestId, Known>,
    lanes: BTreeMap<LaneId, ModelLane>,
    used_ids: BTreeSet<LaneId>,
    /// Sites of which it was said whether a lane can be there.
    usable: BTreeMap<Site, bool>,
    /// Sites of which it was said how long an idle lane stays there.
    idle: BTreeMap<Site, Option<Duration>>,
    closing: bool,
    log: Vec<Action>,
    told: u64,
    signals: Signals,
    /// What each purse was charged beyond what was allowed: by steps too long, by requests that do not run, and by
    /// corrections that others had used up.
    over: BTreeMap<PurseId, u64>,
    /// How far a purse was restored below zero.
    owed: u64,
}

fn error(code: Code) -> Error {
    Error::new(code, "made up")
}

impl World {
    fn new(input: &mut Input) -> World {
        let limits = input.limits();
        World {
            sched: Sched::new(limits),
            now: Time::ZERO,
            limits,
            room: 1 + input.below(3),
            requests: BTreeMap::new(),
            lanes: BTreeMap::new(),
            used_ids: BTreeSet::new(),
            usable: BTreeMap::new(),
            idle: BTreeMap::new(),
            closing: false,
            log: Vec::new(),
            told: 0,
            signals: Signals::default(),
            over: BTreeMap::new(),
            owed: 0,
        }
    }

    fn operate(&mut self, input: &mut Input) {
        match input.below(31) {
            16..=18 => self.spend(input),
            19 => {
                if let Some(id) = pick(self.running(), input) {
                    self.stop(id);
                }
            }
            20 => {
                if let Some(id) = pick(self.in_state(|_| true), input) {
                    let known = self.requests.get_mut(&id).expect("a known request");
                    known.settled |= known.state == State::Ended;
                    self.tell(Event::Settled(id));
                }
            }
            21 => self.configure(input),
            22 | 23 => {
                if let Some(id) =
                    pick(self.in_state(|state| matches!(state, State::Running { export: true, .. })), input)
                {
                    self.export(id, input.below(3) as u64);
                }
            }
            24 | 25 => {
                let ids = self.requests.keys().copied().chain([RequestId(1 << 40)]).collect();
                let Some(id) = pick(ids, input) else { return };
                let (site, measured) = (input.site(), input.measured());
                self.tell(Event::Measured { id, site, measured });
            }
            26 => {
                let (site, cost) = (input.site(), input.cost());
                self.tell(Event::Woke { site, cost });
                let mut profile = Profile::default();
                for _ in 0..input.below(4) {
                    profile.learn(&input.measured());
                }
                profile.woke(input.cost());
                profile.held(input.cost().joules);
                self.tell(Event::Profile { site, profile: Box::new(profile) });
                self.tell(Event::Habits(Box::new(input.habits())));
            }
            27 => {
                let site = input.site();
                let usable = !input.one_in(4);
                self.usable.insert(site, usable);
                self.tell(Event::Site { site, usable });
            }
            28 => {
                let (site, watts) = (input.site(), input.cost().joules);
                self.tell(Event::Held { site, watts });
                self.tell(Event::Memory { site, bytes: [0, 1 << 30, u64::MAX][input.below(3)] });
                let site = input.site();
                let after = [None, Some(0), Some(2_000), Some(90_000)][input.below(4)].map(Duration::from_millis);
                self.idle.insert(site, after);
                self.tell(Event::IdleUnload { site, after });
            }
            29 => self.divide(input),
            0..=3 | 30 => self.arrive(input),
            4 | 5 => {
                if let Some(id) = pick(self.running(), input) {
                    self.finish(id);
                }
            }
            6 => self.cancel(input),
            7 | 8 => {
                if let Some(lane) = pick(self.lanes_where(|lane| lane.slots.is_none() && !lane.stopping), input) {
                    self.answer_load(lane, input);
                }
            }
            9 => {
                let Some(lane) = pick(self.lanes_where(|_| true), input) else { return };
                let stubborn = input.one_in(2);
                let retry = self.running_on(lane).into_iter().filter(|_| !stubborn || input.one_in(2)).collect();
                self.lose(lane, retry, input.one_in(8));
            }
            10 | 11 => {
                if let Some(lane) = pick(self.lanes_where(|lane| lane.stopping), input) {
                    self.lose(lane, Vec::new(), !input.one_in(4));
                }
            }
            12 => self.pass_time(input),
            13 => {
                if let Some(due) = self.sched.next_timeout() {
                    self.now = due;
                    self.tell(Event::Tick);
                }
            }
            14 => {
                let load = input.one_in(2);
                let site = input.site();
                self.tell(if load { Event::Load(site) } else { Event::Unload(site) });
            }
            _ => self.disturb(input),
        }
    }

    /// From now on prompts of a variant are cheap on one device and its answers on the other.
    fn divide(&mut self, input: &mut Input) {
        let variant = VariantId(input.below(4) as u32);
        for (device, prompt, answer) in [(DeviceId::CPU, (20, 6), (100, 4)), (DeviceId(1), (1, 10), (80, 8))] {
            let site = Site { variant, device };
            self.usable.insert(site, true);
            self.tell(Event::Site { site, usable: true });
            let phase = |tokens: u32, (ms, watts): (u64, u64)| PhaseMeasured {
                tokens,
                context: 100,
                batch: 1.0,
                time: Duration::from_millis(u64::from(tokens) * ms),
                energy: Microjoules(u64::from(tokens) * ms * watts * 1_000),
            };
            let mut profile = Profile::default();
            for tokens in [50, 400, 100] {
                let (prefill, decode) = (phase(tokens, prompt), phase(tokens, answer));
                profile.learn(&Measured { threads: 4, prefill, decode, metered: true, ..Measured::default() });
            }
            profile.woke(Cost { seconds: 0.1, joules: 0.1 });
            profile.held(0.0);
            self.tell(Event::Profile { site, profile: Box::new(profile) });
        }
    }

    fn arrive(&mut self, input: &mut Input) {
        let id = RequestId(self.requests.len() as u64);
        let variant = VariantId(input.below(4) as u32);
        let mut arrival = Arrival::new(id, Tenant(input.below(3) as u32), variant);
        if input.one_in(3) {
            let other = VariantId(input.below(4) as u32);
            arrival.variants.push(Candidate { variant: other, lesser: input.one_in(2) });
        }
        let in_a_while = |input: &mut Input| {
            [None, None, Some(0), Some(4_000)][input.below(4)].map(|ms| self.now + Duration::from_millis(ms))
        };
        arrival.class = [Class::Interactive, Class::Standard, Class::Background][input.below(3)];
        arrival.tokens = [0, 1, 100, u32::MAX][input.below(4)];
        arrival.prompt = [0, 1, 100, u32::MAX][input.below(4)];
        arrival.max_answer = [0, 1, 100, u32::MAX][input.below(4)];
        arrival.deadline = in_a_while(input);
        arrival.first_token = in_a_while(input);
        arrival.client = ClientId(input.below(3) as u32);
        arrival.predicted = Microjoules([0, 100_000, 2_000_000, u64::MAX][input.below(4)]);
        arrival.max_joules = [None, None, Some(0), Some(1_000_000)][input.below(4)].map(Microjoules);
        arrival.backend = [None, None, None, Some(Backend::Cpu), Some(Backend::Gpu)][input.below(5)];
        arrival.policy =
            [None, Some(Policy::MinEnergy), Some(Policy::Balanced), Some(Policy::MaxThroughput)][input.below(4)];
        arrival.degrade = input.one_in(2);
        arrival.endpoint = [Endpoint::Chat, Endpoint::Completion][input.below(2)];
        arrival.threads = [None, None, None, None, None, Some(0), Some(3), Some(u32::MAX)][input.below(8)];
        arrival.cached = vec![(input.site(), input.below(200) as u32)];
        let known = Known {
            arrival: arrival.clone(),
            state: State::Waiting,
            lost: 0,
            stopped: 0,
            allowed: None,
            spent: 0,
            over: 0,
            settled: false,
            plan: None,
        };
        self.requests.insert(id, known);
        self.tell(Event::Arrived(arrival));
    }

    fn cancel(&mut self, input: &mut Input) {
        let Some(id) = pick(self.requests.keys().copied().collect(), input) else { return };
        if let Some(known) = self.requests.get_mut(&id) {
            match &mut known.state {
                State::Running { withdrawn, .. } => *withdrawn = true,
                state => *state = State::Ended,
            }
        }
        self.tell(Event::Cancelled(id));
    }

    fn finish(&mut self, id: RequestId) {
        self.end(id);
        self.tell(Event::Finished(id));
    }

    /// Energy is charged: as an honest lane uses it, with one step that goes too far, with a correction, or to a request
    /// that does not run.
    fn spend(&mut self, input: &mut Input) {
        let Some(id) = pick(self.in_state(|_| true), input) else { return };
        self.tell(Event::Tick);
        let known = self.requests.get_mut(&id).expect("a known request");
        let runs = known.state.spends();
        // A debt of centuries would be beyond the clock.
        let allowed = known.allowed.filter(|_| runs);
        let open = allowed.map_or(10_000_000, |allowed| allowed.saturating_sub(known.spent));
        let more = [0, 1, open / 3, open, open.saturating_add(50_000), 1_500_000][input.below(6)].min(1 << 50);
        let less = if input.one_in(4) { known.spent / 2 } else { 0 };
        let over = if runs && known.allowed.is_some() { more.saturating_sub(open) } else { more };
        let over = if runs && known.allowed.is_none() { 0 } else { over };
        known.spent = known.spent.saturating_add(more) - less;
        known.over += over;
        let client = known.arrival.client;
        let remembered = !known.settled;
        let before: BTreeMap<PurseId, _> = self.sched.purses().map(|purse| (purse.id, purse)).collect();
        let drawn = |purse: &PurseId| !matches!(purse, PurseId::Client(other) if *other != client);
        for purse in before.values().filter(|purse| purse.on && drawn(&purse.id)) {
            *self.over.entry(purse.id).or_default() += over;
        }
        self.tell(Event::Spent { id, more: Microjoules(more), less: Microjoules(less) });
        for purse in self.sched.purses().filter(|purse| purse.on) {
            let Some(was) = before.get(&purse.id).map(|purse| purse.level) else { continue };
            let drawn = drawn(&purse.id);
            // What was refused on arrival was never in the books.
            let charged = (was - more as i64 + less as i64).min(purse.size.0 as i64);
            assert!(
                purse.level == was && (!drawn || !remembered || more == less || !runs || was == charged)
                    || (purse.level == charged && drawn && remembered),
                "{id:?}: {was} becomes {purse:?} by {more} - {less}"
            );
        }
    }

    /// Its prompt is computed, and its state is out of the lane.
    fn export(&mut self, id: RequestId, ms: u64) {
        let known = self.requests.get_mut(&id).expect("a running request");
        let withdrawn = matches!(known.state, State::Running { withdrawn: true, .. });
        known.state = if withdrawn { State::Ended } else { State::Carried };
        self.tell(Event::Exported { id, time: Duration::from_millis(ms) });
    }

    /// It is ended by its allowance, before its first token.
    fn stop(&mut self, id: RequestId) {
        if !self.sched.may_wait_again(id) {
            return self.finish(id);
        }
        let known = self.requests.get_mut(&id).expect("a running request");
        assert_eq!(known.arrival.class, Class::Background);
        known.stopped += 1;
        known.state =
            if matches!(known.state, State::Running { withdrawn: true, .. }) { State::Ended } else { State::Waiting };
        known.allowed = None;
        self.tell(Event::Stopped(id));
    }

    /// Budgets, clients, signals and what was on the disk.
    fn configure(&mut self, input: &mut Input) {
        match input.below(6) {
            0 => {
                let [mains, battery, low_battery] = [input.power(), input.power(), input.power()];
                self.tell(Event::Budgets(Budgets { mains, battery, low_battery, low_percent: 20 }));
            }
            1 => {
                let limits =
                    ClientLimits { joules_per_hour: input.energy(), requests: [None, Some(1)][input.below(2)] };
                self.tell(Event::Client { client: ClientId(input.below(3) as u32), limits });
            }
            2 => {
                let level = [0, 1_000_000, -5_000_000][input.below(3)];
                let purse =
                    [PurseId::Hour, PurseId::Day, PurseId::Client(ClientId(input.below(3) as u32))][input.below(3)];
                self.owed = self.owed.max(level.min(0i64).unsigned_abs());
                // What was charged before is part of the level that was restored, or more.
                self.tell(Event::Restored { purse, level });
            }
            3 => self.tell(Event::Power { draw: Microwatts(4_000_000), span: Duration::from_secs(1) }),
            _ => {
                self.signals = input.signals();
                self.tell(Event::Signals(self.signals));
            }
        }
    }

    fn answer_load(&mut self, id: LaneId, input: &mut Input) {
        let event = if self.lanes.len() > self.room || input.one_in(8) {
            Event::LoadBlocked { lane: id, error: error(Code::InsufficientMemory) }
        } else if input.one_in(8) {
            Event::LoadFailed { lane: id, error: error(Code::ModelLoadFailed) }
        } else {
            let slots = 1 + input.below(3);
            self.lanes.get_mut(&id).expect("a loading lane").slots = Some(slots);
            return self.tell(Event::LaneReady { lane: id, slots: slots as u32 });
        };
        self.lanes.remove(&id);
        self.tell(event);
    }

    /// The lane is gone; of its requests, those in `retry` may run again.
    fn lose(&mut self, id: LaneId, retry: Vec<RequestId>, expected: bool) {
        for request in self.running_on(id) {
            let known = self.requests.get_mut(&request).expect("a running request");
            let withdrawn = matches!(known.state, State::Running { withdrawn: true, .. });
            known.lost += 1;
            known.allowed = None;
            known.state = if withdrawn || !retry.contains(&request) { State::Ended } else { State::Waiting };
        }
        self.lanes.remove(&id);
        self.tell(Event::LaneGone { lane: id, retry, expected, error: error(Code::WorkerLost) });
    }

    fn pass_time(&mut self, input: &mut Input) {
        self.now = self.now + Duration::from_millis([1, 40, 700, 5_000, 70_000][input.below(5)]);
        if self.sched.next_timeout().is_some_and(|due| due <= self.now) {
            self.tell(Event::Tick);
        }
    }

    /// What should not happen, happens seldom, or must not matter.
    fn disturb(&mut self, input: &mut Input) {
        let nobody = RequestId(1 << 40);
        let nowhere = LaneId(1 << 40);
        match input.below(14) {
            0 => self.tell(Event::Cancelled(nobody)),
            1 => {
                self.tell(Event::Finished(nobody));
                // Who does not leave its lane is not handed over.
                let stays = |state| !matches!(state, State::Running { export: true, .. });
                let id = pick(self.in_state(stays), input).unwrap_or(nobody);
                self.tell(Event::Exported { id, time: Duration::MAX });
            }
            2 => self.tell(Event::LaneReady { lane: nowhere, slots: 1 }),
            3 => self.tell(Event::LoadBlocked { lane: nowhere, error: error(Code::InsufficientMemory) }),
            4 => self.tell(Event::LoadFailed { lane: nowhere, error: error(Code::ModelLoadFailed) }),
            5 => {
                let retry = vec![nobody, RequestId(0)];
                self.tell(Event::LaneGone { lane: nowhere, retry, expected: false, error: error(Code::WorkerLost) });
            }
            6 => {
                // A request that was heard of already.
                let alive = self.requests.values().find(|known| known.state != State::Ended);
                if let Some(arrival) = alive.map(|known| known.arrival.clone()) {
                    self.tell(Event::Arrived(arrival));
                }
            }
            7 => {
                // An end that is reported twice, and one of a request that never ran.
                if let Some(id) = pick(self.in_state(|state| !matches!(state, State::Running { .. })), input) {
                    self.tell(Event::Finished(id));
                }
            }
            8 => {
                // A lane that answers again.
                if let Some(lane) = pick(self.lanes_where(|lane| lane.slots.is_some() && !lane.stopping), input) {
                    self.tell(Event::LaneReady { lane, slots: 9 });
                    self.tell(Event::LoadBlocked { lane, error: error(Code::InsufficientMemory) });
                    self.tell(Event::LoadFailed { lane, error: error(Code::ModelLoadFailed) });
                }
                // A lane whose answer crosses our word to stop.
                if let Some(lane) = pick(self.lanes_where(|lane| lane.slots.is_none() && lane.stopping), input) {
                    self.tell(Event::LaneReady { lane, slots: 9 });
                    if input.one_in(2) {
                        self.lanes.remove(&lane);
                        self.tell(Event::LoadFailed { lane, error: error(Code::ModelLoadFailed) });
                    }
                }
            }
            9 => {
                self.limits = input.limits();
                self.tell(Event::Limits(self.limits));
            }
            10 => {
                // The clock is set back.
                self.tell(Event::Tick);
                let actions = self.sched.handle(Event::Tick, Time::ZERO);
                self.check(actions);
            }
            11 | 12 => self.measure(input),
            _ => {
                if input.one_in(4) {
                    self.closing = true;
                    self.tell(Event::ShutDown);
                }
            }
        }
    }

    /// Some steps, and the power they took, or what a sensor made of it.
    fn measure(&mut self, input: &mut Input) {
        for _ in 0..1 + input.below(8) {
            self.now = self.now + Duration::from_millis([100, 100, 1, 3_000][input.below(4)]);
            for lane in self.lanes_where(|lane| lane.slots.is_some()).into_iter().chain([LaneId(1 << 40)]) {
                let time = Duration::from_millis([50, 0, 90, 100_000][input.below(4)]);
                let work = Work { steps: [5, 0, 1, u32::MAX][input.below(4)], tokens: input.below(99) as u32, time };
                let done = Progress { prefill: work, decode: Work { tokens: u32::MAX, ..work } };
                self.tell(Event::Progress { lane, done });
            }
            let draw = Microwatts([3_000_000, 8_000_000, 0, u64::MAX][input.below(4)]);
            let span = [Duration::from_millis(100), Duration::ZERO, Duration::MAX][input.below(3)];
            self.tell(Event::Power { draw, span });
            if self.sched.next_timeout().is_some_and(|due| due <= self.now) {
                self.tell(Event::Tick);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.told += 1;
        let actions = self.sched.handle(event, self.now);
        self.check(actions);
    }

    fn check(&mut self, actions: Vec<Action>) {
        for action in &actions {
            match action {
                Action::Load { lane, site } => {
                    assert!(!self.closing, "a lane is loaded while the service stops");
                    assert!(self.used_ids.insert(*lane), "{lane:?} is used twice");
                    assert!(self.lanes.values().all(|other| other.site != *site), "{site:?} has two lanes");
                    self.lanes.insert(*lane, ModelLane { site: *site, slots: None, stopping: false });
                }
                Action::Unload(id) => {
                    assert!(self.running_on(*id).is_empty(), "{id:?} is let go while requests run");
                    let lane = self.lanes.get_mut(id).expect("a lane that is there is let go");
                    assert!(!lane.stopping, "{id:?} is let go twice");
                    lane.stopping = true;
                }
                Action::Planned { id, choice } => {
                    let known = self.requests.get_mut(id).expect("a request that arrived");
                    assert_eq!(known.state, State::Waiting, "{id:?} is planned");
                    let plan = choice.plan;
                    assert_eq!(plan.prefill.variant, plan.decode.variant);
                    let allowed = known.arrival.variants.iter().any(|c| c.variant == plan.variant());
                    assert!(allowed, "{id:?} runs another variant: {plan:?}");
                    for site in [plan.prefill, plan.decode] {
                        let usable = self.usable.get(&site).copied().unwrap_or(site.device.is_cpu());
                        assert!(usable, "{id:?} is planned where no lane can be: {plan:?}");
                        assert!(known.arrival.backend.is_none_or(|backend| backend.allows(site.device)));
                    }
                    known.plan = Some(plan);
                }
                Action::Start { id, lane: on, export } => {
                    let lane = &self.lanes[on];
                    assert!(!lane.stopping, "{id:?} starts on a stopping lane");
                    assert!(self.running_on(*on).len() < lane.slots.expect("a ready lane"), "{on:?} has no free slot");
                    let known = &self.requests[id];
                    let plan = known.plan.expect("what starts was planned");
                    let carried = known.state == State::Carried;
                    assert!(known.arrival.backend.is_none_or(|backend| backend.allows(lane.site.device)));
                    assert_eq!(plan.variant(), lane.site.variant);
                    assert!(carried || plan.prefill == lane.site, "{id:?} starts elsewhere: {plan:?}");
                    assert_eq!(*export, plan.is_split() && !carried);
                    let (export, lane) = (*export, *on);
                    self.change(*id, State::Running { lane, expired: false, withdrawn: false, export });
                }
                Action::Refuse { id, error } => {
                    let lost = self.requests[id].lost;
                    let retried = matches!(error.code, Code::WorkerLost);
                    assert!(!retried || lost >= 2, "{id:?} had no second try");
                    assert!(error.code != Code::QueueFull || error.retry_after >= Some(Duration::from_secs(1)));
                    let background = self.requests[id].arrival.class == Class::Background;
                    assert!(error.code != Code::BudgetExhausted || !background, "{id:?} could have waited");
                    self.change(*id, State::Ended);
                }
                Action::Allow { id, energy } => {
                    let known = self.requests.get_mut(id).expect("a known request");
                    let starts =
                        actions.iter().any(|action| matches!(action, Action::Start { id: other, .. } if other == id));
                    assert!(starts || known.state.spends(), "{id:?} does not run");
                    known.allowed = Some(energy.0).filter(|energy| *energy < u64::MAX);
                }
                Action::Pace { lane, pace } => {
                    assert!(!self.running_on(*lane).is_empty(), "{lane:?} is paced without work");
                    assert!(pace.threads >= 1 && pace.chunk >= 1 && (1..=1000).contains(&pace.duty), "{pace:?}");
                }
                Action::Expire(id) => {
                    let known = self.requests.get_mut(id).expect("a known request");
                    assert!(
                        known.arrival.deadline.is_some_and(|deadline| deadline <= self.now),
                        "{id:?} has time left"
                    );
                    match &mut known.state {
                        State::Running { expired, withdrawn: false, .. } if !*expired => *expired = true,
                        state => panic!("{id:?} expires while {state:?}"),
                    }
                }
            }
        }
        self.log.extend(actions);
        self.check_state();
    }

    fn check_state(&self) {
        let waiting = self.in_state(State::waits);
        assert_eq!(self.sched.queued(), waiting.len(), "requests waiting");
        assert_eq!(self.sched.running(), self.running().len(), "requests running");
        assert!(self.sched.next_timeout().is_none_or(|due| due > self.now), "a timeout in the past");
        for known in self.requests.values() {
            assert!(known.lost <= 2, "a request is tried more than twice");
            assert_eq!(self.sched.position(known.arrival.id).is_some(), known.state.waits());
            assert!(
                !known.state.waits() || known.arrival.deadline.is_none_or(|deadline| deadline > self.now),
                "a request waits past its deadline"
            );
        }
        for site in (0..12).map(|i| Site { variant: VariantId(i / 3), device: DeviceId((i % 3) as u8) }) {
            let lane = self.lanes.values().find(|lane| lane.site == site);
            let expected = lane.map_or(LaneState::Unloaded, |lane| match lane {
                ModelLane { stopping: true, .. } => LaneState::Stopping,
                ModelLane { slots: None, .. } => LaneState::Loading,
                _ => LaneState::Ready,
            });
            let state = self.sched.lane_state(site);
            let resting = lane.is_none() && matches!(state, LaneState::Quarantined { until } if until > self.now);
            assert!(state == expected || resting, "{site:?} is {state:?}, should be {expected:?}");
            let usable = self.usable.get(&site).copied().unwrap_or(site.device.is_cpu());
            assert!((usable && !resting) || waiting.iter().all(|id| self.sched.requests[id].site != site));
        }
        self.check_budgets();
        // Nothing waits for an event that will not come.
        let at_work =
            |id: &LaneId, lane: &ModelLane| lane.stopping || lane.slots.is_none() || !self.running_on(*id).is_empty();
        let work = self.lanes.iter().any(|(id, lane)| at_work(id, lane));
        let told = self.sched.next_timeout().is_some() || self.sched.wants_signals();
        assert!(waiting.is_empty() || work || told, "requests wait for nothing");
        // Somebody whose prompt is computed elsewhere goes on there.
        let awaited = |lane: &ModelLane| {
            let comes = |known: &&Known| matches!(known.state, State::Running { export: true, .. });
            let coming = self.requests.values().filter(comes);
            coming.filter_map(|known| known.plan).any(|plan| plan.decode == lane.site)
        };
        let used = |(id, lane): (&LaneId, &ModelLane)| at_work(id, lane) || awaited(lane);
        assert!(!self.closing || self.lanes.iter().all(used), "a lane outlives its use");
    }

    /// What was told to those that run never adds up to more than is there.
    fn check_budgets(&self) {
        for purse in self.sched.purses().filter(|purse| purse.on) {
            assert!(purse.level <= purse.size.0 as i64, "{purse:?}");
            let drawn = |known: &&Known| match purse.id {
                PurseId::Client(client) => known.arrival.client == client,
                _ => true,
            };
            let running = self.requests.values().filter(|known| known.state.spends());
            let mut open: u64 = 0;
            for known in running.filter(drawn) {
                let allowed = known.allowed.expect("what runs on a purse is told how far it may go");
                open = open.saturating_add(allowed.saturating_sub(known.spent));
            }
            assert!(open == 0 || open as i64 <= purse.level, "{open} is allowed of {purse:?}");
            let over = self.over.get(&purse.id).copied().unwrap_or(0).saturating_add(self.owed);
            assert!(purse.level >= -(over.min(1 << 62) as i64), "{purse:?} is overdrawn by more than {over}");
        }
        for known in self.requests.values() {
            let most = known.arrival.max_joules.map(|most| most.0.saturating_add(known.over));
            assert!(most.is_none_or(|most| known.spent <= most), "{known:?} used too much");
            assert!(known.stopped <= 3);
        }
    }

    fn change(&mut self, id: RequestId, to: State) {
        let known = self.requests.get_mut(&id).expect("a request that arrived");
        assert!(known.state.waits(), "{id:?} becomes {to:?}");
        known.state = to;
    }

    fn end(&mut self, id: RequestId) {
        let known = self.requests.get_mut(&id).expect("a known request");
        assert!(matches!(known.state, State::Running { .. }));
        known.state = State::Ended;
    }

    /// From here on lanes come up where they fit, requests end, and nothing new arrives: all must end.
    fn come_to_rest(&mut self) {
        self.signals = Signals::default();
        self.tell(Event::Signals(self.signals));
        let steps = 1_000 + 100 * self.requests.len();
        for _ in 0..steps {
            if let Some(id) = self.lanes_where(|lane| lane.stopping).pop() {
                self.lose(id, Vec::new(), true);
            } else if let Some(id) = self.lanes_where(|lane| lane.slots.is_none()).pop() {
                if self.lanes.len() > self.room {
                    self.lanes.remove(&id);
                    self.tell(Event::LoadBlocked { lane: id, error: error(Code::InsufficientMemory) });
                } else {
                    self.lanes.get_mut(&id).expect("a loading lane").slots = Some(2);
                    self.tell(Event::LaneReady { lane: id, slots: 2 });
                }
            } else if let Some(id) = self.running().pop() {
                self.now = self.now + Duration::from_millis(100);
                match self.requests[&id].state {
                    State::Running { export: true, .. } => self.export(id, 1),
                    _ => self.finish(id),
                }
            } else if let Some(due) = self.sched.next_timeout() {
                self.now = due;
                self.tell(Event::Tick);
            } else {
                break;
            }
        }
        assert!(self.requests.values().all(|known| known.state == State::Ended), "requests are left");
        assert_eq!((self.sched.queued(), self.sched.running()), (0, 0));
        assert_eq!(self.sched.next_timeout(), None, "no rest");
        let kept = |lane: &ModelLane| self.idle.get(&lane.site).unwrap_or(&self.limits.idle_unload).is_none();
        assert!(self.lanes.values().all(|lane| kept(lane) && !self.closing), "lanes are left");
    }

    fn in_state(&self, wanted: impl Fn(State) -> bool) -> Vec<RequestId> {
        self.requests.iter().filter(|(_, known)| wanted(known.state)).map(|(id, _)| *id).collect()
    }

    fn running(&self) -> Vec<RequestId> {
        self.in_state(|state| matches!(state, State::Running { .. }))
    }

    fn running_on(&self, id: LaneId) -> Vec<RequestId> {
        self.in_state(|state| matches!(state, State::Running { lane, .. } if lane == id))
    }

    fn lanes_where(&self, wanted: impl Fn(&ModelLane) -> bool) -> Vec<LaneId> {
        self.lanes.iter().filter(|(_, lane)| wanted(lane)).map(|(id, _)| *id).collect()
    }
}

fn pick<T: Copy>(from: Vec<T>, input: &mut Input) -> Option<T> {
    from.get(input.below(from.len())).copied()
}
