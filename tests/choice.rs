//! Where requests run, on a real daemon with a lane on the CPU and one on a GPU, against the truth of a plant.
//!
//! The plant takes what it is told for each second that a GPU works. Here that is set by what both lanes really take, so
//! that the one is cheaper, and then the other; on any GPU, Mesa's on the processor too, which is far slower than the
//! processor itself.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use common::bed::{Bed, Words};
use common::gpu::{alone, gpu, patient};
use serde_json::{json, Value};
use wattlm::client::Client;

const MODEL: &str = "wattlm-demo:q8_0";
/// Watts of a busy core, and of a busy GPU to begin with.
const WATTS: f64 = 2.4;
/// Truths that are nearer than this are equal.
const CLEAR: f64 = 1.25;
/// Requests within which a change has to be noticed.
const WITHIN: usize = 20;

/// Words of the prompt, and tokens of the answer.
#[derive(Clone, Copy)]
struct Shape(&'static str, usize, u64);

const SHAPES: [Shape; 3] = [Shape("a short one", 3, 6), Shape("a long prompt", 60, 4), Shape("a long answer", 3, 32)];

struct Scene {
    bed: Bed,
    client: Client,
    words: Words,
}

/// One request as it was.
#[derive(Debug)]
struct Run {
    device: String,
    /// By the plant, and by the receipt.
    truth: f64,
    told: f64,
    receipt: Value,
}

impl Scene {
    /// Joules of all workers until now.
    fn spent(&mut self) -> f64 {
        self.bed.plant.truth().rows.last().expect("a row").workers
    }

    fn run(&mut self, Shape(_, words, tokens): Shape, backend: &str) -> Run {
        let prompt = self.words.text(words);
        let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "temperature": 0,
            "wattlm": {"backend": backend}});
        let before = self.spent();
        let answer =
            self.client.json("POST", "/v1/completions", Some(&body)).unwrap_or_else(|e| panic!("{backend}: {e}"));
        let truth = self.spent() - before;
        let receipt = answer["wattlm"].clone();
        let told = receipt["energy"]["joules"].as_f64().expect("joules");
        Run { device: receipt["device"].as_str().expect("a device").to_owned(), truth, told, receipt }
    }

    /// The median of three, by the plant.
    fn truth(&mut self, shape: Shape, backend: &str) -> f64 {
        let mut all: Vec<f64> = (0..3).map(|_| self.run(shape, backend).truth).collect();
        all.sort_by(f64::total_cmp);
        all[1]
    }

    /// Asks until it runs on this device, and twice more there. Gives the number of requests that did not.
    fn until(&mut self, shape: Shape, device: &str) -> usize {
        let mut elsewhere = 0;
        loop {
            let run = self.run(shape, "auto");
            println!(
                "  {elsewhere}: {} {:.3} J, told {:.3} J, {}",
                run.device, run.truth, run.told, run.receipt["reason"]
            );
            if run.device == device && run.receipt["reason"] != "explored" {
                return elsewhere;
            }
            elsewhere += 1;
            assert!(elsewhere <= WITHIN, "it stays where it was: {}", run.receipt);
        }
    }
}

#[test]
fn requests_run_where_it_is_cheaper_by_the_truth_and_follow_when_that_changes() {
    let _alone = alone();
    if gpu().is_none() {
        return;
    }
    let config = format!(
        "[models]\nslots = 2\ncontext = 512\ndefault = '{MODEL}'\n[cpu]\nprefill_chunk = 128\n\
         [energy]\nidle = '2W'\n[power]\npolicy = 'min-energy'\n"
    );
    let watts = WATTS.to_string();
    let bed = Bed::new(&["--trees", "rapl", "--first-w", &watts, "--more-w", &watts, "--gpu-w", &watts], &config);
    let client = patient(&bed.daemon);
    common::eventually("the GPU is found", || !client.status().unwrap()["gpus"].as_array().unwrap().is_empty());
    let mut scene = Scene { bed, client, words: Words::new(1) };
    // Both come up, and every kind of step is compiled.
    for shape in SHAPES {
        for backend in ["cpu", "gpu"] {
            scene.run(shape, backend);
        }
    }
    let [short, _, long] = SHAPES;
    let (cpu, gpu) = (scene.truth(long, "cpu"), scene.truth(long, "gpu"));
    let cheap = WATTS * cpu / gpu / 2.0;
    let dear = WATTS * cpu / gpu * 2.0;
    println!(
        "{long} on the CPU {cpu:.3} J, on the GPU {gpu:.3} J at {WATTS} W; {cheap} W and {dear} W from here",
        long = long.0
    );

    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {cheap}"));
    // What an administrator calibrates, these teach.
    for _ in 0..4 {
        for backend in ["cpu", "gpu"] {
            scene.run(short, backend);
            scene.run(long, backend);
        }
    }
    for shape in SHAPES {
        let (cpu, gpu) = (scene.truth(shape, "cpu"), scene.truth(shape, "gpu"));
        let ran: Vec<String> = (0..3).map(|_| scene.run(shape, "auto").device).collect();
        println!("{}: cpu {cpu:.4} J, gpu {gpu:.4} J, runs on {ran:?}", shape.0);
        let cheaper = if gpu < cpu { "gpu0" } else { "cpu" };
        if cpu.max(gpu) > CLEAR * cpu.min(gpu) {
            let wrong = ran.iter().filter(|device| *device != cheaper).count();
            assert!(wrong <= 1, "{} runs on {ran:?}: cpu {cpu} J, gpu {gpu} J", shape.0);
        }
    }
    assert_eq!(scene.until(long, "gpu0"), 0, "half the joules");
    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {dear}"));
    println!("the GPU takes four times as much");
    scene.until(long, "cpu");
    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {cheap}"));
    println!("and a quarter");
    scene.until(long, "gpu0");
}
