//! Which GPUs there are: asked in a process of its own, because a driver may crash or hang whoever asks.
//!
//! The process is this binary again, confined like a worker; it lists the devices as JSON on its standard output and
//! ends. Whatever becomes of it, [`find`] comes back within its patience with a list or with a reason for people.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::process::environment;
use crate::lane::Gpus;

/// The argument that makes `wattlmd` list GPUs. Followed by the daemon's process id and the folder of modules.
pub const DEVICES_ARG: &str = "--devices";

/// A driver may take so long: seconds where it starts a firmware.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// No honest list is longer.
const MOST_BYTES: usize = 64 << 10;

/// Asks for the GPUs for which `modules` has backends. `Err` says why nothing could be learnt.
///
/// Call it on a thread that lives until it returns: the process dies with the thread that started it.
pub fn find(exe: &Path, modules: &Path, patience: Duration) -> Result<Gpus, String> {
    if !crate::lane::GPU_MODULES.iter().any(|m| modules.join(format!("libggml-{m}.so")).exists()) {
        return Err("this installation has no GPU module".into());
    }
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
    let status = child.wait().map_err(|e| format!("the search for GPUs cannot be ended: {e}"))?;
    heard?;
    serde_json::from_slice(&list).map(vet).map_err(|e| match status.signal() {
        // Killed by us after it had closed its output.
        None | Some(libc::SIGKILL) => format!("the search for GPUs gave no list: {e}"),
        Some(signal) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or(String::new(), |s| format!(" ({s})"));
            format!("a GPU driver crashed the search for GPUs: signal {signal}{name}")
        }
    })
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
    super::sandbox::forbid_contact();
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

    /// A folder with a file that looks like a GPU module, and a program that plays the search.
    fn find_with(script: &str, patience: Duration) -> Result<Gpus, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libggml-vulkan.so"), "").unwrap();
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
    fn without_modules_nothing_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let why = find(Path::new("/nonexistent"), dir.path(), LONG).unwrap_err();
        assert_eq!(why, "this installation has no GPU module");
        std::fs::write(dir.path().join("libggml-vulkan.so"), "").unwrap();
        assert!(find(Path::new("/nonexistent"), dir.path(), LONG).unwrap_err().contains("cannot start"));
    }
}
