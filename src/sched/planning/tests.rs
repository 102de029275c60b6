//! Tests of plans: what is chosen, and what becomes of it.

use std::time::Duration;

use super::super::{
    Arrival, Backend, Budgets, Candidate, Class, ClientId, ClientLimits, Cost, DeviceId, Event, LaneState, Limits,
    Measured, PhaseMeasured, Policy, Power, Profile, Reason, VariantId,
};
use super::*;
use crate::clock::Time;
use crate::lane::{LaneId, Tenant};
use crate::units::Microjoules;

const MODEL: VariantId = VariantId(0);
const SMALL: VariantId = VariantId(1);
const CPU: Site = Site { variant: MODEL, device: DeviceId::CPU };
const GPU: Site = Site { variant: MODEL, device: DeviceId(1) };

/// A lane as it truly is: seconds and watts of a token of a prompt and of an answer, and of coming up.
#[derive(Debug, Clone, Copy)]
struct Truth {
    prompt: (f64, f64),
    answer: (f64, f64),
    load: (f64, f64),
    hold: f64,
}

/// Answers are cheap here and prompts are not.
const SLOW: Truth = Truth { prompt: (0.02, 6.0), answer: (0.1, 4.0), load: (1.0, 3.0), hold: 0.0 };
/// Here it is the other way round, and it costs to be there.
const FAST: Truth = Truth { prompt: (0.001, 10.0), answer: (0.08, 8.0), load: (4.0, 5.0), hold: 1.0 };

impl Truth {
    fn measured(&self, prompt: u32, answer: u32) -> Measured {
        let phase = |tokens: u32, context: u32, (seconds, watts): (f64, f64)| PhaseMeasured {
            tokens,
            context,
            batch: 1.0,
            time: Duration::from_secs_f64(f64::from(tokens) * seconds),
            energy: Microjoules::from_f64(f64::from(tokens) * seconds * watts),
        };
        Measured {
            threads: 4,
            prefill: phase(prompt, prompt / 2, self.prompt),
            decode: phase(answer, prompt + answer / 2, self.answer),
            metered: true,
            ended: true,
            ..Measured::default()
        }
    }

    fn profile(&self) -> Profile {
        let mut profile = Profile::default();
        for (prompt, answer) in [(50, 20), (400, 40), (100, 100), (200, 10), (800, 60)] {
            profile.learn(&self.measured(prompt, answer));
        }
        profile.woke(Cost { seconds: self.load.0, joules: self.load.0 * self.load.1 });
        profile.held(self.hold);
        profile
    }

    fn joules(&self, prompt: u32, answer: u32) -> f64 {
        let measured = self.measured(prompt, answer);
        measured.prefill.energy.as_f64() + measured.decode.energy.as_f64()
    }
}

/// A scheduler that saves energy, and what it said last.
struct Rig {
    sched: Sched,
    now: Time,
    next: u64,
    lanes: Vec<(LaneId, Site)>,
    said: Vec<Action>,
    /// All that were said.
    starts: Vec<(RequestId, LaneId, bool)>,
}

impl Rig {
    fn new(known: &[(Site, Truth)]) -> Rig {
        let limits = Limits { idle_unload: None, ..Limits::default() };
        let mut rig = Rig {
            sched: Sched::new(limits),
            now: Time::ZERO,
            next: 0,
            lanes: Vec::new(),
            said: Vec::new(),
            starts: Vec::new(),
        };
        rig.policy(Policy::MinEnergy);
        for (site, truth) in known {
            rig.tell(Event::Site { site: *site, usable: true });
            rig.tell(Event::Profile { site: *site, profile: Box::new(truth.profile()) });
        }
        rig
    }

    fn policy(&mut self, policy: Policy) {
        let power = Power { policy, ..Power::default() };
        self.tell(Event::Budgets(Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 }));
    }

    /// Tells it, and that what is told to go is gone.
    fn tell(&mut self, event: Event) {
        self.said.clear();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.sched.handle(event, self.now) {
                match action {
                    Action::Load { lane, site } => self.lanes.push((lane, site)),
                    Action::Start { id, lane, export } => self.starts.push((id, lane, export)),
                    Action::Unload(lane) => {
                        self.lanes.retain(|(id, _)| *id != lane);
                        let error = Error::new(Code::Cancelled, "unloaded");
                        events.push(Event::LaneGone { lane, retry: Vec::new(), expected: true, error });
                    }
                    _ => {}
                }
                self.said.push(action);
            }
        }
    }

    fn wait(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(due) = self.sched.next_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    fn request(&mut self, prompt: u32, answer: u32) -> Arrival {
        self.next += 1;
        let mut arrival = Arrival::new(RequestId(self.next), Tenant(1), MODEL);
        (arrival.prompt, arrival.max_answer, arrival.tokens) = (prompt, answer, prompt + answer);
        arrival
    }

    fn choice(&mut self, arrival: &Arrival) -> super::super::Choice {
        self.sched.estimate(arrival).unwrap()
    }

    fn plan(&mut self, prompt: u32, answer: u32) -> Plan {
        let arrival = self.request(prompt, answer);
        self.choice(&arrival).plan
    }

    fn planned(&self) -> Option<&super::super::Choice> {
        self.said.iter().rev().find_map(|action| match action {
            Action::Planned { choice, .. } => Some(&**choice),
            _ => None,
        })
    }

    fn lane(&self, site: Site) -> LaneId {
        self.lanes.iter().rev().find(|(_, other)| *other == site).expect("a lane").0
    }

    fn ready(&mut self, site: Site) {
        let lane = self.lane(site);
        self.tell(Event::LaneReady { lane, slots: 2 });
    }

    fn dies(&mut self, site: Site, retry: &[RequestId]) {
        let lane = self.lane(site);
        self.lanes.retain(|(id, _)| *id != lane);
        let error = Error::new(Code::WorkerLost, "killed");
        self.tell(Event::LaneGone { lane, retry: retry.to_vec(), expected: false, error });
    }

    fn started(&self) -> Vec<(RequestId, LaneId, bool)> {
        let start = |action: &Action| match action {
            Action::Start { id, lane, export } => Some((*id, *lane, *export)),
            _ => None,
        };
        self.said.iter().filter_map(start).collect()
    }

    /// Plays a request to its end on lanes that are as `truth` says. Gives where it ran and the joules of it and of
    /// bringing lanes up.
    fn play(&mut self, prompt: u32, answer: u32, truth: impl Fn(Site) -> Truth) -> (Plan, f64) {
        self.play_on(None, prompt, answer, truth)
    }

    fn play_on(
        &mut self,
        backend: Option<Backend>,
        prompt: u32,
        answer: u32,
        truth: impl Fn(Site) -> Truth,
    ) -> (Plan, f64) {
        let mut arrival = self.request(prompt, answer * 2);
        (arrival.max_answer, arrival.backend) = (answer * 2, backend);
        let id = arrival.id;
        self.tell(Event::Arrived(arrival));
        let mut spent = 0.0;
        for _ in 0..10 {
            for (lane, site) in self.lanes.clone() {
                if self.sched.lane_state(site) == LaneState::Loading {
                    let (seconds, watts) = truth(site).load;
                    self.wait(seconds);
                    self.tell(Event::LaneReady { lane, slots: 2 });
                    self.tell(Event::Woke { site, cost: Cost { seconds, joules: seconds * watts } });
                    spent += seconds * watts;
                }
            }
            let Some(at) = self.starts.iter().position(|(other, ..)| *other == id) else { continue };
            let (_, lane, export) = self.starts.remove(at);
            let site = self.lanes.iter().find(|(other, _)| *other == lane).expect("a lane").1;
            let plan = self.sched.plan(id).expect("it runs");
            let mut measured = truth(site).measured(prompt, answer);
            if export {
                measured.decode = PhaseMeasured::default();
            } else if plan.is_split() {
                measured.prefill = PhaseMeasured::default();
            }
            self.wait((measured.prefill.time + measured.decode.time).as_secs_f64());
            spent += (measured.prefill.energy + measured.decode.energy).as_f64();
            if export {
                self.tell(Event::Exported { id, time: Duration::from_millis(20) });
                measured.ended = false;
                self.tell(Event::Measured { id, site, measured });
                continue;
            }
            self.tell(Event::Finished(id));
            self.tell(Event::Measured { id, site, measured });
            return (plan, spent);
        }
        panic!("it never ran: {:?}", self.said);
    }
}

fn both() -> Rig {
    Rig::new(&[(CPU, SLOW), (GPU, FAST)])
}

fn up(rig: &mut Rig, sites: &[Site]) {
    for site in sites {
        rig.tell(Event::Load(*site));
        rig.ready(*site);
    }
}

const SPLIT: Plan = Plan { prefill: GPU, decode: CPU };

#[test]
fn every_request_runs_where_it_is_cheapest() {
    let mut rig = both();
    up(&mut rig, &[CPU, GPU]);
    assert_eq!(rig.plan(20, 200).decode, CPU, "a long answer");
    assert_eq!(rig.plan(1_000, 200), SPLIT, "a long prompt and a long answer");
    rig.policy(Policy::MaxThroughput);
    assert_eq!(rig.plan(1_000, 200), Plan::on(GPU));
    let arrival = Arrival { backend: Some(Backend::Cpu), ..rig.request(1_000, 200) };
    assert_eq!(rig.choice(&arrival).plan, Plan::on(CPU));
    assert_eq!(rig.choice(&arrival).reason, Reason::Asked);
    assert_eq!(rig.choice(&arrival).runner_up, None);
}

#[test]
fn a_gpu_is_not_woken_for_ten_tokens() {
    let mut rig = both();
    up(&mut rig, &[CPU]);
    // The prompt alone would be cheaper there.
    assert!(FAST.joules(100, 0) < SLOW.joules(100, 0));
    assert_eq!(rig.plan(100, 10), Plan::on(CPU));
    assert_eq!(rig.plan(1_000, 10).prefill, GPU, "for this much it is");
    let arrival = rig.request(1_000, 10);
    let choice = rig.choice(&arrival);
    assert!(choice.forecast.wake_energy > Microjoules::ZERO && choice.forecast.measured, "{choice:?}");
    assert!(choice.runner_up.is_some_and(|(plan, _)| plan != choice.plan));
}

#[test]
fn a_crowd_is_planned_as_a_crowd_from_its_first_request_on() {
    let mut rig = both();
    up(&mut rig, &[CPU]);
    assert_eq!(rig.plan(100, 10), Plan::on(CPU), "alone it is not worth the wake");
    let crowd: Vec<Arrival> = (0..8).map(|_| rig.request(100, 10)).collect();
    for arrival in &crowd {
        rig.sched.known.came(arrival, rig.now);
    }
    crowd.iter().for_each(|arrival| rig.sched.known.went(arrival, rig.now));
    rig.wait(1_000.0);
    assert_eq!(rig.plan(100, 10).prefill, GPU, "it is thought to be the first of eight");
}

#[test]
fn lanes_that_do_not_fit_together_are_not_swapped_for_one_request() {
    let mut rig = both();
    up(&mut rig, &[CPU]);
    rig.tell(Event::Load(GPU));
    let blocked = rig.lane(GPU);
    rig.tell(Event::LoadBlocked { lane: blocked, error: Error::new(Code::InsufficientMemory, "full") });
    assert_eq!(rig.sched.lane_state(CPU), LaneState::Unloaded, "it was idle");
    rig.ready(GPU);
    // Moving it would bring both lanes up once more.
    assert_eq!(rig.plan(300, 40), Plan::on(GPU));
    // There is more memory now.
    up(&mut rig, &[CPU]);
    assert_eq!(rig.plan(300, 40), SPLIT);
}

#[test]
fn a_state_goes_where_it_was_to_though_its_first_lane_has_to_go_for_that() {
    let mut rig = both();
    // Little to answer: what pays is that the CPU's lane keeps the prompt for the next turn.
    let arrival = rig.request(1_000, 8);
    let id = arrival.id;
    assert_eq!(rig.choice(&arrival).plan, SPLIT);
    rig.tell(Event::Arrived(arrival));
    rig.ready(GPU);
    let lane = rig.lane(CPU);
    rig.tell(Event::LoadBlocked { lane, error: Error::new(Code::InsufficientMemory, "full") });
    rig.wait(1.0);
    rig.tell(Event::Exported { id, time: Duration::from_millis(20) });
    assert_eq!(rig.sched.lane_state(GPU), LaneState::Unloaded);
    rig.ready(CPU);
    assert_eq!(rig.started(), [(id, rig.lane(CPU), false)]);
}

#[test]
fn a_gpu_is_not_held_for_nothing_though_the_meter_cannot_tell() {
    let rig = Rig::new(&[(CPU, SLOW), (GPU, Truth { hold: 0.0, ..FAST })]);
    assert_eq!(rig.sched.known.hold(CPU), 0.0);
    let hold = rig.sched.known.hold(GPU);
    assert!(hold > 0.0 && hold < 0.05 * FAST.answer.1, "{hold}");
}

#[test]
fn a_gpu_lane_is_let_go_when_it_is_not_worth_its_watts() {
    let mut rig = both();
    let truth = |site: Site| if site == GPU { FAST } else { SLOW };
    // Minutes apart: it goes at once. Seconds apart: it stays.
    for _ in 0..6 {
        rig.play(1_000, 20, truth);
        rig.wait(300.0);
    }
    rig.play(1_000, 20, truth);
    assert_eq!(rig.sched.lane_state(GPU), LaneState::Unloaded);
    for _ in 0..30 {
        rig.wait(2.0);
        rig.play(1_000, 20, truth);
    }
    assert_eq!(rig.sched.lane_state(GPU), LaneState::Ready);
    rig.wait(100.0);
    assert_eq!(rig.sched.lane_state(GPU), LaneState::Unloaded, "nobody came");
}

#[test]
fn a_gpu_lane_outlasts_what_runs_elsewhere_where_the_next_request_will_want_it() {
    let mut rig = both();
    let truth = |site: Site| if site == GPU { FAST } else { SLOW };
    // In turns: a long prompt, and a long answer of ten seconds on the CPU.
    for _ in 0..6 {
        assert_eq!(rig.play(1_000, 20, truth).0.prefill, GPU);
        rig.wait(0.2);
        rig.play_on(Some(Backend::Cpu), 20, 100, truth);
        rig.wait(0.2);
        assert_eq!(rig.sched.lane_state(GPU), LaneState::Ready);
    }
    // It is let go soon once nobody is there, and is not kept for ever beside what does not end.
    let mut endless = rig.request(20, 100_000);
    endless.backend = Some(Backend::Cpu);
    rig.tell(Event::Arrived(endless));
    rig.wait(60.0);
    assert_eq!(rig.sched.lane_state(GPU), LaneState::Unloaded);
}

#[test]
fn what_breaks_a_constraint_is_left_out_and_said() {
    let mut rig = both();
    up(&mut rig, &[CPU, GPU]);
    let within = |rig: &Rig, seconds: f64| Some(rig.now + Duration::from_secs_f64(seconds));
    let mut arrival = rig.request(20, 200);
    arrival.deadline = within(&rig, 19.0);
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan, choice.reason), (Plan::on(GPU), Reason::Deadline), "20 s on the CPU");
    arrival.deadline = within(&rig, 5.0);
    assert_eq!((rig.choice(&arrival).plan, rig.choice(&arrival).reason), (Plan::on(GPU), Reason::Nearest));
    // Where its prompts are dear, the GPU is there for who is in a hurry.
    let mut hot = Rig::new(&[(CPU, SLOW), (GPU, Truth { prompt: (0.001, 200.0), ..FAST })]);
    up(&mut hot, &[CPU, GPU]);
    let mut arrival = hot.request(100, 200);
    assert_eq!(hot.choice(&arrival).plan, Plan::on(CPU));
    arrival.first_token = within(&hot, 1.0);
    let choice = hot.choice(&arrival);
    assert_eq!((choice.plan, choice.reason), (SPLIT, Reason::Ttft), "2 s for the prompt on the CPU");
    let mut arrival = rig.request(20, 200);
    arrival.policy = Some(Policy::MaxThroughput);
    assert_eq!(rig.choice(&arrival).plan, Plan::on(GPU));
    arrival.max_joules = Some(Microjoules::from_f64(60.0));
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan.decode, choice.reason), (CPU, Reason::Joules));
}

#[test]
fn a_request_is_degraded_only_where_it_allows_that_and_nothing_else_keeps_its_limits() {
    let small = Site::cpu(SMALL);
    let quick = Truth { prompt: (0.002, 4.0), answer: (0.02, 3.0), ..SLOW };
    let mut rig = Rig::new(&[(CPU, SLOW), (small, quick)]);
    up(&mut rig, &[CPU, small]);
    let mut arrival = rig.request(20, 200);
    arrival.variants.push(Candidate { variant: SMALL, lesser: true });
    arrival.degrade = true;
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan, choice.degraded), (Plan::on(CPU), false), "nothing forces it");
    arrival.deadline = Some(rig.now + Duration::from_secs(10));
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan, choice.degraded, choice.limit), (Plan::on(small), true, None));
    arrival.degrade = false;
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan, choice.degraded, choice.reason), (Plan::on(CPU), false, Reason::Nearest));
    // A shorter answer is the last resort.
    arrival.degrade = true;
    arrival.variants.pop();
    let choice = rig.choice(&arrival);
    assert!(choice.degraded && choice.limit.is_some_and(|limit| (60..95).contains(&limit)), "{choice:?}");
    // As good a variant needs no leave.
    arrival.deadline = None;
    arrival.degrade = false;
    arrival.variants.push(Candidate { variant: SMALL, lesser: false });
    assert_eq!((rig.choice(&arrival).plan, rig.choice(&arrival).degraded), (Plan::on(small), false));
}

#[test]
fn asking_changes_nothing_and_the_same_state_gives_the_same_answer() {
    let mut rig = both();
    let arrival = rig.request(500, 100);
    let asked = rig.choice(&arrival);
    assert_eq!(rig.choice(&arrival), asked);
    rig.tell(Event::Arrived(arrival));
    assert_eq!(rig.planned(), Some(&asked));
}

#[test]
fn a_split_request_moves_with_its_state_and_stands_first() {
    let mut rig = both();
    up(&mut rig, &[CPU, GPU]);
    let others: Vec<RequestId> = (0..3)
        .map(|_| {
            let arrival = Arrival { backend: Some(Backend::Cpu), ..rig.request(20, 200) };
            let id = arrival.id;
            rig.tell(Event::Arrived(arrival));
            id
        })
        .collect();
    let arrival = rig.request(1_000, 200);
    let id = arrival.id;
    rig.tell(Event::Arrived(arrival));
    let (cpu, gpu) = (rig.lane(CPU), rig.lane(GPU));
    assert_eq!((rig.planned().map(|choice| choice.plan), rig.started()), (Some(SPLIT), vec![(id, gpu, true)]));
    rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
    assert_eq!((rig.started(), rig.sched.queued()), (vec![], 2), "both slots are taken");
    rig.tell(Event::Finished(others[0]));
    assert_eq!(rig.started(), [(id, cpu, false)], "before the third, who was there first");
    rig.tell(Event::Finished(id));
    assert_eq!(rig.started(), [(others[2], cpu, false)]);
}

#[test]
fn a_state_goes_on_wherever_a_lane_takes_it() {
    let mut rig = both();
    up(&mut rig, &[CPU, GPU]);
    let arrival = rig.request(1_000, 200);
    let id = arrival.id;
    rig.tell(Event::Arrived(arrival));
    assert_eq!(rig.planned().map(|choice| choice.plan), Some(SPLIT));
    rig.tell(Event::Site { site: CPU, usable: false });
    rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
    assert_eq!(rig.started(), [(id, rig.lane(GPU), false)], "back where it came from");
    // One that is cancelled on its way comes no further.
    rig.tell(Event::Site { site: CPU, usable: true });
    rig.tell(Event::Finished(id));
    let arrival = rig.request(1_000, 200);
    let id = arrival.id;
    rig.tell(Event::Arrived(arrival));
    rig.tell(Event::Cancelled(id));
    rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
    assert_eq!((rig.started(), rig.sched.queued(), rig.sched.running()), (vec![], 0, 0));
}

#[test]
fn requests_of_a_lost_lane_go_to_the_next_best_and_a_gpu_is_left_alone_after_three_faults() {
    let mut rig = both();
    up(&mut rig, &[CPU]);
    for fault in 1..=3 {
        let arrival = Arrival { policy: Some(Policy::MaxThroughput), ..rig.request(1_000, 100) };
        let id = arrival.id;
        rig.tell(Event::Load(GPU));
        if rig.sched.lane_state(GPU) == LaneState::Loading {
            rig.ready(GPU);
        }
        rig.tell(Event::Arrived(arrival));
        assert_eq!(rig.started(), [(id, rig.lane(GPU), false)]);
        rig.dies(GPU, &[id]);
        assert_eq!(rig.started(), [(id, rig.lane(CPU), false)], "fault {fault}");
        assert_eq!(rig.planned().map(|choice| choice.reason), Some(Reason::Fault));
        rig.tell(Event::Finished(id));
    }
    assert!(matches!(rig.sched.lane_state(GPU), LaneState::Quarantined { .. }));
    let arrival = Arrival { policy: Some(Policy::MaxThroughput), ..rig.request(1_000, 100) };
    let choice = rig.choice(&arrival);
    assert_eq!((choice.plan, choice.reason), (Plan::on(CPU), Reason::Unavailable));
    let arrival = Arrival { backend: Some(Backend::Gpu), ..rig.request(1_000, 100) };
    rig.tell(Event::Arrived(arrival));
    assert!(matches!(&rig.said[..], [Action::Refuse { error, .. }] if error.code == Code::Quarantined));
}

/// A request whose prompt the GPU computes while the CPU's lane comes up.
fn on_its_way(rig: &mut Rig) -> RequestId {
    up(rig, &[GPU]);
    let arrival = rig.request(1_000, 200);
    let id = arrival.id;
    rig.tell(Event::Arrived(arrival));
    assert_eq!((rig.sched.plan(id), rig.started()), (Some(SPLIT), vec![(id, rig.lane(GPU), true)]));
    assert_eq!(rig.sched.lane_state(CPU), LaneState::Loading);
    id
}

fn is_at_rest(rig: &Rig) -> bool {
    (rig.sched.queued(), rig.sched.running(), rig.sched.next_timeout()) == (0, 0, None) && rig.lanes.is_empty()
}

#[test]
fn what_is_on_its_way_ends_when_the_service_stops() {
    let mut rig = both();
    let id = on_its_way(&mut rig);
    rig.tell(Event::ShutDown);
    assert_eq!(rig.said, [], "its second lane is needed yet");
    rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
    assert_eq!((rig.started(), rig.sched.lane_state(GPU)), (vec![], LaneState::Unloaded));
    let cpu = rig.lane(CPU);
    rig.ready(CPU);
    assert_eq!(rig.started(), [(id, cpu, false)]);
    rig.tell(Event::Finished(id));
    assert!(is_at_rest(&rig), "{:?}", rig.said);
}

#[test]
fn a_service_that_stops_loads_nothing_for_what_is_on_its_way() {
    let fails = |lane| Event::LoadFailed { lane, error: Error::new(Code::ModelLoadFailed, "bad file") };
    let blocked = |lane| Event::LoadBlocked { lane, error: Error::new(Code::InsufficientMemory, "no room") };
    let dies = |lane| {
        let error = Error::new(Code::WorkerLost, "killed");
        Event::LaneGone { lane, retry: Vec::new(), expected: false, error }
    };
    let all: [&dyn Fn(LaneId) -> Event; 3] = [&fails, &blocked, &dies];
    for lost in all {
        for first in [true, false] {
            // Before its prompt is computed: it goes on where that was.
            let mut rig = both();
            let id = on_its_way(&mut rig);
            let (cpu, gpu) = (rig.lane(CPU), rig.lane(GPU));
            rig.lanes.retain(|(lane, _)| *lane != cpu);
            if first {
                rig.tell(lost(cpu));
                rig.lanes.retain(|(_, site)| *site == GPU);
            }
            rig.tell(Event::ShutDown);
            if !first {
                rig.tell(lost(cpu));
            }
            assert!(!rig.said.iter().any(|action| matches!(action, Action::Load { .. })), "{:?}", rig.said);
            rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
            assert_eq!(rig.started(), [(id, gpu, false)]);
            rig.tell(Event::Finished(id));
            assert!(is_at_rest(&rig), "{:?} {:?}", rig.said, rig.lanes);
        }
        // After it, that lane is gone as well.
        let mut rig = both();
        let id = on_its_way(&mut rig);
        let cpu = rig.lane(CPU);
        rig.tell(Event::ShutDown);
        rig.tell(Event::Exported { id, time: Duration::from_millis(30) });
        rig.lanes.retain(|(lane, _)| *lane != cpu);
        rig.tell(lost(cpu));
        assert!(matches!(&rig.said[..], [Action::Refuse { id: other, .. }] if *other == id), "{:?}", rig.said);
        assert!(is_at_rest(&rig));
    }
}

#[test]
fn a_lane_that_gives_way_does_not_wait_for_less_urgent_requests_on_their_way() {
    let mut rig = Rig::new(&[(CPU, SLOW), (GPU, FAST), (Site::cpu(SMALL), SLOW)]);
    up(&mut rig, &[CPU, GPU]);
    let arrival = Arrival { class: Class::Background, ..rig.request(1_000, 200) };
    rig.tell(Event::Arrived(arrival));
    assert_eq!(rig.planned().map(|choice| choice.plan), Some(SPLIT));
    // The GPU has its slots taken and more to do.
    for _ in 0..2 {
        let arrival = rig.request(10, 10);
        let arrival = Arrival { class: Class::Interactive, backend: Some(Backend::Gpu), ..arrival };
        rig.tell(Event::Arrived(arrival));
    }
    let mut arrival = Arrival { class: Class::Interactive, ..rig.request(10, 10) };
    arrival.variants = vec![Candidate { variant: SMALL, lesser: false }];
    rig.tell(Event::Arrived(arrival));
    let (small, cpu) = (rig.lane(Site::cpu(SMALL)), rig.lane(CPU));
    rig.lanes.retain(|(lane, _)| *lane != small);
    rig.tell(Event::LoadBlocked { lane: small, error: Error::new(Code::InsufficientMemory, "no room") });
    rig.tell(Event::Tick);
    assert!(rig.said.contains(&Action::Unload(cpu)), "{:?}", rig.said);
    assert!(rig.said.iter().any(|action| matches!(action, Action::Load { site, .. } if site.variant == SMALL)));
}

#[test]
fn everybody_in_many_lines_is_looked_at_again_in_turn() {
    let mut rig = both();
    up(&mut rig, &[CPU]);
    for tenant in 0..14 {
        let arrival = Arrival { tenant: Tenant(tenant), backend: Some(Backend::Cpu), ..rig.request(20, 200) };
        rig.tell(Event::Arrived(arrival));
    }
    assert_eq!(rig.sched.queued(), 12);
    let before = rig.sched.news;
    for _ in 0..3 {
        // Always something new.
        rig.tell(Event::Site { site: GPU, usable: true });
    }
    let planned: Vec<u64> = rig.sched.queue.heads(CPU).map(|head| head.planned).collect();
    assert_eq!(planned.len(), 12);
    assert!(planned.iter().all(|planned| *planned > before), "{before}: {planned:?}");
}

#[test]
fn a_lane_is_explored_no_more_once_its_request_has_another_plan() {
    let mut rig = Rig::new(&[(CPU, SLOW)]);
    rig.tell(Event::Site { site: GPU, usable: true });
    // Its lane stays.
    rig.tell(Event::Held { site: GPU, watts: 0.0 });
    let limits = ClientLimits { joules_per_hour: Some(Microjoules::from_f64(1e6)), requests: None };
    rig.tell(Event::Client { client: ClientId(1), limits });
    let id = (0..40)
        .find_map(|_| {
            rig.wait(1.0);
            let arrival = Arrival { class: Class::Background, ..rig.request(100, 80) };
            if rig.choice(&arrival).reason != Reason::Explored {
                rig.play(100, 80, |_| SLOW);
                return None;
            }
            let id = arrival.id;
            rig.tell(Event::Arrived(arrival));
            Some(id)
        })
        .expect("it is explored");
    assert!(rig.sched.known.is_explored(GPU));
    rig.ready(GPU);
    assert_eq!(rig.started(), [(id, rig.lane(GPU), false)]);
    assert!(rig.sched.may_wait_again(id));
    rig.tell(Event::Stopped(id));
    assert_eq!((rig.sched.plan(id), rig.sched.lane_state(GPU)), (Some(Plan::on(CPU)), LaneState::Ready));
    assert!(!rig.sched.known.is_explored(GPU));
}

#[test]
fn a_forecast_says_what_memory_lanes_would_take_that_are_not_up() {
    let mut rig = both();
    rig.tell(Event::Memory { site: CPU, bytes: 100 });
    rig.tell(Event::Memory { site: GPU, bytes: 1_000 });
    let long = rig.request(1_000, 200);
    assert_eq!((rig.choice(&long).plan, rig.choice(&long).forecast.memory), (SPLIT, 1_100));
    up(&mut rig, &[CPU]);
    assert_eq!(rig.choice(&long).forecast.memory, 1_000);
    let all = rig.sched.alternatives(&long, SPLIT);
    let on = |site: Site| all.iter().find(|(plan, _)| *plan == Plan::on(site)).map(|(_, f)| f.memory);
    assert_eq!((on(CPU), on(GPU)), (Some(0), Some(1_000)));
    up(&mut rig, &[GPU]);
    assert_eq!(rig.choice(&long).forecast.memory, 0);
}

#[test]
fn where_no_device_can_the_client_is_told() {
    let mut rig = Rig::new(&[(CPU, SLOW)]);
    let arrival = Arrival { backend: Some(Backend::Gpu), ..rig.request(10, 10) };
    let error = rig.sched.estimate(&arrival).unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.message.contains("\"cpu\""), "{error}");
    let waits = rig.request(10, 10);
    rig.tell(Event::Arrived(waits));
    rig.tell(Event::Site { site: CPU, usable: false });
    assert!(rig.said.iter().any(|action| matches!(action, Action::Refuse { .. })), "{:?}", rig.said);
}

#[test]
fn a_lane_that_cannot_come_up_sends_its_requests_elsewhere() {
    let mut rig = both();
    rig.policy(Policy::MaxThroughput);
    let arrival = rig.request(1_000, 100);
    let id = arrival.id;
    rig.tell(Event::Arrived(arrival));
    let gpu = rig.lane(GPU);
    rig.tell(Event::LoadFailed { lane: gpu, error: Error::new(Code::ModelLoadFailed, "no driver") });
    assert_eq!(rig.sched.plan(id), Some(Plan::on(CPU)));
    assert_eq!(rig.planned().map(|choice| choice.reason), Some(Reason::Unavailable), "no worker of it died");
    let cpu = rig.lane(CPU);
    rig.tell(Event::LoadFailed { lane: cpu, error: Error::new(Code::ModelLoadFailed, "bad file") });
    assert!(
        matches!(&rig.said[..], [.., Action::Refuse { error, .. }] if error.message == "bad file"),
        "{:?}",
        rig.said
    );
}

#[test]
fn when_the_watts_are_swapped_the_choice_follows_within_twenty_requests() {
    let swapped = |site: Site| {
        let (cpu, gpu) = (SLOW, FAST);
        if site == CPU {
            Truth { prompt: (cpu.prompt.0, 14.0), answer: (cpu.answer.0, 9.0), ..cpu }
        } else {
            Truth { prompt: (gpu.prompt.0, 2.0), answer: (gpu.answer.0, 2.0), ..gpu }
        }
    };
    let mut rig = Rig::new(&[(CPU, SLOW)]);
    rig.tell(Event::Site { site: GPU, usable: true });
    let before = |site: Site| if site == GPU { FAST } else { SLOW };
    for _ in 0..30 {
        rig.play(40, 100, before);
        rig.wait(1.0);
    }
    assert_eq!(rig.play(40, 100, before).0.decode, CPU);
    let first = (0..20).position(|_| {
        rig.wait(1.0);
        rig.play(40, 100, swapped).0.decode == GPU
    });
    assert!(first.is_some(), "it never changed its mind");
    let later = (0..10).filter(|_| rig.play(40, 100, swapped).0.decode == GPU).count();
    assert!(later >= 9, "{later}");
}

#[test]
fn a_useless_gpu_costs_no_more_than_the_share() {
    let useless = Truth { prompt: (0.01, 15.0), answer: (0.15, 8.0), load: (4.0, 8.0), hold: 2.0 };
    let truth = |site: Site| if site == GPU { useless } else { SLOW };
    let mut rig = Rig::new(&[]);
    rig.tell(Event::Site { site: GPU, usable: true });
    let mut spent = 0.0;
    for _ in 0..150 {
        spent += rig.play(50, 60, truth).1;
        rig.wait(3.0);
    }
    let without = 150.0 * SLOW.joules(50, 60) + SLOW.load.0 * SLOW.load.1;
    assert!(spent <= 1.05 * without, "{spent} against {without}");
}

#[test]
fn a_gpu_that_nobody_measured_is_found_to_be_better() {
    let better = Truth { prompt: (0.002, 5.0), answer: (0.05, 3.0), load: (2.0, 5.0), hold: 0.2 };
    let truth = |site: Site| if site == GPU { better } else { SLOW };
    let mut rig = Rig::new(&[]);
    rig.tell(Event::Site { site: GPU, usable: true });
    let plans: Vec<Plan> = (0..40)
        .map(|_| {
            rig.wait(2.0);
            rig.play(100, 80, truth).0
        })
        .collect();
    assert_eq!(plans[0], Plan::on(CPU), "what is known to be there");
    let on_gpu = plans.iter().filter(|plan| **plan == Plan::on(GPU)).count();
    assert!(on_gpu >= 30, "{on_gpu}");
    assert!(rig.sched.profile(GPU).is_some_and(|profile| profile.is_measured()));
}

#[test]
fn a_gpu_that_was_measured_dear_is_found_again_once_it_is_cheap_and_costs_little_while_it_is_not() {
    let with_watts = |watts: f64| Truth { prompt: (0.01, watts), answer: (0.08, watts), ..FAST };
    let mut rig = Rig::new(&[(CPU, SLOW), (GPU, with_watts(9.0))]);
    let dear = |site: Site| if site == GPU { with_watts(9.0) } else { SLOW };
    let (mut spent, mut there) = (0.0, 0);
    for _ in 0..1_000 {
        rig.wait(1.0);
        let (plan, joules) = rig.play(40, 100, dear);
        spent += joules;
        there += u32::from(plan.decode == GPU);
    }
    let without = 1_000.0 * SLOW.joules(40, 100);
    assert!((1..=5).contains(&there) && spent < 1.01 * without, "{there} times, {spent} J against {without} J");
    let cheap = |site: Site| if site == GPU { with_watts(2.0) } else { SLOW };
    let on_gpu = (0..500).filter(|_| {
        rig.wait(1.0);
        rig.play(40, 100, cheap).0.decode == GPU
    });
    let on_gpu = on_gpu.count();
    assert!(on_gpu > 200, "{on_gpu} of 500");
}

#[test]
fn the_first_of_a_crowd_finds_out_more_rarely_what_a_dear_device_takes_for_it_leads_the_others_there() {
    let gpu = Truth { prompt: (0.01, 9.0), answer: (0.08, 9.0), ..FAST };
    let truth = |site: Site| if site == GPU { gpu } else { SLOW };
    let explored = |crowd: usize| {
        let mut rig = Rig::new(&[(CPU, SLOW), (GPU, gpu)]);
        let on_gpu = (0..1_000).filter(|_| {
            let others: Vec<Arrival> = (0..crowd).map(|_| rig.request(40, 100)).collect();
            others.iter().for_each(|other| _ = rig.sched.known.came(other, rig.now));
            others.iter().for_each(|other| rig.sched.known.went(other, rig.now));
            rig.wait(1.0);
            rig.play(40, 100, truth).0.decode == GPU
        });
        on_gpu.count()
    };
    let (alone, first) = (explored(0), explored(8));
    assert!(first < alone, "{alone} {first}");
}

#[test]
fn a_request_that_teaches_nothing_does_not_explore() {
    let mut rig = Rig::new(&[(CPU, SLOW)]);
    rig.tell(Event::Site { site: GPU, usable: true });
    rig.sched.limits.explore = 1_000;
    up(&mut rig, &[CPU]);
    let mut arrival = rig.request(100, 20);
    assert_eq!(rig.choice(&arrival).reason, Reason::Explored);
    arrival.max_answer = 1;
    assert_eq!(rig.choice(&arrival).reason, Reason::Best);
}
