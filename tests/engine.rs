//! The engine, driven as its owner drives it: messages in, messages out, with a real model.
//!
//! The model is `models/demo/wattlm-demo-f16.gguf`, or what `WATTLM_TEST_MODEL` names. llama.cpp is one per process,
//! so the engines of these tests run one after another.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wattlm::engine::{run, Hooks};
use wattlm::error::{Code, Error};
use wattlm::lane::{
    Finish, FromLane, Job, KvType, LaneConfig, LaneInfo, Message, Prompt, RequestId, Sampling, Step, Tenant, ToLane,
    Usage,
};

/// Longer than any step of a test; shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(120);

fn model() -> PathBuf {
    let path = std::env::var_os("WATTLM_TEST_MODEL").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/demo/wattlm-demo-f16.gguf"),
        PathBuf::from,
    );
    assert!(path.exists(), "no test model at {}: set WATTLM_TEST_MODEL to a small GGUF file", path.display());
    path
}

fn config() -> LaneConfig {
    let exe = std::env::current_exe().unwrap();
    LaneConfig {
        model: model(),
        backends_dir: exe.ancestors().nth(2).unwrap().join("wattlm-modules"),
        // Its AMX kernels die of SIGILL under some hypervisors.
        excluded_cpu_variants: vec!["sapphirerapids".into()],
        n_ctx: 1024,
        slots: 4,
        prefill_chunk: 256,
        prefill_chunk_shared: 16,
        threads: 2,
        cpus: Vec::new(),
        kv_type: KvType::F16,
        mlock: false,
        heartbeat_ms: 1000,
        sandbox: false,
    }
}

/// A running engine.
struct Engine {
    to: Sender<ToLane>,
    from: Receiver<FromLane>,
    thread: Option<JoinHandle<()>>,
    info: LaneInfo,
    next_id: u64,
    busy: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

fn start_raw(
    config: LaneConfig,
) -> (Sender<ToLane>, Receiver<FromLane>, JoinHandle<()>, Arc<AtomicBool>, Arc<AtomicU64>) {
    let (to, inbox) = channel();
    let (out, from) = channel();
    let out = Mutex::new(out);
    let (busy, progress): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
    let hooks = Hooks { on_mapped: Box::new(|| "none".into()), progress: progress.clone(), busy: busy.clone() };
    let thread = std::thread::spawn(move || {
        let out = move |msg| drop(out.lock().unwrap().send(msg));
        run(config, inbox, Arc::new(out), hooks);
    });
    (to, from, thread, busy, progress)
}

fn lock() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine(config: LaneConfig) -> Engine {
    let guard = lock();
    let (to, from, thread, busy, progress) = start_raw(config);
    let info = loop {
        match from.recv_timeout(PATIENCE).expect("the engine comes up") {
            FromLane::Ready(info) => break *info,
            FromLane::LoadFailed(e) => panic!("{e}"),
            _ => {}
        }
    };
    Engine { to, from, thread: Some(thread), info, next_id: 1, busy, progress, _one_at_a_time: guard }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.to.send(ToLane::Quit);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the engine panicked");
        }
    }
}

/// What became of one request.
#[derive(Debug, Default, Clone)]
struct Answer {
    text: String,
    pieces: Vec<String>,
    started: Option<(u32, u32)>,
    prefill_steps: Vec<u32>,
    decoded: u32,
    result: Option<Result<Finish, Error>>,
    usage: Usage,
}

impl Answer {
    fn finish(&self) -> Finish {
        self.result.clone().unwrap().unwrap()
    }

    fn error(&self) -> Error {
        self.result.clone().unwrap().unwrap_err()
    }
}

fn job(prompt: &str) -> Job {
    Job {
        id: RequestId(0),
        tenant: Tenant(1000),
        prompt: Prompt::Text(prompt.into()),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        stop: Vec::new(),
        max_tokens: Some(24),
    }
}

impl Engine {
    fn start(&mut self, mut job: Job) -> RequestId {
        job.id = RequestId(self.next_id);
        self.next_id += 1;
        let id = job.id;
        self.to.send(ToLane::Start(Box::new(job))).unwrap();
        id
    }

    fn recv(&self) -> FromLane {
        self.from.recv_timeout(PATIENCE).expect("the engine answers")
    }

    /// Collects until all of `ids` are done; `each` sees every step.
    fn collect(&self, ids: &[RequestId], mut each: impl FnMut(&Step)) -> Vec<Answer> {
        let mut answers: HashMap<RequestId, Answer> = HashMap::new();
        while ids.iter().any(|id| answers.get(id).is_none_or(|a| a.result.is_none())) {
            match self.recv() {
                FromLane::Started { id, prompt_tokens, cached_tokens } => {
                    let a = answers.entry(id).or_default();
                    assert!(a.started.replace((prompt_tokens, cached_tokens)).is_none(), "started twice");
                }
                FromLane::Step(step) => {
                    each(&step);
                    for part in &step.parts {
                        let a = answers.entry(part.id).or_default();
                        assert!(a.started.is_some() && a.result.is_none(), "a step outside its request's life");
                        if part.prefill > 0 {
                            a.prefill_steps.push(part.prefill);
                        }
                        a.decoded += part.decode;
                    }
                    for (id, text) in step.text {
                        let a = answers.entry(id).or_default();
                        assert!(a.result.is_none(), "text after the end");
                        a.text += &text;
                        a.pieces.push(text);
                    }
                }
                FromLane::Done { id, result, usage } => {
                    let a = answers.entry(id).or_default();
                    assert!(a.result.replace(result).is_none(), "done twice");
                    a.usage = usage;
                }
                FromLane::Log { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        ids.iter().map(|id| answers[id].clone()).collect()
    }

    fn ask(&mut self, job: Job) -> Answer {
        let id = self.start(job);
        self.collect(&[id], |_| {}).remove(0)
    }
}

#[test]
fn one_request_end_to_end() {
    let mut engine = engine(config());
    assert_eq!(engine.info.threads, 2);
    assert_eq!(engine.info.n_ctx, 1024);
    assert_eq!(engine.info.sandbox, "none");
    assert!(engine.info.kernels.starts_with(&engine.info.cpu_variant), "{}", engine.info.kernels);
    assert!(engine.info.weight_bytes > 0 && engine.info.n_vocab > 0);
    let before = engine.progress.load(Ordering::Relaxed);
    let answer = engine.ask(job("The lamp in the kitchen is"));
    println!("{:?}\n{answer:?}", engine.info);
    assert!(engine.progress.load(Ordering::Relaxed) > before);
    assert!(matches!(answer.finish(), Finish::Length | Finish::Stop));
    let usage = answer.usage;
    assert_eq!(answer.started, Some((usage.prompt_tokens, 0)));
    assert_eq!(answer.prefill_steps.iter().sum::<u32>(), usage.prompt_tokens);
    if answer.finish() == Finish::Length {
        assert_eq!(usage.completion_tokens, 24);
        // The first token comes from the prompt's last step.
        assert_eq!(answer.decoded, 23);
    }
    assert!(usage.prefill_us > 0 && usage.decode_us > 0);
}
