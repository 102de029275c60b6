//! How much memory could be had now: the kernel's estimate, and what the control groups around this process leave.
//!
//! Reads `/proc` and `/sys/fs/cgroup` below a root that tests put elsewhere. Page cache counts as available, because
//! it is given up on demand; that includes the mapped weights of models that are in use, which the caller knows and
//! must subtract.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Memory that could be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// What sets this bound, for people: `the system's available memory`, or which control group.
    pub source: String,
}

/// Bytes of a file of `/proc` or a control group that are read: `memory.stat` has about 2,000.
const MAX_FILE: u64 = 64 << 10;

/// The least of what the kernel and every enclosing control group leave. `root` is `/` but in tests.
///
/// Fails where `/proc/meminfo` cannot be read. A control group whose files cannot be read is passed over: inside
/// containers the outer ones are often hidden.
pub fn available(root: &Path) -> io::Result<Available> {
    let meminfo = read(&root.join("proc/meminfo"))?;
    let field = |name: &str| meminfo.lines().find_map(|l| kib(l.strip_prefix(name)?.strip_prefix(':')?));
    // Kernels before 3.14 have no MemAvailable.
    let bytes = field("MemAvailable").or_else(|| Some(field("MemFree")?.saturating_add(field("Cached")?)));
    let Some(bytes) = bytes else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemAvailable"));
    };
    let mut least = Available { bytes, source: "the system's available memory".to_owned() };
    for line in read(&root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        // "0::/path" for version 2, "7:memory:/path" for version 1.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let version = match controllers {
            "" => &V2,
            c if c.split(',').any(|c| c == "memory") => &V1,
            _ => continue,
        };
        let mount = root.join(version.mount);
        for group in ancestors(path) {
            if let Some(bytes) = version.left(&mount.join(group)).filter(|&b| b < least.bytes) {
                let source = format!("the memory limit of the control group /{}", group.display());
                least = Available { bytes, source };
            }
        }
    }
    Ok(least)
}

/// Where a version of control groups keeps its figures.
struct Version {
    mount: &'static str,
    limits: &'static [&'static str],
    usage: &'static str,
    /// Page cache in `memory.stat`, children included.
    cache: [&'static str; 2],
}

const V2: Version = Version {
    mount: "sys/fs/cgroup",
    // Above `high` a group is throttled until it hardly runs: as good as a limit.
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    cache: ["inactive_file", "active_file"],
};

const V1: Version = Version {
    mount: "sys/fs/cgroup/memory",
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};

impl Version {
    /// What this group leaves; `None` where it has no limit.
    fn left(&self, dir: &Path) -> Option<u64> {
        // "max" is no number, and no limit.
        let number = |name: &str| read(&dir.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = self.limits.iter().filter_map(|l| number(l)).min()?;
        let stat = read(&dir.join("memory.stat")).unwrap_or_default();
        let cache: u64 = stat
            .lines()
            .filter_map(|l| l.split_once(' '))
            .filter(|(name, _)| self.cache.contains(name))
            .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
            .fold(0, u64::saturating_add);
        let used = number(self.usage)?.saturating_sub(cache);
        Some(limit.saturating_sub(used))
    }
}

/// The group and those around it, relative to the mount, innermost first. Empty for a path that leaves the mount.
fn ancestors(path: &str) -> impl Iterator<Item = &Path> {
    let path = Path::new(path.trim_start_matches('/'));
    let inside = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    let path = if inside { path } else { Path::new("") };
    path.ancestors()
}

/// `  123 kB` in bytes.
fn kib(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn read(path: &PathBuf) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(cgroup: &str) -> Tree {
            let t = Tree(tempfile::tempdir().unwrap());
            t.put(
                "proc/meminfo",
                "MemTotal:  9999999 kB\nMemFree: 102400 kB\nMemAvailable:  1048576 kB\nCached: 1024 kB\n",
            );
            t.put("proc/self/cgroup", cgroup);
            t
        }
        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fn mib(&self) -> (u64, String) {
            let a = available(self.0.path()).unwrap();
            (a.bytes / MIB, a.source)
        }
    }

    #[test]
    fn without_limits_it_is_the_kernels_estimate() {
        assert_eq!(Tree::new("").mib(), (1024, "the system's available memory".into()));
        let t = Tree::new("0::/\n");
        t.put("sys/fs/cgroup/memory.stat", "");
        assert_eq!(t.mib().0, 1024);
        t.put("proc/meminfo", "MemFree: 102400 kB\nCached: 1024 kB\n");
        assert_eq!(t.mib().0, 101);
        t.put("proc/meminfo", "nothing\n");
        assert!(available(t.0.path()).is_err());
        assert!(available(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_tightest_enclosing_group_counts() {
        let t = Tree::new("0::/system.slice/wattlm.service\n");
        let leaf = "sys/fs/cgroup/system.slice/wattlm.service";
        t.put(&format!("{leaf}/memory.max"), "max\n");
        t.put(&format!("{leaf}/memory.high"), "max\n");
        t.put(&format!("{leaf}/memory.current"), "1\n");
        assert_eq!(t.mib().0, 1024);

        t.put(&format!("{leaf}/memory.max"), &(512 * MIB).to_string());
        t.put(&format!("{leaf}/memory.current"), &(300 * MIB).to_string());
        t.put(
            &format!("{leaf}/memory.stat"),
            &format!("anon {}\nfile {}\ninactive_file {}\nactive_file {}\n", 90 * MIB, 210 * MIB, 150 * MIB, 50 * MIB),
        );
        let (mib, source) = t.mib();
        assert_eq!(mib, 512 - (300 - 200));
        assert!(source.ends_with("/system.slice/wattlm.service"), "{source}");

        t.put(&format!("{leaf}/memory.high"), &(256 * MIB).to_string());
        assert_eq!(t.mib().0, 256 - 100, "above memory.high it would crawl");

        let slice = "sys/fs/cgroup/system.slice";
        t.put(&format!("{slice}/memory.max"), &(128 * MIB).to_string());
        t.put(&format!("{slice}/memory.current"), &(200 * MIB).to_string());
        let (mib, source) = t.mib();
        assert_eq!(mib, 0, "already over its limit");
        assert!(source.ends_with("/system.slice"), "{source}");
    }

    #[test]
    fn version_one_and_hidden_groups() {
        let t = Tree::new("12:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/x\n");
        let dir = "sys/fs/cgroup/memory/docker/abc";
        t.put(&format!("{dir}/memory.limit_in_bytes"), &(400 * MIB).to_string());
        t.put(&format!("{dir}/memory.usage_in_bytes"), &(300 * MIB).to_string());
        t.put(&format!("{dir}/memory.stat"), &format!("active_file 1\ntotal_inactive_file {}\n", 100 * MIB));
        assert_eq!(t.mib().0, 200);
        // No limit, as version 1 writes it.
        t.put(&format!("{dir}/memory.limit_in_bytes"), "9223372036854771712\n");
        assert_eq!(t.mib().0, 1024);
        // Inside a container: the path is not visible, the mount's own group is.
        let t = Tree::new("0::/../outside\n");
        t.put("sys/fs/cgroup/memory.max", &(64 * MIB).to_string());
        t.put("sys/fs/cgroup/memory.current", "0");
        assert_eq!(t.mib().0, 64);
        let t = Tree::new("garbage\n0\n:::::\n");
        assert_eq!(t.mib().0, 1024);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available(Path::new("/")).unwrap().bytes > MIB);
    }
}
