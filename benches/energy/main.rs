//! Energy accounting measured against a plant that knows the truth: sums, shares, single requests, the power cap, and
//! what metering itself costs.
//!
//!     scripts/bench-energy [WHAT...] [OPTIONS]       all of it: about 40 minutes
//!
//! Each measurement prints a table and one line of JSON, and says which of its bounds hold; the exit status is 1 if one
//! does not. Other programs draw the plant's power as well, unless `--others none`: the busier the machine, the harder.

mod cap;
#[path = "../../tests/common/mod.rs"]
mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::bed::Bed;
use common::measure;
use serde_json::Value;

const HELP: &str = "\
scripts/bench-energy [WHAT...] [OPTIONS]

  WHAT: sum, shares, single, idle, busy, cap; all of them where none is named

  --seconds N     length of sum (600); at least 60
  --requests N    of single (200)
  --rounds N      of shares (10)
  --work N        seconds of work of each request of single and shares (2)
  --busy N        length of idle and busy (30)
  --cap N         length of each run with a cap (45)
  --fixed N       length of each run with fixed settings (12)
  --caps LIST     percent of the uncapped draw (50,70,90)
  --duties LIST   shares of time to sweep, in thousandths (1000,850,700,550,400,280,180)
  --cap-config T  configuration that sets the cap, with {w} for the watts ([power] with that cap and policy 'max-throughput')
  --source rapl|ina   the plant's sensor (rapl)
  --others all|none   whether other programs draw the plant's power too (all; none for cap)
  --known yes     tells the daemon what the plant draws when idle and by a busy core; else it learns that, which
                  takes moments in which other programs are quiet
  --interval T    [energy] interval of the daemon (its default)
  --noise N       of the plant, in percent (2)
";

/// How long and against what.
pub(crate) struct Options {
    seconds: u64,
    requests: usize,
    rounds: usize,
    work: f64,
    busy: u64,
    pub(crate) cap: u64,
    pub(crate) fixed: u64,
    pub(crate) caps: Vec<f64>,
    pub(crate) duties: Vec<u32>,
    pub(crate) cap_config: String,
    source: String,
    others: Option<String>,
    interval: Option<String>,
    known: bool,
    noise: String,
}

impl Options {
    /// A plant and a daemon. `plant` and `config` are added to what the options say.
    pub(crate) fn bed(&self, plant: &[&str], config: &str, others: &str) -> Bed {
        let trees = format!("{},battery,thermal,cpufreq", self.source);
        let others = self.others.as_deref().unwrap_or(others);
        let mut args = vec!["--trees", &trees, "--noise", &self.noise, "--others", others];
        args.extend_from_slice(plant);
        let interval = self.interval.as_ref().map_or(String::new(), |i| format!("interval = '{i}'\n"));
        let known = if self.known { "idle = '2W'\ncore = '2.4W'\n" } else { "" };
        Bed::new(&args, &format!("[energy]\n{interval}{known}[models]\ncontext = 4096\n{config}"))
    }
}

fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|w| w.parse().map_err(|_| format!("'{w}' is not a number"))).collect()
}

fn options(args: &[String]) -> Result<(Vec<String>, Options), String> {
    let mut o = Options {
        seconds: 600,
        requests: 200,
        rounds: 10,
        work: 2.0,
        busy: 30,
        cap: 45,
        fixed: 12,
        caps: vec![50.0, 70.0, 90.0],
        duties: vec![1000, 850, 700, 550, 400, 280, 180],
        cap_config: "[power]\ncap = '{w}W'\npolicy = 'max-throughput'".to_owned(),
        source: "rapl".to_owned(),
        others: None,
        interval: None,
        known: false,
        noise: "2".to_owned(),
    };
    const ALL: [&str; 6] = ["idle", "busy", "shares", "cap", "single", "sum"];
    let mut what = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // Cargo adds it.
            "--bench" => continue,
            w if ALL.contains(&w) => {
                what.push(w.to_owned());
                continue;
            }
            _ => {}
        }
        let value = args.next().ok_or_else(|| format!("'{arg}' is no measurement, or wants a value"))?;
        let n = || value.parse::<u64>().map_err(|_| format!("{arg} {value}: not a whole number"));
        match arg.as_str() {
            "--seconds" => o.seconds = n()?.max(60),
            "--requests" => o.requests = n()?.max(1) as usize,
            "--rounds" => o.rounds = n()?.max(1) as usize,
            "--work" => o.work = value.parse().map_err(|_| format!("{arg} {value}: not a number"))?,
            "--busy" => o.busy = n()?.max(1),
            "--cap" => o.cap = n()?.max(20),
            "--fixed" => o.fixed = n()?.max(6),
            "--caps" => o.caps = list(value)?,
            "--duties" => o.duties = list(value)?,
            "--cap-config" => o.cap_config = value.replace("\\n", "\n"),
            "--source" if value == "rapl" || value == "ina" => o.source.clone_from(value),
            "--others" => o.others = Some(value.clone()),
            "--known" => o.known = value == "yes",
            "--interval" => o.interval = Some(value.clone()),
            "--noise" => o.noise.clone_from(value),
            _ => return Err(format!("{arg} {value}: no such option")),
        }
    }
    if what.is_empty() {
        what = ALL.map(str::to_owned).to_vec();
    }
    Ok((what, o))
}

/// Prints the figures and which bounds hold. A bound on a figure that is not there does not hold.
pub(crate) fn report(figures: &Value, bounds: &[(&str, f64, f64)]) -> bool {
    println!("\n== {}", figures["what"].as_str().unwrap_or(""));
    let mut all = true;
    for (name, value) in figures.as_object().into_iter().flatten().filter(|(n, _)| *n != "what") {
        let bound = bounds.iter().find(|(n, _, _)| n == name);
        let verdict = bound.map_or(String::new(), |(_, low, high)| {
            let holds = value.as_f64().is_some_and(|v| (*low..=*high).contains(&v));
            all &= holds;
            format!("   {} ({low} to {high})", if holds { "holds" } else { "FAILS" })
        });
        println!("  {name:<28} {value}{verdict}");
    }
    all &= bounds.iter().all(|(name, _, _)| figures.get(name).is_some());
    println!("{figures}");
    all
}

fn run(what: &str, o: &Options) -> bool {
    match what {
        "sum" => {
            // An outage of 20 s in the middle, through which the counter counts on. It wraps about once a minute.
            let outage = format!("{}:20:vanish", o.seconds / 2);
            let mut bed = o.bed(&["--outage", &outage], "", "all");
            let figures = measure::sum(&mut bed, Duration::from_secs(o.seconds));
            let exact = ("parts_less_metered_j", -0.000_01, 0.000_01);
            report(&figures, &[("error_percent", -0.5, 0.5), exact, ("estimated_j", 0.01, 1e9)])
        }
        "shares" => {
            let mut bed = o.bed(&[], "", "all");
            let figures = measure::shares(&mut bed, o.rounds, o.work);
            report(&figures, &[("error_percent", -5.0, 5.0)])
        }
        "single" => {
            let mut bed = o.bed(&[], "", "all");
            let figures = measure::single(&mut bed, o.requests, o.work);
            report(&figures, &[("error_p95_percent", 0.0, 3.0), ("bar_holds_truth", 0.95, 1.0)])
        }
        "idle" => {
            let mut bed = o.bed(&[], "", "all");
            let figures = measure::idle(&mut bed, Duration::from_secs(o.busy));
            report(&figures, &[("per_second", 0.0, 1.0)])
        }
        "busy" => {
            let mut bed = o.bed(&[], "", "all");
            let figures = measure::busy(&mut bed, Duration::from_secs(o.busy));
            report(&figures, &[("meter_percent", 0.0, 0.5)])
        }
        _ => cap::run(o),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match options(&args) {
        Ok((what, o)) => {
            let mut all = true;
            for w in what {
                all &= run(&w, &o);
            }
            ExitCode::from(u8::from(!all))
        }
        Err(e) => {
            eprintln!("{e}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
