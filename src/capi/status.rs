//! Status codes: the numbers of [`crate::error`].

use std::ffi::c_char;

use super::ffi::guard_or;
use crate::error::Code;

/// What a call came to: WATTLM_OK or one of WATTLM_E_…. The numbers are those of the daemon's error table and never
/// change their meaning; later versions add some, so that a program treats one it does not know by its hundred:
/// 1xx the request is wrong, 2xx the device cannot take it now, 3xx something broke, 4xx it was ended, 5xx between this
/// program and the daemon.
pub type wattlm_status = i32;

/// It worked.
pub const WATTLM_OK: wattlm_status = 0;

/// The request is malformed, a value is out of range, a pointer is NULL that must not be, or a call comes at the wrong
/// time.
pub const WATTLM_E_INVALID_REQUEST: wattlm_status = 100;
/// The daemon or this library is too old for something that was asked for and would change the answer.
pub const WATTLM_E_UNSUPPORTED_FIELD: wattlm_status = 101;
/// There is no model of this name.
pub const WATTLM_E_MODEL_NOT_FOUND: wattlm_status = 102;
/// The prompt, or prompt plus max_tokens, does not fit the model's context.
pub const WATTLM_E_CONTEXT_LENGTH_EXCEEDED: wattlm_status = 103;
/// The model has no chat template, or it failed: use wattlm_complete.
pub const WATTLM_E_NO_CHAT_TEMPLATE: wattlm_status = 104;
/// The request is larger than the daemon takes.
pub const WATTLM_E_PAYLOAD_TOO_LARGE: wattlm_status = 105;
/// There is no such endpoint or request.
pub const WATTLM_E_NOT_FOUND: wattlm_status = 106;
/// The endpoint exists, the method does not.
pub const WATTLM_E_METHOD_NOT_ALLOWED: wattlm_status = 107;
/// This user may not do that, or may not open the socket.
pub const WATTLM_E_FORBIDDEN: wattlm_status = 108;
/// Nothing came for too long: from the daemon, or within the time that the call was given.
pub const WATTLM_E_REQUEST_TIMEOUT: wattlm_status = 109;

/// Too many requests wait. Try again later: wattlm_retry_after_ms.
pub const WATTLM_E_QUEUE_FULL: wattlm_status = 200;
/// Too many connections, or no descriptor left on either side.
pub const WATTLM_E_TOO_MANY_CONNECTIONS: wattlm_status = 201;
/// The model does not fit in memory; the message says what would.
pub const WATTLM_E_INSUFFICIENT_MEMORY: wattlm_status = 202;
/// The model keeps failing here and is left alone for a while.
pub const WATTLM_E_QUARANTINED: wattlm_status = 203;
/// The deadline passed before the answer was complete.
pub const WATTLM_E_DEADLINE_EXCEEDED: wattlm_status = 204;
/// The daemon is stopping.
pub const WATTLM_E_SHUTTING_DOWN: wattlm_status = 205;
/// An energy budget is used up; the message says which and when there is more.
pub const WATTLM_E_BUDGET_EXHAUSTED: wattlm_status = 206;

/// The model could not be loaded.
pub const WATTLM_E_MODEL_LOAD_FAILED: wattlm_status = 300;
/// The model's file does not match its recorded digest.
pub const WATTLM_E_MODEL_UNVERIFIED: wattlm_status = 301;
/// The worker process died while it ran the request; the daemon lives. May be sent again.
pub const WATTLM_E_WORKER_LOST: wattlm_status = 302;
/// The worker process stood still and was killed. May be sent again.
pub const WATTLM_E_WORKER_HUNG: wattlm_status = 303;
/// The engine reported an error.
pub const WATTLM_E_ENGINE_FAILED: wattlm_status = 304;
/// A defect of wattlm. Please report it with the message.
pub const WATTLM_E_INTERNAL: wattlm_status = 305;

/// The request was cancelled.
pub const WATTLM_E_CANCELLED: wattlm_status = 400;
/// The program did not read the answer in time: see wattlm_stream_next.
pub const WATTLM_E_SLOW_CLIENT: wattlm_status = 401;

/// No daemon listens on the socket.
pub const WATTLM_E_NO_DAEMON: wattlm_status = 500;
/// The connection ended before the answer was complete: the daemon died or was restarted.
pub const WATTLM_E_CONNECTION_LOST: wattlm_status = 501;
/// The other side does not speak wattlm's protocol.
pub const WATTLM_E_PROTOCOL: wattlm_status = 502;
/// The process has forked since the handle was opened: a child opens its own.
pub const WATTLM_E_FORKED: wattlm_status = 503;

/// The name of a status as on the wire, such as "queue_full"; "ok" for WATTLM_OK and "unknown" for a number that this
/// version does not know. Lives as long as the library.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_status_name(status: wattlm_status) -> *const c_char {
    macro_rules! names {
        ($($name:literal)*) => { &[$(concat!($name, "\0")),*] };
    }
    // NUL-terminated twins of the table's names; a test compares.
    const NAMES: &[&str] = names!(
        "invalid_request" "unsupported_field" "model_not_found" "context_length_exceeded" "no_chat_template"
        "payload_too_large" "not_found" "method_not_allowed" "forbidden" "request_timeout" "queue_full"
        "too_many_connections" "insufficient_memory" "quarantined" "deadline_exceeded" "shutting_down"
        "budget_exhausted" "model_load_failed" "model_unverified" "worker_lost" "worker_hung" "engine_failed"
        "internal" "cancelled" "slow_client" "no_daemon" "connection_lost" "protocol" "forked"
    );
    let name = match status {
        WATTLM_OK => "ok\0",
        _ => match code(status) {
            Some(code) => NAMES.iter().find(|n| n.trim_end_matches('\0') == code.name()).unwrap_or(&"unknown\0"),
            None => "unknown\0",
        },
    };
    name.as_ptr().cast()
}

/// Whether the same request may succeed later without being changed: 1 or 0. WATTLM_OK and unknown numbers give 0.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_status_retryable(status: wattlm_status) -> i32 {
    guard_or(0, || i32::from(code(status).is_some_and(Code::retryable)))
}

fn code(status: wattlm_status) -> Option<Code> {
    Code::ALL.iter().copied().find(|c| i32::from(c.number()) == status)
}
