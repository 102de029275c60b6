//! Lanes on a GPU, as real workers, beside lanes on the CPU.
//!
//! Without a GPU (see `common::gpu`) every test says so and passes: nothing else can be tested there.

mod common;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use common::gpu::{alone, exe, factory, gpu, modules, patient, PATIENCE};
use serde_json::{json, Value};
use wattlm::client::{Client, Delta};
use wattlm::error::Code;
use wattlm::lane::trust::{compare, Probed, STEPS};
use wattlm::lane::{
    Device, Finish, FromLane, Gone, Gpus, Job, KvType, Lane, LaneConfig, LaneEvent, LaneFactory, LaneId, LaneInfo,
    Prompt, RequestId, Sampling, SequenceState, Tenant, ToLane, Usage,
};

fn config(device: Device) -> LaneConfig {
    LaneConfig {
        model: common::demo_models().join("wattlm-demo-q8_0.gguf"),
        device,
        backends_dir: modules(),
        // Its AMX kernels die of SIGILL under some hypervisors.
        excluded_cpu_variants: vec!["sapphirerapids".into()],
        n_ctx: 1024,
        slots: 2,
        prefill_chunk: 128,
        prefill_chunk_shared: 16,
        threads: 2,
        cpus: Vec::new(),
        kv_type: KvType::F16,
        mlock: false,
        heartbeat_ms: 1000,
        sandbox: true,
    }
}

/// A worker with a model.
struct Running {
    lane: Box<dyn Lane>,
    events: Receiver<LaneEvent>,
    info: LaneInfo,
    next: u64,
}

impl Running {
    fn start(config: LaneConfig) -> Running {
        let (tx, events) = channel();
        let tx = Mutex::new(tx);
        let told = move |_: LaneId, event: LaneEvent| drop(tx.lock().unwrap().send(event));
        let lane = factory().start(LaneId(1), config, Arc::new(told));
        let info = loop {
            match events.recv_timeout(PATIENCE).expect("the lane comes up") {
                LaneEvent::Said(FromLane::Ready(info)) => break *info,
                LaneEvent::Said(FromLane::LoadFailed(e)) => panic!("{e}"),
                LaneEvent::Gone { why, last_words } => panic!("{why:?} {last_words:?}"),
                LaneEvent::Said(_) => {}
            }
        };
        Running { lane, events, info, next: 1 }
    }

    /// The next message that is not a sign of life.
    fn hear(&self) -> FromLane {
        loop {
            match self.events.recv_timeout(PATIENCE).expect("the lane answers") {
                LaneEvent::Said(FromLane::Beat { .. } | FromLane::Loading(_) | FromLane::Kernels(_)) => {}
                LaneEvent::Said(said) => return said,
                LaneEvent::Gone { why, last_words } => panic!("{why:?} {last_words:?}"),
            }
        }
    }

    fn job(&mut self, prompt: &str, max_tokens: u32) -> Box<Job> {
        self.next += 1;
        Box::new(Job {
            id: RequestId(self.next),
            // No cached prefixes: each request computes its prompt.
            tenant: Tenant(self.next as u32),
            prompt: Prompt::Text(prompt.into()),
            sampling: Sampling { temperature: 0.0, ignore_eos: true, ..Sampling::default() },
            stop: Vec::new(),
            max_tokens: Some(max_tokens),
            strict: true,
            allowance_us: None,
        })
    }

    /// Text, usage and warnings of what was sent last.
    fn answer(&self) -> (String, Usage, Vec<String>) {
        let (mut text, mut warnings) = (String::new(), Vec::new());
        loop {
            match self.hear() {
                FromLane::Step(step) => step.text.into_iter().for_each(|(_, t)| text += &t),
                FromLane::Log { text, .. } => warnings.push(text),
                FromLane::Done { result, usage, .. } => {
                    assert_eq!(result, Ok(Finish::Length));
                    return (text, usage, warnings);
                }
                FromLane::Started { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn ask(&mut self, prompt: &str, max_tokens: u32) -> (String, Usage) {
        let job = self.job(prompt, max_tokens);
        self.lane.send(ToLane::Start(job));
        let (text, usage, _) = self.answer();
        (text, usage)
    }

    fn prefill(&mut self, prompt: &str) -> (SequenceState, Usage) {
        let job = self.job(prompt, 8);
        self.lane.send(ToLane::Prefill(job));
        loop {
            match self.hear() {
                FromLane::Exported { state, usage, .. } => return (state, usage),
                FromLane::Started { .. } | FromLane::Step(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn resume(&mut self, prompt: &str, max_tokens: u32, state: SequenceState) -> (String, Usage, Vec<String>) {
        let job = self.job(prompt, max_tokens);
        self.lane.send(ToLane::Resume(job, state));
        self.answer()
    }

    fn probe(&self) -> Probed {
        self.lane.send(ToLane::Probe);
        match self.hear() {
            FromLane::Probed(probed) => probed.unwrap(),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn maps(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/maps", self.lane.pid().unwrap())).unwrap()
    }

    fn quit(self) {
        self.lane.send(ToLane::Quit);
        loop {
            match self.events.recv_timeout(PATIENCE).expect("the lane ends") {
                LaneEvent::Gone { why, .. } => return assert_eq!(why, Gone::Clean),
                LaneEvent::Said(_) => {}
            }
        }
    }
}

/// Longer than the widest product of vectors: each width has shaders of its own.
const PROMPTS: &[&str] = &[
    "make it a bit warmer in the bedroom and a bit cooler in the kitchen",
    "wake me at twenty to seven, and again ten minutes later if I am still there",
    "turn off all the lights in the kitchen and in the hall, then play something quiet in the living room until ten",
];

#[test]
fn a_gpu_is_trusted_by_its_probe_and_answers_as_the_cpu_does() {
    let _alone = alone();
    let Some(gpu) = gpu() else { return };
    let begun = Instant::now();
    let mut on_gpu = Running::start(config(Device::Gpu(gpu.id.clone())));
    let gpu_load = begun.elapsed();
    let mut on_cpu = Running::start(config(Device::Cpu));
    println!("{gpu:?}\n{:?} after {gpu_load:?}\n{:?}", on_gpu.info, on_cpu.info);
    assert_eq!((on_gpu.info.device.as_str(), on_cpu.info.device.as_str()), ("gpu0", "CPU"));
    assert!(on_gpu.info.kernels.starts_with(&gpu.id.ggml), "{}", on_gpu.info.kernels);
    assert_eq!(on_gpu.info.threads, 1);
    assert!(on_gpu.info.sandbox.contains("seccomp"), "{}", on_gpu.info.sandbox);
    // No driver in the process of a lane on the CPU.
    let backend = format!("libggml-{}", gpu.id.module);
    assert!(on_gpu.maps().contains(&backend));
    assert!(!["libvulkan", "libcuda", &backend].iter().any(|library| on_cpu.maps().contains(library)));

    let (cpu, gpu) = (on_cpu.probe(), on_gpu.probe());
    assert_eq!(cpu.choices.len(), STEPS);
    let agreement = compare(&cpu, &gpu).expect("the GPU computes what the CPU does");
    println!("{agreement:?}");
    assert_eq!(agreement.equal, STEPS);
    // The same probe again: what ran before has left nothing.
    assert_eq!(on_cpu.probe(), cpu);
    let mut wrong = gpu.clone();
    wrong.logits.rotate_left(1);
    assert!(compare(&cpu, &wrong).is_err(), "other logits would pass");

    let mut speeds: HashMap<&str, (f64, f64)> = HashMap::new();
    for prompt in PROMPTS {
        let (cpu, cpu_usage) = on_cpu.ask(prompt, 32);
        let (gpu, gpu_usage) = on_gpu.ask(prompt, 32);
        assert_eq!(cpu, gpu, "{prompt}");
        for (name, u) in [("cpu", cpu_usage), ("gpu", gpu_usage)] {
            let prefill = f64::from(u.prompt_tokens) / (u.prefill_us as f64 / 1e6);
            let decode = f64::from(u.completion_tokens - 1) / (u.decode_us as f64 / 1e6);
            speeds.insert(name, (prefill, decode));
        }
    }
    println!("tokens/s of prefill and decode, last prompt: {speeds:?}");
    on_gpu.quit();
    on_cpu.quit();
}

#[test]
fn a_prompt_computed_on_one_device_is_answered_on_the_other() {
    let _alone = alone();
    let Some(gpu) = gpu() else { return };
    hand_over(config(Device::Gpu(gpu.id)));
}

/// What does not need a GPU for its test: messages, descriptors, books.
#[test]
fn a_prompt_computed_by_one_worker_is_answered_by_another() {
    let _alone = alone();
    hand_over(LaneConfig { threads: 1, prefill_chunk: 5, n_ctx: 768, ..config(Device::Cpu) });
}

/// There and back between this lane and one on the CPU.
fn hand_over(other: LaneConfig) {
    let mut on_gpu = Running::start(other);
    let mut on_cpu = Running::start(config(Device::Cpu));
    for prompt in PROMPTS {
        let (alone, usage) = on_cpu.ask(prompt, 24);
        let handed = usage.prompt_tokens - 1;
        let (state, out) = on_cpu.prefill(prompt);
        assert_eq!((state.tokens, out.completion_tokens), (handed, 0));
        let bytes = state.bytes;
        let (text, usage, warnings) = on_gpu.resume(prompt, 24, state);
        assert_eq!((text.as_str(), usage.cached_tokens), (alone.as_str(), handed), "from the CPU, {warnings:?}");
        let there = [out.handover_us, usage.handover_us];
        let (state, out) = on_gpu.prefill(prompt);
        let (text, usage, warnings) = on_cpu.resume(prompt, 24, state);
        assert_eq!((text.as_str(), usage.cached_tokens), (alone.as_str(), handed), "to the CPU, {warnings:?}");
        let back = [out.handover_us, usage.handover_us];
        assert!(there.iter().chain(&back).all(|us| *us > 0), "{there:?} {back:?}");
        println!("{handed} tokens, {bytes} bytes: {there:?} us out of the CPU and in, {back:?} us back");
    }

    // A state of another prompt or another model is not believed; the prompt is computed.
    let (alone, _) = on_cpu.ask(PROMPTS[0], 24);
    let (other, _) = on_gpu.prefill(PROMPTS[1]);
    let (text, usage, warnings) = on_cpu.resume(PROMPTS[0], 24, other);
    assert_eq!((text.as_str(), usage.cached_tokens), (alone.as_str(), 0));
    assert!(warnings.iter().any(|w| w.contains("another prompt")), "{warnings:?}");
    let (state, _) = on_gpu.prefill(PROMPTS[0]);
    let foreign = SequenceState { model: state.model ^ 1, ..state.clone() };
    let (text, usage, warnings) = on_cpu.resume(PROMPTS[0], 24, foreign);
    assert_eq!((text.as_str(), usage.cached_tokens), (alone.as_str(), 0));
    assert!(warnings.iter().any(|w| w.contains("another model")), "{warnings:?}");
    let cut = SequenceState { bytes: state.bytes - 1, ..state };
    let (text, _, warnings) = on_cpu.resume(PROMPTS[0], 24, cut);
    assert_eq!(text, alone);
    assert!(warnings.iter().any(|w| w.contains("announced")), "{warnings:?}");
    on_gpu.quit();
    on_cpu.quit();
}

#[test]
fn a_request_on_a_gpu_is_cancelled_between_two_steps() {
    let _alone = alone();
    let Some(gpu) = gpu() else { return };
    let mut lane = Running::start(LaneConfig { prefill_chunk: 32, ..config(Device::Gpu(gpu.id)) });
    let job = lane.job(&"the lamp in the kitchen and the lamp in the hall ".repeat(20), 280);
    let id = job.id;
    lane.lane.send(ToLane::Start(job));
    // It runs.
    while !matches!(lane.hear(), FromLane::Step(_)) {}
    lane.lane.send(ToLane::Cancel(id));
    let mut steps = 0;
    loop {
        match lane.hear() {
            FromLane::Step(_) => steps += 1,
            FromLane::Done { result, .. } => {
                assert_eq!(result, Ok(Finish::Cancelled));
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    // The one that ran, and one that had ended before the message came.
    assert!(steps <= 2, "{steps} steps after it was cancelled");
    let (text, _) = lane.ask(PROMPTS[0], 8);
    assert!(!text.is_empty());
    lane.quit();
}

/// What the search for GPUs lists with these variables set.
fn listed(vars: &[(&str, &str)]) -> Gpus {
    let out = Command::new(exe())
        .args(["--devices", &std::process::id().to_string()])
        .arg(modules())
        .envs(vars.iter().copied())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn without_a_driver_there_is_no_gpu_and_the_reason_is_named() {
    if !modules().join("libggml-vulkan.so").exists() {
        println!("skipped: built without Vulkan");
        return;
    }
    // A loader without drivers, and a device that is not there.
    for vars in
        [[("VK_DRIVER_FILES", "/dev/null"), ("VK_ICD_FILENAMES", "/dev/null")], [("GGML_VK_VISIBLE_DEVICES", "99"); 2]]
    {
        let none = listed(&vars);
        let why = none.why_none().expect("no GPU without a driver");
        assert!(why.contains("vulkan: "), "{why}");
    }
}

#[test]
fn the_daemon_finds_the_gpu_and_says_so() {
    let _alone = alone();
    let gpu = gpu();
    let daemon = common::Daemon::demo();
    let client = Client::connect(&daemon.socket).expect("the daemon listens");
    // It is looked for while the daemon already serves.
    let mut status = Value::Null;
    common::eventually("the search for GPUs ends", || {
        status = client.status().unwrap();
        !status["no_gpu"].is_null() || status["gpus"].as_array().is_some_and(|g| !g.is_empty())
    });
    match gpu {
        Some(gpu) => {
            assert_eq!(status["gpus"][0]["name"], "gpu0");
            assert_eq!(status["gpus"][0]["description"], gpu.description);
            assert!(status["no_gpu"].is_null());
        }
        None => assert!(status["no_gpu"].is_string(), "{status}"),
    }
}

/// A daemon for the demo model on the first GPU, with few and small kinds of steps. `None` without a GPU.
fn daemon_on_gpu(dir: tempfile::TempDir) -> Option<common::Daemon> {
    gpu()?;
    let config = "[models]\nslots = 2\ncontext = 512\ndefault = 'wattlm-demo:q8_0'\n[cpu]\nprefill_chunk = 128\n";
    let daemon = common::Daemon::within(dir, config, &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).expect("the daemon listens");
    common::eventually("the GPU is found", || !client.status().unwrap()["gpus"].as_array().unwrap().is_empty());
    Some(daemon)
}

fn asked(prompt: &str, tokens: u32, backend: &str) -> Value {
    json!({"model": "wattlm-demo:q8_0", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
        "wattlm": {"backend": backend}})
}

fn answered(client: &Client, backend: &str) -> (String, Value) {
    let whole = client.json("POST", "/v1/completions", Some(&asked(PROMPTS[1], 24, backend)));
    let whole = whole.unwrap_or_else(|e| panic!("on {backend}: {e}"));
    (whole["choices"][0]["text"].as_str().unwrap().to_owned(), whole["wattlm"].clone())
}

#[test]
fn the_daemon_runs_a_request_on_the_gpu_that_it_asks_for_once_it_agrees_with_the_cpu() {
    let _alone = alone();
    let Some(daemon) = daemon_on_gpu(tempfile::tempdir().unwrap()) else { return };
    let client = patient(&daemon);
    let (on_gpu, receipt) = answered(&client, "gpu");
    assert_eq!(receipt["device"], "gpu0", "{receipt}");
    let (on_cpu, receipt) = answered(&client, "cpu");
    assert_eq!(receipt["device"], "cpu", "{receipt}");
    assert_eq!(on_gpu, on_cpu);
    let log = daemon.log();
    let agreed = log.lines().filter(|line| line.contains("gpu0 agrees with the CPU")).count();
    assert_eq!(agreed, 1, "{log}");
    assert_eq!(client.status().unwrap()["distrusted"], json!([]));

    // The next daemon remembers it.
    let daemon = daemon_on_gpu(daemon.into_dir_after_stop()).expect("the GPU is still there");
    let (again, receipt) = answered(&patient(&daemon), "gpu");
    assert_eq!((again, &receipt["device"]), (on_cpu, &json!("gpu0")), "{receipt}");
    assert!(!daemon.log().contains("agrees with the CPU"), "compared again:\n{}", daemon.log());
}

#[test]
fn a_gpu_worker_that_dies_is_a_typed_error_and_after_three_faults_the_gpu_is_left_alone() {
    let _alone = alone();
    let Some(daemon) = daemon_on_gpu(tempfile::tempdir().unwrap()) else { return };
    let client = patient(&daemon);
    let (on_cpu, _) = answered(&client, "cpu");
    assert_eq!(answered(&client, "gpu").0, on_cpu);
    for fault in 1..=3 {
        let mut stream = client.completion_stream(asked(PROMPTS[1], 400, "gpu")).unwrap();
        while !matches!(stream.next(None).unwrap(), Delta::Text(_)) {}
        let status = client.status().unwrap();
        let lane = status["lanes"].as_array().unwrap().iter().find(|lane| lane["device"] == "gpu0").cloned();
        let pid = lane.expect("a lane on the GPU")["pid"].as_i64().unwrap() as i32;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        let error = loop {
            match stream.next(None) {
                Ok(Delta::Done(_)) => panic!("it was answered by a worker that is dead"),
                Ok(_) => {}
                Err(e) => break e,
            }
        };
        assert_eq!(error.code, Code::WorkerLost, "fault {fault}: {error}");
        // The CPU's lane is another process and has noticed nothing.
        assert_eq!(answered(&client, "cpu").0, on_cpu);
    }
    let refused = client.json("POST", "/v1/completions", Some(&asked(PROMPTS[1], 24, "gpu"))).unwrap_err();
    assert_eq!(refused.code, Code::Quarantined, "{refused}");
    let distrusted = client.status().unwrap()["distrusted"].to_string();
    assert!(distrusted.contains("gpu0 is not used for wattlm-demo:q8_0"), "{distrusted}");
    // Who leaves the choice to the daemon is served.
    let (text, receipt) = answered(&client, "auto");
    assert_eq!((text, &receipt["device"]), (on_cpu, &json!("cpu")), "{receipt}");
}
