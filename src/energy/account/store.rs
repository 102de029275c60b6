//! The account on the disk: `journal` in its folder, records one after the other, the last of a line holds.
//!
//! A record is added by one `write` to the file's end. When the file has grown it is written anew beside itself and
//! renamed over, so that at every moment there is one whole file. A lock keeps a second daemon out.
//!
//! What always holds: a process that is killed, or a power that fails, at any moment leaves a file of which at most the
//! last write is cut; what cannot be read is kept beside it (`journal.bad`), not deleted.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::book::{Book, Record};
use super::record;
use crate::models::atomic::Draft;

const FILE: &str = "journal";
const BAD: &str = "journal.bad";
const LOCK: &str = "lock";
const REMARK: &str = "# wattlm's account of energy, days in UTC; `wattlm account` reads it\n";

/// Longest file that is read: hundreds of times what a full account takes.
const MAX_FILE: u64 = 256 << 20;
/// Records of one file that are about different lines: more than an account has, less than memory holds.
const MAX_LINES: usize = 1 << 16;

/// What was read, and in what state it was.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub book: Book,
    /// Whole lines that are no records.
    pub bad: usize,
    /// Bytes of the file that are whole lines.
    pub whole: u64,
    /// Bytes behind them that are no record: a write that was cut off.
    pub torn: u64,
    /// A record, or what may be one, has no end of line yet.
    pub unended: bool,
}

/// Reads the account in this folder and changes nothing. An account that does not exist is empty.
///
/// # Errors
/// Where it exists and cannot be read.
pub(super) fn read(dir: &Path) -> io::Result<Loaded> {
    let mut bytes = Vec::new();
    // A pipe of this name must not stop us, and a link does not lead elsewhere.
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW;
    match OpenOptions::new().read(true).custom_flags(flags.bits()).open(dir.join(FILE)) {
        Ok(file) => {
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
            }
            if meta.len() > MAX_FILE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is far too long"));
            }
            file.take(MAX_FILE).read_to_end(&mut bytes)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut lines = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let ended = line.strip_suffix(b"\n");
        let text = ended.unwrap_or(line);
        let found = if text.is_empty() || text.starts_with(b"#") { Ok(()) } else { Err(()) };
        let found = found.or_else(|()| match record::read(text) {
            Some(record) if lines < MAX_LINES => {
                lines += learn(&mut loaded.book, record);
                Ok(())
            }
            _ => Err(()),
        });
        match (ended, found) {
            (Some(_), found) => {
                loaded.whole += line.len() as u64;
                loaded.bad += usize::from(found.is_err());
            }
            (None, Ok(())) => {
                loaded.whole += line.len() as u64;
                loaded.unended = true;
            }
            (None, Err(())) => loaded.torn = line.len() as u64,
        }
    }
    loaded
}

/// Returns the number of lines that are new.
fn learn(book: &mut Book, record: Record) -> usize {
    let known = match &record {
        Record::Client(period, client, _) => book.pages().get(period).is_some_and(|p| p.clients.contains_key(client)),
        Record::Device(period, _) => book.pages().get(period).is_some_and(|p| p.device.is_some()),
    };
    book.learn(record);
    usize::from(!known)
}

/// The file, open for adding to it.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    file: File,
    /// Bytes of whole records.
    len: u64,
    /// The file does not end with a line's end.
    unended: bool,
    _lock: File,
}

impl Store {
    /// Opens the account in this folder, which is made if need be, for its owner alone. What cannot be read at all is
    /// put aside, damaged parts are copied; the log says so.
    ///
    /// # Errors
    /// The folder cannot be made or written, or another process has it.
    pub fn open(dir: &Path) -> io::Result<(Store, Loaded)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // What clients used, to the microjoule, is nobody else's business.
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(LOCK))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another wattlmd has it"),
            TryLockError::Error(e) => e,
        })?;
        let path = dir.join(FILE);
        let bad = dir.join(BAD);
        let mut loaded = match read(dir) {
            Ok(loaded) => loaded,
            Err(e) => {
                remove(&bad);
                fs::rename(&path, &bad)?;
                log::error!(
                    "account: {} cannot be read ({e}): it is kept as {}, and a new one is begun",
                    path.display(),
                    bad.display()
                );
                Loaded::default()
            }
        };
        if loaded.bad > 0 {
            remove(&bad);
            let kept = fs::copy(&path, &bad).map_or_else(
                |e| format!("a copy could not be kept: {e}"),
                |_| format!("a copy is kept as {}", bad.display()),
            );
            log::error!("account: {} records of {} are damaged and left out; {kept}", loaded.bad, path.display());
        }
        let file = append(&path)?;
        if loaded.torn > 0 {
            log::warn!("account: the last record was cut off when it was written and is left out");
            // Where this fails, the next record begins with a line's end.
            loaded.unended |= file.set_len(loaded.whole).is_err();
        }
        let mut store = Store { dir: dir.to_owned(), file, len: loaded.whole, unended: loaded.unended, _lock: lock };
        if loaded.whole == 0 {
            store.add(REMARK)?;
        }
        Ok((store, loaded))
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Nobody has removed or replaced the file.
    pub fn is_there(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.nlink() > 0)
    }

    /// Adds whole lines by one write.
    ///
    /// # Errors
    /// None of it was added, or it was cut off and is cut away again.
    pub fn add(&mut self, lines: &str) -> io::Result<()> {
        let mut text = String::with_capacity(lines.len() + 1);
        if self.unended {
            text.push('\n');
        }
        text.push_str(lines);
        let written = loop {
            match self.file.write(text.as_bytes()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match written {
            Ok(n) if n == text.len() => {
                self.len += n as u64;
                self.unended = false;
                Ok(())
            }
            other => {
                if self.file.set_len(self.len).is_err() {
                    self.unended = true;
                }
                Err(other.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::StorageFull, "there is no room")))
            }
        }
    }

    /// Puts a file with these records in place of the one there is, safely on the disk.
    ///
    /// # Errors
    /// The file is what it was.
    pub fn replace(&mut self, lines: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.dir.join(FILE);
        let mut draft = Draft::create(&path)?;
        draft.write_all(REMARK.as_bytes())?;
        draft.write_all(lines.as_bytes())?;
        draft.commit()?;
        self.file = append(&path)?;
        self.len = (REMARK.len() + lines.len()) as u64;
        self.unended = false;
        Ok(())
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// An older file that was put aside makes room.
fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}
