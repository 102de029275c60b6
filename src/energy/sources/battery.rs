//! Batteries: what a device draws from its own, through the kernel's power_supply class.
//!
//! Only while it discharges: on the charger the battery's current says nothing of the device. By the kernel's ABI a
//! discharging battery's current is negative; many drivers make it positive, so that its sign is not looked at and its
//! `status` is. Drivers that know power or current are integrated; of one that knows neither, the drop of the charge
//! counter is used, in steps as coarse as that.
//! See Documentation/ABI/testing/sysfs-class-power of the kernel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::SysFile;
use super::{entries, line, number, word, Fault, Kind, Role, Source, Spec};
use crate::energy::Scope;
use crate::units::Microwatts;

/// Where they are, below sysfs.
pub(super) const CLASS: &str = "class/power_supply";

/// Fuel gauges and the kernel's ACPI driver (its `cache_time`) refresh about every second.
const REFRESH: Duration = Duration::from_secs(1);
/// A charge counter in steps of 10 mWh, at the few watts of a small device.
const CHARGE_REFRESH: Duration = Duration::from_secs(10);
/// What USB-C can deliver at most, and more than a battery of this class of device.
const LIMIT: Microwatts = Microwatts(240_000_000);
/// Microjoules of a microwatt-hour.
const HOUR: u64 = 3600;

/// How this battery's driver tells what is drawn.
enum Gauge {
    /// `power_now`, in µW.
    Power(SysFile),
    /// `current_now` in µA and `voltage_now` in µV.
    Current(SysFile, SysFile),
    /// `energy_now`, in µWh.
    Energy(SysFile),
    /// `charge_now` in µAh, at the voltage of its design in µV.
    Charge(SysFile, u64),
}

struct Battery {
    spec: Spec,
    status: SysFile,
    gauge: Gauge,
    /// The other batteries' `status`.
    others: Vec<SysFile>,
    /// `online` of what may feed the device from outside.
    mains: Vec<SysFile>,
}

impl Source for Battery {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn read(&mut self) -> Result<u64, Fault> {
        match self.status.word()?.as_str() {
            "Discharging" => self.drawn(),
            "Charging" => Err(Fault::Resting("is charging")),
            // Of two batteries one rests while the other feeds the device.
            _ if self.another_feeds() => self.rest(),
            _ => Err(Fault::Resting("is not discharging")),
        }
    }
}

impl Battery {
    fn drawn(&mut self) -> Result<u64, Fault> {
        // Some controllers go on saying "Discharging" for a while after the charger came.
        if self.mains.iter_mut().any(|m| m.number() == Ok(1)) && self.others.is_empty() && self.still()? {
            return Err(Fault::Resting("is not discharging"));
        }
        match &mut self.gauge {
            Gauge::Power(power) => Ok(power.number()?.unsigned_abs()),
            Gauge::Current(current, voltage) => {
                let product = u128::from(current.number()?.unsigned_abs()) * u128::from(voltage.natural()?);
                Ok(u64::try_from(product / 1_000_000).unwrap_or(u64::MAX))
            }
            // What is left goes down, a counter goes up. Of the largest value that u64 holds in whole hours of power,
            // what is left is but a speck.
            Gauge::Energy(left) => Ok((u64::MAX / 2).saturating_sub(left.natural()?.saturating_mul(HOUR))),
            Gauge::Charge(left, microvolts) => {
                let uj = u128::from(left.natural()?) * u128::from(*microvolts) / 1_000_000 * u128::from(HOUR);
                Ok((u64::MAX / 2).saturating_sub(u64::try_from(uj).unwrap_or(u64::MAX / 2)))
            }
        }
    }

    /// Whether it says that nothing flows.
    fn still(&mut self) -> Result<bool, Fault> {
        match &mut self.gauge {
            Gauge::Power(flow) | Gauge::Current(flow, _) => Ok(flow.number()? == 0),
            Gauge::Energy(_) | Gauge::Charge(..) => Ok(false),
        }
    }

    fn another_feeds(&mut self) -> bool {
        self.others.iter_mut().any(|o| o.word().is_ok_and(|s| s == "Discharging"))
    }

    /// Nothing is drawn from this one now.
    fn rest(&mut self) -> Result<u64, Fault> {
        match self.gauge {
            Gauge::Power(_) | Gauge::Current(..) => Ok(0),
            Gauge::Energy(_) | Gauge::Charge(..) => self.drawn(),
        }
    }
}

/// The batteries that feed the device; not those of mice and headsets.
fn batteries(sysfs: &Path) -> Vec<(String, PathBuf)> {
    let feeds = |dir: &Path| {
        line(&dir.join("type")).as_deref() == Some("Battery")
            && line(&dir.join("scope")).as_deref() != Some("Device")
            && number(&dir.join("present")) != Some(0)
    };
    entries(&sysfs.join(CLASS), |_| true).into_iter().filter(|(_, dir)| feeds(dir)).collect()
}

pub(super) fn discover(sysfs: &Path) -> Vec<Box<dyn Source>> {
    let all = batteries(sysfs);
    let mains: Vec<PathBuf> = entries(&sysfs.join(CLASS), |_| true)
        .into_iter()
        .map(|(_, dir)| dir)
        .filter(|dir| matches!(line(&dir.join("type")).as_deref(), Some("Mains" | "USB" | "Wireless")))
        .collect();
    let sensor = |(name, dir): &(String, PathBuf)| -> Option<Box<dyn Source>> {
        let (gauge, kind, path) = gauge(dir)?;
        let others = all.iter().filter(|(n, _)| n != name).map(|(_, d)| SysFile::new(d.join("status")));
        let spec = Spec {
            name: format!("battery:{}", word(name)),
            what: "battery, while it discharges",
            scope: Scope::Board,
            role: Role::Battery,
            kind,
            contains: Vec::new(),
            refresh: if kind == Kind::Power { REFRESH } else { CHARGE_REFRESH },
            limit: LIMIT,
            averages: true,
            restless: false,
            path,
        };
        Some(Box::new(Battery {
            spec,
            status: SysFile::new(dir.join("status")),
            gauge,
            others: others.collect(),
            mains: mains.iter().map(|m| SysFile::new(m.join("online"))).collect(),
        }))
    };
    all.iter().filter_map(sensor).collect()
}

fn gauge(dir: &Path) -> Option<(Gauge, Kind, PathBuf)> {
    let [power, current, voltage, energy, charge] =
        ["power_now", "current_now", "voltage_now", "energy_now", "charge_now"].map(|f| dir.join(f));
    // A gauge may list a file and answer ENODATA, so that existence is not enough; that of being denied is.
    let works = |path: &Path| !matches!(SysFile::new(path).number(), Err(Fault::Gone(_) | Fault::Garbage(_)));
    let design = number(&dir.join("voltage_min_design")).filter(|v| *v > 0);
    let counter = Kind::Counter { range: None };
    Some(match () {
        () if works(&power) => (Gauge::Power(SysFile::new(&power)), Kind::Power, power),
        () if works(&current) && works(&voltage) => {
            (Gauge::Current(SysFile::new(&current), SysFile::new(&voltage)), Kind::Power, current)
        }
        () if works(&energy) => (Gauge::Energy(SysFile::new(&energy)), counter, energy),
        () if works(&charge) => {
            let volts = design.or_else(|| number(&voltage))?;
            (Gauge::Charge(SysFile::new(&charge), volts), counter, charge)
        }
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Tree {
            Tree(tempfile::tempdir().unwrap())
        }

        fn set(&self, supply: &str, files: &[(&str, &str)]) {
            let dir = self.0.path().join(CLASS).join(supply);
            fs::create_dir_all(&dir).unwrap();
            for (name, text) in files {
                fs::write(dir.join(name), text).unwrap();
            }
        }

        fn all(&self) -> Vec<Box<dyn Source>> {
            discover(self.0.path())
        }
    }

    #[test]
    fn either_sign_means_drawn_and_only_while_discharging() {
        let tree = Tree::new();
        tree.set("BAT0", &[("type", "Battery"), ("status", "Discharging"), ("current_now", "-1500000")]);
        tree.set("BAT0", &[("voltage_now", "4000000")]);
        let mut battery = tree.all().remove(0);
        assert_eq!(battery.spec().name, "battery:BAT0");
        assert_eq!(battery.read(), Ok(6_000_000));
        tree.set("BAT0", &[("current_now", "1500000")]);
        assert_eq!(battery.read(), Ok(6_000_000));
        for status in ["Charging", "Full", "Not charging", "Unknown"] {
            tree.set("BAT0", &[("status", status)]);
            assert!(matches!(battery.read(), Err(Fault::Resting(_))), "{status}");
        }
        tree.set("BAT0", &[("status", "Discharging"), ("current_now", "0")]);
        assert_eq!(battery.read(), Ok(0));
        tree.set("AC", &[("type", "Mains"), ("online", "1")]);
        assert!(matches!(tree.all().remove(0).read(), Err(Fault::Resting(_))));
    }

    #[test]
    fn of_two_batteries_one_may_rest() {
        let tree = Tree::new();
        tree.set("BAT0", &[("type", "Battery"), ("status", "Discharging"), ("power_now", "7000000")]);
        tree.set("BAT1", &[("type", "Battery"), ("status", "Not charging"), ("power_now", "0")]);
        let mut both = tree.all();
        assert_eq!((both[0].read(), both[1].read()), (Ok(7_000_000), Ok(0)));
        tree.set("BAT0", &[("status", "Full")]);
        assert!(both.iter_mut().all(|b| matches!(b.read(), Err(Fault::Resting(_)))));
    }

    #[test]
    fn what_is_left_becomes_a_count_of_what_was_drawn() {
        let tree = Tree::new();
        let common = [("type", "Battery"), ("status", "Discharging"), ("voltage_min_design", "3600000")];
        tree.set("a", &[("energy_now", "50000000")]);
        tree.set("b", &[("charge_now", "4000000")]);
        for (supply, file, less) in [("a", "energy_now", "49990000"), ("b", "charge_now", "3997222")] {
            tree.set(supply, &common);
            let mut all = tree.all();
            let battery = all.iter_mut().find(|b| b.spec().name.ends_with(supply)).unwrap();
            assert_eq!(battery.spec().kind, Kind::Counter { range: None });
            let before = battery.read().unwrap();
            tree.set(supply, &[(file, less)]);
            let drawn = battery.read().unwrap() - before;
            // 10 mWh are 36 J.
            assert!((35_990_000..36_010_000).contains(&drawn), "{drawn}");
        }
    }

    #[test]
    fn a_mouse_feeds_nothing_and_a_missing_battery_is_none() {
        let tree = Tree::new();
        let mouse = [("type", "Battery"), ("scope", "Device"), ("status", "Discharging"), ("power_now", "1")];
        tree.set("hidpp_battery_0", &mouse);
        tree.set("BAT0", &[("type", "Battery"), ("present", "0"), ("status", "Unknown"), ("power_now", "0")]);
        tree.set("BAT1", &[("type", "Battery"), ("status", "Discharging"), ("capacity", "80")]);
        assert_eq!(tree.all().len(), 0);
    }
}
