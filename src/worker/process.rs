//! Starting, feeding and reaping a worker process.
//!
//! Each worker has two threads here: one reads what it says and reaps it, one writes, so that a stopped worker can
//! block neither the service nor the other workers. Deciding that a worker hangs or lies is the service's business: it
//! calls [`Lane::kill`].

use std::ffi::{OsStr, OsString};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread;

use nix::sys::wait::{waitid, Id, WaitPidFlag};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::{devices, ipc, sandbox, vet::vet};
use crate::lane::{EventFn, FromLane, Gone, Gpus, Lane, LaneConfig, LaneEvent, LaneFactory, LaneId, ToLane};

/// The argument that makes `wattlmd` a worker. Followed by the daemon's process id and the worker's `oom_score_adj`.
pub const WORKER_ARG: &str = "--worker";

/// What a worker keeps of the daemon's environment: where GPU drivers and their shader caches are, what switches a driver's
/// or a backend's faults off, and nothing that changes how programs are loaded.
const KEEP_ENV: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "GALLIVM_PERF",
    "LP_NATIVE_VECTOR_WIDTH",
    "LP_NUM_THREADS",
    "XDG_CACHE_HOME",
    "HOME",
    "LANG",
    "TZ",
];

/// And all that begins so: ggml's Vulkan backend knows two dozen switches.
const KEEP_ENV_OF: &str = "GGML_VK_";

/// Environment of a worker or of one who looks for GPUs.
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    let keep = |name: &OsStr| name.to_str().is_some_and(|n| KEEP_ENV.contains(&n) || n.starts_with(KEEP_ENV_OF));
    std::env::vars_os().filter(|(name, _)| keep(name)).collect()
}

/// Stacks of the two threads. They hold a few frames and no recursion.
const STACK: usize = 128 << 10;

/// Lanes as worker processes.
#[derive(Debug, Clone)]
pub struct ProcessLanes {
    /// The program to execute; `/proc/self/exe` in the daemon, which names the running file even after an upgrade
    /// replaced it on disk.
    pub exe: PathBuf,
    /// Written to the worker's `oom_score_adj`, 0 to 1000, so that the kernel ends it before the daemon.
    pub oom_score_adj: i32,
    /// Where GPU drivers keep what they compiled; made where it is missing. The only folder a worker may write to, and only
    /// while it loads on a GPU.
    pub shader_cache: PathBuf,
}

impl LaneFactory for ProcessLanes {
    fn gpus(&self) -> Box<dyn FnOnce(&Path) -> Gpus + Send> {
        let exe = self.exe.clone();
        Box::new(move |modules| devices::find(&exe, modules, devices::PATIENCE).unwrap_or_else(Gpus::none))
    }

    // Called on the service's thread, which lives as long as the daemon: a worker's death signal is tied to the
    // *thread* that started it.
    fn start(&self, id: LaneId, config: LaneConfig, events: EventFn) -> Box<dyn Lane> {
        match self.spawn(id, config, Arc::clone(&events)) {
            Ok(worker) => Box::new(worker),
            Err(e) => {
                let why = Gone::Spawn(format!("cannot start {}: {e}", self.exe.display()));
                events(id, LaneEvent::Gone { why, last_words: None });
                Box::new(NeverStarted)
            }
        }
    }
}

impl ProcessLanes {
    fn spawn(&self, id: LaneId, config: LaneConfig, events: EventFn) -> std::io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut env = environment();
        if config.device.is_gpu() {
            let folder = |name| std::env::var_os(name).unwrap_or_else(|| self.shader_cache.clone().into());
            env.extend(sandbox::SHADER_CACHES.iter().map(|name| (name.into(), folder(name))));
        }
        let child = Command::new(&self.exe)
            .arg0("wattlm-worker")
            .args([WORKER_ARG, &std::process::id().to_string(), &self.oom_score_adj.to_string()])
            .env_clear()
            .envs(env)
            .current_dir("/")
            // Ctrl-C in a terminal is meant for the daemon, which lets running requests end.
            .process_group(0)
            // The socket is the worker's standard input: no descriptor has to be inherited by number.
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let shared = Arc::new(Shared {
            pid: child.id(),
            stream: ours,
            child: Mutex::new(Some(child)),
            killed: Mutex::new(None),
            quitting: AtomicBool::new(false),
        });
        let (tx, rx) = channel();
        // Until both threads stand, an error leaves a process behind: end it here.
        let started = (|| {
            let (reader, writer) = (Arc::clone(&shared), Arc::clone(&shared));
            thread::Builder::new()
                .name(format!("lane{}-write", id.0))
                .stack_size(STACK)
                .spawn(move || write_loop(&writer.stream, &rx))?;
            thread::Builder::new()
                .name(format!("lane{}-read", id.0))
                .stack_size(STACK)
                .spawn(move || read_loop(id, &reader, &events))
        })();
        if let Err(e) = started {
            shared.signal();
            shared.reap();
            return Err(e);
        }
        // The receiver may be gone already if the worker died; `Gone` follows then.
        let _ = tx.send(ToLane::Load(Box::new(config)));
        Ok(Worker { shared, tx })
    }
}

/// What the handle and the two threads share.
struct Shared {
    pid: u32,
    stream: UnixStream,
    /// `None` once reaped: from then on the process id may belong to somebody else.
    child: Mutex<Option<Child>>,
    killed: Mutex<Option<Gone>>,
    quitting: AtomicBool,
}

impl Shared {
    fn signal(&self) {
        if let Some(child) = self.child.lock().as_mut() {
            // It may have ended by itself; it is not reaped, so the signal reaches nobody else.
            let _ = child.kill();
        }
        // Whatever it passed its end of the socket to must not keep our threads here. What was said before is read.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits for the end and reaps. The lock is free while it waits, so that `signal` still works.
    fn reap(&self) -> Option<std::process::ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?);
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        self.child.lock().take()?.wait().ok()
    }
}

struct Worker {
    shared: Arc<Shared>,
    tx: Sender<ToLane>,
}

impl Lane for Worker {
    fn send(&self, msg: ToLane) {
        if msg == ToLane::Quit {
            self.shared.quitting.store(true, Ordering::Release);
        }
        // Fails only when the writing thread ended because the worker is gone, which its owner will hear.
        let _ = self.tx.send(msg);
    }

    fn kill(&self, why: Gone) {
        self.shared.killed.lock().get_or_insert(why);
        self.shared.signal();
    }

    fn pid(&self) -> Option<u32> {
        Some(self.shared.pid)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.quitting.store(true, Ordering::Release);
        self.shared.signal();
    }
}

/// Stands for a worker that could not be started; its `Gone` was already told.
struct NeverStarted;

impl Lane for NeverStarted {
    fn send(&self, _: ToLane) {}
    fn kill(&self, _: Gone) {}
    fn pid(&self) -> Option<u32> {
        None
    }
}

fn write_loop(stream: &UnixStream, inbox: &Receiver<ToLane>) {
    let mut scratch = Vec::new();
    while let Ok(msg) = inbox.recv() {
        if let Err(e) = ipc::send(stream, &msg, ipc::MAX_TO_WORKER, &mut scratch) {
            // The reading thread sees the same end and tells it.
            log::debug!("worker no longer listens: {e}");
            break;
        }
        // A prompt can be large and a lane lives for days.
        scratch.shrink_to(64 << 10);
    }
    // No more messages: the worker sees the end of its input and exits.
    let _ = stream.shutdown(Shutdown::Write);
}

fn read_loop(id: LaneId, shared: &Shared, events: &EventFn) {
    let mut inbox = ipc::Inbox::new(&shared.stream, ipc::MAX_FROM_WORKER);
    let mut last_words = None;
    let mut clean = false;
    let mut broken = None;
    let mut first = true;
    loop {
        match inbox.receive::<FromLane>().map(|msg| msg.map(vet)) {
            Ok(Some(FromLane::Hello { version })) if first && version == crate::VERSION => {
                first = false;
                events(id, LaneEvent::Said(FromLane::Hello { version }));
            }
            Ok(Some(_)) if first => {
                broken = Some("its first message is not a greeting of this version".to_owned());
                break;
            }
            Ok(Some(FromLane::Fatal(words))) => last_words = Some(words),
            Ok(Some(msg)) => {
                clean |= matches!(msg, FromLane::LoadFailed(_));
                events(id, LaneEvent::Said(msg));
            }
            Ok(None) => break,
            // A worker that dies in the middle of a frame is a death, not a breach of the protocol.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                broken = Some(e.to_string());
                break;
            }
            Err(_) => break,
        }
    }
    // Whoever closes the socket is finished: this ends one that lingers and changes nothing for one that is dying.
    clean |= shared.quitting.load(Ordering::Acquire);
    if !clean || broken.is_some() {
        shared.signal();
    }
    let status = shared.reap();
    let why = match (broken, shared.killed.lock().take(), status) {
        (Some(text), ..) => Gone::Protocol(text),
        (_, Some(why), _) => why,
        _ if clean => Gone::Clean,
        (_, _, Some(s)) => s.signal().map_or_else(|| Gone::Exit(s.code().unwrap_or(-1)), Gone::Signal),
        (_, _, None) => Gone::Exit(-1),
    };
    events(id, LaneEvent::Gone { why, last_words });
}
