//! Handles: what a program opens and asks.

use std::ffi::c_char;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::ffi::{bad, guard, guard_or, optional_text, options, out, Versioned};
use super::last::NO_HANDLE;
use super::log::quiet_panics;
use super::status::wattlm_status;
use crate::client::Client;
use crate::error::{Code, Error, Result};

/// Whether "direct:" is built in.
pub(super) const HAS_DIRECT: bool = cfg!(all(feature = "engine", feature = "daemon"));

/// A way to ask for answers: a connection's address and its settings. Any number of threads may use one handle at the
/// same time, and any number of requests may run on it side by side.
pub struct wattlm_handle(pub(super) Arc<Inner>);

/// What a handle and everything that comes from it share.
pub(super) struct Inner {
    pub(super) id: u64,
    /// Requests with a bound on the daemon's silence.
    pub(super) client: Client,
    /// Requests with a bound of their caller's.
    pub(super) patient: Client,
    /// Who opened it.
    pid: u32,
    /// Keeps the service of this process alive.
    #[cfg(all(feature = "engine", feature = "daemon"))]
    _direct: Option<super::direct::Share>,
}

/// wattlm_open succeeds whether or not a daemon is there yet; the first request finds out.
pub const WATTLM_OPEN_LAZY: u32 = 1;

/// How to open. Zero the struct, set struct_size, then what is wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wattlm_open_options {
    /// sizeof(struct wattlm_open_options).
    pub struct_size: usize,
    /// WATTLM_OPEN_… or 0. A bit that this library does not know is refused.
    pub flags: u32,
    /// Longest silence of the daemon in milliseconds before a call gives up with WATTLM_E_REQUEST_TIMEOUT. While a
    /// request waits or runs, the daemon gives a sign of life every 15 seconds, or as server.keepalive is configured:
    /// less than that gives up on requests that only wait for their turn. 0: 30 seconds.
    pub silence_ms: u32,
    /// For "direct:" only: the configuration file. NULL: that of the daemon ($WATTLM_CONFIG; else the user's own
    /// ~/.config/wattlm/wattlm.toml; else /etc/wattlm/wattlm.toml) where it is there, and the defaults where it is not.
    pub config: *const c_char,
}

// SAFETY: plain data that may be zero, beginning with its size.
unsafe impl Versioned for wattlm_open_options {}

/// The daemon's signs of life come every 15 seconds unless it is configured otherwise.
const SILENCE: Duration = Duration::from_secs(30);

/// Opens a way to the model service.
///
/// target: NULL for the device's daemon ($WATTLM_SOCKET; else the user's own $XDG_RUNTIME_DIR/wattlm.sock where it is
/// there; else /run/wattlm/wattlm.sock); "unix:/path/to/socket" for another one; "direct:/path/to/model.gguf" for that
/// model, or "direct:" for those of the configuration, in this process and without a daemon.
/// options: NULL for none.
/// handle: gets the handle; NULL after a failure.
///
/// With a daemon: it costs one connection that is closed again, to find out whether one listens; with WATTLM_OPEN_LAZY
/// nothing. It keeps no connection open: each request has its own, so that a daemon may be restarted between two of
/// them.
///
/// Directly: the daemon's service runs on threads of this process, with the same scheduling, and with the limits, budgets
/// and receipts of the configuration that it finds. Handles with the same target and configuration share it and the
/// model, which is loaded by the first request and unloaded when it has been idle; the call that ends the last handle or
/// stream waits until all of its threads have ended. They take no signals.
///
/// Budgets in this process: as many joules as configured, counted apart from the daemon's. What is used here is taken
/// from none of the daemon's purses, and its meter sees it as other programs'. Purses and the account are kept in
/// "direct" in the configured state folder, from one run of the program to the next: by one service at a time, while a
/// second one begins with the same purses and keeps its own in memory. A program names its own configuration, so that
/// such a budget is its own restraint; where programs shall be bound, they get the daemon's socket and no model's file.
///
/// Energy in this process: without a sensor, joules are told by CPU time, in which what the program itself computes
/// meanwhile is not told apart.
///
/// Faults in this process: an engine fault is not contained. llama.cpp ends its process on a failed assertion, an
/// uncaught C++ exception or exhausted memory, and that process is the program; a model that crashes it does so with the
/// program's rights. A program that must survive, or runs models of others, asks the daemon. Where the library can do
/// this (wattlm_has_direct), ggml sets a std::terminate handler when the program loads it, which prints a trace and goes
/// on to the one before. A child that was forked while a model was open here, or was being opened or closed, cannot open
/// one itself: it gets WATTLM_E_FORKED at once.
///
/// Owner: the caller, who ends it with wattlm_close.
/// Errors: WATTLM_E_NO_DAEMON, WATTLM_E_FORBIDDEN (the socket's group), WATTLM_E_TOO_MANY_CONNECTIONS,
/// WATTLM_E_INVALID_REQUEST (the target, the configuration), WATTLM_E_UNSUPPORTED_FIELD (a client-only library),
/// WATTLM_E_FORKED. The text is that of wattlm_last_error(NULL).
/// Threads: any. Blocks: up to 5 seconds where the daemon takes no connections; directly, while the configuration and
/// the headers of the models are read. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_open(
    target: *const c_char,
    options_: *const wattlm_open_options,
    handle: *mut *mut wattlm_handle,
) -> wattlm_status {
    quiet_panics();
    guard(NO_HANDLE, || {
        // SAFETY: the header's contract.
        let (handle, target, options) = unsafe {
            let handle = out(handle, "handle", std::ptr::null_mut())?;
            (handle, optional_text(target, "target")?, options(options_, "options")?)
        };
        handle.set(Box::into_raw(Box::new(wattlm_handle(open(target, &options)?))));
        Ok(())
    })
}

fn open(target: Option<&str>, options: &wattlm_open_options) -> Result<Arc<Inner>> {
    static NEXT: AtomicU64 = AtomicU64::new(NO_HANDLE + 1);
    if options.flags & !WATTLM_OPEN_LAZY != 0 {
        return Err(Error::new(Code::UnsupportedField, "options.flags has a bit that this libwattlm does not know")
            .at("options.flags"));
    }
    let silence = match options.silence_ms {
        0 => SILENCE,
        ms => Duration::from_millis(ms.into()),
    };
    // SAFETY: the header's contract.
    let config = unsafe { optional_text(options.config, "options.config") }?;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let unix = match target.map(|t| t.split_once(':').unwrap_or((t, ""))) {
        None => Client::at(crate::config::default_socket()),
        Some(("unix", path)) if !path.is_empty() => {
            let path = std::path::absolute(path);
            Client::at(path.map_err(|e| bad("target", &format!("cannot be made absolute: {e}")))?)
        }
        #[cfg(all(feature = "engine", feature = "daemon"))]
        Some(("direct", model)) => {
            let (client, share) = super::direct::open(model, config)?;
            return Ok(Arc::new(Inner { _direct: Some(share), ..Inner::new(id, client, silence) }));
        }
        #[cfg(not(all(feature = "engine", feature = "daemon")))]
        Some(("direct", _)) => {
            let text = "this libwattlm is a client only: install the whole one to run models in this process";
            return Err(Error::new(Code::UnsupportedField, text).at("target"));
        }
        Some(_) => {
            return Err(bad(
                "target",
                "must be NULL, \"unix:/path/to/socket\", \"direct:\" or \"direct:/path/model.gguf\"",
            ))
        }
    };
    if config.is_some() {
        return Err(bad("options.config", "is for \"direct:\" only: the daemon has its own"));
    }
    if options.flags & WATTLM_OPEN_LAZY == 0 {
        unix.reach()?;
    }
    Ok(Arc::new(Inner::new(id, unix, silence)))
}

/// Closes a handle. Its streams and receipts live on until they are freed. NULL is a no-op, and so is a call in a
/// process that has forked since: the child's copy is never used.
///
/// Threads: any, once nobody uses the handle any more. Blocks: never, but for the last of a service in this process.
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_close(handle: *mut wattlm_handle) {
    guard_or((), || {
        // SAFETY: NULL or open, by the header's contract.
        if unsafe { handle.as_ref() }.is_some_and(|open| open.0.ours()) {
            // SAFETY: it came from `wattlm_open` and is closed once, by the header's contract.
            drop(unsafe { Box::from_raw(handle) });
        }
    });
}

impl Inner {
    fn new(id: u64, mut client: Client, silence: Duration) -> Inner {
        let mut patient = client.clone();
        client.set_silence(Some(silence));
        patient.set_silence(None);
        Inner {
            id,
            client,
            patient,
            pid: std::process::id(),
            #[cfg(all(feature = "engine", feature = "daemon"))]
            _direct: None,
        }
    }

    /// Refuses a child that has inherited its parent's handle: both would speak on one connection.
    pub(super) fn check(&self) -> Result<()> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        Err(Error::new(Code::Forked, "this process has forked since the handle was opened: open one in the child"))
    }

    /// Whether this is the process that opened it.
    pub(super) fn ours(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// What failures on this handle are kept under.
pub(super) fn id_of(handle: *const wattlm_handle) -> u64 {
    // SAFETY: NULL or open, by the header's contract.
    unsafe { handle.as_ref() }.map_or(NO_HANDLE, |h| h.0.id)
}

/// Runs an entry on a handle.
pub(super) fn on(handle: *const wattlm_handle, body: impl FnOnce(&Arc<Inner>) -> Result<()>) -> wattlm_status {
    guard(id_of(handle), || {
        // SAFETY: NULL or open, by the header's contract.
        let handle = unsafe { handle.as_ref() }.ok_or_else(|| bad("handle", "is NULL"))?;
        handle.0.check()?;
        body(&handle.0)
    })
}
