//! Which GPUs there are: asked in a process of its own, because a driver may crash or hang whoever asks.
//!
//! The process is this binary again, confined like a worker; it lists the devices as JSON on its standard output and
//! ends. Whatever becomes of it, [`find`] comes back within its patience, and [`REAP`], with a list or with a reason for
//! people.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use parking_lot::Mutex;

use super::process::environment;
use crate::lane::Gpus;

/// The argument that makes `wattlmd` list GPUs. Followed by the daemon's process id and the folder of modules.
pub const DEVICES_ARG: &str = "--devices";

/// A driver may take so long: seconds where it starts a firmware.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// From its kill to its end: milliseconds, unless a driver keeps it in the kernel, for ever perhaps.
const REAP: Duration = Duration::from_secs(2);

/// Those that did not end in that time. They are looked at again with each search, so that they do not stay in the table
/// of processes once they have ended.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// No honest list is longer.
const MOST_BYTES: usize = 64 << 10;

/// Asks for the GPUs for which `modules` has backends. `Err` says why nothing could be learnt.
///
/// Call it on a thread that lives until it returns: the process dies with the thread that started it.
pub fn find(exe: &Path, modules: &Path, patience: Duration) -> Result<Gpus, String> {
    if !crate::lane::GPU_MODULES.iter().any(|m| modules.join(format!("libggml-{m}.so")).exists()) {
        return Err("this installation has no GPU module".into());
    }
    sweep();
    let child = Command::new(exe)
        .arg0("wattlm-devices")
        .args([DEVICES_ARG, &std::process::id().to_string()])
        .arg(modules)
        .env_clear()
        .envs(environment())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.map_err(|e| format!("cannot start {} to look for GPUs: {e}", exe.display()))?;
    listen(child, patience)
}

/// Reads the list, and ends the process.
fn listen(mut child: Child, patience: Duration) -> Result<Gpus, String> {
    let mut list = Vec::new();
    let heard = match &mut child.stdout {
        Some(out) => read_until(out, &mut list, Instant::now() + patience),
        None => Err("it has no output".into()),
    };
    // It has ended or it shall: a driver that hangs in its exit handlers is none to wait for.
    let _ = child.kill();
    let status = reap(child, REAP);
    heard?;
    serde_json::from_slice(&list).map(vet).map_err(|e| match status.and_then(|status| status.signal()) {
        // Killed by us after it had closed its output.
        None | Some(libc::SIGKILL) => format!("the search for GPUs gave no list: {e}"),
        Some(signal) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or(String::new(), |s| format!(" ({s})"));
            format!("a GPU driver crashed the search for GPUs: signal {signal}{name}")
        }
    })
}

/// Waits for a process that shall end, so long and no longer: who looks for GPUs must come back whatever a driver does.
fn reap(mut child: Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                log::warn!(
                    "the kernel does not let go of the search for GPUs, process {}: going on without",
                    child.id()
                );
                LEFT.lock().push(child);
                return None;
            }
            // It is nobody's to wait for.
            Err(_) => return None,
        }
    }
}

/// Lets go of those that have ended since.
fn sweep() {
    LEFT.lock().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

fn read_until(out: &mut (impl Read + AsFd), list: &mut Vec<u8>, end: Instant) -> Result<(), String> {
    let mut chunk = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("a GPU driver did not answer in time and was given up".into());
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(format!("the search for GPUs cannot be heard: {e}")),
        }
        match out.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) if list.len() + n > MOST_BYTES => return Err("the search for GPUs says too much".into()),
            Ok(n) => list.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("the search for GPUs cannot be heard: {e}")),
        }
    }
}

/// A list with nothing in it that its reader would have to fear.
fn vet(mut gpus: Gpus) -> Gpus {
    let tidy = |s: &mut String| {
        *s = s.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect();
    };
    gpus.notes.iter_mut().for_each(tidy);
    for gpu in &mut gpus.found {
        [&mut gpu.id.name, &mut gpu.id.module, &mut gpu.id.ggml, &mut gpu.description].into_iter().for_each(tidy);
        gpu.bus.iter_mut().for_each(tidy);
    }
    gpus
}

/// Lists the GPUs and ends. `args` are those after [`DEVICES_ARG`].
#[cfg(feature = "engine")]
pub fn main(args: &[String]) -> std::process::ExitCode {
    use std::io::Write;
    use std::process::ExitCode;

    use crate::lane::{Device, GpuId};

    let parsed = match args {
        [parent, modules] => parent.parse::<i32>().ok().map(|parent| (parent, Path::new(modules))),
        _ => None,
    };
    let Some((parent, modules)) = parsed else {
        eprintln!("wattlmd: --devices is internal: wattlm status says which GPUs were found");
        return ExitCode::from(64);
    };
    if super::child::bind(parent).is_err() {
        return ExitCode::FAILURE;
    }
    // Any GPU: the nodes of all of them.
    let any = Device::Gpu(GpuId { name: String::new(), module: String::new(), ggml: String::new() });
    super::sandbox::forbid_writes(&any);
    // CUDA is one of those that may be asked, and begins with a socket. No model is read here.
    if !modules.join("libggml-cuda.so").exists() {
        super::sandbox::forbid_contact();
    }
    let gpus = crate::engine::find_gpus(modules);
    let told = serde_json::to_string(&gpus).map_err(std::io::Error::other).and_then(|text| {
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    match told {
        // Without the drivers' exit handlers.
        Ok(()) => super::sys::exit_now(0),
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that plays the search.
    fn find_with(script: &str, patience: Duration) -> Result<Gpus, String> {
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        listen(child, patience)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_list_is_read_and_made_harmless() {
        let json = r#"{"found": [{"name": "gpu0", "module": "vulkan", "ggml": "Vulkan0", "description": "a\u001b[2Jb",
            "bus": null, "unified": false, "memory_total": 2, "memory_free": 1}], "notes": ["cuda: none"]}"#;
        let gpus = find_with(&format!("printf '%s' '{}'", json.replace('\\', r"\\").replace(r"\\u", r"\u")), LONG);
        let gpus = gpus.unwrap();
        assert_eq!(gpus.found[0].description, "a [2Jb");
        assert_eq!((gpus.why_none(), gpus.notes.len()), (None, 1));
    }

    #[test]
    fn a_driver_that_crashes_hangs_or_raves_is_no_gpu() {
        let crash = find_with("kill -SEGV $$", LONG).unwrap_err();
        assert!(crash.contains("crashed") && crash.contains("SIGSEGV"), "{crash}");
        let begun = Instant::now();
        let hang = find_with("exec sleep 600", Duration::from_millis(200)).unwrap_err();
        assert!(hang.contains("in time") && begun.elapsed() < LONG, "{hang}");
        let rave = find_with("exec cat /dev/zero", LONG).unwrap_err();
        assert!(rave.contains("too much"), "{rave}");
        let nonsense = find_with("echo hello", LONG).unwrap_err();
        assert!(nonsense.contains("no list"), "{nonsense}");
    }

    #[test]
    fn a_process_that_does_not_end_is_left_and_reaped_when_it_has() {
        let child = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let (id, begun) = (child.id(), Instant::now());
        assert_eq!(reap(child, Duration::from_millis(20)), None);
        assert!(begun.elapsed() < LONG);
        let left = || {
            sweep();
            LEFT.lock().iter().any(|child| child.id() == id)
        };
        assert!(left());
        let pid = nix::unistd::Pid::from_raw(i32::try_from(id).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        while left() {
            assert!(begun.elapsed() < LONG);
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn without_modules_nothing_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let why = find(Path::new("/nonexistent"), dir.path(), LONG).unwrap_err();
        assert_eq!(why, "this installation has no GPU module");
        std::fs::write(dir.path().join("libggml-vulkan.so"), "").unwrap();
        assert!(find(Path::new("/nonexistent"), dir.path(), LONG).unwrap_err().contains("cannot start"));
    }
}
