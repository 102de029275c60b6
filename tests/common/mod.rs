//! Shared by the integration tests: a real `wattlmd` on a private socket, with everything it writes in a temporary
//! folder, and stopped when the test ends.
#![allow(dead_code)]

pub mod bed;
#[cfg(all(feature = "daemon", feature = "engine"))]
pub mod gpu;
pub mod measure;
pub mod plant;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for anything in a test. Generous: it bounds a failure, it times nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The demo model's folder.
pub fn demo_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// A running daemon.
pub struct Daemon {
    pub dir: TempDir,
    pub socket: PathBuf,
    child: Child,
}

impl Daemon {
    /// With the demo model and no configuration.
    pub fn demo() -> Daemon {
        Daemon::with("", &[&demo_models()])
    }

    /// With this configuration and these model folders. Returns once it says that it is ready.
    pub fn with(config: &str, models: &[&Path]) -> Daemon {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Daemon::within(dir, config, models)
    }

    /// As [`Daemon::with`], in a folder that the test prepared.
    pub fn within(dir: TempDir, config: &str, models: &[&Path]) -> Daemon {
        let socket = dir.path().join("s");
        fs::write(dir.path().join("wattlm.toml"), config).expect("writes the configuration");
        let notify = dir.path().join("notify");
        // One that ran here before may have left its own.
        let _ = fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).expect("binds the notification socket");
        ready.set_read_timeout(Some(Duration::from_millis(100))).expect("sets a timeout");
        let log = fs::File::create(dir.path().join("log")).expect("creates the log");
        let child = Command::new(env!("CARGO_BIN_EXE_wattlmd"))
            .arg("--config")
            .arg(dir.path().join("wattlm.toml"))
            .arg("--socket")
            .arg(&socket)
            .arg("--state")
            .arg(dir.path().join("state"))
            .args(models.iter().flat_map(|m| ["--models".as_ref(), m.as_os_str()]))
            .env("NOTIFY_SOCKET", &notify)
            .env("WATTLM_LOG", "wattlm=debug")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts wattlmd");
        let mut daemon = Daemon { dir, socket, child };
        let mut buffer = [0; 1024];
        let end = Instant::now() + PATIENCE;
        while daemon.alive() && Instant::now() < end {
            match ready.recv(&mut buffer) {
                Ok(n) if buffer[..n].split(|b| *b == b'\n').any(|l| l == b"READY=1") => return daemon,
                _ => {}
            }
        }
        panic!("wattlmd did not get ready");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut f) = fs::File::open(self.dir.path().join("log")) {
            let _ = f.read_to_string(&mut text);
        }
        text
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signals the daemon");
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Stops it politely and returns its exit status.
    pub fn stop(mut self) -> std::process::ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(Instant::now() < end, "wattlmd does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its folder, to start another in. It is killed if it still runs.
    pub fn into_dir(mut self) -> TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same after a polite stop.
    pub fn into_dir_after_stop(mut self) -> TempDir {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.wait().success(), "it ends well; its log:\n{}", self.log());
        self.into_dir()
    }

    /// The processes it started that still live, but the one that looks for GPUs. Which a process is, it does not tell before
    /// it has executed its program, nor between its end and its burial: moments, unless somebody forgets it.
    pub fn workers(&self) -> Vec<i32> {
        let line = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let own = line(self.pid() as i32);
        let mut all = Vec::new();
        for _ in 0..20 {
            all = children(self.pid()).into_iter().map(|pid| (pid, line(pid))).collect();
            if all.iter().all(|(_, line)| !line.is_empty() && *line != own) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        all.into_iter().filter(|(_, line)| !line.starts_with(b"wattlm-devices")).map(|(pid, _)| pid).collect()
    }

    /// Signals them all.
    pub fn signal_workers(&self, signal: nix::sys::signal::Signal) {
        for pid in self.workers() {
            // It may be gone already.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    /// Descriptors it holds open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, |d| d.count())
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).map_or(0, |d| d.count())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the daemon's log ends with:");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// The living children of a process, over all of its threads.
pub fn children(pid: u32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|t| fs::read_to_string(t.path().join("children")).ok())
        .flat_map(|s| s.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Waits for a condition that no descriptor tells.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
