//! The power cap: the closed loop against the best fixed setting that respects the same cap, found in the same run.
//!
//! A setting is a number of threads and a share of the time in which the model computes. Each is run for a while with
//! as many requests as the model has slots. A run respects a cap if its worst 10 s after the first 5 s, by the plant's
//! truth, are at most 2 % above it. Because settings are few, the bar is also put where the line between two
//! neighbouring ones would meet the cap.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::common::bed::{ask, Answer, Bed, Words, MODEL};
use super::common::plant::now;
use super::{report, Options};

/// Requests at once: as many as the model has slots.
const CLIENTS: u64 = 4;
/// Short answers, so that the tokens of one that begins or ends outside the time measured are few.
const TOKENS: u64 = 24;
const SETTLING: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(10);

/// What a run came to, after settling.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Mean, and of the worst window.
    watts: f64,
    worst: f64,
    tokens_per_s: f64,
}

fn load(bed: &mut Bed, time: Duration) -> Outcome {
    bed.speed(MODEL);
    let start = now();
    let (from, end) = (start + SETTLING.as_nanos() as u64, start + (SETTLING + time).as_nanos() as u64);
    let client = &bed.client;
    let answers: Vec<Answer> = std::thread::scope(|s| {
        let one = |seed: u64| {
            move || {
                let mut words = Words::new(seed);
                let mut answers = Vec::new();
                while now() < end {
                    answers.push(ask(client, MODEL, &words.text(8), TOKENS));
                }
                answers
            }
        };
        let all: Vec<_> = (0..CLIENTS).map(|n| s.spawn(one(n + 1))).collect();
        all.into_iter().flat_map(|t| t.join().expect("answers")).collect()
    });
    let truth = bed.plant.truth();
    let tokens: f64 = answers.iter().map(|a| a.tokens as f64 * a.within(from, end)).sum();
    Outcome {
        watts: truth.between(from, end).watts(),
        worst: truth.worst(from, end, WINDOW),
        tokens_per_s: tokens / time.as_secs_f64(),
    }
}

fn fixed(o: &Options, threads: usize, duty: u32) -> Outcome {
    // All of the time is what it is without the key.
    let duty = if duty < 1000 { format!("duty = {duty}\n") } else { String::new() };
    let config = format!("[cpu]\nthreads = {threads}\n{duty}");
    load(&mut o.bed(&[], &config, "none"), Duration::from_secs(o.fixed))
}

/// Tokens per second where the line through two settings of as many threads meets the cap; the best of all.
fn between(sweep: &BTreeMap<(usize, u32), Outcome>, cap: f64) -> f64 {
    let mut best = 0.0f64;
    for ((threads, _), a) in sweep {
        for (_, b) in sweep.iter().filter(|((t, _), _)| t == threads) {
            if a.watts <= cap && b.watts > cap {
                let share = (cap - a.watts) / (b.watts - a.watts);
                best = best.max(a.tokens_per_s + (b.tokens_per_s - a.tokens_per_s) * share);
            }
        }
        if a.watts <= cap {
            best = best.max(a.tokens_per_s);
        }
    }
    best
}

/// All of it; whether every bound holds.
pub(crate) fn run(o: &Options) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut sweep = BTreeMap::new();
    println!("\n== cap: fixed settings\n  threads  duty    watts  worst 10 s  tokens/s  J/token");
    for threads in 1..=cores {
        for duty in &o.duties {
            let r = fixed(o, threads, *duty);
            println!(
                "  {threads:>7}  {duty:>4}  {:>7.3}  {:>10.3}  {:>8.2}  {:>7.4}",
                r.watts,
                r.worst,
                r.tokens_per_s,
                r.watts / r.tokens_per_s.max(1e-9)
            );
            sweep.insert((threads, *duty), r);
        }
    }
    let uncapped = sweep.values().map(|r| r.watts).fold(0.0, f64::max);
    let mut all = true;
    for share in &o.caps {
        let cap = uncapped * share / 100.0;
        let config = format!("{}\n", o.cap_config.replace("{w}", &format!("{cap:.3}")));
        let r = load(&mut o.bed(&[], &config, "none"), Duration::from_secs(o.cap));
        // Short runs of fixed settings have a window as long as themselves.
        let respects = |r: &&Outcome| r.worst <= cap * 1.02;
        let best = sweep.values().filter(respects).map(|r| r.tokens_per_s).fold(0.0, f64::max);
        let line = between(&sweep, cap);
        let figures = json!({
            "what": format!("cap {share} %"),
            "uncapped_w": (uncapped * 1e3).round() / 1e3,
            "cap_w": (cap * 1e3).round() / 1e3,
            "watts": (r.watts * 1e3).round() / 1e3,
            "worst_10s_w": (r.worst * 1e3).round() / 1e3,
            "worst_of_cap": (r.worst / cap * 1e4).round() / 1e4,
            "tokens_per_s": (r.tokens_per_s * 100.0).round() / 100.0,
            "best_fixed_tokens_per_s": (best * 100.0).round() / 100.0,
            "of_best_fixed": (r.tokens_per_s / best.max(1e-9) * 1e4).round() / 1e4,
            "of_best_between": (r.tokens_per_s / line.max(1e-9) * 1e4).round() / 1e4,
        });
        all &= report(&figures, &[("worst_of_cap", 0.0, 1.02), ("of_best_fixed", 0.9, 1e9)]);
    }
    all
}
