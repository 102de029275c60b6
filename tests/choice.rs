//! Where requests run, on a real daemon with a lane on the CPU and one on a GPU, against the truth of a plant.
//!
//! The plant draws what it is told for each second of CPU time of a worker with a GPU's driver, which waits for it busily,
//! or, with Mesa's device on the processor, does its work. Here that is set by what both lanes really take, so that the one
//! is cheaper, and then the other, and, where requests are short, the one again.
//!
//! Mesa's device takes a hundred times as long as the processor itself. To be cheaper it has to draw so little that only a
//! sensor of its own tells it: there the plant's GPU is a card, a core draws much, and nothing but workers and the
//! daemon draws, or runs, for all that the daemon sees.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use common::bed::{self, Bed, Words};
use common::gpu::{alone, gpu, patient};
use serde_json::{json, Value};
use wattlm::client::Client;
use wattlm::lane::GpuInfo;

/// The GPU takes so many times less than the CPU for a long answer, and then so many times more.
const CLEAR: f64 = 2.5;
/// Requests within which a change has to be noticed.
const WITHIN: usize = 20;
/// Requests within which a device that was dear is measured again, with bringing it up, for half a percent of their joules.
const BACK: usize = 6_000;
/// What a choice may take beyond the cheaper device, as a share: the truth varies from one to the next.
const NEAR: f64 = 1.3;

/// Words of a prompt, and tokens of its answer.
type Shape = (&'static str, usize, u64);

/// What is asked of which model, on a device on which a busy core draws so much.
#[derive(Clone, Copy)]
struct Play {
    model: &'static str,
    core: f64,
    /// Watts of the GPU to begin with: about those at which it is as good.
    gpu: f64,
    /// Joules that the truth may be off by: of what is so short, a tick's worth.
    tick: f64,
    short: Shape,
    prompt: Shape,
    answer: Shape,
    /// Of each shape, before a choice is looked at.
    lessons: usize,
    /// Times that each is measured, and chosen.
    times: (usize, usize),
    /// Whether requests are so short that the GPU is found to be cheap again: that takes hundreds of them.
    back: bool,
}

/// On a GPU.
const REAL: Play = Play {
    model: bed::MODEL,
    core: 2.0,
    gpu: 10.0,
    tick: 0.3,
    short: ("short", 4, 12),
    prompt: ("long prompt", 150, 8),
    answer: ("long answer", 4, 96),
    lessons: 3,
    times: (3, 5),
    back: false,
};

/// On the processor, by a driver of Mesa's: some tokens a second.
const MESA: Play = Play {
    model: "wattlm-demo:q8_0",
    core: 10.0,
    gpu: 0.05,
    tick: 0.005,
    short: ("short", 4, 12),
    prompt: ("long prompt", 40, 8),
    answer: ("long answer", 4, 32),
    lessons: 2,
    times: (3, 3),
    back: false,
};

/// The same with a model of half a billion parameters: half a second for a token, or half a minute for any prompt of more
/// than eight, which is another kind of kernel.
const MESA_HALF: Play = Play {
    model: HALF,
    gpu: 0.5,
    tick: 0.1,
    times: (3, 5),
    short: ("short", 1, 2),
    prompt: ("longer prompt", 12, 2),
    answer: ("longer answer", 1, 6),
    ..MESA
};

const HALF_SHAPE: &str = "qwen2-0.5b";
const HALF: &str = "qwen2-0.5b-synthetic";

struct Scene {
    play: Play,
    bed: Bed,
    client: Client,
    words: Words,
}

/// One request as it was.
struct Run {
    device: String,
    /// Where all of it ran, if that was one device.
    whole: Option<String>,
    /// By the plant, and by the receipt.
    truth: f64,
    told: f64,
    seconds: f64,
    reason: String,
}

impl Scene {
    /// Joules of all workers until now.
    fn spent(&mut self) -> f64 {
        self.bed.plant.workers()
    }

    fn shapes(&self) -> [Shape; 3] {
        [self.play.short, self.play.prompt, self.play.answer]
    }

    fn run(&mut self, (_, words, tokens): Shape, backend: &str) -> Run {
        let prompt = self.words.text(words);
        let body = json!({"model": self.play.model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "temperature": 0,
            "wattlm": {"backend": backend}});
        let (before, begun) = (self.spent(), std::time::Instant::now());
        let answer = self.client.json("POST", "/v1/completions", Some(&body));
        let answer = answer.unwrap_or_else(|e| panic!("{backend}: {e}\n{}", self.bed.daemon.log()));
        let (truth, seconds) = (self.spent() - before, begun.elapsed().as_secs_f64());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let receipt = &answer["wattlm"];
        let told = receipt["energy"]["joules"].as_f64().expect("joules");
        let (prefill, decode) = (text(&receipt["plan"]["prefill"]), text(&receipt["plan"]["decode"]));
        let whole = (prefill == decode).then_some(decode);
        Run { device: text(&receipt["device"]), whole, truth, told, seconds, reason: text(&receipt["reason"]) }
    }

    /// The median of some, by the plant.
    fn truth(&mut self, shape: Shape, backend: &str) -> f64 {
        let mut all: Vec<f64> = (0..self.play.times.0).map(|_| self.run(shape, backend).truth).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    /// Both devices as they are now, by a few requests each: what calibration does.
    fn teach(&mut self) {
        for shape in [self.shapes(); 3].into_iter().take(self.play.lessons).flatten() {
            for backend in ["cpu", "gpu"] {
                self.run(shape, backend);
            }
        }
    }

    /// Requests of each shape run on the cheaper device, or take about what they take there.
    fn runs_where_it_is_cheaper(&mut self) {
        for shape in self.shapes() {
            let (cpu, gpu) = (self.truth(shape, "cpu"), self.truth(shape, "gpu"));
            let runs: Vec<Run> = (0..self.play.times.1).map(|_| self.run(shape, "auto")).collect();
            for run in &runs {
                println!(
                    "  {} {:.2} J, told {:.2} J, {:.1} s: {}",
                    run.device, run.truth, run.told, run.seconds, run.reason
                );
            }
            let mut took: Vec<f64> = runs.iter().map(|run| run.truth).collect();
            took.sort_by(f64::total_cmp);
            let where_: Vec<&str> = runs.iter().map(|run| run.device.as_str()).collect();
            let middle = took[took.len() / 2];
            println!("{}: cpu {cpu:.2} J, gpu {gpu:.2} J; answered on {where_:?} for {middle:.2} J", shape.0);
            let near = NEAR * cpu.min(gpu) + self.play.tick;
            let cheaper = if cpu < gpu { "cpu" } else { "gpu0" };
            // The truth of something short varies more than that on a machine that does other things.
            let there = runs.iter().filter(|run| run.whole.as_deref() == Some(cheaper)).count();
            let right = 2 * there > runs.len() || middle <= near;
            assert!(right, "{} takes {took:?} J on {where_:?}, not {near:.2} J as on {cheaper}", shape.0);
        }
    }

    /// Asks until it is answered on this device, and not to explore. Gives how many were answered elsewhere before.
    fn until(&mut self, device: &str, within: usize) -> usize {
        let mut last = String::new();
        for n in 0.. {
            let run = self.run(self.play.answer, "auto");
            if last != run.device || n < WITHIN {
                println!("  {n}: {} {:.2} J, told {:.2} J: {}", run.device, run.truth, run.told, run.reason);
            }
            if run.device == device && !run.reason.contains("learn") {
                return n;
            }
            assert!(n < within, "it stays where it was\n{}", self.bed.daemon.log());
            last = run.device;
        }
        unreachable!("it returns or fails");
    }
}

/// A daemon that has learned both devices, and the watts at which the GPU is cheaper for a long answer and dearer.
fn begin(play: Play, card: &GpuInfo, models: &std::path::Path) -> (Scene, f64, f64) {
    let (core, gpu) = (play.core.to_string(), play.gpu.to_string());
    let mut plant = vec![
        "--others",
        if is_mesa(card) { "daemon" } else { "none" },
        "--first-w",
        &core,
        "--more-w",
        &core,
        "--gpu-w",
        &gpu,
    ];
    plant.extend(match is_mesa(card) {
        true => [
            "--trees",
            "rapl,card",
            "--tick-ms",
            "1",
            "--rapl-ms",
            "1",
            "--card-idle-w",
            "0.01",
            "--idle-w",
            "0.1",
            "--wrap-j",
            "262143",
        ]
        .as_slice(),
        false => ["--trees", "rapl"].as_slice(),
    });
    // Few cores: with all that a workstation has, the GPU would have to draw more than the plant's sensor may show. One that
    // Mesa's driver does not wait for: a thread that waits for another busily takes what it would not take alone.
    let most = if is_mesa(card) { 1 } else { 4 };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(most));
    let bed = Bed::with_models(
        &plant,
        is_mesa(card),
        &format!(
            "[models]\nslots = 2\ncontext = 1024\n[cpu]\nthreads = {threads}\n{}[energy]\nidle = '{}W'\ncore = '{core}W'\n\
             [power]\npolicy = 'min-energy'\n",
            // A lane on a GPU computes a piece of a prompt before it is ready: some minutes of Mesa's.
            if is_mesa(card) { "prefill_chunk = 32\n" } else { "" },
            if is_mesa(card) { 0.1 } else { 2.0 }
        ),
        models,
    );
    let client = patient(&bed.daemon);
    common::eventually("the GPU is found", || !client.status().unwrap()["gpus"].as_array().unwrap().is_empty());
    let mut scene = Scene { play, bed, client, words: Words::new(1) };
    scene.teach();
    let (cpu, gpu) = (scene.truth(play.answer, "cpu"), scene.truth(play.answer, "gpu"));
    let (cheap, dear) = (play.gpu * cpu / gpu / CLEAR, play.gpu * cpu / gpu * CLEAR);
    println!(
        "a long answer: {cpu:.2} J on the CPU, {gpu:.2} J on {} at {} W; {cheap:.4} W and {dear:.4} W from here",
        card.description, play.gpu
    );
    (scene, cheap, dear)
}

fn is_mesa(card: &GpuInfo) -> bool {
    card.description.starts_with("llvmpipe")
}

fn follows(play: Play, card: &GpuInfo, models: &std::path::Path) {
    let (mut scene, cheap, dear) = begin(play, card, models);
    let watts = |scene: &mut Scene, gpu: f64| scene.bed.plant.say(&format!("watts {} {} {gpu}", play.core, play.core));

    watts(&mut scene, cheap);
    scene.teach();
    scene.runs_where_it_is_cheaper();
    println!("the GPU takes {:.1} times as much", CLEAR * CLEAR);
    watts(&mut scene, dear);
    scene.until("cpu", WITHIN);
    scene.teach();
    scene.runs_where_it_is_cheaper();
    if play.back {
        println!("and as little as before");
        watts(&mut scene, cheap);
        let elsewhere = scene.until("gpu0", BACK);
        println!("found again after {elsewhere} requests");
    }
}

#[test]
fn requests_run_where_the_truth_says_that_it_is_cheaper_and_follow_when_that_changes() {
    let _alone = alone();
    let Some(card) = gpu() else { return };
    let play = if is_mesa(&card) { MESA } else { REAL };
    follows(play, &card, &bed::models());
}

/// On Mesa's device it takes a quarter of an hour: `make bench-choice`.
#[test]
#[ignore = "takes a quarter of an hour"]
fn so_they_do_with_half_a_billion_parameters() {
    let _alone = alone();
    let Some(card) = gpu() else { return };
    let play = if is_mesa(&card) { MESA_HALF } else { Play { model: HALF, ..REAL } };
    follows(play, &card, &bed::synthetic(HALF_SHAPE));
}

/// And back to a GPU that is cheap again, which takes hundreds of requests and some minutes on Mesa's device.
#[test]
#[ignore = "takes some minutes"]
fn a_gpu_that_is_cheap_again_is_found_again() {
    let _alone = alone();
    let Some(card) = gpu() else { return };
    let play = if is_mesa(&card) { MESA } else { REAL };
    follows(Play { back: true, ..play }, &card, &bed::models());
}
