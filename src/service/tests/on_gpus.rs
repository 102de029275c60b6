//! The service with a GPU, message by message: how it is compared with the CPU, requests that go from one to the other, lanes
//! that are lost meanwhile, and files that are replaced.

use std::io::Write;
use std::sync::mpsc::TryRecvError;
use std::time::Instant;

use super::*;
use crate::lane::trust::{Choice, Probed, STEPS};
use crate::lane::{GpuId, SequenceState};
use crate::sched::{
    Backend, Budgets, Cost, DeviceId, Event, LaneState, Measured, PhaseMeasured, Policy, Power, Profile, Site,
    VariantId,
};
use crate::service::core::Core;
use crate::service::lanes::Phase;
use crate::units::{Bytes, Microjoules};

/// The service's insides, which do nothing but what they are told here.
struct Rig {
    core: Core,
    inbox: Receiver<Msg>,
    lanes: Receiver<Puppet>,
    /// How often GPUs were looked for.
    looks: Arc<AtomicU64>,
    dir: TempDir,
    variant: VariantId,
}

fn gpu() -> GpuInfo {
    GpuInfo {
        id: GpuId { name: "gpu0".into(), module: "vulkan".into(), ggml: "Vulkan0".into() },
        description: "a GPU".into(),
        bus: None,
        unified: false,
        memory_total: 1 << 40,
        memory_free: 1 << 40,
    }
}

/// What both devices answer to the probe where they agree.
fn right() -> Probed {
    let choices = (0..STEPS as i32).map(|token| Choice { token, runner_up: -1, margin: 1.0 }).collect();
    Probed { prompt_tokens: 9, logits: (0..100).map(|i| (i as f32 * 0.37).sin()).collect(), choices }
}

fn wrong() -> Probed {
    let right = right();
    Probed { logits: right.logits.iter().map(|logit| -logit).collect(), ..right }
}

impl Rig {
    /// Models `a` and `b`, and a GPU that was found.
    fn new() -> Rig {
        Rig::with(None)
    }

    fn with(clock: Option<CpuClock>) -> Rig {
        let mut rig = Rig::just_started(clock);
        rig.until(|core| core.gpus.any());
        rig
    }

    /// GPUs are looked for, and nobody has heard what came of it.
    fn just_started(clock: Option<CpuClock>) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let mut config = models(dir.path());
        config.paths.modules = dir.path().join("modules");
        Rig::on(dir, config, clock)
    }

    fn on(dir: TempDir, config: Config, clock: Option<CpuClock>) -> Rig {
        let ((tx, inbox), (started, lanes)) = (channel(), channel());
        let looks = Arc::new(AtomicU64::new(0));
        let puppets = Puppets { started: Some(started), gpu: Some(gpu()), looks: looks.clone(), clock };
        let mut core = Core::new(config, Box::new(puppets), tx);
        let variant = core.catalog.resolve("a").unwrap().variant;
        core.look_for_gpus(true);
        Rig { core, inbox, lanes, looks, dir, variant }
    }

    fn cpu(&self) -> Site {
        Site::cpu(self.variant)
    }

    fn gpu(&self) -> Site {
        Site { variant: self.variant, device: DeviceId(1) }
    }

    /// One message, or the time that passes.
    fn turn(&mut self) {
        if let Ok(msg) = self.inbox.recv_timeout(Duration::from_millis(5)) {
            self.core.message(msg);
        }
        self.core.timers();
        self.core.look();
    }

    fn wait_for<T>(&mut self, mut what: impl FnMut(&mut Rig) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = what(self) {
                return found;
            }
            assert!(Instant::now() < end, "it does not come");
            self.turn();
        }
    }

    fn until(&mut self, done: impl Fn(&Core) -> bool) {
        self.wait_for(|rig| done(&rig.core).then_some(()));
    }

    fn lane(&mut self) -> Puppet {
        self.wait_for(|rig| rig.lanes.try_recv().ok())
    }

    /// The next thing that a lane is told, but for how hard it shall work.
    fn hear(&mut self, lane: &Puppet) -> ToLane {
        self.wait_for(|_| {
            lane.heard.try_recv().ok().filter(|msg| !matches!(msg, ToLane::Pace(_) | ToLane::Allow { .. }))
        })
    }

    fn phase(&self, lane: &Puppet) -> Option<Phase> {
        self.core.lanes.by_id.get(&lane.id).map(|slot| slot.phase)
    }

    fn proving(&self) -> usize {
        self.core.lanes.by_id.values().filter(|slot| slot.phase == Phase::Proving).count()
    }

    fn ask(&mut self, change: impl FnOnce(&mut Generate)) -> (RequestId, Receiver<Update>) {
        let (tx, updates) = channel();
        let mut request = plain("a");
        change(&mut request);
        let id = RequestId(self.core.totals.requests + 1);
        self.core.arrived(ROOT, id, request, Box::new(Collector(tx)));
        (id, updates)
    }

    fn end(&mut self, updates: &Receiver<Update>) -> Result<Box<Outcome>, Error> {
        self.wait_for(|_| loop {
            match updates.try_recv() {
                Ok(Update::Done(outcome)) => return Some(Ok(outcome)),
                Ok(Update::Failed(error)) => return Some(Err(error)),
                Ok(_) => {}
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => panic!("no end"),
            }
        })
    }

    fn state(&self, id: RequestId) -> RequestState {
        self.core.explain(ROOT, id).unwrap().state
    }

    /// Brings a lane up on the GPU, which asks for one on the CPU.
    fn proves(&mut self) -> Puppet {
        self.core.event(Event::Load(self.gpu()));
        let gpu = self.lane();
        assert!(gpu.device.is_gpu());
        gpu.ready();
        assert_eq!(self.hear(&gpu), ToLane::Probe);
        gpu
    }

    /// A lane on each device, and both have been asked the probe.
    fn asked(&mut self) -> (Puppet, Puppet) {
        let gpu = self.proves();
        let cpu = self.lane();
        cpu.ready();
        assert_eq!(self.hear(&cpu), ToLane::Probe);
        (gpu, cpu)
    }

    /// A lane on each device, compared.
    fn both(&mut self) -> (Puppet, Puppet) {
        let (gpu, cpu) = self.asked();
        answer(&gpu, right());
        answer(&cpu, right());
        self.wait_for(|rig| (rig.phase(&gpu) == Some(Phase::Ready)).then_some(()));
        (gpu, cpu)
    }

    /// Another file under the same name.
    fn replace(&self) {
        let path = self.dir.path().join("a.gguf");
        let new = self.dir.path().join("new");
        std::fs::copy(&path, &new).unwrap();
        std::fs::OpenOptions::new().append(true).open(&new).unwrap().write_all(&[0; 64]).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Prompts are cheap on the GPU, answers on the CPU, and joules are saved.
    fn profiles(&mut self) {
        let (slow, fast) = (profile((0.02, 6.0), (0.1, 4.0)), profile((0.001, 10.0), (0.08, 8.0)));
        for (site, profile) in [(self.cpu(), slow), (self.gpu(), fast)] {
            self.core.event(Event::Profile { site, profile: Box::new(profile) });
        }
        let power = Power { policy: Policy::MinEnergy, ..Power::default() };
        let budgets = Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 };
        self.core.event(Event::Budgets(budgets));
    }

    /// A request with a long prompt and a long answer, whose prompt has gone from the GPU to the CPU.
    fn handed_over(&mut self, gpu: &Puppet, cpu: &Puppet) -> (RequestId, Receiver<Update>) {
        self.profiles();
        let (id, updates) = self.ask(|request| {
            request.prompt = Prompt::Text("x".repeat(4000));
            request.max_tokens = Some(200);
        });
        let told = self.hear(gpu);
        assert!(matches!(&told, ToLane::Prefill(job) if job.id == id), "{told:?}");
        let part = StepPart { id, prefill: 999, decode: 0, context: 999 };
        gpu.say(FromLane::Step(Step { us: 1_000_000, parts: vec![part], ..Step::default() }));
        let state =
            SequenceState { model: 1, tokens: 999, tokens_hash: 1, bytes: 1, memory: crate::lane::Parcel::default() };
        let (prefill_us, handover_us) = (1_000_000, 50_000);
        let usage = Usage { prompt_tokens: 1000, cached_tokens: 20, prefill_us, handover_us, ..Usage::default() };
        gpu.say(FromLane::Exported { id, state, usage });
        let told = self.hear(cpu);
        assert!(matches!(&told, ToLane::Resume(job, _) if job.id == id), "{told:?}");
        (id, updates)
    }
}

/// Seconds and watts of a token of a prompt and of an answer.
fn profile(prompt: (f64, f64), answer: (f64, f64)) -> Profile {
    let mut profile = Profile::default();
    for (prompts, answers) in [(50u32, 20u32), (400, 40), (100, 100), (200, 10), (800, 60)] {
        let phase = |tokens: u32, context: u32, (seconds, watts): (f64, f64)| PhaseMeasured {
            tokens,
            context,
            batch: 1.0,
            time: Duration::from_secs_f64(f64::from(tokens) * seconds),
            energy: Microjoules::from_f64(f64::from(tokens) * seconds * watts),
        };
        profile.learn(&Measured {
            threads: 1,
            prefill: phase(prompts, prompts / 2, prompt),
            decode: phase(answers, prompts + answers / 2, answer),
            metered: true,
            ended: true,
            ..Measured::default()
        });
    }
    profile.woke(Cost { seconds: 1.0, joules: 1.0 });
    profile
}

fn answer(lane: &Puppet, probed: Probed) {
    lane.say(FromLane::Probed(Box::new(Ok(probed))));
}

#[test]
fn who_asks_for_a_gpu_before_it_was_found_waits_for_that_and_nobody_else_does() {
    let mut rig = Rig::just_started(None);
    let on_gpu = |request: &mut Generate| request.backend = Some(Backend::Gpu);
    let mut early = |n: u64, uid: u32, request: Generate| {
        let (tx, updates) = channel();
        let peer = Peer { uid, ..ROOT };
        rig.core.arrived(peer, RequestId(n), request, Box::new(Collector(tx)));
        updates
    };
    let gpu = || {
        let mut request = plain("a");
        on_gpu(&mut request);
        request
    };
    let (mine, other, left) = (early(1, 0, gpu()), early(2, 7, gpu()), early(3, 0, gpu()));
    let cpu = early(4, 0, plain("a"));
    let (tx, answer) = channel();
    let question =
        Msg::Estimate { peer: ROOT, request: Box::new(gpu()), reply: Box::new(move |report| drop(tx.send(report))) };
    rig.core.message(question);
    assert!(answer.try_recv().is_err(), "who only wants to know waits as well");
    assert!([&mine, &other, &left].iter().all(|updates| updates.try_recv().is_err()), "they wait");
    let stranger = Peer { uid: 8, admin: false, ..ROOT };
    assert_eq!(rig.core.cancel(stranger, RequestId(2)).unwrap_err().code, Code::NotFound);
    rig.core.cancel(Peer { uid: 7, admin: false, ..ROOT }, RequestId(2)).unwrap();
    assert!(matches!(other.try_recv(), Ok(Update::Failed(error)) if error.code == Code::Cancelled));
    rig.core.message(Msg::Abandon(RequestId(3)));
    let lane = rig.lane();
    assert!(!lane.device.is_gpu(), "the one that asks for nothing in particular");
    rig.until(|core| core.gpus.any());
    let report = answer.try_recv().expect("it is told").expect("what it takes");
    assert_eq!(report.plan.prefill, "gpu0");
    let lane = rig.wait_for(|rig| rig.lanes.try_recv().ok().filter(|lane| lane.device.is_gpu()));
    assert_eq!(rig.state(RequestId(1)), RequestState::Waiting);
    assert!(left.try_recv().is_err() && rig.core.requests.len() == 2);
    drop((lane, cpu, mine));

    // And who still waits when the service stops is told.
    let mut rig = Rig::just_started(None);
    let (_, updates) = rig.ask(on_gpu);
    let (tx, answer) = channel();
    let question =
        Msg::Estimate { peer: ROOT, request: Box::new(gpu()), reply: Box::new(move |report| drop(tx.send(report))) };
    rig.core.message(question);
    rig.core.message(Msg::ShutDown { grace: Duration::ZERO });
    assert_eq!(rig.end(&updates).unwrap_err().code, Code::ShuttingDown);
    assert_eq!(answer.try_recv().expect("it is told").unwrap_err().code, Code::ShuttingDown);
}

#[test]
fn a_gpu_that_agrees_with_the_cpu_is_used_and_one_that_does_not_is_not() {
    let mut rig = Rig::new();
    let (gpu, _cpu) = rig.both();
    let (id, updates) = rig.ask(|request| request.backend = Some(Backend::Gpu));
    let told = rig.hear(&gpu);
    assert!(matches!(&told, ToLane::Start(job) if job.id == id), "{told:?}");
    gpu.done(id);
    rig.end(&updates).unwrap();

    let mut rig = Rig::new();
    let (gpu, cpu) = rig.asked();
    answer(&cpu, right());
    answer(&gpu, wrong());
    rig.wait_for(|rig| rig.phase(&gpu).is_none().then_some(()));
    assert_eq!(rig.core.distrusted().len(), 1);
    assert!(!rig.core.sched.places(rig.variant).contains(&rig.gpu()));
}

#[test]
fn who_asks_for_the_status_again_and_again_has_nothing_searched() {
    let mut rig = Rig::new();
    let looks = |rig: &Rig| rig.looks.load(Ordering::SeqCst);
    std::fs::create_dir(rig.dir.path().join("modules")).unwrap();
    std::fs::write(rig.dir.path().join("modules/libggml-vulkan.so"), "another driver").unwrap();
    for _ in 0..3 {
        let (tx, status) = channel();
        rig.core.message(Msg::Status(Box::new(move |s| drop(tx.send(s)))));
        assert_eq!(status.recv().unwrap().gpus.len(), 1);
    }
    assert_eq!(looks(&rig), 1);
    // There was something to be seen.
    rig.core.look_for_gpus(false);
    assert_eq!(looks(&rig), 2);
}

#[test]
fn both_halves_of_a_request_that_was_handed_over_count() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.both();
    let (id, updates) = rig.handed_over(&gpu, &cpu);
    assert!(rig.core.requests[&id].state.is_none(), "it is with its lane: nobody needs a second copy");
    let usage = Usage {
        prompt_tokens: 1000,
        cached_tokens: 999,
        completion_tokens: 40,
        prefill_us: 5_000,
        decode_us: 4_000_000,
        handover_us: 10_000,
    };
    cpu.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
    let outcome = rig.end(&updates).unwrap();
    let both = Usage { cached_tokens: 20, prefill_us: 1_005_000, handover_us: 60_000, ..usage };
    assert_eq!(outcome.usage, both);
    assert!((outcome.receipt.prefill_s - 1.005).abs() < 1e-9);
    assert_eq!(rig.core.totals.cached_tokens, 20);
}

#[test]
fn a_request_that_starts_anew_has_nothing_of_what_was_lost() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.both();
    let (id, updates) = rig.handed_over(&gpu, &cpu);
    cpu.go(Gone::Signal(9));
    let told = rig.hear(&gpu);
    assert!(matches!(&told, ToLane::Start(job) if job.id == id), "{told:?}");
    let usage = Usage { prompt_tokens: 1000, completion_tokens: 40, prefill_us: 7, ..Usage::default() };
    gpu.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
    let outcome = rig.end(&updates).unwrap();
    assert_eq!((outcome.usage, outcome.receipt.retries), (usage, 1));
}

#[test]
fn a_request_that_is_cancelled_while_it_waits_for_its_second_try_leaves_nothing_behind() {
    let mut rig = Rig::new();
    let (id, updates) = rig.ask(|_| ());
    let lane = rig.lane();
    lane.ready();
    rig.wait_for(|rig| (rig.state(id) == RequestState::Running).then_some(()));
    let part = StepPart { id, prefill: 5, decode: 0, context: 5 };
    lane.say(FromLane::Step(Step { us: 1000, parts: vec![part], ..Step::default() }));
    lane.go(Gone::Signal(9));
    rig.wait_for(|rig| rig.core.requests[&id].lane.is_none().then_some(()));
    assert_eq!(rig.state(id), RequestState::Waiting);
    assert!(!rig.core.tallies.is_empty());
    rig.core.cancel(ROOT, id).unwrap();
    assert_eq!(rig.end(&updates).unwrap_err().code, Code::Cancelled);
    assert!(rig.core.tallies.is_empty());
}

#[test]
fn a_gpu_does_not_wait_for_a_lane_on_the_cpu_that_goes_before_it_has_come() {
    let mut rig = Rig::new();
    let gpu = rig.proves();
    assert_eq!(rig.proving(), 1);
    let preparing =
        |slot: &lanes::LaneSlot| slot.site == Site::cpu(slot.site.variant) && slot.phase == Phase::Preparing;
    assert!(rig.core.lanes.by_id.values().any(preparing));
    rig.core.event(Event::Unload(rig.cpu()));
    rig.wait_for(|rig| rig.phase(&gpu).is_none().then_some(()));
    assert!(rig.core.lanes.by_id.is_empty());
}

#[test]
fn a_gpu_waits_for_one_successor_of_a_lane_on_the_cpu_that_died() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.asked();
    // Kernels that the processor does not run, say.
    cpu.go(Gone::Signal(4));
    let next = rig.lane();
    next.ready();
    assert_eq!(rig.hear(&next), ToLane::Probe);
    answer(&gpu, right());
    answer(&next, right());
    rig.wait_for(|rig| (rig.phase(&gpu) == Some(Phase::Ready)).then_some(()));

    let mut rig = Rig::new();
    let gpu = rig.proves();
    for _ in 0..2 {
        let cpu = rig.lane();
        cpu.ready();
        rig.hear(&cpu);
        cpu.go(Gone::Signal(11));
    }
    rig.wait_for(|rig| rig.phase(&gpu).is_none().then_some(()));
}

#[test]
fn a_lane_on_the_cpu_is_asked_for_a_gpu_that_waits_though_there_is_none_just_now() {
    let mut rig = Rig::new();
    let gpu = rig.proves();
    rig.core.gpus.gpus = Some(Gpus::none("it is looked for again"));
    let cpu = rig.lane();
    cpu.ready();
    assert_eq!(rig.hear(&cpu), ToLane::Probe);
    answer(&cpu, right());
    answer(&gpu, right());
    rig.wait_for(|rig| (rig.phase(&gpu) == Some(Phase::Ready)).then_some(()));
}

#[test]
fn a_verdict_is_of_the_file_that_was_loaded_and_not_of_the_one_that_lies_there_now() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.asked();
    rig.replace();
    answer(&cpu, right());
    answer(&gpu, right());
    rig.wait_for(|rig| (rig.phase(&gpu) == Some(Phase::Ready)).then_some(()));
    // The next lane has the new file, of which nothing is known.
    rig.core.event(Event::Unload(rig.gpu()));
    assert_eq!(rig.hear(&gpu), ToLane::Quit);
    gpu.go(Gone::Clean);
    rig.wait_for(|rig| rig.phase(&gpu).is_none().then_some(()));
    let next = rig.proves();
    // And it is not compared with the CPU's lane, which has the old one: nor does it wait for that.
    rig.wait_for(|rig| rig.phase(&next).is_none().then_some(()));
    assert_eq!(rig.phase(&cpu), Some(Phase::Ready));
    assert!(rig.core.distrusted().is_empty(), "that says nothing about the GPU");
}

#[test]
fn what_fails_with_a_file_that_was_replaced_may_try_with_the_new_one() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.asked();
    rig.replace();
    answer(&cpu, right());
    answer(&gpu, wrong());
    rig.wait_for(|rig| rig.phase(&gpu).is_none().then_some(()));
    assert!(rig.core.sched.places(rig.variant).contains(&rig.gpu()));
}

#[test]
fn the_clock_of_a_gpu_that_proves_itself_does_not_go_back_when_it_is_trusted() {
    let clock = CpuClock::Process(i32::try_from(std::process::id()).unwrap());
    let used = || crate::service::sampler::cpu_of(clock).unwrap();
    let mut rig = Rig::with(Some(clock));
    let (gpu, cpu) = rig.asked();
    let slot = |rig: &Rig| rig.core.lanes.by_id[&gpu.id].gpu_clock(rig.core.clock.now(), Some(&used()));
    let begun = used();
    while used() < begun + Duration::from_millis(30) {
        std::hint::spin_loop();
    }
    let proving = slot(&rig).unwrap();
    assert!(proving >= begun + Duration::from_millis(30), "the probe is a part of bringing it up");
    assert!(rig.core.works());
    answer(&cpu, right());
    answer(&gpu, right());
    rig.wait_for(|rig| (rig.phase(&gpu) == Some(Phase::Ready)).then_some(()));
    let ready = slot(&rig).unwrap();
    assert!(ready >= proving, "{ready:?} after {proving:?}");
    assert_eq!(slot(&rig).unwrap(), ready, "it rests");
}

#[test]
fn a_model_is_loaded_where_it_is_loaded_on_any_device() {
    let mut rig = Rig::new();
    let state = |rig: &Rig| {
        let all = rig.core.models();
        all.iter().find(|model| model.name == "a").unwrap().variants[0].state.clone()
    };
    assert_eq!(state(&rig), "unloaded");
    let (gpu, cpu) = rig.both();
    rig.core.event(Event::Unload(rig.cpu()));
    cpu.go(Gone::Clean);
    rig.wait_for(|rig| rig.phase(&cpu).is_none().then_some(()));
    assert_eq!((rig.phase(&gpu), state(&rig).as_str()), (Some(Phase::Ready), "loaded"));
}

#[test]
fn who_unloads_a_model_also_ends_the_wait_for_a_lane_of_it_on_the_cpu() {
    let mut rig = Rig::new();
    let (gpu, cpu) = rig.both();
    rig.core.event(Event::Unload(rig.cpu()));
    cpu.go(Gone::Clean);
    rig.wait_for(|rig| rig.phase(&cpu).is_none().then_some(()));
    let (id, updates) = rig.ask(|request| request.backend = Some(Backend::Gpu));
    rig.hear(&gpu);
    // Beside what the GPU's lane holds there is no room for one on the CPU now.
    rig.core.lanes.by_id.get_mut(&gpu.id).unwrap().need.kv = 1 << 40;
    let mut config = rig.core.catalog.config().clone();
    config.models.memory_reserve = Bytes(u64::MAX);
    rig.core.catalog.reload(config);
    let (tx, loading) = channel();
    rig.core.load(ROOT, "a", Box::new(Collector(tx)));
    rig.until(|core| !core.wishes.is_empty());
    rig.core.unload(ROOT, "a", Box::new(|_| ()));
    assert_eq!(rig.end(&loading).unwrap_err().code, Code::InsufficientMemory);
    gpu.done(id);
    rig.end(&updates).unwrap();
    assert_eq!(rig.core.sched.lane_state(rig.cpu()), LaneState::Unloaded);
}

#[test]
fn what_was_measured_of_a_file_is_not_told_of_the_one_that_replaces_it() {
    let mut rig = Rig::new();
    let (id, updates) = rig.ask(|_| ());
    let lane = rig.lane();
    lane.ready();
    rig.wait_for(|rig| (rig.state(id) == RequestState::Running).then_some(()));
    for (prefill, decode, context) in [(50, 0, 50), (0, 1, 51), (0, 1, 52)] {
        let part = StepPart { id, prefill, decode, context };
        lane.say(FromLane::Step(Step { us: 500_000, parts: vec![part], ..Step::default() }));
    }
    let usage = Usage { prompt_tokens: 50, completion_tokens: 2, ..Usage::default() };
    lane.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
    rig.end(&updates).unwrap();
    let site = rig.cpu();
    rig.until(|core| core.sched.profile(site).is_some());
    rig.replace();
    // As long as the lane is up it is what it was measured with.
    rig.core.read_profiles();
    assert!(rig.core.sched.profile(rig.cpu()).is_some());
    rig.core.event(Event::Unload(rig.cpu()));
    lane.go(Gone::Clean);
    rig.wait_for(|rig| rig.phase(&lane).is_none().then_some(()));
    assert_eq!(rig.core.sched.profile(rig.cpu()), None);
}

#[test]
fn what_a_gpus_lane_would_have_saved_is_told_when_the_gpu_is_found() {
    let mut rig = Rig::new();
    let (cpu, gpu) = (rig.cpu(), rig.gpu());
    for site in [cpu, gpu] {
        let phase = |tokens: u32| PhaseMeasured {
            tokens,
            context: 50,
            batch: 1.0,
            time: Duration::from_millis(u64::from(tokens) * 10),
            energy: Microjoules(u64::from(tokens) * 50_000),
        };
        let measured = Measured { threads: 1, prefill: phase(50), decode: phase(9), ..Measured::default() };
        rig.core.event(Event::Measured { id: RequestId(1 << 40), site, measured });
        rig.core.profiles.measured(site, false);
    }
    for _ in 0..3 {
        let _updates = rig.ask(|_| ()).1;
        rig.core.habits.learnt();
    }
    rig.core.keep_profiles_now();
    rig.core.keep_habits_now();
    let of = |rig: &Rig, site| {
        let sites = rig.core.sched.habits().sites;
        sites.into_iter().find(|one| one.site == site).map_or(0, |one| one.savings.len())
    };
    assert_eq!(of(&rig, gpu), 3);
    let Rig { core, dir, .. } = rig;
    let config = core.catalog.config().clone();
    drop(core);
    let mut next = Rig::on(dir, config, None);
    next.until(|core| core.gpus.any());
    assert_eq!((of(&next, gpu), of(&next, cpu)), (3, 0), "the CPU's profile was not read here");
    let variants = next.core.sched.habits().variants;
    assert!(variants.iter().any(|one| one.variant == next.variant && one.gaps == [0.0, 0.0]), "{variants:?}");
}
