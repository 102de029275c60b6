//! What the service says to the lane, as the engine's thread hears it: between steps, and between two graph nodes
//! of a running step.
//!
//! The inbox has one reader, the engine's thread. While that thread computes, llama.cpp calls [`Mailbox::watch`] on
//! it after every graph node; what comes in is kept for the next step, and when every request of the step was
//! cancelled there is no reason to finish it. Idle, the thread sleeps in [`Mailbox::wait`], between paced steps in
//! [`Mailbox::wait_for`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::Arc;
use std::time::Duration;

use super::alive::Alive;
use crate::lane::{RequestId, ToLane};

/// The inbox with what was read ahead of it.
pub struct Mailbox {
    inbox: Receiver<ToLane>,
    progress: Arc<AtomicU64>,
    /// On a GPU, from whose steps nothing calls back.
    alive: Option<Alive>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    read: VecDeque<ToLane>,
    quit: bool,
    /// Requests of the running step that nobody has cancelled. `None` between steps.
    in_flight: Option<Vec<RequestId>>,
}

impl Mailbox {
    /// `progress` grows with every graph node; on a GPU `alive` sees to it.
    pub fn new(inbox: Receiver<ToLane>, progress: Arc<AtomicU64>, alive: Option<Alive>) -> Self {
        Mailbox { inbox, progress, alive, state: RefCell::default() }
    }

    /// Something begins in which a GPU's driver may compute for `limit`.
    pub fn begins(&self, limit: Duration) {
        if let Some(alive) = &self.alive {
            alive.begin(limit);
        }
    }

    /// It has ended.
    pub fn ends(&self) {
        if let Some(alive) = &self.alive {
            alive.end();
        }
        self.bump();
    }

    /// Reads what is there, without blocking.
    fn read(&self, state: &mut State) {
        loop {
            match self.inbox.try_recv() {
                Ok(msg) => state.take(msg),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    state.quit = true;
                    return;
                }
            }
        }
    }

    /// The next message that is already there.
    pub fn next(&self) -> Option<ToLane> {
        let mut state = self.state.borrow_mut();
        self.read(&mut state);
        state.read.pop_front()
    }

    /// Sleeps until there is a message, or the end.
    pub fn wait(&self) {
        self.sleep(|inbox| inbox.recv().map_err(|_| RecvTimeoutError::Disconnected));
    }

    /// The same, and until this time has passed at the latest. That the lane keeps to its pace counts as progress.
    pub fn wait_for(&self, time: Duration) {
        self.bump();
        self.sleep(|inbox| inbox.recv_timeout(time));
    }

    fn sleep(&self, receive: impl FnOnce(&Receiver<ToLane>) -> Result<ToLane, RecvTimeoutError>) {
        let mut state = self.state.borrow_mut();
        if state.quit || !state.read.is_empty() {
            return;
        }
        match receive(&self.inbox) {
            Ok(msg) => state.take(msg),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => state.quit = true,
        }
    }

    /// Whether the lane shall end: it was told to, or nobody is there to tell it anything. Reads ahead.
    pub fn quit(&self) -> bool {
        let mut state = self.state.borrow_mut();
        self.read(&mut state);
        state.quit
    }

    /// A step of these requests begins.
    pub fn step_begins(&self, requests: impl Iterator<Item = RequestId>) {
        self.state.borrow_mut().in_flight = Some(requests.collect());
        self.begins(super::GPU_STEP);
    }

    /// The step is over.
    pub fn step_ends(&self) {
        self.state.borrow_mut().in_flight = None;
        self.ends();
    }

    /// Called while the engine computes; `true`: stop, the result is of no use to anyone.
    pub fn watch(&self) -> bool {
        self.bump();
        let mut state = self.state.borrow_mut();
        self.read(&mut state);
        state.quit || state.in_flight.as_ref().is_some_and(Vec::is_empty)
    }

    /// Says that the engine is alive. Only the engine's thread writes, so that this needs no locked instruction.
    pub fn bump(&self) {
        self.progress.store(self.progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

impl State {
    fn take(&mut self, msg: ToLane) {
        match &msg {
            ToLane::Quit => self.quit = true,
            ToLane::Cancel(id) => {
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.retain(|r| r != id);
                }
            }
            _ => {}
        }
        self.read.push_back(msg);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn mailbox() -> (std::sync::mpsc::Sender<ToLane>, Mailbox) {
        let (tx, rx) = channel();
        (tx, Mailbox::new(rx, Arc::default(), None))
    }

    #[test]
    fn a_step_ends_early_only_when_all_of_it_is_cancelled() {
        let (tx, mail) = mailbox();
        mail.step_begins([RequestId(1), RequestId(2)].into_iter());
        assert!(!mail.watch());
        tx.send(ToLane::Cancel(RequestId(1))).unwrap();
        tx.send(ToLane::Cancel(RequestId(3))).unwrap();
        assert!(!mail.watch());
        tx.send(ToLane::Cancel(RequestId(2))).unwrap();
        assert!(mail.watch());
        mail.step_ends();
        assert!(!mail.watch());
        for id in [1, 3, 2] {
            assert_eq!(mail.next(), Some(ToLane::Cancel(RequestId(id))));
        }
        assert_eq!(mail.next(), None);
    }

    #[test]
    fn a_pause_ends_with_its_time_or_with_a_message() {
        let (tx, mail) = mailbox();
        mail.wait_for(Duration::from_millis(1));
        assert_eq!(mail.next(), None);
        assert!(mail.progress.load(Ordering::Relaxed) > 0);
        let begun = std::time::Instant::now();
        let sender = std::thread::spawn(move || tx.send(ToLane::Cancel(RequestId(1))).unwrap());
        mail.wait_for(Duration::from_secs(100));
        assert!(begun.elapsed() < Duration::from_secs(50));
        assert_eq!(mail.next(), Some(ToLane::Cancel(RequestId(1))));
        sender.join().unwrap();
        mail.wait_for(Duration::from_secs(100));
        assert!(mail.quit());
    }

    #[test]
    fn progress_grows_and_the_end_is_heard_while_computing() {
        let (tx, mail) = mailbox();
        mail.step_begins([RequestId(1)].into_iter());
        assert!(!mail.watch());
        assert!(mail.progress.load(Ordering::Relaxed) > 0);
        drop(tx);
        assert!(mail.watch());
        assert!(mail.quit());
        mail.wait();
    }
}
