//! A lane on a thread of the program.
//!
//! What the daemon's worker process does around the engine, without the process: it greets, it beats while something is
//! waited for, and it says once that it is gone. It confines nothing and cannot be killed: a lane that shall end is
//! asked to, and does so within one step of the model. What ends a worker process (a failed assertion of llama.cpp's)
//! ends the program here.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::time::{clock_gettime, ClockId};
use parking_lot::{Condvar, Mutex};

use crate::engine;
use crate::lane::{CpuClock, EventFn, FromLane, Gone, Lane, LaneConfig, LaneEvent, LaneFactory, LaneId, ToLane};

/// The threads of a service's lanes, to wait for them at its end.
#[derive(Clone, Default)]
pub(super) struct LaneThreads(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl LaneThreads {
    /// Waits for all. They have been told to end, or nobody holds the other end of their inbox any more.
    pub(super) fn join(self) {
        for thread in std::mem::take(&mut *self.0.lock()) {
            // A panic was told as `Gone`.
            let _ = thread.join();
        }
    }

    fn add(&self, thread: JoinHandle<()>) {
        let mut all = self.0.lock();
        // Models come and go for as long as the program runs. One that has ended is waited for, because the kernel may not be
        // through with it; that takes no time.
        let (ended, running): (Vec<_>, Vec<_>) = all.drain(..).partition(JoinHandle::is_finished);
        *all = running;
        all.push(thread);
        drop(all);
        ended.into_iter().for_each(|t| drop(t.join()));
    }
}

/// Brings lanes up as threads.
pub(super) struct ThreadLanes(pub(super) LaneThreads);

impl LaneFactory for ThreadLanes {
    fn start(&self, id: LaneId, config: LaneConfig, events: EventFn) -> Box<dyn Lane> {
        let (tx, rx) = channel();
        let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        let cpu_before = used.map(Duration::from).unwrap_or_default();
        let shared = Arc::new(Shared::default());
        let (thread_shared, thread_events) = (Arc::clone(&shared), Arc::clone(&events));
        let period = Duration::from_millis(u64::from(config.heartbeat_ms.max(10)));
        let run = move || {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                let (shared, events) = (&thread_shared, &thread_events);
                events(id, LaneEvent::Said(FromLane::Hello { version: crate::VERSION.to_owned() }));
                let progress = Arc::new(AtomicU64::new(0));
                thread::scope(|scope| {
                    let beating = thread::Builder::new().name("beat".into()).stack_size(128 << 10);
                    let beat = || shared.beat(&progress, period, &|msg| events(id, LaneEvent::Said(msg)));
                    let _ends = Ends(shared);
                    beating.spawn_scoped(scope, beat)?;
                    let (out_shared, out_events) = (Arc::clone(shared), Arc::clone(events));
                    let out = move |msg: FromLane| {
                        let settled =
                            matches!(msg, FromLane::Ready(_) | FromLane::LoadFailed(_) | FromLane::Done { .. });
                        out_events(id, LaneEvent::Said(msg));
                        if settled {
                            out_shared.settled();
                        }
                    };
                    let hooks = engine::Hooks {
                        on_backends: Box::new(|| ()),
                        on_mapped: Box::new(|| "none: a thread of the program".to_owned()),
                        progress: Arc::clone(&progress),
                    };
                    engine::run(config, rx, Arc::new(out), hooks);
                    std::io::Result::Ok(())
                })
            }));
            let why = match ran {
                Ok(Ok(())) => thread_shared.state.lock().why.take().unwrap_or(Gone::Clean),
                Ok(Err(e)) => Gone::Spawn(e.to_string()),
                Err(_) => Gone::Protocol("its thread panicked".to_owned()),
            };
            thread_events(id, LaneEvent::Gone { why, last_words: None });
        };
        match thread::Builder::new().name("lane".into()).spawn(run) {
            Ok(thread) => self.0.add(thread),
            Err(e) => events(id, LaneEvent::Gone { why: Gone::Spawn(e.to_string()), last_words: None }),
        }
        Box::new(ThreadLane { tx, shared, cpu_before })
    }
}

struct State {
    /// What the service waits for: the load at first, then each request.
    open: u64,
    over: bool,
    /// Why it was told to end.
    why: Option<Gone>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for State {
    fn default() -> Self {
        State { open: 1, over: false, why: None }
    }
}

impl Shared {
    fn settled(&self) {
        let mut state = self.state.lock();
        state.open = state.open.saturating_sub(1);
    }

    /// Says "alive" once a period while the service waits for something; sleeps without a timer while it does not.
    fn beat(&self, progress: &AtomicU64, period: Duration, say: &dyn Fn(FromLane)) {
        let mut state = self.state.lock();
        while !state.over {
            if state.open == 0 {
                self.changed.wait(&mut state);
                continue;
            }
            drop(state);
            say(FromLane::Beat { progress: progress.load(Ordering::Relaxed) });
            state = self.state.lock();
            if !state.over {
                self.changed.wait_for(&mut state, period);
            }
        }
    }
}

/// Ends the beating, also where the engine panics: the scope waits for it.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.changed.notify_one();
    }
}

struct ThreadLane {
    tx: Sender<ToLane>,
    shared: Arc<Shared>,
    /// What the process had used when the lane began.
    cpu_before: Duration,
}

impl Lane for ThreadLane {
    fn send(&self, msg: ToLane) {
        if matches!(msg, ToLane::Start(_)) {
            self.shared.state.lock().open += 1;
            self.shared.changed.notify_one();
        }
        // Lost with the lane; `Gone` follows or has come.
        let _ = self.tx.send(msg);
    }

    fn kill(&self, why: Gone) {
        self.shared.state.lock().why.get_or_insert(why);
        let _ = self.tx.send(ToLane::Quit);
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn cpu(&self) -> Option<CpuClock> {
        Some(CpuClock::Inside(self.cpu_before))
    }
}

impl Drop for ThreadLane {
    fn drop(&mut self) {
        let _ = self.tx.send(ToLane::Quit);
    }
}
