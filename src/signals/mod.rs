//! What the device says of its power and its heat: battery, charger, temperature, frequency limits, pressure.
//!
//! Read when something runs, from sysfs and procfs under roots that tests can point elsewhere. A signal that is not
//! there, or prints what it should not, is `None`: no device has all of them.

mod files;
mod heat;
mod supply;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The signals at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Signals {
    /// A battery supplies the device: one discharges and no charger is online.
    pub on_battery: bool,
    /// Charge of the batteries that supply the device, in percent (0 to 100).
    pub battery_percent: Option<f32>,
    /// The hottest thermal zone, in degrees Celsius.
    pub temperature: Option<f32>,
    /// Degrees to the first trip point (passive, hot or critical) of the zone that is nearest to one. Negative: beyond.
    pub thermal_headroom: Option<f32>,
    /// What the frequency limits leave of the CPUs' full speed (0 to 1).
    pub cpu_speed: Option<f32>,
    /// Share of time in the last 10 s in which some task waited for a CPU, in percent (PSI `cpu` `some` `avg10`).
    pub cpu_pressure: Option<f32>,
    /// The same for memory.
    pub memory_pressure: Option<f32>,
}

/// Reads the signals of one device.
///
/// It holds nothing open and remembers nothing: devices come and go. One reading opens some dozen files and takes a
/// fraction of a millisecond on most boards; a sensor behind a slow bus may take longer.
#[derive(Debug, Clone)]
pub struct Reader {
    sysfs: PathBuf,
    procfs: PathBuf,
}

impl Reader {
    /// For the device whose sysfs and procfs are mounted here, such as `/sys` and `/proc`. Nothing is read yet.
    pub fn new(sysfs: &Path, procfs: &Path) -> Reader {
        Reader { sysfs: sysfs.to_owned(), procfs: procfs.to_owned() }
    }

    /// What the device says now. What cannot be read is `None`; this never fails.
    pub fn read(&self) -> Signals {
        let supplies = supply::read(&self.sysfs);
        let (temperature, thermal_headroom) = heat::zones(&self.sysfs);
        Signals {
            on_battery: supplies.on_battery,
            battery_percent: supplies.percent,
            temperature,
            thermal_headroom,
            cpu_speed: heat::cpu_speed(&self.sysfs),
            cpu_pressure: pressure(&self.procfs, "cpu"),
            memory_pressure: pressure(&self.procfs, "memory"),
        }
    }
}

/// `avg10` of the line `some` (Documentation/accounting/psi.rst), in percent. Not there without PSI; where it was
/// switched off at boot, reading fails.
fn pressure(procfs: &Path, what: &str) -> Option<f32> {
    let text = files::text(&procfs.join("pressure"), what)?;
    let some = text.lines().find_map(|l| l.strip_prefix("some "))?;
    let average = some.split_whitespace().find_map(|w| w.strip_prefix("avg10="))?;
    average.parse().ok().filter(|p: &f32| (0.0..=100.0).contains(p))
}
