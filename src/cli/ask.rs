//! Sends a question and follows its answer: what `generate` and `chat` have in common.
//!
//! It streams in every case, so that a slow answer is seen to be alive; whether pieces are shown as they come is the
//! caller's choice. It keeps no history.

use std::io::IsTerminal;

use serde_json::{json, Map, Value};

use super::args::{Ask, Class};
use super::print::{note, seconds, Gauge, Out};
use crate::client::{Canceller, Client, Delta, Final};
use crate::energy::Quality;
use crate::error::{Code, Error, Result};
use crate::service::{EnergyReceipt, Receipt};
use crate::units::Microjoules;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    /// Messages, as on the wire.
    Chat(Vec<Value>),
    /// Text to be continued.
    Text(String),
}

/// A message as on the wire.
pub(super) fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// The request's body. What was not asked for is left to the service.
pub(super) fn body(ask: &Ask, prompt: &Prompt, class: Option<Class>) -> Value {
    let mut body = Map::new();
    match prompt {
        Prompt::Chat(messages) => body.insert("messages".into(), json!(messages)),
        Prompt::Text(text) => body.insert("prompt".into(), json!(text)),
    };
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("model", ask.model.as_ref().map(|m| json!(m)));
    set("max_tokens", ask.max_tokens.map(|n| json!(n)));
    set("temperature", ask.temperature.map(|n| json!(n)));
    set("top_p", ask.top_p.map(|n| json!(n)));
    set("top_k", ask.top_k.map(|n| json!(n)));
    set("min_p", ask.min_p.map(|n| json!(n)));
    set("seed", ask.seed.map(|n| json!(n)));
    set("stop", Some(json!(ask.stop)).filter(|_| !ask.stop.is_empty()));
    let mut own = Map::new();
    if let Some(class) = class {
        own.insert("class".into(), json!(crate::sched::Class::from(class)));
    }
    if let Some(energy) = ask.max_joules {
        own.insert("max_joules".into(), json!(energy));
    }
    for (key, time) in [("deadline_ms", ask.deadline), ("max_ttft_ms", ask.max_ttft)] {
        if let Some(time) = time {
            // Rounded up: zero would be no time at all.
            own.insert(key.into(), json!(time.0.as_micros().div_ceil(1000) as u64));
        }
    }
    if let Some(policy) = ask.policy {
        own.insert("policy".into(), json!(crate::sched::Policy::from(policy)));
    }
    if let Some(backend) = ask.backend {
        own.insert("backend".into(), json!(crate::sched::Backend::from(backend)));
    }
    if ask.degrade {
        own.insert("degrade".into(), json!(true));
    }
    set("wattlm", Some(Value::Object(own)).filter(|o| o.as_object().is_some_and(|o| !o.is_empty())));
    Value::Object(body)
}

/// A question on its way.
pub(super) struct Question<'a> {
    pub(super) client: &'a Client,
    pub(super) ask: &'a Ask,
    pub(super) class: Option<Class>,
    pub(super) out: Out,
    /// Shows the text as it comes.
    pub(super) stream: bool,
}

/// Text of an answer, complete or not.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// How it ended; the default where it did not end well.
    pub(super) end: Final,
}

impl Question<'_> {
    /// Asks, shows the answer, and fills `answer` as far as it came, whatever happens then. `started` learns how to
    /// cancel.
    pub(super) fn put(&self, prompt: &Prompt, answer: &mut Answer, started: impl FnOnce(Canceller)) -> Result<()> {
        let body = body(self.ask, prompt, self.class);
        let mut stream = match prompt {
            Prompt::Chat(_) => self.client.chat_stream(body),
            Prompt::Text(_) => self.client.completion_stream(body),
        }?;
        started(stream.canceller());
        let mut gauge = Gauge::new("loading the model");
        let result = loop {
            match stream.next(None) {
                Ok(Delta::Loading(share)) => gauge.show(share),
                Ok(Delta::Alive | Delta::Nothing) => {}
                Ok(Delta::Text(text)) => {
                    gauge.clear();
                    answer.text.push_str(&text);
                    if self.stream {
                        self.piece(&text)?;
                    }
                }
                Ok(Delta::Done(end)) => {
                    answer.end = end;
                    break Ok(());
                }
                Err(e) => break Err(e),
            }
        };
        gauge.clear();
        self.finish(answer, result)
    }

    fn piece(&self, text: &str) -> Result<()> {
        if self.out.json {
            self.out.object(&json!({"text": text}))
        } else {
            self.out.text(text)
        }
    }

    fn finish(&self, answer: &Answer, result: Result<()>) -> Result<()> {
        let Final { finish_reason, usage, wattlm } = &answer.end;
        let well = result.is_ok();
        if self.out.json {
            // A failure is an object of its own.
            if well {
                let mut last = json!({"finish_reason": finish_reason, "usage": usage, "wattlm": wattlm});
                if !self.stream {
                    last["text"] = json!(answer.text);
                }
                self.out.object(&last)?;
            }
        } else {
            if !self.stream && well {
                self.out.text(&answer.text)?;
            }
            let shown = self.stream || well;
            if shown && !answer.text.ends_with('\n') && (well || !answer.text.is_empty()) {
                self.out.text("\n")?;
            }
        }
        if well && finish_reason == "length" && self.ask.max_tokens.is_none() && std::io::stderr().is_terminal() {
            note("the answer was cut at its longest length; --max-tokens allows more, up to the model's context");
        }
        result
    }
}

/// A receipt for people, on standard error.
pub(super) fn show_receipt(end: &Final) {
    match receipt(end) {
        Ok(text) => text.lines().for_each(note),
        Err(e) => note(e),
    }
}

fn receipt(end: &Final) -> Result<String> {
    let r: Receipt = serde_json::from_value(end.wattlm.clone())
        .map_err(|e| Error::new(Code::Protocol, format!("the receipt cannot be read: {e}")))?;
    let tokens = |key: &str| end.usage[key].as_u64().unwrap_or(0);
    let cached = end.usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    let speed = |n: f64| if n > 0.0 { format!(", {n:.1} tokens/s") } else { String::new() };
    let again = if r.retries > 0 { ", started again after a fault" } else { "" };
    Ok(format!(
        "{}\n\
         {} on {} ({}, {} threads): {}{again}\n\
         prompt {} tokens, {cached} of them cached, {}{}\n\
         answer {} tokens, {}{}\n\
         waited {} ({}, {})",
        energy(&r.energy),
        r.model,
        r.device,
        r.kernels,
        r.threads,
        r.reason,
        tokens("prompt_tokens"),
        seconds(r.prefill_s),
        speed(r.prefill_tokens_per_s),
        tokens("completion_tokens"),
        seconds(r.decode_s),
        speed(r.decode_tokens_per_s),
        seconds(r.queue_s),
        end.finish_reason,
        r.request,
    ))
}

/// `12.3 J ± 0.4 (measured, rapl:package-0): prefill 2.10 J, decode 10.2 J, 81.0 mJ/token`
fn energy(e: &EnergyReceipt) -> String {
    let joules = |j: f64| Microjoules::from_f64(j).to_string();
    // In the figure's own unit and with as many places.
    let places = match e.joules {
        j if j < 1.0 => format!(" ± {:.1}", e.error * 1e3),
        j if j < 10.0 => format!(" ± {:.2}", e.error),
        j if j < 1e4 => format!(" ± {:.1}", e.error),
        _ => format!(" ± {:.1}", e.error / 1e3),
    };
    let error = if e.error > 0.0 && e.joules > 0.0 { places } else { String::new() };
    let quality = match e.quality {
        Quality::Measured => "measured",
        Quality::Estimated => "estimated",
    };
    let mut parts = Vec::new();
    if e.wake > 0.0 {
        parts.push(format!("wake {}", joules(e.wake)));
    }
    parts.push(format!("prefill {}", joules(e.prefill)));
    parts.push(format!("decode {}", joules(e.decode)));
    if e.joules_per_token > 0.0 {
        parts.push(format!("{}/token", joules(e.joules_per_token)));
    }
    let limit = e.limit.as_ref().map_or_else(String::new, |why| format!("\nended early: {why}"));
    format!("{}{error} ({quality}, {}): {}{limit}", joules(e.joules), e.source, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        ask: Ask,
    }

    fn ask(args: &[&str]) -> Ask {
        Args::try_parse_from(std::iter::once(&"x").chain(args)).unwrap().ask
    }

    #[test]
    fn only_what_was_asked_for_is_sent() {
        let text = Prompt::Text("p".into());
        assert_eq!(body(&ask(&[]), &text, None), json!({"prompt": "p"}));
        let chat = Prompt::Chat(vec![message("user", "hi")]);
        let all = ask(&[
            "-m",
            "a:b",
            "-n",
            "9",
            "-t",
            "0.5",
            "--top-p",
            "0.25",
            "--top-k",
            "7",
            "--min-p",
            "0.125",
            "--seed",
            "3",
            "--stop",
            "x",
            "--max-joules",
            "2.5J",
            "--deadline",
            "1500ms",
            "--max-ttft",
            "1ms",
            "--policy",
            "min-energy",
            "--backend",
            "gpu",
            "--degrade",
        ]);
        assert_eq!(
            body(&all, &chat, Some(Class::Background)),
            json!({
                "messages": [{"role": "user", "content": "hi"}], "model": "a:b", "max_tokens": 9, "temperature": 0.5,
                "top_p": 0.25, "top_k": 7, "min_p": 0.125, "seed": 3, "stop": ["x"],
                "wattlm": {"class": "background", "max_joules": 2.5, "deadline_ms": 1500, "max_ttft_ms": 1,
                    "policy": "min-energy", "backend": "gpu", "degrade": true},
            })
        );
    }

    #[test]
    fn receipts_read_well() {
        let end = Final {
            finish_reason: "stop".into(),
            usage: json!({"prompt_tokens": 50, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 40}}),
            wattlm: json!({
                "request": "req-00000001", "model": "m:q4_0", "device": "cpu", "kernels": "zen4", "threads": 4,
                "reason": "the only lane", "queue_s": 0.001, "prefill_s": 0.05, "decode_s": 1.2,
                "prefill_tokens_per_s": 200.0, "decode_tokens_per_s": 9.16, "retries": 0,
                "energy": {
                    "joules": 12.3, "error": 0.4, "wake": 0.0, "prefill": 2.1, "decode": 10.2, "idle": 4.0,
                    "joules_per_token": 0.081, "quality": "measured", "scope": "package", "source": "rapl:package-0",
                    "limit": null,
                },
            }),
        };
        assert_eq!(
            receipt(&end).unwrap(),
            "12.3 J ± 0.4 (measured, rapl:package-0): prefill 2.10 J, decode 10.2 J, 81.0 mJ/token\n\
             m:q4_0 on cpu (zen4, 4 threads): the only lane\n\
             prompt 50 tokens, 40 of them cached, 50 ms, 200.0 tokens/s\n\
             answer 12 tokens, 1.2 s, 9.2 tokens/s\n\
             waited 1 ms (stop, req-00000001)"
        );
        assert!(receipt(&Final::default()).is_err());
        let e = EnergyReceipt {
            joules: 0.25,
            error: 0.0125,
            wake: 0.05,
            limit: Some("max_joules".into()),
            ..EnergyReceipt::nothing()
        };
        assert_eq!(
            energy(&e),
            "250.0 mJ ± 12.5 (estimated, model): wake 50.0 mJ, prefill 0 J, decode 0 J\nended early: max_joules"
        );
        assert_eq!(energy(&EnergyReceipt::nothing()), "0 J (estimated, model): prefill 0 J, decode 0 J");
    }
}
