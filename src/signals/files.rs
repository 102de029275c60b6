//! Small files of sysfs and procfs, and the folders they are in.
//!
//! What always holds: at most [`LONGEST`] bytes are read of a file; one that cannot be read or does not say what it
//! should is `None`, whatever the reason: drivers answer with any error they like.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A page: no attribute is longer.
const LONGEST: u64 = 4096;

/// The text without the white space around it.
pub(super) fn text(dir: &Path, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(dir.join(name)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(std::str::from_utf8(&bytes).ok()?.trim().to_owned())
}

/// The number that is all of the text.
pub(super) fn number<T: FromStr>(dir: &Path, name: &str) -> Option<T> {
    text(dir, name)?.parse().ok()
}

/// The folders in `dir` whose names begin like this, links to folders included, in the order of their names.
pub(super) fn folders(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(prefix)))
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    found
}
