//! Puts llama.cpp's shared libraries and backend modules where the programs find them.
//!
//! `llama-cpp-sys-2` leaves them in its own output folder. They are copied to `target/<profile>/wattlm-modules/`, and the
//! programs get a run path relative to themselves: `$ORIGIN/wattlm-modules` (the build tree), `$ORIGIN/../wattlm-modules` (test
//! binaries in `deps/`) and `$ORIGIN/../lib/wattlm` (an installation). The working directory is never searched.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Of the C library alone. A program linked with it asks the loader for this name.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwattlm.so.0");
    if env::var_os("CARGO_FEATURE_ENGINE").is_none() {
        return;
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/wattlm-modules:$ORIGIN/../wattlm-modules:$ORIGIN/../lib/wattlm");

    let backends = PathBuf::from(env::var_os("DEP_LLAMA_BACKENDS_DIR").expect("llama-cpp-sys-2 names its backends"));
    let sys_out = backends.parent().expect("the backends lie in an output folder");
    // OUT_DIR is target/<profile>/build/wattlm-<hash>/out.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let profile_dir = out.ancestors().nth(3).expect("OUT_DIR lies three levels below the profile's folder");
    let dest = profile_dir.join("wattlm-modules");
    println!("cargo:rerun-if-changed={}", dest.display());

    if let Err(e) = collect(&sys_out.join("lib"), &backends, &dest) {
        panic!("cannot copy llama.cpp's libraries to {}: {e}", dest.display());
    }
    for dir in [profile_dir, &profile_dir.join("deps"), &profile_dir.join("examples")] {
        remove_dangling_links(dir);
    }
}

/// Copies the libraries (under their sonames, links resolved) and the modules into a fresh folder. What is there already is
/// left alone: cargo takes a newer folder for a reason to build everything again.
fn collect(libs: &Path, backends: &Path, dest: &Path) -> io::Result<()> {
    let wanted = wanted(libs, backends)?;
    if is_there(&wanted, dest).unwrap_or(false) {
        return Ok(());
    }
    let fresh = dest.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh)?;
    for (name, path) in &wanted {
        fs::copy(path, fresh.join(name))?;
    }
    let _ = fs::remove_dir_all(dest);
    fs::rename(&fresh, dest)
}

/// The files to copy by their names there.
fn wanted(libs: &Path, backends: &Path) -> io::Result<BTreeMap<OsString, PathBuf>> {
    let mut wanted = BTreeMap::new();
    for entry in fs::read_dir(libs)? {
        let path = entry?.path();
        // libggml.so.0, not libggml.so (for linking) nor libggml.so.0.26.0 (the file behind the soname's link).
        let soname = path.file_name().and_then(|n| n.to_str()).filter(|n| {
            n.split_once(".so.").is_some_and(|(_, v)| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
        });
        if let Some(name) = soname {
            wanted.insert(name.into(), path);
        }
    }
    for entry in fs::read_dir(backends)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "so") {
            wanted.insert(path.file_name().expect("a listed file has a name").into(), path);
        }
    }
    Ok(wanted)
}

/// Whether `dest` holds these files, and no others.
fn is_there(wanted: &BTreeMap<OsString, PathBuf>, dest: &Path) -> io::Result<bool> {
    if fs::read_dir(dest)?.count() != wanted.len() {
        return Ok(false);
    }
    for (name, path) in wanted {
        let copy = dest.join(name);
        if fs::metadata(&copy)?.len() != fs::metadata(path)?.len() || fs::read(&copy)? != fs::read(path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `llama-cpp-sys-2` links `lib*.so` into these folders without the files they point to, and panics the next time its build
/// script runs (another set of GPU backends, say) because they are there. Nothing uses them.
fn remove_dangling_links(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_symlink() && !path.exists() {
            let _ = fs::remove_file(path);
        }
    }
}
