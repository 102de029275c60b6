//! A plant (`examples/plant`) beside a test, and the truth it logs.
//!
//! What always holds: the plant ends with the test; the truth is read only after the plant said that all of it is on
//! disk.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::time::ClockId;
use tempfile::TempDir;

/// CLOCK_MONOTONIC in nanoseconds, as in the truth.
pub fn now() -> u64 {
    Duration::from(ClockId::CLOCK_MONOTONIC.now().expect("a clock")).as_nanos() as u64
}

/// Where cargo puts the example.
fn program() -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_wattlmd")).parent().expect("a folder");
    let path = dir.join("examples/plant");
    assert!(path.exists(), "no {}: run `cargo build --example plant` in the profile of this test", path.display());
    path
}

/// A running plant.
pub struct Plant {
    dir: TempDir,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// When it began.
    pub started: u64,
}

impl Plant {
    /// With these options. Returns once its tree is complete.
    pub fn start(args: &[&str]) -> Plant {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(program())
            .arg("--root")
            .arg(dir.path().join("sys"))
            .arg("--truth")
            .arg(dir.path().join("truth.csv"))
            .args(["--control", "stdin"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts the plant");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut plant = Plant { dir, child, to, from, started: 0 };
        plant.started = plant.hear("ready");
        plant
    }

    /// The tree: what would be `/sys`.
    pub fn sysfs(&self) -> PathBuf {
        self.dir.path().join("sys")
    }

    /// The text of a file in the tree.
    pub fn shows(&self, path: &str) -> String {
        fs::read_to_string(self.sysfs().join(path)).unwrap_or_default().trim().to_owned()
    }

    /// Gives it a command; see `plant --help`.
    pub fn say(&mut self, command: &str) {
        writeln!(self.to, "{command}").expect("the plant listens");
    }

    fn hear(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the plant answers");
        let time = line.trim().strip_prefix(word).and_then(|t| t.trim().parse().ok());
        time.unwrap_or_else(|| panic!("the plant said '{}' and not '{word}'", line.trim()))
    }

    /// All that truly was until now.
    pub fn truth(&mut self) -> Truth {
        self.say("sync");
        self.hear("synced");
        Truth::read(&self.dir.path().join("truth.csv"))
    }

    /// Joules of all workers until now.
    pub fn workers(&mut self) -> f64 {
        self.say("workers");
        self.hear("workers") as f64 / 1e6
    }

    /// CPU time that the plant itself used.
    pub fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap_or_default();
        Duration::from_nanos(text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0))
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sums since the plant's start: joules and seconds of CPU time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Row {
    /// Nanoseconds.
    pub at: u64,
    pub total: f64,
    pub idle: f64,
    pub workers: f64,
    pub daemon: f64,
    pub others: f64,
    pub workers_cpu: f64,
    pub others_cpu: f64,
}

impl Row {
    fn mix(&self, other: &Row, share: f64) -> Row {
        let f = |a: f64, b: f64| a + (b - a) * share;
        Row {
            at: self.at + ((other.at - self.at) as f64 * share) as u64,
            total: f(self.total, other.total),
            idle: f(self.idle, other.idle),
            workers: f(self.workers, other.workers),
            daemon: f(self.daemon, other.daemon),
            others: f(self.others, other.others),
            workers_cpu: f(self.workers_cpu, other.workers_cpu),
            others_cpu: f(self.others_cpu, other.others_cpu),
        }
    }

    fn less(&self, other: &Row) -> Row {
        Row {
            at: self.at - other.at,
            total: self.total - other.total,
            idle: self.idle - other.idle,
            workers: self.workers - other.workers,
            daemon: self.daemon - other.daemon,
            others: self.others - other.others,
            workers_cpu: self.workers_cpu - other.workers_cpu,
            others_cpu: self.others_cpu - other.others_cpu,
        }
    }

    /// Of a difference: mean watts.
    pub fn watts(&self) -> f64 {
        self.total / (self.at as f64 / 1e9)
    }
}

/// The plant's log.
pub struct Truth {
    pub rows: Vec<Row>,
    /// Rows in which the sensors were out, from and to, in nanoseconds.
    pub outages: Vec<(u64, u64)>,
    /// Joules of each worker, by its process, at the end.
    pub by_worker: HashMap<i32, f64>,
}

impl Truth {
    fn read(path: &Path) -> Truth {
        let text = fs::read_to_string(path).expect("the truth");
        let mut truth = Truth { rows: Vec::new(), outages: Vec::new(), by_worker: HashMap::new() };
        let mut out = false;
        // What follows the last line end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut last = "";
        for line in whole.lines().skip(1) {
            let field: Vec<&str> = line.split(',').collect();
            let n = |i: usize| field[i].parse::<u64>().unwrap_or_else(|_| panic!("the truth says '{line}'"));
            let joules = |i: usize| n(i) as f64 / 1e6;
            let seconds = |i: usize| n(i) as f64 / 1e9;
            truth.rows.push(Row {
                at: n(0),
                total: joules(1),
                idle: joules(2),
                workers: joules(3),
                daemon: joules(4),
                others: joules(5),
                workers_cpu: seconds(6),
                others_cpu: seconds(7) + seconds(8),
            });
            assert_eq!(n(1), n(2) + n(3) + n(4) + n(5), "the truth's parts are its sum");
            match (out, field[9].is_empty()) {
                (false, false) => truth.outages.push((n(0), n(0))),
                (true, false) => truth.outages.last_mut().expect("an outage").1 = n(0),
                _ => {}
            }
            out = !field[9].is_empty();
            last = field[10];
        }
        for (pid, uj) in last.split_whitespace().filter_map(|w| w.split_once('=')) {
            truth.by_worker.insert(pid.parse().expect("a pid"), uj.parse::<f64>().expect("a number") / 1e6);
        }
        truth
    }

    /// The sums at a moment, between two rows in proportion.
    pub fn at(&self, at: u64) -> Row {
        let next = self.rows.partition_point(|r| r.at <= at);
        match (next.checked_sub(1).map(|i| &self.rows[i]), self.rows.get(next)) {
            (Some(a), Some(b)) => a.mix(b, (at - a.at) as f64 / (b.at - a.at) as f64),
            (Some(only), None) | (None, Some(only)) => *only,
            (None, None) => panic!("the truth is empty"),
        }
    }

    /// What was used from one moment to another.
    pub fn between(&self, from: u64, to: u64) -> Row {
        self.at(to).less(&self.at(from))
    }

    /// Mean watts of the worst window of this length within a time.
    pub fn worst(&self, from: u64, to: u64, window: Duration) -> f64 {
        let (length, step) = (window.as_nanos() as u64, 100_000_000);
        let starts = (from..=to.saturating_sub(length).max(from)).step_by(step);
        starts.map(|t| self.between(t, (t + length).min(to)).watts()).fold(0.0, f64::max)
    }

    /// Whether the sensors were out at any time between these.
    pub fn out(&self, from: u64, to: u64) -> bool {
        self.outages.iter().any(|(a, b)| *a < to && *b > from)
    }
}
