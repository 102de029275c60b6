//! The durable account: who used how much energy, by client, day and model, and what no client used.
//!
//! [`Account`] is what the service holds: sums in memory, and a thread that writes those that changed. The thread is
//! there because a disk may take seconds and the service's thread must not. `day` and `book` are the sums, `record` and
//! `store` the file, `report` what is told of it.
//!
//! What is promised: what was charged is handed to the kernel within a second, so that a `wattlmd` that is killed or
//! crashes loses at most the last second; it is on the disk within a minute more ([`SYNC`]), so that a loss of power
//! loses at most that, and at once when the daemon stops. Nothing is counted twice. Where the folder is missing,
//! read-only, full or another daemon's, the account goes on in memory, the log says so once, and it is written when
//! that is possible again.
//!
//! Flash wears by writes: a busy second adds a line of about 100 bytes for each client and model, a busy minute ends
//! with one flush, an idle one writes nothing. The file is written anew each time it has grown by more than itself and
//! [`GROWTH`].

mod book;
mod day;
mod record;
mod report;
mod store;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use book::{DeviceLine, Entry, DAYS, LINES, MONTHS};
pub use day::{Day, Period};
pub use report::{By, DeviceRow, Line, Query, Report, Sums, Who};

use book::Book;
use store::{Loaded, Store};

use crate::clock::{Monotonic, Time};

/// Charges are gathered for so long before they are written: half of the promised second.
const GATHER: Duration = Duration::from_millis(500);
/// What was written is forced to the disk after this: flash is spared, and a loss of power costs no more.
const SYNC: Duration = Duration::from_secs(60);
/// A file is not written anew for less than this, in bytes: about an hour of work without a pause.
const GROWTH: u64 = 256 << 10;
/// After a failure it is tried again after a second, then after twice as long each time up to this.
const RETRY: Duration = Duration::from_secs(60);

/// How it writes. Tests take other figures.
#[derive(Debug, Clone, Copy)]
struct Pace {
    gather: Duration,
    sync: Duration,
    growth: u64,
    retry: Duration,
}

const PACE: Pace = Pace { gather: GATHER, sync: SYNC, growth: GROWTH, retry: RETRY };

/// The account. Dropping it writes what is not written yet.
#[derive(Debug)]
pub struct Account {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For the thread: something changed, is asked for, or it is to end.
    wake: Condvar,
    /// For those who asked: it is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    book: Book,
    /// What the file held, where it could be read and not be opened for writing: what is in `book` comes on top.
    base: Book,
    /// Flushes asked for and done.
    asked: u64,
    flushed: u64,
    /// Why it cannot be written.
    problem: Option<String>,
    end: bool,
}

impl State {
    fn report(&self, query: &Query, exact: bool) -> Report {
        let mut report = Report::new([self.base.pages(), self.book.pages()], query, exact);
        report.problem = self.problem.clone().filter(|_| exact);
        report
    }
}

impl Account {
    /// Opens the account in this folder and reads what is there. The folder is made if need be.
    pub fn open(dir: &Path) -> Account {
        Account::with_pace(dir, PACE)
    }

    fn with_pace(dir: &Path, pace: Pace) -> Account {
        let mut keeper = Keeper { dir: dir.to_owned(), pace, ..Keeper::default() };
        let mut state = State::default();
        match Store::open(dir) {
            Ok((store, loaded)) => keeper.opened(store, loaded, &mut state),
            Err(e) => {
                keeper.failed(&mut state, &e, Time::ZERO);
                match store::read(dir) {
                    Ok(loaded) => state.base = loaded.book,
                    Err(e) => log::error!("account: {} cannot be read: {e}", dir.display()),
                }
            }
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("account".into()).stack_size(256 << 10).spawn(move || keeper.run(&shared))
        };
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(e) => {
                let text = format!("there is no thread to write it: {e}");
                log::error!("account: {text}; it is kept in memory alone");
                shared.state.lock().problem = Some(text);
                None
            }
        };
        Account { shared, thread }
    }

    /// Adds what a request took. Never waits for a disk.
    pub fn charge(&mut self, day: Day, uid: u32, model: &str, entry: &Entry) {
        self.change(|book| book.charge(day, uid, model, entry));
    }

    /// Adds to what the device used.
    pub fn device(&mut self, day: Day, line: DeviceLine) {
        self.change(|book| book.device(day, &line));
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        let mut state = self.shared.state.lock();
        let first = !state.book.is_changed();
        change(&mut state.book);
        if first {
            self.shared.wake.notify_one();
        }
    }

    /// Waits until what was charged is on the disk. Returns whether it is.
    pub fn flush(&mut self) -> bool {
        if self.thread.is_none() {
            return false;
        }
        let mut state = self.shared.state.lock();
        state.asked += 1;
        let mine = state.asked;
        self.shared.wake.notify_one();
        while state.flushed < mine {
            self.shared.done.wait(&mut state);
        }
        state.problem.is_none()
    }

    /// What the account says: to the microjoule and with the device's lines, or as clients may see it.
    pub fn report(&self, query: &Query, exact: bool) -> Report {
        self.shared.state.lock().report(query, exact)
    }

    /// The clients' lines, to the microjoule.
    pub fn query(&self, query: &Query) -> Vec<Line> {
        self.report(query, true).lines
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.shared.state.lock().end = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the account in this folder says, read from the files: for programs that find no daemon running.
///
/// # Errors
/// Where it cannot be read. What does not exist is empty.
pub fn read(dir: &Path, query: &Query) -> io::Result<Report> {
    Ok(Report::new([store::read(dir)?.book.pages()], query, true))
}

/// The thread's own: the file, and when it is written next.
#[derive(Debug)]
struct Keeper {
    dir: PathBuf,
    pace: Pace,
    clock: Monotonic,
    store: Option<Store>,
    /// The file does not have the shape of what is in memory: nothing may be added to it before it is written anew.
    anew: bool,
    /// It is written anew when it is longer than this.
    limit: u64,
    /// When to write, where something changed.
    write_at: Option<Time>,
    /// When to force it to the disk, where something was written.
    sync_at: Option<Time>,
    /// How long it waits after the next failure.
    wait: Duration,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper {
            dir: PathBuf::new(),
            pace: PACE,
            clock: Monotonic::start(),
            store: None,
            anew: false,
            limit: 0,
            write_at: None,
            sync_at: None,
            wait: Duration::ZERO,
        }
    }
}

impl Keeper {
    fn run(mut self, shared: &Shared) {
        let mut state = shared.state.lock();
        loop {
            let now = self.clock.now();
            if self.pending(&state) && self.write_at.is_none() {
                self.write_at = Some(now + self.pace.gather);
            }
            let asked = state.asked;
            let at_once = state.end || state.flushed < asked;
            let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
            if self.pending(&state) && (at_once || due(self.write_at)) {
                self.write(&mut state);
            }
            // A file that is written may be forced to the disk whatever came of the rest.
            if self.sync_at.is_some() && (at_once || due(self.sync_at)) {
                self.sync(&mut state);
            }
            if state.flushed < asked {
                state.flushed = asked;
                shared.done.notify_all();
            }
            if state.end {
                return;
            }
            // Asked, charged or due in the meantime, while the disk was waited for.
            let write_at = if self.pending(&state) { self.write_at.or(Some(now)) } else { None };
            let next = [write_at, self.sync_at].into_iter().flatten().min();
            if state.asked > state.flushed || next.is_some_and(|at| at <= self.clock.now()) {
                continue;
            }
            match next {
                Some(at) => drop(shared.wake.wait_until(&mut state, self.clock.instant(at))),
                None => shared.wake.wait(&mut state),
            }
        }
    }

    /// There is something to write.
    fn pending(&self, state: &State) -> bool {
        self.anew || state.book.is_changed()
    }

    /// Writes what changed, or all. The lock is not held while the disk is waited for.
    fn write(&mut self, state: &mut MutexGuard<'_, State>) {
        self.write_at = None;
        if self.store.is_none() {
            match MutexGuard::unlocked(state, || Store::open(&self.dir)) {
                Ok((store, loaded)) => self.opened(store, loaded, state),
                Err(e) => return self.failed(state, &e, self.clock.now()),
            }
        }
        let Some(store) = &mut self.store else { return };
        self.anew |= !store.is_there();
        if let Some(cut) = state.book.old() {
            state.book.merge(cut);
            self.anew = true;
        }
        let places = state.book.take_changed();
        let mut lines = String::new();
        let whole = self.anew || store.len() > self.limit;
        if whole {
            state.book.all().for_each(|r| record::write(&r, &mut lines));
        } else {
            state.book.records(&places).for_each(|r| record::write(&r, &mut lines));
        }
        let written = MutexGuard::unlocked(state, || if whole { store.replace(&lines) } else { store.add(&lines) });
        let now = self.clock.now();
        match written {
            Ok(()) => {
                if whole {
                    self.anew = false;
                    self.limit = store.len() * 2 + self.pace.growth;
                } else {
                    self.sync_at.get_or_insert(now + self.pace.sync);
                }
                self.succeeded(state);
            }
            Err(e) => {
                state.book.give_back(places);
                if whole && !self.anew {
                    // There may be room for less than all of it.
                    self.limit = store.len() * 2;
                }
                self.failed(state, &e, now);
            }
        }
    }

    fn sync(&mut self, state: &mut MutexGuard<'_, State>) {
        self.sync_at = None;
        let Some(store) = &self.store else { return };
        if let Err(e) = MutexGuard::unlocked(state, || store.sync()) {
            // The kernel may have thrown away what it could not write: all of it is written again with what comes next.
            self.anew = true;
            self.failed(state, &e, self.clock.now());
        }
    }

    /// The file is open: what was charged so far comes on top of what it holds.
    fn opened(&mut self, store: Store, loaded: Loaded, state: &mut State) {
        let charged = std::mem::replace(&mut state.book, loaded.book);
        state.book.absorb(charged);
        state.base = Book::default();
        self.anew = loaded.bad > 0;
        self.limit = store.len().max(self.pace.growth);
        self.store = Some(store);
    }

    fn failed(&mut self, state: &mut State, e: &dyn Display, now: Time) {
        self.wait = (self.wait * 2).clamp(Duration::from_secs(1).min(self.pace.retry), self.pace.retry);
        self.write_at = Some(now + self.wait);
        if state.problem.is_none() {
            log::warn!(
                "account: {} cannot be written ({e}): it is kept in memory and written when that is possible again",
                self.dir.display()
            );
        }
        state.problem = Some(format!("{} cannot be written: {e}", self.dir.display()));
    }

    fn succeeded(&mut self, state: &mut State) {
        self.wait = Duration::ZERO;
        if state.problem.take().is_some() {
            log::info!("account: {} is written again", self.dir.display());
        }
    }
}
