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
    fn without_sysfs_the_allowed_threads_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cores(dir.path()), None);
        assert!(usable_cores(dir.path()) >= 1);
    }
}
