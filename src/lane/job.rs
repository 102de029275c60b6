//! A request as a lane runs it: what the model is given, how tokens are chosen, how it ended and what it took.
//!
//! Plain data but for the sum of what two lanes took of one request. It does not know who asks, what it costs, or why it
//! runs here.

use serde::{Deserialize, Serialize};

use super::{RequestId, Tenant};

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the model's template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// The participant's name, for templates that use it.
    pub name: Option<String>,
}

/// What the model is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Rendered by the model's own chat template, then tokenized with special tokens recognised.
    Chat(Vec<Message>),
    /// Tokenized as it stands; text that looks like a special token is plain text. BOS is added where the model
    /// asks for it.
    Text(String),
}

/// How the next token is chosen. Fields that are `None` leave the stage out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy. Range 0 to 2.
    pub temperature: f32,
    /// Nucleus: keep the smallest set of tokens whose probability is at least this. Range (0, 1].
    pub top_p: Option<f32>,
    /// Keep this many most likely tokens. At least 1.
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this share of the most likely one. Range [0, 1].
    pub min_p: Option<f32>,
    /// Subtracted from a token's logit once for each time it occurred in the answer. Range -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it occurred in the answer. Range -2 to 2.
    pub presence_penalty: f32,
    /// Divides (positive) or multiplies (negative) the logits of tokens seen in the last 64. 1 is off. Range (0, 4].
    pub repeat_penalty: f32,
    /// The same seed on the same device with the same prompt gives the same text. `None` draws one.
    pub seed: Option<u32>,
    /// Added to the logits of these tokens. Range -100 to 100.
    pub logit_bias: Vec<(i32, f32)>,
    /// Never choose a token that ends the generation: it goes on to `max_tokens`. For measurements.
    pub ignore_eos: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_p: None,
            top_k: None,
            min_p: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_penalty: 1.0,
            seed: None,
            logit_bias: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// One request as a lane runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Chosen by the service.
    pub id: RequestId,
    /// Whose prefix cache it may use.
    pub tenant: Tenant,
    /// What the model is given.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Generation ends before the first of these would appear in the answer. At most 16, none empty.
    pub stop: Vec<String>,
    /// At most this many tokens are generated. `None`: to the end of the context.
    pub max_tokens: Option<u32>,
    /// The client named `max_tokens`: a prompt that leaves no room for them is refused. Else what fits is generated.
    pub strict: bool,
    /// It ends with [`Finish::Budget`] before the step after which it would have used this much of the lane's CPU time
    /// in microseconds. `None`: it is not bounded.
    pub allowance_us: Option<u64>,
}

/// Why a request ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its answer, or a stop string appeared.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// Its energy was used up: `max_joules`, or a budget. Clients see `length`; the receipt says why.
    Budget,
    /// It was cancelled.
    Cancelled,
}

/// Counts and times of one request, as the lane saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that were already in the key-value cache.
    pub cached_tokens: u32,
    /// Tokens generated, the end-of-generation token not included.
    pub completion_tokens: u32,
    /// From start to the first token, in microseconds.
    pub prefill_us: u64,
    /// From the first token to the last, in microseconds.
    pub decode_us: u64,
    /// Microseconds for giving the sequence's state out of the lane or taking it in. Part of neither of the others.
    pub handover_us: u64,
}

impl Usage {
    /// What a request took whose prompt another lane had computed `before`, and whose state was moved. What was moved is no
    /// cached prompt: it was computed for this request. Where the state was of no use, so that the prompt was computed twice, the
    /// second time counts.
    pub fn after(self, before: Usage) -> Usage {
        if before.prompt_tokens == 0 {
            return self;
        }
        let moved = self.cached_tokens >= before.prompt_tokens.saturating_sub(1);
        Usage {
            cached_tokens: if moved { before.cached_tokens.min(self.cached_tokens) } else { self.cached_tokens },
            prefill_us: self.prefill_us.saturating_add(before.prefill_us),
            handover_us: self.handover_us.saturating_add(before.handover_us),
            ..self
        }
    }
}
