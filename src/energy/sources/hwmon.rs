//! Monitoring chips and drivers through the kernel's hwmon class: INA3221 rails, INA2xx, graphics cards, and whatever
//! else shows power or energy.
//!
//! Units are the class's: mV, mA, µW, µJ (Documentation/hwmon/sysfs-interface.rst). A chip says which rails it watches
//! by its labels, if the board's device tree names them; what a label means for the sum is decided here, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::SysFile;
use super::{battery, distinct, entries, line, number, word, Fault, Kind, Role, Source, Spec};
use crate::energy::Scope;
use crate::units::Microwatts;

/// Where the chips are, below sysfs.
pub(super) const CLASS: &str = "class/hwmon";

/// Of a chip that does not say: INA2xx average over up to some tenths of a second, GPUs over as much.
const REFRESH: Duration = Duration::from_millis(100);
/// Counters of graphics drivers.
const COUNTER_REFRESH: Duration = Duration::from_millis(10);
/// No rail of a board carries more.
const RAIL_LIMIT: Microwatts = Microwatts(500_000_000);
/// Nor does a whole machine or an accelerator.
const LIMIT: Microwatts = Microwatts(5_000_000_000);
/// More channels than any driver numbers.
const CHANNELS: u32 = 32;

enum Value {
    One(SysFile),
    /// Millivolts and milliamperes.
    Product(SysFile, SysFile),
}

struct Hwmon {
    spec: Spec,
    value: Value,
}

impl Source for Hwmon {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn read(&mut self) -> Result<u64, Fault> {
        match &mut self.value {
            // Around nothing an amplifier's offset may read as less than nothing.
            Value::One(file) if self.spec.kind == Kind::Power => Ok(u64::try_from(file.number()?).unwrap_or(0)),
            Value::One(file) => file.natural(),
            Value::Product(mv, ma) => {
                let (mv, ma) = (mv.number()?.max(0).unsigned_abs(), ma.number()?.max(0).unsigned_abs());
                Ok(mv.saturating_mul(ma))
            }
        }
    }
}

/// A chip's folder.
struct Chip {
    name: String,
    dir: PathBuf,
    /// Its address on the bus, which tells two alike apart.
    address: String,
    refresh: Option<Duration>,
}

impl Chip {
    fn open(dir: PathBuf) -> Option<Chip> {
        let name = word(&line(&dir.join("name"))?);
        let device = std::fs::canonicalize(dir.join("device")).ok();
        let address = device.as_deref().and_then(Path::file_name).map(|n| word(&n.to_string_lossy()));
        let interval = number(&dir.join("update_interval")).filter(|ms| (1..=60_000).contains(ms));
        Some(Chip { name, dir, address: address.unwrap_or_default(), refresh: interval.map(Duration::from_millis) })
    }

    fn has(&self, file: &str) -> bool {
        self.dir.join(file).exists()
    }

    fn label(&self, file: &str) -> Option<String> {
        line(&self.dir.join(file)).map(|l| word(&l))
    }

    /// An APU's driver shows the voltage of the north bridge, which a card has none of; a card's shows a fan or a cap.
    fn is_apu(&self) -> bool {
        self.label("in1_label").as_deref() == Some("vddnb") || !(self.has("power1_cap") || self.has("fan1_input"))
    }

    fn spec(&self, label: &str, kind: Kind, file: &str) -> Spec {
        let (role, scope, what) = self.place(label);
        let prior = if kind == Kind::Power { REFRESH } else { COUNTER_REFRESH };
        Spec {
            name: format!("{}:{label}", self.name),
            what,
            scope,
            role,
            kind,
            contains: Vec::new(),
            refresh: self.refresh.unwrap_or(prior),
            limit: if matches!(role, Role::Rail | Role::Part | Role::Module) { RAIL_LIMIT } else { LIMIT },
            // INA2xx and INA3221 average over the conversions of one refresh; so do drivers that say "average".
            averages: self.name.starts_with("ina") || file.ends_with("_average"),
            restless: false,
            path: self.dir.join(file),
        }
    }

    /// What a sensor of this chip sees, by the names that drivers and device trees give.
    fn place(&self, label: &str) -> (Role, Scope, &'static str) {
        match self.name.as_str() {
            "ina3221" if is_supply(label) => (Role::Supply, Scope::Board, "supply of the board or its module"),
            "ina3221" if is_module(label) => (Role::Module, Scope::Rail, "one of the rails of the module"),
            "power_meter" => (Role::Supply, Scope::Board, "ACPI power meter"),
            "macsmc_hwmon" if label == "Total_System_Power" => (Role::Supply, Scope::Board, "whole system"),
            "amdgpu" if self.is_apu() => (Role::Processor, Scope::Package, "processor with its graphics"),
            "amdgpu" | "nouveau" => (Role::Graphics, Scope::Package, "graphics card"),
            "i915" | "xe" if label == "pkg" => (Role::Part, Scope::Rail, "graphics chip"),
            "i915" | "xe" => (Role::Graphics, Scope::Package, "graphics card"),
            name if name.starts_with("i915_gt") => (Role::Part, Scope::Rail, "part of a graphics card"),
            "fam15h_power" | "sbrmi" => (Role::Processor, Scope::Package, "processor package"),
            "amd_energy" if label.starts_with("Esocket") => (Role::Processor, Scope::Package, "processor package"),
            "amd_energy" => (Role::Part, Scope::Rail, "processor core"),
            _ if is_supply(label) => (Role::Supply, Scope::Board, "supply of the board"),
            _ => (Role::Rail, Scope::Rail, "rail"),
        }
    }
}

/// The names that boards give to the rail that everything else hangs on.
fn is_supply(label: &str) -> bool {
    matches!(label, "VDD_IN" | "POM_5V_IN" | "VIN")
}

/// The rails of Jetson modules that have no sensor on their supply, AGX Xavier and AGX Orin; together they are the
/// module, as its maker's tools count it.
fn is_module(label: &str) -> bool {
    ["VDD_GPU", "VDD_CPU", "VDD_SOC", "VDD_CV", "GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V", "VIN_SYS_5V0"].iter().any(
        |rail| {
            label == *rail || (rail.starts_with("VDD_") && label.strip_prefix(rail).is_some_and(|l| l.starts_with('_')))
        },
    )
}

pub(super) fn discover(sysfs: &Path) -> Vec<Box<dyn Source>> {
    let supplies: Vec<String> =
        entries(&sysfs.join(battery::CLASS), |_| true).into_iter().map(|(n, _)| n.replace('-', "_")).collect();
    // Batteries and chargers show themselves here too, without the status that gives their figures a meaning.
    let is_supply_twin = |chip: &Chip| supplies.contains(&chip.name) || chip.name.starts_with("ucsi_source_psy");
    let chips = entries(&sysfs.join(CLASS), |n| n.starts_with("hwmon"))
        .into_iter()
        .filter_map(|(_, dir)| Chip::open(dir))
        .filter(|chip| !is_supply_twin(chip));
    let mut all: Vec<(Hwmon, String)> = Vec::new();
    for chip in chips {
        let sensors = match chip.name.as_str() {
            "ina3221" => rails(&chip),
            _ => ordinary(&chip),
        };
        all.extend(sensors.into_iter().map(|s| (s, chip.address.clone())));
    }
    let mut names: Vec<(String, String)> = all.iter().map(|(s, a)| (s.spec.name.clone(), a.clone())).collect();
    distinct(&mut names);
    for ((sensor, _), (name, _)) in all.iter_mut().zip(names) {
        sensor.spec.name = name;
    }
    let mut all: Vec<Hwmon> = all.into_iter().map(|(sensor, _)| sensor).collect();
    relate(&mut all, sysfs);
    all.into_iter().map(|s| Box::new(s) as Box<dyn Source>).collect()
}

/// Says which contain which.
fn relate(all: &mut [Hwmon], sysfs: &Path) {
    let names: Vec<(String, Role)> = all.iter().map(|s| (s.spec.name.clone(), s.spec.role)).collect();
    let of = |prefix: &str, role: Role| -> Vec<String> {
        let wanted = |(n, r): &&(String, Role)| n.starts_with(prefix) && *r == role;
        names.iter().filter(wanted).map(|(n, _)| n.clone()).collect()
    };
    let packages: Vec<String> = super::rapl::discover(sysfs)
        .iter()
        .filter(|s| s.spec().role != Role::Platform)
        .map(|s| s.spec().name.clone())
        .collect();
    let jetson_supply = names.iter().any(|(n, r)| n.starts_with("ina3221:") && *r == Role::Supply);
    for sensor in all {
        let spec = &mut sensor.spec;
        let chip = spec.name.split(':').next().unwrap_or_default().to_owned();
        match (spec.role, chip.as_str()) {
            (Role::Module | Role::Rail, "ina3221") if jetson_supply => spec.role = Role::Part,
            // AGX Orin's memory supply hangs on its 5 V.
            (Role::Rail, "ina3221") if spec.name.starts_with("ina3221:VDDQ_VDD2") => spec.role = Role::Part,
            (Role::Module, _) if spec.name.starts_with("ina3221:VIN_SYS_5V0") => {
                spec.contains = of("ina3221:VDDQ_VDD2", Role::Rail);
            }
            // Another view of the package that RAPL counts.
            (Role::Processor, _) => {
                spec.contains = packages.clone();
                spec.contains.extend(of("amd_energy:", Role::Part));
            }
            (Role::Graphics, "i915" | "xe") => {
                spec.contains = of("i915_gt", Role::Part)
                    .into_iter()
                    .chain(of("xe:", Role::Part))
                    .chain(of("i915:", Role::Part))
                    .collect()
            }
            _ => {}
        }
    }
}

/// An INA3221: three rails, power only as voltage times current.
fn rails(chip: &Chip) -> Vec<Hwmon> {
    let rail = |n: u32| {
        let (mv, ma) = (format!("in{n}_input"), format!("curr{n}_input"));
        let label = chip.label(&format!("in{n}_label")).unwrap_or_else(|| format!("channel{n}"));
        let off = label == "NC" || number(&chip.dir.join(format!("in{n}_enable"))) == Some(0);
        (chip.has(&mv) && chip.has(&ma) && !off).then(|| Hwmon {
            spec: chip.spec(&label, Kind::Power, &ma),
            value: Value::Product(SysFile::new(chip.dir.join(&mv)), SysFile::new(chip.dir.join(&ma))),
        })
    };
    (1..=3).filter_map(rail).collect()
}

/// Any other: its energy counters, or where it has none its power.
fn ordinary(chip: &Chip) -> Vec<Hwmon> {
    let sensor = |stem: &str, file: String, kind: Kind| {
        let label = chip.label(&format!("{stem}_label")).unwrap_or_else(|| stem.to_owned());
        Hwmon { spec: chip.spec(&label, kind, &file), value: Value::One(SysFile::new(chip.dir.join(&file))) }
    };
    let energy = |n: u32| {
        let file = format!("energy{n}_input");
        chip.has(&file).then(|| sensor(&format!("energy{n}"), file, Kind::Counter { range: None }))
    };
    let power = |n: u32| {
        let file = ["average", "input"].map(|f| format!("power{n}_{f}")).into_iter().find(|f| chip.has(f))?;
        Some(sensor(&format!("power{n}"), file, Kind::Power))
    };
    let counters: Vec<Hwmon> = (1..=CHANNELS).filter_map(energy).collect();
    if counters.is_empty() {
        (1..=CHANNELS).filter_map(power).collect()
    } else {
        counters
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn chip(root: &Path, n: u32, files: &[(&str, &str)]) {
        let dir = root.join(CLASS).join(format!("hwmon{n}"));
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), format!("{text}\n")).unwrap();
        }
    }

    fn found(root: &Path) -> Vec<(String, Role, Result<u64, Fault>)> {
        let tell = |mut s: Box<dyn Source>| (s.spec().name.clone(), s.spec().role, s.read());
        discover(root).into_iter().map(tell).collect()
    }

    #[test]
    fn chips_are_told_by_name_and_label_and_not_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        chip(root, 0, &[("name", "coretemp"), ("temp1_input", "40000")]);
        chip(root, 3, &[("name", "ina226"), ("power1_input", "2500000"), ("update_interval", "140")]);
        chip(root, 4, &[("name", "ina226"), ("power1_input", "-3")]);
        let card = [("name", "amdgpu"), ("power1_average", "30000000"), ("power1_label", "PPT"), ("fan1_input", "0")];
        chip(root, 5, &card);
        chip(root, 6, &[("name", "xe"), ("energy1_input", "100"), ("energy1_label", "card"), ("power1_max", "1")]);
        chip(root, 6, &[("energy2_input", "60"), ("energy2_label", "pkg")]);
        chip(root, 7, &[("name", "power_meter"), ("power1_average", "90000000")]);
        assert_eq!(
            found(root),
            [
                ("ina226:power1#1".into(), Role::Rail, Ok(2_500_000)),
                ("ina226:power1#2".into(), Role::Rail, Ok(0)),
                ("amdgpu:PPT".into(), Role::Graphics, Ok(30_000_000)),
                ("xe:card".into(), Role::Graphics, Ok(100)),
                ("xe:pkg".into(), Role::Part, Ok(60)),
                ("power_meter:power1".into(), Role::Supply, Ok(90_000_000)),
            ]
        );
        let all = discover(root);
        assert_eq!(all[0].spec().refresh, Duration::from_millis(140));
        assert_eq!(all[3].spec().contains, ["xe:pkg"]);
    }

    #[test]
    fn an_agx_orin_is_the_sum_of_its_modules_rails() {
        let dir = tempfile::tempdir().unwrap();
        let rail = |n: u32, labels: [&str; 3]| {
            chip(dir.path(), n, &[("name", "ina3221")]);
            for (i, label) in labels.iter().enumerate() {
                let files = ["in_label", "in_input", "curr_input"].map(|f| f.replacen('_', &format!("{}_", i + 1), 1));
                chip(dir.path(), n, &[(&files[0], label), (&files[1], "5000"), (&files[2], "100")]);
            }
        };
        rail(1, ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]);
        rail(2, ["NC", "VDDQ_VDD2_1V8AO", "NC"]);
        let roles: Vec<(String, Role)> = found(dir.path()).into_iter().map(|(n, r, _)| (n, r)).collect();
        assert_eq!(
            roles,
            [
                ("ina3221:VDD_GPU_SOC".into(), Role::Module),
                ("ina3221:VDD_CPU_CV".into(), Role::Module),
                ("ina3221:VIN_SYS_5V0".into(), Role::Module),
                ("ina3221:VDDQ_VDD2_1V8AO".into(), Role::Part),
            ]
        );
    }

    #[test]
    fn a_channel_that_is_off_or_a_batterys_double_is_no_sensor() {
        let dir = tempfile::tempdir().unwrap();
        let channel = [("name", "ina3221"), ("in1_input", "5000"), ("curr1_input", "100"), ("in1_enable", "0")];
        chip(dir.path(), 0, &channel);
        // The sum of the shunt voltages is no rail.
        chip(dir.path(), 0, &[("in7_input", "1"), ("curr4_input", "1"), ("in2_input", "5000")]);
        chip(dir.path(), 1, &[("name", "BAT0"), ("power1_input", "5000000")]);
        fs::create_dir_all(dir.path().join(battery::CLASS).join("BAT0")).unwrap();
        assert_eq!(found(dir.path()), []);
    }
}
