//! Time as the rest of wattlm sees it: nanoseconds of the monotonic clock since the service started.
//!
//! [`Time`] is a value that is passed in, so that `sched` and the ledger run on virtual time in the simulator and
//! under the fuzzer. Only [`Monotonic`] reads a clock, and only `service` owns one; meters ask beside it how long the
//! device [slept](asleep). Wall-clock time is used for nothing but what people read (logs, `created` fields, the
//! account's days), never for a decision: a clock set back changes nothing.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A point of monotonic time, in nanoseconds since an arbitrary origin. Covers 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);

    /// The time since `earlier`; zero where `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

/// The process's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic {
    origin: Instant,
}

impl Monotonic {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Monotonic { origin: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The instant at which this clock will show `t`.
    pub fn instant(&self, t: Time) -> Instant {
        self.origin + Duration::from_nanos(t.0)
    }
}

/// How long the device has slept since it was started: monotonic time stands still meanwhile. Zero where that is not
/// known.
pub fn asleep() -> Duration {
    use nix::time::{clock_gettime, ClockId};
    let read = |id| clock_gettime(id).map(Duration::from);
    // In this order: what passes between the two readings must not look like sleep.
    match (read(ClockId::CLOCK_BOOTTIME), read(ClockId::CLOCK_MONOTONIC)) {
        (Ok(boot), Ok(awake)) => boot.saturating_sub(awake),
        _ => Duration::ZERO,
    }
}

/// Seconds since 1970 by the wall clock, for `created` fields and the account's days only. Zero where the clock stands
/// before 1970.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
