//! A battery that drains, and its charger.

use std::io;
use std::path::Path;

use crate::tree::{fixed, Attr};

/// What the charger puts into the battery, in watts.
const CHARGE_W: f64 = 10.0;

pub struct Supply {
    /// Joules when full, and now.
    full: f64,
    now: f64,
    charger: bool,
    next: u64,
    /// When it was last updated, and the joules that the device had used then.
    last: Option<(u64, f64)>,
    online: Attr,
    status: Attr,
    capacity: Attr,
    energy: Attr,
    power: Attr,
    current: Attr,
    voltage: Attr,
}

impl Supply {
    pub fn create(root: &Path, wh: f64, percent: f64, charger: bool) -> io::Result<Supply> {
        let battery = root.join("class/power_supply/BAT0");
        let ac = root.join("class/power_supply/AC");
        let full = format!("{}", (wh * 1e6).round());
        fixed(&ac, &[("type", "Mains")])?;
        fixed(
            &battery,
            &[
                ("type", "Battery"),
                ("present", "1"),
                ("technology", "Li-ion"),
                ("scope", "System"),
                ("energy_full", &full),
                ("energy_full_design", &full),
                ("voltage_min_design", "7400000"),
            ],
        )?;
        let joules = wh * 3600.0;
        let mut supply = Supply {
            full: joules,
            now: joules * percent / 100.0,
            charger,
            next: 0,
            last: None,
            online: Attr::create(&ac, "online", "0")?,
            status: Attr::create(&battery, "status", "Unknown")?,
            capacity: Attr::create(&battery, "capacity", "0")?,
            energy: Attr::create(&battery, "energy_now", "0")?,
            power: Attr::create(&battery, "power_now", "0")?,
            current: Attr::create(&battery, "current_now", "0")?,
            voltage: Attr::create(&battery, "voltage_now", "0")?,
        };
        supply.show(0.0)?;
        Ok(supply)
    }

    /// Plugs it in or out.
    pub fn charger(&mut self, on: bool) {
        self.charger = on;
        self.next = 0;
    }

    /// Sets the level.
    pub fn level(&mut self, percent: f64) {
        self.now = self.full * percent / 100.0;
        self.next = 0;
    }

    /// Joules that the device has used since the start.
    pub fn update(&mut self, at: u64, used: f64) -> io::Result<()> {
        if at < self.next {
            return Ok(());
        }
        self.next = at + 250_000_000;
        let (then, before) = self.last.replace((at, used)).unwrap_or((at, used));
        let seconds = at.saturating_sub(then) as f64 / 1e9;
        let change = if self.charger { CHARGE_W * seconds } else { before - used };
        self.now = (self.now + change).clamp(0.0, self.full);
        let watts = if self.charger { CHARGE_W } else { (used - before) / seconds.max(1e-3) };
        self.show(watts)
    }

    fn show(&mut self, watts: f64) -> io::Result<()> {
        let full = self.charger && self.now >= self.full;
        let watts = if full { 0.0 } else { watts };
        let volts = 7.0 + 1.4 * self.now / self.full;
        self.online.set(if self.charger { "1" } else { "0" })?;
        self.status.set(match (self.charger, full) {
            (false, _) => "Discharging",
            (true, false) => "Charging",
            (true, true) => "Full",
        })?;
        self.capacity.set(&format!("{:.0}", self.now / self.full * 100.0))?;
        self.energy.set(&format!("{:.0}", self.now / 3600.0 * 1e6))?;
        self.power.set(&format!("{:.0}", watts * 1e6))?;
        self.current.set(&format!("{:.0}", watts / volts * 1e6))?;
        self.voltage.set(&format!("{:.0}", volts * 1e6))
    }
}
