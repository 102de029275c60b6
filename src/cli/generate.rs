//! `wattlm generate`: one prompt, one answer.

use std::io::{IsTerminal, Read};

use super::args::Generate;
use super::ask::{message, show_receipt, Answer, Prompt, Question};
use super::print::{note, Out};
use crate::client::Client;
use crate::error::{Code, Error, Result};

/// Longest prompt read from standard input, in bytes: more than any service takes, less than memory has.
const MAX_PROMPT: u64 = 32 << 20;

pub(super) fn run(args: &Generate, connect: impl FnOnce() -> Result<Client>, out: Out) -> Result<()> {
    // The prompt first: the service need not hold a connection while somebody types.
    let text = prompt(args.prompt.as_deref())?;
    let client = connect()?;
    let question = Question { client: &client, ask: &args.ask, class: args.ask.class, out, stream: !args.no_stream };
    let mut answer = Answer::default();
    let mut put = |prompt: Prompt| question.put(&prompt, &mut answer, |_| {});
    if args.raw {
        put(Prompt::Text(text))?;
    } else {
        let system = args.ask.system.iter().map(|s| message("system", s));
        let messages = system.chain([message("user", &text)]).collect();
        match put(Prompt::Chat(messages)) {
            // Said before any text. A system message would be lost without a template.
            Err(e) if e.code == Code::NoChatTemplate && args.ask.system.is_none() => {
                note("the model has no chat template: it completes the prompt as it stands (--raw says the same)");
                put(Prompt::Text(text))?;
            }
            other => other?,
        }
    }
    if args.ask.receipt {
        show_receipt(&answer.end);
    }
    Ok(())
}

pub(super) fn prompt(argument: Option<&str>) -> Result<String> {
    let bad = |text: String| Error::new(Code::InvalidRequest, text);
    let stdin = std::io::stdin();
    match argument {
        Some(text) if text != "-" => return Ok(text.to_owned()),
        None if stdin.is_terminal() => {
            return Err(bad(
                "there is no prompt: give it as an argument or on standard input ('-' reads a terminal)".into()
            ));
        }
        _ => {}
    }
    read_prompt(stdin.lock()).map_err(|e| bad(format!("the prompt on standard input {e}")))
}

fn read_prompt(from: impl Read) -> std::result::Result<String, String> {
    let mut bytes = Vec::new();
    from.take(MAX_PROMPT + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_PROMPT {
        return Err(format!("is longer than {} MiB", MAX_PROMPT >> 20));
    }
    let text =
        String::from_utf8(bytes).map_err(|e| format!("is not UTF-8 from byte {} on", e.utf8_error().valid_up_to()))?;
    // `echo` and editors end a text with a line break that is no part of the prompt.
    Ok(text.strip_suffix('\n').map_or(text.clone(), |t| t.strip_suffix('\r').unwrap_or(t).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_bounded_text() {
        assert_eq!(read_prompt(&b"one\ntwo\n"[..]).unwrap(), "one\ntwo");
        assert_eq!(read_prompt(&b"one\r\n\r\n"[..]).unwrap(), "one\r\n");
        assert_eq!(read_prompt(&b""[..]).unwrap(), "");
        assert!(read_prompt(&b"ab\xff"[..]).unwrap_err().contains("byte 2"));
        assert!(read_prompt(std::io::repeat(b'a')).unwrap_err().contains("longer"));
    }
}
