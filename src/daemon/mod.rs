//! `wattlmd`, put together: configuration, service, socket, signals. No behaviour of its own beyond their order.
//!
//! Signals: `SIGTERM` and `SIGINT` stop it (running requests get a moment to end, a second signal ends it at once);
//! `SIGHUP` reads the configuration and the model folders again. A configuration with an error never replaces the
//! running one.

mod reload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::{oneshot, watch};

use crate::config::{Config, Loaded, Problem, Sources};
use crate::server;
use crate::service::Service;
use crate::worker::devices::DEVICES_ARG;
use crate::worker::process::{ProcessLanes, WORKER_ARG};

/// Exit status for a configuration that cannot be used (`EX_CONFIG` of sysexits), so that it is not taken for a crash.
const EX_CONFIG: u8 = 78;

/// Goes before `log.level`.
const LOG_VAR: &str = "WATTLM_LOG";

/// Running requests get this long after `SIGTERM`, less than the 90 seconds after which systemd kills.
const GRACE: Duration = Duration::from_secs(20);

/// The language-model service of this device.
///
/// Owns the quantized models and answers on a Unix socket in OpenAI's HTTP API. Needs no configuration: it serves the
/// GGUF files in its model folders and loads one when it is first asked for.
#[derive(Debug, Clone, Parser)]
#[command(name = "wattlmd", version, max_term_width = 100)]
pub struct Args {
    /// Configuration file; drop-ins are read from the folder of the same name ending in `.d`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of on `server.socket`; ignored where systemd passes a socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Look for models here instead of in `models.dirs`; may be given several times
    #[arg(long, value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Keep state here instead of in `paths.state`
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and exit
    #[arg(long)]
    check: bool,
}

impl Args {
    /// The configuration that these arguments ask for.
    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        // Workers run in `/`, so that they hold no file system: every path is absolute from here on.
        let absolute = |p: &PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
        Config::load_with(&Sources::new(self.config.clone()), |config| {
            if let Some(socket) = &self.socket {
                config.server.socket = absolute(socket);
            }
            if !self.models.is_empty() {
                config.models.dirs = self.models.iter().map(absolute).collect();
            }
            if let Some(state) = &self.state {
                config.paths.state = absolute(state);
            }
        })
    }
}

/// Runs the daemon, or the worker that it starts this program as. Returns when it was told to stop.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|a| a == WORKER_ARG) {
        let rest: Vec<String> = args[2..].iter().map(|a| a.to_string_lossy().into_owned()).collect();
        crate::worker::child::main(&rest);
    }
    if args.get(1).is_some_and(|a| a == DEVICES_ARG) {
        let rest: Vec<String> = args[2..].iter().map(|a| a.to_string_lossy().into_owned()).collect();
        return crate::worker::devices::main(&rest);
    }
    let args = Args::parse();
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return ExitCode::from(EX_CONFIG);
        }
    };
    if args.check {
        for warning in &loaded.warnings {
            eprintln!("{warning}");
        }
        println!("configuration ok");
        return ExitCode::SUCCESS;
    }
    init_log(&loaded.config);
    abort_on_panic();
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    match run(args, loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, status }) => {
            log::error!("{text}");
            ExitCode::from(status)
        }
    }
}

/// Why the daemon ends, and its exit status.
struct Failure {
    text: String,
    status: u8,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure { text, status: 1 }
    }
}

fn run(args: Args, config: Config) -> Result<(), Failure> {
    // Before any thread: a signal that came earlier would end the process, which is right; one that comes later must
    // not be lost.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| format!("cannot catch signals: {e}"))?;

    // The socket first: a second daemon must fail before it has touched anything.
    let passed = server::from_systemd().map_err(|e| format!("the socket from systemd cannot be used: {e}"))?;
    let socket = &config.server.socket;
    let (listener, unlink) = match passed {
        Some(listener) => (listener, None),
        None if socket.as_os_str().is_empty() => {
            let text =
                "no place for the socket: not root, and no XDG_RUNTIME_DIR; set it, write 'socket' in [server], \
                        or name a place with --socket";
            return Err(Failure { text: text.to_owned(), status: EX_CONFIG });
        }
        None => {
            let group = reload::socket_group(&config.server);
            let mode = config.server.mode.0;
            let (listener, unlink) = server::bind(socket, mode, group)
                .map_err(|e| format!("cannot listen on {}: {e}; name another place with --socket", socket.display()))?;
            (listener, Some(unlink))
        }
    };

    let lanes = ProcessLanes {
        exe: "/proc/self/exe".into(),
        oom_score_adj: config.worker.oom_score_adj,
        shader_cache: config.paths.state.join("shaders"),
    };
    let service = Service::start(config.clone(), Box::new(lanes)).map_err(|e| format!("cannot start: {e}"))?;
    let handle = service.handle();
    let (server_config, server_config_seen) = watch::channel(reload::server_config(&config));
    let (stop, stopped) = oneshot::channel();

    let address = listener.local_addr().ok().and_then(|a| a.as_pathname().map(PathBuf::from));
    let address = address.map_or_else(|| "a socket without a name".to_owned(), |path| path.display().to_string());
    log::info!("wattlmd {} serves on {address}", crate::VERSION);
    let on_signal = {
        let handle = handle.clone();
        let mut current = reload::Current::new(args, config, server_config, handle.clone());
        let mut stop = Some(stop);
        move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    notify(&[NotifyState::Reloading, monotonic()]);
                    current.reload();
                    notify(&[NotifyState::Ready]);
                } else if let Some(stop) = stop.take() {
                    notify(&[NotifyState::Stopping]);
                    log::info!("stopping: running requests get {} s to end", GRACE.as_secs());
                    handle.shut_down(GRACE);
                    let _ = stop.send(());
                } else {
                    // Whoever asks twice does not want to wait. Workers die with this process.
                    std::process::exit(1);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(256 << 10)
        .spawn(on_signal)
        .map_err(|e| format!("cannot start: {e}"))?;
    notify(&[NotifyState::Ready]);

    let served = server::run(listener, handle, server_config_seen, async {
        let _ = stopped.await;
    });
    drop(unlink);
    let clean = service.join();
    served.map_err(|e| format!("the server failed: {e}"))?;
    if clean {
        log::info!("stopped");
        Ok(())
    } else {
        Err("the service failed".to_owned().into())
    }
}

fn notify(states: &[NotifyState]) {
    if let Err(e) = sd_notify::notify(states) {
        log::warn!("cannot notify systemd: {e}");
    }
}

/// systemd matches a reload's end to its begin by this time.
fn monotonic() -> NotifyState<'static> {
    NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Custom(""))
}

/// `$WATTLM_LOG` (in the syntax of `RUST_LOG`) goes before the configured level.
fn init_log(config: &Config) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log::LevelFilter::Off).filter_module("wattlm", log::LevelFilter::Trace).format_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        // The journal has its own clock.
        builder.format_timestamp(None);
    }
    builder.parse_env(LOG_VAR).init();
    set_log_level(config);
}

/// The logger lets everything pass; this bounds it, so that a reload can change it either way.
fn set_log_level(config: &Config) {
    if std::env::var_os(LOG_VAR).is_none() {
        log::set_max_level(config.log.level);
    }
}

/// A thread that panics would leave the daemon half alive: everything ends, workers with it, and systemd starts anew.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}
