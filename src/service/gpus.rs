//! The GPUs of this machine, as the service knows them.
//!
//! They are looked for on a thread of its own, by whoever starts the lanes; the answer is kept until the configuration is
//! read again or a driver has changed, which the files of drivers show. No GPU is touched to see that.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::core::Core;
use super::Msg;
use crate::lane::Gpus;

/// Where Vulkan's loader looks for drivers, as a rule; the kernel's device nodes of GPUs.
const DRIVER_DIRS: &[&str] = &[
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/etc/OpenCL/vendors",
    "/dev/dri",
];

/// Files whose text changes with the loaded driver.
const DRIVER_FILES: &[&str] = &["/proc/driver/nvidia/version", "/sys/module/nvidia/version"];

/// What is known of GPUs.
#[derive(Debug, Default)]
pub(super) struct GpuWatch {
    /// The last answer. `None`: there is none yet.
    pub gpus: Option<Gpus>,
    /// Of the drivers, when they were last asked.
    asked: Option<u64>,
    /// A search runs.
    looking: bool,
}

impl Core {
    /// Looks for GPUs: always with `anew`, else where a driver has changed since.
    pub(super) fn look_for_gpus(&mut self, anew: bool) {
        let modules = self.catalog.config().paths.modules.clone();
        let drivers = drivers(&modules);
        if self.gpus.looking || (!anew && self.gpus.asked == Some(drivers)) {
            return;
        }
        let (tx, find) = (self.tx.clone(), self.factory.gpus());
        let look = move || {
            // Fails only after the service has ended.
            let _ = tx.send(Msg::Gpus(find(&modules)));
        };
        match std::thread::Builder::new().name("gpus".into()).spawn(look) {
            Ok(_) => (self.gpus.looking, self.gpus.asked) = (true, Some(drivers)),
            Err(e) => self.gpus.gpus = Some(Gpus::none(format!("no thread to look for one: {e}"))),
        }
    }

    pub(super) fn gpus_found(&mut self, gpus: Gpus) {
        self.gpus.looking = false;
        if self.gpus.gpus.as_ref() != Some(&gpus) {
            match gpus.why_none() {
                Some(why) => log::info!("no GPU: {why}"),
                None => gpus.notes.iter().for_each(|note| log::info!("GPUs: {note}")),
            }
            for gpu in &gpus.found {
                log::info!("{}: {} ({})", gpu.id.name, gpu.description, gpu.id.ggml);
            }
        }
        self.gpus.gpus = Some(gpus);
    }
}

/// A number that changes when drivers or backend modules come, go or are replaced.
fn drivers(modules: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().filter_map(std::env::var_os);
    let named: Vec<PathBuf> = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).collect();
    let dirs = DRIVER_DIRS.iter().map(Path::new).chain([modules]);
    let mut files: Vec<PathBuf> =
        dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flat_map(|dir| dir.flatten().map(|e| e.path())).collect();
    files.sort();
    for path in named.iter().chain(&files) {
        path.hash(&mut hash);
        if let Ok(file) = std::fs::metadata(path) {
            file.len().hash(&mut hash);
            file.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).hash(&mut hash);
        }
    }
    for file in DRIVER_FILES {
        std::fs::read(file).ok().hash(&mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_comes_or_changes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let none = drivers(dir.path());
        assert_eq!(drivers(dir.path()), none);
        let module = dir.path().join("libggml-vulkan.so");
        std::fs::write(&module, "one").unwrap();
        let one = drivers(dir.path());
        assert_ne!(one, none);
        std::fs::write(&module, "other").unwrap();
        assert_ne!(drivers(dir.path()), one);
    }
}
