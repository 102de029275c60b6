//! "direct:": the daemon's service inside the program's own process.
//!
//! The same service, scheduler and HTTP server as the daemon's, on threads of this process; lanes are threads, too
//! ([`lane`]). A handle reaches them by a pair of sockets instead of a path, so that everything above, every limit and
//! every receipt is the same.
//!
//! What always holds: there is one service for all handles that name the same target and configuration; when the last of
//! them and of their streams has gone, every thread of it has ended; its threads take none of the program's signals; a
//! child that was forked while there was one waits for no lock of its parent's.

mod lane;

use std::collections::btree_map::{BTreeMap, Entry};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot, watch};

use self::lane::{LaneThreads, ThreadLanes};
use super::owner::{InUse, Owner};
use crate::client::{Client, DialFn};
use crate::config::{Config, Env, Model, Problem, Sources};
use crate::error::{Code, Error, Result};
use crate::models::naming;
use crate::server::{self, Entrance, ServerConfig};
use crate::service::Service;

/// What makes two handles share a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    model: PathBuf,
    config: PathBuf,
}

/// A file that is being hashed or written, or a sensor that is being read, holds its thread for so long, unless it hangs.
const HELPERS: Duration = Duration::from_secs(10);

struct Running {
    shares: usize,
    service: Service,
    incoming: mpsc::UnboundedSender<UnixStream>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    lanes: LaneThreads,
    /// Its threads may hold locks of this process, of which a child has copies.
    _in_use: InUse,
}

/// The services of this process. Locked while one starts or stops, so that none starts beside one that still holds the
/// model's memory.
static RUNNING: Mutex<BTreeMap<Key, Running>> = Mutex::new(BTreeMap::new());
/// The process whose they are.
static OWNER: Owner = Owner::new();

/// The services, locked.
struct Table {
    all: MutexGuard<'static, BTreeMap<Key, Running>>,
    /// Ends once they are unlocked.
    _in_use: InUse,
}

fn enter() -> Result<InUse> {
    OWNER.enter(std::process::id()).ok_or_else(|| {
        let text =
            "this process was forked while a model was open in its parent, or was being opened or closed: it cannot \
                    run models itself before it executes a program; ask the daemon, or fork before";
        Error::new(Code::Forked, text)
    })
}

/// Locks them.
///
/// # Errors
/// `forked` where this process has copies of locks and threads that are its parent's.
fn running() -> Result<Table> {
    let in_use = enter()?;
    Ok(Table { all: RUNNING.lock(), _in_use: in_use })
}

/// A part in a service. The last one that is dropped ends it and waits for its threads.
pub(in crate::capi) struct Share(Key);

/// The service of `model` (a file; empty: the configured folders) under `config` (a file; empty: as the daemon finds
/// it), started if it does not run yet.
pub(in crate::capi) fn open(model: &str, config: Option<&str>) -> Result<(Client, Share)> {
    let absolute = |name: &str, text: &str| match text {
        "" => Ok(PathBuf::new()),
        path => std::path::absolute(path).map_err(|e| super::ffi::bad(name, &format!("cannot be made absolute: {e}"))),
    };
    let key =
        Key { model: absolute("target", model)?, config: absolute("options.config", config.unwrap_or_default())? };
    let mut table = running()?;
    let running = match table.all.entry(key.clone()) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(free) => free.insert(start(&key)?),
    };
    running.shares += 1;
    let incoming = running.incoming.clone();
    Ok((Client::through(dial(incoming)), Share(key)))
}

fn dial(incoming: mpsc::UnboundedSender<UnixStream>) -> DialFn {
    Arc::new(move || {
        let (ours, theirs) = UnixStream::pair().map_err(|e| {
            let text =
                format!("this program has no descriptors left for a request ({e}): close some, or raise its limit");
            Error::new(Code::TooManyConnections, text).retry_after(Duration::from_secs(1))
        })?;
        incoming.send(theirs).map_err(|_| Error::new(Code::ShuttingDown, "the service of this process has ended"))?;
        Ok(ours)
    })
}

impl Drop for Share {
    fn drop(&mut self) {
        let Ok(mut table) = running() else { return };
        let Some(running) = table.all.get_mut(&self.0) else { return };
        running.shares -= 1;
        if running.shares > 0 {
            return;
        }
        if let Some(last) = table.all.remove(&self.0) {
            last.service.handle().shut_down(Duration::ZERO);
            // Fails only where the server has ended by itself.
            let _ = last.stop.send(());
            let _ = last.server.join();
            if !last.service.join_all(HELPERS) {
                log::warn!("the service of this process has not ended whole");
            }
            last.lanes.join();
        }
    }
}

fn start(key: &Key) -> Result<Running> {
    let in_use = enter()?;
    let config = configuration(key)?;
    let failed =
        |e: std::io::Error| Error::new(Code::Internal, format!("the service of this process cannot start: {e}"));
    let lanes = LaneThreads::default();
    let factory = Box::new(ThreadLanes(lanes.clone()));
    let limits = ServerConfig {
        // All of them are this program's own.
        connections: 4096,
        connections_per_uid: 4096,
        body_bytes: usize::try_from(config.server.max_body.0).unwrap_or(usize::MAX),
        write_buffer: usize::try_from(config.server.write_buffer.0).unwrap_or(usize::MAX),
        keepalive: config.server.keepalive.0,
        shutdown_time: Duration::ZERO,
        ..ServerConfig::default()
    };
    let (incoming, entrance) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    // Its sender may go: the limits stay what they are.
    let (_, limits) = watch::channel(limits);
    without_signals(|| {
        let service = Service::start(config, factory).map_err(failed)?;
        let handle = service.handle();
        let serve = move || {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(e) = server::run_at(Entrance::Handed(entrance), handle, limits, stopped) {
                log::error!("the server of this process failed: {e}");
            }
        };
        match thread::Builder::new().name("wattlm".into()).spawn(serve) {
            Ok(server) => Ok(Running { shares: 0, service, incoming, stop, server, lanes, _in_use: in_use }),
            Err(e) => {
                service.handle().shut_down(Duration::ZERO);
                service.join();
                Err(failed(e))
            }
        }
    })
}

/// Threads inherit the mask of who starts them: a handler of the program's runs on the program's threads. What a thread
/// brings upon itself stays deliverable.
fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let mut blocked = SigSet::all();
    for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGTRAP] {
        blocked.remove(own);
    }
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = body();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    result
}

fn configuration(key: &Key) -> Result<Config> {
    let env = library().map_or_else(Env::current, Env::of_library);
    let (main, explicit) = match key.config.as_os_str().is_empty() {
        true => env.config(),
        false => (key.config.clone(), true),
    };
    let loaded = Config::load_with(&Sources { main, explicit, env }, |config| {
        if !key.model.as_os_str().is_empty() {
            only(config, &key.model);
        }
        // The daemon's own state is the daemon's: its purses are in its memory, and it alone writes what they hold. Of
        // several services that share this folder, one writes it at a time. Without a home nothing is kept.
        let state = &mut config.paths.state;
        *state = match state.as_os_str().is_empty() {
            true => "/nonexistent".into(),
            false => state.join("direct"),
        };
    });
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                log::warn!("{warning}");
            }
            Ok(loaded.config)
        }
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
            Err(Error::new(Code::InvalidRequest, format!("the configuration has errors: {}", all.join("; "))))
        }
    }
}

/// One file is all there is. What the configuration says of a model of its name holds for it.
fn only(config: &mut Config, file: &Path) {
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let name = Some(naming::split(stem).0).filter(|n| naming::valid(n)).unwrap_or("model");
    let mut model = config.model(name).cloned().unwrap_or_else(|| Model { name: name.to_owned(), ..Model::default() });
    model.files = vec![file.to_owned()];
    model.default_variant = None;
    config.model = vec![model];
    config.models.dirs.clear();
    config.models.default.clear();
    config.models.preload.clear();
}

/// The file that this code was loaded from: the library, or a program that it is linked into.
fn library() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is in this very object, and `info` is writable.
    let found = unsafe { libc::dladdr(library as *const () as *const libc::c_void, info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: filled in, and zero is valid for it anyway; the name is NULL or lives as long as the object is loaded.
    let name = unsafe {
        let info = info.assume_init();
        (!info.dli_fname.is_null()).then(|| CStr::from_ptr(info.dli_fname))
    }?;
    std::fs::canonicalize(std::ffi::OsStr::from_bytes(name.to_bytes())).ok()
}
