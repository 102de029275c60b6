//! `wattlm simulate`: the scheduler on virtual time, and what it is measured by.

use std::path::Path;

use serde_json::json;

use super::args::Simulate;
use super::print::{seconds, table, Gauge, Out};
use crate::error::{Code, Error, Result};
use crate::sim::{chances, contest, day_before, pair, Chances, Contest, Device, Options, Percentiles, Summary, Trace};

/// A file beyond this is none that somebody wrote.
const LARGEST: u64 = 64 << 20;

pub(super) fn run(args: &Simulate, out: Out) -> Result<()> {
    let options =
        Options { policy: args.policy.into(), calibrated: !args.uncalibrated, seed: args.seed, history: None };
    if let Some(pairs) = args.random {
        return random(pairs, args.lived, options, out);
    }
    let (Some(device), Some(trace)) = (&args.device, &args.trace) else {
        return Err(Error::new(Code::InvalidRequest, "name two files, --device FILE and --trace FILE, or --random N"));
    };
    let device = Device::parse(&read(device)?, &device.display().to_string())?;
    let parse = |file: &Path| Trace::parse(&read(file)?, &file.display().to_string(), &device);
    let trace = parse(trace)?;
    let history = args.history.as_deref().map(parse).transpose()?;
    let contest = contest(&device, &trace, Options { history: history.as_ref(), ..options }, args.oracle);
    if contest.scheduler.stuck {
        return Err(stuck("please report the files"));
    }
    out.either(&contest, page(&contest))
}

/// Whatever else a run says is worth nothing then.
fn stuck(what: &str) -> Error {
    Error::new(
        Code::Internal,
        format!("the scheduler left requests waiting for ever: this is a defect of wattlm, {what}"),
    )
}

fn read(path: &Path) -> Result<String> {
    let wrong = |what: String| Error::new(Code::InvalidRequest, format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > LARGEST {
        return Err(wrong(format!("{size} bytes are too many; a description has some thousands")));
    }
    std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))
}

/// Pairs by chance, one after another; `lived`: each after another trace of the same shape.
fn random(pairs: u32, lived: bool, options: Options<'_>, out: Out) -> Result<()> {
    let mut gauge = Gauge::new("simulating");
    let (mut all, mut kinds) = (Vec::new(), Vec::new());
    for number in 0..pairs {
        gauge.show(number as f32 / pairs as f32);
        let (device, shape, trace) = pair(options.seed, number);
        let history = day_before(options.seed, number, &device, shape).filter(|_| lived);
        let kind = shape.kind.name();
        let contest = contest(&device, &trace, Options { history: history.as_ref(), ..options }, true);
        if out.json {
            out.object(&json!({"pair": number, "trace": kind, "requests": trace.asks.len(), "contest": contest}))?;
        }
        kinds.push(kind);
        all.push(contest);
    }
    gauge.clear();
    let chances = chances(&all);
    match out.json {
        true => out.object(&json!({ "chances": chances }))?,
        false => out.line(distribution(&chances, &all, &kinds))?,
    }
    sound(&chances, options.seed)
}

/// Says which pairs nothing came of, where there are any.
fn sound(chances: &Chances, seed: u64) -> Result<()> {
    if chances.stuck.is_empty() {
        return Ok(());
    }
    let pairs: Vec<String> = chances.stuck.iter().map(u32::to_string).collect();
    Err(stuck(&format!("please report the seed, {seed}, and the numbers of the pairs: {}", pairs.join(", "))))
}

fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:+.1} %", 100.0 * part))
}

/// What a run took, on a page.
fn page(c: &Contest) -> String {
    let head = [
        "PLANS",
        ">JOULES",
        ">WAKE",
        ">PROMPT",
        ">MOVE",
        ">ANSWER",
        ">HOLD",
        ">MISSED",
        ">LATE",
        ">TTFT",
        ">95 %",
        ">LATENCY",
        ">95 %",
        ">TOKENS/S",
        ">REGRET",
    ];
    let runs = [
        (Some(&c.scheduler), "scheduler", None),
        (c.always_cpu.as_ref(), "always CPU", c.regret.always_cpu),
        (c.always_gpu.as_ref(), "always GPU", c.regret.always_gpu),
        (Some(&c.best_fixed), "best fixed", c.regret.best_fixed),
        (c.clairvoyant.as_ref(), "clairvoyant", c.regret.clairvoyant),
    ];
    let mut rows: Vec<Vec<String>> =
        runs.into_iter().filter_map(|(summary, name, regret)| Some(row(summary?, name, regret))).collect();
    if let Some(bound) = c.lower_bound {
        rows.push(vec!["lower bound".to_owned(), format!("{bound:.1}")]);
    }
    let s = &c.scheduler;
    let mut page = table(&head, &rows);
    let counts = |counts: &std::collections::BTreeMap<String, u32>| {
        counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
    };
    page += &format!(
        "\n{} requests in {} on {}: {} answered, {} refused, {} tokens, {:.3} J for each, {:.1} J idle, lanes brought up \
         {} times\n",
        s.requests,
        seconds(s.seconds),
        c.device,
        s.answered,
        s.refused,
        s.tokens,
        s.joules_per_token,
        s.joules.idle,
        s.wakes
    );
    page += &format!("ran on: {}; because: {}\n", counts(&s.plans), counts(&c.reasons));
    page += &format!("the best fixed plan: {}\n", c.best_fixed.name);
    if let Some(best) = &c.clairvoyant {
        let how = if c.exhaustive { "every combination tried" } else { "the best that a search found" };
        page += &format!("{}: {} ({how}, {} runs)\n", best.name, counts(&best.plans), c.runs);
    }
    if let Some((missed, late)) = c.fewest.filter(|fewest| *fewest < (s.missed, s.late)) {
        page += &format!("at any price no more than {missed} had to be missed, and {late} late\n");
    }
    if let Some(Percentiles { p50, p95, .. }) = c.forecast_error {
        page +=
            &format!("joules were foretold to {:.0} % in the middle, {:.0} % in 95 of 100\n", 100.0 * p50, 100.0 * p95);
    }
    if c.calibration_joules > 0.0 {
        page += &format!("calibrated before with {:.0} J, which no figure above contains\n", c.calibration_joules);
    }
    if c.lived > 0 {
        page += &format!("the scheduler lived through {} requests before, which no figure above contains\n", c.lived);
    }
    page += "Joules are those above idle. Regret: what the scheduler took more than these plans.";
    page
}

fn row(s: &Summary, name: &str, regret: Option<f64>) -> Vec<String> {
    let joules = |j: f64| format!("{j:.1}");
    let time = |p: Option<Percentiles>, of: fn(Percentiles) -> f64| p.map_or("-".to_owned(), |p| seconds(of(p)));
    vec![
        name.to_owned(),
        joules(s.active_joules),
        joules(s.joules.wake),
        joules(s.joules.prefill),
        joules(s.joules.handover),
        joules(s.joules.decode),
        joules(s.joules.hold),
        s.missed.to_string(),
        s.late.to_string(),
        time(s.ttft, |p| p.p50),
        time(s.ttft, |p| p.p95),
        time(s.latency, |p| p.p50),
        time(s.latency, |p| p.p95),
        format!("{:.1}", s.tokens_per_second),
        if name == "scheduler" { String::new() } else { percent(regret) },
    ]
}

/// Lines of the pairs that went worst.
const WORST: usize = 10;

fn distribution(chances: &Chances, all: &[Contest], kinds: &[&str]) -> String {
    let of = |p: Option<Percentiles>| match p {
        Some(p) => format!("median {}, 95 of 100 {}", percent(Some(p.p50)), percent(Some(p.p95))),
        None => "-".to_owned(),
    };
    let worst = chances.worst.map_or(String::new(), |(r, n)| format!(", worst {} (pair {n})", percent(Some(r))));
    let mut page = format!(
        "{} pairs. Regret against the clairvoyant: {}, mean {}{worst}; over 3 %: {}, over 8 %: {}\n",
        chances.pairs,
        of(chances.regret),
        percent(Some(chances.mean)),
        chances.over.0,
        chances.over.1
    );
    page += &format!("Against the best fixed plan: {}; over 1 %: {}\n", of(chances.fixed), chances.fixed_over);
    page += &format!("More missed, or late, than had to be at any price: {} pairs\n", chances.more_missed);
    page += &format!("The clairvoyant above the lower bound: {}\n\n", of(chances.gap));
    let mut order: Vec<usize> = (0..all.len()).collect();
    let regret = |i: usize| all[i].regret.clairvoyant.unwrap_or(0.0);
    order.sort_by(|a, b| regret(*b).total_cmp(&regret(*a)));
    let counts = |s: &Summary| s.plans.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ");
    let rows: Vec<Vec<String>> = order
        .into_iter()
        .take(WORST)
        .map(|i| {
            let c = &all[i];
            vec![
                i.to_string(),
                kinds.get(i).copied().unwrap_or_default().to_owned(),
                percent(c.regret.clairvoyant),
                percent(c.regret.best_fixed),
                format!("{:.1}", c.scheduler.active_joules),
                counts(&c.scheduler),
                c.clairvoyant.as_ref().map(counts).unwrap_or_default(),
            ]
        })
        .collect();
    page += &table(&[">PAIR", "TRACE", ">REGRET", ">FIXED", ">JOULES", "RAN ON", "CLAIRVOYANT"], &rows);
    page.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::Policy;

    #[test]
    fn a_page_has_a_row_for_each_and_says_what_they_are() {
        let (device, _, trace) = pair(5, 0);
        let options = Options { policy: Policy::MinEnergy, calibrated: true, seed: 1, history: None };
        let page = page(&contest(&device, &trace, options, false));
        for part in ["scheduler", "always CPU", "always GPU", "best fixed", "ran on: ", "calibrated before with"] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains("clairvoyant"), "{page}");
    }

    #[test]
    fn a_pair_that_nothing_came_of_is_an_error_that_names_it() {
        let (device, _, trace) = pair(5, 0);
        let options = Options { policy: Policy::MinEnergy, calibrated: true, seed: 1, history: None };
        let mut all = vec![contest(&device, &trace, options, false); 3];
        assert!(sound(&chances(&all), 5).is_ok());
        all[1].scheduler.stuck = true;
        let error = sound(&chances(&all), 5).unwrap_err();
        assert!(error.code == Code::Internal && error.message.contains("seed, 5") && error.message.ends_with(": 1"));
    }
}
