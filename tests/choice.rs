//! Where requests run, on a real daemon with a lane on the CPU and one on a GPU, against the truth of a plant.
//!
//! The plant draws what it is told for each second of CPU time of a worker with a GPU's driver, which waits for it busily.
//! Here that is set by what both lanes really take, so that the one is cheaper, and then the other. Not on Mesa's device on
//! the processor: it takes a hundred times as long as the processor itself, and what it would have to draw to be cheaper
//! is less than any meter sees.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use common::bed::{Bed, Words, MODEL};
use common::gpu::{alone, gpu, patient};
use serde_json::{json, Value};
use wattlm::client::Client;

/// Watts of a busy core.
const CORE: f64 = 2.0;
/// The GPU takes so many times less than the CPU for a long answer, and then so many times more.
const CLEAR: f64 = 2.5;
/// Requests within which a change has to be noticed.
const WITHIN: usize = 20;
/// What a choice may take beyond the cheaper device, as a share and in joules: the truth varies from one to the next.
const NEAR: (f64, f64) = (1.3, 0.3);

/// Words of a prompt, and tokens of its answer.
type Shape = (&'static str, usize, u64);
const SHORT: Shape = ("short", 4, 12);
const PROMPT: Shape = ("long prompt", 150, 8);
const ANSWER: Shape = ("long answer", 4, 96);

struct Scene {
    bed: Bed,
    client: Client,
    words: Words,
}

/// One request as it was.
struct Run {
    device: String,
    /// By the plant, and by the receipt.
    truth: f64,
    told: f64,
    reason: String,
}

impl Scene {
    /// Joules of all workers until now.
    fn spent(&mut self) -> f64 {
        self.bed.plant.truth().rows.last().expect("a row").workers
    }

    fn run(&mut self, (_, words, tokens): Shape, backend: &str) -> Run {
        let prompt = self.words.text(words);
        let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "temperature": 0,
            "wattlm": {"backend": backend}});
        let before = self.spent();
        let answer = self.client.json("POST", "/v1/completions", Some(&body));
        let answer = answer.unwrap_or_else(|e| panic!("{backend}: {e}\n{}", self.bed.daemon.log()));
        let truth = self.spent() - before;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let receipt = &answer["wattlm"];
        let told = receipt["energy"]["joules"].as_f64().expect("joules");
        Run { device: text(&receipt["device"]), truth, told, reason: text(&receipt["reason"]) }
    }

    /// The median of three, by the plant.
    fn truth(&mut self, shape: Shape, backend: &str) -> f64 {
        let mut all: Vec<f64> = (0..3).map(|_| self.run(shape, backend).truth).collect();
        all.sort_by(f64::total_cmp);
        all[1]
    }

    /// Both devices as they are now, by a few requests each: what calibration does.
    fn teach(&mut self) {
        for shape in [SHORT, PROMPT, ANSWER].into_iter().cycle().take(9) {
            for backend in ["cpu", "gpu"] {
                self.run(shape, backend);
            }
        }
    }

    /// Requests of each shape take about what they take on the cheaper device.
    fn runs_where_it_is_cheaper(&mut self) {
        for shape in [SHORT, PROMPT, ANSWER] {
            let (cpu, gpu) = (self.truth(shape, "cpu"), self.truth(shape, "gpu"));
            let runs: Vec<Run> = (0..5).map(|_| self.run(shape, "auto")).collect();
            let mut took: Vec<f64> = runs.iter().map(|run| run.truth).collect();
            took.sort_by(f64::total_cmp);
            let where_: Vec<&str> = runs.iter().map(|run| run.device.as_str()).collect();
            println!(
                "{}: cpu {cpu:.2} J, gpu {gpu:.2} J; answered on {where_:?} for {:.2} J: {}",
                shape.0, took[2], runs[4].reason
            );
            assert!(took[2] <= NEAR.0 * cpu.min(gpu) + NEAR.1, "{} takes {took:?} J on {where_:?}", shape.0);
        }
    }

    /// Asks until it is answered on this device, and not to explore.
    fn until(&mut self, device: &str) {
        for n in 0.. {
            let run = self.run(ANSWER, "auto");
            println!("  {n}: {} {:.2} J, told {:.2} J: {}", run.device, run.truth, run.told, run.reason);
            if run.device == device && !run.reason.contains("learn") {
                return;
            }
            assert!(n < WITHIN, "it stays where it was\n{}", self.bed.daemon.log());
        }
    }
}

#[test]
fn requests_run_where_the_truth_says_that_it_is_cheaper_and_follow_when_that_changes() {
    let _alone = alone();
    let Some(card) = gpu() else { return };
    if card.description.starts_with("llvmpipe") {
        println!("skipped: {} is the processor", card.description);
        return;
    }
    let core = CORE.to_string();
    let plant = ["--trees", "rapl", "--others", "none", "--first-w", &core, "--more-w", &core, "--gpu-w", "10"];
    // Few cores: with all that a workstation has, the GPU would have to draw more than the plant's sensor may show.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let bed = Bed::new(
        &plant,
        &format!(
            "[models]\nslots = 2\ncontext = 2048\n[cpu]\nthreads = {threads}\n[energy]\nidle = '2W'\n\
             [power]\npolicy = 'min-energy'\n"
        ),
    );
    let client = patient(&bed.daemon);
    common::eventually("the GPU is found", || !client.status().unwrap()["gpus"].as_array().unwrap().is_empty());
    let mut scene = Scene { bed, client, words: Words::new(1) };
    scene.teach();
    let (cpu, gpu) = (scene.truth(ANSWER, "cpu"), scene.truth(ANSWER, "gpu"));
    let (cheap, dear) = (10.0 * cpu / gpu / CLEAR, 10.0 * cpu / gpu * CLEAR);
    println!(
        "a long answer: {cpu:.2} J on the CPU, {gpu:.2} J on {} at 10 W; {cheap:.1} W and {dear:.1} W from here",
        card.description
    );
    let watts = |scene: &mut Scene, gpu: f64| scene.bed.plant.say(&format!("watts {CORE} {CORE} {gpu}"));

    watts(&mut scene, cheap);
    scene.teach();
    scene.runs_where_it_is_cheaper();
    println!("the GPU takes {:.1} times as much", CLEAR * CLEAR);
    watts(&mut scene, dear);
    scene.until("cpu");
    scene.teach();
    scene.runs_where_it_is_cheaper();
}
