//! Small files of what was learnt: written from a helper, whole, and never an older state over a newer one.
//!
//! What cannot be written is learnt again; whoever keeps something decides what to say of that.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::models::atomic::Draft;

/// The order of what was written last, by file. Held while one is written: two threads that write the same file at once
/// would write into each other's draft.
static LAST: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

/// The order in which writes were asked for.
static ORDER: AtomicU64 = AtomicU64::new(0);

/// The next place in the order of writes.
pub(super) fn next() -> u64 {
    ORDER.fetch_add(1, Ordering::Relaxed)
}

/// Permissions of a file that everybody may read, and of one that tells of clients.
pub(super) const OPEN: u32 = 0o644;
pub(super) const PRIVATE: u32 = 0o600;

/// What a file holds, of at most so many bytes; `None` where there is none.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(path: &Path, longest: u64) -> Result<Option<Vec<u8>>, String> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if !meta.is_file() || meta.len() > longest {
        return Err("it is nothing that wattlm wrote".to_owned());
    }
    fs::read(path).map(Some).map_err(|e| e.to_string())
}

/// Writes `what` as JSON, and makes its folder, unless something that was asked for later is there already. `true` where it
/// was written.
pub(super) fn write(path: &Path, mode: u32, order: u64, what: &impl Serialize) -> io::Result<bool> {
    let mut last = LAST.lock();
    if last.get(path).is_some_and(|newest| *newest > order) {
        return Ok(false);
    }
    last.insert(path.to_owned(), order);
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let mut draft = Draft::with_mode(path, mode)?;
    draft.write_all(&serde_json::to_vec(what)?)?;
    draft.commit()?;
    Ok(true)
}

/// The same; `name` is what the log calls it, should that fail.
pub(super) fn now(path: &Path, mode: u32, order: u64, name: &'static str, what: &impl Serialize) {
    if let Err(e) = write(path, mode, order, what) {
        log::debug!("{name} is not remembered: {}: {e}", path.display());
    }
}

/// The same from a helper: waiting for a disk is not the service's business.
pub(super) fn later(path: PathBuf, mode: u32, name: &'static str, what: impl Serialize + Send + 'static) {
    let order = next();
    let write = move || now(&path, mode, order, name, &what);
    // Without a thread it is learnt again.
    let _ = super::helpers::spawn(std::thread::Builder::new().name("remember".into()), write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_is_never_put_over_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/file.json");
        let (first, second) = (next(), next());
        assert!(write(&path, OPEN, second, &"new").unwrap());
        assert!(!write(&path, OPEN, first, &"old").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"new\"");
        assert!(write(&path, OPEN, next(), &"newest").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"newest\"");
    }
}
