//! What is wrong with a configuration, where, and what to write instead.
//!
//! Text that comes from a file is shortened and its control characters are escaped before it enters a message, so
//! that a message is always one line and harmless in a terminal or a log.

use std::fmt;

use serde::Serialize;

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The configuration can be used all the same.
    pub warning: bool,
    /// The file; empty where no file sets the key.
    pub file: String,
    /// From 1; 0 where the problem is the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 where `line` is.
    pub column: usize,
    /// The key, such as `cpu.threads` or `model.NAME.context`; empty where it is none.
    pub key_path: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Problem {
    pub(super) fn error(place: Place, key_path: impl Into<String>, message: impl Into<String>) -> Problem {
        let Place { file, line, column } = place;
        let (key_path, message) = (key_path.into(), message.into());
        Problem { warning: false, file, line, column, key_path, message, hint: String::new() }
    }

    pub(super) fn warning(place: Place, key_path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { warning: true, ..Problem::error(place, key_path, message) }
    }

    /// About a file as a whole.
    pub(super) fn file(file: &std::path::Path, message: impl Into<String>) -> Problem {
        let place = Place { file: file.display().to_string(), line: 0, column: 0 };
        Problem::error(place, "", message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => {}
            (false, 0) => write!(f, "{}: ", self.file)?,
            (false, line) => write!(f, "{}:{line}:{}: ", self.file, self.column)?,
        }
        f.write_str(if self.warning { "warning: " } else { "" })?;
        f.write_str(&self.message)?;
        if self.hint.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.hint)
    }
}

impl std::error::Error for Problem {}

/// Text of a file as it may appear in a message: at most 60 characters, none of them a control character.
pub(super) fn quote(text: &str) -> String {
    // 60: a long file name fits, and the message stays on one line of a terminal.
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// The candidate that was most likely meant, if any is near enough to be more help than noise.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No key is nearly this long.
    if name.len() > 40 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    // One slip in a short word, about one in four letters of a long one.
    let limit = 1 + name.chars().count() / 4;
    let distance = |candidate: &str| strsim::osa_distance(&name, candidate);
    let best = candidates.into_iter().map(|c| (distance(c), c)).min_by_key(|(d, _)| *d);
    best.filter(|(d, _)| *d <= limit).map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_a_compiler() {
        let place = Place { file: "/etc/wattlm/wattlm.toml".into(), line: 12, column: 1 };
        let problem = Problem::error(place.clone(), "cpu.thraeds", "unknown key 'thraeds' in [cpu]");
        assert_eq!(
            problem.hint("did you mean 'threads'?").to_string(),
            "/etc/wattlm/wattlm.toml:12:1: unknown key 'thraeds' in [cpu]; did you mean 'threads'?"
        );
        assert_eq!(Problem::warning(place, "", "odd").to_string(), "/etc/wattlm/wattlm.toml:12:1: warning: odd");
        assert_eq!(Problem::file("/x".as_ref(), "is a directory").to_string(), "/x: is a directory");
        assert_eq!(Problem::error(Place::default(), "a.b", "no default").to_string(), "no default");
    }

    #[test]
    fn finds_the_nearest() {
        let keys = ["threads", "affinity", "prefill_chunk"];
        for (typed, meant) in [
            ("thraeds", Some("threads")),
            ("thread", Some("threads")),
            ("Prefill-Chunk", Some("prefill_chunk")),
            ("afinity", Some("affinity")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
        assert_eq!(nearest(&"t".repeat(1 << 20), keys), None);
    }

    #[test]
    fn quotes_are_short_and_printable() {
        assert_eq!(quote("it's \"so\"\n\u{1b}[0m"), "it's \"so\"\\n\\u{1b}[0m");
        assert_eq!(quote(&"ä".repeat(100)).chars().count(), 61);
    }
}
