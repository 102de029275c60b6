//! RAPL and its like: zones of the kernel's powercap class that count energy.
//!
//! Intel's and AMD's processors both appear as `intel-rapl:N`, each package a zone and its parts zones below it
//! (`intel-rapl:N:M`). The same package may appear once more as `intel-rapl-mmio:N`, and the platform as a zone named
//! `psys` of its own. A counter shows what the processor's own register counts, so it wraps: `max_energy_range_uj` says
//! where. See Documentation/power/powercap/powercap.rst of the kernel, and Intel's manual, volume 3, 15.10.

use std::path::Path;
use std::time::Duration;

use super::file::SysFile;
use super::{distinct, entries, line, number, word, Fault, Kind, Role, Source, Spec};
use crate::energy::Scope;
use crate::units::Microwatts;

/// Where the zones are, below sysfs.
pub const CLASS: &str = "class/powercap";

/// The register is refreshed about every millisecond.
const REFRESH: Duration = Duration::from_millis(1);
/// No package draws more; where its own limits are known they say better.
const LIMIT: Microwatts = Microwatts(1_000_000_000);
/// Below this, limits are not to be believed: firmware writes what it likes.
const LEAST_LIMIT: u64 = 50_000_000;

struct Rapl {
    spec: Spec,
    file: SysFile,
}

impl Source for Rapl {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn read(&mut self) -> Result<u64, Fault> {
        self.file.natural()
    }
}

/// A zone: `intel-rapl:0:1` is of the type `intel-rapl`, below `intel-rapl:0`.
struct Zone {
    id: String,
    name: String,
    dir: std::path::PathBuf,
}

impl Zone {
    fn kind(&self) -> &str {
        self.id.split(':').next().unwrap_or_default()
    }

    fn parent(&self) -> Option<&str> {
        let (parent, _) = self.id.rsplit_once(':')?;
        parent.contains(':').then_some(parent)
    }

    /// The prefix of our names.
    fn prefix(&self) -> String {
        match self.kind() {
            "intel-rapl" => "rapl".into(),
            other => word(other.strip_prefix("intel-").unwrap_or(other)),
        }
    }
}

pub(super) fn discover(sysfs: &Path) -> Vec<Box<dyn Source>> {
    let mut zones: Vec<Zone> = entries(&sysfs.join(CLASS), |name| name.contains(':'))
        .into_iter()
        .filter(|(_, dir)| dir.join("energy_uj").exists())
        .map(|(id, dir)| Zone { name: line(&dir.join("name")).map_or_else(|| id.clone(), |n| word(&n)), id, dir })
        .collect();
    // A twin comes after the zone that it doubles.
    zones.sort_by_key(|z| z.kind().ends_with("-mmio"));
    let mut names: Vec<(String, String)> = zones.iter().map(|z| (full_name(z, &zones), word(&z.id))).collect();
    distinct(&mut names);
    let specs = zones.iter().zip(&names).map(|(zone, (name, _))| spec(zone, name, &zones, &names));
    specs.map(|spec| Box::new(Rapl { file: SysFile::new(&spec.path), spec }) as Box<dyn Source>).collect()
}

/// `rapl:package-0/core`.
fn full_name(zone: &Zone, zones: &[Zone]) -> String {
    match zone.parent().and_then(|p| zones.iter().find(|z| z.id == p)) {
        Some(parent) => format!("{}/{}", full_name(parent, zones), zone.name),
        None => format!("{}:{}", zone.prefix(), zone.name),
    }
}

fn spec(zone: &Zone, name: &str, zones: &[Zone], names: &[(String, String)]) -> Spec {
    let below = format!("{}:", zone.id);
    // By Intel's manual the memory's domain is beside the package's, though the kernel's tree has it below.
    let inside = |z: &Zone| z.id.starts_with(&below) && z.name != "dram";
    let twin =
        |z: &Zone| zone.kind() != z.kind() && zone.parent().is_none() && z.parent().is_none() && z.name == zone.name;
    let twins: Vec<&Zone> = zones.iter().filter(|z| twin(z)).collect();
    let of_twin = |z: &Zone| twins.iter().any(|t| z.id.starts_with(&format!("{}:", t.id)) && z.name != "dram");
    let contains =
        zones.iter().zip(names).filter(|(z, _)| inside(z) || twin(z) || of_twin(z)).map(|(_, n)| n.0.clone());
    let (role, scope, what) = match (zone.parent(), zone.name.as_str()) {
        (Some(_), "core") => (Role::Part, Scope::Rail, "processor cores"),
        (Some(_), "uncore") => (Role::Part, Scope::Rail, "integrated graphics"),
        (Some(_), "dram") => (Role::Part, Scope::Rail, "memory"),
        (Some(_), _) => (Role::Part, Scope::Rail, "part of the processor"),
        (None, "psys") => (Role::Platform, Scope::Board, "platform, as the processor sees it"),
        (None, n) if n.starts_with("package") => (Role::Processor, Scope::Package, "processor package"),
        (None, _) => (Role::Rail, Scope::Rail, "powercap zone"),
    };
    let range = number(&zone.dir.join("max_energy_range_uj")).filter(|r| *r > 0);
    Spec {
        name: name.to_owned(),
        what,
        scope,
        role,
        kind: Kind::Counter { range },
        contains: contains.collect(),
        refresh: REFRESH,
        limit: limit(&zone.dir, range),
        // Leakage alone moves a package's counter; that of a part that is switched off may rest.
        averages: false,
        restless: role == Role::Processor,
        path: zone.dir.join("energy_uj"),
    }
}

/// Three times what its limits allow: the long-term and short-term ones are averages, which peaks exceed. Without any,
/// what would turn the counter round in ten seconds: none is made so narrow.
fn limit(dir: &Path, range: Option<u64>) -> Microwatts {
    let unlimited = Microwatts(range.map_or(LIMIT.0, |uj| LIMIT.0.min(uj / 10)));
    let most = (0..4)
        .flat_map(|n| ["power_limit_uw", "max_power_uw"].map(|f| dir.join(format!("constraint_{n}_{f}"))))
        .filter_map(|f| number(&f))
        .max();
    most.filter(|uw| *uw > 0).map_or(unlimited, |uw| Microwatts(uw.saturating_mul(3).clamp(LEAST_LIMIT, LIMIT.0)))
}
