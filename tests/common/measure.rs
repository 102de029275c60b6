//! What is measured of the energy account, long in `benches/energy` and short in `tests/energy.rs`.
//!
//! Each returns its figures as JSON, so that a bench prints what a test asserts.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{json, Value};

use super::bed::{ask, become_user, many_users, Answer, Bed, Words, DEMO, MODEL};
use super::plant::{now, Row};

/// Users of the measurements. No account need exist.
pub const USERS: [u32; 3] = [20_001, 20_002, 20_003];

fn percent(is: f64, should: f64) -> f64 {
    (is / should - 1.0) * 100.0
}

fn round(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// How busy other programs kept the machine: the busier, the harder to tell what is whose.
fn others(true_: &Row) -> f64 {
    round(true_.others_cpu / (true_.at as f64 / 1e9))
}

/// Parts that the account's total must be the exact sum of.
pub const PARTS: [&str; 4] = ["idle_j", "charged_j", "others_j", "shared_j"];

/// SUM. Three users ask both models, short and long, with pauses, for this time. The plant's options decide what
/// happens to the sensors meanwhile.
pub fn sum(bed: &mut Bed, time: Duration) -> Value {
    bed.speed(MODEL);
    bed.speed(DEMO);
    let first = bed.account();
    let end = now() + time.as_nanos() as u64;
    let client = &bed.client;
    let answers: Vec<Answer> = std::thread::scope(|s| {
        let user = |uid: u32| {
            move || {
                become_user(uid);
                let mut words = Words::new(u64::from(uid));
                let mut answers = Vec::new();
                while now() < end {
                    let (model, prompt, tokens) = match words.below(6) {
                        0 => (MODEL, 150, 4),
                        1 | 2 => (MODEL, 8, 20 + words.below(60)),
                        3 => (MODEL, 40, 30),
                        4 => (DEMO, 30, 40),
                        _ => (DEMO, 4, 200),
                    };
                    answers.push(ask(client, model, &words.text(prompt), tokens));
                    let pause = words.below(2500).saturating_sub(500);
                    std::thread::sleep(Duration::from_millis(pause));
                }
                answers
            }
        };
        let users: Vec<_> = USERS.iter().map(|uid| s.spawn(user(*uid))).collect();
        users.into_iter().flat_map(|u| u.join().expect("a user's answers")).collect()
    });
    bed.settle();
    let last = bed.account();
    let truth = bed.plant.truth();
    let true_ = truth.between(first.at, last.at);
    let part = |name: &str| last.joules(name) - first.joules(name);
    let parts: f64 = PARTS.iter().map(|p| part(p)).sum();
    let receipts: f64 = answers.iter().map(|a| a.energy("joules")).sum();
    // Well inside an outage: longer than the time in which a sensor is missed.
    let inside = |a: &&Answer| truth.outages.iter().any(|(from, to)| a.from < *to && a.to > *from + 2_000_000_000);
    json!({
        "what": "sum",
        "seconds": round((last.at - first.at) as f64 / 1e9),
        "requests": answers.len(),
        "users": if many_users() { USERS.len() } else { 1 },
        "source": last.json["source"],
        "others_cores": others(&true_),
        "true_j": round(true_.total),
        "sum_j": round(parts),
        "error_percent": round(percent(parts, true_.total)),
        "parts_less_metered_j": PARTS.iter().map(|p| last.joules(p)).sum::<f64>() - last.joules("metered_j"),
        "idle_j": round(part("idle_j")),
        "true_idle_j": round(true_.idle),
        "charged_j": round(part("charged_j")),
        "true_workers_j": round(true_.workers),
        "receipts_j": round(receipts),
        "others_j": round(part("others_j")),
        "true_others_j": round(true_.others + true_.daemon),
        "shared_j": round(part("shared_j")),
        "estimated_j": round(part("estimated_j")),
        "correction_j": round(part("correction_j")),
        "outages": truth.outages.len(),
        "outage_s": round(truth.outages.iter().map(|(a, b)| (b - a) as f64 / 1e9).sum()),
        "requests_in_outage": answers.iter().filter(inside).count(),
        "of_these_estimated": answers.iter().filter(inside).filter(|a| a.quality() == "estimated").count(),
    })
}

/// SHARES. One user asks three things and another one, all alike and at once; `rounds` times.
pub fn shares(bed: &mut Bed, rounds: usize, seconds: f64) -> Value {
    // Four at once take longer than one alone, but less than four times as long.
    let tokens = ((bed.speed(MODEL) * seconds) as u64).clamp(32, 800);
    let client = &bed.client;
    // Each round begins when all have ended the last: who is left alone pays for whole steps.
    let round_begins = Barrier::new(4);
    let begins = &round_begins;
    let stream = |uid: u32, seed: u64| {
        move || {
            become_user(uid);
            let mut words = Words::new(seed);
            let mut one = || {
                begins.wait();
                ask(client, MODEL, &words.text(12), tokens)
            };
            (0..rounds).map(|_| one()).collect::<Vec<_>>()
        }
    };
    let (three, one) = std::thread::scope(|s| {
        let three: Vec<_> = (0..3).map(|n| s.spawn(stream(USERS[0], 100 + n))).collect();
        let one = s.spawn(stream(USERS[1], 200));
        let three: Vec<Answer> = three.into_iter().flat_map(|t| t.join().expect("answers")).collect();
        (three, one.join().expect("answers"))
    });
    bed.settle();
    let from = three.iter().chain(&one).map(|a| a.from).min().expect("an answer");
    let to = three.iter().chain(&one).map(|a| a.to).max().expect("an answer");
    let true_ = bed.plant.truth().between(from, to + 100_000_000);
    let workers = true_.workers;
    let joules = |answers: &[Answer]| answers.iter().map(|a| a.energy("joules")).sum::<f64>();
    let (a, b) = (joules(&three), joules(&one));
    json!({
        "what": "shares",
        "seconds": round((to - from) as f64 / 1e9),
        "tokens_each": tokens,
        "others_cores": others(&true_),
        "three_j": round(a),
        "one_j": round(b),
        "ratio": round(a / b),
        "error_percent": round(percent(a / b, 3.0)),
        "both_j": round(a + b),
        "true_workers_j": round(workers),
        "sum_error_percent": round(percent(a + b, workers)),
    })
}

/// SINGLE. Requests one after another, each of at least `seconds` of work, against what the plant says that the workers
/// used meanwhile.
pub fn single(bed: &mut Bed, count: usize, seconds: f64) -> Value {
    let mut tokens = ((bed.speed(MODEL) * seconds * 1.2) as u64).clamp(16, 1500);
    let mut words = Words::new(7);
    let mut answers = Vec::new();
    while answers.len() < count {
        bed.settle();
        // From short prompts to ones that are half of the work.
        let prompt = [4, 12, 40, 100][answers.len() % 4];
        let answer = ask(&bed.client, MODEL, &words.text(prompt), tokens);
        // The machine got faster: the answer was too short.
        if answer.seconds() < seconds {
            tokens = (tokens * 5 / 4).min(1500);
            continue;
        }
        answers.push(answer);
    }
    bed.settle();
    let truth = bed.plant.truth();
    let mut errors = Vec::new();
    let (mut inside, mut estimated) = (0, 0);
    let (mut charged, mut used, mut bars) = (0.0, 0.0, 0.0);
    let mut all = Vec::new();
    for a in &answers {
        // The kernel's tick and the plant's come after the work; nothing else follows within that time.
        let workers = truth.between(a.from, a.to + 60_000_000).workers;
        let joules = a.energy("joules");
        errors.push(percent(joules, workers));
        inside += usize::from((joules - workers).abs() <= a.energy("error"));
        estimated += usize::from(a.quality() != "measured");
        let bar = a.energy("error") / joules.max(1e-9) * 100.0;
        bars += bar;
        let error = percent(joules, workers);
        let others = others(&truth.between(a.from, a.to));
        all.push(json!({"n": all.len() + 1, "error": round(error), "bar": round(bar), "others": others}));
        charged += joules;
        used += workers;
    }
    let bias = errors.iter().sum::<f64>() / errors.len() as f64;
    let mut sizes: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let size = |r: &Value| r["error"].as_f64().unwrap_or(0.0).abs();
    let first: Vec<Value> = all.iter().take(4).cloned().collect();
    all.sort_by(|a, b| size(b).total_cmp(&size(a)));
    all.truncate(5);
    json!({
        "what": "single",
        "requests": count,
        "others_cores": others(&truth.between(answers[0].from, answers[count - 1].to)),
        "seconds_mean": round(answers.iter().map(Answer::seconds).sum::<f64>() / count as f64),
        "joules_mean": round(charged / count as f64),
        "true_mean": round(used / count as f64),
        "sum_error_percent": round(percent(charged, used)),
        "bias_percent": round(bias),
        "error_median_percent": round(quantile(&sizes, 0.5)),
        "error_p95_percent": round(quantile(&sizes, 0.95)),
        "error_max_percent": round(quantile(&sizes, 1.0)),
        "within_3_percent": round(sizes.iter().filter(|e| **e <= 3.0).count() as f64 / count as f64),
        "bar_mean_percent": round(bars / count as f64),
        "bar_holds_truth": round(inside as f64 / count as f64),
        "estimated": estimated,
        "first": first,
        "worst": all,
    })
}

/// IDLE. Wake-ups of the daemon with a model loaded and nothing to do.
pub fn idle(bed: &mut Bed, time: Duration) -> Value {
    bed.speed(MODEL);
    // What follows the work is not idleness yet.
    std::thread::sleep(Duration::from_secs(3));
    let (before, from) = (bed.wakeups(), now());
    std::thread::sleep(time);
    let (woke, seconds) = (bed.wakeups() - before, (now() - from) as f64 / 1e9);
    json!({"what": "idle", "seconds": round(seconds), "wakeups": woke, "per_second": round(woke as f64 / seconds)})
}

/// BUSY. CPU time of the daemon's thread `meter` while a model runs.
pub fn busy(bed: &mut Bed, time: Duration) -> Value {
    let speed = bed.speed(MODEL);
    let mut words = Words::new(9);
    let (before, from) = (bed.threads_cpu(), now());
    while now() < from + time.as_nanos() as u64 {
        ask(&bed.client, MODEL, &words.text(8), (speed as u64).clamp(16, 500));
    }
    let (after, seconds) = (bed.threads_cpu(), (now() - from) as f64 / 1e9);
    let used = |name: &str| Some((after.get(name)? - before.get(name).unwrap_or(&0.0)) / seconds * 100.0);
    let all: f64 = after.values().sum::<f64>() - before.values().sum::<f64>();
    json!({
        "what": "busy",
        "seconds": round(seconds),
        "meter_percent": used("meter").map(round),
        "daemon_percent": round(all / seconds * 100.0),
        "plant_percent": round(bed.plant.cpu().as_secs_f64() / ((now() - bed.plant.started) as f64 / 1e9) * 100.0),
    })
}
