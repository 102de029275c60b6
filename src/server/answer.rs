//! What the server writes: OpenAI's response objects and server-sent events, errors, model lists.
//!
//! Plain formatting; it decides nothing.
//!
//! What always holds: a stream's text is one JSON document for each event, on one line.

use serde_json::{json, Value};

use super::openai::Endpoint;
use crate::error::{Code, Error};
use crate::lane::Finish;
use crate::service::{ModelInfo, Outcome};

/// What an answer's objects have in common.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub endpoint: Endpoint,
    /// `req-…`.
    pub request: String,
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
    pub include_usage: bool,
}

/// Names the build that answered, as OpenAI's field wants.
const FINGERPRINT: &str = concat!("wattlm-", env!("CARGO_PKG_VERSION"));

impl Head {
    fn id(&self) -> String {
        match self.endpoint {
            Endpoint::Chat => format!("chatcmpl-{}", self.request),
            Endpoint::Completions => format!("cmpl-{}", self.request),
        }
    }

    fn object(&self, chunk: bool) -> &'static str {
        match (self.endpoint, chunk) {
            (Endpoint::Chat, false) => "chat.completion",
            (Endpoint::Chat, true) => "chat.completion.chunk",
            (Endpoint::Completions, _) => "text_completion",
        }
    }

    fn base(&self, chunk: bool, choices: Value) -> Value {
        json!({
            "id": self.id(),
            "object": self.object(chunk),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        })
    }

    /// The whole answer of a request that does not stream.
    pub(super) fn whole(&self, text: &str, outcome: &Outcome) -> Value {
        let reason = finish_reason(outcome.finish);
        let choice = match self.endpoint {
            Endpoint::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": reason,
            }),
            Endpoint::Completions => json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason}),
        };
        let mut whole = self.base(false, json!([choice]));
        whole["usage"] = usage(outcome);
        whole["wattlm"] = json!(outcome.receipt);
        whole
    }

    /// The first event: chat answers begin with the role.
    pub(super) fn first_event(&self) -> Option<String> {
        (self.endpoint == Endpoint::Chat).then(|| self.chunk(json!({"role": "assistant", "content": ""}), None, None))
    }

    /// Writes text events quickly: all but the text is the same in each.
    pub(super) fn text_frame(&self) -> TextFrame {
        const MARK: &str = "\u{1}text\u{1}";
        let delta = match self.endpoint {
            Endpoint::Chat => json!({"content": MARK}),
            Endpoint::Completions => json!(MARK),
        };
        let event = self.chunk(delta, None, None);
        let mark = Value::from(MARK).to_string();
        let (before, after) = event.split_once(&mark).unwrap_or((&event, ""));
        TextFrame { before: before.to_owned(), after: after.to_owned() }
    }

    /// The last events of an answer that ended well.
    pub(super) fn last_events(&self, outcome: &Outcome) -> String {
        let empty = match self.endpoint {
            Endpoint::Chat => json!({}),
            Endpoint::Completions => json!(""),
        };
        let mut out = if self.include_usage {
            let mut events = self.chunk(empty, Some(finish_reason(outcome.finish)), None);
            let mut last = self.base(true, json!([]));
            last["usage"] = usage(outcome);
            last["wattlm"] = json!(outcome.receipt);
            events.push_str(&event(&last));
            events
        } else {
            self.chunk(empty, Some(finish_reason(outcome.finish)), Some(outcome))
        };
        out.push_str(DONE);
        out
    }

    fn chunk(&self, delta: Value, reason: Option<&str>, receipt: Option<&Outcome>) -> String {
        let key = match self.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Completions => "text",
        };
        let mut chunk = self.base(true, json!([{"index": 0, key: delta, "logprobs": null, "finish_reason": reason}]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        if let Some(outcome) = receipt {
            chunk["wattlm"] = json!(outcome.receipt);
        }
        event(&chunk)
    }
}

/// See [`Head::text_frame`].
pub(super) struct TextFrame {
    before: String,
    after: String,
}

impl TextFrame {
    pub(super) fn event(&self, text: &str) -> String {
        format!("{}{}{}", self.before, Value::from(text), self.after)
    }
}

/// Ends a stream that went well.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// One server-sent event. JSON on one line holds no line break.
pub(super) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// OpenAI's word. A cancelled answer ends with an error instead.
fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Cancelled => "stop",
        Finish::Length | Finish::Budget => "length",
    }
}

fn usage(outcome: &Outcome) -> Value {
    let u = &outcome.usage;
    json!({
        "prompt_tokens": u.prompt_tokens,
        "completion_tokens": u.completion_tokens,
        "total_tokens": u64::from(u.prompt_tokens) + u64::from(u.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": u.cached_tokens},
    })
}

/// OpenAI's error object.
pub(super) fn error(e: &Error) -> Value {
    json!({"error": {"message": e.message, "type": e.code.kind(), "param": e.param, "code": e.code.name()}})
}

/// A request that was cancelled by somebody else (its own client is gone and sees nothing).
pub(super) fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the request was cancelled; send it again if it is still wanted")
}

/// OpenAI's model object.
pub(super) fn model(info: &ModelInfo) -> Value {
    let first = info.variants.first();
    json!({
        "id": info.name,
        "object": "model",
        "created": first.map_or(0, |v| v.created),
        "owned_by": "wattlm",
        "wattlm": {"default": info.default, "variants": info.variants},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_events_are_what_a_slow_formatter_would_write() {
        for endpoint in [Endpoint::Chat, Endpoint::Completions] {
            let head = Head {
                endpoint,
                request: "req-00000001".into(),
                model: "m\"\n".into(),
                created: 1,
                include_usage: true,
            };
            let text = "line\nbreak \"quoted\" é \u{1}text\u{1}";
            let event = head.text_frame().event(text);
            assert_eq!(event.matches('\n').count(), 2, "{event}");
            let json: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            let got = match endpoint {
                Endpoint::Chat => &json["choices"][0]["delta"]["content"],
                Endpoint::Completions => &json["choices"][0]["text"],
            };
            assert_eq!(got, text);
            assert_eq!(json["model"], "m\"\n");
        }
    }
}
