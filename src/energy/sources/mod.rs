//! The sensors of a device: what each is called, what it covers, and its latest value.
//!
//! One file for each kind. Nothing here integrates, unwraps or judges values (`counter`), and nothing decides which of
//! them is used (`choose`). Everything is found below one root, so that another tree can stand in for `/sys`; only
//! NVML and the Raspberry Pi's firmware belong to the machine and not to a tree.
//!
//! What always holds: a name means the same sensor after a restart (no number that the kernel hands out by chance is
//! part of it), and reading changes nothing.

mod battery;
mod file;
mod hwmon;
#[cfg(feature = "daemon")]
mod nvml;
mod pmic;
mod rapl;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Scope;
use crate::units::Microwatts;

pub use rapl::CLASS as POWERCAP;

/// What a sensor's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Energy since some point, in microjoules. It goes on from 0 after `range`; `None`: it is too wide to.
    Counter {
        /// The largest value it shows.
        range: Option<u64>,
    },
    /// Power in microwatts, to be integrated.
    Power,
}

/// A sensor's place in the device, which says what it may be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The supply of the board, or of the module that holds the processor: it contains everything else.
    Supply,
    /// The processor maker's guess at the whole platform (RAPL `psys`): it contains everything else.
    Platform,
    /// The battery: it contains everything else.
    Battery,
    /// A processor package.
    Processor,
    /// A graphics card or another accelerator with a supply of its own: disjoint from the processor.
    Graphics,
    /// One of the rails that together feed a module of which no sensor sees the supply.
    Module,
    /// Known to be a part of something else.
    Part,
    /// A rail of which nothing more is known.
    Rail,
}

impl Role {
    /// Whether a sensor in this place sees all that the others see.
    pub fn whole(self) -> bool {
        matches!(self, Role::Supply | Role::Platform | Role::Battery)
    }
}

/// What is known of a sensor before it is read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Such as `rapl:package-0`. No two sensors of a device have the same.
    pub name: String,
    /// What it is, for people.
    pub what: &'static str,
    /// How much of the device it sees.
    pub scope: Scope,
    /// Where it stands.
    pub role: Role,
    /// What its value is.
    pub kind: Kind,
    /// Names of sensors that see a part of what this one sees, or the same; they need not exist. Those that see the
    /// whole device by their role need not list what is in it.
    pub contains: Vec<String>,
    /// Time between two refreshes as its documentation has it, until it is measured.
    pub refresh: Duration,
    /// It shows the mean power since its last refresh, and not that of one moment.
    pub averages: bool,
    /// More than it can ever show: a value that implies more is garbage.
    pub limit: Microwatts,
    /// Its value never stays the same for long, whatever the device does.
    pub restless: bool,
    /// The file or device that is read.
    pub path: PathBuf,
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This process may not read it.
    Denied,
    /// It is not there, or the kernel says it does not work.
    Gone(String),
    /// What it shows is no number, or one that cannot be.
    Garbage(String),
    /// It went back by more than a wrap would explain.
    WentBack,
    /// It has shown the same for so long, although the device worked.
    Frozen(Duration),
    /// Nobody looked for so long that what happened meanwhile cannot be told.
    Unwatched,
    /// The device slept meanwhile.
    Slept,
    /// It has nothing to say now, and that is as it should be.
    Resting(&'static str),
}

impl Fault {
    /// An ordinary thing that needs no warning.
    pub fn harmless(&self) -> bool {
        matches!(self, Fault::Unwatched | Fault::Slept | Fault::Resting(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Denied => f.write_str("permission denied"),
            Fault::Gone(why) => write!(f, "cannot be read: {why}"),
            Fault::Garbage(what) => write!(f, "shows {what}"),
            Fault::WentBack => f.write_str("went back further than a wrap would"),
            Fault::Frozen(time) => write!(f, "has stood still for {:.0} s", time.as_secs_f64()),
            Fault::Unwatched => f.write_str("was not watched for too long"),
            Fault::Slept => f.write_str("the device slept"),
            Fault::Resting(why) => f.write_str(why),
        }
    }
}

/// A sensor.
pub trait Source: Send {
    /// What is known of it.
    fn spec(&self) -> &Spec;

    /// Its value now: microjoules of a counter, microwatts otherwise.
    ///
    /// # Errors
    /// Why there is none. A later call may succeed: nothing is given up.
    fn read(&mut self) -> Result<u64, Fault>;
}

/// Every sensor of the tree and, with `machine`, those of this machine that no tree shows; the same order every time.
pub fn discover(sysfs: &Path, machine: bool) -> Vec<Box<dyn Source>> {
    let mut all = rapl::discover(sysfs);
    all.extend(hwmon::discover(sysfs));
    if machine {
        all.extend(pmic::discover());
        #[cfg(feature = "daemon")]
        all.extend(nvml::discover());
    }
    all.extend(battery::discover(sysfs));
    all
}

/// Gives each of several equal names what tells them apart: the hardware's own address, or their order.
fn distinct(names: &mut [(String, String)]) {
    for round in 0..2 {
        let taken: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
        let count = |name: &str, upto: usize| taken[..upto].iter().filter(|t| *t == name).count();
        for (i, (name, address)) in names.iter_mut().enumerate() {
            let repeated = count(&taken[i], taken.len()) > 1;
            if repeated && round == 0 && !address.is_empty() {
                name.push_str(&format!("@{address}"));
            } else if repeated && round == 1 {
                name.push_str(&format!("#{}", count(&taken[i], i) + 1));
            }
        }
    }
}

/// The folders and links in a folder whose names pass, in the order of their names, numbers by value.
fn entries(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let Ok(read) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<(String, PathBuf)> = read
        .flatten()
        .filter_map(|e| Some((e.file_name().into_string().ok().filter(|n| wanted(n))?, e.path())))
        .collect();
    all.sort_by_cached_key(|(name, _)| (natural(name), name.clone()));
    all
}

/// A name cut into its words and numbers: `hwmon10` comes after `hwmon9`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        parts.push((word.to_owned(), tail[..end].parse().unwrap_or(u64::MAX)));
        rest = &tail[end..];
    }
    parts
}

/// A small file's only line; `None` where there is none.
fn line(path: &Path) -> Option<String> {
    let text = file::small(path).ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// The same as a number.
fn number(path: &Path) -> Option<u64> {
    line(path)?.parse().ok()
}

/// A name from the hardware as part of ours: '+' joins names, and blanks would need quoting.
fn word(text: &str) -> String {
    text.chars().map(|c| if c == '+' || c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of the repository.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysfs").join(name)
    }

    fn found(name: &str) -> Vec<(String, Scope, Role, u64)> {
        let tell = |mut s: Box<dyn Source>| {
            let value = s.read().unwrap_or_default();
            (s.spec().name.clone(), s.spec().scope, s.spec().role, value)
        };
        discover(&fixture(name), false).into_iter().map(tell).collect()
    }

    fn expect(name: &str, want: &[(&str, Scope, Role, u64)]) {
        let want: Vec<_> = want.iter().map(|(n, s, r, v)| ((*n).to_owned(), *s, *r, *v)).collect();
        assert_eq!(found(name), want);
    }

    #[test]
    fn a_laptop_has_rapl_with_a_twin_and_a_battery() {
        expect(
            "rapl-laptop",
            &[
                ("rapl:package-0", Scope::Package, Role::Processor, 102_334_175_781),
                ("rapl:package-0/core", Scope::Rail, Role::Part, 58_021_484_375),
                ("rapl:package-0/uncore", Scope::Rail, Role::Part, 4_112_060_546),
                ("rapl:package-0/dram", Scope::Rail, Role::Part, 20_991_027_832),
                ("rapl:psys", Scope::Board, Role::Platform, 214_551_086_425),
                ("rapl-mmio:package-0", Scope::Package, Role::Processor, 102_334_175_903),
                ("battery:BAT0", Scope::Board, Role::Battery, 8_423_000),
            ],
        );
    }

    #[test]
    fn a_jetson_has_the_modules_supply_and_two_of_its_rails() {
        expect(
            "jetson-orin-nano",
            &[
                ("ina3221:VDD_IN", Scope::Board, Role::Supply, 4_920_320),
                ("ina3221:VDD_CPU_GPU_CV", Scope::Rail, Role::Part, 792_320),
                ("ina3221:VDD_SOC", Scope::Rail, Role::Part, 1_428_480),
            ],
        );
    }

    #[test]
    fn a_raspberry_pi_5_has_no_sensor_in_its_tree() {
        expect("raspberry-pi-5", &[]);
    }

    #[test]
    fn an_amd_apu_has_rapl_and_a_gpu_sensor_that_sees_the_same_package() {
        expect(
            "amd-apu",
            &[
                ("rapl:package-0", Scope::Package, Role::Processor, 33_877_197_265),
                ("rapl:package-0/core", Scope::Rail, Role::Part, 9_145_446_777),
                ("amdgpu:PPT", Scope::Package, Role::Processor, 6_178_000),
                ("battery:BAT0", Scope::Board, Role::Battery, 0),
            ],
        );
        let all = discover(&fixture("amd-apu"), false);
        let apu = all.iter().find(|s| s.spec().name == "amdgpu:PPT").unwrap();
        assert!(apu.spec().contains.contains(&"rapl:package-0".to_owned()));
    }

    #[test]
    fn an_empty_tree_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(discover(dir.path(), false).len(), 0);
        assert_eq!(discover(&dir.path().join("nothing"), false).len(), 0);
    }

    #[test]
    fn equal_names_are_told_apart() {
        let pair = |n: &str, a: &str| (n.to_owned(), a.to_owned());
        let mut names = [pair("a", "1-0040"), pair("b", "x"), pair("a", "1-0041"), pair("c", ""), pair("c", "")];
        distinct(&mut names);
        let names: Vec<&str> = names.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["a@1-0040", "b", "a@1-0041", "c#1", "c#2"]);
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["hwmon10", "hwmon9", "intel-rapl:0:1", "intel-rapl:0", "intel-rapl"];
        names.sort_by_cached_key(|n| natural(n));
        assert_eq!(names, ["hwmon9", "hwmon10", "intel-rapl", "intel-rapl:0", "intel-rapl:0:1"]);
    }
}
