//! The engine, driven as its owner drives it: messages in, messages out, with a real model.
//!
//! The model is `models/demo/wattlm-demo-f16.gguf`, or what `WATTLM_TEST_MODEL` names. llama.cpp is one per process,
//! so the engines of these tests run one after another.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wattlm::engine::{run, Hooks};
use wattlm::error::{Code, Error};
use wattlm::lane::{
    Device, Finish, FromLane, Job, KvType, LaneConfig, LaneInfo, Message, Pace, Prompt, RequestId, Sampling, Step,
    Tenant, ToLane, Usage,
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
        device: Device::Cpu,
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
    progress: Arc<AtomicU64>,
    _one_at_a_time: MutexGuard<'static, ()>,
}

#[allow(clippy::type_complexity)]
fn start_raw(config: LaneConfig) -> (Sender<ToLane>, Receiver<FromLane>, JoinHandle<()>, Arc<AtomicU64>) {
    let (to, inbox) = channel();
    let (out, from) = channel();
    let out = Mutex::new(out);
    let progress: Arc<AtomicU64> = Default::default();
    let hooks =
        Hooks { on_backends: Box::new(|| ()), on_mapped: Box::new(|| "none".into()), progress: progress.clone() };
    let thread = std::thread::spawn(move || {
        let out = move |msg| drop(out.lock().unwrap().send(msg));
        run(config, inbox, Arc::new(out), hooks);
    });
    (to, from, thread, progress)
}

fn lock() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine(config: LaneConfig) -> Engine {
    let guard = lock();
    let (to, from, thread, progress) = start_raw(config);
    let info = loop {
        match from.recv_timeout(PATIENCE).expect("the engine comes up") {
            FromLane::Ready(info) => break *info,
            FromLane::LoadFailed(e) => panic!("{e}"),
            _ => {}
        }
    };
    Engine { to, from, thread: Some(thread), info, next_id: 1, progress, _one_at_a_time: guard }
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
        strict: true,
        allowance_us: None,
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
                        let refused = part.prefill + part.decode == 0;
                        assert!(
                            (a.started.is_some() || refused) && a.result.is_none(),
                            "a step outside its request's life"
                        );
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

/// Words that any tokenizer cuts into some tokens each, and that no two prompts share from the start.
fn long_prompt(engine: &mut Engine, subject: &str, tokens: u32) -> String {
    // Measured, because a byte-level vocabulary needs five times as many tokens as a word-level one.
    let probe = engine.ask(Job { max_tokens: Some(1), ..job(&format!("{subject} is here. ").repeat(4)) });
    let each = probe.usage.prompt_tokens as f32 / 4.0;
    format!("{subject} is here. ").repeat((tokens as f32 / each) as usize)
}

#[test]
fn greedy_is_deterministic_and_batching_does_not_change_it() {
    let mut engine = engine(config());
    let prompts = ["The lamp in the kitchen is", "Turn the heating", "What is the", "Two and two"];
    let alone: Vec<String> = prompts.iter().map(|p| engine.ask(job(p)).text).collect();
    let again: Vec<String> = prompts
        .iter()
        .zip(1..)
        .map(|(p, i)| {
            let answer = engine.ask(Job { tenant: Tenant(i), ..job(p) });
            assert_eq!(answer.usage.cached_tokens, 0);
            answer.text
        })
        .collect();
    assert_eq!(alone, again);
    let ids: Vec<RequestId> =
        prompts.iter().zip(11..).map(|(p, i)| engine.start(Job { tenant: Tenant(i), ..job(p) })).collect();
    let mut widest = 0;
    let together = engine.collect(&ids, |step| widest = widest.max(step.parts.len()));
    assert_eq!(alone, together.into_iter().map(|a| a.text).collect::<Vec<_>>());
    assert!(widest > 1, "the requests never shared a step");
}

#[test]
fn a_long_prompt_is_cut_up_and_stalls_nobody() {
    let mut engine = engine(config());
    let prompt = long_prompt(&mut engine, "Prudence", 400);
    let alone = engine.ask(Job { tenant: Tenant(1), ..job(&prompt) });
    assert!(alone.prefill_steps.len() <= 2, "{:?}", alone.prefill_steps);

    let stream = engine.start(Job { tenant: Tenant(2), max_tokens: Some(300), ..job("Once") });
    // Wait until it generates.
    while !matches!(engine.recv(), FromLane::Step(step) if step.parts.iter().any(|p| p.id == stream && p.decode == 1)) {
    }
    let late = engine.start(Job { tenant: Tenant(3), ..job(&prompt) });
    let (mut shared, mut stalled) = (0, 0);
    let mut answers = Vec::new();
    let mut started = HashMap::new();
    // By hand: the stream's beginning was not collected.
    while answers.is_empty() {
        match engine.recv() {
            FromLane::Started { id, .. } => drop(started.insert(id, ())),
            FromLane::Step(step) => {
                let prefill: u32 = step.parts.iter().filter(|p| p.id == late).map(|p| p.prefill).sum();
                let decode: u32 = step.parts.iter().filter(|p| p.id == stream).map(|p| p.decode).sum();
                if prefill > 0 {
                    assert!(prefill <= 16, "{prefill} tokens while another generates");
                    shared += 1;
                    stalled += u32::from(decode == 0);
                }
            }
            FromLane::Done { id, result, .. } if id == late => answers.push(result),
            FromLane::Done { id, result, .. } => assert!(result.is_ok(), "{id:?} {result:?}"),
            _ => {}
        }
    }
    assert!(started.contains_key(&late));
    // The stream may end by itself before the prompt is done; until then it got a token in every step.
    assert!(shared >= 2 && stalled <= 1, "{stalled} of {shared} steps without a token for the stream");
}

#[test]
fn chunks_do_not_change_the_answer() {
    let mut texts = Vec::new();
    for prefill_chunk in [256, 7] {
        let mut engine = engine(LaneConfig { prefill_chunk, prefill_chunk_shared: 5, ..config() });
        let prompt = long_prompt(&mut engine, "Temperance", 150);
        let answer = engine.ask(Job { tenant: Tenant(9), ..job(&prompt) });
        assert!(answer.prefill_steps.iter().all(|&n| n <= prefill_chunk));
        texts.push(answer.text);
    }
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn a_prefix_is_reused_by_its_tenant_alone() {
    let mut engine = engine(config());
    let prompt = long_prompt(&mut engine, "Justice", 100);
    let first = engine.ask(Job { tenant: Tenant(7), ..job(&prompt) });
    assert_eq!(first.usage.cached_tokens, 0);
    let longer = format!("{prompt} And then");
    let second = engine.ask(Job { tenant: Tenant(7), ..job(&longer) });
    assert!(second.usage.cached_tokens > first.usage.prompt_tokens / 2, "{:?}", second.usage);
    assert_eq!(second.usage.cached_tokens + second.prefill_steps.iter().sum::<u32>(), second.usage.prompt_tokens);
    let other = engine.ask(Job { tenant: Tenant(8), ..job(&longer) });
    assert_eq!(other.usage.cached_tokens, 0);
    assert_eq!(other.text, second.text);
    // The same prompt once more: all but its last token is there.
    let same = engine.ask(Job { tenant: Tenant(8), ..job(&longer) });
    assert_eq!(same.usage.cached_tokens, same.usage.prompt_tokens - 1);
    assert_eq!(same.text, other.text);
}

/// Prompts with one long beginning, so that each goes on in its own way.
fn behind(beginning: &str) -> Vec<String> {
    ["Turn the lamp", "What is the", "Two and two"].iter().map(|end| format!("{beginning}{end}")).collect()
}

#[test]
fn requests_behind_one_beginning_compute_it_once() {
    let mut engine = engine(LaneConfig { prefill_chunk: 32, ..config() });
    let prompts = behind(&long_prompt(&mut engine, "Prudence", 150));
    let ask = |tenant, prompt: &String| Job { tenant: Tenant(tenant), ..job(prompt) };
    let alone: Vec<String> = (1..).zip(&prompts).map(|(tenant, p)| engine.ask(ask(tenant, p)).text).collect();

    let ids: Vec<_> = prompts.iter().map(|p| engine.start(ask(7, p))).collect();
    let other = engine.start(ask(8, &prompts[0]));
    let ids = [ids, vec![other]].concat();
    let mut answers = engine.collect(&ids, |_| {});
    let other = answers.pop().unwrap();
    assert_eq!(other.usage.cached_tokens, 0, "somebody else's");
    assert_eq!(answers[0].usage.cached_tokens, 0);
    for (answer, alone) in answers.iter().zip(&alone) {
        assert_eq!(&answer.text, alone);
        let usage = answer.usage;
        assert_eq!(answer.started, Some((usage.prompt_tokens, usage.cached_tokens)));
        assert_eq!(usage.cached_tokens + answer.prefill_steps.iter().sum::<u32>(), usage.prompt_tokens);
    }
    for answer in &answers[1..] {
        assert!(answer.usage.cached_tokens > 100, "{:?}", answer.usage);
    }
    // And after them, for each.
    for (prompt, alone) in prompts.iter().zip(&alone) {
        let again = engine.ask(ask(7, prompt));
        assert!(again.usage.cached_tokens > 100 && &again.text == alone, "{again:?}");
    }

    // One that comes while another one answers.
    let first = engine.start(Job { max_tokens: Some(100), ..ask(9, &prompts[0]) });
    let (to, mut second) = (engine.to.clone(), Some(Job { id: RequestId(4711), ..ask(9, &prompts[1]) }));
    let answers = engine.collect(&[first, RequestId(4711)], |step| {
        if let Some(second) = second.take_if(|_| step.parts.iter().any(|part| part.decode > 0)) {
            to.send(ToLane::Start(Box::new(second))).unwrap();
        }
    });
    assert!(answers[1].usage.cached_tokens > 100 && answers[1].text == alone[1], "{:?}", answers[1]);
}

#[test]
fn who_follows_a_request_that_is_cancelled_goes_on_from_what_it_computed() {
    let mut engine = engine(LaneConfig { prefill_chunk: 16, ..config() });
    let prompts = behind(&long_prompt(&mut engine, "Temperance", 300));
    let ask = |tenant, prompt: &String| Job { tenant: Tenant(tenant), ..job(prompt) };
    let alone = engine.ask(ask(1, &prompts[2])).text;

    let ids: Vec<_> = prompts.iter().map(|p| engine.start(ask(7, p))).collect();
    // Hundreds of tokens before its end, the first one; and one that has never begun.
    let (to, mut steps) = (engine.to.clone(), 0);
    let answers = engine.collect(&ids, |step| {
        steps += 1;
        if steps == 4 {
            assert_eq!(step.parts.len(), 1, "the others wait");
            to.send(ToLane::Cancel(ids[1])).unwrap();
            to.send(ToLane::Cancel(ids[0])).unwrap();
        }
    });
    assert_eq!((answers[0].finish(), answers[1].finish()), (Finish::Cancelled, Finish::Cancelled));
    assert_eq!((answers[1].started, answers[1].prefill_steps.len()), (None, 0));
    let last = &answers[2];
    assert_eq!(last.text, alone);
    let computed: u32 = answers[0].prefill_steps.iter().sum();
    assert!((48..250).contains(&computed), "{computed}");
    // The step that was broken off is told, for it took time, and brought nothing.
    let cached = last.usage.cached_tokens;
    assert!(cached == computed || cached + 16 == computed, "{cached} of {computed}");
    assert_eq!(last.prefill_steps.iter().sum::<u32>(), last.usage.prompt_tokens - cached);
}

#[test]
fn cancelled_in_the_prompt_in_the_answer_and_in_the_line() {
    let mut engine = engine(LaneConfig { prefill_chunk: 1, prefill_chunk_shared: 1, slots: 1, ..config() });
    let prompt = long_prompt(&mut engine, "Fortitude", 300);
    let endless = |prompt: &str| Job { max_tokens: None, tenant: Tenant(2), ..job(prompt) };

    // In the prompt: hundreds of steps away from its first token.
    let id = engine.start(endless(&prompt));
    let waits = engine.start(endless("Once"));
    while !matches!(engine.recv(), FromLane::Step(_)) {}
    engine.to.send(ToLane::Cancel(waits)).unwrap();
    engine.to.send(ToLane::Cancel(id)).unwrap();
    let (mut prompt_steps, mut done) = (0, Vec::new());
    while done.len() < 2 {
        match engine.recv() {
            FromLane::Step(step) => prompt_steps += step.parts.len(),
            FromLane::Done { id, result, usage } => {
                assert_eq!(result, Ok(Finish::Cancelled));
                assert_eq!(usage.completion_tokens, 0);
                done.push(id);
            }
            FromLane::Started { id, .. } => assert_ne!(id, waits),
            _ => {}
        }
    }
    assert_eq!(done, [waits, id]);
    assert!(prompt_steps < 250, "{prompt_steps} steps after the cancel");

    // In the answer.
    let id = engine.start(Job { sampling: Sampling { seed: Some(1), ..Sampling::default() }, ..endless("Once upon") });
    let mut cancelled = false;
    let answer = {
        let to = engine.to.clone();
        engine.collect(&[id], |step| {
            if !cancelled && step.parts.iter().any(|p| p.decode == 1) {
                cancelled = true;
                to.send(ToLane::Cancel(id)).unwrap();
            }
        })
    };
    // The model may have ended on its own in its first tokens.
    assert!(matches!(answer[0].finish(), Finish::Cancelled | Finish::Stop), "{:?}", answer[0].result);
    assert!(answer[0].decoded < 700);

    // What is not known is ignored, and the lane goes on.
    engine.to.send(ToLane::Cancel(RequestId(4711))).unwrap();
    let after = engine.ask(job("Once"));
    assert!(after.result.unwrap().is_ok());
}

#[test]
fn what_can_never_fit_is_refused_with_both_numbers() {
    let mut engine = engine(LaneConfig { n_ctx: 128, ..config() });
    let long = "word ".repeat(400);
    let e = engine.ask(Job { max_tokens: None, ..job(&long) }).error();
    assert_eq!(e.code, Code::ContextLengthExceeded);
    assert!(e.message.contains("128") && e.message.contains("shorten"), "{e}");
    let e = engine.ask(Job { max_tokens: Some(128), ..job("Hi") }).error();
    assert_eq!(e.code, Code::ContextLengthExceeded);
    assert!(e.message.contains("max_tokens 128") && e.message.contains("of 128"), "{e}");
    let e = engine.ask(Job { max_tokens: Some(u32::MAX), ..job("Hi") }).error();
    assert_eq!(e.code, Code::ContextLengthExceeded);
    let nothing = engine.ask(Job { max_tokens: Some(0), ..job("Hi") });
    assert_eq!((nothing.finish(), nothing.usage.completion_tokens, nothing.text.as_str()), (Finish::Length, 0, ""));
}

/// One word of megabytes: neither the tokenizer's stack nor its time may be the end of others.
#[test]
fn a_text_that_cannot_fit_is_refused_before_it_is_read_to_its_end() {
    let mut engine = engine(config());
    for letter in ["x", " ", "7", "\n", "!", "漢", "ab c "] {
        let e = engine.ask(Job { max_tokens: Some(1), ..job(&letter.repeat(4_000_000 / letter.len())) }).error();
        assert_eq!(e.code, Code::ContextLengthExceeded, "{letter:?}: {e}");
        assert!(e.message.contains("more than"), "{letter:?}: {e}");
    }
    assert!(engine.ask(job("Once")).result.unwrap().is_ok());
}

#[test]
fn answers_without_a_limit_end_with_the_context_and_those_with_one_never_run_out() {
    let mut engine = engine(LaneConfig { n_ctx: 256, slots: 3, ..config() });
    // No end-of-generation token: as long as the context lets them.
    let never_ends = |max_tokens| {
        let sampling = Sampling { logit_bias: end_tokens(), temperature: 1.5, seed: Some(3), ..Sampling::default() };
        Job { max_tokens, sampling, ..job("Once") }
    };
    let ids = [
        engine.start(Job { tenant: Tenant(1), ..never_ends(None) }),
        engine.start(Job { tenant: Tenant(2), ..never_ends(Some(100)) }),
        engine.start(Job { tenant: Tenant(3), ..never_ends(None) }),
    ];
    let answers = engine.collect(&ids, |step| {
        assert!(step.parts.iter().map(|p| p.context).sum::<u32>() <= 256, "{step:?}");
    });
    for answer in &answers {
        if answer.finish() != Finish::Stop {
            assert_eq!(answer.finish(), Finish::Length);
        }
    }
    assert!(answers[1].usage.completion_tokens == 100 || answers[1].finish() == Finish::Stop);
}

/// Forbids the usual end-of-generation tokens of small vocabularies; what is left of them only shortens a test.
fn end_tokens() -> Vec<(i32, f32)> {
    (0..3).map(|t| (t, -100.0)).collect()
}

#[test]
fn a_stop_string_ends_the_answer_and_is_not_in_it() {
    let mut engine = engine(config());
    let sampling = Sampling { seed: Some(5), ..Sampling::default() };
    let ask = |stop: &[&str]| Job {
        stop: stop.iter().map(|s| s.to_string()).collect(),
        max_tokens: Some(60),
        sampling: sampling.clone(),
        tenant: Tenant(3),
        ..job("The weather today")
    };
    let whole = engine.ask(ask(&[])).text;
    let chars: Vec<char> = whole.chars().collect();
    assert!(chars.len() >= 8, "too short an answer to cut: {whole:?}");
    let stop: String = chars[3..6].iter().collect();
    let cut = engine.ask(ask(&["never said", &stop]));
    assert_eq!(cut.finish(), Finish::Stop);
    assert_eq!(cut.text, whole.split(&stop).next().unwrap());
    assert_eq!(cut.pieces.concat(), cut.text);
}

#[test]
fn a_seed_gives_the_same_text_again() {
    let mut engine = engine(config());
    let ask = |seed, tenant| Job {
        sampling: Sampling { seed, temperature: 1.5, ..Sampling::default() },
        tenant: Tenant(tenant),
        ..job("Once upon a time")
    };
    let one = engine.ask(ask(Some(1), 1)).text;
    assert_eq!(engine.ask(ask(Some(1), 2)).text, one);
    let others: Vec<String> = (2..6).map(|seed| engine.ask(ask(Some(seed), 1)).text).collect();
    assert!(others.iter().any(|o| *o != one));
    // Without a seed each draws its own.
    let drawn: Vec<String> = (0..4).map(|_| engine.ask(ask(None, 1)).text).collect();
    assert!(drawn.iter().any(|d| *d != drawn[0]));
}

#[test]
fn requests_wait_for_cells_in_their_order() {
    let mut engine = engine(LaneConfig { n_ctx: 256, slots: 3, ..config() });
    let ids: Vec<RequestId> =
        (0..3).map(|i| engine.start(Job { max_tokens: Some(150), tenant: Tenant(i), ..job("Once") })).collect();
    let mut most = 0;
    let answers = engine.collect(&ids, |step| most = most.max(step.parts.len()));
    assert_eq!(most, 1, "two requests of 150 tokens do not fit 256 cells");
    assert!(answers.iter().all(|a| a.result.as_ref().unwrap().is_ok()));
}

#[test]
fn threads_change_while_it_runs() {
    let mut engine = engine(config());
    let id = engine.start(Job { max_tokens: Some(30), ..job("Once") });
    let to = engine.to.clone();
    let mut n = 0;
    let answers = engine.collect(&[id], |_| {
        n += 1;
        to.send(ToLane::Pace(Pace { threads: 1 + n % 3, prompt_threads: 1 + n % 2, duty: 1000, chunk: 512 })).unwrap();
    });
    assert!(matches!(answers[0].finish(), Finish::Length | Finish::Stop));
}

/// An answer that ends with its `max_tokens` and nowhere else.
fn endless(prompt: &str, max_tokens: u32) -> Job {
    let sampling = Sampling { ignore_eos: true, temperature: 0.0, ..Sampling::default() };
    Job { sampling, max_tokens: Some(max_tokens), ..job(prompt) }
}

fn pace(duty: u32) -> ToLane {
    ToLane::Pace(Pace { threads: 1, prompt_threads: 1, duty, chunk: u32::MAX })
}

/// CPU time of this process, which the engine is a part of.
fn process_cpu() -> Duration {
    Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap())
}

#[test]
fn a_duty_is_the_share_of_time_in_which_it_computes() {
    let mut engine = engine(config());
    for duty in [300, 600] {
        engine.to.send(pace(duty)).unwrap();
        let (begun, cpu) = (Instant::now(), process_cpu());
        let mut computed = Duration::ZERO;
        for tenant in 0..3 {
            let id = engine.start(Job { tenant: Tenant(duty + tenant), ..endless("Once", 450) });
            engine.collect(&[id], |step| computed += Duration::from_micros(step.us));
        }
        let (wall, cpu) = (begun.elapsed(), process_cpu() - cpu);
        let share = computed.as_secs_f64() / wall.as_secs_f64() * 1000.0;
        println!("duty {duty}: {share:.0} of 1000 in {wall:?}, {cpu:?} of CPU time");
        // Telling what came of such short steps takes time, too, and counts as computing.
        assert!((0.6..1.15).contains(&(share / f64::from(duty))), "{share} for {duty}");
        // One thread, and none that spins through the pauses.
        assert!(cpu.as_secs_f64() < wall.as_secs_f64() * f64::from(duty) / 1000.0 * 1.3, "{cpu:?} in {wall:?}");
    }
}

#[test]
fn a_pause_hears_everything_and_looks_alive() {
    let mut engine = engine(config());
    let prompt = long_prompt(&mut engine, "Charity", 400);
    // A thousand times as long as it computes: minutes.
    engine.to.send(pace(1)).unwrap();
    let first = engine.start(Job { tenant: Tenant(1), ..endless(&prompt, 10) });
    while !matches!(engine.recv(), FromLane::Step(_)) {}
    let begun = Instant::now();
    // It says that it is alive.
    let progress = || engine.progress.load(Ordering::Relaxed);
    let before = progress();
    while progress() < before + 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no progress in a pause");
        assert!(engine.from.recv_timeout(Duration::from_millis(50)).is_err(), "it does not pause");
    }
    // It takes another request in, and lets go of the one that is cancelled.
    let second = engine.start(Job { tenant: Tenant(2), ..endless("Once", 10) });
    assert!(matches!(engine.recv(), FromLane::Started { id, .. } if id == second));
    engine.to.send(ToLane::Cancel(first)).unwrap();
    assert!(matches!(engine.recv(), FromLane::Done { id, result: Ok(Finish::Cancelled), .. } if id == first));
    // Full pace ends the pause.
    engine.to.send(pace(1000)).unwrap();
    while !matches!(engine.recv(), FromLane::Done { id, result: Ok(Finish::Length), .. } if id == second) {}
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // And so does the end.
    engine.to.send(pace(1)).unwrap();
    engine.start(Job { tenant: Tenant(3), ..endless(&prompt, 10) });
    while !matches!(engine.recv(), FromLane::Step(_)) {}
    engine.to.send(ToLane::Quit).unwrap();
    while !matches!(engine.recv(), FromLane::Done { result: Ok(Finish::Cancelled), .. }) {}
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn a_pace_bounds_the_pieces_of_prompts() {
    let mut engine = engine(config());
    let prompt = long_prompt(&mut engine, "Patience", 200);
    engine.to.send(ToLane::Pace(Pace { threads: 2, prompt_threads: 2, duty: 1000, chunk: 8 })).unwrap();
    let answer = engine.ask(Job { tenant: Tenant(1), ..job(&prompt) });
    assert!(answer.prefill_steps.iter().all(|&n| n <= 8) && answer.prefill_steps.len() > 10);
}

#[test]
fn cpu_times_of_steps_sum_to_what_the_process_used() {
    let mut engine = engine(config());
    for duty in [1000, 500] {
        engine.to.send(ToLane::Pace(Pace { threads: 2, prompt_threads: 2, duty, chunk: u32::MAX })).unwrap();
        let prompt = long_prompt(&mut engine, "Kindness", 300);
        let before = process_cpu();
        let ids = [1, 2].map(|t| engine.start(Job { tenant: Tenant(t + duty), ..endless(&prompt, 200) }));
        let mut told = Duration::ZERO;
        engine.collect(&ids, |step| told += Duration::from_micros(step.cpu_us));
        let used = process_cpu() - before;
        println!("duty {duty}: told {told:?}, used {used:?}");
        assert!(told <= used, "told {told:?}, used {used:?}");
        // What this thread does, and threads that spin for a while after the last step.
        assert!(told + Duration::from_millis(40) >= used.mul_f64(0.9), "told {told:?}, used {used:?}");
    }
}

#[test]
fn a_step_that_is_broken_off_and_a_prompt_that_is_refused_are_paid_for() {
    let mut engine = engine(LaneConfig { prefill_chunk: 900, ..config() });
    let prompt = long_prompt(&mut engine, "Diligence", 400);
    let id = engine.start(Job { tenant: Tenant(5), ..endless(&prompt, 10) });
    while !matches!(engine.recv(), FromLane::Started { .. }) {}
    engine.to.send(ToLane::Cancel(id)).unwrap();
    let mut told = 0;
    loop {
        match engine.recv() {
            FromLane::Step(step) => {
                assert_eq!(step.parts.iter().map(|part| part.id).collect::<Vec<_>>(), [id]);
                told += step.cpu_us;
            }
            FromLane::Done { result, .. } => break assert_eq!(result, Ok(Finish::Cancelled)),
            _ => {}
        }
    }
    // Heard before the step began, it cost nothing.
    println!("broken off after {told} us");
    let long = "several words more ".repeat(200_000);
    let id = engine.start(Job { max_tokens: Some(1), ..job(&long) });
    let mut told = 0;
    let answer = engine.collect(&[id], |step| told += step.cpu_us).remove(0);
    assert_eq!(answer.error().code, Code::ContextLengthExceeded);
    println!("refused after {told} us");
}

#[test]
fn an_allowance_ends_the_answer_before_it_is_overrun_by_more_than_a_step() {
    // On a busy machine two threads spin for each other, and a step costs many times as much as the one before.
    let mut engine = engine(LaneConfig { threads: 1, ..config() });
    let prompt = long_prompt(&mut engine, "Humility", 200);
    let run = |engine: &mut Engine, tenant, allowance_us| {
        let id = engine.start(Job { tenant: Tenant(tenant), allowance_us, ..endless(&prompt, 250) });
        let (mut used, mut most) = (0, 0);
        let answer = engine.collect(&[id], |step| {
            used += step.cpu_us;
            most = most.max(step.cpu_us);
        });
        (answer[0].clone(), used, most)
    };
    let (whole, used, _) = run(&mut engine, 1, None);
    assert_eq!(whole.finish(), Finish::Length);
    // In the answer.
    let allowance = used / 3;
    let (cut, used_cut, most) = run(&mut engine, 2, Some(allowance));
    println!("{used} us; of {allowance} us {used_cut} us used, {} tokens; longest step {most} us", cut.decoded);
    assert_eq!(cut.finish(), Finish::Budget);
    assert!(used_cut <= allowance + most, "{used_cut} us of {allowance}");
    assert!(cut.decoded > 10 && whole.text.starts_with(&cut.text), "{:?}", cut.text);
    // In the prompt.
    let (cut, used_cut, most) = run(&mut engine, 3, Some(2_000));
    assert_eq!((cut.finish(), cut.usage.completion_tokens), (Finish::Budget, 0));
    assert!(used_cut <= 2_000 + most, "{used_cut} us");
    // Before the prompt.
    let (cut, used_cut, _) = run(&mut engine, 4, Some(0));
    assert_eq!((cut.finish(), used_cut), (Finish::Budget, 0));
    assert!(cut.prefill_steps.is_empty());
    // Taken away while it runs; the others go on.
    let ids = [5, 6].map(|tenant| engine.start(Job { tenant: Tenant(tenant), ..endless("Once", 300) }));
    let to = engine.to.clone();
    let mut taken = false;
    let answers = engine.collect(&ids, |step| {
        if !std::mem::replace(&mut taken, step.parts.iter().any(|part| part.id == ids[0] && part.decode > 0)) && taken {
            to.send(ToLane::Allow { id: ids[0], cpu_us: 1 }).unwrap();
        }
    });
    assert_eq!(answers.iter().map(Answer::finish).collect::<Vec<_>>(), [Finish::Budget, Finish::Length]);
    assert!(answers[0].decoded < 300);
}

#[test]
fn chat_goes_through_the_models_template() {
    let mut engine = engine(config());
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into(), name: None };
    let chat = Job { prompt: Prompt::Chat(vec![message("user", "Turn on the lamp")]), ..job("") };
    let has_template = engine.info.chat;
    let answer = engine.ask(chat);
    if has_template {
        // More than the bare text, fewer than its characters would be without special tokens.
        let bare = engine.ask(Job { tenant: Tenant(1), ..job("Turn on the lamp") });
        assert!(answer.usage.prompt_tokens > bare.usage.prompt_tokens);
        assert!(answer.result.unwrap().is_ok());
    } else {
        assert_eq!(answer.error().code, Code::NoChatTemplate);
    }
}

#[test]
fn a_bad_request_is_answered_and_harms_nobody() {
    let mut engine = engine(config());
    let n_vocab = engine.info.n_vocab as i32;
    let bad = Sampling { logit_bias: vec![(n_vocab, 1.0)], ..Sampling::default() };
    let e = engine.ask(Job { sampling: bad, ..job("Once") }).error();
    assert_eq!((e.code, e.param.as_deref()), (Code::InvalidRequest, Some("logit_bias")));
    assert!(engine.ask(job("Once")).result.unwrap().is_ok());
}

#[test]
fn a_probe_comes_to_its_turn_though_requests_keep_coming() {
    let mut engine = engine(config());
    let first = engine.start(endless("Once", 200));
    while !matches!(engine.recv(), FromLane::Step(_)) {}
    engine.to.send(ToLane::Probe).unwrap();
    // It waits for what runs, and what came after it waits for it.
    let second = engine.start(endless("Twice", 5));
    let mut ends = Vec::new();
    while ends.len() < 3 {
        match engine.recv() {
            FromLane::Started { id, .. } => assert_eq!((id, ends.as_slice()), (second, &["first", "probe"][..])),
            FromLane::Done { id, result, .. } => {
                assert!(result.is_ok());
                ends.push(if id == first { "first" } else { "second" });
            }
            FromLane::Probed(answer) => {
                assert!(answer.unwrap().is_sane());
                ends.push("probe");
            }
            _ => {}
        }
    }
    assert_eq!(ends, ["first", "probe", "second"]);
}

#[test]
fn quit_answers_what_runs_and_what_waits() {
    let mut engine = engine(LaneConfig { slots: 1, ..config() });
    let ids = [engine.start(Job { max_tokens: None, ..job("Once") }), engine.start(job("Twice"))];
    while !matches!(engine.recv(), FromLane::Step(_)) {}
    engine.to.send(ToLane::Quit).unwrap();
    let mut done = Vec::new();
    while let Ok(msg) = engine.from.recv_timeout(PATIENCE) {
        if let FromLane::Done { id, result, .. } = msg {
            assert!(result.is_ok());
            done.push(id);
        }
    }
    assert_eq!(done, ids);
}

#[test]
fn a_model_that_cannot_be_loaded_says_why() {
    let _one = lock();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(model()).unwrap();
    for (path, says) in [
        (dir.path().join("none.gguf"), "cannot read the model file"),
        (dir.path().to_path_buf(), "cannot read the model file"),
        (file("empty.gguf", b""), "cut short"),
        (file("text.gguf", b"hello there"), "not a GGUF file"),
        (file("cut.gguf", &whole[..whole.len() / 2]), "cut.gguf: "),
        (file("head.gguf", &whole[..100]), "head.gguf: "),
    ] {
        let (_to, from, thread, ..) = start_raw(LaneConfig { model: path, ..config() });
        let e = loop {
            match from.recv_timeout(PATIENCE).unwrap() {
                FromLane::LoadFailed(e) => break e,
                FromLane::Ready(_) => panic!("loaded"),
                _ => {}
            }
        };
        assert_eq!(e.code, Code::ModelLoadFailed);
        assert!(e.message.contains(says) && !e.message.contains("no reason"), "{e}");
        thread.join().unwrap();
    }
}

#[test]
fn quit_while_loading_ends_the_load() {
    let _one = lock();
    let (to, from, thread, ..) = start_raw(config());
    to.send(ToLane::Quit).unwrap();
    thread.join().unwrap();
    assert!(!from.iter().any(|msg| matches!(msg, FromLane::LoadFailed(_))));
}
