//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::tree::Fault;

pub const HELP: &str = "\
plant --root DIR --truth FILE [OPTIONS]: writes the sysfs tree of a device that does not exist

  --root DIR            where the tree goes: what would be /sys
  --truth FILE          CSV of the energy as it truly was, a line for each tick
  --control stdin|FIFO  takes commands: daemon PID, outage SECONDS KIND, charger 0|1, battery PERCENT,
                        ambient DEGREES, freq SHARE, watts FIRST MORE GPU, sync (answers when the truth is on disk),
                        workers (answers with their microjoules until now), quit
  --daemon PID          whose children called 'wattlm-worker' are the workers
  --others all|daemon|none
                        who draws power beside the workers: all programs, the daemon, nobody (all)
  --trees LIST          of rapl, ina, battery, thermal, cpufreq (these), and card: a graphics card with a sensor of its own,
                        that sees what GPU drivers draw and RAPL then does not; 'none' for no sensor
  --tick-ms N           how often it looks and writes (10)
  --rapl-ms N           refresh of the RAPL counters, and the card's (10)
  --ina-ms N            refresh of the INA3221 (100)
  --idle-w W            drawn when nothing runs (2)
  --first-w W           added by the first busy core (2)
  --more-w W            added by each further one (2.8)
  --gpu-w W             added by each core that a GPU driver on the processor keeps busy (2.4)
  --card-idle-w W       drawn by the card when nothing runs (1)
  --noise PERCENT       of the power, slowly changing (2)
  --wrap-j J            range of the RAPL counters (300)
  --start-j J           where they begin (17.3)
  --outage START:DURATION:KIND
                        of all energy sensors, in seconds from the start; vanish, freeze, garbage or
                        backwards; may be given more than once
  --battery-wh WH       capacity (10)      --battery PERCENT  level (80)      --charger 0|1  (1)
  --ambient DEGREES     (25)               --seed N           of the noise (1)
  --duration SECONDS    ends by itself
";

/// Who draws power beside the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    All,
    Daemon,
    None,
}

pub struct Options {
    pub root: PathBuf,
    pub truth: PathBuf,
    pub control: Option<PathBuf>,
    pub daemon: Option<i32>,
    pub others: Others,
    pub trees: Vec<String>,
    pub tick: Duration,
    pub rapl: Duration,
    pub ina: Duration,
    pub idle_w: f64,
    pub first_w: f64,
    pub more_w: f64,
    pub gpu_w: f64,
    pub card_idle_w: f64,
    /// A share, not percent.
    pub noise: f64,
    pub wrap_j: f64,
    pub start_j: f64,
    /// Start, duration, kind.
    pub outages: Vec<(Duration, Duration, Fault)>,
    pub battery_wh: f64,
    pub battery_percent: f64,
    pub charger: bool,
    pub ambient: f64,
    pub seed: u64,
    pub duration: Option<Duration>,
}

const TREES: [&str; 6] = ["rapl", "ina", "battery", "thermal", "cpufreq", "card"];

/// A positive number of seconds.
pub fn seconds(s: &str) -> Result<Duration, String> {
    s.parse().ok().and_then(|n| Duration::try_from_secs_f64(n).ok()).ok_or_else(|| format!("'{s}': write seconds"))
}

fn millis(s: &str) -> Result<Duration, String> {
    let n: u64 = s.parse().map_err(|_| format!("'{s}': write milliseconds"))?;
    Ok(Duration::from_millis(n.max(1)))
}

fn number(s: &str) -> Result<f64, String> {
    s.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0).ok_or_else(|| format!("'{s}': not a number from 0"))
}

fn outage(s: &str) -> Result<(Duration, Duration, Fault), String> {
    match s.split(':').collect::<Vec<_>>()[..] {
        [start, duration, kind] => Ok((seconds(start)?, seconds(duration)?, kind.parse()?)),
        _ => Err(format!("'{s}': write START:DURATION:KIND")),
    }
}

fn trees(s: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = s.split(',').filter(|t| *t != "none").map(str::to_owned).collect();
    match names.iter().find(|n| !TREES.contains(&n.as_str())) {
        Some(n) => Err(format!("there is no tree '{n}': choose from {}", TREES.join(", "))),
        None => Ok(names),
    }
}

impl Options {
    /// Whether it has this tree.
    pub fn has(&self, tree: &str) -> bool {
        self.trees.iter().any(|t| t == tree)
    }

    /// `None`: help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut o = Options {
            root: PathBuf::new(),
            truth: PathBuf::new(),
            control: None,
            daemon: None,
            others: Others::All,
            trees: TREES[..5].iter().map(|t| (*t).to_owned()).collect(),
            tick: Duration::from_millis(10),
            rapl: Duration::from_millis(10),
            ina: Duration::from_millis(100),
            idle_w: 2.0,
            first_w: 2.0,
            more_w: 2.8,
            gpu_w: 2.4,
            card_idle_w: 1.0,
            noise: 0.02,
            wrap_j: 300.0,
            start_j: 17.3,
            outages: Vec::new(),
            battery_wh: 10.0,
            battery_percent: 80.0,
            charger: true,
            ambient: 25.0,
            seed: 1,
            duration: None,
        };
        while let Some(name) = args.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{name} wants a value, or is no option"))?;
            let v = value.as_str();
            match name.as_str() {
                "--root" => o.root = v.into(),
                "--truth" => o.truth = v.into(),
                "--control" => o.control = Some(v.into()),
                "--daemon" => o.daemon = Some(v.parse().map_err(|_| format!("'{v}': write a process id"))?),
                "--others" => {
                    o.others = match v {
                        "all" => Others::All,
                        "daemon" => Others::Daemon,
                        "none" => Others::None,
                        _ => return Err(format!("'{v}': choose from all, daemon, none")),
                    }
                }
                "--trees" => o.trees = trees(v)?,
                "--tick-ms" => o.tick = millis(v)?,
                "--rapl-ms" => o.rapl = millis(v)?,
                "--ina-ms" => o.ina = millis(v)?,
                "--idle-w" => o.idle_w = number(v)?,
                "--first-w" => o.first_w = number(v)?,
                "--more-w" => o.more_w = number(v)?,
                "--gpu-w" => o.gpu_w = number(v)?,
                "--card-idle-w" => o.card_idle_w = number(v)?,
                "--noise" => o.noise = number(v)? / 100.0,
                "--wrap-j" => o.wrap_j = number(v)?.max(1.0),
                "--start-j" => o.start_j = number(v)?,
                "--outage" => o.outages.push(outage(v)?),
                "--battery-wh" => o.battery_wh = number(v)?.max(0.001),
                "--battery" => o.battery_percent = number(v)?.min(100.0),
                "--charger" => o.charger = v != "0",
                "--ambient" => o.ambient = v.parse().map_err(|_| format!("'{v}': write degrees"))?,
                "--seed" => o.seed = v.parse().map_err(|_| format!("'{v}': write a whole number"))?,
                "--duration" => o.duration = Some(seconds(v)?),
                _ => return Err(format!("{name} {v}: no such option")),
            }
        }
        if o.root.as_os_str().is_empty() || o.truth.as_os_str().is_empty() {
            return Err("--root and --truth are required".to_owned());
        }
        Ok(Some(o))
    }
}
