//! Purses on the disk, so that a daemon that is killed and started again finds them no fuller.
//!
//! Before a request starts, what is reserved for it has left the file; while it goes on beyond that, each charge is
//! written as it comes. So the file never tells more than there is, and less only by what runs may still use. It is
//! replaced as a whole by a rename, which a killed process cannot leave half done, and flushed to the disk once a minute
//! against a loss of power, on a thread of its own.
//!
//! While the daemon was down, time went on: purses fill by the boot clock within one boot, by the wall clock from one
//! to the next. Neither makes a purse more than full, and a clock that went back fills nothing. No file means that
//! nothing was ever used: full purses. A file that cannot be read is put aside as `purses.bad` and means empty purses,
//! for nobody knows how full they were. A disk that takes nothing does not stop the service; it is said once.
//!
//! One process at a time keeps the file, by a lock beside it. A second one (programs that run models themselves share
//! their user's folder) begins with what the file says, keeps its own purses in memory and writes nothing, until the
//! first has ended: then it takes over with the lesser of both.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};

/// Between two flushes to the disk.
const FLUSH_NS: u64 = 60_000_000_000;
/// The file is written anew where it tells less than there is by more than this part of a purse.
const COARSE: i64 = 100;
/// After so long every purse is full.
const LONGEST_NS: u64 = 86_400_000_000_000;
/// While something runs the file tells less by this part of a purse, so that not every charge is a write.
const AHEAD: i64 = 1_000;

/// The clocks that go on while the daemon does not run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// Names the boot.
    pub boot_id: String,
    /// Since boot, suspended time included.
    pub boot_ns: u64,
    /// Since 1970.
    pub wall_ns: u64,
}

impl Clocks {
    pub fn read() -> Clocks {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Clocks { boot_id, ..Clocks::default() }.again()
    }

    /// The same clocks now.
    pub fn again(&self) -> Clocks {
        let ns = |clock| {
            let time = clock_gettime(clock).map(std::time::Duration::from).unwrap_or_default();
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
        };
        Clocks {
            boot_id: self.boot_id.clone(),
            boot_ns: ns(ClockId::CLOCK_BOOTTIME),
            wall_ns: ns(ClockId::CLOCK_REALTIME),
        }
    }

    /// Nanoseconds since `earlier`; 0 where the clock has gone back.
    fn since(&self, earlier: &Clocks) -> u64 {
        if self.boot_id == earlier.boot_id && !self.boot_id.is_empty() {
            self.boot_ns.saturating_sub(earlier.boot_ns)
        } else {
            self.wall_ns.saturating_sub(earlier.wall_ns)
        }
    }
}

/// A purse as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Microjoules; negative: owed.
    pub left: i64,
    /// What it holds at most, and gets back in each period.
    pub size: u64,
    pub period_s: u64,
}

impl Record {
    /// What is in it this much later.
    fn after(&self, ns: u64) -> i64 {
        let back = u128::from(self.size) * u128::from(ns) / (u128::from(self.period_s.max(1)) * 1_000_000_000);
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        self.left.saturating_add(i64::try_from(back).unwrap_or(i64::MAX)).min(size)
    }
}

/// A purse as it is.
#[derive(Debug, Clone)]
pub(super) struct Level {
    /// Its name in the file.
    pub key: String,
    pub record: Record,
    /// Of what is left, kept for requests that run.
    pub reserved: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    at: Clocks,
    /// An earlier file could not be read then: what this one does not tell was empty at that time.
    #[serde(default)]
    lost: Option<Clocks>,
    purses: BTreeMap<String, Record>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Purses {
    path: PathBuf,
    /// What the file says, or was meant to say.
    written: Contents,
    failing: bool,
    flushed: u64,
    /// Held by this process, or why not.
    lock: Lock,
}

#[derive(Debug)]
enum Lock {
    Ours(#[allow(dead_code)] File),
    /// Another one keeps the file.
    Theirs,
    /// It cannot be made: nor can the file.
    None,
}

impl Lock {
    fn take(state: &Path) -> Lock {
        let _ = fs::create_dir_all(state);
        let open = OpenOptions::new().create(true).append(true).mode(0o600).open(state.join("purses.lock"));
        match open.map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Lock::Ours(file),
            Ok((Err(TryLockError::WouldBlock), _)) => Lock::Theirs,
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => Lock::None,
        }
    }
}

impl Purses {
    /// Reads the file in this folder.
    pub fn open(state: &Path, now: Clocks) -> Purses {
        let path = state.join("purses");
        // Before it is read: nobody else writes it from here on.
        let lock = Lock::take(state);
        let nothing = |lost| Contents { at: now.clone(), lost, purses: BTreeMap::new() };
        let read = fs::read(&path);
        let written = match read.as_deref().map(serde_json::from_slice::<Contents>) {
            Ok(Ok(contents)) => contents,
            Err(e) if e.kind() == ErrorKind::NotFound => nothing(None),
            Ok(Err(e)) => {
                let aside = state.join("purses.bad");
                log::error!(
                    "{}: not what wattlm wrote ({e}); it is kept as {}, and all energy budgets start empty",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(&path, &aside);
                nothing(Some(now.clone()))
            }
            Err(e) => {
                log::error!("{}: {e}; all energy budgets start empty", path.display());
                nothing(Some(now.clone()))
            }
        };
        let mut purses = Purses { path, written, failing: false, flushed: now.boot_ns, lock };
        if let Lock::Theirs = purses.lock {
            log::info!(
                "{}: another service keeps the energy budgets of this folder; those of this one are its own while that one runs",
                purses.path.display()
            );
        }
        if purses.written.lost.as_ref() == Some(&now) {
            // So that the next start does not take it for a first one.
            purses.write(&now);
        }
        purses
    }

    /// What the purse of this name and, where that is known, of this size and period holds by now; `None`: it was never
    /// used.
    pub fn left(&self, key: &str, shape: Option<Record>, now: &Clocks) -> Option<i64> {
        let known = self.written.purses.get(key).map(|record| record.after(now.since(&self.written.at)));
        known.or_else(|| {
            let lost = self.written.lost.as_ref()?;
            Some(shape.map_or(0, |shape| Record { left: 0, ..shape }.after(now.since(lost))))
        })
    }

    /// Sees to it that the file tells no more than this. Purses that are not named stay in it.
    pub fn keep(&mut self, levels: &[Level], now: &Clocks) {
        let elapsed = now.since(&self.written.at);
        let differs = |level: &Level| {
            let Record { left, size, .. } = level.record;
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            let safe = left.saturating_sub_unsigned(level.reserved);
            let told = self.left(&level.key, Some(level.record), now).unwrap_or(size);
            // The file rounds in its own way: a few microjoules are no difference.
            safe.saturating_add(2) < told || safe.saturating_sub(size / COARSE) > told
        };
        if !levels.iter().any(differs) {
            return;
        }
        let mut purses: BTreeMap<String, Record> = std::mem::take(&mut self.written.purses);
        purses.values_mut().for_each(|record| record.left = record.after(elapsed));
        for level in levels {
            let Record { left, size, .. } = level.record;
            let ahead = if level.reserved > 0 { i64::try_from(size).unwrap_or(i64::MAX) / AHEAD } else { 0 };
            let left = left.saturating_sub_unsigned(level.reserved).saturating_sub(ahead);
            purses.insert(level.key.clone(), Record { left, ..level.record });
        }
        let lost = self.written.lost.take().filter(|lost| now.since(lost) < LONGEST_NS);
        if lost.is_none() {
            // What is full need not be remembered.
            purses.retain(|_, record| record.left < i64::try_from(record.size).unwrap_or(i64::MAX));
        }
        self.written = Contents { at: now.clone(), lost, purses };
        self.write(now);
    }

    /// Whether the file is this process' to write; takes over from one that has ended.
    fn is_ours(&mut self, now: &Clocks) -> bool {
        let Some(state) = self.path.parent() else { return true };
        if !matches!(self.lock, Lock::Ours(_)) {
            let before = std::mem::replace(&mut self.lock, Lock::take(state));
            if let (Lock::Theirs, Lock::Ours(_)) = (before, &self.lock) {
                self.take_over(now);
            }
        }
        !matches!(self.lock, Lock::Theirs)
    }

    /// What another process has left in the file: no purse is fuller than it says. `written` is of this very moment.
    fn take_over(&mut self, now: &Clocks) {
        let read = fs::read(&self.path).ok();
        let Some(theirs) = read.and_then(|bytes| serde_json::from_slice::<Contents>(&bytes).ok()) else { return };
        let elapsed = now.since(&theirs.at);
        for (key, record) in theirs.purses {
            let left = record.after(elapsed);
            self.written
                .purses
                .entry(key)
                .and_modify(|ours| ours.left = ours.left.min(left))
                .or_insert(Record { left, ..record });
        }
    }

    fn write(&mut self, now: &Clocks) {
        if !self.is_ours(now) {
            return;
        }
        match self.replace() {
            Ok(file) => {
                if std::mem::take(&mut self.failing) {
                    log::info!("{}: energy budgets are kept again", self.path.display());
                }
                if now.boot_ns.saturating_sub(self.flushed) >= FLUSH_NS {
                    self.flushed = now.boot_ns;
                    // Where there is no thread for it, the kernel flushes by itself some time.
                    let _ = super::helpers::spawn(std::thread::Builder::new().name("flush".into()), move || {
                        let _ = file.sync_all();
                    });
                }
            }
            Err(e) if !self.failing => {
                self.failing = true;
                log::error!(
                    "{}: {e}; energy budgets hold, but are forgotten if the service ends before this is mended",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    fn replace(&self) -> io::Result<File> {
        let part = self.path.with_extension("part");
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let bytes = serde_json::to_vec(&self.written).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&bytes)?;
        fs::rename(&part, &self.path)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn at(boot: &str, hours: f64) -> Clocks {
        let ns = (hours * HOUR_NS as f64) as u64;
        Clocks { boot_id: boot.into(), boot_ns: ns, wall_ns: (1 << 60) + ns }
    }

    fn level(left: i64, reserved: u64) -> Level {
        Level { key: "hour".into(), record: Record { left, size: 1_000_000, period_s: 3_600 }, reserved }
    }

    #[test]
    fn a_reservation_is_on_the_disk_and_time_brings_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut purses = Purses::open(&dir.path().join("state"), at("a", 1.0));
        assert_eq!(purses.left("hour", None, &at("a", 1.0)), None, "never used");
        purses.keep(&[level(1_000_000, 600_000)], &at("a", 1.0));
        // Killed: nothing but the file is left.
        let after = |clocks: Clocks| {
            Purses::open(&dir.path().join("state"), clocks.clone()).left("hour", None, &clocks).unwrap()
        };
        assert_eq!(after(at("a", 1.0)), 399_000);
        assert_eq!(after(at("a", 1.25)), 649_000);
        assert_eq!(after(at("a", 1e6)), 1_000_000, "at most one full purse");
    }

    #[test]
    fn clocks_that_are_set_fill_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut purses = Purses::open(dir.path(), at("a", 10.0));
        purses.keep(&[level(100_000, 0)], &at("a", 10.0));
        let after = |clocks: Clocks| Purses::open(dir.path(), clocks.clone()).left("hour", None, &clocks).unwrap();
        // Within one boot the wall clock is not looked at.
        assert_eq!(after(Clocks { wall_ns: u64::MAX, ..at("a", 10.0) }), 100_000);
        // After another boot it is: back gives nothing, years ahead one full purse.
        assert_eq!(after(Clocks { wall_ns: 5, ..at("b", 0.0) }), 100_000);
        assert_eq!(after(Clocks { wall_ns: u64::MAX, ..at("b", 0.0) }), 1_000_000);
        assert_eq!(after(at("b", 10.5)), 600_000);
    }

    #[test]
    fn the_file_never_tells_more_than_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut purses = Purses::open(dir.path(), at("a", 0.0));
        let mut writes = 0;
        let (mut left, mut reserved) = (1_000_000i64, 100_000u64);
        for step in 0..2_000 {
            let now = at("a", f64::from(step) / 3_600_000.0);
            purses.keep(&[level(left, reserved)], &now);
            let told = Purses::open(dir.path(), now.clone()).left("hour", None, &now).unwrap();
            assert!(told <= left - reserved as i64 + 2, "{told} is told of {left} - {reserved}");
            writes += i32::from(purses.written.at == now);
            left -= 300;
            reserved = reserved.saturating_sub(300).max(12_000);
        }
        assert!(writes < 700, "{writes} writes for 2000 charges");
        // What was reserved and not used comes back to the file.
        purses.keep(&[level(left, 0)], &at("a", 0.001));
        let now = at("a", 0.001);
        assert_eq!(Purses::open(dir.path(), now.clone()).left("hour", None, &now), Some(left));
    }

    #[test]
    fn what_is_not_asked_for_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let other = Level { key: "user:7".into(), ..level(5_000, 0) };
        Purses::open(dir.path(), at("a", 0.0)).keep(&[other, level(900_000, 0)], &at("a", 0.0));
        let mut purses = Purses::open(dir.path(), at("a", 0.0));
        purses.keep(&[level(0, 0)], &at("a", 0.5));
        let now = at("a", 0.5);
        let again = Purses::open(dir.path(), now.clone());
        assert_eq!((again.left("user:7", None, &now), again.left("hour", None, &now)), (Some(505_000), Some(0)));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_kept_aside_and_means_empty_purses() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "{\"at\":", "\0\0\0\0", "[]"] {
            fs::write(dir.path().join("purses"), bad).unwrap();
            let now = at("a", 0.0);
            let purses = Purses::open(dir.path(), now.clone());
            assert_eq!(purses.left("hour", None, &now), Some(0), "{bad:?}");
            assert_eq!(fs::read_to_string(dir.path().join("purses.bad")).unwrap(), bad);
            drop(purses);
            // Killed before anything was written: still not taken for a first start.
            let now = at("a", 0.25);
            let mut purses = Purses::open(dir.path(), now.clone());
            assert_eq!(purses.left("hour", Some(level(0, 0).record), &now), Some(250_000));
            purses.keep(&[level(50_000, 0)], &now);
            assert_eq!(Purses::open(dir.path(), now.clone()).left("hour", None, &now), Some(50_000));
        }
    }

    #[test]
    fn one_process_keeps_the_file_and_the_next_takes_over_with_the_lesser() {
        let dir = tempfile::tempdir().unwrap();
        let now = at("a", 0.0);
        let told = |now: &Clocks| {
            let contents: Contents = serde_json::from_slice(&fs::read(dir.path().join("purses")).unwrap()).unwrap();
            contents.purses.iter().map(|(key, r)| (key.clone(), r.after(now.since(&contents.at)))).collect::<Vec<_>>()
        };
        let mut first = Purses::open(dir.path(), now.clone());
        first.keep(&[level(700_000, 0)], &now);
        let mut second = Purses::open(dir.path(), now.clone());
        assert_eq!(second.left("hour", None, &now), Some(700_000), "it begins with what is known");
        second.keep(&[level(600_000, 0), Level { key: "user:7".into(), ..level(5, 0) }], &now);
        assert_eq!(told(&now), [("hour".to_owned(), 700_000)], "the file is the first one's");
        first.keep(&[level(300_000, 0), Level { key: "day".into(), ..level(9, 0) }], &now);
        drop(first);
        let later = at("a", 0.1);
        second.keep(&[level(500_000, 0)], &later);
        let expected = [("day".to_owned(), 100_009), ("hour".to_owned(), 400_000), ("user:7".to_owned(), 100_005)];
        assert_eq!(told(&later), expected);
    }

    #[test]
    fn a_disk_that_takes_nothing_does_not_matter_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::write(&state, "in the way").unwrap();
        let now = at("a", 0.0);
        let mut purses = Purses::open(&state, now.clone());
        assert_eq!(purses.left("hour", None, &now), Some(0), "what cannot be read is not taken for unused");
        purses.keep(&[level(400_000, 0)], &now);
        assert!(purses.failing);
        fs::remove_file(&state).unwrap();
        purses.keep(&[level(300_000, 0)], &now);
        assert!(!purses.failing);
        assert_eq!(Purses::open(&state, now.clone()).left("hour", None, &now), Some(300_000));
    }
}
