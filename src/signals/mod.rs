//! What the device says of its power and its heat: battery, charger, temperature, frequency limits, pressure.
//!
//! Read when something runs, from sysfs and procfs under roots that tests can point elsewhere. A signal that is not
//! there, or prints what it should not, is `None`: no device has all of them.

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
