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
/// Watts of a busy core, and of a busy GPU to begin with: what a small model takes is to stand out of the meter's noise.
const WATTS: f64 = 40.0;
/// The GPU takes so many times less than the CPU, and then so many times more.
const CLEAR: f64 = 3.0;
/// Requests within which a change has to be noticed.
const WITHIN: usize = 20;

/// Words of a prompt, and tokens of its answer: long enough that the meter sees what it takes.
const SHORT: (usize, u64) = (3, 6);
const LONG: (usize, u64) = (3, 32);

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

    fn run(&mut self, (words, tokens): (usize, u64), backend: &str) -> Run {
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
    fn truth(&mut self, shape: (usize, u64), backend: &str) -> f64 {
        let mut all: Vec<f64> = (0..3).map(|_| self.run(shape, backend).truth).collect();
        all.sort_by(f64::total_cmp);
        all[1]
    }

    /// Asks until it runs on this device, and not to explore.
    fn until(&mut self, shape: (usize, u64), device: &str) {
        let mut elsewhere = 0;
        loop {
            let run = self.run(shape, "auto");
            println!(
                "  {elsewhere}: {} {:.3} J, told {:.3} J, {}",
                run.device, run.truth, run.told, run.receipt["reason"]
            );
            if run.device == device && run.receipt["reason"] != "explored" {
                return;
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
    for shape in [SHORT, LONG] {
        for backend in ["cpu", "gpu"] {
            scene.run(shape, backend);
        }
    }
    let (cpu, gpu) = (scene.truth(LONG, "cpu"), scene.truth(LONG, "gpu"));
    let (cheap, dear) = (WATTS * cpu / gpu / CLEAR, WATTS * cpu / gpu * CLEAR);
    println!("a long answer on the CPU {cpu:.3} J, on the GPU {gpu:.3} J at {WATTS} W; {cheap:.3} W and {dear:.3} W from here");

    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {cheap}"));
    for _ in 0..3 {
        for backend in ["cpu", "gpu"] {
            scene.run(LONG, backend);
        }
    }
    let (cpu, gpu) = (scene.truth(LONG, "cpu"), scene.truth(LONG, "gpu"));
    assert!(gpu < cpu, "the GPU takes {gpu} J and the CPU {cpu} J");
    println!("the GPU takes {gpu:.3} J, the CPU {cpu:.3} J");
    scene.until(LONG, "gpu0");
    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {dear}"));
    println!("the GPU takes {} times as much", CLEAR * CLEAR);
    scene.until(LONG, "cpu");
    scene.bed.plant.say(&format!("watts {WATTS} {WATTS} {cheap}"));
    println!("and as before");
    scene.until(LONG, "gpu0");
}
