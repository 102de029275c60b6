//! Everything else the daemon offers, as JSON.

use std::ffi::{c_char, CString};
use std::sync::Arc;

use super::ffi::{c_string, guard_or, optional_text, out, text};
use super::handle::{on, wattlm_handle, Inner};
use super::status::wattlm_status;
use super::stream::{over_time, until, wattlm_stream};
use crate::client::{Client, Events};
use crate::error::Result;

/// Sends any request of the daemon's protocol and waits for the whole answer, so that a program reaches what this header
/// has no function for.
///
/// method: such as "GET" or "POST".
/// path: such as "/wattlm/v1/status".
/// body: JSON; NULL for none.
/// timeout_ms: longest wait, after which the request is cancelled; -1 for ever.
/// answer: gets the answer's body, mostly JSON; NULL after a failure.
///
/// An answer of the daemon's that is an error becomes its status, and its message that of wattlm_last_error.
///
/// Owner: the caller, who frees the answer with wattlm_string_free.
/// Errors: all of them.
/// Threads: any. Blocks: until the answer is complete. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_request_json(
    handle: *const wattlm_handle,
    method: *const c_char,
    path: *const c_char,
    body: *const c_char,
    timeout_ms: i32,
    answer: *mut *mut c_char,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (answer, method, path, body) = unsafe {
            let answer = out(answer, "answer", std::ptr::null_mut())?;
            (answer, text(method, "method")?, text(path, "path")?, optional_text(body, "body")?)
        };
        answer.set(whole(&inner.patient, method, path, body, timeout_ms)?.into_raw());
        Ok(())
    })
}

fn whole(client: &Client, method: &str, path: &str, body: Option<&str>, timeout_ms: i32) -> Result<CString> {
    let until = until(timeout_ms)?;
    let mut response = client.start(method, path, body, &[])?;
    match response.ready(until)? {
        true => {}
        false => return Err(over_time(timeout_ms)),
    }
    match response.text_until(until)? {
        Some(text) => Ok(c_string(text)),
        None => Err(over_time(timeout_ms)),
    }
}

/// Sends any request of the daemon's protocol whose answer is a stream of events, and returns while it goes on. The
/// stream yields WATTLM_PIECE_EVENT with each event's JSON, and WATTLM_PIECE_END after "[DONE]".
///
/// method, path, body: as for wattlm_request_json. Whether the answer is a stream is the request's business, such as
/// {"stream":true} in its body.
/// stream: gets the stream; NULL after a failure.
///
/// Owner: the caller, who ends the stream with wattlm_stream_free.
/// Errors, threads, blocking: as wattlm_generate. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_request_stream(
    handle: *const wattlm_handle,
    method: *const c_char,
    path: *const c_char,
    body: *const c_char,
    stream: *mut *mut wattlm_stream,
) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let (stream, method, path, body) = unsafe {
            let stream = out(stream, "stream", std::ptr::null_mut())?;
            (stream, text(method, "method")?, text(path, "path")?, optional_text(body, "body")?)
        };
        let events = Events::new(inner.client.start(method, path, body, &[])?);
        stream.set(Box::into_raw(wattlm_stream::events(inner, events)));
        Ok(())
    })
}

/// What the daemon answers from memory.
///
/// # Safety
/// The header's contract for `json`.
unsafe fn get(inner: &Arc<Inner>, path: &str, json: *mut *mut c_char) -> Result<()> {
    // SAFETY: the caller's promise.
    let json = unsafe { out(json, "json", std::ptr::null_mut()) }?;
    json.set(whole(&inner.client, "GET", path, None, -1)?.into_raw());
    Ok(())
}

/// The registered models, as GET /v1/models answers: {"object":"list","data":[…]}.
///
/// json: gets the text; NULL after a failure.
///
/// Owner: the caller, who frees it with wattlm_string_free.
/// Errors: those of wattlm_open; WATTLM_E_REQUEST_TIMEOUT, WATTLM_E_CONNECTION_LOST.
/// Threads: any. Blocks: until the daemon answers, at most silence_ms. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_models_json(handle: *const wattlm_handle, json: *mut *mut c_char) -> wattlm_status {
    // SAFETY: the header's contract.
    on(handle, |inner| unsafe { get(inner, "/v1/models", json) })
}

/// How the daemon is: lanes, queue, counters, the last fault, as GET /wattlm/v1/status answers.
///
/// Owner, errors, threads, blocking: as wattlm_models_json. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_status_json(handle: *const wattlm_handle, json: *mut *mut c_char) -> wattlm_status {
    // SAFETY: the header's contract.
    on(handle, |inner| unsafe { get(inner, "/wattlm/v1/status", json) })
}

/// What is left of the caller's energy budgets and when there is more, as GET /wattlm/v1/budget answers.
/// WATTLM_E_NOT_FOUND from a daemon that knows no budgets.
///
/// Owner, errors, threads, blocking: as wattlm_models_json. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_budget_json(handle: *const wattlm_handle, json: *mut *mut c_char) -> wattlm_status {
    // SAFETY: the header's contract.
    on(handle, |inner| unsafe { get(inner, "/wattlm/v1/budget", json) })
}

/// Cancels a request of this user's by the name that wattlm_stream_request_id gives, also one of another program.
///
/// Errors: WATTLM_E_NOT_FOUND where no such request runs or it is another user's; as wattlm_models_json.
/// Threads: any. Blocks: until the daemon answers, at most silence_ms. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_cancel(handle: *const wattlm_handle, request_id: *const c_char) -> wattlm_status {
    on(handle, |inner| {
        // SAFETY: the header's contract.
        let id = unsafe { text(request_id, "request_id") }?;
        inner.client.cancel(id)
    })
}

/// Frees a string that a function left to the caller. NULL is a no-op.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_string_free(text: *mut c_char) {
    guard_or((), || {
        if !text.is_null() {
            // SAFETY: the header's contract: it came from this library as it is, and is freed once.
            drop(unsafe { CString::from_raw(text) });
        }
    });
}
