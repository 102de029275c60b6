//! The world, the fixed plans, the clairvoyant and the bound against each other and against figures made by hand.

use super::device::{Device, Drift, Heat};
use super::oracle::{clairvoyant, hindsight, run, May};
use super::outcome::{Fate, Outcome};
use super::script::{Keep, Plans, Way};
use super::trace::{Line, Trace};
use super::{bound, day_before, pair, play, Options, Rng};
use crate::sched::Policy;

/// A CPU of two threads and a GPU that is fast with prompts; round figures.
const DEVICE: &str = "name = \"d\"\nidle_watts = 2\nmemory = \"4G\"\n[[variant]]\nname = \"m\"\ncell_bytes = 1000\n\
    [handover]\nseconds = 0.1\nbytes_per_second = 1e6\nwatts = 1\n\
    [[lane]]\nvariant = \"m\"\ndevice = \"cpu\"\nthreads = [1, 2]\nprefill_rate = [50, 100]\nprefill_watts = [2, 5]\n\
    decode_rate = [8, 10]\ndecode_watts = [2, 4]\nload_seconds = 1\nload_watts = 2\nslots = 2\nmemory = \"1G\"\n\
    decode_batch = 0.25\n\
    [[lane]]\nvariant = \"m\"\ndevice = \"gpu\"\nprefill_rate = [500]\nprefill_watts = [8]\ndecode_rate = [20]\n\
    decode_watts = [9]\nload_seconds = 2\nload_watts = 5\nhold_watts = 1\nslots = 4\nmemory = \"1G\"\n\
    decode_batch = 0.1\n";

pub(super) fn device() -> Device {
    Device::parse(DEVICE, "d").unwrap()
}

pub(super) fn line(at: f64, prompt: u32, answer: u32) -> Line {
    serde_json::from_value(serde_json::json!({"at": at, "prompt": prompt, "answer": answer})).unwrap()
}

pub(super) fn trace(lines: Vec<Line>, device: &Device) -> Trace {
    Trace::new(&lines.into_iter().enumerate().collect::<Vec<_>>(), device).unwrap()
}

const CPU: Way = Way { prefill: 0, decode: 0, threads: (2, 2) };
const GPU: Way = Way { prefill: 1, decode: 1, threads: (1, 1) };
const SPLIT: Way = Way { prefill: 1, decode: 0, threads: (1, 2) };

fn played(device: &Device, trace: &Trace, ways: &[Way], keep: Keep) -> Outcome {
    let plans = Plans { ways: ways.to_vec(), hold: vec![false; ways.len()], keep };
    run(device, trace, plans, String::new()).outcome
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn two_requests_by_hand() {
    let device = device();
    let trace = trace(vec![line(0.0, 100, 11), line(1.5, 50, 21)], &device);
    let outcome = played(&device, &trace, &[CPU, CPU], Keep::Never);
    let [a, b] = &outcome.requests[..] else { panic!("{outcome:?}") };
    // Loaded until 1; a's prompt until 2 with its first token; b waited for that step. Then pieces of 64 beside an
    // answer: b's 50 tokens and a token of a's take 0.5 + 0.1 s, until 2.6 with b's first token.
    assert!(near(a.first.unwrap(), 2.0) && near(b.first.unwrap(), 2.6), "{outcome:?}");
    // Nine steps of two take 0.125 s each, until 3.725: a has its eleven tokens. Eleven alone take 0.1 s each.
    assert!(near(a.end.unwrap(), 3.725) && near(b.end.unwrap(), 4.825), "{outcome:?}");
    assert_eq!((a.tokens, b.tokens, a.fate, b.fate), (11, 21, Fate::Answered, Fate::Answered));
    let joules = outcome.joules;
    assert!(near(joules.wake, 2.0) && near(joules.prefill, 1.5 * 5.0), "{joules:?}");
    assert!(near(joules.decode, (0.1 + 9.0 * 0.125 + 1.1) * 4.0) && near(joules.idle, 2.0 * 4.825), "{joules:?}");
    assert_eq!((joules.hold, joules.handover, outcome.wakes), (0.0, 0.0, 1));
}

#[test]
fn fixed_plans_keep_to_the_cap_as_well() {
    let (free, mut capped) = (device(), device());
    capped.cap = Some(5.0);
    let trace = trace(vec![line(0.0, 100, 11)], &free);
    let of = |device: &Device| played(device, &trace, &[CPU], Keep::Never);
    let (fast, slow) = (of(&free), of(&capped));
    // 3 W are left: for a second of prompt at 5 W and for one of answer at 4 W.
    let end = |outcome: &Outcome| outcome.requests[0].end.unwrap();
    assert!(near(end(&fast), 3.0) && near(end(&slow), 1.0 + 5.0 / 3.0 + 4.0 / 3.0), "{slow:?}");
    assert!(near(slow.joules.prefill, 5.0) && near(slow.joules.decode, 4.0), "{slow:?}");
    assert!(near(slow.drawn, 1.0 * 4.0 + 3.0 * 5.0), "{slow:?}");
    // One that leaves nothing does not stop them for ever.
    capped.cap = Some(1.0);
    assert!(near(end(&of(&capped)), 1.0 + 2.0 / 0.02));
}

#[test]
fn a_split_plan_copies_the_state_and_the_second_lane_brings_every_token() {
    let device = device();
    let trace = trace(vec![line(0.0, 500, 10)], &device);
    let outcome = played(&device, &trace, &[SPLIT], Keep::Never);
    let request = &outcome.requests[0];
    // Loaded until 2, prompt until 3, 500 kB in 0.1 + 0.5 s, ten steps of 0.1 s.
    assert!(near(request.first.unwrap(), 3.7) && near(request.end.unwrap(), 4.6), "{outcome:?}");
    assert_eq!(request.lanes, (Some(1), Some(0)));
    // The CPU's lane was loaded as well. The GPU's goes when the state is out: 1 + 0.3 s, and 0.05 s to go.
    let joules = outcome.joules;
    assert!(near(joules.wake, 12.0) && near(joules.prefill, 8.0) && near(joules.handover, 0.6), "{joules:?}");
    assert!(near(joules.decode, 4.0) && near(joules.hold, 1.35), "{joules:?}");
}

#[test]
fn gaps_are_held_or_let_go_as_told_and_a_clairvoyant_knows_which() {
    let device = device();
    // Loading takes 10 J, so a gap is worth 10 s of holding.
    for (gap, cheaper, wakes) in [(9.0, Keep::Always, 1), (11.0, Keep::Never, 2)] {
        let trace = trace(vec![line(0.0, 500, 1), line(3.0 + gap, 500, 1)], &device);
        let of = |keep| played(&device, &trace, &[GPU, GPU], keep);
        let (always, never, even, best) = (of(Keep::Always), of(Keep::Never), of(Keep::BreakEven), of(Keep::Foresight));
        assert_eq!((always.wakes, never.wakes, best.wakes), (1, 2, wakes));
        assert!(near(best.joules.active(), of(cheaper).joules.active()), "{gap}");
        assert!(even.joules.hold <= best.joules.hold + 10.1 && even.wakes == wakes, "{gap}: {even:?}");
    }
}

#[test]
fn a_session_computes_only_what_its_lane_does_not_hold() {
    let device = device();
    let session = |at: f64, prompt, shared| Line { session: Some("s".into()), shared, ..line(at, prompt, 1) };
    let trace = trace(vec![session(0.0, 100, 0), session(9.0, 150, 100), session(20.0, 150, 140)], &device);
    // The second finds the first's hundred; the third begins anew on the other lane.
    let outcome = played(&device, &trace, &[CPU, CPU, GPU], Keep::Always);
    assert!(near(outcome.joules.prefill, (100.0 + 50.0) / 100.0 * 5.0 + 150.0 / 500.0 * 8.0), "{outcome:?}");
}

#[test]
fn prompts_with_one_beginning_compute_it_once_though_they_come_together() {
    let device = device();
    let session = |at: f64, prompt| Line { session: Some("s".into()), shared: 400, ..line(at, prompt, 11) };
    // The second and the third come while the first computes its prompt, the fourth while they answer.
    let lines = vec![session(0.0, 450), session(0.1, 440), session(0.2, 460), session(6.0, 420)];
    let trace = trace(lines, &device);
    let outcome = played(&device, &trace, &[CPU; 4], Keep::Always);
    let computed: Vec<u32> = outcome.requests.iter().map(|request| request.taken[0].prefill.tokens).collect();
    assert_eq!(computed, [450, 40, 60, 20]);
    let first: Vec<f64> = outcome.requests.iter().map(|request| request.first.unwrap()).collect();
    assert!(first[1] > first[0] - 0.6 && first[1] < first[0] + 2.0, "{first:?}");
    // A beginning that is short is not waited for.
    let short = |at: f64, prompt| Line { shared: 20, ..session(at, prompt) };
    let trace = super::tests::trace(vec![short(0.0, 450), short(0.1, 450)], &device);
    let outcome = played(&device, &trace, &[CPU; 2], Keep::Always);
    assert_eq!(outcome.requests[1].taken[0].prefill.tokens, 450);
}

#[test]
fn a_turn_of_a_conversation_comes_after_the_answer_before_it() {
    let device = device();
    let turn = |at, after, shared| Line { after, shared, session: Some("s".into()), ..line(at, 100, 11) };
    let lines = vec![turn(0.0, None, 0), line(1.0, 50, 1), turn(2.5, Some(2.0), 90), turn(60.0, Some(2.0), 90)];
    let trace = trace(lines, &device);
    let outcome = played(&device, &trace, &[CPU; 4], Keep::Always);
    let came: Vec<f64> = outcome.requests.iter().map(|request| request.came.unwrap()).collect();
    // The first has ended long after 0.5, and the one before the last long before 58.
    let ended = outcome.requests[0].end.unwrap();
    assert!(ended > 3.0 && near(came[2], ended + 2.0), "{came:?} {ended}");
    assert_eq!((came[1], came[3]), (1.0, 60.0));
    // So that it finds what that one left, and computes ten tokens.
    assert_eq!(outcome.requests[2].taken[0].prefill.tokens, 10);
    // What is asked for counts from when it came.
    let hurry = Line { ttft: Some(1.0), deadline: Some(1.5), ..turn(0.5, Some(2.0), 90) };
    let trace = Trace::new(&[(0, turn(0.0, None, 0)), (1, hurry)], &device).unwrap();
    let outcome = played(&device, &trace, &[CPU; 2], Keep::Always);
    let score = super::oracle::Score::of(&outcome, &trace);
    assert_eq!((score.missed, score.late), (0, 0), "{outcome:?}");
}

#[test]
fn who_misses_its_deadline_is_ended_within_a_step() {
    let device = device();
    let late = Line { deadline: Some(2.55), ttft: Some(1.0), ..line(0.0, 100, 100) };
    let waits = Line { deadline: Some(0.5), ..line(0.0, 100, 100) };
    let trace = trace(vec![late, waits], &device);
    let outcome = played(&device, &trace, &[CPU, CPU], Keep::Never);
    let [late, waits] = &outcome.requests[..] else { panic!("{outcome:?}") };
    assert_eq!((late.fate, waits.fate, late.tokens), (Fate::Expired, Fate::Refused, 7));
    assert!(near(late.end.unwrap(), 2.6) && near(waits.end.unwrap(), 0.5), "{outcome:?}");
    let score = super::Score::of(&outcome, &trace);
    assert_eq!((score.missed, score.late), (2, 1));
}

#[test]
fn lanes_that_do_not_fit_together_take_turns() {
    let mut device = device();
    device.memory = 1 << 30;
    let trace = trace((0..6).map(|i| line(f64::from(i), 50, 5)).collect(), &device);
    let ways = [CPU, GPU, SPLIT, GPU, CPU, SPLIT];
    for keep in [Keep::Always, Keep::Never, Keep::BreakEven, Keep::Foresight] {
        let outcome = played(&device, &trace, &ways, keep);
        assert!(outcome.requests.iter().all(|r| r.fate == Fate::Answered) && !outcome.stuck, "{keep:?} {outcome:?}");
    }
}

/// A device that throttles, drifts and contends for memory, and a trace with everything in it.
fn rough(seed: u64) -> (Device, Trace) {
    let mut device = device();
    let mut rng = Rng::new(seed);
    device.contention = 0.3;
    device.drift = Some(Drift { time: 0.1, watts: 0.1, period: 100.0 });
    device.heat = Some(Heat {
        ambient: 25.0,
        degrees_per_watt: 5.0,
        seconds: 20.0,
        limit: 60.0,
        resume: 55.0,
        slower: 1.4,
        watts: 0.9,
    });
    for lane in &mut device.lanes {
        (lane.prefill_depth, lane.decode_depth, lane.decode_batch_watts) = (1e-3, 1e-3, 0.05);
        lane.prefill_fixed = 0.02;
    }
    let mut at = 0.0;
    let lines = (0..30).map(|i| {
        at += rng.gap(4.0);
        let session = rng.chance(0.5).then(|| format!("s{}", i % 3));
        let shared = if session.is_some() { 30 } else { 0 };
        let deadline = rng.chance(0.2).then(|| rng.even(1.0, 20.0));
        Line { session, shared, deadline, ..line(at, 40 + rng.length(100.0, 1.0), rng.length(20.0, 1.0)) }
    });
    let lines = lines.collect();
    (device.clone(), trace(lines, &device))
}

#[test]
fn joules_by_cause_sum_to_the_integral_of_the_draw_and_runs_repeat() {
    for seed in 0..20 {
        let (device, trace) = rough(seed);
        let mut rng = Rng::new(seed);
        let all = [CPU, GPU, SPLIT, Way { threads: (1, 2), ..CPU }, Way { prefill: 0, decode: 1, threads: (2, 1) }];
        let ways: Vec<Way> = trace.asks.iter().map(|_| all[rng.even(0.0, 5.0) as usize]).collect();
        for keep in [Keep::Always, Keep::Never, Keep::BreakEven, Keep::Foresight] {
            let outcome = played(&device, &trace, &ways, keep);
            let sum = outcome.joules.active() + outcome.joules.idle;
            assert!((sum - outcome.drawn).abs() < 1e-6 * sum, "{sum} J by cause, {} J drawn", outcome.drawn);
            // What requests were charged is what was computed.
            let charged: f64 = outcome.requests.iter().map(|request| request.spent).sum();
            let computed = outcome.joules.prefill + outcome.joules.decode;
            assert!((charged - computed).abs() < 1e-6 * computed, "{charged} {computed}");
            assert!(!outcome.stuck && outcome.requests.iter().all(|request| request.end.is_some()));
            assert_eq!(outcome, played(&device, &trace, &ways, keep));
        }
    }
}

#[test]
fn steps_one_by_one_take_what_they_take_together() {
    let (device, trace) = rough(7);
    let mut smooth = device.clone();
    (smooth.heat, smooth.drift, smooth.contention) = (None, None, 0.0);
    // A drift of nothing makes the world look around every few steps.
    let mut often = smooth.clone();
    often.drift = Some(Drift { time: 0.0, watts: 0.0, period: 5.0 });
    let ways = vec![GPU; trace.asks.len()];
    let (a, b) = (played(&smooth, &trace, &ways, Keep::Always), played(&often, &trace, &ways, Keep::Always));
    assert!(near(a.joules.active(), b.joules.active()) && near(a.end, b.end), "{:?} {:?}", a.joules, b.joules);
}

#[test]
fn nothing_fixed_beats_the_clairvoyant_and_nothing_at_all_the_bound() {
    for seed in 0..6 {
        let (device, mut trace) = rough(seed);
        if seed % 2 == 0 {
            trace.asks.iter_mut().for_each(|ask| ask.deadline = None);
        }
        trace.asks.truncate(if seed < 3 { 3 } else { 12 });
        let fixed = hindsight(&device, &trace, May::default());
        let best = clairvoyant(&device, &trace, std::slice::from_ref(&fixed.best.plans), May::default());
        assert_eq!(best.exhaustive, seed < 3, "{}", best.runs);
        for other in [fixed.cpu.as_ref(), fixed.gpu.as_ref(), Some(&fixed.best)].into_iter().flatten() {
            assert!(best.found.score <= other.score, "{seed}: {:?} {:?}", best.found.score, other.score);
        }
        let answered: Vec<bool> = best.found.outcome.requests.iter().map(|r| r.fate == Fate::Answered).collect();
        let least = bound(&device, &trace, &answered);
        assert!(least > 0.0 && least <= best.found.score.joules, "{seed}: {least} {:?}", best.found.score);
    }
}

#[test]
fn who_lived_before_begins_with_what_it_learnt_and_with_cold_lanes() {
    let mut ratios = Vec::new();
    for number in 0..16 {
        let (device, shape, trace) = pair(1, number);
        let history = day_before(1, number, &device, shape).unwrap();
        assert!(history != trace && history.asks.len() == trace.asks.len());
        let options = Options { policy: Policy::MinEnergy, calibrated: true, seed: 1, history: None };
        let again = Options { history: Some(&history), ..options };
        let (new, lived) = (play(&device, &trace, options).outcome, play(&device, &trace, again));
        if number == 0 {
            assert_eq!(lived.outcome, play(&device, &trace, again).outcome);
        }
        // The books are those of the trace alone, and begin with bringing up a lane.
        let outcome = lived.outcome;
        let all = outcome.requests.iter().all(|request| request.end.is_some());
        assert!(all && !outcome.stuck && outcome.wakes > 0 && outcome.joules.wake > 0.0, "{number}: {outcome:?}");
        assert_eq!((outcome.requests.len(), lived.planned.len()), (trace.asks.len(), trace.asks.len()));
        assert!(lived.calibration > 0.0);
        ratios.push(outcome.joules.active() / new.joules.active());
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean < 1.0, "{mean}: {ratios:?}");
}
