//! A file that appears whole under its name, or not at all.
//!
//! Written beside its destination under a hidden name, flushed to the disk, then renamed. What always holds: dropped
//! before [`Draft::commit`], by an error or a cancel, it leaves nothing behind.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file in the making.
#[derive(Debug)]
pub struct Draft {
    file: File,
    temp: PathBuf,
    dest: PathBuf,
}

impl Draft {
    /// Starts a file that will be `dest`. Readable by everybody, as model files and digests are.
    pub fn create(dest: &Path) -> io::Result<Draft> {
        Draft::with_mode(dest, 0o644)
    }

    /// The same with other permissions.
    pub fn with_mode(dest: &Path, mode: u32) -> io::Result<Draft> {
        let name =
            dest.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        remove_orphans(dest, prefix.as_encoded_bytes());
        // Two processes may write the same name at once; the last to finish wins.
        prefix.push(format!("{}.part", std::process::id()));
        let temp = dest.with_file_name(prefix);
        let _ = fs::remove_file(&temp);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp)?;
        Ok(Draft { file, temp, dest: dest.to_owned() })
    }

    /// Makes it the file of its name, in place of what was there, safely on the disk.
    pub fn commit(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temp, &self.dest)?;
        sync_folder_of(&self.dest)
    }
}

impl Write for Draft {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a commit there is nothing of this name.
        let _ = fs::remove_file(&self.temp);
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes drafts of this name whose writers are gone: killed, or cut off with the power. They may be gigabytes.
fn remove_orphans(dest: &Path, prefix: &[u8]) {
    let Ok(entries) = fs::read_dir(folder_of(dest)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.as_encoded_bytes().strip_prefix(prefix).and_then(|n| n.strip_suffix(b".part"));
        let pid = pid.and_then(|p| std::str::from_utf8(p).ok()).and_then(|p| p.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a rename in this file's folder survive a loss of power. File systems that cannot are left alone.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match File::open(folder_of(path))?.sync_all() {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("f");
        let mut d = Draft::create(&dest).unwrap();
        d.write_all(b"half").unwrap();
        assert!(!dest.exists());
        drop(d);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        for text in ["one", "two"] {
            let mut d = Draft::create(&dest).unwrap();
            d.write_all(text.as_bytes()).unwrap();
            d.commit().unwrap();
            assert_eq!(fs::read_to_string(&dest).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // What a killed writer left goes, what a living one writes stays. No process has the number 2³²−1.
        for orphan in [".f.4294967295.part", ".f.1.part", ".g.4294967295.part", ".f.x.part"] {
            fs::write(dir.path().join(orphan), b"").unwrap();
        }
        drop(Draft::create(&dest).unwrap());
        assert!(!dir.path().join(".f.4294967295.part").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);

        assert!(Draft::create(Path::new("/")).is_err());
        assert!(Draft::create(&dir.path().join("none/f")).is_err());
    }
}
