//! CPU time of the workers, the daemon and everybody else, from the CPU clocks of their processes.
//!
//! What always holds: time is counted once; what the processes of others used beyond what the machine's cores have room
//! for in a tick (their clocks are coarser than the tick) waits for the next.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, ClockId};
use nix::unistd::Pid;

use crate::options::Others;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Worker,
    /// A worker that has a GPU driver in its memory.
    Gpu,
    Daemon,
    Other,
}

struct Process {
    clock: ClockId,
    /// Its CPU time when last looked at, in nanoseconds.
    seen: u64,
    kind: Kind,
    /// Looks in a row in which it had not run.
    quiet: u32,
    /// Scans since it became a worker.
    scans: u32,
}

/// CPU time in one tick, in nanoseconds.
#[derive(Default)]
pub struct Used {
    pub workers: BTreeMap<i32, u64>,
    /// Those on the GPU. Where the GPU is a driver on the processor, as Mesa's lavapipe, their CPU time is its work.
    pub gpus: BTreeMap<i32, u64>,
    pub daemon: u64,
    pub others: u64,
}

pub struct Cpu {
    others: Others,
    daemon: Option<i32>,
    processes: HashMap<i32, Process>,
    own: i32,
    cores: u64,
    /// What others used and has not been given out yet.
    pool: u64,
    ticks: u32,
    /// Since the start, in nanoseconds.
    pub total: Used,
}

fn read(clock: ClockId) -> Option<u64> {
    clock.now().ok().map(|t| Duration::from(t).as_nanos() as u64)
}

/// What runs in this process calls itself a worker.
fn is_worker(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.split(|b| *b == 0).next() == Some(b"wattlm-worker"))
}

/// Whether it has a GPU's driver mapped.
fn on_gpu(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps"))
        .is_ok_and(|maps| maps.contains("/libvulkan") || maps.contains("/libcuda."))
}

/// For so many scans a worker may still load its driver, and every so many it is looked at.
const LOADING: (u32, u32) = (3_000, 10);

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    lists.flat_map(|s| s.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>()).collect()
}

fn everybody() -> Vec<i32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

impl Cpu {
    /// `others`: who counts beside the workers. Their time until now does not.
    pub fn new(others: Others, daemon: Option<i32>) -> Cpu {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let own = std::process::id() as i32;
        let (pool, ticks, total) = (0, 0, Used::default());
        let mut cpu = Cpu { others, daemon, processes: HashMap::new(), own, cores, pool, ticks, total };
        cpu.scan();
        for p in cpu.processes.values_mut() {
            p.seen = read(p.clock).unwrap_or(0);
        }
        cpu
    }

    /// Names the daemon.
    pub fn watch(&mut self, pid: i32) {
        self.daemon = Some(pid);
        // It counted as another program until now, or not at all.
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok();
        if let Some((clock, seen)) = clock.and_then(|c| Some((c, read(c)?))) {
            self.processes.entry(pid).or_insert(Process { clock, seen, kind: Kind::Daemon, quiet: 0, scans: 0 }).kind =
                Kind::Daemon;
        }
        self.scan();
    }

    /// Looks who came.
    pub fn scan(&mut self) {
        let sons = self.daemon.map(children).unwrap_or_default();
        let found = if self.others == Others::All { everybody() } else { Vec::new() };
        for pid in found.into_iter().chain(sons.iter().copied()) {
            if pid == self.own || self.processes.contains_key(&pid) {
                continue;
            }
            if let Ok(clock) = clock_getcpuclockid(Pid::from_raw(pid)) {
                let kind = if Some(pid) == self.daemon { Kind::Daemon } else { Kind::Other };
                self.processes.insert(pid, Process { clock, seen: 0, kind, quiet: 0, scans: 0 });
            }
        }
        // A son is a worker once it runs the worker's program.
        for pid in sons {
            if let Some(p) = self.processes.get_mut(&pid).filter(|p| p.kind == Kind::Other) {
                if is_worker(pid) {
                    p.kind = Kind::Worker;
                }
            }
        }
        for (pid, p) in self.processes.iter_mut().filter(|(_, p)| p.kind == Kind::Worker && p.scans < LOADING.0) {
            p.scans += 1;
            if p.scans.is_multiple_of(LOADING.1) && on_gpu(*pid) {
                p.kind = Kind::Gpu;
            }
        }
    }

    /// What was used since the last call, `dt` ago.
    pub fn sample(&mut self, dt: Duration) -> Used {
        self.ticks = self.ticks.wrapping_add(1);
        let mut used = Used::default();
        let (ticks, others, pool) = (self.ticks, self.others, &mut self.pool);
        self.processes.retain(|pid, p| {
            // Programs of others that sleep are looked at less often.
            if p.kind == Kind::Other && p.quiet > 50 && !(ticks + *pid as u32).is_multiple_of(5) {
                return true;
            }
            let Some(time) = read(p.clock) else { return false };
            let delta = time.saturating_sub(p.seen);
            p.seen = time;
            p.quiet = if delta == 0 { p.quiet.saturating_add(1) } else { 0 };
            match p.kind {
                Kind::Worker if delta > 0 => *used.workers.entry(*pid).or_default() += delta,
                Kind::Gpu if delta > 0 => *used.gpus.entry(*pid).or_default() += delta,
                Kind::Daemon if others != Others::None => used.daemon += delta,
                Kind::Other if others == Others::All => *pool += delta,
                _ => {}
            }
            true
        });
        let taken = used.workers.values().chain(used.gpus.values()).sum::<u64>() + used.daemon;
        let room = (self.cores * dt.as_nanos() as u64).saturating_sub(taken);
        used.others = self.pool.min(room);
        self.pool -= used.others;
        for (pid, t) in used.workers.iter().chain(&used.gpus) {
            *self.total.workers.entry(*pid).or_default() += t;
        }
        self.total.daemon += used.daemon;
        self.total.others += used.others;
        used
    }
}
