//! Devices and traces by chance: what the scheduler meets that nobody tuned it for, and the traces that are shipped.
//!
//! The ranges stand here and in `docs/simulator.md`. Equal seeds give equal devices and traces.

use super::device::{Device, Drift, Handover, Heat, LaneSpec, Point, Sensor, Variant};
use super::rng::Rng;
use super::trace::Line;
use crate::sched::Class;

/// Kinds of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Short questions behind one long system prompt, some at a time, minutes apart; a person waits.
    Voice,
    /// Conversations that grow with every turn.
    Chat,
    /// Long texts are summed up in the background, minutes apart.
    Log,
    /// Many at once, then nothing for long.
    Burst,
}

impl Kind {
    /// All.
    pub const ALL: [Kind; 4] = [Kind::Voice, Kind::Chat, Kind::Log, Kind::Burst];

    /// What its shipped trace is called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Voice => "voice-assistant",
            Kind::Chat => "chat",
            Kind::Log => "log-summariser",
            Kind::Burst => "burst",
        }
    }
}

/// What a trace is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Of what kind.
    pub kind: Kind,
    /// Requests.
    pub count: usize,
    /// Times as long between requests as usual, as long prompts and as long answers.
    pub scale: (f64, f64, f64),
}

/// The stream of what came before a trace.
pub(super) const BEFORE: u64 = 100;

/// The shipped trace of a kind.
pub fn shipped(kind: Kind) -> Vec<Line> {
    like_shipped(kind, 0)
}

/// Another one, as the day before may have been.
pub fn shipped_history(kind: Kind) -> Vec<Line> {
    like_shipped(kind, BEFORE)
}

fn like_shipped(kind: Kind, stream: u64) -> Vec<Line> {
    let count = match kind {
        Kind::Voice => 60,
        Kind::Chat | Kind::Log => 40,
        Kind::Burst => 48,
    };
    trace(Shape { kind, count, scale: (1.0, 1.0, 1.0) }, &mut Rng::new(2026).apart(kind as u64 + stream))
}

/// A trace by chance: some of each kind.
pub fn random_trace(rng: &mut Rng) -> (Shape, Vec<Line>) {
    let kind = Kind::ALL[rng.even(0.0, 4.0) as usize % 4];
    let count = rng.even(30.0, 80.0) as usize;
    let scale = (rng.log(0.25, 4.0), rng.log(0.3, 3.0), rng.log(0.4, 2.5));
    let shape = Shape { kind, count, scale };
    (shape, trace(shape, rng))
}

/// A trace of this shape.
pub fn trace(shape: Shape, rng: &mut Rng) -> Vec<Line> {
    let (gap, long, answers) = shape.scale;
    let tokens = |n: f64, scale: f64| ((n * scale).round() as u32).clamp(1, 3500);
    let mut lines: Vec<Line> = Vec::new();
    let mut now = 5.0;
    while lines.len() < shape.count {
        match shape.kind {
            Kind::Voice => {
                now += rng.gap(240.0 * gap);
                let shared = tokens(300.0, long);
                for _ in 0..1 + rng.even(0.0, 4.0) as usize {
                    let line = Line {
                        class: Class::Interactive,
                        uid: 1000,
                        session: Some("home".to_owned()),
                        shared,
                        ttft: Some(3.0),
                        max_tokens: Some(128),
                        ..ask(now, shared + rng.length(18.0, 0.4), rng.length(22.0 * answers, 0.5))
                    };
                    lines.push(line);
                    now += rng.even(4.0, 14.0) + 3.0 * gap;
                }
            }
            Kind::Chat => {
                now += rng.gap(300.0 * gap);
                let session = format!("talk-{}", lines.len());
                let (mut shared, mut after) = (0, None);
                for _ in 0..3 + rng.even(0.0, 6.0) as usize {
                    let prompt = shared + 4 + tokens(f64::from(rng.length(40.0, 0.8)), long);
                    let answer = rng.length(120.0 * answers, 0.6).min(512);
                    if prompt > 3000 {
                        break;
                    }
                    let line = Line {
                        after,
                        uid: 1001,
                        session: Some(session.clone()),
                        shared,
                        max_tokens: Some(512),
                        ..ask(now, prompt, answer)
                    };
                    lines.push(line);
                    shared = prompt + answer;
                    // The answer is read as fast as it comes, and then there is something to think about.
                    let pause = rng.gap(25.0 * gap) + 4.0;
                    now += f64::from(answer) * 0.08 + pause;
                    after = Some((pause * 1000.0).round() / 1000.0);
                }
            }
            Kind::Log => {
                now += 30.0 * gap + rng.gap(200.0 * gap);
                let line = Line {
                    class: Class::Background,
                    uid: 1002,
                    endpoint: "completion".to_owned(),
                    max_tokens: Some(256),
                    ..ask(now, tokens(f64::from(rng.length(900.0, 0.5)), long), rng.length(90.0 * answers, 0.3))
                };
                lines.push(line);
            }
            Kind::Burst => {
                now += 120.0 * gap + rng.gap(240.0 * gap);
                let mut at = now;
                for _ in 0..8 + rng.even(0.0, 5.0) as usize {
                    at += rng.gap(0.4);
                    let deadline = rng.chance(0.3).then_some(240.0);
                    let line = Line {
                        uid: 1010 + rng.even(0.0, 4.0) as u32,
                        deadline,
                        max_tokens: Some(200),
                        ..ask(at, tokens(f64::from(rng.length(120.0, 0.8)), long), rng.length(45.0 * answers, 0.6))
                    };
                    lines.push(line);
                }
                now = at + 30.0;
            }
        }
    }
    lines.truncate(shape.count);
    lines.sort_by(|a, b| a.at.total_cmp(&b.at));
    lines
}

fn ask(at: f64, prompt: u32, answer: u32) -> Line {
    Line {
        // Milliseconds are enough, and are the same when written and read.
        at: (at * 1000.0).round() / 1000.0,
        after: None,
        uid: 0,
        class: Class::Standard,
        endpoint: "chat".to_owned(),
        model: None,
        prompt,
        answer,
        max_tokens: None,
        deadline: None,
        ttft: None,
        backend: None,
        session: None,
        shared: 0,
    }
}

/// A device by chance: a CPU and a GPU that differ in every way by which one may be the better.
pub fn random_device(rng: &mut Rng, name: String) -> Device {
    let cores = [2, 4, 6, 8][rng.even(0.0, 4.0) as usize % 4];
    // With all threads: tokens a second and watts of answers, of prompts how many times as much.
    let decode = (rng.log(4.0, 40.0), rng.log(1.5, 25.0));
    let prefill = (decode.0 * rng.log(3.0, 12.0), decode.1 * rng.even(1.0, 1.5));
    // Answers are bound by memory: fewer threads reach this share of the speed with more than their share of watts.
    let (bound, base) = (rng.even(0.35, 0.8), rng.even(0.2, 0.5));
    let share = |n: u32| f64::from(n) / f64::from(cores);
    let points = (1..=cores).map(|n| Point {
        token: 1.0 / (prefill.0 * share(n).powf(0.95)),
        prefill_watts: prefill.1 * (base + (1.0 - base) * share(n)),
        step: 1.0 / (decode.0 * (share(n) / bound).min(1.0).powf(0.9)),
        decode_watts: decode.1 * (base + (1.0 - base) * share(n)),
    });
    let size = rng.log(0.4, 3.0);
    let cpu = LaneSpec {
        variant: 0,
        device: 0,
        points: points.collect(),
        prefill_fixed: 0.0,
        prefill_depth: rng.log(5e-5, 3e-4),
        decode_depth: rng.log(4e-5, 1.5e-4),
        decode_batch: rng.even(0.1, 0.5),
        decode_batch_watts: rng.even(0.0, 0.1),
        load_seconds: rng.log(0.5, 3.0) * size,
        load_watts: decode.1 * rng.even(0.3, 0.8),
        hold_watts: 0.0,
        slots: 4,
        memory: (size * 1e9) as u64,
    };
    let speed = (decode.0 * rng.log(0.5, 3.5), prefill.0 * rng.log(1.0, 20.0));
    let each = (decode.1 / decode.0 * rng.log(0.4, 2.2), prefill.1 / prefill.0 * rng.log(0.1, 1.5));
    let point = Point {
        token: 1.0 / speed.1,
        prefill_watts: speed.1 * each.1,
        step: 1.0 / speed.0,
        decode_watts: speed.0 * each.0,
    };
    let gpu = LaneSpec {
        device: 1,
        points: vec![point],
        prefill_fixed: rng.even(0.0, 0.04),
        decode_batch: rng.even(0.02, 0.2),
        load_seconds: cpu.load_seconds * rng.even(1.0, 4.0),
        load_watts: cpu.load_watts * rng.even(0.8, 1.6),
        hold_watts: point.decode_watts * rng.log(0.01, 0.25),
        ..cpu.clone()
    };
    let idle_watts = decode.1 * rng.even(0.2, 1.0);
    let most = idle_watts + prefill.1.max(point.prefill_watts).max(point.decode_watts);
    let third = 1.0 / 3.0;
    Device {
        name,
        idle_watts,
        memory: if rng.chance(0.2) { (size * 1.5e9) as u64 } else { (size * 4e9) as u64 },
        chunk: 512,
        chunk_shared: 64,
        contention: rng.even(0.0, 0.5),
        cap: None,
        idle_unload: None,
        variants: vec![Variant { name: "model".to_owned(), cell_bytes: rng.log(8e3, 2e5) }],
        lanes: vec![cpu, gpu],
        handover: Handover {
            seconds: rng.log(0.003, 0.05),
            bytes_per_second: rng.log(2e8, 8e9),
            watts: decode.1 * rng.even(0.1, 0.6),
        },
        sensor: Sensor {
            noise: rng.even(0.0, 0.05),
            refresh: rng.log(0.02, 0.5),
            drift: rng.even(0.0, 0.03),
            drift_period: rng.log(300.0, 3600.0),
        },
        drift: rng.chance(third).then(|| Drift {
            time: rng.even(0.0, 0.05),
            watts: rng.even(0.0, 0.05),
            period: rng.log(300.0, 3600.0),
        }),
        heat: rng.chance(third).then(|| {
            // It throttles where it draws as much as it can for long.
            let full = rng.even(45.0, 80.0);
            let limit = 25.0 + full * rng.even(0.6, 0.95);
            Heat {
                ambient: 25.0,
                degrees_per_watt: full / most,
                seconds: rng.log(30.0, 200.0),
                limit,
                resume: limit - 6.0,
                slower: rng.even(1.1, 1.8),
                watts: rng.even(0.6, 1.0),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Trace;

    fn file(folder: &str, kind: Kind) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dist/sim/{folder}/{}.jsonl", kind.name()))
    }

    /// `UPDATE=1` writes them.
    #[test]
    fn shipped_traces_are_those_of_the_generator() {
        for kind in Kind::ALL {
            for (folder, lines) in [("traces", shipped(kind)), ("traces/history", shipped_history(kind))] {
                let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
                if std::env::var_os("UPDATE").is_some() {
                    std::fs::create_dir_all(file(folder, kind).parent().unwrap()).unwrap();
                    std::fs::write(file(folder, kind), &text).unwrap();
                }
                assert_eq!(std::fs::read_to_string(file(folder, kind)).unwrap(), text, "{folder} {}", kind.name());
            }
            assert_ne!(shipped(kind), shipped_history(kind));
        }
    }

    #[test]
    fn what_is_drawn_is_sound_and_repeats() {
        for seed in 0..300 {
            let draw = || {
                let mut rng = Rng::new(seed);
                let device = random_device(&mut rng, "d".into());
                let (_, lines) = random_trace(&mut rng);
                let lines: Vec<_> = lines.into_iter().enumerate().collect();
                (Trace::new(&lines, &device).unwrap(), device)
            };
            let (trace, device) = draw();
            assert_eq!((trace.clone(), device.clone()), draw());
            assert!((30..=80).contains(&trace.asks.len()));
            assert!(device.lanes.iter().all(|lane| lane.memory <= device.memory));
            let sane = |x: f64| x.is_finite() && x > 0.0;
            let fine = |p: &Point| [p.token, p.step, p.decode_watts, p.prefill_watts].into_iter().all(sane);
            assert!(device.lanes.iter().flat_map(|lane| &lane.points).all(fine), "{device:?}");
            if let Some(heat) = device.heat {
                assert!(heat.resume > heat.ambient + heat.degrees_per_watt * device.idle_watts * 0.0);
            }
        }
    }
}
