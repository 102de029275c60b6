//! Requests for text: what a program fills in, as the body that OpenAI's API takes.

use std::ffi::c_char;

use serde_json::{json, Map, Value};

use super::ffi::{array, bad, optional_out, optional_text, options, out, text, Versioned};
use super::handle::{on, wattlm_handle, Inner};
use super::receipt::wattlm_receipt;
use super::status::wattlm_status;
use super::stream::wattlm_stream;
use crate::error::Result;

/// The class that the daemon takes where none is named: standard.
pub const WATTLM_CLASS_DEFAULT: i32 = 0;
/// Somebody waits for the answer: first where requests wait.
pub const WATTLM_CLASS_INTERACTIVE: i32 = 1;
/// In between.
pub const WATTLM_CLASS_STANDARD: i32 = 2;
/// Nobody waits: it may be held back for the charger or for the budget.
pub const WATTLM_CLASS_BACKGROUND: i32 = 3;

/// The policy that the device is configured for.
pub const WATTLM_POLICY_DEFAULT: i32 = 0;
/// Least energy.
pub const WATTLM_POLICY_MIN_ENERGY: i32 = 1;
/// Least energy times time.
pub const WATTLM_POLICY_BALANCED: i32 = 2;
/// Most tokens per second.
pub const WATTLM_POLICY_MAX_THROUGHPUT: i32 = 3;

/// Any device that the model can run on.
pub const WATTLM_BACKEND_ANY: i32 = 0;
/// The processor only.
pub const WATTLM_BACKEND_CPU: i32 = 1;
/// A GPU only.
pub const WATTLM_BACKEND_GPU: i32 = 2;

/// One message of a conversation. UTF-8 strings of the caller's, read during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wattlm_message {
    /// "system", "user" or "assistant".
    pub role: *const c_char,
    /// The text.
    pub content: *const c_char,
}

/// How to answer. Zero the struct, set struct_size, then what is wanted: zero always means "not asked for". Strings are
/// the caller's and read during the call only. What a daemon does not support is refused and never ignored.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wattlm_request_options {
    /// sizeof(struct wattlm_request_options).
    pub struct_size: usize,
    /// "name" or "name:variant". NULL: the device's default model.
    pub model: *const c_char,
    /// What the model is told first (wattlm_generate and wattlm_ask). NULL: nothing.
    pub system: *const c_char,
    /// WATTLM_CLASS_….
    pub request_class: i32,
    /// WATTLM_POLICY_….
    pub policy: i32,
    /// Most energy it may use, in joules: the answer ends early where more would be needed. 0: no limit of its own.
    pub max_joules: f64,
    /// Complete within so many milliseconds, or WATTLM_E_DEADLINE_EXCEEDED. 0: no deadline.
    pub deadline_ms: u32,
    /// First token within so many milliseconds. 0: no limit.
    pub max_ttft_ms: u32,
    /// Most tokens of the answer. 0: as configured.
    pub max_tokens: u32,
    /// 1: always the most likely token, so that the answer is the same each time (temperature 0). 0: sample.
    pub greedy: i32,
    /// Up to 2. 0: the usual 1; for a temperature of 0 set greedy.
    pub temperature: f64,
    /// Sample among the most likely tokens that make up this probability. 0: off.
    pub top_p: f64,
    /// Sample among tokens at least this much as likely as the most likely one. 0: off.
    pub min_p: f64,
    /// -2 to 2.
    pub frequency_penalty: f64,
    /// -2 to 2.
    pub presence_penalty: f64,
    /// Above 0, to 4. 0: off.
    pub repeat_penalty: f64,
    /// Sample among so many most likely tokens. 0: off.
    pub top_k: u32,
    /// The same seed gives the same answer on the same device. 0: another one each time.
    pub seed: u32,
    /// The answer ends before the first of these strings. NULL with stop_count 0: none.
    pub stop: *const *const c_char,
    /// How many.
    pub stop_count: usize,
    /// A JSON schema that the answer must follow. NULL: none.
    pub json_schema: *const c_char,
    /// A JSON object with further fields of the request, such as {"logit_bias":{"12":-100}}. NULL: none.
    pub extra_json: *const c_char,
    /// WATTLM_BACKEND_….
    pub backend: i32,
    /// 1: a lesser variant of the model, or a shorter answer, will do where else a limit would not be kept; the receipt
    /// says so. 0: never.
    pub degrade: i32,
}

// SAFETY: plain data that may be zero, beginning with its size.
unsafe impl Versioned for wattlm_request_options {}

impl wattlm_request_options {
    /// The options as fields of a request.
    ///
    /// # Safety
    /// The header's contract for its pointers.
    unsafe fn fields(&self) -> Result<Map<String, Value>> {
        let mut fields = Map::new();
        // SAFETY: the caller's promise.
        let (model, stop, schema, extra) = unsafe {
            let stop = array(self.stop, self.stop_count, "options.stop")?.iter().enumerate();
            let stop = stop.map(|(i, s)| text(*s, &format!("options.stop[{i}]"))).collect::<Result<Vec<_>>>()?;
            let schema = optional_text(self.json_schema, "options.json_schema")?;
            let extra = optional_text(self.extra_json, "options.extra_json")?;
            (optional_text(self.model, "options.model")?, stop, schema, extra)
        };
        if let Some(extra) = extra {
            match serde_json::from_str(extra) {
                Ok(Value::Object(more)) => fields = more,
                Ok(_) => return Err(bad("options.extra_json", "is not a JSON object")),
                Err(e) => return Err(bad("options.extra_json", &format!("is not JSON ({e})"))),
            }
        }
        if let Some(schema) = schema {
            let schema: Value =
                serde_json::from_str(schema).map_err(|e| bad("options.json_schema", &format!("is not JSON ({e})")))?;
            let format = json!({"name": "answer", "strict": true, "schema": schema});
            fields.insert("response_format".into(), json!({"type": "json_schema", "json_schema": format}));
        }
        let mut set = |name: &str, value: Value| {
            fields.insert(name.into(), value);
        };
        if let Some(model) = model {
            set("model", model.into());
        }
        if !stop.is_empty() {
            set("stop", stop.into());
        }
        for (name, value) in [("max_tokens", self.max_tokens), ("top_k", self.top_k), ("seed", self.seed)] {
            if value != 0 {
                set(name, value.into());
            }
        }
        match (self.greedy, self.temperature) {
            (0, _) => {}
            (1, 0.0) => set("temperature", 0.into()),
            (1, _) => return Err(bad("options.temperature", "must be 0 where greedy is set")),
            _ => return Err(bad("options.greedy", "must be 0 or 1")),
        }
        for (name, value) in [
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
            ("repeat_penalty", self.repeat_penalty),
        ] {
            if let Some(value) = number(value, name)? {
                set(name, value);
            }
        }
        self.extension(&mut fields)?;
        Ok(fields)
    }

    /// The object `wattlm`, over what the caller's own fields say of it.
    fn extension(&self, fields: &mut Map<String, Value>) -> Result<()> {
        let mut own = Map::new();
        let class = ["", "interactive", "standard", "background"];
        let policy = ["", "min-energy", "balanced", "max-throughput"];
        let backend = ["", "cpu", "gpu", ""];
        for (name, value, key, words) in [
            ("options.request_class", self.request_class, "class", class),
            ("options.policy", self.policy, "policy", policy),
            ("options.backend", self.backend, "backend", backend),
        ] {
            match usize::try_from(value).ok().and_then(|i| words.get(i)) {
                Some(&"") if value == 0 => {}
                Some(word) if !word.is_empty() => drop(own.insert(key.into(), (*word).into())),
                _ => return Err(bad(name, "is none of the header's values")),
            }
        }
        if let Some(joules) = number(self.max_joules, "max_joules")? {
            own.insert("max_joules".into(), joules);
        }
        for (key, value) in [("deadline_ms", self.deadline_ms), ("max_ttft_ms", self.max_ttft_ms)] {
            if value != 0 {
                own.insert(key.into(), value.into());
            }
        }
        match self.degrade {
            0 => {}
            1 => drop(own.insert("degrade".into(), true.into())),
            _ => return Err(bad("options.degrade", "must be 0 or 1")),
        }
        if own.is_empty() {
            return Ok(());
        }
        match fields.entry("wattlm").or_insert_with(|| json!({})) {
            Value::Object(theirs) => theirs.extend(own),
            _ => return Err(bad("options.extra_json", "has a field wattlm that is no object")),
        }
        Ok(())
    }
}

/// `None` for zero. JSON has no NaN and no infinity: sent as null they would mean "not asked for".
fn number(value: f64, name: &str) -> Result<Option<Value>> {
    match value {
        v if !v.is_finite() => Err(bad(&format!("options.{name}"), "is not a finite number")),
        0.0 => Ok(None),
        v => Ok(Some(v.into())),
    }
}

/// Sends it and makes the stream.
fn start(inner: &std::sync::Arc<Inner>, target: &str, mut fields: Map<String, Value>) -> Result<Box<wattlm_stream>> {
    fields.insert("stream".into(), true.into());
    fields.insert("stream_options".into(), json!({"include_usage": true}));
    let body = Value::Object(fields).to_string();
    Ok(wattlm_stream::answer(inner, inner.client.start_stream(target, &body)?))
}

const CHAT: &str = "/v1/chat/completions";

/// The messages of a single prompt.
///
/// # Safety
/// The header's contract for `options.system`.
unsafe fn single(prompt: &str, options: &wattlm_request_options) -> Result<Value> {
    // SAFETY: the caller's promise.
    let system = unsafe { optional_text(options.system, "options.system") }?;
    let system = system.iter().map(|s| json!({"role": "system", "content": s}));
    Ok(system.chain([json!({"role": "user", "content": prompt})]).collect())
}

/// Asks for the answer to one prompt, as a user's message in the model's own chat format, and returns while the answer
/// is still being made.
///
/// prompt: UTF-8.
/// options: NULL for none.
/// stream: gets the stream that the answer comes from (wattlm_stream_next); NULL after a failure.
///
/// It does not wait for the daemon: a refusal (no such model, a full queue, a budget) comes from the first
/// wattlm_stream_next.
///
/// Owner: the caller, who ends the stream with wattlm_stream_free.
/// Errors: WATTLM_E_INVALID_REQUEST, WATTLM_E_UNSUPPORTED_FIELD, WATTLM_E_NO_DAEMON, WATTLM_E_TOO_MANY_CONNECTIONS,
/// WATTLM_E_FORBIDDEN, WATTLM_E_FORKED.
/// Threads: any. Blocks: while the socket takes a prompt of more than about 100 KiB, and up to 5 seconds where the
/// daemon takes no connections. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_generate(
    handle: *const wattlm_handle,
    prompt: *const c_char,
    options_: *const wattlm_request_options,
    stream: *mut *mut wattlm_stream,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (stream, fields) = unsafe {
            let stream = out(stream, "stream", std::ptr::null_mut())?;
            let options = options(options_, "options")?;
            let mut fields = options.fields()?;
            fields.insert("messages".into(), single(text(prompt, "prompt")?, &options)?);
            (stream, fields)
        };
        stream.set(Box::into_raw(start(inner, CHAT, fields)?));
        Ok(())
    })
}

/// Asks for the next message of a conversation. As wattlm_generate, with all messages so far; options.system must be
/// NULL, since a system message is one of them.
///
/// messages: the first of count messages, at least one.
///
/// Owner, errors, threads, blocking: as wattlm_generate. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_chat(
    handle: *const wattlm_handle,
    messages: *const wattlm_message,
    count: usize,
    options_: *const wattlm_request_options,
    stream: *mut *mut wattlm_stream,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (stream, fields) = unsafe {
            let stream = out(stream, "stream", std::ptr::null_mut())?;
            let options = options(options_, "options")?;
            if !options.system.is_null() {
                return Err(bad("options.system", "must be NULL here: put it first among the messages"));
            }
            let messages = array(messages, count, "messages")?;
            if messages.is_empty() {
                return Err(bad("messages", "must hold at least one message"));
            }
            let messages = messages.iter().enumerate().map(|(i, m)| {
                let role = text(m.role, &format!("messages[{i}].role"))?;
                let content = text(m.content, &format!("messages[{i}].content"))?;
                Ok(json!({"role": role, "content": content}))
            });
            let messages = messages.collect::<Result<Value>>()?;
            let mut fields = options.fields()?;
            fields.insert("messages".into(), messages);
            (stream, fields)
        };
        stream.set(Box::into_raw(start(inner, CHAT, fields)?));
        Ok(())
    })
}

/// Asks for the continuation of a text as it stands, without the model's chat format. As wattlm_generate;
/// options.system must be NULL.
///
/// Owner, errors, threads, blocking: as wattlm_generate. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_complete(
    handle: *const wattlm_handle,
    prompt: *const c_char,
    options_: *const wattlm_request_options,
    stream: *mut *mut wattlm_stream,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (stream, fields) = unsafe {
            let stream = out(stream, "stream", std::ptr::null_mut())?;
            let options = options(options_, "options")?;
            if !options.system.is_null() {
                return Err(bad("options.system", "must be NULL here: a completion has no system message"));
            }
            let mut fields = options.fields()?;
            fields.insert("prompt".into(), text(prompt, "prompt")?.into());
            (stream, fields)
        };
        stream.set(Box::into_raw(start(inner, "/v1/completions", fields)?));
        Ok(())
    })
}

/// Asks and waits for the whole answer: wattlm_generate and wattlm_stream_text in one.
///
/// prompt: UTF-8.
/// options: NULL for none.
/// timeout_ms: longest wait, after which the request is cancelled; -1 for as long as the daemon gives signs of life.
/// answer: gets the text; NULL after a failure.
/// receipt: gets what the answer cost; NULL if it is not wanted.
///
/// Owner: the caller, of both: wattlm_string_free, wattlm_receipt_free.
/// Errors: those of wattlm_generate and of wattlm_stream_next; WATTLM_E_REQUEST_TIMEOUT after timeout_ms.
/// Threads: any. Blocks: until the answer is complete. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_ask(
    handle: *const wattlm_handle,
    prompt: *const c_char,
    options_: *const wattlm_request_options,
    timeout_ms: i32,
    answer: *mut *mut c_char,
    receipt: *mut *mut wattlm_receipt,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (answer, receipt, fields) = unsafe {
            let receipt = optional_out(receipt, std::ptr::null_mut());
            let answer = out(answer, "answer", std::ptr::null_mut())?;
            let options = options(options_, "options")?;
            let mut fields = options.fields()?;
            fields.insert("messages".into(), single(text(prompt, "prompt")?, &options)?);
            (answer, receipt, fields)
        };
        let stream = start(inner, CHAT, fields)?;
        let whole = stream.whole(timeout_ms)?;
        let cost = stream.receipt()?;
        answer.set(whole.into_raw());
        if let Some(receipt) = receipt {
            receipt.set(Box::into_raw(cost));
        }
        Ok(())
    })
}
