//! What the commands write: text, tables, JSON, errors; and how figures are shown to people.
//!
//! Standard output gets what was asked for and nothing else; notes and errors for people go to standard error. Text
//! that goes to a terminal has its control characters escaped, because models and file names are not to be trusted
//! with a terminal; a pipe gets every byte as it is. A reader that went away ends the program as it would end any
//! other: by SIGPIPE.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use serde::Serialize;
use serde_json::{json, Value};

use crate::error::{Code, Error, Result};

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    /// For programs.
    pub(super) json: bool,
    tty: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Out {
        Out { json, tty: std::io::stdout().is_terminal() }
    }

    /// Writes text and sends it off.
    pub(super) fn text(&self, text: &str) -> Result<()> {
        let text = if self.tty { printable(text) } else { Cow::Borrowed(text) };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::BrokenPipe => die_of(signal_hook::consts::SIGPIPE),
            Err(e) => Err(Error::new(Code::Internal, format!("cannot write to standard output: {e}"))),
        }
    }

    /// Writes a line.
    pub(super) fn line(&self, line: impl Display) -> Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Writes an object on a line of its own.
    pub(super) fn object(&self, object: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(object)
            .map_err(|e| Error::new(Code::Internal, format!("cannot be written as JSON: {e}")))?;
        self.text(&format!("{text}\n"))
    }

    /// Writes the object for programs, the text for people.
    pub(super) fn either(&self, object: &impl Serialize, text: impl Display) -> Result<()> {
        if self.json {
            self.object(object)
        } else {
            self.line(text)
        }
    }

    /// Tells of a failure, on standard output for programs and on standard error for people.
    pub(super) fn error(&self, e: &Error) {
        if self.json {
            // Where standard output is broken there is nobody left to tell.
            let _ = self.object(&error_object(e));
        } else {
            note(format_args!("error: {e}"));
        }
    }
}

/// The error as on the wire.
pub(super) fn error_object(e: &Error) -> Value {
    json!({"error": {"message": e.message, "type": e.code.kind(), "param": e.param, "code": e.code.name()}})
}

/// A line on standard error. Whether it arrives changes nothing.
pub(super) fn note(line: impl Display) {
    let line = format!("wattlm: {line}\n");
    let _ = std::io::stderr().write_all(printable(&line).as_bytes());
}

/// How far something is, on one line of a terminal that is rewritten in place. Elsewhere it shows nothing.
#[derive(Debug)]
pub(super) struct Gauge {
    what: &'static str,
    tty: bool,
    shown: Option<u32>,
}

impl Gauge {
    pub(super) fn new(what: &'static str) -> Gauge {
        Gauge { what, tty: std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows a share from 0 to 1.
    pub(super) fn show(&mut self, share: f32) {
        let percent = (share.clamp(0.0, 1.0) * 100.0) as u32;
        if self.tty && self.shown != Some(percent) {
            self.shown = Some(percent);
            let _ = std::io::stderr().write_all(format!("\r{} {percent:3} %", self.what).as_bytes());
        }
    }

    /// Leaves an empty line behind.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let blank = " ".repeat(self.what.len() + 6);
            let _ = std::io::stderr().write_all(format!("\r{blank}\r").as_bytes());
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Ends the program as the signal would have ended it, so that a shell sees what happened.
pub(super) fn die_of(signal: i32) -> ! {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    // 128 and the signal: what a shell makes of it. Only reached where the signal is blocked.
    std::process::exit(128 + signal)
}

/// Escapes control characters other than line breaks and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if harmful(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Columns as wide as their widest cell, two spaces apart, without trailing spaces; a column whose heading begins with
/// '>' is set to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let right: Vec<bool> = head.iter().map(|h| h.starts_with('>')).collect();
    let head: Vec<String> = head.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|i| lines.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
            let pad = " ".repeat(width - cell.chars().count());
            text.push_str(&if *right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") });
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.pop();
    out
}

/// A large number as people say it: `494 M`.
pub(super) fn count(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..10_000_000 => format!("{:.1} M", n as f64 / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0} M", n as f64 / 1e6),
        _ => format!("{:.1} G", n as f64 / 1e9),
    }
}

/// Joules for a token, with three digits whatever the model's size.
pub(super) fn per_token(joules: f64) -> String {
    let milli = joules * 1e3;
    match milli {
        m if m < 1.0 => format!("{m:.3} mJ"),
        m if m < 10.0 => format!("{m:.2} mJ"),
        m if m < 1e3 => format!("{m:.1} mJ"),
        _ => format!("{joules:.2} J"),
    }
}

/// A time in seconds, from milliseconds to days.
pub(super) fn seconds(s: f64) -> String {
    let whole = s as u64;
    match whole {
        0 => format!("{:.0} ms", s * 1000.0),
        1..60 => format!("{s:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_escape_sequences() {
        assert_eq!(printable("ä\tb\n"), "ä\tb\n");
        assert_eq!(printable("a\u{1b}[2J\r\u{9b}b"), "a\\u{1b}[2J\\r\\u{9b}b");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["ä".into(), "10".into(), "x".into()], vec!["long".into(), "9".into(), String::new()]];
        assert_eq!(table(&["A", ">N", "B"], &rows), "A      N  B\nä     10  x\nlong   9");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([count(999), count(494_032_768), count(1_235_814_432)], ["999", "494 M", "1.2 G"]);
        assert_eq!(
            [0.0123, 2.34, 75.9, 3700.0, 200_000.0].map(seconds),
            ["12 ms", "2.3 s", "1 min 15 s", "1 h 1 min", "2 d 7 h"]
        );
    }

    #[test]
    fn joules_for_a_token_have_three_digits() {
        assert_eq!([0.000_2, 0.0034, 0.081, 1.234].map(per_token), ["0.200 mJ", "3.40 mJ", "81.0 mJ", "1.23 J"]);
    }

    #[test]
    fn errors_look_like_the_wires() {
        let e = Error::new(Code::InvalidRequest, "no").at("top_p");
        let want =
            json!({"message": "no", "type": "invalid_request_error", "param": "top_p", "code": "invalid_request"});
        assert_eq!(error_object(&e)["error"], want);
    }
}
