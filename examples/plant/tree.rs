//! Files as a kernel would show them.
//!
//! What always holds: a file that is rewritten keeps its inode and never looks half written to one who reads it with one
//! call (as all do who read sysfs).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{symlink, FileExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What happens to a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its files are gone; one who holds them open reads nothing.
    Vanish,
    /// It shows what it last showed.
    Freeze,
    /// It prints what is no number.
    Garbage,
    /// A counter counts down, a gauge shows negative values.
    Backwards,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Vanish => "vanish",
            Fault::Freeze => "freeze",
            Fault::Garbage => "garbage",
            Fault::Backwards => "backwards",
        }
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(s: &str) -> Result<Fault, String> {
        let all = [Fault::Vanish, Fault::Freeze, Fault::Garbage, Fault::Backwards];
        let names = || all.map(Fault::name).join(", ");
        all.into_iter()
            .find(|f| f.name() == s)
            .ok_or_else(|| format!("there is no outage '{s}': choose from {}", names()))
    }
}

/// Writes files that do not change.
pub fn fixed(dir: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    files.iter().try_for_each(|(name, text)| fs::write(dir.join(name), format!("{text}\n")))
}

/// A link as in `/sys/class`: relative, to a folder under the same root.
pub fn link(root: &Path, from: &str, to: &str) -> io::Result<()> {
    let at = root.join(from);
    if let Some(dir) = at.parent() {
        fs::create_dir_all(dir)?;
    }
    // Left by an earlier run in the same folder.
    let _ = fs::remove_file(&at);
    symlink(format!("{}{to}", "../".repeat(from.matches('/').count())), at)
}

/// A file that is rewritten.
pub struct Attr {
    path: PathBuf,
    file: File,
    shown: String,
    width: usize,
}

impl Attr {
    pub fn create(dir: &Path, name: &str, text: &str) -> io::Result<Attr> {
        fs::create_dir_all(dir)?;
        let path = dir.join(name);
        let file = File::create(&path)?;
        let mut attr = Attr { path, file, shown: String::new(), width: 0 };
        attr.set(text)?;
        Ok(attr)
    }

    pub fn set(&mut self, text: &str) -> io::Result<()> {
        if self.shown == text && self.width > 0 {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(self.width.max(text.len() + 1), b'\n');
        self.file.write_all_at(&bytes, 0)?;
        self.width = bytes.len();
        text.clone_into(&mut self.shown);
        Ok(())
    }

    fn hidden(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.gone"))
    }

    fn vanish(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.hidden())?;
        self.width = 0;
        self.file.set_len(0)
    }

    /// With this text, so that no one finds it empty.
    fn reappear(&mut self, text: &str) -> io::Result<()> {
        self.set(text)?;
        fs::rename(self.hidden(), &self.path)
    }
}

/// A file with a number that can fail.
pub struct Gauge {
    attr: Attr,
    counter: bool,
    gone: bool,
    last: u64,
    /// What it showed when it began to run backwards.
    turned: Option<u64>,
    writes: usize,
}

const GARBAGE: [&str; 5] = ["garbage", "", "-1", "18446744073709551616", "12,5 J"];

impl Gauge {
    /// `counter`: it only grows.
    pub fn create(dir: &Path, name: &str, counter: bool) -> io::Result<Gauge> {
        Ok(Gauge { attr: Attr::create(dir, name, "0")?, counter, gone: false, last: 0, turned: None, writes: 0 })
    }

    pub fn show(&mut self, value: u64, fault: Option<Fault>) -> io::Result<()> {
        let text = match fault {
            Some(Fault::Vanish) => {
                if !std::mem::replace(&mut self.gone, true) {
                    self.attr.vanish()?;
                }
                return Ok(());
            }
            Some(Fault::Freeze) => return Ok(()),
            Some(Fault::Garbage) => GARBAGE[self.writes % GARBAGE.len()].to_owned(),
            Some(Fault::Backwards) if self.counter => {
                let turned = *self.turned.get_or_insert(self.last);
                turned.saturating_sub(value.saturating_sub(turned)).to_string()
            }
            Some(Fault::Backwards) => format!("-{value}"),
            None => {
                self.turned = None;
                self.last = value;
                value.to_string()
            }
        };
        self.writes += 1;
        if std::mem::take(&mut self.gone) {
            return self.attr.reappear(&text);
        }
        self.attr.set(&text)
    }
}
