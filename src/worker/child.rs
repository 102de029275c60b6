//! What runs in a worker process: set-up, the thread that listens, the thread that beats, and the engine.
//!
//! Order matters. Before anything else: die with the daemon, drop what was inherited, no writing anywhere. Before the
//! model is read: no sockets, no programs, no other process (see [`super::sandbox`]). Once it is mapped: confine
//! further; only then is a request read. The process ends when the daemon closes the socket, whatever the engine is
//! doing.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{setrlimit, Resource};
use nix::sys::signal::Signal;
use parking_lot::{Condvar, Mutex};

use super::{ipc, sandbox, sys};
use crate::engine;
use crate::lane::{FromLane, ToLane};

/// Exit status for a worker that was not started by a daemon (`EX_USAGE` of sysexits).
const EX_USAGE: i32 = 64;

/// Runs a worker to its end. `args` are those after [`super::process::WORKER_ARG`]: the daemon's process id and the
/// value for `oom_score_adj`.
pub fn main(args: &[String]) -> ! {
    let parsed = match args {
        [parent, oom] => parent.parse::<i32>().ok().zip(oom.parse::<i32>().ok()),
        _ => None,
    };
    let Some((parent, oom)) = parsed else {
        eprintln!("wattlmd: --worker is internal: the daemon starts its workers itself; run wattlmd without it");
        exit(EX_USAGE);
    };
    match set_up(parent, oom) {
        Ok(stream) => run(stream, parent),
        Err(e) => {
            eprintln!("wattlmd: worker cannot start: {e}");
            exit(1);
        }
    }
}

/// Ties this process to the daemon's life and takes away what neither workers nor those who look for GPUs may do.
pub(super) fn bind(parent: i32) -> std::io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The daemon may have died before the line above.
    if nix::unistd::getppid().as_raw() != parent {
        exit(0);
    }
    prctl::set_no_new_privs()?;
    // Before it aborts ggml would start a debugger on us. A service never forks one. There is no other thread yet.
    std::env::set_var("GGML_NO_BACKTRACE", "1");
    // A core dump would hold other people's prompts.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

fn set_up(parent: i32, oom_score_adj: i32) -> std::io::Result<UnixStream> {
    bind(parent)?;
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Proves that standard input is a socket.
    stream.peer_addr()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    if let Err(e) = sys::close_all_but(stream.as_raw_fd()) {
        log::debug!("close_range: {e}");
    }
    // Raising one's own score is always allowed; a kernel without the file has no such score.
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score_adj.to_string());
    Ok(stream)
}

/// The sending side: one lock, whole frames. Used by the engine, the beating thread and llama.cpp's log callback.
struct Out {
    stream: Mutex<(UnixStream, Vec<u8>)>,
    duties: Duties,
}

impl Out {
    fn send(&self, msg: &FromLane) {
        {
            let mut guard = self.stream.lock();
            let (stream, scratch) = &mut *guard;
            if ipc::send(&*stream, msg, ipc::MAX_FROM_WORKER, scratch).is_err() {
                // Without a daemon there is nobody to work for.
                sys::exit_now(0);
            }
        }
        match msg {
            FromLane::Ready(_) | FromLane::LoadFailed(_) => self.duties.remove(),
            FromLane::Done { .. } | FromLane::Exported { .. } | FromLane::Probed(_) => self.duties.remove(),
            _ => {}
        }
    }
}

/// What the daemon waits for: the load at first, then each request from its arrival to its end. Counted here and not
/// by the engine, because the watch begins when the daemon has sent a request, not when the engine gets to it.
struct Duties {
    open: Mutex<u64>,
    some: Condvar,
}

impl Duties {
    fn add(&self) {
        *self.open.lock() += 1;
        self.some.notify_one();
    }

    fn remove(&self) {
        let mut open = self.open.lock();
        *open = open.saturating_sub(1);
    }

    /// Sleeps, without a timer, while there are none.
    fn wait(&self) {
        let mut open = self.open.lock();
        while *open == 0 {
            self.some.wait(&mut open);
        }
    }
}

fn run(stream: UnixStream, parent: i32) -> ! {
    let out = match stream.try_clone() {
        Ok(s) => Arc::new(Out {
            stream: Mutex::new((s, Vec::new())),
            duties: Duties { open: Mutex::new(1), some: Condvar::new() },
        }),
        Err(e) => {
            eprintln!("wattlmd: worker cannot start: {e}");
            exit(1);
        }
    };
    out.send(&FromLane::Hello { version: crate::VERSION.to_owned() });

    let mut inbox = ipc::Inbox::new(stream, ipc::MAX_TO_WORKER);
    let config = match inbox.receive::<ToLane>() {
        Ok(Some(ToLane::Load(config))) => *config,
        _ => exit(0),
    };

    // Before the first thread, because Landlock confines the calling thread and those it will start; and before a byte of
    // the model is read.
    let no_writes = sandbox::forbid_writes(&config.device);
    // CUDA opens a socket of its own when it starts: there the rest comes when that is done.
    let late = sandbox::opens_sockets(&config.device);
    let no_contact = Arc::new(OnceLock::new());
    if config.sandbox && !late {
        no_contact.get_or_init(sandbox::forbid_contact);
    }
    let progress = Arc::new(AtomicU64::new(0));
    let period = Duration::from_millis(u64::from(config.heartbeat_ms.max(10)));
    let (tx, rx) = channel();
    let threads = (|| {
        let (beat_out, beat_progress) = (Arc::clone(&out), Arc::clone(&progress));
        let beat = move || beat(&beat_out, &beat_progress, period);
        thread::Builder::new().name("beat".into()).stack_size(64 << 10).spawn(beat)?;
        let listen_out = Arc::clone(&out);
        let listen = move || listen(inbox, &tx, &listen_out.duties);
        thread::Builder::new().name("listen".into()).stack_size(128 << 10).spawn(listen)
    })();
    if let Err(e) = threads {
        eprintln!("wattlmd: worker cannot start: {e}");
        sys::exit_now(1);
    }

    let confine = config.sandbox.then(|| config.device.clone());
    let (forbids, forbidden) = (config.sandbox, Arc::clone(&no_contact));
    let hooks = engine::Hooks {
        on_backends: Box::new(move || {
            if forbids {
                forbidden.get_or_init(sandbox::forbid_contact);
            }
        }),
        on_mapped: Box::new(move || match confine {
            Some(device) => {
                let no_contact = no_contact.get_or_init(sandbox::forbid_contact).clone();
                let reached = [no_writes, no_contact, sandbox::confine(parent, &device)];
                reached.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ")
            }
            None => format!("{no_writes}, the rest off by configuration"),
        }),
        progress,
    };
    let sink = Arc::clone(&out);
    engine::run(config, rx, Arc::new(move |msg| sink.send(&msg)), hooks);
    // Without running C++ destructors: llama.cpp's may crash on a device that is gone, and nothing is left to save.
    // Nor in the middle of another thread's frame.
    let _whole = out.stream.lock();
    sys::exit_now(0)
}

/// Reads requests and hands them to the engine, until the daemon closes the socket.
fn listen(mut inbox: ipc::Inbox<UnixStream>, tx: &Sender<ToLane>, duties: &Duties) {
    loop {
        match inbox.receive::<ToLane>() {
            Ok(Some(msg)) => {
                if matches!(msg, ToLane::Start(_) | ToLane::Prefill(_) | ToLane::Resume(..) | ToLane::Probe) {
                    duties.add();
                }
                if tx.send(msg).is_err() {
                    return;
                }
            }
            // The daemon is gone or no longer wants us; the engine may be deep in a prefill.
            Ok(None) => sys::exit_now(0),
            Err(e) => {
                eprintln!("wattlmd: worker: the daemon sent something unreadable: {e}");
                sys::exit_now(1);
            }
        }
    }
}

/// Says "alive" once a period while the daemon waits for something.
fn beat(out: &Out, progress: &AtomicU64, period: Duration) {
    loop {
        out.duties.wait();
        out.send(&FromLane::Beat { progress: progress.load(Ordering::Relaxed) });
        thread::sleep(period);
    }
}
