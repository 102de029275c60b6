//! Decides how many threads compute and whether they spin, from how much CPU time they were given.
//!
//! The threads of a graph meet at spinning barriers: while a graph runs, each of them either runs or is kept from
//! running by someone else. CPU time that is missing at the end was therefore taken by others, and everybody waited
//! for the slowest: two threads on one and a half free CPUs are slower than one thread on one. So when time is
//! missing, threads are given up; later one more is tried, and kept if it gets its time.
//!
//! Pure but for [`Sample::now`], which reads two clocks; no file is read and no timer runs. The CPU clock is the
//! process': in direct mode an app that computes beside the engine hides some of what others take.

use std::time::Duration;

use nix::time::{clock_gettime, ClockId};

/// What the pool is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Threads, the engine's own included.
    pub threads: u32,
    /// ggml's polling level: how long a thread spins after a graph. 0: not at all.
    pub poll: u32,
}

/// Clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    wall: Duration,
    cpu: Duration,
}

impl Sample {
    /// Reads the clocks.
    pub fn now() -> Sample {
        let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        Sample { wall: read(ClockId::CLOCK_MONOTONIC), cpu: read(ClockId::CLOCK_PROCESS_CPUTIME_ID) }
    }

    /// CPU time of the process.
    pub fn cpu(&self) -> Duration {
        self.cpu
    }

    /// The time that does not jump.
    pub fn wall(&self) -> Duration {
        self.wall
    }

    /// Of these clocks.
    #[cfg(test)]
    pub fn at(wall: Duration, cpu: Duration) -> Sample {
        Sample { wall, cpu }
    }
}

/// ggml's level 1 is 131072 pauses, a fraction of a millisecond to a few: it bridges the time between two steps
/// (sampling) and is soon over after the last. ggml's default of 50 would spin for tenths of a second.
const POLL: u32 = 1;
/// Computing time to judge by. Long against the scheduler's slices, short against an answer.
const WINDOW: Duration = Duration::from_millis(50);
/// First wait before another thread is tried again; it doubles with each failure. Short, because most of what disturbs
/// an idle machine is over at once, and a thread given up costs its full share meanwhile.
const HOLD_MIN: Duration = Duration::from_millis(100);
/// Longest wait: what freed CPUs may stay unused.
const HOLD_MAX: Duration = Duration::from_secs(16);

/// Decides. See the module.
pub struct Governor {
    allowed: u32,
    threads: u32,
    contended: bool,
    /// Summed up since the last judgement.
    wall: Duration,
    missing: Duration,
    hold: Duration,
    try_at: Duration,
    /// The last change was one thread more, and not judged yet.
    trying: bool,
}

impl Governor {
    /// Starts with all that is allowed. At least 1.
    pub fn new(allowed: u32) -> Governor {
        Governor {
            allowed,
            threads: allowed,
            contended: false,
            wall: Duration::ZERO,
            missing: Duration::ZERO,
            hold: HOLD_MIN,
            try_at: Duration::ZERO,
            trying: false,
        }
    }

    /// The service allows this many threads from now on. What was learnt of the others' load stays: a power cap that
    /// moves the limit up and down must not try the CPUs anew each time.
    pub fn allow(&mut self, threads: u32) {
        let all = self.threads == self.allowed;
        self.allowed = threads;
        self.threads = if all && !self.contended { threads } else { self.threads.min(threads) };
        self.wall = Duration::ZERO;
        self.missing = Duration::ZERO;
    }

    /// What the pool is to be now.
    pub fn setting(&self) -> Setting {
        Setting { threads: self.threads, poll: if self.contended { 0 } else { POLL } }
    }

    /// A decode ran between two samples, with the threads of [`Governor::setting`].
    pub fn learn(&mut self, from: Sample, to: Sample) {
        let wall = to.wall.saturating_sub(from.wall);
        let cpu = to.cpu.saturating_sub(from.cpu);
        self.wall += wall;
        self.missing += (wall * self.threads).saturating_sub(cpu);
        if self.wall < WINDOW {
            return;
        }
        let n = f64::from(self.threads);
        // In threads: 0 to n.
        let missing = self.missing.as_secs_f64() / self.wall.as_secs_f64();
        self.wall = Duration::ZERO;
        self.missing = Duration::ZERO;
        // With one other busy thread, n threads on n CPUs miss n/(n+1) of one. Half of that is the line.
        if missing > 0.5 * n / (n + 1.0) {
            self.give_up(n, missing, to.wall);
        } else {
            if std::mem::take(&mut self.trying) {
                self.hold = HOLD_MIN;
            }
            if self.threads < self.allowed && to.wall >= self.try_at {
                self.threads += 1;
                self.trying = true;
            }
            self.contended = self.threads < self.allowed;
        }
    }

    fn give_up(&mut self, n: f64, missing: f64, now: Duration) {
        self.contended = true;
        // k others beside n threads on n CPUs take n·k/(n+k).
        let others = (n * missing / (n - missing).max(f64::EPSILON)).round().clamp(1.0, n);
        if std::mem::take(&mut self.trying) {
            self.hold = (self.hold * 2).min(HOLD_MAX);
            self.threads = self.threads.saturating_sub(1).max(1);
        } else {
            self.threads = self.threads.saturating_sub(others as u32).max(1);
        }
        self.try_at = now + self.hold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with `cpus` CPUs and `others` busy threads of others, shared fairly.
    struct Machine {
        now: Sample,
        cpus: f64,
        others: f64,
    }

    impl Machine {
        fn new(cpus: f64, others: f64) -> Machine {
            Machine { now: Sample { wall: Duration::from_secs(100), cpu: Duration::ZERO }, cpus, others }
        }

        /// Runs steps of 10 ms; gives the settings in use after each.
        fn run(&mut self, governor: &mut Governor, seconds: f64) -> Vec<Setting> {
            (0..(seconds * 100.0) as u32)
                .map(|_| {
                    let n = f64::from(governor.setting().threads);
                    let share = (self.cpus / (n + self.others)).min(1.0);
                    let wall = Duration::from_millis(10);
                    let to = Sample { wall: self.now.wall + wall, cpu: self.now.cpu + wall.mul_f64(n * share) };
                    governor.learn(self.now, to);
                    self.now = to;
                    governor.setting()
                })
                .collect()
        }
    }

    #[test]
    fn alone_all_threads_run_and_bridge_the_pauses() {
        for n in [1, 2, 4, 16] {
            let mut governor = Governor::new(n);
            let settings = Machine::new(f64::from(n), 0.0).run(&mut governor, 5.0);
            assert!(settings.iter().all(|s| *s == Setting { threads: n, poll: POLL }));
        }
    }

    #[test]
    fn another_busy_process_gets_its_cpu() {
        for n in [2, 4, 8, 16] {
            let mut governor = Governor::new(n);
            let settings = Machine::new(f64::from(n), 1.0).run(&mut governor, 30.0);
            assert!(settings[..10].iter().any(|s| s.threads == n - 1), "{n} threads: not within 100 ms");
            let full = settings.iter().filter(|s| s.threads == n).count();
            // Tries cost a window each, and become rare.
            assert!(full < settings.len() / 20, "{n} threads: {full} of {} steps", settings.len());
            assert_eq!(settings.last().map(|s| s.poll), Some(0));
        }
    }

    #[test]
    fn several_others_cost_several_threads_at_once() {
        let mut governor = Governor::new(8);
        let settings = Machine::new(8.0, 4.0).run(&mut governor, 0.1);
        assert!((3..=5).contains(&settings[9].threads), "{settings:?}");
    }

    #[test]
    fn a_short_disturbance_costs_little() {
        let mut governor = Governor::new(2);
        let mut machine = Machine::new(2.0, 1.0);
        machine.run(&mut governor, 0.05);
        assert_eq!(governor.setting().threads, 1);
        machine.others = 0.0;
        let settings = machine.run(&mut governor, 1.0);
        let fewer = settings.iter().filter(|s| s.threads < 2).count();
        assert!(fewer <= 20, "{fewer} of 100 steps with a thread less");
    }

    #[test]
    fn freed_cpus_are_taken_back() {
        let mut governor = Governor::new(4);
        let mut machine = Machine::new(4.0, 2.0);
        machine.run(&mut governor, 3.0);
        assert!(governor.setting().threads < 4);
        machine.others = 0.0;
        machine.run(&mut governor, 2.0 * HOLD_MAX.as_secs_f64());
        assert_eq!(governor.setting(), Setting { threads: 4, poll: POLL });
    }

    #[test]
    fn what_the_service_allows_is_the_ceiling_and_one_thread_the_floor() {
        let mut governor = Governor::new(4);
        governor.allow(2);
        let mut machine = Machine::new(4.0, 0.0);
        assert!(machine.run(&mut governor, 3.0).iter().all(|s| s.threads == 2));
        governor.allow(4);
        assert_eq!(governor.setting(), Setting { threads: 4, poll: POLL });
        machine.others = 64.0;
        assert!(machine.run(&mut governor, 3.0).iter().all(|s| s.threads >= 1));
        assert_eq!(governor.setting().threads, 1);
        // The limit moves; what the others take does not.
        governor.allow(3);
        governor.allow(4);
        assert_eq!(governor.setting().threads, 1);
    }
}
