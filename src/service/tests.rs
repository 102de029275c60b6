//! The service against lanes that are played by the test: what no honest worker does, and orders of events that a
//! real one cannot be made to produce.

use std::path::Path;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::lane::{
    CpuClock, Device, EventFn, Finish, FromLane, Gone, GpuInfo, Lane, LaneConfig, LaneInfo, Prompt, Sampling, Step,
    StepPart, ToLane, Usage,
};
use crate::models::ggml_type::GgmlType;
use crate::models::gguf::write::{TensorSpec, Writer};
use crate::sched::Class;

mod habits;
mod on_gpus;

/// Longest wait for anything: it bounds a failure, it times nothing.
const PATIENCE: Duration = Duration::from_secs(20);

const ROOT: Peer = Peer { uid: 0, gid: 0, pid: 0, admin: true };

/// A lane in the test's hands.
struct Puppet {
    id: LaneId,
    device: Device,
    events: EventFn,
    heard: Receiver<ToLane>,
    killed: Receiver<Gone>,
}

impl Puppet {
    fn say(&self, said: FromLane) {
        (self.events)(self.id, LaneEvent::Said(said));
    }

    fn go(&self, why: Gone) {
        (self.events)(self.id, LaneEvent::Gone { why, last_words: None });
    }

    fn ready(&self) {
        self.say(FromLane::Ready(Box::new(LaneInfo {
            n_ctx: 64,
            n_ctx_train: 64,
            n_vocab: 4,
            device: "CPU".into(),
            kernels: "none".into(),
            cpu_variant: "none".into(),
            threads: 1,
            weight_bytes: 0,
            cell_cost: 0.0,
            load_ms: 1,
            chat: false,
            synthetic: false,
            sandbox: "none".into(),
        })));
    }

    fn hear(&self) -> ToLane {
        self.heard.recv_timeout(PATIENCE).expect("the lane is told something")
    }

    /// The request it is told to start.
    fn started(&self) -> RequestId {
        match self.hear() {
            ToLane::Start(job) => job.id,
            other => panic!("not a start: {other:?}"),
        }
    }

    fn done(&self, id: RequestId) {
        self.say(FromLane::Done { id, result: Ok(Finish::Stop), usage: Usage::default() });
    }

    fn killed(&self) -> Gone {
        self.killed.recv_timeout(PATIENCE).expect("the lane is killed")
    }
}

struct Strings {
    tell: Sender<ToLane>,
    kill: Sender<Gone>,
    clock: Option<CpuClock>,
}

impl Lane for Strings {
    fn send(&self, msg: ToLane) {
        let _ = self.tell.send(msg);
    }
    fn kill(&self, why: Gone) {
        let _ = self.kill.send(why);
    }
    fn pid(&self) -> Option<u32> {
        None
    }
    fn cpu(&self) -> Option<CpuClock> {
        self.clock
    }
}

#[derive(Default)]
struct Puppets {
    started: Option<Sender<Puppet>>,
    gpu: Option<GpuInfo>,
    /// How often it was looked for.
    looks: Arc<AtomicU64>,
    /// Of all lanes.
    clock: Option<CpuClock>,
}

impl LaneFactory for Puppets {
    fn gpus(&self) -> Box<dyn FnOnce(&Path) -> Gpus + Send> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let gpus =
            self.gpu.clone().map_or(Gpus::none("the test has none"), |gpu| Gpus { found: vec![gpu], notes: vec![] });
        Box::new(move |_| gpus)
    }

    fn start(&self, id: LaneId, config: LaneConfig, events: EventFn) -> Box<dyn Lane> {
        let ((tell, heard), (kill, killed)) = (channel(), channel());
        let puppet = Puppet { id, device: config.device, events, heard, killed };
        if let Some(started) = &self.started {
            let _ = started.send(puppet);
        }
        Box::new(Strings { tell, kill, clock: self.clock })
    }
}

struct Collector(Sender<Update>);

impl Sink for Collector {
    fn push(&mut self, update: Update) -> Result<(), SinkClosed> {
        self.0.send(update).map_err(|_| SinkClosed::Gone)
    }
}

/// The end of a request; its sink must be let go of without another word.
fn end(updates: &Receiver<Update>) -> Result<Box<Outcome>, Error> {
    loop {
        let end = match updates.recv_timeout(PATIENCE).expect("an end") {
            Update::Done(outcome) => Ok(outcome),
            Update::Failed(error) => Err(error),
            _ => continue,
        };
        assert!(updates.recv_timeout(PATIENCE).is_err(), "something follows the end");
        return end;
    }
}

struct Stage {
    handle: Handle,
    lanes: Receiver<Puppet>,
    service: Option<Service>,
    _dir: TempDir,
}

fn gguf(path: &Path) {
    let mut w = Writer::default();
    w.string("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32)
        .u32("llama.attention.head_count", 1);
    let tensor = TensorSpec { name: "token_embd.weight".into(), shape: vec![32, 4], kind: GgmlType::F16 };
    let mut out = w.finish(&[tensor]);
    out.resize(out.len() + 256, 0);
    std::fs::write(path, out).unwrap();
}

/// Models `a` and `b`.
fn models(dir: &Path) -> Config {
    gguf(&dir.join("a.gguf"));
    gguf(&dir.join("b.gguf"));
    let mut config = Config::default();
    config.models.dirs = vec![dir.to_owned()];
    config.models.memory_reserve = crate::units::Bytes(0);
    config.paths.state = dir.join("state");
    config
}

fn plain(model: &str) -> Generate {
    Generate {
        model: model.into(),
        prompt: Prompt::Text("x".into()),
        sampling: Sampling::default(),
        stop: Vec::new(),
        max_tokens: None,
        class: Class::Standard,
        deadline: None,
        max_joules: None,
        max_ttft: None,
        policy: None,
        backend: None,
        degrade: false,
        threads: None,
    }
}

impl Stage {
    /// Models `a` and `b`.
    fn new(change: impl FnOnce(&mut Config)) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let mut config = models(dir.path());
        change(&mut config);
        let (tx, lanes) = channel();
        let puppets = Puppets { started: Some(tx), ..Puppets::default() };
        let service = Service::start(config, Box::new(puppets)).unwrap();
        Stage { handle: service.handle(), lanes, service: Some(service), _dir: dir }
    }

    fn ask(&self, model: &str) -> (RequestId, Receiver<Update>) {
        let (tx, rx) = channel();
        (self.handle.generate(ROOT, plain(model), Box::new(Collector(tx))), rx)
    }

    fn load(&self, model: &str) -> Receiver<Update> {
        let (tx, rx) = channel();
        self.handle.load(ROOT, model.into(), Box::new(Collector(tx)));
        rx
    }

    fn unload(&self, model: &str) -> Receiver<Result<(), Error>> {
        let (tx, rx) = channel();
        self.handle.unload(ROOT, model.into(), Box::new(move |r| drop(tx.send(r))));
        rx
    }

    fn lane(&self) -> Puppet {
        self.lanes.recv_timeout(PATIENCE).expect("a lane is started")
    }

    fn status(&self) -> Status {
        let (tx, rx) = channel();
        self.handle.status(Box::new(move |s| drop(tx.send(s))));
        rx.recv_timeout(PATIENCE).expect("a status")
    }

    fn end(&mut self) {
        self.handle.shut_down(Duration::ZERO);
        let clean = self.service.take().is_none_or(Service::join);
        assert!(clean || std::thread::panicking(), "the service's thread panicked");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

fn text(id: RequestId, text: &str) -> FromLane {
    let part = StepPart { id, prefill: 0, decode: 1, context: 1 };
    FromLane::Step(Step { us: u64::MAX, cpu_us: 0, cpu_end_us: 0, parts: vec![part], text: vec![(id, text.into())] })
}

#[test]
fn a_worker_that_speaks_for_anothers_request_is_ended_and_the_request_is_not() {
    for forged in [
        |id| FromLane::Done { id, result: Ok(Finish::Stop), usage: Usage::default() },
        |id| text(id, "forged"),
        |id| FromLane::Started { id, prompt_tokens: 1, cached_tokens: 0 },
    ] {
        let stage = Stage::new(|_| ());
        let (id, updates) = stage.ask("a");
        let a = stage.lane();
        a.ready();
        assert_eq!(a.started(), id);
        let _loading = stage.load("b");
        let b = stage.lane();
        b.ready();
        b.say(forged(id));
        assert!(matches!(b.killed(), Gone::Protocol(_)));
        a.say(text(id, "true"));
        a.done(id);
        assert_eq!(updates.recv_timeout(PATIENCE).unwrap(), Update::Text("true".into()));
        end(&updates).unwrap();
    }
}

#[test]
fn a_ready_worker_cannot_claim_that_its_load_failed() {
    let stage = Stage::new(|_| ());
    let (_, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    let id = lane.started();
    lane.say(text(id, "begun"));
    lane.say(FromLane::LoadFailed(Error::new(Code::ModelLoadFailed, "not true")));
    assert!(matches!(lane.killed(), Gone::Protocol(_)));
    lane.go(Gone::Protocol("forged".into()));
    assert_eq!(end(&updates).unwrap_err().code, Code::WorkerLost);
    // The model is not lost with it.
    let (id, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), id);
    lane.done(id);
    end(&updates).unwrap();
}

#[test]
fn hostile_figures_do_not_end_the_service() {
    let stage = Stage::new(|_| ());
    let (_, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    let id = lane.started();
    lane.say(text(id, "x"));
    lane.say(text(id, "y"));
    lane.done(id);
    end(&updates).unwrap();
    assert_eq!(stage.status().totals.steps, 2);
}

#[test]
fn a_cancelled_request_is_told_though_its_worker_does_not_let_go() {
    let stage = Stage::new(|_| ());
    let (id, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    lane.started();
    let (tx, cancelled) = channel();
    stage.handle.cancel(ROOT, id, Box::new(move |r| drop(tx.send(r))));
    cancelled.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(end(&updates).unwrap_err().code, Code::Cancelled);
    assert_eq!(lane.hear(), ToLane::Cancel(id));
    // What it still says of it is heard by nobody, and is no breach.
    lane.say(text(id, "late"));
    lane.done(id);
    let (next, updates) = stage.ask("a");
    assert_eq!(lane.started(), next);
    lane.done(next);
    end(&updates).unwrap();
    assert_eq!(stage.status().totals.cancelled, 1);
}

#[test]
fn ready_that_crosses_an_unload_is_no_fault() {
    let stage = Stage::new(|_| ());
    let loading = stage.load("a");
    let lane = stage.lane();
    let unloading = stage.unload("a");
    assert_eq!(lane.hear(), ToLane::Quit);
    lane.ready();
    lane.go(Gone::Clean);
    unloading.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(end(&loading).unwrap_err().code, Code::Cancelled);
    let status = stage.status();
    assert_eq!((status.totals.worker_faults, status.last_fault), (0, None));
}

#[test]
fn a_load_during_an_unload_waits_for_the_next_lane() {
    let stage = Stage::new(|_| ());
    let first = stage.load("a");
    let lane = stage.lane();
    lane.ready();
    end(&first).unwrap();
    let unloading = stage.unload("a");
    assert_eq!(lane.hear(), ToLane::Quit);
    let second = stage.load("a");
    lane.go(Gone::Clean);
    unloading.recv_timeout(PATIENCE).unwrap().unwrap();
    stage.lane().ready();
    end(&second).unwrap();
}

#[test]
fn an_unload_that_a_load_revokes_is_answered() {
    let stage = Stage::new(|_| ());
    let (_, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    let id = lane.started();
    let unloading = stage.unload("a");
    end(&stage.load("a")).unwrap();
    assert_eq!(unloading.recv_timeout(PATIENCE).unwrap().unwrap_err().code, Code::Cancelled);
    lane.done(id);
    end(&updates).unwrap();
}

#[test]
fn a_flood_is_held_up_and_everything_else_goes_on() {
    let stage = Stage::new(|_| ());
    let _loading = stage.load("a");
    let hostile = stage.lane();
    let flood = std::thread::spawn(move || {
        for n in 0..50_000 {
            hostile.say(FromLane::Log { level: 1, text: format!("{n}") });
        }
        hostile
    });
    let (id, updates) = stage.ask("b");
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), id);
    lane.done(id);
    end(&updates).unwrap();
    flood.join().unwrap();
}

#[test]
fn a_killed_worker_that_stays_in_the_kernel_is_gone_without() {
    let mut slot = lanes::LaneSlot::new(
        crate::sched::Site::cpu(crate::sched::VariantId(0)),
        "a:x".into(),
        crate::clock::Time::ZERO,
    );
    let ((tell, _heard), (kill, killed)) = (channel(), channel());
    slot.lane = Some(Box::new(Strings { tell, kill, clock: None }));
    slot.phase = lanes::Phase::Loading;
    let mut lanes = lanes::Lanes::default();
    lanes.by_id.insert(LaneId(1), slot);
    let (heartbeat, stall) = (Duration::from_secs(1), Duration::from_secs(60));
    let mut looks = Vec::new();
    while let Some(at) = lanes.next_watch(heartbeat, stall).filter(|_| looks.len() < 3) {
        let unreaped = lanes.watch(heartbeat, stall, at);
        looks.push(killed.try_iter().collect::<Vec<_>>());
        if !unreaped.is_empty() {
            break;
        }
    }
    assert_eq!(looks, [vec![Gone::Hung], vec![]]);
}

#[test]
fn a_late_watch_blames_nobody() {
    let mut slot = lanes::LaneSlot::new(
        crate::sched::Site::cpu(crate::sched::VariantId(0)),
        "a:x".into(),
        crate::clock::Time::ZERO,
    );
    let ((tell, _heard), (kill, killed)) = (channel(), channel());
    slot.lane = Some(Box::new(Strings { tell, kill, clock: None }));
    slot.phase = lanes::Phase::Loading;
    slot.greeted();
    let mut lanes = lanes::Lanes::default();
    lanes.by_id.insert(LaneId(1), slot);
    let (heartbeat, stall) = (Duration::from_secs(1), Duration::from_secs(60));
    let late = Duration::from_secs(100);
    let now = lanes.next_watch(heartbeat, stall).unwrap() + late;
    // Even where less than all of the delay was noticed.
    lanes.excuse(late - Duration::from_secs(1), now);
    lanes.watch(heartbeat, stall, now);
    assert!(killed.try_recv().is_err());
    let next = lanes.next_watch(heartbeat, stall).unwrap();
    assert!(next > now);
    lanes.watch(heartbeat, stall, next);
    assert_eq!(killed.try_recv(), Ok(Gone::Hung), "who stays silent is not excused twice");
}

/// A service whose state survives it, with this configuration.
fn with_budgets(state: &Path, toml: &str) -> Stage {
    let toml = Config::parse("f", toml.as_bytes()).unwrap().config;
    Stage::new(|config| {
        config.paths.state = state.to_owned();
        (config.power, config.client) = (toml.power, toml.client);
    })
}

fn budget(stage: &Stage, peer: Peer, uid: Option<u32>) -> Result<Budget, Error> {
    let (tx, rx) = channel();
    stage.handle.budget(peer, uid, Box::new(move |b| drop(tx.send(b))));
    rx.recv_timeout(PATIENCE).expect("a budget")
}

#[test]
fn a_service_that_ends_without_a_word_leaves_no_fuller_purses_behind() {
    let state = tempfile::tempdir().unwrap();
    // One request is predicted to take 0.05 J for each of 256 tokens at most, here all there is.
    let toml = "[power]\njoules_per_day = \"20J\"";
    let stage = with_budgets(state.path(), toml);
    assert_eq!(budget(&stage, ROOT, None).unwrap().purses[0].left, 20.0);
    let (id, _updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), id);
    let purse = budget(&stage, ROOT, None).unwrap().purses[0].clone();
    assert_eq!((purse.name.as_str(), purse.left, purse.reserved), ("device_day", 20.0, 10.0));
    // As it is on the disk now, a daemon that is killed here would find it.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(state.path().join("purses"), copy.path().join("purses")).unwrap();
    let left = budget(&with_budgets(copy.path(), toml), ROOT, None).unwrap().purses[0].left;
    assert!((9.9..10.1).contains(&left), "{left}");
    lane.done(id);
}

#[test]
fn a_clients_rule_bounds_class_models_and_requests_at_once() {
    let state = tempfile::tempdir().unwrap();
    let toml = "[[client]]\nname = \"r\"\nuid = 0\nclass = \"standard\"\nmodels = [\"a\"]\nrequests = 1\n\
                joules_per_hour = \"1kJ\"";
    let stage = with_budgets(state.path(), toml);
    let refused = |model: &str, class| {
        let (tx, rx) = channel();
        let mut request = plain(model);
        request.class = class;
        stage.handle.generate(ROOT, request, Box::new(Collector(tx)));
        end(&rx).unwrap_err()
    };
    let error = refused("a", Class::Interactive);
    assert_eq!((error.code, error.param.as_deref()), (Code::Forbidden, Some("wattlm.class")));
    let error = refused("b", Class::Standard);
    assert_eq!((error.code, error.param.as_deref()), (Code::Forbidden, Some("model")));
    let (first, _one) = stage.ask("a");
    let (second, _two) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), first);
    let standing = budget(&stage, ROOT, None).unwrap();
    assert_eq!((standing.client.as_str(), standing.rule.as_deref()), ("client:r", Some("r")));
    assert_eq!((standing.running, standing.requests, standing.class), (1, Some(1), Class::Standard));
    assert_eq!(stage.status().queued, 1);
    lane.done(first);
    assert_eq!(lane.started(), second);
    lane.done(second);
    let other = Peer { uid: 7, admin: false, ..ROOT };
    assert_eq!(budget(&stage, other, Some(0)).unwrap_err().code, Code::Forbidden);
    assert_eq!(budget(&stage, other, Some(7)).unwrap().client, "user:7");
    assert_eq!(budget(&stage, ROOT, Some(7)).unwrap().purses, []);
}

#[test]
fn a_background_request_that_has_its_budget_and_no_token_is_neither_refused_nor_answered() {
    let state = tempfile::tempdir().unwrap();
    let stage = with_budgets(state.path(), "[power]\njoules_per_day = \"20J\"");
    let (tx, updates) = channel();
    let mut request = plain("a");
    request.class = Class::Background;
    let id = stage.handle.generate(ROOT, request, Box::new(Collector(tx)));
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), id);
    lane.say(FromLane::Done { id, result: Ok(Finish::Budget), usage: Usage::default() });
    // Nothing was charged, so that it may go on at once.
    assert_eq!(lane.started(), id);
    lane.say(text(id, "x"));
    lane.say(FromLane::Done { id, result: Ok(Finish::Budget), usage: Usage::default() });
    assert_eq!(end(&updates).unwrap().finish, Finish::Budget);
}

#[test]
fn the_account_is_kept_and_each_sees_their_own() {
    let mut stage = Stage::new(|_| {});
    let (_, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    let id = lane.started();
    let usage = Usage {
        prompt_tokens: 9,
        cached_tokens: 4,
        completion_tokens: 3,
        prefill_us: 1,
        decode_us: 1,
        ..Usage::default()
    };
    lane.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
    end(&updates).unwrap();
    let ask = |peer: Peer, whose: Whose| {
        let (tx, rx) = channel();
        let query = AccountQuery { whose, ..AccountQuery::default() };
        stage.handle.account(peer, query, Box::new(move |r| drop(tx.send(r))));
        rx.recv_timeout(PATIENCE).expect("an answer")
    };
    let somebody = Peer { uid: 7, gid: 7, pid: 0, admin: false };
    let root = ask(ROOT, Whose::All).unwrap();
    assert_eq!((root.total.requests, root.total.prompt_tokens, root.total.cached_tokens), (1, 9, 4));
    assert!(root.device.is_some());
    assert_eq!(ask(ROOT, Whose::Own).unwrap().lines, root.lines);
    let own = ask(somebody, Whose::Own).unwrap();
    assert_eq!((own.lines.len(), own.device), (0, None));
    assert_eq!(ask(somebody, Whose::Uid(7)).unwrap().lines, own.lines);
    for whose in [Whose::Uid(0), Whose::All] {
        assert_eq!(ask(somebody, whose).unwrap_err().code, Code::Forbidden);
    }

    // It is on the disk when the service has ended.
    let dir = stage._dir.path().join("state/account");
    stage.end();
    let read = crate::energy::account::read(&dir, &crate::energy::account::Query::default()).unwrap();
    assert_eq!(read.lines, root.lines);
}

#[test]
fn variants_that_are_as_good_and_lesser_models_may_answer_where_they_are_declared() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["m-q4_0", "m-q8_0", "m-q2_k", "s-q4_0"] {
        gguf(&dir.path().join(format!("{name}.gguf")));
    }
    let toml = "[[model]]\nname = \"m\"\ndefault_variant = \"q8_0\"\nvariants = [\"q4_0\", \"q8_0\", \"q5_k\"]\n\
                degrade_to = [\"m:q2_k\", \"s\", \"nothing\"]";
    let mut config = Config::parse("f", toml.as_bytes()).unwrap().config;
    config.models.dirs = vec![dir.path().to_owned()];
    config.paths.state = dir.path().join("state");
    let catalog = catalog::Catalog::new(config);
    let names = |model: &str, degrade| {
        let resolved = catalog.resolve(model).unwrap();
        let all = catalog.candidates(&resolved, model.contains(':'), degrade);
        all.iter().map(|c| (catalog.name(c.variant), c.lesser)).collect::<Vec<_>>()
    };
    let equal = |name: &str| (name.to_owned(), false);
    let lesser = |name: &str| (name.to_owned(), true);
    assert_eq!(names("m", false), [equal("m:q8_0"), equal("m:q4_0")], "what was asked for stands first");
    assert_eq!(names("m", true), [equal("m:q8_0"), equal("m:q4_0"), lesser("m:q2_k"), lesser("s:q4_0")]);
    assert_eq!(names("m:q4_0", false), [equal("m:q4_0")], "who names a variant wants that one");
    assert_eq!(names("m:q4_0", true), [equal("m:q4_0"), lesser("m:q2_k"), lesser("s:q4_0")]);
    assert_eq!(names("s", true), [equal("s:q4_0")]);
}

#[test]
fn an_estimate_says_what_memory_its_lane_would_take_that_is_not_loaded() {
    let stage = Stage::new(|_| ());
    let memory = |model: &str| {
        let (tx, rx) = channel();
        stage.handle.estimate(ROOT, plain(model), Box::new(move |r| drop(tx.send(r))));
        let report = rx.recv_timeout(PATIENCE).expect("an answer").unwrap();
        assert_eq!(report.memory, report.plan.memory);
        report.memory
    };
    assert!(memory("a") > 1 << 20, "a worker alone takes more");
    let (_, updates) = stage.ask("a");
    let lane = stage.lane();
    lane.ready();
    lane.done(lane.started());
    end(&updates).unwrap();
    assert_eq!(memory("a"), 0);
    assert!(memory("b") > 1 << 20);
}

#[test]
fn what_a_lane_computes_for_one_request_is_thought_to_be_there_for_the_next() {
    let stage = Stage::new(|_| ());
    let long = || Generate { prompt: Prompt::Text("a word ".repeat(200)), ..plain("a") };
    let (tx, updates) = channel();
    let id = stage.handle.generate(ROOT, long(), Box::new(Collector(tx)));
    let lane = stage.lane();
    lane.ready();
    assert_eq!(lane.started(), id);
    let cached = |peer| {
        let (tx, rx) = channel();
        stage.handle.estimate(peer, long(), Box::new(move |r| drop(tx.send(r))));
        let report = rx.recv_timeout(PATIENCE).expect("an answer").unwrap();
        report.tokens.cached > 100
    };
    assert!(!cached(ROOT));
    lane.say(FromLane::Started { id, prompt_tokens: 400, cached_tokens: 0 });
    assert!(matches!(updates.recv_timeout(PATIENCE).unwrap(), Update::Started { .. }));
    assert!(cached(ROOT));
    assert!(!cached(Peer { uid: 7, gid: 7, pid: 0, admin: false }), "somebody else's");
    lane.done(id);
}

#[test]
fn the_last_requests_are_told_to_those_whose_they_are() {
    let stage = Stage::new(|_| ());
    let explain = |peer: Peer, id: RequestId| {
        let (tx, rx) = channel();
        stage.handle.explain(peer, id, Box::new(move |r| drop(tx.send(r))));
        rx.recv_timeout(PATIENCE).expect("an answer")
    };
    let (id, updates) = stage.ask("a");
    let lane = stage.lane();
    assert_eq!(explain(ROOT, id).unwrap().state, RequestState::Waiting);
    lane.ready();
    assert_eq!(lane.started(), id);
    assert_eq!(explain(ROOT, id).unwrap().state, RequestState::Running);
    let usage = Usage { prompt_tokens: 9, completion_tokens: 3, ..Usage::default() };
    lane.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
    let outcome = end(&updates).unwrap();
    let report = explain(ROOT, id).unwrap();
    assert_eq!((report.state, report.outcome), (RequestState::Completed, Some(*outcome)));
    let other = Peer { uid: 7, admin: false, ..ROOT };
    assert_eq!(explain(other, id).unwrap_err().code, Code::NotFound);
    assert_eq!(explain(ROOT, RequestId(1)).unwrap_err().code, Code::NotFound);
    // One whose worker dies.
    let (id, updates) = stage.ask("a");
    assert_eq!(lane.started(), id);
    lane.say(text(id, "x"));
    lane.go(Gone::Signal(9));
    end(&updates).unwrap_err();
    let report = explain(ROOT, id).unwrap();
    assert_eq!((report.state, report.error.as_deref()), (RequestState::Failed, Some("worker_lost")));
}

#[test]
fn a_request_that_measures_tells_its_lane_how_many_threads_to_use() {
    let stage = Stage::new(|config| config.cpu.threads = 4);
    let (tx, updates) = channel();
    let request = Generate { threads: Some(3), ..plain("a") };
    let id = stage.handle.generate(ROOT, request.clone(), Box::new(Collector(tx)));
    let lane = stage.lane();
    lane.ready();
    let mut threads = None;
    loop {
        match lane.hear() {
            ToLane::Pace(pace) => threads = Some(pace.threads),
            ToLane::Start(job) => assert_eq!(job.id, id),
            other => panic!("not expected: {other:?}"),
        }
        if threads.is_some() {
            break;
        }
    }
    assert_eq!(threads, Some(3));
    lane.done(id);
    end(&updates).unwrap();
    let (tx, refused) = channel();
    let somebody = Peer { uid: 7, admin: false, ..ROOT };
    stage.handle.generate(somebody, request, Box::new(Collector(tx)));
    assert_eq!(end(&refused).unwrap_err().param.as_deref(), Some("wattlm.threads"));
}

#[test]
fn others_give_way_for_a_gpus_lane_only_where_that_helps() {
    use super::catalog::{Held, Prepared};
    use crate::lane::GpuId;
    use crate::units::Bytes;

    let dir = tempfile::tempdir().unwrap();
    let config = Config { models: models(dir.path()).models, ..Config::default() };
    let admit = |reserve: u64, memory: u64, held: Held| {
        let mut config = config.clone();
        config.models.memory_reserve = Bytes(reserve);
        config.paths.state = dir.path().join("state");
        let catalog = catalog::Catalog::new(config);
        let id = GpuId { name: "gpu0".into(), module: "vulkan".into(), ggml: "Vulkan0".into() };
        let description = "a GPU".into();
        let gpu = GpuInfo { id, description, bus: None, unified: false, memory_total: memory, memory_free: memory };
        let variant = catalog.resolve("a").unwrap().variant;
        match catalog.admit(variant, Some(&gpu), &Default::default(), held) {
            Prepared::Ready(..) => "ready",
            Prepared::Blocked(_) => "blocked",
            Prepared::Failed(_) => "failed",
        }
    };
    let (all, none) = (1 << 40, Held::default());
    let little = Held { taken: 1, freeable: 1 };
    let much = Held { taken: 0, freeable: all };
    assert_eq!(admit(0, all, none), "ready");
    assert_eq!(admit(0, 1, much), "failed", "it never fits the GPU");
    assert_eq!(admit(u64::MAX, all, little), "failed", "nor is there enough memory without the others");
    assert_eq!(admit(u64::MAX, all, much), "blocked");
    assert_eq!(admit(u64::MAX, all, none), "failed");
}
