//! What llama.cpp keeps once per process: its log, its last words before an abort, its start-up.
//!
//! The callbacks are process-wide, so with several engines in one process (direct mode) the one that came up last
//! hears the log of all. A worker process has one engine.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void, CStr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use llama_cpp_sys_2 as sys;
use parking_lot::Mutex;

/// Hears a line of llama.cpp's log: level as in the `log` crate (1 error to 5 trace), text without its newline.
pub type LogFn = Arc<dyn Fn(u8, &str) + Send + Sync>;
/// Hears the message of a failed assertion, on the thread that is about to abort the process.
pub type FatalFn = Arc<dyn Fn(&str) + Send + Sync>;

/// Error lines kept for the message of a failed load: llama.cpp says the cause in the first and repeats itself after.
const KEPT_ERRORS: usize = 8;

struct Sinks {
    log: Option<LogFn>,
    fatal: Option<FatalFn>,
    /// Level and text of a line that is not complete yet.
    partial: (u8, String),
    errors: VecDeque<String>,
}

static SINKS: Mutex<Sinks> =
    Mutex::new(Sinks { log: None, fatal: None, partial: (5, String::new()), errors: VecDeque::new() });

/// Set while a graph ends because we asked for it: llama.cpp reports that as errors, which it is not.
static CANCELLING: AtomicBool = AtomicBool::new(false);

/// Says that what llama.cpp logs from now on is about a step that was cancelled, or no longer.
pub(super) fn cancelling(yes: bool) {
    CANCELLING.store(yes, Ordering::Relaxed);
}

/// Routes llama.cpp's log and last words. Call before anything else of this module's neighbours.
pub fn listen(log: LogFn, fatal: FatalFn) {
    {
        let mut sinks = SINKS.lock();
        sinks.log = Some(log);
        sinks.fatal = Some(fatal);
        sinks.errors.clear();
    }
    // SAFETY: both callbacks are `extern "C"` functions that live as long as the process and take no user data.
    unsafe {
        sys::llama_log_set(Some(on_log), std::ptr::null_mut());
        sys::ggml_set_abort_callback(Some(on_abort));
    }
}

/// Stops routing, so that nothing is said to an engine that is gone.
pub fn unlisten() {
    let mut sinks = SINKS.lock();
    sinks.log = None;
    sinks.fatal = None;
}

/// The errors logged since the last call, oldest first, and forgets them.
pub fn take_errors() -> Vec<String> {
    SINKS.lock().errors.drain(..).collect()
}

/// Starts llama.cpp, once per process. A backend must be loaded before: with none, it would go looking for modules
/// in the working directory.
pub fn init() {
    static ONCE: Once = Once::new();
    // SAFETY: no precondition beyond a registered backend, which the caller has seen to.
    ONCE.call_once(|| unsafe { sys::llama_backend_init() });
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let (log, lines) = {
        let mut sinks = SINKS.lock();
        if level != sys::GGML_LOG_LEVEL_CONT {
            let level = if CANCELLING.load(Ordering::Relaxed) { 5 } else { rank(level) };
            sinks.partial = (level, String::new());
        }
        let level = sinks.partial.0;
        sinks.partial.1.push_str(&text);
        let mut lines = Vec::new();
        while let Some(end) = sinks.partial.1.find('\n') {
            let line: String = sinks.partial.1.drain(..=end).collect();
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            if level == 1 {
                if sinks.errors.len() == KEPT_ERRORS {
                    sinks.errors.pop_front();
                }
                sinks.errors.push_back(line.to_string());
            }
            lines.push((level, line.to_string()));
        }
        // A line without end must not grow without end.
        if sinks.partial.1.len() > 4096 {
            sinks.partial.1.clear();
        }
        (sinks.log.clone(), lines)
    };
    if let Some(log) = log {
        for (level, line) in lines {
            log(level, &line);
        }
    }
}

/// llama.cpp's level as the `log` crate counts. Its "info" is a page per model load: debug for a service.
fn rank(level: sys::ggml_log_level) -> u8 {
    match level {
        sys::GGML_LOG_LEVEL_ERROR => 1,
        sys::GGML_LOG_LEVEL_WARN => 2,
        sys::GGML_LOG_LEVEL_INFO => 4,
        _ => 5,
    }
}

unsafe extern "C" fn on_abort(message: *const c_char) {
    let message = if message.is_null() {
        "llama.cpp aborted".into()
    } else {
        // SAFETY: ggml passes a NUL-terminated buffer of its own.
        unsafe { CStr::from_ptr(message) }.to_string_lossy()
    };
    // `try_lock`: the thread that aborts may hold the lock.
    if let Some(fatal) = SINKS.try_lock().and_then(|s| s.fatal.clone()) {
        fatal(&message);
    }
}
