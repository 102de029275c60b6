//! Chooses the kernels: the best CPU module for this CPU among those in one folder, and the module of a GPU.
//!
//! ggml ships its CPU kernels as one module per family of CPUs. Each can say how well it fits; the best that is not
//! excluded is loaded, for the rest of the process' life. Only the folder that the configuration names is looked
//! at. A GPU's module is loaded from the same folder, beside the CPU's, which computes what a GPU does not; a CPU lane
//! loads none, so that no driver is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::llama::modules::{self, Backend, BackendDevice};
use super::llama::process;
use crate::error::{Code, Error, Result};
use crate::lane::{GpuId, GpuInfo, Gpus, GPU_MODULES};

/// The CPU kernels in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// The variant, e.g. `zen4`; `default` where only one was built.
    pub variant: String,
    /// What the kernels use, e.g. `AVX2`.
    pub features: Vec<String>,
}

impl Cpu {
    /// `zen4 (AVX2, AVX512)`.
    pub fn describe(&self) -> String {
        match self.features.as_slice() {
            [] => self.variant.clone(),
            features => format!("{} ({})", self.variant, features.join(", ")),
        }
    }
}

/// The name of a build's only variant, in `libggml-cpu.so`.
const DEFAULT: &str = "default";

/// The variant that this process has loaded. A module cannot be exchanged while models use it.
static LOADED: Mutex<Option<String>> = Mutex::new(None);

/// Loads the best CPU module of `dir` that is not in `excluded`.
pub fn load_cpu(dir: &Path, excluded: &[String]) -> Result<Cpu> {
    let mut loaded = LOADED.lock();
    if let Some(variant) = loaded.as_ref().filter(|_| modules::cpu_loaded()) {
        if excluded.contains(variant) {
            return Err(Error::new(
                Code::ModelLoadFailed,
                format!("this process already runs the excluded CPU variant {variant}; restart it"),
            ));
        }
        return Ok(Cpu { variant: variant.clone(), features: modules::cpu_features() });
    }
    let found = list(dir).map_err(|e| {
        Error::new(
            Code::ModelLoadFailed,
            format!("cannot read the folder of backend modules {}: {e}; check the installation", dir.display()),
        )
    })?;
    let mut notes = Vec::new();
    for (variant, path) in rank(found, excluded, modules::score, &mut notes) {
        match modules::load(&path) {
            Ok(_) => {
                *loaded = Some(variant.clone());
                return Ok(Cpu { variant, features: modules::cpu_features() });
            }
            Err(why) => notes.push(format!("{variant}: {why}")),
        }
    }
    let mut message = format!(
        "no usable CPU module (libggml-cpu-*.so) in {}: install the modules of this wattlm there",
        dir.display()
    );
    if !notes.is_empty() {
        message.push_str(&format!(" ({})", notes.join("; ")));
    }
    Err(Error::new(Code::ModelLoadFailed, message))
}

/// Variants and files in the folder, in the order of their names.
fn list(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(variant) = variant_of(name) {
            found.push((variant.to_string(), path));
        }
    }
    found.sort();
    Ok(found)
}

fn variant_of(file: &str) -> Option<&str> {
    match file.strip_prefix("libggml-cpu")?.strip_suffix(".so")? {
        "" => Some(DEFAULT),
        rest => rest.strip_prefix('-').filter(|v| !v.is_empty()),
    }
}

/// What may be loaded, best first. A build with a single module need not be able to score itself: it comes last.
fn rank(
    found: Vec<(String, PathBuf)>,
    excluded: &[String],
    score: impl Fn(&Path) -> Result<i32, String>,
    notes: &mut Vec<String>,
) -> Vec<(String, PathBuf)> {
    let mut scored = Vec::new();
    for (variant, path) in found {
        if excluded.contains(&variant) {
            notes.push(format!("{variant}: excluded, it failed here before"));
            continue;
        }
        match score(&path) {
            Ok(0) => notes.push(format!("{variant}: this CPU lacks what it needs")),
            Ok(score) => scored.push((score, variant, path)),
            Err(_) if variant == DEFAULT => scored.push((i32::MIN, variant, path)),
            Err(why) => notes.push(format!("{variant}: {why}")),
        }
    }
    scored.sort_by_key(|(score, ..)| std::cmp::Reverse(*score));
    scored.into_iter().map(|(_, variant, path)| (variant, path)).collect()
}

/// The GPU modules that this process has loaded.
static GPU_LOADED: Mutex<BTreeMap<String, Backend>> = Mutex::new(BTreeMap::new());

fn load_gpu_module(dir: &Path, module: &str) -> std::result::Result<Backend, String> {
    let mut loaded = GPU_LOADED.lock();
    if let Some(backend) = loaded.get(module) {
        return Ok(*backend);
    }
    let backend = modules::load(&dir.join(format!("libggml-{module}.so"))).map_err(|why| {
        // A module whose library or driver is not there says so by giving nothing.
        match why.contains("ggml_backend_init returned NULL") {
            true => "no driver answers".to_string(),
            false => why,
        }
    })?;
    loaded.insert(module.to_string(), backend);
    Ok(backend)
}

/// Loads the module of this GPU and finds it there.
pub fn load_gpu(dir: &Path, gpu: &GpuId) -> Result<(BackendDevice, modules::Facts)> {
    let failed = |why: String| Error::new(Code::ModelLoadFailed, format!("{} cannot be used: {why}", gpu.name));
    // It becomes part of a file's name.
    if !GPU_MODULES.contains(&gpu.module.as_str()) {
        return Err(failed(format!("there is no backend '{}'", gpu.module)));
    }
    let backend = load_gpu_module(dir, &gpu.module).map_err(failed)?;
    let found = backend.gpus().into_iter().find(|(_, facts)| facts.name == gpu.ggml);
    found.ok_or_else(|| failed(format!("the driver no longer offers {}", gpu.ggml)))
}

/// All GPUs for which `dir` has a module, and why the others have none. A driver may take the process down: call it in
/// one that nobody misses.
pub fn find_gpus(dir: &Path) -> Gpus {
    let mut gpus = Gpus::default();
    let mut modules = 0;
    for module in GPU_MODULES.iter().filter(|m| dir.join(format!("libggml-{m}.so")).exists()) {
        modules += 1;
        process::take_errors();
        match load_gpu_module(dir, module).map(Backend::gpus) {
            // What the backend says of that goes to its log.
            Ok(found) if found.is_empty() => {
                let why = process::take_errors().first().map_or(String::new(), |why| format!(" ({why})"));
                gpus.notes.push(format!("{module}: no driver offers a GPU{why}"));
            }
            Ok(found) => {
                for (_, facts) in found {
                    gpus.add(GpuInfo {
                        id: GpuId { name: String::new(), module: (*module).to_string(), ggml: facts.name },
                        // Mesa's device on the processor calls itself a GPU of its own when asked for by number.
                        unified: facts.integrated || facts.description.starts_with("llvmpipe"),
                        description: facts.description,
                        bus: facts.bus,
                        memory_total: facts.total,
                        memory_free: facts.free,
                    });
                }
            }
            Err(why) => gpus.notes.push(format!("{module}: {why}")),
        }
    }
    if modules == 0 {
        gpus.notes.push("this installation has no GPU module".into());
    }
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_gpu_modules_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let none = find_gpus(dir.path());
        assert_eq!(none.why_none().as_deref(), Some("this installation has no GPU module"));
        std::fs::write(dir.path().join("libggml-vulkan.so"), "no library").unwrap();
        let broken = find_gpus(dir.path());
        assert!(broken.found.is_empty() && broken.notes[0].starts_with("vulkan: "), "{broken:?}");
        let gpu = |module: &str| GpuId { name: "gpu0".into(), module: module.into(), ggml: "Vulkan0".into() };
        let e = load_gpu(dir.path(), &gpu("../evil")).unwrap_err();
        assert!(e.message.contains("no backend"), "{e}");
        assert!(load_gpu(dir.path(), &gpu("vulkan")).is_err());
    }

    fn files(variants: &[&str]) -> Vec<(String, PathBuf)> {
        variants.iter().map(|v| (v.to_string(), PathBuf::from(v))).collect()
    }

    fn names(ranked: Vec<(String, PathBuf)>) -> Vec<String> {
        ranked.into_iter().map(|(v, _)| v).collect()
    }

    fn score(path: &Path) -> Result<i32, String> {
        match path.to_str() {
            Some("haswell") => Ok(64),
            Some("zen4") => Ok(1024),
            Some("x64") => Ok(1),
            Some("sapphirerapids") => Ok(0),
            _ => Err("no symbol".into()),
        }
    }

    #[test]
    fn best_first_and_what_does_not_fit_is_left_out() {
        let mut notes = Vec::new();
        let ranked = rank(files(&["haswell", "sapphirerapids", "x64", "zen4", "broken"]), &[], score, &mut notes);
        assert_eq!(names(ranked), ["zen4", "haswell", "x64"]);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn an_excluded_variant_is_never_opened() {
        let ranked = rank(
            files(&["zen4", "x64"]),
            &["zen4".to_string()],
            |p| {
                assert_ne!(p, Path::new("zen4"));
                score(p)
            },
            &mut Vec::new(),
        );
        assert_eq!(names(ranked), ["x64"]);
    }

    #[test]
    fn a_single_module_needs_no_score_and_comes_last() {
        assert_eq!(names(rank(files(&[DEFAULT, "x64"]), &[], score, &mut Vec::new())), ["x64", DEFAULT]);
    }

    #[test]
    fn file_names() {
        assert_eq!(variant_of("libggml-cpu-armv8.2_2.so"), Some("armv8.2_2"));
        assert_eq!(variant_of("libggml-cpu.so"), Some(DEFAULT));
        for other in ["libggml-base.so.0", "libggml-vulkan.so", "libggml-cpu-.so", "libggml-cpu-x64.so.bak"] {
            assert_eq!(variant_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_empty_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        if modules::cpu_loaded() {
            return;
        }
        let e = load_cpu(dir.path(), &[]).unwrap_err();
        assert_eq!(e.code, Code::ModelLoadFailed);
        assert!(e.message.contains(&dir.path().display().to_string()), "{e}");
        let e = load_cpu(&dir.path().join("none"), &[]).unwrap_err();
        assert!(e.message.contains("cannot read"), "{e}");
    }
}
