//! A file that is read again and again.
//!
//! It stays open: a read is then one system call, and the kernel renders sysfs's text anew at each read from the start.
//! Where the file is an ordinary one, in a tree that stands in for sysfs, it may have been replaced by another of the
//! same name; that is seen by its having no name any more.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{fstatfs, SYSFS_MAGIC};

use super::Fault;

/// The longest text that is read: sysfs shows at most a page, and numbers far less.
const MAX: usize = 4096;

/// Opens without waiting, whatever it is: a FIFO in place of a sensor must not stop the caller.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// A small file's text.
pub(super) fn small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// See the module.
#[derive(Debug)]
pub(super) struct SysFile {
    path: PathBuf,
    file: Option<File>,
    /// The kernel's: whatever happens to it, a read from the open file tells.
    kernels: bool,
}

impl SysFile {
    /// Opens nothing yet.
    pub(super) fn new(path: impl Into<PathBuf>) -> SysFile {
        SysFile { path: path.into(), file: None, kernels: false }
    }

    /// The number it holds.
    pub(super) fn number(&mut self) -> Result<i64, Fault> {
        let mut text = [0; 64];
        let parse = |t: &[u8]| std::str::from_utf8(t).ok()?.trim().parse::<i64>().ok();
        match self.read(&mut text)? {
            n if parse(&text[..n]).is_some() => parse(&text[..n]),
            // A writer may have been caught between emptying the file and filling it.
            _ => {
                self.file = None;
                let n = self.read(&mut text)?;
                parse(&text[..n])
            }
        }
        .ok_or_else(|| Fault::Garbage(format!("'{}' where a number belongs", shown(&text))))
    }

    /// The same, which cannot be negative.
    pub(super) fn natural(&mut self) -> Result<u64, Fault> {
        let n = self.number()?;
        u64::try_from(n).map_err(|_| Fault::Garbage(format!("{n}, which cannot be negative")))
    }

    /// The word it holds.
    pub(super) fn word(&mut self) -> Result<String, Fault> {
        let mut text = [0; 64];
        let n = self.read(&mut text)?;
        Ok(String::from_utf8_lossy(&text[..n]).trim().to_owned())
    }

    fn read(&mut self, text: &mut [u8; 64]) -> Result<usize, Fault> {
        text.fill(0);
        if let Some(file) = &self.file {
            let current = self.kernels || file.metadata().is_ok_and(|m| m.nlink() > 0);
            match file.read_at(text, 0) {
                Ok(n) if current => return Ok(n),
                _ => self.file = None,
            }
        }
        let file = open(&self.path).map_err(|e| fault(&e))?;
        self.kernels = fstatfs(&file).is_ok_and(|s| s.filesystem_type() == SYSFS_MAGIC);
        let n = file.read_at(text, 0).map_err(|e| fault(&e))?;
        self.file = Some(file);
        Ok(n)
    }
}

fn fault(e: &io::Error) -> Fault {
    match e.kind() {
        ErrorKind::PermissionDenied => Fault::Denied,
        ErrorKind::NotFound => Fault::Gone("the file is gone".into()),
        _ => Fault::Gone(e.to_string()),
    }
}

/// The start of a text, fit for a message.
fn shown(text: &[u8; 64]) -> String {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len()).min(24);
    String::from_utf8_lossy(&text[..end]).trim().escape_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_rewritten_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        let mut file = SysFile::new(&path);
        assert_eq!(file.number(), Err(Fault::Gone("the file is gone".into())));
        std::fs::write(&path, "12\n").unwrap();
        assert_eq!(file.number(), Ok(12));
        std::fs::write(&path, "3\n").unwrap();
        assert_eq!(file.number(), Ok(3));
        std::fs::write(dir.path().join("new"), "-4").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(file.number(), Ok(-4));
        assert_eq!(file.natural(), Err(Fault::Garbage("-4, which cannot be negative".into())));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.number(), Err(Fault::Gone("the file is gone".into())));
        std::fs::write(&path, "5\n").unwrap();
        assert_eq!(file.number(), Ok(5));
    }

    #[test]
    fn what_is_no_number_is_shown_in_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (text, said) in [
            (String::new(), "shows '' where a number belongs"),
            ("12 W".into(), "shows '12 W' where a number belongs"),
            (
                "\u{1b}[2J".repeat(100),
                "shows '\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J' where a number belongs",
            ),
            ("99999999999999999999".into(), "shows '99999999999999999999' where a number belongs"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(SysFile::new(&path).number().unwrap_err().to_string(), said);
        }
        assert!(matches!(SysFile::new(dir.path()).number(), Err(Fault::Gone(_))));
    }
}
