//! Receipts: what an answer cost and how it ran.

use std::ffi::{c_char, CStr, CString};

use serde::Deserialize;
use serde_json::{json, Value};

use super::ffi::{c_string, guard_or};
use crate::client::Final;

/// What an answer cost and how it ran. It never changes, so that any number of threads may read it.
pub struct wattlm_receipt {
    json: CString,
    said: Said,
}

/// The object `wattlm` of a response, as far as there are getters for it. A daemon may be older (fields are missing) or
/// newer (there are more) than this library.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    request: Text,
    model: Text,
    device: Text,
    kernels: Text,
    reason: Text,
    queue_s: Option<f64>,
    prefill_s: Option<f64>,
    decode_s: Option<f64>,
    energy: Energy,
    #[serde(skip)]
    finish_reason: Text,
    #[serde(skip)]
    tokens: [u32; 3],
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Energy {
    joules: Option<f64>,
    error: Option<f64>,
    wake: Option<f64>,
    prefill: Option<f64>,
    decode: Option<f64>,
    idle: Option<f64>,
    quality: Text,
    source: Text,
    limit: Option<Text>,
}

/// A string that C can be given.
#[derive(Debug, Default)]
struct Text(CString);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Text(c_string(String::deserialize(d)?)))
    }
}

impl wattlm_receipt {
    pub(super) fn new(end: &Final) -> Box<Self> {
        // A receipt of another shape than ours is still there as JSON.
        let mut said = Said::deserialize(&end.wattlm).unwrap_or_default();
        said.finish_reason = Text(c_string(end.finish_reason.as_str()));
        let count = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let usage = &end.usage;
        let cached = &usage["prompt_tokens_details"]["cached_tokens"];
        said.tokens = [count(&usage["prompt_tokens"]), count(cached), count(&usage["completion_tokens"])];
        let json = json!({"finish_reason": end.finish_reason, "usage": usage, "wattlm": end.wattlm});
        Box::new(wattlm_receipt { json: c_string(json.to_string()), said })
    }
}

fn string(receipt: *const wattlm_receipt, what: impl FnOnce(&wattlm_receipt) -> &CStr) -> *const c_char {
    // SAFETY: NULL or alive, by the header's contract.
    guard_or(c"".as_ptr(), || unsafe { receipt.as_ref() }.map_or(c"".as_ptr(), |r| what(r).as_ptr()))
}

fn figure(receipt: *const wattlm_receipt, what: impl FnOnce(&Said) -> Option<f64>) -> f64 {
    // SAFETY: NULL or alive, by the header's contract.
    guard_or(f64::NAN, || unsafe { receipt.as_ref() }.and_then(|r| what(&r.said)).unwrap_or(f64::NAN))
}

fn tokens(receipt: *const wattlm_receipt, which: usize) -> u32 {
    // SAFETY: NULL or alive, by the header's contract.
    guard_or(0, || unsafe { receipt.as_ref() }.and_then(|r| r.said.tokens.get(which)).copied().unwrap_or(0))
}

/// All of the receipt as JSON: {"finish_reason", "usage", "wattlm"}, the latter two as the daemon's protocol describes
/// them. Empty for NULL.
///
/// Owner: the receipt, as of all strings below. Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_json(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.json)
}

/// Why the answer ended: "stop" (it was complete) or "length" (max_tokens, the context or the energy was used up).
/// Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_finish_reason(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.finish_reason.0)
}

/// The daemon's name for the request. Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_request_id(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.request.0)
}

/// "name:variant" of the model that ran. Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_model(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.model.0)
}

/// Where it ran, such as "cpu". Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_device(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.device.0)
}

/// The kernels that it ran with, such as "zen4". Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_kernels(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.kernels.0)
}

/// Why it ran there. Empty for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_reason(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.reason.0)
}

/// Tokens of the prompt, those found in the cache included. 0 for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_prompt_tokens(receipt: *const wattlm_receipt) -> u32 {
    tokens(receipt, 0)
}

/// Tokens of the prompt that were found in the cache and cost nothing. 0 for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_cached_tokens(receipt: *const wattlm_receipt) -> u32 {
    tokens(receipt, 1)
}

/// Tokens of the answer. 0 for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_completion_tokens(receipt: *const wattlm_receipt) -> u32 {
    tokens(receipt, 2)
}

/// Seconds that it waited, the loading of the model included. Figures below are NaN where the daemon gave none, and for
/// NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_queue_seconds(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.queue_s)
}

/// Seconds from its start to the first token.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_prefill_seconds(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.prefill_s)
}

/// Seconds from the first token to the last.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_decode_seconds(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.decode_s)
}

/// Joules that it is charged: waking the model, the prompt and the answer. What the device draws when idle is not in it.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_joules(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.joules)
}

/// Half the width of the interval around the joules that holds the truth in 95 of 100 cases.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_joules_error(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.error)
}

/// Of the joules: loading the model, where this request woke it.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_wake_joules(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.wake)
}

/// Of the joules: the prompt.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_prefill_joules(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.prefill)
}

/// Of the joules: the answer.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_decode_joules(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.decode)
}

/// Beside the joules: the idle draw of the time in which it ran, its share of it.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_idle_joules(receipt: *const wattlm_receipt) -> f64 {
    figure(receipt, |said| said.energy.idle)
}

/// "measured" where a sensor saw all of the joules, "estimated" where they are computed. Empty where the daemon said
/// neither, and for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_energy_quality(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.energy.quality.0)
}

/// What metered the joules, such as "rapl:package-0"; "model" where nothing did. Empty where the daemon did not say, and
/// for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_energy_source(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| &r.said.energy.source.0)
}

/// Which limit on energy ended the answer early. Empty where none did, and for NULL.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_energy_limit(receipt: *const wattlm_receipt) -> *const c_char {
    string(receipt, |r| r.said.energy.limit.as_ref().map_or(c"", |limit| &limit.0))
}

/// Frees a receipt and the strings that came from it. NULL is a no-op.
///
/// Threads: any, once nobody uses the receipt any more. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_receipt_free(receipt: *mut wattlm_receipt) {
    guard_or((), || {
        if !receipt.is_null() {
            // SAFETY: the header's contract: it came from this library and is freed once.
            drop(unsafe { Box::from_raw(receipt) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_of_older_and_newer_daemons_are_read() {
        let end = |wattlm: Value| Final { finish_reason: "stop".into(), usage: json!({"prompt_tokens": 3}), wattlm };
        let old = wattlm_receipt::new(&end(json!({"model": "m:q4", "queue_s": 0.5, "unknown": {"x": 1}})));
        // SAFETY: alive.
        unsafe {
            assert_eq!(CStr::from_ptr(wattlm_receipt_model(&*old)), c"m:q4");
            assert_eq!(wattlm_receipt_queue_seconds(&*old), 0.5);
            assert_eq!(wattlm_receipt_prompt_tokens(&*old), 3);
            assert!(wattlm_receipt_joules(&*old).is_nan());
            assert_eq!(CStr::from_ptr(wattlm_receipt_energy_limit(&*old)), c"");
        }
        let energy = json!({"joules": 1.25, "quality": "measured", "limit": null, "more": []});
        let new = wattlm_receipt::new(&end(json!({"energy": energy})));
        let none = wattlm_receipt::new(&end(Value::Null));
        // SAFETY: alive.
        unsafe {
            assert_eq!(wattlm_receipt_joules(&*new), 1.25);
            assert_eq!(CStr::from_ptr(wattlm_receipt_energy_quality(&*new)), c"measured");
            assert_eq!(CStr::from_ptr(wattlm_receipt_finish_reason(&*none)), c"stop");
            assert!(wattlm_receipt_joules(&*none).is_nan());
        }
    }
}
