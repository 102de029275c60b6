//! The scheduler in the simulated world: its events from what happened, what it asks for as what is done.
//!
//! It plays the service. What the scheduler learns of joules comes through the device's sensor: off by its drift, and
//! by its noise, which is less over a longer time: with readings `refresh` seconds apart, each with noise σ (as a part),
//! the joules of a phase of T seconds in which the device drew E are off by σ·E·√(refresh/T). Seconds are true.

use std::collections::BTreeMap;
use std::time::Duration;

use super::device::{Device, LaneSpec, Sensor};
use super::lane::Counted;
use super::outcome::{Fate, Outcome, Phase, Taken};
use super::rng::Rng;
use super::trace::Trace;
use super::world::{Decider, Do, Happened, World};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId, Tenant};
use crate::sched::{
    thread_ladder, Action, Arrival, Budgets, Candidate, ClientId, Cost, DeviceId, Event, Forecast, Limits, Measured,
    PhaseMeasured, Policy, Power, Profile, Progress, Reason, Sched, Site, VariantId, Work,
};
use crate::units::{Microjoules, Microwatts};

/// How the scheduler is run.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What it saves.
    pub policy: Policy,
    /// It begins with profiles as `wattlm calibrate` measures them; else with none.
    pub calibrated: bool,
    /// Of the sensor's noise.
    pub seed: u64,
    /// It has lived through this on the same device before, and was restarted since: it begins with cold lanes, with what it
    /// learnt of the traffic, and with its profiles as they were by then.
    pub history: Option<&'a Trace>,
}

/// What the scheduler thought and what it was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// What decided.
    pub reason: Reason,
    /// What it expected.
    pub forecast: Forecast,
}

/// A run of the scheduler.
#[derive(Debug, Clone)]
pub struct Played {
    /// What came of it.
    pub outcome: Outcome,
    /// The last plan of each request.
    pub planned: Vec<Option<Planned>>,
    /// Joules above idle that the calibration before it took; not in the outcome.
    pub calibration: f64,
}

/// Runs the scheduler over a trace.
pub fn play(device: &Device, trace: &Trace, options: Options<'_>) -> Played {
    let mut driver = Driver::new(device, trace, options);
    let mut stuck = false;
    if let Some(history) = options.history {
        let mut before = Driver { planned: vec![None; history.asks.len()], ..driver };
        stuck = World::new(device, history).run(&mut before).stuck;
        driver = before.restarted(device, trace, options);
    }
    let mut outcome = World::new(device, trace).run(&mut driver);
    outcome.stuck |= stuck;
    Played { outcome, planned: driver.planned, calibration: driver.calibration }
}

/// The meter.
#[derive(Debug)]
struct Meter {
    sensor: Sensor,
    rng: Rng,
    phase: f64,
}

impl Meter {
    fn new(sensor: Sensor, seed: u64) -> Meter {
        let mut rng = Rng::new(seed).apart(1);
        let phase = rng.unit();
        Meter { sensor, rng, phase }
    }

    /// What it makes of `joules` out of `drawn` in so many seconds that end now.
    fn read(&mut self, joules: f64, drawn: f64, seconds: f64, now: f64) -> f64 {
        let Sensor { noise, refresh, drift, drift_period } = self.sensor;
        let off = drift * ((now / drift_period + self.phase) * std::f64::consts::TAU).sin();
        let spread = noise * drawn * (refresh / seconds.max(refresh)).sqrt();
        (joules * (1.0 + off) + spread * self.rng.normal()).max(0.0)
    }

    fn phase(&mut self, phase: &Phase, now: f64) -> PhaseMeasured {
        PhaseMeasured {
            tokens: phase.tokens,
            // `as` saturates.
            context: (phase.cells / f64::from(phase.tokens.max(1))) as u32,
            batch: (phase.batch / phase.steps.max(1.0)).max(1.0) as f32,
            time: span(phase.seconds),
            energy: Microjoules::from_f64(self.read(phase.joules, phase.drawn, phase.seconds, now)),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
struct Driver {
    sched: Sched,
    meter: Meter,
    /// Names of lanes that are there, by place in the device.
    names: Vec<Option<LaneId>>,
    sites: Vec<Site>,
    places: BTreeMap<LaneId, usize>,
    counted: Vec<Counted>,
    planned: Vec<Option<Planned>>,
    calibration: f64,
}

fn site(spec: &LaneSpec) -> Site {
    Site { variant: VariantId(spec.variant as u32), device: DeviceId(spec.device) }
}

/// So many seconds; what is beyond a duration, on a device that is slow beyond measure, is the longest one.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn time(seconds: f64) -> Time {
    Time::ZERO + span(seconds)
}

fn id(ask: usize) -> RequestId {
    RequestId(ask as u64)
}

impl Driver {
    fn new(device: &Device, trace: &Trace, options: Options<'_>) -> Driver {
        let threads = device.lanes.iter().filter(|lane| lane.device == 0).map(LaneSpec::threads).max();
        let mut driver = Driver {
            sched: Sched::new(Limits {
                threads: threads.unwrap_or(1),
                idle_unload: device.idle_unload.map(span),
                ..Limits::default()
            }),
            meter: Meter::new(device.sensor, options.seed),
            names: vec![None; device.lanes.len()],
            sites: device.lanes.iter().map(site).collect(),
            places: BTreeMap::new(),
            counted: vec![Counted::default(); device.lanes.len()],
            planned: vec![None; trace.asks.len()],
            calibration: 0.0,
        };
        let power = Power { cap: device.cap.map(Microwatts::from_f64), policy: options.policy, ..Power::default() };
        let budgets = Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 };
        driver.sched.handle(Event::Budgets(budgets), Time::ZERO);
        for spec in &device.lanes {
            driver.sched.handle(Event::Site { site: site(spec), usable: true }, Time::ZERO);
            driver.sched.handle(Event::Memory { site: site(spec), bytes: spec.memory }, Time::ZERO);
            if options.calibrated {
                let (profile, joules) = calibrate(spec, device, &mut driver.meter);
                driver.calibration += joules;
                driver.sched.handle(Event::Profile { site: site(spec), profile: Box::new(profile) }, Time::ZERO);
            }
        }
        // A variant without a lane on the CPU.
        for variant in 0..device.variants.len() {
            let cpu = Site::cpu(VariantId(variant as u32));
            if !device.lanes.iter().any(|spec| site(spec) == cpu) {
                driver.sched.handle(Event::Site { site: cpu, usable: false }, Time::ZERO);
            }
        }
        driver
    }

    /// As a daemon that ended and was started again: with what it kept, and with nothing else. The meter is the same.
    fn restarted(self, device: &Device, trace: &Trace, options: Options<'_>) -> Driver {
        let mut next = Driver::new(device, trace, Options { calibrated: false, ..options });
        (next.meter, next.calibration) = (self.meter, self.calibration);
        let habits = Box::new(self.sched.habits());
        for site in self.sites {
            if let Some(profile) = self.sched.profile(site) {
                next.sched.handle(Event::Profile { site, profile: Box::new(profile.clone()) }, Time::ZERO);
            }
        }
        next.sched.handle(Event::Habits(habits), Time::ZERO);
        next
    }

    fn arrival(ask: usize, world: &World<'_>) -> Arrival {
        let request = world.ask(ask);
        let held = |lane: usize| {
            let (session, shared) = request.session?;
            let cells = world.holds(lane, session, shared).min(request.prompt - 1);
            (cells > 0).then_some((site(&world.device.lanes[lane]), cells))
        };
        Arrival {
            class: request.class,
            variants: vec![Candidate { variant: VariantId(request.variant as u32), lesser: false }],
            endpoint: request.endpoint,
            tokens: request.prompt.saturating_add(request.max_answer),
            prompt: request.prompt,
            cached: world.device.lanes_of(request.variant).filter_map(held).collect(),
            max_answer: request.max_answer,
            deadline: request.deadline.map(|after| time(world.now + after)),
            first_token: request.ttft.map(|after| time(world.now + after)),
            backend: request.backend,
            client: ClientId(request.uid),
            ..Arrival::new(id(ask), Tenant(request.uid), VariantId(request.variant as u32))
        }
    }

    fn tell(&mut self, event: Event, world: &World<'_>, out: &mut Vec<Do>) {
        for action in self.sched.handle(event, time(world.now)) {
            out.extend(self.action(action));
        }
    }

    fn action(&mut self, action: Action) -> Option<Do> {
        let place = |id: RequestId| usize::try_from(id.0).unwrap_or(usize::MAX);
        Some(match action {
            Action::Load { lane, site: at } => {
                let index = self.sites.iter().position(|site| *site == at)?;
                self.names[index] = Some(lane);
                self.places.insert(lane, index);
                Do::Load(index)
            }
            Action::Unload(lane) => Do::Unload(*self.places.get(&lane)?),
            Action::Planned { id, choice } => {
                self.planned[place(id)] = Some(Planned { reason: choice.reason, forecast: choice.forecast });
                return None;
            }
            Action::Start { id, lane, export } => {
                // A lane works with all its threads until it is told otherwise.
                let threads = (u32::MAX, u32::MAX);
                Do::Start { ask: place(id), lane: *self.places.get(&lane)?, export, threads }
            }
            Action::Refuse { id, .. } => Do::Refuse(place(id)),
            Action::Expire(id) => Do::Expire(place(id)),
            Action::Allow { id, energy } => Do::Allow(place(id), energy.as_f64()),
            Action::Pace { lane, pace } => Do::Pace {
                lane: *self.places.get(&lane)?,
                threads: (pace.prompt_threads, pace.threads),
                duty: f64::from(pace.duty) / 1000.0,
                chunk: pace.chunk,
            },
        })
    }

    /// What a request took on its last lane.
    fn measured(&mut self, ask: usize, world: &World<'_>, out: &mut Vec<Do>) {
        let request = &world.requests[ask];
        let Some(Taken { lane, threads, prefill, decode }) = request.taken.last().copied() else { return };
        // Nothing was computed with 0: it took part in no step of that kind.
        let answers = if threads.1 > 0 { threads.1 } else { threads.0 };
        let measured = Measured {
            threads: answers,
            prompt_threads: threads.0,
            prefill: self.meter.phase(&prefill, world.now),
            decode: self.meter.phase(&decode, world.now),
            metered: true,
            ended: request.fate == Fate::Answered,
        };
        let site = site(&world.device.lanes[lane]);
        let more = measured.prefill.energy + measured.decode.energy;
        self.tell(Event::Spent { id: id(ask), more, less: Microjoules::ZERO }, world, out);
        self.tell(Event::Measured { id: id(ask), site, measured }, world, out);
    }

    fn sample(&mut self, watts: f64, seconds: f64, world: &World<'_>, out: &mut Vec<Do>) {
        for (index, lane) in world.lanes.iter().enumerate() {
            let (Some(name), now) = (self.names[index], lane.counted(world.now)) else { continue };
            let before = std::mem::replace(&mut self.counted[index], now);
            let work = |now: (f64, f64, f64), before: (f64, f64, f64)| Work {
                // `as` saturates; counts are whole numbers.
                steps: (now.0 - before.0).round() as u32,
                tokens: (now.1 - before.1).round() as u32,
                time: span(now.2 - before.2),
            };
            let done = Progress { prefill: work(now.prefill, before.prefill), decode: work(now.decode, before.decode) };
            if done.prefill.steps + done.decode.steps > 0 {
                self.tell(Event::Progress { lane: name, done }, world, out);
            }
        }
        let read = self.meter.read(watts * seconds, watts * seconds, seconds, world.now) / seconds.max(1e-9);
        self.tell(Event::Power { draw: Microwatts::from_f64(read), span: span(seconds) }, world, out);
    }
}

impl Decider for Driver {
    fn happened(&mut self, what: Happened, world: &World<'_>, out: &mut Vec<Do>) {
        let spec = |lane: usize| &world.device.lanes[lane];
        match what {
            Happened::Arrived(ask) => self.tell(Event::Arrived(Driver::arrival(ask, world)), world, out),
            Happened::Ready(lane) => {
                let Some(name) = self.names[lane] else { return };
                self.counted[lane] = Counted::default();
                self.tell(Event::LaneReady { lane: name, slots: spec(lane).slots }, world, out);
                let seconds = spec(lane).load_seconds;
                let (joules, drawn) = (spec(lane).load_joules(), world.device.idle_watts * seconds);
                let joules = self.meter.read(joules, joules + drawn, seconds, world.now);
                self.tell(Event::Woke { site: site(spec(lane)), cost: Cost { seconds, joules } }, world, out);
            }
            Happened::Blocked(lane) => {
                let Some(name) = self.names[lane].take() else { return };
                let error = Error::new(Code::InsufficientMemory, "other models hold the memory");
                self.tell(Event::LoadBlocked { lane: name, error }, world, out);
            }
            Happened::Gone(lane) => {
                let Some(name) = self.names[lane].take() else { return };
                let error = Error::new(Code::WorkerLost, "the worker has gone");
                let gone = Event::LaneGone { lane: name, retry: Vec::new(), expected: true, error };
                self.tell(gone, world, out);
            }
            Happened::Finished(ask) => {
                self.tell(Event::Finished(id(ask)), world, out);
                self.measured(ask, world, out);
                self.tell(Event::Settled(id(ask)), world, out);
            }
            Happened::Exported(ask) => {
                let request = world.requests[ask].moved.unwrap_or(0);
                let (_, seconds) = world.device.handover_of(world.ask(ask).variant, request);
                self.tell(Event::Exported { id: id(ask), time: span(seconds / 2.0) }, world, out);
                self.measured(ask, world, out);
            }
            Happened::Tick => self.tell(Event::Tick, world, out),
            Happened::Sample(watts, span) => self.sample(watts, span, world, out),
        }
    }

    fn timeout(&self) -> Option<f64> {
        // A nanosecond is less than what seconds can tell after some months: never early.
        self.sched.next_timeout().map(|at| at.0 as f64 / 1e9 + 1e-9)
    }

    fn samples(&self) -> bool {
        true
    }
}

/// Prompts, contexts, answers and numbers of requests at once that `wattlm calibrate` measures.
const PROMPTS: [(u32, u32); 4] = [(32, 0), (128, 0), (512, 0), (128, 512)];
const ANSWER: u32 = 32;
const CONTEXTS: [u32; 2] = [64, 768];

/// What a calibration of this lane measures, and the joules that it takes.
fn calibrate(spec: &LaneSpec, device: &Device, meter: &mut Meter) -> (Profile, f64) {
    let mut profile = Profile::default();
    let (mut spent, mut at) = (spec.load_joules(), 0.0);
    let drawn = spec.load_joules() + device.idle_watts * spec.load_seconds;
    let joules = meter.read(spec.load_joules(), drawn, spec.load_seconds, at);
    profile.woke(Cost { seconds: spec.load_seconds, joules });
    // What the device draws idle with the lane, less without it: half a minute each. What the sensor cannot tell from
    // nothing is nothing.
    let (rest, idle) = (30.0, device.idle_watts);
    let with = meter.read(rest * (idle + spec.hold_watts), rest * (idle + spec.hold_watts), rest, at);
    let without = meter.read(rest * idle, rest * idle, rest, at);
    let blur = 2.0 * std::f64::consts::SQRT_2 * device.sensor.noise * idle * (device.sensor.refresh / rest).sqrt();
    let held = (with - without) / rest;
    profile.held(if held > blur { held } else { 0.0 });
    spent += rest * spec.hold_watts;
    let mut phase = |tokens: u32, cells: f64, batch: u32, seconds: f64, watts: f64| {
        let base = device.idle_watts + spec.hold_watts;
        let share = 1.0 / f64::from(batch);
        let phase = Phase {
            tokens,
            cells: cells * f64::from(tokens),
            steps: 1.0,
            batch: f64::from(batch),
            seconds,
            joules: watts * seconds * share,
            drawn: (base + watts) * seconds,
        };
        spent += (watts + spec.hold_watts) * seconds;
        at += seconds;
        meter.phase(&phase, at)
    };
    for threads in thread_ladder(spec.threads()).into_iter().rev() {
        let point = spec.point(threads);
        for (tokens, depth) in PROMPTS {
            let seconds = spec.prefill_seconds(point, tokens, depth) + spec.prefill_fixed;
            let cells = f64::from(depth) + f64::from(tokens - 1) / 2.0;
            let prefill = phase(tokens, cells, 1, seconds, point.prefill_watts);
            profile.learn(&Measured { threads, prefill, metered: true, ..Measured::default() });
        }
        for batch in [1, 2, spec.slots] {
            for context in CONTEXTS {
                let batch = batch.min(spec.slots);
                let cells = f64::from(context) + f64::from(ANSWER - 1) / 2.0;
                let seconds = f64::from(ANSWER) * spec.step_seconds(point, batch, cells * f64::from(batch));
                let decode = phase(ANSWER, cells, batch, seconds, spec.step_watts(point, batch));
                profile.learn(&Measured { threads, decode, metered: true, ..Measured::default() });
            }
        }
    }
    (profile, spent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_seconds_is_too_much() {
        for (seconds, expected) in [
            (1.5, Duration::from_millis(1_500)),
            (-1.0, Duration::ZERO),
            (f64::NAN, Duration::ZERO),
            (1e30, Duration::MAX),
            (f64::INFINITY, Duration::MAX),
        ] {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
        assert_eq!(time(f64::INFINITY), Time(u64::MAX));
    }
}
