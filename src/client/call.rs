//! The daemon's calls, typed as far as every user of them needs.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::{json, Value};

use super::http::{lost, protocol, wire_error, Canceller};
use super::sse::{Events, Item};
use super::Client;
use crate::error::Result;

/// A piece of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text.
    Text(String),
    /// The request waits for its model, loaded to this share.
    Loading(f32),
    /// It waits or runs, and there is nothing new.
    Alive,
    /// Nothing came in the time given.
    Nothing,
    /// The answer is complete. Nothing follows.
    Done(Final),
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Final {
    /// OpenAI's `finish_reason`: `stop` or `length`.
    pub finish_reason: String,
    /// OpenAI's `usage`.
    pub usage: Value,
    /// The receipt.
    pub wattlm: Value,
}

/// A streamed answer. Dropping it cancels the request.
#[derive(Debug)]
pub struct Stream {
    events: Events,
    last: Final,
    over: bool,
}

impl Stream {
    /// The daemon's name for the request.
    pub fn request_id(&self) -> Option<&str> {
        self.events.response().request_id()
    }

    /// Cancels from another thread.
    pub fn canceller(&self) -> Canceller {
        self.events.response().canceller()
    }

    /// For poll. Call [`Stream::next`] with a time that has passed until it yields [`Delta::Nothing`], then poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.response().as_fd()
    }

    /// The next piece; waits until `until` at most, where that is given. After [`Delta::Done`] always that.
    ///
    /// # Errors
    /// What the daemon says in mid-stream; `connection_lost`, `protocol`, `request_timeout`.
    pub fn next(&mut self, until: Option<Instant>) -> Result<Delta> {
        if self.over {
            return Ok(Delta::Done(self.last.clone()));
        }
        loop {
            let data = match self.events.next(until)? {
                Item::Nothing => return Ok(Delta::Nothing),
                Item::End => return Err(lost()),
                Item::Comment(text) => {
                    let share = text.strip_prefix("loading ").and_then(|s| s.trim().parse().ok());
                    return Ok(share.map_or(Delta::Alive, Delta::Loading));
                }
                Item::Data(data) => data,
            };
            if data == "[DONE]" {
                self.over = true;
                return Ok(Delta::Done(self.last.clone()));
            }
            let chunk: Chunk = parse(&data)?;
            if chunk.error.is_some() {
                // No part of an answer: read as what it is.
                event(&data)?;
            }
            self.last.usage = chunk.usage.unwrap_or(std::mem::take(&mut self.last.usage));
            self.last.wattlm = chunk.wattlm.unwrap_or(std::mem::take(&mut self.last.wattlm));
            let Some(choice) = chunk.choices.into_iter().next() else { continue };
            if let Some(reason) = choice.finish_reason {
                self.last.finish_reason = reason;
            }
            let text = choice.delta.and_then(|d| d.content).or(choice.text).unwrap_or_default();
            if !text.is_empty() {
                return Ok(Delta::Text(text));
            }
        }
    }
}

/// What a token's event says, as far as it is used: read for each token, so that the rest is not even kept.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Value>,
    wattlm: Option<Value>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Content>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T> {
    serde_json::from_str(data).map_err(|e| protocol(&format!("an event is not what it should be ({e})")))
}

fn event(data: &str) -> Result<Value> {
    let value: Value = parse(data)?;
    match wire_error(&value) {
        Some(error) => Err(error),
        None => Ok(value),
    }
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadProgress {
    /// So much of it is loaded, from 0 to 1.
    Loading(f32),
    /// It waits for memory or another load.
    Alive,
    /// It takes requests. Nothing follows.
    Loaded,
}

/// A model being loaded. Dropping it does not stop the load.
#[derive(Debug)]
pub struct Loading {
    events: Events,
    over: bool,
}

impl Loading {
    /// The next news.
    ///
    /// # Errors
    /// What the daemon says; `connection_lost`, `protocol`, `request_timeout`.
    #[allow(clippy::should_implement_trait)] // It never ends like an iterator, and errors are not items.
    pub fn next(&mut self) -> Result<LoadProgress> {
        if self.over {
            return Ok(LoadProgress::Loaded);
        }
        match self.events.next(None)? {
            Item::End => Err(lost()),
            Item::Nothing | Item::Comment(_) => Ok(LoadProgress::Alive),
            Item::Data(data) if data == "[DONE]" => {
                self.over = true;
                Ok(LoadProgress::Loaded)
            }
            Item::Data(data) => {
                let share = event(&data)?["progress"].as_f64().unwrap_or(0.0);
                Ok(LoadProgress::Loading(share as f32))
            }
        }
    }
}

impl Client {
    /// Streams a chat's or a completion's answer without waiting for it to begin: a refusal comes from
    /// [`Stream::next`]. `body` is OpenAI's request with `"stream": true`.
    ///
    /// # Errors
    /// Those of [`Client::start`].
    pub fn start_stream(&self, target: &str, body: &str) -> Result<Stream> {
        let response = self.start("POST", target, Some(body), &[])?;
        Ok(Stream { events: Events::new(response), last: Final::default(), over: false })
    }

    /// Streams a chat's answer. `body` is OpenAI's request; streaming with usage is set here.
    ///
    /// # Errors
    /// What the daemon answers, and those of [`Client::request`].
    pub fn chat_stream(&self, body: Value) -> Result<Stream> {
        self.stream("/v1/chat/completions", body)
    }

    /// Streams a completion. As [`Client::chat_stream`].
    ///
    /// # Errors
    /// As [`Client::chat_stream`].
    pub fn completion_stream(&self, body: Value) -> Result<Stream> {
        self.stream("/v1/completions", body)
    }

    fn stream(&self, target: &str, mut body: Value) -> Result<Stream> {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("stream".into(), true.into());
            fields.insert("stream_options".into(), json!({"include_usage": true}));
        }
        let response = self.request("POST", target, Some(&body))?.ok()?;
        Ok(Stream { events: Events::new(response), last: Final::default(), over: false })
    }

    /// OpenAI's list of models, each with our object `wattlm`.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn models(&self) -> Result<Value> {
        self.json("GET", "/v1/models", None)
    }

    /// The daemon's status.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn status(&self) -> Result<Value> {
        self.json("GET", "/wattlm/v1/status", None)
    }

    /// The energy budgets of whoever asks, or, for administrators, of a user.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn budget(&self, uid: Option<u32>) -> Result<Value> {
        let query = uid.map(|uid| format!("?uid={uid}")).unwrap_or_default();
        self.json("GET", &format!("/wattlm/v1/budget{query}"), None)
    }

    /// The daemon's account of energy. `query` as in a URL, such as `uid=all&by=day`; it may be empty.
    ///
    /// # Errors
    /// `forbidden` where it asks for others' lines and you are no administrator; as [`Client::json`].
    pub fn account(&self, query: &str) -> Result<Value> {
        self.json("GET", &format!("/wattlm/v1/account?{query}"), None)
    }

    /// One of the last requests: how it ran and why there.
    ///
    /// # Errors
    /// `not_found` where it is not known (any more) or somebody else's; as [`Client::json`].
    pub fn explain(&self, request: &str) -> Result<Value> {
        self.json("GET", &format!("/wattlm/v1/requests/{}", escape(request)), None)
    }

    /// What a request would take, without running it. `body` is a chat's or a completion's.
    ///
    /// # Errors
    /// What the request would be refused with; as [`Client::json`].
    pub fn estimate(&self, body: &Value) -> Result<Value> {
        self.json("POST", "/wattlm/v1/estimate", Some(body))
    }

    /// What is known of models on devices.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn profiles(&self) -> Result<Value> {
        self.json("GET", "/wattlm/v1/profiles", None)
    }

    /// Starts to load a model.
    ///
    /// # Errors
    /// What the daemon answers, and those of [`Client::request`].
    pub fn load(&self, model: &str) -> Result<Loading> {
        let target = format!("/wattlm/v1/models/{}/load?stream=true", escape(model));
        let response = self.request("POST", &target, None)?.ok()?;
        Ok(Loading { events: Events::new(response), over: false })
    }

    /// Unloads a model; returns when it is gone.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn unload(&self, model: &str) -> Result<()> {
        self.json("POST", &format!("/wattlm/v1/models/{}/unload", escape(model)), None).map(drop)
    }

    /// Cancels a request by the name that [`Stream::request_id`] or an answer's `id` gives.
    ///
    /// # Errors
    /// `not_found` where it does not run or is another user's; as [`Client::json`].
    pub fn cancel(&self, request: &str) -> Result<()> {
        self.json("DELETE", &format!("/wattlm/v1/requests/{}", escape(request)), None).map(drop)
    }
}

/// Percent-encodes all but what a path's part may hold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(b.into()),
            b => out += &format!("%{b:02X}"),
        }
    }
    out
}
