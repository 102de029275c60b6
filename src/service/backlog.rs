//! What a lane has said and the service has not heard yet, bounded: a worker that talks without end is held up and
//! cannot fill the daemon's memory.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Messages. An honest lane says a few for each step; a message holds at most what a frame holds.
const MOST: usize = 64;

#[derive(Default)]
struct State {
    unheard: usize,
    over: bool,
}

/// One lane's backlog.
#[derive(Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    room: Condvar,
}

impl Backlog {
    /// A message comes. Waits for room; on the lane's thread.
    pub fn enter(&self) {
        let mut state = self.state.lock();
        while state.unheard >= MOST && !state.over {
            self.room.wait(&mut state);
        }
        state.unheard += 1;
    }

    /// A message was heard.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        state.unheard = state.unheard.saturating_sub(1);
        self.room.notify_one();
    }

    /// Nobody listens to this lane any more: it is never held up again.
    pub fn end(&self) {
        self.state.lock().over = true;
        self.room.notify_all();
    }
}

/// The listener's hold on a backlog: who lets go of it listens no more.
#[derive(Default)]
pub(super) struct Listening(pub Arc<Backlog>);

impl Deref for Listening {
    type Target = Backlog;
    fn deref(&self) -> &Backlog {
        &self.0
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_says_more_than_is_heard_waits_until_it_is_or_until_the_end() {
        let backlog = Listening::default();
        let (said, heard) = channel();
        let lane = {
            let backlog = Arc::clone(&backlog.0);
            std::thread::spawn(move || {
                for n in 0..MOST + 5 {
                    backlog.enter();
                    said.send(n).unwrap();
                }
            })
        };
        for n in 0..MOST {
            assert_eq!(heard.recv(), Ok(n));
        }
        assert!(heard.try_recv().is_err());
        backlog.leave();
        assert_eq!(heard.recv(), Ok(MOST));
        assert!(heard.try_recv().is_err());
        drop(backlog);
        lane.join().unwrap();
        assert_eq!(heard.iter().count(), 4);
    }
}
