//! `wattlm chat`: a conversation, line by line.
//!
//! Works at a terminal and with pipes. The prompt and all notes go to standard error, so that standard output holds
//! the answers and nothing else. At a terminal a failed answer is told and the conversation goes on without that
//! message; with a pipe it ends the program, because what follows may depend on it.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::args::{Ask, Chat, Class};
use super::ask::{message, show_receipt, Answer, Prompt, Question};
use super::print::{die_of, note, Out};
use crate::client::{Canceller, Client};
use crate::error::{Code, Error, Result};

const HELP: &str = "\
/reset    forgets the conversation
/receipt  shows after each answer what it took, or no longer does
/exit     ends the conversation, as Ctrl-D does
Ctrl-C    ends an answer";

/// Longest line, in bytes: more than any service takes.
const MAX_LINE: u64 = 4 << 20;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Say(&'a str),
    Nothing,
    Reset,
    Receipt,
    Help,
    Exit,
    Unknown(&'a str),
}

fn understand(line: &str) -> Line<'_> {
    let line = line.trim_end_matches(['\r', '\n']);
    match line.trim_end() {
        "" => Line::Nothing,
        "/reset" => Line::Reset,
        "/receipt" => Line::Receipt,
        "/help" | "/?" => Line::Help,
        "/exit" | "/quit" => Line::Exit,
        // Paths and the like, which have a second slash or a space before them, are text.
        other if other.starts_with('/') && !other[1..].contains(['/', ' ']) => Line::Unknown(other),
        _ => Line::Say(line),
    }
}

/// What Ctrl-C ends.
#[derive(Default)]
enum Turn {
    /// The user's: the program.
    #[default]
    Theirs,
    /// An answer is on its way.
    Ours(Option<Canceller>),
    /// It was told to end.
    Ending,
}

pub(super) fn run(args: Chat, client: &Client, out: Out) -> Result<()> {
    let turn = Arc::new(Mutex::new(Turn::default()));
    watch_interrupts(Arc::clone(&turn))?;
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        note("type a message, or /help");
    }
    let Chat { ask } = args;
    let mut chat = Conversation::new(ask, client, out, turn);
    let mut stdin = std::io::stdin().lock();
    loop {
        if terminal {
            let _ = std::io::stderr().write_all(b"> ");
        }
        let Some(line) = read_line(&mut stdin)? else { break };
        match understand(&line) {
            Line::Nothing => {}
            Line::Say(text) => match chat.say(text) {
                Err(e) if terminal && !matches!(e.code, Code::NoDaemon | Code::Internal) => {
                    out.error(&e);
                    if e.code == Code::ContextLengthExceeded {
                        note("the conversation is too long for the model; /reset begins a new one");
                    }
                }
                other => other?,
            },
            Line::Reset => chat.reset(),
            Line::Receipt => {
                chat.ask.receipt = !chat.ask.receipt;
                note(if chat.ask.receipt { "receipts are shown" } else { "receipts are not shown" });
            }
            Line::Help => HELP.lines().for_each(note),
            Line::Exit => return Ok(()),
            Line::Unknown(command) => {
                let text =
                    format!("there is no command '{command}'; /help lists them, and a space before it makes it text");
                if !terminal {
                    return Err(Error::new(Code::InvalidRequest, text));
                }
                note(text);
            }
        }
    }
    if terminal {
        // Ctrl-D leaves the cursor behind the prompt.
        let _ = std::io::stderr().write_all(b"\n");
    }
    Ok(())
}

/// The next line; `None` at the end.
fn read_line(from: &mut impl BufRead) -> Result<Option<String>> {
    let bad = |text: String| Error::new(Code::InvalidRequest, format!("standard input {text}"));
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(from, MAX_LINE + 1);
    limited.read_until(b'\n', &mut bytes).map_err(|e| bad(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_LINE {
        return Err(bad(format!("has a line longer than {} MiB", MAX_LINE >> 20)));
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    String::from_utf8(bytes).map(Some).map_err(|_| bad("is not UTF-8".into()))
}

/// Starts the thread that Ctrl-C wakes.
fn watch_interrupts(turn: Arc<Mutex<Turn>>) -> Result<()> {
    let fail = |e: std::io::Error| Error::new(Code::Internal, format!("cannot watch for Ctrl-C: {e}"));
    let mut signals = Signals::new([SIGINT]).map_err(fail)?;
    let watch = move || {
        for _ in signals.forever() {
            let mut turn = turn.lock();
            match std::mem::replace(&mut *turn, Turn::Ending) {
                // The answer's head is awaited, which is a matter of a moment: it ends when that has come.
                Turn::Ours(None) => {}
                Turn::Ours(Some(canceller)) => canceller.cancel(),
                Turn::Theirs | Turn::Ending => die_of(SIGINT),
            }
        }
    };
    std::thread::Builder::new().name("interrupts".into()).spawn(watch).map(drop).map_err(fail)
}

struct Conversation<'a> {
    ask: Ask,
    client: &'a Client,
    out: Out,
    turn: Arc<Mutex<Turn>>,
    messages: Vec<Value>,
}

impl<'a> Conversation<'a> {
    fn new(ask: Ask, client: &'a Client, out: Out, turn: Arc<Mutex<Turn>>) -> Conversation<'a> {
        let mut chat = Conversation { ask, client, out, turn, messages: Vec::new() };
        chat.reset();
        chat
    }

    fn reset(&mut self) {
        self.messages = self.ask.system.iter().map(|s| message("system", s)).collect();
    }

    /// Says something and shows the answer. What got no answer is forgotten; a cut one is kept as far as it was read.
    fn say(&mut self, text: &str) -> Result<()> {
        let before = self.messages.len();
        self.messages.push(message("user", text));
        let mut answer = Answer::default();
        let result = self.answer(&mut answer);
        let interrupted = matches!(std::mem::take(&mut *self.turn.lock()), Turn::Ending);
        let keep = result.is_ok() || (interrupted && !answer.text.is_empty());
        if keep {
            self.messages.push(message("assistant", &answer.text));
        } else {
            self.messages.truncate(before);
        }
        if interrupted && result.is_err() {
            note("the answer was ended");
            return Ok(());
        }
        result?;
        if self.ask.receipt {
            show_receipt(&answer.end);
        }
        Ok(())
    }

    fn answer(&self, answer: &mut Answer) -> Result<()> {
        let class = self.ask.class.or(Some(Class::Interactive));
        let question = Question { client: self.client, ask: &self.ask, class, out: self.out, stream: true };
        *self.turn.lock() = Turn::Ours(None);
        question.put(&Prompt::Chat(self.messages.clone()), answer, |canceller| {
            let mut turn = self.turn.lock();
            match &*turn {
                Turn::Ending => canceller.cancel(),
                _ => *turn = Turn::Ours(Some(canceller)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        assert_eq!(understand("hello \r\n"), Line::Say("hello "));
        assert_eq!(understand(" /exit\n"), Line::Say(" /exit"));
        assert_eq!(understand("/etc/hosts is a file\n"), Line::Say("/etc/hosts is a file"));
        assert_eq!(understand(" \n"), Line::Nothing);
        assert_eq!(understand("/exit\n"), Line::Exit);
        assert_eq!(understand("/reste\n"), Line::Unknown("/reste"));
    }

    #[test]
    fn lines_are_bounded_text() {
        let mut from = &b"one\ntwo"[..];
        assert_eq!(read_line(&mut from).unwrap().as_deref(), Some("one\n"));
        assert_eq!(read_line(&mut from).unwrap().as_deref(), Some("two"));
        assert_eq!(read_line(&mut from).unwrap(), None);
        assert_eq!(read_line(&mut &b"\xff\n"[..]).unwrap_err().code, Code::InvalidRequest);
        let mut endless = std::io::BufReader::new(std::io::repeat(b'a'));
        assert!(read_line(&mut endless).unwrap_err().message.contains("longer"));
    }
}
