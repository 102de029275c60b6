//! What the library has to say, to a function of the program's or to nobody.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::RwLock;

use super::ffi::{bad, c_string, guard};
use super::last::NO_HANDLE;
use super::status::wattlm_status;

/// Something does not work.
pub const WATTLM_LOG_ERROR: i32 = 1;
/// Something is odd.
pub const WATTLM_LOG_WARN: i32 = 2;
/// What is being done.
pub const WATTLM_LOG_INFO: i32 = 3;
/// For whoever looks for a fault.
pub const WATTLM_LOG_DEBUG: i32 = 4;

/// Takes a line of log: level is WATTLM_LOG_…, text is UTF-8 without a line break and lives during the call. Called from
/// any thread that is in the library, and never from two at the same time as wattlm_set_log. It must not throw,
/// longjmp, or call into the library.
pub type wattlm_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: i32, text: *const c_char)>;

struct Target {
    call: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user: *mut c_void,
}

// SAFETY: `user` is only passed on; the header says that the function is called from any thread.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

static TARGET: RwLock<Option<Target>> = RwLock::new(None);

thread_local! {
    /// This thread is in the program's function.
    static CALLING: Cell<bool> = const { Cell::new(false) };
}

struct ToProgram;

impl Log for ToProgram {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        if record.level() > Level::Debug || CALLING.try_with(Cell::get).unwrap_or(true) {
            return;
        }
        // Held during the call, so that nothing is called any more once `wattlm_set_log` has returned.
        if let Some(target) = &*TARGET.read() {
            let text = c_string(record.args().to_string().replace('\n', " "));
            let level = record.level() as i32;
            CALLING.with(|c| c.set(true));
            // SAFETY: the program's function, with the header's signature.
            unsafe { (target.call)(target.user, level, text.as_ptr()) };
            CALLING.with(|c| c.set(false));
        }
    }

    fn flush(&self) {}
}

/// Where the library's log goes, for the whole process: to a function, or nowhere, which is so at first. The library
/// never writes to the standard streams or to the system's log.
///
/// log: the function; NULL for nowhere. user: is passed on to it.
/// level: the most detailed level that is wanted, WATTLM_LOG_ERROR to WATTLM_LOG_DEBUG.
///
/// When it returns, the function that was set before is not called any more.
///
/// Errors: WATTLM_E_INVALID_REQUEST.
/// Threads: any, but not from within the function. Blocks: until running calls of the function have ended. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_set_log(log: wattlm_log_fn, user: *mut c_void, level: i32) -> wattlm_status {
    static ONCE: Once = Once::new();
    guard(NO_HANDLE, || {
        let filter = match level {
            _ if log.is_none() => LevelFilter::Off,
            WATTLM_LOG_ERROR => LevelFilter::Error,
            WATTLM_LOG_WARN => LevelFilter::Warn,
            WATTLM_LOG_INFO => LevelFilter::Info,
            WATTLM_LOG_DEBUG => LevelFilter::Debug,
            _ => return Err(bad("level", "is none of WATTLM_LOG_…")),
        };
        if CALLING.with(Cell::get) {
            return Err(bad("wattlm_set_log", "must not be called from within the log function"));
        }
        *TARGET.write() = log.map(|call| Target { call, user });
        // Fails only in a program in Rust that has a logger already.
        ONCE.call_once(|| drop(log::set_logger(&ToProgram)));
        log::set_max_level(filter);
        Ok(())
    })
}

/// A panic is caught and becomes a status; its message goes to the log, not to standard error. The hook is that of the
/// library's own runtime: a program in another language, or another library in Rust, has its own.
pub(super) fn quiet_panics() {
    #[cfg(not(test))]
    {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|info| log::error!("{info}"))));
    }
}
