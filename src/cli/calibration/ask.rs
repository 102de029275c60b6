//! What asks the service: requests of made-up words that are about so long, and what is known of the lane that ran them.
//!
//! It does not choose what is asked, and keeps nothing of an answer but how many tokens a word has.
//!
//! What always holds: every prompt is drawn anew, so that no cache answers for the model.

use serde_json::{json, Value};

use super::{word, Lane};
use crate::cli::args::Backend;
use crate::error::{Code, Error, Result};

/// What an answer said of itself.
pub(super) struct Reply {
    pub(super) prompt: f64,
    pub(super) answer: f64,
    pub(super) prefill_s: f64,
    pub(super) decode_s: f64,
}

/// What it asks.
impl Lane<'_> {
    pub(super) fn ask_at_once(&mut self, batch: u32, context: u32, answer: u32, threads: u32) -> Result<()> {
        let bodies: Vec<Value> = (0..batch).map(|_| self.body(context, answer, Some(threads))).collect();
        let client = self.client;
        let send = |body: &Value| client.json("POST", "/v1/completions", Some(body)).map(drop);
        std::thread::scope(|scope| {
            let all: Vec<_> = bodies.iter().map(|body| scope.spawn(move || send(body))).collect();
            all.into_iter().try_for_each(|one| {
                one.join().unwrap_or_else(|_| Err(Error::new(Code::Internal, "a request's thread failed")))
            })
        })
    }

    pub(super) fn ask(&mut self, prompt: u32, answer: u32, threads: Option<u32>) -> Result<Reply> {
        let words = self.words(prompt);
        let body = self.body_of(&words, answer, threads);
        let value = self.client.json("POST", "/v1/completions", Some(&body))?;
        let figure = |value: &Value| value.as_f64().unwrap_or(0.0);
        let usage = &value["usage"];
        let reply = Reply {
            prompt: figure(&usage["prompt_tokens"]).max(1.0),
            answer: figure(&usage["completion_tokens"]).max(1.0),
            prefill_s: figure(&value["wattlm"]["prefill_s"]),
            decode_s: figure(&value["wattlm"]["decode_s"]),
        };
        self.per_word = (reply.prompt / words.len().max(1) as f64).clamp(0.5, 20.0);
        Ok(reply)
    }

    fn body(&mut self, prompt: u32, answer: u32, threads: Option<u32>) -> Value {
        let words = self.words(prompt);
        self.body_of(&words, answer, threads)
    }

    fn body_of(&self, words: &[String], answer: u32, threads: Option<u32>) -> Value {
        json!({
            "model": self.variant.name, "prompt": words.join(" "), "max_tokens": answer, "temperature": 0,
            "ignore_eos": true, "wattlm": {"backend": word(self.backend), "threads": threads},
        })
    }

    /// Words that make about so many tokens.
    fn words(&mut self, tokens: u32) -> Vec<String> {
        let count = ((f64::from(tokens) / self.per_word) as usize).max(1);
        (0..count).map(|_| (0..4).map(|_| self.letter()).collect()).collect()
    }

    fn letter(&mut self) -> char {
        // xorshift64: any stream of letters will do.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        char::from(b'a' + ((self.seed >> 16) % 26) as u8)
    }

    fn status(&self) -> Result<Value> {
        let status = self.client.status()?;
        let lanes = status["lanes"].as_array().cloned().unwrap_or_default();
        let cpu = |lane: &Value| lane["device"].as_str().is_some_and(|device| device.eq_ignore_ascii_case("cpu"));
        let ours =
            |lane: &&Value| lane["model"] == self.variant.name.as_str() && cpu(lane) == (self.backend == Backend::Cpu);
        let lane = lanes.iter().find(ours).cloned();
        lane.ok_or_else(|| {
            Error::new(Code::WorkerLost, "the model is no longer loaded: it failed, or somebody unloaded it")
        })
    }

    /// Threads that the lane has.
    pub(super) fn threads(&self) -> Result<u32> {
        let lane = self.status()?;
        let threads = lane["threads_max"].as_u64().or(lane["threads"].as_u64()).unwrap_or(1);
        Ok(u32::try_from(threads).unwrap_or(1).max(1))
    }

    pub(super) fn slots(&self) -> Result<u32> {
        Ok(self.status()?["slots"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1))
    }
}
