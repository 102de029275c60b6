//! What the device was found to draw, kept from one run to the next: `energy.json` in the state folder.
//!
//! A daemon that was just started knows it before its meter has seen the device idle, and one whose sensor broke goes on
//! with it. It is written rarely, from a thread of its own, and read once; a file that cannot be read is as good as none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keep;
use crate::energy::model::Prior;

/// What has changed by less is not worth a write to flash memory.
const NEWS: f64 = 0.05;
/// Nobody writes more; a longer file is something else.
const MAX: u64 = 4096;

/// Figures from a sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// The sensor's name: another one sees another part of the device.
    pub source: String,
    /// Watts when idle.
    pub idle: f64,
    /// Watts that a busy core adds.
    pub core: f64,
}

impl Learned {
    pub fn new(source: &str, prior: Prior) -> Learned {
        Learned { source: source.to_owned(), idle: prior.idle, core: prior.core }
    }

    fn path(state: &Path) -> PathBuf {
        state.join("energy.json")
    }

    /// What an earlier run left.
    pub fn read(state: &Path) -> Option<Learned> {
        let path = Learned::path(state);
        if std::fs::metadata(&path).ok()?.len() > MAX {
            return None;
        }
        let learned: Learned = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let sane = |v: f64| v.is_finite() && (0.0..1e5).contains(&v);
        (sane(learned.idle) && sane(learned.core)).then_some(learned)
    }

    /// Whether this says something that `before` does not.
    pub fn is_news(&self, before: Option<&Learned>) -> bool {
        let off = |a: f64, b: f64| (a - b).abs() > NEWS * a.max(b);
        before.is_none_or(|b| b.source != self.source || off(self.idle, b.idle) || off(self.core, b.core))
    }

    /// Writes it. What cannot be written is learned again.
    pub fn write(self, state: &Path) {
        keep::later(Learned::path(state), keep::OPEN, "what the device draws", self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_read_again_and_rubbish_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Learned::read(dir.path()), None);
        let learned = Learned { source: "rapl:package-0".into(), idle: 2.5, core: 1.5 };
        let path = Learned::path(dir.path());
        std::fs::write(&path, serde_json::to_vec(&learned).unwrap()).unwrap();
        assert_eq!(Learned::read(dir.path()), Some(learned));
        for bad in
            ["", "{}", r#"{"source": "x", "idle": -1, "core": 1}"#, r#"{"source": "x", "idle": 1e99, "core": 1}"#]
        {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Learned::read(dir.path()), None, "{bad}");
        }
    }

    #[test]
    fn a_little_change_is_no_news() {
        let learned = |idle, core| Learned { source: "a".into(), idle, core };
        assert!(learned(2.0, 1.0).is_news(None));
        assert!(!learned(2.0, 1.0).is_news(Some(&learned(2.05, 1.0))));
        assert!(learned(2.0, 1.0).is_news(Some(&learned(2.0, 1.2))));
        let other = Learned { source: "b".into(), ..learned(2.0, 1.0) };
        assert!(other.is_news(Some(&learned(2.0, 1.0))));
    }
}
