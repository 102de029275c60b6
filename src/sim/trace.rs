//! Traces: who asks for what, when. JSONL, one request a line, read and checked.
//!
//! What always holds: requests are in the order in which they may arrive; prompts and answers have at least one token; who
//! comes after another one comes later in the trace.

use serde::{Deserialize, Serialize};

use super::device::Device;
use crate::error::{Code, Error, Result};
use crate::sched::{Backend, Class, Endpoint};

/// A request as the trace has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Seconds since the beginning at which it arrives.
    pub at: f64,
    /// It does not arrive before so many seconds after the last request of its session has ended: a turn of a
    /// conversation contains the answer before it, and somebody reads that first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// Who asks.
    #[serde(default)]
    pub uid: u32,
    /// How urgent.
    #[serde(default)]
    pub class: Class,
    /// `chat` or `completion`.
    #[serde(default = "chat", skip_serializing_if = "is_chat")]
    pub endpoint: String,
    /// The variant that it asks for, where not the device's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens that the model would answer if it were not stopped.
    pub answer: u32,
    /// Tokens of the answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Seconds after its arrival by which it must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Seconds after its arrival by which its first token should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// Where it must run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Its prompt begins like those of earlier requests with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// With so many tokens.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: u32,
}

fn chat() -> String {
    "chat".to_owned()
}

fn is_chat(endpoint: &str) -> bool {
    endpoint == "chat"
}

#[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
fn is_zero(tokens: &u32) -> bool {
    *tokens == 0
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Seconds at which it arrives.
    pub at: f64,
    /// It arrives so many seconds after this other request has ended, if that is later.
    pub after: Option<(usize, f64)>,
    /// Who asks.
    pub uid: u32,
    /// How urgent.
    pub class: Class,
    /// What kind of answer.
    pub endpoint: Endpoint,
    /// An index into [`Device::variants`].
    pub variant: usize,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens of its answer, as it will be.
    pub answer: u32,
    /// Tokens that it may have.
    pub max_answer: u32,
    /// Seconds after its arrival by which it must have ended.
    pub deadline: Option<f64>,
    /// Seconds after its arrival by which its first token should be there.
    pub ttft: Option<f64>,
    /// Where it must run.
    pub backend: Option<Backend>,
    /// Whose prompts begin alike, and with how many tokens.
    pub session: Option<(usize, u32)>,
}

/// A trace, made for one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// In the order of arrival. Not empty.
    pub asks: Vec<Ask>,
    /// How many sessions there are.
    pub sessions: usize,
}

/// Tokens of an answer where nobody bounds it: the context of a small model.
const CONTEXT: u32 = 4096;

impl Trace {
    /// Reads a trace; `file` is what errors call it.
    ///
    /// # Errors
    /// `invalid_request`, with file, line and what to write instead.
    pub fn parse(text: &str, file: &str, device: &Device) -> Result<Trace> {
        let wrong = |line: usize, what: String| Error::new(Code::InvalidRequest, format!("{file}:{line}: {what}"));
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let line: Line = serde_json::from_str(text).map_err(|e| {
                // Its position is one within the line.
                let what = e.to_string();
                let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
                wrong(index + 1, what)
            })?;
            lines.push((index + 1, line));
        }
        Trace::new(&lines, device).map_err(|(line, what)| wrong(line, what))
    }

    /// Checks lines with their numbers.
    ///
    /// # Errors
    /// The number of the line and what is wrong with it.
    pub fn new(lines: &[(usize, Line)], device: &Device) -> Result<Trace, (usize, String)> {
        let (mut asks, mut sessions): (Vec<Ask>, Vec<&str>) = (Vec::new(), Vec::new());
        for (number, line) in lines {
            let wrong = |what: String| (*number, what);
            let seconds = |key: &str, value: Option<f64>, low: f64| match value {
                Some(value) if !(low..=1e8).contains(&value) => {
                    Err(wrong(format!("{key} is {value}; write seconds from {low} to 100000000")))
                }
                _ => Ok(()),
            };
            seconds("at", Some(line.at), 0.0)?;
            seconds("after", line.after, 0.0)?;
            seconds("deadline", line.deadline, 0.001)?;
            seconds("ttft", line.ttft, 0.001)?;
            if asks.last().is_some_and(|last| last.at > line.at) {
                return Err(wrong(format!("at is {}, before the line above; sort the lines by it", line.at)));
            }
            for (key, value) in
                [("prompt", line.prompt), ("answer", line.answer), ("max_tokens", line.max_tokens.unwrap_or(1))]
            {
                if !(1..=1_000_000).contains(&value) {
                    return Err(wrong(format!("{key} is {value}; write tokens from 1 to 1000000")));
                }
            }
            let endpoint = match line.endpoint.as_str() {
                "chat" => Endpoint::Chat,
                "completion" => Endpoint::Completion,
                other => return Err(wrong(format!("endpoint is '{other}'; write \"chat\" or \"completion\""))),
            };
            let named = |name: &String| device.variants.iter().position(|variant| variant.name == *name);
            let variant = match &line.model {
                None => 0,
                Some(name) => named(name).ok_or_else(|| {
                    let all: Vec<_> = device.variants.iter().map(|v| format!("'{}'", v.name)).collect();
                    wrong(format!("the device has no variant '{name}'; it has {}", all.join(", ")))
                })?,
            };
            let reachable =
                |lane: usize| line.backend.is_none_or(|b| (device.lanes[lane].device == 0) == (b == Backend::Cpu));
            if !device.lanes_of(variant).any(reachable) {
                return Err(wrong("no lane of the device has this backend; leave backend out".to_owned()));
            }
            if line.session.is_none() && line.shared > 0 {
                return Err(wrong("shared without session; name the session that shares them".to_owned()));
            }
            let session = line.session.as_deref().map(|name| {
                let known = sessions.iter().position(|other| *other == name);
                let index = known.unwrap_or_else(|| {
                    sessions.push(name);
                    sessions.len() - 1
                });
                (index, line.shared)
            });
            let before = |session: usize| asks.iter().rposition(|ask| ask.session.is_some_and(|(s, _)| s == session));
            let after = match (line.after, session.and_then(|(session, _)| before(session))) {
                (Some(_), None) => {
                    let what = "after without an earlier request of its session; leave it out of the first";
                    return Err(wrong(what.to_owned()));
                }
                (after, before) => before.zip(after),
            };
            asks.push(Ask {
                at: line.at,
                after,
                uid: line.uid,
                class: line.class,
                endpoint,
                variant,
                prompt: line.prompt,
                answer: line.answer.min(line.max_tokens.unwrap_or(u32::MAX)),
                max_answer: line.max_tokens.unwrap_or(CONTEXT),
                deadline: line.deadline,
                ttft: line.ttft,
                backend: line.backend,
                session,
            });
        }
        if asks.is_empty() {
            return Err((1, "there is no request; write at least one line".to_owned()));
        }
        Ok(Trace { sessions: sessions.len(), asks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::device;

    fn parse(text: &str) -> Result<Trace> {
        Trace::parse(text, "t", &device())
    }

    #[test]
    fn a_line_says_what_is_asked_and_the_rest_is_as_usual() {
        let trace = parse(
            "{\"at\": 0, \"prompt\": 5, \"answer\": 9}\n\n{\"at\": 1.5, \"uid\": 7, \"class\": \"background\", \
             \"endpoint\": \"completion\", \"prompt\": 5, \"answer\": 9, \"max_tokens\": 4, \"deadline\": 2, \"ttft\": \
             0.5, \"backend\": \"cpu\", \"session\": \"s\", \"shared\": 3}\n",
        )
        .unwrap();
        let (first, second) = (&trace.asks[0], &trace.asks[1]);
        assert_eq!((first.class, first.answer, first.max_answer, first.session), (Class::Standard, 9, 4096, None));
        assert_eq!((second.uid, second.class, second.endpoint), (7, Class::Background, Endpoint::Completion));
        assert_eq!((second.answer, second.max_answer, second.deadline, second.ttft), (4, 4, Some(2.0), Some(0.5)));
        assert_eq!((second.backend, second.session, trace.sessions), (Some(Backend::Cpu), Some((0, 3)), 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = "{\"at\": 3, \"prompt\": 5, \"answer\": 9}\n";
        for (line, message) in [
            ("{\"at\": 4, \"prompt\": 5}", "missing field `answer`"),
            ("{\"at\": 4, \"prompt\": 5, \"answer\": 1, \"tokens\": 3}", "unknown field `tokens`"),
            ("{\"at\": 2, \"prompt\": 5, \"answer\": 1}", "at is 2, before the line above; sort the lines by it"),
            ("{\"at\": 4, \"prompt\": 0, \"answer\": 1}", "prompt is 0; write tokens from 1"),
            ("{\"at\": 4, \"prompt\": 1, \"answer\": 1, \"deadline\": -1}", "deadline is -1; write seconds from"),
            ("{\"at\": 4, \"prompt\": 1, \"answer\": 1, \"endpoint\": \"x\"}", "endpoint is 'x'; write \"chat\""),
            (
                "{\"at\": 4, \"prompt\": 1, \"answer\": 1, \"model\": \"x\"}",
                "the device has no variant 'x'; it has 'm'",
            ),
            ("{\"at\": 4, \"prompt\": 1, \"answer\": 1, \"shared\": 1}", "shared without session"),
            (
                "{\"at\": 4, \"prompt\": 1, \"answer\": 1, \"session\": \"s\", \"after\": 1}",
                "after without an earlier request of its session",
            ),
            ("{", "EOF while parsing an object"),
        ] {
            let error = parse(&format!("{good}{line}\n")).unwrap_err();
            assert!(error.message.starts_with(&format!("t:2: {message}")), "{}", error.message);
        }
        assert!(parse("\n").unwrap_err().message.starts_with("t:1: there is no request"));
    }
}
