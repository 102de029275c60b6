//! OpenAI's request bodies, and how they become [`Generate`].
//!
//! Types here hold what was sent; the conversions check ranges and say which field is wrong. What no type here has
//! is either refused by `fields` or harmless.
//!
//! What always holds: a request that is accepted means to us what it means to OpenAI, or what `docs/protocol.md`
//! says; every number in a [`Generate`] is within the range its field documents.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::Deserialize;

use crate::error::{Code, Error, Result};
use crate::lane::{Message, Prompt, Sampling};
use crate::sched::{self, Class, Policy};
use crate::service::Generate;
use crate::units::Microjoules;

/// Fewer than OpenAI's 4 would break clients of other servers; more make every token dearer.
const MAX_STOPS: usize = 16;
/// A stop string is looked for in every token's text.
const MAX_STOP_BYTES: usize = 256;
/// OpenAI's own limit is of this order; a whole vocabulary is not a bias.
const MAX_BIASES: usize = 1024;
/// A deadline further away than a day is a typing error.
const MAX_DEADLINE_MS: u64 = 86_400_000;

/// A request for text and how its answer shall be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// For the service.
    pub generate: Generate,
    /// As server-sent events.
    pub stream: bool,
    /// With a last event that carries the usage.
    pub include_usage: bool,
}

/// Which endpoint a body came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
}

/// Reads a request's body.
///
/// # Errors
/// `invalid_request`, `unsupported_field` or `payload_too_large` (nested deeper than `max_depth`), each naming the
/// field.
pub fn parse(endpoint: Endpoint, body: &[u8], max_depth: u32) -> Result<Ask> {
    super::fields::check(body, max_depth)?;
    super::json::parse::<Body>(body, max_depth)?.check(endpoint)
}

/// Reads a body that could come to either endpoint: a chat's where it has messages.
///
/// # Errors
/// As [`parse`].
pub fn parse_either(body: &[u8], max_depth: u32) -> Result<Ask> {
    super::fields::check(body, max_depth)?;
    let body = super::json::parse::<Body>(body, max_depth)?;
    let endpoint =
        if body.prompt.is_some() && body.messages.is_none() { Endpoint::Completions } else { Endpoint::Chat };
    body.check(endpoint)
}

/// What either endpoint takes. `null` is the same as absent.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    messages: Option<Vec<ChatMessage>>,
    prompt: Option<PromptText>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    repeat_penalty: Option<f64>,
    logit_bias: Option<BTreeMap<String, f64>>,
    stop: Option<Stop>,
    seed: Option<i64>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    wattlm: Option<Extension>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<de::IgnoredAny>>,
    function_call: Option<de::IgnoredAny>,
    audio: Option<de::IgnoredAny>,
}

impl Body {
    fn check(self, endpoint: Endpoint) -> Result<Ask> {
        let extension = self.wattlm.unwrap_or_default();
        extension.check()?;
        let sampling = Sampling {
            temperature: number("temperature", self.temperature, 0.0..=2.0)?.unwrap_or(1.0),
            top_p: number("top_p", self.top_p, 0.0..=1.0)?
                .map(|p| {
                    if p > 0.0 {
                        Ok(p)
                    } else {
                        Err(bad("top_p", "must be above 0; for greedy decoding write \"temperature\": 0"))
                    }
                })
                .transpose()?,
            top_k: top_k(self.top_k)?,
            min_p: number("min_p", self.min_p, 0.0..=1.0)?.filter(|p| *p > 0.0),
            frequency_penalty: number("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?.unwrap_or(0.0),
            presence_penalty: number("presence_penalty", self.presence_penalty, -2.0..=2.0)?.unwrap_or(0.0),
            repeat_penalty: match number("repeat_penalty", self.repeat_penalty, 0.0..=4.0)? {
                Some(p) if p <= 0.0 => return Err(bad("repeat_penalty", "must be above 0; 1 is off")),
                p => p.unwrap_or(1.0),
            },
            seed: self.seed.map(fold_seed),
            logit_bias: logit_bias(self.logit_bias.unwrap_or_default())?,
            ignore_eos: self.ignore_eos.unwrap_or(false),
        };
        let prompt = match endpoint {
            Endpoint::Chat => Prompt::Chat(messages(self.messages)?),
            Endpoint::Completions if self.messages.is_some() => {
                return Err(bad("messages", "belongs to /v1/chat/completions; this endpoint takes \"prompt\""));
            }
            Endpoint::Completions => match self.prompt {
                Some(PromptText(text)) => Prompt::Text(text),
                None => return Err(bad("prompt", "is missing; send a string")),
            },
        };
        let include_usage = self.stream_options.as_ref().is_some_and(|o| o.include_usage == Some(true));
        let stream = self.stream.unwrap_or(false);
        if include_usage && !stream {
            return Err(bad("stream_options", "needs \"stream\": true"));
        }
        Ok(Ask {
            generate: Generate {
                model: self.model.unwrap_or_default(),
                prompt,
                sampling,
                stop: stops(self.stop)?,
                max_tokens: max_tokens(self.max_tokens, self.max_completion_tokens)?,
                class: extension.class.unwrap_or_default(),
                deadline: extension.deadline_ms.map(Duration::from_millis),
                max_joules: extension.max_joules.map(Microjoules::from_f64),
                max_ttft: extension.max_ttft_ms.map(Duration::from_millis),
                policy: extension.policy,
                backend: extension.backend.and_then(Named::device),
                degrade: extension.degrade.unwrap_or(false),
                threads: extension.threads,
            },
            stream,
            include_usage,
        })
    }
}

fn bad(field: &str, what: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("{field} {what}")).at(field)
}

fn unsupported(field: String, what: &str) -> Error {
    Error::new(Code::UnsupportedField, format!("{field} {what}")).at(field)
}

/// JSON knows neither NaN nor infinity, and what overflows a double is an error of its own.
fn number(field: &str, value: Option<f64>, range: std::ops::RangeInclusive<f64>) -> Result<Option<f32>> {
    match value {
        Some(v) if !range.contains(&v) => {
            Err(bad(field, &format!("is {v}, it must be from {} to {}", range.start(), range.end())))
        }
        v => Ok(v.map(|v| v as f32)),
    }
}

/// 0 and -1 turn the stage off, as elsewhere.
fn top_k(value: Option<i64>) -> Result<Option<u32>> {
    match value {
        None | Some(0 | -1) => Ok(None),
        Some(k) => u32::try_from(k).map(Some).map_err(|_| bad("top_k", "must be from 1 to 4294967295; 0 is off")),
    }
}

/// OpenAI's seeds have 64 bits, the sampler's 32: what fits is kept, the rest is folded, so that every seed works and
/// the same seed gives the same text.
fn fold_seed(seed: i64) -> u32 {
    let bits = seed as u64;
    u32::try_from(bits).unwrap_or((bits ^ (bits >> 32)) as u32)
}

fn max_tokens(old: Option<u64>, new: Option<u64>) -> Result<Option<u32>> {
    let (field, value) = match (old, new) {
        (Some(a), Some(b)) if a != b => {
            return Err(bad("max_completion_tokens", "differs from max_tokens; send one of them"));
        }
        (_, Some(n)) => ("max_completion_tokens", n),
        (Some(n), None) => ("max_tokens", n),
        (None, None) => return Ok(None),
    };
    match u32::try_from(value) {
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(bad(field, "must be from 1 to 4294967295")),
    }
}

fn logit_bias(map: BTreeMap<String, f64>) -> Result<Vec<(i32, f32)>> {
    if map.len() > MAX_BIASES {
        return Err(bad("logit_bias", &format!("has {} tokens, at most {MAX_BIASES} are taken", map.len())));
    }
    map.into_iter()
        .map(|(token, bias)| {
            let id = token.parse::<i32>().ok().filter(|id| *id >= 0);
            let id = id.ok_or_else(|| bad("logit_bias", &format!("has the key {token:?}, which is no token id")))?;
            number("logit_bias", Some(bias), -100.0..=100.0)?;
            Ok((id, bias as f32))
        })
        .collect()
}

fn stops(stop: Option<Stop>) -> Result<Vec<String>> {
    let list = stop.map(|s| s.0).unwrap_or_default();
    if list.len() > MAX_STOPS {
        return Err(bad("stop", &format!("has {} strings, at most {MAX_STOPS} are taken", list.len())));
    }
    for s in &list {
        if s.is_empty() || s.len() > MAX_STOP_BYTES {
            return Err(bad(
                "stop",
                &format!("has a string of {} bytes; each must have 1 to {MAX_STOP_BYTES}", s.len()),
            ));
        }
    }
    Ok(list)
}

fn messages(list: Option<Vec<ChatMessage>>) -> Result<Vec<Message>> {
    let list = list.unwrap_or_default();
    if list.is_empty() {
        return Err(bad("messages", "is missing or empty; send at least one message"));
    }
    list.into_iter()
        .enumerate()
        .map(|(i, m)| {
            let at = |field: &str| format!("messages[{i}].{field}");
            if m.tool_calls.is_some_and(|calls| !calls.is_empty()) {
                return Err(unsupported(at("tool_calls"), "is not supported; write the call into the content"));
            }
            if m.function_call.is_some() {
                return Err(unsupported(at("function_call"), "is not supported; write the call into the content"));
            }
            if m.audio.is_some() {
                return Err(unsupported(at("audio"), "is not supported; only text is"));
            }
            if m.role.is_empty() || m.role.len() > 64 {
                return Err(bad(&at("role"), "must have 1 to 64 bytes, such as \"user\""));
            }
            let content = match m.content {
                Some(Content::Text(text)) => text,
                Some(Content::Unsupported(part)) => {
                    return Err(unsupported(
                        at(&format!("content[{part}].type")),
                        "is not \"text\"; only text is supported",
                    ));
                }
                None => return Err(bad(&at("content"), "is missing; send a string")),
            };
            // OpenAI renamed "system"; templates know the old name.
            let role = if m.role == "developer" { "system".to_owned() } else { m.role };
            Ok(Message { role, content, name: m.name })
        })
        .collect()
}

/// A message's content: a string or a list of parts.
#[derive(Debug)]
enum Content {
    Text(String),
    /// This part is something other than text.
    Unsupported(usize),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of {\"type\": \"text\", \"text\": …}")
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<Content, E> {
                Ok(Content::Text(s.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Content, A::Error> {
                let (mut all, mut unsupported, mut i) = (String::new(), None, 0);
                while let Some(part) = seq.next_element::<Part>()? {
                    match part.text {
                        Some(text) if part.r#type == "text" => all.push_str(&text),
                        None if part.r#type == "text" => return Err(de::Error::missing_field("text")),
                        _ => unsupported = unsupported.or(Some(i)),
                    }
                    i += 1;
                }
                Ok(unsupported.map_or(Content::Text(all), Content::Unsupported))
            }
        }
        d.deserialize_any(V)
    }
}

/// One prompt: a string, or a list with one string.
#[derive(Debug)]
struct PromptText(String);

impl<'de> Deserialize<'de> for PromptText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = PromptText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one prompt as a string (token ids and several prompts are not supported)")
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<PromptText, E> {
                Ok(PromptText(s.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<PromptText, A::Error> {
                let one = seq.next_element::<String>()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("has several prompts; send one request for each"));
                }
                Ok(PromptText(one))
            }
        }
        d.deserialize_any(V)
    }
}

/// A string or a list of strings.
#[derive(Debug)]
struct Stop(Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Stop;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E>(self, s: &str) -> std::result::Result<Stop, E> {
                Ok(Stop(vec![s.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Stop, A::Error> {
                let mut list = Vec::new();
                while let Some(s) = seq.next_element()? {
                    list.push(s);
                }
                Ok(Stop(list))
            }
        }
        d.deserialize_any(V)
    }
}

/// The most that `max_joules` may say: beyond it a whole number of microjoules is not exact.
const MAX_JOULES: f64 = 1e9;

/// More threads than any lane has.
const MAX_THREADS: u32 = 256;

/// Where it shall run, as clients say it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Named {
    Auto,
    Cpu,
    Gpu,
}

impl Named {
    fn device(self) -> Option<sched::Backend> {
        match self {
            Named::Auto => None,
            Named::Cpu => Some(sched::Backend::Cpu),
            Named::Gpu => Some(sched::Backend::Gpu),
        }
    }
}

/// The object `wattlm`. Its fields are ours, so that an unknown one is a mistake.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Extension {
    class: Option<Class>,
    deadline_ms: Option<u64>,
    backend: Option<Named>,
    policy: Option<Policy>,
    max_joules: Option<f64>,
    max_ttft_ms: Option<u64>,
    degrade: Option<bool>,
    threads: Option<u32>,
    #[serde(flatten)]
    unknown: BTreeMap<String, de::IgnoredAny>,
}

impl Extension {
    const KNOWN: [&'static str; 8] =
        ["class", "deadline_ms", "backend", "policy", "max_joules", "max_ttft_ms", "degrade", "threads"];

    fn check(&self) -> Result<()> {
        if let Some(key) = self.unknown.keys().next() {
            let shown: String = key.chars().take(40).collect();
            let near = Self::KNOWN
                .into_iter()
                .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)))
                .unwrap_or("class");
            let what = format!("is unknown; did you mean {near}?");
            return Err(bad(&format!("wattlm.{shown}"), &what));
        }
        if self.max_joules.is_some_and(|joules| !(1e-6..=MAX_JOULES).contains(&joules)) {
            return Err(bad("wattlm.max_joules", &format!("must be above 0, and {MAX_JOULES} at most")));
        }
        for (name, value) in [("wattlm.deadline_ms", self.deadline_ms), ("wattlm.max_ttft_ms", self.max_ttft_ms)] {
            if value.is_some_and(|ms| !(1..=MAX_DEADLINE_MS).contains(&ms)) {
                return Err(bad(name, &format!("must be from 1 to {MAX_DEADLINE_MS}")));
            }
        }
        if self.threads.is_some_and(|n| !(1..=MAX_THREADS).contains(&n)) {
            return Err(bad("wattlm.threads", &format!("must be from 1 to {MAX_THREADS}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn chat_with(extra: Value) -> Result<Ask> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (k, v) in extra.as_object().unwrap() {
            body[k] = v.clone();
        }
        parse(Endpoint::Chat, body.to_string().as_bytes(), 32)
    }

    #[test]
    fn defaults_are_openais() {
        let ask = chat_with(json!({})).unwrap();
        assert_eq!(ask.generate.sampling, Sampling::default());
        assert_eq!(ask.generate.max_tokens, None);
        assert_eq!(ask.generate.class, Class::Standard);
        assert!(!ask.stream && !ask.include_usage);
        let hi = Message { role: "user".into(), content: "hi".into(), name: None };
        assert_eq!(ask.generate.prompt, Prompt::Chat(vec![hi]));
    }

    #[test]
    fn null_is_absent() {
        let all: Value = [
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "stop",
            "seed",
            "frequency_penalty",
            "presence_penalty",
            "repeat_penalty",
            "logit_bias",
            "stream",
            "stream_options",
            "wattlm",
            "prompt",
        ]
        .into_iter()
        .map(|k| (k.to_owned(), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
        assert_eq!(chat_with(all).unwrap(), chat_with(json!({})).unwrap());
    }

    #[test]
    fn every_accepted_field_arrives() {
        let ask = chat_with(json!({
            "max_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 40, "min_p": 0.05, "stop": ["a", "b"], "seed": 7,
            "frequency_penalty": 1, "presence_penalty": -1, "repeat_penalty": 1.1, "logit_bias": {"12": -100},
            "stream": true, "stream_options": {"include_usage": true}, "user": "u",
            "wattlm": {"class": "interactive", "deadline_ms": 1500, "backend": "gpu", "max_joules": 2.5,
                "policy": "min-energy", "max_ttft_ms": 250, "degrade": true, "threads": 2},
        }))
        .unwrap();
        let g = ask.generate;
        assert_eq!(
            (g.max_tokens, g.class, g.deadline),
            (Some(5), Class::Interactive, Some(Duration::from_millis(1500)))
        );
        assert_eq!(g.max_joules, Some(Microjoules(2_500_000)));
        assert_eq!((g.policy, g.backend), (Some(Policy::MinEnergy), Some(sched::Backend::Gpu)));
        assert_eq!((g.max_ttft, g.degrade, g.threads), (Some(Duration::from_millis(250)), true, Some(2)));
        assert_eq!(g.stop, ["a", "b"]);
        let s = g.sampling;
        assert_eq!((s.temperature, s.top_p, s.top_k, s.min_p), (0.0, Some(0.5), Some(40), Some(0.05)));
        assert_eq!((s.frequency_penalty, s.presence_penalty, s.repeat_penalty), (1.0, -1.0, 1.1));
        assert_eq!((s.seed, s.logit_bias), (Some(7), vec![(12, -100.0)]));
        assert!(ask.stream && ask.include_usage);
    }

    #[test]
    fn content_parts_are_joined_and_others_refused() {
        let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]});
        let Prompt::Chat(m) = chat_with(parts).unwrap().generate.prompt else { panic!() };
        assert_eq!(m[0].content, "ab");
        let image = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]}]});
        let e = chat_with(image).unwrap_err();
        assert_eq!((e.code, e.param.as_deref()), (Code::UnsupportedField, Some("messages[0].content[1].type")));
    }

    #[test]
    fn wrong_values_name_their_field() {
        for (extra, param) in [
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"top_k": -2}), "top_k"),
            (json!({"min_p": 1.5}), "min_p"),
            (json!({"repeat_penalty": 0}), "repeat_penalty"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_tokens": 1u64 << 40}), "max_tokens"),
            (json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_completion_tokens"),
            (json!({"stop": ""}), "stop"),
            (json!({"stop": vec!["x"; 17]}), "stop"),
            (json!({"stop": [1]}), "stop[0]"),
            (json!({"logit_bias": {"x": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"content": "x"}]}), "messages[0]"),
            (
                json!({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}),
                "messages[0].tool_calls",
            ),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"wattlm": {"clas": "interactive"}}), "wattlm.clas"),
            (json!({"wattlm": {"class": "urgent"}}), "wattlm.class"),
            (json!({"wattlm": {"deadline_ms": 0}}), "wattlm.deadline_ms"),
            (json!({"wattlm": {"max_joules": 0}}), "wattlm.max_joules"),
            (json!({"wattlm": {"max_joules": -1.5}}), "wattlm.max_joules"),
            (json!({"wattlm": {"max_joules": 1e300}}), "wattlm.max_joules"),
            (json!({"wattlm": {"policy": "fastest"}}), "wattlm.policy"),
            (json!({"wattlm": {"backend": "npu"}}), "wattlm.backend"),
            (json!({"wattlm": {"max_ttft_ms": 0}}), "wattlm.max_ttft_ms"),
            (json!({"wattlm": {"max_ttft_ms": 86_400_001}}), "wattlm.max_ttft_ms"),
            (json!({"wattlm": {"degrade": 1}}), "wattlm.degrade"),
            (json!({"wattlm": {"threads": 0}}), "wattlm.threads"),
            (json!({"wattlm": {"threads": 257}}), "wattlm.threads"),
        ] {
            let e = chat_with(extra.clone()).unwrap_err();
            assert_eq!(e.param.as_deref(), Some(param), "{extra}: {e}");
            assert_eq!(e.code.http_status(), 400);
        }
        let e = chat_with(json!({"wattlm": {"clas": "interactive"}})).unwrap_err();
        assert!(e.message.contains("did you mean class"), "{e}");
        let e = chat_with(json!({"wattlm": {"policy": "fastest"}})).unwrap_err();
        assert!(e.message.contains("max-throughput"), "it says what there is: {e}");
        let auto = chat_with(json!({"wattlm": {"backend": "auto"}})).unwrap().generate;
        assert_eq!((auto.backend, auto.degrade, auto.threads), (None, false, None));
    }

    #[test]
    fn prompts_are_one_string() {
        let with = |p: Value| parse(Endpoint::Completions, json!({"prompt": p}).to_string().as_bytes(), 32);
        assert_eq!(with(json!("a")).unwrap().generate.prompt, Prompt::Text("a".into()));
        assert_eq!(with(json!(["a"])).unwrap().generate.prompt, Prompt::Text("a".into()));
        for bad in [json!(["a", "b"]), json!([1, 2]), json!([[1]]), json!([]), json!(null), json!(3)] {
            assert_eq!(with(bad.clone()).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }

    #[test]
    fn an_estimate_takes_the_body_of_either_endpoint() {
        let prompt = |body: Value| parse_either(body.to_string().as_bytes(), 32).map(|ask| ask.generate.prompt);
        assert_eq!(prompt(json!({"prompt": "a"})).unwrap(), Prompt::Text("a".into()));
        assert!(matches!(prompt(json!({"messages": [{"role": "user", "content": "a"}]})).unwrap(), Prompt::Chat(_)));
        assert_eq!(prompt(json!({})).unwrap_err().param.as_deref(), Some("messages"));
        assert_eq!(prompt(json!({"prompt": "a", "n": 2})).unwrap_err().code, Code::UnsupportedField);
    }

    #[test]
    fn seeds_keep_their_value_or_are_folded() {
        assert_eq!(fold_seed(42), 42);
        assert_eq!(fold_seed(i64::from(u32::MAX)), u32::MAX);
        assert_eq!(fold_seed(1 << 32), 1);
        assert_ne!(fold_seed(-1), fold_seed(-2));
    }
}
