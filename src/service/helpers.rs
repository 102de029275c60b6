//! Threads that do what the service's own must not wait for: hashing, writing, sensors.
//!
//! The daemon never waits for them, because a disk or a sensor may hang, and its process ends soon anyway. A service
//! inside another program is over only when they are, so that each service knows its own: whoever a helper starts helps
//! the same service.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct State {
    running: usize,
    threads: Vec<JoinHandle<()>>,
}

/// The helpers of one service.
#[derive(Default)]
pub(super) struct Helpers {
    state: Mutex<State>,
    fewer: Condvar,
}

thread_local! {
    static OURS: RefCell<Option<Arc<Helpers>>> = const { RefCell::new(None) };
}

/// Makes the calling thread, and whom it starts by [`spawn`], part of this service.
pub(super) fn enter(helpers: Arc<Helpers>) {
    OURS.with(|ours| *ours.borrow_mut() = Some(helpers));
}

/// Starts a helper of the calling thread's service.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn spawn(builder: thread::Builder, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let Some(helpers) = OURS.with(|ours| ours.borrow().clone()) else { return builder.spawn(body).map(drop) };
    let theirs = Arc::clone(&helpers);
    let mut state = helpers.state.lock();
    let thread = builder.spawn(move || {
        let _leaves = Leaves(Arc::clone(&theirs));
        enter(theirs);
        body();
    })?;
    state.running += 1;
    let all = std::mem::take(&mut state.threads);
    let (ended, running): (Vec<_>, Vec<_>) = all.into_iter().partition(JoinHandle::is_finished);
    state.threads = running;
    state.threads.push(thread);
    drop(state);
    // Waited for and not let go of: the kernel may not be through with them, and then they are threads of this process that
    // nobody can wait for any more. It takes no time.
    ended.into_iter().for_each(|t| drop(t.join()));
    Ok(())
}

/// Counts a helper out, also where it panics.
struct Leaves(Arc<Helpers>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.fewer.notify_all();
    }
}

impl Helpers {
    /// Waits until all have ended, at most so long. `false` where some have not.
    pub(super) fn join(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.running > 0 {
            if self.fewer.wait_until(&mut state, until).timed_out() {
                return false;
            }
        }
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        // What is left of them takes no time. A panic was theirs alone.
        threads.into_iter().for_each(|t| drop(t.join()));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn helpers_and_their_helpers_are_waited_for_and_a_hung_one_is_not() {
        let helpers = Arc::new(Helpers::default());
        let theirs = Arc::clone(&helpers);
        let (go, gone) = channel::<()>();
        let (go_on, on) = channel::<()>();
        thread::spawn(move || {
            enter(theirs);
            let nested = move || spawn(thread::Builder::new(), move || assert!(on.recv().is_err())).unwrap();
            spawn(thread::Builder::new(), nested).unwrap();
            spawn(thread::Builder::new(), move || assert!(gone.recv().is_err())).unwrap();
        })
        .join()
        .unwrap();
        assert!(!helpers.join(Duration::from_millis(20)));
        drop(go);
        assert!(!helpers.join(Duration::from_millis(20)));
        drop(go_on);
        assert!(helpers.join(Duration::from_secs(60)));
        assert!(helpers.join(Duration::ZERO));
    }

    /// What a thread still has to do when it counts as finished.
    struct LastThings(std::sync::mpsc::Receiver<()>, Arc<AtomicBool>);

    impl Drop for LastThings {
        fn drop(&mut self) {
            let _ = self.0.recv();
            self.1.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_that_has_ended_is_waited_for_and_not_let_go_of() {
        thread_local! {
            static LAST: RefCell<Option<LastThings>> = const { RefCell::new(None) };
        }
        let helpers = Arc::new(Helpers::default());
        let theirs = Arc::clone(&helpers);
        let (go, goes) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        let last = LastThings(goes, Arc::clone(&gone));
        let (tell, told) = channel();
        let starter = thread::spawn(move || {
            enter(Arc::clone(&theirs));
            spawn(thread::Builder::new(), move || LAST.with(|l| *l.borrow_mut() = Some(last))).unwrap();
            while !theirs.state.lock().threads[0].is_finished() {
                thread::yield_now();
            }
            spawn(thread::Builder::new(), || ()).unwrap();
            tell.send(gone.load(Ordering::SeqCst)).unwrap();
        });
        // Who lets go of it has gone on by then.
        let early = told.recv_timeout(Duration::from_millis(300)).ok();
        drop(go);
        assert_eq!(early.or_else(|| told.recv().ok()), Some(true));
        starter.join().unwrap();
        assert!(helpers.join(Duration::from_secs(60)));
    }
}
