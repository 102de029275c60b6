//! Is a model file what somebody once recorded? Compares its sha256 with the sidecar `<file>.sha256`.
//!
//! A digest is computed once and remembered in a state file, under the file's path and [`Stamp`]; the sidecar itself
//! is read every time. What this guards against is damage and mix-ups, and tampering by whoever can write the model
//! but not the sidecar; whoever can replace both is not stopped.
//!
//! What always holds: a mismatch, an unreadable sidecar and a file that changes while it is read are errors, never a
//! pass; a corrupt or missing state file costs time, never an answer; a state folder that cannot be written is told
//! once and then lived with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::atomic::Draft;
use super::gguf::Header;
use super::naming;
use super::registry::Stamp;
use crate::error::{Code, Error, Result};

/// Bytes hashed or copied between two looks at the progress callback: about 10 ms on a small ARM core.
const CHUNK: usize = 1 << 20;
/// Bytes of a sidecar. One line has about 100.
const MAX_SIDECAR: u64 = 4096;
/// Bytes of the state file: thousands of entries.
const MAX_STATE: u64 = 1 << 20;
/// A file changed less than this before it was hashed may change again without a new time: FAT counts two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// Told how far a long job is, from 0 to 1. False cancels it.
pub type Progress<'a> = dyn FnMut(f32) -> bool + 'a;

/// What [`Digests::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// The content is what the sidecar says.
    Match {
        /// In hex.
        sha256: String,
        /// It was not computed now, but remembered.
        remembered: bool,
    },
    /// There is no sidecar, and none is required.
    NoSidecar,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    stamp: Stamp,
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    version: u32,
    files: BTreeMap<PathBuf, Entry>,
}

/// Changes when the meaning of the state file does; others are ignored.
const STATE_VERSION: u32 = 1;

/// Computes and remembers digests. One for the process; shared by reference.
#[derive(Debug)]
pub struct Digests {
    state_file: Option<PathBuf>,
    /// Serialises changes of the state file, and remembers that a failure to write it was told.
    told: Mutex<bool>,
}

impl Digests {
    /// Remembers in `digests.json` of this folder, which is created when there is something to remember, for its
    /// owner alone; with `None`, not at all.
    pub fn new(state_dir: Option<&Path>) -> Self {
        Digests { state_file: state_dir.map(|d| d.join("digests.json")), told: Mutex::new(false) }
    }

    /// Compares `file` with its sidecar, computing its digest only where it is not remembered.
    ///
    /// Fails with `model_unverified` on a mismatch, on a sidecar that cannot be understood, and without one where
    /// `require` is set; with `cancelled` where `progress` said so; with `model_load_failed` where the file cannot be
    /// read.
    pub fn verify(&self, file: &Path, require: bool, progress: &mut Progress) -> Result<Verified> {
        let sidecar = sidecar_of(file);
        let Some(expected) = read_sidecar(&sidecar, file)? else {
            if !require {
                return Ok(Verified::NoSidecar);
            }
            let text = format!(
                "{} has no digest, and the configuration requires one: write it with 'sha256sum {} > {}' after you \
                 have made sure that the file is right",
                file.display(),
                file.display(),
                sidecar.display()
            );
            return Err(Error::new(Code::ModelUnverified, text));
        };
        let (actual, remembered) = self.digest(file, progress)?;
        if actual == expected {
            return Ok(Verified::Match { sha256: actual, remembered });
        }
        let text = format!(
            "{} is not the file that was recorded: its sha256 is {actual}, {} says {expected}. Copy the model again; \
             if it was replaced on purpose, replace its digest too",
            file.display(),
            sidecar.display()
        );
        Err(Error::new(Code::ModelUnverified, text))
    }

    /// The remembered digest of this file as it is now, without reading it.
    pub fn remembered(&self, file: &Path) -> Option<String> {
        let stamp = Stamp::of(&fs::metadata(file).ok()?);
        self.load().files.remove(file).filter(|e| e.stamp == stamp).map(|e| e.sha256)
    }

    /// The file's sha256 in hex, and whether it was remembered.
    pub fn digest(&self, file: &Path, progress: &mut Progress) -> Result<(String, bool)> {
        let fail = |e: io::Error| Error::new(Code::ModelLoadFailed, format!("cannot read {}: {e}", file.display()));
        let mut open = open_regular(file).map_err(fail)?;
        let before = Stamp::of(&open.metadata().map_err(fail)?);
        if let Some(e) = self.load().files.remove(file).filter(|e| e.stamp == before) {
            return Ok((e.sha256, true));
        }
        let mut hasher = Sha256::new();
        each_chunk(&mut open, before.size, progress, fail, |chunk| {
            hasher.update(chunk);
            Ok(())
        })?;
        let after = Stamp::of(&open.metadata().map_err(fail)?);
        if before != after {
            let text = format!("{} changed while it was read: try again when it is complete", file.display());
            return Err(Error::new(Code::ModelUnverified, text));
        }
        let sha256 = hex(&hasher.finalize());
        if settled(&after) {
            self.remember(file, after, &sha256);
        }
        Ok((sha256, false))
    }

    fn load(&self) -> State {
        let Some(path) = &self.state_file else { return State::default() };
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            open_regular(path)?.take(MAX_STATE).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        // Cut off, garbled or from another version: as good as none.
        let state: Option<State> = read().ok().and_then(|b| serde_json::from_slice(&b).ok());
        state.filter(|s| s.version == STATE_VERSION).unwrap_or_default()
    }

    fn remember(&self, file: &Path, stamp: Stamp, sha256: &str) {
        // JSON has no paths that are not UTF-8.
        let (Some(path), Some(_)) = (&self.state_file, file.to_str()) else { return };
        let mut told = self.told.lock();
        let mut state = self.load();
        state.version = STATE_VERSION;
        state.files.retain(|p, _| p.exists());
        state.files.insert(file.to_owned(), Entry { stamp, sha256: sha256.to_owned() });
        let save = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut draft = Draft::create(path)?;
            draft.write_all(&serde_json::to_vec(&state).map_err(io::Error::other)?)?;
            draft.commit()
        };
        if let Err(e) = save() {
            if !std::mem::replace(&mut *told, true) {
                log::warn!(
                    "cannot remember digests in {}: {e}; model files are verified again after each start",
                    path.display()
                );
            }
        }
    }

    /// Copies a GGUF file into `folder` and records its digest beside it, under its own name or, where `name` is
    /// given, as `<name>.gguf`.
    ///
    /// `expected` is a sha256 in hex to compare with; without it, the source's own sidecar is used where there is one.
    /// The copy appears whole or not at all. Fails with `invalid_request` where the file is no usable model or the
    /// name is taken by another content, with `model_unverified` on a mismatch, with `internal` where the disk is full
    /// or cannot be written.
    pub fn add(
        &self,
        source: &Path,
        folder: &Path,
        name: Option<&str>,
        expected: Option<&str>,
        progress: &mut Progress,
    ) -> Result<Added> {
        let bad = |text: String| Error::new(Code::InvalidRequest, text);
        let shown = source.display();
        let header = Header::open(source).map_err(|e| bad(format!("{shown} is no model that can be used: {e}")))?;
        let name = match name {
            Some(name) if naming::valid(name) => OsString::from(format!("{name}.gguf")),
            Some(name) => return Err(bad(format!("{name:?} cannot be a model's name: {}", naming::RULE))),
            None => {
                let own = source.file_name().ok_or_else(|| bad(format!("{shown} has no file name")))?;
                let hidden = own.as_encoded_bytes().starts_with(b".");
                if hidden || source.extension().is_none_or(|e| !e.eq_ignore_ascii_case("gguf")) {
                    let text = format!("{shown} does not end in .gguf, or begins with a dot: give it a name (--name)");
                    return Err(bad(text));
                }
                own.to_owned()
            }
        };
        let expected = match expected {
            Some(text) => Some(parse_hex(text).ok_or_else(|| bad(format!("'{text}' is not a sha256 in hex")))?),
            None => read_sidecar(&sidecar_of(source), source)?,
        };
        let dest = folder.join(name);
        let write = |e: io::Error| {
            let hint = match e.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => ": make room and try again; nothing was left behind",
                Some(libc::EACCES | libc::EPERM) => ": run it as root or as the daemon's user",
                _ => "",
            };
            Error::new(Code::Internal, format!("cannot write {}: {e}{hint}", dest.display()))
        };
        let read = |e: io::Error| Error::new(Code::InvalidRequest, format!("cannot read {shown}: {e}"));

        let mut from = open_regular(source).map_err(read)?;
        let before = Stamp::of(&from.metadata().map_err(read)?);
        let known = fs::metadata(&dest).ok().map(|m| Stamp::of(&m));
        if known.is_some_and(|k| (k.dev, k.ino) == (before.dev, before.ino)) {
            return Err(bad(format!("{shown} lies in the models folder already")));
        }
        let mut draft = Draft::create(&dest).map_err(write)?;
        let mut hasher = Sha256::new();
        each_chunk(&mut from, before.size, progress, read, |chunk| {
            hasher.update(chunk);
            draft.write_all(chunk).map_err(write)
        })?;
        if before != Stamp::of(&from.metadata().map_err(read)?) {
            return Err(bad(format!("{shown} changed while it was copied: try again when it is complete")));
        }
        let sha256 = hex(&hasher.finalize());
        if let Some(expected) = expected.filter(|e| *e != sha256) {
            let text = format!("{shown} has the sha256 {sha256} where {expected} was expected: get the file again");
            return Err(Error::new(Code::ModelUnverified, text));
        }
        if known.is_some() && self.digest(&dest, &mut |_| true)?.0 != sha256 {
            let text = format!("{} exists with another content: remove or rename it first", dest.display());
            return Err(bad(text));
        }
        // The digest first: at no moment does the model lie there without it.
        write_sidecar(&dest, &sha256).map_err(write)?;
        if let Err(e) = draft.commit() {
            if known.is_none() {
                let _ = fs::remove_file(sidecar_of(&dest));
            }
            return Err(write(e));
        }
        let stamp = fs::metadata(&dest).map(|m| Stamp::of(&m)).map_err(write)?;
        self.remember(&dest, stamp, &sha256);
        Ok(Added { path: dest, bytes: header.file_len, sha256 })
    }
}

/// A model file that was added or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Its sha256 in hex.
    pub sha256: String,
}

/// Where a file's digest is recorded: its name with `.sha256` behind.
pub fn sidecar_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// Records a digest as `sha256sum` would.
pub fn write_sidecar(file: &Path, sha256: &str) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut draft = Draft::create(&sidecar_of(file))?;
    draft.write_all(format!("{sha256}  {name}\n").as_bytes())?;
    draft.commit()
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn parse_hex(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// The digest that a sidecar records for `file`; `None` where there is no sidecar.
///
/// One line: a bare digest, or `sha256sum`'s format under whatever name (files are renamed). Several lines: the one
/// with this file's name.
fn read_sidecar(sidecar: &Path, file: &Path) -> Result<Option<String>> {
    let bad = |why: String| {
        let text = format!("{} {why}: write it with 'sha256sum', or remove it", sidecar.display());
        Error::new(Code::ModelUnverified, text)
    };
    let mut text = String::new();
    match open_regular(sidecar) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(bad(format!("cannot be read: {e}"))),
        Ok(f) => {
            f.take(MAX_SIDECAR).read_to_string(&mut text).map_err(|e| bad(format!("cannot be read: {e}")))?;
        }
    }
    let name = file.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let entry = |line: &str| -> Option<(String, String)> {
        let (hex, rest) = line.split_at_checked(64)?;
        Some((parse_hex(hex)?, rest.trim_start().trim_start_matches('*').trim_start_matches("./").to_owned()))
    };
    let found = match lines.as_slice() {
        [only] => entry(only),
        many => many.iter().filter_map(|l| entry(l)).find(|(_, n)| *n == name),
    };
    found.map(|(hex, _)| Some(hex)).ok_or_else(|| bad(format!("holds no sha256 of {name}")))
}

/// Opens a regular file; a pipe or a device that lies in its place is not waited for.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Hands a file to `take` piece by piece, telling `progress`.
fn each_chunk(
    from: &mut File,
    size: u64,
    progress: &mut Progress,
    read_error: impl Fn(io::Error) -> Error,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buf = vec![0; CHUNK];
    let mut done = 0u64;
    loop {
        let fraction = if size == 0 { 1.0 } else { (done as f64 / size as f64).min(1.0) as f32 };
        if !progress(fraction) {
            return Err(Error::new(Code::Cancelled, "it was cancelled"));
        }
        let n = match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(read_error(e)),
        };
        take(&buf[..n])?;
        done += n as u64;
    }
}

/// Whether the file's last change lies so far back that another one would show. Where the clock was set back it
/// seems not to, and the digest is computed again the next time.
fn settled(stamp: &Stamp) -> bool {
    let changed = Duration::from_nanos(u64::try_from(stamp.mtime_ns.max(stamp.ctime_ns)).unwrap_or(0));
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| now > changed + SETTLED)
}

#[cfg(test)]
mod tests;
