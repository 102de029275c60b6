//! How many threads a model gets where the configuration does not say.
//!
//! Decoding is bound by memory and gains nothing from a core's second hardware thread, so cores are counted, not
//! threads, and never more than this process may use (affinity, cgroup quota).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Cores that this process may use, at least 1. `sysfs` is `/sys` on a device.
pub(super) fn usable_cores(sysfs: &Path) -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    cores(sysfs).map_or(allowed, |cores| cores.min(allowed)).max(1)
}

/// What the processor is: its name as the kernel tells it, the board's where that is known, and the number of cores that
/// this process may use. Empty parts are left out.
pub(super) fn hardware(cpuinfo: &Path, sysfs: &Path) -> String {
    let text = fs::read_to_string(cpuinfo).unwrap_or_default();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let mut parts: Vec<String> = Vec::new();
    // x86 and RISC-V name the model; ARM's kernel knows implementer and part of each core, which may differ.
    for key in ["model name", "uarch", "CPU implementer", "CPU part"] {
        let mut found: Vec<String> = text.lines().filter(|line| line.starts_with(key)).filter_map(value).collect();
        found.dedup();
        found.truncate(4);
        parts.extend(found);
    }
    let board = fs::read_to_string(sysfs.join("firmware/devicetree/base/model")).unwrap_or_default();
    parts.push(board.trim_matches(['\0', '\n', ' ']).to_owned());
    parts.push(format!("{} cores", usable_cores(sysfs)));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// Physical cores of the machine, by the sets of sibling threads that the kernel lists. `None` where it lists none.
fn cores(sysfs: &Path) -> Option<u32> {
    let cpus = fs::read_dir(sysfs.join("devices/system/cpu")).ok()?;
    let siblings: BTreeSet<String> = cpus
        .flatten()
        .filter_map(|cpu| fs::read_to_string(cpu.path().join("topology/thread_siblings_list")).ok())
        .map(|list| list.trim().to_owned())
        .collect();
    u32::try_from(siblings.len()).ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_count_once() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            let topology = dir.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("thread_siblings_list"), format!("{siblings}\n")).unwrap();
        }
        fs::create_dir_all(dir.path().join("devices/system/cpu/cpufreq")).unwrap();
        assert_eq!(cores(dir.path()), Some(2));
        assert!((1..=2).contains(&usable_cores(dir.path())));
    }

    #[test]
    fn a_processor_is_told_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("cpuinfo");
        fs::write(
            &info,
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n",
        )
        .unwrap();
        let text = hardware(&info, dir.path());
        assert!(text.starts_with("Some CPU @ 2 GHz, ") && text.ends_with(" cores"), "{text}");
        fs::write(&info, "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n").unwrap();
        let base = dir.path().join("firmware/devicetree/base");
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("model"), "Raspberry Pi 5 Model B Rev 1.0\0").unwrap();
        let text = hardware(&info, dir.path());
        assert!(text.starts_with("0x41, 0xd0b, Raspberry Pi 5 Model B Rev 1.0, "), "{text}");
        assert!(hardware(Path::new("/nonexistent"), Path::new("/nonexistent")).ends_with("cores"));
    }

    #[test]
    fn without_sysfs_the_allowed_threads_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cores(dir.path()), None);
        assert!(usable_cores(dir.path()) >= 1);
    }
}
