//! The power cap against a simulated device: minutes of virtual time, a sensor that lags and is noisy, engines that
//! compute in steps and pause between them.

use proptest::prelude::*;

use super::threads::neighbours;
use super::*;
use crate::lane::Step;

const MODEL: Site = Site { variant: crate::sched::VariantId(0), device: crate::sched::DeviceId::CPU };

/// A device and what it runs. Watts, seconds, tokens per second.
#[derive(Debug, Clone)]
struct Plant {
    idle: f64,
    /// Added by a lane that decodes, by threads.
    watts: Vec<f64>,
    speed: Vec<f64>,
    /// Prompts draw so much more, and are so much faster on one thread; they scale with threads.
    prompt_watts: f64,
    prompt_speed: f64,
    noise: f64,
    /// Tokens of a request's prompt and answer.
    request: (u32, u32),
    /// Lanes that work.
    lanes: u64,
    /// Others' load (W) from a time on.
    others: Vec<(f64, f64)>,
    /// When there is work: from, to.
    work: Vec<(f64, f64)>,
}

/// The board of the tests: idle 2 W, a first core of 2 W, a second of 2.8 W, decoding bound by memory.
fn board() -> Plant {
    Plant {
        idle: 2.0,
        watts: vec![2.0, 4.8],
        speed: vec![100.0, 165.0],
        prompt_watts: 1.25,
        prompt_speed: 400.0,
        noise: 0.02,
        request: (200, 300),
        lanes: 1,
        others: Vec::new(),
        work: vec![(0.0, 1e9)],
    }
}

impl Plant {
    fn most(&self) -> u32 {
        self.watts.len() as u32
    }

    /// The draw of full work.
    fn uncapped(&self) -> f64 {
        self.idle + self.watts[self.watts.len() - 1]
    }
}

/// One engine.
struct Engine {
    pace: Pace,
    /// Where it is in its request.
    prompt: u32,
    answer: u32,
    /// Up to when its time is planned.
    at: f64,
    /// Computing that was not paused for.
    unpaid: f64,
    pausing: bool,
    done: Vec<(f64, Progress)>,
}

struct World {
    plant: Plant,
    engines: Vec<Engine>,
    /// Joules per millisecond that engines used.
    used: Vec<f64>,
    tokens: Vec<(f64, u32)>,
    random: u64,
}

impl World {
    fn new(plant: &Plant, pace: Pace) -> World {
        let engine = |_| Engine {
            pace,
            prompt: plant.request.0,
            answer: plant.request.1,
            at: 0.0,
            unpaid: 0.0,
            pausing: false,
            done: Vec::new(),
        };
        World {
            plant: plant.clone(),
            engines: (0..plant.lanes).map(engine).collect(),
            used: Vec::new(),
            tokens: Vec::new(),
            random: 1,
        }
    }

    fn busy(&self, t: f64) -> bool {
        self.plant.work.iter().any(|(from, to)| (*from..*to).contains(&t))
    }

    fn others(&self, t: f64) -> f64 {
        self.plant.others.iter().rev().find(|(from, _)| *from <= t).map_or(0.0, |(_, watts)| *watts)
    }

    fn spend(&mut self, from: f64, to: f64, watts: f64) {
        let mut at = from;
        while at < to {
            let bin = (at * 1000.0 + 1e-6) as usize;
            let end = ((bin + 1) as f64 / 1000.0).min(to);
            if self.used.len() <= bin {
                self.used.resize(bin + 1, 0.0);
            }
            self.used[bin] += watts * (end - at).max(0.0);
            at = end.max(at + 1e-9);
        }
    }

    /// Lets the engines work up to `to`.
    fn run(&mut self, to: f64) {
        for i in 0..self.engines.len() {
            while self.engines[i].at < to {
                let at = self.engines[i].at;
                let engine = &mut self.engines[i];
                // A pause is paid with a new duty from the moment on it is told.
                let owed = (1000.0 - f64::from(engine.pace.duty)) / f64::from(engine.pace.duty);
                let pause = engine.unpaid * owed;
                if pause >= 0.005 || (engine.pausing && pause > 0.0) {
                    let rest = pause.min(to - at).max(1e-6);
                    engine.at += rest;
                    engine.unpaid = if rest < pause { engine.unpaid - rest / owed } else { 0.0 };
                    engine.pausing = engine.unpaid > 0.0;
                } else if self.busy(at) {
                    self.step(i);
                } else {
                    self.engines[i].at = at + 0.001;
                }
            }
        }
    }

    fn step(&mut self, i: usize) {
        let plant = &self.plant;
        let engine = &mut self.engines[i];
        let n = (engine.pace.threads.min(plant.most()) - 1) as usize;
        // Lanes that work at once share the CPUs.
        let rival = plant.lanes as f64;
        let mut done = Progress::default();
        let (tokens, seconds, watts) = if engine.prompt > 0 {
            let tokens = engine.prompt.min(engine.pace.chunk).min(512);
            engine.prompt -= tokens;
            let seconds = f64::from(tokens) / (plant.prompt_speed * (n + 1) as f64) * rival;
            done.prefill = Work { steps: 1, tokens, time: Duration::from_secs_f64(seconds) };
            (tokens, seconds, plant.watts[n] * plant.prompt_watts / rival)
        } else {
            engine.answer -= 1;
            let seconds = 1.0 / plant.speed[n] * rival;
            done.decode = Work { steps: 1, tokens: 1, time: Duration::from_secs_f64(seconds) };
            (1, seconds, plant.watts[n] / rival)
        };
        if engine.answer == 0 {
            (engine.prompt, engine.answer) = plant.request;
        }
        let (from, end) = (engine.at, engine.at + seconds);
        engine.unpaid = if engine.pace.duty < 1000 { engine.unpaid + seconds } else { 0.0 };
        engine.done.push((end, done));
        engine.at = end;
        self.tokens.push((end, tokens));
        self.spend(from, end, watts);
    }

    /// Mean draw between two times.
    fn draw(&self, from: f64, to: f64) -> f64 {
        let bin = |t: f64| ((t * 1000.0).round() as usize).min(self.used.len());
        let used: f64 = self.used[bin(from)..bin(to)].iter().sum();
        let steps = ((to - from) * 1000.0).round() as usize;
        let others: f64 = match self.plant.others.is_empty() {
            true => 0.0,
            false => (0..steps).map(|ms| self.others(from + ms as f64 / 1000.0)).sum(),
        };
        self.plant.idle + used / (to - from) + others / steps.max(1) as f64
    }

    /// Normally distributed, well enough.
    fn normal(&mut self) -> f64 {
        let mut uniform = || {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.random >> 33) as f64 / f64::from(1u32 << 31)
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    /// Highest mean over 10 s, from `after` on.
    fn highest(&self, after: f64, to: f64) -> f64 {
        let windows = ((to - after - 10.0) * 10.0) as usize;
        (0..=windows).map(|i| after + i as f64 / 10.0).map(|from| self.draw(from, from + 10.0)).fold(0.0, f64::max)
    }

    fn rate(&self, from: f64, to: f64) -> f64 {
        let tokens: u32 = self.tokens.iter().filter(|(t, _)| (from..to).contains(t)).map(|(_, n)| n).sum();
        f64::from(tokens) / (to - from)
    }
}

fn limits(cap: Option<f64>, plant: &Plant) -> Bounds {
    Bounds { cap: cap.map(Microwatts::from_f64), threads: plant.most(), ..Bounds::default() }
}

/// What came of it.
struct Run {
    world: World,
    pacer: Pacer,
    /// When which pace was told.
    told: Vec<(f64, Pace)>,
}

fn at(t: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(t)
}

/// Runs the plant under a pacer; `limits` may change with time.
fn paced(plant: &Plant, seconds: f64, limits: impl Fn(f64) -> Bounds) -> Run {
    let mut pacer = Pacer::new(&limits(0.0));
    let mut world =
        World::new(plant, Pace { threads: plant.most(), prompt_threads: plant.most(), duty: 1000, chunk: ANY_CHUNK });
    let mut told = Vec::new();
    let mut now = limits(0.0);
    let mut tell = |world: &mut World, pacer: &mut Pacer, t: f64| {
        let mut out = Vec::new();
        let busy = world.busy(t);
        pacer.settle(
            (0..world.plant.lanes).map(|i| (LaneId(i + 1), Site::cpu(crate::sched::VariantId(i as u32)), busy, None)),
            at(t),
            &mut out,
        );
        for action in out {
            let Action::Pace { lane, pace } = action else { panic!("{action:?}") };
            world.engines[lane.0 as usize - 1].pace = pace;
            told.push((t, pace));
        }
    };
    // The idle time before.
    pacer.power(Microwatts::from_f64(plant.idle + world.others(0.0)), Duration::from_secs(5), at(0.0));
    let mut measured = 0.0;
    for i in 0..(seconds * 10.0) as usize {
        let t = i as f64 / 10.0;
        if limits(t) != now {
            now = limits(t);
            pacer.bound(&now);
        }
        let busy = world.busy(t);
        if i > 0 {
            for e in 0..world.engines.len() {
                let mut done = Progress::default();
                let engine = &mut world.engines[e];
                let over = engine.done.iter().take_while(|(end, _)| *end <= t).count();
                engine.done.drain(..over).for_each(|(_, step)| done.join(&step));
                pacer.progress(LaneId(e as u64 + 1), &done);
            }
            // While something runs, and once when it begins, for the idle time before. The sensor shows the time before
            // its last refresh.
            if busy {
                let shown = world.draw((measured - 0.1_f64).max(0.0), (t - 0.1).max(0.1));
                let noise = 1.0 + world.plant.noise * world.normal();
                pacer.power(Microwatts::from_f64(shown * noise), Duration::from_secs_f64(t - measured), at(t));
                measured = t;
            }
        }
        tell(&mut world, &mut pacer, t);
        world.run(t + 0.1);
    }
    Run { world, pacer, told }
}

/// Tokens per second of the best of all fixed settings whose mean over any 10 s is at most this, and which it is.
fn best_fixed(plant: &Plant, cap: f64, from: f64, to: f64) -> (f64, u32, u32) {
    let chunk = ((plant.prompt_speed * CHUNK_TIME) as u32).max(CHUNK_MIN);
    let mut best = (0.0, 0, 0);
    for threads in 1..=plant.most() {
        // Duties far from what the cap allows on paper are not worth the time.
        let paper = (cap - plant.idle) / plant.watts[threads as usize - 1] * 1000.0;
        for duty in (20..=1000).step_by(20).filter(|duty| (0.65..1.1).contains(&(f64::from(*duty) / paper.min(1000.0))))
        {
            let mut world = World::new(plant, Pace { threads, prompt_threads: threads, duty, chunk });
            world.run(to);
            let rate = world.rate(from, to);
            if rate > best.0 && world.highest(from, to) <= cap {
                best = (rate, threads, duty);
            }
        }
    }
    best
}

/// The window's bound and the share of the best fixed setting.
fn judge(plant: &Plant, cap: f64, run: &Run, from: f64, to: f64) -> (f64, f64) {
    let highest = run.world.highest(from, to);
    // Steps that do not fit 10 s evenly are no merit of a fixed setting's: it may do what was done here.
    let best = best_fixed(plant, cap.max(highest), from, to);
    assert!(best.0 > 0.0, "no fixed setting keeps to the cap");
    let share = run.world.rate(from, to) / best.0;
    println!(
        "cap {cap:.2} W: mean {:.2} % of it, highest window {:.2} %, {:.1} % of the best fixed setting ({:.1} tokens/s with {} threads \
         at {}); {} paces told",
        run.world.draw(from, to) / cap * 100.0,
        highest / cap * 100.0,
        share * 100.0,
        best.0,
        best.1,
        best.2,
        run.told.len()
    );
    (highest / cap, share)
}

#[test]
fn a_cap_holds_in_every_window_and_costs_few_tokens() {
    for share in [0.5, 0.7, 0.9] {
        for request in [(200, 300), (1, 1_000_000), (4000, 50)] {
            let plant = Plant { request, ..board() };
            let cap = share * plant.uncapped();
            let run = paced(&plant, 120.0, |_| limits(Some(cap), &plant));
            let (highest, share) = judge(&plant, cap, &run, 5.0, 120.0);
            assert!(highest <= 1.02 && share >= 0.9, "{request:?}");
        }
    }
}

#[test]
fn slow_steps_keep_to_it_too() {
    // A large model on a small board: a third of a second for a token, two thirds for a piece of a prompt. Here the
    // draw of a piece alone moves the average of 10 s by percents.
    let plant = Plant { speed: vec![2.0, 3.1], prompt_speed: 12.0, request: (60, 60), ..board() };
    for share in [0.5, 0.7, 0.9] {
        let cap = share * plant.uncapped();
        let run = paced(&plant, 240.0, |_| limits(Some(cap), &plant));
        let (highest, share) = judge(&plant, cap, &run, 5.0, 240.0);
        assert!(highest <= 1.04 && share >= 0.8);
    }
}

#[test]
fn it_settles_instead_of_swinging() {
    let plant = Plant { request: (1, 1_000_000), ..board() };
    let run = paced(&plant, 120.0, |_| limits(Some(3.4), &plant));
    let settled: Vec<_> = run.told.iter().filter(|(t, _)| (20.0..60.0).contains(t)).map(|(_, pace)| *pace).collect();
    assert!(settled.iter().all(|pace| pace.threads == settled[0].threads), "{settled:?}");
    let duties = || settled.iter().map(|pace| f64::from(pace.duty));
    let (low, high) = (duties().fold(f64::MAX, f64::min), duties().fold(0.0, f64::max));
    assert!(high / low < 1.25, "{low} to {high}");
    // Seconds differ no more than noise does: the standard deviation of their draw is below 2 %.
    let seconds: Vec<f64> = (20..60).map(|s| run.world.draw(f64::from(s), f64::from(s + 1))).collect();
    let mean = seconds.iter().sum::<f64>() / 40.0;
    let deviation = (seconds.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / 40.0).sqrt();
    assert!(deviation < 0.02 * mean, "{deviation} of {mean}");
}

#[test]
fn others_load_is_made_room_for() {
    let plant = Plant { others: vec![(30.0, 1.5), (60.0, 0.0), (90.0, 0.7)], ..board() };
    let run = paced(&plant, 120.0, |_| limits(Some(5.2), &plant));
    let highest = run.world.highest(5.0, 120.0);
    assert!(highest <= 5.2 * 1.02, "{highest}");
    // What they leave is used.
    let (alone, beside) = (run.world.rate(20.0, 30.0), run.world.rate(40.0, 60.0));
    assert!(beside > 0.3 * alone && beside < 0.8 * alone, "{alone} {beside}");
    assert!(run.world.draw(45.0, 55.0) > 5.2 * 0.95);
    assert!(run.world.draw(70.0, 80.0) > 5.2 * 0.95);
}

#[test]
fn work_that_comes_and_goes_keeps_to_it() {
    let work = (0..20).map(|i| (f64::from(i) * 6.0, f64::from(i) * 6.0 + 3.0)).collect();
    let plant = Plant { work, ..board() };
    for cap in [3.4, 5.4] {
        let run = paced(&plant, 120.0, |_| limits(Some(cap), &plant));
        let highest = run.world.highest(5.0, 120.0);
        assert!(highest <= cap * 1.02, "{highest}");
        // It knows the device and works as hard as it may at once.
        let draw = run.world.draw(96.1, 98.9);
        assert!((0.9 * cap..1.06 * cap).contains(&draw), "{draw} of {cap}");
    }
}

#[test]
fn a_long_idle_time_pays_for_no_burst() {
    let plant = Plant { work: vec![(0.0, 20.0), (60.0, 90.0)], ..board() };
    let run = paced(&plant, 90.0, |_| limits(Some(3.4), &plant));
    assert!(run.world.highest(5.0, 90.0) <= 3.4 * 1.02);
    assert!(run.world.draw(60.0, 62.0) <= 3.4 * 1.1, "{}", run.world.draw(60.0, 62.0));
}

#[test]
fn a_changed_cap_holds_at_once() {
    let plant = board();
    let run = paced(&plant, 90.0, |t| limits(Some(if (30.0..60.0).contains(&t) { 3.0 } else { 5.5 }), &plant));
    assert!(run.world.highest(30.5, 60.0) <= 3.0 * 1.02);
    assert!(run.world.highest(60.0, 90.0) <= 5.5 * 1.02);
    assert!(run.world.draw(62.0, 72.0) >= 5.5 * 0.95);
}

#[test]
fn a_cap_below_idle_leaves_the_smallest_duty_and_says_so() {
    let plant = board();
    let run = paced(&plant, 60.0, |_| limits(Some(1.5), &plant));
    assert!(run.pacer.state().unreachable);
    assert_eq!(run.told.last().map(|(_, pace)| pace.duty), Some(FLOOR));
    assert!(run.world.rate(30.0, 60.0) > 0.5, "requests end");
    // Once it can be kept, it is, and that is no longer said.
    let run = paced(&plant, 60.0, |t| limits(Some(if t < 30.0 { 1.5 } else { 4.0 }), &plant));
    assert!(!run.pacer.state().unreachable);
    assert!(run.world.draw(45.0, 60.0) > 3.8);
}

#[test]
fn without_a_cap_nothing_is_tried_and_nothing_said() {
    let plant = board();
    let run = paced(&plant, 30.0, |_| limits(None, &plant));
    assert_eq!(run.told, []);
    // A duty from the configuration is kept to, cap or not.
    let run = paced(&plant, 30.0, |_| Bounds { duty: 300, ..limits(None, &plant) });
    assert_eq!(run.told.iter().map(|(_, pace)| pace.duty).collect::<Vec<_>>(), [300]);
    let run = paced(&plant, 30.0, |_| Bounds { duty: 300, ..limits(Some(6.0), &plant) });
    assert!(run.told.iter().all(|(_, pace)| pace.duty <= 300));
}

#[test]
fn policies_choose_their_number_of_threads() {
    let threads = |plant: &Plant, policy| {
        let run = paced(plant, 30.0, |_| Bounds { policy, ..limits(None, plant) });
        run.told.last().map_or(plant.most(), |(_, pace)| pace.threads)
    };
    // 50 tokens per joule against 34; squared over watts 5000 against 5670.
    let plant = Plant { request: (1, 1_000_000), ..board() };
    assert_eq!(threads(&plant, Policy::MinEnergy), 1);
    assert_eq!(threads(&plant, Policy::Balanced), 2);
    assert_eq!(threads(&plant, Policy::MaxThroughput), 2);
    // Four cores of which two fill the memory's bandwidth.
    let plant = Plant { watts: vec![3.0, 5.0, 7.0, 9.0], speed: vec![6.0, 11.0, 11.5, 11.6], ..plant };
    assert_eq!(threads(&plant, Policy::MinEnergy), 2);
    assert_eq!(threads(&plant, Policy::Balanced), 2);
}

#[test]
fn lanes_share_a_cap() {
    let plant = Plant { lanes: 2, ..board() };
    let run = paced(&plant, 90.0, |_| limits(Some(4.0), &plant));
    let highest = run.world.highest(5.0, 90.0);
    assert!(highest <= 4.0 * 1.02 && run.world.draw(40.0, 90.0) > 3.8, "{highest}");
    let duty = |lane: usize| run.world.engines[lane].pace.duty;
    assert!(duty(0).abs_diff(duty(1)) <= duty(0) / 20, "{} {}", duty(0), duty(1));
}

/// Its first sample after a change of pace once taught it the wrong watts for good.
#[test]
fn threads_that_bring_little_are_given_up() {
    let plant = Plant {
        idle: 0.94,
        watts: vec![3.58, 5.82, 7.73],
        speed: vec![308.0, 330.0, 344.0],
        prompt_watts: 1.0,
        request: (1, 182),
        ..board()
    };
    let run = paced(&plant, 60.0, |_| limits(Some(6.17), &plant));
    let (highest, share) = judge(&plant, 6.17, &run, 5.0, 60.0);
    assert!(highest <= 1.02 && share >= 0.95);
    assert_eq!(run.told.last().map(|(_, pace)| pace.threads), Some(1));
}

#[test]
fn numbers_of_threads_next_to_one() {
    assert_eq!(neighbours(2, 2), (Some(1), None));
    assert_eq!(neighbours(1, 1), (None, None));
    assert_eq!(neighbours(3, 4), (Some(2), Some(4)));
    assert_eq!(neighbours(16, 16), (Some(12), None));
    assert_eq!(neighbours(8, 16), (Some(4), Some(12)));
    assert_eq!(neighbours(u32::MAX, 4), (Some(4), None));
}

#[test]
fn progress_tells_prompts_from_answers() {
    let part = |prefill, decode| crate::lane::StepPart { id: crate::lane::RequestId(1), prefill, decode, context: 9 };
    let mut done = Progress::default();
    done.add(&Step { us: 3000, parts: vec![part(60, 0), part(0, 1)], ..Step::default() });
    done.add(&Step { us: 500, parts: vec![part(0, 1), part(0, 1)], ..Step::default() });
    done.add(&Step { us: 500, parts: vec![part(0, 1)], ..Step::default() });
    assert_eq!(done.prefill, Work { steps: 1, tokens: 61, time: Duration::from_millis(3) });
    assert_eq!(done.decode, Work { steps: 2, tokens: 3, time: Duration::from_millis(1) });
}

prop_compose! {
    fn plants()(
        cores in 1usize..=4, idle in 0.5f64..6.0, first in 0.8f64..5.0, bend in 0.7f64..1.4, speed in 8.0f64..600.0,
        concave in 0.1f64..1.0, prompt_watts in 1.0f64..1.4, prompt in 1u32..600, answer in 20u32..2000,
    ) -> Plant {
        let powers = |first: f64, by: f64| (1..=cores).map(move |k| first * (k as f64).powf(by)).collect::<Vec<f64>>();
        Plant {
            idle,
            watts: powers(first, bend),
            speed: powers(speed, concave),
            prompt_watts,
            prompt_speed: speed * 5.0,
            request: (prompt, answer),
            ..board()
        }
    }
}

proptest! {
    // The same devices each time: what one run in a hundred finds is for a search, not for a build.
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 16, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn random_devices_keep_to_their_caps(plant in plants(), share in 0.2f64..1.1) {
        let cap = plant.idle + share * plant.watts[plant.watts.len() - 1];
        let run = paced(&plant, 100.0, |_| limits(Some(cap), &plant));
        let (highest, share) = judge(&plant, cap, &run, 5.0, 100.0);
        prop_assert!(highest <= 1.02, "{highest}");
        // Most get 93 % and more. Where cores draw little beside the idle device, the sensor's noise hides which number of
        // threads is better, and a cap that leaves next to nothing is kept with a margin.
        prop_assert!(share >= 0.75, "{share}");
    }
}

/// The whole way through the scheduler: a lane that gets work under a cap is told its pace, and again as its draw becomes
/// known.
#[test]
fn the_scheduler_paces_the_lane_that_works() {
    use crate::lane::{RequestId, Tenant};
    use crate::sched::{Arrival, Budgets, Event, Limits, Power, Sched};

    let mut sched = Sched::new(Limits { threads: 2, ..Limits::default() });
    let mains = Power { cap: Some(Microwatts(3_400_000)), ..Power::default() };
    sched.handle(Event::Budgets(Budgets { mains, ..Budgets::default() }), at(0.0));
    let mut lane = None;
    let paces = |actions: &[Action]| {
        let pace = |action: &Action| match action {
            Action::Pace { lane, pace } => Some((*lane, *pace)),
            _ => None,
        };
        actions.iter().filter_map(pace).collect::<Vec<_>>()
    };
    for action in sched.handle(Event::Load(MODEL), at(0.0)) {
        if let Action::Load { lane: id, .. } = action {
            lane = Some(id);
        }
    }
    let lane = lane.unwrap();
    assert_eq!(sched.handle(Event::LaneReady { lane, slots: 1 }, at(1.0)), []);
    let arrival = Arrival { tokens: 10, ..Arrival::new(RequestId(1), Tenant(1), MODEL.variant) };
    let told = paces(&sched.handle(Event::Arrived(arrival), at(2.0)));
    assert_eq!(told, [(lane, Pace { threads: 2, prompt_threads: 2, duty: DUTY_FIRST, chunk: CHUNK_FIRST })]);
    let idle = Event::Power { draw: Microwatts(2_000_000), span: Duration::from_secs(2) };
    sched.handle(idle, at(2.0));
    let mut duty = DUTY_FIRST;
    for i in 1..10u32 {
        let work = Work { steps: 10, tokens: 10, time: Duration::from_millis(u64::from(duty) / 10) };
        let progress = Event::Progress { lane, done: Progress { decode: work, ..Progress::default() } };
        assert_eq!(sched.handle(progress, at(2.0 + f64::from(i) / 10.0)), []);
        let draw = Microwatts(2_000_000 + u64::from(duty) * 4_800);
        let power = Event::Power { draw, span: Duration::from_millis(100) };
        if let Some((_, pace)) = paces(&sched.handle(power, at(2.0 + f64::from(i) / 10.0))).last() {
            duty = pace.duty;
        }
    }
    assert!((230..320).contains(&duty), "{duty}");
    assert_eq!(sched.power().cap, Some(Microwatts(3_400_000)));
}

#[test]
fn a_request_that_measures_chooses_its_lanes_threads_as_long_as_it_runs() {
    use crate::lane::{RequestId, Tenant};
    use crate::sched::{Arrival, Event, Limits, Sched};
    let at = |s: f64| Time::ZERO + Duration::from_secs_f64(s);
    let mut sched = Sched::new(Limits { threads: 4, ..Limits::default() });
    let threads = |actions: &[Action]| {
        actions.iter().rev().find_map(|action| match action {
            Action::Pace { pace, .. } => Some(pace.threads),
            _ => None,
        })
    };
    let measuring = |id: u64, threads| Arrival { threads, ..Arrival::new(RequestId(id), Tenant(1), MODEL.variant) };
    let actions = sched.handle(Event::Arrived(measuring(1, Some(2))), at(0.0));
    let lane = actions.iter().find_map(|action| match action {
        Action::Load { lane, .. } => Some(*lane),
        _ => None,
    });
    let lane = lane.unwrap();
    assert_eq!(threads(&sched.handle(Event::LaneReady { lane, slots: 2 }, at(1.0))), Some(2));
    // Another one that does not care goes with it.
    assert_eq!(threads(&sched.handle(Event::Arrived(measuring(2, None)), at(1.5))), None);
    assert_eq!(threads(&sched.handle(Event::Finished(RequestId(1)), at(2.0))), Some(4));
    assert_eq!(threads(&sched.handle(Event::Arrived(measuring(3, Some(9))), at(3.0))), None, "no more than it has");
    sched.handle(Event::Finished(RequestId(3)), at(4.0));
    assert_eq!(threads(&sched.handle(Event::Arrived(measuring(4, Some(1))), at(5.0))), Some(1));
}
