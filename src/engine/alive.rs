//! Signs of life for what llama.cpp does not let us watch: a driver that compiles, a step on a GPU.
//!
//! On the CPU the engine's progress is counted from within the graph. On a GPU nothing calls back: a step that takes a
//! minute because its shaders are being compiled and one that never ends look alike. They differ in the CPU time that
//! the process uses: a compiling driver computes, one whose device hangs waits. So CPU time that grows counts as progress, for
//! a limited time, because some backends spin while they wait; a device that is waited for without computing is found by
//! the stall limit, as a hung CPU lane is.
//!
//! What always holds: the thread sleeps without a timer while nothing is watched.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::governor::Sample;

/// Between two looks. Short against the shortest stall limit, a second.
const PERIOD: Duration = Duration::from_millis(250);

/// Share of one CPU's time that counts as computing, in thousandths. A process that waits for a GPU wakes now and then.
const COMPUTING: u32 = 100;

#[derive(Default)]
struct State {
    /// What is watched must end by then. `None`: nothing is.
    until: Option<Instant>,
    over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Watches, from [`Alive::begin`] to [`Alive::end`].
pub struct Alive {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Alive {
    /// Counts `progress` up.
    pub fn new(progress: Arc<AtomicU64>) -> Alive {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let watch = move || watch(&watched, &progress);
        // Without a thread, a slow driver is taken for one that hangs, which is the better of two errors.
        Alive { shared, thread: std::thread::Builder::new().name("alive".into()).spawn(watch).ok() }
    }

    /// Something begins that may compute for `limit`.
    pub fn begin(&self, limit: Duration) {
        let mut state = self.shared.state.lock();
        if state.until.replace(Instant::now() + limit).is_none() {
            self.shared.changed.notify_one();
        }
    }

    /// It has ended.
    pub fn end(&self) {
        self.shared.state.lock().until = None;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that a panic could have broken.
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Shared, progress: &AtomicU64) {
    let mut state = shared.state.lock();
    while !state.over {
        let Some(until) = state.until else {
            shared.changed.wait(&mut state);
            continue;
        };
        let before = Sample::now();
        // Woken early only by what is looked at again; a step that ended meanwhile has told its own progress.
        shared.changed.wait_for(&mut state, PERIOD);
        if state.until.is_some() && Instant::now() < until && computes(before, Sample::now()) {
            progress.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn computes(before: Sample, after: Sample) -> bool {
    let (wall, cpu) = (after.wall().saturating_sub(before.wall()), after.cpu().saturating_sub(before.cpu()));
    !wall.is_zero() && cpu * 1000 >= wall * COMPUTING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted_while(what: impl FnOnce(&Alive), limit: Duration) -> u64 {
        let progress = Arc::new(AtomicU64::new(0));
        let alive = Alive::new(progress.clone());
        alive.begin(limit);
        what(&alive);
        drop(alive);
        progress.load(Ordering::Relaxed)
    }

    fn compute(time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn what_computes_is_alive_for_a_limited_time() {
        // Until it is seen: on a loaded machine this thread gets its share late.
        let seen = counted_while(
            |alive| {
                let progress = Arc::new(AtomicU64::new(0));
                let inner = Alive::new(progress.clone());
                let patience = Duration::from_secs(60);
                let end = Instant::now() + patience;
                inner.begin(patience);
                while progress.load(Ordering::Relaxed) < 2 {
                    assert!(Instant::now() < end, "what computes is not seen");
                    compute(Duration::from_millis(50));
                }
                alive.end();
            },
            Duration::ZERO,
        );
        // The outer one's time was up before it began.
        assert_eq!(seen, 0);
    }

    #[test]
    fn a_share_of_the_time_is_what_counts() {
        let at = |wall, cpu| Sample::at(Duration::from_millis(wall), Duration::from_millis(cpu));
        assert!(computes(at(0, 0), at(250, 25)));
        assert!(!computes(at(0, 0), at(250, 24)));
        assert!(!computes(at(250, 0), at(250, 0)));
    }

    #[test]
    fn nothing_is_counted_while_nothing_is_watched() {
        let progress = Arc::new(AtomicU64::new(0));
        let alive = Alive::new(progress.clone());
        compute(2 * PERIOD);
        drop(alive);
        assert_eq!(progress.load(Ordering::Relaxed), 0);
    }
}
