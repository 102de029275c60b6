//! ggml's backend modules: shared objects with the compute kernels, one per CPU variant.
//!
//! This file opens, scores and loads one module at a time; which one is `backends`' choice. Modules are found by
//! full path only. ggml's own search, which includes the working directory, is never started.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use llama_cpp_sys_2 as sys;

/// How well the module fits this CPU: 0 not at all, more is better. `Err` says why it could not be asked.
///
/// The module is closed again before this returns.
pub fn score(path: &Path) -> Result<i32, String> {
    // SAFETY: the caller names a module of the installation's own folder; its initialisers only fill tables.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
    // SAFETY: `ggml_backend_score` is declared `int (*)(void)` in ggml-backend-impl.h.
    let score = unsafe { library.get::<unsafe extern "C" fn() -> i32>(b"ggml_backend_score\0") }
        .map_err(|e| format!("it exports no ggml_backend_score: {e}"))?;
    // SAFETY: it only reads CPU features.
    Ok(unsafe { score() })
}

/// A loaded module.
#[derive(Debug, Clone, Copy)]
pub struct Backend(sys::ggml_backend_reg_t);

// SAFETY: ggml never unloads or changes a registered backend unless told to, which we do not.
unsafe impl Send for Backend {}

/// A device of a loaded module. It lives as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct BackendDevice(pub(super) sys::ggml_backend_dev_t);

/// What a backend says of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The backend's name for it, e.g. `Vulkan0`.
    pub name: String,
    /// The driver's name for it.
    pub description: String,
    /// Where it sits, where that is known.
    pub bus: Option<String>,
    /// It uses the machine's memory.
    pub integrated: bool,
    /// Bytes of memory.
    pub total: u64,
    /// Bytes free, where the driver knows; else all.
    pub free: u64,
}

impl Backend {
    /// Its GPUs, in its own order. Other devices (accelerators, the CPU) are left out.
    pub fn gpus(self) -> Vec<(BackendDevice, Facts)> {
        let text = |s: *const std::ffi::c_char| {
            // SAFETY: ggml's strings are NUL-terminated and live as long as the backend.
            (!s.is_null()).then(|| unsafe { CStr::from_ptr(s) }.to_string_lossy().trim().to_string())
        };
        // SAFETY: a registered backend.
        let count = unsafe { sys::ggml_backend_reg_dev_count(self.0) };
        let mut gpus = Vec::new();
        for i in 0..count {
            // SAFETY: an index below the count.
            let device = unsafe { sys::ggml_backend_reg_dev_get(self.0, i) };
            if device.is_null() {
                continue;
            }
            // SAFETY: plain data, for which zeros are valid; filled in by the call for a live device.
            let props = unsafe {
                let mut props: sys::ggml_backend_dev_props = std::mem::zeroed();
                sys::ggml_backend_dev_get_props(device, &mut props);
                props
            };
            let integrated = props.type_ == sys::GGML_BACKEND_DEVICE_TYPE_IGPU;
            if !integrated && props.type_ != sys::GGML_BACKEND_DEVICE_TYPE_GPU {
                continue;
            }
            gpus.push((
                BackendDevice(device),
                Facts {
                    name: text(props.name).unwrap_or_default(),
                    description: text(props.description).unwrap_or_default(),
                    bus: text(props.device_id).filter(|b| !b.is_empty()),
                    integrated,
                    total: props.memory_total as u64,
                    free: props.memory_free as u64,
                },
            ));
        }
        gpus
    }
}

/// Loads a module for the rest of the process' life and registers its devices.
pub fn load(path: &Path) -> Result<Backend, String> {
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path contains a NUL byte".to_string())?;
    // SAFETY: a NUL-terminated path; ggml reports failure by null.
    let reg = unsafe { sys::ggml_backend_load(c_path.as_ptr()) };
    if reg.is_null() {
        let why = super::process::take_errors();
        return Err(if why.is_empty() { "ggml refused it".into() } else { why.join("; ") });
    }
    Ok(Backend(reg))
}

/// The CPU backend, if one is registered.
pub(super) fn cpu() -> Option<sys::ggml_backend_reg_t> {
    // SAFETY: a NUL-terminated name.
    let reg = unsafe { sys::ggml_backend_reg_by_name(c"CPU".as_ptr()) };
    (!reg.is_null()).then_some(reg)
}

/// Whether a CPU backend is registered.
pub fn cpu_loaded() -> bool {
    cpu().is_some()
}

/// An entry point of the CPU backend that ggml exports by name only.
pub(super) fn cpu_proc(name: &CStr) -> Option<*mut std::ffi::c_void> {
    let reg = cpu()?;
    // SAFETY: `reg` is a registered backend, which lives as long as the process.
    let address = unsafe { sys::ggml_backend_reg_get_proc_address(reg, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// What the loaded CPU kernels use, e.g. `AVX2`, `AVX512_VNNI`, `REPACK`.
pub fn cpu_features() -> Vec<String> {
    let (Some(reg), Some(address)) = (cpu(), cpu_proc(c"ggml_backend_get_features")) else { return Vec::new() };
    type GetFeatures = unsafe extern "C" fn(sys::ggml_backend_reg_t) -> *mut sys::ggml_backend_feature;
    // SAFETY: ggml-backend.h declares this signature for this name.
    let get = unsafe { std::mem::transmute::<*mut std::ffi::c_void, GetFeatures>(address) };
    let mut names = Vec::new();
    // SAFETY: the function returns a static array that ends with a null name.
    unsafe {
        let mut feature = get(reg);
        while !feature.is_null() && !(*feature).name.is_null() {
            let value = if (*feature).value.is_null() { c"1" } else { CStr::from_ptr((*feature).value) };
            let name = CStr::from_ptr((*feature).name).to_string_lossy();
            match value.to_string_lossy().as_ref() {
                "0" => {}
                "1" => names.push(name.into_owned()),
                value => names.push(format!("{name}={value}")),
            }
            feature = feature.add(1);
        }
    }
    names
}
